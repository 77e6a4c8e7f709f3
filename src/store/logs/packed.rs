//! The format of kept output. Lines that closely follow each other share a time, so many short
//! lines take little more space than their text.
//!
//! A file is a head (which zstd skips), a zstd frame, and a tail (skipped, too). The tail holds the
//! sums that are shown without reading the rest. The frame holds *runs*: a byte, the time since the
//! previous run, the length of the text, and the text with a line end after each line. The byte
//! holds, from the lowest bit: stderr; the last line has no end; the encoding of the time (2 bits);
//! the length, or 15 where the length follows.
//!
//! A run contains the lines of one channel within a millisecond and has the time of its first line.
//! Times are exact to the nanosecond. Where times would exceed an eighth of the text, times are
//! exact to the millisecond.

use std::io::{self, BufRead, Read};
use std::mem;

use sha2::{Digest, Sha256};

use super::files::{Kept, broken};
use crate::domain::names::id::Timestamp;
use crate::domain::output::{Channel, Line, Lines};

/// A skippable frame, its length, and the name of the format that follows.
pub(super) const HEAD: &[u8; 24] = b"\x50\x2a\x4d\x18\x10\0\0\0tidetable log 2\n";
/// Another skippable frame and its length.
const TAIL: &[u8; 8] = b"\x51\x2a\x4d\x18\x20\0\0\0";
/// The length of the tail in bytes: [`TAIL`], three numbers, and a checksum of them.
pub(super) const TAIL_BYTES: u64 = 40;

const STDERR: u8 = 1;
const NO_END: u8 = 2;
/// The encodings of a time: absent (same as the previous run), in nanoseconds, in whole
/// milliseconds.
const SAME: u8 = 0;
const NANOS: u8 = 4;
const MILLIS: u8 = 8;
const TIME: u8 = 12;
/// The mark of a length that does not fit into the first byte.
const LONG: u8 = 15;

const NANOS_PER_MILLI: i64 = 1_000_000;
/// The most text in a run, in bytes, exceeded by at most one line.
const RUN_BYTES: usize = 64 * 1024;
/// The bytes of times that are exact regardless of the amount of text.
const EXACT_BYTES: u64 = 4 * 1024;

/// A writer that packs lines into runs.
#[derive(Default)]
pub(super) struct Packer {
    packed: Vec<u8>,
    /// The run that has begun: its first byte and its time.
    run: Option<(u8, i64)>,
    text: Vec<u8>,
    /// The time of the last run, as a reader will compute it.
    last: i64,
    /// The packed bytes that are not text.
    overhead: u64,
    text_bytes: u64,
    lines: u64,
}

impl Packer {
    pub(super) fn add(&mut self, line: Line<'_>) {
        let at = line.at.timestamp_nanos_opt().unwrap_or(0);
        let channel = if line.channel == Channel::Stderr { STDERR } else { 0 };
        let fits = |(begun, time): (u8, i64)| {
            begun & STDERR == channel && (0..NANOS_PER_MILLI).contains(&(at - time))
        };
        if self.text.len() >= RUN_BYTES || !self.run.is_some_and(fits) {
            self.end_run();
            self.begin_run(channel, at);
        }
        self.text.extend_from_slice(line.text);
        // Engines give no text that contains line ends; such a text would become several lines.
        self.lines += 1 + line.text.iter().filter(|byte| **byte == b'\n').count() as u64;
        if line.complete {
            self.text.push(b'\n');
        } else {
            self.run = self.run.map(|(begun, time)| (begun | NO_END, time));
            self.end_run();
        }
    }

    /// Returns the number of packed bytes that were not taken yet.
    pub(super) fn len(&self) -> usize {
        self.packed.len() + self.text.len()
    }

    /// Ends the current run and takes all packed bytes.
    pub(super) fn take(&mut self) -> Vec<u8> {
        self.end_run();
        mem::take(&mut self.packed)
    }

