//! Retention: whole segments of the shared log go, the oldest first, and partitions begin with what is left.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::super::{LogError, io};
use super::segments::Segment;
use super::shared::{CommitLog, lock};

impl CommitLog {
    /// Removes segments: those whose latest record is older than `age_ms_max`, and the oldest ones as long as `bytes_max` are left; -1 is no limit. The
    /// active one goes only when all are too old, and is rolled then. Answers how many went.
    ///
    /// Where partitions begin then is in the checkpoint before anything is removed. Topics must not come or go meanwhile.
    pub fn retain(&self, now_ms: i64, age_ms_max: i64, bytes_max: i64) -> Result<usize, LogError> {
        let _one = lock(&self.checkpointing);
        let too_old = |s: &Segment| {
            age_ms_max >= 0 && s.bytes() > 0 && now_ms.saturating_sub(s.time_max.load(Ordering::Relaxed)) > age_ms_max
        };
        let segments = self.segments.all();
        if segments.iter().all(|s| too_old(s)) {
            let mut appender = lock(&self.appender);
            // An append may have come in between.
            if self.segments.all().iter().all(|s| too_old(s)) {
                self.roll(&mut appender)?;
            }
        }
        let mut bytes: u64 = segments.iter().map(|s| s.bytes()).sum();
        let active = self.segments.active();
        let mut kept_from = segments.first().map_or(0, |s| s.base);
        let mut count = 0;
        for segment in segments.iter().filter(|s| s.base != active.base) {
            let too_many = bytes_max >= 0 && bytes.saturating_sub(segment.bytes()) >= bytes_max as u64;
            if !too_old(segment) && !too_many {
                break;
            }
            bytes -= segment.bytes();
            kept_from = segment.end();
            count += 1;
        }
        if count == 0 {
            return Ok(0);
        }
        self.begin_at(kept_from)?;
        let gone = self.segments.drain_before(kept_from);
        self.checkpoint_locked()?;
        for Segment { base, file, .. } in gone.iter().map(Arc::as_ref) {
            tracing::info!(segment = %file.path().display(), position = base, "removed by retention");
            if Arc::strong_count(file) > 1 {
                // Readers that hold it can finish.
                file.keep().map_err(io("open", file.path()))?;
            }
            let removed = self.files.storage().remove_file(file.path());
            removed.map_err(io("remove", file.path()))?;
        }
        let flushed = self.files.storage().sync_dir(&self.dir);
        flushed.map_err(io("flush", &self.dir))?;
        Ok(count)
    }

    /// Moves the start of every partition up to its first batch at or behind `position`.
    fn begin_at(&self, position: u64) -> Result<(), LogError> {
        // Readers must have seen what they may no longer see.
        self.flush_until(position)?;
        for partition in self.all_partitions() {
            let (number, offset) = partition.queue.first_at(position)?;
            let first_offset = match offset {
                Some(offset) => offset,
                None => {
                    // Unless a batch came in between.
                    let appender = lock(&self.appender);
                    let (number, offset) = partition.queue.first_at(position)?;
                    let first_offset = offset.unwrap_or_else(|| partition.bounds.end());
                    partition.queue.forget_before(number, first_offset)?;
                    drop(appender);
                    first_offset
                }
            };
            if offset.is_some() {
                partition.queue.forget_before(number, first_offset)?;
            }
            partition.bounds.raise_start(first_offset);
        }
        Ok(())
    }
}
