//! Tests that kept output is read back unchanged, and that a failure leaves no file behind.

use super::*;
use crate::domain::names::id::Timestamp;
use crate::domain::output::{Channel, LogLine};

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

fn block(lines: &[LogLine]) -> Lines {
    lines.iter().map(LogLine::as_line).collect()
}

async fn keep(logs: &LogStore, lines: &[LogLine], limit: u64) -> Kept {
    let stream = futures::stream::iter(lines.chunks(100).map(block).map(Ok::<_, ()>));
    logs.keep(id(), Attempt(1), stream, limit).await.unwrap_or_else(|_| panic!("it can be kept"))
}

async fn read(logs: &LogStore) -> Vec<LogLine> {
    let blocks = logs.read(id(), Attempt(1)).await.expect("it can be read").expect("it was kept");
    let blocks: Vec<Lines> = blocks.map(|lines| lines.expect("it is whole")).collect().await;
    blocks.iter().flat_map(|lines| lines.iter().map(|line| line.to_line())).collect()
}

#[tokio::test]
async fn kept_output_is_read_back_byte_for_byte() {
    let (_dir, logs) = store();
    let mut lines =
        vec![line(b"hello", true), line(b"", true), line(&[0, 255, b'\r', b' ', b' '], true)];
    lines
        .extend((0..5_000).map(|n| line(format!("line {n} {}", "x".repeat(100)).as_bytes(), true)));
    lines.push(line(b"no end", false));
    keep(&logs, &lines, u64::MAX).await;
    assert_eq!(read(&logs).await, lines);
}

#[tokio::test]
async fn empty_output_is_kept_and_missing_is_none() {
    let (_dir, logs) = store();
    assert!(logs.read(id(), Attempt(1)).await.expect("it can be read").is_none());
    keep(&logs, &[], 10).await;
    assert_eq!(read(&logs).await, []);
}

#[tokio::test]
async fn output_beyond_the_limit_is_dropped() {
    let (_dir, logs) = store();
    let kept = keep(&logs, &[line(b"1234", true), line(b"6789", true), line(b"", true)], 10).await;
    assert_eq!(kept, Kept { lines: 2, bytes: 10, truncated: true });
    let lines = read(&logs).await;
    assert_eq!(lines.len(), 3);
    assert!(String::from_utf8_lossy(&lines[2].text).contains("`log_limit` is 10 bytes"));
    assert_eq!(logs.summary(id(), Attempt(1)).await.expect("it can be read"), Some(Some(kept)));
}

#[tokio::test]
async fn reader_gets_no_more_than_the_limit() {
    let (_dir, logs) = store();
    for text in [&b""[..], b"y", b"0123456789"] {
        let all = vec![line(text, true); 5_000];
        for limit in [0, 1, 1_000, 4_999] {
            let kept = keep(&logs, &all, limit).await;
            let shown: u64 = read(&logs)
                .await
                .iter()
                .rev()
                .skip(1)
                .map(|line| line.as_line().shown_bytes())
                .sum();
            assert!(kept.truncated && shown == kept.bytes && shown <= limit, "{limit}: {shown}");
            assert!(limit - shown <= text.len() as u64, "{limit}: {shown}");
        }
    }
}

#[tokio::test]
async fn stream_is_not_read_beyond_the_limit() {
    let (_dir, logs) = store();
    let taken = AtomicU64::new(0);
    let endless = futures::stream::repeat_with(|| {
        taken.fetch_add(1, Ordering::Relaxed);
        Ok::<_, ()>(block(&[line(b"y", true)]))
    });
    let kept = logs
        .keep(id(), Attempt(1), endless, 100)
        .await
        .unwrap_or_else(|_| panic!("it can be kept"));
    assert_eq!((kept.lines, kept.truncated, taken.load(Ordering::Relaxed)), (50, true, 51));
}

#[tokio::test]
async fn short_lines_are_no_larger_on_disk() {
    let (_dir, logs) = store();
    for (count, nanos) in [(1_000, 50_000), (500_000, 250), (20_000, 1_500_000)] {
        let lines: Vec<LogLine> = (0..count)
            .map(|n: i64| {
                let at = Timestamp::from_timestamp_nanos(
                    1_700_000_000_000_000_000 + n * nanos + n * n % 997,
                );
                LogLine { at, ..line(b"y", true) }
            })
            .collect();
        let kept = keep(&logs, &lines, u64::MAX).await;
        let on_disk = fs::metadata(logs.path(id(), Attempt(1))).expect("it is there").len();
        assert!(
            on_disk <= kept.bytes + 200,
            "{count} lines, {nanos} ns apart: {on_disk} for {}",
            kept.bytes
        );
        assert_eq!(read(&logs).await.len() as i64, count);
    }
}

