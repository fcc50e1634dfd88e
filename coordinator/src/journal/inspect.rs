//! What an operator sees of a journal that does not run, and the repair that accepts a loss.
//!
//! Owns the report, and the order of the steps of a repair: each may be repeated after a crash.
//! Never deletes anything: what is cut or left out is kept under a name that ends in `.lost`.
//! [`inspect`] changes nothing and takes no lock.

use std::io;

use super::format::{BLOCK_BYTES, REPAIRED_NAME};
use super::recover::{Ending, FrameAt, Verdict};
use super::storage::Storage;
use super::survey::{Damage, Misfit, Scratch, Segment, assess, seal, survey};

/// What is in a journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The directory.
    pub place: String,
    /// Its segments, oldest first.
    pub segments: Vec<SegmentReport>,
    /// What the next start will make of it.
    pub verdict: LogVerdict,
    /// The segment and the byte behind the last frame that a repair would keep.
    cut_at: Option<(usize, u64)>,
}

/// What is in one segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentReport {
    /// Its file.
    pub file: String,
    /// The number in the file's name.
    pub number: u64,
    /// The start of the journal that wrote it; `None` where its header cannot be read.
    pub incarnation: Option<u64>,
    /// The length of the file.
    pub bytes: u64,
    /// Good frames.
    pub frames: u64,
    /// Records in them.
    pub records: u64,
    /// The lsn of the first and the last of them; `None` where there is none.
    pub lsns: Option<(u64, u64)>,
    /// The byte behind the last of them.
    pub end: u64,
    /// What it is.
    pub verdict: SegmentVerdict,
}

/// What one segment is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SegmentVerdict {
    /// All of it is good.
    Good,
    /// It ends in a write that was under way: the next start cuts it.
    Torn {
        /// Where the good frames end.
        offset: u64,
    },
    /// Nothing in it was ever durable: the next start removes it.
    Unfinished,
    /// It is damaged.
    Damaged {
        /// The first byte that is not what it must be.
        offset: u64,
        /// What is wrong.
        why: String,
    },
    /// It comes after the damage; its frames are counted by its own header.
    Behind,
}

/// What the next start will make of a journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogVerdict {
    /// It starts.
    Good,
    /// It refuses to start; so much would be lost by a repair.
    Damaged(Box<Damage>),
    /// Another version of this program made it.
    Foreign {
        /// The segment's file.
        file: String,
        /// Which version.
        why: String,
    },
}

/// What a repair did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repaired {
    /// What was lost; `None` where nothing was to be done.
    pub damage: Option<Damage>,
    /// The files under which everything is kept that the journal no longer has.
    pub set_aside: Vec<String>,
}

/// Why a repair was not done, or not finished. It may be repeated.
#[derive(Debug, thiserror::Error)]
pub enum RepairError {
    /// Another process has the journal.
    #[error("{place} is in use by another process; stop it first")]
    Locked {
        /// The directory.
        place: String,
    },
    /// The loss was not accepted.
    #[error("{place}: {damage}")]
    NotAccepted {
        /// The directory.
        place: String,
        /// What would be lost.
        damage: Box<Damage>,
    },
    /// Another version of this program made it: that is no damage.
    #[error("{place}: {file}: {why}; use the version that wrote it")]
    Foreign {
        /// The directory.
        place: String,
        /// The segment's file.
        file: String,
        /// Which version.
        why: String,
    },
    /// The machine refused something.
    #[error("{place}: cannot repair: {cause}")]
    Io {
        /// The directory.
        place: String,
        /// What the machine said.
        cause: io::Error,
    },
}

