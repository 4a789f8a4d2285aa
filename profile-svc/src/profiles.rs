//! Profiles in Postgres: the truth. Knows no cache; whoever writes here has to announce it there.

use chassis::postgres::Postgres;
use sqlx::Connection as _;
use sqlx::postgres::PgConnection;
use sqlx::types::Json;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::erasure;
use crate::error::ProfileError;
use crate::fields::{Bio, Locale, Timezone};
use crate::profile::{Link, Profile, ProfileChange, UserId};
use crate::username::Username;

/// The store of profiles.
#[derive(Debug, Clone)]
pub struct Profiles {
    postgres: Postgres,
}

/// The columns of a profile, which every statement lists by name: one that asked for `*` would fail in a
/// running process when a migration adds a column.
macro_rules! profile_row {
    ($before:tt, $after:tt $(, $argument:expr)* $(,)?) => {
        sqlx::query_as!(
            Row,
            $before
                + r#" user_id, username, username_key, display_name, bio, locale, timezone, role,
                    links AS "links: Json<Vec<Link>>", avatar_url, last_seen, created_at, updated_at, version "#
                + $after
            $(, $argument)*
        )
    };
}

struct Row {
    user_id: Uuid,
    username: String,
    username_key: String,
    display_name: String,
    bio: String,
    locale: String,
    timezone: String,
    role: String,
    links: Json<Vec<Link>>,
    avatar_url: Option<String>,
    last_seen: Option<OffsetDateTime>,
    created_at: OffsetDateTime,
    updated_at: OffsetDateTime,
    version: i64,
}

impl From<Row> for Profile {
    fn from(row: Row) -> Self {
        Self {
            user_id: UserId(row.user_id),
            username: row.username,
            username_key: row.username_key,
            display_name: row.display_name,
            bio: row.bio,
            locale: row.locale,
            timezone: row.timezone,
            role: row.role,
            links: row.links.0,
            avatar_url: row.avatar_url,
            last_seen: row.last_seen,
            created_at: row.created_at,
            updated_at: row.updated_at,
            version: row.version,
        }
    }
}

impl Profiles {
    pub fn new(postgres: Postgres) -> Self {
        Self { postgres }
    }

    pub async fn by_id(&self, id: UserId) -> Result<Option<Profile>, ProfileError> {
        let row = self.postgres.run("profiles.by_id", async |connection: &mut PgConnection| {
            profile_row!("SELECT", "FROM profiles WHERE user_id = $1", id.0).fetch_optional(connection).await
        });
        Ok(row.await?.map(Profile::from))
    }

    /// `key`: the case-folded form.
    pub async fn by_username(&self, key: &str) -> Result<Option<Profile>, ProfileError> {
        let row = self.postgres.run("profiles.by_username", async |connection: &mut PgConnection| {
            profile_row!("SELECT", "FROM profiles WHERE username_key = $1", key)
                .fetch_optional(connection)
                .await
        });
        Ok(row.await?.map(Profile::from))
    }

    /// Whose profile has this case-folded username.
    pub async fn id_of(&self, key: &str) -> Result<Option<UserId>, ProfileError> {
        let id = self.postgres.run("profiles.id_of", async |connection: &mut PgConnection| {
            sqlx::query_scalar!("SELECT user_id FROM profiles WHERE username_key = $1", key)
                .fetch_optional(connection)
                .await
        });
        Ok(id.await?.map(UserId))
    }

    /// How many times a profile was changed.
    pub async fn version(&self, id: UserId) -> Result<Option<i64>, ProfileError> {
        let version = self.postgres.run("profiles.version", async |connection: &mut PgConnection| {
            sqlx::query_scalar!("SELECT version FROM profiles WHERE user_id = $1", id.0)
                .fetch_optional(connection)
                .await
        });
        Ok(version.await?)
    }

