//! How far a chaos run is: a bar with the time left on a terminal, and nothing otherwise.

use std::time::Duration;

use chaos::run::Progress;
use chaos::{Scenario, Schedule};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// The bar; its length is the scheduled time in milliseconds.
pub struct Bar<'a> {
    bar: ProgressBar,
    scenario: &'a Scenario,
    schedule: &'a Schedule,
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
        let style = ProgressStyle::with_template("{bar:30} {eta} left  {msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.enable_steady_tick(Duration::from_millis(500));
        Self {
            bar,
            scenario,
            schedule,
        }
    }

    /// Shows what happened.
    pub fn tell(&self, progress: Progress) {
        let warm_up = Duration::from_millis(self.scenario.workload.warm_up_ms);
        let of = self.schedule.faults();
        let (at, message) = match progress {
            Progress::WarmingUp => (Duration::ZERO, "warming up".to_owned()),
            Progress::FaultInjected {
                fault,
                of,
                acknowledged,
            } => (
                warm_up + self.schedule.waits_until(fault),
                format!("fault {fault} of {of}, {acknowledged} records acknowledged"),
            ),
            Progress::Healed { fault, took } => (
                warm_up + self.schedule.waits_until(fault),
                format!("fault {fault} of {of}, working again after {} ms", took.as_millis()),
            ),
            Progress::Settling => (warm_up + self.schedule.waits(), "settling".to_owned()),
            Progress::Reading { acknowledged } => (
                scheduled(self.scenario, self.schedule),
                format!("reading the log back, {acknowledged} records were acknowledged"),
            ),
        };
        self.bar.set_position(millis(at));
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
