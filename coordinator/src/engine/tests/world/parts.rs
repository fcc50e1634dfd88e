//! What scripts are made of: tasks, failures, reports and workers with plain values.
//!
//! Owns the values a script does not care about, so that it can leave them out.

use std::sync::Arc;

use bytes::Bytes;

use crate::engine::command::{NewTask, Report, ReportContent, ReportOutcome, Start, WorkerInfo};
use crate::engine::failure::{Failure, FailureClass};
use crate::engine::ids::{LeaseToken, QueueName};
use crate::engine::ledger::task::{Payload, Priority};
use crate::engine::retry::Policy;
use crate::engine::retry::policy::{Backoff, Jitter, Shape};

/// A policy with plain numbers: so many attempts, 10 s apart.
pub(in crate::engine::tests) fn plain_policy(max_attempts: u32) -> Policy {
    Policy {
        name: "plain".into(),
        max_attempts,
        backoff: fixed(10_000),
        crash_backoff: fixed(1000),
        ..Policy::default()
    }
}

/// The same delay each time.
pub(in crate::engine::tests) fn fixed(delay_ms: u64) -> Backoff {
    Backoff {
        jitter: Jitter::None,
        ..Backoff::of(Shape::Fixed { delay_ms })
    }
}

/// What a script's task is made of, where it says no more.
pub(in crate::engine::tests) fn new_task(queue: &str) -> NewTask {
    NewTask {
        queue: QueueName::new("default", queue).unwrap(),
        kind: "work".into(),
        payload: Payload {
            data: Bytes::from_static(b"{}"),
            content_type: None,
        },
        priority: Priority::Normal,
        start: Start::After { delay_ms: 0 },
        timeouts: None,
        policy: None,
        max_attempts: None,
        labels: Vec::new(),
    }
}

/// A failure of the class INTERNAL.
pub(in crate::engine::tests) fn failure() -> Failure {
    Failure::new(FailureClass::Internal, "it broke")
}

/// A report that the work failed.
pub(in crate::engine::tests) fn fail() -> ReportOutcome {
    fail_with(failure())
}

/// A report that the work failed in this way.
pub(in crate::engine::tests) fn fail_with(failure: Failure) -> ReportOutcome {
    ReportOutcome::Fail {
        failure,
        not_retryable: false,
        retry_after_ms: None,
    }
}

/// A report that the work is done.
pub(in crate::engine::tests) fn complete() -> ReportOutcome {
    ReportOutcome::Complete {
        result: None,
        label: None,
    }
}

/// A report with this token.
pub(in crate::engine::tests) fn report_with(token: LeaseToken, outcome: ReportOutcome) -> Report {
    let raw_token = Bytes::copy_from_slice(&token.to_bytes());
    let content = ReportContent {
        token,
        outcome,
        checkpoint: None,
    };
    Report {
        raw_token,
        content: Ok(content),
    }
}

/// A worker of this name for these queues (all of weight 1) and kinds.
pub(in crate::engine::tests) fn info(worker: &str, queues: &[&str], kinds: &[&str]) -> WorkerInfo {
    let queue = |name: &&str| (QueueName::new("default", name).unwrap(), 1);
    let mut kinds: Vec<Arc<str>> = kinds.iter().map(|kind| Arc::from(*kind)).collect();
    kinds.sort();
    WorkerInfo {
        namespace: "default".into(),
        worker: worker.into(),
        version: "".into(),
        host: "".into(),
        queues: queues.iter().map(queue).collect(),
        kinds,
    }
}
