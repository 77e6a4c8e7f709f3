//! The wire: every call with its deadline, and reading that cannot trip over a word.
//!
//! Steps (create, start, stop, remove, pull, logs) go through bollard's own calls. What an engine *says* is read here
//! instead: bollard's typed answers fail as a whole at the first word that they do not know (Podman's state `stopped`
//! for one, whatever a later engine invents for another), and a scheduler that cannot read one container's state must
//! still read all the others. bollard has one call that gives an answer's bytes as they come, `export_container`, and
//! a hook that may rewrite a request: together they are a plain GET.
//!
//! bollard puts no API version into its addresses, so an engine answers in its newest. Nothing that is asked for or
//! read here differs between 1.41 and today.

use std::sync::OnceLock;
use std::time::Duration;

use bollard::{BollardRequest, Docker};
use futures::stream::{BoxStream, StreamExt};
use serde::de::DeserializeOwned;

use super::address::Address;
use super::answers::Fault;
use crate::engine::CALL_TIMEOUT;

/// The most that one answer may hold: a listing of a hundred thousand containers is smaller.
const MAX_ANSWER_BYTES: usize = 256 * 1024 * 1024;

/// The path that bollard gives to the request which is rewritten.
const PLACEHOLDER: &str = "/containers/-/export";

/// The way to one engine.
pub(super) struct Wire {
    address: Address,
    client: OnceLock<Docker>,
}

impl Wire {
    pub(super) fn new(address: Address) -> Self {
        Self { address, client: OnceLock::new() }
    }

    /// A client; silence while the engine's socket is not there yet.
    pub(super) fn client(&self) -> Result<Docker, Fault> {
        if let Some(client) = self.client.get() {
            return Ok(client.clone());
        }
        let client = self.address.client().map_err(Fault::from)?;
        Ok(self.client.get_or_init(|| client).clone())
    }

    /// One call of bollard's, silence when it takes longer than `limit`.
    pub(super) async fn call<T>(
        &self,
        limit: Duration,
        call: impl AsyncFnOnce(Docker) -> Result<T, bollard::errors::Error>,
    ) -> Result<T, Fault> {
        let client = self.client()?;
        within(limit, async { call(client).await.map_err(Fault::from) }).await
    }

    /// Reads one answer.
    pub(super) async fn read<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<T, Fault> {
        let bytes = self.read_bytes(path, query).await?;
        serde_json::from_slice(&bytes)
            .map_err(|e| Fault::Silent(format!("its answer to {path} cannot be understood: {e}")))
    }

    /// Reads one answer that is a row of JSON values.
    pub(super) async fn read_rows<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<Vec<T>, Fault> {
        let bytes = self.read_bytes(path, query).await?;
        serde_json::Deserializer::from_slice(&bytes)
            .into_iter()
            .collect::<Result<_, _>>()
            .map_err(|e| Fault::Silent(format!("its answer to {path} cannot be understood: {e}")))
    }

    async fn read_bytes(&self, path: &str, query: &[(&str, &str)]) -> Result<Vec<u8>, Fault> {
        let mut chunks = self.open(path, query)?;
        within(CALL_TIMEOUT, async {
            let mut all = Vec::new();
            while let Some(chunk) = chunks.next().await {
                all.extend_from_slice(&chunk?);
                if all.len() > MAX_ANSWER_BYTES {
                    return Err(Fault::Silent(format!("its answer to {path} has no end")));
                }
            }
            Ok(all)
        })
        .await
    }

    /// An answer as its bytes come; the request is sent when the stream is first polled.
    pub(super) fn open(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<BoxStream<'static, Result<Vec<u8>, Fault>>, Fault> {
        let target = format!("{path}{}", encoded(query));
        let client =
            self.client()?.with_request_modifier(move |request| retarget(request, &target));
        let chunks = client.export_container("-");
        Ok(chunks.map(|chunk| chunk.map(|bytes| bytes.to_vec()).map_err(Fault::from)).boxed())
    }
}

/// Silence when it takes longer than `limit`.
pub(super) async fn within<T>(
    limit: Duration,
    call: impl Future<Output = Result<T, Fault>>,
) -> Result<T, Fault> {
    match tokio::time::timeout(limit, call).await {
        Ok(answer) => answer,
        Err(_) => Err(Fault::Silent(format!("no answer within {} s", limit.as_secs()))),
    }
}

fn retarget(mut request: BollardRequest, target: &str) -> BollardRequest {
    // Cannot fail: the address parsed before, and the target is encoded.
    if let Ok(uri) = request.uri().to_string().replace(PLACEHOLDER, target).parse() {
        *request.uri_mut() = uri;
    }
    request
}

/// `?a=b&c=d`, with everything but letters, digits, `-`, `_` and `.` escaped.
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
    fn a_query_is_escaped() {
        assert_eq!(encoded(&[]), "");
        assert_eq!(
            encoded(&[("all", "1"), ("filters", r#"{"a":["b=c"]}"#)]),
            "?all=1&filters=%7B%22a%22%3A%5B%22b%3Dc%22%5D%7D"
        );
    }

    #[tokio::test]
    async fn a_call_that_takes_too_long_has_no_answer() {
        let never =
            within(Duration::from_millis(1), std::future::pending::<Result<(), Fault>>()).await;
        assert!(matches!(never, Err(Fault::Silent(_))));
    }

    #[tokio::test]
    async fn an_engine_that_is_not_there_yet_is_silent() {
        let wire = Wire::new(Address::Unix("/nonexistent/engine.sock".into()));
        let answer = wire.read::<serde_json::Value>("/version", &[]).await;
        assert_eq!(
            answer,
            Err(Fault::Silent("Socket not found: /nonexistent/engine.sock".to_owned()))
        );
    }
}
