//! A metric over a number that grows, such as partitions: a line per target and level of the treatment, one panel for each combination of the
//! other factors, and from where on, or up to where, one level is ahead of the other.

mod plot;

use std::collections::{BTreeMap, BTreeSet};

use crate::analysis::{ArmAnalysis, Cell, ExperimentAnalysis, MetricAnalysis};
use crate::estimate::Summary;
use crate::figures;
use crate::schema::{Better, ExperimentCard};
use crate::verdict::Verdict;

use super::Sketch;
use super::layout::{Frame, look, look_of_place};
use super::scene::{Colour, Marker};

/// With fewer points there is no line to speak of.
const POINTS_MIN: usize = 3;

/// The factor whose numbers a chart goes along: of those that are no sizes and have enough levels in use, the one with most.
pub(super) fn axis(experiment: &ExperimentAnalysis) -> Option<&str> {
    let card = &experiment.card;
    let in_use = |name: &str| {
        let levels = experiment.cells.iter().filter_map(|cell| cell.cell.level(name));
        levels.collect::<BTreeSet<_>>().len()
    };
    let is_number = |level: &String| level.parse::<u64>().is_ok_and(|number| number > 0);
    let others = card.factors.iter().filter(|factor| factor.name != card.treatment);
    let numbers = others.filter(|factor| factor.unit != "bytes" && factor.levels.iter().all(is_number));
    let found = numbers.map(|factor| (in_use(&factor.name), factor.name.as_str()));
    found
        .filter(|(levels, _)| *levels >= POINTS_MIN)
        .max_by_key(|(levels, _)| *levels)
        .map(|(_, name)| name)
}

/// A point of a line.
struct Point {
    number: f64,
    summary: Summary,
    /// "Better than the baseline", where it is judged.
    standing: Option<Verdict>,
}

/// One level of the treatment on one target.
struct Line {
    name: String,
    is_focus: bool,
    look: (Colour, Marker),
    points: Vec<Point>,
}

/// The lines under the same conditions.
struct Panel {
    title: String,
    /// Without the factors' labels, for where there is no room for them.
    short_title: String,
    lines: Vec<Line>,
}

/// Draws a metric of one card, or of several that are one experiment; the first says what is gone along. Nothing without such a factor, or
/// without a figure.
pub(super) fn sketch(members: &[&ExperimentAnalysis], metric: &str, slug: String, footer: &str) -> Option<Sketch> {
    let first = members.first()?;
    let (card, axis) = (&first.card, axis(first)?);
    let metric = card.metric(metric)?;
    let panels = panels(members, axis, &metric.name);
    if panels.is_empty() {
        return None;
    }
    let label = card.factor(axis).map_or(axis, |factor| factor.label.as_str());
    let frame = Frame {
        title: match metric.name == card.deciding_metric {
            true => title(card, axis, &panels),
            false => format!("{}: {}", metric.label, title(card, axis, &panels)),
        },
        subtitle: format!(
            "{} over {} (log scale), {}; mean over the blocks, whiskers are 95 % intervals",
            metric.label,
            label.to_lowercase(),
            match metric.better {
                Better::Lower => "lower is better",
                Better::Higher => "higher is better",
                Better::Neither => "neither direction is better",
            }
        ),
        footer: footer.to_owned(),
    };
    let caption = format!(
        "Each point is the mean {} of one arm. {} is ahead from a number on (or up to one) when the ratios to {}, block by block, say so there \
         and at every larger (or smaller) number: the upright line.",
        metric.label, card.focus, card.baseline
    );
    let scene = plot::draw(&panels, &frame, &metric.unit, label);
    Some(Sketch {
        slug,
        frame,
        caption,
        scene,
    })
}

fn panels(members: &[&ExperimentAnalysis], axis: &str, metric: &str) -> Vec<Panel> {
    let Some(first) = members.first() else {
        return Vec::new();
    };
    let mut panels: BTreeMap<(Vec<usize>, BTreeMap<String, String>), Panel> = BTreeMap::new();
    for (member, experiment) in members.iter().enumerate() {
        for cell in &experiment.cells {
            let Some(number) = cell.cell.level(axis).and_then(|level| level.parse::<f64>().ok()) else {
                continue;
            };
            let panel = panels
                .entry(conditions(&first.card, &cell.cell, axis))
                .or_insert_with(|| Panel {
                    title: panel_title(&first.card, &cell.cell, axis),
                    short_title: figures::levels(&first.card, others(&cell.cell, axis)),
                    lines: Vec::new(),
                });
            for arm in &cell.arms {
                if let Some(measured) = arm.metrics.get(metric) {
                    let line = line(&mut panel.lines, members, member, &arm.level);
                    line.points.push(Point {
                        number,
                        summary: measured.summary,
                        standing: standing(&experiment.card, metric, arm, measured),
                    });
                }
            }
        }
    }
    let mut panels: Vec<Panel> = panels.into_values().collect();
    for panel in &mut panels {
        panel.lines.retain(|line| line.points.len() >= POINTS_MIN);
        for line in &mut panel.lines {
            line.points.sort_by(|left, right| left.number.total_cmp(&right.number));
        }
    }
    panels.retain(|panel| !panel.lines.is_empty());
    panels
}

