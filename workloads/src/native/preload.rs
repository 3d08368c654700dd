//! Fills a topic with batches of one exact size, and leaves an index of them.
//!
//! The next offset of a client that discards its responses comes from the index.

use super::ClientError;
use super::admin::{Admin, NewTopic};
use super::batches::{BATCH_BYTES_MAX, BATCH_BYTES_MIN, Batches};
use super::connection::{ConnectOptions, Connection};
use super::endpoint::Bootstrap;
use super::ledger::{Ledger, PartitionLedger, read_json, write_json};
use super::security::Security;
use crate::payload::{PayloadSpec, RecordSource};
use kafka_wire::batch::CRC_START;
use kafka_wire::produce;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::path::Path;

/// Requests on a connection at once.
const IN_FLIGHT: usize = 32;

/// What is stored where.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PreloadSpec {
    /// Topic to create.
    pub topic: String,
    /// Its partitions; batches go to them in turn.
    #[serde(default = "one")]
    pub partitions: u32,
    /// Replicas of each partition.
    #[serde(default = "one_replica")]
    pub replicas: u16,
    /// Settings of the topic, by Kafka's names. A broker with retention by time needs `retention.ms=-1` to keep old timestamps.
    #[serde(default)]
    pub configs: BTreeMap<String, String>,
    /// Exact size of every batch, bytes with its header.
    pub stored_batch_bytes: usize,
    /// Size of all batches of all partitions, bytes; a multiple of a batch for each partition.
    pub file_bytes: u64,
    /// The records.
    pub payload: PayloadSpec,
    /// Seed of the records.
    pub seed: u64,
    /// Timestamp of the first record, ms since 1970; a broker with retention by time deletes old ones.
    pub base_timestamp_ms: i64,
}

fn one() -> u32 {
    1
}

fn one_replica() -> u16 {
    1
}

/// What lies in a pre-loaded topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreloadIndex {
    /// What every byte of it can be checked against.
    #[serde(flatten)]
    pub ledger: Ledger,
    /// Size of every batch, bytes.
    pub batch_bytes: u64,
    /// Base offset of each batch, for each partition of the ledger.
    pub base_offsets: Vec<Vec<i64>>,
}

impl PreloadIndex {
    /// Bytes of all batches.
    pub fn total_bytes(&self) -> u64 {
        self.ledger.total_bytes()
    }

    /// Writes the index as JSON.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), ClientError> {
        write_json(path, self)
    }

    /// Reads an index that [`Self::write`] left.
    ///
    /// # Errors
    /// The file cannot be read, or is no index.
    pub fn read(path: &Path) -> Result<Self, ClientError> {
        let index: Self = read_json(path)?;
        let partitions = index.ledger.partitions.len();
        let is_whole = partitions > 0 && partitions == index.base_offsets.len() && index.batch_bytes > 0;
        if !is_whole || index.base_offsets.iter().any(Vec::is_empty) {
            return Err(ClientError::Spec(format!(
                "{}: the index holds no batch for each partition; pre-load the topic again",
                path.display()
            )));
        }
        Ok(index)
    }
}

/// A batch that is on its way.
struct Pending {
    correlation_id: i32,
    /// Place of its partition in the ledger.
    partition: usize,
    offset: i64,
    records: i32,
    crc: u32,
}

