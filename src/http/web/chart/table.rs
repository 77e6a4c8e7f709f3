//! The chart as a table: one row for each lane, then the marks that need a look.

use super::frame::{Frame, Look};
use super::lanes::sentence;
use super::write::escaped;
use crate::domain::job::{Map, Status};
use crate::domain::tide::{Lane, Mark, MarkKind, Tide};

/// The most sentences below the table.
const SENTENCES: usize = 80;

#[allow(dead_code, reason = "the pages use it, beside the picture")]
/// Writes the same as the picture as a table in a `details` element.
pub(in crate::http) fn table(tide: &Tide, look: &Look<'_>) -> String {
    let frame = Frame { tide, look: *look, left: 0.0, top: 0.0, bottom: 0.0 };
    let mut out = String::from(
        r#"<details class="tide-table"><summary>The chart as a table</summary><table><thead><tr><th scope="col">Name</th><th scope="col">Succeeded</th><th scope="col">Failed</th><th scope="col">Timed out</th><th scope="col">Unknown</th><th scope="col">Stopped</th><th scope="col">Skipped</th><th scope="col">Missed</th><th scope="col">Running</th><th scope="col">Planned</th></tr></thead><tbody>"#,
    );
    for lane in &tide.lanes {
        out += &row(lane);
    }
    out += "</tbody></table>";
    if tide.more_lanes > 0 {
        out += &format!("<p>{} more are not shown.</p>", tide.more_lanes);
    }
    let sentences: Vec<String> = tide
        .lanes
        .iter()
        .flat_map(|lane| lane.marks.iter().map(move |mark| (lane, mark)))
        .filter(|(_, mark)| needs_a_look(mark))
        .map(|(lane, mark)| format!("<li>{}</li>", escaped(&sentence(&frame, lane, mark))))
        .collect();
    if !sentences.is_empty() {
        let shown = sentences.iter().take(SENTENCES).map(String::as_str).collect::<String>();
        let more = sentences.len().saturating_sub(SENTENCES);
        out += &format!("<ul>{shown}</ul>");
        if more > 0 {
            out += &format!("<p>And {more} more.</p>");
        }
    }
    out += "</details>";
    out
}

fn row(lane: &Lane) -> String {
    let of = |status: Status| lane.count(|one| one == status);
    let mut cells = String::new();
    for status in [
        Status::Succeeded,
        Status::Failed,
        Status::TimedOut,
        Status::Unknown,
        Status::Stopped,
        Status::Canceled,
        Status::Missed,
    ] {
        cells += &format!("<td>{}</td>", of(status));
    }
    for map in [Map::Running, Map::Scheduled] {
        cells += &format!("<td>{}</td>", lane.count(|status| status.map() == map));
    }
    format!(r#"<tr><th scope="row">{}</th>{cells}</tr>"#, escaped(&lane.name.name))
}

fn needs_a_look(mark: &Mark) -> bool {
    mark.kind == MarkKind::Running
        || (mark.status.map() == Map::History && mark.status != Status::Succeeded)
}