/// Whether an arm is better than its baseline: as it was judged, and by a metric that does not decide, when the whole interval of the ratio
/// lies beyond the margin.
fn standing(card: &ExperimentCard, metric: &str, arm: &ArmAnalysis, measured: &MetricAnalysis) -> Option<Verdict> {
    if metric == card.deciding_metric {
        return arm.judgement.map(|judgement| judgement.verdict);
    }
    let (low, high) = measured.to_baseline.as_ref()?.interval();
    let (worst, best) = match card.metric(metric)?.better {
        Better::Higher => (low, high),
        Better::Lower => (1.0 / high, 1.0 / low),
        Better::Neither => return None,
    };
    Some(match (worst > 1.0 + card.margin, best < 1.0 / (1.0 + card.margin)) {
        (true, _) => Verdict::Confirmed,
        (_, true) => Verdict::Refuted,
        _ => Verdict::Inconclusive,
    })
}

/// The other factors of a cell, in the order of the first card's levels.
fn conditions(card: &ExperimentCard, cell: &Cell, axis: &str) -> (Vec<usize>, BTreeMap<String, String>) {
    let place = |factor: &str, level: &str| {
        let known = card.factor(factor)?.levels.iter().position(|known| known == level);
        Some(known.unwrap_or(usize::MAX))
    };
    let mut order = Vec::new();
    for factor in &card.factors {
        if let Some((_, level)) = others(cell, axis).find(|(name, _)| *name == factor.name) {
            order.push(place(&factor.name, level).unwrap_or(usize::MAX));
        }
    }
    (order, others(cell, axis).cloned().collect())
}

fn others<'a>(cell: &'a Cell, axis: &'a str) -> impl Iterator<Item = &'a (String, String)> {
    cell.levels.iter().filter(move |(name, _)| name != axis)
}

fn panel_title(card: &ExperimentCard, cell: &Cell, axis: &str) -> String {
    let named = others(cell, axis).map(|(name, level)| {
        let label = card.factor(name).map_or(name.as_str(), |factor| factor.label.as_str());
        format!("{label}: {}", figures::level(card, name, level))
    });
    named.collect::<Vec<_>>().join(", ")
}

/// The line of a level, which is begun when it is met first.
fn line<'a>(lines: &'a mut Vec<Line>, members: &[&ExperimentAnalysis], member: usize, level: &str) -> &'a mut Line {
    let card = &members[member].card;
    let is_single = card
        .factor(&card.treatment)
        .is_some_and(|factor| factor.levels.len() == 1);
    let name = match (members.len(), is_single) {
        (1, _) => level.to_owned(),
        // A target that has one way only goes by its own name.
        (_, true) => members[member].target.clone(),
        (_, false) => format!("{} {level}", members[member].target),
    };
    let known = lines.iter().position(|line| line.name == name);
    let place = known.unwrap_or_else(|| {
        lines.push(Line {
            name,
            is_focus: member == 0 && level == card.focus && card.focus != card.baseline,
            look: match member {
                0 => look(card, level),
                _ => look_of_place(member),
            },
            points: Vec::new(),
        });
        lines.len() - 1
    });
    &mut lines[place]
}

/// Where one level begins or ends to be ahead of the other.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Ahead {
    /// At this number and at every larger one.
    From(f64),
    /// At this number and at every smaller one, and not at the largest.
    UpTo(f64),
}

impl Ahead {
    fn number(self) -> f64 {
        match self {
            Ahead::From(number) | Ahead::UpTo(number) => number,
        }
    }
}

/// Where the focus is ahead, when that is one end of the line.
fn ahead(panel: &Panel) -> Option<Ahead> {
    let focus = panel.lines.iter().find(|line| line.is_focus)?;
    let is_ahead = |point: &&Point| point.standing == Some(Verdict::Confirmed);
    let from = focus.points.iter().rev().take_while(is_ahead).last();
    let up_to = focus.points.iter().take_while(is_ahead).last();
    let from = from.map(|point| Ahead::From(point.number));
    from.or(up_to.map(|point| Ahead::UpTo(point.number)))
}

/// Whether the focus is surely behind wherever it is judged.
fn is_behind(panels: &[Panel]) -> bool {
    let lines = panels.iter().flat_map(|panel| &panel.lines);
    let points = lines.filter(|line| line.is_focus).flat_map(|line| &line.points);
    let mut standings = points.filter_map(|point| point.standing).peekable();
    standings.peek().is_some() && standings.all(|standing| standing == Verdict::Refuted)
}

/// "commit-log is ahead of partition-log from 64 partitions on (flush every-batch)".
fn title(card: &ExperimentCard, axis: &str, panels: &[Panel]) -> String {
    if card.focus == card.baseline {
        return card.title.clone();
    }
    let (focus, baseline) = (&card.focus, &card.baseline);
    let found = || panels.iter().filter_map(|panel| Some((ahead(panel)?, panel)));
    // The crossover that people argue about is the one that comes first, or the one that goes farthest.
    let from = found().filter(|(ahead, _)| matches!(ahead, Ahead::From(_)));
    let from = from.min_by(|left, right| left.0.number().total_cmp(&right.0.number()));
    let farthest = || found().max_by(|left, right| left.0.number().total_cmp(&right.0.number()));
    let Some((ahead, panel)) = from.or_else(farthest) else {
        if is_behind(panels) {
            return format!("{focus} is behind {baseline} at every number measured");
        }
        return format!("{focus} is not surely ahead of {baseline} at the largest number measured");
    };
    let amount = figures::amount(card, axis, &ahead.number().to_string());
    let place = match (panels.len(), panel.title.as_str()) {
        (1, _) | (_, "") => String::new(),
        (_, title) => format!(" ({title})"),
    };
    match ahead {
        Ahead::From(_) => format!("{focus} is ahead of {baseline} from {amount} on{place}"),
        Ahead::UpTo(_) => format!("{focus} is ahead of {baseline} up to {amount}{place}"),
    }
}
