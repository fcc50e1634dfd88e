//! Replay: what the journal says, made facts again.
//!
//! Owns what replay checks before it applies: that no event is missing, that an event speaks of an
//! entity that is known and (`impossible.rs`) that it can have happened. Never decides anything and
//! reads no clock (I7). A log that was cleaned may, up to the record that says so, speak of entities
//! whose records are gone: such an event is skipped, because the entity either ended before it could
//! be recorded again or its image is still to come (rule 1).

use super::Ledger;
use crate::engine::event::Event;
use crate::engine::ids::ShardId;

/// Why an event of the journal cannot be made a fact again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// It is of a shard that is not there.
    #[error("event {seq} is of shard {}, but there are only {shards}", .shard.0)]
    NoSuchShard {
        /// Which shard.
        shard: ShardId,
        /// Which event of it.
        seq: u64,
        /// How many there are.
        shards: usize,
    },
    /// It does not follow from what was replayed before.
    #[error("event {seq} of shard {} {problem}", .shard.0)]
    Event {
        /// Which shard.
        shard: ShardId,
        /// Which event of it.
        seq: u64,
        /// What is wrong.
        problem: ReplayProblem,
    },
    /// The log begins with a later segment than the first, and nothing says that the earlier ones
    /// were cleaned.
    #[error("segments below {first_segment} are missing: nothing says that they were cleaned")]
    NotWhole {
        /// The segment that the log begins with.
        first_segment: u64,
    },
}

/// What is wrong with one event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplayProblem {
    /// Others are missing before it.
    #[error("follows event {last}: events are missing")]
    OutOfSequence {
        /// The latest one before it.
        last: u64,
    },
    /// It cannot have happened after what was replayed before.
    #[error("says what cannot be: {what}")]
    Impossible {
        /// What.
        what: &'static str,
    },
    /// It speaks of what is not there.
    #[error("speaks of {what}, which is not known")]
    Unknown {
        /// Of what.
        what: String,
    },
}

impl Ledger {
    /// Says whether what is replayed may speak of entities whose records were cleaned away.
    pub(in crate::engine) const fn replay_partial(&mut self, partial: bool) {
        self.partial = partial;
    }

    /// Makes an event of the journal a fact again, or skips it where the log is partial.
    ///
    /// # Errors
    /// Where events are missing, it cannot have happened, or it speaks of what is not known and the
    /// log is whole.
    pub(in crate::engine) fn replay(
        &mut self,
        seq: u64,
        event: &Event,
    ) -> Result<(), ReplayProblem> {
        let opens = self.last_seq == 0 && matches!(event, Event::SegmentOpened { .. });
        if seq != self.last_seq + 1 && !opens {
            let last = self.last_seq;
            return Err(ReplayProblem::OutOfSequence { last });
        }
        if let Some(what) = self.impossible(seq, event) {
            return Err(ReplayProblem::Impossible { what });
        }
        match self.unknown(event) {
            None => self.apply(seq, event),
            Some(what) if !self.partial => return Err(ReplayProblem::Unknown { what }),
            Some(_) => {
                self.count_event(seq, event);
                if let Event::TasksForgotten { ids } = event {
                    let known = ids.iter().filter(|id| self.tasks.contains_key(id));
                    let known: Vec<_> = known.copied().collect();
                    known.into_iter().for_each(|id| self.forget(id));
                }
            }
        }
        Ok(())
    }

    /// What an event speaks of without making it, where that is not known.
    fn unknown(&self, event: &Event) -> Option<String> {
        if let Some((id, _)) = event.of_task() {
            return (!self.tasks.contains_key(&id)).then(|| format!("task {id}"));
        }
        match event {
            Event::QueuePaused { queue, .. } | Event::QueueResumed { queue } => {
                (!self.queues.contains_key(queue)).then(|| format!("queue {queue}"))
            }
            Event::RememberedMore { key, .. } => self
                .memory_kept(key)
                .is_none()
                .then(|| format!("memory {key:?}")),
            Event::TasksForgotten { ids } => {
                let unknown = ids.iter().find(|id| !self.tasks.contains_key(id));
                unknown.map(|id| format!("task {id}"))
            }
            Event::EpochStarted { .. }
            | Event::QueueConfigured { .. }
            | Event::TaskEnqueued { .. }
            | Event::LeaseGranted { .. }
            | Event::LeaseStarted { .. }
            | Event::CancelRequested { .. }
            | Event::TimeoutsChanged { .. }
            | Event::RetryScheduled { .. }
            | Event::TaskDied { .. }
            | Event::TaskFinished { .. }
            | Event::TaskRedriven { .. }
            | Event::ExpiredThrough { .. }
            | Event::Remembered { .. }
            | Event::MemoriesForgotten { .. }
            | Event::KindConfigured { .. }
            | Event::KindRemoved { .. }
            | Event::LeaseExtended { .. }
            | Event::CheckpointSaved { .. }
            | Event::TaskEdited { .. }
            | Event::TaskExpired { .. }
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
}
