//! A partition's log: its segments in order, appends, reads, recovery.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use kafka_wire::BatchHeader;

use super::bounds::Bounds;
use super::compaction::Compaction;
use super::group_commit::GroupCommit;
use super::open_files::OpenFiles;
use super::producers::{self, Producers};
use super::segment::Segment;
use super::state::LogState;
use super::{AppendError, Appended, FlushPolicy, Found, Log, LogError, ReadEnd, ReadError, io, open};
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
    /// How long records are kept behind their time; `None` is for ever.
    pub retention_ms: Option<i64>,
    /// How many bytes of the log are kept; `None` is all of them.
    pub retention_bytes: Option<u64>,
    /// Whether and how it is compacted.
    pub compaction: Option<Compaction>,
    /// Idempotent producers that are known of a partition at most.
    pub producers_max: usize,
}

impl Default for Limits {
    /// The broker's defaults.
    fn default() -> Self {
        Limits {
            segment_bytes: 1 << 30,
            index_interval_bytes: 4096,
            flush: FlushPolicy::Never,
            preallocate: false,
            retention_ms: None,
            retention_bytes: None,
            compaction: None,
            producers_max: 1000,
        }
    }
}

/// The log of one partition in a folder of its own.
#[derive(Debug)]
pub struct PartitionLog {
    pub(super) files: Arc<OpenFiles>,
    pub(super) dir: PathBuf,
    pub(super) limits: Limits,
    leader_epoch: i32,
    pub(super) segments: RwLock<Vec<Arc<Segment>>>,
    /// Held while something is appended or removed.
    pub(super) appender: Mutex<Appender>,
    pub(super) bounds: Bounds,
    /// In offsets.
    commit: GroupCommit,
    /// Up to this offset the indexes are on the device, or promised by the last clean stop.
    indexes_synced: Mutex<i64>,
    pub(super) offline: AtomicBool,
    /// Held while a snapshot of the producers is written.
    pub(super) saving: Mutex<()>,
    /// Segments up to the one of this base offset have names that are on the device.
    named_until: AtomicI64,
    counters: Arc<Counters>,
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

#[derive(Debug)]
pub(super) struct Appender {
    /// A roll began and was not finished: the active segment takes nothing more.
    must_roll: bool,
    pub(super) producers: Producers,
    /// Base offset of the first batch of an idempotent producer that no snapshot tells of; a recovery has to begin there.
    pub(super) unsaved_from: Option<i64>,
}

impl PartitionLog {
    /// Opens or creates the log in `dir`. After a clean stop `state` tells what is there, and nothing is opened; otherwise what a crash left is
    /// repaired.
    ///
    /// # Errors
    /// The file system's; a damaged read-only segment; a hole between segments. A torn tail is cut off and logged.
    pub fn open(
        files: &Arc<OpenFiles>,
        dir: &Path,
        limits: Limits,
        mode: OpenMode,
        state: Option<&LogState>,
    ) -> Result<Self, LogError> {
        let known = match state.filter(|_| mode.clean) {
            Some(state) => open::by_state(files, dir, limits, state)?,
            None => None,
        };
        let opened = match known {
            Some(opened) => opened,
            None => open::by_files(files, dir, limits, mode, state)?,
        };
        let first = opened.segments.first().map_or(0, |s| s.base_offset);
        let flushed = if mode.clean { opened.end_offset } else { 0 };
        let end_offset = opened.end_offset;
        let log = PartitionLog {
            files: files.clone(),
            dir: dir.to_owned(),
            limits,
            leader_epoch: 0,
            segments: RwLock::new(opened.segments),
            appender: Mutex::new(Appender {
                must_roll: false,
                producers: opened.replay.producers,
                unsaved_from: opened.replay.first_unsaved,
            }),
            saving: Mutex::default(),
            bounds: Bounds::new(mode.start_offset.max(first), opened.end_offset),
            commit: GroupCommit::new(flushed as u64),
            indexes_synced: Mutex::new(flushed),
            offline: AtomicBool::new(false),
            named_until: AtomicI64::new(-1),
            counters: files.counters().clone(),
        };
        if limits.flush == FlushPolicy::EveryBatch && !mode.clean && end_offset > mode.recovery_point {
            // A process that was killed leaves bytes in memory that no flush covered, and readers are about to see them.
            log.flush()?;
        }
        Ok(log)
    }

    /// Removes the log that is, or was left, in `dir`, if there is one.
    pub fn remove_in(storage: &dyn Storage, dir: &Path) -> Result<(), LogError> {
        producers::forget(storage, dir)?;
        match storage.remove_dir(dir) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(io("remove", dir)(e)),
            _ => Ok(()),
        }
    }

