//! Kept output: one compressed file for each attempt, that is there whole or not at all.
//!
//! A line is written as container runtimes write theirs (CRI): `2016-10-06T00:17:09.669794202Z stdout F text`, with `P`
//! in place of `F` where no line's end followed. So a person can read a file with `zstdcat`. A file is written under a
//! temporary name, synced, and renamed; what a crash leaves behind is removed at the next start.
//!
//! Output beyond the job's `log_limit` is dropped, and the last line says so.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use chrono::SecondsFormat;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};

use super::lock::sync_dir;
use super::threads::{Broken, Threads};
use super::{OpenError, StoreError};
use crate::domain::id::{Attempt, JobId, Timestamp};
use crate::domain::output::{Channel, LogLine};

/// How much text is gathered before a thread is asked to write it: most jobs' output fits, and costs one call.
const GATHER_BYTES: usize = 256 * 1024;
/// How many lines are read at once.
const READ_LINES: usize = 1_024;
/// How hard zstd tries: its own default.
const LEVEL: i32 = 3;
/// What a file is called until it is whole.
const UNFINISHED: &str = ".unfinished";

/// The folder of kept output.
#[derive(Clone, Debug)]
pub struct LogStore {
    dir: PathBuf,
    threads: Threads,
}

/// What was kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Lines.
    pub lines: usize,
    /// Bytes of text.
    pub bytes: u64,
    /// Whether the limit was met and the rest dropped.
    pub truncated: bool,
}

/// Why output was not kept. There is no file then.
#[derive(Debug)]
pub enum KeepError<E> {
    /// The disk refused.
    Store(StoreError),
    /// Where it came from broke off.
    Source(E),
}

impl LogStore {
    /// The folder, made if it is missing, cleared of what a crash left behind.
    ///
    /// # Errors
    /// [`OpenError::NotWritable`].
    pub fn open(dir: &Path, threads: Threads) -> Result<Self, OpenError> {
        let not_writable = |source| OpenError::NotWritable { path: dir.display().to_string(), source };
        fs::create_dir_all(dir).map_err(not_writable)?;
        for shelf in fs::read_dir(dir).map_err(not_writable)? {
            let shelf = shelf.map_err(not_writable)?.path();
            if shelf.is_dir() {
                clear_unfinished(&shelf).map_err(not_writable)?;
            }
        }
        Ok(Self { dir: dir.to_owned(), threads })
    }

    /// Keeps what a stream gives, up to `limit` bytes of text. It is on disk when this answers; keeping again replaces.
    ///
    /// # Errors
    /// [`KeepError`]; then nothing was changed.
    pub async fn keep<E>(
        &self,
        job: JobId,
        attempt: Attempt,
        lines: impl Stream<Item = Result<LogLine, E>> + Send,
        limit: u64,
    ) -> Result<Kept, KeepError<E>> {
        let mut lines = std::pin::pin!(lines);
        let mut file = Unfinished::new(self.path(job, attempt));
        let mut kept = Kept { lines: 0, bytes: 0, truncated: false };
        let mut gathered = Vec::new();
        while let Some(line) = lines.next().await {
            let line = line.map_err(KeepError::Source)?;
            if kept.bytes + line.text.len() as u64 > limit {
                kept.truncated = true;
                put_line(&mut gathered, &limit_line(line.at, limit));
                break;
            }
            put_line(&mut gathered, &line);
            kept.lines += 1;
            kept.bytes += line.text.len() as u64;
            if gathered.len() >= GATHER_BYTES {
                let chunk = std::mem::take(&mut gathered);
                file = self.blocking(move || file.write(&chunk).map(|()| file)).await.map_err(KeepError::Store)?;
            }
        }
        self.blocking(move || file.write(&gathered).and_then(|()| file.finish())).await.map_err(KeepError::Store)?;
        Ok(kept)
    }

    /// What was kept of an attempt, if anything was.
    ///
    /// # Errors
    /// When the disk refuses. A file that is damaged ends its stream with [`StoreError::Damaged`].
    pub async fn read(
        &self,
        job: JobId,
        attempt: Attempt,
    ) -> Result<Option<BoxStream<'static, Result<LogLine, StoreError>>>, StoreError> {
        let path = self.path(job, attempt);
        let Some(reader) = self.blocking(move || open(&path)).await? else { return Ok(None) };
        let threads = self.threads;
        let chunks = futures::stream::unfold(Some(reader), move |reader| async move {
            let mut reader = reader?;
            let read = threads.run(move || {
                let lines = read_lines(&mut reader);
                (reader, lines)
            });
            match read.await {
                Ok((reader, Ok(lines))) if !lines.is_empty() => {
                    Some((lines.into_iter().map(Ok).collect(), Some(reader)))
                }
                Ok((_, Ok(_))) => None,
                Ok((_, Err(error))) => Some((vec![Err(StoreError::Damaged(format!("kept output: {error}")))], None)),
                Err(Broken) => Some((vec![Err(StoreError::Closed)], None)),
            }
        });
        Ok(Some(chunks.flat_map(|lines: Vec<_>| futures::stream::iter(lines)).boxed()))
    }

    /// On the shelf that the id's last digits say: those are random, so no shelf grows faster than another.
    fn path(&self, job: JobId, attempt: Attempt) -> PathBuf {
        let id = job.to_string();
        self.dir.join(&id[30..]).join(format!("{id}-{attempt}.log.zst"))
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        match self.threads.run(work).await {
            Ok(done) => done.map_err(|error| match error.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::Full,
                _ => StoreError::Failed(format!("kept output: {error}")),
            }),
            Err(Broken) => Err(StoreError::Closed),
        }
    }
}

