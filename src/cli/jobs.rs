//! The commands on jobs that are there: `ls`, `inspect`, `stop`, `rerun` and `rm`.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use clap::Args;
use clap_complete::engine::ArgValueCompleter;

use super::display::{self, Display};
use super::errors::Usage;
use super::{complete, job_sheet};
use crate::client::Client;
use crate::http::views::{DoneView, JobView, JobsView};

/// The number of jobs that `ls` lists without `--limit`.
const USUAL_LIMIT: usize = 50;

/// The arguments of `tidetable ls`.
#[derive(Args, Debug)]
pub(super) struct LsArgs {
    /// Include jobs that are over
    #[arg(short, long)]
    all: bool,
    /// List only these states: maps (running, scheduled, history) or statuses
    #[arg(long, value_name = "STATE,…", value_delimiter = ',')]
    state: Vec<String>,
    /// List only jobs of this definition or image
    #[arg(long, value_name = "NAME", add = ArgValueCompleter::new(complete::definitions))]
    name: Option<String>,
    /// List only jobs of this schedule
    #[arg(long, value_name = "NAME", add = ArgValueCompleter::new(complete::schedules))]
    schedule: Option<String>,
    /// List only jobs with this label; may be repeated
    #[arg(short, long, value_name = "K=V|K")]
    label: Vec<String>,
    /// List only jobs that were accepted since a time ago (2h) or an RFC 3339 time
    #[arg(long, value_name = "WHEN")]
    since: Option<String>,
    /// List at most the N newest jobs; 0 lists all [default: 50]
    #[arg(short = 'n', long, value_name = "N")]
    limit: Option<usize>,
    /// List again whenever something changed
    #[arg(long)]
    pub(super) watch: bool,
}

/// The arguments of commands on one job.
#[derive(Args, Debug)]
pub(super) struct IdArgs {
    /// The job's id, or 4 or more of its first or last digits
    #[arg(add = ArgValueCompleter::new(complete::jobs))]
    id: String,
}

/// The arguments of `tidetable stop`.
#[derive(Args, Debug)]
pub(super) struct StopArgs {
    /// The job's id, or 4 or more of its first or last digits
    #[arg(add = ArgValueCompleter::new(complete::jobs))]
    id: String,
    /// Time until the job is killed (10s), in place of its own; 0s kills at once
    #[arg(long, value_name = "TIME")]
    grace: Option<String>,
}

/// The arguments of `tidetable rerun`.
#[derive(Args, Debug)]
pub(super) struct RerunArgs {
    /// The job's id, or 4 or more of its first or last digits
    #[arg(add = ArgValueCompleter::new(complete::jobs))]
    id: String,
    /// Date of the new job, such as 30s or "20-06-2021 13:25:28" [default: now]
    #[arg(long, value_name = "DATE", conflicts_with = "delay")]
    at: Option<String>,
    /// Delay until the new job is due, such as 30s or "1h 30m"
    #[arg(long = "in", value_name = "DELAY", allow_hyphen_values = true)]
    delay: Option<String>,
}

pub(super) async fn ls(client: &Client, args: LsArgs, display: &Display) -> anyhow::Result<u8> {
    let (jobs, found) = list(client, &args, args.since(display)?).await?;
    display.list(&jobs, &job_sheet::sheet(&jobs, display)?)?;
    if args.limit.is_none() && found > count(&jobs) {
        eprintln!("the {} newest of {found} jobs; -n 0 lists all", count(&jobs));
    }
    Ok(0)
}

impl LsArgs {
    /// Returns the instant of `--since`.
    ///
    /// # Errors
    /// Fails for a text that is neither a time ago nor a time.
    pub(super) fn since(&self, display: &Display) -> Result<Option<DateTime<Utc>>, Usage> {
        self.since.as_deref().map(|text| instant(text, display.now())).transpose()
    }
}

/// Returns the newest jobs that the arguments ask for, and the number of all of them.
pub(super) async fn list(
    client: &Client,
    args: &LsArgs,
    since: Option<DateTime<Utc>>,
) -> anyhow::Result<(JobsView, usize)> {
    let mut jobs = listed(client, args).await?;
    keep(&mut jobs, |job| is_wanted(job, args, since));
    let found = count(&jobs);
    cut(&mut jobs, args.limit.unwrap_or(USUAL_LIMIT));
    Ok((jobs, found))
}

/// Returns whether a job passes the filters that the server need not apply.
pub(super) fn is_wanted(job: &JobView, args: &LsArgs, since: Option<DateTime<Utc>>) -> bool {
    args.label.iter().all(|label| has_label(job, label))
        && args.name.as_ref().is_none_or(|name| *name == job.job_name)
        && args.schedule.as_ref().is_none_or(|name| Some(name) == job.schedule.as_ref())
        && since.is_none_or(|since| is_since(&job.created_at, since))
}

