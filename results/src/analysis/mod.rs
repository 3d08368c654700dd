//! From trials to estimates and verdicts.
//!
//! [`analyse`] pairs every arm with the baseline of its cell block by block, with the physical limit where one was
//! run, and the control with its twin; then every claim is judged ([`crate::verdict`]). It is driven by the cards in
//! the manifest and knows no metric by name. Nothing is printed or drawn here.

mod arms;
mod claims;
mod noise;

use std::collections::BTreeMap;

use crate::estimate::{RatioEstimate, Sample, Summary};
use crate::reader::Run;
use crate::schema::{Better, ClaimCard, ExperimentCard, TrialRole};
use crate::verdict::{Criterion, Judgement, Verdict, judge};
use arms::{ArmData, Collected};
pub use noise::{Control, FailedTrial, Unsteady};

/// What follows from a run.
#[derive(Debug)]
pub struct Analysis {
    /// One entry per experiment and target.
    pub experiments: Vec<ExperimentAnalysis>,
    /// What was odd about the files, in whole sentences.
    pub notes: Vec<String>,
}

/// What follows from one experiment on one target.
#[derive(Debug)]
pub struct ExperimentAnalysis {
    /// The experiment's card.
    pub card: ExperimentCard,
    /// The target's name.
    pub target: String,
    /// The cells, in the order of the factors' levels.
    pub cells: Vec<CellAnalysis>,
    /// The A/A arms.
    pub controls: Vec<Control>,
    /// The claims with their verdicts, in the order of the card.
    pub claims: Vec<ClaimFinding>,
    /// Why the whole experiment can't be trusted.
    pub invalid: Option<String>,
    /// The trials that failed.
    pub failed: Vec<FailedTrial>,
    /// How many trials carry each flag.
    pub flagged: BTreeMap<String, usize>,
    /// How many trials left measurements.
    pub trials: usize,
    /// How many blocks left measurements.
    pub blocks: usize,
    /// Arms whose rate drifted within the window.
    pub unsteady: Vec<Unsteady>,
    /// What a reader must know, in whole sentences.
    pub notes: Vec<String>,
}

impl ExperimentAnalysis {
    /// The A/A spread of a metric: the far end of the controls' interval as a log ratio; `None` without a control.
    pub fn spread(&self, metric: &str) -> Option<f64> {
        noise::spread(&self.controls, metric)
    }

    /// Every arm with its cell, limits last.
    pub fn arms(&self) -> impl Iterator<Item = (&CellAnalysis, &ArmAnalysis)> {
        self.cells
            .iter()
            .flat_map(|cell| cell.arms.iter().chain(&cell.limits).map(move |arm| (cell, arm)))
    }
}

/// The levels of all factors but the one under test, in the order of the card.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cell {
    /// (factor name, level) pairs.
    pub levels: Vec<(String, String)>,
}

impl Cell {
    /// The level of a factor.
    pub fn level(&self, factor: &str) -> Option<&str> {
        self.levels
            .iter()
            .find(|(name, _)| name == factor)
            .map(|(_, level)| level.as_str())
    }
}

/// The arms of one cell.
#[derive(Debug)]
pub struct CellAnalysis {
    /// The cell.
    pub cell: Cell,
    /// One entry per level of the treatment, in the order of the card.
    pub arms: Vec<ArmAnalysis>,
    /// The physical limits, whose level is `bare-<level>`.
    pub limits: Vec<ArmAnalysis>,
}

impl CellAnalysis {
    /// The arm of that level of the treatment.
    pub fn arm(&self, level: &str) -> Option<&ArmAnalysis> {
        self.arms.iter().find(|arm| arm.level == level)
    }
}

