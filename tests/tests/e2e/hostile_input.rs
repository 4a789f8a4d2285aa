//! Whatever is sent, it is answered with a 4xx problem or nothing at all, and everything lives on.

use std::sync::Arc;

use fastrand::Rng;
use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt as _};
use http::Method;
use serde_json::json;
use tests::api::Api;
use tests::person::Person;
use tests::stack::Stack;
use tests::{garbage, raw_http};

/// What the gateway takes of a body.
const BODY_LIMIT: usize = 64 * 1024;

/// Every process still is the one it was at the start, and the stack serves.
struct Unharmed {
    stack: Arc<Stack>,
    processes: Vec<Option<u32>>,
}

impl Unharmed {
    fn expect(stack: &Arc<Stack>) -> Self {
        let processes = stack.replicas().map(tests::controlled::Replica::process_id).collect();
        Self { stack: stack.clone(), processes }
    }

    async fn verify(self) {
        let now: Vec<_> = self.stack.replicas().map(tests::controlled::Replica::process_id).collect();
        assert_eq!(now, self.processes);
        assert!(now.iter().all(Option::is_some));
        for api in self.stack.apis() {
            let ada = Person::signed_in(&api).await;
            ada.profile(&api).await.expect(200);
        }
    }
}

#[tokio::test]
async fn bodies_that_are_no_json_object_are_told_what_they_are() {
    let stack = Stack::shared();
    let unharmed = Unharmed::expect(&stack);
    let api = stack.api(0);
    let ada = Person::signed_in(&api).await;
    let deep = |open: &str| open.repeat(BODY_LIMIT / 2 / open.len());
    let bodies: Vec<(Vec<u8>, u16, &str)> = vec![
        (b"".to_vec(), 400, "INVALID_JSON"),
        (b"{".to_vec(), 400, "INVALID_JSON"),
        (b"{\"username\": \"a\"} {}".to_vec(), 400, "INVALID_JSON"),
        (b"{'username': 'a'}".to_vec(), 400, "INVALID_JSON"),
        (b"\xff\xfe{}".to_vec(), 400, "INVALID_JSON"),
        (b"{\"username\": \"\xc3\x28\"}".to_vec(), 400, "INVALID_JSON"),
        (b"{\"username\": \"\\ud800\"}".to_vec(), 400, "INVALID_JSON"),
        (b"{\"a\": 1e999}".to_vec(), 400, "INVALID_JSON"),
        (deep("[").into_bytes(), 400, "INVALID_JSON"),
        (deep("{\"a\":").into_bytes(), 400, "INVALID_JSON"),
        (b"[]".to_vec(), 400, "INVALID_FIELD"),
        (b"null".to_vec(), 400, "INVALID_FIELD"),
        (b"\"text\"".to_vec(), 400, "INVALID_FIELD"),
        (b"7".to_vec(), 400, "INVALID_FIELD"),
        (vec![b' '; BODY_LIMIT + 1], 413, "BODY_TOO_LARGE"),
        (vec![b'['; 4 * BODY_LIMIT], 413, "BODY_TOO_LARGE"),
    ];
    for (body, status, code) in bodies {
        for call in [api.post("/v1/register"), api.post("/v1/login"), api.post("/login")] {
            call.body("application/json", body.clone()).await.expect_problem(status, code);
        }
        let patch = api.patch("/v1/profile").bearer(&ada.token).if_match("*");
        patch.body("application/merge-patch+json", body).await.expect_problem(status, code);
    }
    // As much as is taken, and it is whole.
    let padded = [b"{}".as_slice(), &vec![b' '; BODY_LIMIT - 2]].concat();
    api.post("/v1/login").body("application/json", padded).await.expect_problem(400, "INVALID_FIELD");
    unharmed.verify().await;
}

