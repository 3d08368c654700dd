//! A producer that repeats every batch with the same sequences until it is acknowledged.
//!
//! It works in turns: some batches for each partition, one behind the other, then all answers. What was not acknowledged is repeated
//! first and in its order in the next turn, so it never overtakes a later batch. Repeating may store a batch twice: without
//! idempotence that is the contract. With it each batch carries the producer's id and its first sequence, the same ones whenever it
//! is repeated, on a new connection too. It stops on a flag, between two turns, with nothing in flight.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use kafka_wire::{BatchBuilder, ErrorCode, produce};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::connection::{ClientError, Connection, ProducerId};
use super::{Acks, Identity};
use crate::history::{CODE_CONNECTION, Event, HistoryError, HistoryWriter, Run};

/// How often a producer that waits for its turn looks at the control.
const LOOK: Duration = Duration::from_millis(1);
const BACKOFF_MIN: Duration = Duration::from_millis(2);
const BACKOFF_MAX: Duration = Duration::from_millis(100);

/// What a producer does.
#[derive(Debug, Clone)]
pub struct ProducerSpec {
    /// The broker.
    pub address: SocketAddr,
    /// Its number, unique in the run.
    pub producer: u64,
    /// Topic, which exists.
    pub topic: String,
    /// Partitions of the topic; it writes to all of them.
    pub partitions: u32,
    /// Number of the topic's first partition in the history and in payloads, see [`crate::history::PARTITIONS_PER_TOPIC`].
    pub first_partition: u32,
    /// Payload size of a record, at least [`super::RECORD_BYTES_MIN`].
    pub record_bytes: u32,
    /// Fewest and most records in a batch, drawn uniformly.
    pub batch_records: (u32, u32),
    /// What is asked for.
    pub acks: Acks,
    /// Whether batches carry a producer id and sequences, so that the broker can tell a repeated one.
    pub idempotence: bool,
    /// Batches for one partition in one turn; Kafka's producers keep their order with 5 at most.
    pub in_flight: u32,
    /// Every nth batch is sent once with a flipped bit before it is sent sound.
    pub damage_every: Option<u32>,
    /// Records per second that it does not exceed outside of bursts; `None` for as fast as acknowledgements come.
    pub rate_per_s: Option<f64>,
    /// After this time without an answer the outcome is indeterminate.
    pub request_timeout: Duration,
    /// Seed of batch sizes and damaged bits.
    pub seed: u64,
}

/// What the threads of a run share with their producers.
#[derive(Debug, Default)]
pub struct Control {
    /// Ends every producer after its turn.
    pub stop: AtomicBool,
    /// While it is set, no rate is kept.
    pub burst: AtomicBool,
    /// Partitions that the topic has by now, when it was given more; 0 while it was not.
    pub grown_to: AtomicU32,
    /// Records whose acknowledgements have reached the histories.
    pub acknowledged: AtomicU64,
}

/// A batch that waits for its acknowledgement.
#[derive(Debug, Clone)]
struct Pending {
    run: Run,
    /// Still to be sent once with a flipped bit.
    damage: bool,
    bytes: Vec<u8>,
}

/// What an answer means for a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    Acknowledged,
    /// Definitely not stored.
    Refused,
    /// Perhaps stored.
    Indeterminate,
}

/// What Kafka's error codes say about the fate of a batch. A code that is not known to come before the write is indeterminate.
fn meaning(code: i16) -> Meaning {
    const NOT_ENOUGH_REPLICAS: i16 = 19;
    match ErrorCode::from_code(code) {
        // A duplicate is in the log, and the broker does not know any more where.
        Some(ErrorCode::None | ErrorCode::DuplicateSequenceNumber) => Meaning::Acknowledged,
        Some(
            ErrorCode::CorruptMessage
            | ErrorCode::UnknownTopicOrPartition
            | ErrorCode::LeaderNotAvailable
            | ErrorCode::NotLeaderOrFollower
            | ErrorCode::MessageTooLarge
            | ErrorCode::InvalidTopicException
            | ErrorCode::RecordListTooLarge
            | ErrorCode::InvalidRequiredAcks
            | ErrorCode::UnsupportedVersion
            | ErrorCode::InvalidRequest
            | ErrorCode::UnsupportedForMessageFormat
            | ErrorCode::PolicyViolation
            | ErrorCode::FencedLeaderEpoch
            | ErrorCode::UnknownLeaderEpoch
            | ErrorCode::UnsupportedCompressionType
            | ErrorCode::OutOfOrderSequenceNumber
            | ErrorCode::InvalidProducerEpoch
            | ErrorCode::UnknownProducerId
            | ErrorCode::InvalidRecord,
        ) => Meaning::Refused,
        _ if code == NOT_ENOUGH_REPLICAS => Meaning::Refused,
        _ => Meaning::Indeterminate,
    }
}

