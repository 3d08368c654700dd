//! How far a run is: a bar with the time left on a terminal, a line per block in a log.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use results::schema::PlannedTrial;

/// The progress of one run, on stderr.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    trials: usize,
    blocks: u32,
    done: usize,
    first_trial: Option<Instant>,
}

impl Progress {
    /// Starts with nothing done of `trials` trials in `blocks` blocks.
    pub fn start(trials: usize, blocks: u32) -> Self {
        let bar = ProgressBar::with_draw_target(Some(trials as u64), ProgressDrawTarget::stderr());
        bar.set_style(style("{bar:30} {pos}/{len} trials  {wide_msg}"));
        bar.enable_steady_tick(Duration::from_millis(500));
        Progress {
            bar,
            trials,
            blocks,
            done: 0,
            first_trial: None,
        }
    }

    /// Something before or after the trials begins.
    pub fn doing(&self, what: &str) {
        self.bar.set_message(what.to_owned());
        if self.bar.is_hidden() {
            errln!("{what}");
        }
    }

    /// A trial begins.
    pub fn begins(&mut self, trial: &PlannedTrial) {
        let first = *self.first_trial.get_or_insert_with(|| {
            // Pre-loading is no trial: the time left is foreseen from the trials alone.
            self.bar.reset_eta();
            self.bar
                .set_style(style("{bar:30} {pos}/{len} trials, {eta} left  {wide_msg}"));
            Instant::now()
        });
        self.bar.set_message(trial.arm.clone());
        if self.bar.is_hidden() && trial.position == 1 {
            let block = format!("block {} of {}", trial.block, self.blocks);
            let done = format!("{} of {} trials done", self.done, self.trials);
            match self.left(first.elapsed()) {
                Some(left) => errln!("{block}: {done}, about {} s left", left.as_secs().max(1)),
                None => errln!("{block}: {done}"),
            }
        }
    }

    /// Foreseen from the trials so far; unknown before the first one has ended.
    fn left(&self, elapsed: Duration) -> Option<Duration> {
        let per_trial = elapsed.checked_div(u32::try_from(self.done).ok()?)?;
        per_trial.checked_mul(u32::try_from(self.trials - self.done).ok()?)
    }

    /// A trial has ended, well or not.
    pub fn ended(&mut self) {
        self.done += 1;
        self.bar.inc(1);
    }

    /// Prints a line on stderr without tearing the bar.
    pub fn say(&self, line: &str) {
        self.bar.suspend(|| errln!("{line}"));
    }

    /// Takes the bar away.
    pub fn end(self) {
        self.bar.finish_and_clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
