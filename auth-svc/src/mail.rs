//! Mails that carry single-use tokens: who asked for one, what is sent, and what comes back.
//!
//! `queue` and `tokens` are the stores, in Postgres; `letter` is the text, `transport` the way out, `worker` what sends behind the
//! answers. Nothing here decides who may ask.

use std::time::Duration;

mod letter;
mod queue;
mod token;
mod tokens;
mod transport;
mod url;
mod worker;

pub use letter::{LinkTemplate, Links};
pub use queue::{Account, MailRequest, Queue};
pub use token::MailToken;
pub use tokens::{Sent, Tokens};
pub use transport::Transport;
pub use url::MailUrl;
pub use worker::{Worker, clean};

/// What a mail is for, and what its token is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    PasswordReset,
    EmailVerification,
}

impl Purpose {
    /// As it stands in the database.
    pub fn name(self) -> &'static str {
        match self {
            Self::PasswordReset => "PASSWORD_RESET",
            Self::EmailVerification => "EMAIL_VERIFICATION",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        [Self::PasswordReset, Self::EmailVerification].into_iter().find(|purpose| purpose.name() == name)
    }
}

/// What the use cases need of it.
#[derive(Clone)]
pub struct Mail {
    pub queue: Queue,
    pub tokens: Tokens,
    /// Whether this service was told where mails go.
    pub sends: bool,
}

/// How long tokens are good for.
#[derive(Debug, Clone, Copy)]
pub struct Lifetimes {
    pub password_reset: Duration,
    pub email_verification: Duration,
}

impl Lifetimes {
    fn of(self, purpose: Purpose) -> Duration {
        match purpose {
            Purpose::PasswordReset => self.password_reset,
            Purpose::EmailVerification => self.email_verification,
        }
    }
}

/// Whether an address is one that mail can be sent to, as far as its spelling tells.
pub fn is_address(text: &str) -> bool {
    text.parse::<lettre::Address>().is_ok()
}
