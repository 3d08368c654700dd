//! The seeking client: one place of a pre-loaded topic after the other, by offset or by time, one question in flight.
//!
//! What must come is known from the pre-load index, so every answer is held against it: the offset that belongs to a time, and the record
//! that belongs to an offset, found in a batch whose CRC is right. What is read on from a place must follow without a gap.

use super::ClientError;
use super::admin::Admin;
use super::connection::{ConnectOptions, Connection};
use super::endpoint::Bootstrap;
use super::phase::{Phase, PhaseResult, latency_histogram, record};
use super::preload::PreloadIndex;
use super::security::Security;
use crate::definition::JITTER_SHARE;
use kafka_wire::fetch::{ResponseHead, encode_request};
use kafka_wire::{BatchHeader, BatchIter, RecordIter, admin};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use std::time::Instant;

/// The one partition that is looked into.
const PARTITION: i32 = 0;
/// How long the broker may hold a fetch back, ms; it never has to.
const WAIT_MS: i32 = 500;

/// By what a place is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LookUpBy {
    /// The offset that a batch begins with.
    Offset,
    /// The offset of any record.
    Record,
    /// A time; the broker tells the offset.
    Time,
}

/// How a topic is looked into.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LookUpSpec {
    /// By what places are named.
    pub by: LookUpBy,
    /// How far back from the end of the log, % of it, a little more or less; anywhere when it is not given.
    pub distance_per_cent: Option<u32>,
    /// What is read on from each place, bytes at least. With 0 it is the batch there, or by time its offset alone.
    pub read_bytes: u64,
    /// `max_bytes` of each fetch that reads on.
    pub response_bytes: u32,
    /// Timestamp of the first batch; each next one is a millisecond later.
    pub base_timestamp_ms: i64,
    /// Of the places.
    pub seed: u64,
}

/// What came of a window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LookedUp {
    /// A response is a place that was found, its latency the time until its first record was there, or by time its offset.
    pub phase: PhaseResult,
    /// Requests that it took.
    pub requests: u64,
    /// Places where something else came than what lies there.
    pub wrong: u64,
}

/// A client that looks places up.
pub struct LookUpClient {
    spec: LookUpSpec,
    index: PreloadIndex,
    connection: Connection,
    rng: ChaCha8Rng,
    requests: u64,
    delivered_bytes: u64,
}

/// A place, and what lies there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    /// Of the record that is wanted.
    offset: i64,
    timestamp_ms: i64,
}

impl LookUpClient {
    /// Connects to the leader; looks nothing up yet.
    ///
    /// # Errors
    /// A broker is not there, or the topic has more than one partition.
    pub fn connect(
        brokers: &Bootstrap,
        security: &Security,
        index: PreloadIndex,
        spec: LookUpSpec,
    ) -> Result<Self, ClientError> {
        if index.base_offsets.len() != 1 {
            let message = "places are looked up in a topic with one partition; pre-load it so";
            return Err(ClientError::Spec(message.to_owned()));
        }
        if u64::from(spec.response_bytes) < index.batch_bytes || spec.response_bytes > i32::MAX as u32 {
            return Err(ClientError::Spec(format!(
                "responses of {} bytes can't hold a batch of {} bytes; ask for larger ones",
                spec.response_bytes, index.batch_bytes
            )));
        }
        let leaders = Admin::connect(brokers, security)?.leaders(&index.ledger.topic, 1)?;
        let Some((leader, _)) = leaders.brokers.first() else {
            return Err(ClientError::Spec("the partition has no leader".to_owned()));
        };
        Ok(Self {
            connection: Connection::open(leader, security, &ConnectOptions::default())?,
            rng: ChaCha8Rng::seed_from_u64(spec.seed),
            requests: 0,
            delivered_bytes: 0,
            spec,
            index,
        })
    }

    /// Looks up one place after the other for the phase.
    ///
    /// # Errors
    /// The connection breaks, or the broker refuses. A wrong answer is counted.
    pub fn run(&mut self, phase: Phase) -> Result<LookedUp, ClientError> {
        (self.requests, self.delivered_bytes) = (0, 0);
        let mut latency_ns = latency_histogram();
        let (mut found, mut wrong) = (0u64, 0u64);
        let started = Instant::now();
        let mut now = started;
        while now - started < phase.duration() {
            let place = self.draw();
            let asked_at = Instant::now();
            let is_right = self.seek(place)?;
            record(&mut latency_ns, asked_at.elapsed());
            let follows = is_right && (self.spec.read_bytes == 0 || self.read_on(place.offset)?);
            now = Instant::now();
            found += 1;
            wrong += u64::from(!follows);
        }
        Ok(LookedUp {
            phase: PhaseResult {
                responses: found,
                records: 0,
                delivered_bytes: self.delivered_bytes,
                moved_bytes: self.delivered_bytes,
                wall_ns: u64::try_from((now - started).as_nanos()).unwrap_or(u64::MAX),
                response_bytes_achieved: self.delivered_bytes as f64 / found.max(1) as f64,
                send_calls: 0,
                receive_calls: 0,
                data_ended: false,
                latency_ns,
            },
            requests: self.requests,
            wrong,
        })
    }

