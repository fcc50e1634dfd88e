//! The layout of a retry policy.
//!
//! Owns its order of fields and its numbers, which are the journal's format and never change. A
//! policy is preceded by its length, so that one that was read lately is recognised by its bytes
//! and shared: a million tasks with the same policy hold it once.

use std::sync::Arc;

use super::shape::{Item, Wire, shape, variants};
use super::wire::{DecodeError, Problem, Reader, Writer};
use crate::engine::failure::FailureClass;
use crate::engine::retry::policy::{
    Backoff, ExhaustAction, Jitter, Match, RetryAfterMode, Rule, RuleAction, Shape, WorkerDelayMode,
};
use crate::engine::retry::{Policy, PolicyRef};

variants!(PolicyRef {
    1 = Named(policy),
    2 = Inline(policy),
});

shape!(Policy {
    name, description, max_attempts, backoff, rules, max_crashes, crash_backoff, max_deferrals,
    on_exhausted, retry_after_mode, worker_delay_mode, timeout_growth, timeout_growth_max;
    max_retry_duration_ms
});

shape!(Backoff {
    shape,
    min_ms,
    max_ms,
    jitter,
    granularity_ms
});

variants!(Shape {
    1 = Exponential { initial_ms, multiplier, doublings_max, base_ms },
    2 = Fixed { delay_ms },
    3 = Linear { initial_ms, step_ms },
    4 = Polynomial { base_ms, scale_ms, degree, offset },
    5 = Delays(delays),
    6 = Decorrelated { base_ms },
});

variants!(Jitter {
    1 = None,
    2 = Full,
    3 = Equal,
    4 = Additive { ratio },
    5 = Symmetric { ratio },
    6 = PerAttempt { per_attempt_ms },
    7 = Below { ratio },
});

shape!(Rule {
    id, matches, action;
    backoff, max_attempts, spares_attempts, retry_after_mode, dead_letter_queue
});

shape!(Match {
    classes,
    codes,
    error_types,
    exclude_error_types,
    attempt_min,
    attempt_max
});

variants!(RuleAction {
    1 = Retry,
    2 = Fail,
    3 = DeadLetter,
    4 = Discard,
});

variants!(ExhaustAction {
    1 = DeadLetter,
    2 = Fail,
    3 = Discard,
});

variants!(RetryAfterMode {
    1 = Floor,
    2 = Exact,
    3 = Ignore,
    4 = Instead,
});

variants!(WorkerDelayMode {
    1 = Exact,
    2 = Clamp,
});

impl Item for Rule {
    const BYTES_MIN: usize = 9;
}

impl Item for FailureClass {
    const BYTES_MIN: usize = 1;
}

/// Its length in 4 bytes, big-endian, then the policy.
impl Wire for Arc<Policy> {
    fn put(&self, w: &mut Writer<'_>) {
        let begin = w.out.len();
        w.out.extend_from_slice(&[0; 4]);
        Policy::put(self, w);
        let length = u32::try_from(w.out.len() - begin - 4);
        let length = length.expect("policies are bounded far below 4 GiB");
        w.out[begin..begin + 4].copy_from_slice(&length.to_be_bytes());
    }

    fn get(r: &mut Reader<'_, '_>, field: &'static str) -> Result<Self, DecodeError> {
        let before = r.cursor.clone();
        let length = u32::from_be_bytes(r.cursor.array(field)?);
        let length = usize::try_from(length).ok();
        let length = length.ok_or_else(|| before.error(field, Problem::CutShort))?;
        let part = r.cursor.split(length, field)?;
        let encoded = part.rest();
        if let Some(known) = r.cache.policy(encoded) {
            return Ok(known);
        }
        let mut reader = Reader::new(part, r.cache);
        let policy = Self::new(Policy::get(&mut reader, field)?);
        reader.cursor.end("Policy")?;
        r.cache.keep_policy(encoded, &policy);
        Ok(policy)
    }
}
