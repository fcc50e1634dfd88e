//! The journal's contract: what may be told once which records are durable (I2).
//!
//! Owns the trait that every journal implements, the levels of durability, [`MemoryJournal`] and the
//! journal on disk. Never knows what a record or a release means: both are opaque here.
//!
//! The journal on disk, in reading order: [`open`] (`survey`: headers; `recover`: the verdict on a
//! segment's bytes; `stream`: all of them in order), `start` (the cut), [`LocalJournal`] (threads) or
//! [`InlineJournal`] (none) around `writer` (the core), which takes segments from `spares` and puts
//! releases through `gate`; [`LogFiles`] for the cleaner; [`inspect`] and [`repair`] for operators.
//! `docs/journal-format.md` has the bytes.
//!
//! Invariants of every journal: frames are released in the order of their appending, each exactly once, and only when
//! it and all frames before it have reached the level's tell point; after a failure nothing is
//! released any more, by whatever thread.

mod disk;
mod files;
mod format;
mod gate;
#[cfg(test)]
pub(crate) mod held;
mod inline;
mod inspect;
pub mod limits;
mod local;
mod memory;
mod open;
mod open_error;
mod recover;
pub mod simulated;
mod spares;
mod start;
mod stats;
mod storage;
mod stream;
mod survey;
mod synced;
mod writer;

pub use disk::DirStorage;
pub use files::{LogFiles, ReadError, SegmentInfo, SegmentRecords};
pub use inline::InlineJournal;
pub use inspect::{
    LogVerdict, RepairError, Repaired, Report, SegmentReport, SegmentVerdict, inspect, is_empty,
    repair,
};
pub use local::LocalJournal;
pub use memory::MemoryJournal;
pub use open::{OpenError, Options, Recovered, SegmentPos, Syncing, TornTail, UseRecord, open};
pub use stats::{LogNumbers, LogStats};
pub use storage::{Storage, StorageLock, Stored, StoredFile};
pub use survey::Damage;

/// What "durable" means: when a frame's release may leave the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// When it is synced to disk: survives a power cut.
    Always,
    /// When it is written to the file; synced soon after. Survives the end of the process; a power
    /// cut loses what was written since the last sync.
    Interval,
    /// At once: nothing is kept when the process ends.
    Memory,
}

impl Durability {
    /// The name that flags, answers and metrics use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Always => "always",
            Self::Interval => "interval",
            Self::Memory => "memory",
        }
    }
}

/// Records that become durable together, and what may leave once they are.
///
/// A frame without records waits for the frames before it: what was read may not be told before
/// what it was read from is durable.
#[derive(Debug)]
pub struct Frame<Record, Release> {
    /// What must be remembered, in order; may be empty.
    pub records: Vec<Record>,
    /// What may leave then.
    pub release: Release,
    /// Whether the frame begins a new segment, which its records make self-contained. The first
    /// frame of a journal on disk must; later ones when [`Asks::opener`] says so. Means nothing to
    /// other journals.
    pub opens_segment: bool,
}

/// What a journal wants of whoever appends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asks {
    /// The next frame should be one that opens a segment. True from when the writer wants it until
    /// such a frame was appended.
    pub opener: bool,
    /// The disk is full: only what shrinks the state should be accepted. False again by itself once
    /// there is room.
    pub refuse_growth: bool,
}

/// Turns records into bytes.
pub trait Encode<Record>: Send {
    /// Appends the bytes of one record to `out`, at most 4 GiB; must not change what is there.
    fn encode(&self, record: &Record, out: &mut Vec<u8>);
}

/// Something that remembers frames in order and releases them when they are durable.
///
/// It is built with a [`Sink`], which it calls from its own writer (or from `append`, where there
/// is none): no other thread stands between a sync and those who wait for it.
pub trait Journal<Record, Release>: Send {
    /// What "durable" means here. Never changes.
    fn durability(&self) -> Durability;

    /// What the journal wants of the next frame. Cheap: to be looked at every turn.
    fn asks(&self) -> Asks {
        Asks::default()
    }

    /// Takes the next frame. Waits while the writer is as many frames behind as it may be: that is
    /// the back-pressure on whoever appends.
    ///
    /// # Errors
    /// Where the journal has failed or was closed; the frame is dropped and never released. This is
    /// final: no later call succeeds.
    fn append(&mut self, frame: Frame<Record, Release>) -> Result<(), JournalError>;

    /// Waits until every frame taken is durable at the strongest level the journal has (synced, for
    /// one on disk) and released, then ends. Closing again changes nothing.
    ///
    /// # Errors
    /// Where the journal failed, before or now.
    fn close(&mut self) -> Result<(), JournalError>;
}

/// Where a journal puts what may leave, and the news of its own failure.
pub trait Sink<Release>: Send {
    /// Lets go of what one frame held back. Must not wait: the journal's writer stands still
    /// meanwhile.
    fn release(&mut self, release: Release);

    /// The journal has failed, for good: nothing is released after this. Called at most once.
    fn failed(&mut self, error: JournalError);
}

/// The environment failed the journal: a write, a sync, a disk. Never retried; the process ends
/// and recovery does the rest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the journal cannot {act}: {cause}")]
pub struct JournalError {
    /// What it was about to do, for example "sync segment 7".
    pub act: String,
    /// What the environment said.
    pub cause: String,
}

#[cfg(test)]
mod tests;
