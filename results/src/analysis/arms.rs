//! The rows of `trials.csv` put together by arm and block. No statistics beyond pairing.

use std::collections::{BTreeMap, BTreeSet};

use crate::estimate::{RatioEstimate, Summary};
use crate::reader::Run;
use crate::schema::{ExperimentCard, FAILED_METRIC, Factors, Measurement, PlannedTrial, TrialRole};

use super::{Cell, FailedTrial};

/// The rows of one card.
#[derive(Debug)]
pub(super) struct Collected {
    pub arms: Vec<ArmData>,
    pub blocks: BTreeSet<u32>,
    pub failed: Vec<FailedTrial>,
    pub flagged: BTreeMap<String, usize>,
    pub trials: usize,
}

/// One arm's measurements.
#[derive(Debug)]
pub(super) struct ArmData {
    pub arm: String,
    pub role: TrialRole,
    pub cell: Cell,
    pub level: String,
    /// By metric, then by block: one value per trial of the block.
    values: BTreeMap<String, BTreeMap<u32, Vec<f64>>>,
    /// The failed check, in words.
    pub invalid: Option<String>,
    pub failed: usize,
}

/// Whether a row is one of the card's: of its experiment and of its target, unless the card compares targets. A limit
/// runs without a target and belongs to the card whose treatment it is the limit of.
pub(super) fn belongs(card: &ExperimentCard, row: &Measurement) -> bool {
    row.experiment == card.name && bears_on(card, row.role, &row.factors, &row.target)
}

/// Whether a planned trial is one of the card's. Plans of version 1 name no target.
pub(super) fn is_planned_for(card: &ExperimentCard, planned: &PlannedTrial) -> bool {
    let target = if planned.target.is_empty() {
        &card.target
    } else {
        &planned.target
    };
    planned.experiment == card.name && bears_on(card, planned.role, &planned.factors, target)
}

fn bears_on(card: &ExperimentCard, role: TrialRole, factors: &Factors, target: &str) -> bool {
    let of_target = role == TrialRole::Limit || card.compares_targets() || target == card.target;
    of_target && factors.contains_key(&card.treatment)
}

/// The place of a level in its factor's card; unknown levels come last.
pub(super) fn level_order(card: &ExperimentCard, factor: &str, level: &str) -> usize {
    card.factor(factor)
        .and_then(|factor| factor.levels.iter().position(|known| known == level))
        .unwrap_or(usize::MAX)
}

impl Collected {
    /// The rows that belong to the card.
    pub fn of(run: &Run, card: &ExperimentCard) -> Self {
        let mut arms: BTreeMap<(&str, TrialRole), ArmData> = BTreeMap::new();
        let mut blocks = BTreeSet::new();
        let mut failed = Vec::new();
        let mut flags_of_trial: BTreeMap<u32, BTreeSet<&str>> = BTreeMap::new();
        for row in run.trials.iter().filter(|row| belongs(card, row)) {
            let arm = arms
                .entry((row.arm.as_str(), row.role))
                .or_insert_with(|| ArmData::empty(card, &row.arm, row.role, &row.factors));
            blocks.insert(row.block);
            if row.metric == FAILED_METRIC {
                arm.failed += 1;
                failed.push(FailedTrial {
                    trial: row.trial,
                    block: row.block,
                    arm: row.arm.clone(),
                    reason: row.flags.join("; "),
                });
            } else {
                arm.values
                    .entry(row.metric.clone())
                    .or_default()
                    .entry(row.block)
                    .or_default()
                    .push(row.value);
                flags_of_trial
                    .entry(row.trial)
                    .or_default()
                    .extend(row.flags.iter().map(String::as_str));
            }
        }
        // Another card of the experiment may have an arm of the same id: the trial tells whose check it was.
        let same_experiment = run.trials.iter().filter(|row| row.experiment == card.name);
        let of_others: BTreeSet<u32> = same_experiment
            .filter(|row| !belongs(card, row))
            .map(|row| row.trial)
            .collect();
        let failed_checks = run.ledger.iter().filter(|entry| !entry.ok);
        for entry in failed_checks.filter(|entry| entry.experiment == card.name && !of_others.contains(&entry.trial)) {
            for arm in arms.values_mut().filter(|arm| arm.arm == entry.arm) {
                arm.invalid.get_or_insert_with(|| {
                    format!("{}: expected {}, found {}", entry.check, entry.expected, entry.observed)
                });
            }
        }
        let mut flagged = BTreeMap::new();
        for flag in flags_of_trial.values().flatten() {
            *flagged.entry((*flag).to_owned()).or_insert(0) += 1;
        }
        Self {
            arms: arms.into_values().collect(),
            blocks,
            failed,
            flagged,
            trials: flags_of_trial.len(),
        }
    }

