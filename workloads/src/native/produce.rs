//! The producing client: batches that were built beforehand, pipelined on one or several connections per leader, as fast as they are
//! acknowledged.
//!
//! Nothing is done per record while a window runs. A request is a head of some fifty bytes and a batch that is sent from where it lies
//! in the pool; several requests leave with one call. Each answer is held against the request that it belongs to, and counted in a
//! [`Ledger`] that [`super::verify`] can hold the topic against afterwards.

use super::ClientError;
use super::admin::Admin;
use super::batches::Batches;
use super::connection::{ConnectOptions, Connection, open_stream};
use super::endpoint::Bootstrap;
use super::ledger::Ledger;
use super::phase::{Phase, PhaseResult, latency_histogram, record};
use super::poller::Poller;
use super::security::Security;
use super::spread::Spread;
use super::stream::{Stream, Wait};
use crate::payload::{PayloadSpec, RecordSource};
use kafka_wire::FrameBuffer;
use kafka_wire::batch::CRC_START;
use kafka_wire::produce::{REQUEST_TAIL, ResponseHead, encode_request_head};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

/// Requests on a connection at once, at most.
pub const IN_FLIGHT_MAX: usize = 64;
/// Connections to each leader, at most.
pub const CONNECTIONS_MAX: usize = 64;
/// Largest pool, bytes.
pub const POOL_BYTES_MAX: usize = 1 << 30;
/// Largest answer to one batch, bytes.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// Longer than a broker waits for its replicas, so that its own error comes first.
const IO_TIMEOUT: Duration = Duration::from_secs(40);
/// What a write carries of each request: head, batch and tail.
const PARTS_MAX: usize = 3 * IN_FLIGHT_MAX;

/// What is produced, and how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProduceSpec {
    /// Where batches go, in turn: partitions of topics that exist.
    pub spread: Spread,
    /// Exact size of every batch, bytes with its header.
    pub batch_bytes: usize,
    /// The records.
    pub payload: PayloadSpec,
    /// Seed of the records.
    pub seed: u64,
    /// Requests, of one batch each, on a connection at once.
    pub in_flight: usize,
    /// Connections to each leader. They share out its partitions; where there are fewer of those, several connections produce to the same.
    #[serde(default = "one")]
    pub connections: usize,
    /// -1: acknowledged by all replicas in sync; 1: by the leader.
    #[serde(default = "all")]
    pub acks: i16,
    /// Different batches, which are sent again and again.
    pub pool_batches: usize,
    /// A phase sends no more than that, bytes: what is stored has to be written back by the system some time, and no target is to be
    /// charged for more of it than another.
    #[serde(default)]
    pub bytes_max: Option<u64>,
    /// SO_SNDBUF, bytes; `None` leaves it to the kernel's tuning.
    #[serde(default)]
    pub socket_send_buffer_bytes: Option<usize>,
    /// TCP congestion control of the connections, on which the client sends the bulk; `None` is the kernel's default.
    #[serde(default)]
    pub socket_congestion_control: Option<String>,
}

fn all() -> i16 {
    -1
}

fn one() -> usize {
    1
}

/// The batches, one behind the other.
pub(super) struct Pool {
    bytes: Vec<u8>,
    batch_bytes: usize,
    /// Records and CRC of each.
    pub facts: Vec<(i32, u32)>,
}

impl Pool {
    pub fn build(spec: &ProduceSpec) -> Result<Self, ClientError> {
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let now_ms = i64::try_from(now.as_millis()).unwrap_or(i64::MAX);
        // The last of them has the present time: some brokers refuse what lies in the future.
        let first_ms = now_ms.saturating_sub(spec.pool_batches as i64);
        let source = RecordSource::open(&spec.payload, spec.seed)?;
        let mut batches = Batches::new(source, spec.batch_bytes, first_ms)?;
        let mut pool = Self {
            bytes: Vec::with_capacity(spec.pool_batches * spec.batch_bytes),
            batch_bytes: spec.batch_bytes,
            facts: Vec::with_capacity(spec.pool_batches),
        };
        for _ in 0..spec.pool_batches {
            let (records, batch) = batches.next()?;
            let crc = kafka_wire::crc::crc32c(&batch[CRC_START..]);
            pool.bytes.extend_from_slice(batch);
            pool.facts.push((records, crc));
        }
        Ok(pool)
    }

    pub fn batch(&self, place: usize) -> &[u8] {
        &self.bytes[place * self.batch_bytes..(place + 1) * self.batch_bytes]
    }
}

