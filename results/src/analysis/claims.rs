//! Each claim of a card against the analysed cells.

use crate::estimate::{RatioEstimate, Sample, Summary};
use crate::schema::{Better, ClaimCard, ExperimentCard, Factors, TrialRole};
use crate::verdict::{Criterion, Judgement, Verdict, compose, judge, judge_count};
use crate::wording;

use super::arms::Collected;
use super::comparable::Incomparable;
use super::{ArmAnalysis, Cell, CellAnalysis, CellFinding, ClaimFinding, Control, judge_cells, noise, oriented};

/// What the claims of a card are judged by.
pub(super) struct Evidence<'a> {
    pub card: &'a ExperimentCard,
    pub collected: &'a Collected,
    pub cells: &'a [CellAnalysis],
    pub controls: &'a [Control],
    pub incomparable: &'a Incomparable,
}

pub(super) fn judge_claims(evidence: &Evidence<'_>, distrust: Option<&noise::Distrust>) -> Vec<ClaimFinding> {
    let claims = evidence.card.claims.iter();
    let of = |claim: &ClaimCard| {
        let bears = |distrust: &&noise::Distrust| distrust.counts_too || !matches!(claim, ClaimCard::Counts { .. });
        judge_claim(
            evidence,
            claim,
            distrust.filter(bears).map(|distrust| distrust.why.as_str()),
        )
    };
    claims.map(of).collect()
}

/// `invalid` says why the claim can't be judged.
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
            metric,
            level,
            ratio,
            together: true,
            ..
        } => judge_together(evidence, *ratio, metric, level, &cells),
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
                    ratio: None,
                })
            })
            .collect(),
        ClaimCard::Keeps {
            metric,
            level,
            factor,
            from,
            at,
            ratio,
            ..
        } => {
            let along = Along {
                factor,
                from,
                at: at.as_deref(),
            };
            let compared = kept(evidence, metric, level, along, &cells);
            judge_estimates(evidence, *ratio, metric, level, compared)
        }
        ClaimCard::OfLimit {
            metric, level, ratio, ..
        } => {
            let compared = of_limit(evidence, metric, level, &cells);
            judge_estimates(evidence, *ratio, metric, level, compared)
        }
        ClaimCard::Reaches {
            metric, level, bound, ..
        } => judge_figures(card, *bound, metric, level, &cells),
    };
    let verdicts: Vec<Verdict> = findings.iter().map(|finding| finding.judgement.verdict).collect();
    let verdict = if invalid.is_some() {
        Verdict::Invalid
    } else {
        compose(&verdicts)
    };
    let incomparable = match claim {
        ClaimCard::Faster { level, .. } | ClaimCard::AtLeast { level, .. } => evidence.incomparable.why(level),
        ClaimCard::Counts { .. } | ClaimCard::Keeps { .. } | ClaimCard::OfLimit { .. } | ClaimCard::Reaches { .. } => {
            None
        }
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
            ratio: None,
        })
        .collect()
}

/// All cells as one: the geometric mean of their ratios in each block, over the blocks in which every one was measured. The spread of equal arms is
/// taken in the same way, over the controls that ran in these cells, or else over all.
fn judge_together(
    evidence: &Evidence<'_>,
    ratio: f64,
    metric: &str,
    level: &str,
    cells: &[&CellAnalysis],
) -> Vec<CellFinding> {
    let (card, collected) = (evidence.card, evidence.collected);
    let measured = |cell: &Cell, level: &str| collected.find(TrialRole::Measured, cell, level);
    let pairs: Vec<_> = cells
        .iter()
        .filter_map(|cell| Some((measured(&cell.cell, level)?, measured(&cell.cell, &card.baseline)?)))
        .collect();
    if pairs.is_empty() {
        return Vec::new();
    }
    let is_invalid = pairs
        .iter()
        .any(|(left, right)| left.invalid.is_some() || right.invalid.is_some());
    let together = collected.ratio_together(&pairs, metric);
    let twins: Vec<_> = collected
        .arms
        .iter()
        .filter(|arm| arm.role == TrialRole::Control)
        .filter_map(|arm| Some((arm, measured(&arm.cell, &arm.level)?)))
        .collect();
    let here: Vec<_> = twins
        .iter()
        .copied()
        .filter(|(arm, _)| cells.iter().any(|cell| cell.cell == arm.cell))
        .collect();
    let controls = if here.is_empty() { twins } else { here };
    let equal = collected.ratio_together(&controls, metric);
    let spread = equal.as_ref().map_or(0.0, noise::far_end);
    let logs = together.as_ref().map(|ratio| oriented(card, metric, &ratio.logs));
    let judgement = match evidence.incomparable.why(level) {
        Some(_) => Judgement::plain(Verdict::Incomparable),
        None if is_invalid => Judgement::plain(Verdict::Invalid),
        None => judge(Criterion::AtLeast { ratio }, &[logs], |_| spread)[0],
    };
    vec![CellFinding {
        cell: Cell { levels: Vec::new() },
        level: level.to_owned(),
        judgement,
        ratio: together,
    }]
}

/// Where a claim goes along a factor.
#[derive(Clone, Copy)]
struct Along<'a> {
    factor: &'a str,
    from: &'a str,
    /// `None` means every level but `from`.
    at: Option<&'a str>,
}

