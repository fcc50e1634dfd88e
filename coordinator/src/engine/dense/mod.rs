//! An ordered map for keys that mostly ascend, at little more than its entries' own bytes.
//!
//! Owns how entries are packed: in chunks, and chunks in blocks, both searched by halving. A B-tree
//! whose keys arrive in order leaves every node half full; here a chunk is filled before the next
//! one is begun, and what is removed is given back. Invariants: chunks are never empty and never
//! larger than [`CHUNK_BYTES_MAX`], each is sorted, and the key a chunk is filed under is above
//! everything before the chunk and not above anything in it; blocks are never empty, never longer
//! than [`BLOCK_CHUNKS_MAX`], and filed under the key of their first chunk. How entries are packed
//! is nobody's business: maps with equal entries are equal.

use std::cell::Cell;
use std::fmt;

/// What the entries of a full chunk take. More make the blocks smaller and each insertion and
/// removal move more; a kibibyte and more is what glibc tidies its heap for. Bytes.
const CHUNK_BYTES_MAX: usize = 1008;
/// Entries that a chunk has room for at least.
const CHUNK_ROOM_MIN: usize = 4;
/// Entries that the room of a chunk grows by at most: a chunk that is filled at random then has
/// little room to spare.
const CHUNK_ROOM_STEP: usize = 8;
/// Chunks of a block. With as many, ten million entries are some thousands of blocks, and a chunk
/// more or less moves a few kibibytes. Tests have many blocks of few.
const BLOCK_CHUNKS_MAX: usize = if cfg!(test) { 8 } else { 128 };
/// Chunks at or below which a block joins the one before it, where both fit with room to spare.
const BLOCK_CHUNKS_LOW: usize = BLOCK_CHUNKS_MAX / 4;
/// Chunks of two blocks that may be joined.
const JOINED_CHUNKS_MAX: usize = BLOCK_CHUNKS_MAX / 4 * 3;

/// Entries in the order of their keys.
type Chunk<K, V> = Vec<(K, V)>;

/// Something under a key.
#[derive(Clone)]
struct Filed<K, T> {
    under: K,
    it: T,
}

/// Chunks in the order of their keys.
type Block<K, V> = Vec<Filed<K, Chunk<K, V>>>;

/// An ordered map for keys that mostly ascend.
#[derive(Clone)]
pub(super) struct DenseMap<K, V> {
    blocks: Vec<Filed<K, Block<K, V>>>,
    len: usize,
    /// Where an entry was found last, or nothing or another one may be by now: whoever handles a
    /// task asks for it many times in a row.
    latest: Cell<Spot>,
}

/// Where a chunk is: which block, and which of its chunks.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Place {
    block: usize,
    chunk: usize,
}

/// Where an entry is: its chunk, and which of its entries.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Spot {
    place: Place,
    index: usize,
}

impl<K, V> Default for DenseMap<K, V> {
    fn default() -> Self {
        Self {
            blocks: Vec::new(),
            len: 0,
            latest: Cell::default(),
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

    /// How many entries there are.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub(super) const fn is_empty(&self) -> bool {
        self.len == 0
    }

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

    fn chunk(&self, place: Place) -> &Chunk<K, V> {
        &self.blocks[place.block].it[place.chunk].it
    }

    fn chunk_mut(&mut self, place: Place) -> &mut Chunk<K, V> {
        &mut self.blocks[place.block].it[place.chunk].it
    }

    /// The chunk after this one.
    fn next(&self, place: Place) -> Option<Place> {
        let Place { block, chunk } = place;
        if chunk + 1 < self.blocks[block].it.len() {
            let chunk = chunk + 1;
            return Some(Place { block, chunk });
        }
        let next = Place {
            block: block + 1,
            chunk: 0,
        };
        (next.block < self.blocks.len()).then_some(next)
    }

    /// The chunk before this one.
    fn before(&self, place: Place) -> Option<Place> {
        let Place { block, chunk } = place;
        if let Some(chunk) = chunk.checked_sub(1) {
            return Some(Place { block, chunk });
        }
        let block = block.checked_sub(1)?;
        let chunk = self.blocks[block].it.len() - 1;
        Some(Place { block, chunk })
    }
}

impl<K: Ord + Copy, V> DenseMap<K, V> {
    /// Whether there is an entry of this key.
    pub(super) fn contains_key(&self, key: &K) -> bool {
        self.get(key).is_some()
    }

    /// The value of this key.
    pub(super) fn get(&self, key: &K) -> Option<&V> {
        let Spot { place, index } = self.spot(key)?;
        Some(&self.chunk(place).get(index)?.1)
    }

    /// The value of this key, to be changed.
    pub(super) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let Spot { place, index } = self.spot(key)?;
        Some(&mut self.chunk_mut(place).get_mut(index)?.1)
    }

