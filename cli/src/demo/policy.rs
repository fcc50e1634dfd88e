//! The retry policy of the demo: a preset with every duration divided by one factor, and the
//! windows that it allows.
//!
//! Owns the division and the lookup. Never computes a window itself: they come from the
//! coordinator's preview, which uses the same code as its judge.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use prost_types::Duration as Span;
use redrive_proto::v1::{self, FailureClass, backoff::Shape};

/// What divides the preset's durations unless the caller says otherwise: a minute becomes 0.6 s.
pub(super) const SCALE_DEFAULT: u32 = 100;

/// The preset that is scaled.
pub(super) const PRESET: &str = "recommended";

/// The policy with every duration divided by `factor`, cut to whole milliseconds and at least 1 ms
/// where it was not zero. Counts, ratios and rules stay.
pub(super) fn scale(policy: &v1::RetryPolicy, factor: u32) -> v1::RetryPolicy {
    let mut scaled = policy.clone();
    scaled.name = format!("{} / {factor}", policy.name);
    let rules = scaled
        .rules
        .iter_mut()
        .filter_map(|rule| rule.backoff.as_mut());
    let backoffs = rules
        .chain(&mut scaled.backoff)
        .chain(&mut scaled.crash_backoff);
    for span in backoffs
        .flat_map(spans)
        .chain(&mut scaled.max_retry_duration)
    {
        *span = divide(span, factor);
    }
    scaled
}

/// Every duration of a backoff.
fn spans(backoff: &mut v1::Backoff) -> Vec<&mut Span> {
    let shape = match &mut backoff.shape {
        None => Vec::new(),
        Some(Shape::Exponential(shape)) => vec![shape.initial.as_mut(), shape.base.as_mut()],
        Some(Shape::Fixed(shape)) => vec![shape.delay.as_mut()],
        Some(Shape::Linear(shape)) => vec![shape.initial.as_mut(), shape.step.as_mut()],
        Some(Shape::Polynomial(shape)) => vec![shape.base.as_mut(), shape.scale.as_mut()],
        Some(Shape::Delays(shape)) => shape.delays.iter_mut().map(Some).collect(),
        Some(Shape::Decorrelated(shape)) => vec![shape.base.as_mut()],
    };
    let jitter = backoff
        .jitter
        .as_mut()
        .and_then(|jitter| jitter.per_attempt.as_mut());
    let bounds = [
        backoff.min.as_mut(),
        backoff.max.as_mut(),
        backoff.granularity.as_mut(),
        jitter,
    ];
    shape.into_iter().chain(bounds).flatten().collect()
}

fn divide(span: &Span, factor: u32) -> Span {
    let whole = duration(span);
    let millis = whole
        .as_millis()
        .checked_div(u128::from(factor))
        .unwrap_or(0);
    let millis = if whole.is_zero() { 0 } else { millis.max(1) };
    let scaled = Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX));
    Span::try_from(scaled).unwrap_or(*span)
}

/// A duration of the protocol; a negative one, which it never sends, is zero.
pub(super) fn duration(span: &Span) -> Duration {
    Duration::try_from(*span).unwrap_or(Duration::ZERO)
}

/// The delays that may be drawn, both ends included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Window {
    /// The rule that decides; empty for the policy's own backoff.
    pub(super) rule: String,
    /// The shortest.
    pub(super) min: Duration,
    /// The longest.
    pub(super) max: Duration,
}

/// What comes before the wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Cause {
    /// A failure of this class, and what the other side asked for.
    Failure(FailureClass, Option<Duration>),
    /// The worker was lost while it ran the task.
    Crash,
}

/// The windows of a policy, cause by cause, retry by retry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Windows {
    by_cause: BTreeMap<Cause, Vec<Window>>,
    /// Rules that count their own retries.
    counting_rules: BTreeSet<String>,
}

impl Windows {
    /// No windows yet, of this policy.
    pub(super) fn of(policy: &v1::RetryPolicy) -> Self {
        let counting = policy.rules.iter().filter(|rule| rule.max_attempts != 0);
        Self {
            by_cause: BTreeMap::new(),
            counting_rules: counting.map(|rule| rule.id.clone()).collect(),
        }
    }

    /// Takes over what the coordinator's preview says of a cause: steps without a delay end it.
    pub(super) fn learn(&mut self, cause: Cause, steps: &[v1::PreviewStep]) {
        let windows = steps
            .iter()
            .filter(|step| step.base.is_some())
            .map(|step| Window {
                rule: step.rule.clone(),
                min: step.min.as_ref().map(duration).unwrap_or_default(),
                max: step.max.as_ref().map(duration).unwrap_or_default(),
            });
        self.by_cause.insert(cause, windows.collect());
    }

