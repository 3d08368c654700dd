//! A rebalance over time: a lane per consumer, a bar for each partition that it holds, a lane for what nobody holds, and a dot where records came twice.
//!
//! One chart per cell, one panel per level of the treatment, all on one scale of milliseconds around the trigger. Each panel is one trial and not a mean.

use std::collections::{BTreeMap, BTreeSet};

use crate::analysis::{CellAnalysis, ExperimentAnalysis};
use crate::figures;
use crate::reader::Run;
use crate::reader::timelines::{Held, Timeline, Trigger};

use super::layout::{AXIS, Frame, GRID, INK, LABEL_SIZE, MARGIN, MUTED, PAPER, SMALL_SIZE, Scale, WIDTH};
use super::layout::{legend, linear_ticks, look_of_place};
use super::scene::{Anchor, Colour, Marker, Scene, text_width};
use super::{Sketch, slug};

/// More lanes, or more partitions in a lane, can't be told apart.
const LANES_MAX: usize = 24;
const PARTITIONS_MAX: usize = 48;
/// Height of a lane without what is around it.
const LANE_HEIGHT: f64 = 30.0;
const LANE_GAP: f64 = 8.0;
/// What is shown before the trigger, and behind its last consequence, as a share of what lies between.
const AROUND: f64 = 0.15;
const AROUND_MS_MIN: f64 = 300.0;
/// Members close one after another; so long before the last one nothing is told of what nobody holds any more, ms.
const CLOSING_MS: f64 = 300.0;
/// What nobody holds.
const NOBODY: Colour = Colour(60, 60, 60, 1.0);

/// What the legend has no marks for.
const KEY: &str = "a lane per consumer, a bar per partition; dashed: the trigger, and when it is over";

/// One panel.
struct Panel<'a> {
    level: String,
    timeline: &'a Timeline,
    trigger: &'a Trigger,
}

/// The charts of an experiment: one for each cell that has a trial with a trigger.
pub(super) fn sketches(run: &Run, experiment: &ExperimentAnalysis, prefix: &str, footer: &str) -> Vec<Sketch> {
    let of_cell = |cell: &CellAnalysis| {
        let panels = panels(run, experiment, cell);
        let scene_of = |frame: &Frame| chart(&panels, frame);
        let place = figures::cell(&experiment.card, &cell.cell);
        let first = panels.first()?;
        let frame = Frame {
            title: format!("Who holds which partition around a trigger: {}", first.trigger.kind),
            subtitle: match place.is_empty() {
                true => format!("One trial of each; {KEY}"),
                false => format!("One trial of each at {place}; {KEY}"),
            },
            footer: footer.to_owned(),
        };
        let scene = scene_of(&frame)?;
        Some(Sketch {
            slug: format!("{prefix}-timeline-{}", slug(&[&place])),
            frame,
            caption: "Blue bars began before the trigger, orange ones after it; where a bar is missing, the consumer does not hold that \
                      partition, and the lowest lane shows what nobody holds. A dot is a record, or a run of them, that came twice."
                .to_owned(),
            scene,
        })
    };
    experiment.cells.iter().filter_map(of_cell).collect()
}

fn panels<'a>(run: &'a Run, experiment: &'a ExperimentAnalysis, cell: &'a CellAnalysis) -> Vec<Panel<'a>> {
    let of_arm = |arm: &'a str, level: &'a str| {
        let mut of = run.timelines.iter().filter(|timeline| {
            timeline.trial.arm == arm
                && timeline.trial.experiment == experiment.card.name
                && timeline.trial.target == experiment.target
        });
        let timeline = of.find(|timeline| !timeline.held.is_empty() && !timeline.triggers.is_empty())?;
        Some(Panel {
            level: figures::named_level(&experiment.card, &experiment.card.treatment, level),
            timeline,
            trigger: &timeline.triggers[0],
        })
    };
    let arms = cell.arms.iter();
    arms.filter_map(|arm| of_arm(&arm.arm, &arm.level)).collect()
}

