//! The real directory.
//!
//! Owns the directory's modes (0700, its files 0600) and the file `LOCK`. Never reads or writes
//! what it was not told to.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::storage::{Storage, StorageLock, Stored, StoredFile};

/// The file whose lock is the directory's.
const LOCK_NAME: &str = "LOCK";
/// Files are read and written by their owner only.
const FILE_MODE: u32 = 0o600;
/// So is the directory.
const DIRECTORY_MODE: u32 = 0o700;

/// A directory of the machine.
#[derive(Debug)]
pub struct DirStorage {
    path: PathBuf,
    directory: File,
}

/// One of its files.
#[derive(Debug)]
struct DirFile(File);

/// The lock of its file `LOCK`, which the kernel lets go when the process ends in whatever way.
#[derive(Debug)]
struct DirLock {
    _file: File,
}

impl DirStorage {
    /// The directory at `path`, made (readable by its owner only) where there is none.
    ///
    /// # Errors
    /// Where it cannot be made or opened.
    pub fn create(path: &Path) -> io::Result<Self> {
        if !path.is_dir() {
            let missing = path.ancestors().take_while(|made| !made.is_dir()).count();
            let mut builder = DirBuilder::new();
            builder.recursive(true).mode(DIRECTORY_MODE).create(path)?;
            // The name of each directory that was made is in the one above it.
            for parent in path.ancestors().skip(1).take(missing) {
                let is_here = parent == Path::new("");
                File::open(if is_here { Path::new(".") } else { parent })?.sync_all()?;
            }
        }
        Self::existing(path)
    }

    /// The directory at `path`, which must be there.
    ///
    /// # Errors
    /// Where it is not, or cannot be opened.
    pub fn existing(path: &Path) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            directory: File::open(path)?,
        })
    }

    fn options() -> OpenOptions {
        let mut options = OpenOptions::new();
        options.read(true).write(true).mode(FILE_MODE);
        options
    }
}

impl Storage for DirStorage {
    fn place(&self) -> String {
        self.path.display().to_string()
    }

    fn lock(&self) -> io::Result<Option<Box<dyn StorageLock>>> {
        let mut options = Self::options();
        let file = options.create(true).open(self.path.join(LOCK_NAME))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Box::new(DirLock { _file: file }))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn list(&self) -> io::Result<Vec<Stored>> {
        let mut found = Vec::new();
        for entry in self.path.read_dir()? {
            let entry = entry?;
            let about = entry.metadata()?;
            // A name that is not text is none of ours.
            if let (true, Ok(name)) = (about.is_file(), entry.file_name().into_string()) {
                let bytes = about.len();
                found.push(Stored { name, bytes });
            }
        }
        found.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(found)
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn StoredFile>> {
        let file = Self::options().create_new(true).open(self.path.join(name));
        Ok(Arc::new(DirFile(file?)))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn StoredFile>> {
        let path = self.path.join(name);
        // What belongs to somebody else, or is read-only, can still be inspected.
        let file = Self::options().open(&path).or_else(|error| {
            if error.kind() == io::ErrorKind::PermissionDenied {
                return File::open(&path);
            }
            Err(error)
        });
        Ok(Arc::new(DirFile(file?)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.path.join(name))
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.directory.sync_all()
    }
}

impl StoredFile for DirFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(buffer, offset)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.0.set_len(bytes)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}

impl StorageLock for DirLock {}
