//! How somebody comes into a group: new, again, or in the place of one that is fenced.

use std::time::Instant;

use kafka_wire::ErrorCode;

use super::group::{Group, NEW_MEMBER_TIMEOUT, State};
use super::member::{Joined, Joining, Member, Synced, Ticket, Told, protocol_bytes};

impl Group {
    /// JoinGroup; its answer comes when members of the next generation are known.
    pub fn join(&mut self, now: Instant, ticket: Ticket, joining: Joining) {
        self.tick(now);
        let (id, is_new) = (joining.member_id.clone(), joining.member_id.is_empty());
        let refusal = if !self.has_room(&joining) {
            self.pending.remove(&id);
            Some((ErrorCode::GroupMaxSizeReached, String::new()))
        } else if !self.supports(&joining) {
            Some((ErrorCode::InconsistentGroupProtocol, id))
        } else if is_new {
            self.join_new(now, ticket, joining);
            None
        } else {
            self.join_again(now, ticket, joining).err().map(|error| (error, id))
        };
        if let Some((error, id)) = refusal {
            self.answer_join(ticket, Joined::refused(error, id));
        }
        // Some timeouts may be nothing.
        self.tick(now);
    }

    fn has_room(&self, joining: &Joining) -> bool {
        let known = self.members.get(&joining.member_id);
        let awaiting = || self.members.values().filter(|m| m.awaits_join.is_some()).count();
        let max = self.limits.members_max;
        let has_place = match self.state {
            State::Empty => true,
            State::PreparingRebalance => known.is_some_and(|m| m.awaits_join.is_some()) || awaiting() < max,
            State::CompletingRebalance | State::Stable => known.is_some() || self.members.len() < max,
        };
        let others: usize = self.members.values().map(Member::bytes).sum();
        let bytes = others - known.map_or(0, Member::bytes) + protocol_bytes(&joining.protocols);
        has_place && self.pending.len() <= max && bytes <= self.limits.bytes_max
    }

    fn supports(&self, joining: &Joining) -> bool {
        if self.state == State::Empty {
            return !joining.protocol_type.is_empty() && !joining.protocols.is_empty();
        }
        let by_all = |name: &str| self.members.values().all(|m| m.supports(name));
        self.protocol_type.as_ref() == Some(&joining.protocol_type) && joining.protocols.iter().any(|p| by_all(&p.name))
    }

    fn join_new(&mut self, now: Instant, ticket: Ticket, joining: Joining) {
        let id = joining.fresh_id.clone();
        let known = joining.instance.as_ref().and_then(|name| self.instances.get(name));
        match known.cloned() {
            Some(old) => self.replace(now, ticket, &old, id, joining),
            None if joining.instance.is_none() && joining.knows_required_id => {
                self.pending.insert(id.clone(), now + joining.session_timeout);
                self.answer_join(ticket, Joined::refused(ErrorCode::MemberIdRequired, id));
            }
            None => self.add(now, ticket, id, joining),
        }
    }

    fn join_again(&mut self, now: Instant, ticket: Ticket, joining: Joining) -> Result<(), ErrorCode> {
        let id = joining.member_id.clone();
        if joining.instance.is_none() && self.pending.remove(&id).is_some() {
            self.add(now, ticket, id, joining);
            return Ok(());
        }
        let member = self.check_member(&id, joining.instance.as_deref())?;
        let is_unchanged = member.protocols == joining.protocols;
        let is_leader = self.leader.as_ref() == Some(&id);
        match self.state {
            // It did not hear the answer to its first request.
            State::CompletingRebalance if is_unchanged => self.answer_current(ticket, &id),
            // A leader that joins again saw a change of what there is to assign.
            State::Stable if is_unchanged && !is_leader => self.answer_current(ticket, &id),
            State::Empty => return Err(ErrorCode::UnknownMemberId),
            _ => {
                self.update(ticket, &id, joining);
                self.rebalance(now);
            }
        }
        Ok(())
    }

