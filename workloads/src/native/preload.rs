//! Fills a topic with batches of one exact size, and leaves an index of them.
//!
//! Response sizes are a factor of the experiments, and a fetch returns whole batches: only when every stored batch has the same size
//! is the achieved response size the size that was asked for. So the last record of each batch is cut, or padded with spaces, to
//! fit. The next offset of a client that discards its responses comes from the index.

use super::ClientError;
use super::connection::{ConnectOptions, Connection};
use crate::payload::{PayloadSpec, RecordSource};
use kafka_wire::batch::CRC_START;
use kafka_wire::encode::varlong_len;
use kafka_wire::{BatchBuilder, produce};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::Path;

/// Requests on the connection at once.
const IN_FLIGHT: usize = 32;
/// Smallest record that a batch ends with, bytes with its framing.
const LAST_RECORD_BYTES_MIN: usize = 72;
/// Smallest batch that the fitting works for.
pub const BATCH_BYTES_MIN: usize = 256;
/// Largest index file that is read, bytes.
const INDEX_BYTES_MAX: u64 = 1 << 30;

/// What is stored where.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PreloadSpec {
    /// Topic to create, with one partition.
    pub topic: String,
    /// Exact size of every batch, bytes with its header.
    pub stored_batch_bytes: usize,
    /// Size of all batches, bytes; a multiple of the batch.
    pub file_bytes: u64,
    /// The records.
    pub payload: PayloadSpec,
    /// Seed of the records.
    pub seed: u64,
    /// Timestamp of the first record, ms since 1970; a broker with retention by time deletes old ones.
    pub base_timestamp_ms: i64,
}

/// What lies in a pre-loaded topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreloadIndex {
    /// Topic.
    pub topic: String,
    /// Size of every batch, bytes.
    pub batch_bytes: u64,
    /// Base offset of each batch.
    pub base_offsets: Vec<i64>,
    /// Offset behind the last record, and the number of records.
    pub end_offset: i64,
    /// See [`Checksum`].
    pub payload_checksum: u64,
}

impl PreloadIndex {
    /// Bytes of all batches.
    pub fn total_bytes(&self) -> u64 {
        self.batch_bytes * self.base_offsets.len() as u64
    }

    /// Writes the index as JSON.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), ClientError> {
        let failed = |source| ClientError::File {
            path: path.to_owned(),
            source,
        };
        let text = serde_json::to_vec(self).map_err(|error| failed(error.into()))?;
        std::fs::write(path, text).map_err(failed)
    }

    /// Reads an index that [`Self::write`] left.
    ///
    /// # Errors
    /// The file cannot be read, or is no index.
    pub fn read(path: &Path) -> Result<Self, ClientError> {
        use std::io::Read;
        let failed = |source| ClientError::File {
            path: path.to_owned(),
            source,
        };
        let mut text = Vec::new();
        let file = std::fs::File::open(path).map_err(failed)?;
        file.take(INDEX_BYTES_MAX).read_to_end(&mut text).map_err(failed)?;
        let index: Self = serde_json::from_slice(&text).map_err(|error| failed(error.into()))?;
        if index.base_offsets.is_empty() || index.batch_bytes == 0 {
            return Err(ClientError::Spec(format!(
                "{}: the index holds no batch; pre-load the topic again",
                path.display()
            )));
        }
        Ok(index)
    }
}

/// Checksum of a topic's content: FNV-1a over the CRC-32C of each batch, in order. The CRC covers a batch from its attributes to its end,
/// which a broker does not touch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checksum(u64);

impl Default for Checksum {
    fn default() -> Self {
        Self(crate::payload::fnv1a(&[]))
    }
}

impl Checksum {
    /// Adds a whole batch; the CRC is computed from its bytes and not read from its header.
    pub fn add(&mut self, batch: &[u8]) {
        let crc = kafka_wire::crc::crc32c(batch.get(CRC_START..).unwrap_or_default());
        self.0 = crate::payload::fnv1a_continue(self.0, &crc.to_be_bytes());
    }

    /// The checksum of the batches so far.
    pub fn value(self) -> u64 {
        self.0
    }
}

