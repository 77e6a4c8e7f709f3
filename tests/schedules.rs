//! Schedules as a caller meets them, against the binary on the simulated engine.

#![expect(clippy::unwrap_used, reason = "a test may")]

mod common;

use common::Server;
use serde_json::json;

#[test]
fn a_preview_says_what_a_recurrence_means_and_when_it_is_due_over_a_change_of_clocks() {
    let server = Server::simulated();
    let nightly =
        json!({"cron": "30 2 * * *", "time_zone": "Europe/Berlin", "from": "2026-03-27T12:00:00Z", "count": 3});
    let preview = server.post_json("/preview", &nightly).json();
    assert_eq!(
        preview["next"],
        json!(["2026-03-28T02:30:00+01:00", "2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"])
    );
    assert!(preview["says"].as_str().unwrap().starts_with("at 02:30 every day, Europe/Berlin time"), "{preview}");

    let from = "2026-01-01T00:00:00Z";
    let every = server.post_json("/preview", &json!({"every": "90m", "from": from, "count": 2})).json();
    assert_eq!(every["next"], json!(["2026-01-01T01:30:00+00:00", "2026-01-01T03:00:00+00:00"]));
    let date = server.post_json("/preview", &json!({"date": "1h", "from": from})).json();
    assert_eq!(date, json!({"says": "in 1h", "next": ["2026-01-01T01:00:00+00:00"]}));
}

#[test]
fn a_preview_that_makes_no_sense_is_refused_by_field() {
    let server = Server::simulated();
    for (question, field) in [
        (json!({}), "cron"),
        (json!({"cron": "61 * * * *"}), "cron"),
        (json!({"cron": "@daily", "every": "1h"}), "cron"),
        (json!({"cron": "@daily", "time_zone": "Mars/Base"}), "time_zone"),
        (json!({"cron": "@daily", "from": "yesterday"}), "from"),
        (json!({"cron": "@daily", "count": 0}), "count"),
        (json!({"cron": "@daily", "colour": "red"}), "colour"),
        (json!({"date": "the day after"}), "date"),
    ] {
        let answer = server.post_json("/preview", &question);
        assert_eq!((answer.status, &answer.json()["field"]), (400, &json!(field)), "{question}: {}", answer.text());
    }
}
