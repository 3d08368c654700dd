//! `assay run` from the definition to the report, and what is left when it is stopped. Only counts are looked at, no figure
//! that depends on the machine.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use results::reader::Run;
use results::schema::{Measurement, TrialRole};

use crate::support::{Ended, Place, TINY, closed_pipe, eventually, files};

/// The finished trials of a run: (trial, metric) to its row.
fn figures(run: &Run) -> BTreeMap<(u32, &str), &Measurement> {
    run.trials
        .iter()
        .map(|row| ((row.trial, row.metric.as_str()), row))
        .collect()
}

fn finished_trials(folder: &Path) -> BTreeSet<u32> {
    match Run::open(folder) {
        Ok(run) => run.trials.iter().map(|row| row.trial).collect(),
        Err(_) => BTreeSet::new(),
    }
}

/// Whether pages can be dropped from the page cache here, as `assay doctor` sees it.
fn can_be_cold(place: &Place) -> bool {
    let doctor = place.assay(&["doctor"]).code(0);
    doctor.stdout.contains("ok       cold cells")
}

/// The page loads nothing: all it refers to is beside it, or in itself.
fn loads_nothing(html: &str) -> bool {
    let references = ["src=\"", "href=\"", "url("].into_iter().flat_map(|opening| {
        let found = html.match_indices(opening);
        found.map(move |(at, _)| html[at + opening.len()..].split(['"', ')']).next().unwrap_or_default())
    });
    let outside = |reference: &str| reference.starts_with("//") || reference.contains(':');
    !html.contains("<script")
        && !references
            .into_iter()
            .any(|reference| outside(reference) && !reference.starts_with("data:"))
}

#[test]
fn what_loads_from_outside_is_seen() {
    assert!(loads_nothing(
        "<a href=\"charts/x.svg\"> <a href=\"trials.csv\"> <b style=\"fill:url(#clip)\">"
    ));
    for outside in [
        "<script>",
        "<img src=\"https://x/y.png\">",
        "<link href=\"//x\">",
        "@import url(http://x)",
    ] {
        assert!(!loads_nothing(outside), "{outside}");
    }
}

