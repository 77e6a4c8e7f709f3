//! Ticks of cron schedules, compared with an oracle that shares no code with them.
//!
//! The oracle is Python (`tests/recurrence/oracle.py`). It reads the system's zone data minute by
//! minute through whole years, and second by second around changes if an expression has seconds.
//!
//! The years are past, and the zone's clocks changed in them, so the zone data in the binary and
//! the system's agree, whichever is newer. `CASES=1000 cargo test --test recurrence_oracle` takes
//! more expressions for each zone, `SEED=7 …` others. A failure prints the command that repeats it.

#![expect(clippy::unwrap_used, reason = "a test may")]

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use chrono::{DateTime, NaiveDate, Offset, TimeZone, Utc};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use tidetable::domain::recurrence::{BadCron, CronExpr, Recurrence, Zone};

use crate::support::oracle::ask;

/// Zones, each with a year of notable clock changes.
const YEARS: &[(&str, i32)] = &[
    ("Europe/Berlin", 2024),
    ("America/New_York", 2024),
    ("Europe/London", 2023),
    ("UTC", 2024),                  // a leap year, and nothing else
    ("Australia/Lord_Howe", 2023),  // half an hour
    ("Pacific/Apia", 2011),         // no 30 December
    ("Pacific/Kwajalein", 1993),    // no 21 August
    ("Pacific/Kiritimati", 1994),   // no 31 December
    ("Africa/Casablanca", 2024),    // back for Ramadan
    ("Africa/Cairo", 2014),         // four changes in a year
    ("Antarctica/Troll", 2024),     // two hours
    ("Antarctica/Casey", 2020),     // three hours, in October
    ("America/Sao_Paulo", 2017),    // days that begin at 01:00
    ("America/Havana", 2023),       // the same, and folds from 01:00 to 00:00
    ("America/Santiago", 2022),     // folds from 24:00 to 23:00
    ("America/Asuncion", 2023),     // both at midnight
    ("America/St_Johns", 2010),     // at 00:01: a fold over midnight
    ("America/Scoresbysund", 2024), // two zones in one year
    ("Atlantic/Azores", 2023),      // a gap from 00:00 to 01:00
    ("Asia/Kathmandu", 1986),       // a quarter of an hour, for good
    ("Pacific/Chatham", 2024),      // 12:45 and 13:45, changed at 02:45
    ("Asia/Pyongyang", 2015),       // half an hour back, no daylight saving
    ("Asia/Pyongyang", 2018),       // and forward again, just before midnight
    ("America/Caracas", 2007),      // half an hour back at 03:00
    ("Europe/Moscow", 2011),        // summer time for good
    ("Europe/Moscow", 2014),        // winter time for good
    ("Europe/Istanbul", 2016),      // summer time for good
    ("Asia/Tehran", 2022),          // the last two changes, at midnight
    ("Asia/Beirut", 2023),          // a gap at midnight, after a fight about it
    ("Asia/Amman", 2022),           // a gap at midnight; winter was called off
    ("Asia/Gaza", 2023),            // back for Ramadan
    ("Asia/Dhaka", 2009),           // a gap from 23:00 to midnight, folds from 24:00
    ("Asia/Kolkata", 2024),         // half an hour, and nothing else
    ("Australia/Sydney", 2023),
    ("Pacific/Norfolk", 2019),      // its first daylight saving
    ("Pacific/Bougainville", 2014), // 02:00 to 03:00 with a new name
    ("Africa/Juba", 2021),          // an hour back, for good
    ("America/Nuuk", 2023),         // a gap that was kept
];

/// The expressions that every zone is asked besides random ones: shapes that other crons get wrong.
const ALWAYS: &[&str] = &[
    "@daily",
    "30 2 * * *",
    "0,30 2 * * *",
    "*/30 2 * * *",
    "15 0,1,2,3,23 * * *",
    "5,35 * * 3,4,9,10,11 *",
    "10 */2 * * *",
    "45 22-4 * * *",
    "20 0-5/1 * * *",
    "0 12 L * *",
    "59 23 * * 0",
    "1 0 * * MON#1",
    "30 30 * * * *",
    "*/7 59,0 0,1,2,3,23 * * *",
    "0 */20 */2 * * *",
];

/// The number of random expressions for each zone; `CASES` overrides it. The 38 zones get more than
/// a thousand.
const CASES: usize = 27;

