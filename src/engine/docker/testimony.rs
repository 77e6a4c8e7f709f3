//! What an engine's own event log proves about a container, and what it does not.
//!
//! **Docker** keeps the last 256 events of all kinds in memory, and none through a restart of the daemon. All of them are
//! read, up to now by the daemon's own clock: ours may differ, and an `until` that is too early leaves out the very event
//! that counts. Measured on 20.10 without live-restore, for a container that was running:
//!
//! | what happened | exit code | in the log of the daemon that answers then |
//! |---|---|---|
//! | somebody killed its process | 137 | `start` and `die` |
//! | the daemon was stopped in order | 143, or 137 after 10 s | nothing: its `die` is in the log that went with the daemon |
//! | the daemon was killed, the process ran on | the same, or what it makes of SIGTERM | `kill`, `die`, `stop`: the next daemon ends what it finds, before it answers anybody |
//! | all was killed, as when the host crashes | 255 | nothing |
//!
//! So it is the missing `start` that tells of a restart, and not a missing `die`.
//!
//! A daemon that is killed over a `start` leaves worse: a process of which the next one knows nothing. It shows the
//! container as `created`, removes it without force, and has no start of it. So a container that shows no trace of a start
//! is believed only of the daemon that created it; its `create` in the log says which one that is.
//!
//! **Podman** has no daemon. Its log is a file or the journal, outlives the service, and has a `refresh` for every boot of
//! the host. It is asked with `stream=false`: with an `until` that was over, 4.3 left out events, mostly all of them.

use std::collections::HashMap;

use serde::Deserialize;

use super::answers::Fault;
use super::observe;
use super::wire::Wire;
use crate::clock::{Clock, SystemClock};
use crate::domain::container::{Question, Testimony};
use crate::domain::id::{ContainerId, InstanceId, Timestamp};
use crate::engine::Started;

/// With fewer events than this, of whatever kind, Docker's log of 256 has lost none: some may have come, and pushed out as
/// many old ones, while it was read.
const SURELY_WHOLE: usize = 200;
/// How far before the instant in question Podman's log is read, to find something that was before.
const PODMAN_HOURS: i64 = 1;

/// What only happens to a container whose process was started.
const STARTED: [&str; 5] = ["start", "restart", "die", "died", "oom"];

/// Whose log it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// Docker's.
    Docker {
        /// The daemon's own time.
        now: Timestamp,
    },
    /// Podman's.
    Podman,
}

/// What the log says of a container.
pub(super) async fn ask(
    wire: &Wire,
    source: Source,
    container: &ContainerId,
    question: Question,
    since: Timestamp,
) -> Result<Testimony, Fault> {
    // Taken before the log is read: the window between the look and the removal only seems longer by that.
    let window = SystemClock.now() - since;
    let log = Log { source, container, events: read(wire, source, since).await? };
    Ok(match question {
        Question::StartedBeforeRemoval => log.started_before_removal(window),
        Question::StartedByThisEngine => log.started_by_this_engine(since),
        Question::CreatedByThisEngine => log.created_by_this_engine(since),
    })
}

/// What the log has of starts of an instance's containers, and whether it reaches back to `since`.
pub(super) async fn started(
    wire: &Wire,
    source: Source,
    instance: InstanceId,
    since: Timestamp,
) -> Result<Started, Fault> {
    Ok(started_in(&read(wire, source, since).await?, instance, since))
}

/// What ended had started, though its start may have been pushed out of the log.
fn started_in(events: &[Event], instance: InstanceId, since: Timestamp) -> Started {
    let since = since.timestamp_nanos_opt().unwrap_or(i64::MIN);
    let mut started = Started {
        reaches_back: events.iter().any(|event| event.at <= since),
        ..Started::default()
    };
    for event in events.iter().filter(|event| STARTED.contains(&event.action.as_str())) {
        let labels = event.actor.attributes.as_ref();
        let Some(owner) =
            labels.and_then(observe::owner).filter(|owner| owner.instance == instance)
        else {
            continue;
        };
        let last = started.attempts.entry(owner.job).or_default();
        *last = owner.attempt.max(*last);
    }
    started
}

