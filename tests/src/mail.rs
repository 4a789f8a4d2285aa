//! Mails that a stack has sent: read as their recipients would.

use std::fs;

use crate::person::Person;
use crate::stack::Stack;
use crate::wait;

/// What the mails of each kind say in their subject.
pub const RESET: &str = "Set a new password";
pub const VERIFICATION: &str = "Confirm your e-mail address";

/// A mail as it arrived, headers and all.
#[derive(Debug, Clone)]
pub struct Mail {
    pub text: String,
}

impl Mail {
    /// The value of a header. Panics when there is none.
    #[track_caller]
    pub fn header(&self, name: &str) -> &str {
        let (head, _) = self.text.split_once("\r\n\r\n").unwrap_or_default();
        let value = head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        value.unwrap_or_else(|| panic!("{name} is missing: {}", self.text))
    }

    /// The line that is a token. Panics when there is none, or more than one.
    #[track_caller]
    pub fn token(&self) -> &str {
        let is_token = |line: &&str| {
            line.len() == 43 && line.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
        };
        let tokens: Vec<_> = self.text.lines().filter(is_token).collect();
        assert_eq!(tokens.len(), 1, "{}", self.text);
        tokens[0]
    }

    pub fn is(&self, to: &Person, subject: &str) -> bool {
        self.header("To") == to.email && self.header("Subject") == subject
    }
}

/// All mails that a stack has written to its folder, the oldest first.
pub fn written(stack: &Stack) -> Vec<Mail> {
    let Ok(files) = fs::read_dir(stack.mail_folder()) else { return Vec::new() };
    let paths = files.map(|file| file.unwrap_or_else(|error| panic!("no mails: {error}")).path());
    let mut paths: Vec<_> = paths.filter(|path| path.extension().is_some_and(|it| it == "eml")).collect();
    paths.sort();
    let read = |path| fs::read_to_string(path).unwrap_or_else(|error| panic!("no mail: {error}"));
    paths.into_iter().map(|path| Mail { text: read(path) }).collect()
}

/// Waits for a mail to somebody, and until nothing is on its way any more; the newest of those that were sent.
pub async fn newest_to(stack: &Stack, to: &Person, subject: &str) -> Mail {
    let arrived = async || {
        let nothing_waits =
            stack.auth_database.count("mails").await + stack.auth_database.count("mail_requests").await == 0;
        let mail = written(stack).into_iter().rfind(|mail| mail.is(to, subject));
        mail.filter(|_| nothing_waits)
    };
    wait::until("the mail is there", arrived).await
}
