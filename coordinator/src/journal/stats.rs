//! What the journal has done so far, in numbers that may be read at any time.
//!
//! Owns the counters and the stopwatch; the only clock of the journal, which decides nothing but
//! how soon a sync is confirmed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Counters since the start.
#[derive(Debug, Default)]
pub struct LogStats {
    frames: AtomicU64,
    records: AtomicU64,
    bytes: AtomicU64,
    syncs: AtomicU64,
    sync_nanos: AtomicU64,
    sync_nanos_max: AtomicU64,
    segments: AtomicU64,
    spares_ready: AtomicU64,
}

/// The counters at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogNumbers {
    /// Frames written, those that only confirm included.
    pub frames: u64,
    /// Records written.
    pub records: u64,
    /// Bytes of frames written.
    pub bytes: u64,
    /// Syncs of frames.
    pub syncs: u64,
    /// The time they took together, in nanoseconds.
    pub sync_nanos: u64,
    /// The longest, in nanoseconds.
    pub sync_nanos_max: u64,
    /// Segment files there are, the active one included.
    pub segments: u64,
    /// Reserve files that are ready.
    pub spares_ready: u64,
}

impl LogStats {
    /// The counters now. They are read one after another: a sync may come between.
    #[must_use]
    pub fn numbers(&self) -> LogNumbers {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        LogNumbers {
            frames: of(&self.frames),
            records: of(&self.records),
            bytes: of(&self.bytes),
            syncs: of(&self.syncs),
            sync_nanos: of(&self.sync_nanos),
            sync_nanos_max: of(&self.sync_nanos_max),
            segments: of(&self.segments),
            spares_ready: of(&self.spares_ready),
        }
    }

    pub(super) fn wrote(&self, bytes: usize, records: u32) {
        self.frames.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        let records = u64::from(records);
        self.records.fetch_add(records, Ordering::Relaxed);
    }

    pub(super) fn synced(&self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.syncs.fetch_add(1, Ordering::Relaxed);
        self.sync_nanos.fetch_add(nanos, Ordering::Relaxed);
        self.sync_nanos_max.fetch_max(nanos, Ordering::Relaxed);
    }

    pub(super) fn has_segments(&self, count: usize) {
        self.segments.store(count as u64, Ordering::Relaxed);
    }

    pub(super) fn has_spares(&self, count: usize) {
        self.spares_ready.store(count as u64, Ordering::Relaxed);
    }
}

/// Measures one duration.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stopwatch(Instant);

impl Stopwatch {
    #[expect(
        clippy::disallowed_methods,
        reason = "durations of syncs are measured here and nowhere else"
    )]
    pub(super) fn start() -> Self {
        Self(Instant::now())
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}
