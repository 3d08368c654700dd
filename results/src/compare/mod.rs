//! What changed between two runs: `compare(A, B)`.
//!
//! Per experiment, metric and arm the ratio B/A with an interval, the margin of the definition, and what follows from both.
//! The blocks of two runs are not pairs, so the interval is that of two independent samples of log values ([`welch`]).
//! Wherever both runs measured the same bare loop in the same blocks, the figures are held against it first, otherwise
//! against the baseline: what the machine does to a whole run cancels out, which no interval over blocks could hold.
//! What stands in the way of a comparison is listed ([`comparable`]) and never bridged in silence.
//!
//! Nothing is measured or drawn here. Tables are in [`crate::tables`], files in [`files`].

pub mod comparable;
mod estimated;
pub mod files;
mod judge;
mod row;
mod rows;
pub mod welch;

use std::collections::BTreeSet;

use crate::analysis::{Analysis, ExperimentAnalysis, analyse};
use crate::reader::Run;
use crate::schema::{ExperimentCard, FactVerdict, Manifest};
use comparable::Reasons;
pub use judge::{Evidence, Judged, judge};
pub use row::{Change, Ratio, Reference, Row, Side};

/// What the figures of a run are held against before the runs are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Against {
    /// The bare loop where both runs have it, otherwise the baseline of the cell, otherwise nothing.
    #[default]
    Auto,
    /// The bare loop, or nothing.
    Limit,
    /// The baseline of the cell, or nothing.
    Baseline,
    /// Nothing: absolute figures.
    Nothing,
}

/// What to compare, and how.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// What figures are held against.
    pub against: Against,
    /// Only these experiments; empty is all.
    pub experiments: Vec<String>,
    /// The metrics that decide; empty are the deciding one of each experiment and those that its claims speak of.
    pub metrics: Vec<String>,
    /// Differences of machine and transport are told and not held against the runs.
    pub allow_different_machine: bool,
}

/// Why two runs can't be compared as asked.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum CompareError {
    /// A name that neither run knows.
    #[error("neither run has the {kind} '{name}'; there are: {known}")]
    Unknown {
        /// `experiment` or `metric`.
        kind: &'static str,
        /// The name.
        name: String,
        /// All names that there are.
        known: String,
    },
}

/// One experiment on one target.
#[derive(Debug)]
pub struct Part {
    /// The card of the second run.
    pub card: ExperimentCard,
    /// The target's name, as in the analysis.
    pub target: String,
    /// What stands in the way.
    pub reasons: Reasons,
    /// The figures, cell by cell.
    pub rows: Vec<Row>,
    /// What has to be said beside them, in whole sentences.
    pub remarks: Vec<String>,
}

impl Part {
    /// An experiment that the second run lacks: whether it still holds is not known.
    fn gone(experiment: &ExperimentAnalysis, reason: String) -> Self {
        Self {
            card: experiment.card.clone(),
            target: experiment.target.clone(),
            reasons: Reasons {
                all: vec![reason],
                machine: Vec::new(),
            },
            rows: Vec::new(),
            remarks: Vec::new(),
        }
    }
}

/// A statement that was looked up in both runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FactChange {
    /// The experiment and the statement's name in it.
    pub id: String,
    /// What came out in the first run.
    pub a: FactVerdict,
    /// What came out in the second.
    pub b: FactVerdict,
}

/// Which run a side is.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The folder.
    pub folder: String,
    /// Its manifest.
    pub manifest: Manifest,
}

/// What follows from two runs.
#[derive(Debug)]
pub struct Comparison {
    /// The first run.
    pub a: Identity,
    /// The second.
    pub b: Identity,
    /// One entry per experiment and target that the first run has.
    pub parts: Vec<Part>,
    /// The statements that both looked up.
    pub facts: Vec<FactChange>,
    /// Differences of the machines that were allowed; they stand above everything else.
    pub allowed: Vec<String>,
    /// What was odd, in whole sentences.
    pub notes: Vec<String>,
}

impl Comparison {
    /// The rows that decide.
    pub fn deciding(&self) -> impl Iterator<Item = &Row> {
        self.parts.iter().flat_map(|part| &part.rows).filter(|row| row.gates)
    }

    /// Whether nothing could be compared, or something that decides could not.
    pub fn is_incomparable(&self) -> bool {
        let nothing = self.deciding().next().is_none() && self.facts.is_empty();
        let broken = self.parts.iter().any(|part| !part.reasons.all.is_empty());
        nothing || broken || self.deciding().any(|row| row.change == Change::Incomparable)
    }

    /// The answer as a whole: the worst that a deciding row says.
    pub fn verdict(&self) -> Change {
        let has = |change: Change| self.deciding().any(|row| row.change == change);
        if let Some(worst) = [Change::Regressed, Change::Changed]
            .into_iter()
            .find(|change| has(*change))
        {
            return worst;
        }
        if self.is_incomparable() {
            return Change::Incomparable;
        }
        let rest = [Change::Inconclusive, Change::Improved, Change::Equivalent];
        rest.into_iter().find(|change| has(*change)).unwrap_or(Change::Equal)
    }
}

