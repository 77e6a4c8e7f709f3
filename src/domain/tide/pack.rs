//! The layout of a lane: merges marks that are too close, and gives overlapping ones a row each.

use super::mark::{Mark, MarkKind};
use super::past::Window;

/// The rows of a lane.
pub(super) const ROWS: usize = 3;
/// Marks that are closer than this many pixels are merged.
const CLOSE_PX: i64 = 2;
/// Marks of fewer pixels are narrow. Only narrow marks merge with their neighbours.
const NARROW_PX: i64 = 4;

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
    let close = window.pixels(CLOSE_PX * scale);
    let narrow = window.pixels(NARROW_PX * scale);
    let is_narrow = |mark: &Mark| (mark.to - mark.from).num_milliseconds() < narrow;
    let mut packed: Vec<Mark> = Vec::new();
    // The last mark in each row, and the last narrow one, as indexes of `packed`.
    let (mut rows, mut cluster) = ([None::<usize>; ROWS], None::<usize>);
    for mark in marks {
        let reaches = |index: Option<usize>, by: i64| {
            index
                .and_then(|index| packed.get(index))
                .is_some_and(|last: &Mark| (mark.from - last.to).num_milliseconds() < by)
        };
        let joins = |index: Option<usize>| {
            index.and_then(|index| packed.get(index)).is_some_and(|last| may_merge(last, mark))
        };
        let into = if is_narrow(mark) {
            cluster.filter(|_| reaches(cluster, close) && joins(cluster))
        } else {
            let twin = |index: &usize| {
                packed.get(*index).is_some_and(|last| {
                    (last.from - mark.from).num_milliseconds().abs() < close
                        && (last.to - mark.to).num_milliseconds().abs() < close
                        && may_merge(last, mark)
                })
            };
            rows.iter().flatten().copied().find(twin)
        };
        let free = || (0..ROWS).find(|row| !reaches(rows[*row], 1));
        let index = match into.map(Ok).unwrap_or_else(|| free().map(Err).unwrap_or(Ok(usize::MAX)))
        {
            Ok(usize::MAX) => {
                // Every row is taken: the last one takes this mark, too.
                let Some(index) = rows[ROWS - 1] else { continue };
                absorb(&mut packed, index, mark);
                index
            }
            Ok(index) => {
                absorb(&mut packed, index, mark);
                index
            }
            Err(row) => {
                rows[row] = Some(packed.len());
                packed.push(Mark { row: u8::try_from(row).unwrap_or(0), ..mark.clone() });
                packed.len() - 1
            }
        };
        if is_narrow(mark) {
            cluster = Some(index);
        }
    }
    count_rows(&mut packed);
    packed
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

fn absorb(packed: &mut [Mark], index: usize, mark: &Mark) {
    if let Some(into) = packed.get_mut(index) {
        into.absorb(mark.clone());
    }
}
