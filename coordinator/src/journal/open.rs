//! Opening a journal: who may, what is there, and every good record of it in order.
//!
//! Owns the options, the lock, and the plan of the replay. Changes nothing on disk: the cut comes
//! with [`Recovered::start`]. Invariant: what is handed out is a prefix of what was appended, and
//! if it is less than what was acknowledged, opening fails.

use std::fmt::{self, Debug};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::format::{BLOCK_BYTES, REPAIRED_NAME, SegmentHeader, mixed, segment_name};
use super::gate::cannot;
use super::limits::{SEGMENT_BYTES, SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN};
pub use super::open_error::OpenError;
use super::recover::{Ending, Records};
use super::storage::{Storage, StorageLock};
use super::stream::{Chunk, Planned, Stop, stream};
use super::survey::{Scratch, Segment, Survey, assess, has_frame, survey};
use super::{Durability, JournalError};

/// When frames are synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Syncing {
    /// Before they are released.
    Always,
    /// Soon after they were written and released.
    Interval {
        /// How soon: at most this long after.
        sync_every: Duration,
    },
}

impl Syncing {
    /// The level of durability that this gives.
    #[must_use]
    pub const fn durability(self) -> Durability {
        match self {
            Self::Always => Durability::Always,
            Self::Interval { .. } => Durability::Interval,
        }
    }
}

/// How a journal is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// The size of new segments in bytes: within [`SEGMENT_BYTES_MIN`] and [`SEGMENT_BYTES_MAX`],
    /// in steps of 4 KiB.
    pub segment_bytes: u64,
    /// When frames are synced.
    pub syncing: Syncing,
    /// Randomness: the uuid of a new journal and the salts of new segments come from it.
    pub seed: u64,
    /// The opener's own number, fixed for the life of a journal; the coordinator puts its number of
    /// shards here.
    pub tag: u16,
}

impl Options {
    /// The usual options: segments of 64 MiB, synced before anything is released.
    #[must_use]
    pub const fn new(seed: u64, tag: u16) -> Self {
        Self {
            segment_bytes: SEGMENT_BYTES,
            syncing: Syncing::Always,
            seed,
            tag,
        }
    }
}

/// Where a record stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SegmentPos {
    /// The number of its segment.
    pub segment: u64,
    /// The byte of the segment file at which the record's length prefix begins.
    pub offset: u64,
}

/// Uses one record; what it says against the record is damage.
pub type UseRecord<'a> = dyn FnMut(SegmentPos, &[u8]) -> Result<(), String> + 'a;

/// A tail that was being written when the journal's process or machine ended; it is cut at the
/// start, and nothing of it was acknowledged (at `interval`: was synced).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// The segment's file.
    pub file: String,
    /// Where the good frames end.
    pub offset: u64,
}

/// A journal that was opened, is locked, and can be replayed and then started.
pub struct Recovered {
    pub(super) storage: Arc<dyn Storage>,
    pub(super) options: Options,
    pub(super) lock: Box<dyn StorageLock>,
    /// The good segments; the last one may have a torn tail.
    pub(super) segments: Vec<Segment>,
    /// Files of segments in which nothing was ever durable.
    pub(super) doomed: Vec<String>,
    /// The highest incarnation of any header.
    pub(super) incarnation: u64,
    pub(super) uuid: [u8; 16],
    /// What the segment behind the last one names: it has no frames itself.
    promised: Option<(u64, u64)>,
    pub(super) tail: Option<Tail>,
}

/// Where the log ends, known once all of it was judged.
#[derive(Clone, Debug)]
pub(super) struct Tail {
    pub(super) last_lsn: u64,
    pub(super) chain: u64,
    /// Where the good frames end, for each segment.
    pub(super) ends: Vec<u64>,
    pub(super) torn: Option<TornTail>,
}

/// Opens the journal in a directory: takes its lock and checks the headers of its segments.
///
/// # Errors
/// Where another process has it, where it is damaged, was made by another version or with another
/// tag, or where the machine refuses.
pub fn open(storage: Arc<dyn Storage>, options: Options) -> Result<Recovered, OpenError> {
    let bytes = options.segment_bytes;
    let within = (SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&bytes);
    if !within || !bytes.is_multiple_of(BLOCK_BYTES as u64) {
        return Err(OpenError::SegmentBytes { bytes });
    }
    let place = storage.place();
    let io = |act: &str, cause| OpenError::Io {
        place: place.clone(),
        act: act.to_owned(),
        cause,
    };
    let lock = storage.lock().map_err(|cause| io("lock it", cause))?;
    let Some(lock) = lock else {
        return Err(OpenError::Locked { place });
    };
    let found = survey(&*storage).map_err(|cause| io("read the segments' headers", cause))?;
    refuse_misfit(&*storage, &found)?;
    let first = found
        .segments
        .first()
        .and_then(|segment| segment.header.ok());
    if let Some(header) = first.filter(|header| header.tag != options.tag) {
        return Err(OpenError::WrongTag {
            place,
            found: header.tag,
            asked: options.tag,
        });
    }
    let headers = || {
        found
            .segments
            .iter()
            .filter_map(|segment| segment.header.ok())
    };
    let mut recovered = Recovered {
        storage: Arc::clone(&storage),
        options,
        lock,
        doomed: found.unfinished.iter().cloned().collect(),
        incarnation: headers()
            .map(|header| header.incarnation)
            .max()
            .unwrap_or(0),
        uuid: first.map_or_else(|| uuid_from(options.seed), |header| header.uuid),
        segments: Vec::new(),
        promised: None,
        tail: None,
    };
    recovered.segments = found.segments;
    recovered.drop_frameless()?;
    Ok(recovered)
}

