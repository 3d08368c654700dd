//! What was measured, as grids: of one card, of all metrics, of the cards of one experiment side by side.

use crate::analysis::beside::{Beside, BesideArm};
use crate::analysis::{ArmAnalysis, CellAnalysis, ExperimentAnalysis};
use crate::figures;
use crate::schema::{ExperimentCard, MetricCard};
use crate::verdict::Verdict;

use super::COST_METRIC;
use super::grid::{Grid, GridRow, Kind};

/// What stands where a target can't tell a figure: never a guess, and never 0.
pub(crate) const ABSENT: &str = "absent";

/// The main table of an experiment: one row per arm, limits below the arms of their cell.
pub fn measurements(experiment: &ExperimentAnalysis) -> Grid {
    let card = &experiment.card;
    let deciding = card.metric(&card.deciding_metric);
    let has_cost = has_cost(card);
    let has_limits = experiment.cells.iter().any(|cell| !cell.limits.is_empty());
    let mut columns = vec![
        ("cell".to_owned(), Kind::Name),
        (treatment_label(card).to_owned(), Kind::Name),
        (title(card, &card.deciding_metric), Kind::Figure),
        (format!("ratio to {}", card.baseline), Kind::Ratio),
    ];
    if has_limits {
        columns.push(("share of limit".to_owned(), Kind::ShareOfLimit));
    }
    if has_cost {
        columns.push((title(card, COST_METRIC), Kind::Figure));
    }
    if has_cost && has_limits {
        columns.push(("CPU to limit".to_owned(), Kind::CostToLimit));
    }
    columns.push((if deciding.is_some() { "better?" } else { "" }.to_owned(), Kind::Answer));
    let mut grid = Grid::of(columns);
    for cell in &experiment.cells {
        for (index, arm) in cell.arms.iter().chain(&cell.limits).enumerate() {
            let is_limit = is_limit(cell, arm);
            let place = if index == 0 {
                figures::cell(card, &cell.cell)
            } else {
                String::new()
            };
            let mut texts = vec![place, arm.level.clone()];
            texts.extend(texts_of_metric(experiment, arm, &card.deciding_metric));
            let to_limit = |metric: &str| arm.metrics.get(metric).and_then(|found| found.to_limit.as_ref());
            if has_limits {
                let share = to_limit(&card.deciding_metric);
                texts.push(share.map(figures::share_with_interval).unwrap_or_default());
            }
            if has_cost {
                texts.push(mean_text(experiment, arm, COST_METRIC));
            }
            if has_cost && has_limits {
                let ratio = to_limit(COST_METRIC).map(|to_limit| figures::ratio(to_limit.ratio()));
                texts.push(ratio.unwrap_or_default());
            }
            texts.push(answer(arm, is_limit));
            grid.rows.push(GridRow {
                texts,
                begins_cell: index == 0,
                verdict: arm_verdict(arm),
            });
        }
    }
    grid
}

/// The ratios of the metrics that are drawn beside the deciding one, or nothing when there are none.
pub fn other_ratios(experiment: &ExperimentAnalysis) -> Option<Grid> {
    let card = &experiment.card;
    let drawn = |metric: &&MetricCard| metric.chart && metric.name != card.deciding_metric;
    let metrics: Vec<&MetricCard> = card.metrics.iter().filter(drawn).collect();
    if metrics.is_empty() || experiment.cells.is_empty() {
        return None;
    }
    let mut columns = vec![
        ("cell".to_owned(), Kind::Name),
        (treatment_label(card).to_owned(), Kind::Name),
    ];
    columns.extend(metrics.iter().map(|metric| (metric.label.clone(), Kind::Ratio)));
    let mut grid = Grid::of(columns);
    for cell in &experiment.cells {
        let others = cell.arms.iter().filter(|arm| arm.level != card.baseline);
        for (index, arm) in others.enumerate() {
            let place = if index == 0 {
                figures::cell(card, &cell.cell)
            } else {
                String::new()
            };
            let mut texts = vec![place, arm.level.clone()];
            texts.extend(metrics.iter().map(|metric| {
                let measured = arm.metrics.get(&metric.name);
                match measured.and_then(|measured| measured.to_baseline.as_ref()) {
                    Some(ratio) => figures::ratio_with_interval(ratio),
                    None if arm.metrics.is_empty() => "–".to_owned(),
                    None if experiment.incomparable.contains_key(&arm.level) => Verdict::Incomparable.to_string(),
                    None if is_absent(experiment, arm, &metric.name) => ABSENT.to_owned(),
                    None if is_baseline_absent(experiment, &metric.name) => format!("{ABSENT} for {}", card.baseline),
                    None => "–".to_owned(),
                }
            }));
            grid.rows.push(GridRow {
                texts,
                begins_cell: index == 0,
                verdict: None,
            });
        }
    }
    Some(grid)
}

