//! A partition's log: its segments in order, appends, reads, recovery.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread::Thread;

use kafka_wire::BatchHeader;

use super::segment::{LogSlice, Segment};
use super::{LogError, io};
use crate::counters::{Counter, Counters};

/// Sizes that a topic may set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// A segment is rolled before it grows beyond this.
    pub segment_bytes: u64,
    /// Log bytes between index entries.
    pub index_interval_bytes: usize,
}

/// Why an append failed.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The file system's answer.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A write failed earlier; what is on disk is not known any more.
    #[error("the partition is offline after a failed write")]
    Offline,
}

/// Why a read failed.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Below the log's start or behind its end.
    #[error("offset {offset} is outside of [{start}, {end}]")]
    OutOfRange {
        /// Asked for.
        offset: i64,
        /// Log start offset.
        start: i64,
        /// High watermark.
        end: i64,
    },
    /// The file system's answer.
    #[error(transparent)]
    Log(#[from] LogError),
}

/// The log of one partition. Appends are serialised; reads go on beside them.
#[derive(Debug)]
pub struct PartitionLog {
    dir: PathBuf,
    limits: Limits,
    leader_epoch: i32,
    segments: RwLock<Vec<Arc<Segment>>>,
    appender: Mutex<Appender>,
    start_offset: AtomicI64,
    end_offset: AtomicI64,
    offline: AtomicBool,
    has_waiters: AtomicBool,
    waiters: Mutex<Vec<Thread>>,
    counters: Arc<Counters>,
}

#[derive(Debug)]
struct Appender {
    /// Position of the last index entry in the active segment.
    indexed_at: Option<u64>,
}

/// What opening a log has to know.
#[derive(Debug, Clone, Copy)]
pub struct OpenMode {
    /// The last shutdown was clean: nothing is scanned.
    pub clean: bool,
    /// Everything below was flushed to the device and is not scanned after a crash.
    pub recovery_point: i64,
    /// From the checkpoint; 0 when there is none.
    pub start_offset: i64,
}

impl PartitionLog {
    /// Opens or creates the log in `dir` and repairs what a crash left.
    ///
    /// # Errors
    /// The file system's; a damaged read-only segment; a hole between segments. A torn tail is cut off and logged.
    pub fn open(dir: &Path, limits: Limits, mode: OpenMode, counters: Arc<Counters>) -> Result<Self, LogError> {
        std::fs::create_dir_all(dir).map_err(io("create", dir))?;
        let mut bases = Vec::new();
        for entry in std::fs::read_dir(dir).map_err(io("list", dir))? {
            let name = entry.map_err(io("list", dir))?.file_name();
            let name = name.to_string_lossy();
            let digits = name
                .strip_suffix(".log")
                .filter(|d| d.len() == 20 && d.bytes().all(|b| b.is_ascii_digit()));
            if let Some(base) = digits.and_then(|d| d.parse::<i64>().ok()) {
                bases.push(base);
            } else if !name.ends_with(".index") && !name.ends_with(".discarded") {
                tracing::warn!(folder = %dir.display(), file = %name, "not a file of this log, left alone");
            }
        }
        bases.sort_unstable();
        let mut segments: Vec<Arc<Segment>> = Vec::new();
        let mut next_offset = bases.first().copied().unwrap_or(0);
        for (i, base) in bases.iter().copied().enumerate() {
            let segment = Segment::open(dir, base)?;
            if base != next_offset {
                return Err(LogError::Hole {
                    path: segment.path().to_owned(),
                    expected: next_offset,
                    found: base,
                });
            }
            let ends_at = bases.get(i + 1).copied();
            let flushed = ends_at.is_some_and(|end| end <= mode.recovery_point);
            let mut cut_bytes = 0;
            next_offset = match ends_at {
                Some(end) if mode.clean || flushed || segment.is_sealed() => end,
                None if mode.clean || segment.is_sealed() => segment.next_offset(&counters)?,
                _ => {
                    let scan = segment.recover(limits.index_interval_bytes, mode.recovery_point)?;
                    cut_bytes = scan.cut_bytes;
                    scan.next_offset
                }
            };
            segments.push(Arc::new(segment));
            if ends_at.is_some_and(|end| end != next_offset) && cut_bytes > 0 {
                discard(dir, &bases[i + 1..])?;
                break;
            }
        }
        let mut end_offset = next_offset;
        if end_offset < mode.start_offset {
            // A tail was lost, and everything in front of it had been deleted: the log goes on where it may be read.
            tracing::warn!(folder = %dir.display(), end_offset, start_offset = mode.start_offset, "the log begins anew");
            segments.drain(..).try_for_each(|segment| segment.remove())?;
            end_offset = mode.start_offset;
        }
        if segments.last().is_none_or(|s| s.is_sealed()) {
            segments.push(Arc::new(Segment::create(dir, end_offset)?));
        }
        let first = segments.first().map_or(0, |s| s.base_offset);
        Ok(PartitionLog {
            dir: dir.to_owned(),
            limits,
            leader_epoch: 0,
            segments: RwLock::new(segments),
            appender: Mutex::new(Appender { indexed_at: None }),
            start_offset: AtomicI64::new(mode.start_offset.max(first).min(end_offset)),
            end_offset: AtomicI64::new(end_offset),
            offline: AtomicBool::new(false),
            has_waiters: AtomicBool::new(false),
            waiters: Mutex::default(),
            counters,
        })
    }

