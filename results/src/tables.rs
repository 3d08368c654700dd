//! The answer as tables: coloured or plain for a terminal, Markdown for `summary.md`, rows for the HTML page.
//!
//! All three show the same rows; only this module decides what they hold.

use comfy_table::{Cell as TableCell, CellAlignment, Color, ContentArrangement, Table, presets};

use crate::analysis::{Analysis, ArmAnalysis, CellAnalysis, ClaimFinding, ExperimentAnalysis};
use crate::figures;
use crate::verdict::Verdict;

/// The metric shown beside the deciding one, where a run has it: what the broker pays for its speed.
pub(crate) const COST_METRIC: &str = "broker_cpu_s_per_gb";

/// How the title of the column with the ratios begins.
const RATIO_TO: &str = "ratio to";

/// Title of the column with the cost against the limit's.
const COST_TO_LIMIT: &str = "CPU to limit";

/// Title of the column with the deciding metric against the limit's.
const SHARE_OF_LIMIT: &str = "share of limit";

/// The columns that hold names and are aligned to the left; the others hold figures.
const NAME_COLUMNS: usize = 2;

/// A line is wrapped here when the terminal's width is not known.
const TEXT_WIDTH: usize = 110;

/// A title of up to this many columns is not broken, however narrow the figures below it are.
const TITLE_WIDTH: usize = 9;

/// A table is made to fit this when the terminal's width is not known.
const TABLE_WIDTH: usize = 120;

