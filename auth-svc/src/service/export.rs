//! All that is held about a user, for them to take along.

use crate::audit::Event;
use crate::devices::Device;
use crate::error::AuthError;
use crate::mail::Sent;
use crate::service::{AuthService, parse_user_id};
use crate::session_clients::{Client, SignIn};
use crate::sessions::Session;
use crate::users::User;

/// What is held here, but for the activity.
#[derive(Debug)]
pub struct Export {
    pub user: User,
    /// Valid ones, each with its client as far as that is known.
    pub sessions: Vec<(Session, Option<Client>)>,
    /// What is remembered of opened sessions, valid or not.
    pub sign_ins: Vec<SignIn>,
    pub devices: Vec<Device>,
    pub mails: Vec<Sent>,
}

impl AuthService {
    /// Collects what is held about a user, whole or not at all.
    pub async fn export_user(&self, user_id: &str, client: &Client) -> Result<Export, AuthError> {
        let user_id = parse_user_id(user_id)?;
        let user = self.users.by_id(user_id).await?.ok_or(AuthError::UserNotFound)?;
        let sessions = self.sessions.list(user_id).await?;
        let mut clients = self.session_clients.of_user(user_id).await?;
        let sign_ins = self.session_clients.sign_ins(user_id).await?;
        let devices = self.devices.of_user(user_id).await?;
        let mails = self.mail.tokens.of_user(user_id).await?;
        let sessions = sessions.into_iter().map(|session| (session, clients.remove(&session.id))).collect();
        self.note(Event::Exported, user_id, None, client).await;
        Ok(Export { user, sessions, sign_ins, devices, mails })
    }
}
