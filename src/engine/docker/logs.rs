//! Joins an engine's output frames into lines.
//!
//! Engines cut output arbitrarily: Docker after 16 KiB, Podman after 8 KiB and at each pause of the
//! process. This module's output is the same for both engines, and the same when followed or
//! fetched: whole lines. A line longer than [`PIECE_BYTES`] comes in pieces of exactly that size,
//! except for its last piece. Only the last line may lack its end.
//!
//! Known engine quirks: Docker's `json-file` turns bytes that are not UTF-8 into U+FFFD; Podman
//! keeps them. Podman's `k8s-file` has whole seconds. Docker leaves out a last line without an end
//! when followed.

use bollard::container::LogOutput;
use bollard::query_parameters::LogsOptionsBuilder;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt};
use serde::de::IgnoredAny;

use super::client::{EngineClient, within};
use super::errors::CallError;
use crate::domain::names::id::{ContainerId, Timestamp};
use crate::domain::output::{Channel, Line, Lines};
use crate::engine::{CALL_TIMEOUT, EngineError, LogStream};

/// The size of the pieces in which a longer line comes.
const PIECE_BYTES: usize = 16 * 1024;
/// The largest amount to pass on at once, give or take a frame.
const BLOCK_BYTES: usize = 256 * 1024;

type Frames = BoxStream<'static, Result<LogOutput, CallError>>;

/// Returns the output of a container as a stream of lines.
pub(super) async fn logs(
    client: &EngineClient,
    container: &ContainerId,
    follow: bool,
) -> Result<LogStream, EngineError> {
    // The stream itself would report a missing container only when read, a followed stream perhaps
    // never.
    client
        .read::<IgnoredAny>(&format!("/containers/{container}/json"), &[])
        .await
        .map_err(nothing_to_read)?;
    let options =
        LogsOptionsBuilder::new().stdout(true).stderr(true).timestamps(true).follow(follow).build();
    let client = client.client().map_err(CallError::into_no_answer)?;
    let frames: Frames = client
        .logs(&container.0, Some(options))
        .map(|frame| frame.map_err(CallError::from))
        .boxed();
    let reader = Reader { frames, follow, joiner: Joiner::default(), end: None };
    Ok(stream::unfold(reader, |mut reader| async move {
        reader.next().await.map(|lines| (lines, reader))
    })
    .boxed())
}

fn nothing_to_read(fault: CallError) -> EngineError {
    if fault.is_no_such_container() { EngineError::NotFound } else { fault.into_no_answer() }
}

struct Reader {
    frames: Frames,
    follow: bool,
    joiner: Joiner,
    /// The end of the frames: `Some(None)` in good order, `Some(Some(…))` by a failure. Earlier
    /// lines are passed on first.
    end: Option<Option<CallError>>,
}

impl Reader {
    /// Waits for a frame, and adds the frames that are already available.
    async fn next(&mut self) -> Option<Result<Lines, EngineError>> {
        let mut ready = Lines::default();
        while ready.is_empty() && self.end.is_none() {
            let mut frame = self.frame().await;
            loop {
                match frame {
                    Ok(Some(frame)) => self.add(&frame, &mut ready),
                    Ok(None) => {
                        self.joiner.finish(&mut ready);
                        self.end = Some(None);
                    }
                    Err(fault) => self.end = Some(Some(fault)),
                }
                if self.end.is_some() || ready.weight() >= BLOCK_BYTES {
                    break;
                }
                match self.frames.next().now_or_never() {
                    Some(next) => frame = next.transpose(),
                    None => break,
                }
            }
        }
        if ready.is_empty() {
            return self.end.as_mut()?.take().map(|fault| Err(fault.into_unreadable()));
        }
        Some(Ok(ready))
    }

    async fn frame(&mut self) -> Result<Option<LogOutput>, CallError> {
        let next = async { self.frames.next().await.transpose() };
        // A followed stream may stay quiet for any time.
        if self.follow { next.await } else { within(CALL_TIMEOUT, next).await }
    }

    fn add(&mut self, frame: &LogOutput, ready: &mut Lines) {
        match self.joiner.read(frame) {
            Ok(frame) => self.joiner.add(frame, ready),
            Err(fault) => self.end = Some(Some(fault)),
        }
    }
}