/// A request whose answer is due.
struct Pending {
    correlation_id: i32,
    /// In the spread and in the ledger.
    place: usize,
    /// Place in the pool.
    batch: usize,
    sent_at: Instant,
}

/// A batch that was acknowledged for a partition that several connections produce to.
struct Arrival {
    place: usize,
    base_offset: i64,
    records: i32,
    crc: u32,
}

/// What counts the answers.
struct Book {
    ledger: Ledger,
    /// Whether several connections produce to the place, so that its answers don't come in the order of its offsets.
    is_shared: Vec<bool>,
    /// They are put in order when nothing is in flight any more.
    arrivals: Vec<Arrival>,
    batch_bytes: u64,
}

impl Book {
    fn add(&mut self, place: usize, base_offset: i64, records: i32, crc: u32) {
        if self.is_shared[place] {
            self.arrivals.push(Arrival {
                place,
                base_offset,
                records,
                crc,
            });
        } else {
            self.ledger.partitions[place].add(base_offset, records, self.batch_bytes, crc);
        }
    }

    fn settle(&mut self) {
        self.arrivals
            .sort_unstable_by_key(|arrival| (arrival.place, arrival.base_offset));
        for arrival in self.arrivals.drain(..) {
            let partition = &mut self.ledger.partitions[arrival.place];
            partition.add(arrival.base_offset, arrival.records, self.batch_bytes, arrival.crc);
        }
    }
}

/// A connection to a leader.
struct Link {
    stream: Stream,
    frames: FrameBuffer,
    /// Places in the spread that it produces to.
    places: Vec<usize>,
    /// Which of them is next.
    turn: usize,
    correlation_id: i32,
    pending: VecDeque<Pending>,
    /// Heads of the requests of the last refill.
    heads: Vec<u8>,
    /// End of each head in `heads`, and its batch.
    refill: Vec<(usize, usize)>,
    /// Bytes of the refill that are sent.
    sent_bytes: usize,
    refill_bytes: usize,
    is_flushed: bool,
}

/// A client that produces to the partitions of a spread.
pub struct ProduceClient {
    spec: ProduceSpec,
    pool: Pool,
    links: Vec<Link>,
    book: Book,
    /// The topic of each place; one entry where all have the same.
    topics: Vec<String>,
    /// Batches of each place that were sent.
    sent: Vec<u64>,
    poller: Poller,
}

impl ProduceClient {
    /// Builds the pool, and connects to each leader; sends nothing yet.
    ///
    /// # Errors
    /// A figure that cannot work, a payload that gives no records, a topic with fewer partitions, or a broker that is not there.
    pub fn connect(brokers: &Bootstrap, security: &Security, spec: ProduceSpec) -> Result<Self, ClientError> {
        check(&spec)?;
        let pool = Pool::build(&spec)?;
        let leaders = Admin::connect(brokers, security)?.leaders_of(&spec.spread)?;
        let options = options(&spec);
        let mut is_shared = vec![false; spec.spread.partitions as usize];
        let mut links = Vec::new();
        for (endpoint, led) in leaders.brokers {
            let led: Vec<usize> = led
                .into_iter()
                .filter_map(|place| usize::try_from(place).ok())
                .collect();
            for number in 0..spec.connections {
                let stream = Connection::open(&endpoint, security, &options)?.into_stream();
                let places = share(&led, number, spec.connections);
                for place in places.iter().filter(|_| led.len() < spec.connections) {
                    is_shared[*place] = true;
                }
                links.push(Self::link(stream, places, &spec)?);
            }
        }
        Ok(Self::over(links, is_shared, pool, spec))
    }

    /// A client with one connection to whoever answers Produce requests for one partition; nothing else is asked there.
    ///
    /// # Errors
    /// A figure that cannot work, or nobody is there.
    pub fn bare(address: SocketAddr, spec: ProduceSpec) -> Result<Self, ClientError> {
        check(&spec)?;
        let pool = Pool::build(&spec)?;
        let stream = Stream::plain(open_stream(address, &options(&spec))?);
        let links = vec![Self::link(stream, vec![0], &spec)?];
        Ok(Self::over(links, vec![false], pool, spec))
    }

