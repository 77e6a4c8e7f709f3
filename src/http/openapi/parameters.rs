//! The parameters and codes that calls share.

use super::table::Parameter;

pub(super) const BOOL: &str = r#"{"type": "boolean"}"#;
pub(super) const TEXT: &str = r#"{"type": "string"}"#;
pub(super) const COUNT: &str = r#"{"type": "integer", "minimum": 1, "maximum": 4294967295}"#;
const LIMIT: &str = r#"{"type": "integer", "minimum": 1, "maximum": 1000}"#;

pub(super) const ID: Parameter = Parameter::path(
    "id",
    r#"{"type": "string", "pattern": "^[0-9a-fA-F]{4,32}$", "example": "71f6696c08a64a45b3788332e0dc5278"}"#,
    "The job's id, in full or its first four digits or more.",
);
pub(super) const DRY_RUN: Parameter = Parameter::query(
    "dry_run",
    BOOL,
    "Answers 200 with `would`, the effect that the call would have. Nothing is stored.",
);
pub(super) const PAGED: [Parameter; 2] = [
    Parameter::query("limit", LIMIT, "The largest number of jobs in the answer."),
    Parameter::query(
        "cursor",
        r#"{"type": "string", "pattern": "^(running|scheduled|history)-[0-9a-f]{32}$"}"#,
        "The `next` of the previous page; goes with `limit`.",
    ),
];
pub(super) const IF_NONE_MATCH: Parameter = Parameter::header(
    "If-None-Match",
    TEXT,
    "The `ETag` of the last answer. Unchanged content is answered with 304.",
);
/// A duration in words, or a number of seconds.
pub(super) const DURATION: &str =
    r#"{"type": "string", "pattern": "^[0-9]{1,6}( ?(ms|s|m|h))?$", "examples": ["30s"]}"#;
pub(super) const JOB_GONE: (u16, &[&str]) = (404, &["no_such_job"]);
pub(super) const AMBIGUOUS: (u16, &[&str]) = (409, &["ambiguous_id"]);
pub(super) const LIMITED: (u16, &[&str]) = (429, &["too_many_waiting"]);
pub(super) const UNFIT: (u16, &[&str]) = (422, &["cannot_be_run"]);
pub(super) const SINCE: Parameter = Parameter::query(
    "since",
    r#"{"type": "integer", "minimum": 0}"#,
    "Only events after this number.",
);
