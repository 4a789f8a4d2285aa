//! The pool with real hashes.

use super::*;

const LIMITS: Limits = Limits { threads: 1, queue: 2, deadline: Duration::from_secs(60), niceness: 0 };

fn password(text: &str) -> Password {
    Password::parse_given(text).unwrap()
}

fn hasher() -> Hasher {
    Hasher::start(LIMITS, Peppers::default()).unwrap()
}

fn peppered(secrets: &str) -> Hasher {
    let file = std::env::temp_dir().join(format!("pepper-{}", uuid::Uuid::now_v7()));
    std::fs::write(&file, secrets).unwrap();
    let hasher = Hasher::start(LIMITS, Peppers::read(&file).unwrap()).unwrap();
    std::fs::remove_file(&file).unwrap();
    hasher
}

#[tokio::test]
async fn a_hash_verifies_its_password_alone_and_names_its_parameters() {
    let hasher = hasher();
    let hash = hasher.hash(password("correct horse battery")).await.unwrap();
    assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
    let right = hasher.verify(password("correct horse battery"), &hash).await.unwrap();
    assert_eq!(right, Verdict { matches: true, outdated: false });
    assert!(!hasher.verify(password("correct horse batterx"), &hash).await.unwrap().matches);
    assert_ne!(hash, hasher.hash(password("correct horse battery")).await.unwrap(), "the salt is new");
}

#[tokio::test]
async fn a_hash_of_other_parameters_verifies_and_is_outdated() {
    // Made by the reference implementation: echo -n password | argon2 somesalt -id -t 2 -m 16 -p 1 -l 32.
    let hash = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
    let verdict = hasher().verify(password("password"), hash).await.unwrap();
    assert_eq!(verdict, Verdict { matches: true, outdated: true });
}

#[tokio::test]
async fn a_pepper_is_needed_to_verify_and_can_be_replaced() {
    let old = peppered("an old secret of the house");
    let hash = old.hash(password("correct horse battery")).await.unwrap();
    assert!(hasher().verify(password("correct horse battery"), &hash).await.is_err());

    let new = peppered("a new secret of the house\nan old secret of the house");
    let verdict = new.verify(password("correct horse battery"), &hash).await.unwrap();
    assert_eq!(verdict, Verdict { matches: true, outdated: true });

    let plain = hasher().hash(password("correct horse battery")).await.unwrap();
    let verdict = new.verify(password("correct horse battery"), &plain).await.unwrap();
    assert_eq!(verdict, Verdict { matches: true, outdated: true });
}

#[tokio::test]
async fn common_passwords_are_refused_as_a_whole_alone() {
    let hasher = hasher();
    for common in ["password", "congratulations", "AugustaAdaKing", "4ugust4AdaK1ng"] {
        let outcome = hasher.hash_new(password(common), "augustaadaking").await;
        assert!(matches!(outcome, Err(HashError::Common)), "{common}");
    }
    for fine in ["correct horse battery staple", "password of augustaadaking", "aaaaaaaaaaaaaaa"] {
        assert!(hasher.hash_new(password(fine), "augustaadaking").await.is_ok(), "{fine}");
    }
}

#[tokio::test]
async fn what_does_not_fit_the_queue_is_refused_at_once() {
    let hasher = hasher();
    let attempts: Vec<_> = (0..20).map(|_| hasher.pretend(password("x"))).collect();
    let outcomes = futures_util::future::join_all(attempts).await;
    let refused = outcomes.iter().filter(|outcome| matches!(outcome, Err(HashError::Capacity))).count();
    // One in the thread's hands and two in the queue are let in, or one more where the thread was quick.
    assert!((15..=18).contains(&refused), "{refused}");
}

#[tokio::test]
async fn what_waited_too_long_is_refused_without_a_hash() {
    let hasher = Hasher::start(Limits { deadline: Duration::ZERO, ..LIMITS }, Peppers::default()).unwrap();
    assert!(matches!(hasher.pretend(password("x")).await, Err(HashError::Capacity)));
}

