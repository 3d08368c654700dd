//! A member at work: poll, hand over, handle, commit, and give partitions back when it is asked to.
//!
//! It works in turns. A turn collects a batch without waiting for more than is there, writes down what was handed over, and handles it. A
//! rebalance ends the collecting: the batch in hand is finished and committed before partitions are given back, as an application does that
//! commits in its rebalance listener. Partitions that are lost are not committed, and what was collected of them is thrown away.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError};
use std::time::{Duration, Instant};

use super::batch::{Record, Stretch, stretches};
use super::crew::{Crew, Done, Pace, in_time};
use super::log::Log;
use super::process::MembersError;
use super::{Commits, MemberNote, MemberOrder, MemberSpec, MemberTold};
use crate::history::Event;
use crate::load::librdkafka::group::{GroupClient, Heard, Place, Places};
use crate::native::{Bootstrap, Security};
use crate::sequenced::Identity;
use crate::worker::WorkerEvent;

/// How long a turn waits for a first record.
const WAIT: Duration = Duration::from_millis(50);
/// The same while handlers have threads of their own, whose work is to be written down soon.
const WAIT_FOR_CREW: Duration = Duration::from_millis(2);
/// Between two looks at the epoch, and between two notes of how far it is.
const NOTE_EVERY: Duration = Duration::from_millis(200);
/// How long closing may take: a commit and a leave, if the broker answers.
const CLOSE_WITHIN: Duration = Duration::from_secs(8);

/// One member.
pub(super) struct Member<'a> {
    spec: &'a MemberSpec,
    client: GroupClient,
    log: Log,
    pace: Arc<Pace>,
    crew: Option<Crew>,
    commits: Commits,
    /// Partitions in its hands.
    held: BTreeSet<u32>,
    /// Next record to process, of partitions in its hands.
    processed: BTreeMap<u32, i64>,
    /// What the group has accepted of these.
    committed: BTreeMap<u32, i64>,
    /// Partitions whose position was not told yet.
    untold: BTreeSet<u32>,
    polled_count: u64,
    processed_count: u64,
    next_note: Instant,
    next_look: Instant,
    /// The epoch that was told last, and the one that was seen last.
    told_epoch: i32,
    seen_epoch: i32,
    notes: SyncSender<WorkerEvent>,
    is_broken: bool,
    is_closing: bool,
}

/// What ends the collecting of a batch.
struct Rebalance {
    is_assign: bool,
    partitions: Places,
}

impl<'a> Member<'a> {
    /// Makes its history and its client, and subscribes.
    ///
    /// # Errors
    /// The history can't be written; librdkafka refuses a property.
    pub fn begin(
        spec: &'a MemberSpec,
        brokers: &Bootstrap,
        security: &Security,
        notes: SyncSender<WorkerEvent>,
    ) -> Result<Self, MembersError> {
        let mut log = Log::create(&spec.history, spec.member)?;
        let client = GroupClient::connect(brokers, security, &spec.properties())?;
        log.tell(Event::MemberBegan {
            member: spec.member,
            slot: spec.slot,
            process: std::process::id(),
        })?;
        client.subscribe(&spec.subscription)?;
        let pace = Arc::new(Pace::of(&spec.handler));
        Ok(Self {
            client,
            log,
            crew: (spec.handler.threads > 0).then(|| Crew::start(spec.handler.threads, &pace)),
            pace,
            commits: spec.effective_commits(),
            held: BTreeSet::new(),
            processed: BTreeMap::new(),
            committed: BTreeMap::new(),
            untold: BTreeSet::new(),
            polled_count: 0,
            processed_count: 0,
            next_note: Instant::now(),
            next_look: Instant::now(),
            told_epoch: -1,
            seen_epoch: -1,
            notes,
            is_broken: false,
            is_closing: false,
            spec,
        })
    }

    /// Works until it is told to leave, or nobody can tell it anything any more; then it closes.
    ///
    /// # Errors
    /// The history can't be written.
    pub fn run(mut self, orders: &Receiver<MemberOrder>) -> Result<(), MembersError> {
        while !self.is_broken {
            match orders.try_recv() {
                Ok(MemberOrder::Leave) | Err(TryRecvError::Disconnected) => break,
                Ok(order) => self.follow(order)?,
                Err(TryRecvError::Empty) => {}
            }
            let wait = if self.crew.is_some() { WAIT_FOR_CREW } else { WAIT };
            self.turn(wait)?;
        }
        self.log.tell(Event::MemberLeft {
            member: self.spec.member,
        })?;
        self.is_closing = true;
        let deadline = in_time(CLOSE_WITHIN);
        if self.client.begin_close().is_ok() {
            // Partitions are taken on the way, and records may come until then.
            while !self.client.is_closed() && Instant::now() < deadline {
                self.turn(Duration::from_millis(10))?;
            }
        }
        self.note_positions();
        self.note(MemberTold::Left);
        self.log.finish()?;
        Ok(())
    }

