//! What a simulated disk holds, and the operations that change it.
//!
//! Owns names, lengths and sectors. Never decides which operations survive: see `crash`. A sector
//! is written whole or not at all, and carries what was written to it before.

use std::collections::BTreeMap;
use std::sync::Arc;

/// What a disk writes whole or not at all.
pub(super) const SECTOR_BYTES: usize = 512;

/// The bytes of one sector, shared by all images that have it.
pub(super) type Sector = Arc<[u8; SECTOR_BYTES]>;

/// Names and files.
#[derive(Clone, Debug, Default)]
pub(super) struct Disk {
    pub(super) names: BTreeMap<String, u64>,
    pub(super) files: BTreeMap<u64, Arc<Content>>,
}

/// What one file holds. Sectors that were never written read as zeros and take no room.
#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    pub(super) sectors: Vec<Option<Sector>>,
    pub(super) len: usize,
}

/// A kind of operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum OpKind {
    /// A file was made.
    Create,
    /// Bytes were written.
    Write,
    /// A file's length was set.
    SetLen,
    /// A file was synced.
    Sync,
    /// A file was renamed.
    Rename,
    /// A file was removed.
    Remove,
    /// The directory was synced.
    SyncDir,
}

/// One operation that succeeded (or a write that failed half-way).
#[derive(Clone, Debug)]
pub(super) enum Op {
    Create {
        name: String,
        file: u64,
    },
    /// Whole sectors as they are after the write.
    Write {
        file: u64,
        first: usize,
        sectors: Vec<Sector>,
        len: usize,
    },
    SetLen {
        file: u64,
        len: usize,
    },
    Sync {
        file: u64,
    },
    Rename {
        from: String,
        to: String,
        file: u64,
    },
    Remove {
        name: String,
    },
    SyncDir,
}

impl Op {
    pub(super) const fn kind(&self) -> OpKind {
        match self {
            Self::Create { .. } => OpKind::Create,
            Self::Write { .. } => OpKind::Write,
            Self::SetLen { .. } => OpKind::SetLen,
            Self::Sync { .. } => OpKind::Sync,
            Self::Rename { .. } => OpKind::Rename,
            Self::Remove { .. } => OpKind::Remove,
            Self::SyncDir => OpKind::SyncDir,
        }
    }
}

impl Content {
    /// The sector's bytes; zeros where it was never written.
    fn sector(&self, index: usize) -> Option<&Sector> {
        self.sectors.get(index).and_then(Option::as_ref)
    }

    pub(super) fn read(&self, offset: usize, buffer: &mut [u8]) {
        let (mut at, mut rest) = (offset, buffer);
        while !rest.is_empty() {
            let (index, within) = (at / SECTOR_BYTES, at % SECTOR_BYTES);
            let part = rest.len().min(SECTOR_BYTES - within);
            let (now, after) = rest.split_at_mut(part);
            let bytes = self
                .sector(index)
                .and_then(|s| s.get(within..within + part));
            match bytes {
                Some(bytes) => now.copy_from_slice(bytes),
                None => now.fill(0),
            }
            at += part;
            rest = after;
        }
    }

    /// The sectors that a write makes, and the first one's place.
    pub(super) fn merged(&self, offset: usize, bytes: &[u8]) -> (usize, Vec<Sector>) {
        let zero: Sector = Arc::new([0; SECTOR_BYTES]);
        let first = offset / SECTOR_BYTES;
        let mut made = Vec::with_capacity(bytes.len() / SECTOR_BYTES + 2);
        let (mut at, mut rest) = (offset, bytes);
        while !rest.is_empty() {
            let (index, within) = (at / SECTOR_BYTES, at % SECTOR_BYTES);
            let (now, after) = rest.split_at(rest.len().min(SECTOR_BYTES - within));
            let old = self.sector(index).unwrap_or(&zero);
            made.push(if now == zero.as_slice() {
                Arc::clone(&zero)
            } else {
                let mut sector = **old;
                if let Some(place) = sector.get_mut(within..within + now.len()) {
                    place.copy_from_slice(now);
                }
                Arc::new(sector)
            });
            at += now.len();
            rest = after;
        }
        (first, made)
    }

    pub(super) fn put(&mut self, index: usize, sector: &Sector) {
        if self.sectors.len() <= index {
            self.sectors.resize(index + 1, None);
        }
        if let Some(place) = self.sectors.get_mut(index) {
            *place = Some(Arc::clone(sector));
        }
    }

    /// What lies behind the shorter of both lengths is gone: what is added reads as zeros, also
    /// where a write survived a power cut that its length did not.
    pub(super) fn set_len(&mut self, len: usize) {
        let kept = self.len.min(len);
        self.len = len;
        self.sectors.truncate(kept.div_ceil(SECTOR_BYTES));
        let within = kept % SECTOR_BYTES;
        if within > 0
            && let Some(Some(last)) = self.sectors.get_mut(kept / SECTOR_BYTES)
        {
            let mut cut = **last;
            cut.iter_mut().skip(within).for_each(|byte| *byte = 0);
            *last = Arc::new(cut);
        }
    }

    /// Sectors that take room.
    pub(super) fn allocated(&self) -> usize {
        self.sectors.iter().flatten().count()
    }
}

impl Disk {
    /// A file's content, to be changed.
    pub(super) fn content(&mut self, file: u64) -> &mut Content {
        Arc::make_mut(self.files.entry(file).or_default())
    }

    /// Does one operation, all of it.
    pub(super) fn apply(&mut self, op: &Op) {
        match op {
            Op::Create { name, file } => {
                self.names.insert(name.clone(), *file);
                self.files.entry(*file).or_default();
            }
            Op::Write {
                file,
                first,
                sectors,
                len,
            } => {
                let content = self.content(*file);
                for (index, sector) in sectors.iter().enumerate() {
                    content.put(first + index, sector);
                }
                content.len = content.len.max(*len);
            }
            Op::SetLen { file, len } => self.content(*file).set_len(*len),
            Op::Rename { from, to, file } => {
                self.names.remove(from);
                self.names.insert(to.clone(), *file);
            }
            Op::Remove { name } => {
                self.names.remove(name);
            }
            Op::Sync { .. } | Op::SyncDir => {}
        }
    }

    /// Bytes that the named files take.
    pub(super) fn allocated_bytes(&self) -> u64 {
        let files = self.names.values().filter_map(|file| self.files.get(file));
        let sectors: usize = files.map(|content| content.allocated()).sum();
        (sectors * SECTOR_BYTES) as u64
    }
}
