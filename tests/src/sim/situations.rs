//! What must happen: situations that a long run has to have been in, or it proves little.
//!
//! Owns the list and the counts. Never makes anything happen.

/// How often each situation must be seen in a long run.
pub const SEEN_MIN: u64 = 100;

macro_rules! situations {
    ($($(#[doc = $says:literal])+ $name:ident,)+) => {
        /// A situation.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Situation {
            $($(#[doc = $says])+ $name,)+
        }

        impl Situation {
            /// All of them, with what they are.
            pub const ALL: &[(Self, &str)] = &[$((Self::$name, concat!($($says),+)),)+];
        }
    };
}

situations! {
    /// A call is lost on its way.
    CallLost,
    /// A call arrives twice.
    CallRepeated,
    /// A call finds no coordinator, or another one than it was sent to.
    CallToNobody,
    /// An answer is lost on its way.
    AnswerLost,
    /// A caller leaves before the answer.
    Hangup,
    /// The journal's writer is so far behind that no turn begins.
    WriterBehind,
    /// A segment is cleaned away.
    SegmentCleaned,
    /// A worker falls silent for less than the grace.
    Stall,
    /// A worker falls silent for longer than the grace.
    StallBeyondGrace,
    /// A stream is cut.
    StreamCut,
    /// The coordinator learns of a cut late.
    HalfOpen,
    /// A worker crashes while it runs tasks.
    WorkerCrashedWorking,
    /// A worker crashes without any.
    WorkerCrashedIdle,
    /// A Hello leaves out a lease that the worker was given.
    HelloForgetsOne,
    /// A Hello claims a lease that has ended.
    HelloClaimsOld,
    /// A worker comes back with its session.
    ResumeAsked,
    /// A session is resumed with everything that the worker listed.
    Resumed,
    /// A session is resumed, and a lease was lost meanwhile.
    ResumedWithLoss,
    /// A worker leaves without holding anything.
    GoodbyeIdle,
    /// A worker leaves with leases in hand.
    GoodbyeHolding,
    /// A report is sent twice on one stream.
    ReportRepeated,
    /// A report of a lease that has ended.
    StaleReport,
    /// A report with a made-up nonce.
    ForgedNonce,
    /// A report with a made-up fence.
    ForgedFence,
    /// A report for another worker's lease.
    ReportForAnother,
    /// A worker's capacity changes.
    CapacityChanged,
    /// A worker is asked to drain.
    DrainTold,
    /// Reports are sent again after their answers were lost.
    ReportsSentAgain,
    /// A report is recorded.
    AckRecorded,
    /// A report had been recorded before.
    AckDuplicate,
    /// A report comes after something else ended the run.
    AckSuperseded,
    /// A report speaks of a task that was forgotten.
    AckGone,
    /// A worker is asked to stop a cancelled task.
    CancelTold,
    /// A worker is told of a soft limit.
    SoftTimeoutTold,
    /// A worker is told of a hard limit.
    HardTimeoutTold,
    /// A worker is told that a task's time is over.
    DeadlineTold,
    /// A worker's lease is taken away.
    RevokedTold,
    /// A worker without a stream forgets its leases.
    UnaryCrashed,
    /// A unary lease is extended too late.
    ExtendTooLate,
    /// An enqueue is sent again because nobody answered.
    EnqueueSentAgain,
    /// A task is made.
    EnqueueCreated,
    /// A task is there already.
    EnqueueExisting,
    /// A waiting task gets new content.
    EnqueueReplaced,
    /// A waiting task gets a new start.
    EnqueueRescheduled,
    /// An enqueue is refused because memory is short.
    MemoryFull,
    /// An enqueue is refused because the disk is full.
    DiskFullRefused,
    /// A request id is used for something else.
    RequestIdReused,
    /// An idempotency key is used for something else.
    KeyReused,
    /// A unique key is held.
    UniqueKeyHeld,
    /// Something is refused because the coordinator goes down.
    RefusedShuttingDown,
    /// A bulk act changes something.
    BulkChanged,
    /// Somebody waits for a task until it ends.
    WaitEnded,
    /// Somebody waits for a task in vain.
    WaitTimedOut,
    /// A cancel is over at once.
    CancelOver,
    /// A cancel waits for a worker.
    CancelAsked,
    /// The coordinator is killed.
    Killed,
    /// The power is cut.
    PowerCut,
    /// The coordinator is killed while it writes.
    KilledWriting,
    /// The power is cut while the coordinator writes.
    PowerCutWriting,
    /// A write or sync fails, and the coordinator ends.
    DiskFailed,
    /// The disk is full.
    DiskFull,
    /// The wall clock jumps ahead.
    ClockForward,
    /// The wall clock jumps back.
    ClockBack,
    /// The engine stands still for a while.
    EngineStalled,
    /// A commit takes very long.
    DiskStalled,
    /// The coordinator is shut down in good order.
    ShutDown,
    /// Everybody is cut off.
    Partition,
    /// The coordinator dies after a frame was durable, before it is told.
    DiedBetweenSyncAndAnswer,
    /// The coordinator dies with frames that are not durable.
    DiedHoldingFrames,
    /// A frame that nobody was told of is found on the disk after a death.
    UntoldFrameSurvived,
    /// A frame that nobody was told of is lost with a death.
    UntoldFrameLost,
    /// A bit of the journal rots, and a start is refused.
    RotRefused,
    /// A bit rots where it does not matter.
    RotHarmless,
    /// An image of a task is recorded while a worker holds it.
    ImageOfLeased,
    /// An image of a dead letter is recorded.
    ImageOfDead,
    /// A transfer is recorded again by the cleaner.
    ImageOfTransfer,
    /// A transfer crosses shards.
    TransferCrossed,
    /// A task becomes a dead letter.
    Died,
    /// A dead letter is put back.
    Redriven,
    /// A task expires while it waits.
    Expired,
    /// A retry is planned after a failure.
    RetryAfterFailure,
    /// A retry is planned after a crash.
    RetryAfterCrash,
    /// A task is put back without blame.
    Deferred,
    /// A task that was leased before a restart is leased again after it.
    LeasedAgainAfterRestart,
    /// A lease that was granted before a restart is settled after it.
    SettledAfterRestart,
    /// A finished task is forgotten.
    Forgotten,
    /// A memory of a request or key runs out.
    MemoryForgotten,
    /// A task goes before a more urgent one, because it has waited long.
    AgedGoesFirst,
    /// A worker is granted a task of a queue, and another one of its queues has work too.
    SharesCompared,
}

/// How often each situation was seen.
#[derive(Clone, Debug)]
pub struct Seen(Vec<u64>);

impl Default for Seen {
    fn default() -> Self {
        Self(vec![0; Situation::ALL.len()])
    }
}

impl Seen {
    /// Counts one more.
    pub const fn count(&mut self, what: Situation) {
        self.0.as_mut_slice()[what as usize] += 1;
    }

    /// Counts more.
    pub fn add_many(&mut self, what: Situation, count: usize) {
        self.0[what as usize] += count as u64;
    }

    /// How often it was seen.
    #[must_use]
    pub fn of(&self, what: Situation) -> u64 {
        self.0[what as usize]
    }

    /// Adds what another world saw.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(&other.0) {
            *mine += theirs;
        }
    }

    /// Situations that were seen less often than that.
    #[must_use]
    pub fn rarer_than(&self, count: u64) -> Vec<(Situation, u64)> {
        let all = Situation::ALL
            .iter()
            .map(|(what, _)| (*what, self.of(*what)));
        all.filter(|(_, seen)| *seen < count).collect()
    }
}
