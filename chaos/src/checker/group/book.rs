//! The second pass: all histories by time, partition by partition.
//!
//! What a member holds, polls, processes and commits is booked here; what follows from the books at the end stands in
//! [`super::tally`].

mod commits;
mod ownership;
mod records;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use workloads::history::{Event, FaultKind, PARTITIONS_PER_TOPIC, Stamped};

use super::commits::Commits;
use super::deliveries::Deliveries;
use super::duplicates::Duplicates;
use super::flow::{Flow, Stall};
use super::gaps::Gaps;
use super::holdings::{Call, Holdings};
use super::survey::Survey;
use super::window::{Owners, Ownership, Window, millis};
use super::{Cause, GroupContext, GroupFindings, GroupRules, HoldingEnd, Instance, Owner};
use crate::checker::CheckError;
use crate::intervals::IntervalSet;

/// Most intervals over all partitions.
const FRAGMENTS_MAX: usize = 4_000_000;
/// Most partitions.
const PARTITIONS_MAX: usize = 200_000;
/// The bound on intervals is looked at once in so many events.
const EVENTS_PER_LOOK: u64 = 65_536;

/// Offsets that a group moved past, of which nobody had polled anything by then.
#[derive(Debug, Clone)]
pub(super) struct Hole {
    pub(super) offsets: Range<i64>,
    /// Who moved past them, and who had been there before.
    pub(super) holding: u32,
    pub(super) before: Option<u32>,
    /// Place of the trigger that it falls to.
    pub(super) caused_in: Option<usize>,
    pub(super) at_ns: u64,
}

/// What is known of one partition.
#[derive(Debug, Default)]
pub(super) struct Partition {
    pub(super) deliveries: Deliveries,
    pub(super) processed: IntervalSet,
    pub(super) commits: Commits,
    pub(super) holes: Vec<Hole>,
    /// One past the highest offset that was polled, and the highest one that a holding began to read at.
    pub(super) reach: i64,
    pub(super) begun_at: i64,
    /// The last holding that began.
    pub(super) newest: Option<u32>,
    /// Whether that holding goes on.
    is_owned: bool,
}

/// The books.
pub(super) struct Book<'a> {
    pub(super) survey: &'a Survey,
    rules: &'a GroupRules,
    context: &'a GroupContext,
    pub(super) found: GroupFindings,
    pub(super) partitions: BTreeMap<u32, Partition>,
    pub(super) holdings: Holdings,
    pub(super) duplicates: Duplicates,
    /// The time before the first trigger, and a window for each that began.
    pub(super) windows: Vec<Window>,
    pub(super) gaps: Gaps,
    pub(super) flow: Flow,
    /// Slots in the group, with the members that are it.
    members: BTreeMap<u32, u32>,
    /// Histories that have ended, with the times at which their members did.
    deaths: BTreeMap<(u64, u32), HoldingEnd>,
    highest_epoch: i32,
    last_change_ns: u64,
    /// From here on members are closed: nothing is measured any more.
    pub(super) end_ns: u64,
    is_over: bool,
    events: u64,
}

impl<'a> Book<'a> {
    pub(super) fn new(survey: &'a Survey, rules: &'a GroupRules, context: &'a GroupContext) -> Self {
        let mut book = Self {
            survey,
            rules,
            context,
            found: GroupFindings::default(),
            partitions: BTreeMap::new(),
            holdings: Holdings::default(),
            duplicates: Duplicates::default(),
            windows: vec![Window::begin(survey.start_ns, Owners::default())],
            gaps: Gaps::default(),
            flow: Flow::new(rules.stalled_ms, survey.start_ns),
            members: BTreeMap::new(),
            deaths: BTreeMap::new(),
            highest_epoch: -1,
            last_change_ns: survey.start_ns,
            end_ns: survey.end_ns(),
            is_over: false,
            events: 0,
        };
        for (partition, topic) in book.of_topics() {
            if topic.subscribed_at_start {
                book.flow.count(partition, true, survey.start_ns);
            }
        }
        book
    }

    /// All partitions that there are at the start, with their topics.
    fn of_topics(&self) -> Vec<(u32, super::GroupTopic)> {
        (0..)
            .zip(&self.context.topics)
            .flat_map(|(place, topic)| {
                let first: u32 = PARTITIONS_PER_TOPIC * place;
                (first..first + topic.partitions).map(|partition| (partition, *topic))
            })
            .collect()
    }

    /// Whether the group is subscribed to a partition's topic at the end.
    pub(super) fn is_subscribed_at_end(&self, partition: u32) -> bool {
        self.topic(partition).is_none_or(|topic| topic.subscribed_at_end)
    }

    fn topic(&self, partition: u32) -> Option<super::GroupTopic> {
        self.context
            .topics
            .get((partition / PARTITIONS_PER_TOPIC) as usize)
            .copied()
    }

