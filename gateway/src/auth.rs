//! What the gateway asks of auth-svc.

use std::time::Duration;

use chassis::bulkhead::Refusals;
use chassis::call_stream::CallStream;
use chassis::shutdown::Shutdown;
use chassis::upstream::{Endpoints, Settings, Upstream};
use proto::auth::v1::auth_service_client::AuthServiceClient;
use proto::auth::v1::{
    ChangePasswordRequest, Client, ConfirmEmailVerificationRequest, ConfirmPasswordResetRequest,
    DeleteUserRequest, EndSessionRequest, EndSessionsRequest, ExportUserRequest, ExportUserResponse,
    GetUserRequest, GetUserResponse, ListActivityRequest, ListActivityResponse, ListSessionsRequest,
    ListedSession, LoginRequest, LoginResponse, LogoutRequest, RecognizeClientRequest, RegisterRequest,
    RequestEmailVerificationRequest, RequestPasswordResetRequest, Session, User, ValidateSessionRequest,
    ValidateSessionResponse, get_user_request,
};
use tokio::time::Instant;
use tonic::{Request, Status};

use crate::admission;
use crate::config::Bounds;
use crate::problem::Problem;

mod passwords;

use passwords::Passwords;

/// Longer than a service waits for its database: it says better than a time-out what is wrong.
pub const ATTEMPT_TIMEOUT: Duration = Duration::from_millis(1500);

/// auth-svc, however many replicas it has.
pub struct Auth {
    upstream: Upstream,
    client: AuthServiceClient<Upstream>,
    sessions: CallStream<ValidateSessionRequest, ValidateSessionResponse>,
    users: CallStream<GetUserRequest, GetUserResponse>,
    /// For those who wait for a password hash, so that they keep nobody out.
    passwords: Passwords,
    session_timeout: Duration,
    read_timeout: Duration,
    write_timeout: Duration,
}