#[test]
fn everything_from_the_definition_to_the_report() {
    let place = Place::new();
    let cold = can_be_cold(&place);
    if !cold {
        eprintln!("the cold cell is left out: {} keeps its pages", place.path().display());
    }
    // The full profile has the A/A arm and the cold cell.
    let ended = place.tiny(&["--profile", if cold { "full" } else { "quick" }, "--seed", "7"]);
    let folder = place.run_folder();
    let verdicts = std::fs::read_to_string(folder.join("verdicts.csv")).unwrap();
    // Two blocks of 30 ms may find the two equal arms different, which makes the run INVALID, and only that is 3.
    let expected = if verdicts.contains(",INVALID,") { 3 } else { 0 };
    let ended = ended.code(expected);
    let shown = ended.says(&["tiny: Does the smallest", "report: ", "report.html"]);
    shown.complains(&["pre-loading\n", "block 1 of 2: 0 of ", "block 2 of 2: "]);
    place.assert_nothing_left();

    let left = files(&folder);
    for name in [
        "manifest.json",
        "plan.jsonl",
        "trials.csv",
        "series.csv",
        "latency.hlog",
        "ledger.csv",
        "estimates.csv",
        "verdicts.csv",
        "report.html",
        "summary.md",
        "junit.xml",
    ] {
        assert!(left.contains_key(name), "no {name} among {:?}", left.keys());
    }
    let charts: Vec<&String> = left.keys().filter(|name| name.starts_with("charts/")).collect();
    assert!(charts.len() >= 10, "{charts:?}");
    for svg in charts.iter().filter(|name| name.ends_with(".svg")) {
        assert!(
            left.contains_key(&svg.replace(".svg", ".png")),
            "{svg} has no PNG beside it"
        );
    }
    assert!(!folder.join("scratch").exists(), "the scratch folder is left");
    let html = std::str::from_utf8(&left["report.html"]).unwrap();
    assert!(
        loads_nothing(html) && html.contains("<svg"),
        "the page is not self-contained"
    );

    let run = Run::open(&folder).unwrap();
    assert_eq!(run.notes, Vec::<String>::new());
    let arms = if cold { 7 } else { 4 };
    assert_eq!(run.plan.len(), 2 * arms);
    assert_eq!(
        finished_trials(&folder),
        run.plan.iter().map(|trial| trial.trial).collect()
    );
    let figures = figures(&run);
    for trial in &run.plan {
        let figure = |metric: &str| {
            let row = figures.get(&(trial.trial, metric));
            row.unwrap_or_else(|| panic!("no {metric} of {}", trial.arm)).value
        };
        assert!(figure("delivered_bytes") > 0.0 && figure("responses") > 0.0);
        let (switches, copies) = match trial.factors["fetch.path"].as_str() {
            "sendfile" | "bare-sendfile" => (2.0, 0.0),
            "read-write" | "bare-read-write" => (4.0, 2.0),
            other => panic!("{other} was not planned"),
        };
        if trial.role != TrialRole::Limit {
            // The first and the last response of a window may be smaller, and each is one call or two all the same.
            assert_eq!(figure("body_switches_per_response"), switches, "{}", trial.arm);
        }
        assert_eq!(figure("user_copied_bytes_per_byte"), copies, "{}", trial.arm);
        match trial.factors["cache"].as_str() {
            "cold" => assert!(figure("resident_share_before") <= 0.01, "{}", trial.arm),
            _ => assert_eq!(figure("resident_share_before"), 1.0, "{}", trial.arm),
        }
    }

    // Each arm with a broker is checked once, all of it.
    assert!(run.ledger.iter().all(|entry| entry.ok), "{:?}", run.ledger);
    let checked: BTreeSet<&str> = run.ledger.iter().map(|entry| entry.arm.as_str()).collect();
    let with_broker = run.plan.iter().filter(|trial| trial.role != TrialRole::Limit);
    assert_eq!(checked, with_broker.map(|trial| trial.arm.as_str()).collect());
    assert!(
        run.ledger
            .iter()
            .any(|entry| entry.check == "records" && entry.observed == "8192")
    );
    let every_arm: BTreeSet<&str> = run.plan.iter().map(|trial| trial.arm.as_str()).collect();
    assert_eq!(
        run.latencies.keys().map(String::as_str).collect::<BTreeSet<_>>(),
        every_arm
    );
    assert!(run.latencies.values().all(|histogram| !histogram.is_empty()));

    assert!(verdicts.contains("tiny,bundled,switches,"), "{verdicts}");
    let manifest = &run.manifest;
    assert_eq!(
        (manifest.seed, manifest.targets.len(), manifest.command[0].as_str()),
        (7, 1, "assay")
    );
    assert!(manifest.machine.memory_bytes > 0 && !manifest.machine.kernel.is_empty());
}

#[test]
fn the_same_seed_gives_the_same_plan_and_payload() {
    let place = Place::new();
    for seed in ["11", "11", "12"] {
        place.tiny(&["--seed", seed]).code(0);
    }
    let of = |folder: &Path| {
        let run = Run::open(folder).unwrap();
        let sums: BTreeSet<String> = run
            .ledger
            .iter()
            .filter(|entry| entry.check == "payload checksum")
            .map(|entry| entry.observed.clone())
            .collect();
        assert_eq!(sums.len(), 1, "every arm delivers the same payload");
        (std::fs::read(folder.join("plan.jsonl")).unwrap(), sums)
    };
    let [first, again, other] = &place.runs()[..] else {
        panic!("three runs leave three folders")
    };
    assert_eq!(of(first), of(again));
    assert_ne!(of(first).0, of(other).0);
    assert_ne!(of(first).1, of(other).1);
}

