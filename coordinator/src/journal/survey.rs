//! What the segment files say by their headers, and what damage in them would cost.
//!
//! Owns the order of the segments and the checks between their headers. Never looks at a frame
//! but to count what is lost, and never changes a file.

use std::fmt::{self, Display};
use std::io;
use std::sync::Arc;

use super::format::{
    ALIGN, BLOCK_BYTES, FRAME_BYTES, FrameHeader, HeaderFault, SEAL, SegmentHeader, VERSION,
    is_zero, segment_name, segment_number,
};
use super::limits::SEGMENT_BYTES_MIN;
use super::recover::{Ending, Expect, FrameAt, Verdict, Why, scan};
use super::storage::{Storage, StoredFile};

/// One segment file.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    pub(super) name: String,
    pub(super) number: u64,
    pub(super) bytes: u64,
    pub(super) header: Result<SegmentHeader, HeaderFault>,
}

/// All segment files, by number.
#[derive(Debug)]
pub(super) struct Survey {
    pub(super) segments: Vec<Segment>,
    /// The last file, where its header was never finished and nothing follows it: it is not in
    /// `segments`.
    pub(super) unfinished: Option<String>,
    /// The first segment that is not what it must be, and why.
    pub(super) misfit: Option<Misfit>,
}

/// Why the log ends before a segment although its file is there.
#[derive(Clone, Debug)]
pub(super) struct Misfit {
    pub(super) index: usize,
    pub(super) why: String,
    /// Another program made it: that is no damage.
    pub(super) foreign: bool,
}

/// Where the journal is damaged, and what would be lost by going on without the rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The segment's file.
    pub file: String,
    /// Its number.
    pub segment: u64,
    /// The first byte that is not what it must be.
    pub offset: u64,
    /// What is wrong.
    pub why: String,
    /// Frames from there on that are known of; there may be more.
    pub frames_lost: u64,
    /// The records that are known to be in them; there may be more.
    pub records_lost: u64,
    /// The lsn of the first frame that is lost.
    pub first_lsn: u64,
    /// The highest lsn that is known of; less than `first_lsn` where none is.
    pub last_lsn: u64,
    /// Segments after this one, which would be set aside.
    pub segments_after: u64,
}

impl Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            file,
            segment: _,
            offset,
            why,
            frames_lost,
            records_lost,
            first_lsn,
            last_lsn,
            segments_after,
        } = self;
        write!(f, "{file} is damaged at byte {offset}: {why}; ")?;
        if last_lsn < first_lsn {
            write!(f, "what was at lsn {first_lsn} and later is unknown")?;
        } else {
            write!(
                f,
                "at least {frames_lost} frames with {records_lost} records (lsn {first_lsn} to \
                 {last_lsn}) would be lost",
            )?;
        }
        if *segments_after > 0 {
            write!(f, ", later segments ({segments_after}) among them")?;
        }
        write!(
            f,
            "; restore the files from a backup, or accept the loss with \
             `redrive journal repair DIR --accept-loss`"
        )
    }
}

impl Why {
    /// For messages.
    pub(super) fn text(self) -> String {
        match self {
            Self::Header => "no frame header with a right checksum stands there".to_owned(),
            Self::Body => "the frame's checksum does not match".to_owned(),
            Self::Lsn { found } => format!("a frame of another place stands there (lsn {found})"),
            Self::Chain => "the frame does not follow the one before it".to_owned(),
            Self::Durable => "the frame knows of syncs that came after it".to_owned(),
            Self::Shortened => "the file was cut by somebody else".to_owned(),
        }
    }
}

impl Segment {
    /// What its frames must be like if its own header is believed.
    pub(super) fn expect(header: &SegmentHeader, last: bool) -> Expect {
        Expect {
            salt: header.salt,
            next_lsn: header.first_lsn,
            chain: header.prev_chain,
            capacity: header.capacity,
            last,
        }
    }
}

/// Reads a whole file into `bytes`.
pub(super) fn read_whole(file: &dyn StoredFile, bytes: &mut Vec<u8>) -> io::Result<()> {
    let len = usize::try_from(file.len()?).map_err(io::Error::other)?;
    if bytes.capacity() < len {
        // Zeroed by the machine; with room for other segments, as fresh memory is slow.
        *bytes = vec![0; len.next_power_of_two()];
    }
    bytes.resize(len, 0);
    file.read_at(0, bytes)
}

