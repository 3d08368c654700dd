//! Two runs against each other, for a terminal and as Markdown.

use std::collections::BTreeMap;

use comfy_table::Color;

use crate::compare::{Change, Comparison, FactChange, Identity, Part, Reference, Row};
use crate::figures;
use crate::schema::{Better, MetricCard};

use super::sheet::{Sheet, SheetRow, sheet_as_markdown, sheet_for_terminal};
use super::text::{ansi, escape_markdown};
use super::{Terminal, list};

/// The comparison for a terminal. Colour only when told so; `width` in columns, when known.
pub fn comparison_for_terminal(comparison: &Comparison, colour: bool, width: Option<u16>) -> String {
    let page = Terminal { colour, width };
    let mut text = String::new();
    for line in head(comparison) {
        text.push_str(&format!("{}\n", page.wrapped("", &line)));
    }
    for part in &comparison.parts {
        text.push_str(&format!("\n{}\n\n", page.wrapped("", &heading(part))));
        for reason in part.reasons.told() {
            text.push_str(&format!("{}\n", page.wrapped("INCOMPARABLE  ", reason)));
        }
        for section in sections(part) {
            text.push_str(&format!("{}\n", page.wrapped("", &section.title)));
            if let Some(sheet) = section.sheet {
                text.push_str(&format!("\n{}\n\n", sheet_for_terminal(&sheet, colour, width)));
            }
        }
        text.push_str(&page.notes(&remarks(part)));
    }
    if !comparison.facts.is_empty() {
        text.push_str(&format!("\n{}\n", page.wrapped("", &facts(&comparison.facts))));
    }
    text.push_str(&page.notes(&comparison.notes));
    let verdict = comparison.verdict();
    let word = if colour {
        ansi(colour_of(verdict), verdict.as_str())
    } else {
        verdict.as_str().to_owned()
    };
    text.push_str(&format!("\n{word}  {}\n", page.wrapped("", &answer(comparison))));
    text
}

/// The comparison as Markdown, with charts (name without ending, title) from the folder `charts`.
pub fn comparison_as_markdown(comparison: &Comparison, charts: &[(String, String)]) -> String {
    let escape = escape_markdown;
    let mut text = String::new();
    if !comparison.allowed.is_empty() {
        text.push_str(&format!("**{}**\n\n", escape(&different(comparison))));
    }
    text.push_str("# B against A\n\n");
    text.push_str(&format!(
        "**{}** {}\n\n",
        comparison.verdict(),
        escape(&answer(comparison))
    ));
    text.push_str(&list(&[side("A", &comparison.a), side("B", &comparison.b)]));
    for part in &comparison.parts {
        text.push_str(&format!("\n## {}\n\n", escape(&heading(part))));
        for reason in part.reasons.told() {
            text.push_str(&format!("- **INCOMPARABLE** {}\n", escape(reason)));
        }
        for section in sections(part) {
            text.push_str(&format!("{}\n\n", escape(&section.title)));
            if let Some(sheet) = section.sheet {
                text.push_str(&format!("{}\n", sheet_as_markdown(&sheet)));
            }
        }
        text.push_str(&list(&remarks(part)));
    }
    if !comparison.facts.is_empty() {
        text.push_str(&format!("\n{}\n\n", escape(&facts(&comparison.facts))));
    }
    text.push_str(&list(&comparison.notes));
    for (name, title) in charts {
        text.push_str(&format!("\n![{}](charts/{name}.svg)\n", escape(title)));
    }
    text
}

/// What stands above everything: a difference that was allowed, and which runs these are.
fn head(comparison: &Comparison) -> Vec<String> {
    let mut lines = Vec::new();
    if !comparison.allowed.is_empty() {
        lines.push(different(comparison));
    }
    lines.extend([side("A", &comparison.a), side("B", &comparison.b)]);
    lines
}

fn different(comparison: &Comparison) -> String {
    format!(
        "Different machines, compared because it was asked for: {}.",
        comparison.allowed.join("; ")
    )
}

