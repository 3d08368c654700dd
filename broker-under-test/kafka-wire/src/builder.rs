//! Building record batches, compressed or not.

use bytes::BufMut;

use crate::batch::{CRC_START, HEADER_BYTES, LENGTH_PREFIX_BYTES};
use crate::codec::{Codec, CodecError, Compressor};
use crate::crc::crc32c;
use crate::encode::{Encode, varlong_len};
use crate::record::Header;

/// Where the CRC itself stands.
const CRC_AT: usize = CRC_START - 4;
/// Most bytes of a record in front of its key: three varints and the attributes.
const FRONT_BYTES_MAX: usize = 3 * 10 + 1;

/// Builds a batch record by record, into a buffer that is used again.
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
    compressed: Vec<u8>,
    base_timestamp_ms: i64,
    max_timestamp_ms: i64,
    records: i32,
    producer: (i64, i16, i32),
    /// Which of the two buffers holds what was finished last.
    is_compressed: bool,
}

impl BatchBuilder {
    /// An empty batch whose timestamps count from `base_timestamp_ms`.
    pub fn new(base_timestamp_ms: i64) -> Self {
        let mut builder = BatchBuilder {
            bytes: Vec::new(),
            compressed: Vec::new(),
            base_timestamp_ms,
            max_timestamp_ms: base_timestamp_ms,
            records: 0,
            producer: (-1, -1, -1),
            is_compressed: false,
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

    /// Bytes of the batch so far, header included, before any compression.
    pub fn total_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Bytes that a record without headers would add now, before any compression.
    pub fn record_bytes(&self, timestamp_ms: i64, key: Option<&[u8]>, value_bytes: usize) -> usize {
        let body = self.body_bytes(timestamp_ms, key, value_bytes, &[]);
        varlong_len(body as i64) + body
    }

    fn body_bytes(&self, timestamp_ms: i64, key: Option<&[u8]>, value_bytes: usize, headers: &[Header<'_>]) -> usize {
        let headers_bytes: usize = headers
            .iter()
            .map(|header| nullable_len(Some(header.key)) + nullable_len(header.value))
            .sum();
        1 + varlong_len(timestamp_ms - self.base_timestamp_ms)
            + varlong_len(i64::from(self.records))
            + nullable_len(key)
            + varlong_len(value_bytes as i64)
            + value_bytes
            + varlong_len(headers.len() as i64)
            + headers_bytes
    }

    /// Appends a record without headers.
    pub fn push(&mut self, timestamp_ms: i64, key: Option<&[u8]>, value: &[u8]) {
        self.push_record(timestamp_ms, key, Some(value), &[]);
    }

    /// Appends a record without headers, if the batch then takes no more than so many bytes before any compression. Answers whether it did.
    pub fn push_within(&mut self, bytes_max: usize, timestamp_ms: i64, key: Option<&[u8]>, value: &[u8]) -> bool {
        let body = self.body_bytes(timestamp_ms, key, value.len(), &[]);
        let fits = self.bytes.len() + varlong_len(body as i64) + body <= bytes_max;
        if fits {
            self.append(body, timestamp_ms, key, Some(value), &[]);
        }
        fits
    }

    /// Appends a record; one without a value is a tombstone.
    pub fn push_record(&mut self, timestamp_ms: i64, key: Option<&[u8]>, value: Option<&[u8]>, headers: &[Header<'_>]) {
        // The length of null, -1, takes as many bytes as that of nothing.
        let body = self.body_bytes(timestamp_ms, key, value.map_or(0, <[u8]>::len), headers);
        self.append(body, timestamp_ms, key, value, headers);
    }

    /// Appends a record whose body takes so many bytes.
    fn append(
        &mut self,
        body: usize,
        timestamp_ms: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[Header<'_>],
    ) {
        self.bytes.reserve(varlong_len(body as i64) + body);
        // What stands in front of the key is put together aside: one copy is cheaper than a look at the room for each byte.
        let mut front = [0; FRONT_BYTES_MAX];
        let mut room = &mut front[..];
        room.put_varlong(body as i64);
        room.put_i8(0);
        room.put_varlong(timestamp_ms - self.base_timestamp_ms);
        room.put_varlong(i64::from(self.records));
        let used = FRONT_BYTES_MAX - room.len();
        self.bytes.put_slice(&front[..used]);
        self.put_nullable(key);
        self.put_nullable(value);
        self.bytes.put_varlong(headers.len() as i64);
        for header in headers {
            self.put_nullable(Some(header.key));
            self.put_nullable(header.value);
        }
        self.max_timestamp_ms = self.max_timestamp_ms.max(timestamp_ms);
        self.records += 1;
    }

    fn put_nullable(&mut self, bytes: Option<&[u8]>) {
        match bytes {
            None => self.bytes.put_varlong(-1),
            Some(bytes) => {
                self.bytes.put_varlong(bytes.len() as i64);
                self.bytes.put_slice(bytes);
            }
        }
    }

    /// Writes the header and gives the whole batch, not compressed. Call [`Self::clear`] before the next one.
    pub fn finish(&mut self) -> &[u8] {
        let mut bytes = std::mem::take(&mut self.bytes);
        self.write_header(&mut bytes, Codec::None);
        self.bytes = bytes;
        self.is_compressed = false;
        &self.bytes
    }

    /// The batch that was finished last, for whoever keeps the builder until the batch is sent.
    pub fn finished(&self) -> &[u8] {
        if self.is_compressed {
            &self.compressed
        } else {
            &self.bytes
        }
    }

    /// Compresses the records, writes the header and gives the whole batch, as [`Self::finish`] does. What takes more
    /// bytes compressed than it did before is sent compressed all the same, as by every client.
    ///
    /// # Errors
    /// See [`Compressor::compress`].
    pub fn finish_compressed(&mut self, compressor: &mut Compressor) -> Result<&[u8], CodecError> {
        let codec = compressor.compression().codec();
        if codec == Codec::None {
            return Ok(self.finish());
        }
        let mut compressed = std::mem::take(&mut self.compressed);
        compressed.clear();
        compressed.resize(HEADER_BYTES, 0);
        let result = compressor.compress(&self.bytes[HEADER_BYTES..], &mut compressed);
        self.write_header(&mut compressed, codec);
        self.compressed = compressed;
        self.is_compressed = true;
        result.map(|()| self.compressed.as_slice())
    }

    /// Writes the header in front of what is behind it already.
    fn write_header(&self, batch: &mut [u8], codec: Codec) {
        let length = (batch.len() - LENGTH_PREFIX_BYTES) as i32;
        let mut header = &mut batch[..HEADER_BYTES];
        header.put_i64(0);
        header.put_i32(length);
        header.put_i32(-1);
        header.put_i8(2);
        header.put_u32(0);
        header.put_i16(codec as i16);
        header.put_i32(self.records - 1);
        header.put_i64(self.base_timestamp_ms);
        header.put_i64(self.max_timestamp_ms);
        header.put_i64(self.producer.0);
        header.put_i16(self.producer.1);
        header.put_i32(self.producer.2);
        header.put_i32(self.records);
        let crc = crc32c(&batch[CRC_START..]);
        batch[CRC_AT..CRC_START].copy_from_slice(&crc.to_be_bytes());
    }
}

/// Bytes of nullable bytes with their length in front.
fn nullable_len(bytes: Option<&[u8]>) -> usize {
    bytes.map_or(varlong_len(-1), |bytes| varlong_len(bytes.len() as i64) + bytes.len())
}