/// Cuts a segment behind its last good frame, durably. What is left behind that is zero before the
/// file is shorter, so that whatever a power cut leaves is judged the same.
pub(super) fn seal(file: &dyn StoredFile, end: u64) -> io::Result<()> {
    let (len, sealed) = (file.len()?, end + SEAL.len() as u64);
    let there = usize::try_from(len.saturating_sub(end)).unwrap_or(usize::MAX);
    let mut behind = SEAL;
    let behind = behind.get_mut(..there.min(SEAL.len())).unwrap_or_default();
    file.read_at(end, behind)?;
    if len == sealed && behind == SEAL {
        return Ok(());
    }
    if !behind.is_empty() {
        behind.fill(0);
        file.write_at(end, behind)?;
        file.sync_data()?;
    }
    file.set_len(sealed)?;
    file.sync_data()
}

/// Reads the headers of all segment files and checks them against each other.
pub(super) fn survey(storage: &dyn Storage) -> io::Result<Survey> {
    let mut segments = Vec::new();
    for stored in storage.list()? {
        if let Some(number) = segment_number(&stored.name) {
            let file = storage.open(&stored.name)?;
            let bytes = file.len()?;
            let block = usize::try_from(bytes).unwrap_or(usize::MAX);
            let mut block = vec![0; block.min(BLOCK_BYTES)];
            file.read_at(0, &mut block)?;
            segments.push(Segment {
                name: stored.name,
                number,
                bytes,
                header: SegmentHeader::decode(&block),
            });
        }
    }
    segments.sort_by_key(|segment| segment.number);
    let mut unfinished = None;
    if let Some(last) = segments.pop_if(|last| last.header == Err(HeaderFault::Damaged)) {
        // Reserve files have their full size before they become segments: a shorter one was cut.
        let is_whole = last.bytes >= SEGMENT_BYTES_MIN;
        if is_whole && is_zero_behind_block(&*storage.open(&last.name)?)? {
            unfinished = Some(last.name);
        } else {
            segments.push(last);
        }
    }
    let misfit = first_misfit(&segments);
    Ok(Survey {
        segments,
        unfinished,
        misfit,
    })
}

fn is_zero_behind_block(file: &dyn StoredFile) -> io::Result<bool> {
    let mut bytes = Vec::new();
    read_whole(file, &mut bytes)?;
    Ok(is_zero(bytes.get(BLOCK_BYTES..).unwrap_or_default()))
}

fn first_misfit(segments: &[Segment]) -> Option<Misfit> {
    let mut before: Option<&SegmentHeader> = None;
    for (index, segment) in segments.iter().enumerate() {
        let header = match &segment.header {
            Ok(header) => header,
            Err(HeaderFault::Damaged) => {
                let why = "the segment's header is damaged".to_owned();
                return Some(Misfit::damage(index, why));
            }
            Err(HeaderFault::Version(version)) => {
                return Some(Misfit {
                    index,
                    why: format!(
                        "the segment has format version {version}, this program knows {VERSION}"
                    ),
                    foreign: true,
                });
            }
        };
        if let Some(why) = misfits(segment.number, header, before) {
            return Some(Misfit::damage(index, why));
        }
        before = Some(header);
    }
    None
}

impl Misfit {
    const fn damage(index: usize, why: String) -> Self {
        Self {
            index,
            why,
            foreign: false,
        }
    }
}

/// Why a segment does not follow the one before it.
fn misfits(number: u64, header: &SegmentHeader, before: Option<&SegmentHeader>) -> Option<String> {
    if header.number != number || number == 0 {
        let found = header.number;
        return Some(format!("the file is segment {found}, under another's name"));
    }
    if header.prev_last_lsn.checked_add(1) != Some(header.first_lsn) {
        return Some("the segment's header contradicts itself".to_owned());
    }
    let before = before?;
    if header.uuid != before.uuid {
        return Some("the segment belongs to another journal".to_owned());
    }
    if header.tag != before.tag {
        let (found, wanted) = (header.tag, before.tag);
        return Some(format!("the segment has tag {found} instead of {wanted}"));
    }
    if header.number != before.number + 1 {
        let missing = segment_name(before.number + 1);
        return Some(format!("{missing} is missing before it"));
    }
    if header.incarnation < before.incarnation || header.first_lsn < before.first_lsn {
        return Some("the segment is older than the one before it".to_owned());
    }
    None
}

