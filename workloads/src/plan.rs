//! The plan of a run: every trial, fully spelled out, in the order it runs, before anything runs.
//!
//! Randomised complete blocks: every arm once per block, in an order drawn from the seed, so that a machine that slows down or a
//! neighbour that wakes up hits all arms alike. With exactly two arms the order is ABBA, which cancels a linear drift exactly.
//! A plan does not say how a trial is carried out.

use crate::definition::{Arm, Definition, ProfileName, Role, TARGET_FACTOR};
use rand::seq::SliceRandom;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One line of `plan.jsonl`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedTrial {
    /// From 1, in the order of the run.
    pub trial: u32,
    /// Name of the definition.
    pub experiment: String,
    /// From 1; every arm is in every block once.
    pub block: u32,
    /// From 1, place in the block.
    pub position: u32,
    /// What it runs on.
    pub target: String,
    /// Id of the arm.
    pub arm: String,
    /// What the arm is there for.
    pub role: Role,
    /// Every factor with its level.
    pub factors: BTreeMap<String, String>,
    /// Seed of whatever is random inside the trial.
    pub seed: u64,
}

/// The trials of a profile, in the order they run. The same seed gives the same plan. `definitions` are one experiment on several
/// targets: all their arms share the blocks, so that one target is measured in the same minutes as another; the number of
/// blocks is the first one's.
pub fn plan(definitions: &[Definition], profile: ProfileName, seed: u64) -> Vec<PlannedTrial> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let blocks = definitions.first().map_or(0, |first| first.profile(profile).blocks);
    let arms = definitions.iter().flat_map(|definition| {
        let target = |arm: &'_ Arm| arm.factors.get(TARGET_FACTOR).unwrap_or(&definition.target).clone();
        definition
            .arms(profile)
            .iter()
            .map(move |arm| (definition, target(arm), arm))
    });
    let mut order: Vec<(&Definition, String, &Arm)> = arms.collect();
    if order.len() == 2 && rng.random_range(0..2) == 1 {
        order.reverse();
    }
    let mut trials = Vec::with_capacity(order.len() * blocks as usize);
    let mut trial = 0;
    for block in 1..=blocks {
        if order.len() != 2 {
            order.shuffle(&mut rng);
        } else if block > 1 {
            order.reverse();
        }
        for (position, (definition, target, arm)) in (1..).zip(&order) {
            trial += 1;
            trials.push(PlannedTrial {
                trial,
                experiment: definition.name.clone(),
                block,
                position,
                target: target.clone(),
                arm: arm.id.clone(),
                role: arm.role,
                factors: arm.factors.clone(),
                seed: rng.next_u64(),
            });
        }
    }
    trials
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definition;
    use std::collections::BTreeSet;

    fn embedded(name: &str) -> Vec<Definition> {
        let all = definition::embedded().unwrap();
        all.into_iter().filter(|definition| definition.name == name).collect()
    }

    fn zero_copy() -> Definition {
        embedded("zero-copy").swap_remove(0)
    }

    #[test]
    fn every_arm_is_in_every_block_once() {
        let definition = zero_copy();
        for profile in [ProfileName::Quick, ProfileName::Full] {
            let arms: BTreeSet<&str> = definition.arms(profile).iter().map(|arm| arm.id.as_str()).collect();
            let trials = plan(std::slice::from_ref(&definition), profile, 7);
            assert_eq!(trials.len(), arms.len() * definition.profile(profile).blocks as usize);
            for (number, trial) in (1..).zip(&trials) {
                assert_eq!(trial.trial, number);
                assert_eq!(trial.factors.len(), definition.factors.len());
            }
            for block in trials.chunk_by(|a, b| a.block == b.block) {
                assert_eq!(
                    block.iter().map(|trial| trial.arm.as_str()).collect::<BTreeSet<_>>(),
                    arms
                );
                assert!((1..).zip(block).all(|(position, trial)| trial.position == position));
            }
        }
    }

    #[test]
    fn the_seed_decides_the_order_and_the_trial_seeds() {
        let definition = zero_copy();
        let quick = |seed| plan(std::slice::from_ref(&definition), ProfileName::Quick, seed);
        assert_eq!(quick(1), quick(1));
        assert_ne!(quick(1), quick(2));
        let trials = quick(1);
        let orders: BTreeSet<Vec<&str>> = trials
            .chunk_by(|a, b| a.block == b.block)
            .map(|block| block.iter().map(|trial| trial.arm.as_str()).collect())
            .collect();
        assert_eq!(orders.len(), 8, "each block has an order of its own");
        assert_eq!(
            trials.iter().map(|trial| trial.seed).collect::<BTreeSet<_>>().len(),
            trials.len()
        );
    }

    #[test]
    fn targets_share_the_blocks() {
        let both = embedded("zero-copy");
        let trials = plan(&both, ProfileName::Quick, 5);
        for block in trials.chunk_by(|a, b| a.block == b.block) {
            let on = |target: &str| block.iter().filter(|trial| trial.target == target).count();
            assert_eq!((on("bundled"), on("kafka")), (25, 15));
            let changes = block.windows(2).filter(|pair| pair[0].target != pair[1].target).count();
            assert!(changes > 2, "the targets are not interleaved");
        }
        let arms: BTreeSet<&str> = trials.iter().map(|trial| trial.arm.as_str()).collect();
        assert_eq!(arms.len(), 40);
        let head_to_head = plan(&embedded("head-to-head"), ProfileName::Quick, 5);
        assert!(head_to_head.iter().all(|trial| trial.target == trial.factors["target"]));
    }

    #[test]
    fn two_arms_are_run_as_abba() {
        let mut definition = zero_copy();
        definition.quick.arms.truncate(2);
        let mut firsts = BTreeSet::new();
        for seed in 0..20 {
            let trials = plan(std::slice::from_ref(&definition), ProfileName::Quick, seed);
            let order: Vec<&str> = trials.iter().map(|trial| trial.arm.as_str()).collect();
            firsts.insert(order[0].to_owned());
            for four in order.chunks(4) {
                assert_eq!([four[0], four[1]], [four[3], four[2]], "{order:?}");
            }
        }
        assert_eq!(firsts.len(), 2, "which arm is A is drawn from the seed");
    }

    #[test]
    fn a_line_of_the_plan_reads_back() {
        let trial = plan(&[zero_copy()], ProfileName::Quick, 3).swap_remove(0);
        let line = serde_json::to_string(&trial).unwrap();
        assert_eq!(serde_json::from_str::<PlannedTrial>(&line).unwrap(), trial);
    }
}
