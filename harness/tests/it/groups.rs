//! A consumer group from the definition to the chart: real members, one trigger, the checker's judgement as ledger. Only counts are looked at.

use results::reader::Run;

use crate::support::{Figures, Place};

const TINY_GROUP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/tiny-group.toml");

#[test]
fn a_join_is_measured_judged_and_drawn() {
    let place = Place::new();
    place
        .assay(&["run", TINY_GROUP, "--require", "tiny-group/given"])
        .code(0);
    place.assert_nothing_left();
    let folder = place.run_folder();
    let run = Run::open(&folder).unwrap();
    let figures = Figures::of(&run);
    for trial in &run.plan {
        let figure = |metric: &str| figures.need(trial, metric);
        let is_eager = trial.factors["protocol"] == "range";
        assert_eq!(
            figure("partitions_given"),
            if is_eager { 6.0 } else { 2.0 },
            "{}",
            trial.arm
        );
        assert_eq!(figure("moved_least"), 2.0, "{}", trial.arm);
        assert_eq!(
            (figure("duplicates"), figure("skipped"), figure("unprocessed")),
            (0.0, 0.0, 0.0)
        );
        assert!(figure("rebalances") >= 1.0 && figure("detected_ms") > 0.0);
        // Every invariant of the checker is a check of the trial.
        let of_trial = || run.ledger.iter().filter(|entry| entry.trial == trial.trial);
        assert!(of_trial().all(|entry| entry.ok), "{:?}", run.ledger);
        for check in [
            "lost",
            "skipped",
            "unprocessed",
            "zombie_overlap",
            "condition: faults_bit",
        ] {
            assert!(of_trial().any(|entry| entry.check == check), "{check}");
        }
    }
    // One trial of each arm is kept, and drawn from its files.
    assert_eq!(run.timelines.len(), 2);
    let charts = std::fs::read_dir(folder.join("charts")).unwrap();
    let names: Vec<String> = charts
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(
        names
            .iter()
            .any(|name| name.starts_with("tiny-group-timeline-") && name.ends_with(".png")),
        "{names:?}"
    );
}
