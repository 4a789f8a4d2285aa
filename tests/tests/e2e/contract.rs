//! The documented contract: every outcome of every route can be had, and no route answers with one that is not documented.

use http::Method;
use local::process::Signal;
use serde_json::json;
use tests::api::{Answer, Api, Call};
use tests::mail;
use tests::openapi::{Coverage, Outcome};
use tests::person::{Person, SignedIn};
use tests::raw_http;
use tests::stack::{Part, Stack};
use tests::wait;

const REGISTER: &str = "/v1/register";
const LOGIN: &str = "/v1/login";
const LOGOUT: &str = "/v1/logout";
const ME: &str = "/v1/me";
const ACTIVITY: &str = "/v1/me/activity";
const EXPORT: &str = "/v1/me/export";
const PROFILE: &str = "/v1/profile";
const SESSIONS: &str = "/v1/sessions";
const ONE_SESSION: &str = "/v1/sessions/{id}";
const PASSWORD: &str = "/v1/password";
const RESET: &str = "/v1/password-reset";
const RESET_CONFIRM: &str = "/v1/password-reset/confirm";
const EMAIL: &str = "/v1/email-verification";
const EMAIL_CONFIRM: &str = "/v1/email-verification/confirm";
const PUBLIC: &str = "/v1/users/{username}/profile";

/// What a mail could tell, and none did.
const TOKEN: &str = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFA";

/// Which gateway of the stack.
const CALM: usize = 0;
const IMPATIENT: usize = 1;
const STRICT: usize = 2;

/// Three gateways in front of the same services: one as it ships but for its limits, one that waits for nobody, and one whose every
/// quota is a single request.
fn stack() -> Stack {
    let stack = Stack::builder().gateways(3).without_limits();
    let stack = stack
        .env_of(Part::Gateway, CALM, "BODY_TIMEOUT_MS", "300")
        .env_of(Part::Gateway, CALM, "DRAIN_DELAY_MS", "3000")
        .env_of(Part::Gateway, IMPATIENT, "SESSION_TIMEOUT_MS", "100")
        .env_of(Part::Gateway, IMPATIENT, "READ_TIMEOUT_MS", "100")
        .env_of(Part::Gateway, IMPATIENT, "WRITE_TIMEOUT_MS", "200")
        .env_of(Part::Gateway, STRICT, "RATE_LIMITS", "on");
    let own =
        ["LIMIT_LOGIN_IP", "LIMIT_LOGIN_ACCOUNT", "LIMIT_REGISTER_IP", "LIMIT_MAIL_IP", "LIMIT_TOKEN_IP"];
    own.into_iter()
        .chain(["LIMIT_API"])
        .fold(stack, |stack, limit| stack.env_of(Part::Gateway, STRICT, limit, "1/600"))
        .start()
}

/// A request to every route that needs a service, with all that it needs to succeed; the session ends with the last.
fn all_calls(api: &Api, ada: &SignedIn, other_session: &str) -> Vec<(&'static str, u16, Call)> {
    let Person { username, password, .. } = &ada.person;
    let signed_in = |method, path: &str| api.call(method, path).bearer(&ada.token);
    let new_password = json!({"currentPassword": password, "newPassword": format!("{password} again")});
    let credentials = json!({"username": username, "password": password});
    let change = signed_in(Method::PATCH, PROFILE).if_match("*").json(&json!({"bio": "x"}));
    vec![
        (REGISTER, 201, api.post(REGISTER).json(&Person::new().registration())),
        (LOGIN, 200, api.post(LOGIN).json(&credentials)),
        (ME, 200, signed_in(Method::GET, ME)),
        (ACTIVITY, 200, signed_in(Method::GET, ACTIVITY)),
        (EXPORT, 200, signed_in(Method::GET, EXPORT)),
        (PROFILE, 200, signed_in(Method::GET, PROFILE)),
        (PROFILE, 200, change),
        (PUBLIC, 200, api.get(&ada.person.public_profile())),
        (SESSIONS, 200, signed_in(Method::GET, SESSIONS)),
        (ONE_SESSION, 204, signed_in(Method::DELETE, &format!("{SESSIONS}/{other_session}"))),
        (SESSIONS, 204, signed_in(Method::DELETE, SESSIONS)),
        (PASSWORD, 204, signed_in(Method::PUT, PASSWORD).json(&new_password)),
        (RESET, 202, api.post(RESET).json(&json!({"username": username}))),
        (RESET_CONFIRM, 400, api.post(RESET_CONFIRM).json(&json!({"token": TOKEN, "newPassword": password}))),
        (EMAIL, 202, signed_in(Method::POST, EMAIL)),
        (EMAIL_CONFIRM, 400, api.post(EMAIL_CONFIRM).json(&json!({"token": TOKEN}))),
        (LOGOUT, 204, signed_in(Method::POST, LOGOUT)),
    ]
}

/// The one that ends the account.
fn deletion(api: &Api, ada: &SignedIn) -> (&'static str, u16, Call) {
    let password = json!({"password": ada.person.password});
    (ME, 204, api.call(Method::DELETE, ME).bearer(&ada.token).json(&password))
}

