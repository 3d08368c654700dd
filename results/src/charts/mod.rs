//! The standard set of charts, each as SVG and PNG.
//!
//! Which charts there are follows from what was measured: one that has nothing to show is left out. Charts show, they
//! don't judge.

mod by_size;
mod forest;
mod latency;
mod layout;
mod scene;

use std::fs;
use std::path::Path;

use crate::analysis::{Analysis, ExperimentAnalysis};
use crate::figures;
use crate::reader::Run;
use crate::schema::{Better, ClaimCard, Manifest};
use crate::tables::COST_METRIC;
use forest::{Forest, Reference, Row};
use layout::{Frame, look};
pub use scene::ChartError;
use scene::Scene;

/// A chart that is ready to be embedded.
#[derive(Debug, Clone)]
pub struct Chart {
    /// The experiment it belongs to.
    pub experiment: String,
    /// The target it was measured on.
    pub target: String,
    /// Its file name without ending.
    pub slug: String,
    /// What it says, or asks.
    pub title: String,
    /// How to read it, in one sentence.
    pub caption: String,
    /// The SVG document.
    pub svg: String,
}

/// A chart before it is drawn.
struct Sketch {
    slug: String,
    frame: Frame,
    caption: String,
    scene: Scene,
}

/// Draws every chart of a run into `folder` and returns them for embedding.
///
/// # Errors
/// [`ChartError`] when a file can't be written.
pub fn draw(run: &Run, analysis: &Analysis, folder: &Path) -> Result<Vec<Chart>, ChartError> {
    let failed = |path: &Path, error: std::io::Error| ChartError::Draw {
        path: path.to_owned(),
        reason: error.to_string(),
    };
    fs::create_dir_all(folder).map_err(|error| failed(folder, error))?;
    let mut charts = Vec::new();
    for experiment in &analysis.experiments {
        for Sketch {
            slug,
            frame,
            caption,
            scene,
        } in sketches(run, experiment)
        {
            let svg = scene.svg()?;
            let path = folder.join(format!("{slug}.svg"));
            fs::write(&path, &svg).map_err(|error| failed(&path, error))?;
            scene.write_png(&folder.join(format!("{slug}.png")))?;
            let (experiment, target) = (experiment.card.name.clone(), experiment.target.clone());
            charts.push(Chart {
                experiment,
                target,
                slug,
                title: frame.title,
                caption,
                svg,
            });
        }
    }
    Ok(charts)
}

fn sketches(run: &Run, experiment: &ExperimentAnalysis) -> Vec<Sketch> {
    let card = &experiment.card;
    let footer = footer(&run.manifest, experiment);
    let prefix = slug(&[
        &card.name,
        if run_has_targets(run, experiment) {
            &experiment.target
        } else {
            ""
        },
    ]);
    let mut sketches = Vec::new();
    let mut add = |name: &str, frame: Frame, caption: String, scene: Option<Scene>| {
        if let Some(scene) = scene {
            sketches.push(Sketch {
                slug: format!("{prefix}-{name}"),
                frame,
                caption,
                scene,
            });
        }
    };
    let mut by_size = vec![(card.deciding_metric.as_str(), "by-size")];
    if card.deciding_metric != COST_METRIC && card.metric(COST_METRIC).is_some() {
        by_size.push((COST_METRIC, "cost-by-size"));
    }
    for (metric, name) in by_size {
        let label = card.metric(metric).map_or(metric, |metric| metric.label.as_str());
        let frame = Frame {
            title: range_title(experiment, metric),
            subtitle: "Mean over the blocks; whiskers are 95 % intervals and include what all arms of a block share"
                .to_owned(),
            footer: footer.clone(),
        };
        let better = match card.metric(metric).map(|metric| metric.better) {
            Some(Better::Lower) => "lower is better",
            Some(Better::Higher) => "higher is better",
            _ => "it explains and does not decide",
        };
        let caption = format!(
            "Each point is the mean {label} of one arm ({better}). The whiskers also hold what all arms of a block share, \
             so two arms can surely differ even where theirs overlap; the ratios, block by block, tell."
        );
        let scene = by_size::chart(experiment, metric, &frame);
        add(name, frame, caption, scene);
    }
    let frame = ratio_frame(experiment, &footer);
    let scene = forest::chart(&ratios(experiment), &frame);
    let caption = format!(
        "Each small dot is one block: the arm against {} in the same block. The bar is the 95 % interval, the grey band \
         is the margin in which a difference does not count.",
        card.baseline
    );
    add("ratios", frame, caption, scene);
    let frame = Frame {
        title: "How long does one request take?".to_owned(),
        subtitle: "Histograms of all blocks merged; no percentile with fewer than 10 samples above it; each panel has its own scale".to_owned(),
        footer: footer.clone(),
    };
    let scene = latency::chart(experiment, &run.latencies, &frame);
    let caption = "Each step to the right is one more nine: the slowest 10 %, 1 %, 0.1 % of the requests. Lower is \
                   better; the scale is logarithmic."
        .to_owned();
    add("latency", frame, caption, scene);
    let frame = share_frame(experiment, &footer);
    let scene = forest::chart(&shares(experiment), &frame);
    let caption = "Each row holds an arm against a bare loop over the same file with the same calls and no protocol, \
                   run in the same block: at 100 % the broker costs nothing."
        .to_owned();
    add("limit", frame, caption, scene);
    sketches
}

