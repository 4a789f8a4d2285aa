//! Redis as a Cluster and under Sentinels: everything works as on one server, and a failover undoes nothing that was acknowledged.
//! In between it is 503, never 401; afterwards it goes on by itself.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use futures_util::future::{join, join_all};
use local::redis::{Cluster, Role, Watched};
use proto::auth::v1::{LogoutRequest, ValidateSessionRequest};
use serde_json::json;
use tests::api::{Answer, Api};
use tests::controlled::{Controlled, Replica, Store};
use tests::grpc;
use tests::load::{at_once, by_status};
use tests::person::{Person, SignedIn};
use tests::stack::{Part, Stack};
use tests::wait;
use tonic::Code;

mod servers;

use servers::{cut_replication_off, keys, tell, wait_until_replaced};

/// A Cluster, and where its data lies.
fn cluster(role: Role) -> (String, Vec<Store>, tempfile::TempDir) {
    let folder = local::temporary::folder().expect("a folder");
    let cluster = Cluster::temporary(role, folder.path()).expect("a Redis Cluster");
    (cluster.url(), cluster.nodes.into_iter().map(Controlled::new).collect(), folder)
}

fn watched() -> (Watched, tempfile::TempDir) {
    let folder = local::temporary::folder().expect("a folder");
    (Watched::temporary(Role::State, folder.path()).expect("Redis under Sentinels"), folder)
}

/// People with a session each.
async fn people(apis: &[Api], count: usize) -> Vec<SignedIn> {
    join_all((0..count).map(|number| Person::signed_in(&apis[number % apis.len()]))).await
}

/// Whether a session was accepted, refused, or neither.
fn accepted(answer: &Answer) -> Option<bool> {
    match answer.status {
        200 => Some(true),
        401 => Some(false),
        503 | 504 => None,
        _ => panic!("{}: {}", answer.request, answer.text()),
    }
}

/// Logs out until it is certain that the session is over.
async fn log_out_for_good(api: &Api, session: &SignedIn) {
    let over = async || matches!(session.log_out(api).await.status, 204 | 401);
    wait::until_true("the session has ended", over).await;
}

/// Everybody who stays is let in by every gateway, and nobody else is.
async fn check_who_is_left(apis: &[Api], staying: &[SignedIn], leaving: &[SignedIn]) {
    for api in apis {
        for session in staying {
            let back = async || accepted(&session.me(api).await);
            assert!(wait::until("sessions are served again", back).await, "a session was lost");
        }
        for session in leaving {
            let told = async || accepted(&session.me(api).await);
            assert!(!wait::until("sessions are served again", told).await, "a logout was undone");
        }
    }
}

/// Reads with all sessions from everywhere while some of them end, one after the other, and `fail` happens after a third of them.
async fn end_through_a_failure(
    apis: &[Api],
    staying: &[SignedIn],
    leaving: &[SignedIn],
    fail: impl AsyncFnOnce(),
) {
    let over: Vec<_> = leaving.iter().map(|_| Cell::new(false)).collect();
    let count_over = || over.iter().filter(|over| over.get()).count();
    let failed = Cell::new(false);
    let all_done = || failed.get() && count_over() == leaving.len();

    let stayers = join_all(staying.iter().enumerate().map(async |(number, session)| {
        while !all_done() {
            let answer = session.me(&apis[number % apis.len()]).await;
            assert_ne!(accepted(&answer), Some(false), "told to be logged out: {}", answer.text());
        }
    }));
    let leavers = join_all(leaving.iter().zip(&over).enumerate().map(async |(number, (session, over))| {
        while !all_done() {
            let was_over = over.get();
            let answer = session.me(&apis[number % apis.len()]).await;
            assert!(!(was_over && accepted(&answer) == Some(true)), "accepted after its end");
        }
    }));
    let endings = async {
        for (session, over) in leaving.iter().zip(&over) {
            log_out_for_good(&apis[fastrand::usize(..apis.len())], session).await;
            over.set(true);
        }
    };
    let failure = async {
        wait::until_true("a third is over", async || count_over() * 3 >= leaving.len()).await;
        fail().await;
        failed.set(true);
    };
    join(join(stayers, leavers), join(endings, failure)).await;
    check_who_is_left(apis, staying, leaving).await;
}

