//! What a window tells while it goes on: ticks of the engine and of the consumer, several joined into one, as a worker writes them down.

use super::consume::ConsumeTick;
use super::engine::Tick;
use crate::native::phase::{histogram_text, latency_histogram};
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// A tick that comes this share of its time too early is due all the same: ticks are not exact.
const EARLY_SHARE: f64 = 0.1;

/// How far a producing window is. Counts are since its start.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProducedTick {
    /// When it was told, by [`super::clock::now_ns`], which all processes of a machine share.
    pub now_ns: u64,
    /// Since the start, ns.
    pub elapsed_ns: u64,
    /// Records that the client took.
    pub sent: u64,
    /// Records that were acknowledged.
    pub acked: u64,
    /// Bytes of their keys and values.
    pub bytes: u64,
    /// Records that failed.
    pub failed: u64,
    /// Records on their way.
    pub outstanding: u64,
    /// Acknowledged minus intended of the records since the last tick, ns.
    #[serde(with = "histogram_text")]
    pub latency_ns: Histogram<u64>,
}

/// Joins ticks until one is due.
#[derive(Debug)]
pub struct TickJoiner {
    every_ns: u64,
    due_ns: u64,
    sum: Histogram<u64>,
}

impl TickJoiner {
    /// One about every so many ms.
    pub fn every(ms: u32) -> Self {
        let every_ns = (f64::from(ms) * 1e6 * (1.0 - EARLY_SHARE)) as u64;
        Self {
            every_ns,
            due_ns: every_ns,
            sum: latency_histogram(),
        }
    }

    /// Adds a tick of the consumer.
    pub fn received(&mut self, tick: &ConsumeTick) -> Option<ConsumeTick> {
        Some(ConsumeTick {
            end_to_end_ns: self.add(tick.elapsed_ns, &tick.end_to_end_ns)?,
            ..tick.clone()
        })
    }

    /// Adds a tick of the engine.
    pub fn produced(&mut self, tick: &Tick<'_>) -> Option<ProducedTick> {
        Some(ProducedTick {
            latency_ns: self.add(tick.elapsed_ns, tick.interval)?,
            now_ns: tick.now_ns,
            elapsed_ns: tick.elapsed_ns,
            sent: tick.sent,
            acked: tick.acked,
            bytes: tick.bytes,
            failed: tick.failed,
            outstanding: tick.outstanding,
        })
    }

    /// Adds an interval; what came since the last due tick, when this one is due.
    fn add(&mut self, elapsed_ns: u64, interval: &Histogram<u64>) -> Option<Histogram<u64>> {
        // Both have the same bounds.
        let _ = self.sum.add(interval);
        if elapsed_ns < self.due_ns {
            return None;
        }
        self.due_ns = elapsed_ns.saturating_add(self.every_ns);
        Some(std::mem::replace(&mut self.sum, latency_histogram()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_joined_and_lose_nothing() {
        let mut one = latency_histogram();
        one.record(5).unwrap();
        let mut joiner = TickJoiner::every(1_000);
        let mut told = Vec::new();
        for number in 1..=12u64 {
            let tick = Tick {
                now_ns: 0,
                // A little late, each of them.
                elapsed_ns: number * 200_300_000,
                sent: number,
                acked: number,
                bytes: 9,
                failed: 0,
                outstanding: 0,
                behind_ns: 0,
                interval: &one,
            };
            told.extend(joiner.produced(&tick).map(|tick| (tick.acked, tick.latency_ns.len())));
        }
        assert_eq!(told, [(5, 5), (10, 5)]);
        assert_eq!(joiner.sum.len(), 2);

        let text = serde_json::to_string(&ProducedTick {
            now_ns: 0,
            elapsed_ns: 1,
            sent: 2,
            acked: 3,
            bytes: 4,
            failed: 5,
            outstanding: 6,
            latency_ns: one.clone(),
        })
        .unwrap();
        assert_eq!(serde_json::from_str::<ProducedTick>(&text).unwrap().latency_ns, one);
    }
}
