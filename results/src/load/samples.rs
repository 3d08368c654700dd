//! Loads as they could have been, for tests.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

use super::{
    Consumed, Found, Interval, LOAD_SCHEMA_VERSION, LoadManifest, LoadRun, Percentiles, Produced, Timing, Tried,
};
use crate::schema::{MachineReceipt, TargetReceipt};

fn histogram(samples: u64, step_ns: u64) -> Histogram<u64> {
    let mut histogram = Histogram::<u64>::new_with_bounds(1, 60_000_000_000, 3).unwrap();
    for sample in 1..=samples {
        // A tail: the last samples are much slower.
        let slow = if sample > samples - samples / 200 { 12 } else { 1 };
        histogram.record(slow * (200_000 + sample * step_ns)).unwrap();
    }
    histogram
}

fn manifest() -> LoadManifest {
    let term = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    LoadManifest {
        schema_version: LOAD_SCHEMA_VERSION,
        command: vec!["assay".to_owned(), "load".to_owned()],
        started_utc: "2026-11-22T23:00:00Z".to_owned(),
        assay_version: "0.1.0".to_owned(),
        git_revision: None,
        machine: MachineReceipt {
            cpu_model: "Example CPU".to_owned(),
            cores: 2,
            transport: "loopback".to_owned(),
            virtualised: Some(true),
            ..MachineReceipt::default()
        },
        target: TargetReceipt {
            name: "bundled".to_owned(),
            version: "0.1.0".to_owned(),
            ..TargetReceipt::default()
        },
        topic: "orders".to_owned(),
        partitions: 4,
        load: None,
        consume: None,
        closed: false,
        terms: vec![
            term("arrivals", "constant, 10,000 records/s"),
            term("records", "100 bytes of json, entropy 0.5"),
            term("client", "native, batches of 64 KiB, linger 0 ms, acks all"),
        ],
        interrupted: false,
        produced: None,
        consumed: None,
        found: None,
        latency_us: BTreeMap::new(),
        notes: Vec::new(),
    }
}

/// Producing and consuming for 20 s, with every figure that there can be.
pub(crate) fn end_to_end() -> LoadRun {
    let latencies = BTreeMap::from([
        (Timing::Acknowledged, histogram(200_000, 5)),
        (Timing::EndToEnd, histogram(200_000, 9)),
        (Timing::Service, histogram(12_000, 40)),
        (Timing::Lateness, histogram(200_000, 0)),
    ]);
    let produced = Produced {
        seconds: 20.0,
        records: 200_000,
        record_bytes: 20_000_000,
        errors: BTreeMap::from([("request timed out".to_owned(), 3)]),
        failed_records: 3,
        blocked_records: 17,
        late_share: Some(0.0004),
        intended_rate: Some(10_000.0),
        achieved_rate: 9_999.8,
        requests: Some(1_999),
        batches: Some(4_000),
        wire_bytes: Some(10_400_000),
        batch_bytes: Some(10_000_000),
        raw_bytes: Some(21_000_000),
        retries: Some(1),
        client_cpu_s: Some(0.9),
        broker_cpu_s: Some(1.7),
        ceiling_rate: Some(900_000.0),
    };
    let consumed = Consumed {
        seconds: 20.1,
        records: 200_000,
        record_bytes: 20_000_000,
        duplicates: Some(0),
        missing: Some(0),
        reached_end: true,
        client_cpu_s: Some(0.4),
    };
    let interval = |second: u32| Interval {
        at_s: f64::from(second),
        seconds: 1.0,
        sent: 10_000,
        acknowledged: 10_000 - u64::from(second % 3),
        record_bytes: 1_000_000,
        failed: 0,
        outstanding: 20 + u64::from(second % 5),
        consumed: Some(9_990 + u64::from(second % 7)),
        lag: Some(100 + u64::from(second)),
        p50_us: Some(300.0 + f64::from(second)),
        p99_us: Some(1_200.0 + 40.0 * f64::from(second % 4)),
        p99_9_us: None,
        max_us: Some(9_000.0),
        end_to_end_p50_us: Some(500.0),
        end_to_end_p99_us: Some(2_000.0),
        end_to_end_p99_9_us: Some(6_000.0),
        end_to_end_max_us: Some(15_000.0),
    };
    LoadRun {
        manifest: LoadManifest {
            produced: Some(produced),
            consumed: Some(consumed),
            latency_us: latencies
                .iter()
                .map(|(timing, histogram)| (timing.tag().to_owned(), Percentiles::of(histogram)))
                .collect(),
            ..manifest()
        },
        series: (1..=20).map(interval).collect(),
        latencies,
        notes: Vec::new(),
    }
}

/// A search that found 8,000/s, with its window.
pub(crate) fn searched() -> LoadRun {
    let run = end_to_end();
    let tried = |(stage, rate): (&str, f64)| {
        let queue_us = 2e6 / (10_000.0 - rate).max(20.0);
        let kept = rate <= 8_000.0;
        Tried {
            stage: stage.to_owned(),
            rate,
            achieved_rate: rate.min(9_700.0),
            p50_us: Some(queue_us),
            p90_us: Some(2.0 * queue_us),
            p99_us: Some(4.0 * queue_us),
            p99_9_us: Some(5.0 * queue_us),
            max_us: Some(9.0 * queue_us),
            kept,
            why: if kept {
                String::new()
            } else {
                "p99 was 14 ms".to_owned()
            },
        }
    };
    let search = [
        500.0, 1_000.0, 2_000.0, 4_000.0, 8_000.0, 16_000.0, 11_300.0, 9_510.0, 8_720.0, 8_350.0,
    ];
    let rates = search.map(|rate| ("search", rate)).into_iter();
    let found = Found {
        objective: "p99 < 10 ms".to_owned(),
        quantile: 0.99,
        bound_us: 10_000.0,
        end_to_end: false,
        rate: Some(8_000.0),
        ending: "8,000 records/s keep p99 < 10 ms in 3 held runs of 3".to_owned(),
        tried: rates.chain([("confirm", 8_000.0); 3]).map(tried).collect(),
    };
    LoadRun {
        manifest: LoadManifest {
            found: Some(found),
            ..run.manifest
        },
        ..run
    }
}
