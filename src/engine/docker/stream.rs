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
/// How far before an instant the log is read to see that it reaches back to it.
const FAR_BACK: Duration = Duration::from_secs(60 * 60);
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
pub(super) async fn testimony(
    client: &Docker,
    container: &ContainerId,
    question: Question,
    since: Timestamp,
) -> Result<Testimony, EngineError> {
    let now = SystemClock.now();
    let reach = match question {
        // Far enough to find something that happened before.
        Question::StartedBeforeRemoval => FAR_BACK,
        Question::StartedByThisEngine => Duration::from_secs(1),
    };
    let log = Log { container, events: events(client, since - reach, now).await? };
    let covers = match question {
        Question::StartedBeforeRemoval => log.reaches_back_before_removal(now - since),
        // Docker's log is in memory: one that has fewer events than it can hold is whole, back to that instant or to
        // the engine's own start.
        Question::StartedByThisEngine => log.events.len() < SURELY_WHOLE,
    };
    Ok(match (log.time_of(&["start"]), covers) {
        (Some(_), _) => Testimony::Seen,
        (None, true) => Testimony::NotSeen,
        (None, false) => Testimony::CannotTell,
    })
}

async fn events(client: &Docker, since: Timestamp, now: Timestamp) -> Result<Vec<EventMessage>, EngineError> {
    let filters = HashMap::from([("type", vec!["container".to_owned()])]);
    // Whole seconds, and one to come: Podman reads no fractions here, and gives up what it has not sent by then.
    let until = now + Duration::from_secs(2);
    let options = EventsOptionsBuilder::new().since(&seconds(since)).until(&seconds(until)).filters(&filters).build();
    let events = client.clone().events(Some(options)).try_collect();
    match tokio::time::timeout(CALL_TIMEOUT, events).await {
        Ok(events) => events.map_err(|error| answers::meaning(error, Reason::StartFailed)),
        Err(_) => Err(EngineError::NoAnswer("its log did not end".to_owned())),
    }
}

/// An engine's log, and the container it is read for.
struct Log<'c> {
    container: &'c ContainerId,
    events: Vec<EventMessage>,
}

impl Log<'_> {
    /// When one of these last happened to the container, in nanoseconds of the engine's clock.
    fn time_of(&self, actions: &[&str]) -> Option<i64> {
        let is_its =
            |event: &&EventMessage| event.actor.as_ref().and_then(|actor| actor.id.as_ref()) == Some(&self.container.0);
        let is_one = |event: &&EventMessage| event.action.as_deref().is_some_and(|action| actions.contains(&action));
        self.events.iter().filter(is_its).filter(is_one).filter_map(|event| event.time_nano).max()
    }

    /// Whether it shows the removal, and something that happened longer before that than this. Only times of the
    /// engine's own clock are compared: ours may differ.
    fn reaches_back_before_removal(&self, window: chrono::Duration) -> bool {
        let (Some(removed), Some(window)) = (self.time_of(&["destroy", "remove"]), window.num_nanoseconds()) else {
            return false;
        };
        let oldest = self.events.iter().filter_map(|event| event.time_nano).min();
        oldest.is_some_and(|oldest| oldest <= removed - window)
    }
}

/// An instant as the events API takes it.
fn seconds(at: Timestamp) -> String {
    at.timestamp().to_string()
}
