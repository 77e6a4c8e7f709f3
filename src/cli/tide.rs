//! `tidetable tide`: draws what ran, what runs and what will run.

use clap::Args;

use super::output::say;
use super::{chart, output};
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
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(client: &Client, args: &TideArgs) -> anyhow::Result<u8> {
    let mut query = vec![("px", (WIDTH * PX_A_COLUMN).to_string())];
    let lanes = args.lanes.map(|lanes| lanes.to_string());
    let given =
        [("from", &args.from), ("to", &args.to), ("lanes", &lanes), ("schedule", &args.schedule)];
    query.extend(given.into_iter().filter_map(|(name, value)| Some((name, value.clone()?))));
    let tide = client.tide(&query).await?;
    if args.json {
        say!("{}", serde_json::to_string_pretty(&tide)?);
    } else {
        let colours = output::is_terminal() && std::env::var_os("NO_COLOR").is_none();
        say!("{}", chart::chart(&tide, WIDTH, colours));
    }
    Ok(0)
}
