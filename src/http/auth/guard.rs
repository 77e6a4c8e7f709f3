//! Decides which callers are admitted.
//!
//! A caller with a valid bearer token is always admitted. Without configured tokens (on loopback,
//! or where the config allows it), every caller on the machine is admitted. Foreign web pages in a
//! browser there are not. A page can send a form to `localhost:8888`, or make its own name resolve
//! to this address. Without a token, the `Host` must therefore be one of ours, and a request that a
//! browser marks as cross-site is refused. A page cannot know a token, so a request with a token
//! needs neither check.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::domain::admission::caller::Caller;
use crate::http::problem::Problem;

/// Paths that reveal nothing and are polled by machines without a token.
const OPEN: [&str; 2] = ["/healthz", "/readyz"];

/// The digits of a token's hash in its caller's name.
const NAME_DIGITS: usize = 6;

/// An admitted caller. Handlers take it as an argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::http) struct Admitted {
    pub(in crate::http) caller: Caller,
    /// The hash of the caller's token, or of an empty text without a token.
    pub(in crate::http) hash: [u8; 32],
}

impl Admitted {
    /// Names the caller after its token's hash: the tokens of the token file have no names.
    fn with_token(hash: [u8; 32]) -> Self {
        let digits: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        Self { caller: Caller { name: format!("token-{}", &digits[..NAME_DIGITS]) }, hash }
    }

    fn anonymous() -> Self {
        Self { caller: Caller::anonymous(), hash: hash(b"") }
    }
}

impl<S: Sync> FromRequestParts<S> for Admitted {
    type Rejection = Problem;

    /// Returns the caller that the guard admitted. Every route is behind the guard.
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let admitted = parts.extensions.get::<Self>().cloned();
        admitted.ok_or_else(|| {
            let status = StatusCode::INTERNAL_SERVER_ERROR;
            let detail = "the server made a mistake; its log says more";
            Problem::internal(status, "internal", detail, &"a route is not behind the guard")
        })
    }
}

/// The code of the problem for which a request was refused, as an extension of the answer.
#[derive(Clone)]
pub(in crate::http) struct Refused(pub(in crate::http) String);

/// The rules by which callers are admitted.
#[derive(Clone, Debug, Default)]
pub struct Guard {
    /// The hashes of the valid tokens. Empty: no token is required.
    tokens: Vec<[u8; 32]>,
    /// Host names, besides loopback, that are accepted without a token. In lower case.
    hosts: Vec<String>,
}

impl Guard {
    /// Creates the rules from these tokens and these host names. Without tokens, no token is
    /// required.
    pub fn new(
        tokens: impl IntoIterator<Item = String>,
        hosts: impl IntoIterator<Item = String>,
    ) -> Self {
        Self {
            tokens: tokens.into_iter().map(|token| hash(token.as_bytes())).collect(),
            hosts: hosts.into_iter().map(|host| host.to_ascii_lowercase()).collect(),
        }
    }

    fn check(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<Admitted, Problem> {
        if let Some(token) = self.token(headers) {
            return Ok(Admitted::with_token(token));
        }
        let nobody = Admitted::anonymous();
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
        check_origin(method, headers, host)?;
        Ok(nobody)
    }

    /// Returns the hash of the token if the token is valid. Compares it with all tokens, each in
    /// constant time.
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
        let shown = crate::domain::text::units::shown(host);
        Err(Problem::new(
            StatusCode::FORBIDDEN,
            "host_not_allowed",
            format!(
                "the host name `{shown}` is not one of this server's: use `localhost`, send a token, or add the name to `allowed_hosts`"
            ),
        ))
    }
}

/// Returns the part of a `Host` before its port, in lower case.
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

fn check_origin(method: &Method, headers: &HeaderMap, host: &str) -> Result<(), Problem> {
    let foreign = |what: &str| {
        Err(Problem::new(
            StatusCode::FORBIDDEN,
            "cross_site",
            format!(
                "the request comes from another site ({what}): call the API from its own pages, or send a token"
            ),
        ))
    };
    let site = text(headers, &header::HeaderName::from_static("sec-fetch-site")).unwrap_or("");
    if site.eq_ignore_ascii_case("cross-site") {
        return foreign("Sec-Fetch-Site: cross-site");
    }
    // A page on another port of this machine is of the same site. It may link here, and no more.
    if !method.is_safe() && site.eq_ignore_ascii_case("same-site") {
        return foreign("Sec-Fetch-Site: same-site");
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

/// Admits or refuses a request. Adds the [`Admitted`] caller to the request.
pub(in crate::http) async fn admit(
    State(guard): State<Arc<Guard>>,
    mut request: Request,
    next: Next,
) -> Response {
    match guard.check(request.method(), request.uri(), request.headers()) {
        Ok(admitted) => {
            request.extensions_mut().insert(admitted);
            next.run(request).await
        }
        Err(problem) => {
            let unauthorized = problem.status == StatusCode::UNAUTHORIZED.as_u16();
            let refused = Refused(problem.code.clone());
            let mut response = problem.into_response();
            response.extensions_mut().insert(refused);
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
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| {
                (header::HeaderName::from_static(name), header::HeaderValue::from_static(value))
            })
            .collect();
        verdict_on(&Method::GET, guard, path, headers)
    }

    fn verdict_on(
        method: &Method,
        guard: &Guard,
        path: &'static str,
        headers: HeaderMap,
    ) -> Option<String> {
        guard.check(method, &Uri::from_static(path), &headers).err().map(|problem| problem.code)
    }

    #[test]
    fn same_site_pages_may_read_and_not_write() {
        let headers: HeaderMap = [("host", "localhost:8888"), ("sec-fetch-site", "same-site")]
            .map(|(name, value)| {
                (header::HeaderName::from_static(name), header::HeaderValue::from_static(value))
            })
            .into_iter()
            .collect();
        let guard = Guard::default();
        assert_eq!(verdict_on(&Method::GET, &guard, "/jobs", headers.clone()), None);
        assert_eq!(
            verdict_on(&Method::POST, &guard, "/job", headers).as_deref(),
            Some("cross_site")
        );
    }

    #[test]
    fn without_tokens_local_callers_are_admitted() {
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
    fn foreign_host_names_are_refused() {
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
    fn cross_site_requests_are_refused() {
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
    fn only_valid_tokens_are_admitted_from_any_host() {
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
