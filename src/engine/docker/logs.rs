//! Output: an engine's frames, put together into lines.
//!
//! Engines cut output as they please: Docker after 16 KiB, Podman after 8 KiB and wherever the process paused. What comes
//! out of here is the same for both, and the same followed or fetched: whole lines, and of a line that is longer than
//! [`PIECE_BYTES`] pieces of exactly that size before its end. Only the last line may lack its end.
//!
//! Known of the engines: Docker's `json-file` turns bytes that are no UTF-8 into U+FFFD, Podman keeps them. Podman's
//! `k8s-file` has whole seconds. Docker, followed, leaves out a last line without an end.

use std::collections::VecDeque;

use bollard::container::LogOutput;
use bollard::query_parameters::LogsOptionsBuilder;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use serde::de::IgnoredAny;

use super::answers::Fault;
use super::wire::{Wire, within};
use crate::domain::id::{ContainerId, Timestamp};
use crate::domain::output::{Channel, LogLine};
use crate::engine::{CALL_TIMEOUT, EngineError, LogStream};

/// A longer line comes in pieces of this size.
const PIECE_BYTES: usize = 16 * 1024;

type Frames = BoxStream<'static, Result<LogOutput, Fault>>;

/// The output of a container.
pub(super) async fn logs(wire: &Wire, container: &ContainerId, follow: bool) -> Result<LogStream, EngineError> {
    // A stream would say so only when it is read, a followed one perhaps never.
    wire.read::<IgnoredAny>(&format!("/containers/{container}/json"), &[]).await.map_err(nothing_to_read)?;
    let options = LogsOptionsBuilder::new().stdout(true).stderr(true).timestamps(true).follow(follow).build();
    let client = wire.client().map_err(Fault::into_no_answer)?;
    let frames: Frames = client.logs(&container.0, Some(options)).map(|frame| frame.map_err(Fault::from)).boxed();
    let reader = Reader { frames, follow, lines: Lines::default(), ready: VecDeque::new(), ended: false };
    Ok(stream::unfold(reader, |mut reader| async move { reader.next().await.map(|line| (line, reader)) }).boxed())
}

fn nothing_to_read(fault: Fault) -> EngineError {
    if fault.is_no_such_container() { EngineError::NotFound } else { fault.into_no_answer() }
}

struct Reader {
    frames: Frames,
    follow: bool,
    lines: Lines,
    ready: VecDeque<LogLine>,
    ended: bool,
}

impl Reader {
    async fn next(&mut self) -> Option<Result<LogLine, EngineError>> {
        loop {
            if let Some(line) = self.ready.pop_front() {
                return Some(Ok(line));
            }
            if self.ended {
                return None;
            }
            match self.frame().await {
                Ok(Some(frame)) => self.lines.add(frame, &mut self.ready),
                Ok(None) => {
                    self.ended = true;
                    self.lines.finish(&mut self.ready);
                }
                Err(fault) => {
                    self.ended = true;
                    return Some(Err(fault.into_no_answer()));
                }
            }
        }
    }

    async fn frame(&mut self) -> Result<Option<Frame>, Fault> {
        let next = async { self.frames.next().await.transpose() };
        // One that is followed may be quiet for as long as it likes.
        let next = if self.follow { next.await? } else { within(CALL_TIMEOUT, next).await? };
        next.map(Frame::read).transpose()
    }
}

/// What an engine sends at once: a line, or some of one.
struct Frame {
    at: Option<Timestamp>,
    channel: Channel,
    text: Vec<u8>,
    complete: bool,
}

impl Frame {
    fn read(output: LogOutput) -> Result<Self, Fault> {
        let (channel, bytes) = match output {
            LogOutput::StdOut { message } => (Channel::Stdout, message),
            LogOutput::StdErr { message } => (Channel::Stderr, message),
            // Not output, but the engine's word that it cannot go on, or the rest of a frame that was cut off.
            LogOutput::StdIn { .. } | LogOutput::Console { .. } => {
                return Err(Fault::Silent("its output broke off".to_owned()));
            }
        };
        let (text, complete) = match bytes.strip_suffix(b"\n") {
            Some(text) => (text, true),
            None => (&bytes[..], false),
        };
        let stamped = text.iter().position(|byte| *byte == b' ').and_then(|space| {
            let at = std::str::from_utf8(&text[..space]).ok()?.parse::<Timestamp>().ok()?;
            Some((at, &text[space + 1..]))
        });
        let (at, text) = stamped.map_or((None, text), |(at, text)| (Some(at), text));
        Ok(Self { at, channel, text: text.to_vec(), complete })
    }
}

