//! `tidetable status`: the state of the server in a few lines, or in one. Also `pause` and
//! `resume`, which hold back everything that is due.

use chrono::{DateTime, Local, Utc};
use clap::Args;
use serde_json::{Value, json};

use super::display::Display;
use super::words;
use crate::client::Client;

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
    let text = || if args.short { short(&summary) } else { long(&summary, display.now()) };
    display.one(&summary, client.server(), text)?;
    Ok(0)
}

pub(super) async fn pause(
    client: &Client,
    args: &PauseArgs,
    display: &Display,
) -> anyhow::Result<u8> {
    let body = json!({"until": args.until, "why": args.why});
    let paused = client.pause(&body).await?;
    let until = paused["paused_until"]
        .as_str()
        .map_or_else(|| "until `tidetable resume`".to_owned(), |until| format!("until {until}"));
    display.one(&paused, client.server(), || {
        format!("nothing new is started {until}; jobs that run go on")
    })?;
    Ok(0)
}

pub(super) async fn resume(client: &Client, display: &Display) -> anyhow::Result<u8> {
    let resumed = client.resume().await?;
    display.one(&resumed, client.server(), || "jobs that are due are started again".to_owned())?;
    Ok(0)
}

/// Returns one line: `2 running, 1 failed, next 02:30`. Failures are those of the last 24 hours.
fn short(summary: &Value) -> String {
    let count = |value: &Value| value.as_u64().unwrap_or(0);
    let mut parts = vec![format!("{} running", count(&summary["jobs"]["running"]))];
    let failed = count(&summary["ended_24h"]["failed"]);
    if failed > 0 {
        parts.push(format!("{failed} failed"));
    }
    if let Some(next) = time(&summary["next_due_at"]) {
        parts.push(format!("next {}", next.with_timezone(&Local).format("%H:%M")));
    }
    if !summary["paused"].is_null() {
        parts.push("paused".to_owned());
    }
    parts.join(", ")
}

fn long(summary: &Value, now: DateTime<Utc>) -> String {
    let jobs = &summary["jobs"];
    let slots = match summary["slots"]["limit"].as_u64() {
        Some(limit) => format!(" of {limit}"),
        None => String::new(),
    };
    let mut lines = vec![format!(
        "running {}{slots}, waiting {}, backlog {}",
        jobs["running"], jobs["scheduled"], summary["backlog"]
    )];
    lines.push(match time(&summary["next_due_at"]) {
        Some(next) => format!("next run {}", words::distance(next, now)),
        None => "nothing is due".to_owned(),
    });
    lines.push(format!("last 24 h: {}", outcomes(&summary["ended_24h"])));
    if let (Some(p50), Some(p99)) =
        (summary["lateness_ms"]["p50"].as_f64(), summary["lateness_ms"]["p99"].as_f64())
    {
        lines.push(format!("lateness {p50} ms (p50), {p99} ms (p99)"));
    }
    lines.extend(list(&summary["engines"]).iter().map(|engine| engine_line(engine, now)));
    lines.extend(store_line(&summary["store"], now));
    lines.extend(paused_line(&summary["paused"], now));
    lines.join("\n")
}

fn outcomes(ended: &Value) -> String {
    let counts = ended.as_object().into_iter().flatten();
    let counts = counts.filter(|(_, count)| count.as_u64() != Some(0));
    let counts: Vec<String> = counts.map(|(status, count)| format!("{count} {status}")).collect();
    if counts.is_empty() { "nothing ended".to_owned() } else { counts.join(", ") }
}

fn engine_line(engine: &Value, now: DateTime<Utc>) -> String {
    let word = |field: &str| engine[field].as_str().unwrap_or_default();
    let version = Some(word("version")).filter(|version| !version.is_empty());
    let version = version.map(|version| format!(" {version}")).unwrap_or_default();
    let since = time(&engine["since"]).map(|at| format!(" since {}", words::distance(at, now)));
    let since = since.unwrap_or_default();
    format!("engine {}{version} is {}{since}", word("name"), word("state"))
}

fn store_line(store: &Value, now: DateTime<Utc>) -> Option<String> {
    let jobs = store["jobs"].as_u64()?;
    let bytes =
        |field: &str| store[field].as_u64().map(|bytes| indicatif::HumanBytes(bytes).to_string());
    let size = bytes("bytes").map(|size| format!(", {size}")).unwrap_or_default();
    let oldest = time(&store["oldest_at"])
        .map(|at| format!(", the oldest {}", words::distance(at, now)))
        .unwrap_or_default();
    let free = bytes("disk_free_bytes").map(|free| format!(", {free} free")).unwrap_or_default();
    Some(format!("store: {jobs} jobs{size}{oldest}{free}"))
}

fn paused_line(paused: &Value, now: DateTime<Utc>) -> Option<String> {
    if paused.is_null() {
        return None;
    }
    let by = paused["by"].as_str().map(|by| format!(" by {by}")).unwrap_or_default();
    let until = time(&paused["until"])
        .map(|at| format!(", ends {}", words::distance(at, now)))
        .unwrap_or_default();
    let why = paused["why"].as_str().map(|why| format!(": {why}")).unwrap_or_default();
    Some(format!("paused{by}{until}{why}"))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn time(value: &Value) -> Option<DateTime<Utc>> {
    Some(DateTime::parse_from_rfc3339(value.as_str()?).ok()?.with_timezone(&Utc))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary() -> Value {
        json!({
            "jobs": {"scheduled": 41, "running": 3, "history": 1200},
            "slots": {"used": 3, "limit": 16}, "backlog": 2,
            "next_due_at": "2021-06-20T13:30:28Z", "ended_24h": {"succeeded": 302, "failed": 10},
            "lateness_ms": {"p50": 41, "p99": 180},
            "engines": [{"name": "docker", "state": "up", "version": "28.2", "since": null}],
            "store": {"jobs": 1244, "bytes": 2048, "oldest_at": null, "disk_free_bytes": 1_048_576},
            "paused": {"until": "2021-06-20T15:25:28Z", "why": "upgrade", "by": "ops"},
        })
    }

    #[test]
    fn status_is_told_in_a_few_lines() {
        let now = DateTime::from_timestamp(1_624_195_528, 0).expect("an instant");
        assert_eq!(
            long(&summary(), now),
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
        assert_eq!(short(&json!({})), "0 running");
    }
}
