//! Reserve files: zero-filled and synced ahead, so that the writer's syncs need no metadata and a
//! full disk is noticed before it hurts.
//!
//! Owns the files `reserve-N.zero` and the news that the disk is full. Never waits in the writer's
//! way unless none is ready. Invariant: a file of that name and of the full size has all its bytes
//! on disk: it is renamed from `reserve-N.part` once it was synced.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::JournalError;
use super::format::{BLOCK_BYTES, is_zero};
use super::gate::{Poison, cannot};
use super::limits::{FILL_WINDOW_BYTES, FULL_RETRY, SPARES_READY};
use super::storage::{Storage, Stored};

/// The reserve files of one journal.
pub(super) struct Spares {
    storage: Arc<dyn Storage>,
    poison: Arc<dyn Poison>,
    /// The size of each.
    bytes: u64,
    /// Whether a helper thread tends the files; otherwise whoever takes one does.
    helped: AtomicBool,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    ready: VecDeque<String>,
    /// The number of the next file.
    next: u64,
    /// The last attempt met a full disk, and not all files are ready since.
    full: bool,
    /// The writer waits for a file.
    wanted: bool,
    /// Attempts begun so far.
    begun: u64,
    /// The last attempt that met a full disk.
    refused: u64,
    stop: bool,
}

/// What one attempt came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tended {
    /// One more file is ready.
    Filled,
    /// There are enough.
    Enough,
    /// The disk is full.
    Full,
}

/// What a file of the directory is to the spares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// None of theirs.
    Other,
    /// One that was never finished.
    Part,
    /// One that is full, by its name.
    Zero(u64),
}

fn kind_of(name: &str) -> Kind {
    let Some(rest) = name.strip_prefix("reserve-") else {
        return Kind::Other;
    };
    if rest.ends_with(".part") {
        return Kind::Part;
    }
    let number = rest.strip_suffix(".zero").and_then(|n| n.parse().ok());
    number.map_or(Kind::Other, Kind::Zero)
}