    fn link(stream: Stream, places: Vec<usize>, spec: &ProduceSpec) -> Result<Link, ClientError> {
        if let Some(name) = &spec.socket_congestion_control {
            socket2::SockRef::from(stream.socket())
                .set_tcp_congestion(name.as_bytes())
                .map_err(|error| ClientError::Spec(format!("the congestion control `{name}` is refused: {error}")))?;
        }
        Ok(Link {
            stream,
            frames: FrameBuffer::new(ANSWER_BYTES_MAX),
            places,
            turn: 0,
            correlation_id: 0,
            pending: VecDeque::with_capacity(spec.in_flight),
            heads: Vec::with_capacity(spec.in_flight * (64 + spec.spread.topic.len())),
            refill: Vec::with_capacity(spec.in_flight),
            sent_bytes: 0,
            refill_bytes: 0,
            is_flushed: true,
        })
    }

    fn over(links: Vec<Link>, is_shared: Vec<bool>, pool: Pool, spec: ProduceSpec) -> Self {
        Self {
            links,
            sent: vec![0; spec.spread.partitions as usize],
            poller: Poller::default(),
            book: Book {
                ledger: Ledger::empty(&spec.spread),
                is_shared,
                arrivals: Vec::new(),
                batch_bytes: spec.batch_bytes as u64,
            },
            topics: spec.spread.topics(),
            pool,
            spec,
        }
    }

    /// Lets its ledger go on from that of what lies in the topics already, so that it tells of all that does.
    ///
    /// # Errors
    /// It is the ledger of other topics or partitions.
    pub fn go_on_from(&mut self, stored: Ledger) -> Result<(), ClientError> {
        if stored.spread() != self.spec.spread {
            let (of, spread) = (&stored.topic, &self.spec.spread);
            let message = format!(
                "the ledger of `{of}` is not that of {} partitions of `{}`",
                spread.partitions, spread.topic
            );
            return Err(ClientError::Spec(message));
        }
        self.book.ledger = stored;
        Ok(())
    }

    /// What was acknowledged since the client connected. Every batch that was sent is in it, as long as no [`Self::run`] failed.
    pub fn ledger(&self) -> &Ledger {
        &self.book.ledger
    }

    /// Produces for the phase; a single pass sends as many batches as the pool has. Nothing is in flight before and after it.
    ///
    /// A latency counts from the moment at which the request was handed to the system, together with others, to its answer.
    ///
    /// # Errors
    /// A connection breaks or a broker refuses a batch; the client is of no use any more.
    pub fn run(&mut self, phase: Phase) -> Result<PhaseResult, ClientError> {
        self.drive(phase, |_| usize::MAX)
    }

    /// One pass: produces one batch to each partition, or from each connection where they are more.
    ///
    /// # Errors
    /// As [`Self::run`]; and not all of it is done within the time.
    pub fn touch(&mut self, duration_ms: u32) -> Result<PhaseResult, ClientError> {
        let single_pass = false;
        let due: usize = self.links.iter().map(|link| link.places.len()).sum();
        let touched = self.drive(
            Phase {
                duration_ms,
                single_pass,
            },
            |link| link.places.len(),
        )?;
        if touched.responses < due as u64 {
            let doing = "producing a batch into each partition";
            return Err(ClientError::Timeout { doing });
        }
        Ok(touched)
    }

