//! What members poll.

use std::ops::Range;

use workloads::history::{Claim, OffsetRun, Run};

use super::{Book, Hole};
use crate::checker::CheckError;
use crate::checker::group::Instance;
use crate::checker::group::deliveries::Receiver;
use crate::findings::EXAMPLES_MAX;

impl Book<'_> {
    pub(super) fn polled(
        &mut self,
        member: u32,
        epoch: i32,
        run: Run,
        base_offset: i64,
        at_ns: u64,
    ) -> Result<(), CheckError> {
        let offsets = base_offset..base_offset.saturating_add(i64::from(run.count));
        for wrong in self.survey.log.disagreements(run, base_offset) {
            let records = wrong.start.abs_diff(wrong.end);
            self.found.inconsistent_offset.count += records;
            if self.found.inconsistent_offset.examples.len() < EXAMPLES_MAX {
                let sequence = run.base_sequence + wrong.start.abs_diff(base_offset);
                let instance = Instance {
                    cause: self.cause(self.now_in()),
                    detail: format!("was polled as sequence {sequence} of producer {}", run.producer),
                    ..self.instance(run.partition, wrong.start, records, at_ns)
                };
                self.found.inconsistent_offset.examples.push(instance);
            }
        }
        self.delivered(member, epoch, run.partition, offsets, at_ns).map(|_| ())
    }

    /// A payload that nobody wrote is delivered all the same.
    pub(super) fn corrupted(&mut self, place: usize, run: OffsetRun, at_ns: u64) -> Result<(), CheckError> {
        let members = self.survey.by_file.get(&place).cloned().unwrap_or_default();
        let Some(&member) = members
            .iter()
            .find(|member| self.holdings.open_of(**member, run.partition).is_some())
            .or(members.first())
        else {
            return Ok(());
        };
        let offsets = run.base_offset..run.base_offset.saturating_add(i64::from(run.count));
        let holding = self.delivered(member, -1, run.partition, offsets, at_ns)?;
        let instance = Instance {
            owner: Some(self.owner(holding)),
            cause: self.cause(self.now_in()),
            ..self.instance(run.partition, run.base_offset, u64::from(run.count), at_ns)
        };
        self.found.corrupted_poll.add(u64::from(run.count), instance);
        Ok(())
    }

    /// Books a delivery to a member, and gives its holding.
    pub(super) fn delivered(
        &mut self,
        member: u32,
        epoch: i32,
        partition: u32,
        offsets: Range<i64>,
        at_ns: u64,
    ) -> Result<u32, CheckError> {
        let records = offsets.start.abs_diff(offsets.end);
        self.found.polled += records;
        let holding = match self.holdings.open_of(member, partition) {
            Some(holding) => holding,
            None => {
                let claim = Claim {
                    member,
                    epoch,
                    partition,
                };
                let holding = self.begin_holding(claim, at_ns)?;
                self.holdings.get_mut(holding).is_implied = true;
                holding
            }
        };
        if self.holdings.get(holding).is_implied {
            let instance = Instance {
                owner: Some(self.owner(holding)),
                cause: self.cause(self.now_in()),
                ..self.instance(partition, offsets.start, records, at_ns)
            };
            self.found.unowned_poll.add(records, instance);
        }
        let is_rewound = self.is_rewound(holding, offsets.start);
        self.holdings.get_mut(holding).is_rewindable = false;
        if !is_rewound {
            self.look_for_reorder(holding, &offsets, at_ns);
        }
        self.look_for_hole(partition, offsets.start, holding, at_ns);
        let is_zombie = self.is_superseded(partition, holding);
        let one = self.partitions.entry(partition).or_default();
        if self.holdings.get(holding).next.is_none() {
            one.begun_at = one.begun_at.max(offsets.start);
        }
        one.reach = one.reach.max(offsets.end);
        let again = one.deliveries.insert(offsets.clone(), Receiver { holding, is_zombie });
        let next = self.holdings.get(holding).next.unwrap_or(i64::MIN);
        self.holdings.get_mut(holding).next = Some(next.max(offsets.end));
        for (part, earlier) in again {
            if is_rewound && part.start == offsets.start && earlier.holding == holding {
                self.rewound(holding, &part, at_ns);
            } else {
                self.came_again(holding, is_zombie, &part, earlier, at_ns);
            }
        }
        self.gaps_and_lag(partition, holding, records, offsets.end, at_ns);
        Ok(holding)
    }

    pub(super) fn gaps_and_lag(&mut self, partition: u32, holding: u32, records: u64, end: i64, at_ns: u64) {
        if self.is_over {
            return;
        }
        self.gaps.delivered(partition, at_ns);
        if let Some(stall) = self.flow.polled(partition, end, at_ns) {
            self.stalled(stall);
        }
        self.window().delivered(partition, holding, records, at_ns);
    }

    /// Whether another member was given the partition after this holding began.
    pub(super) fn is_superseded(&self, partition: u32, holding: u32) -> bool {
        let newest = self.partitions.get(&partition).and_then(|one| one.newest);
        newest.is_some_and(|newest| newest != holding && self.owner(newest).member != self.owner(holding).member)
    }

    /// Whether a holding begins again at the last record that it polled before a rebalance which it outlived.
    fn is_rewound(&self, holding: u32, from: i64) -> bool {
        let held = self.holdings.get(holding);
        held.is_rewindable && held.next.is_some_and(|next| from == next - 1)
    }

    pub(super) fn look_for_reorder(&mut self, holding: u32, offsets: &Range<i64>, at_ns: u64) {
        let held = self.holdings.get(holding);
        let Some(next) = held.next.filter(|next| offsets.start < *next) else {
            return;
        };
        let records = offsets.start.abs_diff(offsets.end.min(next));
        let instance = Instance {
            owner: Some(held.owner),
            cause: self.cause(self.now_in()),
            detail: format!("offset {} had been polled", next - 1),
            ..self.instance(held.partition, offsets.start, records, at_ns)
        };
        self.found.reordered_poll.add(records, instance);
    }

    /// A group that goes on behind offsets that nobody polled may have skipped them; whether it has is known at the end.
    pub(super) fn look_for_hole(&mut self, partition: u32, to: i64, holding: u32, at_ns: u64) {
        let begin = self.survey.log.begin(partition);
        // An owner that begins there is the work of the rebalance that gave it the partition.
        let held = self.holdings.get(holding);
        let caused_in = if held.next.is_none() {
            held.begun_in
        } else {
            self.now_in()
        };
        let one = self.partitions.entry(partition).or_default();
        let from = one.reach.max(begin);
        if to <= from {
            return;
        }
        let last = from.checked_sub(1).map(|last| one.deliveries.within(last..from));
        let before = last.and_then(|last| Some(last.first()?.1.holding));
        one.holes.push(Hole {
            offsets: from..to,
            holding,
            before,
            caused_in,
            at_ns,
        });
    }
}
