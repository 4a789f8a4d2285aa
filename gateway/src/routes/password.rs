//! `PUT /v1/password`.

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use proto::auth::v1::ChangePasswordRequest;
use utoipa::ToSchema;

use crate::app::App;
use crate::caller::Caller;
use crate::gate::SignedIn;
use crate::json_body::{JsonBody, Members};
use crate::limits::Subject;
use crate::openapi::{ServiceProblems, SessionProblems, TakesJson};
use crate::problem::{Problem, ProblemDocument};

/// The password that is, and the one that shall be.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub struct PasswordChange {
    #[schema(format = Password, example = "correct horse battery staple")]
    pub current_password: String,
    #[schema(format = Password, example = "an even better passphrase")]
    pub new_password: String,
}

/// Change the password; every other session ends.
#[utoipa::path(put, path = "/v1/password", operation_id = "changePassword", tag = "account", security(("bearer" = []), ("cookie" = [])),
    request_body = PasswordChange, responses(
    (status = 204, description = "The new password counts, and no replica accepts any other session any more."),
    (status = 403, description = "The current password is wrong, or another site asks for the change with a cookie.", body = ProblemDocument,
        content_type = "application/problem+json"),
    SessionProblems, TakesJson, ServiceProblems,
))]
pub async fn change(
    State(app): State<App>,
    Caller(caller): Caller,
    SignedIn(current): SignedIn,
    JsonBody(members): JsonBody,
) -> Response {
    let mut tally = app.limits.tally();
    let outcome = async {
        let change = PasswordChange::from_members(members)?;
        // Whoever found a session open must not find out the password by it. The quota is the user's own: no stranger who guesses at
        // the login uses it up, from whatever address.
        tally.charge(&app.limits.login_account, Subject::user_id(&current.user_id)).await?;
        let request = ChangePasswordRequest {
            user_id: current.user_id,
            current_password: change.current_password,
            new_password: change.new_password,
            kept_session_id: current.id,
            client: Some(caller),
        };
        let outcome = app.auth.change_password(request).await;
        match &outcome {
            Ok(()) => tally.succeeded().await,
            // Only wrong guesses count.
            Err(problem) if problem.code() == "WRONG_PASSWORD" => {}
            Err(_) => tally.give_back().await,
        }
        outcome.map(|()| StatusCode::NO_CONTENT.into_response())
    };
    let outcome = outcome.await;
    tally.stamp(outcome)
}

impl PasswordChange {
    fn from_members(mut members: Members) -> Result<Self, Problem> {
        let current_password = members.required_string("currentPassword");
        let new_password = members.required_string("newPassword");
        members.finish().map(|()| Self { current_password, new_password })
    }
}