/// From the trigger on: the first and the last millisecond shown.
fn span(panels: &[Panel<'_>]) -> (f64, f64) {
    let last = |panel: &Panel<'_>| {
        let trigger = panel.trigger;
        let ends = [trigger.healed_ms, trigger.settled_ms, trigger.again_ms];
        let last = ends.into_iter().flatten().fold(0.0, f64::max);
        last.min(end_ms(panel.timeline) - trigger.at_ms)
    };
    let last = panels.iter().map(last).fold(0.0, f64::max);
    let around = (AROUND * last).max(AROUND_MS_MIN);
    (-around, last + around)
}

/// When members closed: what nobody holds from then on says nothing.
fn end_ms(timeline: &Timeline) -> f64 {
    timeline.held.iter().map(|held| held.to_ms).fold(0.0, f64::max)
}

fn chart(panels: &[Panel<'_>], frame: &Frame) -> Option<Scene> {
    panels.first()?;
    let (from, to) = span(panels);
    let (before, after) = (look_of_place(1).0, look_of_place(0).0);
    let mut scene = Scene::new(WIDTH, 0.0);
    let y = frame.head(&mut scene);
    let entries = [
        ("held since before the trigger".to_owned(), before, Marker::Square),
        ("given after it".to_owned(), after, Marker::Square),
        ("held by nobody".to_owned(), NOBODY, Marker::Square),
        ("records that came twice".to_owned(), INK, Marker::Circle),
    ];
    let mut y = legend(&mut scene, y + 4.0, &entries) + 10.0;
    let names = panels
        .iter()
        .flat_map(lanes)
        .map(|slot| text_width(&lane_name(slot), SMALL_SIZE));
    let left = MARGIN + names.fold(text_width("nobody", SMALL_SIZE), f64::max) + 10.0;
    let scale = Scale {
        from,
        to,
        pixel_from: left,
        pixel_to: WIDTH - MARGIN,
        logarithmic: false,
    };
    for panel in panels {
        y = draw_panel(&mut scene, panel, &scale, y, (before, after));
    }
    frame.foot(&mut scene, y);
    Some(scene)
}

fn lane_name(slot: u32) -> String {
    format!("consumer {}", u64::from(slot) + 1)
}

/// The consumers of a panel that held something.
fn lanes(panel: &Panel<'_>) -> Vec<u32> {
    let slots: BTreeSet<u32> = panel.timeline.held.iter().map(|held| held.slot).collect();
    slots.into_iter().take(LANES_MAX).collect()
}

fn draw_panel(scene: &mut Scene, panel: &Panel<'_>, scale: &Scale, top: f64, (before, after): (Colour, Colour)) -> f64 {
    let zero = panel.trigger.at_ms;
    let all: BTreeSet<u32> = panel.timeline.held.iter().map(|held| held.partition).collect();
    let rows: BTreeMap<u32, usize> = all.into_iter().take(PARTITIONS_MAX).zip(0..).collect();
    let row_height = LANE_HEIGHT / rows.len().max(1) as f64;
    let lanes = lanes(panel);
    let mut y = top + LABEL_SIZE;
    scene.text((MARGIN, y), LABEL_SIZE, Anchor::Start, INK, panel.level.clone());
    y += LABEL_SIZE;
    let plot_top = y;
    let place = |slot: u32| lanes.iter().position(|lane| *lane == slot);
    let lane_top = |place: usize| plot_top + place as f64 * (LANE_HEIGHT + LANE_GAP);
    let bottom = lane_top(lanes.len()) + LANE_HEIGHT + LANE_GAP;

    for tick in ticks(scale) {
        let x = scale.at(tick);
        scene.line(&[(x, plot_top), (x, bottom)], GRID, 1.0);
        let text = format!("{} ms", figures::short(tick));
        scene.text((x, bottom + SMALL_SIZE), SMALL_SIZE, Anchor::Middle, MUTED, text);
    }
    let names = lanes.iter().map(|slot| lane_name(*slot)).chain(["nobody".to_owned()]);
    for (place, name) in names.enumerate() {
        let middle = lane_top(place) + LANE_HEIGHT / 2.0;
        scene.text((scale.pixel_from - 10.0, middle), SMALL_SIZE, Anchor::End, INK, name);
    }
    let mut bar = |lane: usize, row: usize, (from, to): (f64, f64), colour: Colour| {
        let (from, to) = (from.max(scale.from), to.min(scale.to));
        if from < to {
            let y = lane_top(lane) + row as f64 * row_height;
            // A hair between two rows, so that they can be counted.
            let height = (row_height - 0.7).max(0.8);
            scene.rectangle((scale.at(from), y), (scale.at(to), y + height), colour);
        }
    };
    for held in &panel.timeline.held {
        if let (Some(lane), Some(row)) = (place(held.slot), rows.get(&held.partition)) {
            let (from, to) = (held.from_ms - zero, held.to_ms - zero);
            bar(lane, *row, (from, to), if from < 0.0 { before } else { after });
        }
    }
    for (partition, row) in &rows {
        for gap in gaps(&panel.timeline.held, *partition, end_ms(panel.timeline) - CLOSING_MS) {
            bar(lanes.len(), *row, (gap.0 - zero, gap.1 - zero), NOBODY);
        }
    }
    for repeated in &panel.timeline.repeated {
        let at = repeated.at_ms - zero;
        let lane = repeated.slot.and_then(place);
        if let (Some(lane), Some(row), true) = (lane, rows.get(&repeated.partition), at >= scale.from && at <= scale.to)
        {
            let y = lane_top(lane) + (*row as f64 + 0.5) * row_height;
            scene.marker((scale.at(at), y), 3.4, Marker::Circle, PAPER);
            scene.marker((scale.at(at), y), 2.4, Marker::Circle, INK);
        }
    }
    let x = scale.at(0.0);
    scene.dashes((x, plot_top - 4.0), (x, bottom), INK, 1.5);
    if let Some(healed_ms) = panel.trigger.healed_ms.filter(|healed| *healed > 0.0) {
        let x = scale.at(healed_ms);
        scene.dashes((x, plot_top - 4.0), (x, bottom), AXIS, 1.5);
    }
    bottom + 2.2 * SMALL_SIZE
}

/// Round values from the left end to the right one, 0 among them.
fn ticks(scale: &Scale) -> Vec<f64> {
    let positive = linear_ticks(scale.to);
    let step = positive.get(1).copied().unwrap_or(scale.to);
    let negative = (1..)
        .map(|count: u32| -f64::from(count) * step)
        .take_while(|tick| *tick >= scale.from);
    let inside = positive.into_iter().filter(|tick| *tick <= scale.to);
    negative.chain(inside).collect()
}

/// Times from a partition's first owner until `until_ms` in which nobody held it, as far as the members know.
fn gaps(held: &[Held], partition: u32, until_ms: f64) -> Vec<(f64, f64)> {
    let mut times: Vec<(f64, f64)> = held
        .iter()
        .filter(|held| held.partition == partition)
        .map(|held| (held.from_ms, held.to_ms))
        .collect();
    times.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut gaps = Vec::new();
    let Some(mut end) = times.first().map(|time| time.1) else {
        return gaps;
    };
    for (from, to) in times {
        if from > end {
            gaps.push((end, from));
        }
        end = end.max(to);
    }
    if end < until_ms {
        gaps.push((end, until_ms));
    }
    gaps
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(partition: u32, from_ms: f64, to_ms: f64) -> Held {
        Held {
            slot: 0,
            member: 1,
            partition,
            from_ms,
            to_ms,
        }
    }

    #[test]
    fn nobody_holds_what_lies_between_two_owners() {
        let all = [
            held(0, 50.0, 60.0),
            held(0, 0.0, 10.0),
            held(1, 5.0, 7.0),
            held(0, 8.0, 20.0),
        ];
        assert_eq!(gaps(&all, 0, 55.0), [(20.0, 50.0)]);
        assert_eq!(gaps(&all, 0, 70.0), [(20.0, 50.0), (60.0, 70.0)]);
        assert_eq!(gaps(&all, 2, 70.0), []);
    }

    #[test]
    fn ticks_have_the_trigger_among_them() {
        let scale = Scale {
            from: -700.0,
            to: 2_200.0,
            pixel_from: 0.0,
            pixel_to: 1.0,
            logarithmic: false,
        };
        assert_eq!(ticks(&scale), [-500.0, 0.0, 500.0, 1_000.0, 1_500.0, 2_000.0]);
    }
}