#[tokio::test]
async fn on_a_cluster_everything_works_and_limits_stay_exact() {
    const QUOTA: usize = 20;
    let (state, cache) = thread::scope(|scope| {
        let state = scope.spawn(|| cluster(Role::State));
        let cache = scope.spawn(|| cluster(Role::Cache));
        (state.join().expect("a cluster"), cache.join().expect("a cluster"))
    });
    let stack = Stack::builder().gateways(3).auths(2).profiles(2).behind_a_trusted_proxy();
    let stack =
        stack.env_everywhere("CACHE_REDIS_URL", &cache.0).env(Part::Auth, "STATE_REDIS_URL", &state.0);
    let stack = ["LIMIT_REGISTER_IP", "LIMIT_LOGIN_IP", "LIMIT_LOGIN_ACCOUNT"]
        .into_iter()
        .fold(stack, |stack, limit| stack.env(Part::Gateway, limit, "1000/600"));
    let stack = stack.env(Part::Gateway, "LIMIT_API", format!("{QUOTA}/600")).start();
    let apis = stack.apis();
    let people = people(&apis, 16).await;
    for (number, ada) in people.iter().enumerate() {
        // What is no session any more is charged to its address.
        let apis = apis.iter().map(|api| api.from_address(&format!("192.0.2.{number}"))).collect::<Vec<_>>();
        ada.change(&apis[0], &json!({"bio": "everywhere"})).await.expect(200);
        for api in &apis {
            ada.me(api).await.expect(200);
            assert_eq!(ada.profile(api).await.expect(200).json()["bio"], "everywhere");
        }
        let second = ada.person.sign_in(&apis[1]).await;
        let list = apis[2].get("/v1/sessions").bearer(&second.token).await.expect(200).json();
        assert_eq!(list["sessions"].as_array().map(Vec::len), Some(2), "{list}");
        ada.log_out(&apis[1]).await.expect(204);
        for api in &apis {
            ada.me(api).await.expect(401);
            second.me(api).await.expect(200);
        }
    }
    for address in (0..8).map(|number| format!("198.51.100.{number}")) {
        let read = |number: usize| {
            apis[number % 3]
                .from_address(&address)
                .get(&people[number % people.len()].person.public_profile())
        };
        let answers = at_once((0..QUOTA * 3).map(read)).await;
        assert_eq!(by_status(&answers), [(200, QUOTA), (429, QUOTA * 2)].into(), "{address}");
    }
    for master in state.1[..3].iter().chain(&cache.1[..3]) {
        assert!(keys(master).await > 0, "{} has nothing to do", master.name());
    }
}

#[tokio::test]
async fn a_master_of_the_cluster_is_lost_and_no_logout_is_undone() {
    let (url, nodes, _folder) = cluster(Role::State);
    let stack = Stack::builder().gateways(2).auths(3).without_limits();
    let stack = stack.env(Part::Auth, "STATE_REDIS_URL", url).start();
    let apis = stack.apis();
    let (staying, leaving) = (people(&apis, 15).await, people(&apis, 45).await);
    let lose = async || {
        nodes[1].kill().await;
        wait_until_replaced(&[&nodes[4]]).await;
        // Its successor has no replica and waits for one.
        nodes[1].start().await;
    };
    end_through_a_failure(&apis, &staying, &leaving, lose).await;
    check_who_is_left(&apis, &staying, &leaving).await;
}

#[tokio::test]
async fn a_logout_that_a_replica_in_the_cluster_did_not_get_is_not_acknowledged() {
    let (url, nodes, _folder) = cluster(Role::State);
    let stack = Stack::builder().gateways(1).auths(2).without_limits();
    let stack = stack.env(Part::Auth, "STATE_REDIS_URL", url).start();
    let apis = stack.apis();
    let (staying, leaving) = (people(&apis, 6).await, people(&apis, 12).await);
    let (master, replica) = (&nodes[0], &nodes[3]);
    cut_replication_off(master, &[replica]).await;
    acknowledged_logouts_stay(&apis, &staying, &leaving, master, &[replica]).await;
}

