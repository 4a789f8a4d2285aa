//! What sends mails, behind the answers: on every replica, each mail by one of them.
//!
//! A mail is sent at least once: one whose sending is not known to have succeeded is sent again, with another token in place of
//! the first. It belongs to the replica that took it for longer than any attempt takes; what a dead one leaves behind is taken over after that.

use std::time::Duration;

use chassis::shutdown::Shutdown;
use lettre::message::Mailbox;

use super::letter::Stationery;
use super::queue::Outgoing;
use super::transport::SendError;
use super::{Lifetimes, Links, MailToken, Queue, Tokens, Transport};
use crate::error::AuthError;

/// How often a replica looks for work that it was not told of.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);
/// The pause after a failure: nobody is asked again at once.
const FAILURE_PAUSE: Duration = Duration::from_millis(500);
/// Work begins that long after it was asked for, give or take a half: never while the answer to whoever asked is on its way.
const HEAD_START: Duration = Duration::from_millis(100);
/// How long a mail waits after each of its attempts failed, doubled from the first to the last.
const RETRY: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(60);
/// How long a process that ends waits for the mail that it is sending.
const GRACE: Duration = Duration::from_secs(5);
const CLEANING_INTERVAL: Duration = Duration::from_secs(60);

/// Sends what is in the queue.
#[derive(Clone)]
pub struct Worker {
    queue: Queue,
    transport: Transport,
    stationery: Stationery,
    shutdown: Shutdown,
}

/// Work stopped in the middle; what was begun is still in the queue.
enum Stopped {
    /// The database or the mail server failed, and it has been told.
    Failed,
    /// The process ends.
    Ending,
}

impl From<AuthError> for Stopped {
    fn from(error: AuthError) -> Self {
        tracing::debug!("mails wait: {error}");
        Self::Failed
    }
}

impl Worker {
    pub fn new(
        queue: Queue,
        transport: Transport,
        from: Mailbox,
        links: Links,
        lifetimes: Lifetimes,
        shutdown: Shutdown,
    ) -> Self {
        Self { queue, transport, stationery: Stationery { from, links, lifetimes }, shutdown }
    }

    /// Goes on until the process stops; a mail that is being sent then is finished first.
    pub async fn run(self) {
        let stopping = self.shutdown.stopping().clone();
        loop {
            let worked = self.work().await;
            if matches!(worked, Err(Stopped::Ending)) || stopping.is_cancelled() {
                return;
            }
            let pause = async {
                match worked {
                    Err(_) => tokio::time::sleep(jittered(FAILURE_PAUSE)).await,
                    Ok(next) => tokio::select! {
                        () = tokio::time::sleep(next) => {}
                        () = self.queue.woken() => tokio::time::sleep(jittered(HEAD_START)).await,
                    },
                }
            };
            if stopping.run_until_cancelled(pause).await.is_none() {
                return;
            }
        }
    }

    /// Does all there is to do; tells when to look again.
    async fn work(&self) -> Result<Duration, Stopped> {
        while self.queue.look_up().await? {}
        loop {
            let token =
                MailToken::generate().map_err(|error| AuthError::Internal(std::sync::Arc::new(error)))?;
            let Some(mail) = self.queue.take(&token, self.stationery.lifetimes).await? else { break };
            self.deliver(&mail, &token).await?;
            if self.shutdown.stopping().is_cancelled() {
                return Err(Stopped::Ending);
            }
        }
        let next = self.queue.next_due().await?.map_or(LOOK_INTERVAL, |due| due.min(LOOK_INTERVAL));
        Ok(next + jittered(HEAD_START))
    }

    async fn deliver(&self, mail: &Outgoing, token: &MailToken) -> Result<(), Stopped> {
        let Some(email) = &mail.email else {
            count(mail, "unwanted");
            return Ok(self.queue.strike_off(mail).await?);
        };
        let letter = match self.stationery.letter(mail, email, token) {
            Ok(letter) => letter,
            Err(error) => {
                tracing::warn!(user = %mail.user_id, "mail is not sent: {error}");
                count(mail, "refused");
                return Ok(self.queue.strike_off(mail).await?);
            }
        };
        let stopping = async {
            self.shutdown.stopping().cancelled().await;
            tokio::time::sleep(GRACE).await;
        };
        let sent = tokio::select! {
            sent = self.transport.send(letter) => sent,
            () = stopping => {
                self.queue.put_off(mail, Duration::ZERO).await?;
                return Err(Stopped::Ending);
            }
        };
        match sent {
            Ok(()) => {
                count(mail, "sent");
                Ok(self.queue.strike_off(mail).await?)
            }
            Err(refused @ SendError::Refused(_)) => {
                tracing::warn!(user = %mail.user_id, "mail is not sent: {refused}");
                count(mail, "refused");
                Ok(self.queue.strike_off(mail).await?)
            }
            Err(SendError::Failed(cause)) => {
                tracing::warn!(user = %mail.user_id, attempts = mail.attempts, "mail is not sent for now: {cause}");
                count(mail, "failed");
                self.queue.put_off(mail, jittered(pause_after(mail.attempts))).await?;
                Err(Stopped::Failed)
            }
        }
    }
}

/// Drops what has waited for too long, and forgets what has expired, for as long as the process runs.
pub async fn clean(queue: Queue, tokens: Tokens) {
    loop {
        tokio::time::sleep(jittered(CLEANING_INTERVAL)).await;
        match queue.give_up().await {
            Ok(0) => {}
            Ok(given_up) => tracing::warn!(given_up, "mails could not be sent for too long and are given up"),
            Err(error) => tracing::debug!("old mails are kept for now: {error}"),
        }
        if let Err(error) = tokens.forget_expired().await {
            tracing::debug!("expired tokens are kept for now: {error}");
        }
    }
}

fn count(mail: &Outgoing, outcome: &'static str) {
    metrics::counter!("mails_total", "purpose" => mail.purpose.name(), "outcome" => outcome).increment(1);
}

fn pause_after(attempts: i32) -> Duration {
    let doublings = u32::try_from(attempts - 1).unwrap_or_default().min(16);
    RETRY.start().saturating_mul(1 << doublings).min(*RETRY.end())
}

fn jittered(interval: Duration) -> Duration {
    interval.mul_f64(0.5 + fastrand::f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_minute() {
        let seconds = |attempts| pause_after(attempts).as_secs();
        assert_eq!([1, 2, 3, 6, 7, 40].map(seconds), [1, 2, 4, 32, 60, 60]);
    }
}