impl Spares {
    pub(super) fn new(storage: Arc<dyn Storage>, poison: Arc<dyn Poison>, bytes: u64) -> Self {
        let state = State {
            next: 1,
            ..State::default()
        };
        Self {
            storage,
            poison,
            bytes,
            helped: AtomicBool::new(false),
            state: Mutex::new(state),
            changed: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the files of an earlier run that are whole and blank, and removes the others.
    pub(super) fn adopt(&self, files: &[Stored]) -> Result<(), JournalError> {
        for file in files {
            let keep = match kind_of(&file.name) {
                Kind::Other => continue,
                Kind::Part => false,
                Kind::Zero(number) => {
                    let mut state = self.lock();
                    state.next = state.next.max(number.saturating_add(1));
                    file.bytes == self.bytes && state.ready.len() < SPARES_READY
                }
            };
            let read = |error| cannot(format!("read {}", file.name), error);
            if keep && self.is_blank(&file.name).map_err(read)? {
                self.lock().ready.push_back(file.name.clone());
                continue;
            }
            self.storage
                .remove(&file.name)
                .map_err(|error| cannot(format!("remove {}", file.name), error))?;
        }
        Ok(())
    }

    fn is_blank(&self, name: &str) -> io::Result<bool> {
        let mut block = [0; BLOCK_BYTES];
        self.storage.open(name)?.read_at(0, &mut block)?;
        Ok(is_zero(&block))
    }

    /// How many are ready.
    pub(super) fn ready(&self) -> usize {
        self.lock().ready.len()
    }

    /// Whether the disk is full and the reserve touched.
    pub(super) fn refuse_growth(&self) -> bool {
        let state = self.lock();
        state.full && state.ready.len() < SPARES_READY
    }

    /// Makes one more file, where there are not enough.
    ///
    /// # Errors
    /// Where the machine refuses for another reason than a full disk; the journal has failed then.
    pub(super) fn tend(&self) -> Result<Tended, JournalError> {
        let (number, attempt) = {
            let mut state = self.lock();
            if state.ready.len() >= SPARES_READY || state.stop {
                return Ok(Tended::Enough);
            }
            state.wanted = false;
            state.begun += 1;
            let number = state.next;
            state.next = number.saturating_add(1);
            (number, state.begun)
        };
        let tended = match self.fill(number) {
            Ok(Some(name)) => {
                let mut state = self.lock();
                state.ready.push_back(name);
                state.full = state.full && state.ready.len() < SPARES_READY;
                Ok(Tended::Filled)
            }
            Ok(None) => Ok(Tended::Enough),
            Err(error) if is_full(&error) => {
                let mut state = self.lock();
                state.full = true;
                state.refused = attempt;
                Ok(Tended::Full)
            }
            Err(error) => {
                let error = cannot(format!("fill {}", part_name(number)), error);
                Err(self.poison.poison(error))
            }
        };
        self.changed.notify_all();
        tended
    }

    /// A whole new file; `None` where it was told to stop meanwhile.
    fn fill(&self, number: u64) -> io::Result<Option<String>> {
        let part = part_name(number);
        let filled = self.fill_part(&part);
        match filled {
            Ok(true) => {
                let name = format!("reserve-{number}.zero");
                self.storage.rename(&part, &name)?;
                Ok(Some(name))
            }
            Ok(false) => Ok(None),
            Err(error) => {
                if is_full(&error) {
                    match self.storage.remove(&part) {
                        Err(other) if other.kind() != io::ErrorKind::NotFound => return Err(other),
                        Ok(()) | Err(_) => {}
                    }
                }
                Err(error)
            }
        }
    }

    fn fill_part(&self, part: &str) -> io::Result<bool> {
        let file = self.storage.create(part)?;
        let zeros = vec![0; FILL_WINDOW_BYTES];
        let mut at = 0;
        while at < self.bytes {
            if self.lock().stop {
                return Ok(false);
            }
            let left = usize::try_from(self.bytes - at).unwrap_or(usize::MAX);
            let window = zeros.get(..left).unwrap_or(&zeros);
            file.write_at(at, window)?;
            at += window.len() as u64;
        }
        file.sync_data()?;
        Ok(true)
    }

    /// Takes a file. Waits for the helper where none is ready, and makes one itself where there is
    /// no helper.
    ///
    /// # Errors
    /// Where the disk is full, or the journal has failed.
    pub(super) fn take(&self) -> Result<String, JournalError> {
        let mut state = self.lock();
        let begun_before = state.begun;
        state.wanted = true;
        self.changed.notify_all();
        loop {
            if let Some(name) = state.ready.pop_front() {
                state.wanted = false;
                self.changed.notify_all();
                return Ok(name);
            }
            if let Some(error) = self.poison.failure() {
                return Err(error);
            }
            // An attempt that was under way before may have missed room that came since.
            if state.refused > begun_before {
                let cause = "the disk is full, and no reserve file is left";
                return Err(cannot("begin a segment", cause));
            }
            if self.helped.load(Ordering::Acquire) {
                let waited = self.changed.wait_timeout(state, FULL_RETRY);
                (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
            } else {
                drop(state);
                self.tend()?;
                state = self.lock();
            }
        }
    }

    /// A helper will call [`Spares::run`]; what is taken is refilled by it alone.
    pub(super) fn expect_helper(&self) {
        self.helped.store(true, Ordering::Release);
    }

    /// Keeps the reserve full until it is told to stop, or the journal fails.
    pub(super) fn run(&self) {
        loop {
            let Ok(tended) = self.tend() else {
                return;
            };
            let mut state = self.lock();
            match tended {
                Tended::Filled => {}
                Tended::Enough => {
                    let idle = |state: &mut State| !state.stop && state.ready.len() >= SPARES_READY;
                    let waited = self.changed.wait_while(state, idle);
                    state = waited.unwrap_or_else(PoisonError::into_inner);
                }
                Tended::Full => {
                    let idle = |state: &mut State| !state.stop && !state.wanted;
                    let waited = self.changed.wait_timeout_while(state, FULL_RETRY, idle);
                    (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
                }
            }
            if state.stop {
                return;
            }
        }
    }

    /// Ends the helper, in the middle of a file if need be.
    pub(super) fn stop(&self) {
        self.lock().stop = true;
        self.changed.notify_all();
    }
}

fn part_name(number: u64) -> String {
    format!("reserve-{number}.part")
}

/// Whether an error says that the disk (or the owner's part of it) is full.
fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}
