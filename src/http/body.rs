//! Reads the three kinds of body that `POST /job` takes into one [`NewJob`]: a name, a date, and
//! the fields of a spec.
//!
//! A form gives every field as text. A field that is repeated in a form (`env=K=V`) is a list or a
//! map in JSON. The error for a missing, empty, repeated or unknown field names that field.

use std::error::Error;

use axum::body::Bytes;
use axum::extract::multipart::MultipartError;
use axum::extract::{FromRequest, Multipart, Request};
use axum::http::{StatusCode, header};
use serde_json::{Map, Value};
use tower_http::timeout::TimeoutError;

use super::faults::{self, Faults};
use super::problem::Problem;
use super::text;
use super::unique::Unique;
use crate::domain::names::image::JobName;
use crate::domain::spec::{BadSpec, Form, JobSpec, SpecFields};
use crate::domain::text::units::shown;

/// The size of the largest body, in bytes.
pub const MAX_BODY_BYTES: usize = 1024 * 1024;
/// The largest number of fields in one form.
const MAX_FORM_FIELDS: usize = 4_096;

/// The byte order mark U+FEFF in UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The fields of a job that are not fields of a spec.
const JOB_FIELDS: &[&str] = &["job_name", "date"];

/// Returns the fault of a date, if it has one.
pub(super) type CheckDate<'a> = dyn Fn(&str) -> Option<Problem> + Send + Sync + 'a;

/// The body of `POST /job`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct NewJob {
    /// The name of a definition, or an image.
    pub(super) name: JobName,
    /// The due date as the caller wrote it.
    pub(super) date: String,
    pub(super) spec: JobSpec,
}

impl NewJob {
    /// Reads a request's body by its `Content-Type`. `check` returns the fault of a date. It is
    /// only asked if the body has another fault: a repeated request may have a date in the past.
    ///
    /// # Errors
    /// Returns a [`Problem`] that names all fields at fault.
    pub(super) async fn read(request: Request, check: &CheckDate<'_>) -> Result<Self, Problem> {
        match content_type(&request).as_str() {
            "application/json" => Self::from_json(&bytes(request).await?, check),
            "application/x-www-form-urlencoded" => {
                Self::from_form(urlencoded(&bytes(request).await?)?, check)
            }
            "multipart/form-data" => Self::from_form(multipart(request).await?, check),
            "" if bytes(request).await?.is_empty() => Self::from_form(Vec::new(), check),
            other => Err(Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported_media_type",
                format!(
                    "the content type `{}` is not read here: send `multipart/form-data`, `application/x-www-form-urlencoded` or `application/json`",
                    shown(other)
                ),
            )),
        }
    }

    fn from_json(body: &[u8], check: &CheckDate<'_>) -> Result<Self, Problem> {
        let mut map = object(body)?;
        let mut faults = Faults::default();
        let name = faults.note(text_of(&mut map, "job_name"));
        let date = faults.note(text_of(&mut map, "date"));
        Self::new(name, date, map, faults, check)
    }

    fn from_form(pairs: Vec<(String, String)>, check: &CheckDate<'_>) -> Result<Self, Problem> {
        let mut map = Map::new();
        let (mut name, mut date) = (None, None);
        let mut faults = Faults::default();
        for (field, value) in pairs {
            faults.note(match field.as_str() {
                "job_name" => once(&mut name, "job_name", unquoted(&value)),
                "date" => once(&mut date, "date", unquoted(&value)),
                _ => add_form_field(&mut map, &field, value),
            });
        }
        Self::new(Some(name), Some(date), map, faults, check)
    }

    /// Checks the parts. The name or the date is `None` if its fault is noted already.
    fn new(
        name: Option<Option<String>>,
        date: Option<Option<String>>,
        spec: Map<String, Value>,
        mut faults: Faults,
        check: &CheckDate<'_>,
    ) -> Result<Self, Problem> {
        let name = name.and_then(|name| faults.note(job_name(name)));
        let date = date.and_then(|date| faults.note(date.ok_or_else(no_date)));
        let spec = faults.note(read_spec(spec, JOB_FIELDS));
        if let Some(bad) = date.as_deref().filter(|_| !faults.is_empty()).and_then(check) {
            faults.add(bad);
        }
        faults.settle()?;
        // A part that is missing has noted its fault, so the last arm is never reached.
        match (name, date, spec) {
            (Some(name), Some(date), Some(spec)) => Ok(Self { name, date, spec }),
            _ => Err(no_date()),
        }
    }
}

