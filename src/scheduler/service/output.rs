//! The output of a job: read from the disk once it is kept, from the engine before.
//!
//! A followed engine stream may be incomplete: it may break, and it lacks a last line without an
//! end. So the reader counts the lines it sent. After the stream ends, it reads on from the first
//! line not sent. The source is the kept output or, until that is written, the container, which
//! stays until then.

use std::sync::Arc;

use futures::StreamExt;
use futures::stream::BoxStream;
use tracing::{debug, error};

use crate::domain::container::Owner;
use crate::domain::container::Phase;
use crate::domain::job::{Job, Map, Outcome, State};
use crate::domain::names::id::{Attempt, JobId};
use crate::domain::output::{Limit, Line, Lines};
use crate::engine::{EngineError, LogStream};
use crate::scheduler::{
    context::{Context, Health},
    timing::BACKOFF,
};
use crate::store::StoreError;
use crate::store::logs::Kept;
use crate::store::watch::Watch;

/// Lines of output, oldest first.
pub type OutputStream = BoxStream<'static, Result<Lines, OutputError>>;

/// The reason output cannot be shown.
#[derive(Clone, Debug, thiserror::Error)]
pub enum OutputError {
    /// No job has this id.
    #[error("there is no such job")]
    NotFound,
    /// The engine that holds the output does not answer.
    #[error("the output is on the engine, and the engine does not answer: {0}")]
    Unreachable(String),
    /// The store or the kept output cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The state of the output of a job's last attempt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutputState {
    /// True when no more lines will come: the job is over, and its output is kept or there is none.
    pub complete: bool,
    /// Size of the kept output; `None` where that is unknown.
    pub kept: Option<Kept>,
}

/// Returns the state of a job's output. A disk that cannot be read yields the default state.
pub(in crate::scheduler) async fn state(context: &Context, job: &Job) -> OutputState {
    let Some(end) = job.state.end() else { return OutputState::default() };
    let failed_to_run =
        matches!(end.outcome, Outcome::Failed | Outcome::Stopped | Outcome::TimedOut)
            && end.exit.is_none();
    if job.attempt.0 == 0 || failed_to_run {
        let nothing = Kept { lines: 0, bytes: 0, truncated: false };
        return OutputState { complete: true, kept: Some(nothing) };
    }
    // Asked before the disk is read, so that output kept in between is found.
    let may_be_unkept = context.may_be_unkept(job.id, job.attempt);
    match context.logs.summary(job.id, job.attempt).await {
        Ok(Some(kept)) => OutputState { complete: true, kept },
        Ok(None) => OutputState { complete: !may_be_unkept, kept: None },
        Err(failure) => {
            error!(job = %job.id, error = %failure, "the kept output cannot be read");
            OutputState::default()
        }
    }
}

/// Returns the output of the job's current or last attempt; with `follow`, until the job is over.
pub(in crate::scheduler) async fn open(
    context: Arc<Context>,
    id: JobId,
    follow: bool,
) -> Result<OutputStream, OutputError> {
    let watch = context.store.watch(id);
    let job = context.store.get(id).await?.ok_or(OutputError::NotFound)?;
    if !follow && !context.health.look().is_up() && is_on_the_engine(&context, &job).await? {
        return Err(OutputError::Unreachable(unreachable_since(&context)));
    }
    let limit = Limit::new(job.spec.log_limit());
    let (attempt, source) = (job.attempt, OutputSource::Look);
    let reader = Reader {
        context,
        id,
        follow,
        watch,
        attempt,
        sent: 0,
        to_skip: 0,
        limit,
        is_sent: false,
        source,
    };
    Ok(futures::stream::unfold(reader, |mut reader| async move {
        reader.next().await.map(|lines| (lines, reader))
    })
    .boxed())
}

async fn is_on_the_engine(context: &Context, job: &Job) -> Result<bool, StoreError> {
    let may_be = job.map() == Map::Running
        || (job.attempt.0 > 0 && context.may_be_unkept(job.id, job.attempt));
    Ok(may_be && !context.logs.has(job.id, job.attempt).await?)
}

fn unreachable_since(context: &Context) -> String {
    match &*context.health.look() {
        Health::Down { error, .. } => error.clone(),
        Health::Changed { .. } => "another engine answers at its address".to_owned(),
        Health::Up(_) => "it is just back".to_owned(),
    }
}

struct Reader {
    context: Arc<Context>,
    id: JobId,
    follow: bool,
    watch: Watch,
    attempt: Attempt,
    /// The number of lines of this attempt that were sent.
    sent: usize,
    /// The number of coming lines that were sent already.
    to_skip: usize,
    /// The log limit as applied to the engine stream being read.
    limit: Limit,
    /// True once all of this attempt's output was sent.
    is_sent: bool,
    source: OutputSource,
}

