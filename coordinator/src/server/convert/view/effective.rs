//! What holds for a task and who said so, what was done with it, and how far it is. Never resolves
//! anything: the view that the engine answered says it.

use redrive_proto::v1 as pb;

use crate::engine::effect::{Progress, TaskView};
use crate::engine::ids::Timestamp;
use crate::engine::ledger::more::{Act, ActKind, Cause};
use crate::engine::ledger::task::{Lease, Timeouts};
use crate::engine::ledger::terms::Source;
use crate::server::convert::field::{duration, timeouts_view, timestamp};
use crate::server::convert::terms::{delivery_mode_view, queue_text, source_view, transition_view};

/// What holds, value by value.
pub(super) fn effective(view: &TaskView) -> pb::Effective {
    let said = &view.effective;
    let source = |source: Source| i32::from(source_view(source));
    let time = |(at, from): (Option<Timestamp>, Source)| {
        at.map(|at| pb::EffectiveTime {
            time: Some(timestamp(at)),
            source: source(from),
        })
    };
    // Where nobody said a number the policy's own holds, and who names the policy says it.
    let attempts = match said.attempts {
        Source::Server => said.policy,
        named @ (Source::Task | Source::Kind | Source::Queue) => named,
    };
    let follow_ups = said.follow_ups.iter();
    let (queue, queue_source) = &said.dead_letter_queue;
    let (result_ttl_ms, result_ttl_source) = said.result_ttl_ms;
    let (mode, mode_source) = said.delivery;
    pb::Effective {
        retry_policy: Some(pb::EffectiveRetryPolicy {
            name: view.policy.to_string(),
            revision: said.policy_revision,
            source: source(said.policy),
        }),
        timeouts: timeouts(view).map(|timeouts| pb::EffectiveTimeouts {
            timeouts: Some(timeouts_view(timeouts)),
            source: source(said.timeouts),
        }),
        max_attempts: Some(pb::EffectiveMaxAttempts {
            max_attempts: view.attempts_max,
            source: source(attempts),
        }),
        expire_time: time(said.start_by),
        deadline_time: time(said.end_by),
        result_ttl: Some(pb::EffectiveDuration {
            duration: Some(duration(result_ttl_ms)),
            source: source(result_ttl_source),
        }),
        delivery: Some(pb::EffectiveDelivery {
            delivery: delivery_mode_view(mode).into(),
            source: source(mode_source),
        }),
        follow_ups: follow_ups
            .map(|(transition, kind, from)| pb::EffectiveFollowUp {
                transition: transition_view(*transition).into(),
                kind: kind.to_string(),
                source: source(*from),
            })
            .collect(),
        dead_letter_queue: queue.as_ref().map(|queue| pb::EffectiveQueue {
            queue: queue_text(Some(queue)),
            source: source(*queue_source),
        }),
    }
}

/// The limits before growth where the task says them, else as they hold for the next run; `None`
/// where nobody says any.
fn timeouts(view: &TaskView) -> Option<Timeouts> {
    let own = view.task.timeouts();
    let known = own.unwrap_or(view.timeouts);
    (view.effective.timeouts != Source::Server || known != Timeouts::default()).then_some(known)
}

pub(super) fn progress(progress: &Progress) -> pb::Progress {
    pb::Progress {
        done: progress.done,
        total: progress.total,
        message: progress.message.to_string(),
        time: Some(timestamp(progress.at)),
    }
}

pub(super) fn act(act: &Act) -> pb::Act {
    let kind = match act.what {
        ActKind::Redriven => pb::ActKind::Redriven,
        ActKind::Edited => pb::ActKind::Edited,
        ActKind::Replaced => pb::ActKind::Replaced,
        ActKind::Rescheduled => pb::ActKind::Rescheduled,
        ActKind::CancelRequested => pb::ActKind::CancelRequested,
        ActKind::Discarded => pb::ActKind::Discarded,
    };
    pb::Act {
        time: Some(timestamp(act.at)),
        act: kind.into(),
        actor: act.by.to_string(),
        note: act.note.to_string(),
    }
}

/// The end of another task, as the wire has it.
pub(crate) fn cause_view(cause: Cause) -> pb::Cause {
    pb::Cause {
        task_id: cause.task.to_string(),
        transition: transition_view(cause.transition).into(),
    }
}

/// The order to cancel a task that is held. Old ones say neither when nor by whom.
pub(super) fn cancel_order(lease: &Lease) -> Option<pb::CancelOrder> {
    let order = lease.cancel.as_deref();
    let shown = order.map(|order| pb::CancelOrder {
        time: Some(timestamp(order.at)),
        actor: order.by.to_string(),
        reason: order.reason.to_string(),
        until: order.until.map(timestamp),
    });
    lease.cancel_requested.then(|| shown.unwrap_or_default())
}
