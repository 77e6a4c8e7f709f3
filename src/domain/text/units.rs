//! Sizes and durations as people write them: `64MiB`, `1h 30m`.
//!
//! Sizes follow Docker: `64m`, `64MB` and `64MiB` are all 64 · 1024 · 1024 bytes. The usual crates
//! read `64m` as 64,000,000, so this module has its own parser. Durations are read part by part
//! with humantime. Given the whole text, humantime takes `1M` for a month and `1 30m` for 130
//! minutes, and panics on some sums near its limits.
//!
//! The parsers refuse negative values, a missing unit of time, months and years. They also refuse
//! sizes that an engine cannot hold and durations that a calendar cannot hold. Each error is a
//! sentence that names a valid value.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use humantime::DurationError;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A size in bytes, at most `i64::MAX`, the largest that engines accept.
///
/// ```
/// use tidetable::domain::text::units::Bytes;
///
/// let size: Bytes = "64m".parse()?;
/// assert_eq!(size.as_u64(), 64 * 1024 * 1024);
/// assert_eq!(size.to_string(), "64MiB");
/// # Ok::<(), tidetable::domain::text::units::UnitError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(u64);

/// A duration. A duration that is read from text is at most 100 years long.
///
/// ```
/// use std::time::Duration;
/// use tidetable::domain::text::units::Span;
///
/// let span: Span = "90 minutes".parse()?;
/// assert_eq!(span.as_duration(), Duration::from_secs(5400));
/// assert_eq!(span.to_string(), "1h 30m");
/// # Ok::<(), tidetable::domain::text::units::UnitError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(Duration);

/// The error for a text that is no size or no duration. Each variant holds the text, escaped and
/// cut, so it is safe to show and to log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// The text is not a number with an optional unit of size.
    #[error("`{0}` is not a size: write one such as `64MiB`, `1.5g` or `1024` (bytes)")]
    NotASize(String),
    /// The size is more than `i64::MAX` bytes, or has too many digits to compute.
    #[error(
        "`{0}` is too large or has too many digits: write a size below 8192PiB, such as `64MiB`"
    )]
    TooLarge(String),
    /// The size is a fraction of bytes, or less than one byte but not 0.
    #[error(
        "`{0}` asks for part of a byte: write whole bytes or a larger unit, such as `1024` or `1.5g`"
    )]
    PartOfAByte(String),
    /// The size or the duration starts with a minus.
    #[error("`{0}` is negative: write it without the minus")]
    Negative(String),
    /// The text is not a list of numbers with units.
    #[error("`{0}` is not a duration: write one such as `30s`, `1h 30m` or `5 minutes`")]
    NotADuration(String),
    /// A number in the duration has no unit. The second field holds the number.
    #[error("`{0}` lacks a unit: write `{1}s` for seconds, `{1}m` for minutes or `{1}h` for hours")]
    NoUnit(String, String),
    /// A unit in the duration is unknown. The second field holds the unit.
    #[error(
        "`{0}` has the unknown unit `{1}`: use `ms`, `s`, `m`, `h`, `d` or `w`, as in `1h 30m`"
    )]
    UnknownUnit(String, String),
    /// A unit in the duration means months or years, as humantime's `M` does. The second field
    /// holds the unit.
    #[error(
        "`{0}` counts in months or years (`{1}`), which vary in length: write weeks or days, such as `4w` or \
         `30d`, or a small `m` for minutes"
    )]
    CalendarUnit(String, String),
    /// A fraction in the duration is no whole number of seconds (for hours and longer units) or
    /// nanoseconds (for shorter ones).
    #[error(
        "`{0}` has a fraction that does not come out even: write smaller units, such as `1h 20m`"
    )]
    Uneven(String),
    /// The duration is longer than 100 years.
    #[error("`{0}` is longer than 100 years: write a shorter duration, such as `30s` or `52w`")]
    TooLong(String),
}

/// The largest size that engines accept: their sizes are signed.
const LARGEST_BYTES: u64 = i64::MAX as u64;

