//! The answer 201 for an accepted job, with its address.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::http::views::DoneView;

pub(in crate::http) fn created(done: DoneView) -> Response {
    let location = HeaderValue::from_str(&format!("/job/{}", done.id));
    let mut response = (StatusCode::CREATED, Json(done)).into_response();
    if let Ok(location) = location {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}