/// Every metric of every arm, means only.
pub fn all_metrics(experiment: &ExperimentAnalysis) -> Grid {
    let card = &experiment.card;
    let mut columns = vec![("cell".to_owned(), Kind::Name), ("arm".to_owned(), Kind::Name)];
    columns.extend(
        card.metrics
            .iter()
            .map(|metric| (title(card, &metric.name), Kind::Figure)),
    );
    columns.push(("trials".to_owned(), Kind::Figure));
    let mut grid = Grid::of(columns);
    for cell in &experiment.cells {
        for (index, arm) in cell.arms.iter().chain(&cell.limits).enumerate() {
            let mut texts = vec![figures::cell(card, &cell.cell), arm.level.clone()];
            let means = card
                .metrics
                .iter()
                .map(|metric| mean_text(experiment, arm, &metric.name));
            texts.extend(means);
            let trials = arm.metrics.values().map(|metric| metric.summary.n).max().unwrap_or(0);
            texts.push(match arm.failed {
                0 => trials.to_string(),
                failed => format!("{trials} ({failed} failed)"),
            });
            grid.rows.push(GridRow {
                texts,
                begins_cell: index == 0,
                verdict: arm_verdict(arm),
            });
        }
    }
    grid
}

/// The cards of one experiment side by side: one row per cell, target and arm.
pub fn side_by_side(beside: &Beside, experiments: &[ExperimentAnalysis]) -> Grid {
    let first = &experiments[beside.members[0]].card;
    let has_cost = beside.members.iter().any(|member| has_cost(&experiments[*member].card));
    let mut columns = vec![
        ("cell".to_owned(), Kind::Name),
        ("target and arm".to_owned(), Kind::Name),
        (title(first, &first.deciding_metric), Kind::Figure),
        ("ratio to own baseline".to_owned(), Kind::Ratio),
        (format!("ratio to {} {}", first.target, first.baseline), Kind::Across),
    ];
    if has_cost {
        let cards = beside.members.iter().map(|member| &experiments[*member].card);
        let of = cards.into_iter().find(|card| has_cost_metric(card)).unwrap_or(first);
        columns.push((title(of, COST_METRIC), Kind::Figure));
    }
    columns.push(("better?".to_owned(), Kind::Answer));
    let mut grid = Grid::of(columns);
    for cell in &beside.cells {
        for (index, place) in cell.arms.iter().enumerate() {
            let (card, arm) = arm_of(place, experiments);
            let experiment = &experiments[place.experiment];
            let heading = if index == 0 {
                figures::cell(card, &cell.cell)
            } else {
                String::new()
            };
            let name = if place.is_limit {
                arm.level.clone()
            } else {
                format!("{} {}", card.target, arm.level)
            };
            let mut texts = vec![heading, name];
            texts.extend(texts_of_metric(experiment, arm, &first.deciding_metric));
            let across = place.to_first.get(&first.deciding_metric);
            texts.push(across.map(figures::ratio_with_interval).unwrap_or_default());
            if has_cost {
                texts.push(mean_text(experiment, arm, COST_METRIC));
            }
            texts.push(answer(arm, place.is_limit));
            grid.rows.push(GridRow {
                texts,
                begins_cell: index == 0,
                verdict: arm_verdict(arm),
            });
        }
    }
    grid
}

