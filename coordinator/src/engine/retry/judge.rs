//! What is decided about an ending before anything is drawn.
//!
//! Owns the order in which rules, limits and budgets are asked. Never draws: the judge draws from
//! the `Wait` that it finds here, a preview shows what could be drawn from it. Invariant: every
//! ending either ends the task or waits for a time that its own `Wait` bounds.

use crate::mutants::{self, Mutant};
use std::sync::Arc;

use super::backoff::{Spread, UNIT_MAX, Window};
use super::matching::first_rule;
use super::policy::{
    Backoff, ExhaustAction, Policy, RetryAfterMode, Rule, RuleAction, WorkerDelayMode,
};
use super::{Budget, DeadReason, Ending, Next, Spent, Verdict};
use crate::engine::failure::Failure;
use crate::engine::limits;

/// Points at which the mean of two competing delays is taken.
const QUADRATURE_POINTS: u32 = 512;
/// Milliseconds of the wait after the first unstarted loss.
const UNSTARTED_BACKOFF_MS_MIN: u64 = 1000;

/// What is settled about an ending.
#[derive(Debug)]
pub(super) enum Plan {
    /// It is the last.
    End(Verdict),
    /// There is another run, unless the policy's time is up by then.
    Wait(Again),
}

/// Another run.
#[derive(Debug)]
pub(super) struct Again {
    pub(super) budget: Budget,
    pub(super) rule: Option<Arc<str>>,
    pub(super) wait: Wait,
    /// Whether it is a retry, which must start within the policy's `max_retry_duration`.
    pub(super) is_retry: bool,
}

/// How long until then.
#[derive(Debug)]
pub(super) enum Wait {
    /// This long.
    Set { delay_ms: u64 },
    /// What is drawn from the backoff, or from what the other side asked for in its place.
    Drawn(Spread),
    /// What the backoff draws, but no less than what the other side asked for and a little more.
    AtLeast { drawn: Spread, asked: Spread },
}

impl Wait {
    fn set(delay_ms: u64) -> Self {
        Self::Set {
            delay_ms: delay_ms.min(limits::DELAY_MS_MAX),
        }
    }

    /// The delay before jitter.
    pub(super) fn base_ms(&self) -> u64 {
        match self {
            Self::Set { delay_ms } => *delay_ms,
            Self::Drawn(spread) => spread.base_ms(),
            Self::AtLeast { drawn, asked } => drawn.base_ms().max(asked.base_ms()),
        }
    }

    /// The delay; draws at most once.
    pub(super) fn delay_ms(&self, draw: &mut dyn FnMut() -> f64) -> u64 {
        match self {
            Self::Set { delay_ms } => *delay_ms,
            Self::Drawn(_) | Self::AtLeast { .. } => self.at(draw()),
        }
    }

    /// The delay for this u: monotone in u.
    fn at(&self, u: f64) -> u64 {
        match self {
            Self::Set { delay_ms } => *delay_ms,
            Self::Drawn(spread) => spread.at(u),
            Self::AtLeast { drawn, asked } => {
                let asked_u = if drawn.descends() { 1.0 - u } else { u };
                drawn.at(u).max(asked.at(asked_u))
            }
        }
    }

    /// What can be drawn.
    pub(super) fn window(&self) -> Window {
        match self {
            Self::Set { delay_ms } => Window::exactly(*delay_ms),
            Self::Drawn(spread) => spread.window(),
            Self::AtLeast { drawn, asked } => {
                let (first_ms, last_ms) = (self.at(0.0), self.at(UNIT_MAX));
                Window {
                    base_ms: self.base_ms(),
                    min_ms: first_ms.min(last_ms),
                    mean_ms: self.mean_ms(&drawn.window(), &asked.window()),
                    max_ms: first_ms.max(last_ms),
                }
            }
        }
    }

