//! The panels as a picture: one vertical scale for all, the number on a log scale.

use std::collections::BTreeSet;

use super::super::layout::{AXIS, Frame, GRID, INK, LABEL_SIZE, MARGIN, MUTED, SMALL_SIZE, Scale, WIDTH};
use super::super::layout::{legend, linear_ticks, log_ticks};
use super::super::scene::{Anchor, Colour, Marker, Scene, text_width};
use super::{Panel, ahead};
use crate::figures;

/// A linear scale from zero is the honest one, unless the smallest points would lie on its floor.
const LINEAR_SPAN_MAX: f64 = 6.0;
const PANEL_HEIGHT: f64 = 250.0;
const PANEL_GAP: f64 = 28.0;
/// From one panel to the one below.
const PANEL_STEP: f64 = PANEL_HEIGHT + 112.0;
const COLUMNS_MAX: usize = 3;
/// A single panel does not need the whole width.
const PANEL_WIDTH_MAX: f64 = 620.0;

/// The vertical scale that all panels share.
struct Vertical {
    bottom: f64,
    top: f64,
    logarithmic: bool,
    ticks: Vec<f64>,
}

impl Vertical {
    fn of(panels: &[Panel]) -> Self {
        let points = || {
            panels
                .iter()
                .flat_map(|panel| &panel.lines)
                .flat_map(|line| &line.points)
        };
        let means = || points().map(|point| point.summary.mean);
        let highest = means().fold(0.0, f64::max);
        let lowest = means().fold(highest, f64::min);
        // An interval from two blocks may be endless: it is cut off at twice the highest mean.
        let ends = points().filter_map(|point| Some(point.summary.interval?.1.min(2.0 * highest)));
        let top = ends.fold(highest, f64::max);
        let logarithmic = lowest > 0.0 && highest / lowest > LINEAR_SPAN_MAX;
        if logarithmic {
            let (bottom, top) = (lowest / 1.4, top * 1.1);
            return Self {
                bottom,
                top,
                logarithmic,
                ticks: log_ticks(bottom, top, 7),
            };
        }
        let ticks = linear_ticks(top);
        Self {
            bottom: 0.0,
            top: ticks.last().copied().unwrap_or(top),
            logarithmic,
            ticks,
        }
    }
}

pub(super) fn draw(panels: &[Panel], frame: &Frame, unit: &str, axis_label: &str) -> Scene {
    let vertical = Vertical::of(panels);
    let numbers = panels
        .iter()
        .flat_map(|panel| &panel.lines)
        .flat_map(|line| &line.points);
    let numbers: BTreeSet<u64> = numbers.map(|point| point.number as u64).collect();
    let mut scene = Scene::new(WIDTH, 0.0);
    let y = frame.head(&mut scene);
    let mut entries: Vec<(String, Colour, Marker)> = Vec::new();
    for line in panels.iter().flat_map(|panel| &panel.lines) {
        if !entries.iter().any(|(name, ..)| *name == line.name) {
            entries.push((line.name.clone(), line.look.0, line.look.1));
        }
    }
    let y = legend(&mut scene, y + 4.0, &entries) + 12.0;
    let columns = panels.len().clamp(1, COLUMNS_MAX);
    let room = (WIDTH - 2.0 * MARGIN - PANEL_GAP * (columns as f64 - 1.0)) / columns as f64;
    let unit = match vertical.logarithmic {
        true => format!("{unit} (log scale)"),
        false => unit.to_owned(),
    };
    for (index, panel) in panels.iter().enumerate() {
        let left = MARGIN + (index % columns) as f64 * (room + PANEL_GAP);
        let place = Place {
            left,
            right: left + room.min(PANEL_WIDTH_MAX),
            top: y + (index / columns) as f64 * PANEL_STEP,
        };
        draw_panel(&mut scene, panel, &place, &vertical, &numbers, (&unit, axis_label));
    }
    let rows = panels.len().div_ceil(columns);
    frame.foot(&mut scene, y + rows as f64 * PANEL_STEP - 12.0);
    scene
}