    /// The arm of that role, cell and level.
    pub fn find(&self, role: TrialRole, cell: &Cell, level: &str) -> Option<&ArmData> {
        self.arms
            .iter()
            .find(|arm| arm.role == role && arm.level == level && arm.cell == *cell)
    }

    /// The physical limit that ran in the cell for that level of the treatment.
    pub fn limit_of(&self, card: &ExperimentCard, cell: &Cell, level: &str) -> Option<&ArmData> {
        let loops = card.limits_of(level);
        loops.iter().find_map(|bare| self.find(TrialRole::Limit, cell, bare))
    }

    /// The measured arm of that level in the cell that has the same levels, in whatever order.
    pub fn find_levels(&self, cell: &Cell, level: &str) -> Option<&ArmData> {
        let is_same = |other: &Cell| {
            let has = |(factor, level): &(String, String)| cell.level(factor) == Some(level);
            other.levels.len() == cell.levels.len() && other.levels.iter().all(has)
        };
        self.arms
            .iter()
            .find(|arm| arm.role == TrialRole::Measured && arm.level == level && is_same(&arm.cell))
    }

    /// The ratio of two arms, paired inside the blocks; the denominator may belong to another card of the experiment,
    /// as all of them share their blocks.
    pub fn ratio(&self, numerator: &ArmData, denominator: &ArmData, metric: &str) -> Option<RatioEstimate> {
        RatioEstimate::from_pairs(
            self.blocks
                .iter()
                .map(|block| (numerator.value(metric, *block), denominator.value(metric, *block))),
        )
    }
}

impl Collected {
    /// The ratio of several pairs of arms as one: in each block the geometric mean of theirs. A block in which one is missing is dropped.
    pub fn ratio_together(&self, pairs: &[(&ArmData, &ArmData)], metric: &str) -> Option<RatioEstimate> {
        let mean = |block: &u32| {
            let logs = pairs.iter().map(|(numerator, denominator)| {
                let (numerator, denominator) = (numerator.value(metric, *block)?, denominator.value(metric, *block)?);
                Some((numerator / denominator).ln())
            });
            let sum: Option<f64> = logs.sum();
            Some((sum? / pairs.len() as f64).exp())
        };
        RatioEstimate::from_pairs(self.blocks.iter().map(|block| (mean(block), Some(1.0))))
    }
}

impl ArmData {
    fn empty(card: &ExperimentCard, arm: &str, role: TrialRole, factors: &Factors) -> Self {
        let others = card.factors.iter().filter(|factor| factor.name != card.treatment);
        let levels = others
            .filter_map(|factor| Some((factor.name.clone(), factors.get(&factor.name)?.clone())))
            .collect();
        Self {
            arm: arm.to_owned(),
            role,
            cell: Cell { levels },
            level: factors.get(&card.treatment).cloned().unwrap_or_default(),
            values: BTreeMap::new(),
            invalid: None,
            failed: 0,
        }
    }

    /// Sorts cells as the card lists their levels.
    pub fn cell_order(&self, card: &ExperimentCard) -> Vec<usize> {
        self.cell
            .levels
            .iter()
            .map(|(factor, level)| level_order(card, factor, level))
            .collect()
    }

    /// Every value of a metric, one per trial.
    pub fn values(&self, metric: &str) -> Vec<f64> {
        self.values
            .get(metric)
            .into_iter()
            .flat_map(BTreeMap::values)
            .flatten()
            .copied()
            .collect()
    }

    /// The value of each block, in block order, zeros too; of an arm that runs more than once in it (ABBA) the mean.
    pub fn block_values(&self, metric: &str) -> Vec<f64> {
        let blocks = self.values.get(metric).into_iter().flat_map(BTreeMap::values);
        let means = blocks.filter_map(|values| match values.as_slice() {
            [value] => Some(*value),
            several => Summary::of(several).map(|summary| summary.mean),
        });
        means.collect()
    }

    /// The value of a block: the geometric mean when an arm runs more than once in it (ABBA).
    fn value(&self, metric: &str, block: u32) -> Option<f64> {
        let values = self.values.get(metric)?.get(&block)?;
        let logs: f64 = values.iter().map(|value| value.ln()).sum();
        Some((logs / values.len() as f64).exp()).filter(|value| value.is_finite() && *value > 0.0)
    }
}
