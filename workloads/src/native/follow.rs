//! The following client: one Fetch over all partitions of a topic at a time, as a consumer sends it, from the beginning of what was stored or
//! behind what is being produced.
//!
//! The next offsets come from the headers of the batches that arrive; their order and their checksums are kept in a [`Ledger`], so that what
//! was delivered can be held against what was stored. Records are copied out and not looked at; [`super::verify`] is there for that. The client
//! has no fetch session: each request and each response names every partition.

use super::ClientError;
use super::admin::Admin;
use super::connection::{ConnectOptions, Connection};
use super::endpoint::Bootstrap;
use super::intake::{Intake, Receiver};
use super::ledger::{Ledger, PartitionLedger};
use super::phase::{Phase, PhaseResult, latency_histogram, record};
use super::security::Security;
use super::stream::Stream;
use kafka_wire::fetch::{FetchResult, ResponseStart, Wanted, decode_topic_head, encode_request_of, topic_head_bytes};
use kafka_wire::{BatchHeader, batch};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Partitions of one request, at most.
pub const PARTITIONS_PER_FETCH_MAX: usize = 10_000;

/// Where a follower begins, and where it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Follow {
    /// From the first record to the end of what the ledger says, and once more from the first.
    Stored,
    /// Behind what the ledger says, until that many bytes have come, which somebody else produces.
    Produced {
        /// Record bytes; whole batches.
        bytes: u64,
    },
}

/// How a topic is followed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FollowSpec {
    /// What is read.
    pub follow: Follow,
    /// `max_bytes` of each fetch.
    pub response_bytes: u32,
    /// `max_bytes` of each partition in it.
    pub partition_bytes: u32,
    /// Partitions of a request at most; with more of them they take turns.
    pub partitions_per_fetch: usize,
    /// How long the broker may hold a fetch back, ms.
    pub max_wait_ms: u32,
    /// User buffer that records are copied into, bytes.
    pub receive_buffer_bytes: usize,
}

/// What a phase of following moved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Followed {
    /// Responses with records, and their latencies. That of a fetch that waited for records counts from when it was sent.
    pub phase: PhaseResult,
    /// Responses without records.
    pub empty_responses: u64,
    /// The most records that the follower knew of and did not have, over all partitions.
    pub lag_records_max: u64,
}

/// What one response carried.
#[derive(Debug, Clone, Copy, Default)]
struct Carried {
    bytes: u64,
    records: u64,
}

/// A client that follows the partitions of one topic.
pub struct FollowClient {
    spec: FollowSpec,
    /// What is known to lie there.
    stored: Ledger,
    /// What came of each place, in this pass or behind what was stored.
    seen: Vec<PartitionLedger>,
    /// Of each place, as the last response that named it said.
    high_watermarks: Vec<i64>,
    /// Records up to those that have not come.
    lag_records: i64,
    /// Places with something left, the next ones to be asked for in front; those that had records go to the end, as with Kafka's consumers.
    order: VecDeque<usize>,
    /// Places of the request on its way, with the bytes that had come of each.
    asked: Vec<(usize, u64)>,
    wanted: Vec<Wanted>,
    request: Vec<u8>,
    correlation_id: i32,
    stream: Stream,
    intake: Intake,
}