    fn draw(&mut self) -> Place {
        let batches = self.index.base_offsets[0].len();
        let batch = match self.spec.distance_per_cent {
            None => self.rng.random_range(0..batches),
            Some(per_cent) => {
                let (nearest, farthest) = around(batches, per_cent);
                batches - self.rng.random_range(nearest..=farthest)
            }
        };
        let offset = self.index.base_offsets[0][batch];
        let offset = match self.spec.by {
            LookUpBy::Offset | LookUpBy::Time => offset,
            LookUpBy::Record => self.rng.random_range(offset..self.offset_behind(batch)),
        };
        Place {
            offset,
            timestamp_ms: self.spec.base_timestamp_ms + batch as i64,
        }
    }

    fn offset_behind(&self, batch: usize) -> i64 {
        let next = self.index.base_offsets[0].get(batch + 1).copied();
        next.unwrap_or(self.index.ledger.partitions[0].next_offset)
    }

    /// Whether the place was found.
    fn seek(&mut self, place: Place) -> Result<bool, ClientError> {
        if self.spec.by == LookUpBy::Time {
            if self.offset_of(place.timestamp_ms)? != place.offset {
                return Ok(false);
            }
            if self.spec.read_bytes == 0 {
                return Ok(true);
            }
        }
        let batch_bytes = self.index.batch_bytes as i32;
        let records = self.fetch(place.offset, batch_bytes)?;
        let Ok(header) = BatchHeader::checked(&records) else {
            return Ok(false);
        };
        let mut there = RecordIter::new(header, &records).map_while(Result::ok);
        let wanted = there.find(|record| record.offset == place.offset);
        Ok(wanted.is_some_and(|record| record.timestamp_ms == place.timestamp_ms))
    }

    /// Reads on from the batch that holds `offset`; whether every batch follows the one before it.
    fn read_on(&mut self, offset: i64) -> Result<bool, ClientError> {
        let mut next = offset;
        let mut read_bytes = 0;
        let mut is_first = true;
        while read_bytes < self.spec.read_bytes {
            let records = self.fetch(next, self.spec.response_bytes as i32)?;
            let before = next;
            for (header, batch) in BatchIter::new(&records).map_while(Result::ok) {
                let follows = header.base_offset == next || (is_first && header.base_offset <= next);
                if !follows || header.last_offset() < next {
                    return Ok(false);
                }
                is_first = false;
                next = header.last_offset() + 1;
                read_bytes += batch.len() as u64;
            }
            if next == before {
                // The log ends too early, or holds no batch here.
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Record bytes from `offset` on.
    fn fetch(&mut self, offset: i64, bytes_max: i32) -> Result<Vec<u8>, ClientError> {
        let topic = &self.index.ledger.topic;
        self.requests += 1;
        let frame = self
            .connection
            .ask(|out, id| encode_request(out, id, topic, PARTITION, offset, bytes_max, WAIT_MS))?;
        let head = ResponseHead::decode(frame)?;
        if let Some(code) = [head.error, head.result.error].into_iter().find(|code| *code != 0) {
            return Err(ClientError::refused("Fetch", topic, Some(PARTITION), code, None));
        }
        let records = frame.get(head.head_bytes..).unwrap_or_default();
        self.delivered_bytes += records.len() as u64;
        Ok(records.to_vec())
    }

    /// The broker's answer to a time; -1 when nothing is as late.
    fn offset_of(&mut self, timestamp_ms: i64) -> Result<i64, ClientError> {
        let topic = &self.index.ledger.topic;
        self.requests += 1;
        let frame = self
            .connection
            .ask(|out, id| admin::encode_list_offsets(out, id, topic, &[PARTITION], timestamp_ms))?;
        let answers = admin::decode_list_offsets(frame)?;
        match answers.first() {
            Some(answer) if answer.error != 0 => Err(ClientError::refused(
                "ListOffsets",
                topic,
                Some(PARTITION),
                answer.error,
                None,
            )),
            answer => Ok(answer.map_or(-1, |answer| answer.offset)),
        }
    }
}

/// The nearest and the farthest batch, counted back from the end, that is `per_cent` of the log away, a little more or less.
fn around(batches: usize, per_cent: u32) -> (usize, usize) {
    let middle = batches as f64 * f64::from(per_cent) / 100.0;
    let nearest = (middle * (1.0 - JITTER_SHARE)).ceil() as usize;
    let farthest = (middle * (1.0 + JITTER_SHARE)) as usize;
    let nearest = nearest.clamp(1, batches);
    (nearest, farthest.clamp(nearest, batches))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_counted_back_from_the_end_and_stay_in_the_log() {
        assert_eq!(around(1_000, 1), (9, 11));
        assert_eq!(around(1_000, 50), (450, 550));
        assert_eq!(around(1_000, 99), (891, 1_000));
        assert_eq!(around(1, 1), (1, 1));
    }
}
