//! Delivers job-end notifications to the URLs in a spec's `notify`.
//!
//! The store writes a notification to its outbox together with the job's end. This module sends it,
//! then removes it from the outbox. Every notification is thus delivered at least once, and a
//! repeated one has the same `Idempotency-Key`. No job waits for a delivery, so a slow or
//! unreachable receiver does not delay jobs.
//!
//! Each receiver (a host and port) gets one notification at a time, in the order in which jobs
//! ended. A receiver that does not answer is left alone for a while, and its notifications wait in
//! order. A receiver that rejects one is sent the next, and the rejected one waits. A notification
//! that failed for a day is abandoned. No redirect is followed, because it would bypass the policy.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::CONTENT_TYPE;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

use crate::clock::Clock;
use crate::domain::names::id::Timestamp;
use crate::metrics::Metrics;
use crate::store::outbox::Notification;
use crate::store::{Entry, Store, StoreError, Transition};

/// The number of receivers that are served at the same time.
const AT_ONCE: usize = 16;
/// The longest time that one call may take in all.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The first pause after a failure. Each further failure in a row doubles it.
const FIRST_REST: Duration = Duration::from_secs(1);
/// The longest pause for a receiver that does not answer.
const LONGEST_REST: Duration = Duration::from_secs(5 * 60);
/// The longest pause for a notification that was rejected.
const LONGEST_PUT_OFF: Duration = Duration::from_secs(60 * 60);
/// The age at which a failing notification is abandoned.
const GIVEN_UP_AFTER: chrono::Duration = chrono::Duration::hours(24);
/// The interval between checks of the outbox while no job ends.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// The task that sends the notifications in the outbox.
pub(crate) struct Notifier {
    sender: Arc<Sender>,
    /// Receivers that do not answer: the end of the pause, and the number of failures in a row.
    resting: HashMap<String, (Instant, u32)>,
    /// Receivers that are being served, each by one task.
    busy: HashMap<tokio::task::Id, String>,
    tasks: JoinSet<DeliveryResult>,
}

struct Sender {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    http: reqwest::Client,
    metrics: Metrics,
}

/// The result of serving one receiver.
enum DeliveryResult {
    /// No more notifications are due.
    All,
    /// The receiver did not answer.
    NoAnswer,
    /// The outbox cannot be read or written. The error is logged already.
    NoStore,
}

impl Notifier {
    /// Creates a notifier for the outbox of `store`.
    ///
    /// # Errors
    /// Fails when TLS cannot be set up on this machine.
    pub(crate) fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        metrics: Metrics,
    ) -> reqwest::Result<Self> {
        let redirects = reqwest::redirect::Policy::none();
        let http = reqwest::Client::builder().timeout(TIMEOUT).redirect(redirects).build()?;
        let sender = Arc::new(Sender { store, clock, http, metrics });
        Ok(Self { sender, resting: HashMap::new(), busy: HashMap::new(), tasks: JoinSet::new() })
    }

    /// Sends notifications until `stop` is cancelled. A delivery under way at that moment is
    /// repeated after the next start.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let mut entries = self.sender.store.subscribe();
        loop {
            let nap = self.round().await.unwrap_or_else(|failure| {
                // The store itself logs the loss of its data directory.
                if !matches!(failure, StoreError::Gone(_)) {
                    error!(error = %failure, "the outbox cannot be read; trying again");
                }
                LOOK_EVERY
            });
            let ended = async {
                // A missed entry only means that there were many.
                let is_end = |entry: &Entry| entry.job().is_some_and(Transition::is_end);
                while entries.recv().await.is_ok_and(|entry| !is_end(&entry)) {}
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => return self.tasks.shutdown().await,
                Some(told) = self.tasks.join_next_with_id() => self.note(told),
                () = ended => {}
                () = tokio::time::sleep(nap) => {}
            }
        }
    }

    /// Spawns a task for each receiver that has a due notification, up to [`AT_ONCE`] tasks.
    /// Returns how long to sleep until the next round.
    async fn round(&mut self) -> Result<Duration, StoreError> {
        let (now, instant) = (self.sender.clock.now(), Instant::now());
        let mut nap = LOOK_EVERY;
        let receivers = self.sender.store.receivers().await?;
        self.resting.retain(|resting, _| receivers.iter().any(|(receiver, _)| receiver == resting));
        for (receiver, due_at) in receivers {
            let rest = self
                .resting
                .get(&receiver)
                .map_or(Duration::ZERO, |(until, _)| until.duration_since(instant));
            let wait = (due_at - now).to_std().unwrap_or_default().max(rest);
            let is_busy =
                self.tasks.len() >= AT_ONCE || self.busy.values().any(|other| *other == receiver);
            if !wait.is_zero() {
                nap = nap.min(wait);
            } else if !is_busy {
                let task = self.tasks.spawn(self.sender.clone().tell_all(receiver.clone()));
                self.busy.insert(task.id(), receiver);
            }
        }
        Ok(nap)
    }

    fn note(&mut self, told: Result<(tokio::task::Id, DeliveryResult), tokio::task::JoinError>) {
        let (id, told) = told.unwrap_or_else(|broken| {
            error!(error = %broken, "the sender of a notification broke");
            (broken.id(), DeliveryResult::NoAnswer)
        });
        let Some(receiver) = self.busy.remove(&id) else { return };
        match told {
            DeliveryResult::All => drop(self.resting.remove(&receiver)),
            DeliveryResult::NoAnswer | DeliveryResult::NoStore => {
                let failures = self.resting.get(&receiver).map_or(0, |(_, failures)| *failures);
                let until = Instant::now() + doubled(failures, LONGEST_REST);
                self.resting.insert(receiver, (until, failures.saturating_add(1)));
            }
        }
    }
}

