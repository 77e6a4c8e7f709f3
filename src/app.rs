//! Assembles the service: turns a checked config into a running [`Service`]. All modules meet only
//! here.

use std::fs::{File, TryLockError};
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::serve::ListenerExt as _;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::clock::{Rng, SystemClock};
use crate::config::{Config, EngineChoice, EngineSection, RegistryLogin, ServeArgs};
use crate::domain::admission::policy::ForbiddenPaths;
use crate::domain::names::id::InstanceId;
use crate::engine::Engine;
use crate::engine::docker;
use crate::engine::simulated::{Settings, SimulatedEngine};
use crate::http::auth::guard::Guard;
use crate::http::{Api, BasePath};
use crate::metrics::{Metrics, Naming};
use crate::notify::Notifier;
use crate::reload::Reloader;
use crate::scheduler::{self, Catalog, Handle, Origin, Rules, Scheduler};
use crate::store::MetaStore;
use crate::store::logs::LogStore;
use crate::store::sqlite::SqliteStore;
use crate::store::threads::Threads;
use crate::supervise::{Parts, Signals};

/// The time that open requests get to finish when the server stops. Requests that wait for a job's
/// end would otherwise keep the server from stopping.
const REQUEST_GRACE: Duration = Duration::from_secs(3);

/// The interval between checks of the data directory, so that its loss is noticed even without
/// writes.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A service that listens, with its parts already running. [`Service::run`] supervises them.
pub(crate) struct Service {
    address: SocketAddr,
    parts: Parts,
    deadline: Duration,
    /// The lock on the config file, which keeps a second server from running the file's schedules.
    /// `None` if no lock is held.
    _claim: Option<File>,
}

impl Service {
    /// Opens the store, connects the engine (which may be unreachable), and listens.
    ///
    /// # Errors
    /// Fails when the data directory cannot be used, the engine's address is invalid, or the listen
    /// address is taken.
    pub(crate) async fn start(args: ServeArgs, config: Config) -> anyhow::Result<Self> {
        // SIGHUP no longer ends the process from here on, so this comes first.
        let hangup = signal(SignalKind::hangup()).context("cannot listen for signals")?;
        let stop = CancellationToken::new();
        let rng = Rng::from_system();
        let (store, writer) =
            SqliteStore::open(&config.data_dir, Threads::Pool, InstanceId::new(rng.bytes()))?;
        let logs = LogStore::open(&config.data_dir.join("logs"), Threads::Pool)?;
        let (engine, docker) = connect_engine(&config, &rng)?;
        let listener = TcpListener::bind(config.listen)
            .await
            .with_context(|| format!("cannot listen on {}", config.listen))?;
        let address = listener.local_addr()?;
        report(&config, &store, address);

        let (claim, is_in_use) = claim(&config);
        let hidden = Naming::Hidden(store.instance());
        let naming = if config.show_names { Naming::Shown } else { hidden };
        let metrics = Metrics::new(naming);
        let writer = writer.measured(metrics.clone());
        let (scheduler, handle) = Scheduler::new(scheduler::Parts {
            store: store.clone(),
            logs: Arc::new(logs),
            engine,
            clock: Arc::new(SystemClock),
            rng,
            catalog: catalog(&config, is_in_use),
            settings: config.settings.clone(),
            metrics: metrics.clone(),
        });
        let reloader =
            Reloader::new(args, config.clone(), hangup, follow(handle.clone(), docker, is_in_use));
        let writers = TaskTracker::new();
        let router = Api::new(handle, config.zone, writers.clone())
            .with_base_path(BasePath::new(&config.base_path))
            .with_engine(engine_name(&config.engine))
            .router(Guard::new(config.tokens, config.allowed_hosts));

        let mut parts = Parts::new(stop.clone());
        parts.add("the store's writer", async move {
            writer.run().await;
            Ok(())
        });
        let (verified, stopped) = (store.clone(), stop.clone());
        parts.add("the check of the store", async move {
            tokio::select! {
                biased;
                () = stopped.cancelled() => return Ok(()),
                whole = verified.verify() => whole?,
            }
            stopped.cancelled().await;
            Ok(())
        });
        let (watched, stopped) = (store.clone(), stop.clone());
        parts.add("the watch over the data directory", async move {
            // The store writes the log line itself.
            while stopped.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await.is_some() {
                let _ = watched.is_there().await;
            }
            Ok(())
        });
        let notifier = Notifier::new(store.clone(), Arc::new(SystemClock), metrics)?;
        parts.add("the scheduler and the API", async move {
            // The store closes last, when no reader or writer is left.
            let beside =
                futures::future::join(notifier.run(stop.clone()), reloader.run(stop.clone()));
            let served = serve_http(listener, router, writers, stop.clone());
            let (served, ..) = tokio::join!(served, scheduler.run(stop), beside);
            store.close().await;
            served
        });
        Ok(Self { address, parts, deadline: config.shutdown_deadline, _claim: claim })
    }

    /// Returns the address that the server listens on. Port 0 in the config becomes the assigned
    /// port here.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Runs until a signal arrives, then stops all parts.
    ///
    /// # Errors
    /// Fails when a part ended by itself.
    pub(crate) async fn run(self, signals: Signals) -> anyhow::Result<()> {
        self.parts.run(signals, self.deadline).await
    }
}

