//! Why a journal is not opened.
//!
//! Owns the causes and their words: the place, what is wrong, what it costs, and the remedy.

use std::io;

use super::format::BLOCK_BYTES;
use super::limits::{SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN};
use super::survey::Damage;

/// Why a journal was not opened. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("{place} is in use by another process; stop it, or choose another directory")]
    Locked {
        /// The directory.
        place: String,
    },
    /// Acknowledged records may be gone.
    #[error("{place}: {damage}")]
    Corrupt {
        /// The directory.
        place: String,
        /// Where, and what it costs.
        damage: Box<Damage>,
    },
    /// A record is whole, and whoever replays it cannot use it: no frame is damaged.
    #[error(
        "{place}: {file}: a record of the frame at byte {offset} cannot be used: {why}; a repair \
         cannot help: restore the files from a backup"
    )]
    Refused {
        /// The directory.
        place: String,
        /// The segment's file.
        file: String,
        /// Where its frame begins.
        offset: u64,
        /// What is wrong with it.
        why: String,
    },
    /// It was made by another version of this program.
    #[error("{place}: {file}: {why}; use the version that wrote it")]
    Version {
        /// The directory.
        place: String,
        /// The segment's file.
        file: String,
        /// Which version, and which one is known.
        why: String,
    },
    /// It was made with another tag.
    #[error("{place} was made with tag {found}, not {asked}; it is fixed for a journal's life")]
    WrongTag {
        /// The directory.
        place: String,
        /// The tag it was made with.
        found: u16,
        /// The tag of the options.
        asked: u16,
    },
    /// The size of segments is out of bounds or out of step.
    #[error(
        "segments of {bytes} bytes are not possible: {SEGMENT_BYTES_MIN} to {SEGMENT_BYTES_MAX} are, \
         in steps of {BLOCK_BYTES}"
    )]
    SegmentBytes {
        /// The size of the options.
        bytes: u64,
    },
    /// The machine refused something.
    #[error("{place}: cannot {act}: {cause}")]
    Io {
        /// The directory.
        place: String,
        /// What was tried.
        act: String,
        /// What the machine said.
        cause: io::Error,
    },
}
