//! Handles signals and supervises the tasks of the service.
//!
//! Every part of the service runs as a task of one set. A part that ends before it was stopped ends
//! the whole service with an error. Half a service is worse than none, and a restart loses nothing.

use std::future::Future;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

/// A listener for SIGTERM and SIGINT.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Listens for the signals from now on.
    ///
    /// # Errors
    /// Fails when the system refuses.
    pub(crate) fn listen() -> anyhow::Result<Self> {
        let on = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self {
            terminate: on(SignalKind::terminate())?,
            interrupt: on(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next signal.
    async fn next(&mut self) {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// The parts of a service.
pub(crate) struct Parts {
    tasks: JoinSet<(&'static str, anyhow::Result<()>)>,
    stop: CancellationToken,
}

impl Parts {
    pub(crate) fn new(stop: CancellationToken) -> Self {
        Self { tasks: JoinSet::new(), stop }
    }

    /// Spawns a part that runs until `stop` is cancelled.
    pub(crate) fn add(
        &mut self,
        name: &'static str,
        part: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) {
        self.tasks.spawn(async move { (name, part.await) });
    }

    /// Runs until a signal arrives or a part ends by itself, then stops all parts within the
    /// deadline. A second signal ends the process at once.
    ///
    /// # Errors
    /// Fails when a part ended by itself or panicked.
    pub(crate) async fn run(
        mut self,
        mut signals: Signals,
        deadline: Duration,
    ) -> anyhow::Result<()> {
        let ended = tokio::select! {
            biased;
            () = signals.next() => {
                info!("stopping: no new requests; the steps in hand are finished, containers go on");
                Ok(())
            }
            Some(joined) = self.tasks.join_next() => Err(joined),
        };
        self.stop.cancel();
        let outcome = match ended {
            Ok(()) => Ok(()),
            Err(joined) => early(joined),
        };
        tokio::select! {
            biased;
            () = self.drain() => info!("stopped"),
            () = tokio::time::sleep(deadline) => warn!("not all steps were finished in time; they are taken up again by the next start"),
            () = signals.next() => warn!("leaving at once; what was in hand is taken up again by the next start"),
        }
        outcome
    }

    async fn drain(&mut self) {
        while let Some(joined) = self.tasks.join_next().await {
            match joined {
                Ok((_, Ok(()))) => {}
                Ok((name, Err(failure))) => {
                    error!(part = name, error = %format!("{failure:#}"), "a part ended with an error")
                }
                Err(failure) => error!(error = %failure, "a part broke"),
            }
        }
    }
}

fn early(
    joined: Result<(&'static str, anyhow::Result<()>), tokio::task::JoinError>,
) -> anyhow::Result<()> {
    match joined {
        Ok((name, Ok(()))) => bail!("{name} ended by itself"),
        Ok((name, Err(failure))) => Err(failure.context(format!("{name} failed"))),
        Err(failure) => Err(anyhow::Error::new(failure).context("a part broke")),
    }
}
