//! Many crash points per layout, on all processors; and those with a mistake, which must be found.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::compacted;
use crate::mistakes::Mistake;
use crate::point::{self, Setup};

/// Crash points per layout when nobody says how many.
const POINTS: u64 = 300;
/// Within so many a mistake must be found.
const POINTS_FOR_A_MISTAKE: u64 = 400;

fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

/// Runs crash points until one finds something; answers its seed and what it says.
fn first_violation(
    seeds: std::ops::Range<u64>,
    run: impl Fn(u64) -> Result<(), String> + Sync,
) -> Option<(u64, String)> {
    let next = AtomicU64::new(seeds.start);
    let done = AtomicBool::new(false);
    let found: Mutex<Option<(u64, String)>> = Mutex::default();
    let threads = std::thread::available_parallelism().map_or(2, |n| n.get());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while !done.load(Ordering::Acquire) {
                    let seed = next.fetch_add(1, Ordering::AcqRel);
                    if seed >= seeds.end {
                        return;
                    }
                    if let Err(problem) = run(seed) {
                        done.store(true, Ordering::Release);
                        let mut found = found.lock().unwrap();
                        // The lowest, so that runs agree.
                        if found.as_ref().is_none_or(|(other, _)| seed < *other) {
                            *found = Some((seed, problem));
                        }
                    }
                }
            });
        }
    });
    found.into_inner().unwrap()
}

fn survives(what: &str, run: impl Fn(u64) -> Result<(), String> + Sync) {
    let seeds = match variable("ASSAY_CRASH_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..variable("ASSAY_CRASH_POINTS").unwrap_or(POINTS),
    };
    if let Some((seed, problem)) = first_violation(seeds, run) {
        panic!("{what}, again with ASSAY_CRASH_SEED={seed}: {problem}");
    }
}

fn layout_survives(layout: &'static str) {
    survives(&format!("layout {layout}"), |seed| {
        point::run(seed, Setup { layout, mistake: None })
    });
}

#[test]
fn partition_log_survives_power_cuts() {
    layout_survives("partition-log");
}

#[test]
fn commit_log_survives_power_cuts() {
    layout_survives("commit-log");
}

#[test]
fn compacted_log_survives_power_cuts() {
    survives("a compacted topic", |seed| compacted::run(seed, None));
}

fn with(mistake: Mistake) -> Setup {
    Setup {
        layout: "partition-log",
        mistake: Some(mistake),
    }
}

#[test]
fn every_mistake_is_found() {
    for mistake in Mistake::ALL {
        let found = match mistake {
            Mistake::ForgetCleanedFlush => {
                first_violation(0..POINTS_FOR_A_MISTAKE, |seed| compacted::run(seed, Some(mistake)))
            }
            _ => first_violation(0..POINTS_FOR_A_MISTAKE, |seed| point::run(seed, with(mistake))),
        };
        let (seed, problem) = found.unwrap_or_else(|| panic!("{mistake:?} is not found"));
        println!(
            "{mistake:?} found by seed {seed}: {}",
            problem.lines().next().unwrap_or_default()
        );
    }
}

#[test]
fn a_seed_always_means_the_same() {
    let run = |seed| point::run(seed, with(Mistake::ForgetFlush));
    let (seed, problem) = first_violation(0..POINTS_FOR_A_MISTAKE, run).unwrap();
    assert_eq!(run(seed), Err(problem));
}
