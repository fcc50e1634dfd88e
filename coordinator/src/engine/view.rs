//! What users see: tasks, queues and workers, and what is computed of them at an instant.
//!
//! Owns the views. Never a fact: what they say is looked up or computed when it is asked for.

use std::sync::Arc;

use bytes::Bytes;

use super::command::{Capacity, WorkerInfo};
use super::ids::{QueueName, SessionId, TaskId, Timestamp};
use super::ledger::queue::Queue;
use super::ledger::task::{Task, TaskState, Timeouts};
use super::ledger::terms::{DeliveryMode, Source, Transition};
use super::rejection::Rejection;

/// A task and what is computed of it at an instant.
#[derive(Clone, Debug)]
pub struct TaskView {
    /// The task.
    pub task: Task,
    /// Where it stands, as users see it.
    pub state: TaskState,
    /// The name of the policy that judges it; "inline" where it is nobody's.
    pub policy: Arc<str>,
    /// The limits that hold, from its own, its queue's or the server's policy.
    pub attempts_max: u32,
    /// Crashes that quarantine it.
    pub crashes_max: u32,
    /// Deferrals that end it.
    pub deferrals_max: u32,
    /// The time limits of its next or present run, growth included.
    pub timeouts: Timeouts,
    /// Where the effective values were said.
    pub effective: Box<Effective>,
    /// What its handler said of how far it is, while it runs.
    pub progress: Option<Progress>,
    /// It is ready, and no worker that is connected runs it.
    pub no_worker: bool,
}

/// What holds for a task, and where it was said.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Effective {
    /// Where the policy was said.
    pub policy: Source,
    /// The revision of the kind or queue that said it; 0 elsewhere.
    pub policy_revision: u64,
    /// Where the time limits were said.
    pub timeouts: Source,
    /// Where the attempts were said; the server's means the policy's.
    pub attempts: Source,
    /// When it dies unless a run has begun.
    pub start_by: (Option<Timestamp>, Source),
    /// When it dies.
    pub end_by: (Option<Timestamp>, Source),
    /// How long it is kept when it has finished.
    pub result_ttl_ms: (u64, Source),
    /// What becomes of a run that ends without a report.
    pub delivery: (DeliveryMode, Source),
    /// The kinds of the tasks that follow its end; none where too many went before.
    pub follow_ups: Vec<(Transition, Arc<str>, Source)>,
    /// Where it goes on when its budget is spent.
    pub dead_letter_queue: (Option<QueueName>, Source),
}

/// How far a handler is, as it says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Units done.
    pub done: u64,
    /// Units in all; 0 where that is not known.
    pub total: u64,
    /// More, for people.
    pub message: Arc<str>,
    /// When it was said.
    pub at: Timestamp,
}

/// What became of a task that was to be accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The task.
    pub id: TaskId,
    /// What was done.
    pub how: EnqueueEffect,
}

/// What an enqueue did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EnqueueEffect {
    /// It made the task.
    Created,
    /// The task was there.
    Existing,
    /// The task was there, and has the new content now.
    Replaced,
    /// The task was there, and starts at the new time now.
    Rescheduled,
}

/// What became of a heartbeat.
#[derive(Clone, Debug, PartialEq)]
pub struct BeatAck {
    /// The token's bytes as they came.
    pub raw_token: Bytes,
    /// The lease lives.
    pub held: bool,
    /// The limits of the run, from its start.
    pub timeouts: Timeouts,
    /// Why it could not be used; the lease stands.
    pub refusal: Option<Rejection>,
}

/// A queue and what is counted of it at an instant.
#[derive(Clone, Debug)]
pub struct QueueView {
    /// The queue.
    pub queue: Queue,
    /// How many of its tasks stand where.
    pub counts: Counts,
    /// How long the first of its ready tasks has been waiting; 0 where none is ready.
    pub oldest_ready_ms: u64,
    /// Ready tasks that no worker that is connected runs, by kind and version. At most 100.
    pub unserved: Vec<Unserved>,
}

/// Ready tasks that no worker that is connected runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unserved {
    /// Of this kind.
    pub kind: Arc<str>,
    /// And this version.
    pub version: u32,
    /// How many.
    pub ready: u64,
}

/// How many tasks stand where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Not due, never run.
    pub scheduled: u64,
    /// Due.
    pub ready: u64,
    /// Held by workers.
    pub leased: u64,
    /// Have run and wait.
    pub retrying: u64,
    /// Dead letters.
    pub dead: u64,
}

/// The engine's own facts.
#[derive(Clone, Copy, Debug, Default)]
pub struct ServerFacts {
    /// Engine time.
    pub now: Timestamp,
    /// Sessions with a stream.
    pub workers: u64,
    /// Tasks that they hold.
    pub slots_used: u64,
    /// Tasks that they could hold besides.
    pub slots_free: u64,
    /// Bytes accounted.
    pub memory_bytes: u64,
    /// Their limit.
    pub memory_bytes_max: u64,
}

/// A worker as the engine sees it.
#[derive(Clone, Debug)]
pub struct WorkerView {
    /// What it said of itself.
    pub info: WorkerInfo,
    /// Its session.
    pub session: SessionId,
    /// How it is.
    pub state: WorkerState,
    /// Tasks it holds.
    pub held: u32,
    /// What it would hold.
    pub capacity: Capacity,
    /// When its session began.
    pub since: Timestamp,
    /// How long it has been silent.
    pub silence_ms: u64,
}

/// How a worker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkerState {
    /// Connected and heard.
    Live,
    /// Silent for too long.
    Suspect,
    /// Without a stream; its leases wait.
    Disconnected,
    /// On its way out.
    Draining,
}
