//! `assay report`: tables, charts and pages from a run folder, again, from its files alone.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use results::report::Rendered;

use crate::output;

/// Draw the report of a run folder again
#[derive(clap::Args)]
pub struct Args {
    /// Folder of a run
    dir: PathBuf,
}

/// Renders and prints.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    render_and_print(&args.dir)?;
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
