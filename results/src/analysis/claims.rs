//! Each claim of a card against the analysed cells.

use crate::estimate::Summary;
use crate::schema::{ClaimCard, ExperimentCard, Factors};
use crate::verdict::{Criterion, Judgement, Verdict, compose, judge_count};
use crate::wording;

use super::comparable::Incomparable;
use super::{ArmAnalysis, Cell, CellAnalysis, CellFinding, ClaimFinding, Control, judge_cells, noise};

/// What the claims of a card are judged by.
pub(super) struct Evidence<'a> {
    pub card: &'a ExperimentCard,
    pub cells: &'a [CellAnalysis],
    pub controls: &'a [Control],
    pub incomparable: &'a Incomparable,
}

/// `invalid` says why the whole experiment can't be trusted.
pub(super) fn judge_claims(evidence: &Evidence<'_>, invalid: Option<&str>) -> Vec<ClaimFinding> {
    let claims = evidence.card.claims.iter();
    claims.map(|claim| judge_claim(evidence, claim, invalid)).collect()
}

fn judge_claim(evidence: &Evidence<'_>, claim: &ClaimCard, invalid: Option<&str>) -> ClaimFinding {
    let Evidence { card, controls, .. } = evidence;
    let cells: Vec<&CellAnalysis> = evidence
        .cells
        .iter()
        .filter(|cell| is_confined_to(&cell.cell, claim.only()))
        .collect();
    let findings = match claim {
        ClaimCard::Faster { metric, level, .. } => judge_ratio(
            evidence,
            Criterion::Faster { margin: card.margin },
            metric,
            level,
            &cells,
        ),
        ClaimCard::AtLeast {
            metric, level, ratio, ..
        } => judge_ratio(evidence, Criterion::AtLeast { ratio: *ratio }, metric, level, &cells),
        ClaimCard::Counts { metric, expected, .. } => cells
            .iter()
            .flat_map(|cell| cell.arms.iter().map(move |arm| (cell, arm)))
            .filter_map(|(cell, arm)| {
                let judgement = judge_arm_count(arm, metric, *expected.get(&arm.level)?);
                Some(CellFinding {
                    cell: cell.cell.clone(),
                    level: arm.level.clone(),
                    judgement,
                })
            })
            .collect(),
    };
    let verdicts: Vec<Verdict> = findings.iter().map(|finding| finding.judgement.verdict).collect();
    let verdict = if invalid.is_some() {
        Verdict::Invalid
    } else {
        compose(&verdicts)
    };
    let incomparable = match claim {
        ClaimCard::Faster { level, .. } | ClaimCard::AtLeast { level, .. } => evidence.incomparable.why(level),
        ClaimCard::Counts { .. } => None,
    };
    let context = wording::Context {
        card,
        cells: &cells,
        claim,
        findings: &findings,
        spread: noise::spread(controls, claim.metric()).unwrap_or(0.0),
        invalid,
        incomparable,
    };
    ClaimFinding {
        claim: claim.clone(),
        verdict,
        reason: wording::reason(&context, verdict),
        cells: findings,
    }
}

fn is_confined_to(cell: &Cell, only: &Factors) -> bool {
    only.iter().all(|(factor, level)| cell.level(factor) == Some(level))
}

fn judge_ratio(
    evidence: &Evidence<'_>,
    criterion: Criterion,
    metric: &str,
    level: &str,
    cells: &[&CellAnalysis],
) -> Vec<CellFinding> {
    let card = evidence.card;
    let both: Vec<&CellAnalysis> = cells
        .iter()
        .copied()
        .filter(|cell| cell.arm(level).is_some() && cell.arm(&card.baseline).is_some())
        .collect();
    let judgements = match evidence.incomparable.why(level) {
        Some(_) => vec![Judgement::plain(Verdict::Incomparable); both.len()],
        None => judge_cells(card, criterion, metric, level, &both, evidence.controls),
    };
    both.iter()
        .zip(judgements)
        .map(|(cell, judgement)| CellFinding {
            cell: cell.cell.clone(),
            level: level.to_owned(),
            judgement,
        })
        .collect()
}

fn judge_arm_count(arm: &ArmAnalysis, metric: &str, expected: f64) -> Judgement {
    if arm.invalid.is_some() {
        return Judgement::plain(Verdict::Invalid);
    }
    let observed = arm.metrics.get(metric).map(|metric| &metric.summary);
    judge_count(expected, observed.map(|Summary { mean, .. }| *mean))
}
