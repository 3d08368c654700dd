//! A table of figures, on a terminal of any width and as Markdown.

use comfy_table::{Cell as TableCell, CellAlignment, ContentArrangement, Table, presets};

use crate::verdict::Verdict;

use super::text::{colour_of, escape_markdown, wrap};

/// A title of up to this many columns is not broken, however narrow the figures below it are.
const TITLE_WIDTH: usize = 9;

/// A table is made to fit this when the terminal's width is not known.
const TABLE_WIDTH: usize = 120;

/// What a column holds; narrow terminals lose columns and intervals by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The cell of the experiment, or the arm.
    Name,
    /// A figure with its interval.
    Figure,
    /// A ratio, whose interval is never left out.
    Ratio,
    /// A ratio to another target, whose interval is left out last of all.
    Across,
    /// The share of the physical limit.
    ShareOfLimit,
    /// The cost against the limit's.
    CostToLimit,
    /// The verdict, or what the row is for.
    Answer,
}

/// A table before it takes on a form. The first column names the cells of the experiment.
#[derive(Debug, Clone, PartialEq)]
pub struct Grid {
    /// The column titles.
    pub header: Vec<String>,
    /// What the columns hold, one for each title.
    pub kinds: Vec<Kind>,
    /// The rows.
    pub rows: Vec<GridRow>,
}

impl Grid {
    /// A grid without rows.
    pub(super) fn of(columns: Vec<(String, Kind)>) -> Self {
        let (header, kinds) = columns.into_iter().unzip();
        Self {
            header,
            kinds,
            rows: Vec::new(),
        }
    }

    fn remove(&mut self, column: usize) {
        self.header.remove(column);
        self.kinds.remove(column);
        self.rows.iter_mut().for_each(|row| drop(row.texts.remove(column)));
    }

    /// Whether a column holds figures, which are aligned to the right.
    fn has_figures(&self, column: usize) -> bool {
        !matches!(self.kinds[column], Kind::Name | Kind::Answer)
    }
}

/// One row of a [`Grid`].
#[derive(Debug, Clone, PartialEq)]
pub struct GridRow {
    /// The texts, one per column.
    pub texts: Vec<String>,
    /// Whether a new cell of the experiment begins here.
    pub begins_cell: bool,
    /// The verdict that the last column tells, when it does.
    pub verdict: Option<Verdict>,
}

/// The table in the roomiest form that fits: with the cells in a column of their own; with the cells as headings above their
/// rows; then without what the report has anyway: the intervals of all but the ratios, the limits, and at last the
/// intervals of the ratios to another target.
pub(super) fn grid_for_terminal(grid: &Grid, colour: bool, width: Option<u16>) -> String {
    let room = width.map_or(TABLE_WIDTH, usize::from);
    let fits = |text: &String| text.lines().all(|line| visible_columns(line) <= room);
    let wide = table_text(grid, None, colour);
    if fits(&wide) {
        return wide;
    }
    let (cells, headed) = headed_by_cells(grid);
    let shorter = without_intervals(headed.clone(), &[Kind::Ratio, Kind::Across]);
    let shorter = without_columns(shorter, Kind::CostToLimit);
    let shortest = without_columns(shorter.clone(), Kind::ShareOfLimit);
    let barest = without_intervals(shortest.clone(), &[Kind::Ratio]);
    let texts = [headed, shorter, shortest, barest].map(|grid| table_text(&grid, Some(&cells), colour));
    let [.., last] = &texts;
    texts.iter().find(|text| fits(text)).unwrap_or(last).clone()
}

/// A grid without its first column, and that column's texts, one for each row that begins a cell.
fn headed_by_cells(grid: &Grid) -> (Vec<String>, Grid) {
    let begins = grid.rows.iter().filter(|row| row.begins_cell);
    let cells = begins.filter_map(|row| row.texts.first().cloned()).collect();
    let mut headed = grid.clone();
    headed.remove(0);
    (cells, headed)
}

