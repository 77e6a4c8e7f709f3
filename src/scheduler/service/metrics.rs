//! The gauges of a scrape: reads the state of the scheduler, the engine and the store.
//!
//! A scrape reads indexes. It costs a few milliseconds, and more with the number of schedules and
//! of stored jobs. The forecast costs most and changes little, so it is made once a minute.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use tracing::warn;

use super::handle::Handle;
use crate::domain::job::wait_group::Limit;
use crate::domain::job::{Map, Status};
use crate::domain::names::id::Timestamp;
use crate::domain::names::queue::QueueName;
use crate::domain::schedule::record::ScheduleRecord;
use crate::metrics::{Gauges, MAX_NAMES, Metrics, add_process};
use crate::scheduler::context::Health;
use crate::store::{Filter, LastEnd, StoreError};

/// The hours of the forecast of pile-ups.
const FORECAST_HOURS: u16 = 24;
/// The age at which the pile-ups are computed anew.
const FORECAST_EVERY: TimeDelta = TimeDelta::minutes(1);

impl Handle {
    /// Returns the counters and histograms of this server.
    pub fn metrics(&self) -> &Metrics {
        &self.context.metrics
    }

    /// Returns the gauges of this moment. A store that cannot be read makes `tidetable_ready` 0,
    /// and the gauges that come from it are left out.
    pub async fn gauges(&self) -> Gauges {
        let (mut gauges, now) = (Gauges::default(), self.now());
        add_process(&mut gauges);
        self.add_health(&mut gauges);
        let last_round = self.metrics().last_round();
        gauges.set_time("tidetable_dispatcher_last_round_timestamp_seconds", &[], last_round);
        let read = async {
            self.store().is_there().await?;
            self.add_store(&mut gauges, now).await?;
            self.add_schedules(&mut gauges, now).await?;
            self.add_running(&mut gauges, now).await?;
            self.add_pile_ups(&mut gauges, now).await
        };
        let is_read = read.await.inspect_err(|error| {
            // The store itself logs the loss of its data directory.
            if !matches!(error, StoreError::Gone(_)) {
                warn!(%error, "some gauges cannot be read");
            }
        });
        gauges.set("tidetable_ready", &[("part", "store")], flag(is_read.is_ok()));
        gauges
    }

    fn add_health(&self, gauges: &mut Gauges) {
        let (engine, since) = match self.health() {
            Health::Up(about) => (about.kind, None),
            Health::Down { since, .. } | Health::Changed { since, .. } => ("", Some(since)),
        };
        let version = env!("CARGO_PKG_VERSION");
        let labels = [("version", version), ("engine", engine), ("store", "sqlite")];
        gauges.set("tidetable_build_info", &labels, 1.0);
        gauges.set("tidetable_ready", &[("part", "engine")], flag(since.is_none()));
        gauges.set_time("tidetable_engine_unreachable_since_timestamp_seconds", &[], since);
    }

    async fn add_store(&self, gauges: &mut Gauges, now: Timestamp) -> Result<(), StoreError> {
        let stats = self.store().stats(now).await?;
        for (status, count) in &stats.jobs {
            gauges.set("tidetable_jobs", &[("status", status.as_str())], float(*count));
        }
        gauges.set("tidetable_oldest_due_job_age_seconds", &[("queue", "")], 0.0);
        for (queue, due_at) in &stats.oldest_due {
            let queue = queue.as_deref().map(|name| self.queue_label(name)).unwrap_or_default();
            let labels = [("queue", queue.as_str())];
            gauges.raise("tidetable_oldest_due_job_age_seconds", &labels, age(*due_at, now));
        }
        let oldest = stats.oldest_notification.map_or(0.0, |made_at| age(made_at, now));
        gauges.set("tidetable_outbox_oldest_age_seconds", &[], oldest);
        gauges.set("tidetable_store_bytes", &[], float(stats.bytes));
        gauges.set("tidetable_disk_free_bytes", &[], float(stats.disk_free));
        let running = stats.jobs.iter().filter(|(status, _)| status.map() == Map::Running);
        self.add_limits(gauges, running.map(|(_, count)| count).sum()).await
    }

