//! The output of a container: lines on two channels, each with its time.

use std::fmt;

use super::names::id::Timestamp;

/// The channel to which output was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Channel {
    Stdout,
    Stderr,
}

/// A line of output that owns its text. A line that is too long or has not ended comes in pieces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// The time by the engine's clock, to the nanosecond.
    pub at: Timestamp,
    pub channel: Channel,
    /// The bytes without the line's end.
    pub text: Vec<u8>,
    /// The line's end followed. `false` marks a piece of a line.
    pub complete: bool,
}

/// A borrowed line of [`Lines`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// The time by the engine's clock, to the nanosecond.
    pub at: Timestamp,
    pub channel: Channel,
    /// The bytes without the line's end.
    pub text: &'a [u8],
    /// The line's end followed. `false` marks a piece of a line.
    pub complete: bool,
}

/// Lines of output in one buffer. A stream passes on many lines at once, without an allocation for
/// each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lines {
    text: Vec<u8>,
    marks: Vec<Mark>,
}

/// All of a line but its text, which ends at `end` and begins at the end of the line before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    end: usize,
    at: Timestamp,
    channel: Channel,
    complete: bool,
}

impl Line<'_> {
    /// Counts the bytes that a reader gets: the text, and the line's end if there is one.
    pub fn shown_bytes(&self) -> u64 {
        self.text.len() as u64 + u64::from(self.complete)
    }

    pub fn to_line(&self) -> LogLine {
        LogLine {
            at: self.at,
            channel: self.channel,
            text: self.text.to_vec(),
            complete: self.complete,
        }
    }
}

impl LogLine {
    pub fn as_line(&self) -> Line<'_> {
        Line { at: self.at, channel: self.channel, text: &self.text, complete: self.complete }
    }
}

impl Lines {
    pub fn push(&mut self, line: Line<'_>) {
        self.text.extend_from_slice(line.text);
        let Line { at, channel, complete, .. } = line;
        self.marks.push(Mark { end: self.text.len(), at, channel, complete });
    }

    pub fn len(&self) -> usize {
        self.marks.len()
    }

    pub fn is_empty(&self) -> bool {
        self.marks.is_empty()
    }

    /// Estimates the memory of the lines, in bytes.
    pub fn weight(&self) -> usize {
        self.text.len() + size_of_val(&self.marks[..])
    }

    /// Lists the lines, oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Line<'_>> {
        self.marks.iter().enumerate().map(|(n, mark)| {
            let begin = n.checked_sub(1).map_or(0, |before| self.marks[before].end);
            let Mark { end, at, channel, complete } = *mark;
            Line { at, channel, text: &self.text[begin..end], complete }
        })
    }

    #[must_use]
    pub fn skip(self, count: usize) -> Self {
        if count == 0 { self } else { self.iter().skip(count).collect() }
    }

    /// Keeps the lines for which `passes` is true.
    #[must_use]
    pub fn filter(self, passes: impl Fn(&Line<'_>) -> bool) -> Self {
        if self.iter().all(|line| passes(&line)) {
            self
        } else {
            self.iter().filter(passes).collect()
        }
    }
}

/// A limit on output. Lines pass until a reader would get more than `limit` bytes. One line about
/// the limit follows, then nothing.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    limit: u64,
    bytes: u64,
    is_met: bool,
}

impl Limit {
    /// Starts a limit of `limit` bytes, with none used.
    pub fn new(limit: u64) -> Self {
        Self { limit, bytes: 0, is_met: false }
    }

    /// Counts the bytes that have passed, without the line about the limit.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Checks whether a line was held back.
    pub fn is_met(&self) -> bool {
        self.is_met
    }

    /// Passes `line` to `take` if it fits, or the line about the limit once.
    pub fn pass(&mut self, line: Line<'_>, take: &mut impl FnMut(Line<'_>)) {
        let bytes = self.bytes.saturating_add(line.shown_bytes());
        if self.is_met {
            return;
        }
        if bytes <= self.limit {
            self.bytes = bytes;
            return take(line);
        }
        self.is_met = true;
        let text = format!("tidetable: the rest is not kept: `log_limit` is {} bytes", self.limit);
        take(Line { at: line.at, channel: Channel::Stderr, text: text.as_bytes(), complete: true });
    }

    /// Returns the lines that fit, with the line about the limit after the last one.
    pub fn of(&mut self, lines: Lines) -> Lines {
        let shown: u64 = lines.iter().map(|line| line.shown_bytes()).sum();
        if !self.is_met && self.bytes.saturating_add(shown) <= self.limit {
            self.bytes += shown;
            return lines;
        }
        let mut passed = Lines::default();
        lines.iter().for_each(|line| self.pass(line, &mut |line| passed.push(line)));
        passed
    }
}

impl<'a> FromIterator<Line<'a>> for Lines {
    fn from_iter<T: IntoIterator<Item = Line<'a>>>(all: T) -> Self {
        let mut lines = Self::default();
        all.into_iter().for_each(|line| lines.push(line));
        lines
    }
}

impl Channel {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }

    /// Reads `stdout` or `stderr`; `None` for any other word.
    pub fn from_word(word: &str) -> Option<Self> {
        match word {
            "stdout" => Some(Self::Stdout),
            "stderr" => Some(Self::Stderr),
            _ => None,
        }
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_returned_as_added() {
        let line = |text, complete| Line {
            at: Timestamp::UNIX_EPOCH,
            channel: Channel::Stdout,
            text,
            complete,
        };
        let all = [line(&b"one"[..], true), line(b"", true), line(b"three", false)];
        let lines: Lines = all.into_iter().collect();
        assert_eq!(lines.iter().collect::<Vec<_>>(), all);
        assert_eq!(lines.clone().skip(1).iter().collect::<Vec<_>>(), all[1..]);
        assert_eq!(lines.filter(|line| line.complete).iter().collect::<Vec<_>>(), all[..2]);
        assert_eq!(all.map(|line| line.shown_bytes()), [4, 1, 5]);
    }

    #[test]
    fn limit_counts_bytes_that_a_reader_gets() {
        let line = |text, complete| Line {
            at: Timestamp::UNIX_EPOCH,
            channel: Channel::Stdout,
            text,
            complete,
        };
        let block = || -> Lines {
            [line(&b"1234"[..], true), line(b"", true), line(b"789", false)].into_iter().collect()
        };
        for (limit, lines, met) in
            [(9, 3, false), (8, 3, true), (6, 3, true), (5, 2, true), (0, 1, true)]
        {
            let mut limit = Limit::new(limit);
            assert_eq!((limit.of(block()).len(), limit.is_met()), (lines, met), "{limit:?}");
            assert_eq!(limit.of(block()).len(), usize::from(!met), "{limit:?}");
        }
    }
}
