//! The core of the writer: frames in, one disk frame and one sync, releases out. No thread.
//!
//! Owns the active segment and where the log ends. [`super::LocalJournal`] drives it from a thread,
//! [`super::InlineJournal`] in the caller's. Invariants: strictly write, sync, release, write; a
//! release leaves only when its frame and all before have reached the tell point; the first error
//! is the end.

use crate::mutants::{self, Mutant};
use std::collections::VecDeque;
use std::fmt::{self, Debug};
use std::sync::Arc;

use super::files::{Log, SegmentInfo};
use super::format::{
    BLOCK_BYTES, FLAG_OPENS, FRAME_BYTES, FrameHeader, PREFIX_BYTES, SEAL, SegmentHeader, aligned,
    body_crc, mixed, segment_name,
};
use super::gate::{Gate, Poison, cannot};
use super::limits::{
    BUFFER_KEPT_BYTES_MAX, FRAMES_QUEUED_MAX, GROUP_BYTES_MAX, GROUP_RECORDS_MAX, ROOM_BYTES,
    ROOM_PART, ROOM_PART_MAX,
};
use super::open::Syncing;
use super::storage::StoredFile;
use super::{Encode, Frame, JournalError};

/// The core of the writer.
pub(super) struct Writer<Record, Release> {
    log: Arc<Log>,
    gate: Arc<Gate<Release>>,
    encode: Box<dyn Encode<Record>>,
    active: Option<Active>,
    end: LogEnd,
    /// The durable lsn that the last frame carried.
    confirmed: u64,
    /// The lsn of the last frame with records.
    recorded: u64,
    /// One disk frame: header, body, padding.
    buffer: Vec<u8>,
    releases: Vec<Release>,
}

/// Where the log ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LogEnd {
    /// The number of the last segment; 0 where there is none.
    pub(super) segment: u64,
    /// The lsn of the last frame; 0 where there is none.
    pub(super) lsn: u64,
    /// The chain after it.
    pub(super) chain: u64,
}

/// The segment that is written to.
#[derive(Debug)]
struct Active {
    file: Arc<dyn StoredFile>,
    number: u64,
    salt: u32,
    first_lsn: u64,
    /// Where the next frame goes.
    end: u64,
    /// The length of the file.
    bytes: u64,
}

impl<Record, Release> Writer<Record, Release> {
    /// A writer that begins a new segment after `end` with the first frame.
    pub(super) fn new(
        log: Arc<Log>,
        gate: Arc<Gate<Release>>,
        encode: Box<dyn Encode<Record>>,
        end: LogEnd,
    ) -> Self {
        Self {
            log,
            gate,
            encode,
            active: None,
            end,
            confirmed: end.lsn,
            recorded: end.lsn,
            buffer: Vec::new(),
            releases: Vec::new(),
        }
    }

    /// Writes, syncs (where the level says so) and releases all of `batch`, in as few disk frames as
    /// the limits allow. Empties it.
    ///
    /// # Errors
    /// Where the journal fails or has failed: what was not released is dropped.
    pub(super) fn commit(
        &mut self,
        batch: &mut VecDeque<Frame<Record, Release>>,
    ) -> Result<(), JournalError> {
        while !batch.is_empty() {
            if let Some(error) = self.gate.failure() {
                return Err(error);
            }
            self.commit_group(batch)
                .map_err(|error| self.gate.poison(error))?;
        }
        Ok(())
    }

    /// Whether the last records are not yet known, by a later frame, to be synced.
    pub(super) const fn is_unconfirmed(&self) -> bool {
        self.recorded > self.confirmed
    }

    /// The lsn of the last frame.
    pub(super) const fn lsn(&self) -> u64 {
        self.end.lsn
    }

    /// Writes an empty frame that says that the last records were synced, where they were and no
    /// frame says so yet: from then on their damage cannot pass for a torn write.
    ///
    /// # Errors
    /// Where the journal fails or has failed.
    pub(super) fn confirm(&mut self) -> Result<(), JournalError> {
        if let Some(error) = self.gate.failure() {
            return Err(error);
        }
        if self.is_unconfirmed() && self.log.synced.durable() > self.confirmed {
            self.begin_frame();
            self.write_frame(0, 0)
                .map_err(|error| self.gate.poison(error))?;
        }
        Ok(())
    }

