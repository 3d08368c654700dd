//! From accounts to a verdict.
//!
//! A violation needs certainty: what a scan that did not end has not shown is unknown and not lost. A pass needs it too: a run whose
//! faults left no evidence, or that made no progress between them, could not have shown a violation.

use std::collections::BTreeSet;

use super::accounts::Accounts;
use super::explain;
use crate::findings::{Anomaly, Check, CheckKind, Example, FaultFound, Findings, Outcome, Verdict};
use crate::intervals::IntervalSet;
use crate::scenario::{Bound, Scenario};

/// Judges accounts; `incomplete` says in words which histories are not whole.
pub(super) fn judge(accounts: Accounts, incomplete: &[String], scenario: &Scenario) -> Findings {
    let gaps = Gaps::of(&accounts, incomplete);
    let mut findings = tally(&accounts, &gaps, scenario);
    let limits = &scenario.invariants;
    let scan = || gaps.of_scan.join("; ");
    let ledger = || {
        gaps.of_scan
            .iter()
            .chain(&gaps.of_ledger)
            .cloned()
            .collect::<Vec<_>>()
            .join("; ")
    };
    findings.checks = vec![
        at_most("lost", &findings.lost, limits.lost, ledger()),
        at_most("torn", &findings.torn, limits.torn, scan()),
        at_most("corrupted", &findings.corrupted, limits.corrupted, scan()),
        never_sent(
            &findings.never_sent,
            limits.never_sent,
            ledger(),
            !incomplete.is_empty(),
        ),
        at_most("reordered", &findings.reordered, limits.reordered, scan()),
        explain::duplicates(&findings, limits.log_duplicates, scan()),
        dense(&findings.not_dense, limits.offsets_dense, scan()),
        always_starts(&findings.faults, limits.always_starts),
        stays_up(findings.crashes, limits.stays_up, incomplete),
        faults_bit(&findings.faults, scenario),
        progress(&findings),
    ];
    findings.checks.extend(damage_sent(&findings, scenario));
    findings.checks.extend(explain::resent(&findings, scenario));
    findings.checks.extend(baseline(&findings, scenario));
    findings.conclude();
    findings
}

/// What the histories do not say, in words.
struct Gaps {
    /// Reasons why the scan is not the whole log.
    of_scan: Vec<String>,
    /// Further reasons why the accounts are not the whole story.
    of_ledger: Vec<String>,
    /// Partitions whose losses can't be told.
    unscanned: BTreeSet<u32>,
}

impl Gaps {
    fn of(accounts: &Accounts, incomplete: &[String]) -> Self {
        let mut gaps = Self {
            of_scan: Vec::new(),
            of_ledger: Vec::new(),
            unscanned: BTreeSet::new(),
        };
        for partition in accounts.accounts.keys().map(|key| key.1).collect::<BTreeSet<_>>() {
            let reason = match accounts.scans.get(&partition) {
                Some(scan) if scan.ended && scan.begun_ns.is_some_and(|begun| begun >= scan.last_acknowledged_ns) => {
                    continue;
                }
                Some(scan) if scan.ended => "was read before its last acknowledgement",
                Some(scan) if scan.begun_ns.is_some() => "was not read to its end",
                _ => "was not read",
            };
            gaps.of_scan.push(format!("partition {partition} {reason}"));
            gaps.unscanned.insert(partition);
        }
        if accounts.last_acknowledged_ns.is_none() {
            gaps.of_ledger.push("nothing was acknowledged".to_owned());
        }
        gaps.of_ledger.extend(incomplete.iter().cloned());
        gaps
    }
}