impl FollowClient {
    /// Connects; fetches nothing yet. `stored` holds the partitions from 0 on, each with at least one batch.
    ///
    /// # Errors
    /// A figure that cannot work, a broker that is not there, or a topic that several brokers lead.
    pub fn connect(
        brokers: &Bootstrap,
        security: &Security,
        stored: Ledger,
        spec: FollowSpec,
    ) -> Result<Self, ClientError> {
        check(&spec, &stored)?;
        let partitions = stored.partitions.len() as u32;
        let leaders = Admin::connect(brokers, security)?.leaders(&stored.topic, partitions)?;
        let [(endpoint, _)] = &leaders.brokers[..] else {
            return Err(ClientError::Spec(format!(
                "topic `{}` is led by {} brokers: a follower has one connection, so follow a topic of a single broker",
                stored.topic,
                leaders.brokers.len()
            )));
        };
        let options = ConnectOptions {
            io_timeout: Duration::from_millis(u64::from(spec.max_wait_ms)) + Duration::from_secs(30),
            ..ConnectOptions::default()
        };
        let head_bytes_max = topic_head_bytes(&stored.topic).max(batch::HEADER_BYTES);
        let mut client = Self {
            stream: Connection::open(endpoint, security, &options)?.into_stream(),
            intake: Intake::new(Receiver::Copy, spec.receive_buffer_bytes, head_bytes_max),
            seen: Vec::new(),
            high_watermarks: Vec::new(),
            lag_records: 0,
            order: VecDeque::with_capacity(stored.partitions.len()),
            asked: Vec::new(),
            wanted: Vec::new(),
            request: Vec::new(),
            correlation_id: 0,
            spec,
            stored,
        };
        client.begin();
        Ok(client)
    }

    /// What has come: behind what was stored together with it, otherwise in the pass that was begun last.
    pub fn ledger(&self) -> Ledger {
        Ledger {
            partitions: self.seen.clone(),
            ..self.stored.clone()
        }
    }

    /// Follows for the phase, from where the last one ended; a single pass ends with what is stored. Nothing is in flight before and after it.
    ///
    /// # Errors
    /// The connection breaks, the broker refuses, a partition's batches are not those of the ledger or not dense, or what is to be produced does
    /// not come within the phase.
    pub fn run(&mut self, phase: Phase) -> Result<Followed, ClientError> {
        let calls_before = self.stream.calls();
        let mut latency_ns = latency_histogram();
        let (mut responses, mut empty_responses, mut lag_records_max) = (0u64, 0u64, 0i64);
        let mut all = Carried::default();
        let mut data_ended = false;
        let started = Instant::now();
        let mut now = started;
        loop {
            if self.order.is_empty() {
                self.end_pass()?;
                self.begin();
                data_ended = phase.single_pass;
            }
            if let Follow::Produced { bytes } = self.spec.follow {
                data_ended = all.bytes >= bytes;
            }
            let is_over = now - started >= phase.duration();
            if data_ended || (is_over && self.spec.follow == Follow::Stored) {
                break;
            }
            if is_over {
                let doing = "following what is produced";
                return Err(ClientError::Timeout { doing });
            }
            let sent_at = Instant::now();
            self.ask()?;
            let carried = self.take()?;
            self.take_turns();
            now = Instant::now();
            match carried.bytes {
                0 => empty_responses += 1,
                _ => {
                    responses += 1;
                    record(&mut latency_ns, now - sent_at);
                }
            }
            all.bytes += carried.bytes;
            all.records += carried.records;
            lag_records_max = lag_records_max.max(self.lag_records);
        }
        let calls = self.stream.calls();
        let phase = PhaseResult {
            responses,
            records: all.records,
            delivered_bytes: all.bytes,
            moved_bytes: all.bytes,
            wall_ns: u64::try_from((now - started).as_nanos()).unwrap_or(u64::MAX),
            response_bytes_achieved: all.bytes as f64 / responses.max(1) as f64,
            send_calls: calls.send - calls_before.send,
            receive_calls: calls.receive - calls_before.receive,
            data_ended,
            latency_ns,
        };
        Ok(Followed {
            phase,
            empty_responses,
            lag_records_max: u64::try_from(lag_records_max).unwrap_or(0),
        })
    }

    /// Goes to where the following begins.
    fn begin(&mut self) {
        let of = |stored: &PartitionLedger| match self.spec.follow {
            Follow::Stored => PartitionLedger::new(stored.partition),
            Follow::Produced { .. } => stored.clone(),
        };
        self.seen = self.stored.partitions.iter().map(of).collect();
        self.high_watermarks = (0..self.seen.len()).map(|place| self.next_offset(place)).collect();
        self.lag_records = 0;
        self.order.clear();
        self.order.extend(0..self.seen.len());
    }

