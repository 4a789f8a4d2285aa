//! Carries events from the outbox to the stream that other services read, and confirmations back.
//!
//! An event stays in the outbox until it is confirmed, and is published whenever it is not in the stream: whatever Redis loses comes
//! again. Every replica relays.

use std::sync::Arc;
use std::time::Duration;

use chassis::event_stream::{Consumer, Publisher, Verdict};
use chassis::redis::Redis;
use prost::Message as _;
use proto::auth::v1::account_event::Event;
use proto::auth::v1::{AccountEvent, AccountEventConfirmation, UserDeleted};
use tokio::sync::Notify;
use uuid::Uuid;

use crate::error::AuthError;
use crate::outbox::{Due, Outbox};

const GROUP: &str = "auth-svc";

/// How often a replica looks for events that are due, give or take a half.
const INTERVAL: Duration = Duration::from_secs(1);

/// One replica's relay. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Relay {
    outbox: Outbox,
    publisher: Arc<Publisher>,
    confirmed: String,
    woken: Arc<Notify>,
}

impl Relay {
    /// `namespace`: between the braces of the streams' names, which are in one cluster slot so that an event is confirmed and removed in
    /// one step.
    pub fn new(outbox: Outbox, state: Redis, namespace: &str) -> Self {
        Self {
            outbox,
            publisher: Publisher::new(state, format!("{{{namespace}}}:events")).into(),
            confirmed: format!("{{{namespace}}}:confirmed"),
            woken: Arc::default(),
        }
    }

    /// There is something new in the outbox.
    pub fn wake(&self) {
        self.woken.notify_one();
    }

    /// Publishes what is due, for as long as the process runs.
    pub async fn publish(self) {
        loop {
            if let Err(error) = self.publish_due().await {
                tracing::debug!("events stay in the outbox for now: {error}");
            }
            tokio::select! {
                () = tokio::time::sleep(INTERVAL.mul_f64(0.5 + fastrand::f64())) => {}
                () = self.woken.notified() => {}
            }
        }
    }

    async fn publish_due(&self) -> Result<(), AuthError> {
        loop {
            let due = self.outbox.take_due().await?;
            if due.is_empty() {
                return Ok(());
            }
            for (place, event) in due.iter().enumerate() {
                if let Err(away) = self.publish_one(event).await {
                    let left: Vec<_> = due[place..].iter().map(|event| event.event_id).collect();
                    self.outbox.put_back(&left).await?;
                    return Err(away);
                }
            }
        }
    }

    async fn publish_one(&self, due: &Due) -> Result<(), AuthError> {
        let event = AccountEvent {
            id: due.event_id.to_string(),
            event: Some(Event::UserDeleted(UserDeleted { user_id: due.user_id.to_string() })),
        };
        let entry = self.publisher.publish(due.entry.as_deref(), &event.encode_to_vec()).await?;
        if due.entry.as_ref() != Some(&entry) {
            metrics::counter!("outbox_publications_total").increment(1);
            self.outbox.note_entry(due.event_id, &entry).await?;
        }
        Ok(())
    }

    /// Strikes off what other services have confirmed, for as long as the process runs. `redis`: a connection of its own.
    pub async fn confirm(self, redis: Redis) {
        let consumer = Consumer::new(redis, &self.confirmed, GROUP);
        consumer
            .run(|confirmation| {
                let outbox = self.outbox.clone();
                async move { strike_off(&outbox, &confirmation).await }
            })
            .await;
    }
}

async fn strike_off(outbox: &Outbox, confirmation: &[u8]) -> Verdict {
    let confirmation = AccountEventConfirmation::decode(confirmation).ok();
    let Some(event_id) = confirmation.and_then(|confirmation| Uuid::parse_str(&confirmation.event_id).ok())
    else {
        tracing::warn!("a confirmation makes no sense");
        return Verdict::Done;
    };
    match outbox.confirm(event_id).await {
        Ok(()) => Verdict::Done,
        Err(error) => {
            tracing::debug!(event = %event_id, "confirmed, and stays in the outbox for now: {error}");
            Verdict::Later
        }
    }
}

#[cfg(test)]
mod tests;
