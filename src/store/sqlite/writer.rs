//! The writer: one transaction for whatever waits.
//!
//! A batch takes what is there and waits for nothing, so it is one command when the store is idle and hundreds under
//! load. A command either does all it has to or fails at its first statement, having changed nothing (a version that is
//! outdated, an id that exists); any other failure, and a failed commit, fails the whole batch, and nothing of it is
//! announced.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::{broadcast, mpsc, oneshot};

use super::super::threads::Threads;
use super::super::{StoreError, Transition};
use super::failed;

/// How many commands may wait for the writer; a further caller waits.
pub(super) const WAITING: usize = 4_096;
/// The most commands in one transaction.
const BATCH: usize = 512;

/// What a command did: the transition to announce, if any.
pub(super) type Done = Result<Option<Transition>, StoreError>;
type Work = Box<dyn FnOnce(&Connection) -> Done + Send>;
type Reply = oneshot::Sender<Result<(), StoreError>>;

/// Something to be written, and who waits for it.
pub(super) struct Command {
    work: Work,
    reply: Reply,
}

/// The one who writes. It has to be run.
pub struct Writer {
    connection: Connection,
    waiting: mpsc::Receiver<Command>,
    threads: Threads,
    last_seq: Arc<AtomicU64>,
    transitions: broadcast::Sender<Arc<Transition>>,
}

/// Hands a command over, and waits until it is on disk. Once it is handed over it is done, whether or not anyone still
/// waits.
pub(super) async fn submit(commands: &mpsc::Sender<Command>, work: Work) -> Result<(), StoreError> {
    let (reply, answer) = oneshot::channel();
    commands.send(Command { work, reply }).await.map_err(|_| StoreError::Closed)?;
    answer.await.unwrap_or(Err(StoreError::Closed))
}

impl Writer {
    pub(super) fn new(
        connection: Connection,
        waiting: mpsc::Receiver<Command>,
        threads: Threads,
        last_seq: Arc<AtomicU64>,
        transitions: broadcast::Sender<Arc<Transition>>,
    ) -> Self {
        Self { connection, waiting, threads, last_seq, transitions }
    }

    /// Writes until the store is closed and all that was accepted is done.
    pub async fn run(mut self) {
        let mut batch = Vec::with_capacity(BATCH);
        while self.waiting.recv_many(&mut batch, BATCH).await > 0 {
            let (mut connection, commands) = (self.connection, std::mem::take(&mut batch));
            let written = self.threads.run(move || {
                let written = write(&mut connection, commands);
                (connection, written)
            });
            // A thread that broke took the connection along: without it nothing more can be promised.
            let Ok((connection, written)) = written.await else { return };
            self.connection = connection;
            self.announce(written);
        }
    }

    /// First the number that readers compare, then the news, then the replies.
    fn announce(&self, written: Vec<(Reply, Done)>) {
        for (reply, done) in written {
            let answer = done.map(|transition| {
                if let Some(transition) = transition {
                    self.last_seq.store(transition.seq.0, Ordering::Release);
                    // Nobody listening is fine.
                    let _ = self.transitions.send(Arc::new(transition));
                }
            });
            // Neither is a caller who went away.
            let _ = reply.send(answer);
        }
    }
}

/// One transaction. This is the one place where anything becomes durable.
fn write(connection: &mut Connection, commands: Vec<Command>) -> Vec<(Reply, Done)> {
    let (works, replies): (Vec<Work>, Vec<Reply>) =
        commands.into_iter().map(|command| (command.work, command.reply)).unzip();
    match commit(connection, works) {
        Ok(done) => replies.into_iter().zip(done).collect(),
        Err(failure) => replies.into_iter().map(|reply| (reply, Err(failure.clone()))).collect(),
    }
}

fn commit(connection: &mut Connection, works: Vec<Work>) -> Result<Vec<Done>, StoreError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    let mut done = Vec::with_capacity(works.len());
    for work in works {
        match work(&transaction) {
            Err(failure @ (StoreError::Full | StoreError::Damaged(_) | StoreError::Closed)) => return Err(failure),
            other => done.push(other),
        }
    }
    transaction.commit().map_err(failed)?;
    Ok(done)
}
