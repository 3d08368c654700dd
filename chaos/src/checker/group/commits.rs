//! The committed offset of one partition, as far as the histories put it in an order.

use std::collections::VecDeque;

/// Accepted commits that are kept: the last ones, each behind the one before.
const KEPT: usize = 64;

/// An accepted commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Accepted {
    pub(super) offset: i64,
    /// When it was called, and when its answer was written down: the coordinator accepted it in between.
    pub(super) called_ns: u64,
    pub(super) answered_ns: u64,
    /// Place of the holding.
    pub(super) holding: u32,
    /// Its epoch.
    pub(super) epoch: i32,
    pub(super) member: u32,
}

/// What an accepted commit contradicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Contradicted {
    /// It went back behind this one.
    pub(super) regress: Option<Accepted>,
    /// This one is of a newer owner, and was accepted before.
    pub(super) overlap: Option<Accepted>,
}

/// Commits of one partition.
#[derive(Debug)]
pub(super) struct Commits {
    /// The offset rises from one to the next.
    rising: VecDeque<Accepted>,
    /// The newest owner that had a commit accepted: its first one.
    newest: Option<Accepted>,
    /// What the coordinator holds for certain at least.
    floor: i64,
    /// Highest offset that was accepted.
    pub(super) highest: i64,
    /// Highest offset whose outcome is not known, and that was refused.
    pub(super) undecided: i64,
    pub(super) refused: i64,
}

impl Default for Commits {
    fn default() -> Self {
        Self {
            rising: VecDeque::new(),
            newest: None,
            floor: -1,
            highest: -1,
            undecided: -1,
            refused: -1,
        }
    }
}

impl Commits {
    /// The committed offset for certain, -1 when there is none.
    pub(super) fn floor(&self) -> i64 {
        self.floor
    }

    /// Books an accepted commit; they come in the order of their answers.
    pub(super) fn accept(&mut self, commit: Accepted) -> Contradicted {
        self.highest = self.highest.max(commit.offset);
        // Only what was answered before this one was called is surely older.
        let surely_older = self.rising.iter().rfind(|one| one.answered_ns < commit.called_ns);
        let regress = surely_older.filter(|one| one.offset > commit.offset).copied();
        let behind = self.rising.back().filter(|one| one.offset > commit.offset);
        let overlap = self.newest.filter(|newest| {
            newest.epoch > commit.epoch
                && commit.epoch >= 0
                && newest.member != commit.member
                && newest.answered_ns < commit.called_ns
        });
        if self.newest.is_none_or(|newest| newest.epoch < commit.epoch) {
            self.newest = Some(commit);
        }
        match (behind, regress) {
            // It went back: what comes next is held against this one.
            (_, Some(_)) => {
                self.rising.clear();
                self.floor = commit.offset;
                self.rising.push_back(commit);
            }
            // The order is not known: the committed offset may be either of the two.
            (Some(_), None) => self.floor = self.floor.min(commit.offset),
            (None, None) => {
                self.floor = commit.offset;
                if self.rising.back().is_none_or(|last| last.offset < commit.offset) {
                    if self.rising.len() >= KEPT {
                        self.rising.pop_front();
                    }
                    self.rising.push_back(commit);
                }
            }
        }
        Contradicted { regress, overlap }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepted(member: u32, epoch: i32, offset: i64, called_ns: u64, answered_ns: u64) -> Accepted {
        Accepted {
            offset,
            called_ns,
            answered_ns,
            holding: member,
            epoch,
            member,
        }
    }

    #[test]
    fn an_offset_that_goes_back_is_a_regress_only_when_the_order_is_sure() {
        let mut commits = Commits::default();
        assert_eq!(commits.accept(accepted(1, 1, 100, 10, 20)), Contradicted::default());
        assert_eq!(commits.floor(), 100);
        // Called before the other was answered: the coordinator may have seen it first.
        assert_eq!(commits.accept(accepted(1, 1, 90, 15, 30)), Contradicted::default());
        assert_eq!(commits.floor(), 90, "either of the two may be the last");
        assert_eq!(commits.accept(accepted(1, 1, 110, 40, 50)), Contradicted::default());
        let found = commits.accept(accepted(1, 1, 105, 60, 70));
        assert_eq!(found.regress.map(|one| one.offset), Some(110));
        // From there on it goes forward again.
        assert_eq!(commits.accept(accepted(1, 1, 108, 80, 90)), Contradicted::default());
        assert_eq!((commits.floor(), commits.highest), (108, 110));
    }

    #[test]
    fn a_repeated_commit_is_no_regress() {
        let mut commits = Commits::default();
        commits.accept(accepted(1, 1, 100, 10, 20));
        assert_eq!(commits.accept(accepted(1, 1, 100, 30, 40)), Contradicted::default());
    }

    #[test]
    fn an_older_owner_overlaps_only_when_it_called_after_the_newer_one_was_accepted() {
        let mut commits = Commits::default();
        commits.accept(accepted(1, 1, 100, 10, 20));
        commits.accept(accepted(2, 3, 150, 30, 40));
        let held_up = commits.accept(accepted(1, 1, 160, 25, 50));
        assert_eq!(
            held_up.overlap, None,
            "it may have been accepted before the newer owner came"
        );
        let zombie = commits.accept(accepted(1, 1, 170, 45, 60));
        assert_eq!(zombie.overlap.map(|one| one.member), Some(2));
        assert_eq!(zombie.regress, None, "it went forward");
    }
}
