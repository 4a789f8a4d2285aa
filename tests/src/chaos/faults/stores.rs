//! What the services stand on goes away, in every form in which it may: the failure matrix of the design.

use std::rc::Rc;
use std::time::{Duration, Instant};

use local::server::Server;
use sqlx::AssertSqlSafe;

use super::replicas::NOTICED;
use super::{Proxies, behind_proxies, exhaustion, generous, storm};
use crate::chaos::absence::Absence;
use crate::chaos::bars::{Bars, DEADLINE, Excuse};
use crate::chaos::journal::Op;
use crate::chaos::load::Crowd;
use crate::chaos::proxy::{Proxy, Weather};
use crate::chaos::report::Chapter;
use crate::chaos::stage::{Form, Stage};
use crate::controlled::Controlled;
use crate::database::Database;
use crate::stack::{Hop, Part, Stack};

const TEXT: &str = "Two gateways, two replicas of each service, and a proxy in front of every server and every replica. What may \
    fail at all, and how long an answer that says so may take, is the failure matrix: without the session store all but public profiles is 503 \
    within 500 ms; without the cache only changes are refused; without the users' database only logins and registrations, within 2 s; \
    without the profiles' database changes and what is not cached; without a service what it does. *Frozen* is a SIGSTOP, in a *black hole* \
    packets vanish both ways and connections stay open, with *answers lost* they vanish one way. A Postgres that is *restarted empty* knows another password first, then has no such \
    database, then no tables; nobody is told of what it does not know. Recovery is held against 2 s.";

/// How long each outage lasts.
pub(super) const OUTAGE: Duration = Duration::from_secs(4);
const LONG_OUTAGE: Duration = Duration::from_secs(10);
/// How long each kind of emptiness lasts.
const EMPTY_STEP: Duration = Duration::from_millis(1500);
const SLOW: Duration = Duration::from_millis(500);
pub(super) const WITHOUT_SESSIONS: Duration = Duration::from_millis(500);
const WITHOUT_USERS: Duration = Duration::from_secs(2);

const NEED_SESSIONS: [Op; 7] =
    [Op::Register, Op::Login, Op::Logout, Op::Me, Op::Profile, Op::Patch, Op::Fresh];

/// What else the network may be like.
const WEATHERS: [(&str, Weather); 3] = [
    ("answers lost", Weather::AnswersLost),
    ("slow, 500 ms each way", Weather::Slow(SLOW)),
    ("connections reset", Weather::Reset),
];

pub(super) async fn run(form: Form) -> Chapter {
    let stack = generous().gateways(2).auths(2).profiles(2).own_auth_postgres().own_profile_postgres();
    let (stack, proxies) = behind_proxies(stack);
    let stage = Stage::set(stack.start(), form, Crowd::USUAL).await;
    let mut trial = Trial { stage, proxies };
    trial.state().await;
    trial.cache().await;
    let (auth, profile) =
        (trial.stage.stack.auth_database.server(), trial.stage.stack.profile_database.server());
    let (auth, profile) = (auth.clone(), profile.clone());
    trial.outages("Postgres of users", &auth, Hop::AuthDatabase, without_users).await;
    trial.outages("Postgres of profiles", &profile, Hop::ProfileDatabase, without_profiles).await;
    if form == Form::Full {
        trial
            .emptied("Postgres of users", |stack| &stack.auth_database, Hop::AuthDatabase, without_users())
            .await;
        trial
            .emptied(
                "Postgres of profiles",
                |stack| &stack.profile_database,
                Hop::ProfileDatabase,
                without_profiles(),
            )
            .await;
        trial.services().await;
        exhaustion::run(&mut trial.stage).await;
    }
    Chapter { title: "Stores and services", text: TEXT, rows: trial.stage.end().await, skipped: Vec::new() }
}

pub(super) fn without_state() -> Bars {
    Bars::only(&NEED_SESSIONS, WITHOUT_SESSIONS)
}

fn without_cache() -> Bars {
    Bars::only(&[Op::Patch], DEADLINE)
}

pub(super) fn without_users() -> Bars {
    Bars::only(&[Op::Register, Op::Login], WITHOUT_USERS)
}

pub(super) fn without_profiles() -> Bars {
    Bars::only(&[Op::Patch, Op::Fresh], DEADLINE)
}

struct Trial {
    stage: Stage,
    proxies: Proxies,
}

impl Trial {
    fn proxy(&self, hop: Hop) -> Rc<Proxy> {
        self.proxies.borrow()[&hop].clone()
    }

    async fn state(&mut self) {
        let state = self.stage.stack.state.clone();
        self.outages("Redis for sessions", &state, Hop::State, without_state).await;
        let empty = async |stage: &Stage| {
            // Before and after, for somebody may log in while it is on its way down.
            stage.ground().lose_sessions();
            state.flush().await;
            state.kill().await;
            stage.hold(Duration::from_secs(2)).await;
            stage.ground().lose_sessions();
            state.start().await;
        };
        self.stage.fault("Redis for sessions restarted empty", without_state(), empty).await;
    }

    async fn cache(&mut self) {
        let cache = self.stage.stack.cache.clone();
        self.outages("Redis for cache", &cache, Hop::Cache, without_cache).await;
        if self.stage.form == Form::Full {
            let flush = async |_: &Stage| cache.flush().await;
            self.stage.fault("Redis for cache emptied", Bars::nothing_fails(), flush).await;
        }
    }

