//! What can go wrong in profile-svc, and how each failure is told.

use std::sync::Arc;
use std::time::Duration;

use chassis::read_through::CacheAway;
use chassis::status::Failure;
use tonic::Code;

/// One field of a request that cannot be accepted, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// As the request has it, such as `links[2].url`.
    pub field: String,
    pub description: String,
}

impl Violation {
    pub fn new(field: impl Into<String>, description: impl Into<String>) -> Self {
        Self { field: field.into(), description: description.into() }
    }
}

/// Every failure of this service. Cheap to clone, for those who wait for the same read share its failure.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ProfileError {
    #[error("the request has invalid fields")]
    InvalidFields(Vec<Violation>),
    #[error("there is no such profile")]
    NotFound,
    #[error("this username is taken")]
    UsernameTaken,
    #[error("the profile has changed meanwhile")]
    VersionMismatch,
    /// Nothing was written.
    #[error("the cache does not answer, so that nothing can be changed")]
    CacheAway(#[source] CacheAway),
    /// Written, and not acknowledged: reads through the cache may take a moment to show it.
    #[error("the cache stopped answering while the profile was changed")]
    Unacknowledged(#[source] CacheAway),
    #[error("the profile database does not answer")]
    DatabaseAway(#[source] Arc<sqlx::Error>),
    #[error("the profile database refused a statement")]
    Database(#[source] Arc<sqlx::Error>),
}

impl From<sqlx::Error> for ProfileError {
    fn from(error: sqlx::Error) -> Self {
        if chassis::postgres::is_away(&error) {
            Self::DatabaseAway(Arc::new(error))
        } else {
            Self::Database(Arc::new(error))
        }
    }
}

impl ProfileError {
    /// Whether a statement that failed like this has certainly changed nothing: the database itself said no.
    pub fn is_a_refusal(&self) -> bool {
        match self {
            Self::InvalidFields(_) | Self::NotFound | Self::UsernameTaken | Self::VersionMismatch => true,
            Self::DatabaseAway(cause) | Self::Database(cause) => matches!(**cause, sqlx::Error::Database(_)),
            Self::CacheAway(_) | Self::Unacknowledged(_) => false,
        }
    }

    /// The one table of codes and reasons: a new variant does not compile until it stands here.
    fn mapping(&self) -> (Code, &'static str) {
        match self {
            Self::InvalidFields(_) => (Code::InvalidArgument, "INVALID_FIELD"),
            Self::NotFound => (Code::NotFound, "PROFILE_NOT_FOUND"),
            Self::UsernameTaken => (Code::AlreadyExists, "USERNAME_TAKEN"),
            Self::VersionMismatch => (Code::Aborted, "VERSION_MISMATCH"),
            Self::CacheAway(_) | Self::Unacknowledged(_) => (Code::Unavailable, "CACHE_UNAVAILABLE"),
            Self::DatabaseAway(_) => (Code::Unavailable, "DATABASE_UNAVAILABLE"),
            Self::Database(_) => (Code::Internal, "INTERNAL"),
        }
    }
}

impl Failure for ProfileError {
    const DOMAIN: &str = "profile.sallyport";

    fn code(&self) -> Code {
        self.mapping().0
    }

    fn reason(&self) -> &'static str {
        self.mapping().1
    }

    fn violations(&self) -> Vec<(String, String)> {
        match self {
            Self::InvalidFields(violations) => {
                violations.iter().map(|v| (v.field.clone(), v.description.clone())).collect()
            }
            _ => Vec::new(),
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        (self.code() == Code::Unavailable).then_some(Duration::from_secs(1))
    }
}
