//! What clients ask, and what they have to be told: their own name, their own latest words, and nothing once they are signed out.

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;

use super::{Answer, Client, Judgement};
use crate::people::{PASSWORD, People, Person};

mod leaver;
mod mixed;

pub use leaver::Leaver;
pub use mixed::Mixed;

/// How often each person comes.
#[derive(Clone)]
pub enum Popularity {
    /// Person `n` comes 1/n as often as the first: as names and pages do.
    Zipf(Arc<[u32]>),
    Uniform(usize),
}

/// Draws that are prepared, so that one costs nothing.
const PREPARED_DRAWS: usize = 1 << 16;

impl Popularity {
    /// Among the first `count` people.
    pub fn zipf(count: usize) -> Self {
        let total: f64 = (1..=count).map(|rank| 1.0 / rank as f64).sum();
        let mut draws = Vec::with_capacity(PREPARED_DRAWS);
        let mut reached = 0.0;
        for person in 0..count {
            reached += 1.0 / (person + 1) as f64 / total;
            let share = (reached * PREPARED_DRAWS as f64).round() as usize;
            draws.resize(share.min(PREPARED_DRAWS).max(draws.len()), person as u32);
        }
        Self::Zipf(draws.into())
    }

    fn draw(&self) -> Person {
        match self {
            Self::Zipf(draws) => Person(draws[fastrand::usize(..draws.len())] as usize),
            Self::Uniform(count) => Person(fastrand::usize(..*count)),
        }
    }
}

/// Where a session is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    Profile,
    Me,
    Logout,
}

impl Route {
    pub fn path(self) -> &'static str {
        match self {
            Self::Profile => "/v1/profile",
            Self::Me => "/v1/me",
            Self::Logout => "/v1/logout",
        }
    }
}

/// Reads, each time as somebody else who is signed in.
pub struct Reader {
    people: Arc<People>,
    popularity: Popularity,
    route: Route,
    asked: Person,
    expected: Vec<u8>,
}

impl Reader {
    pub fn new(people: Arc<People>, popularity: Popularity, route: Route) -> Self {
        Self { people, popularity, route, asked: Person(0), expected: Vec::new() }
    }
}

impl Client for Reader {
    fn ask(&mut self, buffer: &mut Vec<u8>) {
        self.asked = self.popularity.draw();
        write_request(buffer, "GET", self.route.path(), Some(self.people.token(self.asked)), None);
    }

    fn judge(&mut self, answer: &Answer<'_>) -> Judgement {
        expect_named(answer, self.asked, &mut self.expected)
    }
}

/// Asks the floor that knows nobody.
pub struct Greeter;

impl Client for Greeter {
    fn ask(&mut self, buffer: &mut Vec<u8>) {
        write_request(buffer, "GET", Route::Profile.path(), None, None);
    }

    fn judge(&mut self, answer: &Answer<'_>) -> Judgement {
        let right = answer.status == 200 && answer.body == b"Hello, World!";
        if right { Judgement::Right } else { Judgement::Wrong(answer.text()) }
    }
}

/// Logs in, each time as somebody else. Nobody else reads as these people.
pub struct Visitor {
    first: usize,
    count: usize,
    asked: Person,
    expected: Vec<u8>,
}

impl Visitor {
    /// One of `count` people from `first` on.
    pub fn new(first: usize, count: usize) -> Self {
        Self { first, count, asked: Person(first), expected: Vec::new() }
    }
}

impl Client for Visitor {
    fn ask(&mut self, buffer: &mut Vec<u8>) {
        self.asked = Person(self.first + fastrand::usize(..self.count));
        write_login(buffer, self.asked);
    }

    fn judge(&mut self, answer: &Answer<'_>) -> Judgement {
        if is_shed(answer) {
            return Judgement::Shed;
        }
        match token(answer) {
            Some(_) => expect_named(answer, self.asked, &mut self.expected),
            None => Judgement::Wrong(answer.text()),
        }
    }
}

/// Signs a person in and reads everything about that person once. Returns the token.
pub async fn sign_in_and_read(address: SocketAddr, person: Person) -> anyhow::Result<String> {
    let (status, body) = super::once(address, login_request(person)).await?;
    let token = token_in(status, &body).with_context(|| format!("a login was answered {status} {body}"))?;
    for route in [Route::Profile, Route::Me] {
        let (status, body) = super::once(address, request("GET", route, &token, None)).await?;
        anyhow::ensure!(status == 200, "{} was answered {status} {body}", route.path());
    }
    Ok(token)
}

