//! Decides which answer is a page, and turns errors into pages for browsers.
//!
//! Only an `Accept` that names `text/html` gets a page. `*/*`, `application/json` and a missing
//! header get the API's answer, as before there were pages. `Vary: Accept` tells caches.

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header, uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tower::ServiceExt as _;
use tower_http::request_id::RequestId;

use super::links::{BasePath, Links};
use super::shell;
use crate::http::problem::Problem;

/// The policy of every page: everything from this server, nothing inline. Text becomes HTML only
/// in the script's one policy, `tide`.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
     img-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; \
     frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types tide";

/// The headers of every page. With `no-referrer`, a browser would send forms with `Origin: null`,
/// which the guard refuses.
const PAGE_HEADERS: [(HeaderName, &str); 6] = [
    (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "same-origin"),
    (header::CACHE_CONTROL, "no-cache"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
];

/// Answers with a page where the caller asks for HTML, else with the API's answer.
pub(in crate::http) async fn choose(
    State(pages): State<Router>,
    request: Request,
    next: Next,
) -> Response {
    let is_page = wants_html(request.headers())
        && matches!(*request.method(), Method::GET | Method::HEAD | Method::POST);
    let mut response = match is_page {
        true => pages.oneshot(request).await.into_response(),
        false => next.run(request).await,
    };
    response.headers_mut().append(header::VARY, HeaderValue::from_static("accept"));
    response
}

/// Shows problems as pages to callers that ask for HTML, and adds the headers of a page.
pub(in crate::http) async fn show_problems(
    State(base): State<BasePath>,
    request: Request,
    next: Next,
) -> Response {
    let wants_html = wants_html(request.headers());
    let id = request.extensions().get::<RequestId>().cloned();
    let mut response = next.run(request).await;
    let is_page = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"));
    if is_page {
        return with_page_headers(response);
    }
    // The outer layer would write a problem that is left in the extensions again, as JSON.
    match response.extensions_mut().get::<Problem>().is_some() && wants_html {
        true => with_page_headers(problem_page(response, id, &Links(base))),
        false => response,
    }
}

fn with_page_headers(mut response: Response) -> Response {
    for (name, value) in PAGE_HEADERS {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

fn problem_page(mut response: Response, id: Option<RequestId>, links: &Links) -> Response {
    let Some(problem) = response.extensions_mut().remove::<Problem>() else { return response };
    let instance = id.and_then(|id| id.header_value().to_str().map(str::to_owned).ok());
    let page = shell::problem(&Problem { instance, ..problem }, links);
    let (mut parts, _) = response.into_parts();
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.remove(header::CONTENT_TYPE);
    let mut answer = (parts.status, page).into_response();
    answer.headers_mut().extend(parts.headers);
    answer
}

/// Serves every path also below the base path, and writes redirects below it. A reverse proxy may
/// pass the base path on or remove it.
pub(in crate::http) async fn below_base(
    State(base): State<BasePath>,
    mut request: Request,
    next: Next,
) -> Response {
    if let Some(path) = base.below(request.uri().path()) {
        let path = if path.is_empty() { "/" } else { path };
        let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
        let mut parts: uri::Parts = request.uri().clone().into_parts();
        // A part of a valid path with its own query is valid.
        parts.path_and_query = format!("{path}{query}").parse().ok();
        if let Ok(uri) = Uri::from_parts(parts) {
            *request.uri_mut() = uri;
        }
    }
    let mut response = next.run(request).await;
    let location = response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
    let moved = location
        .filter(|path| path.starts_with('/') && !base.as_str().is_empty())
        .and_then(|path| HeaderValue::from_str(&format!("{}{path}", base.as_str())).ok());
    if let Some(moved) = moved {
        response.headers_mut().insert(header::LOCATION, moved);
    }
    response
}

/// Checks whether the caller names `text/html`, and does not prefer JSON.
fn wants_html(headers: &HeaderMap) -> bool {
    let lists = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let (mut html, mut json) = (None, None);
    for range in lists.flat_map(|list| list.split(',')) {
        let mut parts = range.split(';').map(str::trim);
        let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
        let weight = parts.find_map(|part| part.strip_prefix("q=")?.parse().ok()).unwrap_or(1.0);
        match kind.as_str() {
            "text/html" => html = Some(weight),
            "application/json" => json = Some(weight),
            _ => {}
        }
    }
    html.is_some_and(|html: f32| html > 0.0 && html >= json.unwrap_or(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_accept_with_html_gets_a_page() {
        for (accept, page) in [
            ("text/html", true),
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", true),
            ("TEXT/HTML;charset=utf-8", true),
            ("application/json, text/html;q=0.5", false),
            ("text/html;q=0", false),
            ("*/*", false),
            ("text/*", false),
            ("application/json", false),
            ("", false),
        ] {
            let headers =
                [(header::ACCEPT, HeaderValue::from_static(accept))].into_iter().collect();
            assert_eq!(wants_html(&headers), page, "{accept}");
        }
        assert!(!wants_html(&HeaderMap::new()));
    }
}