/// 100 years of 365.25 days. A longer duration is a typing error. The limit is far below the
/// overflow of the calendar.
const LONGEST_SPAN: Duration = Duration::from_secs(36_525 * SECONDS_PER_DAY);

const SECONDS_PER_DAY: u64 = 86_400;

/// The number of characters of a caller's text that an error shows.
const SHOWN_CHARS: usize = 40;

/// The units of size, each 1024 times the one before.
const SIZE_UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

impl Bytes {
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// Returns the size in bytes as the signed number that engines take.
    pub const fn as_i64(self) -> i64 {
        self.0.cast_signed() // never negative: see LARGEST_BYTES
    }
}

impl TryFrom<u64> for Bytes {
    type Error = UnitError;

    /// Refuses more than `i64::MAX` bytes.
    fn try_from(bytes: u64) -> Result<Self, UnitError> {
        match bytes <= LARGEST_BYTES {
            true => Ok(Self(bytes)),
            false => Err(UnitError::TooLarge(bytes.to_string())),
        }
    }
}

impl FromStr for Bytes {
    type Err = UnitError;

    /// Reads `64MiB`, `64m`, `64 MB`, `1.5g`, `1024`, `1024b`, in any case. A fraction that gives
    /// no whole number of bytes is rounded down, as Docker does. The result is never rounded to 0,
    /// which would mean "no limit".
    fn from_str(text: &str) -> Result<Self, UnitError> {
        let text = text.trim();
        if is_negative(text) {
            return Err(UnitError::Negative(shown(text)));
        }
        let (number, unit) = split_number(text);
        let (Some((whole, fraction)), Some(factor)) =
            (halves_of(number), size_factor(unit.trim_start()))
        else {
            return Err(UnitError::NotASize(shown(text)));
        };
        let bytes = multiply(whole, fraction, factor)
            .filter(|bytes| *bytes <= LARGEST_BYTES)
            .ok_or_else(|| UnitError::TooLarge(shown(text)))?;
        let asks_for_some = number.contains(|digit| matches!(digit, '1'..='9'));
        let part_of_a_byte = (factor == 1 && !fraction.is_empty()) || (bytes == 0 && asks_for_some);
        match part_of_a_byte {
            true => Err(UnitError::PartOfAByte(shown(text))),
            false => Ok(Self(bytes)),
        }
    }
}

impl fmt::Display for Bytes {
    /// Writes the largest unit that is exact: `64MiB`, `1536KiB`, `1000B`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let power = match self.0 {
            0 => 0,
            bytes => (bytes.trailing_zeros() as usize / 10).min(SIZE_UNITS.len() - 1),
        };
        write!(f, "{}{}", self.0 >> (10 * power), SIZE_UNITS[power])
    }
}

impl Span {
    pub const fn as_duration(self) -> Duration {
        self.0
    }
}

impl From<Duration> for Span {
    /// Accepts any length. The limit of 100 years applies only to durations that callers write.
    fn from(duration: Duration) -> Self {
        Self(duration)
    }
}

impl FromStr for Span {
    type Err = UnitError;

    /// Reads `30s`, `1h 30m`, `1h30m`, `5 minutes`, `1.5h`, `2w`, `500ms`. Units of one letter are
    /// lower case; longer units may have any case.
    fn from_str(text: &str) -> Result<Self, UnitError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(UnitError::NotADuration(String::new()));
        }
        if is_negative(text) {
            return Err(UnitError::Negative(shown(text)));
        }
        let mut total = Duration::ZERO;
        let mut rest = text;
        while !rest.is_empty() {
            let (number, after) = split_number(rest);
            let (unit, after) = split_at_first(after.trim_start(), |c| !c.is_alphabetic());
            rest = after.trim_start();
            total = total
                .checked_add(duration_of(number, unit, rest, text)?)
                .filter(|total| *total <= LONGEST_SPAN)
                .ok_or_else(|| UnitError::TooLong(shown(text)))?;
        }
        Ok(Self(total))
    }
}

