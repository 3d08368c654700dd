//! The standard set of charts, each as SVG and PNG.
//!
//! Which charts there are follows from what was measured: one that has nothing to show is left out. Charts show, they
//! don't judge.

mod beside;
mod by_size;
mod compared;
mod forest;
mod latency;
mod layout;
mod lines;
mod load;
mod over_time;
mod scaling;
mod scene;
mod timeline;

use std::fs;
use std::path::Path;

use crate::analysis::beside::Beside;
use crate::analysis::{Analysis, CellAnalysis, ExperimentAnalysis};
use crate::figures;
use crate::reader::Run;
use crate::schema::{Better, ClaimCard, ExperimentCard, MACHINE_TARGET, MachineReceipt, Manifest};
use crate::tables::COST_METRIC;
pub use compared::draw as draw_comparison;
use forest::{Forest, Reference, Row};
use layout::{Frame, look};
pub use load::draw_load;
pub use scene::ChartError;
use scene::Scene;

/// Where a chart stands in the report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// With one card, by its place in [`Analysis::experiments`].
    Experiment(usize),
    /// With the cards of the experiment of that name, side by side.
    Beside(String),
    /// With what came before the measurement.
    Phases,
}

/// A chart that is ready to be embedded.
#[derive(Debug, Clone)]
pub struct Chart {
    /// Where it belongs.
    pub place: Place,
    /// Its file name without ending.
    pub slug: String,
    /// What it says, or asks.
    pub title: String,
    /// How to read it, in one sentence.
    pub caption: String,
    /// The SVG document.
    pub svg: String,
}

/// With more cells than this, a comparison of targets is drawn in several charts.
const CELLS_IN_ONE_FOREST: usize = 12;

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
    let mut charts = Vec::new();
    for (place, sketch) in all_sketches(run, analysis) {
        let Sketch {
            slug,
            frame,
            caption,
            scene,
        } = sketch;
        let svg = save(folder, &slug, &scene)?;
        charts.push(Chart {
            place,
            slug,
            title: frame.title,
            caption,
            svg,
        });
    }
    Ok(charts)
}

/// Writes a chart as SVG and PNG, and returns the SVG. The folder is made when it isn't there.
fn save(folder: &Path, slug: &str, scene: &Scene) -> Result<String, ChartError> {
    let failed = |path: &Path, error: std::io::Error| ChartError::Draw {
        path: path.to_owned(),
        reason: error.to_string(),
    };
    fs::create_dir_all(folder).map_err(|error| failed(folder, error))?;
    let svg = scene.svg()?;
    let path = folder.join(format!("{slug}.svg"));
    fs::write(&path, &svg).map_err(|error| failed(&path, error))?;
    scene.write_png(&folder.join(format!("{slug}.png")))?;
    Ok(svg)
}

/// Every chart with its place, in the order of the report.
fn all_sketches(run: &Run, analysis: &Analysis) -> Vec<(Place, Sketch)> {
    let mut all = Vec::new();
    for (index, experiment) in analysis.experiments.iter().enumerate() {
        for beside in analysis
            .beside
            .iter()
            .filter(|beside| beside.members.first() == Some(&index))
        {
            let footer = footer(&run.manifest, experiment, &beside_targets(analysis, beside));
            let members = beside.members.iter().map(|member| &analysis.experiments[*member]);
            let members: Vec<&ExperimentAnalysis> = members.collect();
            let together = slug(&[&beside.experiment, "scaling"]);
            let deciding = &experiment.card.deciding_metric;
            let scaling = scaling::sketch(&members, deciding, together, &footer);
            let sketch = beside::sketch(analysis, beside, &slug(&[&beside.experiment]), &footer);
            let place = || Place::Beside(beside.experiment.clone());
            all.extend(scaling.into_iter().chain(sketch).map(|sketch| (place(), sketch)));
        }
        let sketches = sketches(run, experiment);
        all.extend(sketches.into_iter().map(|sketch| (Place::Experiment(index), sketch)));
    }
    let phases = over_time::sketches(analysis, &phases_footer(&run.manifest));
    all.extend(phases.into_iter().map(|sketch| (Place::Phases, sketch)));
    all
}