/// A message of an engine: a line, or a part of a line.
struct Frame<'a> {
    at: Option<Timestamp>,
    channel: Channel,
    text: &'a [u8],
    complete: bool,
}

/// Joins frames: holds the unfinished line of each channel.
#[derive(Default)]
struct Joiner {
    stdout: Option<Begun>,
    stderr: Option<Begun>,
    last: Timestamp,
    second: Second,
}

struct Begun {
    at: Timestamp,
    text: Vec<u8>,
}

/// A cache of the last parsed second (`2026-11-23T11:04:37`). Most lines have the same second as
/// the line before.
#[derive(Default)]
struct Second {
    text: [u8; 19],
    at: i64,
}

impl Joiner {
    fn read<'a>(&mut self, output: &'a LogOutput) -> Result<Frame<'a>, CallError> {
        let (channel, bytes) = match output {
            LogOutput::StdOut { message } => (Channel::Stdout, message),
            LogOutput::StdErr { message } => (Channel::Stderr, message),
            // Not output, but the engine's report that it cannot go on, or the rest of a frame that
            // was cut off.
            LogOutput::StdIn { .. } | LogOutput::Console { .. } => {
                return Err(CallError::NoAnswer("its output broke off".to_owned()));
            }
        };
        let (text, complete) = match bytes.strip_suffix(b"\n") {
            Some(text) => (text, true),
            None => (&bytes[..], false),
        };
        let stamped = text.iter().position(|byte| *byte == b' ').and_then(|space| {
            let at = self.second.read(&text[..space])?;
            Some((at, &text[space + 1..]))
        });
        let (at, text) = stamped.map_or((None, text), |(at, text)| (Some(at), text));
        Ok(Frame { at, channel, text, complete })
    }

    fn add(&mut self, frame: Frame<'_>, ready: &mut Lines) {
        self.last = frame.at.unwrap_or(self.last);
        let Frame { channel, text, complete, .. } = frame;
        let place = match channel {
            Channel::Stdout => &mut self.stdout,
            Channel::Stderr => &mut self.stderr,
        };
        if complete && place.is_none() && text.len() <= PIECE_BYTES {
            return ready.push(Line { at: self.last, channel, text, complete });
        }
        let begun = place.get_or_insert_with(|| Begun { at: self.last, text: Vec::new() });
        begun.text.extend_from_slice(text);
        let mut pieces = begun.text.chunks(PIECE_BYTES).peekable();
        let mut rest = &[][..];
        while let Some(piece) = pieces.next() {
            match pieces.peek() {
                Some(_) => ready.push(Line { at: begun.at, channel, text: piece, complete: false }),
                None => rest = piece,
            }
        }
        if complete {
            ready.push(Line { at: begun.at, channel, text: rest, complete });
            *place = None;
        } else {
            begun.text = rest.to_vec();
        }
    }

    /// Passes on the lines that never got an end.
    fn finish(&mut self, ready: &mut Lines) {
        let left = [(Channel::Stdout, self.stdout.take()), (Channel::Stderr, self.stderr.take())];
        let mut left: Vec<_> =
            left.into_iter().filter_map(|(channel, begun)| Some((channel, begun?))).collect();
        left.sort_by_key(|(_, begun)| begun.at);
        for (channel, Begun { at, text }) in left {
            ready.push(Line { at, channel, text: &text, complete: false });
        }
    }
}

impl Second {
    /// Parses a timestamp; `None` if the text is none.
    fn read(&mut self, text: &[u8]) -> Option<Timestamp> {
        self.read_fraction(text).or_else(|| {
            let at = std::str::from_utf8(text).ok()?.parse::<Timestamp>().ok()?;
            if let (Some(second), true) = (text.first_chunk(), text.ends_with(b"Z")) {
                (self.text, self.at) = (*second, at.timestamp());
            }
            Some(at)
        })
    }

