//! Latency by percentile on a log scale of nines, one panel per cell, from merged histograms.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

use crate::analysis::{CellAnalysis, ExperimentAnalysis};
use crate::figures;
use crate::load::SAMPLES_ABOVE_MIN;

use super::layout::{AXIS, Frame, GRID, INK, LABEL_SIZE, MARGIN, MUTED, SMALL_SIZE, Scale, WIDTH};
use super::layout::{duration_us, legend, log_ticks, look};
use super::scene::{Anchor, Scene, text_width};

pub(super) const PERCENTILES: [(f64, &str); 6] = [
    (0.5, "50"),
    (0.9, "90"),
    (0.99, "99"),
    (0.999, "99.9"),
    (0.9999, "99.99"),
    (0.99999, "99.999"),
];

const PANEL_HEIGHT: f64 = 170.0;
const PANEL_GAP: f64 = 26.0;

/// The quantiles of a histogram of nanoseconds as (nines, microseconds): from the median on, as far as there are enough
/// samples above.
pub(crate) fn quantiles(histogram: &Histogram<u64>) -> Vec<(f64, f64)> {
    let samples = histogram.len() as f64;
    // Ten points per nine; one nine is 90 %, two are 99 %.
    (3..=50)
        .map(|tenth| f64::from(tenth) / 10.0)
        .map(|nines| {
            if nines < 0.35 {
                (0.5, 0.5_f64.log10().abs())
            } else {
                (1.0 - 10f64.powf(-nines), nines)
            }
        })
        .filter(|(quantile, _)| (1.0 - quantile) * samples >= SAMPLES_ABOVE_MIN)
        .map(|(quantile, nines)| (nines, histogram.value_at_quantile(quantile) as f64 / 1_000.0))
        .collect()
}

