//! The form for a new job. It begins with the job and the date alone, and says in words what will
//! happen before it is sent.

use askama::Template;
use axum::extract::{Query, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;

use super::form::{Field, Values, point_out, spec_fields};
use super::shell::{Part, Shell, text};
use crate::domain::job::origin::Origin;
use crate::http::auth::guard::Admitted;
use crate::http::body::NewJob;
use crate::http::problem::Problem;
use crate::http::state::Api;
use crate::scheduler::JobRequest;

/// The most names that a form suggests.
const SUGGESTED: usize = 200;

/// The query of the form: values to begin with.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Begin {
    job_name: String,
    date: String,
}

#[derive(Template)]
#[template(path = "job_form.html")]
struct JobForm {
    shell: Shell,
    action: String,
    fields: Vec<Field>,
    common: Vec<Field>,
    others: Vec<Field>,
    others_open: bool,
    says: String,
    warnings: Vec<String>,
    error: String,
    names: Vec<String>,
}

/// Answers `GET /job` with the form.
pub(super) async fn page(
    State(api): State<Api>,
    Query(begin): Query<Begin>,
) -> Result<Response, Problem> {
    let mut values = Values::default();
    values.set("job_name", begin.job_name);
    values.set("date", if begin.date.is_empty() { "now" } else { &begin.date });
    let form = api.job_form(&values, Preview::default(), None).await?;
    Ok((StatusCode::OK, axum::response::Html(form)).into_response())
}

/// What the job would do.
#[derive(Default)]
struct Preview {
    says: String,
    warnings: Vec<String>,
}

/// Answers `POST /job` of a browser: submits the job and shows it, or shows the form again with
/// what would happen, or with the error.
pub(super) async fn submit(
    State(api): State<Api>,
    by: Admitted,
    request: Request,
) -> Result<Response, Problem> {
    let values = Values::read(request).await?;
    let is_preview = values.get("do") == "preview";
    let (status, form) = match api.try_job(&by, &values, is_preview).await {
        Ok(Outcome::Accepted(id)) => return Ok(Redirect::to(&format!("/job/{id}")).into_response()),
        Ok(Outcome::Preview(preview)) => {
            (StatusCode::OK, api.job_form(&values, preview, None).await?)
        }
        Err(problem) => {
            let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::BAD_REQUEST);
            (status, api.job_form(&values, Preview::default(), Some(&problem)).await?)
        }
    };
    Ok((status, axum::response::Html(form)).into_response())
}

enum Outcome {
    Accepted(String),
    Preview(Preview),
}

impl Api {
    async fn try_job(
        &self,
        by: &Admitted,
        values: &Values,
        is_preview: bool,
    ) -> Result<Outcome, Problem> {
        let own = ["job_name", "date"]
            .map(|name| (name.to_owned(), values.get(name).to_owned()))
            .into_iter()
            .filter(|(_, value)| !value.is_empty());
        let pairs = own.chain(values.of_spec()).collect();
        let new = NewJob::from_form(pairs, &|date| self.due(date).err())?;
        let due = self.due(&new.date)?;
        self.scheduler.may_write(&new.spec).map_err(Problem::denied)?;
        let origin = Origin::Api;
        let request = JobRequest { name: new.name, spec: new.spec, due_at: due.at, origin };
        if !is_preview {
            let accepted = self.scheduler.submit(&by.caller, request).await?;
            return Ok(Outcome::Accepted(accepted.job.id.to_string()));
        }
        let accepted = self.scheduler.prepare(&by.caller, request).await?;
        let fields = accepted.job.spec.fields();
        let clock = self.clock();
        let image = fields.image.as_ref().map_or("what it is defined as by then", |it| it.as_str());
        let says = format!(
            "Runs {image} {}, at {} ({}).",
            clock.distance(due.at),
            clock.clock(due.at),
            clock.zone.name()
        );
        Ok(Outcome::Preview(Preview { says, warnings: accepted.warnings }))
    }

    async fn job_form(
        &self,
        values: &Values,
        preview: Preview,
        problem: Option<&Problem>,
    ) -> Result<String, Problem> {
        let mut fields = vec![
            Field::new("job_name", "Job", values)
                .hint("A definition, or an image such as busybox:latest.")
                .placeholder("busybox:latest")
                .list("names")
                .required(),
            Field::new("date", "When", values)
                .hint("now, a delay such as 30s or 2h, a time such as 13:25, or a date such as 20-06-2027 13:25.")
                .placeholder("30s")
                .required(),
        ];
        let (mut common, mut others) = spec_fields(values);
        let error = problem
            .and_then(|problem| point_out(problem, &mut [&mut fields, &mut common, &mut others]))
            .unwrap_or_default();
        text(&JobForm {
            shell: self.shell("New job", Part::Other).await?,
            action: self.links().new_job(),
            others_open: others
                .iter()
                .any(|field| !field.value.is_empty() || !field.error.is_empty()),
            fields,
            common,
            others,
            says: preview.says,
            warnings: preview.warnings,
            error,
            names: self.names().await?,
        })
    }

    /// Returns the names of definitions, as suggestions.
    pub(super) async fn names(&self) -> Result<Vec<String>, Problem> {
        let mut names = Vec::new();
        self.scheduler.each_definition(|defined| names.push(defined.name)).await?;
        names.truncate(SUGGESTED);
        Ok(names)
    }
}
