//! How far a chaos run is: a bar with the time left on a terminal, and nothing otherwise.

use std::fmt::Write;
use std::time::Duration;

use chaos::run::Progress;
use chaos::{Scenario, Schedule};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

/// The bar; its length is the foreseen time of the run in milliseconds.
pub struct Bar<'a> {
    bar: ProgressBar,
    scenario: &'a Scenario,
    schedule: &'a Schedule,
    /// Restarts so far, and the time that they took together.
    restarts: u32,
    restarting: Duration,
}

/// Time that a run takes at least: the load without faults, and the waits of its schedule.
pub fn scheduled(scenario: &Scenario, schedule: &Schedule) -> Duration {
    let workload = &scenario.workload;
    Duration::from_millis(workload.warm_up_ms + workload.settle_ms) + schedule.waits()
}

impl<'a> Bar<'a> {
    /// A bar on stderr.
    pub fn start(scenario: &'a Scenario, schedule: &'a Schedule) -> Self {
        let length = millis(scheduled(scenario, schedule));
        let bar = ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stderr());
        // The schedule says how long a run takes, so nothing has to be guessed from the pace.
        let left = |state: &ProgressState, out: &mut dyn Write| {
            let whole = Duration::from_millis(state.len().unwrap_or(0));
            let _ = write!(out, "{} s left", whole.saturating_sub(state.elapsed()).as_secs());
        };
        let style = ProgressStyle::with_template("{bar:30} {left}  {msg}");
        bar.set_style(
            style
                .unwrap_or_else(|_| ProgressStyle::default_bar())
                .with_key("left", left),
        );
        bar.enable_steady_tick(Duration::from_millis(250));
        Self {
            bar,
            scenario,
            schedule,
            restarts: 0,
            restarting: Duration::ZERO,
        }
    }

    /// Shows what happened.
    pub fn tell(&mut self, progress: Progress) {
        let of = self.schedule.faults();
        let message = match progress {
            Progress::WarmingUp => "warming up".to_owned(),
            Progress::FaultInjected {
                fault, acknowledged, ..
            } => format!("fault {fault} of {of}, {acknowledged} records acknowledged"),
            Progress::Healed { fault, took } => {
                self.restarts += 1;
                self.restarting += took;
                format!("fault {fault} of {of}, working again after {} ms", took.as_millis())
            }
            Progress::Settling => "settling".to_owned(),
            Progress::Reading { acknowledged } => {
                format!("reading the log back, {acknowledged} records were acknowledged")
            }
        };
        // Restarts come on top of the schedule: those to come are foreseen from those that were.
        let restarts = self.restarting * of / self.restarts.max(1);
        self.bar
            .set_length(millis(scheduled(self.scenario, self.schedule) + restarts));
        self.bar.set_position(millis(self.bar.elapsed()));
        self.bar.set_message(message);
    }
}

impl Drop for Bar<'_> {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
