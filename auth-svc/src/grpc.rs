//! The wire side of auth-svc: decode, call, encode. Conversions from and to protobuf live here alone.

use std::pin::Pin;
use std::time::Duration;

use chassis::call_stream;
use chassis::shutdown::Shutdown;
use chassis::status::to_status;
use proto::auth::v1 as pb;
use time::OffsetDateTime;
use tonic::{Request, Response, Status, Streaming};

use crate::error::AuthError;
use crate::service::{AuthService, Login};
use crate::session_clients::Client;
use crate::sessions::Session;
use crate::users::User;

mod frames;

use frames::ValidateSessionFrames;

/// The RPCs over the use cases.
pub struct AuthGrpc {
    service: AuthService,
    shutdown: Shutdown,
}

impl AuthGrpc {
    pub fn new(service: AuthService, shutdown: Shutdown) -> Self {
        Self { service, shutdown }
    }
}

type Answers<T> = Pin<Box<dyn tokio_stream::Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl pb::auth_service_server::AuthService for AuthGrpc {
    type ValidateSessionStreamStream = Answers<pb::ValidateSessionStreamResponse>;

    async fn register(
        &self,
        request: Request<pb::RegisterRequest>,
    ) -> Result<Response<pb::RegisterResponse>, Status> {
        let pb::RegisterRequest { username, password, email } = request.into_inner();
        let user = self.service.register(&username, &password, email.as_deref()).await.map_err(failed)?;
        Ok(Response::new(pb::RegisterResponse { user: Some(encode_user(user)) }))
    }

    async fn login(&self, request: Request<pb::LoginRequest>) -> Result<Response<pb::LoginResponse>, Status> {
        let pb::LoginRequest { username, password, client } = request.into_inner();
        let client = decode_client(client);
        let login = self.service.login(&username, &password, &client).await.map_err(failed)?;
        let Login { token, user, session } = login;
        Ok(Response::new(pb::LoginResponse {
            token: token.encoded().to_owned(),
            user: Some(encode_user(user)),
            session: Some(encode_session(&session)),
        }))
    }

    async fn validate_session(
        &self,
        request: Request<pb::ValidateSessionRequest>,
    ) -> Result<Response<pb::ValidateSessionResponse>, Status> {
        validate_session(&self.service, request.into_inner()).await.map(Response::new)
    }

    async fn validate_session_stream(
        &self,
        request: Request<Streaming<pb::ValidateSessionStreamRequest>>,
    ) -> Result<Response<Self::ValidateSessionStreamStream>, Status> {
        let service = self.service.clone();
        let handler = move |request| {
            let service = service.clone();
            async move { validate_session(&service, request).await }
        };
        let answers = call_stream::serve::<ValidateSessionFrames, _, _>(
            request.into_inner(),
            handler,
            "sallyport.auth.v1.AuthService/ValidateSession",
            &self.shutdown,
        );
        Ok(Response::new(Box::pin(answers)))
    }

    async fn logout(
        &self,
        request: Request<pb::LogoutRequest>,
    ) -> Result<Response<pb::LogoutResponse>, Status> {
        let token = self.service.logout(&request.into_inner().token).await.map_err(failed)?;
        Ok(Response::new(pb::LogoutResponse {
            session_id: token.digest().id.to_string(),
            user_id: token.user_id().to_string(),
        }))
    }

    async fn get_user(
        &self,
        request: Request<pb::GetUserRequest>,
    ) -> Result<Response<pb::GetUserResponse>, Status> {
        use pb::get_user_request::Key;
        let user = match request.into_inner().key {
            Some(Key::UserId(id)) => self.service.user_by_id(&id).await,
            Some(Key::Username(username)) => self.service.user_by_username(&username).await,
            None => return Err(Status::invalid_argument("user_id or username has to be set")),
        };
        Ok(Response::new(pb::GetUserResponse { user: Some(encode_user(user.map_err(failed)?)) }))
    }

    async fn list_sessions(
        &self,
        request: Request<pb::ListSessionsRequest>,
    ) -> Result<Response<pb::ListSessionsResponse>, Status> {
        let sessions = self.service.list_sessions(&request.into_inner().user_id).await.map_err(failed)?;
        let listed = sessions.into_iter().map(|(session, client)| pb::ListedSession {
            session: Some(encode_session(&session)),
            client: client.map(|Client { address, user_agent }| pb::Client { address, user_agent }),
        });
        Ok(Response::new(pb::ListSessionsResponse { sessions: listed.collect() }))
    }

    async fn end_session(
        &self,
        request: Request<pb::EndSessionRequest>,
    ) -> Result<Response<pb::EndSessionResponse>, Status> {
        let pb::EndSessionRequest { user_id, session_id } = request.into_inner();
        self.service.end_session(&user_id, &session_id).await.map_err(failed)?;
        Ok(Response::new(pb::EndSessionResponse {}))
    }

    async fn end_sessions(
        &self,
        request: Request<pb::EndSessionsRequest>,
    ) -> Result<Response<pb::EndSessionsResponse>, Status> {
        let pb::EndSessionsRequest { user_id, kept_session_id } = request.into_inner();
        let ended = self.service.end_sessions(&user_id, &kept_session_id).await.map_err(failed)?;
        Ok(Response::new(pb::EndSessionsResponse { ended }))
    }

    async fn change_password(
        &self,
        request: Request<pb::ChangePasswordRequest>,
    ) -> Result<Response<pb::ChangePasswordResponse>, Status> {
        let pb::ChangePasswordRequest { user_id, current_password, new_password, kept_session_id } =
            request.into_inner();
        let changed =
            self.service.change_password(&user_id, &current_password, &new_password, &kept_session_id);
        changed.await.map_err(failed)?;
        Ok(Response::new(pb::ChangePasswordResponse {}))
    }
}

/// One validation, unary or from a stream.
async fn validate_session(
    service: &AuthService,
    request: pb::ValidateSessionRequest,
) -> Result<pb::ValidateSessionResponse, Status> {
    let session = service.validate(&request.token).await.map_err(failed)?;
    Ok(pb::ValidateSessionResponse { session: Some(encode_session(&session)) })
}

#[expect(clippy::needless_pass_by_value, reason = "it is what map_err hands over")]
fn failed(error: AuthError) -> Status {
    to_status(&error)
}

fn decode_client(client: Option<pb::Client>) -> Client {
    client.map(|client| Client::new(&client.address, &client.user_agent)).unwrap_or_default()
}

fn encode_user(user: User) -> pb::User {
    pb::User {
        id: user.id.to_string(),
        username: user.username,
        email: user.email,
        created_at: Some(encode_time(user.created_at)),
    }
}

fn encode_time(time: OffsetDateTime) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: time.unix_timestamp(), nanos: time.nanosecond().cast_signed() }
}

fn encode_session(session: &Session) -> pb::Session {
    pb::Session {
        id: session.id.to_string(),
        user_id: session.user_id.to_string(),
        created_at: Some(encode_millis(session.created_ms)),
        last_seen_at: Some(encode_millis(session.seen_ms)),
        expires_in: Some(encode_duration(session.expires_in)),
    }
}

fn encode_millis(millis: i64) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: millis.div_euclid(1000),
        nanos: (millis.rem_euclid(1000) * 1_000_000) as i32,
    }
}

fn encode_duration(duration: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: duration.as_secs().cast_signed(),
        nanos: duration.subsec_nanos().cast_signed(),
    }
}