/// "Throughput: sendfile reaches 0.600x to 1.90x of read-write".
fn range_title(experiment: &ExperimentAnalysis, metric: &str) -> String {
    let card = &experiment.card;
    let label = card.metric(metric).map_or(metric, |metric| metric.label.as_str());
    let mut capital: String = label.chars().take(1).flat_map(char::to_uppercase).collect();
    capital.extend(label.chars().skip(1));
    let focus = experiment.cells.iter().filter_map(|cell| {
        Some(
            cell.arm(&card.focus)?
                .metrics
                .get(metric)?
                .to_baseline
                .as_ref()?
                .ratio(),
        )
    });
    match span(focus, figures::ratio) {
        Some(span) => format!("{capital}: {} at {span} of {}", card.focus, card.baseline),
        None => capital,
    }
}

/// "0.6x to 1.9x", or one figure when both read the same.
fn span(values: impl Iterator<Item = f64>, show: fn(f64) -> String) -> Option<String> {
    let values: Vec<f64> = values.collect();
    let low = values.iter().copied().reduce(f64::min)?;
    let high = values.iter().copied().reduce(f64::max)?;
    let (low, high) = (show(low), show(high));
    Some(if low == high { low } else { format!("{low} to {high}") })
}

fn ratio_frame(experiment: &ExperimentAnalysis, footer: &str) -> Frame {
    let card = &experiment.card;
    let label = card
        .metric(&card.deciding_metric)
        .map_or(card.deciding_metric.as_str(), |metric| &metric.label);
    Frame {
        title: card.title.clone(),
        subtitle: format!("Ratio of {label} to {}, a dot per block, 95 % interval", card.baseline),
        footer: footer.to_owned(),
    }
}

fn ratios(experiment: &ExperimentAnalysis) -> Forest {
    let card = &experiment.card;
    let mut rows = Vec::new();
    for cell in &experiment.cells {
        for arm in &cell.arms {
            let measured = arm.metrics.get(&card.deciding_metric);
            let Some(estimate) = measured.and_then(|metric| metric.to_baseline.as_ref()) else {
                continue;
            };
            let (colour, marker) = look(card, &arm.level);
            let verdict = arm
                .judgement
                .map(|judgement| judgement.verdict.as_str())
                .unwrap_or_default();
            rows.push(Row {
                group: figures::cell(card, &cell.cell),
                label: arm.level.clone(),
                colour,
                marker,
                blocks: estimate.block_ratios().collect(),
                mean: estimate.ratio(),
                interval: estimate.interval(),
                text: format!("{}  {verdict}", figures::ratio_with_interval(estimate)),
            });
        }
    }
    let mut references = vec![Reference {
        value: 1.0,
        label: format!("as {}", card.baseline),
    }];
    for claim in &card.claims {
        if let ClaimCard::AtLeast {
            metric, ratio, level, ..
        } = claim
            && *metric == card.deciding_metric
        {
            references.push(Reference {
                value: *ratio,
                label: format!("claimed of {level}: {}", figures::ratio(*ratio)),
            });
        }
    }
    let band = Some((1.0 - card.margin, 1.0 + card.margin));
    Forest {
        rows,
        references,
        band,
        axis_label: format!("ratio to {} (log scale)", card.baseline),
        tick: short_ratio,
    }
}

