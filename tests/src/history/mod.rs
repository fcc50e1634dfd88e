//! What clients and workers saw of a coordinator, in the order in which they saw it.
//!
//! Owns the words of a history and its one clock. Knows nothing of gRPC and nothing of the engine:
//! whoever drives a coordinator (real processes, or a simulation with a clock of its own) writes
//! these facts down, and [`check::violations`] judges them by the documents alone. Invariant: a fact
//! of an invocation is recorded before its message is sent, one of an answer after it has arrived.

pub mod check;
mod recorder;
mod summary;

pub use recorder::{Recorder, digest};
pub use summary::summary;

/// One thing that was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// When, in microseconds of the history's own clock.
    pub at_us: u64,
    /// What.
    pub fact: Fact,
}

/// What can be seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// A producer sends a task. `marker` is its own number for this sending and travels in the task;
    /// used again only with an idempotency key, for the same thing.
    EnqueueInvoked {
        /// Which sending.
        marker: u64,
        /// Of the payload.
        digest: u64,
        /// What else it says.
        asks: Asks,
    },
    /// A producer was answered, or knows that it will not be.
    EnqueueEnded {
        /// Which sending.
        marker: u64,
        /// How it ended.
        outcome: Enqueued,
    },
    /// A worker got a task.
    Delivered(Delivered),
    /// A worker sends a report, for the first time or again.
    ReportInvoked(Reported),
    /// A worker was answered.
    ReportEnded {
        /// Which report.
        report: Reported,
        /// What the coordinator said of it.
        answer: Answer,
    },
    /// A worker is gone, or has forgotten a run: nobody says more of that run.
    Abandoned {
        /// The task.
        task_id: String,
        /// The run.
        run: u32,
    },
    /// Something that can take a worker away: a process stopped or killed, a network cut. A history
    /// that tells of one tells of all that there were.
    Trouble {
        /// Since when, on the machine's clock.
        from_ms: u64,
        /// Until when it was felt.
        until_ms: u64,
    },
    /// An operator asks that a task be cancelled.
    CancelInvoked {
        /// Which.
        task_id: String,
    },
    /// An operator was answered.
    CancelEnded {
        /// Which.
        task_id: String,
        /// What the coordinator said.
        answer: Cancelled,
    },
    /// An operator asks that a dead letter be put back.
    RedriveInvoked {
        /// Which.
        task_id: String,
    },
    /// An operator was answered.
    RedriveEnded {
        /// Which.
        task_id: String,
        /// Whether it was done; `None` where nobody can tell.
        done: Option<bool>,
    },
    /// A queue was paused: the coordinator has said so.
    Paused {
        /// Which.
        queue: String,
        /// Since when, on the coordinator's clock.
        at_ms: u64,
    },
    /// An operator asks that a queue be resumed.
    Resuming {
        /// Which.
        queue: String,
        /// When, on the machine's clock, which the coordinator's is never behind.
        at_ms: u64,
    },
    /// After the end of all work: what the coordinator tells of one task.
    Found(Found),
    /// After the end of all work: what it tells of one queue.
    Counted(Counted),
}

/// What a producer asks for, beside the payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asks {
    /// How long the task must wait at least.
    pub delay_ms: u64,
    /// It has an idempotency key, made of the marker.
    pub keyed: bool,
    /// It must not be run again after a run that ended without a report.
    pub at_most_once: bool,
    /// A task follows where it succeeds; of a chain, where its last link does.
    pub on_success: bool,
    /// A task follows whenever a budget is spent.
    pub on_exhausted: bool,
    /// A task follows where it is cancelled.
    pub on_cancelled: bool,
    /// How many tasks go on with its result, one after the other.
    pub links: u32,
}

/// What became of a cancel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancelled {
    /// The task is cancelled.
    Over {
        /// How often it had been handed out.
        runs: u32,
    },
    /// Its holder is asked to stop.
    Asked {
        /// How often it had been handed out.
        runs: u32,
    },
    /// It is certain that nothing was done.
    Refused,
    /// Nobody can tell.
    Unknown,
}

/// Where a task comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// From the sending with this marker.
    Sent(u64),
    /// From another task's end.
    Made(Made),
}

