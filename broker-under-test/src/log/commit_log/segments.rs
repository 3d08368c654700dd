//! The files of the shared log.

use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use super::super::{FlushPolicy, Limits, LogError, LogFile, LogSlice, OpenFiles, io};
use super::entry::Place;
use crate::counters::{Counter, Counters};

/// One file of the shared log.
#[derive(Debug)]
pub(super) struct Segment {
    /// Position of its first byte.
    pub base: u64,
    pub file: Arc<LogFile>,
    /// A file without write permission is never written or cut: runs link the same one many times.
    pub sealed: bool,
    /// Greatest timestamp of a batch in it.
    pub time_max: AtomicI64,
    /// Bytes of it that are on the device.
    flushed: AtomicU64,
}

impl Segment {
    pub fn path_of(dir: &Path, base: u64) -> PathBuf {
        dir.join(format!("{base:020}.log"))
    }

    /// A segment that exists, not opened yet. Of what was flushed before, only the first `flushed` bytes are known.
    pub fn existing(files: &Arc<OpenFiles>, dir: &Path, base: u64, bytes: u64, sealed: bool, flushed: u64) -> Self {
        Segment {
            base,
            file: Arc::new(LogFile::new(files.handle(&Self::path_of(dir, base), !sealed), bytes)),
            sealed,
            time_max: AtomicI64::new(i64::MIN),
            flushed: AtomicU64::new(flushed),
        }
    }

    /// An empty segment, whose name is on the device before anything in it can be.
    pub fn create(files: &Arc<OpenFiles>, dir: &Path, base: u64, limits: Limits) -> Result<Self, LogError> {
        let path = Self::path_of(dir, base);
        let handle = files.create(&path).map_err(io("create", &path))?;
        if limits.preallocate {
            let reserved = handle.open().and_then(|file| file.preallocate(limits.segment_bytes));
            reserved.map_err(io("preallocate", &path))?;
        }
        files.storage().sync_dir(dir).map_err(io("flush", dir))?;
        Ok(Segment {
            base,
            file: Arc::new(LogFile::new(handle, 0)),
            sealed: false,
            time_max: AtomicI64::new(i64::MIN),
            flushed: AtomicU64::new(0),
        })
    }

    pub fn path(&self) -> &Path {
        self.file.path()
    }

    pub fn bytes(&self) -> u64 {
        self.file.bytes()
    }

    /// Position behind its last byte.
    pub fn end(&self) -> u64 {
        self.base + self.bytes()
    }

    /// Writes behind what is there; readers see it after it is published.
    ///
    /// # Errors
    /// The file system's. Half a frame may be there, until [`Self::cut_unwritten`].
    pub fn append(&self, parts: &mut [IoSlice], policy: FlushPolicy, counters: &Counters) -> Result<(), LogError> {
        let end = self.bytes();
        let stored = self.file.open().map_err(io("open", self.path()))?;
        match stored.write_all_at(parts, end) {
            Ok(calls) => counters.add(Counter::CallPwritev, calls),
            Err(source) => return Err(io("append to", self.path())(source)),
        }
        if policy != FlushPolicy::Never {
            self.file.set_unflushed(true);
        }
        Ok(())
    }

    /// Cuts off what a write that failed has left.
    pub fn cut_unwritten(&self) -> Result<(), LogError> {
        let cut = self.file.open().and_then(|file| file.set_len(self.bytes()));
        cut.map_err(io("truncate", self.path()))
    }

    pub fn read_at(&self, buffer: &mut [u8], position: u64) -> Result<(), LogError> {
        let read = self
            .file
            .open()
            .and_then(|file| file.read_exact_at(buffer, position - self.base));
        read.map_err(io("read", self.path()))
    }

    /// Cuts the file behind `position`, durably: what was cut off must not come back behind what is appended then.
    pub fn cut(&self, position: u64, counters: &Counters) -> Result<(), LogError> {
        let bytes = position - self.base;
        let cut = self.file.open().and_then(|file| file.set_len(bytes));
        cut.map_err(io("truncate", self.path()))?;
        self.file.set_bytes(bytes);
        self.flush(counters)
    }

    pub fn is_flushed(&self) -> bool {
        self.sealed || self.flushed.load(Ordering::Acquire) >= self.bytes()
    }

    /// Flushes what is in it now.
    pub fn flush(&self, counters: &Counters) -> Result<(), LogError> {
        let stored = self.file.open().map_err(io("open", self.path()))?;
        // In front of the flush, as an append during it is not covered.
        self.file.set_unflushed(false);
        let bytes = self.bytes();
        counters.add(Counter::CallFdatasync, 1);
        stored.sync_data().map_err(io("flush", self.path()))?;
        let before = self.flushed.fetch_max(bytes, Ordering::AcqRel);
        counters.add(Counter::FlushedBytes, bytes.saturating_sub(before));
        Ok(())
    }
}

/// All of them, in the order of their positions. There is one at least, which appends go to.
#[derive(Debug)]
pub(super) struct Segments(RwLock<Vec<Arc<Segment>>>);

impl Segments {
    pub fn new(segments: Vec<Arc<Segment>>) -> Self {
        Segments(RwLock::new(segments))
    }

    pub fn all(&self) -> Vec<Arc<Segment>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn active(&self) -> Arc<Segment> {
        let segments = self.0.read().unwrap_or_else(PoisonError::into_inner);
        segments.last().expect("the log always has an active segment").clone()
    }

    pub fn push(&self, segment: Arc<Segment>) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).push(segment);
    }

    /// Takes out those in front of `position`.
    pub fn drain_before(&self, position: u64) -> Vec<Arc<Segment>> {
        let mut segments = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let keep = segments.partition_point(|s| s.base < position);
        segments.drain(..keep).collect()
    }

    /// The bytes of a batch; `None` when they are not in the log (any more).
    pub fn slice(&self, place: &Place) -> Option<LogSlice> {
        let segments = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let n = segments.partition_point(|s| s.base <= place.position);
        let segment = &segments[n.checked_sub(1)?];
        let end = place.position.checked_add(u64::from(place.bytes))?;
        (end <= segment.end()).then(|| LogSlice {
            file: segment.file.clone(),
            position: place.position - segment.base,
            bytes: place.bytes as usize,
        })
    }
}
