//! Answers questions about a container from the engine's event log, including "the log does not go
//! back far enough".
//!
//! **Docker** keeps the last 256 events of all kinds in memory, and none through a restart of the
//! daemon. All of them are read, up to now by the daemon's own clock. Our clock may differ, and an
//! `until` that is too early leaves out the very event that counts. Measured on 20.10 without
//! live-restore, for a container that was running:
//!
//! - Somebody killed its process: exit code 137. The log has `start` and `die`.
//! - The daemon was stopped in order: exit code 143, or 137 after 10 s. The next daemon's log has
//!   nothing: the `die` is in the log that went with the old daemon.
//! - The daemon was killed, and the process ran on: the same codes, or the process's own code on
//!   SIGTERM. The log has `kill`, `die`, `stop`: the next daemon ends running containers before it
//!   answers anybody.
//! - Everything was killed, as when the host crashes: exit code 255. The log has nothing.
//!
//! So a missing `start` proves a restart; a missing `die` does not.
//!
//! A daemon that is killed during a `start` leaves worse: a process unknown to the next daemon. The
//! next daemon shows the container as `created`, removes it without force, and has no start of it.
//! So a container without a trace of a start is believed only if the answering daemon created it.
//! The `create` of the container in that daemon's log proves this.
//!
//! **Podman** has no daemon. Its log is a file or the journal, outlives the service, and has a
//! `refresh` for every boot of the host. The query uses `stream=false`: with an `until` in the
//! past, 4.3 left out events, mostly all of them.

use std::collections::HashMap;

use serde::Deserialize;

use super::client::EngineClient;
use super::errors::CallError;
use super::inspect;
use crate::clock::{Clock, SystemClock};
use crate::domain::container::{Evidence, EvidenceQuery};
use crate::domain::names::id::{ContainerId, InstanceId, Timestamp};
use crate::engine::Started;

/// The number of events below which Docker's log of 256 has lost none. The margin is for events
/// that arrive, and displace as many old ones, while the log is read.
const SURELY_WHOLE: usize = 200;
/// The hours before the queried instant from which Podman's log is read, to find some earlier
/// event.
const PODMAN_HOURS: i64 = 1;

/// The events that only happen to a container after its process was started.
const STARTED: [&str; 5] = ["start", "restart", "die", "died", "oom"];

/// The engine that owns the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Docker {
        /// The daemon's own time.
        now: Timestamp,
    },
    Podman,
}

/// Answers a question about a container from the log.
pub(super) async fn ask(
    client: &EngineClient,
    source: Source,
    container: &ContainerId,
    question: EvidenceQuery,
    since: Timestamp,
) -> Result<Evidence, CallError> {
    // The window is taken before the log is read. It can only appear longer than the time between
    // inspection and removal.
    let window = SystemClock.now() - since;
    let log = Log { source, container, events: read(client, source, since).await? };
    Ok(match question {
        EvidenceQuery::StartedBeforeRemoval => log.started_before_removal(window),
        EvidenceQuery::StartedByThisEngine => log.started_by_this_engine(since),
        EvidenceQuery::CreatedByThisEngine => log.created_by_this_engine(since),
    })
}

/// Returns the starts of an instance's containers in the log, and whether the log reaches back to
/// `since`.
pub(super) async fn started(
    client: &EngineClient,
    source: Source,
    instance: InstanceId,
    since: Timestamp,
) -> Result<Started, CallError> {
    Ok(started_in(&read(client, source, since).await?, instance, since))
}

/// Collects the started attempts. A container that ended had started, though its start may have
/// dropped out of the log.
fn started_in(events: &[Event], instance: InstanceId, since: Timestamp) -> Started {
    let since = since.timestamp_nanos_opt().unwrap_or(i64::MIN);
    let mut started = Started {
        reaches_back: events.iter().any(|event| event.at <= since),
        ..Started::default()
    };
    for event in events.iter().filter(|event| STARTED.contains(&event.action.as_str())) {
        let labels = event.actor.attributes.as_ref();
        let Some(owner) =
            labels.and_then(inspect::owner).filter(|owner| owner.instance == instance)
        else {
            continue;
        };
        let last = started.attempts.entry(owner.job).or_default();
        *last = owner.attempt.max(*last);
    }
    started
}

async fn read(
    client: &EngineClient,
    source: Source,
    since: Timestamp,
) -> Result<Vec<Event>, CallError> {
    match source {
        Source::Docker { now } => {
            let until = format!("{}.{:09}", now.timestamp(), now.timestamp_subsec_nanos());
            client.read_rows("/events", &[("since", "1"), ("until", &until)]).await
        }
        Source::Podman => {
            let since = (since - chrono::Duration::hours(PODMAN_HOURS)).timestamp().to_string();
            client.read_rows("/events", &[("stream", "false"), ("since", &since)]).await
        }
    }
}

/// The parts of an event that we read.
#[derive(Debug, Deserialize)]
struct Event {
    #[serde(rename = "Action", default)]
    action: String,
    #[serde(rename = "Actor", default)]
    actor: Actor,
    /// Nanoseconds of the engine's clock. An event without a time proves nothing about the past.
    #[serde(rename = "timeNano", default = "undated")]
    at: i64,
}

