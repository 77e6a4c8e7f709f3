//! The input for creating a job's container. The same whether the container is created ahead or
//! when the job is due.

use chrono::SecondsFormat;

use crate::domain::container::Owner;
use crate::domain::job::Job;
use crate::domain::names::image::ImageRef;
use crate::domain::spec::secret::Secret;
use crate::engine::Launch;
use crate::scheduler::context::Context;

impl Context {
    /// Returns the labels' content for the container of the job's current attempt.
    pub(in crate::scheduler) fn owner(&self, job: &Job) -> Owner {
        Owner { instance: self.store.instance(), job: job.id, attempt: job.attempt }
    }

    /// Returns the description of the container for the job's current attempt.
    pub(in crate::scheduler) fn launch(
        &self,
        job: &Job,
        image: ImageRef,
        secrets: Vec<(String, Secret)>,
    ) -> Launch {
        Launch {
            name: job.container_name(),
            owner: self.owner(job),
            spec_hash: job.spec_hash(),
            schedule: job.origin.schedule().map(|origin| origin.schedule.clone()),
            image,
            spec: job.spec.clone(),
            environment: environment(job),
            secrets,
        }
    }
}

/// Returns the environment variables that every container gets.
fn environment(job: &Job) -> Vec<(String, String)> {
    let due = job.due_at.to_rfc3339_opts(SecondsFormat::Millis, true);
    [
        ("TIDETABLE_JOB_ID", job.id.to_string()),
        ("TIDETABLE_ATTEMPT", job.attempt.to_string()),
        ("TIDETABLE_DUE_AT", due),
    ]
    .into_iter()
    .chain(job.origin.schedule().map(|origin| ("TIDETABLE_SCHEDULE", origin.schedule.to_string())))
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}