/// The lines that have begun, one for each channel.
#[derive(Default)]
struct Lines {
    stdout: Option<Begun>,
    stderr: Option<Begun>,
    last: Timestamp,
}

struct Begun {
    at: Timestamp,
    text: Vec<u8>,
}

impl Lines {
    fn add(&mut self, frame: Frame, ready: &mut VecDeque<LogLine>) {
        self.last = frame.at.unwrap_or(self.last);
        let place = match frame.channel {
            Channel::Stdout => &mut self.stdout,
            Channel::Stderr => &mut self.stderr,
        };
        let begun = place.get_or_insert_with(|| Begun { at: self.last, text: Vec::new() });
        begun.text.extend_from_slice(&frame.text);
        while begun.text.len() > PIECE_BYTES {
            let rest = begun.text.split_off(PIECE_BYTES);
            let text = std::mem::replace(&mut begun.text, rest);
            ready.push_back(LogLine { at: begun.at, channel: frame.channel, text, complete: false });
        }
        if frame.complete
            && let Some(Begun { at, text }) = place.take()
        {
            ready.push_back(LogLine { at, channel: frame.channel, text, complete: true });
        }
    }

    /// What never got its end.
    fn finish(&mut self, ready: &mut VecDeque<LogLine>) {
        let left = [(Channel::Stdout, self.stdout.take()), (Channel::Stderr, self.stderr.take())];
        let lines = left.into_iter().filter_map(|(channel, begun)| {
            begun.map(|Begun { at, text }| LogLine { at, channel, text, complete: false })
        });
        ready.extend(lines);
        ready.make_contiguous().sort_by_key(|line| line.at);
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

    /// The lines of these frames as `(length, first letter, channel, complete)`.
    fn lines(frames: Vec<LogOutput>) -> Vec<(usize, String, Channel, bool)> {
        let (mut lines, mut ready) = (Lines::default(), VecDeque::new());
        for frame in frames {
            lines.add(Frame::read(frame).expect("a frame"), &mut ready);
        }
        lines.finish(&mut ready);
        let first = |line: &LogLine| String::from_utf8_lossy(&line.text).chars().take(1).collect();
        ready.iter().map(|line| (line.text.len(), first(line), line.channel, line.complete)).collect()
    }

    #[test]
    fn however_a_long_line_was_cut_it_comes_in_the_same_pieces() {
        let x = |bytes: usize| "x".repeat(bytes);
        let as_docker_cuts = lines(vec![stdout(&x(16_384)), stdout(&x(16_384)), stdout(&format!("{}\n", x(7_232)))]);
        let as_podman_cuts = lines(vec![
            stdout(&x(8_192)),
            stdout(&x(8_192)),
            stdout(&x(8_192)),
            stdout(&x(8_192)),
            stdout(&format!("{}\n", x(7_232))),
        ]);
        let piece = |bytes, complete| (bytes, "x".to_owned(), Channel::Stdout, complete);
        assert_eq!(as_docker_cuts, [piece(16_384, false), piece(16_384, false), piece(7_232, true)]);
        assert_eq!(as_podman_cuts, as_docker_cuts);
        assert_eq!(lines(vec![stdout(&x(16_384)), stdout("\n")]), [piece(16_384, true)]);
    }

    #[test]
    fn a_line_that_was_written_with_pauses_is_one_line() {
        let seen = lines(vec![stdout("a"), stderr("err\n"), stdout("b\n"), stdout("\n"), stderr("tail")]);
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
    fn a_time_is_taken_off_to_the_nanosecond_and_text_is_left_as_it_is() {
        let frame = Frame::read(LogOutput::StdOut { message: [AT.as_bytes(), b" a b\0\xff\r\n"].concat().into() })
            .expect("a frame");
        assert_eq!(frame.at, Some(AT.parse().expect("a time")));
        assert_eq!((&frame.text[..], frame.complete), (&b"a b\0\xff\r"[..], true));
    }

    #[test]
    fn a_frame_that_was_cut_off_is_no_output() {
        assert!(Frame::read(LogOutput::Console { message: b"\x03\0\0\0oops".to_vec().into() }).is_err());
    }
}
