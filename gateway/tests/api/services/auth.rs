//! auth-svc: passwords are compared, tokens are counted.

use chassis::call_stream::{Answers, answer};
use proto::auth::v1::auth_service_server::AuthService;
use proto::auth::v1::{
    self as auth, Activity, ChangePasswordRequest, ChangePasswordResponse, Client,
    ConfirmEmailVerificationRequest, ConfirmEmailVerificationResponse, ConfirmPasswordResetRequest,
    ConfirmPasswordResetResponse, DeleteUserRequest, DeleteUserResponse, Device, EndSessionRequest,
    EndSessionResponse, EndSessionsRequest, EndSessionsResponse, ExportUserRequest, ExportUserResponse,
    GetUserRequest, GetUserResponse, GetUserStreamRequest, GetUserStreamResponse, KnownDevice,
    ListActivityRequest, ListActivityResponse, ListSessionsRequest, ListSessionsResponse, ListedSession,
    LoginRequest, LoginResponse, LogoutRequest, LogoutResponse, PendingMail, RecognizeClientRequest,
    RecognizeClientResponse, RegisterRequest, RegisterResponse, RequestEmailVerificationRequest,
    RequestEmailVerificationResponse, RequestPasswordResetRequest, RequestPasswordResetResponse, Session,
    SignIn, User, ValidateSessionRequest, ValidateSessionResponse, ValidateSessionStreamRequest,
    ValidateSessionStreamResponse, get_user_request,
};
use tonic::{Code, Request, Response, Status, Streaming};

mod by_mail;

use super::{Services, State, failure, invalid};

async fn validate(
    services: Services,
    request: ValidateSessionRequest,
) -> Result<ValidateSessionResponse, Status> {
    services.begin("ValidateSession").await?;
    let user_id = services.lock().sessions.get(&request.token).cloned();
    let user_id = user_id.ok_or_else(session_invalid)?;
    Ok(ValidateSessionResponse { session: Some(session(&user_id, &request.token)) })
}

async fn get_user(services: Services, request: GetUserRequest) -> Result<GetUserResponse, Status> {
    services.begin("GetUser").await?;
    let state = services.lock();
    let user = match request.key {
        Some(get_user_request::Key::UserId(id)) => state.users.values().find(|(user, _)| user.id == id),
        Some(get_user_request::Key::Username(name)) => state.users.get(&name.to_lowercase()),
        None => None,
    };
    let user = user.map(|(user, _)| user.clone());
    let user = user.ok_or_else(|| failure(Code::NotFound, "USER_NOT_FOUND", "there is no such user"))?;
    Ok(GetUserResponse { user: Some(user) })
}

impl State {
    fn note(&mut self, event: &str, user_id: &str, session_id: String, client: Option<Client>) {
        let id = i64::try_from(self.activity.len()).unwrap() + 1;
        let at = Some(prost_types::Timestamp { seconds: 1_767_225_600 + id, nanos: 0 });
        let happened = Activity { id, event: event.into(), at, client, session_id };
        self.activity.push((user_id.into(), happened));
    }
}

fn session_invalid() -> Status {
    failure(Code::Unauthenticated, "SESSION_INVALID", "the session is not valid")
}

/// The first session has the id that the tests know.
fn session_id(token: &str) -> String {
    let serial = token.rsplit('-').next().unwrap().parse::<u128>().unwrap();
    format!("{:032x}", 0x0011_2233_4455_6677_8899_aabb_ccdd_eeff_u128 + serial)
}

fn session(user_id: &str, token: &str) -> Session {
    Session {
        id: session_id(token),
        user_id: user_id.into(),
        created_at: Some(prost_types::Timestamp { seconds: 1_767_225_600, nanos: 0 }),
        last_seen_at: Some(prost_types::Timestamp { seconds: 1_767_225_660, nanos: 500_000_000 }),
        expires_in: Some(prost_types::Duration { seconds: 1800, nanos: 999 }),
    }
}

#[tonic::async_trait]
impl AuthService for Services {
    type ValidateSessionStreamStream = Answers<ValidateSessionStreamResponse>;
    type GetUserStreamStream = Answers<GetUserStreamResponse>;

