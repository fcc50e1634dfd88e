//! What may be asked of the engine (imperative names).
//!
//! Owns the vocabulary. Everything here was parsed: names are well formed, sizes are within
//! `limits`, policies are checked. What depends on state is refused by the handlers.

use std::sync::Arc;

use super::failure::Failure;
use super::filter::Filter;
use super::ids::{LeaseToken, LinkId, QueueName, RequestId, SessionId, ShardId, TaskId, Timestamp};
use super::ledger::task::{Payload, Priority, Task, Timeouts};
pub use super::refresh::{Entity, Refresh, RefreshWhich};
use super::retry::PolicyRef;

/// What may be asked of the engine.
#[derive(Clone, Debug)]
pub enum Command {
    /// A call: gets exactly one `Effect::Reply`, at once or after its wait.
    Call {
        /// Whom to reply to.
        request: RequestId,
        /// What is asked.
        call: Call,
    },
    /// A caller went away: what it waits for may be forgotten.
    Hangup {
        /// Whose call.
        request: RequestId,
    },
    /// A worker stream opened with its first message.
    Hello {
        /// The stream.
        link: LinkId,
        /// What it said.
        hello: Box<Hello>,
    },
    /// A later message of a worker stream.
    FromWorker {
        /// The stream.
        link: LinkId,
        /// What it said.
        message: FromWorker,
    },
    /// A worker stream broke or ended.
    LinkClosed {
        /// Which.
        link: LinkId,
    },
    /// A transfer on its way between shards.
    Transfer(Transfer),
    /// The driver was not listening for so long: silence meanwhile is nobody's fault. Comes before
    /// what was received meanwhile.
    Late {
        /// For how long.
        ms: u64,
    },
    /// Time has passed: do what is due.
    Tick,
    /// The journal begins a segment with the records of this turn. Comes first in it.
    OpenSegment,
    /// The journal has no room for what grows, or has room again.
    DiskFull(bool),
    /// The process is going down: grant nothing more, and tell workers to reconnect.
    Shutdown,
}

/// A call.
#[derive(Clone, Debug)]
pub enum Call {
    /// Record entities again whose latest full record lies below a place of the journal, for its
    /// cleaning. Answer::Refreshed.
    Refresh(Refresh),
    /// Everything that lives was recorded at or above this segment. Answer::Done.
    SegmentsCleaned {
        /// The oldest segment that is still needed.
        below: u64,
    },
    /// Accept tasks, each by itself. Answer::Enqueued.
    Enqueue(Vec<NewTask>),
    /// Answer::Task.
    GetTask(TaskId),
    /// Answer::Page.
    ListTasks(ListTasks),
    /// Answer::Waited.
    WaitTask {
        /// Which.
        id: TaskId,
        /// For how long.
        timeout_ms: u64,
    },
    /// Answer::Task.
    CancelTask {
        /// Which.
        id: TaskId,
        /// Why.
        reason: Arc<str>,
    },
    /// Answer::Task.
    UpdateTask {
        /// Which.
        id: TaskId,
        /// New time limits.
        timeouts: Timeouts,
    },
    /// Answer::Leased, when there is work or the wait is over.
    LeaseTasks(LeaseTasks),
    /// End runs. Answer::Acks.
    ReportTasks(Vec<Report>),
    /// Answer::Extended.
    ExtendLeases {
        /// Which; `None` where the bytes could not be a token.
        tokens: Vec<Option<LeaseToken>>,
        /// For how long from now.
        ttl_ms: u64,
    },
    /// Answer::Workers.
    ListWorkers {
        /// Of which namespace.
        namespace: Arc<str>,
        /// Only those that serve it.
        queue: Option<QueueName>,
    },
    /// Answer::Drained.
    DrainWorkers {
        /// Of which namespace.
        namespace: Arc<str>,
        /// Which.
        workers: Vec<Arc<str>>,
        /// Why.
        reason: Arc<str>,
        /// When the rest should be given back.
        deadline_ms: Option<u64>,
    },
    /// Answer::Queue.
    GetQueue(QueueName),
    /// Answer::Queues.
    ListQueues {
        /// Of which namespace.
        namespace: Arc<str>,
        /// Only names after this one.
        after: Option<QueueName>,
        /// At most so many.
        count_max: usize,
    },
    /// Answer::Queue.
    ConfigureQueue {
        /// Which.
        queue: QueueName,
        /// What changes.
        change: QueueChange,
    },
    /// Answer::Queue.
    PauseQueue {
        /// Which.
        queue: QueueName,
        /// Why.
        reason: Arc<str>,
    },
    /// Answer::Queue.
    ResumeQueue(QueueName),
    /// Put one dead letter back. Answer::Task.
    RedriveTask {
        /// Which.
        id: TaskId,
        /// How long it waits.
        delay_ms: u64,
    },
    /// Delete one dead letter. Answer::Task.
    DiscardTask(TaskId),
    /// One step of a bulk act on dead letters. Answer::Bulk.
    Bulk(Bulk),
    /// Answer::Server.
    ServerFacts,
}

