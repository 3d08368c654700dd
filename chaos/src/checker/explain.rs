//! Duplicates, held against the acknowledgements that were lost on the way.

use super::accounts::Account;
use super::judgement::{at_most, check, condition};
use super::lost_answers::{LostAnswers, compare};
use crate::findings::{Anomaly, Check, Example, Findings, Outcome, UNHEARD_MAX, Unheard};
use crate::scenario::{Bound, FaultKind, Scenario};

/// Books whose acknowledgements were lost, of one producer and partition, and, when it `is_asked`, what that does not explain.
pub(super) fn account(findings: &mut Findings, producer: u64, partition: u32, account: &Account, is_asked: bool) {
    let mut repeated = crate::intervals::IntervalSet::default();
    for range in &account.repeated {
        repeated.insert(range.clone());
    }
    let mut foretold = Vec::new();
    for (range, fault) in &account.unheard {
        let later = account.acknowledged.within(range.clone());
        let members = |parts: &[std::ops::Range<u64>]| parts.iter().map(|part| part.end - part.start).sum::<u64>();
        let unheard = Unheard {
            fault: *fault,
            producer,
            partition,
            sequence: range.start,
            records: range.end - range.start,
            acknowledged_later: members(&later),
            duplicated: members(&repeated.within(range.clone())),
        };
        findings.resent += unheard.acknowledged_later;
        if let Some(found) = findings.faults.iter_mut().find(|found| found.fault == *fault) {
            found.duplicates += unheard.duplicated;
        }
        name_the_cause(&mut findings.log_duplicates, &unheard);
        if findings.unheard.len() < UNHEARD_MAX {
            findings.unheard.push(unheard);
        }
        foretold.extend(later);
    }
    if !is_asked {
        return;
    }
    for (range, excess) in compare(&account.repeated, &foretold) {
        let (anomaly, detail) = match excess {
            1.. => (&mut findings.unexplained, "no lost acknowledgement explains it"),
            _ => (&mut findings.not_repeated, "a lost acknowledgement foretells one more"),
        };
        let records = range.end - range.start;
        let example = Example {
            producer: Some(producer),
            partition,
            sequence: Some(range.start),
            records,
            detail: detail.to_owned(),
            ..Example::default()
        };
        anomaly.add(records.saturating_mul(excess.unsigned_abs()), example);
    }
}

/// Says in the examples of duplicates which fault made the producer send them again.
fn name_the_cause(duplicates: &mut Anomaly, unheard: &Unheard) {
    let sequences = unheard.sequence..unheard.sequence.saturating_add(unheard.records);
    for example in &mut duplicates.examples {
        let is_of = example.partition == unheard.partition && example.producer == Some(unheard.producer);
        if is_of && example.sequence.is_some_and(|sequence| sequences.contains(&sequence)) {
            example.detail = match unheard.fault {
                0 => "its acknowledgement came after the client had left".to_owned(),
                fault => format!("its acknowledgement was lost to fault {fault}"),
            };
        }
    }
}

/// Books how many acknowledgements each fault took.
pub(super) fn by_fault(findings: &mut Findings, lost: &LostAnswers) {
    for (fault, batches) in lost.by_fault() {
        if let Some(found) = findings.faults.iter_mut().find(|found| found.fault == fault) {
            found.answers_lost = batches;
        }
    }
}

/// Judges duplicates: none, some, or exactly those that lost acknowledgements foretell.
pub(super) fn duplicates(findings: &Findings, bound: Bound, unknown: String) -> Check {
    const NAME: &str = "log_duplicates";
    if bound != Bound::Explained {
        return at_most(NAME, &findings.log_duplicates, bound, unknown);
    }
    let mut reasons = vec![unknown];
    if findings.answers_unknown > 0 {
        reasons.push(format!("{} answers could not be followed", findings.answers_unknown));
    }
    reasons.retain(|reason| !reason.is_empty());
    let outcome = match (findings.unexplained.count, findings.not_repeated.count) {
        _ if !reasons.is_empty() => Outcome::Unknown,
        (0, 0) => Outcome::Holds,
        _ => Outcome::Violated,
    };
    let observed = match (findings.unexplained.count, findings.not_repeated.count) {
        (0, 0) => findings.log_duplicates.count.to_string(),
        (more, less) => format!("{}: {more} unexplained, {less} missing", findings.log_duplicates.count),
    };
    let expected = format!("{} explained", findings.resent);
    check(NAME, expected, observed, outcome, reasons.join("; "))
}

/// Acknowledgements that are meant to be lost, and after which nothing came again, have shown nothing about retries.
pub(super) fn resent(findings: &Findings, scenario: &Scenario) -> Option<Check> {
    let mut kinds = scenario.faults.iter().map(|fault| fault.kind);
    kinds.find(FaultKind::loses_acknowledgements)?;
    let (outcome, unknown) = match findings.resent {
        0 => (
            Outcome::Unknown,
            "nothing was sent again and acknowledged after its first acknowledgement was lost",
        ),
        _ => (Outcome::Holds, ""),
    };
    let observed = format!("{} records", findings.resent);
    let expected = "at least one".to_owned();
    Some(condition(
        "resent_after_loss",
        expected,
        observed,
        outcome,
        unknown.to_owned(),
    ))
}
