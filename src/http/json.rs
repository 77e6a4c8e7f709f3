//! Reads a JSON body into a type that refuses unknown fields. An error names the field at fault.

use axum::extract::Request;
use serde::de::DeserializeOwned;

use super::body::bytes;
use super::faults;
use super::problem::Problem;
use super::text;
use super::unique::Unique;
use crate::domain::text::units::shown;

/// Reads the body and ignores its `Content-Type`, because these calls take only JSON.
///
/// # Errors
/// Returns a [`Problem`] that names all fields at fault.
pub(super) async fn read<T: DeserializeOwned>(request: Request) -> Result<T, Problem> {
    let body = bytes(request).await?;
    let Unique(map) =
        serde_json::from_slice(&body).map_err(|error| text::not_json(&body, &error))?;
    faults::read(map, |field, message| {
        let detail = format!("there is no such field: {message}");
        Problem::field(&shown(field), "unknown_field", detail)
    })
}
