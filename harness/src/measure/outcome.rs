//! What a trial leaves: a row per metric, its latencies, its series, and the check of what it delivered.

use hdrhistogram::Histogram;
use results::schema::{LedgerEntry, Measurement, PhasePoint, PlannedTrial, SeriesPoint, TargetReceipt};
use workloads::native::PhaseResult;

use crate::measure::window::Used;

/// What a trial leaves.
#[derive(Debug)]
pub struct TrialOutcome {
    /// A row per metric.
    pub rows: Vec<Measurement>,
    /// Of every request; of every record, from end to end, where they are consumed as they come, ns.
    pub latency: Histogram<u64>,
    /// Seconds that the window took.
    pub window_s: f64,
    /// Within the window.
    pub series: Vec<SeriesPoint>,
    /// The full check, where one was asked for.
    pub ledger: Vec<LedgerEntry>,
    /// The broker's settings, where a broker was started for the trial.
    pub receipt: Option<TargetReceipt>,
    /// What came before the window, where it was recorded.
    pub phases: Vec<PhasePoint>,
}

/// Counts that the sending process makes itself, over the window.
#[derive(Debug, Default)]
pub struct SenderCounts {
    /// System calls.
    pub calls: u64,
    /// Those that move records.
    pub body_calls: u64,
    /// Responses with records.
    pub responses: u64,
    /// Bytes copied between kernel and user space.
    pub user_copied_bytes: u64,
    /// Record bytes sent.
    pub sent_bytes: u64,
}

/// The rows of a trial, in the units that its experiment shows.
pub struct Rows<'a> {
    trial: &'a PlannedTrial,
    target: &'a str,
    flags: Vec<String>,
    rows: Vec<Measurement>,
}

impl<'a> Rows<'a> {
    /// The rows that every trial has: latencies, and what the machine did.
    pub fn new(trial: &'a PlannedTrial, target: &'a str, phase: &PhaseResult, used: &Used) -> Self {
        let mut rows = Rows {
            trial,
            target,
            flags: used.flags(),
            rows: Vec::new(),
        };
        rows.push("throughput", "MB/s", phase.throughput_mb_per_s());
        for (metric, percentile) in [("latency_p50_us", 50.0), ("latency_p99_us", 99.0)] {
            // No percentile with fewer than ten samples above it.
            if phase.latency_ns.len() as f64 * (100.0 - percentile) / 100.0 >= 10.0 {
                rows.push(
                    metric,
                    "us",
                    phase.latency_ns.value_at_percentile(percentile) as f64 / 1e3,
                );
            }
        }
        rows.push("responses", "1", phase.responses as f64);
        rows.push("response_bytes_achieved", "bytes", phase.response_bytes_achieved);
        rows.push("delivered_bytes", "bytes", phase.delivered_bytes as f64);
        rows.push("window_s", "s", phase.wall_ns as f64 / 1e9);
        rows.push("steal_share", "1", used.steal_share);
        if let Some(share) = used.pressure_share {
            rows.push("cpu_pressure_share", "1", share);
        }
        // A broker that runs elsewhere leaves no row: absent is not zero.
        if let Some(broker) = &used.broker {
            // Where no record moves, nothing is counted per byte.
            if phase.moved_bytes > 0 {
                let mb = phase.moved_bytes as f64 / 1e6;
                rows.push("page_faults_per_mb", "1/MB", broker.page_faults as f64 / mb);
                rows.push("context_switches_per_mb", "1/MB", broker.context_switches as f64 / mb);
            }
            rows.push("broker_rss_mb", "MB", broker.resident_bytes as f64 / 1e6);
        }
        rows
    }

    /// One more.
    pub fn push(&mut self, metric: &str, unit: &str, value: f64) {
        self.rows.push(Measurement::of(
            self.trial,
            self.target,
            metric,
            unit,
            value,
            &self.flags,
        ));
    }

    /// Something that a reader of the rows to come must know.
    pub fn flag(&mut self, flag: &str) {
        self.flags.push(flag.to_owned());
    }

    /// All of them.
    pub fn done(self) -> Vec<Measurement> {
        self.rows
    }
}

/// The outcome of a trial that drained a topic. `counts` where the sender counts for itself, `resident_share_before` where its file
/// can be looked at.
pub fn drained(
    trial: &PlannedTrial,
    target: &str,
    phase: PhaseResult,
    used: &Used,
    counts: Option<&SenderCounts>,
    resident_share_before: Option<f64>,
) -> TrialOutcome {
    let (mb, gb) = (phase.moved_bytes as f64 / 1e6, phase.moved_bytes as f64 / 1e9);
    let mut rows = Rows::new(trial, target, &phase, used);
    rows.push("client_cpu_s_per_gb", "s/GB", used.client.cpu.as_secs_f64() / gb);
    if let Some(broker) = &used.broker {
        rows.push("broker_cpu_s_per_gb", "s/GB", broker.cpu.as_secs_f64() / gb);
    }
    if let Some(counts) = counts {
        let faults = used.broker.map_or(0, |broker| broker.page_faults) as f64;
        let responses = counts.responses.max(1) as f64;
        rows.push("syscalls_per_mb", "1/MB", counts.calls as f64 / mb);
        let copied = counts.user_copied_bytes as f64 / counts.sent_bytes.max(1) as f64;
        rows.push("user_copied_bytes_per_byte", "B/B", copied);
        let switches = 2.0 * (counts.calls as f64 + faults) / responses;
        rows.push("mode_switches_per_response", "switches", switches);
        rows.push(
            "body_switches_per_response",
            "switches",
            2.0 * counts.body_calls as f64 / responses,
        );
    }
    if let Some(share) = resident_share_before {
        rows.push("resident_share_before", "1", share);
    }
    TrialOutcome::new(rows.done(), phase)
}

impl TrialOutcome {
    /// Rows and latencies; the rest is empty.
    pub fn new(rows: Vec<Measurement>, phase: PhaseResult) -> Self {
        TrialOutcome {
            rows,
            window_s: phase.wall_ns as f64 / 1e9,
            latency: phase.latency_ns,
            series: Vec::new(),
            ledger: Vec::new(),
            receipt: None,
            phases: Vec::new(),
        }
    }
}
