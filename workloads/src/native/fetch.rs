//! The draining client: Fetch requests pipelined on one connection per leader, as fast as the broker answers.
//!
//! What comes is known beforehand from the pre-load index, so a response is checked by its head alone (correlation id, error codes, frame
//! and record bytes) and its records are copied out or dropped. [`super::verify`] is there to look at the records themselves.

use super::ClientError;
use super::admin::Admin;
use super::connection::{ConnectOptions, Connection};
use super::endpoint::{Bootstrap, Endpoint};
use super::intake::{Intake, Receiver};
use super::phase::{Phase, PhaseResult, latency_histogram, record};
use super::poller::Poller;
use super::preload::PreloadIndex;
use super::security::Security;
use super::stream::Stream;
use kafka_wire::fetch::{ResponseHead, encode_request, response_head_bytes};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How a topic is drained.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FetchSpec {
    /// `max_bytes` of each fetch.
    pub response_bytes: u32,
    /// Requests on a connection at once; there is a connection per leader.
    pub in_flight: usize,
    /// How long the broker may hold a fetch back, ms.
    pub max_wait_ms: u32,
    /// What happens to the records.
    pub receiver: Receiver,
    /// User buffer of the receiver that copies, bytes.
    pub receive_buffer_bytes: usize,
    /// SO_RCVBUF, bytes; `None` leaves it to the kernel's tuning.
    pub socket_receive_buffer_bytes: Option<usize>,
}

/// A request that is on its way.
struct Pending {
    correlation_id: i32,
    partition: i32,
    offset: i64,
    records_bytes: u64,
    records: u64,
    sent_at: Instant,
}

/// A partition, and how far it is drained.
struct Position {
    partition: i32,
    /// Its place in the index.
    place: usize,
    /// The batch that the next request begins with.
    next_batch: usize,
}

/// The connection to one leader.
struct Link {
    stream: Stream,
    intake: Intake,
    positions: Vec<Position>,
    /// The position that is next.
    turn: usize,
    pending: VecDeque<Pending>,
    requests: Vec<u8>,
    correlation_id: i32,
}

/// A client that drains the partitions of one topic in turn.
pub struct FetchClient {
    spec: FetchSpec,
    index: PreloadIndex,
    links: Vec<Link>,
    poller: Poller,
    head_bytes: usize,
    /// Batches that a full response carries.
    batches_per_response: usize,
}

impl FetchClient {
    /// Connects to each leader; fetches nothing yet.
    ///
    /// # Errors
    /// A broker is not there, a partition has no leader, or a response cannot hold one batch.
    pub fn connect(
        brokers: &Bootstrap,
        security: &Security,
        index: PreloadIndex,
        spec: FetchSpec,
    ) -> Result<Self, ClientError> {
        let batches_per_response = (u64::from(spec.response_bytes) / index.batch_bytes.max(1)) as usize;
        if batches_per_response == 0 || index.base_offsets.is_empty() {
            return Err(ClientError::Spec(format!(
                "responses of {} bytes can't hold a batch of {} bytes; ask for larger ones",
                spec.response_bytes, index.batch_bytes
            )));
        }
        if !(1..=64).contains(&spec.in_flight) || spec.response_bytes > i32::MAX as u32 {
            return Err(ClientError::Spec(
                "choose 1 to 64 requests in flight and responses below 2 GiB".to_owned(),
            ));
        }
        let options = ConnectOptions {
            io_timeout: io_timeout(&spec),
            receive_buffer_bytes: spec.socket_receive_buffer_bytes,
            ..ConnectOptions::default()
        };
        let topic = &index.ledger.topic;
        let head_bytes = 4 + response_head_bytes(topic);
        let partitions = index.ledger.partitions.len() as u32;
        let leaders = Admin::connect(brokers, security)?.leaders(topic, partitions)?;
        let position = |partition: i32| {
            let (place, next_batch) = (partition as usize, 0);
            Position {
                partition,
                place,
                next_batch,
            }
        };
        let link = |(endpoint, partitions): (Endpoint, Vec<i32>)| -> Result<Link, ClientError> {
            Ok(Link {
                stream: Connection::open(&endpoint, security, &options)?.into_stream(),
                intake: Intake::new(spec.receiver, spec.receive_buffer_bytes, head_bytes),
                positions: partitions.into_iter().map(position).collect(),
                turn: 0,
                pending: VecDeque::with_capacity(spec.in_flight),
                requests: Vec::with_capacity(spec.in_flight * (128 + topic.len())),
                correlation_id: 0,
            })
        };
        Ok(Self {
            links: leaders.brokers.into_iter().map(link).collect::<Result<_, _>>()?,
            poller: Poller::default(),
            head_bytes,
            batches_per_response,
            spec,
            index,
        })
    }

