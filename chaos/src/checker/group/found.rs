//! What the checker found in the histories of a group: anomalies with their causes, and what each rebalance cost.
//!
//! All times are milliseconds; `at_ms`, `from_ms` and `to_ms` count from the first event of the run, the others from the trigger.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use workloads::history::FaultKind;

use crate::findings::EXAMPLES_MAX;

/// Who held a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Owner {
    /// The member, from 1.
    pub member: u32,
    /// Which consumer it is.
    pub slot: u32,
    /// Generation or member epoch with which it was given the partition: it names the rebalance. -1 when its client knew none.
    pub epoch: i32,
}

/// The trigger that something falls to: the last fault that had begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// Number of the fault, from 1.
    pub fault: u32,
    /// What it was.
    pub kind: FaultKind,
}

/// One instance of an anomaly.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Instance {
    /// When it showed.
    pub at_ms: f64,
    /// The partition.
    pub partition: u32,
    /// Offset of the first record of it, or the offset that was committed.
    pub offset: i64,
    /// Who wrote that record, where the log tells.
    pub producer: Option<u64>,
    /// Its sequence, where the log tells.
    pub sequence: Option<u64>,
    /// Records from there on.
    pub records: u64,
    /// With whom it showed.
    pub owner: Option<Owner>,
    /// Who had the partition or the records before.
    pub earlier: Option<Owner>,
    /// The trigger; `None` before the first one.
    pub cause: Option<Cause>,
    /// What is wrong, where the anomaly's name does not say it all.
    pub detail: String,
}

/// An anomaly: how many, and the first instances.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct GroupAnomaly {
    /// Records, commits, times or generations, see [`super::GroupRules`].
    pub count: u64,
    /// At most [`EXAMPLES_MAX`].
    pub examples: Vec<Instance>,
}

impl GroupAnomaly {
    /// Counts `count` more, and keeps the instance while there is room.
    pub(super) fn add(&mut self, count: u64, instance: Instance) {
        self.count += count;
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(instance);
        }
    }
}

/// Why a record came to the group again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DuplicateClass {
    /// No commit behind it had been called: within the budget.
    Uncommitted,
    /// A commit behind it had been refused: within the budget.
    CommitRefused,
    /// A commit behind it was called, and its answer was lost, or came after the next owner had begun: within the budget.
    UndecidedCommit,
    /// It was polled by two owners at a time, one of which did not know yet that it was none any more: within the budget.
    Zombie,
    /// The client of a member that kept the partition went one record back over a rebalance (see [`super::holdings::Held::is_rewindable`]):
    /// listed apart, as neither the group nor the member did anything wrong.
    ClientRewind,
    /// The coordinator had accepted a commit behind it before its owner was given the partition.
    BeyondBudget,
}

impl DuplicateClass {
    /// Its name, as in files.
    pub fn name(self) -> &'static str {
        match self {
            DuplicateClass::Uncommitted => "uncommitted",
            DuplicateClass::CommitRefused => "commit-refused",
            DuplicateClass::UndecidedCommit => "undecided-commit",
            DuplicateClass::Zombie => "zombie",
            DuplicateClass::ClientRewind => "client-rewind",
            DuplicateClass::BeyondBudget => "beyond-budget",
        }
    }
}

/// Records that came to the group once more, one behind another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Duplicate {
    /// The records, both owners and the cause.
    #[serde(flatten)]
    pub instance: Instance,
    /// Why they came again.
    pub class: DuplicateClass,
}

/// How the time in which a member held a partition ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HoldingEnd {
    /// It gave the partition back.
    Revoked,
    /// It heard that the partition was no longer its own.
    Lost,
    /// It was killed: the time of the kill ends the holding.
    Killed,
    /// It left with the partition in its hands.
    Left,
    /// It had it at the end of its history.
    Open,
}

impl HoldingEnd {
    /// Its name, as in files.
    pub fn name(self) -> &'static str {
        match self {
            HoldingEnd::Revoked => "revoked",
            HoldingEnd::Lost => "lost",
            HoldingEnd::Killed => "killed",
            HoldingEnd::Left => "left",
            HoldingEnd::Open => "open",
        }
    }
}

