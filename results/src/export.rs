//! `estimates.csv`, `verdicts.csv` and `junit.xml`: the answers for other programs, at full precision.

use std::path::Path;

use crate::analysis::{Analysis, ClaimFinding, ExperimentAnalysis};
use crate::estimate::{CONFIDENCE, RatioEstimate};
use crate::schema::{ClaimCard, Fact, FactVerdict, Factors, file};
use crate::tables::{FactSet, fact_sets};
use crate::verdict::Verdict;
use crate::writer::{WriteError, join_factors, replace_file};

const ESTIMATE_COLUMNS: [&str; 15] = [
    "experiment",
    "target",
    "cell",
    "level",
    "baseline",
    "metric",
    "unit",
    "ratio",
    "low",
    "high",
    "confidence",
    "p_adjusted",
    "blocks",
    "dropped",
    "noise",
];

const VERDICT_COLUMNS: [&str; 6] = ["experiment", "target", "claim", "verdict", "deciding_metric", "reason"];

/// Rewrites the three files.
///
/// # Errors
/// What the file system says.
pub fn write(dir: &Path, analysis: &Analysis) -> Result<(), WriteError> {
    let estimates = analysis.experiments.iter().flat_map(estimate_rows);
    write_table(&dir.join(file::ESTIMATES), &ESTIMATE_COLUMNS, estimates)?;
    let verdicts = analysis.experiments.iter().flat_map(|experiment| {
        experiment.claims.iter().map(|claim| {
            [
                experiment.card.name.clone(),
                experiment.target.clone(),
                claim.claim.id().to_owned(),
                claim.verdict.as_str().to_owned(),
                claim.claim.metric().to_owned(),
                claim.reason.clone(),
            ]
        })
    });
    write_table(&dir.join(file::VERDICTS), &VERDICT_COLUMNS, verdicts)?;
    write_file(&dir.join(file::JUNIT), junit(analysis).as_bytes())
}

/// One row per cell, level and metric against the baseline, one against the limit, and one per control.
fn estimate_rows(experiment: &ExperimentAnalysis) -> Vec<[String; 15]> {
    let card = &experiment.card;
    let row = |levels: &[(String, String)],
               level: &str,
               baseline: &str,
               metric: &str,
               estimate: &RatioEstimate,
               p: Option<f64>| {
        let (low, high) = estimate.interval();
        let factors: Factors = levels.iter().cloned().collect();
        [
            card.name.clone(),
            experiment.target.clone(),
            // Levels that could not be joined were refused by the writer.
            join_factors(&factors).unwrap_or_default(),
            level.to_owned(),
            baseline.to_owned(),
            metric.to_owned(),
            card.metric(metric)
                .map(|metric| metric.unit.clone())
                .unwrap_or_default(),
            estimate.ratio().to_string(),
            low.to_string(),
            high.to_string(),
            CONFIDENCE.to_string(),
            p.map(|p| p.to_string()).unwrap_or_default(),
            estimate.blocks().to_string(),
            estimate.dropped.to_string(),
            experiment
                .spread(metric)
                .map(|spread| spread.exp_m1().to_string())
                .unwrap_or_default(),
        ]
    };
    let mut rows = Vec::new();
    for (cell, arm) in experiment.arms() {
        for (metric, measured) in &arm.metrics {
            if let Some(estimate) = &measured.to_baseline {
                let judged = arm.judgement.filter(|_| *metric == card.deciding_metric);
                let p = judged.and_then(|judgement| judgement.p_adjusted);
                rows.push(row(&cell.cell.levels, &arm.level, &card.baseline, metric, estimate, p));
            }
            if let Some(estimate) = &measured.to_limit {
                let loops = card.limits_of(&arm.level);
                let ran = cell.limits.iter().map(|limit| &limit.level);
                let limit = ran
                    .into_iter()
                    .find(|bare| loops.contains(bare))
                    .map_or("", String::as_str);
                rows.push(row(&cell.cell.levels, &arm.level, limit, metric, estimate, None));
            }
        }
    }
    for found in &experiment.claims {
        let ClaimCard::Keeps {
            metric, factor, from, ..
        } = &found.claim
        else {
            continue;
        };
        for finding in &found.cells {
            if let Some(ratio) = &finding.ratio {
                let beginning = format!("{}@{factor}={from}", finding.level);
                let p = finding.judgement.p_adjusted;
                rows.push(row(&finding.cell.levels, &finding.level, &beginning, metric, ratio, p));
            }
        }
    }
    for control in &experiment.controls {
        for (metric, estimate) in &control.ratios {
            rows.push(row(
                &control.cell.levels,
                "control",
                &control.level,
                metric,
                estimate,
                None,
            ));
        }
    }
    rows
}

