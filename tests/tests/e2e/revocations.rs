//! Every way to end sessions is final: what begins after the acknowledgement is refused by every replica, whatever logins,
//! renewals, reads and other endings are under way; and the list of sessions tells exactly who is still let in.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;
use http::Method;
use redis::aio::MultiplexedConnection;
use serde_json::{Value, json};
use tests::api::Api;
use tests::person::Person;
use tests::sessions::{self, Planted};
use tests::stack::{Part, Stack};
use tests::wait;
use uuid::Uuid;

/// Endings that have to be acknowledged.
const ENDINGS: usize = 10_000;
/// Users whose sessions end at the same time.
const PEOPLE: usize = 24;
/// Sessions of a user when an episode begins.
const SESSIONS: usize = 4;

/// The ways to end sessions, from the point of view of the one that asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    Logout,
    OneOther,
    AllOthers,
    All,
    PasswordChange,
    Deletion,
}

impl Way {
    /// Mostly those that cost no password hash.
    fn any() -> Self {
        match fastrand::u8(..100) {
            0..35 => Self::Logout,
            35..70 => Self::OneOther,
            70..84 => Self::AllOthers,
            84..97 => Self::All,
            97..99 => Self::PasswordChange,
            _ => Self::Deletion,
        }
    }

    /// The sessions that are over once it is acknowledged, by their places; `asking` is the place of the one that asks.
    fn ends(self, asking: usize) -> Vec<usize> {
        let others = (0..SESSIONS).filter(|place| *place != asking);
        match self {
            Self::Logout => vec![asking],
            Self::OneOther => vec![(asking + 1) % SESSIONS],
            Self::AllOthers | Self::PasswordChange => others.collect(),
            Self::All | Self::Deletion => (0..SESSIONS).collect(),
        }
    }

    /// Asks for it; the status tells whether it was done.
    async fn ask(self, api: &Api, ada: &Person, sessions: &[Planted], asking: usize) -> u16 {
        let call = |method, path: &str| api.call(method, path).bearer(&sessions[asking].token);
        let answer = match self {
            Self::Logout => call(Method::POST, "/v1/logout").await,
            Self::OneOther => {
                let id = &sessions[(asking + 1) % SESSIONS].id;
                call(Method::DELETE, &format!("/v1/sessions/{id}")).await
            }
            Self::AllOthers => call(Method::DELETE, "/v1/sessions").await,
            Self::All => call(Method::DELETE, "/v1/sessions?includeCurrent=true").await,
            Self::PasswordChange => {
                // To the same password: the next one of these knows it too.
                let body = json!({"currentPassword": ada.password, "newPassword": ada.password});
                let change = async || call(Method::PUT, "/v1/password").json(&body).await.unless_full();
                wait::until("the hash pool has room", change).await
            }
            Self::Deletion => {
                let body = json!({"password": ada.password});
                let deletion = async || call(Method::DELETE, "/v1/me").json(&body).await.unless_full();
                wait::until("the hash pool has room", deletion).await
            }
        };
        answer.status
    }
}

/// What all episodes of a run share.
struct Run {
    apis: Vec<Api>,
    state: MultiplexedConnection,
    auth_database: tokio::sync::Mutex<sqlx::PgConnection>,
    acknowledged: RefCell<BTreeMap<Way, usize>>,
    reads: Cell<usize>,
}

impl Run {
    async fn of(stack: &Stack) -> Self {
        Self {
            apis: stack.apis(),
            state: stack.state.connect().await,
            auth_database: stack.auth_database.connect().await.into(),
            acknowledged: RefCell::default(),
            reads: Cell::new(0),
        }
    }

    fn endings(&self) -> usize {
        self.acknowledged.borrow().values().sum()
    }

    fn any_api(&self) -> &Api {
        &self.apis[fastrand::usize(..self.apis.len())]
    }

    async fn accepts(&self, token: &str) -> bool {
        loop {
            self.reads.set(self.reads.get() + 1);
            let answer = self.any_api().get("/v1/me").bearer(token).await;
            match answer.status {
                200 => return true,
                401 => return false,
                // On a machine that is busy enough: nobody was let in.
                503 | 504 => {}
                _ => panic!("{}: {} {}", answer.request, answer.status, answer.text()),
            }
        }
    }