    /// The mean of the larger of two: that of the one that always wins, where one does.
    fn mean_ms(&self, drawn: &Window, asked: &Window) -> u64 {
        if drawn.max_ms <= asked.min_ms {
            return asked.mean_ms;
        }
        if asked.max_ms <= drawn.min_ms {
            return drawn.mean_ms;
        }
        let points = f64::from(QUADRATURE_POINTS);
        let sum = (0..QUADRATURE_POINTS)
            .map(|point| self.at((f64::from(point) + 0.5) / points))
            .fold(0_u64, u64::saturating_add);
        sum.checked_div(u64::from(QUADRATURE_POINTS)).unwrap_or(0)
    }
}

/// What follows this ending, as far as it is settled without a clock and without drawing.
pub(super) fn plan(policy: &Policy, spent: &Spent<'_>, ending: &Ending<'_>) -> Plan {
    match ending {
        Ending::Failed {
            failure,
            not_retryable,
            retry_after_ms,
        } => {
            let trial = Trial::of(policy, spent, failure);
            trial.settle(*not_retryable, |backoff, n| {
                after_failure(
                    trial.retry_after_mode(),
                    Spread::of(backoff, n, spent.previous_delay_ms),
                    *retry_after_ms,
                )
            })
        }
        Ending::Retried { failure, delay_ms } => {
            let trial = Trial::of(policy, spent, failure);
            trial.settle(false, |backoff, n| match delay_ms {
                None => Wait::Drawn(Spread::of(backoff, n, spent.previous_delay_ms)),
                Some(delay_ms) => match policy.worker_delay_mode {
                    WorkerDelayMode::Exact => Wait::set(*delay_ms),
                    WorkerDelayMode::Clamp => Wait::set((*delay_ms).min(backoff.max_ms)),
                },
            })
        }
        Ending::Crashed { .. } if spent.at_most_once && !mutants::is(Mutant::AtMostOnceAgain) => {
            Plan::End(lost(Budget::Crash))
        }
        Ending::Unstarted if spent.at_most_once => Plan::End(lost(Budget::Deferral)),
        Ending::Overrun { .. } if spent.at_most_once => Plan::End(lost(Budget::Attempt)),
        Ending::Overrun { failure } => {
            let trial = Trial::of(policy, spent, failure);
            trial.settle(false, |backoff, n| {
                Wait::Drawn(Spread::of(backoff, n, spent.previous_delay_ms))
            })
        }
        Ending::Expired { reason } => Plan::End(exhausted(policy, Budget::Attempt, None, *reason)),
        Ending::Crashed { failure } => Trial::of(policy, spent, failure).settle_crash(),
        Ending::Deferred { delay_ms } => put_off(policy, spent, *delay_ms),
        Ending::Released => put_off(policy, spent, 0),
        Ending::Unstarted => {
            if spent.unstarted_in_row.saturating_add(1) >= limits::UNSTARTED_IN_ROW_MAX {
                return Plan::End(dead(Budget::Deferral, None, DeadReason::Undeliverable));
            }
            let doubled = 2_u64.saturating_pow(spent.unstarted_in_row);
            let delay_ms = UNSTARTED_BACKOFF_MS_MIN.saturating_mul(doubled);
            put_off(
                policy,
                spent,
                delay_ms.min(limits::UNSTARTED_BACKOFF_MS_MAX),
            )
        }
    }
}

/// The end of a task whose retry would start too late.
pub(super) fn too_late(policy: &Policy, budget: Budget, reason: DeadReason) -> Verdict {
    exhausted(policy, budget, None, reason)
}

/// A failure before the judge.
struct Trial<'a> {
    policy: &'a Policy,
    spent: &'a Spent<'a>,
    rule: Option<&'a Rule>,
}

impl<'a> Trial<'a> {
    fn of(policy: &'a Policy, spent: &'a Spent<'a>, failure: &Failure) -> Self {
        let attempt = spent.failures.saturating_add(1);
        Self {
            policy,
            spent,
            rule: first_rule(policy, failure, attempt),
        }
    }

