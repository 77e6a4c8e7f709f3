//! The output of a job, from wherever it is: from the disk once it is kept, from the engine before.
//!
//! A followed stream does not trust the engine's own to be whole: it may break, and it lacks a last line that has no
//! end. So lines are counted, and when the stream ends, the rest is read from the first line that was not sent: from what
//! is kept, or, as long as that is on its way, from the container, which stays until then.

use std::sync::Arc;

use futures::StreamExt;
use futures::stream::BoxStream;
use tracing::{debug, error};

use super::{BACKOFF, Health, Shared};
use crate::domain::container::Owner;
use crate::domain::container::Phase;
use crate::domain::id::{Attempt, JobId};
use crate::domain::job::{Job, Map, Outcome, State};
use crate::domain::output::{Limit, Line, Lines};
use crate::engine::{EngineError, LogStream};
use crate::store::StoreError;
use crate::store::logs::Kept;
use crate::store::watch::Watch;

/// Lines of output, oldest first.
pub type OutputStream = BoxStream<'static, Result<Lines, OutputError>>;

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

/// What is known of the output of a job's last attempt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutputState {
    /// Whether no more comes: the job is over, and its output is kept, or there is none.
    pub complete: bool,
    /// What is kept; `None` where that is not known.
    pub kept: Option<Kept>,
}

/// Tells how the output of a job stands. A disk that cannot be read says nothing.
pub(super) async fn state(shared: &Shared, job: &Job) -> OutputState {
    let Some(end) = job.state.end() else { return OutputState::default() };
    let failed_to_run =
        matches!(end.outcome, Outcome::Failed | Outcome::Stopped | Outcome::TimedOut)
            && end.exit.is_none();
    if job.attempt.0 == 0 || failed_to_run {
        let nothing = Kept { lines: 0, bytes: 0, truncated: false };
        return OutputState { complete: true, kept: Some(nothing) };
    }
    // Asked first: what is kept in between is found.
    let may_be_unkept = shared.may_be_unkept(job.id, job.attempt);
    match shared.logs.summary(job.id, job.attempt).await {
        Ok(Some(kept)) => OutputState { complete: true, kept },
        Ok(None) => OutputState { complete: !may_be_unkept, kept: None },
        Err(failure) => {
            error!(job = %job.id, error = %failure, "what is kept of its output cannot be read");
            OutputState::default()
        }
    }
}

/// The output of the job's present or last attempt; with `follow`, until the job is over.
pub(super) async fn open(
    shared: Arc<Shared>,
    id: JobId,
    follow: bool,
) -> Result<OutputStream, OutputError> {
    let watch = shared.store.watch(id);
    let job = shared.store.get(id).await?.ok_or(OutputError::NotFound)?;
    if !follow && !shared.health.look().is_up() && is_on_the_engine(&shared, &job).await? {
        return Err(OutputError::Unreachable(unreachable_since(&shared)));
    }
    let limit = Limit::new(job.spec.log_limit());
    let (attempt, piece) = (job.attempt, Piece::Look);
    let reader = Reader {
        shared,
        id,
        follow,
        watch,
        attempt,
        sent: 0,
        to_skip: 0,
        limit,
        is_sent: false,
        piece,
    };
    Ok(futures::stream::unfold(reader, |mut reader| async move {
        reader.next().await.map(|lines| (lines, reader))
    })
    .boxed())
}

async fn is_on_the_engine(shared: &Shared, job: &Job) -> Result<bool, StoreError> {
    let may_be = job.map() == Map::Running
        || (job.attempt.0 > 0 && shared.may_be_unkept(job.id, job.attempt));
    Ok(may_be && !shared.logs.has(job.id, job.attempt).await?)
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
    /// How many of the lines that come now were given out before.
    to_skip: usize,
    /// What a reader of it gets of the engine's stream that is read now.
    limit: Limit,
    /// Whether all of this attempt was given out.
    is_sent: bool,
    piece: Piece,
}

/// What is being read.
enum Piece {
    /// Find out where the output is.
    Look,
    /// The kept file: it is whole.
    Kept(BoxStream<'static, Result<Lines, StoreError>>),
    /// The engine's stream of a container that may go on.
    Live(LogStream),
    /// The engine's stream of one that has ended: all there is.
    Last(LogStream),
    /// Nothing more will come.
    End,
}

impl Reader {
    async fn next(&mut self) -> Option<Result<Lines, OutputError>> {
        loop {
            let unreachable = |failure: EngineError| OutputError::Unreachable(failure.to_string());
            let read = match &mut self.piece {
                Piece::End => return None,
                Piece::Look => match self.look().await {
                    Ok(()) => continue,
                    Err(failure) => Some(Err(failure)),
                },
                Piece::Kept(lines) => {
                    lines.next().await.map(|lines| lines.map_err(OutputError::from))
                }
                Piece::Live(lines) | Piece::Last(lines) => {
                    lines.next().await.map(|lines| lines.map_err(unreachable))
                }
            };
            match read {
                Some(Ok(lines)) => {
                    let lines = self.news_of(lines);
                    if self.limit.is_met() {
                        self.after_all();
                    }
                    if !lines.is_empty() {
                        return Some(Ok(lines));
                    }
                }
                Some(Err(OutputError::Unreachable(_))) if self.follow => self.look_again().await,
                // Its container may have been removed while it was read: then its output is kept.
                Some(Err(OutputError::Unreachable(_))) if self.is_kept_by_now().await => {}
                Some(Err(failure)) => {
                    self.piece = Piece::End;
                    return Some(Err(failure));
                }
                None => self.after().await,
            }
        }
    }

