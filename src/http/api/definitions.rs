//! Shows, lists, writes and removes definitions. A definition in the config file can be read here,
//! but it is changed in the file.
//!
//! A definition in the store has an `ETag` that no other revision ever has. `If-Match` replaces
//! only the revision that the caller has seen. `If-None-Match: *` writes only if there is no
//! definition yet.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};

use crate::domain::names::image::JobName;
use crate::http::auth::guard::Admitted;
use crate::http::body::read_definition;
use crate::http::etag::{expected, tag, tagged};
use crate::http::problem::Problem;
use crate::http::query::{ChangeQuery, KnownQuery, NoQuery};
use crate::http::state::Api;
use crate::http::views::{DefinitionView, DefinitionsView, NotedView};
use crate::scheduler::{DefineError, Defined};
use crate::store::{Revision, StoreError};

/// Answers `GET /definitions`: the definitions of the config file and of the store.
pub(in crate::http) async fn list(
    State(api): State<Api>,
    _: KnownQuery<NoQuery>,
) -> Result<Json<DefinitionsView>, Problem> {
    let mut definitions = BTreeMap::new();
    api.scheduler
        .each_definition(|defined| {
            let view =
                DefinitionView::of(&defined, defined.kept.map(|(revision, _)| tag(revision.0)));
            definitions.insert(defined.name, view);
        })
        .await?;
    Ok(Json(DefinitionsView { definitions }))
}

/// Answers `GET /definition/{name}` with the spec in the form that `PUT` takes.
pub(in crate::http) async fn show(
    State(api): State<Api>,
    Path(name): Path<String>,
    _: KnownQuery<NoQuery>,
) -> Result<Response, Problem> {
    let name = read_name(&name)?;
    let Some(Defined { spec, kept, .. }) = api.scheduler.definition(&name).await? else {
        return Err(api.near_definitions(name.as_str(), no_definition(&name)).await);
    };
    let response = Json(spec).into_response();
    Ok(match kept {
        Some((revision, _)) => tagged(response, revision.0),
        None => response,
    })
}

/// Answers `PUT /definition/{name}`: 201 for a new definition, 200 for a replaced one.
pub(in crate::http) async fn put(
    State(api): State<Api>,
    Path(name): Path<String>,
    by: Admitted,
    KnownQuery(query): KnownQuery<ChangeQuery>,
    request: Request,
) -> Result<Response, Problem> {
    let name = read_name(&name)?;
    let expected = expected(request.headers(), Revision)?;
    let spec = read_definition(request).await?;
    let known = api.scheduler.definition(&name).await?.is_some();
    if query.dry_run.0 {
        let would = api.scheduler.would_define(&name, &spec, expected).await;
        would.map_err(|error| Problem::from_define(&name, error))?;
        let would = match known {
            true => format!("definition {name} would be replaced"),
            false => format!("definition {name} would be added"),
        };
        let warning = api.scheduler.definition_warnings(&name, &spec).await;
        return Ok(Json(noted(&name, would.clone(), warning, Some(would))).into_response());
    }
    let revision = api
        .scheduler
        .define(&by.caller, &name, &spec, expected)
        .await
        .map_err(|error| Problem::from_define(&name, error))?;
    let warning = api.scheduler.definition_warnings(&name, &spec).await;
    let noted = noted(&name, format!("definition {name} is kept"), warning, None);
    let status = if known { StatusCode::OK } else { StatusCode::CREATED };
    Ok(tagged((status, Json(noted)).into_response(), revision.0))
}

/// Answers `DELETE /definition/{name}` for a definition in the store.
pub(in crate::http) async fn remove(
    State(api): State<Api>,
    Path(name): Path<String>,
    by: Admitted,
    KnownQuery(query): KnownQuery<ChangeQuery>,
    headers: HeaderMap,
) -> Result<Json<NotedView>, Problem> {
    let name = read_name(&name)?;
    let expected = expected(&headers, Revision)?;
    let (result, would) = if query.dry_run.0 {
        let would = format!("definition {name} would be removed");
        (api.scheduler.would_undefine(&name, expected).await, Some(would))
    } else {
        (api.scheduler.undefine(&by.caller, &name, expected).await, None)
    };
    if let Err(error) = result {
        let problem = Problem::from_define(&name, error);
        return Err(api.near_definitions(name.as_str(), problem).await);
    }
    let message = would.clone().unwrap_or_else(|| format!("definition {name} is removed"));
    Ok(Json(noted(&name, message, None, would)))
}

fn noted(
    name: &JobName,
    message: String,
    warning: Option<String>,
    would: Option<String>,
) -> NotedView {
    let warnings = warning.iter().cloned().collect();
    NotedView { message, name: name.to_string(), warning, warnings, would }
}

fn read_name(text: &str) -> Result<JobName, Problem> {
    text.parse().map_err(|error: crate::domain::names::image::BadName| {
        Problem::field("name", "invalid_name", error.to_string())
    })
}

fn no_definition(name: &JobName) -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "no_such_definition",
        format!("there is no definition `{name}`: `GET /definitions` lists those there are"),
    )
}

impl Problem {
    /// Returns the problem for a definition that was not changed.
    fn from_define(name: &JobName, error: DefineError) -> Self {
        match error {
            DefineError::InConfig => Self::new(
                StatusCode::CONFLICT,
                "defined_in_config",
                format!(
                    "the definition `{name}` is in the server's config file: change it there, or choose another name"
                ),
            ),
            DefineError::NotFound => no_definition(name),
            DefineError::Denied(denied) => Self::denied(denied),
            DefineError::Store(StoreError::Outdated) => Self::new(
                StatusCode::PRECONDITION_FAILED,
                "definition_changed",
                format!(
                    "the definition `{name}` is not what the request takes it to be: read it again, then send its `ETag` as `If-Match`"
                ),
            ),
            DefineError::Store(failure) => failure.into(),
        }
    }
}
