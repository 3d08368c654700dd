//! `assay chaos` as a person starts it: exit codes, run folders, planted bugs, Ctrl-C.
//!
//! The broker is a real process that is killed by SIGKILL. Nothing here asserts how long anything takes; a watchdog ends what hangs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

const KILL_BROKER: &str = include_str!("../../../chaos/scenarios/kill-broker.toml");
/// More than ten times what any run here takes.
const WATCHDOG: Duration = Duration::from_secs(180);
/// History events have this size, and so has their file's header.
const RECORD_BYTES: usize = 56;

/// A folder to run in, and the binary.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Place(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_assay"));
        command
            .arg("chaos")
            .args(arguments)
            .current_dir(self.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn run(&self, arguments: &[&str]) -> Ended {
        Ended::of(self.command(arguments).spawn().unwrap())
    }

    /// The run folders, oldest first.
    fn folders(&self) -> Vec<PathBuf> {
        let mut folders: Vec<PathBuf> = fs::read_dir(self.path().join("assay-runs"))
            .map(|entries| entries.map(|entry| entry.unwrap().path()).collect())
            .unwrap_or_default();
        folders.sort();
        folders
    }

    fn folder(&self) -> PathBuf {
        let folders = self.folders();
        assert_eq!(folders.len(), 1, "{folders:?}");
        folders.into_iter().next().unwrap()
    }

    /// A scenario of a few quick kills.
    fn short(&self, kills: u32) -> String {
        let mut text = KILL_BROKER.to_owned();
        for (long, short) in [
            ("repeat = 20", format!("repeat = {kills}").as_str()),
            ("gap_ms = { min = 100, max = 700 }", "gap_ms = { min = 50, max = 150 }"),
            ("warm_up_ms = 1000", "warm_up_ms = 200"),
            ("settle_ms = 1000", "settle_ms = 200"),
            // Often enough that some damage falls behind the last kill: a recovery cuts off what is damaged before.
            ("damage_every = 50", "damage_every = 5"),
        ] {
            assert!(text.contains(long), "stale: {long}");
            text = text.replace(long, short);
        }
        let path = self.path().join("short.toml");
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

/// An ended process.
struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Ended {
    /// Waits for the end; a process that hangs is killed and fails the test.
    fn of(mut child: Child) -> Self {
        let (out, err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let read = |mut pipe: Box<dyn std::io::Read + Send>| {
            std::thread::spawn(move || {
                let mut text = String::new();
                pipe.read_to_string(&mut text).unwrap();
                text
            })
        };
        let (out, err) = (read(Box::new(out)), read(Box::new(err)));
        let deadline = Instant::now() + WATCHDOG;
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break Some(status);
            }
            if Instant::now() > deadline {
                child.kill().unwrap();
                child.wait().unwrap();
                break None;
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let (stdout, stderr) = (out.join().unwrap(), err.join().unwrap());
        let status = status.unwrap_or_else(|| panic!("it hangs\n{stdout}\n{stderr}"));
        Ended {
            code: status.code(),
            stdout,
            stderr,
        }
    }

    #[track_caller]
    fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{}\n{}", self.stdout, self.stderr);
        self
    }
}

fn json(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// The outcome of a check in `findings.json`.
fn outcome(folder: &Path, name: &str) -> String {
    let findings = json(&folder.join("findings.json"));
    let checks = findings["checks"].as_array().unwrap();
    let check = checks.iter().find(|check| check["name"] == name).unwrap();
    check["outcome"].as_str().unwrap().to_owned()
}

#[test]
fn a_short_run_holds_leaves_a_whole_folder_and_can_be_judged_and_replayed() {
    let place = Place::new();
    let ended = place.run(&["run", &place.short(4), "--seed", "7"]).expect(0);
    assert!(ended.stdout.contains("short: HOLDS"), "{}", ended.stdout);
    assert!(
        !ended.stdout.contains('\x1b') && !ended.stderr.contains('\x1b'),
        "colour without a terminal"
    );
    assert_eq!(ended.stderr, "", "quiet without a terminal");

    let folder = place.folder();
    let manifest = json(&folder.join("manifest.json"));
    assert_eq!(
        (&manifest["seed"], &manifest["faults"], &manifest["planted"]),
        (&Value::from(7), &Value::from(4), &Value::Null)
    );
    assert_eq!(manifest["scenario_digest"].as_str().unwrap().len(), 16);
    assert!(manifest["machine"]["kernel"].is_string());
    let settings = &manifest["targets"][0]["effective_config"];
    assert!(settings["fetch.path"].is_string(), "{manifest}");
    let findings = json(&folder.join("findings.json"));
    assert!(findings["acknowledged"].as_u64().unwrap() > 0);
    assert_eq!(
        findings["acknowledged"].as_u64().unwrap() + findings["log_duplicates"]["count"].as_u64().unwrap(),
        findings["delivered"].as_u64().unwrap() - findings["indeterminate_present"].as_u64().unwrap()
    );
    let evidence = json(&folder.join("evidence.json"));
    for fault in evidence.as_array().unwrap() {
        assert_eq!(fault["evidence"]["count"], 1);
        assert!(
            fault["evidence"]["what"]
                .as_str()
                .unwrap()
                .ends_with("ended by signal 9"),
            "{fault}"
        );
    }
    assert!(!folder.join("data").exists(), "the data of a run that holds is removed");
    assert!(folder.join("broker.log").exists() && folder.join("junit.xml").exists());

    // From its files alone the same comes out.
    let before = fs::read_to_string(folder.join("findings.json")).unwrap();
    place.run(&["check", folder.to_str().unwrap(), "--export"]).expect(0);
    assert_eq!(fs::read_to_string(folder.join("findings.json")).unwrap(), before);
    let lines = fs::read_to_string(folder.join("histories/faults.jsonl")).unwrap();
    assert_eq!(lines.lines().filter(|line| line.contains("fault-begin")).count(), 4);
    assert!(lines.lines().last().unwrap().contains("finished"));

    // The same schedule again.
    let replay = place
        .run(&["replay", folder.to_str().unwrap(), "--keep-data"])
        .expect(0);
    assert!(replay.stdout.contains("replay: HOLDS, as before"), "{}", replay.stdout);
    let again = place.folders().into_iter().find(|other| *other != folder).unwrap();
    let schedule = |folder: &Path| fs::read_to_string(folder.join("schedule.json")).unwrap();
    assert_eq!(schedule(&again), schedule(&folder));
    assert_eq!(
        json(&again.join("manifest.json"))["replay_of"].as_str(),
        folder.file_name().unwrap().to_str()
    );
    assert!(again.join("data").exists());
}

#[test]
fn the_seed_fixes_the_schedule_and_comes_from_the_clock_by_default() {
    let place = Place::new();
    let scenario = place.short(2);
    for seed in [&["--seed", "3"][..], &["--seed", "3"], &["--seed", "4"], &[]] {
        let out = format!("out-{}", fs::read_dir(place.path()).unwrap().count());
        place
            .run(&[&["run", &scenario, "--out", &out][..], seed].concat())
            .expect(0);
    }
    let mut schedules: Vec<(PathBuf, Value)> = Vec::new();
    for entry in fs::read_dir(place.path()).unwrap() {
        let out = entry.unwrap().path();
        if out.is_dir() {
            let folder = fs::read_dir(&out).unwrap().next().unwrap().unwrap().path();
            schedules.push((out, json(&folder.join("schedule.json"))));
        }
    }
    schedules.sort_by(|one, other| one.0.cmp(&other.0));
    let [first, second, third, clock] = &schedules[..] else {
        panic!("{schedules:?}");
    };
    assert_eq!(first.1, second.1);
    assert_ne!(first.1["actions"], third.1["actions"]);
    assert!(clock.1["seed"].as_u64().unwrap() > 1_600_000_000);
}

#[test]
fn planted_bugs_are_found_and_blamed() {
    for (bug, blamed) in [("ack-before-write", "lost"), ("skip-crc", "torn")] {
        let place = Place::new();
        let ended = place.run(&["run", &place.short(3), "--planted", bug]).expect(1);
        assert!(
            ended
                .stdout
                .contains(&format!("planted {bug}: found, blamed on {blamed}")),
            "{}",
            ended.stdout
        );
        let folder = place.folder();
        assert_eq!(outcome(&folder, blamed), "violated");
        assert_eq!(json(&folder.join("manifest.json"))["planted"], bug);
        assert!(folder.join("data").exists(), "the data of a violation is kept");
        let log = fs::read_to_string(folder.join("broker.log")).unwrap();
        assert!(log.contains("planted"), "{log}");
        // Judged again, the folder says the same.
        place.run(&["check", folder.to_str().unwrap()]).expect(1);
    }
}

#[test]
fn lost_responses_come_twice_only_without_idempotence_and_exactly_then() {
    let place = Place::new();
    place.run(&["run", "lost-responses", "--seed", "5"]).expect(0);
    let folder = place.folder();
    let findings = json(&folder.join("findings.json"));
    assert_eq!(
        (&findings["log_duplicates"]["count"], &findings["lost"]["count"]),
        (&0.into(), &0.into())
    );
    let resent = findings["resent"].as_u64().unwrap();
    assert!(resent > 0, "{findings}");
    assert_eq!(findings["faults"].as_array().unwrap().len(), 6);
    let replay = place.run(&["replay", folder.to_str().unwrap()]).expect(0);
    assert!(replay.stdout.contains("replay: HOLDS, as before"), "{}", replay.stdout);

    let place = Place::new();
    let ended = place
        .run(&["run", "lost-responses", "--idempotence", "off", "--seed", "5"])
        .expect(0);
    let folder = place.folder();
    let findings = json(&folder.join("findings.json"));
    assert_eq!(findings["log_duplicates"]["count"], findings["resent"]);
    assert!(findings["resent"].as_u64().unwrap() > 0);
    let by_fault: u64 = findings["faults"]
        .as_array()
        .unwrap()
        .iter()
        .map(|fault| fault["duplicates"].as_u64().unwrap())
        .sum();
    let alone: u64 = findings["unheard"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|one| one["fault"] == 0)
        .map(|one| one["duplicated"].as_u64().unwrap())
        .sum();
    assert_eq!(Value::from(by_fault + alone), findings["log_duplicates"]["count"]);
    assert!(ended.stdout.contains("drop-response: producer"), "{}", ended.stdout);
    place.run(&["check", folder.to_str().unwrap()]).expect(0);

    // A broker that forgets sequences is found, and the fault is named.
    let place = Place::new();
    let ended = place
        .run(&["run", "lost-responses", "--planted", "forget-sequences", "--seed", "5"])
        .expect(1);
    for said in [
        "found, blamed on log_duplicates",
        "its acknowledgement was lost to fault",
    ] {
        assert!(ended.stdout.contains(said), "{}", ended.stdout);
    }
}

#[test]
fn seeds_count_up_and_keep_the_folders_of_those_that_do_not_hold() {
    let place = Place::new();
    let said = place
        .run(&["run", "cut-producer", "--seeds", "2", "--seed", "3", "--repeat", "1"])
        .expect(0)
        .stdout;
    assert!(
        said.contains("seed 3: HOLDS") && said.contains("seed 4: HOLDS"),
        "{said}"
    );
    assert!(
        said.contains("of 2 seeds 2 HOLDS, 0 VIOLATED, 0 INCONCLUSIVE"),
        "{said}"
    );
    let table = fs::read_to_string(place.folder().join("seeds.csv")).unwrap();
    assert_eq!(table.lines().count(), 3, "{table}");
    assert_eq!(fs::read_dir(place.folder()).unwrap().count(), 1);

    let place = Place::new();
    let planted = ["run", "lost-responses", "--seeds", "1", "--planted", "forget-sequences"];
    let said = place.run(&planted).expect(1).stdout;
    assert!(
        said.contains("seed 1: VIOLATED") && said.contains("again with --seed 1"),
        "{said}"
    );
    assert_eq!(outcome(&place.folder().join("seed-1"), "log_duplicates"), "violated");
}

#[test]
fn a_run_that_misses_its_baseline_is_inconclusive() {
    let place = Place::new();
    let path = place.short(1);
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains("at_least = 50 "));
    fs::write(&path, text.replace("at_least = 50 ", "at_least = 1000000000 ")).unwrap();
    let ended = place.run(&["run", &path]).expect(2);
    assert!(
        ended
            .stdout
            .contains("short: INCONCLUSIVE (unknown: steady_acknowledged)"),
        "{}",
        ended.stdout
    );
    assert_eq!(outcome(&place.folder(), "lost"), "holds");
}

#[test]
fn mistakes_are_told_on_stderr_and_start_nothing() {
    let place = Place::new();
    let good = fs::read_to_string(place.short(1)).unwrap();
    let bad = place.path().join("typo.toml");
    fs::write(&bad, good.replace("producers = 4", "produsers = 4")).unwrap();
    let line = good.lines().position(|line| line.starts_with("producers")).unwrap() + 1;
    let bad = bad.to_str().unwrap();
    let at = format!("typo.toml:{line}:");
    let empty = place.path().join("empty");
    fs::create_dir(&empty).unwrap();
    let empty = empty.to_str().unwrap();
    let table: &[(&[&str], &[&str])] = &[
        (&["run", bad], &[&at, "unknown field `produsers`", "assay chaos show"]),
        (&["validate", bad], &[&at]),
        (&["run", "no-such"], &["no-such", "kill-broker"]),
        (
            &["run", "kill-broker", "--target", "kafak"],
            &["there is no target 'kafak'", "bundled"],
        ),
        (&["run", "kill-broker", "--repeat", "0"], &["1 to 10000"]),
        (
            &["run", "kill-broker", "--planted", "none"],
            &["ack-before-write, skip-crc, forget-sequences"],
        ),
        (&["run", "cut-producer", "--seeds", "0"], &["--seeds"]),
        (&["run", "cut-producer", "--idempotence", "maybe"], &["on, off"]),
        (&["run", "kill-broker", "--set", "flush"], &["expected KEY=VALUE"]),
        (&["run", "kill-broker", "--set", "no.such.key=1"], &["no.such.key"]),
        (&["check", empty], &["scenario.json", "assay chaos run"]),
        (&["replay", empty], &["manifest.json", "assay chaos run"]),
        (&["no-such-verb"], &["no-such-verb"]),
    ];
    for (arguments, said) in table {
        let ended = place.run(arguments).expect(3);
        for what in *said {
            assert!(ended.stderr.contains(what), "{arguments:?}: {}", ended.stderr);
        }
        assert_eq!(ended.stdout, "", "{arguments:?}");
    }
    assert_eq!(place.folders(), [] as [PathBuf; 0]);
}

#[test]
fn histories_that_are_cut_short_or_damaged_are_inconclusive() {
    let place = Place::new();
    place.run(&["run", &place.short(2), "--seed", "1"]).expect(0);
    let folder = place.folder();
    let path = folder.join("histories/producer-0.bin");
    let whole = fs::read(&path).unwrap();
    assert!(whole.len() > RECORD_BYTES * 100);
    let mut flipped = whole.clone();
    flipped[RECORD_BYTES * 50 + 3] ^= 1;
    let damaged = format!("damaged record at byte {}", RECORD_BYTES * 50);
    let middle = RECORD_BYTES * (whole.len() / RECORD_BYTES / 2);
    for (bytes, said) in [
        (&whole[..whole.len() - 7], "is cut short"),
        (&whole[..middle], "is cut short"),
        (&flipped[..], damaged.as_str()),
        (&b"no history"[..], "not a history"),
    ] {
        fs::write(&path, bytes).unwrap();
        let ended = place.run(&["check", folder.to_str().unwrap()]).expect(2);
        let text = format!("{}{}", ended.stdout, ended.stderr);
        assert!(text.contains(said) && text.contains("INCONCLUSIVE"), "{said}: {text}");
    }
    fs::remove_file(&path).unwrap();
    let ended = place.run(&["check", folder.to_str().unwrap()]).expect(2);
    assert!(ended.stdout.contains("producer-0.bin is missing"), "{}", ended.stdout);
    fs::write(&path, &whole).unwrap();
    place.run(&["check", folder.to_str().unwrap()]).expect(0);
}

#[test]
fn ctrl_c_ends_with_130_and_leaves_nothing_running() {
    let place = Place::new();
    let child = place
        .command(&["run", "kill-broker", "--repeat", "1000"])
        .spawn()
        .unwrap();
    let pid = Pid::from_raw(child.id() as i32);
    let broker = await_broker(&place);
    kill(pid, Signal::SIGINT).unwrap();
    let ended = Ended::of(child).expect(130);
    assert!(ended.stderr.contains("interrupted after"), "{}", ended.stderr);
    assert!(ended.stderr.contains("assay chaos check"), "{}", ended.stderr);
    assert!(!serves(broker, &place), "the broker is still there");
    for entry in fs::read_dir("/proc").unwrap() {
        let Some(id) = entry.unwrap().file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        assert!(!serves(id, &place), "process {id} is left");
    }
    // Nothing was decided, and the folder says so.
    let folder = place.folder();
    place.run(&["check", folder.to_str().unwrap()]).expect(2);
    assert!(!folder.join("data").exists());
}

/// Waits until the run's first fault is recorded, and gives the id of a broker process of that time.
fn await_broker(place: &Place) -> u32 {
    let deadline = Instant::now() + WATCHDOG;
    let mut broker = None;
    while Instant::now() < deadline {
        for entry in fs::read_dir("/proc").unwrap() {
            let id = entry.unwrap().file_name().to_str().and_then(|name| name.parse().ok());
            broker = id.filter(|id| serves(*id, place)).or(broker);
        }
        let faults = place
            .folders()
            .first()
            .map(|folder| folder.join("histories/faults.bin"));
        let recorded = faults
            .and_then(|path| fs::metadata(path).ok())
            .map_or(0, |meta| meta.len());
        if let (Some(broker), true) = (broker, recorded > RECORD_BYTES as u64) {
            return broker;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("no broker was started, or no fault came");
}

/// Whether a process is a broker on a data folder of this place.
fn serves(id: u32, place: &Place) -> bool {
    let line = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
    let words: Vec<&str> = line
        .split(|byte| *byte == 0)
        .filter_map(|word| std::str::from_utf8(word).ok())
        .collect();
    let at_home = fs::read_link(format!("/proc/{id}/cwd")).is_ok_and(|cwd| cwd == place.path().canonicalize().unwrap());
    words.get(1) == Some(&"broker") && at_home
}

#[test]
fn scenarios_are_listed_shown_and_validated() {
    let place = Place::new();
    let list = place.run(&["list"]).expect(0).stdout;
    let column = "change-subscription  ".len();
    let names: Vec<&str> = list
        .lines()
        .map(|line| line[..column].trim())
        .filter(|name| !name.is_empty())
        .collect();
    let known = [
        "add-partitions",
        "big-group",
        "change-subscription",
        "cut-producer",
        "group-churn",
        "join-burst",
        "kill-broker",
        "kill-consumer",
        "lost-responses",
        "pause-consumer",
        "rolling-restart",
        "slow-handler",
    ];
    assert_eq!(names, known, "{list}");
    assert!(list.lines().all(|line| line.len() > column), "{list}");
    let text = place.run(&["show", "kill-broker"]).expect(0).stdout;
    assert_eq!(text, KILL_BROKER);
    let copy = place.path().join("copy.toml");
    fs::write(&copy, text).unwrap();
    let said = place
        .run(&["validate", "kill-broker", copy.to_str().unwrap()])
        .expect(0)
        .stdout;
    assert_eq!(said.matches("sound, 20 faults").count(), 2, "{said}");
}