    /// Books an event of the history with this place.
    pub(super) fn apply(&mut self, place: usize, stamped: Stamped) -> Result<(), CheckError> {
        let at_ns = stamped.at_ns;
        self.bury(at_ns);
        if at_ns >= self.end_ns {
            self.end(self.end_ns);
        }
        match stamped.event {
            Event::Acknowledged { run, base_offset } if base_offset >= 0 => {
                let end = base_offset.saturating_add(i64::from(run.count));
                self.flow.acknowledged(run.partition, end, at_ns);
            }
            Event::FaultBegin { .. } => self.trigger(at_ns),
            Event::FaultEnd { .. } => {
                self.last_change_ns = at_ns;
                self.flow.healed(at_ns);
                self.gaps.disturbed(at_ns);
            }
            Event::MemberBegan { member, slot, .. } => {
                self.found.members += 1;
                self.last_change_ns = at_ns;
                self.members.insert(slot, member);
            }
            Event::MemberLeft { member } => {
                self.last_change_ns = at_ns;
                self.forget(member);
            }
            Event::Grown { topic, partitions } => self.grown(topic, partitions, at_ns),
            Event::Assigned { claim } => self.assigned(claim, at_ns)?,
            Event::Revoked { claim } => self.taken(claim, HoldingEnd::Revoked, at_ns),
            Event::Lost { claim } => self.taken(claim, HoldingEnd::Lost, at_ns),
            Event::Rebalanced { member, epoch, .. } => {
                self.ownership(member, Ownership::Rebalanced, at_ns);
                self.epoch(member, epoch, at_ns);
                for holding in self.holdings.all_open_of(member) {
                    let held = self.holdings.get_mut(holding);
                    held.is_rewindable = held.next.is_some();
                }
            }
            Event::Polled {
                member,
                epoch,
                run,
                base_offset,
            } => self.polled(member, epoch, run, base_offset, at_ns)?,
            Event::Corrupted(run) => self.corrupted(place, run, at_ns)?,
            Event::Processed {
                claim,
                base_offset,
                count,
            } => {
                self.found.processed += u64::from(count);
                let first = u64::try_from(base_offset).unwrap_or(0);
                let partition = self.partitions.entry(claim.partition).or_default();
                partition
                    .processed
                    .insert(first..first.saturating_add(u64::from(count)));
            }
            Event::CommitCalled { claim, offset } => {
                if let Some(holding) = self.holdings.last_of(claim.member, claim.partition) {
                    self.holdings.get_mut(holding).call(Call { offset, at_ns });
                }
            }
            Event::Committed { claim, offset, code } => self.committed(claim, offset, code, at_ns),
            Event::MemberFailed { code, .. } => {
                *self.window().member_failures.entry(code).or_default() += 1;
            }
            _ => {}
        }
        self.events += 1;
        if self.events.is_multiple_of(EVENTS_PER_LOOK) {
            self.check_bounds()
        } else {
            Ok(())
        }
    }

    /// A history has no more events: its members hold nothing any more, from their death on.
    pub(super) fn ended(&mut self, place: usize) {
        for member in self.survey.by_file.get(&place).cloned().unwrap_or_default() {
            let known = self.survey.members.get(&member).copied().unwrap_or_default();
            let (at_ns, end) = match (known.killed_ns, known.left_ns) {
                (Some(killed_ns), _) => (killed_ns, HoldingEnd::Killed),
                (None, Some(_)) => (known.last_ns, HoldingEnd::Left),
                (None, None) => (known.last_ns, HoldingEnd::Open),
            };
            self.deaths.insert((at_ns, member), end);
        }
    }

    /// Books the deaths before a time. A history ends before its member is killed, as the last thing that it tells is older.
    fn bury(&mut self, before_ns: u64) {
        while let Some(first) = self.deaths.first_entry() {
            let (at_ns, member) = *first.key();
            if at_ns >= before_ns {
                break;
            }
            let end = first.remove();
            for holding in self.holdings.all_open_of(member) {
                self.close_holding(holding, end, at_ns);
            }
            self.forget(member);
        }
    }

    /// All histories have ended.
    pub(super) fn finish(&mut self) -> Result<(), CheckError> {
        self.bury(self.end_ns);
        self.end(self.end_ns);
        self.bury(u64::MAX);
        self.check_bounds()
    }

    /// Nothing more is measured; what is polled and committed while members are closed still counts.
    pub(super) fn end(&mut self, at_ns: u64) {
        if self.is_over {
            return;
        }
        self.is_over = true;
        for stall in self.flow.all_stalls(at_ns) {
            self.stalled(stall);
        }
        self.close_window();
    }

    pub(super) fn check_bounds(&self) -> Result<(), CheckError> {
        for (count, limit, what) in [
            (self.fragments(), FRAGMENTS_MAX, "gaps in the offsets"),
            (self.partitions.len(), PARTITIONS_MAX, "partitions"),
        ] {
            if count > limit {
                return Err(CheckError::TooIrregular { what, limit });
            }
        }
        Ok(())
    }

