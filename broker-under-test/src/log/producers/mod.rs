//! Idempotent producers: what each of them appended last to a partition, so that what a retry brings again is not appended again.
//!
//! The rules are Kafka 4's. Of each producer id the epoch and the last five batches are known, as a client has at most five in flight. A batch that is one
//! of them is a repeat and is answered with the offset of the first one. Otherwise its sequence must follow the last one; a later epoch begins at 0, an
//! earlier one is fenced. A producer that is not known (any more) may begin with any sequence: its state went by age, or because there were too many.
//!
//! **What goes first.** At most `producer.ids.per.partition.max` producers are known per partition. One more lets go of the sixteenth part of them whose last
//! batches lie furthest back in the log. A producer that appended nothing for `producer.id.expiration.ms` goes too; that is counted from when the
//! broker first looked after the append, and not, as Kafka does, from the times in its records: who writes old records keeps its state.

mod replay;
mod snapshot;

pub(super) use replay::Replay;
pub use snapshot::{FILE, Sealed, forget, seal};

use std::collections::HashMap;

use kafka_wire::BatchHeader;

/// Batches that are known of each producer; Kafka's number.
pub const BATCHES_MAX: usize = 5;
/// The part of the known producers that goes when there is no room.
const EVICTED_PART: usize = 16;

/// The producers of one partition.
#[derive(Debug, Clone)]
pub struct Producers {
    known: HashMap<i64, Producer>,
    max: usize,
    recorded: u64,
}

/// One producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Producer {
    epoch: i16,
    /// The oldest first.
    batches: [Batch; BATCHES_MAX],
    count: usize,
    /// When it was looked at first after its last append; `None` when it was not yet.
    seen_ms: Option<i64>,
}

/// What is known of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Batch {
    base_sequence: i32,
    last_offset_delta: i32,
    base_offset: i64,
    max_timestamp: i64,
}

/// The batch that another one repeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Original {
    /// Offset of its first record.
    pub base_offset: i64,
    /// Offset behind its last record.
    pub end_offset: i64,
    /// Its greatest timestamp, milliseconds since 1970.
    pub max_timestamp: i64,
}

/// Why a batch of an idempotent producer is not appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SequenceError {
    /// Batches in front of it are missing, or it repeats one that is not known any more.
    #[error("sequence {sequence} of producer {producer_id} does not follow {last}")]
    OutOfOrder {
        /// Whose batch.
        producer_id: i64,
        /// Of its first record.
        sequence: i32,
        /// Of the last record that was appended.
        last: i32,
    },
    /// A new epoch that does not begin at 0.
    #[error("producer {producer_id} begins epoch {epoch} with sequence {sequence} instead of 0")]
    NotAtZero {
        /// Whose batch.
        producer_id: i64,
        /// The new one.
        epoch: i16,
        /// Of its first record.
        sequence: i32,
    },
    /// A later epoch of this producer wrote already.
    #[error("epoch {epoch} of producer {producer_id} is older than {current}, the last seen one")]
    Fenced {
        /// Whose batch.
        producer_id: i64,
        /// Of the batch.
        epoch: i16,
        /// Of the last batch that was appended.
        current: i16,
    },
}

impl Producer {
    fn new(epoch: i16) -> Self {
        Producer {
            epoch,
            batches: Default::default(),
            count: 0,
            seen_ms: None,
        }
    }

    fn batches(&self) -> &[Batch] {
        &self.batches[..self.count]
    }

    fn add(&mut self, batch: Batch) {
        if self.count == BATCHES_MAX {
            self.batches.rotate_left(1);
            self.count -= 1;
        }
        self.batches[self.count] = batch;
        self.count += 1;
    }

    fn last(&self) -> Option<&Batch> {
        self.batches().last()
    }
}

impl Batch {
    fn of(header: &BatchHeader, base_offset: i64) -> Self {
        Batch {
            base_sequence: header.base_sequence,
            last_offset_delta: header.last_offset_delta,
            base_offset,
            max_timestamp: header.max_timestamp,
        }
    }

    fn last_sequence(&self) -> i32 {
        let last = i64::from(self.base_sequence) + i64::from(self.last_offset_delta);
        (last & i64::from(i32::MAX)) as i32
    }