fn refuse_misfit(storage: &dyn Storage, found: &Survey) -> Result<(), OpenError> {
    let Some(misfit) = &found.misfit else {
        return Ok(());
    };
    let place = storage.place();
    if misfit.foreign {
        let segment = found.segments.get(misfit.index);
        return Err(OpenError::Version {
            place,
            file: segment.map_or_else(String::new, |segment| segment.name.clone()),
            why: misfit.why.clone(),
        });
    }
    Err(corrupt_at(
        storage,
        &found.segments,
        (misfit.index, 0),
        misfit.why.clone(),
    ))
}

fn corrupt_at(
    storage: &dyn Storage,
    segments: &[Segment],
    at: (usize, u64),
    why: String,
) -> OpenError {
    let place = storage.place();
    match assess(storage, segments, at, why.clone()) {
        Ok(damage) => OpenError::Corrupt {
            place,
            damage: Box::new(damage),
        },
        Err(cause) => OpenError::Io {
            place,
            act: format!("find out what would be lost, as {why}"),
            cause,
        },
    }
}

/// A version 4 uuid.
fn uuid_from(seed: u64) -> [u8; 16] {
    let (high, low) = (mixed(seed), mixed(seed ^ mixed(1)));
    let high = high & !0xF000 | 0x4000;
    let low = low & !(0b11 << 62) | 0b10 << 62;
    (u128::from(high) << 64 | u128::from(low)).to_be_bytes()
}

