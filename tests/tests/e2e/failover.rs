//! Another Postgres takes the place of one that is only out of reach. When the network is back, connections to the old one live on, and
//! it answers them with what it knew: nobody may ask there any more.

use std::cell::Cell;
use std::rc::Rc;

use futures_util::future::join_all;
use local::postgres::Cluster;
use serde_json::json;
use tests::chaos::proxy::{Proxy, Weather};
use tests::load::at_once;
use tests::person::{Person, SignedIn};
use tests::stack::{Hop, Stack};

/// As many as a replica keeps connections.
const PEOPLE: usize = 8;
/// More than there are connections.
const ROUNDS: usize = 12;

#[tokio::test]
async fn after_a_failover_nobody_asks_the_server_that_was_replaced() {
    let proxies = Rc::new(Cell::new(None));
    let kept = proxies.clone();
    let stack = Stack::builder().without_limits().own_profile_postgres().through(move |hop, address| {
        if hop != Hop::ProfileDatabase {
            return address;
        }
        let proxy = Proxy::start(address).expect("a proxy");
        let address = proxy.address();
        kept.set(Some(proxy));
        address
    });
    let stack = stack.start();
    let proxy = proxies.take().expect("a database behind a proxy");
    let api = stack.api(0);
    let people: Vec<SignedIn> = join_all((0..PEOPLE).map(|_| Person::signed_in(&api))).await;
    let people = join_all(people.into_iter().map(|it| it.noted(&api))).await;
    let ada = &people[0];
    let standby = stack.profile_database.standby().await;

    // Each has a connection of its own.
    stack.profile_database.slow_down("profiles", "0.2").await;
    stack.cache.flush().await;
    for answer in at_once(people.iter().map(|it| api.get("/v1/profile").bearer(&it.token))).await {
        answer.expect(200);
    }

    proxy.set(Weather::BlackHole);
    for _ in 0..2 {
        ada.change(&api, &json!({"bio": "into the void"})).await.expect(503);
    }
    let promoted = standby.server().with(Cluster::promote).await;
    promoted.expect("the standby is promoted");
    proxy.lead_to(standby.address());
    proxy.set(Weather::Fair);

    standby.execute("UPDATE profiles_stored SET bio = 'on the new one'").await;

    for round in 0..ROUNDS {
        stack.cache.flush().await;
        let profile = api.get(&ada.person.public_profile()).await.expect(200).json();
        assert_eq!(profile["bio"], json!("on the new one"), "in round {round}");
    }
    ada.change(&api, &json!({"bio": "changed there"})).await.expect(200);
}
