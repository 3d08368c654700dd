//! Carries a load out: looks when records are due, makes them, and hands them to a client, on one thread.
//!
//! A schedule waits for nobody. When the client does not take a record, because its send queue is full, the record and all behind it keep
//! their intended times; how many they are is known from the schedule and takes no memory.

use super::arrivals::{Arrivals, Schedule};
use super::client::{ClientCounts, Handed, Outgoing, Producing};
use super::clock::{self, WallClock, now_ns};
use super::keys::KeySource;
use super::partitioner::Placer;
use super::recorder::Recorder;
use super::records::RecordPool;
use super::spec::LoadSpec;
use super::stamp::Stamp;
use crate::native::ClientError;
use crate::native::PhaseResult;
use crate::native::phase::histogram_text;
use hdrhistogram::Histogram;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::Duration;

/// A record that is enqueued later than that after its intended time is late.
pub const LATE_NS: u64 = 200_000;
/// With a larger share of late records the generator was the limit.
pub const LATE_SHARE_MAX: f64 = 0.001;
/// How often a run is told of.
pub const TICK_NS: u64 = 200_000_000;
/// How long what was due in the window is still sent after its end.
const BACKLOG_NS: u64 = 5_000_000_000;
/// Records that are sent in a row; then the client has its turn.
const RUN_RECORDS: u32 = 256;
/// Records between two looks at the clock: they take less than a microsecond.
const CLOCK_RECORDS: u32 = 4;
/// How long a client that takes nothing works before it is asked again.
const FULL_NS: u64 = 10_000_000;
/// The client's own timeouts come first.
const FLUSH_EXTRA_MS: u64 = 1_000;
const NS_PER_MS: u64 = 1_000_000;

/// What a run came to. Every histogram is of records, in ns.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Loaded {
    /// What the stamps of its records say of their origin.
    pub stamp_run: u32,
    /// Latency is acknowledged minus *intended*; in a closed loop a record is intended when it is enqueued. Responses are batches that were
    /// acknowledged, bytes are keys and values.
    pub phase: PhaseResult,
    /// Acknowledged minus sent: what is left when waiting in the client is left out. Empty where the client can't tell.
    #[serde(with = "histogram_text")]
    pub service_ns: Histogram<u64>,
    /// Enqueued minus intended.
    #[serde(with = "histogram_text")]
    pub lateness_ns: Histogram<u64>,
    /// Share of records that were enqueued more than [`LATE_NS`] after their intended time, though no full send queue was in the way. More than
    /// [`LATE_SHARE_MAX`] says that the generator was the limit.
    pub late_share: f64,
    /// Records that the client took.
    pub sent_records: u64,
    /// Of them, those that met a full send queue, or waited behind one that did.
    pub blocked_records: u64,
    /// Records that were due and that the client did not take until 5 s after the end.
    pub unsent_records: u64,
    /// Records that were not acknowledged. With retries, or after a broken connection, they may be stored all the same.
    pub failed_records: u64,
    /// The same by reason.
    pub errors: BTreeMap<String, u64>,
    /// What the client did.
    pub counts: ClientCounts,
    /// Records/s that the schedule wanted; 0 in a closed loop.
    pub intended_rate: f64,
    /// Records/s that were acknowledged, from the start to the last acknowledgement.
    pub achieved_rate: f64,
}

/// How far a run is. Counts are since its start.
#[derive(Debug, Clone, Copy)]
pub struct Tick<'a> {
    /// By [`clock::now_ns`], which all processes of a machine share.
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
    /// How long the next record is overdue, ns.
    pub behind_ns: u64,
    /// Acknowledged minus intended, ns, of the records that were acknowledged since the last tick.
    pub interval: &'a Histogram<u64>,
}

/// A load and its client.
pub struct Engine {
    spec: LoadSpec,
    client: Box<dyn Producing>,
    pool: RecordPool,
    keys: KeySource,
    placer: Placer,
    recorder: Recorder,
    /// Where the record goes whose turn it is, once that is chosen.
    place: Option<usize>,
    stamp: Stamp,
    wall: WallClock,
    runs: u64,
}

/// Where the times come from.
enum Pace {
    Closed(u64),
    Open {
        schedule: Schedule,
        /// Of the next record; `None` behind the last one.
        next_ns: Option<u64>,
    },
}

/// One run of the schedule.
struct Window {
    pace: Pace,
    started_ns: u64,
    end_ns: u64,
    records_left: u64,
    /// A full send queue is in the way, or was, and what is overdue for it is not all sent.
    is_behind: bool,
}

