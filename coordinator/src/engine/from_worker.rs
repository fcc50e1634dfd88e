//! What workers say: who they are, what they will hold, how runs go and end.
//!
//! Owns the vocabulary, parsed: what the edge could not use is `Malformed`, so that one bad item
//! fails alone.

use std::sync::Arc;

use super::failure::Failure;
use super::ids::{LeaseToken, QueueName, SessionId};
use super::ledger::kind::KindSettings;
use super::ledger::task::{Payload, Timeouts};
use super::new_task::Start;

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
    /// The kinds it has handlers for; empty means every kind. Sorted by kind, without repeats.
    pub kinds: Vec<KindServed>,
    /// What it proposes for kinds of which operators have said nothing.
    pub proposals: Vec<(Arc<str>, Box<KindSettings>)>,
}

/// A kind that a worker has a handler for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KindServed {
    /// The kind.
    pub kind: Arc<str>,
    /// The lowest version of the payload's schema that it understands.
    pub version_min: u32,
    /// The highest one.
    pub version_max: u32,
}

impl KindServed {
    /// A kind in every version.
    #[must_use]
    pub fn every_version(kind: &str) -> Self {
        Self {
            kind: kind.into(),
            version_min: 0,
            version_max: u32::MAX,
        }
    }

    /// Whether it understands this version.
    #[must_use]
    pub const fn has(&self, version: u32) -> bool {
        self.version_min <= version && version <= self.version_max
    }
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
    /// How runs go.
    Heartbeats(Vec<Heartbeat>),
    /// It lives.
    Pong,
    /// It leaves for good.
    Goodbye,
}

/// How one run goes, as its handler tells it.
#[derive(Clone, Debug)]
pub struct Heartbeat {
    /// The token's bytes as they came, for the answer.
    pub raw_token: bytes::Bytes,
    /// What it says, or why it cannot be used.
    pub content: Result<HeartbeatContent, Malformed>,
}

/// A usable heartbeat.
#[derive(Clone, Debug)]
pub struct HeartbeatContent {
    /// Which lease.
    pub token: LeaseToken,
    /// How far it is.
    pub progress: Option<(u64, u64, Arc<str>)>,
    /// What the next run is handed, should this one not end well.
    pub checkpoint: Option<Payload>,
    /// The limits that it wants from now on, counted from its start.
    pub timeouts: Option<Timeouts>,
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
