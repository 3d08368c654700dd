//! The rows of a client's trial. What can't be seen leaves no row.

use hdrhistogram::Histogram;
use results::schema::PlannedTrial;
use workloads::load::Loaded;
use workloads::load::engine::LATE_SHARE_MAX;

use super::consumers::Received;
use super::stored::Stored;
use crate::measure::outcome::{Rows, TrialOutcome};
use crate::measure::sample::ProcessSample;
use crate::measure::window::Used;

/// No percentile with fewer samples above it.
const SAMPLES_ABOVE_MIN: f64 = 10.0;

/// What was seen of a window.
pub struct Seen<'a> {
    pub used: &'a Used,
    pub stored: &'a Stored,
    /// What consumers got; `None` without any.
    pub received: Option<&'a Received>,
}

/// The outcome of a trial.
pub fn outcome(trial: &PlannedTrial, loaded: Loaded, seen: &Seen) -> TrialOutcome {
    let phase = &loaded.phase;
    let records = phase.records.max(1) as f64;
    let seconds = phase.wall_ns.max(1) as f64 / 1e9;
    let mut rows = Rows::new(trial, &trial.target, phase, seen.used);
    if loaded.late_share > LATE_SHARE_MAX {
        rows.flag("generator");
    }
    if loaded.unsent_records > 0 {
        rows.flag("unsent");
    }
    rows.push("records_per_s", "1/s", phase.records as f64 / seconds);
    percentile(&mut rows, "latency_p999_us", &phase.latency_ns, 99.9);
    percentile(&mut rows, "service_p50_us", &loaded.service_ns, 50.0);
    percentile(&mut rows, "service_p99_us", &loaded.service_ns, 99.0);
    percentile(&mut rows, "lateness_p999_us", &loaded.lateness_ns, 99.9);
    rows.push("late_share", "1", loaded.late_share);
    rows.push("blocked_share", "1", loaded.blocked_records as f64 / records);

    process(&mut rows, "client", &seen.used.client, records);
    if let Some(broker) = &seen.used.broker {
        process(&mut rows, "broker", broker, records);
    }
    let counts = &loaded.counts;
    rows.push("requests", "1", counts.requests as f64);
    if counts.wire_bytes > 0 {
        rows.push("wire_bytes_per_record", "bytes", counts.wire_bytes as f64 / records);
    }
    if let Some(batches) = seen.stored.batches.filter(|batches| *batches > 0) {
        rows.push("batches", "1", batches as f64);
        rows.push("records_per_batch", "1", records / batches as f64);
    }
    if let Some(bytes) = seen.stored.bytes.filter(|bytes| *bytes > 0) {
        rows.push("disk_bytes_per_record", "bytes", bytes as f64 / records);
        rows.push("compression_ratio", "1", phase.delivered_bytes as f64 / bytes as f64);
    }
    if let Some(received) = seen.received {
        consumed(&mut rows, received, seen.stored);
    }
    let outcome = TrialOutcome::new(rows.done(), loaded.phase);
    match seen.received {
        // Acknowledged in time says little of what arrives.
        Some(received) => TrialOutcome {
            latency: received.end_to_end_ns.clone(),
            ..outcome
        },
        None => outcome,
    }
}

/// What consumers got: rates and latencies of the window, the rest up to the end of what they were to have.
fn consumed(rows: &mut Rows, received: &Received, stored: &Stored) {
    let seconds = received.timed_ns.max(1) as f64 / 1e9;
    rows.push("consumed_per_s", "1/s", received.timed_records as f64 / seconds);
    rows.push("consumed_mb_per_s", "MB/s", received.timed_bytes as f64 / 1e6 / seconds);
    let histogram = &received.end_to_end_ns;
    percentile(rows, "end_to_end_p50_us", histogram, 50.0);
    percentile(rows, "end_to_end_p99_us", histogram, 99.0);
    percentile(rows, "end_to_end_p999_us", histogram, 99.9);
    process(rows, "consumer", &received.used, received.records.max(1) as f64);
    rows.push("fetches", "1", received.fetches as f64);
    rows.push("idle_consumers", "1", f64::from(received.idle));
    rows.push("consumed_records", "1", received.records as f64);
    rows.push("left_records", "1", received.left(stored) as f64);
}

/// What a process used, by million records.
fn process(rows: &mut Rows, role: &str, used: &ProcessSample, records: f64) {
    let per_million = 1e6 / records;
    let cpu = used.cpu.as_secs_f64() * per_million;
    rows.push(&format!("{role}_cpu_s_per_million"), "s", cpu);
    let switches = used.context_switches as f64 * per_million;
    rows.push(&format!("{role}_context_switches_per_million"), "1", switches);
}

fn percentile(rows: &mut Rows, metric: &str, histogram: &Histogram<u64>, percentile: f64) {
    if histogram.len() as f64 * (100.0 - percentile) / 100.0 >= SAMPLES_ABOVE_MIN {
        rows.push(metric, "us", histogram.value_at_percentile(percentile) as f64 / 1e3);
    }
}
