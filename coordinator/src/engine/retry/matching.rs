//! Which rule speaks of a failure.
//!
//! Owns what a [`Match`] means. Never says what follows: that is `decide`. Invariant: exclusions
//! win, and of several rules that match the first decides.

use std::sync::Arc;

use super::policy::{Match, Policy, Rule};
use crate::engine::failure::Failure;

/// The first rule of the policy that speaks of this failure of this attempt (1 is the first).
pub(super) fn first_rule<'a>(
    policy: &'a Policy,
    failure: &Failure,
    attempt: u32,
) -> Option<&'a Rule> {
    policy
        .rules
        .iter()
        .find(|rule| fits(&rule.matches, failure, attempt))
}

fn fits(matches: &Match, failure: &Failure, attempt: u32) -> bool {
    let class = matches.classes.is_empty() || matches.classes.contains(&failure.class);
    let code = matches.codes.is_empty() || matches.codes.contains(&failure.code);
    let from = attempt >= matches.attempt_min;
    let to = matches.attempt_max == 0 || attempt <= matches.attempt_max;
    let named = matches.error_types.is_empty() || any_type(&matches.error_types, failure);
    class && code && from && to && named && !any_type(&matches.exclude_error_types, failure)
}

/// Whether one of the patterns is for the failure's type or one of its ancestors.
fn any_type(patterns: &[Arc<str>], failure: &Failure) -> bool {
    patterns.iter().any(|pattern| {
        is_like(pattern, &failure.error_type)
            || failure
                .ancestors
                .iter()
                .any(|ancestor| is_like(pattern, ancestor))
    })
}

/// Only a '*' at the end stands for any rest; elsewhere it is itself, as in Go's `*net.OpError`.
fn is_like(pattern: &str, error_type: &str) -> bool {
    pattern.strip_suffix('*').map_or_else(
        || pattern == error_type,
        |prefix| error_type.starts_with(prefix),
    )
}
