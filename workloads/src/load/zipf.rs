//! Zipf-distributed ranks by rejection-inversion (W. Hörmann, G. Derflinger: Rejection-inversion to generate variates from monotone
//! discrete distributions, 1996): no table, and hardly ever a second try, however many ranks there are.

use rand::{Rng, RngExt};

/// Ranks 0 to `count` - 1, of which rank k comes with a probability proportional to 1 / (k + 1)^exponent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Zipf {
    count: f64,
    exponent: f64,
    area_first: f64,
    area_all: f64,
    shortcut: f64,
}

impl Zipf {
    /// `count` is at least 1 and `exponent` above 0.
    pub fn new(count: u64, exponent: f64) -> Self {
        let mut zipf = Self {
            count: count as f64,
            exponent,
            area_first: 0.0,
            area_all: 0.0,
            shortcut: 0.0,
        };
        zipf.area_first = zipf.area(1.5) - 1.0;
        zipf.area_all = zipf.area(zipf.count + 0.5);
        zipf.shortcut = 2.0 - zipf.at_area(zipf.area(2.5) - zipf.density(2.0));
        zipf
    }

    /// A rank.
    pub fn sample(&self, random: &mut impl Rng) -> u64 {
        loop {
            let area = self.area_all + random.random::<f64>() * (self.area_first - self.area_all);
            let x = self.at_area(area);
            let rank = (x + 0.5).floor().clamp(1.0, self.count);
            if rank - x <= self.shortcut || area >= self.area(rank + 0.5) - self.density(rank) {
                return rank as u64 - 1;
            }
        }
    }

    fn density(&self, x: f64) -> f64 {
        (-self.exponent * x.ln()).exp()
    }

    /// The integral of the density from 1 to `x`; the exponent 1 is no special case in this form.
    fn area(&self, x: f64) -> f64 {
        let log = x.ln();
        let power = (1.0 - self.exponent) * log;
        let slope = if power.abs() > 1e-8 {
            power.exp_m1() / power
        } else {
            1.0 + power / 2.0
        };
        slope * log
    }

    /// The inverse of [`Self::area`].
    fn at_area(&self, area: f64) -> f64 {
        let power = (area * (1.0 - self.exponent)).max(-1.0);
        let slope = if power.abs() > 1e-8 {
            power.ln_1p() / power
        } else {
            1.0 - power / 2.0
        };
        (slope * area).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    #[test]
    fn ranks_come_as_often_as_their_probability_says() {
        const SAMPLES: usize = 200_000;
        for (count, exponent) in [(10u64, 1.0), (10, 0.5), (100, 1.2), (3, 2.5), (1, 1.0)] {
            let zipf = Zipf::new(count, exponent);
            let mut random = ChaCha8Rng::seed_from_u64(count);
            let mut seen = vec![0f64; count as usize];
            (0..SAMPLES).for_each(|_| seen[zipf.sample(&mut random) as usize] += 1.0);
            let weight = |rank: usize| ((rank + 1) as f64).powf(-exponent);
            let total: f64 = (0..count as usize).map(weight).sum();
            // Pearson's statistic has a mean of count - 1; five standard deviations above it is chance once in millions.
            let statistic: f64 = (0..count as usize)
                .map(|rank| {
                    let due = SAMPLES as f64 * weight(rank) / total;
                    (seen[rank] - due).powi(2) / due
                })
                .sum();
            let free = (count - 1) as f64;
            assert!(
                statistic <= free + 5.0 * (2.0 * free).sqrt(),
                "{count} {exponent}: {statistic}"
            );
        }
    }

    #[test]
    fn many_ranks_stay_in_their_range() {
        let zipf = Zipf::new(u64::from(u32::MAX), 0.9);
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let ranks: Vec<u64> = (0..10_000).map(|_| zipf.sample(&mut random)).collect();
        assert!(ranks.iter().all(|rank| *rank < u64::from(u32::MAX)));
        assert!(ranks.iter().any(|rank| *rank < 10) && ranks.iter().any(|rank| *rank > 1 << 20));
    }
}
