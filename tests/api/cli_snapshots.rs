//! Snapshots of what commands print, for a person on a terminal and for programs in a pipe. Ids and
//! times are replaced, and the gaps between columns are two spaces.

#![expect(clippy::unwrap_used, reason = "a test may")]

use std::fmt::Write as _;
use std::process::Command;

use serde_json::json;

use crate::support::{Server, binary, terminal};

/// The commands, each with the name of its snapshot.
const COMMANDS: [(&str, &[&str]); 7] = [
    ("ls", &["ls", "-a"]),
    ("ls_wide", &["ls", "-a", "-o", "wide"]),
    ("ls_names", &["ls", "-a", "-q"]),
    ("definition_ls", &["definition", "ls"]),
    ("definition_show", &["definition", "show", "report"]),
    ("schedule_ls", &["schedule", "ls"]),
    (
        "preview",
        &[
            "preview",
            "30 2 * * *",
            "--time-zone",
            "UTC",
            "--from",
            "2026-03-28T00:00:00Z",
            "-n",
            "2",
        ],
    ),
];

#[test]
fn commands_print_what_the_snapshots_show() {
    let server = Server::simulated();
    let failed = server
        .submit(json!({"job_name": "busybox", "date": "now", "command": "sh -c 'exit 3'",
            "labels": {"team": "a"}}));
    server.kept(&failed);
    let waiting = server.submit(json!({"job_name": "alpine:3", "date": "20-06-2099 13:25:28"}));
    let report = json!({"report": {"image": "busybox", "command": ["echo", "done"]}});
    let yearly =
        json!({"job_name": "report", "cron": "0 0 1 1 *", "time_zone": "UTC", "paused": true});
    for (kind, fields) in [("definition", report), ("schedule", json!({"yearly": yearly}))] {
        let applied = server.cli(&[kind, "apply", "-f", "-"], &fields.to_string());
        assert!(applied.status.success(), "{applied:?}");
    }
    let ids = [failed, waiting];
    for (name, arguments) in COMMANDS {
        let piped = server.cli(arguments, "");
        let mut command = Command::new(binary());
        command.args(["--server", server.url(), "--color", "never"]).args(arguments);
        let (shown, _) = terminal::run(&mut command);
        let piped = String::from_utf8(piped.stdout).unwrap();
        let (piped, shown) = (redacted(&piped, &ids), redacted(&shown, &ids));
        insta::assert_snapshot!(name, format!("in a pipe:\n{piped}\non a terminal:\n{shown}"));
    }
}

/// Replaces ids, times and the distances of times from now.
fn redacted(text: &str, ids: &[String]) -> String {
    let mut redacted = String::new();
    for line in text.lines() {
        let indent: String = line.chars().take_while(|c| *c == ' ').collect();
        let cells: Vec<String> = line
            .split('\t')
            .map(|cell| {
                let columns = cell.split("  ").map(str::trim).filter(|column| !column.is_empty());
                columns.map(|column| column_of(column, ids)).collect::<Vec<_>>().join("  ")
            })
            .collect();
        writeln!(redacted, "{indent}{}", cells.join("\t")).unwrap();
    }
    redacted
}

fn column_of(column: &str, ids: &[String]) -> String {
    if column == "now" || column.ends_with(" s ago") {
        return "<ago>".to_owned();
    }
    let words = column.split(' ').map(|word| match word {
        id if id.len() >= 4 && ids.iter().any(|known| known.ends_with(id)) => "<id>",
        at if chrono::DateTime::parse_from_rfc3339(at).is_ok_and(|at| !is_fixed(at)) => "<time>",
        other => other,
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Returns whether a time is the same in every run: the far due time, or one that was asked for.
fn is_fixed(at: chrono::DateTime<chrono::FixedOffset>) -> bool {
    ["2099-06", "2026-03"].contains(&at.format("%Y-%m").to_string().as_str())
}
