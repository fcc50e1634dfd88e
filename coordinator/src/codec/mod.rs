//! The codec: events as bytes, for the journal.
//!
//! Owns the binary form of [`Recorded`]: compact, because every task is written at least once, and
//! written by hand, because every task waits for it. Never touches a file and knows no frames,
//! checksums or segments: whoever hands bytes over says where a record ends. Depends on the types
//! of the engine and on nothing else.
//!
//! A record is the number of its kind (one byte), its shard, its sequence, and a body: the fields of
//! the event in a fixed order, without names. `docs/journal-records.md` lists them; tests compare
//! the list and a sample of each kind with the code.
//!
//! **What may change.** The body of a kind never does, nor does the meaning of a number, of a bit or
//! of a shape within. A shape that has to change gets a new name, and each kind that contains it a
//! new number; the old ones can be decoded for as long as a log may hold them. A new variant of an
//! enum gets the next number. Numbers are never used again. An older coordinator that meets a
//! number or a bit that it does not know refuses the record, and never misreads it.

mod cache;
mod event;
mod lifecycle;
mod plain;
mod policy;
mod shape;
mod task;
#[cfg(test)]
pub(crate) mod tests;
mod wire;

use crate::engine::command::Entity;
use crate::engine::event::Recorded;
use crate::engine::ids::ShardId;
use cache::Cache;
use wire::{Cursor, Reader, Writer};
pub use wire::{DecodeError, Problem};

/// Makes bytes of events.
#[derive(Clone, Copy, Debug, Default)]
pub struct Encoder;

impl Encoder {
    /// Appends the bytes of this record; nothing says where they end.
    pub fn encode(&self, record: &Recorded, out: &mut Vec<u8>) {
        event::put(record, &mut Writer::new(out));
    }
}

/// Makes events of bytes; equal names, texts and policies of different records share memory.
#[derive(Debug)]
pub struct Decoder {
    cache: Cache,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Decoder {
    /// A decoder that has read nothing yet. Its tables take about 200 KiB; what they hold is bounded
    /// too, by a few MiB where policies are of the usual size.
    #[must_use]
    pub fn new() -> Self {
        Self {
            cache: Cache::new(),
        }
    }

    /// The record in these bytes, all of which must be its own. Fields that the journal does not
    /// keep, `recorded_at` and `recorded_totals`, are at their defaults.
    ///
    /// # Errors
    /// Where they are anything but one whole record.
    pub fn decode(&mut self, bytes: &[u8]) -> Result<Recorded, DecodeError> {
        event::get(&mut Reader::new(Cursor::new(bytes), &mut self.cache))
    }
}

/// The entity that a full record speaks of, with its shard, for the cleaner: a task that was
/// enqueued, received or recorded again, or a transfer that was sent or recorded again. `None` for
/// records of any other kind. Reads no further than that.
///
/// # Errors
/// Where the record does not get that far.
pub fn entity_of(bytes: &[u8]) -> Result<Option<(ShardId, Entity)>, DecodeError> {
    event::entity_of(bytes)
}

/// Whose event a record is, and which: its shard and its sequence. Reads no further than that.
///
/// # Errors
/// Where the record does not get that far.
pub fn place_of(bytes: &[u8]) -> Result<(ShardId, u64), DecodeError> {
    event::place_of(bytes)
}
