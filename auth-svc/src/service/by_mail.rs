//! What people prove by a token that was mailed to them: that an account is theirs, or an address.

use super::{AuthService, parse_email, parse_user_id};
use crate::error::AuthError;
use crate::mail::{Account, MailRequest, MailToken, Purpose};
use crate::password::Password;
use crate::session_clients::Client;
use crate::username::Username;

/// How somebody names the account whose password they do not know.
pub enum Named<'a> {
    Username(&'a str),
    Email(&'a str),
}

impl AuthService {
    /// Asks for a mail that lets its reader set another password. Whether there is such a user is looked up behind the answer, so
    /// that neither the answer nor its time can tell.
    pub async fn request_password_reset(&self, named: Named<'_>, client: Client) -> Result<(), AuthError> {
        let account = match named {
            Named::Username(username) => Username::parse(username).map(Account::Username),
            Named::Email(email) => parse_email(email).map(|email| Account::Email(email.to_owned())),
        };
        let account = account.map_err(|violation| AuthError::InvalidFields(vec![violation]))?;
        if !self.mail.sends {
            return Err(AuthError::MailNotConfigured);
        }
        self.mail.queue.ask(&MailRequest { account, client }).await
    }

    /// Sets another password, by a token that was mailed, and ends all sessions. What was in flight with the old password gets no
    /// session. A password that is not acceptable leaves the token as it is.
    pub async fn confirm_password_reset(
        &self,
        token: &str,
        new: &str,
        client: &Client,
    ) -> Result<(), AuthError> {
        let about_new = |error: AuthError| error.about_field("new_password");
        let new = Password::parse_new(new, self.password_min_length)
            .map_err(|violation| about_new(AuthError::InvalidFields(vec![violation])))?;
        let token = MailToken::parse(token).ok_or(AuthError::TokenInvalid)?;
        let pending = self.mail.tokens.pending(&token, Purpose::PasswordReset).await?;
        let pending = pending.ok_or(AuthError::TokenInvalid)?;
        let new_hash = self.hasher.hash_new(new, &pending.username).await;
        let new_hash = new_hash.map_err(|error| about_new(error.into()))?;
        // The address is verified by the way, and not when that would have to wait for the cache: the password goes first.
        let announced =
            if pending.email_verified { None } else { self.user_cache.announce(pending.user_id).await.ok() };
        let reset = self.mail.tokens.reset_password(&token, &new_hash, announced.is_some(), client).await?;
        let Some((order, user)) = reset else {
            if let Some(announced) = announced {
                announced.abandon().await;
            }
            return Err(AuthError::TokenInvalid);
        };
        let ended = self.revocations.carry_out(order).await;
        if let Some(announced) = announced {
            // Whoever reads the user meanwhile asks the database.
            let _ = announced.finish(Some(&user)).await;
        }
        ended
    }

    /// Asks for a mail that verifies the user's address.
    pub async fn request_email_verification(&self, user_id: &str) -> Result<(), AuthError> {
        let user_id = parse_user_id(user_id)?;
        let user = self.users.by_id(user_id).await?.ok_or(AuthError::UserNotFound)?;
        if user.email.is_none() {
            return Err(AuthError::EmailMissing);
        }
        if user.email_verified {
            return Err(AuthError::EmailVerified);
        }
        if !self.mail.sends {
            return Err(AuthError::MailNotConfigured);
        }
        self.mail.queue.add(user_id, Purpose::EmailVerification).await
    }

    /// Verifies an address, by a token that was mailed there.
    pub async fn confirm_email_verification(&self, token: &str, client: &Client) -> Result<(), AuthError> {
        let token = MailToken::parse(token).ok_or(AuthError::TokenInvalid)?;
        let pending = self.mail.tokens.pending(&token, Purpose::EmailVerification).await?;
        let user_id = pending.ok_or(AuthError::TokenInvalid)?.user_id;
        let announced = self.user_cache.announce(user_id).await?;
        let Some(user) = self.mail.tokens.verify_email(&token, client).await? else {
            announced.abandon().await;
            return Err(AuthError::TokenInvalid);
        };
        announced.finish(Some(&user)).await.map_err(AuthError::Unacknowledged)
    }
}