#[test]
fn required_claims_decide_the_exit_code() {
    let place = Place::new();
    // Counts are exact, so these verdicts do not depend on the machine.
    place.tiny(&["--require", "tiny/switches"]).code(0);
    place.tiny(&["--require", "tiny/no-copy-at-all"]).code(1);
    place.tiny(&["--require", "tiny"]).code(1);
    place.tiny(&[]).code(0);
    // Two blocks can't confirm anything about a speed; nor can they refute it, unless by a fluke.
    let claim = "[[claims]]\nid = \"a-million\"\nkind = \"counts\"\nmetric = \"latency\"\nexpected = { sendfile = 1 }\ntext = \"Never measured.\"\n\n";
    let metric = "[[metrics]]\nname = \"latency\"\nlabel = \"Latency\"\nunit = \"us\"\nbetter = \"lower\"\n\n";
    let text = std::fs::read_to_string(TINY).unwrap();
    let text = text.replacen("[profile.quick]", &format!("{metric}{claim}[profile.quick]"), 1);
    place.file("unknown.toml", text);
    let ended = place.assay(&["run", "unknown.toml", "--require", "tiny/a-million"]);
    ended.code(2).says(&["INCONCLUSIVE"]);
    place
        .tiny(&["--require", "tiny/none"])
        .code(3)
        .complains(&["tiny claims switches, no-copy-at-all"]);
    place
        .tiny(&["--require", "zero-copy"])
        .code(3)
        .complains(&["'zero-copy' is not among the experiments of this run"]);
    assert_eq!(place.runs().len(), 5, "what is wrong is told before a run begins");
}

#[test]
fn a_payload_of_the_users() {
    let place = Place::new();
    place.file("three.log", "first line\nsecond, longer line\nthird\n");
    place.tiny(&["--payload", "three.log"]).code(0);
    let run = Run::open(&place.run_folder()).unwrap();
    assert!(run.ledger.iter().all(|entry| entry.ok));
    let notes = run.manifest.machine.notes.join("\n");
    assert!(notes.contains("payload: lines of three.log"), "{notes}");

    place.tiny(&["--payload", "three.log", "--cut", "16"]).code(0);
    let run = Run::open(&place.runs()[1]).unwrap();
    assert!(
        run.manifest
            .machine
            .notes
            .join("\n")
            .contains("three.log in records of 16 bytes")
    );

    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/HDFS_2k.log");
    if shared.is_file() {
        place.tiny(&["--payload", shared.to_str().unwrap()]).code(0);
    } else {
        eprintln!("skipped: real logs, {} is not there", shared.display());
    }
}

#[test]
fn a_payload_that_cannot_be_used_is_told_before_the_run() {
    let place = Place::new();
    place.file("empty.log", "");
    place.file("long.log", vec![b'x'; 2_000_000]);
    std::fs::create_dir(place.path().join("folder.log")).unwrap();
    for (file, what) in [
        ("missing.log", "give the path of a readable file"),
        ("empty.log", "give a file with content"),
        ("long.log", "cut the file by size instead of by line"),
        ("folder.log", "not a regular file"),
    ] {
        place.tiny(&["--payload", file]).code(3).complains(&[file, what]);
    }
    place
        .tiny(&["--payload", "long.log", "--cut", "0"])
        .code(3)
        .complains(&["--cut", "`lines` or a number of bytes"]);
    assert_eq!(place.runs().len(), 0);
}

#[test]
fn ctrl_c_keeps_what_is_finished() {
    let place = Place::new();
    let arguments = ["run", TINY, "--blocks", "500"];
    let child = place.start(&arguments);
    let pid = Pid::from_raw(child.id() as i32);
    eventually("five trials are finished", || {
        place
            .runs()
            .first()
            .is_some_and(|folder| finished_trials(folder).len() >= 5)
    });
    kill(pid, Signal::SIGINT).unwrap();
    let ended = Ended::of(&arguments, child).code(130);
    place.assert_nothing_left();
    let folder = place.run_folder();
    assert!(!folder.join("scratch").exists());

    let kept = finished_trials(&folder).len();
    let folder = folder.strip_prefix(place.path()).unwrap().to_str().unwrap();
    ended.complains(&[&format!(
        "interrupted: {kept} of 2000 trials are kept; draw them with: assay report {folder}"
    )]);
    let report = place.assay(&["report", folder]).code(0);
    report.says(&[&format!("{} of 2000 planned trials are missing", 2000 - kept)]);
    assert!(place.path().join(folder).join("report.html").is_file());
}

#[test]
fn ctrl_c_before_the_first_trial() {
    let place = Place::new();
    let arguments = ["run", TINY, "--blocks", "500"];
    let child = place.start(&arguments);
    let pid = Pid::from_raw(child.id() as i32);
    eventually("the folder is there", || {
        place
            .runs()
            .first()
            .is_some_and(|folder| folder.join("plan.jsonl").is_file())
    });
    kill(pid, Signal::SIGINT).unwrap();
    Ended::of(&arguments, child).code(130).complains(&["interrupted: "]);
    place.assert_nothing_left();
    let folder = place.run_folder();
    assert!(!folder.join("scratch").exists());
    place.assay(&["report", folder.to_str().unwrap()]).code(0);
}

