//! Planted bugs: what a tired engineer might have written, to find out whether the tests would notice.
//!
//! Owns the list. Each is a line or two at the place where it could have happened, and does nothing
//! unless the crate is built with the feature `mutants` and one is planted at run time: without the
//! feature [`is`] is a constant, and what hangs on it is not compiled. Never part of a release.
//! `docs/testing.md` says what kills each.

/// Plants a list of mutants: names, and what each does.
macro_rules! mutants {
    ($($(#[doc = $says:literal])+ $name:ident,)+) => {
        /// A planted bug.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Mutant {
            $($(#[doc = $says])+ $name,)+
        }

        impl Mutant {
            /// All of them, in the order of their numbers, with what each does.
            pub const ALL: &[(Self, &str)] = &[$((Self::$name, concat!($($says),+)),)+];
        }
    };
}

mutants! {
    /// The journal releases a frame without having synced it.
    ReleasedUnsynced,
    /// A new segment's name is not made durable.
    DirectoryUnsynced,
    /// Cleaning removes one segment more than it may.
    RemovesOneTooFar,
    /// The checksum of a frame's body is not looked at.
    BodyUnchecked,
    /// Records of a frame are lost where several frames are written at once.
    FrameLost,
    /// Cleaning leaves out the image of a task that a worker holds.
    LeasedImageDropped,
    /// Cleaning leaves out what requests and keys are known by.
    MemoryImageDropped,
    /// Cleaning leaves out kinds.
    KindImageDropped,
    /// A segment counts as cleaned before its queues were recorded again.
    CleanedTooEarly,
    /// A record of a task says that it never crashed.
    CrashesUnrecorded,
    /// A checkpoint that a failed run left is not recorded.
    CheckpointUnrecorded,
    /// A delay is drawn again where a record is read.
    JitterRedrawn,
    /// A restart does not begin a new epoch.
    EpochReused,
    /// Time begins at the wall clock, whatever the journal knows.
    ClockUnfloored,
    /// A report counts whatever its fence.
    StaleTokenAccepted,
    /// A report counts whatever its nonce.
    NonceIgnored,
    /// A report that counted before is recorded once more.
    DuplicateRecorded,
    /// A report that comes too late is said to be of a task that is gone.
    LateReportGone,
    /// A failure more than allowed is tried again.
    OneAttemptMore,
    /// The growth of a backoff begins one retry late.
    BackoffLate,
    /// The cap of a backoff is left out.
    CapIgnored,
    /// What a failure says of coming back is left out.
    RetryAfterIgnored,
    /// A deferral uses up an attempt.
    DeferralCounted,
    /// A task is granted a millisecond before its time.
    TimerEarly,
    /// A worker that is lost before it began is to blame.
    UnstartedBlamed,
    /// A worker that is lost while it ran a task is not to blame.
    StartedForgiven,
    /// A task that must not run twice is run again when its worker is lost.
    AtMostOnceAgain,
    /// A cancel is forgotten when its task fails.
    CancelForgotten,
    /// Tasks on their way are not sent again after a restart.
    TransferForgotten,
    /// A cancelled task makes no follow-up.
    FollowUpForgotten,
    /// What follows an end is made twice.
    FollowUpTwice,
    /// A session is given one task more than it asked for.
    CapacityExceeded,
    /// A paused queue is served.
    PauseIgnored,
    /// The kinds that a worker serves are not looked at.
    KindsIgnored,
    /// Of two tasks the one that was enqueued last goes first.
    LastFirst,
    /// The least urgent task goes first.
    LeastUrgentFirst,
    /// An idempotency key is forgotten after half its time.
    KeyForgottenEarly,
    /// A request id is answered whatever the request says.
    RequestContentIgnored,
    /// Finished tasks are forgotten before their time.
    FinishedForgottenEarly,
    /// The deadline of a task that waits is not looked at.
    DeadlineIgnored,
    /// A lease of a worker without a stream never ends by itself.
    UnaryLeaseForEver,
    /// What a worker does not list when it comes back stays leased to it.
    UnlistedKept,
    /// Who waits for a task's end is not told of it.
    WaitForgotten,
    /// A redriven task keeps what it has used up.
    BudgetKept,
    /// The engine's alarm clock forgets timers.
    AlarmForgotten,
    /// The weights of a worker's queues are not looked at.
    WeightsIgnored,
    /// A queue that had nothing ready has saved up its turns.
    IdleTurnsSaved,
    /// What has waited long goes no earlier for it.
    AgingIgnored,
}

#[cfg(feature = "mutants")]
mod planted {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::Mutant;

    /// The number of the mutant that is planted, from 1; 0 for none.
    static PLANTED: AtomicUsize = AtomicUsize::new(0);

    /// Plants a mutant in this process, or none.
    pub fn plant(mutant: Option<Mutant>) {
        let number = mutant.map_or(0, |mutant| mutant as usize + 1);
        PLANTED.store(number, Ordering::Relaxed);
    }

    /// Whether this mutant is planted.
    #[must_use]
    pub fn is(mutant: Mutant) -> bool {
        PLANTED.load(Ordering::Relaxed) == mutant as usize + 1
    }
}

#[cfg(feature = "mutants")]
pub use planted::{is, plant};

/// Whether this mutant is planted: never without the feature `mutants`.
#[cfg(not(feature = "mutants"))]
#[must_use]
pub const fn is(_mutant: Mutant) -> bool {
    false
}
