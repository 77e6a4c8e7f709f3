//! Kept output: one compressed file for each attempt, that is there whole or not at all.
//!
//! A file is written under a temporary name, synced, and renamed; what a crash leaves behind is removed at the next start.
//! `packed` says what is in it; files of the format before that (`lines`) are read, too.
//!
//! Output beyond the job's `log_limit` is dropped, and a last line on stderr says so.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Write};
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
use crate::domain::output::{Limit, Line, Lines};
pub(super) use backup::back_up;
pub(super) use check::check;
use packed::Packer;

mod backup;
mod check;
mod lines;
mod packed;
mod reader;
#[cfg(test)]
mod tests;

/// How much is gathered before a thread is asked to write it: most jobs' output fits, and costs one call.
const GATHER_BYTES: usize = 256 * 1024;
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

/// What was kept, without the line that says that the rest was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Lines.
    pub lines: u64,
    /// Bytes that a reader gets: text and line ends.
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
        Ok(Self {
            dir: dir.to_owned(),
            threads,
            shelves: Shelves::default(),
            above,
            begun: Arc::default(),
        })
    }

    /// Keeps what a stream gives, as many lines as a reader gets `limit` bytes of. It is on disk when this answers; keeping
    /// again replaces. Of a stream that has more nothing more is read.
    ///
    /// # Errors
    /// [`KeepError`]; then nothing was changed.
    pub async fn keep<E>(
        &self,
        job: JobId,
        attempt: Attempt,
        output: impl Stream<Item = Result<Lines, E>> + Send,
        limit: u64,
    ) -> Result<Kept, KeepError<E>> {
        let mut output = std::pin::pin!(output);
        let begun = self.begun.fetch_add(1, Ordering::Relaxed);
        let mut file = Unfinished::new(
            self.path(job, attempt),
            begun,
            self.shelves.clone(),
            self.above.clone(),
        );
        let mut gathered = Gathered { packer: Packer::default(), limit: Limit::new(limit) };
        while let Some(lines) = output.next().await {
            let lines = match lines {
                Ok(lines) => lines,
                Err(failure) => {
                    // It takes the file along, and files are not for this thread.
                    let _ = self.threads.run(move || drop(file)).await;
                    return Err(KeepError::Source(failure));
                }
            };
            for line in lines.iter() {
                gathered.add(line);
                if gathered.packer.len() >= GATHER_BYTES {
                    let chunk = gathered.packer.take();
                    file = self
                        .blocking(move || file.write(&chunk).map(|()| file))
                        .await
                        .map_err(KeepError::Store)?;
                }
            }
            if gathered.limit.is_met() {
                break;
            }
        }
        let (rest, kept) = gathered.finish();
        let written =
            self.blocking(move || file.write(&rest).and_then(|()| file.finish(kept))).await;
        written.map(|()| kept).map_err(KeepError::Store)
    }

    /// What was kept of an attempt, if anything was.
    ///
    /// # Errors
    /// When the disk refuses. A file that is damaged ends its stream with [`StoreError::Damaged`].
    pub async fn read(
        &self,
        job: JobId,
        attempt: Attempt,
    ) -> Result<Option<BoxStream<'static, Result<Lines, StoreError>>>, StoreError> {
        let path = self.path(job, attempt);
        let Some(reader) = self.blocking(move || reader::open(&path)).await? else {
            return Ok(None);
        };
        let threads = self.threads;
        let chunks = futures::stream::unfold(Some(reader), move |reader| async move {
            let mut reader = reader?;
            let read = threads.run(move || {
                let (lines, failure) = reader.next();
                (reader, lines, failure)
            });
            match read.await {
                Ok((_, lines, None)) if lines.is_empty() => None,
                Ok((reader, lines, None)) => Some((vec![Ok(lines)], Some(reader))),
                Ok((_, lines, Some(failure))) => {
                    let damaged = StoreError::Damaged(format!("kept output: {failure}"));
                    Some((vec![Ok(lines), Err(damaged)], None))
                }
                Err(Broken) => Some((vec![Err(StoreError::Closed)], None)),
            }
        });
        Ok(Some(chunks.flat_map(futures::stream::iter).boxed()))
    }

    /// Whether the output of an attempt is kept, and how much that is, where its file says so.
    ///
    /// # Errors
    /// When the disk refuses.
    pub async fn summary(
        &self,
        job: JobId,
        attempt: Attempt,
    ) -> Result<Option<Option<Kept>>, StoreError> {
        let path = self.path(job, attempt);
        self.blocking(move || reader::summary(&path)).await
    }

    /// Whether the output of an attempt is kept.
    ///
    /// # Errors
    /// When the disk refuses.
    pub async fn has(&self, job: JobId, attempt: Attempt) -> Result<bool, StoreError> {
        let path = self.path(job, attempt);
        self.blocking(move || path.try_exists()).await
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
                io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData => {
                    StoreError::Damaged(format!("kept output: {error}"))
                }
                _ => StoreError::Failed(format!("kept output: {error}")),
            }),
            Err(Broken) => Err(StoreError::Closed),
        }
    }
}

fn above(path: &Path) -> &Path {
    path.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// What is to be written next, and what that makes in all.
struct Gathered {
    packer: Packer,
    limit: Limit,
}

impl Gathered {
    fn add(&mut self, line: Line<'_>) {
        let Self { packer, limit } = self;
        limit.pass(line, &mut |line| packer.add(line));
    }

    fn finish(mut self) -> (Vec<u8>, Kept) {
        let truncated = self.limit.is_met();
        let lines = self.packer.lines() - u64::from(truncated);
        (self.packer.take(), Kept { lines, bytes: self.limit.bytes(), truncated })
    }
}

fn broken(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
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
                let file = File::create(&self.temporary)?;
                let encoder = self.encoder.insert(zstd::Encoder::new(file, LEVEL)?);
                encoder.include_checksum(true)?;
                // Before the frame: nothing of that is written yet.
                encoder.get_mut().write_all(packed::HEAD)?;
                encoder
            }
        };
        encoder.write_all(text)
    }

    fn finish(mut self, kept: Kept) -> io::Result<()> {
        let Some(encoder) = self.encoder.take() else { return Ok(()) };
        if let Err(gone) = self.is_there() {
            let _ = fs::remove_file(&self.temporary);
            return Err(gone);
        }
        let written = encoder.finish().and_then(|mut file| {
            file.write_all(&packed::tail(kept))?;
            file.sync_all()
        });
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