#[test]
fn ticks_of_whole_years_match_an_independent_oracle() {
    if let Ok(case) = std::env::var("ORACLE") {
        return repeat(&case);
    }
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let (seed, cases) = (
        number("SEED").unwrap_or(1),
        number("CASES").map_or(CASES, |n| usize::try_from(n).unwrap()),
    );
    let next = AtomicUsize::new(0);
    let work = || {
        let mut compared = (0, 0);
        while let Some((zone, year)) = YEARS.get(next.fetch_add(1, Ordering::Relaxed)) {
            let mut rng = StdRng::seed_from_u64(seed ^ seed_of(zone, *year));
            let random = (0..cases).map(|_| expression(&mut rng));
            let expressions: Vec<String> =
                ALWAYS.iter().map(|text| (*text).to_owned()).chain(random).collect();
            let (expressions, ticks) = compare(zone, *year, &expressions);
            compared = (compared.0 + expressions, compared.1 + ticks);
        }
        compared
    };
    let compared = std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(2, usize::from).min(8);
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .fold((0, 0), |all: (usize, usize), (expressions, ticks)| {
                (all.0 + expressions, all.1 + ticks)
            })
    });
    eprintln!("{} expressions in {} years of zones, {} ticks", compared.0, YEARS.len(), compared.1);
    assert!(compared.0 >= YEARS.len() * (ALWAYS.len() + cases), "all were compared");
    assert!(compared.1 > compared.0, "and most of them have ticks");
}

/// Repeats one case: `ORACLE='Europe/Berlin 2024 30 2 * * *'`.
fn repeat(case: &str) {
    let mut words = case.splitn(3, ' ');
    let (zone, year, text) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
    compare(zone, year.parse().unwrap(), &[text.to_owned()]);
}

fn seed_of(zone: &str, year: i32) -> u64 {
    zone.bytes().fold(u64::from(year.unsigned_abs()), |seed, byte| {
        seed.wrapping_mul(31).wrapping_add(u64::from(byte))
    })
}

/// Compares all ticks of these expressions. Returns the numbers of expressions and ticks.
fn compare(zone: &str, year: i32, expressions: &[String]) -> (usize, usize) {
    let zone: Zone = zone.parse().unwrap();
    let whole_year = (start_of(year), start_of(year + 1));
    let changes = changes(zone, whole_year);
    let mut questions = Vec::new();
    for text in expressions {
        match text.split(' ').count() {
            6 => {
                questions.extend(changes.iter().map(|at| ((at - 5_400, at + 7_200), text.as_str())))
            }
            _ => questions.push((whole_year, text.as_str())),
        }
    }
    let answers = ask(&zone.to_string(), &questions);
    let mut ticks = 0;
    for ((span, text), oracle) in questions.iter().zip(answers) {
        ticks += oracle.len();
        let Some(ours) = recurrence(zone, text) else {
            assert!(oracle.is_empty(), "{text} was refused because it never comes");
            continue;
        };
        let difference = difference(zone, &due(&ours, *span), &oracle);
        if let Some(difference) = difference.or_else(|| mistake(&ours, &oracle, &changes)) {
            panic!(
                "{difference}\nrepeat with: ORACLE='{zone} {year} {text}' cargo test --test recurrence_oracle\n\
                 the oracle's: python3 tests/recurrence/oracle.py {zone} {} {} '{text}'",
                span.0, span.1
            );
        }
    }
    (expressions.len(), ticks)
}

fn difference(zone: Zone, ours: &[i64], oracle: &[i64]) -> Option<String> {
    let (we, they): (HashSet<i64>, HashSet<i64>) =
        (ours.iter().copied().collect(), oracle.iter().copied().collect());
    let at = *we.symmetric_difference(&they).min()?;
    let wall = Utc.timestamp_opt(at, 0).unwrap().with_timezone(&zone.tz());
    let who = if we.contains(&at) { "only we are" } else { "only the oracle is" };
    Some(format!(
        "{who} due at {at}, {wall}; {} of ours and {} of the oracle's in all",
        ours.len(),
        oracle.len()
    ))
}

/// Asks for the next tick at odd moments, for example in the middle of a fold. The answer must be
/// the same as after the previous tick.
fn mistake(ours: &Recurrence, oracle: &[i64], changes: &[i64]) -> Option<String> {
    let moments = changes.iter().flat_map(|change| (change - 5_400..change + 7_200).step_by(787));
    moments.into_iter().find_map(|at| {
        let right = *oracle.get(oracle.partition_point(|tick| *tick <= at))?;
        let answer = ours.next_after(DateTime::from_timestamp(at, 0)?)?.nominal.timestamp();
        (answer != right && oracle[0] <= at)
            .then(|| format!("asked at {at} we say {answer}, and the oracle {right}"))
    })
}

/// Parses an expression; `None` if it never comes.
fn recurrence(zone: Zone, text: &str) -> Option<Recurrence> {
    match text.parse::<CronExpr>() {
        Ok(expr) => Some(Recurrence::Cron(expr, zone)),
        Err(BadCron::Never(_)) => None,
        Err(bad) => panic!("{text}: {bad}"),
    }
}

/// Returns our ticks from the beginning of the span to before its end.
fn due(recurrence: &Recurrence, (start, end): (i64, i64)) -> Vec<i64> {
    recurrence
        .after(DateTime::from_timestamp(start - 1, 0).unwrap())
        .map(|tick| tick.nominal.timestamp())
        .take_while(|at| *at < end)
        .collect()
}

