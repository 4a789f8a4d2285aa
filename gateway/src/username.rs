//! When two spellings are one username: only so that limits per account cannot be dodged by writing it differently.
//!
//! It accepts and refuses nothing; auth-svc does.

use std::borrow::Cow;

use precis_core::profile::PrecisFastInvocation as _;
use precis_profiles::UsernameCaseMapped;

/// The form under which auth-svc keeps a username unique (PRECIS UsernameCaseMapped); of what cannot be one, lower case.
pub fn folded(username: &str) -> Cow<'_, str> {
    UsernameCaseMapped::enforce(username).unwrap_or_else(|_| username.to_lowercase().into())
}
