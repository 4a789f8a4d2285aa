//! `DELETE /v1/me`.

use axum::extract::{FromRequest as _, Request, State};
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use proto::auth::v1::DeleteUserRequest;
use utoipa::ToSchema;

use crate::app::App;
use crate::caller::Caller;
use crate::client_address::Client;
use crate::credentials::Credential;
use crate::gate::SignedIn;
use crate::json_body::{JsonBody, Members};
use crate::limits::{Subject, Tally};
use crate::openapi::{ServiceProblems, SessionProblems, TakesJson};
use crate::problem::{Problem, ProblemDocument};
use crate::routes::logout;

/// Shows that it is the user who wants to go.
#[derive(ToSchema)]
pub struct Farewell {
    #[schema(format = Password, example = "correct horse battery staple")]
    pub password: String,
}

/// Delete the account; nothing of it stays.
#[utoipa::path(delete, path = "/v1/me", operation_id = "deleteAccount", tag = "account", security(("bearer" = []), ("cookie" = [])),
    request_body = Farewell, responses(
    (status = 204, description = "The user is gone, no replica accepts any of the sessions any more, and the name is free. What other \
        services hold goes within moments, or as soon as they are back.",
        headers(("Clear-Site-Data" = Option<String>, description = "For a cookie session."))),
    (status = 403, description = "The password is wrong, or another site asks for it with a cookie.", body = ProblemDocument,
        content_type = "application/problem+json"),
    SessionProblems, TakesJson, ServiceProblems,
))]
pub async fn delete(
    State(app): State<App>,
    client: Client,
    Caller(caller): Caller,
    SignedIn(current): SignedIn,
    request: Request,
) -> Response {
    let mut tally = app.limits.tally();
    let outcome = async {
        let (parts, body) = request.into_parts();
        let is_cookie = matches!(Credential::of(&parts, &client), Credential::Cookie(_));
        let JsonBody(members) = JsonBody::from_request(Request::from_parts(parts, body), &app).await?;
        let Farewell { password } = Farewell::from_members(members)?;
        // As at a change of the password: whoever found a session open must not find it out.
        tally.charge(&app.limits.login_account, Subject::user_id(&current.user_id)).await?;
        let request = DeleteUserRequest { user_id: current.user_id, password, client: Some(caller) };
        delete_user(&app, request, &mut tally).await?;
        let mut response = StatusCode::NO_CONTENT.into_response();
        if is_cookie {
            logout::clear_browser(&mut response, &client);
        }
        Ok::<_, Problem>(response)
    };
    let outcome = outcome.await;
    tally.stamp(outcome)
}

async fn delete_user<'a>(
    app: &'a App,
    request: DeleteUserRequest,
    tally: &mut Tally<'a>,
) -> Result<(), Problem> {
    let outcome = app.auth.delete_user(request).await;
    match &outcome {
        Ok(()) => tally.succeeded().await,
        // Only wrong guesses count.
        Err(problem) if problem.code() == "WRONG_PASSWORD" => {}
        Err(_) => tally.give_back().await,
    }
    outcome
}

impl Farewell {
    fn from_members(mut members: Members) -> Result<Self, Problem> {
        let password = members.required_string("password");
        members.finish().map(|()| Self { password })
    }
}