fn side(name: &str, identity: &Identity) -> String {
    let manifest = &identity.manifest;
    let revision = manifest.git_revision.as_ref().map(|revision| format!(" ({revision})"));
    format!(
        "{name}  {}: {} of {}, Assay {}{}",
        identity.folder,
        manifest.name,
        manifest.started_utc,
        manifest.assay_version,
        revision.unwrap_or_default()
    )
}

fn heading(part: &Part) -> String {
    let card = &part.card;
    let target = part.target.replace('+', ", ");
    let of_target = if target.is_empty() {
        String::new()
    } else {
        format!(" on {target}")
    };
    format!("{} ({}{of_target}, {})", card.title, card.name, card.transport)
}

/// The remarks of an experiment, and why its deciding figures have the answers they have, where they don't tell themselves.
fn remarks(part: &Part) -> Vec<String> {
    let mut arms: BTreeMap<(&str, Change), Vec<String>> = BTreeMap::new();
    for row in part.rows.iter().filter(|row| row.gates && !row.why.is_empty()) {
        let arm = format!("{} at {}", row.level, figures::cell(&part.card, &row.cell));
        arms.entry((&row.why, row.change)).or_default().push(arm);
    }
    let why = arms
        .into_iter()
        .map(|((why, change), arms)| format!("{change}, {why}: {}.", arms.join("; ")));
    part.remarks.iter().cloned().chain(why).collect()
}

/// A title, and a table where a sentence does not do.
struct Section {
    title: String,
    sheet: Option<Sheet>,
}

/// The deciding metrics first, each with all its rows; of the others only what differs.
fn sections(part: &Part) -> Vec<Section> {
    let mut sections = Vec::new();
    for metric in &part.card.metrics {
        let rows: Vec<&Row> = part
            .rows
            .iter()
            .filter(|row| row.gates && row.metric == metric.name)
            .collect();
        if !rows.is_empty() {
            sections.push(deciding(part, metric, &rows));
        }
    }
    let explains: Vec<&Row> = part.rows.iter().filter(|row| !row.gates).collect();
    let found = summed_up(part, &explains);
    if !found.rows.is_empty() {
        sections.push(Section {
            title: "What else differs; it explains and does not decide".to_owned(),
            sheet: Some(found),
        });
    } else if !explains.is_empty() {
        sections.push(Section {
            title: format!(
                "Among {} other figures, which only explain, none surely differs.",
                explains.len()
            ),
            sheet: None,
        });
    }
    sections
}

fn deciding(part: &Part, metric: &MetricCard, rows: &[&Row]) -> Section {
    let unit = if metric.unit.is_empty() {
        String::new()
    } else {
        format!(", {}", metric.unit)
    };
    let better = match metric.better {
        Better::Higher => ", higher is better",
        Better::Lower => ", lower is better",
        Better::Neither => "",
    };
    let title = format!("{}{unit}{better}", metric.label);
    let same = |change: Change| rows.iter().all(|row| row.change == change);
    if same(Change::Equal) {
        let arms = if rows.len() == 1 {
            "the one arm".to_owned()
        } else {
            format!("all {} arms", rows.len())
        };
        return Section {
            title: format!("{title}: the very same figures in {arms}."),
            sheet: None,
        };
    }
    if same(Change::Incomparable) && rows.iter().all(|row| row.why.is_empty()) {
        return Section {
            title: format!("{title}: not compared."),
            sheet: None,
        };
    }
    Section {
        title,
        sheet: Some(sheet(part, rows)),
    }
}

fn sheet(part: &Part, rows: &[&Row]) -> Sheet {
    let card = &part.card;
    let treatment = card
        .factor(&card.treatment)
        .map_or(card.treatment.as_str(), |factor| &factor.label);
    let header = ["Cell", treatment, "Against", "A", "B", "B/A (95 %)", "Answer"];
    let rows = rows.iter().map(|row| {
        let compared = |value: Option<f64>| match (value, &row.reference) {
            (None, _) => "absent".to_owned(),
            (Some(value), Reference::Nothing) => figures::three_digits(value),
            (Some(value), _) => figures::ratio(value),
        };
        let against = match &row.reference {
            Reference::Nothing => "–",
            held => held.as_str(),
        };
        SheetRow {
            texts: vec![
                figures::cell(card, &row.cell),
                row.level.clone(),
                against.to_owned(),
                compared(row.a.compared),
                compared(row.b.compared),
                ratio(row),
                row.change.to_string(),
            ],
            colour: Some(colour_of(row.change)),
        }
    });
    Sheet {
        rows: rows.collect(),
        figures: vec![3, 4, 5],
        mark: header.len() - 1,
        narrow: Vec::new(),
        header: header.map(str::to_owned).to_vec(),
    }
}