impl fmt::Display for Span {
    /// Writes the duration as humantime does (`1h 30m`, `2days 5s`), but with days instead of its
    /// months and years: `45days`, not `1month 14days 13h 26m 24s`. The parser could not read the
    /// latter back.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let days = self.0.as_secs() / SECONDS_PER_DAY;
        let rest = Duration::new(self.0.as_secs() % SECONDS_PER_DAY, self.0.subsec_nanos());
        match days {
            0 => return write!(f, "{}", humantime::format_duration(rest)),
            1 => f.write_str("1day")?,
            _ => write!(f, "{days}days")?,
        }
        if !rest.is_zero() {
            write!(f, " {}", humantime::format_duration(rest))?;
        }
        Ok(())
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    /// Reads text or a whole number of bytes.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(BytesVisitor)
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    /// Reads text only, because a bare number has no unit.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SpanVisitor)
    }
}

struct BytesVisitor;

impl de::Visitor<'_> for BytesVisitor {
    type Value = Bytes;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a size such as \"64MiB\", or a whole number of bytes")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Bytes, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_u64<E: de::Error>(self, bytes: u64) -> Result<Bytes, E> {
        Bytes::try_from(bytes).map_err(E::custom)
    }

    fn visit_i64<E: de::Error>(self, bytes: i64) -> Result<Bytes, E> {
        match u64::try_from(bytes) {
            Ok(bytes) => self.visit_u64(bytes),
            Err(_) => Err(E::custom(UnitError::Negative(bytes.to_string()))),
        }
    }
}

struct SpanVisitor;

impl de::Visitor<'_> for SpanVisitor {
    type Value = Span;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration in text with its unit, such as \"90s\" or \"1h 30m\"")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Span, E> {
        text.parse().map_err(E::custom)
    }
}

/// Returns a caller's text fit to be quoted in a message: unprintable characters are escaped, and
/// the text is cut after about 40 characters.
pub(crate) fn shown(text: &str) -> String {
    let mut out = String::new();
    let mut room = SHOWN_CHARS;
    for c in text.chars() {
        let piece: String = match c {
            '"' | '\'' => c.to_string(),
            _ => c.escape_debug().collect(),
        };
        let Some(left) = room.checked_sub(piece.chars().count()) else {
            return out + "…";
        };
        room = left;
        out += &piece;
    }
    out
}

/// Checks whether the text starts with a minus, the typographic one included.
pub(crate) fn is_negative(text: &str) -> bool {
    text.starts_with(['-', '−'])
}

/// Returns the length of one part of a duration, such as `1.5` and `h`. `rest` is the text after
/// the part; `text` is the whole, for messages.
fn duration_of(number: &str, unit: &str, rest: &str, text: &str) -> Result<Duration, UnitError> {
    let value = shown(text);
    let Some((whole, fraction)) = halves_of(number) else {
        return Err(UnitError::NotADuration(value));
    };
    if unit.is_empty() {
        let ends_here = rest.is_empty() || rest.starts_with(|c: char| c.is_ascii_digit());
        return Err(match ends_here {
            true => UnitError::NoUnit(value, shown(number)),
            false => UnitError::NotADuration(value),
        });
    }
    let name = match unit.chars().nth(1) {
        Some(_) => unit.to_ascii_lowercase(),
        None => unit.to_owned(), // `M` is not `m`
    };
    if is_calendar_unit(&name) {
        return Err(UnitError::CalendarUnit(value, shown(unit)));
    }
    let part_of = |number: &str| humantime::parse_duration(&format!("{number}{name}"));
    part_of(number).map_err(|error| match error {
        DurationError::UnknownUnit { .. } => UnitError::UnknownUnit(value, shown(unit)),
        // humantime reports NumberOverflow for two causes. If the whole part parses alone, the
        // fraction is uneven; otherwise the number is too large.
        DurationError::NumberOverflow if !fraction.is_empty() && part_of(whole).is_ok() => {
            UnitError::Uneven(value)
        }
        DurationError::NumberOverflow => UnitError::TooLong(value),
        DurationError::InvalidCharacter(_)
        | DurationError::NumberExpected(_)
        | DurationError::Empty => UnitError::NotADuration(value),
    })
}