impl Engine {
    /// Makes the records' values.
    ///
    /// # Errors
    /// A figure that cannot work, or a file that can't be read.
    pub fn new(spec: LoadSpec, client: Box<dyn Producing>) -> Result<Self, ClientError> {
        spec.check()?;
        let mut seeds = ChaCha8Rng::seed_from_u64(spec.seed);
        let mut seed = || seeds.random::<u64>();
        Ok(Self {
            pool: RecordPool::build(&spec.payload, spec.producer.batch_bytes, seed())?,
            keys: KeySource::open(&spec.keys, seed())?,
            placer: Placer::new(
                spec.partitioner,
                spec.spread.partitions,
                spec.producer.batch_bytes,
                seed(),
            ),
            stamp: Stamp {
                run: seed() as u32,
                sequence: spec.first_sequence,
                intended_ns: 0,
            },
            recorder: Recorder::new(),
            place: None,
            wall: WallClock::read(),
            runs: 0,
            client,
            spec,
        })
    }

    /// The client.
    pub fn client(&self) -> &dyn Producing {
        self.client.as_ref()
    }

    /// What the stamps of its records say of their origin.
    pub fn stamp_run(&self) -> u32 {
        self.stamp.run
    }

    /// Sends what is due within `duration`, and waits for the acknowledgements; nothing is on its way before and after. Each run begins its
    /// schedule anew. `on_tick` may end the sending before.
    ///
    /// # Errors
    /// The client is of no use any more, or the trace can't be read. Records that fail are counted.
    pub fn run(
        &mut self,
        duration: Duration,
        on_tick: &mut dyn FnMut(&Tick<'_>) -> ControlFlow<()>,
    ) -> Result<Loaded, ClientError> {
        clock::exact_sleeps();
        let schedule = self.spec.arrivals.schedule(self.spec.seed.wrapping_add(self.runs))?;
        self.runs += 1;
        let pace = match (schedule, &self.spec.arrivals) {
            (Some(mut schedule), _) => Pace::Open {
                next_ns: schedule.next_ns()?,
                schedule,
            },
            (None, Arrivals::Closed { outstanding }) => Pace::Closed(u64::from(*outstanding)),
            (None, other) => return Err(ClientError::Spec(format!("{other:?} has no times"))),
        };
        let counts_before = self.client.counts();
        let started_ns = now_ns();
        let mut window = Window {
            pace,
            started_ns,
            end_ns: started_ns.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)),
            records_left: self.spec.records_max.unwrap_or(u64::MAX),
            is_behind: false,
        };
        self.send_all(&mut window, on_tick)?;
        let ended_ns = now_ns();
        self.flush()?;

        let data_ended = window.has_ended_early();
        let unsent_records = window.unsent()?;
        let finished = self.recorder.finish(started_ns, ended_ns);
        let mut loaded = finished.map_err(|strays| {
            ClientError::Spec(format!(
                "the client told twice of records, or of others: {strays} times; this is a defect"
            ))
        })?;
        loaded.stamp_run = self.stamp.run;
        loaded.counts = self.client.counts() - counts_before;
        loaded.phase.send_calls = loaded.counts.send_calls;
        loaded.phase.receive_calls = loaded.counts.receive_calls;
        loaded.phase.data_ended = data_ended;
        loaded.unsent_records = unsent_records;
        if self.spec.arrivals.is_open() {
            let seconds = window.end_ns.min(ended_ns).saturating_sub(started_ns).max(1) as f64 / 1e9;
            loaded.intended_rate = (loaded.sent_records + unsent_records) as f64 / seconds;
        }
        Ok(loaded)
    }

    fn send_all(
        &mut self,
        window: &mut Window,
        on_tick: &mut dyn FnMut(&Tick<'_>) -> ControlFlow<()>,
    ) -> Result<(), ClientError> {
        let mut tick_ns = window.started_ns + TICK_NS;
        loop {
            let mut now = now_ns();
            if now >= tick_ns {
                tick_ns = now + TICK_NS;
                let told = on_tick(&self.tick(window, now));
                self.recorder.next_interval();
                if told.is_break() {
                    return Ok(());
                }
            }
            if window.is_over(now) {
                return Ok(());
            }
            let mut is_full = false;
            for number in 0..RUN_RECORDS {
                if number % CLOCK_RECORDS == CLOCK_RECORDS - 1 {
                    now = now_ns();
                }
                let Some(intended_ns) = window.due(now, self.recorder.outstanding()) else {
                    window.is_behind = false;
                    break;
                };
                if self.offer(intended_ns, now, window.is_behind)? == Handed::Full {
                    (is_full, window.is_behind) = (true, true);
                    break;
                }
                window.advance()?;
            }
            let until_ns = match is_full {
                true => now + FULL_NS,
                false => window.wake_ns(self.recorder.outstanding()),
            };
            let recorder = &mut self.recorder;
            self.client
                .poll(until_ns.min(tick_ns), &mut |told| recorder.delivered(told))?;
        }
    }

    /// Offers the record whose turn it is.
    fn offer(&mut self, intended_ns: u64, now: u64, is_behind: bool) -> Result<Handed, ClientError> {
        let Some(token) = self.recorder.token() else {
            return Ok(Handed::Full);
        };
        let value = self.pool.front();
        let place = *self.place.get_or_insert_with(|| {
            self.keys.advance();
            let key = self.keys.front();
            self.placer.place(key, value.len() + key.map_or(0, <[u8]>::len))
        });
        self.stamp.intended_ns = intended_ns;
        if self.spec.payload.stamped {
            self.stamp.write(value);
        }
        let key = self.keys.front();
        let handed = self.client.send(Outgoing {
            place,
            key,
            value,
            timestamp_ms: self.wall.at_ms(now),
            token,
        })?;
        if handed == Handed::Taken {
            let bytes = value.len() + key.map_or(0, <[u8]>::len);
            self.recorder.enqueued(intended_ns, now, bytes, is_behind);
            self.place = None;
            self.stamp.sequence += 1;
            self.pool.advance();
        }
        Ok(handed)
    }

    fn flush(&mut self) -> Result<(), ClientError> {
        let patience_ms = match self.spec.patience_ms {
            Some(ms) => u64::from(ms),
            None => u64::from(self.spec.producer.delivery_timeout_ms) + FLUSH_EXTRA_MS,
        };
        let recorder = &mut self.recorder;
        self.client
            .flush(now_ns() + patience_ms * NS_PER_MS, &mut |told| recorder.delivered(told))
    }

    fn tick(&self, window: &Window, now: u64) -> Tick<'_> {
        Tick {
            now_ns: now,
            elapsed_ns: now.saturating_sub(window.started_ns),
            sent: self.recorder.sent,
            acked: self.recorder.acked,
            bytes: self.recorder.acked_bytes,
            failed: self.recorder.failed,
            outstanding: self.recorder.outstanding(),
            behind_ns: now.saturating_sub(window.next_ns().unwrap_or(u64::MAX)),
            interval: &self.recorder.interval,
        }
    }
}

