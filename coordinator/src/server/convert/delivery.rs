//! What workers are told: welcomes, deliveries, cancels, and who is connected. Never chooses what
//! is told: effects of the engine do.

use bytes::Bytes;
use redrive_proto::v1 as pb;

use super::failure::failure_view;
use super::field::{duration, payload_view, timestamp};
use super::kind::settings_view;
use super::task::labels_view;
use super::terms::delivery_mode_view;
use super::view::{cause_view, priority_view};
use crate::engine::command::{KindServed, WorkerInfo};
use crate::engine::effect::{CancelReason, Delivery, Welcome, WorkerState, WorkerView};
use crate::engine::ids::LeaseToken;
use crate::engine::ledger::task::Timeouts;
use crate::engine::limits;

fn token_view(token: LeaseToken) -> Bytes {
    Bytes::copy_from_slice(&token.to_bytes())
}

/// The answer to a Hello.
pub(crate) fn welcome_view(welcome: &Welcome, server_version: &str) -> pb::Welcome {
    pb::Welcome {
        session_id: welcome.session.to_string(),
        resumed: welcome.resumed,
        lost: welcome.lost.iter().copied().map(token_view).collect(),
        ping_interval: Some(duration(welcome.ping_ms)),
        grace: Some(duration(welcome.grace_ms)),
        abort_after: Some(duration(welcome.abort_after_ms)),
        server_version: server_version.to_owned(),
        result_bytes_max: limits::RESULT_BYTES_MAX as u64,
        message_bytes_max: limits::MESSAGE_BYTES_MAX as u64,
    }
}

/// A task to run.
pub(crate) fn delivery_view(delivery: Delivery) -> pb::Delivery {
    let attempts_max = delivery.attempts_max;
    pb::Delivery {
        sequence: delivery.sequence,
        lease_token: token_view(delivery.token),
        fence: delivery.token.fence.0,
        task_id: delivery.token.task.to_string(),
        namespace: delivery.queue.namespace().to_owned(),
        queue: delivery.queue.queue().to_owned(),
        kind: delivery.kind.to_string(),
        payload: Some(payload_view(&delivery.payload)),
        priority: priority_view(delivery.priority).into(),
        labels: labels_view(&delivery.labels),
        enqueue_time: Some(timestamp(delivery.enqueued_at)),
        run: delivery.token.fence.run(),
        attempt: delivery.attempt,
        attempts_max,
        is_final_attempt: attempts_max > 0 && delivery.attempt >= attempts_max,
        crashes: delivery.crashes,
        soft_timeout: delivery.timeouts.soft_ms.map(duration),
        hard_timeout: delivery.timeouts.hard_ms.map(duration),
        previous_failure: delivery
            .previous_failure
            .as_ref()
            .map(|failure| failure_view(failure).into()),
        checkpoint: delivery.checkpoint.as_ref().map(payload_view),
        deadline: delivery.deadline_ms.map(duration),
        idempotency_key: delivery.key.as_deref().unwrap_or_default().to_owned(),
        schema_version: delivery.version,
        cause: delivery.cause.map(|cause| cause_view(cause).into()),
        delivery: delivery_mode_view(delivery.delivery).into(),
    }
}

/// A run to stop.
pub(crate) fn cancel_view(
    token: LeaseToken,
    reason: CancelReason,
    grace_ms: Option<u64>,
    detail: &str,
) -> pb::Cancel {
    let reason = match reason {
        CancelReason::Requested => pb::CancelReason::Requested,
        CancelReason::SoftTimeout => pb::CancelReason::SoftTimeout,
        CancelReason::HardTimeout => pb::CancelReason::HardTimeout,
        CancelReason::LeaseLost => pb::CancelReason::LeaseLost,
        CancelReason::Deadline => pb::CancelReason::Deadline,
        CancelReason::Revoked => pb::CancelReason::Revoked,
    };
    pb::Cancel {
        lease_token: token_view(token),
        reason: reason.into(),
        grace: grace_ms.map(duration),
        detail: detail.to_owned(),
    }
}

/// New limits of a running task.
pub(crate) fn timeouts_change(token: LeaseToken, timeouts: Timeouts) -> pb::TimeoutsChange {
    pb::TimeoutsChange {
        lease_token: token_view(token),
        soft_timeout: timeouts.soft_ms.map(duration),
        hard_timeout: timeouts.hard_ms.map(duration),
    }
}

/// The kinds that a worker runs in every version and says nothing more of, and the others.
fn kinds(info: &WorkerInfo) -> (Vec<String>, Vec<pb::KindDeclaration>) {
    let (mut plain, mut declared) = (Vec::new(), Vec::new());
    for served in &info.kinds {
        let mut proposals = info.proposals.iter();
        let proposal = proposals.find(|(kind, _)| *kind == served.kind);
        if proposal.is_none() && *served == KindServed::every_version(&served.kind) {
            plain.push(served.kind.to_string());
            continue;
        }
        let endless = served.version_max == u32::MAX;
        declared.push(pb::KindDeclaration {
            kind: served.kind.to_string(),
            version_min: served.version_min,
            version_max: if endless { 0 } else { served.version_max },
            defaults: proposal.map(|(_, settings)| settings_view(settings)),
        });
    }
    (plain, declared)
}