/// The same, and the deletion of the account.
fn all_calls_and_the_last(
    api: &Api,
    ada: &SignedIn,
    other_session: &str,
) -> impl Iterator<Item = (&'static str, u16, Call)> {
    all_calls(api, ada, other_session).into_iter().chain([deletion(api, ada)])
}

/// The id of the session that asks.
async fn session_id(api: &Api, ada: &SignedIn) -> String {
    ada.me(api).await.expect(200).json()["session"]["id"].as_str().unwrap_or_default().to_owned()
}

struct Walk {
    stack: Stack,
    coverage: Coverage,
}

impl Walk {
    async fn begin() -> Self {
        let stack = stack();
        let document = stack.api(CALM).get("/openapi.json").await.expect(200).json();
        Self { stack, coverage: Coverage::of(&document) }
    }

    #[track_caller]
    fn saw(&mut self, route: &str, status: u16, answer: Answer) {
        let answer = answer.expect(status);
        self.coverage.saw(route, &answer);
    }

    async fn successes(&mut self) {
        let api = self.stack.api(CALM);
        for path in ["/health", "/livez", "/readyz"] {
            self.saw(path, 200, api.get(path).await);
        }
        let ada = Person::signed_in(&api).await;
        let tag = ada.profile(&api).await.expect(200).expect_header("etag").to_owned();
        let own = api.get(PROFILE).bearer(&ada.token).header("if-none-match", &tag);
        self.saw(PROFILE, 304, own.await);
        let public = api.get(&ada.person.public_profile()).header("if-none-match", &tag);
        self.saw(PUBLIC, 304, public.await);
        let other = session_id(&api, &ada.person.sign_in(&api).await).await;
        for (route, status, call) in all_calls(&api, &ada, &other) {
            self.saw(route, status, call.await);
        }
        self.mailed_tokens().await;
        let (route, status, call) = deletion(&api, &Person::signed_in(&api).await);
        self.saw(route, status, call.await);
    }

    /// What takes a token that was mailed.
    async fn mailed_tokens(&mut self) {
        let api = self.stack.api(CALM);
        let ada = Person::signed_in(&api).await;
        let verify = || api.post(EMAIL).bearer(&ada.token);
        self.saw(EMAIL, 202, verify().await);
        let mail = mail::newest_to(&self.stack, &ada.person, mail::VERIFICATION).await;
        self.saw(EMAIL_CONFIRM, 204, api.post(EMAIL_CONFIRM).json(&json!({"token": mail.token()})).await);
        self.saw(EMAIL, 409, verify().await);
        self.saw(RESET, 202, api.post(RESET).json(&json!({"email": ada.person.email})).await);
        let mail = mail::newest_to(&self.stack, &ada.person, mail::RESET).await;
        let reset = json!({"token": mail.token(), "newPassword": ada.person.password});
        self.saw(RESET_CONFIRM, 204, api.post(RESET_CONFIRM).json(&reset).await);
    }

    async fn refusals(&mut self) {
        let api = self.stack.api(CALM);
        let ada = Person::signed_in(&api).await;
        self.saw(REGISTER, 409, ada.person.register(&api).await);
        self.saw(LOGIN, 401, Person::new().log_in(&api).await);
        self.saw(PUBLIC, 404, api.get(&Person::new().public_profile()).await);
        let is_for_all =
            |route| matches!(route, REGISTER | LOGIN | PUBLIC | RESET | RESET_CONFIRM | EMAIL_CONFIRM);
        let stranger = SignedIn { token: "made up".to_owned(), ..ada.clone() };
        for (route, _, call) in all_calls_and_the_last(&api, &stranger, "any") {
            if !is_for_all(route) {
                self.saw(route, 401, call.await);
            }
        }
        let from_elsewhere = api.with_header("cookie", &format!("session={}", ada.token));
        for (route, _, call) in all_calls_and_the_last(&from_elsewhere, &ada, "any") {
            if !is_for_all(route) && *call.method() != Method::GET {
                self.saw(route, 403, call.without_bearer().await);
            }
        }
        let once = api.with_header("idempotency-key", "\"once\"");
        Person::new().register(&once).await.expect(201);
        self.saw(REGISTER, 422, Person::new().register(&once).await);
        let delete = |path: &str| api.call(Method::DELETE, path).bearer(&ada.token);
        self.saw(ONE_SESSION, 404, delete("/v1/sessions/any").await);
        self.saw(SESSIONS, 400, delete("/v1/sessions?includeCurrent=perhaps").await);
        self.saw(ACTIVITY, 400, api.get("/v1/me/activity?limit=many").bearer(&ada.token).await);
        let patch = || api.patch(PROFILE).bearer(&ada.token);
        self.saw(PROFILE, 428, patch().json(&json!({"bio": "x"})).await);
        self.saw(PROFILE, 412, patch().if_match("\"other.1\"").json(&json!({"bio": "x"})).await);
        for (route, call) in [
            (REGISTER, api.post(REGISTER)),
            (LOGIN, api.post(LOGIN)),
            (PROFILE, patch().if_match("*")),
            (PASSWORD, api.call(Method::PUT, PASSWORD).bearer(&ada.token)),
            (ME, api.call(Method::DELETE, ME).bearer(&ada.token)),
            (RESET, api.post(RESET)),
            (RESET_CONFIRM, api.post(RESET_CONFIRM)),
            (EMAIL_CONFIRM, api.post(EMAIL_CONFIRM)),
        ] {
            self.saw(route, 400, call.clone().json(&json!([])).await);
            self.saw(route, 413, call.clone().body("application/json", vec![b' '; 70_000]).await);
            self.saw(route, 415, call.body("text/plain", "{}").await);
        }
    }