fn clear_unfinished(shelf: &Path) -> io::Result<()> {
    for entry in fs::read_dir(shelf)? {
        let path = entry?.path();
        if path.to_string_lossy().ends_with(UNFINISHED) {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// A file that is not yet under its name. Dropped before it is finished, it is gone.
struct Unfinished {
    path: PathBuf,
    encoder: Option<zstd::Encoder<'static, File>>,
}

impl Unfinished {
    fn new(path: PathBuf) -> Self {
        Self { path, encoder: None }
    }

    fn temporary(&self) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(UNFINISHED);
        PathBuf::from(name)
    }

    fn write(&mut self, text: &[u8]) -> io::Result<()> {
        if self.encoder.is_none() {
            if let Some(shelf) = self.path.parent().filter(|shelf| !shelf.exists()) {
                fs::create_dir_all(shelf)?;
                sync_dir(shelf.parent().unwrap_or(shelf))?;
            }
            let mut encoder = zstd::Encoder::new(File::create(self.temporary())?, LEVEL)?;
            encoder.include_checksum(true)?;
            self.encoder = Some(encoder);
        }
        self.encoder.as_mut().map_or(Ok(()), |encoder| encoder.write_all(text))
    }

    fn finish(mut self) -> io::Result<()> {
        let Some(encoder) = self.encoder.take() else { return Ok(()) };
        let renamed =
            encoder.finish().and_then(|file| file.sync_all()).and_then(|()| fs::rename(self.temporary(), &self.path));
        if renamed.is_err() {
            let _ = fs::remove_file(self.temporary());
        }
        renamed?;
        self.path.parent().map_or(Ok(()), sync_dir)
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if self.encoder.take().is_some() {
            let _ = fs::remove_file(self.temporary());
        }
    }
}

fn put_line(out: &mut Vec<u8>, line: &LogLine) {
    let time = line.at.to_rfc3339_opts(SecondsFormat::Nanos, true);
    let end = if line.complete { "F" } else { "P" };
    out.extend_from_slice(format!("{time} {} {end} ", line.channel).as_bytes());
    out.extend_from_slice(&line.text);
    out.push(b'\n');
}

fn limit_line(at: Timestamp, limit: u64) -> LogLine {
    let text = format!("tidetable: the rest is not kept: `log_limit` is {limit} bytes").into_bytes();
    LogLine { at, channel: Channel::Stderr, text, complete: true }
}

type Reader = BufReader<zstd::Decoder<'static, BufReader<File>>>;

fn open(path: &Path) -> io::Result<Option<Reader>> {
    match File::open(path) {
        Ok(file) => Ok(Some(BufReader::new(zstd::Decoder::new(file)?))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The next lines; none at the end.
fn read_lines(reader: &mut Reader) -> io::Result<Vec<LogLine>> {
    let mut lines = Vec::new();
    let mut bytes = Vec::new();
    while lines.len() < READ_LINES {
        bytes.clear();
        if reader.read_until(b'\n', &mut bytes)? == 0 {
            break;
        }
        lines.push(
            parse(&bytes)
                .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a line is not as it was written"))?,
        );
    }
    Ok(lines)
}

fn parse(line: &[u8]) -> Option<LogLine> {
    let mut parts = line.strip_suffix(b"\n")?.splitn(4, |byte| *byte == b' ');
    let mut word = || std::str::from_utf8(parts.next()?).ok();
    let at = word()?.parse().ok()?;
    let channel = Channel::from_word(word()?)?;
    let complete = match word()? {
        "F" => true,
        "P" => false,
        _ => return None,
    };
    Some(LogLine { at, channel, text: parts.next()?.to_vec(), complete })
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let left = file.with_extension(UNFINISHED.trim_start_matches('.'));
        fs::write(&left, b"half").expect("it can be written");
        let again = LogStore::open(&dir.path().join("logs"), Threads::Pool).expect("it opens");
        assert!(!left.exists());
        let whole = fs::read(&file).expect("it is there");
        fs::write(&file, &whole[..whole.len() - 3]).expect("it can be written");
        let lines: Vec<_> =
            again.read(id(), Attempt(1)).await.expect("it can be read").expect("it is there").collect().await;
        assert!(matches!(lines.last(), Some(Err(StoreError::Damaged(_)))), "{lines:?}");
    }
}
