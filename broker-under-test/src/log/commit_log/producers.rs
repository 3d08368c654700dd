//! Idempotent producers of all partitions: one snapshot beside the checkpoint, written in front of each and flushed, of the same position.
//!
//! A recovery looks at every frame behind the checkpoint, so nothing else is needed. As long as no partition has such producers there is no file.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use kafka_wire::Cursor;
use uuid::Uuid;

use super::super::producers::{FILE, Original, Producers, Sealed, seal};
use super::super::{Appended, FlushPolicy, LogError, io};
use super::checkpoint::Key;
use super::shared::{CommitLog, Partition, lock};
use crate::counters::Counter;
use crate::storage::Storage;

/// What a snapshot holds.
#[derive(Debug)]
pub(super) struct Saved {
    pub partitions: Vec<(Key, Producers)>,
    until: u64,
    is_there: bool,
    is_damaged: bool,
}

impl Saved {
    /// Reads the one in `dir`; when there is none, there are no producers.
    pub fn read(storage: &dyn Storage, dir: &Path, max: usize) -> Result<Self, LogError> {
        let mut saved = Saved {
            partitions: Vec::new(),
            until: 0,
            is_there: true,
            is_damaged: false,
        };
        match Sealed::read(storage, &dir.join(FILE))? {
            Sealed::Absent => saved.is_there = false,
            Sealed::Damaged => saved.is_damaged = true,
            Sealed::Whole { until, body } => {
                let partitions = take(&body, max);
                saved.is_damaged = partitions.is_none();
                saved.partitions = partitions.unwrap_or_default();
                saved.until = until;
            }
        }
        Ok(saved)
    }

    /// Everything in front of this position is in it.
    pub fn until(&self) -> u64 {
        self.until
    }

    /// Whether there is a file, good or not.
    pub fn is_there(&self) -> bool {
        self.is_there
    }

    /// Whether it can be used for a log that ends at `end`.
    pub fn fits(&self, end: u64) -> bool {
        !self.is_damaged && self.until <= end
    }
}

fn take(body: &[u8], max: usize) -> Option<Vec<(Key, Producers)>> {
    let c = &mut Cursor::new(body);
    let mut out = Vec::new();
    while c.remaining() > 0 {
        let topic = Uuid::from_slice(c.take(16).ok()?).ok()?;
        let partition = c.i32().ok()?;
        out.push(((topic, partition), Producers::take(c, max)?));
    }
    Some(out)
}

/// The producers of all partitions that have some.
pub(super) fn body(partitions: &[Arc<Partition>]) -> Vec<u8> {
    let mut out = Vec::new();
    for partition in partitions {
        let producers = lock(&partition.producers);
        if !producers.is_empty() {
            out.extend(partition.topic.as_bytes());
            out.extend(partition.number.to_be_bytes());
            producers.put(&mut out);
        }
    }
    out
}

impl CommitLog {
    pub(super) fn no_producers(&self) -> Producers {
        Producers::new(self.options.limits.producers_max)
    }

    /// The answer to a batch that was appended already. The first one may still wait for its flush, and then this one waits, too: up to `end`, where
    /// the log ends now.
    pub(super) fn repeated(&self, partition: &Partition, original: &Original, end: u64) -> Appended {
        self.counters().add(Counter::RepeatedBatches, 1);
        let is_visible = original.end_offset <= partition.bounds.high_watermark();
        let must_wait = self.options.limits.flush == FlushPolicy::EveryBatch && !is_visible;
        Appended {
            base_offset: original.base_offset,
            await_flush: must_wait.then_some(end),
            repeats_ms: Some(original.max_timestamp),
        }
    }

    /// Writes a snapshot; everything in front of `position` is on the device.
    pub(super) fn save_producers(&self, position: u64, body: &[u8]) -> Result<(), LogError> {
        if body.is_empty() && !self.has_producers_file.load(Ordering::Relaxed) {
            return Ok(());
        }
        // Before it is written: who can't tell whether it was must not leave it behind.
        self.has_producers_file.store(true, Ordering::Relaxed);
        let path = self.dir.join(FILE);
        let replaced = self.files.storage().replace(&path, &seal(position, body));
        replaced.map_err(io("replace", path))
    }
}