/// Whom a profile belongs to, or a user is.
#[derive(Debug, Clone, Copy)]
pub enum Key<'a> {
    UserId(&'a str),
    Username(&'a str),
}

impl Auth {
    pub fn open(endpoints: Endpoints, bounds: &Bounds, refusals: &Refusals, shutdown: &Shutdown) -> Self {
        let places = bounds.max_in_flight as usize;
        let settings = Settings {
            attempt_timeout: ATTEMPT_TIMEOUT,
            idempotent: &[
                "/sallyport.auth.v1.AuthService/GetUser",
                "/sallyport.auth.v1.AuthService/RecognizeClient",
                "/sallyport.auth.v1.AuthService/ListSessions",
                "/sallyport.auth.v1.AuthService/ListActivity",
                "/sallyport.auth.v1.AuthService/EndSessions",
            ],
            ..Settings::default()
        };
        let upstream = Upstream::open("auth-svc", endpoints, settings, shutdown);
        Self {
            client: AuthServiceClient::new(upstream.clone()),
            sessions: upstream.call_stream("/sallyport.auth.v1.AuthService/ValidateSessionStream"),
            users: upstream.call_stream("/sallyport.auth.v1.AuthService/GetUserStream"),
            upstream,
            passwords: Passwords::new(admission::part(places / 8, bounds), refusals),
            session_timeout: bounds.session_timeout(),
            read_timeout: bounds.read_timeout(),
            write_timeout: bounds.write_timeout(),
        }
    }

    /// Tells whether any replica has answered since the start.
    pub fn has_answered(&self) -> impl Fn() -> bool + Send + Sync + 'static {
        let upstream = self.upstream.clone();
        move || upstream.answered()
    }

    /// # Errors
    /// 401 when the token opens no session; 503 or 504 when nobody can tell.
    pub async fn validate_session(&self, token: &str) -> Result<Session, Problem> {
        let request = ValidateSessionRequest { token: token.to_owned() };
        let answer = self.sessions.call(&request, Instant::now() + self.session_timeout).await?;
        answer.session.ok_or_else(|| incomplete("ValidateSession"))
    }

    /// For who has other work to do before a password is hashed.
    ///
    /// # Errors
    /// 503: it would be refused.
    pub async fn check_room_for_password(&self) -> Result<(), Problem> {
        self.passwords.check_room().await
    }

    /// The new user, and whether an earlier request with the same key has made it.
    pub async fn register(&self, request: RegisterRequest) -> Result<(User, bool), Problem> {
        let answer = self.passwords.call(self.client.clone().register(self.write(request))).await?;
        answer.user.map(|user| (user, answer.replayed)).ok_or_else(|| incomplete("Register"))
    }

    pub async fn login(&self, request: LoginRequest) -> Result<LoginResponse, Problem> {
        self.passwords.call(self.client.clone().login(self.write(request))).await
    }

    /// The name of the device or session by which a login is known to come from the user's own; `None`: from a stranger.
    pub async fn recognize_client(&self, request: RecognizeClientRequest) -> Result<Option<String>, Problem> {
        let answer = self.client.clone().recognize_client(self.read(request)).await?.into_inner();
        Ok((!answer.known_as.is_empty()).then_some(answer.known_as))
    }

    /// # Errors
    /// 401 when the token opens no session, or none any more.
    pub async fn logout(&self, token: &str, client: Client) -> Result<(), Problem> {
        let request = LogoutRequest { token: token.to_owned(), client: Some(client) };
        self.client.clone().logout(self.write(request)).await?;
        Ok(())
    }

    /// The valid sessions of a user, the newest first.
    pub async fn sessions(&self, user_id: &str) -> Result<Vec<ListedSession>, Problem> {
        let request = self.read(ListSessionsRequest { user_id: user_id.to_owned() });
        Ok(self.client.clone().list_sessions(request).await?.into_inner().sessions)
    }

    /// # Errors
    /// 404 when the user has no such session.
    pub async fn end_session(
        &self,
        user_id: &str,
        session_id: String,
        client: Client,
    ) -> Result<(), Problem> {
        let request = EndSessionRequest { user_id: user_id.to_owned(), session_id, client: Some(client) };
        self.client.clone().end_session(self.write(request)).await?;
        Ok(())
    }

    /// Ends all sessions of a user but the one that is kept; empty: all of them.
    pub async fn end_sessions(
        &self,
        user_id: &str,
        kept_session_id: &str,
        client: Client,
    ) -> Result<(), Problem> {
        let request = EndSessionsRequest {
            user_id: user_id.to_owned(),
            kept_session_id: kept_session_id.to_owned(),
            client: Some(client),
        };
        self.client.clone().end_sessions(self.write(request)).await?;
        Ok(())
    }

    /// # Errors
    /// 403 when the current password is wrong, 400 when the new one is not acceptable.
    pub async fn change_password(&self, request: ChangePasswordRequest) -> Result<(), Problem> {
        let mut client = self.client.clone();
        let outcome = self.passwords.call(client.change_password(self.write(request))).await;
        outcome.map(drop).map_err(about_signed_in)
    }

    /// Alike whether or not there is such a user.
    pub async fn request_password_reset(&self, request: RequestPasswordResetRequest) -> Result<(), Problem> {
        self.client.clone().request_password_reset(self.write(request)).await?;
        Ok(())
    }

    /// # Errors
    /// 400 when the token is not good, or the new password not acceptable.
    pub async fn confirm_password_reset(&self, request: ConfirmPasswordResetRequest) -> Result<(), Problem> {
        self.passwords.call(self.client.clone().confirm_password_reset(self.write(request))).await.map(drop)
    }

    /// # Errors
    /// 409 when there is no address, or nothing to verify any more.
    pub async fn request_email_verification(&self, user_id: String) -> Result<(), Problem> {
        let request = RequestEmailVerificationRequest { user_id };
        self.client.clone().request_email_verification(self.write(request)).await.map_err(about_signed_in)?;
        Ok(())
    }

    /// # Errors
    /// 400 when the token is not good.
    pub async fn confirm_email_verification(
        &self,
        request: ConfirmEmailVerificationRequest,
    ) -> Result<(), Problem> {
        self.client.clone().confirm_email_verification(self.write(request)).await?;
        Ok(())
    }

    /// What happened to a user's account, the newest first.
    pub async fn activity(&self, request: ListActivityRequest) -> Result<ListActivityResponse, Problem> {
        Ok(self.client.clone().list_activity(self.read(request)).await?.into_inner())
    }

    /// All that auth-svc holds about a user, but for the activity.
    pub async fn export(&self, request: ExportUserRequest) -> Result<ExportUserResponse, Problem> {
        Ok(self.client.clone().export_user(self.read(request)).await.map_err(about_signed_in)?.into_inner())
    }

    /// # Errors
    /// 403 when the password is wrong, 401 when somebody else was quicker.
    pub async fn delete_user(&self, request: DeleteUserRequest) -> Result<(), Problem> {
        let mut client = self.client.clone();
        let outcome = self.passwords.call(client.delete_user(self.write(request))).await;
        outcome.map(drop).map_err(about_signed_in)
    }

    /// # Errors
    /// When there is no such user: 404 for a name, 401 for an id, which is known from a session alone.
    pub async fn user(&self, key: Key<'_>) -> Result<User, Problem> {
        type Refusal = fn(Status) -> Problem;
        let (key, refusal): (_, Refusal) = match key {
            Key::UserId(id) => (get_user_request::Key::UserId(id.to_owned()), about_signed_in),
            Key::Username(name) => (get_user_request::Key::Username(name.to_owned()), Problem::from),
        };
        let request = GetUserRequest { key: Some(key) };
        let answer = self.users.call(&request, Instant::now() + self.read_timeout).await.map_err(refusal)?;
        answer.user.ok_or_else(|| incomplete("GetUser"))
    }

    fn read<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(self.read_timeout);
        request
    }

    fn write<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(self.write_timeout);
        request
    }
}

/// For calls about somebody whose session was valid a moment ago: who is gone since has lost the session with the account.
fn about_signed_in(refusal: impl Into<Problem>) -> Problem {
    let problem = refusal.into();
    if problem.code() == "USER_NOT_FOUND" { Problem::no_session() } else { problem }
}

fn incomplete(method: &str) -> Problem {
    Problem::internal(format!("auth-svc left the answer to {method} empty"))
}
