//! One client in a window: its process, what it was told to do, and what came of it.

use std::time::Duration;

use anyhow::{Context, bail};
use workloads::load::{ConsumeSpec, Consumed, LoadSpec, Loaded};
use workloads::native::Phase;
use workloads::worker::{WorkerEvent, WorkerResult, WorkerSpec};

use super::host::Host;
use super::session::Task;
use super::window::SILENCE_MAX;
use crate::measure::sample::ProcessSample;
use crate::measure::worker::Worker;

/// A consumer that has not everything so long after the last acknowledgement is told as it is.
const DRAIN: Duration = Duration::from_secs(10);
/// Consumers tell as often as they can, whatever the interval: the lag lies between two of their counts.
const CONSUMER_TICKS_MS: u32 = 200;

/// A worker in its window.
#[derive(Debug)]
pub struct Side {
    worker: Worker,
    /// What it had used at its start; from its result on, what it used in the window.
    cpu: Duration,
    result: Option<WorkerResult>,
    is_ending: bool,
}

impl Side {
    /// A producer, warmed up.
    ///
    /// # Errors
    /// It can't be started or does not get that far, or Ctrl-C.
    pub fn producer(host: &Host, task: &Task, load: &LoadSpec) -> anyhow::Result<Self> {
        Self::start(&WorkerSpec::Load {
            address: host.brokers.clone(),
            security: host.security.clone(),
            load: Box::new(load.clone()),
            warmup_ms: milliseconds(task.warm_up_s),
            window: timed(task.seconds),
            ledger: None,
            ticks_ms: milliseconds(task.interval_s),
        })
    }

    /// A consumer that knows where it begins.
    ///
    /// # Errors
    /// As [`Self::producer`].
    pub fn consumer(host: &Host, task: &Task, consume: &ConsumeSpec) -> anyhow::Result<Self> {
        // Beside a producer its window ends with the producer's, and it reads all that is there; alone it is timed.
        let (seconds, drain) = match &task.load {
            Some(_) => (task.seconds + SILENCE_MAX.as_secs_f64(), DRAIN),
            None => (task.seconds, Duration::ZERO),
        };
        Self::start(&WorkerSpec::Consume {
            address: host.brokers.clone(),
            security: host.security.clone(),
            consume: consume.clone(),
            window: timed(seconds),
            drain_ms: milliseconds(drain.as_secs_f64()),
            ticks_ms: CONSUMER_TICKS_MS,
        })
    }

    fn start(spec: &WorkerSpec) -> anyhow::Result<Self> {
        let mut worker = Worker::start(spec, None)?;
        worker.ready()?;
        Ok(Self {
            worker,
            cpu: Duration::ZERO,
            result: None,
            is_ending: false,
        })
    }

    /// Begins the window.
    ///
    /// # Errors
    /// The process is gone.
    pub fn go(&mut self) -> anyhow::Result<()> {
        self.cpu = cpu_of(&[self.worker.process.id()])?;
        self.worker.go()
    }

    /// What it says next, if it says something within `wait`; nothing any more once it is done.
    ///
    /// # Errors
    /// It failed or ended.
    pub fn hear(&mut self, wait: Duration) -> anyhow::Result<Option<WorkerEvent>> {
        if self.is_done() {
            return Ok(None);
        }
        let event = self.worker.try_hear(wait)?;
        if let Some(WorkerEvent::Done { result }) = &event {
            self.cpu = cpu_of(&[self.worker.process.id()])?.saturating_sub(self.cpu);
            self.result = Some(result.clone());
        }
        Ok(event)
    }

    /// Whether its window is over and told.
    pub fn is_done(&self) -> bool {
        self.result.is_some()
    }

    /// Has it end its window, once.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn end_window(&mut self) -> anyhow::Result<()> {
        if !self.is_done() && !self.is_ending {
            self.is_ending = true;
            self.worker.process.terminate()?;
        }
        Ok(())
    }

    /// What a producer came to, with the CPU time of its process; the process ends.
    ///
    /// # Errors
    /// It does not end well, or was no producer.
    pub fn loaded(self) -> anyhow::Result<(Loaded, Duration)> {
        match self.end()? {
            (WorkerResult::Loaded(loaded), cpu) => Ok((*loaded, cpu)),
            (other, _) => bail!("the producer answered {other:?}"),
        }
    }

    /// What a consumer came to, as [`Self::loaded`].
    ///
    /// # Errors
    /// It does not end well, or was no consumer.
    pub fn consumed(self) -> anyhow::Result<(Consumed, Duration)> {
        match self.end()? {
            (WorkerResult::Consumed(consumed), cpu) => Ok((*consumed, cpu)),
            (other, _) => bail!("the consumer answered {other:?}"),
        }
    }

    fn end(self) -> anyhow::Result<(WorkerResult, Duration)> {
        self.worker.quit()?;
        let result = self.result.context("a client without a result")?;
        Ok((result, self.cpu))
    }
}

/// CPU time of processes until now.
///
/// # Errors
/// One of them is gone.
pub fn cpu_of(processes: &[u32]) -> anyhow::Result<Duration> {
    processes
        .iter()
        .map(|process| Ok(ProcessSample::take(*process)?.cpu))
        .sum()
}

fn milliseconds(seconds: f64) -> u32 {
    (seconds * 1e3).round() as u32
}

fn timed(seconds: f64) -> Phase {
    Phase {
        duration_ms: milliseconds(seconds),
        single_pass: false,
    }
}
