//! The native producer: batches are filled per partition, sealed when they are full or leave, and pipelined over non-blocking connections, all on one
//! thread and without an allocation per record.
//!
//! A batch leaves when it is full, or has lingered, and its connection may have another request on its way. A request carries at most one
//! batch of each partition, as a broker asks. Without retries a broken connection is an error of every record on its way; with retries
//! these are sent again in their order, and with idempotence a broker knows what it has already. Reconnecting goes on beside the load.

mod lane;
mod link;
mod renew;

use super::client::{ClientCounts, Delivered, Handed, Outgoing, Producing};
use super::clock::now_ns;
use super::spec::{LoadSpec, ProducerSettings};
use crate::native::admin::{Admin, Leaders};
use crate::native::connection::Connection;
use crate::native::endpoint::{Bootstrap, Endpoint};
use crate::native::ledger::Ledger;
use crate::native::poller::Poller;
use crate::native::stream::Stream;
use crate::native::{ClientError, Security};
use kafka_wire::codec::CodecError;
use kafka_wire::{Compressor, ErrorCode};
use lane::{Batch, Lane, Spare};
use link::{Answered, Link};
use renew::{Cluster, Job};
use std::collections::VecDeque;
use std::time::Duration;

/// A request takes no further batch from here on, bytes: Kafka's default of `max.request.size`.
const REQUEST_BYTES: usize = 1 << 20;
/// How often timeouts and reconnects are looked at.
const TEND_NS: u64 = 20_000_000;
/// A wait that is shorter than that is not worth a system call that sleeps.
const SPIN_NS: u64 = 30_000;
/// Pause in front of another try after a refusal (`retry.backoff.ms`).
const RETRY_NS: u64 = 100_000_000;
/// Pause between two tries to connect, at first and at most.
const RECONNECT_NS: (u64, u64) = (20_000_000, 1_000_000_000);
const NS_PER_MS: u64 = 1_000_000;

/// The producer; see [`Producing`].
pub struct NativeProducer {
    settings: ProducerSettings,
    topics: Topics,
    lanes: Vec<Lane>,
    links: Vec<Link>,
    renewal: Renewal,
    /// Producer id and epoch.
    identity: Option<(i64, i16)>,
    /// When the open batches of which lanes have lingered enough: rising times, as all linger as long.
    lingering: VecDeque<(u64, usize, u64)>,
    spare: Spare,
    compressor: Compressor,
    queued_bytes: u64,
    queued_records: u64,
    counts: ClientCounts,
    ledger: Option<Ledger>,
    poller: Poller,
    answered: Vec<Answered>,
    tended_ns: u64,
}

/// The topic of each place.
struct Topics {
    names: Vec<String>,
    each: bool,
}

impl Topics {
    fn at(&self, place: usize) -> (&str, i32) {
        match self.each {
            true => (self.names.get(place).map_or("", String::as_str), 0),
            false => (&self.names[0], place as i32),
        }
    }
}

/// What has to be had anew, and what is under way for it.
struct Renewal {
    cluster: Cluster,
    links: Vec<Reconnect>,
    wants_leaders: bool,
    leaders: Option<Job<Leaders>>,
    wants_identity: bool,
    identity: Option<Job<(i64, i16)>>,
    not_before_ns: u64,
}

/// Of one connection.
#[derive(Default)]
struct Reconnect {
    job: Option<Job<(Leaders, Option<Stream>)>>,
    not_before_ns: u64,
    pause_ns: u64,
}