    /// What keeps memory.
    pub(super) fn fragments(&self) -> usize {
        let of = |one: &Partition| one.deliveries.fragments() + one.processed.fragments() + one.holes.len();
        self.partitions.values().map(of).sum()
    }

    pub(super) fn window(&mut self) -> &mut Window {
        self.windows.last_mut().expect("there is one from the start")
    }

    /// Place of the trigger whose window is open.
    pub(super) fn now_in(&self) -> Option<usize> {
        self.windows.len().checked_sub(2)
    }

    /// A trigger by its place.
    pub(super) fn cause(&self, place: Option<usize>) -> Option<Cause> {
        let trigger = self.survey.triggers.get(place?)?;
        Some(Cause {
            fault: trigger.fault,
            kind: trigger.kind,
        })
    }

    /// An instance of something, with the author of the record as the log tells.
    pub(super) fn instance(&self, partition: u32, offset: i64, records: u64, at_ns: u64) -> Instance {
        let identity = self.survey.log.identity(partition, offset);
        Instance {
            at_ms: millis(at_ns.saturating_sub(self.survey.start_ns)),
            partition,
            offset,
            producer: identity.map(|one| one.producer),
            sequence: identity.map(|one| one.sequence),
            records,
            owner: None,
            earlier: None,
            cause: None,
            detail: String::new(),
        }
    }

    pub(super) fn owner(&self, holding: u32) -> Owner {
        self.holdings.get(holding).owner
    }

    fn trigger(&mut self, at_ns: u64) {
        // What is measured of the last trigger ends before anything is measured of this one.
        self.close_window();
        for stall in self.flow.trigger(at_ns) {
            self.stalled(stall);
        }
        self.gaps.trigger();
        self.last_change_ns = at_ns;
        let place = self.windows.len() - 1;
        let owners = Owners {
            slots: self.slots(|_| true),
        };
        self.windows.push(Window::begin(at_ns, owners));
        // Topics that the group leaves for good have neither lag nor stall from here on.
        if self.survey.triggers.get(place).map(|trigger| trigger.kind) == Some(FaultKind::Subscribe) {
            for (partition, topic) in self.of_topics() {
                if !topic.subscribed_at_end {
                    self.flow.count(partition, false, at_ns);
                }
            }
        }
    }

    fn close_window(&mut self) {
        let Some(trigger) = self.now_in().and_then(|place| self.survey.triggers.get(place)) else {
            return;
        };
        let owners = Owners {
            slots: self.slots(|partition| partition.is_owned),
        };
        let members: BTreeSet<u32> = self.members.keys().copied().collect();
        let lag = self.flow.window();
        if let Some(window) = self.windows.last_mut() {
            window.close(trigger, &self.gaps, lag, &members, &owners);
            let stops = window.take_stops();
            self.found.detail.stops.extend(stops);
        }
    }

    /// Slots that hold partitions, or held them last.
    fn slots(&self, which: impl Fn(&Partition) -> bool) -> BTreeMap<u32, u32> {
        let of = |one: &Partition| Some(self.owner(one.newest.filter(|_| which(one))?).slot);
        self.partitions
            .iter()
            .filter_map(|(&partition, one)| Some((partition, of(one)?)))
            .collect()
    }

    fn forget(&mut self, member: u32) {
        self.members.retain(|_, one| *one != member);
    }

    fn grown(&mut self, topic: u32, partitions: u32, at_ns: u64) {
        let first = PARTITIONS_PER_TOPIC.saturating_mul(topic);
        let is_counted = self.topic(first).is_some_and(|topic| topic.subscribed_at_start);
        for partition in first..first.saturating_add(partitions.min(PARTITIONS_PER_TOPIC)) {
            if is_counted && !self.partitions.contains_key(&partition) {
                self.flow.count(partition, true, at_ns);
            }
        }
    }

    fn stalled(&mut self, stall: Stall) {
        // A topic that the group subscribes to only later is owed nothing before the last fault is over.
        let topic = self.topic(stall.partition);
        let is_late = topic.is_some_and(|topic| !topic.subscribed_at_start);
        let last_healed = self.survey.triggers.last().and_then(|trigger| trigger.healed_ns);
        if is_late && last_healed.is_none_or(|healed_ns| stall.from_ns < healed_ns) {
            return;
        }
        let seconds = stall.to_ns.saturating_sub(stall.from_ns) as f64 / 1e9;
        let newest = self.partitions.get(&stall.partition).and_then(|one| one.newest);
        let reach = self.partitions.get(&stall.partition).map_or(0, |one| one.reach);
        let instance = Instance {
            owner: newest.map(|newest| self.owner(newest)),
            cause: self.cause(self.now_in()),
            detail: format!("no delivery for {seconds:.1} s"),
            ..self.instance(stall.partition, reach, 0, stall.from_ns)
        };
        self.found.stalled.add(1, instance);
    }
}