fn beside_targets(analysis: &Analysis, beside: &Beside) -> String {
    let members = beside.members.iter().map(|member| &analysis.experiments[*member]);
    let targets: Vec<&str> = members.map(|experiment| experiment.target.as_str()).collect();
    targets.join(", ")
}

fn sketches(run: &Run, experiment: &ExperimentAnalysis) -> Vec<Sketch> {
    let card = &experiment.card;
    let footer = footer(&run.manifest, experiment, &experiment.target.replace('+', ", "));
    let prefix = slug(&[
        &card.name,
        if run_has_targets(run, experiment) {
            &experiment.target
        } else {
            ""
        },
    ]);
    // Where a number grows, the lines over it say what points by size would, and say it better.
    let along = |metric: &str, slug: String| scaling::sketch(&[experiment], metric, slug, &footer);
    let scaling = along(&card.deciding_metric, format!("{prefix}-scaling"));
    let is_scaling = scaling.is_some();
    let mut sketches: Vec<Sketch> = scaling.into_iter().collect();
    let others = charted(card).filter_map(|metric| along(metric, format!("{prefix}-scaling-{}", slug(&[metric]))));
    sketches.extend(others);
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
    for (metric, name) in by_size.into_iter().filter(|_| !is_scaling) {
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
    for (name, metric, part) in ratio_charts(experiment) {
        let frame = ratio_frame(experiment, metric, part.as_ref(), &footer);
        let scene = forest::chart(&ratios(experiment, metric, part.as_ref()), &frame);
        let caption = format!(
            "Each small dot is one block: the arm against {} in the same block. The bar is the 95 % interval, the grey \
             band is the margin in which a difference does not count.",
            card.baseline
        );
        add(&name, frame, caption, scene);
    }
    // Clients that are handed record by record have latencies of records; where these are consumed too, from end to end.
    let has = |metric: &str| card.metric(metric).is_some();
    let (title, what) = match (has("end_to_end_p50_us"), has("records_per_batch")) {
        (true, _) => ("How late does a record arrive?", "records"),
        (false, true) => ("How long until a record is acknowledged?", "records"),
        (false, false) => ("How long does one request take?", "requests"),
    };
    let frame = Frame {
        title: title.to_owned(),
        subtitle: "Histograms of all blocks merged; no percentile with fewer than 10 samples above it; each panel has its own scale".to_owned(),
        footer: footer.clone(),
    };
    let scene = latency::chart(experiment, &run.latencies, &frame);
    let caption = format!(
        "Each step to the right is one more nine: the slowest 10 %, 1 %, 0.1 % of the {what}. Lower is better; the scale is \
         logarithmic."
    );
    add("latency", frame, caption, scene);
    let frame = share_frame(experiment, &footer);
    let scene = forest::chart(&shares(experiment), &frame);
    let caption = match limit_kind(card) {
        LimitKind::SameCalls => {
            "a bare loop over the same file with the same calls and no protocol, run in the same block: at 100 % the broker costs nothing"
        }
        LimitKind::WithoutBroker => {
            "a bare loop that moves the same bytes without a broker, run in the same block: at 100 % the broker costs nothing"
        }
        LimitKind::Device => {
            "one large write after the other around the page cache, run in the same block: what the device itself can do"
        }
    };
    let caption = format!("Each row holds an arm against {caption}.");
    add("limit", frame, caption, scene);
    sketches.extend(timeline::sketches(run, experiment, &prefix, &footer));
    sketches
}

/// "Throughput: sendfile reaches 0.600x to 1.90x of read-write".
fn range_title(experiment: &ExperimentAnalysis, metric: &str) -> String {
    let card = &experiment.card;
    let label = card.metric(metric).map_or(metric, |metric| metric.label.as_str());
    let mut capital: String = label.chars().take(1).flat_map(char::to_uppercase).collect();
    capital.extend(label.chars().skip(1));
    let focus = experiment
        .cells
        .iter()
        .filter_map(|cell| cell.arm(&card.focus)?.metrics.get(metric));
    // What is 0 has no ratio; a range of the others would speak for all.
    let ratios: Option<Vec<f64>> = focus.map(|metric| Some(metric.to_baseline.as_ref()?.ratio())).collect();
    match ratios.and_then(|ratios| span(ratios.into_iter(), figures::ratio)) {
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

/// The cells of a chart that is drawn for each level of a factor.
struct Part {
    factor: String,
    level: String,
}

impl Part {
    fn holds(&self, cell: &CellAnalysis) -> bool {
        cell.cell.level(&self.factor) == Some(self.level.as_str())
    }
}

/// The metrics that have charts of their own beside the deciding one.
fn charted(card: &ExperimentCard) -> impl Iterator<Item = &str> {
    let charted = card
        .metrics
        .iter()
        .filter(|metric| metric.chart && metric.name != card.deciding_metric);
    charted.map(|metric| metric.name.as_str())
}

/// The charts of ratios, by name, metric and part: of the deciding metric and of those whose card asks for it. Where targets
/// are compared in many cells, each level of the first factor that is no size has its own.
fn ratio_charts(experiment: &ExperimentAnalysis) -> Vec<(String, &str, Option<Part>)> {
    let card = &experiment.card;
    let deciding = ("ratios".to_owned(), card.deciding_metric.as_str());
    let metrics = [deciding]
        .into_iter()
        .chain(charted(card).map(|metric| (format!("ratios-{}", slug(&[metric])), metric)));
    let parts = || {
        let others = card.factors.iter().filter(|factor| factor.name != card.treatment);
        let factor = others
            .into_iter()
            .find(|factor| factor.unit.is_empty() && factor.levels.len() > 1);
        let split = card.compares_targets() && experiment.cells.len() > CELLS_IN_ONE_FOREST;
        let Some(factor) = factor.filter(|_| split) else {
            return vec![None];
        };
        let part = |level: &String| Part {
            factor: factor.name.clone(),
            level: level.clone(),
        };
        factor.levels.iter().map(|level| Some(part(level))).collect()
    };
    metrics
        .flat_map(|(name, metric)| {
            parts().into_iter().map(move |part| {
                let name = match &part {
                    Some(part) => format!("{name}-{}", slug(&[&part.level])),
                    None => name.clone(),
                };
                (name, metric, part)
            })
        })
        .collect()
}

fn ratio_frame(experiment: &ExperimentAnalysis, metric: &str, part: Option<&Part>, footer: &str) -> Frame {
    let card = &experiment.card;
    let label = card.metric(metric).map_or(metric, |metric| &metric.label);
    let title = match part {
        Some(part) => format!("{}: {}", card.title, figures::level(card, &part.factor, &part.level)),
        None => card.title.clone(),
    };
    let better = match card.metric(metric).map(|metric| metric.better) {
        // The charts of one target always showed what is better when it is more.
        Some(Better::Lower) => ", lower is better",
        Some(Better::Higher) if metric != card.deciding_metric => ", higher is better",
        _ => "",
    };
    Frame {
        title,
        subtitle: format!(
            "Ratio of {label} to {}{better}, a dot per block, 95 % interval{}",
            card.baseline,
            figures::cell_legend(card)
                .map(|legend| format!("; cells by {legend}"))
                .unwrap_or_default()
        ),
        footer: footer.to_owned(),
    }
}

fn ratios(experiment: &ExperimentAnalysis, metric: &str, part: Option<&Part>) -> Forest {
    let card = &experiment.card;
    let is_deciding = metric == card.deciding_metric;
    let mut rows = Vec::new();
    let holds = |cell: &&CellAnalysis| part.is_none_or(|part| part.holds(cell));
    for cell in experiment.cells.iter().filter(holds) {
        for arm in &cell.arms {
            let measured = arm.metrics.get(metric);
            let Some(estimate) = measured.and_then(|metric| metric.to_baseline.as_ref()) else {
                continue;
            };
            let (colour, marker) = look(card, &arm.level);
            let judged = arm.judgement.filter(|_| is_deciding);
            let verdict = judged.map_or("", |judgement| judgement.verdict.as_str());
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
    let band = Some((1.0 - card.margin, 1.0 + card.margin));
    Forest {
        rows,
        references: references(experiment, metric, part),
        band,
        axis_label: format!("ratio to {} (log scale)", card.baseline),
        tick: short_ratio,
    }
}

/// The line at the baseline, and one for each size that is claimed of the metric in these cells.
fn references(experiment: &ExperimentAnalysis, metric: &str, part: Option<&Part>) -> Vec<Reference> {
    let card = &experiment.card;
    let mut references = vec![Reference {
        value: 1.0,
        label: format!("as {}", card.baseline),
    }];
    let is_elsewhere = |claim: &ClaimCard| {
        part.is_some_and(|part| claim.only().get(&part.factor).is_some_and(|level| *level != part.level))
    };
    for claim in card.claims.iter().filter(|claim| !is_elsewhere(claim)) {
        if let ClaimCard::AtLeast {
            metric: of,
            ratio,
            level,
            only,
            ..
        } = claim
            && of == metric
        {
            // "At least four times as good" of something of which less is better is a quarter of it.
            let value = match card.metric(metric).map(|metric| metric.better) {
                Some(Better::Lower) => 1.0 / ratio,
                _ => *ratio,
            };
            let others = only
                .iter()
                .filter(|(factor, _)| part.is_none_or(|part| part.factor != **factor));
            let places: Vec<String> = others
                .map(|(factor, level)| figures::level(card, factor, level))
                .collect();
            let place = if places.is_empty() {
                String::new()
            } else {
                format!(" at {}", places.join(", "))
            };
            let label = format!("claimed of {level}{place}: {}", figures::ratio(value));
            // The same may be claimed of each cell and of all together.
            if references.iter().all(|known| known.label != label) {
                references.push(Reference { value, label });
            }
        }
    }
    references
}

/// What a limit leaves out.
#[derive(Clone, Copy)]
enum LimitKind {
    /// The protocol.
    SameCalls,
    /// The broker.
    WithoutBroker,
    /// The page cache, where there is no broker anyway.
    Device,
}

fn limit_kind(card: &ExperimentCard) -> LimitKind {
    match card.limits.is_empty() {
        _ if card.target == MACHINE_TARGET => LimitKind::Device,
        true => LimitKind::SameCalls,
        false => LimitKind::WithoutBroker,
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
    let kind = limit_kind(card);
    let whose = match kind {
        LimitKind::Device => "device",
        LimitKind::SameCalls | LimitKind::WithoutBroker => "kernel",
    };
    let title = match span(focus, per_cent_short) {
        Some(span) => format!("How near to the {whose}'s own limit? {} reaches {span}", card.focus),
        None => format!("How near to the {whose}'s own limit?"),
    };
    let label = card
        .metric(&card.deciding_metric)
        .map_or(card.deciding_metric.as_str(), |metric| &metric.label);
    let with = match kind {
        LimitKind::SameCalls => "with the same calls",
        LimitKind::WithoutBroker => "without a broker",
        LimitKind::Device => "around the page cache",
    };
    let subtitle = format!("Share of the {label} of a bare loop {with}, a dot per block, 95 % interval");
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

fn footer(manifest: &Manifest, experiment: &ExperimentAnalysis, targets: &str) -> String {
    let blocks = if experiment.blocks == 1 {
        "1 block".to_owned()
    } else {
        format!("{} blocks", experiment.blocks)
    };
    format!(
        "{} · {targets} · {} · {blocks} · {} · Assay {}",
        experiment.card.transport,
        machine(manifest),
        manifest.started_utc,
        manifest.assay_version
    )
}

fn phases_footer(manifest: &Manifest) -> String {
    format!(
        "{} · {} · {} · Assay {}",
        manifest.machine.transport,
        machine(manifest),
        manifest.started_utc,
        manifest.assay_version
    )
}

fn machine(manifest: &Manifest) -> String {
    of_machine(&manifest.machine)
}

fn of_machine(machine: &MachineReceipt) -> String {
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
    format!("{}, {cores}{virtualised}", machine.cpu_model)
}

/// Whether the target is part of a chart's name: a card that compares targets has all of them.
fn run_has_targets(run: &Run, experiment: &ExperimentAnalysis) -> bool {
    run.manifest.targets.len() > 1 && !experiment.card.compares_targets()
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
    use std::collections::BTreeMap;

    use super::scene::{Anchor, Shape as Drawn, text_width};
    use super::*;
    use crate::analysis::analyse;
    use crate::partitions::{self, Shape};
    use crate::synthetic::{TrueCell, Truth, at_least, faster, write_run};
    use crate::targets;

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
            Drawn::Text {
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
            sketches.iter().for_each(is_legible);
        }
    }

    /// No text is cut off, and none lies on another.
    fn is_legible(Sketch { slug, scene, .. }: &Sketch) {
        assert_legible(slug, scene);
    }

    /// The same of any chart.
    pub(super) fn assert_legible(slug: &str, scene: &Scene) {
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

    #[test]
    fn charts_of_several_targets_are_legible() {
        let drawn = |write: &dyn Fn(&Path)| {
            let dir = tempfile::TempDir::new().unwrap();
            write(dir.path());
            let run = Run::open(dir.path()).unwrap();
            let all = all_sketches(&run, &analyse(&run));
            all.iter().for_each(|(_, sketch)| is_legible(sketch));
            all.into_iter().map(|(_, sketch)| sketch.slug).collect::<Vec<_>>()
        };
        assert_eq!(
            drawn(&|dir| targets::write_everything(dir)),
            [
                "zero-copy-beside",
                "zero-copy-bundled-by-size",
                "zero-copy-bundled-cost-by-size",
                "zero-copy-bundled-ratios",
                "zero-copy-bundled-limit",
                "zero-copy-kafka-by-size",
                "zero-copy-kafka-cost-by-size",
                "zero-copy-kafka-ratios",
                "phase-warm-up",
            ]
        );
        let metrics = ["ratios", "ratios-throughput", "ratios-latency-p99-us"];
        let of = |parts: &[&str]| {
            let each = metrics
                .iter()
                .flat_map(|metric| parts.iter().map(move |part| format!("head-to-head-{metric}{part}")));
            ["head-to-head-by-size".to_owned()]
                .into_iter()
                .chain(each)
                .collect::<Vec<_>>()
        };
        let loads = targets::loads();
        let head_to_head = |loads: &[targets::Load], class: &'static str| {
            drawn(&|dir| drop(targets::write_head_to_head(dir, loads, class, true)))
        };
        assert_eq!(head_to_head(&loads, targets::CLASS), of(&["-produce", "-fetch"]));
        assert_eq!(head_to_head(&loads[..2], targets::CLASS), of(&[""]));
        // A ratio that is not formed is not drawn.
        let others = head_to_head(&loads[..2], "other");
        assert_eq!(others, ["head-to-head-by-size"]);
    }

    #[test]
    fn what_goes_along_a_number_is_drawn_over_it() {
        let drawn = |shape: &Shape| {
            let dir = tempfile::TempDir::new().unwrap();
            partitions::write(dir.path(), shape, None);
            let run = Run::open(dir.path()).unwrap();
            let all = all_sketches(&run, &analyse(&run));
            all.iter().for_each(|(_, sketch)| is_legible(sketch));
            let told = |(_, sketch): (Place, Sketch)| (sketch.slug, sketch.frame.title);
            all.into_iter().map(told).collect::<BTreeMap<String, String>>()
        };
        let both = drawn(&Shape::crossing());
        let (together, alone) = ("partition-contention-scaling", "partition-contention-bundled-scaling");
        let title = "commit-log is ahead of partition-log from 256 partitions on (Flush: every-batch)";
        assert_eq!((both[together].as_str(), both[alone].as_str()), (title, title));
        assert_eq!(
            both["partition-contention-kafka-scaling"],
            "Do many partitions contend?"
        );
        assert_eq!(
            both["partition-contention-bundled-scaling-broker-cpu-ms-per-mb"],
            format!("Broker CPU per MB: {title}")
        );
        assert!(both.keys().all(|slug| !slug.ends_with("by-size")), "{both:?}");
        let even = Shape {
            kept: [1.0; 4],
            with_kafka: false,
            ..Shape::crossing()
        };
        assert!(drawn(&even)[together].contains("is not surely ahead of partition-log"));
        let early = Shape {
            kept: [0.1, 0.5, 1.0, 1.0],
            ..even
        };
        assert_eq!(
            drawn(&early)[together],
            "commit-log is ahead of partition-log up to 16 partitions (Flush: every-batch)"
        );
        let behind = Shape {
            kept: [4.0; 4],
            unflushed: 4.0,
            ..early
        };
        assert_eq!(
            drawn(&behind)[together],
            "commit-log is behind partition-log at every number measured"
        );
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