/// A time in which a member held a partition.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Holding {
    /// Who.
    pub owner: Owner,
    /// What.
    pub partition: u32,
    /// From when on.
    pub from_ms: f64,
    /// Until when.
    pub to_ms: f64,
    /// How it ended.
    pub end: HoldingEnd,
}

/// What a trigger meant for one partition.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PartitionStop {
    /// Number of the fault.
    pub fault: u32,
    /// The partition.
    pub partition: u32,
    /// Longest time between two deliveries that ended after the trigger, until the next one.
    pub longest_gap_ms: f64,
    /// Longest time between two deliveries of this partition in the quiet time before the trigger; 0 where there were not two.
    pub baseline_gap_ms: f64,
    /// The longest gap less the baseline's, at least 0.
    pub stop_ms: f64,
    /// From the trigger to the first record under the last owner that it was given to; `None` when nobody was given it, or when no
    /// record came.
    pub again_ms: Option<f64>,
    /// Whether it was given to an owner after the trigger.
    pub was_given: bool,
}

/// Quantiles of figures that are all kept, by the nearest rank.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Quantiles {
    /// How many figures.
    pub count: u64,
    /// The smallest one.
    pub min: f64,
    /// Median.
    pub p50: f64,
    /// 90 %.
    pub p90: f64,
    /// 99 %.
    pub p99: f64,
    /// The largest one.
    pub max: f64,
}

impl Quantiles {
    /// Of some figures; all 0 when there is none.
    pub fn of(mut figures: Vec<f64>) -> Self {
        figures.sort_by(f64::total_cmp);
        let Some(&max) = figures.last() else {
            return Self::default();
        };
        let rank = |share: f64| figures[((share * figures.len() as f64).ceil() as usize).clamp(1, figures.len()) - 1];
        Self {
            count: figures.len() as u64,
            min: figures[0],
            p50: rank(0.5),
            p90: rank(0.9),
            p99: rank(0.99),
            max,
        }
    }
}

/// What one trigger cost. Its window reaches from the begin of its fault to the begin of the next one, or to the end of the run.
///
/// The *quiet time* before a trigger, which its figures are held against, reaches back to the last ownership event or the end of the last
/// fault, whichever is later. An ownership event is a partition assigned, revoked or lost, or a rebalance carried out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RebalanceMeasures {
    /// Number of the fault, from 1.
    pub fault: u32,
    /// What it is.
    pub kind: FaultKind,
    /// Members that it was aimed at.
    pub members: Vec<u32>,
    /// When it began, from the first event of the run on.
    pub at_ms: f64,
    /// From its begin to its healing; `None` when it was not healed.
    pub healed_ms: Option<f64>,
    /// From the trigger to the first ownership event that it caused: of anyone, but what a member that it was aimed at gives back or loses
    /// by itself does not count. `None` when there was none.
    pub detected_ms: Option<f64>,
    /// From the trigger to the last ownership event in its window; `None` when there was none.
    pub settled_ms: Option<f64>,
    /// Generations, or member epochs, that were first seen in its window: rebalances that it caused.
    pub rebalances: u32,
    /// Partitions that were given to an owner in its window.
    pub partitions_given: u32,
    /// From the trigger to the moment when each of those had delivered a record under its last owner; `None` when one never did, or when
    /// none was given.
    pub again_ms: Option<f64>,
    /// The same for each partition that was given and came back.
    pub again: Quantiles,
    /// Partitions that were given and then delivered nothing, and those that lost their owner and were given to nobody.
    pub partitions_not_again: u32,
    /// Stops of all partitions that delivered before and after, in milliseconds: see [`PartitionStop::stop_ms`].
    pub stop: Quantiles,
    /// Longest time in which no partition delivered anything, less the longest such time of the quiet time before, at least 0.
    pub group_stop_ms: f64,
    /// Partitions given to another slot than the one that had them last, each time.
    pub moved: u64,
    /// Partitions that a balanced, sticky assignment would have moved from the owners before the trigger to the members of the window's end:
    /// see [`super::moved_least`].
    pub moved_least: u64,
    /// Partitions taken from a slot and given back to it: revoked in vain.
    pub revoked_in_vain: u64,
    /// Records that came again because of it, by class.
    pub redelivered: BTreeMap<DuplicateClass, u64>,
    /// Records that the group moved past because of it, and that nobody ever polled.
    pub skipped: u64,
    /// Records that were polled, moved past because of it, and processed by nobody.
    pub unprocessed: u64,
    /// Commits that were accepted.
    pub commits_accepted: u64,
    /// Commits that were refused, by Kafka's or the client's error code.
    pub commits_refused: BTreeMap<i16, u64>,
    /// Commits whose client told that no answer came, and holdings that ended in the window and whose last commit was never answered.
    pub commits_undecided: u64,
    /// What clients told their applications, by error code.
    pub member_failures: BTreeMap<i16, u64>,
    /// Highest lag of the quiet time before: records acknowledged and not yet polled by anyone.
    pub lag_before: u64,
    /// Highest lag in the window.
    pub lag_peak: u64,
    /// From the trigger to the first time after the peak at which the lag was not above that of the quiet time; `None` when it stayed
    /// above.
    pub lag_back_ms: Option<f64>,
}