    /// Produces for the phase; each connection sends at most as many batches as `quota` says.
    fn drive(&mut self, phase: Phase, quota: impl Fn(&Link) -> usize) -> Result<PhaseResult, ClientError> {
        let calls = |links: &[Link]| {
            let calls = links.iter().map(|link| link.stream.calls());
            calls.fold((0, 0), |sum, calls| (sum.0 + calls.send, sum.1 + calls.receive))
        };
        let calls_before = calls(&self.links);
        let records_before = self.book.ledger.total_records();
        let mut quotas: Vec<usize> = self.links.iter().map(quota).collect();
        // Refilled when half the slots are free: one send carries several requests, and the broker still has work.
        let refill_at = self.spec.in_flight - self.spec.in_flight.div_ceil(2);
        let batches_max = self
            .spec
            .bytes_max
            .map_or(u64::MAX, |bytes| bytes / self.spec.batch_bytes as u64);
        let mut left = usize::try_from(batches_max).unwrap_or(usize::MAX);
        if phase.single_pass {
            left = left.min(self.pool.facts.len());
        }
        let mut latency_ns = latency_histogram();
        let mut responses = 0u64;
        let started = Instant::now();
        let mut now = started;
        loop {
            let may_send = now - started < phase.duration();
            for (link, quota) in self.links.iter_mut().zip(&mut quotas) {
                let room = left.min(*quota);
                if may_send && room > 0 && link.is_flushed && link.pending.len() <= refill_at {
                    let sent = link.fill(&self.spec, &self.topics, &self.pool, &mut self.sent, room);
                    (left, *quota) = (left - sent, *quota - sent);
                }
                if !link.is_flushed {
                    link.write(&self.pool)?;
                }
            }
            if self.links.iter().all(|link| link.pending.is_empty()) {
                break;
            }
            self.wait()?;
            for (place, link) in self.links.iter_mut().enumerate() {
                // A lone connection with nothing to send is not polled: its receive waits.
                let alone = self.poller.is_empty();
                if !alone && !self.poller.has_input(place) {
                    continue;
                }
                let wait = if alone { Wait::Yes } else { Wait::No };
                now = link.read(wait)?;
                responses += link.take_answers(now, &self.spec.spread, &self.pool, &mut self.book, &mut latency_ns)?;
            }
        }
        self.book.settle();
        let calls_after = calls(&self.links);
        let delivered_bytes = responses * self.spec.batch_bytes as u64;
        Ok(PhaseResult {
            responses,
            records: self.book.ledger.total_records() - records_before,
            delivered_bytes,
            moved_bytes: delivered_bytes,
            wall_ns: u64::try_from((now - started).as_nanos()).unwrap_or(u64::MAX),
            response_bytes_achieved: delivered_bytes as f64 / responses.max(1) as f64,
            send_calls: calls_after.0 - calls_before.0,
            receive_calls: calls_after.1 - calls_before.1,
            data_ended: left == 0,
            latency_ns,
        })
    }

    /// Waits until an answer is there or a connection has room for what is left to send. Does nothing for a lone connection that has
    /// nothing to send.
    fn wait(&mut self) -> Result<(), ClientError> {
        self.poller.clear();
        if let [only] = &self.links[..]
            && only.is_flushed
        {
            return Ok(());
        }
        for link in &self.links {
            self.poller
                .add(link.stream.socket(), !link.pending.is_empty(), !link.is_flushed);
        }
        self.poller.wait(IO_TIMEOUT, "waiting for acknowledgements")
    }
}

fn options(spec: &ProduceSpec) -> ConnectOptions {
    ConnectOptions {
        io_timeout: IO_TIMEOUT,
        send_buffer_bytes: spec.socket_send_buffer_bytes,
        ..ConnectOptions::default()
    }
}

fn check(spec: &ProduceSpec) -> Result<(), ClientError> {
    let pool_bytes = spec.pool_batches.checked_mul(spec.batch_bytes);
    let wrong = if !(1..=i32::MAX as u32).contains(&spec.spread.partitions) {
        "choose at least one partition".to_owned()
    } else if !(1..=CONNECTIONS_MAX).contains(&spec.connections) {
        format!("choose 1 to {CONNECTIONS_MAX} connections")
    } else if spec.connections > 1 && spec.bytes_max.is_none() {
        "choose the most bytes of a phase: of partitions that connections share, each batch is remembered until its end"
            .to_owned()
    } else if !(1..=IN_FLIGHT_MAX).contains(&spec.in_flight) {
        format!("choose 1 to {IN_FLIGHT_MAX} requests in flight")
    } else if ![-1, 1].contains(&spec.acks) {
        format!("acks={} leaves nothing to count; choose -1 or 1", spec.acks)
    } else if spec.pool_batches == 0 || pool_bytes.is_none_or(|bytes| bytes > POOL_BYTES_MAX) {
        format!(
            "a pool of {} batches of {} bytes: choose at least one batch and at most {POOL_BYTES_MAX} bytes",
            spec.pool_batches, spec.batch_bytes
        )
    } else {
        return Ok(());
    };
    Err(ClientError::Spec(wrong))
}

/// The places of one of several connections to a leader.
pub(crate) fn share(led: &[usize], number: usize, connections: usize) -> Vec<usize> {
    match led.len() < connections {
        true => led.get(number % led.len().max(1)).copied().into_iter().collect(),
        false => led.iter().copied().skip(number).step_by(connections).collect(),
    }
}

