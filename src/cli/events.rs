//! `tidetable events`: the changes of jobs, schedules, definitions and engines, as they come.

use std::pin::pin;
use std::time::Duration;

use clap::Args;
use futures::TryStreamExt as _;
use serde_json::Value;

use super::display::{Display, or_dash, say};
use super::lines::Lines;
use super::{job_sheet, text, words};
use crate::client::Client;

/// The silence after which a command that does not follow has read all past events.
const SILENCE: Duration = Duration::from_millis(500);
/// The number of digits of an id in a line. The ids of later lines are not known yet.
const ID_DIGITS: usize = 8;

/// The arguments of `tidetable events`.
#[derive(Args, Debug)]
pub(super) struct EventsArgs {
    /// Continue with new events; without --since, begin now
    #[arg(short, long)]
    follow: bool,
    /// Print only these kinds: job, schedule, definition, engine, server
    #[arg(long, value_name = "KIND,…")]
    kind: Option<String>,
    /// Print only events of this schedule
    #[arg(long, value_name = "NAME")]
    schedule: Option<String>,
    /// Print only events of this job
    #[arg(long, value_name = "ID")]
    job: Option<String>,
    /// Print only events of jobs of this definition or image
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Begin after the event with this number [default: the first, or now with -f]
    #[arg(long, value_name = "SEQ")]
    since: Option<u64>,
}

impl EventsArgs {
    fn query(&self) -> Vec<(&str, String)> {
        let since = self.since.or((!self.follow).then_some(0));
        let filters = [
            ("kind", self.kind.clone()),
            ("schedule", self.schedule.clone()),
            ("job", self.job.clone()),
            ("job_name", self.name.clone()),
            ("since", since.map(|seq| seq.to_string())),
        ];
        filters.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }
}

pub(super) async fn run(
    client: &Client,
    args: &EventsArgs,
    display: &Display,
) -> anyhow::Result<u8> {
    let mut chunks = pin!(client.events(&args.query()).await?);
    let mut lines = Lines::default();
    loop {
        let next = chunks.try_next();
        let chunk = match args.follow {
            true => next.await?,
            // A stream of events has no end. Past ones come without a pause.
            false => match tokio::time::timeout(SILENCE, next).await {
                Ok(chunk) => chunk?,
                Err(_silence) => return Ok(0),
            },
        };
        let Some(chunk) = chunk else { return Ok(0) };
        for line in lines.add(&chunk) {
            print(&serde_json::from_slice(&line)?, display)?;
        }
    }
}

fn print(event: &Value, display: &Display) -> anyhow::Result<()> {
    if display.is_json() {
        say!("{}", text::clean_json(&serde_json::to_string(event)?));
    } else if display.is_names() {
        say!("{}", text::clean(subject(event)));
    } else if display.is_for_person() {
        say!("{}", sentence(event, display));
    } else {
        let fields = ["seq", "at", "kind", "name", "job", "from", "to", "reason", "exit_code"];
        let cells = fields.map(|field| match (field, &event[field]) {
            ("name", Value::Null) => or_dash(event["job_name"].as_str()),
            ("to", Value::Null) => or_dash(event["change"].as_str()),
            (_, Value::Null) => "-".to_owned(),
            (_, Value::String(text)) => text.clone(),
            (_, other) => other.to_string(),
        });
        say!("{}", cells.map(|cell| text::clean(&cell).into_owned()).join("\t"));
    }
    Ok(())
}

/// Returns the id or the name that an event is about.
fn subject(event: &Value) -> &str {
    event["job"].as_str().or(event["name"].as_str()).unwrap_or("-")
}

/// Returns a line for a person, such as `13:25:28 job 5f2a1b07 busybox running → succeeded`.
fn sentence(event: &Value, display: &Display) -> String {
    let word = |field: &str| event[field].as_str().unwrap_or_default();
    let at = word("at");
    let time = at.get(11..19).unwrap_or(at);
    let to = if event["to"].is_null() { word("change") } else { word("to") };
    let to = display.coloured(to, job_sheet::colour(to));
    let line = match event["job"].as_str() {
        Some(job) => {
            let from = match word("from") {
                "" => String::new(),
                from => format!("{from} → "),
            };
            let id = text::clean(words::end_of(job, ID_DIGITS)).into_owned();
            format!("job {id} {} {}{to}", text::clean(word("job_name")), text::clean(&from))
        }
        None if word("kind") == "gap" => {
            format!("gap: events {} to {} are not kept", event["from_seq"], event["to_seq"])
        }
        None => format!("{} {} {to}", text::clean(word("kind")), text::clean(word("name"))),
    };
    let says = match word("says") {
        "" => String::new(),
        says => format!("  {}", text::clean(says)),
    };
    format!("{} {line}{says}", text::clean(time))
}
