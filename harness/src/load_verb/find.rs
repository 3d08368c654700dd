//! The search on a real target: each rate is held by processes of its own, judged, and told.

use anyhow::Context;
use results::figures::three_digits;
use results::load::{Found, Percentiles, Tried};

use super::host::Host;
use super::judge::judge;
use super::live::Live;
use super::plan::Plan;
use super::search::{Bounds, Ending, Limit, Stage, System, Verdict, search};
use super::session::{self, Task};
use super::words::Objective;
use crate::interrupt;

/// Load before each try, s: what was tried before has warmed the broker.
const WARM_UP_S: f64 = 0.3;
/// A percentile needs its samples: a try takes up to so many times as long as it was asked to.
const LONGER_MAX: f64 = 10.0;
/// Often enough to see a backlog grow in a short try, s.
const INTERVAL_S: f64 = 0.2;

/// A target under search.
struct Finder<'a> {
    host: &'a Host,
    plan: &'a Plan,
    objective: &'a Objective,
    try_seconds: f64,
    live: &'a Live,
    tried: Vec<Tried>,
}

impl System for Finder<'_> {
    fn hold(&mut self, rate: f64, stage: Stage) -> anyhow::Result<Verdict> {
        interrupt::check()?;
        let partitions = self.host.partitions;
        let seconds = seconds_for(self.objective, rate, self.try_seconds);
        let what = format!("{} {}/s for {seconds:.1} s", stage.as_str(), three_digits(rate));
        self.live.doing(&what);
        let task = Task {
            load: self.plan.load_at(partitions, rate),
            consumers: self.plan.consumers(partitions),
            warm_up_s: WARM_UP_S,
            seconds,
            interval_s: INTERVAL_S,
        };
        let held = session::hold(self.host, &task, &mut |_| ())?;
        // What was held for a part of its time only is not judged.
        interrupt::check()?;
        let seen = held.seen(self.objective).context("a search without a producer")?;
        let (verdict, why) = judge(self.objective, &seen);
        let found = Percentiles::of(&held.about(self.objective));
        let word = if verdict == Verdict::Kept { "kept" } else { "broken" };
        self.live.say(&format!(
            "{what}: {word}{}{why}",
            if why.is_empty() { "" } else { ", " }
        ));
        self.tried.push(Tried {
            stage: stage.as_str().to_owned(),
            rate,
            achieved_rate: seen.achieved_rate,
            p50_us: found.p50,
            p90_us: found.p90,
            p99_us: found.p99,
            p99_9_us: found.p99_9,
            max_us: found.max,
            kept: verdict == Verdict::Kept,
            why,
        });
        Ok(verdict)
    }
}

/// How long a rate is held, so that its percentile has samples.
fn seconds_for(objective: &Objective, rate: f64, seconds: f64) -> f64 {
    let needed = match objective.quantile < 1.0 {
        true => 1.1 * results::load::SAMPLES_ABOVE_MIN / (1.0 - objective.quantile) / rate,
        false => 0.0,
    };
    seconds.max(needed.min(LONGER_MAX * seconds))
}

/// Searches from a rate on, to another one. After Ctrl-C it is what was tried until then.
///
/// # Errors
/// A client or the target fails.
pub fn find(
    host: &Host,
    plan: &Plan,
    objective: &Objective,
    (from, to): (f64, f64),
    try_seconds: f64,
    live: &Live,
) -> anyhow::Result<Found> {
    let mut finder = Finder {
        host,
        plan,
        objective,
        try_seconds,
        live,
        tried: Vec::new(),
    };
    let bounds = Bounds::between(from, to);
    let (rate, ending) = match search(&bounds, &mut finder) {
        Ok(ending) => told(&ending, objective, bounds.held_runs),
        Err(error) if error.is::<interrupt::Interrupted>() => (None, "the search was interrupted".to_owned()),
        Err(error) => return Err(error),
    };
    Ok(Found {
        objective: objective.text.clone(),
        quantile: objective.quantile,
        bound_us: objective.bound_us,
        end_to_end: objective.end_to_end,
        rate,
        ending,
        tried: finder.tried,
    })
}

/// The confirmed rate, and the ending in a sentence.
fn told(ending: &Ending, objective: &Objective, held_runs: u32) -> (Option<f64>, String) {
    let objective = &objective.text;
    match *ending {
        Ending::Confirmed { rate, limit } => {
            let limit = match limit {
                Limit::System => "",
                Limit::Generator => "; the generator reached no more, so the target may well do better",
                Limit::Bound => "; no higher rate was tried",
            };
            let text = format!(
                "{} records/s keep {objective} in {held_runs} held runs of {held_runs}{limit}",
                three_digits(rate)
            );
            (Some(rate), text)
        }
        Ending::NothingKept { lowest } => (
            None,
            format!("not even {} records/s keep {objective}", three_digits(lowest)),
        ),
        Ending::NotConfirmed { lowest } => (
            None,
            format!(
                "no rate was confirmed: down to {} records/s a held run broke {objective}",
                three_digits(lowest)
            ),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_try_is_as_long_as_its_percentile_needs() {
        let objective = |text: &str| text.parse::<Objective>().unwrap();
        let seconds = |text: &str, rate: f64| seconds_for(&objective(text), rate, 2.0);
        assert_eq!(seconds("p99 < 1 s", 10_000.0), 2.0);
        assert!((seconds("p99.9 < 1 s", 1_000.0) - 11.0).abs() < 1e-9);
        assert_eq!(seconds("p99.99 < 1 s", 10.0), 20.0);
        assert_eq!(seconds("max < 1 s", 1.0), 2.0);
    }

    #[test]
    fn endings_are_sentences() {
        let objective: Objective = "p99 < 10 ms".parse().unwrap();
        let text = |ending| told(&ending, &objective, 3).1;
        let confirmed = |limit| Ending::Confirmed { rate: 8_000.0, limit };
        assert_eq!(
            text(confirmed(Limit::System)),
            "8,000 records/s keep p99 < 10 ms in 3 held runs of 3"
        );
        assert!(text(confirmed(Limit::Generator)).contains("may well do better"));
        assert!(text(confirmed(Limit::Bound)).contains("no higher rate"));
        assert!(text(Ending::NothingKept { lowest: 2.0 }).starts_with("not even 2 records/s"));
        assert_eq!(told(&Ending::NotConfirmed { lowest: 5.0 }, &objective, 3).0, None);
    }
}