/// Checks for a unit without a fixed length: humantime's names, and some others that people try.
fn is_calendar_unit(unit: &str) -> bool {
    matches!(unit, "M" | "mo" | "mos" | "mon" | "month" | "months")
        || matches!(unit, "y" | "Y" | "yr" | "yrs" | "year" | "years")
}

/// Returns the number of bytes in a unit, in any case: `""` and `b`, `m` and `mb` and `mib` …
/// `None` means an unknown unit.
fn size_factor(unit: &str) -> Option<u64> {
    let is_named = |name: &&str| {
        let names = [*name, &name.replace('i', ""), &name[..1]];
        names.iter().any(|name| unit.eq_ignore_ascii_case(name))
    };
    let power = match unit.is_empty() {
        true => 0,
        false => SIZE_UNITS.iter().position(is_named)?,
    };
    Some(1 << (10 * power))
}

/// Returns `whole.fraction` times `factor` in bytes, rounded down. `None` means too many digits to
/// multiply.
fn multiply(whole: &str, fraction: &str, factor: u64) -> Option<u64> {
    let scale = 10_u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let digits: u128 = format!("{whole}{fraction}").parse().ok()?;
    u64::try_from(digits.checked_mul(u128::from(factor))? / scale).ok()
}

/// Splits `1.5` into `1` and `5`, and `1` into `1` and nothing. `None` means that digits are
/// missing.
fn halves_of(number: &str) -> Option<(&str, &str)> {
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match number.split_once('.') {
        Some((whole, part)) => (is_digits(whole) && is_digits(part)).then_some((whole, part)),
        None => is_digits(number).then_some((number, "")),
    }
}

/// Splits `1.5 GiB` into `1.5` and ` GiB`; either may be empty.
fn split_number(text: &str) -> (&str, &str) {
    split_at_first(text, |c| !(c.is_ascii_digit() || c == '.'))
}

