//! Calls that show the server at a glance: the tide chart and the summary.

use super::table::{Answer, Call, Parameter};

/// A span before now. A time is read as well.
const FROM: &str = r#"{"type": "string", "pattern": "^-[1-9]h$", "examples": ["-6h"]}"#;
const SCHEDULE: &str = r#"{"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"}"#;
/// Now, or a span after now. A time is read as well.
const TO: &str = r#"{"type": "string", "pattern": "^(now|[1-9]h)$", "examples": ["6h"]}"#;

pub(super) const OVERVIEW: &[Call] = &[
    Call {
        method: "get",
        path: "/tide",
        id: "tide",
        tag: "future",
        summary: "Shows what ran, what runs and what will run on one time axis.",
        parameters: &[
            Parameter::query("from", FROM, "The start of the window; 6 h back by default."),
            Parameter::query("to", TO, "The end of the window; 6 h ahead by default."),
            Parameter::query(
                "lanes",
                r#"{"type": "integer", "minimum": 1, "maximum": 50, "default": 8}"#,
                "The most lanes: those with trouble or running jobs first, then the busiest.",
            ),
            Parameter::query(
                "px",
                r#"{"type": "integer", "minimum": 200, "maximum": 4000, "default": 1180}"#,
                "The width in pixels. Marks that are closer than two of them are merged.",
            ),
            Parameter::query("schedule", SCHEDULE, "The only schedule to show."),
        ],
        body: None,
        answers: &[Answer::json(
            200,
            "TideView",
            "The chart. With `Accept: image/svg+xml`, the chart as a picture.",
        )],
        problems: &[(503, &["busy"])],
        curl: "'$SERVER/tide?from=-24h&to=now'",
        cli: "tidetable tide --from -24h --to now",
    },
    Call {
        method: "get",
        path: "/summary",
        id: "summary",
        tag: "server",
        summary: "Shows the figures of the server at a glance.",
        parameters: &[],
        body: None,
        answers: &[Answer::json(200, "SummaryView", "The figures.")],
        problems: &[(503, &["busy"])],
        curl: "$SERVER/summary",
        cli: "",
    },
];
