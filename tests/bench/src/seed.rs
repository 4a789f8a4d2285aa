//! Signs everybody in and fills every cache, by writing to Redis what the contestants would have written themselves.
//!
//! For the contestants of ours that is their JSON. For Sallyport it is a copy of whatever it wrote for one person who really logged
//! in and really read, with another person's id, number and token in place: nothing here knows its layout, and a check through its
//! interface tells whether the copies are good.

use memchr::memmem;
use redis::{Connection, Pipeline};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::people::{BIO, CREATED, Person};
use crate::world::World;

/// As long as no run takes.
const LIFETIME_SECONDS: u64 = 86_400;

/// Commands that go out at once.
const AT_ONCE: usize = 5_000;

/// Runs one command.
pub fn command(url: &str, words: &[&str]) -> anyhow::Result<redis::Value> {
    let (name, arguments) = words.split_first().unwrap_or((&"PING", &[]));
    Ok(redis::cmd(name).arg(arguments).query(&mut connect(url)?)?)
}

/// Bytes that a Redis has allocated, its buffers for clients and for the append-only file aside.
pub fn used_memory(url: &str) -> anyhow::Result<u64> {
    let info: String = redis::cmd("INFO").arg("memory").query(&mut connect(url)?)?;
    let figure = |name: &str| {
        let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|figure| figure.trim().parse::<u64>().ok()).unwrap_or_default()
    };
    let buffers = figure("mem_clients_normal") + figure("mem_aof_buffer");
    Ok(figure("used_memory").saturating_sub(buffers))
}

/// The sessions and cached profiles of the contestants that keep JSON.
pub fn write_json(world: &World) -> anyhow::Result<()> {
    let mut sessions = Writer::open(&world.state_url())?;
    let mut profiles = Writer::open(&world.cache_url())?;
    for person in world.people.iter() {
        let session = json!({"user": user(person), "createdAt": CREATED}).to_string();
        let key = format!("sess:{}", person.token());
        sessions.add(redis::cmd("SET").arg(key).arg(session).arg("EX").arg(LIFETIME_SECONDS))?;
        let profile = profile(person).to_string();
        profiles.add(
            redis::cmd("SET").arg(json_profile_key(person)).arg(profile).arg("EX").arg(LIFETIME_SECONDS),
        )?;
    }
    sessions.end()?;
    profiles.end()
}

/// Where the contestants that keep JSON have a profile.
fn json_profile_key(person: Person) -> String {
    format!("profile:{}", person.id())
}

fn user(person: Person) -> serde_json::Value {
    json!({"id": person.id(), "username": person.username(), "email": null, "createdAt": CREATED})
}

fn profile(person: Person) -> serde_json::Value {
    json!({
        "id": person.id(), "username": person.username(), "displayName": format!("Person {}", person.number()), "bio": BIO,
        "locale": "en-GB", "timezone": "Europe/London", "role": "user",
        "links": [
            {"label": "Home", "url": "https://example.org/"}, {"label": "Code", "url": "https://code.example.org/"},
        ],
        "avatarUrl": null, "lastSeen": null, "createdAt": CREATED, "updatedAt": CREATED, "version": 1,
    })
}

/// Gives everybody else what Sallyport wrote for `model`, who is signed in with `token`.
pub fn copy_from(world: &World, model: Person, token: &str) -> anyhow::Result<()> {
    for url in [world.state_url(), world.cache_url()] {
        let originals = originals(&url, model)?;
        let mut writer = Writer::open(&url)?;
        for person in world.people.iter() {
            let replace = Replacement::new((model, token), (person, &person.token()));
            for original in &originals {
                original.copy(&replace, &mut writer)?;
            }
        }
        writer.end()?;
    }
    Ok(())
}

/// A key about one person.
struct Original {
    name: Vec<u8>,
    value: Stored,
    lifetime_ms: i64,
}

enum Stored {
    Text(Vec<u8>),
    Hash(Vec<(Vec<u8>, Vec<u8>)>),
}

