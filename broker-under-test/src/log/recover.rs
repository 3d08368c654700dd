//! What a crash left in a segment, and indexes that are made again from the log.

use std::sync::atomic::Ordering;

use kafka_wire::{BatchError, BatchHeader};

use super::index::Place;
use super::indexes::Indexes;
use super::lookup::Headers;
use super::segment::Segment;
use super::{LogError, io};
use crate::counters::Counter;

/// Bytes that recovery reads at a time; more when a batch is larger.
const SCAN_BYTES: usize = 4 << 20;

/// What a scan of the tail found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scan {
    /// Offset behind the last whole batch.
    pub next_offset: i64,
    /// Bytes that were cut off.
    pub cut_bytes: u64,
}

impl Segment {
    /// Checks every batch from the last index entry below `from` on (header, CRC, offsets that follow each other), cuts off what is torn, and
    /// completes the indexes. With `sparse`, offsets may be missing, as compaction leaves them. `visit` sees every good batch.
    pub fn recover(&self, from: i64, sparse: bool, mut visit: impl FnMut(&BatchHeader)) -> Result<Scan, LogError> {
        let loaded = self.load_indexes()?;
        let indexes = loaded.unwrap_or_else(|| Indexes::empty(&self.files, self.path(), self.index_interval_bytes));
        // Entries from the recovery point on may speak of bytes that never arrived.
        let trusted = u32::try_from(from - self.base_offset)
            .ok()
            .and_then(|relative| indexes.places.floor(|place| place.relative_offset < relative));
        indexes.truncate(trusted);
        let mut batches = Checked {
            segment: self,
            sparse,
            position: trusted.map_or(0, |place| u64::from(place.position)),
            next_offset: self.base_offset + trusted.map_or(0, |place| i64::from(place.relative_offset)),
        };
        let mut is_first = trusted.is_some();
        let problem = batches.each(|place, header| {
            visit(header);
            // The trusted entry is there already.
            match std::mem::take(&mut is_first) {
                true => Ok(()),
                false => indexes.add(place, header.max_timestamp),
            }
        })?;
        let cut_bytes = self.written() - batches.position;
        if let Some(problem) = problem {
            let position = batches.position;
            tracing::warn!(segment = %self.path().display(), position, cut_bytes, problem, "cutting off a torn tail");
            let cut = self.stored()?.set_len(position);
            cut.map_err(io("truncate", self.path()))?;
            self.file.set_bytes(position);
            self.written.store(position, Ordering::Release);
        }
        indexes.write()?;
        self.set_indexes(indexes);
        Ok(Scan {
            next_offset: batches.next_offset,
            cut_bytes,
        })
    }

    /// Visits the headers of all batches; they end where a damaged one is met.
    pub(super) fn each_header(&self, mut visit: impl FnMut(&BatchHeader)) -> Result<(), LogError> {
        let mut headers = Headers::new(self, 0, self.written());
        loop {
            match headers.next() {
                Ok(Some((_, header))) => visit(&header),
                Ok(None) => return Ok(()),
                Err(error @ LogError::Damaged { .. }) => {
                    tracing::error!(%error, "producers are known up to here");
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Indexes of a segment that is whole, from the headers of its batches.
    pub(super) fn made_again(&self) -> Result<Indexes, LogError> {
        let indexes = Indexes::empty(&self.files, self.path(), self.index_interval_bytes);
        let mut headers = Headers::new(self, 0, self.written());
        loop {
            match headers.next() {
                Ok(Some((position, header))) => indexes.add(self.place_of(&header, position), header.max_timestamp)?,
                Ok(None) => break,
                Err(error @ LogError::Damaged { .. }) => {
                    // What lies in front of it can be served; whoever reads on meets the damage and says so.
                    tracing::error!(%error, "the indexes end here");
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        if !self.is_sealed() {
            indexes.complete()?;
            // Nobody does it later, and what a power cut leaves of them would be believed.
            indexes.sync()?;
        }
        Ok(indexes)
    }
}

/// A walk over batches of which every byte is checked.
struct Checked<'a> {
    segment: &'a Segment,
    sparse: bool,
    position: u64,
    next_offset: i64,
}

impl Checked<'_> {
    /// Gives every good batch to `take`; answers what is wrong with the first one that is not good.
    fn each(
        &mut self,
        mut take: impl FnMut(Place, &BatchHeader) -> Result<(), LogError>,
    ) -> Result<Option<String>, LogError> {
        let end = self.segment.written();
        let mut buffer = Vec::new();
        while self.position < end {
            let window_start = self.position;
            self.fill(&mut buffer, end)?;
            let mut rest = &buffer[..];
            while !rest.is_empty() {
                let header = match BatchHeader::checked_stored(rest) {
                    Ok(header) => header,
                    // The window ends inside a batch and the file goes on: read on from there.
                    Err(BatchError::Truncated { .. })
                        if self.position > window_start && window_start + (buffer.len() as u64) < end =>
                    {
                        break;
                    }
                    Err(error) => return Ok(Some(error.to_string())),
                };
                let is_next = match self.sparse {
                    // A base offset is not in the checksum.
                    true => (self.next_offset..=self.segment.base_offset + i64::from(i32::MAX))
                        .contains(&header.base_offset),
                    false => header.base_offset == self.next_offset && header.is_dense(),
                };
                if !is_next {
                    let problem = format!("offset {} where {} should be", header.base_offset, self.next_offset);
                    return Ok(Some(problem));
                }
                take(self.segment.place_of(&header, self.position), &header)?;
                self.next_offset = header.last_offset().saturating_add(1);
                self.position += header.total_bytes() as u64;
                rest = &rest[header.total_bytes()..];
            }
        }
        Ok(None)
    }

    /// Reads what follows; more than usual when the first batch needs it and the file holds it.
    fn fill(&self, buffer: &mut Vec<u8>, end: u64) -> Result<(), LogError> {
        let remaining = end - self.position;
        let mut want = SCAN_BYTES.min(remaining as usize);
        loop {
            buffer.resize(want, 0);
            self.segment.read_at(buffer, self.position)?;
            self.segment.files.counters().add(Counter::RecoveryBytes, want as u64);
            match BatchHeader::parse(buffer) {
                Ok(h) if h.total_bytes() > want && h.total_bytes() as u64 <= remaining => want = h.total_bytes(),
                _ => return Ok(()),
            }
        }
    }
}
