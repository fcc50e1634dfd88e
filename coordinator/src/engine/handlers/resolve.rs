//! What holds for a task: its own, else its queue's, else the server's.
//!
//! Owns that order. What is resolved here is written into events; `apply` resolves nothing.

use std::sync::Arc;

use crate::engine::effect::TaskView;
use crate::engine::ledger::task::{Task, Timeouts};
use crate::engine::retry::{self, Policy, PolicyRef};
use crate::engine::step::Step;

/// The policy that judges a task.
pub(super) fn policy(step: &Step<'_>, task: &Task) -> Arc<Policy> {
    let queue = step.ledger(task.id.shard()).queue(&task.queue);
    let of_queue = || queue.and_then(|queue| queue.settings.policy.as_ref());
    let policy = task.policy().or_else(of_queue).map(PolicyRef::policy);
    policy
        .unwrap_or_else(|| &step.config().default_policy)
        .clone()
}

/// The limits of a task's next run: its own or its queue's, grown by the timeouts it has hit.
pub(super) fn timeouts(step: &Step<'_>, task: &Task, policy: &Policy) -> Timeouts {
    let queue = step.ledger(task.id.shard()).queue(&task.queue);
    let of_queue = || queue.and_then(|queue| queue.settings.timeouts);
    let timeouts = task.timeouts().or_else(of_queue).unwrap_or_default();
    let grown = |first| retry::grown_timeout_ms(policy, first, task.timeouts_hit);
    Timeouts {
        soft_ms: timeouts.soft_ms.map(grown),
        hard_ms: timeouts.hard_ms.map(grown),
    }
}

/// The attempts that end a task; 0 means unlimited.
pub(super) fn attempts_max(task: &Task, policy: &Policy) -> u32 {
    task.max_attempts().unwrap_or(policy.max_attempts)
}

/// A task as users see it now.
pub(super) fn view(step: &Step<'_>, task: &Task) -> TaskView {
    let policy = policy(step, task);
    TaskView {
        state: task.view(step.now()),
        attempts_max: attempts_max(task, &policy),
        crashes_max: policy.max_crashes,
        deferrals_max: policy.max_deferrals,
        timeouts: timeouts(step, task, &policy),
        policy: policy.name.clone(),
        task: task.clone(),
    }
}
