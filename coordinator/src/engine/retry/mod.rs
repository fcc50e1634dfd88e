//! The only judge of what follows the end of a run: try again, put off, dead-letter or end (I6).
//!
//! Owns [`decide`], which a reported failure, a timeout, a crash, a lost lease and a deferral all
//! go through, the named presets and the preview. Never reads a clock and never draws randomness:
//! the caller brings both, and what was drawn is written into the event (I7). Invariants: no number
//! that a policy can hold makes it panic or overflow, and no delay is outside its [`Window`] or
//! above `limits::DELAY_MS_MAX`. `docs/retry-policies.md` says the same to users.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

pub mod backoff;
pub mod check;
mod judge;
mod matching;
pub mod policy;
pub mod presets;
pub mod preview;
mod recommended;
#[cfg(test)]
mod tests;
mod timeout;

use std::sync::Arc;

use super::failure::Failure;
use super::ids::Timestamp;
pub use backoff::{Window, window};
pub use check::PolicyError;
use judge::Plan;
pub use policy::{Policy, PolicyRef};
pub use preview::{Preview, preview};
pub use timeout::grown_timeout_ms;

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
    /// The run was over its hard limit, and its worker did not say so: judged like a failure of class
    /// TIMEOUT where the task may run again at all.
    Overrun {
        /// The facts.
        failure: &'a Failure,
    },
    /// The task's own time is over, whether a worker holds it or not.
    Expired {
        /// Which time.
        reason: DeadReason,
    },
}

/// What a task has used up since its last redrive, before the ending that is judged.
#[derive(Clone, Copy, Debug)]
pub struct Spent<'a> {
    /// Failures that counted: verdicts with [`Budget::Attempt`].
    pub failures: u32,
    /// Crashes: verdicts with [`Budget::Crash`].
    pub crashes: u32,
    /// Deferrals: verdicts with [`Budget::Deferral`].
    pub deferrals: u32,
    /// Unstarted losses in a row.
    pub unstarted_in_row: u32,
    /// Retries by rules that count for themselves, by rule id: see [`Verdict::counted_rule`].
    pub rule_retries: &'a [(Arc<str>, u32)],
    /// The task's own limit instead of the policy's `max_attempts`, and above that of any rule:
    /// 0 means unlimited (rules keep their own limits), 1 means that no failure is tried again.
    pub max_attempts: Option<u32>,
    /// When the budget began: enqueue or last redrive.
    pub since: Timestamp,
    /// The delay drawn for the previous retry, for decorrelated backoff.
    pub previous_delay_ms: Option<u64>,
    /// When its deadline is over: no run starts then or later.
    pub end_by: Option<Timestamp>,
    /// Whether a run that ended without a report must be the last (AT_MOST_ONCE).
    pub at_most_once: bool,
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
    /// No run of it had begun when its ttl was over.
    TtlExpired,
    /// Its deadline was over.
    DeadlineExceeded,
    /// It is delivered at most once, and its lease ended without a report.
    LeaseLost,
}

impl DeadReason {
    /// All reasons, in the order of their declaration.
    pub const ALL: [Self; 11] = [
        Self::AttemptsExhausted,
        Self::RetryDurationExceeded,
        Self::NotRetryable,
        Self::Rule,
        Self::CrashesExhausted,
        Self::DeferralsExhausted,
        Self::Undeliverable,
        Self::TransferInvalid,
        Self::TtlExpired,
        Self::DeadlineExceeded,
        Self::LeaseLost,
    ];

    /// Whether a budget or a time limit was spent.
    #[must_use]
    pub const fn is_exhaustion(self) -> bool {
        match self {
            Self::AttemptsExhausted
            | Self::RetryDurationExceeded
            | Self::CrashesExhausted
            | Self::DeferralsExhausted
            | Self::Undeliverable
            | Self::TtlExpired
            | Self::DeadlineExceeded
            | Self::LeaseLost => true,
            Self::NotRetryable | Self::Rule | Self::TransferInvalid => false,
        }
    }

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
            Self::TtlExpired => "TTL_EXPIRED",
            Self::DeadlineExceeded => "DEADLINE_EXCEEDED",
            Self::LeaseLost => "LEASE_LOST",
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
    /// The rule that decided: the one that matched where it retries or ends the task, or whose own
    /// limit is reached. `None` where the policy or the task's own limit did, or where no failure
    /// was judged.
    pub rule: Option<Arc<str>>,
    /// What follows.
    pub next: Next,
    /// The budget or time that is spent, where that is why there is no other run, whatever the
    /// policy makes of that.
    pub spent: Option<DeadReason>,
}

impl Verdict {
    /// The rule on whose own counter this verdict is one more retry (see [`Spent::rule_retries`]):
    /// one with a limit of its own, where a failure is tried again.
    #[must_use]
    pub fn counted_rule(&self, policy: &Policy) -> Option<Arc<str>> {
        let Next::Retry { .. } = self.next else {
            return None;
        };
        let rule = policy.rule(self.rule.as_deref()?)?;
        (rule.max_attempts != 0 && self.budget != Budget::Crash).then(|| rule.id.clone())
    }
}

/// Judges how a run ended. The only place that decides between another run and an end.
///
/// `now` is when it ended; `draw` gives numbers uniform in [0, 1) and is called at most once, where
/// there is a delay to draw. The first rule that matches a failure decides; then `not_retryable`;
/// then the limits: the rule's own (in place of the policy's), the task's own (which caps both),
/// the policy's. `docs/retry-policies.md` has the whole order.
#[must_use]
pub fn decide(
    policy: &Policy,
    spent: &Spent<'_>,
    ending: &Ending<'_>,
    now: Timestamp,
    draw: &mut dyn FnMut() -> f64,
) -> Verdict {
    let again = match judge::plan(policy, spent, ending) {
        Plan::End(verdict) => return verdict,
        Plan::Wait(again) => again,
    };
    let delay_ms = again.wait.delay_ms(draw);
    let latest = policy
        .max_retry_duration_ms
        .map(|most_ms| spent.since.plus_ms(most_ms));
    if again.is_retry && latest.is_some_and(|latest| now.plus_ms(delay_ms) > latest) {
        return judge::too_late(policy, again.budget, DeadReason::RetryDurationExceeded);
    }
    if spent
        .end_by
        .is_some_and(|end_by| now.plus_ms(delay_ms) >= end_by)
    {
        return judge::too_late(policy, again.budget, DeadReason::DeadlineExceeded);
    }
    let next = Next::Retry {
        base_ms: again.wait.base_ms(),
        delay_ms,
    };
    Verdict {
        budget: again.budget,
        rule: again.rule,
        next,
        spent: None,
    }
}

/// The delays that [`decide`] can draw after this ending; `None` where it ends the task. Leaves
/// `max_retry_duration` out.
#[must_use]
pub fn delay_window(policy: &Policy, spent: &Spent<'_>, ending: &Ending<'_>) -> Option<Window> {
    match judge::plan(policy, spent, ending) {
        Plan::End(_) => None,
        Plan::Wait(again) => Some(again.wait.window()),
    }
}
