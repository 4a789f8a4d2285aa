//! The trail on a real Postgres, each test with a database of its own: what breaks it is found, what has to be possible does not break it.

use std::time::{Duration, Instant};

use chassis::postgres::PostgresUrl;
use sqlx::Row as _;

use super::verify::Fault;
use super::*;
use crate::test_servers::fresh_database;

struct Trail {
    postgres: Postgres,
    url: PostgresUrl,
}

impl Trail {
    async fn new() -> Self {
        let (postgres, _, url) = fresh_database().await;
        Self { postgres, url }
    }

    /// With entries of all shapes about two users; answers the users.
    async fn with_entries() -> (Self, [Uuid; 2]) {
        let trail = Self::new().await;
        let users = [trail.user("ada").await, trail.user("bob").await];
        let session = Some(SessionId([7; 16]));
        for (event, user_id, session) in [
            (Event::Registered, Some(users[0]), None),
            (Event::LoggedIn, Some(users[0]), session),
            (Event::LoginFailed, None, None),
            (Event::Registered, Some(users[1]), None),
            (Event::LoggedIn, Some(users[1]), session),
            (Event::LoggedOut, Some(users[0]), session),
        ] {
            trail.append(&Entry { event, user_id, session, client: client() }).await;
        }
        (trail, users)
    }

    async fn user(&self, name: &str) -> Uuid {
        let id = Uuid::now_v7();
        let insert = "INSERT INTO users (id, username, username_key, password_hash) VALUES ($1, $2, $2, '')";
        let insert = sqlx::query(insert).bind(id).bind(name);
        self.postgres.run("test", async |connection| insert.execute(connection).await).await.unwrap();
        id
    }

    async fn append(&self, entry: &Entry) {
        let appended = self.postgres.run("test", async |connection| Audit::append(connection, entry).await);
        appended.await.unwrap();
    }

    /// What somebody with the database's password does.
    async fn tamper(&self, sql: &str) {
        let sql = sqlx::AssertSqlSafe(sql.to_owned());
        let mut connection = self.url.connect("test").await.unwrap();
        sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
    }

    async fn erase(&self, user_id: Uuid) {
        let erased = self.postgres.run("test", async |connection| {
            let mut transaction = sqlx::Connection::begin(connection).await?;
            sqlx::query("DELETE FROM users WHERE id = $1").bind(user_id).execute(&mut *transaction).await?;
            Audit::erase(&mut transaction, user_id).await?;
            transaction.commit().await
        });
        erased.await.unwrap();
    }

    async fn verify(&self, kept: &[Head]) -> Result<Intact, Fault> {
        verify(&mut self.url.connect("test").await.unwrap(), kept).await.unwrap()
    }

    async fn head(&self) -> Head {
        head(&mut self.url.connect("test").await.unwrap()).await.unwrap().unwrap()
    }

    /// All that the rows hold, as text.
    async fn dump(&self) -> String {
        let rows = sqlx::query("SELECT to_jsonb(audit_log)::text FROM audit_log ORDER BY seq");
        let rows = rows.fetch_all(&mut self.url.connect("test").await.unwrap()).await.unwrap();
        rows.iter().map(|row| row.get::<String, _>(0)).collect()
    }
}

fn client() -> Client {
    Client::new("192.0.2.1", "a br\u{f6}wser")
}

fn failed_login(user_id: Option<Uuid>) -> Entry {
    Entry { event: Event::LoginFailed, user_id, session: None, client: client() }
}

#[tokio::test]
async fn what_the_database_chains_is_what_is_computed_here() {
    let trail = Trail::new().await;
    assert_eq!(trail.verify(&[Head::START]).await, Ok(Intact { head: Head::START, erased: 0 }));
    let mut heads = vec![trail.head().await];
    let user = trail.user("ada").await;
    for (user_id, session, client) in [
        (None, None, Client::default()),
        (Some(user), None, client()),
        (None, Some(SessionId([0; 16])), client()),
        (Some(user), Some(SessionId([255; 16])), Client::new("::1", &"\u{1f980}".repeat(300))),
    ] {
        trail.append(&Entry { event: Event::LoggedIn, user_id, session, client }).await;
        heads.push(trail.head().await);
        let intact = trail.verify(&heads).await.unwrap();
        assert_eq!((intact.head, intact.erased), (*heads.last().unwrap(), 0));
    }
    assert_eq!(heads.last().unwrap().seq, 4);
}

