//! Whose record stands at which offset, as the final scan of the log tells.
//!
//! A run of records of one producer is one entry of 24 bytes, and entries that go on are one, so 14 million batches (of a run with about
//! 100 million events) are 340 MB.

use std::collections::BTreeMap;
use std::ops::Range;

use workloads::history::{Event, Run};

use crate::checker::CheckError;

/// Most entries.
const ENTRIES_MAX: usize = 24_000_000;

/// A run of offsets, up to the next entry.
#[derive(Debug, Clone, Copy)]
struct Entry {
    offset: i64,
    /// Sequence at that offset; `None` where the payload could not be read.
    record: Option<(u32, u64)>,
}

/// The scan of one partition.
#[derive(Debug, Default)]
struct Scan {
    begin: i64,
    end: Option<i64>,
    next: i64,
    entries: Vec<Entry>,
}

/// All scans.
#[derive(Debug, Default)]
pub(super) struct LogIndex {
    scans: BTreeMap<u32, Scan>,
    producers: Vec<u64>,
    entries: usize,
}

/// A record's author and sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) producer: u64,
    pub(super) sequence: u64,
}

impl LogIndex {
    /// Books an event of the scan; other events are none of its business.
    pub(super) fn apply(&mut self, event: Event) -> Result<(), CheckError> {
        match event {
            Event::ReadBegin { partition, offset } => {
                let scan = self.scans.entry(partition).or_default();
                (scan.begin, scan.next) = (offset, offset);
            }
            Event::ReadEnd { partition, next_offset } => {
                self.scans.entry(partition).or_default().end = Some(next_offset);
            }
            Event::Delivered { run, base_offset } => {
                let producer = self.producer(run.producer);
                let record = Some((producer, run.base_sequence));
                self.push(run.partition, base_offset, record, run.count)?;
            }
            Event::Corrupted(run) | Event::Torn(run) => self.push(run.partition, run.base_offset, None, run.count)?,
            _ => {}
        }
        Ok(())
    }

    fn producer(&mut self, producer: u64) -> u32 {
        let place = self.producers.iter().position(|&known| known == producer);
        let place = place.unwrap_or_else(|| {
            self.producers.push(producer);
            self.producers.len() - 1
        });
        // There are a few producers; the scenario's parser sees to that.
        u32::try_from(place).unwrap_or(u32::MAX)
    }

    fn push(&mut self, partition: u32, offset: i64, record: Option<(u32, u64)>, count: u32) -> Result<(), CheckError> {
        let scan = self.scans.entry(partition).or_default();
        // Where offsets are not dense, which is told elsewhere, nothing is known of the gap.
        if offset > scan.next {
            let gap = Entry {
                offset: scan.next,
                record: None,
            };
            scan.entries.push(gap);
            self.entries += 1;
        }
        let goes_on = scan.entries.last().is_some_and(|last| match (last.record, record) {
            (None, None) => true,
            (Some((author, sequence)), Some((producer, next))) => {
                author == producer && sequence.checked_add_signed(offset - last.offset) == Some(next)
            }
            _ => false,
        });
        if !goes_on && offset >= scan.next {
            scan.entries.push(Entry { offset, record });
            self.entries += 1;
        }
        scan.next = scan.next.max(offset.saturating_add(i64::from(count)));
        if self.entries > ENTRIES_MAX {
            return Err(CheckError::TooIrregular {
                what: "runs of records in the log",
                limit: ENTRIES_MAX,
            });
        }
        Ok(())
    }

    /// First offset of a partition's log; 0 where it was not read.
    pub(super) fn begin(&self, partition: u32) -> i64 {
        self.scans.get(&partition).map_or(0, |scan| scan.begin)
    }

    /// One past the last offset of a partition's log; `None` when it was not read to its end.
    pub(super) fn end(&self, partition: u32) -> Option<i64> {
        self.scans.get(&partition)?.end
    }

