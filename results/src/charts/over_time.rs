//! A phase over time: the value of every window, one line per target and load, and where the phase ended.

use crate::analysis::Analysis;
use crate::figures;
use crate::schema::{Phase, PhasePoint, PhaseSummary};
use crate::tables::named;

use super::layout::{AXIS, Frame, GRID, INK, LABEL_SIZE, MARGIN, MUTED, SMALL_SIZE, Scale, WIDTH};
use super::layout::{legend, linear_ticks, log_ticks, look_of_place};
use super::scene::{Anchor, Scene, text_width};
use super::{Sketch, slug};

/// Above this ratio of the highest to the lowest value, a linear scale would hide how a slow line moves.
const LINEAR_SPAN_MAX: f64 = 6.0;
const PANEL_HEIGHT: f64 = 240.0;
/// From one panel to the one below.
const PANEL_STEP: f64 = PANEL_HEIGHT + 84.0;
/// Longer lines lose the markers of their windows.
const MARKERS_MAX: usize = 60;

/// One line: a metric of one load on one target.
struct Line<'a> {
    name: String,
    /// (seconds, value), in order.
    points: Vec<(f64, f64)>,
    summary: Option<&'a PhaseSummary>,
}

/// The lines that share a unit and so a panel.
struct Panel<'a> {
    metric: &'a str,
    unit: &'a str,
    lines: Vec<Line<'a>>,
}

/// The phases whose windows follow each other without a gap; the others are repeated from time to time, and a table says more.
const DRAWN: [Phase; 1] = [Phase::WarmUp];

/// One chart for each phase that is drawn and has a line with at least two windows.
pub(super) fn sketches(analysis: &Analysis, footer: &str) -> Vec<Sketch> {
    DRAWN
        .into_iter()
        .filter_map(|phase| {
            let panels = panels(analysis, phase);
            let frame = Frame {
                title: title(phase, &panels),
                subtitle: "The value of every window, in the order of time; the dashed line is the end of the phase".to_owned(),
                footer: footer.to_owned(),
            };
            Some(Sketch {
                slug: slug(&["phase", phase.label()]),
                scene: chart(&panels, &frame)?,
                frame,
                caption: format!(
                    "Nothing of the {} goes into any figure of the experiment. A line that still rises at its end is not \
                     steady, whatever the rule says.",
                    phase.label()
                ),
            })
        })
        .collect()
}

fn title(phase: Phase, panels: &[Panel<'_>]) -> String {
    let lines = || panels.iter().flat_map(|panel| &panel.lines);
    let unsteady = |line: &Line<'_>| line.summary.and_then(|summary| summary.steady) == Some(false);
    let mut label = phase.label().to_owned();
    if let Some(first) = label.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    let question = match phase {
        Phase::Start => "how long until it answers?",
        Phase::FirstTouch => "what does the first pass cost?",
        Phase::WarmUp => "when is it steady?",
    };
    if lines().any(unsteady) {
        return format!("{label}: {question} Not every line became steady");
    }
    format!("{label}: {question}")
}

fn panels<'a>(analysis: &'a Analysis, phase: Phase) -> Vec<Panel<'a>> {
    let mut panels: Vec<Panel<'a>> = Vec::new();
    let of_phase = |point: &&PhasePoint| point.phase == phase && point.value.is_finite();
    // One panel per metric, one line per target and load, all in the order in which they come.
    let mut lines: Vec<(&PhasePoint, Vec<&PhasePoint>)> = Vec::new();
    for point in analysis.phase_points.iter().filter(of_phase) {
        let same = |other: &PhasePoint| {
            (&other.experiment, &other.target, &other.arm, &other.metric)
                == (&point.experiment, &point.target, &point.arm, &point.metric)
        };
        match lines.iter_mut().find(|(first, _)| same(first)) {
            Some((_, points)) => points.push(point),
            None => lines.push((point, vec![point])),
        }
    }
    for (first, mut points) in lines {
        if points.len() < 2 {
            continue;
        }
        points.sort_by_key(|point| point.index);
        let of = |summary: &&PhaseSummary| {
            summary.phase == phase && summary.target == first.target && summary.arm == first.arm
        };
        let line = Line {
            name: named(&first.target, &first.arm),
            points: points
                .iter()
                .map(|point| (point.at_ms as f64 / 1_000.0, point.value))
                .collect(),
            summary: analysis.phases.iter().find(of),
        };
        match panels.iter_mut().find(|panel| panel.metric == first.metric) {
            Some(panel) => panel.lines.push(line),
            None => panels.push(Panel {
                metric: &first.metric,
                unit: &first.unit,
                lines: vec![line],
            }),
        }
    }
    panels
}

impl Line<'_> {
    /// Where the phase ended, in seconds.
    fn end_s(&self) -> f64 {
        let last = self.points.iter().map(|(at_s, _)| *at_s).fold(0.0, f64::max);
        self.summary.map_or(last, |summary| summary.seconds.max(last))
    }

    /// "kafka plain, steady after 12.3 s".
    fn legend(&self) -> String {
        let seconds = figures::three_digits(self.end_s());
        match self.summary.and_then(|summary| summary.steady) {
            Some(true) => format!("{}, steady after {seconds} s", self.name),
            Some(false) => format!("{}, NOT steady after {seconds} s", self.name),
            None => self.name.clone(),
        }
    }
}