/// The source being read.
enum OutputSource {
    /// The source is to be found.
    Look,
    /// The kept file, which is complete.
    Kept(BoxStream<'static, Result<Lines, StoreError>>),
    /// The engine's stream of a container that may still run.
    Live(LogStream),
    /// The engine's stream of a container that has ended: the complete output.
    Last(LogStream),
    /// No more lines will come.
    End,
}

impl Reader {
    async fn next(&mut self) -> Option<Result<Lines, OutputError>> {
        loop {
            let unreachable = |failure: EngineError| OutputError::Unreachable(failure.to_string());
            let read = match &mut self.source {
                OutputSource::End => return None,
                OutputSource::Look => match self.look().await {
                    Ok(()) => continue,
                    Err(failure) => Some(Err(failure)),
                },
                OutputSource::Kept(lines) => {
                    lines.next().await.map(|lines| lines.map_err(OutputError::from))
                }
                OutputSource::Live(lines) | OutputSource::Last(lines) => {
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
                // The container may have been removed during the read. Then its output is kept.
                Some(Err(OutputError::Unreachable(_))) if self.is_kept_by_now().await => {}
                Some(Err(failure)) => {
                    self.source = OutputSource::End;
                    return Some(Err(failure));
                }
                None => self.after().await,
            }
        }
    }

    /// Returns the lines that were not sent before.
    fn news_of(&mut self, lines: Lines) -> Lines {
        // Kept output is within the limit already. A caller that follows a container sees all that
        // it writes, kept or not.
        let is_limited = match self.source {
            OutputSource::Last(_) => true,
            OutputSource::Live(_) => !self.follow,
            OutputSource::Kept(_) | OutputSource::Look | OutputSource::End => false,
        };
        let lines = if is_limited { self.limit.of(lines) } else { lines };
        let known = self.to_skip.min(lines.len());
        self.to_skip -= known;
        let mut lines = lines.skip(known);
        if self.follow && matches!(self.source, OutputSource::Live(_)) {
            // An unfinished line comes again, whole or not, when the container has ended.
            lines = lines.filter(|line: &Line<'_>| line.complete || line.text.len() >= PIECE_BYTES);
        }
        self.sent += lines.len();
        lines
    }

    async fn look(&mut self) -> Result<(), OutputError> {
        let job = self.context.store.get(self.id).await?.ok_or(OutputError::NotFound)?;
        if self.is_sent {
            // A retried job is followed into its next attempt.
            if job.attempt > self.attempt {
                (self.attempt, self.sent, self.is_sent) = (job.attempt, 0, false);
            } else if job.is_over() {
                self.source = OutputSource::End;
            } else {
                self.pause().await;
            }
            return Ok(());
        }
        (self.to_skip, self.limit) = (self.sent, Limit::new(job.spec.log_limit()));
        let has_ended = job.attempt > self.attempt || job.map() != Map::Running;
        // Asked before the disk is read, so that output kept in between is found.
        let is_settled = has_ended
            && (self.attempt.0 == 0 || !self.context.may_be_unkept(self.id, self.attempt));
        if self.find_kept().await? {
            return Ok(());
        }
        if is_settled {
            self.after_all();
            return Ok(());
        }
        match live(&self.context, &job, self.attempt, self.follow && !has_ended).await {
            Ok(Some(lines)) if has_ended => self.source = OutputSource::Last(lines),
            Ok(Some(lines)) => self.source = OutputSource::Live(lines),
            // The output may have been kept, and the container removed, between the two reads.
            Ok(None) if has_ended => {
                if !self.find_kept().await? {
                    self.after_all();
                }
            }
            Ok(None) if !self.follow => self.source = OutputSource::End,
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
        let kept = self.context.logs.read(self.id, self.attempt).await?;
        let found = kept.is_some();
        if let Some(lines) = kept {
            self.source = OutputSource::Kept(lines);
        }
        Ok(found)
    }

    /// Chooses the next source after a stream has ended.
    async fn after(&mut self) {
        match self.source {
            OutputSource::Kept(_) | OutputSource::Last(_) => self.after_all(),
            // Either the container has ended or the connection broke.
            OutputSource::Live(_) if self.follow => self.look_again().await,
            OutputSource::Live(_) | OutputSource::Look | OutputSource::End => {
                self.source = OutputSource::End
            }
        }
    }

    /// Notes that all of this attempt's output was sent.
    fn after_all(&mut self) {
        self.is_sent = true;
        self.source = if self.follow { OutputSource::Look } else { OutputSource::End };
    }

    async fn look_again(&mut self) {
        debug!(job = %self.id, "its output is looked for again");
        self.pause().await;
        self.source = OutputSource::Look;
    }

    /// Waits until the job changes, at most a tenth of the longest backoff.
    async fn pause(&mut self) {
        let _ = tokio::time::timeout(BACKOFF.1 / 10, self.watch.changed()).await;
    }
}

/// Returns the engine's stream for the container of this attempt; `None` if there is no container
/// or it never ran.
async fn live(
    context: &Context,
    job: &Job,
    attempt: Attempt,
    follow: bool,
) -> Result<Option<LogStream>, EngineError> {
    let seen = match (&job.state, job.state.container()) {
        _ if attempt < job.attempt => {
            context.engine.find(&Owner { attempt, ..context.owner(job) }).await?
        }
        // A container without an intent has no output.
        (State::Pulling | State::Starting(None), _) => None,
        (_, Some(container)) => context.engine.inspect(container).await?,
        (_, None) => context.engine.find(&context.owner(job)).await?,
    };
    let Some(container) = seen else { return Ok(None) };
    // A container that never ran has no output, and may be removed while it is being asked.
    if matches!(container.phase, Phase::Created { .. } | Phase::Removing) {
        return Ok(None);
    }
    match context.engine.logs(&container.id, follow).await {
        Ok(lines) => Ok(Some(lines)),
        Err(EngineError::NotFound) => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// The size in bytes beyond which engines cut a line into pieces. A shorter piece is the end of a
/// line, or a line without an end.
const PIECE_BYTES: usize = 16 * 1024;
