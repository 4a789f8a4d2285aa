//! Sessions that were not opened by a login: a test that needs ten thousand of them has no time for as many password hashes.
//!
//! They lie in Redis as auth-svc lays them out (see its `sessions::layout`), under tokens that only the test knows.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use redis::aio::MultiplexedConnection;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// 2020-01-01T00:00:00Z in milliseconds since 1970.
const EPOCH_MS: u64 = 1_577_836_800_000;

/// A session, and the only copy of its token.
#[derive(Debug, Clone)]
pub struct Planted {
    pub token: String,
    /// As the API tells it.
    pub id: String,
}

/// Opens `count` sessions of a user, last used `idle_ms` ago. They live for an hour at most.
pub async fn plant(
    state: &mut MultiplexedConnection,
    user_id: Uuid,
    generation: i32,
    count: usize,
    idle_ms: u64,
) -> redis::RedisResult<Vec<Planted>> {
    let (seconds, micros): (u64, u64) = redis::cmd("TIME").query_async(state).await?;
    let seen = seconds * 1000 + micros / 1000 - EPOCH_MS - idle_ms;
    let key = format!("s:{{{user_id}}}");
    let mut write = redis::pipe();
    write.atomic().hset(&key, "g", generation).ignore();
    let mut planted = Vec::with_capacity(count);
    for _ in 0..count {
        let (token, digest) = token(user_id);
        let mut value = digest[16..].to_vec();
        // Created and last seen, 40 bits each.
        value.extend_from_slice(&seen.to_be_bytes()[3..]);
        value.extend_from_slice(&seen.to_be_bytes()[3..]);
        value.extend_from_slice(&generation.to_be_bytes());
        write.hset(&key, &digest[..16], value).ignore();
        let (id, _) = digest.split_at(16);
        planted.push(Planted { token, id: hex(id) });
    }
    write.pexpire(&key, 3_600_000).ignore();
    write.query_async::<()>(state).await?;
    Ok(planted)
}

fn hex(id: &[u8]) -> String {
    use std::fmt::Write as _;
    id.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The user's id and a secret; and the SHA-256 of the token.
fn token(user_id: Uuid) -> (String, [u8; 32]) {
    let mut bytes = user_id.as_bytes().to_vec();
    bytes.extend(std::iter::repeat_with(|| fastrand::u8(..)).take(32));
    let token = URL_SAFE_NO_PAD.encode(bytes);
    let digest = Sha256::digest(token.as_bytes()).into();
    (token, digest)
}
