//! The table of all families: name, type, labels, help, and the question each answers.
//!
//! `docs/metrics.md` is made from this table, and a test compares the two.

/// The type of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Kind {
    /// Returns the word for the type in a scrape.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A family of series.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// The full name. The name of a counter ends in `_total`.
    pub name: &'static str,
    pub kind: Kind,
    /// The labels, in the order of the documentation.
    pub labels: &'static [&'static str],
    /// One sentence without its full stop.
    pub help: &'static str,
    /// The question of an operator that the family answers.
    pub question: &'static str,
}

const fn family(
    name: &'static str,
    kind: Kind,
    labels: &'static [&'static str],
    help: &'static str,
    question: &'static str,
) -> Family {
    Family { name, kind, labels, help, question }
}

use Kind::{Counter, Gauge, Histogram};

/// Every family of a scrape, in the order of the documentation.
pub const FAMILIES: &[Family] = &[
    family(
        "tidetable_build_info",
        Gauge,
        &["version", "engine", "store"],
        "Always 1; the labels say what runs",
        "What runs?",
    ),
    family(
        "tidetable_ready",
        Gauge,
        &["part"],
        "1 if the part works, else 0; the parts are engine and store",
        "Would a job that is due now start?",
    ),
    family(
        "tidetable_engine_unreachable_since_timestamp_seconds",
        Gauge,
        &[],
        "Time since which no usable engine answers; 0 while one does",
        "Since when does nothing start?",
    ),
    family(
        "tidetable_jobs",
        Gauge,
        &["status"],
        "Stored jobs by status",
        "How many jobs are where?",
    ),
    family(
        "tidetable_jobs_ended_total",
        Counter,
        &["outcome", "reason", "schedule"],
        "Jobs that ended",
        "What fails, and why?",
    ),
    family(
        "tidetable_job_start_lateness_seconds",
        Histogram,
        &["aim"],
        "Time from the due time of an attempt to the start of its process",
        "Are jobs on time?",
    ),
    family(
        "tidetable_oldest_due_job_age_seconds",
        Gauge,
        &["queue"],
        "Time since the oldest due job that has not begun was due; 0 if no job waits",
        "Is something stuck?",
    ),
    family(
        "tidetable_running_job_age_seconds",
        Gauge,
        &["schedule"],
        "Time since the start of the longest running process",
        "Does a run take too long?",
    ),
    family(
        "tidetable_job_duration_seconds",
        Histogram,
        &["schedule", "outcome"],
        "Time from the start of a process to its exit",
        "Are runs slower than usual?",
    ),
    family(
        "tidetable_schedule_last_success_timestamp_seconds",
        Gauge,
        &["schedule"],
        "End of the last run that succeeded; 0 if none has",
        "When did it work last?",
    ),
    family(
        "tidetable_schedule_last_end_timestamp_seconds",
        Gauge,
        &["schedule", "outcome"],
        "End of the last job with this outcome",
        "How did it end last?",
    ),
    family(
        "tidetable_schedule_next_due_timestamp_seconds",
        Gauge,
        &["schedule"],
        "Time of the next tick; no series while the schedule is paused or over",
        "Does it still tick?",
    ),
    family(
        "tidetable_schedule_created_timestamp_seconds",
        Gauge,
        &["schedule"],
        "Time at which the schedule was accepted as it is now",
        "Is it too new to have run?",
    ),
    family(
        "tidetable_schedule_paused",
        Gauge,
        &["schedule", "by"],
        "1 while paused, by a caller or the config file (caller) or by a failed run (failure)",
        "Was a pause forgotten?",
    ),
    family(
        "tidetable_schedule_ticks_total",
        Counter,
        &["schedule", "outcome", "reason"],
        "Ticks that were decided; the outcomes are ran, caught_up, skipped and missed",
        "Which ticks did not run, and why?",
    ),
    family(
        "tidetable_schedule_expected_interval_seconds",
        Gauge,
        &["schedule"],
        "Longest of the last three gaps between ticks, the present one included",
        "How old may the last success be?",
    ),
    family(
        "tidetable_limit",
        Gauge,
        &["limit"],
        "Jobs that may run at once under the limit",
        "What is allowed?",
    ),
    family(
        "tidetable_limit_used",
        Gauge,
        &["limit"],
        "Jobs that run under the limit",
        "Is a limit reached?",
    ),
    family(
        "tidetable_forecast_pile_up_seconds",
        Gauge,
        &["limit"],
        "Time in the next 24 hours in which more runs are expected than the limit allows",
        "Will a limit be reached?",
    ),
    family(
        "tidetable_engine_call_seconds",
        Histogram,
        &["call", "result"],
        "Time of a call to the engine; pulls and streams are not in it",
        "Is the engine slow or failing?",
    ),
    family(
        "tidetable_image_pull_seconds",
        Histogram,
        &["result"],
        "Time of an image pull",
        "Are pulls slow or failing?",
    ),
    family(
        "tidetable_store_commit_seconds",
        Histogram,
        &["result"],
        "Time of a transaction, with its fsync",
        "Is the disk slow or failing?",
    ),
    family(
        "tidetable_store_bytes",
        Gauge,
        &[],
        "Size of the database and its write-ahead log",
        "Does the store grow?",
    ),
    family(
        "tidetable_disk_free_bytes",
        Gauge,
        &[],
        "Space left for the server on the disk of the data directory",
        "Will the disk be full?",
    ),
    family(
        "tidetable_dispatcher_last_round_timestamp_seconds",
        Gauge,
        &[],
        "Time at which the dispatcher last completed a round",
        "Does the dispatcher live?",
    ),
    family(
        "tidetable_http_requests_total",
        Counter,
        &["route", "method", "code"],
        "Answered HTTP requests",
        "Who gets errors?",
    ),
    family(
        "tidetable_http_request_seconds",
        Histogram,
        &["route"],
        "Time until the head of an HTTP answer",
        "Is the API slow?",
    ),
    family(
        "tidetable_auth_failures_total",
        Counter,
        &["reason"],
        "Requests that the guard refused",
        "Does somebody try to get in?",
    ),
    family(
        "tidetable_stream_clients",
        Gauge,
        &[],
        "Answers that are being streamed as server-sent events or NDJSON",
        "Who follows?",
    ),
    family(
        "tidetable_notifications_total",
        Counter,
        &["result"],
        "Deliveries of notifications; the results are delivered, rejected, no_answer and abandoned",
        "Do receivers get their notifications?",
    ),
    family(
        "tidetable_outbox_oldest_age_seconds",
        Gauge,
        &[],
        "Age of the oldest notification that is not delivered; 0 without any",
        "Is a receiver away?",
    ),
    family(
        "process_cpu_seconds_total",
        Counter,
        &[],
        "User and system time of the server",
        "What does the server cost?",
    ),
    family(
        "process_resident_memory_bytes",
        Gauge,
        &[],
        "Resident memory of the server",
        "What does the server cost?",
    ),
    family(
        "process_virtual_memory_bytes",
        Gauge,
        &[],
        "Virtual memory of the server",
        "What does the server cost?",
    ),
    family("process_open_fds", Gauge, &[], "Open file descriptors", "Will descriptors run out?"),
    family(
        "process_max_fds",
        Gauge,
        &[],
        "Largest number of open file descriptors",
        "Will descriptors run out?",
    ),
    family(
        "process_start_time_seconds",
        Gauge,
        &[],
        "Time at which the server was started",
        "Was it restarted?",
    ),
];

/// Returns the family with this name.
pub(super) fn find(name: &str) -> Option<&'static Family> {
    FAMILIES.iter().find(|family| family.name == name)
}

/// Returns the name without the ending of a counter, as OpenMetrics names families.
pub(super) fn base(family: &Family) -> &'static str {
    match family.kind {
        Counter => family.name.strip_suffix("_total").unwrap_or(family.name),
        Gauge | Histogram => family.name,
    }
}
