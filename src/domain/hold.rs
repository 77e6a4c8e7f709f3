//! What holds a due job back beside the want of a slot: a queue that is full, as many of its name as may run at once, the
//! run of its schedule before it.
//!
//! Such a job waits apart, under a [`Hold`], so that it is in nobody's way. A hold says all that the jobs under it have in
//! common and that could hold them back; so either the first of them can go or none can, and nobody has to look behind the
//! first. A job is held by as little as is known to hold it back: by its queue alone, where that was full; with its name,
//! where that was; with its schedule, where that was. It is moved from the first to the second to the third, never back,
//! and so at most twice, however many wait.

use serde::{Deserialize, Serialize};

use super::image::JobName;
use super::job::{Job, Reason};
use super::queue::{QueueName, Queues};
use super::schedule::ScheduleName;
use super::spec::JobSpec;

/// Something of which only so many jobs can run at once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Limit {
    /// A queue with a limit in the config.
    Queue(QueueName),
    /// A name, for jobs with a `max_parallel`.
    Name(JobName),
}

/// Where a job waits that is held back.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Hold {
    /// The queue that may be full.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<QueueName>,
    /// The name of which as many may run as can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Parallel>,
    /// The schedule whose run before may not be over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<ScheduleName>,
}

/// A name, and how many jobs of it may run at once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Parallel {
    /// The name.
    pub of: JobName,
    /// How many.
    pub most: u32,
}

/// The limits of its own that a job is subject to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    all: Hold,
    /// How many of its queue may run.
    of_queue: usize,
}

impl Limit {
    /// Why a job waits that is held back by this.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Queue(_) => Reason::QueueFull,
            Self::Name(_) => Reason::MaxParallel,
        }
    }
}

impl Hold {
    /// Its limits that can be counted.
    pub fn limits(&self) -> impl Iterator<Item = Limit> {
        let name = self.name.as_ref().map(|parallel| Limit::Name(parallel.of.clone()));
        name.into_iter().chain(self.queue.clone().map(Limit::Queue))
    }

    /// How many jobs can go from under it, as far as can be counted.
    pub fn room(&self, queues: &Queues, taken: impl Fn(&Limit) -> usize) -> usize {
        let most = |limit: &Limit| match limit {
            Limit::Queue(queue) => queues.get(queue).map_or(usize::MAX, |most| most.get()),
            Limit::Name(_) => {
                self.name.as_ref().map_or(usize::MAX, |parallel| of_name(parallel.most))
            }
        };
        self.limits()
            .map(|limit| most(&limit).saturating_sub(taken(&limit)))
            .min()
            .unwrap_or(usize::MAX)
    }

    fn has(&self, limit: &Limit) -> bool {
        self.limits().any(|other| other == *limit)
    }

    /// Whether all that is in here is in the other, too.
    fn is_within(&self, other: &Self) -> bool {
        (self.queue.is_none() || self.queue == other.queue)
            && (self.name.is_none() || self.name == other.name)
            && (self.schedule.is_none() || self.schedule == other.schedule)
    }
}

impl Limits {
    /// Those of this job, which will run this spec.
    pub fn of(job: &Job, spec: &JobSpec, queues: &Queues) -> Self {
        let fields = spec.fields();
        let queue = fields.queue.as_ref().and_then(|queue| queues.get_key_value(queue));
        let all = Hold {
            queue: queue.map(|(name, _)| name.clone()),
            name: fields.max_parallel.map(|most| Parallel { of: job.name.clone(), most }),
            schedule: job.origin.as_ref().map(|origin| origin.schedule.clone()),
        };
        Self { all, of_queue: queue.map_or(usize::MAX, |(_, most)| most.get()) }
    }

    /// Those that have to be counted.
    pub fn counted(&self) -> impl Iterator<Item = Limit> {
        self.all.limits()
    }

    /// The first that is full, where so many jobs run already.
    pub fn full(&self, taken: impl Fn(&Limit) -> usize) -> Option<Limit> {
        let is_full = |limit: &Limit| match limit {
            Limit::Queue(_) => taken(limit) >= self.of_queue,
            Limit::Name(_) => {
                self.all.name.as_ref().is_some_and(|name| taken(limit) >= of_name(name.most))
            }
        };
        self.counted().find(is_full)
    }

    /// Where a job waits for this limit. One that waits for it already, and for nothing that is not its own, stays there.
    pub fn hold(&self, limit: &Limit, waits: Option<&Hold>) -> Hold {
        match waits {
            Some(hold) if hold.has(limit) && hold.is_within(&self.all) => hold.clone(),
            _ => match limit {
                Limit::Queue(queue) => Hold { queue: Some(queue.clone()), ..Hold::default() },
                Limit::Name(_) => Hold { schedule: None, ..self.all.clone() },
            },
        }
    }

