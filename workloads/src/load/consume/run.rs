//! A consumer at work: it reads for a window, and then on to the end of what lies there.

use super::handler::Handler;
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
    /// end to end, received minus intended, of the records that are stamped. Where only a part of the window is timed, of that part, and
    /// the time is its length.
    pub phase: PhaseResult,
    /// Records that came when that part was over.
    pub later_records: u64,
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
    handler: Option<Handler>,
    receipts: Receipts,
}

/// What a window has got so far.
struct Window {
    started_ns: u64,
    before: ConsumeCounts,
    records: u64,
    bytes: u64,
    /// When the last record came.
    last_ns: u64,
    /// Since the last tick.
    interval: Histogram<u64>,
}

impl Window {
    /// One more record, and how long it took from end to end, if that is known.
    fn count(&mut self, bytes: u64, received_ns: u64, took_ns: Option<u64>) {
        self.records += 1;
        self.bytes += bytes;
        self.last_ns = received_ns.max(self.last_ns);
        if let Some(took_ns) = took_ns {
            self.interval.saturating_record(took_ns);
        }
    }
}

impl Consumer {
    /// Looks up where each place begins, and connects; nothing has come yet.
    ///
    /// # Errors
    /// A figure that cannot work, a topic or a broker that is not there, or a client that can't do what is asked for.
    pub fn connect(brokers: &Bootstrap, security: &Security, spec: ConsumeSpec) -> Result<Self, ClientError> {
        let starts = starts(&mut Admin::connect(brokers, security)?, &spec)?;
        let cost = Duration::from_micros(spec.handler_us.into());
        Ok(Self {
            client: connect(brokers, security, &spec, &starts)?,
            handler: (!cost.is_zero()).then(|| Handler::new(cost)),
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
        self.receipts.take_end_to_end_ns();
        let started_ns = clock::now_ns();
        let mut seen = Window {
            started_ns,
            before: self.client.counts(),
            records: 0,
            bytes: 0,
            last_ns: started_ns,
            interval: latency_histogram(),
        };
        let (mut now_ns, mut tick_ns) = (started_ns, started_ns.saturating_add(TICK_NS));
        let end_ns = started_ns.saturating_add(nanoseconds(window));
        let timed_ns = match self.spec.timed_ms {
            0 => u64::MAX,
            ms => started_ns.saturating_add(u64::from(ms) * 1_000_000),
        };
        let mut timed = None;
        while now_ns < end_ns {
            let mut until_ns = end_ns.min(tick_ns).min(now_ns + WAIT_NS);
            if timed.is_none() {
                until_ns = until_ns.min(timed_ns);
            }
            self.advance(until_ns, &mut seen)?;
            now_ns = clock::now_ns();
            if timed.is_none() && now_ns >= timed_ns {
                timed = Some(self.phase(&seen, now_ns));
            }
            if now_ns < tick_ns {
                continue;
            }
            tick_ns = now_ns.saturating_add(TICK_NS);
            let tick = ConsumeTick {
                now_ns,
                elapsed_ns: now_ns - started_ns,
                records: seen.records,
                bytes: seen.bytes,
                positions: self.receipts.places().iter().map(|place| place.next_offset).sum(),
                end_to_end_ns: std::mem::replace(&mut seen.interval, latency_histogram()),
            };
            if on_tick(&tick).is_break() {
                break;
            }
        }
        // A window that was ended early is timed up to here.
        if timed.is_none() && timed_ns < u64::MAX {
            timed = Some(self.phase(&seen, now_ns));
        }
        let ends = self.ends()?;
        let drained_ns = clock::now_ns().saturating_add(nanoseconds(drain));
        while !self.has_reached(&ends) && clock::now_ns() < drained_ns {
            let until_ns = drained_ns.min(clock::now_ns() + WAIT_NS);
            self.advance(until_ns, &mut seen)?;
        }
        let reached_end = self.has_reached(&ends);
        let phase = timed.unwrap_or_else(|| self.phase(&seen, seen.last_ns));
        Ok(Consumed {
            later_records: seen.records - phase.records,
            phase: PhaseResult {
                data_ended: reached_end,
                ..phase
            },
            reached_end,
            places: self.receipts.places().to_vec(),
            runs: self.receipts.runs(),
            foreign_records: self.receipts.foreign(),
            timeless_records: self.receipts.timeless(),
            counts: self.client.counts() - seen.before,
        })
    }

    /// What came until `until_ns`, with the latencies since the window began.
    fn phase(&mut self, seen: &Window, until_ns: u64) -> PhaseResult {
        let counts = self.client.counts() - seen.before;
        PhaseResult {
            responses: counts.responses,
            records: seen.records,
            delivered_bytes: seen.bytes,
            moved_bytes: seen.bytes,
            wall_ns: until_ns - seen.started_ns,
            response_bytes_achieved: counts.wire_bytes as f64 / counts.responses.max(1) as f64,
            send_calls: 0,
            receive_calls: 0,
            data_ended: false,
            latency_ns: self.receipts.take_end_to_end_ns(),
        }
    }

    /// Lets records come until `until_ns`, or the handler work through those that came.
    fn advance(&mut self, until_ns: u64, seen: &mut Window) -> Result<(), ClientError> {
        let receipts = &mut self.receipts;
        let Some(handler) = &mut self.handler else {
            return self.client.poll(until_ns, &mut |received| {
                let bytes = received.key.unwrap_or_default().len() + received.value.len();
                seen.count(bytes as u64, received.received_ns, receipts.take(&received));
            });
        };
        if handler.is_idle() {
            self.client.poll(until_ns, &mut |received| handler.take(&received))?;
        }
        while let Some(handled) = handler.handle(until_ns, receipts) {
            seen.count(handled.bytes, handled.handled_ns, handled.took_ns);
        }
        Ok(())
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
