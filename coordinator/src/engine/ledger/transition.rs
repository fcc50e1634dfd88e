//! What each event does to a task: the one table of transitions.
//!
//! Owns the table and its execution. `docs/state-machine.md` shows the same table; a test compares
//! them.

use super::history::RunRecord;
use super::task::{Finished, Lease, State, Task, Timeouts};
use crate::engine::event::{Event, Leaves};
use crate::engine::ids::{TaskId, Timestamp};
use crate::engine::ledger::history::RunOutcome;
use crate::engine::retry::Budget;

/// The kinds of state a task can be in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Waits.
    Pending,
    /// A worker holds it.
    Leased,
    /// A dead letter.
    Dead,
    /// Over.
    Finished,
}

impl Stage {
    /// All of them, in the order of a life.
    pub const ALL: [Self; 4] = [Self::Pending, Self::Leased, Self::Dead, Self::Finished];
}

/// The kinds of events that a task can meet after it was created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskEvent {
    /// A worker got it.
    LeaseGranted,
    /// The worker is known to have begun.
    LeaseStarted,
    /// A cancel was asked for.
    CancelRequested,
    /// Its handler got more time, or less.
    LeaseExtended,
    /// Its handler left a checkpoint.
    CheckpointSaved,
    /// Its time limits were replaced.
    TimeoutsChanged,
    /// Somebody changed it.
    TaskEdited,
    /// Its time was over while it waited.
    TaskExpired,
    /// A run ended, another follows.
    RetryScheduled,
    /// It became a dead letter.
    TaskDied,
    /// It ended.
    TaskFinished,
    /// An operator put it back.
    TaskRedriven,
}

impl TaskEvent {
    /// All of them, in the order of a life.
    pub const ALL: [Self; 12] = [
        Self::LeaseGranted,
        Self::LeaseStarted,
        Self::CancelRequested,
        Self::LeaseExtended,
        Self::CheckpointSaved,
        Self::TimeoutsChanged,
        Self::TaskEdited,
        Self::TaskExpired,
        Self::RetryScheduled,
        Self::TaskDied,
        Self::TaskFinished,
        Self::TaskRedriven,
    ];
}

/// Where an event takes a task; `None` where it cannot happen.
#[must_use]
pub const fn transition(from: Stage, event: TaskEvent) -> Option<Stage> {
    use Stage::{Dead, Finished, Leased, Pending};
    use TaskEvent as E;
    match (from, event) {
        (Pending, E::LeaseGranted) => Some(Leased),
        (Pending, E::TimeoutsChanged | E::TaskEdited) => Some(Pending),
        (Pending, E::TaskExpired) => Some(Dead),
        // Cancelled while it waits.
        (Pending, E::TaskFinished) => Some(Finished),
        (
            Leased,
            E::LeaseStarted
            | E::CancelRequested
            | E::LeaseExtended
            | E::CheckpointSaved
            | E::TimeoutsChanged
            | E::TaskEdited,
        ) => Some(Leased),
        (Leased, E::RetryScheduled) => Some(Pending),
        (Leased, E::TaskDied) => Some(Dead),
        (Leased, E::TaskFinished) => Some(Finished),
        (Dead, E::TimeoutsChanged | E::TaskEdited) => Some(Dead),
        // Discarded by an operator.
        (Dead, E::TaskFinished) => Some(Finished),
        (Dead, E::TaskRedriven) => Some(Pending),
        (
            Pending,
            E::LeaseStarted
            | E::CancelRequested
            | E::LeaseExtended
            | E::CheckpointSaved
            | E::RetryScheduled
            | E::TaskDied
            | E::TaskRedriven,
        )
        | (Leased, E::LeaseGranted | E::TaskRedriven | E::TaskExpired)
        | (
            Dead,
            E::LeaseGranted
            | E::LeaseStarted
            | E::CancelRequested
            | E::LeaseExtended
            | E::CheckpointSaved
            | E::TaskExpired
            | E::RetryScheduled
            | E::TaskDied,
        )
        | (
            Finished,
            E::LeaseGranted
            | E::LeaseStarted
            | E::CancelRequested
            | E::LeaseExtended
            | E::CheckpointSaved
            | E::TimeoutsChanged
            | E::TaskEdited
            | E::TaskExpired
            | E::RetryScheduled
            | E::TaskDied
            | E::TaskFinished
            | E::TaskRedriven,
        ) => None,
    }
}