    /// The window of the retry number `n` (0 for the first) after this cause; `None` where the
    /// policy retries no more.
    pub(super) fn find(&self, cause: Cause, n: u32) -> Option<&Window> {
        self.by_cause.get(&cause)?.get(usize::try_from(n).ok()?)
    }

    /// True where the rule's own retries count, not the task's failures.
    pub(super) fn counts_for_itself(&self, rule: &str) -> bool {
        self.counting_rules.contains(rule)
    }
}

/// What to ask the preview for: the policy itself for failures; for crashes a policy that has
/// nothing but the crash backoff, since the preview speaks of failures only.
pub(super) fn question(policy: &v1::RetryPolicy, cause: Cause) -> v1::PreviewRetryPolicyRequest {
    let (policy, class, retry_after) = match cause {
        Cause::Failure(class, retry_after) => (policy.clone(), class, retry_after),
        Cause::Crash => {
            let crashes = v1::RetryPolicy {
                backoff: policy.crash_backoff.clone(),
                max_attempts: policy.max_crashes,
                rules: Vec::new(),
                max_retry_duration: None,
                ..policy.clone()
            };
            (crashes, FailureClass::Internal, None)
        }
    };
    v1::PreviewRetryPolicyRequest {
        policy: Some(v1::preview_retry_policy_request::Policy::Inline(policy)),
        failure: Some(v1::Failure {
            failure_class: class.into(),
            ..v1::Failure::default()
        }),
        retry_after: retry_after.and_then(|after| Span::try_from(after).ok()),
        attempts_max: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(millis: u64) -> Option<Span> {
        Span::try_from(Duration::from_millis(millis)).ok()
    }

    fn policy() -> v1::RetryPolicy {
        let shape = Shape::Exponential(v1::Exponential {
            initial: span(1_000),
            ..Default::default()
        });
        let backoff = |shape| v1::Backoff {
            shape: Some(shape),
            max: span(600_000),
            ..Default::default()
        };
        let fixed = Shape::Fixed(v1::Fixed { delay: span(50) });
        v1::RetryPolicy {
            name: "p".to_owned(),
            backoff: Some(backoff(shape)),
            rules: vec![v1::RetryRule {
                id: "r".to_owned(),
                backoff: Some(backoff(fixed)),
                max_attempts: 4,
                ..Default::default()
            }],
            max_retry_duration: span(0),
            max_crashes: Some(3),
            crash_backoff: Some(backoff(Shape::Delays(v1::ExplicitDelays {
                delays: vec![span(200).unwrap(), span(0).unwrap()],
            }))),
            ..Default::default()
        }
    }

    #[test]
    fn every_duration_is_divided_and_nothing_but_zero_becomes_zero() {
        let scaled = scale(&policy(), 100);
        let backoff = scaled.backoff.unwrap();
        assert_eq!(backoff.max, span(6_000));
        let Some(Shape::Exponential(shape)) = backoff.shape else {
            panic!("{backoff:?}")
        };
        assert_eq!(shape.initial, span(10));
        let rule = scaled.rules[0].backoff.clone().unwrap();
        assert_eq!(rule.shape, Some(Shape::Fixed(v1::Fixed { delay: span(1) })));
        let Some(Shape::Delays(delays)) = scaled.crash_backoff.unwrap().shape else {
            panic!("another shape")
        };
        assert_eq!(delays.delays, [span(2).unwrap(), span(0).unwrap()]);
        assert_eq!(scaled.max_retry_duration, span(0));
        assert_eq!(scaled.rules[0].max_attempts, 4);
    }

    #[test]
    fn a_window_is_found_by_cause_and_retry_and_ends_where_the_policy_gives_up() {
        let mut windows = Windows::of(&policy());
        let cause = Cause::Failure(FailureClass::Conflict, None);
        let step = |max, base| v1::PreviewStep {
            rule: "r".to_owned(),
            base,
            min: span(10),
            max: span(max),
            ..Default::default()
        };
        windows.learn(
            cause,
            &[step(20, span(20)), step(40, span(40)), step(0, None)],
        );
        assert_eq!(
            windows.find(cause, 1).unwrap().max,
            Duration::from_millis(40)
        );
        assert_eq!(windows.find(cause, 2), None);
        assert_eq!(windows.find(Cause::Crash, 0), None);
        assert!(windows.counts_for_itself("r") && !windows.counts_for_itself("other"));
    }

    #[test]
    fn crashes_are_asked_about_by_their_own_backoff_and_limit() {
        let question = question(&policy(), Cause::Crash);
        let Some(v1::preview_retry_policy_request::Policy::Inline(inline)) = question.policy else {
            panic!("not inline")
        };
        assert_eq!(
            (inline.backoff, inline.max_attempts),
            (policy().crash_backoff, Some(3))
        );
        assert_eq!(inline.rules, []);
    }
}
