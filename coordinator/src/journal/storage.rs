//! What the journal needs of a disk, as traits: a flat directory of files.
//!
//! Owns nothing. The real directory is [`super::DirStorage`], the simulated one
//! [`super::simulated::SimulatedStorage`]. Invariants asked of both: what was written before
//! `sync_data` returned survives a power cut; creating, renaming and removing survive one after
//! `sync_dir` returned; nothing else is promised, in no order.

use std::fmt::Debug;
use std::io;
use std::sync::Arc;

/// One file of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its name, without the directory.
    pub name: String,
    /// Its length in bytes.
    pub bytes: u64,
}

/// A flat directory of files.
pub trait Storage: Debug + Send + Sync {
    /// Where it is, for messages.
    fn place(&self) -> String;

    /// Takes the directory for one owner until the guard is dropped; `None` where another one has
    /// it.
    ///
    /// # Errors
    /// Where the machine refuses.
    fn lock(&self) -> io::Result<Option<Box<dyn StorageLock>>>;

    /// All files, sorted by name.
    ///
    /// # Errors
    /// Where the machine refuses.
    fn list(&self) -> io::Result<Vec<Stored>>;

    /// Makes a new, empty file.
    ///
    /// # Errors
    /// Where there is one already, or the machine refuses.
    fn create(&self, name: &str) -> io::Result<Arc<dyn StoredFile>>;

    /// Opens a file for reading and writing.
    ///
    /// # Errors
    /// Where there is none, or the machine refuses.
    fn open(&self, name: &str) -> io::Result<Arc<dyn StoredFile>>;

    /// Renames a file, replacing whatever had the new name.
    ///
    /// # Errors
    /// Where the machine refuses.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// Where there is none, or the machine refuses.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes every creation, renaming and removal so far durable.
    ///
    /// # Errors
    /// Where the machine refuses; what is durable is then unknown.
    fn sync_dir(&self) -> io::Result<()>;
}

/// One open file. It stays readable and writable under another name, and when it was removed.
pub trait StoredFile: Debug + Send + Sync {
    /// Fills the whole of `buffer` from `offset` on.
    ///
    /// # Errors
    /// Where the file ends before, or the machine refuses.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;

    /// Writes all bytes at `offset`; the file grows where it must.
    ///
    /// # Errors
    /// Where the machine refuses; any part may be written then.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes everything written so far durable, and the length with it.
    ///
    /// # Errors
    /// Where the machine refuses; what is durable is then unknown, for ever.
    fn sync_data(&self) -> io::Result<()>;

    /// Cuts the file, or lengthens it with zeros.
    ///
    /// # Errors
    /// Where the machine refuses.
    fn set_len(&self, bytes: u64) -> io::Result<()>;

    /// The length in bytes.
    ///
    /// # Errors
    /// Where the machine refuses.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file is empty.
    ///
    /// # Errors
    /// Where the machine refuses.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
}

/// The directory is this owner's until it is dropped.
pub trait StorageLock: Debug + Send + Sync {}
