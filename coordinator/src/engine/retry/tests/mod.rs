//! What the judge promises, as claims; time and randomness are given.

mod backoff;
mod check;
mod doc;
mod endings;
mod expiry;
mod judge;
mod presets;
mod preview;
mod recommended;
mod seed;
mod table;

use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::policy::{Backoff, Jitter, Match, Policy, Rule, RuleAction, Shape};
use super::{Budget, DeadReason, Ending, Next, Spent, Verdict, decide, presets as named_presets};
use crate::engine::failure::{Failure, FailureClass};
use crate::engine::ids::Timestamp;

/// The largest u.
const ALMOST_ONE: f64 = super::backoff::UNIT_MAX;
/// Draws of a distribution check.
const DRAWS: usize = 20_000;

fn preset(name: &str) -> Arc<Policy> {
    named_presets::named(name).unwrap_or_else(|| panic!("no preset {name}"))
}

fn failure(class: FailureClass) -> Failure {
    Failure::new(class, "it did not work")
}

fn coded(code: i32) -> Failure {
    Failure {
        code,
        ..failure(FailureClass::Internal)
    }
}

fn typed(error_type: &str, ancestors: &[&str]) -> Failure {
    Failure {
        error_type: error_type.into(),
        ancestors: ancestors.iter().map(|one| Arc::from(*one)).collect(),
        ..failure(FailureClass::Internal)
    }
}

fn failed(failure: &Failure) -> Ending<'_> {
    Ending::Failed {
        failure,
        not_retryable: false,
        retry_after_ms: None,
    }
}

fn fixed(delay_ms: u64) -> Backoff {
    Backoff {
        jitter: Jitter::None,
        ..Backoff::of(Shape::Fixed { delay_ms })
    }
}

fn with_rules(rules: Vec<Rule>) -> Policy {
    Policy {
        rules,
        backoff: fixed(1000),
        ..Policy::default()
    }
}

fn for_types(id: &str, action: RuleAction, types: &[&str], excluded: &[&str]) -> Rule {
    let listed = |list: &[&str]| list.iter().map(|one| Arc::from(*one)).collect();
    let matches = Match {
        error_types: listed(types),
        exclude_error_types: listed(excluded),
        ..Match::default()
    };
    Rule::new(id, matches, action)
}

/// A rule that retries failures of this class, with a limit of its own.
fn own_limit(id: &str, class: FailureClass, max_attempts: u32) -> Rule {
    let matches = Match {
        classes: vec![class],
        ..Match::default()
    };
    Rule {
        max_attempts,
        ..Rule::new(id, matches, RuleAction::Retry)
    }
}

/// A task in front of the judge: counts what each verdict uses up and lets the waits pass.
struct Task<'a> {
    policy: &'a Policy,
    failures: u32,
    crashes: u32,
    deferrals: u32,
    unstarted_in_row: u32,
    rule_retries: Vec<(Arc<str>, u32)>,
    max_attempts: Option<u32>,
    now: Timestamp,
    previous_delay_ms: Option<u64>,
}

impl<'a> Task<'a> {
    fn new(policy: &'a Policy) -> Self {
        Self {
            policy,
            failures: 0,
            crashes: 0,
            deferrals: 0,
            unstarted_in_row: 0,
            rule_retries: Vec::new(),
            max_attempts: None,
            now: Timestamp(0),
            previous_delay_ms: None,
        }
    }

    fn spent(&self) -> Spent<'_> {
        Spent {
            failures: self.failures,
            crashes: self.crashes,
            deferrals: self.deferrals,
            unstarted_in_row: self.unstarted_in_row,
            rule_retries: &self.rule_retries,
            max_attempts: self.max_attempts,
            since: Timestamp(0),
            previous_delay_ms: self.previous_delay_ms,
            end_by: None,
            at_most_once: false,
        }
    }

    /// Ends a run this way and draws u if anything is drawn.
    fn ends(&mut self, ending: &Ending<'_>, u: f64) -> Verdict {
        let verdict = decide(self.policy, &self.spent(), ending, self.now, &mut || u);
        let counter = match verdict.budget {
            Budget::Attempt => &mut self.failures,
            Budget::Crash => &mut self.crashes,
            Budget::Deferral => &mut self.deferrals,
        };
        *counter = counter.saturating_add(1);
        if matches!(ending, Ending::Unstarted) {
            self.unstarted_in_row += 1;
        }
        if let Some(rule) = verdict.counted_rule(self.policy) {
            match self.rule_retries.iter_mut().find(|(id, _)| *id == rule) {
                Some((_, retries)) => *retries += 1,
                None => self.rule_retries.push((rule, 1)),
            }
        }
        if let Next::Retry { delay_ms, .. } = verdict.next {
            self.now = self.now.plus_ms(delay_ms);
            self.previous_delay_ms = Some(delay_ms);
        }
        verdict
    }

    fn fails(&mut self, failure: &Failure, u: f64) -> Verdict {
        self.ends(&failed(failure), u)
    }
}

fn delay_ms(verdict: &Verdict) -> u64 {
    match verdict.next {
        Next::Retry { delay_ms, .. } => delay_ms,
        Next::Dead(_) | Next::Fail | Next::Discard => panic!("no retry: {verdict:?}"),
    }
}

/// The delays of a task that fails this way each time and draws u each time, until it ends or
/// `most` runs are over; and how it ends.
fn life(policy: &Policy, failure: &Failure, u: f64, most: usize) -> (Vec<u64>, Option<Next>) {
    let mut task = Task::new(policy);
    let mut delays = Vec::new();
    for _ in 0..most {
        match task.fails(failure, u).next {
            Next::Retry { delay_ms, .. } => delays.push(delay_ms),
            end @ (Next::Dead(_) | Next::Fail | Next::Discard) => return (delays, Some(end)),
        }
    }
    (delays, None)
}

/// The same for a failure of no special kind, in seconds.
fn seconds(policy: &Policy, u: f64, most: usize) -> (Vec<u64>, Option<Next>) {
    let (delays, end) = life(policy, &failure(FailureClass::Internal), u, most);
    (
        delays.into_iter().map(|delay_ms| delay_ms / 1000).collect(),
        end,
    )
}

/// The delays of `n` retries having been made, over many draws, sorted.
fn drawn(backoff: &Backoff, n: u32, previous_ms: Option<u64>) -> Vec<u64> {
    let policy = Policy {
        backoff: backoff.clone(),
        max_attempts: 0,
        ..Policy::default()
    };
    let mut task = Task::new(&policy);
    task.failures = n;
    task.previous_delay_ms = previous_ms;
    let internal = failure(FailureClass::Internal);
    let mut rng = StdRng::seed_from_u64(u64::from(n) + 7);
    let mut delays: Vec<u64> = (0..DRAWS)
        .map(|_| {
            let spent = task.spent();
            let mut draw = || rng.random::<f64>();
            delay_ms(&decide(
                &policy,
                &spent,
                &failed(&internal),
                task.now,
                &mut draw,
            ))
        })
        .collect();
    delays.sort_unstable();
    delays
}

fn mean(delays: &[u64]) -> f64 {
    delays.iter().map(|delay| *delay as f64).sum::<f64>() / delays.len() as f64
}

/// Asserts that a drawn number is within `share` of `scale` of what it should be, or a millisecond.
fn assert_near(found: f64, expected: f64, share: f64, scale: f64) {
    let slack = 1.0 + share * scale;
    assert!(
        (found - expected).abs() <= slack,
        "{found} is not near {expected}"
    );
}

const EXHAUSTED: Option<Next> = Some(Next::Dead(DeadReason::AttemptsExhausted));
