//! Record batches as cases send them, good and bad.

use kafka_wire::BatchBuilder;
use kafka_wire::batch::CRC_START;
use kafka_wire::crc::crc32c;

/// Positions in a batch header.
pub(super) const MAGIC_AT: usize = 16;
pub(super) const CRC_AT: usize = 17;
pub(super) const ATTRIBUTES_AT: usize = 21;
pub(super) const LAST_OFFSET_DELTA_AT: usize = 23;
const BASE_TIMESTAMP_AT: usize = 27;
const MAX_TIMESTAMP_AT: usize = 35;
pub(super) const PRODUCER_ID_AT: usize = 43;
pub(super) const RECORDS_AT: usize = 57;

/// An uncompressed batch; record `i` is of `base_ms + i`.
pub(super) fn plain(base_ms: i64, values: &[&[u8]]) -> Vec<u8> {
    let mut builder = BatchBuilder::new(base_ms);
    for (i, value) in values.iter().enumerate() {
        builder.push(base_ms + i as i64, None, value);
    }
    builder.finish().to_vec()
}

/// An uncompressed batch of an idempotent producer, of `records` records.
pub(super) fn of_producer(base_ms: i64, (id, epoch, sequence): (i64, i16, i32), records: i32) -> Vec<u8> {
    let mut builder = BatchBuilder::new(base_ms);
    builder.producer(id, epoch, sequence);
    for i in 0..records {
        builder.push(base_ms + i64::from(i), None, b"value");
    }
    builder.finish().to_vec()
}

/// With `bytes` at `at`, and a CRC that fits.
pub(super) fn patched(batch: &[u8], at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut out = batch.to_vec();
    out[at..at + bytes.len()].copy_from_slice(bytes);
    let crc = crc32c(&out[CRC_START..]);
    out[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_be_bytes());
    out
}

/// With `bytes` at `at` and the CRC as it was.
pub(super) fn broken(batch: &[u8], at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut out = batch.to_vec();
    out[at..at + bytes.len()].copy_from_slice(bytes);
    out
}

/// With another record count and last offset delta, and a CRC that fits.
pub(super) fn counted(batch: &[u8], records: i32, last_offset_delta: i32) -> Vec<u8> {
    let out = patched(batch, RECORDS_AT, &records.to_be_bytes());
    patched(&out, LAST_OFFSET_DELTA_AT, &last_offset_delta.to_be_bytes())
}

/// A header alone: a batch of no record.
pub(super) fn empty(base_ms: i64) -> Vec<u8> {
    let mut header = plain(base_ms, &[b"x"])[..RECORDS_AT + 4].to_vec();
    header[8..12].copy_from_slice(&(49i32).to_be_bytes());
    counted(&header, 0, -1)
}

/// A message set of an old format with one message "value", as old clients send it.
pub(super) fn old_format(magic: u8, ms: i64) -> Vec<u8> {
    let mut message = vec![magic, 0];
    if magic == 1 {
        message.extend(ms.to_be_bytes());
    }
    message.extend((-1i32).to_be_bytes());
    message.extend(5i32.to_be_bytes());
    message.extend(b"value");
    let mut out = 0i64.to_be_bytes().to_vec();
    out.extend((message.len() as i32 + 4).to_be_bytes());
    // The CRC of these formats is another one; the format is looked at first.
    out.extend([0; 4]);
    out.extend(message);
    out
}

/// A compressed batch of two records, as the Java client wrote it, with times from `base_ms` on.
pub(super) fn compressed(codec: i16, base_ms: i64) -> Vec<u8> {
    let raw: &[u8] = match codec {
        1 => include_bytes!("compressed/gzip.batch"),
        2 => include_bytes!("compressed/snappy.batch"),
        3 => include_bytes!("compressed/lz4.batch"),
        _ => include_bytes!("compressed/zstd.batch"),
    };
    let out = patched(raw, BASE_TIMESTAMP_AT, &base_ms.to_be_bytes());
    patched(&out, MAX_TIMESTAMP_AT, &(base_ms + 1).to_be_bytes())
}