/// Counts, and the anomalies that show only at the end.
fn tally(accounts: &Accounts, gaps: &Gaps, scenario: &Scenario) -> Findings {
    let mut findings = Findings {
        scenario: scenario.name.clone(),
        verdict: Verdict::Inconclusive,
        checks: Vec::new(),
        sent: 0,
        acknowledged: 0,
        delivered: accounts.delivered,
        damaged_batches: accounts.damaged_batches,
        crashes: accounts.crashes,
        indeterminate_present: 0,
        indeterminate_absent: 0,
        lost: Anomaly::default(),
        log_duplicates: accounts.log_duplicates.clone(),
        unexplained: Anomaly::default(),
        not_repeated: Anomaly::default(),
        answers_lost: accounts.lost_answers.batches,
        answers_unknown: accounts.lost_answers.unknown,
        resent: 0,
        unheard: Vec::new(),
        reordered: accounts.reordered.clone(),
        corrupted: accounts.corrupted.clone(),
        torn: accounts.torn.clone(),
        never_sent: Anomaly::default(),
        not_dense: accounts.not_dense.clone(),
        acknowledged_before_faults: accounts.acknowledged_before_faults,
        baseline_per_s: None,
        recovered_per_s: None,
        faults: accounts.faults.clone(),
        group: None,
    };
    let is_asked = scenario.invariants.log_duplicates == Bound::Explained;
    for (&(producer, partition), account) in &accounts.accounts {
        findings.sent += account.sent.len();
        findings.acknowledged += account.acknowledged.len();
        explain::account(&mut findings, producer, partition, account, is_asked);
        if !gaps.unscanned.contains(&partition) {
            let lost = account.acknowledged.minus(&account.delivered);
            add_ranges(&mut findings.lost, &lost, producer, partition, "");
        }
        let perhaps = account.failed.or(&account.open);
        let unanswered = perhaps.minus(&account.acknowledged);
        let present = unanswered.and(&account.delivered);
        findings.indeterminate_present += present.len();
        findings.indeterminate_absent += unanswered.minus(&account.delivered).len();
        let foreign = account.delivered.minus(&account.sent);
        add_ranges(&mut findings.never_sent, &foreign, producer, partition, "never sent");
        let refused = account
            .refused
            .minus(&account.acknowledged)
            .minus(&perhaps)
            .and(&account.delivered);
        add_ranges(
            &mut findings.never_sent,
            &refused,
            producer,
            partition,
            "refused at each attempt",
        );
    }
    explain::by_fault(&mut findings, &accounts.lost_answers);
    let per_s = |records: u64, from_ns: u64, to_ns: u64| {
        let seconds = to_ns.saturating_sub(from_ns) as f64 / 1e9;
        (seconds > 0.0).then(|| records as f64 / seconds)
    };
    if let (Some(first), Some(sent_ns)) = (findings.faults.first(), accounts.first_sent_ns) {
        findings.baseline_per_s = per_s(findings.acknowledged_before_faults, sent_ns, first.began_ns);
    }
    if let Some((last, healed_ns)) = findings.faults.last().and_then(|last| Some((last, last.healed_ns?))) {
        findings.recovered_per_s = accounts
            .last_acknowledged_ns
            .and_then(|last_ns| per_s(last.acknowledged_after, healed_ns, last_ns));
    }
    findings
}

fn add_ranges(anomaly: &mut Anomaly, set: &IntervalSet, producer: u64, partition: u32, detail: &str) {
    for range in set.iter() {
        let records = range.end - range.start;
        let example = Example {
            producer: Some(producer),
            partition,
            sequence: Some(range.start),
            records,
            detail: detail.to_owned(),
            ..Example::default()
        };
        anomaly.add(records, example);
    }
}

pub(super) fn at_most(name: &str, anomaly: &Anomaly, bound: Bound, unknown: String) -> Check {
    count_at_most(name, anomaly.count, bound, unknown, false)
}

/// `hides` says that what is `unknown` could explain what was found.
pub(super) fn count_at_most(name: &str, count: u64, bound: Bound, unknown: String, hides: bool) -> Check {
    let outcome = match bound {
        // Only duplicates can be explained, and they are judged elsewhere.
        Bound::Counted | Bound::Explained => Outcome::Counted,
        Bound::AtMost(limit) if count > limit && !hides => Outcome::Violated,
        Bound::AtMost(_) if !unknown.is_empty() => Outcome::Unknown,
        Bound::AtMost(_) => Outcome::Holds,
    };
    let expected = match bound {
        Bound::Counted | Bound::Explained => "counted".to_owned(),
        Bound::AtMost(0) => "0".to_owned(),
        Bound::AtMost(limit) => format!("at most {limit}"),
    };
    check(name, expected, count.to_string(), outcome, unknown)
}

/// A history that is not whole may miss the announcement of a record, so a record without one proves nothing then.
fn never_sent(anomaly: &Anomaly, bound: Bound, unknown: String, is_cut: bool) -> Check {
    let mut check = at_most("never_sent", anomaly, bound, unknown.clone());
    if check.outcome == Outcome::Violated && is_cut {
        check.outcome = Outcome::Unknown;
        check.reason = unknown;
    }
    check
}

fn dense(anomaly: &Anomaly, is_asked: bool, unknown: String) -> Check {
    let bound = if is_asked { Bound::AtMost(0) } else { Bound::Counted };
    let mut check = at_most("offsets_dense", anomaly, bound, unknown);
    check.expected = if is_asked { "dense" } else { "counted" }.to_owned();
    check.observed = match anomaly.count {
        0 => "dense".to_owned(),
        places => format!("{places} gaps or overlaps"),
    };
    check
}

fn always_starts(faults: &[FaultFound], is_asked: bool) -> Check {
    let recovered = faults.iter().filter(|fault| fault.recovered).count();
    let refused = faults.iter().any(|fault| fault.healed_ns.is_some() && !fault.recovered);
    let (outcome, unknown) = match (is_asked, refused, recovered == faults.len()) {
        (false, _, _) => (Outcome::Counted, ""),
        (true, true, _) => (Outcome::Violated, ""),
        (true, false, false) => (Outcome::Unknown, "a fault was never healed"),
        (true, false, true) => (Outcome::Holds, ""),
    };
    let observed = format!("{recovered} of {}", faults.len());
    check(
        "always_starts",
        "after each fault".to_owned(),
        observed,
        outcome,
        unknown.to_owned(),
    )
}

