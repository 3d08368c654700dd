//! A small consumer group that writes the histories of a real one: a coordinator that fences, members that poll, process and commit, a
//! log, and producers. Its clock is made of numbers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use workloads::history::{Claim, Event, FaultKind, Healing, HistoryWriter, NO_CODE, Run, Stamped};

use crate::checker::group::GroupContext;

/// Nanoseconds of a millisecond.
pub const MS: u64 = 1_000_000;
/// Kafka's code for a member that the group does not know.
pub const UNKNOWN_MEMBER: i16 = 25;
/// Time between two polls of a partition.
pub const TICK_MS: u64 = 10;
/// Records that each partition gets in that time.
pub const RECORDS: u32 = 10;
/// How long the coordinator waits for a member that is silent, in ticks.
pub const SESSION_TICKS: u32 = 5;

/// When members commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// Synchronously, after each batch.
    AfterBatch,
    /// The answer comes a tick later.
    Async,
    /// Of three batches one.
    Seldom,
    /// Before each batch: records are lost when the member is killed in between.
    BeforeBatch,
}

impl Policy {
    pub const SOUND: [Policy; 3] = [Policy::AfterBatch, Policy::Async, Policy::Seldom];
}

#[derive(Debug, Clone)]
struct Member {
    slot: u32,
    epoch: i32,
    /// Next offset by partition.
    positions: BTreeMap<u32, i64>,
    /// Processed and not committed: the next offset by partition.
    uncommitted: BTreeMap<u32, i64>,
    /// Called and not answered.
    waiting: Vec<(u32, i64)>,
    is_paused: bool,
    polls: u32,
}

/// The group with everything around it.
#[derive(Debug)]
pub struct Group {
    now_ns: u64,
    partitions: u32,
    members_at_start: u32,
    policy: Policy,
    /// What it has written: the file and the event.
    pub events: Vec<(String, Stamped)>,
    /// Files that end without `Finished`.
    cut: Vec<String>,
    /// One past the last offset.
    log: BTreeMap<u32, i64>,
    /// Whose records they are: producers take turns, one batch each.
    pub committed: BTreeMap<u32, i64>,
    owners: BTreeMap<u32, u32>,
    pub generation: i32,
    members: BTreeMap<u32, Member>,
    /// Members of the group as the coordinator sees it.
    known: Vec<u32>,
    next_member: u32,
    next_fault: u32,
    /// The coordinator accepts commits of members that it does not know.
    pub forgets_to_fence: bool,
}

impl Group {
    pub fn new(members: u32, partitions: u32, policy: Policy) -> Self {
        Self {
            now_ns: 1_000 * MS,
            partitions,
            members_at_start: members,
            policy,
            events: Vec::new(),
            cut: Vec::new(),
            log: (0..partitions).map(|partition| (partition, 0)).collect(),
            committed: BTreeMap::new(),
            owners: BTreeMap::new(),
            generation: 0,
            members: BTreeMap::new(),
            known: Vec::new(),
            next_member: 1,
            next_fault: 1,
            forgets_to_fence: false,
        }
    }

    pub fn context(&self) -> GroupContext {
        GroupContext::of_one_topic(self.partitions, self.members_at_start, true)
    }

    pub fn file_of(member: u32) -> String {
        format!("member-{member}.bin")
    }

    /// Writes an event, a microsecond after the one before.
    pub fn tell(&mut self, file: &str, event: Event) {
        self.now_ns += 1_000;
        let stamped = Stamped {
            at_ns: self.now_ns,
            event,
        };
        self.events.push((file.to_owned(), stamped));
    }

    pub fn say(&mut self, member: u32, event: Event) {
        self.tell(&Self::file_of(member), event);
    }

    pub fn claim(&self, member: u32, partition: u32) -> Claim {
        Claim {
            member,
            epoch: self.members.get(&member).map_or(self.generation, |one| one.epoch),
            partition,
        }
    }

    /// All members of the start join.
    pub fn start(&mut self) {
        for slot in 1..=self.members_at_start {
            self.begin(slot);
        }
        self.rebalance();
    }

    fn begin(&mut self, slot: u32) -> u32 {
        let member = self.next_member;
        self.next_member += 1;
        let one = Member {
            slot,
            epoch: -1,
            positions: BTreeMap::new(),
            uncommitted: BTreeMap::new(),
            waiting: Vec::new(),
            is_paused: false,
            polls: 0,
        };
        self.members.insert(member, one);
        self.known.push(member);
        let process = 1_000 + member;
        self.say(member, Event::MemberBegan { member, slot, process });
        member
    }