/// Creates the topic and stores the batches with acks=all, several in flight.
///
/// # Errors
/// A size that does not work, a payload that gives no records, or a broker that refuses or gives offsets that are not dense.
pub fn preload(address: SocketAddr, spec: &PreloadSpec) -> Result<PreloadIndex, ClientError> {
    let batch_bytes = spec.stored_batch_bytes as u64;
    if spec.stored_batch_bytes < BATCH_BYTES_MIN || spec.file_bytes == 0 || !spec.file_bytes.is_multiple_of(batch_bytes)
    {
        return Err(ClientError::Spec(format!(
            "{} bytes in batches of {batch_bytes}: choose batches of at least {BATCH_BYTES_MIN} bytes, and a multiple of them",
            spec.file_bytes
        )));
    }
    let mut batches = Batches::new(RecordSource::open(&spec.payload, spec.seed)?, spec);
    let mut connection = Connection::connect(address, &ConnectOptions::default())?;
    connection.create_topic(&spec.topic, 1)?;

    let batch_count = (spec.file_bytes / batch_bytes) as usize;
    let mut base_offsets = Vec::with_capacity(batch_count);
    let mut checksum = Checksum::default();
    let mut next_offset = 0;
    let mut pending: VecDeque<(i32, i64)> = VecDeque::with_capacity(IN_FLIGHT);
    let mut requests = Vec::new();
    let mut acknowledged = 0;
    while acknowledged < batch_count {
        requests.clear();
        while pending.len() < IN_FLIGHT && base_offsets.len() < batch_count {
            let correlation_id = connection.next_correlation_id();
            let (records, batch) = batches.next()?;
            checksum.add(batch);
            produce::encode_request(&mut requests, correlation_id, &spec.topic, 0, -1, batch);
            pending.push_back((correlation_id, next_offset));
            base_offsets.push(next_offset);
            next_offset += i64::from(records);
        }
        if !requests.is_empty() {
            connection.send(&requests)?;
        }
        // Half of them, so that the next send carries several and the broker still has work.
        for _ in 0..pending.len().div_ceil(2) {
            let Some((correlation_id, expected)) = pending.pop_front() else {
                break;
            };
            let (_, results) = produce::decode_response(connection.receive(correlation_id)?, produce::CLIENT_VERSION)?;
            let Some(result) = results.first() else {
                return Err(ClientError::Spec("a produce response without a partition".to_owned()));
            };
            if result.error != 0 {
                return Err(ClientError::refused(
                    "Produce",
                    &spec.topic,
                    result.error,
                    result.message.as_deref(),
                ));
            }
            if result.base_offset != expected {
                return Err(ClientError::NotDense {
                    batch: acknowledged as u64,
                    expected,
                    observed: result.base_offset,
                });
            }
            acknowledged += 1;
        }
    }
    let topic = spec.topic.clone();
    Ok(PreloadIndex {
        topic,
        batch_bytes,
        base_offsets,
        end_offset: next_offset,
        payload_checksum: checksum.value(),
    })
}

/// Batches of exactly one size, made from a source of records.
struct Batches {
    source: RecordSource,
    builder: BatchBuilder,
    record: Vec<u8>,
    batch_bytes: usize,
    timestamp_ms: i64,
}

impl Batches {
    /// Takes size and timestamps from `spec`, which [`preload`] has checked.
    fn new(source: RecordSource, spec: &PreloadSpec) -> Self {
        let timestamp_ms = spec.base_timestamp_ms;
        let builder = BatchBuilder::new(timestamp_ms);
        Self {
            source,
            builder,
            record: Vec::new(),
            batch_bytes: spec.stored_batch_bytes,
            timestamp_ms,
        }
    }

    /// The next batch and the number of its records.
    fn next(&mut self) -> Result<(i32, &[u8]), ClientError> {
        // One timestamp per batch: a broker must not be able to tell arms apart by their time.
        self.builder.clear(self.timestamp_ms);
        loop {
            let room = self.batch_bytes - self.builder.total_bytes();
            self.source.next(&mut self.record)?;
            fit(&mut self.record, self.builder.records(), room);
            self.builder.push(self.timestamp_ms, None, &self.record);
            if self.builder.total_bytes() == self.batch_bytes {
                break;
            }
        }
        self.timestamp_ms += 1;
        Ok((self.builder.records(), self.builder.finish()))
    }
}

/// Cuts or pads `record`, the `index`th of its batch, so that it fills `room` exactly or leaves a room that the records behind it can
/// fill exactly.
fn fit(record: &mut Vec<u8>, index: i32, room: usize) {
    // Lengths in front of a record grow with it, so a few rooms are one byte too large for one value length and too small for the next.
    let fillable = |index, room| room >= LAST_RECORD_BYTES_MIN && value_bytes_for(index, room).is_some();
    for padding in 0..=LAST_RECORD_BYTES_MIN {
        let whole = framed_bytes(index, record.len() + padding);
        if whole == room || (whole < room && fillable(index + 1, room - whole)) {
            record.resize(record.len() + padding, b' ');
            return;
        }
        if whole > room {
            break;
        }
    }
    // It is the last one, or, where its own room can't be filled exactly, half of it and another record follows.
    let value_bytes = value_bytes_for(index, room).unwrap_or(room / 2);
    record.resize(value_bytes, b' ');
}