/// The end that made a task.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Made {
    /// Whose end.
    pub by: String,
    /// What it is to that task.
    pub follows: Follows,
    /// What its payload says of these two, where it is no link of a chain.
    pub told: Option<(String, Follows)>,
}

/// What a task is to the one whose end made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Follows {
    /// Its follow-up after a success.
    Success,
    /// Its follow-up after a failure for good.
    Failure,
    /// Its follow-up after a budget was spent.
    Exhausted,
    /// Its follow-up after a cancel.
    Cancelled,
    /// The next of its chain.
    Link,
}

/// How a sending ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Enqueued {
    /// The coordinator took it: this is its id.
    Accepted(String),
    /// It is certain that it was not taken.
    Refused,
    /// Nobody can tell.
    Unknown,
}

/// A task as a worker got it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// Its id.
    pub task_id: String,
    /// Where it comes from.
    pub origin: Origin,
    /// Of the payload that arrived.
    pub digest: u64,
    /// Its run.
    pub run: u32,
    /// Its attempt.
    pub attempt: u32,
    /// Its fence.
    pub fence: u64,
}

/// A report of a run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reported {
    /// The task.
    pub task_id: String,
    /// The run.
    pub run: u32,
    /// What it says.
    pub says: Says,
    /// Of the result that it brings; of nothing where it brings none.
    pub result: u64,
}

/// What a report says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Says {
    /// The work is done.
    Complete,
    /// It failed.
    Fail,
    /// It is put off without blame.
    Defer,
    /// It is given back untouched.
    Release,
}

/// What the coordinator says of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is recorded now.
    Recorded,
    /// It had been recorded before.
    Duplicate,
    /// Something else ended the run.
    Superseded,
    /// The task is not remembered.
    Gone,
    /// The report cannot be used.
    Invalid,
    /// No answer came.
    Unknown,
}

/// A task after the end of all work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its id.
    pub task_id: String,
    /// Where it comes from.
    pub origin: Origin,
    /// Its queue.
    pub queue: String,
    /// Where it stands.
    pub stands: Stands,
    /// Of its payload.
    pub digest: u64,
    /// How often it was handed out.
    pub runs: u32,
    /// The fence of its latest lease.
    pub fence: u64,
    /// Failures counted since it was last redriven.
    pub failures: u32,
    /// Of its result; of nothing where it has none.
    pub result: u64,
    /// True where it is dead because a budget or a time limit was spent.
    pub spent: bool,
    /// When it was redriven, on the coordinator's clock, oldest first.
    pub redriven_ms: Vec<u64>,
    /// When it was accepted, on the coordinator's clock.
    pub enqueued_ms: u64,
    /// The runs that are remembered, oldest first.
    pub history: Vec<FoundRun>,
}

/// Where a task stands after the end of all work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stands {
    /// It ended well.
    Succeeded,
    /// It is a dead letter.
    Dead,
    /// It was cancelled.
    Cancelled,
    /// It ended in another way.
    Otherwise,
    /// It has not ended.
    Live,
}

/// A run, as the coordinator remembers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundRun {
    /// Its number.
    pub run: u32,
    /// Its attempt.
    pub attempt: u32,
    /// How it ended.
    pub end: RunEnd,
    /// When it was leased, on the coordinator's clock.
    pub leased_ms: u64,
    /// When it ended, on the coordinator's clock.
    pub ended_ms: u64,
    /// The wait that was drawn, where another run followed.
    pub delay_ms: Option<u64>,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunEnd {
    /// By this report.
    Report(Says),
    /// Its worker was lost, or let it lapse.
    Lost,
    /// The task was cancelled.
    Cancelled,
}

/// A queue's own counts after the end of all work.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Its name.
    pub queue: String,
    /// Accepted so far.
    pub enqueued: u64,
    /// Ended well so far.
    pub succeeded: u64,
    /// Dead letters now.
    pub dead: u64,
    /// Waiting or running now.
    pub live: u64,
    /// Failures so far.
    pub failures: u64,
    /// Deaths so far.
    pub died: u64,
    /// Redriven so far.
    pub redriven: u64,
}
