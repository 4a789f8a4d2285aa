//! What happens to an account is on record with where it came from, and whoever changes the record is found out.

use http::Method;
use serde_json::{Value, json};
use tests::api::Api;
use tests::binary::{Run, run};
use tests::person::{Person, SignedIn};
use tests::stack::{Part, Stack};
use tests::wait;

const HOME: &str = "198.51.100.7";
const OFFICE: &str = "2001:db8::7";

/// The whole activity, the newest first, once there are so many entries: what failed is told behind its answer.
async fn activity(api: &Api, ada: &SignedIn, entries: usize) -> Vec<Value> {
    wait::until("everything is on record", async || {
        let answer = api.get("/v1/me/activity").bearer(&ada.token).await.expect(200).json();
        let activity = answer["activity"].as_array().cloned().unwrap_or_default();
        assert!(activity.len() <= entries, "{activity:?}");
        (activity.len() == entries).then_some(activity)
    })
    .await
}

fn names(activity: &[Value]) -> Vec<&str> {
    activity.iter().filter_map(|entry| entry["event"].as_str()).collect()
}

/// The real program, as an operator runs it beside the service.
fn auth_svc(stack: &Stack, arguments: &[&str]) -> Run {
    run(Part::Auth, arguments, &[("DATABASE_URL", stack.auth_database.url())])
}

#[track_caller]
fn assert_intact(stack: &Stack, arguments: &[&str]) {
    let run = auth_svc(stack, &[&["audit", "verify"], arguments].concat());
    assert_eq!(run.code, Some(0), "{run:?}");
    assert!(
        run.stdout.starts_with("the audit trail is intact: ") && run.stdout.lines().count() == 1,
        "{run:?}"
    );
}

#[track_caller]
fn assert_broken(stack: &Stack, arguments: &[&str], what: &str) {
    let run = auth_svc(stack, &[&["audit", "verify"], arguments].concat());
    assert_eq!((run.code, run.stdout.as_str()), (Some(1), ""), "{run:?}");
    assert!(run.stderr.contains(what) && run.stderr.lines().count() == 1, "{run:?}");
}

async fn column(stack: &Stack, query: &'static str) -> Vec<String> {
    let rows =
        sqlx::query_scalar::<_, String>(query).fetch_all(&mut stack.auth_database.connect().await).await;
    rows.unwrap_or_else(|error| panic!("{query}: {error}"))
}

