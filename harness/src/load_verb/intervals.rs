//! What a producer and consumers tell, second by second, joined into the intervals of one window.
//!
//! The producer's ticks decide when an interval ends; without one the consumers' do. It is closed when every consumer has told what came until
//! then, so that the lag is the difference of two counts of one moment.

use hdrhistogram::Histogram;
use results::load::{Interval, Percentiles};
use workloads::load::{ConsumeTick, Consumed, Loaded, ProducedTick};
use workloads::native::phase::latency_histogram;

use super::receivers::Receivers;

const NS_PER_S: f64 = 1e9;
/// Ticks come about as often as they are asked for, and not exactly.
const EARLY_SHARE: f64 = 0.25;

/// An interval with its histograms.
#[derive(Debug, Clone)]
pub struct Closed {
    /// Its row.
    pub row: Interval,
    /// Intended to acknowledged; empty without a producer.
    pub acknowledged: Histogram<u64>,
    /// Intended to received; empty without a consumer.
    pub end_to_end: Histogram<u64>,
}

impl Closed {
    /// Its beginning, seconds since the window began.
    pub fn start_s(&self) -> f64 {
        (self.row.at_s - self.row.seconds).max(0.0)
    }

    fn holds_something(&self) -> bool {
        let row = &self.row;
        row.sent + row.acknowledged + row.failed + row.consumed.unwrap_or(0) > 0
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

/// The producer's side.
#[derive(Debug)]
struct Producer {
    now: Counts,
    histogram: Histogram<u64>,
    /// Of all ticks.
    told: Histogram<u64>,
}

impl Producer {
    fn add(&mut self, now: Counts, interval: &Histogram<u64>) {
        self.now = now;
        for sum in [&mut self.histogram, &mut self.told] {
            // All have the same bounds.
            let _ = sum.add(interval);
        }
    }
}

/// An interval that is over, as the producer saw its end.
#[derive(Debug)]
struct Due {
    at_ns: u64,
    counts: Counts,
    acknowledged: Histogram<u64>,
}

/// Joins ticks into intervals.
#[derive(Debug)]
pub struct Joiner {
    /// Least length of an interval, ns.
    least_ns: u64,
    /// When the window began; absent before anybody has told something.
    began_ns: Option<u64>,
    /// Where the last interval ended that is over, closed or not.
    over_ns: u64,
    /// The end of the last one that is closed, and what was counted there.
    closed_s: f64,
    before: Counts,
    received_before: u64,
    producer: Option<Producer>,
    receivers: Receivers,
    due: Option<Due>,
}

impl Joiner {
    /// For intervals of so many seconds.
    pub fn new(interval_s: f64, produces: bool, consumers: usize) -> Self {
        Self {
            least_ns: (interval_s * (1.0 - EARLY_SHARE) * NS_PER_S) as u64,
            began_ns: None,
            over_ns: 0,
            closed_s: 0.0,
            before: Counts::default(),
            received_before: 0,
            producer: produces.then(|| Producer {
                now: Counts::default(),
                histogram: latency_histogram(),
                told: latency_histogram(),
            }),
            receivers: Receivers::new(consumers),
            due: None,
        }
    }

    /// Adds what the producer says; an interval, if one is closed by it.
    pub fn produced(&mut self, tick: &ProducedTick) -> Option<Closed> {
        let counts = Counts {
            sent: tick.sent,
            acknowledged: tick.acked,
            record_bytes: tick.bytes,
            failed: tick.failed,
            outstanding: tick.outstanding,
        };
        self.producer.as_mut()?.add(counts, &tick.latency_ns);
        self.begin(tick.now_ns.saturating_sub(tick.elapsed_ns));
        if !self.is_over(tick.now_ns) {
            return None;
        }
        // A consumer that said nothing for an interval holds nothing up.
        let late = self.close_due();
        self.end_at(tick.now_ns);
        late.or_else(|| self.close_when_heard())
    }

    /// Adds what a consumer says; an interval, if one is closed by it.
    pub fn received(&mut self, consumer: usize, tick: &ConsumeTick) -> Option<Closed> {
        self.receivers.received(consumer, tick);
        let heard_ns = self.receivers.heard_ns();
        if self.producer.is_none() && heard_ns > 0 {
            self.begin(self.receivers.started_ns()?);
            if self.is_over(heard_ns) {
                self.end_at(heard_ns);
            }
        }
        self.close_when_heard()
    }

    /// The producer is done; what it had not told yet belongs to the last interval.
    pub fn produced_all(&mut self, loaded: &Loaded) {
        let Some(producer) = &mut self.producer else { return };
        let counts = Counts {
            sent: loaded.sent_records,
            acknowledged: loaded.phase.records,
            record_bytes: loaded.phase.delivered_bytes,
            failed: loaded.failed_records,
            outstanding: 0,
        };
        let mut rest = loaded.phase.latency_ns.clone();
        if rest.subtract(&producer.told).is_err() {
            // Ticks of another window than the result's can't be; then the result alone is told elsewhere.
            rest.reset();
        }
        producer.add(counts, &rest);
        self.over_ns = self.over_ns.max(self.began_ns.unwrap_or(0) + loaded.phase.wall_ns);
    }

    /// A consumer is done, as [`Self::produced_all`].
    pub fn received_all(&mut self, consumer: usize, consumed: &Consumed) {
        self.receivers.done(consumer, consumed);
    }

    /// Sum of the offsets that consumers get next; absent before each has told something.
    pub fn positions(&self) -> Option<i64> {
        self.receivers.positions()
    }

    /// All are done: what is left, in one or two intervals.
    pub fn rest(&mut self) -> Vec<Closed> {
        let mut closed: Vec<Closed> = self.close_due().into_iter().collect();
        let end_ns = self.over_ns.max(self.receivers.last_record_ns());
        self.end_at(end_ns);
        let last = self.close_due();
        closed.extend(last.filter(|last| last.row.seconds > 0.0 || last.holds_something()));
        closed
    }

    fn begin(&mut self, began_ns: u64) {
        if self.began_ns.is_none() {
            (self.began_ns, self.over_ns) = (Some(began_ns), began_ns);
        }
    }

    fn is_over(&self, now_ns: u64) -> bool {
        now_ns.saturating_sub(self.over_ns) >= self.least_ns
    }

    fn end_at(&mut self, at_ns: u64) {
        let (counts, acknowledged) = match &mut self.producer {
            Some(producer) => {
                let histogram = std::mem::replace(&mut producer.histogram, latency_histogram());
                (producer.now, histogram)
            }
            None => (Counts::default(), latency_histogram()),
        };
        self.over_ns = at_ns;
        self.due = Some(Due {
            at_ns,
            counts,
            acknowledged,
        });
    }

    fn close_when_heard(&mut self) -> Option<Closed> {
        let at_ns = self.due.as_ref()?.at_ns;
        (self.receivers.heard_ns() >= at_ns).then(|| self.close_due())?
    }

    fn close_due(&mut self) -> Option<Closed> {
        let Due {
            at_ns,
            counts: now,
            acknowledged,
        } = self.due.take()?;
        let at_s = at_ns.saturating_sub(self.began_ns.unwrap_or(0)) as f64 / NS_PER_S;
        let at_s = at_s.max(self.closed_s);
        let before = std::mem::replace(&mut self.before, now);
        let found = Percentiles::of(&acknowledged);
        let mut row = Interval {
            at_s,
            seconds: at_s - self.closed_s,
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
        };
        self.closed_s = at_s;
        let end_to_end = self.receivers.take_end_to_end();
        if !self.receivers.is_empty() {
            // Never less than before, as a line through two counts may be.
            let received = self.receivers.count_at(at_ns).max(self.received_before);
            row.consumed = Some(received - self.received_before);
            self.received_before = received;
            let has_producer = self.producer.is_some();
            row.lag = has_producer.then(|| now.acknowledged.saturating_sub(received));
            let found = Percentiles::of(&end_to_end);
            row.end_to_end_p50_us = found.p50;
            row.end_to_end_p99_us = found.p99;
            row.end_to_end_p99_9_us = found.p99_9;
            row.end_to_end_max_us = found.max;
        }
        Some(Closed {
            row,
            acknowledged,
            end_to_end,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use workloads::native::PhaseResult;

    const MS: u64 = 1_000_000;
    /// When the producer began; consumers began 10 ms before.
    const BEGAN_MS: u64 = 5_000;

    fn histogram(samples: u64) -> Histogram<u64> {
        let mut histogram = latency_histogram();
        histogram.record_n(1_000_000, samples).unwrap();
        histogram
    }

    fn produced(at_ms: u64, acked: u64, samples: u64) -> ProducedTick {
        ProducedTick {
            now_ns: (BEGAN_MS + at_ms) * MS,
            elapsed_ns: at_ms * MS,
            sent: acked + 5,
            acked,
            bytes: acked * 100,
            failed: 0,
            outstanding: 5,
            latency_ns: histogram(samples),
        }
    }

    fn received(at_ms: u64, records: u64, samples: u64) -> ConsumeTick {
        ConsumeTick {
            now_ns: (BEGAN_MS + at_ms) * MS,
            elapsed_ns: (at_ms + 10) * MS,
            records,
            bytes: records * 100,
            positions: 0,
            end_to_end_ns: histogram(samples),
        }
    }

    fn consumed(until_ms: u64, records: u64) -> Consumed {
        Consumed {
            phase: PhaseResult {
                responses: 1,
                records,
                delivered_bytes: 100 * records,
                moved_bytes: 100 * records,
                wall_ns: (until_ms + 10) * MS,
                response_bytes_achieved: 1.0,
                send_calls: 0,
                receive_calls: 0,
                data_ended: true,
                latency_ns: histogram(records),
            },
            later_records: 0,
            reached_end: true,
            places: Vec::new(),
            runs: Vec::new(),
            foreign_records: 0,
            timeless_records: 0,
            counts: Default::default(),
        }
    }

    #[test]
    fn a_producer_alone_has_intervals_of_differences() {
        let mut joiner = Joiner::new(1.0, true, 0);
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
        assert_eq!((first.row.consumed, first.row.lag), (None, None));
        // An early tick waits for the next one.
        assert!(joiner.produced(&produced(1_300, 130, 30)).is_none());
        let second = joiner.produced(&produced(2_100, 200, 70)).unwrap();
        assert_eq!((second.row.acknowledged, second.acknowledged.len()), (100, 100));
        assert!(joiner.rest().is_empty());
    }

    #[test]
    fn a_lag_is_the_difference_of_one_moment_and_nothing_is_lost() {
        let mut joiner = Joiner::new(1.0, true, 1);
        assert!(joiner.received(0, &received(900, 850, 850)).is_none());
        // The consumer has told nothing of the last 100 ms yet.
        assert!(joiner.produced(&produced(1_000, 1_000, 1_000)).is_none());
        let first = joiner.received(0, &received(1_100, 1_050, 200)).unwrap();
        assert_eq!(
            (first.row.acknowledged, first.row.consumed, first.row.lag),
            (1_000, Some(950), Some(50))
        );
        assert_eq!((first.row.at_s, first.end_to_end.len()), (1.0, 1_050));
        // A consumer that says nothing for an interval holds the producer's row up for no longer.
        assert!(joiner.produced(&produced(2_000, 2_000, 1_000)).is_none());
        let second = joiner.produced(&produced(3_000, 3_000, 1_000)).unwrap();
        assert_eq!((second.row.acknowledged, second.row.consumed), (1_000, Some(100)));
        assert_eq!((second.row.at_s, second.row.lag), (2.0, Some(950)));
        joiner.received_all(0, &consumed(3_200, 3_000));
        let rest = joiner.rest();
        let sum = |of: fn(&Interval) -> u64| rest.iter().map(|closed| of(&closed.row)).sum::<u64>();
        assert_eq!(
            (sum(|row| row.acknowledged), sum(|row| row.consumed.unwrap())),
            (1_000, 1_950)
        );
        assert_eq!(rest.iter().map(|closed| closed.end_to_end.len()).sum::<u64>(), 1_950);
        let last = &rest.last().unwrap().row;
        assert_eq!((last.at_s, last.lag), (3.2, Some(0)));
        assert!(joiner.rest().is_empty());
    }

    #[test]
    fn the_end_is_the_last_record_and_not_the_last_word() {
        let mut joiner = Joiner::new(1.0, true, 1);
        assert!(joiner.produced(&produced(600, 600, 600)).is_none());
        assert!(joiner.received(0, &received(990, 700, 700)).is_none());
        joiner.received_all(0, &consumed(650, 700));
        let rest = joiner.rest();
        assert_eq!(
            (rest.len(), rest[0].row.at_s, rest[0].row.consumed),
            (1, 0.65, Some(700))
        );
    }

    #[test]
    fn consumers_alone_decide_together() {
        let mut joiner = Joiner::new(1.0, false, 2);
        assert!(joiner.received(0, &received(990, 10, 10)).is_none());
        let first = joiner.received(1, &received(990, 20, 20)).unwrap();
        assert_eq!(
            (first.row.consumed, first.row.lag, first.row.at_s),
            (Some(30), None, 1.0)
        );
        assert!(
            joiner.produced(&produced(4_000, 1, 1)).is_none(),
            "there is no producer"
        );
        joiner.received_all(0, &consumed(1_200, 10));
        joiner.received_all(1, &consumed(1_500, 25));
        let rest = joiner.rest();
        assert_eq!((rest.len(), rest[0].row.consumed), (1, Some(5)));
    }
}
