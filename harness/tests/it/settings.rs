//! `assay run` of loads whose factors are settings of the bundled broker: a broker and a folder for each trial, exact counts, bare loops.

use std::collections::BTreeSet;

use results::reader::Run;
use results::schema::TrialRole;

use crate::support::{Figures, Place};

/// The smallest load with a broker per trial.
const TINY_SETTINGS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/tiny-settings.toml");

#[test]
fn each_trial_has_a_broker_of_its_own_with_the_levels_as_settings() {
    let place = Place::new();
    place
        .assay(&["run", TINY_SETTINGS, "--require", "tiny-settings/no-flush"])
        .code(0)
        .says(&["tiny-settings: Does the smallest", "Confirmed in all 3 arms"]);
    place.assert_nothing_left();
    let folder = place.run_folder();
    assert!(!folder.join("scratch").exists());
    let run = Run::open(&folder).unwrap();
    assert_eq!(run.plan.len(), 2 * (2 + 2 + 2 + 3));

    let figures = Figures::of(&run);
    for trial in &run.plan {
        let figure = |metric: &str| figures.get(trial, metric);
        let of = |metric: &str| figures.need(trial, metric);
        assert!(
            of("throughput") > 0.0 && of("broker_cpu_ms_per_mb") > 0.0,
            "{}",
            trial.arm
        );
        assert!(of("records_per_s") > 0.0, "{}", trial.arm);
        match (trial.role, trial.factors["flush.policy"].as_str()) {
            (TrialRole::Limit, "bare-append-fdatasync") => {
                let group = of("bytes_per_flush");
                assert!(group >= 16_384.0 && group % 16_384.0 == 0.0, "{group}");
                assert_eq!(of("delivered_bytes"), group * of("flushes"));
                assert_eq!(figure("client_cpu_ms_per_mb"), None, "it has no client");
            }
            (TrialRole::Limit, bare) => {
                assert_eq!((bare, figure("flushes")), ("bare-receive-append", None));
                assert!(of("delivered_bytes") <= 4_194_304.0);
            }
            (_, policy) => {
                assert!(
                    of("open_files") >= trial.factors["partitions"].parse().unwrap(),
                    "{}",
                    trial.arm
                );
                let is_flushed = policy == "every-batch" && trial.factors["workload"] == "produce";
                assert_eq!(of("flushes") > 0.0, is_flushed, "{}", trial.arm);
                if is_flushed {
                    // All that was acknowledged in the window was made durable in it, and nothing else.
                    assert_eq!((of("bytes_per_flush") * of("flushes")).round(), of("delivered_bytes"));
                }
            }
        }
    }

    assert!(run.ledger.iter().all(|entry| entry.ok), "{:?}", run.ledger);
    let checked: BTreeSet<&str> = run.ledger.iter().map(|entry| entry.arm.as_str()).collect();
    let with_broker = run.plan.iter().filter(|trial| trial.role != TrialRole::Limit);
    assert_eq!(checked, with_broker.map(|trial| trial.arm.as_str()).collect());
    let touched = run
        .phases
        .iter()
        .filter(|point| point.metric == "first_batch_of_each_partition");
    assert_eq!(touched.count(), 2 * 4, "once for each trial that produces");

    let [receipt] = &run.manifest.targets[..] else {
        panic!("{:?}", run.manifest.targets)
    };
    assert!(!receipt.effective_config.contains_key("flush.policy"));
    assert_eq!(
        receipt.durability_class,
        "flush.policy as the arm says, acks=all, 1 replica"
    );
    let verdicts = std::fs::read_to_string(folder.join("verdicts.csv")).unwrap();
    assert!(
        verdicts.contains("tiny-settings,bundled,keeps,") && verdicts.contains("of-the-limit,"),
        "{verdicts}"
    );
    let estimates = std::fs::read_to_string(folder.join("estimates.csv")).unwrap();
    assert!(
        estimates.contains(",every-batch,every-batch@partitions=1,throughput,"),
        "{estimates}"
    );
    assert!(estimates.contains(",every-batch,bare-append-fdatasync,"), "{estimates}");
}

#[test]
fn a_setting_or_level_that_the_broker_does_not_know_is_told_before_anything_starts() {
    let place = Place::new();
    let text = std::fs::read_to_string(TINY_SETTINGS).unwrap();
    for (from, to, complaint) in [
        (
            "levels = [\"never\", \"every-batch\"]",
            "levels = [\"never\", \"every-batch\", \"sometimes\"]",
            "sometimes",
        ),
        ("flush.policy", "flush.polcy", "flush.polcy"),
    ] {
        place.file("wrong.toml", text.replace(from, to));
        place.assay(&["run", "wrong.toml"]).code(3).complains(&[complaint]);
    }
    assert_eq!(place.runs().len(), 0);
}