    fn end_offset(&self) -> i64 {
        self.base_offset
            .saturating_add(i64::from(self.last_offset_delta))
            .saturating_add(1)
    }
}

impl Producers {
    /// Knows nobody, and never more than `max` producers.
    pub fn new(max: usize) -> Self {
        Producers {
            known: HashMap::new(),
            max: max.max(1),
            recorded: 0,
        }
    }

    /// Known producers.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Batches that were recorded so far: who remembers the number can tell whether there were more.
    pub fn recorded(&self) -> u64 {
        self.recorded
    }

    /// Whether a batch with a producer id may be appended: `None` when it may, the batch that it repeats when it was appended already.
    ///
    /// # Errors
    /// It may not: its sequence does not follow, or its epoch is over.
    pub fn check(&self, header: &BatchHeader) -> Result<Option<Original>, SequenceError> {
        let (producer_id, epoch, sequence) = (header.producer_id, header.producer_epoch, header.base_sequence);
        let known = self.known.get(&producer_id);
        // As in Kafka, -1 stands for an epoch that is not known, and whoever sends it is not held to its sequences.
        let current = known.map_or(-1, |known| known.epoch);
        if epoch < current {
            return Err(SequenceError::Fenced {
                producer_id,
                epoch,
                current,
            });
        }
        let Some(known) = known else { return Ok(None) };
        if epoch > current {
            return match sequence {
                0 => Ok(None),
                _ if current == -1 => Ok(None),
                _ => Err(SequenceError::NotAtZero {
                    producer_id,
                    epoch,
                    sequence,
                }),
            };
        }
        let is_repeated = |b: &&Batch| b.base_sequence == sequence && b.last_offset_delta == header.last_offset_delta;
        if let Some(original) = known.batches().iter().find(is_repeated) {
            return Ok(Some(Original {
                base_offset: original.base_offset,
                end_offset: original.end_offset(),
                max_timestamp: original.max_timestamp,
            }));
        }
        match known.last().map(Batch::last_sequence) {
            Some(last) if current != -1 && sequence != next(last) => Err(SequenceError::OutOfOrder {
                producer_id,
                sequence,
                last,
            }),
            _ => Ok(None),
        }
    }

    /// Remembers a batch that was appended at `base_offset`.
    pub fn record(&mut self, header: &BatchHeader, base_offset: i64) {
        if !self.known.contains_key(&header.producer_id) {
            self.make_room();
        }
        let epoch = header.producer_epoch;
        let producer = self.known.entry(header.producer_id).or_insert(Producer::new(epoch));
        if producer.epoch != epoch {
            *producer = Producer::new(epoch);
        }
        producer.add(Batch::of(header, base_offset));
        producer.seen_ms = None;
        self.recorded += 1;
    }

    /// Lets go of those that appended nothing for `expiration_ms`; answers how many. It is to be called again and again with the time that it is,
    /// in milliseconds since 1970.
    pub fn expire(&mut self, now_ms: i64, expiration_ms: i64) -> usize {
        let before = self.known.len();
        self.known.retain(|_, producer| {
            let seen_ms = *producer.seen_ms.get_or_insert(now_ms);
            now_ms.saturating_sub(seen_ms) < expiration_ms
        });
        let expired = before - self.known.len();
        if expired > 0 {
            self.known.shrink_to(2 * self.known.len());
        }
        expired
    }

    /// Lets go of those whose last batches lie furthest back, if there is no room for one more.
    fn make_room(&mut self) {
        if self.known.len() < self.max {
            return;
        }
        let last_of = |(id, producer): (&i64, &Producer)| (producer.last().map_or(-1, |b| b.base_offset), *id);
        let mut by_age: Vec<(i64, i64)> = self.known.iter().map(last_of).collect();
        let count = (by_age.len() / EVICTED_PART).max(1);
        by_age.select_nth_unstable(count - 1);
        for (_, id) in &by_age[..count] {
            self.known.remove(id);
        }
        tracing::debug!(evicted = count, "too many producers in a partition");
    }
}

/// The sequence behind `last`.
fn next(last: i32) -> i32 {
    last.checked_add(1).unwrap_or(0)
}

#[cfg(test)]
mod tests;
