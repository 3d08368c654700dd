//! From trials to estimates and verdicts.
//!
//! [`analyse`] pairs every arm with the baseline of its cell block by block, with the physical limit where one was
//! run, and the control with its twin; then every claim is judged ([`crate::verdict`]). It is driven by the cards in
//! the manifest and knows no metric by name. Cards of one name are one experiment on several targets and are also put
//! [`beside`] each other. Nothing is printed or drawn here.

mod arms;
pub mod beside;
mod claims;
mod comparable;
mod noise;

use std::collections::{BTreeMap, BTreeSet};

use crate::estimate::{RatioEstimate, Sample, Summary};
use crate::reader::Run;
use crate::schema::{
    Better, ClaimCard, ExperimentCard, Fact, Measurement, PhasePoint, PhaseSummary, TraceCount, TrialRole,
};
use crate::terms::EqualTerms;
use crate::verdict::{Criterion, Judgement, Verdict, judge};
use arms::{ArmData, Collected};
use beside::Beside;
use comparable::Incomparable;
pub use noise::{Control, FailedTrial, Unsteady};

/// What follows from a run.
#[derive(Debug)]
pub struct Analysis {
    /// The statements that were looked up, in the order of the file.
    pub facts: Vec<Fact>,
    /// One entry per card.
    pub experiments: Vec<ExperimentAnalysis>,
    /// One entry per experiment that has several cards.
    pub beside: Vec<Beside>,
    /// What is the same between the targets and what is not; absent with a single target.
    pub terms: Option<EqualTerms>,
    /// How the phases before the measurement went.
    pub phases: Vec<PhaseSummary>,
    /// Their windows.
    pub phase_points: Vec<PhasePoint>,
    /// The system calls of untimed traces.
    pub traces: Vec<TraceCount>,
    /// What was odd about the files, in whole sentences.
    pub notes: Vec<String>,
}

/// What follows from one card: an experiment on one target, or on all that it compares.
#[derive(Debug)]
pub struct ExperimentAnalysis {
    /// The experiment's card.
    pub card: ExperimentCard,
    /// The target's name; of a card that compares targets, all names with `+` between them.
    pub target: String,
    /// Levels that can't be compared with the baseline, and why in a whole sentence.
    pub incomparable: BTreeMap<String, String>,
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

