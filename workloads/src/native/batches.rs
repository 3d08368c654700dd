//! Record batches of one exact size, from a source of records.
//!
//! Response sizes are a factor of the experiments, and a fetch returns whole batches: only when every stored batch has the same size
//! is the achieved response size the size that was asked for. So the last record of each batch is cut, or padded with spaces, to
//! fit.

use super::ClientError;
use crate::payload::RecordSource;
use kafka_wire::BatchBuilder;
use kafka_wire::encode::varlong_len;

/// Smallest record that a batch ends with, bytes with its framing.
const LAST_RECORD_BYTES_MIN: usize = 72;
/// Smallest batch that the fitting works for.
pub const BATCH_BYTES_MIN: usize = 256;
/// Largest batch: what a broker takes in one request by default.
pub const BATCH_BYTES_MAX: usize = 64 << 20;

/// Batches of exactly one size, made from a source of records.
pub(super) struct Batches {
    source: RecordSource,
    builder: BatchBuilder,
    record: Vec<u8>,
    batch_bytes: usize,
    timestamp_ms: i64,
}

impl Batches {
    /// Batches of `batch_bytes` bytes, the first of them at `timestamp_ms`, each a millisecond behind the one before it.
    ///
    /// # Errors
    /// A size below [`BATCH_BYTES_MIN`].
    pub fn new(source: RecordSource, batch_bytes: usize, timestamp_ms: i64) -> Result<Self, ClientError> {
        if !(BATCH_BYTES_MIN..=BATCH_BYTES_MAX).contains(&batch_bytes) {
            return Err(ClientError::Spec(format!(
                "batches of {batch_bytes} bytes: choose {BATCH_BYTES_MIN} to {BATCH_BYTES_MAX}"
            )));
        }
        Ok(Self {
            source,
            builder: BatchBuilder::new(timestamp_ms),
            record: Vec::new(),
            batch_bytes,
            timestamp_ms,
        })
    }

    /// The next batch and the number of its records.
    pub fn next(&mut self) -> Result<(i32, &[u8]), ClientError> {
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
    use crate::payload::PayloadSpec;
    use kafka_wire::{BatchHeader, RecordIter};

    fn batches(payload: PayloadSpec, stored_batch_bytes: usize) -> Batches {
        let source = RecordSource::open(&payload, 1).unwrap();
        Batches::new(source, stored_batch_bytes, 1_000).unwrap()
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
}
