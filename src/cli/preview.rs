//! `tidetable preview`: explains a recurrence or a date, as the server understands it.

use clap::Args;
use serde_json::{Map, Value, json};

use super::display::Display;
use crate::client::Client;

#[derive(Args, Debug)]
pub(super) struct PreviewArgs {
    /// A cron expression such as "30 2 * * *", or a period such as "@every 90s"
    #[arg(required_unless_present_any = ["every", "date"], conflicts_with_all = ["every", "date"])]
    cron: Option<String>,
    /// A period such as 90m
    #[arg(long, value_name = "PERIOD", conflicts_with = "date")]
    every: Option<String>,
    /// A date such as "20-06-2099 13:25"
    #[arg(long, value_name = "DATE")]
    date: Option<String>,
    /// Time zone to use [default: the server's]
    #[arg(long, value_name = "TZ")]
    time_zone: Option<String>,
    /// Instant after which times are shown, RFC 3339 [default: now]
    #[arg(long, value_name = "INSTANT")]
    from: Option<String>,
    /// Number of times to show
    #[arg(short = 'n', long, value_name = "N")]
    count: Option<usize>,
}

pub(super) async fn run(
    client: &Client,
    args: &PreviewArgs,
    display: &Display,
) -> anyhow::Result<u8> {
    let texts = [
        ("cron", &args.cron),
        ("every", &args.every),
        ("date", &args.date),
        ("time_zone", &args.time_zone),
        ("from", &args.from),
    ];
    let texts =
        texts.into_iter().filter_map(|(name, text)| Some((name.to_owned(), json!(text.as_ref()?))));
    let question: Map<String, Value> =
        texts.chain(args.count.map(|n| ("count".to_owned(), json!(n)))).collect();
    let preview = client.preview(&Value::Object(question)).await?;
    let times = preview.next.join("\n");
    display.one(&preview, &times, || format!("{}\n{times}", preview.says))?;
    Ok(0)
}
