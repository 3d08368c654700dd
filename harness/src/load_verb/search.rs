//! The search for the highest rate that keeps an objective: geometric growth until it breaks, bisection, and held runs that confirm it.
//!
//! It knows nothing of brokers and clocks: a [`System`] is asked to hold a rate and says whether the objective was kept. Nothing is assumed of the
//! system but that more load is not easier; one that contradicts that, by noise, costs tries and never an endless search.

/// What a rate was tried for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// To come nearer to the answer.
    Search,
    /// To see that the answer holds.
    Confirm,
}

impl Stage {
    /// As tables and files call it.
    pub fn as_str(self) -> &'static str {
        match self {
            Stage::Search => "search",
            Stage::Confirm => "confirm",
        }
    }
}

/// What came of holding a rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The objective was kept.
    Kept,
    /// It was not.
    Broken,
    /// The generator did not come up with that rate, so nothing is known of the system.
    GeneratorLimit,
}

/// What is under load.
pub trait System {
    /// Holds a rate of records/s for a while.
    ///
    /// # Errors
    /// The system is gone, or Ctrl-C; the search ends with it.
    fn hold(&mut self, rate: f64, stage: Stage) -> anyhow::Result<Verdict>;
}

/// How far a search goes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bounds {
    /// The first rate, records/s.
    pub from: f64,
    /// The highest rate that is tried, records/s; infinite for none.
    pub to: f64,
    /// A kept rate is multiplied by this until one breaks.
    pub growth: f64,
    /// Bisection ends when the lowest broken rate is within this share of the highest kept one.
    pub precision: f64,
    /// Rates that are tried to find the answer.
    pub tries_max: u32,
    /// Runs that must all keep the objective.
    pub held_runs: u32,
    /// An answer that is not confirmed is lowered by this factor ..
    pub lower: f64,
    /// .. so many times.
    pub lowered_max: u32,
}

impl Bounds {
    /// The usual bounds from a first rate to a highest one.
    pub fn between(from: f64, to: f64) -> Self {
        Self {
            from,
            to,
            growth: 2.0,
            precision: 0.05,
            tries_max: 32,
            held_runs: 3,
            lower: 0.9,
            lowered_max: 6,
        }
    }
}

/// What stood in the way of a higher rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// It broke the objective.
    System,
    /// The generator did not come up with it.
    Generator,
    /// It was not to be tried.
    Bound,
}

/// How a search ended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Ending {
    /// All held runs at this rate kept the objective.
    Confirmed {
        /// Records/s.
        rate: f64,
        /// Why it is no higher.
        limit: Limit,
    },
    /// Not even this rate keeps it.
    NothingKept {
        /// Records/s.
        lowest: f64,
    },
    /// Rates that had kept it did not in the held runs, down to this one.
    NotConfirmed {
        /// Records/s.
        lowest: f64,
    },
}

/// The highest rate that was kept, and the lowest one that was not.
#[derive(Debug, Default)]
struct Between {
    kept: Option<f64>,
    broken: Option<(f64, Verdict)>,
}

impl Between {
    fn add(&mut self, rate: f64, verdict: Verdict) {
        match verdict {
            Verdict::Kept => self.kept = Some(self.kept.map_or(rate, |kept| kept.max(rate))),
            broken => {
                if self.broken.is_none_or(|(lowest, _)| rate < lowest) {
                    self.broken = Some((rate, broken));
                }
                // A rate that was kept above one that broke was luck.
                self.kept = self.kept.filter(|kept| *kept < rate);
            }
        }
    }

    /// The next rate to try; `None` when the answer is near enough.
    fn next(&self, bounds: &Bounds) -> Option<f64> {
        match (self.kept, self.broken) {
            (None, None) => Some(bounds.from),
            (Some(kept), None) => Some((kept * bounds.growth).min(bounds.to)).filter(|rate| *rate > kept),
            (None, Some((broken, _))) => Some(broken / bounds.growth),
            (Some(kept), Some((broken, _))) if broken > kept * (1.0 + bounds.precision) => Some((kept * broken).sqrt()),
            _ => None,
        }
    }
}

