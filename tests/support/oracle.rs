//! Due times of cron expressions by an oracle that shares no code with ours: `oracle.py`, which
//! reads the system's zone data.

use std::io::{Read, Write};
use std::process::{Command, Stdio};

/// Returns the due times of each expression, from the beginning of its span to before its end, in
/// seconds since 1970.
pub(crate) fn ask(zone: &str, questions: &[((i64, i64), &str)]) -> Vec<Vec<i64>> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/oracle.py");
    let mut python = Command::new("python3")
        .args([script, zone])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the oracle needs python3 (Debian and Ubuntu: apt-get install python3)");
    let mut stdin = python.stdin.take().unwrap();
    let mut answer = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for ((start, end), text) in questions {
                // If the script has died, its exit code says so.
                let _ = writeln!(stdin, "{start} {end} {}", text.replace("@daily", "0 0 * * *"));
            }
        });
        python.stdout.take().unwrap().read_to_end(&mut answer).unwrap();
    });
    assert!(
        python.wait().unwrap().success(),
        "the oracle failed; it needs zone data (Debian: apt-get install tzdata)"
    );
    let mut numbers = answer
        .chunks_exact(4)
        .map(|bytes| i64::from(u32::from_le_bytes(bytes.try_into().unwrap())));
    questions
        .iter()
        .map(|_| {
            let count =
                usize::try_from(numbers.next().expect("an answer for each question")).unwrap();
            numbers.by_ref().take(count).collect()
        })
        .collect()
}
