//! What watchers are told of an event.
//!
//! Owns the reading of events as notices. Never adds a fact that is not in the journal.

use std::sync::Arc;

use super::effect::{Notice, NoticeKind};
use super::event::Event;
use super::ids::Timestamp;
use super::ledger::Ledger;
use super::ledger::history::RunRecord;
use super::ledger::task::{State, Task, TaskState};
use super::retry::Budget;

/// What a notice needs of a task as it was before the event.
#[derive(Clone, Copy, Debug)]
pub(super) struct Before {
    not_before: Option<Timestamp>,
    attempt: u32,
}

impl Before {
    pub(super) fn of(task: &Task) -> Self {
        let not_before = match &task.state {
            State::Pending { not_before } => Some(*not_before),
            State::Leased(_) | State::Dead { .. } | State::Finished(_) => None,
        };
        Self {
            not_before,
            attempt: task.attempt(),
        }
    }
}

/// The notice of an event that has become a fact, if watchers are told of it.
pub(super) fn of(
    ledger: &Ledger,
    event: &Event,
    before: Option<Before>,
    now: Timestamp,
) -> Option<Notice> {
    let (id, kind) = kind_of(event)?;
    let task = ledger.task(id)?;
    let run = run_of(event);
    let mut notice = Notice {
        kind,
        at: now,
        task: id,
        queue: task.queue.clone(),
        task_kind: task.kind.clone(),
        attempt: before.map_or_else(|| task.attempt(), |before| before.attempt),
        worker: run.map(|run| run.worker.clone()),
        failure: run.and_then(|run| run.failure.clone()),
        next_attempt_at: None,
        reason: run.and_then(|run| run.rule.clone()),
        run_ms: run.map(|run| run.ended_at.since_ms(run.leased_at)),
        waited_ms: None,
        delay_ms: run.and_then(|run| run.delay).map(|delay| delay.drawn_ms),
        outcome_label: None,
    };
    match event {
        Event::LeaseGranted { worker, at, .. } => {
            notice.worker = Some(worker.clone());
            let ready_at = before.and_then(|before| before.not_before);
            notice.waited_ms = ready_at.map(|ready_at| at.since_ms(ready_at));
        }
        Event::RetryScheduled { not_before, .. } | Event::TaskRedriven { not_before, .. } => {
            notice.next_attempt_at = Some(*not_before);
        }
        Event::TaskDied { reason, .. } | Event::TaskExpired { reason, .. } => {
            notice.reason = Some(reason.name().into());
        }
        Event::TaskEdited { edit, .. } => {
            notice.reason = Some(edit.what.name().into());
            if let State::Pending { not_before } = &task.state {
                notice.next_attempt_at = Some(*not_before);
            }
        }
        Event::TaskFinished { outcome, label, .. } => {
            notice.outcome_label.clone_from(label);
            notice.reason = Some(Arc::from(TaskState::Finished(*outcome).name()));
        }
        Event::EpochStarted { .. }
        | Event::QueueConfigured { .. }
        | Event::QueuePaused { .. }
        | Event::QueueResumed { .. }
        | Event::TaskEnqueued { .. }
        | Event::LeaseStarted { .. }
        | Event::CancelRequested { .. }
        | Event::TimeoutsChanged { .. }
        | Event::TasksForgotten { .. }
        | Event::ExpiredThrough { .. }
        | Event::Remembered { .. }
        | Event::RememberedMore { .. }
        | Event::MemoriesForgotten { .. }
        | Event::KindConfigured { .. }
        | Event::KindRemoved { .. }
        | Event::LeaseExtended { .. }
        | Event::CheckpointSaved { .. }
        | Event::TransferSent { .. }
        | Event::TransferReceived { .. }
        | Event::TransferConfirmed { .. }
        | Event::SegmentOpened { .. }
        | Event::TaskImage { .. }
        | Event::QueueImage { .. }
        | Event::TransferImage { .. }
        | Event::SegmentsCleaned { .. } => {}
    }
    Some(notice)
}

fn kind_of(event: &Event) -> Option<(super::ids::TaskId, NoticeKind)> {
    match event {
        Event::TaskEnqueued { task } | Event::TransferReceived { task, .. } => {
            Some((task.id, NoticeKind::Enqueued))
        }
        Event::LeaseGranted { id, .. } => Some((*id, NoticeKind::Leased)),
        Event::CancelRequested { id, .. } => Some((*id, NoticeKind::CancelRequested)),
        Event::TaskEdited { id, .. } => Some((*id, NoticeKind::Edited)),
        Event::RetryScheduled {
            id,
            budget: Budget::Deferral,
            ..
        } => Some((*id, NoticeKind::Deferred)),
        Event::RetryScheduled { id, .. } => Some((*id, NoticeKind::RetryScheduled)),
        Event::TaskDied { id, .. } | Event::TaskExpired { id, .. } => {
            Some((*id, NoticeKind::DeadLettered))
        }
        Event::TaskFinished { id, .. } => Some((*id, NoticeKind::Ended)),
        Event::TaskRedriven { id, .. } => Some((*id, NoticeKind::Redriven)),
        Event::EpochStarted { .. }
        | Event::QueueConfigured { .. }
        | Event::QueuePaused { .. }
        | Event::QueueResumed { .. }
        | Event::LeaseStarted { .. }
        | Event::TimeoutsChanged { .. }
        | Event::TasksForgotten { .. }
        | Event::ExpiredThrough { .. }
        | Event::Remembered { .. }
        | Event::RememberedMore { .. }
        | Event::MemoriesForgotten { .. }
        | Event::KindConfigured { .. }
        | Event::KindRemoved { .. }
        | Event::LeaseExtended { .. }
        | Event::CheckpointSaved { .. }
        | Event::TransferSent { .. }
        | Event::TransferConfirmed { .. }
        | Event::SegmentOpened { .. }
        | Event::TaskImage { .. }
        | Event::QueueImage { .. }
        | Event::TransferImage { .. }
        | Event::SegmentsCleaned { .. } => None,
    }
}

fn run_of(event: &Event) -> Option<&RunRecord> {
    match event {
        Event::RetryScheduled { run, .. } | Event::TaskDied { run, .. } => Some(run),
        Event::TaskFinished { run, .. } => run.as_deref(),
        Event::EpochStarted { .. }
        | Event::QueueConfigured { .. }
        | Event::QueuePaused { .. }
        | Event::QueueResumed { .. }
        | Event::TaskEnqueued { .. }
        | Event::LeaseGranted { .. }
        | Event::LeaseStarted { .. }
        | Event::CancelRequested { .. }
        | Event::TimeoutsChanged { .. }
        | Event::TaskEdited { .. }
        | Event::TaskExpired { .. }
        | Event::TaskRedriven { .. }
        | Event::TasksForgotten { .. }
        | Event::ExpiredThrough { .. }
        | Event::Remembered { .. }
        | Event::RememberedMore { .. }
        | Event::MemoriesForgotten { .. }
        | Event::KindConfigured { .. }
        | Event::KindRemoved { .. }
        | Event::LeaseExtended { .. }
        | Event::CheckpointSaved { .. }
        | Event::TransferSent { .. }
        | Event::TransferReceived { .. }
        | Event::TransferConfirmed { .. }
        | Event::SegmentOpened { .. }
        | Event::TaskImage { .. }
        | Event::QueueImage { .. }
        | Event::TransferImage { .. }
        | Event::SegmentsCleaned { .. } => None,
    }
}
