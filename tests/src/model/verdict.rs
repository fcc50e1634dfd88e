//! What may follow the end of a run: the model's own judge (docs/retry-policies.md).
//!
//! Owns the order of the limits, written anew from the document. Draws nothing: where a drawn delay
//! decides, both ends are allowed that its bounds allow.

use std::sync::Arc;

use redrive_coordinator::engine::command::Start;
use redrive_coordinator::engine::failure::{Failure, FailureClass};
use redrive_coordinator::engine::ids::Timestamp;
use redrive_coordinator::engine::ledger::history::RunOutcome;
use redrive_coordinator::engine::retry::policy::{
    Backoff, ExhaustAction, Match, Policy, RetryAfterMode, Rule, RuleAction, WorkerDelayMode,
};
use redrive_coordinator::engine::retry::{Budget, DeadReason};

use super::task::{Facts, Heard, Task};
use super::waits::{Wait, bounds, float};

/// Unstarted losses in a row that quarantine a task.
const UNSTARTED_MAX: u16 = 20;

/// What becomes of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is tried again.
    Again(Budget),
    /// It is a dead letter, or goes on as one.
    Dead(DeadReason),
    /// It has failed for good, by a rule that wants no dead letter.
    Failed,
    /// It has failed for good, because something was spent.
    FailedSpent,
    /// It is dropped.
    Discarded,
    /// It has succeeded.
    Succeeded,
    /// It was cancelled.
    Cancelled,
}

/// What is allowed.
#[derive(Clone, Debug, Default)]
pub(super) struct Allowed {
    pub(super) fates: Vec<Fate>,
    /// The bounds of the wait, where it is tried again.
    pub(super) wait: Option<Wait>,
    /// The rule whose counter moves.
    pub(super) counted: Option<Arc<str>>,
}

/// Where a task is judged.
pub(super) struct Court<'a> {
    pub(super) policy: &'a Policy,
    pub(super) task: &'a Task,
    /// The limit that takes the place of the policy's.
    pub(super) max_attempts: Option<u32>,
    pub(super) end_by: Option<Timestamp>,
}

impl Allowed {
    fn only(fate: Fate) -> Self {
        Self {
            fates: vec![fate],
            ..Self::default()
        }
    }
}

