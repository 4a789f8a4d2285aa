//! The use cases: register, log in, validate, log out, look up, and (in modules of their own) leave for good.

use std::sync::Arc;

use uuid::Uuid;

use crate::audit::{Audit, Entry, Event, Page};
use crate::devices::{DeviceToken, Devices};
use crate::erasure::Erasure;
use crate::error::{AuthError, Violation};
use crate::hasher::Hasher;
use crate::mail::{self, Mail};
use crate::password::Password;
use crate::registration_keys::{Attempt, RegistrationKeys};
use crate::relay::Relay;
use crate::revocations::{Revocation, Revocations};
use crate::session_clients::{Client, SessionClients};
use crate::sessions::{Opened, Session, Sessions};
use crate::token::{SessionId, SessionToken};
use crate::user_cache::UserCache;
use crate::username::Username;
use crate::users::{Credentials, NewUser, User, Users};

mod by_mail;
mod deletion;
mod export;
mod known_clients;
mod registration_once;

pub use by_mail::Named;
pub use export::Export;
pub use known_clients::KnownAs;
pub use registration_once::Registered;

/// What auth-svc can do, whoever asks.
#[derive(Clone)]
pub struct AuthService {
    pub users: Users,
    pub user_cache: UserCache,
    pub sessions: Sessions,
    pub session_clients: SessionClients,
    pub revocations: Revocations,
    pub audit: Audit,
    pub devices: Devices,
    pub mail: Mail,
    pub registration_keys: RegistrationKeys,
    pub erasure: Erasure,
    pub relay: Relay,
    pub hasher: Hasher,
    pub password_min_length: u64,
}

/// A login that succeeded.
pub struct Login {
    pub token: SessionToken,
    pub user: User,
    pub session: Session,
    /// Absent when it could not be noted.
    pub device: Option<DeviceToken>,
}

/// An e-mail address is checked by sending to it; here only what cannot be one is refused. 254: RFC 5321's limit of a path.
const EMAIL_MAX_BYTES: usize = 254;

/// Entries of the audit trail in one answer, when nothing is said about it and at most.
const USUAL_ACTIVITY: u32 = 50;
const MOST_ACTIVITY: u32 = 100;

impl AuthService {
    /// Creates a user. Nothing is hashed for a request that has to be refused anyway.
    pub async fn register(
        &self,
        username: &str,
        password: &str,
        email: Option<&str>,
        client: &Client,
    ) -> Result<User, AuthError> {
        self.register_as(username, password, email, client, None).await
    }

    /// The same for an attempt at a request with an idempotency key, which completes it.
    async fn register_as(
        &self,
        username: &str,
        password: &str,
        email: Option<&str>,
        client: &Client,
        attempt: Option<&Attempt>,
    ) -> Result<User, AuthError> {
        let (username, password, email) = self.check_registration(username, password, email)?;
        if self.users.username_exists(&username).await? {
            return Err(AuthError::UsernameTaken);
        }
        let hash = self.hasher.hash_new(password, username.as_shown()).await?;
        let new = NewUser {
            id: Uuid::now_v7(),
            username: &username,
            email,
            password_hash: &hash,
            verify: self.mail.sends,
        };
        let user = self.users.insert(new, client, attempt).await?;
        self.mail.queue.wake();
        Ok(user)
    }

