//! `POST /v1/logout`.

use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use http::header::SET_COOKIE;
use http::request::Parts;
use http::{HeaderName, HeaderValue, StatusCode};

use crate::app::App;
use crate::caller::Caller;
use crate::client_address::Client;
use crate::credentials::{self, Credential};
use crate::limits::Tally;
use crate::openapi::{ForeignChange, ServiceProblems, SessionProblems};
use crate::problem::Problem;
use crate::{cross_site, gate};

const CLEAR_SITE_DATA: HeaderName = HeaderName::from_static("clear-site-data");

/// End the session, everywhere and for good.
#[utoipa::path(post, path = "/v1/logout", tag = "session", operation_id = "logout", security(("bearer" = []), ("cookie" = [])), responses(
    (status = 204, description = "No replica accepts the session any more.",
        headers(("Clear-Site-Data" = Option<String>, description = "For a cookie session."))),
    SessionProblems, ForeignChange, ServiceProblems,
))]
pub async fn logout(State(app): State<App>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let mut tally = app.limits.tally();
    let outcome = end_session(&app, &parts, &mut tally).await;
    tally.stamp(outcome)
}

/// Not behind the gate: a session that may ask no more today may still be ended.
async fn end_session<'a>(app: &'a App, parts: &Parts, tally: &mut Tally<'a>) -> Result<Response, Problem> {
    let client = Client::of(parts, &app.settings.trusted_proxies);
    let credential = Credential::of(parts, &client);
    let is_cookie = match credential {
        Credential::None => return Err(Problem::no_session()),
        Credential::Bearer(_) => false,
        Credential::Cookie(_) => true,
    };
    if is_cookie {
        cross_site::refuse_foreign(parts, &client, &app.settings.cors_origins)?;
    }
    let Some(token) = credential.token() else {
        return Err(gate::refuse_made_up(&app.limits, &client, tally).await);
    };
    let Caller(caller) = Caller::of(parts, &client);
    match app.auth.logout(token, caller).await {
        Ok(()) => {}
        Err(problem) if problem.is_no_session() => {
            return Err(gate::refuse_made_up(&app.limits, &client, tally).await);
        }
        Err(problem) => return Err(problem),
    }
    let mut response = StatusCode::NO_CONTENT.into_response();
    if is_cookie {
        clear_browser(&mut response, &client);
    }
    Ok(response)
}

/// Tells a browser to forget the session and all that belonged to it.
pub(super) fn clear_browser(response: &mut Response, client: &Client) {
    let headers = response.headers_mut();
    headers.insert(CLEAR_SITE_DATA, HeaderValue::from_static("\"cache\",\"cookies\",\"storage\""));
    if let Some(cleared) = credentials::clear_cookie(client) {
        headers.insert(SET_COOKIE, cleared);
    }
}
