//! When records are to be sent: an absolute schedule that waits for nobody, or none at all.
//!
//! Every time is computed from the start of the schedule and never from the record before it, so no rounding adds up and a record that is
//! sent late moves no other one. Times are made when they are asked for: a backlog is a number and takes no memory.

use super::trace::Trace;
use crate::native::ClientError;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Most records a second that may be asked for.
pub const RATE_MAX: f64 = 100e6;
/// Most steps.
pub const STEPS_MAX: usize = 10_000;
/// Most records on their way with [`Arrivals::Closed`].
pub const OUTSTANDING_MAX: u32 = 1 << 24;
const NS_PER_S: f64 = 1e9;
const NS_PER_MS: f64 = 1e6;

/// When records are to be sent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Arrivals {
    /// As fast as they are acknowledged: a closed loop, which slows down with its target and can't show a stall.
    Closed {
        /// Most records that are not acknowledged; 1 is synchronous.
        outstanding: u32,
    },
    /// One behind the other at equal distances.
    Constant {
        /// Records/s.
        rate: f64,
    },
    /// Independent of each other (exponential distances).
    Poisson {
        /// Mean records/s.
        rate: f64,
    },
    /// Several at the same moment, the moments at equal distances.
    Bursts {
        /// Mean records/s.
        rate: f64,
        /// Records of one moment.
        burst: u32,
    },
    /// One constant rate after the other; the last one goes on.
    Steps {
        /// Records/s of each step.
        rates: Vec<f64>,
        /// How long each takes, ms.
        step_ms: u32,
    },
    /// A rate that grows or falls evenly, and then stays.
    Ramp {
        /// Records/s at the start.
        from: f64,
        /// Records/s at the end.
        to: f64,
        /// How long the way takes, ms.
        over_ms: u32,
    },
    /// The times in a file: CSV whose first column is seconds since the start, rising; a first line of words is left out.
    Trace {
        /// The file.
        path: PathBuf,
    },
}

impl Arrivals {
    /// Whether records wait for a time and not for acknowledgements.
    pub fn is_open(&self) -> bool {
        !matches!(self, Self::Closed { .. })
    }

    /// Checks every figure.
    ///
    /// # Errors
    /// One that cannot work.
    pub fn check(&self) -> Result<(), ClientError> {
        let rate_is_right = |rate: f64| rate > 0.0 && rate <= RATE_MAX;
        let wrong_rate = |rate: f64| {
            Some(format!(
                "a rate of {rate} records/s: choose one above 0 and at most {RATE_MAX}"
            ))
        };
        let wrong = match self {
            Self::Closed { outstanding } if !(1..=OUTSTANDING_MAX).contains(outstanding) => Some(format!(
                "{outstanding} records outstanding: choose 1 to {OUTSTANDING_MAX}"
            )),
            Self::Constant { rate } | Self::Poisson { rate } | Self::Bursts { rate, .. } if !rate_is_right(*rate) => {
                wrong_rate(*rate)
            }
            Self::Bursts { burst: 0, .. } => Some("bursts of no record: choose at least 1".to_owned()),
            Self::Steps { rates, .. } if rates.is_empty() || rates.len() > STEPS_MAX => {
                Some(format!("{} steps: choose 1 to {STEPS_MAX}", rates.len()))
            }
            Self::Steps { step_ms: 0, .. } | Self::Ramp { over_ms: 0, .. } => {
                Some("steps and ramps take at least 1 ms".to_owned())
            }
            Self::Steps { rates, .. } => rates
                .iter()
                .find(|rate| !rate_is_right(**rate))
                .and_then(|rate| wrong_rate(*rate)),
            Self::Ramp { from, to, .. } => [*from, *to]
                .into_iter()
                .find(|rate| !rate_is_right(*rate))
                .and_then(wrong_rate),
            _ => None,
        };
        wrong.map_or(Ok(()), |message| Err(ClientError::Spec(message)))
    }

