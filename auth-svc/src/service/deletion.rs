//! The end of an account: nothing of the person stays.

use crate::audit::{Entry, Event};
use crate::error::AuthError;
use crate::password::Password;
use crate::service::{AuthService, parse_user_id};
use crate::session_clients::Client;
use crate::users::Credentials;

impl AuthService {
    /// Deletes a user who shows the password.
    ///
    /// Committed at once: the user, the order to end all sessions, and the event that the other services hear of. Then the sessions
    /// end and the cache forgets, before the answer. When either store goes away in between the caller is told so, and what is left
    /// is carried out later.
    ///
    /// # Errors
    /// `WrongPassword`; `UserNotFound`, also when the user is deleted meanwhile.
    pub async fn delete_user(&self, user_id: &str, password: &str, client: &Client) -> Result<(), AuthError> {
        let user_id = parse_user_id(user_id)?;
        let password = Password::parse_given(password).ok_or(AuthError::WrongPassword)?;
        let credentials = self.users.credentials_by_id(user_id).await?.ok_or(AuthError::UserNotFound)?;
        if !self.hasher.verify(password, &credentials.password_hash).await?.matches {
            let (event, client) = (Event::DeletionRefused, client.clone());
            self.audit.note_later(Entry { event, user_id: Some(user_id), session: None, client });
            return Err(AuthError::WrongPassword);
        }
        self.erase(&credentials).await
    }

    /// Removes a user whose credentials were right when they were read.
    async fn erase(&self, credentials: &Credentials) -> Result<(), AuthError> {
        let user_id = credentials.user.id;
        let announced = self.user_cache.announce(user_id).await?;
        // If this fails the announcement stays until nobody can commit it any more.
        let Some(order) = self.erasure.erase(credentials).await? else {
            announced.abandon().await;
            let still_there = self.users.by_id(user_id).await?.is_some();
            return Err(if still_there { AuthError::WrongPassword } else { AuthError::UserNotFound });
        };
        self.relay.wake();
        tracing::info!(user = %user_id, "account deleted");
        let (ended, forgotten) = tokio::join!(self.revocations.carry_out(order), announced.erase());
        ended?;
        forgotten.map_err(AuthError::Unacknowledged)
    }
}