    /// Sessions that are due for renewal; `None` when the user is gone.
    async fn plant_sessions(&self, ada: &Person) -> Option<Vec<Planted>> {
        let user = {
            let mut database = self.auth_database.lock().await;
            sqlx::query_as::<_, (Uuid, i32)>("SELECT id, session_generation FROM users WHERE username = $1")
                .bind(&ada.username)
                .fetch_optional(&mut *database)
                .await
                .expect("the database answers")
        };
        let (user_id, generation) = user?;
        let planted = sessions::plant(&mut self.state.clone(), user_id, generation, SESSIONS, 10_000).await;
        Some(planted.expect("the session store takes sessions"))
    }

    /// Ends sessions of a user in some ways at once while all of them are used and a login may be under way, and checks who is left.
    async fn episode(
        &self,
        ada: &Person,
        mut sessions: Vec<Planted>,
        endings: &[(Way, usize)],
        with_login: bool,
    ) {
        let over = RefCell::new(BTreeSet::new());
        let done = Cell::new(0);

        let reader = async |place: usize| {
            let mut all_done = false;
            while !all_done {
                let was_over = over.borrow().contains(&place);
                all_done = done.get() == endings.len();
                let accepted = self.accepts(&sessions[place].token).await;
                assert!(!(was_over && accepted), "{endings:?}: session {place} was accepted after its end");
            }
        };
        let readers = join_all((0..SESSIONS).map(reader));
        let ended = join_all(endings.iter().map(async |(way, asking)| {
            match way.ask(self.any_api(), ada, &sessions, *asking).await {
                204 => {
                    over.borrow_mut().extend(way.ends(*asking));
                    *self.acknowledged.borrow_mut().entry(*way).or_default() += 1;
                }
                // Another ending was quicker: the asking session is over itself, or what it wanted to end is, or the password moved.
                401 | 403 | 404 if endings.len() > 1 => {}
                503 | 504 => {}
                status => panic!("{way:?} of {endings:?}: {status}"),
            }
            done.set(done.get() + 1);
        }));
        let login = async {
            if !with_login {
                return None;
            }
            let answer = ada.log_in(self.any_api()).await;
            // A password change in between takes the new session back.
            assert!(matches!(answer.status, 200 | 401 | 503), "{}", answer.text());
            (answer.status == 200).then(|| answer.json()["token"].as_str().map(str::to_owned)).flatten()
        };
        let (_, _, opened) = tokio::join!(readers, ended, login);

        // Nothing is under way any more.
        if let Some(token) = opened {
            sessions.push(Planted { token, id: String::new() });
        }
        let left = self.check_who_is_left(&sessions, &over.into_inner()).await;
        self.end_all(ada, &sessions, &left).await;
    }

    /// Who is let in is who is listed, and nobody who is over.
    async fn check_who_is_left(&self, sessions: &[Planted], over: &BTreeSet<usize>) -> Vec<usize> {
        let accepted = join_all(sessions.iter().map(|session| self.accepts(&session.token))).await;
        let left: Vec<_> = (0..sessions.len()).filter(|place| accepted[*place]).collect();
        assert!(left.iter().all(|place| !over.contains(place)), "{left:?} are let in, {over:?} are over");
        let Some(asking) = left.first() else { return left };
        let list = self.any_api().get("/v1/sessions").bearer(&sessions[*asking].token).await;
        if matches!(list.status, 503 | 504) {
            return left;
        }
        let list = list.expect(200).json();
        let listed: Vec<_> = list["sessions"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|session| session["id"].as_str())
            .collect();
        assert_eq!(listed.len(), left.len(), "{list}");
        let known = left.iter().map(|place| sessions[*place].id.as_str()).filter(|id| !id.is_empty());
        known.for_each(|id| assert!(listed.contains(&id), "{id} is let in and not listed: {list}"));
        left
    }

