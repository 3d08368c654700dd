//! A group of KIP-848's protocol as a pure state machine: heartbeats, the topics that there are and the time go in, answers and what is to be
//! written come out.
//!
//! The broker assigns. Every change of members, subscriptions or topics raises the group's epoch; the next heartbeat of anybody makes a new target
//! for it, not more often than every `group.consumer.assignment.interval.ms`, and each member is led there by its own heartbeats: first it gives up
//! what is not its any more, then it is given what is free. It is in the group's epoch when it holds nothing but its own. The rules are those of Kafka
//! 4.3's `GroupMetadataManager` and `CurrentAssignmentBuilder`, but for two: a pattern is matched in the heartbeat that brings it, and assignments
//! are not made in the background.

pub(crate) mod assignor;
mod changes;
mod member;
mod reconcile;
pub(crate) mod records;
mod subscription;
#[cfg(test)]
mod tests;

pub(crate) use changes::Changes;
pub(crate) use member::{Beat, Beaten, JOIN, LEAVE, LEAVE_FOR_NOW, Member, Refused, places_of, refuse};

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

use kafka_wire::ErrorCode;
use uuid::Uuid;

use crate::topics::Catalog;
use assignor::{Assignor, Places, Spec, Subject};
use member::{Owned, Progress};
use subscription::{PATTERNS_MAX, Patterns, compile, metadata_hash};

/// The epoch of a group that nobody has come to; the first member makes it the next one, as in Kafka.
const FIRST_EPOCH: i32 = 1;

/// The broker's settings for such groups.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    pub session_timeout: Duration,
    pub heartbeat_interval: Duration,
    pub assignment_interval: Duration,
    pub members_max: usize,
    /// Of what all members say of themselves.
    pub bytes_max: usize,
    /// For members that name none.
    pub assignor: Assignor,
}

/// One group.
#[derive(Debug)]
pub(crate) struct ConsumerGroup {
    limits: Limits,
    epoch: i32,
    metadata_hash: i64,
    /// The epoch that the targets are of.
    target_epoch: i32,
    assigned_at: Option<Instant>,
    members: BTreeMap<String, Member>,
    /// Ids of members by the names that their operators gave them.
    instances: BTreeMap<String, String>,
    patterns: Patterns,
    /// What somebody holds, or was told to give up and may still hold.
    held: HashSet<(Uuid, i32)>,
    /// The version of the catalog that the patterns and the hash are of.
    seen: Option<u64>,
    /// Somebody left, so that the hash may be of more topics than are left.
    is_hash_stale: bool,
    changes: Changes,
}

/// Where a heartbeat belongs.
enum Seat {
    New,
    Known,
    /// A static member comes back, and this one, which left for now, ends.
    InPlaceOf(String),
}

impl ConsumerGroup {
    pub fn new(limits: Limits) -> Self {
        ConsumerGroup {
            limits,
            epoch: FIRST_EPOCH,
            metadata_hash: 0,
            target_epoch: 0,
            assigned_at: None,
            members: BTreeMap::new(),
            instances: BTreeMap::new(),
            patterns: Patterns::default(),
            held: HashSet::new(),
            seen: None,
            is_hash_stale: false,
            changes: Changes::default(),
        }
    }

    pub fn members(&self) -> &BTreeMap<String, Member> {
        &self.members
    }

    pub fn epoch(&self) -> i32 {
        self.epoch
    }

    pub fn target_epoch(&self) -> i32 {
        self.target_epoch
    }

    pub fn heartbeat_interval(&self) -> Duration {
        self.limits.heartbeat_interval
    }

