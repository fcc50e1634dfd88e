//! How long the next run may take after a run that took too long.
//!
//! Owns the growth of timeouts. Never decides whether there is a next run.

use super::backoff::{nearest, power};
use super::policy::Policy;
use crate::engine::limits;

/// The timeout of a run, in milliseconds, after `timeouts` runs of the task ended with TIMEOUT:
/// `first_ms` times the policy's growth for each of them, at most `timeout_growth_max` times
/// `first_ms`, and at most [`limits::TIMEOUT_MS_MAX`]. It never shrinks: growth below 1 (which
/// [`Policy::check`] refuses) counts as none.
#[must_use]
pub fn grown_timeout_ms(policy: &Policy, first_ms: u64, timeouts: u32) -> u64 {
    let most = at_least_one(policy.timeout_growth_max);
    let growth = power(at_least_one(policy.timeout_growth), timeouts).min(most);
    nearest(first_ms as f64 * growth)
        .max(first_ms)
        .min(limits::TIMEOUT_MS_MAX)
}

/// The factor, or 1 where it is less or no number.
fn at_least_one(factor: f64) -> f64 {
    factor.max(1.0)
}
