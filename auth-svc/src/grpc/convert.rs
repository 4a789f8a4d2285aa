//! Between protobuf and the domain.

use std::time::Duration;

use chassis::status::to_status;
use proto::auth::v1 as pb;
use time::OffsetDateTime;
use tonic::Status;

use crate::audit::Activity;
use crate::devices::{self, DeviceToken};
use crate::error::AuthError;
use crate::session_clients::Client;
use crate::sessions::Session;
use crate::users::User;

#[expect(clippy::needless_pass_by_value, reason = "it is what map_err hands over")]
pub(super) fn failed(error: AuthError) -> Status {
    to_status(&error)
}

pub(super) fn decode_client(client: Option<pb::Client>) -> Client {
    client.map(|client| Client::new(&client.address, &client.user_agent)).unwrap_or_default()
}

pub(super) fn encode_user(user: User) -> pb::User {
    pb::User {
        id: user.id.to_string(),
        username: user.username,
        email: user.email,
        email_verified: user.email_verified,
        created_at: Some(encode_time(user.created_at)),
    }
}

pub(super) fn encode_time(time: OffsetDateTime) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: time.unix_timestamp(), nanos: time.nanosecond().cast_signed() }
}

pub(super) fn encode_session(session: &Session) -> pb::Session {
    pb::Session {
        id: session.id.to_string(),
        user_id: session.user_id.to_string(),
        created_at: Some(encode_millis(session.created_ms)),
        last_seen_at: Some(encode_millis(session.seen_ms)),
        expires_in: Some(encode_duration(session.expires_in)),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is what map hands over")]
pub(super) fn encode_device(token: DeviceToken) -> pb::Device {
    pb::Device { token: token.encoded().to_owned(), expires_in: Some(encode_duration(devices::LIFETIME)) }
}

pub(super) fn encode_millis(millis: i64) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: millis.div_euclid(1000),
        nanos: (millis.rem_euclid(1000) * 1_000_000) as i32,
    }
}

pub(super) fn encode_duration(duration: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: duration.as_secs().cast_signed(),
        nanos: duration.subsec_nanos().cast_signed(),
    }
}

pub(super) fn encode_client(client: Client) -> pb::Client {
    let Client { address, user_agent } = client;
    pb::Client { address, user_agent }
}

pub(super) fn encode_activity(activity: Activity) -> pb::Activity {
    pb::Activity {
        id: activity.seq,
        event: activity.event,
        at: Some(encode_time(activity.at)),
        client: Some(encode_client(activity.client)),
        session_id: activity.session.map(|id| id.to_string()).unwrap_or_default(),
    }
}
