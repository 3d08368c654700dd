//! Who held which partition from when to when, and what each of them called to be committed.

use std::collections::{HashMap, VecDeque};

use super::{HoldingEnd, Owner};
use crate::checker::CheckError;

/// Most holdings, about 150 bytes each.
pub(super) const HOLDINGS_MAX: usize = 1_000_000;
/// Most calls of one holding that wait for their answers; of more, the oldest are forgotten.
const CALLS_MAX: usize = 4_096;

/// A call to commit.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call {
    pub(super) offset: i64,
    pub(super) at_ns: u64,
}

/// A time in which a member held a partition.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) owner: Owner,
    pub(super) partition: u32,
    pub(super) from_ns: u64,
    pub(super) to_ns: Option<(u64, HoldingEnd)>,
    /// Place of the trigger in whose window it began, and in whose window it ended.
    pub(super) begun_in: Option<usize>,
    pub(super) ended_in: Option<usize>,
    /// It was never assigned: a poll showed it.
    pub(super) is_implied: bool,
    /// Offset that the coordinator had accepted for certain before it began.
    pub(super) floor: i64,
    /// Highest offset that an earlier owner had called to be committed by then, and whose outcome was not known.
    pub(super) undecided: i64,
    /// Highest offset that the coordinator had refused to an earlier owner by then.
    pub(super) refused: i64,
    /// One past the highest offset that it polled.
    pub(super) next: Option<i64>,
    /// It outlived a rebalance, and nothing was polled since: its client may go one record back. librdkafka (2.12) pauses what a member
    /// keeps while it asks the member about the rest, and goes on behind the last record that it counted as handed over; it counts one
    /// only after taking it off the queue, and a pause in between comes a record too early (`rd_kafka_toppar_pause_resume`,
    /// `rd_kafka_fetch_op_app_prepare`).
    pub(super) is_rewindable: bool,
    /// Calls without an answer, oldest first.
    pub(super) calls: VecDeque<Call>,
    /// The holding of the same member and partition before it.
    before: Option<u32>,
}

impl Held {
    /// When an offset was called to be committed, for its answer; calls before it are answered by it, too. Where the call is not known
    /// any more, it was called at the earliest when the holding began.
    pub(super) fn answer(&mut self, offset: i64) -> u64 {
        let Some(place) = self.calls.iter().position(|call| call.offset == offset) else {
            while self.calls.front().is_some_and(|call| call.offset <= offset) {
                self.calls.pop_front();
            }
            return self.from_ns;
        };
        let called = self.calls.drain(..=place).next_back();
        called.map_or(self.from_ns, |call| call.at_ns)
    }

    /// Highest offset that waits for an answer.
    pub(super) fn highest_call(&self) -> Option<i64> {
        self.calls.iter().map(|call| call.offset).max()
    }

    pub(super) fn call(&mut self, call: Call) {
        if self.calls.len() >= CALLS_MAX {
            self.calls.pop_front();
        }
        self.calls.push_back(call);
    }
}

/// All holdings.
#[derive(Debug, Default)]
pub(super) struct Holdings {
    all: Vec<Held>,
    /// The last one of each member and partition, open or not.
    last: HashMap<(u32, u32), u32>,
}

impl Holdings {
    pub(super) fn get(&self, place: u32) -> &Held {
        &self.all[place as usize]
    }

    pub(super) fn get_mut(&mut self, place: u32) -> &mut Held {
        &mut self.all[place as usize]
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Held> {
        self.all.iter()
    }

    /// The holding of a member that is open.
    pub(super) fn open_of(&self, member: u32, partition: u32) -> Option<u32> {
        let last = *self.last.get(&(member, partition))?;
        self.get(last).to_ns.is_none().then_some(last)
    }

    /// The last holding of a member, open or not.
    pub(super) fn last_of(&self, member: u32, partition: u32) -> Option<u32> {
        self.last.get(&(member, partition)).copied()
    }

    /// All open holdings of a member, by partition.
    pub(super) fn all_open_of(&self, member: u32) -> Vec<u32> {
        let of_member = self.last.iter().filter(|((one, _), _)| *one == member);
        let mut open: Vec<u32> = of_member
            .map(|(_, place)| *place)
            .filter(|place| self.get(*place).to_ns.is_none())
            .collect();
        open.sort_by_key(|place| self.get(*place).partition);
        open
    }

    /// The holding that a commit belongs to: the last one, unless only the one before it has called that offset.
    pub(super) fn of_commit(&self, member: u32, partition: u32, offset: i64) -> Option<u32> {
        let last = *self.last.get(&(member, partition))?;
        let has_called = |place: u32| self.get(place).calls.iter().any(|call| call.offset == offset);
        let before = self
            .get(last)
            .before
            .filter(|before| !has_called(last) && has_called(*before));
        Some(before.unwrap_or(last))
    }

    /// Begins a holding.
    pub(super) fn begin(&mut self, mut held: Held) -> Result<u32, CheckError> {
        if self.all.len() >= HOLDINGS_MAX {
            return Err(CheckError::TooIrregular {
                what: "times in which a member held a partition",
                limit: HOLDINGS_MAX,
            });
        }
        let place = u32::try_from(self.all.len()).unwrap_or(u32::MAX);
        let key = (held.owner.member, held.partition);
        held.before = self.last.insert(key, place);
        self.all.push(held);
        Ok(place)
    }
}

/// A holding that begins now and knows nothing of what was before.
pub(super) fn held(owner: Owner, partition: u32, from_ns: u64, begun_in: Option<usize>) -> Held {
    Held {
        owner,
        partition,
        from_ns,
        to_ns: None,
        begun_in,
        ended_in: None,
        is_implied: false,
        floor: -1,
        undecided: -1,
        refused: -1,
        next: None,
        is_rewindable: false,
        calls: VecDeque::new(),
        before: None,
    }
}