fn job_name(name: Option<String>) -> Result<JobName, Problem> {
    let name = name.ok_or_else(|| {
        Problem::field(
            "job_name",
            "missing_field",
            "`job_name` is missing: give a definition such as `JOB_A`, or an image such as `busybox:latest`",
        )
    })?;
    name.parse::<JobName>()
        .map_err(|error| Problem::field("job_name", "invalid_job_name", error.to_string()))
}

/// Returns the problem for a missing `date`.
pub(super) fn no_date() -> Problem {
    Problem::field(
        "date",
        "missing_field",
        "`date` is missing: give a delay such as `30s`, or a time such as `20-06-2021 13:25:28`",
    )
}

/// Reads the spec in the body of `PUT /definition/{name}`.
///
/// # Errors
/// Returns a [`Problem`] that names the field at fault.
pub(super) async fn read_definition(request: Request) -> Result<JobSpec, Problem> {
    let kind = content_type(&request);
    if kind != "application/json" {
        let detail = format!(
            "the content type `{}` is not read here: send `application/json`",
            shown(&kind)
        );
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
            detail,
        ));
    }
    let spec = read_spec(object(&bytes(request).await?)?, &[])?;
    match spec.fields().image {
        Some(_) => Ok(spec),
        None => {
            let detail = "`image` is missing: a definition says what a job of its name runs, such as `busybox:latest`";
            Err(Problem::field("image", "missing_field", detail))
        }
    }
}

fn object(body: &[u8]) -> Result<Map<String, Value>, Problem> {
    let object: Result<Unique, _> = serde_json::from_slice(body);
    object.map(|Unique(map)| map).map_err(|error| text::not_json(body, &error))
}

/// Reads a spec from its JSON. An error names all fields at fault. `beside` lists further fields,
/// which the error for an unknown field names as well.
fn read_spec(json: Map<String, Value>, beside: &[&str]) -> Result<JobSpec, Problem> {
    let unknown = |field: &str, _message: &str| unknown_field(field, beside);
    let fields: SpecFields = faults::read(json.clone(), unknown)
        .map_err(|unreadable| with_checks(unreadable, json.clone()))?;
    if fields.env_file.is_some() {
        let detail = "`env_file` is a file of the server's machine, so only a definition of the config file has it; give `env` instead";
        return Err(Problem::field("env_file", "config_only", detail));
    }
    JobSpec::try_from(fields).map_err(|bad| {
        let first = spec_fault(&bad);
        first.and(all_faults(bad, json, Vec::new()).into_iter().skip(1))
    })
}

fn spec_fault(bad: &BadSpec) -> Problem {
    Problem::field(bad.field, "invalid_field", bad.detail.as_str())
}

/// Adds the faults of the fields that can be read to the problem of those that cannot.
fn with_checks(unreadable: Problem, mut json: Map<String, Value>) -> Problem {
    let removed: Vec<String> = unreadable.errors.iter().map(|error| error.field.clone()).collect();
    for field in &removed {
        json.remove(field);
    }
    let rest = serde_json::from_value::<SpecFields>(Value::Object(json.clone()));
    let Ok(Err(bad)) = rest.map(JobSpec::try_from) else { return unreadable };
    unreadable.and(all_faults(bad, json, removed))
}

/// Returns all faults of a spec that begin with this one. The checks stop at the first fault, so
/// the spec is checked again without each faulty field. A fault that is due to a field that was
/// removed is left out.
fn all_faults(
    first: BadSpec,
    mut json: Map<String, Value>,
    mut removed: Vec<String>,
) -> Vec<Problem> {
    let mut faults = Vec::new();
    let mut next = Some(first);
    while let Some(bad) = next.take() {
        if !removed.iter().any(|field| bad.detail.contains(&format!("`{field}`"))) {
            faults.push(spec_fault(&bad));
        }
        if json.remove(bad.field).is_some() {
            removed.push(bad.field.to_owned());
            let rest = serde_json::from_value::<SpecFields>(Value::Object(json.clone()));
            next = rest.map(JobSpec::try_from).ok().and_then(Result::err);
        }
    }
    faults
}

