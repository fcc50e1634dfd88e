//! The verdict on the bytes of one segment: which frames are good, and what the rest means.
//!
//! Owns the decision between a torn tail (cut, silently: nothing of it was ever acknowledged) and
//! damage (refused: something acknowledged may be gone). A pure function of bytes: no disk, no
//! clock. Invariant: a frame that was known to be synced is never cut.

use super::format::{
    BLOCK_BYTES, FRAME_BYTES, FrameHeader, PREFIX_BYTES, SEAL, aligned, body_crc, is_zero,
};
use crate::mutants::{self, Mutant};

/// What a segment must be like, by its header, by the segments before it and by its place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expect {
    /// The salt of its header.
    pub(super) salt: u32,
    /// The lsn of its first frame.
    pub(super) next_lsn: u64,
    /// The chain before its first frame.
    pub(super) chain: u64,
    /// The size it was made with, in bytes.
    pub(super) capacity: u64,
    /// Whether it is the last one: only there a write may have been under way.
    pub(super) last: bool,
}

/// A good frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameAt {
    /// Where its header begins in the segment.
    pub(super) offset: usize,
    /// The length of its body.
    pub(super) body_len: usize,
    /// Its lsn.
    pub(super) lsn: u64,
    /// How many records it says it has.
    pub(super) n_records: u32,
}

impl FrameAt {
    /// Where its body begins.
    pub(super) const fn body_at(&self) -> usize {
        self.offset + FRAME_BYTES
    }

    /// Where the next frame begins.
    pub(super) const fn end(&self) -> usize {
        self.offset + aligned(FRAME_BYTES + self.body_len)
    }

    /// Its body, in the bytes of its segment.
    pub(super) fn body<'a>(&self, segment: &'a [u8]) -> &'a [u8] {
        let body = segment.get(self.body_at()..self.body_at() + self.body_len);
        body.unwrap_or_default()
    }
}

/// What is wrong with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// No header with the right checksum stands there.
    Header,
    /// The body's checksum is wrong, or the file ends before it.
    Body,
    /// It is another frame than the next one.
    Lsn {
        /// The one it says it is.
        found: u64,
    },
    /// It follows another frame than the one before it.
    Chain,
    /// It says that it, or a later one, was synced before it was written.
    Durable,
    /// The file was cut by somebody else.
    Shortened,
}

/// A frame that is not what it must be, where it must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// What is wrong.
    pub(super) why: Why,
    /// Where the frame begins.
    pub(super) offset: usize,
    /// The lsn it must have.
    pub(super) lsn: u64,
    /// The highest lsn of any frame whose header is good from there on; `lsn - 1` where there is
    /// none.
    pub(super) last_lsn: u64,
    /// The records of frames whose headers are good from there on.
    pub(super) records: u64,
}

/// What follows the good frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// Nothing, or zeros.
    Clean,
    /// A write that was under way, or was not synced: to be cut.
    Torn(Fault),
    /// Damage: not to be cut.
    Corrupt(Fault),
}

/// The verdict on a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Where the good frames end.
    pub(super) end: usize,
    /// The lsn of the last good frame, of this segment or before.
    pub(super) last_lsn: u64,
    /// The chain after it.
    pub(super) chain: u64,
    /// What follows.
    pub(super) ending: Ending,
}

/// Judges the bytes of one segment, header block included (which is judged elsewhere). The good
/// frames are put into `frames`, which is cleared first.
pub(super) fn scan(bytes: &[u8], expect: &Expect, frames: &mut Vec<FrameAt>) -> Verdict {
    frames.clear();
    let mut verdict = Verdict {
        end: BLOCK_BYTES,
        last_lsn: expect.next_lsn.saturating_sub(1),
        chain: expect.chain,
        ending: Ending::Clean,
    };
    loop {
        let rest = bytes.get(verdict.end..).unwrap_or_default();
        match next_frame(rest, expect.salt, &verdict) {
            Ok((header, body_len)) => {
                let frame = FrameAt {
                    offset: verdict.end,
                    body_len,
                    lsn: header.lsn,
                    n_records: header.n_records,
                };
                frames.push(frame);
                verdict.end = frame.end();
                verdict.last_lsn = header.lsn;
                verdict.chain = header.chain();
            }
            Err(why) => {
                verdict.ending = ending(bytes, expect, &verdict, why);
                return verdict;
            }
        }
    }
}

