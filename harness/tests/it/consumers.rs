//! `assay run` of clients with consumers: what was acknowledged was consumed, or is still in the log, and who has no partition is idle.

use std::collections::BTreeMap;

use results::reader::Run;

use crate::support::{Figures, Place};

/// The smallest consumers.
const TINY_CONSUMERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/tiny-consumers.toml");

#[test]
fn what_is_acknowledged_is_consumed_once_or_left_in_the_log() {
    let place = Place::new();
    let required = ["tiny-consumers/idle", "tiny-consumers/none-left"].map(|claim| ["--require", claim]);
    let arguments: Vec<&str> = ["run", TINY_CONSUMERS]
        .into_iter()
        .chain(required.into_iter().flatten())
        .collect();
    place.assay(&arguments).code(0);
    place.assert_nothing_left();
    let run = Run::open(&place.run_folder()).unwrap();
    let figures = Figures::of(&run);
    let checks: BTreeMap<(u32, &str), (&str, &str)> = run
        .ledger
        .iter()
        .map(|entry| {
            let sides = (entry.expected.as_str(), entry.observed.as_str());
            ((entry.trial, entry.check.as_str()), sides)
        })
        .collect();
    assert!(run.ledger.iter().all(|entry| entry.ok), "{:?}", run.ledger);
    for trial in &run.plan {
        let of = |metric: &str| figures.need(trial, metric);
        let level = |factor: &str| trial.factors[factor].as_str();
        let acknowledged = (of("records_per_s") * of("window_s")).round();
        let (consumed, left) = (of("consumed_records"), of("left_records"));
        assert!(acknowledged > 0.0, "{}", trial.arm);
        assert_eq!(consumed + left, acknowledged, "{}", trial.arm);
        let told = acknowledged.to_string();
        let found = checks[&(trial.trial, "records consumed or left in the log")];
        assert_eq!(found, (told.as_str(), told.as_str()), "{}", trial.arm);
        assert!(of("fetches") > 0.0 && of("consumer_cpu_s_per_million") > 0.0);

        let may_go_on = level("drain_ms") != "0ms";
        assert_eq!(left == 0.0, may_go_on, "{}: {left} left", trial.arm);
        if may_go_on {
            let consumers: f64 = level("consumers").split('-').next().unwrap().parse().unwrap();
            let partitions: f64 = level("partitions").parse().unwrap();
            assert_eq!(of("idle_consumers"), (consumers - partitions).max(0.0), "{}", trial.arm);
        }
    }
}
