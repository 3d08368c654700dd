//! What a load's trial leaves: its rows, and what came before its window.

use std::time::Duration;

use results::schema::{self, PhasePoint, PlannedTrial};
use workloads::native::PhaseResult;

use super::host::Counters;
use super::topics::{Fresh, PASSES};
use crate::measure::outcome::{Rows, TrialOutcome};
use crate::measure::window::Used;

/// What was seen of the storage over a window. What can't be seen leaves no row.
#[derive(Debug, Default)]
pub struct Stored {
    /// Flushes of the broker, or of the bare loop.
    pub flushes: Option<u64>,
    /// Log bytes that those made durable.
    pub flushed_bytes: Option<u64>,
    /// Open files at its end.
    pub open_files: Option<u64>,
    /// Bytes that the device has written.
    pub device_bytes: Option<u64>,
}

impl Stored {
    /// What the broker's counters tell of a window.
    pub fn of_counters(before: &Counters, after: &Counters) -> Self {
        let delta = |name: &str| Some(after.get(name)? - before.get(name)?);
        Stored {
            flushes: delta("call_fdatasync"),
            flushed_bytes: delta("flushed_bytes"),
            ..Stored::default()
        }
    }

    /// Mean bytes that a flush made durable; `None` without flushes.
    pub fn bytes_per_flush(&self) -> Option<f64> {
        let flushes = self.flushes.filter(|flushes| *flushes > 0)?;
        Some(self.flushed_bytes? as f64 / flushes as f64)
    }
}

/// The outcome of a trial; `has_client` where the client is a process of its own.
pub fn outcome(
    trial: &PlannedTrial,
    phase: PhaseResult,
    used: &Used,
    stored: &Stored,
    has_client: bool,
) -> TrialOutcome {
    let mb = phase.moved_bytes.max(1) as f64 / 1e6;
    let seconds = phase.wall_ns.max(1) as f64 / 1e9;
    let mut rows = Rows::new(trial, &trial.target, &phase, used);
    rows.push("records_per_s", "1/s", phase.records as f64 / seconds);
    if has_client {
        let client = used.client.cpu.as_secs_f64() * 1e3 / mb;
        rows.push("client_cpu_ms_per_mb", "ms/MB", client);
    }
    if let Some(broker) = &used.broker {
        rows.push("broker_cpu_ms_per_mb", "ms/MB", broker.cpu.as_secs_f64() * 1e3 / mb);
    }
    if let Some(flushes) = stored.flushes {
        rows.push("flushes", "1", flushes as f64);
        rows.push("flushes_per_s", "1/s", flushes as f64 / seconds);
    }
    if let Some(bytes) = stored.bytes_per_flush() {
        rows.push("bytes_per_flush", "bytes", bytes);
    }
    if let Some(open) = stored.open_files {
        rows.push("open_files", "1", open as f64);
    }
    if let Some(bytes) = stored.device_bytes {
        rows.push(
            "device_bytes_per_byte",
            "B/B",
            bytes as f64 / phase.moved_bytes.max(1) as f64,
        );
    }
    TrialOutcome::new(rows.done(), phase)
}

/// What it took to make a topic and to touch each of its partitions, pass by pass.
pub fn touched(trial: &PlannedTrial, fresh: &Fresh) -> Vec<PhasePoint> {
    let passes = PASSES.iter().zip(fresh.touched_in);
    let steps = passes.map(|(pass, took)| (format!("{pass}_batch_of_each_partition"), took));
    let point = |(metric, took): (String, Duration)| PhasePoint {
        experiment: trial.experiment.clone(),
        target: trial.target.clone(),
        arm: trial.arm.clone(),
        phase: schema::Phase::FirstTouch,
        index: trial.block.saturating_sub(1),
        at_ms: took.as_millis() as u64,
        metric,
        unit: "ms".to_owned(),
        value: took.as_secs_f64() * 1e3,
    };
    let created = ("create_topic".to_owned(), fresh.created_in);
    std::iter::once(created).chain(steps).map(point).collect()
}