/// Draws the panels below each other, or nothing when there is none.
fn chart(panels: &[Panel<'_>], frame: &Frame) -> Option<Scene> {
    let all = || panels.iter().flat_map(|panel| &panel.lines);
    let end_s = all().map(Line::end_s).reduce(f64::max)?;
    // Lines of the same load look the same in every panel.
    let mut names: Vec<&str> = Vec::new();
    for line in all() {
        if !names.contains(&line.name.as_str()) {
            names.push(&line.name);
        }
    }
    let look = |line: &Line<'_>| look_of_place(names.iter().position(|name| *name == line.name).unwrap_or(0));

    let mut scene = Scene::new(WIDTH, 0.0);
    let y = frame.head(&mut scene);
    let mut entries: Vec<_> = Vec::new();
    for name in &names {
        if let Some(line) = all().find(|line| line.name == *name) {
            let (colour, marker) = look(line);
            entries.push((line.legend(), colour, marker));
        }
    }
    let y = legend(&mut scene, y + 4.0, &entries) + 12.0;
    let across_ticks = linear_ticks(end_s);
    let across_end = across_ticks.last().copied().unwrap_or(end_s);
    for (index, panel) in panels.iter().enumerate() {
        let top = y + index as f64 * PANEL_STEP + 26.0;
        let bottom = top + PANEL_HEIGHT;
        let values = || {
            panel
                .lines
                .iter()
                .flat_map(|line| &line.points)
                .map(|(_, value)| *value)
        };
        let highest = values().fold(f64::MIN_POSITIVE, f64::max);
        let lowest = values().fold(highest, f64::min);
        let logarithmic = lowest > 0.0 && highest / lowest > LINEAR_SPAN_MAX;
        let (low, ticks) = if logarithmic {
            (lowest / 1.3, log_ticks(lowest / 1.3, highest * 1.3, 8))
        } else {
            (0.0, linear_ticks(highest))
        };
        let high = if logarithmic {
            highest * 1.3
        } else {
            ticks.last().copied().unwrap_or(highest)
        };
        let labels: Vec<String> = ticks.iter().map(|tick| figures::short(*tick)).collect();
        let widths = labels.iter().map(|label| text_width(label, SMALL_SIZE));
        let left = MARGIN + widths.fold(0.0, f64::max) + 8.0;
        let right = WIDTH - MARGIN - 10.0;
        let scale = if logarithmic { " (log scale)" } else { "" };
        let unit = if panel.unit.is_empty() {
            scale.to_owned()
        } else {
            format!(", {}{scale}", panel.unit)
        };
        scene.text(
            (MARGIN, top - 16.0),
            LABEL_SIZE,
            Anchor::Start,
            INK,
            format!("{}{unit}", panel.metric.replace('_', " ")),
        );
        let vertical = Scale {
            from: low,
            to: high,
            pixel_from: bottom,
            pixel_to: top,
            logarithmic,
        };
        let across = Scale {
            from: 0.0,
            to: across_end,
            pixel_from: left,
            pixel_to: right,
            logarithmic: false,
        };
        for (tick, label) in ticks.iter().zip(labels) {
            let at = vertical.at(*tick);
            scene.line(&[(left, at), (right, at)], GRID, 1.0);
            scene.text((left - 8.0, at), SMALL_SIZE, Anchor::End, MUTED, label);
        }
        for tick in &across_ticks {
            let x = across.at(*tick);
            scene.text(
                (x, bottom + 14.0),
                SMALL_SIZE,
                Anchor::Middle,
                MUTED,
                figures::short(*tick),
            );
        }
        scene.line(&[(left, bottom), (right, bottom)], AXIS, 1.0);
        for line in &panel.lines {
            let (colour, marker) = look(line);
            let end = across.at(line.end_s());
            scene.dashes((end, top), (end, bottom), colour, 1.5);
            let pixels: Vec<_> = line
                .points
                .iter()
                .map(|(at_s, value)| (across.at(*at_s), vertical.at(*value)))
                .collect();
            scene.line(&pixels, colour, 2.0);
            let marked = pixels.iter().enumerate();
            let has_marker = |place: usize| pixels.len() <= MARKERS_MAX || place == 0 || place + 1 == pixels.len();
            for (_, point) in marked.filter(|(place, _)| has_marker(*place)) {
                scene.marker(*point, 3.5, marker, colour);
            }
        }
        scene.text(
            ((left + right) / 2.0, bottom + 32.0),
            SMALL_SIZE,
            Anchor::Middle,
            MUTED,
            "seconds since the phase began",
        );
    }
    frame.foot(&mut scene, y + panels.len() as f64 * PANEL_STEP - 12.0);
    Some(scene)
}
