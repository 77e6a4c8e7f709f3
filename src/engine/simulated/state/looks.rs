//! Finds containers in one simulated engine: by id, labels, name or job, or by listing all.
//!
//! Nothing here changes the engine's state.

use super::{EngineState, digest};
use crate::domain::container::{Container, Owner};
use crate::domain::names::id::{ContainerId, ContainerName, Digest, JobId};
use crate::engine::Listed;

impl EngineState {
    pub(in crate::engine::simulated) fn named(&self, name: &ContainerName) -> Option<Container> {
        self.inspect(self.names.get(name.as_str())?)
    }

    pub(in crate::engine::simulated) fn find(&self, owner: &Owner) -> Option<Container> {
        let found = self.list().into_iter().filter(|listed| listed.owner == Some(*owner));
        self.inspect(&found.max_by_key(Listed::progress)?.id)
    }

    pub(in crate::engine::simulated) fn inspect(&self, id: &ContainerId) -> Option<Container> {
        let container = self.containers.get(id)?;
        Some(Container {
            id: id.clone(),
            owner: container.owner,
            spec_hash: Some(container.spec_hash.clone()),
            created_at: container.created_at,
            image_digest: Some(Digest(format!("sha256:{}", digest(&container.image)))),
            phase: container.phase(),
        })
    }

    /// Lists all containers, ordered by name.
    pub(in crate::engine::simulated) fn list(&self) -> Vec<Listed> {
        let listed = |id: &ContainerId| {
            let container = self.containers.get(id)?;
            let running = container.runs();
            Some(Listed {
                id: id.clone(),
                name: container.name.clone(),
                owner: container.owner,
                created_at: container.created_at,
                running,
                exited: container.process.is_some() && !running,
            })
        };
        self.names.values().filter_map(listed).collect()
    }

    /// Returns the container of this job's last attempt.
    pub(in crate::engine::simulated) fn container_of(&self, job: JobId) -> Option<ContainerId> {
        let of_job = self
            .containers
            .iter()
            .filter_map(|(id, c)| c.owner.filter(|o| o.job == job).map(|o| (o.attempt, id)));
        of_job.max().map(|(_, id)| id.clone())
    }
}
