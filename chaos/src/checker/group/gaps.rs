//! Times between deliveries: of each partition, and of the whole group.
//!
//! What is normal is taken from the quiet time before a trigger, because a partition without a record for 20 ms has not stopped when that
//! is how often its records come.

use std::collections::BTreeMap;

/// Times between the deliveries of one partition, or of the group.
#[derive(Debug, Clone, Copy, Default)]
struct Line {
    last_ns: Option<u64>,
    /// Longest gap of the quiet time with this number.
    quiet: (u64, u64),
    /// Longest gap of the quiet time before the trigger; of an earlier one, where that was too short to have one.
    baseline_ns: Option<u64>,
    /// Longest gap that ended after the trigger.
    longest_ns: Option<u64>,
}

/// Longest gaps of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gap {
    /// Longest time between two deliveries, the second one after the trigger; `None` when there was no such pair.
    pub(super) longest_ns: Option<u64>,
    /// The same in the quiet time before it.
    pub(super) baseline_ns: u64,
}

impl Gap {
    /// What it is longer than normal.
    pub(super) fn stop_ns(self) -> u64 {
        self.longest_ns.unwrap_or(0).saturating_sub(self.baseline_ns)
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Gaps {
    partitions: BTreeMap<u32, Line>,
    group: Line,
    /// Begin of the quiet time, and its number.
    quiet_since_ns: Option<u64>,
    quiet: u64,
}

impl Gaps {
    /// A partition delivered.
    pub(super) fn delivered(&mut self, partition: u32, at_ns: u64) {
        let quiet = self.quiet_since_ns.map(|since_ns| (self.quiet, since_ns));
        self.partitions.entry(partition).or_default().delivered(at_ns, quiet);
        self.group.delivered(at_ns, quiet);
    }

    /// Something happened that ends a quiet time; the next one begins.
    pub(super) fn disturbed(&mut self, at_ns: u64) {
        self.quiet += 1;
        self.quiet_since_ns = Some(at_ns);
    }

    /// A trigger begins: what was measured until now is its baseline.
    pub(super) fn trigger(&mut self) {
        let quiet = self.quiet;
        for line in self.partitions.values_mut().chain([&mut self.group]) {
            line.trigger(quiet);
        }
        self.quiet_since_ns = None;
        self.quiet += 1;
    }

    /// Gaps of all partitions that ever delivered.
    pub(super) fn partitions(&self) -> impl Iterator<Item = (u32, Gap)> + '_ {
        self.partitions.iter().map(|(&partition, line)| (partition, line.gap()))
    }

    /// Gaps in which nobody delivered anything.
    pub(super) fn group(&self) -> Gap {
        self.group.gap()
    }
}

impl Line {
    fn delivered(&mut self, at_ns: u64, quiet: Option<(u64, u64)>) {
        let Some(last_ns) = self.last_ns.replace(at_ns) else {
            return;
        };
        let gap_ns = at_ns.saturating_sub(last_ns);
        self.longest_ns = self.longest_ns.max(Some(gap_ns));
        if let Some((number, since_ns)) = quiet
            && last_ns >= since_ns
        {
            let longest_ns = if self.quiet.0 == number { self.quiet.1 } else { 0 };
            self.quiet = (number, longest_ns.max(gap_ns));
        }
    }

    fn trigger(&mut self, quiet: u64) {
        if self.quiet.0 == quiet && self.quiet.1 > 0 {
            self.baseline_ns = Some(self.quiet.1);
        }
        self.longest_ns = None;
    }

    fn gap(&self) -> Gap {
        Gap {
            longest_ns: self.longest_ns,
            baseline_ns: self.baseline_ns.unwrap_or(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gap_of(gaps: &Gaps, partition: u32) -> Gap {
        gaps.partitions().find(|(one, _)| *one == partition).unwrap().1
    }

    #[test]
    fn a_stop_is_what_a_gap_is_longer_than_in_quiet_times() {
        let mut gaps = Gaps::default();
        // The time before the group has settled is not quiet.
        for at_ns in [100, 400] {
            gaps.delivered(0, at_ns);
        }
        gaps.disturbed(500);
        for at_ns in [510, 530, 540] {
            gaps.delivered(0, at_ns);
        }
        gaps.trigger();
        for at_ns in [630, 640, 700] {
            gaps.delivered(0, at_ns);
        }
        assert_eq!(
            gap_of(&gaps, 0),
            Gap {
                longest_ns: Some(90),
                baseline_ns: 20
            }
        );
        assert_eq!(gap_of(&gaps, 0).stop_ns(), 70);
    }

    #[test]
    fn the_group_stops_only_while_every_partition_does() {
        let mut gaps = Gaps::default();
        gaps.disturbed(0);
        for at_ns in [10, 20, 30] {
            gaps.delivered(0, at_ns);
            gaps.delivered(1, at_ns + 1);
        }
        gaps.trigger();
        for at_ns in [40, 50, 130] {
            gaps.delivered(1, at_ns);
        }
        gaps.delivered(0, 140);
        assert_eq!(gap_of(&gaps, 0).stop_ns(), 100);
        assert_eq!(gap_of(&gaps, 1).stop_ns(), 70);
        assert_eq!((gaps.group().longest_ns, gaps.group().baseline_ns), (Some(80), 9));
    }

    #[test]
    fn without_a_quiet_time_before_it_a_trigger_has_the_baseline_of_the_one_before() {
        let mut gaps = Gaps::default();
        gaps.disturbed(0);
        for at_ns in [10, 30] {
            gaps.delivered(0, at_ns);
        }
        gaps.trigger();
        gaps.delivered(0, 100);
        gaps.trigger();
        gaps.delivered(0, 200);
        assert_eq!(gap_of(&gaps, 0).stop_ns(), 80);
    }
}