fn share_frame(experiment: &ExperimentAnalysis, footer: &str) -> Frame {
    let card = &experiment.card;
    let focus = experiment.cells.iter().filter_map(|cell| {
        Some(
            cell.arm(&card.focus)?
                .metrics
                .get(&card.deciding_metric)?
                .to_limit
                .as_ref()?
                .ratio(),
        )
    });
    let title = match span(focus, per_cent_short) {
        Some(span) => format!("How near to the kernel's own limit? {} reaches {span}", card.focus),
        None => "How near to the kernel's own limit?".to_owned(),
    };
    let label = card
        .metric(&card.deciding_metric)
        .map_or(card.deciding_metric.as_str(), |metric| &metric.label);
    let subtitle = format!("Share of the {label} of a bare loop with the same calls, a dot per block, 95 % interval");
    Frame {
        title,
        subtitle,
        footer: footer.to_owned(),
    }
}

fn shares(experiment: &ExperimentAnalysis) -> Forest {
    let card = &experiment.card;
    let mut rows = Vec::new();
    for cell in &experiment.cells {
        for arm in &cell.arms {
            let measured = arm.metrics.get(&card.deciding_metric);
            let Some(estimate) = measured.and_then(|metric| metric.to_limit.as_ref()) else {
                continue;
            };
            let (colour, marker) = look(card, &arm.level);
            rows.push(Row {
                group: figures::cell(card, &cell.cell),
                label: arm.level.clone(),
                colour,
                marker,
                blocks: estimate.block_ratios().collect(),
                mean: estimate.ratio(),
                interval: estimate.interval(),
                text: figures::share_with_interval(estimate),
            });
        }
    }
    let references = vec![Reference {
        value: 1.0,
        label: "the limit".to_owned(),
    }];
    Forest {
        rows,
        references,
        band: None,
        axis_label: "share of the limit (log scale)".to_owned(),
        tick: per_cent_short,
    }
}

fn short_ratio(value: f64) -> String {
    format!("{}x", figures::short(value))
}

fn per_cent_short(share: f64) -> String {
    format!("{:.0} %", 100.0 * share)
}

fn footer(manifest: &Manifest, experiment: &ExperimentAnalysis) -> String {
    let machine = &manifest.machine;
    let cores = if machine.cores == 1 {
        "1 core".to_owned()
    } else {
        format!("{} cores", machine.cores)
    };
    let virtualised = if machine.virtualised == Some(true) {
        ", virtual machine"
    } else {
        ""
    };
    let blocks = if experiment.blocks == 1 {
        "1 block".to_owned()
    } else {
        format!("{} blocks", experiment.blocks)
    };
    format!(
        "{} · {} · {}, {cores}{virtualised} · {blocks} · {} · Assay {}",
        experiment.card.transport, experiment.target, machine.cpu_model, manifest.started_utc, manifest.assay_version
    )
}

fn run_has_targets(run: &Run, experiment: &ExperimentAnalysis) -> bool {
    run.manifest.targets.len() > 1 && !experiment.target.is_empty()
}

/// A file name from words: anything but letters, digits and dots becomes a hyphen.
fn slug(words: &[&str]) -> String {
    let joined = words
        .iter()
        .filter(|word| !word.is_empty())
        .copied()
        .collect::<Vec<_>>()
        .join("-");
    let safe = joined.chars().map(|c| {
        if c.is_ascii_alphanumeric() || c == '-' {
            c.to_ascii_lowercase()
        } else {
            '-'
        }
    });
    safe.collect()
}

