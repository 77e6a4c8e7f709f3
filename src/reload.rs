//! The config file, read again while the server runs: on SIGHUP, and when it has changed.
//!
//! All of it or nothing: a file with a mistake, or one that changes what only a restart can, leaves everything as it was,
//! with one line in the log that says why. What was read is what the file says, laid under the same flags and variables as
//! at the start.
//!
//! The text is compared, not the file's date: editors put a new file in its place, Kubernetes another link, and some file
//! systems keep no date worth the name. It has to be the same twice in a row, so that a file that is still being written is
//! not taken for one whose rest was deleted.

use std::path::PathBuf;
use std::time::Duration;

use tokio::signal::unix::Signal;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::config::{Config, ConfigError, ServeArgs};
use crate::store::threads::Threads;

/// How often the file is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Reads the config again.
pub(crate) struct Reloader {
    args: ServeArgs,
    config: Config,
    hangup: Signal,
    /// Makes a new config count.
    apply: Box<dyn Fn(&Config) + Send>,
}

/// What a look at the file showed: its text, or why there is none.
type Look = Result<String, String>;

impl Reloader {
    /// Of a server with these flags that runs by this config.
    pub(crate) fn new(
        args: ServeArgs,
        config: Config,
        hangup: Signal,
        apply: impl Fn(&Config) + Send + 'static,
    ) -> Self {
        Self { args, config, hangup, apply: Box::new(apply) }
    }

    /// Reads it again whenever that is worth it, until told to stop.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let Some(file) = self.config.file.clone() else { return self.without_a_file(stop).await };
        let mut tried: Look = Ok(file.text);
        let mut before = tried.clone();
        loop {
            let is_asked = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                _ = self.hangup.recv() => true,
                () = tokio::time::sleep(LOOK_EVERY) => false,
            };
            let Some(seen) = look(file.path.clone()).await else { return stop.cancelled().await };
            let is_settled = seen == before;
            before = seen;
            if is_asked || is_settled && before != tried {
                tried = self.read_again(file.path.clone(), before.clone()).await;
            }
        }
    }

    async fn without_a_file(&mut self, stop: CancellationToken) {
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                _ = self.hangup.recv() => info!("there is no config file to read again"),
            }
        }
    }

    /// What was read, or where nothing could be, what was seen.
    async fn read_again(&mut self, path: PathBuf, seen: Look) -> Look {
        let args = ServeArgs { config: Some(path), ..self.args.clone() };
        match Threads::Pool.run(move || Config::load(args)).await {
            Ok(Ok(new)) => {
                let text = new.file.as_ref().map(|file| file.text.clone());
                self.take(new);
                text.map_or(seen, Ok)
            }
            Ok(Err(mistake)) => {
                refuse(&mistake);
                seen
            }
            Err(_) => seen,
        }
    }

    fn take(&mut self, new: Config) {
        let fixed = self.config.fixed_changes(&new);
        if !fixed.is_empty() {
            return error!(
                keys = fixed.join(", "),
                "the config file changes what wants a restart: nothing was changed"
            );
        }
        match self.config.changes(&new) {
            None => info!("the config file was read again: nothing has changed"),
            Some(changes) => {
                (self.apply)(&new);
                info!(%changes, "the config file was read again");
            }
        }
        self.config = new;
    }
}

fn refuse(mistake: &ConfigError) {
    error!(error = %mistake, "the config file was read again, and nothing was changed");
}

/// Nothing when the runtime is going down.
async fn look(path: PathBuf) -> Option<Look> {
    Threads::Pool
        .run(move || std::fs::read_to_string(path).map_err(|error| error.to_string()))
        .await
        .ok()
}
