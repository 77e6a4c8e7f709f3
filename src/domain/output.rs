//! What a container writes: lines on two channels, each with its time.

use std::fmt;

use super::id::Timestamp;

/// Where output was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Channel {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A line of output, or a piece of one that is too long or has not ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// When, by the engine's clock, to the nanosecond.
    pub at: Timestamp,
    /// Where it was written.
    pub channel: Channel,
    /// The bytes, without the line's end.
    pub text: Vec<u8>,
    /// Whether a line's end followed.
    pub complete: bool,
}

impl Channel {
    /// `stdout` or `stderr`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }

    /// The channel that this word names.
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