    /// The A/A spread that bears on a cell: of its own control where it has one, otherwise the widest; `None` without any.
    pub fn spread_in(&self, metric: &str, cell: &Cell) -> Option<f64> {
        noise::spread_in(&self.controls, metric, cell)
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
    /// The physical limits, whose level is the name of the bare loop.
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
    /// Its value in each block, in block order.
    pub blocks: Vec<f64>,
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
    /// What was judged, where it is another ratio than that to the baseline of the cell.
    pub ratio: Option<RatioEstimate>,
}

/// Analyses every experiment of a run.
pub fn analyse(run: &Run) -> Analysis {
    let cards = &run.manifest.experiments;
    let collected: Vec<Collected> = cards.iter().map(|card| Collected::of(run, card)).collect();
    let experiments: Vec<ExperimentAnalysis> = cards
        .iter()
        .zip(&collected)
        .map(|(card, collected)| analyse_experiment(run, card, collected))
        .collect();
    let beside = beside::all(run, &experiments, &collected);
    let mut notes = run.notes.clone();
    notes.extend(strangers(run));
    Analysis {
        facts: run.facts.clone(),
        experiments,
        beside,
        terms: EqualTerms::of(&run.manifest),
        phases: run.manifest.phases_summary.clone(),
        phase_points: run.phases.clone(),
        traces: run.traces.clone(),
        notes,
    }
}

/// Trials that no card asks for are not dropped in silence.
fn strangers(run: &Run) -> Vec<String> {
    let mut trials: BTreeMap<(&str, &str), BTreeSet<u32>> = BTreeMap::new();
    let cards = &run.manifest.experiments;
    let nobodys = |row: &&Measurement| !cards.iter().any(|card| arms::belongs(card, row));
    for row in run.trials.iter().filter(nobodys) {
        let of = trials.entry((&row.experiment, &row.target)).or_default();
        of.insert(row.trial);
    }
    let sentence = |((experiment, target), trials): ((&str, &str), BTreeSet<u32>)| {
        let count = trials.len();
        format!("{count} trials of {experiment} on {target} are left out: no card of the manifest asks for them.")
    };
    trials.into_iter().map(sentence).collect()
}

fn analyse_experiment(run: &Run, card: &ExperimentCard, collected: &Collected) -> ExperimentAnalysis {
    let controls = noise::controls(card, collected);
    let distrust = noise::distrust(card, &controls);
    let incomparable = Incomparable::of(&run.manifest, card);
    let mut cells = cells(card, collected, &incomparable);
    judge_levels(card, &mut cells, &controls, &incomparable);
    let evidence = claims::Evidence {
        card,
        collected,
        cells: &cells,
        controls: &controls,
        incomparable: &incomparable,
    };
    let claims = claims::judge_claims(&evidence, distrust.as_ref());
    let unsteady = noise::unsteady(run, card, collected);
    let notes = noise::notes(run, card, collected, &controls);
    ExperimentAnalysis {
        card: card.clone(),
        target: target_of(card, &cells),
        incomparable: incomparable.into_sentences(),
        cells,
        controls,
        claims,
        invalid: distrust.map(|distrust| distrust.why),
        failed: collected.failed.clone(),
        flagged: collected.flagged.clone(),
        trials: collected.trials,
        blocks: collected.blocks.len(),
        unsteady,
        notes,
    }
}

/// The card's target; when it compares targets, those that were measured, in the order of the card.
fn target_of(card: &ExperimentCard, cells: &[CellAnalysis]) -> String {
    if !card.compares_targets() {
        return card.target.clone();
    }
    let levels = card.factor(&card.treatment).map_or(&[][..], |factor| &factor.levels);
    let measured = |level: &&String| cells.iter().any(|cell| cell.arm(level).is_some());
    let names: Vec<&str> = levels.iter().filter(measured).map(String::as_str).collect();
    names.join("+")
}

/// Whether a metric is turned round, so that above 1 always means better.
pub(crate) fn oriented(card: &ExperimentCard, metric: &str, logs: &Sample) -> Sample {
    match card.metric(metric).map(|metric| metric.better) {
        Some(Better::Lower) => logs.negated(),
        _ => logs.clone(),
    }
}

fn cells(card: &ExperimentCard, collected: &Collected, incomparable: &Incomparable) -> Vec<CellAnalysis> {
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
        let limit = collected.limit_of(card, &arm.cell, &arm.level);
        let is_limit = arm.role == TrialRole::Limit;
        let is_compared = !is_limit && incomparable.why(&arm.level).is_none();
        let analysis = arm_analysis(
            card,
            collected,
            arm,
            baseline.filter(|baseline| is_compared && baseline.level != arm.level),
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
                    blocks: arm.block_values(&metric.name),
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
fn judge_levels(card: &ExperimentCard, cells: &mut [CellAnalysis], controls: &[Control], incomparable: &Incomparable) {
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
            match incomparable.why(&level) {
                Some(_) => vec![Judgement::plain(Verdict::Incomparable); judged.len()],
                None => judge_cells(card, criterion, &card.deciding_metric, &level, &judged, controls),
            }
        };
        for ((cell, arm), judgement) in members.into_iter().zip(judgements) {
            cells[cell].arms[arm].judgement = Some(judgement);
        }
    }
}

/// What can be said of counts that have no ratio: none in any block against some in every block is beyond each margin, and none against none is
/// no difference. `None` for all others.
fn without_ratio(
    card: &ExperimentCard,
    criterion: Criterion,
    metric: &str,
    cell: &CellAnalysis,
    level: &str,
) -> Option<Verdict> {
    let blocks = |level: &str| Some(cell.arm(level)?.metrics.get(metric)?.blocks.as_slice());
    let (here, there) = (blocks(level)?, blocks(&card.baseline)?);
    let better = card.metric(metric)?.better;
    let none = |blocks: &[f64]| blocks.iter().all(|value| *value == 0.0);
    let some = |blocks: &[f64]| blocks.iter().all(|value| *value > 0.0);
    if better == Better::Neither || here.len().min(there.len()) < 2 {
        return None;
    }
    match (none(here), none(there)) {
        (true, true) => matches!(criterion, Criterion::Faster { .. }).then_some(Verdict::Equivalent),
        (true, false) if some(there) => Some(match better {
            Better::Lower => Verdict::Confirmed,
            _ => Verdict::Refuted,
        }),
        (false, true) if some(here) => Some(match better {
            Better::Lower => Verdict::Refuted,
            _ => Verdict::Confirmed,
        }),
        _ => None,
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
    let spread = |cell: usize| noise::spread_in(controls, metric, &cells[cell].cell).unwrap_or(0.0);
    let mut judgements = judge(criterion, &evidence, spread);
    for (judgement, cell) in judgements.iter_mut().zip(cells) {
        if let Some(verdict) = without_ratio(card, criterion, metric, cell, level) {
            *judgement = Judgement::plain(verdict);
        }
        let broken = [level, card.baseline.as_str()]
            .into_iter()
            .filter_map(|level| cell.arm(level));
        if broken.into_iter().any(|arm| arm.invalid.is_some()) {
            *judgement = Judgement::plain(Verdict::Invalid);
        }
    }
    judgements
}