    /// Everybody gives back and is given anew, in turn.
    pub fn rebalance(&mut self) {
        let before = self.owners.clone();
        for (partition, member) in before {
            if self.known.contains(&member) {
                self.answer_all(member);
                self.commit_processed(member, partition);
                let claim = self.claim(member, partition);
                self.say(member, Event::Revoked { claim });
                self.members.get_mut(&member).unwrap().positions.remove(&partition);
            }
        }
        self.owners.clear();
        self.generation += 1;
        let known = self.known.clone();
        for &member in &known {
            self.members.get_mut(&member).unwrap().epoch = self.generation;
        }
        for partition in 0..self.partitions {
            let Some(&member) = known.get(partition as usize % known.len().max(1)) else {
                continue;
            };
            let claim = self.claim(member, partition);
            self.say(member, Event::Assigned { claim });
            self.owners.insert(partition, member);
            let one = self.members.get_mut(&member).unwrap();
            one.positions
                .insert(partition, self.committed.get(&partition).copied().unwrap_or(0));
        }
        for &member in &known {
            let partitions = self.owners.values().filter(|&&owner| owner == member).count() as u32;
            let epoch = self.generation;
            self.say(
                member,
                Event::Rebalanced {
                    member,
                    epoch,
                    partitions,
                },
            );
        }
    }

    /// So many times: producers send a batch to each partition, and whoever is awake polls, processes and commits.
    pub fn work(&mut self, ticks: u32) {
        for _ in 0..ticks {
            let begun_ns = self.now_ns;
            self.produce();
            self.poll_all();
            self.now_ns = self.now_ns.max(begun_ns + TICK_MS * MS);
        }
    }

    pub fn produce(&mut self) {
        for partition in 0..self.partitions {
            let end = self.log[&partition];
            let run = Self::run_at(partition, end, RECORDS);
            self.tell(&format!("producer-{}.bin", run.producer), Event::Sent(run));
            let acknowledged = Event::Acknowledged { run, base_offset: end };
            self.tell(&format!("producer-{}.bin", run.producer), acknowledged);
            self.log.insert(partition, end + i64::from(RECORDS));
        }
    }

    /// Two producers take turns, batch by batch.
    pub fn run_at(partition: u32, offset: i64, count: u32) -> Run {
        let batch = u64::try_from(offset).unwrap() / u64::from(RECORDS);
        let within = u64::try_from(offset).unwrap() % u64::from(RECORDS);
        Run {
            producer: batch % 2,
            partition,
            base_sequence: batch / 2 * u64::from(RECORDS) + within,
            count,
        }
    }

    pub fn poll_all(&mut self) {
        for member in self.members.keys().copied().collect::<Vec<_>>() {
            if !self.members[&member].is_paused {
                self.poll(member);
            }
        }
    }

    /// A member polls what there is, one batch of each partition.
    fn poll(&mut self, member: u32) {
        self.answer_all(member);
        let positions = self.members[&member].positions.clone();
        for (partition, position) in positions {
            // Catching up takes several batches.
            for _ in 0..3 {
                let position = self.members[&member]
                    .positions
                    .get(&partition)
                    .copied()
                    .unwrap_or(position);
                let left_in_batch = RECORDS - u32::try_from(position).unwrap() % RECORDS;
                if position < self.log[&partition] {
                    self.handle(member, partition, position, left_in_batch);
                }
            }
        }
    }

    fn handle(&mut self, member: u32, partition: u32, position: i64, count: u32) {
        let epoch = self.members[&member].epoch;
        let run = Self::run_at(partition, position, count);
        self.say(
            member,
            Event::Polled {
                member,
                epoch,
                run,
                base_offset: position,
            },
        );
        let next = position + i64::from(count);
        let one = self.members.get_mut(&member).unwrap();
        one.positions.insert(partition, next);
        one.polls += 1;
        let polls = one.polls;
        if self.policy == Policy::BeforeBatch {
            self.commit(member, partition, next, true);
        }
        self.process(member, partition, position, count);
        match self.policy {
            Policy::AfterBatch => self.commit(member, partition, next, true),
            Policy::Async => self.commit(member, partition, next, false),
            Policy::Seldom if polls.is_multiple_of(3) => self.commit(member, partition, next, true),
            Policy::Seldom | Policy::BeforeBatch => {}
        }
    }

    pub fn process(&mut self, member: u32, partition: u32, base_offset: i64, count: u32) {
        let claim = self.claim(member, partition);
        self.say(
            member,
            Event::Processed {
                claim,
                base_offset,
                count,
            },
        );
        let one = self.members.get_mut(&member).unwrap();
        one.uncommitted.insert(partition, base_offset + i64::from(count));
    }

