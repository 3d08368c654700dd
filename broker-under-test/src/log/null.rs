//! The log that keeps nothing but count, with `log.layout=null`: the ceiling of every client that produces.
//!
//! Offsets are given out as by any other log, and no byte of a batch is looked at behind its header. To readers it is empty.

use std::sync::atomic::{AtomicI64, Ordering};

use kafka_wire::BatchHeader;

use super::{AppendError, Appended, Bounds, Found, Log, LogError, ReadEnd, ReadError};

/// A partition that stores nothing.
#[derive(Debug)]
pub struct NullLog {
    bounds: Bounds,
    next_offset: AtomicI64,
}

impl NullLog {
    /// One that has given out no offset yet; a restart begins anew.
    pub fn new() -> Self {
        NullLog {
            bounds: Bounds::new(0, 0),
            next_offset: AtomicI64::new(0),
        }
    }
}

impl Default for NullLog {
    fn default() -> Self {
        Self::new()
    }
}

impl Log for NullLog {
    fn bounds(&self) -> &Bounds {
        &self.bounds
    }

    fn leader_epoch(&self) -> i32 {
        0
    }

    fn is_stored(&self) -> bool {
        false
    }

    fn append(&self, header: &BatchHeader, _batch: &[u8]) -> Result<Appended, AppendError> {
        // Nobody has held the count against the records.
        let offsets = i64::from(header.records_count.max(1));
        Ok(Appended {
            base_offset: self.next_offset.fetch_add(offsets, Ordering::Relaxed),
            await_flush: None,
            repeats_ms: None,
        })
    }

    fn await_flush(&self, _until: u64) -> Result<(), AppendError> {
        Ok(())
    }

    fn read(&self, _offset: i64, _bytes_max: usize, _whole_first: bool) -> Result<Found, ReadError> {
        Ok(Found {
            slices: Vec::new(),
            end: ReadEnd::Log,
        })
    }

    fn find_time(&self, _timestamp_ms: i64) -> Result<Option<(i64, i64)>, LogError> {
        Ok(None)
    }

    fn max_time(&self) -> Result<Option<(i64, i64)>, LogError> {
        Ok(None)
    }

    fn delete_before(&self, _offset: i64) -> Result<i64, ReadError> {
        Ok(0)
    }

    fn remove_deleted(&self) -> Result<(), LogError> {
        Ok(())
    }

    fn recovery_point(&self) -> i64 {
        0
    }

    fn flush(&self) -> Result<(), LogError> {
        Ok(())
    }

    fn expire_producers(&self, _now_ms: i64, _expiration_ms: i64) -> usize {
        0
    }

    fn producers(&self) -> usize {
        0
    }

    fn remove(&self) -> Result<(), LogError> {
        Ok(())
    }
}
