//! What people prove by mail: that an account is theirs, or an address. The mails go over SMTP, and the tokens come out of them.

use futures_util::future::join_all;
use http::Method;
use serde_json::{Value, json};
use tests::api::{Answer, Api};
use tests::mail::{Mail, RESET, VERIFICATION};
use tests::person::{Person, SignedIn};
use tests::smtp::{Away, Behaviour, Smtp};
use tests::stack::{Part, Stack};
use tests::wait;

/// Three gateways and two of auth-svc, which send to a mail server of the test's own.
fn stack(mail_url: &str) -> Stack {
    Stack::builder().gateways(3).auths(2).without_limits().env(Part::Auth, "MAIL_URL", mail_url).start()
}

async fn ask(api: &Api, named: &Value) -> Answer {
    api.post("/v1/password-reset").json(named).await
}

async fn confirm(api: &Api, token: &str, new: &str) -> Answer {
    let body = json!({"token": token, "newPassword": new});
    let confirmed = async || api.post("/v1/password-reset/confirm").json(&body).await.unless_full();
    wait::until("the hash pool has room", confirmed).await
}

async fn verify(api: &Api, token: &str) -> Answer {
    api.post("/v1/email-verification/confirm").json(&json!({"token": token})).await
}

fn mails_to(smtp: &Smtp, to: &Person, subject: &str) -> Vec<Mail> {
    smtp.mails().into_iter().filter(|mail| mail.is(to, subject)).collect()
}

async fn is_verified(api: &Api, ada: &SignedIn) -> bool {
    ada.me(api).await.expect(200).json()["emailVerified"] == true
}

/// Waits until nothing is left to be sent; how many mails have arrived then.
async fn settled(stack: &Stack, smtp: &Smtp, to: &Person, subject: &str) -> Vec<Mail> {
    let database = &stack.auth_database;
    let nothing_waits = async || database.count("mail_requests").await + database.count("mails").await == 0;
    wait::until_true("all mails are sent", nothing_waits).await;
    mails_to(smtp, to, subject)
}

async fn reset_token(stack: &Stack, smtp: &Smtp, ada: &Person) -> String {
    let before = settled(stack, smtp, ada, RESET).await.len();
    ask(&stack.api(0), &json!({"username": ada.username})).await.expect(202);
    let mails = settled(stack, smtp, ada, RESET).await;
    assert_eq!(mails.len(), before + 1, "one mail a request");
    mails[before].token().to_owned()
}

#[tokio::test]
async fn after_a_reset_no_gateway_accepts_an_older_session_or_the_old_password() {
    let smtp = Smtp::start();
    let stack = stack(&smtp.url());
    let apis = stack.apis();
    let ada = Person::registered(&apis[0]).await;
    let sessions = join_all((0..6).map(|number| ada.sign_in(&apis[number % 3]))).await;
    let token = reset_token(&stack, &smtp, &ada).await;
    confirm(&apis[1], &token, "short").await.expect_problem(400, "INVALID_FIELD");
    for session in &sessions {
        session.me(&apis[2]).await.expect(200);
    }

    let new = Person { password: "an even better passphrase".to_owned(), ..ada.clone() };
    confirm(&apis[1], &token, &new.password).await.expect(204);
    let accepted = sessions.iter().flat_map(|session| apis.iter().map(move |api| session.me(api)));
    for answer in join_all(accepted).await {
        answer.expect_problem(401, "SESSION_INVALID");
    }
    for api in &apis {
        ada.log_in(api).await.expect_problem(401, "INVALID_CREDENTIALS");
    }
    let session = new.sign_in(&apis[2]).await;
    assert!(is_verified(&apis[0], &session).await, "the mail has reached its address");
    for api in &apis {
        confirm(api, &token, &ada.password).await.expect_problem(400, "TOKEN_INVALID");
    }
    let activity = apis[0].get("/v1/me/activity").bearer(&session.token).await.expect(200).json();
    let events: Vec<_> = activity["activity"].as_array().unwrap().iter().map(|it| &it["event"]).collect();
    assert!(
        events.contains(&&json!("PASSWORD_RESET")) && events.contains(&&json!("PASSWORD_RESET_REQUESTED"))
    );
}

