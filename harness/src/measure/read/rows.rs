//! The rows of a read's trial.

use std::time::Duration;

use anyhow::bail;
use results::schema::PlannedTrial;

use super::beside::Both;
use super::levels::{Levels, What};
use crate::measure::load::host::Counters;
use crate::measure::outcome::{Rows, TrialOutcome};
use crate::measure::window::Used;

/// What the broker counted over a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    responses: u64,
    sent_bytes: u64,
    appended_bytes: u64,
    /// Runs of record bytes in the responses.
    runs: u64,
    /// Calls that moved records to the socket.
    record_calls: u64,
    lookup_calls: u64,
    lookup_bytes: u64,
    opens: u64,
}

impl Counted {
    /// The difference of two looks.
    pub fn between(before: &Counters, after: &Counters) -> Self {
        let delta = |name: &str| after.get(name).unwrap_or(&0) - before.get(name).unwrap_or(&0);
        Counted {
            responses: delta("fetch_responses"),
            sent_bytes: delta("fetch_bytes"),
            appended_bytes: delta("append_bytes"),
            runs: delta("fetch_slices"),
            record_calls: delta("call_body"),
            lookup_calls: delta("call_pread_lookup"),
            lookup_bytes: delta("lookup_bytes"),
            opens: delta("call_open"),
        }
    }

    /// # Errors
    /// The broker counts other traffic than its clients.
    pub fn agrees(&self, both: &Both) -> anyhow::Result<()> {
        let phase = &both.followed.phase;
        let clients = (phase.responses, phase.moved_bytes, both.written_bytes);
        let broker = (self.responses, self.sent_bytes, self.appended_bytes);
        if broker != clients {
            bail!(
                "the broker counts {broker:?} responses, bytes sent and bytes stored, its clients {clients:?}: somebody else uses it"
            );
        }
        Ok(())
    }
}

/// What else was seen of a window.
pub struct Seen<'a> {
    pub levels: &'a Levels,
    pub used: &'a Used,
    pub counted: Counted,
    /// Share of the folder's pages in the page cache when it began; `None` where nobody looked.
    pub resident_share_before: Option<f64>,
    /// Bytes that the broker had read from the device.
    pub device_bytes: Option<u64>,
}

/// The outcome of a trial. What the producer costs the broker is in the broker's figures; all are per MB that the reader got.
pub fn outcome(trial: &PlannedTrial, both: Both, seen: &Seen) -> TrialOutcome {
    let phase = both.followed.phase;
    let (mb, counted) = (phase.moved_bytes.max(1) as f64 / 1e6, &seen.counted);
    let mut rows = Rows::new(trial, &trial.target, &phase, seen.used);
    rows.push(
        "client_cpu_ms_per_mb",
        "ms/MB",
        seen.used.client.cpu.as_secs_f64() * 1e3 / mb,
    );
    if let Some(broker) = &seen.used.broker {
        rows.push("broker_cpu_ms_per_mb", "ms/MB", broker.cpu.as_secs_f64() * 1e3 / mb);
    }
    rows.push("record_calls_per_mb", "1/MB", counted.record_calls as f64 / mb);
    rows.push("lookup_calls_per_mb", "1/MB", counted.lookup_calls as f64 / mb);
    rows.push("lookup_bytes_per_mb", "B/MB", counted.lookup_bytes as f64 / mb);
    rows.push("opens_per_mb", "1/MB", counted.opens as f64 / mb);
    let responses = counted.responses.max(1) as f64;
    rows.push("runs_per_response", "1", counted.runs as f64 / responses);
    rows.push(
        "run_bytes",
        "bytes",
        counted.sent_bytes as f64 / counted.runs.max(1) as f64,
    );
    rows.push("empty_responses", "1", both.followed.empty_responses as f64);
    if let Some(bytes) = seen.device_bytes {
        let per_byte = bytes as f64 / phase.moved_bytes.max(1) as f64;
        rows.push("device_read_bytes_per_byte", "B/B", per_byte);
    }
    if let Some(share) = seen.resident_share_before {
        rows.push("resident_share_before", "1", share);
    }
    if seen.levels.is_beside_writes {
        let seconds = both.written_in.as_secs_f64().max(1e-9);
        rows.push("beside_mb_per_s", "MB/s", both.written_bytes as f64 / 1e6 / seconds);
    }
    if seen.levels.what == What::Tail {
        rows.push("lag_records_max", "1", both.followed.lag_records_max as f64);
        // Both began with the window: how long after the last acknowledgement the reader had everything.
        let behind = Duration::from_nanos(phase.wall_ns).saturating_sub(both.written_in);
        rows.push("lag_end_ms", "ms", behind.as_secs_f64() * 1e3);
    }
    TrialOutcome::new(rows.done(), phase)
}
