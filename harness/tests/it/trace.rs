//! A group under fire from the command to the files, with what its members and the coordinator said to each other on the way.

use std::fs;
use std::path::Path;

use crate::support::{Ended, Place};

const KILL_CONSUMER: &str = include_str!("../../../chaos/scenarios/kill-consumer.toml");

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
        &["JoinGroup [", "was made leader of 3 members"],
        &["** fault 1: kill"],
        &["** fault 1 is aimed at member "],
        &["** fault 1 has bitten: process ", " ended by signal 9"],
        &["Heartbeat [", "RebalanceInProgress"],
        &["JoinGroup [", "was made leader of 2 members"],
        &[
            "SyncGroup [",
            "leads and assigns assay-member-",
            ": orders ",
            "; was given orders ",
        ],
        &["** member 4 begins in slot "],
        &["** fault 1 is healed"],
        &["LeaveGroup", ": leaves"],
    ] {
        let is_next = lines.any(|line| parts.iter().all(|part| line.contains(part)));
        assert!(is_next, "no {parts:?} in its place:\n{text}");
    }

    let mut table = csv::Reader::from_path(folder.join("protocol.csv")).unwrap();
    let columns = "asked_ms,answered_ms,connection,client,api,group,member,epoch,error,lost,what";
    assert_eq!(table.headers().unwrap().iter().collect::<Vec<_>>().join(","), columns);
    let rows: Vec<csv::StringRecord> = table.records().map(Result::unwrap).collect();
    let steps = text.lines().filter(|line| !line.contains("s  ** ")).count();
    assert_eq!(rows.len(), steps, "{text}");
    for row in &rows {
        let times: Vec<f64> = (0..2).map(|at| row[at].parse().unwrap()).collect();
        assert!(times[0] <= times[1] && row[5] == *"assay-short-group", "{row:?}");
        assert!(row[3].starts_with("assay-member-"), "{row:?}");
    }
    let joined = rows.iter().filter(|row| row[4] == *"JoinGroup" && row[8] == *"0");
    let generations: std::collections::BTreeSet<i32> = joined.map(|row| row[7].parse().unwrap()).collect();
    assert!(
        generations.len() >= 3,
        "the start, the kill, the successor: {generations:?}"
    );

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
