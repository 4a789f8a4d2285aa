//! `POST /v1/email-verification` and `POST /v1/email-verification/confirm`.

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use proto::auth::v1::ConfirmEmailVerificationRequest;
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::App;
use crate::caller::Caller;
use crate::client_address::Client;
use crate::gate::SignedIn;
use crate::json_body::{JsonBody, Members};
use crate::limits::Subject;
use crate::openapi::{ForeignChange, ServiceProblems, SessionProblems, TakesJson};
use crate::problem::{Problem, ProblemDocument};
use crate::reply;

/// What a mail told.
#[derive(ToSchema)]
pub struct MailedToken {
    pub token: String,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct OnItsWay {
    message: &'static str,
}

/// Ask for a mail that verifies the own e-mail address.
#[utoipa::path(post, path = "/v1/email-verification", operation_id = "requestEmailVerification", tag = "account",
    security(("bearer" = []), ("cookie" = [])), responses(
    (status = 202, description = "A mail is on its way.", body = OnItsWay),
    (status = 409, description = "The account has no e-mail address (`EMAIL_MISSING`), or it is verified already (`EMAIL_VERIFIED`).",
        body = ProblemDocument, content_type = "application/problem+json"),
    SessionProblems, ForeignChange, ServiceProblems,
))]
pub async fn request(State(app): State<App>, client: Client, SignedIn(current): SignedIn) -> Response {
    let mut tally = app.limits.tally();
    let outcome = async {
        tally.charge(&app.limits.mail_ip, Subject::address(client.address)).await?;
        tally.charge(&app.limits.mail_account, Subject::user_id(&current.user_id)).await?;
        let outcome = app.auth.request_email_verification(current.user_id).await;
        if outcome.is_err() {
            tally.give_back().await;
        }
        outcome?;
        reply::json(StatusCode::ACCEPTED, &OnItsWay { message: "A mail is on its way." })
    };
    let outcome = outcome.await;
    tally.stamp(outcome)
}

/// Verify an e-mail address by the token of a mail; it needs no session.
#[utoipa::path(post, path = "/v1/email-verification/confirm", operation_id = "confirmEmailVerification", tag = "account",
    request_body = MailedToken, responses(
    (status = 204, description = "The address is verified."),
    TakesJson, ServiceProblems,
))]
pub async fn confirm(
    State(app): State<App>,
    client: Client,
    Caller(caller): Caller,
    JsonBody(members): JsonBody,
) -> Response {
    let mut tally = app.limits.tally();
    let outcome = async {
        let MailedToken { token } = MailedToken::from_members(members)?;
        tally.charge(&app.limits.token_ip, Subject::address(client.address)).await?;
        let request = ConfirmEmailVerificationRequest { token, client: Some(caller) };
        let outcome = app.auth.confirm_email_verification(request).await;
        tally.give_back_unless_guessed(&outcome).await;
        outcome.map(|()| StatusCode::NO_CONTENT.into_response())
    };
    let outcome = outcome.await;
    tally.stamp(outcome)
}

impl MailedToken {
    fn from_members(mut members: Members) -> Result<Self, Problem> {
        let token = members.required_string("token");
        members.finish().map(|()| Self { token })
    }
}