    /// Where a job waits for the run of its schedule before it.
    pub fn hold_by_schedule(&self) -> Hold {
        self.all.clone()
    }
}

fn of_name(most: u32) -> usize {
    usize::try_from(most).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::{Attempt, JobId, Timestamp, Version};
    use crate::domain::job::State;

    fn queues() -> Queues {
        serde_json::from_str(r#"{"etl":2,"one":1}"#).expect("queues")
    }

    fn limits(spec: &str) -> Limits {
        let job = Job {
            id: JobId::from_bytes([1; 16]),
            version: Version(0),
            name: "JOB_A".parse().expect("a name"),
            spec: JobSpec::default(),
            created_at: Timestamp::UNIX_EPOCH,
            due_at: Timestamp::UNIX_EPOCH,
            attempt: Attempt(0),
            state: State::Scheduled,
            origin: None,
        };
        Limits::of(&job, &serde_json::from_str(spec).expect("a spec"), &queues())
    }

    fn queue(name: &str) -> Limit {
        Limit::Queue(name.parse().expect("a queue"))
    }

    fn name() -> Limit {
        Limit::Name("JOB_A".parse().expect("a name"))
    }

    /// So many of the name and of every queue run.
    fn taken(of_name: usize, of_queue: usize) -> impl Fn(&Limit) -> usize {
        move |limit| if *limit == name() { of_name } else { of_queue }
    }

    const BOTH: &str = r#"{"queue":"etl","max_parallel":3}"#;

    #[test]
    fn the_first_that_is_full_holds_a_job_back() {
        for (spec, of_name, of_queue, held) in [
            ("{}", 100, 100, None),
            (r#"{"queue":"free"}"#, 100, 100, None),
            (r#"{"queue":"etl"}"#, 100, 1, None),
            (r#"{"queue":"etl"}"#, 0, 2, Some(queue("etl"))),
            (r#"{"queue":"one"}"#, 0, 1, Some(queue("one"))),
            (r#"{"max_parallel":3}"#, 2, 100, None),
            (r#"{"max_parallel":3}"#, 3, 0, Some(name())),
            (BOTH, 2, 1, None),
            (BOTH, 2, 2, Some(queue("etl"))),
            (BOTH, 3, 1, Some(name())),
            (BOTH, 3, 2, Some(name())),
            // A restored backup may have brought more than may be.
            (BOTH, 9, 9, Some(name())),
        ] {
            assert_eq!(
                limits(spec).full(taken(of_name, of_queue)),
                held,
                "{spec} {of_name} {of_queue}"
            );
        }
    }

    #[test]
    fn a_job_is_held_by_as_little_as_is_known_to_hold_it_back_and_never_moved_back() {
        let limits = limits(BOTH);
        let by_queue = limits.hold(&queue("etl"), None);
        assert_eq!(serde_json::to_string(&by_queue).expect("json"), r#"{"queue":"etl"}"#);
        let by_name = limits.hold(&name(), Some(&by_queue));
        let text = r#"{"queue":"etl","name":{"of":"JOB_A","most":3}}"#;
        assert_eq!(serde_json::to_string(&by_name).expect("json"), text);
        assert_eq!(limits.hold(&queue("etl"), Some(&by_name)), by_name);
        assert_eq!(limits.hold(&name(), Some(&by_name)), by_name);
    }

    #[test]
    fn a_job_whose_limits_have_changed_waits_under_those_that_it_has_now() {
        let before = limits(BOTH).hold(&name(), None);
        let now = limits(r#"{"queue":"one","max_parallel":3}"#);
        assert_eq!(now.hold(&queue("one"), Some(&before)), now.hold(&queue("one"), None));
    }

    #[test]
    fn under_a_hold_there_is_room_for_as_many_as_all_of_its_limits_allow() {
        let both = limits(BOTH).hold(&name(), None);
        for (of_name, of_queue, room) in [(0, 0, 2), (2, 0, 1), (3, 0, 0), (0, 2, 0), (9, 9, 0)] {
            assert_eq!(
                both.room(&queues(), taken(of_name, of_queue)),
                room,
                "{of_name} {of_queue}"
            );
        }
        // The config has taken the limit away.
        assert_eq!(both.room(&Queues::new(), taken(1, 100)), 2);
        let by_queue = limits(BOTH).hold(&queue("etl"), None);
        assert!(by_queue.room(&Queues::new(), taken(0, 100)) > 1_000_000, "more than ever wait");
    }
}
