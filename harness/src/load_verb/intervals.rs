//! What a worker tells, second by second, as the intervals of one window.

use hdrhistogram::Histogram;
use results::load::{Interval, Percentiles};
use workloads::load::{Loaded, ProducedTick};
use workloads::native::phase::latency_histogram;

const NS_PER_S: f64 = 1e9;
/// Ticks come about as often as they are asked for, and not exactly.
const EARLY_SHARE: f64 = 0.25;

/// An interval with its histogram.
#[derive(Debug, Clone)]
pub struct Closed {
    /// Its row.
    pub row: Interval,
    /// Intended to acknowledged.
    pub acknowledged: Histogram<u64>,
}

impl Closed {
    /// Its beginning, seconds since the window began.
    pub fn start_s(&self) -> f64 {
        (self.row.at_s - self.row.seconds).max(0.0)
    }
}

#[derive(Debug, Default, Clone, Copy)]
struct Counts {
    sent: u64,
    acknowledged: u64,
    record_bytes: u64,
    failed: u64,
    outstanding: u64,
}

/// Joins ticks into intervals.
#[derive(Debug)]
pub struct Joiner {
    /// Least length of an interval, s.
    seconds: f64,
    /// Where the last one ended, and the last tick, s.
    closed_s: f64,
    now_s: f64,
    before: Counts,
    now: Counts,
    histogram: Histogram<u64>,
    /// Of all ticks.
    told: Histogram<u64>,
}

impl Joiner {
    /// For intervals of so many seconds.
    pub fn new(interval_s: f64) -> Self {
        Self {
            seconds: interval_s * (1.0 - EARLY_SHARE),
            closed_s: 0.0,
            now_s: 0.0,
            before: Counts::default(),
            now: Counts::default(),
            histogram: latency_histogram(),
            told: latency_histogram(),
        }
    }

    /// Adds what the producer says; an interval, if it is over.
    pub fn produced(&mut self, tick: &ProducedTick) -> Option<Closed> {
        self.now = Counts {
            sent: tick.sent,
            acknowledged: tick.acked,
            record_bytes: tick.bytes,
            failed: tick.failed,
            outstanding: tick.outstanding,
        };
        self.add(&tick.latency_ns, tick.elapsed_ns);
        (self.now_s - self.closed_s >= self.seconds).then(|| self.close())
    }

    /// The producer is done: the last interval, if something came since the one before it, with what no tick has told.
    pub fn produced_all(&mut self, loaded: &Loaded) -> Option<Closed> {
        self.now = Counts {
            sent: loaded.sent_records,
            acknowledged: loaded.phase.records,
            record_bytes: loaded.phase.delivered_bytes,
            failed: loaded.failed_records,
            outstanding: 0,
        };
        let mut rest = loaded.phase.latency_ns.clone();
        if rest.subtract(&self.told).is_err() {
            // Ticks of another window than the result's can't be; then the result alone is told elsewhere.
            rest.reset();
        }
        self.add(&rest, loaded.phase.wall_ns);
        (!self.histogram.is_empty() || self.now_s > self.closed_s).then(|| self.close())
    }

    fn add(&mut self, interval: &Histogram<u64>, elapsed_ns: u64) {
        for sum in [&mut self.histogram, &mut self.told] {
            // All have the same bounds.
            let _ = sum.add(interval);
        }
        self.now_s = self.now_s.max(elapsed_ns as f64 / NS_PER_S);
    }

    fn close(&mut self) -> Closed {
        let seconds = self.now_s - self.closed_s;
        self.closed_s = self.now_s;
        let (now, before) = (self.now, std::mem::replace(&mut self.before, self.now));
        let acknowledged = std::mem::replace(&mut self.histogram, latency_histogram());
        let found = Percentiles::of(&acknowledged);
        Closed {
            row: Interval {
                at_s: self.now_s,
                seconds,
                sent: now.sent - before.sent,
                acknowledged: now.acknowledged - before.acknowledged,
                record_bytes: now.record_bytes - before.record_bytes,
                failed: now.failed - before.failed,
                outstanding: now.outstanding,
                p50_us: found.p50,
                p99_us: found.p99,
                p99_9_us: found.p99_9,
                max_us: found.max,
                ..Interval::default()
            },
            acknowledged,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn produced(at_ms: u64, acked: u64, samples: u64) -> ProducedTick {
        let mut latency_ns = latency_histogram();
        latency_ns.record_n(1_000_000, samples).unwrap();
        ProducedTick {
            elapsed_ns: at_ms * 1_000_000,
            sent: acked + 5,
            acked,
            bytes: acked * 100,
            failed: 0,
            outstanding: 5,
            latency_ns,
        }
    }

    #[test]
    fn intervals_hold_differences() {
        let mut joiner = Joiner::new(1.0);
        let first = joiner.produced(&produced(1_001, 100, 100)).unwrap();
        assert_eq!(
            (first.row.sent, first.row.acknowledged, first.row.record_bytes),
            (105, 100, 10_000)
        );
        assert_eq!(
            (first.start_s(), first.row.at_s, first.row.outstanding),
            (0.0, 1.001, 5)
        );
        assert!(first.row.p50_us.is_some_and(|us| (us - 1_000.0).abs() < 2.0) && first.row.p99_us.is_none());
        // An early tick waits for the next one.
        assert!(joiner.produced(&produced(1_300, 130, 30)).is_none());
        let second = joiner.produced(&produced(2_100, 200, 70)).unwrap();
        assert_eq!((second.row.acknowledged, second.acknowledged.len()), (100, 100));
    }
}
