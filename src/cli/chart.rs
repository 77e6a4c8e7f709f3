//! The tide chart in text: a staircase of blocks, and one line for each lane.

use chrono::{DateTime, Utc};
use chrono_tz::Tz;

use crate::http::views::{LaneView, MarkView, TideView};

/// The height of the staircase in lines.
const HEIGHT: usize = 4;
/// The narrowest time axis, in columns.
const NARROWEST: usize = 20;
/// The longest name of a lane, in characters.
const NAME: usize = 20;
/// Blocks from empty to full, in eighths.
const EIGHTHS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// The columns that a label of the axis needs.
const LABEL: usize = 8;

/// A cell of the chart: a character, and the code of its colour; 0 for none.
type Cell = (char, u8);

/// The time axis, and its place on the lines.
struct Axis {
    from: i64,
    to: i64,
    columns: usize,
    /// The width of the names before the axis.
    left: usize,
    colours: bool,
    zone: Tz,
}

/// Returns the chart in at most `width` columns, with ANSI colours if they are wanted.
pub(super) fn chart(tide: &TideView, width: usize, colours: bool) -> String {
    let names = tide.lanes.iter().map(|lane| lane.name.chars().count()).max().unwrap_or(0);
    let left = names.clamp(8, NAME) + 2;
    let axis = Axis {
        from: millis(&tide.from),
        to: millis(&tide.to),
        columns: width.saturating_sub(left).max(NARROWEST),
        left,
        colours,
        zone: tide.zone.parse().unwrap_or(Tz::UTC),
    };
    let mut lines = stairs(tide, &axis);
    lines.extend(tide.lanes.iter().map(|lane| axis.line(&lane.name, &marks(lane, tide, &axis))));
    if tide.lanes.is_empty() {
        lines.push("nothing ran here, and nothing will".to_owned());
    }
    lines.push(labels(tide, &axis));
    if tide.more_lanes > 0 {
        lines.push(format!("and {} more", tide.more_lanes));
    }
    lines.push(legend(&axis));
    lines.join("\n")
}

impl Axis {
    /// Returns the column of an instant; `None` outside of the axis.
    fn column(&self, at: i64) -> Option<usize> {
        let length = (self.to - self.from).max(1);
        let passed = usize::try_from(at - self.from).ok()?;
        let column = passed * self.columns / usize::try_from(length).ok()?;
        (at <= self.to).then_some(column.min(self.columns - 1))
    }

    /// Returns the column of an instant, or the first or last column if it is outside.
    fn nearest(&self, at: i64) -> usize {
        self.column(at.clamp(self.from, self.to)).unwrap_or(0)
    }

    fn start_of(&self, column: usize) -> i64 {
        let share = column as f64 / self.columns as f64;
        self.from + ((self.to - self.from) as f64 * share) as i64
    }

    /// Joins a name and the cells of one line, without spaces at its end.
    fn line(&self, name: &str, cells: &[Cell]) -> String {
        let mut line = format!("{:<width$}", short(name, self.left - 2), width = self.left);
        let mut colour = 0;
        let used = cells.iter().rposition(|(c, _)| *c != ' ').map_or(0, |last| last + 1);
        for (c, wanted) in &cells[..used] {
            if self.colours && *wanted != colour {
                line += &format!("\u{1b}[{wanted}m");
                colour = *wanted;
            }
            line.push(*c);
        }
        if colour != 0 {
            line += "\u{1b}[0m";
        }
        line.trim_end().to_owned()
    }
}

/// Draws the number of runs at once, with the limit where it is near.
fn stairs(tide: &TideView, axis: &Axis) -> Vec<String> {
    let at_once = &tide.at_once;
    let most = at_once.most.as_ref().map_or(0, |most| most.count).max(1);
    let steps: Vec<(i64, usize)> =
        at_once.past.iter().chain(&at_once.ahead).map(|(at, count)| (millis(at), *count)).collect();
    let now = millis(&tide.now);
    let heights: Vec<usize> = (0..axis.columns)
        .map(|column| {
            let (start, end) = (axis.start_of(column), axis.start_of(column + 1));
            let before = steps.iter().rfind(|(at, _)| *at <= start).map_or(0, |(_, count)| *count);
            let within = steps.iter().filter(|(at, _)| *at > start && *at < end);
            within.map(|(_, count)| *count).max().unwrap_or(0).max(before)
        })
        .collect();
    let mut lines =
        vec![format!("at once: now {}{}{}", at_once.now, peak(tide, axis), limit(tide))];
    for level in (0..HEIGHT).rev() {
        let cells: Vec<Cell> = heights
            .iter()
            .enumerate()
            .map(|(column, count)| {
                let eighths = (count * HEIGHT * 8).div_ceil(most).saturating_sub(level * 8).min(8);
                let is_over = tide.limit.is_some_and(|limit| *count > limit);
                let colour = match (is_over, axis.start_of(column) > now) {
                    (true, _) => 31,
                    (false, true) => 2,
                    (false, false) => 36,
                };
                (EIGHTHS[eighths], colour)
            })
            .collect();
        lines.push(
            axis.line(&if level + 1 == HEIGHT { most.to_string() } else { String::new() }, &cells),
        );
    }
    lines
}

