//! A disk in memory, for tests and simulation: it can fail, fill up, rot, and lose power.
//!
//! Owns what was written and, apart from it, what was synced: contents in sectors of 512 bytes,
//! lengths, and names, which are durable only once the directory was synced. Deterministic: it
//! draws nothing and reads no clock. Never used by a coordinator that runs.

mod crash;
mod disk;

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use crash::{Crashes, Tear};
pub use disk::OpKind;

use super::storage::{Storage, StorageLock, Stored, StoredFile};
use disk::{Content, Disk, Op, SECTOR_BYTES};

/// A disk in memory. Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub struct SimulatedStorage {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// What reads see.
    disk: Disk,
    /// What was durable before the first recorded operation.
    base: Disk,
    /// What was done since.
    ops: Vec<Arc<Op>>,
    /// Operations done before those.
    forgotten: usize,
    next_file: u64,
    capacity: Option<u64>,
    /// Operations that will fail: of a kind or of any, after so many that will not.
    faults: Vec<(Option<OpKind>, u64)>,
    locked: bool,
}

/// One open file.
#[derive(Debug)]
struct SimulatedFile {
    storage: SimulatedStorage,
    file: u64,
}

/// The lock of the directory.
#[derive(Debug)]
struct SimulatedLock(SimulatedStorage);

impl SimulatedStorage {
    /// An empty disk that never fails and is never full.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn of(disk: Disk) -> Self {
        let next_file = disk.files.keys().max().map_or(0, |file| file + 1);
        let state = State {
            base: disk.clone(),
            disk,
            next_file,
            ..State::default()
        };
        Self {
            state: Arc::new(Mutex::new(state)),
        }
    }

    fn lock_state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The disk has this many bytes from now on; `None` is without end. What is stored stays.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.lock_state().capacity = bytes;
    }

    /// Bytes that files take now.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.lock_state().disk.allocated_bytes()
    }

    /// The `n`-th operation of a kind from now on fails with EIO, once; 1 is the next one.
    pub fn fail_nth(&self, kind: OpKind, n: u64) {
        self.lock_state().faults.push((Some(kind), n));
    }

    /// The `n`-th operation of whatever kind from now on fails with EIO, once; 1 is the next one.
    pub fn fail_nth_of_any(&self, n: u64) {
        self.lock_state().faults.push((None, n));
    }

    /// Whether an operation that was to fail has not come yet.
    #[must_use]
    pub fn has_faults(&self) -> bool {
        !self.lock_state().faults.is_empty()
    }

    /// How many operations changed the disk, or synced it, so far.
    #[must_use]
    pub fn operations(&self) -> usize {
        let state = self.lock_state();
        state.forgotten + state.ops.len()
    }

    /// The recorded operations, in order.
    #[must_use]
    pub fn kinds(&self) -> Vec<OpKind> {
        self.lock_state().ops.iter().map(|op| op.kind()).collect()
    }

    /// Forgets the recorded operations that no later power cut can undo, and removed files with
    /// them: whoever still reads one finds it gone.
    pub fn forget(&self) {
        let mut state = self.lock_state();
        let ops = std::mem::take(&mut state.ops);
        let before = ops.len();
        let (base, rest) = Crashes::new(state.base.clone(), ops).folded();
        state.forgotten += before - rest.len();
        let state = &mut *state;
        (state.base, state.ops) = (base, rest);
        let names = state.disk.names.values().chain(state.base.names.values());
        let named: BTreeSet<u64> = names.copied().collect();
        for disk in [&mut state.disk, &mut state.base] {
            disk.files.retain(|file, _| named.contains(file));
        }
    }

    /// A walk along the recorded operations, with the images of the disk at each.
    #[must_use]
    pub fn crashes(&self) -> Crashes {
        let state = self.lock_state();
        Crashes::new(state.base.clone(), state.ops.clone())
    }

    /// The disk that is found if the power is cut now.
    #[must_use]
    pub fn crash(&self, tear: Tear) -> Self {
        let mut crashes = self.crashes();
        while crashes.step() {}
        crashes.image(tear)
    }

    /// The disk that is found if the power was cut when so many operations ([`Self::operations`])
    /// were done, or as many as are recorded.
    #[must_use]
    pub fn crash_at(&self, operations: usize, tear: Tear) -> Self {
        let forgotten = self.lock_state().forgotten;
        let mut crashes = self.crashes();
        while crashes.done() + forgotten < operations && crashes.step() {}
        crashes.image(tear)
    }

    /// Flips bits of one byte, durably, as rot does. What was recorded before is forgotten.
    pub fn rot(&self, name: &str, offset: usize, flipped: u8) {
        self.forget();
        let mut state = self.lock_state();
        let state = &mut *state;
        for disk in [&mut state.disk, &mut state.base] {
            let Some(file) = disk.names.get(name).copied() else {
                continue;
            };
            let content = disk.content(file);
            let mut byte = [0];
            content.read(offset, &mut byte);
            let (first, sectors) = content.merged(offset, &byte.map(|byte| byte ^ flipped));
            for (index, sector) in (first..).zip(&sectors) {
                content.put(index, sector);
            }
        }
    }

    /// Cuts a file, durably, as a careless hand does. What was recorded before is forgotten.
    pub fn cut(&self, name: &str, bytes: usize) {
        self.forget();
        let mut state = self.lock_state();
        let state = &mut *state;
        for disk in [&mut state.disk, &mut state.base] {
            if let Some(file) = disk.names.get(name).copied() {
                disk.content(file).set_len(bytes);
            }
        }
    }
}