#[tokio::test]
async fn a_change_of_any_column_is_found() {
    use Fault::{Changed, FieldsChanged, HalfErased, Missing};
    for (change, fault) in [
        ("seq = 60", Missing(2)),
        ("seq = -1", Changed(-1)),
        ("at = at + interval '1 microsecond'", Changed(2)),
        ("at = 'infinity'", Changed(2)),
        ("event = 'LOGGED_OUT'", Changed(2)),
        ("erased = 1", Changed(2)),
        ("digest = sha256('')", Changed(2)),
        ("hash = sha256('')", Changed(2)),
        ("salt = sha256('')", FieldsChanged(2)),
        ("user_id = gen_random_uuid()", FieldsChanged(2)),
        ("user_id = NULL", FieldsChanged(2)),
        ("session_id = NULL", FieldsChanged(2)),
        ("address = '192.0.2.2'", FieldsChanged(2)),
        ("address = ''", FieldsChanged(2)),
        ("user_agent = NULL", FieldsChanged(2)),
        ("address = user_agent, user_agent = address", FieldsChanged(2)),
        ("salt = NULL", HalfErased(2)),
        ("salt = NULL, user_id = NULL, session_id = NULL, address = NULL", HalfErased(2)),
    ] {
        let (trail, _) = Trail::with_entries().await;
        assert_eq!(trail.verify(&[]).await.unwrap().head.seq, 6);
        trail.tamper(&format!("UPDATE audit_log SET {change} WHERE seq = 2")).await;
        assert_eq!(trail.verify(&[]).await, Err(fault), "{change}");
    }
}

#[tokio::test]
async fn rows_that_go_come_or_trade_places_are_found() {
    use Fault::{BehindHead, Changed, CutOff, HeadChanged, Missing, NoHead};
    let swap = "UPDATE audit_log SET seq = -2 WHERE seq = 2; UPDATE audit_log SET seq = 2 WHERE seq = 3;
                UPDATE audit_log SET seq = 3 WHERE seq = -2";
    let copy = "INSERT INTO audit_log
                SELECT seq + 1, at, event, erased, sha256(digest), hash FROM audit_log WHERE seq = 6";
    for (tampering, fault) in [
        ("DELETE FROM audit_log WHERE seq = 3", Missing(3)),
        ("DELETE FROM audit_log WHERE seq = 1", Missing(1)),
        (swap, Changed(2)),
        (copy, BehindHead(7)),
        ("DELETE FROM audit_log WHERE seq > 4", CutOff { found: 4, expected: 6 }),
        ("DELETE FROM audit_log", CutOff { found: 0, expected: 6 }),
        ("UPDATE audit_head SET seq = 5", BehindHead(6)),
        ("UPDATE audit_head SET hash = sha256('')", HeadChanged),
        ("DELETE FROM audit_head", NoHead),
    ] {
        let (trail, _) = Trail::with_entries().await;
        trail.tamper(tampering).await;
        assert_eq!(trail.verify(&[]).await, Err(fault), "{tampering}");
    }
}

#[tokio::test]
async fn whoever_rewrites_the_end_or_all_of_it_is_found_with_a_head_that_was_kept() {
    let (trail, _) = Trail::with_entries().await;
    let kept = trail.head().await;
    trail
        .tamper(
            "DELETE FROM audit_log WHERE seq > 4;
             UPDATE audit_head SET (seq, hash) = (SELECT seq, hash FROM audit_log WHERE seq = 4)",
        )
        .await;
    assert!(trail.verify(&[]).await.is_ok(), "by itself it is a trail");
    assert_eq!(trail.verify(&[kept]).await, Err(Fault::KeptCutOff { found: 4, kept: 6 }));
    for _ in 0..3 {
        trail.append(&failed_login(None)).await;
    }
    assert!(trail.verify(&[]).await.is_ok());
    assert_eq!(trail.verify(&[Head::START, kept]).await, Err(Fault::KeptDiffers(6)));
    assert!(trail.verify(&[trail.head().await]).await.is_ok());
}

