//! What a policy would do with a task that fails the same way each time.
//!
//! Owns the walk over the attempts. Never decides: each step is the judge's own plan, so a preview
//! cannot promise what the judge would not do. Invariant: every delay that the judge can draw, and
//! every time to the end, lies within what the preview shows.

use std::sync::Arc;

use super::backoff::Window;
use super::judge::{self, Again, Plan};
use super::policy::Policy;
use super::{Budget, DeadReason, Ending, Next, Spent, Verdict};
use crate::engine::failure::{Failure, FailureClass};
use crate::engine::ids::Timestamp;

/// Most attempts that one preview shows.
pub const PREVIEW_ATTEMPTS_MAX: u32 = 1000;

/// The steps of a task that fails the same way each time, and how it ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preview {
    /// One for each failing attempt that was asked for, up to the one that gives up.
    pub steps: Vec<Step>,
    /// How long it takes; `None` where the policy does not give up within the attempts shown.
    pub give_up: Option<GiveUp>,
    /// How the last step ends; `None` where the policy does not give up within the attempts shown.
    pub ends_as: Option<End>,
}

/// One failing attempt and the wait after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The run that fails, from 1: the attempt, where each run uses one up.
    pub attempt: u32,
    /// The rule that decided; `None` where the policy itself did.
    pub rule: Option<Arc<str>>,
    /// The wait; `None` on the step that gives up.
    pub wait: Option<Window>,
}

/// Milliseconds from the first failure to giving up, run times left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GiveUp {
    /// The least that can be drawn.
    pub min_ms: u64,
    /// That of a task that draws the mean each time: the mean, unless a `max_retry_duration` or a
    /// cap of decorrelated backoff cuts some draws off.
    pub mean_ms: u64,
    /// The most that can be drawn.
    pub max_ms: u64,
}

/// How a task ends that is not tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// As a dead letter.
    Dead(DeadReason),
    /// As failed.
    Failed,
    /// As discarded.
    Discarded,
}

impl End {
    /// The dead-letter reason or the final state in UPPER_SNAKE_CASE.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dead(reason) => reason.name(),
            Self::Failed => "FAILED",
            Self::Discarded => "DISCARDED",
        }
    }

    const fn of(next: Next) -> Option<Self> {
        match next {
            Next::Retry { .. } => None,
            Next::Dead(reason) => Some(Self::Dead(reason)),
            Next::Fail => Some(Self::Failed),
            Next::Discard => Some(Self::Discarded),
        }
    }
}

/// Shows what the policy does with a task that fails with `failure` each time; a failure of class
/// WORKER_LOST is a crash. `retry_after_ms` comes with each failure. Shows at most `attempts_max`
/// attempts, which is brought into 1 to [`PREVIEW_ATTEMPTS_MAX`].
#[must_use]
pub fn preview(
    policy: &Policy,
    failure: &Failure,
    retry_after_ms: Option<u64>,
    attempts_max: u32,
) -> Preview {
    let ending = match failure.class {
        FailureClass::WorkerLost => Ending::Crashed { failure },
        FailureClass::Network
        | FailureClass::RateLimited
        | FailureClass::Conflict
        | FailureClass::DependencyDown
        | FailureClass::Invalid
        | FailureClass::NotFound
        | FailureClass::Auth
        | FailureClass::Timeout
        | FailureClass::UnknownKind
        | FailureClass::Internal
        | FailureClass::Business => Ending::Failed {
            failure,
            not_retryable: false,
            retry_after_ms,
        },
    };
    let mut walk = Walk::default();
    for attempt in 1..=attempts_max.clamp(1, PREVIEW_ATTEMPTS_MAX) {
        if let Some(end) = walk.step(policy, &ending, attempt) {
            return walk.finish(end);
        }
    }
    Preview {
        steps: walk.steps,
        give_up: None,
        ends_as: None,
    }
}

/// Where the walk is: the counters, and the earliest, mean and latest instant that a task can have
/// reached, in milliseconds since its first failure.
#[derive(Default)]
struct Walk {
    steps: Vec<Step>,
    failures: u32,
    crashes: u32,
    deferrals: u32,
    rule_retries: Vec<(Arc<str>, u32)>,
    previous: Option<Window>,
    reached: Reached,
    /// When those end that the policy's time cuts off before the others.
    cut_off: Option<GiveUp>,
    mean_end_ms: Option<u64>,
}

#[derive(Clone, Copy, Default)]
struct Reached {
    min_ms: u64,
    mean_ms: u64,
    max_ms: u64,
}

