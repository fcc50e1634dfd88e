//! How an engine comes to know what its journal remembers, and how its next epoch begins.
//!
//! Owns the order: everything is replayed, then an epoch begins that is higher than all before, in a
//! frame that opens a segment (rules 4 and 10). Never opens a journal, reads no clock and says nothing
//! to people: `start` does, and the simulator in its place. Invariant: an engine that was not told a
//! whole log never begins an epoch, unless its loss was accepted.

use super::turns::TurnFrame;
use crate::codec::{Decoder, Encoder};
use crate::engine::event::Recorded;
use crate::engine::ids::Timestamp;
use crate::engine::ledger::ReplayError;
use crate::engine::{Engine, Turn};
use crate::journal::{Encode, Frame, OpenError, Recovered};

impl Encode<Recorded> for Encoder {
    fn encode(&self, record: &Recorded, out: &mut Vec<u8>) {
        Self::encode(self, record, out);
    }
}

/// Why a log cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReviveError {
    /// It is damaged, or says what makes no sense.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// It lacks segments at its beginning that nobody cleaned.
    #[error("{problem}")]
    Incomplete {
        /// The records that it does have; all were replayed.
        records: u64,
        /// What is missing.
        problem: ReplayError,
    },
}

/// Makes the engine know all that a log remembers; `progress` is told of the records and their bytes
/// so far. Answers how many records there are.
///
/// # Errors
/// Where the log is damaged, makes no sense or is not whole.
pub fn replay(
    recovered: &mut Recovered,
    engine: &mut Engine,
    mut progress: impl FnMut(u64, u64),
) -> Result<u64, ReviveError> {
    engine.begin_replay(recovered.first_segment().unwrap_or(1));
    let mut decoder = Decoder::default();
    let (mut records, mut seen) = (0_u64, 0_u64);
    recovered.replay(&mut |_, record| {
        let event = decoder.decode(record).map_err(|error| error.to_string())?;
        engine.replay(&event).map_err(|error| error.to_string())?;
        records += 1;
        seen += record.len() as u64;
        progress(records, seen);
        Ok(())
    })?;
    let whole = engine.end_replay();
    whole.map_err(|problem| ReviveError::Incomplete { records, problem })?;
    Ok(records)
}

/// The first turn of a run of the coordinator: a new epoch, at the head of a new segment.
pub fn first_turn(engine: &mut Engine, now: Timestamp) -> TurnFrame {
    let mut turn = Turn::default();
    let epoch = engine.last_epoch().saturating_add(1).max(now.0 / 1000);
    engine.begin_epoch(now, epoch, &mut turn);
    Frame {
        records: turn.events,
        release: turn.effects,
        opens_segment: true,
    }
}