    /// Kafka's name for what the group is doing.
    pub fn state(&self) -> &'static str {
        let settled = |m: &Member| m.progress == Progress::Stable && m.epoch == self.target_epoch;
        if self.members.is_empty() {
            "Empty"
        } else if self.epoch > self.target_epoch {
            "Assigning"
        } else if self.members.values().all(settled) {
            "Stable"
        } else {
            "Reconciling"
        }
    }

    /// What is to be written since this was asked last.
    pub fn take_changes(&mut self) -> Changes {
        std::mem::take(&mut self.changes)
    }

    /// Puts back what could not be written, for the next time.
    pub fn put_back(&mut self, changes: Changes) {
        self.changes.add(changes);
    }

    /// Whether a member consumes the topic.
    pub fn is_subscribed(&self, topic: &str) -> bool {
        let consumes = |member: &Member| self.patterns.names(member).any(|name| name == topic);
        self.members.values().any(consumes)
    }

    /// The assignor that most members name, or else the default.
    pub fn assignor(&self) -> Assignor {
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        for name in self.members.values().filter_map(|m| m.assignor.as_deref()) {
            *votes.entry(name).or_default() += 1;
        }
        let most = votes.into_iter().max_by_key(|(_, count)| *count);
        most.and_then(|(name, _)| Assignor::named(name))
            .unwrap_or(self.limits.assignor)
    }

    /// A heartbeat that does not leave: it joins, says what has changed, or only that the member is there.
    ///
    /// # Errors
    /// Those of Kafka; nothing has changed then.
    pub fn heartbeat(&mut self, now: Instant, catalog: &Catalog, beat: Beat) -> Result<Beaten, Refused> {
        self.tick(now);
        let seat = self.seat(&beat)?;
        self.check_room(&beat)?;
        let id = beat.member_id.clone();
        let before = match seat {
            Seat::New => None,
            Seat::Known => self.members.get(&id).cloned(),
            Seat::InPlaceOf(old) => self.take_over(&old, &id),
        };
        let held_before = before.as_ref().map(|m| places_of(&m.owned));
        let mut member = before.clone().unwrap_or_else(|| Member::new(now));
        member.hear(&beat);
        let is_bumped = before
            .as_ref()
            .is_none_or(|b| b.topics != member.topics || b.pattern != member.pattern);
        if before.as_ref() != Some(&member) {
            self.changes.subscription(&id);
        }
        if let Some(name) = &member.instance {
            self.instances.insert(name.clone(), id.clone());
        }
        member.expires = now + self.limits.session_timeout;
        self.members.insert(id.clone(), member);
        self.look(catalog, is_bumped);
        self.assign(now, catalog);
        self.reconcile(now, catalog, &id, beat.owned.as_ref());
        let member = self.members.get(&id).expect("it was just put in");
        let holds = places_of(&member.owned);
        let is_told = beat.is_full() || held_before.as_ref() != Some(&holds);
        Ok(Beaten {
            member_id: id,
            epoch: member.epoch,
            assignment: is_told.then_some(holds),
        })
    }

    fn seat(&self, beat: &Beat) -> Result<Seat, Refused> {
        let id = &beat.member_id;
        let known = self.members.get(id);
        let joins = beat.epoch == JOIN;
        let unknown = || format!("Member {id} is not a member of the group.");
        let Some(name) = &beat.instance else {
            return match known {
                Some(member) => check_epoch(member, beat).map(|()| Seat::Known),
                None if joins => Ok(Seat::New),
                None => refuse(ErrorCode::UnknownMemberId, unknown()),
            };
        };
        let holder = self
            .instances
            .get(name)
            .and_then(|holder| Some((holder, self.members.get(holder)?)));
        match holder {
            None if joins => Ok(if known.is_some() { Seat::Known } else { Seat::New }),
            None => refuse(ErrorCode::UnknownMemberId, format!("Instance id {name} is unknown.")),
            Some((holder, member)) if joins && member.epoch != LEAVE_FOR_NOW => {
                let message = format!(
                    "Static member {id} with instance id {name} cannot join the group because the instance id is owned by {holder} member."
                );
                refuse(ErrorCode::UnreleasedInstanceId, message)
            }
            Some((holder, _)) if joins => Ok(Seat::InPlaceOf(holder.clone())),
            Some((holder, _)) if holder != id => {
                let message = format!("Static member {id} with instance id {name} was fenced by member {holder}.");
                refuse(ErrorCode::FencedInstanceId, message)
            }
            Some((_, member)) => check_epoch(member, beat).map(|()| Seat::Known),
        }
    }

    fn check_room(&self, beat: &Beat) -> Result<(), Refused> {
        let max = self.limits.members_max;
        let known = self.members.get(&beat.member_id);
        if known.is_none() && self.members.len() >= max {
            let message = format!("The consumer group has reached its maximum capacity of {max} members.");
            return refuse(ErrorCode::GroupMaxSizeReached, message);
        }
        if known.is_some() && beat.topics.is_none() && beat.pattern.is_none() {
            return Ok(());
        }
        let mut said = known.cloned().unwrap_or_else(|| Member::new(Instant::now()));
        said.hear(beat);
        let others = self.members.iter().filter(|(id, _)| **id != beat.member_id);
        let bytes: usize = others.map(|(_, member)| member.bytes()).sum::<usize>() + said.bytes();
        if bytes > self.limits.bytes_max {
            let message = format!(
                "The members' subscriptions take {bytes} bytes, and message.max.bytes is {}.",
                self.limits.bytes_max
            );
            return refuse(ErrorCode::GroupMaxSizeReached, message);
        }
        if said.pattern.is_empty() || known.is_some_and(|m| m.pattern == said.pattern) {
            return Ok(());
        }
        compile(&said.pattern)?;
        let patterns: HashSet<&str> = self.members.values().map(|m| m.pattern.as_str()).collect();
        if patterns.len() >= PATTERNS_MAX && !patterns.contains(said.pattern.as_str()) {
            let message = format!("The members of a group may have {PATTERNS_MAX} different regular expressions.");
            return refuse(ErrorCode::GroupMaxSizeReached, message);
        }
        Ok(())
    }

    /// The member that comes back in the place of one that left for now: with its target and what is kept for it, in no epoch yet.
    fn take_over(&mut self, old: &str, id: &str) -> Option<Member> {
        let mut member = self.members.remove(old)?;
        (member.epoch, member.previous_epoch) = (JOIN, JOIN);
        self.changes.member(old);
        self.changes.member(id);
        Some(member)
    }

    /// Looks at what has changed, and raises the epoch when a member did or a topic that somebody is subscribed to.
    fn look(&mut self, catalog: &Catalog, mut is_bumped: bool) {
        if is_bumped || self.is_hash_stale || self.seen != Some(catalog.version()) {
            self.patterns.resolve(self.members.values(), catalog);
            let names = self.members.values().flat_map(|member| self.patterns.names(member));
            let hash = metadata_hash(names, catalog);
            if hash != self.metadata_hash {
                self.metadata_hash = hash;
                self.changes.epoch();
                // Who left has raised the epoch for it already.
                is_bumped |= !self.is_hash_stale;
            }
            self.is_hash_stale = false;
            self.seen = Some(catalog.version());
        }
        if is_bumped {
            self.bump();
        }
    }

    fn bump(&mut self) {
        self.epoch = self.epoch.saturating_add(1);
        self.changes.epoch();
    }

    /// Makes the targets of the group's epoch, if that is due.
    fn assign(&mut self, now: Instant, catalog: &Catalog) {
        let is_early = self
            .assigned_at
            .is_some_and(|at| now < at + self.limits.assignment_interval);
        if self.epoch == self.target_epoch || is_early {
            return;
        }
        let mut partitions = BTreeMap::new();
        let mut members = BTreeMap::new();
        for (id, member) in &self.members {
            let topics = self.patterns.topics(member, catalog);
            for name in self.patterns.names(member) {
                partitions.extend(catalog.topic(name));
            }
            let instance = member.instance.as_deref();
            let before = &member.target;
            let subject = Subject {
                instance,
                topics,
                before,
            };
            members.insert(id.as_str(), subject);
        }
        let mut targets = self.assignor().assign(&Spec { members, partitions });
        for (id, member) in &mut self.members {
            let target = targets.remove(id).unwrap_or_default();
            if target != member.target {
                member.target = target;
                self.changes.target(id);
            }
        }
        self.target_epoch = self.epoch;
        self.assigned_at = Some(now);
        self.changes.target_epoch();
        tracing::debug!(epoch = self.epoch, members = self.members.len(), "a new target");
    }

    /// A heartbeat that leaves, for good or, of a static member, for now.
    ///
    /// # Errors
    /// Nobody is there by that id or name, or somebody else by the name.
    pub fn leave(&mut self, now: Instant, id: &str, instance: Option<&str>, epoch: i32) -> Result<Beaten, Refused> {
        self.tick(now);
        if let Some(name) = instance {
            match self.instances.get(name) {
                None => return refuse(ErrorCode::UnknownMemberId, format!("Instance id {name} is unknown.")),
                Some(holder) if holder != id => {
                    let message = format!("Static member {id} with instance id {name} was fenced by member {holder}.");
                    return refuse(ErrorCode::FencedInstanceId, message);
                }
                Some(_) => {}
            }
        }
        let Some(member) = self.members.get_mut(id) else {
            return refuse(
                ErrorCode::UnknownMemberId,
                format!("Member {id} is not a member of the group."),
            );
        };
        if epoch == LEAVE_FOR_NOW && instance.is_some() {
            // It holds what it held until its session ends, or until its successor comes.
            member.epoch = LEAVE_FOR_NOW;
            member.revoke_by = None;
            let revoking = std::mem::take(&mut member.revoking);
            release(&mut self.held, &revoking);
            self.changes.current(id);
        } else {
            self.remove(id);
        }
        let member_id = id.to_owned();
        Ok(Beaten {
            member_id,
            epoch,
            assignment: None,
        })
    }

    /// LeaveGroup: somebody takes members out by their ids, or by their instances alone, whatever protocol they speak.
    pub fn expel(&mut self, now: Instant, id: &str, instance: Option<&str>) -> ErrorCode {
        self.tick(now);
        let id = match instance.map(|name| self.instances.get(name)) {
            None => id.to_owned(),
            Some(None) => return ErrorCode::UnknownMemberId,
            Some(Some(holder)) if !id.is_empty() && holder != id => return ErrorCode::FencedInstanceId,
            Some(Some(holder)) => holder.clone(),
        };
        if !self.members.contains_key(&id) {
            return ErrorCode::UnknownMemberId;
        }
        self.remove(&id);
        ErrorCode::None
    }

    /// Takes a member out, and with it what it holds.
    fn remove(&mut self, id: &str) {
        let Some(member) = self.members.remove(id) else {
            return;
        };
        if let Some(name) = &member.instance
            && self.instances.get(name).is_some_and(|holder| holder == id)
        {
            self.instances.remove(name);
        }
        release(&mut self.held, &member.owned);
        release(&mut self.held, &member.revoking);
        self.changes.member(id);
        self.is_hash_stale = true;
        self.bump();
    }

    /// When something happens next without anybody asking.
    pub fn next_deadline(&self) -> Option<Instant> {
        let deadline = |m: &Member| m.revoke_by.map_or(m.expires, |by| by.min(m.expires));
        self.members.values().map(deadline).min()
    }

    /// Gives up members that were not heard of for the session timeout, and those that did not give up what they had to in time.
    pub fn tick(&mut self, now: Instant) {
        if self.next_deadline().is_none_or(|at| at > now) {
            return;
        }
        let is_over = |m: &Member| m.expires <= now || m.revoke_by.is_some_and(|by| by <= now);
        let over: Vec<String> = self
            .members
            .iter()
            .filter(|(_, m)| is_over(m))
            .map(|(id, _)| id.clone())
            .collect();
        for id in over {
            tracing::info!(
                member = id,
                "a member was silent for the session timeout, or kept what it had to give up"
            );
            self.remove(&id);
        }
    }

    /// Whether an OffsetCommit is accepted. A member may commit in an earlier epoch for what it held then and holds still (KIP-1251); `epoch` is
    /// negative for who is in no group.
    pub fn check_commit(
        &mut self,
        now: Instant,
        catalog: &Catalog,
        (id, epoch): (&str, i32),
        knows_epochs: bool,
        places: &[(&str, i32)],
    ) -> Result<(), ErrorCode> {
        self.tick(now);
        if epoch < 0 && self.members.is_empty() {
            return Ok(());
        }
        let member = self.members.get(id).ok_or(ErrorCode::UnknownMemberId)?;
        if !knows_epochs {
            return Err(ErrorCode::UnsupportedVersion);
        }
        let given = |(topic, partition): &(&str, i32)| {
            let (topic, _) = catalog.topic(topic)?;
            let of = |owned: &Owned| owned.get(&topic)?.get(partition).copied();
            of(&member.owned).or_else(|| of(&member.revoking))
        };
        let is_current = member.epoch == epoch;
        let may = |place| epoch < member.epoch && given(place).is_some_and(|given| given <= epoch);
        if is_current || (epoch < member.epoch && places.iter().all(may)) {
            Ok(())
        } else {
            Err(ErrorCode::StaleMemberEpoch)
        }
    }

    /// Whether an OffsetFetch that names a member is of one, in its epoch.
    pub fn check_fetch(&mut self, now: Instant, id: &str, epoch: i32) -> Result<(), ErrorCode> {
        self.tick(now);
        let member = self.members.get(id).ok_or(ErrorCode::UnknownMemberId)?;
        let is_current = member.epoch == epoch;
        is_current.then_some(()).ok_or(ErrorCode::StaleMemberEpoch)
    }
}

