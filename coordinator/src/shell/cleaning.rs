//! What is done next to keep the journal small: the pace and the order, without a thread.
//!
//! Owns the pace (rule 22) and the order: the oldest sealed segment is read, what still lives of it
//! is recorded again by the engine in small steps, and when that is durable the file goes. Never
//! decides what lives: the engine does; never waits, reads or removes: whoever drives it does.
//! Invariants: a file is removed only after the record that it is not needed any more is durable
//! (rule 1); the work of a tick is bounded by what was appended since the last one, so that cleaning
//! never competes with what it cleans up after.

use crate::codec::{self, DecodeError};
use crate::engine::command::{Call, Entity, Refresh, RefreshWhich};
use crate::engine::effect::Answer;
use crate::engine::ids::{QueueName, ShardId};
use crate::engine::limits;
use crate::journal::{LogFiles, ReadError, SegmentInfo};
use crate::mutants::{self, Mutant};

/// Bytes of old segments that a tick may work through whatever was appended: 20 MiB/s.
const IDLE_BYTES: u64 = 2 * 1024 * 1024;
/// Bytes of old segments that may be worked through for each byte appended.
const BYTES_PER_APPENDED: u64 = 2;
/// Unused pace that is kept.
const CREDIT_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Commands that are on their way to the engine at once: one alone would do no more than its
/// entities for each sync of the journal, and fall behind producers that have many tasks on the way.
const COMMANDS_AT_ONCE: usize = 16;
/// Sealed segments that are left alone though they are mostly small: every restart leaves one.
const SMALL_SEGMENTS_MAX: usize = 32;

/// The cleaning of one journal.
#[derive(Debug)]
pub struct Cleaning {
    segment_bytes: u64,
    appended: u64,
    /// Bytes of images since the last tick: they earn no credit.
    own_bytes: u64,
    credit: u64,
    stage: Stage,
}

/// What comes next.
#[derive(Debug)]
pub enum Next {
    /// Nothing before the next tick.
    Rest,
    /// These calls, all at once; their answers are for [`Cleaning::answered`], in the same order.
    Ask(Vec<Call>),
    /// [`SegmentWork::read`] of this segment, for [`Cleaning::begin`].
    Read(SegmentInfo),
    /// The segments below this one are to be removed; then [`Cleaning::removed`].
    Remove {
        /// The oldest one that stays.
        below: u64,
    },
}

/// The oldest segment, being worked through.
#[derive(Debug)]
pub struct SegmentWork {
    segment: u64,
    /// For each shard, its first event that is not in the segment.
    below: Vec<u64>,
    /// The entities of full records, by shard, that are left to look at.
    entities: Vec<(ShardId, Entity)>,
    /// Bytes of the segment for each of them.
    bytes_each: u64,
}

#[derive(Debug, Default)]
enum Stage {
    /// Nothing is worked through.
    #[default]
    Idle,
    /// How much lives is being asked for.
    Measuring,
    /// The oldest segment is to be read.
    Reading,
    /// What lives of it is looked at; these are asked for just now.
    Refreshing(SegmentWork, Vec<(ShardId, Vec<Entity>)>),
    /// The queues of this shard follow, after this one.
    Queues(SegmentWork, ShardId, Option<QueueName>),
    /// That it is not needed is being recorded.
    Recording(u64),
    /// Its file is to go.
    Removing(u64),
}

/// Why cleaning cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum CleaningError {
    /// A segment cannot be read back.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A record cannot be read.
    #[error("segment {segment}: {problem}")]
    Record {
        /// Which segment.
        segment: u64,
        /// What is wrong.
        problem: DecodeError,
    },
    /// A bug.
    #[error("the engine answered something else than it was asked")]
    Confused,
}

impl Cleaning {
    /// The cleaning of a journal whose segments are of this size.
    #[must_use]
    pub const fn new(segment_bytes: u64) -> Self {
        Self {
            segment_bytes,
            appended: 0,
            own_bytes: 0,
            credit: 0,
            stage: Stage::Idle,
        }
    }

    /// Time has passed: what was appended meanwhile is what may be worked through.
    pub fn tick(&mut self, files: &LogFiles) {
        let appended = files.appended_bytes();
        let others = (appended - self.appended).saturating_sub(self.own_bytes);
        let earned = others.saturating_mul(BYTES_PER_APPENDED) + IDLE_BYTES;
        (self.appended, self.own_bytes) = (appended, 0);
        self.credit = self.credit.saturating_add(earned).min(CREDIT_BYTES_MAX);
    }