/// A table before it takes on a form.
#[derive(Debug, Clone, PartialEq)]
pub struct Grid {
    /// The column titles.
    pub header: Vec<String>,
    /// The rows.
    pub rows: Vec<GridRow>,
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

/// The main table of an experiment: one row per arm, limits below the arms of their cell.
pub fn measurements(experiment: &ExperimentAnalysis) -> Grid {
    let card = &experiment.card;
    let deciding = card.metric(&card.deciding_metric);
    let unit = |name: &str| match card.metric(name) {
        Some(metric) if metric.unit.is_empty() => metric.label.clone(),
        Some(metric) => format!("{}, {}", metric.label, metric.unit),
        None => name.to_owned(),
    };
    let has_cost = card.metric(COST_METRIC).is_some();
    let has_limits = experiment.cells.iter().any(|cell| !cell.limits.is_empty());
    let mut header = vec![
        "cell".to_owned(),
        card.factor(&card.treatment).map_or("arm", |f| &f.label).to_owned(),
    ];
    header.push(unit(&card.deciding_metric));
    header.push(format!("{RATIO_TO} {}", card.baseline));
    if has_limits {
        header.push(SHARE_OF_LIMIT.to_owned());
    }
    if has_cost {
        header.push(unit(COST_METRIC));
    }
    if has_cost && has_limits {
        header.push(COST_TO_LIMIT.to_owned());
    }
    header.push(if deciding.is_some() { "better?" } else { "" }.to_owned());
    let mut rows = Vec::new();
    for cell in &experiment.cells {
        for (index, arm) in cell.arms.iter().chain(&cell.limits).enumerate() {
            let place = if index == 0 {
                figures::cell(card, &cell.cell)
            } else {
                String::new()
            };
            let mut texts = vec![place, arm.level.clone()];
            texts.extend(deciding_texts(experiment, arm));
            let to_limit = |metric: &str| arm.metrics.get(metric).and_then(|found| found.to_limit.as_ref());
            if has_limits {
                let share = to_limit(&card.deciding_metric);
                texts.push(share.map(figures::share_with_interval).unwrap_or_default());
            }
            if has_cost {
                let cost = arm.metrics.get(COST_METRIC);
                texts.push(cost.map(|c| figures::three_digits(c.summary.mean)).unwrap_or_default());
            }
            if has_cost && has_limits {
                let ratio = to_limit(COST_METRIC).map(|to_limit| figures::ratio(to_limit.ratio()));
                texts.push(ratio.unwrap_or_default());
            }
            let verdict = arm_verdict(arm);
            texts.push(
                verdict
                    .map(|verdict| verdict.as_str().to_owned())
                    .unwrap_or_else(|| role_text(cell, arm)),
            );
            rows.push(GridRow {
                texts,
                begins_cell: index == 0,
                verdict,
            });
        }
    }
    Grid { header, rows }
}

/// Every metric of every arm, means only.
pub fn all_metrics(experiment: &ExperimentAnalysis) -> Grid {
    let card = &experiment.card;
    let mut header = vec!["cell".to_owned(), "arm".to_owned()];
    header.extend(card.metrics.iter().map(|metric| match metric.unit.as_str() {
        "" => metric.label.clone(),
        unit => format!("{}, {unit}", metric.label),
    }));
    header.push("trials".to_owned());
    let mut rows = Vec::new();
    for cell in &experiment.cells {
        for (index, arm) in cell.arms.iter().chain(&cell.limits).enumerate() {
            let mut texts = vec![figures::cell(card, &cell.cell), arm.level.clone()];
            let mean = |name: &str| arm.metrics.get(name).map(|metric| metric.summary.mean);
            texts.extend(
                card.metrics
                    .iter()
                    .map(|metric| mean(&metric.name).map(figures::three_digits).unwrap_or_default()),
            );
            let trials = arm.metrics.values().map(|metric| metric.summary.n).max().unwrap_or(0);
            texts.push(match arm.failed {
                0 => trials.to_string(),
                failed => format!("{trials} ({failed} failed)"),
            });
            rows.push(GridRow {
                texts,
                begins_cell: index == 0,
                verdict: arm_verdict(arm),
            });
        }
    }
    Grid { header, rows }
}

/// The tables and verdicts of a run for a terminal. Colour only when told so; `width` in columns, when known.
pub fn terminal(analysis: &Analysis, colour: bool, width: Option<u16>) -> String {
    let mut text = String::new();
    let text_width = width.map_or(TEXT_WIDTH, |width| usize::from(width).clamp(40, TEXT_WIDTH));
    for experiment in &analysis.experiments {
        text.push_str(&format!("{}\n\n", heading(experiment)));
        let grid = measurements(experiment);
        if !grid.rows.is_empty() {
            text.push_str(&grid_for_terminal(&grid, colour, width));
            text.push_str("\n\n");
        }
        for claim in &experiment.claims {
            let label = format!("{:<12}", claim.verdict.as_str());
            let label = if colour { ansi(claim.verdict, &label) } else { label };
            let room = text_width.saturating_sub(14);
            let lines = wrap(claim.claim.text(), room)
                .into_iter()
                .chain(wrap(&claim.reason, room));
            for (index, line) in lines.enumerate() {
                let lead = if index == 0 {
                    format!("{label}  ")
                } else {
                    " ".repeat(14)
                };
                text.push_str(&format!("{lead}{line}\n"));
            }
        }
        for note in remarks(experiment).into_iter().chain(analysis.notes.iter().cloned()) {
            let mut lead = "Note: ";
            for line in wrap(&note, text_width.saturating_sub(lead.len())) {
                text.push_str(&format!("{lead}{line}\n"));
                lead = "      ";
            }
        }
        text.push('\n');
    }
    text
}

/// The tables and verdicts of a run as Markdown.
pub fn markdown(analysis: &Analysis) -> String {
    let mut text = String::new();
    for experiment in &analysis.experiments {
        text.push_str(&format!("## {}\n\n", escape_markdown(&heading(experiment))));
        for claim in &experiment.claims {
            text.push_str(&claim_line(claim));
        }
        text.push('\n');
        let grid = measurements(experiment);
        if !grid.rows.is_empty() {
            text.push_str(&grid_as_markdown(&grid));
            text.push('\n');
        }
        for note in remarks(experiment) {
            text.push_str(&format!("- {}\n", escape_markdown(&note)));
        }
    }
    for note in &analysis.notes {
        text.push_str(&format!("- {}\n", escape_markdown(note)));
    }
    text
}

/// The experiment's title, with the target and how many blocks there are.
pub(crate) fn heading(experiment: &ExperimentAnalysis) -> String {
    let target = if experiment.target.is_empty() {
        String::new()
    } else {
        format!(", target {}", experiment.target)
    };
    let card = &experiment.card;
    format!(
        "{} ({}{target}, {}, {} blocks)",
        card.title, card.name, card.transport, experiment.blocks
    )
}

/// What has to be said beside the figures: notes, the A/A control, drift.
pub(crate) fn remarks(experiment: &ExperimentAnalysis) -> Vec<String> {
    let card = &experiment.card;
    let mut remarks = Vec::new();
    for control in &experiment.controls {
        if let Some(ratio) = control.ratios.get(&card.deciding_metric) {
            remarks.push(format!(
                "Two equal arms ({} at {}) came out at {} of each other; no smaller effect is called one.",
                control.level,
                figures::cell(card, &control.cell),
                figures::ratio_with_interval(ratio),
            ));
        }
    }
    for unsteady in &experiment.unsteady {
        remarks.push(format!(
            "{} was not steady: the last third of its window ran at {} of the first.",
            unsteady.arm,
            figures::ratio_with_interval(&unsteady.drift)
        ));
    }
    remarks.extend(experiment.notes.iter().cloned());
    remarks
}

fn deciding_texts(experiment: &ExperimentAnalysis, arm: &ArmAnalysis) -> [String; 2] {
    let Some(metric) = arm.metrics.get(&experiment.card.deciding_metric) else {
        return ["–".to_owned(), String::new()];
    };
    let value = figures::value_with_interval(metric.summary.mean, metric.summary.interval);
    let ratio = metric
        .to_baseline
        .as_ref()
        .map(figures::ratio_with_interval)
        .unwrap_or_default();
    [value, ratio]
}

fn arm_verdict(arm: &ArmAnalysis) -> Option<Verdict> {
    if arm.invalid.is_some() {
        Some(Verdict::Invalid)
    } else {
        arm.judgement.map(|judgement| judgement.verdict)
    }
}

fn role_text(cell: &CellAnalysis, arm: &ArmAnalysis) -> String {
    let is_limit = cell.limits.iter().any(|limit| limit.arm == arm.arm);
    if is_limit { "(limit)" } else { "(baseline)" }.to_owned()
}

fn claim_line(claim: &ClaimFinding) -> String {
    format!(
        "- **{}** {}. {}\n",
        claim.verdict,
        escape_markdown(claim.claim.text().trim_end_matches('.')),
        escape_markdown(&claim.reason)
    )
}

/// The table in the roomiest form that fits: with the cells in a column of their own; with the cells as headings above their
/// rows; then without what the report has anyway: the intervals of all but the ratio, and at last the limits.
fn grid_for_terminal(grid: &Grid, colour: bool, width: Option<u16>) -> String {
    let room = width.map_or(TABLE_WIDTH, usize::from);
    let fits = |text: &String| text.lines().all(|line| visible_columns(line) <= room);
    let wide = table_text(grid, None, colour);
    if fits(&wide) {
        return wide;
    }
    let (cells, headed) = headed_by_cells(grid);
    let shorter = without_columns(without_intervals(headed.clone()), &[COST_TO_LIMIT]);
    let shortest = without_columns(shorter.clone(), &[SHARE_OF_LIMIT]);
    let texts = [headed, shorter, shortest].map(|grid| table_text(&grid, Some(&cells), colour));
    let [.., last] = &texts;
    texts.iter().find(|text| fits(text)).unwrap_or(last).clone()
}

/// A grid without its first column, and that column's texts, one for each row that begins a cell.
fn headed_by_cells(grid: &Grid) -> (Vec<String>, Grid) {
    let begins = grid.rows.iter().filter(|row| row.begins_cell);
    let cells = begins.filter_map(|row| row.texts.first().cloned()).collect();
    let mut headed = grid.clone();
    headed.header.remove(0);
    headed.rows.iter_mut().for_each(|row| drop(row.texts.remove(0)));
    (cells, headed)
}

/// A grid that keeps the interval of the ratio only.
fn without_intervals(mut grid: Grid) -> Grid {
    for row in &mut grid.rows {
        for (title, text) in grid.header.iter().zip(&mut row.texts) {
            if let Some((mean, _)) = text.split_once(" (")
                && !title.starts_with(RATIO_TO)
            {
                *text = mean.to_owned();
            }
        }
    }
    grid
}

fn without_columns(mut grid: Grid, titles: &[&str]) -> Grid {
    while let Some(column) = grid.header.iter().position(|title| titles.contains(&title.as_str())) {
        grid.header.remove(column);
        grid.rows.iter_mut().for_each(|row| drop(row.texts.remove(column)));
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
                Some(verdict) if column == last && colour => cell.fg(table_colour(verdict)),
                _ => cell,
            }
        }));
    }
    let names = if cells.is_some() {
        NAME_COLUMNS - 1
    } else {
        NAME_COLUMNS
    };
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if (names..last).contains(&index) {
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

fn grid_as_markdown(grid: &Grid) -> String {
    let last = grid.header.len() - 1;
    let line = |texts: &[String]| {
        let escaped: Vec<String> = texts.iter().map(|text| escape_markdown(text)).collect();
        format!("| {} |\n", escaped.join(" | "))
    };
    let rules: Vec<String> = (0..grid.header.len())
        .map(|column| {
            if (NAME_COLUMNS..last).contains(&column) {
                "---:"
            } else {
                "---"
            }
            .to_owned()
        })
        .collect();
    let mut text = line(&grid.header);
    text.push_str(&format!("| {} |\n", rules.join(" | ")));
    for row in &grid.rows {
        text.push_str(&line(&row.texts));
    }
    text
}

/// Escapes what Markdown or HTML inside it would take for markup.
pub(crate) fn escape_markdown(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '<' => escaped.push_str("&lt;"),
            '&' => escaped.push_str("&amp;"),
            '\n' | '\r' => escaped.push(' '),
            '\\' | '|' | '*' | '_' | '`' | '[' | ']' => escaped.extend(['\\', character]),
            other => escaped.push(other),
        }
    }
    escaped
}

fn table_colour(verdict: Verdict) -> Color {
    match verdict {
        Verdict::Confirmed => Color::Green,
        Verdict::Refuted | Verdict::Incomparable | Verdict::Invalid => Color::Red,
        Verdict::Conditional | Verdict::Inconclusive => Color::Yellow,
        Verdict::Equivalent => Color::Blue,
    }
}

fn ansi(verdict: Verdict, text: &str) -> String {
    let code = match table_colour(verdict) {
        Color::Green => 32,
        Color::Red => 31,
        Color::Yellow => 33,
        _ => 34,
    };
    format!("\u{1b}[1;{code}m{text}\u{1b}[0m")
}

/// Breaks a text at spaces; a word longer than the width stands alone.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}