/// Returns the instants of a span at which the zone's clocks change, and one at which they do not.
fn changes(zone: Zone, (start, end): (i64, i64)) -> Vec<i64> {
    let offset = |at: i64| {
        zone.tz().offset_from_utc_datetime(&Utc.timestamp_opt(at, 0).unwrap().naive_utc()).fix()
    };
    let changes =
        (start..end).step_by(900).filter(|at| offset(*at) != offset(at + 900)).map(|at| at + 900);
    changes.chain([start + 100 * 86_400]).collect()
}

fn start_of(year: i32) -> i64 {
    NaiveDate::from_ymd_opt(year, 1, 1).unwrap().and_hms_opt(0, 0, 0).unwrap().and_utc().timestamp()
}

/// Returns a random expression, mostly about the hours in which clocks change.
fn expression(rng: &mut StdRng) -> String {
    let hours = hours(rng);
    let minutes = minutes(rng);
    let days = format!("{} {} {}", days_of_month(rng), months(rng), days_of_week(rng));
    match rng.random_bool(0.2) {
        true => format!("{} {minutes} {hours} {days}", minutes_or_seconds(rng)),
        false => format!("{minutes} {hours} {days}"),
    }
}

fn minutes(rng: &mut StdRng) -> String {
    if rng.random_bool(0.02) { "*".to_owned() } else { minutes_or_seconds(rng) }
}

fn minutes_or_seconds(rng: &mut StdRng) -> String {
    let mut n = || rng.random_range(0..60);
    let (a, b, c) = (n(), n(), n());
    match rng.random_range(0..10) {
        0..4 => format!("{}", [0, 1, 15, 30, 45, 59, a].choose(rng).unwrap()),
        4..6 => format!("{a},{b},{c}"),
        6 => format!("{a}-{}", (a + c / 8) % 60),
        7 => format!("*/{}", rng.random_range(9..60)),
        8 => format!("{a}/{}", rng.random_range(7..40)),
        _ => format!("{a}-{b}/{},{c}", rng.random_range(5..30)),
    }
}

fn hours(rng: &mut StdRng) -> String {
    let mut n = || *[0, 0, 1, 1, 2, 2, 2, 3, 3, 4, 5, 11, 12, 21, 22, 23].choose(rng).unwrap();
    let (a, b, c) = (n(), n(), n());
    match rng.random_range(0..12) {
        0..3 => format!("{a}"),
        3..5 => format!("{a},{b},{c}"),
        5..8 => format!("{a}-{b}"),
        8 => "*".to_owned(),
        9 => format!("*/{}", rng.random_range(1..13)),
        10 => format!("{a}/{}", rng.random_range(1..8)),
        _ => format!("{a}-{b}/{},{c}", rng.random_range(1..4)),
    }
}

fn days_of_month(rng: &mut StdRng) -> String {
    let mut n = || rng.random_range(1..32);
    let (a, b, c) = (n(), n(), n());
    match rng.random_range(0..24) {
        0..12 => "*".to_owned(),
        12 => "?".to_owned(),
        13 => format!("{a}"),
        14 => format!("{a},{b},{c}"),
        15 => format!("{a}-{b}"),
        16 => format!("*/{}", rng.random_range(2..20)),
        17 => format!("{a}/{}", rng.random_range(1..9)),
        18 => format!("{a}-{b}/{}", rng.random_range(1..9)),
        19 => "L".to_owned(),
        20 => "LW".to_owned(),
        21 => format!("L-{}", rng.random_range(1..31)),
        22 => format!("{a}W"),
        _ => format!("{a}W,L,{b}-{c}"),
    }
}

fn months(rng: &mut StdRng) -> String {
    let names =
        ["jan", "FEB", "Mar", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
    let mut n = || rng.random_range(1..13);
    let (a, b) = (n(), n());
    match rng.random_range(0..12) {
        0..7 => "*".to_owned(),
        7 => format!("{a},{b}"),
        8 => format!("{a}-{b}"),
        9 => format!("{}-{}", names.choose(rng).unwrap(), names.choose(rng).unwrap()),
        10 => format!("*/{}", rng.random_range(1..7)),
        _ => "3,4,9,10,11".to_owned(),
    }
}

fn days_of_week(rng: &mut StdRng) -> String {
    let names = ["SUN", "mon", "TUE", "Wed", "THU", "FRI", "SAT"];
    let (a, b) = (rng.random_range(0..8), rng.random_range(0..7));
    match rng.random_range(0..24) {
        0..12 => "*".to_owned(),
        12 => "?".to_owned(),
        13 => format!("{a}"),
        14 => format!("{b},{a}"),
        15 => format!("{a}-{b}"),
        16 => format!("{b}-7"),
        17 => format!("{}-{}", names.choose(rng).unwrap(), names.choose(rng).unwrap()),
        18 => format!("*/{}", rng.random_range(1..8)),
        19 => format!("{b}/{}", rng.random_range(1..4)),
        20 => format!("{a}-{b}/2"),
        21 => format!("{}#{}", names.choose(rng).unwrap(), rng.random_range(1..6)),
        22 => format!("{a}L"),
        _ => format!("{a}L,{b}#{}", rng.random_range(1..6)),
    }
}
