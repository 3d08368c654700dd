//! Lag and stalls: what was acknowledged against what the group has polled.

use std::collections::{BTreeMap, VecDeque};

/// The lag before a trigger is the highest one of so long.
pub(super) const LAG_BEFORE_NS: u64 = 1_000_000_000;
/// It is kept as maxima of so long.
const BUCKET_NS: u64 = 50_000_000;

/// One partition.
#[derive(Debug, Clone, Copy, Default)]
struct Line {
    /// One past the highest acknowledged offset.
    acknowledged: i64,
    /// One past the highest polled offset.
    polled: i64,
    /// Since when there have been records that nobody polled.
    pending_since_ns: Option<u64>,
    delivered_ns: Option<u64>,
    is_counted: bool,
}

impl Line {
    fn lag(&self) -> u64 {
        let behind = self.acknowledged.saturating_sub(self.polled);
        if self.is_counted {
            u64::try_from(behind).unwrap_or(0)
        } else {
            0
        }
    }
}

/// A partition with records and without a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stall {
    pub(super) partition: u32,
    pub(super) from_ns: u64,
    pub(super) to_ns: u64,
}

/// The lag of a trigger's window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct LagOfWindow {
    /// Highest one of the last second before the trigger.
    pub(super) before: u64,
    pub(super) peak: u64,
    /// First time after the peak at which it was not above `before`.
    pub(super) back_ns: Option<u64>,
}

/// All partitions.
#[derive(Debug, Default)]
pub(super) struct Flow {
    lines: BTreeMap<u32, Line>,
    lag: u64,
    /// Highest lag of each of the last buckets.
    recent: VecDeque<(u64, u64)>,
    window: LagOfWindow,
    stalled_ns: Option<u64>,
    /// Since when no fault has been on; `None` while one is.
    calm_since_ns: Option<u64>,
}

impl Flow {
    /// Stalls are looked for when there is a bound for them.
    pub(super) fn new(stalled_ms: Option<u64>, start_ns: u64) -> Self {
        Self {
            stalled_ns: stalled_ms.map(|millis| millis.saturating_mul(1_000_000)),
            calm_since_ns: Some(start_ns),
            ..Self::default()
        }
    }

    /// Whether the group should read a partition: only then is there a lag and a stall.
    pub(super) fn count(&mut self, partition: u32, is_counted: bool, at_ns: u64) {
        self.change(partition, at_ns, |line| {
            line.is_counted = is_counted;
            line.pending_since_ns = line.pending_since_ns.map(|_| at_ns);
        });
    }

    /// A broker acknowledged records up to `end`.
    pub(super) fn acknowledged(&mut self, partition: u32, end: i64, at_ns: u64) {
        self.change(partition, at_ns, |line| {
            line.acknowledged = line.acknowledged.max(end);
            if line.acknowledged > line.polled && line.pending_since_ns.is_none() {
                line.pending_since_ns = Some(at_ns);
            }
        });
    }

    /// The group polled records up to `end`. Gives the stall that this ends.
    pub(super) fn polled(&mut self, partition: u32, end: i64, at_ns: u64) -> Option<Stall> {
        let stall = self.stall(partition, at_ns);
        self.change(partition, at_ns, |line| {
            line.polled = line.polled.max(end);
            line.delivered_ns = Some(at_ns);
            if line.acknowledged <= line.polled {
                line.pending_since_ns = None;
            }
        });
        stall
    }

    /// A trigger begins: gives the stalls until now, and the lag of the next window begins.
    pub(super) fn trigger(&mut self, at_ns: u64) -> Vec<Stall> {
        let stalls = self.all_stalls(at_ns);
        self.calm_since_ns = None;
        self.step(at_ns);
        let oldest = at_ns.saturating_sub(LAG_BEFORE_NS) / BUCKET_NS;
        let recent = self.recent.iter().filter(|(bucket, _)| *bucket >= oldest);
        let before = recent.map(|(_, lag)| *lag).max().unwrap_or(self.lag);
        self.window = LagOfWindow {
            before,
            peak: self.lag,
            back_ns: Some(at_ns),
        };
        stalls
    }

    /// The fault is healed.
    pub(super) fn healed(&mut self, at_ns: u64) {
        self.calm_since_ns = Some(at_ns);
    }

