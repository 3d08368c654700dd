//! One window: a process that produces, some that consume, and what it cost.

use std::time::Duration;

use hdrhistogram::Histogram;
use results::load::{Percentiles, Timing, quantile_us};
use workloads::load::{ConsumeSpec, Consumed, LoadSpec, Loaded};
use workloads::native::phase::latency_histogram;

use super::host::Host;
use super::intervals::Closed;
use super::judge::Seen;
use super::ledger::Ledger;
use super::side::{Side, cpu_of};
use super::window::Window;
use super::words::Objective;

/// What a window is to be.
#[derive(Debug, Clone)]
pub struct Task {
    /// What is produced.
    pub load: Option<LoadSpec>,
    /// What each consumer reads.
    pub consumers: Vec<ConsumeSpec>,
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
    /// Of the producer, with the CPU time of its process.
    pub loaded: Option<(Loaded, Duration)>,
    /// Of each consumer.
    pub consumed: Vec<Consumed>,
    /// CPU time of the consumers' processes.
    consumer_cpu: Duration,
    /// CPU time of the broker's processes; absent where they can't be read.
    pub broker_cpu: Option<Duration>,
    /// Records that wait to be acknowledged or received, interval by interval.
    waiting: Vec<(f64, f64)>,
    /// Whether Ctrl-C ended it.
    pub interrupted: bool,
}

impl Held {
    /// What is known of it for an objective; absent without a producer.
    pub fn seen(&self, objective: &Objective) -> Option<Seen> {
        let (loaded, _) = self.loaded.as_ref()?;
        let histogram = self.about(objective);
        let value_us = match objective.quantile < 1.0 {
            true => quantile_us(&histogram, objective.quantile),
            false => Percentiles::of(&histogram).max,
        };
        Some(Seen {
            intended_rate: (loaded.intended_rate > 0.0).then_some(loaded.intended_rate),
            achieved_rate: loaded.achieved_rate,
            value_us,
            samples: histogram.len(),
            failed: loaded.failed_records + loaded.unsent_records,
            lost: self.ledger().lost(),
            late_share: loaded.late_share,
            waiting: self.waiting.clone(),
        })
    }

    /// What consumers have of what was acknowledged.
    pub fn ledger(&self) -> Ledger {
        let loaded = self.loaded.as_ref().map(|(loaded, _)| loaded);
        Ledger::of(loaded, &self.consumed, self.consumer_cpu)
    }

    /// The times that the objective is about.
    pub fn about(&self, objective: &Objective) -> Histogram<u64> {
        match (&self.loaded, objective.end_to_end) {
            (Some((loaded, _)), false) => loaded.phase.latency_ns.clone(),
            _ => self.end_to_end(),
        }
    }

    /// Intended to received, of all consumers.
    fn end_to_end(&self) -> Histogram<u64> {
        let mut sum = latency_histogram();
        for consumed in &self.consumed {
            // All have the same bounds.
            let _ = sum.add(&consumed.phase.latency_ns);
        }
        sum
    }

    /// Every histogram of the whole window.
    pub fn timings(&self) -> Vec<(Timing, Histogram<u64>)> {
        let mut timings = vec![(Timing::EndToEnd, self.end_to_end())];
        if let Some((loaded, _)) = &self.loaded {
            timings.push((Timing::Acknowledged, loaded.phase.latency_ns.clone()));
            timings.push((Timing::Service, loaded.service_ns.clone()));
            // Without a schedule nothing is late.
            if loaded.intended_rate > 0.0 {
                timings.push((Timing::Lateness, loaded.lateness_ns.clone()));
            }
        }
        timings
    }

    /// The whole window, s.
    pub fn seconds(&self) -> f64 {
        let produced_ns = self.loaded.iter().map(|(loaded, _)| loaded.phase.wall_ns);
        let consumed_ns = self.consumed.iter().map(|consumed| consumed.phase.wall_ns);
        produced_ns.chain(consumed_ns).max().unwrap_or(0) as f64 / 1e9
    }
}

/// Carries a window out; `on` gets its intervals as they end.
///
/// # Errors
/// A client fails or hangs, or Ctrl-C before the window. Ctrl-C within it ends it early.
pub fn hold(host: &Host, task: &Task, on: &mut dyn FnMut(&Closed)) -> anyhow::Result<Held> {
    let producer = task.load.as_ref().map(|load| Side::producer(host, task, load));
    let producer = producer.transpose()?;
    // Not before the producer's warm-up is over: its records are none of the window.
    let consumers = task.consumers.iter().map(|consume| Side::consumer(host, task, consume));
    let mut window = Window::new(host, task, producer, consumers.collect::<anyhow::Result<_>>()?);
    let broker_before = cpu_of(&host.processes)?;
    window.run(task, on)?;
    let broker_cpu = cpu_of(&host.processes)?.saturating_sub(broker_before);
    let (waiting, interrupted) = (window.waiting, window.interrupted);
    let loaded = window.producer.map(Side::loaded).transpose()?;
    let mut held = Held {
        loaded,
        consumed: Vec::new(),
        consumer_cpu: Duration::ZERO,
        broker_cpu: (!host.processes.is_empty()).then_some(broker_cpu),
        waiting,
        interrupted,
    };
    for side in window.consumers {
        let (consumed, cpu) = side.consumed()?;
        held.consumed.push(consumed);
        held.consumer_cpu += cpu;
    }
    Ok(held)
}
