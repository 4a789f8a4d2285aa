//! `POST /v1/login`.

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use http::header::SET_COOKIE;
use proto::auth::v1::{self as auth, LoginRequest, LoginResponse};
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::App;
use crate::caller::Caller;
use crate::client_address::Client;
use crate::credentials;
use crate::json_body::{JsonBody, Members};
use crate::limits::{Subject, Tally};
use crate::openapi::{ServiceProblems, TakesJson};
use crate::problem::{Problem, ProblemDocument};
use crate::reply;
use crate::representation::{User, expires_in};

/// Name, password, and how the token is to travel.
#[derive(ToSchema)]
pub struct Credentials {
    #[schema(example = "ada")]
    pub username: String,
    #[schema(format = Password, example = "correct horse battery staple")]
    pub password: String,
    /// `bearer` when it is not given.
    #[schema(value_type = Option<Transport>)]
    pub transport: Transport,
}

/// How the token travels from then on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ToSchema)]
#[schema(rename_all = "lowercase")]
pub enum Transport {
    /// In the answer, and then in the `Authorization` header.
    Bearer,
    /// In a cookie that scripts cannot read.
    Cookie,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LoggedIn<'a> {
    /// For the `Authorization` header; absent when it came as a cookie.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<&'a str>,
    /// Seconds that the session lives if it is not used.
    expires_in: u64,
    user: User<'a>,
}

/// Log in.
#[utoipa::path(post, path = "/v1/login", tag = "session", operation_id = "login", request_body = Credentials, responses(
    (status = 200, description = "A session; with transport `cookie` the token is in `Set-Cookie` alone.", body = LoggedIn,
        headers(("Set-Cookie" = Option<String>, description = "With transport `cookie`."))),
    (status = 401, description = "Unknown user or wrong password.", body = ProblemDocument,
        content_type = "application/problem+json"),
    TakesJson, ServiceProblems,
))]
pub async fn login(
    State(app): State<App>,
    client: Client,
    Caller(caller): Caller,
    JsonBody(members): JsonBody,
) -> Response {
    let mut tally = app.limits.tally();
    let outcome = sign_in(&app, &client, caller, members, &mut tally).await;
    tally.stamp(outcome)
}

async fn sign_in<'a>(
    app: &'a App,
    client: &Client,
    caller: auth::Client,
    members: Members,
    tally: &mut Tally<'a>,
) -> Result<Response, Problem> {
    let credentials = Credentials::from_members(members)?;
    let as_cookie = credentials.transport == Transport::Cookie;
    if as_cookie && !credentials::can_take_cookie(client) {
        return Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "COOKIE_NEEDS_HTTPS",
            "A cookie session needs https; over plain http it works on the same machine alone.",
        ));
    }
    tally.charge(&app.limits.login_ip, Subject::address(client.address)).await?;
    tally.charge(&app.limits.login_account, Subject::account(&credentials.username)).await?;
    let request =
        LoginRequest { username: credentials.username, password: credentials.password, client: Some(caller) };
    let outcome = app.auth.login(request).await;
    // Only guesses count. An outage is nobody's guess.
    if outcome.as_ref().err().is_none_or(Problem::is_unavailable) {
        tally.give_back().await;
    }
    let LoginResponse { token, user, session } = outcome?;
    let (Some(user), Some(session)) = (user, session) else {
        return Err(Problem::internal("auth-svc answered a login without user or session"));
    };
    app.profiles.record_seen_later(&app.shutdown, user.id.clone());
    let logged_in = LoggedIn {
        token: (!as_cookie).then_some(token.as_str()),
        expires_in: expires_in(&session),
        user: User::from(&user),
    };
    let mut response = reply::json(StatusCode::OK, &logged_in)?;
    if as_cookie && let Some(cookie) = credentials::set_cookie(client, &token) {
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
    Ok(response)
}

impl Credentials {
    fn from_members(mut members: Members) -> Result<Self, Problem> {
        let username = members.required_string("username");
        let password = members.required_string("password");
        let transport = match members.optional_string("transport").as_deref() {
            None | Some("bearer") => Transport::Bearer,
            Some("cookie") => Transport::Cookie,
            Some(_) => {
                members.complain("/transport", "has to be bearer or cookie");
                Transport::Bearer
            }
        };
        members.finish().map(|()| Self { username, password, transport })
    }
}
