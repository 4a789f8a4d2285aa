//! A registration with an `Idempotency-Key` is carried out once, however often it is sent and whoever dies.

use futures_util::future::join_all;
use tests::api::{Answer, Api, Call};
use tests::load::by_status;
use tests::person::Person;
use tests::stack::{Builder, Part, Stack};
use tests::wait;

const REPETITIONS: usize = 50;

/// Three gateways and three auth-svc, none of which gives up because the machine is slow.
fn patient() -> Builder {
    let stack = Stack::builder().gateways(3).auths(3).without_limits();
    let stack = stack.env(Part::Auth, "HASH_DEADLINE_MS", "60000");
    let stack = stack.env(Part::Gateway, "WRITE_TIMEOUT_MS", "60000");
    stack.env(Part::Gateway, "REQUEST_TIMEOUT_MS", "60000")
}

fn register(api: &Api, person: &Person, key: &str) -> Call {
    api.post("/v1/register").header("idempotency-key", format!("\"{key}\"")).json(&person.registration())
}

async fn users(stack: &Stack) -> i64 {
    let mut connection = stack.auth_database.connect().await;
    let count = sqlx::query_scalar("SELECT count(*) FROM users").fetch_one(&mut connection).await;
    count.expect("a count")
}

/// Sends it until it is not answered with an outage, as fifty at once may be on a busy machine.
async fn until_answered(api: &Api, person: &Person, key: &str) -> Answer {
    wait::until("the request is answered", async || {
        let answer = register(api, person, key).await;
        (answer.status != 503).then_some(answer)
    })
    .await
}

/// Sends it until it no longer is in progress.
async fn until_done(api: &Api, person: &Person, key: &str) -> Answer {
    wait::until("the request is no longer in progress", async || {
        let answer = register(api, person, key).await;
        (answer.status != 409 && answer.status != 503).then_some(answer)
    })
    .await
}

#[tokio::test]
async fn of_fifty_identical_registrations_one_makes_the_user_and_all_are_told_the_same() {
    let stack = patient().start();
    let (apis, ada) = (stack.apis(), Person::new());
    let answers = (0..REPETITIONS).map(|number| until_answered(&apis[number % 3], &ada, "k"));
    let answers = join_all(answers).await;
    let (done, conflicts): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 201);
    for conflict in &conflicts {
        (*conflict).clone().expect_problem(409, "IDEMPOTENCY_KEY_IN_USE");
        conflict.expect_header("retry-after");
    }
    let first: Vec<_> =
        done.iter().filter(|answer| answer.header("idempotency-replayed").is_none()).collect();
    assert_eq!(first.len(), 1, "{:?}", by_status(&answers));
    for api in &apis {
        let answer = register(api, &ada, "k").await.expect(201);
        assert_eq!(answer.expect_header("idempotency-replayed"), "true");
        assert_eq!(answer.body, first[0].body);
    }
    assert!(done.iter().all(|answer| answer.body == first[0].body));
    assert_eq!(users(&stack).await, 1);

    let bob = Person { username: Person::new().username, ..ada.clone() };
    register(&apis[0], &bob, "k").await.expect_problem(422, "IDEMPOTENCY_KEY_REUSED");
    let other_password = Person { password: Person::new().password, ..ada.clone() };
    register(&apis[1], &other_password, "k").await.expect_problem(422, "IDEMPOTENCY_KEY_REUSED");
    ada.sign_in(&apis[2]).await;
}

#[tokio::test]
async fn a_key_whose_replica_was_killed_works_later() {
    let stack = patient().start();
    let (api, ada) = (stack.api(0), Person::new());
    // Nobody can be added to the table of users, where the first attempt waits until it is killed.
    let mut locked = stack.auth_database.connect().await;
    let lock = "BEGIN; LOCK TABLE users IN SHARE MODE";
    sqlx::raw_sql(lock).execute(&mut locked).await.expect("a lock");
    let mut connection = stack.auth_database.connect().await;
    let killed = async {
        wait::until_true("an attempt has begun", async || {
            let begun = "SELECT EXISTS (SELECT FROM registration_keys WHERE user_id IS NULL)";
            sqlx::query_scalar(begun).fetch_one(&mut connection).await.expect("an answer")
        })
        .await;
        join_all(stack.auths.iter().map(tests::controlled::Controlled::kill)).await;
    };
    let (answer, ()) = tokio::join!(register(&api, &ada, "k"), killed);
    assert_eq!(answer.status, 503, "{}", answer.text());
    // What a dead client has asked for is not done after all.
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
               WHERE datname = current_database() AND application_name = 'auth-svc'; ROLLBACK";
    sqlx::raw_sql(end).execute(&mut locked).await.expect("unlocked");
    let begun: i64 = sqlx::query_scalar("SELECT count(*) FROM registration_keys")
        .fetch_one(&mut connection)
        .await
        .expect("a count");
    assert_eq!((users(&stack).await, begun), (0, 1), "it died in the middle");

    // Other replicas than the one that died, and one attempt among many takes it over.
    join_all(stack.auths.iter().map(tests::controlled::Controlled::start)).await;
    wait::until_true("auth-svc is back", async || register(&api, &ada, "k").await.status != 503).await;
    let apis = stack.apis();
    let answers = join_all((0..REPETITIONS / 5).map(|number| until_done(&apis[number % 3], &ada, "k"))).await;
    let (first, rest) = answers.split_first().expect("answers");
    assert!(rest.iter().all(|answer| answer.status == 201 && answer.body == first.body));
    assert_eq!(users(&stack).await, 1);
    ada.sign_in(&api).await;
}

#[tokio::test]
async fn a_registration_that_failed_can_be_corrected_under_the_same_key() {
    let stack = Stack::shared();
    let api = stack.api(0);
    let (taken, ada) = (Person::registered(&api).await, Person::new());
    let key = ada.username.as_str();
    let name_of_another = Person { username: taken.username, ..ada.clone() };
    register(&api, &name_of_another, key).await.expect_problem(409, "USERNAME_TAKEN");
    let short = Person { password: "short".to_owned(), ..ada.clone() };
    register(&api, &short, key).await.expect_problem(400, "INVALID_FIELD");
    let answer =
        wait::until("the hash pool has room", async || register(&api, &ada, key).await.unless_full());
    assert_eq!(answer.await.expect(201).header("idempotency-replayed"), None);
}
