//! What is booked between one trigger and the next.

use std::collections::{BTreeMap, BTreeSet};

use super::flow::LagOfWindow;
use super::gaps::Gaps;
use super::survey::Trigger;
use super::{DuplicateClass, PartitionStop, Quantiles, RebalanceMeasures, moved_least};
use workloads::history::FaultKind;

/// A partition that was given to an owner.
#[derive(Debug, Clone, Copy)]
struct Given {
    holding: u32,
    /// Its first record under that owner.
    again_ns: Option<u64>,
}

/// The owners of partitions, and who is in the group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Owners {
    /// Slot of the owner, by partition; of the last one, where there is none.
    pub(super) slots: BTreeMap<u32, u32>,
}

/// A window; one without a trigger is the time before the first one.
#[derive(Debug, Default)]
pub(super) struct Window {
    began_ns: u64,
    owners_before: Owners,
    first_ownership_ns: Option<u64>,
    last_ownership_ns: Option<u64>,
    epochs: BTreeSet<i32>,
    given: BTreeMap<u32, Given>,
    pub(super) moved: u64,
    pub(super) revoked_in_vain: u64,
    pub(super) commits_accepted: u64,
    pub(super) commits_refused: BTreeMap<i16, u64>,
    pub(super) commits_undecided: u64,
    pub(super) member_failures: BTreeMap<i16, u64>,
    pub(super) delivered: u64,
    pub(super) redelivered: BTreeMap<DuplicateClass, u64>,
    pub(super) skipped: u64,
    pub(super) unprocessed: u64,
    /// What is known once the next trigger begins.
    closed: Option<Closed>,
}

#[derive(Debug)]
struct Closed {
    stops: Vec<PartitionStop>,
    stop: Quantiles,
    group_stop_ns: u64,
    again_ns: Option<u64>,
    again: Quantiles,
    not_again: u32,
    moved_least: u64,
    lag: LagOfWindow,
}

/// What an ownership event is to the member that tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ownership {
    Given,
    Taken,
    Rebalanced,
}

pub(super) fn millis(nanos: u64) -> f64 {
    nanos as f64 / 1e6
}

impl Window {
    pub(super) fn begin(began_ns: u64, owners_before: Owners) -> Self {
        Self {
            began_ns,
            owners_before,
            ..Self::default()
        }
    }

    /// Books an ownership event of a member.
    pub(super) fn ownership(&mut self, trigger: Option<&Trigger>, member: u32, what: Ownership, at_ns: u64) {
        self.last_ownership_ns = Some(at_ns);
        // Whoever leaves gives back first: that is the trigger itself and not its detection.
        let by_itself = trigger.is_some_and(|trigger| {
            matches!(trigger.kind, FaultKind::Leave | FaultKind::RollingRestart)
                && trigger.aimed.iter().any(|(aimed, _)| *aimed == member)
        });
        if what == Ownership::Given || !by_itself {
            self.first_ownership_ns = self.first_ownership_ns.or(Some(at_ns));
        }
    }

    /// Books a generation or epoch that nobody had seen before; whether it was new to this window.
    pub(super) fn epoch(&mut self, epoch: i32) -> bool {
        self.epochs.insert(epoch)
    }

    /// A partition was given to the owner behind `holding`.
    pub(super) fn given(&mut self, partition: u32, holding: u32) {
        let given = Given {
            holding,
            again_ns: None,
        };
        self.given.insert(partition, given);
    }

    /// A holding delivered.
    pub(super) fn delivered(&mut self, partition: u32, holding: u32, records: u64, at_ns: u64) {
        self.delivered += records;
        if let Some(given) = self.given.get_mut(&partition)
            && given.holding == holding
            && given.again_ns.is_none()
        {
            given.again_ns = Some(at_ns);
        }
    }

