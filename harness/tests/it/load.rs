//! `assay load` as a person starts it: counts that must agree, files, what is left on a cluster, Ctrl-C, and mistakes.

use std::path::{Path, PathBuf};

use broker_under_test::ControlClient;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use results::load::{Interval, LoadRun, Timing};
use workloads::native::{Admin, Bootstrap, Security};

use crate::support::{Ended, Place, eventually};

/// `assay load` with small records in a short window.
fn load(place: &Place, arguments: &[&str]) -> Ended {
    let short = [
        "load",
        "--record-bytes",
        "100",
        "--warm-up",
        "0.2",
        "--seconds",
        "1",
        "--seed",
        "7",
    ];
    place.assay(&[&short[..], arguments].concat())
}

fn opened(folder: &Path) -> LoadRun {
    let run = LoadRun::open(folder).unwrap();
    assert!(run.notes.is_empty(), "{:?}", run.notes);
    run
}

#[test]
fn a_window_is_told_and_every_file_says_the_same() {
    let place = Place::new();
    let ended = load(
        &place,
        &[
            "--produce",
            "2000",
            "--partitions",
            "3",
            "--linger-ms",
            "50",
            "--compression",
            "lz4",
            "--consume",
            "--consumers",
            "2",
        ],
    );
    let ended = ended.code(0).says(&[
        "Load on bundled",
        "topic load, 3 partitions",
        "acknowledged",
        "2,000 records in",
        "intended to acknowledged",
        "0 a second time, 0 missing",
        "intended to received",
        "producer CPU",
        "consumer CPU",
        "broker CPU",
    ]);
    assert!(ended.stderr.contains("/s  "), "no live line:\n{}", ended.stderr);
    let folder = place.run_folder();
    let run = opened(&folder);
    let (produced, consumed) = (run.manifest.produced.unwrap(), run.manifest.consumed.unwrap());
    assert_eq!((produced.records, produced.failed_records), (2_000, 0));
    assert_eq!((produced.record_bytes, consumed.record_bytes), (200_000, 200_000));
    assert!(produced.batch_bytes < produced.raw_bytes, "{produced:?}");
    assert_eq!(
        (
            consumed.records,
            consumed.missing,
            consumed.duplicates,
            consumed.reached_end
        ),
        (2_000, Some(0), Some(0), true)
    );
    assert_eq!(run.manifest.notes, [] as [&str; 0]);
    // The intervals hold all of it, the last acknowledgements and what was received at the very end too.
    let sum = |of: fn(&Interval) -> u64| run.series.iter().map(of).sum::<u64>();
    assert_eq!(sum(|row| row.acknowledged), 2_000);
    assert_eq!(sum(|row| row.consumed.unwrap()), 2_000);
    assert_eq!(run.series.last().unwrap().lag, Some(0));
    for timing in Timing::ALL {
        assert_eq!(run.latencies[&timing].len(), 2_000, "{timing:?}");
    }
    assert!(!folder.join("scratch").exists());
    let summary = std::fs::read(folder.join("summary.md")).unwrap();
    let again = place.assay(&["report", folder.to_str().unwrap()]).code(0);
    assert_eq!(
        again.stdout,
        ended
            .stdout
            .replace(relative(&place, &folder), folder.to_str().unwrap())
    );
    assert_eq!(summary, std::fs::read(folder.join("summary.md")).unwrap());
    place.assert_nothing_left();
}

/// A folder as the command itself names it.
fn relative<'a>(place: &Place, folder: &'a Path) -> &'a str {
    folder.strip_prefix(place.path()).unwrap().to_str().unwrap()
}

#[test]
fn an_objective_that_nothing_keeps_is_told_and_decides_when_it_is_required() {
    let place = Place::new();
    let search = [
        "--find-max",
        "--objective",
        "max < 1 us",
        "--find-from",
        "4",
        "--try-seconds",
        "0.5",
    ];
    load(&place, &search)
        .code(0)
        .says(&["Not even 1 records/s keep max < 1 us.", "broken", "max was "]);
    let run = opened(&place.run_folder());
    let found = run.manifest.found.unwrap();
    assert_eq!((found.rate, found.tried.len()), (None, 3));
    assert!(run.manifest.produced.is_none() && run.series.is_empty());
    let required = [
        &["--produce", "200", "--objective", "max < 1 us", "--require-objective"][..],
        &[],
    ]
    .concat();
    load(&place, &required)
        .code(1)
        .says(&["The window broke max < 1 us: max was "]);
    let kept = [
        "--produce",
        "200",
        "--objective",
        "p50<60s",
        "--require-objective",
        "--set",
        "log.layout=commit-log",
    ];
    load(&place, &kept).code(0).says(&["The window kept p50 < 60 s."]);
    place.assert_nothing_left();
}

