//! One segment: a log file and its indexes, which are opened when they are used.

use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use kafka_wire::BatchHeader;

use super::file::LogFile;
use super::index::Place;
use super::indexes::Indexes;
use super::open_files::OpenFiles;
use super::state::{IndexState, SegmentState};
use super::{LogError, io};
use crate::counters::Counter;
use crate::storage::{Storage, StoredFile};

/// A segment of a partition log.
#[derive(Debug)]
pub struct Segment {
    /// Offset that names it; no record in it is below.
    pub base_offset: i64,
    pub(super) files: Arc<OpenFiles>,
    pub(super) file: Arc<LogFile>,
    pub(super) index_interval_bytes: usize,
    indexes: OnceLock<Indexes>,
    /// Held while the indexes are read.
    loading: Mutex<()>,
    /// What the last clean stop knew of the indexes.
    promised: Option<IndexState>,
    /// The log file is as that stop left it.
    is_unchanged: bool,
    /// Bytes that were appended; readers see fewer until the high watermark moves.
    pub(super) written: AtomicU64,
    /// Bytes that a flush of this process covered.
    flushed: AtomicU64,
    /// A file without write permission is never written, cut or appended to: runs link the same one many times.
    sealed: bool,
}

impl Segment {
    /// Where a segment lives.
    pub fn path_of(dir: &Path, base_offset: i64) -> PathBuf {
        dir.join(format!("{base_offset:020}.log"))
    }

    /// Creates an empty segment.
    pub fn create(
        files: &Arc<OpenFiles>,
        dir: &Path,
        base_offset: i64,
        index_interval_bytes: usize,
    ) -> Result<Self, LogError> {
        let path = Self::path_of(dir, base_offset);
        let handle = files.create(&path).map_err(io("create", &path))?;
        let indexes = Indexes::empty(files, &path, index_interval_bytes);
        indexes.places.remove()?;
        indexes.moments.remove()?;
        Ok(Segment {
            base_offset,
            files: files.clone(),
            file: Arc::new(LogFile::new(handle, 0)),
            index_interval_bytes,
            indexes: OnceLock::from(indexes),
            loading: Mutex::default(),
            promised: None,
            is_unchanged: false,
            written: AtomicU64::new(0),
            flushed: AtomicU64::new(0),
            sealed: false,
        })
    }

    /// A segment that exists; nothing of it is opened or read. `known` is what the last clean stop knew of it.
    pub fn open(
        files: &Arc<OpenFiles>,
        dir: &Path,
        base_offset: i64,
        index_interval_bytes: usize,
        known: Option<&SegmentState>,
    ) -> Result<Self, LogError> {
        let path = Self::path_of(dir, base_offset);
        let info = files.storage().info(&path).map_err(io("open", &path))?;
        Ok(Segment {
            base_offset,
            files: files.clone(),
            file: Arc::new(LogFile::new(files.handle(&path, !info.read_only), info.bytes)),
            index_interval_bytes,
            indexes: OnceLock::new(),
            loading: Mutex::default(),
            promised: known.and_then(|known| known.index),
            is_unchanged: known.is_some_and(|known| known.bytes == info.bytes),
            written: AtomicU64::new(info.bytes),
            flushed: AtomicU64::new(info.bytes),
            sealed: info.read_only,
        })
    }

    /// The indexes, read on first use; made again from the log when something of them is missing or wrong.
    pub(super) fn indexes(&self) -> Result<&Indexes, LogError> {
        if let Some(indexes) = self.indexes.get() {
            return Ok(indexes);
        }
        let _loading = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(indexes) = self.indexes.get() {
            return Ok(indexes);
        }
        let loaded = self.load_indexes()?;
        let indexes = match loaded {
            Some(indexes) => indexes,
            None => self.made_again()?,
        };
        Ok(self.indexes.get_or_init(|| indexes))
    }

    /// What the files hold, if it is whole and fits the log.
    pub(super) fn load_indexes(&self) -> Result<Option<Indexes>, LogError> {
        let indexes = Indexes::load(&self.files, self.path(), self.written(), self.index_interval_bytes)?;
        let state = indexes.state();
        let is_whole = self
            .promised
            .is_none_or(|promised| state.places >= promised.places && state.moments >= promised.moments)
            && (self.written() == 0 || state.places > 0 && state.moments > 0)
            && !indexes.places.is_damaged()
            && !indexes.moments.is_damaged();
        let fits = is_whole && self.fit(&indexes)?;
        if !fits {
            tracing::warn!(segment = %self.path().display(), "the indexes do not fit the log, they are made again");
        }
        Ok(fits.then_some(indexes))
    }

    /// Indexes that recovery made.
    pub(super) fn set_indexes(&self, indexes: Indexes) {
        let _ = self.indexes.set(indexes);
    }

    /// The file, as slices of it refer to it.
    pub fn file(&self) -> &Arc<LogFile> {
        &self.file
    }

    pub(super) fn stored(&self) -> Result<Arc<dyn StoredFile>, LogError> {
        self.file.open().map_err(io("open", self.path()))
    }

    pub(super) fn read_at(&self, buffer: &mut [u8], position: u64) -> Result<(), LogError> {
        let read = self.stored()?.read_exact_at(buffer, position);
        read.map_err(io("read", self.path()))
    }

