//! A table of words: columns are broken to fit the terminal.

use comfy_table::{
    Cell as TableCell, CellAlignment, Color, ColumnConstraint, ContentArrangement, Table, Width, presets,
};

use super::text::escape_markdown;

/// A table is made to fit this when the terminal's width is not known.
const TABLE_WIDTH: u16 = 110;

/// A table of words before it takes on a form.
#[derive(Debug, Clone, PartialEq)]
pub struct Sheet {
    /// The column titles.
    pub header: Vec<String>,
    /// The rows.
    pub rows: Vec<SheetRow>,
    /// Columns that hold figures and are aligned to the right.
    pub figures: Vec<usize>,
    /// A column that is never broken, and takes the row's colour.
    pub(super) mark: usize,
    /// Columns that may take only this share of the width, in per cent.
    pub(super) narrow: Vec<(usize, u16)>,
}

impl Sheet {
    /// Whether a column holds figures, which are aligned to the right.
    pub fn has_figures(&self, column: &usize) -> bool {
        self.figures.contains(column)
    }
}

/// One row of a [`Sheet`].
#[derive(Debug, Clone, PartialEq)]
pub struct SheetRow {
    /// The texts, one per column.
    pub texts: Vec<String>,
    /// The colour of the marked column on a terminal.
    pub(super) colour: Option<Color>,
}

pub(super) fn sheet_for_terminal(sheet: &Sheet, colour: bool, width: Option<u16>) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table.set_width(width.unwrap_or(TABLE_WIDTH));
    if colour {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    table.set_header(&sheet.header);
    for row in &sheet.rows {
        table.add_row(row.texts.iter().enumerate().map(|(column, text)| {
            let cell = TableCell::new(text);
            match row.colour {
                Some(shade) if colour && column == sheet.mark => cell.fg(shade),
                _ => cell,
            }
        }));
    }
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if index == sheet.mark {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
        if let Some((_, share)) = sheet.narrow.iter().find(|(narrow, _)| *narrow == index) {
            column.set_constraint(ColumnConstraint::UpperBoundary(Width::Percentage(*share)));
        }
        if sheet.figures.contains(&index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    without_needless_rules(&table.trim_fmt(), sheet.rows.len())
}

/// Rules between rows are needed only where a row takes several lines.
fn without_needless_rules(text: &str, rows: usize) -> String {
    let is_rule = |line: &&str| line.chars().all(|c| matches!(c, '─' | '═')) && !line.is_empty();
    let rules = text.lines().filter(is_rule).count();
    let below_titles = text.lines().skip_while(|line| !line.starts_with('═'));
    if below_titles.filter(|line| !is_rule(line)).count() > rows {
        return text.to_owned();
    }
    let mut seen = 0;
    let kept = text.lines().filter(|line| {
        seen += usize::from(is_rule(line));
        // The first rule is the top, the second one closes the titles, the last one is the bottom.
        !is_rule(line) || seen <= 2 || seen == rules
    });
    kept.collect::<Vec<_>>().join("\n")
}

pub(super) fn sheet_as_markdown(sheet: &Sheet) -> String {
    let line = |texts: &[String]| {
        let escaped: Vec<String> = texts.iter().map(|text| escape_markdown(text)).collect();
        format!("| {} |\n", escaped.join(" | "))
    };
    let rules: Vec<&str> = (0..sheet.header.len())
        .map(|column| if sheet.figures.contains(&column) { "---:" } else { "---" })
        .collect();
    let mut text = line(&sheet.header);
    text.push_str(&format!("| {} |\n", rules.join(" | ")));
    for row in &sheet.rows {
        text.push_str(&line(&row.texts));
    }
    text
}