#[test]
fn the_clients_ceiling_stands_beside_its_load() {
    let place = Place::new();
    load(&place, &["--produce", "200", "--ceiling"])
        .code(0)
        .says(&["200 records in", "client's ceiling", "of it"]);
    let produced = opened(&place.run_folder()).manifest.produced.unwrap();
    assert!(produced.ceiling_rate.is_some_and(|rate| rate > 0.0), "{produced:?}");
    assert!(!place.run_folder().join("scratch").exists());
    place.assert_nothing_left();
}

#[test]
fn ctrl_c_ends_a_window_with_its_table() {
    let place = Place::new();
    let arguments = [
        "load",
        "--produce",
        "500",
        "--consume",
        "--seconds",
        "600",
        "--warm-up",
        "0",
    ];
    let child = place.start(&arguments);
    let rows = || {
        let folder = place.runs().first().cloned().unwrap_or_default();
        let text = std::fs::read_to_string(folder.join("series.csv")).unwrap_or_default();
        text.lines().count()
    };
    eventually("a second is over", || rows() > 1);
    kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).unwrap();
    Ended::of(&arguments, child).code(130).says(&[
        "It was interrupted",
        "intended to acknowledged",
        "intended to received",
    ]);
    let run = opened(&place.run_folder());
    let (produced, consumed) = (run.manifest.produced.unwrap(), run.manifest.consumed.unwrap());
    assert_eq!((consumed.records, consumed.missing), (produced.records, Some(0)));
    assert!(run.manifest.interrupted && produced.records > 0 && produced.failed_records == 0);
    assert_eq!(
        run.series.iter().map(|row| row.acknowledged).sum::<u64>(),
        produced.records
    );
    place.assert_nothing_left();
}

/// A broker that runs already, in a folder of its own.
struct Running {
    place: Place,
    child: Option<std::process::Child>,
    address: String,
}

impl Running {
    const ARGUMENTS: [&'static str; 5] = ["broker", "--port", "0", "--data-dir", "data"];

    fn start() -> Self {
        let place = Place::new();
        let child = Some(place.start(&Self::ARGUMENTS));
        let mut port = 0;
        eventually("the broker answers", || {
            let info = ControlClient::connect(&place.path().join("data")).and_then(|mut control| control.info());
            port = info.as_ref().map_or(0, |info| info.port);
            info.is_ok()
        });
        let address = format!("127.0.0.1:{port}");
        Self { place, child, address }
    }

    fn topics(&self) -> Vec<String> {
        let brokers: Bootstrap = self.address.parse().unwrap();
        Admin::connect(&brokers, &Security::default())
            .unwrap()
            .list_topics()
            .unwrap()
    }

    fn stop(mut self) {
        let child = self.child.take().unwrap();
        kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM).unwrap();
        Ended::of(&Self::ARGUMENTS, child).code(0);
        self.place.assert_nothing_left();
    }
}