#[tokio::test]
async fn files_of_the_previous_format_are_read() {
    let (dir, logs) = store();
    let file = logs.path(id(), Attempt(1));
    fs::create_dir(file.parent().expect("a shelf")).expect("it can be made");
    let text = "2021-06-20T13:25:28.123456789Z stdout F hello\n2021-06-20T13:25:28.123456789Z stdout P no end\n";
    fs::write(&file, zstd::encode_all(text.as_bytes(), 3).expect("it can be packed"))
        .expect("it can be written");
    assert_eq!(read(&logs).await, [line(b"hello", true), line(b"no end", false)]);
    assert_eq!(logs.summary(id(), Attempt(1)).await.expect("it can be read"), Some(None));
    drop(dir);
}

/// The name of a file survives a power cut only after its folder was synced.
#[tokio::test]
async fn file_with_unsynced_name_is_not_shown() {
    let (_dir, logs) = store();
    let kept = keep(&logs, &[line(b"hi", true)], 1_000).await;
    logs.unsynced.add(&logs.path(id(), Attempt(1)));
    assert_eq!(logs.summary(id(), Attempt(1)).await.expect("it can be read"), None);
    assert!(logs.read(id(), Attempt(1)).await.expect("it can be read").is_none());

    assert!(logs.has(id(), Attempt(1)).await.expect("the folder can be synced"));
    assert_eq!(logs.summary(id(), Attempt(1)).await.expect("it can be read"), Some(Some(kept)));
}

#[tokio::test]
async fn keeping_again_replaces_the_file() {
    let (_dir, logs) = store();
    keep(&logs, &[line(b"first", true)], 100).await;
    keep(&logs, &[line(b"second", true)], 100).await;
    assert_eq!(read(&logs).await, [line(b"second", true)]);
}

#[tokio::test]
async fn broken_stream_leaves_no_file() {
    let (dir, logs) = store();
    let many: Vec<Result<Lines, &str>> =
        (0..4_000).map(|_| Ok(block(&[line(&[b'x'; 200], true)]))).chain([Err("cut")]).collect();
    assert!(matches!(
        logs.keep(id(), Attempt(1), futures::stream::iter(many), u64::MAX).await,
        Err(KeepError::Source("cut"))
    ));
    assert!(logs.read(id(), Attempt(1)).await.expect("it can be read").is_none());
    let shelf = dir.path().join("logs").join("07");
    assert_eq!(fs::read_dir(shelf).map(|entries| entries.count()).unwrap_or(0), 0);
}

#[tokio::test]
async fn opening_removes_unfinished_files_and_keeps_others() {
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
    (lines.iter().map(|lines| lines.as_ref().map_or(0, Lines::len)).sum(), last)
}

#[tokio::test]
async fn damaged_file_is_read_as_far_as_possible() {
    let (_dir, logs) = store();
    let lines: Vec<LogLine> = (0..200_000_u32)
        .map(|n| line(format!("{:08x}", n.wrapping_mul(2_654_435_761)).as_bytes(), true))
        .collect();
    keep(&logs, &lines, u64::MAX).await;
    let file = logs.path(id(), Attempt(1));
    let whole = fs::read(&file).expect("it is there");
    for (length, least) in
        [(whole.len() - 3, 100_000), (whole.len() / 2, 10_000), (40, 0), (5, 0), (0, 0)]
    {
        fs::write(&file, &whole[..length]).expect("it can be written");
        let (count, failure) = damaged(&logs).await;
        assert!(matches!(failure, StoreError::Damaged(_)), "{failure:?}");
        assert!((least..=200_000).contains(&count), "{length}: {count}");
    }
}

#[tokio::test]
async fn full_disk_is_reported_and_leaves_no_file() {
    let (dir, logs) = store();
    let file = logs.path(id(), Attempt(1));
    let shelf = file.parent().expect("a shelf");
    fs::create_dir(shelf).expect("it can be made");
    let temporary = file.with_extension(format!("zst.0{UNFINISHED}"));
    std::os::unix::fs::symlink("/dev/full", &temporary).expect("it can be made");
    let lines = futures::stream::iter([Ok::<_, ()>(block(&[line(b"hello", true)]))]);
    let kept = logs.keep(id(), Attempt(1), lines, u64::MAX).await;
    assert!(matches!(kept, Err(KeepError::Store(StoreError::Full))), "{kept:?}");
    assert_eq!(fs::read_dir(shelf).expect("it can be read").count(), 0);
    drop(dir);
}
