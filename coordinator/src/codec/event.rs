//! Records: the number of each kind of event, and the layout of what it says.
//!
//! Owns both. They are the journal's format and never change: see the module above. The cleaner
//! and the reader of segments look into records without decoding them; what they look for stands
//! first in its body, and their numbers have names here.

use crate::mutants::{self, Mutant};
use std::sync::Arc;

use super::shape::{Variants, Wire, fixed, shape, unknown, variants};
use super::wire::{Cursor, DecodeError, Problem, Reader, Writer};
use crate::engine::command::Entity;
use crate::engine::event::{Event, Recorded, ShardImage};
use crate::engine::ids::{QueueName, ShardId, TaskId};
use crate::engine::ledger::memory::MemoryKey;
use crate::engine::ledger::queue::{Pause, Queue, QueueSettings, Totals};
use crate::engine::ledger::tally::Tally;

const TASK_ENQUEUED: u8 = 5;
const TRANSFER_SENT: u8 = 16;
const TRANSFER_RECEIVED: u8 = 17;
const SEGMENT_OPENED: u8 = 19;
const TASK_IMAGE: u8 = 20;
const TRANSFER_IMAGE: u8 = 22;
const REMEMBERED: u8 = 31;
const KIND_CONFIGURED: u8 = 34;

// No kind has number 0: bytes that were never written are no record.
variants!(Event {
    1 = EpochStarted { epoch, at },
    2 = QueueConfigured { queue, settings, revision },
    4 = QueueResumed { queue },
    TASK_ENQUEUED = TaskEnqueued { task },
    6 = LeaseGranted {
        id, fence, nonce via fixed, holder, worker, at, timeouts;
        started, delivery
    },
    7 = LeaseStarted { id, at },
    9 = TimeoutsChanged { id, timeouts },
    10 = RetryScheduled { id, run, budget, not_before, leaves },
    11 = TaskDied { id, run, budget, reason, at, leaves },
    12 = TaskFinished { id, outcome, at; run, budget, result, label, leaves, expires_at, act },
    14 = TasksForgotten { ids },
    15 = ExpiredThrough { last, at },
    TRANSFER_SENT = TransferSent { target, number, task },
    TRANSFER_RECEIVED = TransferReceived { task, origin, number },
    18 = TransferConfirmed { target, through },
    SEGMENT_OPENED = SegmentOpened { shard },
    TASK_IMAGE = TaskImage { task },
    21 = QueueImage { queue },
    TRANSFER_IMAGE = TransferImage { target, number, task },
    23 = SegmentsCleaned { below },
    24 = QueuePaused { queue, pause; by },
    25 = CancelRequested { id, order },
    26 = LeaseExtended { id, timeouts },
    27 = CheckpointSaved { id, at, checkpoint },
    28 = TaskEdited { id, at, edit },
    29 = TaskExpired { id, at, reason },
    30 = TaskRedriven { id, at, not_before; by, note, kept },
    REMEMBERED = Remembered { key, memory },
    32 = RememberedMore { key, tasks, expires_at },
    33 = MemoriesForgotten { last, at },
    KIND_CONFIGURED = KindConfigured { kind },
    35 = KindRemoved { name, at },
} once {
    3 = QueuePaused { queue, pause } with { by: Arc::default() },
    8 = CancelRequested { id } with { order: Box::default() },
    13 = TaskRedriven { id, at, not_before } with {
        by: Arc::default(),
        note: Arc::default(),
        kept: false
    },
});

shape!(ShardImage {
    epoch,
    newest,
    sent_through,
    received_through
});

shape!(Queue { name, settings, revision, totals; paused, paused_by } without {
    recorded_at: 0,
    recorded_totals: Totals::default()
});

shape!(QueueSettings {
    ;
    policy, timeouts, dead_letter_queue, terms, aging_ms, finished_max
});

shape!(Pause { at, reason });

shape!(Totals {
    enqueued,
    succeeded,
    failures,
    crashes,
    dead_lettered,
    redriven
});

/// A record's kind, shard and sequence, with which it begins.
struct Header {
    number: u8,
    shard: ShardId,
    seq: u64,
}

