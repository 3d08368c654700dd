//! Two runs: a chart per experiment and deciding metric, a row per arm with its ratio B/A.

use std::path::Path;

use crate::compare::{Comparison, Identity, Part, Reference, Row as Compared};
use crate::figures;
use crate::schema::{Better, MetricCard};

use super::forest::{self, Forest, Reference as Line, Row};
use super::layout::{Frame, look};
use super::{ChartError, machine, save, short_ratio, slug};

/// Draws the charts of a comparison into `folder`; returns their names without ending, with their titles.
///
/// # Errors
/// [`ChartError`] when a file can't be written.
pub fn draw(comparison: &Comparison, folder: &Path) -> Result<Vec<(String, String)>, ChartError> {
    let mut drawn = Vec::new();
    for part in &comparison.parts {
        for metric in &part.card.metrics {
            let rows = part.rows.iter().filter(|row| row.gates && row.metric == metric.name);
            let rows: Vec<&Compared> = rows.collect();
            // What is the same count everywhere needs no picture.
            let varies = |row: &&Compared| row.ratio.is_some_and(|ratio| !ratio.is_exact());
            if !rows.iter().any(varies) && !rows.iter().any(|row| row.change.is_violation()) {
                continue;
            }
            let frame = frame(comparison, part, metric);
            if let Some(scene) = forest::chart(&plot(part, &rows), &frame) {
                let name = slug(&["compare", &part.card.name, &part.target, &metric.name]);
                save(folder, &name, &scene)?;
                drawn.push((name, frame.title));
            }
        }
    }
    Ok(drawn)
}

fn frame(comparison: &Comparison, part: &Part, metric: &MetricCard) -> Frame {
    let better = match metric.better {
        Better::Higher => ", higher is better",
        Better::Lower => ", lower is better",
        Better::Neither => "",
    };
    let side = |name: &str, identity: &Identity| {
        let manifest = &identity.manifest;
        let revision = manifest.git_revision.as_ref().map(|revision| format!(" ({revision})"));
        let version = format!("Assay {}{}", manifest.assay_version, revision.unwrap_or_default());
        format!("{name}: {}, {version}, {}", manifest.started_utc, machine(manifest))
    };
    let allowed = match comparison.allowed.as_slice() {
        [] => String::new(),
        allowed => format!(
            " Different machines, compared because it was asked for ({}).",
            allowed.join("; ")
        ),
    };
    Frame {
        title: format!(
            "{} on {}: what changed from A to B?",
            part.card.name,
            part.target.replace('+', ", ")
        ),
        subtitle: format!(
            "Ratio B/A of {}{better}, of figures held against a second arm of their own block where one is named; 95 % interval \
             (Welch), grey: the margin.{allowed}",
            metric.label
        ),
        footer: format!(
            "{} · {} · {}",
            part.card.transport,
            side("A", &comparison.a),
            side("B", &comparison.b)
        ),
    }
}

fn plot(part: &Part, rows: &[&Compared]) -> Forest {
    let card = &part.card;
    let drawn = rows.iter().filter_map(|row| {
        let ratio = row.ratio?;
        let (colour, marker) = look(card, &row.level);
        let (low, high) = ratio.interval;
        let bare = |value: f64| figures::ratio(value).trim_end_matches('x').to_owned();
        Some(Row {
            group: figures::cell(card, &row.cell),
            label: match row.reference {
                Reference::Nothing => row.level.clone(),
                _ => format!("{} / {}", row.level, row.reference.as_str()),
            },
            colour,
            marker,
            blocks: Vec::new(),
            mean: ratio.ratio,
            interval: ratio.interval,
            text: format!(
                "{} ({}–{})  {}",
                figures::ratio(ratio.ratio),
                bare(low),
                bare(high),
                row.change
            ),
        })
    });
    Forest {
        rows: drawn.collect(),
        references: vec![Line {
            value: 1.0,
            label: "as in A".to_owned(),
        }],
        band: rows.first().map(|row| row.margin),
        axis_label: "B/A (log scale)".to_owned(),
        tick: short_ratio,
    }
}
