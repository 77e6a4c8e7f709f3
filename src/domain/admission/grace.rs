//! The time that a job may take to stop: the grace of its spec, within the limits of the policy.
//!
//! `max_stop_grace` limits a grace. `max_timeout` includes it: a job must be gone when that time
//! has passed since its start, so the grace is cut to the rest. A caller that writes a longer grace
//! is refused. The grace of a job that was stored before the policy changed is cut when the job is
//! stopped.

use std::time::Duration;

use super::policy::{Denied, Policy};
use crate::domain::job::transition::Event;
use crate::domain::job::{Job, State, StopCause, StopTarget, Stopping};
use crate::domain::names::id::Timestamp;
use crate::domain::spec::JobSpec;
use crate::domain::text::units::Span;

/// The longest grace if the policy sets none.
const MAX_STOP_GRACE: Duration = Duration::from_secs(10 * 60);

impl Policy {
    /// Returns the longest grace that this policy allows.
    pub fn max_stop_grace(&self) -> Duration {
        self.max_stop_grace.map_or(MAX_STOP_GRACE, Span::as_duration)
    }

    /// Refuses a grace that is longer than the policy allows. The check runs when a caller writes
    /// the grace, and not again.
    ///
    /// # Errors
    /// [`Denied`] names the limit.
    pub fn admit_stop_grace(&self, spec: &JobSpec) -> Result<(), Denied> {
        self.admit_grace("stop_grace", spec.fields().stop_grace)
    }

    /// Refuses a grace in the field `field` that is longer than the policy allows. `None` is always
    /// allowed.
    ///
    /// # Errors
    /// [`Denied`] names the limit.
    pub fn admit_grace(&self, field: &'static str, grace: Option<Span>) -> Result<(), Denied> {
        let max = self.max_stop_grace();
        match grace.filter(|grace| grace.as_duration() > max) {
            None => Ok(()),
            Some(grace) => {
                let max = Span::from(max);
                let detail =
                    format!("`{field}` is {grace}, and the policy's `max_stop_grace` is {max}");
                Err(Denied { field, detail })
            }
        }
    }

    /// Returns the timeout of a job that asks for none: `max_timeout` minus the grace that the job
    /// asks for. A grace as long as `max_timeout` is not subtracted. `None` means that the policy
    /// has no `max_timeout`.
    pub(crate) fn longest_timeout(&self, stop_grace: Option<Span>) -> Option<Span> {
        let max = self.max_timeout?.as_duration();
        let grace = stop_grace.map_or(Duration::ZERO, Span::as_duration).min(self.max_stop_grace());
        Some(Span::from(if grace < max { max - grace } else { max }))
    }

    /// Builds the event that asks a job to stop, with its grace: `asked` if given, else the grace
    /// of the spec. A second request without a grace leaves none.
    pub fn stop(
        &self,
        job: &Job,
        why: StopCause,
        asked: Option<Duration>,
        now: Timestamp,
    ) -> Event {
        let is_asked_again = matches!(job.state, State::Stopping(_));
        let asked = asked.or(is_asked_again.then_some(Duration::ZERO));
        Event::Stop(why, self.grace(job, asked, now))
    }

    /// Returns the time at which a stopping job is killed. The grace counts from the request to
    /// stop, so the result does not depend on the caller's clock.
    pub fn kill_at(&self, job: &Job, stopping: &Stopping) -> Timestamp {
        let since = stopping.since;
        let asked = stopping.kill_at.map(|kill_at| (kill_at - since).to_std().unwrap_or_default());
        chrono::Duration::from_std(self.grace(job, asked, since))
            .ok()
            .and_then(|grace| since.checked_add_signed(grace))
            .unwrap_or(since)
    }

    fn grace(&self, job: &Job, asked: Option<Duration>, now: Timestamp) -> Duration {
        let wanted = asked.unwrap_or(job.spec.stop_grace()).min(self.max_stop_grace());
        match self.max_timeout.zip(began_at(job)) {
            None => wanted,
            Some((max, began_at)) => {
                let ran = (now - began_at).to_std().unwrap_or_default();
                wanted.min(max.as_duration().saturating_sub(ran))
            }
        }
    }
}