    /// Syncs what was written, at any level.
    ///
    /// # Errors
    /// Where the journal fails or has failed.
    pub(super) fn sync(&mut self) -> Result<(), JournalError> {
        if let Some(error) = self.gate.failure() {
            return Err(error);
        }
        let synced = self.log.synced.sync(&self.log.stats);
        synced.map_err(|error| self.gate.poison(error))
    }

    /// Syncs and confirms everything.
    ///
    /// # Errors
    /// Where the journal fails or has failed.
    pub(super) fn finish(&mut self) -> Result<(), JournalError> {
        self.sync()?;
        self.confirm()?;
        self.sync()
    }

    /// One disk frame of as much of `batch` as may join it.
    fn commit_group(
        &mut self,
        batch: &mut VecDeque<Frame<Record, Release>>,
    ) -> Result<(), JournalError> {
        self.begin_frame();
        let (mut n_records, mut opens) = (0, false);
        while let Some(frame) = batch.pop_front_if(|frame| {
            let full = self.buffer.len() >= GROUP_BYTES_MAX
                || frame.records.len().saturating_add(n_records) > GROUP_RECORDS_MAX;
            self.releases.is_empty() || !(full || frame.opens_segment)
        }) {
            opens |= frame.opens_segment;
            if mutants::is(Mutant::FrameLost) && n_records > 0 {
                self.releases.push(frame.release);
                continue;
            }
            n_records += frame.records.len();
            for record in &frame.records {
                self.encode_record(record)?;
            }
            self.releases.push(frame.release);
        }
        if opens {
            self.open_segment(n_records)?;
        } else if n_records > 0 {
            self.write_frame(n_records, 0)?;
        }
        for release in self.releases.drain(..) {
            self.gate.release(release);
        }
        Ok(())
    }

    fn begin_frame(&mut self) {
        self.releases.clear();
        self.buffer.clear();
        self.buffer.shrink_to(BUFFER_KEPT_BYTES_MAX);
        self.buffer.resize(FRAME_BYTES, 0);
    }

    fn encode_record(&mut self, record: &Record) -> Result<(), JournalError> {
        let at = self.buffer.len();
        self.buffer.extend_from_slice(&[0; PREFIX_BYTES]);
        self.encode.encode(record, &mut self.buffer);
        let len = self.buffer.len() - at - PREFIX_BYTES;
        let len = u32::try_from(len).map_err(|error| cannot("encode a record", error))?;
        if let Some(prefix) = self.buffer.get_mut(at..at + PREFIX_BYTES) {
            prefix.copy_from_slice(&len.to_le_bytes());
        }
        Ok(())
    }

    /// Writes the frame in the buffer, and syncs it where the level says so.
    fn write_frame(&mut self, n_records: usize, flags: u32) -> Result<(), JournalError> {
        let Some(active) = &mut self.active else {
            let cause = "the first one must open a segment";
            return Err(cannot("take a frame", cause));
        };
        let act = || format!("write to segment {}", active.number);
        let body = self.buffer.get(FRAME_BYTES..).unwrap_or_default();
        let number = |len| u32::try_from(len).map_err(|error| cannot(act(), error));
        let header = FrameHeader {
            body_len: number(body.len())?,
            body_crc: body_crc(active.salt, body),
            lsn: self.end.lsn + 1,
            prev_chain: self.end.chain,
            durable_lsn: self.log.synced.durable(),
            n_records: number(n_records)?,
            flags,
        };
        let encoded = header.encode(active.salt);
        if let Some(place) = self.buffer.get_mut(..FRAME_BYTES) {
            place.copy_from_slice(&encoded);
        }
        self.buffer.resize(aligned(self.buffer.len()), 0);
        active
            .file
            .write_at(active.end, &self.buffer)
            .map_err(|error| cannot(act(), error))?;
        active.end += self.buffer.len() as u64;
        self.log.wrote(self.buffer.len(), header.n_records);
        if active.end > active.bytes {
            active.bytes = active.end;
            self.log.files().active_bytes = active.bytes;
        }
        self.end.lsn = header.lsn;
        self.end.chain = header.chain();
        self.confirmed = header.durable_lsn;
        if n_records > 0 {
            self.recorded = header.lsn;
        }
        let room = active.bytes - active.end;
        self.log.synced.wrote(header.lsn);
        let unsynced = mutants::is(Mutant::ReleasedUnsynced);
        if self.log.options.syncing == Syncing::Always && !unsynced {
            self.log.synced.sync(&self.log.stats)?;
        }
        if room < self.room_wanted() {
            self.log.want_opener();
        }
        Ok(())
    }