#[test]
fn a_cluster_keeps_nothing_that_was_not_there_before() {
    let (broker, place) = (Running::start(), Place::new());
    let target = format!("kafka://{}", broker.address);
    let on = |arguments: &[&str]| load(&place, &[&["--target", &target], arguments].concat());
    on(&["--partitions", "2", "--produce", "300"])
        .code(0)
        .says(&["300 records in", "topic assay-load-"]);
    assert_eq!(broker.topics(), [] as [&str; 0]);
    on(&["--topic", "mine", "--produce", "300"])
        .code(3)
        .complains(&["there is no topic `mine`", "--partitions"]);
    on(&["--topic", "mine", "--partitions", "2", "--keep", "--produce", "300"]).code(0);
    on(&["--topic", "mine", "--produce", "300"])
        .code(0)
        .says(&["300 records in", "2 partitions"]);
    // What lies there: of both loads the records of the warm-up and of the window.
    for client in ["native", "librdkafka"] {
        // They end when they have it.
        let all = [
            "load",
            "--topic",
            "mine",
            "--consume",
            "--from",
            "earliest",
            "--seconds",
            "600",
        ];
        place
            .assay(&[&all[..], &["--target", &target, "--client", client]].concat())
            .code(0)
            .says(&["720 records in", "0 a second time", client]);
    }
    on(&["--topic", "mine", "--consume", "--consumers", "3"])
        .code(3)
        .complains(&["3 consumers share out 2 partitions"]);
    on(&["--topic", "yours", "--consume"])
        .code(3)
        .complains(&["there is no topic `yours`: give one that exists"]);
    on(&["--topic", "mine", "--partitions", "2", "--produce", "300"])
        .code(3)
        .complains(&["TopicAlreadyExists"]);
    assert_eq!(broker.topics(), ["mine"]);

    let arguments = [
        "load",
        "--target",
        &target,
        "--partitions",
        "1",
        "--produce",
        "100",
        "--seconds",
        "600",
        "--out",
        "stopped",
    ];
    let child = place.start(&arguments);
    let began = |place: &Place| -> Option<PathBuf> {
        let folder = std::fs::read_dir(place.path().join("stopped"))
            .ok()?
            .next()?
            .ok()?
            .path();
        folder.join("series.csv").exists().then_some(folder)
    };
    eventually("the window begins", || began(&place).is_some());
    assert_eq!(broker.topics().len(), 2);
    kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).unwrap();
    Ended::of(&arguments, child).code(130);
    assert_eq!(broker.topics(), ["mine"]);
    broker.stop();
    place.assert_nothing_left();
}

#[test]
fn librdkafka_carries_a_load_too() {
    let place = Place::new();
    let arguments = [
        "--produce",
        "2000",
        "--client",
        "librdkafka",
        "--producer-property",
        "linger.ms=20",
        "--consume",
        "--consumer-property",
        "fetch.wait.max.ms=50",
    ];
    load(&place, &arguments)
        .code(0)
        .says(&["2,000 records in", "librdkafka 2.", ", batches of"]);
    let run = opened(&place.run_folder());
    let (produced, consumed) = (run.manifest.produced.unwrap(), run.manifest.consumed.unwrap());
    assert_eq!((produced.records, produced.failed_records), (2_000, 0));
    assert_eq!(produced.batch_bytes, produced.raw_bytes, "nothing is compressed");
    assert_eq!(
        (consumed.records, consumed.missing, consumed.duplicates),
        (2_000, Some(0), Some(0))
    );
    for timing in [Timing::Acknowledged, Timing::EndToEnd] {
        assert_eq!(run.latencies[&timing].len(), 2_000);
    }

    let wrong = [&arguments[..4], &["--producer-property", "linger=20"]].concat();
    load(&place, &wrong)
        .code(3)
        .complains(&["linger=20: No such configuration property"]);
    place.assert_nothing_left();
}

#[test]
fn records_keys_and_times_come_from_files() {
    let place = Place::new();
    place.file("lines.log", "short\na line of a log that is long enough for a stamp\n");
    place.file("keys.txt", "first\nsecond\n");
    place.file("trace.csv", "seconds,who\n0,a\n0.01,b\n0.01,c\n0.5,d\n");
    let arguments = [
        "--produce",
        "trace:trace.csv",
        "--payload",
        "lines.log",
        "--keys",
        "keys.txt",
        "--partitions",
        "2",
        "--warm-up",
        "0",
        "--seconds",
        "60",
        "--consume",
    ];
    place
        .assay(&[&["load"], &arguments[..]].concat())
        .code(0)
        .says(&["4 records in", "0 missing"]);
    let manifest = opened(&place.run_folder()).manifest;
    assert_eq!(manifest.terms[0].1, "as recorded in trace.csv");
    assert_eq!(manifest.terms[1].1, "cut from lines.log, keys of keys.txt");
    let produced = manifest.produced.unwrap();
    // Two of each line, the short one with room for its stamp, and two of each key.
    assert_eq!(produced.record_bytes, 2 * (24 + 47) + 2 * (5 + 6));
    place.file("late.csv", "0.02\n0.01\n");
    place.file("empty.csv", "\n");
    for (file, hint) in [
        ("late.csv", "late.csv, line 2: is earlier than the line in front of it"),
        ("empty.csv", "has no record"),
        ("no.csv", "no.csv: "),
    ] {
        load(&place, &["--produce", &format!("trace:{file}")])
            .code(3)
            .complains(&[hint]);
    }
    place.assert_nothing_left();
}

