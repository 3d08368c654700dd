//! The folder of a load: appended, read back whatever happened at its end, and drawn again with the same bytes.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use hdrhistogram::Histogram;
use results::load::{
    Found, Interval, LOAD_SCHEMA_VERSION, LoadFolder, LoadManifest, LoadRun, Percentiles, Produced, Timing, Tried,
    render,
};
use results::schema::{MachineReceipt, TargetReceipt};
use tempfile::TempDir;

fn histogram(values: impl IntoIterator<Item = u64>) -> Histogram<u64> {
    let mut histogram = Histogram::<u64>::new_with_bounds(1, 60_000_000_000, 3).unwrap();
    values.into_iter().for_each(|value| histogram.record(value).unwrap());
    histogram
}

fn manifest() -> LoadManifest {
    let whole = histogram((1..=4_000).map(|sample| sample * 1_000));
    let tried = |rate: f64, kept: bool| Tried {
        stage: "search".to_owned(),
        rate,
        achieved_rate: rate,
        p50_us: Some(100.0 + rate),
        p90_us: Some(200.0 + rate),
        p99_us: Some(300.0 + rate),
        p99_9_us: None,
        max_us: Some(900.0 + rate),
        kept,
        why: if kept {
            String::new()
        } else {
            "p99 was 12 ms".to_owned()
        },
    };
    LoadManifest {
        schema_version: LOAD_SCHEMA_VERSION,
        command: vec!["assay".to_owned()],
        started_utc: "2026-11-22T23:00:00Z".to_owned(),
        assay_version: "0.1.0".to_owned(),
        git_revision: None,
        machine: MachineReceipt::default(),
        target: TargetReceipt::default(),
        topic: "orders|1".to_owned(),
        partitions: 1,
        load: Some(serde_json::json!({"seed": 7})),
        consume: None,
        closed: false,
        terms: vec![("arrivals".to_owned(), "constant".to_owned())],
        interrupted: false,
        produced: Some(Produced {
            seconds: 4.0,
            records: 4_000,
            late_share: Some(0.5),
            ..Produced::default()
        }),
        consumed: None,
        found: Some(Found {
            objective: "p99 < 10 ms".to_owned(),
            quantile: 0.99,
            bound_us: 10_000.0,
            end_to_end: false,
            rate: None,
            ending: "no rate keeps it".to_owned(),
            tried: vec![tried(200.0, true), tried(100.0, false)],
        }),
        latency_us: BTreeMap::from([("intended".to_owned(), Percentiles::of(&whole))]),
        notes: Vec::new(),
    }
}

fn write(dir: &Path) {
    let mut folder = LoadFolder::create(dir).unwrap();
    for second in 1..=4u64 {
        let samples = histogram((1..=1_000).map(|sample| ((second - 1) * 1_000 + sample) * 1_000));
        folder
            .latency(Timing::Acknowledged, second as f64 - 1.0, 1.0, &samples)
            .unwrap();
        folder
            .interval(&Interval {
                at_s: second as f64,
                seconds: 1.0,
                acknowledged: 1_000,
                p99_us: Some(990.0),
                ..Interval::default()
            })
            .unwrap();
    }
    // Nothing was received, so nothing is logged.
    folder.latency(Timing::EndToEnd, 0.0, 4.0, &histogram([])).unwrap();
    folder.manifest(&manifest()).unwrap();
}

#[test]
fn what_is_written_is_read_again_and_intervals_are_merged() {
    let dir = TempDir::new().unwrap();
    write(dir.path());
    assert!(LoadRun::is_in(dir.path()));
    let run = LoadRun::open(dir.path()).unwrap();
    assert_eq!(run.manifest, manifest());
    assert_eq!(run.series.len(), 4);
    assert_eq!((run.series[3].at_s, run.series[3].p99_us), (4.0, Some(990.0)));
    assert_eq!(run.latencies.keys().collect::<Vec<_>>(), [&Timing::Acknowledged]);
    assert_eq!(
        Percentiles::of(&run.latencies[&Timing::Acknowledged]),
        manifest().latency_us["intended"]
    );
    assert!(run.notes.is_empty(), "{:?}", run.notes);
    assert!(
        LoadFolder::create(dir.path())
            .unwrap_err()
            .to_string()
            .contains("already holds")
    );

    // Torn in the middle of a row and of an interval.
    for name in ["series.csv", "latency.hlog"] {
        let path = dir.path().join(name);
        let text = fs::read(&path).unwrap();
        fs::write(&path, &text[..text.len() - 3]).unwrap();
    }
    let torn = LoadRun::open(dir.path()).unwrap();
    assert_eq!((torn.series.len(), torn.notes.len()), (3, 2));
    assert_eq!(torn.latencies[&Timing::Acknowledged].len(), 3_000);
}

#[test]
fn a_damaged_folder_is_told_with_its_place() {
    let dir = TempDir::new().unwrap();
    write(dir.path());
    let path = dir.path().join("series.csv");
    let text = fs::read_to_string(&path).unwrap().replacen("2.0,1.0", "2.0,x", 1);
    fs::write(&path, text).unwrap();
    let error = LoadRun::open(dir.path()).unwrap_err().to_string();
    assert!(error.contains("series.csv, line 3"), "{error}");

    let path = dir.path().join("load.json");
    let newer = fs::read_to_string(&path).unwrap();
    fs::write(
        &path,
        newer.replacen("\"schema_version\": 1", "\"schema_version\": 9", 1),
    )
    .unwrap();
    let error = LoadRun::open(dir.path()).unwrap_err().to_string();
    assert!(error.contains("load.json") && error.contains("layout 9"), "{error}");
}

#[test]
fn rendering_again_gives_the_same_bytes_and_the_limit_of_the_generator_comes_first() {
    let dir = TempDir::new().unwrap();
    write(dir.path());
    let rendered = render(dir.path()).unwrap();
    let slugs: Vec<&str> = rendered.charts.iter().map(|(slug, _)| slug.as_str()).collect();
    assert_eq!(slugs, ["curve", "over-time", "latency"]);
    let summary = fs::read_to_string(dir.path().join("summary.md")).unwrap();
    for text in [
        "topic orders\\|1, 1 partition",
        "| intended to acknowledged | 2 ms |",
        "No rate keeps it.",
        "The generator was the limit: 50 % of the records",
        "](charts/curve.svg)",
    ] {
        assert!(summary.contains(text), "no {text:?} in:\n{summary}");
    }
    let curve = fs::read_to_string(dir.path().join("curve.csv")).unwrap();
    assert_eq!(
        curve.lines().nth(1),
        Some("search,200.0,200.0,300.0,400.0,500.0,,1100.0,true,")
    );
    let plain = rendered.tables.terminal(false, Some(80));
    assert!(
        plain.contains("99 %") || plain.contains("intended to acknowledged"),
        "{plain}"
    );
    assert!(!plain.contains('\u{1b}') && rendered.tables.terminal(true, None).contains('\u{1b}'));
    let png = fs::read(dir.path().join("charts/curve.png")).unwrap();
    render(dir.path()).unwrap();
    assert_eq!(summary, fs::read_to_string(dir.path().join("summary.md")).unwrap());
    assert_eq!(png, fs::read(dir.path().join("charts/curve.png")).unwrap());
}