impl Court<'_> {
    /// What may follow a run that ended so, whatever of this was heard of it.
    pub(super) fn judge(&self, outcome: RunOutcome, facts: &Facts<'_>, heard: &Heard) -> Allowed {
        match outcome {
            RunOutcome::Succeeded => Allowed::only(Fate::Succeeded),
            RunOutcome::Discarded => Allowed::only(Fate::Discarded),
            RunOutcome::Cancelled => Allowed::only(Fate::Cancelled),
            RunOutcome::Failed | RunOutcome::Retried | RunOutcome::TimedOut => {
                self.failure(outcome, facts, heard)
            }
            RunOutcome::Crashed => self.crash(facts),
            RunOutcome::Deferred => {
                let ms = if let Heard::Defer { delay_ms } = heard {
                    *delay_ms
                } else {
                    0
                };
                self.deferral(facts, Wait::exactly(ms))
            }
            RunOutcome::Released => self.deferral(facts, Wait::exactly(0)),
            RunOutcome::Unstarted => self.unstarted(facts),
        }
    }

    fn failure(&self, outcome: RunOutcome, facts: &Facts<'_>, heard: &Heard) -> Allowed {
        let attempt = self.task.failures + 1;
        let rule = facts
            .failure
            .and_then(|failure| self.rule(failure, attempt));
        match rule.map(|rule| rule.action) {
            Some(RuleAction::Fail) => return Allowed::only(Fate::Failed),
            Some(RuleAction::Discard) => return Allowed::only(Fate::Discarded),
            Some(RuleAction::DeadLetter) => return Allowed::only(Fate::Dead(DeadReason::Rule)),
            Some(RuleAction::Retry) | None => {}
        }
        if let Heard::Fail {
            not_retryable: true,
            ..
        } = heard
        {
            return Allowed::only(Fate::Dead(DeadReason::NotRetryable));
        }
        if self.attempts_are_spent(rule, attempt) {
            return self.exhausted(DeadReason::AttemptsExhausted);
        }
        let spares = rule.is_some_and(|rule| rule.spares_attempts);
        if spares && self.task.deferrals + 1 >= self.policy.max_deferrals {
            return Allowed::only(Fate::Dead(DeadReason::DeferralsExhausted));
        }
        let wait = self.failure_wait(rule, outcome, heard);
        let budget = if spares {
            Budget::Deferral
        } else {
            Budget::Attempt
        };
        let counts = rule.filter(|rule| rule.max_attempts > 0);
        let mut allowed = self.again(budget, wait, facts.ended_at, true);
        allowed.counted = counts.map(|rule| Arc::clone(&rule.id));
        allowed
    }

    fn attempts_are_spent(&self, rule: Option<&Rule>, attempt: u32) -> bool {
        let own = self.max_attempts;
        let of_rule = rule.filter(|rule| rule.max_attempts > 0);
        if of_rule.is_some_and(|rule| self.retries_by(rule) + 1 >= rule.max_attempts) {
            return true;
        }
        if let Some(max) = own {
            // What a rule spares uses up no attempt; but 1 means that nothing is tried again.
            let spared = rule.is_some_and(|rule| rule.spares_attempts);
            return if spared {
                max == 1
            } else {
                max > 0 && attempt >= max
            };
        }
        of_rule.is_none() && self.policy.max_attempts > 0 && attempt >= self.policy.max_attempts
    }

    fn retries_by(&self, rule: &Rule) -> u32 {
        let mut counts = self.task.rule_retries.iter();
        counts
            .find(|(id, _)| *id == rule.id)
            .map_or(0, |(_, count)| *count)
    }

    /// The wait of a failure; a rule with its own limit counts its own retries.
    fn failure_wait(&self, rule: Option<&Rule>, outcome: RunOutcome, heard: &Heard) -> Wait {
        let backoff = rule.and_then(|rule| rule.backoff.as_ref());
        let backoff = backoff.unwrap_or(&self.policy.backoff);
        let n = match rule {
            Some(rule) if rule.max_attempts > 0 => self.retries_by(rule),
            Some(_) | None => self.task.failures,
        };
        let drawn = bounds(backoff, n, self.task.previous_delay_ms);
        if let (RunOutcome::Retried, Heard::Retry { start: Some(start) }) = (outcome, heard) {
            return self.chosen(*start, backoff);
        }
        let Heard::Fail {
            retry_after_ms: Some(after),
            ..
        } = heard
        else {
            return drawn;
        };
        let mode = rule.and_then(|rule| rule.retry_after_mode);
        let after = float(*after);
        let spread = Wait {
            min: after,
            max: after * 1.1,
        };
        match mode.unwrap_or(self.policy.retry_after_mode) {
            RetryAfterMode::Ignore => drawn,
            RetryAfterMode::Exact => Wait {
                min: after,
                max: after,
            },
            RetryAfterMode::Instead => spread,
            RetryAfterMode::Floor => Wait {
                min: drawn.min.max(after),
                max: drawn.max.max(spread.max),
            },
        }
    }

    /// The wait that a worker chose.
    fn chosen(&self, start: Start, backoff: &Backoff) -> Wait {
        let Start::After { delay_ms } = start else {
            // An instant: the wait depends on when the report came.
            return Wait {
                min: 0.0,
                max: f64::MAX,
            };
        };
        match self.policy.worker_delay_mode {
            WorkerDelayMode::Exact => Wait::exactly(delay_ms),
            WorkerDelayMode::Clamp => Wait::exactly(delay_ms.min(backoff.max_ms)),
        }
    }

    fn crash(&self, facts: &Facts<'_>) -> Allowed {
        let lost = Failure::new(FailureClass::WorkerLost, "");
        let failure = facts.failure.unwrap_or(&lost);
        let rule = self.rule(failure, self.task.failures + 1);
        match rule.map(|rule| rule.action) {
            Some(RuleAction::Fail) => return Allowed::only(Fate::Failed),
            Some(RuleAction::Discard) => return Allowed::only(Fate::Discarded),
            Some(RuleAction::DeadLetter) => return Allowed::only(Fate::Dead(DeadReason::Rule)),
            Some(RuleAction::Retry) | None => {}
        }
        let max = self.policy.max_crashes;
        if max > 0 && self.task.crashes + 1 >= max {
            return Allowed::only(Fate::Dead(DeadReason::CrashesExhausted));
        }
        let backoff = rule.and_then(|rule| rule.backoff.as_ref());
        let backoff = backoff.unwrap_or(&self.policy.crash_backoff);
        let wait = bounds(backoff, self.task.crashes, self.task.previous_delay_ms);
        self.again(Budget::Crash, wait, facts.ended_at, true)
    }

    fn deferral(&self, facts: &Facts<'_>, wait: Wait) -> Allowed {
        if self.task.deferrals + 1 >= self.policy.max_deferrals {
            return Allowed::only(Fate::Dead(DeadReason::DeferralsExhausted));
        }
        self.again(Budget::Deferral, wait, facts.ended_at, false)
    }

    /// A worker that was lost before it began: 1 s, 2 s, 4 s .. 60 s.
    fn unstarted(&self, facts: &Facts<'_>) -> Allowed {
        if self.task.unstarted_in_row + 1 >= UNSTARTED_MAX {
            return Allowed::only(Fate::Dead(DeadReason::Undeliverable));
        }
        let doubled = 1000_u64 << self.task.unstarted_in_row.min(10);
        self.deferral(facts, Wait::exactly(doubled.min(60_000)))
    }

    /// Another run, unless it would start too late.
    fn again(&self, budget: Budget, wait: Wait, from: Timestamp, is_retry: bool) -> Allowed {
        let mut allowed = Allowed {
            wait: Some(wait),
            ..Allowed::default()
        };
        let begin = float(from.0) + wait.min;
        let end = float(from.0) + wait.max;
        // Rounding may put the start a little to either side.
        let slack = 2.0;
        let mut may_start = true;
        let longest = self.policy.max_retry_duration_ms.filter(|_| is_retry);
        if let Some(max) = longest {
            let until = float(self.task.budget_since.0) + float(max);
            if end + slack > until {
                allowed
                    .fates
                    .extend(self.spent(DeadReason::RetryDurationExceeded));
            }
            may_start &= begin - slack <= until;
        }
        if let Some(end_by) = self.end_by {
            if end + slack >= float(end_by.0) {
                allowed
                    .fates
                    .extend(self.spent(DeadReason::DeadlineExceeded));
            }
            may_start &= begin - slack < float(end_by.0);
        }
        if may_start {
            allowed.fates.push(Fate::Again(budget));
        }
        allowed
    }

    fn exhausted(&self, reason: DeadReason) -> Allowed {
        Allowed {
            fates: self.spent(reason).to_vec(),
            ..Allowed::default()
        }
    }

    /// What `on_exhausted` makes of it.
    const fn spent(&self, reason: DeadReason) -> [Fate; 1] {
        [match self.policy.on_exhausted {
            ExhaustAction::DeadLetter => Fate::Dead(reason),
            ExhaustAction::Fail => Fate::FailedSpent,
            ExhaustAction::Discard => Fate::Discarded,
        }]
    }

    /// The first rule that matches.
    fn rule(&self, failure: &Failure, attempt: u32) -> Option<&Rule> {
        let mut rules = self.policy.rules.iter();
        rules.find(|rule| matches(&rule.matches, failure, attempt))
    }

    /// What becomes of a task whose time is over.
    pub(super) const fn overdue(&self, reason: DeadReason) -> Fate {
        self.spent(reason)[0]
    }
}

fn matches(what: &Match, failure: &Failure, attempt: u32) -> bool {
    let types = || std::iter::once(&failure.error_type).chain(&failure.ancestors);
    let named = |patterns: &[Arc<str>]| {
        patterns.iter().any(|pattern| {
            types().any(|name| match pattern.strip_suffix('*') {
                Some(prefix) => name.starts_with(prefix),
                None => **name == **pattern,
            })
        })
    };
    (what.classes.is_empty() || what.classes.contains(&failure.class))
        && (what.codes.is_empty() || what.codes.contains(&failure.code))
        && (what.error_types.is_empty() || named(&what.error_types))
        && !named(&what.exclude_error_types)
        && (what.attempt_min == 0 || attempt >= what.attempt_min)
        && (what.attempt_max == 0 || attempt <= what.attempt_max)
}
