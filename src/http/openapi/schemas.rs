//! The schemas of the document: derived from the views, or written here for request bodies.

use serde_json::{Map, Value, json};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::fields;
use crate::domain::job::{Reason, Status};
use crate::domain::schedule::{Overlap, ScheduleFields};
use crate::http::problem::{FieldError, Problem};
use crate::http::views::{
    AtOnceView, AttemptView, BusiestView, DefinitionView, DefinitionsView, DoneView, EngineView,
    EventView, ForecastEntryView, ForecastView, GapView, JobView, JobsView, LaneView, LatenessView,
    LedgerView, LogView, MarkView, NotedView, OutputView, OverlapView, PauseView, PileUpView,
    PreviewView, ReadyView, ScheduleView, SchedulesView, SlotsView, StoreView, StoryView,
    SummaryJobsView, SummaryView, TickView, TidePileUpView, TideView, UsageView, VersionView,
    WouldView,
};

/// A date in one of the usual forms.
const DATE: &str = concat!(
    "^(now|[1-9][0-9]{0,3} ?(s|m|h|d)|in [1-9][0-9]? minutes",
    "|20[4-9][0-9]-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])",
    "T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]Z",
    "|([01][0-9]|2[0-3]):[0-5][0-9])$",
);
/// An instant in UTC.
const INSTANT: &str = concat!(
    "^20[2-4][0-9]-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])",
    "T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]Z$",
);
/// A cron expression of a usual form.
const CRON: &str = concat!(
    "^((\\*|[0-9]|[1-5][0-9]) (\\*|[0-9]|1[0-9]|2[0-3]) \\* \\* (\\*|[0-6])",
    "|@(hourly|daily|weekly|monthly))$",
);
/// Visible characters of ASCII. Other characters are read as well, but no control characters.
const JOB_NAME: &str = "^[!-~]+$";

/// Returns all schemas by name.
pub(super) fn all() -> Map<String, Value> {
    let mut schemas = Map::new();
    derived(&mut schemas);
    let spec = fields::properties();
    schemas.insert("Spec".into(), fields::relaxed(&object(spec.clone(), &[], true)));
    schemas.insert("SpecFields".into(), checked(object(spec.clone(), &[], false)));
    let mut definition = spec.clone();
    definition.insert("image".into(), fields::never_null(spec["image"].clone()));
    schemas.insert("DefinitionFields".into(), checked(object(definition, &["image"], false)));
    let mut job = Map::new();
    job.insert("job_name".into(), job_name());
    job.insert("date".into(), date());
    job.extend(spec);
    schemas.insert("NewJob".into(), checked(object(job, &["job_name", "date"], false)));
    let mut shown = fields::relaxed(&schedule_fields());
    shown["properties"]["spec"] = json!({"$ref": "#/components/schemas/Spec"});
    schemas.insert("Schedule".into(), shown);
    schemas["ScheduleView"]["allOf"][0] = json!({"$ref": "#/components/schemas/Schedule"});
    schemas.insert("ScheduleFields".into(), schedule_fields());
    schemas.insert("Question".into(), question());
    let date_body = Map::from_iter([("date".to_owned(), date())]);
    schemas.insert("OptionalDate".into(), object(date_body.clone(), &[], false));
    schemas.insert("DateBody".into(), object(date_body, &["date"], false));
    let mut pause = Map::new();
    let until = "^[1-9][0-9]{0,3} ?(s|m|h|d)$";
    let until = text(until, "The end of the pause: a span or a date.");
    pause.insert("until".into(), fields::never_null(until));
    pause.insert("why".into(), json!({"type": "string", "maxLength": 500}));
    schemas.insert("PauseBody".into(), object(pause, &[], false));
    let id = json!({"type": "string", "pattern": "^[0-9a-f]{32}$"});
    let id_body = Map::from_iter([("job_id".to_owned(), id)]);
    schemas.insert("JobIdBody".into(), object(id_body, &["job_id"], false));
    let health = Map::from_iter([("status".to_owned(), json!({"const": "ok"}))]);
    schemas.insert("HealthView".into(), object(health, &["status"], true));
    schemas.insert("Document".into(), json!({"type": "object", "required": ["openapi", "paths"]}));
    schemas.values_mut().for_each(bound_tuples);
    schemas
}

/// Writes the length of tuples as a number. Derived schemas have `items: false`, which generators of
/// clients do not know.
fn bound_tuples(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            let length = map.get("prefixItems").and_then(Value::as_array).map(Vec::len);
            if let Some(length) = length.filter(|_| map.get("items") == Some(&json!(false))) {
                map.remove("items");
                map.insert("minItems".into(), json!(length));
                map.insert("maxItems".into(), json!(length));
            }
            map.values_mut().for_each(bound_tuples);
        }
        Value::Array(list) => list.iter_mut().for_each(bound_tuples),
        _ => {}
    }
}