#[tokio::test]
async fn erasing_a_person_leaves_the_chain_whole_and_nothing_of_them() {
    let (trail, [ada, bob]) = Trail::with_entries().await;
    let kept = trail.head().await;
    trail.erase(ada).await;
    // What was on its way when the user went.
    trail
        .append(&Entry {
            event: Event::LoggedOut,
            user_id: Some(ada),
            session: None,
            client: Client::new("198.51.100.7", "x"),
        })
        .await;
    let intact = trail.verify(&[kept]).await.unwrap();
    assert_eq!((intact.head.seq, intact.erased), (8, 4));
    let dump = trail.dump().await;
    assert!(!dump.contains(&ada.to_string()) && !dump.contains("198.51.100.7"), "{dump}");
    assert!(dump.contains(&bob.to_string()) && dump.contains("ACCOUNT_DELETED"), "{dump}");
    let audit = Audit::start(trail.postgres.clone(), &Shutdown::new());
    assert!(audit.of_user(ada, 100, None).await.unwrap().activity.is_empty());
    assert_eq!(audit.of_user(bob, 100, None).await.unwrap().activity.len(), 2);
}

#[tokio::test]
async fn an_erasure_that_nobody_accounts_for_is_found() {
    let (trail, [ada, _]) = Trail::with_entries().await;
    trail.erase(ada).await;
    assert!(trail.verify(&[]).await.is_ok());
    trail
        .tamper(
            "UPDATE audit_log SET salt = NULL, user_id = NULL, session_id = NULL, address = NULL, user_agent = NULL
             WHERE seq = 5",
        )
        .await;
    assert_eq!(trail.verify(&[]).await, Err(Fault::ErasedUnaccounted { rows: 4, accounted: 3 }));
}

#[tokio::test]
async fn entries_from_everywhere_at_once_are_one_chain_without_gaps() {
    const EACH: i64 = 100;
    let trail = Trail::new().await;
    let user = trail.user("ada").await;
    let started = Instant::now();
    let replicas = (0..3).map(async |_| {
        let postgres = Postgres::open(&trail.url, "test", 2);
        for number in 0..EACH {
            let entry = failed_login((number % 2 == 0).then_some(user));
            postgres.run("test", async |connection| Audit::append(connection, &entry).await).await.unwrap();
        }
    });
    futures_util::future::join_all(replicas).await;
    println!(
        "3 writers, one entry a transaction: {:.0} entries/s",
        3.0 * EACH as f64 / started.elapsed().as_secs_f64()
    );
    assert_eq!(trail.verify(&[]).await.unwrap().head.seq, 3 * EACH);
}

#[tokio::test]
async fn what_is_noted_is_written_when_the_note_returns_and_all_of_it_before_the_end() {
    const MANY: i64 = 2000;
    let trail = Trail::new().await;
    let shutdown = Shutdown::new();
    let audits = [0, 1, 2].map(|_| Audit::start(Postgres::open(&trail.url, "test", 2), &shutdown));
    audits[0].note(failed_login(None)).await;
    assert_eq!(trail.head().await.seq, 1);
    let started = Instant::now();
    for audit in audits {
        for _ in 0..MANY {
            audit.note_later(failed_login(None));
        }
    }
    assert!(shutdown.finished(Duration::from_secs(120)).await);
    println!(
        "3 writers, many entries a transaction: {:.0} entries/s",
        3.0 * MANY as f64 / started.elapsed().as_secs_f64()
    );
    assert_eq!(trail.verify(&[]).await.unwrap().head.seq, 1 + 3 * MANY);
}

