//! The phases of a rebalance, and what happens to a group by time alone.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_wire::ErrorCode;

use super::group::{Group, JoinPhase, State};
use super::member::{Joined, Synced};

/// Between two looks for somebody who could lead, when a rebalance timeout is shorter: only members that are waited for are there.
const LEADER_WAIT_MIN: Duration = Duration::from_millis(100);

/// What is due at a time.
enum Due {
    Join,
    Sync,
    Member(String),
    Pending(String),
}

impl Group {
    /// When something happens next without anybody asking.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.next_due().map(|(at, _)| at)
    }

    fn next_due(&self) -> Option<(Instant, Due)> {
        let join = self.join_phase.map(|phase| (phase.due, Due::Join));
        let sync = self.sync_due.map(|at| (at, Due::Sync));
        let member = |(id, at): (&String, Instant)| (at, Due::Member(id.clone()));
        let members = self.members.iter().filter_map(|(id, m)| Some((id, m.deadline()?)));
        let first_member = members.min_by_key(|(_, at)| *at).map(member);
        let pending = self.pending.iter().min_by_key(|(_, at)| **at);
        let pending = pending.map(|(id, at)| (*at, Due::Pending(id.clone())));
        // Of what is due at the same time, members first: a rebalance shall not wait for who is gone.
        [first_member, pending, join, sync]
            .into_iter()
            .flatten()
            .min_by_key(|(at, _)| *at)
    }

    /// Carries out what is due by now, each at its own time. It ends: members only become fewer, and phases have their lengths.
    pub fn tick(&mut self, now: Instant) {
        while let Some((at, due)) = self.next_due().filter(|(at, _)| *at <= now) {
            match due {
                Due::Join => self.join_phase_over(at),
                Due::Sync => self.sync_phase_over(at),
                Due::Member(id) => {
                    tracing::info!(member = id, "a member was not heard of for its session timeout");
                    self.remove(&id);
                    self.rebalance(at);
                }
                Due::Pending(id) => {
                    self.pending.remove(&id);
                    self.complete_if_all_joined(at);
                }
            }
        }
    }

    /// Begins a rebalance, or goes on with the one that is under way.
    pub(super) fn rebalance(&mut self, now: Instant) {
        match self.state {
            State::PreparingRebalance => return self.complete_if_all_joined(now),
            State::CompletingRebalance => self.take_assignments_back(now),
            State::Empty | State::Stable => {}
        }
        self.unsynced.clear();
        self.sync_due = None;
        let is_first = self.state == State::Empty;
        self.state = State::PreparingRebalance;
        self.has_newcomer = false;
        if is_first {
            let delay = self.limits.initial_delay;
            let rest = self.rebalance_timeout().saturating_sub(delay);
            self.join_phase = Some(JoinPhase {
                due: now + delay,
                initial: Some((delay, rest)),
            });
        } else {
            self.join_phase = Some(JoinPhase {
                due: now + self.rebalance_timeout(),
                initial: None,
            });
            self.complete_if_all_joined(now);
        }
    }

    /// Who waits for an assignment of a generation that is over is told to join again.
    fn take_assignments_back(&mut self, now: Instant) {
        let mut waiting = Vec::new();
        for member in self.members.values_mut() {
            member.assignment = Bytes::new();
            if let Some(ticket) = member.awaits_sync.take() {
                member.touch(now);
                waiting.push(ticket);
            }
        }
        for ticket in waiting {
            self.answer_sync(ticket, Synced::refused(ErrorCode::RebalanceInProgress));
        }
    }

    fn rebalance_timeout(&self) -> Duration {
        let timeouts = self.members.values().map(|m| m.rebalance_timeout);
        timeouts.max().unwrap_or_default()
    }

    pub(super) fn complete_if_all_joined(&mut self, now: Instant) {
        let is_initial = self.join_phase.is_some_and(|phase| phase.initial.is_some());
        let all_joined = self.pending.is_empty() && self.members.values().all(|m| m.awaits_join.is_some());
        if self.state == State::PreparingRebalance && !is_initial && all_joined {
            self.complete_join(now);
        }
    }

    fn join_phase_over(&mut self, now: Instant) {
        let initial = self.join_phase.and_then(|phase| phase.initial);
        match initial.filter(|(_, rest)| self.has_newcomer && !rest.is_zero()) {
            // Somebody came: others may be on their way too.
            Some((delay, rest)) => {
                self.has_newcomer = false;
                let next = self.limits.initial_delay.min(rest);
                self.join_phase = Some(JoinPhase {
                    due: now + next,
                    initial: Some((next, rest.saturating_sub(delay))),
                });
            }
            None => self.complete_join(now),
        }
    }

    /// The next generation: those who joined, and static members whether they did or not.
    fn complete_join(&mut self, now: Instant) {
        let absent = |m: &super::member::Member| m.awaits_join.is_none() && m.instance.is_none();
        let late: Vec<String> = self
            .members
            .iter()
            .filter(|(_, m)| absent(m))
            .map(|(id, _)| id.clone())
            .collect();
        for id in late {
            tracing::info!(member = id, "a member did not join again in time");
            self.remove(&id);
        }
        if !self.members.is_empty() && !self.elect_leader() {
            let wait = self.rebalance_timeout().max(LEADER_WAIT_MIN);
            self.join_phase = Some(JoinPhase {
                due: now + wait,
                initial: None,
            });
            return;
        }
        self.join_phase = None;
        self.generation = self.generation.checked_add(1).unwrap_or(0);
        if self.members.is_empty() {
            self.protocol = None;
            self.leader = None;
            self.state = State::Empty;
            self.out.is_changed = true;
            return;
        }
        self.protocol = self.elected_protocol();
        self.state = State::CompletingRebalance;
        self.unsynced = self.members.keys().cloned().collect();
        self.sync_due = Some(now + self.rebalance_timeout());
        let mut waiting = Vec::new();
        for (id, member) in &mut self.members {
            member.touch(now);
            if let Some(ticket) = member.awaits_join.take() {
                member.is_new = false;
                waiting.push((ticket, id.clone()));
            }
        }
        tracing::debug!(
            generation = self.generation,
            members = self.members.len(),
            "a new generation"
        );
        for (ticket, id) in waiting {
            let is_leader = self.leader.as_ref() == Some(&id);
            let joined = self.current(&id, is_leader);
            self.answer_join(ticket, joined);
        }
    }

    /// Whether there is a leader that will hear of it.
    fn elect_leader(&mut self) -> bool {
        let awaits = |id: &String| self.members.get(id).is_some_and(|m| m.awaits_join.is_some());
        if self.leader.as_ref().is_some_and(awaits) {
            return true;
        }
        let Some(next) = self.members.keys().find(|id| awaits(id)).cloned() else {
            return false;
        };
        self.leader = Some(next);
        true
    }

    /// Of the protocols that all members support, the one that most of them name first.
    pub(super) fn elected_protocol(&self) -> Option<String> {
        let first = self.members.values().next()?;
        let names = first.protocols.iter().map(|p| p.name.as_str());
        let by_all = |name: &&str| self.members.values().all(|m| m.supports(name));
        let supported: BTreeSet<&str> = names.filter(by_all).collect();
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        for name in self.members.values().filter_map(|m| m.vote(&supported)) {
            *votes.entry(name).or_default() += 1;
        }
        let most = votes.into_iter().max_by_key(|(_, count)| *count);
        most.map(|(name, _)| name.to_owned())
    }

    /// Members that know the generation and never asked for their assignments are given up.
    fn sync_phase_over(&mut self, now: Instant) {
        self.sync_due = None;
        for id in std::mem::take(&mut self.unsynced) {
            tracing::info!(member = id, "a member did not ask for its assignment in time");
            self.remove(&id);
        }
        self.rebalance(now);
    }

    /// Takes a member out. What it waits for is answered, so that its client joins anew if it is still there.
    pub(super) fn remove(&mut self, id: &str) {
        let Some(member) = self.members.remove(id) else {
            return;
        };
        if let Some(name) = &member.instance {
            self.instances.remove(name);
        }
        self.unsynced.remove(id);
        if let Some(ticket) = member.awaits_join {
            self.answer_join(ticket, Joined::refused(ErrorCode::UnknownMemberId, ""));
        }
        if let Some(ticket) = member.awaits_sync {
            self.answer_sync(ticket, Synced::refused(ErrorCode::UnknownMemberId));
        }
        if self.leader.as_deref() == Some(id) {
            self.leader = self.members.keys().next().cloned();
        }
    }
}