/// The answer is about this very person.
fn expect_named(answer: &Answer<'_>, person: Person, expected: &mut Vec<u8>) -> Judgement {
    expected.clear();
    let written = write!(expected, "\"username\":\"bench-{}\"", person.number());
    if written.is_ok() && answer.status == 200 && answer.contains(expected) {
        return Judgement::Right;
    }
    Judgement::Wrong(format!("{} was told {}", person.username(), answer.text()))
}

/// A login was refused for want of capacity, and the client was told when to come again.
fn is_shed(answer: &Answer<'_>) -> bool {
    answer.status == 503 && answer.head.to_ascii_lowercase().windows(12).any(|it| it == b"retry-after:")
}

/// The token in the answer to a login.
pub fn token_in(status: u16, body: &str) -> Option<String> {
    let token = body.split_once("\"token\":\"")?.1.split_once('"')?.0;
    (status == 200).then(|| token.to_owned())
}

fn token(answer: &Answer<'_>) -> Option<String> {
    token_in(answer.status, std::str::from_utf8(answer.body).ok()?)
}

/// A request with a session.
pub fn request(method: &str, route: Route, token: &str, body: Option<&str>) -> Vec<u8> {
    let mut buffer = Vec::new();
    write_request(&mut buffer, method, route.path(), Some(token.as_bytes()), body);
    buffer
}

pub fn login_request(person: Person) -> Vec<u8> {
    let mut buffer = Vec::new();
    write_login(&mut buffer, person);
    buffer
}

fn write_login(buffer: &mut Vec<u8>, person: Person) {
    let body = format!("{{\"username\":\"{}\",\"password\":\"{PASSWORD}\"}}", person.username());
    write_request(buffer, "POST", "/v1/login", None, Some(&body));
}

fn write_request(buffer: &mut Vec<u8>, method: &str, path: &str, token: Option<&[u8]>, body: Option<&str>) {
    let rest = " HTTP/1.1\r\nHost: bench\r\nUser-Agent: bench\r\nAccept: application/json\r\n";
    for part in [method, " ", path, rest] {
        buffer.extend_from_slice(part.as_bytes());
    }
    if let Some(token) = token {
        buffer.extend_from_slice(b"Authorization: Bearer ");
        buffer.extend_from_slice(token);
        buffer.extend_from_slice(b"\r\n");
    }
    if method == "PATCH" {
        buffer.extend_from_slice(b"If-Match: *\r\n");
    }
    match body {
        Some(body) => {
            let length = body.len();
            let rest = format!("Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}");
            buffer.extend_from_slice(rest.as_bytes());
        }
        None if method == "GET" => buffer.extend_from_slice(b"\r\n"),
        None => buffer.extend_from_slice(b"Content-Length: 0\r\n\r\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &[u8]) -> Answer<'_> {
        Answer { status, head: b"HTTP/1.1 503 X\r\nRetry-After: 1\r\n\r\n", body }
    }

    #[test]
    fn the_first_of_a_thousand_comes_as_often_as_zipf_says() {
        let Popularity::Zipf(draws) = Popularity::zipf(1_000) else { unreachable!() };
        let share = |person| draws.iter().filter(|it| **it == person).count() as f64 / draws.len() as f64;
        assert!((share(0) - 0.1336).abs() < 0.001 && (share(9) - 0.01336).abs() < 0.001);
        assert_eq!(draws.iter().max(), Some(&999));
    }

    #[test]
    fn another_persons_profile_is_a_wrong_answer() {
        let mut reader = Reader::new(People::new(2).into(), Popularity::Uniform(1), Route::Profile);
        reader.ask(&mut Vec::new());
        let right = reader.judge(&answer(200, br#"{"username":"bench-1000000"}"#));
        assert!(matches!(right, Judgement::Right));
        for wrong in
            [answer(200, br#"{"username":"bench-1000001"}"#), answer(401, br#"{"username":"bench-1000000"}"#)]
        {
            assert!(matches!(reader.judge(&wrong), Judgement::Wrong(_)));
        }
    }

    #[test]
    fn a_login_may_be_shed_and_must_bring_a_token() {
        let mut visitor = Visitor::new(0, 1);
        assert!(matches!(visitor.judge(&answer(503, b"{}")), Judgement::Shed));
        let body = br#"{"token":"t","user":{"username":"bench-1000000"}}"#;
        assert!(matches!(visitor.judge(&answer(200, body)), Judgement::Right));
        let body = br#"{"user":{"username":"bench-1000000"}}"#;
        assert!(matches!(visitor.judge(&answer(200, body)), Judgement::Wrong(_)));
    }
}
