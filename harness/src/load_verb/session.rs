//! One window: a process that produces, what it tells while the window goes on, and what it cost.

use std::time::{Duration, Instant};

use anyhow::bail;
use hdrhistogram::Histogram;
use results::load::{Percentiles, Timing, quantile_us};
use workloads::load::{LoadSpec, Loaded};
use workloads::native::Phase;
use workloads::worker::{WorkerEvent, WorkerResult, WorkerSpec};

use super::host::Host;
use super::intervals::{Closed, Joiner};
use super::judge::Seen;
use super::words::Objective;
use crate::interrupt;
use crate::measure::sample::ProcessSample;
use crate::measure::worker::Worker;

/// How long a wait for the worker takes at most before Ctrl-C is looked for.
const TURN: Duration = Duration::from_millis(50);
/// A worker that says nothing for so long after its window hangs: its own timeouts are shorter.
const SILENCE_MAX: Duration = Duration::from_secs(150);

/// What a window is to be.
#[derive(Debug, Clone)]
pub struct Task {
    /// What is produced.
    pub load: LoadSpec,
    /// Load before the window, s.
    pub warm_up_s: f64,
    /// The window, s.
    pub seconds: f64,
    /// Length of an interval, s.
    pub interval_s: f64,
}

/// What came of a window.
#[derive(Debug)]
pub struct Held {
    /// Of the producer.
    pub loaded: Loaded,
    /// CPU time of the producer's process.
    pub producer_cpu: Duration,
    /// CPU time of the broker's processes; absent where they can't be read.
    pub broker_cpu: Option<Duration>,
    /// Records that wait, interval by interval.
    waiting: Vec<(f64, f64)>,
    /// Whether Ctrl-C ended it.
    pub interrupted: bool,
}

impl Held {
    /// What is known of it for an objective.
    pub fn seen(&self, objective: &Objective) -> Seen {
        let loaded = &self.loaded;
        let histogram = &loaded.phase.latency_ns;
        let value_us = match objective.quantile < 1.0 {
            true => quantile_us(histogram, objective.quantile),
            false => Percentiles::of(histogram).max,
        };
        Seen {
            intended_rate: (loaded.intended_rate > 0.0).then_some(loaded.intended_rate),
            achieved_rate: loaded.achieved_rate,
            value_us,
            samples: histogram.len(),
            failed: loaded.failed_records + loaded.unsent_records,
            late_share: loaded.late_share,
            waiting: self.waiting.clone(),
        }
    }

    /// Every histogram of the whole window.
    pub fn timings(&self) -> [(Timing, &Histogram<u64>); 3] {
        [
            (Timing::Acknowledged, &self.loaded.phase.latency_ns),
            (Timing::Service, &self.loaded.service_ns),
            (Timing::Lateness, &self.loaded.lateness_ns),
        ]
    }
}

/// Carries a window out; `on` gets its intervals as they end.
///
/// # Errors
/// The client fails or hangs, or Ctrl-C before the window. Ctrl-C within it ends it early.
pub fn hold(host: &Host, task: &Task, on: &mut dyn FnMut(&Closed)) -> anyhow::Result<Held> {
    let mut worker = Worker::start(
        &WorkerSpec::Load {
            address: host.brokers.clone(),
            security: host.security.clone(),
            load: Box::new(task.load.clone()),
            warmup_ms: milliseconds(task.warm_up_s),
            window: Phase {
                duration_ms: milliseconds(task.seconds),
                single_pass: false,
            },
            ledger: None,
            ticks_ms: milliseconds(task.interval_s),
        },
        None,
    )?;
    worker.ready()?;
    let own = [worker.process.id()];
    let (broker_before, before) = (cpu_of(&host.processes)?, cpu_of(&own)?);
    worker.go()?;
    let mut waiting = Vec::new();
    let mut take = |closed: &Closed| {
        waiting.push((closed.row.at_s, closed.row.outstanding as f64));
        on(closed);
    };
    let (loaded, interrupted) = hear_out(&mut worker, task, &mut take)?;
    let held = Held {
        loaded,
        producer_cpu: cpu_of(&own)?.saturating_sub(before),
        broker_cpu: match host.processes.is_empty() {
            true => None,
            false => Some(cpu_of(&host.processes)?.saturating_sub(broker_before)),
        },
        waiting,
        interrupted,
    };
    worker.quit()?;
    Ok(held)
}

/// Hears the worker until its result is there, and whether Ctrl-C ended the window.
fn hear_out(worker: &mut Worker, task: &Task, take: &mut dyn FnMut(&Closed)) -> anyhow::Result<(Loaded, bool)> {
    let began = Instant::now();
    let limit = Duration::from_secs_f64(task.seconds) + SILENCE_MAX;
    let mut joiner = Joiner::new(task.interval_s);
    let mut interrupted = false;
    loop {
        let closed = match worker.try_hear(TURN)? {
            None => None,
            Some(WorkerEvent::Produced(tick)) => joiner.produced(&tick),
            Some(WorkerEvent::Done {
                result: WorkerResult::Loaded(loaded),
            }) => {
                joiner.produced_all(&loaded).iter().for_each(take);
                return Ok((*loaded, interrupted));
            }
            Some(other) => bail!("the client said {other:?} in its window"),
        };
        closed.iter().for_each(&mut *take);
        if interrupt::is_set() && !interrupted {
            interrupted = true;
            worker.process.terminate()?;
        }
        if began.elapsed() > limit {
            bail!("the client did not end within {SILENCE_MAX:?} after its window");
        }
    }
}

fn cpu_of(processes: &[u32]) -> anyhow::Result<Duration> {
    processes
        .iter()
        .map(|process| Ok(ProcessSample::take(*process)?.cpu))
        .sum()
}

fn milliseconds(seconds: f64) -> u32 {
    (seconds * 1e3).round() as u32
}
