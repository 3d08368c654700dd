//! Each anomaly has a history in which it is found, and blamed on the right trigger and owners, and a neighbour in which it is not.

mod anomalies;
mod measures;
mod model;
mod random;

use workloads::history::FaultKind;

use super::*;
use crate::findings::Outcome;
use model::{Group, Policy};

/// Judges what a group has left; its members and partitions are what it began with.
fn judged(group: &Group) -> GroupFindings {
    judged_by(group, &GroupRules::default())
}

fn judged_by(group: &Group, rules: &GroupRules) -> GroupFindings {
    let folder = tempfile::tempdir().unwrap();
    let files = group.write(folder.path());
    judge(&files, rules, &group.context()).unwrap()
}

/// Names of the checks that came out so.
fn names(found: &GroupFindings, outcome: Outcome) -> Vec<&str> {
    let hits = found.checks.iter().filter(|check| check.outcome == outcome);
    hits.map(|check| check.name.as_str()).collect()
}

/// Nothing is violated, and nothing unknown.
#[track_caller]
fn assert_sound(found: &GroupFindings) {
    let wrong: Vec<_> = found
        .checks
        .iter()
        .filter(|check| matches!(check.outcome, Outcome::Violated | Outcome::Unknown))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}\n{found:#?}");
}

/// Exactly these are violated.
#[track_caller]
fn assert_violated(found: &GroupFindings, expected: &[&str]) {
    assert_eq!(names(found, Outcome::Violated), expected, "{found:#?}");
}

/// A group of two members and two partitions that has settled and works.
fn steady() -> Group {
    let mut group = Group::new(2, 2, Policy::AfterBatch);
    group.start();
    group.work(20);
    group
}

#[test]
fn a_group_at_work_is_sound() {
    let mut group = steady();
    group.finish();
    let found = judged(&group);
    assert_sound(&found);
    assert_eq!((found.members, found.partitions), (2, 2));
    assert_eq!(found.polled, found.processed);
    assert!(found.rebalances.is_empty());
}

#[test]
fn each_policy_survives_each_trigger() {
    for policy in Policy::SOUND {
        for trigger in [FaultKind::Kill, FaultKind::Pause, FaultKind::Join, FaultKind::Leave] {
            let mut group = Group::new(3, 7, policy);
            group.start();
            group.work(20);
            group.trigger(trigger, 2);
            group.work(20);
            group.finish();
            let found = judged(&group);
            assert_sound(&found);
            assert_eq!(found.rebalances.len(), 1, "{policy:?} {trigger:?}");
        }
    }
}

/// From a run folder to findings, text and JUnit, as `assay chaos check` goes.
#[test]
fn a_folder_is_judged_with_its_group() {
    let scenario = crate::Scenario::load("kill-consumer").unwrap();
    let (members, partitions) = (scenario.group.as_ref().unwrap().members, scenario.workload.partitions);
    let mut group = Group::new(members, partitions, Policy::Seldom);
    group.start();
    group.work(20);
    for place in [1, 2] {
        group.trigger(FaultKind::Kill, place);
        group.work(20);
    }
    group.finish();
    let folder = tempfile::tempdir().unwrap();
    let histories = folder.path().join(crate::run::HISTORIES_FOLDER);
    std::fs::create_dir(&histories).unwrap();
    group.write(&histories);
    let write = |name: &str, text: String| std::fs::write(folder.path().join(name), text).unwrap();
    write(crate::run::SCENARIO_FILE, serde_json::to_string(&scenario).unwrap());
    let missing = crate::checker::check_folder(folder.path()).unwrap_err();
    assert!(missing.to_string().contains(crate::run::GROUP_FILE), "{missing}");
    write(crate::run::GROUP_FILE, serde_json::to_string(&group.context()).unwrap());
    let findings = crate::checker::check_folder(folder.path()).unwrap();
    let text = crate::render::text(&findings, false);
    assert_eq!(findings.verdict, crate::Verdict::Holds, "{text}");
    insta::assert_snapshot!(text);
    let junit = crate::render::junit(&findings);
    assert!(junit.contains("name=\"redelivered_beyond_budget\"/>"), "{junit}");
    // Findings are read again without what has files of its own.
    let json = serde_json::to_string(&findings).unwrap();
    let again: crate::Findings = serde_json::from_str(&json).unwrap();
    assert_eq!(again.group.unwrap().rebalances, findings.group.unwrap().rebalances);
}
