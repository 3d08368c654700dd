//! What was found about a group, as text.

use std::fmt::Write;

use super::{grouped, line};
use crate::checker::group::{
    DuplicateClass, GroupAnomaly, GroupFindings, Instance, Owner, REBALANCES_FILE, RebalanceMeasures,
};

/// Most triggers that the table shows; the file has them all.
const ROWS_MAX: usize = 30;

/// What members did, in numbers.
pub(super) fn ledger(found: &GroupFindings) -> String {
    let refused: u64 = found.commits_refused.values().sum();
    let codes: Vec<String> = found
        .commits_refused
        .iter()
        .map(|(code, count)| format!("{} with code {code}", grouped(*count)))
        .collect();
    let classes: Vec<String> = found
        .redelivered_by_class
        .iter()
        .map(|(class, records)| format!("{} {}", grouped(*records), meaning(*class)))
        .collect();
    let rows = [
        (
            "polled",
            found.polled,
            format!("by {} members, {} partitions", found.members, found.partitions),
        ),
        ("processed", found.processed, String::new()),
        ("redelivered", found.redelivered.count, classes.join("; ")),
        ("committed", found.commits_accepted, "commits accepted".to_owned()),
        ("refused", refused, codes.join(", ")),
        ("unanswered", found.commits_undecided, "commits".to_owned()),
    ];
    let width = rows.iter().map(|row| grouped(row.1).len()).max().unwrap_or(0);
    let mut out = String::new();
    for (name, count, meaning) in rows {
        line(&mut out, &format!("{name:12}  {:>width$}  {meaning}", grouped(count)));
    }
    out
}

fn meaning(class: DuplicateClass) -> &'static str {
    match class {
        DuplicateClass::Uncommitted => "not committed",
        DuplicateClass::CommitRefused => "whose commit was refused",
        DuplicateClass::UndecidedCommit => "whose commit was undecided",
        DuplicateClass::Zombie => "of an owner that had been replaced",
        DuplicateClass::ClientRewind => "that a client took back over a rebalance",
        DuplicateClass::BeyondBudget => "BEYOND THE BUDGET",
    }
}

/// One line per trigger; `None` when there was none.
pub(super) fn rebalances(found: &GroupFindings) -> Option<String> {
    const COLUMNS: [&str; 15] = [
        "rebalances, in ms",
        "seen",
        "settled",
        "again",
        "stop p50",
        "max",
        "group",
        "rounds",
        "moved",
        "least",
        "in vain",
        "twice",
        "skipped",
        "refused",
        "lag",
    ];
    if found.rebalances.is_empty() {
        return None;
    }
    let rows: Vec<[String; COLUMNS.len()]> = found.rebalances.iter().take(ROWS_MAX).map(cells).collect();
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.max().unwrap_or(0).max(COLUMNS[column].chars().count())
    };
    let widths: Vec<usize> = (0..COLUMNS.len()).map(width).collect();
    let mut out = String::new();
    let titles = COLUMNS.map(str::to_owned);
    for row in [&titles].into_iter().chain(&rows) {
        let mut text = format!("{:1$}", row[0], widths[0]);
        for (cell, width) in row.iter().zip(&widths).skip(1) {
            let _ = write!(text, "  {cell:>width$}");
        }
        line(&mut out, &text);
    }
    if let Some(more) = found.rebalances.len().checked_sub(ROWS_MAX).filter(|more| *more > 0) {
        line(&mut out, &format!("and {more} more in {REBALANCES_FILE}"));
    }
    Some(out)
}

fn cells(one: &RebalanceMeasures) -> [String; 15] {
    let perhaps = |millis: Option<f64>| millis.map_or("-".to_owned(), |millis| format!("{millis:.0}"));
    [
        format!("fault {}, {}", one.fault, one.kind.name()),
        perhaps(one.detected_ms),
        perhaps(one.settled_ms),
        perhaps(one.again_ms),
        format!("{:.0}", one.stop.p50),
        format!("{:.0}", one.stop.max),
        format!("{:.0}", one.group_stop_ms),
        one.rebalances.to_string(),
        grouped(one.moved),
        grouped(one.moved_least),
        grouped(one.revoked_in_vain),
        grouped(one.redelivered_records()),
        grouped(one.skipped + one.unprocessed),
        grouped(one.refused_commits()),
        grouped(one.lag_peak),
    ]
}

/// The anomaly behind a check.
pub(super) fn anomaly<'a>(found: &'a GroupFindings, check: &str) -> Option<&'a GroupAnomaly> {
    Some(match check {
        "undelivered" => &found.undelivered,
        "skipped" => &found.skipped,
        "unprocessed" => &found.unprocessed,
        "redelivered" => &found.redelivered,
        "redelivered_beyond_budget" => &found.redelivered_beyond_budget,
        "inconsistent_offset" => &found.inconsistent_offset,
        "reordered_poll" => &found.reordered_poll,
        "unowned_poll" => &found.unowned_poll,
        "corrupted_poll" => &found.corrupted_poll,
        "commit_regress" => &found.commit_regress,
        "zombie_overlap" => &found.zombie_overlap,
        "stalled" => &found.stalled,
        "unsettled" => &found.unsettled,
        _ => return None,
    })
}

/// One instance as a line: the record, both owners, the trigger.
pub(super) fn instance(one: &Instance) -> String {
    let mut parts = Vec::new();
    if one.offset >= 0 {
        parts.push(format!("partition {}", one.partition));
        parts.push(match one.records {
            0 | 1 => format!("offset {}", one.offset),
            records => format!(
                "offsets {} to {}",
                one.offset,
                one.offset.saturating_add_unsigned(records - 1)
            ),
        });
    }
    if let Some((producer, sequence)) = one.producer.zip(one.sequence) {
        parts.push(format!("producer {producer} sequence {sequence}"));
    }
    let owner = |owner: Owner| {
        format!(
            "member {} (slot {}, generation {})",
            owner.member, owner.slot, owner.epoch
        )
    };
    parts.extend(one.owner.map(owner));
    parts.extend(one.earlier.map(|earlier| format!("before it {}", owner(earlier))));
    if !one.detail.is_empty() {
        parts.push(one.detail.clone());
    }
    let cause = one
        .cause
        .map(|cause| format!("after fault {} ({})", cause.fault, cause.kind.name()));
    parts.push(format!(
        "{} at {:.1} ms",
        cause.unwrap_or_else(|| "before any fault".to_owned()),
        one.at_ms
    ));
    parts.join(", ")
}