#[tokio::test]
async fn what_is_not_done_in_time_is_refused() {
    let hasher =
        Hasher::start(Limits { threads: 0, deadline: Duration::ZERO, ..LIMITS }, Peppers::default()).unwrap();
    assert!(matches!(hasher.pretend(password("x")).await, Err(HashError::Failed(_))));

    let (queue, _jobs) = sync_channel(1);
    let hasher = Hasher { queue, ..hasher };
    assert!(matches!(hasher.pretend(password("x")).await, Err(HashError::Capacity)));
}

#[tokio::test]
async fn what_would_wait_too_long_is_refused_at_once() {
    let limits = Limits { queue: 60, deadline: Duration::from_secs(5), ..LIMITS };
    let hasher = Hasher::start(limits, Peppers::default()).unwrap();
    hasher.pace.took(Duration::from_secs(100));
    let attempts: Vec<_> = (0..20).map(|_| hasher.pretend(password("x"))).collect();
    let outcomes = futures_util::future::join_all(attempts).await;
    let refused = outcomes.iter().filter(|outcome| matches!(outcome, Err(HashError::Capacity))).count();
    // One is in the thread's hands, and one waits for it.
    assert!((15..=19).contains(&refused), "{refused}");
}

/// That of the thread that yields most. Every other pool of these tests yields nothing.
#[cfg(target_os = "linux")]
fn niceness_of_hashing_threads() -> u8 {
    let stats = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let stats = stats.filter_map(|thread| std::fs::read_to_string(thread.path().join("stat")).ok());
    let hashing = stats.filter_map(|stat| {
        let (name, rest) = stat.split_once('(')?.1.split_once(") ")?;
        // proc_pid_stat(5): the name is the second field, the niceness the nineteenth.
        (name == "hashing").then(|| rest.split(' ').nth(16)?.parse::<u8>().ok()).flatten()
    });
    hashing.max().unwrap_or_default()
}

/// Threads that take all cores until it is dropped.
#[cfg(target_os = "linux")]
struct Crowd(Arc<std::sync::atomic::AtomicBool>);

#[cfg(target_os = "linux")]
impl Crowd {
    fn start() -> Self {
        let crowd = Self(Arc::new(true.into()));
        for _ in 0..3 * std::thread::available_parallelism().unwrap().get() {
            let there = crowd.0.clone();
            std::thread::spawn(move || while there.load(std::sync::atomic::Ordering::Relaxed) {});
        }
        crowd
    }
}

#[cfg(target_os = "linux")]
impl Drop for Crowd {
    fn drop(&mut self) {
        self.0.store(false, std::sync::atomic::Ordering::Relaxed);
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn in_a_storm_hashes_yield_to_all_else_and_do_not_starve() {
    async fn storm_until(hasher: &Hasher, is_reached: impl Fn(u8) -> bool) {
        let client = async || {
            loop {
                let _ = hasher.pretend(password("x")).await;
            }
        };
        let reached = async {
            while !is_reached(niceness_of_hashing_threads()) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let storm = async { tokio::join!(client(), client(), client()) };
        tokio::select! {
            (never, (), ()) = storm => never,
            outcome = tokio::time::timeout(Duration::from_secs(60), reached) => outcome.expect("the niceness is reached"),
        }
    }

    let hasher = Hasher::start(Limits { niceness: 15, ..LIMITS }, Peppers::default()).unwrap();
    storm_until(&hasher, |niceness| niceness == 15).await;
    let crowd = Crowd::start();
    storm_until(&hasher, |niceness| niceness <= 5).await;
    drop(crowd);
    storm_until(&hasher, |niceness| niceness == 15).await;
    while hasher.pretend(password("x")).await.is_err() {
        tokio::task::yield_now().await;
    }
    assert_eq!(niceness_of_hashing_threads(), 0, "a password alone yields to nobody");
}
