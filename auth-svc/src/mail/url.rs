//! Where mails go, as the configuration says it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use lettre::transport::smtp::AsyncSmtpTransportBuilder;
use lettre::{AsyncSmtpTransport, Tokio1Executor};
use url::Url;

/// `smtp://user:password@host:port`, `smtp+starttls://`, `smtps://`, or `file:///folder`. Its `Debug` shows no password.
#[derive(Clone)]
pub struct MailUrl {
    shown: String,
    pub(super) way: Way,
}

#[derive(Clone)]
pub(super) enum Way {
    Smtp(Box<AsyncSmtpTransportBuilder>),
    Folder(PathBuf),
}

impl FromStr for MailUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let url = Url::parse(text).map_err(|error| error.to_string())?;
        let host = url.host_str().unwrap_or_default();
        let shown = format!("{}://{host}{}", url.scheme(), if host.is_empty() { url.path() } else { "" });
        if !url.username().is_empty() && url.password().is_none() {
            return Err("has a user without a password".into());
        }
        let way = match url.scheme() {
            "smtp" | "smtps" => smtp(text)?,
            "smtp+starttls" => smtp(&format!("{}?tls=required", text.replacen("+starttls", "", 1)))?,
            "file" => {
                Way::Folder(url.to_file_path().map_err(|()| "has to name a folder, as file:///folder")?)
            }
            _ => return Err("has to be an smtp://, smtp+starttls://, smtps:// or file:// URL".into()),
        };
        Ok(Self { shown, way })
    }
}

fn smtp(url: &str) -> Result<Way, String> {
    let builder = AsyncSmtpTransport::<Tokio1Executor>::from_url(url).map_err(|error| error.to_string())?;
    Ok(Way::Smtp(Box::new(builder)))
}

impl fmt::Debug for MailUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MailUrl({})", self.shown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_is_understood_and_shows_no_password() {
        for url in [
            "smtp://127.0.0.1:2525",
            "smtp://user:hush@mail.example:25",
            "smtp+starttls://user:hush@mail.example",
            "smtps://user:hush@mail.example:465",
            "file:///var/mail/sallyport",
        ] {
            let shown = format!("{:?}", url.parse::<MailUrl>().unwrap());
            assert!(!shown.contains("hush") && !shown.contains("user"), "{shown}");
        }
        let folder: MailUrl = "file:///var/mail".parse().unwrap();
        assert!(matches!(folder.way, Way::Folder(path) if path.ends_with("var/mail")));
    }

    #[test]
    fn nonsense_is_refused() {
        for url in [
            "",
            "mail.example",
            "http://mail.example",
            "smtp://",
            "smtp://user@mail.example",
            "file://host/x",
        ] {
            assert!(url.parse::<MailUrl>().is_err(), "{url}");
        }
    }
}
