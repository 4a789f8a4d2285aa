//! The wire side of auth-svc: decode, call, encode. Conversions from and to protobuf live here alone.

use chassis::call_stream::{Answers, answer};
use chassis::shutdown::Shutdown;
use proto::auth::v1 as pb;
use tonic::{Request, Response, Status, Streaming};

use crate::service::{AuthService, KnownAs, Login, Named, Registered};

mod convert;
mod export;
mod frames;

use convert::{decode_client, encode_activity, encode_device, encode_session, encode_user, failed};
use export::{encode_export, encode_listed};
use frames::{GetUserFrames, ValidateSessionFrames};

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

#[tonic::async_trait]
impl pb::auth_service_server::AuthService for AuthGrpc {
    type ValidateSessionStreamStream = Answers<pb::ValidateSessionStreamResponse>;
    type GetUserStreamStream = Answers<pb::GetUserStreamResponse>;

    async fn register(
        &self,
        request: Request<pb::RegisterRequest>,
    ) -> Result<Response<pb::RegisterResponse>, Status> {
        let pb::RegisterRequest { username, password, email, client, idempotency_key } = request.into_inner();
        let (email, client) = (email.as_deref(), decode_client(client));
        let registered = self.service.register_once(&idempotency_key, &username, &password, email, &client);
        let Registered { user, replayed } = registered.await.map_err(failed)?;
        Ok(Response::new(pb::RegisterResponse { user: Some(encode_user(user)), replayed }))
    }

    async fn login(&self, request: Request<pb::LoginRequest>) -> Result<Response<pb::LoginResponse>, Status> {
        let pb::LoginRequest { username, password, client, device } = request.into_inner();
        let client = decode_client(client);
        let login = self.service.login(&username, &password, &client, &device).await.map_err(failed)?;
        let Login { token, user, session, device } = login;
        Ok(Response::new(pb::LoginResponse {
            token: token.encoded().to_owned(),
            user: Some(encode_user(user)),
            session: Some(encode_session(&session)),
            device: device.map(encode_device),
        }))
    }

    async fn recognize_client(
        &self,
        request: Request<pb::RecognizeClientRequest>,
    ) -> Result<Response<pb::RecognizeClientResponse>, Status> {
        let pb::RecognizeClientRequest { username, device, session_token } = request.into_inner();
        let known = self.service.recognize(&username, &device, &session_token).await.map_err(failed)?;
        let known_as = known.as_ref().map(KnownAs::to_string).unwrap_or_default();
        Ok(Response::new(pb::RecognizeClientResponse { known_as }))
    }

    async fn validate_session(
        &self,
        request: Request<pb::ValidateSessionRequest>,
    ) -> Result<Response<pb::ValidateSessionResponse>, Status> {
        validate_session(self.service.clone(), request.into_inner()).await.map(Response::new)
    }

    async fn validate_session_stream(
        &self,
        request: Request<Streaming<pb::ValidateSessionStreamRequest>>,
    ) -> Result<Response<Self::ValidateSessionStreamStream>, Status> {
        let method = "sallyport.auth.v1.AuthService/ValidateSession";
        answer::<ValidateSessionFrames, _, _>(
            request,
            &self.service,
            validate_session,
            method,
            &self.shutdown,
        )
    }

    async fn logout(
        &self,
        request: Request<pb::LogoutRequest>,
    ) -> Result<Response<pb::LogoutResponse>, Status> {
        let pb::LogoutRequest { token, client } = request.into_inner();
        let token = self.service.logout(&token, &decode_client(client)).await.map_err(failed)?;
        Ok(Response::new(pb::LogoutResponse {
            session_id: token.digest().id.to_string(),
            user_id: token.user_id().to_string(),
        }))
    }

    async fn get_user(
        &self,
        request: Request<pb::GetUserRequest>,
    ) -> Result<Response<pb::GetUserResponse>, Status> {
        get_user(self.service.clone(), request.into_inner()).await.map(Response::new)
    }

    async fn get_user_stream(
        &self,
        request: Request<Streaming<pb::GetUserStreamRequest>>,
    ) -> Result<Response<Self::GetUserStreamStream>, Status> {
        let method = "sallyport.auth.v1.AuthService/GetUser";
        answer::<GetUserFrames, _, _>(request, &self.service, get_user, method, &self.shutdown)
    }

    async fn list_sessions(
        &self,
        request: Request<pb::ListSessionsRequest>,
    ) -> Result<Response<pb::ListSessionsResponse>, Status> {
        let sessions = self.service.list_sessions(&request.into_inner().user_id).await.map_err(failed)?;
        let listed = sessions.into_iter().map(encode_listed);
        Ok(Response::new(pb::ListSessionsResponse { sessions: listed.collect() }))
    }

    async fn end_session(
        &self,
        request: Request<pb::EndSessionRequest>,
    ) -> Result<Response<pb::EndSessionResponse>, Status> {
        let pb::EndSessionRequest { user_id, session_id, client } = request.into_inner();
        self.service.end_session(&user_id, &session_id, &decode_client(client)).await.map_err(failed)?;
        Ok(Response::new(pb::EndSessionResponse {}))
    }

