//! One shard: its ledger and its agenda, kept in step.
//!
//! Owns the pair. [`Shard::record`] is the only place that applies a live event, and moves the
//! agenda with it; everybody else gets the ledger read-only (I1).

use super::agenda::Agenda;
use super::event::{Event, Recorded};
use super::ids::{ShardId, TaskId, Timestamp};
use super::ledger::{Ledger, ReplayProblem};

/// One shard.
#[derive(Debug)]
pub(super) struct Shard {
    ledger: Ledger,
    agenda: Agenda,
    ids_made: u64,
}

impl Shard {
    pub(super) fn new(id: ShardId) -> Self {
        Self {
            ledger: Ledger::new(id),
            agenda: Agenda::default(),
            ids_made: 0,
        }
    }

    pub(super) const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    pub(super) const fn agenda(&self) -> &Agenda {
        &self.agenda
    }

    /// A new task id: unique, and above all earlier ones of the shard while time moves on.
    pub(super) fn next_id(&mut self, now: Timestamp, random: u32) -> TaskId {
        self.ids_made += 1;
        let low = (self.ids_made & 0x3fff_ffff) << 32 | u64::from(random);
        TaskId::new(now, self.ledger.shard(), low)
    }

    /// Makes an event a fact, now.
    pub(super) fn record(&mut self, now: Timestamp, event: Event) -> Recorded {
        let removed = self.leaving(&event);
        for id in &removed {
            let task = self.ledger.task(*id).expect("only tasks that exist leave");
            let place = self.agenda.place(task);
            self.agenda.remove_at(task, &place);
        }
        let seq = self.ledger.last_seq() + 1;
        self.ledger.apply(seq, &event);
        if let Some(id) = arriving(&event) {
            let task = self.ledger.task(id).expect("the event made or changed it");
            self.agenda.insert(task, now);
        }
        Recorded {
            shard: self.ledger.shard(),
            seq,
            event,
        }
    }

    /// Makes an event of the journal a fact; the agenda is rebuilt when all are.
    pub(super) fn replay(&mut self, seq: u64, event: &Event) -> Result<(), ReplayProblem> {
        self.ledger.replay(seq, event)
    }

    /// Says whether what is replayed may speak of entities whose records were cleaned away.
    pub(super) const fn replay_partial(&mut self, partial: bool) {
        self.ledger.replay_partial(partial);
    }

    /// Makes the agenda anew from the ledger.
    pub(super) fn rebuild_agenda(&mut self) {
        self.agenda = Agenda::rebuild(&self.ledger);
    }

    /// Moves due timers to their lanes, at most so many; says which.
    pub(super) fn promote_due(&mut self, now: Timestamp, count_max: usize) -> Vec<TaskId> {
        let mut promoted = Vec::new();
        while promoted.len() < count_max {
            let Some((_, id)) = self.agenda.due_timer(now) else {
                break;
            };
            let task = self
                .ledger
                .task(id)
                .expect("timers are of tasks that exist");
            self.agenda.promote(task);
            promoted.push(id);
        }
        promoted
    }

    /// The tasks whose place the event changes or ends.
    fn leaving(&self, event: &Event) -> Vec<TaskId> {
        match event {
            Event::TasksForgotten { ids } => ids.clone(),
            Event::ExpiredThrough { at, last } => {
                let places = self.ledger.finished_through((*at, *last));
                places.map(|(_, id)| id).collect()
            }
            Event::LeaseGranted { id, .. }
            | Event::RetryScheduled { id, .. }
            | Event::TaskDied { id, .. }
            | Event::TaskExpired { id, .. }
            | Event::TaskEdited { id, .. }
            | Event::TaskFinished { id, .. }
            | Event::TaskRedriven { id, .. } => vec![*id],
            Event::EpochStarted { .. }
            | Event::QueueConfigured { .. }
            | Event::QueuePaused { .. }
            | Event::QueueResumed { .. }
            | Event::TaskEnqueued { .. }
            | Event::LeaseStarted { .. }
            | Event::CancelRequested { .. }
            | Event::LeaseExtended { .. }
            | Event::CheckpointSaved { .. }
            | Event::Remembered { .. }
            | Event::RememberedMore { .. }
            | Event::MemoriesForgotten { .. }
            | Event::KindConfigured { .. }
            | Event::KindRemoved { .. }
            | Event::TimeoutsChanged { .. }
            | Event::TransferSent { .. }
            | Event::TransferReceived { .. }
            | Event::TransferConfirmed { .. }
            | Event::SegmentOpened { .. }
            | Event::TaskImage { .. }
            | Event::QueueImage { .. }
            | Event::TransferImage { .. }
            | Event::SegmentsCleaned { .. } => Vec::new(),
        }
    }
}

/// The task that has a new place after the event.
fn arriving(event: &Event) -> Option<TaskId> {
    match event {
        Event::TaskEnqueued { task } | Event::TransferReceived { task, .. } => Some(task.id),
        Event::LeaseGranted { id, .. }
        | Event::RetryScheduled { id, .. }
        | Event::TaskDied { id, .. }
        | Event::TaskExpired { id, .. }
        | Event::TaskEdited { id, .. }
        | Event::TaskFinished { id, .. }
        | Event::TaskRedriven { id, .. } => Some(*id),
        Event::EpochStarted { .. }
        | Event::QueueConfigured { .. }
        | Event::QueuePaused { .. }
        | Event::QueueResumed { .. }
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
        | Event::TransferConfirmed { .. }
        | Event::SegmentOpened { .. }
        | Event::TaskImage { .. }
        | Event::QueueImage { .. }
        | Event::TransferImage { .. }
        | Event::SegmentsCleaned { .. } => None,
    }
}