    async fn add_limits(&self, gauges: &mut Gauges, running: u64) -> Result<(), StoreError> {
        let rules = self.rules();
        let queues = &rules.catalog.queues;
        let limits: Vec<Limit> = queues.keys().cloned().map(Limit::Queue).collect();
        let used = self.store().taken(&limits).await?;
        let server = ("max_running".to_owned(), rules.max_running(), running);
        let of_queues = queues.iter().zip(used).map(|((name, most), used)| {
            (format!("queue:{}", self.queue_label(name.as_str())), most.get(), used as u64)
        });
        for (limit, most, used) in std::iter::once(server).chain(of_queues) {
            let labels = [("limit", limit.as_str())];
            gauges.set("tidetable_limit", &labels, float(most as u64));
            gauges.raise("tidetable_limit_used", &labels, float(used));
        }
        Ok(())
    }

    async fn add_schedules(&self, gauges: &mut Gauges, now: Timestamp) -> Result<(), StoreError> {
        let records = self.store().snapshot().await?.schedules(None, MAX_NAMES).await?;
        let names: Vec<_> = records.iter().map(|record| record.name.clone()).collect();
        let ends = self.store().last_ends(&names).await?;
        for (record, ends) in records.iter().zip(ends) {
            self.add_schedule(gauges, record, &ends, now);
        }
        Ok(())
    }

    fn add_schedule(
        &self,
        gauges: &mut Gauges,
        record: &ScheduleRecord,
        ends: &[LastEnd],
        now: Timestamp,
    ) {
        let name = self.metrics().schedule(Some(&record.name));
        // A schedule without a label of its own has no gauges: they would overwrite each other.
        if name == "other" {
            return;
        }
        let schedule = ("schedule", name.as_str());
        let last = |status| ends.iter().find(|end| end.status == status).map(|end| end.at);
        let succeeded = last(Status::Succeeded);
        gauges.set_time(
            "tidetable_schedule_last_success_timestamp_seconds",
            &[schedule],
            succeeded,
        );
        for end in ends {
            let labels = [schedule, ("outcome", end.status.as_str())];
            gauges.set_time("tidetable_schedule_last_end_timestamp_seconds", &labels, Some(end.at));
        }
        if let Some(next) = record.next_tick {
            let at = Some(next.nominal);
            gauges.set_time("tidetable_schedule_next_due_timestamp_seconds", &[schedule], at);
        }
        let created = Some(record.accepted_at);
        gauges.set_time("tidetable_schedule_created_timestamp_seconds", &[schedule], created);
        let failed =
            [Status::Failed, Status::TimedOut, Status::Unknown].map(last).into_iter().max();
        let by_failure = record.schedule.pauses_on_failure() && failed.flatten() > succeeded;
        let is_paused = record.schedule.is_paused();
        for (by, is_it) in [("caller", !by_failure), ("failure", by_failure)] {
            let labels = [schedule, ("by", by)];
            gauges.set("tidetable_schedule_paused", &labels, flag(is_paused && is_it));
        }
        if let Some(interval) = expected_interval(record, now) {
            gauges.set("tidetable_schedule_expected_interval_seconds", &[schedule], interval);
        }
    }

    async fn add_running(&self, gauges: &mut Gauges, now: Timestamp) -> Result<(), StoreError> {
        let mut snapshot = self.store().snapshot().await?;
        let running = snapshot.page(Map::Running, &Filter::default(), None, MAX_NAMES).await?;
        for job in running {
            let Some(run) = job.state.run() else { continue };
            let schedule =
                self.metrics().schedule(job.origin.schedule().map(|from| &from.schedule));
            let (labels, age) = ([("schedule", schedule.as_str())], age(run.started_at, now));
            gauges.raise("tidetable_running_job_age_seconds", &labels, age);
        }
        Ok(())
    }

