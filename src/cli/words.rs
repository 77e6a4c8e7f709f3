//! Words for a person: the distance of a time from now, and the shortest ends of ids.

use chrono::{DateTime, Utc};

/// The smallest number of digits to which an id is shortened. The server takes no fewer.
const SHORTEST_ID: usize = 4;

/// Returns the distance of an instant from now: `in 28 s`, `2 min ago`, `now`. An instant that is
/// months away is shown as its day.
pub(super) fn distance(at: DateTime<Utc>, now: DateTime<Utc>) -> String {
    let seconds = (at - now).num_milliseconds() as f64 / 1_000.0;
    let seconds = seconds.round() as i64;
    if seconds.abs() >= 100 * 24 * 3_600 {
        return at.format("%Y-%m-%d").to_string();
    }
    match seconds {
        0 => "now".to_owned(),
        1.. => format!("in {}", span(seconds)),
        _ => format!("{} ago", span(-seconds)),
    }
}

/// Returns the distance of an RFC 3339 time from now, or the text itself if it is no time.
pub(super) fn distance_of(text: &str, now: DateTime<Utc>) -> String {
    DateTime::parse_from_rfc3339(text)
        .map_or_else(|_| text.to_owned(), |at| distance(at.with_timezone(&Utc), now))
}

/// Returns a number of seconds in its largest fitting unit: `99 s`, `99 min`, `47 h`, `3 d`.
pub(super) fn span(seconds: i64) -> String {
    match seconds {
        ..100 => format!("{seconds} s"),
        100..6_000 => format!("{} min", (seconds + 30) / 60),
        6_000..172_800 => format!("{} h", (seconds + 1_800) / 3_600),
        _ => format!("{} d", (seconds + 43_200) / 86_400),
    }
}

/// Returns the number of digits at the end of these ids that tells them apart, at least 4.
pub(super) fn short_length<'t>(ids: impl Iterator<Item = &'t str>) -> usize {
    let mut reversed: Vec<Vec<char>> = ids.map(|id| id.chars().rev().collect()).collect();
    reversed.sort();
    reversed.dedup();
    let common = |pair: &[Vec<char>]| {
        pair[0].iter().zip(&pair[1]).take_while(|(one, other)| one == other).count()
    };
    reversed.windows(2).map(|pair| common(pair) + 1).max().unwrap_or(0).max(SHORTEST_ID)
}

/// Returns the last digits of an id.
pub(super) fn end_of(id: &str, length: usize) -> &str {
    let from = id.char_indices().rev().nth(length.saturating_sub(1)).map_or(0, |(at, _)| at);
    &id[from..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_in_words() {
        let now = DateTime::from_timestamp(1_624_195_528, 0).expect("an instant");
        for (seconds, words) in [
            (0, "now"),
            (28, "in 28 s"),
            (-120, "2 min ago"),
            (-59, "59 s ago"),
            (7_200, "in 2 h"),
            (-3 * 86_400, "3 d ago"),
            (-200 * 86_400, "2020-12-02"),
        ] {
            assert_eq!(distance(now + chrono::Duration::seconds(seconds), now), words);
        }
        assert_eq!(distance_of("2021-06-20T13:25:56Z", now), "in 28 s");
        assert_eq!(distance_of("never", now), "never");
    }

    #[test]
    fn ids_are_cut_to_what_tells_them_apart() {
        let length = |ids: &[&str]| short_length(ids.iter().copied());
        assert_eq!(length(&[]), 4);
        assert_eq!(length(&["0000aaaa"]), 4);
        assert_eq!(length(&["0000aaaa", "0001bbbb"]), 4);
        assert_eq!(length(&["0000abcd1", "0000bbcd1", "0000bbcd1"]), 5);
        assert_eq!(end_of("0000abcd1", 5), "abcd1");
        assert_eq!(end_of("ab", 4), "ab");
    }
}
