//! Retry policies, from the wire: every default filled in as `retry_policy.proto` documents it.
//!
//! Owns the defaults and the enum numbers. The bounds are [`Policy::check`]'s, whose field paths
//! are put behind the path of the policy.

use std::sync::Arc;

use prost_types::Duration;
use redrive_proto::v1 as pb;

use super::failure::class;
use super::field::{At, Parsed, duration_ms, name, optional_ms, quoted, variant};
use crate::engine::failure::FailureClass;
use crate::engine::limits;
use crate::engine::retry::policy::{
    Backoff, ExhaustAction, Jitter, Match, Policy, RetryAfterMode, Rule, RuleAction, Shape,
    WorkerDelayMode,
};
use crate::engine::retry::{PolicyRef, presets};

/// The name of a policy that was brought without one.
const INLINE: &str = "inline";
const MAX_ATTEMPTS_DEFAULT: u32 = 6;
const MAX_CRASHES_DEFAULT: u32 = 3;
const MAX_DEFERRALS_DEFAULT: u32 = 1000;
const INITIAL_MS_DEFAULT: u64 = 1000;
const BACKOFF_MS_MAX_DEFAULT: u64 = 600_000;
const CRASH_BACKOFF_MS_MAX_DEFAULT: u64 = 60_000;
const MULTIPLIER_DEFAULT: f64 = 2.0;
const TIMEOUT_GROWTH_DEFAULT: f64 = 1.0;
const TIMEOUT_GROWTH_MAX_DEFAULT: f64 = 4.0;

/// The named policy.
pub(crate) fn named(name: &str, at: At<'_>) -> Parsed<PolicyRef> {
    match presets::named(name) {
        Some(policy) => Ok(PolicyRef::Named(policy)),
        None => Err(at.refuse(format_args!(
            "is {}, which is no named policy; there are {}",
            quoted(name),
            known()
        ))),
    }
}

/// The names of the named policies, for people.
pub(crate) fn known() -> String {
    let all = presets::all();
    let names: Vec<&str> = all.iter().map(|policy| &*policy.name).collect();
    names.join(", ")
}

/// A policy of one's own.
pub(crate) fn inline(value: pb::RetryPolicy, at: At<'_>) -> Parsed<PolicyRef> {
    policy(value, at).map(|policy| PolicyRef::Inline(Arc::new(policy)))
}

/// A policy, checked.
pub(crate) fn policy(value: pb::RetryPolicy, at: At<'_>) -> Parsed<Policy> {
    let at_rules = at.field("rules");
    let rules = value.rules.into_iter().enumerate();
    let policy = Policy {
        name: if value.name.is_empty() {
            INLINE.into()
        } else {
            value.name.into()
        },
        description: value.description.into(),
        max_attempts: value.max_attempts.unwrap_or(MAX_ATTEMPTS_DEFAULT),
        backoff: match value.backoff {
            Some(given) => backoff(given, at.field("backoff"))?,
            None => doubling(BACKOFF_MS_MAX_DEFAULT),
        },
        rules: rules
            .map(|(index, given)| rule(given, at_rules.index(index)))
            .collect::<Parsed<_>>()?,
        max_retry_duration_ms: optional_ms(
            value.max_retry_duration.as_ref(),
            u64::MAX,
            at.field("max_retry_duration"),
        )?,
        max_crashes: value.max_crashes.unwrap_or(MAX_CRASHES_DEFAULT),
        crash_backoff: match value.crash_backoff {
            Some(given) => backoff(given, at.field("crash_backoff"))?,
            None => doubling(CRASH_BACKOFF_MS_MAX_DEFAULT),
        },
        max_deferrals: value.max_deferrals.unwrap_or(MAX_DEFERRALS_DEFAULT),
        on_exhausted: exhaust_action(value.on_exhausted, at.field("on_exhausted"))?,
        retry_after_mode: retry_after_mode(value.retry_after_mode, at.field("retry_after_mode"))?
            .unwrap_or(RetryAfterMode::Floor),
        worker_delay_mode: worker_delay_mode(
            value.worker_delay_mode,
            at.field("worker_delay_mode"),
        )?,
        timeout_growth: or_default(value.timeout_growth, TIMEOUT_GROWTH_DEFAULT),
        timeout_growth_max: or_default(value.timeout_growth_max, TIMEOUT_GROWTH_MAX_DEFAULT),
    };
    policy
        .check()
        .map_err(|error| at.path(&error.field).refuse(error.problem))?;
    Ok(policy)
}