    /// Closes the active segment and begins the next one. It can be tried again after an error, unless a flush failed.
    pub(super) fn roll(
        &self,
        appender: &mut Appender,
        active: &Segment,
        base_offset: i64,
    ) -> Result<Arc<Segment>, LogError> {
        active.complete_indexes()?;
        self.or_offline(active.flush().and_then(|()| active.sync_indexes()))?;
        // The first segment's name, before that of the next one can outlive it and pass for where the log begins.
        self.or_offline(self.flush_name_of(active))?;
        self.save_producers_at(appender, base_offset);
        // A file of the next one's name may be there from now on, so that nothing more may be added to this one.
        appender.must_roll = true;
        let fresh = Arc::new(open::create(&self.files, &self.dir, base_offset, self.limits)?);
        // Names of the indexes and of the new segment; without the latter, bytes in it could be flushed and lost.
        self.or_offline(self.flush_names(base_offset))?;
        self.bounds
            .raise_high_watermark(base_offset, || active.file().publish(active.written()));
        self.segments
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .push(fresh.clone());
        appender.must_roll = false;
        tracing::info!(folder = %self.dir.display(), base_offset, "rolled a segment");
        Ok(fresh)
    }

    /// After a flush that failed, nobody knows what is on the device, and no second flush would tell.
    fn or_offline(&self, flushed: Result<(), LogError>) -> Result<(), LogError> {
        flushed.inspect_err(|_| self.offline.store(true, Ordering::Release))
    }

    fn flush_name_of(&self, segment: &Segment) -> Result<(), LogError> {
        match self.named_until.load(Ordering::Acquire) < segment.base_offset {
            true => self.flush_names(segment.base_offset),
            false => Ok(()),
        }
    }

    fn flush_names(&self, until: i64) -> Result<(), LogError> {
        let flushed = self.files.storage().sync_dir(&self.dir);
        flushed.map_err(io("flush", &self.dir))?;
        self.named_until.fetch_max(until, Ordering::AcqRel);
        Ok(())
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
        active.flush()?;
        // The first flush is worth nothing without a name that leads to the bytes.
        self.flush_name_of(&active)?;
        self.bounds.raise_high_watermark(end, || active.file().publish(written));
        Ok(end as u64)
    }

    pub(super) fn active(&self) -> Arc<Segment> {
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        segments.last().expect("a log always has an active segment").clone()
    }