#[tokio::test]
async fn an_entry_whose_attempts_got_no_answer_is_written_once_with_the_time_of_its_happening() {
    let trail = Trail::new().await;
    let (user, shutdown) = (trail.user("ada").await, Shutdown::new());
    let audit = Audit::start(trail.postgres.clone(), &shutdown);
    // Somebody holds the head: attempts go on at the server after their callers have given up on them.
    let mut holder = trail.url.connect("test").await.unwrap();
    sqlx::raw_sql("BEGIN; SELECT * FROM audit_head FOR UPDATE").execute(&mut holder).await.unwrap();
    let begun = Instant::now();
    audit.note(failed_login(Some(user))).await;
    audit.note(failed_login(Some(user))).await;
    assert_eq!(trail.head().await, Head::START, "the note came back without it");
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
    let mut observer = trail.url.connect("test").await.unwrap();
    // Two attempts at once: the first was given up here and is still at it there.
    while sqlx::query_scalar::<_, i64>(waiting).fetch_one(&mut observer).await.unwrap() < 2 {
        assert!(begun.elapsed() < Duration::from_secs(60));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let held = begun.elapsed();
    sqlx::raw_sql("COMMIT").execute(&mut holder).await.unwrap();
    drop(audit);
    assert!(shutdown.finished(Duration::from_secs(60)).await);
    let intact = trail.verify(&[]).await.unwrap();
    assert_eq!(intact.head.seq, 2);
    let ages = sqlx::query_scalar::<_, f64>(
        "SELECT extract(epoch FROM clock_timestamp() - at)::float8 FROM audit_log ORDER BY seq",
    );
    let ages = ages.fetch_all(&mut observer).await.unwrap();
    assert!(ages[0] >= held.as_secs_f64(), "{ages:?} {held:?}");
}

#[tokio::test]
async fn an_entry_that_the_database_refuses_takes_no_other_with_it() {
    let trail = Trail::new().await;
    let shutdown = Shutdown::new();
    let audit = Audit::start(trail.postgres.clone(), &shutdown);
    let mut bad = failed_login(None);
    bad.client.user_agent = "\0".to_owned();
    for entry in [failed_login(None), bad, failed_login(None)] {
        audit.note_later(entry);
    }
    audit.note(failed_login(None)).await;
    assert_eq!(trail.verify(&[]).await.unwrap().head.seq, 3);
}

#[tokio::test]
async fn a_users_activity_comes_in_parts() {
    let (trail, [ada, _]) = Trail::with_entries().await;
    let audit = Audit::start(trail.postgres.clone(), &Shutdown::new());
    let first = audit.of_user(ada, 2, None).await.unwrap();
    let numbers = |page: &Page| page.activity.iter().map(|it| it.seq).collect::<Vec<_>>();
    assert_eq!((numbers(&first), first.next), (vec![6, 2], Some(2)));
    let second = audit.of_user(ada, 2, first.next).await.unwrap();
    assert_eq!((numbers(&second), second.next), (vec![1], None));
    let exactly = audit.of_user(ada, 3, None).await.unwrap();
    assert_eq!((numbers(&exactly), exactly.next), (vec![6, 2, 1], None));
    let told = &first.activity[1];
    assert_eq!((told.event.as_str(), told.session), ("LOGGED_IN", Some(SessionId([7; 16]))));
    assert_eq!(told.client, client());
}

#[tokio::test]
async fn what_is_old_loses_its_personal_fields_and_the_chain_stays_whole() {
    use super::expiry::{BATCH, expire_some};
    let trail = Trail::new().await;
    let ada = trail.user("ada").await;
    let noted_ago = async |age: &str, count: i64| {
        let entries = format!(
            "SELECT audit_append('LOGIN_FAILED', '{ada}', NULL, '192.0.2.1', 'a', interval '{age}') FROM generate_series(1, {count})"
        );
        trail.tamper(&entries).await;
    };
    noted_ago("400 days", BATCH + 10).await;
    noted_ago("1 day", 1).await;
    noted_ago("500 days", 1).await;
    let kept = trail.head().await;
    let year = Duration::from_secs(365 * 86_400);
    assert_eq!(expire_some(&trail.postgres, year).await.unwrap(), BATCH);
    assert_eq!(expire_some(&trail.postgres, year).await.unwrap(), 10);
    for _ in 0..2 {
        assert_eq!(expire_some(&trail.postgres, year).await.unwrap(), 0);
    }
    let intact = trail.verify(&[kept]).await.unwrap();
    assert_eq!((intact.head.seq, intact.erased), (BATCH + 14, BATCH + 10));
    // The young one, and what came in late after it: that goes with the young one.
    assert_eq!(trail.dump().await.matches("192.0.2.1").count(), 2);
    let at_once = Duration::from_secs(0);
    assert_eq!(expire_some(&trail.postgres, at_once).await.unwrap(), 4);
    assert_eq!(expire_some(&trail.postgres, at_once).await.unwrap(), 1);
    assert_eq!(expire_some(&trail.postgres, at_once).await.unwrap(), 0);
    assert_eq!(trail.verify(&[kept]).await.unwrap().erased, BATCH + 12);
    assert!(!trail.dump().await.contains("192.0.2.1"));
}
