//! The journal's files as its cleaner sees them, and what all its threads share.
//!
//! Owns the list of sealed segments, the room that everything takes, and the lock of the directory
//! while the journal lives. Never touches the active segment. Invariant: files go oldest first, one
//! durably before the next, so that the log never has a gap.

use crate::mutants::{self, Mutant};
use std::collections::VecDeque;
use std::fmt::{self, Debug};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::format::segment_name;
use super::gate::{Poison, cannot};
use super::open::{Options, SegmentPos};
use super::recover::{Ending, FrameAt, Records, scan};
use super::spares::Spares;
use super::stats::LogStats;
use super::storage::{Storage, StorageLock};
use super::survey::{Segment, read_whole};
use super::synced::Synced;
use super::{Asks, JournalError};

/// A sealed segment: nothing is added to it any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentInfo {
    /// Its number.
    pub number: u64,
    /// The length of its file in bytes.
    pub bytes: u64,
    /// The lsn of its first frame.
    pub first_lsn: u64,
}

/// The journal's files, for its cleaner and for metrics. Clones are the same.
#[derive(Clone)]
pub struct LogFiles {
    log: Arc<Log>,
}

/// What the threads of a journal share.
pub(super) struct Log {
    pub(super) storage: Arc<dyn Storage>,
    pub(super) options: Options,
    pub(super) uuid: [u8; 16],
    pub(super) incarnation: u64,
    pub(super) poison: Arc<dyn Poison>,
    pub(super) stats: LogStats,
    pub(super) spares: Spares,
    pub(super) synced: Synced,
    files: Mutex<Files>,
    appended: AtomicU64,
    opener: AtomicU8,
}

/// Which journal, at which of its starts, and from where on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin {
    pub(super) uuid: [u8; 16],
    pub(super) incarnation: u64,
    pub(super) last_lsn: u64,
}

/// The sealed segments and the active one's size.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) sealed: VecDeque<SegmentInfo>,
    /// The full size of the active segment; 0 where there is none yet.
    pub(super) active_bytes: u64,
    /// Gone once the journal has ended: another process may have the directory then.
    pub(super) lock: Option<Box<dyn StorageLock>>,
}

/// No opening frame is wanted.
const CONTENT: u8 = 0;
/// One is wanted.
const WANTED: u8 = 1;
/// One was appended, and is not written yet.
const QUEUED: u8 = 2;

/// Why a sealed segment's records cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// There is no sealed segment of that number.
    #[error("there is no sealed segment {number}")]
    Unknown {
        /// The number asked for.
        number: u64,
    },
    /// The machine refused.
    #[error("cannot read segment {number}: {cause}")]
    Io {
        /// The segment.
        number: u64,
        /// What the machine said.
        cause: String,
    },
    /// It is not what was written.
    #[error("segment {number} is damaged at byte {offset}: {why}")]
    Corrupt {
        /// The segment.
        number: u64,
        /// Where.
        offset: u64,
        /// How.
        why: String,
    },
}

/// The records of one sealed segment, read and checked at once, handed out one by one.
#[derive(Debug)]
pub struct SegmentRecords {
    number: u64,
    bytes: Vec<u8>,
    /// Where each record stands: its length prefix, and its end.
    records: std::vec::IntoIter<(usize, usize)>,
}

impl SegmentRecords {
    /// The next record.
    pub fn next_record(&mut self) -> Option<(SegmentPos, &[u8])> {
        let (at, end) = self.records.next()?;
        let pos = SegmentPos {
            segment: self.number,
            offset: at as u64,
        };
        let record = self.bytes.get(at + super::format::PREFIX_BYTES..end)?;
        Some((pos, record))
    }
}

impl Log {
    pub(super) fn new(
        storage: Arc<dyn Storage>,
        poison: Arc<dyn Poison>,
        options: Options,
        origin: Origin,
        files: Files,
    ) -> Self {
        let spares = Spares::new(
            Arc::clone(&storage),
            Arc::clone(&poison),
            options.segment_bytes,
        );
        Self {
            storage,
            options,
            incarnation: origin.incarnation,
            uuid: origin.uuid,
            poison,
            stats: LogStats::default(),
            spares,
            synced: Synced::starting_at(origin.last_lsn),
            files: Mutex::new(files),
            appended: AtomicU64::new(0),
            opener: AtomicU8::new(WANTED),
        }
    }

    pub(super) fn files(&self) -> MutexGuard<'_, Files> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The writer wants an opening frame, unless one is on its way.
    pub(super) fn want_opener(&self) {
        let (from, to) = (CONTENT, WANTED);
        // Where it fails, one is wanted or on its way already.
        let _was = self
            .opener
            .compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire);
    }

    /// An opening frame was appended.
    pub(super) fn opener_queued(&self) {
        self.opener.store(QUEUED, Ordering::Release);
    }

    /// An opening frame was written.
    pub(super) fn opener_written(&self) {
        self.opener.store(CONTENT, Ordering::Release);
    }

    pub(super) fn asks(&self) -> Asks {
        Asks {
            opener: self.opener.load(Ordering::Acquire) == WANTED,
            refuse_growth: self.spares.refuse_growth(),
        }
    }

    pub(super) fn wrote(&self, bytes: usize, records: u32) {
        self.appended.fetch_add(bytes as u64, Ordering::Relaxed);
        self.stats.wrote(bytes, records);
    }

    /// The journal has ended: its directory is free for another one.
    pub(super) fn unlock(&self) {
        self.files().lock = None;
    }
}

