//! The estimators: how much, how surely, from few blocks.
//!
//! The figure of interest is the ratio of two arms inside a block, because a block shares its weather (caches, clock
//! speed, neighbours). Log ratios of the blocks are treated as a sample from a normal distribution, and Student's t
//! gives the interval and the p values (Student, 1908); a simulation in `tests/it/simulation.rs` shows that it covers
//! what it claims at the block counts in use, which a bootstrap doesn't at so few. Equivalence is two one-sided tests
//! (Schuirmann, 1987), many cells are corrected with Holm's step-down method (Holm, 1979).
//!
//! Nothing here knows what was measured or what was claimed.

use statrs::distribution::{ContinuousCDF, StudentsT};

/// The confidence of every reported interval.
pub const CONFIDENCE: f64 = 0.95;

/// A sample of real numbers (log ratios, or plain values), reduced to what Student's t needs.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    values: Vec<f64>,
    mean: f64,
    standard_error: f64,
    /// Absent when the values do not vary at all.
    distribution: Option<StudentsT>,
}

impl Sample {
    /// The sample, or nothing when there are fewer than two values or one is not finite.
    pub fn new(values: Vec<f64>) -> Option<Self> {
        if values.len() < 2 || values.iter().any(|value| !value.is_finite()) {
            return None;
        }
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0);
        let standard_error = (variance / n).sqrt();
        let distribution = if standard_error > 0.0 {
            StudentsT::new(0.0, 1.0, n - 1.0).ok()
        } else {
            None
        };
        Some(Self {
            values,
            mean,
            standard_error,
            distribution,
        })
    }

    /// The values, in the order of their blocks.
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// The arithmetic mean.
    pub fn mean(&self) -> f64 {
        self.mean
    }

    /// The standard error of the mean.
    pub fn standard_error(&self) -> f64 {
        self.standard_error
    }

    /// The two-sided interval of that confidence (0..1) for the mean.
    pub fn interval(&self, confidence: f64) -> (f64, f64) {
        let quantile = self
            .distribution
            .as_ref()
            .map_or(0.0, |t| t.inverse_cdf(0.5 + confidence / 2.0));
        let half_width = quantile * self.standard_error;
        (self.mean - half_width, self.mean + half_width)
    }

    /// The one-sided p value against "the true mean is at most `bound`": small when the mean lies surely above.
    pub fn p_above(&self, bound: f64) -> f64 {
        match &self.distribution {
            Some(t) => t.sf((self.mean - bound) / self.standard_error),
            None if self.mean > bound => 0.0,
            None => 1.0,
        }
    }

    /// The one-sided p value against "the true mean is at least `bound`": small when the mean lies surely below.
    pub fn p_below(&self, bound: f64) -> f64 {
        match &self.distribution {
            Some(t) => t.cdf((self.mean - bound) / self.standard_error),
            None if self.mean < bound => 0.0,
            None => 1.0,
        }
    }

    /// The p value of two one-sided tests: small when the mean lies surely between `low` and `high`.
    pub fn p_within(&self, low: f64, high: f64) -> f64 {
        self.p_above(low).max(self.p_below(high))
    }

    /// The same sample seen from the other side: the log ratio of baseline to level.
    #[must_use]
    pub fn negated(&self) -> Self {
        Self {
            values: self.values.iter().map(|value| -value).collect(),
            mean: -self.mean,
            ..self.clone()
        }
    }
}

/// The ratio of two arms, estimated from pairs inside blocks.
#[derive(Debug, Clone, PartialEq)]
pub struct RatioEstimate {
    /// The log ratios of the complete blocks.
    pub logs: Sample,
    /// Blocks in which one side is missing, not finite, or not positive.
    pub dropped: usize,
}

impl RatioEstimate {
    /// Pairs are (numerator, denominator) per block, `None` where a trial is missing. `None` when fewer than two
    /// blocks are complete.
    pub fn from_pairs(pairs: impl IntoIterator<Item = (Option<f64>, Option<f64>)>) -> Option<Self> {
        let mut logs = Vec::new();
        let mut dropped = 0;
        for pair in pairs {
            match pair {
                (Some(numerator), Some(denominator)) if is_positive(numerator) && is_positive(denominator) => {
                    logs.push((numerator / denominator).ln());
                }
                _ => dropped += 1,
            }
        }
        Some(Self {
            logs: Sample::new(logs)?,
            dropped,
        })
    }

    /// The geometric mean of the ratios.
    pub fn ratio(&self) -> f64 {
        self.logs.mean().exp()
    }

    /// The two-sided interval of [`CONFIDENCE`] for the ratio.
    pub fn interval(&self) -> (f64, f64) {
        let (low, high) = self.logs.interval(CONFIDENCE);
        (low.exp(), high.exp())
    }

    /// How many blocks went in.
    pub fn blocks(&self) -> usize {
        self.logs.values().len()
    }

    /// The ratio of each complete block, in block order.
    pub fn block_ratios(&self) -> impl Iterator<Item = f64> + '_ {
        self.logs.values().iter().map(|log| log.exp())
    }
}

