//! Limits are one for all gateways, and exact: as many requests pass as the policy says, and not one more.

use serde_json::json;
use tests::api::Answer;
use tests::load::{at_once, by_status};
use tests::metrics::Metrics;
use tests::person::Person;
use tests::rate_limit::limit;
use tests::stack::{Builder, Part, Stack};

/// Many more than any quota here.
const REQUESTS: usize = 75;

/// Three gateways and two of each service, and a test that can be many clients. The windows are long enough for the test to stay
/// within one.
fn limited(quotas: &[(&'static str, &str)]) -> Stack {
    let stack = Stack::builder().gateways(3).auths(2).profiles(2).behind_a_trusted_proxy();
    let with = |stack: Builder, (name, quota): &(&'static str, &str)| stack.env(Part::Gateway, name, *quota);
    quotas.iter().fold(stack, with).start()
}

/// Exactly the quota passed with `status`, the others were refused over `policy`.
#[track_caller]
fn assert_exact(answers: &[Answer], quota: usize, status: u16, policy: &str) {
    assert_eq!(by_status(answers), [(status, quota), (429, REQUESTS - quota)].into(), "{policy}");
    for answer in answers.iter().filter(|answer| answer.status == 429) {
        let document = answer.clone().expect_problem(429, "RATE_LIMITED");
        assert_eq!(document["violated-policies"], json!([policy]));
        let limit = limit(answer, policy);
        assert_eq!((limit.quota, limit.remaining, limit.window_seconds), (quota as u64, 0, 600));
        let retry_after = answer.expect_header("retry-after").parse::<u64>();
        assert!(retry_after.is_ok_and(|seconds| seconds >= limit.resets_in_seconds), "{limit:?}");
    }
}

/// Logins that auth-svc was asked for.
async fn logins_tried(stack: &Stack) -> f64 {
    let mut tried = 0.0;
    for auth in &stack.auths {
        let metrics = Metrics::of(auth).await;
        let labels = [("rpc_method", "sallyport.auth.v1.AuthService/Login")];
        tried += metrics.total("rpc_server_call_duration_seconds_count", &labels);
    }
    tried
}

#[tokio::test]
async fn exactly_the_quota_of_failed_logins_passes_per_address_and_no_hash_is_paid_for_the_rest() {
    let stack = limited(&[("LIMIT_LOGIN_IP", "12/600"), ("LIMIT_LOGIN_ACCOUNT", "1000/600")]);
    let apis = stack.apis().into_iter().map(|api| api.from_address("192.0.2.7")).collect::<Vec<_>>();
    let guess = |number: usize| apis[number % 3].post("/v1/login").json(&Person::new().credentials());
    let answers = at_once((0..REQUESTS).map(guess)).await;
    assert_exact(&answers, 12, 401, "login-ip");
    assert!((logins_tried(&stack).await - 12.0).abs() < f64::EPSILON);

    let neighbour = stack.api(0).from_address("192.0.2.8");
    neighbour.post("/v1/login").json(&Person::new().credentials()).await.expect(401);
}

#[tokio::test]
async fn exactly_the_quota_of_failed_logins_passes_per_account_from_however_many_addresses() {
    let stack = limited(&[("LIMIT_LOGIN_IP", "3/600"), ("LIMIT_LOGIN_ACCOUNT", "12/600")]);
    let ada = Person::registered(&stack.api(0)).await;
    let spellings = [ada.username.clone(), ada.username.to_uppercase()];
    let guess = |number: usize| {
        let guess = json!({"username": spellings[number % 2], "password": "not her password at all"});
        let api = stack.api(number % 3).from_address(&format!("198.51.100.{number}"));
        api.post("/v1/login").json(&guess)
    };
    let answers = at_once((0..REQUESTS).map(guess)).await;
    assert_exact(&answers, 12, 401, "login-account");
    assert!((logins_tried(&stack).await - 12.0).abs() < f64::EPSILON);
}

#[tokio::test]
async fn logins_that_succeed_cost_nothing() {
    let stack = limited(&[("LIMIT_LOGIN_IP", "4/600"), ("LIMIT_LOGIN_ACCOUNT", "4/600")]);
    let apis = stack.apis();
    let ada = Person::registered(&apis[0]).await;
    let wrong = json!({"username": ada.username, "password": "not her password at all"});
    for api in &apis {
        api.post("/v1/login").json(&wrong).await.expect(401);
    }
    for number in 0..12 {
        let answer = ada.log_in(&apis[number % 3]).await.expect(200);
        assert_eq!((limit(&answer, "login-ip").remaining, limit(&answer, "login-account").remaining), (1, 1));
    }
    apis[0].post("/v1/login").json(&wrong).await.expect(401);
    apis[1].post("/v1/login").json(&wrong).await.expect(429);
    ada.log_in(&apis[2]).await.expect(429);
}

#[tokio::test]
async fn exactly_the_quota_of_registrations_passes_per_address() {
    let stack = limited(&[("LIMIT_REGISTER_IP", "12/600")]);
    let apis = stack.apis();
    let register = |number: usize| apis[number % 3].post("/v1/register").json(&Person::new().registration());
    let answers = at_once((0..REQUESTS).map(register)).await;
    assert_exact(&answers, 12, 201, "register-ip");
}

#[tokio::test]
async fn exactly_the_quota_of_requests_passes_per_session_and_per_address() {
    let stack = limited(&[("LIMIT_API", "20/600")]);
    let apis = stack.apis();
    let ada = Person::registered(&apis[0]).await;
    let (phone, laptop) = (ada.sign_in(&apis[0]).await, ada.sign_in(&apis[0]).await);

    let read = |number: usize| {
        let path = if number.is_multiple_of(2) { "/v1/me" } else { "/v1/profile" };
        apis[number % 3].get(path).bearer(&phone.token)
    };
    assert_exact(&at_once((0..REQUESTS).map(read)).await, 20, 200, "api");
    let answer = laptop.me(&apis[1]).await.expect(200);
    assert!(
        answer.expect_header("ratelimit").starts_with("\"api\";r=19;"),
        "a session has a quota of its own"
    );

    let read = |number: usize| apis[number % 3].from_address("192.0.2.9").get(&ada.public_profile());
    assert_exact(&at_once((0..REQUESTS).map(read)).await, 20, 200, "api");
    apis[0].from_address("192.0.2.10").get(&ada.public_profile()).await.expect(200);
    // One customer's whole IPv6 network is one client.
    let read = |number: usize| {
        apis[number % 3].from_address(&format!("2001:db8::{number:x}")).get(&ada.public_profile())
    };
    assert_exact(&at_once((0..REQUESTS).map(read)).await, 20, 200, "api");
}

#[tokio::test]
async fn made_up_tokens_open_no_fresh_quota() {
    let stack = limited(&[("LIMIT_API", "20/600")]);
    let apis = stack.apis().into_iter().map(|api| api.from_address("192.0.2.11")).collect::<Vec<_>>();
    let mut token = Person::signed_in(&apis[0]).await.token;
    let guess = |number: usize| {
        // One looks like a token in every way, the other does not.
        token.replace_range(40..64, &format!("{:024}", number / 2));
        let token = if number.is_multiple_of(2) { token.clone() } else { format!("guess {number}") };
        let api = &apis[number % 3];
        let call = if number.is_multiple_of(5) { api.post("/v1/logout") } else { api.get("/v1/me") };
        call.bearer(&token)
    };
    assert_exact(&at_once((0..REQUESTS).map(guess)).await, 20, 401, "api");
}