    async fn register(
        &self,
        request: Request<RegisterRequest>,
    ) -> Result<Response<RegisterResponse>, Status> {
        self.begin("Register").await?;
        let request = request.into_inner();
        if let Some((first, user)) = self.lock().registrations.get(&request.idempotency_key) {
            if *first == request {
                return Ok(Response::new(RegisterResponse { user: Some(user.clone()), replayed: true }));
            }
            let other = "this idempotency key was used for another request";
            return Err(failure(Code::FailedPrecondition, "IDEMPOTENCY_KEY_REUSED", other));
        }
        let RegisterRequest { username, password, email, client, idempotency_key } = request.clone();
        if password.chars().count() < 15 {
            return Err(invalid(&[("password", "has to have at least 15 characters")]));
        }
        let mut state = self.lock();
        let key = username.to_lowercase();
        if state.users.contains_key(&key) {
            return Err(failure(Code::AlreadyExists, "USERNAME_TAKEN", "this username is taken"));
        }
        let user = User {
            id: format!("01980000-0000-7000-8000-{:012}", state.users.len() + 1),
            username,
            email,
            email_verified: false,
            created_at: Some(prost_types::Timestamp { seconds: 1_767_225_600, nanos: 123_000_000 }),
        };
        state.note("REGISTERED", &user.id, String::new(), client);
        state.users.insert(key, (user.clone(), password));
        if !idempotency_key.is_empty() {
            state.registrations.insert(idempotency_key, (request, user.clone()));
        }
        Ok(Response::new(RegisterResponse { user: Some(user), replayed: false }))
    }

    async fn login(&self, request: Request<LoginRequest>) -> Result<Response<LoginResponse>, Status> {
        self.begin("Login").await?;
        let LoginRequest { username, password, client, device } = request.into_inner();
        let mut state = self.lock();
        state.last_login.clone_from(&client);
        let user = state.users.get(&username.to_lowercase()).filter(|(_, known)| *known == password);
        let user = user.map(|(user, _)| user.clone()).ok_or_else(|| {
            failure(Code::Unauthenticated, "INVALID_CREDENTIALS", "username or password is wrong")
        })?;
        let token = format!("token-{}-{}", user.id, state.sessions.len());
        state.sessions.insert(token.clone(), user.id.clone());
        let session = session(&user.id, &token);
        state.note("LOGGED_IN", &user.id, session.id.clone(), client);
        let is_known = state.devices.get(&device) == Some(&user.id);
        let device = if is_known { device } else { format!("device-{}", state.devices.len()) };
        state.devices.insert(device.clone(), user.id.clone());
        let lifetime = prost_types::Duration { seconds: 86_400, nanos: 0 };
        let device = Device { token: device, expires_in: Some(lifetime) };
        let (user, session, device) = (Some(user), Some(session), Some(device));
        Ok(Response::new(LoginResponse { token, user, session, device }))
    }

    async fn recognize_client(
        &self,
        request: Request<RecognizeClientRequest>,
    ) -> Result<Response<RecognizeClientResponse>, Status> {
        self.begin("RecognizeClient").await?;
        let (request, state) = (request.into_inner(), self.lock());
        let user = state.users.get(&request.username.to_lowercase()).map(|(user, _)| user.id.clone());
        let known = |shown: &str, owner: Option<&String>| {
            (owner.is_some() && owner == user.as_ref()).then(|| format!("known by {shown}"))
        };
        let known_as = known(&request.device, state.devices.get(&request.device))
            .or_else(|| known(&request.session_token, state.sessions.get(&request.session_token)));
        Ok(Response::new(RecognizeClientResponse { known_as: known_as.unwrap_or_default() }))
    }

    async fn validate_session(
        &self,
        request: Request<ValidateSessionRequest>,
    ) -> Result<Response<ValidateSessionResponse>, Status> {
        validate(self.clone(), request.into_inner()).await.map(Response::new)
    }

    async fn validate_session_stream(
        &self,
        request: Request<Streaming<ValidateSessionStreamRequest>>,
    ) -> Result<Response<Self::ValidateSessionStreamStream>, Status> {
        let method = "sallyport.auth.v1.AuthService/ValidateSession";
        answer::<ValidateSessionFrames, _, _>(request, self, validate, method, &self.shutdown)
    }

    async fn logout(&self, request: Request<LogoutRequest>) -> Result<Response<LogoutResponse>, Status> {
        self.begin("Logout").await?;
        let (LogoutRequest { token, client }, mut state) = (request.into_inner(), self.lock());
        let user_id = state.sessions.remove(&token).ok_or_else(session_invalid)?;
        state.note("LOGGED_OUT", &user_id, session_id(&token), client);
        Ok(Response::new(LogoutResponse { session_id: session_id(&token), user_id }))
    }