    /// The log file's place.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Bytes that may be read.
    pub fn bytes(&self) -> u64 {
        self.file.bytes()
    }

    /// Bytes that were appended.
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }

    /// Whether the file is read-only.
    pub fn is_sealed(&self) -> bool {
        self.sealed
    }

    /// The latest timestamp in it; `None` when it is empty.
    pub fn latest_ms(&self) -> Result<Option<i64>, LogError> {
        match (self.indexes.get(), self.promised) {
            (None, Some(promised)) if self.is_unchanged => Ok(promised.latest_ms),
            _ => Ok(self.indexes()?.latest().map(|latest| latest.timestamp_ms)),
        }
    }

    /// What a clean stop writes down.
    pub fn state(&self) -> SegmentState {
        SegmentState {
            base_offset: self.base_offset,
            bytes: self.written(),
            index: match self.indexes.get() {
                Some(indexes) => Some(indexes.state()),
                None => self.promised.filter(|_| self.is_unchanged),
            },
        }
    }

    /// Writes a batch whose first 16 bytes are replaced by `stamped_prefix` behind what is there. Readers see it after [`LogFile::publish`].
    ///
    /// # Errors
    /// The file system's. Half a batch may be there, until [`Self::cut_unwritten`].
    pub fn append(
        &self,
        stamped_prefix: &[u8; 16],
        batch: &[u8],
        base_offset: i64,
        max_timestamp: i64,
    ) -> Result<(), LogError> {
        let position = self.written();
        let indexes = self.indexes()?;
        let stored = self.stored()?;
        let mut parts = [IoSlice::new(stamped_prefix), IoSlice::new(&batch[16..])];
        match stored.write_all_at(&mut parts, position) {
            Ok(calls) => self.files.counters().add(Counter::CallPwritev, calls),
            Err(source) => return Err(io("append to", self.path())(source)),
        }
        self.written.store(position + batch.len() as u64, Ordering::Release);
        let place = Place {
            relative_offset: (base_offset - self.base_offset) as u32,
            position: position as u32,
        };
        if let Err(error) = indexes.add(place, max_timestamp) {
            // The batch is there; its entry waits in memory.
            tracing::warn!(%error, "index entries are written later");
        }
        Ok(())
    }

    /// Cuts off what a write that failed has left.
    pub fn cut_unwritten(&self) -> Result<(), LogError> {
        let cut = self.stored()?.set_len(self.written());
        cut.map_err(io("truncate", self.path()))
    }

    /// Where in the segment a batch is.
    pub(super) fn place_of(&self, header: &BatchHeader, position: u64) -> Place {
        Place {
            relative_offset: header.base_offset.wrapping_sub(self.base_offset) as u32,
            position: position as u32,
        }
    }

    /// Reserves room for the log file.
    pub fn preallocate(&self, bytes: u64) -> Result<(), LogError> {
        self.stored()?
            .preallocate(bytes)
            .map_err(io("preallocate", self.path()))
    }

    /// Completes the indexes and writes them, if they were used at all; a sealed segment's stay as they are.
    pub fn complete_indexes(&self) -> Result<(), LogError> {
        match self.indexes.get() {
            Some(indexes) if !self.sealed => indexes.complete(),
            _ => Ok(()),
        }
    }

    /// Writes the index entries that wait.
    pub fn write_indexes(&self) -> Result<(), LogError> {
        match self.indexes.get() {
            Some(indexes) if !self.sealed => indexes.write(),
            _ => Ok(()),
        }
    }

    /// Writes the index entries that wait and flushes the files.
    pub fn sync_indexes(&self) -> Result<(), LogError> {
        match self.indexes.get() {
            Some(indexes) if !self.sealed => indexes.write().and_then(|()| indexes.sync()),
            _ => Ok(()),
        }
    }

    /// Flushes the log to the device.
    pub fn flush(&self) -> Result<(), LogError> {
        if self.sealed {
            return Ok(());
        }
        let counters = self.files.counters();
        counters.add(Counter::CallFdatasync, 1);
        let stored = self.stored()?;
        // In front of the flush, as an append during it is not covered.
        self.file.set_unflushed(false);
        let end = self.written();
        let flushed = stored.sync_data();
        flushed.map_err(io("flush", self.path()))?;
        let before = self.flushed.fetch_max(end, Ordering::AcqRel);
        counters.add(Counter::FlushedBytes, end.saturating_sub(before));
        Ok(())
    }

    /// Removes the files. Readers that still hold one can finish.
    pub fn remove(&self) -> Result<(), LogError> {
        if Arc::strong_count(&self.file) > 1 {
            self.file.keep().map_err(io("open", self.path()))?;
        }
        Self::remove_files(self.files.storage(), self.path())
    }

    /// Removes the files of the segment whose log is at `path`.
    pub fn remove_files(storage: &Arc<dyn Storage>, path: &Path) -> Result<(), LogError> {
        storage.remove_file(path).map_err(io("remove", path))?;
        for extension in ["index", "timeindex"] {
            let path = path.with_extension(extension);
            match storage.remove_file(&path) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(io("remove", path)(e)),
                _ => {}
            }
        }
        Ok(())
    }
}