/// Searches and confirms.
///
/// # Errors
/// Those of the system.
pub fn search(bounds: &Bounds, system: &mut impl System) -> anyhow::Result<Ending> {
    let mut between = Between::default();
    let mut lowest = bounds.from;
    for _ in 0..bounds.tries_max {
        let Some(rate) = between.next(bounds).filter(|rate| rate.is_finite() && *rate >= 1.0) else {
            break;
        };
        lowest = lowest.min(rate);
        between.add(rate, system.hold(rate, Stage::Search)?);
    }
    let Some(mut rate) = between.kept else {
        return Ok(Ending::NothingKept { lowest });
    };
    for _ in 0..=bounds.lowered_max {
        if is_held(bounds, system, rate)? {
            let limit = match between.broken {
                None => Limit::Bound,
                Some((_, Verdict::GeneratorLimit)) => Limit::Generator,
                Some(_) => Limit::System,
            };
            return Ok(Ending::Confirmed { rate, limit });
        }
        lowest = rate;
        rate *= bounds.lower;
        // Whatever stood above it, the system itself has just broken.
        between.broken = Some((lowest, Verdict::Broken));
    }
    Ok(Ending::NotConfirmed { lowest })
}

/// Whether every held run keeps the objective; ends with the first that does not.
fn is_held(bounds: &Bounds, system: &mut impl System, rate: f64) -> anyhow::Result<bool> {
    for _ in 0..bounds.held_runs {
        if system.hold(rate, Stage::Confirm)? != Verdict::Kept {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A system by a function of rate and the number of the try, and what was asked of it.
    struct Synthetic<F> {
        verdict: F,
        asked: Vec<(f64, Stage)>,
    }

    impl<F: FnMut(f64, usize) -> Verdict> System for Synthetic<F> {
        fn hold(&mut self, rate: f64, stage: Stage) -> anyhow::Result<Verdict> {
            self.asked.push((rate, stage));
            Ok((self.verdict)(rate, self.asked.len()))
        }
    }

    fn run(from: f64, verdict: impl FnMut(f64, usize) -> Verdict) -> (Ending, Vec<(f64, Stage)>) {
        let mut system = Synthetic {
            verdict,
            asked: Vec::new(),
        };
        let ending = search(&Bounds::between(from, f64::INFINITY), &mut system).unwrap();
        (ending, system.asked)
    }

    fn kept_if(kept: bool) -> Verdict {
        if kept { Verdict::Kept } else { Verdict::Broken }
    }

    #[test]
    fn a_queue_is_found_to_five_per_cent_from_below_and_from_above() {
        // p99 of an M/M/1 queue that serves 10,000/s stays below 10 ms up to 9,539/s.
        let p99_s = |rate: f64| {
            if rate < 10_000.0 {
                4.605 / (10_000.0 - rate)
            } else {
                f64::INFINITY
            }
        };
        let limit = 10_000.0 - 4.605 / 0.010;
        for from in [1.0, 100.0, 9_000.0, 40_000.0, 1e6] {
            let (ending, asked) = run(from, |rate, _| kept_if(p99_s(rate) < 0.010));
            let Ending::Confirmed { rate, limit: by } = ending else {
                panic!("{ending:?}")
            };
            assert!(rate <= limit && rate > limit / 1.05, "{from}: {rate}");
            assert_eq!(by, Limit::System);
            let held: Vec<_> = asked.iter().filter(|(_, stage)| *stage == Stage::Confirm).collect();
            assert!(
                held.len() == 3 && held.iter().all(|(held, _)| *held == rate),
                "{asked:?}"
            );
            assert!(asked.len() <= 25, "{} tries from {from}", asked.len());
        }
    }

    #[test]
    fn growth_is_geometric_and_bisection_stays_between() {
        let (_, asked) = run(100.0, |rate, _| kept_if(rate < 1_000.0));
        let rates: Vec<f64> = asked.iter().map(|(rate, _)| *rate).collect();
        assert_eq!(rates[..5], [100.0, 200.0, 400.0, 800.0, 1_600.0]);
        assert!(
            rates[5..].iter().all(|rate| (800.0..1_600.0).contains(rate)),
            "{rates:?}"
        );
    }

    #[test]
    fn what_never_keeps_ends() {
        let (ending, asked) = run(1_000.0, |_, _| Verdict::Broken);
        let Ending::NothingKept { lowest } = ending else {
            panic!("{ending:?}")
        };
        assert!((1.0..2.0).contains(&lowest), "{lowest}");
        assert_eq!(asked.len(), 10);
    }

    #[test]
    fn what_always_keeps_ends_at_the_generator_and_says_so() {
        let (ending, _) = run(1_000.0, |rate, _| {
            if rate > 2e6 {
                Verdict::GeneratorLimit
            } else {
                Verdict::Kept
            }
        });
        let Ending::Confirmed { rate, limit } = ending else {
            panic!("{ending:?}")
        };
        assert!(rate <= 2e6 && rate > 2e6 / 1.05, "{rate}");
        assert_eq!(limit, Limit::Generator);

        // Without any limit the tries are the bound.
        let (ending, asked) = run(1.0, |_, _| Verdict::Kept);
        assert_eq!(asked.len(), 32 + 3);
        assert_eq!(
            ending,
            Ending::Confirmed {
                rate: 2f64.powi(31),
                limit: Limit::Bound
            }
        );
    }

    #[test]
    fn a_search_goes_no_higher_than_it_may() {
        let mut system = Synthetic {
            verdict: |_, _| Verdict::Kept,
            asked: Vec::new(),
        };
        let ending = search(&Bounds::between(100.0, 500.0), &mut system).unwrap();
        assert_eq!(
            ending,
            Ending::Confirmed {
                rate: 500.0,
                limit: Limit::Bound
            }
        );
        let rates: Vec<f64> = system.asked.iter().map(|(rate, _)| *rate).collect();
        assert_eq!(rates, [100.0, 200.0, 400.0, 500.0, 500.0, 500.0, 500.0]);
    }

    #[test]
    fn an_answer_that_does_not_hold_is_lowered() {
        // Every third run breaks above 700/s.
        let (ending, asked) = run(100.0, |rate, count| {
            kept_if(rate < 700.0 || (rate < 1_000.0 && count % 3 != 0))
        });
        let Ending::Confirmed { rate, .. } = ending else {
            panic!("{ending:?}")
        };
        assert!(rate < 700.0, "{rate}: {asked:?}");

        let (ending, asked) = run(100.0, |rate, count| kept_if(rate < 900.0 && count < 10));
        assert!(
            matches!(ending, Ending::NotConfirmed { lowest } if lowest < 500.0),
            "{ending:?}"
        );
        assert!(asked.len() <= 32 + 3 * 7);
    }

    #[test]
    fn luck_above_a_broken_rate_does_not_count() {
        let mut between = Between::default();
        between.add(100.0, Verdict::Kept);
        between.add(800.0, Verdict::Kept);
        between.add(400.0, Verdict::Broken);
        assert_eq!(between.kept, None);
        between.add(200.0, Verdict::Kept);
        assert_eq!(
            (between.kept, between.broken),
            (Some(200.0), Some((400.0, Verdict::Broken)))
        );
    }

    #[test]
    fn noise_costs_tries_and_no_more() {
        let mut state = 7u64;
        let mut coin = move || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            state >> 63 == 1
        };
        for from in [1.0, 1e3, 1e6] {
            let (_, asked) = run(from, |_, _| kept_if(coin()));
            assert!(asked.len() <= 32 + 3 * 7, "{}", asked.len());
        }
    }
}
