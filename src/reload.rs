//! Reloads the config file while the server runs: on SIGHUP, and when the file has changed.
//!
//! A reload applies completely or not at all. A file with a mistake, or with a change that needs a
//! restart, changes nothing and logs one line with the reason. The new file ranks below the same
//! flags and variables as at the start.
//!
//! The text is compared, not the file's date. Editors replace the file, Kubernetes replaces a link,
//! and some file systems keep no reliable date. The text must be equal in two checks in a row, so
//! that a half-written file is not taken for one with deleted entries.

use std::path::PathBuf;
use std::time::Duration;

use tokio::signal::unix::Signal;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::config::{Config, ConfigError, ServeArgs};
use crate::store::threads::Threads;

/// The interval between checks of the file.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The task that reloads the config.
pub(crate) struct Reloader {
    args: ServeArgs,
    config: Config,
    hangup: Signal,
    /// Applies a new config to the running service.
    apply: Box<dyn Fn(&Config) + Send>,
}

/// The result of reading the file: its text, or the error.
type Look = Result<String, String>;

impl Reloader {
    /// Creates a reloader for a server that was started with these flags and runs with this config.
    pub(crate) fn new(
        args: ServeArgs,
        config: Config,
        hangup: Signal,
        apply: impl Fn(&Config) + Send + 'static,
    ) -> Self {
        Self { args, config, hangup, apply: Box::new(apply) }
    }

    /// Reloads the file on each signal and each change, until `stop` is cancelled.
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

    /// Loads and applies the config. Returns the text that was loaded, or `seen` if loading failed.
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

/// Reads the file. Returns `None` when the runtime is shutting down.
async fn look(path: PathBuf) -> Option<Look> {
    Threads::Pool
        .run(move || std::fs::read_to_string(path).map_err(|error| error.to_string()))
        .await
        .ok()
}
