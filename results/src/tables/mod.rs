//! The answer as tables: coloured or plain for a terminal, Markdown for `summary.md`, rows for the HTML page.
//!
//! All three show the same rows; only this module decides what they hold.

mod compared;
mod grid;
mod load;
mod measured;
mod sheet;
mod text;
mod words;

use crate::analysis::beside::Beside;
use crate::analysis::{Analysis, ClaimFinding, ExperimentAnalysis};
use crate::figures;
pub use compared::{comparison_as_markdown, comparison_for_terminal};
pub use grid::{Grid, GridRow, Kind};
use grid::{grid_as_markdown, grid_for_terminal};
pub use load::LoadTables;
pub(crate) use measured::arm_of;
pub use measured::{all_metrics, measurements, other_ratios, side_by_side};
pub use sheet::{Sheet, SheetRow};
use sheet::{sheet_as_markdown, sheet_for_terminal};
pub(crate) use text::escape_markdown;
use text::{ansi, colour_of, wrap};
pub(crate) use words::named;
pub use words::{FactSet, fact_sets, phase_remarks, phases, settings, terms, traces};

/// The metric shown beside the deciding one, where a run has it: what the broker pays for its speed.
pub(crate) const COST_METRIC: &str = "broker_cpu_s_per_gb";

/// A line is wrapped here when the terminal's width is not known.
const TEXT_WIDTH: usize = 110;

/// What is told of an experiment: one card alone, or several beside each other.
pub(crate) enum Told<'a> {
    One(&'a ExperimentAnalysis),
    Several(&'a Beside, Vec<&'a ExperimentAnalysis>),
}

/// The experiments in the order of the manifest; cards of one name are told together.
pub(crate) fn told(analysis: &Analysis) -> Vec<Told<'_>> {
    let mut told = Vec::new();
    for (place, experiment) in analysis.experiments.iter().enumerate() {
        match analysis.beside.iter().find(|beside| beside.members.contains(&place)) {
            None => told.push(Told::One(experiment)),
            Some(beside) if beside.members.first() == Some(&place) => {
                let members = beside.members.iter().map(|member| &analysis.experiments[*member]);
                told.push(Told::Several(beside, members.collect()));
            }
            Some(_) => {}
        }
    }
    told
}

/// The tables and verdicts of a run for a terminal. Colour only when told so; `width` in columns, when known.
pub fn terminal(analysis: &Analysis, colour: bool, width: Option<u16>) -> String {
    let page = Terminal { colour, width };
    let mut sections: Vec<String> = Vec::new();
    for set in fact_sets(&analysis.facts) {
        let table = sheet_for_terminal(&set.sheet(), colour, width);
        sections.push(format!("{}\n\n{table}\n", page.wrapped("", &set.heading())));
    }
    for told in told(analysis) {
        sections.push(match told {
            Told::One(experiment) => page.experiment(experiment),
            Told::Several(beside, members) => page.beside(analysis, beside, &members),
        });
    }
    if let Some(found) = &analysis.terms {
        sections.push(page.terms(found));
    }
    if !analysis.phases.is_empty() {
        let table = sheet_for_terminal(&phases(analysis), colour, width);
        let remarks = page.notes(&phase_remarks(&analysis.phases));
        sections.push(
            format!("Before the measurement\n\n{table}\n\n{remarks}")
                .trim_end()
                .to_owned()
                + "\n",
        );
    }
    if !analysis.traces.is_empty() {
        let table = sheet_for_terminal(&traces(&analysis.traces, false), colour, width);
        sections.push(format!("System calls, untimed\n\n{table}\n"));
    }
    let notes = page.notes(&analysis.notes);
    match sections.last_mut() {
        Some(last) => last.push_str(&notes),
        None if !notes.is_empty() => sections.push(notes),
        None => {}
    }
    sections.iter().map(|section| format!("{section}\n")).collect()
}

/// How a terminal is written to.
#[derive(Clone, Copy)]
struct Terminal {
    colour: bool,
    width: Option<u16>,
}

impl Terminal {
    fn experiment(self, experiment: &ExperimentAnalysis) -> String {
        let mut text = format!("{}\n\n", self.wrapped("", &heading(experiment)));
        text.push_str(&self.grid(&measurements(experiment)));
        if let Some(ratios) = other_ratios(experiment) {
            text.push_str(&format!("Ratios to {}\n\n", experiment.card.baseline));
            text.push_str(&self.grid(&ratios));
        }
        for claim in &experiment.claims {
            text.push_str(&self.claim(claim, None));
        }
        text.push_str(&self.notes(&remarks(experiment)));
        text
    }

    /// One table for all cards, then the claims of each.
    fn beside(self, analysis: &Analysis, beside: &Beside, members: &[&ExperimentAnalysis]) -> String {
        let mut text = format!("{}\n\n", self.wrapped("", &heading_beside(members)));
        text.push_str(&self.grid(&side_by_side(beside, &analysis.experiments)));
        for experiment in members {
            for claim in &experiment.claims {
                text.push_str(&self.claim(claim, Some(&experiment.target)));
            }
        }
        text.push_str(&self.notes(&remarks_beside(beside, members)));
        for experiment in members {
            let said = remarks(experiment).into_iter();
            let said: Vec<String> = said.map(|remark| format!("{}: {remark}", experiment.target)).collect();
            text.push_str(&self.notes(&said));
        }
        text
    }