    /// The next trigger begins, or the run ends. `members` are the slots in the group, `owners` who has what by now.
    pub(super) fn close(
        &mut self,
        trigger: &Trigger,
        gaps: &Gaps,
        lag: LagOfWindow,
        members: &BTreeSet<u32>,
        owners: &Owners,
    ) {
        let since = |at_ns: u64| at_ns.saturating_sub(self.began_ns);
        let again: Vec<u64> = self
            .given
            .values()
            .filter_map(|given| Some(since(given.again_ns?)))
            .collect();
        // Partitions that lost their owner and found none, unless it is the subscription that changed.
        let orphans = self.owners_before.slots.keys().filter(|partition| {
            trigger.kind != FaultKind::Subscribe
                && !owners.slots.contains_key(partition)
                && !self.given.contains_key(partition)
        });
        let not_again = self.given.len() - again.len() + orphans.count();
        let mut stops: BTreeMap<u32, PartitionStop> = gaps
            .partitions()
            .filter(|(_, gap)| gap.longest_ns.is_some())
            .map(|(partition, gap)| {
                let stop = PartitionStop {
                    fault: trigger.fault,
                    partition,
                    longest_gap_ms: gap.longest_ns.map_or(0.0, millis),
                    baseline_gap_ms: millis(gap.baseline_ns),
                    stop_ms: millis(gap.stop_ns()),
                    again_ms: None,
                    was_given: false,
                };
                (partition, stop)
            })
            .collect();
        let stop = Quantiles::of(stops.values().map(|stop| stop.stop_ms).collect());
        for (&partition, given) in &self.given {
            let row = stops.entry(partition).or_insert(PartitionStop {
                fault: trigger.fault,
                partition,
                longest_gap_ms: 0.0,
                baseline_gap_ms: 0.0,
                stop_ms: 0.0,
                again_ms: None,
                was_given: true,
            });
            row.was_given = true;
            row.again_ms = given.again_ns.map(|at_ns| millis(since(at_ns)));
        }
        self.closed = Some(Closed {
            stops: stops.into_values().collect(),
            stop,
            group_stop_ns: gaps.group().stop_ns(),
            again_ns: again.iter().max().copied().filter(|_| not_again == 0),
            again: Quantiles::of(again.into_iter().map(millis).collect()),
            not_again: u32::try_from(not_again).unwrap_or(u32::MAX),
            moved_least: self.moved_least(members, owners),
            lag,
        });
    }

    fn moved_least(&self, members: &BTreeSet<u32>, owners: &Owners) -> u64 {
        let still: Vec<u32> = owners
            .slots
            .keys()
            .filter_map(|partition| self.owners_before.slots.get(partition).copied())
            .collect();
        let kept: Vec<u64> = members
            .iter()
            .map(|slot| still.iter().filter(|&owner| owner == slot).count() as u64)
            .collect();
        moved_least(&kept, still.len() as u64, owners.slots.len() as u64)
    }

    /// Whether any ownership event was booked.
    pub(super) fn has_rebalanced(&self) -> bool {
        self.last_ownership_ns.is_some()
    }

    /// The rows of its partitions, once.
    pub(super) fn take_stops(&mut self) -> Vec<PartitionStop> {
        self.closed
            .as_mut()
            .map(|closed| std::mem::take(&mut closed.stops))
            .unwrap_or_default()
    }

    /// The measures, once everything is booked.
    pub(super) fn measures(&self, trigger: &Trigger, start_ns: u64) -> Option<RebalanceMeasures> {
        let closed = self.closed.as_ref()?;
        let since = |at_ns: u64| millis(at_ns.saturating_sub(self.began_ns));
        Some(RebalanceMeasures {
            fault: trigger.fault,
            kind: trigger.kind,
            members: trigger.aimed.iter().map(|(member, _)| *member).collect(),
            at_ms: millis(trigger.began_ns.saturating_sub(start_ns)),
            healed_ms: trigger.healed_ns.map(since),
            detected_ms: self.first_ownership_ns.map(since),
            settled_ms: self.last_ownership_ns.map(since),
            rebalances: u32::try_from(self.epochs.len()).unwrap_or(u32::MAX),
            partitions_given: u32::try_from(self.given.len()).unwrap_or(u32::MAX),
            again_ms: closed.again_ns.map(millis),
            again: closed.again,
            partitions_not_again: closed.not_again,
            stop: closed.stop,
            group_stop_ms: millis(closed.group_stop_ns),
            moved: self.moved,
            moved_least: closed.moved_least,
            revoked_in_vain: self.revoked_in_vain,
            redelivered: self.redelivered.clone(),
            skipped: self.skipped,
            unprocessed: self.unprocessed,
            commits_accepted: self.commits_accepted,
            commits_refused: self.commits_refused.clone(),
            commits_undecided: self.commits_undecided,
            member_failures: self.member_failures.clone(),
            lag_before: closed.lag.before,
            lag_peak: closed.lag.peak,
            lag_back_ms: closed.lag.back_ns.map(since),
        })
    }
}