const fn undated() -> i64 {
    i64::MAX
}

#[derive(Debug, Default, Deserialize)]
struct Actor {
    #[serde(rename = "ID", default)]
    id: String,
    /// The attributes, which include the container's labels.
    #[serde(rename = "Attributes", default)]
    attributes: Option<HashMap<String, String>>,
}

/// A log, and the container that it was read for.
struct Log<'c> {
    source: Source,
    container: &'c ContainerId,
    events: Vec<Event>,
}

impl Log<'_> {
    /// Compares only times of the engine's own clock. `window` is the longest possible time since
    /// the container was inspected.
    fn started_before_removal(&self, window: chrono::Duration) -> Evidence {
        // A process that ended had started, even if the log lacks the start.
        if self.last(&STARTED).is_some() {
            return Evidence::Seen;
        }
        let removed = self.last(&["destroy", "remove"]);
        let looked_at = removed
            .zip(window.num_nanoseconds())
            .map(|(removed, window)| removed.saturating_sub(window));
        match looked_at {
            Some(looked_at) if self.reaches_back_to(looked_at) => Evidence::NotSeen,
            Some(_) | None => Evidence::Inconclusive,
        }
    }

    fn started_by_this_engine(&self, since: Timestamp) -> Evidence {
        let since = since.timestamp_nanos_opt().unwrap_or(i64::MIN);
        let started = self.last(&["start", "restart"]);
        match self.source {
            Source::Docker { .. } if started.is_some() => Evidence::Seen,
            // The log is complete since the daemon came up, or at least since the start. So another
            // daemon made the start.
            Source::Docker { .. }
                if self.events.len() < SURELY_WHOLE || self.reaches_back_to(since) =>
            {
                Evidence::NotSeen
            }
            Source::Podman if self.was_booted_after(started.unwrap_or(since)) => Evidence::NotSeen,
            Source::Podman if started.is_some() => Evidence::Seen,
            Source::Docker { .. } | Source::Podman => Evidence::Inconclusive,
        }
    }

    fn created_by_this_engine(&self, created_at: Timestamp) -> Evidence {
        let created_at = created_at.timestamp_nanos_opt().unwrap_or(i64::MIN);
        match self.source {
            Source::Docker { .. } if self.last(&["create"]).is_some() => Evidence::Seen,
            Source::Docker { .. } if self.events.len() < SURELY_WHOLE => Evidence::NotSeen,
            Source::Docker { .. } => Evidence::Inconclusive,
            Source::Podman if self.was_booted_after(created_at) => Evidence::NotSeen,
            Source::Podman => Evidence::Seen,
        }
    }

    /// Checks whether Podman's host was booted after the instant.
    fn was_booted_after(&self, instant: i64) -> bool {
        self.events.iter().any(|event| event.action == "refresh" && event.at > instant)
    }

    /// Checks whether the log reaches back to an instant. A log has no gaps, so any older event
    /// proves that it does.
    fn reaches_back_to(&self, instant: i64) -> bool {
        self.events.iter().any(|event| event.at <= instant)
    }

    /// Returns the time of the container's last event among these actions.
    fn last(&self, actions: &[&str]) -> Option<i64> {
        let its = self.events.iter().filter(|event| event.actor.id == self.container.0);
        its.filter(|event| actions.contains(&event.action.as_str())).map(|event| event.at).max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::container::{LABEL_ATTEMPT, LABEL_INSTANCE, LABEL_JOB};
    use crate::domain::names::id::{Attempt, JobId};

    const DOCKER: Source = Source::Docker { now: Timestamp::UNIX_EPOCH };
    const SECOND: i64 = 1_000_000_000;

    /// Returns a log of `(second, container, action)`, read for `container`.
    fn log<'c>(
        source: Source,
        container: &'c ContainerId,
        events: &[(i64, &str, &str)],
    ) -> Log<'c> {
        let event = |(second, id, action): &(i64, &str, &str)| Event {
            action: (*action).to_owned(),
            actor: Actor { id: (*id).to_owned(), attributes: None },
            at: second * SECOND,
        };
        Log { source, container, events: events.iter().map(event).collect() }
    }

    /// Asks whether `a` was started between an inspection ten seconds ago and its removal.
    fn before_removal(source: Source, events: &[(i64, &str, &str)]) -> Evidence {
        let a = ContainerId("a".to_owned());
        log(source, &a, events).started_before_removal(chrono::Duration::seconds(10))
    }

    /// Asks whether the engine that answers now is the one that started `a` in second 100.
    fn by_this_engine(source: Source, events: &[(i64, &str, &str)]) -> Evidence {
        let a = ContainerId("a".to_owned());
        log(source, &a, events)
            .started_by_this_engine(Timestamp::from_timestamp(100, 0).unwrap_or_default())
    }

    #[test]
    fn not_seen_needs_a_log_covering_the_window() {
        for (source, removal) in [(DOCKER, "destroy"), (Source::Podman, "remove")] {
            let never = [(99, "a", "create"), (140, "a", removal)];
            assert_eq!(before_removal(source, &never), Evidence::NotSeen);
            assert_eq!(before_removal(source, &never[..1]), Evidence::Inconclusive, "no removal");
            assert_eq!(
                before_removal(source, &never[1..]),
                Evidence::Inconclusive,
                "nothing from before"
            );
            assert_eq!(
                before_removal(source, &[(131, "b", "create"), (140, "a", removal)]),
                Evidence::Inconclusive
            );
            assert_eq!(
                before_removal(source, &[(139, "a", "start"), (140, "a", removal)]),
                Evidence::Seen
            );
            assert_eq!(
                before_removal(source, &[(139, "a", "die"), (140, "a", removal)]),
                Evidence::Seen
            );
        }
    }

    #[test]
    fn log_without_the_start_belongs_to_later_daemon() {
        let taken_down = [(111, "a", "kill"), (121, "a", "die"), (121, "a", "stop")];
        assert_eq!(by_this_engine(DOCKER, &[]), Evidence::NotSeen);
        assert_eq!(by_this_engine(DOCKER, &taken_down), Evidence::NotSeen);
        assert_eq!(
            by_this_engine(DOCKER, &[(101, "a", "start"), (121, "a", "die")]),
            Evidence::Seen
        );
    }

    #[test]
    fn log_that_may_lack_the_start_is_inconclusive() {
        // Networks count, too: for a run on a bridge, a third of the events are not the
        // container's.
        let full: Vec<_> = (0..200).map(|n| (130 + n, "net", "connect")).collect();
        assert_eq!(by_this_engine(DOCKER, &full), Evidence::Inconclusive);
        assert_eq!(by_this_engine(DOCKER, &full[1..]), Evidence::NotSeen);
        assert_eq!(
            by_this_engine(DOCKER, &[&[(99, "b", "die")], &full[1..]].concat()),
            Evidence::NotSeen
        );
    }

    #[test]
    fn log_gives_last_started_attempt_of_each_job() {
        let (ours, other) = (InstanceId::new([1; 16]), InstanceId::new([2; 16]));
        let job = |n| JobId::from_bytes([n; 16]);
        let event = |second: i64,
                     action: &str,
                     instance: InstanceId,
                     job: JobId,
                     attempt: u32|
         -> Event {
            let labels = [(LABEL_INSTANCE, instance.to_string()), (LABEL_JOB, job.to_string())];
            let attempt = (LABEL_ATTEMPT, attempt.to_string());
            let attributes: HashMap<_, _> = labels.into_iter().chain([attempt]).collect();
            let json = serde_json::json!({"Action": action, "Actor": {"ID": "a", "Attributes": attributes}, "timeNano": second * SECOND});
            serde_json::from_value(json).expect("an event")
        };
        let events = [
            event(100, "create", ours, job(1), 1),
            event(101, "start", ours, job(2), 2),
            event(102, "die", ours, job(2), 1),
            event(103, "start", other, job(3), 1),
            event(104, "die", ours, job(4), 1),
        ];
        let at = |second| Timestamp::from_timestamp(second, 0).expect("a time");
        let found = started_in(&events, ours, at(100));
        assert_eq!(found.attempts, HashMap::from([(job(2), Attempt(2)), (job(4), Attempt(1))]));
        assert!(found.reaches_back);
        assert!(!started_in(&events, ours, at(99)).reaches_back);
    }

    #[test]
    fn log_with_the_create_proves_the_creating_daemon() {
        let a = ContainerId("a".to_owned());
        let created = |source, events: &[(i64, &str, &str)]| {
            log(source, &a, events)
                .created_by_this_engine(Timestamp::from_timestamp(100, 0).unwrap_or_default())
        };
        let full: Vec<_> = (0..200).map(|n| (130 + n, "net", "connect")).collect();
        assert_eq!(created(DOCKER, &[(100, "a", "create"), (111, "a", "destroy")]), Evidence::Seen);
        assert_eq!(
            created(DOCKER, &[(100, "b", "create"), (111, "a", "destroy")]),
            Evidence::NotSeen
        );
        assert_eq!(created(DOCKER, &full), Evidence::Inconclusive);
        assert_eq!(created(Source::Podman, &[]), Evidence::Seen, "no daemon, no restart");
        assert_eq!(created(Source::Podman, &[(110, "", "refresh")]), Evidence::NotSeen);
    }

    #[test]
    fn podman_log_outlives_and_records_a_reboot() {
        assert_eq!(
            by_this_engine(Source::Podman, &[(101, "a", "start"), (110, "a", "died")]),
            Evidence::Seen
        );
        assert_eq!(
            by_this_engine(Source::Podman, &[(101, "a", "start"), (110, "", "refresh")]),
            Evidence::NotSeen
        );
        assert_eq!(
            by_this_engine(Source::Podman, &[(110, "", "refresh")]),
            Evidence::NotSeen,
            "a log in memory"
        );
        assert_eq!(by_this_engine(Source::Podman, &[]), Evidence::Inconclusive, "no log at all");
    }
}