/// The mean of one arm's metric with its interval over blocks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    /// The geometric mean when every value is positive, else the arithmetic mean.
    pub mean: f64,
    /// The interval of [`CONFIDENCE`]; absent with fewer than two values.
    pub interval: Option<(f64, f64)>,
    /// How many trials went in.
    pub n: usize,
}

impl Summary {
    /// The summary of the finite values, or nothing when there are none.
    pub fn of(values: &[f64]) -> Option<Self> {
        let finite: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
        let n = finite.len();
        if n == 0 {
            return None;
        }
        let geometric = finite.iter().all(|value| *value > 0.0);
        let there = |value: f64| if geometric { value.ln() } else { value };
        let back = |value: f64| if geometric { value.exp() } else { value };
        let scaled: Vec<f64> = finite.into_iter().map(there).collect();
        let mean = back(scaled.iter().sum::<f64>() / n as f64);
        let interval = Sample::new(scaled).map(|sample| {
            let (low, high) = sample.interval(CONFIDENCE);
            (back(low), back(high))
        });
        Some(Self { mean, interval, n })
    }
}

/// Holm's step-down adjustment: the adjusted p values, in the order given. Rejecting those at or below alpha keeps the
/// chance of any false rejection at or below alpha.
pub fn holm(p_values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|left, right| p_values[*left].total_cmp(&p_values[*right]));
    let mut adjusted = vec![1.0; p_values.len()];
    let mut running = 0.0_f64;
    for (rank, index) in order.into_iter().enumerate() {
        let factor = (p_values.len() - rank) as f64;
        running = running.max((factor * p_values[index]).min(1.0));
        adjusted[index] = running;
    }
    adjusted
}

fn is_positive(value: f64) -> bool {
    value.is_finite() && value > 0.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(left: f64, right: f64) {
        assert!((left - right).abs() < 1e-6, "{left} is not {right}");
    }

    #[test]
    fn students_own_sleep_data_gives_the_textbook_interval() {
        // Student (1908), hours of extra sleep; R's t.test says t = 1.3257, df = 9, p = 0.2176, interval -0.5297804 to
        // 2.0297804 for the first drug.
        let sample = Sample::new(vec![0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]).unwrap();
        let (low, high) = sample.interval(0.95);
        close(low, -0.529_780_4);
        close(high, 2.029_780_4);
        close(2.0 * sample.p_above(0.0), 0.217_597_8);
        close(sample.p_above(0.0) + sample.p_below(0.0), 1.0);
    }

    #[test]
    fn equal_values_give_a_point_and_a_clear_answer() {
        let sample = Sample::new(vec![2.0; 5]).unwrap();
        assert_eq!(sample.interval(0.95), (2.0, 2.0));
        assert_eq!(
            (sample.p_above(1.9), sample.p_above(2.0), sample.p_below(2.1)),
            (0.0, 1.0, 0.0)
        );
        assert_eq!(sample.p_within(1.0, 3.0), 0.0);
    }

    #[test]
    fn one_value_or_a_nan_is_no_sample() {
        assert!(Sample::new(vec![1.0]).is_none());
        assert!(Sample::new(vec![1.0, f64::NAN]).is_none());
    }

    #[test]
    fn incomplete_blocks_are_dropped_and_counted() {
        let pairs = [
            (Some(2.0), Some(1.0)),
            (None, Some(1.0)),
            (Some(8.0), Some(2.0)),
            (Some(0.0), Some(1.0)),
            (Some(f64::NAN), Some(1.0)),
        ];
        let estimate = RatioEstimate::from_pairs(pairs).unwrap();
        assert_eq!((estimate.blocks(), estimate.dropped), (2, 3));
        close(estimate.ratio(), 8.0_f64.sqrt());
    }

    #[test]
    fn a_ratio_and_its_inverse_agree() {
        let estimate = RatioEstimate::from_pairs([1.1, 1.3, 1.2].map(|value| (Some(value), Some(1.0)))).unwrap();
        let inverse = estimate.logs.negated();
        let ((low, high), (inverse_low, inverse_high)) = (estimate.logs.interval(0.95), inverse.interval(0.95));
        close(low, -inverse_high);
        close(high, -inverse_low);
        close(estimate.logs.p_above(0.05), inverse.p_below(-0.05));
    }

    #[test]
    fn holm_steps_down() {
        // By hand: 4 x 0.01 = 0.04, 3 x 0.02 = 0.06, 2 x 0.03 = 0.06, 1 x 0.04 = 0.04 raised to the one before.
        let adjusted = holm(&[0.03, 0.01, 0.04, 0.02]);
        for (left, right) in adjusted.into_iter().zip([0.06, 0.04, 0.06, 0.06]) {
            close(left, right);
        }
        assert_eq!(holm(&[]), Vec::<f64>::new());
        assert_eq!(holm(&[0.9, 0.8]), [1.0, 1.0]);
    }

    #[test]
    fn a_summary_is_geometric_where_it_can_be() {
        close(Summary::of(&[1.0, 4.0]).unwrap().mean, 2.0);
        close(Summary::of(&[0.0, 4.0]).unwrap().mean, 2.0);
        let single = Summary::of(&[3.0, f64::NAN]).unwrap();
        assert_eq!((single.n, single.interval), (1, None));
        assert!(Summary::of(&[]).is_none());
    }
}