    fn commit_processed(&mut self, member: u32, partition: u32) {
        if let Some(&next) = self.members[&member].uncommitted.get(&partition)
            && self.policy != Policy::BeforeBatch
        {
            self.commit(member, partition, next, true);
        }
    }

    pub fn commit(&mut self, member: u32, partition: u32, offset: i64, answers: bool) {
        let claim = self.claim(member, partition);
        self.say(member, Event::CommitCalled { claim, offset });
        let one = self.members.get_mut(&member).unwrap();
        one.uncommitted.remove(&partition);
        one.waiting.push((partition, offset));
        if answers {
            self.answer_all(member);
        }
    }

    /// The coordinator decides about everything that a member has called.
    fn answer_all(&mut self, member: u32) {
        let waiting = std::mem::take(&mut self.members.get_mut(&member).unwrap().waiting);
        for (partition, offset) in waiting {
            let is_known = self.known.contains(&member);
            let code = match is_known || self.forgets_to_fence {
                true => NO_CODE,
                false => UNKNOWN_MEMBER,
            };
            if code == NO_CODE {
                self.committed.insert(partition, offset);
            }
            let claim = self.claim(member, partition);
            self.say(member, Event::Committed { claim, offset, code });
        }
    }

    pub fn begin_fault(&mut self, kind: FaultKind, members: &[u32]) -> u32 {
        let fault = self.next_fault;
        self.next_fault += 1;
        self.tell("faults.bin", Event::FaultBegin { fault, kind });
        for &member in members {
            self.tell("faults.bin", Event::FaultAimed { fault, member });
        }
        self.tell("faults.bin", Event::FaultBit { fault, evidence: 1 });
        fault
    }

    pub fn end_fault(&mut self, fault: u32) {
        let healing = Healing::Recovered;
        self.tell("faults.bin", Event::FaultEnd { fault, healing });
    }

    /// Whoever owns partitions and is awake, by its place.
    pub fn member_at(&self, place: usize) -> u32 {
        self.known[place % self.known.len()]
    }

    pub fn known(&self) -> usize {
        self.known.len()
    }

    /// A trigger from its begin until the group has settled; `place` chooses the member.
    pub fn trigger(&mut self, kind: FaultKind, place: usize) {
        match kind {
            FaultKind::Kill => self.kill(place),
            FaultKind::Pause => {
                self.pause(place, true);
            }
            FaultKind::Join => {
                let fault = self.begin_fault(kind, &[]);
                let slot = self.members.values().map(|one| one.slot).max().unwrap_or(0) + 1;
                self.begin(slot);
                self.work(2);
                self.rebalance();
                self.end_fault(fault);
            }
            FaultKind::Leave => {
                let member = self.member_at(place);
                let fault = self.begin_fault(kind, &[member]);
                self.leave(member);
                self.rebalance();
                self.end_fault(fault);
            }
            other => panic!("the model knows no {other:?}"),
        }
    }

    /// A member commits, gives back and closes.
    fn leave(&mut self, member: u32) {
        self.say(member, Event::MemberLeft { member });
        self.answer_all(member);
        let owned: Vec<u32> = self
            .owners
            .iter()
            .filter(|(_, owner)| **owner == member)
            .map(|(one, _)| *one)
            .collect();
        for partition in owned {
            self.commit_processed(member, partition);
            let claim = self.claim(member, partition);
            self.say(member, Event::Revoked { claim });
            self.owners.remove(&partition);
        }
        self.known.retain(|one| *one != member);
        self.members.remove(&member);
    }

    /// A member dies in the middle of a batch, and another one takes its slot.
    pub fn kill(&mut self, place: usize) {
        let member = self.member_at(place);
        self.produce();
        let first = self.members[&member]
            .positions
            .iter()
            .next()
            .map(|(&one, &next)| (one, next));
        if let Some((partition, position)) = first {
            let epoch = self.members[&member].epoch;
            let count = RECORDS - u32::try_from(position).unwrap() % RECORDS;
            let run = Self::run_at(partition, position, count);
            let polled = Event::Polled {
                member,
                epoch,
                run,
                base_offset: position,
            };
            self.say(member, polled);
            let next = position + i64::from(count);
            match self.policy {
                Policy::BeforeBatch => self.commit(member, partition, next, true),
                Policy::AfterBatch | Policy::Seldom => {
                    // The coordinator takes it, and nobody is there to hear it.
                    self.process(member, partition, position, count);
                    let claim = self.claim(member, partition);
                    self.say(member, Event::CommitCalled { claim, offset: next });
                    self.committed.insert(partition, next);
                }
                Policy::Async => {}
            }
        }
        let fault = self.begin_fault(FaultKind::Kill, &[member]);
        self.cut.push(Self::file_of(member));
        let slot = self.members.remove(&member).unwrap().slot;
        self.work(SESSION_TICKS);
        self.known.retain(|one| *one != member);
        self.owners.retain(|_, owner| *owner != member);
        self.rebalance();
        self.work(2);
        self.begin(slot);
        self.end_fault(fault);
        self.rebalance();
    }