#[tokio::test]
async fn the_life_of_an_account_is_on_record_and_a_change_of_the_record_is_found() {
    let stack = Stack::builder().gateways(2).auths(2).without_limits().behind_a_trusted_proxy().start();
    let home = stack.api(0).from_address(HOME).with_header("user-agent", "a browser");
    let office = stack.api(1).from_address(OFFICE).with_header("user-agent", "another");

    let person = Person::registered(&home).await;
    let first = person.sign_in(&home).await;
    let wrong = json!({"username": person.username, "password": "not the password"});
    let guess = async || office.post("/v1/login").json(&wrong).await.unless_full();
    wait::until("the hash pool has room", guess).await.expect(401);
    activity(&home, &first, 3).await;
    let second = person.sign_in(&office).await;
    let third = person.sign_in(&office).await;
    let third_id = third.me(&home).await.expect(200).json()["session"]["id"].clone();
    let delete = |path: &str| home.call(Method::DELETE, path).bearer(&first.token);
    delete(&format!("/v1/sessions/{}", third_id.as_str().unwrap_or_default())).await.expect(204);
    delete("/v1/sessions").await.expect(204);
    second.me(&office).await.expect(401);
    let change = async |current: &str| {
        let body = json!({"currentPassword": current, "newPassword": "an even better passphrase"});
        let change = async || {
            home.call(Method::PUT, "/v1/password").bearer(&first.token).json(&body).await.unless_full()
        };
        wait::until("the hash pool has room", change).await
    };
    change("not the password").await.expect(403);
    activity(&home, &first, 8).await;
    change(&person.password).await.expect(204);
    first.log_out(&home).await.expect(204);
    let ada = Person { password: "an even better passphrase".to_owned(), ..person.clone() };
    let ada = ada.sign_in(&office).await;

    let told = activity(&office, &ada, 11).await;
    let expected = [
        ("LOGGED_IN", OFFICE),
        ("LOGGED_OUT", HOME),
        ("PASSWORD_CHANGED", HOME),
        ("PASSWORD_CHANGE_REFUSED", HOME),
        ("OTHER_SESSIONS_ENDED", HOME),
        ("SESSION_ENDED", HOME),
        ("LOGGED_IN", OFFICE),
        ("LOGGED_IN", OFFICE),
        ("LOGIN_FAILED", OFFICE),
        ("LOGGED_IN", HOME),
        ("REGISTERED", HOME),
    ];
    assert_eq!(names(&told), expected.map(|(name, _)| name));
    for (entry, (_, address)) in told.iter().zip(expected) {
        let user_agent = if address == HOME { "a browser" } else { "another" };
        assert_eq!(
            (&entry["address"], &entry["userAgent"]),
            (&json!(address), &json!(user_agent)),
            "{entry}"
        );
    }
    assert_eq!(told[5]["sessionId"], third_id);
    assert_eq!(told[1]["sessionId"], told[9]["sessionId"], "the first session, from its login to its logout");
    let stranger = Person::signed_in(&home).await;
    assert_eq!(names(&activity(&home, &stranger, 2).await), ["LOGGED_IN", "REGISTERED"]);

    let rows = column(&stack, "SELECT to_jsonb(audit_log)::text FROM audit_log").await.concat();
    for secret in [&person.username, &person.email, &person.password, &ada.token, &first.token] {
        assert!(!rows.contains(secret.as_str()), "{secret} is in {rows}");
    }

    assert_intact(&stack, &[]);
    let head = auth_svc(&stack, &["audit", "head"]).stdout;
    assert_intact(&stack, &["--head", head.trim()]);
    stack
        .auth_database
        .execute("UPDATE audit_log SET address = '192.0.2.1' WHERE event = 'LOGIN_FAILED'")
        .await;
    let number = told[8]["id"].as_str().unwrap_or_default();
    assert_broken(&stack, &[], &format!("the personal fields of entry {number} were changed"));
    stack
        .auth_database
        .execute(&format!("UPDATE audit_log SET address = '{OFFICE}' WHERE event = 'LOGIN_FAILED'"))
        .await;
    assert_intact(&stack, &[]);
    stack
        .auth_database
        .execute(
            "DELETE FROM audit_log WHERE seq > 3;
             UPDATE audit_head SET (seq, hash) = (SELECT seq, hash FROM audit_log WHERE seq = 3)",
        )
        .await;
    assert_intact(&stack, &[]);
    assert_broken(&stack, &["--head", head.trim()], "it was cut off");
}

#[tokio::test]
async fn sessions_end_without_the_database_and_that_is_on_record_once_it_is_back() {
    let stack = Stack::builder().auths(2).without_limits().own_auth_postgres().start();
    let api = stack.api(0);
    let people =
        [Person::signed_in(&api).await, Person::signed_in(&api).await, Person::signed_in(&api).await];
    stack.auth_database.server().kill().await;
    for person in &people {
        person.log_out(&api).await.expect(204);
        person.me(&api).await.expect(401);
    }
    stack.auth_database.server().start().await;
    let recorded = "SELECT event FROM audit_log WHERE event = 'LOGGED_OUT'";
    wait::until_true("the logouts are on record", async || {
        column(&stack, recorded).await.len() == people.len()
    })
    .await;
    assert_intact(&stack, &[]);
}

#[tokio::test]
async fn what_failed_a_moment_ago_is_on_record_when_a_replica_ends() {
    const GUESSES: usize = 5;
    let stack = Stack::builder().without_limits().start();
    let api = stack.api(0);
    for _ in 0..GUESSES {
        Person::new().log_in(&api).await.expect(401);
    }
    stack.auths[0].stop().await;
    let recorded = "SELECT event FROM audit_log WHERE user_id IS NULL AND address = '127.0.0.1'";
    assert_eq!(column(&stack, recorded).await, ["LOGIN_FAILED"; GUESSES]);
    assert_intact(&stack, &[]);
}

#[tokio::test]
async fn a_trail_that_cannot_be_read_is_not_called_broken() {
    let nowhere = [("DATABASE_URL", "postgres://nobody@127.0.0.1:9/none")];
    let run = run(Part::Auth, &["audit", "verify"], &nowhere);
    assert_eq!((run.code, run.stdout.as_str()), (Some(1), ""), "{run:?}");
    assert!(run.stderr.contains("could not be read"), "{run:?}");
}
