//! The final scan: every partition from offset 0 to the high watermark, told as events.
//!
//! It tells facts (delivered, corrupted, torn, where the log ends) and leaves gaps and losses to the checker. It resumes after a
//! lost connection at the next offset, a bounded number of times.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use kafka_wire::{BatchError, BatchHeader, BatchIter, ErrorCode, RecordIter, fetch};

use super::Identity;
use super::connection::{ClientError, Connection};
use crate::history::{Event, HistoryError, HistoryWriter, OffsetRun, PARTITIONS_PER_TOPIC, Run};

const FETCH_BYTES_MAX: i32 = 1 << 20;
const FETCH_WAIT_MS_MAX: i32 = 100;
/// Attempts without a step forward before the scan is given up.
const STUCK_MAX: u32 = 50;
const PAUSE: Duration = Duration::from_millis(100);
/// Answers "there is no such partition" in a row that are believed, about a second apart from the first to the last.
const GONE_MAX: u32 = 10;
/// A header with a wrong CRC may claim any number of records; beyond this the claim is not used.
const TORN_RECORDS_MAX: i32 = 1 << 20;

/// Why a scan did not come to the end.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The history cannot be written.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// The broker cannot be reached.
    #[error("partition {partition} at offset {offset}: {source}")]
    Client {
        /// The partition.
        partition: u32,
        /// The offset that was asked for.
        offset: i64,
        /// The last failure.
        source: ClientError,
    },
    /// The broker answers with an error.
    #[error("partition {partition} at offset {offset}: the broker answers with error {code}")]
    Refused {
        /// The partition.
        partition: u32,
        /// The offset that was asked for.
        offset: i64,
        /// Kafka's error code.
        code: i16,
    },
    /// The log cannot be walked further, although its end was not reached.
    #[error("partition {partition}: the log cannot be read beyond offset {offset}: {what}")]
    Stuck {
        /// The partition.
        partition: u32,
        /// The next offset.
        offset: i64,
        /// What is there.
        what: String,
    },
    /// The stop flag was set.
    #[error("the scan was interrupted")]
    Interrupted,
}

/// Scans a topic.
#[derive(Debug)]
pub struct Reader {
    address: SocketAddr,
    topic: String,
    /// Number of the topic's first partition in the history.
    first_partition: u32,
    timeout: Duration,
    history: HistoryWriter,
}

impl Reader {
    /// Creates the reader and its history file.
    ///
    /// # Errors
    /// When the history cannot be created.
    pub fn create(address: SocketAddr, topic: &str, timeout: Duration, history: &Path) -> Result<Self, HistoryError> {
        Ok(Self {
            address,
            topic: topic.to_owned(),
            first_partition: 0,
            timeout,
            history: HistoryWriter::create(history)?,
        })
    }

    /// Reads all `partitions` to their ends; `delivered` counts records.
    ///
    /// # Errors
    /// The first partition that cannot be read to its end; the others are scanned all the same.
    pub fn run(self, partitions: u32, stop: &AtomicBool, delivered: &AtomicU64) -> Result<(), ReadError> {
        let topic = self.topic.clone();
        self.run_topics(&[(topic, partitions)], stop, delivered)
    }

    /// The same for several topics, each with its number of partitions; they are numbered in this order.
    ///
    /// # Errors
    /// As [`Reader::run`].
    pub fn run_topics(
        mut self,
        topics: &[(String, u32)],
        stop: &AtomicBool,
        delivered: &AtomicU64,
    ) -> Result<(), ReadError> {
        let mut outcome = Ok(());
        for ((topic, partitions), index) in topics.iter().zip(0_u32..) {
            self.topic.clone_from(topic);
            self.first_partition = index * PARTITIONS_PER_TOPIC;
            for partition in (self.first_partition..).take(*partitions as usize) {
                match self.scan(partition, stop, delivered) {
                    Err(error @ (ReadError::History(_) | ReadError::Interrupted)) => return Err(error),
                    Err(error) => outcome = outcome.and(Err(error)),
                    Ok(()) => {}
                }
            }
        }
        self.history.finish()?;
        outcome
    }

