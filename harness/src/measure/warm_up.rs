//! Warm-up that is tested and not assumed: windows of traffic until a figure is steady, or until the time for it is over.
//!
//! The rule is that of a steady state test by thirds: of the last windows, the mean of the first third and the mean of the last third
//! differ by no more than a tolerance. A virtual machine with a just-in-time compiler approaches its steady state from above, so two
//! means that far apart in time tell a slope from noise.

use std::time::{Duration, Instant};

use results::schema::{Phase, PhasePoint, PhaseSummary};
use workloads::definition::WarmUp;

use crate::interrupt;

/// What a warm-up leaves.
#[derive(Debug)]
pub struct WarmedUp {
    /// A point per window.
    pub points: Vec<PhasePoint>,
    /// A line for people.
    pub summary: PhaseSummary,
}

/// Whose warm-up it is, and what is looked at.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The experiment.
    pub experiment: &'a str,
    /// The target.
    pub target: &'a str,
    /// The load that is used.
    pub arm: &'a str,
    /// The figure, for example `broker_cpu_ms_per_mb`.
    pub metric: &'a str,
    /// Its unit.
    pub unit: &'a str,
}

/// Runs windows until they are steady.
///
/// # Errors
/// What a window says, and Ctrl-C.
pub fn until_steady(
    subject: Subject,
    rule: &WarmUp,
    mut window: impl FnMut() -> anyhow::Result<f64>,
) -> anyhow::Result<WarmedUp> {
    let began = Instant::now();
    let deadline = began + Duration::from_secs(u64::from(rule.seconds_max));
    let mut values = Vec::new();
    let mut points = Vec::new();
    let steady = loop {
        interrupt::check()?;
        let value = window()?;
        points.push(PhasePoint {
            experiment: subject.experiment.to_owned(),
            target: subject.target.to_owned(),
            arm: subject.arm.to_owned(),
            phase: Phase::WarmUp,
            index: values.len() as u32,
            at_ms: began.elapsed().as_millis() as u64,
            metric: subject.metric.to_owned(),
            unit: subject.unit.to_owned(),
            value,
        });
        values.push(value);
        if is_steady(&values, rule) {
            break true;
        }
        if Instant::now() >= deadline {
            break false;
        }
    };
    let (first, last) = (values.first().copied(), values.last().copied());
    Ok(WarmedUp {
        summary: PhaseSummary {
            target: subject.target.to_owned(),
            arm: subject.arm.to_owned(),
            phase: Phase::WarmUp,
            seconds: began.elapsed().as_secs_f64(),
            windows: values.len() as u32,
            steady: Some(steady),
            rule: describe(rule),
            note: match (first, last) {
                (Some(first), Some(last)) => {
                    format!(
                        "{} {first:.3} {} in the first window, {last:.3} in the last",
                        subject.metric, subject.unit
                    )
                }
                _ => String::new(),
            },
        },
        points,
    })
}

/// The rule in words.
pub fn describe(rule: &WarmUp) -> String {
    format!(
        "of the last {} windows of {} ms, first and last third differ by at most {:.0} %",
        rule.windows,
        rule.window_ms,
        rule.tolerance * 100.0
    )
}

fn is_steady(values: &[f64], rule: &WarmUp) -> bool {
    let windows = rule.windows as usize;
    let Some(start) = values.len().checked_sub(windows) else {
        return false;
    };
    let third = (windows / 3).max(1);
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let (early, late) = (
        mean(&values[start..start + third]),
        mean(&values[values.len() - third..]),
    );
    (early - late).abs() <= rule.tolerance * late.abs()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: WarmUp = WarmUp {
        window_ms: 1_000,
        windows: 6,
        seconds_max: 60,
        tolerance: 0.1,
    };
    const SUBJECT: Subject = Subject {
        experiment: "e",
        target: "kafka",
        arm: "plain",
        metric: "broker_cpu_ms_per_mb",
        unit: "ms/MB",
    };

    #[test]
    fn a_falling_figure_is_not_steady_and_a_level_one_is() {
        let falling = [20.0, 10.0, 8.0, 6.5, 6.0, 5.0];
        assert!(!is_steady(&falling, &RULE));
        let mut settled = falling.to_vec();
        settled.extend([4.6, 4.4, 4.5, 4.4, 4.6, 4.4]);
        assert!(is_steady(&settled, &RULE));
        assert!(!is_steady(&settled[6..11], &RULE), "five windows are fewer than six");
        assert!(!is_steady(&[f64::NAN; 6], &RULE), "no figure is no steady one");
    }

    #[test]
    fn it_ends_when_it_is_steady() {
        let mut values = [9.0, 5.0, 4.0, 4.1, 4.0, 4.1, 4.0, 4.1, 4.0].into_iter();
        let warmed = until_steady(SUBJECT, &RULE, || Ok(values.next().unwrap())).unwrap();
        assert_eq!((warmed.summary.windows, warmed.summary.steady), (8, Some(true)));
        assert_eq!(warmed.points.len(), 8);
        assert_eq!(warmed.points[7].index, 7);
    }

    #[test]
    fn one_that_never_settles_is_given_up_and_told() {
        let rule = WarmUp { seconds_max: 0, ..RULE };
        let warmed = until_steady(SUBJECT, &rule, || Ok(1.0)).unwrap();
        assert_eq!((warmed.summary.windows, warmed.summary.steady), (1, Some(false)));
    }
}