    /// Adds the profile of a user, or finds the one that there is.
    ///
    /// # Errors
    /// `UsernameTaken` when another user's profile has the case-folded name, `NotFound` when the user is known to be gone.
    pub async fn insert(&self, id: UserId, username: &Username) -> Result<Profile, ProfileError> {
        let (shown, key) = (username.as_shown(), username.key());
        let row = self.postgres.run("profiles.insert", async |connection: &mut PgConnection| {
            let mut transaction = connection.begin().await?;
            erasure::lock(&mut transaction, id).await?;
            let is_gone = sqlx::query_scalar!(
                r#"SELECT EXISTS (SELECT 1 FROM tombstones WHERE user_hash = sha256(uuid_send($1))) AS "is_gone!""#,
                id.0
            );
            if is_gone.fetch_one(&mut *transaction).await? {
                return Ok(Err(ProfileError::NotFound));
            }
            let inserted = profile_row!(
                "INSERT INTO profiles (user_id, username, username_key, display_name) VALUES ($1, $2, $3, $2)
                     ON CONFLICT DO NOTHING
                     RETURNING",
                "",
                id.0,
                shown,
                key,
            );
            let row = match inserted.fetch_optional(&mut *transaction).await? {
                Some(row) => Some(row),
                None => {
                    profile_row!("SELECT", "FROM profiles WHERE user_id = $1", id.0)
                        .fetch_optional(&mut *transaction)
                        .await?
                }
            };
            transaction.commit().await?;
            Ok(row.ok_or(ProfileError::UsernameTaken))
        });
        row.await?.map(Profile::from)
    }

    /// Changes a profile and counts it, even when the new values are the old ones: whoever is told that a
    /// change was made gets a version of its own. `expected`: the version that the change was made from,
    /// `None` for any.
    ///
    /// # Errors
    /// `NotFound` and `VersionMismatch`.
    pub async fn update(
        &self,
        id: UserId,
        expected: Option<i64>,
        change: &ProfileChange,
    ) -> Result<Profile, ProfileError> {
        let ProfileChange { display_name, bio, locale, timezone, links, avatar_url } = change;
        let row = self.postgres.run("profiles.update", async |connection: &mut PgConnection| {
            profile_row!(
                "UPDATE profiles SET
                       display_name = CASE WHEN $3 THEN coalesce($4, username) ELSE display_name END,
                       bio = coalesce($5, bio),
                       locale = coalesce($6, locale),
                       timezone = coalesce($7, timezone),
                       links = coalesce($8, links),
                       avatar_url = CASE WHEN $9 THEN $10 ELSE avatar_url END,
                       version = version + 1,
                       updated_at = now()
                     WHERE user_id = $1 AND version = coalesce($2, version)
                     RETURNING",
                "",
                id.0,
                expected,
                display_name.is_some(),
                display_name.as_ref().and_then(|name| name.as_deref()),
                bio.as_ref().map(Bio::as_str),
                locale.as_ref().map(Locale::as_str),
                timezone.map(Timezone::as_str),
                links.as_ref().map(|links| Json(links.as_slice())) as _,
                avatar_url.is_some(),
                avatar_url.as_ref().and_then(|url| url.as_deref()),
            )
            .fetch_optional(connection)
            .await
        });
        match row.await? {
            Some(row) => Ok(row.into()),
            None if self.version(id).await?.is_some() => Err(ProfileError::VersionMismatch),
            None => Err(ProfileError::NotFound),
        }
    }

    /// Whether it is a minute or longer since the user was last noted to be there.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn is_seen_due(&self, id: UserId) -> Result<bool, ProfileError> {
        let due = self.postgres.run("profiles.is_seen_due", async |connection: &mut PgConnection| {
            sqlx::query_scalar!(
                r#"SELECT coalesce(last_seen <= now() - interval '1 minute', true) AS "due!"
                       FROM profiles WHERE user_id = $1"#,
                id.0
            )
            .fetch_optional(connection)
            .await
        });
        due.await?.ok_or(ProfileError::NotFound)
    }

    /// Notes that the user is there.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn record_seen(&self, id: UserId) -> Result<Profile, ProfileError> {
        let row = self.postgres.run("profiles.record_seen", async |connection: &mut PgConnection| {
            profile_row!("UPDATE profiles SET last_seen = now() WHERE user_id = $1 RETURNING", "", id.0)
                .fetch_optional(connection)
                .await
        });
        row.await?.map(Profile::from).ok_or(ProfileError::NotFound)
    }
}

#[cfg(test)]
mod tests;
