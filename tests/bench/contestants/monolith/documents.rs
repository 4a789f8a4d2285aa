//! What lies in Redis and goes over the wire: the same documents as the Node contestants have.

use serde::{Deserialize, Serialize};
use sqlx::Row as _;
use sqlx::postgres::PgRow;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct User {
    pub id: String,
    pub username: String,
    pub email: Option<String>,
    pub created_at: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Session {
    pub user: User,
    pub created_at: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Profile {
    pub id: String,
    pub username: String,
    pub display_name: String,
    pub bio: String,
    pub locale: String,
    pub timezone: String,
    pub role: String,
    pub links: Vec<Link>,
    pub avatar_url: Option<String>,
    pub last_seen: Option<String>,
    pub created_at: String,
    pub updated_at: String,
    pub version: i64,
}

#[derive(Serialize, Deserialize)]
pub struct Link {
    pub label: String,
    pub url: String,
}

impl Profile {
    pub fn from_row(row: &PgRow) -> anyhow::Result<Self> {
        Ok(Self {
            id: row.try_get::<Uuid, _>("user_id")?.to_string(),
            username: row.try_get("username")?,
            display_name: row.try_get("display_name")?,
            bio: row.try_get("bio")?,
            locale: row.try_get("locale")?,
            timezone: row.try_get("timezone")?,
            role: row.try_get("role")?,
            links: serde_json::from_str(row.try_get("links_text")?)?,
            avatar_url: row.try_get("avatar_url")?,
            last_seen: row.try_get::<Option<_>, _>("last_seen")?.map(text).transpose()?,
            created_at: text(row.try_get("created_at")?)?,
            updated_at: text(row.try_get("updated_at")?)?,
            version: row.try_get("version")?,
        })
    }
}

pub fn text(time: OffsetDateTime) -> anyhow::Result<String> {
    Ok(time.format(&Rfc3339)?)
}