impl Walk {
    /// Goes over one failing attempt; returns the end where all that got here end here.
    fn step(&mut self, policy: &Policy, ending: &Ending<'_>, attempt: u32) -> Option<Verdict> {
        let (again, wait) = match self.windows(policy, ending) {
            Ok(found) => found,
            Err(end) => return Some(self.end(attempt, end)),
        };
        if let Some(most_ms) = policy.max_retry_duration_ms {
            self.cut_off(most_ms, &wait);
            if self.reached.min_ms.saturating_add(wait.min_ms) > most_ms {
                return Some(self.end(
                    attempt,
                    judge::too_late(policy, again.budget, DeadReason::RetryDurationExceeded),
                ));
            }
        }
        let reached = self.reached;
        let most_ms = policy.max_retry_duration_ms.unwrap_or(u64::MAX);
        self.reached = Reached {
            min_ms: reached.min_ms.saturating_add(wait.min_ms),
            mean_ms: reached.mean_ms.saturating_add(wait.mean_ms),
            max_ms: reached.max_ms.saturating_add(wait.max_ms).min(most_ms),
        };
        self.count(policy, &again, &wait);
        self.steps.push(Step {
            attempt,
            rule: again.rule,
            wait: Some(wait),
        });
        None
    }

    /// The judge's plan, and what can be drawn by a task that drew the least, the mean or the most
    /// before: the three differ with decorrelated backoff only.
    fn windows(&self, policy: &Policy, ending: &Ending<'_>) -> Result<(Again, Window), Verdict> {
        let plan_after = |previous_delay_ms| {
            let spent = Spent {
                failures: self.failures,
                crashes: self.crashes,
                deferrals: self.deferrals,
                unstarted_in_row: 0,
                rule_retries: &self.rule_retries,
                max_attempts: None,
                since: Timestamp(0),
                previous_delay_ms,
                end_by: None,
                at_most_once: false,
            };
            match judge::plan(policy, &spent, ending) {
                Plan::End(verdict) => Err(verdict),
                Plan::Wait(again) => Ok(again),
            }
        };
        let least = plan_after(self.previous.map(|wait| wait.min_ms))?
            .wait
            .window();
        let mean = plan_after(self.previous.map(|wait| wait.mean_ms))?
            .wait
            .window();
        let again = plan_after(self.previous.map(|wait| wait.max_ms))?;
        let most = again.wait.window();
        let window = Window {
            base_ms: most.base_ms,
            min_ms: least.min_ms,
            mean_ms: mean.mean_ms,
            max_ms: most.max_ms,
        };
        Ok((again, window))
    }

    fn count(&mut self, policy: &Policy, again: &Again, wait: &Window) {
        let counter = match again.budget {
            Budget::Attempt => &mut self.failures,
            Budget::Crash => &mut self.crashes,
            Budget::Deferral => &mut self.deferrals,
        };
        *counter = counter.saturating_add(1);
        let next = Next::Retry {
            base_ms: wait.base_ms,
            delay_ms: wait.mean_ms,
        };
        let verdict = Verdict {
            budget: again.budget,
            rule: again.rule.clone(),
            next,
            spent: None,
        };
        if let Some(rule) = verdict.counted_rule(policy) {
            match self.rule_retries.iter_mut().find(|(id, _)| *id == rule) {
                Some((_, retries)) => *retries = retries.saturating_add(1),
                None => self.rule_retries.push((rule, 1)),
            }
        }
        self.previous = Some(*wait);
    }

    /// Notes those that draw so much here that their retry would start after `most_ms`.
    fn cut_off(&mut self, most_ms: u64, wait: &Window) {
        if self.mean_end_ms.is_none() && self.reached.mean_ms.saturating_add(wait.mean_ms) > most_ms
        {
            self.mean_end_ms = Some(self.reached.mean_ms);
        }
        if self.reached.max_ms.saturating_add(wait.max_ms) > most_ms {
            let just_enough_ms = most_ms.saturating_add(1).saturating_sub(wait.max_ms);
            let min_ms = self.reached.min_ms.max(just_enough_ms);
            let max_ms = self.reached.max_ms;
            let known = self.cut_off.unwrap_or(GiveUp {
                min_ms,
                mean_ms: 0,
                max_ms,
            });
            self.cut_off = Some(GiveUp {
                min_ms: known.min_ms.min(min_ms),
                mean_ms: 0,
                max_ms: known.max_ms.max(max_ms),
            });
        }
    }

    fn end(&mut self, attempt: u32, verdict: Verdict) -> Verdict {
        self.steps.push(Step {
            attempt,
            rule: verdict.rule.clone(),
            wait: None,
        });
        verdict
    }

    fn finish(self, end: Verdict) -> Preview {
        let reached = self.reached;
        let (min_ms, max_ms) = self
            .cut_off
            .map_or((reached.min_ms, reached.max_ms), |cut| {
                (
                    cut.min_ms.min(reached.min_ms),
                    cut.max_ms.max(reached.max_ms),
                )
            });
        let mean_ms = self
            .mean_end_ms
            .unwrap_or(reached.mean_ms)
            .clamp(min_ms, max_ms);
        let give_up = GiveUp {
            min_ms,
            mean_ms,
            max_ms,
        };
        Preview {
            steps: self.steps,
            give_up: Some(give_up),
            ends_as: End::of(end.next),
        }
    }
}
