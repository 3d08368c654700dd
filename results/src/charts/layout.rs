//! What all charts share: colours, scales with readable ticks, title, legend and footer.

pub(crate) use crate::figures::duration_us;
use crate::schema::ExperimentCard;

use super::scene::{Anchor, Colour, Marker, Scene, text_width};

/// The width of every chart in pixels.
pub(crate) const WIDTH: f64 = 960.0;
/// The margin on all four sides.
pub(crate) const MARGIN: f64 = 20.0;
/// The size of titles.
pub(crate) const TITLE_SIZE: f64 = 21.0;
/// The size of labels.
pub(crate) const LABEL_SIZE: f64 = 14.5;
/// The size of tick labels and of the footer.
pub(crate) const SMALL_SIZE: f64 = 13.0;

/// The colour of text.
pub(crate) const INK: Colour = Colour(34, 34, 34, 1.0);
/// The colour of the ground.
pub(crate) const PAPER: Colour = Colour(255, 255, 255, 1.0);
/// The colour of what explains.
pub(crate) const MUTED: Colour = Colour(102, 102, 102, 1.0);
/// The colour of axes.
pub(crate) const AXIS: Colour = Colour(150, 150, 150, 1.0);
/// The colour of grid lines.
pub(crate) const GRID: Colour = Colour(228, 228, 228, 1.0);

/// The palette of Okabe and Ito (2008), which people with any kind of colour vision can tell apart.
const PALETTE: [Colour; 6] = [
    Colour(0, 114, 178, 1.0),
    Colour(0, 158, 115, 1.0),
    Colour(204, 121, 167, 1.0),
    Colour(230, 159, 0, 1.0),
    Colour(86, 180, 233, 1.0),
    Colour(240, 228, 66, 1.0),
];
const BASELINE: Colour = Colour(90, 90, 90, 1.0);
const FOCUS: Colour = Colour(213, 94, 0, 1.0);
const MARKERS: [Marker; 4] = [Marker::Square, Marker::Triangle, Marker::Diamond, Marker::Cross];

/// The colour and marker of a level: the same in every chart of the experiment.
pub(crate) fn look(card: &ExperimentCard, level: &str) -> (Colour, Marker) {
    if level == card.baseline {
        return (BASELINE, Marker::Square);
    }
    if level == card.focus {
        return (FOCUS, Marker::Circle);
    }
    let levels = card.factor(&card.treatment).map_or(&[][..], |factor| &factor.levels);
    let others = levels
        .iter()
        .filter(|other| **other != card.baseline && **other != card.focus);
    let index = others.take_while(|other| *other != level).count();
    // The baseline's square is not used again before the others are.
    (PALETTE[index % PALETTE.len()], MARKERS[(index + 1) % MARKERS.len()])
}

/// The colour and marker of the n-th of several targets, or of what was done on them.
pub(crate) fn look_of_place(place: usize) -> (Colour, Marker) {
    const ORDER: [Colour; 6] = [FOCUS, PALETTE[0], PALETTE[1], PALETTE[2], PALETTE[3], BASELINE];
    const SHAPES: [Marker; 5] = [
        Marker::Circle,
        Marker::Triangle,
        Marker::Diamond,
        Marker::Cross,
        Marker::Square,
    ];
    (ORDER[place % ORDER.len()], SHAPES[place % SHAPES.len()])
}

/// What stands below every chart: transport, machine, blocks.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    pub title: String,
    pub subtitle: String,
    pub footer: String,
}

impl Frame {
    /// Draws title and subtitle, and returns the height below them. Long titles are broken.
    pub fn head(&self, scene: &mut Scene) -> f64 {
        let room = scene.width - 2.0 * MARGIN;
        let mut y = MARGIN + TITLE_SIZE / 2.0;
        for line in broken(&self.title, TITLE_SIZE, room) {
            scene.text((MARGIN, y), TITLE_SIZE, Anchor::Start, INK, line);
            y += TITLE_SIZE * 1.3;
        }
        for line in broken(&self.subtitle, LABEL_SIZE, room) {
            scene.text((MARGIN, y), LABEL_SIZE, Anchor::Start, MUTED, line);
            y += LABEL_SIZE * 1.4;
        }
        y
    }

    /// Draws the footer below `y` and sets the scene's height to fit.
    pub fn foot(&self, scene: &mut Scene, y: f64) {
        let mut y = y + SMALL_SIZE;
        for line in broken(&self.footer, SMALL_SIZE, scene.width - 2.0 * MARGIN) {
            scene.text((MARGIN, y), SMALL_SIZE, Anchor::Start, MUTED, line);
            y += SMALL_SIZE * 1.4;
        }
        scene.height = (y + MARGIN / 2.0).ceil();
    }
}