#[tokio::test]
async fn members_of_a_wrong_type_are_pointed_at() {
    let stack = Stack::shared();
    let api = stack.api(0);
    let ada = Person::signed_in(&api).await;
    let wrong = [json!(1), json!(true), json!([]), json!({}), json!(1.5), json!({"$ne": null}), json!(null)];
    for wrong in wrong {
        for path in ["/v1/register", "/v1/login"] {
            let body = json!({"username": wrong, "password": wrong});
            let document = api.post(path).json(&body).await.expect_problem(400, "INVALID_FIELD");
            let pointers: Vec<_> =
                document["errors"].as_array().unwrap().iter().map(|error| &error["pointer"]).collect();
            assert_eq!(pointers, ["/username", "/password"], "{document}");
        }
    }
    let change =
        json!({"displayName": 1, "links": [{"label": 2, "url": "https://a.example"}], "role": "admin"});
    let document = ada.change(&api, &change).await.expect_problem(400, "INVALID_FIELD");
    let pointers: Vec<_> =
        document["errors"].as_array().unwrap().iter().map(|error| &error["pointer"]).collect();
    assert_eq!(pointers, ["/displayName", "/links/0/label", "/role"], "{document}");
    assert_eq!(ada.profile(&api).await.expect(200).version(), 1);
}

#[tokio::test]
async fn bad_cookies_and_tokens_open_nothing() {
    let stack = Stack::shared();
    let unharmed = Unharmed::expect(&stack);
    let api = stack.api(0);
    let ada = Person::signed_in(&api).await;
    let (half, rest) = ada.token.split_at(32);
    let tokens = [
        String::new(),
        half.to_owned(),
        format!("{rest}{half}"),
        format!("{}A", &ada.token[..63]),
        format!("{}=", ada.token),
        ada.token.to_uppercase(),
        "A".repeat(64),
        "%00".repeat(20),
        "A".repeat(6000),
        "../../../../etc/passwd".to_owned(),
        "s:{00000000-0000-0000-0000-000000000000}".to_owned(),
    ];
    for token in tokens.iter().filter(|token| **token != ada.token) {
        let calls = [
            api.get("/v1/me").bearer(token),
            api.get("/v1/me").cookie(&format!("session={token}")),
            api.get("/v1/profile").cookie(&format!("a=b; session={token}; session={token}")),
            api.post("/v1/logout").bearer(token),
            api.get("/v1/me").header("authorization", token),
        ];
        for call in calls {
            call.await.expect_problem(401, "SESSION_INVALID");
        }
    }
    for cookie in [b";;;=;=".as_slice(), b"session", b"session=\"", b"=", b"\xff\xfe=\xfd", b"session=\xe9"] {
        api.get("/v1/me").header("cookie", cookie).await.expect_problem(401, "SESSION_INVALID");
    }
    ada.me(&api).await.expect(200);
    unharmed.verify().await;
}

/// Requests whose framing no client would send. What cannot be understood as a request gets the bare status or a closed
/// connection, for there is nobody yet who could write a problem.
#[tokio::test]
async fn broken_http_is_refused_and_harms_nobody() {
    let stack = Stack::shared();
    let unharmed = Unharmed::expect(&stack);
    let gateway = stack.gateways[0].address();
    let refused = [
        "\r\n\r\n\r\n",
        "GET\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "GET /v1/me HTTP/1.1\r\nhost : a\r\n\r\n",
        "GET /v1/me HTTP/1.1\r\nhost: a\r\nbad header\r\n\r\n",
        "POST /v1/login HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n",
        "POST /v1/login HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}",
        "POST /v1/login HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ncontent-length: 2\r\n\r\n{}",
        "POST /v1/login HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip\r\n\r\n{}",
        "POST /v1/login HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nnonsense that is no frame at all",
        "\x16\x03\x01\x02\x00\x01\x00\x01\x7c\x03\x03 a TLS hello",
    ];
    for request in refused {
        let (status, answer) = raw_http::exchange(gateway, request.as_bytes()).await;
        assert!(
            status.is_none_or(|status| (400..500).contains(&status) || status == 505),
            "{request:?}: {answer}"
        );
    }
    for (headers, expected) in
        [(format!("a: {}\r\n", "b".repeat(500_000)), 431), ("a: b\r\n".repeat(500), 431)]
    {
        let request = format!("GET /v1/me HTTP/1.1\r\nhost: a\r\n{headers}\r\n");
        let (status, answer) = raw_http::exchange_unfinished(gateway, request.as_bytes()).await;
        assert!(status.is_none_or(|status| status == expected), "{answer}");
    }
    unharmed.verify().await;
}