    async fn add_pile_ups(&self, gauges: &mut Gauges, now: Timestamp) -> Result<(), StoreError> {
        let mut kept = self.context.pile_ups.lock().await;
        let is_fresh = kept.as_ref().is_some_and(|(at, _)| now - *at < FORECAST_EVERY);
        if !is_fresh {
            *kept = Some((now, self.pile_ups().await?));
        }
        for (limit, seconds) in kept.iter().flat_map(|(_, limits)| limits) {
            let labels = [("limit", limit.as_str())];
            gauges.set("tidetable_forecast_pile_up_seconds", &labels, *seconds);
        }
        Ok(())
    }

    /// Forecasts for each limit the time in which it is exceeded. A limit that is never exceeded
    /// has 0 seconds.
    async fn pile_ups(&self) -> Result<BTreeMap<String, f64>, StoreError> {
        let rules = self.rules();
        let queue = |name: &str| format!("queue:{}", self.queue_label(name));
        let queues = rules.catalog.queues.keys().map(|name| queue(name.as_str()));
        let mut limits: BTreeMap<String, f64> =
            queues.chain(["max_running".to_owned()]).map(|limit| (limit, 0.0)).collect();
        let snapshot = self.store().snapshot().await?;
        for pile in self.forecast(FORECAST_HOURS, snapshot).await?.pile_ups {
            let limit = match pile.limit.as_str() {
                "max_running" => "max_running".to_owned(),
                limit => match limit.strip_prefix("queues.") {
                    Some(name) => queue(name),
                    None => self.parallel_label(limit.strip_prefix("max_parallel of ")),
                },
            };
            let length = (pile.until - pile.from).as_seconds_f64();
            *limits.entry(limit).or_default() += length;
        }
        Ok(limits)
    }

    /// Returns the label of a limit of one name. Only names of definitions in the config file are
    /// shown: others come from callers.
    fn parallel_label(&self, name: Option<&str>) -> String {
        let rules = self.rules();
        let name = name.filter(|name| rules.catalog.definitions.contains_key(*name));
        let label = name.map_or_else(|| "other".to_owned(), |name| self.metrics().definition(name));
        format!("max_parallel:{label}")
    }

    /// Returns the label of a queue. Only queues of the config file are shown: others come from
    /// callers.
    fn queue_label(&self, name: &str) -> String {
        let rules = self.rules();
        let is_known = |queue: &QueueName| rules.catalog.queues.contains_key(queue);
        match name.parse().is_ok_and(|queue| is_known(&queue)) {
            true => self.metrics().queue(name),
            false => "other".to_owned(),
        }
    }
}

/// Returns the longest of the last three gaps between ticks, in seconds. The present gap counts,
/// from the last tick to the next. Three gaps bridge a weekend at its end, when the newest success
/// is still the one of Friday.
fn expected_interval(record: &ScheduleRecord, now: Timestamp) -> Option<f64> {
    let timetable = record.timetable();
    let mut later = timetable.next_after(now)?.nominal;
    let mut longest = TimeDelta::zero();
    for _ in 0..3 {
        let before = later - TimeDelta::milliseconds(1);
        let Some(earlier) = timetable.latest(record.accepted_at, before) else { break };
        longest = longest.max(later - earlier.nominal);
        later = earlier.nominal;
    }
    if longest.is_zero() {
        // No tick has passed yet: the first gap ahead stands for the others.
        let next = timetable.next_after(later)?.nominal;
        longest = next - later;
    }
    Some(longest.as_seconds_f64())
}

fn age(since: Timestamp, now: Timestamp) -> f64 {
    (now - since).as_seconds_f64().max(0.0)
}

fn flag(is_set: bool) -> f64 {
    f64::from(u8::from(is_set))
}

#[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
fn float(number: u64) -> f64 {
    number as f64
}
