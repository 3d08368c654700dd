//! `assay report`: tables, charts and pages from a run folder, again, from its files alone.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use results::report::Rendered;

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
    let stdout = std::io::stdout();
    let width = terminal_width();
    print!(
        "{}",
        results::tables::terminal(&rendered.analysis, stdout.is_terminal(), width)
    );
    println!("report: {}", rendered.html.display());
    println!("charts, CSV, summary.md, junit.xml: {}", dir.display());
    Ok(rendered)
}

/// Columns of the terminal; `None` when the output is no terminal.
fn terminal_width() -> Option<u16> {
    nix::ioctl_read_bad!(window_size, nix::libc::TIOCGWINSZ, nix::libc::winsize);
    let mut size = nix::libc::winsize {
        ws_row: 0,
        ws_col: 0,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: TIOCGWINSZ writes one winsize to the place it is given.
    let answer = unsafe { window_size(1, &mut size) };
    answer.ok().map(|_| size.ws_col).filter(|columns| *columns > 0)
}
