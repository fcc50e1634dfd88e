//! Where memories are kept: filed by a number made of their key.
//!
//! Owns that number, and what lies under it. Never knows when a memory ends. Numbers are compared
//! sooner than names and lie close together, so that finding one of a million memories touches few
//! places of the machine's memory. Invariants: a key has one memory; two of the same memories are
//! equal, in whatever order they were put in.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use super::memory::{Memory, MemoryKey};

/// Memories by their keys.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Filed {
    piles: BTreeMap<u64, Pile>,
    count: usize,
}

/// What lies under one number: nearly always one memory. Nobody gains anything by names of equal
/// numbers: they cost what they would cost without numbers.
#[derive(Clone, Debug, PartialEq)]
enum Pile {
    One(Box<(MemoryKey, Memory)>),
    /// Two or more.
    #[expect(clippy::box_collection, reason = "all others would carry its room")]
    Many(Box<BTreeMap<MemoryKey, Memory>>),
}

impl Filed {
    /// What a memory takes here: its entry, and its place in a map that is two thirds full. Bytes.
    pub(super) const ENTRY_BYTES: usize =
        size_of::<(MemoryKey, Memory)>() + size_of::<(u64, Pile)>() / 2 * 3;

    pub(super) const fn len(&self) -> usize {
        self.count
    }

    pub(super) fn get(&self, key: &MemoryKey) -> Option<&Memory> {
        if self.count == 0 {
            return None;
        }
        self.get_at(number_of(key), key)
    }

    /// Puts it in the place of the one before, which is returned.
    pub(super) fn insert(&mut self, key: &MemoryKey, memory: Memory) -> Option<Memory> {
        self.insert_at(number_of(key), key, memory)
    }

    pub(super) fn remove(&mut self, key: &MemoryKey) -> Option<Memory> {
        self.remove_at(number_of(key), key)
    }

    /// All of them, in an order that means nothing.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&MemoryKey, &Memory)> {
        self.piles.values().flat_map(|pile| {
            let (one, many) = match pile {
                Pile::One(it) => (Some((&it.0, &it.1)), None),
                Pile::Many(all) => (None, Some(all.iter())),
            };
            one.into_iter().chain(many.into_iter().flatten())
        })
    }

    fn get_at(&self, number: u64, key: &MemoryKey) -> Option<&Memory> {
        match self.piles.get(&number)? {
            Pile::One(it) => (it.0 == *key).then_some(&it.1),
            Pile::Many(all) => all.get(key),
        }
    }

    fn insert_at(&mut self, number: u64, key: &MemoryKey, memory: Memory) -> Option<Memory> {
        let before = match self.piles.entry(number) {
            Entry::Vacant(place) => {
                place.insert(Pile::One(Box::new((key.clone(), memory))));
                None
            }
            Entry::Occupied(mut place) => place.get_mut().insert(key, memory),
        };
        self.count += usize::from(before.is_none());
        before
    }

    fn remove_at(&mut self, number: u64, key: &MemoryKey) -> Option<Memory> {
        let Entry::Occupied(mut place) = self.piles.entry(number) else {
            return None;
        };
        let removed = match place.get_mut() {
            Pile::One(it) => {
                if it.0 != *key {
                    return None;
                }
                let Pile::One(it) = place.remove() else {
                    unreachable!("it was one");
                };
                it.1
            }
            Pile::Many(all) => {
                let memory = all.remove(key)?;
                if all.len() == 1
                    && let Some(last) = all.pop_first()
                {
                    place.insert(Pile::One(Box::new(last)));
                }
                memory
            }
        };
        self.count -= 1;
        Some(removed)
    }
}

impl Pile {
    fn insert(&mut self, key: &MemoryKey, memory: Memory) -> Option<Memory> {
        match self {
            Self::One(it) if it.0 == *key => Some(std::mem::replace(&mut it.1, memory)),
            Self::One(it) => {
                let first = (**it).clone();
                let both = [first, (key.clone(), memory)];
                *self = Self::Many(Box::new(both.into()));
                None
            }
            Self::Many(all) => all.insert(key.clone(), memory),
        }
    }
}

fn number_of(key: &MemoryKey) -> u64 {
    let mut number = DefaultHasher::new();
    key.parts().hash(&mut number);
    number.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::ids::Timestamp;

    fn key(id: &str) -> MemoryKey {
        MemoryKey::Request {
            namespace: "default".into(),
            id: id.into(),
        }
    }

    fn memory(digest: u64) -> Memory {
        Memory {
            at: Timestamp(1),
            digest,
            ..Memory::default()
        }
    }

    #[test]
    fn a_key_has_one_memory_the_latest() {
        let mut filed = Filed::default();
        assert_eq!(filed.insert(&key("a"), memory(1)), None);
        assert_eq!(filed.insert(&key("a"), memory(2)), Some(memory(1)));
        assert_eq!((filed.len(), filed.get(&key("a"))), (1, Some(&memory(2))));
        assert_eq!(filed.get(&key("b")), None);
        assert_eq!(filed.remove(&key("b")), None);
        assert_eq!(filed.remove(&key("a")), Some(memory(2)));
        assert_eq!(filed, Filed::default());
    }

    #[test]
    fn keys_of_one_number_are_told_apart_in_whatever_order_they_come_and_go() {
        const NUMBER: u64 = 7;
        let names = ["a", "b", "c"];
        let orders = [
            [0, 1, 2],
            [0, 2, 1],
            [1, 0, 2],
            [1, 2, 0],
            [2, 0, 1],
            [2, 1, 0],
        ];
        let mut seen = Vec::new();
        for order in orders {
            let mut filed = Filed::default();
            for (count, index) in order.into_iter().enumerate() {
                let (key, kept) = (key(names[index]), memory(index as u64));
                assert_eq!(filed.get_at(NUMBER, &key), None);
                assert_eq!(filed.remove_at(NUMBER, &key), None);
                assert_eq!(filed.insert_at(NUMBER, &key, memory(99)), None);
                assert_eq!(filed.insert_at(NUMBER, &key, kept), Some(memory(99)));
                assert_eq!((filed.len(), filed.iter().count()), (count + 1, count + 1));
            }
            seen.push(filed.clone());
            for index in order {
                let key = key(names[index]);
                assert_eq!(filed.get_at(NUMBER, &key), Some(&memory(index as u64)));
                assert_eq!(filed.remove_at(NUMBER, &key), Some(memory(index as u64)));
                assert_eq!(filed.get_at(NUMBER, &key), None);
            }
            assert_eq!(filed, Filed::default());
        }
        assert!(seen.windows(2).all(|two| two[0] == two[1]));
    }

    #[test]
    fn what_is_left_of_two_equals_what_was_put_in_alone() {
        let (mut left, mut alone) = (Filed::default(), Filed::default());
        left.insert_at(7, &key("a"), memory(1));
        left.insert_at(7, &key("b"), memory(2));
        left.remove_at(7, &key("a"));
        alone.insert_at(7, &key("b"), memory(2));
        assert_eq!(left, alone);
    }
}