fn unknown_field(field: &str, beside: &[&str]) -> Problem {
    let field = shown(field);
    Problem::field(
        &field,
        "unknown_field",
        format!(
            "there is no field `{field}`: there are {}",
            beside
                .iter()
                .chain(SpecFields::NAMES)
                .map(|name| format!("`{name}`"))
                .collect::<Vec<_>>()
                .join(", ")
        ),
    )
}

fn doubled(field: &str) -> Problem {
    Problem::field(field, "doubled_field", format!("`{field}` is given twice: give it once"))
}

fn once(place: &mut Option<String>, field: &str, value: String) -> Result<(), Problem> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(doubled(field)),
    }
}

fn text_of(map: &mut Map<String, Value>, field: &str) -> Result<Option<String>, Problem> {
    match map.remove(field) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => {
            Err(Problem::field(field, "invalid_field", format!("`{field}` has to be a text")))
        }
    }
}

fn form_of(field: &str) -> Option<Form> {
    SpecFields::REFERENCE.iter().find(|known| known.name == field).map(|known| known.form)
}

fn add_form_field(map: &mut Map<String, Value>, field: &str, value: String) -> Result<(), Problem> {
    let json = match form_of(field) {
        Some(Form::None) => {
            return Err(Problem::field(
                field,
                "invalid_field",
                format!("`{field}` cannot be said in a form: send the job as JSON"),
            ));
        }
        None => return Err(unknown_field(field, JOB_FIELDS)),
        Some(Form::List | Form::Pairs) => {
            let list = map.entry(field).or_insert_with(|| Value::Array(Vec::new()));
            if let Value::Array(entries) = list {
                entries.push(Value::String(value));
            }
            return Ok(());
        }
        Some(Form::Text) => Value::String(value),
        Some(Form::Number | Form::Flag) => scalar(field, &value)?,
    };
    match map.insert(field.to_owned(), json) {
        None => Ok(()),
        Some(_) => Err(doubled(field)),
    }
}

fn scalar(field: &str, value: &str) -> Result<Value, Problem> {
    serde_json::from_str(value.trim()).map_err(|_| {
        Problem::field(
            field,
            "invalid_field",
            format!("`{field}` is `{}`: it has to be a number, or `true` or `false`", shown(value)),
        )
    })
}

/// Removes quotes around the value. Some clients send the quotes of `--form 'job_name="JOB_A"'`
/// along.
fn unquoted(value: &str) -> String {
    let inner = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    inner.unwrap_or(value).to_owned()
}

fn content_type(request: &Request) -> String {
    let value = request
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or("");
    value.split(';').next().unwrap_or("").trim().to_ascii_lowercase()
}

pub(super) async fn bytes(request: Request) -> Result<Bytes, Problem> {
    Bytes::from_request(request, &())
        .await
        .map_err(|error| refused_body(error.status(), &error.body_text(), &error))
}

/// Returns our own problem for a body that axum refused.
fn refused_body(status: StatusCode, why: &str, cause: &(dyn Error + 'static)) -> Problem {
    match status {
        _ if has_stalled(cause) => Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            "body_timeout",
            "nothing more of the body arrived in time, so the request was given up: send it again",
        ),
        StatusCode::PAYLOAD_TOO_LARGE => Problem::new(
            status,
            "body_too_large",
            format!("the body is too large: the limit is {} KiB", MAX_BODY_BYTES / 1024),
        ),
        _ => Problem::new(
            StatusCode::BAD_REQUEST,
            "invalid_body",
            format!("the body cannot be read: {why}"),
        ),
    }
}

