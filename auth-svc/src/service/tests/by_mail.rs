//! Password resets and verified addresses. The tests take the mails from the queue themselves, as the worker does.

use futures_util::future::join_all;

use super::*;
use crate::mail::{Lifetimes, MailToken, Purpose};

const NEW: &str = "an even better passphrase";
const EMAIL: &str = "Alice@example.org";

const LIFETIMES: Lifetimes =
    Lifetimes { password_reset: Duration::from_secs(1800), email_verification: Duration::from_secs(86_400) };

/// Everything that is to be mailed: to whom, for what, and with which token.
async fn mails(service: &AuthService, lifetimes: Lifetimes) -> Vec<(String, Purpose, MailToken)> {
    let queue = &service.mail.queue;
    while queue.look_up().await.unwrap() {}
    let mut mails = Vec::new();
    loop {
        let token = MailToken::generate().unwrap();
        let Some(mail) = queue.take(&token, lifetimes).await.unwrap() else { return mails };
        queue.strike_off(&mail).await.unwrap();
        if let Some(email) = mail.email {
            mails.push((format!("{} <{email}>", mail.username), mail.purpose, token));
        }
    }
}

async fn alice(service: &AuthService) -> User {
    let alice = service.register("alice", PASSWORD, Some(EMAIL), &client()).await.unwrap();
    mails(service, LIFETIMES).await;
    alice
}

async fn reset_token(service: &AuthService) -> MailToken {
    service.request_password_reset(Named::Username("ALICE"), client()).await.unwrap();
    let mails = mails(service, LIFETIMES).await;
    let [(to, Purpose::PasswordReset, token)] = mails.as_slice() else { panic!("{} mails", mails.len()) };
    assert_eq!(to, "alice <Alice@example.org>");
    token.clone()
}

async fn count(postgres: &Postgres, of: &str) -> i64 {
    let statement = sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {of}"));
    let count =
        postgres.run("count", async |connection| sqlx::query_scalar(statement).fetch_one(connection).await);
    count.await.unwrap()
}

async fn execute(postgres: &Postgres, statement: &str) {
    let statement = sqlx::AssertSqlSafe(statement.to_owned());
    let executed = postgres.run("test", async |connection| sqlx::query(statement).execute(connection).await);
    executed.await.unwrap();
}

async fn confirm(service: &AuthService, token: &MailToken, new: &str) -> Result<(), AuthError> {
    service.confirm_password_reset(token.encoded(), new, &client()).await
}

#[tokio::test]
async fn a_reset_sets_the_password_ends_every_session_and_verifies_the_address() {
    let Bench { service, postgres, .. } = bench().await;
    let user = alice(&service).await;
    let id = user.id.to_string();
    assert!(!service.user_by_id(&id).await.unwrap().email_verified);
    let session = service.login("alice", PASSWORD, &client(), "").await.unwrap();
    let token = reset_token(&service).await;
    assert!(service.validate(session.token.encoded()).await.is_ok(), "nothing has happened yet");

    confirm(&service, &token, NEW).await.unwrap();
    assert!(matches!(service.validate(session.token.encoded()).await, Err(AuthError::SessionInvalid)));
    assert!(matches!(
        service.login("alice", PASSWORD, &client(), "").await,
        Err(AuthError::InvalidCredentials)
    ));
    let login = service.login("alice", NEW, &client(), "").await.unwrap();
    assert!(service.validate(login.token.encoded()).await.is_ok());
    assert!(service.user_by_id(&id).await.unwrap().email_verified, "also for those who ask the cache");
    assert_eq!(count(&postgres, "session_revocations").await, 0);

    let activity = service.list_activity(&id, 0, 0).await.unwrap().activity;
    let events: Vec<&str> = activity.iter().map(|entry| entry.event.as_str()).collect();
    for event in ["PASSWORD_RESET", "PASSWORD_RESET_REQUESTED"] {
        assert_eq!(events.iter().filter(|told| **told == event).count(), 1, "{event} in {events:?}");
    }
    assert!(activity.iter().all(|entry| entry.client == client()));
}

