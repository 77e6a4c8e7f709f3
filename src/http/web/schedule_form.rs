//! The form for a schedule, new or changed. It says in words when the schedule runs, and the next
//! times, before it is saved.

use askama::Template;
use axum::extract::{Path, Query, Request, State};
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Redirect, Response};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::form::{Field, Values, point_out, spec_fields};
use super::shell::{Part, Shell, text};
use crate::domain::job::origin::Generation;
use crate::domain::precondition::Precondition;
use crate::domain::recurrence::Zone;
use crate::domain::schedule::record::ScheduleRecord;
use crate::domain::schedule::{Schedule, ScheduleFields};
use crate::domain::text::units::Span;
use crate::http::api::schedules;
use crate::http::auth::guard::Admitted;
use crate::http::body::read_spec;
use crate::http::json;
use crate::http::problem::Problem;
use crate::http::state::Api;
use crate::scheduler::ScheduleError;

/// The next times that the form shows.
const NEXT: usize = 5;
/// The fields of a schedule that are plain texts in a form and in JSON.
const TEXTS: [&str; 8] = [
    "job_name",
    "time_zone",
    "overlap",
    "catch_up",
    "catch_up_window",
    "jitter",
    "start_at",
    "end_at",
];

/// The query of the form: values to begin with.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Begin {
    job_name: String,
}

#[derive(Template)]
#[template(path = "schedule_form.html")]
struct ScheduleForm {
    shell: Shell,
    title: String,
    action: String,
    /// The generation that is being changed; empty for a new schedule.
    generation: String,
    name: String,
    fields: Vec<Field>,
    more: Vec<Field>,
    more_open: bool,
    common: Vec<Field>,
    others: Vec<Field>,
    others_open: bool,
    says: String,
    next: Vec<String>,
    error: String,
    names: Vec<String>,
    zones: Vec<&'static str>,
}

#[derive(Default)]
struct Preview {
    says: String,
    next: Vec<String>,
}

/// Answers `GET /schedule` with the form for a new schedule.
pub(super) async fn page(
    State(api): State<Api>,
    Query(begin): Query<Begin>,
) -> Result<Response, Problem> {
    let mut values = Values::default();
    values.set("job_name", begin.job_name);
    values.set("time_zone", api.zone.name());
    Ok(Html(api.schedule_form(&values, Preview::default(), None).await?).into_response())
}

/// Answers `GET /schedule/{name}/edit` with the form, filled in.
pub(super) async fn edit(
    State(api): State<Api>,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    let record = api.record(&name).await?;
    let values = filled_in(&record);
    let preview = preview(&api, &record.schedule);
    Ok(Html(api.schedule_form(&values, preview, None).await?).into_response())
}

/// Answers `POST /schedule` of a browser: saves the schedule and shows it, or shows the form again.
pub(super) async fn save(
    State(api): State<Api>,
    by: Admitted,
    request: Request,
) -> Result<Response, Problem> {
    let values = Values::read(request).await?;
    let is_preview = values.get("do") == "preview";
    let (status, form) = match api.try_schedule(&by, &values, is_preview).await {
        Ok(None) => {
            let to = format!("/schedule/{}", values.get("name"));
            return Ok(Redirect::to(&to).into_response());
        }
        Ok(Some(preview)) => (StatusCode::OK, api.schedule_form(&values, preview, None).await?),
        Err(problem) => {
            let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::BAD_REQUEST);
            (status, api.schedule_form(&values, Preview::default(), Some(&problem)).await?)
        }
    };
    Ok((status, Html(form)).into_response())
}

fn preview(api: &Api, schedule: &Schedule) -> Preview {
    let (now, zone) = (api.scheduler.now(), schedule.time_zone().unwrap_or(Zone::from(api.zone)));
    let timetable = schedule.timetable(zone, now);
    let clock = super::words::Clock { now, zone: zone.tz() };
    let next = timetable.after(now).take(NEXT).map(|tick| clock.day(tick.nominal)).collect();
    Preview { says: super::words::sentence(&timetable.recurrence.describe()), next }
}

/// Returns the values of a form for this schedule.
fn filled_in(record: &ScheduleRecord) -> Values {
    let mut values = Values::default();
    let fields = ScheduleFields::from(record.schedule.clone());
    let json = serde_json::to_value(fields).unwrap_or_default();
    values.set("name", record.name.to_string());
    values.set("generation", record.generation.0.to_string());
    for (name, value) in json.as_object().into_iter().flatten() {
        match (name.as_str(), value) {
            (_, Value::Null) => {}
            ("spec", Value::Object(spec)) => values.fill_spec(spec),
            ("every", Value::String(period)) => values.set("cron", format!("every {period}")),
            (name, Value::String(text)) => values.set(name, text.clone()),
            (name, other) => values.set(name, other.to_string()),
        }
    }
    values
}

