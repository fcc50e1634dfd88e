//! What a simulated disk may hold after the power was cut.
//!
//! Owns the distinction between what was synced and what was only written, at every point of the
//! recorded operations. Deterministic: the same tear of the same operations is the same image.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::format::mixed;
use super::SimulatedStorage;
use super::disk::{Disk, Op, SECTOR_BYTES};

/// Which of the operations that were not synced survive a power cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tear {
    /// None.
    Nothing,
    /// All: as if only the process had ended.
    Everything,
    /// A subset, by chance: every aligned piece of a write, every length and every naming on its
    /// own.
    Some {
        /// Which subset.
        seed: u64,
        /// The size of a piece in bytes: a multiple of 512.
        piece_bytes: usize,
    },
}

/// A walk along recorded operations; at every step there are images of the disk after a power cut.
#[derive(Clone, Debug)]
pub struct Crashes {
    ops: Vec<Arc<Op>>,
    next: usize,
    durable: Disk,
    /// Changes of files that were not synced since, in order.
    changes: BTreeMap<u64, Vec<Arc<Op>>>,
    /// Changes of names that were not synced since, in order.
    namings: Vec<Arc<Op>>,
}

/// A sequence of chances.
struct Chance {
    state: u64,
    /// Of 8.
    odds: u64,
}

impl Chance {
    const fn new(seed: u64) -> Self {
        let state = mixed(seed);
        Self {
            state,
            odds: 1 + state % 7,
        }
    }

    fn falls(&mut self) -> bool {
        self.state = mixed(self.state);
        self.state >> 61 < self.odds
    }
}

impl Crashes {
    pub(super) const fn new(durable: Disk, ops: Vec<Arc<Op>>) -> Self {
        Self {
            ops,
            next: 0,
            durable,
            changes: BTreeMap::new(),
            namings: Vec::new(),
        }
    }

    /// How many operations were done so far.
    #[must_use]
    pub const fn done(&self) -> usize {
        self.next
    }

    /// Does the next operation; false at the end.
    pub fn step(&mut self) -> bool {
        let Some(op) = self.ops.get(self.next) else {
            return false;
        };
        self.next += 1;
        match &**op {
            Op::Create { file, .. } => {
                self.durable.files.entry(*file).or_default();
                self.namings.push(Arc::clone(op));
            }
            Op::Rename { .. } | Op::Remove { .. } => self.namings.push(Arc::clone(op)),
            Op::Write { file, .. } | Op::SetLen { file, .. } => {
                self.changes.entry(*file).or_default().push(Arc::clone(op));
            }
            Op::Sync { file } => {
                for change in self.changes.remove(file).unwrap_or_default() {
                    self.durable.apply(&change);
                }
            }
            Op::SyncDir => {
                for naming in self.namings.drain(..) {
                    self.durable.apply(&naming);
                }
            }
        }
        true
    }

    /// A disk that may be found after a power cut here.
    #[must_use]
    pub fn image(&self, tear: Tear) -> SimulatedStorage {
        let mut disk = self.durable.clone();
        let lost = || self.changes.values().flatten().chain(&self.namings);
        match tear {
            Tear::Nothing => {}
            Tear::Everything => lost().for_each(|op| disk.apply(op)),
            Tear::Some { seed, piece_bytes } => {
                let mut chance = Chance::new(seed ^ mixed(self.next as u64));
                let piece = (piece_bytes / SECTOR_BYTES).max(1);
                lost().for_each(|op| apply_some(&mut disk, op, piece, &mut chance));
            }
        }
        let named: Vec<u64> = disk.names.values().copied().collect();
        disk.files.retain(|file, _| named.contains(file));
        SimulatedStorage::of(disk)
    }

    /// What is durable, and the operations that are not.
    pub(super) fn folded(mut self) -> (Disk, Vec<Arc<Op>>) {
        while self.step() {}
        let rest = self.changes.into_values().flatten().chain(self.namings);
        (self.durable, rest.collect())
    }
}

/// Does what survives of one operation.
fn apply_some(disk: &mut Disk, op: &Op, piece: usize, chance: &mut Chance) {
    let Op::Write {
        file,
        first,
        sectors,
        len,
    } = op
    else {
        if chance.falls() {
            disk.apply(op);
        }
        return;
    };
    let content = disk.content(*file);
    let mut survives = chance.falls();
    for (index, sector) in (*first..).zip(sectors) {
        if index % piece == 0 && index > *first {
            survives = chance.falls();
        }
        if survives {
            content.put(index, sector);
        }
    }
    if *len > content.len && chance.falls() {
        content.len = *len;
    }
}
