//! What must lie in a topic: exact counts, offsets and checksums per partition, kept by whoever produced it.

use super::ClientError;
use super::spread::Spread;
use kafka_wire::batch::CRC_START;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Largest ledger or index file that is read, bytes.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// What was acknowledged for the partitions of one topic, or of several with one partition each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// Topic; of several, what their names begin with.
    pub topic: String,
    /// Whether each partition is the only one of a topic of its own; see [`Spread`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub topic_each: bool,
    /// One entry per partition, in the order of their numbers.
    pub partitions: Vec<PartitionLedger>,
}

/// What was acknowledged for one partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionLedger {
    /// Partition; where each has a topic of its own, the number of that topic.
    pub partition: i32,
    /// Offset of the first record, -1 while there is none.
    pub first_offset: i64,
    /// Offset behind the last record, -1 while there is none.
    pub next_offset: i64,
    /// Batches.
    pub batches: u64,
    /// Records.
    pub records: u64,
    /// Bytes of the batches.
    pub bytes: u64,
    /// Whether each batch got the offset behind the one before it; false also when somebody else produces to the partition.
    pub dense: bool,
    /// See [`Checksum`].
    pub checksum: Checksum,
}

impl PartitionLedger {
    /// Of a partition that nothing was produced to yet.
    pub fn new(partition: i32) -> Self {
        Self {
            partition,
            first_offset: -1,
            next_offset: -1,
            batches: 0,
            records: 0,
            bytes: 0,
            dense: true,
            checksum: Checksum::default(),
        }
    }

    /// Adds a batch of `records` records, `bytes` long with CRC-32C `crc`, that was acknowledged at `base_offset`.
    pub fn add(&mut self, base_offset: i64, records: i32, bytes: u64, crc: u32) {
        if self.batches == 0 {
            self.first_offset = base_offset;
        } else {
            self.dense &= base_offset == self.next_offset;
        }
        self.next_offset = base_offset.saturating_add(i64::from(records));
        self.batches += 1;
        self.records += u64::try_from(records).unwrap_or_default();
        self.bytes += bytes;
        self.checksum.add_crc(crc);
    }
}

impl Ledger {
    /// Of partitions that nothing was produced to yet.
    pub fn empty(spread: &Spread) -> Self {
        let partitions = 0..i32::try_from(spread.partitions).unwrap_or(i32::MAX);
        Self {
            topic: spread.topic.clone(),
            topic_each: spread.topic_each,
            partitions: partitions.map(PartitionLedger::new).collect(),
        }
    }

    /// The partitions up to the last one that it tells of.
    pub fn spread(&self) -> Spread {
        let last = self.partitions.iter().map(|found| found.partition).max().unwrap_or(0);
        Spread {
            topic: self.topic.clone(),
            partitions: u32::try_from(last).unwrap_or(0).saturating_add(1),
            topic_each: self.topic_each,
        }
    }

    /// Writes the ledger as JSON.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), ClientError> {
        write_json(path, self)
    }

    /// Reads a ledger, or the ledger in a pre-load index.
    ///
    /// # Errors
    /// The file cannot be read, or is no ledger, or holds no partition.
    pub fn read(path: &Path) -> Result<Self, ClientError> {
        let ledger: Self = read_json(path)?;
        if ledger.partitions.is_empty() {
            return Err(ClientError::Spec(format!(
                "{}: the ledger holds no partition; produce to the topic again",
                path.display()
            )));
        }
        Ok(ledger)
    }

    /// Bytes of all batches.
    pub fn total_bytes(&self) -> u64 {
        self.partitions.iter().map(|partition| partition.bytes).sum()
    }

    /// All records.
    pub fn total_records(&self) -> u64 {
        self.partitions.iter().map(|partition| partition.records).sum()
    }

    /// All batches.
    pub fn total_batches(&self) -> u64 {
        self.partitions.iter().map(|partition| partition.batches).sum()
    }
}

pub(super) fn write_json(path: &Path, value: &impl Serialize) -> Result<(), ClientError> {
    let failed = |source| ClientError::File {
        path: path.to_owned(),
        source,
    };
    let text = serde_json::to_vec(value).map_err(|error| failed(error.into()))?;
    std::fs::write(path, text).map_err(failed)
}

pub(super) fn read_json<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<T, ClientError> {
    use std::io::Read;
    let failed = |source| ClientError::File {
        path: path.to_owned(),
        source,
    };
    let mut text = Vec::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(FILE_BYTES_MAX).read_to_end(&mut text).map_err(failed)?;
    serde_json::from_slice(&text).map_err(|error| failed(error.into()))
}

/// Checksum of a partition's content: FNV-1a over the CRC-32C of each batch, in order. The CRC covers a batch from its attributes to
/// its end, which a broker does not touch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Checksum(u64);

impl Default for Checksum {
    fn default() -> Self {
        Self(crate::payload::fnv1a(&[]))
    }
}

impl Checksum {
    /// Adds a whole batch; the CRC is computed from its bytes and not read from its header.
    pub fn add(&mut self, batch: &[u8]) {
        self.add_crc(kafka_wire::crc::crc32c(batch.get(CRC_START..).unwrap_or_default()));
    }

    /// Adds a batch by its CRC.
    pub fn add_crc(&mut self, crc: u32) {
        self.0 = crate::payload::fnv1a_continue(self.0, &crc.to_be_bytes());
    }

    /// Adds the checksum of a partition, for one over all of them.
    pub fn add_partition(&mut self, partition: Checksum) {
        self.0 = crate::payload::fnv1a_continue(self.0, &partition.0.to_be_bytes());
    }

    /// The checksum of the batches so far.
    pub fn value(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_ignores_what_a_broker_stamps_and_nothing_else() {
        let mut builder = kafka_wire::BatchBuilder::new(1_000);
        builder.push(1_000, None, &[7; 400]);
        let mut batch = builder.finish().to_vec();
        let checksum = |batch: &[u8]| {
            let mut checksum = Checksum::default();
            checksum.add(batch);
            checksum
        };
        let before = checksum(&batch);
        kafka_wire::batch::stamp(&mut batch, 77, 3);
        assert_eq!(checksum(&batch), before);
        *batch.last_mut().unwrap() ^= 1;
        assert_ne!(checksum(&batch), before);
    }

    #[test]
    fn a_gap_is_remembered() {
        let mut ledger = PartitionLedger::new(3);
        ledger.add(10, 5, 100, 1);
        ledger.add(15, 2, 100, 2);
        assert_eq!((ledger.first_offset, ledger.next_offset, ledger.dense), (10, 17, true));
        ledger.add(18, 1, 100, 3);
        ledger.add(19, 1, 100, 4);
        assert_eq!(
            (ledger.batches, ledger.records, ledger.bytes, ledger.dense),
            (4, 9, 400, false)
        );
    }
}
