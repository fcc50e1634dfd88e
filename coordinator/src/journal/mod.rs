//! The journal's contract: what may be told once which records are durable (I2).
//!
//! Owns the trait that every journal implements, the levels of durability, and [`MemoryJournal`].
//! Never knows what a record or a release means: both are opaque here. Invariants of every
//! journal: frames are released in the order of their appending, each exactly once, and only when
//! it and all frames before it have reached the level's tell point; after a failure nothing is
//! released any more, by whatever thread.

#[cfg(test)]
pub(crate) mod held;
mod memory;

pub use memory::MemoryJournal;

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
    /// Its first records are all that a log which begins with it has to know besides entities: the
    /// journal begins a segment with it, where it has segments.
    pub opens_segment: bool,
}

/// What a journal would like of whoever appends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asks {
    /// The next frame should open a segment.
    pub opener: bool,
    /// The disk is full: nothing should be accepted that grows.
    pub refuse_growth: bool,
}

/// Turns a record into bytes.
pub trait Encode<Record>: Send {
    /// Appends the record's bytes to `out`.
    fn encode(&self, record: &Record, out: &mut Vec<u8>);
}

/// Something that remembers frames in order and releases them when they are durable.
///
/// It is built with a [`Sink`], which it calls from its own writer (or from `append`, where there
/// is none): no other thread stands between a sync and those who wait for it.
pub trait Journal<Record, Release>: Send {
    /// What "durable" means here. Never changes.
    fn durability(&self) -> Durability;

    /// What it would like now; to be asked before each frame.
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
