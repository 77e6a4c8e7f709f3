//! How a job stands or ended, as one sentence for people.
//!
//! The API (`says`), events, the command line and the pages show these sentences; the chart has its
//! own for marks (`tide::says`), and a notification has the error alone. The code for programs is
//! the reason.

use super::state::{End, Job, State, StopCause, Wait};
use crate::domain::names::status::{Outcome, Reason, Status};

impl Job {
    /// Returns how the job stands or ended, as a sentence without a full stop.
    pub fn says(&self) -> String {
        match &self.state {
            State::Scheduled => "waits until it is due".to_owned(),
            State::Queued(wait) => self.waits(wait),
            State::Retrying(failed) => format!(
                "attempt {} of {} failed: {}; the next one waits until it is due",
                self.attempt.0,
                self.attempts_allowed(),
                failed.error
            ),
            State::Pulling => match &self.spec.fields().image {
                Some(image) => format!("pulls the image {image}"),
                None => "pulls its image".to_owned(),
            },
            State::Starting(_) => "is being started".to_owned(),
            State::Running(_) if self.attempt.0 > 1 => {
                format!("runs, attempt {} of {}", self.attempt.0, self.attempts_allowed())
            }
            State::Running(_) => "runs".to_owned(),
            State::Stopping(stopping) => match stopping.why {
                StopCause::Request => "is asked to stop".to_owned(),
                StopCause::Timeout => format!("is being stopped after {}", self.its_timeout()),
            },
            State::Ended(end) => self.ended(end),
        }
    }

    fn waits(&self, wait: &Wait) -> String {
        let queue = || match &self.spec.fields().queue {
            Some(queue) => format!("waits: the queue {queue} is full"),
            None => "waits: its queue is full".to_owned(),
        };
        match wait.reason {
            Reason::QueueFull => queue(),
            Reason::MaxParallel => {
                format!("waits: as many runs of {} as may run at once are running", self.name)
            }
            reason => waiting(reason).to_owned(),
        }
    }

    fn ended(&self, end: &End) -> String {
        let code = end.exit.as_ref().map(|exit| exit.code);
        match (end.outcome, end.reason) {
            (Outcome::Succeeded, _) => self.after_attempts(exit_code(code)),
            (Outcome::Failed, Some(Reason::ExitNonzero)) => self.after_attempts(exit_code(code)),
            (Outcome::Failed, Some(Reason::OomKilled)) => {
                self.after_attempts(match self.spec.fields().memory {
                    Some(limit) => format!("ran out of memory (limit {limit})"),
                    None => "ran out of memory".to_owned(),
                })
            }
            (Outcome::TimedOut, _) => format!("stopped after {}", self.its_timeout()),
            (Outcome::Stopped, _) => "stopped by a caller".to_owned(),
            (Outcome::Canceled, None) => "taken off the schedule".to_owned(),
            (Outcome::Missed, Some(Reason::DeadlinePassed)) => {
                match self.spec.fields().start_deadline {
                    Some(deadline) => format!("not started by its deadline of {deadline}"),
                    None => "not started by its deadline".to_owned(),
                }
            }
            (outcome, _) => {
                self.after_attempts(ending(outcome.status(), code, end.error.as_deref()))
            }
        }
    }

    fn after_attempts(&self, sentence: String) -> String {
        match self.attempt.0 {
            0 | 1 => sentence,
            attempt => {
                format!("{sentence} after {attempt} of {} attempts", self.attempts_allowed())
            }
        }
    }

    /// Returns the number of attempts that the job may take, at least those that it took.
    fn attempts_allowed(&self) -> u32 {
        let retries = self.spec.fields().retry.as_ref().map_or(0, |retry| retry.attempts());
        (retries + 1).max(self.attempt.0)
    }

    fn its_timeout(&self) -> String {
        match self.spec.fields().timeout {
            Some(timeout) => format!("its timeout of {timeout}"),
            None => "its timeout".to_owned(),
        }
    }
}

/// Returns a sentence for a transition, of which less is known than of the job itself.
pub fn transition(
    to: Status,
    reason: Option<Reason>,
    exit_code: Option<i32>,
    attempt: u32,
    error: Option<&str>,
) -> String {
    match to {
        Status::Scheduled => "waits until it is due".to_owned(),
        Status::Queued => waiting(reason.unwrap_or(Reason::NoSlot)).to_owned(),
        Status::Retrying => {
            let why = error.map_or_else(|| self::exit_code(exit_code), str::to_owned);
            format!("attempt {attempt} failed: {why}; the next one waits until it is due")
        }
        Status::Pulling => "pulls its image".to_owned(),
        Status::Starting => "is being started".to_owned(),
        Status::Running if attempt > 1 => format!("runs, attempt {attempt}"),
        Status::Running => "runs".to_owned(),
        Status::Stopping => "is asked to stop".to_owned(),
        Status::Succeeded
        | Status::Failed
        | Status::TimedOut
        | Status::Stopped
        | Status::Canceled
        | Status::Missed
        | Status::Unknown => ending(to, exit_code, error),
    }
}

