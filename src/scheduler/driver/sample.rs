//! The step that takes one sample of what the job's container uses.

use tracing::debug;

use super::attempt::Driver;
use super::usage;

impl Driver {
    /// Takes one sample of the job's container.
    pub(super) async fn sample_usage(&mut self) {
        let Some(run) = self.job.state.run() else { return self.usage.add(None) };
        let sample = self.context.engine.usage(&run.container);
        let sample = match tokio::time::timeout(usage::PATIENCE, sample).await {
            Ok(Ok(sample)) => sample,
            Ok(Err(error)) => {
                debug!(job = %self.job.id, %error, "its usage could not be read");
                None
            }
            Err(_) => None,
        };
        self.usage.add(sample);
    }
}
