//! What the run says about its own trustworthiness: the A/A control, flags, failures, drift within a trial.

use std::collections::BTreeMap;

use crate::estimate::{RatioEstimate, Sample, holm};
use crate::figures;
use crate::reader::Run;
use crate::schema::{ExperimentCard, PlannedTrial, TrialRole};
use crate::verdict::ALPHA_ONE_SIDED;

use super::Cell;
use super::arms::Collected;

/// An A/A arm: the ratio of two arms that are the same.
#[derive(Debug)]
pub struct Control {
    /// The arm's id.
    pub arm: String,
    /// The cell it ran in.
    pub cell: Cell,
    /// The level of the treatment, usually the baseline.
    pub level: String,
    /// The ratio to its twin, by metric name.
    pub ratios: BTreeMap<String, RatioEstimate>,
    /// The failed check, when there is one.
    pub invalid: Option<String>,
}

/// A trial that left no measurement.
#[derive(Debug, Clone)]
pub struct FailedTrial {
    /// Its number.
    pub trial: u32,
    /// Its block.
    pub block: u32,
    /// Its arm.
    pub arm: String,
    /// Why.
    pub reason: String,
}

/// An arm whose rate drifted within its window by more than the margin.
#[derive(Debug, Clone)]
pub struct Unsteady {
    /// The arm's id.
    pub arm: String,
    /// The last third of the window against the first, over the arm's trials.
    pub drift: RatioEstimate,
}

/// How many intervals a trial's series needs before its thirds are compared.
const SERIES_POINTS_MIN: usize = 6;

/// One line of a chart over time.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct SeriesOf<'a> {
    arm: &'a str,
    trial: u32,
    role: &'a str,
}

pub(super) fn controls(card: &ExperimentCard, collected: &Collected) -> Vec<Control> {
    let arms = collected.arms.iter().filter(|arm| arm.role == TrialRole::Control);
    arms.filter_map(|arm| {
        let twin = collected.find(TrialRole::Measured, &arm.cell, &arm.level)?;
        let ratios = card
            .metrics
            .iter()
            .filter_map(|metric| Some((metric.name.clone(), collected.ratio(arm, twin, &metric.name)?)))
            .collect();
        Some(Control {
            arm: arm.arm.clone(),
            cell: arm.cell.clone(),
            level: arm.level.clone(),
            ratios,
            invalid: arm.invalid.clone(),
        })
    })
    .collect()
}

/// The far end of the widest control interval, as a log ratio.
pub(super) fn spread(controls: &[Control], metric: &str) -> Option<f64> {
    let ratios = controls.iter().filter_map(|control| control.ratios.get(metric));
    ratios.map(far_end).reduce(f64::max)
}

/// The far end of an interval around 1, as a log ratio.
pub(super) fn far_end(ratio: &RatioEstimate) -> f64 {
    let (low, high) = ratio.interval();
    low.ln().abs().max(high.ln().abs())
}

/// The spread that bears on a cell: of its own control where it has one, otherwise the widest of all.
pub(super) fn spread_in(controls: &[Control], metric: &str, cell: &Cell) -> Option<f64> {
    let own = controls.iter().position(|control| control.cell == *cell);
    let bearing = own.map_or(controls, |index| &controls[index..=index]);
    spread(bearing, metric)
}

/// Why an experiment can't be trusted.
#[derive(Debug)]
pub(super) struct Distrust {
    /// A clause that goes on in lower case.
    pub why: String,
    /// Also what was counted exactly. Noise that sets two equal arms apart moves times and rates, and no count of a claim.
    pub counts_too: bool,
}