#[test]
fn a_killed_harness_takes_its_children_along() {
    let place = Place::new();
    let arguments = ["run", TINY, "--window-ms", "60000"];
    let child = place.start(&arguments);
    let pid = Pid::from_raw(child.id() as i32);
    // The harness, a sender and a receiver in the middle of a window of a minute.
    eventually("sender and receiver run", || place.processes().len() == 3);
    kill(pid, Signal::SIGKILL).unwrap();
    assert_eq!(Ended::of(&arguments, child).code, None);
    place.assert_nothing_left();
    // What nobody could remove then, the next run removes.
    let scratch = place.run_folder().join("scratch");
    assert!(scratch.is_dir());
    place
        .tiny(&[])
        .code(0)
        .complains(&["removed ", "which a killed run left"]);
    assert!(!scratch.exists());
}

#[test]
fn an_arm_that_was_never_measured_is_an_error_and_the_others_are_kept() {
    // A file system in memory keeps its pages, so that no cell can be cold.
    let shm = Path::new("/dev/shm");
    let in_memory =
        nix::sys::statfs::statfs(shm).is_ok_and(|stat| stat.filesystem_type() == nix::sys::statfs::TMPFS_MAGIC);
    let Some(out) = in_memory.then(|| tempfile::tempdir_in(shm).ok()).flatten() else {
        eprintln!("skipped: /dev/shm is no file system in memory");
        return;
    };
    let place = Place::new();
    let ended = place
        .tiny(&["--profile", "full", "--out", out.path().to_str().unwrap()])
        .code(3);
    ended.complains(&[
        "stay in the page cache after it was dropped: use a folder on a disk file system",
        "these arms failed, they were not measured: read-write/64KiB/discard/cold, sendfile/64KiB/discard/cold",
    ]);
    let folder = std::fs::read_dir(out.path()).unwrap().next().unwrap().unwrap().path();
    let run = Run::open(&folder).unwrap();
    let (failed, measured): (Vec<_>, Vec<_>) = run.plan.iter().partition(|trial| trial.factors["cache"] == "cold");
    let figures = figures(&run);
    assert!(
        failed
            .iter()
            .all(|trial| figures.contains_key(&(trial.trial, "failed")))
    );
    assert!(
        measured
            .iter()
            .all(|trial| figures.contains_key(&(trial.trial, "throughput")))
    );
}

#[test]
fn two_runs_at_once_share_a_folder() {
    let place = Place::new();
    let children: Vec<_> = (0..2).map(|_| place.start(&["run", TINY, "--seed", "3"])).collect();
    for child in children {
        Ended::of(&["run"], child).code(0);
    }
    let runs = place.runs();
    assert_eq!(runs.len(), 2);
    for folder in runs {
        let run = Run::open(&folder).unwrap();
        assert_eq!(finished_trials(&folder).len(), run.plan.len());
        assert!(run.ledger.iter().all(|entry| entry.ok) && !run.ledger.is_empty());
    }
}

#[test]
fn a_reader_that_leaves_does_not_stop_a_run() {
    let place = Place::new();
    let mut command = place.command(&["run", TINY]);
    command.stdout(closed_pipe()).stderr(closed_pipe());
    Ended::of(&["run"], command.spawn().unwrap()).code(0);
    assert!(place.run_folder().join("report.html").is_file());
}

#[test]
fn a_report_is_drawn_again_from_the_files_alone() {
    let place = Place::new();
    place.tiny(&[]).code(0);
    let folder = place.run_folder();
    let measured = files(&folder);
    for name in [
        "estimates.csv",
        "verdicts.csv",
        "report.html",
        "summary.md",
        "junit.xml",
    ] {
        std::fs::remove_file(folder.join(name)).unwrap();
    }
    std::fs::remove_dir_all(folder.join("charts")).unwrap();
    place.assay(&["report", folder.to_str().unwrap()]).code(0);
    let again = files(&folder);
    assert_eq!(again.keys().collect::<Vec<_>>(), measured.keys().collect::<Vec<_>>());
    for (name, content) in &measured {
        assert!(again[name] == *content, "{name} differs when it is drawn again");
    }
}
