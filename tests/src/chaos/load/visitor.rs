//! Those who register, log in, look around and log out, and try afterwards whether they still get in.

use std::collections::VecDeque;
use std::time::Duration;

use super::{Client, Session};
use crate::chaos::journal::Op;
use crate::chaos::model::Wrong;
use crate::person::Person;

/// One visit in so many is that of somebody new.
const NEWCOMERS: u32 = 8;
/// Ended sessions that are tried again and again.
const REMEMBERED: usize = 50;

pub(super) async fn run(mut client: Client, pause: Duration) {
    let mut ended = VecDeque::new();
    for visit in 1_u32.. {
        if client.ground.stopped() {
            return;
        }
        if visit.is_multiple_of(NEWCOMERS) {
            register(&mut client).await;
            client.pause(pause).await;
        }
        if let Some(session) = visit_once(&mut client, pause).await {
            ended.push_back(session);
            if ended.len() > REMEMBERED {
                ended.pop_front();
            }
        }
        if !ended.is_empty() {
            check_ended(&client, &ended[fastrand::usize(..ended.len())]).await;
        }
        client.pause(pause).await;
    }
}

/// Somebody new takes the visitor's place, if there is an answer.
async fn register(client: &mut Client) {
    let person = Person::new();
    let registration = person.registration();
    let answer = client.ground.ask(Op::Register, |api| api.post("/v1/register").json(&registration)).await;
    match answer {
        Some(answer) if answer.status == 201 => {
            // The old user's sessions have ended; a session of the old user is not one of the new.
            (client.person, client.session) = (person, None);
        }
        Some(answer) => client.ground.wrong(Wrong::Unexpected, &answer),
        None => {}
    }
}

/// Returns the session, which has ended.
async fn visit_once(client: &mut Client, pause: Duration) -> Option<Session> {
    client.session = None;
    client.token().await?;
    client.pause(pause).await;
    if let Some(answer) = client.ask(Op::Me, |api| api.get("/v1/me")).await
        && answer.status != 200
    {
        client.ground.wrong(Wrong::Unexpected, &answer);
    }
    let session = client.session.clone()?;
    log_out(client, &session, pause).await.then_some(session)
}

/// Whether the session is over: a log-out that failed may have been carried out, and is repeated until somebody knows.
async fn log_out(client: &Client, session: &Session, pause: Duration) -> bool {
    let ground = &client.ground;
    let mut failed = false;
    while !ground.stopped() {
        let answer = ground.ask(Op::Logout, |api| api.post("/v1/logout").bearer(&session.token)).await;
        match answer {
            Some(answer) if answer.status == 204 => return true,
            Some(answer) if answer.status == 401 => {
                if !failed && !ground.may_be_lost(session) {
                    ground.wrong(Wrong::LoggedOut, &answer);
                }
                return true;
            }
            Some(answer) => {
                ground.wrong(Wrong::Unexpected, &answer);
                return false;
            }
            None => failed = true,
        }
        client.pause(pause).await;
    }
    false
}

/// Nobody lets it in.
async fn check_ended(client: &Client, session: &Session) {
    let answer = client.ground.ask(Op::Me, |api| api.get("/v1/me").bearer(&session.token)).await;
    match answer {
        Some(answer) if answer.status == 200 => client.ground.wrong(Wrong::Revived, &answer),
        Some(answer) if answer.status != 401 => client.ground.wrong(Wrong::Unexpected, &answer),
        _ => {}
    }
}