#[tokio::test]
async fn a_body_that_never_ends_is_given_up() {
    let stack = Stack::builder().env(tests::stack::Part::Gateway, "BODY_TIMEOUT_MS", "300").start();
    let head =
        "POST /v1/login HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-type: application/json\r\n";
    let request = format!("{head}content-length: 100\r\n\r\n{{\"username\":");
    let (status, answer) =
        raw_http::exchange_unfinished(stack.gateways[0].address(), request.as_bytes()).await;
    assert_eq!(status, Some(408), "{answer}");
    assert!(answer.contains("application/problem+json") && answer.contains("REQUEST_TIMEOUT"), "{answer}");
}

#[tokio::test]
async fn headers_that_never_end_are_given_up() {
    let stack = Stack::builder().env(tests::stack::Part::Gateway, "HEADER_TIMEOUT_MS", "300").start();
    let request = b"GET /health HTTP/1.1\r\nhost: a\r\nx-slow:";
    let (status, answer) = raw_http::exchange_unfinished(stack.gateways[0].address(), request).await;
    assert!(status.is_none_or(|status| status == 408), "{answer}");
}

/// Paths that answer everybody: whatever else a request to them holds, it may be answered.
fn is_open_to_all(path: &str) -> bool {
    ["/health", "/livez", "/readyz", "/openapi.json", "/docs"].iter().any(|open| path.starts_with(open))
}

async fn send_garbage(api: &Api, random: &mut Rng) -> u16 {
    let call = garbage::call(api, random);
    let answer = call.await;
    let path =
        answer.request.split_once("//").and_then(|(_, rest)| rest.find('/').map(|at| rest[at..].to_owned()));
    let is_read =
        [Method::GET, Method::HEAD].iter().any(|method| answer.request.starts_with(method.as_str()));
    let open = is_read && path.is_some_and(|path| is_open_to_all(&path));
    let expected = if open { 200..500 } else { 400..500 };
    assert!(expected.contains(&answer.status), "{}: {} {}", answer.request, answer.status, answer.text());
    answer.status
}

#[tokio::test]
async fn ten_thousand_garbage_requests_get_problems_and_nothing_breaks() {
    const CLIENTS: usize = 32;
    const REQUESTS: usize = 9_000;
    let stack = Stack::shared();
    let unharmed = Unharmed::expect(&stack);
    let apis = stack.apis();
    let client = async |number: usize| {
        let mut random = Rng::with_seed(number as u64);
        let mut refused = 0;
        for round in 0..=REQUESTS / CLIENTS {
            let status = send_garbage(&apis[(number + round) % apis.len()], &mut random).await;
            refused += usize::from(status >= 400);
        }
        refused
    };
    let refused: usize = join_all((0..CLIENTS).map(client)).await.into_iter().sum();
    assert!(refused > REQUESTS * 8 / 10, "{refused} were refused: most of it should be garbage");
    unharmed.verify().await;
}

#[tokio::test]
async fn a_thousand_connections_of_bytes_that_are_no_http_harm_nobody() {
    let stack = Stack::shared();
    let unharmed = Unharmed::expect(&stack);
    let mut random = Rng::with_seed(1);
    let requests: Vec<_> = (0..1_000).map(|_| garbage::bytes_on_the_wire(&mut random)).collect();
    let answered = stream::iter(requests).enumerate().map(|(number, request)| {
        let gateway = stack.gateways[number % 3].address();
        async move {
            let (status, answer) = raw_http::exchange(gateway, &request).await;
            let request = String::from_utf8_lossy(&request).into_owned();
            assert!(status.is_none_or(|status| status < 500 || status == 505), "{request}: {answer}");
            status.is_some()
        }
    });
    let answered =
        answered.buffer_unordered(32).filter(|answered| std::future::ready(*answered)).count().await;
    assert!(answered > 100, "{answered} were answered at all");
    unharmed.verify().await;
}
