//! What the mechanism gives and what people ascribe to it, in one chart: each card's own ratio, cell by cell.

use crate::analysis::Analysis;
use crate::analysis::beside::{Beside, BesideCell};
use crate::figures;
use crate::tables::arm_of;

use super::forest::{self, Forest, Reference, Row};
use super::layout::{Frame, look_of_place};
use super::{Sketch, short_ratio};

/// The focus of every card against the card's own baseline, or nothing when no cell has a ratio.
pub(super) fn sketch(analysis: &Analysis, beside: &Beside, prefix: &str, footer: &str) -> Option<Sketch> {
    let experiments = &analysis.experiments;
    let first = &experiments[*beside.members.first()?].card;
    let metric = first.deciding_metric.as_str();
    let label = first.metric(metric).map_or(metric, |metric| metric.label.as_str());
    // Cells in which only one card ran have nothing beside them; without any other they are better than nothing.
    let common = |cell: &&BesideCell| cell.cards() > 1;
    let has_common = beside.cells.iter().any(|cell| common(&cell));
    let mut rows = Vec::new();
    for cell in beside.cells.iter().filter(|cell| common(cell) || !has_common) {
        for place in cell.arms.iter().filter(|place| !place.is_limit) {
            let (card, arm) = arm_of(place, experiments);
            let measured = arm.metrics.get(metric).filter(|_| arm.level == card.focus);
            let Some(estimate) = measured.and_then(|measured| measured.to_baseline.as_ref()) else {
                continue;
            };
            let member = beside.members.iter().position(|member| *member == place.experiment)?;
            let (colour, marker) = look_of_place(member);
            rows.push(Row {
                group: figures::cell(card, &cell.cell),
                label: format!("{}: {} / {}", card.target, card.focus, card.baseline),
                colour,
                marker,
                blocks: estimate.block_ratios().collect(),
                mean: estimate.ratio(),
                interval: estimate.interval(),
                text: figures::ratio_with_interval(estimate),
            });
        }
    }
    let cards: Vec<_> = beside.members.iter().map(|member| &experiments[*member].card).collect();
    let is_shared = |sentence: &String| cards.iter().all(|card| card.also_differs.contains(sentence));
    let mut differs: Vec<String> = Vec::new();
    for card in &cards {
        for sentence in &card.also_differs {
            let told = match is_shared(sentence) {
                true => format!(" {sentence}"),
                false => format!(" {}: {sentence}", card.target),
            };
            if !differs.contains(&told) {
                differs.push(told);
            }
        }
    }
    let differs = differs.concat();
    let frame = Frame {
        title: first.title.clone(),
        subtitle: format!(
            "Ratio of {label} to the baseline of the same target, a dot per block, 95 % interval.{differs}"
        ),
        footer: footer.to_owned(),
    };
    let forest = Forest {
        rows,
        references: vec![Reference {
            value: 1.0,
            label: "no difference".to_owned(),
        }],
        band: Some((1.0 - first.margin, 1.0 + first.margin)),
        axis_label: "ratio to the own baseline (log scale)".to_owned(),
        tick: short_ratio,
    };
    let scene = forest::chart(&forest, &frame)?;
    Some(Sketch {
        slug: format!("{prefix}-beside"),
        frame,
        caption:
            "Each row holds one arm against the baseline of its own target, block by block: what the mechanism gives \
                  where nothing else changes, and what goes by its name elsewhere."
                .to_owned(),
        scene,
    })
}