    /// Offset of the first record that may be read.
    pub fn start_offset(&self) -> i64 {
        self.start_offset.load(Ordering::Acquire)
    }

    /// Offset behind the last record: with one replica the high watermark and the last stable offset too.
    pub fn end_offset(&self) -> i64 {
        self.end_offset.load(Ordering::Acquire)
    }

    /// The leader epoch that is stamped into batches.
    pub fn leader_epoch(&self) -> i32 {
        self.leader_epoch
    }

    /// Appends one batch that was checked already; answers its base offset.
    pub fn append(&self, header: &BatchHeader, batch: &[u8]) -> Result<i64, AppendError> {
        let mut appender = lock(&self.appender);
        if self.offline.load(Ordering::Acquire) {
            return Err(AppendError::Offline);
        }
        let base_offset = self.end_offset();
        let mut active = self.active();
        let relative_end = base_offset - active.base_offset + i64::from(header.records_count);
        let full = active.bytes() > 0 && active.bytes() + batch.len() as u64 > self.limits.segment_bytes;
        if full || relative_end > i64::from(i32::MAX) {
            active = self.roll(&active, base_offset).inspect_err(|_| {
                // A flush that failed may have dropped what it should have written.
                self.offline.store(true, Ordering::Release);
            })?;
            appender.indexed_at = None;
        }
        let mut prefix = [0u8; 16];
        prefix.copy_from_slice(&batch[..16]);
        prefix[..8].copy_from_slice(&base_offset.to_be_bytes());
        prefix[12..].copy_from_slice(&self.leader_epoch.to_be_bytes());
        let position = active.bytes();
        let index_it = appender
            .indexed_at
            .is_none_or(|at| position >= at + self.limits.index_interval_bytes as u64);
        if let Err(error) = active.append(&prefix, batch, base_offset, index_it, &self.counters) {
            // Whether the bytes are there is unknown: nothing may be acknowledged on top of them.
            self.offline.store(true, Ordering::Release);
            return Err(error.into());
        }
        if index_it {
            appender.indexed_at = Some(position);
        }
        self.counters.add(Counter::AppendBatches, 1);
        self.counters.add(Counter::AppendBytes, batch.len() as u64);
        // The end moves first, so that no reader sees records behind the high watermark.
        self.end_offset
            .store(base_offset + i64::from(header.records_count), Ordering::Release);
        active.publish(batch.len());
        drop(appender);
        self.wake();
        Ok(base_offset)
    }

    fn roll(&self, active: &Segment, base_offset: i64) -> Result<Arc<Segment>, LogError> {
        active.flush(&self.counters)?;
        let fresh = Arc::new(Segment::create(&self.dir, base_offset)?);
        self.segments
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .push(fresh.clone());
        tracing::info!(folder = %self.dir.display(), base_offset, "rolled a segment");
        Ok(fresh)
    }

    /// Everything below this offset is on the device: the base of the active segment, as rolling flushes.
    pub fn recovery_point(&self) -> i64 {
        self.active().base_offset
    }

    fn active(&self) -> Arc<Segment> {
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        segments.last().expect("a log always has an active segment").clone()
    }

