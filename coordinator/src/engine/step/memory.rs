//! Where what is remembered of requests is, and how much of it there may be.
//!
//! Owns the way from a key to its shard. What is remembered is each ledger's.

use super::Step;
use crate::engine::ids::ShardId;
use crate::engine::ledger::memory::MemoryKey;

impl Step<'_> {
    /// The shard that remembers what has this key.
    pub(in crate::engine) fn home_of(&self, key: &MemoryKey) -> ShardId {
        key.shard(self.core.config.shard_count)
    }

    /// How many requests, keys and producers one shard remembers.
    pub(in crate::engine) const fn memories_max(&self) -> usize {
        self.core.memories_max
    }
}