    /// All that is wrong with a registration, at once.
    fn check_registration<'e>(
        &self,
        username: &str,
        password: &str,
        email: Option<&'e str>,
    ) -> Result<(Username, Password, Option<&'e str>), AuthError> {
        let username = Username::parse(username);
        let password = Password::parse_new(password, self.password_min_length);
        let email = email.map(parse_email).transpose();
        match (username, password, email) {
            (Ok(username), Ok(password), Ok(email)) => Ok((username, password, email)),
            (username, password, email) => Err(AuthError::InvalidFields(
                [username.err(), password.err(), email.err()].into_iter().flatten().collect(),
            )),
        }
    }

    /// Checks a password and opens a session. An unknown user and a wrong password get the same answer after the same
    /// work.
    ///
    /// A login that read the old password must not survive a password change: the session carries the generation that was read with the
    /// password; Redis refuses one that it knows to be old; and Postgres, read again before the answer, takes the session back when
    /// the generation moved in between.
    pub async fn login(
        &self,
        username: &str,
        password: &str,
        client: &Client,
        device: &str,
    ) -> Result<Login, AuthError> {
        // No password is hashed for a session that cannot be kept.
        self.sessions.check_reachable().await?;
        let Credentials { user, generation, .. } = self.authenticate(username, password, client).await?;
        let warming = self.user_cache.warm(user.id);
        let (opened, ()) = tokio::join!(self.open_session(user, generation, client), warming);
        let mut login = opened?;
        login.device = self.remember_device(login.user.id, device).await;
        tracing::debug!(user = %login.user.id, session = %login.session.id, "logged in");
        Ok(login)
    }

    /// A session for credentials that were right when they were read with `generation`.
    async fn open_session(&self, user: User, generation: i32, client: &Client) -> Result<Login, AuthError> {
        let token = SessionToken::generate(user.id).map_err(|error| AuthError::Internal(Arc::new(error)))?;
        let opened = self.sessions.create(&token, generation).await?;
        let Opened { session, displaced } = opened.ok_or(AuthError::InvalidCredentials)?;
        for id in displaced {
            let (user_id, client) = (Some(user.id), client.clone());
            self.audit.note_later(Entry {
                event: Event::SessionDisplaced,
                user_id,
                session: Some(id),
                client,
            });
        }
        match self.session_clients.insert(user.id, session.id, generation, client).await {
            Ok(Some(current)) if current == generation => {}
            Ok(_) => {
                self.sessions.end_by_id(user.id, session.id).await?;
                return Err(AuthError::InvalidCredentials);
            }
            Err(away) => {
                // Nobody was told the token, so nobody can use what may stay behind.
                let _ = self.sessions.end_by_id(user.id, session.id).await;
                return Err(away);
            }
        }
        Ok(Login { token, user, session, device: None })
    }

    /// What the audit trail is told of a failure takes no time, here as little as there.
    async fn authenticate(
        &self,
        username: &str,
        password: &str,
        client: &Client,
    ) -> Result<Credentials, AuthError> {
        let failed = |user_id| {
            let client = client.clone();
            self.audit.note_later(Entry { event: Event::LoginFailed, user_id, session: None, client });
            AuthError::InvalidCredentials
        };
        // Whoever is refused for that costs nothing else.
        self.hasher.check_room()?;
        let credentials = match Username::parse(username) {
            Ok(username) => self.users.credentials(&username).await?,
            Err(_) => None,
        };
        // What can be nobody's password costs as much as one that could.
        let (password, possible) = match Password::parse_given(password) {
            Some(password) => (password, true),
            None => (Password::impossible(), false),
        };
        let Some(credentials) = credentials else {
            self.hasher.pretend(password).await?;
            return Err(failed(None));
        };
        let verdict = self.hasher.verify(password.clone(), &credentials.password_hash).await?;
        if !verdict.matches || !possible {
            return Err(failed(Some(credentials.user.id)));
        }
        if verdict.outdated {
            self.rehash(&credentials, password).await;
        }
        Ok(credentials)
    }

    /// Makes a hash again with today's parameters and pepper, while the password is at hand. If that fails there is the next
    /// login.
    async fn rehash(&self, credentials: &Credentials, password: Password) {
        let rehashed = async {
            let hash = self.hasher.hash(password).await?;
            self.users.replace_hash(credentials, &hash).await
        };
        if let Err(error) = rehashed.await {
            tracing::debug!(user = %credentials.user.id, "password not rehashed: {error}");
        }
    }

    /// Whose session a token is.
    pub async fn validate(&self, token: &str) -> Result<Session, AuthError> {
        let token = SessionToken::parse(token).ok_or(AuthError::SessionInvalid)?;
        self.sessions.validate(&token).await?.ok_or(AuthError::SessionInvalid)
    }

    /// Ends the session of a token, finally.
    pub async fn logout(&self, token: &str, client: &Client) -> Result<SessionToken, AuthError> {
        let token = SessionToken::parse(token).ok_or(AuthError::SessionInvalid)?;
        if !self.sessions.end(&token).await? {
            return Err(AuthError::SessionInvalid);
        }
        self.note(Event::LoggedOut, token.user_id(), Some(token.digest().id), client).await;
        Ok(token)
    }

    async fn note(&self, event: Event, user_id: Uuid, session: Option<SessionId>, client: &Client) {
        let (user_id, client) = (Some(user_id), client.clone());
        self.audit.note(Entry { event, user_id, session, client }).await;
    }

    /// The valid sessions of a user, the newest first, each with its client as far as it is known.
    pub async fn list_sessions(&self, user_id: &str) -> Result<Vec<(Session, Option<Client>)>, AuthError> {
        let user_id = parse_user_id(user_id)?;
        let sessions = self.sessions.list(user_id).await?;
        // Which sessions there are can be told without the database, and matters more than where they came from.
        let mut clients = self.session_clients.of_user(user_id).await.unwrap_or_default();
        Ok(sessions.into_iter().map(|session| (session, clients.remove(&session.id))).collect())
    }

    pub async fn end_session(&self, user_id: &str, id: &str, client: &Client) -> Result<(), AuthError> {
        let user_id = parse_user_id(user_id)?;
        let id = SessionId::parse(id).ok_or(AuthError::SessionNotFound)?;
        if !self.sessions.end_by_id(user_id, id).await? {
            return Err(AuthError::SessionNotFound);
        }
        self.note(Event::SessionEnded, user_id, Some(id), client).await;
        Ok(())
    }

    /// Ends all sessions of a user but the kept one; tells how many there were.
    pub async fn end_sessions(&self, user_id: &str, kept: &str, client: &Client) -> Result<u32, AuthError> {
        let (user_id, kept) = (parse_user_id(user_id)?, parse_kept(kept)?);
        let ended = self.sessions.end_all(user_id, kept, None).await?;
        let event = if kept.is_some() { Event::OtherSessionsEnded } else { Event::AllSessionsEnded };
        self.note(event, user_id, kept, client).await;
        Ok(ended)
    }

    /// Sets another password and ends all sessions but the kept one. What was in flight with the old password gets no
    /// session.
    pub async fn change_password(
        &self,
        user_id: &str,
        current: &str,
        new: &str,
        kept: &str,
        client: &Client,
    ) -> Result<(), AuthError> {
        let (user_id, kept) = (parse_user_id(user_id)?, parse_kept(kept)?);
        let new = Password::parse_new(new, self.password_min_length)
            .map_err(|violation| AuthError::InvalidFields(vec![violation]).about_field("new_password"))?;
        let refused = || {
            let (user_id, client) = (Some(user_id), client.clone());
            let event = Event::PasswordChangeRefused;
            self.audit.note_later(Entry { event, user_id, session: kept, client });
            AuthError::WrongPassword
        };
        let current = Password::parse_given(current).ok_or_else(refused)?;
        let credentials = self.users.credentials_by_id(user_id).await?.ok_or(AuthError::UserNotFound)?;
        if !self.hasher.verify(current, &credentials.password_hash).await?.matches {
            return Err(refused());
        }
        let new_hash = self.hasher.hash_new(new, &credentials.user.username).await;
        let new_hash = new_hash.map_err(|error| AuthError::from(error).about_field("new_password"))?;
        let changed = self.users.change_password(&credentials, &new_hash, kept, client).await?;
        let generation = changed.ok_or_else(refused)?;
        self.revocations.carry_out(Revocation { user_id, generation, kept }).await
    }

    /// What happened to an account, the newest first. A limit of 0 is the usual one; `before` 0 begins at the newest.
    pub async fn list_activity(&self, user_id: &str, limit: u32, before: i64) -> Result<Page, AuthError> {
        let user_id = parse_user_id(user_id)?;
        let limit = if limit == 0 { USUAL_ACTIVITY } else { limit };
        if limit > MOST_ACTIVITY {
            let description = format!("has to be at most {MOST_ACTIVITY}");
            return Err(AuthError::InvalidFields(vec![Violation { field: "limit", description }]));
        }
        self.audit.of_user(user_id, limit, (before > 0).then_some(before)).await
    }

    pub async fn user_by_id(&self, id: &str) -> Result<User, AuthError> {
        let id = parse_user_id(id)?;
        self.user_cache.by_id(id).await?.ok_or(AuthError::UserNotFound)
    }

    pub async fn user_by_username(&self, username: &str) -> Result<User, AuthError> {
        let username = Username::parse(username).map_err(|_| AuthError::UserNotFound)?;
        self.users.by_username(&username).await?.ok_or(AuthError::UserNotFound)
    }
}

fn parse_user_id(text: &str) -> Result<Uuid, AuthError> {
    Uuid::parse_str(text).map_err(|_| AuthError::UserNotFound)
}

/// The session that survives; empty: none.
fn parse_kept(text: &str) -> Result<Option<SessionId>, AuthError> {
    if text.is_empty() {
        return Ok(None);
    }
    SessionId::parse(text).map(Some).ok_or(AuthError::SessionNotFound)
}

fn parse_email(text: &str) -> Result<&str, Violation> {
    let plausible = text.len() <= EMAIL_MAX_BYTES
        && !text.chars().any(|character| character.is_whitespace() || character.is_control())
        && text.rsplit_once('@').is_some_and(|(local, domain)| {
            !local.is_empty()
                && local.len() <= 64
                && domain.contains('.')
                && !domain.starts_with('.')
                && !domain.ends_with('.')
        })
        && mail::is_address(text);
    if plausible {
        Ok(text)
    } else {
        Err(Violation { field: "email", description: "is not an e-mail address".into() })
    }
}

#[cfg(test)]
mod interleavings;
#[cfg(test)]
mod tests;
