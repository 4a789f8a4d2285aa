//! How many requests are in flight at once, and which wait and are refused when there are too many: before any work, and
//! without looking at anything but method and route.
//!
//! All requests share the places of the gateway. What waits for profiles or for passwords has only a part of them, and what needs no session has
//! some of its own, so that what hangs leaves places to those who do not need it.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{MatchedPath, Request};
use chassis::bulkhead::{Bulkhead, Full, Lent, Place, Refusals, Room};
use http::Method;
use http_body_util::{BodyExt as _, Limited};

use crate::config::Bounds;

/// How long a refusal waits for the rest of its request, without which the connection would be of no more use.
const REST_OF_A_REQUEST: Duration = Duration::from_millis(10);

/// How far behind the line at the door may be. As long as a queue may stand before CoDel drops from it (RFC 8289, section 4.3).
const CROWD: Duration = Duration::from_millis(100);

/// How long one waits at least before one is refused. Refusals are told within 50 ms, and the process may be late itself.
const MOMENT: Duration = Duration::from_millis(10);

/// How many wait for a place at most. They cost memory alone.
const LINE: usize = 16_384;

/// How long a request waits at the door that cannot be refused before.
const PATIENCE: Duration = Duration::from_secs(1);

/// The same inside, where whoever waits for an upstream holds a place of the gateway meanwhile.
const PATIENCE_INSIDE: Duration = Duration::from_millis(200);

/// The part of the places that those who wait for one upstream have.
pub fn part(places: usize, bounds: &Bounds) -> Room {
    let line = bounds.max_in_flight as usize;
    Room { places, line, crowd: Duration::ZERO, moment: MOMENT, patience: PATIENCE_INSIDE }
}

/// The places of one gateway.
pub struct Admission {
    requests: Bulkhead,
    /// For what needs no session, when everything else waits for session checks.
    sessionless: Bulkhead,
    reserve: usize,
    body_limit: usize,
}

/// What a request that is let in keeps until it is answered.
pub enum Admitted {
    /// It is so little, and so much needed just when there is too much of everything else, that it takes no place.
    Uncounted,
    With {
        _place: Place,
    },
}

impl Admission {
    pub fn new(bounds: &Bounds, refusals: &Refusals) -> Self {
        let places = bounds.max_in_flight as usize;
        let room = Room { places, line: LINE, crowd: CROWD, moment: MOMENT, patience: PATIENCE };
        Self {
            requests: Bulkhead::new("requests", room, refusals),
            sessionless: Bulkhead::new("sessionless", Room { places: places / 8, ..room }, refusals),
            reserve: places / 8,
            body_limit: bounds.body_limit_bytes,
        }
    }

    /// Lets a request in, if there is a place for it.
    pub fn admit(&self, request: &Request) -> Option<Admitted> {
        let route = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
        let place = match Rank::of(request.method(), route.unwrap_or_default()) {
            Rank::Operations => return Some(Admitted::Uncounted),
            Rank::EndOfSession => self.requests.try_enter_beyond(self.reserve)?,
            Rank::Sessionless => self.requests.try_enter().or_else(|| self.sessionless.try_enter())?,
            Rank::Ordinary => self.requests.try_enter()?,
        };
        Some(Admitted::With { _place: place })
    }

    /// Lets a request in that found no place at first.
    ///
    /// # Errors
    /// It is to be refused. What had come of its body is off the connection then.
    pub async fn wait(&self, request: Request) -> Result<(Admitted, Request), Full> {
        match self.requests.enter().await {
            Ok(place) => Ok((Admitted::With { _place: place }, request)),
            Err(full) => {
                self.read_off(request.into_body()).await;
                Err(full)
            }
        }
    }

    /// To be held by a request that waits for its own client: who is slow to send keeps nobody out.
    pub fn while_the_client_sends(&self) -> Lent<'_> {
        self.requests.lend()
    }

    /// Takes the body of a request that was refused off its connection, if it is there already.
    async fn read_off(&self, body: Body) {
        let rest = Limited::new(body, self.body_limit).collect();
        let _ = tokio::time::timeout(REST_OF_A_REQUEST, rest).await;
    }
}

/// What is refused first.
#[derive(Debug, PartialEq, Eq)]
enum Rank {
    Ordinary,
    /// It does not wait for session checks.
    Sessionless,
    /// Who wants out of a session, or others out of it, has to succeed.
    EndOfSession,
    /// Health, for whoever decides what becomes of this process.
    Operations,
}

impl Rank {
    fn of(method: &Method, route: &str) -> Self {
        match route {
            "/v1/logout" | "/logout" if method == Method::POST => Self::EndOfSession,
            "/v1/sessions" | "/v1/sessions/{id}" if method == Method::DELETE => Self::EndOfSession,
            "/health" | "/livez" | "/readyz" => Self::Operations,
            "/v1/login" | "/login" | "/v1/register" | "/register" | "/v1/users/{username}/profile" => {
                Self::Sessionless
            }
            _ => Self::Ordinary,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_of_sessions_and_health_come_before_everything_else() {
        for (method, route, rank) in [
            (Method::POST, "/v1/logout", Rank::EndOfSession),
            (Method::POST, "/logout", Rank::EndOfSession),
            (Method::GET, "/logout", Rank::Ordinary),
            (Method::DELETE, "/v1/sessions", Rank::EndOfSession),
            (Method::DELETE, "/v1/sessions/{id}", Rank::EndOfSession),
            (Method::GET, "/v1/sessions", Rank::Ordinary),
            (Method::GET, "/health", Rank::Operations),
            (Method::GET, "/readyz", Rank::Operations),
            (Method::POST, "/v1/login", Rank::Sessionless),
            (Method::POST, "/login", Rank::Sessionless),
            (Method::GET, "/v1/users/{username}/profile", Rank::Sessionless),
            (Method::GET, "/v1/me", Rank::Ordinary),
            (Method::GET, "", Rank::Ordinary),
        ] {
            assert_eq!(Rank::of(&method, route), rank, "{method} {route}");
        }
    }
}