/// One arm: one level of the treatment in one cell.
#[derive(Debug)]
pub struct ArmAnalysis {
    /// The arm's id.
    pub arm: String,
    /// The level of the treatment.
    pub level: String,
    /// What was measured, by metric name; empty when the arm is invalid.
    pub metrics: BTreeMap<String, MetricAnalysis>,
    /// "Better than the baseline" on the deciding metric, corrected over the cells; absent for the baseline.
    pub judgement: Option<Judgement>,
    /// The failed check, when there is one: an arm that lost records has no throughput.
    pub invalid: Option<String>,
    /// How many of its trials failed.
    pub failed: usize,
}

/// One metric of one arm.
#[derive(Debug)]
pub struct MetricAnalysis {
    /// Its mean over the blocks.
    pub summary: Summary,
    /// Its ratio to the baseline of the cell; absent for the baseline, and where zeros or gaps leave no two blocks.
    pub to_baseline: Option<RatioEstimate>,
    /// Its ratio to the physical limit, where one was run.
    pub to_limit: Option<RatioEstimate>,
}

/// A claim and what became of it.
#[derive(Debug)]
pub struct ClaimFinding {
    /// The claim.
    pub claim: ClaimCard,
    /// The verdict over all cells.
    pub verdict: Verdict,
    /// Why, in plain English.
    pub reason: String,
    /// The verdict of each cell and level.
    pub cells: Vec<CellFinding>,
}

/// A claim in one cell.
#[derive(Debug, Clone)]
pub struct CellFinding {
    /// The cell.
    pub cell: Cell,
    /// The level of the treatment.
    pub level: String,
    /// The verdict.
    pub judgement: Judgement,
}

/// Analyses every experiment of a run.
pub fn analyse(run: &Run) -> Analysis {
    let experiments = run
        .manifest
        .experiments
        .iter()
        .flat_map(|card| {
            let mut targets = arms::targets(run, &card.name);
            if targets.is_empty() {
                targets.push(String::new());
            }
            targets.into_iter().map(|target| analyse_experiment(run, card, target))
        })
        .collect();
    Analysis {
        experiments,
        notes: run.notes.clone(),
    }
}

fn analyse_experiment(run: &Run, card: &ExperimentCard, target: String) -> ExperimentAnalysis {
    let collected = Collected::of(run, card, &target);
    let controls = noise::controls(card, &collected);
    let invalid = noise::why_invalid(card, &controls);
    let mut cells = cells(card, &collected);
    judge_levels(card, &mut cells, &controls);
    let claims = claims::judge_claims(card, &cells, &controls, invalid.as_deref());
    let unsteady = noise::unsteady(run, card, &collected);
    let notes = noise::notes(run, card, &collected, &controls);
    ExperimentAnalysis {
        card: card.clone(),
        target,
        cells,
        controls,
        claims,
        invalid,
        failed: collected.failed,
        flagged: collected.flagged,
        trials: collected.trials,
        blocks: collected.blocks.len(),
        unsteady,
        notes,
    }
}

/// Whether a metric is turned round, so that above 1 always means better.
pub(crate) fn oriented(card: &ExperimentCard, metric: &str, logs: &Sample) -> Sample {
    match card.metric(metric).map(|metric| metric.better) {
        Some(Better::Lower) => logs.negated(),
        _ => logs.clone(),
    }
}

fn cells(card: &ExperimentCard, collected: &Collected) -> Vec<CellAnalysis> {
    let mut by_cell: BTreeMap<(Vec<usize>, &Cell), CellAnalysis> = BTreeMap::new();
    for arm in collected.arms.iter().filter(|arm| arm.role != TrialRole::Control) {
        let entry = by_cell
            .entry((arm.cell_order(card), &arm.cell))
            .or_insert_with(|| CellAnalysis {
                cell: arm.cell.clone(),
                arms: Vec::new(),
                limits: Vec::new(),
            });
        let baseline = collected.find(TrialRole::Measured, &arm.cell, &card.baseline);
        let limit = collected.find(TrialRole::Limit, &arm.cell, &format!("bare-{}", arm.level));
        let is_limit = arm.role == TrialRole::Limit;
        let analysis = arm_analysis(
            card,
            collected,
            arm,
            baseline.filter(|baseline| !is_limit && baseline.level != arm.level),
            limit,
        );
        if is_limit {
            entry.limits.push(analysis)
        } else {
            entry.arms.push(analysis)
        }
    }
    let mut cells: Vec<CellAnalysis> = by_cell.into_values().collect();
    // A cell in which only a limit ran compares nothing.
    cells.retain(|cell| !cell.arms.is_empty());
    for cell in &mut cells {
        cell.arms
            .sort_by_key(|arm| arms::level_order(card, &card.treatment, &arm.level));
    }
    cells
}

