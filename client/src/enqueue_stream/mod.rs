//! Enqueueing in a pipeline: one stream, many tasks on their way at once.
//!
//! Read `ledger` for what is unacknowledged, `drive` for the calls that carry it. A stream goes on
//! over cuts and restarts of the coordinator: what is unacknowledged is sent again with the same
//! producer id and the same sequences, by which the coordinator accepts it once. Invariants: every
//! ticket is answered exactly once; at most `UNACKNOWLEDGED_MAX` tasks and
//! `UNACKNOWLEDGED_BYTES_MAX` bytes are unacknowledged; all unacknowledged sequences lie within
//! `UNACKNOWLEDGED_MAX`, so that they are among the last that the coordinator remembers.

mod drive;
mod ledger;

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::{sync::oneshot, task::JoinSet};
use tonic::Code;

use crate::{
    check::check_name,
    client::Client,
    enqueue::{Accepted, framed_len},
    error::{CallFailure, Error},
    names::Lent,
    task::NewTask,
};
use ledger::Shared;

/// A stream of tasks into the coordinator. Made by [`Client::enqueue_stream`].
///
/// Goes on over cuts: what is unacknowledged is sent again and accepted once. Ends when it is
/// finished, when it is dropped (unacknowledged tickets then say that their outcome is unknown),
/// when the coordinator refuses it for good, or when tasks wait and it is out of reach for longer
/// than the client's deadline.
#[derive(Debug)]
pub struct EnqueueStream {
    shared: Arc<Shared>,
    driver: JoinSet<Result<EnqueueTotals, Error>>,
}

/// The answer to one task of an [`EnqueueStream`], when it comes: its id, or why it was not
/// accepted. [`Ticket::accepted`] tells more. Dropping the ticket changes nothing.
#[derive(Debug)]
#[must_use = "the ticket is where it is told whether the task was accepted"]
pub struct Ticket {
    sequence: u64,
    answer: oneshot::Receiver<Result<Accepted, Error>>,
}

/// What became of the tasks of an [`EnqueueStream`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EnqueueTotals {
    /// How many the coordinator accepted.
    pub accepted: u64,
    /// Of those: how many were answered by a task that was there before.
    pub existing: u64,
    /// How many it refused.
    pub refused: u64,
}

impl Client {
    /// Opens a stream for enqueueing many tasks without waiting for each.
    #[must_use]
    pub fn enqueue_stream(&self) -> EnqueueStream {
        self.stream_of(self.caller.names.lend())
    }

    /// The same under a producer id that the user chose, the first task having the sequence
    /// `first_sequence` and each next one more: who sends the same tasks again with the same
    /// sequences, after a crash of its own, is answered with those accepted before. The coordinator
    /// remembers the last 4,096 accepted ones of a producer, for 1 h. Never use a sequence for two
    /// different tasks, nor one producer id for two streams at once.
    ///
    /// # Errors
    /// [`Error::Invalid`] where the id is no name.
    pub fn enqueue_stream_as(
        &self,
        producer_id: &str,
        first_sequence: u64,
    ) -> Result<EnqueueStream, Error> {
        check_name("producer_id", producer_id)?;
        Ok(self.stream_of(Lent::named(producer_id, first_sequence)))
    }

    fn stream_of(&self, lent: Lent) -> EnqueueStream {
        let shared = Arc::new(Shared::new(lent, self.namespace.clone()));
        let mut driver = JoinSet::new();
        driver.spawn(drive::drive(
            self.tasks(),
            Arc::clone(&shared),
            self.caller.clone(),
        ));
        EnqueueStream { shared, driver }
    }
}

impl EnqueueStream {
    /// Sends one task on its way, and returns the ticket for its answer. Waits while
    /// [`UNACKNOWLEDGED_MAX`](crate::limits::UNACKNOWLEDGED_MAX) tasks or
    /// [`UNACKNOWLEDGED_BYTES_MAX`](crate::limits::UNACKNOWLEDGED_BYTES_MAX) bytes are
    /// unacknowledged.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a task that cannot be one; [`Error::NotSent`] where the stream has
    /// ended. The task was not sent then.
    pub async fn send(&self, task: NewTask) -> Result<Ticket, Error> {
        let spec = task.build()?;
        let permits = self.shared.admit(framed_len(&spec)).await?;
        let (answer, ticket) = oneshot::channel();
        let sequence = self.shared.register(spec, answer, permits)?;
        Ok(Ticket {
            sequence,
            answer: ticket,
        })
    }

    /// Says that nothing more comes, and waits until everything sent is acknowledged.
    ///
    /// # Errors
    /// Where the stream ended before: the tickets say which tasks that concerns.
    pub async fn finish(mut self) -> Result<EnqueueTotals, Error> {
        self.shared.finish();
        match self.driver.join_next().await {
            Some(Ok(ended)) => ended,
            Some(Err(_)) | None => Err(unanswered("the stream's task ended without a result")),
        }
    }
}

impl Drop for EnqueueStream {
    fn drop(&mut self) {
        self.shared.retire();
    }
}

impl Ticket {
    /// The number that names the task on its stream, with the producer id.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// The answer with what the enqueue did: created the task, or found or changed one that was
    /// there.
    ///
    /// # Errors
    /// Why it was not accepted, or that nobody knows.
    pub async fn accepted(self) -> Result<Accepted, Error> {
        self.answer.await.unwrap_or_else(|_dropped| Err(dropped()))
    }
}

impl Future for Ticket {
    type Output = Result<String, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.answer).poll(context).map(|answer| {
            let answer = answer.unwrap_or_else(|_dropped| Err(dropped()));
            answer.map(|accepted| accepted.task_id)
        })
    }
}

fn dropped() -> Error {
    unanswered("the stream was dropped before the task was acknowledged")
}

fn unanswered(message: &str) -> Error {
    Error::OutcomeUnknown(Box::new(CallFailure::new(Code::Cancelled, message)))
}
