//! A metric by size and level: points with intervals, one panel for each combination of the other factors.

use std::collections::BTreeMap;

use crate::analysis::{ArmAnalysis, CellAnalysis, ExperimentAnalysis};
use crate::figures;

use super::layout::{AXIS, Frame, GRID, INK, LABEL_SIZE, MARGIN, MUTED, SMALL_SIZE, Scale, WIDTH};
use super::layout::{legend, linear_ticks, log_ticks, look};
use super::scene::{Anchor, Scene, text_width};

/// A linear scale from zero is the honest one, unless the smallest points would lie on its floor.
const LINEAR_SPAN_MAX: f64 = 6.0;
const PANEL_HEIGHT: f64 = 230.0;
const PANEL_GAP: f64 = 28.0;
/// From one panel to the one below.
const PANEL_STEP: f64 = PANEL_HEIGHT + 104.0;
/// A single panel with few points does not need the whole width.
const PANEL_WIDTH_MAX: f64 = 620.0;

/// Draws the metric, or nothing when no arm has it.
pub(crate) fn chart(experiment: &ExperimentAnalysis, metric: &str, frame: &Frame) -> Option<Scene> {
    let card = &experiment.card;
    let axis = axis_factor(experiment);
    let axis = axis.as_deref();
    let panels = panels(experiment, axis);
    let measured = |arm: &ArmAnalysis| arm.metrics.get(metric).map(|metric| metric.summary);
    let arms = || experiment.cells.iter().flat_map(|cell| &cell.arms);
    let highest = arms()
        .filter_map(measured)
        .map(|summary| summary.mean)
        .reduce(f64::max)?;
    // An interval from two blocks may be endless: it is cut off at twice the highest mean.
    let top = arms()
        .filter_map(measured)
        .map(|summary| {
            summary
                .interval
                .map_or(summary.mean, |(_, high)| high.min(2.0 * highest))
        })
        .fold(highest, f64::max);
    let lowest = arms()
        .filter_map(measured)
        .map(|summary| summary.mean)
        .fold(highest, f64::min);
    let logarithmic = lowest > 0.0 && highest / lowest > LINEAR_SPAN_MAX;
    let bottom = if logarithmic { lowest / 1.4 } else { 0.0 };
    let ticks = if logarithmic {
        log_ticks(bottom, top, 7)
    } else {
        linear_ticks(top)
    };
    let top = if logarithmic {
        top * 1.1
    } else {
        ticks.last().copied().unwrap_or(top)
    };
    let tick_labels: Vec<String> = ticks.iter().map(|tick| figures::short(*tick)).collect();
    let label_width = tick_labels
        .iter()
        .map(|label| text_width(label, SMALL_SIZE))
        .fold(0.0, f64::max);

    let mut scene = Scene::new(WIDTH, 0.0);
    let y = frame.head(&mut scene);
    let mut levels: Vec<&str> = Vec::new();
    for level in card.factor(&card.treatment).map_or(&[][..], |factor| &factor.levels) {
        if arms().any(|arm| arm.level == *level && measured(arm).is_some()) {
            levels.push(level);
        }
    }
    let entries: Vec<_> = levels
        .iter()
        .map(|level| {
            let (colour, marker) = look(card, level);
            ((*level).to_owned(), colour, marker)
        })
        .collect();
    let mut y = legend(&mut scene, y + 4.0, &entries) + 12.0;

    // Four panels make a square; three and more than four fit side by side in threes.
    let columns = if panels.len() == 4 { 2 } else { panels.len().clamp(1, 3) };
    let room = (WIDTH - 2.0 * MARGIN - PANEL_GAP * (columns as f64 - 1.0)) / columns as f64;
    let panel_width = room.min(PANEL_WIDTH_MAX);
    let unit = card
        .metric(metric)
        .map(|metric| metric.unit.as_str())
        .unwrap_or_default();
    let unit = if logarithmic {
        format!("{unit} (log scale)")
    } else {
        unit.to_owned()
    };
    let rows = panels.len().div_ceil(columns);
    for (index, (title, cells)) in panels.iter().enumerate() {
        let (row, column) = (index / columns, index % columns);
        let left = MARGIN + column as f64 * (panel_width + PANEL_GAP) + label_width + 8.0;
        let right = MARGIN + column as f64 * (panel_width + PANEL_GAP) + panel_width;
        let panel_top = y + row as f64 * PANEL_STEP;
        let plot_top = panel_top + 44.0;
        let plot_bottom = plot_top + PANEL_HEIGHT;
        scene.text(
            (left - label_width - 8.0, panel_top + 8.0),
            LABEL_SIZE,
            Anchor::Start,
            INK,
            fitting(title, panel_width).to_owned(),
        );
        scene.text(
            (left - label_width - 8.0, panel_top + 27.0),
            SMALL_SIZE,
            Anchor::Start,
            MUTED,
            unit.clone(),
        );
        let vertical = Scale {
            from: bottom,
            to: top,
            pixel_from: plot_bottom,
            pixel_to: plot_top,
            logarithmic,
        };
        for (tick, label) in ticks.iter().zip(&tick_labels) {
            let at = vertical.at(*tick);
            scene.line(&[(left, at), (right, at)], GRID, 1.0);
            scene.text((left - 8.0, at), SMALL_SIZE, Anchor::End, MUTED, label.clone());
        }
        scene.line(&[(left, plot_bottom), (right, plot_bottom)], AXIS, 1.0);
        let categories = categories(experiment, axis, cells);
        let here: Vec<&str> = levels
            .iter()
            .copied()
            .filter(|level| cells.iter().any(|cell| cell.arm(level).and_then(measured).is_some()))
            .collect();
        let slot = (right - left) / categories.len() as f64;
        for (position, category) in categories.iter().enumerate() {
            let label = axis.map_or(String::new(), |axis| figures::level(card, axis, category));
            let x = left + slot * (position as f64 + 0.5);
            scene.text((x, plot_bottom + 14.0), SMALL_SIZE, Anchor::Middle, INK, label);
        }
        let dodge = (0.7 * slot / here.len() as f64).min(13.0);
        for (order, level) in here.iter().enumerate() {
            let (colour, marker) = look(card, level);
            let shift = dodge * (order as f64 - (here.len() as f64 - 1.0) / 2.0);
            let mut points = Vec::new();
            for cell in cells {
                let category = axis.and_then(|axis| cell.cell.level(axis)).unwrap_or_default();
                let position = categories.iter().position(|known| *known == category);
                let summary = cell.arm(level).and_then(measured);
                let (Some(position), Some(summary)) = (position, summary) else {
                    continue;
                };
                let x = left + slot * (position as f64 + 0.5) + shift;
                if let Some((low, high)) = summary.interval {
                    let (low, high) = (vertical.at(low), vertical.at(high));
                    scene.line(&[(x, low), (x, high)], colour, 2.0);
                    scene.line(&[(x - 3.0, low), (x + 3.0, low)], colour, 1.5);
                    scene.line(&[(x - 3.0, high), (x + 3.0, high)], colour, 1.5);
                }
                points.push((x, vertical.at(summary.mean)));
            }
            scene.line(&points, colour.faded(0.45), 1.5);
            for point in points {
                scene.marker(point, 5.0, marker, colour);
            }
        }
        if let Some(factor) = axis.and_then(|axis| card.factor(axis)) {
            let middle = (left + right) / 2.0;
            scene.text(
                (middle, plot_bottom + 31.0),
                SMALL_SIZE,
                Anchor::Middle,
                MUTED,
                factor.label.clone(),
            );
        }
    }
    y += rows as f64 * PANEL_STEP;
    frame.foot(&mut scene, y - 12.0);
    Some(scene)
}