    /// What was not given out before.
    fn news_of(&mut self, lines: Lines) -> Lines {
        // What is kept is within the limit; whoever follows a container sees what it writes, whether it will be kept or not.
        let is_limited = match self.piece {
            Piece::Last(_) => true,
            Piece::Live(_) => !self.follow,
            Piece::Kept(_) | Piece::Look | Piece::End => false,
        };
        let lines = if is_limited { self.limit.of(lines) } else { lines };
        let known = self.to_skip.min(lines.len());
        self.to_skip -= known;
        let mut lines = lines.skip(known);
        if self.follow && matches!(self.piece, Piece::Live(_)) {
            // What has no end yet will come again, whole or not, when the container has ended.
            lines = lines.filter(|line: &Line<'_>| line.complete || line.text.len() >= PIECE_BYTES);
        }
        self.sent += lines.len();
        lines
    }

    async fn look(&mut self) -> Result<(), OutputError> {
        let job = self.shared.store.get(self.id).await?.ok_or(OutputError::NotFound)?;
        if self.is_sent {
            // A job that is tried again is followed into its next attempt.
            if job.attempt > self.attempt {
                (self.attempt, self.sent, self.is_sent) = (job.attempt, 0, false);
            } else if job.is_over() {
                self.piece = Piece::End;
            } else {
                self.pause().await;
            }
            return Ok(());
        }
        (self.to_skip, self.limit) = (self.sent, Limit::new(job.spec.log_limit()));
        let has_ended = job.attempt > self.attempt || job.map() != Map::Running;
        // Asked first: what is kept in between is found.
        let is_settled =
            has_ended && (self.attempt.0 == 0 || !self.shared.may_be_unkept(self.id, self.attempt));
        if self.find_kept().await? {
            return Ok(());
        }
        if is_settled {
            self.after_all();
            return Ok(());
        }
        match live(&self.shared, &job, self.attempt, self.follow && !has_ended).await {
            Ok(Some(lines)) if has_ended => self.piece = Piece::Last(lines),
            Ok(Some(lines)) => self.piece = Piece::Live(lines),
            // It may have been kept, and its container removed, between the two looks.
            Ok(None) if has_ended => {
                if !self.find_kept().await? {
                    self.after_all();
                }
            }
            Ok(None) if !self.follow => self.piece = Piece::End,
            Ok(None) => self.pause().await,
            Err(failure) => return Err(OutputError::Unreachable(failure.to_string())),
        }
        Ok(())
    }

    async fn is_kept_by_now(&mut self) -> bool {
        self.to_skip = self.sent;
        matches!(self.find_kept().await, Ok(true))
    }

    async fn find_kept(&mut self) -> Result<bool, StoreError> {
        let kept = self.shared.logs.read(self.id, self.attempt).await?;
        let found = kept.is_some();
        if let Some(lines) = kept {
            self.piece = Piece::Kept(lines);
        }
        Ok(found)
    }

    /// A stream has ended.
    async fn after(&mut self) {
        match self.piece {
            Piece::Kept(_) | Piece::Last(_) => self.after_all(),
            // The container has ended, or the connection.
            Piece::Live(_) if self.follow => self.look_again().await,
            Piece::Live(_) | Piece::Look | Piece::End => self.piece = Piece::End,
        }
    }

    /// All of this attempt was given out.
    fn after_all(&mut self) {
        self.is_sent = true;
        self.piece = if self.follow { Piece::Look } else { Piece::End };
    }

    async fn look_again(&mut self) {
        debug!(job = %self.id, "its output is looked for again");
        self.pause().await;
        self.piece = Piece::Look;
    }

    /// Until the job changes, or it is worth another look anyway.
    async fn pause(&mut self) {
        let _ = tokio::time::timeout(BACKOFF.1 / 10, self.watch.changed()).await;
    }
}

/// The engine's stream of the container of this attempt, if there is one.
async fn live(
    shared: &Shared,
    job: &Job,
    attempt: Attempt,
    follow: bool,
) -> Result<Option<LogStream>, EngineError> {
    let seen = match (&job.state, job.state.container()) {
        _ if attempt < job.attempt => {
            shared.engine.find(&Owner { attempt, ..shared.owner(job) }).await?
        }
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
