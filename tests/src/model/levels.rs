//! What holds for a task: its own word, its kind's, its queue's, the server's.
//!
//! Owns the settings of kinds and queues as the log tells them, shard by shard, and their order
//! (docs/kinds.md). Judges nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use redrive_coordinator::engine::EngineConfig;
use redrive_coordinator::engine::ids::{QueueName, ShardId};
use redrive_coordinator::engine::ledger::kind::KindSettings;
use redrive_coordinator::engine::ledger::queue::QueueSettings;
use redrive_coordinator::engine::ledger::terms::{Template, Terms, Transition};
use redrive_coordinator::engine::retry::Policy;

use super::task::Task;

/// The settings of kinds and queues.
#[derive(Debug)]
pub(super) struct Levels {
    kinds: BTreeMap<(ShardId, QueueName), KindSettings>,
    queues: BTreeMap<QueueName, QueueSettings>,
    default: Arc<Policy>,
    aging_ms: u64,
}

impl Levels {
    pub(super) fn new(settings: &EngineConfig) -> Self {
        Self {
            kinds: BTreeMap::new(),
            queues: BTreeMap::new(),
            default: Arc::clone(&settings.default_policy),
            aging_ms: settings.aging_ms,
        }
    }

    pub(super) fn set_kind(&mut self, shard: ShardId, name: &QueueName, settings: &KindSettings) {
        self.kinds.insert((shard, name.clone()), settings.clone());
    }

    pub(super) fn remove_kind(&mut self, shard: ShardId, name: &QueueName) {
        self.kinds.remove(&(shard, name.clone()));
    }

    pub(super) fn set_queue(&mut self, name: &QueueName, settings: &QueueSettings) {
        self.queues.insert(name.clone(), settings.clone());
    }

    pub(super) fn queue(&self, name: &QueueName) -> Option<&QueueSettings> {
        self.queues.get(name)
    }

    pub(super) fn kind(&self, shard: ShardId, task: &Task) -> Option<&KindSettings> {
        if self.kinds.is_empty() {
            return None;
        }
        let name = QueueName::new(task.queue.namespace(), &task.kind).ok()?;
        self.kinds.get(&(shard, name))
    }

    pub(super) fn policy(&self, shard: ShardId, task: &Task) -> Arc<Policy> {
        let own = task.own.as_deref().and_then(|own| own.policy.as_ref());
        let kind = || self.kind(shard, task)?.policy.as_ref();
        let queue = || self.queue(&task.queue)?.policy.as_ref();
        let said = own.or_else(kind).or_else(queue);
        Arc::clone(said.map_or(&self.default, |said| said.policy()))
    }

    /// The limit of attempts that takes the place of the policy's.
    pub(super) fn max_attempts(&self, shard: ShardId, task: &Task) -> Option<u32> {
        let own = task.own.as_deref().and_then(|own| own.max_attempts);
        own.or_else(|| self.kind(shard, task)?.max_attempts)
    }

    pub(super) fn dead_letter_queue(&self, shard: ShardId, task: &Task) -> Option<&QueueName> {
        let kind = self.kind(shard, task);
        let kind = kind.and_then(|kind| kind.dead_letter_queue.as_ref());
        kind.or_else(|| self.queue(&task.queue)?.dead_letter_queue.as_ref())
    }

    /// The task that follows an end, by the nearest level that names one.
    pub(super) fn follow_up<'a>(
        &'a self,
        shard: ShardId,
        task: &'a Task,
        transition: Transition,
    ) -> Option<&'a Template> {
        let after = |terms: &'a Terms| terms.follow_ups.after(transition);
        let own = task.own.as_deref().and_then(|own| own.terms.as_deref());
        let kind = || self.kind(shard, task)?.terms.as_deref().and_then(after);
        let queue = || self.queue(&task.queue)?.terms.as_deref().and_then(after);
        own.and_then(after).or_else(kind).or_else(queue)
    }

    /// After how long a ready task of a queue counts one level more urgent. Milliseconds; 0 where
    /// priorities are strict.
    pub(super) fn aging_ms(&self, queue: &QueueName) -> u64 {
        let own = self.queue(queue).and_then(|queue| queue.aging_ms);
        own.unwrap_or(self.aging_ms)
    }
}