/// A grid that keeps the intervals of those columns only.
fn without_intervals(mut grid: Grid, kept: &[Kind]) -> Grid {
    for row in &mut grid.rows {
        for (kind, text) in grid.kinds.iter().zip(&mut row.texts) {
            if let Some((mean, _)) = text.split_once(" (")
                && !kept.contains(kind)
            {
                *text = mean.to_owned();
            }
        }
    }
    grid
}

fn without_columns(mut grid: Grid, kind: Kind) -> Grid {
    while let Some(column) = grid.kinds.iter().position(|other| *other == kind) {
        grid.remove(column);
    }
    grid
}

/// Sets a grid in columns as wide as their figures: a title is broken before it makes its column wider. With `cells`, each
/// group of rows has its cell as a heading.
fn table_text(grid: &Grid, cells: Option<&[String]>, colour: bool) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    table.set_content_arrangement(ContentArrangement::Disabled);
    if colour {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    let last = grid.header.len() - 1;
    let titles = grid.header.iter().enumerate().map(|(column, title)| {
        let figures = grid.rows.iter().filter_map(|row| row.texts.get(column));
        let widest = figures.map(|text| text.chars().count()).max().unwrap_or(0);
        wrap(title, widest.max(TITLE_WIDTH)).join("\n")
    });
    table.set_header(titles);
    for row in &grid.rows {
        table.add_row(row.texts.iter().enumerate().map(|(column, text)| {
            let cell = TableCell::new(text);
            match row.verdict {
                Some(verdict) if column == last && colour => cell.fg(colour_of(verdict)),
                _ => cell,
            }
        }));
    }
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if grid.has_figures(index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    without_inner_rules(&table.trim_fmt(), grid, cells)
}

/// Columns that a line takes on the terminal, without its colours.
fn visible_columns(line: &str) -> usize {
    let mut columns = 0;
    let mut in_colour = false;
    for character in line.chars() {
        match character {
            '\u{1b}' => in_colour = true,
            'm' if in_colour => in_colour = false,
            _ if in_colour => {}
            _ => columns += 1,
        }
    }
    columns
}

/// The preset rules off every row; only the first row of a cell keeps the rule above it, and has its heading below that.
fn without_inner_rules(text: &str, grid: &Grid, cells: Option<&[String]>) -> String {
    let mut begins = grid.rows.iter().map(|row| row.begins_cell);
    let mut headings = cells.unwrap_or_default().iter();
    let mut kept = Vec::new();
    let is_rule = |line: &str| !line.is_empty() && line.chars().all(|c| matches!(c, '─' | '═'));
    let rules = text.lines().filter(|line| is_rule(line)).count();
    let mut seen = 0;
    for line in text.lines() {
        if !is_rule(line) {
            kept.push(line);
            continue;
        }
        seen += 1;
        // The first rule is the top, the second one closes the titles, the last one is the bottom.
        let above_a_row = seen > 1 && seen < rules;
        let begins_cell = above_a_row && begins.next().unwrap_or(true);
        if !above_a_row || begins_cell {
            kept.push(line);
        }
        if begins_cell && let Some(heading) = headings.next() {
            kept.push(heading);
        }
    }
    kept.join("\n")
}

pub(super) fn grid_as_markdown(grid: &Grid) -> String {
    let line = |texts: &[String]| {
        let escaped: Vec<String> = texts.iter().map(|text| escape_markdown(text)).collect();
        format!("| {} |\n", escaped.join(" | "))
    };
    let rules: Vec<String> = (0..grid.header.len())
        .map(|column| {
            let rule = if grid.has_figures(column) { "---:" } else { "---" };
            rule.to_owned()
        })
        .collect();
    let mut text = line(&grid.header);
    text.push_str(&format!("| {} |\n", rules.join(" | ")));
    for row in &grid.rows {
        text.push_str(&line(&row.texts));
    }
    text
}