    /// One server goes, in every form.
    async fn outages<S: Server + 'static>(
        &mut self,
        name: &str,
        server: &Controlled<S>,
        hop: Hop,
        bars: fn() -> Bars,
    ) {
        let proxy = self.proxy(hop);
        let turn = |weather| proxy.set(weather);
        for absence in Absence::ALL {
            let away = async |stage: &Stage| {
                absence.begin(server, turn).await;
                stage.hold(OUTAGE).await;
                absence.end(server, turn).await;
            };
            self.stage.fault(format!("{name} {}", absence.name()), bars(), away).await;
        }
        if self.stage.form == Form::Full {
            for (form, weather) in WEATHERS {
                self.network(&format!("{name} {form}"), hop, weather, bars()).await;
            }
            self.long_stop(name, server, bars()).await;
        }
    }

    /// A server without the data takes the place of one that was killed: it has another password, then no such database, then no
    /// tables. Then the data is back.
    async fn emptied(&mut self, name: &str, database: fn(&Stack) -> &Database, hop: Hop, bars: Bars) {
        let empty = tokio::task::spawn_blocking(|| Database::own("postgres")).await;
        let empty = empty.unwrap_or_else(|error| panic!("{error}"));
        let empty = empty.unwrap_or_else(|error| panic!("no empty server: {error:#}"));
        let proxy = self.proxy(hop);
        let emptied = async |stage: &Stage| {
            let database = database(&stage.stack);
            database.server().kill().await;
            proxy.lead_to(empty.address());
            stage.hold(EMPTY_STEP).await;
            let (mut owner, password) = (empty.connect().await, database.password().unwrap_or_default());
            for statement in [
                format!("ALTER ROLE CURRENT_USER PASSWORD '{password}'"),
                format!("CREATE DATABASE {}", database.name()),
            ] {
                let done = sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut owner).await;
                done.unwrap_or_else(|error| panic!("the empty server is not to be filled: {error}"));
                stage.hold(EMPTY_STEP).await;
            }
            empty.server().kill().await;
            database.server().start().await;
            proxy.lead_to(database.address());
        };
        self.stage.fault(format!("{name} restarted empty, then restored"), bars, emptied).await;
    }

    async fn long_stop<S: Server + 'static>(&mut self, name: &str, server: &Controlled<S>, bars: Bars) {
        let stopped = async |stage: &Stage| {
            server.stop().await;
            stage.hold(LONG_OUTAGE).await;
            server.start().await;
        };
        self.stage.fault(format!("{name} stopped for 10 s"), bars, stopped).await;
    }

    async fn network(&mut self, name: &str, hop: Hop, weather: Weather, bars: Bars) {
        let proxy = self.proxy(hop);
        let bad = async |stage: &Stage| {
            let began = Instant::now();
            storm(stage, &proxy, weather, OUTAGE).await;
            if matches!(hop, Hop::Auth(_) | Hop::Profile(_)) {
                let ended = began + NOTICED;
                stage.excuse(Excuse::WriteInFlight { status: 504, began, ended });
            }
        };
        self.stage.fault(name, bars, bad).await;
    }

    /// A gateway, one replica of a service, and then all of them. One that is killed or frozen is another group's.
    async fn services(&mut self) {
        let without_auth = || Bars::only(&NEED_SESSIONS, DEADLINE);
        let without_profile = || Bars::only(&[Op::Profile, Op::Public, Op::Fresh, Op::Patch], DEADLINE);
        self.gateway().await;
        for (form, weather) in
            [(Absence::BlackHole.name(), Weather::BlackHole), ("answers lost", Weather::AnswersLost)]
        {
            for (name, hop) in [("auth-svc", Hop::Auth(0)), ("profile-svc", Hop::Profile(0))] {
                self.network(&format!("One {name} {form}"), hop, weather, Bars::nothing_fails()).await;
            }
        }
        for absence in Absence::ALL {
            self.all_of(Part::Auth, Hop::Auth, absence, without_auth()).await;
            self.all_of(Part::Profile, Hop::Profile, absence, without_profile()).await;
        }
    }

    /// Nobody gets through to a gateway, and who has asked it waits.
    async fn gateway(&mut self) {
        let proxy = self.proxy(Hop::Gateway(0));
        let away = async |stage: &Stage| {
            let began = Instant::now();
            // Everybody comes to wait for it.
            storm(stage, &proxy, Weather::BlackHole, Duration::from_secs(1)).await;
            stage.excuse(Excuse::HeldBy { gateway: 0, began, ended: Instant::now() });
        };
        self.stage.fault("One gateway in a black hole", Bars::nothing_fails(), away).await;
    }

    async fn all_of(&mut self, part: Part, hop: fn(usize) -> Hop, absence: Absence, bars: Bars) {
        let proxies = self.stage.stack.of(part).iter().enumerate().map(|(index, _)| self.proxy(hop(index)));
        let proxies: Vec<_> = proxies.collect();
        let turn = |index: usize| {
            let proxy = &proxies[index];
            move |weather| proxy.set(weather)
        };
        let away = async |stage: &Stage| {
            let began = Instant::now();
            for (index, replica) in stage.stack.of(part).iter().enumerate() {
                absence.begin(replica, turn(index)).await;
            }
            let noticed = Instant::now() + NOTICED;
            stage.hold(OUTAGE).await;
            for (index, replica) in stage.stack.of(part).iter().enumerate() {
                absence.end(replica, turn(index)).await;
            }
            if absence != Absence::Killed {
                stage.excuse(Excuse::WriteInFlight { status: 504, began, ended: noticed });
            }
        };
        self.stage.fault(format!("All {} {}", part.binary(), absence.name()), bars, away).await;
    }
}