/// The card and the arm at a place.
pub(crate) fn arm_of<'a>(
    place: &BesideArm,
    experiments: &'a [ExperimentAnalysis],
) -> (&'a ExperimentCard, &'a ArmAnalysis) {
    let experiment = &experiments[place.experiment];
    let cell = &experiment.cells[place.cell];
    let arms = if place.is_limit { &cell.limits } else { &cell.arms };
    (&experiment.card, &arms[place.arm])
}

fn has_cost_metric(card: &ExperimentCard) -> bool {
    card.metric(COST_METRIC).is_some()
}

fn has_cost(card: &ExperimentCard) -> bool {
    has_cost_metric(card) && card.deciding_metric != COST_METRIC
}

fn treatment_label(card: &ExperimentCard) -> &str {
    card.factor(&card.treatment).map_or("arm", |factor| &factor.label)
}

fn title(card: &ExperimentCard, metric: &str) -> String {
    match card.metric(metric) {
        Some(metric) if metric.unit.is_empty() => metric.label.clone(),
        Some(metric) => format!("{}, {}", metric.label, metric.unit),
        None => metric.to_owned(),
    }
}

/// The mean and the ratio to the baseline.
fn texts_of_metric(experiment: &ExperimentAnalysis, arm: &ArmAnalysis, metric: &str) -> [String; 2] {
    let Some(metric) = arm.metrics.get(metric) else {
        let is_absent = is_absent(experiment, arm, metric);
        return [if is_absent { ABSENT } else { "–" }.to_owned(), String::new()];
    };
    let value = figures::value_with_interval(metric.summary.mean, metric.summary.interval);
    let ratio = metric.to_baseline.as_ref().map(figures::ratio_with_interval);
    [value, ratio.unwrap_or_default()]
}

fn mean_text(experiment: &ExperimentAnalysis, arm: &ArmAnalysis, metric: &str) -> String {
    match arm.metrics.get(metric) {
        Some(metric) => figures::three_digits(metric.summary.mean),
        None if is_absent(experiment, arm, metric) => ABSENT.to_owned(),
        None => String::new(),
    }
}

/// Whether a metric could not be read for a level: its arms ran and have others, and none has this one. A single arm may lack
/// it for another reason, as too few samples for a percentile. A limit has no broker, and so never had any figure of one.
fn is_absent(experiment: &ExperimentAnalysis, arm: &ArmAnalysis, metric: &str) -> bool {
    let arms = || {
        let cells = experiment.cells.iter();
        cells.filter_map(|cell| cell.arm(&arm.level))
    };
    arms().any(|arm| !arm.metrics.is_empty()) && !arms().any(|arm| arm.metrics.contains_key(metric))
}

/// Whether nothing can be held against the baseline, as the metric could not be read there.
fn is_baseline_absent(experiment: &ExperimentAnalysis, metric: &str) -> bool {
    let arms = experiment
        .cells
        .iter()
        .filter_map(|cell| cell.arm(&experiment.card.baseline));
    let found: Vec<bool> = arms.map(|arm| arm.metrics.contains_key(metric)).collect();
    !found.is_empty() && !found.contains(&true)
}

fn arm_verdict(arm: &ArmAnalysis) -> Option<Verdict> {
    if arm.invalid.is_some() {
        Some(Verdict::Invalid)
    } else {
        arm.judgement.map(|judgement| judgement.verdict)
    }
}

fn is_limit(cell: &CellAnalysis, arm: &ArmAnalysis) -> bool {
    cell.limits.iter().any(|limit| limit.arm == arm.arm)
}

fn answer(arm: &ArmAnalysis, is_limit: bool) -> String {
    match arm_verdict(arm) {
        Some(verdict) => verdict.as_str().to_owned(),
        None if is_limit => "(limit)".to_owned(),
        None => "(baseline)".to_owned(),
    }
}
