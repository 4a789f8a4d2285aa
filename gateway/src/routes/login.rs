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
use crate::known_client::Shown;
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
    /// The `deviceToken` of an earlier login from this device; where it came as a cookie there is no need to tell it.
    pub device: Option<String>,
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
    /// To be kept and shown as `device` at the next login: while somebody else guesses at this account, logins that show it are still
    /// let in. Absent when it came as a cookie.
    #[serde(skip_serializing_if = "Option::is_none")]
    device_token: Option<&'a str>,
}

/// Log in. While the account or the address is refused because of too many failures, a login that shows a session or a device of that
/// very user (`device`, cookie, or `Authorization`) is still let in, within a small quota of its own.
#[utoipa::path(post, path = "/v1/login", tag = "session", operation_id = "login", request_body = Credentials, responses(
    (status = 200, description = "A session; with transport `cookie` the tokens are in `Set-Cookie` alone.", body = LoggedIn,
        headers(("Set-Cookie" = Option<String>, description = "With transport `cookie`."))),
    (status = 401, description = "Unknown user or wrong password.", body = ProblemDocument,
        content_type = "application/problem+json"),
    TakesJson, ServiceProblems,
))]
pub async fn login(
    State(app): State<App>,
    client: Client,
    Caller(caller): Caller,
    shown: Shown,
    JsonBody(members): JsonBody,
) -> Response {
    let mut tally = app.limits.tally();
    let outcome = sign_in(&app, &client, caller, shown, members, &mut tally).await;
    tally.stamp(outcome)
}

async fn sign_in<'a>(
    app: &'a App,
    client: &Client,
    caller: auth::Client,
    mut shown: Shown,
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
    if let Some(device) = credentials.device {
        shown.device = device;
    }
    let device = shown.device.clone();
    app.auth.check_room_for_password().await?;
    if let Err(refusal) = admit(app, client, &credentials.username, tally).await {
        shown.admit(app, client, &credentials.username, refusal, tally).await?;
    }
    let Credentials { username, password, .. } = credentials;
    let request = LoginRequest { username, password, client: Some(caller), device };
    let outcome = app.auth.login(request).await;
    // Only guesses count. An outage is nobody's guess.
    match &outcome {
        Ok(_) => tally.succeeded().await,
        Err(problem) if problem.is_unavailable() => tally.give_back().await,
        Err(_) => {}
    }
    let LoginResponse { token, user, session, device } = outcome?;
    let (Some(user), Some(session)) = (user, session) else {
        return Err(Problem::internal("auth-svc answered a login without user or session"));
    };
    app.profiles.record_seen_later(&app.shutdown, user.id.clone());
    let logged_in = LoggedIn {
        token: (!as_cookie).then_some(token.as_str()),
        expires_in: expires_in(&session),
        user: User::from(&user),
        device_token: device.as_ref().filter(|_| !as_cookie).map(|device| device.token.as_str()),
    };
    let mut response = reply::json(StatusCode::OK, &logged_in)?;
    if as_cookie {
        let device = device.and_then(|device| {
            let lifetime = device.expires_in.and_then(|lifetime| lifetime.try_into().ok())?;
            credentials::set_device_cookie(client, &device.token, lifetime)
        });
        let cookies = credentials::set_cookie(client, &token).into_iter().chain(device);
        response.headers_mut().extend(cookies.map(|cookie| (SET_COOKIE, cookie)));
    }
    Ok(response)
}

/// Anybody may guess so often from an address, and so often at an account.
async fn admit<'a>(
    app: &'a App,
    client: &Client,
    username: &str,
    tally: &mut Tally<'a>,
) -> Result<(), Problem> {
    tally.charge(&app.limits.login_ip, Subject::address(client.address)).await?;
    tally.charge(&app.limits.login_account, Subject::account(username)).await
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
        let device = members.optional_string("device");
        members.finish().map(|()| Self { username, password, transport, device })
    }
}
