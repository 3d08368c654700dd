//! The draining client: Fetch requests pipelined on one connection, as fast as the broker answers.
//!
//! What comes is known beforehand from the pre-load index, so a response is checked by its head alone (correlation id, error codes, frame
//! and record bytes) and its records are copied out or dropped. [`super::verify`] is there to look at the records themselves.

use super::ClientError;
use super::connection::{ConnectOptions, open_stream};
use super::intake::{Intake, Receiver};
use super::phase::{Phase, PhaseResult, latency_histogram, record};
use super::preload::PreloadIndex;
use kafka_wire::fetch::{ResponseHead, encode_request, response_head_bytes};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// How a topic is drained.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FetchSpec {
    /// `max_bytes` of each fetch.
    pub response_bytes: u32,
    /// Requests on the connection at once.
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
    offset: i64,
    records_bytes: u64,
    sent_at: Instant,
}

/// A client that drains one partition.
pub struct FetchClient {
    stream: TcpStream,
    spec: FetchSpec,
    index: PreloadIndex,
    intake: Intake,
    pending: VecDeque<Pending>,
    requests: Vec<u8>,
    head_bytes: usize,
    /// Batches that a full response carries.
    batches_per_response: usize,
    /// The batch that the next request begins with.
    next_batch: usize,
    correlation_id: i32,
}

impl FetchClient {
    /// Connects; sends nothing yet.
    ///
    /// # Errors
    /// The broker is not there, or a response cannot hold one batch.
    pub fn connect(address: SocketAddr, index: PreloadIndex, spec: FetchSpec) -> Result<Self, ClientError> {
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
            io_timeout: Duration::from_millis(u64::from(spec.max_wait_ms)) + Duration::from_secs(30),
            receive_buffer_bytes: spec.socket_receive_buffer_bytes,
            ..ConnectOptions::default()
        };
        let head_bytes = 4 + response_head_bytes(&index.topic);
        Ok(Self {
            stream: open_stream(address, &options)?,
            intake: Intake::new(spec.receiver, spec.receive_buffer_bytes, head_bytes),
            pending: VecDeque::with_capacity(spec.in_flight),
            requests: Vec::with_capacity(spec.in_flight * (128 + index.topic.len())),
            head_bytes,
            batches_per_response,
            next_batch: 0,
            correlation_id: 0,
            spec,
            index,
        })
    }

    /// Drains for the phase, from where the last one ended. Nothing is in flight before and after it.
    ///
    /// # Errors
    /// The connection breaks, the broker refuses, or a response is not the one that the index says.
    pub fn run(&mut self, phase: Phase) -> Result<PhaseResult, ClientError> {
        let mut latency_ns = latency_histogram();
        let (mut responses, mut delivered_bytes, mut send_calls) = (0u64, 0u64, 0u64);
        let receive_calls_before = self.intake.calls();
        // Refilled when half the slots are free: one send carries several requests, and the broker still has work.
        let refill_at = self.spec.in_flight - self.spec.in_flight.div_ceil(2);
        let started = Instant::now();
        let mut now = started;
        loop {
            let may_send = now - started < phase.duration() && !(phase.single_pass && self.at_end());
            if may_send && self.pending.len() <= refill_at {
                self.send_requests(phase.single_pass)?;
                send_calls += 1;
            }
            let Some(pending) = self.pending.pop_front() else { break };
            self.receive_response(&pending)?;
            now = Instant::now();
            record(&mut latency_ns, now - pending.sent_at);
            responses += 1;
            delivered_bytes += pending.records_bytes;
        }
        Ok(PhaseResult {
            responses,
            delivered_bytes,
            moved_bytes: delivered_bytes,
            wall_ns: u64::try_from((now - started).as_nanos()).unwrap_or(u64::MAX),
            response_bytes_achieved: delivered_bytes as f64 / responses.max(1) as f64,
            send_calls,
            receive_calls: self.intake.calls() - receive_calls_before,
            data_ended: phase.single_pass && self.at_end(),
            latency_ns,
        })
    }

    fn at_end(&self) -> bool {
        self.next_batch >= self.index.base_offsets.len()
    }

    /// Fills the free slots with one send.
    fn send_requests(&mut self, single_pass: bool) -> Result<(), ClientError> {
        self.requests.clear();
        let sent_at = Instant::now();
        while self.pending.len() < self.spec.in_flight {
            if self.at_end() {
                if single_pass {
                    break;
                }
                self.next_batch = 0;
            }
            let batches = self
                .batches_per_response
                .min(self.index.base_offsets.len() - self.next_batch);
            let offset = self.index.base_offsets[self.next_batch];
            self.correlation_id = self.correlation_id.wrapping_add(1) & i32::MAX;
            let (bytes_max, wait_ms_max) = (self.spec.response_bytes as i32, self.spec.max_wait_ms as i32);
            encode_request(
                &mut self.requests,
                self.correlation_id,
                &self.index.topic,
                0,
                offset,
                bytes_max,
                wait_ms_max,
            );
            let records_bytes = batches as u64 * self.index.batch_bytes;
            self.pending.push_back(Pending {
                correlation_id: self.correlation_id,
                offset,
                records_bytes,
                sent_at,
            });
            self.next_batch += batches;
        }
        self.stream
            .write_all(&self.requests)
            .map_err(|error| ClientError::socket("sending fetches", error))
    }

    /// Takes the response to `pending` off the socket.
    fn receive_response(&mut self, pending: &Pending) -> Result<(), ClientError> {
        let frame = self.intake.head(&self.stream, self.head_bytes)?;
        let frame_bytes = kafka_wire::Cursor::new(frame).i32()?;
        let head = ResponseHead::decode(&frame[4..])?;
        if head.correlation_id != pending.correlation_id {
            return Err(ClientError::Correlation {
                expected: pending.correlation_id,
                observed: head.correlation_id,
            });
        }
        if let Some(code) = [head.error, head.result.error].into_iter().find(|code| *code != 0) {
            return Err(ClientError::refused("Fetch", &self.index.topic, code, None));
        }
        let records_bytes = head.result.records_bytes as u64;
        let frame_records_bytes = i64::from(frame_bytes) - head.head_bytes as i64;
        if records_bytes != pending.records_bytes || frame_records_bytes != records_bytes as i64 {
            let (offset, expected) = (pending.offset, pending.records_bytes);
            return Err(ClientError::ResponseSize {
                offset,
                expected,
                observed: records_bytes,
            });
        }
        self.intake.body(&self.stream, head.result.records_bytes)
    }
}
