//! Lines in panels below each other, with marks across: plain data that is laid out here once for every chart of a load.

use crate::figures;

use super::layout::{AXIS, Frame, GRID, INK, LABEL_SIZE, MARGIN, MUTED, SMALL_SIZE, Scale, WIDTH};
use super::layout::{legend, linear_ticks, log_ticks};
use super::scene::{Anchor, Colour, Marker, Scene, text_width};

/// Longer lines lose the markers of their points.
const MARKERS_MAX: usize = 60;
/// Between the plot of a panel and the title of the next one.
const BELOW: f64 = 58.0;

/// One line.
pub(super) struct Line {
    pub name: String,
    pub look: (Colour, Marker),
    pub points: Vec<(f64, f64)>,
}

/// A dashed line across a panel, at a value of one of its axes.
pub(super) struct Mark {
    pub at: At,
    pub label: String,
}

/// Where a mark stands.
pub(super) enum At {
    Across(f64),
    Up(f64),
}

/// What the values along an axis are.
pub(super) struct Axis {
    pub label: String,
    pub logarithmic: bool,
    pub tick: fn(f64) -> String,
}

/// The places that have a tick of their own, for an axis whose values are not told by numbers.
pub(super) type Places = Vec<(f64, String)>;

/// Lines that share two axes.
pub(super) struct Panel {
    pub title: String,
    pub height: f64,
    pub lines: Vec<Line>,
    pub marks: Vec<Mark>,
    pub across: Axis,
    pub up: Axis,
    /// Ticks of the horizontal axis instead of round numbers.
    pub places: Option<Places>,
}

impl Panel {
    fn values(&self, of: fn(&(f64, f64)) -> f64) -> impl Iterator<Item = f64> {
        let values = self.lines.iter().flat_map(|line| &line.points).map(of);
        values.filter(|value| value.is_finite())
    }

    fn is_drawn(&self) -> bool {
        self.lines.iter().any(|line| line.points.len() > 1)
    }
}

/// The range of an axis with its ticks.
struct Range {
    from: f64,
    to: f64,
    ticks: Vec<f64>,
}

fn range(axis: &Axis, values: &[f64]) -> Range {
    let highest = values.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
    if axis.logarithmic {
        let lowest = values
            .iter()
            .copied()
            .filter(|value| *value > 0.0)
            .fold(highest, f64::min);
        let (from, to) = (lowest / 1.25, (highest * 1.25).max(lowest * 2.0));
        return Range {
            from,
            to,
            ticks: log_ticks(from, to, 8),
        };
    }
    let ticks = linear_ticks(highest);
    Range {
        from: 0.0,
        to: ticks.last().copied().unwrap_or(highest),
        ticks,
    }
}

/// Draws the panels that have a line, or nothing when none has.
pub(super) fn chart(panels: &[Panel], frame: &Frame) -> Option<Scene> {
    let drawn: Vec<&Panel> = panels.iter().filter(|panel| panel.is_drawn()).collect();
    if drawn.is_empty() {
        return None;
    }
    let mut scene = Scene::new(WIDTH, 0.0);
    let mut y = frame.head(&mut scene);
    let mut entries: Vec<(String, Colour, Marker)> = Vec::new();
    for line in drawn.iter().flat_map(|panel| &panel.lines) {
        if !line.points.is_empty() && !entries.iter().any(|(name, ..)| *name == line.name) {
            entries.push((line.name.clone(), line.look.0, line.look.1));
        }
    }
    y = legend(&mut scene, y + 4.0, &entries) + 12.0;
    let bounds = |panel: &&Panel| {
        let marks = |up: bool| {
            panel.marks.iter().filter_map(move |mark| match mark.at {
                At::Up(value) if up => Some(value),
                At::Across(value) if !up => Some(value),
                _ => None,
            })
        };
        let ups: Vec<f64> = panel.values(|point| point.1).chain(marks(true)).collect();
        let acrosses: Vec<f64> = panel.values(|point| point.0).chain(marks(false)).collect();
        (range(&panel.across, &acrosses), range(&panel.up, &ups))
    };
    let ranges: Vec<(Range, Range)> = drawn.iter().map(bounds).collect();
    // One left edge for all, so that a moment stands at the same place in each of them.
    let widths = drawn.iter().zip(&ranges).flat_map(|(panel, (_, up))| {
        let label = |tick: &f64| text_width(&(panel.up.tick)(*tick), SMALL_SIZE);
        up.ticks.iter().map(label)
    });
    let left = MARGIN + widths.fold(0.0, f64::max) + 8.0;
    for (panel, (across, up)) in drawn.iter().zip(&ranges) {
        let top = y + 26.0;
        draw_panel(&mut scene, panel, (left, top), across, up);
        y = top + panel.height + BELOW;
    }
    frame.foot(&mut scene, y - 12.0);
    Some(scene)
}