/// Draws the percentiles, or nothing when no cell has a latency.
pub(crate) fn chart(
    experiment: &ExperimentAnalysis,
    latencies: &BTreeMap<String, Histogram<u64>>,
    frame: &Frame,
) -> Option<Scene> {
    let card = &experiment.card;
    let of = |cell: &CellAnalysis| -> Vec<(String, Vec<(f64, f64)>)> {
        let arms = cell.arms.iter().filter(|arm| arm.invalid.is_none());
        arms.filter_map(|arm| Some((arm.level.clone(), quantiles(latencies.get(&arm.arm)?))))
            .filter(|(_, points)| points.len() > 1)
            .collect()
    };
    let panels: Vec<(&CellAnalysis, Vec<_>)> = experiment
        .cells
        .iter()
        .map(|cell| (cell, of(cell)))
        .filter(|(_, lines)| !lines.is_empty())
        .collect();
    let points = || {
        panels
            .iter()
            .flat_map(|(_, lines)| lines)
            .flat_map(|(_, points)| points)
    };
    let nines_max = points().map(|(nines, _)| *nines).reduce(f64::max)?;
    // Every panel has its own scale: sizes differ by orders of magnitude, and levels are what is compared.
    let scales: Vec<(f64, f64, Vec<f64>)> = panels
        .iter()
        .map(|(_, lines)| {
            let values = || lines.iter().flat_map(|(_, points)| points).map(|(_, value)| *value);
            let low = values().fold(f64::INFINITY, f64::min).max(0.1) / 1.2;
            let high = values().fold(low * 2.0, f64::max) * 1.2;
            (low, high, log_ticks(low, high, 8))
        })
        .collect();
    let all_ticks = scales.iter().flat_map(|(_, _, ticks)| ticks);
    let label_width = all_ticks
        .map(|tick| text_width(&duration_us(*tick), SMALL_SIZE))
        .fold(0.0, f64::max);

    let mut scene = Scene::new(WIDTH, 0.0);
    let y = frame.head(&mut scene);
    let levels = card.factor(&card.treatment).map_or(&[][..], |factor| &factor.levels);
    let drawn = |level: &String| {
        panels
            .iter()
            .any(|(_, lines)| lines.iter().any(|(drawn, _)| drawn == level))
    };
    let entries: Vec<_> = levels
        .iter()
        .filter(|level| drawn(level))
        .map(|level| {
            let (colour, marker) = look(card, level);
            (level.clone(), colour, marker)
        })
        .collect();
    let y = legend(&mut scene, y + 4.0, &entries) + 12.0;

    let columns = panels.len().clamp(1, 3);
    let panel_width = (WIDTH - 2.0 * MARGIN - PANEL_GAP * (columns as f64 - 1.0)) / columns as f64;
    let step = PANEL_HEIGHT + 76.0;
    for (index, ((cell, lines), (low, high, ticks))) in panels.iter().zip(&scales).enumerate() {
        let panel_left = MARGIN + (index % columns) as f64 * (panel_width + PANEL_GAP);
        let (left, right) = (panel_left + label_width + 8.0, panel_left + panel_width);
        let panel_top = y + (index / columns) as f64 * step;
        let (top, bottom) = (panel_top + 24.0, panel_top + 24.0 + PANEL_HEIGHT);
        scene.text(
            (panel_left, panel_top + 8.0),
            LABEL_SIZE,
            Anchor::Start,
            INK,
            figures::cell(card, &cell.cell),
        );
        let vertical = Scale {
            from: *low,
            to: *high,
            pixel_from: bottom,
            pixel_to: top,
            logarithmic: true,
        };
        let across = Scale {
            from: 0.5_f64.log10().abs(),
            to: nines_max.max(1.0),
            pixel_from: left,
            pixel_to: right - 8.0,
            logarithmic: false,
        };
        for tick in ticks {
            let at = vertical.at(*tick);
            scene.line(&[(left, at), (right, at)], GRID, 1.0);
            scene.text((left - 8.0, at), SMALL_SIZE, Anchor::End, MUTED, duration_us(*tick));
        }
        for (quantile, label) in PERCENTILES {
            let nines = -(1.0 - quantile).log10();
            if nines <= nines_max + 1e-9 {
                let x = across.at(nines);
                scene.line(&[(x, top), (x, bottom)], GRID, 1.0);
                scene.text((x, bottom + 13.0), SMALL_SIZE, Anchor::Middle, MUTED, label);
            }
        }
        scene.line(&[(left, bottom), (right, bottom)], AXIS, 1.0);
        for (level, points) in lines {
            let (colour, marker) = look(card, level);
            let pixels: Vec<_> = points
                .iter()
                .map(|(nines, value)| (across.at(*nines), vertical.at(*value)))
                .collect();
            scene.line(&pixels, colour, 2.0);
            if let (Some(first), Some(last)) = (pixels.first(), pixels.last()) {
                scene.marker(*first, 4.0, marker, colour);
                scene.marker(*last, 4.0, marker, colour);
            }
        }
        let middle = (left + right) / 2.0;
        scene.text((middle, bottom + 30.0), SMALL_SIZE, Anchor::Middle, MUTED, "percentile");
    }
    let rows = panels.len().div_ceil(columns);
    frame.foot(&mut scene, y + rows as f64 * step);
    Some(scene)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_percentile_has_fewer_than_ten_samples_above() {
        let mut histogram = Histogram::<u64>::new(3).unwrap();
        for value in 1..=1_000 {
            histogram.record(value * 1_000).unwrap();
        }
        let points = quantiles(&histogram);
        let (nines, value) = *points.last().unwrap();
        assert_eq!(nines, 2.0, "1,000 samples reach 99 % and no further");
        assert!((value - 990.0).abs() < 2.0, "{value}");
        assert!(
            (points[0].1 - 500.0).abs() < 1.0,
            "the first is the median: {:?}",
            points[0]
        );
        assert!(quantiles(&Histogram::<u64>::new(3).unwrap()).is_empty());
    }
}
