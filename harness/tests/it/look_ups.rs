//! Places in the bundled broker's log, from the definition to the report. Only counts are looked at.

use std::collections::BTreeSet;

use results::reader::Run;

use crate::support::{Figures, Place};

const TINY_LOOK_UP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/tiny-look-up.toml");
/// Bytes in front of the batch that is looked up: the last but one of 128.
const IN_FRONT: f64 = 126.0 * 1024.0;

#[test]
fn a_log_is_read_as_little_as_its_index_allows() {
    let place = Place::new();
    place.assay(&["run", TINY_LOOK_UP, "--require", "tiny-look-up"]).code(0);
    place.assert_nothing_left();
    let run = Run::open(&place.run_folder()).unwrap();
    assert_eq!(run.plan.len(), 9);
    let figures = Figures::of(&run);
    for trial in &run.plan {
        let figure = |metric: &str| figures.need(trial, metric);
        assert!(figure("responses") > 0.0 && figure("look_up_us") > 0.0);
        assert_eq!(figure("wrong_places"), 0.0, "{}", trial.arm);
        let (preads, read_bytes) = (figure("preads_per_look_up"), figure("bytes_read_per_look_up"));
        match (trial.factors["index"].as_str(), trial.factors["look_up"].as_str()) {
            (_, "time") => {}
            ("dense", "offset") => assert_eq!((preads, read_bytes), (0.0, 0.0)),
            // The batch is named by an entry, but that it holds the record is seen in the batch alone.
            ("dense", _) => assert!(preads <= 1.0, "{preads}"),
            ("sparse", _) => assert!(preads <= 2.0, "{preads}"),
            _ => assert!(read_bytes >= IN_FRONT, "{read_bytes} in {preads} reads"),
        }
    }
    let bytes = |index: &str| {
        let trial = run.plan.iter().find(|trial| trial.factors["index"] == index).unwrap();
        figures.need(trial, "index_bytes")
    };
    assert!(bytes("scan") < bytes("sparse") && bytes("sparse") < bytes("dense"));

    assert!(run.ledger.iter().all(|entry| entry.ok), "{:?}", run.ledger);
    // Every trial tells whether its places were right; each arm's log is read once, all of it, and is the same for all.
    let named = |check: &'static str| run.ledger.iter().filter(move |entry| entry.check == check);
    assert_eq!(named("places where the first record is the one asked for").count(), 9);
    assert_eq!(
        named("batches")
            .map(|entry| entry.observed.as_str())
            .collect::<Vec<_>>(),
        ["128"; 9]
    );
    let sums: BTreeSet<&String> = named("payload checksum").map(|entry| &entry.observed).collect();
    assert_eq!(sums.len(), 1);
}

#[test]
fn what_is_read_on_from_a_place_follows_without_a_gap() {
    let place = Place::new();
    let text = std::fs::read_to_string(TINY_LOOK_UP).unwrap();
    let text = text
        .replace("levels = [1]", "levels = [50, 99]")
        .replace("read_bytes = 0", "read_bytes = 32768");
    place.file("replay.toml", text);
    place
        .assay(&["run", "replay.toml", "--require", "tiny-look-up/right"])
        .code(0);
    let run = Run::open(&place.run_folder()).unwrap();
    assert_eq!(run.plan.len(), 18);
    let figures = Figures::of(&run);
    for trial in &run.plan {
        let read_bytes = figures.need(trial, "delivered_bytes") / figures.need(trial, "responses");
        assert!(read_bytes >= 1024.0 + 32768.0, "{}: {read_bytes}", trial.arm);
    }
    assert!(run.ledger.iter().all(|entry| entry.ok), "{:?}", run.ledger);
}
