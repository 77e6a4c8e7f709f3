//! Calls on jobs, lists and the server, and the parameters that calls share.

use super::changes::CHANGES;
use super::overview::OVERVIEW;
use super::table::{Answer, Body, Call, Parameter};

const BOOL: &str = r#"{"type": "boolean"}"#;
const TEXT: &str = r#"{"type": "string"}"#;
const COUNT: &str = r#"{"type": "integer", "minimum": 1, "maximum": 4294967295}"#;
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
const PAGED: [Parameter; 2] = [
    Parameter::query("limit", LIMIT, "The largest number of jobs in the answer."),
    Parameter::query(
        "cursor",
        r#"{"type": "string", "pattern": "^(running|scheduled|history)-[0-9a-f]{32}$"}"#,
        "The `next` of the previous page; goes with `limit`.",
    ),
];
const IF_NONE_MATCH: Parameter = Parameter::header(
    "If-None-Match",
    TEXT,
    "The `ETag` of the last answer. Unchanged content is answered with 304.",
);
/// A duration in words, or a number of seconds.
pub(super) const DURATION: &str =
    r#"{"type": "string", "pattern": "^[0-9]{1,6}( ?(ms|s|m|h))?$", "examples": ["30s"]}"#;
const JOB_GONE: (u16, &[&str]) = (404, &["no_such_job"]);
const AMBIGUOUS: (u16, &[&str]) = (409, &["ambiguous_id"]);
pub(super) const LIMITED: (u16, &[&str]) = (429, &["too_many_waiting"]);
pub(super) const UNFIT: (u16, &[&str]) = (422, &["cannot_be_run"]);

/// Returns every call, in the order of the reference page.
pub(super) fn all() -> impl Iterator<Item = &'static Call> {
    JOBS.iter().chain(CHANGES).chain(OVERVIEW).chain(SERVER)
}

const SINCE: Parameter = Parameter::query(
    "since",
    r#"{"type": "integer", "minimum": 0, "maximum": 999999999999}"#,
    "Only events after this number.",
);

