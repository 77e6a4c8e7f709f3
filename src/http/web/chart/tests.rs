//! Tests of the picture: valid XML, links, escaped names, no inline style, and its size.

use std::io::Write;
use std::time::Duration;

use chrono_tz::Tz;

use super::*;
use crate::domain::forecast::Entry;
use crate::domain::job::{Reason, Status};
use crate::domain::names::id::{JobId, Timestamp};
use crate::domain::schedule::ledger::TickOutcome;
use crate::domain::tide::{
    AbsentTicks, LaneKind, LaneName, Parts, PastRun, PastRuns, RunningJob, Window,
};

const NOW_MS: i64 = 1_790_079_900_000;
const LOOK: Look<'static> = Look { zone: Tz::Europe__Berlin, base: "", one_lane: false };

fn at(minutes: i64) -> Timestamp {
    Timestamp::from_timestamp_millis(NOW_MS + minutes * 60_000).expect("a time")
}

fn window() -> Window {
    Window { from: at(-360), to: at(360), now: at(0), px: 1_180 }
}

/// Returns an id whose bytes do not compress, as those of real jobs.
fn id(n: u32) -> JobId {
    let mixed = (u128::from(n) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    JobId::from_bytes((mixed ^ (mixed >> 61)).to_be_bytes())
}

fn add(past: &mut PastRuns, n: u32, name: &str, status: Status, from: i64, seconds: i64) {
    let from = at(from).timestamp_millis();
    let due_at = from - i64::from(n * 37 % 90);
    let (started_at, ended_at) = (Some(from), from + seconds * 1_000);
    past.add(&PastRun {
        job: id(n),
        name: "image",
        schedule: Some(name),
        status,
        started_at,
        ended_at,
        due_at,
    });
}

fn parts(past: PastRuns) -> Parts {
    Parts {
        past,
        running: Vec::new(),
        absent: Vec::new(),
        planned: Vec::new(),
        active: Vec::new(),
        pile_ups: Vec::new(),
        planned_until: None,
        limit: Some(4),
        lanes: 8,
    }
}

fn planned(parts: &mut Parts, name: &str, due: i64, seconds: Option<u64>) {
    let expected = seconds.map(Duration::from_secs);
    let until = at(due) + chrono::TimeDelta::seconds(seconds.unwrap_or(1) as i64);
    parts.active.push((at(due), until));
    parts.planned.push(Entry {
        due_at: at(due),
        job_name: "image".parse().expect("a name"),
        schedule: Some(name.parse().expect("a name")),
        job: None,
        expected,
        overlaps: false,
        queue: None,
        max_parallel: None,
    });
}

fn running(parts: &mut Parts, n: u32, name: &str, from: i64, expected: u64) {
    let lane = LaneName { kind: LaneKind::Schedule, name: name.to_owned() };
    parts.active.push((at(0), at(from + expected as i64)));
    parts.running.push(RunningJob {
        expected: Some(Duration::from_secs(expected * 60)),
        ..RunningJob::new(id(n), lane, Status::Running, at(from))
    });
}

/// Returns a chart with every kind of mark.
fn varied() -> Tide {
    let mut past = PastRuns::new(window(), None);
    for n in 0..18_u32 {
        let status = match n {
            4 => Status::Unknown,
            14 => Status::TimedOut,
            _ => Status::Succeeded,
        };
        let from = -359 + 20 * i64::from(n);
        add(&mut past, n, "thumbnails", status, from, 240 + i64::from(n * 7 % 50));
        let status = if n == 8 || n == 9 { Status::Failed } else { Status::Succeeded };
        if n != 6 && n < 12 {
            let seconds = 600 + i64::from(n * 97 % 500);
            add(&mut past, 100 + n, "etl-orders", status, -350 + 30 * i64::from(n), seconds);
        }
    }
    for n in 0..6_u32 {
        add(&mut past, 200 + n, "backup-db", Status::Succeeded, -325 + 60 * i64::from(n), 510);
    }
    for n in 0..60_u32 {
        let status = if n == 44 { Status::Failed } else { Status::Succeeded };
        add(&mut past, 300 + n, "heartbeat", status, -360 + 6 * i64::from(n), 3);
    }
    for n in 0..90_u32 {
        add(&mut past, 400 + n, "crawl", Status::Succeeded, -300 + i64::from(n), 5);
    }
    add(&mut past, 500, "report", Status::Succeeded, -260, 2_500);
    add(&mut past, 501, "report", Status::TimedOut, -80, 1_200);
    add(&mut past, 502, "ci-nightly", Status::Succeeded, -280, 3_500);
    add(&mut past, 503, "ci-nightly", Status::Stopped, -250, 3_500);
    let mut parts = parts(past);
    running(&mut parts, 600, "ci-nightly", -39, 77);
    running(&mut parts, 601, "report", -30, 20);
    for n in 0..18 {
        planned(&mut parts, "thumbnails", 1 + 20 * n, Some(240));
        planned(&mut parts, "etl-orders", 10 + 20 * n, Some(700));
    }
    for n in 0..6 {
        planned(&mut parts, "backup-db", 35 + 60 * n, Some(510));
        planned(&mut parts, "new-one", 50 + 60 * n, None);
        planned(&mut parts, "ci-nightly", 190 + n, Some(3_600));
    }
    let absent = |schedule: &str, outcome, first, last, count, reason| AbsentTicks {
        schedule: schedule.to_owned(),
        first: at(first),
        last: at(last),
        count,
        outcome,
        reason: Some(reason),
    };
    parts.absent = vec![
        absent("etl-orders", TickOutcome::Skipped, -170, -170, 1, Reason::Overlap),
        absent("backup-db", TickOutcome::Missed, -355, -355, 1, Reason::DeadlinePassed),
        absent("report", TickOutcome::Missed, -200, -140, 7, Reason::NotCaughtUp),
    ];
    parts.chart()
}

/// Checks that the text is well-formed XML, and returns the attributes named `name`.
fn attributes(xml: &str, name: &str) -> Vec<String> {
    let (mut open, mut found, mut rest) = (Vec::new(), Vec::new(), xml);
    while let Some(start) = rest.find('<') {
        assert!(!rest[..start].contains('>'), "a loose bracket: {}", &rest[..start]);
        let end = start + rest[start..].find('>').expect("the tag ends");
        let tag = &rest[start + 1..end];
        rest = &rest[end + 1..];
        if let Some(closed) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(closed), "elements nest");
            continue;
        }
        let element = tag.trim_end_matches('/');
        assert_eq!(element.matches('"').count() % 2, 0, "{element}");
        let is = format!(" {name}=\"");
        found.extend(
            element.split(&is).nth(1).and_then(|value| value.split('"').next()).map(str::to_owned),
        );
        if !tag.ends_with('/') {
            open.push(element.split(' ').next().unwrap_or_default().to_owned());
        }
    }
    assert_eq!(open, Vec::<String>::new(), "every element ends");
    found
}

