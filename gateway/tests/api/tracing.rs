//! Whose trace a request belongs to.

use crate::stack::Stack;

const THEIRS: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

#[tokio::test]
async fn a_request_goes_on_in_its_callers_trace_down_to_the_services() {
    let stack = Stack::start().await;
    let token = stack.signed_in("ada").await;
    let answer = stack.ask("GET", "/v1/profile").bearer(&token).header("traceparent", THEIRS).send().await;
    assert_eq!(answer.header("traceparent")[..35], THEIRS[..35]);
    assert_eq!(answer.header("traceresponse"), answer.header("traceparent"));
    let state = stack.services.lock();
    for method in ["ValidateSession", "GetProfile"] {
        assert_eq!(state.traceparents[method][..35], THEIRS[..35], "{method}");
    }
}

#[tokio::test]
async fn only_a_trusted_proxy_decides_what_is_recorded() {
    let sampled = async |args: &[&str]| {
        let stack = Stack::with_args(args).await;
        let answer = stack.ask("GET", "/health").header("traceparent", THEIRS).send().await;
        answer.header("traceparent").ends_with("-01")
    };
    assert!(!sampled(&[]).await);
    assert!(!sampled(&["--trusted-proxies", "10.0.0.0/8"]).await);
    assert!(sampled(&["--trusted-proxies", "127.0.0.0/8"]).await);
}

#[tokio::test]
async fn an_invalid_traceparent_begins_a_new_trace() {
    let stack = Stack::start().await;
    for invalid in [
        "",
        "nonsense",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    ] {
        let answer = stack.ask("GET", "/nothing").header("traceparent", invalid).send().await;
        answer.problem(404, "NOT_FOUND");
        assert_ne!(answer.header("traceparent")[3..35], THEIRS[3..35]);
    }
}
