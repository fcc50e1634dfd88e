//! What workers are told: welcomes, deliveries, cancels, and who is connected.

use bytes::Bytes;
use redrive_proto::v1 as pb;

use super::failure::failure_view;
use super::field::{duration, payload_view, timestamp};
use super::view::priority_view;
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
        labels: delivery
            .labels
            .iter()
            .map(|(key, value)| (key.to_string(), value.to_string()))
            .collect(),
        enqueue_time: Some(timestamp(delivery.enqueued_at)),
        run: delivery.token.fence.run(),
        attempt: delivery.attempt,
        attempts_max,
        is_final_attempt: attempts_max > 0 && delivery.attempt >= attempts_max,
        crashes: delivery.crashes,
        soft_timeout: delivery.timeouts.soft_ms.map(duration),
        hard_timeout: delivery.timeouts.hard_ms.map(duration),
        previous_failure: delivery.previous_failure.as_ref().map(failure_view),
        checkpoint: delivery.checkpoint.as_ref().map(payload_view),
        deadline: None,
        idempotency_key: String::new(),
        schema_version: 0,
        cause: None,
        delivery: 0,
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
    pb::Worker {
        info: Some(pb::WorkerInfo {
            worker_id: info.worker.to_string(),
            version: info.version.to_string(),
            host: info.host.to_string(),
            queues: queues.collect(),
            kinds: info.kinds.iter().map(|it| it.kind.to_string()).collect(),
            declared_kinds: Vec::new(),
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
    use crate::engine::ledger::task::{Payload, Priority};

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
        }
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
