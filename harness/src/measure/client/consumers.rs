//! The consumers of a trial, a process each, and what they got together.

use anyhow::bail;
use hdrhistogram::Histogram;
use workloads::load::consume::{ConsumeSpec, Consumed, Start};
use workloads::native::phase::latency_histogram;
use workloads::native::verify::Check;
use workloads::worker::{WorkerResult, WorkerSpec};

use super::levels::Levels;
use super::stored::Stored;
use super::timed;
use crate::measure::bench::Setup;
use crate::measure::load::host::Host;
use crate::measure::sample::ProcessSample;
use crate::measure::worker::Worker;

/// Consumers are told when the producer is done; one that nobody tells ends that long after its timed part, ms.
const UNTOLD_MS_MAX: u32 = 100_000;

/// When a window of consumers ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ends {
    /// When they are told to, once; only the first so many ms are timed.
    WhenTold { timed_ms: u32 },
    /// By itself, after so many ms, as often as wanted.
    After { window_ms: u32 },
}

/// Consumers that follow a topic from its end on.
pub struct Following {
    /// Those with a partition, each with what it had used at the beginning; one without has nothing that it could ask for.
    working: Vec<(Worker, ProcessSample)>,
    /// Those without.
    unassigned: u32,
    /// Whether whatever is produced has to come.
    is_drained: bool,
}

/// What consumers got and used.
pub struct Received {
    /// Records that came while they were timed.
    pub timed_records: u64,
    /// Their keys and values, bytes.
    pub timed_bytes: u64,
    /// How long that was.
    pub timed_ns: u64,
    /// Received minus intended, of these records.
    pub end_to_end_ns: Histogram<u64>,
    /// All records that came.
    pub records: u64,
    /// Records that came more than once, that were left out, and that were somebody else's.
    duplicates: u64,
    left_out: u64,
    foreign: u64,
    /// Answers to fetches, with records or without.
    pub fetches: u64,
    /// Consumers that no record came to.
    pub idle: u32,
    /// What all of them used.
    pub used: ProcessSample,
    /// Sum of the offsets behind the last records that came.
    next_offsets: i64,
    is_drained: bool,
}

impl Following {
    /// Starts them; each begins at the end of its partitions.
    ///
    /// # Errors
    /// One of them can't connect.
    pub fn start(setup: &Setup, host: &Host, levels: &Levels, topic: &str, ends: Ends) -> anyhow::Result<Self> {
        let consumers = &levels.client.consumers;
        let mut following = Following {
            working: Vec::new(),
            unassigned: 0,
            is_drained: consumers.drain_ms > 0,
        };
        let (window_ms, timed_ms, drain_ms) = match ends {
            Ends::WhenTold { timed_ms } => (timed_ms.saturating_add(UNTOLD_MS_MAX), timed_ms, consumers.drain_ms),
            Ends::After { window_ms } => (window_ms, 0, 0),
        };
        for places in consumers.shares(levels.client.partitions) {
            if places.is_empty() {
                following.unassigned += 1;
                continue;
            }
            let spec = WorkerSpec::Consume {
                address: host.served.brokers.clone(),
                security: host.served.security.clone(),
                consume: ConsumeSpec {
                    places: Some(places),
                    client: consumers.client,
                    from: Start::Latest,
                    fetch_min_bytes: consumers.fetch_min_bytes,
                    fetch_max_wait_ms: consumers.fetch_max_wait_ms,
                    handler_us: consumers.handler_us,
                    timed_ms,
                    ..ConsumeSpec::new(levels.spread(topic))
                },
                window: timed(window_ms),
                drain_ms,
                ticks_ms: 0,
            };
            let worker = Worker::start(&spec, setup.cpus.as_ref().map(|(_, client)| client))?;
            following.working.push((worker, ProcessSample::default()));
        }
        for (worker, _) in &mut following.working {
            worker.ready()?;
        }
        Ok(following)
    }