/// Checks whether a body could not be read because nothing more of it arrived.
fn has_stalled(cause: &(dyn Error + 'static)) -> bool {
    let mut next = Some(cause);
    while let Some(cause) = next {
        if cause.is::<TimeoutError>() {
            return true;
        }
        next = cause.source();
    }
    false
}

fn urlencoded(body: &[u8]) -> Result<Vec<(String, String)>, Problem> {
    let pairs: Vec<_> =
        text::urlencoded(body).take(MAX_FORM_FIELDS + 1).collect::<Result<_, _>>()?;
    if pairs.len() > MAX_FORM_FIELDS { Err(too_many_fields()) } else { Ok(pairs) }
}

fn too_many_fields() -> Problem {
    let detail = format!("the form has more than {MAX_FORM_FIELDS} fields");
    Problem::new(StatusCode::BAD_REQUEST, "invalid_body", detail)
}

async fn multipart(request: Request) -> Result<Vec<(String, String)>, Problem> {
    let broken = |error: MultipartError| refused_body(error.status(), &error.body_text(), &error);
    let mut parts = Multipart::from_request(request, &())
        .await
        .map_err(|error| refused_body(error.status(), &error.body_text(), &error))?;
    let mut pairs = Vec::new();
    while let Some(part) = parts.next_field().await.map_err(broken)? {
        let name = part.name().unwrap_or_default().to_owned();
        let value = part.bytes().await.map_err(broken)?;
        if pairs.len() == MAX_FORM_FIELDS {
            return Err(too_many_fields());
        }
        // Some systems begin a text file with a byte order mark, which is not part of the text.
        let value = value.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&value).to_vec();
        let value = text::utf8(&name, value, "invalid_field")?;
        pairs.push((name, value));
    }
    Ok(pairs)
}

/// Reads the one field that these calls take, from JSON or a form.
///
/// # Errors
/// Returns a [`Problem`] when the body cannot be read, repeats the field, or has another field.
pub(super) async fn read_field(
    request: Request,
    name: &'static str,
) -> Result<Option<String>, Problem> {
    let [value] = read_fields(request, [name]).await?;
    Ok(value)
}