impl Recovered {
    /// Whether there is nothing in it, and never was.
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.segments.is_empty()
    }

    /// The number of the oldest segment; `None` in a new journal. Those before were cleaned.
    #[must_use]
    pub fn first_segment(&self) -> Option<u64> {
        self.segments.first().map(|segment| segment.number)
    }

    /// The tag it was made with.
    #[must_use]
    pub const fn tag(&self) -> u16 {
        self.options.tag
    }

    /// Which journal it is.
    #[must_use]
    pub const fn uuid(&self) -> [u8; 16] {
        self.uuid
    }

    /// Bytes of its segment files, for progress.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    /// The tail that will be cut; known after [`Recovered::replay`].
    #[must_use]
    pub fn torn(&self) -> Option<&TornTail> {
        self.tail.as_ref().and_then(|tail| tail.torn.as_ref())
    }

    /// Whether a repair has cut the log since the last start that found it whole: the record that
    /// says which segments were cleaned may be lost.
    ///
    /// # Errors
    /// Where the machine refuses to read the directory.
    pub fn was_repaired(&self) -> io::Result<bool> {
        let files = self.storage.list()?;
        Ok(files.iter().any(|file| file.name == REPAIRED_NAME))
    }

    /// The log was found whole: a repair before is of no interest any more.
    ///
    /// # Errors
    /// Where the machine refuses.
    pub fn forget_repair(&self) -> io::Result<()> {
        self.storage.remove(REPAIRED_NAME)?;
        self.storage.sync_dir()
    }

    /// A last segment without a good frame never held anything durable: its file goes. What it says
    /// of the segment before it still binds that one.
    fn drop_frameless(&mut self) -> Result<(), OpenError> {
        let Some((last, header)) = self
            .segments
            .last()
            .and_then(|last| Some((last, last.header.ok()?)))
        else {
            return Ok(());
        };
        let io = |cause| OpenError::Io {
            place: self.storage.place(),
            act: format!("read {}", last.name),
            cause,
        };
        if has_frame(&*self.storage, last, &header).map_err(io)? {
            return Ok(());
        }
        let mut scratch = Scratch::default();
        let verdict = scratch.judge(&*self.storage, last, true).map_err(io)?;
        let corrupt = verdict.is_some_and(|verdict| matches!(verdict.ending, Ending::Corrupt(_)));
        if corrupt || !scratch.frames.is_empty() {
            return Ok(());
        }
        if self.segments.len() == 1 && header.prev_last_lsn > 0 {
            // Nothing is cleaned before the first frame of the segment after it is durable.
            let why = format!("{} is missing before it", segment_name(header.number - 1));
            return Err(corrupt_at(&*self.storage, &self.segments, (0, 0), why));
        }
        self.doomed.push(last.name.clone());
        self.promised = Some((header.prev_last_lsn, header.prev_chain));
        self.segments.pop();
        Ok(())
    }

    /// Streams every good record in order through `f`, which sees each once.
    ///
    /// # Errors
    /// Where the log is damaged ([`OpenError::Corrupt`]) or `f` refuses a record
    /// ([`OpenError::Refused`]; what was handed out before is void in both), or where the machine
    /// refuses.
    pub fn replay(&mut self, f: &mut UseRecord<'_>) -> Result<(), OpenError> {
        let mut use_records = |segment: u64, chunk: &Chunk| {
            for frame in &chunk.frames {
                for record in Records::of(&chunk.bytes, frame) {
                    let refused = |why| Stop::Refused(chunk.index, frame.offset, why);
                    let Some((at, record)) = record else {
                        let why = "the frame is not made of records".to_owned();
                        return Err(refused(why));
                    };
                    let offset = at as u64;
                    f(SegmentPos { segment, offset }, record).map_err(refused)?;
                }
            }
            Ok(())
        };
        self.walk(&mut use_records)
    }

    fn walk(
        &mut self,
        use_records: &mut dyn FnMut(u64, &Chunk) -> Result<(), Stop>,
    ) -> Result<(), OpenError> {
        let plan = self.plan();
        let mut tail = Tail {
            last_lsn: 0,
            chain: 0,
            ends: Vec::with_capacity(plan.len()),
            torn: None,
        };
        let streamed = stream(&*self.storage, &plan, &mut |chunk| {
            tail.last_lsn = chunk.verdict.last_lsn;
            tail.chain = chunk.verdict.chain;
            tail.ends.push(chunk.verdict.end as u64);
            let planned = plan.get(chunk.index);
            if let Ending::Torn(fault) = chunk.verdict.ending {
                tail.torn = Some(TornTail {
                    file: planned.map_or_else(String::new, |planned| planned.name.clone()),
                    offset: fault.offset as u64,
                });
            }
            use_records(planned.map_or(0, |planned| planned.number), chunk)
        });
        match streamed {
            Ok(()) => {
                self.tail = Some(tail);
                Ok(())
            }
            Err(stop) => Err(self.refuse(stop)),
        }
    }

    /// Why the stream stopped, as an error that says what it costs.
    fn refuse(&self, stop: Stop) -> OpenError {
        let (index, offset, why) = match stop {
            Stop::Io(index, cause) => {
                let file = self
                    .segments
                    .get(index)
                    .map(|segment| segment.name.as_str());
                return OpenError::Io {
                    place: self.storage.place(),
                    act: format!("read {}", file.unwrap_or("the segments")),
                    cause,
                };
            }
            Stop::Corrupt(index, fault) => (index, fault.offset, fault.why.text()),
            Stop::Refused(index, offset, why) => {
                let file = self.segments.get(index);
                return OpenError::Refused {
                    place: self.storage.place(),
                    file: file.map_or_else(String::new, |segment| segment.name.clone()),
                    offset: offset as u64,
                    why,
                };
            }
        };
        corrupt_at(&*self.storage, &self.segments, (index, offset as u64), why)
    }

    fn plan(&self) -> Vec<Planned> {
        let headers: Vec<(&Segment, SegmentHeader)> = self
            .segments
            .iter()
            .filter_map(|segment| Some((segment, segment.header.ok()?)))
            .collect();
        let planned = |(index, (segment, header)): (usize, &(&Segment, SegmentHeader))| {
            let next = headers.get(index + 1);
            let next_says = next
                .map(|(_, next)| (next.prev_last_lsn, next.prev_chain))
                .or(self.promised);
            Planned {
                name: segment.name.clone(),
                number: segment.number,
                bytes: segment.bytes,
                expect: Segment::expect(header, next_says.is_none()),
                next_says,
            }
        };
        headers.iter().enumerate().map(planned).collect()
    }

    /// Judges the whole log, unless a replay has.
    pub(super) fn judged(&mut self) -> Result<Tail, JournalError> {
        if self.tail.is_none() {
            self.walk(&mut |_, _| Ok(()))
                .map_err(|error| cannot("start", error))?;
        }
        self.tail
            .clone()
            .ok_or_else(|| cannot("start", "nothing was judged"))
    }
}

impl Debug for Recovered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recovered")
            .field("place", &self.storage.place())
            .field("segments", &self.segments.len())
            .finish_non_exhaustive()
    }
}
