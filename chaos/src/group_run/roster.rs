//! Who is in a group and how far it is, as the notes of its members tell.

use std::collections::BTreeMap;

use workloads::member::{MemberNote, MemberTold};

/// Failures that are kept, in words.
const FAILURES_MAX: usize = 100;

/// How a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    /// It works.
    Running,
    /// It is stopped, or starved.
    Paused,
    /// It was told to leave.
    Leaving,
    /// It has left, was killed, or broke.
    Gone,
}

/// One member.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub slot: u32,
    pub life: Life,
    /// Generation or member epoch that it told last.
    pub epoch: i32,
    /// Partitions that it told last.
    pub partitions: u32,
    /// Times that it was stuck, as it was ordered.
    pub stuck: u32,
    /// Times that its client told that the poll interval was exceeded.
    pub poll_exceeded: u32,
    /// Subscriptions that it has made after the first one.
    pub subscribed: u32,
    /// Times that it told of records it had processed.
    pub advances: u32,
}

/// The group.
#[derive(Debug, Default)]
pub(super) struct Roster {
    members: BTreeMap<u32, Known>,
    /// Next record to process of each partition, as far as anyone is.
    positions: BTreeMap<u32, i64>,
    /// What clients told their applications.
    pub failures: Vec<String>,
}

/// librdkafka's code for a poll interval that was exceeded.
const MAX_POLL_EXCEEDED: i32 = -147;

impl Roster {
    /// A member begins.
    pub fn add(&mut self, member: u32, slot: u32) {
        let known = Known {
            slot,
            life: Life::Running,
            epoch: -1,
            partitions: 0,
            stuck: 0,
            poll_exceeded: 0,
            subscribed: 0,
            advances: 0,
        };
        self.members.insert(member, known);
    }

    /// A member, if it ever began.
    pub fn get(&self, member: u32) -> Option<&Known> {
        self.members.get(&member)
    }

    /// Changes how a member is.
    pub fn set(&mut self, member: u32, life: Life) {
        if let Some(known) = self.members.get_mut(&member) {
            known.life = life;
        }
    }

    /// Members that work, in the order of their numbers.
    pub fn running(&self) -> Vec<u32> {
        let running = self.members.iter().filter(|(_, known)| known.life == Life::Running);
        running.map(|(member, _)| *member).collect()
    }

    /// Whether somebody who was told to leave has not done so.
    pub fn is_anyone_leaving(&self) -> bool {
        self.members.values().any(|known| known.life == Life::Leaving)
    }

    /// Takes a note.
    pub fn note(&mut self, note: MemberNote) {
        let Some(known) = self.members.get_mut(&note.member) else {
            return;
        };
        match note.told {
            MemberTold::Rebalanced { epoch, partitions } => (known.epoch, known.partitions) = (epoch, partitions),
            MemberTold::Counts { positions, .. } => {
                known.advances += 1;
                for (partition, next) in positions {
                    let position = self.positions.entry(partition).or_insert(next);
                    *position = next.max(*position);
                }
            }
            MemberTold::Failed {
                code,
                is_fatal,
                message,
            } => {
                known.poll_exceeded += u32::from(code == MAX_POLL_EXCEEDED);
                if is_fatal {
                    known.life = Life::Gone;
                }
                if self.failures.len() < FAILURES_MAX {
                    self.failures
                        .push(format!("member {}: {message} ({code})", note.member));
                }
            }
            MemberTold::Stuck { .. } => known.stuck += 1,
            MemberTold::Subscribed => known.subscribed += 1,
            MemberTold::Left => known.life = Life::Gone,
        }
    }

    /// Whether everybody is of one generation and `partitions` have an owner each, as far as members know. With none at all it never is.
    pub fn is_settled(&self, partitions: u32) -> bool {
        let mut present = self
            .members
            .values()
            .filter(|known| !matches!(known.life, Life::Gone))
            .peekable();
        let Some(epoch) = present.peek().map(|known| known.epoch) else {
            return false;
        };
        let mut held = 0;
        for known in present {
            if known.life != Life::Running || known.epoch != epoch {
                return false;
            }
            held += known.partitions;
        }
        epoch >= 0 && held == partitions
    }

    /// How often each member told of records it had processed.
    pub fn advances(&self) -> BTreeMap<u32, u32> {
        let of = |(member, known): (&u32, &Known)| (*member, known.advances);
        self.members.iter().map(of).collect()
    }

    /// Whether a member has processed records since `before`. What it tells first may be older, so it has to tell twice.
    pub fn has_advanced(&self, before: &BTreeMap<u32, u32>) -> bool {
        let since = |(member, known): (&u32, &Known)| known.advances - before.get(member).copied().unwrap_or(0);
        self.members.iter().map(since).any(|times| times >= 2)
    }

    /// Who holds how much, in words.
    pub fn told(&self) -> String {
        let present = self.members.iter().filter(|(_, known)| known.life != Life::Gone);
        let words: Vec<String> = present
            .map(|(member, known)| format!("{member}: {} at {}", known.partitions, known.epoch))
            .collect();
        words.join(", ")
    }

    /// Partitions that nobody has processed up to these ends.
    pub fn behind(&self, ends: &[(u32, i64)]) -> usize {
        let is_behind = |(partition, end): &&(u32, i64)| self.positions.get(partition).copied().unwrap_or(0) < *end;
        ends.iter().filter(is_behind).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rebalanced(member: u32, epoch: i32, partitions: u32) -> MemberNote {
        MemberNote {
            member,
            told: MemberTold::Rebalanced { epoch, partitions },
        }
    }

    #[test]
    fn a_group_is_settled_when_all_are_of_one_generation_and_nothing_is_left_over() {
        let mut roster = Roster::default();
        assert!(!roster.is_settled(0));
        roster.add(1, 0);
        roster.add(2, 1);
        roster.note(rebalanced(1, 3, 4));
        assert!(!roster.is_settled(4), "member 2 has not joined");
        roster.note(rebalanced(2, 3, 0));
        assert!(roster.is_settled(4));
        roster.note(rebalanced(1, 4, 2));
        roster.note(rebalanced(2, 3, 2));
        assert!(!roster.is_settled(4), "two generations");
        roster.note(rebalanced(2, 4, 2));
        assert!(roster.is_settled(4) && !roster.is_settled(5));
        roster.set(2, Life::Paused);
        assert!(!roster.is_settled(2));
        roster.set(2, Life::Gone);
        assert!(roster.is_settled(2));
    }

    fn counts(member: u32, next: i64) -> MemberNote {
        MemberNote {
            member,
            told: MemberTold::Counts {
                polled: 0,
                processed: 0,
                positions: vec![(7, next)],
            },
        }
    }

    #[test]
    fn a_group_has_advanced_when_one_member_tells_so_twice() {
        let mut roster = Roster::default();
        roster.add(1, 0);
        roster.note(counts(1, 1));
        let before = roster.advances();
        roster.add(2, 1);
        roster.note(counts(1, 2));
        roster.note(counts(2, 1));
        assert!(!roster.has_advanced(&before));
        roster.note(counts(2, 2));
        assert!(roster.has_advanced(&before));
        assert!(!roster.has_advanced(&roster.advances()));
    }

    #[test]
    fn positions_only_go_forward() {
        let mut roster = Roster::default();
        roster.add(1, 0);
        for next in [5, 3] {
            roster.note(counts(1, next));
        }
        assert_eq!(roster.behind(&[(7, 5), (8, 0)]), 0);
        assert_eq!(roster.behind(&[(7, 6), (8, 1)]), 2);
    }
}
