//! Each claim of a card against the analysed cells.

use crate::estimate::Summary;
use crate::schema::{ClaimCard, ExperimentCard};
use crate::verdict::{Criterion, Judgement, Verdict, compose, judge_count};
use crate::wording;

use super::{ArmAnalysis, CellAnalysis, CellFinding, ClaimFinding, Control, judge_cells, noise};

pub(super) fn judge_claims(
    card: &ExperimentCard,
    cells: &[CellAnalysis],
    controls: &[Control],
    invalid: Option<&str>,
) -> Vec<ClaimFinding> {
    card.claims
        .iter()
        .map(|claim| {
            let spread = noise::spread(controls, claim.metric()).unwrap_or(0.0);
            let findings = match claim {
                ClaimCard::Faster { metric, level, .. } => judge_ratio(
                    card,
                    cells,
                    Criterion::Faster { margin: card.margin },
                    metric,
                    level,
                    controls,
                ),
                ClaimCard::AtLeast {
                    metric, level, ratio, ..
                } => judge_ratio(
                    card,
                    cells,
                    Criterion::AtLeast { ratio: *ratio },
                    metric,
                    level,
                    controls,
                ),
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
            let reason = wording::reason(
                &wording::Context {
                    card,
                    cells,
                    claim,
                    findings: &findings,
                    spread,
                },
                verdict,
                invalid,
            );
            ClaimFinding {
                claim: claim.clone(),
                verdict,
                reason,
                cells: findings,
            }
        })
        .collect()
}

fn judge_ratio(
    card: &ExperimentCard,
    cells: &[CellAnalysis],
    criterion: Criterion,
    metric: &str,
    level: &str,
    controls: &[Control],
) -> Vec<CellFinding> {
    let both: Vec<&CellAnalysis> = cells
        .iter()
        .filter(|cell| cell.arm(level).is_some() && cell.arm(&card.baseline).is_some())
        .collect();
    let judgements = judge_cells(card, criterion, metric, level, &both, controls);
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
