//! Reads the output of a job: from the disk once it is kept, from the engine before.
//!
//! A followed engine stream may be incomplete: it may break, and it lacks a last line without an
//! end. So the reader counts the lines it sent. After the stream ends, it reads on from the first
//! line not sent. The source is the kept output or, until that is written, the container, which
//! stays until then.
//!
//! Lines are numbered from 1 over both channels of an attempt. The count of sent lines gives the
//! number, so a line has the same number in the container and in the kept file.

use std::sync::Arc;

use futures::StreamExt;
use futures::stream::BoxStream;
use tracing::debug;

use super::output::{OutputBlock, OutputError, OutputStream, Until};
use crate::domain::container::Owner;
use crate::domain::container::Phase;
use crate::domain::job::{Job, Map, State};
use crate::domain::names::id::{Attempt, JobId};
use crate::domain::output::{Limit, Line, Lines};
use crate::engine::{EngineError, LogStream};
use crate::scheduler::{context::Context, timing::BACKOFF};
use crate::store::StoreError;
use crate::store::watch::Watch;

/// A reader of one attempt after the other.
pub(super) struct Reader {
    context: Arc<Context>,
    id: JobId,
    until: Until,
    /// True if no other attempt is read.
    is_only: bool,
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
    /// Creates a reader. `watch` has to be older than the job from which the reader is made.
    pub(super) fn new(context: Arc<Context>, id: JobId, watch: Watch, limit: Limit) -> Self {
        Self {
            context,
            id,
            until: Until::Now,
            is_only: false,
            watch,
            attempt: Attempt::default(),
            sent: 0,
            to_skip: 0,
            limit,
            is_sent: false,
            source: OutputSource::Look,
        }
    }

    /// Reads from this attempt on, or this attempt alone.
    pub(super) fn read(mut self, attempt: Attempt, is_only: bool, until: Until) -> OutputStream {
        (self.attempt, self.is_only, self.until) = (attempt, is_only, until);
        futures::stream::unfold(self, |mut reader| async move {
            reader.next().await.map(|block| (block, reader))
        })
        .boxed()
    }

    async fn next(&mut self) -> Option<Result<OutputBlock, OutputError>> {
        loop {
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
                    lines.next().await.map(|lines| lines.map_err(no_answer))
                }
            };
            match read {
                Some(Ok(lines)) => {
                    let first = self.sent as u64 + 1;
                    let lines = self.news_of(lines);
                    if self.limit.is_met() {
                        self.after_all();
                    }
                    if !lines.is_empty() {
                        return Some(Ok(OutputBlock { attempt: self.attempt, first, lines }));
                    }
                }
                Some(Err(OutputError::Unreachable { .. })) if self.follows() => {
                    self.look_again().await
                }
                // The container may have been removed during the read. Then its output is kept.
                Some(Err(OutputError::Unreachable { .. })) if self.is_kept_by_now().await => {}
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
            OutputSource::Live(_) => self.until == Until::Now,
            OutputSource::Kept(_) | OutputSource::Look | OutputSource::End => false,
        };
        let lines = if is_limited { self.limit.of(lines) } else { lines };
        let known = self.to_skip.min(lines.len());
        self.to_skip -= known;
        let mut lines = lines.skip(known);
        if self.until != Until::Now && matches!(self.source, OutputSource::Live(_)) {
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
            if self.is_only {
                self.source = OutputSource::End;
            } else if job.attempt > self.attempt {
                (self.attempt, self.sent, self.is_sent) = (self.attempt.next(), 0, false);
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
        match live(&self.context, &job, self.attempt, self.follows() && !has_ended).await {
            Ok(Some(lines)) if has_ended => self.source = OutputSource::Last(lines),
            Ok(Some(lines)) => self.source = OutputSource::Live(lines),
            // The output may have been kept, and the container removed, between the two reads.
            Ok(None) if has_ended => {
                if !self.find_kept().await? {
                    self.after_all();
                }
            }
            Ok(None) if !self.follows() => self.source = OutputSource::End,
            Ok(None) => self.pause().await,
            Err(failure) => return Err(no_answer(failure)),
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
            OutputSource::Live(_) if self.follows() => self.look_again().await,
            OutputSource::Live(_) | OutputSource::Look | OutputSource::End => {
                self.source = OutputSource::End
            }
        }
    }

    /// Notes that all of this attempt's output was sent.
    fn after_all(&mut self) {
        self.is_sent = true;
        self.source = if self.follows() { OutputSource::Look } else { OutputSource::End };
    }

    fn follows(&self) -> bool {
        self.until == Until::End
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

fn no_answer(failure: EngineError) -> OutputError {
    OutputError::Unreachable { error: failure.to_string(), since: None }
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
