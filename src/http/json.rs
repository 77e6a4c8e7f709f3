//! Reads a JSON body into a type that refuses unknown fields. An error names the field at fault.

use axum::extract::Request;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::body::bytes;
use super::problem::Problem;
use super::text;
use super::unique::Unique;

/// Reads the body and ignores its `Content-Type`, because these calls take only JSON.
///
/// # Errors
/// Returns a [`Problem`] that names the field at fault.
pub(super) async fn read<T: DeserializeOwned>(request: Request) -> Result<T, Problem> {
    let body = bytes(request).await?;
    let Unique(map) =
        serde_json::from_slice(&body).map_err(|error| text::not_json(&body, &error))?;
    from_map(map)
}

/// Reads the fields of an object.
///
/// # Errors
/// Returns a [`Problem`] that names the field at fault.
pub(super) fn from_map<T: DeserializeOwned>(map: Map<String, Value>) -> Result<T, Problem> {
    serde_path_to_error::deserialize(Value::Object(map)).map_err(|error| {
        let (message, path) = (error.inner().to_string(), error.path().to_string());
        let Some(unknown) =
            message.strip_prefix("unknown field `").and_then(|rest| rest.split('`').next())
        else {
            let field = path.split(['.', '[']).next().unwrap_or(&path);
            return Problem::field(
                field,
                "invalid_field",
                format!("`{path}` is not right: {message}"),
            );
        };
        Problem::field(unknown, "unknown_field", format!("there is no such field: {message}"))
    })
}
