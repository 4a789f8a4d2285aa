//! auth-svc and profile-svc as the gateway sees them, in memory.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use chassis::shutdown::Shutdown;
use proto::auth::v1::{Activity, Client, RegisterRequest, User};
use proto::profile::v1::Profile;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

mod auth;
mod profile;

/// Both services' memory, and what a test wants of them.
#[derive(Clone)]
pub struct Services {
    pub state: Arc<Mutex<State>>,
    pub shutdown: Shutdown,
}

#[derive(Default)]
pub struct State {
    pub users: HashMap<String, (User, String)>,
    pub sessions: HashMap<String, String>,
    /// What was registered with each idempotency key.
    pub registrations: HashMap<String, (RegisterRequest, User)>,
    /// Devices' tokens, and whose they are.
    pub devices: HashMap<String, String>,
    pub profiles: HashMap<String, Profile>,
    /// The names by which mails were asked for, whoever they belong to.
    pub asked: Vec<String>,
    /// Tokens that were mailed, and whose they are.
    pub mailed: HashMap<String, String>,
    /// Where the last login said that it came from.
    pub last_login: Option<Client>,
    /// What happened, and to whom, the oldest first.
    pub activity: Vec<(String, Activity)>,
    /// How often each method was called.
    pub calls: HashMap<&'static str, usize>,
    /// What each method answers instead.
    pub scripts: HashMap<&'static str, Script>,
    /// `traceparent` of the last call of each method.
    pub traceparents: HashMap<&'static str, String>,
}

/// What a method does instead of its work.
#[derive(Clone)]
pub enum Script {
    Fail(Status),
    Hang,
}

impl Services {
    pub fn new(shutdown: Shutdown) -> Self {
        Self { state: Arc::default(), shutdown }
    }

    pub fn script(&self, method: &'static str, script: Script) {
        self.lock().scripts.insert(method, script);
    }

    pub fn fail(&self, method: &'static str, status: Status) {
        self.script(method, Script::Fail(status));
    }

    pub fn recover(&self) {
        self.lock().scripts.clear();
    }

    pub fn calls(&self, method: &'static str) -> usize {
        self.lock().calls.get(method).copied().unwrap_or_default()
    }

    pub fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Every method begins here.
    async fn begin(&self, method: &'static str) -> Result<(), Status> {
        let traceparent =
            chassis::trace::TraceContext::current().map(chassis::trace::TraceContext::traceparent);
        let script = {
            let mut state = self.lock();
            *state.calls.entry(method).or_default() += 1;
            state
                .traceparents
                .insert(method, traceparent.map(|it| it.as_str().to_owned()).unwrap_or_default());
            state.scripts.get(method).cloned()
        };
        match script {
            None => Ok(()),
            Some(Script::Fail(status)) => Err(status),
            Some(Script::Hang) => std::future::pending().await,
        }
    }
}

/// A failure as the services tell it.
pub fn failure(code: Code, reason: &str, message: &str) -> Status {
    let mut details = ErrorDetails::new();
    details.set_error_info(reason, "test.sallyport", HashMap::new());
    Status::with_error_details(code, message, details)
}

pub fn invalid(fields: &[(&str, &str)]) -> Status {
    let mut details = ErrorDetails::new();
    details.set_error_info("INVALID_FIELD", "test.sallyport", HashMap::new());
    for (field, description) in fields {
        details.add_bad_request_violation(*field, *description);
    }
    Status::with_error_details(Code::InvalidArgument, "the request has invalid fields", details)
}

pub fn capacity() -> Status {
    let mut details = ErrorDetails::new();
    details.set_error_info("CAPACITY", "auth.sallyport", HashMap::new());
    details.set_retry_info(Some(std::time::Duration::from_secs(3)));
    Status::with_error_details(Code::ResourceExhausted, "too many passwords are waiting", details)
}

pub fn store_away() -> Status {
    failure(Code::Unavailable, "SESSION_STORE_UNAVAILABLE", "the session store does not answer")
}
