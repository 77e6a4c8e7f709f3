//! The output of a job, from wherever it is: kept on disk when the attempt is over, on the engine before.
//!
//! A followed stream does not trust the engine's own to be whole: it may break, and it lacks a last line that has no
//! end. So lines are counted, and when the stream ends, what is kept is read from the first line that was not sent.

use std::sync::Arc;

use futures::StreamExt;
use futures::stream::BoxStream;
use tracing::debug;

use super::{BACKOFF, Health, Shared};
use crate::domain::container::Phase;
use crate::domain::id::{Attempt, JobId};
use crate::domain::job::{Job, Map, State};
use crate::domain::output::LogLine;
use crate::engine::{EngineError, LogStream};
use crate::store::StoreError;
use crate::store::watch::Watch;

/// Lines of output, oldest first.
pub type OutputStream = BoxStream<'static, Result<LogLine, OutputError>>;

/// Why output cannot be shown.
#[derive(Clone, Debug, thiserror::Error)]
pub enum OutputError {
    /// There is no such job.
    #[error("there is no such job")]
    NotFound,
    /// The engine that holds it does not answer.
    #[error("the output is on the engine, and the engine does not answer: {0}")]
    Unreachable(String),
    /// It cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The output of the job's present or last attempt; with `follow`, until the job is over.
pub(super) async fn open(shared: Arc<Shared>, id: JobId, follow: bool) -> Result<OutputStream, OutputError> {
    let watch = shared.store.watch(id);
    let job = shared.store.get(id).await?.ok_or(OutputError::NotFound)?;
    if !follow && job.map() == Map::Running && !shared.health.look().is_up() {
        return Err(OutputError::Unreachable(unreachable_since(&shared)));
    }
    let reader = Reader { shared, id, follow, watch, attempt: job.attempt, sent: 0, piece: Piece::Look };
    Ok(futures::stream::unfold(reader, |mut reader| async move { reader.next().await.map(|line| (line, reader)) })
        .boxed())
}

fn unreachable_since(shared: &Shared) -> String {
    match &*shared.health.look() {
        Health::Down { error, .. } => error.clone(),
        Health::Changed { .. } => "another engine answers at its address".to_owned(),
        Health::Up(_) => "it is just back".to_owned(),
    }
}

struct Reader {
    shared: Arc<Shared>,
    id: JobId,
    follow: bool,
    watch: Watch,
    attempt: Attempt,
    /// How many lines of this attempt were given out.
    sent: usize,
    piece: Piece,
}

/// What is being read.
enum Piece {
    /// Find out where the output is.
    Look,
    /// The kept file: it is whole.
    Kept(BoxStream<'static, Result<LogLine, StoreError>>),
    /// The engine's stream.
    Live(LogStream),
    /// Nothing more will come.
    End,
}

impl Reader {
    async fn next(&mut self) -> Option<Result<LogLine, OutputError>> {
        loop {
            match &mut self.piece {
                Piece::End => return None,
                Piece::Look => {
                    if let Err(failure) = self.look().await {
                        self.piece = Piece::End;
                        return Some(Err(failure));
                    }
                }
                Piece::Kept(lines) => match lines.next().await {
                    Some(Ok(line)) => return Some(Ok(self.count(line))),
                    Some(Err(failure)) => {
                        self.piece = Piece::End;
                        return Some(Err(failure.into()));
                    }
                    None => {
                        if let Err(failure) = self.after_kept().await {
                            self.piece = Piece::End;
                            return Some(Err(failure.into()));
                        }
                    }
                },
                Piece::Live(lines) => match lines.next().await {
                    // What has no end yet will come again, whole or not, from what is kept.
                    Some(Ok(line)) if self.follow && !line.complete && line.text.len() < PIECE_BYTES => {}
                    Some(Ok(line)) => return Some(Ok(self.count(line))),
                    Some(Err(failure)) if !self.follow => {
                        self.piece = Piece::End;
                        return Some(Err(OutputError::Unreachable(failure.to_string())));
                    }
                    Some(Err(_)) | None => self.after_live().await,
                },
            }
        }
    }

    fn count(&mut self, line: LogLine) -> LogLine {
        self.sent += 1;
        line
    }

    async fn look(&mut self) -> Result<(), OutputError> {
        let job = self.shared.store.get(self.id).await?.ok_or(OutputError::NotFound)?;
        if job.attempt != self.attempt {
            (self.attempt, self.sent) = (job.attempt, 0);
        }
        if let Some(lines) = self.shared.logs.read(job.id, job.attempt).await? {
            self.piece = Piece::Kept(lines.skip(self.sent).boxed());
            return Ok(());
        }
        match live(&self.shared, &job, self.follow).await {
            Ok(Some(lines)) => self.piece = Piece::Live(lines.skip(self.sent).boxed()),
            // A container is removed after its output was kept, which may have been since the first look.
            Ok(None) if job.is_over() || !self.follow => {
                let kept = self.shared.logs.read(job.id, job.attempt).await?;
                self.piece = kept.map_or(Piece::End, |lines| Piece::Kept(lines.skip(self.sent).boxed()));
            }
            Ok(None) => self.pause().await,
            Err(failure) if !self.follow => return Err(OutputError::Unreachable(failure.to_string())),
            Err(failure) => {
                debug!(job = %self.id, error = %failure, "its output cannot be followed now");
                self.pause().await;
            }
        }
        Ok(())
    }

    /// All that was kept of this attempt is sent. A job that is tried again is followed into its next attempt.
    async fn after_kept(&mut self) -> Result<(), StoreError> {
        let over = self.follow && self.shared.store.get(self.id).await?.is_none_or(|job| job.is_over());
        if !self.follow || over {
            self.piece = Piece::End;
        } else {
            self.pause().await;
            self.piece = Piece::Look;
        }
        Ok(())
    }

    /// The engine's stream ended: the container did, or the connection.
    async fn after_live(&mut self) {
        if self.follow {
            self.pause().await;
            self.piece = Piece::Look;
        } else {
            self.piece = Piece::End;
        }
    }

    /// Until the job changes, or it is worth another look anyway.
    async fn pause(&mut self) {
        let _ = tokio::time::timeout(BACKOFF.1 / 10, self.watch.changed()).await;
    }
}

/// The engine's stream of the job's present container, if it has one.
async fn live(shared: &Shared, job: &Job, follow: bool) -> Result<Option<LogStream>, EngineError> {
    if job.map() == Map::Scheduled || job.attempt.0 == 0 {
        return Ok(None);
    }
    let seen = match (&job.state, job.state.container()) {
        // What was not meant to be started has no output.
        (State::Pulling | State::Starting(None), _) => None,
        (_, Some(container)) => shared.engine.inspect(container).await?,
        (_, None) => shared.engine.find(&shared.owner(job)).await?,
    };
    let Some(container) = seen else { return Ok(None) };
    // One that never ran has no output, and may be taken away while it is asked for some.
    if matches!(container.phase, Phase::Created { .. } | Phase::Removing) {
        return Ok(None);
    }
    match shared.engine.logs(&container.id, follow).await {
        Ok(lines) => Ok(Some(lines)),
        Err(EngineError::NotFound) => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// Engines cut a line that is longer than this into pieces; a shorter piece is the line's end, or a line without one.
const PIECE_BYTES: usize = 16 * 1024;