/// Reads texts by these names, from JSON or a form. A body that is missing has none of them.
///
/// # Errors
/// Returns a [`Problem`] when the body cannot be read, repeats a field, or has another field.
pub(super) async fn read_fields<const N: usize>(
    request: Request,
    names: [&'static str; N],
) -> Result<[Option<String>; N], Problem> {
    let pairs = match content_type(&request).as_str() {
        "multipart/form-data" => multipart(request).await?,
        "application/json" => json_texts(&bytes(request).await?, &names)?,
        _ => urlencoded(&bytes(request).await?)?,
    };
    let mut found = [const { None }; N];
    for (field, value) in pairs {
        match names.iter().zip(&mut found).find(|(name, _)| **name == field) {
            Some((name, found)) => once(found, name, unquoted(&value))?,
            None => {
                let field = shown(&field);
                let known = names.map(|name| format!("`{name}`")).join(" and ");
                let detail = format!("there is no field `{field}` here: give {known}");
                return Err(Problem::field(&field, "unknown_field", detail));
            }
        }
    }
    Ok(found)
}

/// Returns the fields of a JSON object. Those of other names have no value.
fn json_texts(body: &[u8], names: &[&'static str]) -> Result<Vec<(String, String)>, Problem> {
    let mut map = if body.is_empty() { Map::new() } else { object(body)? };
    let mut pairs = Vec::new();
    for name in names {
        let value = text_of(&mut map, name)?;
        pairs.extend(value.map(|value| ((*name).to_owned(), value)));
    }
    pairs.extend(map.into_iter().map(|(field, _)| (field, String::new())));
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(pairs: &[(&str, &str)]) -> Result<NewJob, Problem> {
        let pairs = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        NewJob::from_form(pairs.collect(), &|_| None)
    }

    #[test]
    fn forms_and_json_give_the_same_job() {
        let said = form(&[
            ("job_name", "\"busybox\""),
            ("date", "30s"),
            ("command", "sh -c 'exit 7'"),
            ("env", "A=1"),
            ("env", "B=2=3"),
            ("cpus", "0.5"),
            ("init", "true"),
            ("memory", "64m"),
            ("dns", "10.0.0.1"),
            ("queue", "reports"),
            ("max_parallel", "2"),
            ("secrets", "pw"),
            ("secrets", "A=pw"),
        ]);
        let json = br#"{"job_name":"busybox","date":"30s","command":["sh","-c","exit 7"],"env":{"A":"1","B":"2=3"},"cpus":0.5,"init":true,"memory":"64MiB","dns":["10.0.0.1"],"queue":"reports","max_parallel":2,"secrets":{"/run/secrets/pw":"pw","A":"pw"}}"#;
        assert_eq!(said, NewJob::from_json(json, &|_| None));
        assert!(said.is_ok(), "{said:?}");
    }

    #[test]
    fn form_errors_name_the_field() {
        for (pairs, field, code) in [
            (vec![("date", "30s")], "job_name", "missing_field"),
            (vec![("job_name", ""), ("date", "30s")], "job_name", "invalid_job_name"),
            (vec![("job_name", "a")], "date", "missing_field"),
            (
                vec![("job_name", "a"), ("job_name", "b"), ("date", "30s")],
                "job_name",
                "doubled_field",
            ),
            (vec![("job_name", "a"), ("date", "30s"), ("date", "30s")], "date", "doubled_field"),
            (
                vec![("job_name", "a"), ("date", "30s"), ("user", "x"), ("user", "y")],
                "user",
                "doubled_field",
            ),
            (vec![("job_name", "a"), ("date", "30s"), ("comand", "x")], "comand", "unknown_field"),
            (vec![("job_name", "a"), ("date", "30s"), ("mounts", "x")], "mounts", "invalid_field"),
            (vec![("job_name", "a"), ("date", "30s"), ("cpus", "many")], "cpus", "invalid_field"),
            (vec![("job_name", "a"), ("date", "30s"), ("queue", "a b")], "queue", "invalid_field"),
            (
                vec![("job_name", "a"), ("date", "30s"), ("max_parallel", "0")],
                "max_parallel",
                "invalid_field",
            ),
            (
                vec![("job_name", "a"), ("date", "30s"), ("memory", "many")],
                "memory",
                "invalid_field",
            ),
            (vec![("job_name", "a"), ("date", "30s"), ("env", "=x")], "env", "invalid_field"),
            (
                vec![("job_name", "a"), ("date", "30s"), ("env_file", "/etc/passwd")],
                "env_file",
                "config_only",
            ),
        ] {
            let problem = form(&pairs).expect_err("is refused");
            assert_eq!(
                (problem.field.as_deref(), problem.code.as_str()),
                (Some(field), code),
                "{pairs:?}: {}",
                problem.detail
            );
        }
    }

    #[test]
    fn json_errors_name_the_field() {
        for (json, said) in [
            ("", "not a JSON object"),
            ("[]", "not a JSON object"),
            (r#"{"job_name":"a","job_name":"b","date":"1s"}"#, "`job_name` is given twice"),
            (r#"{"job_name":1,"date":"1s"}"#, "has to be a text"),
            (r#"{"job_name":"a","date":"1s","mounts":[{"type":"bind"}]}"#, "`mounts[0]`"),
            (r#"{"job_name":"a","date":"1s","frobnicate":1}"#, "`frobnicate`"),
            (r#"{"job_name":"a","date":"1s","env_file":["/etc/passwd"]}"#, "config file"),
        ] {
            let problem = NewJob::from_json(json.as_bytes(), &|_| None).expect_err("is refused");
            assert!(problem.detail.contains(said), "{json}: {}", problem.detail);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn stalled_body_is_a_timeout() {
        let never = futures::stream::pending::<Result<Bytes, std::io::Error>>();
        let body = axum::body::Body::from_stream(never);
        let body = tower_http::timeout::TimeoutBody::new(std::time::Duration::from_secs(30), body);
        let request = Request::new(axum::body::Body::new(body));
        let problem = bytes(request).await.expect_err("is given up");
        assert_eq!((problem.status, problem.code.as_str()), (408, "body_timeout"));
    }
}