/// A panel's title: with the factors' labels where there is room for them.
struct Title {
    labelled: String,
    levels: String,
}

fn fitting(title: &Title, room: f64) -> &str {
    if text_width(&title.labelled, LABEL_SIZE) <= room {
        &title.labelled
    } else {
        &title.levels
    }
}

/// The factor along which points are joined: that with most sizes when there are several, else the factor with most levels in use.
fn axis_factor(experiment: &ExperimentAnalysis) -> Option<String> {
    let card = &experiment.card;
    let all: Vec<&CellAnalysis> = experiment.cells.iter().collect();
    let in_use = |name: &str| categories(experiment, Some(name), &all).len();
    let others = || card.factors.iter().filter(|factor| factor.name != card.treatment);
    // Of equal factors `max_by_key` takes the last, and the first is the one that the card finds most telling.
    let sizes = others().rev().filter(|factor| factor.unit == "bytes");
    let several_sizes = sizes
        .filter(|factor| in_use(&factor.name) > 1)
        .max_by_key(|factor| in_use(&factor.name));
    let axis = several_sizes.or_else(|| others().rev().max_by_key(|factor| in_use(&factor.name)));
    axis.map(|factor| factor.name.clone())
}

/// The levels of the axis that the cells have, in the order of the card.
fn categories(experiment: &ExperimentAnalysis, axis: Option<&str>, cells: &[&CellAnalysis]) -> Vec<String> {
    let Some(axis) = axis else { return vec![String::new()] };
    let used = |level: &str| cells.iter().any(|cell| cell.cell.level(axis) == Some(level));
    let levels = experiment.card.factor(axis).map_or(&[][..], |factor| &factor.levels);
    let found: Vec<String> = levels.iter().filter(|level| used(level)).cloned().collect();
    if found.is_empty() { vec![String::new()] } else { found }
}

/// The cells of each combination of the other factors, with a title that names the levels.
fn panels<'a>(experiment: &'a ExperimentAnalysis, axis: Option<&str>) -> Vec<(Title, Vec<&'a CellAnalysis>)> {
    let card = &experiment.card;
    let mut panels: BTreeMap<Vec<usize>, (Title, Vec<&CellAnalysis>)> = BTreeMap::new();
    for cell in &experiment.cells {
        let others: Vec<_> = cell
            .cell
            .levels
            .iter()
            .filter(|(name, _)| Some(name.as_str()) != axis)
            .collect();
        let order = others
            .iter()
            .map(|(name, level)| {
                card.factor(name)
                    .and_then(|factor| factor.levels.iter().position(|known| known == level))
                    .unwrap_or(usize::MAX)
            })
            .collect();
        let labelled: Vec<String> = others
            .iter()
            .map(|(name, level)| {
                let label = card.factor(name).map_or(name.as_str(), |factor| factor.label.as_str());
                format!("{label}: {}", figures::level(card, name, level))
            })
            .collect();
        let title = || Title {
            labelled: labelled.join(", "),
            levels: figures::levels(card, others.iter().copied()),
        };
        panels
            .entry(order)
            .or_insert_with(|| (title(), Vec::new()))
            .1
            .push(cell);
    }
    panels.into_values().collect()
}
