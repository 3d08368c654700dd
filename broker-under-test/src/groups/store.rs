//! The topic `__consumer_offsets`: written in front of every answer that promises something, read at start, compacted.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use kafka_wire::{BatchBuilder, BatchHeader, BatchIter, RecordIter};

use super::records::Record;
use crate::config::Config;
use crate::log::{AppendError, Log, LogError, LogSlice, ReadError, io};
use crate::topics::{Refusal, Topics};

/// The broker's own topic; Kafka's name for it.
pub const TOPIC: &str = "__consumer_offsets";
/// A batch of several records is closed before it grows beyond this.
const BATCH_BYTES: usize = 512 * 1024;
/// Read at a time when the broker starts.
const READ_BYTES: usize = 1 << 20;

/// Up to where a log must be flushed before what was written there may be told.
#[derive(Debug, Clone)]
pub(crate) struct Promise {
    log: Arc<dyn Log>,
    until: u64,
}

impl Promise {
    /// Returns when it holds; at once when the flush policy asks for nothing.
    pub fn keep(&self) -> Result<(), StoreError> {
        self.log.await_flush(self.until).map_err(StoreError::Append)
    }
}

/// Why nothing was written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("{TOPIC} could not be created: {0}")]
    Create(String),
    #[error("{TOPIC}: {0}")]
    Append(#[source] AppendError),
}

impl From<Refusal> for StoreError {
    fn from(refusal: Refusal) -> Self {
        StoreError::Create(refusal.message)
    }
}

/// Appends records of one group, all to the same partition. The topic is created by the first of them.
pub(crate) fn append(
    topics: &Topics,
    config: &Config,
    group: &str,
    records: &[Record],
) -> Result<Option<Promise>, StoreError> {
    let topic = match topics.get(TOPIC) {
        Some(topic) => topic,
        None => topics.create_offsets_topic(config.int("offsets.topic.num.partitions") as i32)?,
    };
    let log = &topic.partitions[partition_of(group, topic.partitions.len())];
    let now = now_ms();
    let mut builder = BatchBuilder::new(now);
    let mut promise = None;
    for (index, (key, value)) in records.iter().enumerate() {
        builder.push_record(now, Some(key), value.as_deref(), &[]);
        if builder.total_bytes() < BATCH_BYTES && index + 1 < records.len() {
            continue;
        }
        let batch = builder.finish();
        let header = BatchHeader::parse(batch).expect("the batch was just built");
        let appended = log.append(&header, batch).map_err(StoreError::Append)?;
        promise = appended.await_flush.map(|until| Promise {
            log: log.clone(),
            until,
        });
        builder.clear(now);
    }
    Ok(promise)
}

/// Every record with a key, in the order in which they were written.
///
/// # Errors
/// The file system's, and records that can't be read: offsets that are forgotten without a word would be consumed again.
pub(crate) fn load(log: &dyn Log, mut each: impl FnMut(&[u8], Option<&[u8]>)) -> Result<(), LogError> {
    let mut offset = log.bounds().start();
    let end = log.bounds().high_watermark();
    while offset < end {
        let found = match log.read(offset, READ_BYTES, true) {
            Ok(found) => found,
            Err(ReadError::Log(error)) => return Err(error),
            Err(ReadError::OutOfRange { .. }) => return Ok(()),
        };
        let before = offset;
        for slice in &found.slices {
            offset = offset.max(load_slice(slice, offset, &mut each)?);
        }
        if offset == before {
            return Ok(());
        }
    }
    Ok(())
}

fn load_slice(slice: &LogSlice, from: i64, each: &mut impl FnMut(&[u8], Option<&[u8]>)) -> Result<i64, LogError> {
    let failed = |source| io("read", slice.file.path())(source);
    let raw = slice.to_vec().map_err(failed)?;
    let mut next = from;
    // The last batch of a slice may be cut off, and comes with the next read.
    for (header, batch) in BatchIter::new(&raw).map_while(Result::ok) {
        for record in RecordIter::new(header, batch) {
            let record = record.map_err(|error| io("read", slice.file.path())(std::io::Error::other(error)))?;
            if let Some(key) = record.key.filter(|_| record.offset >= from) {
                each(key, record.value);
            }
        }
        next = next.max(header.last_offset() + 1);
    }
    Ok(next)
}

/// The partition that holds what belongs to a group, by Java's hash of its name, as in Kafka.
fn partition_of(group: &str, partitions: usize) -> usize {
    let hash = group
        .encode_utf16()
        .fold(0i32, |h, unit| h.wrapping_mul(31).wrapping_add(i32::from(unit)));
    // The least number has no counterpart; Kafka takes 0 for it.
    hash.checked_abs().unwrap_or(0) as usize % partitions
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> i64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_1970.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::partition_of;

    #[test]
    fn groups_lie_where_kafka_puts_them() {
        // "hello".hashCode() is 99162322 and "polygenelubricants".hashCode() the least number, in Java.
        assert_eq!(partition_of("hello", 50), 22);
        assert_eq!(partition_of("polygenelubricants", 50), 0);
        // "aaaaaa".hashCode() is -1425372064.
        assert_eq!(partition_of("aaaaaa", 50), 14);
    }
}