/// A task as its producer asks for it.
#[derive(Clone, Debug, PartialEq)]
pub struct NewTask {
    /// Where.
    pub queue: QueueName,
    /// Which handler.
    pub kind: Arc<str>,
    /// With what.
    pub payload: Payload,
    /// How urgent.
    pub priority: Priority,
    /// When.
    pub start: Start,
    /// With what limits.
    pub timeouts: Option<Timeouts>,
    /// Under which policy.
    pub policy: Option<PolicyRef>,
    /// With how many attempts.
    pub max_attempts: Option<u32>,
    /// Sorted by key.
    pub labels: Vec<(Arc<str>, Arc<str>)>,
}

/// When something may start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// After so long; 0 is at once.
    After {
        /// How long.
        delay_ms: u64,
    },
    /// Not before that instant.
    At(Timestamp),
}

/// Which tasks to list.
#[derive(Clone, Debug)]
pub struct ListTasks {
    /// Which.
    pub selection: Selection,
    /// Where the page before stopped.
    pub after: Option<Cursor>,
    /// At most so many.
    pub count_max: usize,
    /// Only dead letters, in the order of their death within each queue.
    pub dead_only: bool,
}

/// What a list or a bulk act selects.
#[derive(Clone, Debug, PartialEq)]
pub struct Selection {
    /// The namespace.
    pub namespace: Arc<str>,
    /// Only this queue.
    pub queue: Option<QueueName>,
    /// Only what matches.
    pub filter: Filter,
}

/// Where a scan stopped: everything up to here has been looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cursor {
    /// A scan by id within a shard.
    Task {
        /// The shard.
        shard: ShardId,
        /// The id.
        id: TaskId,
    },
    /// A scan of dead letters in the order (shard, queue, time of death, id).
    Dead {
        /// The shard.
        shard: ShardId,
        /// The queue.
        queue: QueueName,
        /// When that one died.
        at: Timestamp,
        /// The id.
        id: TaskId,
    },
}

/// Work wanted by a worker without a stream.
#[derive(Clone, Debug)]
pub struct LeaseTasks {
    /// Who asks.
    pub worker: WorkerInfo,
    /// At most so many.
    pub count_max: u32,
    /// How long to wait for the first.
    pub wait_ms: u64,
    /// How long each lease lives.
    pub ttl_ms: u64,
}

/// What changes in a queue's settings: `Some` sets or clears, `None` leaves.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct QueueChange {
    /// The policy.
    pub policy: Option<Option<PolicyRef>>,
    /// The time limits.
    pub timeouts: Option<Option<Timeouts>>,
    /// Where spent tasks go on.
    pub dead_letter_queue: Option<Option<QueueName>>,
}

/// One bounded step of a bulk act on dead letters. The shell repeats it with the cursor.
#[derive(Clone, Debug)]
pub struct Bulk {
    /// What to do.
    pub act: BulkAct,
    /// With which.
    pub selection: Selection,
    /// Only those that died before: what dies again meanwhile is left alone.
    pub died_before: Timestamp,
    /// Where the step before stopped.
    pub after: Option<Cursor>,
    /// At most so many.
    pub count_max: usize,
}

/// What a bulk act does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BulkAct {
    /// Count only.
    Count,
    /// Put back; the i-th of this step waits `delay_ms + i * step_us / 1000`.
    Redrive {
        /// The wait of the first one.
        delay_ms: u64,
        /// What each further one waits more, in microseconds.
        step_us: u64,
    },
    /// Delete for good.
    Discard,
}

