//! Those who change their profile, alone, so that they know exactly what it has to be.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use super::Client;
use crate::api::Answer;
use crate::chaos::journal::Op;
use crate::chaos::model::{Profile, Wrong};

pub(super) struct Writer {
    client: Client,
    id: String,
    profile: Profile,
    changes: u64,
}

/// A profile that is being written, for those who read it.
#[derive(Clone)]
pub(super) struct Watched {
    pub path: String,
    floor: Arc<AtomicU64>,
}

impl Watched {
    /// The version that a read from now on has to tell at least.
    pub fn floor(&self) -> u64 {
        self.floor.load(Ordering::SeqCst)
    }
}

impl Writer {
    pub async fn new(client: Client) -> Self {
        let Some(session) = &client.session else { panic!("a writer without a session") };
        let api = &client.ground.gateways[0];
        let first = api.get("/v1/profile").bearer(&session.token).await.expect(200);
        // `"<user id>.<version>"`
        let tag = first.expect_header("etag").trim_matches('"').to_owned();
        let id = tag.rsplit_once('.').map(|(id, _)| id.to_owned()).unwrap_or_default();
        let profile = Profile::new(first.version(), "");
        Self { client, id, profile, changes: 0 }
    }

    pub fn watched(&self) -> Watched {
        Watched { path: self.client.person.public_profile(), floor: self.profile.floor() }
    }

    /// Changes and reads in turn.
    pub async fn run(mut self, pause: Duration) {
        while !self.client.ground.stopped() {
            self.change().await;
            self.client.pause(pause).await;
            self.read().await;
            self.client.pause(pause).await;
        }
    }

    async fn change(&mut self) {
        // Without a session nothing is sent, so that nothing is unknown.
        if self.client.token().await.is_none() {
            return;
        }
        self.changes += 1;
        let bio = format!("change {}", self.changes);
        let (tag, body) = (format!("\"{}.{}\"", self.id, self.profile.version()), json!({"bio": bio}));
        let session = self.client.session.clone();
        let call = |api: &crate::api::Api| api.patch("/v1/profile").if_match(&tag).json(&body);
        let Some(answer) = self.client.ask(Op::Patch, call).await else {
            // A session that was refused has changed nothing.
            let refused = session.is_some() && self.client.session.is_none();
            if !refused {
                self.profile.unanswered(&bio);
            }
            return;
        };
        let verdict = match answer.status {
            200 => self.profile.acknowledged(answer.version(), &bio),
            412 => self.profile.refused(),
            _ => Err(Wrong::Unexpected),
        };
        self.judge(verdict, &answer);
    }

    async fn read(&mut self) {
        let Some(answer) = self.client.ask(Op::Fresh, |api| api.get("/v1/profile")).await else { return };
        let verdict = if answer.status == 200 {
            let body = answer.json();
            self.profile.read(answer.version(), body["bio"].as_str().unwrap_or_default())
        } else {
            Err(Wrong::Unexpected)
        };
        self.judge(verdict, &answer);
    }

    fn judge(&self, verdict: Result<(), Wrong>, answer: &Answer) {
        if let Err(wrong) = verdict {
            let seen: Value = json!({"version": answer.header("etag"), "body": answer.text()});
            let what = format!("{}: {} {seen}, known: {:?}", answer.request, answer.status, self.profile);
            self.client.ground.verdicts.note(wrong, what);
        }
    }
}
