//! `GET /v1/me/export`.

use axum::extract::State;
use axum::response::Response;
use http::header::{CACHE_CONTROL, CONTENT_DISPOSITION};
use http::{HeaderValue, StatusCode};
use proto::auth::v1::{self as auth, ExportUserRequest, ListActivityRequest};
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::App;
use crate::auth::Key;
use crate::caller::Caller;
use crate::gate::SignedIn;
use crate::openapi::{ServiceProblems, SessionProblems};
use crate::problem::Problem;
use crate::reply;
use crate::representation::{Profile, Timestamp, User};
use crate::routes::activity::{HIGHEST_LIMIT, Happened};
use crate::routes::sessions::Listed;

/// Entries of the activity at most: some ten megabytes. A user who has more is told where they are.
const LONGEST_ACTIVITY: usize = 50_000;

/// Everything that is held about the user.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Export<'a> {
    account: User<'a>,
    profile: Profile<'a>,
    /// Those that are valid.
    sessions: Vec<Listed<'a>>,
    /// What is remembered of opened sessions, valid or not.
    sign_ins: Vec<SignIn<'a>>,
    /// Devices that have signed in before.
    devices: Vec<Device>,
    /// Mails that are out with a token.
    mails: Vec<Mail<'a>>,
    /// What happened to the account, the newest first.
    activity: Vec<Happened<'a>>,
    /// The `before` with which `/v1/me/activity` goes on, when there is more of it than fits here; else null.
    activity_next: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct SignIn<'a> {
    session_id: &'a str,
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    client_address: &'a str,
    user_agent: &'a str,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_field_names, reason = "it consists of times, which are named like all others")]
struct Device {
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it was last shown at a login; null while it never was.
    #[schema(value_type = Option<String>, format = DateTime)]
    seen_at: Option<Timestamp>,
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Mail<'a> {
    #[schema(example = "EMAIL_VERIFICATION")]
    purpose: &'a str,
    email: &'a str,
    #[schema(value_type = String, format = DateTime)]
    sent_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
}

/// Take everything along.
#[utoipa::path(get, path = "/v1/me/export", operation_id = "exportAccount", tag = "account", security(("bearer" = []), ("cookie" = [])), responses(
    (status = 200, description = "All that is held about the user, in one document, whole.", body = Export,
        headers(("Content-Disposition" = String, description = "A file to keep."))),
    SessionProblems, ServiceProblems,
))]
pub async fn export(
    State(app): State<App>,
    Caller(caller): Caller,
    SignedIn(current): SignedIn,
) -> Result<Response, Problem> {
    let request = ExportUserRequest { user_id: current.user_id.clone(), client: Some(caller) };
    let profile = app.profiles.get(&app.auth, Key::UserId(&current.user_id));
    let (held, profile) = tokio::try_join!(app.auth.export(request), profile)?;
    let (activity, next) = all_activity(&app, &current.user_id).await?;
    let user = held.user.as_ref().ok_or_else(|| Problem::internal("auth-svc exported nobody"))?;
    let export = Export {
        account: User::from(user),
        profile: Profile::from(&profile),
        sessions: held.sessions.iter().filter_map(|listed| Listed::of(listed, &current.id)).collect(),
        sign_ins: held.sign_ins.iter().map(SignIn::from).collect(),
        devices: held.devices.iter().map(Device::from).collect(),
        mails: held.mails.iter().map(Mail::from).collect(),
        activity: activity.iter().map(Happened::from).collect(),
        activity_next: (next > 0).then(|| next.to_string()),
    };
    let mut response = reply::json(StatusCode::OK, &export)?;
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        CONTENT_DISPOSITION,
        HeaderValue::from_static("attachment; filename=\"sallyport-export.json\""),
    );
    Ok(response)
}

/// The activity as far as it fits, and where the rest begins; 0 when that is all.
async fn all_activity(app: &App, user_id: &str) -> Result<(Vec<auth::Activity>, i64), Problem> {
    let mut activity = Vec::new();
    let mut before = 0;
    while activity.len() < LONGEST_ACTIVITY {
        let request = ListActivityRequest { user_id: user_id.to_owned(), limit: HIGHEST_LIMIT, before };
        let part = app.auth.activity(request).await?;
        activity.extend(part.activity);
        before = part.next;
        if before == 0 {
            break;
        }
    }
    Ok((activity, before))
}

impl<'a> From<&'a auth::SignIn> for SignIn<'a> {
    fn from(sign_in: &'a auth::SignIn) -> Self {
        let client = sign_in.client.as_ref();
        Self {
            session_id: &sign_in.session_id,
            at: Timestamp::from(sign_in.at.as_ref()),
            client_address: client.map(|client| client.address.as_str()).unwrap_or_default(),
            user_agent: client.map(|client| client.user_agent.as_str()).unwrap_or_default(),
        }
    }
}

impl From<&auth::KnownDevice> for Device {
    fn from(device: &auth::KnownDevice) -> Self {
        Self {
            created_at: Timestamp::from(device.created_at.as_ref()),
            seen_at: device.seen_at.as_ref().map(|at| Timestamp::from(Some(at))),
            expires_at: Timestamp::from(device.expires_at.as_ref()),
        }
    }
}

impl<'a> From<&'a auth::PendingMail> for Mail<'a> {
    fn from(mail: &'a auth::PendingMail) -> Self {
        Self {
            purpose: &mail.purpose,
            email: &mail.email,
            sent_at: Timestamp::from(mail.sent_at.as_ref()),
            expires_at: Timestamp::from(mail.expires_at.as_ref()),
        }
    }
}