    /// Ends what is left, so that the next episode begins with none.
    async fn end_all(&self, ada: &Person, sessions: &[Planted], left: &[usize]) {
        let Some(asking) = left.first() else { return };
        wait::until_true("all sessions have ended", async || {
            matches!(Way::All.ask(self.any_api(), ada, sessions, *asking).await, 204 | 401)
        })
        .await;
        *self.acknowledged.borrow_mut().entry(Way::All).or_default() += 1;
        for accepted in join_all(sessions.iter().map(|session| self.accepts(&session.token))).await {
            assert!(!accepted, "a session was accepted after the end of all");
        }
    }
}

#[tokio::test]
async fn of_ten_thousand_endings_of_every_kind_none_is_undone_by_what_is_in_flight() {
    // With an idle time-out of a minute a session is renewed every three seconds; the planted ones at their first use.
    let stack = Stack::builder().gateways(3).auths(3).without_limits();
    let stack = stack.env(Part::Auth, "SESSION_IDLE_SECONDS", "60").start();
    let run = Run::of(&stack).await;
    let lives = (0..PEOPLE).map(async |_| {
        let mut ada = Person::registered(run.any_api()).await;
        while run.endings() < ENDINGS {
            let Some(sessions) = run.plant_sessions(&ada).await else {
                ada = Person::registered(run.any_api()).await;
                continue;
            };
            // One, or some that overlap.
            let count = [1, 1, 2, 2, 3][fastrand::usize(..5)];
            let endings: Vec<_> = (0..count).map(|_| (Way::any(), fastrand::usize(..SESSIONS))).collect();
            run.episode(&ada, sessions, &endings, fastrand::u8(..20) == 0).await;
        }
    });
    join_all(lives).await;
    println!("{:?} while {} reads went on", run.acknowledged.borrow(), run.reads.get());
}

#[tokio::test]
async fn sign_ins_at_the_same_time_lose_no_entry_of_the_list() {
    let stack = Stack::shared();
    let apis = stack.apis();
    let ada = Person::registered(&apis[0]).await;
    let sessions = join_all((0..20).map(|number| ada.sign_in(&apis[number % 3]))).await;
    let list = apis[0].get("/v1/sessions").bearer(&sessions[0].token).await.expect(200).json();
    let listed = list["sessions"].as_array().cloned().unwrap_or_default();
    assert_eq!(listed.len(), sessions.len());
    assert_eq!(listed.iter().filter(|session| session["current"] == true).count(), 1);
    let known = |session: &Value| session["clientAddress"] == "127.0.0.1" && session["userAgent"].is_string();
    assert!(listed.iter().all(known), "{listed:?}");
}

/// The failure known from others: the index of a user's sessions is lost, and ending all of them ends none and says that it did.
#[tokio::test]
async fn without_the_key_of_a_users_sessions_nobody_survives_the_end_of_all() {
    let stack = Stack::shared();
    let apis = stack.apis();
    let run = Run::of(&stack).await;
    let ada = Person::registered(&apis[0]).await;
    let lost = run.plant_sessions(&ada).await.expect("the user is there");
    let key = format!("s:{{{}}}", ada.sign_in(&apis[0]).await.id);
    redis::cmd("DEL").arg(&key).query_async::<()>(&mut run.state.clone()).await.expect("it answers");
    let ended = ada.sign_in(&apis[1]).await;
    apis[2].call(Method::DELETE, "/v1/sessions?includeCurrent=true").bearer(&ended.token).await.expect(204);
    for token in lost.iter().map(|session| &session.token).chain([&ended.token]) {
        for api in &apis {
            api.get("/v1/me").bearer(token).await.expect(401);
        }
    }
    // What is half lost opens nothing either: without the generation no session counts.
    let half_lost = run.plant_sessions(&ada).await.expect("the user is there");
    redis::cmd("HDEL")
        .arg(&key)
        .arg("g")
        .query_async::<()>(&mut run.state.clone())
        .await
        .expect("it answers");
    apis[0].get("/v1/me").bearer(&half_lost[0].token).await.expect(401);
}
