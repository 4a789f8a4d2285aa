//! A profile is never older than a change that was acknowledged: on no replica, whoever reads and writes meanwhile, and whatever
//! the cache loses.

use std::cell::Cell;
use std::future::IntoFuture as _;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use tests::api::Api;
use tests::person::{Person, SignedIn};
use tests::stack::Stack;

const WRITERS: usize = 3;
const READERS: usize = 8;
/// Of all readers together, and more while there are writers.
const READS: usize = 2000;

/// One profile under readers and writers at every gateway.
struct Race<'a> {
    apis: &'a [Api],
    ada: &'a SignedIn,
    /// Of each writer.
    changes: usize,
    /// The highest version that any writer was told.
    acknowledged: Cell<u64>,
    writing: Cell<usize>,
    reads: Cell<usize>,
}

impl<'a> Race<'a> {
    fn new(apis: &'a [Api], ada: &'a SignedIn, changes: usize) -> Self {
        let (acknowledged, writing, reads) = (Cell::new(1), Cell::new(WRITERS), Cell::new(0));
        Self { apis, ada, changes, acknowledged, writing, reads }
    }

    async fn run(&self) {
        let writers = join_all((0..WRITERS).map(|writer| self.write(writer)));
        let readers = join_all((0..READERS).map(|reader| self.read(reader)));
        tokio::join!(writers, readers);
        assert_eq!(self.acknowledged.get(), 1 + (WRITERS * self.changes) as u64, "no change was lost");
    }

    async fn write(&self, writer: usize) {
        for change in 0..self.changes {
            let api = &self.apis[(writer + change) % self.apis.len()];
            let answer =
                self.ada.change(api, &json!({"bio": format!("{writer}: {change}")})).await.expect(200);
            self.acknowledged.set(self.acknowledged.get().max(answer.version()));
        }
        self.writing.set(self.writing.get() - 1);
    }

    async fn read(&self, reader: usize) {
        let public = self.ada.person.public_profile();
        for round in reader.. {
            let api = &self.apis[round % self.apis.len()];
            let call = if reader.is_multiple_of(2) {
                api.get("/v1/profile").bearer(&self.ada.token)
            } else {
                api.get(&public)
            };
            let at_least = self.acknowledged.get();
            let answer = call.await.expect(200);
            assert!(answer.version() >= at_least, "version {} after {at_least}", answer.version());
            self.reads.set(self.reads.get() + 1);
            if self.writing.get() == 0 && self.reads.get() >= READS {
                break;
            }
        }
    }
}

#[tokio::test]
async fn a_read_is_never_older_than_an_acknowledged_change() {
    let stack = Stack::shared();
    let apis = stack.apis();
    let ada = Person::signed_in(&apis[0]).await;
    Race::new(&apis, &ada, 120).run().await;
}

/// What a slow database answers is old by then, and what it answers after the cache has lost everything must not fill it.
#[tokio::test]
async fn nor_when_the_database_is_slow_and_the_cache_loses_everything_in_between() {
    let stack = Stack::builder().gateways(3).profiles(2).without_limits().start();
    stack.profile_database.slow_down("profiles", "random() * 0.02").await;
    let apis = stack.apis();
    let ada = Person::signed_in(&apis[0]).await;
    let race = Race::new(&apis, &ada, 40);
    let evictions = async {
        let mut connection = stack.cache.connect().await;
        while race.writing.get() > 0 {
            // Sometimes the one profile alone, as an eviction takes it.
            let mut command = redis::cmd("FLUSHALL");
            if fastrand::bool() {
                let find = redis::cmd("KEYS").arg(format!("*{}*", ada.id)).to_owned();
                let keys: Vec<Vec<u8>> = find.query_async(&mut connection).await.expect("the cache answers");
                command = redis::cmd("DEL").arg("nothing").arg(keys).to_owned();
            }
            command.query_async::<()>(&mut connection).await.expect("the cache answers");
            tokio::time::sleep(Duration::from_millis(fastrand::u64(1..30))).await;
        }
    };
    tokio::join!(race.run(), evictions);
}

#[tokio::test]
async fn a_change_from_an_outdated_version_is_refused_and_changes_nothing() {
    let stack = Stack::shared();
    let apis = stack.apis();
    let ada = Person::signed_in(&apis[0]).await;
    let tag = ada.profile(&apis[0]).await.expect(200).expect_header("etag").to_owned();

    // Of many who change from the same version, one does.
    let change = |number: usize| {
        let change = json!({"bio": format!("by {number}")});
        apis[number % 3].patch("/v1/profile").bearer(&ada.token).if_match(&tag).json(&change).into_future()
    };
    let answers = join_all((0..12).map(change)).await;
    let done: Vec<_> = answers.iter().filter(|answer| answer.status == 200).collect();
    assert_eq!(done.len(), 1);
    for refused in answers.iter().filter(|answer| answer.status != 200) {
        refused.clone().expect_problem(412, "VERSION_MISMATCH");
    }
    let profile = ada.profile(&apis[1]).await.expect(200);
    assert_eq!((profile.version(), &profile.json()["bio"]), (2, &done[0].json()["bio"]));
}
