//! Everything that a run folder says, drawn again from its files: charts, `report.html`, `summary.md`, `junit.xml`,
//! `estimates.csv` and `verdicts.csv`.
//!
//! The page is one file without scripts and without links to anything outside the folder. It is laid out in
//! `templates/report.html`; what stands in it is decided in [`crate::tables`], [`crate::charts`] and
//! [`crate::wording`].

use std::path::{Path, PathBuf};

use askama::Template;

use crate::analysis::{Analysis, ClaimFinding, ExperimentAnalysis, analyse};
use crate::charts::{self, Chart, ChartError, Place};
use crate::export;
use crate::figures;
use crate::reader::{Run, RunError};
use crate::schema::{FactVerdict, Manifest, file};
use crate::tables::{self, FactSet, Grid, Sheet, Told};
use crate::writer::WriteError;

/// Why a report could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The folder can't be read.
    #[error(transparent)]
    Run(#[from] RunError),
    /// A file can't be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// A chart can't be drawn.
    #[error(transparent)]
    Chart(#[from] ChartError),
    /// The page can't be filled in.
    #[error("cannot fill in report.html: {0}")]
    Page(#[from] askama::Error),
}

/// What was rendered, and what it says.
#[derive(Debug)]
pub struct Rendered {
    /// The analysis behind it, for the terminal table and the exit code.
    pub analysis: Analysis,
    /// `report.html`.
    pub html: PathBuf,
    /// The charts, in the order of the page.
    pub charts: Vec<Chart>,
}

/// Analyses the run in `dir` and rewrites everything that follows from it.
///
/// # Errors
/// [`ReportError`], naming the file and the remedy.
pub fn render(dir: &Path) -> Result<Rendered, ReportError> {
    let run = Run::open(dir)?;
    let analysis = analyse(&run);
    export::write(dir, &analysis)?;
    let charts = charts::draw(&run, &analysis, &dir.join(file::CHARTS))?;
    export::write_file(
        &dir.join(file::SUMMARY),
        summary(&run.manifest, &analysis, &charts).as_bytes(),
    )?;
    let html = dir.join(file::REPORT);
    export::write_file(&html, page(&run.manifest, &analysis, &charts)?.as_bytes())?;
    Ok(Rendered { analysis, html, charts })
}

/// `summary.md`: the tables, the charts and the machine.
fn summary(manifest: &Manifest, analysis: &Analysis, charts: &[Chart]) -> String {
    let escape = tables::escape_markdown;
    let mut text = format!("# {}\n\n", escape(&manifest.name));
    text.push_str(&tables::markdown(analysis));
    for chart in charts {
        text.push_str(&format!("\n![{}](charts/{}.svg)\n", escape(&chart.title), chart.slug));
    }
    let facts: Vec<String> = machine_facts(manifest)
        .into_iter()
        .map(|(name, value)| format!("{name} {}", escape(&value)))
        .collect();
    text.push_str(&format!(
        "\nMeasured {} on: {}.\n",
        escape(&manifest.started_utc),
        facts.join(", ")
    ));
    if !manifest.machine.notes.is_empty() {
        text.push('\n');
    }
    for note in &manifest.machine.notes {
        text.push_str(&format!("- {}\n", escape(note)));
    }
    text
}

#[derive(Template)]
#[template(path = "report.html")]
struct Page<'a> {
    manifest: &'a Manifest,
    command: String,
    revision: &'a str,
    facts: Vec<FactSet<'a>>,
    experiments: Vec<Section<'a>>,
    /// What stands at the end when there are several targets, phases or traces.
    terms: Option<Terms<'a>>,
    phases: Option<Phases<'a>>,
    traces: Option<Sheet>,
    machine: Vec<(&'static str, String)>,
    notes: &'a [String],
}

/// The mark of a statement, for those who see no colours.
fn mark(verdict: &FactVerdict) -> &'static str {
    match verdict {
        FactVerdict::True => "✓",
        FactVerdict::False => "✗",
        FactVerdict::Outdated => "↺",
        FactVerdict::NotLookedUp => "?",
    }
}

/// All cards of one experiment, before the section of its first card.
struct BesideSection<'a> {
    heading: String,
    claims: Vec<(&'a str, &'a ClaimFinding)>,
    remarks: Vec<String>,
    table: Grid,
    charts: Vec<&'a Chart>,
}

/// On which terms targets are compared.
struct Terms<'a> {
    terms: Sheet,
    settings: Sheet,
    differences: &'a [(String, String)],
}