/// Judges all segments of a journal as the next start would, without changing anything. A journal
/// that is running changes meanwhile: its last segment may look torn.
///
/// # Errors
/// Where the machine refuses to read.
pub fn inspect(storage: &dyn Storage) -> io::Result<Report> {
    let found = survey(storage)?;
    let mut report = Report {
        place: storage.place(),
        segments: Vec::new(),
        verdict: LogVerdict::Good,
        cut_at: None,
    };
    let mut scratch = Scratch::default();
    let mut wrong: Option<(usize, u64, String)> = None;
    let mut before: Option<Verdict> = None;
    for (index, segment) in found.segments.iter().enumerate() {
        let last = index + 1 == found.segments.len();
        let verdict = scratch.judge(storage, segment, last)?;
        if wrong.is_none() {
            wrong = fault_of(index, (segment, verdict), before, found.misfit.as_ref());
        }
        before = verdict;
        let verdict = good_verdict(verdict);
        report.segments.push(report_on(segment, &scratch, verdict));
    }
    if let Some((at, offset, why)) = wrong {
        damage_found(storage, &found.segments, (at, offset, why), &mut report)?;
    }
    if let Some(misfit) = found.misfit.filter(|misfit| misfit.foreign) {
        let file = found.segments.get(misfit.index);
        report.verdict = LogVerdict::Foreign {
            file: file.map_or_else(String::new, |segment| segment.name.clone()),
            why: misfit.why,
        };
    }
    Ok(report)
}

/// Whether a directory holds no journal at all. Changes nothing and takes no lock.
///
/// # Errors
/// Where the machine refuses to read.
pub fn is_empty(storage: &dyn Storage) -> io::Result<bool> {
    Ok(survey(storage)?.segments.is_empty())
}

/// Puts the damage into the report: on the segment it is in, which may be the one before the
/// segment that shows it.
fn damage_found(
    storage: &dyn Storage,
    segments: &[Segment],
    (at, offset, why): (usize, u64, String),
    report: &mut Report,
) -> io::Result<()> {
    let damage = assess(storage, segments, (at, offset), why.clone())?;
    for (index, segment) in report.segments.iter_mut().enumerate() {
        if index == at {
            segment.verdict = SegmentVerdict::Damaged {
                offset,
                why: why.clone(),
            };
        } else if index > at {
            segment.verdict = SegmentVerdict::Behind;
        }
    }
    report.verdict = LogVerdict::Damaged(Box::new(damage));
    report.cut_at = Some((at, offset));
    Ok(())
}

/// What is wrong with a segment, or with the end of the one before it.
fn fault_of(
    index: usize,
    (segment, verdict): (&Segment, Option<Verdict>),
    before: Option<Verdict>,
    misfit: Option<&Misfit>,
) -> Option<(usize, u64, String)> {
    if let Some(misfit) = misfit.filter(|misfit| misfit.index == index) {
        return Some((index, 0, misfit.why.clone()));
    }
    let (header, verdict) = (segment.header.ok()?, verdict?);
    let says = (header.prev_last_lsn, header.prev_chain);
    if let Some(before) = before.filter(|before| (before.last_lsn, before.chain) != says) {
        let why = format!("{} names another frame as the last one", segment.name);
        return Some((index - 1, before.end as u64, why));
    }
    if before.is_none() && verdict.end == BLOCK_BYTES && header.prev_last_lsn > 0 {
        return Some((index, 0, "all segments before it are missing".to_owned()));
    }
    match verdict.ending {
        Ending::Corrupt(fault) => Some((index, fault.offset as u64, fault.why.text())),
        Ending::Clean | Ending::Torn(_) => None,
    }
}

fn good_verdict(verdict: Option<Verdict>) -> SegmentVerdict {
    let Some(verdict) = verdict else {
        return SegmentVerdict::Unfinished;
    };
    match verdict.ending {
        Ending::Clean | Ending::Torn(_) if verdict.end == BLOCK_BYTES => SegmentVerdict::Unfinished,
        Ending::Torn(fault) => SegmentVerdict::Torn {
            offset: fault.offset as u64,
        },
        Ending::Clean | Ending::Corrupt(_) => SegmentVerdict::Good,
    }
}

fn report_on(segment: &Segment, scratch: &Scratch, verdict: SegmentVerdict) -> SegmentReport {
    let frames = &scratch.frames;
    let ends = frames.first().zip(frames.last());
    SegmentReport {
        file: segment.name.clone(),
        number: segment.number,
        incarnation: segment.header.ok().map(|header| header.incarnation),
        bytes: segment.bytes,
        frames: frames.len() as u64,
        records: frames.iter().map(|frame| u64::from(frame.n_records)).sum(),
        end: frames.last().map_or(BLOCK_BYTES, FrameAt::end) as u64,
        lsns: ends.map(|(first, last)| (first.lsn, last.lsn)),
        verdict,
    }
}