/// Where a panel lies.
struct Place {
    left: f64,
    right: f64,
    top: f64,
}

fn draw_panel(
    scene: &mut Scene,
    panel: &Panel,
    place: &Place,
    vertical: &Vertical,
    numbers: &BTreeSet<u64>,
    (unit, axis_label): (&str, &str),
) {
    let labels: Vec<String> = vertical.ticks.iter().map(|tick| figures::short(*tick)).collect();
    let widths = labels.iter().map(|label| text_width(label, SMALL_SIZE));
    let left = place.left + widths.fold(0.0, f64::max) + 8.0;
    let (plot_top, plot_bottom) = (place.top + 52.0, place.top + 52.0 + PANEL_HEIGHT);
    let title = match text_width(&panel.title, LABEL_SIZE) <= place.right - place.left {
        true => &panel.title,
        false => &panel.short_title,
    };
    scene.text(
        (place.left, place.top + 8.0),
        LABEL_SIZE,
        Anchor::Start,
        INK,
        title.clone(),
    );
    scene.text(
        (place.left, place.top + 30.0),
        SMALL_SIZE,
        Anchor::Start,
        MUTED,
        unit.to_owned(),
    );
    let height = Scale {
        from: vertical.bottom,
        to: vertical.top,
        pixel_from: plot_bottom,
        pixel_to: plot_top,
        logarithmic: vertical.logarithmic,
    };
    let (smallest, largest) = (
        numbers.first().copied().unwrap_or(1),
        numbers.last().copied().unwrap_or(1),
    );
    // The outermost points keep away from the edges.
    let width = Scale {
        from: smallest as f64,
        to: largest as f64,
        pixel_from: left + 14.0,
        pixel_to: place.right - 18.0,
        logarithmic: true,
    };
    for (tick, label) in vertical.ticks.iter().zip(labels) {
        let at = height.at(*tick);
        scene.line(&[(left, at), (place.right, at)], GRID, 1.0);
        scene.text((left - 8.0, at), SMALL_SIZE, Anchor::End, MUTED, label);
    }
    if let Some(ahead) = ahead(panel) {
        let at = width.at(ahead.number());
        scene.line(&[(at, plot_top), (at, plot_bottom)], AXIS, 1.0);
    }
    scene.line(&[(left, plot_bottom), (place.right, plot_bottom)], AXIS, 1.0);
    let mut free_from = f64::NEG_INFINITY;
    for number in numbers {
        let (at, label) = (width.at(*number as f64), number.to_string());
        let half = text_width(&label, SMALL_SIZE) / 2.0;
        if at - half > free_from {
            scene.text((at, plot_bottom + 14.0), SMALL_SIZE, Anchor::Middle, INK, label);
            free_from = at + half + 4.0;
        }
    }
    let middle = (left + place.right) / 2.0;
    scene.text(
        (middle, plot_bottom + 32.0),
        SMALL_SIZE,
        Anchor::Middle,
        MUTED,
        axis_label.to_owned(),
    );
    for line in &panel.lines {
        let (colour, marker) = line.look;
        let points: Vec<(f64, f64)> = line
            .points
            .iter()
            .map(|point| (width.at(point.number), height.at(point.summary.mean)))
            .collect();
        for (point, (x, _)) in line.points.iter().zip(&points) {
            if let Some((low, high)) = point.summary.interval {
                let (low, high) = (height.at(low), height.at(high));
                scene.line(&[(*x, low), (*x, high)], colour, 1.5);
                scene.line(&[(x - 3.0, low), (x + 3.0, low)], colour, 1.5);
                scene.line(&[(x - 3.0, high), (x + 3.0, high)], colour, 1.5);
            }
        }
        scene.line(&points, colour, 2.0);
        for point in points {
            scene.marker(point, 5.0, marker, colour);
        }
    }
}
