//! The layout of a lane: merges marks that are too close, and gives overlapping ones a row each.

use super::mark::{Mark, MarkKind};
use super::past::Window;
use crate::domain::names::id::Timestamp;

/// The rows of a lane.
pub(super) const ROWS: usize = 3;
/// Marks that are closer than this many pixels are merged.
const CLOSE_PX: i64 = 2;
/// Marks of fewer pixels are narrow. Only narrow marks merge with their neighbours.
const NARROW_PX: i64 = 4;
/// The most pixels that merged narrow marks may cover.
const CLUSTER_PX: i64 = 16;

/// Returns the marks with those merged that are too close to be told apart. Merges further until
/// at most `most` are left.
pub(super) fn pack(mut marks: Vec<Mark>, window: &Window, most: usize) -> Vec<Mark> {
    marks.sort_by_key(|mark| (mark.from, mark.to));
    let mut scale = 1;
    loop {
        let packed = merged(&marks, window, scale);
        if packed.len() <= most.max(ROWS) || scale > i64::from(window.px) {
            return packed;
        }
        scale *= 2;
    }
}

fn merged(marks: &[Mark], window: &Window, scale: i64) -> Vec<Mark> {
    let mut layout = Layout {
        packed: Vec::new(),
        rows: [None; ROWS],
        cluster: None,
        close: window.pixels(CLOSE_PX * scale),
        narrow: window.pixels(NARROW_PX * scale),
        widest: window.pixels(CLUSTER_PX * scale),
    };
    marks.iter().for_each(|mark| layout.place(mark));
    count_rows(&mut layout.packed);
    layout.packed
}

/// A lane under construction. Lengths are in milliseconds.
struct Layout {
    packed: Vec<Mark>,
    /// The last mark in each row, as an index of `packed`.
    rows: [Option<usize>; ROWS],
    /// The last narrow mark, as an index of `packed`.
    cluster: Option<usize>,
    close: i64,
    narrow: i64,
    widest: i64,
}

impl Layout {
    /// Merges the mark into one that it cannot be told apart from, or gives it a row.
    fn place(&mut self, mark: &Mark) {
        let is_narrow = length(mark.from, mark.to) < self.narrow;
        let partner = if is_narrow { self.neighbour(mark) } else { self.twin(mark) };
        // Narrow marks may overlap a little: a new row would say more than there is.
        let slack = if is_narrow { self.narrow } else { 0 };
        let free = (0..ROWS).find(|row| {
            self.at(self.rows[*row]).is_none_or(|last| length(mark.from, last.to) <= slack)
        });
        // Where every row is taken, the last one takes this mark, too.
        let full = self.rows[ROWS - 1].filter(|_| free.is_none());
        let full =
            full.filter(|index| self.at(Some(*index)).is_some_and(|last| may_merge(last, mark)));
        let index = match partner.or(full) {
            Some(index) => {
                if let Some(into) = self.packed.get_mut(index) {
                    into.absorb(mark.clone());
                }
                index
            }
            None => {
                let row = free.unwrap_or(ROWS - 1);
                self.rows[row] = Some(self.packed.len());
                self.packed.push(Mark { row: u8::try_from(row).unwrap_or(0), ..mark.clone() });
                self.packed.len() - 1
            }
        };
        if is_narrow {
            self.cluster = Some(index);
        }
    }

    fn at(&self, index: Option<usize>) -> Option<&Mark> {
        self.packed.get(index?)
    }

    /// Returns the last narrow mark, if this one is close to it. A long chain of narrow marks
    /// becomes several, so that one failure does not colour all of them.
    fn neighbour(&self, mark: &Mark) -> Option<usize> {
        self.cluster.filter(|index| {
            self.at(Some(*index)).is_some_and(|last| {
                length(last.to, mark.from) < self.close
                    && length(last.from, mark.to) < self.widest
                    && may_merge(last, mark)
            })
        })
    }

    /// Returns the mark that begins and ends with this one, if there is one.
    fn twin(&self, mark: &Mark) -> Option<usize> {
        self.rows.iter().flatten().copied().find(|index| {
            self.at(Some(*index)).is_some_and(|last| {
                length(last.from, mark.from).abs() < self.close
                    && length(last.to, mark.to).abs() < self.close
                    && may_merge(last, mark)
            })
        })
    }
}

fn length(from: Timestamp, to: Timestamp) -> i64 {
    (to - from).num_milliseconds()
}

/// Notes for each mark the number of rows of the marks that it overlaps with.
fn count_rows(packed: &mut [Mark]) {
    let mut first = 0;
    while let Some(mark) = packed.get(first) {
        let (mut end, mut last, mut rows) = (mark.to, first + 1, mark.row + 1);
        while let Some(next) = packed.get(last).filter(|next| next.from < end) {
            (end, rows, last) = (end.max(next.to), rows.max(next.row + 1), last + 1);
        }
        packed.iter_mut().take(last).skip(first).for_each(|mark| mark.rows = rows);
        first = last;
    }
}

/// Keeps the future apart from the past, and running jobs apart from all others.
fn may_merge(one: &Mark, other: &Mark) -> bool {
    let is_running = |mark: &Mark| mark.kind == MarkKind::Running;
    one.is_ahead() == other.is_ahead() && !is_running(one) && !is_running(other)
}