/// Who a worker is and what it can run.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkerInfo {
    /// The namespace it serves.
    pub namespace: Arc<str>,
    /// Its name.
    pub worker: Arc<str>,
    /// The build it runs.
    pub version: Arc<str>,
    /// The machine it runs on.
    pub host: Arc<str>,
    /// The queues it serves, with weights of at least 1. Without repeats.
    pub queues: Vec<(QueueName, u32)>,
    /// The kinds it has handlers for; empty means every kind. Sorted.
    pub kinds: Vec<Arc<str>>,
}

/// A worker stream's first message.
#[derive(Clone, Debug)]
pub struct Hello {
    /// Who it is.
    pub worker: WorkerInfo,
    /// The session it resumes.
    pub session: Option<SessionId>,
    /// The leases it holds.
    pub held: Vec<LeaseToken>,
    /// Of these, what has not begun, with the sequences of the deliveries.
    pub buffered: Vec<(LeaseToken, u64)>,
    /// How much it will hold.
    pub capacity: Capacity,
}

/// How much a worker will hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capacity {
    /// Tasks.
    pub tasks_max: u32,
    /// Payload bytes; `None` means no limit.
    pub bytes_max: Option<u64>,
    /// It is on its way out.
    pub draining: bool,
}

/// A later message of a worker stream.
#[derive(Clone, Debug)]
pub enum FromWorker {
    /// How much it will hold from now on.
    Capacity(Capacity),
    /// What arrived, and what of it waits in a buffer.
    Receipt {
        /// The highest sequence received.
        through: u64,
        /// Those that have not begun.
        buffered: Vec<u64>,
    },
    /// Runs that ended.
    Reports(Vec<Report>),
    /// It lives.
    Pong,
    /// It leaves for good.
    Goodbye,
}

/// How one run ended, as the worker tells it.
#[derive(Clone, Debug)]
pub struct Report {
    /// The token's bytes as they came, for the answer.
    pub raw_token: bytes::Bytes,
    /// What it says, or why it cannot be used.
    pub content: Result<ReportContent, Malformed>,
}

/// A usable report.
#[derive(Clone, Debug)]
pub struct ReportContent {
    /// Which lease.
    pub token: LeaseToken,
    /// What happened.
    pub outcome: ReportOutcome,
    /// What the next run is handed.
    pub checkpoint: Option<Payload>,
}

/// Why something of a batch cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// The field at fault.
    pub field: String,
    /// What is wrong with it and what would be right.
    pub problem: String,
}

/// What happened in a run.
#[derive(Clone, Debug)]
pub enum ReportOutcome {
    /// The work is done.
    Complete {
        /// What came of it.
        result: Option<Payload>,
        /// What to call it.
        label: Option<Arc<str>>,
    },
    /// The work failed.
    Fail {
        /// The facts.
        failure: Failure,
        /// Trying again cannot help.
        not_retryable: bool,
        /// The other side said when to come back.
        retry_after_ms: Option<u64>,
    },
    /// The work failed, and the handler knows when to try again.
    Retry {
        /// The facts.
        failure: Failure,
        /// When; `None` leaves it to the policy.
        start: Option<Start>,
        /// The remaining work.
        payload: Option<Payload>,
        /// A new limit of attempts.
        max_attempts: Option<u32>,
    },
    /// Not now.
    Defer {
        /// For how long.
        delay_ms: u64,
        /// Why.
        reason: Arc<str>,
        /// The remaining work.
        payload: Option<Payload>,
    },
    /// Given back untouched.
    Release {
        /// Why.
        reason: Arc<str>,
    },
    /// Dropped.
    Discard {
        /// Why.
        reason: Arc<str>,
    },
}

/// A message between shards.
#[derive(Clone, Debug)]
pub enum Transfer {
    /// A task arrives at its target.
    Deliver {
        /// From which shard.
        origin: ShardId,
        /// To which shard.
        target: ShardId,
        /// Its number.
        number: u64,
        /// The task to create.
        task: Box<Task>,
    },
    /// The target has everything up to a number.
    Confirm {
        /// From which shard the tasks came.
        origin: ShardId,
        /// Which shard has them.
        target: ShardId,
        /// Up to which number.
        through: u64,
    },
}
