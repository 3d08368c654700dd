//! What a comparison leaves: `compare.csv`, `compare.md`, `compare.junit.xml` and charts.

use std::path::Path;

use crate::charts::{self, ChartError};
use crate::estimate::CONFIDENCE;
use crate::export::{escape_xml, skipped_attribute, write_file, write_table};
use crate::schema::{Better, Factors, file};
use crate::tables;
use crate::writer::{WriteError, join_factors};

use super::{Change, Comparison, Part, Row};

/// One row per arm and metric.
pub const CSV: &str = "compare.csv";
/// The same answers as Markdown.
pub const MARKDOWN: &str = "compare.md";
/// One test case per figure that decides.
pub const JUNIT: &str = "compare.junit.xml";

const COLUMNS: [&str; 26] = [
    "experiment",
    "target",
    "cell",
    "level",
    "metric",
    "unit",
    "better",
    "decides",
    "against",
    "a_figure",
    "b_figure",
    "a_compared",
    "b_compared",
    "a_blocks",
    "b_blocks",
    "ratio",
    "low",
    "high",
    "confidence",
    "margin_low",
    "margin_high",
    "spread",
    "p_below_adjusted",
    "p_above_adjusted",
    "answer",
    "why",
];

/// Why the files could not be written.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// A file can't be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// A chart can't be drawn.
    #[error(transparent)]
    Chart(#[from] ChartError),
}

/// Writes all of them into `dir`, which is made when it isn't there.
///
/// # Errors
/// What the file system says.
pub fn write(dir: &Path, comparison: &Comparison) -> Result<(), FilesError> {
    std::fs::create_dir_all(dir).map_err(|source| WriteError::Io {
        path: dir.to_owned(),
        source,
    })?;
    let rows = comparison.parts.iter();
    let rows = rows.flat_map(|part| part.rows.iter().map(move |row| csv_row(part, row)));
    write_table(&dir.join(CSV), &COLUMNS, rows)?;
    write_file(&dir.join(JUNIT), junit(comparison).as_bytes())?;
    let charts = charts::draw_comparison(comparison, &dir.join(file::CHARTS))?;
    let markdown = tables::comparison_as_markdown(comparison, &charts);
    Ok(write_file(&dir.join(MARKDOWN), markdown.as_bytes())?)
}

fn csv_row(part: &Part, row: &Row) -> [String; COLUMNS.len()] {
    let card = &part.card;
    let metric = card.metric(&row.metric);
    let better = match metric.map(|metric| metric.better) {
        Some(Better::Higher) => "higher",
        Some(Better::Lower) => "lower",
        Some(Better::Neither) | None => "neither",
    };
    let factors: Factors = row.cell.levels.iter().cloned().collect();
    let number = |value: Option<f64>| value.map(|value| value.to_string()).unwrap_or_default();
    [
        card.name.clone(),
        part.target.clone(),
        // Levels that could not be joined were refused when the run was written.
        join_factors(&factors).unwrap_or_default(),
        row.level.clone(),
        row.metric.clone(),
        metric.map(|metric| metric.unit.clone()).unwrap_or_default(),
        better.to_owned(),
        row.gates.to_string(),
        row.reference.as_str().to_owned(),
        number(row.a.figure),
        number(row.b.figure),
        number(row.a.compared),
        number(row.b.compared),
        row.a.blocks.to_string(),
        row.b.blocks.to_string(),
        number(row.ratio.map(|ratio| ratio.ratio)),
        number(row.ratio.map(|ratio| ratio.interval.0)),
        number(row.ratio.map(|ratio| ratio.interval.1)),
        CONFIDENCE.to_string(),
        row.margin.0.to_string(),
        row.margin.1.to_string(),
        row.spread.to_string(),
        number(row.p_below),
        number(row.p_above),
        row.change.as_str().to_owned(),
        row.why.clone(),
    ]
}

/// One test case per figure that decides: a violation fails; what is open is skipped, which the exit code of a gate is not.
fn junit(comparison: &Comparison) -> String {
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
    for part in &comparison.parts {
        let suite = escape_xml(&format!("compare.{}.{}", part.card.name, part.target));
        let rows: Vec<&Row> = part.rows.iter().filter(|row| row.gates).collect();
        let count = |is: fn(Change) -> bool| rows.iter().filter(|row| is(row.change)).count();
        let (failures, mut skipped) = (count(Change::is_violation), count(Change::is_open));
        let mut cases: String = rows.iter().map(|row| case(part, &suite, row)).collect();
        let mut tests = rows.len();
        if !part.reasons.is_empty() {
            let reasons = escape_xml(&part.reasons.told().collect::<Vec<_>>().join("; "));
            cases.push_str(&format!(
                "    <testcase classname=\"{suite}\" name=\"comparable\">\n      <skipped message=\"INCOMPARABLE: \
                 {reasons}\"/>\n    </testcase>\n"
            ));
            tests += 1;
            skipped += 1;
        }
        let skipped = skipped_attribute(skipped);
        text.push_str(&format!(
            "  <testsuite name=\"{suite}\" tests=\"{tests}\" failures=\"{failures}\" errors=\"0\"{skipped}>\n{cases}  \
             </testsuite>\n"
        ));
    }
    text.push_str("</testsuites>\n");
    text
}

fn case(part: &Part, suite: &str, row: &Row) -> String {
    let cell = crate::figures::cell(&part.card, &row.cell);
    let name = escape_xml(&format!("{}: {}, {cell}", row.metric, row.level));
    let ratio = row.ratio.map(|ratio| {
        let (low, high) = ratio.interval;
        format!("B/A {} ({low} to {high}), ", ratio.ratio)
    });
    let (low, high) = row.margin;
    let mut said = format!(
        "{}margin {low} to {high}, against {}",
        ratio.unwrap_or_default(),
        row.reference.as_str()
    );
    if !row.why.is_empty() {
        said.push_str(&format!("; {}", row.why));
    }
    let said = escape_xml(&said);
    let mut text = format!(
        "    <testcase classname=\"{suite}\" name=\"{name}\">\n      <properties>\n        <property name=\"answer\" \
         value=\"{}\"/>\n        <property name=\"figures\" value=\"{said}\"/>\n      </properties>\n",
        row.change
    );
    if row.change.is_violation() {
        text.push_str(&format!(
            "      <failure type=\"{}\" message=\"{said}\"/>\n",
            row.change
        ));
    } else if row.change.is_open() {
        text.push_str(&format!("      <skipped message=\"{}: {said}\"/>\n", row.change));
    }
    text.push_str("    </testcase>\n");
    text
}