/// Makes a damaged journal one that starts, by leaving out everything from the damage on. What is
/// left out is kept beside it.
///
/// # Errors
/// Where another process has the journal, the loss was not accepted, another version made it, or the
/// machine refuses.
pub fn repair(storage: &dyn Storage, accept_loss: bool) -> Result<Repaired, RepairError> {
    let place = storage.place();
    let io = |cause| RepairError::Io {
        place: storage.place(),
        cause,
    };
    let Some(_lock) = storage.lock().map_err(io)? else {
        return Err(RepairError::Locked { place });
    };
    let report = inspect(storage).map_err(io)?;
    let damage = match report.verdict {
        LogVerdict::Good => {
            return Ok(Repaired {
                damage: None,
                set_aside: Vec::new(),
            });
        }
        LogVerdict::Foreign { file, why } => return Err(RepairError::Foreign { place, file, why }),
        LogVerdict::Damaged(damage) if !accept_loss => {
            return Err(RepairError::NotAccepted { place, damage });
        }
        LogVerdict::Damaged(damage) => damage,
    };
    let (at, offset) = report.cut_at.unwrap_or_default();
    if report
        .segments
        .first()
        .is_some_and(|first| first.number > 1)
    {
        // The record that says what was cleaned may be behind the cut.
        mark_repaired(storage).map_err(io)?;
    }
    let mut set_aside = Vec::new();
    // The newest first: a crash in between leaves a log that is damaged in the same place.
    for segment in report.segments.iter().skip(at + 1).rev() {
        set_aside.push(rename_aside(storage, &segment.file).map_err(io)?);
    }
    if let Some(segment) = report.segments.get(at) {
        if let Some(last) = at.checked_sub(1).and_then(|last| report.segments.get(last)) {
            // It may be the last one from now on, and must look like one.
            seal_at(storage, &last.file, last.end).map_err(io)?;
        }
        let kept = if offset > BLOCK_BYTES as u64 {
            copy_and_cut(storage, &segment.file, offset)
        } else {
            rename_aside(storage, &segment.file)
        };
        set_aside.push(kept.map_err(io)?);
    }
    set_aside.reverse();
    Ok(Repaired {
        damage: Some(*damage),
        set_aside,
    })
}

fn mark_repaired(storage: &dyn Storage) -> io::Result<()> {
    if storage
        .list()?
        .iter()
        .all(|file| file.name != REPAIRED_NAME)
    {
        storage.create(REPAIRED_NAME)?.sync_data()?;
        storage.sync_dir()?;
    }
    Ok(())
}

fn seal_at(storage: &dyn Storage, file: &str, end: u64) -> io::Result<()> {
    seal(&*storage.open(file)?, end)
}

/// A name ending in `.lost` that no file has.
fn free_name(storage: &dyn Storage, file: &str) -> io::Result<String> {
    let files = storage.list()?;
    let is_free = |name: &String| files.iter().all(|file| file.name != *name);
    let numbered = (2_u64..).map(|number| format!("{file}.{number}.lost"));
    let mut names = std::iter::once(format!("{file}.lost")).chain(numbered);
    names
        .find(is_free)
        .ok_or_else(|| io::Error::other("no name is free"))
}

fn rename_aside(storage: &dyn Storage, file: &str) -> io::Result<String> {
    let name = free_name(storage, file)?;
    storage.rename(file, &name)?;
    storage.sync_dir()?;
    Ok(name)
}

/// Keeps a copy of a segment, and cuts it behind its last good frame.
fn copy_and_cut(storage: &dyn Storage, file: &str, end: u64) -> io::Result<String> {
    let name = free_name(storage, file)?;
    let segment = storage.open(file)?;
    let mut bytes = Vec::new();
    super::survey::read_whole(&*segment, &mut bytes)?;
    let copy = storage.create(&name)?;
    copy.write_at(0, &bytes)?;
    copy.sync_data()?;
    storage.sync_dir()?;
    seal(&*segment, end)?;
    Ok(name)
}