fn split_at_first(text: &str, stop: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(stop).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    const KIB: u64 = 1 << 10;
    const MIB: u64 = 1 << 20;
    const GIB: u64 = 1 << 30;

    fn bytes(text: &str) -> Result<Bytes, UnitError> {
        text.parse()
    }

    fn span(text: &str) -> Result<Span, UnitError> {
        text.parse()
    }

    #[rstest]
    #[case("0", 0)]
    #[case("1024", 1024)]
    #[case("1024b", 1024)]
    #[case("1024 B", 1024)]
    #[case("10k", 10 * KIB)]
    #[case("64m", 64 * MIB)]
    #[case("64M", 64 * MIB)]
    #[case("64MB", 64 * MIB)]
    #[case("64mIb", 64 * MIB)]
    #[case(" 512 MiB\n", 512 * MIB)]
    #[case("1g", GIB)]
    #[case("1.5GiB", 3 * GIB / 2)]
    #[case("0.50g", GIB / 2)]
    #[case("0.1g", 107_374_182)] // 107,374,182.4: rounded down, as Docker does
    #[case("2t", 2048 * GIB)]
    #[case("1PiB", 1 << 50)]
    #[case("007k", 7 * KIB)]
    #[case("9223372036854775807", i64::MAX as u64)]
    fn size_means_the_same_as_to_docker(#[case] text: &str, #[case] expected: u64) {
        assert_eq!(bytes(text).unwrap().as_u64(), expected);
    }

    #[rstest]
    #[case("", "NotASize")]
    #[case("   ", "NotASize")]
    #[case("m", "NotASize")]
    #[case("lots", "NotASize")]
    #[case("1e3", "NotASize")]
    #[case("1_000", "NotASize")]
    #[case("0x10", "NotASize")]
    #[case("+64m", "NotASize")]
    #[case("1,5g", "NotASize")]
    #[case(".5g", "NotASize")]
    #[case("5.g", "NotASize")]
    #[case("1.2.3g", "NotASize")]
    #[case("64 ib", "NotASize")]
    #[case("64mbit", "NotASize")]
    #[case("1g 512m", "NotASize")]
    #[case("٣m", "NotASize")]
    #[case("-64m", "Negative")]
    #[case("−1", "Negative")]
    #[case("1.5", "PartOfAByte")]
    #[case("1.0b", "PartOfAByte")]
    #[case("0.0001k", "PartOfAByte")] // 0 would mean "no limit"
    #[case("9223372036854775808", "TooLarge")]
    #[case("8192p", "TooLarge")]
    #[case("99999999999999999999999999999999999999999g", "TooLarge")]
    fn invalid_size_is_refused_with_its_reason(#[case] text: &str, #[case] expected: &str) {
        let refusal = format!("{:?}", bytes(text).unwrap_err());
        assert!(refusal.starts_with(expected), "{text}: {refusal}");
    }

    #[rstest]
    #[case(0, "0B")]
    #[case(1000, "1000B")]
    #[case(1536, "1536B")]
    #[case(64 * MIB, "64MiB")]
    #[case(3 * GIB / 2, "1536MiB")]
    #[case(1 << 60, "1024PiB")]
    fn size_is_displayed_in_largest_exact_unit(#[case] size: u64, #[case] expected: &str) {
        assert_eq!(Bytes::try_from(size).unwrap().to_string(), expected);
    }

    #[test]
    fn json_size_is_text_or_whole_bytes() {
        let read = serde_json::from_str::<Bytes>;
        assert_eq!(read(r#""64m""#).unwrap(), read("67108864").unwrap());
        assert_eq!(serde_json::to_string(&read("67108864").unwrap()).unwrap(), r#""64MiB""#);
        assert!(read("-1").unwrap_err().to_string().contains("`-1` is negative"));
        assert!(read("18446744073709551615").unwrap_err().to_string().contains("too large"));
        for wrong in ["1.5", "true", "null", "[]", r#""soon""#] {
            let refusal = read(wrong).unwrap_err().to_string();
            assert!(refusal.contains("64MiB"), "{refusal}");
        }
    }

    #[rstest]
    #[case("0s", 0)]
    #[case("30s", 30_000)]
    #[case("1h 30m", 5_400_000)]
    #[case("1h30m", 5_400_000)]
    #[case("1 h 30 m", 5_400_000)]
    #[case("5 minutes", 300_000)]
    #[case("5 Minutes", 300_000)]
    #[case("90 seconds", 90_000)]
    #[case("1 day", 86_400_000)]
    #[case("2w", 1_209_600_000)]
    #[case("500ms", 500)]
    #[case("1.5h", 5_400_000)]
    #[case(" 0.25s\t", 250)]
    #[case("1s 1s", 2_000)]
    #[case("36525d", 3_155_760_000_000)]
    fn duration_is_read_from_numbers_with_units(#[case] text: &str, #[case] millis: u64) {
        assert_eq!(span(text).unwrap().as_duration(), Duration::from_millis(millis));
    }

    #[rstest]
    #[case("", "NotADuration")]
    #[case(" ", "NotADuration")]
    #[case("soon", "NotADuration")]
    #[case("s", "NotADuration")]
    #[case("1:30", "NotADuration")]
    #[case("1h, 30m", "NotADuration")]
    #[case("1h -30m", "NotADuration")]
    #[case("1.h", "NotADuration")]
    #[case(".5h", "NotADuration")]
    #[case("20-06-2021", "NotADuration")]
    #[case("+30s", "NotADuration")]
    #[case("-30s", "Negative")]
    #[case("−30s", "Negative")]
    #[case("90", r#"NoUnit("90", "90")"#)]
    #[case("0", r#"NoUnit("0", "0")"#)]
    #[case("1 30m", r#"NoUnit("1 30m", "1")"#)] // 130 minutes to humantime
    #[case("1h 30", r#"NoUnit("1h 30", "30")"#)]
    #[case("5 fortnights", r#"UnknownUnit("5 fortnights", "fortnights")"#)]
    #[case("30S", "UnknownUnit")]
    #[case("1M", "CalendarUnit")] // a month to humantime
    #[case("1 Month", "CalendarUnit")]
    #[case("2y", "CalendarUnit")]
    #[case("1h 3 years", "CalendarUnit")]
    #[case("1.3333h", "Uneven")]
    #[case("0.5ns", "Uneven")]
    #[case("36526 days", "TooLong")]
    #[case("36525 days 1ns", "TooLong")]
    #[case("99999999999999999999s", "TooLong")]
    #[case("99999999999999999999.5h", "TooLong")]
    #[case("18446744073709551615s 1000000000ns", "TooLong")] // humantime 2.4.0 panics on this one
    fn invalid_duration_is_refused_with_its_reason(#[case] text: &str, #[case] expected: &str) {
        let refusal = format!("{:?}", span(text).unwrap_err());
        assert!(refusal.starts_with(expected), "{text}: {refusal}");
    }

    #[rstest]
    #[case("1M", "`1M` counts in months or years (`M`)")]
    #[case("1M", "a small `m` for minutes")]
    #[case("90", "write `90s` for seconds")]
    #[case("5 fortnights", "unknown unit `fortnights`")]
    #[case("1\u{1b}[31m", "`1\\u{1b}[31m` is not a duration")]
    fn error_names_a_valid_value(#[case] text: &str, #[case] part: &str) {
        let refusal = span(text).unwrap_err().to_string();
        assert!(refusal.contains(part), "{refusal}");
    }

    #[rstest]
    #[case(0, "0s")]
    #[case(5_400_000, "1h 30m")]
    #[case(172_805_250, "2days 5s 250ms")]
    #[case(86_400_000, "1day")]
    #[case(3_888_000_000, "45days")] // 1month 14days 13h 26m 24s to humantime
    fn duration_is_displayed_without_months(#[case] millis: u64, #[case] expected: &str) {
        assert_eq!(Span::from(Duration::from_millis(millis)).to_string(), expected);
    }

    #[test]
    fn json_duration_is_text_and_never_a_number() {
        let read = serde_json::from_str::<Span>;
        assert_eq!(serde_json::to_string(&read(r#""90m""#).unwrap()).unwrap(), r#""1h 30m""#);
        for wrong in ["90", "-90", "1.5", "null"] {
            let refusal = read(wrong).unwrap_err().to_string();
            assert!(refusal.contains("\"90s\""), "{refusal}");
        }
    }

    #[rstest]
    #[case("plain 'text' \"here\"", "plain 'text' \"here\"")]
    #[case("a\u{0}b\r\n\u{202e}", "a\\0b\\r\\n\\u{202e}")]
    fn quoted_text_is_always_printable(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(shown(text), expected);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_failure_persistence(proptest::test_runner::FileFailurePersistence::WithSource("regressions")))]

        #[test]
        fn parsers_never_panic_on_any_text(text in ".*") {
            let _ = (bytes(&text), span(&text));
        }

        #[test]
        fn parsers_never_panic_on_numbers_with_units(
            text in "([0-9]{0,22}(\\.[0-9]{0,22})?[ \\t]?(ns|us|µs|ms|s|m|M|h|d|w|y|mib|g|p)?[ -]?){0,4}"
        ) {
            let _ = (bytes(&text), span(&text));
        }

        #[test]
        fn displayed_size_round_trips(size in 0..=LARGEST_BYTES, shift in 0..63) {
            let size = Bytes::try_from(size >> shift).unwrap();
            prop_assert_eq!(bytes(&size.to_string()), Ok(size));
        }

        #[test]
        fn displayed_duration_round_trips(
            secs in 0..LONGEST_SPAN.as_secs(), nanos in 0..1_000_000_000_u32, shift in 0..32
        ) {
            let given = Span::from(Duration::new(secs >> shift, nanos));
            prop_assert_eq!(span(&given.to_string()), Ok(given));
        }

        #[test]
        fn error_is_one_short_printable_line(text in "\\PC{0,90}|(?s).{0,90}") {
            for refusal in [bytes(&text).err(), span(&text).err()].into_iter().flatten() {
                let refusal = refusal.to_string();
                prop_assert!(!refusal.contains(char::is_control));
                prop_assert!(refusal.chars().count() < 400);
            }
        }
    }
}