/// Logs out while replication is cut off, and lets the master die with what it did not send.
async fn acknowledged_logouts_stay(
    apis: &[Api],
    staying: &[SignedIn],
    leaving: &[SignedIn],
    master: &Store,
    replicas: &[&Store],
) {
    let logouts =
        at_once(leaving.iter().map(|session| apis[0].post("/v1/logout").bearer(&session.token))).await;
    let refused = by_status(&logouts).get(&503).copied().unwrap_or_default();
    master.kill().await;
    for replica in replicas {
        replica.resume().await;
    }
    wait_until_replaced(replicas).await;
    if replicas.len() == 1 {
        // Its successor has no replica and waits for one.
        master.start().await;
    }
    let acknowledged: BTreeSet<_> = logouts
        .iter()
        .enumerate()
        .filter(|(_, answer)| answer.status == 204)
        .map(|(number, _)| number)
        .collect();
    let over: Vec<_> = acknowledged.iter().map(|number| leaving[*number].clone()).collect();
    check_who_is_left(apis, staying, &over).await;
    assert!(refused > 0, "replication was not cut off: {:?}", by_status(&logouts));
    // Whoever was told 503 may try again.
    for session in leaving {
        log_out_for_good(&apis[0], session).await;
    }
    check_who_is_left(apis, staying, leaving).await;
}

#[tokio::test]
async fn the_master_under_sentinels_is_lost_and_no_logout_is_undone() {
    let (watched, _folder) = watched();
    let stack = Stack::builder().gateways(2).auths(3).without_limits();
    let stack = stack.env(Part::Auth, "STATE_REDIS_URL", watched.url()).start();
    let apis = stack.apis();
    let servers: Vec<Store> = watched.servers.into_iter().map(Controlled::new).collect();
    let (staying, leaving) = (people(&apis, 10).await, people(&apis, 30).await);
    let lose = async || servers[0].kill().await;
    end_through_a_failure(&apis, &staying, &leaving, lose).await;
    servers[0].start().await;
    check_who_is_left(&apis, &staying, &leaving).await;
}

#[tokio::test]
async fn a_frozen_master_that_wakes_up_among_sentinels_lets_nobody_in_who_left() {
    let (watched, _folder) = watched();
    let stack = Stack::builder().gateways(2).auths(3).without_limits();
    let stack = stack.env(Part::Auth, "STATE_REDIS_URL", watched.url()).start();
    let apis = stack.apis();
    let servers: Vec<Store> = watched.servers.into_iter().map(Controlled::new).collect();
    let (staying, leaving) = (people(&apis, 10).await, people(&apis, 30).await);
    let freeze_until_replaced = async || {
        servers[0].pause().await;
        wait_until_replaced(&[&servers[1], &servers[2]]).await;
        servers[0].resume().await;
    };
    end_through_a_failure(&apis, &staying, &leaving, freeze_until_replaced).await;
}

/// A user of Redis who is let in while the others, replicas and Sentinels among them, are not.
const FRIEND: &str = "friend";

/// Whether one replica of auth-svc accepts a session; `None` when it cannot tell.
async fn accepted_by(auth: &Replica, session: &SignedIn) -> Option<bool> {
    let request = ValidateSessionRequest { token: session.token.clone() };
    match grpc::auth(auth).await.validate_session(request).await {
        Ok(_) => Some(true),
        Err(status) if status.code() == Code::Unauthenticated => Some(false),
        Err(status) if matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded) => None,
        Err(status) => panic!("{status:?}"),
    }
}

