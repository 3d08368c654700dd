//! `assay run duplicates`, made small: every duplicate in the log is one that a lost acknowledgement foretold, of both clients.

use results::reader::Run;

use crate::support::{Figures, Place};
use crate::targets::Guest;

const DUPLICATES: &str = include_str!("../../../workloads/definitions/duplicates.toml");

/// Of each trial.
const RECORDS: f64 = 600.0;

/// The claims that the few arms have cells for.
const REQUIRED: [&str; 6] = [
    "--require",
    "few-duplicates/retries",
    "--require",
    "few-duplicates/restarts",
    "--require",
    "few-duplicates/nothing-lost",
];

/// The experiment with few records, for these clients.
fn small(clients: &str) -> String {
    [
        ("name = \"duplicates\"", "name = \"few-duplicates\""),
        ("records = 10000", "records = 600"),
        ("outstanding = 2000", "outstanding = 200"),
        ("fault_every = 25", "fault_every = 12"),
        ("batch_bytes = 4096", "batch_bytes = 1024"),
        ("blocks = 2", "blocks = 1"),
        ("in_flight = [1, 5]", "in_flight = [5]"),
        ("client = [\"native\", \"librdkafka\"]", clients),
    ]
    .iter()
    .fold(DUPLICATES.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "{from}");
        text.replacen(from, to, 1)
    })
}

/// Holds each trial against itself.
fn assert_explained(run: &Run, trials: usize) {
    let figures = Figures::of(run);
    assert_eq!(run.plan.len(), trials);
    for trial in &run.plan {
        let of = |metric: &str| figures.need(trial, metric);
        let is_dropped = trial.factors["idempotence"] == "on" && trial.factors["fault"] == "lost-answers";
        let expected = if is_dropped { 0.0 } else { of("acknowledgements_lost") };
        assert_eq!(of("log_duplicates"), expected, "{}", trial.arm);
        assert_eq!(of("log_records"), RECORDS + expected, "{}", trial.arm);
        assert!(
            of("answers_lost") >= 1.0 && of("acknowledgements_lost") >= 1.0,
            "{}",
            trial.arm
        );
        // What the numbers kept out of the log came all the same.
        assert!(of("records_sent_again") >= of("acknowledgements_lost"), "{}", trial.arm);
        assert_eq!(of("log_missing"), 0.0, "{}", trial.arm);
    }
    assert!(run.ledger.iter().all(|entry| entry.ok), "{:?}", run.ledger);
}

#[test]
fn duplicates_are_those_that_lost_acknowledgements_foretell() {
    let place = Place::new();
    place.file("few.toml", small("client = [\"native\", \"librdkafka\"]"));
    place.assay(&[&["run", "few.toml"], &REQUIRED[..]].concat()).code(0);
    place.assert_nothing_left();
    assert_explained(&Run::open(&place.run_folder()).unwrap(), 8);
}

/// The proxy stands in front of somebody else's broker as well, and tells clients its own address.
#[test]
fn a_cluster_is_met_through_the_proxy_too() {
    let place = Place::new();
    let guest = Guest::start(&place);
    let text = small("client = [\"librdkafka\"]").replacen("transport =", "target = \"kafka\"\ntransport =", 1);
    place.file("few.toml", text);
    let target = format!("kafka://{}", guest.address);
    let arguments = ["run", "few.toml", "--target", &target];
    place.assay(&[&arguments, &REQUIRED[..]].concat()).code(0);
    assert!(guest.topics().is_empty(), "topics of the run are left");
    assert_explained(&Run::open(&place.run_folder()).unwrap(), 4);
}