impl LogFiles {
    pub(super) const fn new(log: Arc<Log>) -> Self {
        Self { log }
    }

    /// The sealed segments, oldest first.
    #[must_use]
    pub fn sealed(&self) -> Vec<SegmentInfo> {
        self.log.files().sealed.iter().copied().collect()
    }

    /// Whether the disk is full and the reserve touched: what grows should be refused.
    #[must_use]
    pub fn refuses_growth(&self) -> bool {
        self.log.spares.refuse_growth()
    }

    /// Bytes on disk: all segments, the active one at its full size, and the reserve files.
    #[must_use]
    pub fn disk_bytes(&self) -> u64 {
        let files = self.log.files();
        let sealed: u64 = files.sealed.iter().map(|segment| segment.bytes).sum();
        let spares = self.log.spares.ready() as u64 * self.log.options.segment_bytes;
        sealed + files.active_bytes + spares
    }

    /// Bytes of all frames written since the start, as a measure of the pace of appends.
    #[must_use]
    pub fn appended_bytes(&self) -> u64 {
        self.log.appended.load(Ordering::Relaxed)
    }

    /// What the journal has done so far.
    #[must_use]
    pub fn stats(&self) -> &LogStats {
        let stats = &self.log.stats;
        stats.has_spares(self.log.spares.ready());
        let files = self.log.files();
        stats.has_segments(files.sealed.len() + usize::from(files.active_bytes > 0));
        stats
    }

    /// Reads a sealed segment and checks every frame of it.
    ///
    /// # Errors
    /// Where there is none of that number, it cannot be read, or it is damaged. That fails nothing:
    /// the damage concerns the next start.
    pub fn read(&self, number: u64) -> Result<SegmentRecords, ReadError> {
        let is_it = |segment: &&SegmentInfo| segment.number == number;
        if self.log.files().sealed.iter().find(is_it).is_none() {
            return Err(ReadError::Unknown { number });
        }
        let mut bytes = Vec::new();
        self.log
            .storage
            .open(&segment_name(number))
            .and_then(|file| read_whole(&*file, &mut bytes))
            .map_err(|cause| ReadError::Io {
                number,
                cause: cause.to_string(),
            })?;
        let corrupt = |offset: usize, why: String| ReadError::Corrupt {
            number,
            offset: offset as u64,
            why,
        };
        let Ok(header) = super::format::SegmentHeader::decode(&bytes) else {
            return Err(corrupt(0, "the segment's header is damaged".to_owned()));
        };
        let mut frames = Vec::new();
        let verdict = scan(&bytes, &Segment::expect(&header, false), &mut frames);
        if let Ending::Corrupt(fault) | Ending::Torn(fault) = verdict.ending {
            return Err(corrupt(fault.offset, fault.why.text()));
        }
        let records = positions(&bytes, &frames)
            .map_err(|offset| corrupt(offset, "the frame is not made of records".to_owned()))?;
        Ok(SegmentRecords {
            number,
            bytes,
            records: records.into_iter(),
        })
    }

    /// Removes the sealed segments below `number`, oldest first, durably. What was written before
    /// the call is synced first: at `interval`, what took the place of those segments may have been
    /// acknowledged without being on disk yet.
    ///
    /// # Errors
    /// Where the machine refuses: the journal has failed then. Where the journal has ended.
    pub fn delete_below(&self, number: u64) -> Result<(), JournalError> {
        if let Some(error) = self.log.poison.failure() {
            return Err(error);
        }
        let synced = self.log.synced.sync(&self.log.stats);
        synced.map_err(|error| self.log.poison.poison(error))?;
        loop {
            // Held over the removal: nobody else deletes, and the directory stays ours.
            let mut files = self.log.files();
            let oldest = files.sealed.front().copied();
            let Some(oldest) = oldest.filter(|oldest| {
                oldest.number < number + u64::from(mutants::is(Mutant::RemovesOneTooFar))
            }) else {
                return Ok(());
            };
            let name = segment_name(oldest.number);
            let act = format!("remove {name}");
            if let Some(error) = self.log.poison.failure() {
                return Err(error);
            }
            if files.lock.is_none() {
                return Err(cannot(act, "the journal has ended"));
            }
            let storage = &self.log.storage;
            let removed = storage.remove(&name).and_then(|()| storage.sync_dir());
            if let Err(cause) = removed {
                drop(files);
                return Err(self.log.poison.poison(cannot(act, cause)));
            }
            files.sealed.pop_front();
        }
    }
}

/// Where the records of good frames stand; the offset of a frame that is not made of records.
fn positions(bytes: &[u8], frames: &[FrameAt]) -> Result<Vec<(usize, usize)>, usize> {
    let mut found = Vec::new();
    for frame in frames {
        for record in Records::of(bytes, frame) {
            let (at, record) = record.ok_or(frame.offset)?;
            found.push((at, at + super::format::PREFIX_BYTES + record.len()));
        }
    }
    Ok(found)
}

impl Debug for LogFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogFiles")
            .field("files", &*self.log.files())
            .finish_non_exhaustive()
    }
}