impl Window {
    /// When the next record of the schedule is due, if it is within the window.
    fn next_ns(&self) -> Option<u64> {
        match &self.pace {
            Pace::Closed(_) => None,
            Pace::Open { next_ns, .. } => next_ns
                .map(|at_ns| self.started_ns.saturating_add(at_ns))
                .filter(|at_ns| *at_ns < self.end_ns && self.records_left > 0),
        }
    }

    /// The intended time of a record that may be sent now.
    fn due(&self, now: u64, outstanding: u64) -> Option<u64> {
        match &self.pace {
            Pace::Closed(max) => (outstanding < *max && now < self.end_ns && self.records_left > 0).then_some(now),
            Pace::Open { .. } => self.next_ns().filter(|at_ns| *at_ns <= now),
        }
    }

    /// The record that was due is sent.
    fn advance(&mut self) -> Result<(), ClientError> {
        self.records_left -= 1;
        if let Pace::Open { schedule, next_ns } = &mut self.pace {
            *next_ns = schedule.next_ns()?;
        }
        Ok(())
    }

    /// Until when there is nothing to send, if no acknowledgement comes.
    fn wake_ns(&self, outstanding: u64) -> u64 {
        match &self.pace {
            Pace::Closed(max) if outstanding < *max => 0,
            Pace::Closed(_) => self.end_ns,
            Pace::Open { .. } => self.next_ns().unwrap_or(self.end_ns),
        }
    }

    fn is_over(&self, now: u64) -> bool {
        let nothing_due = self.next_ns().is_none();
        self.records_left == 0
            || match &self.pace {
                Pace::Closed(_) => now >= self.end_ns,
                Pace::Open { next_ns, .. } => {
                    // A trace that has ended ends the window; a schedule that goes on waits for its end.
                    (nothing_due && (next_ns.is_none() || now >= self.end_ns))
                        || now >= self.end_ns.saturating_add(BACKLOG_NS)
                }
            }
    }

    /// Whether the records ended before the time did.
    fn has_ended_early(&self) -> bool {
        self.records_left == 0 || matches!(self.pace, Pace::Open { next_ns: None, .. })
    }

    /// Records that are due in the window and were not sent, when it is over by itself.
    fn unsent(&mut self) -> Result<u64, ClientError> {
        let until_ns = self.end_ns.min(now_ns());
        let mut unsent = 0;
        while self.next_ns().is_some_and(|at_ns| at_ns < until_ns) {
            self.advance()?;
            unsent += 1;
        }
        Ok(unsent)
    }
}

#[cfg(test)]
mod tests;