fn waiting(reason: Reason) -> &'static str {
    match reason {
        Reason::QueueFull => "waits: its queue is full",
        Reason::MaxParallel => "waits: as many runs of its name as may run at once are running",
        Reason::EngineUnreachable => "waits: the engine does not answer",
        Reason::EngineChanged => {
            "waits: another engine answers than the one that holds its containers"
        }
        Reason::Overlap => "waits: the run before it is not over",
        Reason::Paused => "waits: starts are paused",
        _ => "waits for a free slot",
    }
}

fn ending(outcome: Status, code: Option<i32>, error: Option<&str>) -> String {
    match (outcome, error) {
        (Status::Canceled, Some(why)) => format!("skipped: {why}"),
        (Status::Missed, Some(why)) => format!("missed: {why}"),
        (_, Some(error)) => error.to_owned(),
        (Status::Stopped, None) => "stopped by a caller".to_owned(),
        (Status::Canceled, None) => "taken off the schedule".to_owned(),
        (_, None) => exit_code(code),
    }
}

fn exit_code(code: Option<i32>) -> String {
    match code {
        Some(code) => format!("exit code {code}"),
        None => "ended without an exit code".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::job::origin::Origin;
    use crate::domain::names::id::{Attempt, JobId, Timestamp, Version};

    fn says(status: Status, detail: Option<serde_json::Value>, attempt: u32) -> String {
        let at = Timestamp::from_timestamp_millis(0).expect("an instant");
        let spec = json!({"image": "busybox", "queue": "etl", "timeout": "1h", "start_deadline": "10m",
            "memory": "64MiB", "retry": {"attempts": 2, "delay": "10s"}});
        let detail = detail.map(|detail| detail.to_string());
        let job = Job {
            id: JobId::new(at, [0; 10]),
            version: Version(1),
            name: "nightly".parse().expect("a name"),
            spec: serde_json::from_value(spec).expect("a spec"),
            created_at: at,
            due_at: at,
            attempt: Attempt(attempt),
            state: State::from_parts(status, detail.as_deref()).expect("a state"),
            origin: Origin::Api,
            submitted_by: None,
        };
        job.says()
    }

    fn end(reason: &str, error: &str, code: Option<i32>) -> Option<serde_json::Value> {
        let at = "2021-06-20T13:25:30Z";
        let mut end = json!({"at": at, "reason": reason, "error": error});
        if let Some(code) = code {
            end["exit"] = json!({"code": code, "at": at});
        }
        Some(end)
    }

    #[test]
    fn every_state_has_a_plain_sentence() {
        let since = "2021-06-20T13:25:30Z";
        let queued = |reason: &str| Some(json!({"reason": reason, "since": since}));
        let failed = Some(json!({"reason": "exit_nonzero", "error": "exit code 1"}));
        let cases = [
            (Status::Scheduled, None, 0, "waits until it is due"),
            (Status::Queued, queued("queue_full"), 0, "waits: the queue etl is full"),
            (Status::Queued, queued("no_slot"), 0, "waits for a free slot"),
            (Status::Queued, queued("paused"), 0, "waits: starts are paused"),
            (
                Status::Retrying,
                failed,
                1,
                "attempt 1 of 3 failed: exit code 1; the next one waits until it is due",
            ),
            (Status::Pulling, None, 1, "pulls the image busybox"),
            (Status::Starting, None, 1, "is being started"),
            (
                Status::Failed,
                end("exit_nonzero", "no", Some(1)),
                2,
                "exit code 1 after 2 of 3 attempts",
            ),
            (Status::Failed, end("exit_nonzero", "no", Some(7)), 1, "exit code 7"),
            (
                Status::Failed,
                end("oom_killed", "no", Some(137)),
                1,
                "ran out of memory (limit 64MiB)",
            ),
            (
                Status::TimedOut,
                end("timeout", "no", Some(143)),
                1,
                "stopped after its timeout of 1h",
            ),
            (
                Status::Missed,
                end("deadline_passed", "no", None),
                0,
                "not started by its deadline of 10m",
            ),
            (
                Status::Canceled,
                end("overlap", "the run before it was not over", None),
                0,
                "skipped: the run before it was not over",
            ),
            (Status::Canceled, Some(json!({"at": since})), 0, "taken off the schedule"),
            (Status::Stopped, Some(json!({"at": since})), 1, "stopped by a caller"),
        ];
        for (status, detail, attempt, sentence) in cases {
            assert_eq!(says(status, detail, attempt), sentence);
        }
    }

    #[test]
    fn every_reason_to_wait_has_a_sentence() {
        for reason in Reason::ALL {
            assert!(waiting(*reason).starts_with("waits"), "{reason}");
        }
    }
}
