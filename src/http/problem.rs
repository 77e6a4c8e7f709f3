//! The errors that callers see: `application/problem+json` (RFC 9457) with a sentence that gives
//! the correction.
//!
//! The cause of an internal error goes only to the log. The answer carries nothing but an id that
//! finds it there.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use tracing::error;
use utoipa::ToSchema;

use crate::domain::admission::policy::Denied;
use crate::domain::job::{Map, Status};
use crate::domain::names::id::{Attempt, JobId};
use crate::domain::text::date::rfc3339;
use crate::scheduler::{ActError, OutputError, SubmitError};
use crate::store::StoreError;

/// The body of an error answer, with its status.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// A reference to the description of the code, such as `/docs#problem-no_such_job`.
    #[serde(rename = "type", default)]
    pub kind: String,
    /// The kind of error, in a few words.
    pub title: String,
    /// The HTTP status, such as 404.
    pub status: u16,
    /// A sentence about this case: the mistake and the correction.
    pub detail: String,
    /// A stable code for programs, such as `no_such_job`.
    pub code: String,
    /// The field at fault, the first one of several. `None`: no single field is at fault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// All fields at fault. Absent if no single field is at fault.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
    /// Names that exist and resemble the unknown one, at most three. Absent without any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub similar: Vec<String>,
    /// The id of the request, as in the header `X-Request-Id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// The id of the error in the server's log. `None` below 500.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_id: Option<String>,
}

/// A field at fault, with its own code and sentence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FieldError {
    /// The name of the field or parameter.
    pub field: String,
    /// A stable code for programs, such as `invalid_field`.
    pub code: String,
    /// A sentence about this field: the mistake and the correction.
    pub detail: String,
    /// A JSON pointer to the place in the body, such as `/mounts/0/target`. Absent for parameters
    /// of the path or the query.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
}

/// The codes of faults in the path or the query, where no pointer into the body exists.
const PARAMETER_CODES: &[&str] = &[
    "invalid_cursor",
    "invalid_grace",
    "invalid_name",
    "invalid_path",
    "invalid_query",
    "invalid_timeout",
];

impl Problem {
    /// Creates a problem with this status, code and sentence.
    pub fn new(status: StatusCode, code: &str, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("/docs#problem-{code}"),
            title: status.canonical_reason().unwrap_or("Error").to_owned(),
            status: status.as_u16(),
            detail: detail.into(),
            code: code.to_owned(),
            field: None,
            errors: Vec::new(),
            similar: Vec::new(),
            instance: None,
            error_id: None,
        }
    }

    /// Returns a 400 that names the field at fault.
    pub fn field(field: &str, code: &str, detail: impl Into<String>) -> Self {
        let is_parameter = PARAMETER_CODES.contains(&code);
        let pointer = (!is_parameter).then(|| pointer([field]));
        Self::new(StatusCode::BAD_REQUEST, code, detail).at(field, pointer)
    }

    /// Adds the field at fault, with the pointer to its place in the body.
    #[must_use]
    pub fn at(self, field: &str, pointer: Option<String>) -> Self {
        let (field, code, detail) = (field.to_owned(), self.code.clone(), self.detail.clone());
        let error = FieldError { field: field.clone(), code, detail, pointer };
        Self { field: Some(field), errors: vec![error], ..self }
    }

    /// Removes the pointers into the body, for a fault of a parameter.
    #[must_use]
    pub fn of_parameter(mut self) -> Self {
        self.errors.iter_mut().for_each(|error| error.pointer = None);
        self
    }

    /// Adds the names that resemble the unknown one.
    #[must_use]
    pub fn with_similar(self, similar: Vec<String>) -> Self {
        Self { similar, ..self }
    }

    /// Adds the sentences and the fields of further problems of the same body.
    #[must_use]
    pub fn and(mut self, further: impl IntoIterator<Item = Self>) -> Self {
        for problem in further {
            self.detail = format!("{}; {}", self.detail, problem.detail);
            self.errors.extend(problem.errors);
        }
        self
    }

    /// Returns a 403 that names the field which the policy does not allow.
    pub fn denied(denied: Denied) -> Self {
        Self::new(StatusCode::FORBIDDEN, "policy_denied", denied.detail).at(denied.field, None)
    }

    /// Returns a 400 for an invalid query.
    pub fn query(why: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_query", why)
    }

    /// Returns a 404 for an unknown job.
    pub fn no_job(id: &str) -> Self {
        let shown = crate::domain::text::units::shown(id);
        Self::new(
            StatusCode::NOT_FOUND,
            "no_such_job",
            format!("there is no job `{shown}`: `GET /jobs` lists those there are"),
        )
    }

    /// Returns a 5xx, and logs the cause under the id that the answer carries.
    pub fn internal(
        status: StatusCode,
        code: &str,
        detail: &str,
        cause: &dyn std::fmt::Display,
    ) -> Self {
        let error_id = uuid::Uuid::new_v4().simple().to_string();
        error!(%error_id, %cause, "a request failed");
        Self { error_id: Some(error_id), ..Self::new(status, code, detail) }
    }

    /// Returns a 409 for a call that does not fit the status of the job.
    fn conflict(id: JobId, status: Status, wanted: Wanted) -> Self {
        let detail = match (wanted, status.map()) {
            (Wanted::Cancel, Map::Running) => format!(
                "job {id} is {status}, so it cannot be taken off the schedule; stop it with `POST /job/{id}/stop`"
            ),
            (Wanted::Cancel, Map::History | Map::Scheduled) => {
                format!("job {id} is {status} already; history is kept as it is")
            }
            (Wanted::AnotherDate, _) => format!(
                "job {id} is {status}, so it cannot be given another date; run it once more with `POST /job/{id}/rerun`"
            ),
            (Wanted::Stop, Map::Scheduled) => format!(
                "job {id} is {status}, so there is nothing to stop; take it off the schedule with `DELETE /job/{id}`"
            ),
            (Wanted::Stop, Map::Running | Map::History) => {
                format!("job {id} is {status} already, so there is nothing to stop")
            }
        };
        Self::new(StatusCode::CONFLICT, &format!("job_{status}"), detail)
    }

    /// Returns the problem for a job that was not canceled.
    pub fn from_cancel(id: JobId, error: ActError) -> Self {
        Self::from_act(id, error, Wanted::Cancel)
    }

    /// Returns the problem for a job that was not rescheduled.
    pub fn from_reschedule(id: JobId, error: ActError) -> Self {
        Self::from_act(id, error, Wanted::AnotherDate)
    }

    /// Returns the problem for a job that was not stopped.
    pub fn from_stop(id: JobId, error: ActError) -> Self {
        Self::from_act(id, error, Wanted::Stop)
    }

    fn from_act(id: JobId, error: ActError, wanted: Wanted) -> Self {
        match error {
            ActError::NotFound => Self::no_job(&id.to_string()),
            ActError::Refused(status) => Self::conflict(id, status, wanted),
            ActError::Restoring => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "restoring",
                "this server's store is a restored backup, and what ran since is still being looked for; try again in a moment",
            ),
            ActError::Denied(denied) => Self::denied(denied),
            ActError::Store(error) => error.into(),
        }
    }
}

