//! `assay run` of clients: what is acknowledged is what is stored is what can be decoded, with every codec, for each kind of acknowledgement.

use std::collections::BTreeSet;

use results::reader::Run;
use results::schema::TrialRole;

use crate::support::{Figures, Place};
use crate::targets::Guest;

/// The smallest producers.
const TINY_CLIENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/tiny-client.toml");

/// As in the definition.
const RECORD_BYTES: f64 = 100.0;
/// At the beginning of each record.
const STAMP_BYTES: f64 = 24.0;

#[test]
fn what_a_producer_is_acknowledged_is_stored_and_can_be_decoded() {
    let place = Place::new();
    let required = [
        "--require",
        "tiny-client/one-by-one",
        "--require",
        "tiny-client/batch-of-one",
    ];
    place.assay(&[&["run", TINY_CLIENT], &required[..]].concat()).code(0);
    place.assert_nothing_left();
    let folder = place.run_folder();
    assert!(!folder.join("scratch").exists());
    let run = Run::open(&folder).unwrap();
    let figures = Figures::of(&run);
    for trial in &run.plan {
        let figure = |metric: &str| figures.get(trial, metric);
        let of = |metric: &str| figures.need(trial, metric);
        let level = |factor: &str| trial.factors[factor].as_str();
        let records = (of("records_per_s") * of("window_s")).round();
        assert!(records > 0.0, "{}", trial.arm);
        assert_eq!(of("delivered_bytes"), records * RECORD_BYTES, "{}", trial.arm);
        assert!(of("client_cpu_s_per_million") > 0.0 && of("broker_cpu_s_per_million") > 0.0);
        if trial.role == TrialRole::Limit {
            assert_eq!(figure("disk_bytes_per_record"), None, "nothing is stored there");
            continue;
        }
        // Header and framing of a batch of one come to 61 bytes and some; of a full one, to next to nothing.
        let stored = of("disk_bytes_per_record");
        match (
            level("compression"),
            level("payload"),
            level("send"),
            level("batch_bytes"),
        ) {
            ("none", _, "sync", _) | ("none", _, _, "1") => assert!(stored > RECORD_BYTES + 61.0, "{stored}"),
            ("none", ..) => assert!(stored > RECORD_BYTES, "{stored}"),
            // Their stamps alone can be compressed.
            (_, "random", "async", _) => assert!(stored > RECORD_BYTES - STAMP_BYTES, "{stored}"),
            (_, _, "async", _) => assert!(stored < RECORD_BYTES, "{}: {stored}", trial.arm),
            _ => assert!(stored > 61.0, "{stored}"),
        }
        assert!(of("wire_bytes_per_record") > stored, "{}", trial.arm);
        assert!(of("requests") <= of("batches"));
    }

    assert!(run.ledger.iter().all(|entry| entry.ok), "{:?}", run.ledger);
    let arms = |role: fn(TrialRole) -> bool| {
        let of_role = run.plan.iter().filter(|trial| role(trial.role));
        of_role.map(|trial| trial.arm.as_str()).collect::<BTreeSet<&str>>()
    };
    let checked: BTreeSet<&str> = run.ledger.iter().map(|entry| entry.arm.as_str()).collect();
    assert_eq!(
        checked,
        arms(|role| role != TrialRole::Limit),
        "every arm is decoded once"
    );
    assert_eq!(arms(|role| role == TrialRole::Limit).len(), 2);
}

/// A cluster takes the arms of Kafka, which has no broker of the trial's own: topics are made and deleted, and nothing of the broker is read.
#[test]
fn a_cluster_is_asked_the_same_and_left_as_it_was() {
    let place = Place::new();
    let guest = Guest::start(&place);
    let text = std::fs::read_to_string(TINY_CLIENT).unwrap();
    let text = text
        .replace("transport =", "target = \"kafka\"\ntransport =")
        .replace("[limit]\nnull = [\"async\"]\n", "")
        .replace("limit = true\n", "");
    place.file("on-kafka.toml", text);
    let target = format!("kafka://{}", guest.address);
    place
        .assay(&[
            "run",
            "on-kafka.toml",
            "--target",
            &target,
            "--require",
            "tiny-client/one-by-one",
        ])
        .code(0);
    assert!(guest.topics().is_empty(), "topics of the run are left");
    let run = Run::open(&place.run_folder()).unwrap();
    assert!(
        run.plan
            .iter()
            .all(|trial| trial.target == "cluster" && trial.arm.starts_with("cluster/"))
    );
    assert!(run.ledger.iter().all(|entry| entry.ok), "{:?}", run.ledger);
    let metrics: BTreeSet<&str> = run.trials.iter().map(|row| row.metric.as_str()).collect();
    assert!(metrics.contains("disk_bytes_per_record") && metrics.contains("client_cpu_s_per_million"));
    assert!(
        !metrics.contains("broker_cpu_s_per_million"),
        "nobody can read it: {metrics:?}"
    );
}
