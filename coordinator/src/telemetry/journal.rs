//! What the journal's files and counters look like as metrics.
//!
//! Owns the reading of [`LogFiles`] as metrics. Never keeps anything: the journal counts.

use metrics::{Key, Recorder};

use super::names::{
    JOURNAL_DISK, JOURNAL_FRAMES, JOURNAL_FULL, JOURNAL_RECORDS, JOURNAL_SEGMENTS, JOURNAL_SPARES,
    JOURNAL_SYNCING, JOURNAL_SYNCS, JOURNAL_WRITTEN,
};
use super::{METADATA, Telemetry, number};
use crate::journal::LogFiles;

impl Telemetry {
    /// Brings what is shown of the journal up to date.
    pub fn show_journal(&self, files: &LogFiles) {
        let numbers = files.stats().numbers();
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
            (JOURNAL_DISK, number(files.disk_bytes())),
            (JOURNAL_SEGMENTS, number(numbers.segments)),
            (JOURNAL_SPARES, number(numbers.spares_ready)),
            (JOURNAL_FULL, if files.refuses_growth() { 1.0 } else { 0.0 }),
        ] {
            let gauge = self
                .recorder
                .register_gauge(&Key::from_name(name), &METADATA);
            gauge.set(value);
        }
    }
}
