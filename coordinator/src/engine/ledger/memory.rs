//! What a shard remembers of requests, so that one that is made again is not done again (rule 8).
//!
//! Owns memories: of request ids, of idempotency keys, and of the producers of enqueue streams.
//! Each is an entity with an expiry of its own. Never decides what a repeated request is answered.

use std::cmp::Ordering;
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use super::Ledger;
use super::filed::Filed;
use crate::engine::ids::{QueueName, ShardId, TaskId, Timestamp};
use crate::engine::limits;

/// What is remembered.
///
/// Their order is part of the journal's format: what is forgotten is told by a place in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemoryKey {
    /// A request.
    Request {
        /// In which namespace.
        namespace: Arc<str>,
        /// Its id.
        id: Arc<str>,
    },
    /// An idempotency key.
    Key {
        /// Of which queue.
        queue: QueueName,
        /// The key.
        key: Arc<str>,
    },
    /// The producer of an enqueue stream.
    Producer {
        /// In which namespace.
        namespace: Arc<str>,
        /// Its id.
        id: Arc<str>,
    },
}

impl MemoryKey {
    /// The shard that remembers it. That of a key is its queue's, so that it goes with its task;
    /// that of the others depends on nothing but their name: whatever a request is about, and
    /// wherever its tasks go, it is found again. Part of the journal's format: it never changes.
    #[must_use]
    pub fn shard(&self, shard_count: u16) -> ShardId {
        match self {
            Self::Key { queue, .. } => queue.shard(shard_count),
            Self::Request { namespace, id } | Self::Producer { namespace, id } => {
                let name = namespace.bytes().chain([b'/']).chain(id.bytes());
                ShardId::of_name(name, shard_count)
            }
        }
    }
}

impl MemoryKey {
    /// Where its kind comes in their order, and its two texts.
    pub(super) fn parts(&self) -> (u8, &str, &str) {
        match self {
            Self::Request { namespace, id } => (0, namespace, id),
            Self::Key { queue, key } => (1, queue.as_str(), key),
            Self::Producer { namespace, id } => (2, namespace, id),
        }
    }
}

impl Ord for MemoryKey {
    fn cmp(&self, other: &Self) -> Ordering {
        let (kind, first, second) = self.parts();
        let (other_kind, other_first, other_second) = other.parts();
        kind.cmp(&other_kind)
            .then_with(|| {
                // Mostly it is the same text in the same place.
                if std::ptr::eq(first, other_first) {
                    Ordering::Equal
                } else {
                    first.cmp(other_first)
                }
            })
            .then_with(|| second.cmp(other_second))
    }
}

impl PartialOrd for MemoryKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// What is known of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// When it was made.
    pub at: Timestamp,
    /// From when on it is absent.
    pub expires_at: Timestamp,
    /// What it was said with: another one under the same key is an error. 0 for producers.
    pub digest: u64,
    /// What came of it: a place in the request, or a sequence of the producer, and the task.
    pub tasks: VecDeque<(u64, TaskId)>,
    /// The sequence of its latest full record; not part of it.
    pub recorded_at: u64,
}

impl MemoryKey {
    /// Whether it is of a producer.
    #[must_use]
    pub const fn is_producer(&self) -> bool {
        matches!(self, Self::Producer { .. })
    }
}

impl Memory {
    /// The task of this place or sequence.
    #[must_use]
    pub fn task(&self, place: u64) -> Option<TaskId> {
        let found = self.tasks.iter().rev().find(|(known, _)| *known == place);
        found.map(|(_, task)| *task)
    }

    /// The highest place or sequence.
    #[must_use]
    pub fn highest(&self) -> Option<u64> {
        self.tasks.iter().map(|(place, _)| *place).max()
    }

    /// What it takes in memory, its key and its places in the indexes included, and about what it
    /// takes in the journal. Bytes.
    #[must_use]
    pub fn bytes(&self, key: &MemoryKey) -> u64 {
        const FIXED_BYTES: usize = Filed::ENTRY_BYTES + size_of::<MemoryKey>() + 64;
        let texts = match key {
            MemoryKey::Request { id, .. } | MemoryKey::Producer { id, .. } => id.len(),
            MemoryKey::Key { key, .. } => key.len(),
        };
        (FIXED_BYTES + texts + self.tasks.len() * size_of::<(u64, TaskId)>()) as u64
    }
}