    /// Drains for the phase, from where the last one ended. Nothing is in flight before and after it.
    ///
    /// # Errors
    /// A connection breaks, a broker refuses, or a response is not the one that the index says.
    pub fn run(&mut self, phase: Phase) -> Result<PhaseResult, ClientError> {
        let calls = |links: &[Link]| {
            let calls = links.iter().map(|link| link.stream.calls());
            calls.fold((0, 0), |sum, calls| (sum.0 + calls.send, sum.1 + calls.receive))
        };
        let calls_before = calls(&self.links);
        let mut latency_ns = latency_histogram();
        let (mut responses, mut records, mut delivered_bytes) = (0u64, 0u64, 0u64);
        // Refilled when half the slots are free: one send carries several requests, and the broker still has work.
        let refill_at = self.spec.in_flight - self.spec.in_flight.div_ceil(2);
        let started = Instant::now();
        let mut now = started;
        loop {
            let may_send = now - started < phase.duration();
            for link in &mut self.links {
                let has_more = !(phase.single_pass && link.at_end(&self.index));
                if may_send && has_more && link.pending.len() <= refill_at {
                    link.send_requests(&self.spec, &self.index, self.batches_per_response, phase.single_pass)?;
                }
            }
            if self.links.iter().all(|link| link.pending.is_empty()) {
                break;
            }
            self.wait()?;
            for (place, link) in self.links.iter_mut().enumerate() {
                let ready = self.poller.is_empty() || self.poller.has_input(place) || link.has_bytes();
                let Some(pending) = ready.then(|| link.pending.pop_front()).flatten() else {
                    continue;
                };
                link.receive_response(&pending, self.head_bytes, &self.index.ledger.topic)?;
                now = Instant::now();
                record(&mut latency_ns, now - pending.sent_at);
                responses += 1;
                records += pending.records;
                delivered_bytes += pending.records_bytes;
            }
        }
        let calls_after = calls(&self.links);
        Ok(PhaseResult {
            responses,
            records,
            delivered_bytes,
            moved_bytes: delivered_bytes,
            wall_ns: u64::try_from((now - started).as_nanos()).unwrap_or(u64::MAX),
            response_bytes_achieved: delivered_bytes as f64 / responses.max(1) as f64,
            send_calls: calls_after.0 - calls_before.0,
            receive_calls: calls_after.1 - calls_before.1,
            data_ended: phase.single_pass && self.links.iter().all(|link| link.at_end(&self.index)),
            latency_ns,
        })
    }

    /// Waits until a response begins; does nothing for a lone connection, whose receive waits.
    fn wait(&mut self) -> Result<(), ClientError> {
        self.poller.clear();
        if self.links.len() == 1 {
            return Ok(());
        }
        for link in &self.links {
            self.poller.add(link.stream.socket(), !link.pending.is_empty(), false);
        }
        if self
            .links
            .iter_mut()
            .any(|link| !link.pending.is_empty() && link.has_bytes())
        {
            return Ok(());
        }
        self.poller.wait(io_timeout(&self.spec), "receiving records")
    }
}

/// How long no byte may come: longer than a broker may hold a fetch back.
fn io_timeout(spec: &FetchSpec) -> Duration {
    Duration::from_millis(u64::from(spec.max_wait_ms)) + Duration::from_secs(30)
}