/// Creates the topic and stores the batches with acks=all, several in flight.
///
/// # Errors
/// A size that does not work, a payload that gives no records, or a broker that refuses or gives offsets that are not dense.
pub fn preload(brokers: &Bootstrap, security: &Security, spec: &PreloadSpec) -> Result<PreloadIndex, ClientError> {
    let batch_bytes = spec.stored_batch_bytes as u64;
    let share_bytes = batch_bytes.saturating_mul(u64::from(spec.partitions));
    let sizes = BATCH_BYTES_MIN..=BATCH_BYTES_MAX;
    if !sizes.contains(&spec.stored_batch_bytes)
        || spec.file_bytes == 0
        || share_bytes == 0
        || !spec.file_bytes.is_multiple_of(share_bytes)
    {
        return Err(ClientError::Spec(format!(
            "{} bytes in batches of {batch_bytes} over {} partitions: choose at least one partition, batches of {BATCH_BYTES_MIN} to \
             {BATCH_BYTES_MAX} bytes, and a multiple of them for each partition",
            spec.file_bytes, spec.partitions
        )));
    }
    let source = RecordSource::open(&spec.payload, spec.seed)?;
    let mut batches = Batches::new(source, spec.stored_batch_bytes, spec.base_timestamp_ms)?;
    let mut admin = Admin::connect(brokers, security)?;
    let new = NewTopic {
        name: spec.topic.clone(),
        partitions: spec.partitions,
        replicas: spec.replicas,
        configs: spec.configs.clone(),
    };
    admin.create_topic(&new)?;

    let partition_count = spec.partitions as usize;
    let mut links: Vec<(Connection, VecDeque<Pending>)> = Vec::new();
    let mut link_of = vec![0; partition_count];
    for (endpoint, partitions) in admin.leaders(&spec.topic, spec.partitions)?.brokers {
        partitions
            .iter()
            .for_each(|partition| link_of[*partition as usize] = links.len());
        let connection = Connection::open(&endpoint, security, &ConnectOptions::default())?;
        links.push((connection, VecDeque::with_capacity(IN_FLIGHT)));
    }
    let batch_count = spec.file_bytes / batch_bytes;
    let mut ledger: Vec<PartitionLedger> = (0..spec.partitions).map(|p| PartitionLedger::new(p as i32)).collect();
    let mut base_offsets =
        vec![Vec::with_capacity((batch_count / u64::from(spec.partitions)) as usize); partition_count];
    let mut next_offsets = vec![0; partition_count];
    let mut requests = Vec::new();
    for number in 0..batch_count {
        let partition = (number % u64::from(spec.partitions)) as usize;
        let (connection, pending) = &mut links[link_of[partition]];
        let (records, batch) = batches.next()?;
        let crc = kafka_wire::crc::crc32c(&batch[CRC_START..]);
        let correlation_id = connection.next_correlation_id();
        requests.clear();
        produce::encode_request(&mut requests, correlation_id, &spec.topic, partition as i32, -1, batch);
        connection.send(&requests)?;
        let offset = next_offsets[partition];
        pending.push_back(Pending {
            correlation_id,
            partition,
            offset,
            records,
            crc,
        });
        base_offsets[partition].push(offset);
        next_offsets[partition] += i64::from(records);
        if pending.len() >= IN_FLIGHT {
            acknowledge(connection, pending, IN_FLIGHT / 2, spec, &mut ledger)?;
        }
    }
    for (connection, pending) in &mut links {
        acknowledge(connection, pending, 0, spec, &mut ledger)?;
    }
    let topic = spec.topic.clone();
    Ok(PreloadIndex {
        ledger: Ledger {
            topic,
            topic_each: false,
            partitions: ledger,
        },
        batch_bytes,
        base_offsets,
    })
}

/// Receives answers until only `keep` are missing.
fn acknowledge(
    connection: &mut Connection,
    pending: &mut VecDeque<Pending>,
    keep: usize,
    spec: &PreloadSpec,
    ledger: &mut [PartitionLedger],
) -> Result<(), ClientError> {
    while pending.len() > keep {
        let Some(next) = pending.pop_front() else { break };
        let partition = next.partition as i32;
        let answer = produce::ResponseHead::decode(connection.receive(next.correlation_id)?)?;
        if answer.error != 0 {
            let (code, message) = (answer.error, answer.message);
            return Err(ClientError::refused(
                "Produce",
                &spec.topic,
                Some(partition),
                code,
                message,
            ));
        }
        let entry = &mut ledger[next.partition];
        if answer.partition != partition || answer.base_offset != next.offset {
            return Err(ClientError::NotDense {
                partition,
                batch: entry.batches,
                expected: next.offset,
                observed: answer.base_offset,
            });
        }
        entry.add(next.offset, next.records, spec.stored_batch_bytes as u64, next.crc);
    }
    Ok(())
}
