//! How the engine says no: one variant per cause.
//!
//! Owns the causes and their words for people. A rejection has recorded nothing. Codes and reasons
//! for machines are `server/status.rs`'s table.

use super::ids::{QueueName, TaskId};

/// How the engine says no. The text is for people: what was wrong, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// Nobody knows the task.
    #[error("task {0} is not known: it never was, or it ended and was forgotten")]
    TaskNotFound(TaskId),
    /// Nobody knows a task by this key.
    #[error(
        "no task is known by this idempotency key in this queue: it never was, or its window is over"
    )]
    KeyNotFound,
    /// Nobody has said anything of the kind.
    #[error("nothing is set for kind {0}: its tasks have their queue's settings")]
    KindNotFound(QueueName),
    /// The request's id was used for another request.
    #[error("request id {id:?} was used for another request; give each request an id of its own")]
    RequestIdReused {
        /// The id.
        id: String,
    },
    /// The idempotency key was used for another task.
    #[error(
        "the idempotency key was used for task {task} with other content; use another key, or send the same task"
    )]
    KeyReused {
        /// The task that was accepted with it.
        task: TaskId,
    },
    /// Another task holds the unique key.
    #[error("task {task} holds the unique key and is {state}; {wanted}")]
    UniqueKeyHeld {
        /// Which task.
        task: TaskId,
        /// Where it stands.
        state: &'static str,
        /// What to do instead.
        wanted: &'static str,
    },
    /// Too many requests are remembered.
    #[error(
        "the shard remembers {limit} requests and keys, as many as it may; try again when some have expired, or send it without request id and key"
    )]
    MemoriesFull {
        /// How many there may be.
        limit: u64,
    },
    /// Nobody knows the queue.
    #[error("queue {0} does not exist: it is created when it is first used or configured")]
    QueueNotFound(QueueName),
    /// The task stands where this cannot be done.
    #[error("task {id} is {state}; {wanted}")]
    WrongState {
        /// Which task.
        id: TaskId,
        /// Where it stands.
        state: &'static str,
        /// Where it would have to stand, or what to do instead.
        wanted: &'static str,
    },
    /// A field's value does not fit the state of things.
    #[error("{field} {problem}")]
    Invalid {
        /// Which field.
        field: String,
        /// What is wrong with it and what would be right.
        problem: String,
    },
    /// Memory is short.
    #[error(
        "memory is short: {used_bytes} of {limit_bytes} bytes are taken, enqueues are refused above 80 %; \
         let workers catch up, or raise --memory-limit"
    )]
    MemoryFull {
        /// What is taken.
        used_bytes: u64,
        /// What there is.
        limit_bytes: u64,
    },
    /// The journal's disk is full.
    #[error(
        "the journal's disk is full: nothing that grows is accepted until there is room; reports and \
         cancels are; make room in the data directory's file system"
    )]
    DiskFull,
    /// A named limit is reached.
    #[error("{what} reached the limit of {limit}")]
    LimitReached {
        /// What there is too much of.
        what: &'static str,
        /// How much there may be.
        limit: u64,
    },
    /// The coordinator is going down.
    #[error("the coordinator is shutting down; try again in a moment")]
    ShuttingDown,
    /// The stream has no session yet, or not any more.
    #[error("the first message of the stream must be Hello")]
    HelloExpected,
    /// The stream has a session already.
    #[error(
        "Hello was said before on this stream; open another stream to begin or resume a session"
    )]
    HelloRepeated,
    /// Another stream of the same session took its place.
    #[error("the session was resumed on another stream")]
    LinkReplaced,
}
