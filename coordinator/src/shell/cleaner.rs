//! The cleaner: keeps the journal small without stopping anything.
//!
//! Owns the pace (rule 22) and the order: the oldest sealed segment is read, what still lives of it
//! is recorded again by the engine in small steps, and when that is durable the file goes. Never
//! decides what lives: the engine does. Invariants: a file is removed only after the record that it
//! is not needed any more is durable (rule 1); the work of a tick is bounded by what was appended
//! since the last one, so that cleaning never competes with what it cleans up after.

use std::time::Duration;

use futures::future::join_all;

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
/// Commands that are on their way to the engine at once: one alone would do no more than its
/// entities for each sync of the journal, and fall behind producers that have many tasks on the way.
const COMMANDS_AT_ONCE: usize = 16;
/// How often a segment that cannot be read is tried again: descriptors or memory may be short.
const READS_MAX: u32 = 100;
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
    /// Bytes of images since the last tick: they earn no credit.
    own_bytes: u64,
    credit: u64,
    reads_failed: u32,
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
            own_bytes: 0,
            credit: 0,
            reads_failed: 0,
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
        let others = (appended - self.appended).saturating_sub(self.own_bytes);
        let earned = others.saturating_mul(BYTES_PER_APPENDED) + IDLE_BYTES;
        (self.appended, self.own_bytes) = (appended, 0);
        self.credit = self.credit.saturating_add(earned).min(CREDIT_BYTES_MAX);
        while self.credit > 0 {
            if self.job.is_none() {
                if !self.is_over_bound().await? {
                    return Ok(());
                }
                self.job = self.begin().await?;
            }
            let Some(mut job) = self.job.take() else {
                return Ok(());
            };
            if job.entities.is_empty() {
                self.finish(&job).await?;
            } else {
                self.refresh_some(&mut job).await?;
                self.job = Some(job);
            }
        }
        Ok(())
    }

    /// Has some entities looked at, several commands at once. What a command had no room for is put
    /// back.
    async fn refresh_some(&mut self, job: &mut Job) -> Result<(), CleanError> {
        let mut chunks = Vec::with_capacity(COMMANDS_AT_ONCE);
        while chunks.len() < COMMANDS_AT_ONCE
            && let Some(chunk) = job.next()
        {
            chunks.push(chunk);
        }
        let calls = chunks.iter().map(|chunk| self.call(job.refresh(chunk)));
        let answers = join_all(calls).await;
        for ((shard, mut entities), answer) in chunks.into_iter().zip(answers) {
            let Answer::Refreshed {
                looked_at,
                image_bytes,
                ..
            } = answer?
            else {
                return Err(CleanError::Confused);
            };
            let looked_at = looked_at.min(entities.len());
            let worked = job.bytes_each.saturating_mul(looked_at as u64);
            self.spend(worked, image_bytes);
            entities.drain(..looked_at);
            let rest = entities.into_iter().rev();
            job.entities.extend(rest.map(|entity| (shard, entity)));
        }
        Ok(())
    }

    /// What was worked through, or recorded where that is more.
    fn spend(&mut self, worked: u64, image_bytes: u64) {
        self.own_bytes = self.own_bytes.saturating_add(image_bytes);
        self.credit = self.credit.saturating_sub(worked.max(image_bytes));
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

    /// Reads the oldest sealed segment; nothing where the machine cannot just now.
    async fn begin(&mut self) -> Result<Option<Job>, CleanError> {
        let Some(oldest) = self.files.sealed().first().copied() else {
            return Ok(None);
        };
        let files = self.files.clone();
        let read = move || Job::read(&files, oldest.number, oldest.bytes);
        match tokio::task::spawn_blocking(read).await {
            Ok(Err(CleanError::Read(error @ ReadError::Io { .. })))
                if self.reads_failed < READS_MAX =>
            {
                self.reads_failed += 1;
                tracing::warn!(%error, "a segment cannot be cleaned now; trying again");
                Ok(None)
            }
            Ok(job) => {
                self.reads_failed = 0;
                job.map(Some)
            }
            Err(ended) if ended.is_panic() => Err(CleanError::Confused),
            // The runtime goes down.
            Err(_ended) => Err(CallError::Stopped.into()),
        }
    }

    /// Nothing lives of the segment any more but in younger records: it goes.
    async fn finish(&mut self, job: &Job) -> Result<(), CleanError> {
        for (shard, below) in (0..).map(ShardId).zip(&job.below) {
            let mut after = None;
            loop {
                let refresh = Refresh {
                    shard,
                    below: *below,
                    which: RefreshWhich::QueuesAfter(after),
                };
                let answer = self.call(Call::Refresh(refresh)).await?;
                let Answer::Refreshed {
                    next, image_bytes, ..
                } = answer
                else {
                    return Err(CleanError::Confused);
                };
                self.spend(0, image_bytes);
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
        Call::Refresh(Refresh {
            shard: *shard,
            below: self.below[usize::from(shard.0)],
            which: RefreshWhich::Entities(entities.clone()),
        })
    }
}