fn gzipped(text: &str) -> usize {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text.as_bytes()).expect("memory");
    encoder.finish().expect("memory").len()
}

#[test]
fn picture_is_well_formed_and_links_every_mark() {
    let (tide, svg) = (varied(), svg(&varied(), &LOOK));
    let marks: usize = tide.lanes.iter().map(|lane| lane.marks.len()).sum();
    assert_eq!(attributes(&svg, "href").len(), marks + tide.lanes.len());
    assert_eq!(attributes(&svg, "aria-label").len(), marks + 1);
    assert_eq!(attributes(&svg, "style"), Vec::<String>::new());
    for class in ["ok", "bad", "warn", "odd", "run", "idle", "idle hollow", "plan"] {
        assert!(svg.contains(&format!("class=\"mark {class}\"")), "no {class}");
    }
    attributes(&table(&tide, &LOOK), "class");
}

#[test]
fn hostile_names_are_escaped() {
    let names = [
        "<script>alert(1)</script>",
        "\"><img src=x onerror=alert(1)>",
        "' onload='alert(1)",
        "]]>&lt;\u{0}\u{1b}[31m",
        "\u{202e}gnp.exe",
        "javascript:alert(1)//../../x?y#z",
    ];
    let mut past = PastRuns::new(window(), None);
    for (n, name) in names.iter().enumerate() {
        add(&mut past, n as u32, name, Status::Failed, -60, 600);
    }
    let tide = parts(past).chart();
    let (svg, table) = (svg(&tide, &LOOK), table(&tide, &LOOK));
    for text in [&svg, &table] {
        attributes(text, "href");
        assert!(!text.contains("<script") && !text.contains("<img"));
        assert!(!text.contains('\u{202e}') && !text.contains('\u{1b}'));
    }
    for href in attributes(&svg, "href") {
        assert!(href.starts_with("/job/") || href.starts_with("/schedule/"), "{href}");
        assert!(!href.contains(':') && !href.contains('#'), "{href}");
    }
}

#[test]
fn links_begin_with_the_base_path() {
    let svg = svg(&varied(), &Look { base: "/tidetable", ..LOOK });
    for href in attributes(&svg, "href") {
        assert!(href.starts_with("/tidetable/"), "{href}");
    }
}

#[test]
fn one_lane_has_no_staircase() {
    let mut tide = varied();
    tide.lanes.truncate(1);
    let svg = svg(&tide, &Look { one_lane: true, ..LOOK });
    assert!(!svg.contains("Containers at once") && svg.contains("viewBox=\"0 0 1180 62\""));
    attributes(&svg, "href");
}

#[test]
fn empty_chart_says_so() {
    let svg = svg(&parts(PastRuns::new(window(), None)).chart(), &LOOK);
    assert!(svg.contains("Nothing ran here"));
    attributes(&svg, "href");
}

#[test]
fn ten_thousand_runs_stay_below_forty_kilobytes() {
    let mut past = PastRuns::new(window(), None);
    let names: Vec<String> = (0..12).map(|n| format!("schedule-{n}")).collect();
    for n in 0..10_000_u32 {
        let status = [Status::Succeeded, Status::Failed, Status::Unknown][(n % 7 % 3) as usize];
        let from = -360 + i64::from(n * 7_919 % 360);
        let seconds = i64::from(n * 104_729 % 900);
        add(&mut past, n, &names[n as usize % 12], status, from, seconds);
    }
    let mut parts = parts(past);
    for n in 0..900_i64 {
        planned(&mut parts, &names[n as usize % 12], n * 2 / 5, Some(60 + n as u64));
    }
    let tide = parts.chart();
    let sent = format!("{}{}", svg(&tide, &LOOK), table(&tide, &LOOK));
    assert!(gzipped(&sent) < 40_000, "{} of {} bytes", gzipped(&sent), sent.len());
}

#[test]
fn picture_alone_carries_its_colours() {
    let picture = picture(&varied(), &LOOK);
    assert!(picture.contains("--tide-soft:") && picture.contains(".tide-chart .mark.ok"));
}
