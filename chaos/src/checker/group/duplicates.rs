//! Records that came to the group again: whose they were, why, and which rebalance it was.

use std::collections::BTreeMap;
use std::ops::Range;

use super::book::Book;
use super::deliveries::Receiver;
use super::{Duplicate, DuplicateClass, Instance};

/// Most rows that are kept; those beyond the budget always are, up to as many again.
const ROWS_MAX: usize = 100_000;

/// Two receivers, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Key {
    holding: u32,
    earlier: u32,
    class: DuplicateClass,
}

/// All of them, runs of offsets with the same owners as one row.
#[derive(Debug, Default)]
pub(super) struct Duplicates {
    pub(super) rows: Vec<Duplicate>,
    pub(super) by_class: BTreeMap<DuplicateClass, u64>,
    beyond: usize,
    /// The last row of each partition.
    last: BTreeMap<u32, (usize, Key)>,
}

impl Duplicates {
    /// Makes the last row of a partition longer, when it goes on there for the same reason.
    fn goes_on(&mut self, partition: u32, offset: i64, key: Key, records: u64) -> bool {
        let Some(&(place, last)) = self.last.get(&partition) else {
            return false;
        };
        let Some(row) = self.rows.get_mut(place).filter(|_| last == key) else {
            return false;
        };
        let goes_on = row.instance.offset.checked_add_unsigned(row.instance.records) == Some(offset);
        if goes_on {
            row.instance.records += records;
        }
        goes_on
    }

    fn has_room(&mut self, class: DuplicateClass) -> bool {
        if class == DuplicateClass::BeyondBudget {
            self.beyond += 1;
            self.beyond <= ROWS_MAX
        } else {
            self.rows.len() < ROWS_MAX + self.beyond
        }
    }
}

impl Book<'_> {
    /// Offsets came to `holding` that had come to somebody before.
    pub(super) fn came_again(
        &mut self,
        holding: u32,
        is_zombie: bool,
        offsets: &Range<i64>,
        earlier: Receiver,
        at_ns: u64,
    ) {
        let held = self.holdings.get(holding);
        // An owner that has been replaced is no work of the rebalance that gave it the partition.
        let caused_in = if is_zombie { self.now_in() } else { held.begun_in };
        let bounds = if is_zombie || earlier.is_zombie {
            [held.floor, i64::MAX, i64::MAX]
        } else {
            [held.floor, held.refused, held.undecided]
        };
        let classes = [
            DuplicateClass::BeyondBudget,
            if is_zombie || earlier.is_zombie {
                DuplicateClass::Zombie
            } else {
                DuplicateClass::CommitRefused
            },
            DuplicateClass::UndecidedCommit,
            DuplicateClass::Uncommitted,
        ];
        let mut from = offsets.start;
        for (class, bound) in classes.into_iter().zip(bounds.into_iter().chain([i64::MAX])) {
            let to = bound.min(offsets.end);
            if to <= from {
                continue;
            }
            let key = Key {
                holding,
                earlier: earlier.holding,
                class,
            };
            self.book_duplicate(key, &(from..to), caused_in, at_ns);
            from = to;
        }
    }

    /// A client handed a record to its member once more, as it went back over a rebalance.
    pub(super) fn rewound(&mut self, holding: u32, offsets: &Range<i64>, at_ns: u64) {
        let key = Key {
            holding,
            earlier: holding,
            class: DuplicateClass::ClientRewind,
        };
        self.book_duplicate(key, offsets, self.now_in(), at_ns);
    }

    fn book_duplicate(&mut self, key: Key, offsets: &Range<i64>, caused_in: Option<usize>, at_ns: u64) {
        let Key {
            holding,
            earlier,
            class,
        } = key;
        let partition = self.holdings.get(holding).partition;
        let records = offsets.start.abs_diff(offsets.end);
        *self.duplicates.by_class.entry(class).or_default() += records;
        let window = caused_in.map_or(0, |place| place + 1);
        if let Some(window) = self.windows.get_mut(window) {
            *window.redelivered.entry(class).or_default() += records;
        }
        if self.duplicates.goes_on(partition, offsets.start, key, records) || !self.duplicates.has_room(class) {
            return;
        }
        let instance = Instance {
            owner: Some(self.owner(holding)),
            earlier: Some(self.owner(earlier)),
            cause: self.cause(caused_in),
            detail: class.name().to_owned(),
            ..self.instance(partition, offsets.start, records, at_ns)
        };
        let row = self.duplicates.rows.len();
        self.duplicates.last.insert(partition, (row, key));
        self.duplicates.rows.push(Duplicate { instance, class });
    }
}
