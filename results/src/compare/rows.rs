//! The rows of a comparison: which figures of two runs belong together, and what each is held against.

use std::collections::BTreeMap;

use crate::analysis::{ArmAnalysis, Cell, CellAnalysis, ExperimentAnalysis, MetricAnalysis};
use crate::schema::MetricCard;

use super::comparable::{Reasons, is_count};
use super::estimated::exact;
use super::judge::{Evidence, judge, log_margin};
use super::{Change, Options, Part, Reference, Row, Side};

/// One arm in both runs.
struct Arms<'a> {
    cell: &'a Cell,
    level: &'a str,
    a: Option<&'a ArmAnalysis>,
    b: Option<&'a ArmAnalysis>,
}

/// All rows of an experiment, those that need it not yet judged.
pub(super) fn part(a: &ExperimentAnalysis, b: &ExperimentAnalysis, reasons: Reasons, options: &Options) -> Part {
    let pair = Pair {
        a,
        b,
        reasons: &reasons,
        options,
    };
    let rows = if reasons.all.is_empty() {
        pair.rows()
    } else {
        Vec::new()
    };
    let remarks = if rows.is_empty() {
        Vec::new()
    } else {
        pair.remarks(&rows)
    };
    Part {
        card: b.card.clone(),
        target: b.target.clone(),
        reasons,
        rows,
        remarks,
    }
}

/// Judges what [`part`] left open. The rows that decide are one family over all experiments, as one exit code rests on them;
/// those that explain are a family for each experiment and metric.
pub(super) fn judge_all(parts: &mut [Part]) {
    let mut families: BTreeMap<(bool, usize, String), Vec<&mut Row>> = BTreeMap::new();
    for (index, part) in parts.iter_mut().enumerate() {
        for row in part.rows.iter_mut().filter(|row| row.evidence.is_some()) {
            let family = match row.gates {
                true => (true, 0, String::new()),
                false => (false, index, row.metric.clone()),
            };
            families.entry(family).or_default().push(row);
        }
    }
    for mut rows in families.into_values() {
        let evidence: Vec<Evidence> = rows.iter_mut().filter_map(|row| row.evidence.take()).collect();
        for (row, judged) in rows.into_iter().zip(judge(&evidence)) {
            row.change = judged.change;
            row.p_below = Some(judged.p_below);
            row.p_above = Some(judged.p_above);
            if !judged.below_spread {
                row.why.clear();
            }
        }
    }
}

/// One experiment in both runs.
pub(super) struct Pair<'a> {
    pub a: &'a ExperimentAnalysis,
    pub b: &'a ExperimentAnalysis,
    reasons: &'a Reasons,
    pub options: &'a Options,
}

impl<'a> Pair<'a> {
    fn rows(&self) -> Vec<Row> {
        let card = &self.b.card;
        let mut rows = Vec::new();
        for arms in self.arms() {
            if let Some(row) = self.failed_check(&arms) {
                rows.push(row);
                continue;
            }
            let asked =
                |metric: &&MetricCard| self.options.metrics.is_empty() || self.options.metrics.contains(&metric.name);
            for metric in card.metrics.iter().filter(asked) {
                let of = |arm: Option<&'a ArmAnalysis>| arm.and_then(|arm| arm.metrics.get(&metric.name));
                rows.extend(self.row(&arms, metric, of(arms.a), of(arms.b)));
            }
        }
        rows
    }

    /// Every arm that one of the runs has, in the order of the cells and levels.
    fn arms(&self) -> Vec<Arms<'a>> {
        let cell_of = |run: &'a ExperimentAnalysis, cell: &Cell| run.cells.iter().find(|other| other.cell == *cell);
        let gone = self.a.cells.iter().filter(|cell| cell_of(self.b, &cell.cell).is_none());
        let mut found = Vec::new();
        for CellAnalysis { cell, .. } in self.b.cells.iter().chain(gone) {
            let (a, b) = (cell_of(self.a, cell), cell_of(self.b, cell));
            let card = &self.b.card;
            let levels = card.factor(&card.treatment).map_or(&[][..], |factor| &factor.levels);
            for level in levels {
                let arm = |cell: Option<&'a CellAnalysis>| cell.and_then(|cell| cell.arm(level));
                let (a, b) = (arm(a), arm(b));
                if a.is_some() || b.is_some() {
                    found.push(Arms { cell, level, a, b });
                }
            }
        }
        found
    }

    /// An arm that delivered wrong bytes has no figures. In B alone that is a regression, whatever the figures were.
    fn failed_check(&self, arms: &Arms<'a>) -> Option<Row> {
        let reason = |arm: Option<&ArmAnalysis>| arm.and_then(|arm| arm.invalid.clone());
        let (change, why) = match (reason(arms.a), reason(arms.b)) {
            (None, None) => return None,
            (None, Some(reason)) => (Change::Regressed, format!("B failed its check ({reason})")),
            (Some(reason), _) => (Change::Incomparable, format!("A failed its check ({reason})")),
        };
        let metric = self.b.card.metric(&self.b.card.deciding_metric)?;
        let row = self.blank(arms, metric);
        Some(Row {
            gates: true,
            change,
            why,
            ..row
        })
    }

    fn row(
        &self,
        arms: &Arms<'a>,
        metric: &MetricCard,
        a: Option<&MetricAnalysis>,
        b: Option<&MetricAnalysis>,
    ) -> Option<Row> {
        let row = self.blank(arms, metric);
        let figure = |of: Option<&MetricAnalysis>| of.map(|of| of.summary.mean);
        let row = Row {
            a: Side::absolute(figure(a), a.map_or(0, |a| a.blocks.len())),
            b: Side::absolute(figure(b), b.map_or(0, |b| b.blocks.len())),
            ..row
        };
        let (a, b) = match (a, b) {
            (None, None) => return None,
            (Some(a), Some(b)) => (a, b),
            (a, _) => {
                let (side, arm) = if a.is_none() { ("A", arms.a) } else { ("B", arms.b) };
                let failed = arm.map_or(0, |arm| arm.failed);
                let why = match failed {
                    0 => format!("{side} has no such figure"),
                    failed => format!("{side} has no such figure: {failed} trials failed"),
                };
                return Some(Row { why, ..row });
            }
        };
        let is_count = is_count(&self.b.card, &metric.name);
        if !is_count && !self.reasons.machine.is_empty() {
            return Some(Row {
                change: Change::Incomparable,
                ..row
            });
        }
        if let Some(row) = exact(&row, metric.better, is_count, a, b) {
            return Some(row);
        }
        Some(self.estimated(row, metric, a, b))
    }

    fn blank(&self, arms: &Arms<'a>, metric: &MetricCard) -> Row {
        let card = &self.b.card;
        let claimed = || card.claims.iter().any(|claim| claim.metric() == metric.name);
        let (low, high) = log_margin(metric.better, card.margin);
        Row {
            cell: arms.cell.clone(),
            level: arms.level.to_owned(),
            metric: metric.name.clone(),
            reference: Reference::Nothing,
            a: Side::default(),
            b: Side::default(),
            ratio: None,
            margin: (low.exp(), high.exp()),
            spread: 0.0,
            p_below: None,
            p_above: None,
            gates: !self.options.metrics.is_empty() || metric.name == card.deciding_metric || claimed(),
            change: Change::Inconclusive,
            why: String::new(),
            evidence: None,
        }
    }
}
