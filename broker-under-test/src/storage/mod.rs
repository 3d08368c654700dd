//! The file system as the logs see it: one trait under every layout, so that a faulty one can take the place of the real one.
//!
//! Everything that a log writes, flushes, renames or removes goes through it. Reads by the kernel itself (sendfile, splice, a mapping) can't, so
//! whoever asks for one says so first with [`StoredFile::before_kernel_read`].

mod faulty;
mod real;

pub use faulty::{Fault, FaultKind, FaultyDisk, Operation};
pub use real::RealDisk;

use std::fmt;
use std::fs::File;
use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;

/// What a folder or a file is asked for.
pub trait Storage: fmt::Debug + Send + Sync {
    /// An empty file, for reading and writing. What stood there is gone.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn StoredFile>>;

    /// A file that exists; `write` as well as read.
    fn open(&self, path: &Path, write: bool) -> io::Result<Arc<dyn StoredFile>>;

    /// Length and permission of a file, without opening it.
    fn info(&self, path: &Path) -> io::Result<FileInfo>;

    /// The whole content of a small file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// Names in a folder, in no order.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Makes a folder and those above it.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;

    /// Removes a file.
    fn remove_file(&self, path: &Path) -> io::Result<()>;

    /// Removes a folder and what is in it.
    fn remove_dir(&self, dir: &Path) -> io::Result<()>;

    /// Renames a file over another one, atomically.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Makes the names in a folder durable: files that came, went, or were renamed.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Writes a small file so that after a crash either the old or the new content is there: a temporary file, a flush, a rename, a flush of the
    /// folder.
    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let temporary = path.with_extension("tmp");
        let file = self.create(&temporary)?;
        file.write_all_at(&mut [IoSlice::new(bytes)], 0)?;
        file.sync_data()?;
        drop(file);
        self.rename(&temporary, path)?;
        self.sync_dir(path.parent().unwrap_or(Path::new(".")))
    }
}

/// What is known of a file that is not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileInfo {
    /// Its length.
    pub bytes: u64,
    /// Nobody may write to it.
    pub read_only: bool,
}

/// An open file.
pub trait StoredFile: fmt::Debug + Send + Sync {
    /// The descriptor, for the kernel's own reads: sendfile, splice, mmap. Never for writes.
    fn descriptor(&self) -> &File;

    /// To be called in front of a read that the kernel does on its own.
    fn before_kernel_read(&self, position: u64, bytes: usize) -> io::Result<()>;

    /// Reads exactly as many bytes as the buffer holds.
    fn read_exact_at(&self, buffer: &mut [u8], position: u64) -> io::Result<()>;

    /// Writes all parts one behind the other; answers how many system calls it took. After an error nobody knows how much is there.
    fn write_all_at(&self, parts: &mut [IoSlice], position: u64) -> io::Result<u64>;

    /// Cuts the file, or makes it longer with zeros.
    fn set_len(&self, bytes: u64) -> io::Result<()>;

    /// Reserves room on the device up to `bytes`, without a change of the length that readers see.
    fn preallocate(&self, bytes: u64) -> io::Result<()>;

    /// fdatasync(2): data, and what is needed to find it, reach the device.
    fn sync_data(&self) -> io::Result<()>;

    /// The length now.
    fn bytes(&self) -> io::Result<u64>;
}