    /// The times, from the start again. The same seed gives the same ones; only [`Arrivals::Poisson`] looks at it.
    ///
    /// # Errors
    /// A figure that cannot work, or a trace that can't be read. `None` comes for a closed loop, which has no times.
    pub fn schedule(&self, seed: u64) -> Result<Option<Schedule>, ClientError> {
        self.check()?;
        let source = match self {
            Self::Closed { .. } => return Ok(None),
            Self::Constant { rate } => Source::Even {
                ns_per_burst: NS_PER_S / rate,
                burst: 1,
            },
            Self::Bursts { rate, burst } => Source::Even {
                ns_per_burst: NS_PER_S * f64::from(*burst) / rate,
                burst: u64::from(*burst),
            },
            Self::Poisson { rate } => Source::Poisson {
                random: Box::new(ChaCha8Rng::seed_from_u64(seed)),
                ns_mean: NS_PER_S / rate,
                at_ns: 0.0,
            },
            Self::Steps { rates, step_ms } => Source::Steps {
                ns_each: rates.iter().map(|rate| NS_PER_S / rate).collect(),
                step_ns: f64::from(*step_ms) * NS_PER_MS,
                step: 0,
                in_step: 0,
            },
            Self::Ramp { from, to, over_ms } => Source::Ramp {
                from_per_ns: from / NS_PER_S,
                to_per_ns: to / NS_PER_S,
                over_ns: f64::from(*over_ms) * NS_PER_MS,
            },
            Self::Trace { path } => Source::Trace(Trace::open(path)?),
        };
        Ok(Some(Schedule { source, number: 0 }))
    }
}

/// The times of a schedule, one after the other.
#[derive(Debug)]
pub struct Schedule {
    source: Source,
    number: u64,
}

#[derive(Debug)]
enum Source {
    Even {
        ns_per_burst: f64,
        burst: u64,
    },
    Poisson {
        random: Box<ChaCha8Rng>,
        ns_mean: f64,
        at_ns: f64,
    },
    Steps {
        ns_each: Vec<f64>,
        step_ns: f64,
        step: usize,
        in_step: u64,
    },
    Ramp {
        from_per_ns: f64,
        to_per_ns: f64,
        over_ns: f64,
    },
    Trace(Trace),
}

impl Schedule {
    /// The next time, ns since the start of the schedule; `None` when the trace has ended. No time lies before the one in front of it.
    ///
    /// # Errors
    /// Only a trace fails: it can't be read any more, or a line of it is no time.
    pub fn next_ns(&mut self) -> Result<Option<u64>, ClientError> {
        let number = self.number;
        self.number += 1;
        let at_ns = match &mut self.source {
            Source::Even { ns_per_burst, burst } => (number / *burst) as f64 * *ns_per_burst,
            Source::Poisson { random, ns_mean, at_ns } => {
                // 1 - u lies in (0, 1], whose logarithm is finite.
                *at_ns -= (1.0 - random.random::<f64>()).ln() * *ns_mean;
                *at_ns
            }
            Source::Steps {
                ns_each,
                step_ns,
                step,
                in_step,
            } => {
                let mut at_ns = *in_step as f64 * ns_each[*step];
                while at_ns >= *step_ns && *step + 1 < ns_each.len() {
                    (*step, *in_step, at_ns) = (*step + 1, 0, 0.0);
                }
                *in_step += 1;
                *step as f64 * *step_ns + at_ns
            }
            Source::Ramp {
                from_per_ns,
                to_per_ns,
                over_ns,
            } => on_ramp(number as f64, *from_per_ns, *to_per_ns, *over_ns),
            Source::Trace(trace) => return trace.next_ns(),
        };
        Ok(Some(at_ns as u64))
    }
}

