//! Findings for people and for CI: a plain-text table and JUnit.
//!
//! Nothing is printed here: the callers write the text where they like. JSON comes from serde.

mod group;

use std::fmt::Write;

use workloads::history::FaultKind;

use crate::findings::{Anomaly, Check, CheckKind, EXAMPLES_MAX, Example, Findings, Outcome, Verdict};

/// The findings as text: what was counted, one line per check, the examples of what is violated, the verdict last.
///
/// `colour` adds ANSI colours to outcomes and verdict, for a terminal.
pub fn text(findings: &Findings, colour: bool) -> String {
    let mut blocks = vec![ledger(findings)];
    blocks.extend(findings.group.as_ref().map(group::ledger));
    blocks.extend([
        checks(findings, CheckKind::Invariant, "invariant", colour),
        checks(findings, CheckKind::Condition, "could it have failed?", colour),
    ]);
    blocks.extend(findings.group.as_ref().and_then(group::rebalances));
    let violated = findings
        .checks
        .iter()
        .filter(|check| check.outcome == Outcome::Violated);
    blocks.extend(violated.filter_map(|check| examples(findings, check)));
    blocks.extend(unheard(findings));
    blocks.push(verdict(findings, colour));
    blocks.join("\n")
}

/// What the histories count, judged or not.
fn ledger(findings: &Findings) -> String {
    let undecided = findings.indeterminate_present + findings.indeterminate_absent;
    let bit = findings.faults.iter().filter(|fault| fault.evidence > 0).count() as u64;
    let interrupting = findings.faults.iter().filter(|fault| fault.interrupted > 0).count();
    let interrupted: u64 = findings.faults.iter().map(|fault| fault.interrupted).sum();
    let present = grouped(findings.indeterminate_present);
    let are_kills = findings.faults.iter().all(|fault| fault.kind == FaultKind::Kill);
    let mut rows = vec![
        ("acknowledged", findings.acknowledged, String::new()),
        ("read back", findings.delivered, "each occurrence in the log".to_owned()),
        (
            "lost",
            findings.lost.count,
            "acknowledged, and not in the log".to_owned(),
        ),
        (
            "duplicated",
            findings.log_duplicates.count,
            "further occurrences in the log".to_owned(),
        ),
        (
            "reordered",
            findings.reordered.count,
            "behind a later record of their producer".to_owned(),
        ),
        (
            "torn",
            findings.torn.count,
            "in a batch that does not add up".to_owned(),
        ),
        (
            "undecided",
            undecided,
            format!("never answered; {present} of them are in the log"),
        ),
        (
            if are_kills { "kills" } else { "faults" },
            bit,
            format!(
                "with evidence; {interrupting} of them cut off {} batches under way",
                grouped(interrupted)
            ),
        ),
    ];
    if !are_kills {
        let meaning = format!(
            "applied batches whose acknowledgement was lost; {} records of them came again",
            grouped(findings.resent)
        );
        rows.push(("unheard", findings.answers_lost, meaning));
    }
    let shown: Vec<(&str, String, String)> = rows
        .into_iter()
        .map(|(name, count, meaning)| (name, grouped(count), meaning))
        .collect();
    let width = shown.iter().map(|row| row.1.len()).max().unwrap_or(0);
    let mut out = String::new();
    for (name, count, meaning) in &shown {
        line(&mut out, &format!("{name:12}  {count:>width$}  {meaning}"));
    }
    out
}

/// One table of checks.
fn checks(findings: &Findings, kind: CheckKind, title: &str, colour: bool) -> String {
    let checks: Vec<&Check> = findings.checks.iter().filter(|check| check.kind == kind).collect();
    let width = |title: &str, of: fn(&Check) -> &str| {
        let widths = checks.iter().map(|check| of(check).chars().count());
        widths.max().unwrap_or(0).max(title.chars().count())
    };
    let name = width(title, |check| &check.name);
    let observed = width("observed", |check| &check.observed);
    let expected = width("asked for", |check| &check.expected);
    let mut out = String::new();
    line(
        &mut out,
        &format!(
            "{title:name$}  {:>observed$}  {:expected$}  outcome",
            "observed", "asked for"
        ),
    );
    for check in checks {
        let outcome = match check.outcome {
            Outcome::Violated => painted(&check.outcome.to_string(), RED, colour),
            Outcome::Unknown => painted(&check.outcome.to_string(), YELLOW, colour),
            Outcome::Holds | Outcome::Counted => check.outcome.to_string(),
        };
        let reason = if check.reason.is_empty() {
            String::new()
        } else {
            format!(": {}", check.reason)
        };
        let (a, b, c) = (&check.name, &check.observed, &check.expected);
        line(
            &mut out,
            &format!("{a:name$}  {b:>observed$}  {c:expected$}  {outcome}{reason}"),
        );
    }
    out
}

