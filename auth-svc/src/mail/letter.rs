//! What the mails say: plain text, RFC 5322, and nothing in it that tells anybody that it was read.

use std::str::FromStr;
use std::time::Duration;

use lettre::Message;
use lettre::message::Mailbox;
use lettre::message::header::{ContentType, HeaderName, HeaderValue, MIME_VERSION_1_0};
use uuid::Uuid;

use super::queue::Outgoing;
use super::token::MailToken;
use super::{Lifetimes, Purpose};

/// The place of the token in a link.
const PLACEHOLDER: &str = "{token}";

/// A link with a place for the token, such as `https://app.example.com/reset#{token}`.
#[derive(Debug, Clone)]
pub struct LinkTemplate(String);

impl FromStr for LinkTemplate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.matches(PLACEHOLDER).count() != 1 || !text.contains("://") {
            return Err(format!("has to be a URL that holds {PLACEHOLDER} once"));
        }
        if text.chars().any(|character| character.is_whitespace() || character.is_control()) {
            return Err("has white space".into());
        }
        Ok(Self(text.to_owned()))
    }
}

impl LinkTemplate {
    fn with(&self, token: &MailToken) -> String {
        self.0.replace(PLACEHOLDER, token.encoded())
    }
}

/// Where the tokens are to be brought; without a link a mail tells the token alone.
#[derive(Debug, Clone, Default)]
pub struct Links {
    pub password_reset: Option<LinkTemplate>,
    pub email_verification: Option<LinkTemplate>,
}

/// Why a mail cannot be written. Its text names nobody.
#[derive(Debug, thiserror::Error)]
pub(super) enum LetterError {
    #[error("the address is none that mail can be sent to")]
    Address,
    #[error("the mail cannot be put into its format")]
    Format,
}

/// What all mails share.
#[derive(Debug, Clone)]
pub(super) struct Stationery {
    pub(super) from: Mailbox,
    pub(super) links: Links,
    pub(super) lifetimes: Lifetimes,
}

impl Stationery {
    /// The mail that tells a token. Each has an id of its own: one that is sent again carries another token.
    pub(super) fn letter(
        &self,
        to: &Outgoing,
        email: &str,
        token: &MailToken,
    ) -> Result<Message, LetterError> {
        let address = email.parse().map_err(|_| LetterError::Address)?;
        let id = format!("<{}@{}>", Uuid::now_v7(), self.from.email.domain());
        let auto_submitted = HeaderName::new_from_ascii_str("Auto-Submitted");
        let (subject, text) = self.words(to, token);
        Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, address))
            .subject(subject)
            .message_id(Some(id))
            .date_now()
            // RFC 3834: no out-of-office note comes back.
            .raw_header(HeaderValue::new(auto_submitted, "auto-generated".to_owned()))
            .header(MIME_VERSION_1_0)
            .header(ContentType::TEXT_PLAIN)
            .body(text)
            .map_err(|_| LetterError::Format)
    }

    fn words(&self, to: &Outgoing, token: &MailToken) -> (&'static str, String) {
        let within = in_words(self.lifetimes.of(to.purpose));
        let (subject, asked, link, otherwise) = match to.purpose {
            Purpose::PasswordReset => (
                "Set a new password",
                "somebody, probably you, asked to set a new password for your account.",
                self.links.password_reset.as_ref(),
                "If it was not you, there is nothing to do: your password stays as it is.",
            ),
            Purpose::EmailVerification => (
                "Confirm your e-mail address",
                "this address was given for your account. Confirm that it is yours.",
                self.links.email_verification.as_ref(),
                "If you have no account, there is nothing to do: ignore this mail.",
            ),
        };
        let way = match link {
            Some(link) => format!(
                "Open this link within {within}. It works once.\n\n{}\n\nOr use the token by itself:\n\n",
                link.with(token)
            ),
            None => format!("Use this token within {within}. It works once.\n\n"),
        };
        let text = format!("Hello {},\n\n{asked}\n\n{way}{}\n\n{otherwise}\n", to.username, token.encoded());
        (subject, text)
    }
}

/// Rounded down to whole units: a token that is used within what was said is good.
fn in_words(duration: Duration) -> String {
    let (count, unit) = match duration.as_secs() {
        seconds if seconds >= 2 * 3600 => (seconds / 3600, "hour"),
        seconds if seconds >= 60 => (seconds / 60, "minute"),
        seconds => (seconds, "second"),
    };
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stationery(link: Option<&str>) -> Stationery {
        Stationery {
            from: "Sallyport <post@sallyport.example>".parse().unwrap(),
            links: Links { password_reset: link.map(|link| link.parse().unwrap()), email_verification: None },
            lifetimes: Lifetimes {
                password_reset: Duration::from_secs(1800),
                email_verification: Duration::from_secs(86_400),
            },
        }
    }

    fn outgoing(username: &str, purpose: Purpose) -> Outgoing {
        Outgoing { user_id: Uuid::now_v7(), purpose, attempts: 1, username: username.into(), email: None }
    }

    fn text(stationery: &Stationery, to: &Outgoing, token: &MailToken) -> String {
        let letter = stationery.letter(to, "ada@mail.example", token).unwrap();
        String::from_utf8(letter.formatted()).unwrap()
    }

    #[test]
    fn a_mail_is_plain_text_with_the_link_and_the_token_on_lines_of_their_own() {
        let token = MailToken::generate().unwrap();
        let ada = outgoing("ada", Purpose::PasswordReset);
        let text = text(&stationery(Some("https://app.example/reset#{token}")), &ada, &token);
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        for header in [
            "From: Sallyport <post@sallyport.example>",
            "To: ada@mail.example",
            "Subject: Set a new password",
            "Content-Type: text/plain; charset=utf-8",
            "Auto-Submitted: auto-generated",
            "MIME-Version: 1.0",
        ] {
            assert!(head.lines().any(|line| line == header), "{header} in {head}");
        }
        assert!(
            head.contains("Message-ID: <") && head.contains("@sallyport.example>") && head.contains("Date: ")
        );
        let lines: Vec<&str> = body.lines().collect();
        assert!(lines.contains(&token.encoded()), "{body}");
        assert!(lines.contains(&format!("https://app.example/reset#{}", token.encoded()).as_str()), "{body}");
        assert!(body.contains("30 minutes"), "{body}");
        assert!(text.is_ascii() && text.lines().all(|line| line.len() < 100));
    }

    #[test]
    fn the_token_is_whole_in_a_mail_to_any_name_and_without_any_link() {
        let token = MailToken::generate().unwrap();
        let text = text(&stationery(None), &outgoing("j\u{fc}rgen", Purpose::EmailVerification), &token);
        assert!(text.is_ascii(), "names are encoded: {text}");
        assert!(text.lines().any(|line| line == token.encoded()), "{text}");
        assert!(text.contains("24 hours") && !text.contains("://"), "{text}");
    }

    #[test]
    fn a_link_has_one_place_for_the_token() {
        for unsuitable in
            ["", "https://app.example/", "{token}", "https://a/{token}{token}", "https://a/ {token}"]
        {
            assert!(unsuitable.parse::<LinkTemplate>().is_err(), "{unsuitable}");
        }
    }

    #[test]
    fn times_are_told_in_words() {
        for (seconds, words) in
            [(1, "1 second"), (60, "1 minute"), (3600, "60 minutes"), (86_400, "24 hours")]
        {
            assert_eq!(in_words(Duration::from_secs(seconds)), words);
        }
    }
}