impl Ledger {
    /// What is remembered under this key, if it has not expired.
    #[must_use]
    pub fn memory(&self, key: &MemoryKey, now: Timestamp) -> Option<&Memory> {
        let memory = self.memory_kept(key);
        memory.filter(|memory| memory.expires_at > now)
    }

    /// What is remembered under this key, expired or not.
    #[must_use]
    pub fn memory_kept(&self, key: &MemoryKey) -> Option<&Memory> {
        self.memories.get(key)
    }

    /// How many memories there are.
    #[must_use]
    pub fn memory_count(&self) -> usize {
        self.memories.len()
    }

    /// How many of them are of producers.
    #[must_use]
    pub fn producer_count(&self) -> usize {
        self.producers.len()
    }

    /// The producer that is forgotten first, and when.
    #[must_use]
    pub fn first_producer(&self) -> Option<&(Timestamp, MemoryKey)> {
        self.producers.first()
    }

    /// When the first of them expires.
    #[must_use]
    pub fn next_memory_expiry(&self) -> Option<Timestamp> {
        self.memory_expiries.first().map(|(at, _)| *at)
    }

    /// Those that have expired, in the order of (expiry, key).
    pub fn memories_expired(
        &self,
        now: Timestamp,
    ) -> impl Iterator<Item = &(Timestamp, MemoryKey)> {
        let expiries = self.memory_expiries.iter();
        expiries.take_while(move |(at, _)| *at <= now)
    }

    /// What memories take in memory, counted anew. Bytes.
    pub(super) fn recount_memory_bytes(&self) -> u64 {
        let memories = self.memories.iter();
        memories.map(|(key, memory)| memory.bytes(key)).sum()
    }

    /// Whether every memory is found by its expiry, and no other, and producers are counted.
    #[must_use]
    pub fn memories_are_indexed(&self) -> bool {
        let place = |(key, memory): (&MemoryKey, &Memory)| (memory.expires_at, key.clone());
        let places: BTreeSet<(Timestamp, MemoryKey)> = self.memories.iter().map(place).collect();
        let producers = places.iter().filter(|(_, key)| key.is_producer());
        places == self.memory_expiries && producers.eq(&self.producers)
    }

    pub(super) fn remembered(&mut self, key: &MemoryKey, memory: &Memory) {
        self.newest = self.newest.max(memory.at);
        let memory = Memory {
            recorded_at: self.last_seq,
            ..memory.clone()
        };
        self.keep_memory(key, memory);
    }

    pub(super) fn remembered_more(
        &mut self,
        key: &MemoryKey,
        tasks: &[(u64, TaskId)],
        expires_at: Timestamp,
    ) {
        let mut memory = self.forget_memory(key).expect("it was remembered before");
        memory.expires_at = expires_at;
        memory.tasks.extend(tasks);
        let beyond = memory.tasks.len();
        let beyond = beyond.saturating_sub(limits::PRODUCER_SEQUENCES_MAX);
        memory.tasks.drain(..beyond);
        self.keep_memory(key, memory);
    }

    /// Removes every memory up to this place, in the order of (expiry, key).
    pub(super) fn memories_forgotten(&mut self, through: &(Timestamp, MemoryKey)) {
        while let Some((_, key)) = self.memory_expiries.first().filter(|it| *it <= through) {
            let key = key.clone();
            self.forget_memory(&key);
        }
    }

    fn keep_memory(&mut self, key: &MemoryKey, memory: Memory) {
        self.memory_bytes += memory.bytes(key);
        let expires_at = memory.expires_at;
        // The one before goes from the indexes first: it may have had the same place.
        if let Some(before) = self.memories.insert(key, memory) {
            self.unindex_memory(key, &before);
        }
        if key.is_producer() {
            self.producers.insert((expires_at, key.clone()));
        }
        self.memory_expiries.insert((expires_at, key.clone()));
    }

    fn forget_memory(&mut self, key: &MemoryKey) -> Option<Memory> {
        let memory = self.memories.remove(key)?;
        self.unindex_memory(key, &memory);
        Some(memory)
    }

    fn unindex_memory(&mut self, key: &MemoryKey, memory: &Memory) {
        self.memory_bytes -= memory.bytes(key);
        let place = (memory.expires_at, key.clone());
        self.memory_expiries.remove(&place);
        self.producers.remove(&place);
    }
}