    fn add(&mut self, now: Instant, ticket: Ticket, id: String, joining: Joining) {
        if self.members.is_empty() {
            self.protocol_type = Some(joining.protocol_type.clone());
        }
        self.has_newcomer |= self.join_phase.is_some_and(|phase| phase.initial.is_some());
        if let Some(name) = &joining.instance {
            self.instances.insert(name.clone(), id.clone());
        }
        let mut member = Member::of(joining, now + NEW_MEMBER_TIMEOUT);
        member.awaits_join = Some(ticket);
        self.leader.get_or_insert_with(|| id.clone());
        self.members.insert(id, member);
        self.rebalance(now);
    }

    /// What a member that is known says anew. An earlier request of it that still waits is answered so that its client asks again, if it is there.
    fn update(&mut self, ticket: Ticket, id: &str, joining: Joining) {
        let Some(member) = self.members.get_mut(id) else {
            return;
        };
        member.protocols = joining.protocols;
        member.session_timeout = joining.session_timeout;
        member.rebalance_timeout = joining.rebalance_timeout;
        if let Some(earlier) = member.awaits_join.replace(ticket) {
            self.answer_join(earlier, Joined::refused(ErrorCode::RebalanceInProgress, id));
        }
    }

    /// A static member comes back without its id: it takes the place and the assignment of the one before, which is fenced.
    fn replace(&mut self, now: Instant, ticket: Ticket, old_id: &str, id: String, joining: Joining) {
        let old_leader = self.leader.clone().unwrap_or_default();
        let was_leader = old_leader == old_id;
        let knows_skipping = joining.knows_skipping;
        let Some(mut member) = self.members.remove(old_id) else {
            return;
        };
        if let Some(earlier) = member.awaits_join.take() {
            self.answer_join(earlier, Joined::refused(ErrorCode::FencedInstanceId, old_id));
        }
        if let Some(earlier) = member.awaits_sync.take() {
            self.answer_sync(earlier, Synced::refused(ErrorCode::FencedInstanceId));
        }
        if self.unsynced.remove(old_id) {
            self.unsynced.insert(id.clone());
        }
        if was_leader {
            self.leader = Some(id.clone());
        }
        if let Some(name) = &member.instance {
            self.instances.insert(name.clone(), id.clone());
        }
        member.client_id.clone_from(&joining.client_id);
        member.client_host.clone_from(&joining.client_host);
        self.members.insert(id.clone(), member);
        self.update(ticket, &id, joining);
        if let Some(member) = self.members.get_mut(&id) {
            member.touch(now);
        }
        let keeps_protocol = self.state == State::Stable && self.elected_protocol() == self.protocol;
        if !keeps_protocol {
            // Should the leader have been told of the old id, its assignment would miss the new one.
            return self.rebalance(now);
        }
        self.out.is_changed = true;
        let is_leader = was_leader && knows_skipping;
        let mut joined = self.current(&id, is_leader);
        joined.skip_assignment = is_leader;
        if !knows_skipping {
            // Who leads by this answer would assign anew, so it is not told that it does.
            joined.leader = old_leader;
        }
        if let Some(member) = self.members.get_mut(&id) {
            member.awaits_join = None;
        }
        self.answer_join(ticket, joined);
    }

    fn answer_current(&mut self, ticket: Ticket, id: &str) {
        let is_leader = self.leader.as_deref() == Some(id);
        let joined = self.current(id, is_leader && self.state == State::CompletingRebalance);
        self.answer_join(ticket, joined);
    }

    /// What a member of this generation is told when it joins.
    pub(super) fn current(&self, id: &str, with_members: bool) -> Joined {
        let protocol = self.protocol.as_deref().unwrap_or_default();
        let told = |(id, member): (&String, &Member)| Told {
            member_id: id.clone(),
            instance: member.instance.clone(),
            metadata: member.metadata(protocol),
        };
        Joined {
            error: ErrorCode::None,
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            leader: self.leader.clone().unwrap_or_default(),
            skip_assignment: false,
            member_id: id.to_owned(),
            members: match with_members {
                true => self.members.iter().map(told).collect(),
                false => Vec::new(),
            },
        }
    }
}
