//! Chooses the lines of an answer of `GET /job/{id}/logs`, block by block: by number, time, channel
//! and text.

use std::collections::VecDeque;

use super::log_query::LineFilter;
use crate::domain::names::id::Attempt;
use crate::domain::output::{Line, Lines, LogLine};
use crate::scheduler::OutputBlock;

/// The chosen lines of a block.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Picked {
    pub(super) attempt: Attempt,
    lines: Lines,
    /// The number of each line, and whether it matches. `None` without `grep`.
    marks: Vec<(u64, Option<bool>)>,
}

/// A line with its number, and whether it matches. `None` without `grep`.
pub(super) type PickedLine<'a> = (u64, Option<bool>, Line<'a>);

/// Chooses lines.
#[derive(Debug)]
pub(super) struct Picker {
    filter: LineFilter,
    /// The attempt of the last block; 0 before the first block.
    attempt: Attempt,
    /// The lines before a possible match, for context.
    before: VecDeque<(u64, LogLine)>,
    /// The number of lines to show after the last match.
    after: usize,
    /// The number of chosen lines to leave out.
    to_skip: u64,
    /// The number of lines that may still be sent; `None` without a limit.
    left: Option<u64>,
}

impl Picker {
    /// Creates a picker that leaves out the first `skip` chosen lines, and then passes on up to
    /// `limit`.
    pub(super) fn new(filter: LineFilter, skip: u64, limit: Option<u64>) -> Self {
        Self {
            filter,
            attempt: Attempt::default(),
            before: VecDeque::new(),
            after: 0,
            to_skip: skip,
            left: limit,
        }
    }

    /// Checks whether no further line will be chosen.
    pub(super) fn is_done(&self) -> bool {
        self.left == Some(0)
    }

    /// Returns the chosen lines of a block.
    pub(super) fn pick(&mut self, block: &OutputBlock) -> Picked {
        if block.attempt > self.attempt && self.attempt.0 > 0 {
            // The query counts lines of the first attempt.
            (self.filter.from_line, self.to_skip, self.after) = (1, 0, 0);
            self.before.clear();
        }
        self.attempt = block.attempt;
        let mut picked = Picked { attempt: block.attempt, ..Picked::default() };
        for (number, line) in (block.first..).zip(block.lines.iter()) {
            let LineFilter { from_line, since, channel, .. } = &self.filter;
            let passes = number >= *from_line
                && since.is_none_or(|since| line.at >= since)
                && channel.is_none_or(|channel| line.channel == channel);
            if passes {
                self.add(number, line, &mut picked);
            }
            if self.is_done() {
                break;
            }
        }
        picked
    }

    fn add(&mut self, number: u64, line: Line<'_>, picked: &mut Picked) {
        let Some(grep) = &self.filter.grep else { return self.emit(number, None, line, picked) };
        if grep.is_match(line.text) {
            for (number, line) in std::mem::take(&mut self.before) {
                self.emit(number, Some(false), line.as_line(), picked);
            }
            self.after = self.filter.context;
            self.emit(number, Some(true), line, picked);
        } else if self.after > 0 {
            self.after -= 1;
            self.emit(number, Some(false), line, picked);
        } else if self.filter.context > 0 {
            if self.before.len() == self.filter.context {
                self.before.pop_front();
            }
            self.before.push_back((number, line.to_line()));
        }
    }

    fn emit(&mut self, number: u64, is_match: Option<bool>, line: Line<'_>, picked: &mut Picked) {
        if self.to_skip > 0 {
            self.to_skip -= 1;
            return;
        }
        match &mut self.left {
            Some(0) => return,
            Some(left) => *left -= 1,
            None => {}
        }
        picked.lines.push(line);
        picked.marks.push((number, is_match));
    }
}

impl Picked {
    pub(super) fn len(&self) -> usize {
        self.marks.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.marks.is_empty()
    }

    /// Estimates the memory of the lines, in bytes.
    pub(super) fn weight(&self) -> usize {
        self.lines.weight()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = PickedLine<'_>> {
        self.marks
            .iter()
            .zip(self.lines.iter())
            .map(|((number, is_match), line)| (*number, *is_match, line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::names::id::Timestamp;
    use crate::domain::output::Channel;

    fn block(attempt: u32, first: u64, texts: &[&str]) -> OutputBlock {
        let line = |text: &&'static str| Line {
            at: Timestamp::UNIX_EPOCH,
            channel: Channel::Stdout,
            text: text.as_bytes(),
            complete: true,
        };
        let texts: Vec<&'static str> = texts.iter().map(|text| &*text.to_string().leak()).collect();
        OutputBlock { attempt: Attempt(attempt), first, lines: texts.iter().map(line).collect() }
    }

    fn filter(grep: Option<&str>, context: usize) -> LineFilter {
        let grep = grep.map(|text| regex::bytes::Regex::new(text).expect("valid"));
        LineFilter { from_line: 1, since: None, channel: None, grep, context }
    }

    /// Returns the numbers of the chosen lines; that of a match is negative.
    fn numbers(picker: &mut Picker, block: &OutputBlock) -> Vec<i64> {
        let picked = picker.pick(block);
        let number = |(number, is_match, _): PickedLine<'_>| {
            let number = i64::try_from(number).expect("small");
            if is_match == Some(true) { -number } else { number }
        };
        picked.iter().map(number).collect()
    }

    #[test]
    fn context_spans_blocks_and_does_not_repeat() {
        let mut picker = Picker::new(filter(Some("x"), 2), 0, None);
        assert!(numbers(&mut picker, &block(1, 1, &["a", "b", "c"])).is_empty());
        assert_eq!(numbers(&mut picker, &block(1, 4, &["x", "d", "x"])), [2, 3, -4, 5, -6]);
        assert_eq!(numbers(&mut picker, &block(1, 7, &["e", "f", "g", "h"])), [7, 8]);
        assert_eq!(numbers(&mut picker, &block(1, 11, &["x"])), [9, 10, -11]);
    }

    #[test]
    fn next_attempt_is_shown_from_its_first_line() {
        let mut picker = Picker::new(LineFilter { from_line: 2, ..filter(None, 0) }, 1, None);
        assert_eq!(numbers(&mut picker, &block(1, 1, &["a", "b", "c"])), [3]);
        assert_eq!(numbers(&mut picker, &block(2, 1, &["a", "b"])), [1, 2]);
    }

    #[test]
    fn limit_ends_the_choice() {
        let mut picker = Picker::new(filter(Some("x"), 1), 1, Some(2));
        assert_eq!(numbers(&mut picker, &block(1, 1, &["a", "x", "b", "x"])), [-2, 3]);
        assert!(picker.is_done());
    }
}
