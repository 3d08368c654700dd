//! A partition's log: its segments in order, appends, reads, recovery.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use kafka_wire::BatchHeader;

use super::bounds::Bounds;
use super::group_commit::GroupCommit;
use super::open_files::OpenFiles;
use super::segment::Segment;
use super::{AppendError, Appended, FlushPolicy, Found, Log, LogError, ReadEnd, ReadError, io};
use crate::counters::{Counter, Counters};
use crate::storage::Storage;

/// How a log is written; topics may set some of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// A segment is rolled before it grows beyond this.
    pub segment_bytes: u64,
    /// Log bytes between index entries.
    pub index_interval_bytes: usize,
    /// When to flush.
    pub flush: FlushPolicy,
    /// Reserve the room of a segment when it is created.
    pub preallocate: bool,
}

impl Default for Limits {
    /// The broker's defaults.
    fn default() -> Self {
        Limits {
            segment_bytes: 1 << 30,
            index_interval_bytes: 4096,
            flush: FlushPolicy::Never,
            preallocate: false,
        }
    }
}

/// The log of one partition in a folder of its own.
#[derive(Debug)]
pub struct PartitionLog {
    files: Arc<OpenFiles>,
    dir: PathBuf,
    limits: Limits,
    leader_epoch: i32,
    segments: RwLock<Vec<Arc<Segment>>>,
    appender: Mutex<Appender>,
    bounds: Bounds,
    /// In offsets.
    commit: GroupCommit,
    offline: AtomicBool,
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
    pub fn open(files: &Arc<OpenFiles>, dir: &Path, limits: Limits, mode: OpenMode) -> Result<Self, LogError> {
        let (storage, counters) = (files.storage(), files.counters().clone());
        storage.create_dir(dir).map_err(io("create", dir))?;
        let mut bases = Vec::new();
        for name in storage.list(dir).map_err(io("list", dir))? {
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
            let segment = Segment::open(files, dir, base)?;
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
                discard(storage, dir, &bases[i + 1..])?;
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
            segments.push(Arc::new(create(files, dir, end_offset, limits)?));
        }
        let first = segments.first().map_or(0, |s| s.base_offset);
        Ok(PartitionLog {
            files: files.clone(),
            dir: dir.to_owned(),
            limits,
            leader_epoch: 0,
            segments: RwLock::new(segments),
            appender: Mutex::new(Appender { indexed_at: None }),
            bounds: Bounds::new(mode.start_offset.max(first), end_offset),
            commit: GroupCommit::new(if mode.clean { end_offset as u64 } else { 0 }),
            offline: AtomicBool::new(false),
            counters,
        })
    }

    fn roll(&self, active: &Segment, base_offset: i64) -> Result<Arc<Segment>, LogError> {
        active.write_index(&self.counters)?;
        active.flush(&self.counters)?;
        self.bounds
            .raise_high_watermark(base_offset, || active.file().publish(active.written()));
        let fresh = Arc::new(create(&self.files, &self.dir, base_offset, self.limits)?);
        self.segments
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .push(fresh.clone());
        tracing::info!(folder = %self.dir.display(), base_offset, "rolled a segment");
        Ok(fresh)
    }

    /// Flushes what was written when this began, lets readers see it, and answers how far that is.
    fn flush_written(&self) -> Result<u64, LogError> {
        let (active, written, end) = {
            let _appender = lock(&self.appender);
            let active = self.active();
            let written = active.written();
            (active, written, self.bounds.end())
        };
        // Rolling flushed all older segments.
        active.flush(&self.counters)?;
        self.bounds.raise_high_watermark(end, || active.file().publish(written));
        Ok(end as u64)
    }

    fn active(&self) -> Arc<Segment> {
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        segments.last().expect("a log always has an active segment").clone()
    }

    fn segments(&self) -> Vec<Arc<Segment>> {
        self.segments.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn segment_of(&self, offset: i64) -> Option<Arc<Segment>> {
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        let n = segments.partition_point(|s| s.base_offset <= offset);
        n.checked_sub(1).map(|i| segments[i].clone())
    }
}

impl Log for PartitionLog {
    fn bounds(&self) -> &Bounds {
        &self.bounds
    }

    fn leader_epoch(&self) -> i32 {
        self.leader_epoch
    }

