//! What was found about a group as tables in the run folder; times are milliseconds, a column without a figure is empty.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::{DuplicateClass, GroupFindings, Owner, RebalanceMeasures};

/// A row per trigger.
pub const REBALANCES_FILE: &str = "rebalances.csv";
/// A row per trigger and partition.
pub const STOPS_FILE: &str = "partition-stops.csv";
/// A row per time in which a member held a partition.
pub const OWNERSHIP_FILE: &str = "ownership.csv";
/// A row per run of records that came again.
pub const DUPLICATES_FILE: &str = "duplicates.csv";

const REBALANCES: &str = "fault,kind,members,at_ms,healed_ms,detected_ms,settled_ms,rebalances,partitions_given,again_ms,\
    again_p50_ms,again_p90_ms,partitions_not_again,stopped_partitions,stop_p50_ms,stop_p90_ms,stop_p99_ms,stop_max_ms,group_stop_ms,\
    moved,moved_least,revoked_in_vain,redelivered,uncommitted,commit_refused,undecided_commit,zombie,client_rewind,beyond_budget,skipped,unprocessed,\
    commits_accepted,commits_refused,refused_codes,commits_undecided,failure_codes,lag_before,lag_peak,lag_back_ms";
const STOPS: &str = "fault,partition,longest_gap_ms,baseline_gap_ms,stop_ms,again_ms,was_given";
const OWNERSHIP: &str = "member,slot,partition,from_ms,to_ms,epoch,ended";
const DUPLICATES: &str = "at_ms,partition,offset,records,producer,sequence,class,member,slot,epoch,\
    earlier_member,earlier_slot,earlier_epoch,fault,kind";

/// Writes all tables into a run folder.
///
/// # Errors
/// The file that can't be written, and why.
pub fn write_files(folder: &Path, found: &GroupFindings) -> Result<(), (PathBuf, io::Error)> {
    let detail = &found.detail;
    table(
        folder,
        REBALANCES_FILE,
        REBALANCES,
        found.rebalances.iter().map(rebalance),
    )?;
    let stops = detail.stops.iter().map(|stop| {
        format!(
            "{},{},{:.3},{:.3},{:.3},{},{}",
            stop.fault,
            stop.partition,
            stop.longest_gap_ms,
            stop.baseline_gap_ms,
            stop.stop_ms,
            perhaps(stop.again_ms),
            stop.was_given
        )
    });
    table(folder, STOPS_FILE, STOPS, stops)?;
    let ownership = detail.ownership.iter().map(|one| {
        let Owner { member, slot, epoch } = one.owner;
        let (from_ms, to_ms, end) = (one.from_ms, one.to_ms, one.end.name());
        format!(
            "{member},{slot},{},{from_ms:.3},{to_ms:.3},{epoch},{end}",
            one.partition
        )
    });
    table(folder, OWNERSHIP_FILE, OWNERSHIP, ownership)?;
    let duplicates = detail.duplicates.iter().map(|row| {
        let one = &row.instance;
        let number = |number: Option<u64>| number.map_or(String::new(), |number| number.to_string());
        let cause = one.cause.map(|cause| format!("{},{}", cause.fault, cause.kind.name()));
        format!(
            "{:.3},{},{},{},{},{},{},{},{},{}",
            one.at_ms,
            one.partition,
            one.offset,
            one.records,
            number(one.producer),
            number(one.sequence),
            row.class.name(),
            owner(one.owner),
            owner(one.earlier),
            cause.unwrap_or_else(|| ",".to_owned())
        )
    });
    table(folder, DUPLICATES_FILE, DUPLICATES, duplicates)
}

fn table(
    folder: &Path,
    name: &str,
    columns: &str,
    rows: impl Iterator<Item = String>,
) -> Result<(), (PathBuf, io::Error)> {
    let path = folder.join(name);
    let write = || {
        let mut out = BufWriter::new(File::create(&path)?);
        writeln!(out, "{columns}")?;
        for row in rows {
            writeln!(out, "{row}")?;
        }
        out.flush()
    };
    write().map_err(|error| (path.clone(), error))
}

fn perhaps(millis: Option<f64>) -> String {
    millis.map_or(String::new(), |millis| format!("{millis:.3}"))
}

fn owner(owner: Option<Owner>) -> String {
    owner.map_or(",,".to_owned(), |owner| {
        format!("{},{},{}", owner.member, owner.slot, owner.epoch)
    })
}

/// Codes with their counts, such as `22:3 25:1`.
fn codes<'a>(counts: impl IntoIterator<Item = (&'a i16, &'a u64)>) -> String {
    let shown: Vec<String> = counts
        .into_iter()
        .map(|(code, count)| format!("{code}:{count}"))
        .collect();
    shown.join(" ")
}

fn rebalance(one: &RebalanceMeasures) -> String {
    let members: Vec<String> = one.members.iter().map(u32::to_string).collect();
    let class = |class: DuplicateClass| one.redelivered.get(&class).copied().unwrap_or(0);
    let mut row = format!(
        "{},{},{},{:.3},{},{},{},{},{},{}",
        one.fault,
        one.kind.name(),
        members.join(" "),
        one.at_ms,
        perhaps(one.healed_ms),
        perhaps(one.detected_ms),
        perhaps(one.settled_ms),
        one.rebalances,
        one.partitions_given,
        perhaps(one.again_ms)
    );
    // Writing to a string cannot fail.
    let _ = write!(
        row,
        ",{:.3},{:.3},{},{},{:.3},{:.3},{:.3},{:.3},{:.3},{},{},{}",
        one.again.p50,
        one.again.p90,
        one.partitions_not_again,
        one.stop.count,
        one.stop.p50,
        one.stop.p90,
        one.stop.p99,
        one.stop.max,
        one.group_stop_ms,
        one.moved,
        one.moved_least,
        one.revoked_in_vain
    );
    let _ = write!(
        row,
        ",{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{}",
        one.redelivered_records(),
        class(DuplicateClass::Uncommitted),
        class(DuplicateClass::CommitRefused),
        class(DuplicateClass::UndecidedCommit),
        class(DuplicateClass::Zombie),
        class(DuplicateClass::ClientRewind),
        class(DuplicateClass::BeyondBudget),
        one.skipped,
        one.unprocessed,
        one.commits_accepted,
        one.refused_commits(),
        codes(&one.commits_refused),
        one.commits_undecided,
        codes(&one.member_failures),
        one.lag_before,
        one.lag_peak,
        perhaps(one.lag_back_ms)
    );
    row
}
