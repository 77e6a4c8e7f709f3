//! Reads `[queues.NAME]`: the limit of running jobs for each queue.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use serde::Deserialize;

use super::error::{ConfigError, wrong};
use crate::domain::names::queue::{QueueName, Queues};

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct QueueSection {
    max_running: usize,
}

pub(super) fn queues(sections: BTreeMap<String, QueueSection>) -> Result<Queues, ConfigError> {
    let limit = |(name, section): (String, QueueSection)| {
        let queue: QueueName =
            name.parse().map_err(|bad| ConfigError(format!("`[queues.\"{name}\"]`: {bad}")))?;
        match NonZeroUsize::new(section.max_running) {
            Some(limit) => Ok((queue, limit)),
            None => wrong(format!(
                "`queues.{name}.max_running` is 0: it has to be 1 or more; without the section the queue has no limit"
            )),
        }
    };
    sections.into_iter().map(limit).collect()
}