    /// Partitions that were read, whole or in part.
    pub(super) fn partitions(&self) -> impl Iterator<Item = u32> + '_ {
        self.scans.keys().copied()
    }

    /// Whose record stands at an offset; `None` where nobody knows.
    pub(super) fn identity(&self, partition: u32, offset: i64) -> Option<Identity> {
        let scan = self.scans.get(&partition)?;
        let last = scan
            .entries
            .partition_point(|entry| entry.offset <= offset)
            .checked_sub(1)?;
        self.identity_in(scan, last, offset)
    }

    fn identity_in(&self, scan: &Scan, entry: usize, offset: i64) -> Option<Identity> {
        let entry = scan.entries[entry];
        let (producer, sequence) = entry.record.filter(|_| offset < scan.next)?;
        Some(Identity {
            producer: *self.producers.get(producer as usize)?,
            sequence: sequence.checked_add_signed(offset - entry.offset)?,
        })
    }

    /// Offsets of a run that was polled at `base_offset` where the log has another record, or where the log has ended.
    pub(super) fn disagreements(&self, run: Run, base_offset: i64) -> Vec<Range<i64>> {
        let mut wrong: Vec<Range<i64>> = Vec::new();
        let Some(scan) = self.scans.get(&run.partition) else {
            return wrong;
        };
        let end = base_offset.saturating_add(i64::from(run.count));
        let mut offset = base_offset;
        while offset < end {
            let next = scan.entries.partition_point(|entry| entry.offset <= offset);
            let until = scan.entries.get(next).map_or(i64::MAX, |entry| entry.offset);
            // The last entry reaches to what was read.
            let until = if offset < scan.next {
                until.min(scan.next)
            } else {
                until
            };
            let part = offset..until.min(end);
            let found = next
                .checked_sub(1)
                .and_then(|last| self.identity_in(scan, last, offset));
            let expected = Identity {
                producer: run.producer,
                sequence: run.base_sequence.saturating_add(offset.abs_diff(base_offset)),
            };
            let is_behind_the_log = scan.end.is_some_and(|log_end| offset >= log_end);
            if found.map_or(is_behind_the_log, |found| found != expected) {
                wrong.push(part.clone());
            }
            offset = part.end;
        }
        wrong
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(producer: u64, base_sequence: u64, count: u32) -> Run {
        Run {
            producer,
            partition: 3,
            base_sequence,
            count,
        }
    }

    /// Producer 7 at offsets 0 to 9, producer 8 at 10 to 14, producer 7 again at 15 to 19.
    fn index() -> LogIndex {
        let mut index = LogIndex::default();
        let delivered = |run, base_offset| Event::Delivered { run, base_offset };
        for event in [
            Event::ReadBegin {
                partition: 3,
                offset: 0,
            },
            delivered(run(7, 0, 4), 0),
            delivered(run(7, 4, 6), 4),
            delivered(run(8, 0, 5), 10),
            delivered(run(7, 10, 5), 15),
            Event::ReadEnd {
                partition: 3,
                next_offset: 20,
            },
        ] {
            index.apply(event).unwrap();
        }
        index
    }

    #[test]
    fn runs_that_go_on_are_one_entry() {
        assert_eq!(index().entries, 3);
    }

    #[test]
    fn each_offset_has_its_record() {
        let index = index();
        let shown = |offset| index.identity(3, offset).map(|one| (one.producer, one.sequence));
        assert_eq!(
            [0, 9, 10, 14, 15, 19, 20].map(shown),
            [
                Some((7, 0)),
                Some((7, 9)),
                Some((8, 0)),
                Some((8, 4)),
                Some((7, 10)),
                Some((7, 14)),
                None
            ]
        );
    }

    #[test]
    fn a_poll_is_held_against_the_log_whatever_it_was_cut_into() {
        let index = index();
        let wrong = |run, offset| -> Vec<(i64, i64)> {
            let parts = index.disagreements(run, offset).into_iter();
            parts.map(|part| (part.start, part.end)).collect()
        };
        assert_eq!(wrong(run(7, 2, 8), 2), []);
        assert_eq!(wrong(run(8, 0, 5), 10), []);
        assert_eq!(wrong(run(7, 8, 4), 8), [(10, 12)], "two records of another producer");
        assert_eq!(wrong(run(7, 1, 5), 0), [(0, 5)], "each one sequence too high");
        assert_eq!(wrong(run(7, 13, 4), 18), [(20, 22)], "the log has ended");
    }
}
