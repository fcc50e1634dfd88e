//! The cleaner: keeps the journal small without stopping anything.
//!
//! Owns the pace (rule 22) and the order: the oldest sealed segment is read, what still lives of it
//! is recorded again by the engine in small steps, and when that is durable the file goes. Never
//! decides what lives: the engine does. Invariants: a file is removed only after the record that it
//! is not needed any more is durable (rule 1); the work of a tick is bounded by what was appended
//! since the last one, so that cleaning never competes with what it cleans up after.

use std::time::Duration;

use super::inbox::{CallError, Inbox};
use crate::codec::{self, DecodeError};
use crate::engine::command::{Call, Entity, Refresh, RefreshWhich};
use crate::engine::effect::Answer;
use crate::engine::ids::ShardId;
use crate::engine::limits;
use crate::journal::{JournalError, LogFiles, ReadError};

/// How often the cleaner looks at the journal.
const TICK: Duration = Duration::from_millis(100);
/// Bytes of old segments that a tick may work through whatever was appended: 20 MiB/s.
const IDLE_BYTES: u64 = 2 * 1024 * 1024;
/// Bytes of old segments that may be worked through for each byte appended.
const BYTES_PER_APPENDED: u64 = 2;
/// Unused pace that is kept.
const CREDIT_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Sealed segments that are left alone though they are mostly small: every restart leaves one.
const SMALL_SEGMENTS_MAX: usize = 32;

