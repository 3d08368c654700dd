//! Findings for people and for CI: a plain-text table and JUnit.
//!
//! Nothing is printed here: the callers write the text where they like. JSON comes from serde.

use std::fmt::Write;

use crate::findings::{Anomaly, Example, Findings, Outcome};

/// The findings as text: one line per check, the examples of what is violated, the verdict last.
pub fn text(findings: &Findings) -> String {
    let mut out = String::new();
    // Writing to a string can't fail.
    let mut line = |text: String| {
        let _ = writeln!(out, "{}", text.trim_end());
    };
    line(format!("scenario {}", findings.scenario));
    line(format!(
        "records  {} sent, {} acknowledged, {} read from the log; of {} indeterminate ones {} are in the log",
        findings.sent,
        findings.acknowledged,
        findings.delivered,
        findings.indeterminate_present + findings.indeterminate_absent,
        findings.indeterminate_present,
    ));
    let recovered = findings.faults.iter().filter(|fault| fault.recovered).count();
    line(format!(
        "faults   {} injected, {recovered} recovered from",
        findings.faults.len()
    ));
    line(String::new());
    let width = |of: fn(&crate::findings::Check) -> &str| {
        findings
            .checks
            .iter()
            .map(|check| of(check).chars().count())
            .max()
            .unwrap_or(0)
            .max(9)
    };
    let (name, expected, observed) = (
        width(|check| &check.name),
        width(|check| &check.expected),
        width(|check| &check.observed),
    );
    line(format!(
        "{:name$}  {:expected$}  {:observed$}  outcome",
        "invariant", "expected", "observed"
    ));
    for check in &findings.checks {
        let reason = if check.reason.is_empty() {
            String::new()
        } else {
            format!(": {}", check.reason)
        };
        let (a, b, c) = (&check.name, &check.expected, &check.observed);
        line(format!(
            "{a:name$}  {b:expected$}  {c:observed$}  {}{reason}",
            check.outcome
        ));
    }
    for check in findings
        .checks
        .iter()
        .filter(|check| check.outcome == Outcome::Violated)
    {
        let Some(anomaly) = anomaly(findings, &check.name).filter(|anomaly| !anomaly.examples.is_empty()) else {
            continue;
        };
        line(String::new());
        line(format!(
            "{}: the first {} of {}",
            check.name,
            anomaly.examples.len(),
            anomaly.count
        ));
        for one in &anomaly.examples {
            line(format!("  {}", example(one)));
        }
    }
    line(String::new());
    line(format!("verdict  {}", findings.verdict));
    out
}

/// The anomaly behind a check.
fn anomaly<'a>(findings: &'a Findings, check: &str) -> Option<&'a Anomaly> {
    Some(match check {
        "lost" => &findings.lost,
        "torn" => &findings.torn,
        "corrupted" => &findings.corrupted,
        "never_sent" => &findings.never_sent,
        "reordered" => &findings.reordered,
        "log_duplicates" => &findings.log_duplicates,
        "offsets_dense" => &findings.not_dense,
        _ => return None,
    })
}

/// One example as a line: whose record, where, when.
fn example(example: &Example) -> String {
    let mut parts = vec![format!("partition {}", example.partition)];
    parts.extend(example.producer.map(|producer| format!("producer {producer}")));
    parts.extend(example.sequence.map(|first| match example.records {
        0 | 1 => format!("sequence {first}"),
        records => format!("sequences {first} to {}", first.saturating_add(records - 1)),
    }));
    parts.extend(example.offset.map(|offset| format!("offset {offset}")));
    if !example.detail.is_empty() {
        parts.push(example.detail.clone());
    }
    let verb = if example.acknowledged_ns.is_some() {
        "acknowledged"
    } else {
        "sent"
    };
    parts.extend(example.window.map(|window| format!("{verb} {window}")));
    parts.join(", ")
}

/// The findings as a JUnit file: one test case per check. Violations are failures; what is unknown is an error.
pub fn junit(findings: &Findings) -> String {
    let count = |outcome| findings.checks.iter().filter(|check| check.outcome == outcome).count();
    let suite = escape(&findings.scenario);
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let _ = writeln!(
        out,
        "<testsuite name=\"chaos.{suite}\" tests=\"{}\" failures=\"{}\" errors=\"{}\">",
        findings.checks.len(),
        count(Outcome::Violated),
        count(Outcome::Unknown),
    );
    for check in &findings.checks {
        let name = escape(&check.name);
        let message = escape(&format!("expected {}, observed {}", check.expected, check.observed));
        let _ = match check.outcome {
            Outcome::Holds | Outcome::Counted => {
                writeln!(out, "  <testcase classname=\"chaos.{suite}\" name=\"{name}\"/>")
            }
            Outcome::Violated => {
                let examples = anomaly(findings, &check.name).map_or(&[][..], |anomaly| &anomaly.examples);
                let lines: Vec<String> = examples.iter().map(|one| escape(&example(one))).collect();
                writeln!(
                    out,
                    "  <testcase classname=\"chaos.{suite}\" name=\"{name}\"><failure message=\"{message}\">{}</failure></testcase>",
                    lines.join("\n"),
                )
            }
            Outcome::Unknown => writeln!(
                out,
                "  <testcase classname=\"chaos.{suite}\" name=\"{name}\"><error message=\"{message}\">{}</error></testcase>",
                escape(&check.reason),
            ),
        };
    }
    out.push_str("</testsuite>\n");
    out
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
