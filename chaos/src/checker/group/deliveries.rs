//! Which offsets of a partition came to the group, and to whom last.

use std::collections::BTreeMap;
use std::ops::Range;

/// Whom a run of offsets came to last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Receiver {
    /// Place of the holding.
    pub(super) holding: u32,
    /// Whether somebody newer had the partition already.
    pub(super) is_zombie: bool,
}

/// Disjoint runs of offsets, each with its last receiver: memory grows with owners and gaps, not with records.
#[derive(Debug, Default)]
pub(super) struct Deliveries {
    /// Start to end (exclusive) and receiver.
    runs: BTreeMap<i64, (i64, Receiver)>,
}

impl Deliveries {
    /// Number of runs, which is what costs memory.
    pub(super) fn fragments(&self) -> usize {
        self.runs.len()
    }

    /// Runs that overlap a range, cut to it.
    pub(super) fn within(&self, range: Range<i64>) -> Vec<(Range<i64>, Receiver)> {
        let before = self.runs.range(..range.start).next_back();
        let inside = self.runs.range(range.start..range.end.max(range.start));
        before
            .into_iter()
            .chain(inside)
            .map(|(&start, &(end, receiver))| (start.max(range.start)..end.min(range.end), receiver))
            .filter(|(part, _)| !part.is_empty())
            .collect()
    }

    /// The parts of a range that never came.
    pub(super) fn missing(&self, range: Range<i64>) -> Vec<Range<i64>> {
        let mut missing = Vec::new();
        let mut from = range.start;
        for (part, _) in self.within(range.clone()) {
            if from < part.start {
                missing.push(from..part.start);
            }
            from = part.end;
        }
        if from < range.end {
            missing.push(from..range.end);
        }
        missing
    }

    /// Books a delivery, and gives what of it had come before, with the receivers until now.
    pub(super) fn insert(&mut self, range: Range<i64>, receiver: Receiver) -> Vec<(Range<i64>, Receiver)> {
        if range.is_empty() {
            return Vec::new();
        }
        // Nearly always a run goes on where the same holding left off.
        let is_free = self.runs.range(range.clone()).next().is_none();
        if is_free
            && let Some((_, (end, last))) = self.runs.range_mut(..range.start).next_back()
            && *end == range.start
            && *last == receiver
        {
            *end = range.end;
            return Vec::new();
        }
        let before = self.within(range.clone());
        self.cut_out(range.clone());
        self.runs.insert(range.start, (range.end, receiver));
        self.join_left(range.start);
        before
    }

    fn cut_out(&mut self, range: Range<i64>) {
        while let Some((&start, &(end, receiver))) = self.runs.range(..range.end).next_back() {
            if end <= range.start {
                break;
            }
            self.runs.remove(&start);
            if range.end < end {
                self.runs.insert(range.end, (end, receiver));
            }
            if start < range.start {
                self.runs.insert(start, (range.start, receiver));
                break;
            }
        }
    }

    /// Makes the run at `start` and the one before it one, when they touch and have one receiver.
    fn join_left(&mut self, start: i64) {
        let Some(&(end, receiver)) = self.runs.get(&start) else {
            return;
        };
        if let Some((_, (left_end, left))) = self.runs.range_mut(..start).next_back()
            && *left_end == start
            && *left == receiver
        {
            *left_end = end;
            self.runs.remove(&start);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn receiver(holding: u32) -> Receiver {
        Receiver {
            holding,
            is_zombie: false,
        }
    }

    #[test]
    fn what_one_owner_polls_in_a_row_is_one_run() {
        let mut deliveries = Deliveries::default();
        for batch in 0..10_000 {
            assert!(deliveries.insert(batch * 10..(batch + 1) * 10, receiver(1)).is_empty());
        }
        assert_eq!(deliveries.fragments(), 1);
    }

    proptest! {
        #[test]
        fn agrees_with_a_table_of_offsets(
            polls in prop::collection::vec((0_i64..40, 0_i64..12, 0_u32..3), 0..30),
            window in (0_i64..50, 0_i64..20),
        ) {
            let mut deliveries = Deliveries::default();
            let mut table: BTreeMap<i64, u32> = BTreeMap::new();
            for (start, length, holding) in polls {
                let again: Vec<(i64, u32)> = deliveries
                    .insert(start..start + length, receiver(holding))
                    .into_iter()
                    .flat_map(|(part, before)| part.map(move |offset| (offset, before.holding)))
                    .collect();
                let known: Vec<(i64, u32)> = (start..start + length)
                    .filter_map(|offset| Some((offset, *table.get(&offset)?)))
                    .collect();
                prop_assert_eq!(again, known);
                table.extend((start..start + length).map(|offset| (offset, holding)));
            }
            let window = window.0..window.0 + window.1;
            let missing: Vec<i64> = deliveries.missing(window.clone()).into_iter().flatten().collect();
            let never: Vec<i64> = window.filter(|offset| !table.contains_key(offset)).collect();
            prop_assert_eq!(missing, never);
        }
    }
}
