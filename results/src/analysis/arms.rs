//! The rows of `trials.csv` put together by arm and block. No statistics beyond pairing.

use std::collections::{BTreeMap, BTreeSet};

use crate::estimate::RatioEstimate;
use crate::reader::Run;
use crate::schema::{ExperimentCard, FAILED_METRIC, Factors, TrialRole};

use super::{Cell, FailedTrial};

/// The rows of one experiment on one target.
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

/// The targets that an experiment's measured arms ran on, sorted.
pub(super) fn targets(run: &Run, experiment: &str) -> Vec<String> {
    let names: BTreeSet<&str> = run
        .trials
        .iter()
        .filter(|row| row.experiment == experiment && row.role == TrialRole::Measured)
        .map(|row| row.target.as_str())
        .collect();
    names.into_iter().map(str::to_owned).collect()
}

/// The place of a level in its factor's card; unknown levels come last.
pub(super) fn level_order(card: &ExperimentCard, factor: &str, level: &str) -> usize {
    card.factor(factor)
        .and_then(|factor| factor.levels.iter().position(|known| known == level))
        .unwrap_or(usize::MAX)
}

impl Collected {
    /// Limit arms belong to every target: they run without one.
    pub fn of(run: &Run, card: &ExperimentCard, target: &str) -> Self {
        let mut arms: BTreeMap<(&str, TrialRole), ArmData> = BTreeMap::new();
        let mut blocks = BTreeSet::new();
        let mut failed = Vec::new();
        let mut flags_of_trial: BTreeMap<u32, BTreeSet<&str>> = BTreeMap::new();
        let rows = run.trials.iter().filter(|row| row.experiment == card.name);
        for row in rows.filter(|row| row.target == target || row.role == TrialRole::Limit) {
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
        for entry in run
            .ledger
            .iter()
            .filter(|entry| entry.experiment == card.name && !entry.ok)
        {
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

    /// The ratio of two arms, paired inside the blocks.
    pub fn ratio(&self, numerator: &ArmData, denominator: &ArmData, metric: &str) -> Option<RatioEstimate> {
        RatioEstimate::from_pairs(
            self.blocks
                .iter()
                .map(|block| (numerator.value(metric, *block), denominator.value(metric, *block))),
        )
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

    /// The value of a block: the geometric mean when an arm runs more than once in it (ABBA).
    fn value(&self, metric: &str, block: u32) -> Option<f64> {
        let values = self.values.get(metric)?.get(&block)?;
        let logs: f64 = values.iter().map(|value| value.ln()).sum();
        Some((logs / values.len() as f64).exp()).filter(|value| value.is_finite() && *value > 0.0)
    }
}
