//! Registrations that may be repeated: with an idempotency key one of them makes the user, and all get its answer.

use super::AuthService;
use crate::error::AuthError;
use crate::password::Password;
use crate::registration_keys::{Progress, Request};
use crate::session_clients::Client;
use crate::users::User;

/// What a registration came to.
#[derive(Debug)]
pub struct Registered {
    pub user: User,
    /// It was done before, and this is the answer of then.
    pub replayed: bool,
}

impl AuthService {
    /// Registers at most once, however often it is asked with the same key; an empty key is none. A failure leaves the key as if
    /// nothing had been asked.
    ///
    /// # Errors
    /// `KeyInUse` while another attempt runs, `KeyReused` when the key belongs to other fields: the password counts as one of them.
    pub async fn register_once(
        &self,
        key: &str,
        username: &str,
        password: &str,
        email: Option<&str>,
        client: &Client,
    ) -> Result<Registered, AuthError> {
        if key.is_empty() {
            let user = self.register(username, password, email, client).await?;
            return Ok(Registered { user, replayed: false });
        }
        self.check_registration(username, password, email)?;
        match self.registration_keys.begin(&Request::new(key, username, email)).await? {
            Progress::Running => Err(AuthError::KeyInUse),
            Progress::OtherRequest => Err(AuthError::KeyReused),
            Progress::Done(user_id) => {
                // The answer is told to those alone who know the password, and no faster hash of it is kept to compare with.
                let credentials = self.users.credentials_by_id(user_id).await?.ok_or(AuthError::KeyInUse)?;
                let password = Password::parse_given(password).ok_or(AuthError::KeyReused)?;
                if !self.hasher.verify(password, &credentials.password_hash).await?.matches {
                    return Err(AuthError::KeyReused);
                }
                // As it was answered then, whatever has been verified since.
                let user = User { email_verified: false, ..credentials.user };
                Ok(Registered { user, replayed: true })
            }
            Progress::First(attempt) => {
                match self.register_as(username, password, email, client, Some(&attempt)).await {
                    Ok(user) => Ok(Registered { user, replayed: false }),
                    Err(error) => {
                        // If that fails too, the attempt is taken over when it is old enough.
                        if let Err(away) = self.registration_keys.release(&attempt).await {
                            tracing::debug!("the key of a failed registration is not free yet: {away}");
                        }
                        Err(error)
                    }
                }
            }
        }
    }
}
