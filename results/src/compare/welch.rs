//! Two samples that share nothing: how far their means are apart, and how surely.
//!
//! The blocks of one run have no partners in another, so nothing can be paired. Welch's t (1947) takes each sample with its
//! own spread, and his degrees of freedom follow from both (Satterthwaite, 1946). A simulation in
//! `tests/it/compare_simulation.rs` shows that it covers what it claims at the block counts in use.

use statrs::distribution::{ContinuousCDF, StudentsT};

use crate::estimate::Sample;

/// How far the mean of one sample lies above that of another.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    mean: f64,
    standard_error: f64,
    /// Absent when neither sample varies at all.
    distribution: Option<StudentsT>,
}

impl Difference {
    /// The mean of `b` less that of `a`.
    pub fn between(a: &Sample, b: &Sample) -> Self {
        let (of_a, of_b) = (a.standard_error().powi(2), b.standard_error().powi(2));
        let both = of_a + of_b;
        let freedom = |of: f64, sample: &Sample| of.powi(2) / (sample.values().len() as f64 - 1.0);
        let distribution = if both > 0.0 {
            StudentsT::new(0.0, 1.0, both.powi(2) / (freedom(of_a, a) + freedom(of_b, b))).ok()
        } else {
            None
        };
        Self {
            mean: b.mean() - a.mean(),
            standard_error: both.sqrt(),
            distribution,
        }
    }

    /// The difference of the means.
    pub fn mean(&self) -> f64 {
        self.mean
    }

    /// The two-sided interval of that confidence (0..1).
    pub fn interval(&self, confidence: f64) -> (f64, f64) {
        let quantile = self
            .distribution
            .as_ref()
            .map_or(0.0, |t| t.inverse_cdf(0.5 + confidence / 2.0));
        let half_width = quantile * self.standard_error;
        (self.mean - half_width, self.mean + half_width)
    }

    /// The one-sided p value against "the true difference is at most `bound`": small when it lies surely above.
    pub fn p_above(&self, bound: f64) -> f64 {
        match &self.distribution {
            Some(t) => t.sf((self.mean - bound) / self.standard_error),
            None if self.mean > bound => 0.0,
            None => 1.0,
        }
    }

    /// The one-sided p value against "the true difference is at least `bound`": small when it lies surely below.
    pub fn p_below(&self, bound: f64) -> f64 {
        match &self.distribution {
            Some(t) => t.cdf((self.mean - bound) / self.standard_error),
            None if self.mean < bound => 0.0,
            None => 1.0,
        }
    }

    /// The p value of two one-sided tests: small when it lies surely between `low` and `high`.
    pub fn p_within(&self, low: f64, high: f64) -> f64 {
        self.p_above(low).max(self.p_below(high))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(left: f64, right: f64) {
        assert!((left - right).abs() < 1e-6, "{left} is not {right}");
    }

    #[test]
    fn students_sleep_data_taken_as_two_groups_gives_the_textbook_interval() {
        // R: t.test(extra ~ group, data = sleep) says t = -1.8608, df = 17.776, p = 0.07939, interval -3.3654832 to 0.2054832
        // for group 1 less group 2.
        let first = Sample::new(vec![0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]).unwrap();
        let second = Sample::new(vec![1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]).unwrap();
        let difference = Difference::between(&second, &first);
        close(difference.mean(), -1.58);
        let (low, high) = difference.interval(0.95);
        close(low, -3.365_483_2);
        close(high, 0.205_483_2);
        assert!((2.0 * difference.p_below(0.0) - 0.079_39).abs() < 5e-6);
        close(difference.p_below(0.0) + difference.p_above(0.0), 1.0);
    }

    #[test]
    fn a_sample_that_does_not_vary_leaves_the_other_ones_freedom() {
        let constant = Sample::new(vec![0.0; 6]).unwrap();
        let varying = Sample::new(vec![0.1, -0.2, 0.3, 0.0]).unwrap();
        let difference = Difference::between(&constant, &varying);
        let (low, high) = difference.interval(0.95);
        let (alone_low, alone_high) = varying.interval(0.95);
        close(low, alone_low);
        close(high, alone_high);
    }

    #[test]
    fn two_constants_give_a_point_and_a_clear_answer() {
        let [two, three] = [2.0, 3.0].map(|value| Sample::new(vec![value; 5]).unwrap());
        let difference = Difference::between(&two, &three);
        assert_eq!(difference.interval(0.95), (1.0, 1.0));
        assert_eq!(
            (
                difference.p_above(0.5),
                difference.p_above(1.0),
                difference.p_within(0.5, 1.5)
            ),
            (0.0, 1.0, 0.0)
        );
    }
}