impl Event {
    /// Which kind of task event it is; `None` for those of other entities.
    #[must_use]
    pub const fn of_task(&self) -> Option<(TaskId, TaskEvent)> {
        match self {
            Self::LeaseGranted { id, .. } => Some((*id, TaskEvent::LeaseGranted)),
            Self::LeaseStarted { id, .. } => Some((*id, TaskEvent::LeaseStarted)),
            Self::CancelRequested { id, .. } => Some((*id, TaskEvent::CancelRequested)),
            Self::LeaseExtended { id, .. } => Some((*id, TaskEvent::LeaseExtended)),
            Self::CheckpointSaved { id, .. } => Some((*id, TaskEvent::CheckpointSaved)),
            Self::TaskEdited { id, .. } => Some((*id, TaskEvent::TaskEdited)),
            Self::TaskExpired { id, .. } => Some((*id, TaskEvent::TaskExpired)),
            Self::TimeoutsChanged { id, .. } => Some((*id, TaskEvent::TimeoutsChanged)),
            Self::RetryScheduled { id, .. } => Some((*id, TaskEvent::RetryScheduled)),
            Self::TaskDied { id, .. } => Some((*id, TaskEvent::TaskDied)),
            Self::TaskFinished { id, .. } => Some((*id, TaskEvent::TaskFinished)),
            Self::TaskRedriven { id, .. } => Some((*id, TaskEvent::TaskRedriven)),
            Self::EpochStarted { .. }
            | Self::QueueConfigured { .. }
            | Self::QueuePaused { .. }
            | Self::QueueResumed { .. }
            | Self::TaskEnqueued { .. }
            | Self::TasksForgotten { .. }
            | Self::ExpiredThrough { .. }
            | Self::Remembered { .. }
            | Self::RememberedMore { .. }
            | Self::MemoriesForgotten { .. }
            | Self::KindConfigured { .. }
            | Self::KindRemoved { .. }
            | Self::TransferSent { .. }
            | Self::TransferReceived { .. }
            | Self::TransferConfirmed { .. }
            | Self::SegmentOpened { .. }
            | Self::TaskImage { .. }
            | Self::QueueImage { .. }
            | Self::TransferImage { .. }
            | Self::SegmentsCleaned { .. } => None,
        }
    }

    /// When a task's event happened, where it says so.
    #[must_use]
    pub fn at(&self) -> Option<Timestamp> {
        match self {
            Self::LeaseGranted { at, .. }
            | Self::LeaseStarted { at, .. }
            | Self::TaskDied { at, .. }
            | Self::TaskFinished { at, .. }
            | Self::TaskRedriven { at, .. }
            | Self::CheckpointSaved { at, .. }
            | Self::TaskEdited { at, .. }
            | Self::TaskExpired { at, .. }
            | Self::KindRemoved { at, .. }
            | Self::EpochStarted { at, .. } => Some(*at),
            Self::RetryScheduled { run, .. } => Some(run.ended_at),
            Self::KindConfigured { kind } => Some(kind.at),
            Self::Remembered { memory, .. } => Some(memory.at),
            Self::QueueConfigured { .. }
            | Self::QueuePaused { .. }
            | Self::QueueResumed { .. }
            | Self::TaskEnqueued { .. }
            | Self::CancelRequested { .. }
            | Self::LeaseExtended { .. }
            | Self::TimeoutsChanged { .. }
            | Self::TasksForgotten { .. }
            | Self::ExpiredThrough { .. }
            | Self::RememberedMore { .. }
            | Self::MemoriesForgotten { .. }
            | Self::TransferSent { .. }
            | Self::TransferReceived { .. }
            | Self::TransferConfirmed { .. }
            | Self::SegmentOpened { .. }
            | Self::TaskImage { .. }
            | Self::QueueImage { .. }
            | Self::TransferImage { .. }
            | Self::SegmentsCleaned { .. } => None,
        }
    }
}

impl Task {
    /// Which kind of state it is in.
    #[must_use]
    pub const fn stage(&self) -> Stage {
        match self.state {
            State::Pending { .. } => Stage::Pending,
            State::Leased(_) => Stage::Leased,
            State::Dead { .. } => Stage::Dead,
            State::Finished(_) => Stage::Finished,
        }
    }

