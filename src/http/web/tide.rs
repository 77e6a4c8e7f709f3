//! The tide chart on a page, with the links to its windows and the same as a table.

use super::chart::{self, Look};
use super::links::Links;
use super::words;
use crate::http::api::tide::TideQuery;
use crate::http::problem::Problem;
use crate::http::state::Api;

/// The windows that a page offers: the time before and after now. The second is the default.
const WINDOWS: [&str; 4] = ["1h", "6h", "24h", "7d"];
const DEFAULT_WINDOW: &str = "6h";

/// A link to another window.
pub(super) struct WindowLink {
    pub(super) text: &'static str,
    pub(super) href: String,
    pub(super) is_current: bool,
}

/// The chart on a page.
pub(super) struct Chart {
    /// The picture as SVG, which is escaped already.
    pub(super) svg: String,
    /// The same as a table in HTML, which is escaped already.
    pub(super) table: String,
    pub(super) windows: Vec<WindowLink>,
    pub(super) note: String,
    /// The sentence about lanes that are not shown; empty if all are.
    pub(super) more: String,
}

impl Api {
    /// Returns the chart for a window, of all jobs or of one schedule. `None` if nothing ran, runs
    /// or will run in the window. `address` is the page's.
    ///
    /// # Errors
    /// Returns a [`Problem`] if the store fails or is busy.
    pub(super) async fn chart(
        &self,
        window: &str,
        address: &str,
        schedule: Option<&str>,
    ) -> Result<Option<Chart>, Problem> {
        let known = WINDOWS.into_iter().find(|known| *known == window);
        let window = known.unwrap_or(DEFAULT_WINDOW);
        let query = TideQuery {
            from: Some(format!("-{window}")),
            to: Some(window.to_owned()),
            schedule: schedule.map(str::to_owned),
            ..TideQuery::default()
        };
        let tide = self.tide(&query).await?;
        if tide.lanes.is_empty() && known.is_none() {
            return Ok(None);
        }
        let look = Look { zone: self.zone, base: self.base.as_str(), one_lane: schedule.is_some() };
        let link = |text: &'static str| WindowLink {
            text,
            href: Links::with_query(address, &[("window", text)]),
            is_current: text == window,
        };
        Ok(Some(Chart {
            svg: chart::svg(&tide, &look),
            table: chart::table(&tide, &look),
            windows: WINDOWS.map(link).into(),
            note: format!("{window} back and ahead"),
            more: match tide.more_lanes {
                0 => String::new(),
                more => format!("and {}", words::count(more as u64, "more lane")),
            },
        }))
    }
}
