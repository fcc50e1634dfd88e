//! Starting a journal that was opened: the cut, the seal, and the writer.
//!
//! Owns the steps between recovery and the first append. Each may be repeated after a crash in the
//! middle. Never appends behind a cut: the first frame begins a new segment.

use std::sync::Arc;

use super::files::{Files, Log, Origin, SegmentInfo};
use super::format::SEAL;
use super::gate::{Gate, cannot};
use super::inline::InlineJournal;
use super::limits::NUMBERS_MAX;
use super::local::LocalJournal;
use super::open::{Recovered, Tail};
use super::survey::seal;
use super::writer::{LogEnd, Writer};
use super::{Encode, JournalError, Sink};

/// A writer that is ready, and what its journal shares with it.
pub(super) struct Ready<Record, Release> {
    pub(super) log: Arc<Log>,
    pub(super) gate: Arc<Gate<Release>>,
    pub(super) writer: Writer<Record, Release>,
}

impl Recovered {
    /// Cuts a torn tail, removes leftovers and starts the writer with its helpers, each on a thread
    /// of its own. The first frame appended must be one that opens a segment. A log that was not
    /// replayed is judged first.
    ///
    /// # Errors
    /// Where the log is damaged, or the machine refuses. `sink` is told of later failures only.
    pub fn start<Record, Release>(
        self,
        encode: Box<dyn Encode<Record>>,
        sink: Box<dyn Sink<Release>>,
    ) -> Result<LocalJournal<Record, Release>, JournalError>
    where
        Record: Send + 'static,
        Release: Send + 'static,
    {
        LocalJournal::start(self.ready(encode, sink)?)
    }

    /// The same without any thread: everything happens in the caller's, when it says so. For tests
    /// and simulation.
    ///
    /// # Errors
    /// As [`Recovered::start`].
    pub fn start_inline<Record, Release>(
        self,
        encode: Box<dyn Encode<Record>>,
        sink: Box<dyn Sink<Release>>,
    ) -> Result<InlineJournal<Record, Release>, JournalError>
    where
        Release: Send + 'static,
    {
        Ok(InlineJournal::new(self.ready(encode, sink)?))
    }

    fn ready<Record, Release>(
        mut self,
        encode: Box<dyn Encode<Record>>,
        sink: Box<dyn Sink<Release>>,
    ) -> Result<Ready<Record, Release>, JournalError>
    where
        Release: Send + 'static,
    {
        let tail = self.judged()?;
        self.check_numbers(&tail)?;
        self.cut(&tail)?;
        let end = LogEnd {
            segment: self.segments.last().map_or(0, |last| last.number),
            lsn: tail.last_lsn,
            chain: tail.chain,
        };
        let origin = Origin {
            uuid: self.uuid,
            incarnation: self.incarnation + 1,
            last_lsn: tail.last_lsn,
        };
        let sealed = self.segments.iter().zip(&tail.ends);
        let sealed = sealed.map(|(segment, end)| SegmentInfo {
            number: segment.number,
            bytes: segment.bytes.min(*end + SEAL.len() as u64),
            first_lsn: segment.header.map_or(0, |header| header.first_lsn),
        });
        let files = Files {
            sealed: sealed.collect(),
            active_bytes: 0,
            lock: Some(self.lock),
        };
        let gate = Arc::new(Gate::new(sink));
        let poison = Arc::clone(&gate);
        let log = Log::new(self.storage, poison, self.options, origin, files);
        let found = log.storage.list();
        let found = found.map_err(|error| cannot("list the directory", error))?;
        log.spares.adopt(&found)?;
        let log = Arc::new(log);
        let writer = Writer::new(Arc::clone(&log), Arc::clone(&gate), encode, end);
        Ok(Ready { log, gate, writer })
    }

    /// There is room for the next segment, frame and start.
    fn check_numbers(&self, tail: &Tail) -> Result<(), JournalError> {
        let segment = self.segments.last().map_or(0, |last| last.number);
        let highest = segment.max(tail.last_lsn).max(self.incarnation);
        if highest > NUMBERS_MAX {
            let why = format!("it has no more numbers: one is {highest} already");
            return Err(cannot("start", why));
        }
        Ok(())
    }

    /// Removes the files in which nothing was ever durable, and cuts every segment to the end of its
    /// last good frame: the last one durably, before anything follows it.
    fn cut(&self, tail: &Tail) -> Result<(), JournalError> {
        for name in &self.doomed {
            let removed = self.storage.remove(name);
            removed.map_err(|error| cannot(format!("remove {name}"), error))?;
        }
        if !self.doomed.is_empty() {
            let synced = self.storage.sync_dir();
            synced.map_err(|error| cannot("sync the directory", error))?;
        }
        for (segment, end) in self.segments.iter().zip(&tail.ends) {
            let name = &segment.name;
            let cut = |error| cannot(format!("cut {name} at byte {end}"), error);
            let file = self.storage.open(name).map_err(cut)?;
            seal(&*file, *end).map_err(cut)?;
        }
        Ok(())
    }
}
