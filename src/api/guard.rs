//! Who may call.
//!
//! With a valid bearer token: everybody. Without tokens (on loopback, or where the config says so): everybody on the
//! machine, but not every web page that is open on it. A page can send a form to `localhost:8888`, or make its own name
//! resolve to this address; so without a token the `Host` has to be one of ours, and a request that a browser marks as
//! coming from elsewhere is refused. A page cannot know a token, so with one neither check is needed.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::error::Problem;

/// Paths that tell nothing and are asked by machines that have no token.
const OPEN: [&str; 2] = ["/healthz", "/readyz"];

/// Who calls: a hash of the token, or of nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Caller(pub(super) [u8; 32]);

/// The rules.
#[derive(Clone, Debug, Default)]
pub struct Guard {
    /// Hashes of the tokens; with none, no token is asked for.
    tokens: Vec<[u8; 32]>,
    /// Names beside loopback under which the server may be addressed without a token.
    hosts: Vec<String>,
}

impl Guard {
    /// Rules with these tokens (none: no token is asked for) and these names beside loopback.
    pub fn new(
        tokens: impl IntoIterator<Item = String>,
        hosts: impl IntoIterator<Item = String>,
    ) -> Self {
        Self {
            tokens: tokens.into_iter().map(|token| hash(token.as_bytes())).collect(),
            hosts: hosts.into_iter().map(|host| host.to_ascii_lowercase()).collect(),
        }
    }

    fn check(&self, uri: &Uri, headers: &HeaderMap) -> Result<Caller, Problem> {
        if let Some(token) = self.token(headers) {
            return Ok(Caller(token));
        }
        let nobody = Caller(hash(b""));
        if OPEN.contains(&uri.path()) {
            return Ok(nobody);
        }
        if !self.tokens.is_empty() {
            return Err(Problem::new(
                StatusCode::UNAUTHORIZED,
                "unauthorized",
                "a token is needed: send it as `Authorization: Bearer …`",
            ));
        }
        let host = text(headers, &header::HOST)
            .or_else(|| uri.authority().map(|authority| authority.as_str()))
            .unwrap_or("");
        self.check_host(host)?;
        check_origin(headers, host)?;
        Ok(nobody)
    }

    /// The hash of a valid token. All tokens are compared, each in constant time.
    fn token(&self, headers: &HeaderMap) -> Option<[u8; 32]> {
        let given = text(headers, &header::AUTHORIZATION)
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))?;
        let given = hash(given.1.trim().as_bytes());
        let known =
            self.tokens.iter().fold(false, |found, token| found | bool::from(token.ct_eq(&given)));
        known.then_some(given)
    }

    fn check_host(&self, host: &str) -> Result<(), Problem> {
        let name = host_name(host);
        let is_loopback = name == "localhost"
            || name.ends_with(".localhost")
            || name
                .trim_matches(['[', ']'])
                .parse::<IpAddr>()
                .is_ok_and(|address| address.is_loopback());
        if is_loopback
            || self
                .hosts
                .iter()
                .any(|allowed| *allowed == name || *allowed == host.to_ascii_lowercase())
        {
            return Ok(());
        }
        let shown = crate::domain::units::shown(host);
        Err(Problem::new(
            StatusCode::FORBIDDEN,
            "host_not_allowed",
            format!(
                "the host name `{shown}` is not one of this server's: use `localhost`, send a token, or add the name to `allowed_hosts`"
            ),
        ))
    }
}

/// The part of a `Host` before its port, in lower case.
fn host_name(host: &str) -> String {
    let host = host.to_ascii_lowercase();
    match host.rsplit_once(':') {
        Some((name, port))
            if !name.is_empty()
                && port.chars().all(|c| c.is_ascii_digit())
                && (name.ends_with(']') || !name.contains(':')) =>
        {
            name.to_owned()
        }
        _ => host,
    }
}

