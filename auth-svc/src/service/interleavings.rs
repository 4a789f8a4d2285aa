//! Any interleaving of what can happen to a user's sessions, on the real Redis and Postgres, through three replicas at once: at each
//! quiet point the list of sessions is the set of those that authenticate.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use chassis::redis::Redis;
use futures_util::future::join_all;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::tests::{LIFETIMES, bench, client, open_state};
use super::*;

/// Replicas of the service, each with connections of its own.
const REPLICAS: usize = 3;
/// Interleavings tried. Each has up to thirty steps.
const CASES: u32 = 150;

/// One step. Numbers pick a session that was opened before, whether it is over or not.
#[derive(Debug, Clone, Copy)]
enum Step {
    LogIn,
    Validate(usize),
    LogOut(usize),
    EndOne(usize),
    EndOthers(usize),
    EndAll,
    ChangePassword(usize),
    /// Redis loses the user's key, as after a failover to an old copy.
    LoseKey,
}

fn step() -> impl Strategy<Value = Step> {
    let session = 0..100_usize;
    prop_oneof![
        6 => Just(Step::LogIn),
        3 => session.clone().prop_map(Step::Validate),
        2 => session.clone().prop_map(Step::LogOut),
        2 => session.clone().prop_map(Step::EndOne),
        2 => session.clone().prop_map(Step::EndOthers),
        1 => Just(Step::EndAll),
        2 => session.prop_map(Step::ChangePassword),
        1 => Just(Step::LoseKey),
    ]
}

/// A user, what was ever opened for them, and how many steps were taken.
struct Life {
    replicas: Vec<AuthService>,
    state: Redis,
    user: User,
    opened: Vec<SessionToken>,
    steps: AtomicUsize,
}

/// What a step did, once it was acknowledged.
#[derive(Default)]
struct Outcome {
    opened: Option<SessionToken>,
    /// Places of sessions that are over.
    over: BTreeSet<usize>,
}

impl Life {
    fn replica(&self) -> &AuthService {
        &self.replicas[self.steps.fetch_add(1, Ordering::Relaxed) % REPLICAS]
    }

    fn all_but(&self, kept: Option<usize>) -> BTreeSet<usize> {
        (0..self.opened.len()).filter(|place| Some(*place) != kept).collect()
    }

    /// Takes a step; every failure but that of a store is one of its possible ends.
    async fn take(&self, step: Step) -> Outcome {
        let service = self.replica();
        let id = self.user.id.to_string();
        let pick = |number: usize| (!self.opened.is_empty()).then(|| number % self.opened.len());
        let session_id = |place: usize| self.opened[place].digest().id.to_string();
        let mut outcome = Outcome::default();
        let done = match step {
            Step::LogIn => {
                let read = service.users.credentials_by_id(self.user.id).await.unwrap().unwrap();
                let login = service.open_session(read.user, read.generation, &client()).await;
                login.map(|login| outcome.opened = Some(login.token))
            }
            Step::EndAll => {
                service.end_sessions(&id, "", &client()).await.map(|_| outcome.over = self.all_but(None))
            }
            Step::LoseKey => {
                let key = format!("s:{{{id}}}");
                self.state.query::<()>("test", &key, redis::cmd("DEL").arg(&key)).await.unwrap();
                outcome.over = self.all_but(None);
                Ok(())
            }
            Step::Validate(number) => match pick(number) {
                Some(place) => service.validate(self.opened[place].encoded()).await.map(|_| ()),
                None => Ok(()),
            },
            Step::LogOut(number) => match pick(number) {
                Some(place) => service.logout(self.opened[place].encoded(), &client()).await.map(|_| {
                    outcome.over.insert(place);
                }),
                None => Ok(()),
            },
            Step::EndOne(number) => match pick(number) {
                Some(place) => service.end_session(&id, &session_id(place), &client()).await.map(|()| {
                    outcome.over.insert(place);
                }),
                None => Ok(()),
            },
            Step::EndOthers(number) => {
                let kept = pick(number);
                let kept_id = kept.map(session_id).unwrap_or_default();
                service
                    .end_sessions(&id, &kept_id, &client())
                    .await
                    .map(|_| outcome.over = self.all_but(kept))
            }
            Step::ChangePassword(number) => {
                let kept = pick(number);
                self.change_password(service, kept).await.map(|changed| {
                    if changed {
                        outcome.over = self.all_but(kept);
                    }
                })
            }
        };
        match done {
            Ok(())
            | Err(AuthError::SessionInvalid | AuthError::SessionNotFound | AuthError::InvalidCredentials) => {
                outcome
            }
            Err(error) => panic!("{step:?}: {error}"),
        }
    }

