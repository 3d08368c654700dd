//! Ratios as a forest plot: a row per cell and level, a dot per block, the interval over them, lines at what matters.

use super::layout::{AXIS, Frame, GRID, INK, LABEL_SIZE, MARGIN, MUTED, PAPER, SMALL_SIZE, Scale, WIDTH, log_ticks};
use super::scene::{Anchor, Colour, Marker, Scene, text_width};

const ROW_HEIGHT: f64 = 23.0;
const GROUP_GAP: f64 = 9.0;
const DOT: f64 = 2.5;

/// One row.
pub(crate) struct Row {
    /// The cell, told on the first row of its group.
    pub group: String,
    pub label: String,
    pub colour: Colour,
    pub marker: Marker,
    pub blocks: Vec<f64>,
    pub mean: f64,
    pub interval: (f64, f64),
    /// What stands at the right end.
    pub text: String,
}

/// A vertical line with its label above the plot.
pub(crate) struct Reference {
    pub value: f64,
    pub label: String,
}

/// What the plot shows.
pub(crate) struct Forest {
    pub rows: Vec<Row>,
    pub references: Vec<Reference>,
    /// A band in which differences don't count.
    pub band: Option<(f64, f64)>,
    pub axis_label: String,
    pub tick: fn(f64) -> String,
}

/// Draws the plot, or nothing when there is no row.
pub(crate) fn chart(forest: &Forest, frame: &Frame) -> Option<Scene> {
    if forest.rows.is_empty() {
        return None;
    }
    let widest =
        |texts: &mut dyn Iterator<Item = &str>, size: f64| texts.map(|text| text_width(text, size)).fold(0.0, f64::max);
    let group_width = widest(&mut forest.rows.iter().map(|row| row.group.as_str()), LABEL_SIZE);
    let label_width = widest(&mut forest.rows.iter().map(|row| row.label.as_str()), LABEL_SIZE);
    let text_room = widest(&mut forest.rows.iter().map(|row| row.text.as_str()), SMALL_SIZE);
    let label_left = MARGIN + group_width + 16.0;
    let left = label_left + label_width + 18.0;
    let right = WIDTH - MARGIN - text_room - 14.0;
    let (low, high) = range(forest);
    let scale = Scale {
        from: low,
        to: high,
        pixel_from: left,
        pixel_to: right,
        logarithmic: true,
    };

    let mut scene = Scene::new(WIDTH, 0.0);
    let head = frame.head(&mut scene) + 8.0;
    let references = placed(&forest.references, &scale);
    let layers = references.iter().map(|(_, _, layer)| layer + 1).max().unwrap_or(0);
    let top = head + layers as f64 * 16.0 + 8.0;
    let groups = forest
        .rows
        .windows(2)
        .filter(|pair| pair[0].group != pair[1].group)
        .count();
    let bottom = top + ROW_HEIGHT * forest.rows.len() as f64 + GROUP_GAP * (groups as f64 + 1.0);

    if let Some((from, to)) = forest.band {
        scene.rectangle((scale.at(from), top), (scale.at(to), bottom), GRID.faded(0.8));
    }
    let most = ((right - left) / 52.0) as usize;
    for tick in log_ticks(low, high, most) {
        let x = scale.at(tick);
        scene.line(&[(x, top), (x, bottom)], GRID, 1.0);
        scene.text(
            (x, bottom + 13.0),
            SMALL_SIZE,
            Anchor::Middle,
            MUTED,
            (forest.tick)(tick),
        );
    }
    let half = |label: &str| text_width(label, SMALL_SIZE) / 2.0 + 3.0;
    let is_crossed = |(reference, middle, layer): &(&Reference, f64, usize)| {
        let mut above = references.iter().filter(|(_, _, other)| other > layer);
        above.any(|(other, ..)| (scale.at(other.value) - middle).abs() < half(&reference.label))
    };
    let y_of = |layer: usize| head + (layers - 1 - layer) as f64 * 16.0 + 6.0;
    for placed @ (reference, middle, layer) in &references {
        let (x, y) = (scale.at(reference.value), y_of(*layer));
        scene.dashes((x, y + 8.0), (x, bottom), AXIS, 1.5);
        if !is_crossed(placed) {
            scene.text((*middle, y), SMALL_SIZE, Anchor::Middle, MUTED, reference.label.clone());
        }
    }
    // The line of a higher label runs behind a lower one.
    for (reference, middle, layer) in references.iter().filter(|placed| is_crossed(placed)) {
        let (y, half) = (y_of(*layer), half(&reference.label));
        scene.rectangle((middle - half, y - 7.0), (middle + half, y + 8.0), PAPER);
        scene.text((*middle, y), SMALL_SIZE, Anchor::Middle, MUTED, reference.label.clone());
    }
    scene.line(&[(left, bottom), (right, bottom)], AXIS, 1.0);

    let mut y = top + GROUP_GAP / 2.0;
    let mut group: Option<&str> = None;
    for row in &forest.rows {
        if group.is_some_and(|group| group != row.group) {
            scene.line(
                &[(MARGIN, y + GROUP_GAP / 2.0), (WIDTH - MARGIN, y + GROUP_GAP / 2.0)],
                GRID,
                1.0,
            );
            y += GROUP_GAP;
        }
        let middle = y + ROW_HEIGHT / 2.0;
        if group != Some(row.group.as_str()) {
            scene.text((MARGIN, middle), LABEL_SIZE, Anchor::Start, INK, row.group.clone());
            group = Some(&row.group);
        }
        scene.text((label_left, middle), LABEL_SIZE, Anchor::Start, INK, row.label.clone());
        for (index, value) in row.blocks.iter().enumerate() {
            // Dots are spread over three lanes, so that equal ones stay countable.
            let lane = (index % 3) as f64 - 1.0;
            scene.marker(
                (scale.at(*value), middle + 4.5 * lane),
                DOT,
                Marker::Circle,
                row.colour.faded(0.35),
            );
        }
        let (from, to) = (scale.at(row.interval.0), scale.at(row.interval.1));
        scene.line(&[(from, middle), (to, middle)], row.colour, 3.0);
        for end in [from, to] {
            scene.line(&[(end, middle - 5.0), (end, middle + 5.0)], row.colour, 2.0);
        }
        scene.marker((scale.at(row.mean), middle), 4.5, row.marker, row.colour);
        scene.text((right + 14.0, middle), SMALL_SIZE, Anchor::Start, INK, row.text.clone());
        y += ROW_HEIGHT;
    }
    scene.text(
        ((left + right) / 2.0, bottom + 31.0),
        SMALL_SIZE,
        Anchor::Middle,
        MUTED,
        forest.axis_label.clone(),
    );
    frame.foot(&mut scene, bottom + 46.0);
    Some(scene)
}