async fn read(wire: &Wire, source: Source, since: Timestamp) -> Result<Vec<Event>, Fault> {
    match source {
        Source::Docker { now } => {
            let until = format!("{}.{:09}", now.timestamp(), now.timestamp_subsec_nanos());
            wire.read_rows("/events", &[("since", "1"), ("until", &until)]).await
        }
        Source::Podman => {
            let since = (since - chrono::Duration::hours(PODMAN_HOURS)).timestamp().to_string();
            wire.read_rows("/events", &[("stream", "false"), ("since", &since)]).await
        }
    }
}

/// An event, as far as it is of interest.
#[derive(Debug, Deserialize)]
struct Event {
    #[serde(rename = "Action", default)]
    action: String,
    #[serde(rename = "Actor", default)]
    actor: Actor,
    /// Nanoseconds of the engine's clock. Without one it proves nothing about the past.
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
    /// With its labels among them.
    #[serde(rename = "Attributes", default)]
    attributes: Option<HashMap<String, String>>,
}

/// A log, and the container it was read for.
struct Log<'c> {
    source: Source,
    container: &'c ContainerId,
    events: Vec<Event>,
}

impl Log<'_> {
    /// Only times of the engine's own clock are compared; `window` is how long ago, at most, the container was looked at.
    fn started_before_removal(&self, window: chrono::Duration) -> Testimony {
        // What ended had started, whether or not that was written down.
        if self.last(&STARTED).is_some() {
            return Testimony::Seen;
        }
        let removed = self.last(&["destroy", "remove"]);
        let looked_at = removed
            .zip(window.num_nanoseconds())
            .map(|(removed, window)| removed.saturating_sub(window));
        match looked_at {
            Some(looked_at) if self.reaches_back_to(looked_at) => Testimony::NotSeen,
            Some(_) | None => Testimony::CannotTell,
        }
    }

    fn started_by_this_engine(&self, since: Timestamp) -> Testimony {
        let since = since.timestamp_nanos_opt().unwrap_or(i64::MIN);
        let started = self.last(&["start", "restart"]);
        match self.source {
            Source::Docker { .. } if started.is_some() => Testimony::Seen,
            // Whole since the daemon came up, or at least since the start: which was another daemon's, then.
            Source::Docker { .. }
                if self.events.len() < SURELY_WHOLE || self.reaches_back_to(since) =>
            {
                Testimony::NotSeen
            }
            Source::Podman if self.was_booted_after(started.unwrap_or(since)) => Testimony::NotSeen,
            Source::Podman if started.is_some() => Testimony::Seen,
            Source::Docker { .. } | Source::Podman => Testimony::CannotTell,
        }
    }

    fn created_by_this_engine(&self, created_at: Timestamp) -> Testimony {
        let created_at = created_at.timestamp_nanos_opt().unwrap_or(i64::MIN);
        match self.source {
            Source::Docker { .. } if self.last(&["create"]).is_some() => Testimony::Seen,
            Source::Docker { .. } if self.events.len() < SURELY_WHOLE => Testimony::NotSeen,
            Source::Docker { .. } => Testimony::CannotTell,
            Source::Podman if self.was_booted_after(created_at) => Testimony::NotSeen,
            Source::Podman => Testimony::Seen,
        }
    }

    /// Podman's host was.
    fn was_booted_after(&self, instant: i64) -> bool {
        self.events.iter().any(|event| event.action == "refresh" && event.at > instant)
    }

    /// A log has no holes: whatever is older than an instant proves that it reaches back to there.
    fn reaches_back_to(&self, instant: i64) -> bool {
        self.events.iter().any(|event| event.at <= instant)
    }

    /// When one of these last happened to the container.
    fn last(&self, actions: &[&str]) -> Option<i64> {
        let its = self.events.iter().filter(|event| event.actor.id == self.container.0);
        its.filter(|event| actions.contains(&event.action.as_str())).map(|event| event.at).max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::container::{LABEL_ATTEMPT, LABEL_INSTANCE, LABEL_JOB};
    use crate::domain::id::{Attempt, JobId};

    const DOCKER: Source = Source::Docker { now: Timestamp::UNIX_EPOCH };
    const SECOND: i64 = 1_000_000_000;

    /// A log of `(second, container, action)`, read for container `a`.
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

    /// Whether `a` was started between a look ten seconds ago and its removal.
    fn before_removal(source: Source, events: &[(i64, &str, &str)]) -> Testimony {
        let a = ContainerId("a".to_owned());
        log(source, &a, events).started_before_removal(chrono::Duration::seconds(10))
    }

    /// Whether the engine that answers now is the one that started `a` in second 100.
    fn by_this_engine(source: Source, events: &[(i64, &str, &str)]) -> Testimony {
        let a = ContainerId("a".to_owned());
        log(source, &a, events)
            .started_by_this_engine(Timestamp::from_timestamp(100, 0).unwrap_or_default())
    }

    #[test]
    fn a_start_was_not_seen_only_in_a_log_from_before_the_look_to_after_the_removal() {
        for (source, removal) in [(DOCKER, "destroy"), (Source::Podman, "remove")] {
            let never = [(99, "a", "create"), (140, "a", removal)];
            assert_eq!(before_removal(source, &never), Testimony::NotSeen);
            assert_eq!(before_removal(source, &never[..1]), Testimony::CannotTell, "no removal");
            assert_eq!(
                before_removal(source, &never[1..]),
                Testimony::CannotTell,
                "nothing from before"
            );
            assert_eq!(
                before_removal(source, &[(131, "b", "create"), (140, "a", removal)]),
                Testimony::CannotTell
            );
            assert_eq!(
                before_removal(source, &[(139, "a", "start"), (140, "a", removal)]),
                Testimony::Seen
            );
            assert_eq!(
                before_removal(source, &[(139, "a", "die"), (140, "a", removal)]),
                Testimony::Seen
            );
        }
    }

    #[test]
    fn a_log_without_the_start_is_that_of_a_later_daemon() {
        let taken_down = [(111, "a", "kill"), (121, "a", "die"), (121, "a", "stop")];
        assert_eq!(by_this_engine(DOCKER, &[]), Testimony::NotSeen);
        assert_eq!(by_this_engine(DOCKER, &taken_down), Testimony::NotSeen);
        assert_eq!(
            by_this_engine(DOCKER, &[(101, "a", "start"), (121, "a", "die")]),
            Testimony::Seen
        );
    }

    #[test]
    fn a_log_that_may_have_lost_the_start_cannot_tell() {
        // Networks count, too: of the events of a run on a bridge, a third are not the container's.
        let full: Vec<_> = (0..200).map(|n| (130 + n, "net", "connect")).collect();
        assert_eq!(by_this_engine(DOCKER, &full), Testimony::CannotTell);
        assert_eq!(by_this_engine(DOCKER, &full[1..]), Testimony::NotSeen);
        assert_eq!(
            by_this_engine(DOCKER, &[&[(99, "b", "die")], &full[1..]].concat()),
            Testimony::NotSeen
        );
    }

    #[test]
    fn of_an_instance_the_log_has_the_last_attempt_of_each_job_and_says_whether_it_reaches_back() {
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
    fn only_a_log_with_its_creation_is_that_of_the_daemon_that_created_it() {
        let a = ContainerId("a".to_owned());
        let created = |source, events: &[(i64, &str, &str)]| {
            log(source, &a, events)
                .created_by_this_engine(Timestamp::from_timestamp(100, 0).unwrap_or_default())
        };
        let full: Vec<_> = (0..200).map(|n| (130 + n, "net", "connect")).collect();
        assert_eq!(
            created(DOCKER, &[(100, "a", "create"), (111, "a", "destroy")]),
            Testimony::Seen
        );
        assert_eq!(
            created(DOCKER, &[(100, "b", "create"), (111, "a", "destroy")]),
            Testimony::NotSeen
        );
        assert_eq!(created(DOCKER, &full), Testimony::CannotTell);
        assert_eq!(created(Source::Podman, &[]), Testimony::Seen, "no daemon, no restart");
        assert_eq!(created(Source::Podman, &[(110, "", "refresh")]), Testimony::NotSeen);
    }

    #[test]
    fn podmans_log_outlives_a_reboot_and_has_it() {
        assert_eq!(
            by_this_engine(Source::Podman, &[(101, "a", "start"), (110, "a", "died")]),
            Testimony::Seen
        );
        assert_eq!(
            by_this_engine(Source::Podman, &[(101, "a", "start"), (110, "", "refresh")]),
            Testimony::NotSeen
        );
        assert_eq!(
            by_this_engine(Source::Podman, &[(110, "", "refresh")]),
            Testimony::NotSeen,
            "a log in memory"
        );
        assert_eq!(by_this_engine(Source::Podman, &[]), Testimony::CannotTell, "no log at all");
    }
}
