//! The way out: an SMTP server, or a folder. Every attempt is bounded in time.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lettre::transport::smtp::extension::ClientId;
use lettre::transport::smtp::{self, response::Code};
use lettre::{Address, AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor};
use uuid::Uuid;

use super::url::{MailUrl, Way};

/// For a connection to the server.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// For one mail, from the connection to the server's word that it has it.
pub(super) const SEND_TIMEOUT: Duration = Duration::from_secs(30);

/// Answers that are about the address alone (RFC 5321): no such mailbox, not here, not allowed.
const REFUSED: [&str; 3] = ["550", "551", "553"];

/// Hands over one mail at a time, each on a connection of its own.
#[derive(Clone)]
pub enum Transport {
    Smtp(AsyncSmtpTransport<Tokio1Executor>),
    Folder(PathBuf),
}

/// Why a mail was not handed over. Its text names no address: what a server answers often repeats it.
#[derive(Debug, thiserror::Error)]
pub(super) enum SendError {
    /// It will never be.
    #[error("the mail server refuses the address with {0}")]
    Refused(Code),
    /// It may be another time.
    #[error("{0}")]
    Failed(String),
}

impl Transport {
    /// `from` names this sender to the server.
    pub fn open(url: MailUrl, from: &Address) -> Self {
        match url.way {
            Way::Folder(folder) => Self::Folder(folder),
            Way::Smtp(builder) => {
                let hello = ClientId::Domain(from.domain().to_owned());
                Self::Smtp(builder.hello_name(hello).timeout(Some(CONNECT_TIMEOUT)).build())
            }
        }
    }

    pub(super) async fn send(&self, message: Message) -> Result<(), SendError> {
        match self {
            Self::Smtp(transport) => {
                match tokio::time::timeout(SEND_TIMEOUT, transport.send(message)).await {
                    Ok(Ok(_)) => Ok(()),
                    Ok(Err(error)) => Err(told(&error)),
                    Err(_) => Err(SendError::Failed("the mail server takes too long".into())),
                }
            }
            Self::Folder(folder) => {
                let folder = folder.clone();
                let written = tokio::task::spawn_blocking(move || write(&folder, &message.formatted())).await;
                let written = written.map_err(std::io::Error::other).and_then(|outcome| outcome);
                written.map_err(|error| SendError::Failed(format!("the mail cannot be written: {error}")))
            }
        }
    }
}

fn told(error: &smtp::Error) -> SendError {
    match error.status() {
        Some(code) if REFUSED.contains(&code.to_string().as_str()) => SendError::Refused(code),
        Some(code) => SendError::Failed(format!("the mail server answers {code}")),
        None if error.is_client() || error.is_response() => {
            SendError::Failed("the mail server cannot take such a mail, or does not speak SMTP".into())
        }
        None => {
            let cause = std::error::Error::source(error).map(ToString::to_string);
            SendError::Failed(format!("the mail server does not answer: {}", cause.unwrap_or_default()))
        }
    }
}

/// One file a mail, named in the order in which they were sent, for its owner's eyes alone; whole as soon as it has its name.
fn write(folder: &Path, mail: &[u8]) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let name = Uuid::now_v7();
    let unfinished = folder.join(format!(".{name}"));
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(&unfinished)?;
    file.write_all(mail)?;
    std::fs::rename(&unfinished, folder.join(format!("{name}.eml")))
}