    async fn get_user(&self, request: Request<GetUserRequest>) -> Result<Response<GetUserResponse>, Status> {
        get_user(self.clone(), request.into_inner()).await.map(Response::new)
    }

    async fn get_user_stream(
        &self,
        request: Request<Streaming<GetUserStreamRequest>>,
    ) -> Result<Response<Self::GetUserStreamStream>, Status> {
        let method = "sallyport.auth.v1.AuthService/GetUser";
        answer::<GetUserFrames, _, _>(request, self, get_user, method, &self.shutdown)
    }

    async fn list_sessions(
        &self,
        request: Request<ListSessionsRequest>,
    ) -> Result<Response<ListSessionsResponse>, Status> {
        self.begin("ListSessions").await?;
        let (user_id, state) = (request.into_inner().user_id, self.lock());
        let tokens = state.sessions.iter().filter(|(_, owner)| **owner == user_id);
        let sessions = tokens
            .map(|(token, _)| ListedSession {
                session: Some(session(&user_id, token)),
                client: state.last_login.clone(),
            })
            .collect();
        Ok(Response::new(ListSessionsResponse { sessions }))
    }

    async fn end_session(
        &self,
        request: Request<EndSessionRequest>,
    ) -> Result<Response<EndSessionResponse>, Status> {
        self.begin("EndSession").await?;
        let (request, mut state) = (request.into_inner(), self.lock());
        let before = state.sessions.len();
        state
            .sessions
            .retain(|token, user_id| *user_id != request.user_id || session_id(token) != request.session_id);
        if state.sessions.len() == before {
            return Err(failure(Code::NotFound, "SESSION_NOT_FOUND", "there is no such session"));
        }
        state.note("SESSION_ENDED", &request.user_id, request.session_id, request.client);
        Ok(Response::new(EndSessionResponse {}))
    }

    async fn end_sessions(
        &self,
        request: Request<EndSessionsRequest>,
    ) -> Result<Response<EndSessionsResponse>, Status> {
        self.begin("EndSessions").await?;
        let (request, mut state) = (request.into_inner(), self.lock());
        let before = state.sessions.len();
        state.sessions.retain(|token, user_id| {
            *user_id != request.user_id || session_id(token) == request.kept_session_id
        });
        let ended = before - state.sessions.len();
        state.note("OTHER_SESSIONS_ENDED", &request.user_id, request.kept_session_id, request.client);
        Ok(Response::new(EndSessionsResponse { ended: u32::try_from(ended).unwrap() }))
    }

    async fn change_password(
        &self,
        request: Request<ChangePasswordRequest>,
    ) -> Result<Response<ChangePasswordResponse>, Status> {
        self.begin("ChangePassword").await?;
        let (request, mut state) = (request.into_inner(), self.lock());
        let known = state.users.values_mut().find(|(user, _)| user.id == request.user_id);
        let (_, password) = known.unwrap();
        if *password != request.current_password {
            return Err(failure(Code::PermissionDenied, "WRONG_PASSWORD", "the current password is wrong"));
        }
        if request.new_password.chars().count() < 15 {
            return Err(invalid(&[("new_password", "has to have at least 15 characters")]));
        }
        *password = request.new_password;
        state.sessions.retain(|token, user_id| {
            *user_id != request.user_id || session_id(token) == request.kept_session_id
        });
        state.note("PASSWORD_CHANGED", &request.user_id, request.kept_session_id, request.client);
        Ok(Response::new(ChangePasswordResponse {}))
    }

    async fn request_password_reset(
        &self,
        request: Request<RequestPasswordResetRequest>,
    ) -> Result<Response<RequestPasswordResetResponse>, Status> {
        self.begin("RequestPasswordReset").await?;
        self.lock().request_password_reset(request.into_inner());
        Ok(Response::new(RequestPasswordResetResponse {}))
    }

    async fn confirm_password_reset(
        &self,
        request: Request<ConfirmPasswordResetRequest>,
    ) -> Result<Response<ConfirmPasswordResetResponse>, Status> {
        self.begin("ConfirmPasswordReset").await?;
        self.lock().confirm_password_reset(request.into_inner())?;
        Ok(Response::new(ConfirmPasswordResetResponse {}))
    }