/// Adds the schemas that are derived from types.
fn derived(schemas: &mut Map<String, Value>) {
    macro_rules! derive {
        ($($name:ident)*) => {
            $(schemas.insert(stringify!($name).to_owned(), json!(<$name as PartialSchema>::schema()));)*
        };
    }
    // The id is only absent for a job that a dry run would make.
    derive!(DoneView);
    schemas.insert("PlannedJob".into(), schemas["DoneView"].clone());
    if let Some(required) = schemas["DoneView"].get_mut("required").and_then(Value::as_array_mut) {
        required.push("id".into());
    }
    let statuses: Vec<&str> = Status::ALL.iter().map(|status| status.as_str()).collect();
    schemas.insert("Status".into(), json!({"type": "string", "enum": statuses}));
    let reasons: Vec<&str> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
    schemas.insert("Reason".into(), json!({"type": "string", "enum": reasons}));
    derive! {
        AttemptView EventView GapView PauseView StoryView UsageView
        Overlap Problem FieldError JobView JobsView OutputView WouldView
        DefinitionView DefinitionsView NotedView LogView PreviewView SchedulesView LedgerView
        TickView VersionView ReadyView ForecastView ForecastEntryView PileUpView OverlapView
        ScheduleView TideView LaneView MarkView AtOnceView BusiestView TidePileUpView SummaryView
        SummaryJobsView SlotsView LatenessView EngineView StoreView
    }
}

/// Makes types known by name to the schemas that are derived and refer to them. Their own schemas
/// are written above.
macro_rules! named {
    ($($name:ident)*) => {
        $(
            impl PartialSchema for $name {
                fn schema() -> RefOr<Schema> {
                    Schema::default().into()
                }
            }
            impl ToSchema for $name {}
        )*
    };
}
named!(ScheduleFields Status Reason);

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

/// Returns the fields of a schedule, as they are written and as they are shown.
fn schedule_fields() -> Value {
    let spec = json!({"oneOf": [
        {"$ref": "#/components/schemas/SpecFields"},
        {"type": "null"},
    ]});
    json!({
        "type": "object",
        "properties": {
            "job_name": job_name(),
            "cron": text(CRON, "A cron expression of five fields, or six with seconds first."),
            "every": text("^[1-9][0-9]{0,3}(s|m|h)$", "A period of at least `1s`."),
            "time_zone": words(
                &["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata"],
                "The zone whose clock counts. All names of the IANA database are taken.",
            ),
            "overlap": words(
                &["skip", "queue_one", "allow", "replace"],
                "What happens if the previous run is not over.",
            ),
            "catch_up": words(&["last", "none", "all"], "What happens to missed ticks."),
            "catch_up_window": text(fields::SPAN, "Ticks that are older are not caught up."),
            "jitter": text("^[0-9]{1,3}s$", "Delays each tick by its own part of this."),
            "start_at": instant("No tick before this time."),
            "end_at": instant("No tick after this time."),
            "max_runs": {
                "type": ["integer", "null"], "minimum": 1, "maximum": 1_000_000,
                "description": "The number of runs after which the schedule is finished.",
            },
            "paused": flag("Ticks are skipped."),
            "pause_on_failure": flag("A failed run pauses the schedule."),
            "spec": spec,
        },
        "required": ["job_name"],
        "oneOf": one_of(&["cron", "every"]),
        "additionalProperties": false,
    })
}

fn text(pattern: &str, doc: &str) -> Value {
    fields::or_null(json!({"type": "string", "pattern": pattern, "description": doc}))
}

fn words(words: &[&str], doc: &str) -> Value {
    fields::or_null(json!({"type": "string", "enum": words, "description": doc}))
}

fn instant(doc: &str) -> Value {
    fields::or_null(json!({"type": "string", "format": "date-time", "description": doc}))
}

fn flag(doc: &str) -> Value {
    fields::or_null(json!({"type": "boolean", "description": doc}))
}

/// Returns the condition that exactly one of these fields is given.
fn one_of(names: &[&str]) -> Value {
    let kind = |is_given: bool| json!({"type": if is_given { "string" } else { "null" }});
    let alternative = |given: &&str| {
        let kinds = names.iter().map(|name| ((*name).to_owned(), kind(name == given)));
        json!({"required": [given], "properties": kinds.collect::<Map<_, _>>()})
    };
    names.iter().map(alternative).collect()
}

fn question() -> Value {
    let fields = schedule_fields();
    let shared = |name: &str| fields["properties"][name].clone();
    json!({
        "type": "object",
        "properties": {
            "cron": shared("cron"),
            "every": shared("every"),
            "date": fields::or_null(date()),
            "time_zone": shared("time_zone"),
            "from": text(INSTANT, "The instant to begin at; default: now."),
            "count": {
                "type": ["integer", "null"], "minimum": 1, "maximum": 1000,
                "description": "The number of times; default 5.",
            },
        },
        "oneOf": one_of(&["cron", "every", "date"]),
        "additionalProperties": false,
    })
}