/// From 1 s, doubling, full jitter.
fn doubling(max_ms: u64) -> Backoff {
    Backoff {
        shape: Shape::Exponential {
            initial_ms: INITIAL_MS_DEFAULT,
            multiplier: MULTIPLIER_DEFAULT,
            doublings_max: 0,
            base_ms: 0,
        },
        min_ms: 0,
        max_ms,
        jitter: Jitter::Full,
        granularity_ms: 1,
    }
}

fn backoff(value: pb::Backoff, at: At<'_>) -> Parsed<Backoff> {
    let ms = |value: Option<&Duration>, default: u64, name: &'static str| -> Parsed<u64> {
        Ok(optional_ms(value, limits::DELAY_MS_MAX, at.field(name))?.unwrap_or(default))
    };
    let Some(given) = value.shape else {
        return Err(at.refuse(
            "has no shape: set exponential, fixed, linear, polynomial, delays or decorrelated",
        ));
    };
    let shape = shape(given, at)?;
    Ok(Backoff {
        jitter: match value.jitter {
            Some(given) => jitter(given, at.field("jitter"))?,
            None => jitter_beside(&shape),
        },
        min_ms: ms(value.min.as_ref(), 0, "min")?,
        max_ms: ms(value.max.as_ref(), limits::DELAY_MS_MAX, "max")?,
        granularity_ms: ms(value.granularity.as_ref(), 1, "granularity")?,
        shape,
    })
}

/// The jitter of a backoff that names none: decorrelated delays are jittered in themselves.
const fn jitter_beside(shape: &Shape) -> Jitter {
    match shape {
        Shape::Decorrelated { .. } => Jitter::None,
        Shape::Exponential { .. }
        | Shape::Fixed { .. }
        | Shape::Linear { .. }
        | Shape::Polynomial { .. }
        | Shape::Delays(_) => Jitter::Full,
    }
}

fn shape(value: pb::backoff::Shape, at: At<'_>) -> Parsed<Shape> {
    use pb::backoff::Shape as Wire;
    Ok(match value {
        Wire::Exponential(given) => {
            let at = at.field("exponential");
            Shape::Exponential {
                initial_ms: delay(given.initial.as_ref(), at, "initial")?,
                multiplier: or_default(given.multiplier, MULTIPLIER_DEFAULT),
                doublings_max: given.doublings_max,
                base_ms: delay(given.base.as_ref(), at, "base")?,
            }
        }
        Wire::Fixed(given) => Shape::Fixed {
            delay_ms: delay(given.delay.as_ref(), at.field("fixed"), "delay")?,
        },
        Wire::Linear(given) => {
            let at = at.field("linear");
            Shape::Linear {
                initial_ms: delay(given.initial.as_ref(), at, "initial")?,
                step_ms: delay(given.step.as_ref(), at, "step")?,
            }
        }
        Wire::Polynomial(given) => {
            let at = at.field("polynomial");
            Shape::Polynomial {
                base_ms: delay(given.base.as_ref(), at, "base")?,
                scale_ms: delay(given.scale.as_ref(), at, "scale")?,
                degree: given.degree,
                offset: given.offset,
            }
        }
        Wire::Delays(given) => {
            let at = at.field("delays");
            let at = at.field("delays");
            let delays = given.delays.iter().enumerate();
            Shape::Delays(
                delays
                    .map(|(index, one)| duration_ms(one, limits::DELAY_MS_MAX, at.index(index)))
                    .collect::<Parsed<_>>()?,
            )
        }
        Wire::Decorrelated(given) => Shape::Decorrelated {
            base_ms: delay(given.base.as_ref(), at.field("decorrelated"), "base")?,
        },
    })
}

/// A delay of a shape; unset means 0, and where 0 is not allowed the check says so.
fn delay(value: Option<&Duration>, at: At<'_>, name: &'static str) -> Parsed<u64> {
    Ok(optional_ms(value, limits::DELAY_MS_MAX, at.field(name))?.unwrap_or(0))
}

