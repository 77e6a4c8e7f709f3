//! `tidetable serve`: reads the config, sets up logging, and runs the service until a signal.

use std::time::Duration;

use tracing::warn;
use tracing_subscriber::EnvFilter;

use std::io::Write as _;

use crate::app;
use crate::config::{Config, ServeArgs};
use crate::supervise;

/// The longest time that blocking work may take to end after all other work has ended.
const LAST_GRACE: Duration = Duration::from_secs(2);
/// The number of threads for file and database work. More threads do not make a disk faster, and
/// each holds a megabyte for its compressor while it keeps output.
const BLOCKING_THREADS: usize = 32;

/// Runs the server. `has_clients_token` is true if `TIDETABLE_TOKEN` is set.
pub(super) fn run(args: ServeArgs, has_clients_token: bool) -> anyhow::Result<u8> {
    let config = Config::load(args.clone())?;
    tracing_subscriber::fmt()
        .with_env_filter(log_filter()?)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_writer(std::io::stderr)
        .init();
    if has_clients_token && config.tokens.is_empty() {
        warn!(
            "TIDETABLE_TOKEN is what a client calls with, and protects nothing here: give the server a --token-file"
        );
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .max_blocking_threads(BLOCKING_THREADS)
        .enable_all()
        .build()?;
    let served = runtime.block_on(async {
        let signals = supervise::Signals::listen()?;
        let service = app::Service::start(args, config).await?;
        // A reader that has gone away does not stop the server.
        let _ = writeln!(std::io::stdout(), "listening on http://{}", service.address());
        service.run(signals).await
    });
    runtime.shutdown_timeout(LAST_GRACE);
    if served.is_err() {
        warn!("the server stopped because of an error; what was acknowledged is on disk");
    }
    served.map(|()| 0)
}

/// Returns the log filter of `TIDETABLE_LOG`, or the default. bollard stays at `warn` in any case.
/// At `debug` it logs the requests that it sends, and they contain secrets.
fn log_filter() -> anyhow::Result<EnvFilter> {
    let mut filter = EnvFilter::try_from_env("TIDETABLE_LOG")
        .unwrap_or_else(|_| EnvFilter::new("info,refinery_core=warn"));
    for quiet in ["bollard=warn", "bollard::docker=warn"] {
        filter = filter.add_directive(quiet.parse()?);
    }
    Ok(filter)
}