/// The old master goes on, cut off from replicas and Sentinels, and one replica of auth-svc is on its side of the cut: it knows but
/// one Sentinel, which is silent.
#[tokio::test]
async fn a_master_that_was_replaced_and_does_not_know_it_accepts_nobody() {
    let (watched, _folder) = watched();
    let friend = |url: String| url.replace("://", &format!("://{FRIEND}:hush@"));
    let stack = Stack::builder().gateways(1).auths(2).without_limits();
    let stack = stack.env_of(Part::Auth, 0, "STATE_REDIS_URL", friend(watched.url()));
    let stack = stack.env_of(Part::Auth, 1, "STATE_REDIS_URL", friend(watched.url_of(&[2])));
    let servers: Vec<Store> = watched.servers.into_iter().map(Controlled::new).collect();
    let sentinels: Vec<_> = watched.sentinels.into_iter().map(Controlled::new).collect();
    for server in &servers {
        tell(server, "", &[&format!("ACL SETUSER {FRIEND} on >hush ~* &* +@all")]).await;
    }
    let stack = stack.start();
    let (api, [auth, cut_off]) = (stack.api(0), [&stack.auths[0], &stack.auths[1]]);
    let people = people(&[api], 2).await;
    let (leaving, staying) = (&people[0], &people[1]);
    assert_eq!(accepted_by(cut_off, leaving).await, Some(true));

    sentinels[2].pause().await;
    let as_friend = format!("{FRIEND}:hush@");
    tell(&servers[0], &as_friend, &["ACL SETUSER default off", "CLIENT KILL USER default"]).await;
    let moved_on = async || {
        let logout = LogoutRequest { token: leaving.token.clone(), ..LogoutRequest::default() };
        grpc::auth(auth).await.logout(logout).await.is_ok() || accepted_by(auth, leaving).await == Some(false)
    };
    wait::until_true("the session has ended on the new master", moved_on).await;
    for _ in 0..20 {
        assert_eq!(accepted_by(auth, staying).await, Some(true));
        assert_ne!(accepted_by(cut_off, leaving).await, Some(true), "accepted after its end");
        assert_ne!(accepted_by(cut_off, staying).await, Some(false), "told to be logged out");
    }

    tell(&servers[0], &as_friend, &["ACL SETUSER default on"]).await;
    sentinels[2].resume().await;
    let back = async || accepted_by(cut_off, staying).await;
    assert!(wait::until("it has found the new master", back).await);
    assert_eq!(accepted_by(cut_off, leaving).await, Some(false));
}

#[tokio::test]
async fn a_logout_that_the_replicas_did_not_get_is_not_acknowledged() {
    let (watched, _folder) = watched();
    let stack = Stack::builder().gateways(1).auths(2).without_limits();
    let stack = stack.env(Part::Auth, "STATE_REDIS_URL", watched.url()).start();
    let apis = stack.apis();
    let servers: Vec<Store> = watched.servers.into_iter().map(Controlled::new).collect();
    let (staying, leaving) = (people(&apis, 6).await, people(&apis, 12).await);
    let (master, replicas) = (&servers[0], [&servers[1], &servers[2]]);
    cut_replication_off(master, &replicas).await;
    acknowledged_logouts_stay(&apis, &staying, &leaving, master, &replicas).await;
}

/// A Sentinel that promotes a replica cuts all connections of that one first: who is out of sight may be the master already.
#[tokio::test]
async fn a_replica_that_is_out_of_sight_still_has_to_confirm_a_logout() {
    let (watched, _folder) = watched();
    let stack = Stack::builder().gateways(1).auths(1).without_limits();
    let stack = stack.env(Part::Auth, "STATE_REDIS_URL", watched.url()).start();
    let (api, sentinels) = (stack.api(0), &watched.sentinels);
    let session = Person::signed_in(&api).await;
    let all_say = |flag: &str| {
        sentinels
            .iter()
            .all(|it| it.of_replicas("flags").iter().any(|flags| flags.split(',').any(|it| it == flag)))
    };

    for sentinel in sentinels {
        sentinel.set_patience(Duration::from_secs(600));
    }
    let servers: Vec<Store> = watched.servers.into_iter().map(Controlled::new).collect();
    servers[1].kill().await;
    wait::until_true("it is out of sight", async || all_say("disconnected")).await;
    for _ in 0..5 {
        session.log_out(&api).await.expect(503);
    }
    assert!(!all_say("s_down"), "the Sentinels gave it up");

    for sentinel in sentinels {
        sentinel.set_patience(Duration::from_millis(100));
    }
    wait::until_true("it is given up", async || all_say("s_down")).await;
    log_out_for_good(&api, &session).await;
    session.me(&api).await.expect(401);
}
