//! `POST /v1/register`.

use axum::extract::State;
use axum::response::Response;
use http::{HeaderValue, StatusCode};
use proto::auth::v1::{self as auth, RegisterRequest};
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::App;
use crate::caller::Caller;
use crate::client_address::Client;
use crate::idempotency_key::{IDEMPOTENCY_REPLAYED, IdempotencyKey};
use crate::json_body::{JsonBody, Members};
use crate::limits::Subject;
use crate::openapi::{ServiceProblems, TakesJson};
use crate::problem::{Problem, ProblemDocument};
use crate::reply;
use crate::representation::User;

/// What a new user tells.
#[derive(ToSchema)]
pub struct Registration {
    /// 3 to 32 characters; unique whatever its case.
    #[schema(example = "ada")]
    pub username: String,
    /// At least 15 characters, any of them.
    #[schema(format = Password, example = "correct horse battery staple")]
    pub password: String,
    #[schema(format = "email")]
    pub email: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct Registered<'a> {
    message: &'static str,
    user: User<'a>,
}

/// Create an account. With an `Idempotency-Key` it may be asked for again for 24 hours, from the same address: it is created once, and a
/// repetition gets the first answer. A request that failed can be repeated with the same key and other fields.
#[utoipa::path(post, path = "/v1/register", tag = "account", operation_id = "register", request_body = Registration, params(
    ("Idempotency-Key" = Option<String>, Header, description = "A string in double quotes that the client makes up.", example = "\"8e03978e-40d5-43dd-bc93-6894a57f9324\""),
), responses(
    (status = 201, description = "The account exists.", body = Registered,
        headers(("Idempotency-Replayed" = Option<bool>, description = "`true`: it was created by an earlier request with this key."))),
    (status = 422, description = "The `Idempotency-Key` was used for another request.", body = ProblemDocument,
        content_type = "application/problem+json"),
    (status = 409, description = "The username is taken; or a request with the same `Idempotency-Key` is still running, see `Retry-After`.", body = ProblemDocument, content_type = "application/problem+json"),
    TakesJson, ServiceProblems,
))]
pub async fn register(
    State(app): State<App>,
    client: Client,
    Caller(caller): Caller,
    IdempotencyKey(key): IdempotencyKey,
    JsonBody(members): JsonBody,
) -> Response {
    let mut tally = app.limits.tally();
    let outcome = async {
        let registration = Registration::from_members(members)?;
        app.auth.check_room_for_password().await?;
        tally.charge(&app.limits.register_ip, Subject::address(client.address)).await?;
        match app.auth.register(registration.request(caller, key)).await {
            Ok((user, replayed)) => {
                app.profiles.create_eagerly(&user).await;
                let registered = Registered { message: "User registered.", user: User::from(&user) };
                let mut response = reply::json(StatusCode::CREATED, &registered)?;
                if replayed {
                    response.headers_mut().insert(IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"));
                }
                Ok(response)
            }
            Err(problem) => {
                if problem.is_unavailable() {
                    tally.give_back().await;
                }
                Err(problem)
            }
        }
    }
    .await;
    tally.stamp(outcome)
}

impl Registration {
    fn request(self, caller: auth::Client, idempotency_key: String) -> RegisterRequest {
        let Self { username, password, email } = self;
        RegisterRequest { username, password, email, client: Some(caller), idempotency_key }
    }

    fn from_members(mut members: Members) -> Result<Self, Problem> {
        let registration = Self {
            username: members.required_string("username"),
            password: members.required_string("password"),
            email: members.optional_string("email"),
        };
        members.finish().map(|()| registration)
    }
}
