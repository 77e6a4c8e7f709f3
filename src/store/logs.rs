//! Kept output: one compressed file for each attempt, that is there whole or not at all.
//!
//! A file is written under a temporary name, synced, and renamed; what a crash leaves behind is removed at the next start.
//! Its lines are as container runtimes write theirs (`lines`): a person can read them with `zstdcat`.
//!
//! Output beyond the job's `log_limit` is dropped, and a last line on stderr says so.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use tracing::warn;

use super::lock::{make_dir, sync_dir};
use super::place::Entry;
use super::threads::{Broken, Threads};
use super::{OpenError, StoreError};
use crate::domain::id::{Attempt, JobId};
use crate::domain::output::LogLine;
pub(super) use backup::back_up;
pub(super) use check::check;
use lines::{limit_line, parse, put_line};

mod backup;
mod check;
mod lines;
#[cfg(test)]
mod tests;

/// How much text is gathered before a thread is asked to write it: most jobs' output fits, and costs one call.
const GATHER_BYTES: usize = 256 * 1024;
/// How many lines are read at once, and how much text, give or take a line.
const READ_LINES: usize = 1_024;
const READ_BYTES: usize = 256 * 1024;
/// How hard zstd tries: its own default.
const LEVEL: i32 = 3;
/// What a file is called until it is whole.
const UNFINISHED: &str = ".unfinished";

/// The folder of kept output.
#[derive(Clone, Debug)]
pub struct LogStore {
    dir: PathBuf,
    threads: Threads,
    shelves: Shelves,
    /// The data directory.
    above: Arc<Entry>,
    /// How many files were begun: so no two have the same temporary name.
    begun: Arc<AtomicU64>,
}

/// The folders that are known to survive a power cut.
#[derive(Clone, Debug, Default)]
struct Shelves(Arc<Mutex<HashSet<PathBuf>>>);

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
    /// [`OpenError::NotWritable`], [`OpenError::Full`].
    pub fn open(dir: &Path, threads: Threads) -> Result<Self, OpenError> {
        let refused = |error| OpenError::of_io(dir, &error);
        make_dir(dir).map_err(refused)?;
        for shelf in fs::read_dir(dir).map_err(refused)? {
            let shelf = shelf.map_err(refused)?.path();
            if shelf.is_dir() {
                clear_unfinished(&shelf).map_err(refused)?;
            }
        }
        let above = Arc::new(Entry::hold(above(dir)).map_err(refused)?);
        Ok(Self { dir: dir.to_owned(), threads, shelves: Shelves::default(), above, begun: Arc::default() })
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
        let begun = self.begun.fetch_add(1, Ordering::Relaxed);
        let mut file = Unfinished::new(self.path(job, attempt), begun, self.shelves.clone(), self.above.clone());
        let mut kept = Kept { lines: 0, bytes: 0, truncated: false };
        let mut gathered = Vec::new();
        while let Some(line) = lines.next().await {
            let line = match line {
                Ok(line) => line,
                Err(failure) => {
                    // It takes the file along, and files are not for this thread.
                    let _ = self.threads.run(move || drop(file)).await;
                    return Err(KeepError::Source(failure));
                }
            };
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
                let (lines, failure) = read_lines(&mut reader);
                (reader, lines, failure)
            });
            let (lines, next): (Vec<Result<LogLine, StoreError>>, _) = match read.await {
                Ok((_, lines, None)) if lines.is_empty() => return None,
                Ok((reader, lines, None)) => (lines.into_iter().map(Ok).collect(), Some(reader)),
                Ok((_, lines, Some(failure))) => {
                    let damaged = StoreError::Damaged(format!("kept output: {failure}"));
                    (lines.into_iter().map(Ok).chain([Err(damaged)]).collect(), None)
                }
                Err(Broken) => (vec![Err(StoreError::Closed)], None),
            };
            Some((lines, next))
        });
        Ok(Some(chunks.flat_map(|lines: Vec<_>| futures::stream::iter(lines)).boxed()))
    }

    /// On the shelf that the id's last digits say: those are random, so no shelf grows faster than another.
    fn path(&self, job: JobId, attempt: Attempt) -> PathBuf {
        file_of(&self.dir, job, attempt)
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        match self.threads.run(work).await {
            Ok(done) => done.map_err(|error| match error.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::Full,
                io::ErrorKind::UnexpectedEof => StoreError::Damaged(format!("kept output: {error}")),
                _ => StoreError::Failed(format!("kept output: {error}")),
            }),
            Err(Broken) => Err(StoreError::Closed),
        }
    }
}

