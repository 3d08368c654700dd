//! Trials without a broker and without a clock: a group changes, and the partitions that move are counted.

use std::collections::BTreeMap;

use anyhow::Context;
use results::schema::{LedgerEntry, Measurement, PlannedTrial};
use serde::de::DeserializeOwned;
use workloads::assign::{Change, Group};
use workloads::definition::{Assign, MACHINE};
use workloads::native::phase::latency_histogram;

use crate::measure::outcome::TrialOutcome;

/// Groups, one per trial.
pub struct AssignBench {
    assign: Assign,
}

impl AssignBench {
    /// Nothing has to be made.
    pub fn new(assign: Assign) -> Self {
        AssignBench { assign }
    }

    /// Runs one trial; `check` asks whether each partition has one owner that subscribes to it, before and after.
    ///
    /// # Errors
    /// A level that makes no sense, or a mistake in the assignors.
    pub fn run(&self, trial: &PlannedTrial, check: bool) -> anyhow::Result<TrialOutcome> {
        let factors = &trial.factors;
        let mut group = Group::start(
            named(factors, "assignor")?,
            named(factors, "layout")?,
            named(factors, "subscriptions")?,
            self.assign.members as usize,
            trial.seed,
        )?;
        let mut ledger = Vec::new();
        if check {
            ledger.push(owned_once(trial, "one owner each before", &mut group));
        }
        let counted = group.change(named::<Change>(factors, "change")?)?;
        if check {
            ledger.push(owned_once(trial, "one owner each after", &mut group));
        }
        let loads = group.loads();
        let least = group.loads_at_best()?;
        let mean = loads.iter().sum::<usize>() as f64 / loads.len().max(1) as f64;
        let squares = loads.iter().map(|load| (*load as f64 - mean).powi(2));
        let variance = squares.sum::<f64>() / loads.len().max(1) as f64;
        let figures = [
            ("moved", "1", f64::from(counted.moved)),
            ("moved_least", "1", f64::from(counted.moved_least)),
            (
                "moved_beyond_least",
                "1",
                f64::from(counted.moved) - f64::from(counted.moved_least),
            ),
            ("stopped", "1", f64::from(counted.stopped)),
            ("stopped_for_nothing", "1", f64::from(counted.stopped_for_nothing)),
            ("imbalance", "1", spread(&loads)),
            ("imbalance_beyond_least", "1", spread(&loads) - spread(&least)),
            ("load_stddev", "1", variance.sqrt()),
            ("rebalances", "1", f64::from(counted.rebalances)),
        ];
        let row = |(metric, unit, value)| Measurement::of(trial, MACHINE, metric, unit, value, &[]);
        Ok(TrialOutcome {
            rows: figures.map(row).to_vec(),
            latency: latency_histogram(),
            window_s: 0.0,
            series: Vec::new(),
            ledger,
            receipt: None,
            phases: Vec::new(),
        })
    }
}

/// Of the member with most, less that of the one with least.
fn spread(loads: &[usize]) -> f64 {
    let (most, least) = (loads.iter().max(), loads.iter().min());
    most.zip(least).map_or(0.0, |(most, least)| (most - least) as f64)
}

fn owned_once(trial: &PlannedTrial, check: &str, group: &mut Group) -> LedgerEntry {
    let (expected, observed) = group.owned_once();
    LedgerEntry {
        experiment: trial.experiment.clone(),
        trial: trial.trial,
        arm: trial.arm.clone(),
        check: check.to_owned(),
        expected: expected.to_string(),
        observed: observed.to_string(),
        ok: expected == observed,
    }
}

fn named<T: DeserializeOwned>(factors: &BTreeMap<String, String>, name: &str) -> anyhow::Result<T> {
    let text = factors.get(name).with_context(|| format!("no level of {name}"))?;
    serde_json::from_value(text.clone().into()).with_context(|| format!("{name} {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_as_far_apart_as_most_and_least() {
        assert_eq!((spread(&[3, 7, 5]), spread(&[2]), spread(&[])), (4.0, 0.0, 0.0));
    }
}
