//! `GET` and `PATCH /v1/profile`: the own one.

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::header::{CACHE_CONTROL, ETAG, VARY};
use http::{HeaderValue, StatusCode};
use proto::profile::v1::Profile;
use utoipa::ToSchema;

use crate::app::App;
use crate::auth::Key;
use crate::conditional::{IfMatch, IfNoneMatch, Tags, entity_tag};
use crate::gate::SignedIn;
use crate::json_body::MergePatch;
use crate::openapi::{ForeignChange, ServiceProblems, SessionProblems, TakesJson};
use crate::problem::{Problem, ProblemDocument};
use crate::profile_change::ProfileChange;
use crate::{reply, representation};

/// Read the own profile.
#[utoipa::path(get, path = "/v1/profile", tag = "profile", operation_id = "readOwnProfile", security(("bearer" = []), ("cookie" = [])),
    params(("If-None-Match" = Option<String>, Header, description = "ETags that the client has.")),
    responses(
        (status = 200, description = "The profile.", body = representation::Profile,
            headers(("ETag" = String, description = "`\"<user id>.<version>\"`"))),
        (status = 304, description = "The client has it."),
        SessionProblems, ServiceProblems,
    ))]
pub async fn read(
    State(app): State<App>,
    SignedIn(session): SignedIn,
    if_none_match: IfNoneMatch,
) -> Result<Response, Problem> {
    let profile = app.profiles.get(&app.auth, Key::UserId(&session.user_id)).await?;
    let tag = entity_tag(&profile);
    if if_none_match.has(&tag) {
        return Ok(with_validators(StatusCode::NOT_MODIFIED.into_response(), tag));
    }
    answer(&profile)
}

/// What may be changed. A member that is absent stays, null clears, a list is replaced whole.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
#[expect(dead_code, reason = "documents what ProfileChange reads member by member")]
pub struct ProfilePatch {
    display_name: Option<String>,
    bio: Option<String>,
    locale: Option<String>,
    timezone: Option<String>,
    links: Option<Vec<representation::Link<'static>>>,
    /// https.
    avatar_url: Option<String>,
}

/// Change the own profile.
#[utoipa::path(patch, path = "/v1/profile", tag = "profile", operation_id = "changeOwnProfile", security(("bearer" = []), ("cookie" = [])),
    params(("If-Match" = String, Header, description = "The ETag of the profile that the change was made from, or `*`.")),
    request_body(content((ProfilePatch = "application/merge-patch+json"), (ProfilePatch = "application/json"))),
    responses(
        (status = 200, description = "The profile as it is now.", body = representation::Profile,
            headers(("ETag" = String, description = "`\"<user id>.<version>\"`"))),
        (status = 412, description = "It has changed meanwhile.", body = ProblemDocument,
            content_type = "application/problem+json"),
        (status = 428, description = "If-Match is missing.", body = ProblemDocument,
            content_type = "application/problem+json"),
        TakesJson, SessionProblems, ForeignChange, ServiceProblems,
    ))]
pub async fn change(
    State(app): State<App>,
    SignedIn(session): SignedIn,
    IfMatch(if_match): IfMatch,
    MergePatch(members): MergePatch,
) -> Result<Response, Problem> {
    let if_match = if_match.ok_or(StatusCode::PRECONDITION_REQUIRED)?;
    let change = ProfileChange::from_members(members)?;
    let user_id = &session.user_id;
    let expected = match &if_match {
        Tags::Any => None,
        tags @ Tags::List(_) => match tags.versions_of(user_id).as_slice() {
            [] => return Err(StatusCode::PRECONDITION_FAILED.into()),
            [only] => Some(*only),
            several => {
                let current = app.profiles.get(&app.auth, Key::UserId(user_id)).await?.version;
                Some(current)
                    .filter(|current| several.contains(current))
                    .ok_or(StatusCode::PRECONDITION_FAILED)?
                    .into()
            }
        },
    };
    let profile = if change.is_empty() {
        let profile = app.profiles.get(&app.auth, Key::UserId(user_id)).await?;
        if expected.is_some_and(|version| version != profile.version) {
            return Err(StatusCode::PRECONDITION_FAILED.into());
        }
        profile
    } else {
        app.profiles.update(&app.auth, user_id, change, expected).await?
    };
    answer(&profile)
}

fn answer(profile: &Profile) -> Result<Response, Problem> {
    let response = reply::json(StatusCode::OK, &representation::Profile::from(profile))?;
    Ok(with_validators(response, entity_tag(profile)))
}

fn with_validators(mut response: Response, tag: String) -> Response {
    let headers = response.headers_mut();
    if let Ok(tag) = HeaderValue::try_from(tag) {
        headers.insert(ETAG, tag);
    }
    headers.insert(VARY, HeaderValue::from_static("Authorization, Cookie"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    response
}