    async fn request_email_verification(
        &self,
        request: Request<RequestEmailVerificationRequest>,
    ) -> Result<Response<RequestEmailVerificationResponse>, Status> {
        self.begin("RequestEmailVerification").await?;
        self.lock().request_email_verification(request.into_inner())?;
        Ok(Response::new(RequestEmailVerificationResponse {}))
    }

    async fn confirm_email_verification(
        &self,
        request: Request<ConfirmEmailVerificationRequest>,
    ) -> Result<Response<ConfirmEmailVerificationResponse>, Status> {
        self.begin("ConfirmEmailVerification").await?;
        self.lock().confirm_email_verification(request.into_inner())?;
        Ok(Response::new(ConfirmEmailVerificationResponse {}))
    }

    async fn list_activity(
        &self,
        request: Request<ListActivityRequest>,
    ) -> Result<Response<ListActivityResponse>, Status> {
        self.begin("ListActivity").await?;
        let ListActivityRequest { user_id, limit, before } = request.into_inner();
        let (before, limit) = (if before == 0 { i64::MAX } else { before }, limit as usize);
        let state = self.lock();
        let happened = state.activity.iter().rev();
        let happened = happened.filter(|(whose, it)| *whose == user_id && it.id < before);
        let mut activity: Vec<Activity> = happened.map(|(_, it)| it.clone()).take(limit + 1).collect();
        let there_is_more = activity.len() > limit;
        activity.truncate(limit);
        let next = activity.last().filter(|_| there_is_more).map(|last| last.id).unwrap_or_default();
        Ok(Response::new(ListActivityResponse { activity, next }))
    }

    async fn export_user(
        &self,
        request: Request<ExportUserRequest>,
    ) -> Result<Response<ExportUserResponse>, Status> {
        self.begin("ExportUser").await?;
        let (user_id, state) = (request.into_inner().user_id, self.lock());
        let user = state.users.values().find(|(user, _)| user.id == user_id).map(|(user, _)| user.clone());
        let at = Some(prost_types::Timestamp { seconds: 1_767_225_600, nanos: 0 });
        let tokens: Vec<&String> =
            state.sessions.iter().filter(|(_, owner)| **owner == user_id).map(|(token, _)| token).collect();
        let client = state.last_login.clone();
        let sessions = tokens
            .iter()
            .map(|token| ListedSession { session: Some(session(&user_id, token)), client: client.clone() });
        let sign_ins =
            tokens.iter().map(|token| SignIn { session_id: session_id(token), at, client: client.clone() });
        let email = user.as_ref().and_then(|user| user.email.clone()).unwrap_or_default();
        Ok(Response::new(ExportUserResponse {
            user,
            sessions: sessions.collect(),
            sign_ins: sign_ins.collect(),
            devices: vec![KnownDevice { created_at: at, seen_at: None, expires_at: at }],
            mails: vec![PendingMail {
                purpose: "EMAIL_VERIFICATION".into(),
                email,
                sent_at: at,
                expires_at: at,
            }],
        }))
    }

    async fn delete_user(
        &self,
        request: Request<DeleteUserRequest>,
    ) -> Result<Response<DeleteUserResponse>, Status> {
        self.begin("DeleteUser").await?;
        let (request, mut state) = (request.into_inner(), self.lock());
        let known = state.users.iter().find(|(_, (user, _))| user.id == request.user_id);
        let Some((key, (_, password))) = known.map(|(key, known)| (key.clone(), known.clone())) else {
            return Err(failure(Code::NotFound, "USER_NOT_FOUND", "there is no such user"));
        };
        if password != request.password {
            return Err(failure(Code::PermissionDenied, "WRONG_PASSWORD", "the current password is wrong"));
        }
        state.users.remove(&key);
        state.sessions.retain(|_, user_id| *user_id != request.user_id);
        Ok(Response::new(DeleteUserResponse {}))
    }
}

chassis::server_frames! {
    enum ValidateSessionFrames {
        ValidateSessionStreamRequest { auth::validate_session_stream_request::Frame { ValidateSessionRequest } }
        ValidateSessionStreamResponse { auth::validate_session_stream_response::Frame { ValidateSessionResponse } }
    } proto::call::v1
}

chassis::server_frames! {
    enum GetUserFrames {
        GetUserStreamRequest { auth::get_user_stream_request::Frame { GetUserRequest } }
        GetUserStreamResponse { auth::get_user_stream_response::Frame { GetUserResponse } }
    } proto::call::v1
}
