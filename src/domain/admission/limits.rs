//! The limits that apply to one job besides the slots, and the wait group in which a job waits for
//! a full one.

use crate::domain::job::Job;
use crate::domain::job::wait_group::{Limit, Parallel, WaitGroup, of_name};
use crate::domain::names::queue::Queues;
use crate::domain::spec::JobSpec;

/// The limits that apply to one job, besides the slots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    all: WaitGroup,
    /// The most running jobs of its queue; `usize::MAX` means no limit.
    of_queue: usize,
}

impl Limits {
    /// Returns the limits of this job, which will run this spec.
    pub fn of(job: &Job, spec: &JobSpec, queues: &Queues) -> Self {
        let fields = spec.fields();
        let queue = fields.queue.as_ref().and_then(|queue| queues.get_key_value(queue));
        let all = WaitGroup {
            queue: queue.map(|(name, _)| name.clone()),
            name: fields.max_parallel.map(|most| Parallel { of: job.name.clone(), most }),
            schedule: job.origin.schedule().map(|origin| origin.schedule.clone()),
        };
        Self { all, of_queue: queue.map_or(usize::MAX, |(_, most)| most.get()) }
    }

    /// Returns the limits for which running jobs have to be counted.
    pub fn counted(&self) -> impl Iterator<Item = Limit> {
        self.all.limits()
    }

    /// Returns the first full limit; `None` if no limit is full. `running_counts` returns the
    /// running jobs of a limit.
    pub fn full(&self, running_counts: impl Fn(&Limit) -> usize) -> Option<Limit> {
        let is_full = |limit: &Limit| match limit {
            Limit::Queue(_) => running_counts(limit) >= self.of_queue,
            Limit::Name(_) => self
                .all
                .name
                .as_ref()
                .is_some_and(|name| running_counts(limit) >= of_name(name.most)),
        };
        self.counted().find(is_full)
    }

    /// Returns the group in which a job waits for this limit. `waits` is its present group. The job
    /// stays there if the group has this limit and no limit that the job lacks.
    pub fn wait_group(&self, limit: &Limit, waits: Option<&WaitGroup>) -> WaitGroup {
        match waits {
            Some(wait_group) if wait_group.has(limit) && wait_group.is_within(&self.all) => {
                wait_group.clone()
            }
            _ => match limit {
                Limit::Queue(queue) => {
                    WaitGroup { queue: Some(queue.clone()), ..WaitGroup::default() }
                }
                Limit::Name(_) => WaitGroup { schedule: None, ..self.all.clone() },
            },
        }
    }

    /// Returns the group in which a job waits for the previous run of its schedule.
    pub fn wait_for_schedule(&self) -> WaitGroup {
        self.all.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::job::State;
    use crate::domain::job::origin::Origin;
    use crate::domain::names::id::{Attempt, JobId, Timestamp, Version};

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
            origin: Origin::Api,
            submitted_by: None,
        };
        Limits::of(&job, &serde_json::from_str(spec).expect("a spec"), &queues())
    }

    fn queue(name: &str) -> Limit {
        Limit::Queue(name.parse().expect("a queue"))
    }

    fn name() -> Limit {
        Limit::Name("JOB_A".parse().expect("a name"))
    }

    /// Returns running jobs: `of_name` for the name, and `of_queue` for every queue.
    fn running_counts(of_name: usize, of_queue: usize) -> impl Fn(&Limit) -> usize {
        move |limit| if *limit == name() { of_name } else { of_queue }
    }

    const BOTH: &str = r#"{"queue":"etl","max_parallel":3}"#;

    #[test]
    fn the_first_full_limit_blocks_a_job() {
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
            // A restored backup may have brought more jobs than a limit allows.
            (BOTH, 9, 9, Some(name())),
        ] {
            assert_eq!(
                limits(spec).full(running_counts(of_name, of_queue)),
                held,
                "{spec} {of_name} {of_queue}"
            );
        }
    }

    #[test]
    fn a_job_only_moves_to_larger_wait_groups() {
        let limits = limits(BOTH);
        let by_queue = limits.wait_group(&queue("etl"), None);
        assert_eq!(serde_json::to_string(&by_queue).expect("json"), r#"{"queue":"etl"}"#);
        let by_name = limits.wait_group(&name(), Some(&by_queue));
        let text = r#"{"queue":"etl","name":{"of":"JOB_A","most":3}}"#;
        assert_eq!(serde_json::to_string(&by_name).expect("json"), text);
        assert_eq!(limits.wait_group(&queue("etl"), Some(&by_name)), by_name);
        assert_eq!(limits.wait_group(&name(), Some(&by_name)), by_name);
    }

    #[test]
    fn changed_limits_move_a_job_to_another_group() {
        let before = limits(BOTH).wait_group(&name(), None);
        let now = limits(r#"{"queue":"one","max_parallel":3}"#);
        assert_eq!(
            now.wait_group(&queue("one"), Some(&before)),
            now.wait_group(&queue("one"), None)
        );
    }

    #[test]
    fn capacity_is_the_minimum_over_all_limits() {
        let both = limits(BOTH).wait_group(&name(), None);
        for (of_name, of_queue, room) in [(0, 0, 2), (2, 0, 1), (3, 0, 0), (0, 2, 0), (9, 9, 0)] {
            assert_eq!(
                both.capacity(&queues(), running_counts(of_name, of_queue)),
                room,
                "{of_name} {of_queue}"
            );
        }
        // The limit is gone from the config.
        assert_eq!(both.capacity(&Queues::new(), running_counts(1, 100)), 2);
        let by_queue = limits(BOTH).wait_group(&queue("etl"), None);
        assert!(
            by_queue.capacity(&Queues::new(), running_counts(0, 100)) > 1_000_000,
            "more than ever wait"
        );
    }
}