fn above(path: &Path) -> &Path {
    path.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn file_of(dir: &Path, job: JobId, attempt: Attempt) -> PathBuf {
    let id = job.to_string();
    dir.join(&id[30..]).join(format!("{id}-{attempt}.log.zst"))
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
    temporary: PathBuf,
    shelves: Shelves,
    above: Arc<Entry>,
    encoder: Option<zstd::Encoder<'static, File>>,
}

impl Unfinished {
    fn new(path: PathBuf, number: u64, shelves: Shelves, above: Arc<Entry>) -> Self {
        let mut temporary = path.clone().into_os_string();
        temporary.push(format!(".{number}{UNFINISHED}"));
        Self { path, temporary: PathBuf::from(temporary), shelves, above, encoder: None }
    }

    fn write(&mut self, text: &[u8]) -> io::Result<()> {
        let encoder = match &mut self.encoder {
            Some(encoder) => encoder,
            None => {
                self.is_there()?;
                self.shelves.make(self.shelf())?;
                let mut encoder = zstd::Encoder::new(File::create(&self.temporary)?, LEVEL)?;
                encoder.include_checksum(true)?;
                self.encoder.insert(encoder)
            }
        };
        encoder.write_all(text)
    }

    fn finish(mut self) -> io::Result<()> {
        let Some(encoder) = self.encoder.take() else { return Ok(()) };
        if let Err(gone) = self.is_there() {
            let _ = fs::remove_file(&self.temporary);
            return Err(gone);
        }
        let written = encoder.finish().and_then(|file| file.sync_all());
        let renamed = written.and_then(|()| fs::rename(&self.temporary, &self.path));
        if renamed.is_err() {
            let _ = fs::remove_file(&self.temporary);
        }
        renamed.and_then(|()| sync_dir(self.shelf()))
    }

    /// Refuses to keep anything in a folder that took the data directory's place.
    fn is_there(&self) -> io::Result<()> {
        self.above.fault().map_or(Ok(()), |fault| Err(io::Error::other(fault)))
    }

    fn shelf(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("."))
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if self.encoder.take().is_some() {
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

impl Shelves {
    /// Makes a folder that is missing. Until it is sure to survive, nobody else goes on with it either.
    fn make(&self, shelf: &Path) -> io::Result<()> {
        let mut made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if made.contains(shelf) && shelf.is_dir() {
            return Ok(());
        }
        let logs = above(shelf);
        if !logs.is_dir() {
            warn!(folder = %logs.display(), "the folder of kept output is gone, and what was in it: it is made anew");
        }
        make_dir(shelf)?;
        sync_dir(logs)?;
        made.insert(shelf.to_owned());
        Ok(())
    }
}

type Reader = BufReader<zstd::Decoder<'static, BufReader<File>>>;

fn open(path: &Path) -> io::Result<Option<Reader>> {
    match File::open(path) {
        // Even no output at all has a frame around it: zstd would take a file that lost its bytes for that.
        Ok(file) if file.metadata()?.len() == 0 => {
            Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file is empty"))
        }
        Ok(file) => Ok(Some(BufReader::new(zstd::Decoder::new(file)?))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The next lines, none at the end; and why there are no more, if that is not the end.
fn read_lines(reader: &mut Reader) -> (Vec<LogLine>, Option<io::Error>) {
    let (mut lines, mut taken, mut bytes) = (Vec::new(), 0, Vec::new());
    while lines.len() < READ_LINES && taken < READ_BYTES {
        bytes.clear();
        match reader.read_until(b'\n', &mut bytes) {
            Ok(0) => break,
            Ok(count) => taken += count,
            Err(error) => return (lines, Some(error)),
        }
        match parse(&bytes) {
            Some(line) => lines.push(line),
            None => {
                return (lines, Some(io::Error::new(io::ErrorKind::InvalidData, "a line is not as it was written")));
            }
        }
    }
    (lines, None)
}