    /// Lets them consume.
    ///
    /// # Errors
    /// One of them is gone.
    pub fn go(&mut self) -> anyhow::Result<()> {
        for (worker, before) in &mut self.working {
            *before = ProcessSample::take(worker.process.id())?;
            worker.go()?;
        }
        Ok(())
    }

    /// Waits for the end of a window.
    ///
    /// # Errors
    /// One of them fails.
    pub fn received(&mut self) -> anyhow::Result<Received> {
        let mut all = Received::nothing(self.unassigned, self.is_drained);
        for (worker, before) in &mut self.working {
            let consumed = match worker.result(|| ())? {
                WorkerResult::Consumed(consumed) => *consumed,
                other => bail!("the consumer answered {other:?} where what it got was due"),
            };
            let used = ProcessSample::take(worker.process.id())?.since(before);
            all.add(&consumed, &used)?;
        }
        Ok(all)
    }

    /// Tells them that nothing comes any more, and waits until they have what they wait for.
    ///
    /// # Errors
    /// One of them fails.
    pub fn finish(mut self) -> anyhow::Result<Received> {
        for (worker, _) in &mut self.working {
            worker.process.terminate()?;
        }
        let received = self.received()?;
        self.quit()?;
        Ok(received)
    }

    /// Ends them.
    ///
    /// # Errors
    /// One of them does not end.
    pub fn quit(self) -> anyhow::Result<()> {
        self.working.into_iter().try_for_each(|(worker, _)| worker.quit())
    }
}

impl Received {
    fn nothing(unassigned: u32, is_drained: bool) -> Self {
        Received {
            timed_records: 0,
            timed_bytes: 0,
            timed_ns: 0,
            end_to_end_ns: latency_histogram(),
            records: 0,
            duplicates: 0,
            left_out: 0,
            foreign: 0,
            fetches: 0,
            idle: unassigned,
            used: ProcessSample::default(),
            next_offsets: 0,
            is_drained,
        }
    }

    fn add(&mut self, consumed: &Consumed, used: &ProcessSample) -> anyhow::Result<()> {
        let phase = &consumed.phase;
        let records = phase.records + consumed.later_records;
        self.timed_records += phase.records;
        self.timed_bytes += phase.delivered_bytes;
        self.timed_ns = self.timed_ns.max(phase.wall_ns);
        self.end_to_end_ns.add(&phase.latency_ns)?;
        self.records += records;
        self.duplicates += consumed.runs.iter().map(|run| run.duplicates).sum::<u64>();
        self.left_out += consumed.places.iter().map(|place| place.skipped_offsets).sum::<u64>();
        self.foreign += consumed.foreign_records;
        self.fetches += consumed.counts.responses;
        self.idle += u32::from(records == 0);
        self.used = self.used.plus(used);
        self.next_offsets += consumed.places.iter().map(|place| place.next_offset).sum::<i64>();
        Ok(())
    }

    /// Records that nobody took out of the log, by the offsets in it.
    pub fn left(&self, stored: &Stored) -> i64 {
        stored.end - self.next_offsets
    }

    /// What came against what was acknowledged.
    pub fn checks(&self, acknowledged: u64, stored: &Stored) -> Vec<Check> {
        let left = self.left(stored);
        let found = i64::try_from(self.records).unwrap_or(i64::MAX).saturating_add(left);
        let mut checks = vec![
            check("records consumed or left in the log", acknowledged, found),
            check("records consumed twice", 0, self.duplicates),
            check("records left out", 0, self.left_out),
            check("records of somebody else", 0, self.foreign),
        ];
        if self.is_drained {
            checks.push(check("records left in the log", 0, left));
        }
        checks
    }
}

fn check(name: &str, expected: u64, observed: impl ToString) -> Check {
    let (expected, observed) = (expected.to_string(), observed.to_string());
    Check {
        name: name.to_owned(),
        ok: expected == observed,
        expected,
        observed,
    }
}
