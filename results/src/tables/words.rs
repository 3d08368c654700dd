//! What is told in words: statements that were looked up, the terms of the comparison, phases, system calls.

use crate::analysis::Analysis;
use crate::figures;
use crate::schema::{Fact, FactVerdict, Phase, PhasePoint, PhaseSummary, TraceCount};
use crate::terms::{EqualTerms, Term};

use super::measured::ABSENT;
use super::sheet::{Sheet, SheetRow};
use super::text::colour_of_fact;

/// The statements of one experiment on one target.
#[derive(Debug, Clone)]
pub struct FactSet<'a> {
    /// The experiment's name.
    pub experiment: &'a str,
    /// The target with its version.
    pub target: String,
    /// The statements, in the order of the file.
    pub facts: Vec<&'a Fact>,
}

/// The statements by experiment and target, in the order of the file.
pub fn fact_sets(facts: &[Fact]) -> Vec<FactSet<'_>> {
    let mut sets: Vec<FactSet<'_>> = Vec::new();
    for fact in facts {
        let target = format!("{} {}", fact.target, fact.version).trim_end().to_owned();
        let known = sets
            .iter_mut()
            .find(|set| set.experiment == fact.experiment && set.target == target);
        match known {
            Some(set) => set.facts.push(fact),
            None => sets.push(FactSet {
                experiment: &fact.experiment,
                target,
                facts: vec![fact],
            }),
        }
    }
    sets
}

impl FactSet<'_> {
    /// "12 statements looked up on kafka 4.3.1: 5 TRUE, 4 FALSE, 2 OUTDATED, 1 NOT LOOKED UP".
    pub fn heading(&self) -> String {
        let counts = FactVerdict::ALL.into_iter().filter_map(|verdict| {
            let count = self.facts.iter().filter(|fact| fact.verdict == verdict).count();
            (count > 0).then(|| format!("{count} {}", verdict.label()))
        });
        let counts: Vec<String> = counts.collect();
        let statements = match self.facts.len() {
            1 => "1 statement".to_owned(),
            count => format!("{count} statements"),
        };
        format!(
            "{}: {statements} looked up on {}: {}",
            self.experiment,
            self.target,
            counts.join(", ")
        )
    }

    /// The statements with what was found and the source line.
    pub fn sheet(&self) -> Sheet {
        let row = |fact: &&Fact| SheetRow {
            texts: vec![
                fact.verdict.label().to_owned(),
                fact.statement.clone(),
                with_source(&fact.evidence, &fact.evidence_source),
                fact.reference.clone(),
            ],
            colour: Some(colour_of_fact(fact.verdict)),
        };
        Sheet {
            header: titles(&["", "statement", "what was found", "source line"]),
            rows: self.facts.iter().map(row).collect(),
            figures: vec![],
            mark: 0,
            narrow: vec![(1, 32), (3, 22)],
        }
    }
}

fn with_source(evidence: &str, place: &str) -> String {
    match (evidence, place) {
        ("", place) => place.to_owned(),
        (evidence, "") => evidence.to_owned(),
        (evidence, place) => format!("{evidence} ({place})"),
    }
}

/// Durability class, heap, client and the like, target by target.
pub fn terms(terms: &EqualTerms) -> Sheet {
    term_sheet("", &terms.targets, &terms.terms, ABSENT)
}

/// The settings that some target runs with another value than its default.
pub fn settings(terms: &EqualTerms) -> Sheet {
    term_sheet("setting", &terms.targets, &terms.settings, "(has none)")
}

fn term_sheet(title: &str, targets: &[String], terms: &[Term], missing: &str) -> Sheet {
    let mut header = vec![title.to_owned()];
    header.extend(targets.iter().cloned());
    header.push("same?".to_owned());
    let row = |term: &Term| {
        let mut texts = vec![term.name.clone()];
        let values = term.values.iter();
        texts.extend(values.map(|value| value.clone().unwrap_or_else(|| missing.to_owned())));
        texts.push(if term.is_same { "same" } else { "differs" }.to_owned());
        SheetRow { texts, colour: None }
    };
    Sheet {
        mark: header.len() - 1,
        header,
        rows: terms.iter().map(row).collect(),
        figures: vec![],
        narrow: vec![],
    }
}

