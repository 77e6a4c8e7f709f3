//! Builds the OpenAPI document from the table of calls and the schemas.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::table::{Answer, Body, Call, Content, Parameter};
use super::{calls, fields, schemas};

/// The codes of problems that any call can answer.
const ANYWHERE: &[(u16, &[&str])] = &[
    (400, &["invalid_query", "invalid_path"]),
    (401, &["unauthorized"]),
    (403, &["host_not_allowed", "cross_site"]),
    (500, &["internal", "store_failed", "store_gone"]),
    (503, &["stopping"]),
];
/// The codes that a call with a body can answer as well.
const WITH_BODY: &[(u16, &[&str])] = &[(408, &["body_timeout"]), (413, &["body_too_large"])];
/// The codes that a call that changes something can answer as well.
const WITH_CHANGE: &[(u16, &[&str])] = &[(507, &["disk_full"])];
/// The calls that need no token.
const OPEN: [&str; 2] = ["/healthz", "/readyz"];

/// Returns the whole document.
pub(super) fn build() -> Value {
    let mut paths: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    for call in calls::all() {
        paths.entry(call.path).or_default().insert(call.method.to_owned(), operation(call));
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Tidetable",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "Runs container images when they are due.",
            "license": {"name": "MIT OR Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{}, {"token": []}],
        "tags": [
            {"name": "jobs", "description": "Submit, list, change and read jobs."},
            {"name": "schedules", "description": "Recurrences, and what became of their ticks."},
            {"name": "definitions", "description": "Named templates of jobs."},
            {"name": "future", "description": "What will run, and when."},
            {"name": "server", "description": "The server itself."},
        ],
        "paths": paths,
        "components": {
            "schemas": schemas::all(),
            "headers": headers(),
            "securitySchemes": {"token": {
                "type": "http", "scheme": "bearer",
                "description": "A token of the token file. Without one, the server needs none.",
            }},
        },
    })
}

fn operation(call: &Call) -> Value {
    let mut operation = json!({
        "operationId": call.id,
        "tags": [call.tag],
        "summary": call.summary,
        "responses": responses(call),
        "x-codeSamples": samples(call),
    });
    if !call.parameters.is_empty() {
        operation["parameters"] = call.parameters.iter().map(parameter).collect();
    }
    if let Some(body) = &call.body {
        operation["requestBody"] = request_body(body);
    }
    if OPEN.contains(&call.path) {
        operation["security"] = json!([{}]);
    }
    operation
}

fn samples(call: &Call) -> Value {
    let curl = json!({"lang": "Shell", "label": "curl", "source": format!("curl {}", call.curl)});
    let cli = json!({"lang": "Shell", "label": "tidetable", "source": call.cli});
    if call.cli.is_empty() { json!([curl]) } else { json!([curl, cli]) }
}

fn parameter(parameter: &Parameter) -> Value {
    json!({
        "name": parameter.name,
        "in": parameter.place,
        "required": parameter.place == "path",
        "description": parameter.doc,
        "schema": json_of(parameter.schema),
    })
}

/// Parses JSON that is written in the table. A test refuses text that is no JSON.
fn json_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_default()
}

fn request_body(body: &Body) -> Value {
    let schema = json!({"$ref": reference(body.schema)});
    let media = json!({"schema": schema, "example": json_of(body.example)});
    let mut content = Map::from_iter([("application/json".to_owned(), media)]);
    if body.form {
        let form = json!({"schema": form_of(body.schema)});
        content.insert("application/x-www-form-urlencoded".to_owned(), form.clone());
        content.insert("multipart/form-data".to_owned(), form);
    }
    json!({"required": body.required, "content": content})
}

/// Returns the schema of a form: the fields that a form can give as one text each.
fn form_of(schema: &str) -> Value {
    let all = schemas::all();
    let names = ["job_name", "date", "job_id", "command", "timeout", "queue", "memory", "pull"];
    let mut form = all.get(schema).cloned().unwrap_or_default();
    if let Some(properties) = form["properties"].as_object_mut() {
        properties.retain(|name, _| names.contains(&name.as_str()));
        if let Some(command) = properties.get_mut("command") {
            *command = command["oneOf"][1].take();
        }
        properties.values_mut().for_each(|field| *field = fields::never_null(field.take()));
    }
    if let Some(form) = form.as_object_mut() {
        form.remove("allOf");
    }
    form
}