impl Api {
    /// Saves the schedule. Returns the preview if only that was asked for.
    async fn try_schedule(
        &self,
        by: &Admitted,
        values: &Values,
        is_preview: bool,
    ) -> Result<Option<Preview>, Problem> {
        let generation = values.get("generation").parse().ok().map(Generation);
        let old = match generation {
            Some(_) => Some(self.record(values.get("name")).await?),
            None => None,
        };
        let fields = schedule_fields(values, old.as_ref())?;
        let schedule = Schedule::try_from(fields)
            .map_err(|bad| Problem::field(bad.field, "invalid_field", bad.detail))?;
        if is_preview {
            return Ok(Some(preview(self, &schedule)));
        }
        let name = schedules::name_of(values.get("name"))?;
        let expected = match generation {
            Some(generation) => Precondition::OneOf(vec![generation]),
            None => Precondition::Nothing,
        };
        let zone = Zone::from(self.zone);
        let put = self.scheduler.put_schedule(&by.caller, &name, schedule, zone, expected);
        put.await.map(|_| None).map_err(|error| match (error, generation) {
            (ScheduleError::Changed, None) => {
                let detail = format!("there is a schedule `{name}` already: choose another name, or edit that one");
                Problem::new(StatusCode::CONFLICT, "changed", detail).at("name", None)
            }
            (ScheduleError::Changed, Some(_)) => Problem::new(
                StatusCode::CONFLICT,
                "changed",
                "the schedule was changed since this form was loaded: load it again, and decide anew",
            ),
            (error, _) => schedules::problem(&name, error),
        })
    }

    async fn schedule_form(
        &self,
        values: &Values,
        preview: Preview,
        problem: Option<&Problem>,
    ) -> Result<String, Problem> {
        let is_new = values.get("generation").is_empty();
        let (mut fields, mut more) = own_fields(values, is_new);
        let (mut common, mut others) = spec_fields(values);
        let groups = &mut [&mut fields, &mut more, &mut common, &mut others];
        let error = problem.and_then(|problem| point_out(problem, groups)).unwrap_or_default();
        let is_open = |fields: &[Field]| {
            fields.iter().any(|field| !field.value.is_empty() || !field.error.is_empty())
        };
        let name = values.get("name").to_owned();
        let title = if is_new { "New schedule".to_owned() } else { format!("Edit {name}") };
        text(&ScheduleForm {
            shell: self.shell(&title, Part::Schedules).await?,
            title,
            action: self.links().new_schedule(),
            generation: values.get("generation").to_owned(),
            name: if is_new { String::new() } else { name },
            more_open: is_open(&more),
            others_open: is_open(&others),
            fields,
            more,
            common,
            others,
            says: preview.says,
            next: preview.next,
            error,
            names: self.names().await?,
            zones: chrono_tz::TZ_VARIANTS.iter().map(|zone| zone.name()).collect(),
        })
    }
}

fn schedule_fields(
    values: &Values,
    old: Option<&ScheduleRecord>,
) -> Result<ScheduleFields, Problem> {
    let base = old
        .and_then(|old| serde_json::to_value(old.schedule.spec()).ok())
        .and_then(|spec| spec.as_object().cloned())
        .unwrap_or_default();
    let spec = values.spec_json(base)?;
    // Checked alone first, so that an error names the field of the spec.
    read_spec(spec.clone(), &[])?;
    let mut map = Map::new();
    map.insert("spec".to_owned(), Value::Object(spec));
    for name in TEXTS {
        if !values.get(name).is_empty() {
            map.insert(name.to_owned(), values.get(name).into());
        }
    }
    let when = values.get("cron");
    if !when.is_empty() {
        let is_period = when.parse::<Span>().is_ok();
        let when = if is_period { format!("every {when}") } else { when.to_owned() };
        map.insert("cron".to_owned(), when.into());
    }
    if let Ok(runs) = values.get("max_runs").parse::<u64>() {
        map.insert("max_runs".to_owned(), runs.into());
    } else if !values.get("max_runs").is_empty() {
        let detail = "`max_runs` has to be a whole number, 1 or more";
        return Err(Problem::field("max_runs", "invalid_field", detail));
    }
    map.insert("pause_on_failure".to_owned(), (values.get("pause_on_failure") == "true").into());
    map.insert("paused".to_owned(), (values.get("paused") == "true").into());
    json::from_map(map)
}

/// Returns the fields of a schedule: the ones that it needs, and the ones behind the fold.
fn own_fields(values: &Values, is_new: bool) -> (Vec<Field>, Vec<Field>) {
    let name = is_new.then(|| {
        Field::new("name", "Name", values)
            .hint("Letters, digits, dots, dashes and underscores.")
            .placeholder("nightly")
            .required()
    });
    let fields = [
        Field::new("cron", "When", values)
            .hint("A cron expression such as 30 2 * * *, or a period such as 90m.")
            .placeholder("30 2 * * *")
            .required(),
        Field::new("time_zone", "Time zone", values).list("zones").placeholder("Europe/Berlin"),
        Field::new("job_name", "Job", values)
            .hint("A definition, or an image such as busybox:latest.")
            .placeholder("busybox:latest")
            .list("names")
            .required(),
    ];
    let more = vec![
        Field::new("overlap", "If the run before is not over", values).choices(&[
            ("skip", "skip the tick"),
            ("queue_one", "let one tick wait"),
            ("allow", "run both"),
            ("replace", "stop the run before"),
        ]),
        Field::new("catch_up", "Ticks that were missed", values).choices(&[
            ("last", "run the last one"),
            ("all", "run each"),
            ("none", "run none"),
        ]),
        Field::new("catch_up_window", "Catch up for", values)
            .hint("The greatest age of a missed tick that is still run. Default: 24h."),
        Field::new("jitter", "Jitter", values)
            .hint("Each tick is delayed by its own part of it, such as 5m."),
        Field::new("start_at", "Not before", values)
            .hint("An instant such as 2027-03-28T02:30:00+01:00."),
        Field::new("end_at", "Not after", values).hint("An instant, as above."),
        Field::new("max_runs", "At most this many runs", values),
        Field::new("pause_on_failure", "Pause after a failed run", values)
            .choices(&[("false", "no"), ("true", "yes")]),
    ];
    (name.into_iter().chain(fields).collect(), more)
}