    /// A member sleeps until it is declared dead, unless it wakes up before. It goes on with the records that its client holds.
    pub fn pause(&mut self, place: usize, is_long: bool) -> u32 {
        let member = self.member_at(place);
        let fault = self.begin_fault(FaultKind::Pause, &[member]);
        self.members.get_mut(&member).unwrap().is_paused = true;
        self.work(if is_long { SESSION_TICKS } else { 1 });
        if is_long {
            self.known.retain(|one| *one != member);
            self.owners.retain(|_, owner| *owner != member);
            self.rebalance();
            self.work(3);
        }
        self.end_fault(fault);
        self.members.get_mut(&member).unwrap().is_paused = false;
        if is_long {
            self.work(1);
            self.answer_all(member);
            let positions = std::mem::take(&mut self.members.get_mut(&member).unwrap().positions);
            for partition in positions.into_keys() {
                let claim = self.claim(member, partition);
                self.say(member, Event::Lost { claim });
            }
            self.members.get_mut(&member).unwrap().uncommitted.clear();
            self.known.push(member);
            self.rebalance();
        }
        member
    }

    /// Everything is read and committed, members close, and the log is scanned.
    pub fn finish(&mut self) {
        for _ in 0..1_000 {
            let is_behind = |one: &Member| {
                one.positions
                    .iter()
                    .any(|(partition, next)| *next < self.log[partition])
            };
            if !self.members.values().any(is_behind) {
                break;
            }
            self.poll_all();
            self.now_ns += TICK_MS * MS;
        }
        for member in self.members.keys().copied().collect::<Vec<_>>() {
            self.leave(member);
        }
        for partition in 0..self.partitions {
            let end = self.log[&partition];
            let file = "final-read.bin";
            self.tell(file, Event::ReadBegin { partition, offset: 0 });
            for base_offset in (0..end).step_by(RECORDS as usize) {
                let run = Self::run_at(partition, base_offset, RECORDS);
                self.tell(file, Event::Delivered { run, base_offset });
            }
            let next_offset = end;
            self.tell(file, Event::ReadEnd { partition, next_offset });
        }
    }

    /// Sets a partition's owner and the coordinator back to an offset, as if the coordinator had known no better when it was assigned.
    pub fn rewind(&mut self, partition: u32, offset: i64) {
        self.committed.insert(partition, offset);
        let owner = self.owners[&partition];
        self.members
            .get_mut(&owner)
            .unwrap()
            .positions
            .insert(partition, offset);
    }

    /// A member does nothing for so many ticks, while the others work.
    pub fn sleep(&mut self, member: u32, ticks: u32) {
        self.members.get_mut(&member).unwrap().is_paused = true;
        self.work(ticks);
        self.members.get_mut(&member).unwrap().is_paused = false;
        self.work(3);
    }

    /// A member's history has no end.
    pub fn cut_short(&mut self, member: u32) {
        self.cut.push(Self::file_of(member));
    }

    /// Leaves the histories in a folder.
    pub fn write(&self, folder: &Path) -> Vec<PathBuf> {
        let mut files: BTreeMap<String, Vec<Stamped>> = BTreeMap::new();
        for (file, stamped) in &self.events {
            files.entry(file.clone()).or_default().push(*stamped);
        }
        let mut paths = Vec::new();
        for (file, mut events) in files {
            // A test may have put an event in later.
            events.sort_by_key(|stamped| stamped.at_ns);
            if !self.cut.contains(&file) {
                let finished = Event::Finished {
                    events: events.len() as u64,
                };
                events.push(Stamped {
                    at_ns: self.now_ns,
                    event: finished,
                });
            }
            let path = folder.join(file);
            let mut writer = HistoryWriter::create(&path).unwrap();
            for stamped in events {
                writer.append_stamped(stamped).unwrap();
            }
            paths.push(path);
        }
        paths
    }
}
