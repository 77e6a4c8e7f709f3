//! The schemas of the document: derived from the views, or written here for request bodies.

use serde_json::{Map, Value, json};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::fields;
use crate::domain::job::{Reason, Status};
use crate::domain::schedule::{Overlap, ScheduleFields};
use crate::http::problem::{FieldError, Problem};
use crate::http::views::{
    AttemptView, DefinitionView, DefinitionsView, DoneView, EventView, ForecastEntryView,
    ForecastView, GapView, JobView, JobsView, LedgerView, LogView, NotedView, OutputView,
    OverlapView, PauseView, PileUpView, PreviewView, ReadyView, ScheduleView, SchedulesView,
    StoryView, TickView, VersionView, WouldView,
};

/// A date in one of the usual forms.
const DATE: &str = "^(now|[1-9][0-9]{0,3} ?(s|m|h|d)|in [1-9][0-9]? minutes|20[4-9][0-9]-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]Z|([01][0-9]|2[0-3]):[0-5][0-9])$";
/// A text without control characters that is more than white space.
const JOB_NAME: &str = "^[!-~]+$";

/// Returns all schemas by name.
pub(super) fn all() -> Map<String, Value> {
    let mut schemas = Map::new();
    derived(&mut schemas);
    let spec = fields::properties();
    schemas.insert("Spec".into(), object(spec.clone(), &[], true));
    schemas.insert("SpecFields".into(), checked(object(spec.clone(), &[], false)));
    schemas.insert("DefinitionFields".into(), checked(object(spec.clone(), &["image"], false)));
    let mut job = Map::new();
    job.insert("job_name".into(), job_name());
    job.insert("date".into(), date());
    job.extend(spec);
    schemas.insert("NewJob".into(), checked(object(job, &["job_name", "date"], false)));
    schemas.insert("ScheduleFields".into(), schedule_fields());
    schemas.insert("Question".into(), question());
    let date_body = Map::from_iter([("date".to_owned(), date())]);
    schemas.insert("DateBody".into(), object(date_body, &["date"], false));
    let mut pause = Map::new();
    pause.insert("until".into(), date());
    pause.insert("why".into(), json!({"type": "string", "maxLength": 500}));
    schemas.insert("PauseBody".into(), object(pause, &[], false));
    let id = json!({"type": "string", "pattern": "^[0-9a-f]{32}$"});
    let id_body = Map::from_iter([("job_id".to_owned(), id)]);
    schemas.insert("JobIdBody".into(), object(id_body, &["job_id"], false));
    schemas.insert(
        "HealthView".into(),
        json!({"type": "object", "properties": {"status": {"const": "ok"}}, "required": ["status"]}),
    );
    schemas.insert("Document".into(), json!({"type": "object", "required": ["openapi", "paths"]}));
    schemas
}

/// Adds the schemas that are derived from types.
fn derived(schemas: &mut Map<String, Value>) {
    macro_rules! derive {
        ($($name:ident)*) => {
            $(schemas.insert(stringify!($name).to_owned(), json!(<$name as PartialSchema>::schema()));)*
        };
    }
    derive! {
        AttemptView EventView GapView PauseView StoryView Status Reason Overlap Problem FieldError JobView JobsView OutputView DoneView WouldView
        DefinitionView DefinitionsView NotedView LogView PreviewView SchedulesView LedgerView
        TickView VersionView ReadyView ForecastView ForecastEntryView PileUpView OverlapView
        ScheduleView
    }
}

/// The schema of this type is written above. The derived schema of a schedule refers to it.
impl PartialSchema for ScheduleFields {
    fn schema() -> RefOr<Schema> {
        Schema::default().into()
    }
}

impl ToSchema for ScheduleFields {}

fn object(properties: Map<String, Value>, required: &[&str], open: bool) -> Value {
    let mut object = json!({
        "type": "object",
        "properties": properties,
        "additionalProperties": open,
    });
    if !required.is_empty() {
        object["required"] = json!(required);
    }
    object
}

/// Adds the conditions that concern several fields of a spec.
fn checked(mut schema: Value) -> Value {
    schema["allOf"] = fields::conditions();
    schema
}

fn job_name() -> Value {
    json!({
        "type": "string", "minLength": 1, "maxLength": 255, "pattern": JOB_NAME,
        "description": "The name of a definition, else an image reference.",
        "examples": ["busybox:latest"],
    })
}

fn date() -> Value {
    json!({
        "type": "string", "maxLength": 64, "pattern": DATE,
        "description": "The due time: a delay, a time in the server's zone, or an instant.",
        "examples": ["30s", "now", "2042-06-20T13:25:28Z"],
    })
}

fn or_null(mut schema: Value) -> Value {
    schema["type"] = json!([schema["type"], "null"]);
    schema
}

/// Returns the fields of a schedule, as they are written and as they are shown.
fn schedule_fields() -> Value {
    let text = |pattern: &str, doc: &str| json!({"type": "string", "pattern": pattern, "description": doc});
    let words =
        |words: &[&str], doc: &str| json!({"type": "string", "enum": words, "description": doc});
    let instant =
        |doc: &str| or_null(json!({"type": "string", "format": "date-time", "description": doc}));
    json!({
        "type": "object",
        "properties": {
            "job_name": job_name(),
            "cron": text(
                "^((\\*|[0-9]|[1-5][0-9]) (\\*|[0-9]|1[0-9]|2[0-3]) \\* \\* (\\*|[0-6])|@(hourly|daily|weekly|monthly))$",
                "A cron expression of five fields, or six with seconds first. Excludes `every`.",
            ),
            "every": text("^[1-9][0-9]{0,3}(s|m|h)$", "A period of at least `1s`. Excludes `cron`."),
            "time_zone": words(
                &["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata"],
                "The zone whose clock counts. All names of the IANA database are taken.",
            ),
            "overlap": words(&["skip", "queue_one", "allow", "replace"], "If the previous run is not over."),
            "catch_up": words(&["last", "none", "all"], "If ticks were missed."),
            "catch_up_window": text(fields::SPAN, "Ticks that are older are not caught up."),
            "jitter": text("^[1-9][0-9]{0,2}s$", "Delays each tick by its own part of this."),
            "start_at": instant("No tick before this time."),
            "end_at": instant("No tick after this time."),
            "max_runs": {"type": ["integer", "null"], "minimum": 1, "maximum": 1_000_000,
                "description": "The number of runs after which the schedule is finished."},
            "paused": {"type": "boolean", "description": "Ticks are skipped."},
            "pause_on_failure": {"type": "boolean", "description": "A failed run pauses the schedule."},
            "spec": {"$ref": "#/components/schemas/SpecFields"},
        },
        "required": ["job_name"],
        "oneOf": [{"required": ["cron"]}, {"required": ["every"]}],
        "additionalProperties": false,
    })
}

fn question() -> Value {
    let fields = schedule_fields();
    let shared = |name: &str| fields["properties"][name].clone();
    json!({
        "type": "object",
        "properties": {
            "cron": shared("cron"),
            "every": shared("every"),
            "date": date(),
            "time_zone": shared("time_zone"),
            "from": {"type": "string", "pattern": "^20[2-4][0-9]-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]Z$",
                "description": "The instant to begin at; default: now."},
            "count": {"type": "integer", "minimum": 1, "maximum": 1000,
                "description": "The number of times; default 5."},
        },
        "oneOf": [{"required": ["cron"]}, {"required": ["every"]}, {"required": ["date"]}],
        "additionalProperties": false,
    })
}