/// When `number` records have come whose rate goes from `from` to `to` within `over`: the inverse of from t + (to - from) t^2 / (2 over).
fn on_ramp(number: f64, from: f64, to: f64, over: f64) -> f64 {
    let on_the_way = (from + to) / 2.0 * over;
    if number >= on_the_way {
        return over + (number - on_the_way) / to;
    }
    // In this form nothing cancels, whether the rate grows, falls or stays.
    let root = (from * from + 2.0 * (to - from) / over * number).max(0.0).sqrt();
    2.0 * number / (from + root)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn times(arrivals: &Arrivals, seed: u64, until_ns: u64) -> Vec<u64> {
        let mut schedule = arrivals.schedule(seed).unwrap().unwrap();
        let mut times = Vec::new();
        while let Some(at_ns) = schedule.next_ns().unwrap().filter(|at_ns| *at_ns < until_ns) {
            times.push(at_ns);
        }
        times
    }

    const S: u64 = 1_000_000_000;

    #[test]
    fn counts_are_exact() {
        for (arrivals, seconds, count) in [
            (Arrivals::Constant { rate: 1_000.0 }, 10, 10_000),
            (Arrivals::Constant { rate: 0.5 }, 10, 5),
            (Arrivals::Constant { rate: 3_333.0 }, 3, 9_999),
            (
                Arrivals::Bursts {
                    rate: 1_000.0,
                    burst: 250,
                },
                2,
                2_000,
            ),
            (
                Arrivals::Steps {
                    rates: vec![100.0, 1_000.0, 10.0],
                    step_ms: 1_000,
                },
                5,
                100 + 1_000 + 30,
            ),
            (
                Arrivals::Ramp {
                    from: 100.0,
                    to: 300.0,
                    over_ms: 10_000,
                },
                12,
                2_000 + 600,
            ),
        ] {
            let found = times(&arrivals, 0, seconds * S);
            assert_eq!(found.len(), count, "{arrivals:?}");
        }
    }

    #[test]
    fn bursts_come_at_one_moment() {
        let arrivals = Arrivals::Bursts { rate: 100.0, burst: 4 };
        let found = times(&arrivals, 0, S / 10);
        assert_eq!(
            found,
            [
                0, 0, 0, 0, 40_000_000, 40_000_000, 40_000_000, 40_000_000, 80_000_000, 80_000_000, 80_000_000,
                80_000_000
            ]
        );
    }

    #[test]
    fn poisson_has_the_mean_and_the_spread_that_it_should() {
        let found = times(&Arrivals::Poisson { rate: 10_000.0 }, 3, 10 * S);
        // 100,000 are due, with a standard deviation of 316.
        assert!((98_500..=101_500).contains(&found.len()), "{}", found.len());
        let gaps: Vec<f64> = found.windows(2).map(|pair| (pair[1] - pair[0]) as f64).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        let ratio = variance.sqrt() / mean;
        assert!((0.97..1.03).contains(&ratio), "{ratio}");
    }

    #[test]
    fn a_schedule_does_not_drift() {
        let mut schedule = Arrivals::Constant { rate: 3.0 }.schedule(0).unwrap().unwrap();
        let last = (0..=3_000_000).map(|_| schedule.next_ns().unwrap().unwrap()).last();
        assert_eq!(last, Some(1_000_000 * S));
    }

    fn any_arrivals() -> impl Strategy<Value = Arrivals> {
        let rate = 1.0..5_000.0f64;
        prop_oneof![
            rate.clone().prop_map(|rate| Arrivals::Constant { rate }),
            rate.clone().prop_map(|rate| Arrivals::Poisson { rate }),
            (rate.clone(), 1..500u32).prop_map(|(rate, burst)| Arrivals::Bursts { rate, burst }),
            (proptest::collection::vec(rate.clone(), 1..5), 1..900u32)
                .prop_map(|(rates, step_ms)| Arrivals::Steps { rates, step_ms }),
            (rate.clone(), rate, 1..3_000u32).prop_map(|(from, to, over_ms)| Arrivals::Ramp { from, to, over_ms }),
        ]
    }

    proptest! {
        #[test]
        fn times_rise_and_a_seed_says_all(arrivals in any_arrivals(), seed: u64) {
            let first = times(&arrivals, seed, 2 * S);
            prop_assert!(first.is_sorted());
            prop_assert_eq!(first, times(&arrivals, seed, 2 * S));
        }

        #[test]
        fn a_constant_rate_counts_exactly(rate in 1.0..50_000.0f64) {
            let found = times(&Arrivals::Constant { rate }, 0, 2 * S).len() as f64;
            prop_assert!((found - 2.0 * rate).abs() < 1.0 + 1e-6, "{} at {}", found, rate);
        }

        #[test]
        fn a_ramp_has_its_area(from in 1.0..2_000.0f64, to in 1.0..2_000.0f64) {
            let found = times(&Arrivals::Ramp { from, to, over_ms: 2_000 }, 0, 2 * S).len() as f64;
            prop_assert!((found - (from + to)).abs() <= 1.0 + 1e-6, "{}", found);
        }
    }

    #[test]
    fn what_cannot_work_is_told() {
        let of = |arrivals: Arrivals| arrivals.check().unwrap_err().to_string();
        assert!(of(Arrivals::Closed { outstanding: 0 }).contains("0 records outstanding"));
        for rate in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e9] {
            assert!(of(Arrivals::Constant { rate }).contains("records/s"), "{rate}");
        }
        assert!(of(Arrivals::Bursts { rate: 1.0, burst: 0 }).contains("bursts"));
        let rates = vec![];
        assert!(of(Arrivals::Steps { rates, step_ms: 1 }).contains("0 steps"));
        let rates = vec![1.0, 0.0];
        assert!(of(Arrivals::Steps { rates, step_ms: 1 }).contains("a rate of 0"));
        let (from, to) = (1.0, 2.0);
        assert!(of(Arrivals::Ramp { from, to, over_ms: 0 }).contains("1 ms"));
    }
}