    /// A failure that was reported or observed; `wait` makes the wait of a backoff and its n.
    fn settle(&self, not_retryable: bool, wait: impl FnOnce(&Backoff, u32) -> Wait) -> Plan {
        if let Some(end) = self.ended_by_rule(Budget::Attempt) {
            return Plan::End(end);
        }
        if not_retryable {
            return Plan::End(dead(Budget::Attempt, None, DeadReason::NotRetryable));
        }
        let spares = self.rule.is_some_and(|rule| rule.spares_attempts);
        let budget = if spares {
            Budget::Deferral
        } else {
            Budget::Attempt
        };
        if let Some(end) = self.spent_attempts(budget) {
            return Plan::End(end);
        }
        if spares && is_last(self.spent.deferrals, self.policy.max_deferrals, self.spent) {
            return Plan::End(dead(budget, None, DeadReason::DeferralsExhausted));
        }
        let backoff = self.rule.and_then(|rule| rule.backoff.as_ref());
        let n = self.own_retries().unwrap_or(self.spent.failures);
        Plan::Wait(Again {
            budget,
            rule: self.rule.map(|rule| rule.id.clone()),
            wait: wait(backoff.unwrap_or(&self.policy.backoff), n),
            is_retry: true,
        })
    }

    /// A worker that was lost while it ran the task: of a rule only the action and the wait count,
    /// the limit is that of crashes.
    fn settle_crash(&self) -> Plan {
        if let Some(end) = self.ended_by_rule(Budget::Crash) {
            return Plan::End(end);
        }
        let limit = self.policy.max_crashes;
        let spent_all = limit != 0 && is_last(self.spent.crashes, limit, self.spent);
        if spent_all || runs_are_spent(self.spent) {
            return Plan::End(dead(Budget::Crash, None, DeadReason::CrashesExhausted));
        }
        let own = self
            .rule
            .and_then(|rule| rule.backoff.as_ref().map(|backoff| (rule, backoff)));
        let backoff = own.map_or(&self.policy.crash_backoff, |(_, backoff)| backoff);
        let spread = Spread::of(backoff, self.spent.crashes, self.spent.previous_delay_ms);
        Plan::Wait(Again {
            budget: Budget::Crash,
            rule: own.map(|(rule, _)| rule.id.clone()),
            wait: Wait::Drawn(spread),
            is_retry: true,
        })
    }

    /// The end that the rule wants whatever has been spent.
    fn ended_by_rule(&self, budget: Budget) -> Option<Verdict> {
        let rule = self.rule?;
        let next = match rule.action {
            RuleAction::Retry => return None,
            RuleAction::Fail => Next::Fail,
            RuleAction::DeadLetter => Next::Dead(DeadReason::Rule),
            RuleAction::Discard => Next::Discard,
        };
        Some(Verdict {
            budget,
            rule: Some(rule.id.clone()),
            next,
            spent: None,
        })
    }

    /// The end of a task that has no attempts left: by its own limit, by that of the rule, or by
    /// that of the policy where neither has one.
    fn spent_attempts(&self, budget: Budget) -> Option<Verdict> {
        let reason = DeadReason::AttemptsExhausted;
        let own_limit = self.rule.filter(|rule| rule.max_attempts != 0);
        if let (Some(rule), Some(retries)) = (own_limit, self.own_retries())
            && retries.saturating_add(1) >= rule.max_attempts
        {
            return Some(exhausted(
                self.policy,
                budget,
                Some(rule.id.clone()),
                reason,
            ));
        }
        let limit = match (self.spent.max_attempts, own_limit) {
            // "Never retry" holds for retries that use up no attempt, too.
            (Some(1), _) => return Some(exhausted(self.policy, budget, None, reason)),
            (Some(limit), _) => limit,
            (None, Some(_)) => 0,
            (None, None) => self.policy.max_attempts,
        };
        let is_last = match budget {
            Budget::Attempt => {
                let more = u32::from(mutants::is(Mutant::OneAttemptMore));
                limit != 0 && self.spent.failures.saturating_add(1) >= limit.saturating_add(more)
            }
            Budget::Crash | Budget::Deferral => false,
        };
        (is_last || runs_are_spent(self.spent))
            .then(|| exhausted(self.policy, budget, None, reason))
    }