    fn terms(self, found: &crate::terms::EqualTerms) -> String {
        let table = sheet_for_terminal(&terms(found), self.colour, self.width);
        let mut text = format!("On which terms\n\n{table}\n");
        if !found.settings.is_empty() {
            let told = format!(
                "{} settings are not at the default of every target; report.html lists them.",
                found.settings.len()
            );
            text.push_str(&self.notes(&[told]));
        }
        for (target, sentence) in &found.differences {
            text.push_str(&self.notes(&[format!("{target}: {sentence}")]));
        }
        text
    }

    fn grid(self, grid: &Grid) -> String {
        if grid.rows.is_empty() {
            return String::new();
        }
        format!("{}\n\n", grid_for_terminal(grid, self.colour, self.width))
    }

    fn claim(self, claim: &ClaimFinding, target: Option<&str>) -> String {
        let label = format!("{:<12}", claim.verdict.as_str());
        let label = if self.colour {
            ansi(colour_of(claim.verdict), &label)
        } else {
            label
        };
        let room = self.text_width().saturating_sub(14);
        let said = match target {
            Some(target) => format!("{target}: {}", claim.claim.text()),
            None => claim.claim.text().to_owned(),
        };
        let lines = wrap(&said, room).into_iter().chain(wrap(&claim.reason, room));
        let mut text = String::new();
        for (index, line) in lines.enumerate() {
            let lead = if index == 0 {
                format!("{label}  ")
            } else {
                " ".repeat(14)
            };
            text.push_str(&format!("{lead}{line}\n"));
        }
        text
    }

    fn notes(self, notes: &[String]) -> String {
        let mut text = String::new();
        for note in notes {
            text.push_str(&self.wrapped("Note: ", note));
            text.push('\n');
        }
        text
    }

