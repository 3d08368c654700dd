//! One partition of the shared log, as everybody else sees it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use kafka_wire::BatchHeader;
use kafka_wire::batch::HEADER_BYTES;

use super::super::lookup::record_at;
use super::super::{AppendError, Appended, Bounds, Found, Log, LogError, LogSlice, ReadEnd, ReadError, io};
use super::entry::{EntryKind, Place};
use super::shared::{CommitLog, Partition, lock};
use crate::counters::Counter;

/// The most runs of bytes that one read finds: each is a call of its own, and a reader that wants more comes again.
pub const SLICES_MAX: usize = 1024;
/// Bytes of entries that a read begins with, and goes on with.
const FIRST_LOOKUP_BYTES: usize = 4096;
const LOOKUP_BYTES: usize = 16 * 1024;

/// A partition whose batches are in the shared log.
#[derive(Debug)]
pub(super) struct CommitLogPartition {
    shared: Arc<CommitLog>,
    partition: Arc<Partition>,
    leader_epoch: i32,
}

impl CommitLogPartition {
    pub fn new(shared: Arc<CommitLog>, partition: Arc<Partition>) -> Self {
        CommitLogPartition {
            shared,
            partition,
            leader_epoch: 0,
        }
    }

    fn bounds(&self) -> &Bounds {
        &self.partition.bounds
    }

    fn gather(&self, offset: i64, bytes_max: usize, whole_first: bool, end: i64) -> Result<Found, ReadError> {
        let queue = &self.partition.queue;
        let (start, out_of_range) = (self.bounds().start(), |start| ReadError::OutOfRange {
            offset,
            start,
            end,
        });
        let mut number = queue.number_of(offset)?.ok_or(out_of_range(start))?;
        let mut slices = Vec::new();
        let mut bytes = 0;
        let mut last = None;
        let mut lookup_bytes = FIRST_LOOKUP_BYTES;
        loop {
            let block = queue.block(number, (lookup_bytes / queue.format.kind.width()) as u64)?;
            for (number, place) in &block.places {
                // With an entry per record, the batch's others.
                if last == Some(place.position) {
                    continue;
                }
                if place.offset >= end {
                    return Ok(found(slices, ReadEnd::Log));
                }
                let fits = bytes + place.bytes as usize <= bytes_max || (slices.is_empty() && whole_first);
                if !fits || slices.len() == SLICES_MAX {
                    queue.remember(place.offset, *number);
                    let why = if fits { ReadEnd::Boundary } else { ReadEnd::Limit };
                    return Ok(found(slices, why));
                }
                slices.push(self.slice(place, offset, end)?);
                bytes += place.bytes as usize;
                last = Some(place.position);
            }
            if block.places.is_empty() {
                return Ok(found(slices, ReadEnd::Log));
            }
            number = block.next;
            lookup_bytes = LOOKUP_BYTES;
        }
    }

    fn slice(&self, place: &Place, offset: i64, end: i64) -> Result<LogSlice, ReadError> {
        let slice = self.shared.segments.slice(place);
        slice.ok_or_else(|| ReadError::OutOfRange {
            offset,
            start: self.bounds().start(),
            end,
        })
    }

    /// The header of a batch, and the batch.
    fn batch(&self, place: &Place, whole: bool) -> Result<Option<(BatchHeader, Vec<u8>)>, LogError> {
        let Some(slice) = self.shared.segments.slice(place) else {
            return Ok(None);
        };
        let path = slice.file.path();
        let mut raw = vec![0; if whole { slice.bytes } else { HEADER_BYTES }];
        let counters = self.shared.counters();
        counters.add(Counter::CallPreadLookup, 1);
        counters.add(Counter::LookupBytes, raw.len() as u64);
        let read = slice
            .file
            .open()
            .and_then(|file| file.read_exact_at(&mut raw, slice.position));
        read.map_err(io("read", path))?;
        let header = BatchHeader::parse(&raw).map_err(|error| LogError::Damaged {
            path: path.to_owned(),
            position: slice.position,
            problem: error.to_string(),
        })?;
        Ok(Some((header, raw)))
    }

    /// The first record from offset `from` on in a batch that is at or after `timestamp_ms`.
    fn record_at(&self, place: &Place, timestamp_ms: i64, from: i64) -> Result<Option<(i64, i64)>, LogError> {
        let Some((header, batch)) = self.batch(place, true)? else {
            return Ok(None);
        };
        Ok(record_at(header, &batch, timestamp_ms, from))
    }

    /// Number of the entry of the next batch.
    fn behind(&self, number: u64, header: &BatchHeader) -> u64 {
        match self.partition.queue.format.kind {
            EntryKind::Batch => number + 1,
            EntryKind::Record => (header.last_offset() + 1) as u64,
        }
    }

