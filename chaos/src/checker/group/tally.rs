//! What follows from the books at the end: records that nobody got, and the figures of each trigger.

use std::ops::Range;

use super::book::{Book, Partition};
use super::window::millis;
use super::{Duplicate, DuplicateClass, GroupAnomaly, GroupFindings, Holding, HoldingEnd, Instance};
use crate::findings::EXAMPLES_MAX;

impl Book<'_> {
    /// Closes the books.
    pub(super) fn tally(mut self) -> GroupFindings {
        let partitions = std::mem::take(&mut self.partitions);
        for (&partition, one) in &partitions {
            self.skipped(partition, one);
            self.unprocessed(partition, one);
        }
        for partition in self.survey.log.partitions().collect::<Vec<_>>() {
            self.undelivered(partition, partitions.get(&partition));
        }
        self.unanswered();
        self.redelivered();
        self.measures();
        let mut found = self.found;
        found.partitions = u32::try_from(partitions.values().filter(|one| one.newest.is_some()).count()).unwrap_or(0);
        let since_ms = |at_ns: u64| millis(at_ns.saturating_sub(self.survey.start_ns));
        found.detail.ownership = self
            .holdings
            .iter()
            .map(|held| {
                let (to_ns, end) = held.to_ns.unwrap_or((self.end_ns, HoldingEnd::Open));
                Holding {
                    owner: held.owner,
                    partition: held.partition,
                    from_ms: since_ms(held.from_ns),
                    to_ms: since_ms(to_ns),
                    end,
                }
            })
            .collect();
        found
    }

    /// Where the group has come to for certain, as far as there is a log.
    fn passed(&self, partition: u32, one: &Partition) -> i64 {
        let passed = one.reach.max(one.commits.highest);
        self.survey.log.end(partition).map_or(passed, |end| passed.min(end))
    }

    fn skipped(&mut self, partition: u32, one: &Partition) {
        let range = self.survey.log.begin(partition)..self.passed(partition, one);
        for missing in one.deliveries.missing(range) {
            let records = missing.start.abs_diff(missing.end);
            // The hole that it is a part of tells who went past it.
            let hole = one
                .holes
                .iter()
                .find(|hole| hole.offsets.start <= missing.start && missing.start < hole.offsets.end);
            let caused_in = hole.and_then(|hole| hole.caused_in);
            self.book_to(caused_in, |window| window.skipped += records);
            let at_ns = hole.map_or(self.end_ns, |hole| hole.at_ns);
            let instance = Instance {
                owner: hole.map(|hole| self.owner(hole.holding)),
                earlier: hole.and_then(|hole| Some(self.owner(hole.before?))),
                cause: self.cause(caused_in),
                ..self.instance(partition, missing.start, records, at_ns)
            };
            self.found.skipped.add(records, instance);
        }
    }

    fn unprocessed(&mut self, partition: u32, one: &Partition) {
        // An owner that has just polled something may still process it, unless somebody went past it.
        let passed = one.begun_at.max(one.commits.highest).min(one.reach);
        let range = self.survey.log.begin(partition)..passed;
        for (part, receiver) in one.deliveries.within(range) {
            for hole in not_in(&part, &one.processed) {
                let records = hole.start.abs_diff(hole.end);
                let held = self.holdings.get(receiver.holding);
                let (at_ns, how) = held.to_ns.unwrap_or((self.end_ns, HoldingEnd::Open));
                let caused_in = held.ended_in;
                self.book_to(caused_in, |window| window.unprocessed += records);
                let instance = Instance {
                    owner: Some(self.owner(receiver.holding)),
                    cause: self.cause(caused_in),
                    detail: format!("its holding ended: {}", how.name()),
                    ..self.instance(partition, hole.start, records, at_ns)
                };
                self.found.unprocessed.add(records, instance);
            }
        }
    }

    fn undelivered(&mut self, partition: u32, one: Option<&Partition>) {
        let Some(end) = self.survey.log.end(partition) else {
            return;
        };
        if !self.is_subscribed_at_end(partition) {
            return;
        }
        let begin = self.survey.log.begin(partition);
        let passed = one.map_or(begin, |one| self.passed(partition, one)).max(begin);
        let nothing = Partition::default();
        for missing in one.unwrap_or(&nothing).deliveries.missing(passed..end) {
            let records = missing.start.abs_diff(missing.end);
            let newest = one.and_then(|one| one.newest);
            let instance = Instance {
                owner: newest.map(|newest| self.owner(newest)),
                cause: self.cause(newest.and_then(|newest| self.holdings.get(newest).begun_in)),
                ..self.instance(partition, missing.start, records, self.end_ns)
            };
            self.found.undelivered.add(records, instance);
        }
    }

    /// A client may answer after its member has given the partition back, so what waits is known only at the end. Several calls of one
    /// holding count once: a client that commits in its own time sends only the last one.
    fn unanswered(&mut self) {
        let waiting: Vec<Option<usize>> = self
            .holdings
            .iter()
            .filter(|held| !held.calls.is_empty())
            .map(|held| held.ended_in)
            .collect();
        for ended_in in waiting {
            self.found.commits_undecided += 1;
            self.book_to(ended_in, |window| window.commits_undecided += 1);
        }
    }

    fn book_to(&mut self, caused_in: Option<usize>, book: impl FnOnce(&mut super::window::Window)) {
        if let Some(window) = self.windows.get_mut(caused_in.map_or(0, |place| place + 1)) {
            book(window);
        }
    }

    fn redelivered(&mut self) {
        let by_class = &self.duplicates.by_class;
        let of = |rows: &mut dyn Iterator<Item = &Duplicate>, count: u64| GroupAnomaly {
            count,
            examples: rows.take(EXAMPLES_MAX).map(|row| row.instance.clone()).collect(),
        };
        let rows = &self.duplicates.rows;
        let beyond = by_class.get(&DuplicateClass::BeyondBudget).copied().unwrap_or(0);
        self.found.redelivered = of(&mut rows.iter(), by_class.values().sum());
        self.found.redelivered_beyond_budget = of(
            &mut rows.iter().filter(|row| row.class == DuplicateClass::BeyondBudget),
            beyond,
        );
        self.found.redelivered_by_class = by_class.clone();
        self.found.detail.duplicates = std::mem::take(&mut self.duplicates.rows);
    }

    fn measures(&mut self) {
        let (triggers, start_ns) = (&self.survey.triggers, self.survey.start_ns);
        let windows = self.windows.iter().skip(1);
        self.found.rebalances = triggers
            .iter()
            .zip(windows)
            .filter_map(|(trigger, window)| window.measures(trigger, start_ns))
            .collect();
    }
}

/// The parts of a range of offsets that are not in a set.
fn not_in(range: &Range<i64>, set: &crate::intervals::IntervalSet) -> Vec<Range<i64>> {
    let unsigned = |offset: i64| u64::try_from(offset).unwrap_or(0);
    let signed = |offset: u64| i64::try_from(offset).unwrap_or(i64::MAX);
    let mut missing = Vec::new();
    let mut from = range.start;
    for part in set.within(unsigned(range.start)..unsigned(range.end)) {
        if from < signed(part.start) {
            missing.push(from..signed(part.start));
        }
        from = signed(part.end);
    }
    if from < range.end {
        missing.push(from..range.end);
    }
    missing
}
