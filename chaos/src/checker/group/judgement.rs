//! From what was found to checks.
//!
//! A history that is missing hides deliveries: what nobody seems to have got is then unknown and not skipped. What two histories show
//! together stays a violation whatever a third one would say.

use workloads::history::FaultKind;

use super::book::Book;
use super::survey::Survey;
use super::{GroupAnomaly, GroupContext, GroupFindings, GroupRules};
use crate::checker::judgement::{check, condition, count_at_most};
use crate::findings::{Check, Outcome};
use crate::scenario::Bound;

/// What the windows say about whether the run could have shown anything.
pub(super) struct Phases {
    /// Records polled before the first trigger, and after each one.
    delivered: Vec<u64>,
    /// Numbers of triggers that had to cause a rebalance, and whether one was seen.
    had_to_rebalance: Vec<(u32, bool)>,
}

impl Phases {
    pub(super) fn of(book: &Book<'_>) -> Self {
        let must = |kind: FaultKind, is_aimed: bool| match kind {
            FaultKind::Kill => is_aimed,
            FaultKind::Join
            | FaultKind::Leave
            | FaultKind::RollingRestart
            | FaultKind::AddPartitions
            | FaultKind::Subscribe => true,
            _ => false,
        };
        let triggers = book.survey.triggers.iter().zip(book.windows.iter().skip(1));
        Self {
            delivered: book.windows.iter().map(|window| window.delivered).collect(),
            had_to_rebalance: triggers
                .filter(|(trigger, _)| must(trigger.kind, !trigger.aimed.is_empty()))
                .map(|(trigger, window)| (trigger.fault, window.has_rebalanced()))
                .collect(),
        }
    }
}

/// The checks of a group.
pub(super) fn judge(
    found: &GroupFindings,
    survey: &Survey,
    phases: &Phases,
    rules: &GroupRules,
    context: &GroupContext,
) -> Vec<Check> {
    let incomplete = survey.incomplete.join("; ");
    let unread = unread(found, survey);
    let both = [incomplete.as_str(), unread.as_str()]
        .into_iter()
        .filter(|reason| !reason.is_empty())
        .collect::<Vec<_>>()
        .join("; ");
    let undrained = match context.drained {
        true => both.clone(),
        false => "the run did not wait until the group had read everything".to_owned(),
    };
    let certain = |name, anomaly, bound, unknown: &str| at_most(name, anomaly, bound, unknown, false);
    let absence = |name, anomaly, bound, unknown: &str| {
        at_most(
            name,
            anomaly,
            bound,
            unknown,
            !incomplete.is_empty() || !unknown.is_empty(),
        )
    };
    let mut checks = vec![
        absence("undelivered", &found.undelivered, rules.undelivered, &undrained),
        absence("skipped", &found.skipped, rules.skipped, &incomplete),
        absence("unprocessed", &found.unprocessed, rules.unprocessed, &incomplete),
        certain("redelivered", &found.redelivered, rules.redelivered, &incomplete),
        certain(
            "redelivered_beyond_budget",
            &found.redelivered_beyond_budget,
            rules.redelivered_beyond_budget,
            &incomplete,
        ),
        certain(
            "inconsistent_offset",
            &found.inconsistent_offset,
            rules.inconsistent_offset,
            &both,
        ),
        certain(
            "reordered_poll",
            &found.reordered_poll,
            rules.reordered_poll,
            &incomplete,
        ),
        certain("unowned_poll", &found.unowned_poll, rules.unowned_poll, &incomplete),
        certain(
            "corrupted_poll",
            &found.corrupted_poll,
            rules.corrupted_poll,
            &incomplete,
        ),
        certain(
            "commit_regress",
            &found.commit_regress,
            rules.commit_regress,
            &incomplete,
        ),
        certain(
            "zombie_overlap",
            &found.zombie_overlap,
            rules.zombie_overlap,
            &incomplete,
        ),
    ];
    if rules.stalled_ms.is_some() {
        checks.push(absence("stalled", &found.stalled, rules.stalled, &incomplete));
    }
    if rules.settles_within_ms.is_some() {
        checks.push(certain("unsettled", &found.unsettled, rules.unsettled, &incomplete));
    }
    checks.extend(recovers(found, rules));
    checks.push(delivered_between(phases));
    checks.push(rebalances_seen(phases));
    checks
}

/// Partitions that the group read and the scan did not, in words.
fn unread(found: &GroupFindings, survey: &Survey) -> String {
    let held = found.detail.ownership.iter().map(|holding| holding.partition);
    let unread = held.filter(|partition| survey.log.end(*partition).is_none()).min();
    unread.map_or(String::new(), |partition| {
        format!("the log of partition {partition} was not read to its end")
    })
}

/// `hides`: see [`count_at_most`].
fn at_most(name: &str, anomaly: &GroupAnomaly, bound: Bound, unknown: &str, hides: bool) -> Check {
    count_at_most(name, anomaly.count, bound, unknown.to_owned(), hides)
}

fn recovers(found: &GroupFindings, rules: &GroupRules) -> Option<Check> {
    let bound_ms = rules.recovers_within_ms?;
    let slowest_ms = found
        .rebalances
        .iter()
        .filter_map(|one| one.again_ms)
        .fold(0.0, f64::max);
    let never = found.rebalances.iter().find(|one| one.partitions_not_again > 0);
    let (outcome, unknown) = match never {
        _ if slowest_ms > bound_ms as f64 => (Outcome::Violated, String::new()),
        Some(one) => (
            Outcome::Unknown,
            format!(
                "{} partitions delivered nothing between fault {} and the next one",
                one.partitions_not_again, one.fault
            ),
        ),
        None => (Outcome::Holds, String::new()),
    };
    let expected = format!("at most {bound_ms} ms");
    let observed = format!("{slowest_ms:.0} ms");
    Some(check("recovers_within_ms", expected, observed, outcome, unknown))
}

fn delivered_between(phases: &Phases) -> Check {
    let idle = phases.delivered.iter().position(|&records| records == 0);
    let unknown = match idle {
        Some(0) => "the group polled nothing before the first fault".to_owned(),
        Some(place) => format!("the group polled nothing after fault {place}"),
        None => String::new(),
    };
    let busy = phases.delivered.iter().filter(|&&records| records > 0).count();
    let outcome = if idle.is_some() {
        Outcome::Unknown
    } else {
        Outcome::Holds
    };
    let observed = format!("{busy} of {}", phases.delivered.len());
    condition(
        "group_delivers_between_faults",
        "in each phase".to_owned(),
        observed,
        outcome,
        unknown,
    )
}

fn rebalances_seen(phases: &Phases) -> Check {
    let all = &phases.had_to_rebalance;
    let unseen = all.iter().find(|(_, seen)| !seen);
    let unknown = unseen.map_or(String::new(), |(fault, _)| format!("fault {fault} caused no rebalance"));
    let outcome = if unseen.is_some() {
        Outcome::Unknown
    } else {
        Outcome::Holds
    };
    let seen = all.iter().filter(|(_, seen)| *seen).count();
    condition(
        "rebalances_seen",
        "after each change of the group".to_owned(),
        format!("{seen} of {}", all.len()),
        outcome,
        unknown,
    )
}
