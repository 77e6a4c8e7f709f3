//! Makes calls to the engine with a deadline each, and reads answers without failing on unknown
//! words.
//!
//! Steps (create, start, stop, remove, pull, logs) go through bollard's own calls. Answers that
//! describe containers are read here instead, because bollard's typed answers fail as a whole at
//! the first unknown word. Podman's state `stopped` is one, and later engines may invent others. A
//! scheduler that cannot read one container's state must still read all the others. bollard's
//! `export_container` gives an answer's bytes as they come, and a bollard hook can rewrite a
//! request. Together they make a plain GET.
//!
//! bollard puts no API version into its URLs, so an engine answers in its newest version. All parts
//! that we request or read are the same from 1.41 to today.

use std::sync::OnceLock;
use std::time::Duration;

use bollard::{BollardRequest, Docker};
use futures::stream::{BoxStream, StreamExt};
use serde::de::DeserializeOwned;

use super::address::Address;
use super::errors::CallError;
use crate::engine::CALL_TIMEOUT;

/// The largest answer in bytes; a listing of a hundred thousand containers is smaller.
const MAX_ANSWER_BYTES: usize = 256 * 1024 * 1024;

/// The path that bollard gives to the request before it is rewritten.
const PLACEHOLDER: &str = "/containers/-/export";

/// The connection settings and client for one engine.
pub(super) struct EngineClient {
    address: Address,
    client: OnceLock<Docker>,
}

impl EngineClient {
    pub(super) fn new(address: Address) -> Self {
        Self { address, client: OnceLock::new() }
    }

    /// Returns a client, or [`CallError::NoAnswer`] while the engine's socket does not exist.
    pub(super) fn client(&self) -> Result<Docker, CallError> {
        if let Some(client) = self.client.get() {
            return Ok(client.clone());
        }
        let client = self.address.client().map_err(CallError::from)?;
        Ok(self.client.get_or_init(|| client).clone())
    }

    /// Makes one bollard call; returns [`CallError::NoAnswer`] if it takes longer than `limit`.
    pub(super) async fn call<T>(
        &self,
        limit: Duration,
        call: impl AsyncFnOnce(Docker) -> Result<T, bollard::errors::Error>,
    ) -> Result<T, CallError> {
        let client = self.client()?;
        within(limit, async { call(client).await.map_err(CallError::from) }).await
    }

    /// Reads an answer that is one JSON value.
    pub(super) async fn read<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<T, CallError> {
        let bytes = self.read_bytes(path, query).await?;
        serde_json::from_slice(&bytes).map_err(|e| {
            CallError::NoAnswer(format!("its answer to {path} cannot be understood: {e}"))
        })
    }

    /// Reads an answer that is a sequence of JSON values.
    pub(super) async fn read_rows<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<Vec<T>, CallError> {
        let bytes = self.read_bytes(path, query).await?;
        serde_json::Deserializer::from_slice(&bytes).into_iter().collect::<Result<_, _>>().map_err(
            |e| CallError::NoAnswer(format!("its answer to {path} cannot be understood: {e}")),
        )
    }

    async fn read_bytes(&self, path: &str, query: &[(&str, &str)]) -> Result<Vec<u8>, CallError> {
        let mut chunks = self.open(path, query)?;
        within(CALL_TIMEOUT, async {
            let mut all = Vec::new();
            while let Some(chunk) = chunks.next().await {
                all.extend_from_slice(&chunk?);
                if all.len() > MAX_ANSWER_BYTES {
                    return Err(CallError::NoAnswer(format!("its answer to {path} has no end")));
                }
            }
            Ok(all)
        })
        .await
    }

    /// Streams the bytes of an answer as they come. The request is sent when the stream is first
    /// polled.
    pub(super) fn open(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<BoxStream<'static, Result<Vec<u8>, CallError>>, CallError> {
        let target = format!("{path}{}", encoded(query));
        let client =
            self.client()?.with_request_modifier(move |request| retarget(request, &target));
        let chunks = client.export_container("-");
        Ok(chunks.map(|chunk| chunk.map(|bytes| bytes.to_vec()).map_err(CallError::from)).boxed())
    }
}

/// Returns [`CallError::NoAnswer`] if the call takes longer than `limit`.
pub(super) async fn within<T>(
    limit: Duration,
    call: impl Future<Output = Result<T, CallError>>,
) -> Result<T, CallError> {
    match tokio::time::timeout(limit, call).await {
        Ok(answer) => answer,
        Err(_) => Err(CallError::NoAnswer(format!("no answer within {} s", limit.as_secs()))),
    }
}

fn retarget(mut request: BollardRequest, target: &str) -> BollardRequest {
    // Parsing cannot fail: the URL parsed before, and the target is encoded.
    if let Ok(uri) = request.uri().to_string().replace(PLACEHOLDER, target).parse() {
        *request.uri_mut() = uri;
    }
    request
}

/// Formats `?a=b&c=d`, with everything but letters, digits, `-`, `_` and `.` escaped.
fn encoded(query: &[(&str, &str)]) -> String {
    let mut out = String::new();
    for (index, (name, value)) in query.iter().enumerate() {
        out.push(if index == 0 { '?' } else { '&' });
        out.push_str(name);
        out.push('=');
        for byte in value.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => {
                    out.push(char::from(byte))
                }
                _ => out.push_str(&format!("%{byte:02X}")),
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_is_escaped() {
        assert_eq!(encoded(&[]), "");
        assert_eq!(
            encoded(&[("all", "1"), ("filters", r#"{"a":["b=c"]}"#)]),
            "?all=1&filters=%7B%22a%22%3A%5B%22b%3Dc%22%5D%7D"
        );
    }

    #[tokio::test]
    async fn call_beyond_its_limit_has_no_answer() {
        let never =
            within(Duration::from_millis(1), std::future::pending::<Result<(), CallError>>()).await;
        assert!(matches!(never, Err(CallError::NoAnswer(_))));
    }

    #[tokio::test]
    async fn missing_engine_socket_gives_no_answer() {
        let wire = EngineClient::new(Address::Unix("/nonexistent/engine.sock".into()));
        let answer = wire.read::<serde_json::Value>("/version", &[]).await;
        assert_eq!(
            answer,
            Err(CallError::NoAnswer("Socket not found: /nonexistent/engine.sock".to_owned()))
        );
    }
}