fn stays_up(crashes: u64, is_asked: bool, incomplete: &[String]) -> Check {
    let outcome = match (is_asked, crashes) {
        (false, _) => Outcome::Counted,
        (true, 1..) => Outcome::Violated,
        (true, 0) if !incomplete.is_empty() => Outcome::Unknown,
        (true, 0) => Outcome::Holds,
    };
    let observed = format!("{crashes} crashes");
    check(
        "stays_up",
        "never ends by itself".to_owned(),
        observed,
        outcome,
        incomplete.join("; "),
    )
}

fn faults_bit(faults: &[FaultFound], scenario: &Scenario) -> Check {
    let of_broker = scenario.faults.iter().map(|fault| u64::from(fault.repeat));
    let triggers = scenario.group.iter().flat_map(|group| &group.triggers);
    let planned: u64 = of_broker.chain(triggers.map(|trigger| u64::from(trigger.repeat))).sum();
    let bit = faults.iter().filter(|fault| fault.evidence > 0).count() as u64;
    let unknown = match faults.iter().find(|fault| fault.evidence == 0) {
        Some(fault) => format!("fault {} left no evidence", fault.fault),
        None if bit < planned => "the run ended before its schedule".to_owned(),
        None => String::new(),
    };
    let outcome = if unknown.is_empty() {
        Outcome::Holds
    } else {
        Outcome::Unknown
    };
    condition(
        "faults_bit",
        "each left evidence".to_owned(),
        format!("{bit} of {planned}"),
        outcome,
        unknown,
    )
}

fn progress(findings: &Findings) -> Check {
    let phases = findings.faults.len() + 1;
    let between = |fault: &FaultFound| match fault.fault {
        number if fault.healed_ns.is_none() => format!("fault {number} was never healed"),
        number => format!("nothing was acknowledged after fault {number}"),
    };
    let mut idle: Vec<String> = findings
        .faults
        .iter()
        .filter(|fault| fault.acknowledged_after == 0)
        .map(between)
        .collect();
    if findings.acknowledged_before_faults == 0 {
        idle.insert(0, "nothing was acknowledged before the first fault".to_owned());
    }
    let outcome = if idle.is_empty() {
        Outcome::Holds
    } else {
        Outcome::Unknown
    };
    let observed = format!("{} of {phases}", phases - idle.len());
    let first = idle.into_iter().next().unwrap_or_default();
    condition(
        "progress_between_faults",
        "in each phase".to_owned(),
        observed,
        outcome,
        first,
    )
}

/// Damage that is asked for and was never sent has shown nothing about the broker's checks.
fn damage_sent(findings: &Findings, scenario: &Scenario) -> Option<Check> {
    scenario.workload.damage_every?;
    let (outcome, unknown) = match findings.damaged_batches {
        0 => (Outcome::Unknown, "no damaged batch was sent"),
        _ => (Outcome::Holds, ""),
    };
    let observed = format!("{} batches", findings.damaged_batches);
    Some(condition(
        "damage_sent",
        "at least one".to_owned(),
        observed,
        outcome,
        unknown.to_owned(),
    ))
}

fn baseline(findings: &Findings, scenario: &Scenario) -> Option<Check> {
    let at_least = scenario.steady.acknowledged_per_s_at_least?;
    let shown = |rate: Option<f64>| rate.map_or("unknown".to_owned(), |rate| format!("{rate:.0}/s"));
    let is_met = |rate: Option<f64>| rate.is_some_and(|rate| rate >= at_least);
    let (before, after) = (findings.baseline_per_s, findings.recovered_per_s);
    let after_is_met = scenario.workload.settle_ms == 0 || is_met(after);
    let unknown = match (is_met(before), after_is_met) {
        (true, true) => "",
        (false, _) => "the load was too low before the first fault",
        (true, false) => "the load was too low after the last fault",
    };
    let outcome = if unknown.is_empty() {
        Outcome::Holds
    } else {
        Outcome::Unknown
    };
    let observed = format!("{} before, {} after", shown(before), shown(after));
    Some(condition(
        "steady_acknowledged",
        format!("at least {at_least}/s"),
        observed,
        outcome,
        unknown.to_owned(),
    ))
}

pub(super) fn check(name: &str, expected: String, observed: String, outcome: Outcome, unknown: String) -> Check {
    let reason = if outcome == Outcome::Unknown {
        unknown
    } else {
        String::new()
    };
    Check {
        name: name.to_owned(),
        kind: CheckKind::Invariant,
        expected,
        observed,
        outcome,
        reason,
    }
}

pub(super) fn condition(name: &str, expected: String, observed: String, outcome: Outcome, unknown: String) -> Check {
    Check {
        kind: CheckKind::Condition,
        ..check(name, expected, observed, outcome, unknown)
    }
}
