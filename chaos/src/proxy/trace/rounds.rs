//! What became of a group, out of its steps: which generation or epoch began, what for, who led, who came and who was gone.

use std::collections::{BTreeMap, BTreeSet};

use kafka_wire::ErrorCode;

use super::{Act, Step};

/// A line for readers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Round {
    /// When, `CLOCK_MONOTONIC` in nanoseconds.
    pub at_ns: u64,
    /// In words.
    pub what: String,
}

/// The rounds of every group, of either protocol.
pub(super) fn rounds(steps: &[Step]) -> Vec<Round> {
    let mut groups: BTreeMap<&str, Vec<&Step>> = BTreeMap::new();
    for step in steps.iter().filter(|step| !step.group.is_empty()) {
        groups.entry(&step.group).or_default().push(step);
    }
    let each = groups.values();
    each.flat_map(|steps| generations(steps).into_iter().chain(epochs(steps)))
        .collect()
}

/// Of the classic protocol. A rebalance begins with whoever asks for it, and its generation with the first answer that names it.
fn generations(steps: &[&Step]) -> Vec<Round> {
    let joined = |step: &&&Step| step.api == "JoinGroup" && step.error == 0;
    let (mut found, mut last) = (Vec::new(), None);
    let (mut before, mut since_ns): (BTreeSet<&str>, u64) = (BTreeSet::new(), 0);
    for first in steps.iter().filter(joined) {
        if first.epoch <= last {
            continue;
        }
        let joins: Vec<&Step> = steps
            .iter()
            .filter(joined)
            .filter(|step| step.epoch == first.epoch)
            .copied()
            .collect();
        let members: BTreeSet<&str> = joins.iter().map(|step| step.client.as_str()).collect();
        let within = |step: &Step| since_ns < step.answered_ns && step.answered_ns <= first.answered_ns;
        let leaves = steps.iter().filter(|step| step.act == Act::Leaves && step.error == 0);
        let told = steps
            .iter()
            .filter(|step| step.api == "Heartbeat" && step.error == ErrorCode::RebalanceInProgress.code());
        let asked = joins
            .iter()
            .chain(leaves.filter(|step| within(step)))
            .map(|step| (step.asked_ns, Some(step)));
        let noticed = told.filter(|step| within(step)).map(|step| (step.answered_ns, None));
        let cause = asked.chain(noticed).min_by_key(|(at_ns, _)| *at_ns);
        let generation = first.epoch.unwrap_or(0);
        if let Some((at_ns, who)) = cause {
            let why = match who {
                Some(step) if step.act == Act::Leaves => format!("{} leaves", step.client),
                Some(step) if before.contains(step.client.as_str()) => format!("{} asks to join again", step.client),
                Some(step) => format!("{} asks to join", step.client),
                None => "nobody has joined or left: a session has ended, or topics have changed".to_owned(),
            };
            found.push(Round {
                at_ns,
                what: format!("rebalance to generation {generation}: {why}"),
            });
        }
        let leader = steps
            .iter()
            .find(|step| step.act == Act::Assigns && step.epoch == first.epoch)
            .map_or(String::new(), |step| format!(", led by {}", step.client));
        found.push(Round {
            at_ns: first.answered_ns,
            what: format!(
                "generation {generation}: {} members{leader}{}{}",
                members.len(),
                named("new", members.difference(&before)),
                named("gone", before.difference(&members))
            ),
        });
        (before, since_ns, last) = (members, first.answered_ns, first.epoch);
    }
    found
}

/// Of KIP-848, where no member leads: the coordinator raises the epoch, and each member learns of it by its own heartbeat.
fn epochs(steps: &[&Step]) -> Vec<Round> {
    let (mut found, mut last, mut causes) = (Vec::new(), None, Vec::new());
    let beats = steps
        .iter()
        .filter(|step| step.api == "ConsumerGroupHeartbeat" && step.error == 0);
    for step in beats {
        match step.act {
            Act::Joins => causes.push(format!("{} joins", step.client)),
            Act::Leaves => {
                causes.push(format!("{} leaves", step.client));
                continue; // the epoch in its answer is no group's
            }
            _ => {}
        }
        if step.epoch <= last {
            continue;
        }
        let why = match causes.is_empty() {
            true => {
                "nobody has joined or left: a session has ended, or subscriptions or topics have changed".to_owned()
            }
            false => causes.join(", "),
        };
        found.push(Round {
            at_ns: step.answered_ns,
            what: format!("epoch {} is first told: {why}", step.epoch.unwrap_or(0)),
        });
        causes.clear();
        last = step.epoch;
    }
    found
}

fn named<'a>(word: &str, clients: impl Iterator<Item = &'a &'a str>) -> String {
    let clients: Vec<&str> = clients.copied().collect();
    match clients.is_empty() {
        true => String::new(),
        false => format!("; {word}: {}", clients.join(", ")),
    }
}
