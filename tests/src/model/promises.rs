//! What was asked for, and what makes asking twice harmless (docs/idempotency.md).
//!
//! Owns the enqueues that reached the engine, the cancels, and what each id, key and sequence was
//! answered with, until when.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use redrive_coordinator::engine::command::{Bulk, BulkAct, Caller, Enqueue, NewTask, TaskRef};
use redrive_coordinator::engine::effect::{Accepted, EnqueueEffect};
use redrive_coordinator::engine::ids::{QueueName, RequestId, TaskId, Timestamp};
use redrive_coordinator::engine::ledger::task::Task as Whole;
use redrive_coordinator::engine::rejection::Rejection;

use super::task::Stand;
use super::{Map, Model, Rule, digest};

/// How long the sequence of a producer is remembered after the last one. Milliseconds.
const PRODUCER_MS: u64 = 3_600_000;

/// What something was said under.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Under {
    /// A place of a request, by its id and content.
    Request(Arc<str>, u64, u64),
    /// A sequence of a producer.
    Sequence(Arc<str>, u64),
    /// An idempotency key, with the content.
    Key(QueueName, Arc<str>, u64),
}

/// What was promised.
#[derive(Debug, Default)]
pub(super) struct Promises {
    asked: BTreeMap<RequestId, Asked>,
    kept: BTreeMap<Under, (TaskId, Timestamp)>,
    /// How often each content was asked for.
    contents: Map<(u64, u64), u32>,
    /// What each request id was used for, until when.
    requests: BTreeMap<Arc<str>, (u64, Timestamp)>,
    cancelled: BTreeSet<TaskId>,
    /// Something was cancelled that is not named by its id.
    cancels_by_name: bool,
}

/// An enqueue.
#[derive(Debug)]
struct Asked {
    at: Timestamp,
    once: Option<(Arc<str>, u64, u64)>,
    items: Vec<Item>,
}

/// A task of an enqueue.
#[derive(Debug)]
struct Item {
    content: (u64, u64),
    queue: Option<QueueName>,
    under: Vec<(Under, u64)>,
}

impl Promises {
    pub(super) fn killed(&mut self) {
        self.asked.clear();
    }

    pub(super) fn asked(
        &mut self,
        at: Timestamp,
        request: RequestId,
        caller: &Caller,
        enqueue: &Enqueue,
    ) {
        let items = enqueue.tasks.iter().enumerate().map(|(place, task)| {
            let content = content(&task.kind, digest(&task.payload));
            *self.contents.entry(content).or_default() += 1;
            Item {
                content,
                queue: task.queue.clone(),
                under: under(caller, enqueue, task, place),
            }
        });
        let items = items.collect();
        let once = caller.once.as_ref();
        let once = once.map(|once| (Arc::clone(&once.id), once.digest, once.ttl_ms));
        self.asked.insert(request, Asked { at, once, items });
    }

    pub(super) fn cancel(&mut self, task: &TaskRef) {
        match task {
            TaskRef::Id(id) => {
                self.cancelled.insert(*id);
            }
            TaskRef::Key { .. } => self.cancels_by_name = true,
        }
    }

    pub(super) fn bulk(&mut self, bulk: &Bulk) {
        self.cancels_by_name |= matches!(bulk.act, BulkAct::Cancel(_));
    }

    /// Whether somebody may have asked for its cancel.
    pub(super) fn was_cancelled(&self, id: TaskId) -> bool {
        self.cancels_by_name || self.cancelled.contains(&id)
    }
}

fn content(kind: &Arc<str>, payload: u64) -> (u64, u64) {
    let kind = kind
        .bytes()
        .fold(7_u64, |sum, byte| sum.wrapping_mul(31) + u64::from(byte));
    (kind, payload)
}

/// All that a task was said under, with how long it is remembered.
fn under(caller: &Caller, enqueue: &Enqueue, task: &NewTask, place: usize) -> Vec<(Under, u64)> {
    let mut all = Vec::new();
    if let Some(once) = &caller.once {
        let request = Under::Request(Arc::clone(&once.id), once.digest, place as u64);
        all.push((request, once.ttl_ms));
    }
    if let Some(producer) = &enqueue.producer
        && let Some(sequence) = producer.sequences.get(place)
    {
        all.push((
            Under::Sequence(Arc::clone(&producer.id), *sequence),
            PRODUCER_MS,
        ));
    }
    // A key that is sent beside a unique key, or without a queue, means what the engine finds.
    if let Some(keys) = &task.keys
        && keys.unique.is_none()
        && let (Some(key), Some(queue)) = (&keys.key, &task.queue)
    {
        let key = Under::Key(queue.clone(), Arc::clone(key), keys.digest);
        all.push((key, keys.window_ms));
    }
    all
}

