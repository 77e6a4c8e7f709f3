//! How a line of output was written before output was packed: as container runtimes do (CRI),
//! `2016-10-06T00:17:09.669794202Z stdout F text`, with `P` in place of `F` where no line's end followed. The text is any
//! bytes but a line's end. Such files are only read.

use crate::domain::output::{Channel, Line};

/// The line that was written so, its end included; `None` where it was not.
pub(super) fn parse(line: &[u8]) -> Option<Line<'_>> {
    let mut parts = line.strip_suffix(b"\n")?.splitn(4, |byte| *byte == b' ');
    let mut word = || std::str::from_utf8(parts.next()?).ok();
    let at = word()?.parse().ok()?;
    let channel = Channel::from_word(word()?)?;
    let complete = match word()? {
        "F" => true,
        "P" => false,
        _ => return None,
    };
    Some(Line { at, channel, text: parts.next()?, complete })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::Timestamp;

    #[test]
    fn a_line_of_container_runtimes_is_read() {
        let at = Timestamp::from_timestamp_nanos(1_475_712_973_000_000_001);
        let line = |text, complete| Some(Line { at, channel: Channel::Stderr, text, complete });
        assert_eq!(
            parse(b"2016-10-06T00:16:13.000000001Z stderr F  two  words \n"),
            line(b" two  words ", true)
        );
        assert_eq!(parse(b"2016-10-06T00:16:13.000000001Z stderr P \n"), line(b"", false));
    }

    #[test]
    fn what_was_not_written_so_is_no_line() {
        for other in [
            "",
            "\n",
            "x\n",
            "2016-10-06T00:16:13Z stdout F text",
            "2016-10-06T00:16:13Z stdin F text\n",
        ] {
            assert_eq!(parse(other.as_bytes()), None, "{other:?}");
        }
    }
}