/// What came before the measurement.
struct Phases<'a> {
    table: Sheet,
    remarks: Vec<String>,
    charts: Vec<&'a Chart>,
}

/// One experiment of the page.
struct Section<'a> {
    beside: Option<BesideSection<'a>>,
    /// Left out where the cards of the experiment were put beside each other, with all their claims.
    claims: &'a [ClaimFinding],
    experiment: &'a ExperimentAnalysis,
    heading: String,
    table: Grid,
    ratios: Option<Grid>,
    details: Grid,
    remarks: Vec<String>,
    margin: String,
    charts: Vec<&'a Chart>,
}

fn page(manifest: &Manifest, analysis: &Analysis, charts: &[Chart]) -> Result<String, askama::Error> {
    let charts_at = |place: &Place| charts.iter().filter(|chart| chart.place == *place).collect::<Vec<_>>();
    let mut experiments = Vec::new();
    for told in tables::told(analysis) {
        let (mut beside, members) = match told {
            Told::One(experiment) => (None, vec![experiment]),
            Told::Several(beside, members) => {
                let section = BesideSection {
                    heading: tables::heading_beside(&members),
                    claims: members.iter().flat_map(|member| claims_of(member)).collect(),
                    remarks: tables::remarks_beside(beside, &members),
                    table: tables::side_by_side(beside, &analysis.experiments),
                    charts: charts_at(&Place::Beside(beside.experiment.clone())),
                };
                (Some(section), members)
            }
        };
        let is_alone = beside.is_none();
        for experiment in members {
            let place = analysis
                .experiments
                .iter()
                .position(|other| std::ptr::eq(other, experiment));
            experiments.push(Section {
                beside: beside.take(),
                claims: if is_alone { &experiment.claims } else { &[] },
                experiment,
                heading: tables::heading(experiment),
                table: tables::measurements(experiment),
                ratios: tables::other_ratios(experiment),
                details: tables::all_metrics(experiment),
                remarks: tables::remarks(experiment),
                margin: figures::per_cent(experiment.card.margin),
                charts: place
                    .map(|place| charts_at(&Place::Experiment(place)))
                    .unwrap_or_default(),
            });
        }
    }
    let terms = analysis.terms.as_ref().map(|terms| Terms {
        terms: tables::terms(terms),
        settings: tables::settings(terms),
        differences: &terms.differences,
    });
    let has_phases = !analysis.phases.is_empty() || !analysis.phase_points.is_empty();
    let phases = has_phases.then(|| Phases {
        table: tables::phases(analysis),
        remarks: tables::phase_remarks(&analysis.phases),
        charts: charts_at(&Place::Phases),
    });
    let traces = (!analysis.traces.is_empty()).then(|| tables::traces(&analysis.traces, true));
    Page {
        manifest,
        command: manifest.command.join(" "),
        revision: manifest.git_revision.as_deref().unwrap_or("unknown"),
        facts: tables::fact_sets(&analysis.facts),
        experiments,
        terms,
        phases,
        traces,
        machine: machine_facts(manifest),
        notes: &analysis.notes,
    }
    .render()
}

/// The claims of a card, each with the card's target.
fn claims_of(experiment: &ExperimentAnalysis) -> impl Iterator<Item = (&str, &ClaimFinding)> {
    experiment
        .claims
        .iter()
        .map(|claim| (experiment.target.as_str(), claim))
}

/// The machine receipt as (name, value) pairs; what isn't known is left out.
fn machine_facts(manifest: &Manifest) -> Vec<(&'static str, String)> {
    let machine = &manifest.machine;
    let mut facts = vec![
        ("CPU", machine.cpu_model.clone()),
        ("cores", machine.cores.to_string()),
        ("memory", figures::bytes(machine.memory_bytes as f64)),
        ("kernel", machine.kernel.clone()),
        ("file system", machine.filesystem.clone()),
        ("clock resolution", format!("{} ns", machine.clock_resolution_ns)),
        ("transport", machine.transport.clone()),
    ];
    if let Some(bytes) = machine.l3_cache_bytes {
        facts.push(("L3 cache", figures::bytes(bytes as f64)));
    }
    if let Some(read_ahead) = machine.read_ahead_kib {
        facts.push(("read-ahead", format!("{read_ahead} KiB")));
    }
    if let Some(virtualised) = machine.virtualised {
        facts.push(("virtual machine", if virtualised { "yes" } else { "no" }.to_owned()));
    }
    facts
}
