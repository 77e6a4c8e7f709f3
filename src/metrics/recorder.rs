//! The counters and histograms, and the methods that count.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family as Series;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};

use super::families::{base, find};
use super::naming::{Names, Naming};
use super::ticks::{Decided, PendingTicks};
use crate::domain::job::{End, Job};
use crate::domain::names::id::Timestamp;
use crate::domain::names::schedule::ScheduleName;
use crate::domain::schedule::record::ScheduleUpdate;

/// The labels of a series.
pub type Labels = Vec<(&'static str, String)>;

type Counters = Series<Labels, Counter>;
type Histograms = Series<Labels, Histogram, fn() -> Histogram>;

/// The counters and histograms of one server. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Recorder>);

#[derive(Debug)]
struct Recorder {
    registry: Registry,
    naming: Naming,
    schedules: Names,
    queues: Names,
    definitions: Names,
    pending: Mutex<PendingTicks>,
    /// The end of the dispatcher's last round, in milliseconds since 1970; 0 before the first.
    last_round: AtomicI64,
    ended: Counters,
    lateness: Histograms,
    durations: Histograms,
    ticks: Counters,
    engine_calls: Histograms,
    pulls: Histograms,
    commits: Histograms,
    requests: Counters,
    request_times: Histograms,
    refused: Counters,
    streams: Gauge,
    notifications: Counters,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new(Naming::Shown)
    }
}

fn lateness() -> Histogram {
    Histogram::new([0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0, 600.0])
}

/// From a second to a day: runs of batch jobs differ by orders of magnitude.
fn runs() -> Histogram {
    Histogram::new([1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3_600.0, 14_400.0, 43_200.0, 86_400.0])
}

fn calls() -> Histogram {
    Histogram::new([0.001, 0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0])
}

fn pulls() -> Histogram {
    Histogram::new([0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 1_200.0])
}

fn commits() -> Histogram {
    Histogram::new([0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5, 10.0])
}

fn register<M: Metric + Clone>(registry: &mut Registry, name: &str, metric: M) -> M {
    if let Some(family) = find(name) {
        registry.register(base(family), family.help, metric.clone());
    }
    metric
}

fn histograms(registry: &mut Registry, name: &str, buckets: fn() -> Histogram) -> Histograms {
    register(registry, name, Histograms::new_with_constructor(buckets))
}

impl Metrics {
    /// Creates the metrics of a server, all at 0.
    pub fn new(naming: Naming) -> Self {
        let mut registry = Registry::default();
        let r = &mut registry;
        let counters = |r: &mut Registry, name| register(r, name, Counters::default());
        let ended = counters(r, "tidetable_jobs_ended_total");
        let lateness = histograms(r, "tidetable_job_start_lateness_seconds", lateness);
        let durations = histograms(r, "tidetable_job_duration_seconds", runs);
        let ticks = counters(r, "tidetable_schedule_ticks_total");
        let engine_calls = histograms(r, "tidetable_engine_call_seconds", calls);
        let pulls = histograms(r, "tidetable_image_pull_seconds", pulls);
        let commits = histograms(r, "tidetable_store_commit_seconds", commits);
        let requests = counters(r, "tidetable_http_requests_total");
        let request_times = histograms(r, "tidetable_http_request_seconds", calls);
        let refused = counters(r, "tidetable_auth_failures_total");
        let streams = register(r, "tidetable_stream_clients", Gauge::default());
        let notifications = counters(r, "tidetable_notifications_total");
        let (schedules, queues, definitions) = Default::default();
        Self(Arc::new(Recorder {
            registry,
            naming,
            schedules,
            queues,
            definitions,
            pending: Mutex::default(),
            last_round: AtomicI64::new(0),
            ended,
            lateness,
            durations,
            ticks,
            engine_calls,
            pulls,
            commits,
            requests,
            request_times,
            refused,
            streams,
            notifications,
        }))
    }

    pub(super) fn registry(&self) -> &Registry {
        &self.0.registry
    }

    /// Returns the label value of a schedule; empty for `None`.
    pub fn schedule(&self, name: Option<&ScheduleName>) -> String {
        let label = |name: &ScheduleName| self.0.schedules.label(self.0.naming, name.as_str());
        name.map(label).unwrap_or_default()
    }

    /// Returns the label value of a queue.
    pub fn queue(&self, name: &str) -> String {
        self.0.queues.label(self.0.naming, name)
    }

    /// Returns the label value of a definition.
    pub fn definition(&self, name: &str) -> String {
        self.0.definitions.label(self.0.naming, name)
    }

    /// Counts what a job's transition shows: a start, an end, a decided tick. Call it once for each
    /// transition that is on disk.
    pub fn advanced(&self, before: &Job, after: &Job) {
        self.job_advanced(before, after);
        let decided = self.pending().advanced(before, after);
        self.decided(after.origin.schedule().map(|origin| &origin.schedule), decided);
    }

