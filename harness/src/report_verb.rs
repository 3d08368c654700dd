//! `assay report`: tables, charts and pages from a run folder, again, from its files alone.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use results::load::LoadRun;
use results::report::Rendered;

use crate::{load_verb, output};

/// Draw the report of a run folder, or of a load's, again
#[derive(clap::Args)]
pub struct Args {
    /// Folder of a run or a load
    dir: PathBuf,
}

/// Renders and prints.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if LoadRun::is_in(&args.dir) {
        load_verb::render_and_print(&args.dir)?;
    } else {
        render_and_print(&args.dir)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Renders everything, prints the tables and where the rest is.
pub fn render_and_print(dir: &Path) -> anyhow::Result<Rendered> {
    let rendered = results::report::render(dir)?;
    let columns = output::terminal_columns();
    out!(
        "{}",
        results::tables::terminal(&rendered.analysis, output::wants_colour(), columns)
    );
    outln!("report: {}", rendered.html.display());
    outln!("charts, CSV, summary.md, junit.xml: {}", dir.display());
    Ok(rendered)
}