fn jitter(value: pb::Jitter, at: At<'_>) -> Parsed<Jitter> {
    let ratio = value.ratio;
    Ok(match variant(value.mode, at.field("mode"))? {
        pb::JitterMode::Unspecified | pb::JitterMode::Full => Jitter::Full,
        pb::JitterMode::None => Jitter::None,
        pb::JitterMode::Equal => Jitter::Equal,
        pb::JitterMode::Additive => Jitter::Additive { ratio },
        pb::JitterMode::Symmetric => Jitter::Symmetric { ratio },
        pb::JitterMode::Below => Jitter::Below { ratio },
        pb::JitterMode::PerAttempt => Jitter::PerAttempt {
            per_attempt_ms: delay(value.per_attempt.as_ref(), at, "per_attempt")?,
        },
    })
}

fn rule(value: pb::RetryRule, at: At<'_>) -> Parsed<Rule> {
    let matches = value.r#match.unwrap_or_default();
    Ok(Rule {
        id: value.id.into(),
        matches: failures(matches, at.field("match"))?,
        action: match variant(value.action, at.field("action"))? {
            pb::RuleAction::Unspecified | pb::RuleAction::Retry => RuleAction::Retry,
            pb::RuleAction::Fail => RuleAction::Fail,
            pb::RuleAction::DeadLetter => RuleAction::DeadLetter,
            pb::RuleAction::Discard => RuleAction::Discard,
        },
        backoff: value
            .backoff
            .map(|given| backoff(given, at.field("backoff")))
            .transpose()?,
        dead_letter_queue: (!value.dead_letter_queue.is_empty())
            .then(|| name(&value.dead_letter_queue, at.field("dead_letter_queue")))
            .transpose()?,
        max_attempts: value.max_attempts,
        spares_attempts: value.spares_attempts,
        retry_after_mode: retry_after_mode(value.retry_after_mode, at.field("retry_after_mode"))?,
    })
}

fn failures(value: pb::FailureMatch, at: At<'_>) -> Parsed<Match> {
    let at_classes = at.field("classes");
    let classes = value.classes.iter().enumerate().map(|(index, number)| {
        let at = at_classes.index(index);
        let given = variant(*number, at)?;
        if given == pb::FailureClass::Unspecified {
            return Err(at.refuse("names no class: leave it out"));
        }
        Ok(class(given))
    });
    let patterns = |list: Vec<String>| list.into_iter().map(Arc::from).collect();
    Ok(Match {
        classes: classes.collect::<Parsed<Vec<FailureClass>>>()?,
        codes: value.codes,
        error_types: patterns(value.error_types),
        exclude_error_types: patterns(value.exclude_error_types),
        attempt_min: value.attempt_min,
        attempt_max: value.attempt_max,
    })
}

fn exhaust_action(number: i32, at: At<'_>) -> Parsed<ExhaustAction> {
    Ok(match variant(number, at)? {
        pb::ExhaustAction::Unspecified | pb::ExhaustAction::DeadLetter => ExhaustAction::DeadLetter,
        pb::ExhaustAction::Fail => ExhaustAction::Fail,
        pb::ExhaustAction::Discard => ExhaustAction::Discard,
    })
}

/// What a retry_after does; unset is `None`.
fn retry_after_mode(number: i32, at: At<'_>) -> Parsed<Option<RetryAfterMode>> {
    Ok(match variant(number, at)? {
        pb::RetryAfterMode::Unspecified => None,
        pb::RetryAfterMode::Floor => Some(RetryAfterMode::Floor),
        pb::RetryAfterMode::Exact => Some(RetryAfterMode::Exact),
        pb::RetryAfterMode::Ignore => Some(RetryAfterMode::Ignore),
        pb::RetryAfterMode::Instead => Some(RetryAfterMode::Instead),
    })
}

fn worker_delay_mode(number: i32, at: At<'_>) -> Parsed<WorkerDelayMode> {
    Ok(match variant(number, at)? {
        pb::WorkerDelayMode::Unspecified | pb::WorkerDelayMode::Exact => WorkerDelayMode::Exact,
        pb::WorkerDelayMode::Clamp => WorkerDelayMode::Clamp,
    })
}

/// The number, or the default where it is 0, which is how the wire says unset.
fn or_default(value: f64, default: f64) -> f64 {
    if value == 0.0 { default } else { value }
}

#[cfg(test)]
mod tests;
