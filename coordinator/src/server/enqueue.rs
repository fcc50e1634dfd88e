//! Enqueueing: what could be parsed is asked for in one call, the rest keeps its own refusal.
//!
//! Owns how answers find back to the items of a request. Never decides what a key or a request id
//! means: the engine does.

use std::sync::Arc;

use redrive_proto::v1 as pb;

use super::edge::{Edge, confused};
use super::status::Refused;
use crate::engine::command::{Call, Caller, Enqueue, NewTask, Producer};
use crate::engine::effect::{Accepted, Answer, EnqueueEffect};

/// What became of each of many tasks, in order.
pub(crate) type Enqueued = Vec<Result<Accepted, Refused>>;

/// What becomes of a question while the inbox is full.
#[derive(Clone, Copy, Debug)]
pub(crate) enum WhenFull {
    /// It is refused at once: a unary call.
    Refuse,
    /// It waits, and its stream is read no further.
    Wait,
}

/// Tasks of one request or message, parsed.
#[derive(Debug)]
pub(crate) struct Batch {
    /// The namespace of all of them.
    pub(crate) namespace: Arc<str>,
    /// Each task, or why it cannot be one.
    pub(crate) tasks: Vec<Result<NewTask, Refused>>,
    /// The producer of a stream, with the sequence of each task.
    pub(crate) producer: Option<Producer>,
}

impl Edge {
    /// Enqueues those that could be parsed, in one call; the others keep their own refusals.
    pub(crate) async fn enqueue(
        &self,
        by: Caller,
        batch: Batch,
        full: WhenFull,
    ) -> Result<Enqueued, Refused> {
        let mut tasks = Vec::with_capacity(batch.tasks.len());
        let mut refusals: Vec<Option<Refused>> = Vec::with_capacity(batch.tasks.len());
        for item in batch.tasks {
            refusals.push(item.map(|task| tasks.push(task)).err());
        }
        let producer = batch.producer.map(|producer| Producer {
            sequences: taken(producer.sequences, &refusals),
            id: producer.id,
        });
        let answers = if tasks.is_empty() {
            Vec::new()
        } else {
            let call = Call::Enqueue(Enqueue {
                namespace: batch.namespace,
                tasks,
                producer,
            });
            let answer = match full {
                WhenFull::Refuse => self.inbox.call_as(by, call).await?,
                WhenFull::Wait => self.inbox.call_as_when_room(by, call).await?,
            };
            let Answer::Enqueued(answers) = answer else {
                return Err(confused("new tasks"));
            };
            answers
        };
        let mut answers = answers.into_iter();
        let mut next = || match answers.next() {
            Some(answer) => answer.map_err(Refused::Rejected),
            None => Err(Refused::Confused),
        };
        Ok(refusals
            .into_iter()
            .map(|own| own.map_or_else(&mut next, Err))
            .collect())
    }
}

/// The sequences of those items that were not refused.
fn taken(sequences: Vec<u64>, refusals: &[Option<Refused>]) -> Vec<u64> {
    let both = sequences.into_iter().zip(refusals);
    let taken = both.filter(|(_, refused)| refused.is_none());
    taken.map(|(sequence, _)| sequence).collect()
}

/// The number that an effect has on the wire.
pub(crate) const fn effect_view(effect: EnqueueEffect) -> pb::EnqueueEffect {
    match effect {
        EnqueueEffect::Created => pb::EnqueueEffect::Created,
        EnqueueEffect::Existing => pb::EnqueueEffect::Existing,
        EnqueueEffect::Replaced => pb::EnqueueEffect::Replaced,
        EnqueueEffect::Rescheduled => pb::EnqueueEffect::Rescheduled,
    }
}
