//! What a figure is held against in its own run, and how far it moved from one run to the other.

use crate::analysis::{Cell, ExperimentAnalysis, MetricAnalysis};
use crate::estimate::{RatioEstimate, Sample};
use crate::figures;
use crate::schema::{Better, MetricCard};
use crate::verdict::COUNT_TOLERANCE;

use super::judge::{Evidence, moved};
use super::rows::Pair;
use super::welch::Difference;
use super::{Against, Change, Ratio, Reference, Row, Side};

impl Pair<'_> {
    /// A row whose figures vary from block to block.
    pub fn estimated(&self, row: Row, metric: &MetricCard, a: &MetricAnalysis, b: &MetricAnalysis) -> Row {
        let (reference, logs_a, logs_b) = self.against(&row, a, b);
        let (Some(logs_a), Some(logs_b)) = (logs_a, logs_b) else {
            let why = "fewer than two blocks, or zeros among the figures: there is no ratio".to_owned();
            return Row { why, ..row };
        };
        let side = |side: &Side, logs: &Sample| Side {
            figure: side.figure,
            compared: Some(logs.mean().exp()),
            blocks: logs.values().len(),
        };
        let difference = Difference::between(&logs_a, &logs_b);
        let spreads = [self.a, self.b].map(|run| run.spread_in(&metric.name, &row.cell).unwrap_or(0.0));
        // What equal arms differ by is independent in two runs.
        let arms = spreads[0].hypot(spreads[1]);
        let machine = match reference {
            Reference::Nothing if holds_time(&metric.unit) => self.machine_moved(&metric.name),
            _ => 0.0,
        };
        let spread = arms.max(machine);
        let why = if machine > arms {
            format!(
                "smaller than the {} by which the bare loops of the run moved from A to B",
                figures::per_cent(machine.exp_m1())
            )
        } else {
            format!(
                "smaller than the A/A spread of {}, by which equal arms differ",
                figures::per_cent(arms.exp_m1())
            )
        };
        let mut row = Row {
            a: side(&row.a, &logs_a),
            b: side(&row.b, &logs_b),
            ratio: Some(Ratio::of(&difference)),
            spread: spread.exp_m1(),
            reference,
            // Kept only where the judgement rests on it.
            why,
            ..row
        };
        if logs_a == logs_b && a.blocks == b.blocks {
            row.change = Change::Equal;
            row.why.clear();
        } else {
            row.evidence = Some(Evidence {
                difference,
                better: metric.better,
                margin: self.b.card.margin,
                spread,
            });
        }
        row
    }

    /// What the figures are held against, and their logs, block by block.
    fn against(
        &self,
        row: &Row,
        a: &MetricAnalysis,
        b: &MetricAnalysis,
    ) -> (Reference, Option<Sample>, Option<Sample>) {
        let both = |of: fn(&MetricAnalysis) -> &Option<RatioEstimate>| {
            let logs = |metric| of(metric).as_ref().map(|ratio| ratio.logs.clone());
            Some((logs(a)?, logs(b)?))
        };
        let card = &self.b.card;
        let limit = || {
            let cell = self.b.cells.iter().find(|cell| cell.cell == row.cell)?;
            let loops = card.limits_of(&row.level);
            let bare = loops
                .into_iter()
                .find(|bare| cell.limits.iter().any(|limit| limit.level == *bare))?;
            both(|metric| &metric.to_limit).map(|logs| (Reference::Limit(bare), logs))
        };
        let baseline =
            || both(|metric| &metric.to_baseline).map(|logs| (Reference::Baseline(card.baseline.clone()), logs));
        let found = match self.options.against {
            Against::Nothing => None,
            Against::Limit => limit(),
            Against::Baseline => baseline(),
            // Sizes and counts don't follow the machine's speed: against a reference they would show its changes as theirs.
            Against::Auto if !card.metric(&row.metric).is_some_and(|metric| holds_time(&metric.unit)) => None,
            // Where targets are compared the baseline is a whole broker with a life of its own, e.g. what a JVM compiled.
            Against::Auto if card.compares_targets() => limit(),
            Against::Auto => limit().or_else(baseline),
        };
        match found {
            Some((reference, (a, b))) => (reference, Some(a), Some(b)),
            None => {
                let logs =
                    |metric: &MetricAnalysis| Sample::new(metric.blocks.iter().map(|value| value.ln()).collect());
                (Reference::Nothing, logs(a), logs(b))
            }
        }
    }

    pub fn remarks(&self, rows: &[Row]) -> Vec<String> {
        let mut remarks = Vec::new();
        let estimated = || rows.iter().filter(|row| row.gates && row.evidence.is_some());
        let held = |is: fn(&Reference) -> bool| estimated().filter(|row| is(&row.reference)).count();
        let deciding = &self.b.card.deciding_metric;
        if held(|reference| matches!(reference, Reference::Limit(_))) > 0 {
            let moved = self.limits_moved(deciding).map_or(String::new(), |(low, high)| {
                let (low, high) = (figures::ratio(low), figures::ratio(high));
                format!(" From A to B the loops themselves came to {low} to {high}, which is taken out.")
            });
            remarks.push(format!(
                "Figures are held against the bare loop of the same cell, block by block, before the runs are compared: what \
                 the machine does to a whole run cancels out, and what the broker does stays.{moved}"
            ));
        }
        if held(|reference| matches!(reference, Reference::Baseline(_))) > 0 {
            remarks.push(format!(
                "Figures are held against {} in the same block before the runs are compared: the machine cancels out, and so \
                 does what changed in both arms alike; a change of {} alone shows in every arm.",
                self.b.card.baseline,
                self.b.card.baseline
            ));
        }
        if held(|reference| *reference == Reference::Nothing) > 0 {
            remarks.push(
                "Absolute figures have no reference in their run: the interval holds how much their blocks differ, and not how \
                 the machine itself differed between the runs."
                    .to_owned(),
            );
        }
        for (side, run) in [("A", self.a), ("B", self.b)] {
            remarks.extend(run.notes.iter().map(|note| format!("{side}: {note}")));
        }
        remarks
    }

    /// How far a bare loop moved at most, as a log ratio; 0 when none tells.
    fn machine_moved(&self, metric: &str) -> f64 {
        let ends = self
            .limits_moved(metric)
            .map_or([0.0; 2], |(low, high)| [low.ln().abs(), high.ln().abs()]);
        ends[0].max(ends[1])
    }

    /// The least and the most that a bare loop came to, B/A.
    fn limits_moved(&self, metric: &str) -> Option<(f64, f64)> {
        let mean = |run: &ExperimentAnalysis, cell: &Cell, level: &str| {
            let cell = run.cells.iter().find(|other| other.cell == *cell)?;
            let limit = cell.limits.iter().find(|limit| limit.level == level)?;
            Some(limit.metrics.get(metric)?.summary.mean)
        };
        let limits = self
            .b
            .cells
            .iter()
            .flat_map(|cell| cell.limits.iter().map(move |limit| (&cell.cell, &limit.level)));
        let moved = limits.filter_map(|(cell, level)| Some(mean(self.b, cell, level)? / mean(self.a, cell, level)?));
        let moved: Vec<f64> = moved.filter(|ratio| ratio.is_finite() && *ratio > 0.0).collect();
        let low = moved.iter().copied().reduce(f64::min)?;
        Some((low, moved.iter().copied().fold(low, f64::max)))
    }
}