/// Counts what is lost if the log ends at `offset` of a segment. Segments are believed by their
/// own headers.
pub(super) fn assess(
    storage: &dyn Storage,
    segments: &[Segment],
    at: (usize, u64),
    why: String,
) -> io::Result<Damage> {
    let (index, offset) = at;
    let mut damage = Damage {
        file: String::new(),
        segment: 0,
        offset,
        why,
        frames_lost: 0,
        records_lost: 0,
        first_lsn: 0,
        last_lsn: 0,
        segments_after: 0,
    };
    let mut scratch = Scratch::default();
    let before = index.checked_sub(1).and_then(|index| segments.get(index));
    if let Some(segment) = before {
        let verdict = scratch.judge(storage, segment, false)?;
        damage.first_lsn = verdict.map_or(0, |verdict| verdict.last_lsn + 1);
    }
    for (place, segment) in segments.iter().enumerate().skip(index) {
        let own = place == index;
        if own {
            damage.file.clone_from(&segment.name);
            damage.segment = segment.number;
            if segment.number == 1 {
                damage.first_lsn = 1;
            }
        } else {
            damage.segments_after += 1;
        }
        let Some(verdict) = scratch.judge(storage, segment, place + 1 == segments.len())? else {
            continue;
        };
        let end = if own { offset } else { 0 };
        let is_lost = |frame: &&FrameAt| frame.offset as u64 >= end;
        let lost = || scratch.frames.iter().filter(is_lost);
        let mut last_lsn = lost().map(|frame| frame.lsn).max().unwrap_or(0);
        damage.records_lost += lost().map(|frame| u64::from(frame.n_records)).sum::<u64>();
        if let Ending::Torn(fault) | Ending::Corrupt(fault) = verdict.ending {
            last_lsn = last_lsn.max(fault.last_lsn);
            damage.records_lost += fault.records;
        }
        if own {
            let kept = scratch.frames.iter().rev().find(|frame| !is_lost(frame));
            let first_lsn = segment.header.map_or(0, |header| header.first_lsn);
            damage.first_lsn = kept.map_or(first_lsn, |frame| frame.lsn + 1);
        } else if damage.first_lsn == 0 {
            // What was before this segment is unknown.
            damage.first_lsn = segment.header.map_or(0, |header| header.first_lsn);
        }
        damage.last_lsn = damage.last_lsn.max(last_lsn);
    }
    if damage.last_lsn >= damage.first_lsn {
        damage.frames_lost = (damage.last_lsn - damage.first_lsn).saturating_add(1);
    }
    Ok(damage)
}

/// Whether a segment begins with a good frame, without reading more of it than that.
pub(super) fn has_frame(
    storage: &dyn Storage,
    segment: &Segment,
    header: &SegmentHeader,
) -> io::Result<bool> {
    let file = storage.open(&segment.name)?;
    let mut bytes = vec![0; BLOCK_BYTES + FRAME_BYTES];
    if segment.bytes < bytes.len() as u64 {
        return Ok(false);
    }
    file.read_at(0, &mut bytes)?;
    let front = bytes.get(BLOCK_BYTES..).unwrap_or_default();
    let Some(frame) = FrameHeader::decode(header.salt, front) else {
        return Ok(false);
    };
    let end = bytes.len() as u64 + u64::from(frame.body_len).next_multiple_of(ALIGN as u64);
    if end > segment.bytes {
        return Ok(false);
    }
    bytes.resize(usize::try_from(end).map_err(io::Error::other)?, 0);
    file.read_at(0, &mut bytes)?;
    let mut frames = Vec::new();
    scan(&bytes, &Segment::expect(header, true), &mut frames);
    Ok(!frames.is_empty())
}

/// Memory to judge one segment after another.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    pub(super) bytes: Vec<u8>,
    pub(super) frames: Vec<FrameAt>,
}

impl Scratch {
    /// The verdict on a segment if its header is believed; `None` where it has none.
    pub(super) fn judge(
        &mut self,
        storage: &dyn Storage,
        segment: &Segment,
        last: bool,
    ) -> io::Result<Option<Verdict>> {
        self.frames.clear();
        let Ok(header) = &segment.header else {
            return Ok(None);
        };
        let file: Arc<dyn StoredFile> = storage.open(&segment.name)?;
        read_whole(&*file, &mut self.bytes)?;
        let expect = Segment::expect(header, last);
        Ok(Some(scan(&self.bytes, &expect, &mut self.frames)))
    }
}
