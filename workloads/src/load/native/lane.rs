//! What waits for one partition: a batch that is being filled, and batches that are to be sent.

use crate::load::client::Outgoing;
use kafka_wire::batch::{CRC_START, HEADER_BYTES};
use kafka_wire::codec::CodecError;
use kafka_wire::{BatchBuilder, Compressor};
use std::collections::VecDeque;

/// A batch, from its first record to its acknowledgement.
#[derive(Debug)]
pub struct Batch {
    builder: BatchBuilder,
    /// Its records.
    pub tokens: Vec<u64>,
    /// In the spread.
    pub place: usize,
    /// Rising within its partition.
    pub number: u64,
    /// When its first record came.
    pub opened_ns: u64,
    /// When its request was handed to the system last.
    pub sent_ns: Option<u64>,
    /// Whether header, checksum and compression are done.
    is_sealed: bool,
    /// Sequence of its first record, once it has one.
    pub sequence: Option<i32>,
}

impl Batch {
    fn new() -> Self {
        Self {
            builder: BatchBuilder::new(0),
            tokens: Vec::new(),
            place: 0,
            number: 0,
            opened_ns: 0,
            sent_ns: None,
            is_sealed: false,
            sequence: None,
        }
    }

    /// Bytes before compression, with the header.
    pub fn raw_bytes(&self) -> usize {
        self.builder.total_bytes()
    }

    /// What its records take of the send queue.
    pub fn queued_bytes(&self) -> u64 {
        self.raw_bytes().saturating_sub(HEADER_BYTES) as u64
    }

    /// Its records.
    pub fn records(&self) -> i32 {
        self.builder.records()
    }

    /// The bytes to send, of a sealed one.
    pub fn bytes(&self) -> &[u8] {
        self.builder.finished()
    }

    /// The checksum in its header, of a sealed one.
    pub fn crc(&self) -> u32 {
        let stored = self.bytes().get(CRC_START - 4..).and_then(|rest| rest.first_chunk());
        stored.map_or(0, |bytes| u32::from_be_bytes(*bytes))
    }

    /// Compresses it and writes its header, unless that is done.
    ///
    /// # Errors
    /// It can't be compressed.
    pub fn seal(
        &mut self,
        compressor: &mut Compressor,
        identity: Option<(i64, i16)>,
        next_sequence: &mut i32,
    ) -> Result<(), CodecError> {
        if self.is_sealed {
            return Ok(());
        }
        if let Some((id, epoch)) = identity {
            let sequence = *next_sequence;
            self.sequence = Some(sequence);
            // Behind the largest sequence comes 0 again (KIP-98).
            *next_sequence = sequence.wrapping_add(self.records()) & i32::MAX;
            self.builder.producer(id, epoch, sequence);
        }
        self.builder.finish_compressed(compressor)?;
        self.is_sealed = true;
        Ok(())
    }

    /// Forgets its sequence, as the producer id that it belonged to is given up.
    pub fn unseal(&mut self) {
        (self.is_sealed, self.sequence) = (false, None);
    }
}

/// Batches that are used again.
#[derive(Debug, Default)]
pub struct Spare(Vec<Batch>);

impl Spare {
    /// Most batches that are kept.
    const MAX: usize = 4_096;

    /// A batch without records.
    fn take(&mut self, timestamp_ms: i64) -> Batch {
        let mut batch = self.0.pop().unwrap_or_else(Batch::new);
        batch.builder.clear(timestamp_ms);
        batch.tokens.clear();
        batch.unseal();
        batch.sent_ns = None;
        batch
    }

    /// Keeps a batch that is done with.
    pub fn put(&mut self, batch: Batch) {
        if self.0.len() < Self::MAX {
            self.0.push(batch);
        }
    }
}

/// A batch that a record began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Began {
    /// Its number.
    pub number: u64,
    /// When.
    pub at_ns: u64,
}