impl Sender {
    async fn tell_all(self: Arc<Self>, receiver: String) -> DeliveryResult {
        loop {
            let told = match self.store.next_notification(&receiver, self.clock.now()).await {
                Ok(Some(notification)) => self.tell(&receiver, notification).await,
                Ok(None) => return DeliveryResult::All,
                Err(failure) => Err(failure),
            };
            match told {
                Ok(true) => {}
                Ok(false) => return DeliveryResult::NoAnswer,
                Err(failure) => {
                    if !matches!(failure, StoreError::Gone(_)) {
                        error!(error = %failure, %receiver, "the outbox cannot be read or written; trying again");
                    }
                    return DeliveryResult::NoStore;
                }
            }
        }
    }

    /// Sends one notification. Returns whether to send the next one to this receiver now.
    async fn tell(&self, receiver: &str, notification: Notification) -> Result<bool, StoreError> {
        let call = self.http.post(&notification.url).header(CONTENT_TYPE, "application/json");
        let call =
            call.header("Idempotency-Key", format!("{}-{}", notification.job, notification.seq.0));
        let (job, now) = (notification.job, self.clock.now());
        let answer = call.body(notification.body).send().await.map(|answer| answer.status());
        if answer.as_ref().is_ok_and(reqwest::StatusCode::is_success) {
            self.metrics.notified("delivered");
            self.take_out(notification.id).await?;
            debug!(%job, receiver, "notified");
            return Ok(true);
        }
        self.metrics.notified(if answer.is_ok() { "rejected" } else { "no_answer" });
        // The path and the query are not logged: they may hold a secret.
        let why = match &answer {
            Ok(status) => format!("it answers {status}"),
            Err(failure) if failure.is_timeout() => "it did not answer in time".to_owned(),
            Err(_) => "it cannot be reached".to_owned(),
        };
        if now - notification.made_at >= GIVEN_UP_AFTER {
            warn!(%job, receiver, %why, "a notification is given up after a day");
            self.metrics.notified("abandoned");
            self.take_out(notification.id).await?;
            return Ok(true);
        }
        warn!(%job, receiver, %why, tries = notification.tries + 1, "a notification was not taken; trying again");
        if answer.is_ok() {
            self.store
                .postpone_notification(
                    notification.id,
                    later(now, doubled(notification.tries, LONGEST_PUT_OFF)),
                )
                .await?;
        }
        Ok(answer.is_ok())
    }

    /// Removes a notification, and retries while the disk is full, so that a full disk does not
    /// cause a second delivery. This receiver gets nothing else meanwhile.
    async fn take_out(&self, id: i64) -> Result<(), StoreError> {
        loop {
            match self.store.remove_notification(id).await {
                Err(StoreError::Full) => tokio::time::sleep(LOOK_EVERY).await,
                other => return other,
            }
        }
    }
}

fn doubled(failures: u32, longest: Duration) -> Duration {
    FIRST_REST.saturating_mul(1 << failures.min(20)).min(longest)
}

fn later(now: Timestamp, by: Duration) -> Timestamp {
    chrono::Duration::from_std(by).ok().and_then(|by| now.checked_add_signed(by)).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_doubles_the_pause_up_to_longest() {
        let rests: Vec<u64> =
            [0, 1, 2, 8, 9, u32::MAX].map(|n| doubled(n, LONGEST_REST).as_secs()).into();
        assert_eq!(rests, [1, 2, 4, 256, 300, 300]);
    }
}