#[test]
fn mistakes_have_a_hint_and_leave_nothing() {
    let place = Place::new();
    for (arguments, hints) in [
        (&[][..], &["nothing to do: give --produce RATE"][..]),
        (&["--produce", "fast"], &["`fast` is no rate", "poisson:RATE"]),
        (&["--produce", "max", "--acks", "2"], &["0, 1 or all"]),
        (
            &["--produce", "max", "--idempotence", "--acks", "1"],
            &["idempotence needs acks=-1"],
        ),
        (
            &["--produce", "max", "--record-bytes", "10"],
            &["records of 10 bytes", "choose"],
        ),
        (
            &["--produce", "max", "--compression", "brotli"],
            &["no compression: choose none, gzip"],
        ),
        (&["--produce", "max", "--client", "java"], &["native or librdkafka"]),
        (&["--produce", "max", "--seconds", "0"], &["seconds from 0.1"]),
        (
            &["--produce", "max", "--set", "no.such.setting=1"],
            &["no.such.setting"],
        ),
        (&["--find-max"], &["--find-max needs an --objective"]),
        (
            &["--find-max", "--objective", "p98<1ms"],
            &["is no objective", "p99 < 10 ms"],
        ),
        (
            &["--find-max", "--objective", "p99<1ms", "--produce", "max"],
            &["--find-max searches a rate"],
        ),
        (
            &["--produce", "5", "--target", "null", "--ceiling"],
            &["that is the ceiling"],
        ),
        (&["--consume"], &["is empty: give --produce beside --consume"]),
        (&["--produce", "5", "--consumers", "2"], &["--consume"]),
        (
            &["--produce", "5", "--consume", "--consumers", "2"],
            &["2 consumers share out 1 partitions"],
        ),
        (
            &["--produce", "5", "--consume", "--from", "earliest"],
            &["leave --from out"],
        ),
        (
            &["--produce", "5", "--consume", "--consumer-property", "x=1"],
            &["the native consumer has no property `x`", "librdkafka"],
        ),
        (
            &["--produce", "5", "--consume", "--fetch-min-bytes", "0"],
            &["fetch.min.bytes of 0: choose"],
        ),
        (
            &["--produce", "5", "--consume", "--target", "null"],
            &["null stores nothing that could be consumed"],
        ),
        (
            &["--produce", "5", "--objective", "e2e p99 < 1 s"],
            &["is about a consumer: give --consume"],
        ),
        (
            &[
                "--find-max",
                "--objective",
                "p99<1ms",
                "--find-from",
                "9k",
                "--find-to",
                "5k",
            ],
            &["the search begins at 9000 records/s, above --find-to 5000"],
        ),
        (&["--produce", "5", "--target", "rocketmq"], &["not driven yet"]),
        (
            &["--produce", "5", "--target", "kafka://h:1"],
            &["--topic", "--partitions"],
        ),
        (
            &["--produce", "5", "--target", "kafka://127.0.0.1:1", "--topic", "t"],
            &["can't connect"],
        ),
        (
            &["--produce", "5", "--client-properties", "x"],
            &["is for a kafka:// target"],
        ),
        (&["--produce", "5", "--payload", "no/such/file"], &["no/such/file"]),
        (
            &["--produce", "5", "--producer-property", "linger.ms=1"],
            &["the native producer has no property `linger.ms`", "librdkafka"],
        ),
        (
            &["--produce", "5", "--client", "librdkafka", "--connections", "2"],
            &["one connection to each broker"],
        ),
    ] {
        place.assay(&[&["load"], arguments].concat()).code(3).complains(hints);
    }
    assert_eq!(place.runs(), [] as [PathBuf; 0]);
    place.assert_nothing_left();
}
