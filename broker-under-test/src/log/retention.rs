//! Retention: whole segments go, oldest first, when their latest record is too old or the log is too large.
//!
//! As in Kafka, a segment goes by its latest record, so that records may stay longer than they must, and the active one is rolled when it should go
//! too. Only the start moves here; the files go when it is on the device.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::LogError;
use super::partition::{Appender, PartitionLog, lock};
use super::segment::Segment;

impl PartitionLog {
    /// Moves the start behind what may go at that time; answers whether it moved.
    pub(super) fn retain_at(&self, now_ms: i64) -> Result<bool, LogError> {
        // Counted without the appender's lock, as it may read indexes.
        let (end, segments) = (self.bounds.end(), self.segments());
        let count = self.expired(&segments, now_ms)?.max(self.beyond_size(&segments));
        if count == 0 {
            return Ok(false);
        }
        let mut appender = lock(&self.appender);
        if self.offline.load(Ordering::Acquire) {
            return Ok(false);
        }
        let start = match segments.get(count) {
            Some(first_left) => first_left.base_offset,
            None => self.roll_all(&mut appender, end)?,
        };
        if start <= self.bounds.start() || start > self.bounds.high_watermark() {
            return Ok(false);
        }
        tracing::info!(folder = %self.dir.display(), start, "begins there by retention");
        self.bounds.raise_start(start);
        Ok(true)
    }

    /// Makes room for a log without a record: the active segment goes with the others, if nothing was appended since `end`.
    fn roll_all(&self, appender: &mut Appender, end: i64) -> Result<i64, LogError> {
        let active = self.active();
        if self.bounds.end() != end {
            return Ok(active.base_offset);
        }
        Ok(self.roll(appender, &active, end)?.base_offset)
    }

    /// How many segments at the front are older than `retention.ms`.
    fn expired(&self, segments: &[Arc<Segment>], now_ms: i64) -> Result<usize, LogError> {
        let Some(retention_ms) = self.limits.retention_ms else {
            return Ok(0);
        };
        let mut count = 0;
        for segment in segments {
            match segment.latest_ms()? {
                Some(latest) if now_ms.saturating_sub(latest) > retention_ms => count += 1,
                _ => break,
            }
        }
        Ok(count)
    }

    /// How many segments at the front can go and leave `retention.bytes`.
    fn beyond_size(&self, segments: &[Arc<Segment>]) -> usize {
        let Some(kept) = self.limits.retention_bytes else {
            return 0;
        };
        let total: u64 = segments.iter().map(|segment| segment.written()).sum();
        let mut excess = total.saturating_sub(kept);
        let mut count = 0;
        for segment in segments {
            let bytes = segment.written();
            if bytes == 0 || bytes > excess {
                break;
            }
            excess -= bytes;
            count += 1;
        }
        count
    }
}
