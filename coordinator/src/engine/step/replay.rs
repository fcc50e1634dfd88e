//! The replay of a journal into the engine's state.
//!
//! Owns where a partial log becomes whole, for all shards at once. What an event does, and which one
//! is skipped, is each ledger's.

use super::Core;
use crate::engine::event::{Event, Recorded};
use crate::engine::ledger::ReplayError;

impl Core {
    /// The log to be replayed begins with this segment.
    pub(in crate::engine) fn begin_replay(&mut self, first_segment: u64) {
        self.replayed_from = first_segment;
        self.replay_partial(first_segment > 1);
    }

    pub(in crate::engine) fn replay(&mut self, recorded: &Recorded) -> Result<(), ReplayError> {
        let Recorded { shard, seq, event } = recorded;
        let (shard, seq, shards) = (*shard, *seq, self.shards.len());
        let Some(owner) = self.shards.get_mut(usize::from(shard.0)) else {
            return Err(ReplayError::NoSuchShard { shard, seq, shards });
        };
        let replayed = owner.replay(seq, event);
        replayed.map_err(|problem| ReplayError::Event {
            shard,
            seq,
            problem,
        })?;
        if matches!(event, Event::SegmentsCleaned { below } if *below >= self.replayed_from) {
            self.replay_partial(false);
        }
        Ok(())
    }

    /// All was replayed.
    pub(in crate::engine) const fn end_replay(&self) -> Result<(), ReplayError> {
        if self.partial {
            let first_segment = self.replayed_from;
            return Err(ReplayError::NotWhole { first_segment });
        }
        Ok(())
    }

    pub(in crate::engine) const fn has_accepted_loss(&self) -> bool {
        self.unsaid_cleaning.is_some()
    }

    /// What is missing at the beginning of the log is lost, and that was accepted.
    pub(in crate::engine) fn accept_loss(&mut self) {
        self.unsaid_cleaning = Some(self.replayed_from);
        self.replay_partial(false);
    }

    fn replay_partial(&mut self, partial: bool) {
        self.partial = partial;
        for shard in &mut self.shards {
            shard.replay_partial(partial);
        }
    }
}
