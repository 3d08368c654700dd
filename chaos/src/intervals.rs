//! A set of numbers kept as disjoint, non-adjacent intervals.
//!
//! Sequences are dense, so a ledger of a hundred million records is a handful of intervals; memory grows with the gaps and not
//! with the records.

use std::collections::BTreeMap;
use std::ops::Range;

/// A set of `u64`, for sequences of one producer and partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IntervalSet {
    /// Start to end (exclusive); disjoint, not empty, never touching.
    intervals: BTreeMap<u64, u64>,
}

impl IntervalSet {
    /// Number of intervals, which is what costs memory.
    pub fn fragments(&self) -> usize {
        self.intervals.len()
    }

    /// Number of members.
    pub fn len(&self) -> u64 {
        self.iter().map(|range| range.end - range.start).sum()
    }

    /// Whether there is no member.
    pub fn is_empty(&self) -> bool {
        self.intervals.is_empty()
    }

    /// The intervals, ascending.
    pub fn iter(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        self.intervals.iter().map(|(&start, &end)| start..end)
    }

    /// Adds a range and gives the number of members that were there before.
    pub fn insert(&mut self, range: Range<u64>) -> u64 {
        if range.is_empty() {
            return 0;
        }
        let (mut start, mut end) = (range.start, range.end);
        let mut overlap = 0;
        // Swallow every interval that overlaps or touches, from the right; each is swallowed once in its life.
        while let Some((&left, &right)) = self.intervals.range(..=end).next_back() {
            if right < start {
                break;
            }
            overlap += right.min(range.end).saturating_sub(left.max(range.start));
            (start, end) = (start.min(left), end.max(right));
            self.intervals.remove(&left);
        }
        self.intervals.insert(start, end);
        overlap
    }

    /// Removes a range.
    pub fn remove(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        while let Some((&left, &right)) = self.intervals.range(..range.end).next_back() {
            if right <= range.start {
                break;
            }
            self.intervals.remove(&left);
            if range.end < right {
                self.intervals.insert(range.end, right);
            }
            if left < range.start {
                self.intervals.insert(left, range.start);
                break;
            }
        }
    }

    /// The parts of `range` that are members.
    pub fn within(&self, range: Range<u64>) -> Vec<Range<u64>> {
        let before = self
            .intervals
            .range(..range.start)
            .next_back()
            .map(|(&left, &right)| left..right);
        before
            .into_iter()
            .chain(
                self.intervals
                    .range(range.start..range.end.max(range.start))
                    .map(|(&left, &right)| left..right),
            )
            .map(|part| part.start.max(range.start)..part.end.min(range.end))
            .filter(|part| !part.is_empty())
            .collect()
    }

    /// Members of this set that are not in `other`.
    pub fn minus(&self, other: &IntervalSet) -> IntervalSet {
        let mut left = self.clone();
        for range in other.iter() {
            left.remove(range);
        }
        left
    }

    /// Members of both sets.
    pub fn and(&self, other: &IntervalSet) -> IntervalSet {
        let mut both = IntervalSet::default();
        for range in self.iter() {
            for part in other.within(range) {
                both.insert(part);
            }
        }
        both
    }

    /// Members of either set.
    pub fn or(&self, other: &IntervalSet) -> IntervalSet {
        let mut either = self.clone();
        for range in other.iter() {
            either.insert(range);
        }
        either
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn members(set: &IntervalSet) -> BTreeSet<u64> {
        set.iter().flatten().collect()
    }

    fn ranges() -> impl Strategy<Value = Vec<Range<u64>>> {
        prop::collection::vec(
            (0_u64..60, 0_u64..12).prop_map(|(start, length)| start..start + length),
            0..20,
        )
    }

    fn set(ranges: &[Range<u64>]) -> IntervalSet {
        let mut set = IntervalSet::default();
        for range in ranges {
            set.insert(range.clone());
        }
        set
    }

    proptest! {
        #[test]
        fn agrees_with_a_set_of_numbers(added in ranges(), removed in ranges(), window in (0_u64..70, 0_u64..20)) {
            let (mut intervals, mut numbers) = (IntervalSet::default(), BTreeSet::new());
            for range in added {
                let before = range.clone().filter(|number| numbers.contains(number)).count() as u64;
                prop_assert_eq!(intervals.insert(range.clone()), before);
                numbers.extend(range);
            }
            for range in removed {
                intervals.remove(range.clone());
                numbers.retain(|number| !range.contains(number));
            }
            prop_assert_eq!(members(&intervals), numbers.clone());
            prop_assert_eq!(intervals.len(), numbers.len() as u64);
            let ends: Vec<_> = intervals.iter().collect();
            prop_assert!(ends.windows(2).all(|pair| pair[0].end < pair[1].start), "not normal: {:?}", ends);
            let window = window.0..window.0 + window.1;
            let inside: BTreeSet<u64> = intervals.within(window.clone()).into_iter().flatten().collect();
            prop_assert_eq!(inside, numbers.into_iter().filter(|number| window.contains(number)).collect());
        }

        #[test]
        fn set_algebra_agrees(left in ranges(), right in ranges()) {
            let (left, right) = (set(&left), set(&right));
            let (a, b) = (members(&left), members(&right));
            prop_assert_eq!(members(&left.minus(&right)), &a - &b);
            prop_assert_eq!(members(&left.and(&right)), &a & &b);
            prop_assert_eq!(members(&left.or(&right)), &a | &b);
        }
    }

    #[test]
    fn dense_runs_are_one_interval() {
        let mut set = IntervalSet::default();
        for batch in 0..10_000_u64 {
            set.insert(batch * 32..(batch + 1) * 32);
        }
        assert_eq!((set.fragments(), set.len()), (1, 320_000));
    }
}
