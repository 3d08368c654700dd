//! What consumers tell, each in its own time, as one count at any moment.

use hdrhistogram::Histogram;
use workloads::load::{ConsumeTick, Consumed};
use workloads::native::phase::latency_histogram;

/// One consumer: what it told last, and before that, each a moment ([`workloads::load::clock::now_ns`]) and the records until then.
#[derive(Debug)]
struct Receiver {
    started_ns: Option<u64>,
    earlier: (u64, u64),
    later: (u64, u64),
    /// Sum of the offsets that come next; absent before it told something.
    positions: Option<i64>,
    /// End to end, of all ticks.
    told: Histogram<u64>,
    is_done: bool,
    /// When the last record came; 0 before that is known.
    last_record_ns: u64,
}

impl Receiver {
    fn new() -> Self {
        Self {
            started_ns: None,
            earlier: (0, 0),
            later: (0, 0),
            positions: None,
            told: latency_histogram(),
            is_done: false,
            last_record_ns: 0,
        }
    }

    fn tell(&mut self, now_ns: u64, records: u64) {
        self.earlier = self.later;
        self.later = (now_ns.max(self.later.0), records);
    }

    /// Records until then; between and shortly before two words it is a line.
    fn count_at(&self, at_ns: u64) -> f64 {
        let ((from_ns, from), (to_ns, to)) = (self.earlier, self.later);
        if at_ns >= to_ns || to_ns == from_ns {
            return to as f64;
        }
        let slope = to.saturating_sub(from) as f64 / (to_ns - from_ns) as f64;
        (to as f64 - slope * (to_ns - at_ns) as f64).max(0.0)
    }
}

/// All consumers of a window.
#[derive(Debug)]
pub struct Receivers {
    each: Vec<Receiver>,
    /// End to end, since it was taken.
    end_to_end: Histogram<u64>,
}

impl Receivers {
    /// So many that have told nothing.
    pub fn new(count: usize) -> Self {
        Self {
            each: (0..count).map(|_| Receiver::new()).collect(),
            end_to_end: latency_histogram(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.each.is_empty()
    }

    /// Adds what one of them says.
    pub fn received(&mut self, consumer: usize, tick: &ConsumeTick) {
        let Some(receiver) = self.each.get_mut(consumer) else {
            return;
        };
        if receiver.started_ns.is_none() {
            let started_ns = tick.now_ns.saturating_sub(tick.elapsed_ns);
            (receiver.started_ns, receiver.later) = (Some(started_ns), (started_ns, 0));
        }
        receiver.tell(tick.now_ns, tick.records);
        receiver.positions = Some(tick.positions);
        // All have the same bounds.
        let _ = receiver.told.add(&tick.end_to_end_ns);
        let _ = self.end_to_end.add(&tick.end_to_end_ns);
    }

    /// One of them is done: what no tick has told.
    pub fn done(&mut self, consumer: usize, consumed: &Consumed) {
        let Some(receiver) = self.each.get_mut(consumer) else {
            return;
        };
        let end_ns = receiver.started_ns.unwrap_or(0) + consumed.phase.wall_ns;
        receiver.tell(end_ns, consumed.phase.records);
        receiver.positions = Some(consumed.places.iter().map(|place| place.next_offset).sum());
        receiver.is_done = true;
        receiver.last_record_ns = end_ns;
        let mut rest = consumed.phase.latency_ns.clone();
        // Ticks of another window than the result's can't be.
        if rest.subtract(&receiver.told).is_ok() {
            let _ = self.end_to_end.add(&rest);
        }
    }

    /// When the first of them began; absent before any has told something.
    pub fn started_ns(&self) -> Option<u64> {
        self.each.iter().filter_map(|receiver| receiver.started_ns).min()
    }

    /// Until when all of them have told what came.
    pub fn heard_ns(&self) -> u64 {
        let heard = |receiver: &Receiver| match receiver.is_done {
            true => u64::MAX,
            false => receiver.later.0,
        };
        self.each.iter().map(heard).min().unwrap_or(u64::MAX)
    }

    /// When the last record of all came, once they are done.
    pub fn last_record_ns(&self) -> u64 {
        let last = self.each.iter().map(|receiver| receiver.last_record_ns);
        last.max().unwrap_or(0)
    }

    /// Records of all until then.
    pub fn count_at(&self, at_ns: u64) -> u64 {
        let sum: f64 = self.each.iter().map(|receiver| receiver.count_at(at_ns)).sum();
        sum.round() as u64
    }

    /// Sum of the offsets that come next, of all; absent before each has told something.
    pub fn positions(&self) -> Option<i64> {
        self.each.iter().map(|receiver| receiver.positions).sum()
    }

    /// What came from end to end since it was taken before.
    pub fn take_end_to_end(&mut self) -> Histogram<u64> {
        std::mem::replace(&mut self.end_to_end, latency_histogram())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tick(now_ms: u64, elapsed_ms: u64, records: u64) -> ConsumeTick {
        ConsumeTick {
            now_ns: now_ms * 1_000_000,
            elapsed_ns: elapsed_ms * 1_000_000,
            records,
            bytes: 0,
            positions: records as i64 + 7,
            end_to_end_ns: latency_histogram(),
        }
    }

    #[test]
    fn two_consumers_that_tell_at_other_times_have_one_count() {
        let mut receivers = Receivers::new(2);
        receivers.received(0, &tick(1_200, 200, 200));
        assert_eq!((receivers.started_ns(), receivers.heard_ns()), (Some(1_000_000_000), 0));
        assert_eq!(receivers.positions(), None);
        receivers.received(1, &tick(1_150, 100, 50));
        assert_eq!(receivers.heard_ns(), 1_150_000_000);
        // 1,000/s of one, 500/s of the other one.
        assert_eq!(receivers.count_at(1_100_000_000), 100 + 25);
        assert_eq!(receivers.count_at(1_200_000_000), 200 + 50);
        assert_eq!(receivers.count_at(9_000_000_000), 250);
        receivers.received(0, &tick(1_400, 400, 200));
        assert_eq!(receivers.count_at(1_300_000_000), 200 + 50);
        assert_eq!(receivers.positions(), Some(200 + 50 + 2 * 7));
    }
}
