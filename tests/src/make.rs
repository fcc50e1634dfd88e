//! Makes the messages that many tests need. Never sends them.

use std::time::Duration;

use bytes::Bytes;
use redrive_proto::v1 as pb;

/// A duration as the wire has it.
#[must_use]
pub fn ms(ms: u64) -> prost_types::Duration {
    Duration::from_millis(ms).try_into().unwrap()
}

/// The milliseconds from one instant to another.
#[must_use]
pub fn ms_between(from: Option<prost_types::Timestamp>, to: Option<prost_types::Timestamp>) -> i64 {
    let ms_of = |at: prost_types::Timestamp| at.seconds * 1000 + i64::from(at.nanos) / 1_000_000;
    ms_of(to.unwrap()) - ms_of(from.unwrap())
}

/// A policy of so many attempts that waits exactly so long between them.
#[must_use]
pub fn policy(max_attempts: u32, delay_ms: u64) -> pb::RetryPolicy {
    pb::RetryPolicy {
        name: "test".to_owned(),
        max_attempts: Some(max_attempts),
        backoff: Some(exactly(delay_ms)),
        crash_backoff: Some(exactly(delay_ms)),
        ..Default::default()
    }
}

/// A backoff that is always the same.
#[must_use]
pub fn exactly(delay_ms: u64) -> pb::Backoff {
    let fixed = pb::Fixed {
        delay: Some(ms(delay_ms)),
    };
    pb::Backoff {
        shape: Some(pb::backoff::Shape::Fixed(fixed)),
        jitter: Some(pb::Jitter {
            mode: pb::JitterMode::None.into(),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// What a task needs at least.
#[must_use]
pub fn spec(queue: &str, kind: &str) -> pb::TaskSpec {
    pb::TaskSpec {
        queue: queue.to_owned(),
        kind: kind.to_owned(),
        ..Default::default()
    }
}

/// A worker that serves one queue and runs every kind.
#[must_use]
pub fn worker_info(worker_id: &str, queue: &str) -> pb::WorkerInfo {
    pb::WorkerInfo {
        worker_id: worker_id.to_owned(),
        queues: vec![pb::QueueSubscription {
            queue: queue.to_owned(),
            weight: 1,
        }],
        ..Default::default()
    }
}

/// The Hello of a worker that serves one queue and holds so many tasks.
#[must_use]
pub fn hello(worker_id: &str, queue: &str, tasks_max: u32) -> pb::Hello {
    pb::Hello {
        worker: Some(worker_info(worker_id, queue)),
        capacity: Some(pb::Capacity {
            tasks_max,
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// A report of a lease.
#[must_use]
pub fn report(lease_token: &Bytes, outcome: pb::report::Outcome) -> pb::Report {
    pb::Report {
        lease_token: lease_token.clone(),
        outcome: Some(outcome),
        checkpoint: None,
    }
}

/// A payload of these bytes, that says nothing of what they are.
#[must_use]
pub fn payload(data: impl Into<Bytes>) -> pb::Payload {
    pb::Payload {
        data: data.into(),
        content_type: String::new(),
    }
}

/// The report that a run is done, with this result.
#[must_use]
pub fn complete_with(delivery: &pb::Delivery, result: &str) -> pb::Report {
    let complete = pb::Complete {
        result: Some(payload(result.to_owned())),
        ..Default::default()
    };
    report(
        &delivery.lease_token,
        pb::report::Outcome::Complete(complete),
    )
}

/// A heartbeat that says nothing.
#[must_use]
pub fn beat(delivery: &pb::Delivery) -> pb::Heartbeat {
    pb::Heartbeat {
        lease_token: delivery.lease_token.clone(),
        ..Default::default()
    }
}

/// The report that a run is done, without a result.
#[must_use]
pub fn complete(delivery: &pb::Delivery) -> pb::Report {
    let outcome = pb::report::Outcome::Complete(pb::Complete::default());
    report(&delivery.lease_token, outcome)
}

/// The report that a run failed with this message.
#[must_use]
pub fn fail(delivery: &pb::Delivery, message: &str) -> pb::Report {
    let failure = pb::Failure {
        message: message.to_owned(),
        ..Default::default()
    };
    let outcome = pb::report::Outcome::Fail(pb::Fail {
        failure: Some(failure),
        ..Default::default()
    });
    report(&delivery.lease_token, outcome)
}
