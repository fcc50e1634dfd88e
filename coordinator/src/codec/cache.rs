//! What was read lately: equal texts, queue names and policies share one allocation.
//!
//! Owns a table of fixed size for each of them. Only saves memory: what is not found is made, so
//! nothing that is decoded depends on it. A place holds two entries, and only what was asked for
//! twice drives out the first of them: a million different labels do not displace the kinds.

use std::sync::Arc;

use crate::engine::ids::{NameError, QueueName};
use crate::engine::retry::Policy;

/// Bytes of the longest text that is kept.
const TEXT_BYTES_MAX: usize = 64;
/// Bytes of the longest encoded policy that is kept.
const POLICY_BYTES_MAX: usize = 16 * 1024;
/// Places for texts. A power of two, as are the others.
const TEXT_PLACES: usize = 2048;
/// Places for queue names.
const QUEUE_PLACES: usize = 4096;
/// Places for policies.
const POLICY_PLACES: usize = 64;

/// What was read lately.
#[derive(Debug)]
pub(super) struct Cache {
    texts: Table<Arc<str>>,
    queues: Table<QueueName>,
    policies: Table<KnownPolicy>,
    empty: Arc<str>,
}

impl Cache {
    pub(super) fn new() -> Self {
        Self {
            texts: Table::new(TEXT_PLACES),
            queues: Table::new(QUEUE_PLACES),
            policies: Table::new(POLICY_PLACES),
            empty: Arc::from(""),
        }
    }

    /// This text.
    #[inline]
    pub(super) fn text(&mut self, text: &str) -> Arc<str> {
        if text.is_empty() {
            return self.empty.clone();
        }
        if text.len() > TEXT_BYTES_MAX {
            return text.into();
        }
        let place = self.texts.place(text.as_bytes());
        if let Some(known) = place.find(text.as_bytes()) {
            return known;
        }
        place.keep(text.into())
    }

    /// The queue of this whole name.
    #[inline]
    pub(super) fn queue(&mut self, full: &str) -> Result<QueueName, NameError> {
        let place = self.queues.place(full.as_bytes());
        match place.find(full.as_bytes()) {
            Some(known) => Ok(known),
            None => Ok(place.keep(QueueName::parse(full)?)),
        }
    }

    /// The policy that these bytes encode, if it is known.
    pub(super) fn policy(&mut self, encoded: &[u8]) -> Option<Arc<Policy>> {
        let place = self.policies.place(encoded);
        place.find(encoded).map(|known| known.policy)
    }

    /// These bytes encode that policy.
    pub(super) fn keep_policy(&mut self, encoded: &[u8], policy: &Arc<Policy>) {
        if encoded.len() <= POLICY_BYTES_MAX {
            self.policies.place(encoded).keep(KnownPolicy {
                encoded: encoded.into(),
                policy: policy.clone(),
            });
        }
    }
}

/// Has the bytes by which it is found.
trait Keyed: Clone {
    fn key(&self) -> &[u8];
}

impl Keyed for Arc<str> {
    #[inline]
    fn key(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl Keyed for QueueName {
    #[inline]
    fn key(&self) -> &[u8] {
        self.as_str().as_bytes()
    }
}

#[derive(Clone, Debug)]
struct KnownPolicy {
    encoded: Arc<[u8]>,
    policy: Arc<Policy>,
}

impl Keyed for KnownPolicy {
    fn key(&self) -> &[u8] {
        &self.encoded
    }
}

#[derive(Debug)]
struct Table<V> {
    places: Vec<Place<V>>,
}

impl<V: Keyed> Table<V> {
    fn new(places: usize) -> Self {
        debug_assert!(places.is_power_of_two());
        let places = (0..places).map(|_| Place::default()).collect();
        Self { places }
    }

    #[inline]
    fn place(&mut self, key: &[u8]) -> &mut Place<V> {
        let last = self.places.len() - 1;
        &mut self.places[hash(key) & last]
    }
}

/// Two entries: the second is the newest, the first was asked for again.
#[derive(Debug)]
struct Place<V> {
    first: Option<V>,
    second: Option<V>,
}

impl<V> Default for Place<V> {
    fn default() -> Self {
        Self {
            first: None,
            second: None,
        }
    }
}

impl<V: Keyed> Place<V> {
    #[inline]
    fn find(&mut self, key: &[u8]) -> Option<V> {
        let is = |entry: &Option<V>| entry.as_ref().is_some_and(|known| known.key() == key);
        if is(&self.first) {
            return self.first.clone();
        }
        if is(&self.second) {
            std::mem::swap(&mut self.first, &mut self.second);
            return self.first.clone();
        }
        None
    }

    fn keep(&mut self, value: V) -> V {
        self.second = Some(value.clone());
        value
    }
}

/// Spreads short keys over the places; eight bytes a step. Not against an adversary: collisions
/// cost sharing and nothing else.
#[inline]
fn hash(key: &[u8]) -> usize {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let (words, rest) = key.as_chunks::<8>();
    let step = |hash: u64, word: u64| (hash.rotate_left(5) ^ word).wrapping_mul(FACTOR);
    let mut hash = words.iter().fold(key.len() as u64, |hash, word| {
        step(hash, u64::from_le_bytes(*word))
    });
    let tail = rest
        .iter()
        .fold(0, |tail, byte| tail << 8 | u64::from(*byte));
    hash = step(hash, tail);
    let [.., low, high] = hash.to_le_bytes();
    usize::from(u16::from_le_bytes([low, high]))
}