    /// The entry of the lowest key.
    pub(super) fn first(&self) -> Option<(&K, &V)> {
        let chunk = self.blocks.first()?.it.first()?;
        chunk.it.first().map(|(key, value)| (key, value))
    }

    /// All entries, by key.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.after(None)
    }

    /// The entries above this key, by key; all of them where there is none.
    pub(super) fn after(&self, key: Option<K>) -> impl Iterator<Item = (&K, &V)> {
        let found = key.and_then(|key| Some((key, self.find(&key)?)));
        let (from, skip) = match found {
            Some((key, place)) => {
                let chunk = self.chunk(place);
                (place, chunk.partition_point(|(other, _)| *other <= key))
            }
            None => (Place { block: 0, chunk: 0 }, 0),
        };
        let blocks = self.blocks.iter().skip(from.block).enumerate();
        let chunks = blocks.flat_map(move |(nth, block)| {
            let skip = if nth == 0 { from.chunk } else { 0 };
            block.it.iter().skip(skip)
        });
        let entries = chunks.enumerate().flat_map(move |(nth, chunk)| {
            let skip = if nth == 0 { skip } else { 0 };
            chunk.it.iter().skip(skip)
        });
        entries.map(|(key, value)| (key, value))
    }

    /// Puts a value in; gives back the one that was there.
    pub(super) fn insert(&mut self, key: K, value: V) -> Option<V> {
        let Some(place) = self.find(&key) else {
            self.insert_first(key, value);
            return None;
        };
        let chunk = self.chunk_mut(place);
        let index = match index_of(chunk, &key) {
            Ok(index) => {
                let (_, known) = &mut chunk[index];
                return Some(std::mem::replace(known, value));
            }
            Err(index) => index,
        };
        self.len += 1;
        let chunk = self.chunk_mut(place);
        if chunk.len() < Self::ENTRIES_MAX {
            Self::put(chunk, index, (key, value));
            return None;
        }
        if index == Self::ENTRIES_MAX {
            self.append_after(place, (key, value));
            return None;
        }
        let half = Self::ENTRIES_MAX / 2;
        let mut upper = chunk.split_off(half);
        chunk.shrink_to(half + CHUNK_ROOM_STEP);
        match index.checked_sub(half) {
            Some(index) if index > 0 => Self::put(&mut upper, index, (key, value)),
            Some(_) | None => Self::put(chunk, index, (key, value)),
        }
        self.add_after(place, upper);
        None
    }

    /// Takes an entry out.
    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        let Spot { place, index } = self.spot(key)?;
        let chunk = self.chunk_mut(place);
        let (_, value) = chunk.remove(index);
        if chunk.is_empty() {
            self.take(place);
        } else if chunk.capacity() > CHUNK_ROOM_MIN && chunk.len() * 2 <= chunk.capacity() {
            chunk.shrink_to(Self::room_of(chunk.len()));
            if chunk.len() <= Self::ENTRIES_LOW {
                self.join(place);
            }
        }
        self.len -= 1;
        Some(value)
    }

    /// Where the entry of a key is.
    fn spot(&self, key: &K) -> Option<Spot> {
        let Spot { place, index } = self.latest.get();
        let chunk = self.blocks.get(place.block);
        let chunk = chunk.and_then(|block| block.it.get(place.chunk));
        let entry = chunk.and_then(|chunk| chunk.it.get(index));
        if entry.is_some_and(|(other, _)| other == key) {
            return Some(Spot { place, index });
        }
        let place = self.find(key)?;
        let index = index_of(self.chunk(place), key).ok()?;
        let found = Spot { place, index };
        self.latest.set(found);
        Some(found)
    }

    /// The last chunk that is not filed above a key: where it is, if it is anywhere.
    fn find(&self, key: &K) -> Option<Place> {
        let block = self.blocks.partition_point(|block| block.under <= *key);
        let block = block.checked_sub(1)?;
        let chunks = &self.blocks[block].it;
        let chunk = chunks.partition_point(|chunk| chunk.under <= *key);
        let chunk = chunk.checked_sub(1)?;
        Some(Place { block, chunk })
    }

    /// A key below all others.
    fn insert_first(&mut self, key: K, value: V) {
        self.len += 1;
        let first = Place { block: 0, chunk: 0 };
        if !self.blocks.is_empty() && self.chunk(first).len() < Self::ENTRIES_MAX {
            Self::put(self.chunk_mut(first), 0, (key, value));
            self.file(first);
            return;
        }
        let mut chunk = Vec::new();
        Self::put(&mut chunk, 0, (key, value));
        self.add(first, chunk);
    }

    /// A key above all of a full chunk, and below those of the next one.
    fn append_after(&mut self, place: Place, entry: (K, V)) {
        if let Some(next) = self.next(place) {
            if self.chunk(next).len() < Self::ENTRIES_MAX {
                Self::put(self.chunk_mut(next), 0, entry);
                self.file(next);
                return;
            }
            let mut chunk = Vec::new();
            Self::put(&mut chunk, 0, entry);
            self.add_after(place, chunk);
        } else {
            // The last one is full: another full one is likely to follow.
            let mut chunk = Vec::with_capacity(Self::ENTRIES_MAX);
            chunk.push(entry);
            self.add_after(place, chunk);
        }
    }

    /// Files a chunk, and its block where it is the first one there, under its lowest key.
    fn file(&mut self, place: Place) {
        let block = &mut self.blocks[place.block];
        let chunk = &mut block.it[place.chunk];
        chunk.under = chunk.it[0].0;
        block.under = block.it[0].under;
    }

    /// Puts a chunk after another one.
    fn add_after(&mut self, place: Place, chunk: Chunk<K, V>) {
        let Place { block, chunk: last } = place;
        self.add(
            Place {
                block,
                chunk: last + 1,
            },
            chunk,
        );
    }

    /// Puts a chunk at a place of a block that may be full, or is not there yet where it is the first.
    fn add(&mut self, place: Place, chunk: Chunk<K, V>) {
        let under = chunk[0].0;
        let filed = Filed { under, it: chunk };
        let Some(block) = self.blocks.get_mut(place.block) else {
            return self.add_block(place.block, vec![filed]);
        };
        if block.it.len() < BLOCK_CHUNKS_MAX {
            if block.it.len() == block.it.capacity() {
                let more = block.it.len().clamp(1, BLOCK_CHUNKS_MAX / 8);
                block
                    .it
                    .reserve_exact(more.min(BLOCK_CHUNKS_MAX - block.it.len()));
            }
            block.it.insert(place.chunk, filed);
            block.under = block.it[0].under;
            return;
        }
        if place.chunk == BLOCK_CHUNKS_MAX {
            return self.add_block(place.block + 1, vec![filed]);
        }
        let half = BLOCK_CHUNKS_MAX / 2;
        let mut upper = block.it.split_off(half);
        match place.chunk.checked_sub(half) {
            Some(index) if index > 0 => upper.insert(index, filed),
            Some(_) | None => block.it.insert(place.chunk, filed),
        }
        block.under = block.it[0].under;
        self.add_block(place.block + 1, upper);
    }

    fn add_block(&mut self, index: usize, chunks: Block<K, V>) {
        let under = chunks[0].under;
        if self.blocks.is_empty() {
            self.blocks.reserve_exact(1);
        }
        self.blocks.insert(index, Filed { under, it: chunks });
    }

    /// Takes a chunk out.
    fn take(&mut self, place: Place) -> Chunk<K, V> {
        let block = &mut self.blocks[place.block];
        let chunk = block.it.remove(place.chunk).it;
        let Some(first) = block.it.first() else {
            self.blocks.remove(place.block);
            return chunk;
        };
        block.under = first.under;
        if block.it.len() * 4 <= block.it.capacity() {
            block.it.shrink_to(block.it.len() * 2);
        }
        if let Some(before) = place.block.checked_sub(1)
            && self.blocks[place.block].it.len() <= BLOCK_CHUNKS_LOW
            && self.blocks[before].it.len() + self.blocks[place.block].it.len() <= JOINED_CHUNKS_MAX
        {
            let block = self.blocks.remove(place.block).it;
            let before = &mut self.blocks[before].it;
            before.reserve_exact(block.len());
            before.extend(block);
        }
        chunk
    }

    /// Joins a chunk with a neighbour, where they fit.
    fn join(&mut self, place: Place) {
        let mine = self.chunk(place).len();
        let fits = |other: &Place| mine + self.chunk(*other).len() <= Self::JOINED_MAX;
        let next = self.next(place).filter(fits);
        let before = self.before(place).filter(fits);
        let (lower, upper) = match (before, next) {
            (_, Some(next)) => (place, next),
            (Some(before), None) => (before, place),
            (None, None) => return,
        };
        let mut above = std::mem::take(self.chunk_mut(upper));
        let below = self.chunk_mut(lower);
        let room = Self::room_of(below.len() + above.len());
        if below.capacity() < below.len() + above.len() {
            below.reserve_exact(room - below.len());
        }
        below.append(&mut above);
        below.shrink_to(room);
        self.take(upper);
    }
}

/// Where a key is in a chunk, or belongs.
fn index_of<K: Ord, V>(chunk: &Chunk<K, V>, key: &K) -> Result<usize, usize> {
    // Most keys ascend: they are behind the last one, where nothing is to be searched.
    if chunk.last().is_some_and(|(last, _)| last < key) {
        return Err(chunk.len());
    }
    let index = chunk.partition_point(|(other, _)| other < key);
    let found = chunk.get(index).is_some_and(|(other, _)| other == key);
    if found { Ok(index) } else { Err(index) }
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
mod tests;