    /// An opening frame is asked for when less room than this is left: enough for what is written
    /// before it comes.
    fn room_wanted(&self) -> u64 {
        let segment = self.log.options.segment_bytes;
        let frame = self.buffer.len() / self.releases.len().max(1);
        let queue = (frame * FRAMES_QUEUED_MAX) as u64;
        let least = ROOM_BYTES.min(segment / ROOM_PART);
        queue.clamp(least, segment / ROOM_PART_MAX)
    }

    /// Writes the frame in the buffer as the first one of a new segment. The segment before is
    /// sealed, and may be cleaned, only when that frame is durable.
    fn open_segment(&mut self, n_records: usize) -> Result<(), JournalError> {
        self.log.synced.sync(&self.log.stats)?;
        let new = self.make_segment()?;
        self.log.synced.switch(new.number, Arc::clone(&new.file));
        self.end.segment = new.number;
        let bytes = new.bytes;
        let old = self.active.replace(new);
        self.log.opener_written();
        self.write_frame(n_records, FLAG_OPENS)?;
        self.log.synced.sync(&self.log.stats)?;
        if let Some(old) = old {
            // Nothing was ever written behind the end.
            let sealed_bytes = old.bytes.min(old.end + SEAL.len() as u64);
            old.file.set_len(sealed_bytes).map_err(|error| {
                let act = format!("cut {} to its length", segment_name(old.number));
                cannot(act, error)
            })?;
            self.log.files().sealed.push_back(SegmentInfo {
                number: old.number,
                bytes: sealed_bytes,
                first_lsn: old.first_lsn,
            });
        }
        let mut files = self.log.files();
        files.active_bytes = bytes.max(self.active.as_ref().map_or(0, |active| active.bytes));
        Ok(())
    }

    /// A reserve file becomes the next segment, durably, with its header.
    fn make_segment(&self) -> Result<Active, JournalError> {
        let log = &self.log;
        let number = self.end.segment + 1;
        let name = segment_name(number);
        let made = |error| cannot(format!("make {name}"), error);
        let spare = log.spares.take()?;
        let salt =
            mixed(log.options.seed ^ mixed(log.incarnation) ^ mixed(number << 1)).to_le_bytes();
        let [a, b, c, d, ..] = salt;
        let header = SegmentHeader {
            uuid: log.uuid,
            incarnation: log.incarnation,
            number,
            salt: u32::from_le_bytes([a, b, c, d]),
            tag: log.options.tag,
            first_lsn: self.end.lsn + 1,
            prev_last_lsn: self.end.lsn,
            prev_chain: self.end.chain,
            capacity: log.options.segment_bytes,
        };
        let file = log.storage.open(&spare).map_err(made)?;
        file.write_at(0, &header.encode()).map_err(made)?;
        file.sync_data().map_err(made)?;
        log.storage.rename(&spare, &name).map_err(made)?;
        if !mutants::is(Mutant::DirectoryUnsynced) {
            log.storage.sync_dir().map_err(made)?;
        }
        Ok(Active {
            file,
            number,
            salt: header.salt,
            first_lsn: header.first_lsn,
            end: BLOCK_BYTES as u64,
            bytes: header.capacity,
        })
    }
}

impl<Record, Release> Debug for Writer<Record, Release> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer")
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}
