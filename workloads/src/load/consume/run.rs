//! A consumer at work: it reads for a window, and then on to the end of what lies there.

use super::receipts::{PlaceReceipts, Receipts, RunReceipts};
use super::{ConsumeCounts, ConsumeSpec, Consuming, connect, starts};
use crate::load::clock;
use crate::native::admin::Admin;
use crate::native::phase::{histogram_text, latency_histogram};
use crate::native::{Bootstrap, ClientError, PhaseResult, Security};
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use std::ops::ControlFlow;
use std::time::Duration;

/// Between two ticks.
const TICK_NS: u64 = 200_000_000;
/// Longest wait for records in one piece, so that whoever wants an end is heard.
const WAIT_NS: u64 = 50_000_000;

/// What came in a window and until its end was reached.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Consumed {
    /// Responses with records or without, records, bytes of keys and values; the time from the beginning to the last record; latencies are
    /// end to end, received minus intended, of the records that are stamped.
    pub phase: PhaseResult,
    /// Whether everything came that lay there when the window was over.
    pub reached_end: bool,
    /// Each place since the consumer connected.
    pub places: Vec<PlaceReceipts>,
    /// Each producer's run since the consumer connected.
    pub runs: Vec<RunReceipts>,
    /// Records without a stamp, since the consumer connected.
    pub foreign_records: u64,
    /// Records whose stamp is of another clock, since the consumer connected; they have no latency.
    pub timeless_records: u64,
    /// What the client did.
    pub counts: ConsumeCounts,
}

/// What came since the last tick, for a live line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConsumeTick {
    /// When it was told, by [`clock::now_ns`], which all processes of a machine share.
    pub now_ns: u64,
    /// Since the window began.
    pub elapsed_ns: u64,
    /// Records since the window began.
    pub records: u64,
    /// Their keys and values, bytes.
    pub bytes: u64,
    /// Sum of the offsets that come next, over the places that are read.
    pub positions: i64,
    /// Received minus intended of the records since the last tick, ns.
    #[serde(with = "histogram_text")]
    pub end_to_end_ns: Histogram<u64>,
}

/// A consumer and what it needs to know the end of what it reads.
pub struct Consumer {
    brokers: Bootstrap,
    security: Security,
    spec: ConsumeSpec,
    client: Box<dyn Consuming>,
    receipts: Receipts,
}

impl Consumer {
    /// Looks up where each place begins, and connects; nothing has come yet.
    ///
    /// # Errors
    /// A figure that cannot work, a topic or a broker that is not there, or a client that can't do what is asked for.
    pub fn connect(brokers: &Bootstrap, security: &Security, spec: ConsumeSpec) -> Result<Self, ClientError> {
        let starts = starts(&mut Admin::connect(brokers, security)?, &spec)?;
        Ok(Self {
            client: connect(brokers, security, &spec, &starts)?,
            receipts: Receipts::new(&starts),
            brokers: brokers.clone(),
            security: security.clone(),
            spec,
        })
    }

    /// Reads for `window`, or until a tick is answered with a break; then asks where the end is, and reads up to there, for `drain` at most.
    /// Whoever wants all records of a producer ends the window when the producer is done.
    ///
    /// # Errors
    /// The client is of no use any more, or nobody tells where the end is.
    pub fn run(
        &mut self,
        window: Duration,
        drain: Duration,
        on_tick: &mut dyn FnMut(&ConsumeTick) -> ControlFlow<()>,
    ) -> Result<Consumed, ClientError> {
        let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let before = self.client.counts();
        self.receipts.take_end_to_end_ns();
        let started_ns = clock::now_ns();
        let mut last_ns = started_ns;
        let mut interval = latency_histogram();
        let (mut now_ns, mut tick_ns) = (started_ns, started_ns.saturating_add(TICK_NS));
        let end_ns = started_ns.saturating_add(nanoseconds(window));
        while now_ns < end_ns {
            let until_ns = end_ns.min(tick_ns).min(now_ns + WAIT_NS);
            self.poll(until_ns, &mut last_ns, Some(&mut interval))?;
            now_ns = clock::now_ns();
            if now_ns < tick_ns {
                continue;
            }
            tick_ns = now_ns.saturating_add(TICK_NS);
            let counts = self.client.counts() - before;
            let tick = ConsumeTick {
                now_ns,
                elapsed_ns: now_ns - started_ns,
                records: counts.records,
                bytes: counts.raw_bytes,
                positions: self.receipts.places().iter().map(|place| place.next_offset).sum(),
                end_to_end_ns: std::mem::replace(&mut interval, latency_histogram()),
            };
            if on_tick(&tick).is_break() {
                break;
            }
        }
        let ends = self.ends()?;
        let drained_ns = clock::now_ns().saturating_add(nanoseconds(drain));
        while !self.has_reached(&ends) && clock::now_ns() < drained_ns {
            let until_ns = drained_ns.min(clock::now_ns() + WAIT_NS);
            self.poll(until_ns, &mut last_ns, None)?;
        }
        let counts = self.client.counts() - before;
        let reached_end = self.has_reached(&ends);
        Ok(Consumed {
            phase: PhaseResult {
                responses: counts.responses,
                records: counts.records,
                delivered_bytes: counts.raw_bytes,
                moved_bytes: counts.raw_bytes,
                wall_ns: last_ns - started_ns,
                response_bytes_achieved: counts.wire_bytes as f64 / counts.responses.max(1) as f64,
                send_calls: 0,
                receive_calls: 0,
                data_ended: reached_end,
                latency_ns: self.receipts.take_end_to_end_ns(),
            },
            reached_end,
            places: self.receipts.places().to_vec(),
            runs: self.receipts.runs(),
            foreign_records: self.receipts.foreign(),
            timeless_records: self.receipts.timeless(),
            counts,
        })
    }

    /// Lets records come until `until_ns`.
    fn poll(
        &mut self,
        until_ns: u64,
        last_ns: &mut u64,
        mut interval: Option<&mut Histogram<u64>>,
    ) -> Result<(), ClientError> {
        let receipts = &mut self.receipts;
        self.client.poll(until_ns, &mut |received| {
            *last_ns = received.received_ns.max(*last_ns);
            if let (Some(took_ns), Some(interval)) = (receipts.take(&received), interval.as_deref_mut()) {
                interval.saturating_record(took_ns);
            }
        })
    }

    /// The end of each place that is read, by now.
    fn ends(&self) -> Result<Vec<i64>, ClientError> {
        let places: Vec<usize> = self.receipts.places().iter().map(|place| place.place).collect();
        // Not over a connection of the beginning, which a broker may have closed as idle.
        let mut admin = Admin::connect(&self.brokers, &self.security)?;
        super::offsets_of(&mut admin, &self.spec, &places, Admin::end_offsets)
    }

    fn has_reached(&self, ends: &[i64]) -> bool {
        let mut both = self.receipts.places().iter().zip(ends);
        both.all(|(place, end)| place.next_offset >= *end)
    }
}
