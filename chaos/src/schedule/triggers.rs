//! The part of a timeline that befalls the members of a group.

use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::draw_us;
use crate::scenario::group::MEMBERS_MAX;
use crate::scenario::{GroupWorkload, Span, TriggerKind};

/// Members that a group is not shrunk below.
const MEMBERS_MIN: u32 = 2;

/// What is done to a group, with every value drawn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "trigger", rename_all = "kebab-case")]
pub enum GroupAction {
    /// SIGKILL, and another process in the same slot.
    Kill {
        /// After this time, us.
        heal_after_us: u64,
    },
    /// SIGSTOP, and SIGCONT.
    Pause {
        /// After this time, us.
        for_us: u64,
    },
    /// A handler that is stuck with one batch.
    SlowHandler {
        /// How long, ms.
        for_ms: u64,
    },
    /// SIGSTOP and SIGCONT in turns.
    Starve {
        /// How long, us.
        for_us: u64,
        /// Share of each 100 ms that the process runs, per cent.
        run_percent: u32,
    },
    /// Members that join, all at once.
    Join {
        /// How many.
        members: u32,
    },
    /// A member that leaves for good.
    Leave,
    /// Each member closed and started again, one after another.
    RollingRestart,
    /// More partitions for the workload's own topic.
    AddPartitions {
        /// How many more.
        by: u32,
    },
    /// Another subscription of all members.
    Subscribe {
        /// Names, or patterns that begin with `^`.
        topics: Vec<String>,
    },
}

/// One entry of a group's timeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimedTrigger {
    /// Number of the fault, from 1.
    pub fault: u32,
    /// Microseconds from the moment when the group had settled after the one before (from the warm-up's end for the first one).
    pub after_us: u64,
    /// Chooses the member: the one at this place, modulo their number, among those that live.
    pub pick: u32,
    /// What is done.
    #[serde(flatten)]
    pub action: GroupAction,
}

impl TimedTrigger {
    /// The wait before it, and what it takes by itself.
    pub fn waits(&self) -> Duration {
        let own_us = match self.action {
            GroupAction::Kill { heal_after_us } => heal_after_us,
            GroupAction::Pause { for_us } | GroupAction::Starve { for_us, .. } => for_us,
            GroupAction::SlowHandler { for_ms } => for_ms.saturating_mul(1_000),
            _ => 0,
        };
        Duration::from_micros(self.after_us.saturating_add(own_us))
    }
}

/// Draws the timeline of a group.
pub(super) fn draw(group: &GroupWorkload, seed: u64) -> Vec<TimedTrigger> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut triggers = Vec::new();
    let mut members = group.members;
    for trigger in &group.triggers {
        for _ in 0..trigger.repeat {
            let action = action(&trigger.kind, &mut random, members);
            members = match &action {
                GroupAction::Join { members: more } => members + more,
                GroupAction::Leave => members - 1,
                _ => members,
            };
            triggers.push(TimedTrigger {
                fault: triggers.len() as u32 + 1,
                after_us: draw_us(&mut random, trigger.gap_ms),
                pick: random.random(),
                action,
            });
        }
    }
    triggers
}

/// Draws the values of one repetition, in a group of `members`. One that the group has no room for becomes the opposite, so that a sequence of
/// random ones neither empties the group nor lets it grow for ever.
fn action(kind: &TriggerKind, random: &mut ChaCha8Rng, members: u32) -> GroupAction {
    // The parser holds numbers far below 2^32.
    let count = |random: &mut ChaCha8Rng, span: Span| {
        u32::try_from(random.random_range(span.min..=span.max)).unwrap_or(u32::MAX)
    };
    match kind {
        TriggerKind::Kill { heal_after_ms } => GroupAction::Kill {
            heal_after_us: draw_us(random, *heal_after_ms),
        },
        TriggerKind::Pause { for_ms } => GroupAction::Pause {
            for_us: draw_us(random, *for_ms),
        },
        TriggerKind::SlowHandler { for_ms } => GroupAction::SlowHandler {
            for_ms: random.random_range(for_ms.min..=for_ms.max),
        },
        TriggerKind::Starve { for_ms, run_percent } => GroupAction::Starve {
            for_us: draw_us(random, *for_ms),
            run_percent: *run_percent,
        },
        TriggerKind::Join { members: more } => match count(random, *more) {
            more if members + more > MEMBERS_MAX => GroupAction::Leave,
            members => GroupAction::Join { members },
        },
        TriggerKind::Leave if members <= MEMBERS_MIN => GroupAction::Join { members: 1 },
        TriggerKind::Leave => GroupAction::Leave,
        TriggerKind::RollingRestart => GroupAction::RollingRestart,
        TriggerKind::AddPartitions { by } => GroupAction::AddPartitions { by: count(random, *by) },
        TriggerKind::Subscribe { topics } => GroupAction::Subscribe { topics: topics.clone() },
        TriggerKind::Any { of } => {
            let kind = &of[random.random_range(0..of.len())];
            action(kind, random, members)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Scenario;
    use crate::schedule::Schedule;

    fn churn(repeat: u32, seed: u64) -> Schedule {
        let scenario = Scenario::load("group-churn").unwrap().with_repeat(repeat).unwrap();
        Schedule::from(&scenario, seed)
    }

    #[test]
    fn the_seed_fixes_what_befalls_whom() {
        let schedule = churn(8, 7);
        assert_eq!(schedule, churn(8, 7));
        assert_ne!(schedule.triggers, churn(8, 8).triggers);
        assert_eq!((schedule.faults(), schedule.actions.len()), (8, 0));
        let json = serde_json::to_string_pretty(&schedule).unwrap();
        assert_eq!(serde_json::from_str::<Schedule>(&json).unwrap(), schedule);
    }

    #[test]
    fn random_sequences_have_all_kinds_and_never_empty_the_group() {
        let mut seen = [false; 4];
        for seed in 0..50 {
            let mut members = 3_u32;
            for timed in churn(40, seed).triggers {
                match timed.action {
                    GroupAction::Kill { heal_after_us } => {
                        assert!((100_000..=800_000).contains(&heal_after_us));
                        seen[0] = true;
                    }
                    GroupAction::Pause { for_us } => {
                        assert!((600_000..=5_200_000).contains(&for_us));
                        seen[1] = true;
                    }
                    GroupAction::Join { members: more } => {
                        members += more;
                        seen[2] = true;
                    }
                    GroupAction::Leave => {
                        members -= 1;
                        seen[3] = true;
                    }
                    other => panic!("{other:?}"),
                }
                assert!((MEMBERS_MIN..=MEMBERS_MAX).contains(&members));
            }
        }
        assert_eq!(seen, [true; 4]);
    }

    /// A schedule drawn by this version is the one that later versions draw: seeds in reports stay valid.
    #[test]
    fn the_first_triggers_of_seed_1_never_change() {
        let schedule = Schedule::from(&Scenario::load("kill-consumer").unwrap(), 1);
        let first: Vec<(u64, u32)> = schedule
            .triggers
            .iter()
            .map(|timed| (timed.after_us, timed.pick))
            .collect();
        assert_eq!(first, [(580_383, 906_430_053), (1_332_456, 1_218_441_811)]);
    }
}
