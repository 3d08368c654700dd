//! The consuming client: fetches from all its places, one request at a time on each connection, and tells of every record in them,
//! compressed or not.
//!
//! The next request leaves before the records of the last answer are looked at, so that the broker works meanwhile, as with Kafka's own
//! clients. [`crate::native::follow`] moves the same bytes without looking at records. A connection that breaks ends the client.

use super::{ConsumeCounts, ConsumeSpec, Consuming, Received};
use crate::load::clock;
use crate::native::admin::Admin;
use crate::native::batches::BATCH_BYTES_MAX;
use crate::native::connection::{ConnectOptions, Connection, FRAME_BYTES_MAX};
use crate::native::poller::Poller;
use crate::native::produce::share;
use crate::native::stream::{Stream, Wait};
use crate::native::{Bootstrap, ClientError, Security};
use kafka_wire::fetch::{
    FetchResult, Limits, ResponseStart, Wanted, decode_topic, encode_request_over, topic_head_bytes,
};
use kafka_wire::{BatchError, BatchHeader, BatchIter, Decompressor, FrameBuffer};
use std::collections::BTreeSet;
use std::io;
use std::time::Duration;

const DOING: &str = "receiving records";

/// A place, and how far it was read.
struct Position {
    place: usize,
    topic: String,
    partition: i32,
    next_offset: i64,
    /// Whether the last answer had records of it: then others come first in the next request.
    had_records: bool,
}

/// A connection to a leader.
struct Link {
    frames: FrameBuffer,
    asker: Asker,
}

/// The asking side of a link: apart from its frames, as one is looked at while the next is asked for.
struct Asker {
    stream: Stream,
    /// In the order of the last request; those of one topic are neighbours.
    positions: Vec<Position>,
    request: Vec<u8>,
    correlation_id: i32,
    is_waiting: bool,
}

/// What all links share.
struct Shared {
    limits: Limits,
    partition_bytes: i32,
    check_crcs: bool,
    decompressor: Decompressor,
    counts: ConsumeCounts,
}

/// A client that consumes.
pub(super) struct NativeConsumer {
    links: Vec<Link>,
    poller: Poller,
    shared: Shared,
}

impl NativeConsumer {
    /// Connects to each leader; fetches nothing yet. `starts` holds each place that is read with its first offset.
    ///
    /// # Errors
    /// A broker is not there, or a partition has no leader.
    pub fn connect(
        brokers: &Bootstrap,
        security: &Security,
        spec: &ConsumeSpec,
        starts: &[(usize, i64)],
    ) -> Result<Self, ClientError> {
        let signed = |figure: u32| i32::try_from(figure).unwrap_or(i32::MAX);
        let options = ConnectOptions::default();
        let leaders = Admin::connect(brokers, security)?.leaders_of(&spec.spread)?;
        let mut links = Vec::new();
        for (endpoint, led) in leaders.brokers {
            let led: BTreeSet<usize> = led
                .into_iter()
                .filter_map(|place| usize::try_from(place).ok())
                .collect();
            let read: Vec<usize> = (0..starts.len())
                .filter(|index| led.contains(&starts[*index].0))
                .collect();
            for number in 0..(spec.connections as usize).min(read.len()) {
                let position = |index: usize| {
                    let (place, next_offset) = starts[index];
                    let (topic, partition) = spec.spread.at(place);
                    Position {
                        place,
                        topic: topic.into_owned(),
                        partition,
                        next_offset,
                        had_records: false,
                    }
                };
                let shared_out = share(&read, number, spec.connections as usize);
                let asker = Asker {
                    stream: Connection::open(&endpoint, security, &options)?.into_stream(),
                    positions: shared_out.into_iter().map(position).collect(),
                    request: Vec::new(),
                    correlation_id: 0,
                    is_waiting: false,
                };
                let frames = FrameBuffer::new(FRAME_BYTES_MAX);
                links.push(Link { frames, asker });
            }
        }
        Ok(Self {
            links,
            poller: Poller::default(),
            shared: Shared {
                limits: Limits {
                    bytes_min: signed(spec.fetch_min_bytes),
                    bytes_max: signed(spec.response_bytes),
                    wait_ms_max: signed(spec.fetch_max_wait_ms),
                },
                partition_bytes: signed(spec.partition_bytes),
                check_crcs: spec.check_crcs,
                decompressor: Decompressor::default(),
                counts: ConsumeCounts::default(),
            },
        })
    }