/// One partition.
#[derive(Debug, Default)]
pub struct Lane {
    /// The batch that is being filled.
    open: Option<Batch>,
    /// Whether it has lingered enough.
    is_due: bool,
    /// Batches that are full, or to be sent again; in the order of their numbers.
    closed: VecDeque<Batch>,
    /// The connection that its leader is reached by.
    pub link: usize,
    /// Whether it stands in the queue of that connection.
    pub is_queued: bool,
    /// Batches on their way.
    pub in_flight: u32,
    /// Whether nothing is sent until none is on its way, because one of them has to be sent again first.
    is_held: bool,
    /// Nothing is sent before, because what was sent last was refused.
    not_before_ns: u64,
    /// Sequence of the next record, with idempotence.
    pub next_sequence: i32,
    next_number: u64,
}

impl Lane {
    /// Adds a record; answers the bytes that it takes, and whether a batch was begun with it.
    pub fn push(
        &mut self,
        record: &Outgoing<'_>,
        batch_bytes: usize,
        spare: &mut Spare,
        now: impl FnOnce() -> u64,
    ) -> (u64, Option<Began>) {
        if let Some(open) = &mut self.open {
            let before = open.raw_bytes();
            if open
                .builder
                .push_within(batch_bytes, record.timestamp_ms, record.key, record.value)
            {
                open.tokens.push(record.token);
                return ((open.raw_bytes() - before) as u64, None);
            }
            self.closed.extend(self.open.take());
        }
        let mut batch = spare.take(record.timestamp_ms);
        (batch.place, batch.number, batch.opened_ns) = (record.place, self.next_number, now());
        self.next_number += 1;
        self.is_due = false;
        let began = Began {
            number: batch.number,
            at_ns: batch.opened_ns,
        };
        let before = batch.raw_bytes();
        // A record that is larger than a batch has one of its own.
        batch.builder.push(record.timestamp_ms, record.key, record.value);
        batch.tokens.push(record.token);
        let bytes = (batch.raw_bytes() - before) as u64;
        self.open = Some(batch);
        (bytes, Some(began))
    }

    /// Seals the batch that was full last, without a sequence: these are given to batches as they leave.
    ///
    /// # Errors
    /// As [`Batch::seal`].
    pub fn seal_full(&mut self, compressor: &mut Compressor) -> Result<(), CodecError> {
        match self.closed.back_mut() {
            Some(batch) => batch.seal(compressor, None, &mut self.next_sequence),
            None => Ok(()),
        }
    }

    /// Whether the batch of that number is the open one.
    pub fn lingers(&self, number: u64) -> bool {
        self.open.as_ref().is_some_and(|open| open.number == number)
    }

    /// Lets the open batch go as soon as it can, if it is the one of that number.
    pub fn linger_is_over(&mut self, number: u64) {
        self.is_due |= self.lingers(number);
    }

    /// Lets the open batch go, whatever its age.
    pub fn let_go(&mut self) {
        self.is_due = self.open.is_some();
    }

    /// Whether a batch may be sent, now or when the lane is not held any more.
    pub fn is_ready(&self) -> bool {
        !self.closed.is_empty() || (self.is_due && self.open.is_some())
    }

    /// The next batch to send.
    pub fn pop(&mut self, now_ns: u64) -> Option<Batch> {
        if (self.is_held && self.in_flight > 0) || now_ns < self.not_before_ns {
            return None;
        }
        self.is_held = false;
        match self.closed.pop_front() {
            Some(batch) => Some(batch),
            None if self.is_due => self.open.take(),
            None => None,
        }
    }

    /// Puts a batch back where its number belongs, to be sent again before all later ones, and not before that time.
    pub fn put_back(&mut self, batch: Batch, not_before_ns: u64) {
        let at = self.closed.partition_point(|other| other.number < batch.number);
        self.closed.insert(at, batch);
        self.is_held = true;
        self.not_before_ns = self.not_before_ns.max(not_before_ns);
    }

    /// Whether a batch in front of that number has to be sent again.
    pub fn waits_before(&self, number: u64) -> bool {
        self.closed.front().is_some_and(|first| first.number < number)
    }

    /// Takes a batch whose first record came before `opened_before_ns`.
    pub fn pop_old(&mut self, opened_before_ns: u64) -> Option<Batch> {
        let is_old = |batch: &Batch| batch.opened_ns < opened_before_ns;
        if self.closed.front().is_some_and(is_old) {
            return self.closed.pop_front();
        }
        self.open.take_if(|open| is_old(open))
    }

