//! Finding a batch in a segment, by offset and by time, and the run of bytes that answers a read.

use kafka_wire::BatchHeader;
use kafka_wire::batch::HEADER_BYTES;
use kafka_wire::codec::Decompressor;

use super::LogError;
use super::file::LogSlice;
use super::index::{Moment, Place};
use super::indexes::Indexes;
use super::segment::Segment;
use crate::counters::Counter;

/// Bytes that a look-up reads at a time.
const LOOKUP_BYTES: usize = 16 * 1024;
/// What one batch may take decompressed.
pub(super) const DECOMPRESSED_BYTES_MAX: usize = 128 << 20;

/// Walks over the headers of a segment's batches.
pub(super) struct Headers<'a> {
    segment: &'a Segment,
    position: u64,
    end: u64,
    buffer: [u8; LOOKUP_BYTES],
    buffered_from: u64,
    buffered: usize,
}

impl<'a> Headers<'a> {
    /// From the batch that begins at `position` to `end`.
    pub(super) fn new(segment: &'a Segment, position: u64, end: u64) -> Self {
        Headers {
            segment,
            position,
            end,
            buffer: [0; LOOKUP_BYTES],
            buffered_from: position,
            buffered: 0,
        }
    }

    /// The next batch and where it begins; `None` at the end.
    ///
    /// # Errors
    /// [`LogError::Damaged`] where no batch begins.
    pub(super) fn next(&mut self) -> Result<Option<(u64, BatchHeader)>, LogError> {
        let position = self.position;
        let remaining = self.end.saturating_sub(position);
        if remaining < HEADER_BYTES as u64 {
            return Ok(None);
        }
        if position + HEADER_BYTES as u64 > self.buffered_from + self.buffered as u64 {
            self.buffered = LOOKUP_BYTES.min(remaining as usize);
            self.buffered_from = position;
            self.segment.look_up(&mut self.buffer[..self.buffered], position)?;
        }
        let at = (position - self.buffered_from) as usize;
        let header = BatchHeader::parse(&self.buffer[at..self.buffered]).map_err(|error| LogError::Damaged {
            path: self.segment.path().to_owned(),
            position,
            problem: error.to_string(),
        })?;
        self.position += header.total_bytes() as u64;
        Ok(Some((position, header)))
    }
}

impl Segment {
    /// Reads bytes that say where something is.
    fn look_up(&self, buffer: &mut [u8], position: u64) -> Result<(), LogError> {
        let counters = self.files.counters();
        counters.add(Counter::CallPreadLookup, 1);
        counters.add(Counter::LookupBytes, buffer.len() as u64);
        self.read_at(buffer, position)
    }

    /// The whole batch at `position`.
    pub(super) fn batch_at(&self, position: u64, header: &BatchHeader) -> Result<Vec<u8>, LogError> {
        let total = header
            .total_bytes()
            .min(self.written().saturating_sub(position) as usize);
        let mut batch = vec![0; total];
        self.look_up(&mut batch, position)?;
        Ok(batch)
    }

    /// Whether the first and the last entries of the indexes name batches that are there. Kafka's check at start looks at the last ones too; to look
    /// at all of them would read the whole file.
    pub(super) fn fit(&self, indexes: &Indexes) -> Result<bool, LogError> {
        match self.entries_fit(indexes) {
            Err(LogError::Damaged { .. }) => Ok(false),
            answer => answer,
        }
    }

