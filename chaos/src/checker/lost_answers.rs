//! Batches that were applied and whose acknowledgements were lost on the way, and what they explain.
//!
//! The proxy tells a batch by its place in the log, and the scan says whose records stand there. Without idempotence each of them that was
//! acknowledged in the end was stored once more for it: no duplicate more, and none less.

use std::collections::BTreeMap;
use std::ops::Range;

use workloads::history::{OffsetRun, Run};

use super::CheckError;

/// Most lost acknowledgements that are kept.
const LOST_MAX: usize = 1_000_000;

/// All of them, by partition.
#[derive(Debug, Default)]
pub(super) struct LostAnswers {
    /// In the order of their offsets once [`LostAnswers::sort`] was called.
    by_partition: BTreeMap<u32, Vec<(OffsetRun, u32)>>,
    /// Records of the largest batch.
    count_max: u32,
    pub(super) batches: u64,
    /// Produce requests whose outcome could not be followed.
    pub(super) unknown: u64,
}

impl LostAnswers {
    pub(super) fn add(&mut self, fault: u32, run: OffsetRun) -> Result<(), CheckError> {
        self.batches += 1;
        if self.batches > LOST_MAX as u64 {
            return Err(CheckError::TooIrregular {
                what: "lost acknowledgements",
                limit: LOST_MAX,
            });
        }
        self.count_max = self.count_max.max(run.count);
        self.by_partition.entry(run.partition).or_default().push((run, fault));
        Ok(())
    }

    pub(super) fn sort(&mut self) {
        for lost in self.by_partition.values_mut() {
            lost.sort_unstable_by_key(|(run, fault)| (run.base_offset, *fault));
        }
    }

    /// Lost acknowledgements of each fault.
    pub(super) fn by_fault(&self) -> BTreeMap<u32, u64> {
        let mut by_fault = BTreeMap::new();
        for (_, fault) in self.by_partition.values().flatten() {
            *by_fault.entry(*fault).or_default() += 1;
        }
        by_fault
    }

    /// Sequences of a run that was read at `base_offset` whose acknowledgement was lost, each with the fault that took it.
    pub(super) fn among(&self, run: Run, base_offset: i64) -> Vec<(Range<u64>, u32)> {
        let Some(lost) = self.by_partition.get(&run.partition) else {
            return Vec::new();
        };
        let end = base_offset.saturating_add(i64::from(run.count));
        let reach = base_offset.saturating_sub(i64::from(self.count_max));
        let from = lost.partition_point(|(one, _)| one.base_offset < reach);
        let mut found = Vec::new();
        for (one, fault) in lost[from..].iter().take_while(|(one, _)| one.base_offset < end) {
            let first = one.base_offset.max(base_offset);
            let last = one.base_offset.saturating_add(i64::from(one.count)).min(end);
            if first < last {
                let sequence = |offset: i64| run.base_sequence.saturating_add(offset.abs_diff(base_offset));
                found.push((sequence(first)..sequence(last), *fault));
            }
        }
        found
    }
}

/// Holds what came twice against what was foretold, occurrence by occurrence. Gives the stretches with more of the one than of the
/// other, each with how many more: above zero when they came too often, below when they should have come more often.
pub(super) fn compare<'a>(
    repeated: impl IntoIterator<Item = &'a Range<u64>>,
    foretold: impl IntoIterator<Item = &'a Range<u64>>,
) -> Vec<(Range<u64>, i64)> {
    let mut steps: BTreeMap<u64, i64> = BTreeMap::new();
    let repeated = repeated.into_iter().map(|range| (range, 1));
    for (range, by) in repeated.chain(foretold.into_iter().map(|range| (range, -1))) {
        *steps.entry(range.start).or_default() += by;
        *steps.entry(range.end).or_default() -= by;
    }
    let (mut level, mut from, mut found) = (0, 0, Vec::new());
    for (at, by) in steps {
        if level != 0 && by != 0 {
            found.push((from..at, level));
        }
        if by != 0 {
            (level, from) = (level + by, at);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_occurrence_is_held_against_its_own() {
        type Ranges = &'static [Range<u64>];
        type Excess = &'static [(Range<u64>, i64)];
        let cases: &[(Ranges, Ranges, Excess)] = &[
            (&[], &[], &[]),
            (&[3..5, 8..9], &[8..9, 3..5], &[]),
            (&[3..5, 7..8], &[3..4, 4..5, 7..8], &[]),
            (&[3..5, 3..5, 3..5], &[3..5, 3..5], &[(3..5, 1)]),
            (&[3..4, 4..5], &[3..5, 4..6], &[(4..6, -1)]),
            (&[0..10, 20..21], &[2..4, 20..21], &[(0..2, 1), (4..10, 1)]),
        ];
        for (repeated, foretold, expected) in cases {
            assert_eq!(compare(*repeated, *foretold), *expected, "{repeated:?} {foretold:?}");
        }
    }

    #[test]
    fn a_place_in_the_log_is_told_by_sequence() {
        let mut lost = LostAnswers::default();
        let run = |base_offset, count| OffsetRun {
            partition: 1,
            base_offset,
            count,
        };
        for (fault, run) in [(3, run(50, 2)), (1, run(10, 5)), (2, run(12, 1))] {
            lost.add(fault, run).unwrap();
        }
        lost.sort();
        let read = |base_sequence, count, base_offset| {
            let run = Run {
                producer: 0,
                partition: 1,
                base_sequence,
                count,
            };
            lost.among(run, base_offset)
        };
        assert_eq!(read(100, 60, 0), [(110..115, 1), (112..113, 2), (150..152, 3)]);
        assert_eq!(read(7, 2, 13), [(7..9, 1)]);
        assert_eq!(read(7, 2, 15), []);
        assert_eq!(lost.by_fault(), BTreeMap::from([(1, 1), (2, 1), (3, 1)]));
    }
}
