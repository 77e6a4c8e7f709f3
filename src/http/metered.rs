//! Counts and measures every HTTP answer, refused requests included.
//!
//! The label `route` is the template of the path, such as `/job/{id}`. A request that reaches no
//! route has `other`, whatever its path. So callers cannot make up series.

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{Method, header};
use axum::middleware::Next;
use axum::response::Response;
use futures::StreamExt;
use tokio::time::Instant;

use super::auth::guard::Refused;
use crate::metrics::Metrics;

/// The template of the route that answered, as an extension of the answer.
#[derive(Clone)]
struct Route(MatchedPath);

/// Adds the route to the answer. This layer has to be inside of the router's routes.
pub(super) async fn note_route(
    route: Option<MatchedPath>,
    request: Request,
    next: Next,
) -> Response {
    let mut answer = next.run(request).await;
    if let Some(route) = route {
        answer.extensions_mut().insert(Route(route));
    }
    answer
}

/// Counts the answer. This layer has to be outside of the guard.
pub(super) async fn measure(
    State(metrics): State<Metrics>,
    request: Request,
    next: Next,
) -> Response {
    let (begun, method) = (Instant::now(), standard(request.method()));
    let answer = next.run(request).await;
    let route = answer.extensions().get::<Route>().map_or("other", |route| route.0.as_str());
    metrics.answered(route, method, answer.status().as_u16(), begun.elapsed());
    if let Some(Refused(code)) = answer.extensions().get() {
        metrics.refused(code);
    }
    if is_stream(&answer) { counted(answer, &metrics) } else { answer }
}

/// Returns the method if it is a standard one, else `other`.
fn standard(method: &Method) -> &'static str {
    const STANDARD: [&str; 9] =
        ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "CONNECT", "TRACE"];
    STANDARD.into_iter().find(|known| *known == method.as_str()).unwrap_or("other")
}

fn is_stream(answer: &Response) -> bool {
    let kind = answer.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    kind.is_some_and(|kind| {
        ["text/event-stream", "application/x-ndjson"].iter().any(|stream| kind.starts_with(stream))
    })
}

/// Counts the answer as a stream until its body is at its end or dropped.
fn counted(answer: Response, metrics: &Metrics) -> Response {
    let streaming = metrics.streaming();
    answer.map(|body| {
        let data = body.into_data_stream();
        Body::from_stream(data.inspect(move |_| {
            let _counted_while_it_lives = &streaming;
        }))
    })
}
