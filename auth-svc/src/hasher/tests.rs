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
