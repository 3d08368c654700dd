//! Whether a held rate kept the objective, and why not.

use results::figures::{duration_us, three_digits};
use results::load::LATE_SHARE_MAX;

use super::search::Verdict;
use super::words::Objective;

/// Less of the intended rate than this was not reached.
const REACHED_SHARE: f64 = 0.98;
/// A backlog that grows by more than this share of the rate, from the middle of the window on, grows.
const BACKLOG_GROWTH_SHARE: f64 = 0.02;

/// What is known of a held rate.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// What the schedule came to, records/s; absent for a closed load.
    pub intended_rate: Option<f64>,
    /// Records/s that were acknowledged.
    pub achieved_rate: f64,
    /// The objective's percentile, us; absent with too few samples.
    pub value_us: Option<f64>,
    /// The samples that there were.
    pub samples: u64,
    /// Records that failed or were never taken.
    pub failed: u64,
    /// Records that were acknowledged and that no consumer found.
    pub lost: u64,
    /// Share of records that were enqueued late although nothing stood in their way.
    pub late_share: f64,
    /// Records that wait, second by second: what is outstanding, and what a consumer has not yet.
    pub waiting: Vec<(f64, f64)>,
}

/// The verdict, and why it is no better.
pub fn judge(objective: &Objective, seen: &Seen) -> (Verdict, String) {
    let Some(why) = broken(objective, seen) else {
        return (Verdict::Kept, String::new());
    };
    // A generator that is late falsifies latencies upwards only: what is kept is kept in spite of it.
    if seen.late_share > LATE_SHARE_MAX && seen.failed + seen.lost == 0 {
        let late = 100.0 * seen.late_share;
        return (
            Verdict::GeneratorLimit,
            format!(
                "{why}; the generator was the limit, {} % of its records were late",
                three_digits(late)
            ),
        );
    }
    (Verdict::Broken, why)
}

fn broken(objective: &Objective, seen: &Seen) -> Option<String> {
    if seen.failed > 0 {
        return Some(format!("{} records failed", seen.failed));
    }
    if seen.lost > 0 {
        return Some(format!("{} records were acknowledged and are missing", seen.lost));
    }
    match seen.value_us {
        None => return Some(format!("{} samples are too few for {}", seen.samples, objective.name)),
        Some(value) if value >= objective.bound_us => {
            return Some(format!("{} was {}", objective.name, duration_us(value)));
        }
        Some(_) => {}
    }
    if let Some(intended) = seen
        .intended_rate
        .filter(|intended| seen.achieved_rate < REACHED_SHARE * intended)
    {
        let (achieved, intended) = (three_digits(seen.achieved_rate), three_digits(intended));
        return Some(format!("{achieved}/s of {intended}/s were reached"));
    }
    let growth = growth(&seen.waiting)?;
    let allowed = BACKLOG_GROWTH_SHARE * seen.intended_rate.unwrap_or(seen.achieved_rate);
    (growth > allowed).then(|| format!("the backlog grew by {} records/s", three_digits(growth)))
}

/// How fast what waits grows in the second half of the points, records/s, by least squares.
fn growth(waiting: &[(f64, f64)]) -> Option<f64> {
    let half = &waiting[waiting.len() / 2..];
    if half.len() < 3 {
        return None;
    }
    let count = half.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| half.iter().map(of).sum::<f64>() / count;
    let (mean_x, mean_y) = (mean(|point| point.0), mean(|point| point.1));
    let spread: f64 = half.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
    let together: f64 = half.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
    (spread > 0.0).then(|| together / spread)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen() -> Seen {
        Seen {
            intended_rate: Some(1_000.0),
            achieved_rate: 999.0,
            value_us: Some(9_000.0),
            samples: 5_000,
            failed: 0,
            lost: 0,
            late_share: 0.0,
            waiting: (0..10)
                .map(|second| (f64::from(second), 50.0 + f64::from(second % 2)))
                .collect(),
        }
    }

    fn judged(change: impl FnOnce(&mut Seen)) -> (Verdict, String) {
        let mut seen = seen();
        change(&mut seen);
        judge(&"p99 < 10 ms".parse().unwrap(), &seen)
    }

    #[test]
    fn each_reason_breaks_and_is_named() {
        assert_eq!(judged(|_| ()), (Verdict::Kept, String::new()));
        let (_, why) = judged(|seen| seen.failed = 3);
        assert_eq!(why, "3 records failed");
        let (_, why) = judged(|seen| seen.lost = 2);
        assert_eq!(why, "2 records were acknowledged and are missing");
        let (_, why) = judged(|seen| seen.value_us = Some(12_000.0));
        assert_eq!(why, "p99 was 12 ms");
        let (verdict, why) = judged(|seen| seen.value_us = None);
        assert_eq!(
            (verdict, why.as_str()),
            (Verdict::Broken, "5000 samples are too few for p99")
        );
        let (_, why) = judged(|seen| seen.achieved_rate = 900.0);
        assert_eq!(why, "900/s of 1,000/s were reached");
        let (_, why) = judged(|seen| seen.waiting = (0..10).map(|s| (f64::from(s), 40.0 * f64::from(s))).collect());
        assert_eq!(why, "the backlog grew by 40 records/s");
    }

    #[test]
    fn a_late_generator_is_to_blame_only_for_what_is_broken() {
        assert_eq!(judged(|seen| seen.late_share = 0.5).0, Verdict::Kept);
        let (verdict, why) = judged(|seen| (seen.late_share, seen.achieved_rate) = (0.5, 700.0));
        assert_eq!(verdict, Verdict::GeneratorLimit);
        assert!(why.contains("50 % of its records were late"), "{why}");
        assert_eq!(
            judged(|seen| (seen.late_share, seen.failed) = (0.5, 1)).0,
            Verdict::Broken
        );
    }

    #[test]
    fn a_backlog_that_was_caught_up_does_not_grow() {
        let (verdict, _) = judged(|seen| {
            seen.waiting = (0..20)
                .map(|s| (f64::from(s), if s < 8 { 100.0 * f64::from(s) } else { 60.0 }))
                .collect();
        });
        assert_eq!(verdict, Verdict::Kept);
        assert_eq!(growth(&[(0.0, 1.0), (1.0, 9.0)]), None);
    }
}