fn reference(schema: &str) -> String {
    format!("#/components/schemas/{schema}")
}

fn responses(call: &Call) -> Value {
    let mut responses: Map<String, Value> = call.answers.iter().map(response).collect();
    let mut codes: BTreeMap<u16, Vec<&str>> = BTreeMap::new();
    let body = call.body.map_or(&[][..], |_| WITH_BODY);
    let change = if call.method == "get" { &[][..] } else { WITH_CHANGE };
    for (status, more) in call.problems.iter().chain(ANYWHERE).chain(body).chain(change) {
        codes.entry(*status).or_default().extend(*more);
    }
    for (status, codes) in codes {
        add_problem(&mut responses, status, &codes);
    }
    Value::Object(responses)
}

fn response(answer: &Answer) -> (String, Value) {
    let content = match answer.content {
        Content::Nothing => Value::Null,
        Content::Json(schema) => {
            json!({"application/json": {"schema": {"$ref": reference(schema)}}})
        }
        Content::Text(kinds) => {
            let media = json!({"schema": {"type": "string"}});
            kinds.iter().map(|kind| ((*kind).to_owned(), media.clone())).collect()
        }
    };
    let mut response = json!({"description": answer.doc, "headers": header_references(answer)});
    if !content.is_null() {
        response["content"] = content;
    }
    (answer.status.to_string(), response)
}

fn header_references(answer: &Answer) -> Value {
    let names = ["X-Request-Id"].iter().chain(answer.headers);
    names
        .map(|name| ((*name).to_owned(), json!({"$ref": format!("#/components/headers/{name}")})))
        .collect()
}

/// Adds the problems with this status to the answers.
fn add_problem(responses: &mut Map<String, Value>, status: u16, codes: &[&str]) {
    let list = codes.iter().map(|code| format!("`{code}`")).collect::<Vec<_>>().join(", ");
    let mut headers = json!({"X-Request-Id": {"$ref": "#/components/headers/X-Request-Id"}});
    if matches!(status, 429 | 503) {
        headers["Retry-After"] = json!({"$ref": "#/components/headers/Retry-After"});
    }
    let description = format!("A problem: {list}.");
    let entry = responses
        .entry(status.to_string())
        .or_insert_with(|| json!({"description": description, "headers": headers, "content": {}}));
    entry["content"]["application/problem+json"] =
        json!({"schema": {"$ref": reference("Problem")}});
    entry["x-problems"] = json!(codes);
}

fn headers() -> Value {
    let text = |doc: &str| json!({"description": doc, "schema": {"type": "string"}});
    json!({
        "X-Request-Id": text("The id of the request: the caller's, else a new one."),
        "ETag": text("The version of the content, for `If-Match` or `If-None-Match`."),
        "Location": text("The address of the new job."),
        "Retry-After": text("The number of seconds after which another try is worthwhile."),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_holds_valid_json() {
        for call in calls::all() {
            for parameter in call.parameters {
                let schema: Result<Value, _> = serde_json::from_str(parameter.schema);
                assert!(schema.is_ok(), "{} of {}: {schema:?}", parameter.name, call.id);
            }
            if let Some(body) = call.body {
                let example: Result<Value, _> = serde_json::from_str(body.example);
                assert!(example.is_ok(), "{}: {example:?}", call.id);
                assert!(schemas::all().contains_key(body.schema), "{}", body.schema);
            }
        }
    }

    #[test]
    fn operation_ids_are_unique() {
        let mut ids: Vec<&str> = calls::all().map(|call| call.id).collect();
        let count = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), count);
    }

    #[test]
    fn every_reference_leads_to_a_schema() {
        fn walk(value: &Value, found: &mut Vec<String>) {
            match value {
                Value::Object(map) => {
                    found.extend(map.get("$ref").and_then(Value::as_str).map(str::to_owned));
                    map.values().for_each(|value| walk(value, found));
                }
                Value::Array(list) => list.iter().for_each(|value| walk(value, found)),
                _ => {}
            }
        }
        let document = build();
        let mut references = Vec::new();
        walk(&document, &mut references);
        for reference in references {
            let pointer = reference.trim_start_matches('#');
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
    }
}