/// A ratio that is claimed of in a cell.
struct Compared<'a> {
    cell: &'a Cell,
    ratio: Option<RatioEstimate>,
    /// One of the two arms failed its check.
    is_invalid: bool,
}

/// The arm of each cell against the one of the same level in the cell that differs in the factor alone.
fn kept<'a>(
    evidence: &'a Evidence<'_>,
    metric: &str,
    level: &str,
    along: Along<'_>,
    cells: &[&'a CellAnalysis],
) -> Vec<Compared<'a>> {
    let is_meant = |cell: &Cell| match (cell.level(along.factor), along.at) {
        (Some(here), Some(at)) => here == at,
        (Some(here), None) => here != along.from,
        (None, _) => false,
    };
    let begin = |cell: &Cell| {
        let mut begin = cell.clone();
        for (_, level) in begin.levels.iter_mut().filter(|(factor, _)| factor == along.factor) {
            along.from.clone_into(level);
        }
        begin
    };
    let measured = |cell: &Cell| evidence.collected.find(TrialRole::Measured, cell, level);
    let cells = cells.iter().map(|cell| &cell.cell).filter(|cell| is_meant(cell));
    cells
        .filter_map(|cell| {
            let (here, first) = (measured(cell)?, measured(&begin(cell))?);
            let is_invalid = here.invalid.is_some() || first.invalid.is_some();
            Some(Compared {
                cell,
                ratio: evidence.collected.ratio(here, first, metric),
                is_invalid,
            })
        })
        .collect()
}

/// The arm of each cell against its physical limit, where one ran.
fn of_limit<'a>(evidence: &Evidence<'_>, metric: &str, level: &str, cells: &[&'a CellAnalysis]) -> Vec<Compared<'a>> {
    let collected = evidence.collected;
    let compared = |cell: &&'a CellAnalysis| {
        let cell = &cell.cell;
        let here = collected.find(TrialRole::Measured, cell, level)?;
        let limit = collected.limit_of(evidence.card, cell, level)?;
        Some(Compared {
            cell,
            ratio: collected.ratio(here, limit, metric),
            is_invalid: here.invalid.is_some() || limit.invalid.is_some(),
        })
    };
    cells.iter().filter_map(compared).collect()
}

/// Whether each ratio, turned so that above 1 is better, is at least what is claimed.
fn judge_estimates(
    evidence: &Evidence<'_>,
    ratio: f64,
    metric: &str,
    level: &str,
    compared: Vec<Compared<'_>>,
) -> Vec<CellFinding> {
    let logs = |compared: &Compared<'_>| Some(oriented(evidence.card, metric, &compared.ratio.as_ref()?.logs));
    let samples: Vec<Option<Sample>> = compared.iter().map(logs).collect();
    let spread = |cell: usize| noise::spread_in(evidence.controls, metric, compared[cell].cell).unwrap_or(0.0);
    let judgements = judge(Criterion::AtLeast { ratio }, &samples, spread);
    let finding = |(compared, judgement): (Compared<'_>, Judgement)| CellFinding {
        cell: compared.cell.clone(),
        level: level.to_owned(),
        judgement: match compared.is_invalid {
            true => Judgement::plain(Verdict::Invalid),
            false => judgement,
        },
        ratio: compared.ratio,
    };
    compared.into_iter().zip(judgements).map(finding).collect()
}

/// Whether the figures of a level, block by block, lie on the better side of what is claimed. They are held against no other arm, so two
/// equal arms have nothing to say.
fn judge_figures(
    card: &ExperimentCard,
    bound: f64,
    metric: &str,
    level: &str,
    cells: &[&CellAnalysis],
) -> Vec<CellFinding> {
    let is_lower = card.metric(metric).is_some_and(|metric| metric.better == Better::Lower);
    let beyond = |value: &f64| if is_lower { bound - value } else { value - bound };
    let arms: Vec<(&CellAnalysis, &ArmAnalysis)> = cells
        .iter()
        .filter_map(|cell| Some((*cell, cell.arm(level)?)))
        .collect();
    let sample = |(_, arm): &(&CellAnalysis, &ArmAnalysis)| {
        let measured = arm.metrics.get(metric)?;
        Sample::new(measured.blocks.iter().map(beyond).collect())
    };
    let samples: Vec<Option<Sample>> = arms.iter().map(sample).collect();
    // As a log ratio of 1 is 0, this asks whether a mean lies above 0.
    let judgements = judge(Criterion::AtLeast { ratio: 1.0 }, &samples, |_| 0.0);
    let finding = |((cell, arm), judgement): ((&CellAnalysis, &ArmAnalysis), Judgement)| CellFinding {
        cell: cell.cell.clone(),
        level: level.to_owned(),
        judgement: match arm.invalid {
            Some(_) => Judgement::plain(Verdict::Invalid),
            None => judgement,
        },
        ratio: None,
    };
    arms.into_iter().zip(judgements).map(finding).collect()
}

fn judge_arm_count(arm: &ArmAnalysis, metric: &str, expected: f64) -> Judgement {
    if arm.invalid.is_some() {
        return Judgement::plain(Verdict::Invalid);
    }
    let observed = arm.metrics.get(metric).map(|metric| &metric.summary);
    judge_count(expected, observed.map(|Summary { mean, .. }| *mean))
}
