//! Who has signed in as a user before: devices and sessions that are the user's own.

use std::fmt;

use uuid::Uuid;

use super::AuthService;
use crate::devices::{DeviceId, DeviceToken};
use crate::error::AuthError;
use crate::token::{SessionId, SessionToken};
use crate::username::Username;

/// What makes a login attempt the user's own. Its `Display` names it and opens nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KnownAs {
    Device(DeviceId),
    Session(SessionId),
}

impl fmt::Display for KnownAs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(id) => write!(f, "device:{id}"),
            Self::Session(id) => write!(f, "session:{id}"),
        }
    }
}

impl AuthService {
    /// Whether a device or a session is that of the user of this name; unknown users have none.
    pub async fn recognize(
        &self,
        username: &str,
        device: &str,
        session: &str,
    ) -> Result<Option<KnownAs>, AuthError> {
        let Ok(username) = Username::parse(username) else { return Ok(None) };
        if let Some(device) = DeviceToken::parse(device).map(|token| token.hash())
            && self.devices.is_known(&username, device).await?
        {
            return Ok(Some(KnownAs::Device(device)));
        }
        let Some(token) = SessionToken::parse(session) else { return Ok(None) };
        let Some(session) = self.sessions.validate(&token).await? else { return Ok(None) };
        let user = self.users.by_username(&username).await?;
        let is_theirs = user.is_some_and(|user| user.id == session.user_id);
        Ok(is_theirs.then_some(KnownAs::Session(session.id)))
    }

    /// The token that a device shows at the next login. The login stands without.
    pub(super) async fn remember_device(&self, user_id: Uuid, shown: &str) -> Option<DeviceToken> {
        let remembered = self.devices.remember(user_id, DeviceToken::parse(shown)).await;
        remembered.inspect_err(|error| tracing::debug!(user = %user_id, "device not noted: {error}")).ok()
    }
}
