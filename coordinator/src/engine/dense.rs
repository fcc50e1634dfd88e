//! An ordered map for keys that mostly ascend, at little more than its entries' own bytes.
//!
//! Owns how entries are packed. A B-tree whose keys arrive in order leaves every node half full;
//! here a chunk is filled before the next one is begun, and what is removed is given back. Invariants:
//! chunks are never empty and never larger than [`CHUNK_BYTES_MAX`], each is sorted, and the key
//! a chunk is filed under is above everything before the chunk and not above anything in it. How
//! entries are packed is nobody's business: maps with equal entries are equal.

use std::collections::BTreeMap;
use std::collections::btree_map::OccupiedEntry;
use std::fmt;

/// What the entries of a full chunk take. More make the outer map smaller and each insertion and
/// removal move more; a kibibyte and more is what glibc tidies its heap for. Bytes.
const CHUNK_BYTES_MAX: usize = 1008;
/// Entries that a chunk has room for at least.
const CHUNK_ROOM_MIN: usize = 4;
/// Entries that the room of a chunk grows by at most: a chunk that is filled at random then has
/// little room to spare.
const CHUNK_ROOM_STEP: usize = 8;
/// Entries in the order of their keys.
type Chunk<K, V> = Vec<(K, V)>;

/// An ordered map for keys that mostly ascend.
#[derive(Clone)]
pub(super) struct DenseMap<K, V> {
    chunks: BTreeMap<K, Chunk<K, V>>,
    len: usize,
}

impl<K, V> Default for DenseMap<K, V> {
    fn default() -> Self {
        Self {
            chunks: BTreeMap::new(),
            len: 0,
        }
    }
}

impl<K, V> DenseMap<K, V> {
    /// Entries of a chunk.
    const ENTRIES_MAX: usize = CHUNK_BYTES_MAX / size_of::<(K, V)>();
    /// Entries at or below which a chunk joins a neighbour, where both fit with room to spare.
    const ENTRIES_LOW: usize = Self::ENTRIES_MAX / 4;
    /// Entries of two chunks that may be joined: further from full than one removal or insertion,
    /// so that chunks are not joined and split in turn.
    const JOINED_MAX: usize = Self::ENTRIES_MAX / 4 * 3;

    /// The room of a chunk that shrank to so many entries: not only for these, or one that is used
    /// at both ends would be given new room at every turn.
    fn room_of(len: usize) -> usize {
        (len + len / 2).clamp(CHUNK_ROOM_MIN, Self::ENTRIES_MAX)
    }

    /// Puts an entry into a chunk that is not full, with little room to spare.
    fn put(chunk: &mut Chunk<K, V>, index: usize, entry: (K, V)) {
        if chunk.len() == chunk.capacity() {
            let more = chunk.len().clamp(CHUNK_ROOM_MIN, CHUNK_ROOM_STEP);
            chunk.reserve_exact(more.min(Self::ENTRIES_MAX - chunk.len()));
        }
        chunk.insert(index, entry);
    }
}

impl<K: Ord + Copy, V> DenseMap<K, V> {
    /// How many entries there are.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub(super) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether there is an entry of this key.
    pub(super) fn contains_key(&self, key: &K) -> bool {
        self.get(key).is_some()
    }

    /// The value of this key.
    pub(super) fn get(&self, key: &K) -> Option<&V> {
        let (_, chunk) = self.chunks.range(..=*key).next_back()?;
        let index = place(chunk, key).ok()?;
        Some(&chunk.get(index)?.1)
    }