#[tokio::test]
async fn a_password_that_is_not_accepted_does_not_use_the_token_up() {
    let Bench { service, .. } = bench().await;
    alice(&service).await;
    let token = reset_token(&service).await;
    for unsuitable in ["short", "congratulations"] {
        let Err(AuthError::InvalidFields(violations)) = confirm(&service, &token, unsuitable).await else {
            panic!("{unsuitable} was accepted");
        };
        assert_eq!(violations[0].field, "new_password");
    }
    confirm(&service, &token, NEW).await.unwrap();
}

#[tokio::test]
async fn a_token_that_many_bring_at_once_sets_one_password() {
    let Bench { service, .. } = bench().await;
    alice(&service).await;
    let token = reset_token(&service).await;
    let passwords: Vec<String> = (0..50).map(|number| format!("{NEW} {number}")).collect();
    let outcomes = join_all(passwords.iter().map(|new| confirm(&service, &token, new))).await;
    let mut winners = passwords.iter().zip(&outcomes).filter(|(_, outcome)| outcome.is_ok());
    let (winner, _) = winners.next().expect("one has won");
    assert!(winners.next().is_none(), "nobody else");
    assert!(
        outcomes.iter().filter_map(|it| it.as_ref().err()).all(|it| matches!(it, AuthError::TokenInvalid))
    );
    service.login("alice", winner, &client(), "").await.unwrap();
}

#[tokio::test]
async fn unknown_used_expired_and_overtaken_tokens_are_refused_alike() {
    let Bench { service, postgres, .. } = bench().await;
    let user = alice(&service).await;
    let refused = async |token: &MailToken| {
        assert!(matches!(confirm(&service, token, NEW).await, Err(AuthError::TokenInvalid)));
    };
    refused(&MailToken::generate().unwrap()).await;
    assert!(matches!(
        service.confirm_password_reset("no token", NEW, &client()).await,
        Err(AuthError::TokenInvalid)
    ));

    let older = reset_token(&service).await;
    let newer = reset_token(&service).await;
    refused(&older).await;
    assert!(matches!(
        service.confirm_email_verification(newer.encoded(), &client()).await,
        Err(AuthError::TokenInvalid)
    ));
    confirm(&service, &newer, PASSWORD).await.unwrap();
    refused(&newer).await;

    let expired = reset_token(&service).await;
    execute(&postgres, "UPDATE mail_tokens SET expires_at = now()").await;
    refused(&expired).await;

    let overtaken = reset_token(&service).await;
    service.change_password(&user.id.to_string(), PASSWORD, NEW, "", &client()).await.unwrap();
    refused(&overtaken).await;

    let misdirected = reset_token(&service).await;
    execute(&postgres, "UPDATE users SET email = 'new@example.org'").await;
    refused(&misdirected).await;
    service.login("alice", NEW, &client(), "").await.unwrap();
}

/// The tokens are good when they are looked at, and not any more when the password has been hashed.
#[tokio::test]
async fn a_reset_that_is_overtaken_while_it_hashes_changes_nothing() {
    let Bench { service, postgres, .. } = bench().await;
    let user = alice(&service).await;
    let tokens = &service.mail.tokens;
    let token = reset_token(&service).await;
    service.change_password(&user.id.to_string(), PASSWORD, NEW, "", &client()).await.unwrap();
    assert!(tokens.reset_password(&token, "x", true, &client()).await.unwrap().is_none());

    let token = reset_token(&service).await;
    execute(&postgres, "UPDATE mail_tokens SET expires_at = now()").await;
    assert!(tokens.reset_password(&token, "x", true, &client()).await.unwrap().is_none());
    service.login("alice", NEW, &client(), "").await.unwrap();
    assert!(!service.user_by_id(&user.id.to_string()).await.unwrap().email_verified);
}

#[tokio::test]
async fn a_login_or_change_with_the_old_password_that_a_reset_overtakes_gets_nowhere() {
    let Bench { service, .. } = bench().await;
    alice(&service).await;
    let read = service.users.credentials(&Username::parse("alice").unwrap()).await.unwrap().unwrap();
    let token = reset_token(&service).await;
    confirm(&service, &token, NEW).await.unwrap();
    let changed = service.users.change_password(&read, "x", None, &client()).await.unwrap();
    assert_eq!(changed, None);
    let login = service.open_session(read.user, read.generation, &client()).await;
    assert!(matches!(login.err(), Some(AuthError::InvalidCredentials)));
}