    /// Whether appends go to this segment.
    pub fn is_active(&self, segment: &Segment) -> bool {
        self.recovery_point() == segment.base_offset
    }

    fn segments(&self) -> Vec<Arc<Segment>> {
        self.segments.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn segment_of(&self, offset: i64) -> Option<Arc<Segment>> {
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        let n = segments.partition_point(|s| s.base_offset <= offset);
        n.checked_sub(1).map(|i| segments[i].clone())
    }

    /// Batches from `offset` on, of one segment. `None` at the end of the log.
    ///
    /// # Errors
    /// [`ReadError::OutOfRange`] outside of the log.
    pub fn read(&self, offset: i64, bytes_max: usize, whole_first: bool) -> Result<Option<LogSlice>, ReadError> {
        let (start, end) = (self.start_offset(), self.end_offset());
        if offset < start || offset > end {
            return Err(ReadError::OutOfRange { offset, start, end });
        }
        if offset == end {
            return Ok(None);
        }
        match self.segment_of(offset) {
            Some(segment) => Ok(Some(segment.read(offset, bytes_max, whole_first, &self.counters)?)),
            None => Err(ReadError::OutOfRange { offset, start, end }),
        }
    }

    /// Offset and time of the first record at or after `timestamp_ms`.
    pub fn find_time(&self, timestamp_ms: i64) -> Result<Option<(i64, i64)>, LogError> {
        let start = self.start_offset();
        for segment in self.segments() {
            if let Some(found) = segment.find_time(timestamp_ms, start, &self.counters)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Offset and time of a record with the greatest timestamp.
    pub fn max_time(&self) -> Result<Option<(i64, i64)>, LogError> {
        let start = self.start_offset();
        let mut best: Option<(i64, i64)> = None;
        for segment in self.segments() {
            let found = segment.max_time(start, &self.counters)?;
            best = [best, found]
                .into_iter()
                .flatten()
                .reduce(|a, b| if b.1 > a.1 { b } else { a });
        }
        Ok(best)
    }

    /// DeleteRecords: moves the log's start up to `offset` and removes segments that are wholly below it.
    ///
    /// # Errors
    /// [`ReadError::OutOfRange`] behind the high watermark.
    pub fn delete_before(&self, offset: i64) -> Result<i64, ReadError> {
        let _appender = lock(&self.appender);
        let (start, end) = (self.start_offset(), self.end_offset());
        if offset > end || offset < 0 {
            return Err(ReadError::OutOfRange { offset, start, end });
        }
        self.start_offset.fetch_max(offset, Ordering::AcqRel);
        let gone: Vec<_> = {
            let mut segments = self.segments.write().unwrap_or_else(PoisonError::into_inner);
            let keep = segments.partition_point(|s| s.base_offset <= offset).saturating_sub(1);
            segments.drain(..keep).collect()
        };
        for segment in gone {
            segment.remove()?;
        }
        Ok(self.start_offset())
    }

    /// Asks to be unparked at the next append. Register, look again, then park.
    pub fn wait_for_append(&self, thread: Thread) {
        lock(&self.waiters).push(thread);
        self.has_waiters.store(true, Ordering::SeqCst);
    }

    /// Takes the registration back.
    pub fn forget(&self, thread: &Thread) {
        lock(&self.waiters).retain(|t| t.id() != thread.id());
    }

    fn wake(&self) {
        if self.has_waiters.swap(false, Ordering::SeqCst) {
            for thread in lock(&self.waiters).drain(..) {
                thread.unpark();
            }
        }
    }

    /// Flushes the active segment.
    pub fn flush(&self) -> Result<(), LogError> {
        self.active().flush(&self.counters)
    }

    /// Removes the folder and everything in it. Readers that still hold a segment can finish.
    pub fn remove(&self) -> Result<(), LogError> {
        self.offline.store(true, Ordering::Release);
        std::fs::remove_dir_all(&self.dir).map_err(io("remove", &self.dir))
    }
}

/// Segments behind a cut can't follow it any more; they are put aside and not deleted.
fn discard(dir: &Path, bases: &[i64]) -> Result<(), LogError> {
    for base in bases {
        let path = Segment::path_of(dir, *base);
        tracing::error!(segment = %path.display(), "put aside: it follows a damaged segment");
        std::fs::rename(&path, path.with_extension("log.discarded")).map_err(io("rename", &path))?;
    }
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
