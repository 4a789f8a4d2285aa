//! Names whose addresses change.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use super::fake::echo;
use super::*;

type Answers = Arc<Mutex<Result<Vec<SocketAddr>, io::ErrorKind>>>;

fn resolving(answers: &Answers) -> Upstream {
    let answers = answers.clone();
    let settings = Settings { resolve_interval: Duration::from_millis(50), ..Settings::default() };
    Upstream::open_with(
        "test",
        "dns:///replicas.test:50051".parse().unwrap(),
        settings,
        Arc::new(move |_| {
            let answer = answers.lock().unwrap().clone().map_err(io::Error::from);
            Box::pin(async move { answer })
        }),
        &Shutdown::new(),
    )
}

#[tokio::test]
async fn replicas_come_and_go_with_the_name() {
    let (one, two) = (Fake::start(), Fake::start());
    let answers: Answers = Arc::new(Mutex::new(Ok(vec![one.address])));
    let upstream = resolving(&answers);
    until_ready(&upstream, 1).await;
    *answers.lock().unwrap() = Ok(vec![one.address, two.address]);
    until_ready(&upstream, 2).await;
    let slow = async { call(&upstream, echo("slow", 400)).await };
    let change = async {
        eventually(Duration::from_secs(2), || one.record.begun("slow") + two.record.begun("slow") == 1).await;
        *answers.lock().unwrap() = Ok(vec![]);
        let kept = if one.record.begun("slow") == 1 { two.address } else { one.address };
        *answers.lock().unwrap() = Ok(vec![kept]);
        until_ready(&upstream, 1).await;
    };
    let (answer, ()) = tokio::join!(slow, change);
    assert_eq!(answer.unwrap().text, "slow", "a replica that left answers what it has");
}

#[tokio::test]
async fn failed_and_empty_answers_keep_the_last_set() {
    let one = Fake::start();
    let answers: Answers = Arc::new(Mutex::new(Ok(vec![one.address])));
    let upstream = resolving(&answers);
    until_ready(&upstream, 1).await;
    for answer in [Err(io::ErrorKind::TimedOut), Ok(vec![])] {
        *answers.lock().unwrap() = answer;
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(call(&upstream, echo("read", 0)).await.unwrap().text, "read");
    }
}

#[tokio::test]
async fn a_name_that_never_resolved_fails_at_once_and_is_asked_again() {
    let one = Fake::start();
    let answers: Answers = Arc::new(Mutex::new(Err(io::ErrorKind::NotFound)));
    let upstream = resolving(&answers);
    let status = call(&upstream, echo("read", 0)).await.unwrap_err();
    assert_eq!(reason(&status), (Code::Unavailable, Some("UPSTREAM_AWAY".into())));
    *answers.lock().unwrap() = Ok(vec![one.address]);
    tokio::time::timeout(Duration::from_secs(2), upstream.until_answered()).await.unwrap();
}

#[tokio::test]
async fn a_host_name_in_a_list_is_resolved() {
    let one = Fake::start();
    let endpoints = format!("localhost:{}", one.address.port()).parse().unwrap();
    let upstream = Upstream::open("test", endpoints, Settings::default(), &Shutdown::new());
    assert_eq!(call(&upstream, echo("read", 0)).await.unwrap().text, "read");
}
