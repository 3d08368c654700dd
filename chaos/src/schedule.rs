//! The timeline of a run: every action with its time, drawn from a seed.
//!
//! The same scenario and seed give the same schedule, and `schedule.json` in the run folder holds it in full. Times are relative
//! to the end of the action before, because a recovery that takes long must not eat the load between two faults.

use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::cluster::Role;
use crate::proxy::{MILLION, ProxyFault};
use crate::scenario::group::put_behind;
use crate::scenario::{FaultKind, Scenario, Span};

mod triggers;

pub use triggers::{GroupAction, TimedTrigger};

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
    /// Something happens between clients and broker; done when it is over and records are acknowledged again.
    Inject {
        /// What the proxy does.
        injected: ProxyFault,
        /// It is given up after this time.
        over_within_ms: u64,
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
    /// What befalls the members of a group, each once the group has settled after the one before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub triggers: Vec<TimedTrigger>,
}

impl Schedule {
    /// Draws the timeline: the gap before and the pause after each fault, uniform in the scenario's ranges.
    pub fn from(scenario: &Scenario, seed: u64) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut actions = Vec::new();
        let mut number = 0;
        for fault in &scenario.faults {
            for _ in 0..fault.repeat {
                number += 1;
                let mut add = |after_us, action| {
                    actions.push(TimedAction {
                        fault: number,
                        after_us,
                        action,
                    });
                };
                let gap_us = draw_us(&mut random, fault.gap_ms);
                let (role, within_ms) = (fault.role, fault.ready_within_ms);
                let Some(injected) = on_the_way(&fault.kind, &mut random) else {
                    add(gap_us, Action::Kill { role });
                    let ready_within_ms = within_ms;
                    let start = Action::Start { role, ready_within_ms };
                    add(draw_us(&mut random, fault.heal_after_ms), start);
                    continue;
                };
                let over_within_ms = within_ms;
                add(
                    gap_us,
                    Action::Inject {
                        injected,
                        over_within_ms,
                    },
                );
            }
        }
        Self {
            scenario: scenario.name.clone(),
            seed,
            actions,
            triggers: match &scenario.group {
                Some(group) => triggers::draw(group, seed),
                None => Vec::new(),
            },
        }
    }

    /// The same timeline with names as in [`Scenario::with_names_behind`].
    #[must_use]
    pub fn with_names_behind(mut self, before: &str, prefix: &str) -> Self {
        for timed in &mut self.triggers {
            if let GroupAction::Subscribe { topics } = &mut timed.action {
                topics.iter_mut().for_each(|topic| put_behind(topic, before, prefix));
            }
        }
        self
    }

    /// Number of faults in it.
    pub fn faults(&self) -> u32 {
        let of_actions = self.actions.last().map_or(0, |timed| timed.fault);
        of_actions.max(self.triggers.last().map_or(0, |timed| timed.fault))
    }

    /// Sum of all waits, without the time that starting takes.
    pub fn waits(&self) -> Duration {
        let actions: Duration = self.actions.iter().map(TimedAction::after).sum();
        actions + self.triggers.iter().map(TimedTrigger::waits).sum::<Duration>()
    }
}

/// A time in microseconds, uniform in a range of milliseconds.
fn draw_us(random: &mut ChaCha8Rng, span: Span) -> u64 {
    random.random_range(span.min * 1000..=span.max * 1000)
}

/// What the proxy does for a fault of this kind, with every value drawn; `None` for a kill.
fn on_the_way(kind: &FaultKind, random: &mut ChaCha8Rng) -> Option<ProxyFault> {
    // The parser holds it far below 2^32.
    let count = |random: &mut ChaCha8Rng, span: Span| {
        u32::try_from(random.random_range(span.min..=span.max)).unwrap_or(u32::MAX)
    };
    Some(match *kind {
        FaultKind::Kill => return None,
        FaultKind::Cut { ending } => ProxyFault::Cut { ending },
        FaultKind::CutRequest { api, nth, ending } => ProxyFault::CutRequest {
            api,
            nth: count(random, nth),
            at_millionths: random.random_range(0..=MILLION),
            ending,
        },
        FaultKind::DropResponse { api, nth, then } => ProxyFault::DropResponse {
            api,
            nth: count(random, nth),
            then,
        },
        FaultKind::DelayResponse { api, nth, by_ms } => ProxyFault::DelayResponse {
            api,
            nth: count(random, nth),
            by_us: draw_us(random, by_ms),
        },
        FaultKind::Refuse { for_ms } => ProxyFault::Refuse {
            for_us: draw_us(random, for_ms),
        },
    })
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

    #[test]
    fn every_value_of_a_fault_on_the_way_is_drawn_from_its_range() {
        let scenario = Scenario::load("lost-responses").unwrap().with_repeat(200).unwrap();
        let schedule = Schedule::from(&scenario, 1);
        assert_eq!(schedule.faults(), 600);
        let (mut smallest, mut largest) = (u32::MAX, 0);
        for timed in &schedule.actions {
            let Action::Inject {
                injected,
                over_within_ms,
            } = timed.action
            else {
                panic!("{timed:?}");
            };
            assert_eq!(over_within_ms, 30_000);
            match injected {
                ProxyFault::DropResponse { nth, .. } => (smallest, largest) = (smallest.min(nth), largest.max(nth)),
                ProxyFault::DelayResponse { by_us, .. } => assert!((350_000..=400_000).contains(&by_us)),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((smallest, largest), (1, 40));
        let json = serde_json::to_string(&schedule).unwrap();
        assert_eq!(serde_json::from_str::<Schedule>(&json).unwrap(), schedule);
    }

    /// A schedule drawn by this version is the one that later versions draw: seeds in reports stay valid.
    #[test]
    fn the_first_times_of_seed_1_never_change() {
        let schedule = Schedule::from(&Scenario::load("kill-broker").unwrap(), 1);
        let first: Vec<u64> = schedule.actions.iter().take(4).map(|timed| timed.after_us).collect();
        assert_eq!(first, [341_491, 4_019, 457_936, 10_966]);
    }
}