/// The first instances of a violated invariant; `None` when there are none to show.
fn examples(findings: &Findings, check: &Check) -> Option<String> {
    let (count, lines) = instances(findings, &check.name)?;
    if lines.is_empty() {
        return None;
    }
    let mut out = String::new();
    line(
        &mut out,
        &format!("{}: {} in all, the first", check.name, grouped(count)),
    );
    for one in &lines {
        line(&mut out, &format!("  {one}"));
    }
    Some(out)
}

/// How many instances there are behind a check, and the first ones as lines.
fn instances(findings: &Findings, check: &str) -> Option<(u64, Vec<String>)> {
    if let Some(anomaly) = anomaly(findings, check) {
        return Some((anomaly.count, anomaly.examples.iter().map(example).collect()));
    }
    let anomaly = group::anomaly(findings.group.as_ref()?, check)?;
    Some((anomaly.count, anomaly.examples.iter().map(group::instance).collect()))
}

/// Whose acknowledgements were lost to which fault, and what became of the records; `None` when none was.
fn unheard(findings: &Findings) -> Option<String> {
    if findings.unheard.is_empty() {
        return None;
    }
    let kind = |fault: u32| {
        let found = findings.faults.iter().find(|found| found.fault == fault);
        found.map_or("the client had left".to_owned(), |found| {
            format!("fault {fault}, {}", found.kind.name())
        })
    };
    let shown = findings.unheard.len().min(EXAMPLES_MAX);
    let mut out = String::new();
    let title = format!(
        "acknowledgements lost: {} in all, the first",
        grouped(findings.answers_lost)
    );
    line(&mut out, &title);
    for one in &findings.unheard[..shown] {
        let last = one.sequence.saturating_add(one.records.saturating_sub(1));
        let what = format!(
            "  {}: producer {}, partition {}, sequences {} to {last}: {} acknowledged when sent again, {} twice in the log",
            kind(one.fault),
            one.producer,
            one.partition,
            one.sequence,
            one.acknowledged_later,
            one.duplicated
        );
        line(&mut out, &what);
    }
    Some(out)
}

/// The verdict and what it follows from.
fn verdict(findings: &Findings, colour: bool) -> String {
    let (paint, reason) = match findings.verdict {
        Verdict::Holds => (
            GREEN,
            "every invariant holds, and every fault was seen to bite".to_owned(),
        ),
        Verdict::Violated => (RED, findings.names(Outcome::Violated).join(", ")),
        Verdict::Inconclusive => (
            YELLOW,
            format!("unknown: {}", findings.names(Outcome::Unknown).join(", ")),
        ),
    };
    let verdict = painted(&findings.verdict.to_string(), paint, colour);
    format!("{}: {verdict} ({reason})\n", findings.scenario)
}

/// Codes of ANSI colours (bold).
const RED: &str = "1;31";
const GREEN: &str = "1;32";
const YELLOW: &str = "1;33";

fn painted(text: &str, code: &str, colour: bool) -> String {
    if colour {
        format!("\x1b[{code}m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}

fn line(out: &mut String, text: &str) {
    out.push_str(text.trim_end());
    out.push('\n');
}

/// A count with a comma before each third digit.
fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
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
        "log_duplicates" if findings.unexplained.count > 0 => &findings.unexplained,
        "log_duplicates" if findings.not_repeated.count > 0 => &findings.not_repeated,
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
                let lines = instances(findings, &check.name).map_or_else(Vec::new, |(_, lines)| lines);
                let lines: Vec<String> = lines.iter().map(|one| escape(one)).collect();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_grouped_by_three() {
        let shown = [0, 999, 1_000, 12_345, 1_234_567].map(grouped);
        assert_eq!(shown, ["0", "999", "1,000", "12,345", "1,234,567"]);
    }
}