fn arm_analysis(
    card: &ExperimentCard,
    collected: &Collected,
    arm: &ArmData,
    baseline: Option<&ArmData>,
    limit: Option<&ArmData>,
) -> ArmAnalysis {
    let usable = |other: Option<&ArmData>, metric: &str| {
        other
            .filter(|other| other.invalid.is_none())
            .and_then(|other| collected.ratio(arm, other, metric))
    };
    let metrics = card
        .metrics
        .iter()
        .filter(|_| arm.invalid.is_none())
        .filter_map(|metric| {
            let summary = Summary::of(&arm.values(&metric.name))?;
            let to_baseline = usable(baseline, &metric.name);
            let to_limit = usable(limit, &metric.name);
            Some((
                metric.name.clone(),
                MetricAnalysis {
                    summary,
                    to_baseline,
                    to_limit,
                },
            ))
        })
        .collect();
    ArmAnalysis {
        arm: arm.arm.clone(),
        level: arm.level.clone(),
        metrics,
        judgement: None,
        invalid: arm.invalid.clone(),
        failed: arm.failed,
    }
}

/// Judges every level against the baseline, each level's cells corrected together.
fn judge_levels(card: &ExperimentCard, cells: &mut [CellAnalysis], controls: &[Control]) {
    let mut levels: Vec<String> = cells
        .iter()
        .flat_map(|cell| &cell.arms)
        .map(|arm| arm.level.clone())
        .collect();
    levels.sort();
    levels.dedup();
    let criterion = Criterion::Faster { margin: card.margin };
    for level in levels.into_iter().filter(|level| *level != card.baseline) {
        let members: Vec<(usize, usize)> = cells
            .iter()
            .enumerate()
            .filter_map(|(cell, analysis)| Some((cell, analysis.arms.iter().position(|arm| arm.level == level)?)))
            .collect();
        let judgements = {
            let judged: Vec<&CellAnalysis> = members.iter().map(|(cell, _)| &cells[*cell]).collect();
            judge_cells(card, criterion, &card.deciding_metric, &level, &judged, controls)
        };
        for ((cell, arm), judgement) in members.into_iter().zip(judgements) {
            cells[cell].arms[arm].judgement = Some(judgement);
        }
    }
}

/// Judges a level against the baseline in the given cells, an invalid arm on either side making its cell INVALID.
fn judge_cells(
    card: &ExperimentCard,
    criterion: Criterion,
    metric: &str,
    level: &str,
    cells: &[&CellAnalysis],
    controls: &[Control],
) -> Vec<Judgement> {
    let evidence: Vec<Option<Sample>> = cells
        .iter()
        .map(|cell| {
            let logs = &cell.arm(level)?.metrics.get(metric)?.to_baseline.as_ref()?.logs;
            Some(oriented(card, metric, logs))
        })
        .collect();
    let spread = |cell: usize| noise::spread_in(controls, metric, &cells[cell].cell);
    let mut judgements = judge(criterion, &evidence, spread);
    for (judgement, cell) in judgements.iter_mut().zip(cells) {
        let broken = [level, card.baseline.as_str()]
            .into_iter()
            .filter_map(|level| cell.arm(level));
        if broken.into_iter().any(|arm| arm.invalid.is_some()) {
            *judgement = Judgement::plain(Verdict::Invalid);
        }
    }
    judgements
}