const JOBS: &[Call] = &[
    Call {
        method: "post",
        path: "/job",
        id: "submitJob",
        tag: "jobs",
        summary: "Submits a job. When the answer arrives, the job is on disk.",
        parameters: &[
            DRY_RUN,
            Parameter::header(
                "Idempotency-Key",
                r#"{"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"}"#,
                "A key of the caller. The same request with the same key makes one job.",
            ),
        ],
        body: Some(Body {
            schema: "NewJob",
            required: true,
            form: true,
            example: r#"{"job_name": "busybox:latest", "date": "30s", "command": ["echo", "hello"]}"#,
        }),
        answers: &[
            Answer {
                headers: &["Location"],
                ..Answer::json(201, "DoneView", "The job is accepted.")
            },
            Answer::json(200, "PlannedJob", "A dry run."),
        ],
        problems: &[
            (400, &["missing_field", "invalid_date", "invalid_field", "invalid_job_name"]),
            (400, &["unknown_field", "doubled_field", "invalid_json", "invalid_header"]),
            (400, &["config_only", "invalid_body"]),
            (403, &["policy_denied"]),
            (415, &["unsupported_media_type"]),
            (422, &["cannot_be_run", "idempotency_key_reused"]),
            LIMITED,
        ],
        curl: r#"$SERVER/job --json '{"job_name": "busybox:latest", "date": "30s", "command": ["echo", "hello"]}'"#,
        cli: "tidetable run busybox:latest --in 30s -- echo hello",
    },
    Call {
        method: "delete",
        path: "/job",
        id: "cancelNamedJob",
        tag: "jobs",
        summary: "Takes a waiting job off the schedule. The id is in the query or in the body.",
        parameters: &[Parameter::query("job_id", ID.schema, "The job's id."), DRY_RUN],
        body: Some(Body {
            schema: "JobIdBody",
            required: false,
            form: true,
            example: r#"{"job_id": "71f6696c08a64a45b3788332e0dc5278"}"#,
        }),
        answers: &[Answer::json(200, "DoneView", "The job is canceled.")],
        problems: &[
            (400, &["missing_field", "unknown_field", "doubled_field", "invalid_json"]),
            (400, &["invalid_field", "invalid_body"]),
            JOB_GONE,
            (409, &["ambiguous_id", "job_STATUS"]),
        ],
        curl: "-X DELETE $SERVER/job -d job_id=$ID",
        cli: "tidetable rm $ID",
    },
    Call {
        method: "get",
        path: "/jobs",
        id: "listJobs",
        tag: "jobs",
        summary: "Lists jobs in three maps: running, scheduled, history.",
        parameters: &[
            Parameter::query(
                "state",
                r#"{"type": "string", "enum": ["running", "scheduled", "history", "queued", "retrying", "pulling", "starting", "stopping", "succeeded", "failed", "timed_out", "stopped", "canceled", "missed", "unknown"]}"#,
                "A map, or a status.",
            ),
            Parameter::query("job_name", TEXT, "Only jobs with exactly this name."),
            Parameter::query("schedule", TEXT, "Only jobs of this schedule."),
            Parameter::query(
                "label",
                r#"{"type": "string", "pattern": "^[^=\\u0000]+(=[^\\u0000]*)?$"}"#,
                "Only jobs with this label, written `key=value`.",
            ),
            PAGED[0],
            PAGED[1],
            IF_NONE_MATCH,
        ],
        body: None,
        answers: &[
            Answer::tagged(200, "JobsView", "The jobs."),
            Answer { headers: &["ETag"], ..Answer::nothing(304, "Nothing has changed.") },
        ],
        problems: &[(503, &["busy"])],
        curl: "'$SERVER/jobs?state=scheduled&limit=100'",
        cli: "tidetable ls",
    },
    Call {
        method: "get",
        path: "/job/{id}",
        id: "getJob",
        tag: "jobs",
        summary: "Shows a job.",
        parameters: &[ID],
        body: None,
        answers: &[Answer::json(200, "JobView", "The job.")],
        problems: &[JOB_GONE, AMBIGUOUS],
        curl: "$SERVER/job/$ID",
        cli: "tidetable inspect $ID",
    },
    Call {
        method: "get",
        path: "/job/{id}/wait",
        id: "waitForJob",
        tag: "jobs",
        summary: "Waits until a job is over.",
        parameters: &[
            ID,
            Parameter::query("timeout", DURATION, "The longest wait; at most and by default 1 h."),
        ],
        body: None,
        answers: &[
            Answer::json(200, "JobView", "The job is over."),
            Answer::json(202, "JobView", "The timeout passed first."),
        ],
        problems: &[(400, &["invalid_timeout"]), JOB_GONE, AMBIGUOUS],
        curl: "'$SERVER/job/$ID/wait?timeout=30s'",
        cli: "tidetable wait $ID",
    },
    Call {
        method: "get",
        path: "/job/{id}/logs",
        id: "readJobLogs",
        tag: "jobs",
        summary: "Reads or follows a job's output, in the format of the `Accept` header.",
        parameters: &[
            ID,
            Parameter::query("follow", BOOL, "Sends further lines until the job is over."),
            Parameter::query("attempt", COUNT, "This attempt alone; by default the last one."),
            Parameter::query("from_line", COUNT, "Only lines from this number on."),
            Parameter::query(
                "since",
                r#"{"type": "string", "pattern": "^[0-9]{1,6} ?(s|m|h)$"}"#,
                "Only lines from this time on, such as `10m` or a date.",
            ),
            Parameter::query(
                "stream",
                r#"{"type": "string", "enum": ["stdout", "stderr", "all"]}"#,
                "One of the two output streams.",
            ),
            Parameter::query(
                "grep",
                r#"{"type": "string", "minLength": 1, "maxLength": 200, "pattern": "^([^/]|/[a-z|.]+/$)"}"#,
                "Only lines that contain this text, or match an expression such as `/error|warn/`.",
            ),
            Parameter::query(
                "context",
                r#"{"type": "integer", "minimum": 0, "maximum": 10}"#,
                "With `grep`: so many lines around each match.",
            ),
            Parameter::query(
                "tail",
                r#"{"type": "integer", "minimum": 0, "maximum": 100000}"#,
                "Only the last of the chosen lines; with `follow`, then what comes.",
            ),
            Parameter::query(
                "limit",
                r#"{"type": "integer", "minimum": 1, "maximum": 100000}"#,
                "At most so many lines.",
            ),
            Parameter::query("numbers", BOOL, "Begins each line of text with its number."),
            Parameter::query("timestamps", BOOL, "Begins each line of text with its time."),
            Parameter::query(
                "download",
                r#"{"type": "string", "enum": ["true", "false", "text", "ndjson"]}"#,
                "Sends a file, in the format of the `Accept` header or this one.",
            ),
        ],
        body: None,
        answers: &[Answer::text(
            &["text/plain", "application/x-ndjson", "text/event-stream"],
            "The lines: text, one object a line, or server-sent events.",
        )],
        problems: &[
            (404, &["no_such_job", "no_such_attempt"]),
            AMBIGUOUS,
            (410, &["log_gone"]),
            (503, &["engine_unreachable"]),
        ],
        curl: "'$SERVER/job/$ID/logs?tail=100'",
        cli: "tidetable logs $ID",
    },
    Call {
        method: "get",
        path: "/job/{id}/events",
        id: "readJobStory",
        tag: "jobs",
        summary: "Tells the story of one job: every change with a sentence, oldest first.",
        parameters: &[
            ID,
            SINCE,
            Parameter::query(
                "limit",
                r#"{"type": "integer", "minimum": 1, "maximum": 1000}"#,
                "The largest number of events in the answer.",
            ),
        ],
        body: None,
        answers: &[Answer::json(200, "StoryView", "The events.")],
        problems: &[JOB_GONE, AMBIGUOUS],
        curl: "$SERVER/job/$ID/events",
        cli: "",
    },
    Call {
        method: "get",
        path: "/events",
        id: "streamEvents",
        tag: "server",
        summary: "Streams every change of jobs, schedules, definitions, the engine and the server.",
        parameters: &[
            Parameter::query(
                "kind",
                r#"{"type": "string", "pattern": "^(job|schedule|definition|engine|server)(,(job|schedule|definition|engine|server)){0,4}$"}"#,
                "Only events of these kinds, separated by commas.",
            ),
            Parameter::query("job", r#"{"type": "string"}"#, "Only events of this job."),
            Parameter::query(
                "job_name",
                r#"{"type": "string"}"#,
                "Only events of jobs of this name.",
            ),
            Parameter::query(
                "schedule",
                r#"{"type": "string"}"#,
                "Only events of this schedule and of its jobs.",
            ),
            SINCE,
            Parameter::header(
                "Last-Event-ID",
                r#"{"type": "string", "pattern": "^[0-9]{1,18}$"}"#,
                "Replays the events after this number. Wins over `since`.",
            ),
        ],
        body: None,
        answers: &[Answer::text(
            &["text/event-stream", "application/x-ndjson"],
            "The events, until the caller ends the stream: server-sent events, or one object a line.",
        )],
        problems: &[(400, &["invalid_header"]), JOB_GONE, AMBIGUOUS, (503, &["busy"])],
        curl: "-N $SERVER/events",
        cli: "tidetable events -f",
    },
    Call {
        method: "post",
        path: "/pause",
        id: "pause",
        tag: "server",
        summary: "Starts nothing new for a while. What runs goes on, and due jobs wait.",
        parameters: &[DRY_RUN],
        body: Some(Body {
            schema: "PauseBody",
            required: false,
            form: true,
            example: r#"{"until": "2h", "why": "maintenance"}"#,
        }),
        answers: &[Answer::json(200, "PauseView", "The pause.")],
        problems: &[
            (400, &["invalid_date", "invalid_field", "unknown_field", "doubled_field"]),
            (400, &["invalid_json", "invalid_body"]),
        ],
        curl: "$SERVER/pause -d until=2h",
        cli: "tidetable pause --until 2h",
    },
    Call {
        method: "post",
        path: "/resume",
        id: "resume",
        tag: "server",
        summary: "Ends the pause of everything.",
        parameters: &[DRY_RUN],
        body: None,
        answers: &[Answer::json(200, "PauseView", "Nothing is paused.")],
        problems: &[],
        curl: "-X POST $SERVER/resume",
        cli: "tidetable resume",
    },
    Call {
        method: "patch",
        path: "/job/{id}",
        id: "rescheduleJob",
        tag: "jobs",
        summary: "Gives another date to a waiting job.",
        parameters: &[ID, DRY_RUN],
        body: Some(Body {
            schema: "DateBody",
            required: true,
            form: true,
            example: r#"{"date": "2h"}"#,
        }),
        answers: &[Answer::json(200, "DoneView", "The job has the new date.")],
        problems: &[
            (400, &["missing_field", "invalid_date", "unknown_field", "doubled_field"]),
            (400, &["invalid_json", "invalid_field", "invalid_body"]),
            JOB_GONE,
            (409, &["ambiguous_id", "job_STATUS"]),
            (503, &["restoring"]),
        ],
        curl: "-X PATCH $SERVER/job/$ID -d date=2h",
        cli: "",
    },
    Call {
        method: "delete",
        path: "/job/{id}",
        id: "cancelJob",
        tag: "jobs",
        summary: "Takes a waiting job off the schedule.",
        parameters: &[ID, DRY_RUN],
        body: None,
        answers: &[Answer::json(200, "DoneView", "The job is canceled.")],
        problems: &[JOB_GONE, (409, &["ambiguous_id", "job_STATUS"])],
        curl: "-X DELETE $SERVER/job/$ID",
        cli: "tidetable rm $ID",
    },
    Call {
        method: "post",
        path: "/job/{id}/stop",
        id: "stopJob",
        tag: "jobs",
        summary: "Stops a running job. A second call kills it.",
        parameters: &[ID, Parameter::query("grace", DURATION, "The time until the kill."), DRY_RUN],
        body: None,
        answers: &[Answer::json(200, "DoneView", "The job is asked to stop.")],
        problems: &[
            (400, &["invalid_grace"]),
            (403, &["policy_denied"]),
            JOB_GONE,
            (409, &["ambiguous_id", "job_STATUS"]),
        ],
        curl: "-X POST '$SERVER/job/$ID/stop?grace=5s'",
        cli: "tidetable stop $ID --grace 5s",
    },
    Call {
        method: "post",
        path: "/job/{id}/rerun",
        id: "rerunJob",
        tag: "jobs",
        summary: "Runs the spec of an old job as a new job.",
        parameters: &[ID, DRY_RUN],
        body: Some(Body {
            schema: "OptionalDate",
            required: false,
            form: true,
            example: r#"{"date": "1h"}"#,
        }),
        answers: &[
            Answer {
                headers: &["Location"],
                ..Answer::json(201, "DoneView", "The new job is accepted.")
            },
            Answer::json(200, "PlannedJob", "A dry run."),
        ],
        problems: &[
            (400, &["invalid_date", "unknown_field", "doubled_field", "invalid_json"]),
            (400, &["invalid_field", "invalid_body"]),
            (403, &["policy_denied"]),
            JOB_GONE,
            AMBIGUOUS,
            UNFIT,
            LIMITED,
        ],
        curl: "-X POST $SERVER/job/$ID/rerun -d date=1h",
        cli: "tidetable rerun $ID",
    },
];

const SERVER: &[Call] = &[
    Call {
        method: "post",
        path: "/preview",
        id: "preview",
        tag: "future",
        summary: "Explains a recurrence or a date, and shows its next times. Nothing is stored.",
        parameters: &[],
        body: Some(Body {
            schema: "Question",
            required: true,
            form: false,
            example: r#"{"cron": "30 2 * * *", "time_zone": "Europe/Berlin", "count": 2}"#,
        }),
        answers: &[Answer::json(200, "PreviewView", "The meaning and the next times.")],
        problems: &[
            (400, &["one_of", "invalid_field", "invalid_date", "unknown_field", "invalid_json"]),
            (400, &["invalid_body"]),
        ],
        curl: r#"$SERVER/preview --json '{"cron": "30 2 * * *", "count": 2}'"#,
        cli: "tidetable preview '30 2 * * *'",
    },
    Call {
        method: "get",
        path: "/forecast",
        id: "forecast",
        tag: "future",
        summary: "Shows what will run in the next hours, and where it piles up.",
        parameters: &[Parameter::query(
            "hours",
            r#"{"type": "integer", "minimum": 1, "maximum": 168, "default": 24}"#,
            "The hours to look ahead.",
        )],
        body: None,
        answers: &[Answer::json(200, "ForecastView", "The forecast.")],
        problems: &[(503, &["busy"])],
        curl: "'$SERVER/forecast?hours=48'",
        cli: "tidetable forecast --hours 48",
    },
    Call {
        method: "get",
        path: "/",
        id: "index",
        tag: "server",
        summary: "Redirects to the list of jobs.",
        parameters: &[],
        body: None,
        answers: &[Answer {
            headers: &["Location"],
            ..Answer::nothing(307, "The list of jobs is at `/jobs`.")
        }],
        problems: &[],
        curl: "-L $SERVER/",
        cli: "",
    },
    Call {
        method: "get",
        path: "/healthz",
        id: "health",
        tag: "server",
        summary: "Says that the server runs. Needs no token.",
        parameters: &[],
        body: None,
        answers: &[Answer::json(200, "HealthView", "The server runs.")],
        problems: &[],
        curl: "$SERVER/healthz",
        cli: "tidetable healthcheck",
    },
    Call {
        method: "get",
        path: "/readyz",
        id: "readiness",
        tag: "server",
        summary: "Says whether a job that is due now would start. Needs no token.",
        parameters: &[],
        body: None,
        answers: &[
            Answer::json(200, "ReadyView", "Jobs that are due are started."),
            Answer::json(503, "ReadyView", "Jobs that are due are not started; `detail` says why."),
        ],
        problems: &[],
        curl: "$SERVER/readyz",
        cli: "",
    },
    Call {
        method: "get",
        path: "/version",
        id: "version",
        tag: "server",
        summary: "Shows the version of the server.",
        parameters: &[],
        body: None,
        answers: &[Answer::json(200, "VersionView", "The version.")],
        problems: &[],
        curl: "$SERVER/version",
        cli: "tidetable version",
    },
    Call {
        method: "get",
        path: "/openapi.json",
        id: "openApi",
        tag: "server",
        summary: "Returns this description as an OpenAPI 3.1 document.",
        parameters: &[],
        body: None,
        answers: &[Answer::json(200, "Document", "The document.")],
        problems: &[],
        curl: "$SERVER/openapi.json",
        cli: "",
    },
    Call {
        method: "get",
        path: "/docs",
        id: "docs",
        tag: "server",
        summary: "Returns this description as a page.",
        parameters: &[],
        body: None,
        answers: &[Answer::text(&["text/html"], "The page.")],
        problems: &[],
        curl: "$SERVER/docs",
        cli: "",
    },
];