/// The range of the axis: all dots and references, and intervals as far as four times their mean.
fn range(forest: &Forest) -> (f64, f64) {
    let mut low = f64::INFINITY;
    let mut high: f64 = 0.0;
    let references = forest.references.iter().map(|reference| reference.value);
    let rows = forest.rows.iter().flat_map(|row| {
        let interval = [row.interval.0.max(row.mean / 4.0), row.interval.1.min(row.mean * 4.0)];
        row.blocks.iter().copied().chain(interval)
    });
    let band = forest.band.into_iter().flat_map(|(from, to)| [from, to]);
    for value in rows
        .chain(references)
        .chain(band)
        .filter(|value| value.is_finite() && *value > 0.0)
    {
        low = low.min(value);
        high = high.max(value);
    }
    (low / 1.04, high * 1.04)
}

/// Each reference with the middle of its label and the layer on which the label touches no other.
fn placed<'a>(references: &'a [Reference], scale: &Scale) -> Vec<(&'a Reference, f64, usize)> {
    let mut ends: Vec<f64> = Vec::new();
    let mut sorted: Vec<&Reference> = references.iter().collect();
    sorted.sort_by(|one, other| one.value.total_cmp(&other.value));
    sorted
        .into_iter()
        .map(|reference| {
            let half = text_width(&reference.label, SMALL_SIZE) / 2.0;
            let middle = scale.at(reference.value).clamp(MARGIN + half, WIDTH - MARGIN - half);
            let free = ends.iter().position(|end| middle - half > end + 8.0);
            let layer = free.unwrap_or_else(|| {
                ends.push(0.0);
                ends.len() - 1
            });
            ends[layer] = middle + half;
            (reference, middle, layer)
        })
        .collect()
}
