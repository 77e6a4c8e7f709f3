//! `tidetable status`: the state of the server in a few lines, or in one. Also `pause` and
//! `resume`, which hold back everything that is due.

use chrono::{DateTime, Local, Utc};
use clap::Args;
use indicatif::HumanBytes;
use serde_json::{Value, json};

use super::display::Display;
use super::words;
use crate::client::Client;
use crate::http::views::{EngineView, LatenessView, StoreView, SummaryView};

/// The arguments of `tidetable status`.
#[derive(Args, Debug)]
pub(super) struct StatusArgs {
    /// Print one short line, as for a prompt
    #[arg(long)]
    short: bool,
}

/// The arguments of `tidetable pause`.
#[derive(Args, Debug)]
pub(super) struct PauseArgs {
    /// Time or delay after which jobs start again, such as 2h [default: until `resume`]
    #[arg(long, value_name = "WHEN")]
    until: Option<String>,
    /// Reason, which is shown wherever the pause is
    #[arg(long, value_name = "TEXT")]
    why: Option<String>,
}

pub(super) async fn status(
    client: &Client,
    args: &StatusArgs,
    display: &Display,
) -> anyhow::Result<u8> {
    let summary = client.summary().await?;
    let text = || if args.short { short(&summary) } else { long(&summary) };
    display.one(&summary, client.server(), text)?;
    Ok(0)
}

pub(super) async fn pause(
    client: &Client,
    args: &PauseArgs,
    display: &Display,
) -> anyhow::Result<u8> {
    let paused = client.pause(&json!({"until": args.until, "why": args.why})).await?;
    let until = paused.paused_until.as_deref().unwrap_or("`tidetable resume`");
    display.one(&paused, client.server(), || {
        format!("nothing new is started until {until}; jobs that run go on")
    })?;
    Ok(0)
}

pub(super) async fn resume(client: &Client, display: &Display) -> anyhow::Result<u8> {
    let resumed = client.resume().await?;
    display.one(&resumed, client.server(), || "jobs that are due are started again".to_owned())?;
    Ok(0)
}

/// Returns one line: `2 running, 1 failed, next 02:30`. Failures are those of the last 24 hours.
fn short(summary: &SummaryView) -> String {
    let mut parts = vec![format!("{} running", summary.jobs.running)];
    let failed = summary.ended_24h.get("failed").copied().unwrap_or(0);
    if failed > 0 {
        parts.push(format!("{failed} failed"));
    }
    if let Some(next) = summary.next_due_at.as_deref().and_then(time) {
        parts.push(format!("next {}", next.with_timezone(&Local).format("%H:%M")));
    }
    if summary.paused.is_some() {
        parts.push("paused".to_owned());
    }
    parts.join(", ")
}

fn long(summary: &SummaryView) -> String {
    let now = time(&summary.now).unwrap_or_default();
    let slots = summary.slots.limit.map(|limit| format!(" of {limit}")).unwrap_or_default();
    let SummaryView { jobs, backlog, .. } = summary;
    let mut lines = vec![format!(
        "running {}{slots}, waiting {}, backlog {backlog}",
        jobs.running, jobs.scheduled
    )];
    lines.push(match &summary.next_due_at {
        Some(next) => format!("next run {}", words::distance_of(next, now)),
        None => "nothing is due".to_owned(),
    });
    lines.push(format!("last 24 h: {}", outcomes(summary)));
    if let Some(LatenessView { p50, p99 }) = &summary.lateness_ms {
        lines.push(format!("lateness {p50} ms (p50), {p99} ms (p99)"));
    }
    lines.extend(summary.engines.iter().map(|engine| engine_line(engine, now)));
    lines.push(store_line(&summary.store, now));
    lines.extend(summary.paused.as_ref().map(|paused| paused_line(paused, now)));
    lines.join("\n")
}

fn outcomes(summary: &SummaryView) -> String {
    let ended = summary.ended_24h.iter().filter(|(_, count)| **count > 0);
    let counts: Vec<String> = ended.map(|(status, count)| format!("{count} {status}")).collect();
    if counts.is_empty() { "nothing ended".to_owned() } else { counts.join(", ") }
}

fn engine_line(engine: &EngineView, now: DateTime<Utc>) -> String {
    let version = engine.version.as_ref().map(|version| format!(" {version}")).unwrap_or_default();
    let since = engine.since.as_ref();
    let since = since.map(|at| format!(" since {}", words::distance_of(at, now)));
    format!("engine {}{version} is {}{}", engine.name, engine.state, since.unwrap_or_default())
}

fn store_line(store: &StoreView, now: DateTime<Utc>) -> String {
    let oldest = store.oldest_at.as_ref();
    let oldest = oldest.map(|at| format!(", the oldest {}", words::distance_of(at, now)));
    let free = store.disk_free_bytes.map(|free| format!(", {} free", HumanBytes(free)));
    format!(
        "store: {} jobs, {}{}{}",
        store.jobs,
        HumanBytes(store.bytes),
        oldest.unwrap_or_default(),
        free.unwrap_or_default()
    )
}

fn paused_line(paused: &Value, now: DateTime<Utc>) -> String {
    let by = paused["by"].as_str().map(|by| format!(" by {by}")).unwrap_or_default();
    let until = paused["until"].as_str();
    let until = until.map(|at| format!(", ends {}", words::distance_of(at, now)));
    let why = paused["why"].as_str().map(|why| format!(": {why}")).unwrap_or_default();
    format!("paused{by}{}{why}", until.unwrap_or_default())
}

fn time(text: &str) -> Option<DateTime<Utc>> {
    Some(DateTime::parse_from_rfc3339(text).ok()?.with_timezone(&Utc))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary() -> SummaryView {
        let summary = json!({
            "now": "2021-06-20T13:25:28Z",
            "jobs": {"scheduled": 41, "running": 3, "history": 1200, "by_status": {}},
            "slots": {"used": 3, "limit": 16}, "backlog": 2,
            "next_due_at": "2021-06-20T13:30:28Z", "ended_24h": {"succeeded": 302, "failed": 10},
            "lateness_ms": {"p50": 41, "p99": 180},
            "engines": [{"name": "docker", "state": "up", "version": "28.2", "since": null}],
            "store": {"jobs": 1244, "bytes": 2048, "oldest_at": null, "disk_free_bytes": 1_048_576},
            "config_loaded_at": "2021-06-20T13:25:28Z",
            "paused": {"until": "2021-06-20T15:25:28Z", "why": "upgrade", "by": "ops"},
        });
        serde_json::from_value(summary).expect("a summary")
    }

    #[test]
    fn status_is_told_in_a_few_lines() {
        assert_eq!(
            long(&summary()),
            "running 3 of 16, waiting 41, backlog 2\n\
             next run in 5 min\n\
             last 24 h: 10 failed, 302 succeeded\n\
             lateness 41 ms (p50), 180 ms (p99)\n\
             engine docker 28.2 is up\n\
             store: 1244 jobs, 2.00 KiB, 1.00 MiB free\n\
             paused by ops, ends in 2 h: upgrade"
        );
    }

    #[test]
    fn short_status_is_one_line() {
        let line = short(&summary());
        assert!(line.starts_with("3 running, 10 failed, next ") && line.ends_with(", paused"));
        let quiet = SummaryView { next_due_at: None, paused: None, ..summary() };
        assert_eq!(short(&quiet), "3 running, 10 failed");
    }
}
