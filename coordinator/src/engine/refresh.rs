//! What the cleaner of the journal asks the engine for.
//!
//! Owns the vocabulary (rules 1 and 2). What it means is `handlers/journal.rs`.

use super::ids::{QueueName, ShardId, TaskId};
use super::ledger::kind::KindName;
use super::ledger::memory::MemoryKey;

/// Which entities of a shard to record again. At most `limits::REFRESH_ENTITIES_MAX` are.
#[derive(Clone, Debug)]
pub struct Refresh {
    /// Of which shard.
    pub shard: ShardId,
    /// Those whose latest full record is older than this event of the shard.
    pub below: u64,
    /// Which.
    pub which: RefreshWhich,
}

/// Which entities to record again.
#[derive(Clone, Debug)]
pub enum RefreshWhich {
    /// These, where they are still there.
    Entities(Vec<Entity>),
    /// The queues after this one, by name; those too whose totals have moved since. Tasks come
    /// first: an image of a queue counts what happened to tasks that a partial log does not know.
    QueuesAfter(Option<QueueName>),
}

/// An entity that a full record of the journal speaks of; queues are not among them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Entity {
    /// A task.
    Task(TaskId),
    /// A transfer that may not be confirmed yet.
    Transfer {
        /// To which shard.
        target: ShardId,
        /// Its number.
        number: u64,
    },
    /// What is remembered under a key.
    Memory(MemoryKey),
    /// A kind.
    Kind(KindName),
}
