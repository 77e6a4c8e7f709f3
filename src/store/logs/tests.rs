//! What is kept comes back, and what cannot be kept leaves nothing behind.

use super::*;
use crate::domain::id::Timestamp;
use crate::domain::output::Channel;

fn line(text: &[u8], complete: bool) -> LogLine {
    LogLine {
        at: Timestamp::from_timestamp_nanos(1_624_195_528_123_456_789),
        channel: Channel::Stdout,
        text: text.to_vec(),
        complete,
    }
}

fn store() -> (tempfile::TempDir, LogStore) {
    let dir = tempfile::tempdir().expect("a folder");
    let logs = LogStore::open(&dir.path().join("logs"), Threads::Pool).expect("it can be written");
    (dir, logs)
}

fn id() -> JobId {
    JobId::from_bytes([7; 16])
}

async fn keep(logs: &LogStore, lines: &[LogLine], limit: u64) -> Kept {
    let stream = futures::stream::iter(lines.iter().cloned().map(Ok::<_, ()>));
    logs.keep(id(), Attempt(1), stream, limit).await.unwrap_or_else(|_| panic!("it can be kept"))
}

async fn read(logs: &LogStore) -> Vec<LogLine> {
    let lines = logs.read(id(), Attempt(1)).await.expect("it can be read").expect("it was kept");
    lines.map(|line| line.expect("it is whole")).collect().await
}

#[tokio::test]
async fn what_is_kept_comes_back_byte_for_byte() {
    let (_dir, logs) = store();
    let mut lines = vec![line(b"hello", true), line(b"", true), line(&[0, 255, b'\r', b' ', b' '], true)];
    lines.extend((0..5_000).map(|n| line(format!("line {n} {}", "x".repeat(100)).as_bytes(), true)));
    lines.push(line(b"no end", false));
    keep(&logs, &lines, u64::MAX).await;
    assert_eq!(read(&logs).await, lines);
}

#[tokio::test]
async fn an_attempt_without_output_is_kept_too_and_one_that_was_not_is_none() {
    let (_dir, logs) = store();
    assert!(logs.read(id(), Attempt(1)).await.expect("it can be read").is_none());
    keep(&logs, &[], 10).await;
    assert_eq!(read(&logs).await, []);
}

#[tokio::test]
async fn beyond_the_limit_the_rest_is_dropped_and_the_last_line_says_so() {
    let (_dir, logs) = store();
    let kept = keep(&logs, &[line(b"12345", true), line(b"67890", true), line(b"x", true)], 10).await;
    assert!(kept.truncated);
    let lines = read(&logs).await;
    assert_eq!(lines.len(), 3);
    assert!(String::from_utf8_lossy(&lines[2].text).contains("log_limit"));
}

#[tokio::test]
async fn keeping_again_replaces() {
    let (_dir, logs) = store();
    keep(&logs, &[line(b"first", true)], 100).await;
    keep(&logs, &[line(b"second", true)], 100).await;
    assert_eq!(read(&logs).await, [line(b"second", true)]);
}

#[tokio::test]
async fn a_stream_that_breaks_leaves_nothing_behind() {
    let (dir, logs) = store();
    let many: Vec<Result<LogLine, &str>> =
        (0..4_000).map(|_| Ok(line(&[b'x'; 200], true))).chain([Err("cut")]).collect();
    assert!(matches!(
        logs.keep(id(), Attempt(1), futures::stream::iter(many), u64::MAX).await,
        Err(KeepError::Source("cut"))
    ));
    assert!(logs.read(id(), Attempt(1)).await.expect("it can be read").is_none());
    let shelf = dir.path().join("logs").join("07");
    assert_eq!(fs::read_dir(shelf).map(|entries| entries.count()).unwrap_or(0), 0);
}

#[tokio::test]
async fn what_a_crash_left_behind_is_removed_and_a_damaged_file_is_said_to_be() {
    let (dir, logs) = store();
    keep(&logs, &[line(b"hello", true)], 100).await;
    let file = logs.path(id(), Attempt(1));
    let left = file.with_extension(format!("zst.7{UNFINISHED}"));
    fs::write(&left, b"half").expect("it can be written");
    let again = LogStore::open(&dir.path().join("logs"), Threads::Pool).expect("it opens");
    assert!(!left.exists());
    assert_eq!(read(&again).await, [line(b"hello", true)]);
}

async fn damaged(logs: &LogStore) -> (usize, StoreError) {
    let mut lines = match logs.read(id(), Attempt(1)).await {
        Ok(lines) => lines.expect("it is there").collect::<Vec<_>>().await,
        Err(failure) => return (0, failure),
    };
    let last = lines.pop().expect("something comes").expect_err("it is damaged");
    assert!(lines.iter().all(Result::is_ok));
    (lines.len(), last)
}

#[tokio::test]
async fn of_a_damaged_file_what_can_be_read_is_read_and_then_it_is_said_to_be_damaged() {
    let (_dir, logs) = store();
    let lines: Vec<LogLine> =
        (0..20_000_u32).map(|n| line(format!("{:08x}", n.wrapping_mul(2_654_435_761)).as_bytes(), true)).collect();
    keep(&logs, &lines, u64::MAX).await;
    let file = logs.path(id(), Attempt(1));
    let whole = fs::read(&file).expect("it is there");
    for (length, least) in [(whole.len() - 3, 10_000), (whole.len() / 2, 1_000), (5, 0), (0, 0)] {
        fs::write(&file, &whole[..length]).expect("it can be written");
        let (count, failure) = damaged(&logs).await;
        assert!(matches!(failure, StoreError::Damaged(_)), "{failure:?}");
        assert!((least..20_000).contains(&count) || count == 20_000 && length > 5, "{length}: {count}");
    }
}

#[tokio::test]
async fn a_full_disk_is_said_to_be_full_and_leaves_no_file() {
    let (dir, logs) = store();
    let file = logs.path(id(), Attempt(1));
    let shelf = file.parent().expect("a shelf");
    fs::create_dir(shelf).expect("it can be made");
    let temporary = file.with_extension(format!("zst.0{UNFINISHED}"));
    std::os::unix::fs::symlink("/dev/full", &temporary).expect("it can be made");
    let lines = futures::stream::iter([Ok::<_, ()>(line(b"hello", true))]);
    let kept = logs.keep(id(), Attempt(1), lines, u64::MAX).await;
    assert!(matches!(kept, Err(KeepError::Store(StoreError::Full))), "{kept:?}");
    assert_eq!(fs::read_dir(shelf).expect("it can be read").count(), 0);
    drop(dir);
}
