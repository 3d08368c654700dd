//! `assay compare`: what changed between two runs, from their files alone, with a gate for CI.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::ValueEnum;
use results::compare::{self, Change, Comparison, Options, compare};
use results::reader::Run;

use crate::output;

/// Compare two run folders: what regressed, what improved
#[derive(clap::Args)]
#[command(
    after_long_help = "Examples:\n  assay compare assay-runs/yesterday assay-runs/today\n  assay compare A B --gate --out compared\n  \
    assay compare A B --metric broker_cpu_s_per_gb --against nothing\n\nPer experiment, metric and arm the ratio B/A with a 95 % \
    interval (two independent samples of log values, Welch's t) against the margin of the definition: REGRESSED, IMPROVED, \
    EQUIVALENT (surely inside the margin), EQUAL (the very same figures), CHANGED (neither side is better), INCONCLUSIVE, \
    INCOMPARABLE. The metrics that decide are the deciding metric of each experiment and those that its claims speak of; others \
    explain. \n\nExit codes: 0 compared; 1 with --gate: something regressed or changed; 2 INCOMPARABLE, or with --gate also \
    inconclusive; 3 usage or a broken folder."
)]
pub struct Args {
    /// Folder of the earlier run
    a: PathBuf,
    /// Folder of the later run
    b: PathBuf,
    /// Exit with 1 when something regressed, with 2 when it is not known
    #[arg(long)]
    gate: bool,
    /// Writes compare.csv, compare.md, compare.junit.xml and charts there
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Only this experiment; repeatable
    #[arg(long, value_name = "NAME")]
    experiment: Vec<String>,
    /// Only this metric, which decides then; repeatable
    #[arg(long, value_name = "NAME")]
    metric: Vec<String>,
    /// What figures are held against in their own run first: auto is the bare loop, otherwise the baseline
    #[arg(long, value_enum, default_value = "auto")]
    against: Against,
    /// Compare although machine, kernel or transport differ; the output says so first
    #[arg(long)]
    allow_different_machine: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Against {
    Auto,
    Limit,
    Baseline,
    Nothing,
}

impl From<Against> for compare::Against {
    fn from(against: Against) -> Self {
        match against {
            Against::Auto => Self::Auto,
            Against::Limit => Self::Limit,
            Against::Baseline => Self::Baseline,
            Against::Nothing => Self::Nothing,
        }
    }
}

/// Compares, prints, and writes the files when told where.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let options = Options {
        against: args.against.into(),
        experiments: args.experiment.clone(),
        metrics: args.metric.clone(),
        allow_different_machine: args.allow_different_machine,
    };
    let comparison = compare(&Run::open(&args.a)?, &Run::open(&args.b)?, &options)?;
    let columns = output::terminal_columns();
    out!(
        "{}",
        results::tables::comparison_for_terminal(&comparison, output::wants_colour(), columns)
    );
    if let Some(dir) = &args.out {
        compare::files::write(dir, &comparison)?;
        outln!("compare.csv, compare.md, compare.junit.xml, charts: {}", dir.display());
    }
    Ok(exit_code(&comparison, args.gate).into())
}

fn exit_code(comparison: &Comparison, gate: bool) -> u8 {
    match comparison.verdict() {
        Change::Regressed | Change::Changed if gate => 1,
        Change::Inconclusive if gate => 2,
        _ if comparison.is_incomparable() => 2,
        _ => 0,
    }
}