fn draw_panel(scene: &mut Scene, panel: &Panel, (left, top): (f64, f64), across: &Range, up: &Range) {
    let (right, bottom) = (WIDTH - MARGIN - 14.0, top + panel.height);
    let log = if panel.up.logarithmic { " (log scale)" } else { "" };
    let title = format!("{}{log}", panel.title);
    scene.text((MARGIN, top - 16.0), LABEL_SIZE, Anchor::Start, INK, title);
    let vertical = Scale {
        from: up.from,
        to: up.to,
        pixel_from: bottom,
        pixel_to: top,
        logarithmic: panel.up.logarithmic,
    };
    let (from, to) = match &panel.places {
        Some(places) => (
            places.first().map_or(across.from, |place| place.0),
            places.last().map_or(across.to, |place| place.0),
        ),
        None => (across.from, across.to),
    };
    let horizontal = Scale {
        from,
        to,
        pixel_from: left + 6.0,
        pixel_to: right - 10.0,
        logarithmic: panel.across.logarithmic,
    };
    for tick in &up.ticks {
        let at = vertical.at(*tick);
        scene.line(&[(left, at), (right, at)], GRID, 1.0);
        scene.text((left - 8.0, at), SMALL_SIZE, Anchor::End, MUTED, (panel.up.tick)(*tick));
    }
    let named = |tick: &f64| (*tick, (panel.across.tick)(*tick));
    let places: Places = match &panel.places {
        Some(places) => places.clone(),
        None => across.ticks.iter().map(named).collect(),
    };
    let mut free_from = f64::NEG_INFINITY;
    for (value, label) in places {
        let (x, half) = (horizontal.at(value), text_width(&label, SMALL_SIZE) / 2.0);
        if panel.places.is_some() {
            scene.line(&[(x, top), (x, bottom)], GRID, 1.0);
        }
        if x - half > free_from {
            scene.text((x, bottom + 14.0), SMALL_SIZE, Anchor::Middle, MUTED, label);
            free_from = x + half + 6.0;
        }
    }
    scene.line(&[(left, bottom), (right, bottom)], AXIS, 1.0);
    for line in &panel.lines {
        let (colour, marker) = line.look;
        let pixels: Vec<(f64, f64)> = line
            .points
            .iter()
            .map(|(x, value)| (horizontal.at(*x), vertical.at(*value)))
            .collect();
        scene.line(&pixels, colour, 2.0);
        let has_marker = |place: usize| pixels.len() <= MARKERS_MAX || place == 0 || place + 1 == pixels.len();
        for (_, point) in pixels.iter().enumerate().filter(|(place, _)| has_marker(*place)) {
            scene.marker(*point, 3.5, marker, colour);
        }
    }
    draw_marks(scene, panel, (left, right), (top, bottom), (&horizontal, &vertical));
    let middle = (left + right) / 2.0;
    scene.text(
        (middle, bottom + 33.0),
        SMALL_SIZE,
        Anchor::Middle,
        MUTED,
        panel.across.label.clone(),
    );
}

/// Marks across have their labels one below the other, so that near ones don't overlap, and on the side where no other mark crosses them.
fn draw_marks(
    scene: &mut Scene,
    panel: &Panel,
    (left, right): (f64, f64),
    (top, bottom): (f64, f64),
    (horizontal, vertical): (&Scale, &Scale),
) {
    let across = |mark: &Mark| match mark.at {
        At::Across(value) => Some(horizontal.at(value)),
        At::Up(_) => None,
    };
    let is_free = |from: f64, to: f64| {
        let mut crossed = panel.marks.iter().filter_map(across);
        from > left && to < right && crossed.all(|x| x <= from || x >= to)
    };
    let mut row = 0.0;
    for mark in &panel.marks {
        match mark.at {
            At::Across(value) => {
                let x = horizontal.at(value);
                scene.dashes((x, top), (x, bottom), INK, 1.2);
                let width = text_width(&mark.label, SMALL_SIZE);
                let is_left =
                    is_free(x - 6.0 - width, x - 6.0) || (x - 6.0 - width > left && !is_free(x + 6.0, x + 6.0 + width));
                let (at, anchor) = if is_left {
                    (x - 6.0, Anchor::End)
                } else {
                    (x + 6.0, Anchor::Start)
                };
                let label = mark.label.clone();
                scene.text(
                    (at, top + 10.0 + row * SMALL_SIZE * 1.5),
                    SMALL_SIZE,
                    anchor,
                    INK,
                    label,
                );
                row += 1.0;
            }
            At::Up(value) => {
                let y = vertical.at(value);
                scene.dashes((left, y), (right, y), MUTED, 1.2);
                let label = mark.label.clone();
                scene.text((right, y - 9.0), SMALL_SIZE, Anchor::End, MUTED, label);
            }
        }
    }
}

/// A number for a tick.
pub(super) fn number(value: f64) -> String {
    figures::short(value)
}
