//! What the journal's files and counters look like as metrics.
//!
//! Owns what is read of a journal for that. Never keeps anything: the journal counts.

use metrics::{Key, Recorder};

use super::names::{
    JOURNAL_DISK, JOURNAL_FRAMES, JOURNAL_FULL, JOURNAL_RECORDS, JOURNAL_SEGMENTS, JOURNAL_SPARES,
    JOURNAL_SYNCING, JOURNAL_SYNCS, JOURNAL_WRITTEN,
};
use super::{METADATA, Telemetry, number};
use crate::journal::{LogFiles, LogNumbers};

/// What is shown of a journal.
#[derive(Clone, Copy, Debug, Default)]
pub struct JournalFacts {
    /// What it has done.
    pub numbers: LogNumbers,
    /// Bytes on disk.
    pub disk_bytes: u64,
    /// Whether its disk is full.
    pub is_full: bool,
}

impl JournalFacts {
    /// The facts of these files now.
    #[must_use]
    pub fn of(files: &LogFiles) -> Self {
        Self {
            numbers: files.stats().numbers(),
            disk_bytes: files.disk_bytes(),
            is_full: files.refuses_growth(),
        }
    }
}

impl Telemetry {
    /// Brings what is shown of the journal up to date.
    pub fn show_journal(&self, facts: &JournalFacts) {
        let numbers = facts.numbers;
        for (name, count) in [
            (JOURNAL_FRAMES, numbers.frames),
            (JOURNAL_RECORDS, numbers.records),
            (JOURNAL_WRITTEN, numbers.bytes),
            (JOURNAL_SYNCS, numbers.syncs),
        ] {
            let counter = self
                .recorder
                .register_counter(&Key::from_name(name), &METADATA);
            counter.absolute(count);
        }
        let syncing = std::time::Duration::from_nanos(numbers.sync_nanos);
        for (name, value) in [
            (JOURNAL_SYNCING, syncing.as_secs_f64()),
            (JOURNAL_DISK, number(facts.disk_bytes)),
            (JOURNAL_SEGMENTS, number(numbers.segments)),
            (JOURNAL_SPARES, number(numbers.spares_ready)),
            (JOURNAL_FULL, if facts.is_full { 1.0 } else { 0.0 }),
        ] {
            let gauge = self
                .recorder
                .register_gauge(&Key::from_name(name), &METADATA);
            gauge.set(value);
        }
    }
}