    /// The value of this key, to be changed.
    pub(super) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let (_, chunk) = self.chunks.range_mut(..=*key).next_back()?;
        let index = place(chunk, key).ok()?;
        Some(&mut chunk.get_mut(index)?.1)
    }

    /// The entry of the lowest key.
    pub(super) fn first(&self) -> Option<(&K, &V)> {
        let (_, chunk) = self.chunks.first_key_value()?;
        chunk.first().map(|(key, value)| (key, value))
    }

    /// All entries, by key.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.after(None)
    }

    /// The entries above this key, by key; all of them where there is none.
    pub(super) fn after(&self, key: Option<K>) -> impl Iterator<Item = (&K, &V)> {
        let from = key.and_then(|key| {
            let (filed, _) = self.chunks.range(..=key).next_back()?;
            Some(*filed)
        });
        let chunks = match from {
            Some(filed) => self.chunks.range(filed..),
            None => self.chunks.range(..),
        };
        let entries = chunks.enumerate().flat_map(move |(nth, (_, chunk))| {
            let skip = match key {
                Some(key) if nth == 0 => chunk.partition_point(|(other, _)| *other <= key),
                Some(_) | None => 0,
            };
            chunk.iter().skip(skip)
        });
        entries.map(|(key, value)| (key, value))
    }

    /// Puts a value in; gives back the one that was there.
    pub(super) fn insert(&mut self, key: K, value: V) -> Option<V> {
        let Some((filed, chunk)) = self.chunks.range_mut(..=key).next_back() else {
            self.insert_first(key, value);
            return None;
        };
        let index = match place(chunk, &key) {
            Ok(index) => {
                let (_, known) = &mut chunk[index];
                return Some(std::mem::replace(known, value));
            }
            Err(index) => index,
        };
        self.len += 1;
        if chunk.len() < Self::ENTRIES_MAX {
            Self::put(chunk, index, (key, value));
            return None;
        }
        if index == Self::ENTRIES_MAX {
            let filed = *filed;
            self.append_after(filed, (key, value));
            return None;
        }
        let mut upper = chunk.split_off(Self::ENTRIES_MAX / 2);
        chunk.shrink_to(Self::ENTRIES_MAX / 2 + CHUNK_ROOM_STEP);
        match index.checked_sub(Self::ENTRIES_MAX / 2) {
            Some(index) if index > 0 => Self::put(&mut upper, index, (key, value)),
            Some(_) | None => Self::put(chunk, index, (key, value)),
        }
        self.chunks.insert(upper[0].0, upper);
        None
    }

    /// Takes an entry out.
    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        let (filed, chunk) = self.chunks.range_mut(..=*key).next_back()?;
        let index = place(chunk, key).ok()?;
        let (_, value) = chunk.remove(index);
        self.len -= 1;
        if chunk.is_empty() {
            let filed = *filed;
            self.chunks.remove(&filed);
        } else if chunk.capacity() > CHUNK_ROOM_MIN && chunk.len() * 2 <= chunk.capacity() {
            chunk.shrink_to(Self::room_of(chunk.len()));
            if chunk.len() <= Self::ENTRIES_LOW {
                let filed = *filed;
                self.join(filed);
            }
        }
        Some(value)
    }

    /// A key below all others.
    fn insert_first(&mut self, key: K, value: V) {
        self.len += 1;
        let first = self.chunks.first_entry();
        let first = first.filter(|first| first.get().len() < Self::ENTRIES_MAX);
        let mut chunk = first.map_or_else(Vec::new, OccupiedEntry::remove);
        Self::put(&mut chunk, 0, (key, value));
        self.chunks.insert(key, chunk);
    }

    /// A key above all of a full chunk, and below those of the next one.
    fn append_after(&mut self, filed: K, entry: (K, V)) {
        use std::ops::Bound::{Excluded, Unbounded};
        let next = self.chunks.range((Excluded(filed), Unbounded)).next();
        let key = entry.0;
        let mut chunk = match next.map(|(next, chunk)| (*next, chunk.len())) {
            Some((next, len)) if len < Self::ENTRIES_MAX => {
                self.chunks.remove(&next).expect("looked at just now")
            }
            // The last one is full: another full one is likely to follow.
            None => Vec::with_capacity(Self::ENTRIES_MAX),
            Some(_) => Vec::new(),
        };
        Self::put(&mut chunk, 0, entry);
        self.chunks.insert(key, chunk);
    }

    /// Joins a chunk with a neighbour, where they fit.
    fn join(&mut self, filed: K) {
        use std::ops::Bound::{Excluded, Unbounded};
        let len_of = |chunk: Option<(&K, &Chunk<K, V>)>| chunk.map(|(key, c)| (*key, c.len()));
        let mine = self.chunks.get(&filed).map_or(0, Vec::len);
        let fits = |other: &(K, usize)| mine + other.1 <= Self::JOINED_MAX;
        let next = len_of(self.chunks.range((Excluded(filed), Unbounded)).next()).filter(fits);
        let before = len_of(self.chunks.range(..filed).next_back()).filter(fits);
        let (lower, upper) = match (before, next) {
            (_, Some((next, _))) => (filed, next),
            (Some((before, _)), None) => (before, filed),
            (None, None) => return,
        };
        let mut upper = self.chunks.remove(&upper).expect("looked at just now");
        let lower = self.chunks.get_mut(&lower).expect("looked at just now");
        let room = Self::room_of(lower.len() + upper.len());
        if lower.capacity() < lower.len() + upper.len() {
            lower.reserve_exact(room - lower.len());
        }
        lower.append(&mut upper);
        lower.shrink_to(room);
    }
}

/// Where a key is in a chunk, or belongs.
fn place<K: Ord, V>(chunk: &Chunk<K, V>, key: &K) -> Result<usize, usize> {
    // Most keys ascend: they are behind the last one, where nothing is to be searched.
    match chunk.last() {
        Some((last, _)) if last < key => Err(chunk.len()),
        Some(_) | None => chunk.binary_search_by(|(other, _)| other.cmp(key)),
    }
}

