//! A group of the classic protocol as a pure state machine: requests and the time go in, answers come out.
//!
//! It has no clock and no socket. [`Group::tick`] carries out what is due, each event at its own time, so that whoever touches a group finds it
//! as it would be if somebody had watched it all the while. The rules are those of Kafka's `ClassicGroup` and `GroupMetadataManager`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_wire::ErrorCode;

use super::member::{Answer, Joined, Member, Synced, Syncing, Ticket};

/// Kafka's names for what a group is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Nobody is in it.
    Empty,
    /// Members are waited for.
    PreparingRebalance,
    /// Members know their generation; the leader's assignment is waited for.
    CompletingRebalance,
    /// Members have their assignments.
    Stable,
}

impl State {
    pub fn name(self) -> &'static str {
        match self {
            State::Empty => "Empty",
            State::PreparingRebalance => "PreparingRebalance",
            State::CompletingRebalance => "CompletingRebalance",
            State::Stable => "Stable",
        }
    }
}

/// The broker's settings for groups.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub initial_delay: Duration,
    pub members_max: usize,
    /// Of metadata and assignments of all members.
    pub bytes_max: usize,
}

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Outputs {
    pub answers: Vec<(Ticket, Answer)>,
    /// Members and assignments have to be written down, in front of the answers.
    pub is_changed: bool,
}

/// Until when members are waited for.
#[derive(Debug, Clone, Copy)]
pub(super) struct JoinPhase {
    pub due: Instant,
    /// While the first members come: how long this wait is, and how much longer it may become.
    pub initial: Option<(Duration, Duration)>,
}

/// How long a member that was never answered is waited for, as in Kafka: its client may be gone, and can't send heartbeats.
pub(super) const NEW_MEMBER_TIMEOUT: Duration = Duration::from_secs(300);

/// One group.
#[derive(Debug)]
pub(crate) struct Group {
    pub(super) limits: Limits,
    pub(super) state: State,
    pub(super) generation: i32,
    pub(super) protocol_type: Option<String>,
    pub(super) protocol: Option<String>,
    pub(super) leader: Option<String>,
    pub(super) members: BTreeMap<String, Member>,
    /// Ids of members by the names that their operators gave them (KIP-345).
    pub(super) instances: BTreeMap<String, String>,
    /// Ids that were given out and did not come back yet, with the time when they are forgotten.
    pub(super) pending: BTreeMap<String, Instant>,
    /// Who knows the generation and did not ask for its assignment yet.
    pub(super) unsynced: BTreeSet<String>,
    pub(super) join_phase: Option<JoinPhase>,
    pub(super) sync_due: Option<Instant>,
    /// Somebody came during the initial delay.
    pub(super) has_newcomer: bool,
    pub(super) out: Outputs,
}

impl Group {
    pub fn new(limits: Limits) -> Self {
        Group {
            limits,
            state: State::Empty,
            generation: 0,
            protocol_type: None,
            protocol: None,
            leader: None,
            members: BTreeMap::new(),
            instances: BTreeMap::new(),
            pending: BTreeMap::new(),
            unsynced: BTreeSet::new(),
            join_phase: None,
            sync_due: None,
            has_newcomer: false,
            out: Outputs::default(),
        }
    }

    pub fn state(&self) -> State {
        self.state
    }

    pub fn generation(&self) -> i32 {
        self.generation
    }

    pub fn protocol_type(&self) -> Option<&str> {
        self.protocol_type.as_deref()
    }

    pub fn protocol(&self) -> Option<&str> {
        self.protocol.as_deref()
    }

    pub fn leader(&self) -> Option<&str> {
        self.leader.as_deref()
    }

    pub fn members(&self) -> &BTreeMap<String, Member> {
        &self.members
    }

    /// Nobody is in it and nobody was promised a place.
    pub fn is_deserted(&self) -> bool {
        self.state == State::Empty && self.pending.is_empty()
    }

    /// What is to be said and written since this was asked last.
    pub fn take_outputs(&mut self) -> Outputs {
        std::mem::take(&mut self.out)
    }

    /// SyncGroup; its answer comes with the leader's assignment.
    pub fn sync(&mut self, now: Instant, ticket: Ticket, syncing: Syncing) {
        self.tick(now);
        if let Err(error) = self.check_sync(&syncing) {
            return self.answer_sync(ticket, Synced::refused(error));
        }
        let id = syncing.member_id;
        self.unsynced.remove(&id);
        if self.unsynced.is_empty() {
            self.sync_due = None;
        }
        let Some(member) = self.members.get_mut(&id) else {
            return;
        };
        member.touch(now);
        if let Some(earlier) = member.awaits_sync.replace(ticket) {
            self.answer_sync(earlier, Synced::refused(ErrorCode::RebalanceInProgress));
        }
        if self.state == State::CompletingRebalance && self.leader.as_ref() == Some(&id) {
            self.members.values_mut().for_each(|m| m.assignment = Bytes::new());
            for (member_id, assignment) in syncing.assignments {
                if let Some(member) = self.members.get_mut(&member_id) {
                    member.assignment = assignment;
                }
            }
            self.state = State::Stable;
            self.out.is_changed = true;
        }
        if self.state == State::Stable {
            self.hand_out(now);
        }
    }

