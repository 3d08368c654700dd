//! The checker's core for consumer groups: what a rebalance did to records, owners and committed offsets, and what it cost.
//!
//! It reads the histories of members, producers, faults and the final scan of the log, and nothing else. Try
//! `assay chaos check DIR` on the folder of a run with a `[group]`. What is asked stands in [`GroupRules`], what comes out in
//! [`GroupFindings`].
//!
//! All stamps are of one machine's `CLOCK_MONOTONIC`, but a stamp says when something was written down and not when the coordinator did
//! it. So two commits are only put in an order where one was answered before the other was called, and owners are told apart by
//! generation or member epoch. What cannot be put in an order is never a violation.

mod found;
mod moves;
mod rules;

pub use found::{
    Cause, Duplicate, DuplicateClass, GroupAnomaly, GroupDetail, GroupFindings, Holding, HoldingEnd, Instance, Owner,
    PartitionStop, Quantiles, RebalanceMeasures,
};
pub use moves::moved_least;
pub use rules::{GroupContext, GroupRules, GroupTopic};