/// Breaks a text at spaces so that every line fits the width.
pub(crate) fn broken(text: &str, size: f64, width: f64) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        let longer = lines.last().map(|line| format!("{line} {word}"));
        match (longer, lines.last_mut()) {
            (Some(longer), Some(line)) if text_width(&longer, size) <= width => *line = longer,
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// Draws a legend from the left margin on, breaking lines, and returns the height below it.
pub(crate) fn legend(scene: &mut Scene, y: f64, entries: &[(String, Colour, Marker)]) -> f64 {
    let mut at = (MARGIN, y + LABEL_SIZE / 2.0);
    for (name, colour, marker) in entries {
        let width = 18.0 + text_width(name, LABEL_SIZE) + 22.0;
        if at.0 > MARGIN && at.0 + width > scene.width - MARGIN {
            at = (MARGIN, at.1 + LABEL_SIZE * 1.6);
        }
        scene.marker((at.0 + 6.0, at.1), 5.0, *marker, *colour);
        scene.text((at.0 + 18.0, at.1), LABEL_SIZE, Anchor::Start, INK, name.clone());
        at.0 += width;
    }
    at.1 + LABEL_SIZE
}

/// A map from values to pixels.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale {
    pub from: f64,
    pub to: f64,
    pub pixel_from: f64,
    pub pixel_to: f64,
    pub logarithmic: bool,
}

impl Scale {
    /// The pixel of a value; what lies outside is put on the edge.
    pub fn at(&self, value: f64) -> f64 {
        let scaled = |value: f64| {
            if self.logarithmic {
                value.max(f64::MIN_POSITIVE).ln()
            } else {
                value
            }
        };
        let share = (scaled(value) - scaled(self.from)) / (scaled(self.to) - scaled(self.from));
        self.pixel_from + share.clamp(0.0, 1.0) * (self.pixel_to - self.pixel_from)
    }
}

/// Round values from zero to at least `top`, about five of them.
pub(crate) fn linear_ticks(top: f64) -> Vec<f64> {
    if !(top.is_finite() && top > 0.0) {
        return vec![0.0, 1.0];
    }
    let raw = top / 4.5;
    let magnitude = 10f64.powf(raw.log10().floor());
    let step = [1.0, 2.0, 2.5, 5.0, 10.0].map(|factor| factor * magnitude);
    let step = step.into_iter().find(|step| *step >= raw).unwrap_or(raw);
    let count = (top / step).ceil() as u32;
    (0..=count).map(|index| f64::from(index) * step).collect()
}

/// Round values on a log scale between `low` and `high`, the densest set of at most `most`.
pub(crate) fn log_ticks(low: f64, high: f64, most: usize) -> Vec<f64> {
    const SETS: [&[f64]; 5] = [
        &[
            1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.8, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 9.5,
        ],
        &[1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0],
        &[1.0, 1.5, 2.0, 3.0, 5.0, 7.0],
        &[1.0, 2.0, 5.0],
        &[1.0],
    ];
    let (first, last) = (low.log10().floor() as i32, high.log10().ceil() as i32);
    let of = |set: &[f64]| {
        let decades = (first..=last).flat_map(|power| set.iter().map(move |value| value * 10f64.powi(power)));
        decades
            .filter(|value| *value >= low * 0.999 && *value <= high * 1.001)
            .collect::<Vec<f64>>()
    };
    let candidates = SETS.map(of);
    let fitting = candidates.iter().find(|ticks| ticks.len() <= most.max(2));
    fitting.or(candidates.last()).cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_reach_the_top() {
        assert_eq!(linear_ticks(7_300.0), [0.0, 2_000.0, 4_000.0, 6_000.0, 8_000.0]);
        assert_eq!(linear_ticks(0.9), [0.0, 0.2, 0.4, 0.600_000_000_000_000_1, 0.8, 1.0]);
        assert_eq!(linear_ticks(f64::NAN), [0.0, 1.0]);
        assert_eq!(log_ticks(0.5, 2.0, 3), [0.5, 1.0, 2.0]);
        assert_eq!(log_ticks(10.0, 10_000.0, 5), [10.0, 100.0, 1_000.0, 10_000.0]);
    }

    #[test]
    fn scales_keep_outliers_on_the_edge() {
        let scale = Scale {
            from: 1.0,
            to: 100.0,
            pixel_from: 0.0,
            pixel_to: 200.0,
            logarithmic: true,
        };
        assert_eq!((scale.at(10.0), scale.at(1e6), scale.at(0.0)), (100.0, 200.0, 0.0));
    }
}