/// Returns the time at which the process began, or may have begun. `None` before any start.
fn began_at(job: &Job) -> Option<Timestamp> {
    match &job.state {
        State::Running(run) | State::Stopping(Stopping { target: StopTarget::Run(run), .. }) => {
            Some(run.started_at)
        }
        State::Starting(Some(intent))
        | State::Stopping(Stopping { target: StopTarget::Intent(intent), .. }) => Some(intent.at),
        State::Scheduled
        | State::Queued(_)
        | State::Retrying(_)
        | State::Pulling
        | State::Starting(None)
        | State::Ended(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::job::Run;
    use crate::domain::job::origin::Origin;
    use crate::domain::names::id::{Attempt, ContainerId, JobId, Version};

    fn policy(toml: &str) -> Policy {
        toml::from_str(toml).expect("a right policy")
    }

    fn spec(json: &str) -> JobSpec {
        serde_json::from_str(json).expect("a right spec")
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_timestamp(seconds, 0).expect("small enough for a calendar")
    }

    /// Builds a job that runs since second 100.
    fn runs(json: &str) -> Job {
        let run =
            Run { container: ContainerId("c".to_owned()), started_at: at(100), image_digest: None };
        Job {
            id: JobId::from_bytes([1; 16]),
            version: Version(0),
            name: "busybox".parse().expect("a name"),
            spec: spec(json),
            created_at: at(0),
            due_at: at(100),
            attempt: Attempt(1),
            state: State::Running(run),
            origin: Origin::Api,
            submitted_by: None,
        }
    }

    /// Returns the grace in seconds of a job that is asked to stop at second `now`.
    fn grace(toml: &str, json: &str, asked: Option<u64>, now: i64) -> u64 {
        let asked = asked.map(Duration::from_secs);
        match policy(toml).stop(&runs(json), StopCause::Request, asked, at(now)) {
            Event::Stop(_, grace) => grace.as_secs(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn grace_is_bounded_by_both_limits() {
        let (none, two, ten_s) = ("", "max_timeout = '2s'", "max_timeout = '60s'");
        for (toml, json, asked, now, expected) in [
            (none, "{}", None, 101, 10),
            (none, r#"{"stop_grace":"30d"}"#, None, 101, 600),
            (none, r#"{"stop_grace":"1s"}"#, None, 101, 1),
            (none, r#"{"stop_grace":"1s"}"#, Some(30), 101, 30),
            (none, "{}", Some(0), 101, 0),
            ("max_stop_grace = '5s'", "{}", None, 101, 5),
            ("max_stop_grace = '5s'", "{}", Some(30), 101, 5),
            ("max_stop_grace = '2h'", r#"{"stop_grace":"1h"}"#, None, 101, 3_600),
            (two, r#"{"stop_grace":"30d"}"#, None, 102, 0),
            (two, r#"{"stop_grace":"30d"}"#, None, 500, 0),
            (ten_s, "{}", None, 130, 10),
            (ten_s, "{}", None, 155, 5),
            (ten_s, r#"{"stop_grace":"50s"}"#, None, 130, 30),
        ] {
            assert_eq!(grace(toml, json, asked, now), expected, "{toml} {json} {asked:?} at {now}");
        }
    }

    #[test]
    fn second_request_leaves_no_grace() {
        let policy = Policy::default();
        let first = runs("{}")
            .on(policy.stop(&runs("{}"), StopCause::Request, None, at(110)), at(110))
            .expect("it runs");
        let State::Stopping(stopping) = &first.state else { panic!("{first:?}") };
        assert_eq!(policy.kill_at(&first, stopping), at(120));
        let again = policy.stop(&first, StopCause::Request, None, at(112));
        assert_eq!(again, Event::Stop(StopCause::Request, Duration::ZERO));
        let asked = policy.stop(&first, StopCause::Request, Some(Duration::from_secs(3)), at(112));
        assert_eq!(asked, Event::Stop(StopCause::Request, Duration::from_secs(3)));
    }

    #[test]
    fn kill_is_counted_from_the_request() {
        let run =
            Run { container: ContainerId("c".to_owned()), started_at: at(100), image_digest: None };
        let stopping = |kill_at| Stopping {
            target: StopTarget::Run(run.clone()),
            why: StopCause::Timeout,
            since: at(110),
            kill_at,
        };
        for (toml, json, kill_at, expected) in [
            ("", "{}", Some(at(140)), 140),
            ("", "{}", None, 120),
            ("", r#"{"stop_grace":"30d"}"#, None, 710),
            ("max_stop_grace = '5s'", "{}", Some(at(140)), 115),
            ("max_timeout = '12s'", "{}", None, 112),
        ] {
            let stopping = stopping(kill_at);
            let job = Job { state: State::Stopping(stopping.clone()), ..runs(json) };
            assert_eq!(policy(toml).kill_at(&job, &stopping), at(expected), "{toml} {json}");
        }
    }

    #[test]
    fn longer_grace_is_refused_with_the_bound() {
        let denied = Policy::default()
            .admit_stop_grace(&spec(r#"{"stop_grace":"30d"}"#))
            .expect_err("too long");
        assert_eq!(denied.field, "stop_grace");
        assert!(denied.detail.contains("`max_stop_grace` is 10m"), "{denied}");
        assert_eq!(Policy::default().admit_stop_grace(&spec(r#"{"stop_grace":"10m"}"#)), Ok(()));
        assert_eq!(
            policy("max_stop_grace = '1d'").admit_stop_grace(&spec(r#"{"stop_grace":"1d"}"#)),
            Ok(())
        );
    }

    #[test]
    fn policy_timeout_leaves_time_for_the_grace() {
        let policy = policy("max_timeout = '1h'");
        let timeout = |json| {
            let admitted =
                policy.admit(spec(json), &Default::default(), &|_| None).expect("allowed");
            admitted.fields().timeout.map(|timeout| timeout.as_duration().as_secs())
        };
        assert_eq!(timeout("{}"), Some(3_600));
        assert_eq!(timeout(r#"{"stop_grace":"1m"}"#), Some(3_540));
        assert_eq!(timeout(r#"{"stop_grace":"1h"}"#), Some(3_000), "cut to ten minutes");
        assert_eq!(timeout(r#"{"stop_grace":"1m","timeout":"1h"}"#), Some(3_600));
    }
}
