//! Reads live events: hints that a container is worth an inspection.

use futures::StreamExt;
use futures::stream::{self, BoxStream};
use serde_json::Value;

use super::client::EngineClient;
use super::errors::CallError;
use crate::domain::container::{LABEL_INSTANCE, LABEL_JOB};
use crate::domain::names::id::{InstanceId, Timestamp};
use crate::engine::{ContainerEvent, EngineError};

/// The longest event that is read.
const MAX_EVENT_BYTES: usize = 1024 * 1024;

/// Streams hints about containers of this instance, from `since` (by the engine's clock) on. The
/// request is sent when the stream is first polled, which may be later; hence `since`.
pub(super) fn events(
    client: &EngineClient,
    instance: InstanceId,
    since: Timestamp,
) -> Result<BoxStream<'static, Result<ContainerEvent, EngineError>>, EngineError> {
    let filters = format!(r#"{{"type":["container"],"label":["{LABEL_INSTANCE}={instance}"]}}"#);
    let since = since.timestamp().to_string();
    let chunks = client
        .open("/events", &[("since", &since), ("filters", &filters)])
        .map_err(CallError::into_no_answer)?;
    let reader = Reader { chunks, buffer: Vec::new() };
    Ok(stream::unfold(Some(reader), |reader| async move {
        let mut reader = reader?;
        match reader.next().await? {
            Ok(event) => Some((Ok(event), Some(reader))),
            Err(fault) => Some((Err(fault.into_no_answer()), None)),
        }
    })
    .boxed())
}

struct Reader {
    chunks: BoxStream<'static, Result<Vec<u8>, CallError>>,
    buffer: Vec<u8>,
}

impl Reader {
    async fn next(&mut self) -> Option<Result<ContainerEvent, CallError>> {
        loop {
            while let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                if let Some(event) = event(&line) {
                    return Some(Ok(event));
                }
            }
            if self.buffer.len() > MAX_EVENT_BYTES {
                return Some(Err(CallError::NoAnswer(
                    "its events cannot be understood".to_owned(),
                )));
            }
            match self.chunks.next().await? {
                Ok(chunk) => self.buffer.extend_from_slice(&chunk),
                Err(fault) => return Some(Err(fault)),
            }
        }
    }
}

/// Returns a hint for an event that ends a container; other events follow from our own calls.
/// Docker says `die` and `destroy`; Podman says `died` (over its own API) and `remove`.
fn event(line: &[u8]) -> Option<ContainerEvent> {
    let event: Value = serde_json::from_slice(line).ok()?;
    let ends = matches!(event["Action"].as_str()?, "die" | "died" | "destroy" | "remove" | "oom");
    let job = event["Actor"]["Attributes"][LABEL_JOB].as_str()?.parse().ok()?;
    ends.then_some(ContainerEvent { job })
}

#[cfg(test)]
mod tests {
    use super::*;

    const JOB: &str = "71f6696c08a64a45b3788332e0dc5278";

    fn event(action: &str) -> String {
        serde_json::json!({"Type": "container", "Action": action, "Actor": {"Attributes": {LABEL_JOB: JOB}}})
            .to_string()
            + "\n"
    }

    #[tokio::test]
    async fn split_events_are_read_and_others_skipped() {
        let text = [
            event("start"),
            event("die"),
            "nonsense\n".to_owned(),
            event("something_new"),
            event("remove"),
        ]
        .concat();
        let chunks: Vec<_> = text.as_bytes().chunks(7).map(|chunk| Ok(chunk.to_vec())).collect();
        let mut reader = Reader { chunks: stream::iter(chunks).boxed(), buffer: Vec::new() };
        let event = ContainerEvent { job: JOB.parse().expect("an id") };
        assert_eq!(reader.next().await, Some(Ok(event)));
        assert_eq!(reader.next().await, Some(Ok(event)));
        assert_eq!(reader.next().await, None);
    }
}