impl Model {
    /// A task that is accepted was asked for.
    pub(super) fn check_was_asked(&mut self, task: &Whole) {
        let content = content(&task.kind, digest(&task.payload));
        let left = self
            .promises
            .contents
            .get_mut(&content)
            .filter(|left| **left > 0);
        match left {
            Some(left) => *left -= 1,
            None => {
                let says = format!("{} was never asked for, or not so often", task.id);
                self.wrong(Rule::NoLoss, says);
            }
        }
    }

    /// An enqueue is answered, item by item.
    pub(super) fn accepted(&mut self, request: RequestId, results: &[Result<Accepted, Rejection>]) {
        let Some(asked) = self.promises.asked.remove(&request) else {
            return;
        };
        if asked.items.len() != results.len() {
            let says = format!(
                "{} tasks are answered by {}",
                asked.items.len(),
                results.len()
            );
            return self.wrong(Rule::OneAnswer, says);
        }
        if let Some((id, digest, ttl_ms)) = asked.once
            && results.iter().any(Result::is_ok)
        {
            // One that was made before may have been for long: only the first says until when.
            let created = |result: &Result<Accepted, Rejection>| matches!(result, Ok(accepted) if accepted.how == EnqueueEffect::Created);
            let until = results
                .iter()
                .any(created)
                .then(|| asked.at.plus_ms(ttl_ms));
            self.check_content(id, digest, asked.at, until);
        }
        for (item, result) in asked.items.into_iter().zip(results) {
            if let Ok(accepted) = result {
                self.check_accepted(&item, accepted);
                self.keep(item, accepted, asked.at);
            }
        }
    }

    /// A request id that is remembered stands for one content.
    fn check_content(
        &mut self,
        id: Arc<str>,
        digest: u64,
        at: Timestamp,
        until: Option<Timestamp>,
    ) {
        let requests = &mut self.promises.requests;
        match requests.get(&id).filter(|(_, until)| *until > at) {
            Some((known, _)) if *known != digest => {
                let says = format!("request id {id} was used for something else and is answered");
                self.wrong(Rule::Once, says);
            }
            Some(_) => {}
            None => {
                requests.extend(until.map(|until| (id, (digest, until))));
            }
        }
    }

    fn check_accepted(&mut self, item: &Item, accepted: &Accepted) {
        let id = accepted.id;
        if accepted.how == EnqueueEffect::Created {
            let task = self.tasks.get(&id);
            let same = task.is_none_or(|task| {
                // What was edited since, or ended, says nothing of its beginning.
                let untouched = matches!(task.stand, Stand::Pending(_)) && task.runs == 0;
                let queue = item.queue.as_ref().is_none_or(|queue| *queue == task.queue);
                queue && (!untouched || content(&task.kind, task.payload).0 == item.content.0)
            });
            if !(same && self.made.contains(&id)) {
                let says = format!("{id} is said to be made, and is not durable as it was asked");
                self.wrong(Rule::LogBeforeTell, says);
            }
        }
    }

    fn keep(&mut self, item: Item, accepted: &Accepted, at: Timestamp) {
        // A request that is made again is what it was, whatever its key means by now.
        let again = accepted.how == EnqueueEffect::Existing;
        let named = item
            .under
            .iter()
            .any(|(under, _)| !matches!(under, Under::Key(..)));
        for (under, ms) in item.under {
            if again && named && matches!(under, Under::Key(..)) {
                continue;
            }
            let kept = self
                .promises
                .kept
                .get(&under)
                .filter(|(_, until)| *until > at);
            if let Some((id, _)) = kept {
                if *id != accepted.id {
                    let says = format!("{under:?} is {id}, and now {}", accepted.id);
                    self.wrong(Rule::Once, says);
                }
            } else if accepted.how == EnqueueEffect::Created {
                self.promises
                    .kept
                    .insert(under, (accepted.id, at.plus_ms(ms)));
            }
        }
    }
}