    async fn end_sessions(
        &self,
        request: Request<pb::EndSessionsRequest>,
    ) -> Result<Response<pb::EndSessionsResponse>, Status> {
        let pb::EndSessionsRequest { user_id, kept_session_id, client } = request.into_inner();
        let client = decode_client(client);
        let ended = self.service.end_sessions(&user_id, &kept_session_id, &client).await.map_err(failed)?;
        Ok(Response::new(pb::EndSessionsResponse { ended }))
    }

    async fn change_password(
        &self,
        request: Request<pb::ChangePasswordRequest>,
    ) -> Result<Response<pb::ChangePasswordResponse>, Status> {
        let pb::ChangePasswordRequest { user_id, current_password, new_password, kept_session_id, client } =
            request.into_inner();
        let client = decode_client(client);
        let service = &self.service;
        let changed =
            service.change_password(&user_id, &current_password, &new_password, &kept_session_id, &client);
        changed.await.map_err(failed)?;
        Ok(Response::new(pb::ChangePasswordResponse {}))
    }

    async fn request_password_reset(
        &self,
        request: Request<pb::RequestPasswordResetRequest>,
    ) -> Result<Response<pb::RequestPasswordResetResponse>, Status> {
        use pb::request_password_reset_request::Account;
        let pb::RequestPasswordResetRequest { account, client } = request.into_inner();
        let named = match &account {
            Some(Account::Username(username)) => Named::Username(username),
            Some(Account::Email(email)) => Named::Email(email),
            None => return Err(Status::invalid_argument("username or email has to be set")),
        };
        self.service.request_password_reset(named, decode_client(client)).await.map_err(failed)?;
        Ok(Response::new(pb::RequestPasswordResetResponse {}))
    }

    async fn confirm_password_reset(
        &self,
        request: Request<pb::ConfirmPasswordResetRequest>,
    ) -> Result<Response<pb::ConfirmPasswordResetResponse>, Status> {
        let pb::ConfirmPasswordResetRequest { token, new_password, client } = request.into_inner();
        let client = decode_client(client);
        self.service.confirm_password_reset(&token, &new_password, &client).await.map_err(failed)?;
        Ok(Response::new(pb::ConfirmPasswordResetResponse {}))
    }

    async fn request_email_verification(
        &self,
        request: Request<pb::RequestEmailVerificationRequest>,
    ) -> Result<Response<pb::RequestEmailVerificationResponse>, Status> {
        self.service.request_email_verification(&request.into_inner().user_id).await.map_err(failed)?;
        Ok(Response::new(pb::RequestEmailVerificationResponse {}))
    }

    async fn confirm_email_verification(
        &self,
        request: Request<pb::ConfirmEmailVerificationRequest>,
    ) -> Result<Response<pb::ConfirmEmailVerificationResponse>, Status> {
        let pb::ConfirmEmailVerificationRequest { token, client } = request.into_inner();
        let client = decode_client(client);
        self.service.confirm_email_verification(&token, &client).await.map_err(failed)?;
        Ok(Response::new(pb::ConfirmEmailVerificationResponse {}))
    }

    async fn list_activity(
        &self,
        request: Request<pb::ListActivityRequest>,
    ) -> Result<Response<pb::ListActivityResponse>, Status> {
        let pb::ListActivityRequest { user_id, limit, before } = request.into_inner();
        let page = self.service.list_activity(&user_id, limit, before).await.map_err(failed)?;
        Ok(Response::new(pb::ListActivityResponse {
            next: page.next.unwrap_or_default(),
            activity: page.activity.into_iter().map(encode_activity).collect(),
        }))
    }

    async fn export_user(
        &self,
        request: Request<pb::ExportUserRequest>,
    ) -> Result<Response<pb::ExportUserResponse>, Status> {
        let pb::ExportUserRequest { user_id, client } = request.into_inner();
        let export = self.service.export_user(&user_id, &decode_client(client)).await.map_err(failed)?;
        Ok(Response::new(encode_export(export)))
    }

    async fn delete_user(
        &self,
        request: Request<pb::DeleteUserRequest>,
    ) -> Result<Response<pb::DeleteUserResponse>, Status> {
        let pb::DeleteUserRequest { user_id, password, client } = request.into_inner();
        self.service.delete_user(&user_id, &password, &decode_client(client)).await.map_err(failed)?;
        Ok(Response::new(pb::DeleteUserResponse {}))
    }
}

/// One validation, unary or from a stream.
async fn validate_session(
    service: AuthService,
    request: pb::ValidateSessionRequest,
) -> Result<pb::ValidateSessionResponse, Status> {
    let session = service.validate(&request.token).await.map_err(failed)?;
    Ok(pb::ValidateSessionResponse { session: Some(encode_session(&session)) })
}

/// One read, unary or from a stream.
async fn get_user(service: AuthService, request: pb::GetUserRequest) -> Result<pb::GetUserResponse, Status> {
    use pb::get_user_request::Key;
    let user = match request.key {
        Some(Key::UserId(id)) => service.user_by_id(&id).await,
        Some(Key::Username(username)) => service.user_by_username(&username).await,
        None => return Err(Status::invalid_argument("user_id or username has to be set")),
    };
    Ok(pb::GetUserResponse { user: Some(encode_user(user.map_err(failed)?)) })
}