    fn entries_fit(&self, indexes: &Indexes) -> Result<bool, LogError> {
        let is_batch = |place: Place| -> Result<bool, LogError> {
            let offset = self.base_offset + i64::from(place.relative_offset);
            let header = self.header_at(u64::from(place.position), self.written())?;
            Ok(header.is_some_and(|h| h.base_offset == offset))
        };
        for place in [indexes.places.first(), indexes.places.last()].into_iter().flatten() {
            if !is_batch(place)? {
                return Ok(false);
            }
        }
        for moment in [indexes.moments.first(), indexes.moments.last()].into_iter().flatten() {
            if !self.is_moment(indexes, moment)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn is_moment(&self, indexes: &Indexes, moment: Moment) -> Result<bool, LogError> {
        let start = indexes
            .places
            .floor(|place| place.relative_offset <= moment.relative_offset);
        let mut headers = Headers::new(self, start.map_or(0, |p| u64::from(p.position)), self.written());
        let offset = self.base_offset + i64::from(moment.relative_offset);
        while let Some((_, header)) = headers.next()? {
            if header.base_offset >= offset {
                return Ok(header.base_offset == offset && header.max_timestamp == moment.timestamp_ms);
            }
        }
        Ok(false)
    }

    /// The offset behind the last batch of a segment that was closed cleanly: headers from the last index entry on.
    pub fn next_offset(&self) -> Result<i64, LogError> {
        let start = self.indexes()?.places.last();
        let mut headers = Headers::new(self, start.map_or(0, |place| u64::from(place.position)), self.written());
        let mut next = self.base_offset;
        while let Some((_, header)) = headers.next()? {
            next = header.last_offset().saturating_add(1);
        }
        if headers.position != self.written() {
            return Err(LogError::Damaged {
                path: self.path().to_owned(),
                position: headers.position,
                problem: "the file does not end with a batch".to_owned(),
            });
        }
        Ok(next)
    }

    /// The header of the batch at `position`; `None` at the end.
    fn header_at(&self, position: u64, end: u64) -> Result<Option<BatchHeader>, LogError> {
        if end.saturating_sub(position) < HEADER_BYTES as u64 {
            return Ok(None);
        }
        let mut raw = [0u8; HEADER_BYTES];
        self.look_up(&mut raw, position)?;
        BatchHeader::parse(&raw).map(Some).map_err(|error| LogError::Damaged {
            path: self.path().to_owned(),
            position,
            problem: error.to_string(),
        })
    }

    /// Where the first batch begins that ends behind `offset`; the end if there is none. Without a system call when an index entry names it.
    pub fn position_of(&self, offset: i64) -> Result<u64, LogError> {
        let relative_offset = (offset - self.base_offset).clamp(0, i64::from(u32::MAX)) as u32;
        let entry = self
            .indexes()?
            .places
            .floor(|place| place.relative_offset <= relative_offset);
        let start = match entry {
            Some(place) if place.relative_offset == relative_offset => return Ok(u64::from(place.position)),
            place => place.map_or(0, |p| u64::from(p.position)),
        };
        let search = |start: u64| -> Result<u64, LogError> {
            let mut headers = Headers::new(self, start, self.bytes());
            while let Some((position, header)) = headers.next()? {
                if header.last_offset() >= offset {
                    return Ok(position);
                }
            }
            Ok(self.bytes())
        };
        match search(start) {
            Err(LogError::Damaged { position, .. }) if position == start && start > 0 => {
                tracing::warn!(segment = %self.path().display(), position, "the index points at no batch, searching from the start");
                search(0)
            }
            found => found,
        }
    }

    /// Batches from the first one that ends behind `offset`, up to `bytes_max`. A first batch that is larger comes whole when `whole_first`, and not at
    /// all otherwise.
    pub fn read(&self, offset: i64, bytes_max: usize, whole_first: bool) -> Result<LogSlice, LogError> {
        let end = self.bytes();
        let position = self.position_of(offset)?;
        let limit = end.min(position + bytes_max as u64);
        let places = &self.indexes()?.places;
        let boundary = places
            .floor(|place| u64::from(place.position) <= limit)
            .map(|place| u64::from(place.position))
            .filter(|boundary| *boundary > position);
        let stop = match boundary {
            _ if limit == end => end,
            Some(boundary) => boundary,
            // No known boundary within the limit: the first batch may be larger than it.
            None => match self
                .header_at(position, end)?
                .map(|h| position + h.total_bytes() as u64)
            {
                Some(first_ends) if first_ends > limit && whole_first => first_ends.min(end),
                Some(first_ends) if first_ends > limit => position,
                _ => limit,
            },
        };
        Ok(LogSlice {
            file: self.file.clone(),
            position,
            bytes: stop.saturating_sub(position) as usize,
        })
    }

    /// Offset and time of the first record from offset `from` on that is at or after `timestamp_ms`; for ListOffsets.
    pub fn find_time(&self, timestamp_ms: i64, from: i64) -> Result<Option<(i64, i64)>, LogError> {
        if self.latest_ms()?.is_none_or(|latest| latest < timestamp_ms) {
            return Ok(None);
        }
        // Nothing in front of that batch is at or after the time.
        let moment = self
            .indexes()?
            .moments
            .floor(|moment| moment.timestamp_ms <= timestamp_ms);
        let start = self.base_offset + moment.map_or(0, |m| i64::from(m.relative_offset));
        let mut headers = Headers::new(self, self.position_of(start.max(from))?, self.bytes());
        while let Some((position, header)) = headers.next()? {
            if header.max_timestamp >= timestamp_ms && header.last_offset() >= from {
                let found = self.exact_time(position, header, timestamp_ms, from)?;
                if found.is_some() {
                    return Ok(found);
                }
            }
        }
        Ok(None)
    }

    /// Offset and time of the record inside one batch, which is decompressed for it.
    fn exact_time(
        &self,
        position: u64,
        header: BatchHeader,
        timestamp_ms: i64,
        from: i64,
    ) -> Result<Option<(i64, i64)>, LogError> {
        let batch = self.batch_at(position, &header)?;
        Ok(record_at(header, &batch, timestamp_ms, from))
    }

    /// The latest record from offset `from` on, the first of several: offset and time.
    pub fn max_time(&self, from: i64) -> Result<Option<(i64, i64)>, LogError> {
        let Some(latest) = self.indexes()?.latest() else {
            return Ok(None);
        };
        let offset = self.base_offset + i64::from(latest.relative_offset);
        if offset >= from {
            let mut headers = Headers::new(self, self.position_of(offset)?, self.bytes());
            if let Some((position, header)) = headers.next()? {
                return self.exact_time(position, header, latest.timestamp_ms, from);
            }
        }
        // It was deleted, or may not be read yet: the others, one by one.
        let mut best: Option<(u64, BatchHeader)> = None;
        let mut headers = Headers::new(self, self.position_of(from)?, self.bytes());
        while let Some((position, header)) = headers.next()? {
            if best.is_none_or(|(_, b)| header.max_timestamp > b.max_timestamp) {
                best = Some((position, header));
            }
        }
        match best {
            Some((position, header)) => self.exact_time(position, header, header.max_timestamp, from),
            None => Ok(None),
        }
    }
}

/// Offset and time of the first record of a batch that is at or after `timestamp_ms`, from offset `from` on. Where records can't be read (nobody looked
/// when they came), the first of the batch stands for all of them, so that whoever starts there misses nothing.
pub(crate) fn record_at(header: BatchHeader, batch: &[u8], timestamp_ms: i64, from: i64) -> Option<(i64, i64)> {
    let unread = (header.base_offset.max(from), header.base_timestamp);
    let mut decompressor = Decompressor::default();
    let records = match decompressor.records(header, batch, DECOMPRESSED_BYTES_MAX) {
        Ok(records) => records,
        Err(error) => {
            tracing::warn!(offset = header.base_offset, %error, "a batch that can't be decompressed");
            return Some(unread);
        }
    };
    for record in records {
        match record {
            Ok(record) if record.offset >= from && record.timestamp_ms >= timestamp_ms => {
                return Some((record.offset, record.timestamp_ms));
            }
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(offset = header.base_offset, %error, "a batch with malformed records");
                return Some(unread);
            }
        }
    }
    None
}
