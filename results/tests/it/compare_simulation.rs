//! Two runs against known truths: the blocks of each share their weather, and each run has a machine of its own.
//!
//! 4,000 seeded repetitions, as in `simulation.rs`: the standard error of a coverage of 95 % is 0.35 points, that of 2.5 % is
//! 0.25 points.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use results::compare::welch::Difference;
use results::compare::{Change, Evidence, judge};
use results::estimate::{CONFIDENCE, Sample};
use results::schema::Better;

use crate::synthetic::gaussian;

/// Blocks of the first and of the second run.
const BLOCKS: [(usize, usize); 6] = [(6, 6), (8, 8), (6, 20), (12, 8), (20, 20), (30, 30)];
/// The standard deviation of one trial's log figure, in the first and in the second run.
const NOISE: [(f64, f64); 3] = [(0.03, 0.03), (0.02, 0.1), (0.3, 0.1)];
/// Where twelve rows are judged together, which takes twelve times as long.
const FAMILY_BLOCKS: [(usize, usize); 3] = [(6, 6), (12, 12), (6, 20)];
const REPETITIONS: u32 = 4_000;
const MARGIN: f64 = 0.05;
/// What the whole machine does from run to run.
const MACHINE: f64 = 0.2;

/// The logs of one run's arm, held against a reference in the same block or not.
#[derive(Clone, Copy)]
struct Held {
    against_reference: bool,
    machine: f64,
}

const RELATIVE: Held = Held {
    against_reference: true,
    machine: MACHINE,
};
const ABSOLUTE: Held = Held {
    against_reference: false,
    machine: 0.0,
};

fn run(random: &mut ChaCha8Rng, blocks: usize, log: f64, noise: f64, held: Held) -> Sample {
    let machine = held.machine * gaussian(random);
    let logs = (0..blocks).map(|_| {
        // An absolute figure has the weather of its blocks in it, and its interval with it.
        let block = machine + 0.05 * gaussian(random);
        let level = log + block + noise * gaussian(random);
        let reference = block + noise * gaussian(random);
        if held.against_reference {
            level - reference
        } else {
            level
        }
    });
    Sample::new(logs.collect()).unwrap()
}

fn difference(
    random: &mut ChaCha8Rng,
    (blocks_a, blocks_b): (usize, usize),
    ratio: f64,
    (noise_a, noise_b): (f64, f64),
    held: Held,
) -> Difference {
    let a = run(random, blocks_a, 0.7, noise_a, held);
    let b = run(random, blocks_b, 0.7 + ratio.ln(), noise_b, held);
    Difference::between(&a, &b)
}

fn row(difference: Difference) -> Evidence {
    Evidence {
        difference,
        better: Better::Higher,
        margin: MARGIN,
        spread: 0.0,
    }
}

/// The share of seeded repetitions in which `hit` is true.
fn share(seed: u64, hit: impl FnMut(&mut ChaCha8Rng) -> bool) -> f64 {
    share_of(REPETITIONS, seed, hit)
}

fn share_of(repetitions: u32, seed: u64, mut hit: impl FnMut(&mut ChaCha8Rng) -> bool) -> f64 {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let hits = (0..repetitions).filter(|_| hit(&mut random)).count();
    hits as f64 / f64::from(repetitions)
}

fn coverage(seed: u64, blocks: (usize, usize), noise: (f64, f64), held: Held) -> f64 {
    share(seed, |random| {
        let (low, high) = difference(random, blocks, 0.8, noise, held).interval(CONFIDENCE);
        low <= 0.8_f64.ln() && 0.8_f64.ln() <= high
    })
}

#[test]
fn the_interval_covers_what_it_claims_whatever_the_machine_did() {
    for noise in NOISE {
        for blocks in BLOCKS {
            for held in [RELATIVE, ABSOLUTE] {
                let covers = coverage(11, blocks, noise, held);
                let what = if held.against_reference { "relative" } else { "absolute" };
                assert!(
                    (0.93..=0.97).contains(&covers),
                    "{what}, {noise:?}, {blocks:?}: covers {covers}"
                );
            }
        }
    }
}

/// Why absolute figures are not the default: no interval over the blocks of two runs holds what the machine does between
/// them.
#[test]
fn absolute_figures_of_two_machines_are_called_different_without_need() {
    let held = Held {
        machine: MACHINE,
        ..ABSOLUTE
    };
    let covers = coverage(12, (8, 8), (0.03, 0.03), held);
    assert!(covers < 0.5, "covers {covers}: the reference would not be needed");
}

#[test]
fn without_a_change_hardly_anything_is_called_one() {
    for noise in NOISE {
        for blocks in FAMILY_BLOCKS {
            let called = share_of(1_000, 13, |random| {
                let rows: Vec<Evidence> = (0..12)
                    .map(|_| row(difference(random, blocks, 1.0, noise, RELATIVE)))
                    .collect();
                let quiet = |change| matches!(change, Change::Equivalent | Change::Inconclusive);
                !judge(&rows).iter().all(|judged| quiet(judged.change))
            });
            assert!(called <= 0.05, "{noise:?}, {blocks:?}: called in {called}");
        }
    }
}

/// The worst case: twelve figures that became worse by exactly the margin. Holm keeps the chance of any false REGRESSED at
/// 2.5 %, and the bound leaves three standard errors. With 6 blocks against 20 Welch's approximation is too bold so far out in
/// the tail, but stays below 5 %.
#[test]
fn a_change_of_the_margin_is_rarely_called_in_any_of_twelve_figures() {
    for blocks in FAMILY_BLOCKS {
        let called = share(14, |random| {
            let rows: Vec<Evidence> = (0..12)
                .map(|_| row(difference(random, blocks, 1.0 - MARGIN, (0.04, 0.04), RELATIVE)))
                .collect();
            judge(&rows).iter().any(|judged| judged.change == Change::Regressed)
        });
        let most = if blocks.0 == blocks.1 { 0.033 } else { 0.05 };
        assert!(called <= most, "{blocks:?}: called in {called}");
        assert!(
            called >= 0.009,
            "{blocks:?}: only {called}, the test is far stricter than it says"
        );
    }
}

#[test]
fn a_real_regression_is_found_and_equal_runs_are_equivalent() {
    for blocks in BLOCKS {
        let found = share(15, |random| {
            let judged = judge(&[row(difference(random, blocks, 0.8, (0.04, 0.04), RELATIVE))]);
            judged[0].change == Change::Regressed
        });
        assert!(found >= 0.95, "{blocks:?}: found in {found}");
        let equivalent = share(16, |random| {
            let judged = judge(&[row(difference(random, blocks, 1.0, (0.012, 0.012), RELATIVE))]);
            judged[0].change == Change::Equivalent
        });
        assert!(equivalent >= 0.95, "{blocks:?}: equivalent in {equivalent}");
    }
}
