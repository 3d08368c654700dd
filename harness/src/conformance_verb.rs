//! `assay conformance`: one client script against two brokers, and what they answer differently.
//!
//! Differences are no failure by themselves: each is listed in a file with its reason. What fails is a difference that nobody
//! listed, and a listed one that is none any more.

mod differences;
mod page;
mod targets;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use workloads::conformance::{self, Bench, Case};

use crate::interrupt;
use crate::output::{self, wrapped};
use crate::target::TargetName;
use differences::Differences;
use targets::Running;

/// Exit code for a difference that is not listed, or a listed one that is none.
const EXIT_DIFFERS: u8 = 1;

/// Ask two brokers the same raw requests and say where their answers differ
#[derive(clap::Args)]
pub struct Args {
    /// bundled, kafka (started for this), or kafka://HOST:PORT (runs already); give it twice
    #[arg(long = "target", value_name = "TARGET", required = true, num_args = 1)]
    targets: Vec<TargetName>,
    /// TOML file of the differences that are known, each with its reason
    #[arg(long, value_name = "FILE")]
    differences: Option<PathBuf>,
    /// Write every answer as a Markdown page
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
    /// Only cases whose title contains this
    #[arg(long, value_name = "TEXT", conflicts_with = "write")]
    only: Option<String>,
}

/// What the two brokers answered to one case.
struct Row {
    api: &'static str,
    name: String,
    title: String,
    /// In the order of the targets; the error when there was no answer.
    answers: [Result<String, String>; 2],
}

impl Row {
    fn is_same(&self) -> bool {
        // Two failures are two unknown answers.
        matches!(&self.answers, [Ok(a), Ok(b)] if a == b)
    }

    fn failed(&self) -> bool {
        self.answers.iter().any(Result::is_err)
    }
}

/// Asks, prints, and answers whether every difference is listed and every listed one is there.
///
/// # Errors
/// A target can't be started, a file can't be read or written, Ctrl-C.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    interrupt::install()?;
    let [first, second] = &args.targets[..] else {
        bail!("two targets are compared: give --target twice, such as --target bundled --target kafka");
    };
    let names = [first, second].map(targets::name);
    if names[0] == names[1] {
        bail!("both targets are called {}: give two different ones", names[0]);
    }
    let known = args.differences.as_deref().map(Differences::read).transpose()?;
    let known = known.unwrap_or_default();
    let wanted = |case: &Case| args.only.as_ref().is_none_or(|text| case.title().contains(text));
    let cases: Vec<Case> = conformance::all().into_iter().filter(|case| wanted(case)).collect();
    if cases.is_empty() {
        bail!("no case has that in its title; without --only all are asked");
    }
    let scratch = targets::Scratch::create()?;
    let mut versions = Vec::new();
    let mut answers = Vec::new();
    for choice in [first, second] {
        let target = targets::start(choice, &scratch)?;
        errln!("{}: asking {} cases", target.described(), cases.len());
        versions.push(target.described());
        answers.push(ask(&target, &cases)?);
        target.stop()?;
    }
    let rows = rows(&cases, answers)?;
    let unlisted = print(&rows, &names, &known);
    let stale = stale(&rows, &known, args.only.is_none());
    for line in &stale {
        outln!("listed, and no difference any more: {line}");
    }
    let differ = rows.iter().filter(|row| !row.is_same()).count();
    outln!(
        "{} cases, {} same, {differ} differ, {unlisted} of them not listed; {} listed that are none",
        rows.len(),
        rows.len() - differ,
        stale.len()
    );
    if let Some(path) = &args.write {
        std::fs::write(path, page::render(&rows, &names, &versions, &known))
            .with_context(|| format!("can't write {}", path.display()))?;
    }
    Ok(if unlisted > 0 || !stale.is_empty() {
        EXIT_DIFFERS.into()
    } else {
        ExitCode::SUCCESS
    })
}