#[tokio::test]
async fn a_request_writes_the_same_for_everybody_and_mails_those_who_are_meant() {
    let Bench { service, postgres, .. } = bench().await;
    for (name, email) in [
        ("alice", Some(EMAIL)),
        ("alice2", Some("alice@EXAMPLE.org")),
        ("bob", None),
        ("carol", Some("c@example.org")),
    ] {
        service.register(name, PASSWORD, email, &client()).await.unwrap();
    }
    mails(&service, LIFETIMES).await;
    for (named, expected) in [
        (Named::Username("alice"), vec!["alice <Alice@example.org>"]),
        (Named::Email("ALICE@example.ORG"), vec!["alice <Alice@example.org>", "alice2 <alice@EXAMPLE.org>"]),
        (Named::Username("bob"), vec![]),
        (Named::Username("nobody"), vec![]),
        (Named::Email("nobody@example.org"), vec![]),
    ] {
        service.request_password_reset(named, client()).await.unwrap();
        assert_eq!((count(&postgres, "mail_requests").await, count(&postgres, "mails").await), (1, 0));
        let mut recipients: Vec<String> =
            mails(&service, LIFETIMES).await.into_iter().map(|(to, ..)| to).collect();
        recipients.sort();
        assert_eq!(recipients, expected);
        assert_eq!(count(&postgres, "mail_requests").await, 0, "nothing stays of what was asked");
    }
    for nonsense in [Named::Username("?"), Named::Email("nowhere")] {
        let refused = service.request_password_reset(nonsense, client()).await;
        assert!(matches!(refused, Err(AuthError::InvalidFields(_))));
    }
}

#[tokio::test]
async fn requests_that_nobody_looks_at_are_bounded_and_so_are_mails_that_wait() {
    let Bench { service, postgres, .. } = bench().await;
    alice(&service).await;
    for _ in 0..3 {
        service.request_password_reset(Named::Username("alice"), client()).await.unwrap();
    }
    assert_eq!(mails(&service, LIFETIMES).await.len(), 1, "one mail answers them all");
    let fill = "INSERT INTO mail_requests (username_key, address, user_agent) SELECT 'x', '', '' FROM generate_series(1, 10000)";
    execute(&postgres, fill).await;
    let refused = service.request_password_reset(Named::Username("alice"), client()).await;
    assert!(matches!(refused, Err(AuthError::Capacity)));
    execute(&postgres, "UPDATE mail_requests SET requested_at = now() - interval '61 minutes'").await;
    assert_eq!(service.mail.queue.give_up().await.unwrap(), 10_000);
    service.request_password_reset(Named::Username("alice"), client()).await.unwrap();
}

#[tokio::test]
async fn each_mail_is_taken_once_and_again_only_after_its_time() {
    let Bench { service, postgres, .. } = bench().await;
    for name in ["alice", "bob", "carol"] {
        service.register(name, PASSWORD, Some(EMAIL), &client()).await.unwrap();
    }
    let queue = &service.mail.queue;
    let takers = (0..8).map(async |_| queue.take(&MailToken::generate().unwrap(), LIFETIMES).await.unwrap());
    let taken: Vec<_> = join_all(takers).await.into_iter().flatten().collect();
    let users: std::collections::BTreeSet<_> = taken.iter().map(|mail| mail.user_id).collect();
    assert_eq!((taken.len(), users.len()), (3, 3));
    let due = queue.next_due().await.unwrap().unwrap();
    assert!(due > Duration::from_secs(60), "they belong to who took them: {due:?}");
    queue.put_off(&taken[0], Duration::ZERO).await.unwrap();
    let again = queue.take(&MailToken::generate().unwrap(), LIFETIMES).await.unwrap().unwrap();
    assert_eq!((again.user_id, again.attempts), (taken[0].user_id, 2));
    execute(&postgres, "UPDATE mails SET requested_at = now() - interval '61 minutes'").await;
    assert_eq!(queue.give_up().await.unwrap(), 3);
}