/// Whether a member that comes with this epoch is the one that is known. With the epoch before it did not hear the last answer, and what it holds
/// must fit what that said.
fn check_epoch(member: &Member, beat: &Beat) -> Result<(), Refused> {
    let (said, known) = (beat.epoch, member.epoch);
    let fits = |owned: &Places| {
        let is_there = |topic: &Uuid, p: &i32| member.owned.get(topic).is_some_and(|known| known.contains_key(p));
        owned
            .iter()
            .all(|(topic, partitions)| partitions.iter().all(|p| is_there(topic, p)))
    };
    let did_not_hear = said == member.previous_epoch && beat.owned.as_ref().is_some_and(fits);
    if said == JOIN || said == known || (said < known && did_not_hear) {
        return Ok(());
    }
    let size = if said > known { "greater" } else { "smaller" };
    let message = format!(
        "The consumer group member has a {size} member epoch ({said}) than the one known by the group coordinator ({known}). The member must abandon all its partitions and rejoin."
    );
    refuse(ErrorCode::FencedMemberEpoch, message)
}

fn release(held: &mut HashSet<(Uuid, i32)>, owned: &Owned) {
    for (topic, partitions) in owned {
        for partition in partitions.keys() {
            held.remove(&(*topic, *partition));
        }
    }
}
