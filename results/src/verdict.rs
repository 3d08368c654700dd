//! From evidence to a verdict, one rule for every experiment.
//!
//! A claim is judged in each cell (the levels of all factors but the one under test), the cells' p values are corrected
//! with Holm's method, and then the cells are put together. An effect smaller than what two equal arms differ by (the
//! A/A spread) is never called one. Wording is in [`crate::wording`].

use std::fmt;

use crate::estimate::{Sample, holm};

/// The chance, per claim and direction, of calling a difference that isn't there.
pub const ALPHA_ONE_SIDED: f64 = 0.025;
/// The chance of calling arms equivalent that aren't.
pub const ALPHA_EQUIVALENCE: f64 = 0.05;
/// How far a measured count may be from the claimed one, relatively.
pub const COUNT_TOLERANCE: f64 = 0.005;

/// The answer to a claim, in a cell or as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// The interval lies beyond the margin on the claimed side.
    Confirmed,
    /// It lies beyond it on the other side, or the claimed size is excluded.
    Refuted,
    /// It lies inside the margin: no difference worth the name.
    Equivalent,
    /// Confirmed in some cells and not in others.
    Conditional,
    /// Too wide, or below the A/A spread. Never a success.
    Inconclusive,
    /// The targets run under different durability classes, so that no ratio of theirs means anything.
    Incomparable,
    /// The ledger, the generator or the control failed.
    Invalid,
}

impl Verdict {
    /// The word in capitals, as in every file and table.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Confirmed => "CONFIRMED",
            Self::Refuted => "REFUTED",
            Self::Equivalent => "EQUIVALENT",
            Self::Conditional => "CONDITIONAL",
            Self::Inconclusive => "INCONCLUSIVE",
            Self::Incomparable => "INCOMPARABLE",
            Self::Invalid => "INVALID",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

/// What the ratio has to reach, in terms of "better": above 1 the level beats the baseline.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Criterion {
    /// Beyond 1 + margin.
    Faster {
        /// The relative margin, e.g. 0.05.
        margin: f64,
    },
    /// At least this ratio.
    AtLeast {
        /// The claimed size, e.g. 1.6.
        ratio: f64,
    },
}

impl Criterion {
    /// The log ratio above which the claim holds, and the one below which it is refuted.
    fn bounds(self) -> (f64, f64) {
        match self {
            Self::Faster { margin } => (margin.ln_1p(), (-margin).ln_1p()),
            Self::AtLeast { ratio } => (ratio.ln(), ratio.ln()),
        }
    }

    /// The log ratio from which the effect is counted, for the comparison with the A/A spread.
    fn origin(self) -> f64 {
        match self {
            Self::Faster { .. } => 0.0,
            Self::AtLeast { ratio } => ratio.ln(),
        }
    }
}

/// What a cell's evidence says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Judgement {
    /// The verdict of the cell.
    pub verdict: Verdict,
    /// The p value against the claim's opposite, corrected over the cells of the claim; absent without evidence.
    pub p_adjusted: Option<f64>,
    /// The effect would have been called, had it been larger than the A/A spread.
    pub below_noise: bool,
}

impl Judgement {
    /// A verdict that rests on no p value.
    pub fn plain(verdict: Verdict) -> Self {
        Self {
            verdict,
            p_adjusted: None,
            below_noise: false,
        }
    }
}

/// Judges the cells of one claim together. Each piece of evidence is the sample of log ratios, turned so that above
/// zero is better; `None` is a cell with too few blocks. `spread` gives the A/A spread that bears on the cell
/// at an index as a log ratio, 0 when unknown.
pub fn judge(criterion: Criterion, evidence: &[Option<Sample>], spread: impl Fn(usize) -> f64) -> Vec<Judgement> {
    let (upper, lower) = criterion.bounds();
    let present: Vec<&Sample> = evidence.iter().flatten().collect();
    let adjusted = |p: &dyn Fn(&Sample) -> f64| holm(&present.iter().map(|sample| p(sample)).collect::<Vec<_>>());
    let above = adjusted(&|sample| sample.p_above(upper));
    let below = adjusted(&|sample| sample.p_below(lower));
    let within = match criterion {
        Criterion::Faster { .. } => adjusted(&|sample| sample.p_within(lower, upper)),
        Criterion::AtLeast { .. } => vec![1.0; present.len()],
    };
    let mut index = 0;
    evidence
        .iter()
        .enumerate()
        .map(|(cell, sample)| {
            let Some(sample) = sample else {
                return Judgement::plain(Verdict::Inconclusive);
            };
            let (above, below, within) = (above[index], below[index], within[index]);
            index += 1;
            let called = if above <= ALPHA_ONE_SIDED {
                Some(Verdict::Confirmed)
            } else if below <= ALPHA_ONE_SIDED {
                Some(Verdict::Refuted)
            } else {
                None
            };
            let below_noise = called.is_some() && (sample.mean() - criterion.origin()).abs() < spread(cell);
            let verdict = match called {
                Some(verdict) if !below_noise => verdict,
                _ if within <= ALPHA_EQUIVALENCE => Verdict::Equivalent,
                _ => Verdict::Inconclusive,
            };
            Judgement {
                verdict,
                p_adjusted: Some(above),
                below_noise,
            }
        })
        .collect()
}