/// What surely differs among the figures that explain: for each metric and answer, in how many arms and by how much. The arms
/// stand in `compare.csv`.
fn summed_up(part: &Part, rows: &[&Row]) -> Sheet {
    let mut found = Vec::new();
    for metric in &part.card.metrics {
        let of_metric: Vec<&&Row> = rows.iter().filter(|row| row.metric == metric.name).collect();
        for change in [Change::Regressed, Change::Changed, Change::Improved] {
            let such: Vec<&&&Row> = of_metric.iter().filter(|row| row.change == change).collect();
            if such.is_empty() {
                continue;
            }
            let ratios = such.iter().filter_map(|row| row.ratio).map(|ratio| ratio.ratio);
            let (low, high) = ratios.fold((f64::INFINITY, 0.0_f64), |(low, high), ratio| {
                (low.min(ratio), high.max(ratio))
            });
            let span = match (figures::ratio(low), figures::ratio(high)) {
                _ if high == 0.0 => "–".to_owned(),
                (low, high) if low == high => low,
                (low, high) => format!("{low} to {high}"),
            };
            found.push(SheetRow {
                texts: vec![
                    metric.label.clone(),
                    format!("{} of {}", such.len(), of_metric.len()),
                    span,
                    change.to_string(),
                ],
                colour: Some(colour_of(change)),
            });
        }
    }
    let header = ["Metric", "Arms", "B/A", "Answer"];
    Sheet {
        rows: found,
        figures: vec![1, 2],
        mark: header.len() - 1,
        narrow: Vec::new(),
        header: header.map(str::to_owned).to_vec(),
    }
}

fn ratio(row: &Row) -> String {
    let bare = |value: f64| figures::ratio(value).trim_end_matches('x').to_owned();
    match row.ratio {
        None => "–".to_owned(),
        Some(found) if found.is_exact() => figures::ratio(found.ratio),
        Some(found) => {
            let (low, high) = found.interval;
            format!("{} ({}–{})", figures::ratio(found.ratio), bare(low), bare(high))
        }
    }
}

fn facts(facts: &[FactChange]) -> String {
    let changed: Vec<String> = facts
        .iter()
        .filter(|fact| fact.a != fact.b)
        .map(|fact| format!("{} was {} and is {}", fact.id, fact.a.label(), fact.b.label()))
        .collect();
    let looked_up = format!("{} statements were looked up in both runs", facts.len());
    match changed.as_slice() {
        [] => format!("{looked_up}, all with the same answer."),
        changed => format!(
            "{looked_up}; {} have another answer: {}.",
            changed.len(),
            changed.join("; ")
        ),
    }
}

/// How many of the deciding figures became what.
fn answer(comparison: &Comparison) -> String {
    let counts = Change::ALL.into_iter().filter_map(|change| {
        let count = comparison.deciding().filter(|row| row.change == change).count();
        (count > 0).then(|| format!("{count} {}", change.as_str().to_lowercase()))
    });
    let counts: Vec<String> = counts.collect();
    match comparison.deciding().count() {
        0 if !comparison.facts.is_empty() => "No figures; the statements were compared.".to_owned(),
        0 => "Nothing could be compared.".to_owned(),
        1 => format!("The one figure that decides: {}.", counts.join(", ")),
        all => format!("Of {all} figures that decide: {}.", counts.join(", ")),
    }
}

fn colour_of(change: Change) -> Color {
    match change {
        Change::Improved => Color::Green,
        Change::Regressed | Change::Incomparable => Color::Red,
        Change::Changed | Change::Inconclusive => Color::Yellow,
        Change::Equivalent | Change::Equal => Color::Blue,
    }
}