fn peak(tide: &TideView, axis: &Axis) -> String {
    let most = tide.at_once.most.as_ref();
    most.map_or_else(String::new, |most| {
        let at = clock(millis(&most.at), axis.zone);
        format!(", most {} at {at}", most.count)
    })
}

fn limit(tide: &TideView) -> String {
    tide.limit.map_or_else(String::new, |limit| format!(", limit {limit}"))
}

/// Draws the marks of a lane. Trouble is drawn last, so it stays visible.
fn marks(lane: &LaneView, tide: &TideView, axis: &Axis) -> Vec<Cell> {
    let mut cells = vec![(' ', 0); axis.columns];
    let mut marks: Vec<&MarkView> = lane.marks.iter().collect();
    marks.sort_by_key(|mark| rank(mark));
    for mark in marks {
        let (from, to) = (millis(&mark.from), millis(&mark.to));
        if to < axis.from || from > axis.to {
            continue;
        }
        let (c, colour) = look(mark);
        let (first, last) = (axis.nearest(from), axis.nearest(to));
        // A bar ends where the next column begins.
        let last = if axis.start_of(last) == to && last > first { last - 1 } else { last };
        for cell in cells.iter_mut().take(last + 1).skip(first) {
            *cell = (c, colour);
        }
        if let Some(expected) = &mark.expected_to {
            let expected = axis.nearest(millis(expected));
            for cell in cells.iter_mut().take(expected + 1).skip(last + 1) {
                *cell = ('╌', colour);
            }
        }
        count(&mut cells, mark, first, last, colour);
    }
    if let Some(now) = axis.column(millis(&tide.now))
        && let Some(cell) = cells.get_mut(now)
        && cell.0 == ' '
    {
        *cell = ('│', 0);
    }
    cells
}

/// Writes the number of merged runs into a bar that has room for it.
fn count(cells: &mut [Cell], mark: &MarkView, first: usize, last: usize, colour: u8) {
    let digits = mark.count.to_string();
    if mark.count < 2 || last + 1 - first < digits.len() + 2 {
        return;
    }
    let start = first + (last + 1 - first - digits.len()) / 2;
    for (cell, digit) in cells.iter_mut().skip(start).zip(digits.chars()) {
        *cell = (digit, colour);
    }
}

/// Returns the character and the colour of a mark. Each outcome has a character of its own.
fn look(mark: &MarkView) -> Cell {
    match (mark.kind.as_str(), mark.status.as_str()) {
        ("running", _) => ('▶', 34),
        ("planned", _) | (_, "scheduled") => ('□', 36),
        (_, "succeeded") => ('█', 32),
        (_, "failed") => ('✗', 31),
        (_, "timed_out") => ('▒', 33),
        (_, "missed") => ('!', 33),
        (_, "unknown") => ('?', 35),
        (_, "stopped") => ('■', 90),
        _ => ('○', 90),
    }
}

fn rank(mark: &MarkView) -> u8 {
    match mark.status.as_str() {
        "failed" => 5,
        "timed_out" | "unknown" | "missed" => 4,
        "stopped" | "canceled" => 3,
        "succeeded" => 1,
        "scheduled" => 0,
        _ => 2,
    }
}

/// Writes times under the axis, with the time of now where it is.
fn labels(tide: &TideView, axis: &Axis) -> String {
    let mut cells = vec![(' ', 0); axis.columns];
    let mut put = |column: usize, text: &str| {
        let column = column.min(axis.columns.saturating_sub(text.chars().count()));
        let place = cells.iter_mut().skip(column).take(text.chars().count());
        place.zip(text.chars()).for_each(|(cell, c)| *cell = (c, 0));
    };
    let now = millis(&tide.now);
    let now_at = axis.column(now);
    let every = LABEL.max(axis.columns / 6);
    for column in (0..axis.columns).step_by(every) {
        let ends = column + 6;
        let is_free = now_at.is_none_or(|now| ends < now.saturating_sub(1) || column > now + 10);
        if is_free && ends <= axis.columns {
            put(column, &clock(axis.start_of(column), axis.zone));
        }
    }
    if let Some(column) = now_at {
        put(column, &format!("{} now", clock(now, axis.zone)));
    }
    axis.line("", &cells)
}

