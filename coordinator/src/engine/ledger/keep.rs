//! What the ledger keeps of a task that an event brings: the same, in as little memory as it can.
//!
//! Owns what tasks share (equal texts are one text) and what they do not (a small payload is copied
//! into an allocation of its own). Live and on replay alike, because an event comes from a request
//! or from the journal with texts of its own. Never changes what is equal to what: how values are
//! kept is no fact.

use std::collections::BTreeSet;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use bytes::Bytes;

use super::Ledger;
use super::task::{Payload, Task};
use crate::engine::ids::QueueName;
use crate::engine::limits;

/// A task that is kept, and where it was recorded.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept {
    task: Box<Task>,
    /// The sequence of its latest full record.
    pub recorded_at: u64,
}

impl Kept {
    /// The task as an event says it.
    pub(crate) fn whole(&self) -> Box<Task> {
        self.task.clone()
    }
}

impl Deref for Kept {
    type Target = Task;

    fn deref(&self) -> &Task {
        &self.task
    }
}

impl DerefMut for Kept {
    fn deref_mut(&mut self) -> &mut Task {
        &mut self.task
    }
}

/// Texts that many tasks have alike. Bounded: when it is full it begins anew, and what tasks share
/// already they go on sharing.
#[derive(Clone, Debug, Default)]
pub(super) struct Texts {
    texts: BTreeSet<Arc<str>>,
    queues: BTreeSet<QueueName>,
}

impl PartialEq for Texts {
    /// Always: what is shared is no fact.
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Texts {
    /// The text that this one is equal to.
    fn shared(&mut self, text: &Arc<str>) -> Arc<str> {
        shared(&mut self.texts, text)
    }
}

fn shared<T: Ord + Clone>(known: &mut BTreeSet<T>, text: &T) -> T {
    if let Some(known) = known.get(text) {
        return known.clone();
    }
    if known.len() >= limits::SHARED_TEXTS_MAX {
        known.clear();
    }
    known.insert(text.clone());
    text.clone()
}

impl Ledger {
    /// The task as it is kept: recorded whole by the event of this sequence.
    pub(super) fn keep(&mut self, task: &Task, seq: u64) -> Kept {
        let queue = match self.queues.get(&task.queue) {
            Some(queue) => queue.name.clone(),
            // The queue of a transfer is elsewhere, and a cleaned log has the tasks first.
            None => shared(&mut self.texts.queues, &task.queue),
        };
        let task = Box::new(Task {
            queue,
            kind: self.texts.shared(&task.kind),
            payload: self.keep_payload(&task.payload),
            state: task.state.clone(),
            own: task.own.clone(),
            side: task.side.clone(),
            ..*task
        });
        Kept {
            task,
            recorded_at: seq,
        }
    }

    fn keep_payload(&mut self, payload: &Payload) -> Payload {
        let data = if payload.data.len() <= limits::PAYLOAD_COPIED_BYTES_MAX {
            // Bytes that were ever shared keep a counter beside them, a third of a small payload,
            // after the event that brought them is long gone; and those of a journal that is
            // replayed may lie within a whole block of it.
            Bytes::copy_from_slice(&payload.data)
        } else {
            payload.data.clone()
        };
        let content_type = payload.content_type.as_ref();
        Payload {
            data,
            content_type: content_type.map(|text| self.texts.shared(text)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(number: usize) -> Arc<str> {
        format!("text {number}").into()
    }

    #[test]
    fn equal_texts_are_one_text() {
        let mut texts = Texts::default();
        let first = texts.shared(&text(1));
        assert!(Arc::ptr_eq(&first, &texts.shared(&text(1))));
        assert!(!Arc::ptr_eq(&first, &texts.shared(&text(2))));
    }

    #[test]
    fn however_many_texts_there_are_few_are_remembered() {
        let mut texts = Texts::default();
        for number in 0..3 * limits::SHARED_TEXTS_MAX + 1 {
            assert_eq!(texts.shared(&text(number)), text(number));
            assert!(texts.texts.len() <= limits::SHARED_TEXTS_MAX);
        }
    }
}
