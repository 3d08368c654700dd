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