#[cfg(test)]
mod tests {
    use super::scene::{Anchor, Shape, text_width};
    use super::*;
    use crate::analysis::analyse;
    use crate::synthetic::{TrueCell, Truth, at_least, faster, write_run};

    fn cells(sizes: &[&'static str], receivers: &[&'static str], levels: &[(&'static str, f64)]) -> Vec<TrueCell> {
        let pairs = sizes
            .iter()
            .flat_map(|size| receivers.iter().map(move |receiver| (*size, *receiver)));
        pairs
            .map(|(size, receiver)| (size, receiver, "hot", levels.to_vec()))
            .collect()
    }

    fn sketched(cells: Vec<TrueCell>, blocks: u32) -> Vec<Sketch> {
        let dir = tempfile::TempDir::new().unwrap();
        let truth = Truth {
            blocks,
            cells,
            limits: true,
            noise: 0.1,
            ..Truth::one_cell(1.0)
        };
        write_run(dir.path(), &truth, vec![faster(), at_least(1.05)]);
        let run = Run::open(dir.path()).unwrap();
        sketches(&run, &analyse(&run).experiments[0])
    }

    /// Left, top, right, bottom of every text; the height is that of capitals with a little air.
    fn boxes(scene: &Scene) -> Vec<(String, [f64; 4])> {
        let texts = scene.shapes.iter().filter_map(|shape| match shape {
            Shape::Text {
                at, size, anchor, text, ..
            } if !text.is_empty() => Some((at, size, anchor, text)),
            _ => None,
        });
        texts
            .map(|(at, size, anchor, text)| {
                let width = text_width(text, *size);
                let left = match anchor {
                    Anchor::Start => at.0,
                    Anchor::Middle => at.0 - width / 2.0,
                    Anchor::End => at.0 - width,
                };
                (
                    text.clone(),
                    [left, at.1 - 0.45 * size, left + width, at.1 + 0.45 * size],
                )
            })
            .collect()
    }

    #[test]
    fn no_text_is_cut_off_or_lies_on_another() {
        let levels = [("vectored", 1.0), ("mmap", 0.7), ("splice", 1.9), ("sendfile", 2.2)];
        let sizes = ["4096", "65536", "1048576", "4194304"];
        let runs = [
            sketched(cells(&sizes, &["copy", "discard"], &levels), 3),
            sketched(cells(&sizes[1..3], &["copy"], &levels[3..]), 8),
            sketched(cells(&sizes[1..2], &["copy"], &levels[3..]), 2),
        ];
        for sketches in &runs {
            assert_eq!(sketches.len(), 5, "all five charts are drawn");
            for Sketch { slug, scene, .. } in sketches {
                let boxes = boxes(scene);
                for (index, (text, [left, top, right, bottom])) in boxes.iter().enumerate() {
                    let inside = *left >= 0.0 && *top >= 0.0 && *right <= scene.width && *bottom <= scene.height;
                    assert!(inside, "{slug}: {text:?} is cut off");
                    for (other, [l, t, r, b]) in &boxes[index + 1..] {
                        let apart = right <= l || r <= left || bottom <= t || b <= top;
                        assert!(apart, "{slug}: {text:?} lies on {other:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn markup_in_names_is_escaped() {
        let mut scene = Scene::new(100.0, 50.0);
        let ink = scene::Colour(0, 0, 0, 1.0);
        scene.text((10.0, 10.0), 12.0, Anchor::Start, ink, "<script>&</script>");
        let svg = scene.svg().unwrap();
        assert!(
            !svg.contains("<script>") && svg.contains("&lt;script&gt;&amp;"),
            "{svg}"
        );
    }

    #[test]
    fn slugs_are_file_names() {
        assert_eq!(slug(&["zero-copy", "kafka://a:9092"]), "zero-copy-kafka---a-9092");
        assert_eq!(slug(&["zero-copy", ""]), "zero-copy");
    }
}