/// Whether a unit has a time in it, such as `MB/s` or `us`.
fn holds_time(unit: &str) -> bool {
    unit.split(['/', ' '])
        .any(|word| ["s", "ms", "us", "ns"].contains(&word))
}

/// Counts that are the same in all blocks of both runs are compared as counts; so is what is never anything but one value on
/// either side, one of them zero.
pub(super) fn exact(row: &Row, better: Better, is_count: bool, a: &MetricAnalysis, b: &MetricAnalysis) -> Option<Row> {
    let constant = |metric: &MetricAnalysis| {
        let first = *metric.blocks.first()?;
        metric.blocks.iter().all(|value| *value == first).then_some(first)
    };
    let (a, b) = (constant(a)?, constant(b)?);
    if !is_count && a != 0.0 && b != 0.0 {
        return None;
    }
    let change = if a == b {
        Change::Equal
    } else if (b - a).abs() <= COUNT_TOLERANCE * a.abs() {
        Change::Equivalent
    } else {
        moved(better, b > a)
    };
    let ratio = (a != 0.0 && b != 0.0).then(|| Ratio {
        ratio: b / a,
        interval: (b / a, b / a),
    });
    Some(Row {
        ratio,
        margin: (1.0 - COUNT_TOLERANCE, 1.0 + COUNT_TOLERANCE),
        change,
        ..row.clone()
    })
}
