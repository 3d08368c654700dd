//! Assignments without a broker, from the definition to the verdict.

use results::reader::Run;

use crate::support::{Figures, Place};

const TINY_ASSIGNORS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/tiny-assignors.toml");

#[test]
fn what_moves_is_counted_and_every_partition_has_an_owner() {
    let place = Place::new();
    place
        .assay(&["run", TINY_ASSIGNORS, "--require", "tiny-assignors/second"])
        .code(0);
    place.assert_nothing_left();
    let run = Run::open(&place.run_folder()).unwrap();
    assert!(run.manifest.targets.is_empty(), "there is no broker to tell of");
    assert!(
        !run.manifest.machine.notes.join("\n").contains("payload"),
        "no record is made"
    );
    let figures = Figures::of(&run);
    for trial in &run.plan {
        let figure = |metric: &str| figures.need(trial, metric);
        // 24 partitions among eight members: the ninth one gets two. 36 are one apart at most.
        let is_join = trial.factors["change"] == "join";
        assert_eq!(figure("moved_least"), if is_join { 2.0 } else { 0.0 });
        assert_eq!(figure("imbalance"), 1.0);
        let (moved, stopped) = match trial.factors["assignor"].as_str() {
            "range" if is_join => continue,
            "range" => (20.0, 24.0),
            "roundrobin" if is_join => continue,
            "roundrobin" => (0.0, 24.0),
            "sticky" => (figure("moved_least"), 24.0),
            _ => (figure("moved_least"), figure("moved_least")),
        };
        assert_eq!((figure("moved"), figure("stopped")), (moved, stopped), "{}", trial.arm);
    }
    assert_eq!(run.ledger.len(), 8 * 2);
    assert!(
        run.ledger
            .iter()
            .all(|entry| entry.ok && entry.expected == entry.observed)
    );
    // A claim that does not hold is refuted, also by counts that nobody measured with a clock.
    place
        .assay(&["run", TINY_ASSIGNORS, "--require", "tiny-assignors/range-moves"])
        .code(1);
}