#[tokio::test]
async fn a_token_that_fifty_bring_at_once_is_good_for_one() {
    let smtp = Smtp::start();
    let stack = stack(&smtp.url());
    let apis = stack.apis();
    let ada = Person::registered(&apis[0]).await;
    let token = reset_token(&stack, &smtp, &ada).await;
    let people: Vec<_> = (0..50)
        .map(|number| Person { password: format!("passphrase number {number:02}"), ..ada.clone() })
        .collect();
    let confirmed = people.iter().zip(apis.iter().cycle());
    let answers = join_all(confirmed.map(|(new, api)| confirm(api, &token, &new.password))).await;
    let winners: Vec<_> = people.iter().zip(&answers).filter(|(_, answer)| answer.status == 204).collect();
    assert_eq!(winners.len(), 1);
    for answer in answers.iter().filter(|answer| answer.status != 204) {
        answer.clone().expect_problem(400, "TOKEN_INVALID");
    }
    winners[0].0.sign_in(&apis[0]).await;
}

#[tokio::test]
async fn the_answer_does_not_tell_whether_there_is_such_an_account() {
    let smtp = Smtp::start();
    let stack = Stack::builder().env(Part::Auth, "MAIL_URL", smtp.url()).start();
    let api = stack.api(0);
    let (ada, nobody) = (Person::registered(&api).await, Person::new());
    let shape = |answer: &Answer| {
        let mut names: Vec<_> = answer.headers.keys().map(ToString::to_string).collect();
        names.sort();
        let limit = answer.expect_header("ratelimit-policy").to_owned();
        (answer.status, names, limit, answer.body.clone())
    };
    let known = ask(&api, &json!({"username": ada.username})).await.expect(202);
    for named in
        [json!({"username": nobody.username}), json!({"email": nobody.email}), json!({"email": ada.email})]
    {
        assert_eq!(shape(&ask(&api, &named).await), shape(&known), "{named}");
    }
    // Both are refused after the same number of requests.
    for person in [&ada, &nobody] {
        let mut answers = Vec::new();
        for _ in 0..6 {
            answers.push(ask(&api, &json!({"username": person.username})).await.status);
        }
        assert_eq!(answers, [202, 202, 202, 202, 429, 429]);
    }
    settled(&stack, &smtp, &ada, RESET).await;
    assert!(smtp.mails().iter().all(|mail| mail.header("To") == ada.email), "nobody else got a mail");
}

#[tokio::test]
async fn mails_wait_while_the_mail_server_is_away_and_the_last_token_is_good() {
    let away = Away::new();
    let stack = stack(&away.url());
    let api = stack.api(0);
    let ada = Person::registered(&api).await;
    for _ in 0..3 {
        ask(&api, &json!({"email": ada.email})).await.expect(202);
    }
    let tried = async || stack.auth_database.count("mails WHERE attempts > 0").await == 2;
    wait::until_true("both mails were tried in vain", tried).await;

    let smtp = away.come();
    let resets = settled(&stack, &smtp, &ada, RESET).await;
    assert_eq!(
        (resets.len(), mails_to(&smtp, &ada, VERIFICATION).len()),
        (1, 1),
        "one for all three requests"
    );
    confirm(&api, resets[0].token(), &ada.password).await.expect(204);
}

#[tokio::test]
async fn a_mail_server_that_refuses_hangs_or_puts_off_is_dealt_with() {
    let smtp = Smtp::start();
    let stack = stack(&smtp.url());
    let api = stack.api(0);
    smtp.behave(Behaviour::PutOff);
    let ada = Person::signed_in(&api).await;
    let tried = async || stack.auth_database.count("mails WHERE attempts > 0").await == 1;
    wait::until_true("the mail was put off", tried).await;
    smtp.behave(Behaviour::Take);
    let mails = settled(&stack, &smtp, &ada.person, VERIFICATION).await;
    assert_eq!(mails.len(), 1);

    // Nobody can tell whether such a mail has arrived: it is sent again, and the second token is good.
    smtp.behave(Behaviour::TakeInSilence);
    ask(&api, &json!({"username": ada.person.username})).await.expect(202);
    let first = async || mails_to(&smtp, &ada.person, RESET).pop();
    let first = wait::until("the mail is taken", first).await;
    smtp.behave(Behaviour::Take);
    let mails = settled(&stack, &smtp, &ada.person, RESET).await;
    let last = mails.last().unwrap();
    assert_ne!(first.token(), last.token());
    assert_ne!(first.header("Message-ID"), last.header("Message-ID"));
    confirm(&api, first.token(), &ada.person.password).await.expect_problem(400, "TOKEN_INVALID");
    confirm(&api, last.token(), &ada.person.password).await.expect(204);

    smtp.behave(Behaviour::Refuse);
    let bob = Person::registered(&api).await;
    assert!(settled(&stack, &smtp, &bob, VERIFICATION).await.is_empty(), "it is not tried again");
    // A process that ends does not wait for a mail server that says nothing.
    smtp.behave(Behaviour::Hang);
    let carol = Person::registered(&api).await;
    wait::until_true("the mail is on its way", tried).await;
    for auth in &stack.auths {
        auth.restart().await;
    }
    smtp.behave(Behaviour::Take);
    assert_eq!(settled(&stack, &smtp, &carol, VERIFICATION).await.len(), 1);
    for (name, lines) in stack.logs() {
        let tells = |line: &String| line.contains(&bob.email) || line.contains(first.token());
        assert!(!lines.iter().any(tells), "{name} tells an address or a token");
    }
}

