//! What scripts are made of: tasks, failures, reports and workers with plain values.
//!
//! Owns the values a script does not care about, so that it can leave them out.

use bytes::Bytes;

use crate::engine::command::{
    Call, Cancel, CancelMode, Enqueue, KindServed, NewTask, Report, ReportContent, ReportOutcome,
    TaskChange, WorkerInfo,
};
use crate::engine::failure::{Failure, FailureClass};
use crate::engine::ids::{LeaseToken, QueueName, TaskId};
use crate::engine::ledger::task::{Payload, Timeouts};
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
        queue: Some(QueueName::new("default", queue).unwrap()),
        payload: Payload {
            data: Bytes::from_static(b"{}"),
            content_type: None,
        },
        ..NewTask::of("work")
    }
}

/// A call that enqueues these tasks.
pub(in crate::engine::tests) fn enqueue_call(tasks: Vec<NewTask>) -> Call {
    Call::Enqueue(Enqueue {
        namespace: "default".into(),
        tasks,
        producer: None,
    })
}

/// A call that cancels a task, and waits for its handler where it has one.
pub(in crate::engine::tests) fn cancel(id: TaskId, reason: &str) -> Call {
    cancel_as(id, reason, CancelMode::Cooperative { grace_ms: None })
}

/// A call that cancels a task in this mode.
pub(in crate::engine::tests) fn cancel_as(id: TaskId, reason: &str, mode: CancelMode) -> Call {
    let (task, reason) = (id.into(), reason.into());
    let cancel = Cancel { mode, reason };
    Call::CancelTask { task, cancel }
}

/// A call that deletes a dead letter.
pub(in crate::engine::tests) fn discard(id: TaskId) -> Call {
    Call::DiscardTask {
        task: id.into(),
        reason: "".into(),
    }
}

/// A call that puts a dead letter back.
pub(in crate::engine::tests) fn redrive(id: TaskId, delay_ms: u64) -> Call {
    Call::RedriveTask {
        task: id.into(),
        delay_ms,
        reason: "".into(),
    }
}

/// A call that gives a task other time limits.
pub(in crate::engine::tests) fn update(id: TaskId, timeouts: Timeouts) -> Call {
    let change = TaskChange {
        timeouts: Some(timeouts),
        ..TaskChange::default()
    };
    Call::UpdateTask {
        task: id.into(),
        change: Box::new(change),
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
    let mut kinds: Vec<KindServed> = kinds
        .iter()
        .map(|kind| KindServed::every_version(kind))
        .collect();
    kinds.sort_by(|a, b| a.kind.cmp(&b.kind));
    WorkerInfo {
        namespace: "default".into(),
        worker: worker.into(),
        version: "".into(),
        host: "".into(),
        queues: queues.iter().map(queue).collect(),
        kinds,
        proposals: Vec::new(),
    }
}