    /// Waits until bytes of an answer are there; false when the time is over first.
    fn wait(&mut self, until_ns: u64) -> Result<bool, ClientError> {
        self.poller.clear();
        for link in &self.links {
            self.poller.add(link.asker.stream.socket(), true, false);
        }
        // The socket knows nothing of what was decrypted already.
        let is_there = self.links.iter_mut().any(|link| link.asker.stream.has_plaintext());
        let limit = match is_there {
            true => Duration::ZERO,
            false => Duration::from_nanos(until_ns.saturating_sub(clock::now_ns())),
        };
        Ok(self.poller.wait_for(limit, DOING)? || is_there)
    }
}

impl Consuming for NativeConsumer {
    fn poll(&mut self, until_ns: u64, on: &mut dyn FnMut(Received<'_>)) -> Result<(), ClientError> {
        for link in self.links.iter_mut().filter(|link| !link.asker.is_waiting) {
            link.asker.ask(&mut self.shared)?;
        }
        let records_before = self.shared.counts.records;
        while self.shared.counts.records == records_before && self.wait(until_ns)? {
            for (index, link) in self.links.iter_mut().enumerate() {
                if self.poller.has_input(index) || link.asker.stream.has_plaintext() {
                    link.read()?;
                    link.take(&mut self.shared, on)?;
                }
            }
        }
        Ok(())
    }

    fn counts(&self) -> ConsumeCounts {
        self.shared.counts
    }
}

impl Link {
    /// Reads what is there, up to the end of an answer.
    fn read(&mut self) -> Result<(), ClientError> {
        loop {
            match self.asker.stream.read(self.frames.space(), Wait::No) {
                Ok(0) => return Err(ClientError::Closed { doing: DOING }),
                Ok(bytes) => self.frames.advance(bytes),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(ClientError::socket(DOING, error)),
            }
            if self.frames.frame()?.is_some() {
                return Ok(());
            }
        }
    }

    /// Asks again and tells of the records of the answer, if all of it is there.
    fn take(&mut self, shared: &mut Shared, on: &mut dyn FnMut(Received<'_>)) -> Result<(), ClientError> {
        let Some(frame) = self.frames.frame()? else {
            return Ok(());
        };
        shared.counts.responses += 1;
        shared.counts.wire_bytes += frame.len() as u64;
        let sections = self.asker.answered(frame)?;
        self.asker.ask(shared)?;
        for section in sections {
            shared.tell(&section, on)?;
        }
        self.frames.consume_frame();
        Ok(())
    }
}

/// Records of one place in an answer.
struct Section<'a> {
    place: usize,
    /// Offset that was asked for.
    from: i64,
    records: &'a [u8],
}

impl Asker {
    /// Asks for all its places.
    fn ask(&mut self, shared: &mut Shared) -> Result<(), ClientError> {
        // Kafka fills a response in the order of the request, so that the last ones get what room is left.
        self.positions.sort_by_key(|position| position.had_records);
        let wanted: Vec<Wanted> = self
            .positions
            .iter()
            .map(|position| Wanted {
                partition: position.partition,
                fetch_offset: position.next_offset,
                bytes_max: shared.partition_bytes,
            })
            .collect();
        let mut topics: Vec<(&str, &[Wanted])> = Vec::new();
        let mut rest = wanted.as_slice();
        for same in self.positions.chunk_by(|one, next| one.topic == next.topic) {
            let (these, others) = rest.split_at(same.len());
            topics.push((&same[0].topic, these));
            rest = others;
        }
        self.correlation_id = self.correlation_id.wrapping_add(1) & i32::MAX;
        self.request.clear();
        encode_request_over(&mut self.request, self.correlation_id, &topics, shared.limits);
        self.stream.write_all(&self.request)?;
        for position in &mut self.positions {
            position.had_records = false;
        }
        self.is_waiting = true;
        shared.counts.requests += 1;
        Ok(())
    }

