//! What other services tell: takes events from the stream, has them carried out, and confirms them. Decodes and calls; what an
//! event does is in the use cases.

use chassis::event_stream::{Consumer, Verdict};
use chassis::redis::Redis;
use prost::Message as _;
use proto::auth::v1::account_event::Event;
use proto::auth::v1::{AccountEvent, AccountEventConfirmation, UserDeleted};
use uuid::Uuid;

use crate::profile::UserId;
use crate::service::ProfileService;

const GROUP: &str = "profile-svc";

/// Carries out events, for as long as the process runs. `redis`: a connection of its own to the Redis for state. `namespace`:
/// between the braces of the streams' names, which are in one cluster slot so that an event is confirmed and removed in one step.
pub async fn consume(service: ProfileService, redis: Redis, namespace: &str) {
    let (events, confirmed) = (format!("{{{namespace}}}:events"), format!("{{{namespace}}}:confirmed"));
    let consumer = Consumer::new(redis, events, GROUP).answering(confirmed);
    consumer
        .run(|event| {
            let service = service.clone();
            async move { carry_out(&service, &event).await }
        })
        .await;
}

async fn carry_out(service: &ProfileService, event: &[u8]) -> Verdict {
    let Some((event_id, user_id)) = decode(event) else {
        // One that a newer version knows is published again until it meets that.
        metrics::counter!("events_not_understood_total").increment(1);
        tracing::warn!("an event makes no sense to this version");
        return Verdict::Done;
    };
    match service.erase(event_id, user_id).await {
        Ok(()) => {
            Verdict::Answer(AccountEventConfirmation { event_id: event_id.to_string() }.encode_to_vec())
        }
        Err(error) => {
            tracing::debug!(event = %event_id, "an event is left for later: {error}");
            Verdict::Later
        }
    }
}

fn decode(event: &[u8]) -> Option<(Uuid, UserId)> {
    let AccountEvent { id, event } = AccountEvent::decode(event).ok()?;
    let Event::UserDeleted(UserDeleted { user_id }) = event?;
    Some((Uuid::try_parse(&id).ok()?, UserId::parse(&user_id).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_events_that_this_version_knows_are_understood() {
        let (event_id, user_id) = (Uuid::now_v7(), Uuid::now_v7());
        let event = |id: String, event| AccountEvent { id, event }.encode_to_vec();
        let deleted = |user_id: String| Some(Event::UserDeleted(UserDeleted { user_id }));
        let whole = event(event_id.to_string(), deleted(user_id.to_string()));
        assert_eq!(decode(&whole), Some((event_id, UserId(user_id))));
        for nonsense in [
            event(event_id.to_string(), None),
            event("?".into(), deleted(user_id.to_string())),
            event(event_id.to_string(), deleted("?".into())),
            whole[1..].to_vec(),
            Vec::new(),
        ] {
            assert_eq!(decode(&nonsense), None, "{nonsense:?}");
        }
    }
}