/// Bytes of the `index`th record of a batch with a value of that size, no key, and the batch's own timestamp.
fn framed_bytes(index: i32, value_bytes: usize) -> usize {
    // attributes, timestamp delta 0, offset delta, no key, value length, value, no headers
    let body = 1 + 1 + varlong_len(i64::from(index)) + 1 + varlong_len(value_bytes as i64) + value_bytes + 1;
    varlong_len(body as i64) + body
}

/// The value size with which a record takes exactly `room` bytes.
fn value_bytes_for(index: i32, room: usize) -> Option<usize> {
    let framing_max = 5 + 3 + 5 + 5 + 1;
    (room.saturating_sub(framing_max)..room).find(|value_bytes| framed_bytes(index, *value_bytes) == room)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kafka_wire::{BatchHeader, RecordIter};

    fn batches(payload: PayloadSpec, stored_batch_bytes: usize) -> Batches {
        let source = RecordSource::open(&payload, 1).unwrap();
        let topic = "t".to_owned();
        let spec = PreloadSpec {
            topic,
            stored_batch_bytes,
            file_bytes: 0,
            payload,
            seed: 1,
            base_timestamp_ms: 1_000,
        };
        Batches::new(source, &spec)
    }

    #[test]
    fn every_batch_has_exactly_its_size() {
        for batch_bytes in (BATCH_BYTES_MIN..600)
            .chain([4_095, 4_096, 4_097, 65_536])
            .chain(8_250..8_270)
        {
            for record_bytes in [40, 63, 100, 9_000] {
                let mut batches = batches(PayloadSpec::Random { record_bytes }, batch_bytes);
                for _ in 0..2 {
                    let (records, batch) = batches.next().unwrap();
                    assert_eq!(batch.len(), batch_bytes, "records of {record_bytes}");
                    let header = BatchHeader::checked_from_client(batch).unwrap();
                    assert_eq!(header.records_count, records);
                    let read: Vec<_> = RecordIter::new(header, batch).collect::<Result<_, _>>().unwrap();
                    assert_eq!(read.len(), records as usize);
                }
            }
        }
    }

    #[test]
    fn records_of_any_lengths_fit_too() {
        let mut lines = String::new();
        (1..400usize).for_each(|n| lines.push_str(&format!("{}\n", "x".repeat(n * 7 % 301 + 1))));
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), lines).unwrap();
        let payload = PayloadSpec::File {
            path: file.path().to_owned(),
            cut: crate::payload::Cut::Lines,
        };
        let mut batches = batches(payload, 4_096);
        for _ in 0..200 {
            assert_eq!(batches.next().unwrap().1.len(), 4_096);
        }
    }

    #[test]
    fn only_the_last_record_of_a_batch_is_changed() {
        let payload = PayloadSpec::Json {
            record_bytes: 512,
            entropy: 0.25,
        };
        let mut source = RecordSource::open(&payload, 1).unwrap();
        let mut batches = batches(payload, 4_096);
        let (_, batch) = batches.next().unwrap();
        let header = BatchHeader::checked(batch).unwrap();
        let read: Vec<_> = RecordIter::new(header, batch).collect::<Result<_, _>>().unwrap();
        let mut record = Vec::new();
        for stored in &read[..read.len() - 1] {
            source.next(&mut record).unwrap();
            assert_eq!(stored.value, Some(record.as_slice()));
        }
    }

    #[test]
    fn the_framing_is_counted_as_the_builder_counts_it() {
        let builder = BatchBuilder::new(0);
        for value_bytes in [0, 1, 57, 58, 63, 64, 8_100, 8_191, 8_192, 1 << 20] {
            assert_eq!(framed_bytes(0, value_bytes), builder.record_bytes(0, None, value_bytes));
            assert_eq!(value_bytes_for(0, framed_bytes(0, value_bytes)), Some(value_bytes));
        }
        assert_eq!(framed_bytes(0, 5), 12);
    }

    #[test]
    fn the_checksum_ignores_what_a_broker_stamps_and_nothing_else() {
        let mut batch = batches(PayloadSpec::Random { record_bytes: 100 }, 512)
            .next()
            .unwrap()
            .1
            .to_vec();
        let checksum = |batch: &[u8]| {
            let mut checksum = Checksum::default();
            checksum.add(batch);
            checksum.value()
        };
        let before = checksum(&batch);
        kafka_wire::batch::stamp(&mut batch, 77, 3);
        assert_eq!(checksum(&batch), before);
        batch[511] ^= 1;
        assert_ne!(checksum(&batch), before);
    }
}
