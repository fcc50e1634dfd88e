//! The bounds of the journal, by name. Owns the numbers and never a decision (I9).

use std::time::Duration;

/// The usual size of a segment.
pub const SEGMENT_BYTES: u64 = 64 << 20;

/// The smallest size of a segment; for tests.
pub const SEGMENT_BYTES_MIN: u64 = 16 << 10;

/// The largest size of a segment: two are held in memory by recovery.
pub const SEGMENT_BYTES_MAX: u64 = 1 << 30;

/// An opening frame is asked for when less than this is left of the active segment..
pub(super) const ROOM_BYTES: u64 = 8 << 20;

/// ..or this part of its size, where that is less..
pub(super) const ROOM_PART: u64 = 8;

/// ..but for a full queue of frames as large as the last ones, up to this part of its size.
pub(super) const ROOM_PART_MAX: u64 = 2;

/// Appended frames that wait for the writer: the back-pressure on whoever appends. An opening frame
/// that is asked for comes behind as many.
pub(super) const FRAMES_QUEUED_MAX: usize = 64;

/// Once it has this many bytes, no more appended frames join a disk frame. One frame is never
/// split: it may be larger.
pub(super) const GROUP_BYTES_MAX: usize = 1 << 20;

/// Records of a disk frame, unless a single appended frame has more.
pub(super) const GROUP_RECORDS_MAX: usize = 4096;

/// So much of the writer's buffer is kept after a frame that was larger.
pub(super) const BUFFER_KEPT_BYTES_MAX: usize = 4 << 20;

/// How long after the last sync an empty frame confirms it.
pub(super) const CONFIRM_AFTER: Duration = Duration::from_millis(50);

/// Reserve files kept ready.
pub(super) const SPARES_READY: usize = 2;

/// Reserve files are filled in windows of this size.
pub(super) const FILL_WINDOW_BYTES: usize = 256 << 10;

/// How long a full disk is left alone before a reserve file is tried again.
pub(super) const FULL_RETRY: Duration = Duration::from_millis(500);

/// A log smaller than this is recovered without a thread that reads ahead.
pub(super) const READ_AHEAD_BYTES_MIN: u64 = 4 << 20;

/// A journal whose segments, frames or starts have larger numbers was not written by this program:
/// at a million a second they last for 290,000 years. It is read, and not gone on with.
pub(super) const NUMBERS_MAX: u64 = u64::MAX / 2;