/// Every answer, in the order of the cases. Topics that were created are deleted again, also after Ctrl-C.
fn ask(target: &Running, cases: &[Case]) -> anyhow::Result<Vec<Result<String, String>>> {
    let prefix = format!("assay-conformance-{}-", std::process::id());
    let mut bench = Bench::new(target.address(), &prefix);
    let mut answers = Vec::new();
    for case in cases {
        if interrupt::is_set() {
            break;
        }
        answers.push(case.run(&mut bench).map_err(|error| error.to_string()));
    }
    for left in bench.clean_up() {
        errln!("a topic could not be deleted: {left}");
    }
    interrupt::check()?;
    Ok(answers)
}

fn rows(cases: &[Case], answers: Vec<Vec<Result<String, String>>>) -> anyhow::Result<Vec<Row>> {
    let [first, second] = <[Vec<_>; 2]>::try_from(answers).map_err(|_| anyhow::anyhow!("two targets were asked"))?;
    let both = first.into_iter().zip(second);
    let row = |(case, (a, b)): (&Case, _)| Row {
        api: case.api,
        name: case.name.clone(),
        title: case.title(),
        answers: [a, b],
    };
    Ok(cases.iter().zip(both).map(row).collect())
}

/// Prints a line per case, and the answers where they differ. Answers how many differences are not listed.
fn print(rows: &[Row], names: &[String; 2], known: &Differences) -> usize {
    let width = output::text_width();
    let label = names.iter().map(String::len).max().unwrap_or(0);
    let mut unlisted = 0;
    for row in rows {
        let why = known.reason(&row.title);
        let word = match (row.is_same(), row.failed(), why) {
            (true, ..) => "same",
            (_, true, _) => "FAILED",
            (_, _, Some(_)) => "differs",
            (_, _, None) => "DIFFERS, not listed",
        };
        outln!("{}: {word}", row.title);
        if row.is_same() {
            continue;
        }
        // A case that has no answer is not what a reason was written for.
        unlisted += usize::from(row.failed() || why.is_none());
        for (name, answer) in names.iter().zip(&row.answers) {
            let text = match answer {
                Ok(text) => text.clone(),
                Err(error) => format!("no answer: {error}"),
            };
            outln!("    {name:label$}  {}", wrapped(&text, label + 6, width));
        }
        if let Some(why) = why {
            outln!("    {:label$}  {}", "why", wrapped(why, label + 6, width));
        }
    }
    unlisted
}

/// Listed cases that are the same, and those that do not exist when all were asked.
fn stale(rows: &[Row], known: &Differences, all: bool) -> Vec<String> {
    let by_title: BTreeMap<&str, &Row> = rows.iter().map(|row| (row.title.as_str(), row)).collect();
    let is_stale = |title: &&str| by_title.get(*title).map_or(all, |row| row.is_same());
    known.titles().filter(is_stale).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, a: Result<&str, &str>, b: Result<&str, &str>) -> Row {
        let owned = |answer: Result<&str, &str>| answer.map(str::to_owned).map_err(str::to_owned);
        Row {
            api: "Fetch",
            name: name.to_owned(),
            title: format!("Fetch: {name}"),
            answers: [owned(a), owned(b)],
        }
    }

    #[test]
    fn what_is_not_listed_and_what_is_listed_for_nothing_is_found() {
        let text = "[[difference]]\ncases = [\"Fetch: b\", \"Fetch: a\", \"Fetch: gone\"]\nwhy = \"because\"\n";
        let known = Differences::parse(text, "test").unwrap();
        let rows = [
            row("a", Ok("1"), Ok("1")),
            row("b", Ok("1"), Ok("2")),
            row("c", Ok("1"), Ok("2")),
            row("d", Err("x"), Err("x")),
        ];
        let names = ["bundled".to_owned(), "kafka".to_owned()];
        assert_eq!(print(&rows, &names, &known), 2, "c is not listed, d has no answer");
        assert_eq!(stale(&rows, &known, true), ["Fetch: a", "Fetch: gone"]);
        assert_eq!(stale(&rows, &known, false), ["Fetch: a"], "others were not asked");
        let page = page::render(&rows, &names, &["bundled 1".to_owned(), "kafka 2".to_owned()], &known);
        assert!(page.contains("because") && page.contains("| b | `1` | `2` |"), "{page}");
    }
}