/// The producer's thread body and state.
#[derive(Debug)]
pub struct Producer {
    spec: ProducerSpec,
    history: HistoryWriter,
    random: ChaCha8Rng,
    builder: BatchBuilder,
    payload: Vec<u8>,
    frames: Vec<u8>,
    /// What has to be repeated, by partition, oldest first.
    pending: Vec<VecDeque<Pending>>,
    /// Given by the broker, when there is idempotence; it stays for good.
    id: Option<ProducerId>,
    next_sequence: Vec<u64>,
    batches: u64,
    correlation_id: i32,
}

impl Producer {
    /// Creates the producer and its history file; nothing is sent yet.
    ///
    /// # Errors
    /// When the history cannot be created.
    pub fn create(spec: ProducerSpec, history: &Path) -> Result<Self, HistoryError> {
        let partitions = spec.partitions as usize;
        Ok(Self {
            history: HistoryWriter::create(history)?,
            random: ChaCha8Rng::seed_from_u64(spec.seed ^ spec.producer.rotate_left(32)),
            builder: BatchBuilder::new(0),
            payload: Vec::new(),
            frames: Vec::new(),
            pending: vec![VecDeque::new(); partitions],
            id: None,
            next_sequence: vec![0; partitions],
            batches: 0,
            correlation_id: 0,
            spec,
        })
    }

    /// Produces until it is stopped.
    ///
    /// # Errors
    /// Only when the history cannot be written: the broker's failures are events.
    pub fn run(mut self, control: &Control) -> Result<(), HistoryError> {
        let mut connection = None;
        let mut backoff = BACKOFF_MIN;
        let mut next_turn = Instant::now();
        while !control.stop.load(Ordering::Relaxed) {
            self.grow(control.grown_to.load(Ordering::Relaxed));
            let open = match connection.take() {
                Some(open) => Ok(open),
                None => self.open(),
            };
            let progressed = match open {
                Ok(mut open) => {
                    let records = self.turn(&mut open, &control.acknowledged)?;
                    if records.is_some() {
                        connection = Some(open);
                    }
                    records.unwrap_or(0)
                }
                Err(_) => 0,
            };
            if progressed == 0 {
                std::thread::sleep(backoff);
                backoff = (backoff * 2).min(BACKOFF_MAX);
                continue;
            }
            backoff = BACKOFF_MIN;
            if let Some(rate_per_s) = self.spec.rate_per_s {
                // A turn that comes late is not caught up: the rate is a ceiling and not a promise.
                next_turn += Duration::from_secs_f64(progressed as f64 / rate_per_s);
                next_turn = next_turn.max(Instant::now());
                while let left = next_turn.saturating_duration_since(Instant::now())
                    && !left.is_zero()
                {
                    if control.burst.load(Ordering::Relaxed) || control.stop.load(Ordering::Relaxed) {
                        // What is sent now is not saved up later.
                        next_turn = Instant::now();
                    } else {
                        std::thread::sleep(left.min(LOOK));
                    }
                }
            }
        }
        self.history.finish()
    }

    /// Writes to new partitions, too.
    fn grow(&mut self, partitions: u32) {
        let partitions = partitions as usize;
        if partitions > self.pending.len() {
            self.pending.resize(partitions, VecDeque::new());
            self.next_sequence.resize(partitions, 0);
        }
    }

    /// The place of a run's partition in its topic.
    fn place(&self, run: &Run) -> usize {
        run.partition.saturating_sub(self.spec.first_partition) as usize
    }

    /// Connects; with idempotence, the first connection asks for a producer id.
    fn open(&mut self) -> Result<Connection, ClientError> {
        let timeout = self.spec.request_timeout;
        let mut connection = Connection::open(self.spec.address, timeout)?;
        if self.spec.idempotence && self.id.is_none() {
            self.id = Some(connection.init_producer_id(timeout)?);
        }
        Ok(connection)
    }

    /// Sends some batches for each partition and waits for all answers. Gives the number of acknowledged records, and `None`
    /// when the connection cannot be used any more.
    fn turn(&mut self, connection: &mut Connection, acknowledged: &AtomicU64) -> Result<Option<u64>, HistoryError> {
        let first_id = self.correlation_id;
        let sent = self.batches_of_a_turn();
        let announced = sent.iter().map(|batch| match batch.damage {
            true => Event::SentDamaged(batch.run),
            false => Event::Sent(batch.run),
        });
        self.history.append_all(announced)?;

        let deadline = Instant::now() + self.spec.request_timeout;
        // Answers may have come before sending failed: they are read all the same.
        let mut failed = connection.send(&self.frames).is_err();
        let mut answered = true;
        let mut records = 0;
        for (mut batch, place) in sent.into_iter().zip(0..) {
            let (run, expected) = (batch.run, first_id.wrapping_add(place));
            let answer = match answered {
                true => receive(connection, deadline, expected, self.place(&run) as u32).ok(),
                false => None,
            };
            let Some(result) = answer else {
                (failed, answered) = (true, false);
                self.history.append(Event::Failed {
                    run,
                    code: CODE_CONNECTION,
                })?;
                let place = self.place(&run);
                self.pending[place].push_back(batch);
                continue;
            };
            match meaning(result.error) {
                Meaning::Acknowledged => {
                    self.history.append(Event::Acknowledged {
                        run,
                        base_offset: result.base_offset,
                    })?;
                    acknowledged.fetch_add(u64::from(run.count), Ordering::Relaxed);
                    records += u64::from(run.count);
                    continue;
                }
                Meaning::Refused => {
                    self.history.append(Event::Refused {
                        run,
                        code: result.error,
                    })?;
                    if batch.damage {
                        // Refusing what is damaged is how it should be: that is progress, too.
                        records += 1;
                        batch.damage = false;
                    }
                }
                Meaning::Indeterminate => self.history.append(Event::Failed {
                    run,
                    code: result.error,
                })?,
            }
            let place = self.place(&run);
            self.pending[place].push_back(batch);
        }
        Ok((!failed).then_some(records))
    }