    /// Stalls that go on.
    pub(super) fn all_stalls(&self, at_ns: u64) -> Vec<Stall> {
        self.lines
            .keys()
            .filter_map(|&partition| self.stall(partition, at_ns))
            .collect()
    }

    /// The lag since the last trigger.
    pub(super) fn window(&self) -> LagOfWindow {
        self.window
    }

    fn stall(&self, partition: u32, at_ns: u64) -> Option<Stall> {
        let (bound_ns, calm_ns) = (self.stalled_ns?, self.calm_since_ns?);
        let line = self.lines.get(&partition).filter(|line| line.is_counted)?;
        let from_ns = line.pending_since_ns?.max(line.delivered_ns.unwrap_or(0)).max(calm_ns);
        (at_ns.saturating_sub(from_ns) > bound_ns).then_some(Stall {
            partition,
            from_ns,
            to_ns: at_ns,
        })
    }

    fn change(&mut self, partition: u32, at_ns: u64, change: impl FnOnce(&mut Line)) {
        let line = self.lines.entry(partition).or_default();
        let before = line.lag();
        change(line);
        self.lag = self.lag - before + line.lag();
        self.step(at_ns);
    }

    /// Books the lag of now.
    fn step(&mut self, at_ns: u64) {
        let bucket = at_ns / BUCKET_NS;
        match self.recent.back_mut() {
            Some((last, lag)) if *last == bucket => *lag = self.lag.max(*lag),
            _ => {
                self.recent.push_back((bucket, self.lag));
                if self.recent.len() as u64 > LAG_BEFORE_NS / BUCKET_NS + 1 {
                    self.recent.pop_front();
                }
            }
        }
        let window = &mut self.window;
        if self.lag > window.peak {
            window.peak = self.lag;
            window.back_ns = None;
        }
        if self.lag <= window.before && window.back_ns.is_none() {
            window.back_ns = Some(at_ns);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn lag_is_what_was_acknowledged_and_nobody_polled() {
        let mut flow = Flow::new(None, 0);
        flow.count(0, true, 0);
        flow.acknowledged(0, 10, 1_000 * MS);
        flow.polled(0, 10, 1_010 * MS);
        flow.acknowledged(0, 15, 1_020 * MS);
        flow.acknowledged(1, 500, 1_025 * MS);
        flow.trigger(1_030 * MS);
        flow.acknowledged(0, 45, 1_040 * MS);
        flow.polled(0, 40, 1_100 * MS);
        flow.polled(0, 30, 1_110 * MS);
        assert_eq!(
            flow.window(),
            LagOfWindow {
                before: 10,
                peak: 35,
                back_ns: Some(1_100 * MS)
            }
        );
        flow.acknowledged(0, 45, 3_000 * MS);
        flow.trigger(3_000 * MS);
        assert_eq!(flow.window().before, 5, "of the last second only");
        assert_eq!(flow.window().back_ns, Some(3_000 * MS), "it never rose");
    }

    #[test]
    fn a_partition_is_stalled_while_it_has_records_and_no_fault_is_on() {
        let mut flow = Flow::new(Some(100), 0);
        flow.count(0, true, 0);
        assert_eq!(flow.polled(0, 0, 500 * MS), None, "there was nothing to read");
        flow.acknowledged(0, 10, 1_000 * MS);
        assert_eq!(flow.polled(0, 5, 1_100 * MS), None, "not longer than the bound");
        let stall = Stall {
            partition: 0,
            from_ns: 1_100 * MS,
            to_ns: 1_201 * MS,
        };
        assert_eq!(flow.all_stalls(1_201 * MS), [stall]);
        assert_eq!(flow.trigger(1_200 * MS), []);
        assert_eq!(flow.all_stalls(2_000 * MS), [], "a fault is on");
        flow.healed(2_000 * MS);
        assert_eq!(flow.all_stalls(2_100 * MS), []);
        let stall = Stall {
            partition: 0,
            from_ns: 2_000 * MS,
            to_ns: 2_101 * MS,
        };
        assert_eq!(flow.polled(0, 10, 2_101 * MS), Some(stall));
        assert_eq!(flow.polled(0, 10, 9_000 * MS), None, "the group has read everything");
    }
}
