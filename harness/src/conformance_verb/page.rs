//! The Markdown page of all answers.

use std::fmt::Write as _;

use super::Row;
use super::differences::Differences;

/// The page: differences by reason, what nobody gave a reason for, and what is the same, API by API.
pub(super) fn render(rows: &[Row], names: &[String; 2], versions: &[String], known: &Differences) -> String {
    let [first, second] = names;
    let same = rows.iter().filter(|row| row.is_same()).count();
    let mut out = format!(
        "# Conformance: {first} against {second}\n\n\
         Made by `assay conformance`; do not edit. One script of raw requests, error cases and edge cases was sent to {}. \
         Answers are shown without what no two brokers share: ids, ports, clocks, words of error messages. `T+n` is n milliseconds \
         behind the first timestamp of the script.\n\n\
         {} cases: {same} same, {} differ.\n",
        versions.join(" and to "),
        rows.len(),
        rows.len() - same
    );
    let _ = writeln!(out, "\n## What differs, and why");
    for difference in &known.difference {
        let of_this = |row: &&Row| !row.is_same() && difference.cases.contains(&row.title);
        let mut found = rows.iter().filter(of_this).peekable();
        if found.peek().is_some() {
            let _ = writeln!(out, "\n{}\n", difference.why.trim());
            both(&mut out, names, found);
        }
    }
    let mut unlisted = rows
        .iter()
        .filter(|row| !row.is_same() && known.reason(&row.title).is_none())
        .peekable();
    if unlisted.peek().is_some() {
        let _ = writeln!(out, "\nNo reason is given for these:\n");
        both(&mut out, names, unlisted);
    }
    let _ = writeln!(out, "\n## What is the same");
    let mut api = "";
    for row in rows.iter().filter(|row| row.is_same()) {
        if row.api != api {
            api = row.api;
            let _ = writeln!(out, "\n### {api}\n\n| case | both answer |\n| --- | --- |");
        }
        let _ = writeln!(out, "| {} | {} |", cell(&row.name), code(&row.answers[0]));
    }
    out
}

fn both<'a>(out: &mut String, [first, second]: &[String; 2], rows: impl Iterator<Item = &'a Row>) {
    let _ = writeln!(out, "| API | case | {first} | {second} |\n| --- | --- | --- | --- |");
    for row in rows {
        let [a, b] = &row.answers;
        let _ = writeln!(out, "| {} | {} | {} | {} |", row.api, cell(&row.name), code(a), code(b));
    }
}

fn code(answer: &Result<String, String>) -> String {
    match answer {
        Ok(text) if text.is_empty() => "an answer without anything to show".to_owned(),
        Ok(text) => format!("`{}`", cell(text)),
        Err(error) => format!("no answer: {}", cell(error)),
    }
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace(['\n', '`'], " ")
}
