//! What a record cannot say: the checks of a replay before it applies.
//!
//! Owns the conditions under which [`Ledger::apply`] would panic, as answers: a journal whose
//! checksums are right and whose records are not is refused with a place and a reason. Changes
//! nothing and decides nothing. A record that tells a lie that might be true is believed.

use std::collections::BTreeSet;

use super::Ledger;
use super::queue::{Queue, Totals};
use super::task::{State, Task};
use super::transition::{TaskEvent, transition};
use crate::engine::event::{Event, ShardImage};
use crate::engine::ids::{ShardId, TaskId};

/// What is wrong with a record, for the end of "says what cannot be: ..".
pub(super) type Impossible = Option<&'static str>;

/// The reason, where something holds.
fn when(holds: bool, reason: &'static str) -> Impossible {
    holds.then_some(reason)
}

impl Ledger {
    /// Why an event cannot have happened here; `None` where it can.
    pub(super) fn impossible(&self, seq: u64, event: &Event) -> Impossible {
        if seq == 0 || seq == u64::MAX {
            return Some("a sequence that nothing can come before or after");
        }
        if let Some((id, kind)) = event.of_task() {
            let task = self.tasks.get(&id)?;
            return cannot_happen_to(task, kind, event);
        }
        match event {
            Event::EpochStarted { epoch, .. } => {
                when(*epoch <= self.epoch, "an epoch that does not grow")
            }
            Event::TaskEnqueued { task } => self.new_task(task),
            Event::TasksForgotten { ids } => self.forgotten(ids),
            Event::TransferSent { target, number, .. } => {
                let last = self.outgoing.get(target).map_or(0, |out| out.sent_through);
                not_next(last, *number)
            }
            Event::TransferReceived {
                origin,
                number,
                task,
            } => not_next(self.received_through(*origin), *number).or_else(|| self.new_task(task)),
            Event::TransferConfirmed { through, .. } => {
                when(*through == u64::MAX, "transfers without end")
            }
            Event::SegmentOpened { shard } => self.opened(shard),
            Event::TaskImage { task } => match self.tasks.get(&task.id) {
                Some(known) => when(**known != **task, "an image that differs"),
                None => self.new_task(task),
            },
            Event::QueueImage { queue } => self.queue_differs(queue),
            Event::TransferImage {
                target,
                number,
                task,
            } => self.transfer_differs(*target, *number, task),
            Event::LeaseGranted { .. }
            | Event::LeaseStarted { .. }
            | Event::CancelRequested { .. }
            | Event::LeaseExtended { .. }
            | Event::CheckpointSaved { .. }
            | Event::TimeoutsChanged { .. }
            | Event::TaskEdited { .. }
            | Event::TaskExpired { .. }
            | Event::RetryScheduled { .. }
            | Event::TaskDied { .. }
            | Event::TaskFinished { .. }
            | Event::TaskRedriven { .. }
            | Event::QueueConfigured { .. }
            | Event::QueuePaused { .. }
            | Event::QueueResumed { .. }
            | Event::ExpiredThrough { .. }
            | Event::Remembered { .. }
            | Event::RememberedMore { .. }
            | Event::MemoriesForgotten { .. }
            | Event::KindConfigured { .. }
            | Event::KindRemoved { .. }
            | Event::SegmentsCleaned { .. } => None,
        }
    }

    fn new_task(&self, task: &Task) -> Impossible {
        when(task.id.shard() != self.shard, "a task of another shard").or_else(|| {
            let known = self.tasks.contains_key(&task.id);
            when(known, "a task that was there before")
        })
    }

    fn forgotten(&self, ids: &[TaskId]) -> Impossible {
        let distinct: BTreeSet<&TaskId> = ids.iter().collect();
        let known = ids.iter().filter_map(|id| self.tasks.get(id));
        let mut lives = known.map(|task| !matches!(task.state, State::Finished(_)));
        when(distinct.len() < ids.len(), "a task forgotten twice").or_else(|| {
            when(
                lives.any(|lives| lives),
                "a task forgotten that is not over",
            )
        })
    }

    fn opened(&self, shard: &ShardImage) -> Impossible {
        if self.last_seq > 0 {
            let reason = "an image of the shard that differs";
            return when(!self.opens_with(shard), reason);
        }
        let sent_once = shard.sent_through.is_sorted_by(|(a, _), (b, _)| a < b);
        let received_once = shard.received_through.is_sorted_by(|(a, _), (b, _)| a < b);
        let nothing_sent = shard.sent_through.iter().any(|(_, through)| *through == 0);
        when(
            !sent_once || !received_once || nothing_sent,
            "transfers of a shard in two places",
        )
    }

    fn queue_differs(&self, image: &Queue) -> Impossible {
        let Totals {
            enqueued,
            succeeded,
            failures,
            crashes,
            dead_lettered,
            redriven,
        } = image.totals;
        let totals = [
            enqueued,
            succeeded,
            failures,
            crashes,
            dead_lettered,
            redriven,
        ];
        let countless = totals.iter().any(|total| *total > u64::MAX / 2);
        let known = self.queues.get(&image.name).filter(|_| !self.partial);
        let differs = known.is_some_and(|known| {
            let image = Queue {
                recorded_at: known.recorded_at,
                recorded_totals: known.recorded_totals,
                ..image.clone()
            };
            *known != image
        });
        when(countless, "totals that no queue reaches")
            .or_else(|| when(differs, "an image that differs"))
    }

    fn transfer_differs(&self, target: ShardId, number: u64, image: &Task) -> Impossible {
        let outgoing = self.outgoing.get(&target);
        let sent = outgoing.is_some_and(|out| number <= out.sent_through);
        let known = outgoing.and_then(|out| out.unconfirmed.get(&number));
        when(!sent, "an image of a transfer that was not sent").or_else(|| {
            let differs = known.is_some_and(|known| **known != *image);
            when(differs, "an image that differs")
        })
    }
}

/// Of transfers, which are dense.
fn not_next(last: u64, number: u64) -> Impossible {
    let next = last.checked_add(1);
    when(next != Some(number), "a transfer that is not the next one")
}

/// Why an event cannot happen to a task.
fn cannot_happen_to(task: &Task, kind: TaskEvent, event: &Event) -> Impossible {
    if transition(task.stage(), kind).is_none() {
        return Some("something that cannot happen to a task in its state");
    }
    let Event::LeaseGranted { fence, .. } = event else {
        return None;
    };
    let next = task.runs().checked_add(1);
    when(next != Some(fence.run()), "a run that is not the next one")
        .or_else(|| when(*fence <= task.fence, "a fence that does not grow"))
}
