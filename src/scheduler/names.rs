//! Bare names that may be mistyped: `vacum` is taken for an image, and would be pulled from a
//! public registry.
//!
//! The engine is asked whether it has an image of that name, and the caller is warned if it has
//! none. The check makes no pull. While the engine is away there is no warning. Answers are
//! remembered for a while, so that many jobs of one name cause only one or a few requests.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::context::Context;
use super::rules::Catalog;
use super::timing::LONGEST_NAP;
use crate::domain::spec::JobSpec;

/// The longest wait for the engine's answer about a name.
const ASK_TIMEOUT: Duration = Duration::from_secs(3);

impl Context {
    /// Returns a warning if the spec's image is a bare name and the engine has no such image.
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

/// Checks the names in the config once for each config, as soon as the engine is up.
pub(super) async fn run(context: Arc<Context>, stop: CancellationToken) {
    let mut seen = None;
    loop {
        let rules = context.rules();
        let is_new = seen.as_ref().is_none_or(|seen| !Arc::ptr_eq(seen, &rules));
        if is_new && context.health.look().is_up() {
            look(&context, &rules.catalog).await;
            seen = Some(rules);
        }
        if stop.run_until_cancelled(tokio::time::sleep(LONGEST_NAP)).await.is_none() {
            return;
        }
    }
}

async fn look(context: &Context, catalog: &Catalog) {
    for (name, spec) in &catalog.definitions {
        if let Some(why) = context.doubt(spec).await {
            warn!(definition = %name, %why, "the image of a definition of the config file may be mistyped");
        }
    }
    for (name, schedule) in catalog
        .schedules
        .iter()
        .filter(|(_, it)| !catalog.definitions.contains_key(it.job_name().as_str()))
    {
        let resolved = context.resolve(catalog, schedule.job_name(), schedule.spec().clone()).await;
        if let Ok(spec) = resolved
            && let Some(why) = context.doubt(&spec).await
        {
            warn!(schedule = %name, %why, "the job of a schedule of the config file may be mistyped");
        }
    }
}