/// A worker as operators see it.
pub(crate) fn worker_view(view: &WorkerView) -> pb::Worker {
    let info = &view.info;
    let state = match view.state {
        WorkerState::Live => pb::WorkerState::Live,
        WorkerState::Suspect => pb::WorkerState::Suspect,
        WorkerState::Disconnected => pb::WorkerState::Disconnected,
        WorkerState::Draining => pb::WorkerState::Draining,
    };
    let queues = info
        .queues
        .iter()
        .map(|(queue, weight)| pb::QueueSubscription {
            queue: queue.queue().to_owned(),
            weight: *weight,
        });
    let (kinds, declared_kinds) = kinds(info);
    pb::Worker {
        info: Some(pb::WorkerInfo {
            worker_id: info.worker.to_string(),
            version: info.version.to_string(),
            host: info.host.to_string(),
            queues: queues.collect(),
            kinds,
            declared_kinds,
        }),
        session_id: view.session.to_string(),
        state: state.into(),
        held: view.held,
        tasks_max: view.capacity.tasks_max,
        connect_time: Some(timestamp(view.since)),
        silence: Some(duration(view.silence_ms)),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::engine::ids::{Fence, QueueName, ShardId, TaskId, Timestamp};
    use crate::engine::ledger::kind::KindSettings;
    use crate::engine::ledger::more::Cause;
    use crate::engine::ledger::task::{Payload, Priority};
    use crate::engine::ledger::terms::{DeliveryMode, Transition};

    /// A delivery of this sequence with so many payload bytes.
    pub(crate) fn sample(sequence: u64, bytes: usize) -> Delivery {
        let task = TaskId::new(Timestamp(1), ShardId(0), sequence);
        Delivery {
            sequence,
            token: LeaseToken {
                task,
                fence: Fence::new(1, 2),
                nonce: 3,
            },
            queue: QueueName::new("default", "mail").unwrap(),
            kind: "send".into(),
            payload: Payload {
                data: vec![0; bytes].into(),
                content_type: None,
            },
            priority: Priority::Normal,
            labels: Vec::new(),
            enqueued_at: Timestamp(1),
            attempt: 2,
            attempts_max: 3,
            crashes: 0,
            timeouts: Timeouts::default(),
            previous_failure: None,
            checkpoint: None,
            version: 0,
            deadline_ms: None,
            key: None,
            cause: None,
            delivery: DeliveryMode::AtLeastOnce,
        }
    }

    #[test]
    fn a_delivery_says_what_is_left_of_its_life_where_it_comes_from_and_how_it_is_kept() {
        let task = TaskId::new(Timestamp(1), ShardId(0), 9);
        let transition = Transition::Exhausted;
        let shown = delivery_view(Delivery {
            version: 3,
            deadline_ms: Some(1500),
            key: Some("order 7".into()),
            cause: Some(Cause { task, transition }),
            delivery: DeliveryMode::AtMostOnce,
            ..sample(1, 0)
        });
        assert_eq!(shown.schema_version, 3);
        assert_eq!(shown.deadline, Some(duration(1500)));
        assert_eq!(shown.idempotency_key, "order 7");
        let cause = shown.cause.as_ref().unwrap();
        assert_eq!(cause.task_id, task.to_string());
        assert_eq!(cause.transition(), pb::Transition::Exhausted);
        assert_eq!(shown.delivery(), pb::DeliveryMode::AtMostOnce);
        let plain = delivery_view(sample(1, 0));
        assert_eq!(plain.delivery(), pb::DeliveryMode::AtLeastOnce);
    }

    #[test]
    fn a_worker_shows_ranges_and_proposals_apart_from_plain_kinds() {
        let settings = KindSettings {
            max_attempts: Some(2),
            ..KindSettings::default()
        };
        let ranged = |kind: &str, version_max| KindServed {
            kind: kind.into(),
            version_min: 2,
            version_max,
        };
        let info = WorkerInfo {
            namespace: "default".into(),
            worker: "w".into(),
            version: "".into(),
            host: "".into(),
            queues: Vec::new(),
            kinds: vec![
                KindServed::every_version("a"),
                ranged("b", u32::MAX),
                ranged("c", 4),
                KindServed::every_version("d"),
            ],
            proposals: vec![("d".into(), Box::new(settings))],
        };
        let (plain, declared) = kinds(&info);
        assert_eq!(plain, ["a"]);
        let shown: Vec<_> = declared
            .iter()
            .map(|each| (each.kind.as_str(), each.version_min, each.version_max))
            .collect();
        assert_eq!(shown, [("b", 2, 0), ("c", 2, 4), ("d", 0, 0)]);
        let defaults = declared[2].defaults.as_ref().unwrap();
        assert_eq!(defaults.max_attempts, Some(2));
    }

    #[test]
    fn the_last_attempt_is_marked_and_unlimited_ones_never_are() {
        let shown = |attempt, attempts_max| {
            delivery_view(Delivery {
                attempt,
                attempts_max,
                ..sample(1, 0)
            })
            .is_final_attempt
        };
        assert!(!shown(2, 3));
        assert!(shown(3, 3));
        assert!(shown(4, 3));
        assert!(!shown(9, 0));
    }

    #[test]
    fn a_delivery_names_its_run_and_its_fence() {
        let shown = delivery_view(sample(1, 5));
        assert_eq!(shown.run, 2);
        assert_eq!(shown.fence, Fence::new(1, 2).0);
        assert_eq!(shown.lease_token.len(), 32);
        assert_eq!(
            (shown.namespace.as_str(), shown.queue.as_str()),
            ("default", "mail")
        );
        assert_eq!(shown.payload.unwrap().data.len(), 5);
    }
}