/// The experiment is invalid when a control fails its check, or when two equal arms differ by more than the margin, surely, on the
/// deciding metric.
pub(super) fn distrust(card: &ExperimentCard, controls: &[Control]) -> Option<Distrust> {
    if let Some((control, reason)) = controls
        .iter()
        .find_map(|control| Some((control, control.invalid.as_ref()?)))
    {
        return Some(Distrust {
            why: format!("the control {} failed its check ({reason})", control.arm),
            counts_too: true,
        });
    }
    let measured: Vec<(&Control, &RatioEstimate)> = controls
        .iter()
        .filter_map(|control| Some((control, control.ratios.get(&card.deciding_metric)?)))
        .collect();
    let (upper, lower) = (card.margin.ln_1p(), (-card.margin).ln_1p());
    let either_side = |logs: &Sample| logs.p_above(upper).min(logs.p_below(lower));
    let adjusted = holm(
        &measured
            .iter()
            .map(|(_, ratio)| either_side(&ratio.logs))
            .collect::<Vec<_>>(),
    );
    let (_, (control, ratio)) = adjusted.iter().zip(measured).find(|(p, _)| **p <= ALPHA_ONE_SIDED)?;
    Some(Distrust {
        why: format!(
            "the control {} is {} of its twin although both are the same, which is beyond the margin of {}",
            control.arm,
            figures::ratio_with_interval(ratio),
            figures::per_cent(card.margin),
        ),
        counts_too: false,
    })
}

/// Arms whose deciding metric drifts: the last third of the window against the first, over the trials.
pub(super) fn unsteady(run: &Run, card: &ExperimentCard, collected: &Collected) -> Vec<Unsteady> {
    let arm_of_trial: BTreeMap<u32, &str> = run
        .trials
        .iter()
        .filter(|row| super::arms::belongs(card, row))
        .map(|row| (row.trial, row.arm.as_str()))
        .collect();
    let mut series: BTreeMap<SeriesOf<'_>, Vec<(u64, f64)>> = BTreeMap::new();
    for point in &run.series {
        let decides = point.experiment == card.name && point.metric == card.deciding_metric;
        if let Some(arm) = arm_of_trial.get(&point.trial).filter(|_| decides) {
            let of = SeriesOf {
                arm,
                trial: point.trial,
                role: &point.role,
            };
            series.entry(of).or_default().push((point.at_ms, point.value));
        }
    }
    let mut thirds: BTreeMap<&str, Vec<_>> = BTreeMap::new();
    for (of, mut points) in series {
        if points.len() >= SERIES_POINTS_MIN {
            points.sort_by_key(|(at_ms, _)| *at_ms);
            let third = points.len() / 3;
            let mean = |part: &[(u64, f64)]| part.iter().map(|(_, value)| value).sum::<f64>() / part.len() as f64;
            let pair = (
                Some(mean(&points[points.len() - third..])),
                Some(mean(&points[..third])),
            );
            thirds.entry(of.arm).or_default().push(pair);
        }
    }
    let known = |arm: &str| collected.arms.iter().any(|known| known.arm == arm);
    thirds
        .into_iter()
        .filter(|(arm, _)| known(arm))
        .filter_map(|(arm, pairs)| {
            Some(Unsteady {
                arm: arm.to_owned(),
                drift: RatioEstimate::from_pairs(pairs)?,
            })
        })
        .filter(|unsteady| {
            let (low, high) = unsteady.drift.interval();
            low > 1.0 + card.margin || high < 1.0 - card.margin
        })
        .collect()
}

/// What a reader must know before believing the figures.
pub(super) fn notes(run: &Run, card: &ExperimentCard, collected: &Collected, controls: &[Control]) -> Vec<String> {
    let mut notes = Vec::new();
    if controls.is_empty() {
        notes.push("No A/A control ran, so it is not known by how much equal arms differ.".to_owned());
    }
    let of_card = |trial: &&PlannedTrial| super::arms::is_planned_for(card, trial);
    let planned = run.plan.iter().filter(of_card).count();
    let done = collected.trials + collected.failed.len();
    if done < planned {
        notes.push(format!(
            "{} of {planned} planned trials are missing: the run was cut off.",
            planned - done
        ));
    }
    if !collected.failed.is_empty() {
        notes.push(match collected.failed.len() {
            1 => "One trial failed and is left out of every figure.".to_owned(),
            count => format!("{count} trials failed and are left out of every figure."),
        });
    }
    for arm in &collected.arms {
        if let Some(reason) = &arm.invalid {
            notes.push(format!(
                "The arm {} failed its check ({reason}), so it has no figures.",
                arm.arm
            ));
        }
    }
    for (flag, count) in &collected.flagged {
        let (are, they_are) = match count {
            1 => ("is", "it is"),
            _ => ("are", "they are"),
        };
        notes.push(format!(
            "{count} of {} trials {are} flagged `{flag}`; {they_are} kept.",
            collected.trials
        ));
    }
    notes
}