/// Whether a measured count is the claimed one.
pub fn judge_count(expected: f64, observed: Option<f64>) -> Judgement {
    Judgement::plain(match observed {
        None => Verdict::Inconclusive,
        Some(value) if (value - expected).abs() <= COUNT_TOLERANCE * expected.abs() => Verdict::Confirmed,
        Some(_) => Verdict::Refuted,
    })
}

/// Puts the cells of one claim together.
pub fn compose(cells: &[Verdict]) -> Verdict {
    let has = |verdict: Verdict| cells.contains(&verdict);
    if has(Verdict::Invalid) {
        Verdict::Invalid
    } else if has(Verdict::Incomparable) {
        Verdict::Incomparable
    } else if cells.is_empty() {
        Verdict::Inconclusive
    } else if has(Verdict::Confirmed) {
        if cells.iter().all(|verdict| *verdict == Verdict::Confirmed) {
            Verdict::Confirmed
        } else {
            Verdict::Conditional
        }
    } else if has(Verdict::Inconclusive) {
        Verdict::Inconclusive
    } else if cells.iter().all(|verdict| *verdict == Verdict::Equivalent) {
        Verdict::Equivalent
    } else {
        Verdict::Refuted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn around(ratio: f64, noise: f64) -> Option<Sample> {
        Sample::new(
            [-1.5, -0.8, -0.3, 0.0, 0.0, 0.3, 0.8, 1.5]
                .map(|z| ratio.ln() + z * noise)
                .to_vec(),
        )
    }

    fn verdicts(criterion: Criterion, evidence: &[Option<Sample>], spread: f64) -> Vec<Verdict> {
        judge(criterion, evidence, |_| spread)
            .into_iter()
            .map(|judgement| judgement.verdict)
            .collect()
    }

    #[test]
    fn faster_has_four_answers() {
        use Verdict::*;
        let cells = [
            around(1.5, 0.02),
            around(0.7, 0.02),
            around(1.0, 0.01),
            around(1.02, 0.4),
            None,
        ];
        let faster = Criterion::Faster { margin: 0.05 };
        assert_eq!(
            verdicts(faster, &cells, 0.0),
            [Confirmed, Refuted, Equivalent, Inconclusive, Inconclusive]
        );
    }

    #[test]
    fn a_size_is_reached_excluded_or_open() {
        use Verdict::*;
        let cells = [around(1.9, 0.02), around(1.2, 0.02), around(1.6, 0.02)];
        assert_eq!(
            verdicts(Criterion::AtLeast { ratio: 1.6 }, &cells, 0.0),
            [Confirmed, Refuted, Inconclusive]
        );
    }

    #[test]
    fn an_effect_below_the_spread_of_equal_arms_is_none() {
        let faster = Criterion::Faster { margin: 0.05 };
        let cells = [around(1.2, 0.01)];
        assert_eq!(verdicts(faster, &cells, 0.1), [Verdict::Confirmed]);
        let judged = judge(faster, &cells, |_| 0.3);
        assert_eq!(
            (judged[0].verdict, judged[0].below_noise),
            (Verdict::Inconclusive, true)
        );
    }

    #[test]
    fn many_cells_need_more_evidence_than_one() {
        let faster = Criterion::Faster { margin: 0.05 };
        let borderline = around(1.10, 0.05);
        let alone = judge(faster, std::slice::from_ref(&borderline), |_| 0.0);
        assert_eq!(alone[0].verdict, Verdict::Confirmed);
        let mut many = vec![around(1.0, 0.5); 30];
        many.push(borderline);
        let judged = judge(faster, &many, |_| 0.0);
        assert_eq!(judged[30].verdict, Verdict::Inconclusive);
        assert!(judged[30].p_adjusted > alone[0].p_adjusted);
    }

    #[test]
    fn counts_are_exact() {
        assert_eq!(judge_count(2.0, Some(2.004)).verdict, Verdict::Confirmed);
        assert_eq!(judge_count(2.0, Some(2.5)).verdict, Verdict::Refuted);
        assert_eq!(judge_count(0.0, Some(0.0)).verdict, Verdict::Confirmed);
        assert_eq!(judge_count(2.0, None).verdict, Verdict::Inconclusive);
    }

    #[test]
    fn cells_are_put_together_by_one_table() {
        use Verdict::*;
        let table: [(&[Verdict], Verdict); 9] = [
            (&[Confirmed, Confirmed], Confirmed),
            (&[Confirmed, Refuted], Conditional),
            (&[Confirmed, Inconclusive], Conditional),
            (&[Refuted, Inconclusive], Inconclusive),
            (&[Equivalent, Equivalent], Equivalent),
            (&[Equivalent, Refuted], Refuted),
            (&[Refuted], Refuted),
            (&[Confirmed, Invalid], Invalid),
            (&[], Inconclusive),
        ];
        for (cells, whole) in table {
            assert_eq!(compose(cells), whole, "{cells:?}");
        }
    }
}
