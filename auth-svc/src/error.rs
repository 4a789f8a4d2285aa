//! What can go wrong in auth-svc, and how each failure is told.

use std::sync::Arc;
use std::time::Duration;

use chassis::read_through::CacheAway;
use chassis::redis::RedisAway;
use chassis::status::Failure;
use tonic::Code;

use crate::hasher::HashError;

/// One field of a request that cannot be accepted, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    pub field: &'static str,
    pub description: String,
}

/// Every failure of this service. Cheap to clone, for those who wait for the same read share its failure.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AuthError {
    #[error("the request has invalid fields")]
    InvalidFields(Vec<Violation>),
    #[error("this username is taken")]
    UsernameTaken,
    #[error("a request with this idempotency key is still running; try again soon")]
    KeyInUse,
    #[error("this idempotency key was used for another request")]
    KeyReused,
    #[error("username or password is wrong")]
    InvalidCredentials,
    #[error("the session is not valid")]
    SessionInvalid,
    #[error("there is no such user")]
    UserNotFound,
    #[error("there is no such session")]
    SessionNotFound,
    #[error("the current password is wrong")]
    WrongPassword,
    #[error("the token is unknown, used or expired; ask for another one")]
    TokenInvalid,
    #[error("there is no e-mail address to verify")]
    EmailMissing,
    #[error("the e-mail address is verified already")]
    EmailVerified,
    #[error("this service sends no mail")]
    MailNotConfigured,
    #[error("too much is waiting to be done; try again soon")]
    Capacity,
    #[error("the session store does not answer")]
    SessionStoreAway(#[from] RedisAway),
    #[error("the cache does not answer, so that nothing can be changed")]
    CacheAway(#[source] CacheAway),
    /// Written, and not acknowledged: reads through the cache may take a moment to show it.
    #[error("the cache stopped answering while the user was changed")]
    Unacknowledged(#[source] CacheAway),
    #[error("the user database does not answer")]
    DatabaseAway(#[source] Arc<sqlx::Error>),
    #[error("the user database refused a statement")]
    Database(#[source] Arc<sqlx::Error>),
    #[error("an internal error")]
    Internal(#[source] Arc<dyn std::error::Error + Send + Sync>),
}

impl From<sqlx::Error> for AuthError {
    fn from(error: sqlx::Error) -> Self {
        if chassis::postgres::is_away(&error) {
            Self::DatabaseAway(Arc::new(error))
        } else {
            Self::Database(Arc::new(error))
        }
    }
}

impl From<HashError> for AuthError {
    fn from(error: HashError) -> Self {
        match error {
            HashError::Capacity => Self::Capacity,
            HashError::Common => Self::InvalidFields(vec![Violation {
                field: "password",
                description: "is one of the passwords that everybody tries first; choose another".into(),
            }]),
            HashError::Failed(cause) => Self::Internal(cause.into()),
        }
    }
}

impl Failure for AuthError {
    const DOMAIN: &str = "auth.sallyport";

    fn code(&self) -> Code {
        self.mapping().0
    }

    fn reason(&self) -> &'static str {
        self.mapping().1
    }

    fn violations(&self) -> Vec<(String, String)> {
        match self {
            Self::InvalidFields(violations) => {
                violations.iter().map(|v| (v.field.to_owned(), v.description.clone())).collect()
            }
            _ => Vec::new(),
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Capacity
            | Self::KeyInUse
            | Self::SessionStoreAway(_)
            | Self::CacheAway(_)
            | Self::Unacknowledged(_)
            | Self::DatabaseAway(_) => Some(Duration::from_secs(1)),
            Self::MailNotConfigured => Some(Duration::from_secs(3600)),
            _ => None,
        }
    }
}

impl AuthError {
    /// The same, told about the field by which the caller knows the value.
    pub fn about_field(self, field: &'static str) -> Self {
        match self {
            Self::InvalidFields(violations) => Self::InvalidFields(
                violations.into_iter().map(|violation| Violation { field, ..violation }).collect(),
            ),
            other => other,
        }
    }

    /// The one table of codes and reasons: a new variant does not compile until it stands here.
    fn mapping(&self) -> (Code, &'static str) {
        match self {
            Self::InvalidFields(_) => (Code::InvalidArgument, "INVALID_FIELD"),
            Self::UsernameTaken => (Code::AlreadyExists, "USERNAME_TAKEN"),
            Self::KeyInUse => (Code::Aborted, "IDEMPOTENCY_KEY_IN_USE"),
            Self::KeyReused => (Code::FailedPrecondition, "IDEMPOTENCY_KEY_REUSED"),
            Self::InvalidCredentials => (Code::Unauthenticated, "INVALID_CREDENTIALS"),
            Self::SessionInvalid => (Code::Unauthenticated, "SESSION_INVALID"),
            Self::UserNotFound => (Code::NotFound, "USER_NOT_FOUND"),
            Self::SessionNotFound => (Code::NotFound, "SESSION_NOT_FOUND"),
            Self::WrongPassword => (Code::PermissionDenied, "WRONG_PASSWORD"),
            Self::TokenInvalid => (Code::InvalidArgument, "TOKEN_INVALID"),
            Self::EmailMissing => (Code::FailedPrecondition, "EMAIL_MISSING"),
            Self::EmailVerified => (Code::FailedPrecondition, "EMAIL_VERIFIED"),
            Self::MailNotConfigured => (Code::Unavailable, "MAIL_NOT_CONFIGURED"),
            Self::Capacity => (Code::ResourceExhausted, "CAPACITY"),
            Self::SessionStoreAway(_) => (Code::Unavailable, "SESSION_STORE_UNAVAILABLE"),
            Self::CacheAway(_) | Self::Unacknowledged(_) => (Code::Unavailable, "CACHE_UNAVAILABLE"),
            Self::DatabaseAway(_) => (Code::Unavailable, "DATABASE_UNAVAILABLE"),
            Self::Database(_) | Self::Internal(_) => (Code::Internal, "INTERNAL"),
        }
    }
}