    /// Holds what came against what is stored.
    fn end_pass(&self) -> Result<(), ClientError> {
        let mut both = self.seen.iter().zip(&self.stored.partitions);
        let Some((seen, stored)) = both.find(|(seen, stored)| seen != stored) else {
            return Ok(());
        };
        let what = format!(
            "{} batches with offsets {} to {} came, {} with {} to {} are stored, or one of them has another CRC",
            seen.batches, seen.first_offset, seen.next_offset, stored.batches, stored.first_offset, stored.next_offset
        );
        Err(self.misread(seen.partition, what))
    }

    fn misread(&self, partition: i32, what: String) -> ClientError {
        ClientError::Misread {
            topic: self.stored.topic.clone(),
            partition,
            what,
        }
    }

    fn next_offset(&self, place: usize) -> i64 {
        match (&self.seen[place], &self.stored.partitions[place]) {
            (seen, stored) if seen.batches == 0 => stored.first_offset,
            (seen, _) => seen.next_offset,
        }
    }

    /// Bytes of the place that are still to come; without an end where they are being produced.
    fn left(&self, place: usize) -> u64 {
        match self.spec.follow {
            Follow::Stored => self.stored.partitions[place]
                .bytes
                .saturating_sub(self.seen[place].bytes),
            Follow::Produced { .. } => u64::MAX,
        }
    }

    /// Asks for the places whose turn it is.
    fn ask(&mut self) -> Result<(), ClientError> {
        let count = self.order.len().min(self.spec.partitions_per_fetch);
        self.asked.clear();
        self.wanted.clear();
        for _ in 0..count {
            let Some(place) = self.order.pop_front() else { break };
            self.asked.push((place, self.seen[place].bytes));
            self.wanted.push(Wanted {
                partition: place as i32,
                fetch_offset: self.next_offset(place),
                // Not beyond the end: what is produced meanwhile is not what is measured.
                bytes_max: u64::from(self.spec.partition_bytes).min(self.left(place)) as i32,
            });
        }
        self.correlation_id = self.correlation_id.wrapping_add(1) & i32::MAX;
        self.request.clear();
        encode_request_of(
            &mut self.request,
            self.correlation_id,
            &self.stored.topic,
            &self.wanted,
            self.spec.response_bytes as i32,
            self.spec.max_wait_ms as i32,
        );
        self.stream.write_all(&self.request)
    }

    /// Puts the places that were asked for behind all others: first those of which nothing came, then those with more to come.
    fn take_turns(&mut self) {
        for had_records in [false, true] {
            for (place, bytes_before) in &self.asked {
                let came = self.seen[*place].bytes > *bytes_before;
                if came == had_records && self.left(*place) > 0 {
                    self.order.push_back(*place);
                }
            }
        }
    }

    /// Takes the response off the socket.
    fn take(&mut self) -> Result<Carried, ClientError> {
        let frame_bytes = kafka_wire::Cursor::new(self.intake.head(&mut self.stream, 4)?).i32()?;
        let start = ResponseStart::decode(self.intake.head(&mut self.stream, ResponseStart::BYTES)?)?;
        if start.correlation_id != self.correlation_id {
            return Err(ClientError::Correlation {
                expected: self.correlation_id,
                observed: start.correlation_id,
            });
        }
        if start.error != 0 {
            return Err(ClientError::refused(
                "Fetch",
                &self.stored.topic,
                None,
                start.error,
                None,
            ));
        }
        let topic_bytes = topic_head_bytes(&self.stored.topic);
        let mut left = i64::from(frame_bytes) - ResponseStart::BYTES as i64;
        let mut carried = Carried::default();
        for _ in 0..start.topics {
            let partitions = decode_topic_head(self.intake.head(&mut self.stream, topic_bytes)?)?;
            left -= topic_bytes as i64;
            for _ in 0..partitions {
                let result = FetchResult::decode(self.intake.head(&mut self.stream, FetchResult::BYTES)?)?;
                left -= (FetchResult::BYTES + result.records_bytes) as i64;
                if left < 0 {
                    break;
                }
                let records = self.take_partition(&result)?;
                carried.bytes += result.records_bytes as u64;
                carried.records += records;
            }
        }
        match left {
            0 => Ok(carried),
            _ => Err(ClientError::Spec(format!(
                "a response of {frame_bytes} bytes does not hold what it announces: {left} bytes are left"
            ))),
        }
    }