impl RebalanceMeasures {
    /// Records that came again, of all classes.
    pub fn redelivered_records(&self) -> u64 {
        self.redelivered.values().sum()
    }

    /// Commits that were refused, of all codes.
    pub fn refused_commits(&self) -> u64 {
        self.commits_refused.values().sum()
    }
}

/// What is written into files of its own and not into `findings.json`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct GroupDetail {
    /// Who held what and when, in the order of its begin.
    pub ownership: Vec<Holding>,
    /// A row per trigger and partition.
    pub stops: Vec<PartitionStop>,
    /// Records that came again, in the order in which they did; bounded.
    pub duplicates: Vec<Duplicate>,
}

/// Everything that was found about a group.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct GroupFindings {
    /// Members that began.
    pub members: u32,
    /// Partitions that somebody was given.
    pub partitions: u32,
    /// Records polled, each time.
    pub polled: u64,
    /// Records processed, each time.
    pub processed: u64,
    /// Commits that were accepted.
    pub commits_accepted: u64,
    /// Commits that were refused, by error code.
    pub commits_refused: BTreeMap<i16, u64>,
    /// Commits whose client told that no answer came, and holdings whose last commit was never answered.
    pub commits_undecided: u64,
    /// Records that came again, by class.
    pub redelivered_by_class: BTreeMap<DuplicateClass, u64>,
    /// In the log, behind the group's position, and polled by nobody.
    pub undelivered: GroupAnomaly,
    /// Polled again.
    pub redelivered: GroupAnomaly,
    /// Polled again, and not within the budget.
    pub redelivered_beyond_budget: GroupAnomaly,
    /// Moved past, and polled by nobody.
    pub skipped: GroupAnomaly,
    /// Polled, moved past, and processed by nobody.
    pub unprocessed: GroupAnomaly,
    /// Polled at an offset where the log has another record.
    pub inconsistent_offset: GroupAnomaly,
    /// Polled behind a later offset of the same assignment.
    pub reordered_poll: GroupAnomaly,
    /// Polled by somebody who did not hold the partition.
    pub unowned_poll: GroupAnomaly,
    /// Polled with a payload that nobody wrote.
    pub corrupted_poll: GroupAnomaly,
    /// The committed offset went back.
    pub commit_regress: GroupAnomaly,
    /// Commits of two owners of one partition were accepted, the older one's last.
    pub zombie_overlap: GroupAnomaly,
    /// Partitions with records and without deliveries.
    pub stalled: GroupAnomaly,
    /// Generations that came too late.
    pub unsettled: GroupAnomaly,
    /// What each trigger cost, in order.
    pub rebalances: Vec<RebalanceMeasures>,
    /// The checks that follow, which stand among those of the run.
    #[serde(skip)]
    pub checks: Vec<crate::findings::Check>,
    /// What is written into files of its own.
    #[serde(skip)]
    pub detail: GroupDetail,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_figures_that_there_are() {
        let quantiles = Quantiles::of((1..=100).rev().map(f64::from).collect());
        assert_eq!(
            (
                quantiles.min,
                quantiles.p50,
                quantiles.p90,
                quantiles.p99,
                quantiles.max
            ),
            (1.0, 50.0, 90.0, 99.0, 100.0)
        );
        assert_eq!(Quantiles::of(vec![7.0]).p99, 7.0);
        assert_eq!(Quantiles::of(Vec::new()), Quantiles::default());
    }
}