fn legend(axis: &Axis) -> String {
    let kinds = [
        ('█', 32, "succeeded"),
        ('✗', 31, "failed"),
        ('▒', 33, "timed out"),
        ('!', 33, "missed"),
        ('?', 35, "unknown"),
        ('○', 90, "skipped"),
        ('▶', 34, "running"),
        ('□', 36, "planned"),
    ];
    let each = kinds.map(|(c, colour, word)| match axis.colours {
        true => format!("\u{1b}[{colour}m{c}\u{1b}[0m {word}"),
        false => format!("{c} {word}"),
    });
    each.join(" ")
}

fn clock(ms: i64, zone: Tz) -> String {
    let at = DateTime::<Utc>::from_timestamp_millis(ms).unwrap_or_default();
    at.with_timezone(&zone).format("%H:%M").to_string()
}

fn millis(text: &str) -> i64 {
    DateTime::parse_from_rfc3339(text).map_or(0, |at| at.timestamp_millis())
}

/// Shortens a name, and replaces characters that would move the cursor.
fn short(name: &str, most: usize) -> String {
    let safe: String = name.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
    if safe.chars().count() <= most {
        return safe;
    }
    let kept: String = safe.chars().take(most.saturating_sub(1)).collect();
    format!("{kept}…")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn mark(kind: &str, status: &str, from: &str, to: &str, count: u64) -> Value {
        let (from, to) = (format!("2026-11-28T{from}:00.000Z"), format!("2026-11-28T{to}:00.000Z"));
        json!({
            "kind": kind, "status": status, "from": from, "to": to, "due_at": from, "job": null,
            "count": count, "row": 0, "rows": 1, "says": "",
        })
    }

    fn tide(lanes: Value) -> TideView {
        let at = |time: &str| format!("2026-11-28T{time}:00.000Z");
        serde_json::from_value(json!({
            "from": at("06:00"), "to": at("18:00"), "now": at("12:00"), "zone": "UTC", "limit": 2,
            "lanes": lanes, "more_lanes": 14, "pile_ups": [],
            "at_once": {
                "past": [[at("06:00"), 0], [at("08:00"), 2], [at("09:00"), 1], [at("11:00"), 0]],
                "ahead": [[at("12:00"), 0], [at("15:00"), 3], [at("16:00"), 0]],
                "now": 1, "most": {"count": 3, "at": at("15:00")},
            },
        }))
        .expect("a view")
    }

    fn some() -> TideView {
        let mut running = mark("running", "running", "11:00", "12:00", 1);
        running["expected_to"] = json!("2026-11-28T13:00:00.000Z");
        tide(json!([
            {"name": "backup", "kind": "schedule", "marks": [
                mark("run", "succeeded", "08:00", "09:00", 1),
                mark("run", "failed", "09:30", "10:00", 1),
                mark("planned", "scheduled", "15:00", "16:00", 1)]},
            {"name": "ci\u{1b}[2J-a-very-long-name-of-a-lane", "kind": "job", "marks": [
                mark("many", "missed", "06:00", "08:00", 12), running]},
        ]))
    }

    #[test]
    fn chart_shows_lanes_stairs_and_now() {
        let text = chart(&some(), 80, false);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "at once: now 1, most 3 at 15:00, limit 2");
        assert_eq!(
            lines[5],
            "backup                         ██████ ✗✗✗✗         │             □□□□□□"
        );
        assert!(lines[6].starts_with("ci?[2J-a-very-long-…  "), "{}", lines[6]);
        assert!(lines[6].contains("12") && lines[6].contains("▶▶▶▶▶╌"), "{}", lines[6]);
        assert!(lines[7].contains("12:00 now"), "{}", lines[7]);
        assert_eq!(lines[8], "and 14 more");
        assert!(lines.iter().all(|line| line.chars().count() <= 88), "{text}");
    }

    #[test]
    fn colours_come_only_when_asked() {
        assert!(!chart(&some(), 80, false).contains('\u{1b}'));
        assert!(chart(&some(), 80, true).contains("\u{1b}[31m✗"));
    }

    #[test]
    fn empty_chart_says_so() {
        assert!(chart(&tide(json!([])), 80, false).contains("nothing ran here"));
    }

    #[test]
    fn narrow_terminal_still_gets_a_chart() {
        assert!(chart(&some(), 1, false).lines().count() > HEIGHT);
    }
}
