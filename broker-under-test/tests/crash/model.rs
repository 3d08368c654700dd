//! What was promised: per partition which batches were written where, and how far they must be there after a power cut.

use std::collections::BTreeMap;

use kafka_wire::BatchBuilder;

use crate::producers::{Identity, Producer};

/// xorshift64*: seeded, the same on every machine.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d | 1);
        random.next();
        random
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }
}

/// What the folder has to hold.
#[derive(Debug, Default)]
pub struct Model {
    pub topics: BTreeMap<String, TopicModel>,
    /// Below this no producer id may be given out again.
    pub next_producer_id: i64,
    pub cluster_id: Option<String>,
}

/// A topic that is there, or may be: a call that created or deleted it was cut short.
#[derive(Debug)]
pub struct TopicModel {
    pub sure: bool,
    pub partitions: Vec<Partition>,
    /// There may be so many, as a call that added some was cut short.
    pub partitions_max: usize,
}

/// A partition.
#[derive(Debug, Default)]
pub struct Partition {
    /// All batches that were ever written at an offset; a tail that was lost makes room for others.
    pub written: BTreeMap<i64, Vec<Vec<u8>>>,
    /// What is there now, by base offset.
    pub content: BTreeMap<i64, Vec<u8>>,
    /// Offset behind it.
    pub end: i64,
    /// Everything in front of this was promised to be on the device.
    pub durable_end: i64,
    /// The log must begin here, or later, as far as a call that was cut short could have moved it.
    pub start: (i64, i64),
    /// By producer id.
    pub producers: BTreeMap<i64, Producer>,
}

impl TopicModel {
    pub fn new(partitions: usize) -> Self {
        TopicModel {
            sure: true,
            partitions: (0..partitions).map(|_| Partition::default()).collect(),
            partitions_max: partitions,
        }
    }
}

impl Partition {
    /// A batch was appended.
    pub fn appended(&mut self, base_offset: i64, records: i32, batch: &[u8]) {
        let mut stamped = batch.to_vec();
        kafka_wire::batch::stamp(&mut stamped, base_offset, 0);
        self.written.entry(base_offset).or_default().push(stamped.clone());
        self.content.insert(base_offset, stamped);
        self.end = base_offset + i64::from(records);
    }

    /// It was said that everything below is on the device.
    pub fn promised(&mut self, offset: i64) {
        self.durable_end = self.durable_end.max(offset);
    }
}

/// A batch like no other: up to five records, mostly small.
pub fn batch(random: &mut Random, identity: Option<Identity>) -> (i32, Vec<u8>) {
    let base_ms = 1_000_000 + random.below(100_000) as i64;
    let records = 1 + random.below(5) as i32;
    let mut builder = BatchBuilder::new(base_ms);
    if let Some((id, epoch, sequence)) = identity {
        builder.producer(id, epoch, sequence);
    }
    for _ in 0..records {
        let long = random.chance(10);
        let bytes = random.below(if long { 900 } else { 120 }) as usize;
        let value: Vec<u8> = (0..bytes).map(|_| random.next() as u8).collect();
        builder.push(base_ms + random.below(50) as i64, None, &value);
    }
    (records, builder.finish().to_vec())
}