    fn scan(&mut self, partition: u32, stop: &AtomicBool, delivered: &AtomicU64) -> Result<(), ReadError> {
        let mut offset = 0_i64;
        self.history.append(Event::ReadBegin { partition, offset })?;
        let mut connection: Option<Connection> = None;
        let mut stuck = 0;
        loop {
            if stop.load(Ordering::Relaxed) {
                return Err(ReadError::Interrupted);
            }
            let attempt = self.fetch(&mut connection, partition, offset);
            let failure = match attempt {
                Err(source) => {
                    connection = None;
                    ReadError::Client {
                        partition,
                        offset,
                        source,
                    }
                }
                Ok(answer) if answer.code == ErrorCode::OffsetOutOfRange.code() && answer.log_start_offset > offset => {
                    // The head of the log is gone; what is left is read, and the checker sees the gap.
                    offset = answer.log_start_offset;
                    ReadError::Refused {
                        partition,
                        offset,
                        code: answer.code,
                    }
                }
                Ok(Answer { code, .. }) if code != ErrorCode::None.code() => {
                    let refused = ReadError::Refused {
                        partition,
                        offset,
                        code,
                    };
                    let is_gone = code == ErrorCode::UnknownTopicOrPartition.code() && offset == 0;
                    if is_gone && stuck + 1 >= GONE_MAX {
                        // A partition that the broker does not know any more holds nothing, for certain.
                        let next_offset = 0;
                        self.history.append(Event::ReadEnd { partition, next_offset })?;
                        return Err(refused);
                    }
                    refused
                }
                Ok(Answer {
                    high_watermark,
                    records,
                    ..
                }) => {
                    let walked = walk(partition, offset, &records);
                    self.history.append_all(walked.events.iter().copied())?;
                    delivered.fetch_add(walked.records, Ordering::Relaxed);
                    let stepped = walked.next_offset > offset;
                    offset = walked.next_offset;
                    if let Some(what) = walked.obstacle {
                        return Err(ReadError::Stuck {
                            partition,
                            offset,
                            what,
                        });
                    }
                    if offset >= high_watermark {
                        self.history.append(Event::ReadEnd {
                            partition,
                            next_offset: high_watermark,
                        })?;
                        return Ok(());
                    }
                    if stepped {
                        stuck = 0;
                        continue;
                    }
                    let what = format!("no records, though the high watermark is {high_watermark}");
                    ReadError::Stuck {
                        partition,
                        offset,
                        what,
                    }
                }
            };
            stuck += 1;
            if stuck >= STUCK_MAX {
                return Err(failure);
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// One fetch.
    fn fetch(&self, connection: &mut Option<Connection>, partition: u32, offset: i64) -> Result<Answer, ClientError> {
        let open = match connection {
            Some(open) => open,
            None => connection.insert(Connection::open(self.address, self.timeout)?),
        };
        let mut request = Vec::new();
        let (bytes_max, wait_ms) = (FETCH_BYTES_MAX, FETCH_WAIT_MS_MAX);
        fetch::encode_request(
            &mut request,
            1,
            &self.topic,
            (partition - self.first_partition) as i32,
            offset,
            bytes_max,
            wait_ms,
        );
        open.send(&request)?;
        open.receive(Instant::now() + self.timeout, 1, |frame| {
            let head = fetch::ResponseHead::decode(frame)?;
            let code = if head.error == 0 { head.result.error } else { head.error };
            let records = frame.get(head.head_bytes..).unwrap_or_default();
            let records = &records[..records.len().min(head.result.records_bytes)];
            let answer = Answer {
                code,
                high_watermark: head.result.high_watermark,
                log_start_offset: head.result.log_start_offset,
                records: records.to_vec(),
            };
            Ok((head.correlation_id, answer))
        })
    }
}

/// A fetch response for one partition.
#[derive(Debug)]
struct Answer {
    code: i16,
    high_watermark: i64,
    log_start_offset: i64,
    records: Vec<u8>,
}

/// What the records of one response say.
#[derive(Debug, Default, PartialEq, Eq)]
struct Walked {
    events: Vec<Event>,
    records: u64,
    next_offset: i64,
    /// Why nothing behind `next_offset` can be found.
    obstacle: Option<String>,
}

/// Tells the batches in `bytes`, which were asked for from `offset` on.
fn walk(partition: u32, offset: i64, bytes: &[u8]) -> Walked {
    let mut walked = Walked {
        next_offset: offset,
        ..Walked::default()
    };
    let mut batches = BatchIter::new(bytes);
    for item in batches.by_ref() {
        let (header, batch) = match item {
            Ok(batch) => batch,
            Err(error) => {
                // Without a sound length the next batch cannot be found.
                let torn = OffsetRun {
                    partition,
                    base_offset: walked.next_offset,
                    count: 1,
                };
                walked.events.push(Event::Torn(torn));
                walked.obstacle = Some(error.to_string());
                return walked;
            }
        };
        match BatchHeader::checked(batch) {
            Ok(_) => walk_batch(partition, header, batch, &mut walked),
            Err(BatchError::UnknownCodec(_)) | Err(BatchError::ControlBatch) => {
                corrupted_batch(partition, &header, &mut walked);
            }
            Err(_) => {
                let count = header.last_offset_delta.saturating_add(1).clamp(1, TORN_RECORDS_MAX) as u32;
                walked.events.push(Event::Torn(OffsetRun {
                    partition,
                    base_offset: header.base_offset,
                    count,
                }));
                walked.next_offset = walked
                    .next_offset
                    .max(header.base_offset.saturating_add(i64::from(count)));
            }
        }
    }
    if walked.next_offset == offset && !batches.rest().is_empty() {
        // KIP-74: a response holds at least one whole batch, whatever its limit.
        walked.events.push(Event::Torn(OffsetRun {
            partition,
            base_offset: offset,
            count: 1,
        }));
        walked.obstacle = Some(format!("a batch that is cut off after {} bytes", batches.rest().len()));
    }
    walked
}

fn corrupted_batch(partition: u32, header: &BatchHeader, walked: &mut Walked) {
    let count = header.records_count.max(1) as u32;
    walked.events.push(Event::Corrupted(OffsetRun {
        partition,
        base_offset: header.base_offset,
        count,
    }));
    walked.next_offset = walked
        .next_offset
        .max(header.base_offset.saturating_add(i64::from(count)));
}

/// Tells the records of a sound batch as runs, as long as they can be.
fn walk_batch(partition: u32, header: BatchHeader, batch: &[u8], walked: &mut Walked) {
    if header.codec() != 0 || header.is_control() {
        // No producer of this workload writes such a batch.
        return corrupted_batch(partition, &header, walked);
    }
    for record in RecordIter::new(header, batch) {
        let Ok(record) = record else {
            let base_offset = walked.next_offset.max(header.base_offset);
            let count = (header.last_offset() - base_offset + 1).clamp(1, i64::from(TORN_RECORDS_MAX)) as u32;
            walked.events.push(Event::Torn(OffsetRun {
                partition,
                base_offset,
                count,
            }));
            break;
        };
        walked.records += 1;
        let identity = record
            .value
            .and_then(Identity::decode)
            .filter(|identity| identity.partition == partition);
        extend_last(&mut walked.events, partition, record.offset, identity);
        walked.next_offset = walked.next_offset.max(record.offset.saturating_add(1));
    }
    walked.next_offset = walked.next_offset.max(header.last_offset().saturating_add(1));
}

/// Adds one record to the last run when it continues it, and begins a new run otherwise.
fn extend_last(events: &mut Vec<Event>, partition: u32, offset: i64, identity: Option<Identity>) {
    match (events.last_mut(), identity) {
        (Some(Event::Delivered { run, base_offset }), Some(identity))
            if run.producer == identity.producer
                && run.end_sequence() == identity.sequence
                && *base_offset + i64::from(run.count) == offset
                && run.count < u32::MAX =>
        {
            run.count += 1;
        }
        (Some(Event::Corrupted(run)), None)
            if run.base_offset + i64::from(run.count) == offset && run.count < u32::MAX =>
        {
            run.count += 1;
        }
        (
            _,
            Some(Identity {
                producer,
                partition,
                sequence,
            }),
        ) => {
            let run = Run {
                producer,
                partition,
                base_sequence: sequence,
                count: 1,
            };
            events.push(Event::Delivered {
                run,
                base_offset: offset,
            });
        }
        (_, None) => events.push(Event::Corrupted(OffsetRun {
            partition,
            base_offset: offset,
            count: 1,
        })),
    }
}

#[cfg(test)]
mod tests {
    use kafka_wire::{BatchBuilder, batch::stamp};

    use super::*;

    const PARTITION: u32 = 2;

    /// A stored batch of one producer's records.
    fn batch(base_offset: i64, sequences: std::ops::Range<u64>) -> Vec<u8> {
        let mut builder = BatchBuilder::new(0);
        let mut payload = Vec::new();
        for sequence in sequences {
            Identity {
                producer: 9,
                partition: PARTITION,
                sequence,
            }
            .encode(64, &mut payload);
            builder.push(0, None, &payload);
        }
        let mut bytes = builder.finish().to_vec();
        stamp(&mut bytes, base_offset, 0);
        bytes
    }

    fn delivered(base_sequence: u64, count: u32, base_offset: i64) -> Event {
        Event::Delivered {
            run: Run {
                producer: 9,
                partition: PARTITION,
                base_sequence,
                count,
            },
            base_offset,
        }
    }

    fn offsets(base_offset: i64, count: u32) -> OffsetRun {
        OffsetRun {
            partition: PARTITION,
            base_offset,
            count,
        }
    }

    #[test]
    fn sound_batches_are_runs_across_batches() {
        let log = [batch(0, 0..5), batch(5, 5..8), batch(8, 5..8)].concat();
        let walked = walk(PARTITION, 0, &log);
        assert_eq!(walked.events, [delivered(0, 8, 0), delivered(5, 3, 8)]);
        assert_eq!((walked.records, walked.next_offset, walked.obstacle), (11, 11, None));
    }

    #[test]
    fn a_gap_of_offsets_splits_a_run() {
        let walked = walk(PARTITION, 0, &[batch(0, 0..2), batch(3, 2..4)].concat());
        assert_eq!(walked.events, [delivered(0, 2, 0), delivered(2, 2, 3)]);
    }

    #[test]
    fn a_wrong_crc_is_torn_and_the_scan_goes_on() {
        let mut torn = batch(2, 2..5);
        let last = torn.len() - 1;
        torn[last] ^= 1;
        let walked = walk(PARTITION, 0, &[batch(0, 0..2), torn, batch(5, 5..6)].concat());
        assert_eq!(
            walked.events,
            [delivered(0, 2, 0), Event::Torn(offsets(2, 3)), delivered(5, 1, 5)]
        );
        assert_eq!((walked.next_offset, walked.obstacle), (6, None));
    }

    #[test]
    fn a_foreign_payload_in_a_sound_batch_is_corrupted() {
        let mut builder = BatchBuilder::new(0);
        let mut elsewhere = Vec::new();
        Identity {
            producer: 9,
            partition: PARTITION + 1,
            sequence: 0,
        }
        .encode(64, &mut elsewhere);
        builder.push(0, None, b"hello");
        builder.push(0, None, &elsewhere);
        let foreign = builder.finish().to_vec();
        let walked = walk(PARTITION, 0, &[foreign, batch(2, 0..1)].concat());
        assert_eq!(walked.events, [Event::Corrupted(offsets(0, 2)), delivered(0, 1, 2)]);
    }

    #[test]
    fn a_log_that_cannot_be_walked_is_an_obstacle() {
        let mut wrong_magic = batch(2, 2..3);
        wrong_magic[16] = 1;
        let walked = walk(PARTITION, 0, &[batch(0, 0..2), wrong_magic].concat());
        assert_eq!(walked.events, [delivered(0, 2, 0), Event::Torn(offsets(2, 1))]);
        assert!(walked.obstacle.unwrap().contains("message format 1"));

        let cut = batch(0, 0..20);
        let walked = walk(PARTITION, 0, &cut[..cut.len() - 1]);
        assert_eq!(walked.events, [Event::Torn(offsets(0, 1))]);
        assert!(walked.obstacle.unwrap().contains("cut off"));
    }

    #[test]
    fn the_cut_tail_behind_a_whole_batch_is_no_obstacle() {
        let next = batch(2, 2..9);
        let walked = walk(
            PARTITION,
            0,
            &[batch(0, 0..2), next[..next.len() / 2].to_vec()].concat(),
        );
        assert_eq!((walked.events, walked.next_offset), (vec![delivered(0, 2, 0)], 2));
        assert_eq!(walked.obstacle, None);
    }
}
