//! Events from one service to another, over a Redis stream with a consumer group: each comes at least once, in whatever order.
//!
//! It owns how an event is published, taken, taken over from a consumer that died, and done with. It knows no event, and does
//! not see to it that none is lost with its Redis: whoever publishes goes on until the event is confirmed, and whoever consumes
//! sees to it that one which comes twice has its effect once.

use std::future::Future;
use std::time::Duration;

use redis::{Value, cmd};
use tokio::time::Instant;

use crate::redis::{Redis, RedisAway, Script};

#[cfg(test)]
mod tests;

/// Entries of a stream at most, give or take a node. What is dropped was not confirmed, and is published again.
const LONGEST: u32 = 10_000;
/// Entries that are taken at once.
const BATCH: u32 = 16;
/// How long Redis holds a read back that finds nothing. Shorter than a call may take.
const BLOCK: Duration = Duration::from_millis(150);
/// How often a consumer looks for what others left behind, give or take a half.
const TAKEOVER_INTERVAL: Duration = Duration::from_secs(1);
/// How long an entry lies untouched before another consumer takes it over. One that is merely slow may then be overtaken, which
/// the effect has to bear anyway.
const TAKEOVER_IDLE: Duration = Duration::from_secs(5);
/// The pause after something failed, give or take a half.
const FAILURE_PAUSE: Duration = Duration::from_millis(250);
/// How long the name of a consumer that is gone stays.
const FORGET_IDLE: Duration = Duration::from_secs(3600);

/// The one field of an entry.
const FIELD: &str = "e";

/// Adds an event, unless the entry that it was published as before is still there.
/// KEYS[1] stream; ARGV: that entry or '', longest length, event
const PUBLISH: &str = r"
if ARGV[1] ~= '' and #redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1]) == 1 then return ARGV[1] end
return redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[2], '*', 'e', ARGV[3])";

/// Removes an entry for good, and answers it in the same step.
/// KEYS[1] stream, KEYS[2] stream of the answers, if any; ARGV: group, entry, longest length, answer
const DONE: &str = r"
if KEYS[2] then redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[3], '*', 'e', ARGV[4]) end
redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])
return redis.call('XDEL', KEYS[1], ARGV[2])";

/// Removes the names of consumers that are gone and hold nothing.
/// KEYS[1] stream; ARGV: group, idle ms
const FORGET: &str = r"
for _, fields in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
  local consumer = {}
  for i = 1, #fields, 2 do consumer[fields[i]] = fields[i + 1] end
  if consumer.pending == 0 and consumer.idle > tonumber(ARGV[2]) then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], consumer.name)
  end
end";

/// The end of a stream that events go into.
#[derive(Debug)]
pub struct Publisher {
    redis: Redis,
    stream: String,
    publish: Script,
}

impl Publisher {
    pub fn new(redis: Redis, stream: impl Into<String>) -> Self {
        Self { redis, stream: stream.into(), publish: Script::new(PUBLISH) }
    }

    /// Publishes an event, and tells as which entry. With the entry as which it was published `before`, nothing happens as long as
    /// that waits to be consumed.
    pub async fn publish(&self, before: Option<&str>, event: &[u8]) -> Result<String, RedisAway> {
        let mut publish = self.publish.key(&self.stream);
        publish.arg(before.unwrap_or_default()).arg(LONGEST).arg(event);
        self.redis.invoke("stream.publish", &publish).await
    }
}

/// What became of an event.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is done with, or makes no sense.
    Done,
    /// It is done with, and this is the answer.
    Answer(Vec<u8>),
    /// Not now: it comes again after a while, to this consumer or another one. Others go on meanwhile.
    Later,
}

/// One replica's end of a stream that events come out of: each goes to one of the group.
pub struct Consumer {
    redis: Redis,
    stream: String,
    group: &'static str,
    answers: Option<String>,
    name: String,
    takeover_idle: Duration,
    done: Script,
    forget: Script,
}

/// An entry as it was read; without an event when it makes no sense.
struct Entry {
    id: String,
    event: Option<Vec<u8>>,
}

impl Consumer {
    /// `redis` has to be a connection that nobody else uses: reads hold it up.
    pub fn new(redis: Redis, stream: impl Into<String>, group: &'static str) -> Self {
        Self {
            redis,
            stream: stream.into(),
            group,
            answers: None,
            name: format!("{:016x}", fastrand::u64(..)),
            takeover_idle: TAKEOVER_IDLE,
            done: Script::new(DONE),
            forget: Script::new(FORGET),
        }
    }

    /// Where answers go: a stream in the same cluster slot.
    pub fn answering(self, stream: impl Into<String>) -> Self {
        Self { answers: Some(stream.into()), ..self }
    }

