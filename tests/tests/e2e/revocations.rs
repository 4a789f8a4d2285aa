//! Every way to end sessions is final: what begins after the acknowledgement is refused by every replica, whatever logins,
//! reads and other endings are under way; and the list of sessions tells exactly who is still let in.

use std::cell::RefCell;
use std::collections::BTreeSet;

use futures_util::future::join_all;
use http::Method;
use serde_json::{Value, json};
use tests::api::Api;
use tests::person::{Person, SignedIn};
use tests::stack::Stack;
use tests::wait;

const SESSIONS: usize = 4;

/// The ways to end sessions, from the point of view of the one that asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Logout,
    OneOther,
    AllOthers,
    All,
    PasswordChange,
}

const WAYS: [Way; 5] = [Way::Logout, Way::OneOther, Way::AllOthers, Way::All, Way::PasswordChange];

impl Way {
    /// The sessions that are over once it is acknowledged, by their places; `asking` is the place of the one that asks.
    fn ends(self, asking: usize) -> Vec<usize> {
        let others = (0..SESSIONS).filter(|place| *place != asking);
        match self {
            Self::Logout => vec![asking],
            Self::OneOther => vec![(asking + 1) % SESSIONS],
            Self::AllOthers | Self::PasswordChange => others.collect(),
            Self::All => (0..SESSIONS).collect(),
        }
    }

    /// Asks for it; the status tells whether it was done.
    async fn ask(self, api: &Api, sessions: &[SignedIn], ids: &[String], asking: usize) -> u16 {
        let call = |method, path: &str| api.call(method, path).bearer(&sessions[asking].token);
        let answer = match self {
            Self::Logout => call(Method::POST, "/v1/logout").await,
            Self::OneOther => {
                let id = &ids[(asking + 1) % SESSIONS];
                call(Method::DELETE, &format!("/v1/sessions/{id}")).await
            }
            Self::AllOthers => call(Method::DELETE, "/v1/sessions").await,
            Self::All => call(Method::DELETE, "/v1/sessions?includeCurrent=true").await,
            Self::PasswordChange => {
                // To the same password: the next one of these knows it too.
                let password = &sessions[asking].person.password;
                let body = json!({"currentPassword": password, "newPassword": password});
                let change = async || call(Method::PUT, "/v1/password").json(&body).await.unless_full();
                wait::until("the hash pool has room", change).await
            }
        };
        answer.status
    }
}

async fn id_of(api: &Api, session: &SignedIn) -> String {
    let me = session.me(api).await.expect(200).json();
    me["session"]["id"].as_str().unwrap_or_default().to_owned()
}

/// Signs in everywhere, ends sessions in these ways at once while all of them are in use everywhere, and checks who is left.
async fn end_under_fire(apis: &[Api], ada: &Person, ways: &[(Way, usize)]) {
    let mut sessions = Vec::new();
    for place in 0..SESSIONS {
        sessions.push(ada.sign_in(&apis[place % apis.len()]).await);
    }
    let ids = join_all(sessions.iter().map(|session| id_of(&apis[0], session))).await;
    let over = RefCell::new(BTreeSet::new());
    let done = RefCell::new(0);

    let reader = async |place: usize, api: &Api| {
        let mut reads_after = 0;
        while reads_after < 2 {
            let (was_over, all_done) = (over.borrow().contains(&place), *done.borrow() == ways.len());
            let answer = sessions[place].me(api).await;
            assert!(matches!(answer.status, 200 | 401), "{}", answer.text());
            assert!(
                !(was_over && answer.status == 200),
                "{ways:?}: session {place} was accepted after its end"
            );
            reads_after += usize::from(all_done);
        }
    };
    let readers = (0..SESSIONS).flat_map(|place| apis.iter().map(move |api| (place, api)));
    let readers = join_all(readers.map(|(place, api)| reader(place, api)));
    let endings = join_all(ways.iter().map(async |(way, asking)| {
        let api = &apis[fastrand::usize(..apis.len())];
        let status = way.ask(api, &sessions, &ids, *asking).await;
        match status {
            204 => over.borrow_mut().extend(way.ends(*asking)),
            // Another ending was quicker: the asking session is over itself, or what it wanted to end is, or the password moved.
            401 | 403 | 404 if ways.len() > 1 => {}
            _ => panic!("{way:?}: {status}"),
        }
        *done.borrow_mut() += 1;
    }));
    tokio::join!(readers, endings);
    check_who_is_left(apis, &sessions, &ids, &over.into_inner()).await;
}

/// Who is let in is who is listed, and nobody who is over.
async fn check_who_is_left(apis: &[Api], sessions: &[SignedIn], ids: &[String], over: &BTreeSet<usize>) {
    let mut left = BTreeSet::new();
    for (place, session) in sessions.iter().enumerate() {
        let answers = join_all(apis.iter().map(|api| session.me(api))).await;
        let accepted = answers.iter().filter(|answer| answer.status == 200).count();
        assert!(accepted == 0 || accepted == apis.len(), "the gateways disagree about session {place}");
        if accepted > 0 {
            assert!(!over.contains(&place), "session {place} is over");
            left.insert(place);
        }
    }
    let Some(asking) = left.first() else { return };
    let list = apis[0].get("/v1/sessions").bearer(&sessions[*asking].token).await.expect(200).json();
    let list = list["sessions"].as_array().cloned().unwrap_or_default();
    let listed: BTreeSet<&str> = list.iter().filter_map(|session| session["id"].as_str()).collect();
    assert_eq!(listed, left.iter().map(|place| ids[*place].as_str()).collect());
}

#[tokio::test]
async fn no_ending_of_any_kind_is_undone_by_what_is_in_flight() {
    let stack = Stack::builder().gateways(3).auths(3).without_limits().start();
    let apis = stack.apis();
    for round in 0..6 {
        let people = join_all(WAYS.map(|_| Person::registered(&apis[0]))).await;
        let endings = WAYS.iter().zip(&people).map(async |(way, ada)| {
            end_under_fire(&apis, ada, &[(*way, round % SESSIONS)]).await;
        });
        join_all(endings).await;
    }
}

#[tokio::test]
async fn endings_that_overlap_on_one_user_end_what_each_of_them_said() {
    let stack = Stack::builder().gateways(3).auths(3).without_limits().start();
    let apis = stack.apis();
    for round in 0..20 {
        let ada = Person::registered(&apis[0]).await;
        let (first, second) = (WAYS[round % 5], WAYS[(round / 5 + round) % 5]);
        end_under_fire(&apis, &ada, &[(first, 0), (second, 2)]).await;
    }
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