    fn append(&self, header: &BatchHeader, batch: &[u8]) -> Result<Appended, AppendError> {
        let mut appender = lock(&self.appender);
        if self.offline.load(Ordering::Acquire) {
            return Err(AppendError::Offline);
        }
        let base_offset = self.bounds.end();
        let mut active = self.active();
        let relative_end = base_offset - active.base_offset + i64::from(header.records_count);
        let full = active.written() > 0 && active.written() + batch.len() as u64 > self.limits.segment_bytes;
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
        let position = active.written();
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
        let end = base_offset + i64::from(header.records_count);
        self.bounds.set_end(end);
        if self.limits.flush != FlushPolicy::Never {
            active.file().set_unflushed(true);
        }
        let durable_first = self.limits.flush == FlushPolicy::EveryBatch;
        if !durable_first {
            self.bounds
                .raise_high_watermark(end, || active.file().publish(active.written()));
        }
        drop(appender);
        Ok(Appended {
            base_offset,
            await_flush: durable_first.then_some(end as u64),
        })
    }

    fn await_flush(&self, until: u64) -> Result<(), AppendError> {
        let flushed = self.commit.wait(until, || self.flush_written());
        if flushed.is_err() {
            self.offline.store(true, Ordering::Release);
        }
        flushed
    }

    fn read(&self, offset: i64, bytes_max: usize, whole_first: bool) -> Result<Found, ReadError> {
        let (start, end) = (self.bounds.start(), self.bounds.high_watermark());
        let out_of_range = ReadError::OutOfRange { offset, start, end };
        if offset < start || offset > end {
            return Err(out_of_range);
        }
        if offset == end {
            return Ok(Found {
                slices: Vec::new(),
                end: ReadEnd::Log,
            });
        }
        let segment = self.segment_of(offset).ok_or(out_of_range)?;
        let slice = segment.read(offset, bytes_max, whole_first, &self.counters)?;
        let end = match slice.end() >= segment.bytes() {
            false => ReadEnd::Limit,
            true if self.active().base_offset == segment.base_offset => ReadEnd::Log,
            true => ReadEnd::Boundary,
        };
        let slices = if slice.bytes > 0 { vec![slice] } else { Vec::new() };
        Ok(Found { slices, end })
    }

    fn find_time(&self, timestamp_ms: i64) -> Result<Option<(i64, i64)>, LogError> {
        let start = self.bounds.start();
        for segment in self.segments() {
            if let Some(found) = segment.find_time(timestamp_ms, start, &self.counters)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    fn max_time(&self) -> Result<Option<(i64, i64)>, LogError> {
        let start = self.bounds.start();
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

    fn delete_before(&self, offset: i64) -> Result<i64, ReadError> {
        let _appender = lock(&self.appender);
        let (start, end) = (self.bounds.start(), self.bounds.high_watermark());
        if offset > end || offset < 0 {
            return Err(ReadError::OutOfRange { offset, start, end });
        }
        self.bounds.raise_start(offset);
        let gone: Vec<_> = {
            let mut segments = self.segments.write().unwrap_or_else(PoisonError::into_inner);
            let keep = segments.partition_point(|s| s.base_offset <= offset).saturating_sub(1);
            segments.drain(..keep).collect()
        };
        for segment in gone {
            segment.remove()?;
        }
        Ok(self.bounds.start())
    }

    /// The base of the active segment, as rolling flushes, or what was flushed since.
    fn recovery_point(&self) -> i64 {
        self.active().base_offset.max(self.commit.flushed() as i64)
    }

    fn flush(&self) -> Result<(), LogError> {
        self.active().write_index(&self.counters)?;
        match self.await_flush(self.bounds.end() as u64) {
            Err(AppendError::Log(error)) => Err(error),
            // It was told when it failed.
            Err(AppendError::Offline) | Ok(()) => Ok(()),
        }
    }

    fn remove(&self) -> Result<(), LogError> {
        self.offline.store(true, Ordering::Release);
        let removed = self.files.storage().remove_dir(&self.dir);
        removed.map_err(io("remove", &self.dir))
    }
}

/// A new active segment, whose name is on the device before anything in it can be acknowledged as flushed.
fn create(files: &Arc<OpenFiles>, dir: &Path, base_offset: i64, limits: Limits) -> Result<Segment, LogError> {
    let segment = Segment::create(files, dir, base_offset)?;
    if limits.preallocate {
        segment.preallocate(limits.segment_bytes)?;
    }
    if limits.flush != FlushPolicy::Never {
        files.storage().sync_dir(dir).map_err(io("flush", dir))?;
    }
    Ok(segment)
}

/// Segments behind a cut can't follow it any more; they are put aside and not deleted.
fn discard(storage: &Arc<dyn Storage>, dir: &Path, bases: &[i64]) -> Result<(), LogError> {
    for base in bases {
        let path = Segment::path_of(dir, *base);
        tracing::error!(segment = %path.display(), "put aside: it follows a damaged segment");
        storage
            .rename(&path, &path.with_extension("log.discarded"))
            .map_err(io("rename", &path))?;
    }
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
