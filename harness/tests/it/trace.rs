//! A group under fire from the command to the files, with what its members and the coordinator said to each other on the way.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::support::{Ended, Place};
use crate::targets::Guest;

const KILL_CONSUMER: &str = include_str!("../../../chaos/scenarios/kill-consumer.toml");
const CHANGE_SUBSCRIPTION: &str = include_str!("../../../chaos/scenarios/change-subscription.toml");

/// `kill-consumer` with three members, one kill, and short times.
fn short(place: &Place) -> String {
    let mut text = KILL_CONSUMER.to_owned();
    for (long, short) in [
        ("partitions = 12", "partitions = 6"),
        ("rate_per_s = 2000", "rate_per_s = 500"),
        ("warm_up_ms = 3000", "warm_up_ms = 500"),
        ("settle_ms = 3000", "settle_ms = 300"),
        ("members = 4", "members = 3"),
        ("session_timeout_ms = 3000", "session_timeout_ms = 1500"),
        ("heartbeat_interval_ms = 500", "heartbeat_interval_ms = 250"),
        ("repeat = 2", "repeat = 1"),
        ("gap_ms = { min = 500, max = 1500 }", "gap_ms = { min = 50, max = 150 }"),
        // Behind the session's end, so that the group has to notice by itself.
        (
            "heal_after_ms = { min = 500, max = 1500 }",
            "heal_after_ms = { min = 2500, max = 2500 }",
        ),
    ] {
        assert!(text.contains(long), "stale: {long}");
        text = text.replacen(long, short, 1);
    }
    let path = place.file("short-group.toml", text);
    path.to_str().unwrap().to_owned()
}

fn chaos(place: &Place, arguments: &[&str]) -> Ended {
    place.assay(&[&["chaos"], arguments].concat())
}

fn read(folder: &Path, name: &str) -> String {
    fs::read_to_string(folder.join(name)).unwrap()
}

#[test]
fn a_kill_is_traced_and_the_run_can_be_judged_and_replayed() {
    let place = Place::new();
    let scenario = short(&place);
    let run = chaos(&place, &["run", &scenario, "--seed", "3", "--trace"]).code(0);
    run.says(&["short-group: HOLDS", "who joined, led and assigned:", "protocol.txt"]);
    place.assert_nothing_left();
    let folder = place.run_folder();

    // What was done to whom, and then who noticed, joined, led and assigned.
    let text = read(&folder, "protocol.txt");
    let mut lines = text.lines();
    for parts in [
        &["** member 1 begins in slot 0"][..],
        &["== rebalance to generation 1: assay-member-", " asks to join"],
        &["== generation ", ": 3 members, led by assay-member-"],
        &["** fault 1: kill"],
        &["** fault 1 is aimed at member "],
        &["** fault 1 has bitten: process ", " ended by signal 9"],
        &[
            "== rebalance to generation ",
            ": nobody has joined or left: a session has ended",
        ],
        &["Heartbeat [", "is there: RebalanceInProgress"],
        &[
            "== generation ",
            ": 2 members, led by assay-member-",
            "; gone: assay-member-",
        ],
        &["JoinGroup [", "was made leader of 2 members"],
        &[
            "SyncGroup [",
            "leads and assigns assay-member-",
            ": orders ",
            "; assay-member-",
        ],
        &["SyncGroup [", "was given orders "],
        &["** member 4 begins in slot "],
        &["== rebalance to generation ", ": assay-member-4 asks to join"],
        &[
            "== generation ",
            ": 3 members, led by assay-member-",
            "; new: assay-member-4",
        ],
        &["LeaveGroup", "leaves"],
    ] {
        let is_next = lines.any(|line| parts.iter().all(|part| line.contains(part)));
        assert!(is_next, "no {parts:?} in its place:\n{text}");
    }
    assert!(text.contains("** fault 1 is healed"), "{text}");

    let mut table = csv::Reader::from_path(folder.join("protocol.csv")).unwrap();
    let columns = "asked_ms,answered_ms,connection,client,api,group,member,epoch,error,lost,asked,answered";
    assert_eq!(table.headers().unwrap().iter().collect::<Vec<_>>().join(","), columns);
    let rows: Vec<csv::StringRecord> = table.records().map(Result::unwrap).collect();
    let is_answer = |line: &&str| {
        !line.starts_with('#')
            && ![" s  ** ", " s  == "].iter().any(|mark| line.contains(mark))
            && !line.ends_with(" ...")
    };
    assert_eq!(rows.len(), text.lines().filter(is_answer).count(), "{text}");
    for row in &rows {
        let times: Vec<f64> = (0..2).map(|at| row[at].parse().unwrap()).collect();
        assert!(times[0] <= times[1] && row[5] == *"assay-short-group", "{row:?}");
        assert!(row[3].starts_with("assay-member-"), "{row:?}");
    }

    let findings = read(&folder, "findings.json");
    chaos(&place, &["check", folder.to_str().unwrap()])
        .code(0)
        .says(&["short-group: HOLDS"]);
    assert_eq!(
        read(&folder, "findings.json"),
        findings,
        "the same from the files alone"
    );

    let again = chaos(&place, &["replay", folder.to_str().unwrap()]).code(0);
    again.says(&["replay: HOLDS, as before", "protocol.txt"]);
    let runs = place.runs();
    let replayed = runs.iter().find(|run| **run != folder).unwrap();
    assert_eq!(read(replayed, "schedule.json"), read(&folder, "schedule.json"));
    assert!(read(replayed, "protocol.txt").contains("** fault 1 has bitten: process "));
    place.assert_nothing_left();
}

