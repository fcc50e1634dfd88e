//! Holds the codec to its promises: nothing is lost, nothing drifts, hostile bytes are refused.
//!
//! Owns the round trip that the engine's own tests send their journals through, so that every event
//! of every script and storm is encoded and decoded.

mod doc;
mod fuzz;
mod golden;
mod hostile;
mod lifecycle;
mod round;
mod samples;
mod sharing;
mod values;

use super::{Decoder, Encoder};
use crate::engine::event::{Event, Recorded};
use crate::engine::ledger::queue::Totals;

/// What a journal's records are after they were bytes. Checks that nothing is lost on the way but
/// what the journal does not keep, and that a record has one form only.
pub(crate) fn through_the_codec(journal: &[Recorded]) -> Vec<Recorded> {
    let mut decoder = Decoder::new();
    let mut through = |record: &Recorded| {
        let bytes = encoded(record);
        let decoded = decoder.decode(&bytes).unwrap();
        assert_eq!(decoded, kept(record));
        assert_eq!(encoded(&decoded), bytes, "of {record:?}");
        decoded
    };
    journal.iter().map(&mut through).collect()
}

fn encoded(record: &Recorded) -> Vec<u8> {
    let mut bytes = Vec::new();
    Encoder.encode(record, &mut bytes);
    bytes
}

/// The part of a record that the journal keeps.
fn kept(record: &Recorded) -> Recorded {
    let mut record = record.clone();
    if let Event::Remembered { memory, .. } = &mut record.event {
        memory.recorded_at = 0;
    }
    if let Event::KindConfigured { kind } = &mut record.event {
        kind.recorded_at = 0;
    }
    if let Event::QueueImage { queue } = &mut record.event {
        queue.recorded_at = 0;
        queue.recorded_totals = Totals::default();
    }
    record
}
