//! A log file of either layout: what readers may see of it, and how the fetch paths reach it.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use memmap2::Mmap;

use super::open_files::FileHandle;
use crate::counters::{Counter, Counters};
use crate::storage::StoredFile;

/// A file of whole record batches. It grows at its end and is never overwritten.
#[derive(Debug)]
pub struct LogFile {
    /// Its own in this process, so that what is kept of one file is never taken for another's of the same name.
    number: u64,
    handle: FileHandle,
    /// Bytes that readers may see; always the end of a batch.
    bytes: AtomicU64,
    map: Mutex<Option<Arc<Mmap>>>,
    /// Open for good, as its name is about to go.
    kept: OnceLock<Arc<dyn StoredFile>>,
}

/// A run of bytes of one log file.
#[derive(Debug, Clone)]
pub struct LogSlice {
    /// The file.
    pub file: Arc<LogFile>,
    /// Where it begins.
    pub position: u64,
    /// How long it is.
    pub bytes: usize,
}

impl LogFile {
    /// For a file of which readers may see `bytes`.
    pub fn new(handle: FileHandle, bytes: u64) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        LogFile {
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            handle,
            bytes: AtomicU64::new(bytes),
            map: Mutex::default(),
            kept: OnceLock::new(),
        }
    }

    /// A number that no other log file of this process has.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Its place.
    pub fn path(&self) -> &Path {
        self.handle.path()
    }

    /// The open file, opened if it is not. Holding it keeps the descriptor alive.
    pub fn open(&self) -> std::io::Result<Arc<dyn StoredFile>> {
        match self.kept.get() {
            Some(kept) => Ok(kept.clone()),
            None => self.handle.open(),
        }
    }

    /// Keeps it open for those who still read it when its name is gone.
    pub fn keep(&self) -> std::io::Result<()> {
        let file = self.open()?;
        let _ = self.kept.set(file);
        Ok(())
    }

    /// Whether it has bytes that the flush policy still has to flush: it is closed after others then.
    pub fn set_unflushed(&self, unflushed: bool) {
        self.handle.set_unflushed(unflushed);
    }

    /// Bytes that may be read.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Acquire)
    }

    /// Lets readers see all up to `bytes`; it never goes back.
    pub fn publish(&self, bytes: u64) {
        self.bytes.fetch_max(bytes, Ordering::AcqRel);
    }

    /// Recovery found that the file ends here.
    pub fn set_bytes(&self, bytes: u64) {
        self.bytes.store(bytes, Ordering::Release);
    }

    /// A shared mapping that covers at least `bytes`; made once for a file that no longer grows.
    ///
    /// Files are never cut below what a reader may map: recovery, which cuts, is over before the first fetch, and a
    /// failed append cuts behind [`Self::bytes`].
    pub fn mapped(&self, bytes: u64, counters: &Counters) -> std::io::Result<Arc<Mmap>> {
        let mut slot = self.map.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(map) = slot.as_ref().filter(|m| m.len() as u64 >= bytes) {
            return Ok(map.clone());
        }
        counters.add(Counter::CallMmap, 1);
        let stored = self.open()?;
        // SAFETY: the file is only appended to behind the mapped range (see above), and no other process writes to it:
        // the data folder is locked by this broker.
        let map = unsafe {
            memmap2::MmapOptions::new()
                .len(self.bytes() as usize)
                .map(stored.descriptor())?
        };
        let map = Arc::new(map);
        *slot = Some(map.clone());
        Ok(map)
    }
}

impl LogSlice {
    /// Where it ends in its file.
    pub fn end(&self) -> u64 {
        self.position + self.bytes as u64
    }

    /// Reads the slice into memory; for tests and tools, not for the fetch paths.
    pub fn to_vec(&self) -> std::io::Result<Vec<u8>> {
        let mut out = vec![0; self.bytes];
        self.file.open()?.read_exact_at(&mut out, self.position)?;
        Ok(out)
    }
}
