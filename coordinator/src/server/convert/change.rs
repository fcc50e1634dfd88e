//! What is done with a task that lives: cancels and changes.

use redrive_proto::v1 as pb;

use super::field::{At, Parsed, optional_ms, optional_payload, reason, timeouts, variant};
use super::task::{priority, start_after, start_at};
use crate::engine::command::{Cancel, CancelMode, TaskChange};
use crate::engine::ledger::task::Priority;
use crate::engine::limits;

/// How a task is cancelled: of a call for one or for many.
pub(crate) fn cancel(
    mode: i32,
    grace: Option<&prost_types::Duration>,
    why: &str,
) -> Parsed<Cancel> {
    let root = At::Root;
    let at_grace = root.field("grace");
    let grace_ms = optional_ms(grace, limits::CANCEL_GRACE_MS_MAX, at_grace)?;
    let mode = match variant(mode, root.field("mode"))? {
        pb::CancelMode::Unspecified | pb::CancelMode::Cooperative => {
            CancelMode::Cooperative { grace_ms }
        }
        pb::CancelMode::IfWaiting => CancelMode::IfWaiting,
        pb::CancelMode::Force => CancelMode::Force,
    };
    let takes_grace = matches!(mode, CancelMode::Cooperative { .. });
    if grace_ms.is_some() && !takes_grace {
        return Err(at_grace.refuse(
            "is set, but only mode COOPERATIVE gives a handler time: leave it unset, or use that \
             mode",
        ));
    }
    Ok(Cancel {
        mode,
        reason: reason(why, root.field("reason"))?,
    })
}

/// What changes in a task; at least one thing.
pub(crate) fn task_change(value: pb::UpdateTaskRequest) -> Parsed<TaskChange> {
    use pb::update_task_request::Start as Given;
    let root = At::Root;
    let start = value.start.map(|given| match given {
        Given::Delay(delay) => start_after(&delay, root),
        Given::NotBefore(not_before) => start_at(&not_before, root),
    });
    let max = limits::PAYLOAD_BYTES_MAX;
    let change = TaskChange {
        timeouts: value
            .timeouts
            .map(|given| timeouts(&given, root.field("timeouts")))
            .transpose()?,
        payload: optional_payload(value.payload, max, root.field("payload"))?,
        priority: optional_priority(value.priority, root.field("priority"))?,
        start: start.transpose()?,
        max_attempts: value.max_attempts,
        reason: reason(&value.reason, root.field("reason"))?,
    };
    let without_reason = TaskChange {
        reason: TaskChange::default().reason,
        ..change.clone()
    };
    if without_reason == TaskChange::default() {
        return Err(root.field("timeouts").refuse(
            "is unset, and so is everything else: set at least one of timeouts, payload, \
             priority, delay, not_before and max_attempts",
        ));
    }
    Ok(change)
}

/// A priority; unset leaves it as it is.
fn optional_priority(number: i32, at: At<'_>) -> Parsed<Option<Priority>> {
    let unset = number == i32::from(pb::Priority::Unspecified);
    Ok((!unset).then_some(priority(number, at)?))
}
