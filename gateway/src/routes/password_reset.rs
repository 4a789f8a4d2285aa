//! `POST /v1/password-reset` and `POST /v1/password-reset/confirm`.

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use proto::auth::v1::request_password_reset_request::Account;
use proto::auth::v1::{ConfirmPasswordResetRequest, RequestPasswordResetRequest};
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::App;
use crate::caller::Caller;
use crate::client_address::Client;
use crate::json_body::{JsonBody, Members};
use crate::limits::Subject;
use crate::openapi::{ServiceProblems, TakesJson};
use crate::problem::Problem;
use crate::reply;

/// Whose password is lost: one of both.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it describes the body; the handler reads one member of it")]
pub struct LostPassword {
    #[schema(example = "ada")]
    pub username: Option<String>,
    #[schema(format = "email")]
    pub email: Option<String>,
}

/// What a mail told, and the password that shall be.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub struct PasswordReset {
    /// Of the mail.
    pub token: String,
    #[schema(format = Password, example = "an even better passphrase")]
    pub new_password: String,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct Asked {
    message: &'static str,
}

/// Ask for a mail that lets its reader set another password.
#[utoipa::path(post, path = "/v1/password-reset", operation_id = "requestPasswordReset", tag = "account", request_body = LostPassword,
    responses(
    (status = 202, description = "If there is such an account, and it has an e-mail address, a mail is on its way; the answer is the same \
        if not.", body = Asked),
    TakesJson, ServiceProblems,
))]
pub async fn request(
    State(app): State<App>,
    client: Client,
    Caller(caller): Caller,
    JsonBody(members): JsonBody,
) -> Response {
    let mut tally = app.limits.tally();
    let outcome = async {
        let account = account(members)?;
        let subject = match &account {
            Account::Username(username) => Subject::account(username),
            Account::Email(email) => Subject::email(email),
        };
        tally.charge(&app.limits.mail_ip, Subject::address(client.address)).await?;
        tally.charge(&app.limits.mail_account, subject).await?;
        let request = RequestPasswordResetRequest { account: Some(account), client: Some(caller) };
        let outcome = app.auth.request_password_reset(request).await;
        if outcome.as_ref().is_err_and(Problem::is_unavailable) {
            tally.give_back().await;
        }
        outcome?;
        let message = "If there is such an account, and it has an e-mail address, a mail is on its way.";
        reply::json(StatusCode::ACCEPTED, &Asked { message })
    };
    let outcome = outcome.await;
    tally.stamp(outcome)
}

/// Set another password by the token of a mail; every session ends.
#[utoipa::path(post, path = "/v1/password-reset/confirm", operation_id = "confirmPasswordReset", tag = "account",
    request_body = PasswordReset, responses(
    (status = 204, description = "The new password counts, and no replica accepts any session from before. The address that the mail \
        went to is verified by it."),
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
        let PasswordReset { token, new_password } = PasswordReset::from_members(members)?;
        tally.charge(&app.limits.token_ip, Subject::address(client.address)).await?;
        let request = ConfirmPasswordResetRequest { token, new_password, client: Some(caller) };
        let outcome = app.auth.confirm_password_reset(request).await;
        tally.give_back_unless_guessed(&outcome).await;
        outcome.map(|()| StatusCode::NO_CONTENT.into_response())
    };
    let outcome = outcome.await;
    tally.stamp(outcome)
}

fn account(mut members: Members) -> Result<Account, Problem> {
    let (username, email) = (members.optional_string("username"), members.optional_string("email"));
    let account = match (username, email) {
        (Some(username), None) => Account::Username(username),
        (None, Some(email)) => Account::Email(email),
        (username, _) => {
            // What is of a wrong type has been told already.
            if username.is_some() || !members.has_complaints() {
                members.complain("", "has to have either username or email");
            }
            Account::Username(String::new())
        }
    };
    members.finish().map(|()| account)
}

impl PasswordReset {
    fn from_members(mut members: Members) -> Result<Self, Problem> {
        let token = members.required_string("token");
        let new_password = members.required_string("newPassword");
        members.finish().map(|()| Self { token, new_password })
    }
}