    /// All of a password change but its hashes. `false`: another change was quicker.
    async fn change_password(&self, service: &AuthService, kept: Option<usize>) -> Result<bool, AuthError> {
        let user_id = self.user.id;
        let kept = kept.map(|place| self.opened[place].digest().id);
        let read = service.users.credentials_by_id(user_id).await?.unwrap();
        let Some(generation) =
            service.users.change_password(&read, &read.password_hash, kept, &client()).await?
        else {
            return Ok(false);
        };
        service.revocations.carry_out(Revocation { user_id, generation, kept }).await?;
        Ok(true)
    }

    /// The list is the set that authenticates, as every replica sees it, and nobody is in it who is over.
    async fn check(&self, over: &BTreeSet<usize>) {
        for service in &self.replicas {
            let mut valid = BTreeSet::new();
            for (place, token) in self.opened.iter().enumerate() {
                if service.validate(token.encoded()).await.is_ok() {
                    assert!(!over.contains(&place), "session {place} is over and authenticates");
                    valid.insert(token.digest().id.to_string());
                }
            }
            let listed = service.list_sessions(&self.user.id.to_string()).await.unwrap();
            let listed: BTreeSet<_> = listed.iter().map(|(session, _)| session.id.to_string()).collect();
            assert_eq!(listed, valid, "the list is not the set that authenticates");
        }
    }
}

/// Takes the steps of each group at once, and looks at the quiet points between the groups.
async fn live(replicas: Vec<AuthService>, state: Redis, groups: Vec<Vec<Step>>) {
    let id = Uuid::now_v7();
    let username = Username::parse(&format!("u{}", &id.simple().to_string()[4..])).unwrap();
    let new = NewUser { id, username: &username, email: None, password_hash: "no hash", verify: false };
    let user = replicas[0].users.insert(new, &client(), None).await.unwrap();
    let mut life = Life { replicas, state, user, opened: Vec::new(), steps: AtomicUsize::new(0) };
    let mut over = BTreeSet::new();
    for group in groups {
        let only_logins = group.iter().all(|step| matches!(step, Step::LogIn | Step::Validate(_)));
        let outcomes = join_all(group.iter().map(|step| life.take(*step))).await;
        for outcome in outcomes {
            over.extend(outcome.over);
            life.opened.extend(outcome.opened);
        }
        life.check(&over).await;
        if only_logins {
            let logins = group.iter().filter(|step| matches!(step, Step::LogIn)).count();
            let newest = &life.opened[life.opened.len() - logins..];
            for token in newest {
                let valid = life.replica().validate(token.encoded()).await.is_ok();
                assert!(valid, "a login at the same time as others was lost");
            }
        }
    }
}

#[test]
fn at_each_quiet_point_the_list_is_the_set_that_authenticates() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (replicas, state, _bench) = runtime.block_on(async {
        let bench = bench().await;
        let replica = |_| {
            let sessions = Sessions::new(open_state(&bench.shutdown), LIFETIMES, 50, &bench.shutdown);
            let revocations =
                Revocations::new(bench.postgres.clone(), sessions.clone(), std::time::Duration::ZERO);
            AuthService { sessions, revocations, ..bench.service.clone() }
        };
        let replicas: Vec<_> = (0..REPLICAS).map(replica).collect();
        (replicas, open_state(&bench.shutdown), bench)
    });
    let groups = prop::collection::vec(prop::collection::vec(step(), 1..6), 1..7);
    let config =
        Config { cases: CASES, failure_persistence: None, max_shrink_iters: 200, ..Config::default() };
    let outcome = TestRunner::new(config).run(&groups, |groups| {
        runtime.block_on(live(replicas.clone(), state.clone(), groups));
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
}
