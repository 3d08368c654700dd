//! Building record batches.

use bytes::BufMut;

use crate::batch::{CRC_START, HEADER_BYTES, LENGTH_PREFIX_BYTES};
use crate::crc::crc32c;
use crate::encode::{Encode, varlong_len};

/// Builds an uncompressed batch record by record, into a buffer that is used again.
///
/// ```
/// use kafka_wire::{BatchBuilder, BatchHeader};
/// let mut builder = BatchBuilder::new(1_700_000_000_000);
/// builder.push(1_700_000_000_001, Some(b"key"), b"value");
/// let batch = builder.finish();
/// assert_eq!(BatchHeader::checked(batch).unwrap().records_count, 1);
/// ```
#[derive(Debug, Clone)]
pub struct BatchBuilder {
    bytes: Vec<u8>,
    base_timestamp_ms: i64,
    max_timestamp_ms: i64,
    records: i32,
    producer: (i64, i16, i32),
}

impl BatchBuilder {
    /// An empty batch whose timestamps count from `base_timestamp_ms`.
    pub fn new(base_timestamp_ms: i64) -> Self {
        let mut builder = BatchBuilder {
            bytes: Vec::new(),
            base_timestamp_ms,
            max_timestamp_ms: base_timestamp_ms,
            records: 0,
            producer: (-1, -1, -1),
        };
        builder.clear(base_timestamp_ms);
        builder
    }

    /// Forgets the records and keeps the memory.
    pub fn clear(&mut self, base_timestamp_ms: i64) {
        self.bytes.clear();
        self.bytes.resize(HEADER_BYTES, 0);
        self.base_timestamp_ms = base_timestamp_ms;
        self.max_timestamp_ms = base_timestamp_ms;
        self.records = 0;
    }

    /// Sets producer id, epoch and base sequence (-1 each when there is none).
    pub fn producer(&mut self, id: i64, epoch: i16, base_sequence: i32) {
        self.producer = (id, epoch, base_sequence);
    }

    /// Records so far.
    pub fn records(&self) -> i32 {
        self.records
    }

    /// Bytes of the batch so far, header included.
    pub fn total_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Bytes that a record would add now.
    pub fn record_bytes(&self, timestamp_ms: i64, key: Option<&[u8]>, value_bytes: usize) -> usize {
        let body = self.body_bytes(timestamp_ms, key, value_bytes);
        varlong_len(body as i64) + body
    }

    fn body_bytes(&self, timestamp_ms: i64, key: Option<&[u8]>, value_bytes: usize) -> usize {
        let key_bytes = key.map_or(varlong_len(-1), |k| varlong_len(k.len() as i64) + k.len());
        1 + varlong_len(timestamp_ms - self.base_timestamp_ms)
            + varlong_len(i64::from(self.records))
            + key_bytes
            + varlong_len(value_bytes as i64)
            + value_bytes
            + 1
    }

    /// Appends a record without headers.
    pub fn push(&mut self, timestamp_ms: i64, key: Option<&[u8]>, value: &[u8]) {
        let body = self.body_bytes(timestamp_ms, key, value.len());
        self.bytes.put_varlong(body as i64);
        self.bytes.put_i8(0);
        self.bytes.put_varlong(timestamp_ms - self.base_timestamp_ms);
        self.bytes.put_varlong(i64::from(self.records));
        match key {
            None => self.bytes.put_varlong(-1),
            Some(key) => {
                self.bytes.put_varlong(key.len() as i64);
                self.bytes.put_slice(key);
            }
        }
        self.bytes.put_varlong(value.len() as i64);
        self.bytes.put_slice(value);
        self.bytes.put_varlong(0);
        self.max_timestamp_ms = self.max_timestamp_ms.max(timestamp_ms);
        self.records += 1;
    }

    /// Writes the header and gives the whole batch. Call [`Self::clear`] before the next one.
    pub fn finish(&mut self) -> &[u8] {
        let length = (self.bytes.len() - LENGTH_PREFIX_BYTES) as i32;
        let mut header = &mut self.bytes[..HEADER_BYTES];
        header.put_i64(0);
        header.put_i32(length);
        header.put_i32(-1);
        header.put_i8(2);
        header.put_u32(0);
        header.put_i16(0);
        header.put_i32(self.records - 1);
        header.put_i64(self.base_timestamp_ms);
        header.put_i64(self.max_timestamp_ms);
        header.put_i64(self.producer.0);
        header.put_i16(self.producer.1);
        header.put_i32(self.producer.2);
        header.put_i32(self.records);
        let crc = crc32c(&self.bytes[CRC_START..]);
        self.bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        &self.bytes
    }
}