    /// What comes next; what was asked for before has been answered.
    pub fn next(&mut self, files: &LogFiles) -> Next {
        if self.credit == 0 {
            return Next::Rest;
        }
        match &mut self.stage {
            Stage::Idle => self.measure(files),
            Stage::Measuring => Next::Rest,
            Stage::Reading => files.sealed().first().copied().map_or_else(
                || {
                    self.stage = Stage::Idle;
                    Next::Rest
                },
                Next::Read,
            ),
            Stage::Refreshing(work, asked) => {
                while asked.len() < COMMANDS_AT_ONCE
                    && let Some(chunk) = work.next()
                {
                    asked.push(chunk);
                }
                Next::Ask(asked.iter().map(|chunk| work.refresh(chunk)).collect())
            }
            Stage::Queues(work, shard, after) => {
                let below = work.below[usize::from(shard.0)];
                let which = RefreshWhich::QueuesAfter(after.clone());
                Next::Ask(vec![refresh(*shard, below, which)])
            }
            Stage::Recording(below) => {
                let below = *below;
                Next::Ask(vec![Call::SegmentsCleaned { below }])
            }
            Stage::Removing(below) => Next::Remove { below: *below },
        }
    }

    /// Whether the sealed segments may take more than they should: then how much lives is asked for.
    fn measure(&mut self, files: &LogFiles) -> Next {
        let sealed = files.sealed();
        let bytes: u64 = sealed.iter().map(|segment| segment.bytes).sum();
        let whole = sealed.len() as u64 * self.segment_bytes;
        if sealed.len() > SMALL_SEGMENTS_MAX && bytes < whole / 2 {
            self.stage = Stage::Reading;
            return self.next(files);
        }
        let slack = self.segment_bytes / 2;
        if sealed.is_empty() || (bytes <= slack && !files.refuses_growth()) {
            return Next::Rest;
        }
        self.stage = Stage::Measuring;
        let nothing = RefreshWhich::Entities(Vec::new());
        Next::Ask(vec![refresh(ShardId(0), 0, nothing)])
    }

    /// Whether the sealed segments take more than they may: twice what lives and half a segment; on
    /// a full disk, whatever can be had.
    fn is_over_bound(&self, files: &LogFiles, live_bytes: u64) -> bool {
        let bytes: u64 = files.sealed().iter().map(|segment| segment.bytes).sum();
        let slack = self.segment_bytes / 2;
        if files.refuses_growth() {
            bytes > live_bytes.saturating_add(slack / 2)
        } else {
            bytes > live_bytes.saturating_mul(2).saturating_add(slack)
        }
    }

    /// The answers to what was asked. Says whether to go on; if not, the next tick does.
    ///
    /// # Errors
    /// Where they answer something else.
    pub fn answered(
        &mut self,
        answers: Vec<Answer>,
        files: &LogFiles,
    ) -> Result<bool, CleaningError> {
        let mut answers = answers.into_iter();
        match std::mem::take(&mut self.stage) {
            Stage::Measuring => {
                let live_bytes = refreshed(answers.next())?.live_bytes;
                if self.is_over_bound(files, live_bytes) {
                    self.stage = Stage::Reading;
                } else {
                    return Ok(false);
                }
            }
            Stage::Refreshing(mut work, asked) => {
                for ((shard, mut entities), answer) in asked.into_iter().zip(answers) {
                    let refreshed = refreshed(Some(answer))?;
                    let looked_at = refreshed.looked_at.min(entities.len());
                    let worked = work.bytes_each.saturating_mul(looked_at as u64);
                    self.spend(worked, refreshed.image_bytes);
                    // What a command had no room for is put back.
                    entities.drain(..looked_at);
                    let rest = entities.into_iter().rev();
                    work.entities.extend(rest.map(|entity| (shard, entity)));
                }
                self.stage = work.stage();
            }
            Stage::Queues(work, shard, _) => {
                let refreshed = refreshed(answers.next())?;
                self.spend(0, refreshed.image_bytes);
                self.stage = match refreshed.next {
                    Some(after) => Stage::Queues(work, shard, Some(after)),
                    None => work.queues_from(shard.0 + 1),
                };
            }
            Stage::Recording(below) => {
                let Some(Answer::Done) = answers.next() else {
                    return Err(CleaningError::Confused);
                };
                self.stage = Stage::Removing(below);
            }
            Stage::Idle | Stage::Reading | Stage::Removing(_) => {
                return Err(CleaningError::Confused);
            }
        }
        Ok(true)
    }

