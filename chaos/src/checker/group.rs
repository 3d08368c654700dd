//! The checker's core for consumer groups: what a rebalance did to records, owners and committed offsets, and what it cost.
//!
//! It reads the histories of members, producers, faults and the final scan of the log, and nothing else. Try
//! `assay chaos check DIR` on the folder of a run with a `[group]`. What is asked stands in [`GroupRules`], what comes out in
//! [`GroupFindings`].
//!
//! All stamps are of one machine's `CLOCK_MONOTONIC`, but a stamp says when something was written down and not when the coordinator did
//! it. So two commits are only put in an order where one was answered before the other was called, and owners are told apart by
//! generation or member epoch. What cannot be put in an order is never a violation.

mod book;
mod commits;
mod deliveries;
mod duplicates;
mod files;
mod flow;
mod found;
mod gaps;
mod holdings;
mod judgement;
mod log_index;
mod merge;
mod moves;
mod rules;
mod survey;
mod tally;
mod window;

use std::path::PathBuf;

pub use files::{DUPLICATES_FILE, OWNERSHIP_FILE, REBALANCES_FILE, STOPS_FILE, write_files};
pub use found::{
    Cause, Duplicate, DuplicateClass, GroupAnomaly, GroupDetail, GroupFindings, Holding, HoldingEnd, Instance, Owner,
    PartitionStop, Quantiles, RebalanceMeasures,
};
pub use moves::moved_least;
pub use rules::{GroupContext, GroupRules, GroupTopic};
pub use survey::is_member_history;

use super::CheckError;
use book::Book;
use judgement::Phases;
use merge::{Merged, Next};
use survey::Survey;

/// Judges the histories of a run with a group; `files` are all of them, members' ones as `member-N.bin`.
///
/// # Errors
/// [`CheckError`]: treat it as inconclusive.
pub fn judge(files: &[PathBuf], rules: &GroupRules, context: &GroupContext) -> Result<GroupFindings, CheckError> {
    let survey = Survey::of(files, context)?;
    let mut book = Book::new(&survey, rules, context);
    let mut merged = Merged::open(files)?;
    while let Some(next) = merged.next()? {
        match next {
            Next::Event(place, stamped) => book.apply(place, stamped)?,
            Next::Ended(place) => book.ended(place),
        }
    }
    book.finish()?;
    let phases = Phases::of(&book);
    let mut found = book.tally();
    found.checks = judgement::judge(&found, &survey, &phases, rules, context);
    Ok(found)
}

#[cfg(test)]
mod tests;