    /// What a retry_after does here: as the rule says, else the policy.
    fn retry_after_mode(&self) -> RetryAfterMode {
        self.rule
            .and_then(|rule| rule.retry_after_mode)
            .unwrap_or(self.policy.retry_after_mode)
    }

    /// Retries already granted by the rule, where it counts for itself.
    fn own_retries(&self) -> Option<u32> {
        let rule = self.rule.filter(|rule| rule.max_attempts != 0)?;
        let counted = self
            .spent
            .rule_retries
            .iter()
            .find(|(id, _)| *id == rule.id);
        Some(counted.map_or(0, |(_, retries)| *retries))
    }
}

/// The wait of a failure, with what the other side asked for.
fn after_failure(mode: RetryAfterMode, drawn: Spread, retry_after_ms: Option<u64>) -> Wait {
    let retry_after_ms = retry_after_ms.filter(|_| !mutants::is(Mutant::RetryAfterIgnored));
    let Some(asked_ms) = retry_after_ms else {
        return Wait::Drawn(drawn);
    };
    match mode {
        RetryAfterMode::Ignore => Wait::Drawn(drawn),
        RetryAfterMode::Exact => Wait::set(asked_ms),
        RetryAfterMode::Floor => Wait::AtLeast {
            drawn,
            asked: and_a_tenth(asked_ms),
        },
        RetryAfterMode::Instead => Wait::Drawn(and_a_tenth(asked_ms)),
    }
}

/// From what was asked for to a tenth more, so that those who were told the same do not come back
/// together.
fn and_a_tenth(asked_ms: u64) -> Spread {
    Spread::line(asked_ms, asked_ms.checked_div(10).unwrap_or(0))
}

/// A deferral that nobody is to blame for.
fn put_off(policy: &Policy, spent: &Spent<'_>, delay_ms: u64) -> Plan {
    if is_last(spent.deferrals, policy.max_deferrals, spent) {
        return Plan::End(dead(Budget::Deferral, None, DeadReason::DeferralsExhausted));
    }
    Plan::Wait(Again {
        budget: put_off_budget(),
        rule: None,
        wait: Wait::set(delay_ms),
        is_retry: false,
    })
}

/// Whether the ending that is judged is the last that the limit allows.
fn is_last(used: u32, limit: u32, spent: &Spent<'_>) -> bool {
    used.saturating_add(1) >= limit || runs_are_spent(spent)
}

/// Whether a task without limits has used up the runs that its fence can count.
fn runs_are_spent(spent: &Spent<'_>) -> bool {
    let used = spent
        .failures
        .saturating_add(spent.crashes)
        .saturating_add(spent.deferrals);
    used.saturating_add(1) >= limits::RUNS_MAX
}

fn dead(budget: Budget, rule: Option<Arc<str>>, reason: DeadReason) -> Verdict {
    Verdict {
        budget,
        rule,
        next: Next::Dead(reason),
        spent: reason.is_exhaustion().then_some(reason),
    }
}

/// The end of a task that must not run twice, when nobody knows whether it did.
fn lost(budget: Budget) -> Verdict {
    dead(budget, None, DeadReason::LeaseLost)
}

fn exhausted(
    policy: &Policy,
    budget: Budget,
    rule: Option<Arc<str>>,
    reason: DeadReason,
) -> Verdict {
    let next = match policy.on_exhausted {
        ExhaustAction::DeadLetter => Next::Dead(reason),
        ExhaustAction::Fail => Next::Fail,
        ExhaustAction::Discard => Next::Discard,
    };
    let spent = Some(reason);
    Verdict {
        budget,
        rule,
        next,
        spent,
    }
}

/// What a deferral uses up.
fn put_off_budget() -> Budget {
    if mutants::is(Mutant::DeferralCounted) {
        Budget::Attempt
    } else {
        Budget::Deferral
    }
}
