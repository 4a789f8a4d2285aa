//! Replicas come and go under load, in good order or not, and no read fails.

use tests::load::Load;
use tests::person::{Person, SignedIn};
use tests::stack::{Part, Stack};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

/// Reads before, while and after a replica is away.
const READS: u64 = 300;
const READERS: usize = 8;

async fn start() -> (Stack, SignedIn) {
    let stack = Stack::builder().gateways(3).auths(2).profiles(2).without_limits().start();
    let ada = Person::signed_in(&stack.api(0)).await;
    (stack, ada)
}

/// Reads of every kind at every gateway.
fn reads(stack: &Stack, ada: &SignedIn) -> Load {
    let (token, public) = (ada.token.clone(), ada.person.public_profile());
    Load::start(READERS, &stack.apis(), move |api| match fastrand::u8(0..3) {
        0 => api.get("/v1/me").bearer(&token),
        1 => api.get("/v1/profile").bearer(&token),
        _ => api.get(&public),
    })
}

#[tokio::test]
async fn a_replica_that_is_killed_costs_no_read() {
    let (stack, ada) = start().await;
    let load = reads(&stack, &ada);
    for replica in stack.auths.iter().chain(&stack.profiles) {
        load.go_on_for(READS).await;
        replica.kill().await;
        load.go_on_for(READS).await;
        replica.start().await;
    }
    load.go_on_for(READS).await;
    load.end().await;
}

#[tokio::test]
async fn a_replica_that_hangs_costs_no_read() {
    let (stack, ada) = start().await;
    let load = reads(&stack, &ada);
    for replica in [&stack.auths[0], &stack.profiles[0]] {
        load.go_on_for(READS).await;
        replica.pause().await;
        load.go_on_for(READS).await;
        replica.resume().await;
    }
    load.go_on_for(READS).await;
    load.end().await;
}

#[tokio::test]
async fn a_rolling_restart_of_everything_fails_no_request_and_logs_nobody_out() {
    let (stack, ada) = start().await;
    let load = reads(&stack, &ada);
    for replica in stack.replicas() {
        load.go_on_for(READS).await;
        replica.restart().await;
    }
    load.go_on_for(READS).await;
    load.end().await;
    for api in stack.apis() {
        ada.me(&api).await.expect(200);
    }
}

/// A client that never finishes its request holds nobody up.
#[tokio::test]
async fn a_replica_ends_at_its_deadline_whatever_is_in_flight() {
    let stack = Stack::builder()
        .env(Part::Gateway, "DRAIN_DELAY_MS", "1000")
        .env(Part::Gateway, "DRAIN_TIMEOUT_MS", "100")
        .start();
    let gateway = &stack.gateways[0];
    let mut client = TcpStream::connect(gateway.address()).await.expect("a connection");
    let part = b"POST /v1/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{";
    client.write_all(part).await.expect("the gateway reads");

    gateway.stop().await;

    let says = |what: &str| gateway.output().lines().iter().any(|line| line.contains(what));
    assert!(says("ended with work in flight"), "{:?}", gateway.output().lines());
}
