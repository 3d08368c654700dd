//! Everything that a load's folder says, made again from its files: charts, `summary.md`, and the text for a terminal.

use std::path::Path;

use super::LoadRun;
use crate::charts;
use crate::export;
use crate::report::ReportError;
use crate::schema::file;
use crate::tables::{self, LoadTables};

/// What was made.
#[derive(Debug)]
pub struct RenderedLoad {
    /// The tables.
    pub tables: LoadTables,
    /// The charts, by slug and title.
    pub charts: Vec<(String, String)>,
}

/// Rewrites the charts and `summary.md` of the folder.
///
/// # Errors
/// [`ReportError`], naming the file and the remedy.
pub fn render(dir: &Path) -> Result<RenderedLoad, ReportError> {
    let run = LoadRun::open(dir)?;
    let tables = LoadTables::of(&run);
    let charts = charts::draw_load(&run, &dir.join(file::CHARTS))?;
    let mut summary = tables.markdown();
    for (slug, title) in &charts {
        summary.push_str(&format!("\n![{}](charts/{slug}.svg)\n", tables::escape_markdown(title)));
    }
    export::write_file(&dir.join(file::SUMMARY), summary.as_bytes())?;
    Ok(RenderedLoad { tables, charts })
}
