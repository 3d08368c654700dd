//! What the checker found in a trial, as figures and as checks.

use anyhow::Context;
use chaos::checker::group::RebalanceMeasures;
use chaos::findings::CheckKind;
use chaos::run::RunSummary;
use chaos::{Findings, Outcome};
use results::schema::{LedgerEntry, Measurement, PlannedTrial};
use workloads::definition::Group;

/// A row per figure of the one trigger. What is absent has no row: nobody detected, or nothing came back.
///
/// # Errors
/// The checker told of no trigger.
pub fn rows(trial: &PlannedTrial, group: &Group, findings: &Findings) -> anyhow::Result<Vec<Measurement>> {
    let found = findings
        .group
        .as_ref()
        .context("the checker said nothing of the group")?;
    let measures = found.rebalances.first().context("the checker saw no trigger")?;
    let mut rows = Vec::new();
    let mut push = |metric: &str, unit: &str, value: Option<f64>| {
        rows.extend(value.map(|value| Measurement::of(trial, &trial.target, metric, unit, value, &[])));
    };
    for (metric, value) in [
        ("detected_ms", measures.detected_ms),
        ("settled_ms", measures.settled_ms),
        ("again_ms", measures.again_ms),
        ("lag_back_ms", measures.lag_back_ms),
        ("group_stop_ms", Some(measures.group_stop_ms)),
    ] {
        push(metric, "ms", value);
    }
    let stop = (measures.stop.count > 0).then_some(&measures.stop);
    push("stop_p50_ms", "ms", stop.map(|stop| stop.p50));
    push("stop_max_ms", "ms", stop.map(|stop| stop.max));
    for (metric, count) in counts(measures) {
        push(metric, "1", Some(count as f64));
    }
    // Whoever lives on and is thrown out all the same.
    let is_evicted = group
        .trigger
        .spares_its_victim()
        .then(|| f64::from(u8::from(measures.rebalances > 0)));
    push("evicted", "1", is_evicted);
    let codes: Vec<f64> = measures.commits_refused.keys().map(|code| f64::from(*code)).collect();
    push("refused_code", "1", codes.first().copied().filter(|_| codes.len() == 1));
    Ok(rows)
}

fn counts(measures: &RebalanceMeasures) -> [(&'static str, u64); 11] {
    [
        ("rebalances", measures.rebalances.into()),
        ("partitions_given", measures.partitions_given.into()),
        ("moved", measures.moved),
        ("moved_least", measures.moved_least),
        ("given_back", measures.revoked_in_vain),
        ("duplicates", measures.redelivered_records()),
        ("skipped", measures.skipped),
        ("unprocessed", measures.unprocessed),
        ("commits_refused", measures.refused_commits()),
        ("commits_undecided", measures.commits_undecided),
        ("lag_peak", measures.lag_peak),
    ]
}

/// Every invariant and condition of the checker, and whether the engine met trouble. One that was counted only always passes.
pub fn ledger(trial: &PlannedTrial, summary: &RunSummary, findings: &Findings) -> Vec<LedgerEntry> {
    let entry = |check: String, expected: String, observed: String, ok: bool| LedgerEntry {
        experiment: trial.experiment.clone(),
        trial: trial.trial,
        arm: trial.arm.clone(),
        check,
        expected,
        observed,
        ok,
    };
    let trouble = entry(
        "the run without trouble".to_owned(),
        "none".to_owned(),
        if summary.troubles.is_empty() {
            "none".to_owned()
        } else {
            summary.troubles.join("; ")
        },
        summary.troubles.is_empty(),
    );
    let checks = findings.checks.iter().map(|check| {
        let prefix = match check.kind {
            CheckKind::Invariant => "",
            CheckKind::Condition => "condition: ",
        };
        let observed = match check.outcome {
            Outcome::Unknown => format!("{} (unknown: {})", check.observed, check.reason),
            _ => check.observed.clone(),
        };
        let ok = matches!(check.outcome, Outcome::Holds | Outcome::Counted);
        entry(format!("{prefix}{}", check.name), check.expected.clone(), observed, ok)
    });
    std::iter::once(trouble).chain(checks).collect()
}