    fn follow(&mut self, order: MemberOrder) -> Result<(), MembersError> {
        match order {
            MemberOrder::Leave => {}
            MemberOrder::Subscribe { topics } => {
                self.client.subscribe(&topics)?;
                self.note(MemberTold::Subscribed);
            }
            MemberOrder::Handler { handler } => self.pace.change(&handler),
            MemberOrder::Stick { for_ms } => self.pace.stick(for_ms),
        }
        Ok(())
    }

    /// Collects a batch, handles it, and answers a rebalance that came with it.
    fn turn(&mut self, wait: Duration) -> Result<(), MembersError> {
        let (mut batch, rebalance) = self.collect(wait)?;
        if let Some(taken) = rebalance.as_ref().filter(|rebalance| !rebalance.is_assign)
            && self.client.is_assignment_lost()
        {
            let lost = self.numbers(&taken.partitions.to_vec());
            batch.retain(|record| !lost.contains(&record.partition));
        }
        self.hand_over(&batch)?;
        if let Some(mut crew) = self.crew.take() {
            let reports = crew.reports();
            self.crew = Some(crew);
            self.hear_of(&reports)?;
        }
        if let Some(rebalance) = rebalance {
            self.rebalance(&rebalance)?;
        }
        self.look_around()
    }

    /// Takes what is there, up to a whole batch.
    fn collect(&mut self, mut wait: Duration) -> Result<(Vec<Record>, Option<Rebalance>), MembersError> {
        let mut batch: Vec<Record> = Vec::new();
        let mut told = 0;
        let mut rebalance = None;
        while batch.len() < self.spec.max_poll_records as usize {
            let spec = self.spec;
            let heard = self.client.poll(wait, |raw| {
                Some(Record {
                    partition: spec.number_of(raw.topic, raw.partition)?,
                    offset: raw.offset,
                    identity: Identity::decode(raw.value),
                })
            });
            wait = Duration::ZERO;
            match heard {
                None => break,
                Some(Heard::Record(Some(record))) => {
                    batch.push(record);
                    if self.commits == Commits::AutoAtHandOver {
                        // Its offset is stored by now, and may be committed at any time.
                        self.log.polled(&batch[told..])?;
                        self.log.commit_called(&[(record.partition, record.offset + 1)])?;
                        told = batch.len();
                    }
                }
                Some(Heard::Rebalance { is_assign, partitions }) => {
                    rebalance = Some(Rebalance { is_assign, partitions });
                    break;
                }
                Some(Heard::Committed(places)) => self.answered(&places)?,
                Some(Heard::Failed {
                    code,
                    is_fatal,
                    message,
                }) => self.failed(code, is_fatal, message)?,
                Some(Heard::Record(None) | Heard::Other) => {}
            }
        }
        self.log.polled(&batch[told..])?;
        self.polled_count += batch.len() as u64;
        Ok((batch, rebalance))
    }

    /// Gives a batch to the handler, or to the handlers.
    fn hand_over(&mut self, batch: &[Record]) -> Result<(), MembersError> {
        if batch.is_empty() {
            return Ok(());
        }
        if self.commits == Commits::BeforeProcessing {
            self.commit(&ends(batch))?;
        }
        let stretches = stretches(batch);
        let Some(crew) = self.crew.as_mut() else {
            if let Some(stuck_ms) = self.pace.batch() {
                self.note(MemberTold::Stuck { for_ms: stuck_ms });
            }
            for stretch in stretches {
                self.handle(stretch)?;
            }
            match self.commits {
                Commits::SyncPerBatch => self.commit(&ends(batch))?,
                Commits::AsyncPerBatch => self.begin_commit(&ends(batch))?,
                _ => {}
            }
            return Ok(());
        };
        // What is polled meanwhile is of other partitions, so that memory is bounded and order is kept.
        let mut paused = Places::new();
        for stretch in stretches {
            let (topic, partition) = self.spec.place_of(stretch.partition);
            if !crew.has(stretch.partition) {
                paused.add(topic, partition, -1)?;
            }
            crew.take(stretch);
        }
        self.client.pause(&paused, true);
        Ok(())
    }

    /// Handles records between two polls: one by one where each takes time or is committed apart, else all at once.
    fn handle(&mut self, stretch: Stretch) -> Result<(), MembersError> {
        if !self.pace.is_per_record() && self.commits != Commits::SyncPerRecord {
            return self.is_processed(stretch);
        }
        for step in 0..stretch.count {
            self.pace.record();
            self.is_processed(Stretch {
                base_offset: stretch.base_offset + i64::from(step),
                count: 1,
                ..stretch
            })?;
            self.note_positions_in_time();
        }
        Ok(())
    }