    /// Makes one of its events a fact.
    ///
    /// # Panics
    /// Where the table does not allow it.
    pub(super) fn apply(&mut self, event: &Event) {
        let (_, kind) = event.of_task().expect("only task events come here");
        let to = transition(self.stage(), kind);
        let to = to.unwrap_or_else(|| panic!("{kind:?} cannot happen to a task in {self:?}"));
        match event {
            Event::LeaseGranted { .. } => self.lease_granted(event),
            Event::LeaseStarted { at, .. } => self.lease_mut().started_at = Some(*at),
            Event::CancelRequested { order, .. } => self.cancel_requested(order),
            Event::LeaseExtended { timeouts, .. } => self.lease_mut().timeouts = *timeouts,
            Event::CheckpointSaved { checkpoint, .. } => {
                self.side_mut().checkpoint = Some(checkpoint.clone());
            }
            Event::TimeoutsChanged { timeouts, .. } => self.timeouts_changed(*timeouts),
            Event::TaskEdited { at, edit, .. } => self.edited(*at, edit),
            Event::TaskExpired { at, reason, .. } => {
                self.state = State::Dead {
                    reason: *reason,
                    at: *at,
                };
            }
            Event::RetryScheduled {
                run,
                budget,
                not_before,
                leaves,
                ..
            } => {
                self.run_ended(run, Some(*budget), leaves);
                self.state = State::Pending {
                    not_before: *not_before,
                };
            }
            Event::TaskDied {
                run,
                budget,
                reason,
                at,
                leaves,
                ..
            } => {
                self.run_ended(run, Some(*budget), leaves);
                self.state = State::Dead {
                    reason: *reason,
                    at: *at,
                };
            }
            Event::TaskFinished { .. } => self.finished(event),
            Event::TaskRedriven { .. } => self.redriven(event),
            Event::EpochStarted { .. }
            | Event::QueueConfigured { .. }
            | Event::QueuePaused { .. }
            | Event::QueueResumed { .. }
            | Event::TaskEnqueued { .. }
            | Event::TasksForgotten { .. }
            | Event::ExpiredThrough { .. }
            | Event::Remembered { .. }
            | Event::RememberedMore { .. }
            | Event::MemoriesForgotten { .. }
            | Event::KindConfigured { .. }
            | Event::KindRemoved { .. }
            | Event::TransferSent { .. }
            | Event::TransferReceived { .. }
            | Event::TransferConfirmed { .. }
            | Event::SegmentOpened { .. }
            | Event::TaskImage { .. }
            | Event::QueueImage { .. }
            | Event::TransferImage { .. }
            | Event::SegmentsCleaned { .. } => unreachable!("not of a task"),
        }
        assert_eq!(self.stage(), to, "the table and its execution agree");
    }

    fn finished(&mut self, event: &Event) {
        let Event::TaskFinished {
            id: _,
            run,
            budget,
            outcome,
            at,
            result,
            label,
            leaves,
            expires_at,
            act,
        } = event
        else {
            unreachable!("matched by the caller");
        };
        if let Some(run) = run {
            self.run_ended(run, *budget, leaves);
        }
        if let Some(act) = act {
            self.more_mut().act(act.as_ref().clone());
        }
        self.state = State::Finished(Box::new(Finished {
            outcome: *outcome,
            at: *at,
            result: result.clone(),
            label: label.clone(),
            expires_at: *expires_at,
        }));
    }

    fn lease_granted(&mut self, event: &Event) {
        let Event::LeaseGranted {
            id: _,
            fence,
            nonce,
            holder,
            worker,
            at,
            timeouts,
            started,
            delivery,
        } = event
        else {
            unreachable!("matched by the caller");
        };
        assert_eq!(fence.run(), self.runs() + 1, "runs are 1, 2, 3 .. (I5)");
        assert!(*fence > self.fence, "fences only grow (I3)");
        self.fence = *fence;
        self.state = State::Leased(Box::new(Lease {
            fence: *fence,
            nonce: *nonce,
            holder: *holder,
            worker: worker.clone(),
            granted_at: *at,
            timeouts: *timeouts,
            started_at: started.then_some(*at),
            cancel_requested: false,
            cancel: None,
            delivery: *delivery,
        }));
    }

    fn timeouts_changed(&mut self, timeouts: Timeouts) {
        self.own_mut().timeouts = Some(timeouts);
        if let State::Leased(lease) = &mut self.state {
            lease.timeouts = timeouts;
        }
    }

    fn run_ended(&mut self, run: &RunRecord, budget: Option<Budget>, leaves: &Leaves) {
        if run.started
            && let Some(life) = self.life_mut()
        {
            life.begun = true;
        }
        if let Some(payload) = &leaves.payload {
            self.payload = payload.clone();
        }
        if leaves.max_attempts.is_some() {
            self.own_mut().max_attempts = leaves.max_attempts;
        }
        let side = self.side_mut();
        let tally = &mut side.tally;
        if let Some(budget) = budget {
            tally.spend(budget);
        }
        if run.outcome == RunOutcome::Unstarted {
            tally.unstarted_in_row = tally.unstarted_in_row.saturating_add(1);
        } else if run.started {
            tally.unstarted_in_row = 0;
        }
        tally.timeouts_hit = tally.timeouts_hit.saturating_add(leaves.timeout_hit.into());
        side.history.push(run.clone());
        if leaves.failure.is_some() {
            side.last_failure.clone_from(&leaves.failure);
        }
        if leaves.checkpoint.is_some() {
            side.checkpoint.clone_from(&leaves.checkpoint);
        }
        if leaves.delay_ms.is_some() {
            side.previous_delay_ms = leaves.delay_ms;
        }
        if let Some(rule) = &leaves.rule_counted {
            match side.rule_retries.iter_mut().find(|(id, _)| id == rule) {
                Some((_, count)) => *count = count.saturating_add(1),
                None => side.rule_retries.push((rule.clone(), 1)),
            }
        }
    }

    fn lease_mut(&mut self) -> &mut Lease {
        let State::Leased(lease) = &mut self.state else {
            unreachable!("the table was asked");
        };
        lease
    }
}