    fn check_sync(&self, syncing: &Syncing) -> Result<(), ErrorCode> {
        self.check_member(&syncing.member_id, syncing.instance.as_deref())?;
        if syncing.generation != self.generation {
            return Err(ErrorCode::IllegalGeneration);
        }
        let differs = |said: &Option<String>, is: &Option<String>| said.is_some() && said != is;
        if differs(&syncing.protocol_type, &self.protocol_type) || differs(&syncing.protocol, &self.protocol) {
            return Err(ErrorCode::InconsistentGroupProtocol);
        }
        match self.state {
            State::Empty => Err(ErrorCode::UnknownMemberId),
            State::PreparingRebalance => Err(ErrorCode::RebalanceInProgress),
            State::CompletingRebalance | State::Stable => {
                let bytes: usize = syncing.assignments.iter().map(|(id, a)| id.len() + a.len()).sum();
                let fits = bytes <= self.limits.bytes_max;
                fits.then_some(()).ok_or(ErrorCode::UnknownServerError)
            }
        }
    }

    /// Heartbeat: a member is there, and hears whether it must join again.
    pub fn heartbeat(&mut self, now: Instant, id: &str, instance: Option<&str>, generation: i32) -> ErrorCode {
        self.tick(now);
        if let Err(error) = self.check_member(id, instance) {
            return error;
        }
        if generation != self.generation {
            return ErrorCode::IllegalGeneration;
        }
        self.touch(now, id);
        match self.state {
            State::Empty => ErrorCode::UnknownMemberId,
            State::PreparingRebalance => ErrorCode::RebalanceInProgress,
            State::CompletingRebalance | State::Stable => ErrorCode::None,
        }
    }

    /// LeaveGroup for one member, named by its id, or by its instance alone when somebody else takes it out.
    pub fn leave(&mut self, now: Instant, id: &str, instance: Option<&str>) -> ErrorCode {
        self.tick(now);
        if self.pending.remove(id).is_some() {
            self.complete_if_all_joined(now);
            return ErrorCode::None;
        }
        let by_instance = instance
            .filter(|_| id.is_empty())
            .and_then(|name| self.instances.get(name));
        let id = by_instance.cloned().unwrap_or_else(|| id.to_owned());
        if let Err(error) = self.check_member(&id, instance) {
            return error;
        }
        self.remove(&id);
        self.rebalance(now);
        // Without members there is nothing to wait for.
        self.tick(now);
        ErrorCode::None
    }

    /// Whether an OffsetCommit is accepted; one of a member counts as a sign of life. `generation` is negative for who is in no group.
    pub fn check_commit(
        &mut self,
        now: Instant,
        id: &str,
        instance: Option<&str>,
        generation: i32,
    ) -> Result<(), ErrorCode> {
        self.tick(now);
        if generation < 0 && self.state == State::Empty {
            return Ok(());
        }
        if generation < 0 && id.is_empty() && instance.is_none() {
            return Err(ErrorCode::UnknownMemberId);
        }
        self.check_member(id, instance)?;
        if generation != self.generation {
            return Err(ErrorCode::IllegalGeneration);
        }
        if self.state == State::CompletingRebalance {
            return Err(ErrorCode::RebalanceInProgress);
        }
        self.touch(now, id);
        Ok(())
    }

    fn touch(&mut self, now: Instant, id: &str) {
        if let Some(member) = self.members.get_mut(id) {
            member.touch(now);
        }
    }

    pub(super) fn check_member(&self, id: &str, instance: Option<&str>) -> Result<&Member, ErrorCode> {
        if let Some(name) = instance {
            match self.instances.get(name) {
                Some(known) if known == id => {}
                Some(_) => return Err(ErrorCode::FencedInstanceId),
                None => return Err(ErrorCode::UnknownMemberId),
            }
        }
        self.members.get(id).ok_or(ErrorCode::UnknownMemberId)
    }

    /// Answers all that wait for their assignments.
    fn hand_out(&mut self, now: Instant) {
        let (protocol_type, protocol) = (self.protocol_type.clone(), self.protocol.clone());
        let mut answers = Vec::new();
        for member in self.members.values_mut() {
            let Some(ticket) = member.awaits_sync.take() else {
                continue;
            };
            member.touch(now);
            let synced = Synced {
                error: ErrorCode::None,
                protocol_type: protocol_type.clone(),
                protocol: protocol.clone(),
                assignment: member.assignment.clone(),
            };
            answers.push((ticket, Answer::Sync(synced)));
        }
        self.out.answers.append(&mut answers);
    }

    pub(super) fn answer_join(&mut self, ticket: Ticket, joined: Joined) {
        self.out.answers.push((ticket, Answer::Join(joined)));
    }

    pub(super) fn answer_sync(&mut self, ticket: Ticket, synced: Synced) {
        self.out.answers.push((ticket, Answer::Sync(synced)));
    }
}