impl Header {
    fn get(cursor: &mut Cursor<'_>) -> Result<Self, DecodeError> {
        let number = cursor.byte("kind")?;
        let shard = ShardId(cursor.narrow("shard")?);
        let before = cursor.clone();
        let seq = cursor.varint("sequence")?;
        if seq == 0 {
            return Err(before.error("sequence", Problem::BadNumber));
        }
        Ok(Self { number, shard, seq })
    }
}

pub(super) fn put(record: &Recorded, w: &mut Writer<'_>) {
    let Recorded { shard, seq, event } = record;
    w.out.push(event.number());
    shard.put(w);
    seq.put(w);
    event.put_body(w);
}

pub(super) fn get(r: &mut Reader<'_, '_>) -> Result<Recorded, DecodeError> {
    let before = r.cursor.clone();
    let Header { number, shard, seq } = Header::get(&mut r.cursor)?;
    let event = Event::get_body(number, r)?;
    let event = event.ok_or_else(|| unknown(&before, number, "kind"))?;
    r.cursor.end("the record")?;
    let event = forgetful(event);
    Ok(Recorded { shard, seq, event })
}

/// An event as a planted bug would read it.
fn forgetful(mut event: Event) -> Event {
    if let Event::TaskImage { task } = &mut event
        && mutants::is(Mutant::CrashesUnrecorded)
    {
        task.set_tally(Tally {
            crashes: 0,
            ..task.tally()
        });
    } else if let Event::RetryScheduled {
        not_before, leaves, ..
    } = &mut event
    {
        if mutants::is(Mutant::CheckpointUnrecorded) {
            leaves.checkpoint = None;
        } else if mutants::is(Mutant::JitterRedrawn) {
            *not_before = not_before.plus_ms(leaves.delay_ms.map_or(0, |ms| ms % 2));
        }
    }
    event
}

pub(super) fn entity_of(bytes: &[u8]) -> Result<Option<(ShardId, Entity)>, DecodeError> {
    let mut cursor = Cursor::new(bytes);
    let Header { number, shard, .. } = Header::get(&mut cursor)?;
    let entity = match number {
        TASK_ENQUEUED | TASK_IMAGE | TRANSFER_RECEIVED => {
            let before = cursor.clone();
            let id = TaskId::from_bytes(cursor.array("Task.id")?);
            Entity::Task(id.ok_or_else(|| before.error("Task.id", Problem::NotAnId))?)
        }
        TRANSFER_SENT | TRANSFER_IMAGE => Entity::Transfer {
            target: ShardId(cursor.narrow("target")?),
            number: cursor.varint("number")?,
        },
        REMEMBERED => Entity::Memory(key_of(cursor)?),
        KIND_CONFIGURED => Entity::Kind(name_of(&mut cursor, "Kind.name")?),
        _ => return Ok(None),
    };
    Ok(Some((shard, entity)))
}

pub(super) fn place_of(bytes: &[u8]) -> Result<(ShardId, u64), DecodeError> {
    let Header { shard, seq, .. } = Header::get(&mut Cursor::new(bytes))?;
    Ok((shard, seq))
}

fn key_of(mut cursor: Cursor<'_>) -> Result<MemoryKey, DecodeError> {
    let before = cursor.clone();
    let number = cursor.byte("key")?;
    Ok(match number {
        1 => MemoryKey::Request {
            namespace: text_of(&mut cursor, "Request.namespace")?.into(),
            id: text_of(&mut cursor, "Request.id")?.into(),
        },
        2 => MemoryKey::Key {
            queue: name_of(&mut cursor, "Key.queue")?,
            key: text_of(&mut cursor, "Key.key")?.into(),
        },
        3 => MemoryKey::Producer {
            namespace: text_of(&mut cursor, "Producer.namespace")?.into(),
            id: text_of(&mut cursor, "Producer.id")?.into(),
        },
        _ => return Err(unknown(&before, number, "key")),
    })
}

fn name_of(cursor: &mut Cursor<'_>, field: &'static str) -> Result<QueueName, DecodeError> {
    let before = cursor.clone();
    let name = QueueName::parse(text_of(cursor, field)?).ok();
    name.ok_or_else(|| before.error(field, Problem::NotAName))
}

fn text_of<'a>(cursor: &mut Cursor<'a>, field: &'static str) -> Result<&'a str, DecodeError> {
    let before = cursor.clone();
    let text = str::from_utf8(cursor.bytes(field)?).ok();
    text.ok_or_else(|| before.error(field, Problem::NotUtf8))
}