    /// Forgets the sequences of what waits.
    pub fn restart_sequences(&mut self) {
        self.next_sequence = 0;
        self.closed.iter_mut().for_each(Batch::unseal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kafka_wire::{BatchHeader, Compression};

    fn push(lane: &mut Lane, spare: &mut Spare, token: u64, value: &[u8]) -> Option<u64> {
        let record = Outgoing {
            place: 3,
            key: None,
            value,
            timestamp_ms: 1_000,
            token,
        };
        lane.push(&record, 300, spare, || 7).1.map(|began| began.number)
    }

    #[test]
    fn batches_are_filled_to_their_size_and_sent_in_order() {
        let (mut lane, mut spare) = (Lane::default(), Spare::default());
        let began: Vec<_> = (0..5)
            .map(|token| push(&mut lane, &mut spare, token, &[1; 100]))
            .collect();
        assert_eq!(began, [Some(0), None, Some(1), None, Some(2)]);
        assert!(lane.is_ready());
        assert!(lane.lingers(2) && !lane.lingers(1), "what is full does not linger");
        let first = lane.pop(9).unwrap();
        let second = lane.pop(9).unwrap();
        assert_eq!((&first.tokens[..], &second.tokens[..]), (&[0, 1][..], &[2, 3][..]));
        assert!(!lane.is_ready() && lane.pop(9).is_none(), "the third lingers");
        lane.linger_is_over(1);
        assert!(lane.pop(9).is_none(), "another batch is over");

        // Both come back in the wrong order, while one more is on its way.
        lane.in_flight = 1;
        lane.put_back(second, 0);
        lane.put_back(first, 9);
        assert!(lane.is_ready() && lane.pop(9).is_none(), "held");
        lane.in_flight = 0;
        assert!(lane.pop(8).is_none(), "too early");
        assert!(lane.waits_before(1) && !lane.waits_before(0));
        lane.linger_is_over(2);
        let numbers: Vec<u64> = std::iter::from_fn(|| lane.pop(9)).map(|batch| batch.number).collect();
        assert_eq!(numbers, [0, 1, 2]);
        assert!(!lane.is_ready());
    }

    #[test]
    fn a_large_record_has_a_batch_of_its_own() {
        let (mut lane, mut spare) = (Lane::default(), Spare::default());
        push(&mut lane, &mut spare, 0, &[1; 1_000]);
        push(&mut lane, &mut spare, 1, &[1; 1_000]);
        assert_eq!(lane.pop(9).unwrap().tokens, [0]);
    }

    #[test]
    fn sequences_go_on_and_begin_anew() {
        let (mut lane, mut spare) = (Lane::default(), Spare::default());
        for token in 0..4 {
            push(&mut lane, &mut spare, token, &[1; 100]);
        }
        lane.let_go();
        let mut compressor = Compressor::new(Compression::default());
        let mut seal = |batch: &mut Batch, identity, next: &mut i32| {
            batch.seal(&mut compressor, Some(identity), next).unwrap();
            let header = BatchHeader::checked(batch.bytes()).unwrap();
            assert_eq!(
                (header.producer_id, header.producer_epoch, header.crc),
                (identity.0, identity.1, batch.crc())
            );
            (header.base_sequence, header.records_count)
        };
        let (mut first, mut second) = (lane.pop(9).unwrap(), lane.pop(9).unwrap());
        assert_eq!(seal(&mut first, (9, 1), &mut lane.next_sequence), (0, 2));
        assert_eq!(seal(&mut second, (9, 1), &mut lane.next_sequence), (2, 2));
        assert_eq!(
            seal(&mut first, (9, 1), &mut lane.next_sequence),
            (0, 2),
            "what is sealed keeps its sequence"
        );
        lane.put_back(second, 0);
        lane.restart_sequences();
        let mut second = lane.pop(9).unwrap();
        assert_eq!(seal(&mut second, (10, 0), &mut lane.next_sequence), (0, 2));
    }
}
