//! How a line of output is written: as container runtimes do (CRI), `2016-10-06T00:17:09.669794202Z stdout F text`, with
//! `P` in place of `F` where no line's end followed. The text is any bytes but a line's end.

use chrono::SecondsFormat;

use crate::domain::id::Timestamp;
use crate::domain::output::{Channel, LogLine};

/// A text that has line ends in it, which no engine should give, becomes several lines rather than a damaged file.
pub(super) fn put_line(out: &mut Vec<u8>, line: &LogLine) {
    let mut pieces = line.text.split(|byte| *byte == b'\n').peekable();
    while let Some(piece) = pieces.next() {
        let end = if line.complete || pieces.peek().is_some() { "F" } else { "P" };
        let time = line.at.to_rfc3339_opts(SecondsFormat::Nanos, true);
        out.extend_from_slice(format!("{time} {} {end} ", line.channel).as_bytes());
        out.extend_from_slice(piece);
        out.push(b'\n');
    }
}

pub(super) fn limit_line(at: Timestamp, limit: u64) -> LogLine {
    let text = format!("tidetable: the rest is not kept: `log_limit` is {limit} bytes").into_bytes();
    LogLine { at, channel: Channel::Stderr, text, complete: true }
}

/// The line that was written so, its end included; `None` where it was not.
pub(super) fn parse(line: &[u8]) -> Option<LogLine> {
    let mut parts = line.strip_suffix(b"\n")?.splitn(4, |byte| *byte == b' ');
    let mut word = || std::str::from_utf8(parts.next()?).ok();
    let at = word()?.parse().ok()?;
    let channel = Channel::from_word(word()?)?;
    let complete = match word()? {
        "F" => true,
        "P" => false,
        _ => return None,
    };
    Some(LogLine { at, channel, text: parts.next()?.to_vec(), complete })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &[u8], complete: bool) -> LogLine {
        let at = Timestamp::from_timestamp_nanos(1_475_712_973_000_000_001);
        LogLine { at, channel: Channel::Stderr, text: text.to_vec(), complete }
    }

    fn written(line: &LogLine) -> Vec<u8> {
        let mut out = Vec::new();
        put_line(&mut out, line);
        out
    }

    #[test]
    fn a_line_is_written_as_container_runtimes_write_it_and_read_back() {
        assert_eq!(written(&line(b" two  words ", true)), b"2016-10-06T00:16:13.000000001Z stderr F  two  words \n");
        for text in [&b""[..], b" ", b"\r\t\0\xff"] {
            for complete in [true, false] {
                let line = line(text, complete);
                assert_eq!(parse(&written(&line)), Some(line));
            }
        }
    }

    #[test]
    fn a_text_with_line_ends_becomes_several_lines() {
        let out = written(&line(b"a\n\nb", false));
        let lines: Vec<_> = out.split_inclusive(|byte| *byte == b'\n').map(parse).collect();
        assert_eq!(lines, [Some(line(b"a", true)), Some(line(b"", true)), Some(line(b"b", false))]);
    }

    #[test]
    fn what_was_not_written_so_is_no_line() {
        for other in ["", "\n", "x\n", "2016-10-06T00:16:13Z stdout F text", "2016-10-06T00:16:13Z stdin F text\n"] {
            assert_eq!(parse(other.as_bytes()), None, "{other:?}");
        }
    }
}
