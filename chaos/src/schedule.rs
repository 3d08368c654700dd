//! The timeline of a run: every action with its time, drawn from a seed.
//!
//! The same scenario and seed give the same schedule, and `schedule.json` in the run folder holds it in full. Times are relative
//! to the end of the action before, because a recovery that takes long must not eat the load between two faults.

use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::cluster::Role;
use crate::scenario::{FaultKind, Scenario, Span};

/// What is done at one point of the timeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "kebab-case")]
pub enum Action {
    /// SIGKILL.
    Kill {
        /// Whom.
        role: Role,
    },
    /// Start again on the same data; done when the role answers and records are acknowledged again.
    Start {
        /// Whom.
        role: Role,
        /// Longer than this is a failure to start.
        ready_within_ms: u64,
    },
}

/// One entry of the timeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimedAction {
    /// Number of the fault that it injects or heals, from 1.
    pub fault: u32,
    /// Microseconds from the end of the action before (of the warm-up for the first one).
    pub after_us: u64,
    /// What is done.
    #[serde(flatten)]
    pub action: Action,
}

impl TimedAction {
    /// The wait before this action.
    pub fn after(&self) -> Duration {
        Duration::from_micros(self.after_us)
    }
}

/// All actions of a run, in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// Name of the scenario.
    pub scenario: String,
    /// Seed that it was drawn from.
    pub seed: u64,
    /// The timeline.
    pub actions: Vec<TimedAction>,
}

impl Schedule {
    /// Draws the timeline: the gap before and the pause after each fault, uniform in the scenario's ranges.
    pub fn from(scenario: &Scenario, seed: u64) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut draw = |span: Span| random.random_range(span.min * 1000..=span.max * 1000);
        let mut actions = Vec::new();
        let mut number = 0;
        for fault in &scenario.faults {
            for _ in 0..fault.repeat {
                number += 1;
                let FaultKind::Kill = fault.kind;
                let kill = Action::Kill { role: fault.role };
                let start = Action::Start {
                    role: fault.role,
                    ready_within_ms: fault.ready_within_ms,
                };
                actions.push(TimedAction {
                    fault: number,
                    after_us: draw(fault.gap_ms),
                    action: kill,
                });
                actions.push(TimedAction {
                    fault: number,
                    after_us: draw(fault.heal_after_ms),
                    action: start,
                });
            }
        }
        Self {
            scenario: scenario.name.clone(),
            seed,
            actions,
        }
    }

    /// Number of faults in it.
    pub fn faults(&self) -> u32 {
        self.actions.last().map_or(0, |timed| timed.fault)
    }

    /// Sum of all waits, without the time that starting takes.
    pub fn waits(&self) -> Duration {
        self.actions.iter().map(TimedAction::after).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_fixes_the_schedule() {
        let scenario = Scenario::load("kill-broker").unwrap();
        let schedule = Schedule::from(&scenario, 7);
        assert_eq!(schedule, Schedule::from(&scenario, 7));
        assert_ne!(schedule.actions, Schedule::from(&scenario, 8).actions);
        let json = serde_json::to_string_pretty(&schedule).unwrap();
        assert_eq!(serde_json::from_str::<Schedule>(&json).unwrap(), schedule);
    }

    #[test]
    fn kills_and_starts_alternate_within_their_ranges() {
        let scenario = Scenario::load("kill-broker").unwrap().with_repeat(500).unwrap();
        let schedule = Schedule::from(&scenario, 1);
        assert_eq!((schedule.actions.len(), schedule.faults()), (1000, 500));
        for (index, timed) in schedule.actions.iter().enumerate() {
            assert_eq!(timed.fault as usize, index / 2 + 1);
            let (range, is_kill) = if index % 2 == 0 {
                (100_000..=700_000, true)
            } else {
                (0..=50_000, false)
            };
            assert!(range.contains(&timed.after_us), "{timed:?}");
            assert_eq!(matches!(timed.action, Action::Kill { .. }), is_kill);
        }
        // Uniform: the mean of 500 gaps is within 5 % of the middle for this seed.
        let gaps: u64 = schedule.actions.iter().step_by(2).map(|timed| timed.after_us).sum();
        assert!((380_000..=420_000).contains(&(gaps / 500)), "{}", gaps / 500);
    }

    /// A schedule drawn by this version is the one that later versions draw: seeds in reports stay valid.
    #[test]
    fn the_first_times_of_seed_1_never_change() {
        let schedule = Schedule::from(&Scenario::load("kill-broker").unwrap(), 1);
        let first: Vec<u64> = schedule.actions.iter().take(4).map(|timed| timed.after_us).collect();
        assert_eq!(first, [341_491, 4_019, 457_936, 10_966]);
    }
}