    /// Takes note of what handlers report, and lets them have more.
    fn hear_of(&mut self, reports: &[Done]) -> Result<(), MembersError> {
        let mut over = BTreeSet::new();
        for report in reports {
            match *report {
                Done::Processed(stretch) => self.is_processed(stretch)?,
                Done::Stuck(for_ms) => self.note(MemberTold::Stuck { for_ms }),
                Done::Over(partition) => {
                    over.insert(partition);
                }
            }
        }
        over.retain(|partition| !self.crew.as_ref().is_some_and(|crew| crew.has(*partition)));
        if over.is_empty() {
            return Ok(());
        }
        let free: Vec<u32> = over.intersection(&self.held).copied().collect();
        let mut resumed = Places::new();
        for partition in &free {
            let (topic, partition) = self.spec.place_of(*partition);
            resumed.add(topic, partition, -1)?;
        }
        match self.commits {
            Commits::SyncPerBatch => self.commit_processed(&free)?,
            Commits::AsyncPerBatch => {
                let offsets = self.uncommitted(&free);
                self.begin_commit(&offsets)?;
            }
            _ => {}
        }
        self.client.pause(&resumed, false);
        Ok(())
    }

    /// Records are processed: that is written down, and committed where each record is.
    fn is_processed(&mut self, stretch: Stretch) -> Result<(), MembersError> {
        self.log.processed(stretch)?;
        self.processed_count += u64::from(stretch.count);
        self.processed.insert(stretch.partition, stretch.end());
        self.untold.insert(stretch.partition);
        let offsets = [(stretch.partition, stretch.end())];
        match self.commits {
            Commits::SyncPerRecord => self.commit(&offsets),
            Commits::AutoAfterProcessing => {
                self.log.commit_called(&offsets)?;
                let code = self.client.store(&self.places(&offsets)?);
                if code != 0 {
                    // It is no longer the member's: the client will not commit it.
                    self.log.committed(stretch.partition, stretch.end(), code)?;
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Answers a rebalance.
    fn rebalance(&mut self, asked: &Rebalance) -> Result<(), MembersError> {
        let places = asked.partitions.to_vec();
        let numbers = self.numbers(&places);
        let answered = if asked.is_assign {
            self.learn_epoch();
            self.log.tell_each(&numbers, |claim| Event::Assigned { claim })?;
            self.held.extend(&numbers);
            self.client.assign(&asked.partitions)
        } else {
            let is_lost = self.client.is_assignment_lost();
            if let Some(mut crew) = self.crew.take() {
                let reports = crew.release(&numbers);
                self.crew = Some(crew);
                // Whoever is given them next, maybe this member, begins without a pause.
                self.client.pause(&asked.partitions, false);
                self.hear_of(&reports)?;
            }
            if is_lost {
                self.log.tell_each(&numbers, |claim| Event::Lost { claim })?;
            } else {
                self.commit_processed(&numbers)?;
                self.log.tell_each(&numbers, |claim| Event::Revoked { claim })?;
            }
            self.note_positions();
            for number in &numbers {
                self.held.remove(number);
                self.processed.remove(number);
                self.committed.remove(number);
            }
            let answered = self.client.unassign(&asked.partitions);
            self.learn_epoch();
            answered
        };
        if let Err(error) = answered {
            // A client that is fenced meanwhile takes nothing; what made it so comes as an event of its own.
            self.note(MemberTold::Failed {
                code: -1,
                is_fatal: false,
                message: error.to_string(),
            });
        }
        self.has_rebalanced()
    }

    /// Asks the client for its epoch. One that closes may not answer any more, and has none that matters.
    fn learn_epoch(&mut self) {
        if !self.is_closing {
            self.log.epoch = self.client.epoch();
        }
    }

    fn has_rebalanced(&mut self) -> Result<(), MembersError> {
        let (epoch, partitions) = (self.log.epoch, self.held.len() as u32);
        self.log.tell(Event::Rebalanced {
            member: self.spec.member,
            epoch,
            partitions,
        })?;
        self.told_epoch = epoch;
        self.note(MemberTold::Rebalanced { epoch, partitions });
        Ok(())
    }

    /// Looks now and then whether the group has moved on without asking anything of this member, and tells how far it is. An epoch counts that
    /// was seen twice: in the middle of a rebalance it is followed by what is asked.
    fn look_around(&mut self) -> Result<(), MembersError> {
        if Instant::now() >= self.next_look {
            self.next_look = in_time(NOTE_EVERY);
            self.learn_epoch();
            let epoch = self.log.epoch;
            if epoch != self.told_epoch && epoch == self.seen_epoch {
                self.has_rebalanced()?;
            }
            self.seen_epoch = epoch;
        }
        self.note_positions_in_time();
        Ok(())
    }

    fn failed(&mut self, code: i32, is_fatal: bool, message: String) -> Result<(), MembersError> {
        self.log.tell(Event::MemberFailed {
            member: self.spec.member,
            epoch: self.log.epoch,
            code: i16::try_from(code).unwrap_or(i16::MIN),
        })?;
        self.is_broken |= is_fatal;
        self.note(MemberTold::Failed {
            code,
            is_fatal,
            message,
        });
        Ok(())
    }

    /// Commits what is processed of partitions and not committed, where the policy commits by hand.
    fn commit_processed(&mut self, partitions: &[u32]) -> Result<(), MembersError> {
        if self.commits.is_auto() || !self.commits.follows_processing() {
            return Ok(());
        }
        let offsets = self.uncommitted(partitions);
        self.commit(&offsets)
    }

    fn uncommitted(&self, partitions: &[u32]) -> Vec<(u32, i64)> {
        let next = |partition: &u32| Some((*partition, *self.processed.get(partition)?));
        let open = |(partition, offset): &(u32, i64)| self.committed.get(partition) != Some(offset);
        partitions.iter().filter_map(next).filter(open).collect()
    }

    /// Commits and waits.
    fn commit(&mut self, offsets: &[(u32, i64)]) -> Result<(), MembersError> {
        if offsets.is_empty() {
            return Ok(());
        }
        self.learn_epoch();
        self.log.commit_called(offsets)?;
        let code = self.client.commit(&self.places(offsets)?);
        for (partition, offset) in offsets {
            self.log.committed(*partition, *offset, code)?;
            if code == 0 {
                self.committed.insert(*partition, *offset);
            }
        }
        Ok(())
    }

    /// Commits without waiting; the answer is an event.
    fn begin_commit(&mut self, offsets: &[(u32, i64)]) -> Result<(), MembersError> {
        if offsets.is_empty() {
            return Ok(());
        }
        self.log.commit_called(offsets)?;
        let code = self.client.begin_commit(&self.places(offsets)?);
        if code != 0 {
            for (partition, offset) in offsets {
                self.log.committed(*partition, *offset, code)?;
            }
        }
        Ok(())
    }

    /// An answer to a commit that nobody waited for.
    fn answered(&mut self, places: &[Place]) -> Result<(), MembersError> {
        for place in places.iter().filter(|place| place.offset >= 0) {
            let Some(number) = self.spec.number_of(place.topic.as_bytes(), place.partition) else {
                continue;
            };
            self.log.committed(number, place.offset, place.code)?;
            if place.code == 0 && self.held.contains(&number) {
                self.committed.insert(number, place.offset);
            }
        }
        Ok(())
    }

    fn places(&self, offsets: &[(u32, i64)]) -> Result<Places, MembersError> {
        let mut places = Places::new();
        for (number, offset) in offsets {
            let (topic, partition) = self.spec.place_of(*number);
            places.add(topic, partition, *offset)?;
        }
        Ok(places)
    }

    fn numbers(&self, places: &[Place]) -> Vec<u32> {
        let number = |place: &Place| self.spec.number_of(place.topic.as_bytes(), place.partition);
        places.iter().filter_map(number).collect()
    }

    fn note_positions_in_time(&mut self) {
        if Instant::now() >= self.next_note {
            self.next_note = in_time(NOTE_EVERY);
            self.note_positions();
        }
    }

    fn note_positions(&mut self) {
        let position = |partition: &u32| Some((*partition, *self.processed.get(partition)?));
        let positions: Vec<(u32, i64)> = self.untold.iter().filter_map(position).collect();
        if !positions.is_empty() {
            self.untold.clear();
            let (polled, processed) = (self.polled_count, self.processed_count);
            self.note(MemberTold::Counts {
                polled,
                processed,
                positions,
            });
        }
    }

    fn note(&self, told: MemberTold) {
        let member = self.spec.member;
        // Nobody reads any more when this fails: the end of stdin will say so.
        let _ = self.notes.send(WorkerEvent::Member(MemberNote { member, told }));
    }
}

/// The next offset of each partition of a batch.
fn ends(batch: &[Record]) -> Vec<(u32, i64)> {
    let ends: BTreeMap<u32, i64> = batch
        .iter()
        .map(|record| (record.partition, record.offset + 1))
        .collect();
    ends.into_iter().collect()
}
