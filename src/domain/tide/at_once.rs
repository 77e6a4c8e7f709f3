//! The staircase: how many runs are active at once, over time.

/// The number of active runs from an instant on, in milliseconds since 1970.
pub(super) type Step = (i64, usize);

/// The number of active runs from each instant on, in milliseconds since 1970. Each step is the
/// most within `step` milliseconds, so a short peak stays visible.
pub(super) fn staircase(
    mut starts: Vec<i64>,
    mut ends: Vec<i64>,
    from: i64,
    to: i64,
    step: i64,
) -> (Vec<Step>, Option<Step>) {
    starts.sort_unstable();
    ends.sort_unstable();
    let (mut steps, mut most) = (Vec::new(), None::<Step>);
    let (mut begun, mut ended) = (0, 0);
    let mut column = from;
    while column < to {
        let next = (column + step).min(to);
        // The runs that are active as the column begins. An end comes before a start at the same
        // instant.
        while starts.get(begun).is_some_and(|at| *at < column) {
            begun += 1;
        }
        while ends.get(ended).is_some_and(|at| *at <= column) {
            ended += 1;
        }
        let mut active = begun.saturating_sub(ended);
        let (mut peak, mut peak_at) = (active, column);
        while let Some(start) = starts.get(begun).copied().filter(|at| *at < next) {
            while ends.get(ended).is_some_and(|at| *at <= start) {
                ended += 1;
            }
            begun += 1;
            active = begun.saturating_sub(ended);
            if active > peak {
                (peak, peak_at) = (active, start);
            }
        }
        if steps.last().is_none_or(|(_, last)| *last != peak) {
            steps.push((column, peak));
        }
        if peak > most.map_or(0, |(_, count)| count) {
            most = Some((peak_at, peak));
        }
        column = next;
    }
    (steps, most)
}
