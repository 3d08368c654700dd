//! The cards of one experiment beside each other: what a mechanism gives on one target, and what people ascribe to it on
//! another.
//!
//! Every card keeps its own baseline. Across cards an arm is held against the baseline of the first card in the same
//! cell, block by block, as all cards of an experiment share their blocks.

use std::collections::{BTreeMap, BTreeSet};

use crate::estimate::RatioEstimate;
use crate::reader::Run;
use crate::schema::{ExperimentCard, TrialRole};

use super::arms::{Collected, level_order};
use super::{Cell, CellAnalysis, ExperimentAnalysis, comparable};

/// The cards of one experiment, side by side.
#[derive(Debug)]
pub struct Beside {
    /// The experiment's name.
    pub experiment: String,
    /// Its cards as places in [`super::Analysis::experiments`], at least two, in the order of the manifest.
    pub members: Vec<usize>,
    /// The cells of all cards, in the order of the first card's levels.
    pub cells: Vec<BesideCell>,
    /// Why targets are not compared with the first card's, in whole sentences.
    pub incomparable: Vec<String>,
}

/// One cell and the arms that ran in it.
#[derive(Debug)]
pub struct BesideCell {
    /// The cell, as the first card that has it names it.
    pub cell: Cell,
    /// Its arms: of the first card, then of the others; the limits are last.
    pub arms: Vec<BesideArm>,
}

/// An arm of one of the cards.
#[derive(Debug)]
pub struct BesideArm {
    /// Whose it is, as a place in [`super::Analysis::experiments`].
    pub experiment: usize,
    /// Its cell's place in that experiment.
    pub cell: usize,
    /// The arm's place among the cell's arms, or among its limits.
    pub arm: usize,
    /// Whether it is a limit, which has no target.
    pub is_limit: bool,
    /// By metric, its ratio to the first card's baseline in the same blocks; of the other cards' arms only.
    pub to_first: BTreeMap<String, RatioEstimate>,
}

impl BesideCell {
    /// How many of the cards have an arm here.
    pub fn cards(&self) -> usize {
        let cards: BTreeSet<usize> = self.arms.iter().map(|arm| arm.experiment).collect();
        cards.len()
    }
}

/// Every experiment that has more than one card.
pub(super) fn all(run: &Run, experiments: &[ExperimentAnalysis], collected: &[Collected]) -> Vec<Beside> {
    let mut names: Vec<&str> = Vec::new();
    for experiment in experiments {
        if !names.contains(&experiment.card.name.as_str()) {
            names.push(&experiment.card.name);
        }
    }
    let members = |name: &str| -> Vec<usize> {
        let places = 0..experiments.len();
        places.filter(|place| experiments[*place].card.name == name).collect()
    };
    let several = names.into_iter().map(|name| (name, members(name)));
    several
        .filter(|(_, members)| members.len() > 1)
        .map(|(name, members)| put_beside(run, name, members, experiments, collected))
        .collect()
}

fn put_beside(
    run: &Run,
    name: &str,
    members: Vec<usize>,
    experiments: &[ExperimentAnalysis],
    collected: &[Collected],
) -> Beside {
    let first = members[0];
    let first_card = &experiments[first].card;
    let cards: Vec<&ExperimentCard> = members.iter().map(|member| &experiments[*member].card).collect();
    let why_not = |member: usize| {
        let target = &experiments[member].card.target;
        let is_other = *target != first_card.target;
        is_other
            .then(|| comparable::difference(&run.manifest, &first_card.target, target))
            .flatten()
    };
    let mut cells: BTreeMap<CellKey, BesideCell> = BTreeMap::new();
    for &member in &members {
        let is_compared = member != first && why_not(member).is_none();
        for (place, analysed) in experiments[member].cells.iter().enumerate() {
            let cell = cells
                .entry(CellKey::of(&cards, &analysed.cell))
                .or_insert_with(|| BesideCell {
                    cell: analysed.cell.clone(),
                    arms: Vec::new(),
                });
            let baseline = collected[first].find_levels(&analysed.cell, &first_card.baseline);
            for arm in 0..analysed.arms.len() {
                let own = collected[member].find(TrialRole::Measured, &analysed.cell, &analysed.arms[arm].level);
                let usable = baseline.zip(own).filter(|_| is_compared);
                let usable = usable.filter(|(baseline, own)| baseline.invalid.is_none() && own.invalid.is_none());
                let to_first = usable.map(|(baseline, own)| {
                    let metrics = experiments[member].card.metrics.iter();
                    let ratio = |name: &str| collected[member].ratio(own, baseline, name);
                    metrics
                        .filter_map(|metric| Some((metric.name.clone(), ratio(&metric.name)?)))
                        .collect()
                });
                cell.arms.push(BesideArm {
                    experiment: member,
                    cell: place,
                    arm,
                    is_limit: false,
                    to_first: to_first.unwrap_or_default(),
                });
            }
            cell.arms.extend(limits(member, place, analysed));
        }
    }
    let mut cells: Vec<BesideCell> = cells.into_values().collect();
    for cell in &mut cells {
        cell.arms.sort_by_key(|arm| arm.is_limit);
    }
    let mut incomparable: Vec<String> = members.iter().filter_map(|member| why_not(*member)).collect();
    incomparable.dedup();
    Beside {
        experiment: name.to_owned(),
        members,
        cells,
        incomparable,
    }
}

fn limits(member: usize, place: usize, analysed: &CellAnalysis) -> impl Iterator<Item = BesideArm> + use<> {
    (0..analysed.limits.len()).map(move |arm| BesideArm {
        experiment: member,
        cell: place,
        arm,
        is_limit: true,
        to_first: BTreeMap::new(),
    })
}

/// Cells of different cards are the same when their levels are, in whatever order the cards list their factors.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct CellKey {
    order: Vec<usize>,
    levels: BTreeMap<String, String>,
}

impl CellKey {
    fn of(cards: &[&ExperimentCard], cell: &Cell) -> Self {
        let mut order = Vec::new();
        let mut seen = BTreeSet::new();
        for card in cards {
            let others = card.factors.iter().filter(|factor| factor.name != card.treatment);
            for factor in others.filter(|factor| seen.insert(&factor.name)) {
                order.push(
                    cell.level(&factor.name)
                        .map_or(0, |level| level_order(card, &factor.name, level)),
                );
            }
        }
        Self {
            order,
            levels: cell.levels.iter().cloned().collect(),
        }
    }
}