    fn job_advanced(&self, before: &Job, after: &Job) {
        if let (None, Some(run)) = (before.state.run(), after.state.run()) {
            let late = (run.started_at - after.due_at).to_std().unwrap_or_default();
            let aim = after.spec.fields().aim == Some(true);
            observe(&self.0.lateness, vec![("aim", aim.to_string())], late);
        }
        let schedule = after.origin.schedule().map(|origin| &origin.schedule);
        let end = after.state.end().filter(|_| !before.is_over());
        if let Some(end) = end {
            self.ended(end, schedule);
        }
    }

    /// Counts the ticks that a schedule update decides, and the jobs that it ends. Call it once for
    /// each update that is on disk.
    pub fn schedule_updated(&self, update: &ScheduleUpdate) {
        let decided = self.pending().updated(update);
        self.decided(Some(&update.name), decided);
        for (before, after) in &update.ended {
            let tick = after.origin.schedule().and_then(|o| Some((o.generation, o.nominal?)));
            // The row of a dropped tick is gone: a new row or a later generation decides the tick.
            if tick.is_some_and(|tick| update.dropped.contains(&tick)) {
                self.job_advanced(before, after);
            } else {
                self.advanced(before, after);
            }
        }
    }

    fn ended(&self, end: &End, schedule: Option<&ScheduleName>) {
        let outcome = end.outcome.status().as_str().to_owned();
        let schedule = self.schedule(schedule);
        let reason = end.reason.map(|reason| reason.as_str().to_owned()).unwrap_or_default();
        if let Some((run, exit)) = end.run.as_ref().zip(end.exit.as_ref()) {
            let took = (exit.at - run.started_at).to_std().unwrap_or_default();
            let labels = vec![("schedule", schedule.clone()), ("outcome", outcome.clone())];
            observe(&self.0.durations, labels, took);
        }
        let labels = vec![("outcome", outcome), ("reason", reason), ("schedule", schedule)];
        self.0.ended.get_or_create(&labels).inc();
    }

    fn decided(&self, schedule: Option<&ScheduleName>, decided: Vec<Decided>) {
        for Decided { outcome, reason, ticks } in decided {
            let reason = reason.map(|reason| reason.as_str().to_owned()).unwrap_or_default();
            let labels = vec![
                ("schedule", self.schedule(schedule)),
                ("outcome", outcome.as_str().to_owned()),
                ("reason", reason),
            ];
            self.0.ticks.get_or_create(&labels).inc_by(ticks);
        }
    }

    fn pending(&self) -> std::sync::MutexGuard<'_, PendingTicks> {
        self.0.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that the dispatcher completed a round.
    pub fn dispatched(&self, now: Timestamp) {
        self.0.last_round.store(now.timestamp_millis(), Ordering::Relaxed);
    }

    /// Returns the end of the dispatcher's last round; `None` before the first.
    pub fn last_round(&self) -> Option<Timestamp> {
        let millis = self.0.last_round.load(Ordering::Relaxed);
        Timestamp::from_timestamp_millis(millis).filter(|_| millis > 0)
    }

    /// Records a call to the engine.
    pub fn engine_called(&self, call: &'static str, result: &'static str, took: Duration) {
        let labels = vec![("call", call.to_owned()), ("result", result.to_owned())];
        observe(&self.0.engine_calls, labels, took);
    }

    /// Records an image pull.
    pub fn pulled(&self, result: &'static str, took: Duration) {
        observe(&self.0.pulls, vec![("result", result.to_owned())], took);
    }

    /// Records a transaction of the store.
    pub fn committed(&self, result: &'static str, took: Duration) {
        observe(&self.0.commits, vec![("result", result.to_owned())], took);
    }

    /// Counts an answered HTTP request. `route` is a template, and `method` a standard one.
    pub fn answered(&self, route: &str, method: &'static str, code: u16, took: Duration) {
        let route = route.to_owned();
        observe(&self.0.request_times, vec![("route", route.clone())], took);
        let labels =
            vec![("route", route), ("method", method.to_owned()), ("code", code.to_string())];
        self.0.requests.get_or_create(&labels).inc();
    }

    /// Counts a request that the guard refused. `reason` is the code of the problem.
    pub fn refused(&self, reason: &str) {
        self.0.refused.get_or_create(&vec![("reason", reason.to_owned())]).inc();
    }

    /// Counts a streamed answer until the returned value is dropped.
    pub fn streaming(&self) -> Streaming {
        self.0.streams.inc();
        Streaming(self.0.streams.clone())
    }

    /// Counts a delivery of a notification.
    pub fn notified(&self, result: &'static str) {
        self.0.notifications.get_or_create(&vec![("result", result.to_owned())]).inc();
    }
}

fn observe(histograms: &Histograms, labels: Labels, took: Duration) {
    histograms.get_or_create(&labels).observe(took.as_secs_f64());
}

/// A streamed answer that is counted.
#[derive(Debug)]
pub struct Streaming(Gauge);

impl Drop for Streaming {
    fn drop(&mut self) {
        self.0.dec();
    }
}
