//! Bare names that may be mistyped: `vacum` is read as an image, and would be pulled from a public registry.
//!
//! The engine is asked whether it has an image of that name, and the caller is warned where it has none. No pull is made to
//! find out, and an engine that is away says nothing. Answers are remembered for a while, so that a herd of jobs of one name
//! asks once or a few times.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{Catalog, LONGEST_NAP, Shared};
use crate::domain::image::ImageRef;
use crate::domain::spec::JobSpec;

/// How long a caller waits for the engine's word on a name.
const ASK_TIMEOUT: Duration = Duration::from_secs(3);
/// How long the word is good: that an image is there, and that it is not.
const KNOWN_FOR: (Duration, Duration) = (Duration::from_secs(10 * 60), Duration::from_secs(5));
/// How many names are remembered.
const NAMES: usize = 1_000;

/// What the engine said of bare names, and when.
#[derive(Default)]
pub(super) struct Names(Mutex<HashMap<ImageRef, (bool, Instant)>>);

impl Names {
    fn known(&self, image: &ImageRef) -> Option<bool> {
        let names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (is_there, since) = *names.get(image)?;
        let good_for = if is_there { KNOWN_FOR.0 } else { KNOWN_FOR.1 };
        (since.elapsed() < good_for).then_some(is_there)
    }

    fn note(&self, image: ImageRef, is_there: bool) {
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if names.len() >= NAMES {
            names.clear();
        }
        names.insert(image, (is_there, Instant::now()));
    }
}

impl Shared {
    /// A warning where the spec's image is a bare name of which the engine has no image.
    pub(super) async fn doubt(&self, spec: &JobSpec) -> Option<String> {
        let image = spec.fields().image.as_ref().filter(|image| image.is_bare())?;
        let is_there = match self.names.known(image) {
            Some(known) => known,
            None if !self.health.look().is_up() => return None,
            None => {
                let asked = tokio::time::timeout(ASK_TIMEOUT, self.engine.has_image(image)).await;
                let is_there = asked.ok()?.ok()?;
                self.names.note(image.clone(), is_there);
                is_there
            }
        };
        (!is_there).then(|| {
            format!(
                "`{image}` is neither a definition nor an image that the engine has: it will be pulled as `{}:latest`; if that is meant, write a tag (`{image}:latest`)",
                image.repository()
            )
        })
    }
}

/// Looks at the names in the config, once for each config that counts: as soon as the engine answers.
pub(super) async fn run(shared: Arc<Shared>, stop: CancellationToken) {
    let mut seen = None;
    loop {
        let rules = shared.rules();
        let is_new = seen.as_ref().is_none_or(|seen| !Arc::ptr_eq(seen, &rules));
        if is_new && shared.health.look().is_up() {
            look(&shared, &rules.catalog).await;
            seen = Some(rules);
        }
        if stop.run_until_cancelled(tokio::time::sleep(LONGEST_NAP)).await.is_none() {
            return;
        }
    }
}

async fn look(shared: &Shared, catalog: &Catalog) {
    for (name, spec) in &catalog.definitions {
        if let Some(why) = shared.doubt(spec).await {
            warn!(definition = %name, %why, "the image of a definition of the config file may be mistyped");
        }
    }
    for (name, schedule) in catalog
        .schedules
        .iter()
        .filter(|(_, it)| !catalog.definitions.contains_key(it.job_name().as_str()))
    {
        let resolved = shared.resolve(catalog, schedule.job_name(), schedule.spec().clone()).await;
        if let Ok(spec) = resolved
            && let Some(why) = shared.doubt(&spec).await
        {
            warn!(schedule = %name, %why, "the job of a schedule of the config file may be mistyped");
        }
    }
}
