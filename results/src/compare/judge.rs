//! From differences to what they are called: one rule for all rows that are judged together.

use crate::estimate::holm;
use crate::schema::Better;
use crate::verdict::{ALPHA_EQUIVALENCE, ALPHA_ONE_SIDED};

use super::Change;
use super::welch::Difference;

/// What is known of one row.
#[derive(Debug, Clone, PartialEq)]
pub struct Evidence {
    /// The log of B less that of A.
    pub difference: Difference,
    /// Which direction is good.
    pub better: Better,
    /// The relative margin of the definition.
    pub margin: f64,
    /// By how much equal arms differ in both runs together, as a log ratio; 0 when unknown.
    pub spread: f64,
}

/// What a row is called.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Judged {
    /// The word.
    pub change: Change,
    /// Against "not below the margin", corrected.
    pub p_below: f64,
    /// Against "not above the margin", corrected.
    pub p_above: f64,
    /// It would have been called a difference, had it been larger than the A/A spread.
    pub below_spread: bool,
}

/// Judges rows together: among all of them, the chance of calling a worsening that isn't there is at most
/// [`ALPHA_ONE_SIDED`], and likewise for improvements (Holm, 1979).
pub fn judge(rows: &[Evidence]) -> Vec<Judged> {
    let adjusted = |p: &dyn Fn(&Difference, (f64, f64)) -> f64| {
        let raw = rows
            .iter()
            .map(|row| p(&row.difference, log_margin(row.better, row.margin)));
        holm(&raw.collect::<Vec<_>>())
    };
    let below = adjusted(&|difference, (low, _)| difference.p_below(low));
    let above = adjusted(&|difference, (_, high)| difference.p_above(high));
    let within = adjusted(&|difference, (low, high)| difference.p_within(low, high));
    let judged = rows.iter().enumerate().map(|(index, row)| {
        let (p_below, p_above) = (below[index], above[index]);
        let called = if p_below <= ALPHA_ONE_SIDED {
            Some(moved(row.better, false))
        } else if p_above <= ALPHA_ONE_SIDED {
            Some(moved(row.better, true))
        } else {
            None
        };
        let below_spread = called.is_some() && row.difference.mean().abs() < row.spread;
        let change = match called {
            Some(change) if !below_spread => change,
            _ if within[index] <= ALPHA_EQUIVALENCE => Change::Equivalent,
            _ => Change::Inconclusive,
        };
        Judged {
            change,
            p_below,
            p_above,
            below_spread,
        }
    });
    judged.collect()
}

/// The log ratios B/A between which nothing is called a difference. Where less is better the ratio is turned round first,
/// as in a run.
pub(super) fn log_margin(better: Better, margin: f64) -> (f64, f64) {
    let (less, more) = ((-margin).ln_1p(), margin.ln_1p());
    match better {
        Better::Lower => (-more, -less),
        Better::Higher | Better::Neither => (less, more),
    }
}

/// What a surely larger or smaller figure is called.
pub(super) fn moved(better: Better, is_up: bool) -> Change {
    match (better, is_up) {
        (Better::Neither, _) => Change::Changed,
        (Better::Higher, true) | (Better::Lower, false) => Change::Improved,
        (Better::Higher, false) | (Better::Lower, true) => Change::Regressed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::estimate::Sample;

    fn row(better: Better, ratio: f64, noise: f64) -> Evidence {
        let around = |mean: f64| {
            let values = [-1.5, -0.8, -0.3, 0.0, 0.0, 0.3, 0.8, 1.5].map(|z| mean + z * noise);
            Sample::new(values.to_vec()).unwrap()
        };
        Evidence {
            difference: Difference::between(&around(0.0), &around(ratio.ln())),
            better,
            margin: 0.05,
            spread: 0.0,
        }
    }

    fn change(row: Evidence) -> Change {
        judge(&[row])[0].change
    }

    #[test]
    fn the_good_side_decides_what_a_difference_is_called() {
        use Better::*;
        for (better, up, down) in [
            (Higher, Change::Improved, Change::Regressed),
            (Lower, Change::Regressed, Change::Improved),
            (Neither, Change::Changed, Change::Changed),
        ] {
            assert_eq!(change(row(better, 1.5, 0.02)), up, "{better:?}");
            assert_eq!(change(row(better, 0.7, 0.02)), down, "{better:?}");
            assert_eq!(change(row(better, 1.0, 0.01)), Change::Equivalent, "{better:?}");
            assert_eq!(change(row(better, 1.02, 0.4)), Change::Inconclusive, "{better:?}");
        }
    }

    #[test]
    fn an_effect_below_the_spread_of_equal_arms_is_none() {
        let noisy = Evidence {
            spread: 0.3,
            ..row(Better::Higher, 0.8, 0.01)
        };
        let judged = judge(&[noisy])[0];
        assert_eq!((judged.change, judged.below_spread), (Change::Inconclusive, true));
    }

    #[test]
    fn many_rows_need_more_evidence_than_one() {
        let borderline = row(Better::Higher, 0.89, 0.05);
        assert_eq!(change(borderline.clone()), Change::Regressed);
        let mut many = vec![row(Better::Higher, 1.0, 0.5); 30];
        many.push(borderline);
        assert_eq!(judge(&many)[30].change, Change::Inconclusive);
    }
}
