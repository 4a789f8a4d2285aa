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

/// Reads without a pause from everywhere while the session ends, and goes on reading. `before`: what happens just before the end.
async fn log_out_under_fire(apis: &[Api], ada: &SignedIn, before: impl AsyncFn()) {
    let acknowledged = Cell::new(false);
    let accepted = Cell::new(0_usize);
    let reader = async |api: &Api, path: &'static str| {
        let mut after = 0;
        while after < READS_AFTER {
            let began_after = acknowledged.get();
            let answer = api.get(path).bearer(&ada.token).await;
            match answer.status {
                200 if began_after => panic!("accepted after its end: {}", answer.text()),
                200 => accepted.set(accepted.get() + 1),
                401 => {}
                // On a machine that is busy enough: nobody was let in.
                503 | 504 => continue,
                _ => panic!("{}: {} {}", answer.request, answer.status, answer.text()),
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
        before().await;
        let api = &apis[fastrand::usize(..apis.len())];
        wait::until_true("the session has ended", async || {
            matches!(ada.log_out(api).await.status, 204 | 401)
        })
        .await;
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
        log_out_under_fire(&apis, &session, async || {}).await;
    }
    other.me(&apis[1]).await.expect(200);
}

/// Redis is made to hold all writes back for longer than it takes until a session is to be renewed. The logout is the first of
/// them; renewals by the replicas that still answer follow, and all of them are carried out in that order.
#[tokio::test]
async fn no_renewal_in_flight_brings_a_session_back() {
    // With an idle time-out of two seconds a session is renewed every tenth of a second.
    const HELD_BACK_MS: u32 = 130;
    let stack = Stack::builder().gateways(3).auths(3).without_limits();
    let stack = stack.env(Part::Auth, "SESSION_IDLE_SECONDS", "2").start();
    let apis = stack.apis();
    let ada = Person::registered(&apis[0]).await;
    let state = stack.state.connect().await;
    let hold_writes_back = async || {
        let mut pause = redis::cmd("CLIENT");
        pause.arg("PAUSE").arg(HELD_BACK_MS).arg("WRITE");
        pause.query_async::<()>(&mut state.clone()).await.expect("the session store answers");
    };
    for round in 0..15 {
        // With another session the user's entry stays, and there would be something to bring the ended one back to.
        ada.sign_in(&apis[0]).await;
        let session = ada.sign_in(&apis[round % 3]).await;
        log_out_under_fire(&apis, &session, hold_writes_back).await;
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
