//! What a scenario asks of a group, and what the checker has to know beside the histories.

use serde::{Deserialize, Serialize};

use crate::scenario::Bound;

/// Milliseconds after which a partition with records and without a delivery is stalled, where a scenario says nothing.
pub const STALLED_MS: u64 = 10_000;
/// Milliseconds from the last change of a group until its generation has to stay as it is, where a scenario says nothing.
pub const SETTLES_WITHIN_MS: u64 = 10_000;

/// The invariants of a group. One that a file leaves out has the strictest value, except that redelivered records are counted:
/// at-least-once allows them. [`Bound::Explained`] means nothing here and is taken for [`Bound::Counted`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GroupRules {
    /// In the log, behind the group's position, and polled by nobody by the end; judged only when the run was drained. Records.
    pub undelivered: Bound,
    /// Polled again, for whatever reason. Records, each time after the first.
    pub redelivered: Bound,
    /// Polled again although the coordinator had accepted a commit behind it before its owner was given the partition. Records.
    pub redelivered_beyond_budget: Bound,
    /// The group moved past it, and nobody ever polled it. Records.
    pub skipped: Bound,
    /// Polled, moved past, and processed by nobody: what a commit before processing loses. Records.
    pub unprocessed: Bound,
    /// Polled at an offset where the log has another record, or none. Records.
    pub inconsistent_offset: Bound,
    /// Polled behind a later offset within one assignment. Records.
    pub reordered_poll: Bound,
    /// Polled by a member that did not hold the partition. Records.
    pub unowned_poll: Bound,
    /// Polled with a payload that nobody wrote. Records.
    pub corrupted_poll: Bound,
    /// The committed offset went back. Commits.
    pub commit_regress: Bound,
    /// A commit of an owner was accepted although a newer owner's commit had been. Commits.
    pub zombie_overlap: Bound,
    /// A partition had records and no delivery for longer than [`GroupRules::stalled_ms`], outside of faults. Times.
    pub stalled: Bound,
    /// The generation rose later than [`GroupRules::settles_within_ms`] after the last change. Generations.
    pub unsettled: Bound,
    /// Bound of a stall, in milliseconds; `None` when stalls are not looked for.
    pub stalled_ms: Option<u64>,
    /// From the last change (a fault's begin or end, a member that begins or leaves) to the last new generation, in milliseconds; `None`
    /// when it is not looked for.
    pub settles_within_ms: Option<u64>,
    /// From a fault to the first record of the last partition that it took away from its owner, in milliseconds; `None` when it is told
    /// and not judged.
    pub recovers_within_ms: Option<u64>,
}

impl Default for GroupRules {
    fn default() -> Self {
        let none = Bound::AtMost(0);
        Self {
            undelivered: none,
            redelivered: Bound::Counted,
            redelivered_beyond_budget: none,
            skipped: none,
            unprocessed: none,
            inconsistent_offset: none,
            reordered_poll: none,
            unowned_poll: none,
            corrupted_poll: none,
            commit_regress: none,
            zombie_overlap: none,
            stalled: none,
            unsettled: none,
            stalled_ms: Some(STALLED_MS),
            settles_within_ms: Some(SETTLES_WITHIN_MS),
            recovers_within_ms: None,
        }
    }
}

/// What the histories do not say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupContext {
    /// The topics of the workload, in the order of their numbers (see [`workloads::history::PARTITIONS_PER_TOPIC`]).
    pub topics: Vec<GroupTopic>,
    /// Members that the run starts with, before any fault; their histories are asked for.
    pub members: u32,
    /// Whether the run waited until the group had read to the end of the log: only then is a record that nobody polled undelivered.
    pub drained: bool,
}

/// A topic of the workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupTopic {
    /// Partitions at the start; those that are added are told by [`workloads::history::Event::Grown`].
    pub partitions: u32,
    /// Whether the group is subscribed to it before the first fault.
    pub subscribed_at_start: bool,
    /// Whether the group is subscribed to it after the last fault.
    pub subscribed_at_end: bool,
}

impl GroupContext {
    /// One topic that the group is subscribed to the whole time.
    pub fn of_one_topic(partitions: u32, members: u32, drained: bool) -> Self {
        Self {
            topics: vec![GroupTopic {
                partitions,
                subscribed_at_start: true,
                subscribed_at_end: true,
            }],
            members,
            drained,
        }
    }
}
