//! `tidetable tide`: draws what ran, what runs and what will run.

use clap::Args;

use super::chart;
use super::display::{Display, say};
use crate::client::Client;

/// The width of the chart where none is known.
const WIDTH: usize = 80;
/// The pixels of one column: marks within half a column are merged.
const PX_A_COLUMN: usize = 4;

#[derive(Args, Debug)]
pub(super) struct TideArgs {
    /// Start of the chart: a span such as -6h, or a time [default: -6h]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    from: Option<String>,
    /// End of the chart [default: 6h]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    to: Option<String>,
    /// Most lanes to show, up to 50 [default: 8]
    #[arg(long, value_name = "N")]
    lanes: Option<usize>,
    /// The only schedule to show
    #[arg(long, value_name = "NAME")]
    schedule: Option<String>,
}

pub(super) async fn run(client: &Client, args: &TideArgs, display: &Display) -> anyhow::Result<u8> {
    let mut query = vec![("px", (WIDTH * PX_A_COLUMN).to_string())];
    let lanes = args.lanes.map(|lanes| lanes.to_string());
    let given =
        [("from", &args.from), ("to", &args.to), ("lanes", &lanes), ("schedule", &args.schedule)];
    query.extend(given.into_iter().filter_map(|(name, value)| Some((name, value.clone()?))));
    let tide = client.tide(&query).await?;
    if display.is_json() {
        display.json(&tide)?;
    } else {
        say!("{}", chart::chart(&tide, WIDTH, display.has_colours));
    }
    Ok(0)
}