#[tokio::test]
async fn an_address_is_verified_once_and_only_as_long_as_it_is_the_users() {
    let Bench { service, postgres, .. } = bench().await;
    let user = service.register("alice", PASSWORD, Some(EMAIL), &client()).await.unwrap();
    let id = user.id.to_string();
    let [(_, Purpose::EmailVerification, token)] = &mails(&service, LIFETIMES).await[..] else {
        panic!("a registration asks for the address to be confirmed");
    };
    let confirm =
        async |token: &MailToken| service.confirm_email_verification(token.encoded(), &client()).await;
    assert!(!service.user_by_id(&id).await.unwrap().email_verified);
    confirm(token).await.unwrap();
    assert!(service.user_by_id(&id).await.unwrap().email_verified, "also for those who ask the cache");
    assert!(matches!(confirm(token).await, Err(AuthError::TokenInvalid)));
    assert!(matches!(service.request_email_verification(&id).await, Err(AuthError::EmailVerified)));

    execute(&postgres, "UPDATE users SET email_verified = false").await;
    service.request_email_verification(&id).await.unwrap();
    let [(_, _, token)] = &mails(&service, LIFETIMES).await[..] else { panic!("it was asked for") };
    execute(&postgres, "UPDATE users SET email = 'other@example.org'").await;
    assert!(matches!(confirm(token).await, Err(AuthError::TokenInvalid)));

    let bob = service.register("bob", PASSWORD, None, &client()).await.unwrap();
    let missing = service.request_email_verification(&bob.id.to_string()).await;
    assert!(matches!(missing, Err(AuthError::EmailMissing)));
    assert!(mails(&service, LIFETIMES).await.is_empty());
}

#[tokio::test]
async fn nobody_fills_a_mailbox_by_registering_with_its_address() {
    let Bench { service, postgres, .. } = bench().await;
    let mut sent = 0;
    for number in 0..8 {
        service.register(&format!("ada{number}"), PASSWORD, Some(EMAIL), &client()).await.unwrap();
        sent += mails(&service, LIFETIMES).await.len();
    }
    assert_eq!(sent, 5);
    assert_eq!(count(&postgres, "mails").await, 0);
    service.request_password_reset(Named::Username("ada7"), client()).await.unwrap();
    assert_eq!(mails(&service, LIFETIMES).await.len(), 1, "a reset is not held up by it");
}

#[tokio::test]
async fn without_a_way_for_mails_what_needs_one_is_refused_and_nothing_queued() {
    let Bench { mut service, postgres, .. } = bench().await;
    service.mail.sends = false;
    let user = service.register("alice", PASSWORD, Some(EMAIL), &client()).await.unwrap();
    let reset = service.request_password_reset(Named::Username("alice"), client()).await;
    assert!(matches!(reset, Err(AuthError::MailNotConfigured)));
    let verification = service.request_email_verification(&user.id.to_string()).await;
    assert!(matches!(verification, Err(AuthError::MailNotConfigured)));
    assert_eq!((count(&postgres, "mail_requests").await, count(&postgres, "mails").await), (0, 0));
}

#[tokio::test]
async fn no_token_is_stored_and_nothing_stays_of_a_user_who_is_gone() {
    let Bench { service, postgres, .. } = bench().await;
    alice(&service).await;
    let token = reset_token(&service).await;
    service
        .mail
        .queue
        .add(service.user_by_username("alice").await.unwrap().id, Purpose::PasswordReset)
        .await
        .unwrap();
    let stored = format!("mail_tokens AS token WHERE strpos(token::text, '{}') > 0", token.encoded());
    assert_eq!(count(&postgres, &stored).await, 0);
    assert_eq!((count(&postgres, "mail_tokens").await, count(&postgres, "mails").await), (2, 1));
    execute(&postgres, "DELETE FROM users").await;
    assert_eq!((count(&postgres, "mail_tokens").await, count(&postgres, "mails").await), (0, 0));
}
