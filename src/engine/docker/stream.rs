//! Output and events: what an engine sends line by line.
//!
//! An event is a hint, or testimony. As testimony it counts only where the log demonstrably reaches: Docker keeps the
//! last 256 events in memory, and none through a restart; Podman keeps its own in a file or the journal.

use std::collections::HashMap;
use std::time::Duration;

use bollard::Docker;
use bollard::container::LogOutput;
use bollard::models::EventMessage;
use bollard::query_parameters::{EventsOptionsBuilder, LogsOptionsBuilder};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};

use super::answers;
use crate::clock::{Clock, SystemClock};
use crate::domain::container::{LABEL_INSTANCE, LABEL_JOB, Question, Testimony};
use crate::domain::id::{ContainerId, InstanceId, Timestamp};
use crate::domain::job::Reason;
use crate::domain::output::{Channel, LogLine};
use crate::engine::{CALL_TIMEOUT, EngineError, Hint, LogStream};

/// A stream may say nothing for as long as it likes: Podman sends not even a header before there is something to say.
const FOREVER: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);
/// How far back a new stream of hints begins, so that nothing falls between it and the look that follows.
const OVERLAP: Duration = Duration::from_secs(5);
/// Docker's log holds 256 events: with fewer than this since some instant, it reaches back to there.
const SURELY_WHOLE: usize = 200;

/// The output of a container.
pub(super) async fn logs(client: &Docker, container: &ContainerId, follow: bool) -> Result<LogStream, EngineError> {
    let options = LogsOptionsBuilder::new().stdout(true).stderr(true).timestamps(true).follow(follow).build();
    let client = if follow { client.clone().with_timeout(FOREVER) } else { client.clone() };
    let mut frames =
        client.logs(&container.0, Some(options)).map_err(|error| answers::meaning(error, Reason::StartFailed)).boxed();
    if follow {
        return Ok(frames.map_ok(line).boxed());
    }
    // The first frame tells whether there is anything at all to read.
    let first = match tokio::time::timeout(CALL_TIMEOUT, frames.next()).await {
        Err(_) => return Err(EngineError::NoAnswer("its output did not begin".to_owned())),
        Ok(None) => return Ok(futures::stream::empty().boxed()),
        Ok(Some(first)) => first?,
    };
    let rest = futures::stream::unfold(frames, |mut frames| async move {
        let frame = match tokio::time::timeout(CALL_TIMEOUT, frames.next()).await {
            Ok(frame) => frame?,
            Err(_) => Err(EngineError::NoAnswer("its output broke off".to_owned())),
        };
        Some((frame, frames))
    });
    Ok(futures::stream::once(async { Ok(first) }).chain(rest).map_ok(line).boxed())
}

/// A frame is a line or a piece of one, with its time before it.
fn line(frame: LogOutput) -> LogLine {
    let (channel, bytes) = match frame {
        LogOutput::StdErr { message } => (Channel::Stderr, message),
        LogOutput::StdOut { message } | LogOutput::StdIn { message } | LogOutput::Console { message } => {
            (Channel::Stdout, message)
        }
    };
    let (complete, bytes) = match bytes.strip_suffix(b"\n") {
        Some(text) => (true, text),
        None => (false, &bytes[..]),
    };
    let space = bytes.iter().position(|byte| *byte == b' ').unwrap_or(bytes.len());
    let stamp = std::str::from_utf8(&bytes[..space]).ok().and_then(|text| text.parse::<Timestamp>().ok());
    match stamp {
        Some(at) => LogLine { at, channel, text: bytes.get(space + 1..).unwrap_or_default().to_vec(), complete },
        None => LogLine { at: SystemClock.now(), channel, text: bytes.to_vec(), complete },
    }
}

/// Hints about containers of this instance.
pub(super) fn hints(client: &Docker, instance: InstanceId) -> BoxStream<'static, Result<Hint, EngineError>> {
    let filters = HashMap::from([
        ("type", vec!["container".to_owned()]),
        ("label", vec![format!("{LABEL_INSTANCE}={instance}")]),
    ]);
    let since = SystemClock.now() - OVERLAP;
    let options = EventsOptionsBuilder::new().since(&seconds(since)).filters(&filters).build();
    let client = client.clone().with_timeout(FOREVER);
    let events = client.events(Some(options)).map_err(|error| answers::meaning(error, Reason::StartFailed));
    events.try_filter_map(|event| std::future::ready(Ok(hint(&event)))).boxed()
}

/// Only an end is news: what we start ourselves, we know.
fn hint(event: &EventMessage) -> Option<Hint> {
    let ends = matches!(event.action.as_deref()?, "die" | "died" | "destroy" | "remove" | "oom");
    let job = event.actor.as_ref()?.attributes.as_ref()?.get(LABEL_JOB)?.parse().ok()?;
    ends.then_some(Hint { job })
}

/// What the engine's log says of a container since an instant.
///
/// Docker's log is in memory: it holds so many events, and none of an engine before a restart. So one that has fewer than
/// it can hold since some instant is whole, back to there or to the engine's own start.
pub(super) async fn testimony(
    client: &Docker,
    container: &ContainerId,
    question: Question,
    since: Timestamp,
) -> Result<Testimony, EngineError> {
    let filters = HashMap::from([("type", vec!["container".to_owned()])]);
    // Whole seconds, and one to come: Podman reads no fractions here, and gives up what it has not sent by then.
    let until = SystemClock.now() + Duration::from_secs(2);
    let options = EventsOptionsBuilder::new()
        .since(&seconds(since - Duration::from_secs(1)))
        .until(&seconds(until))
        .filters(&filters)
        .build();
    let events = client.clone().events(Some(options)).try_collect::<Vec<EventMessage>>();
    let events = match tokio::time::timeout(CALL_TIMEOUT, events).await {
        Ok(events) => events.map_err(|error| answers::meaning(error, Reason::StartFailed))?,
        Err(_) => return Err(EngineError::NoAnswer("its log did not end".to_owned())),
    };
    let happened = |actions: &[&str]| {
        let is_its = |event: &&EventMessage| {
            event.actor.as_ref().and_then(|actor| actor.id.as_deref()) == Some(container.0.as_str())
        };
        events
            .iter()
            .filter(is_its)
            .any(|event| event.action.as_deref().is_some_and(|action| actions.contains(&action)))
    };
    let covers = match question {
        Question::StartedBeforeRemoval => happened(&["destroy", "remove"]),
        Question::StartedByThisEngine => events.len() < SURELY_WHOLE,
    };
    Ok(match (happened(&["start"]), covers) {
        (true, _) => Testimony::Seen,
        (false, true) => Testimony::NotSeen,
        (false, false) => Testimony::CannotTell,
    })
}

/// An instant as the events API takes it.
fn seconds(at: Timestamp) -> String {
    at.timestamp().to_string()
}
