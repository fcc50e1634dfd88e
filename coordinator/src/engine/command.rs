//! What may be asked of the engine (imperative names).
//!
//! Owns the vocabulary. Everything here was parsed: names are well formed, sizes are within
//! `limits`, policies are checked. What depends on state is refused by the handlers.

use std::sync::Arc;

use super::filter::Filter;
pub use super::from_worker::*;
use super::ids::{LeaseToken, LinkId, QueueName, RequestId, ShardId, TaskId, Timestamp};
use super::ledger::kind::{KindName, KindSettings};
use super::ledger::task::{Payload, Priority, Task, Timeouts};
use super::ledger::terms::Terms;
pub use super::new_task::*;
pub use super::refresh::{Entity, Refresh, RefreshWhich};
use super::retry::PolicyRef;

/// What may be asked of the engine.
#[derive(Clone, Debug)]
pub enum Command {
    /// A call: gets exactly one `Effect::Reply`, at once or after its wait.
    Call {
        /// Whom to reply to.
        request: RequestId,
        /// Who asks, and what makes asking twice harmless.
        caller: Caller,
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

/// Who asks, and what makes asking twice harmless.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// Who, as they said; empty where they did not.
    pub by: Arc<str>,
    /// The id of the request, where it has one.
    pub once: Option<Box<Once>>,
}

/// The id of a request that changes something: the same one again changes nothing more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Once {
    /// In which namespace.
    pub namespace: Arc<str>,
    /// The id.
    pub id: Arc<str>,
    /// For how long it is remembered. Milliseconds.
    pub ttl_ms: u64,
    /// All that was asked for: another content under the same id is an error.
    pub digest: u64,
}

/// A task, by its id or by what its producer called it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskRef {
    /// By its id.
    Id(TaskId),
    /// By its idempotency key.
    Key {
        /// In which queue.
        queue: QueueName,
        /// The key.
        key: Arc<str>,
    },
}

impl From<TaskId> for TaskRef {
    fn from(id: TaskId) -> Self {
        Self::Id(id)
    }
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
    Enqueue(Enqueue),
    /// Answer::Task.
    GetTask(TaskRef),
    /// Answer::Page.
    ListTasks(ListTasks),
    /// Answer::Waited.
    WaitTask {
        /// Which.
        task: TaskRef,
        /// For how long.
        timeout_ms: u64,
    },
    /// Answer::Cancelled.
    CancelTask {
        /// Which.
        task: TaskRef,
        /// How.
        cancel: Cancel,
    },
    /// Answer::Task.
    UpdateTask {
        /// Which.
        task: TaskRef,
        /// What changes.
        change: Box<TaskChange>,
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
        /// What handlers say of their runs; they renew too.
        beats: Vec<Heartbeat>,
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
        task: TaskRef,
        /// How long it waits.
        delay_ms: u64,
        /// Why; may be empty.
        reason: Arc<str>,
    },
    /// Delete one dead letter. Answer::Task.
    DiscardTask {
        /// Which.
        task: TaskRef,
        /// Why; may be empty.
        reason: Arc<str>,
    },
    /// Say what holds for a kind, in place of what was said before. Answer::Kind.
    SetKind {
        /// Which.
        name: KindName,
        /// What.
        settings: Box<KindSettings>,
    },
    /// Answer::Kind.
    GetKind(KindName),
    /// Answer::Kinds.
    ListKinds {
        /// Of which namespace.
        namespace: Arc<str>,
        /// Only names after this one.
        after: Option<KindName>,
        /// At most so many.
        count_max: usize,
    },
    /// Forget what was said of a kind. Answer::Done.
    DeleteKind(KindName),
    /// One step of a bulk act. Answer::Bulk.
    Bulk(Bulk),
    /// Answer::Server.
    ServerFacts,
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
    /// How long tasks may wait, live and be kept, and what follows their end.
    pub terms: Option<Option<Box<Terms>>>,
    /// How long a ready task waits until it counts as more urgent. Milliseconds; 0 for ever.
    pub aging_ms: Option<Option<u64>>,
    /// How many finished tasks are kept.
    pub finished_max: Option<Option<u32>>,
}

/// What changes in a task: what is `None` stays.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TaskChange {
    /// New time limits, effective at once on a running attempt too.
    pub timeouts: Option<Timeouts>,
    /// A new payload; not while it is leased.
    pub payload: Option<Payload>,
    /// A new priority; not while it is leased.
    pub priority: Option<Priority>,
    /// A new start; only while it waits.
    pub start: Option<Start>,
    /// A new limit of attempts; not while it is leased.
    pub max_attempts: Option<u32>,
    /// Why; may be empty.
    pub reason: Arc<str>,
}

/// How a task is cancelled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cancel {
    /// What happens where a worker holds it.
    pub mode: CancelMode,
    /// Why; may be empty.
    pub reason: Arc<str>,
}

/// What happens to a task that is to be cancelled where a worker holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CancelMode {
    /// Nothing: that is an error.
    IfWaiting,
    /// Its handler is asked to end, and has so long; `None` waits for it. Milliseconds.
    Cooperative {
        /// How long.
        grace_ms: Option<u64>,
    },
    /// The lease is taken away at once.
    Force,
}

/// One bounded step of a bulk act. The shell repeats it with the cursor.
#[derive(Clone, Debug)]
pub struct Bulk {
    /// What to do.
    pub act: BulkAct,
    /// With which.
    pub selection: Selection,
    /// Only those that died before, or, where live ones are cancelled, were enqueued before: what
    /// comes meanwhile is left alone.
    pub before: Timestamp,
    /// Where the step before stopped.
    pub after: Option<Cursor>,
    /// At most so many.
    pub count_max: usize,
    /// Why; may be empty.
    pub reason: Arc<str>,
}

/// What a bulk act does.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// Count live tasks only.
    CountLive,
    /// Cancel live tasks.
    Cancel(Cancel),
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