/// Reads the jobs that the arguments ask for. Labels after the first and times are for the caller
/// to compare.
async fn listed(client: &Client, args: &LsArgs) -> anyhow::Result<JobsView> {
    let waiting = || ["scheduled", "running"].map(|map| Some(map.to_owned())).to_vec();
    let states: Vec<Option<String>> = match (args.state.is_empty(), args.all) {
        (true, true) => vec![None],
        (true, false) => waiting(),
        (false, _) => args.state.iter().cloned().map(Some).collect(),
    };
    let label = args.label.iter().find(|label| label.contains('='));
    let mut all = JobsView::default();
    for state in &states {
        let filters = [
            ("state", state.as_ref()),
            ("job_name", args.name.as_ref()),
            ("schedule", args.schedule.as_ref()),
            ("label", label),
        ];
        let query: Vec<(&str, &str)> =
            filters.into_iter().filter_map(|(name, value)| Some((name, value?.as_str()))).collect();
        let some = client.jobs(&query).await?;
        all.running.extend(some.running);
        all.scheduled.extend(some.scheduled);
        all.history.extend(some.history);
    }
    // A job may have moved on between two answers. The later map counts.
    let JobsView { running, scheduled, history, .. } = &mut all;
    running.retain(|id, _| !history.contains_key(id));
    scheduled.retain(|id, _| !history.contains_key(id) && !running.contains_key(id));
    Ok(all)
}

fn count(jobs: &JobsView) -> usize {
    jobs.running.len() + jobs.scheduled.len() + jobs.history.len()
}

fn keep(jobs: &mut JobsView, is_wanted: impl Fn(&JobView) -> bool) {
    for map in [&mut jobs.running, &mut jobs.scheduled, &mut jobs.history] {
        map.retain(|_, job| is_wanted(job));
    }
}

/// Keeps the newest jobs. Ids sort by the time of acceptance.
pub(super) fn cut(jobs: &mut JobsView, limit: usize) {
    if limit == 0 || count(jobs) <= limit {
        return;
    }
    let maps = [&jobs.running, &jobs.scheduled, &jobs.history];
    let ids: BTreeSet<&String> = maps.into_iter().flat_map(|map| map.keys()).collect();
    let oldest = ids.into_iter().rev().nth(limit - 1).cloned();
    if let Some(oldest) = oldest {
        keep(jobs, |job| job.id >= oldest);
    }
}

/// Returns whether a job is in one of the states that the arguments name, if they name any.
pub(super) fn has_state(job: &JobView, args: &LsArgs) -> bool {
    let status = job.status.as_str();
    let map = match status {
        "scheduled" | "queued" | "retrying" => "scheduled",
        "pulling" | "starting" | "running" | "stopping" => "running",
        _ => "history",
    };
    args.state.is_empty() || args.state.iter().any(|state| state == status || state == map)
}

fn has_label(job: &JobView, label: &str) -> bool {
    match label.split_once('=') {
        Some((key, value)) => job.labels.get(key).is_some_and(|has| has == value),
        None => job.labels.contains_key(label),
    }
}

fn is_since(at: &str, since: DateTime<Utc>) -> bool {
    DateTime::parse_from_rfc3339(at).is_ok_and(|at| at >= since)
}

/// Returns the instant of a time ago (`2h`) or of an RFC 3339 time.
fn instant(text: &str, now: DateTime<Utc>) -> Result<DateTime<Utc>, Usage> {
    let ago = || humantime::parse_duration(text).ok();
    let before = |ago| Some(now - chrono::Duration::from_std(ago).ok()?);
    DateTime::parse_from_rfc3339(text)
        .ok()
        .map(|at| at.with_timezone(&Utc))
        .or_else(|| ago().and_then(before))
        .ok_or_else(|| {
            Usage(format!(
                "`{text}` is no time ago and no time: write one like 2h, or 2026-06-20T13:25:28Z"
            ))
        })
}

pub(super) async fn inspect(
    client: &Client,
    args: IdArgs,
    display: &Display,
) -> anyhow::Result<u8> {
    let job = client.job(&args.id).await?;
    display.fields(&job, &job.id)?;
    Ok(0)
}

pub(super) async fn stop(client: &Client, args: StopArgs, display: &Display) -> anyhow::Result<u8> {
    done(&client.stop(&args.id, args.grace.as_deref()).await?, display)
}

pub(super) async fn rerun(
    client: &Client,
    args: RerunArgs,
    display: &Display,
) -> anyhow::Result<u8> {
    let date = args.delay.or(args.at);
    done(&client.rerun(&args.id, date.as_deref()).await?, display)
}

pub(super) async fn rm(client: &Client, args: IdArgs, display: &Display) -> anyhow::Result<u8> {
    done(&client.cancel(&args.id).await?, display)
}

/// Prints the result of a call on a job, and returns exit code 0.
pub(super) fn done(done: &DoneView, display: &Display) -> anyhow::Result<u8> {
    display.one(done, &done.id, || done.message.clone())?;
    display::warnings(&done.warnings);
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_takes_spans_and_times() {
        let now = DateTime::from_timestamp(7_200, 0).expect("an instant");
        let at = |seconds| DateTime::from_timestamp(seconds, 0).expect("an instant");
        assert_eq!(instant("1h 30m", now).expect("is right"), at(1_800));
        assert_eq!(instant("1970-01-01T01:00:00+01:00", now).expect("is right"), at(0));
        assert!(instant("yesterday", now).expect_err("is wrong").to_string().contains("2h"));
    }
}