/// Returns the function that applies a reloaded config while the service runs.
fn follow(
    handle: Handle,
    docker: Option<Arc<docker::DockerEngine>>,
    is_in_use: bool,
) -> impl Fn(&Config) + Send + 'static {
    move |config| {
        if let (Some(docker), EngineChoice::Docker(place)) = (&docker, &config.engine) {
            docker.set_registries(registries(config, place));
        }
        handle.set_rules(Rules {
            catalog: catalog(config, is_in_use),
            settings: config.settings.clone(),
        });
    }
}

/// The engine, and the same engine by its concrete type, for settings that can change at run time.
/// The second is `None` for the simulated engine.
type Connected = (Arc<dyn Engine>, Option<Arc<docker::DockerEngine>>);

/// Returns the name of the engine for the API.
fn engine_name(choice: &EngineChoice) -> &'static str {
    match choice {
        EngineChoice::Docker(_) => "docker",
        EngineChoice::Simulated => "simulated",
    }
}

fn connect_engine(config: &Config, rng: &Rng) -> anyhow::Result<Connected> {
    Ok(match &config.engine {
        EngineChoice::Docker(place) => {
            let address = docker::Address::find(
                place.host.as_deref(),
                place.cert_path.as_deref(),
                place.tls_verify,
            )?;
            let engine =
                Arc::new(docker::connect(address).with_registries(registries(config, place)));
            (engine.clone(), Some(engine))
        }
        EngineChoice::Simulated => {
            // The simulated engine would otherwise keep the evidence of every event without limit.
            // A random seed gives each process its own containers.
            let settings = Settings {
                seed: u64::from_le_bytes(rng.bytes()),
                keep_record: false,
                ..Settings::default()
            };
            (Arc::new(SimulatedEngine::new(Arc::new(SystemClock), settings)), None)
        }
    })
}

fn registries(config: &Config, place: &EngineSection) -> docker::Registries {
    let default = docker::Registries::default();
    let login = |login: &RegistryLogin| docker::Login {
        username: login.username.clone(),
        password_file: login.password_file.clone(),
    };
    docker::Registries {
        logins: config
            .registries
            .iter()
            .map(|(name, entry)| (name.clone(), login(entry)))
            .collect(),
        stall: place.pull_stall.map_or(default.stall, |stall| stall.as_duration()),
    }
}

/// Locks the config file, and returns the lock and whether another server holds it. On a file
/// system without locks, and with `--adopt-config`, the file counts as free.
fn claim(config: &Config) -> (Option<File>, bool) {
    let file = config.file.as_ref().filter(|_| !config.adopt_config);
    let Some(file) = file.and_then(|file| File::open(&file.path).ok()) else {
        return (None, false);
    };
    match file.try_lock() {
        Ok(()) => (Some(file), false),
        Err(TryLockError::WouldBlock) => (None, true),
        Err(TryLockError::Error(_)) => (None, false),
    }
}

fn catalog(config: &Config, is_in_use: bool) -> Catalog {
    let mut closed = vec![config.data_dir.to_string_lossy().into_owned()];
    if let Ok(real) = std::fs::canonicalize(&config.data_dir) {
        closed.push(real.to_string_lossy().into_owned());
    }
    if let EngineChoice::Docker(place) = &config.engine {
        let host = place.host.clone().or_else(|| std::env::var("DOCKER_HOST").ok());
        closed.extend(host.and_then(|host| host.strip_prefix("unix://").map(str::to_owned)));
    }
    Catalog {
        definitions: config.definitions.clone(),
        queues: config.queues.clone(),
        policy: config.policy.clone(),
        closed: ForbiddenPaths::with(closed),
        secrets: config.secrets.clone(),
        schedules: config.schedules.clone(),
        file: Origin {
            // Each path becomes a text of its own, even a path that is not UTF-8.
            path: config
                .file
                .as_ref()
                .map(|file| file.path.as_os_str().as_bytes().escape_ascii().to_string())
                .unwrap_or_default(),
            adopts: config.adopt_config,
            is_in_use,
        },
    }
}

fn report(config: &Config, store: &SqliteStore, address: SocketAddr) {
    let file = config
        .file
        .as_ref()
        .map_or_else(|| "none".to_owned(), |file| file.path.display().to_string());
    info!(version = env!("CARGO_PKG_VERSION"), instance = %store.instance(), data_dir = %config.data_dir.display(), config = %file, zone = %config.zone, "starting");
    if config.tokens.is_empty() && !address.ip().is_loopback() {
        warn!(%address, "everybody who can reach this address may run containers here (--allow-anonymous)");
    }
}

async fn serve_http(
    listener: TcpListener,
    router: axum::Router,
    writers: TaskTracker,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let stopping = stop.clone();
    // Without `TCP_NODELAY`, an answer in two pieces waits for the caller's acknowledgement of the
    // first piece, which comes 40 ms later. A connection that refuses the option keeps that delay.
    let listener = listener.tap_io(|connection| drop(connection.set_nodelay(true)));
    let serving = axum::serve(listener, router)
        .with_graceful_shutdown(async move { stopping.cancelled().await });
    let give_up = async {
        stop.cancelled().await;
        tokio::time::sleep(REQUEST_GRACE).await;
    };
    tokio::select! {
        biased;
        served = async { serving.await } => served.context("the HTTP server")?,
        () = give_up => info!("requests that were still waiting are cut off"),
    }
    writers.close();
    Ok(())
}
