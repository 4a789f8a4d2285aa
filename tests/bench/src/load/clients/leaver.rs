//! Logs in and out, each time as somebody else, and tries the session that it ended: only the logouts are measured.

use super::{Answer, Client, Judgement, Route, is_shed, token, write_login, write_request};
use crate::people::Person;

/// From a logout that is answered on, every replica refuses the session: so its latency is how long a revocation takes.
pub struct Leaver {
    first: usize,
    count: usize,
    next: Step,
}

enum Step {
    Login,
    /// With the session that is to end.
    Logout(String),
    /// With the session that has ended.
    Read(String),
}

impl Leaver {
    /// One of `count` people from `first` on.
    pub fn new(first: usize, count: usize) -> Self {
        Self { first, count, next: Step::Login }
    }
}

impl Client for Leaver {
    fn ask(&mut self, buffer: &mut Vec<u8>) {
        match &self.next {
            Step::Login => write_login(buffer, Person(self.first + fastrand::usize(..self.count))),
            Step::Logout(session) => {
                write_request(buffer, "POST", Route::Logout.path(), Some(session.as_bytes()), None);
            }
            Step::Read(session) => {
                write_request(buffer, "GET", Route::Me.path(), Some(session.as_bytes()), None);
            }
        }
    }

    fn judge(&mut self, answer: &Answer<'_>) -> Judgement {
        match std::mem::replace(&mut self.next, Step::Login) {
            Step::Login if is_shed(answer) => Judgement::Shed,
            Step::Login => match token(answer) {
                Some(session) => {
                    self.next = Step::Logout(session);
                    Judgement::Beside
                }
                None => Judgement::Wrong(answer.text()),
            },
            Step::Logout(session) if answer.status == 204 => {
                self.next = Step::Read(session);
                Judgement::Right
            }
            Step::Logout(_) => Judgement::Wrong(format!("a logout was answered {}", answer.text())),
            Step::Read(_) if answer.status == 401 => Judgement::Beside,
            Step::Read(_) => Judgement::Wrong(format!("after its logout: {}", answer.text())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logouts_are_measured_and_a_session_that_outlives_one_is_wrong() {
        let mut leaver = Leaver::new(0, 1);
        let mut answered =
            |status, body: &str| leaver.judge(&Answer { status, head: b"", body: body.as_bytes() });
        assert!(matches!(answered(200, r#"{"token":"session"}"#), Judgement::Beside));
        assert!(matches!(answered(204, ""), Judgement::Right));
        assert!(matches!(answered(200, "{}"), Judgement::Wrong(_)));
    }
}