    /// 408: the body stops in the middle.
    async fn stalled_bodies(&mut self) {
        let api = self.stack.api(CALM);
        let ada = Person::signed_in(&api).await;
        for (method, route) in [
            ("POST", REGISTER),
            ("POST", LOGIN),
            ("PATCH", PROFILE),
            ("PUT", PASSWORD),
            ("DELETE", ME),
            ("POST", RESET),
            ("POST", RESET_CONFIRM),
            ("POST", EMAIL_CONFIRM),
        ] {
            let request = format!(
                "{method} {route} HTTP/1.1\r\nhost: a\r\nconnection: close\r\nauthorization: Bearer {}\r\nif-match: *\r\n\
                 content-type: application/json\r\ncontent-length: 9\r\n\r\n{{",
                ada.token
            );
            let (status, text) = raw_http::exchange_unfinished(api.gateway(), request.as_bytes()).await;
            assert_eq!(status, Some(408), "{method} {route}: {text}");
            self.coverage.saw_status(method, route, 408);
        }
    }

    /// 429: every quota is used up.
    async fn limits(&mut self) {
        let (calm, api) = (self.stack.api(CALM), self.stack.api(STRICT));
        let ada = Person::signed_in(&calm).await;
        Person::new().register(&api).await.expect(201);
        Person::new().log_in(&api).await.expect(401);
        api.post(RESET).json(&json!({"username": Person::new().username})).await.expect(202);
        api.post(EMAIL_CONFIRM).json(&json!({"token": TOKEN})).await.expect(400);
        ada.me(&api).await.expect(200);
        api.get(&ada.person.public_profile()).await.expect(200);
        for (route, _, call) in all_calls_and_the_last(&api, &ada, "any") {
            if route != LOGOUT {
                self.saw(route, 429, call.await);
            }
        }
        self.saw(LOGOUT, 429, api.post(LOGOUT).bearer("made up").await);
        // Whoever may ask no more may still leave.
        ada.log_out(&api).await.expect(204);
    }

    /// 504: what the services wait for does not come in time.
    async fn slow_dependencies(&mut self) {
        let (calm, api) = (self.stack.api(CALM), self.stack.api(IMPATIENT));
        let ada = Person::signed_in(&calm).await.noted(&calm).await;
        self.stack.cache.flush().await;
        let mut locks = Vec::new();
        for (database, table) in [
            (&self.stack.auth_database, "users"),
            (&self.stack.auth_database, "mail_requests"),
            (&self.stack.profile_database, "profiles"),
        ] {
            locks.push(database.lock(table).await);
        }
        for (route, _, call) in all_calls_and_the_last(&api, &ada, "any") {
            // A store that is known to be away is told as such, with 503; so it is away anew for each.
            self.stack.state.pause().await;
            let answer = call.await;
            self.stack.state.resume().await;
            self.saw(route, 504, answer);
            let back = async || {
                let answer = calm.get(SESSIONS).bearer(&ada.token).await;
                // The logout may have been carried out after all.
                matches!(answer.status, 200 | 401)
            };
            wait::until_true("the session store is back", back).await;
        }
        drop(locks);
    }

    /// 503: nobody is there.
    async fn outages(&mut self) {
        let api = self.stack.api(CALM);
        let ada = Person::signed_in(&api).await;
        self.stack.auths[0].stop().await;
        self.stack.profiles[0].stop().await;
        for (route, _, call) in all_calls_and_the_last(&api, &ada, "any") {
            self.saw(route, 503, call.await);
        }
        self.stack.gateways[CALM].signal(Signal::Terminate);
        let readiness = async || {
            let answer = api.get("/readyz").await;
            (answer.status == 503).then_some(answer)
        };
        let answer = wait::until("the gateway drains", readiness).await;
        self.saw("/readyz", 503, answer);
    }
}

#[tokio::test]
async fn every_documented_outcome_of_every_route_happens_and_no_other() {
    let mut walk = Walk::begin().await;
    walk.successes().await;
    walk.refusals().await;
    walk.stalled_bodies().await;
    walk.limits().await;
    walk.slow_dependencies().await;
    walk.outages().await;
    // A bug cannot be had on demand.
    let is_bug = |outcome: &&Outcome| outcome.2 == 500;
    let unseen: Vec<_> = walk.coverage.unseen().into_iter().filter(|outcome| !is_bug(outcome)).collect();
    assert_eq!(unseen, Vec::<&Outcome>::new(), "documented, but never seen");
}
