//! The pages of definitions: the list, and one definition with its spec.

use askama::Template;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;

use super::links::Links;
use super::shell::{Part, Shell, render};
use super::words::Moment;
use crate::domain::names::image::{BadName, JobName};
use crate::http::problem::Problem;
use crate::http::state::Api;

struct Row {
    name: String,
    href: String,
    image: String,
    changed: Option<Moment>,
    run: String,
}

#[derive(Template)]
#[template(path = "definitions.html")]
struct DefinitionsPage {
    shell: Shell,
    rows: Vec<Row>,
    example: String,
}

#[derive(Template)]
#[template(path = "definition.html")]
struct DefinitionPage {
    shell: Shell,
    name: String,
    is_of_config: bool,
    changed: Option<Moment>,
    spec: String,
    run: String,
    schedule_it: String,
    jobs: String,
}

/// Answers `GET /definitions` for a browser.
pub(super) async fn page(State(api): State<Api>) -> Result<Response, Problem> {
    let (links, clock) = (api.links(), api.clock());
    let mut rows = Vec::new();
    api.scheduler
        .each_definition(|defined| {
            rows.push(Row {
                href: links.definition(&defined.name),
                image: defined
                    .spec
                    .fields()
                    .image
                    .as_ref()
                    .map(ToString::to_string)
                    .unwrap_or_default(),
                changed: defined.kept.map(|(_, at)| clock.moment(at)),
                run: Links::with_query(&links.new_job(), &[("job_name", &defined.name)]),
                name: defined.name,
            });
        })
        .await?;
    rows.sort_by(|a, b| a.name.cmp(&b.name));
    let address = links.definition("JOB_A");
    render(&DefinitionsPage {
        shell: api.shell("Definitions", Part::Definitions).await?,
        rows,
        example: format!(
            "curl -X PUT localhost:8888{address} --json '{{\"image\": \"busybox:latest\", \"command\": \"echo hello\"}}'"
        ),
    })
}

/// Answers `GET /definition/{name}` for a browser.
pub(super) async fn one(
    State(api): State<Api>,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    let name: JobName = name
        .parse()
        .map_err(|error: BadName| Problem::field("name", "invalid_name", error.to_string()))?;
    let found = api.scheduler.definition(&name).await?.ok_or_else(|| {
        let detail = format!("there is no definition `{name}`: it may be the name of an image");
        Problem::new(StatusCode::NOT_FOUND, "no_such_definition", detail)
    })?;
    let (links, clock) = (api.links(), api.clock());
    let with_name = |address: &str| Links::with_query(address, &[("job_name", name.as_str())]);
    render(&DefinitionPage {
        shell: api.shell(name.as_str(), Part::Definitions).await?,
        is_of_config: found.kept.is_none(),
        changed: found.kept.map(|(_, at)| clock.moment(at)),
        spec: serde_json::to_string_pretty(&found.spec).unwrap_or_default(),
        run: with_name(&links.new_job()),
        schedule_it: with_name(&links.new_schedule()),
        jobs: with_name(&links.jobs()),
        name: name.to_string(),
    })
}