    /// Takes the records of a partition; answers how many.
    fn take_partition(&mut self, result: &FetchResult) -> Result<u64, ClientError> {
        let partition = result.partition;
        let place = usize::try_from(partition).unwrap_or(usize::MAX);
        if result.error != 0 {
            let topic = &self.stored.topic;
            return Err(ClientError::refused(
                "Fetch",
                topic,
                Some(partition),
                result.error,
                None,
            ));
        }
        if place >= self.seen.len() {
            return Err(self.misread(partition, "it was not asked for".to_owned()));
        }
        let (lag_before, records_before) = (self.lag(place), self.seen[place].records);
        let mut left = result.records_bytes;
        while left >= batch::HEADER_BYTES {
            let header = self.intake.head(&mut self.stream, batch::HEADER_BYTES)?;
            let header = BatchHeader::parse(header).map_err(|error| self.misread(partition, error.to_string()))?;
            left -= batch::HEADER_BYTES;
            let body_bytes = header.total_bytes() - batch::HEADER_BYTES;
            let due = self.next_offset(place);
            if header.base_offset != due || header.last_offset() - due + 1 != i64::from(header.records_count) {
                let what = format!(
                    "a batch of {} records with offsets {} to {} came where {due} was due",
                    header.records_count,
                    header.base_offset,
                    header.last_offset()
                );
                return Err(self.misread(partition, what));
            }
            if body_bytes > left {
                // Kafka fills a response up with a part of the next batch.
                break;
            }
            self.intake.body(&mut self.stream, body_bytes)?;
            left -= body_bytes;
            let bytes = header.total_bytes() as u64;
            self.seen[place].add(header.base_offset, header.records_count, bytes, header.crc);
        }
        self.intake.body(&mut self.stream, left)?;
        self.high_watermarks[place] = result.high_watermark;
        self.lag_records += self.lag(place) - lag_before;
        Ok(self.seen[place].records - records_before)
    }

    /// Records of the place that are known to be there and have not come.
    fn lag(&self, place: usize) -> i64 {
        self.high_watermarks[place]
            .saturating_sub(self.next_offset(place))
            .max(0)
    }
}

fn check(spec: &FollowSpec, stored: &Ledger) -> Result<(), ClientError> {
    let in_order = (0..).zip(&stored.partitions);
    let wrong = if in_order.clone().any(|(place, partition)| partition.partition != place) || stored.topic_each {
        "follow a topic whose ledger holds its partitions from 0 on".to_owned()
    } else if stored.partitions.iter().any(|partition| partition.batches == 0) {
        "store at least one batch in each partition first".to_owned()
    } else if !(1..=PARTITIONS_PER_FETCH_MAX).contains(&spec.partitions_per_fetch) {
        format!("choose 1 to {PARTITIONS_PER_FETCH_MAX} partitions for a fetch")
    } else if spec.response_bytes > i32::MAX as u32 || spec.partition_bytes > i32::MAX as u32 {
        "choose responses below 2 GiB".to_owned()
    } else {
        return Ok(());
    };
    Err(ClientError::Spec(wrong))
}
