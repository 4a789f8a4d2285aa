//! `GET /v1/me`.

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::App;
use crate::auth::Key;
use crate::gate::SignedIn;
use crate::openapi::{ServiceProblems, SessionProblems};
use crate::problem::Problem;
use crate::reply;
use crate::representation::{Session, User};

/// The user, and the session that asked.
#[derive(Serialize, ToSchema)]
pub(crate) struct Me<'a> {
    #[serde(flatten)]
    user: User<'a>,
    session: Session<'a>,
}

/// Who am I?
#[utoipa::path(get, path = "/v1/me", tag = "account", operation_id = "me", security(("bearer" = []), ("cookie" = [])), responses(
    (status = 200, description = "The user and the current session.", body = Me), SessionProblems, ServiceProblems,
))]
pub async fn me(State(app): State<App>, SignedIn(session): SignedIn) -> Result<Response, Problem> {
    let user = app.auth.user(Key::UserId(&session.user_id)).await?;
    reply::json(StatusCode::OK, &Me { user: User::from(&user), session: Session::from(&session) })
}