    /// Takes note of an answer; its records are still to be told.
    fn answered<'a>(&mut self, frame: &'a [u8]) -> Result<Vec<Section<'a>>, ClientError> {
        let start = ResponseStart::decode(frame)?;
        if !std::mem::take(&mut self.is_waiting) {
            return Err(ClientError::Unasked(start.correlation_id));
        }
        if start.correlation_id != self.correlation_id {
            return Err(ClientError::Correlation {
                expected: self.correlation_id,
                observed: start.correlation_id,
            });
        }
        if start.error != 0 {
            let of = "all partitions".to_owned();
            return Err(ClientError::refused_of("Fetch", of, start.error, None));
        }
        let mut sections = Vec::new();
        let mut at = ResponseStart::BYTES;
        // Answers come in the order of the request.
        let mut turn = 0;
        let behind = |at: usize| frame.get(at..).unwrap_or_default();
        for _ in 0..start.topics {
            let (topic, partitions) = decode_topic(behind(at))?;
            at += topic_head_bytes(topic);
            for _ in 0..partitions {
                let result = FetchResult::decode(behind(at))?;
                at += FetchResult::BYTES;
                let Some(records) = behind(at).get(..result.records_bytes) else {
                    return Err(misread(topic, result.partition, "its records are cut off".to_owned()));
                };
                at += result.records_bytes;
                sections.extend(self.advance(turn, topic, &result, records)?);
                turn += 1;
            }
        }
        Ok(sections)
    }

    /// Goes behind the whole batches in `records`, the `turn`th part of the answer.
    fn advance<'a>(
        &mut self,
        turn: usize,
        topic: &str,
        result: &FetchResult,
        records: &'a [u8],
    ) -> Result<Option<Section<'a>>, ClientError> {
        let partition = result.partition;
        if result.error != 0 {
            return Err(ClientError::refused(
                "Fetch",
                topic,
                Some(partition),
                result.error,
                None,
            ));
        }
        let is_it = |position: &Position| position.partition == partition && position.topic == topic;
        let place = match self.positions.get(turn) {
            Some(position) if is_it(position) => Some(turn),
            _ => self.positions.iter().position(is_it),
        };
        let Some(position) = place.and_then(|place| self.positions.get_mut(place)) else {
            return Err(misread(topic, partition, "it was not asked for".to_owned()));
        };
        let from = position.next_offset;
        for batch in BatchIter::new(records) {
            let (header, _) = batch.map_err(|error| misread(topic, partition, error.to_string()))?;
            position.next_offset = position.next_offset.max(header.last_offset().saturating_add(1));
        }
        position.had_records = position.next_offset > from;
        let place = position.place;
        Ok(position.had_records.then_some(Section { place, from, records }))
    }
}

impl Shared {
    /// Tells of the records of a section.
    fn tell(&mut self, section: &Section<'_>, on: &mut dyn FnMut(Received<'_>)) -> Result<(), ClientError> {
        let Section { place, from, records } = *section;
        let failed = |error: &dyn std::fmt::Display| {
            ClientError::Spec(format!("a batch of place {place} of the spread can't be read: {error}"))
        };
        for batch in BatchIter::new(records) {
            let (header, batch) = batch.map_err(|error| failed(&error))?;
            if header.is_control() || header.last_offset() < from {
                continue;
            }
            if self.check_crcs {
                BatchHeader::checked_stored(batch).map_err(|error| failed(&error))?;
            }
            let decompressed = self.decompressor.records(header, batch, BATCH_BYTES_MAX);
            let records = decompressed.map_err(|error| failed(&error))?;
            let received_ns = clock::now_ns();
            for record in records {
                let record = record.map_err(|error: BatchError| failed(&error))?;
                // A batch comes whole, also from its middle.
                if record.offset < from {
                    continue;
                }
                let value = record.value.unwrap_or_default();
                self.counts.records += 1;
                self.counts.raw_bytes += (record.key.unwrap_or_default().len() + value.len()) as u64;
                on(Received {
                    place,
                    offset: record.offset,
                    timestamp_ms: record.timestamp_ms,
                    key: record.key,
                    value,
                    received_ns,
                });
            }
        }
        Ok(())
    }
}

fn misread(topic: &str, partition: i32, what: String) -> ClientError {
    ClientError::Misread {
        topic: topic.to_owned(),
        partition,
        what,
    }
}