/// The frame at the front of `rest`, which must be the one that follows `so_far`.
fn next_frame(rest: &[u8], salt: u32, so_far: &Verdict) -> Result<(FrameHeader, usize), Why> {
    let header = FrameHeader::decode(salt, rest).ok_or(Why::Header)?;
    // The last number there is belongs to no frame: there is always a next one.
    if header.lsn != so_far.last_lsn + 1 || header.lsn == u64::MAX {
        return Err(Why::Lsn { found: header.lsn });
    }
    if header.prev_chain != so_far.chain {
        return Err(Why::Chain);
    }
    if header.durable_lsn >= header.lsn {
        return Err(Why::Durable);
    }
    let body_len = usize::try_from(header.body_len).unwrap_or(usize::MAX);
    let after = rest.get(FRAME_BYTES..).unwrap_or_default();
    let body = after.get(..body_len).ok_or(Why::Body)?;
    // The padding is written with the frame: a file that ends within it was cut.
    let rotten = body_crc(salt, body) != header.body_crc && !mutants::is(Mutant::BodyUnchecked);
    if aligned(body_len) > after.len() || rotten {
        return Err(Why::Body);
    }
    Ok((header, body_len))
}

/// What it means that no good frame stands where the good ones end.
fn ending(bytes: &[u8], expect: &Expect, so_far: &Verdict, why: Why) -> Ending {
    let rest = bytes.get(so_far.end..).unwrap_or_default();
    // A segment keeps the size it was made with until it is sealed, behind its last frame.
    let is_sealed = so_far.end > BLOCK_BYTES && rest == SEAL;
    let shortened = expect.last && (bytes.len() as u64) < expect.capacity && !is_sealed;
    if !shortened && is_zero(rest) {
        return Ending::Clean;
    }
    let lsn = so_far.last_lsn + 1;
    let (later, proven) = evidence(rest, expect.salt, lsn);
    let fault = |why| Fault {
        why,
        offset: so_far.end,
        lsn,
        last_lsn: later.last_lsn,
        records: later.records,
    };
    if shortened {
        return Ending::Corrupt(fault(Why::Shortened));
    }
    match why {
        Why::Header | Why::Body if expect.last && !proven => Ending::Torn(fault(why)),
        // A good header in a wrong place is never the work of a power cut.
        Why::Header | Why::Body | Why::Lsn { .. } | Why::Chain | Why::Durable | Why::Shortened => {
            Ending::Corrupt(fault(why))
        }
    }
}

/// What the good headers in `rest` tell of the frames from there on.
#[derive(Clone, Copy, Debug)]
struct Later {
    last_lsn: u64,
    records: u64,
}

/// Looks for good headers behind a bad frame that should have been `lsn`, and whether one of them
/// was built when that frame was known to be synced. Headers are enough: that they were written is
/// the proof, whether or not their bodies were.
fn evidence(rest: &[u8], salt: u32, lsn: u64) -> (Later, bool) {
    let mut later = Later {
        last_lsn: lsn - 1,
        records: 0,
    };
    let mut proven = false;
    let mut at = 0;
    while let Some(bytes) = rest.get(at..).filter(|bytes| !bytes.is_empty()) {
        let mut step = aligned(1);
        if let Some(header) = FrameHeader::decode(salt, bytes) {
            later.last_lsn = later.last_lsn.max(header.lsn);
            later.records += u64::from(header.n_records);
            proven |= at > 0 && header.durable_lsn >= lsn;
            let body_len = usize::try_from(header.body_len).unwrap_or(usize::MAX);
            let body = bytes.get(FRAME_BYTES..FRAME_BYTES.saturating_add(body_len));
            if body.is_some_and(|body| body_crc(salt, body) == header.body_crc) {
                step = aligned(FRAME_BYTES + body_len);
            }
        }
        at += step;
    }
    (later, proven)
}

/// The records of one good frame, in order; `None` in place of a record says that the body is not
/// made of records as its header says.
#[derive(Debug)]
pub(super) struct Records<'a> {
    rest: &'a [u8],
    at: usize,
    left: u32,
}

impl<'a> Records<'a> {
    /// The records of `frame` in the bytes of its segment.
    pub(super) fn of(segment: &'a [u8], frame: &FrameAt) -> Self {
        Self {
            rest: frame.body(segment),
            at: frame.body_at(),
            left: frame.n_records,
        }
    }

    fn split(&mut self) -> Option<(usize, &'a [u8])> {
        let (prefix, rest) = self.rest.split_first_chunk::<PREFIX_BYTES>()?;
        let len = usize::try_from(u32::from_le_bytes(*prefix)).ok()?;
        let (record, rest) = rest.split_at_checked(len)?;
        let at = self.at;
        self.at += PREFIX_BYTES + len;
        self.rest = rest;
        self.left -= 1;
        let ended = self.left == 0;
        (ended == rest.is_empty() || !ended).then_some((at, record))
    }
}

impl<'a> Iterator for Records<'a> {
    /// Where the record's length stands in the segment, and the record.
    type Item = Option<(usize, &'a [u8])>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        let split = self.split();
        if split.is_none() {
            self.left = 0;
        }
        Some(split)
    }
}