/// Why the cleaner stopped.
#[derive(Debug, thiserror::Error)]
enum CleanError {
    /// The coordinator has stopped.
    #[error(transparent)]
    Call(#[from] CallError),
    /// A file could not be removed: the journal has failed.
    #[error(transparent)]
    Journal(#[from] JournalError),
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

/// Keeps the journal small.
pub(crate) struct Cleaner {
    inbox: Inbox,
    files: LogFiles,
    segment_bytes: u64,
    appended: u64,
    credit: u64,
    job: Option<Job>,
}

/// The oldest segment, being worked through.
struct Job {
    segment: u64,
    /// For each shard, its first event that is not in the segment.
    below: Vec<u64>,
    /// The entities of full records, by shard, that are left to look at.
    entities: Vec<(ShardId, Entity)>,
    /// Bytes of the segment for each of them.
    bytes_each: u64,
}

impl Cleaner {
    /// A cleaner of these files, whose segments are of this size.
    pub(crate) fn new(inbox: Inbox, files: LogFiles, segment_bytes: u64) -> Self {
        Self {
            inbox,
            files,
            segment_bytes,
            appended: 0,
            credit: 0,
            job: None,
        }
    }

    /// Cleans until the coordinator stops. Where a segment cannot be read back cleaning ends and
    /// the journal grows: the next start says what is wrong with it.
    pub(crate) async fn run(mut self) {
        let mut beat = tokio::time::interval(TICK);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            beat.tick().await;
            match self.tick().await {
                Ok(()) => {}
                // Whoever watches the journal and the engine says why they ended.
                Err(CleanError::Call(_) | CleanError::Journal(_)) => return,
                Err(
                    error
                    @ (CleanError::Read(_) | CleanError::Record { .. } | CleanError::Confused),
                ) => {
                    tracing::error!(%error, "the journal is cleaned no more: it only grows");
                    return;
                }
            }
        }
    }

    async fn tick(&mut self) -> Result<(), CleanError> {
        let appended = self.files.appended_bytes();
        let earned = (appended - self.appended).saturating_mul(BYTES_PER_APPENDED) + IDLE_BYTES;
        self.appended = appended;
        self.credit = self.credit.saturating_add(earned).min(CREDIT_BYTES_MAX);
        while self.credit > 0 {
            if self.job.is_none() {
                if !self.is_over_bound().await? {
                    return Ok(());
                }
                self.job = self.begin().await?;
            }
            let Some(job) = &mut self.job else {
                return Ok(());
            };
            match job.next() {
                Some((refresh, bytes)) => {
                    self.credit = self.credit.saturating_sub(bytes);
                    self.call(Call::Refresh(refresh)).await?;
                }
                None => self.finish().await?,
            }
        }
        Ok(())
    }

    /// Whether the sealed segments take more than they may: twice what lives and half a segment, or
    /// too many files; on a full disk, whatever can be had.
    async fn is_over_bound(&self) -> Result<bool, CleanError> {
        let sealed = self.files.sealed();
        let bytes: u64 = sealed.iter().map(|segment| segment.bytes).sum();
        let (slack, full) = (self.segment_bytes / 2, self.files.refuses_growth());
        let whole = sealed.len() as u64 * self.segment_bytes;
        if sealed.len() > SMALL_SEGMENTS_MAX && bytes < whole / 2 {
            return Ok(true);
        }
        if sealed.is_empty() || (bytes <= slack && !full) {
            return Ok(false);
        }
        let nothing = Refresh {
            shard: ShardId(0),
            below: 0,
            which: RefreshWhich::Entities(Vec::new()),
        };
        let Answer::Refreshed { live_bytes, .. } = self.call(Call::Refresh(nothing)).await? else {
            return Err(CleanError::Confused);
        };
        Ok(if full {
            bytes > live_bytes.saturating_add(slack / 2)
        } else {
            bytes > live_bytes.saturating_mul(2).saturating_add(slack)
        })
    }

    /// Reads the oldest sealed segment.
    async fn begin(&self) -> Result<Option<Job>, CleanError> {
        let Some(oldest) = self.files.sealed().first().copied() else {
            return Ok(None);
        };
        let files = self.files.clone();
        let read = move || Job::read(&files, oldest.number, oldest.bytes);
        match tokio::task::spawn_blocking(read).await {
            Ok(job) => job.map(Some),
            // The runtime goes down.
            Err(_ended) => Err(CallError::Stopped.into()),
        }
    }

    /// Nothing lives of the segment any more but in younger records: it goes.
    async fn finish(&mut self) -> Result<(), CleanError> {
        let Some(job) = self.job.take() else {
            return Ok(());
        };
        for (shard, below) in (0..).map(ShardId).zip(&job.below) {
            let mut after = None;
            loop {
                let refresh = Refresh {
                    shard,
                    below: *below,
                    which: RefreshWhich::QueuesAfter(after),
                };
                let answer = self.call(Call::Refresh(refresh)).await?;
                let Answer::Refreshed { next, .. } = answer else {
                    return Err(CleanError::Confused);
                };
                if next.is_none() {
                    break;
                }
                after = next;
            }
        }
        let below = job.segment + 1;
        self.call(Call::SegmentsCleaned { below }).await?;
        let files = self.files.clone();
        let removed = tokio::task::spawn_blocking(move || files.delete_below(below)).await;
        removed.unwrap_or(Ok(()))?;
        tracing::debug!(
            segment = job.segment,
            "a segment of the journal was cleaned"
        );
        Ok(())
    }

    /// The answer comes when what was recorded is durable.
    async fn call(&self, call: Call) -> Result<Answer, CleanError> {
        Ok(self.inbox.call_when_room(call).await?)
    }
}

impl Job {
    fn read(files: &LogFiles, segment: u64, bytes: u64) -> Result<Self, CleanError> {
        let wrong = |problem| CleanError::Record { segment, problem };
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
        entities.sort_by(|(one, _), (two, _)| two.cmp(one));
        let bytes_each = bytes.div_ceil((entities.len() as u64).max(1));
        Ok(Self {
            segment,
            below,
            entities,
            bytes_each,
        })
    }

    /// The next entities to look at, all of one shard, and how many bytes they stand for.
    fn next(&mut self) -> Option<(Refresh, u64)> {
        let (shard, _) = *self.entities.last()?;
        let alike = self
            .entities
            .iter()
            .rev()
            .take_while(|(of, _)| *of == shard);
        let count = alike.take(limits::REFRESH_ENTITIES_MAX).count();
        let chunk = self.entities.split_off(self.entities.len() - count);
        let refresh = Refresh {
            shard,
            below: self.below[usize::from(shard.0)],
            which: RefreshWhich::Entities(chunk.into_iter().map(|(_, entity)| entity).collect()),
        };
        Some((refresh, self.bytes_each.saturating_mul(count as u64)))
    }
}
