//! The routes, and what each asks Redis and Postgres.

use std::sync::Arc;

use anyhow::Context as _;
use axum::extract::{FromRequestParts, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use redis::aio::MultiplexedConnection;
use serde::{Deserialize, Serialize};
use sqlx::Row as _;
use sqlx::postgres::{PgPool, PgPoolOptions};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::documents::{Profile, Session, User, text};
use crate::{Args, passwords};

const SESSION_SECONDS: u64 = 86_400;
const PROFILE_SECONDS: u64 = 86_400;
const LIMIT_WINDOW_SECONDS: i64 = 60;

#[derive(Clone)]
struct App {
    state: MultiplexedConnection,
    cache: MultiplexedConnection,
    users: PgPool,
    profiles: PgPool,
    limit: u64,
}

pub async fn router(args: &Args) -> anyhow::Result<Router> {
    let connect = async |url: &str| redis::Client::open(url)?.get_multiplexed_async_connection().await;
    let pool = || PgPoolOptions::new().max_connections(8);
    let app = App {
        state: connect(&args.state_redis_url).await?,
        cache: connect(&args.cache_redis_url).await?,
        users: pool().connect(&args.auth_database_url).await?,
        profiles: pool().connect(&args.profile_database_url).await?,
        limit: args.limit,
    };
    let router = Router::new()
        .route("/v1/login", post(login))
        .route("/v1/logout", post(logout))
        .route("/v1/me", get(me))
        .route("/v1/profile", get(profile).patch(change_profile));
    Ok(router.with_state(Arc::new(app)))
}

enum Failure {
    Status(StatusCode),
    Internal(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Internal(error.into())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        match self {
            Self::Status(status) => status.into_response(),
            Self::Internal(error) => {
                (StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}")).into_response()
            }
        }
    }
}

impl App {
    /// A fixed window that begins with its first request.
    async fn charge(&self, subject: &str) -> Result<(), Failure> {
        let key = format!("rate:{subject}");
        let mut cache = self.cache.clone();
        let count: u64 = redis::cmd("INCR").arg(&key).query_async(&mut cache).await?;
        if count == 1 {
            let expire = redis::cmd("EXPIRE").arg(&key).arg(LIMIT_WINDOW_SECONDS).take();
            expire.query_async::<()>(&mut cache).await?;
        }
        if count > self.limit { Err(Failure::Status(StatusCode::TOO_MANY_REQUESTS)) } else { Ok(()) }
    }

    async fn session(&self, token: &str) -> Result<Session, Failure> {
        let stored: Option<Vec<u8>> =
            redis::cmd("GET").arg(format!("sess:{token}")).query_async(&mut self.state.clone()).await?;
        let stored = stored.ok_or(Failure::Status(StatusCode::UNAUTHORIZED))?;
        Ok(serde_json::from_slice(&stored)?)
    }

    async fn remember(&self, profile: Profile) -> Result<Json<Profile>, Failure> {
        let mut set = redis::cmd("SET");
        set.arg(format!("profile:{}", profile.id)).arg(serde_json::to_vec(&profile)?);
        set.arg("EX").arg(PROFILE_SECONDS).query_async::<()>(&mut self.cache.clone()).await?;
        Ok(Json(profile))
    }
}

/// The session of the request's token, within the limit: both are asked for at once.
struct SignedIn {
    token: String,
    session: Session,
}

impl FromRequestParts<Arc<App>> for SignedIn {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Failure> {
        let token = bearer(&parts.headers).ok_or(Failure::Status(StatusCode::UNAUTHORIZED))?.to_owned();
        let ((), session) = tokio::try_join!(app.charge(&token), app.session(&token))?;
        Ok(Self { token, session })
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers.get(AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")
}

#[derive(Deserialize)]
struct Credentials {
    username: String,
    password: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LoggedIn {
    token: String,
    expires_in: u64,
    user: User,
}

async fn login(
    State(app): State<Arc<App>>,
    Json(credentials): Json<Credentials>,
) -> Result<Json<LoggedIn>, Failure> {
    app.charge("login").await?;
    let query = "SELECT id, username, email, password_hash, created_at FROM users WHERE username_key = $1";
    let found =
        sqlx::query(query).bind(credentials.username.to_lowercase()).fetch_optional(&app.users).await?;
    let row = found.ok_or(Failure::Status(StatusCode::UNAUTHORIZED))?;
    if !passwords::verify(credentials.password, row.try_get("password_hash")?).await? {
        return Err(Failure::Status(StatusCode::UNAUTHORIZED));
    }
    let user = User {
        id: row.try_get::<Uuid, _>("id")?.to_string(),
        username: row.try_get("username")?,
        email: row.try_get("email")?,
        created_at: text(row.try_get("created_at")?)?,
    };
    let mut secret = [0; 32];
    fastrand::fill(&mut secret);
    let token = URL_SAFE_NO_PAD.encode(secret);
    let now: OffsetDateTime = sqlx::query_scalar("SELECT now()").fetch_one(&app.users).await?;
    let session = Session { user, created_at: text(now)? };
    let mut set = redis::cmd("SET");
    set.arg(format!("sess:{token}")).arg(serde_json::to_vec(&session)?).arg("EX").arg(SESSION_SECONDS);
    set.query_async::<()>(&mut app.state.clone()).await?;
    Ok(Json(LoggedIn { token, expires_in: SESSION_SECONDS, user: session.user }))
}

async fn logout(State(app): State<Arc<App>>, signed_in: SignedIn) -> Result<StatusCode, Failure> {
    let key = format!("sess:{}", signed_in.token);
    redis::cmd("DEL").arg(key).query_async::<()>(&mut app.state.clone()).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Me {
    #[serde(flatten)]
    user: User,
    session: CurrentSession,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CurrentSession {
    created_at: String,
    expires_in: u64,
}

async fn me(SignedIn { session, .. }: SignedIn) -> Json<Me> {
    let current = CurrentSession { created_at: session.created_at, expires_in: SESSION_SECONDS };
    Json(Me { user: session.user, session: current })
}

async fn profile(
    State(app): State<Arc<App>>,
    SignedIn { session, .. }: SignedIn,
) -> Result<Json<Profile>, Failure> {
    let id = &session.user.id;
    let cached: Option<Vec<u8>> =
        redis::cmd("GET").arg(format!("profile:{id}")).query_async(&mut app.cache.clone()).await?;
    if let Some(cached) = cached {
        return Ok(Json(serde_json::from_slice(&cached)?));
    }
    let query = "SELECT *, links::text AS links_text FROM profiles WHERE user_id = $1";
    let row = sqlx::query(query).bind(Uuid::parse_str(id)?).fetch_optional(&app.profiles).await?;
    let row = row.ok_or(Failure::Status(StatusCode::NOT_FOUND))?;
    app.remember(Profile::from_row(&row)?).await
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ProfileChange {
    display_name: Option<String>,
    bio: Option<String>,
}

async fn change_profile(
    State(app): State<Arc<App>>,
    SignedIn { session, .. }: SignedIn,
    Json(change): Json<ProfileChange>,
) -> Result<Json<Profile>, Failure> {
    let query = "UPDATE profiles SET display_name = coalesce($2, display_name), bio = coalesce($3, bio), \
                 updated_at = now(), version = version + 1 WHERE user_id = $1 RETURNING *, links::text AS links_text";
    let id = Uuid::parse_str(&session.user.id)?;
    let row = sqlx::query(query).bind(id).bind(change.display_name).bind(change.bio);
    let row = row.fetch_optional(&app.profiles).await?.context("no such profile")?;
    app.remember(Profile::from_row(&row)?).await
}
