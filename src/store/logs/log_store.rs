//! The store of kept output: keeps, lists, reads and removes the files.

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use tracing::warn;

use super::files::{Kept, UNFINISHED, file_of};
use super::packed::Packer;
use super::{packed, reader};
use crate::domain::names::id::{Attempt, JobId};
use crate::domain::output::{Limit, Line, Lines};
use crate::store::error::{OpenError, StoreError};
use crate::store::lock::{make_dir, sync_dir};
use crate::store::open_files::OpenFile;
use crate::store::threads::{Broken, Threads};

/// The bytes gathered before a thread writes them: the output of most jobs fits and costs one call.
const GATHER_BYTES: usize = 256 * 1024;
/// The zstd compression level: zstd's own default.
const LEVEL: i32 = 3;

/// The folder of kept output.
#[derive(Clone, Debug)]
pub struct LogStore {
    dir: PathBuf,
    threads: Threads,
    shelves: SyncedDirs,
    unsynced: UnsyncedFiles,
    /// The data directory, kept open to notice an exchange.
    above: Arc<OpenFile>,
    /// The number of files begun, which makes temporary names unique.
    begun: Arc<AtomicU64>,
}

/// The folders that are known to survive a power cut.
#[derive(Clone, Debug, Default)]
struct SyncedDirs(Arc<Mutex<HashSet<PathBuf>>>);

/// The files under their final name that a power cut may still take away.
#[derive(Clone, Debug, Default)]
struct UnsyncedFiles(Arc<Mutex<HashSet<PathBuf>>>);

/// The reasons why output was not kept. No file exists then.
#[derive(Debug)]
pub enum KeepError<E> {
    /// The disk refused the write.
    Store(StoreError),
    /// The source stream failed.
    Source(E),
}

impl LogStore {
    /// Opens the folder. Makes it if missing, and removes files that a crash left unfinished.
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
        let above = Arc::new(OpenFile::hold(above(dir)).map_err(refused)?);
        Ok(Self {
            dir: dir.to_owned(),
            threads,
            shelves: SyncedDirs::default(),
            unsynced: UnsyncedFiles::default(),
            above,
            begun: Arc::default(),
        })
    }

    /// Writes a stream's lines, up to `limit` bytes for a reader, and returns when they are on
    /// disk. Replaces an earlier file of the same attempt. Stops reading the stream at the limit.
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
            self.unsynced.clone(),
            self.above.clone(),
        );
        let mut gathered = Gathered { packer: Packer::default(), limit: Limit::new(limit) };
        while let Some(lines) = output.next().await {
            let lines = match lines {
                Ok(lines) => lines,
                Err(failure) => {
                    // Dropping the file deletes it, and this thread makes no file calls.
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

    /// Returns the kept output of an attempt; `None` if none was kept.
    ///
    /// # Errors
    /// Fails when the disk refuses. A damaged file ends its stream with [`StoreError::Damaged`].
    pub async fn read(
        &self,
        job: JobId,
        attempt: Attempt,
    ) -> Result<Option<BoxStream<'static, Result<Lines, StoreError>>>, StoreError> {
        let (path, unsynced) = (self.path(job, attempt), self.unsynced.clone());
        // Checked after the file was opened: before, it may not have had its name yet.
        let open =
            move || reader::open(&path).map(|open| open.filter(|_| !unsynced.contains(&path)));
        let Some(reader) = self.blocking(open).await? else {
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

    /// Returns the amount of kept output of an attempt. The outer `None` says that no output was
    /// kept, the inner `None` that the file does not state the amount.
    ///
    /// # Errors
    /// Fails when the disk refuses.
    pub async fn summary(
        &self,
        job: JobId,
        attempt: Attempt,
    ) -> Result<Option<Option<Kept>>, StoreError> {
        let (path, unsynced) = (self.path(job, attempt), self.unsynced.clone());
        // Checked after the file was read, as in `read`.
        let read =
            move || reader::summary(&path).map(|it| it.filter(|_| !unsynced.contains(&path)));
        self.blocking(read).await
    }

    /// Returns whether the output of an attempt is kept. A file of an earlier process, or one whose
    /// sync failed, may have a name that a power cut takes away, so the folder is synced first.
    ///
    /// # Errors
    /// Fails when the disk refuses.
    pub async fn has(&self, job: JobId, attempt: Attempt) -> Result<bool, StoreError> {
        let path = self.path(job, attempt);
        let unsynced = self.unsynced.clone();
        self.blocking(move || {
            let is_there = path.try_exists()?;
            if is_there {
                sync_dir(above(&path))?;
                unsynced.remove(&path);
            }
            Ok(is_there)
        })
        .await
    }

    /// Lists the attempts up to `last` whose output is kept.
    ///
    /// # Errors
    /// Fails when the disk refuses.
    pub async fn attempts(&self, job: JobId, last: Attempt) -> Result<Vec<Attempt>, StoreError> {
        let store = self.clone();
        self.blocking(move || {
            let mut kept = Vec::new();
            for attempt in (1..=last.0).map(Attempt) {
                let path = store.path(job, attempt);
                if path.try_exists()? && !store.unsynced.contains(&path) {
                    kept.push(attempt);
                }
            }
            Ok(kept)
        })
        .await
    }

    /// Returns the file's path, in a subfolder named by the id's last two digits. These digits are
    /// random, so the subfolders grow evenly.
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

/// The lines to write next, and the amount in all.
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

fn clear_unfinished(shelf: &Path) -> io::Result<()> {
    for entry in fs::read_dir(shelf)? {
        let path = entry?.path();
        if path.to_string_lossy().ends_with(UNFINISHED) {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// A file under its temporary name. Dropping it before `finish` deletes the file.
struct Unfinished {
    path: PathBuf,
    temporary: PathBuf,
    shelves: SyncedDirs,
    unsynced: UnsyncedFiles,
    above: Arc<OpenFile>,
    encoder: Option<zstd::Encoder<'static, File>>,
}

impl Unfinished {
    fn new(
        path: PathBuf,
        number: u64,
        shelves: SyncedDirs,
        unsynced: UnsyncedFiles,
        above: Arc<OpenFile>,
    ) -> Self {
        let mut temporary = path.clone().into_os_string();
        temporary.push(format!(".{number}{UNFINISHED}"));
        Self { path, temporary: PathBuf::from(temporary), shelves, unsynced, above, encoder: None }
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
                // The head precedes the frame, and the encoder has written nothing yet.
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
        self.unsynced.add(&self.path);
        let renamed = written.and_then(|()| fs::rename(&self.temporary, &self.path));
        if renamed.is_err() {
            self.unsynced.remove(&self.path);
            let _ = fs::remove_file(&self.temporary);
        }
        renamed?;
        sync_dir(self.shelf())?;
        self.unsynced.remove(&self.path);
        Ok(())
    }

    /// Refuses to keep output in a folder that replaced the data directory.
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

impl UnsyncedFiles {
    fn add(&self, path: &Path) {
        self.paths().insert(path.to_owned());
    }

    fn remove(&self, path: &Path) {
        self.paths().remove(path);
    }

    fn contains(&self, path: &Path) -> bool {
        self.paths().contains(path)
    }

    fn paths(&self) -> MutexGuard<'_, HashSet<PathBuf>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SyncedDirs {
    /// Makes a missing folder. Other callers wait until the folder would survive a power cut.
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
