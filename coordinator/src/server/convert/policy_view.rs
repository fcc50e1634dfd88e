//! Retry policies, to the wire: every field said, so that what is shown can be sent back unchanged.
//! Never fills in a default of its own.

use redrive_proto::v1 as pb;

use super::failure::class_view;
use super::field::duration;
use crate::engine::retry::policy::{
    Backoff, ExhaustAction, Jitter, Match, Policy, RetryAfterMode, Rule, RuleAction, Shape,
    WorkerDelayMode,
};

/// A policy as the wire has it.
pub(crate) fn policy_view(policy: &Policy) -> pb::RetryPolicy {
    pb::RetryPolicy {
        name: policy.name.to_string(),
        description: policy.description.to_string(),
        max_attempts: Some(policy.max_attempts),
        backoff: Some(backoff(&policy.backoff)),
        rules: policy.rules.iter().map(rule).collect(),
        max_retry_duration: policy.max_retry_duration_ms.map(duration),
        max_crashes: Some(policy.max_crashes),
        crash_backoff: Some(backoff(&policy.crash_backoff)),
        max_deferrals: Some(policy.max_deferrals),
        on_exhausted: match policy.on_exhausted {
            ExhaustAction::DeadLetter => pb::ExhaustAction::DeadLetter,
            ExhaustAction::Fail => pb::ExhaustAction::Fail,
            ExhaustAction::Discard => pb::ExhaustAction::Discard,
        }
        .into(),
        retry_after_mode: retry_after_mode(Some(policy.retry_after_mode)).into(),
        worker_delay_mode: match policy.worker_delay_mode {
            WorkerDelayMode::Exact => pb::WorkerDelayMode::Exact,
            WorkerDelayMode::Clamp => pb::WorkerDelayMode::Clamp,
        }
        .into(),
        timeout_growth: policy.timeout_growth,
        timeout_growth_max: policy.timeout_growth_max,
    }
}

fn backoff(backoff: &Backoff) -> pb::Backoff {
    pb::Backoff {
        shape: Some(shape(&backoff.shape)),
        min: Some(duration(backoff.min_ms)),
        max: Some(duration(backoff.max_ms)),
        jitter: Some(jitter(backoff.jitter)),
        granularity: Some(duration(backoff.granularity_ms)),
    }
}

fn shape(shape: &Shape) -> pb::backoff::Shape {
    use pb::backoff::Shape as Wire;
    match shape {
        Shape::Exponential {
            initial_ms,
            multiplier,
            doublings_max,
            base_ms,
        } => Wire::Exponential(pb::Exponential {
            initial: Some(duration(*initial_ms)),
            multiplier: *multiplier,
            doublings_max: *doublings_max,
            base: Some(duration(*base_ms)),
        }),
        Shape::Fixed { delay_ms } => Wire::Fixed(pb::Fixed {
            delay: Some(duration(*delay_ms)),
        }),
        Shape::Linear {
            initial_ms,
            step_ms,
        } => Wire::Linear(pb::Linear {
            initial: Some(duration(*initial_ms)),
            step: Some(duration(*step_ms)),
        }),
        Shape::Polynomial {
            base_ms,
            scale_ms,
            degree,
            offset,
        } => Wire::Polynomial(pb::Polynomial {
            base: Some(duration(*base_ms)),
            scale: Some(duration(*scale_ms)),
            degree: *degree,
            offset: *offset,
        }),
        Shape::Delays(delays) => Wire::Delays(pb::ExplicitDelays {
            delays: delays.iter().map(|ms| duration(*ms)).collect(),
        }),
        Shape::Decorrelated { base_ms } => Wire::Decorrelated(pb::Decorrelated {
            base: Some(duration(*base_ms)),
        }),
    }
}

fn jitter(jitter: Jitter) -> pb::Jitter {
    let say = |mode: pb::JitterMode, ratio, per_attempt_ms: Option<u64>| pb::Jitter {
        mode: mode.into(),
        ratio,
        per_attempt: per_attempt_ms.map(duration),
    };
    match jitter {
        Jitter::None => say(pb::JitterMode::None, 0.0, None),
        Jitter::Full => say(pb::JitterMode::Full, 0.0, None),
        Jitter::Equal => say(pb::JitterMode::Equal, 0.0, None),
        Jitter::Additive { ratio } => say(pb::JitterMode::Additive, ratio, None),
        Jitter::Symmetric { ratio } => say(pb::JitterMode::Symmetric, ratio, None),
        Jitter::Below { ratio } => say(pb::JitterMode::Below, ratio, None),
        Jitter::PerAttempt { per_attempt_ms } => {
            say(pb::JitterMode::PerAttempt, 0.0, Some(per_attempt_ms))
        }
    }
}

fn rule(rule: &Rule) -> pb::RetryRule {
    pb::RetryRule {
        id: rule.id.to_string(),
        r#match: Some(failures(&rule.matches)),
        action: match rule.action {
            RuleAction::Retry => pb::RuleAction::Retry,
            RuleAction::Fail => pb::RuleAction::Fail,
            RuleAction::DeadLetter => pb::RuleAction::DeadLetter,
            RuleAction::Discard => pb::RuleAction::Discard,
        }
        .into(),
        backoff: rule.backoff.as_ref().map(backoff),
        max_attempts: rule.max_attempts,
        spares_attempts: rule.spares_attempts,
        retry_after_mode: retry_after_mode(rule.retry_after_mode).into(),
        dead_letter_queue: rule
            .dead_letter_queue
            .as_deref()
            .unwrap_or_default()
            .to_owned(),
    }
}

fn retry_after_mode(mode: Option<RetryAfterMode>) -> pb::RetryAfterMode {
    match mode {
        None => pb::RetryAfterMode::Unspecified,
        Some(RetryAfterMode::Floor) => pb::RetryAfterMode::Floor,
        Some(RetryAfterMode::Exact) => pb::RetryAfterMode::Exact,
        Some(RetryAfterMode::Ignore) => pb::RetryAfterMode::Ignore,
        Some(RetryAfterMode::Instead) => pb::RetryAfterMode::Instead,
    }
}

fn failures(matches: &Match) -> pb::FailureMatch {
    let patterns = |list: &[std::sync::Arc<str>]| list.iter().map(ToString::to_string).collect();
    pb::FailureMatch {
        classes: matches
            .classes
            .iter()
            .map(|class| class_view(*class).into())
            .collect(),
        codes: matches.codes.clone(),
        error_types: patterns(&matches.error_types),
        exclude_error_types: patterns(&matches.exclude_error_types),
        attempt_min: matches.attempt_min,
        attempt_max: matches.attempt_max,
    }
}