    pub(super) fn segments(&self) -> Vec<Arc<Segment>> {
        self.segments.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn segment_behind(&self, segment: &Segment) -> Option<Arc<Segment>> {
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        let n = segments.partition_point(|s| s.base_offset <= segment.base_offset);
        segments.get(n).cloned()
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
        if header.has_producer()
            && let Some(original) = appender.producers.check(header)?
        {
            return Ok(self.repeated(&original));
        }
        let base_offset = self.bounds.end();
        let mut active = self.active();
        let relative_end = base_offset - active.base_offset + i64::from(header.records_count);
        let full = appender.must_roll
            || active.is_sealed()
            || active.written() > 0 && active.written() + batch.len() as u64 > self.limits.segment_bytes;
        if full || relative_end > i64::from(i32::MAX) {
            active = self.roll(&mut appender, &active, base_offset)?;
        }
        let mut prefix = [0u8; 16];
        prefix.copy_from_slice(&batch[..16]);
        prefix[..8].copy_from_slice(&base_offset.to_be_bytes());
        prefix[12..].copy_from_slice(&self.leader_epoch.to_be_bytes());
        if let Err(error) = active.append(&prefix, batch, base_offset, header.max_timestamp) {
            // Nothing was acknowledged on top: with the rest of it cut off, the next append may go on, when there is room again for example.
            self.or_offline(active.cut_unwritten())?;
            return Err(error.into());
        }
        self.counters.add(Counter::AppendBatches, 1);
        self.counters.add(Counter::AppendBytes, batch.len() as u64);
        let end = base_offset + i64::from(header.records_count);
        self.bounds.set_end(end);
        if header.has_producer() {
            appender.producers.record(header, base_offset);
            appender.unsaved_from.get_or_insert(base_offset);
        }
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
            repeats_ms: None,
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
        let mut segment = self.segment_of(offset).ok_or(out_of_range)?;
        let (slice, is_active) = loop {
            let slice = match segment.read(offset, bytes_max, whole_first) {
                // It was removed meanwhile.
                Err(_) if offset < self.bounds.start() => {
                    let start = self.bounds.start();
                    return Err(ReadError::OutOfRange { offset, start, end });
                }
                slice => slice?,
            };
            let next = self.segment_behind(&segment);
            match next {
                // The offsets at the end of this one are gone.
                Some(next) if slice.position >= segment.bytes() => segment = next,
                next => break (slice, next.is_none()),
            }
        };
        let end = match slice.end() >= segment.bytes() {
            false => ReadEnd::Limit,
            true if is_active => ReadEnd::Log,
            true => ReadEnd::Boundary,
        };
        let slices = if slice.bytes > 0 { vec![slice] } else { Vec::new() };
        Ok(Found { slices, end })
    }

    fn find_time(&self, timestamp_ms: i64) -> Result<Option<(i64, i64)>, LogError> {
        let start = self.bounds.start();
        for segment in self.segments() {
            if let Some(found) = segment.find_time(timestamp_ms, start)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    fn max_time(&self) -> Result<Option<(i64, i64)>, LogError> {
        let start = self.bounds.start();
        let mut best: Option<(i64, i64)> = None;
        for segment in self.segments() {
            let latest = segment.latest_ms()?;
            if latest.is_some_and(|latest| best.is_none_or(|(_, ms)| latest > ms)) {
                let found = segment.max_time(start)?;
                best = found.filter(|(_, ms)| best.is_none_or(|(_, b)| *ms > b)).or(best);
            }
        }
        Ok(best)
    }

    fn delete_before(&self, offset: i64) -> Result<i64, ReadError> {
        let (start, end) = (self.bounds.start(), self.bounds.high_watermark());
        if offset > end || offset < 0 {
            return Err(ReadError::OutOfRange { offset, start, end });
        }
        self.bounds.raise_start(offset);
        Ok(self.bounds.start())
    }

    fn remove_deleted(&self) -> Result<(), LogError> {
        let _appender = lock(&self.appender);
        let start = self.bounds.start();
        let gone: Vec<_> = {
            let mut segments = self.segments.write().unwrap_or_else(PoisonError::into_inner);
            let keep = segments.partition_point(|s| s.base_offset <= start).saturating_sub(1);
            segments.drain(..keep).collect()
        };
        gone.iter().try_for_each(|segment| segment.remove())
    }

    fn retain(&self, now_ms: i64) -> Result<bool, LogError> {
        self.retain_at(now_ms)
    }

    fn compact(&self, dirty_from: i64, now_ms: i64) -> Result<Option<i64>, LogError> {
        self.compact_at(dirty_from, now_ms)
    }

    /// The base of the active segment, as rolling flushes, or what was flushed since; but nothing that no snapshot of the producers tells of.
    fn recovery_point(&self) -> i64 {
        let flushed = self.commit.flushed() as i64;
        let active = self.active();
        let mut synced = lock(&self.indexes_synced);
        if flushed > active.base_offset.max(*synced) && !self.offline.load(Ordering::Acquire) {
            // A write that failed may be tried again, a flush never: entries that it lost would be believed below a later recovery point.
            let written = active.write_indexes();
            match written.and_then(|()| self.or_offline(active.sync_indexes())) {
                Ok(()) => *synced = flushed,
                Err(error) => tracing::error!(%error, "the recovery point stays where it is"),
            }
        }
        let point = active.base_offset.max(*synced);
        // Looked at last: whatever lies in front of the point was recorded by now.
        let unsaved_from = lock(&self.appender).unsaved_from;
        unsaved_from.map_or(point, |unsaved| unsaved.min(point))
    }

    fn flush(&self) -> Result<(), LogError> {
        let flushed = match self.offline.load(Ordering::Acquire) {
            true => Err(AppendError::Offline),
            false => self.await_flush(self.bounds.end() as u64),
        };
        flushed.map_err(|error| error.of_flush(&self.dir))
    }

    fn save_producers(&self) -> Result<(), LogError> {
        self.save_unsaved_producers()
    }

    fn expire_producers(&self, now_ms: i64, expiration_ms: i64) -> usize {
        lock(&self.appender).producers.expire(now_ms, expiration_ms)
    }

    fn producers(&self) -> usize {
        lock(&self.appender).producers.len()
    }

    fn state(&self) -> Result<Option<LogState>, LogError> {
        if self.offline.load(Ordering::Acquire) {
            return Ok(None);
        }
        let segments = self.segments();
        if let Some(active) = segments.last() {
            active.complete_indexes()?;
        }
        Ok(Some(LogState {
            end_offset: self.bounds.end(),
            segments: segments.iter().map(|segment| segment.state()).collect(),
            producers: self.producers(),
        }))
    }

    fn remove(&self) -> Result<(), LogError> {
        self.offline.store(true, Ordering::Release);
        let _no_other = lock(&self.saving);
        Self::remove_in(self.files.storage().as_ref(), &self.dir)
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
