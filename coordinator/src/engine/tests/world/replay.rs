//! The journal of a script, replayed, and turns that are full already.
//!
//! Owns the ways a script's journal is read again: whole, or with something missing.

use super::World;
use crate::codec::tests::through_the_codec;
use crate::engine::command::Command;
use crate::engine::event::{Event, Recorded};
use crate::engine::ids::ShardId;
use crate::engine::ledger::ReplayError;
use crate::engine::{Engine, Turn};

impl World {
    /// Gives a command that is not the first of its turn: so many bytes were recorded before.
    pub(in crate::engine::tests) fn give_into_a_turn_of(&mut self, bytes: u64, command: Command) {
        let mut turn = Turn {
            bytes,
            ..Turn::default()
        };
        self.engine.step(self.now, command, &mut turn);
        self.settle(turn);
    }

    /// What the journal rebuilds from its bytes is what is there (I1, I7).
    pub(in crate::engine::tests) fn check_replay(&self) {
        let replayed = self.replayed(1, &self.journal).unwrap();
        for shard in 0..self.config.shard_count {
            assert_eq!(
                replayed.ledger(ShardId(shard)),
                self.engine.ledger(ShardId(shard))
            );
        }
    }

    /// A replay of the events that pass, as a log that begins with this segment.
    pub(in crate::engine::tests) fn replay_from(
        &self,
        first_segment: u64,
        passes: impl Fn(&Event) -> bool,
    ) -> Result<(), ReplayError> {
        let log: Vec<Recorded> = self.passing(passes);
        self.replayed(first_segment, &log).map(drop)
    }

    /// The same with the sequence closed over what is missing; of one shard.
    pub(in crate::engine::tests) fn replay_renumbered(
        &self,
        passes: impl Fn(&Event) -> bool,
    ) -> Result<(), ReplayError> {
        let mut log = self.passing(passes);
        for (seq, recorded) in (1..).zip(&mut log) {
            recorded.seq = seq;
        }
        self.replayed(1, &log).map(drop)
    }

    /// Replays a log of one shard into an engine that knows nothing.
    pub(in crate::engine::tests) fn replay_records(&self, log: &[Recorded]) {
        self.replayed(1, log).unwrap();
    }

    /// A replay of the journal and of one event more, of shard 0.
    pub(in crate::engine::tests) fn replay_with(&self, event: Event) -> Result<(), ReplayError> {
        let mut log = self.journal.clone();
        let (shard, seq) = (ShardId(0), log.last().map_or(1, |last| last.seq + 1));
        log.push(Recorded { shard, seq, event });
        self.replayed(1, &log).map(drop)
    }

    fn passing(&self, passes: impl Fn(&Event) -> bool) -> Vec<Recorded> {
        let passing = self.journal.iter();
        let passing = passing.filter(|recorded| passes(&recorded.event));
        passing.cloned().collect()
    }

    fn replayed(&self, first_segment: u64, log: &[Recorded]) -> Result<Engine, ReplayError> {
        let mut engine = Engine::new(self.config.clone());
        engine.begin_replay(first_segment);
        for recorded in through_the_codec(log) {
            engine.replay(&recorded)?;
        }
        engine.end_replay()?;
        Ok(engine)
    }
}
