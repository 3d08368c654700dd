//! Who is given what, and who loses it.

use workloads::history::Claim;

use super::Book;
use crate::checker::CheckError;
use crate::checker::group::holdings::held;
use crate::checker::group::window::Ownership;
use crate::checker::group::{HoldingEnd, Instance, Owner};
use crate::findings::EXAMPLES_MAX;

impl Book<'_> {
    pub(super) fn ownership(&mut self, member: u32, what: Ownership, at_ns: u64) {
        if self.is_over {
            return;
        }
        self.gaps.disturbed(at_ns);
        let trigger = self.now_in().and_then(|place| self.survey.triggers.get(place));
        if let Some(window) = self.windows.last_mut() {
            window.ownership(trigger, member, what, at_ns);
        }
    }

    pub(super) fn epoch(&mut self, member: u32, epoch: i32, at_ns: u64) {
        if epoch <= self.highest_epoch || self.is_over {
            return;
        }
        self.highest_epoch = epoch;
        self.window().epoch(epoch);
        let since_ns = at_ns.saturating_sub(self.last_change_ns);
        let Some(bound_ms) = self.rules.settles_within_ms else {
            return;
        };
        if since_ns / 1_000_000 > bound_ms {
            self.found.unsettled.count += 1;
            if self.found.unsettled.examples.len() < EXAMPLES_MAX {
                let owner = Owner {
                    member,
                    slot: self.survey.slot(member),
                    epoch,
                };
                let instance = Instance {
                    owner: Some(owner),
                    cause: self.cause(self.now_in()),
                    detail: format!(
                        "generation {epoch} came {:.1} s after the last change",
                        since_ns as f64 / 1e9
                    ),
                    ..self.instance(0, -1, 0, at_ns)
                };
                self.found.unsettled.examples.push(instance);
            }
        }
    }

    pub(super) fn assigned(&mut self, claim: Claim, at_ns: u64) -> Result<(), CheckError> {
        let Claim {
            member,
            epoch,
            partition,
        } = claim;
        self.ownership(member, Ownership::Given, at_ns);
        self.epoch(member, epoch, at_ns);
        if let Some(open) = self.holdings.open_of(member, partition) {
            self.close_holding(open, HoldingEnd::Revoked, at_ns);
        }
        let holding = self.begin_holding(claim, at_ns)?;
        if self.topic(partition).is_none_or(|topic| topic.subscribed_at_end) {
            self.flow.count(partition, true, at_ns);
        }
        let is_over = self.is_over;
        let window = self.windows.last_mut().filter(|_| !is_over);
        if let Some(window) = window {
            window.given(partition, holding);
        }
        Ok(())
    }

    /// Begins a holding with what is known of the commits before it, and books where the partition came from.
    pub(super) fn begin_holding(&mut self, claim: Claim, at_ns: u64) -> Result<u32, CheckError> {
        let owner = Owner {
            member: claim.member,
            slot: self.survey.slot(claim.member),
            epoch: claim.epoch,
        };
        let now_in = self.now_in();
        let one = self.partitions.entry(claim.partition).or_default();
        let before = one.newest;
        let mut held = held(owner, claim.partition, at_ns, now_in);
        (held.floor, held.refused) = (one.commits.floor(), one.commits.refused);
        let waiting = before.and_then(|before| self.holdings.get(before).highest_call());
        held.undecided = one.commits.undecided.max(waiting.unwrap_or(-1));
        let holding = self.holdings.begin(held)?;
        (one.newest, one.is_owned) = (Some(holding), true);
        if let Some(before) = before
            && !self.is_over
        {
            let before = self.holdings.get(before);
            let (slot, end) = (before.owner.slot, before.to_ns.map(|(_, end)| end));
            let window = self.window();
            if slot != owner.slot {
                window.moved += 1;
            } else if matches!(end, Some(HoldingEnd::Revoked | HoldingEnd::Lost)) {
                window.revoked_in_vain += 1;
            }
        }
        Ok(holding)
    }

    pub(super) fn taken(&mut self, claim: Claim, end: HoldingEnd, at_ns: u64) {
        self.ownership(claim.member, Ownership::Taken, at_ns);
        if let Some(open) = self.holdings.open_of(claim.member, claim.partition) {
            self.close_holding(open, end, at_ns);
        }
    }

    pub(super) fn close_holding(&mut self, holding: u32, end: HoldingEnd, at_ns: u64) {
        let now_in = self.now_in();
        let held = self.holdings.get_mut(holding);
        held.to_ns = Some((at_ns, end));
        held.ended_in = now_in;
        let waiting = held.highest_call();
        if let Some(one) = self.partitions.get_mut(&held.partition) {
            one.commits.undecided = one.commits.undecided.max(waiting.unwrap_or(-1));
            one.is_owned &= one.newest != Some(holding);
        }
    }
}
