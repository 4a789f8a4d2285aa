//! A logout is final: what begins after its acknowledgement is refused, by every replica, whatever was in flight.

use std::cell::Cell;
use std::time::Duration;

use futures_util::future::join_all;
use tests::api::Api;
use tests::person::{Person, SignedIn};
use tests::stack::{Part, Stack};
use tests::wait;

/// Readers on each gateway.
const READERS: usize = 2;
/// Reads of each reader that begin after the acknowledgement.
const READS_AFTER: usize = 3;

/// Reads without a pause from everywhere while the session ends, and goes on reading. `ripe`: when the session may end.
async fn log_out_under_fire(apis: &[Api], ada: &SignedIn, ripe: impl AsyncFn(&SignedIn)) {
    let acknowledged = Cell::new(false);
    let accepted = Cell::new(0_usize);
    let reader = async |api: &Api, path: &'static str| {
        let mut after = 0;
        while after < READS_AFTER {
            let began_after = acknowledged.get();
            let answer = api.get(path).bearer(&ada.token).await;
            match (answer.status, began_after) {
                (200, false) => accepted.set(accepted.get() + 1),
                (401, _) => {}
                (status, began_after) => {
                    panic!("{status}, begun after the acknowledgement: {began_after}: {}", answer.text())
                }
            }
            after += usize::from(began_after);
        }
    };
    let readers = apis.iter().flat_map(|api| {
        ["/v1/me", "/v1/profile"].into_iter().cycle().take(READERS).map(move |path| (api, path))
    });
    let readers = join_all(readers.map(|(api, path)| reader(api, path)));
    let logout = async {
        let everywhere = apis.len() * READERS;
        wait::until_true("the session is used everywhere", async || accepted.get() >= everywhere).await;
        ripe(ada).await;
        let api = &apis[fastrand::usize(..apis.len())];
        ada.log_out(api).await.expect(204);
        acknowledged.set(true);
    };
    tokio::join!(readers, logout);
}

#[tokio::test]
async fn a_logout_is_seen_by_all_at_once() {
    let stack = Stack::shared();
    let apis = stack.apis();
    let ada = Person::registered(&apis[0]).await;
    let other = ada.sign_in(&apis[0]).await;
    for round in 0..200 {
        let session = ada.sign_in(&apis[round % 3]).await;
        log_out_under_fire(&apis, &session, async |_| {}).await;
    }
    other.me(&apis[1]).await.expect(200);
}

/// With an idle time-out of four seconds a session is renewed five times a second, behind answers that are on their way already.
#[tokio::test]
async fn no_renewal_in_flight_brings_a_session_back() {
    let stack = Stack::builder().gateways(3).auths(2).without_limits();
    let stack = stack.env(Part::Auth, "SESSION_IDLE_SECONDS", "4").start();
    let apis = stack.apis();
    let ada = Person::registered(&apis[0]).await;
    let renewed = async |session: &SignedIn| {
        wait::until_true("the session was renewed", async || {
            let me = session.me(&apis[0]).await.expect(200).json();
            me["session"]["lastSeenAt"] != me["session"]["createdAt"]
        })
        .await;
    };
    for _ in 0..10 {
        let sessions = join_all((0..4).map(|number| ada.sign_in(&apis[number % 3]))).await;
        join_all(sessions.iter().map(|session| log_out_under_fire(&apis, session, renewed))).await;
    }
}

#[tokio::test]
async fn a_logout_is_done_once() {
    let stack = Stack::shared();
    let apis = stack.apis();
    let ada = Person::signed_in(&apis[0]).await;
    let answers = join_all((0..30).map(|number| ada.log_out(&apis[number % 3]))).await;
    let done = answers.iter().filter(|answer| answer.status == 204).count();
    assert_eq!(done, 1);
    assert!(answers.iter().all(|answer| matches!(answer.status, 204 | 401)));
}

#[tokio::test]
async fn a_session_that_is_not_used_ends_by_itself() {
    let stack = Stack::builder().env(Part::Auth, "SESSION_IDLE_SECONDS", "1").start();
    let api = stack.api(0);
    let ada = Person::registered(&api).await;
    let login = ada.log_in(&api).await.expect(200).json();
    assert!(login["expiresIn"].as_u64().is_some_and(|seconds| seconds <= 1), "{login}");
    let token = login["token"].as_str().unwrap();
    // No request may keep it alive: the time passes unused, twice as long as it takes.
    tokio::time::sleep(Duration::from_secs(2)).await;
    api.get("/v1/me").bearer(token).await.expect_problem(401, "SESSION_INVALID");
}

#[tokio::test]
async fn a_session_that_is_used_ends_at_its_absolute_time_out() {
    let stack = Stack::builder().without_limits();
    let stack = stack.env(Part::Auth, "SESSION_ABSOLUTE_SECONDS", "2").start();
    let api = stack.api(0);
    let ada = Person::signed_in(&api).await;
    ada.me(&api).await.expect(200);
    let ended = async || ada.me(&api).await.status == 401;
    wait::until_true("a session that is used all the time has ended", ended).await;
    ada.profile(&api).await.expect(401);
}
