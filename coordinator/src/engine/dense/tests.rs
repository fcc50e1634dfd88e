//! Packing: what a B-tree does, in less room.

use std::collections::BTreeMap;

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
        for block in &self.blocks {
            assert!((1..=BLOCK_CHUNKS_MAX).contains(&block.it.len()));
            assert!(block.it.capacity() <= BLOCK_CHUNKS_MAX);
            assert_eq!(block.under, block.it[0].under);
        }
        for Filed {
            under: filed,
            it: chunk,
        } in self.chunks()
        {
            assert!((1..=Self::ENTRIES_MAX).contains(&chunk.len()));
            assert!(chunk.capacity() <= Self::ENTRIES_MAX);
            assert!(below < Some(*filed) && *filed <= chunk[0].0);
            assert!(chunk.is_sorted_by(|(a, _), (b, _)| a < b));
            below = chunk.last().map(|(key, _)| *key);
            len += chunk.len();
        }
        assert_eq!(len, self.len());
    }

    fn chunks(&self) -> impl Iterator<Item = &Filed<u64, Chunk<u64, V>>> {
        self.blocks.iter().flat_map(|block| &block.it)
    }

    /// Entries that there is room for.
    fn room(&self) -> usize {
        self.chunks().map(|chunk| chunk.it.capacity()).sum()
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
        assert!(dense.is_empty() && dense.blocks.is_empty());
    }
}

#[test]
fn ascending_keys_fill_every_chunk_and_descending_and_random_ones_most_of_it() {
    let (chunks, all) = (100, 100 * ENTRIES_MAX);
    let ascending = filled(0..all as u64);
    assert_eq!(
        (ascending.chunks().count(), ascending.room()),
        (chunks, all)
    );
    let descending = filled((0..all as u64).rev());
    assert_eq!(
        (descending.chunks().count(), descending.room()),
        (chunks, all)
    );
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
    assert!(map.chunks().count() <= 640 / Map::ENTRIES_LOW);
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
        up.chunks().map(|chunk| chunk.under).collect::<Vec<_>>(),
        down.chunks().map(|chunk| chunk.under).collect::<Vec<_>>()
    );
    assert_eq!(up, down);
    assert_ne!(up, filled(1..1011));
    assert_ne!(up, filled(0..1009));
    assert_eq!(format!("{:?}", filled(1..3)), "{1: 1, 2: 2}");
}