    /// Parses a timestamp in UTC within the cached second; `None` for any other.
    fn read_fraction(&self, text: &[u8]) -> Option<Timestamp> {
        let digits = text.strip_prefix(&self.text)?.strip_prefix(b".")?.strip_suffix(b"Z")?;
        if digits.is_empty() || digits.len() > 9 || !digits.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let nanos = digits
            .iter()
            .chain([b'0'; 9].iter().skip(digits.len()))
            .fold(0, |n, d| n * 10 + u32::from(d - b'0'));
        Timestamp::from_timestamp(self.at, nanos)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: &str = "2026-11-23T11:04:37.394965663Z";

    fn stdout(text: &str) -> LogOutput {
        LogOutput::StdOut { message: format!("{AT} {text}").into_bytes().into() }
    }

    fn stderr(text: &str) -> LogOutput {
        LogOutput::StdErr { message: format!("{AT} {text}").into_bytes().into() }
    }

    /// Returns the lines of these frames as `(length, first letter, channel, complete)`.
    fn lines(frames: Vec<LogOutput>) -> Vec<(usize, String, Channel, bool)> {
        let (mut joiner, mut ready) = (Joiner::default(), Lines::default());
        for frame in frames {
            let frame = joiner.read(&frame).expect("a frame");
            joiner.add(frame, &mut ready);
        }
        joiner.finish(&mut ready);
        let first = |line: &Line<'_>| String::from_utf8_lossy(line.text).chars().take(1).collect();
        ready
            .iter()
            .map(|line| (line.text.len(), first(&line), line.channel, line.complete))
            .collect()
    }

    #[test]
    fn long_line_comes_in_the_same_pieces() {
        let x = |bytes: usize| "x".repeat(bytes);
        let as_docker_cuts =
            lines(vec![stdout(&x(16_384)), stdout(&x(16_384)), stdout(&format!("{}\n", x(7_232)))]);
        let as_podman_cuts = lines(vec![
            stdout(&x(8_192)),
            stdout(&x(8_192)),
            stdout(&x(8_192)),
            stdout(&x(8_192)),
            stdout(&format!("{}\n", x(7_232))),
        ]);
        let piece = |bytes, complete| (bytes, "x".to_owned(), Channel::Stdout, complete);
        assert_eq!(
            as_docker_cuts,
            [piece(16_384, false), piece(16_384, false), piece(7_232, true)]
        );
        assert_eq!(as_podman_cuts, as_docker_cuts);
        assert_eq!(lines(vec![stdout(&x(16_384)), stdout("\n")]), [piece(16_384, true)]);
    }

    #[test]
    fn line_written_with_pauses_is_one_line() {
        let seen =
            lines(vec![stdout("a"), stderr("err\n"), stdout("b\n"), stdout("\n"), stderr("tail")]);
        assert_eq!(
            seen,
            [
                (3, "e".to_owned(), Channel::Stderr, true),
                (2, "a".to_owned(), Channel::Stdout, true),
                (0, String::new(), Channel::Stdout, true),
                (4, "t".to_owned(), Channel::Stderr, false),
            ]
        );
    }

    #[test]
    fn timestamp_is_parsed_and_text_kept_unchanged() {
        let mut joiner = Joiner::default();
        for _ in 0..2 {
            let output =
                LogOutput::StdOut { message: [AT.as_bytes(), b" a b\0\xff\r\n"].concat().into() };
            let frame = joiner.read(&output).expect("a frame");
            assert_eq!(frame.at, Some(AT.parse().expect("a time")));
            assert_eq!((frame.text, frame.complete), (&b"a b\0\xff\r"[..], true));
        }
    }

    #[test]
    fn timestamps_parse_with_any_fraction() {
        let mut second = Second::default();
        for text in [
            AT,
            AT,
            "2026-11-23T11:04:37Z",
            "2026-11-23T11:04:37.5Z",
            "2026-11-23T12:04:37.05+01:00",
            AT,
        ] {
            assert_eq!(second.read(text.as_bytes()), text.parse().ok(), "{text}");
        }
        for text in ["", "2026-11-23T11:04:37.Z", "2026-11-23T11:04:37.xZ", "2026-11-23"] {
            assert_eq!(second.read(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn truncated_frame_is_an_error() {
        let output = LogOutput::Console { message: b"\x03\0\0\0oops".to_vec().into() };
        assert!(Joiner::default().read(&output).is_err());
    }
}