/// Compares two runs.
///
/// # Errors
/// [`CompareError`] when the options name something that neither run has.
pub fn compare(a: &Run, b: &Run, options: &Options) -> Result<Comparison, CompareError> {
    check_names(a, b, options)?;
    let machines = comparable::machines(&a.manifest.machine, &b.manifest.machine);
    let (of_a, of_b) = (analyse(a), analyse(b));
    let mut parts = Vec::new();
    let mut notes = Vec::new();
    let is_asked = |card: &ExperimentCard| options.experiments.is_empty() || options.experiments.contains(&card.name);
    let mut allowed = BTreeSet::new();
    for (experiment_b, card_b) in with_cards(&of_b).filter(|(_, card)| is_asked(card)) {
        let Some((experiment_a, card_a)) = with_cards(&of_a).find(|(_, card)| is_same(card, card_b)) else {
            notes.push(format!("{}.", only_in(card_b, "B")));
            continue;
        };
        let mut reasons = comparable::conditions((&a.manifest, card_a), (&b.manifest, card_b));
        reasons.machine.extend(machines.iter().cloned());
        if options.allow_different_machine {
            allowed.extend(reasons.machine.drain(..));
        }
        let invalid = [("A", experiment_a), ("B", experiment_b)];
        reasons
            .machine
            .extend(invalid.into_iter().filter_map(|(side, experiment)| {
                let reason = experiment.invalid.as_ref()?;
                Some(format!("{side} is INVALID: {reason}"))
            }));
        parts.push(rows::part(experiment_a, experiment_b, reasons, options));
    }
    let gone = with_cards(&of_a).filter(|(_, card)| is_asked(card));
    let gone = gone.filter(|(_, card)| !with_cards(&of_b).any(|(_, other)| is_same(card, other)));
    parts.extend(gone.map(|(experiment, card)| Part::gone(experiment, only_in(card, "A"))));
    for (side, analysis) in [("A", &of_a), ("B", &of_b)] {
        notes.extend(analysis.notes.iter().map(|note| format!("{side}: {note}")));
    }
    rows::judge_all(&mut parts);
    Ok(Comparison {
        a: identity(a),
        b: identity(b),
        parts,
        facts: facts(a, b, options),
        allowed: allowed.into_iter().collect(),
        notes,
    })
}

fn with_cards(analysis: &Analysis) -> impl Iterator<Item = (&ExperimentAnalysis, &ExperimentCard)> {
    analysis
        .experiments
        .iter()
        .map(|experiment| (experiment, &experiment.card))
}

fn is_same(one: &ExperimentCard, other: &ExperimentCard) -> bool {
    one.name == other.name && (one.target == other.target || one.compares_targets() && other.compares_targets())
}

fn only_in(card: &ExperimentCard, side: &str) -> String {
    format!("{} on {} was measured in {side} only", card.name, card.target)
}

fn identity(run: &Run) -> Identity {
    Identity {
        folder: run.dir.display().to_string(),
        manifest: run.manifest.clone(),
    }
}

fn facts(a: &Run, b: &Run, options: &Options) -> Vec<FactChange> {
    let is_asked = |name: &String| options.experiments.is_empty() || options.experiments.contains(name);
    let asked = b.facts.iter().filter(|fact| is_asked(&fact.experiment));
    let changes = asked.filter_map(|of_b| {
        let mut others = a.facts.iter();
        let same = |fact: &&crate::schema::Fact| {
            fact.experiment == of_b.experiment && fact.id == of_b.id && fact.target == of_b.target
        };
        let of_a = others.find(same)?;
        Some(FactChange {
            id: format!("{}/{}", of_b.experiment, of_b.id),
            a: of_a.verdict,
            b: of_b.verdict,
        })
    });
    changes.collect()
}

fn check_names(a: &Run, b: &Run, options: &Options) -> Result<(), CompareError> {
    let cards = || a.manifest.experiments.iter().chain(&b.manifest.experiments);
    let facts = a.facts.iter().chain(&b.facts).map(|fact| fact.experiment.as_str());
    let experiments: BTreeSet<&str> = cards().map(|card| card.name.as_str()).chain(facts).collect();
    let metrics: BTreeSet<&str> = cards()
        .flat_map(|card| &card.metrics)
        .map(|metric| metric.name.as_str())
        .collect();
    for (kind, asked, known) in [
        ("experiment", &options.experiments, experiments),
        ("metric", &options.metrics, metrics),
    ] {
        if let Some(name) = asked.iter().find(|name| !known.contains(name.as_str())) {
            return Err(CompareError::Unknown {
                kind,
                name: name.clone(),
                known: known.into_iter().collect::<Vec<_>>().join(", "),
            });
        }
    }
    Ok(())
}
