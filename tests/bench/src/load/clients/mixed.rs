//! What people do in turn: 90 % reads, 5 % changes, 4 % logins and 1 % logouts.
//!
//! A client has people of its own, so it knows what each of them must be told: the words of the last change, by whichever session,
//! and 401 for a session that has ended.

use std::sync::Arc;

use super::{Answer, Client, Judgement, Route, expect_named, is_shed, token, write_login, write_request};
use crate::people::{People, Person};

const CHANGES: u32 = 5;
const LOGINS: u32 = 4;
const LOGOUTS: u32 = 1;

/// One client and its people.
pub struct Mixed {
    people: Arc<People>,
    own: Vec<Account>,
    asked: Action,
    revision: u64,
    expected: Vec<u8>,
}

struct Account {
    person: Person,
    /// Sessions beyond the first, which is never ended.
    sessions: Vec<String>,
    /// What the last change said.
    bio: Option<String>,
}

/// What was asked, and for whom of the own people.
enum Action {
    Read(usize),
    Change(usize),
    Login(usize),
    /// With the session that is to end.
    Logout(String),
    /// With a session that has ended.
    ReadSignedOut(String),
}

impl Mixed {
    /// Client number `client` of `clients`, which share out `count` people from `first` on. Each has one at least.
    pub fn new(people: Arc<People>, first: usize, count: usize, client: usize, clients: usize) -> Self {
        let own = (client..count.max(clients)).step_by(clients).map(|offset| Person(first + offset));
        let own = own.map(|person| Account { person, sessions: Vec::new(), bio: None }).collect();
        Self { people, own, asked: Action::Read(0), revision: fastrand::u64(..1 << 48), expected: Vec::new() }
    }

    fn next(&mut self) -> Action {
        // Whoever has just signed out tries it at once.
        if let Action::Logout(session) = &mut self.asked {
            return Action::ReadSignedOut(std::mem::take(session));
        }
        let who = fastrand::usize(..self.own.len());
        match fastrand::u32(..100) {
            draw if draw < CHANGES => Action::Change(who),
            draw if draw < CHANGES + LOGINS => Action::Login(who),
            draw if draw < CHANGES + LOGINS + LOGOUTS => {
                self.own.iter_mut().find_map(|it| it.sessions.pop()).map_or(Action::Read(who), Action::Logout)
            }
            _ => Action::Read(who),
        }
    }

    /// The newest session.
    fn session(&self, who: usize) -> &[u8] {
        let Account { person, sessions, .. } = &self.own[who];
        sessions.last().map_or_else(|| self.people.token(*person), |session| session.as_bytes())
    }

    fn expect_own_words(&mut self, answer: &Answer<'_>, who: usize) -> Judgement {
        let Account { person, bio, .. } = &self.own[who];
        if let Some(bio) = bio
            && !answer.contains(bio.as_bytes())
        {
            return Judgement::Wrong(format!(
                "{} said \"{bio}\", and was told {}",
                person.username(),
                answer.text()
            ));
        }
        expect_named(answer, *person, &mut self.expected)
    }
}

impl Client for Mixed {
    fn ask(&mut self, buffer: &mut Vec<u8>) {
        self.asked = self.next();
        let path = Route::Profile.path();
        match &self.asked {
            Action::Read(who) => write_request(buffer, "GET", path, Some(self.session(*who)), None),
            Action::Change(who) => {
                self.revision += 1;
                let bio = format!("Revision {:016x}", self.revision);
                let body = format!("{{\"bio\":\"{bio}\"}}");
                write_request(buffer, "PATCH", path, Some(self.session(*who)), Some(&body));
                self.own[*who].bio = Some(bio);
            }
            Action::Login(who) => write_login(buffer, self.own[*who].person),
            Action::Logout(session) => {
                write_request(buffer, "POST", Route::Logout.path(), Some(session.as_bytes()), None);
            }
            Action::ReadSignedOut(session) => {
                write_request(buffer, "GET", path, Some(session.as_bytes()), None);
            }
        }
    }

    fn judge(&mut self, answer: &Answer<'_>) -> Judgement {
        match &self.asked {
            Action::Read(who) | Action::Change(who) => self.expect_own_words(answer, *who),
            Action::Login(_) if is_shed(answer) => Judgement::Shed,
            Action::Login(who) => {
                let account = &mut self.own[*who];
                account.sessions.extend(token(answer));
                expect_named(answer, account.person, &mut self.expected)
            }
            Action::Logout(_) if answer.status == 204 => Judgement::Right,
            Action::ReadSignedOut(_) if answer.status == 401 => Judgement::Right,
            Action::Logout(_) => Judgement::Wrong(format!("a logout was answered {}", answer.text())),
            Action::ReadSignedOut(_) => Judgement::Wrong(format!("after its logout: {}", answer.text())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Answer<'_> {
        Answer { status, head: b"", body: body.as_bytes() }
    }

    fn client() -> Mixed {
        Mixed::new(People::new(1).into(), 0, 1, 0, 1)
    }

    #[test]
    fn a_change_that_is_not_seen_is_a_wrong_answer() {
        let mut client = client();
        client.own[0].bio = Some("Revision 2".into());
        client.asked = Action::Read(0);
        let old = r#"{"username":"bench-1000000","bio":"Revision 1"}"#;
        assert!(matches!(client.judge(&answer(200, old)), Judgement::Wrong(_)));
        let new = r#"{"username":"bench-1000000","bio":"Revision 2"}"#;
        assert!(matches!(client.judge(&answer(200, new)), Judgement::Right));
    }

    #[test]
    fn whoever_signs_out_tries_again_and_must_be_refused() {
        let mut client = client();
        client.asked = Action::Logout("session".into());
        let mut request = Vec::new();
        client.ask(&mut request);
        assert!(String::from_utf8(request).unwrap().contains("Bearer session\r\n"));
        let told = r#"{"username":"bench-1000000"}"#;
        assert!(matches!(client.judge(&answer(200, told)), Judgement::Wrong(_)));
        assert!(matches!(client.judge(&answer(401, "")), Judgement::Right));
    }
}