    fn begin_run(&mut self, channel: u8, at: i64) {
        let (at, how) = if at == self.last {
            (at, SAME)
        } else if self.overhead < EXACT_BYTES + self.text_bytes / 8 {
            (at, NANOS)
        } else {
            let millis = (at.wrapping_sub(self.last)).div_euclid(NANOS_PER_MILLI);
            (self.last + millis * NANOS_PER_MILLI, if millis == 0 { SAME } else { MILLIS })
        };
        self.run = Some((channel | how, at));
    }

    fn end_run(&mut self) {
        let Some((begun, time)) = self.run.take() else { return };
        let before = self.packed.len();
        let length = self.text.len() as u64;
        let short = u8::try_from(length).ok().filter(|length| *length < LONG);
        self.packed.push(begun | short.unwrap_or(LONG) << 4);
        match begun & TIME {
            NANOS => put_number(&mut self.packed, zigzag(time.wrapping_sub(self.last))),
            MILLIS => put_number(&mut self.packed, zigzag((time - self.last) / NANOS_PER_MILLI)),
            _ => {}
        }
        if short.is_none() {
            put_number(&mut self.packed, length);
        }
        self.last = time;
        self.overhead += (self.packed.len() - before) as u64;
        self.text_bytes += length;
        self.packed.append(&mut self.text);
    }

    /// Returns the number of lines that a reader will find.
    pub(super) fn lines(&self) -> u64 {
        self.lines
    }
}

/// A reader that unpacks runs into lines.
#[derive(Default)]
pub(super) struct Unpacker {
    last: i64,
    text: Vec<u8>,
}

impl Unpacker {
    /// Adds the lines of the next run; returns false at the end.
    pub(super) fn next(&mut self, from: &mut impl BufRead, lines: &mut Lines) -> io::Result<bool> {
        if from.fill_buf()?.is_empty() {
            return Ok(false);
        }
        let first = byte(from)?;
        let passed = match first & TIME {
            SAME => 0,
            NANOS => unzigzag(number(from)?),
            MILLIS => unzigzag(number(from)?).wrapping_mul(NANOS_PER_MILLI),
            _ => return Err(broken("a run is not as it was written")),
        };
        let length = if first >> 4 == LONG { number(from)? } else { u64::from(first >> 4) };
        self.last = self.last.wrapping_add(passed);
        self.text.clear();
        if from.take(length).read_to_end(&mut self.text)? as u64 != length {
            return Err(broken("a run is cut short"));
        }
        let at = Timestamp::from_timestamp_nanos(self.last);
        let channel = if first & STDERR == 0 { Channel::Stdout } else { Channel::Stderr };
        let open = first & NO_END != 0;
        if !open && self.text.last() != Some(&b'\n') {
            return Err(broken("a line has no end"));
        }
        for text in self.text.split_inclusive(|byte| *byte == b'\n') {
            let (text, complete) =
                text.strip_suffix(b"\n").map_or((text, false), |text| (text, true));
            lines.push(Line { at, channel, text, complete });
        }
        // An open run may end with an empty line that has no end.
        if open && self.text.last().is_none_or(|last| *last == b'\n') {
            lines.push(Line { at, channel, text: b"", complete: false });
        }
        Ok(true)
    }
}

/// Returns the tail of a file, which states the kept amount.
pub(super) fn tail(kept: Kept) -> Vec<u8> {
    let numbers =
        [kept.lines, kept.bytes, u64::from(kept.truncated)].map(u64::to_le_bytes).concat();
    let sum = Sha256::digest(&numbers);
    [&TAIL[..], &numbers, &sum[..8]].concat()
}

/// Returns the amount that a tail states; `None` where the tail is damaged.
pub(super) fn read_tail(bytes: &[u8]) -> Option<Kept> {
    let numbers = bytes.strip_prefix(TAIL)?.get(..24)?;
    let at = |n: usize| Some(u64::from_le_bytes(numbers.get(8 * n..8 * n + 8)?.try_into().ok()?));
    let kept = Kept { lines: at(0)?, bytes: at(1)?, truncated: at(2)? == 1 };
    (tail(kept) == bytes).then_some(kept)
}

fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)).cast_unsigned()
}

fn unzigzag(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ -(number & 1).cast_signed()
}

/// Writes seven bits per byte, the lowest first; all bytes but the last have the eighth bit set.
fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push((number & 0x7f) as u8);
}

fn number(from: &mut impl Read) -> io::Result<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let byte = byte(from)?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(broken("a number is not as it was written"))
}

fn byte(from: &mut impl Read) -> io::Result<u8> {
    let mut byte = [0];
    from.read_exact(&mut byte)?;
    Ok(byte[0])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::output::LogLine;

    fn line(nanos: i64, channel: Channel, text: &str, complete: bool) -> LogLine {
        let at = Timestamp::from_timestamp_nanos(1_700_000_000_000_000_000 + nanos);
        LogLine { at, channel, text: text.as_bytes().to_vec(), complete }
    }

    fn packed(lines: &[LogLine]) -> Vec<u8> {
        let mut packer = Packer::default();
        lines.iter().for_each(|line| packer.add(line.as_line()));
        assert_eq!(packer.lines(), lines.len() as u64);
        packer.take()
    }

    fn unpacked(mut packed: &[u8]) -> Vec<LogLine> {
        let (mut unpacker, mut lines) = (Unpacker::default(), Lines::default());
        while unpacker.next(&mut packed, &mut lines).expect("it is whole") {}
        lines.iter().map(|line| line.to_line()).collect()
    }

    #[test]
    fn lines_come_back_with_their_times() {
        let (out, err) = (Channel::Stdout, Channel::Stderr);
        let second = 1_000_000_000;
        let lines = [
            line(0, out, "one", true),
            line(5 * second, out, "", true),
            line(5 * second, err, "", true),
            line(5 * second, err, "", false),
            line(5 * second + 7, err, "no end", false),
            // The wall clock was set back.
            line(-second, out, &"long ".repeat(100), true),
            line(second, out, "", false),
        ];
        assert_eq!(unpacked(&packed(&lines)), lines);
    }

    #[test]
    fn lines_of_one_millisecond_share_the_first_time() {
        let lines: Vec<_> = (0..4).map(|n| line(n * 400_000, Channel::Stdout, "y", true)).collect();
        let at: Vec<_> = unpacked(&packed(&lines)).iter().map(|line| line.at).collect();
        assert_eq!(at, [lines[0].at, lines[0].at, lines[0].at, lines[3].at]);
    }

    #[test]
    fn short_lines_take_little_more_than_their_text() {
        for (nanos, most) in [(250, 1.01), (10_000, 1.05), (400_000, 1.8)] {
            let lines: Vec<_> =
                (0..100_000).map(|n| line(n * nanos, Channel::Stdout, "y", true)).collect();
            let (packed, back) = (packed(&lines), unpacked(&packed(&lines)));
            assert!(packed.len() as f64 <= 200_000.0 * most + 8_192.0, "{nanos}: {}", packed.len());
            let off = |(a, b): (&LogLine, &LogLine)| (a.at - b.at).num_nanoseconds();
            assert!(
                lines.iter().zip(&back).all(|pair| matches!(off(pair), Some(0..NANOS_PER_MILLI)))
            );
        }
    }

    #[test]
    fn long_lines_keep_their_nanoseconds() {
        let lines: Vec<_> = (0..10_000)
            .map(|n| line(n * 1_234_567, Channel::Stdout, &"x".repeat(100), true))
            .collect();
        assert_eq!(unpacked(&packed(&lines)), lines);
    }

    #[test]
    fn tail_is_read_and_changed_tail_is_none() {
        let kept = Kept { lines: 3, bytes: 70_000, truncated: true };
        let bytes = tail(kept);
        assert_eq!((read_tail(&bytes), bytes.len() as u64), (Some(kept), TAIL_BYTES));
        for n in 0..bytes.len() {
            let mut other = bytes.clone();
            other[n] ^= 1;
            assert_eq!(read_tail(&other), None, "{n}");
        }
    }
}