impl<K: Ord + Copy, V: PartialEq> PartialEq for DenseMap<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.iter().eq(other.iter())
    }
}

impl<K: Ord + Copy + fmt::Debug, V: fmt::Debug> fmt::Debug for DenseMap<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    use super::*;

    type Map = DenseMap<u64, u64>;
    const ENTRIES_MAX: usize = Map::ENTRIES_MAX;

    impl<V> DenseMap<u64, V> {
        /// The module's invariants, counted anew.
        fn check(&self) {
            let mut below = None;
            let mut len = 0;
            for (filed, chunk) in &self.chunks {
                assert!((1..=Self::ENTRIES_MAX).contains(&chunk.len()));
                assert!(chunk.capacity() <= Self::ENTRIES_MAX);
                assert!(below < Some(*filed) && *filed <= chunk[0].0);
                assert!(chunk.is_sorted_by(|(a, _), (b, _)| a < b));
                below = chunk.last().map(|(key, _)| *key);
                len += chunk.len();
            }
            assert_eq!(len, self.len());
        }

        /// Entries that there is room for.
        fn room(&self) -> usize {
            self.chunks.values().map(Vec::capacity).sum()
        }
    }

    fn filled(keys: impl Iterator<Item = u64>) -> DenseMap<u64, u64> {
        let mut map = DenseMap::default();
        for key in keys {
            assert_eq!(map.insert(key, key), None);
        }
        map.check();
        map
    }

    #[test]
    fn random_operations_do_what_a_b_tree_does() {
        for seed in 0..24 {
            let mut rng = StdRng::seed_from_u64(seed);
            let mut dense = DenseMap::default();
            let mut model = BTreeMap::new();
            // From a map that is rewritten over and over to one that is hardly ever hit twice.
            let keys = 1 << (4 + seed % 12);
            for turn in 0..6000_u64 {
                // Now it grows, now it shrinks.
                let growing = (turn / 1500).is_multiple_of(2);
                let key = rng.random_range(0..keys);
                if rng.random_bool(if growing { 0.8 } else { 0.2 }) {
                    assert_eq!(dense.insert(key, turn), model.insert(key, turn));
                } else {
                    assert_eq!(dense.remove(&key), model.remove(&key));
                }
                let other = rng.random_range(0..keys);
                assert_eq!(dense.get(&other), model.get(&other));
                assert_eq!(dense.get_mut(&other), model.get_mut(&other));
                assert_eq!(dense.first(), model.first_key_value());
                let (after, expected) = (dense.after(Some(other)), model.range(other + 1..));
                assert!(after.take(100).eq(expected.take(100)));
                if turn % 100 == 0 {
                    dense.check();
                    assert!(dense.iter().eq(&model));
                    assert_eq!(dense.len(), model.len());
                }
            }
            for key in 0..keys {
                assert_eq!(dense.remove(&key), model.remove(&key));
            }
            assert!(dense.is_empty() && dense.chunks.is_empty());
        }
    }

    #[test]
    fn ascending_keys_fill_every_chunk_and_descending_and_random_ones_most_of_it() {
        let (chunks, all) = (100, 100 * ENTRIES_MAX);
        let ascending = filled(0..all as u64);
        assert_eq!((ascending.chunks.len(), ascending.room()), (chunks, all));
        let descending = filled((0..all as u64).rev());
        assert_eq!((descending.chunks.len(), descending.room()), (chunks, all));
        let random = filled((0..all as u64).map(|key| key.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        assert!(random.room() * 2 < all * 3, "{}", random.room());
    }

    #[test]
    fn what_is_removed_is_given_back_wherever_it_was() {
        let mut map = filled(0..64_000);
        for key in 0..64_000 {
            if key % 100 != 0 {
                assert_eq!(map.remove(&key), Some(key));
            }
        }
        map.check();
        assert!(map.room() <= 2 * map.len(), "{}", map.room());
        assert!(map.chunks.len() <= 640 / Map::ENTRIES_LOW);
    }

    #[test]
    fn a_queue_that_turns_over_never_has_more_room_than_twice_what_it_holds() {
        let mut map = filled(0..1000);
        for key in 1000..20_000 {
            map.insert(key, key);
            map.remove(&(key - 1000));
            assert!(map.room() <= 1000 + 2 * ENTRIES_MAX);
        }
        map.check();
    }

    #[test]
    fn maps_with_equal_entries_are_equal_however_they_are_packed() {
        let (up, down) = (filled(0..1010), filled((0..1010).rev()));
        assert_ne!(
            up.chunks.keys().collect::<Vec<_>>(),
            down.chunks.keys().collect::<Vec<_>>()
        );
        assert_eq!(up, down);
        assert_ne!(up, filled(1..1011));
        assert_ne!(up, filled(0..1009));
        assert_eq!(format!("{:?}", filled(1..3)), "{1: 1, 2: 2}");
    }
}
