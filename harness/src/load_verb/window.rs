//! What is heard of all clients while a window goes on, and who is told to end it when.

use std::time::{Duration, Instant};

use anyhow::bail;
use workloads::load::consume::Start;
use workloads::worker::{WorkerEvent, WorkerResult};

use super::ends::Ends;
use super::host::Host;
use super::intervals::{Closed, Joiner};
use super::session::Task;
use super::side::Side;
use crate::interrupt;

/// A client that says nothing for so long after its window hangs: its own timeouts are shorter.
pub const SILENCE_MAX: Duration = Duration::from_secs(150);
/// How long a turn of all clients takes at most before Ctrl-C is looked for.
const TURN: Duration = Duration::from_millis(20);

/// A window that goes on.
pub struct Window {
    /// The producer.
    pub producer: Option<Side>,
    /// All consumers.
    pub consumers: Vec<Side>,
    /// Records that wait to be acknowledged or received, interval by interval.
    pub waiting: Vec<(f64, f64)>,
    /// Whether Ctrl-C ended it.
    pub interrupted: bool,
    joiner: Joiner,
    /// What consumers without a producer are held against.
    ends: Option<Ends>,
    /// Whether those have read what there is, and need no more.
    has_enough: bool,
}

impl Window {
    /// With clients that are ready.
    pub fn new(host: &Host, task: &Task, producer: Option<Side>, consumers: Vec<Side>) -> Self {
        let alone = task.consumers.first().filter(|_| producer.is_none());
        Self {
            joiner: Joiner::new(task.interval_s, producer.is_some(), consumers.len()),
            ends: alone.map(|consume| Ends::of(host, &consume.spread.topic)),
            has_enough: false,
            producer,
            consumers,
            waiting: Vec::new(),
            interrupted: false,
        }
    }

    /// Until all have their results; `on` gets the intervals as they are closed.
    ///
    /// # Errors
    /// A client fails or hangs.
    pub fn run(&mut self, task: &Task, on: &mut dyn FnMut(&Closed)) -> anyhow::Result<()> {
        // Consumers first, so that nothing that is produced waits for them.
        for side in self.consumers.iter_mut().chain(&mut self.producer) {
            side.go()?;
        }
        let began = Instant::now();
        let limit = Duration::from_secs_f64(task.seconds) + SILENCE_MAX;
        while !self.consumers.iter().chain(&self.producer).all(Side::is_done) {
            self.hear(on)?;
            self.end_in_order(task)?;
            if began.elapsed() > limit {
                bail!("a client did not end within {SILENCE_MAX:?} after its window");
            }
        }
        for closed in self.joiner.rest() {
            self.take(closed, on);
        }
        Ok(())
    }

    /// Gives every client a turn.
    fn hear(&mut self, on: &mut dyn FnMut(&Closed)) -> anyhow::Result<()> {
        let wait = TURN / (1 + self.consumers.len() as u32);
        if let Some(producer) = &mut self.producer {
            let closed = match producer.hear(wait)? {
                None => None,
                Some(WorkerEvent::Produced(tick)) => self.joiner.produced(&tick),
                Some(WorkerEvent::Done {
                    result: WorkerResult::Loaded(loaded),
                }) => {
                    self.joiner.produced_all(&loaded);
                    None
                }
                Some(other) => bail!("the producer said {other:?} in its window"),
            };
            closed.into_iter().for_each(|closed| self.take(closed, on));
        }
        for number in 0..self.consumers.len() {
            let closed = match self.consumers[number].hear(wait)? {
                None => None,
                Some(WorkerEvent::Received(tick)) => self.joiner.received(number, &tick),
                Some(WorkerEvent::Done {
                    result: WorkerResult::Consumed(consumed),
                }) => {
                    self.joiner.received_all(number, &consumed);
                    None
                }
                Some(other) => bail!("a consumer said {other:?} in its window"),
            };
            closed.into_iter().for_each(|closed| self.take(closed, on));
        }
        Ok(())
    }

    /// Ctrl-C ends the producer's window, and the producer's end that of the consumers: not before everything is acknowledged do they ask
    /// where the end is that they read up to. Consumers alone that begin with the first record are done once they have the last one.
    fn end_in_order(&mut self, task: &Task) -> anyhow::Result<()> {
        self.interrupted |= interrupt::is_set();
        let is_last = match &mut self.producer {
            Some(producer) => {
                if self.interrupted {
                    producer.end_window()?;
                }
                producer.is_done()
            }
            None => {
                let begins_at_first = task.consumers.iter().all(|consume| consume.from == Start::Earliest);
                self.interrupted || (self.has_enough && begins_at_first)
            }
        };
        match is_last {
            true => self.consumers.iter_mut().try_for_each(Side::end_window),
            false => Ok(()),
        }
    }

    fn take(&mut self, mut closed: Closed, on: &mut dyn FnMut(&Closed)) {
        let row = &mut closed.row;
        if let Some((ends, positions)) = self.ends.as_mut().zip(self.joiner.positions()) {
            row.lag = ends.lag(positions);
            self.has_enough = row.lag == Some(0);
        }
        self.waiting
            .push((row.at_s, (row.outstanding + row.lag.unwrap_or(0)) as f64));
        on(&closed);
    }
}