fn check_origin(headers: &HeaderMap, host: &str) -> Result<(), Problem> {
    let foreign = |what: &str| {
        Err(Problem::new(
            StatusCode::FORBIDDEN,
            "cross_site",
            format!(
                "the request comes from another site ({what}): call the API from its own pages, or send a token"
            ),
        ))
    };
    if text(headers, &header::HeaderName::from_static("sec-fetch-site"))
        .is_some_and(|site| site.eq_ignore_ascii_case("cross-site"))
    {
        return foreign("Sec-Fetch-Site: cross-site");
    }
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    let own = origin
        .to_str()
        .ok()
        .and_then(|origin| origin.split_once("://"))
        .is_some_and(|(_, rest)| rest.eq_ignore_ascii_case(host));
    if own { Ok(()) } else { foreign("a foreign Origin") }
}

fn text<'a>(headers: &'a HeaderMap, name: &header::HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn hash(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// The middleware.
pub(super) async fn admit(
    State(guard): State<Arc<Guard>>,
    mut request: Request,
    next: Next,
) -> Response {
    match guard.check(request.uri(), request.headers()) {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(problem) => {
            let unauthorized = problem.status == StatusCode::UNAUTHORIZED.as_u16();
            let mut response = problem.into_response();
            if unauthorized {
                response.headers_mut().insert(
                    header::WWW_AUTHENTICATE,
                    header::HeaderValue::from_static("Bearer realm=\"tidetable\""),
                );
            }
            response
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(
        guard: &Guard,
        path: &'static str,
        headers: &[(&'static str, &'static str)],
    ) -> Option<String> {
        let headers = headers
            .iter()
            .map(|(name, value)| {
                (header::HeaderName::from_static(name), header::HeaderValue::from_static(value))
            })
            .collect();
        guard.check(&Uri::from_static(path), &headers).err().map(|problem| problem.code)
    }

    #[test]
    fn without_tokens_everybody_on_the_machine_may_call() {
        let guard = Guard::new([], ["tide.example".to_owned()]);
        for host in [
            "localhost",
            "localhost:8888",
            "127.0.0.1:8888",
            "127.1.2.3",
            "[::1]:8888",
            "tide.example",
            "TIDE.example:80",
        ] {
            assert_eq!(verdict(&guard, "/jobs", &[("host", host)]), None, "{host}");
        }
    }

    #[test]
    fn a_page_that_made_its_own_name_resolve_to_us_is_refused() {
        let guard = Guard::default();
        for host in [
            "evil.example",
            "evil.example:8888",
            "localhost.evil.example",
            "10.0.0.1:8888",
            "",
            "[::2]:8888",
        ] {
            assert_eq!(
                verdict(&guard, "/jobs", &[("host", host)]).as_deref(),
                Some("host_not_allowed"),
                "{host}"
            );
        }
        assert_eq!(verdict(&guard, "/healthz", &[("host", "10.0.0.1:8888")]), None);
    }

    #[test]
    fn a_page_of_another_site_cannot_send_a_form() {
        let guard = Guard::default();
        let host = ("host", "localhost:8888");
        for foreign in [
            ("origin", "http://evil.example"),
            ("origin", "null"),
            ("origin", "http://localhost:3000"),
            ("sec-fetch-site", "cross-site"),
        ] {
            assert_eq!(
                verdict(&guard, "/job", &[host, foreign]).as_deref(),
                Some("cross_site"),
                "{foreign:?}"
            );
        }
        assert_eq!(
            verdict(
                &guard,
                "/job",
                &[host, ("origin", "http://localhost:8888"), ("sec-fetch-site", "same-origin")]
            ),
            None
        );
    }

    #[test]
    fn with_tokens_only_a_valid_one_counts_and_it_counts_from_anywhere() {
        let guard = Guard::new(["s3cret".to_owned()], []);
        assert_eq!(
            verdict(&guard, "/jobs", &[("host", "localhost")]).as_deref(),
            Some("unauthorized")
        );
        assert_eq!(
            verdict(&guard, "/jobs", &[("host", "localhost"), ("authorization", "Bearer wrong")])
                .as_deref(),
            Some("unauthorized")
        );
        assert_eq!(
            verdict(&guard, "/jobs", &[("host", "localhost"), ("authorization", "Basic s3cret")])
                .as_deref(),
            Some("unauthorized")
        );
        assert_eq!(
            verdict(
                &guard,
                "/jobs",
                &[
                    ("host", "tide.example"),
                    ("origin", "http://a.example"),
                    ("authorization", "bearer s3cret")
                ]
            ),
            None
        );
    }
}