impl Link {
    fn at_end(&self, index: &PreloadIndex) -> bool {
        self.positions.iter().all(|position| position.at_end(index))
    }

    /// Whether bytes of a response are here that the socket knows nothing of.
    fn has_bytes(&mut self) -> bool {
        self.intake.has_bytes() || self.stream.has_plaintext()
    }

    /// The next partition that has something left, after those that have none were sent to their start or, in a single pass, left out.
    fn next_position(&mut self, index: &PreloadIndex, single_pass: bool) -> Option<&mut Position> {
        let count = self.positions.len();
        let mut place = self.turn;
        for _ in 0..count {
            if !(single_pass && self.positions[place].at_end(index)) {
                self.turn = (place + 1) % count;
                let position = &mut self.positions[place];
                if position.at_end(index) {
                    position.next_batch = 0;
                }
                return Some(position);
            }
            place = (place + 1) % count;
        }
        None
    }

    /// Fills the free slots with one send.
    fn send_requests(
        &mut self,
        spec: &FetchSpec,
        index: &PreloadIndex,
        batches_per_response: usize,
        single_pass: bool,
    ) -> Result<(), ClientError> {
        self.requests.clear();
        let sent_at = Instant::now();
        while self.pending.len() < spec.in_flight {
            let Some(position) = self.next_position(index, single_pass) else {
                break;
            };
            let base_offsets = &index.base_offsets[position.place];
            let batches = batches_per_response.min(base_offsets.len() - position.next_batch);
            let (partition, offset) = (position.partition, base_offsets[position.next_batch]);
            position.next_batch += batches;
            let end = base_offsets.get(position.next_batch).copied();
            let end = end.unwrap_or(index.ledger.partitions[position.place].next_offset);
            let records_bytes = batches as u64 * index.batch_bytes;
            self.correlation_id = self.correlation_id.wrapping_add(1) & i32::MAX;
            let correlation_id = self.correlation_id;
            encode_request(
                &mut self.requests,
                correlation_id,
                &index.ledger.topic,
                partition,
                offset,
                // Exactly the batches: Kafka fills a response up with a part of the next one.
                records_bytes as i32,
                spec.max_wait_ms as i32,
            );
            self.pending.push_back(Pending {
                correlation_id,
                partition,
                offset,
                records_bytes,
                records: u64::try_from(end - offset).unwrap_or_default(),
                sent_at,
            });
        }
        self.stream.write_all(&self.requests)
    }

    /// Takes the response to `pending` off the socket.
    fn receive_response(&mut self, pending: &Pending, head_bytes: usize, topic: &str) -> Result<(), ClientError> {
        let frame = self.intake.head(&mut self.stream, head_bytes)?;
        let frame_bytes = kafka_wire::Cursor::new(frame).i32()?;
        let head = ResponseHead::decode(&frame[4..])?;
        if head.correlation_id != pending.correlation_id {
            return Err(ClientError::Correlation {
                expected: pending.correlation_id,
                observed: head.correlation_id,
            });
        }
        let partition = pending.partition;
        if let Some(code) = [head.error, head.result.error].into_iter().find(|code| *code != 0) {
            return Err(ClientError::refused("Fetch", topic, Some(partition), code, None));
        }
        let records_bytes = head.result.records_bytes as u64;
        let frame_records_bytes = i64::from(frame_bytes) - head.head_bytes as i64;
        let is_asked = records_bytes == pending.records_bytes && head.result.partition == partition;
        if !is_asked || frame_records_bytes != records_bytes as i64 {
            let (offset, expected) = (pending.offset, pending.records_bytes);
            return Err(ClientError::ResponseSize {
                partition,
                offset,
                expected,
                observed: records_bytes,
            });
        }
        self.intake.body(&mut self.stream, head.result.records_bytes)
    }
}

impl Position {
    fn at_end(&self, index: &PreloadIndex) -> bool {
        self.next_batch >= index.base_offsets[self.place].len()
    }
}