impl Link {
    /// Fills the free slots, with at most `batches_max` requests; answers how many.
    fn fill(
        &mut self,
        spec: &ProduceSpec,
        topics: &[String],
        pool: &Pool,
        sent: &mut [u64],
        batches_max: usize,
    ) -> usize {
        self.heads.clear();
        self.refill.clear();
        let sent_at = Instant::now();
        while self.pending.len() < spec.in_flight && self.refill.len() < batches_max {
            let place = self.places[self.turn];
            self.turn = (self.turn + 1) % self.places.len();
            let (topic, partition) = match spec.spread.topic_each {
                true => (&topics[place], 0),
                false => (&topics[0], place as i32),
            };
            let number = &mut sent[place];
            // Each partition begins elsewhere in the pool, so that neighbours don't carry the same bytes.
            let batch = ((*number + place as u64) % pool.facts.len() as u64) as usize;
            *number += 1;
            self.correlation_id = self.correlation_id.wrapping_add(1) & i32::MAX;
            let correlation_id = self.correlation_id;
            encode_request_head(
                &mut self.heads,
                correlation_id,
                topic,
                partition,
                spec.acks,
                pool.batch_bytes,
            );
            self.refill.push((self.heads.len(), batch));
            self.pending.push_back(Pending {
                correlation_id,
                place,
                batch,
                sent_at,
            });
        }
        self.sent_bytes = 0;
        self.refill_bytes = self.heads.len() + self.refill.len() * (pool.batch_bytes + REQUEST_TAIL.len());
        self.is_flushed = self.refill.is_empty();
        self.refill.len()
    }

    /// Sends what there is room for.
    fn write(&mut self, pool: &Pool) -> Result<(), ClientError> {
        const DOING: &str = "sending batches";
        let failed = |error| ClientError::socket(DOING, error);
        while self.sent_bytes < self.refill_bytes {
            let mut parts = [IoSlice::new(&[]); PARTS_MAX];
            let (mut count, mut skip, mut head_start) = (0, self.sent_bytes, 0);
            for (head_end, batch) in &self.refill {
                for part in [&self.heads[head_start..*head_end], pool.batch(*batch), &REQUEST_TAIL] {
                    if let Some(rest) = part.get(skip..).filter(|rest| !rest.is_empty()) {
                        parts[count] = IoSlice::new(rest);
                        count += 1;
                    }
                    skip = skip.saturating_sub(part.len());
                }
                head_start = *head_end;
            }
            match self.stream.write_parts(&parts[..count]).map_err(failed)? {
                0 => return Ok(()),
                taken => self.sent_bytes += taken,
            }
        }
        self.is_flushed = self.stream.flush_some().map_err(failed)?;
        Ok(())
    }

    /// Reads what is there; answers the time at which it was.
    fn read(&mut self, wait: Wait) -> Result<Instant, ClientError> {
        const DOING: &str = "receiving acknowledgements";
        loop {
            match self.stream.read(self.frames.space(), wait) {
                Ok(0) => return Err(ClientError::Closed { doing: DOING }),
                Ok(bytes) => self.frames.advance(bytes),
                Err(error) if wait == Wait::No && error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(ClientError::socket(DOING, error)),
            }
            // The rest of what was decrypted does not make the socket readable.
            if !self.stream.has_plaintext() {
                break;
            }
        }
        Ok(Instant::now())
    }

    /// Counts the answers that have come whole; answers how many.
    fn take_answers(
        &mut self,
        now: Instant,
        spread: &Spread,
        pool: &Pool,
        book: &mut Book,
        latency_ns: &mut hdrhistogram::Histogram<u64>,
    ) -> Result<u64, ClientError> {
        let mut answers = 0;
        while let Some(frame) = self.frames.frame()? {
            let answer = ResponseHead::decode(frame)?;
            let Some(pending) = self.pending.pop_front() else {
                return Err(ClientError::Unasked(answer.correlation_id));
            };
            if answer.correlation_id != pending.correlation_id {
                return Err(ClientError::Correlation {
                    expected: pending.correlation_id,
                    observed: answer.correlation_id,
                });
            }
            let due = if spread.topic_each { 0 } else { pending.place as i32 };
            if answer.error != 0 {
                let (code, message) = (answer.error, answer.message);
                let (topic, partition) = spread.at(pending.place);
                return Err(ClientError::refused("Produce", &topic, Some(partition), code, message));
            }
            if answer.partition != due || answer.base_offset < 0 {
                return Err(ClientError::Spec(format!(
                    "the answer for partition {due} names partition {} and offset {}",
                    answer.partition, answer.base_offset
                )));
            }
            let (records, crc) = pool.facts[pending.batch];
            book.add(pending.place, answer.base_offset, records, crc);
            record(latency_ns, now - pending.sent_at);
            answers += 1;
            self.frames.consume_frame();
        }
        Ok(answers)
    }
}