/// How the phases before the measurement went.
pub fn phases(analysis: &Analysis) -> Sheet {
    let row = |summary: &PhaseSummary| SheetRow {
        texts: vec![
            named(&summary.target, &summary.arm),
            summary.phase.label().to_owned(),
            format!("{} s", figures::three_digits(summary.seconds)),
            match summary.windows {
                0 => String::new(),
                windows => windows.to_string(),
            },
            first_to_last(&analysis.phase_points, summary),
            match summary.steady {
                None => String::new(),
                Some(true) => "steady".to_owned(),
                Some(false) => "NOT STEADY".to_owned(),
            },
        ],
        colour: None,
    };
    let mut summaries: Vec<&PhaseSummary> = analysis.phases.iter().collect();
    summaries.sort_by_key(|summary| (&summary.target, summary.phase, &summary.arm));
    Sheet {
        header: titles(&[
            "target and load",
            "phase",
            "took",
            "windows",
            "first to last window",
            "end",
        ]),
        rows: summaries.into_iter().map(row).collect(),
        figures: vec![2, 3, 4],
        mark: 5,
        narrow: vec![],
    }
}

/// Rules and notes of the phases, each said once.
pub fn phase_remarks(phases: &[PhaseSummary]) -> Vec<String> {
    let mut remarks = Vec::new();
    let mut add = |remark: String| {
        if !remarks.contains(&remark) {
            remarks.push(remark);
        }
    };
    for summary in phases.iter().filter(|summary| !summary.rule.is_empty()) {
        add(format!("Rule for the {}: {}", summary.phase.label(), summary.rule));
    }
    for summary in phases.iter().filter(|summary| !summary.note.is_empty()) {
        let whose = named(&summary.target, &summary.arm);
        add(format!("{whose}, {}: {}", summary.phase.label(), summary.note));
    }
    for summary in phases.iter().filter(|summary| summary.steady == Some(false)) {
        let whose = named(&summary.target, &summary.arm);
        let phase = summary.phase.label();
        add(format!(
            "The {phase} of {whose} did not become steady: its figures may still be those of a cold target."
        ));
    }
    remarks
}

/// "12.1 to 340 MB/s" of the first metric that was recorded for the phase.
fn first_to_last(points: &[PhasePoint], summary: &PhaseSummary) -> String {
    let of_phase = |point: &&PhasePoint| {
        point.target == summary.target && point.arm == summary.arm && point.phase == summary.phase
    };
    let Some(metric) = points.iter().find(of_phase).map(|point| &point.metric) else {
        return String::new();
    };
    let same = || points.iter().filter(of_phase).filter(|point| point.metric == *metric);
    let (Some(first), Some(last)) = (
        same().min_by_key(|point| point.index),
        same().max_by_key(|point| point.index),
    ) else {
        return String::new();
    };
    let figure = |point: &PhasePoint| figures::three_digits(point.value);
    if summary.phase == Phase::Start || first.index == last.index {
        return format!("{} {}", figure(last), last.unit).trim_end().to_owned();
    }
    format!("{} to {} {}", figure(first), figure(last), last.unit)
        .trim_end()
        .to_owned()
}

/// The system calls of untimed traces. A call that was looked for and not made is a 0 and stands there.
pub fn traces(traces: &[TraceCount], with_examples: bool) -> Sheet {
    let mut header = titles(&["target and arm", "call", "count", "bytes returned"]);
    if with_examples {
        header.push("for example".to_owned());
    }
    // The same call of the same arm may have been counted more than once.
    let mut sums: Vec<TraceCount> = Vec::new();
    for trace in traces {
        let same =
            |sum: &&mut TraceCount| (&sum.target, &sum.arm, &sum.call) == (&trace.target, &trace.arm, &trace.call);
        let Some(sum) = sums.iter_mut().find(same) else {
            sums.push(trace.clone());
            continue;
        };
        sum.count = sum.count.saturating_add(trace.count);
        sum.bytes = match (sum.bytes, trace.bytes) {
            (Some(one), Some(other)) => Some(one.saturating_add(other)),
            (one, other) => one.or(other),
        };
        if sum.example.is_empty() {
            sum.example.clone_from(&trace.example);
        }
    }
    let row = |sum: TraceCount| {
        let mut texts = vec![
            named(&sum.target, &sum.arm),
            sum.call,
            figures::count(sum.count),
            sum.bytes.map(figures::count).unwrap_or_default(),
        ];
        if with_examples {
            texts.push(sum.example);
        }
        SheetRow { texts, colour: None }
    };
    Sheet {
        header,
        rows: sums.into_iter().map(row).collect(),
        figures: vec![2, 3],
        mark: 1,
        narrow: vec![],
    }
}

/// The target, and what was done on it when that is known.
pub(crate) fn named(target: &str, arm: &str) -> String {
    // Arms are unique over all targets, so many carry their target's name already.
    if arm == target || arm.starts_with(&format!("{target}/")) {
        return arm.to_owned();
    }
    format!("{target} {arm}").trim_end().to_owned()
}

fn titles(titles: &[&str]) -> Vec<String> {
    titles.iter().map(|title| (*title).to_owned()).collect()
}
