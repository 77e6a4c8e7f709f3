//! The format of kept output before `packed`, which is that of container runtimes (CRI):
//! `2016-10-06T00:17:09.669794202Z stdout F text`. A `P` in place of `F` marks a line without an
//! end. The text is any bytes except a line end. Such files are only read.

use crate::domain::output::{Channel, Line};

/// Parses a line with its end; returns `None` for any other format.
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
    use crate::domain::names::id::Timestamp;

    #[test]
    fn line_of_container_runtimes_is_read() {
        let at = Timestamp::from_timestamp_nanos(1_475_712_973_000_000_001);
        let line = |text, complete| Some(Line { at, channel: Channel::Stderr, text, complete });
        assert_eq!(
            parse(b"2016-10-06T00:16:13.000000001Z stderr F  two  words \n"),
            line(b" two  words ", true)
        );
        assert_eq!(parse(b"2016-10-06T00:16:13.000000001Z stderr P \n"), line(b"", false));
    }

    #[test]
    fn line_in_another_format_is_refused() {
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
