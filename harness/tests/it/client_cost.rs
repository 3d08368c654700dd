//! `assay run` of clients that are compared: against a broker that stores nothing, and beside it against one that does.

use std::collections::BTreeSet;

use results::reader::Run;

use crate::support::{Figures, Place};

/// The smallest comparison of clients.
const TINY_COST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/tiny-cost.toml");

/// As in the definition.
const RECORD_BYTES: f64 = 100.0;

#[test]
fn clients_are_compared_where_nothing_is_stored_and_where_it_is() {
    let place = Place::new();
    let required = ["--require", "tiny-cost/batch-of-one", "--require", "tiny-cost/bound"];
    let targets = ["--target", "null", "--target", "bundled"];
    place
        .assay(&[&["run", TINY_COST], &targets[..], &required[..]].concat())
        .code(0);
    place.assert_nothing_left();
    let run = Run::open(&place.run_folder()).unwrap();
    let mut notes = run.manifest.machine.notes.iter();
    let told = notes.find(|note| note.starts_with("the native client (here) and librdkafka"));
    let told = told.expect("both clients with their settings");
    for property in [
        "acks 1",
        "linger.ms 1",
        "batch.size as the arm says",
        "enable.idempotence false",
    ] {
        assert!(told.contains(property), "{property}: {told}");
    }
    let targets: BTreeSet<&str> = run.plan.iter().map(|trial| trial.target.as_str()).collect();
    assert_eq!(targets, BTreeSet::from(["bundled", "null"]));

    let figures = Figures::of(&run);
    for trial in &run.plan {
        let figure = |metric: &str| figures.get(trial, metric);
        let of = |metric: &str| figures.need(trial, metric);
        let records = (of("records_per_s") * of("window_s")).round();
        assert_eq!(of("delivered_bytes"), records * RECORD_BYTES, "{}", trial.arm);
        assert_eq!(
            (of("batches") * of("records_per_batch")).round(),
            records,
            "{}",
            trial.arm
        );
        assert!(of("wire_bytes_per_record") > RECORD_BYTES, "{}", trial.arm);
        assert_eq!(
            figure("disk_bytes_per_record").is_some(),
            trial.target == "bundled",
            "{}",
            trial.arm
        );
        if trial.factors["arrivals"] == "constant-2000" {
            // Those that were due in 60 ms.
            assert_eq!(records, 120.0, "{}", trial.arm);
        }
    }
    assert!(run.ledger.iter().all(|entry| entry.ok), "{:?}", run.ledger);
    assert!(run.ledger.iter().all(|entry| entry.arm.starts_with("bundled/")));
}