#[test]
fn what_cannot_be_traced_or_struck_is_refused_before_anything_starts() {
    let place = Place::new();
    let ended = chaos(&place, &["run", "kill-broker", "--trace"]).code(3);
    ended.complains(&["--trace are for scenarios with a group", "such as kill-consumer"]);
    for target in ["kafka", "kafka://127.0.0.1:1"] {
        let ended = chaos(&place, &["run", "kill-broker", "--target", target]).code(2);
        let why = format!("inconclusive: kill-broker on {target}: this target cannot take a fault aimed at: broker");
        ended.complains(&[&why, "choose another target or scenario"]);
    }
    assert_eq!(place.runs(), [] as [std::path::PathBuf; 0], "nothing was begun");
}

/// On a broker that others use, names have a prefix of the run's own; a replay has another one in its place, not in front of it.
#[test]
fn a_replay_on_somebody_elses_broker_has_names_of_its_own() {
    let place = Place::new();
    let guest = Guest::start(&place);
    let mut text = CHANGE_SUBSCRIPTION.to_owned();
    for (long, short) in [
        ("warm_up_ms = 2000", "warm_up_ms = 500"),
        ("settle_ms = 2000", "settle_ms = 300"),
        // The floor of a broker that is not started for the run.
        ("session_timeout_ms = 3000", "session_timeout_ms = 6000"),
        ("max_poll_interval_ms = 4000", "max_poll_interval_ms = 7000"),
    ] {
        assert!(text.contains(long), "stale: {long}");
        text = text.replacen(long, short, 1);
    }
    let scenario = place.file("short-group.toml", text);
    let target = format!("kafka://{}", guest.address);
    let scenario = scenario.to_str().unwrap();
    chaos(&place, &["run", scenario, "--seed", "3", "--target", &target]).code(0);
    let folder = place.run_folder();
    chaos(&place, &["replay", folder.to_str().unwrap()])
        .code(0)
        .says(&["replay: HOLDS, as before"]);
    let mut prefixes = BTreeSet::new();
    for run in place.runs() {
        let manifest: Value = serde_json::from_str(&read(&run, "manifest.json")).unwrap();
        let prefix = manifest["names_behind"].as_str().unwrap();
        assert!(prefix.starts_with("assay-") && prefix.ends_with('-'), "{prefix}");
        let schedule = read(&run, "schedule.json");
        assert!(
            schedule.contains(&format!("\"^{prefix}orders.*\"")),
            "{prefix}: {schedule}"
        );
        let scenario = read(&run, "scenario.json");
        for topic in ["orders", "orders-eu", "orders-us"] {
            assert!(
                scenario.contains(&format!("\"{prefix}{topic}\"")),
                "{prefix}: {scenario}"
            );
        }
        prefixes.insert(prefix.to_owned());
    }
    assert_eq!(prefixes.len(), 2, "{prefixes:?}");
    assert_eq!(
        guest.topics(),
        ["__consumer_offsets"],
        "the broker's own, and no topics of a run"
    );
}
