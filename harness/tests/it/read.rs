//! `assay run` of readers: exact counts of what was stored, delivered and sent in one run, at the tail, catching up and cold.

use std::collections::BTreeSet;

use results::reader::Run;

use crate::support::{Figures, Place};

/// The smallest reads.
const TINY_READ: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/tiny-read.toml");

/// As in the definition.
const STORED_BYTES: f64 = 491_520.0;
const TAIL_BYTES: f64 = 245_760.0;
const BATCH_BYTES: f64 = 4_096.0;

#[test]
fn what_readers_get_is_what_is_stored() {
    let place = Place::new();
    place
        .assay(&["run", TINY_READ, "--require", "tiny-read/one-run"])
        .code(0)
        .says(&["tiny-read: Does the smallest", "Confirmed in all 4 arms"]);
    place.assert_nothing_left();
    let folder = place.run_folder();
    assert!(!folder.join("scratch").exists());
    let run = Run::open(&folder).unwrap();
    assert_eq!(run.plan.len(), 2 * (4 + 3 + 2 + 4));

    let figures = Figures::of(&run);
    for trial in &run.plan {
        let figure = |metric: &str| figures.get(trial, metric);
        let of = |metric: &str| figures.need(trial, metric);
        let level = |factor: &str| trial.factors[factor].as_str();
        assert!(
            of("throughput") > 0.0 && of("broker_cpu_ms_per_mb") > 0.0,
            "{}",
            trial.arm
        );
        let delivered = of("delivered_bytes");
        assert_eq!(delivered % BATCH_BYTES, 0.0);
        // Each call of sendfile moves a run; the other path reads and sends what its buffer holds.
        let calls = (of("record_calls_per_mb") * delivered / 1e6).round();
        let runs = (of("runs_per_response") * of("responses")).round();
        match level("fetch.path") {
            "sendfile" => assert!(calls >= runs, "{}: {calls} calls, {runs} runs", trial.arm),
            _ => assert!(calls >= 2.0 * runs, "{}: {calls} calls, {runs} runs", trial.arm),
        }
        assert_eq!((of("run_bytes") * runs).round(), delivered);
        match level("read") {
            "tail" => {
                assert_eq!(delivered, TAIL_BYTES);
                assert!(of("lag_records_max") >= 0.0 && of("lag_end_ms") >= 0.0);
                assert_eq!(figure("resident_share_before"), None);
            }
            "catch-up" => assert_eq!(of("resident_share_before"), 1.0),
            cold => {
                assert_eq!((cold, delivered), ("cold", STORED_BYTES));
                assert!(of("resident_share_before") <= 0.01);
                assert_eq!((of("responses"), of("empty_responses")), (1.0, 0.0));
            }
        }
        assert_eq!(figure("beside_mb_per_s").is_some(), level("beside") == "writes");
        assert!(figure("beside_mb_per_s").is_none_or(|rate| rate > 0.0));
    }

    // What is stored beside a reader is in the check of its arm.
    assert!(run.ledger.iter().all(|entry| entry.ok), "{:?}", run.ledger);
    let checked: BTreeSet<&str> = run.ledger.iter().map(|entry| entry.arm.as_str()).collect();
    assert_eq!(checked, run.plan.iter().map(|trial| trial.arm.as_str()).collect());
    let bytes = |arm: &str| {
        let of_arm = run.ledger.iter().filter(|entry| entry.arm == arm);
        let mut bytes = of_arm.filter(|entry| entry.check == "bytes");
        bytes.next().unwrap().observed.parse::<f64>().unwrap()
    };
    assert_eq!(bytes("sendfile/tail/writes/30"), TAIL_BYTES + 30.0 * BATCH_BYTES);
    assert_eq!(bytes("sendfile/cold/alone/3"), STORED_BYTES);
    assert!(bytes("sendfile/cold/writes/3") > STORED_BYTES);
}