    /// Number of the entry for the first record that may be read; `None` when there is no record.
    fn first_number(&self) -> Result<Option<u64>, LogError> {
        let (start, end) = (self.bounds().start(), self.bounds().high_watermark());
        if start == end {
            return Ok(None);
        }
        self.partition.queue.number_of(start)
    }

    /// The greatest timestamp by all batch headers: what is greatest in the queue may have been deleted.
    fn max_time_by_headers(&self, first: u64) -> Result<Option<(i64, i64)>, LogError> {
        let (start, end) = (self.bounds().start(), self.bounds().high_watermark());
        let mut best: Option<(Place, i64)> = None;
        let mut number = first;
        while let Some(place) = self.partition.queue.place(number)?.filter(|place| place.offset < end) {
            let Some((header, _)) = self.batch(&place, false)? else {
                break;
            };
            if best.is_none_or(|(_, time_max)| header.max_timestamp > time_max) {
                best = Some((place, header.max_timestamp));
            }
            number = self.behind(number, &header);
        }
        match best {
            Some((place, time_max)) => self.record_at(&place, time_max, start),
            None => Ok(None),
        }
    }
}

fn found(slices: Vec<LogSlice>, end: ReadEnd) -> Found {
    Found { slices, end }
}

impl Log for CommitLogPartition {
    fn bounds(&self) -> &Bounds {
        &self.partition.bounds
    }

    fn leader_epoch(&self) -> i32 {
        self.leader_epoch
    }

    fn append(&self, header: &BatchHeader, batch: &[u8]) -> Result<Appended, AppendError> {
        self.shared.append(&self.partition, header, batch, self.leader_epoch)
    }

    fn await_flush(&self, until: u64) -> Result<(), AppendError> {
        self.shared.await_flush(until)
    }

    /// Whole batches only: a batch that does not fit any more is not begun.
    fn read(&self, offset: i64, bytes_max: usize, whole_first: bool) -> Result<Found, ReadError> {
        let (start, end) = (self.bounds().start(), self.bounds().high_watermark());
        if offset < start || offset > end {
            return Err(ReadError::OutOfRange { offset, start, end });
        }
        if offset == end {
            return Ok(found(Vec::new(), ReadEnd::Log));
        }
        self.gather(offset, bytes_max, whole_first, end).map_err(|error| {
            // Retention may have gone past it meanwhile.
            match self.bounds().start() {
                start if offset < start => ReadError::OutOfRange { offset, start, end },
                _ => error,
            }
        })
    }

    fn find_time(&self, timestamp_ms: i64) -> Result<Option<(i64, i64)>, LogError> {
        let (start, end) = (self.bounds().start(), self.bounds().high_watermark());
        let queue = &self.partition.queue;
        let mut from = self.first_number()?;
        while let Some(number) = from {
            let Some(number) = queue.first_reaching(number, timestamp_ms)? else {
                return Ok(None);
            };
            let Some(place) = queue.place(number)?.filter(|place| place.offset < end) else {
                return Ok(None);
            };
            let Some((header, _)) = self.batch(&place, false)? else {
                return Ok(None);
            };
            // A batch in front of the start may have been the one that reached it.
            if header.max_timestamp >= timestamp_ms
                && let Some(found) = self.record_at(&place, timestamp_ms, start)?
            {
                return Ok(Some(found));
            }
            from = Some(self.behind(number, &header));
        }
        Ok(None)
    }

    fn max_time(&self) -> Result<Option<(i64, i64)>, LogError> {
        let Some(first) = self.first_number()? else {
            return Ok(None);
        };
        let Some(greatest) = self.partition.queue.time_max(first)? else {
            return Ok(None);
        };
        match self.find_time(greatest)? {
            Some(found) => Ok(Some(found)),
            None => self.max_time_by_headers(first),
        }
    }

    /// Only moves the start: segments are shared, and go by retention.
    fn delete_before(&self, offset: i64) -> Result<i64, ReadError> {
        let (start, end) = (self.bounds().start(), self.bounds().high_watermark());
        if offset > end || offset < 0 {
            return Err(ReadError::OutOfRange { offset, start, end });
        }
        self.bounds().raise_start(offset);
        Ok(self.bounds().start())
    }

    fn remove_deleted(&self) -> Result<(), LogError> {
        Ok(())
    }

    fn recovery_point(&self) -> i64 {
        self.partition.durable.load(Ordering::Acquire)
    }

    fn flush(&self) -> Result<(), LogError> {
        self.shared.flush()
    }

    fn expire_producers(&self, now_ms: i64, expiration_ms: i64) -> usize {
        lock(&self.partition.producers).expire(now_ms, expiration_ms)
    }

    fn producers(&self) -> usize {
        lock(&self.partition.producers).len()
    }

    fn remove(&self) -> Result<(), LogError> {
        self.shared.remove(&self.partition)
    }
}