fn originals(url: &str, person: Person) -> anyhow::Result<Vec<Original>> {
    let mut redis = connect(url)?;
    let names: Vec<Vec<u8>> = redis::cmd("KEYS").arg(format!("*{}*", person.id())).query(&mut redis)?;
    let mut originals = Vec::new();
    for name in names.into_iter().filter(|name| *name != json_profile_key(person).as_bytes()) {
        let kind: String = redis::cmd("TYPE").arg(&name).query(&mut redis)?;
        let value = match kind.as_str() {
            "string" => Stored::Text(redis::cmd("GET").arg(&name).query(&mut redis)?),
            "hash" => Stored::Hash(redis::cmd("HGETALL").arg(&name).query(&mut redis)?),
            other => anyhow::bail!("a {other} about a person: the benchmark cannot copy that yet"),
        };
        let lifetime_ms = redis::cmd("PTTL").arg(&name).query(&mut redis)?;
        originals.push(Original { name, value, lifetime_ms });
    }
    anyhow::ensure!(!originals.is_empty(), "Redis holds nothing about the person who is to be copied");
    Ok(originals)
}

impl Original {
    fn copy(&self, replace: &Replacement, writer: &mut Writer) -> anyhow::Result<()> {
        let name = replace.within(&self.name);
        match &self.value {
            Stored::Text(text) => {
                writer.add(redis::cmd("SET").arg(&name).arg(replace.within(text)))?;
            }
            Stored::Hash(fields) => {
                let mut set = redis::cmd("HSET");
                set.arg(&name);
                for (field, value) in fields {
                    set.arg(replace.within(field)).arg(replace.within(value));
                }
                writer.add(&set)?;
            }
        }
        if self.lifetime_ms > 0 {
            writer.add(redis::cmd("PEXPIRE").arg(&name).arg(self.lifetime_ms))?;
        }
        Ok(())
    }
}

/// What tells two people apart, wherever it stands. Both sides of a pair have the same length.
struct Replacement {
    pairs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Replacement {
    fn new(from: (Person, &str), to: (Person, &str)) -> Self {
        let marks = |(person, token): (Person, &str)| {
            let digest = Sha256::digest(token.as_bytes());
            let (first, second) = digest.split_at(digest.len() / 2);
            [
                person.id().to_string().into_bytes(),
                person.id().as_bytes().to_vec(),
                person.number().to_string().into_bytes(),
                first.to_vec(),
                second.to_vec(),
            ]
        };
        Self { pairs: marks(from).into_iter().zip(marks(to)).collect() }
    }

    fn within(&self, bytes: &[u8]) -> Vec<u8> {
        let mut copy = bytes.to_vec();
        for (from, to) in &self.pairs {
            for position in memmem::find_iter(bytes, from) {
                copy[position..][..to.len()].copy_from_slice(to);
            }
        }
        copy
    }
}

/// Writes many commands in few round trips, and does not wait for the disk in between.
struct Writer {
    redis: Connection,
    pending: Pipeline,
    count: usize,
    fsync: String,
}

impl Writer {
    fn open(url: &str) -> anyhow::Result<Self> {
        let mut redis = connect(url)?;
        let (_, fsync): (String, String) =
            redis::cmd("CONFIG").arg("GET").arg("appendfsync").query(&mut redis)?;
        redis::cmd("CONFIG").arg("SET").arg("appendfsync").arg("no").query::<()>(&mut redis)?;
        Ok(Self { redis, pending: redis::pipe(), count: 0, fsync })
    }

    fn add(&mut self, command: &redis::Cmd) -> anyhow::Result<()> {
        self.pending.add_command(command.clone()).ignore();
        self.count += 1;
        if self.count == AT_ONCE { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        // An empty pipeline is an error.
        if self.count > 0 {
            self.pending.query::<()>(&mut self.redis)?;
        }
        self.pending.clear();
        self.count = 0;
        Ok(())
    }

    fn end(mut self) -> anyhow::Result<()> {
        self.flush()?;
        let mut restore = redis::cmd("CONFIG");
        restore.arg("SET").arg("appendfsync").arg(&self.fsync).query::<()>(&mut self.redis)?;
        Ok(())
    }
}

fn connect(url: &str) -> anyhow::Result<Connection> {
    Ok(redis::Client::open(url)?.get_connection()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_names_the_other_person_wherever_the_original_named_one() {
        let (model, other) = (Person(0), Person(7));
        let replace = Replacement::new((model, "one"), (other, "two"));
        let text = |person: Person| format!("s:{{{}}} bench-{} Person {0}", person.id(), person.number());
        assert_eq!(replace.within(text(model).as_bytes()), text(other).as_bytes());
        let bytes = |person: Person, token: &str| {
            [b"V".as_slice(), person.id().as_bytes(), &Sha256::digest(token)[16..], b"\x01\x02"].concat()
        };
        assert_eq!(replace.within(&bytes(model, "one")), bytes(other, "two"));
    }
}