    /// Takes what has to be repeated, fills it up with new batches, and encodes all of it into `frames`, in the order of sending.
    fn batches_of_a_turn(&mut self) -> Vec<Pending> {
        self.frames.clear();
        let mut sent = Vec::with_capacity(self.pending.len() * self.spec.in_flight as usize);
        for _ in 0..self.spec.in_flight.max(1) {
            for partition in 0..self.pending.len() {
                let waiting = self.pending[partition].pop_front();
                let mut batch = waiting.unwrap_or_else(|| self.new_batch(partition));
                let flipped = batch.damage.then(|| {
                    // Behind the 21 bytes that the CRC does not cover; the same bit is flipped back after encoding.
                    self.random
                        .random_range(kafka_wire::batch::CRC_START * 8..batch.bytes.len() * 8)
                });
                if let Some(bit) = flipped {
                    batch.bytes[bit / 8] ^= 1 << (bit % 8);
                }
                let (topic, acks) = (&self.spec.topic, self.spec.acks.code());
                produce::encode_request(
                    &mut self.frames,
                    self.correlation_id,
                    topic,
                    partition as i32,
                    acks,
                    &batch.bytes,
                );
                if let Some(bit) = flipped {
                    batch.bytes[bit / 8] ^= 1 << (bit % 8);
                }
                self.correlation_id = self.correlation_id.wrapping_add(1);
                sent.push(batch);
            }
        }
        sent
    }

    fn new_batch(&mut self, partition: usize) -> Pending {
        let (fewest, most) = self.spec.batch_records;
        let run = Run {
            producer: self.spec.producer,
            partition: self.spec.first_partition + partition as u32,
            base_sequence: self.next_sequence[partition],
            count: self.random.random_range(fewest..=most),
        };
        let now_ms = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_millis() as i64);
        self.builder.clear(now_ms);
        if let Some(ProducerId { id, epoch }) = self.id {
            // Kafka's sequences begin again at 0 behind the largest number.
            let sequence = (run.base_sequence % (1 << 31)) as i32;
            self.builder.producer(id, epoch, sequence);
        }
        for sequence in run.base_sequence..run.end_sequence() {
            let identity = Identity {
                producer: run.producer,
                partition: run.partition,
                sequence,
            };
            identity.encode(self.spec.record_bytes, &mut self.payload);
            self.builder.push(now_ms, None, &self.payload);
        }
        self.next_sequence[partition] = run.end_sequence();
        self.batches += 1;
        let damage = self
            .spec
            .damage_every
            .is_some_and(|every| self.batches.is_multiple_of(u64::from(every)));
        Pending {
            run,
            damage,
            bytes: self.builder.finish().to_vec(),
        }
    }
}

/// Reads the answer for one partition.
fn receive(
    connection: &mut Connection,
    deadline: Instant,
    expected: i32,
    partition: u32,
) -> Result<produce::ProduceResult, ClientError> {
    connection.receive(deadline, expected, |frame| {
        let (correlation_id, results) = produce::decode_response(frame, produce::CLIENT_VERSION)?;
        let result = results.into_iter().find(|result| result.partition == partition as i32);
        // An answer that leaves the partition out says nothing about its batch.
        let missing = kafka_wire::WireError::InvalidLength {
            at: frame.len(),
            length: 0,
        };
        Ok((correlation_id, result.ok_or(missing)?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_mean_what_kafka_means() {
        for (code, expected) in [
            (0, Meaning::Acknowledged),
            (2, Meaning::Refused),
            (10, Meaning::Refused),
            (19, Meaning::Refused),
            (87, Meaning::Refused),
            (45, Meaning::Refused),
            (46, Meaning::Acknowledged),
            (47, Meaning::Refused),
            (59, Meaning::Refused),
            (7, Meaning::Indeterminate),
            (20, Meaning::Indeterminate),
            (56, Meaning::Indeterminate),
            (-1, Meaning::Indeterminate),
            (12_345, Meaning::Indeterminate),
        ] {
            assert_eq!(meaning(code), expected, "code {code}");
        }
    }
}
