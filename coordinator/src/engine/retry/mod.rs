//! The only judge of what follows the end of a run: try again, put off, dead-letter or end (I6).
//!
//! Owns [`decide`], which a reported failure, a timeout, a crash, a lost lease and a deferral all
//! go through, and the named presets. Never reads a clock and never draws randomness: the caller
//! brings both, and what was drawn is written into the event (I7).

pub mod policy;

use std::sync::Arc;

use super::failure::Failure;
use super::ids::Timestamp;
pub use policy::{Policy, PolicyRef};

/// How a run ended, as far as the judge cares.
#[derive(Clone, Copy, Debug)]
pub enum Ending<'a> {
    /// The handler failed, or its hard limit was over (class TIMEOUT).
    Failed {
        /// The facts.
        failure: &'a Failure,
        /// The worker says that trying again cannot help.
        not_retryable: bool,
        /// The other side said when to come back.
        retry_after_ms: Option<u64>,
    },
    /// The handler failed and asked for a retry.
    Retried {
        /// The facts.
        failure: &'a Failure,
        /// When; `None` leaves it to the policy.
        delay_ms: Option<u64>,
    },
    /// The worker died or was lost while running it; the failure's class is WORKER_LOST.
    Crashed {
        /// The facts.
        failure: &'a Failure,
    },
    /// The handler put it off.
    Deferred {
        /// For how long.
        delay_ms: u64,
    },
    /// The worker gave it back untouched, or it never arrived: again at once.
    Released,
    /// The worker was lost before it began.
    Unstarted,
}

/// What a task has used up since its last redrive, before the ending that is judged.
#[derive(Clone, Copy, Debug)]
pub struct Spent<'a> {
    /// Failures that counted.
    pub failures: u32,
    /// Crashes.
    pub crashes: u32,
    /// Deferrals.
    pub deferrals: u32,
    /// Unstarted losses in a row.
    pub unstarted_in_row: u32,
    /// Retries by rules that count for themselves, by rule id.
    pub rule_retries: &'a [(Arc<str>, u32)],
    /// The task's own limit instead of the policy's `max_attempts`.
    pub max_attempts: Option<u32>,
    /// When the budget began: enqueue or last redrive.
    pub since: Timestamp,
    /// The delay drawn for the previous retry, for decorrelated backoff.
    pub previous_delay_ms: Option<u64>,
}

/// Which of the three budgets an ending uses up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Budget {
    /// An attempt.
    Attempt,
    /// A crash.
    Crash,
    /// A deferral.
    Deferral,
}

/// Why a task is a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DeadReason {
    /// Its attempts, or those of the rule that matched, are spent.
    AttemptsExhausted,
    /// The next retry would have started too late.
    RetryDurationExceeded,
    /// The worker said that trying again cannot help.
    NotRetryable,
    /// A rule wants it dead.
    Rule,
    /// It took down too many workers: a poison task.
    CrashesExhausted,
    /// It was put off too often.
    DeferralsExhausted,
    /// Its workers were lost before it began, too often in a row.
    Undeliverable,
    /// It could not be created in the queue that it was routed to.
    TransferInvalid,
}

impl DeadReason {
    /// All reasons, in the order of their declaration.
    pub const ALL: [Self; 8] = [
        Self::AttemptsExhausted,
        Self::RetryDurationExceeded,
        Self::NotRetryable,
        Self::Rule,
        Self::CrashesExhausted,
        Self::DeferralsExhausted,
        Self::Undeliverable,
        Self::TransferInvalid,
    ];

    /// The name in UPPER_SNAKE_CASE, as users see it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AttemptsExhausted => "ATTEMPTS_EXHAUSTED",
            Self::RetryDurationExceeded => "RETRY_DURATION_EXCEEDED",
            Self::NotRetryable => "NOT_RETRYABLE",
            Self::Rule => "RULE",
            Self::CrashesExhausted => "CRASHES_EXHAUSTED",
            Self::DeferralsExhausted => "DEFERRALS_EXHAUSTED",
            Self::Undeliverable => "UNDELIVERABLE",
            Self::TransferInvalid => "TRANSFER_INVALID",
        }
    }
}

/// What follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Another run.
    Retry {
        /// The delay before jitter.
        base_ms: u64,
        /// The delay drawn.
        delay_ms: u64,
    },
    /// A dead letter.
    Dead(DeadReason),
    /// The end, as failed.
    Fail,
    /// The end, as discarded.
    Discard,
}

/// The judge's word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Which budget the ending uses up.
    pub budget: Budget,
    /// The rule that decided; `None` where the policy itself did.
    pub rule: Option<Arc<str>>,
    /// What follows.
    pub next: Next,
}
