//! `/v1/sessions`: where the user is signed in, and an end to it.

use axum::extract::{OriginalUri, Path, State};
use axum::response::{IntoResponse as _, Response};
use http::{HeaderValue, StatusCode, header};
use proto::auth::v1 as auth;
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use crate::app::App;
use crate::caller::Caller;
use crate::gate::SignedIn;
use crate::openapi::{ForeignChange, ServiceProblems, SessionProblems};
use crate::problem::{Problem, ProblemDocument};
use crate::reply;
use crate::representation::Session;

/// The user's valid sessions, the newest first.
#[derive(Serialize, ToSchema)]
pub(crate) struct Sessions<'a> {
    sessions: Vec<Listed<'a>>,
}

/// A session, and where it was opened from.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Listed<'a> {
    #[serde(flatten)]
    session: Session<'a>,
    /// As at the login; null when it is not known.
    client_address: Option<&'a str>,
    /// As at the login; null when it is not known.
    user_agent: Option<&'a str>,
    /// Whether it is the one that asks.
    current: bool,
}

impl<'a> Listed<'a> {
    pub(super) fn of(listed: &'a auth::ListedSession, current_id: &str) -> Option<Self> {
        let session = listed.session.as_ref()?;
        let client = listed.client.as_ref();
        Some(Self {
            session: Session::from(session),
            client_address: client.map(|client| client.address.as_str()),
            user_agent: client.map(|client| client.user_agent.as_str()),
            current: session.id == current_id,
        })
    }
}

/// Which sessions end.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it describes the query; the handler reads one flag")]
pub(crate) struct Which {
    /// Whether the session that asks ends as well.
    #[param(required = false, default = false)]
    #[param(rename = "includeCurrent")]
    include_current: bool,
}

/// Where am I signed in?
#[utoipa::path(get, path = "/v1/sessions", operation_id = "listSessions", tag = "session", security(("bearer" = []), ("cookie" = [])), responses(
    (status = 200, description = "Every session that is valid right now, and no other.", body = Sessions),
    SessionProblems, ServiceProblems,
))]
pub async fn list(State(app): State<App>, SignedIn(current): SignedIn) -> Result<Response, Problem> {
    let listed = app.auth.sessions(&current.user_id).await?;
    let sessions = listed.iter().filter_map(|listed| Listed::of(listed, &current.id));
    let mut response = reply::json(StatusCode::OK, &Sessions { sessions: sessions.collect() })?;
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// End one session, everywhere and for good.
#[utoipa::path(delete, path = "/v1/sessions/{id}", operation_id = "endSession", tag = "session", security(("bearer" = []), ("cookie" = [])),
    params(("id" = String, Path, description = "The session's id, as the list tells it.")), responses(
    (status = 204, description = "No replica accepts the session any more."),
    (status = 404, description = "The user has no such session.", body = ProblemDocument,
        content_type = "application/problem+json"),
    SessionProblems, ForeignChange, ServiceProblems,
))]
pub async fn end_one(
    State(app): State<App>,
    SignedIn(current): SignedIn,
    Caller(caller): Caller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    app.auth.end_session(&current.user_id, id, caller).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// End all other sessions, or all of them, everywhere and for good.
#[utoipa::path(delete, path = "/v1/sessions", operation_id = "endSessions", tag = "session", security(("bearer" = []), ("cookie" = [])),
    params(Which), responses(
    (status = 204, description = "No replica accepts any of them any more."),
    (status = 400, description = "`includeCurrent` is neither true nor false.", body = ProblemDocument,
        content_type = "application/problem+json"),
    SessionProblems, ForeignChange, ServiceProblems,
))]
pub async fn end_all(
    State(app): State<App>,
    SignedIn(current): SignedIn,
    Caller(caller): Caller,
    OriginalUri(uri): OriginalUri,
) -> Result<Response, Problem> {
    let kept = if includes_current(uri.query().unwrap_or_default())? { "" } else { &current.id };
    app.auth.end_sessions(&current.user_id, kept, caller).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// What ends must not be guessed: another spelling is refused.
fn includes_current(query: &str) -> Result<bool, Problem> {
    let mut includes = false;
    for (name, value) in query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "true"))) {
        includes = match (name, value) {
            ("includeCurrent", "true") => true,
            ("includeCurrent", "false") => false,
            ("includeCurrent", _) => {
                let detail = "includeCurrent has to be true or false.";
                return Err(Problem::new(StatusCode::BAD_REQUEST, "INVALID_QUERY", detail));
            }
            _ => includes,
        };
    }
    Ok(includes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_current_session_ends_only_when_it_is_said_so() {
        for (query, expected) in [
            ("", Some(false)),
            ("includeCurrent=true", Some(true)),
            ("includeCurrent", Some(true)),
            ("includeCurrent=false", Some(false)),
            ("other=1&includeCurrent=true", Some(true)),
            ("includeCurrent=yes", None),
            ("includeCurrent=", None),
        ] {
            assert_eq!(includes_current(query).ok(), expected, "{query}");
        }
    }
}
