//! Queues: configure, pause, resume.
//!
//! Owns what operators change of a queue. Pause stops grants only: timers, enqueues and running
//! leases go on (rule 16).

use std::sync::Arc;

use crate::engine::command::QueueChange;
use crate::engine::effect::Answer;
use crate::engine::event::Event;
use crate::engine::ids::QueueName;
use crate::engine::ledger::queue::{Pause, Queue};
use crate::engine::rejection::Rejection;
use crate::engine::step::Step;

use super::enqueue::ensure_queue;
use super::query;

/// Changes a queue's settings, making it where it is new.
pub(super) fn configure(
    step: &mut Step<'_>,
    queue: &QueueName,
    change: QueueChange,
) -> Result<Answer, Rejection> {
    if let Some(Some(target)) = &change.dead_letter_queue
        && target == queue
    {
        return Err(Rejection::Invalid {
            field: "settings.dead_letter_queue".to_owned(),
            problem: format!(
                "is the queue itself ({}); name another queue, or leave it empty to keep dead \
                 letters here",
                queue.queue()
            ),
        });
    }
    let shard = step.shard_of(queue);
    ensure_queue(step, shard, queue)?;
    let known = step.ledger(shard).queue(queue).expect("made above");
    let mut settings = known.settings.clone();
    let revision = known.revision + 1;
    if let Some(policy) = change.policy {
        settings.policy = policy;
    }
    if let Some(timeouts) = change.timeouts {
        settings.timeouts = timeouts;
    }
    if let Some(target) = change.dead_letter_queue {
        settings.dead_letter_queue = target;
    }
    if let Some(terms) = change.terms {
        settings.terms = terms.filter(|terms| !terms.is_empty());
    }
    if let Some(aging_ms) = change.aging_ms {
        settings.aging_ms = aging_ms;
    }
    if let Some(finished_max) = change.finished_max {
        settings.finished_max = finished_max;
        step.crowd(queue);
    }
    let queue_name = queue.clone();
    step.record(
        shard,
        Event::QueueConfigured {
            queue: queue_name,
            settings,
            revision,
        },
    );
    query::get_queue(step, queue)
}

/// Stops grants from a queue.
pub(super) fn pause(
    step: &mut Step<'_>,
    queue: &QueueName,
    reason: &str,
    by: &Arc<str>,
) -> Result<Answer, Rejection> {
    let shard = step.shard_of(queue);
    ensure_queue(step, shard, queue)?;
    let known: &Queue = step.ledger(shard).queue(queue).expect("made above");
    let at = known
        .paused
        .as_ref()
        .map_or_else(|| step.now(), |pause| pause.at);
    let pause = Pause {
        at,
        reason: reason.into(),
    };
    if known.paused.as_ref() != Some(&pause) || known.paused_by != *by {
        step.record(
            shard,
            Event::QueuePaused {
                queue: queue.clone(),
                pause,
                by: by.clone(),
            },
        );
    }
    query::get_queue(step, queue)
}

/// Grants from a queue again.
pub(super) fn resume(step: &mut Step<'_>, queue: &QueueName) -> Result<Answer, Rejection> {
    let shard = step.shard_of(queue);
    let known = step.ledger(shard).queue(queue);
    let known = known.ok_or_else(|| Rejection::QueueNotFound(queue.clone()))?;
    if known.paused.is_some() {
        step.record(
            shard,
            Event::QueueResumed {
                queue: queue.clone(),
            },
        );
        step.touch_queue(queue);
    }
    query::get_queue(step, queue)
}