    /// A text with a lead, its other lines below the first.
    fn wrapped(self, lead: &str, text: &str) -> String {
        let lines = wrap(text, self.text_width().saturating_sub(lead.len()));
        let indent = " ".repeat(lead.len());
        let lines = lines.iter().enumerate().map(|(index, line)| match index {
            0 => format!("{lead}{line}"),
            _ => format!("{indent}{line}"),
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    fn text_width(self) -> usize {
        self.width
            .map_or(TEXT_WIDTH, |width| usize::from(width).clamp(40, TEXT_WIDTH))
    }
}

/// The tables and verdicts of a run as Markdown.
pub fn markdown(analysis: &Analysis) -> String {
    let mut text = String::new();
    for set in fact_sets(&analysis.facts) {
        text.push_str(&format!("## {}\n\n", escape_markdown(&set.heading())));
        text.push_str(&sheet_as_markdown(&set.sheet()));
        text.push('\n');
    }
    for told in told(analysis) {
        match told {
            Told::One(experiment) => {
                text.push_str(&format!("## {}\n\n", escape_markdown(&heading(experiment))));
                for claim in &experiment.claims {
                    text.push_str(&claim_line(claim, None));
                }
                text.push('\n');
                text.push_str(&card_as_markdown(experiment));
            }
            Told::Several(beside, members) => {
                text.push_str(&format!("## {}\n\n", escape_markdown(&heading_beside(&members))));
                for experiment in &members {
                    for claim in &experiment.claims {
                        text.push_str(&claim_line(claim, Some(&experiment.target)));
                    }
                }
                text.push('\n');
                text.push_str(&grid_as_markdown(&side_by_side(beside, &analysis.experiments)));
                text.push('\n');
                text.push_str(&list(&remarks_beside(beside, &members)));
                for experiment in members {
                    text.push_str(&format!("\n### {}\n\n", escape_markdown(&heading(experiment))));
                    text.push_str(&card_as_markdown(experiment));
                }
            }
        }
    }
    if let Some(found) = &analysis.terms {
        text.push_str("\n## On which terms\n\n");
        text.push_str(&sheet_as_markdown(&terms(found)));
        if !found.settings.is_empty() {
            text.push_str("\nSettings that are not at the default of every target:\n\n");
            text.push_str(&sheet_as_markdown(&settings(found)));
        }
        let said = found.differences.iter();
        let said: Vec<String> = said.map(|(target, sentence)| format!("{target}: {sentence}")).collect();
        text.push_str(&format!("\n{}", list(&said)));
    }
    if !analysis.phases.is_empty() {
        text.push_str("\n## Before the measurement\n\n");
        text.push_str(&sheet_as_markdown(&phases(analysis)));
        text.push_str(&format!("\n{}", list(&phase_remarks(&analysis.phases))));
    }
    if !analysis.traces.is_empty() {
        text.push_str("\n## System calls, untimed\n\n");
        text.push_str(&sheet_as_markdown(&traces(&analysis.traces, true)));
        text.push('\n');
    }
    text.push_str(&list(&analysis.notes));
    text
}

fn card_as_markdown(experiment: &ExperimentAnalysis) -> String {
    let mut text = String::new();
    for grid in [Some(measurements(experiment)), other_ratios(experiment)]
        .into_iter()
        .flatten()
    {
        if !grid.rows.is_empty() {
            text.push_str(&grid_as_markdown(&grid));
            text.push('\n');
        }
    }
    text.push_str(&list(&remarks(experiment)));
    text
}

fn list(lines: &[String]) -> String {
    lines
        .iter()
        .map(|line| format!("- {}\n", escape_markdown(line)))
        .collect()
}

/// The experiment's title, with the target and how many blocks there are.
pub(crate) fn heading(experiment: &ExperimentAnalysis) -> String {
    let target = match experiment.target.split_once('+') {
        _ if experiment.target.is_empty() => String::new(),
        Some(_) => format!(
            ", targets {}",
            and_list(&experiment.target.split('+').collect::<Vec<_>>())
        ),
        None => format!(", target {}", experiment.target),
    };
    let card = &experiment.card;
    format!(
        "{} ({}{target}, {}, {} blocks)",
        card.title, card.name, card.transport, experiment.blocks
    )
}

/// The title of the first card, with all targets.
pub(crate) fn heading_beside(members: &[&ExperimentAnalysis]) -> String {
    let targets: Vec<&str> = members.iter().map(|experiment| experiment.target.as_str()).collect();
    let blocks = members.iter().map(|experiment| experiment.blocks).max().unwrap_or(0);
    let card = members.first().map(|experiment| &experiment.card);
    let (title, name, transport) = card.map_or(("", "", ""), |card| (&card.title, &card.name, &card.transport));
    format!(
        "{title} ({name}, targets {}, {transport}, {blocks} blocks)",
        and_list(&targets)
    )
}

/// "a", "a and b", "a, b and c".
fn and_list(words: &[&str]) -> String {
    match words {
        [most @ .., last] if !most.is_empty() => format!("{} and {last}", most.join(", ")),
        _ => words.concat(),
    }
}

/// How the table with all cards is to be read, and what stands in the way of comparing their targets.
pub(crate) fn remarks_beside(beside: &Beside, members: &[&ExperimentAnalysis]) -> Vec<String> {
    let Some((first, _)) = members.split_first() else {
        return Vec::new();
    };
    let own = members
        .iter()
        .map(|experiment| format!("{} {}", experiment.target, experiment.card.baseline));
    let own: Vec<String> = own.collect();
    let own: Vec<&str> = own.iter().map(String::as_str).collect();
    let mut remarks = vec![format!(
        "Every arm is held against the baseline of its own target ({}); the ratio to {} {} is taken in the same blocks and \
         compares whole targets, not the mechanism.",
        and_list(&own),
        first.target,
        first.card.baseline
    )];
    remarks.extend(beside.incomparable.iter().cloned());
    remarks
}

/// What has to be said beside the figures: notes, the A/A control, drift.
pub(crate) fn remarks(experiment: &ExperimentAnalysis) -> Vec<String> {
    let card = &experiment.card;
    let mut remarks = confounded(experiment);
    remarks.extend(figures::cell_legend(card).map(|legend| format!("A cell is named by {legend}.")));
    remarks.extend(experiment.incomparable.values().cloned());
    for control in &experiment.controls {
        if let Some(ratio) = control.ratios.get(&card.deciding_metric) {
            remarks.push(format!(
                "Two equal arms ({} at {}) came out at {} of each other; no smaller effect is called one.",
                control.level,
                figures::cell(card, &control.cell),
                figures::ratio_with_interval(ratio),
            ));
        }
    }
    for unsteady in &experiment.unsteady {
        remarks.push(format!(
            "{} was not steady: the last third of its window ran at {} of the first.",
            unsteady.arm,
            figures::ratio_with_interval(&unsteady.drift)
        ));
    }
    remarks.extend(experiment.notes.iter().cloned());
    remarks
}

fn claim_line(claim: &ClaimFinding, target: Option<&str>) -> String {
    let target = target.map(|target| format!("{}: ", escape_markdown(target)));
    format!(
        "- **{}** {}{}. {}\n",
        claim.verdict,
        target.unwrap_or_default(),
        escape_markdown(claim.claim.text().trim_end_matches('.')),
        escape_markdown(&claim.reason)
    )
}

/// What else differs between the levels under test, so that nobody takes the difference for the mechanism's alone.
fn confounded(experiment: &ExperimentAnalysis) -> Vec<String> {
    let card = &experiment.card;
    if card.also_differs.is_empty() {
        return Vec::new();
    }
    let levels = card.factor(&card.treatment).map_or(&[][..], |factor| &factor.levels);
    let levels: Vec<&str> = levels.iter().map(String::as_str).collect();
    vec![format!(
        "More than one thing differs between {}: {}",
        and_list(&levels),
        card.also_differs.join(" ")
    )]
}