#[tokio::test]
async fn every_request_is_one_mail_however_many_replicas_send() {
    let smtp = Smtp::start();
    let stack = Stack::builder()
        .gateways(2)
        .auths(3)
        .without_limits()
        .env(Part::Auth, "MAIL_URL", smtp.url())
        .start();
    let apis = stack.apis();
    let people = join_all((0..20).map(|number| Person::registered(&apis[number % 2]))).await;
    for person in &people {
        assert_eq!(settled(&stack, &smtp, person, VERIFICATION).await.len(), 1);
    }
    let asked = people.iter().enumerate().map(async |(number, person)| {
        ask(&apis[number % 2], &json!({"email": person.email.to_uppercase()})).await.expect(202);
    });
    join_all(asked).await;
    for person in &people {
        assert_eq!(settled(&stack, &smtp, person, RESET).await.len(), 1);
    }
}

#[tokio::test]
async fn expired_and_overtaken_tokens_are_worthless() {
    let smtp = Smtp::start();
    let stack = stack(&smtp.url());
    let api = stack.api(0);
    let ada = Person::signed_in(&api).await;
    let password = &ada.person.password;
    let expired = reset_token(&stack, &smtp, &ada.person).await;
    stack.auth_database.execute("UPDATE mail_tokens SET expires_at = now() - interval '1 second'").await;
    confirm(&api, &expired, password).await.expect_problem(400, "TOKEN_INVALID");

    let older = reset_token(&stack, &smtp, &ada.person).await;
    let newer = reset_token(&stack, &smtp, &ada.person).await;
    confirm(&api, &older, password).await.expect_problem(400, "TOKEN_INVALID");
    let change = json!({"currentPassword": password, "newPassword": "an even better passphrase"});
    let change =
        async || api.call(Method::PUT, "/v1/password").bearer(&ada.token).json(&change).await.unless_full();
    wait::until("the hash pool has room", change).await.expect(204);
    confirm(&api, &newer, password).await.expect_problem(400, "TOKEN_INVALID");
    ada.me(&api).await.expect(200);
}

#[tokio::test]
async fn an_address_is_verified_on_every_gateway_at_once() {
    let smtp = Smtp::start();
    let stack = stack(&smtp.url());
    let apis = stack.apis();
    let ada = Person::signed_in(&apis[0]).await;
    for api in &apis {
        assert!(!is_verified(api, &ada).await, "and the cache knows it now");
    }
    let mails = settled(&stack, &smtp, &ada.person, VERIFICATION).await;
    verify(&apis[1], mails[0].token()).await.expect(204);
    for api in &apis {
        assert!(is_verified(api, &ada).await);
        verify(api, mails[0].token()).await.expect_problem(400, "TOKEN_INVALID");
    }
    let again = apis[0].post("/v1/email-verification").bearer(&ada.token).await;
    again.expect_problem(409, "EMAIL_VERIFIED");
}

#[tokio::test]
async fn without_a_mail_server_it_is_told_that_no_mail_can_be_sent() {
    let stack = Stack::builder().without_mail().start();
    let api = stack.api(0);
    let ada = Person::signed_in(&api).await;
    ask(&api, &json!({"username": ada.person.username})).await.expect_problem(503, "MAIL_NOT_CONFIGURED");
    let verification = api.post("/v1/email-verification").bearer(&ada.token).await;
    verification.expect_problem(503, "MAIL_NOT_CONFIGURED");
    assert_eq!(stack.auth_database.count("mails").await, 0);
}
