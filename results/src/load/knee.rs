//! Where a throughput-latency curve bends.
//!
//! Kneedle for a convex, rising curve (Satopää, Albrecht, Irwin, Raghavan: "Finding a 'Kneedle' in a Haystack", ICDCS workshops 2011): rate and
//! the logarithm of the latency are both scaled to 0..1, and the knee is where the curve lies deepest below the line from its first to its last
//! point. The logarithm is ours: latencies near saturation are so large that on a linear scale every other point looks flat.

/// A depth below this, as a share of the unit square, is noise and no bend.
const DEPTH_MIN: f64 = 0.1;
/// Fewer points make no curve.
const POINTS_MIN: usize = 4;

/// The rate at the knee of a curve of (rate, latency) where it lies below the rate `below`; `None` where it has none. Several points of one
/// rate count as their median.
pub fn knee(points: &[(f64, f64)], below: f64) -> Option<f64> {
    let curve = curve(points);
    let (first, last) = (curve.first()?, curve.last()?);
    let lowest = curve.iter().map(|point| point.1).fold(f64::INFINITY, f64::min);
    let highest = curve.iter().map(|point| point.1).fold(0.0, f64::max);
    if curve.len() < POINTS_MIN || highest <= lowest {
        return None;
    }
    let depth = |(rate, latency): (f64, f64)| {
        let across = (rate - first.0) / (last.0 - first.0);
        let up = (latency / lowest).ln() / (highest / lowest).ln();
        across - up
    };
    let candidates = curve.iter().filter(|point| point.0 < below);
    let deepest = candidates.max_by(|a, b| depth(**a).total_cmp(&depth(**b)))?;
    (depth(*deepest) >= DEPTH_MIN).then_some(deepest.0)
}

/// The points by rising rate, one per rate: the median of its latencies.
pub fn curve(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let mut sorted: Vec<(f64, f64)> = points.iter().copied().filter(|(_, latency)| *latency > 0.0).collect();
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let of_one_rate = sorted.chunk_by(|a, b| a.0 == b.0);
    of_one_rate.map(|some| some[some.len() / 2]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO_BOUND: f64 = f64::INFINITY;

    /// The mean time in an M/M/1 queue that serves 1,000/s.
    fn queue(rate: f64) -> (f64, f64) {
        (rate, 1e6 / (1_000.0 - rate))
    }

    #[test]
    fn a_queue_bends_before_it_is_full() {
        let points: Vec<_> = (1..=99).map(|tenth| queue(f64::from(tenth) * 10.0)).collect();
        let found = knee(&points, NO_BOUND).unwrap();
        assert!((700.0..950.0).contains(&found), "{found}");
        // Where the objective was broken before, the knee lies in front.
        let before = knee(&points, found - 100.0).unwrap();
        assert!(before < found - 100.0, "{before}");
        assert_eq!(knee(&points, 10.0), None);
        // Noise of one point does not move it: the median of its rate counts.
        let mut noisy = points.clone();
        noisy.extend([(found, 1e9), (found, points[10].1)]);
        assert!(knee(&noisy, NO_BOUND).is_some_and(|noisy| (noisy - found).abs() < 50.0));
    }

    #[test]
    fn what_is_flat_or_short_or_straight_has_none() {
        assert_eq!(knee(&[], NO_BOUND), None);
        assert_eq!(knee(&[queue(1.0), queue(500.0), queue(990.0)], NO_BOUND), None);
        let flat: Vec<_> = (1..20).map(|rate| (f64::from(rate), 5.0)).collect();
        assert_eq!(knee(&flat, NO_BOUND), None);
        let straight: Vec<_> = (1..20).map(|rate| (f64::from(rate), f64::from(rate).exp())).collect();
        assert_eq!(knee(&straight, NO_BOUND), None);
    }

    #[test]
    fn one_rate_counts_once() {
        assert_eq!(
            curve(&[(2.0, 9.0), (1.0, 4.0), (2.0, 7.0), (2.0, 8.0), (3.0, 0.0)]),
            [(1.0, 4.0), (2.0, 8.0)]
        );
    }
}