impl NativeProducer {
    /// Connects to each leader; sends nothing but what asks for them, and for a producer id.
    ///
    /// # Errors
    /// A figure that cannot work, a topic with fewer partitions, or a broker that is not there.
    pub fn connect(brokers: &Bootstrap, security: &Security, spec: &LoadSpec) -> Result<Self, ClientError> {
        spec.check()?;
        let mut admin = Admin::connect(brokers, security)?;
        let leaders = admin.leaders_of(&spec.spread)?;
        let identity = spec
            .producer
            .idempotence
            .then(|| admin.init_producer_id())
            .transpose()?;
        let mut lanes = Vec::new();
        lanes.resize_with(spec.spread.partitions as usize, Lane::default);
        let known = leaders.brokers.iter().map(|(endpoint, _)| endpoint);
        let mut all: Vec<Endpoint> = brokers.endpoints().to_vec();
        known.for_each(|endpoint| {
            if !all.contains(endpoint) {
                all.push(endpoint.clone());
            }
        });
        let mut producer = Self {
            topics: Topics {
                names: spec.spread.topics(),
                each: spec.spread.topic_each,
            },
            lanes,
            links: Vec::new(),
            renewal: Renewal {
                cluster: Cluster {
                    brokers: all.try_into().map_err(ClientError::Spec)?,
                    security: security.clone(),
                    spread: spec.spread.clone(),
                },
                links: Vec::new(),
                wants_leaders: false,
                leaders: None,
                wants_identity: false,
                identity: None,
                not_before_ns: 0,
            },
            identity,
            lingering: VecDeque::new(),
            spare: Spare::default(),
            compressor: Compressor::new(spec.producer.compression),
            queued_bytes: 0,
            queued_records: 0,
            counts: ClientCounts::default(),
            ledger: (spec.producer.acks != 0).then(|| Ledger::empty(&spec.spread)),
            poller: Poller::default(),
            answered: Vec::new(),
            tended_ns: now_ns(),
            settings: spec.producer.clone(),
        };
        producer.follow(&leaders);
        for link in &mut producer.links {
            link.connect(Connection::open(&link.endpoint, security, &renew::options())?.into_stream());
        }
        Ok(producer)
    }

    /// Gives each lane the connection to its leader; one that is new is made later.
    fn follow(&mut self, leaders: &Leaders) {
        for (endpoint, places) in &leaders.brokers {
            let connections = (self.settings.connections as usize).min(places.len()).max(1);
            for (turn, place) in places.iter().enumerate() {
                let number = (turn % connections) as u32;
                let is_it = |link: &Link| link.endpoint == *endpoint && link.number == number;
                let link = self.links.iter().position(is_it).unwrap_or_else(|| {
                    self.links.push(Link::new(endpoint.clone(), number));
                    self.renewal.links.push(Reconnect::default());
                    self.links.len() - 1
                });
                if let Some(lane) = usize::try_from(*place).ok().and_then(|place| self.lanes.get_mut(place)) {
                    lane.link = link;
                }
            }
        }
        self.links.iter_mut().for_each(|link| link.ready.clear());
        self.lanes.iter_mut().for_each(|lane| lane.is_queued = false);
        (0..self.lanes.len()).for_each(|place| self.queue(place));
    }

    /// Puts a lane into the queue of its connection, if it has something to send.
    fn queue(&mut self, place: usize) {
        let lane = &mut self.lanes[place];
        if !lane.is_queued && lane.is_ready() {
            lane.is_queued = true;
            self.links[lane.link].ready.push_back(place);
        }
    }