/// One test case per statement and per claim. Findings pass whatever they say, with the verdict as a property; what was not
/// looked up or not compared is skipped, INVALID is an error.
fn junit(analysis: &Analysis) -> String {
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
    for set in fact_sets(&analysis.facts) {
        text.push_str(&junit_facts(&set));
    }
    for experiment in &analysis.experiments {
        let errors = experiment
            .claims
            .iter()
            .filter(|claim| claim.verdict == Verdict::Invalid)
            .count();
        let suite = if experiment.card.compares_targets() {
            experiment.card.name.clone()
        } else {
            format!("{}.{}", experiment.card.name, experiment.target)
        };
        let suite = escape_xml(&suite);
        let is_skipped = |claim: &&ClaimFinding| claim.verdict == Verdict::Incomparable;
        let skipped = skipped_attribute(experiment.claims.iter().filter(is_skipped).count());
        let tests = experiment.claims.len();
        text.push_str(&format!(
            "  <testsuite name=\"{suite}\" tests=\"{tests}\" failures=\"0\" errors=\"{errors}\"{skipped}>\n"
        ));
        for claim in &experiment.claims {
            let (id, reason) = (escape_xml(claim.claim.id()), escape_xml(&claim.reason));
            text.push_str(&format!(
                "    <testcase classname=\"{suite}\" name=\"{id}\">\n      <properties>\n        <property \
                 name=\"verdict\" value=\"{}\"/>\n        <property name=\"reason\" value=\"{reason}\"/>\n      \
                 </properties>\n",
                claim.verdict
            ));
            if claim.verdict == Verdict::Invalid {
                text.push_str(&format!("      <error type=\"INVALID\" message=\"{reason}\"/>\n"));
            }
            if is_skipped(&claim) {
                text.push_str(&format!("      <skipped message=\"{reason}\"/>\n"));
            }
            text.push_str("    </testcase>\n");
        }
        text.push_str("  </testsuite>\n");
    }
    text.push_str("</testsuites>\n");
    text
}

fn junit_facts(set: &FactSet<'_>) -> String {
    let suite = escape_xml(&format!("{}.{}", set.experiment, set.target));
    let is_skipped = |fact: &&&Fact| fact.verdict == FactVerdict::NotLookedUp;
    let skipped = skipped_attribute(set.facts.iter().filter(is_skipped).count());
    let tests = set.facts.len();
    let mut text = format!("  <testsuite name=\"{suite}\" tests=\"{tests}\" failures=\"0\" errors=\"0\"{skipped}>\n");
    for fact in &set.facts {
        let (id, evidence) = (escape_xml(&fact.id), escape_xml(&fact.evidence));
        text.push_str(&format!(
            "    <testcase classname=\"{suite}\" name=\"{id}\">\n      <properties>\n        <property name=\"verdict\" \
             value=\"{}\"/>\n        <property name=\"statement\" value=\"{}\"/>\n        <property name=\"evidence\" \
             value=\"{evidence}\"/>\n      </properties>\n",
            fact.verdict.as_str(),
            escape_xml(&fact.statement),
        ));
        if is_skipped(&fact) {
            text.push_str(&format!("      <skipped message=\"{evidence}\"/>\n"));
        }
        text.push_str("    </testcase>\n");
    }
    text.push_str("  </testsuite>\n");
    text
}

/// Left out when nothing was skipped.
pub(crate) fn skipped_attribute(count: usize) -> String {
    match count {
        0 => String::new(),
        count => format!(" skipped=\"{count}\""),
    }
}

/// Escapes for an attribute, and leaves out the control characters that XML 1.0 can't hold.
pub(crate) fn escape_xml(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\t' | '\n' | '\r' => escaped.push(' '),
            control if control.is_control() => {}
            other => escaped.push(other),
        }
    }
    escaped
}

pub(crate) fn write_table<const COLUMNS: usize>(
    path: &Path,
    header: &[&str; COLUMNS],
    rows: impl Iterator<Item = [String; COLUMNS]>,
) -> Result<(), WriteError> {
    let row_error = |reason: String| WriteError::Row {
        path: path.to_owned(),
        reason,
    };
    let mut csv = csv::Writer::from_writer(Vec::new());
    csv.write_record(header).map_err(|error| row_error(error.to_string()))?;
    for row in rows {
        csv.write_record(&row).map_err(|error| row_error(error.to_string()))?;
    }
    let bytes = csv.into_inner().map_err(|error| row_error(error.to_string()))?;
    write_file(path, &bytes)
}

pub(crate) fn write_file(path: &Path, bytes: &[u8]) -> Result<(), WriteError> {
    replace_file(path, bytes).map_err(|source| WriteError::Io {
        path: path.to_owned(),
        source,
    })
}