    /// The segment that was to be read.
    pub fn begin(&mut self, work: SegmentWork) {
        self.stage = work.stage();
    }

    /// The files that were to go have gone.
    pub fn removed(&mut self) {
        self.stage = Stage::Idle;
    }

    /// What was worked through, or recorded where that is more.
    fn spend(&mut self, worked: u64, image_bytes: u64) {
        self.own_bytes = self.own_bytes.saturating_add(image_bytes);
        self.credit = self.credit.saturating_sub(worked.max(image_bytes));
    }
}

/// An answer about what was recorded again.
struct Refreshed {
    looked_at: usize,
    image_bytes: u64,
    next: Option<QueueName>,
    live_bytes: u64,
}

fn refreshed(answer: Option<Answer>) -> Result<Refreshed, CleaningError> {
    let Some(Answer::Refreshed {
        looked_at,
        image_bytes,
        next,
        live_bytes,
    }) = answer
    else {
        return Err(CleaningError::Confused);
    };
    Ok(Refreshed {
        looked_at,
        image_bytes,
        next,
        live_bytes,
    })
}

const fn refresh(shard: ShardId, below: u64, which: RefreshWhich) -> Call {
    Call::Refresh(Refresh {
        shard,
        below,
        which,
    })
}

impl SegmentWork {
    /// Reads what a sealed segment speaks of.
    ///
    /// # Errors
    /// Where it cannot be read, or is not what was written.
    pub fn read(files: &LogFiles, info: SegmentInfo) -> Result<Self, CleaningError> {
        let segment = info.number;
        let wrong = |problem| CleaningError::Record { segment, problem };
        let mut records = files.read(segment)?;
        let (mut below, mut entities) = (Vec::new(), Vec::new());
        while let Some((_, record)) = records.next_record() {
            let (shard, seq) = codec::place_of(record).map_err(wrong)?;
            let index = usize::from(shard.0);
            if below.len() <= index {
                below.resize(index + 1, 0);
            }
            below[index] = seq + 1;
            if let Some(entity) = codec::entity_of(record).map_err(wrong)? {
                entities.push(entity);
            }
        }
        // From the back, because chunks are taken from there.
        entities.sort_by(|one, two| two.cmp(one));
        let bytes_each = info.bytes.div_ceil((entities.len() as u64).max(1));
        Ok(Self {
            segment,
            below,
            entities,
            bytes_each,
        })
    }

    /// Tasks come first, then queues: an image of a queue counts what happened to tasks that a
    /// partial log does not know.
    fn stage(self) -> Stage {
        if self.entities.is_empty() {
            self.queues_from(0)
        } else {
            Stage::Refreshing(self, Vec::new())
        }
    }

    /// The queues of this shard and those after it.
    fn queues_from(self, shard: u16) -> Stage {
        let early = mutants::is(Mutant::CleanedTooEarly);
        if usize::from(shard) < self.below.len() && !early {
            Stage::Queues(self, ShardId(shard), None)
        } else {
            Stage::Recording(self.segment + 1)
        }
    }

    /// The next entities to look at, all of one shard.
    fn next(&mut self) -> Option<(ShardId, Vec<Entity>)> {
        let (shard, _) = *self.entities.last()?;
        let alike = self.entities.iter().rev();
        let alike = alike.take_while(|(of, _)| *of == shard);
        let count = alike.take(limits::REFRESH_ENTITIES_MAX).count();
        let chunk = self.entities.split_off(self.entities.len() - count);
        let entities = chunk.into_iter().rev().map(|(_, entity)| entity);
        Some((shard, entities.collect()))
    }

    fn refresh(&self, (shard, entities): &(ShardId, Vec<Entity>)) -> Call {
        let below = self.below[usize::from(shard.0)];
        refresh(*shard, below, RefreshWhich::Entities(entities.clone()))
    }
}
