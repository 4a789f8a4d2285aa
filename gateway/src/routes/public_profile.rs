//! `GET /v1/users/{username}/profile`: what everybody may see.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use http::header::{CACHE_CONTROL, ETAG};
use http::{HeaderValue, StatusCode};

use crate::app::App;
use crate::auth::Key;
use crate::conditional::{IfNoneMatch, entity_tag};
use crate::openapi::ServiceProblems;
use crate::problem::{Problem, ProblemDocument};
use crate::reply;
use crate::representation::PublicProfile;

/// Read the public part of a profile.
#[utoipa::path(get, path = "/v1/users/{username}/profile", tag = "profile", operation_id = "readPublicProfile",
    params(
        ("username" = String, Path, description = "Whatever its case."),
        ("If-None-Match" = Option<String>, Header, description = "ETags that the client has."),
    ),
    responses(
        (status = 200, description = "The public part.", body = PublicProfile,
            headers(("ETag" = String, description = "`\"<user id>.<version>\"`"))),
        (status = 304, description = "The client has it."),
        (status = 404, description = "There is no such user.", body = ProblemDocument,
            content_type = "application/problem+json"),
        ServiceProblems,
    ))]
pub async fn read(
    State(app): State<App>,
    username: Result<Path<String>, PathRejection>,
    if_none_match: IfNoneMatch,
) -> Result<Response, Problem> {
    // A path that is no UTF-8 names nobody.
    let Path(username) = username.map_err(|_| unknown())?;
    let profile = match app.profiles.get(&app.auth, Key::Username(&username)).await {
        Ok(profile) => profile,
        Err(problem) if matches!(problem.status(), StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST) => {
            return Err(unknown());
        }
        Err(problem) => return Err(problem),
    };
    let tag = entity_tag(&profile);
    let mut response = if if_none_match.has(&tag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        reply::json(StatusCode::OK, &PublicProfile::from(&profile))?
    };
    let headers = response.headers_mut();
    if let Ok(tag) = HeaderValue::try_from(tag) {
        headers.insert(ETAG, tag);
    }
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, no-cache"));
    Ok(response)
}

/// The same for a name that nobody has and for one that nobody can have.
fn unknown() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "PROFILE_NOT_FOUND", "There is no user of this name.")
}
