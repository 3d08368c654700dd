//! The producers of a partition while its log is opened: a snapshot, and the batches behind it.

use std::path::Path;

use kafka_wire::{BatchHeader, Cursor};

use super::{FILE, Producers, Sealed};
use crate::log::LogError;
use crate::storage::Storage;

/// What is known so far.
#[derive(Debug)]
pub(in crate::log) struct Replay {
    pub producers: Producers,
    /// Batches in front of it are in the snapshot.
    from: i64,
    /// Base offset of the first batch that the snapshot did not know.
    pub first_unsaved: Option<i64>,
    is_damaged: bool,
}

impl Replay {
    /// Without a snapshot.
    pub fn new(max: usize) -> Self {
        Replay {
            producers: Producers::new(max),
            from: 0,
            first_unsaved: None,
            is_damaged: false,
        }
    }

    /// From the snapshot in the folder of a partition, which must be there.
    pub fn load(storage: &dyn Storage, dir: &Path, max: usize) -> Result<Self, LogError> {
        let mut replay = Replay::new(max);
        match Sealed::read(storage, &dir.join(FILE))? {
            Sealed::Absent | Sealed::Damaged => replay.is_damaged = true,
            Sealed::Whole { until, body } => {
                let producers = Producers::take(&mut Cursor::new(&body), max);
                replay.is_damaged = producers.is_none();
                replay.producers = producers.unwrap_or(replay.producers);
                replay.from = i64::try_from(until).unwrap_or(i64::MAX);
            }
        }
        Ok(replay)
    }

    /// A batch of the log, in the order of their offsets.
    pub fn batch(&mut self, header: &BatchHeader) {
        if header.has_producer() && header.base_offset >= self.from {
            self.first_unsaved.get_or_insert(header.base_offset);
            self.producers.record(header, header.base_offset);
        }
    }

    /// Whether the snapshot fits a log that ends at `end`. If not, all headers of the log have to be read.
    pub fn fits(&self, end: i64) -> bool {
        !self.is_damaged && self.from <= end
    }
}