/// Returns the JSON pointer (RFC 6901) to the place with these keys.
pub(super) fn pointer<'a>(keys: impl IntoIterator<Item = &'a str>) -> String {
    keys.into_iter().map(|key| format!("/{}", key.replace('~', "~0").replace('/', "~1"))).collect()
}

/// The action that a caller requested for a job.
#[derive(Clone, Copy)]
enum Wanted {
    Cancel,
    AnotherDate,
    Stop,
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Full => Self::internal(
                StatusCode::INSUFFICIENT_STORAGE,
                "disk_full",
                "the data directory is full, so nothing was changed; make room and try again",
                &error,
            ),
            // The store has logged the loss already, once.
            StoreError::Gone(_) => Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "store_gone",
                "the server's data directory was deleted or exchanged, so nothing can be kept and nothing is started; the server's log says what to do",
            ),
            StoreError::Closed => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "stopping",
                "the server is stopping; try again in a moment",
            ),
            StoreError::Outdated | StoreError::Failed(_) | StoreError::Damaged(_) => {
                Self::internal(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "store_failed",
                    "the store failed, so nothing was changed; the server's log says why",
                    &error,
                )
            }
        }
    }
}

impl From<SubmitError> for Problem {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::Denied(denied) => Self::denied(denied),
            full @ SubmitError::TooMany(_) => {
                Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_waiting", full.to_string())
            }
            SubmitError::Unfit(bad) => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "cannot_be_run", bad.detail)
                    .at(bad.field, None)
            }
            SubmitError::Store(error) => error.into(),
        }
    }
}

impl From<OutputError> for Problem {
    fn from(error: OutputError) -> Self {
        match error {
            OutputError::NotFound => Self::new(
                StatusCode::NOT_FOUND,
                "no_such_job",
                "there is no such job: `GET /jobs` lists those there are",
            ),
            OutputError::NoAttempt { attempt, last, kept } => Self::new(
                StatusCode::NOT_FOUND,
                "no_such_attempt",
                no_attempt(attempt, last, &kept),
            ),
            OutputError::Gone(attempt) => Self::new(
                StatusCode::GONE,
                "log_gone",
                format!(
                    "the output of attempt {attempt} is no longer there: its file or its container was deleted"
                ),
            ),
            OutputError::Unreachable { since, .. } => {
                let since = since.map(|since| format!(" since {}", rfc3339(since)));
                let detail = format!(
                    "the output is on the engine, and the engine does not answer{}; try again when `GET /readyz` is green",
                    since.unwrap_or_default()
                );
                Self::internal(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "engine_unreachable",
                    &detail,
                    &error,
                )
            }
            OutputError::Store(error) => error.into(),
        }
    }
}

/// Says which attempts there are.
fn no_attempt(attempt: Attempt, last: Attempt, kept: &[Attempt]) -> String {
    let numbers: Vec<String> = kept.iter().map(ToString::to_string).collect();
    let kept = match numbers.as_slice() {
        [] => "no output is kept".to_owned(),
        [one] => format!("there is output of attempt {one}"),
        many => format!("there is output of attempts {}", many.join(", ")),
    };
    match last.0 {
        0 => "the job has had no attempt yet: leave `attempt` out, or try again later".to_owned(),
        _ if attempt <= last => format!("attempt {attempt} has no output; {kept}"),
        1 => format!("there is no attempt {attempt}: the job has had 1 attempt; {kept}"),
        _ => format!("there is no attempt {attempt}: the job has had {last} attempts; {kept}"),
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(&self)).into_response();
        // The outermost layer writes the body again, with the id of the request.
        response.extensions_mut().insert(self);
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        response
    }
}