    /// Everything that can be done without waiting; answers whether something was told.
    fn work(&mut self, on: &mut dyn FnMut(Delivered<'_>)) -> Result<bool, ClientError> {
        let queued_before = self.queued_records;
        let now = now_ns();
        let is_due = now.saturating_sub(self.tended_ns) >= TEND_NS;
        for link in 0..self.links.len() {
            // Nobody answers to acks=0, but a broker may close the connection.
            if self.links[link].in_flight() > 0 || (is_due && self.settings.acks == 0) {
                let topics = &self.topics;
                let read = self.links[link].read(|place| topics.at(place), &mut self.answered);
                self.settle(on);
                if let Err(error) = read {
                    self.lose(link, in_words(&error), on);
                }
            }
        }
        if is_due {
            self.tended_ns = now;
            self.tend(now, on);
        }
        self.end_lingering(now);
        for link in 0..self.links.len() {
            self.fill(link, now)?;
            if self.links[link].wants_room()
                && let Err(error) = self.links[link].write()
            {
                self.lose(link, in_words(&error), on);
            }
            if self.settings.acks == 0 {
                self.links[link].take_written(now_ns(), &mut self.answered);
                self.settle(on);
            }
        }
        Ok(self.queued_records < queued_before)
    }

    /// Lets batches go that have lingered enough. Those that were full before do not linger any more: waiting for their times would be
    /// looking at the clock all the while.
    fn end_lingering(&mut self, now: u64) {
        while let Some((due_ns, place, number)) = self.lingering.front().copied() {
            if due_ns > now && self.lanes[place].lingers(number) {
                return;
            }
            self.lingering.pop_front();
            self.lanes[place].linger_is_over(number);
            self.queue(place);
        }
    }

    /// Makes requests for as long as the connection may have more of them on its way.
    fn fill(&mut self, link: usize, now: u64) -> Result<(), ClientError> {
        let in_flight_max = self.settings.in_flight as usize;
        while self.links[link].is_up()
            && !self.renewal.wants_identity
            && self.links[link].in_flight() < in_flight_max
            && !self.links[link].ready.is_empty()
        {
            let batches = self.batches_for(link, now)?;
            if batches.is_empty() {
                return Ok(());
            }
            self.counts.requests += 1;
            self.counts.batches += batches.len() as u64;
            self.counts.raw_bytes += batches.iter().map(|batch| batch.raw_bytes() as u64).sum::<u64>();
            let topics = &self.topics;
            let encoded = self.links[link].add(batches, self.settings.acks, |place| topics.at(place));
            self.counts.wire_bytes += encoded.wire_bytes;
            self.counts.batch_bytes += encoded.batch_bytes;
        }
        Ok(())
    }

    /// The batches of the next request: one of each lane whose turn it is.
    fn batches_for(&mut self, link: usize, now: u64) -> Result<Vec<Batch>, ClientError> {
        let mut batches = Vec::new();
        let mut bytes = 0;
        for _ in 0..self.links[link].ready.len() {
            let Some(place) = self.links[link].ready.pop_front() else {
                break;
            };
            let lane = &mut self.lanes[place];
            lane.is_queued = false;
            if let Some(mut batch) = lane.pop(now) {
                batch
                    .seal(&mut self.compressor, self.identity, &mut lane.next_sequence)
                    .map_err(unsealed)?;
                lane.in_flight += 1;
                bytes += batch.bytes().len();
                batches.push(batch);
            }
            self.queue(place);
            if bytes >= REQUEST_BYTES {
                break;
            }
        }
        // Places of one topic stand together in a request; with a topic each there is nothing to put together.
        Ok(batches)
    }

    /// Judges what was answered.
    fn settle(&mut self, on: &mut dyn FnMut(Delivered<'_>)) {
        let mut answered = std::mem::take(&mut self.answered);
        for answer in answered.drain(..) {
            self.judge(answer, on);
        }
        self.answered = answered;
    }

    fn judge(&mut self, answer: Answered, on: &mut dyn FnMut(Delivered<'_>)) {
        let Answered {
            batch,
            code,
            base_offset,
            at_ns,
        } = answer;
        let lane = &mut self.lanes[batch.place];
        lane.in_flight = lane.in_flight.saturating_sub(1);
        let Some(code) = code else {
            self.counts.errors += 1;
            return self.fail(batch, "an answer that leaves the partition out", at_ns, on);
        };
        // What a broker has already, without remembering its offset, is there all the same.
        let is_there = code == ErrorCode::DuplicateSequenceNumber.code() && self.settings.idempotence;
        if code == 0 || is_there {
            if let Some(ledger) = self.ledger.as_mut().filter(|_| base_offset >= 0) {
                let bytes = batch.bytes().len() as u64;
                ledger.partitions[batch.place].add(base_offset, batch.records(), bytes, batch.crc());
            }
            return self.done(batch, Some(base_offset).filter(|offset| *offset >= 0), None, at_ns, on);
        }
        self.counts.errors += 1;
        self.renewal.wants_leaders |= has_moved(code);
        // A sequence out of order is the fault of a batch in front of it that has to be sent again, if there is one.
        let may_pass = match ErrorCode::from_code(code) {
            Some(ErrorCode::OutOfOrderSequenceNumber) => lane.waits_before(batch.number),
            _ => may_pass(code),
        };
        match may_pass && self.settings.retries {
            true => self.send_again(batch, at_ns + RETRY_NS, at_ns, on),
            false => self.fail(batch, &name_of(code), at_ns, on),
        }
    }

    /// Keeps a batch for another try, unless its time is over.
    fn send_again(&mut self, batch: Batch, not_before_ns: u64, at_ns: u64, on: &mut dyn FnMut(Delivered<'_>)) {
        if at_ns.saturating_sub(batch.opened_ns) >= self.delivery_timeout_ns() {
            return self.fail(batch, "delivery timeout", at_ns, on);
        }
        self.counts.retries += 1;
        let place = batch.place;
        self.lanes[place].put_back(batch, not_before_ns);
        self.queue(place);
    }

    fn fail(&mut self, batch: Batch, why: &str, at_ns: u64, on: &mut dyn FnMut(Delivered<'_>)) {
        // The sequences behind it would leave a gap, which a broker refuses.
        self.renewal.wants_identity |= batch.sequence.is_some();
        self.done(batch, None, Some(why), at_ns, on);
    }

    fn done(
        &mut self,
        batch: Batch,
        base_offset: Option<i64>,
        error: Option<&str>,
        acked_ns: u64,
        on: &mut dyn FnMut(Delivered<'_>),
    ) {
        on(Delivered {
            tokens: &batch.tokens,
            place: batch.place,
            base_offset,
            sent_ns: batch.sent_ns,
            acked_ns,
            error,
        });
        self.queued_bytes = self.queued_bytes.saturating_sub(batch.queued_bytes());
        self.queued_records = self.queued_records.saturating_sub(batch.tokens.len() as u64);
        self.spare.put(batch);
    }

    /// Gives a connection up, with what was on its way.
    fn lose(&mut self, link: usize, why: &str, on: &mut dyn FnMut(Delivered<'_>)) {
        let at_ns = now_ns();
        self.counts.errors += self.links[link].in_flight() as u64;
        let batches = self.links[link].disconnect();
        for batch in &batches {
            let lane = &mut self.lanes[batch.place];
            lane.in_flight = lane.in_flight.saturating_sub(1);
        }
        for batch in batches {
            match self.settings.retries {
                true => self.send_again(batch, 0, at_ns, on),
                false => self.fail(batch, why, at_ns, on),
            }
        }
        self.renewal.links[link] = Reconnect {
            not_before_ns: at_ns + RECONNECT_NS.0,
            ..Reconnect::default()
        };
    }

    /// Timeouts, and what has to be had anew.
    fn tend(&mut self, now: u64, on: &mut dyn FnMut(Delivered<'_>)) {
        let request_timeout_ns = u64::from(self.settings.request_timeout_ms) * NS_PER_MS;
        for link in 0..self.links.len() {
            let oldest_ns = self.links[link].oldest_ns();
            if oldest_ns.is_some_and(|sent_ns| now.saturating_sub(sent_ns) >= request_timeout_ns) {
                self.lose(link, "request timeout", on);
            }
            if !self.links[link].is_up() {
                self.reconnect(link, now);
            }
        }
        let opened_before_ns = now.saturating_sub(self.delivery_timeout_ns());
        for place in 0..self.lanes.len() {
            while let Some(batch) = self.lanes[place].pop_old(opened_before_ns) {
                self.fail(batch, "delivery timeout", now, on);
            }
        }
        self.renew(now);
    }

    /// Goes on with making a connection anew.
    fn reconnect(&mut self, link: usize, now: u64) {
        let renewal = &mut self.renewal.links[link];
        match renewal.job.as_ref().map(Job::done) {
            None if now >= renewal.not_before_ns => {
                let to = self.links[link].endpoint.clone();
                renewal.job = Some(renew::connect(&self.renewal.cluster, to));
            }
            None | Some(None) => {}
            Some(Some(result)) => {
                renewal.job = None;
                renewal.pause_ns = (renewal.pause_ns * 2).clamp(RECONNECT_NS.0, RECONNECT_NS.1);
                renewal.not_before_ns = now + renewal.pause_ns;
                if let Ok((leaders, stream)) = result {
                    if let Some(stream) = stream {
                        self.counts.reconnects += 1;
                        self.links[link].connect(stream);
                    }
                    self.follow(&leaders);
                }
            }
        }
    }

    /// Goes on with finding the leaders, and with a new producer id once nothing is on its way under the old one.
    fn renew(&mut self, now: u64) {
        let renewal = &mut self.renewal;
        let mut found = None;
        if let Some(result) = renewal.leaders.as_ref().and_then(Job::done) {
            renewal.leaders = None;
            (renewal.wants_leaders, renewal.not_before_ns) = (result.is_err(), now + RETRY_NS);
            found = result.ok();
        } else if renewal.wants_leaders && renewal.leaders.is_none() && now >= renewal.not_before_ns {
            renewal.leaders = Some(renew::leaders(&renewal.cluster));
        }
        if let Some(result) = renewal.identity.as_ref().and_then(Job::done) {
            renewal.identity = None;
            renewal.not_before_ns = now + RETRY_NS;
            if let Ok(identity) = result {
                self.identity = Some(identity);
                renewal.wants_identity = false;
                self.lanes.iter_mut().for_each(Lane::restart_sequences);
            }
        } else if renewal.wants_identity
            && renewal.identity.is_none()
            && now >= renewal.not_before_ns
            && self.links.iter().all(|link| link.in_flight() == 0)
        {
            renewal.identity = Some(renew::identity(&renewal.cluster));
        }
        if let Some(leaders) = found {
            self.follow(&leaders);
        }
    }

    /// Waits until a connection has an answer or room, something is due, or `until_ns`.
    fn wait(&mut self, now: u64, until_ns: u64) -> Result<(), ClientError> {
        let due_ns = self.lingering.front().map_or(u64::MAX, |(due_ns, ..)| *due_ns);
        let until_ns = until_ns.min(due_ns).min(self.tended_ns + TEND_NS);
        let left_ns = until_ns.saturating_sub(now);
        if left_ns < SPIN_NS {
            std::hint::spin_loop();
            return Ok(());
        }
        self.poller.clear();
        for link in &self.links {
            if let Some(socket) = link.socket() {
                self.poller.add(socket, link.in_flight() > 0, link.wants_room());
            }
        }
        self.poller
            .wait_for(Duration::from_nanos(left_ns), "waiting for acknowledgements")
            .map(drop)
    }

    fn delivery_timeout_ns(&self) -> u64 {
        u64::from(self.settings.delivery_timeout_ms) * NS_PER_MS
    }
}

impl Producing for NativeProducer {
    fn send(&mut self, record: Outgoing<'_>) -> Result<Handed, ClientError> {
        let bytes = (record.value.len() + record.key.map_or(0, <[u8]>::len)) as u64;
        if self.queued_records > 0 && self.queued_bytes + bytes > self.settings.buffer_bytes {
            return Ok(Handed::Full);
        }
        let Some(lane) = self.lanes.get_mut(record.place) else {
            let (place, places) = (record.place, self.lanes.len());
            return Err(ClientError::Spec(format!("there is no place {place} among {places}")));
        };
        let batch_bytes = self.settings.batch_bytes as usize;
        let (taken_bytes, began) = lane.push(&record, batch_bytes, &mut self.spare, now_ns);
        self.queued_bytes += taken_bytes;
        self.queued_records += 1;
        if let Some(began) = began {
            let due_ns = began.at_ns + self.settings.linger_us * 1_000;
            self.lingering.push_back((due_ns, record.place, began.number));
            if !self.settings.idempotence {
                // Its bytes are in the processor's cache now; by the time it leaves they may not be any more.
                lane.seal_full(&mut self.compressor).map_err(unsealed)?;
            }
            self.queue(record.place);
        }
        Ok(Handed::Taken)
    }

    fn poll(&mut self, until_ns: u64, on: &mut dyn FnMut(Delivered<'_>)) -> Result<(), ClientError> {
        loop {
            let told = self.work(on)?;
            let now = now_ns();
            if told || now >= until_ns {
                return Ok(());
            }
            self.wait(now, until_ns)?;
        }
    }

    fn flush(&mut self, until_ns: u64, on: &mut dyn FnMut(Delivered<'_>)) -> Result<(), ClientError> {
        for place in 0..self.lanes.len() {
            self.lanes[place].let_go();
            self.queue(place);
        }
        while self.queued_records > 0 && now_ns() < until_ns {
            self.poll(until_ns, on)?;
        }
        let at_ns = now_ns();
        for link in 0..self.links.len() {
            if self.links[link].in_flight() > 0 {
                for batch in self.links[link].disconnect() {
                    self.lanes[batch.place].in_flight = 0;
                    self.fail(batch, "not acknowledged in time", at_ns, on);
                }
            }
        }
        for place in 0..self.lanes.len() {
            while let Some(batch) = self.lanes[place].pop_old(u64::MAX) {
                self.fail(batch, "not acknowledged in time", at_ns, on);
            }
        }
        Ok(())
    }

    fn counts(&self) -> ClientCounts {
        let calls = self.links.iter().map(Link::calls);
        let (send_calls, receive_calls) = calls.fold((0, 0), |sum, calls| (sum.0 + calls.0, sum.1 + calls.1));
        ClientCounts {
            send_calls,
            receive_calls,
            ..self.counts
        }
    }

    fn ledger(&self) -> Option<&Ledger> {
        self.ledger.as_ref()
    }
}

fn unsealed(error: CodecError) -> ClientError {
    ClientError::Spec(error.to_string())
}

/// Why a connection was lost, without figures.
fn in_words(error: &std::io::Error) -> &'static str {
    use std::io::ErrorKind::{BrokenPipe, ConnectionReset, Other, UnexpectedEof};
    match error.kind() {
        UnexpectedEof | BrokenPipe | ConnectionReset => "connection lost",
        Other => "an answer that can't be read",
        _ => "connection failed",
    }
}

fn name_of(code: i16) -> String {
    ErrorCode::from_code(code).map_or_else(|| format!("error {code}"), |code| format!("{code:?}"))
}

/// Whether the partition may have another leader.
fn has_moved(code: i16) -> bool {
    use ErrorCode::{
        FencedLeaderEpoch, KafkaStorageError, LeaderNotAvailable, NotLeaderOrFollower, UnknownLeaderEpoch,
        UnknownTopicOrPartition,
    };
    matches!(
        ErrorCode::from_code(code),
        Some(
            FencedLeaderEpoch
                | KafkaStorageError
                | LeaderNotAvailable
                | NotLeaderOrFollower
                | UnknownLeaderEpoch
                | UnknownTopicOrPartition
        )
    )
}

/// Whether the same batch may be taken later: the errors that Kafka calls retriable, as far as they answer Produce.
fn may_pass(code: i16) -> bool {
    use ErrorCode::{
        CorruptMessage, NetworkException, NotEnoughReplicas, NotEnoughReplicasAfterAppend, RequestTimedOut,
        ThrottlingQuotaExceeded,
    };
    let passes = matches!(
        ErrorCode::from_code(code),
        Some(
            CorruptMessage
                | NetworkException
                | NotEnoughReplicas
                | NotEnoughReplicasAfterAppend
                | RequestTimedOut
                | ThrottlingQuotaExceeded
        )
    );
    passes || has_moved(code)
}