impl State {
    /// Whether the next operation of this kind is one that is to fail.
    fn fails(&mut self, kind: OpKind) -> bool {
        let mut fails = false;
        self.faults.retain_mut(|(wanted, left)| {
            if wanted.is_none_or(|wanted| wanted == kind) {
                *left = left.saturating_sub(1);
            }
            fails |= *left == 0;
            *left > 0
        });
        fails
    }

    fn attempt(&mut self, op: Op) -> io::Result<()> {
        if self.fails(op.kind()) {
            return Err(broken());
        }
        self.record(op);
        Ok(())
    }

    fn record(&mut self, op: Op) {
        self.disk.apply(&op);
        self.ops.push(Arc::new(op));
    }

    fn file(&self, name: &str) -> io::Result<u64> {
        let missing = || io::Error::from(io::ErrorKind::NotFound);
        self.disk.names.get(name).copied().ok_or_else(missing)
    }

    fn content(&self, file: u64) -> io::Result<&Content> {
        let missing = || io::Error::from(io::ErrorKind::NotFound);
        self.disk
            .files
            .get(&file)
            .map(|content| &**content)
            .ok_or_else(missing)
    }

    fn write(&mut self, file: u64, offset: usize, bytes: &[u8]) -> io::Result<()> {
        let fails = self.fails(OpKind::Write);
        let content = self.content(file)?;
        let (first, mut sectors) = content.merged(offset, bytes);
        let mut len = offset + bytes.len();
        let mut result = Ok(());
        if let Some(capacity) = self.capacity {
            let left = capacity.saturating_sub(self.disk.allocated_bytes());
            let left = usize::try_from(left).unwrap_or(usize::MAX) / SECTOR_BYTES;
            let is_new = |index: usize| content.sectors.get(index).is_none_or(Option::is_none);
            let mut new = (first..).take(sectors.len()).filter(|index| is_new(*index));
            if let Some(beyond) = new.nth(left) {
                sectors.truncate(beyond - first);
                len = beyond * SECTOR_BYTES;
                result = Err(io::Error::from(io::ErrorKind::StorageFull));
            }
        }
        if fails {
            sectors.truncate(sectors.len() / 2);
            len = (first + sectors.len()) * SECTOR_BYTES;
            result = Err(broken());
        }
        if !sectors.is_empty() {
            let len = len.min(offset + bytes.len());
            self.record(Op::Write {
                file,
                first,
                sectors,
                len,
            });
        }
        result
    }
}

fn broken() -> io::Error {
    io::Error::other("simulated input/output error")
}

fn position(offset: u64) -> io::Result<usize> {
    usize::try_from(offset).map_err(io::Error::other)
}

impl Storage for SimulatedStorage {
    fn place(&self) -> String {
        "simulated disk".to_owned()
    }

    fn lock(&self) -> io::Result<Option<Box<dyn StorageLock>>> {
        let mut state = self.lock_state();
        if state.locked {
            return Ok(None);
        }
        state.locked = true;
        Ok(Some(Box::new(SimulatedLock(self.clone()))))
    }

    fn list(&self) -> io::Result<Vec<Stored>> {
        let state = self.lock_state();
        let stored = |(name, file): (&String, &u64)| {
            let bytes = state.disk.files.get(file).map_or(0, |content| content.len);
            Stored {
                name: name.clone(),
                bytes: bytes as u64,
            }
        };
        Ok(state.disk.names.iter().map(stored).collect())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn StoredFile>> {
        let mut state = self.lock_state();
        if state.disk.names.contains_key(name) {
            return Err(io::Error::from(io::ErrorKind::AlreadyExists));
        }
        let file = state.next_file;
        state.next_file += 1;
        state.attempt(Op::Create {
            name: name.to_owned(),
            file,
        })?;
        drop(state);
        self.open(name)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn StoredFile>> {
        let file = self.lock_state().file(name)?;
        Ok(Arc::new(SimulatedFile {
            storage: self.clone(),
            file,
        }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.lock_state();
        let file = state.file(from)?;
        state.attempt(Op::Rename {
            from: from.to_owned(),
            to: to.to_owned(),
            file,
        })
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.lock_state();
        state.file(name)?;
        state.attempt(Op::Remove {
            name: name.to_owned(),
        })
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.lock_state().attempt(Op::SyncDir)
    }
}

impl StoredFile for SimulatedFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let state = self.storage.lock_state();
        let content = state.content(self.file)?;
        let offset = position(offset)?;
        if offset + buffer.len() > content.len {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        }
        content.read(offset, buffer);
        Ok(())
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let offset = position(offset)?;
        self.storage.lock_state().write(self.file, offset, bytes)
    }

    fn sync_data(&self) -> io::Result<()> {
        let file = self.file;
        self.storage.lock_state().attempt(Op::Sync { file })
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        let (file, len) = (self.file, position(bytes)?);
        self.storage.lock_state().attempt(Op::SetLen { file, len })
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.storage.lock_state().content(self.file)?.len as u64)
    }
}

impl StorageLock for SimulatedLock {}

impl Drop for SimulatedLock {
    fn drop(&mut self) {
        self.0.lock_state().locked = false;
    }
}
