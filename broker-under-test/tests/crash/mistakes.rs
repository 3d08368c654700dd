//! Mistakes that a broker could make, each one step left out: the crash points must find them, or they are worth nothing.

use std::io;
use std::path::Path;
use std::sync::Arc;

use broker_under_test::storage::{FaultyDisk, FileInfo, Storage, StoredFile};

/// A step that is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mistake {
    /// Logs are never flushed: what is acknowledged is in memory only.
    ForgetFlush,
    /// Folders are never flushed: a file's bytes are there and its name is not.
    ForgetFolderFlush,
    /// A flush that failed is tried again, and the second answer is believed.
    RetryFlush,
    /// After a power cut the lengths and the indexes are believed without a look at the log, as after a clean stop.
    SkipRecovery,
    /// Small files are written where they are, without a flush and a rename.
    WriteInPlace,
    /// What a pass of compaction wrote is renamed into its place without a flush.
    ForgetCleanedFlush,
}

impl Mistake {
    pub const ALL: [Mistake; 6] = [
        Mistake::ForgetFlush,
        Mistake::ForgetFolderFlush,
        Mistake::RetryFlush,
        Mistake::SkipRecovery,
        Mistake::WriteInPlace,
        Mistake::ForgetCleanedFlush,
    ];
}

/// The storage of a broker that makes a mistake.
#[derive(Debug)]
pub struct Mistaken {
    disk: FaultyDisk,
    mistake: Mistake,
}

impl Mistaken {
    pub fn new(disk: FaultyDisk, mistake: Mistake) -> Self {
        Mistaken { disk, mistake }
    }

    fn file(&self, path: &Path, inner: Arc<dyn StoredFile>) -> Arc<dyn StoredFile> {
        let forgotten = match self.mistake {
            Mistake::ForgetFlush => Some("log"),
            Mistake::ForgetCleanedFlush => Some("cleaned"),
            _ => None,
        };
        Arc::new(MistakenFile {
            inner,
            retries_flushes: self.mistake == Mistake::RetryFlush,
            never_flushes: forgotten.is_some_and(|end| path.extension().is_some_and(|e| e == end)),
        })
    }
}

impl Storage for Mistaken {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn StoredFile>> {
        Ok(self.file(path, self.disk.create(path)?))
    }

    fn open(&self, path: &Path, write: bool) -> io::Result<Arc<dyn StoredFile>> {
        Ok(self.file(path, self.disk.open(path, write)?))
    }

    fn info(&self, path: &Path) -> io::Result<FileInfo> {
        self.disk.info(path)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.disk.read(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.disk.list(dir)
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.create_dir(dir)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.disk.remove_file(path)
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.remove_dir(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        match self.mistake {
            Mistake::ForgetFolderFlush => Ok(()),
            _ => self.disk.sync_dir(dir),
        }
    }

    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        match self.mistake {
            Mistake::WriteInPlace => {
                let file = self.disk.create(path)?;
                file.write_all_at(&mut [io::IoSlice::new(bytes)], 0).map(drop)
            }
            Mistake::ForgetFolderFlush => {
                let temporary = path.with_extension("tmp");
                let file = self.disk.create(&temporary)?;
                file.write_all_at(&mut [io::IoSlice::new(bytes)], 0)?;
                file.sync_data()?;
                self.disk.rename(&temporary, path)
            }
            _ => self.disk.replace(path, bytes),
        }
    }
}

#[derive(Debug)]
struct MistakenFile {
    inner: Arc<dyn StoredFile>,
    retries_flushes: bool,
    never_flushes: bool,
}

impl StoredFile for MistakenFile {
    fn descriptor(&self) -> &std::fs::File {
        self.inner.descriptor()
    }

    fn before_kernel_read(&self, position: u64, bytes: usize) -> io::Result<()> {
        self.inner.before_kernel_read(position, bytes)
    }

    fn read_exact_at(&self, buffer: &mut [u8], position: u64) -> io::Result<()> {
        self.inner.read_exact_at(buffer, position)
    }

    fn write_all_at(&self, parts: &mut [io::IoSlice], position: u64) -> io::Result<u64> {
        self.inner.write_all_at(parts, position)
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.inner.set_len(bytes)
    }

    fn preallocate(&self, bytes: u64) -> io::Result<()> {
        self.inner.preallocate(bytes)
    }

    fn sync_data(&self) -> io::Result<()> {
        if self.never_flushes {
            return Ok(());
        }
        match self.inner.sync_data() {
            Err(_) if self.retries_flushes => self.inner.sync_data(),
            result => result,
        }
    }

    fn bytes(&self) -> io::Result<u64> {
        self.inner.bytes()
    }
}