    /// Hands events to `handle`, one after the other, for as long as the process runs. `handle` has to be bounded in time.
    pub async fn run<F, Fut>(self, handle: F)
    where
        F: Fn(Vec<u8>) -> Fut,
        Fut: Future<Output = Verdict>,
    {
        let mut next_takeover = Instant::now();
        let mut next_cleaning = Instant::now() + jittered(FORGET_IDLE);
        loop {
            let round = async {
                let mut entries = Vec::new();
                if Instant::now() >= next_takeover {
                    entries = self.take_over().await?;
                    // A whole batch: there may be more.
                    if entries.len() < BATCH as usize {
                        next_takeover = Instant::now() + jittered(TAKEOVER_INTERVAL);
                    }
                }
                if entries.is_empty() {
                    entries = self.take_new().await?;
                }
                let mut all_done = true;
                for entry in entries {
                    all_done &= self.carry_out(entry, &handle).await?;
                }
                if Instant::now() >= next_cleaning {
                    next_cleaning = Instant::now() + jittered(FORGET_IDLE);
                    self.forget_the_gone().await?;
                }
                Ok::<_, RedisAway>(all_done)
            };
            let all_is_well = match round.await {
                Ok(all_done) => all_done,
                Err(error) if is_no_group(&error) => self.create_group().await.is_ok(),
                Err(_) => false,
            };
            if !all_is_well {
                tokio::time::sleep(jittered(FAILURE_PAUSE)).await;
            }
        }
    }

    /// Tells whether the entry is done with.
    async fn carry_out<F, Fut>(&self, Entry { id, event }: Entry, handle: &F) -> Result<bool, RedisAway>
    where
        F: Fn(Vec<u8>) -> Fut,
        Fut: Future<Output = Verdict>,
    {
        let verdict = match event {
            Some(event) => handle(event).await,
            None => Verdict::Done,
        };
        let answer = match verdict {
            Verdict::Done => None,
            Verdict::Answer(answer) => Some(answer),
            Verdict::Later => return Ok(false),
        };
        let answers = answer.as_ref().and(self.answers.as_deref());
        let mut done = self.done.keys(&self.stream, answers.as_slice());
        done.arg(self.group).arg(&id).arg(LONGEST).arg(answer.unwrap_or_default());
        self.redis.invoke::<()>("stream.done", &done).await?;
        Ok(true)
    }

    /// Entries that nobody of the group has had; none when none come for a moment.
    async fn take_new(&self) -> Result<Vec<Entry>, RedisAway> {
        let mut read = cmd("XREADGROUP");
        read.arg("GROUP").arg(self.group).arg(&self.name).arg("COUNT").arg(BATCH);
        read.arg("BLOCK").arg(BLOCK.as_millis() as u64).arg("STREAMS").arg(&self.stream).arg(">");
        let answer: Value = self.redis.query("stream.read", &self.stream, &read).await?;
        // One pair of name and entries, for one stream was asked for.
        let streams = array(answer).into_iter().flat_map(array);
        Ok(streams.skip(1).flat_map(entries).collect())
    }

    /// Entries that a consumer took and did not finish, be it this one.
    async fn take_over(&self) -> Result<Vec<Entry>, RedisAway> {
        let mut claim = cmd("XAUTOCLAIM");
        claim.arg(&self.stream).arg(self.group).arg(&self.name).arg(self.takeover_idle.as_millis() as u64);
        claim.arg("0").arg("COUNT").arg(BATCH);
        let answer: Value = self.redis.query("stream.take_over", &self.stream, &claim).await?;
        Ok(array(answer).into_iter().nth(1).map(entries).unwrap_or_default())
    }

    /// From the beginning, for what was published before anybody listened has to be done as well.
    async fn create_group(&self) -> Result<(), RedisAway> {
        let mut create = cmd("XGROUP");
        create.arg("CREATE").arg(&self.stream).arg(self.group).arg("0").arg("MKSTREAM");
        match self.redis.query("stream.create_group", &self.stream, &create).await {
            Err(RedisAway::Failed(_, cause)) if cause.code() == Some("BUSYGROUP") => Ok(()),
            outcome => outcome,
        }
    }

    async fn forget_the_gone(&self) -> Result<(), RedisAway> {
        let mut forget = self.forget.key(&self.stream);
        forget.arg(self.group).arg(FORGET_IDLE.as_millis() as u64);
        self.redis.invoke("stream.forget_consumers", &forget).await
    }
}

/// The group is made by whoever misses it first, and again after the Redis has lost it.
fn is_no_group(error: &RedisAway) -> bool {
    matches!(error, RedisAway::Failed(_, cause) if cause.code() == Some("NOGROUP"))
}

fn array(value: Value) -> Vec<Value> {
    match value {
        Value::Array(values) => values,
        _ => Vec::new(),
    }
}

/// Of `[[id, [field, value, …]], …]`.
fn entries(value: Value) -> Vec<Entry> {
    let entry = |value| {
        let mut parts = array(value).into_iter();
        let Some(Value::BulkString(id)) = parts.next() else { return None };
        let id = String::from_utf8(id).ok()?;
        let mut fields = parts.next().map(array).unwrap_or_default().into_iter();
        let event = match (fields.next(), fields.next()) {
            (Some(Value::BulkString(name)), Some(Value::BulkString(event))) if name == FIELD.as_bytes() => {
                Some(event)
            }
            _ => None,
        };
        Some(Entry { id, event })
    };
    array(value).into_iter().filter_map(entry).collect()
}

fn jittered(interval: Duration) -> Duration {
    interval.mul_f64(0.5 + fastrand::f64())
}
