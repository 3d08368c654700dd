//! The group coordinator: which groups there are, who waits for an answer of theirs, and what is written before it is given.
//!
//! A group is looked after by whoever touches it: the thread of a connection brings the time, carries out what was due, and if its own answer is
//! not there yet it sleeps until the group's next deadline. So there is no timer and no thread beside the connections'. Requests behind a
//! JoinGroup or SyncGroup on the same connection wait for its answer, as in Kafka.

mod admin;
mod consumer;
mod group;
mod heartbeats;
mod joining;
mod kind;
mod load;
mod member;
mod offsets;
mod rebalance;
mod records;
mod store;
mod subscription;
#[cfg(test)]
mod tests;

pub(crate) use admin::DescribedMember;
pub(crate) use consumer::assignor::{NAMES as ASSIGNORS, Places};
pub(crate) use consumer::{Beat, JOIN, LEAVE, LEAVE_FOR_NOW, Member, Refused, places_of, refuse};
pub(crate) use member::{Joined, Joining, Protocol, Synced, Syncing, Told};
pub(crate) use offsets::Committed;
pub use store::TOPIC;
pub(crate) use store::now_ms;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use kafka_wire::ErrorCode;

use crate::config::Config;
use crate::topics::Topics;
use group::{Group, Limits};
use kind::Kind;
use member::{Answer, Ticket};
use offsets::Offsets;
use records::Record;
use store::{Promise, StoreError};

/// How often a waiting thread looks whether the broker stops.
const PARK_MAX: Duration = Duration::from_millis(200);
/// Names are written with two bytes of length; no client's come near this.
pub(crate) const NAME_BYTES_MAX: usize = 8192;

/// All groups of a broker.
#[derive(Debug)]
pub(crate) struct Groups {
    config: Arc<Config>,
    limits: Limits,
    consumer_limits: consumer::Limits,
    groups_max: usize,
    groups: RwLock<BTreeMap<String, Arc<Place>>>,
    tickets: AtomicU64,
}

/// One group and who waits for it.
#[derive(Debug)]
struct Place {
    held: Mutex<Held>,
    answered: Condvar,
}

#[derive(Debug)]
struct Held {
    group: Kind,
    offsets: Offsets,
    /// When the group came into the state that was written last, milliseconds since 1970.
    since_ms: i64,
    /// Answers that were asked for, once they are there.
    waiting: HashMap<Ticket, Option<Answer>>,
    /// What has to hold before anything is told of the group.
    promise: Option<Promise>,
    /// It was deleted; who still holds it must look for its successor.
    is_gone: bool,
}

/// What a member says with a commit; a generation below 0 is of no member.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Committer<'a> {
    pub member_id: &'a str,
    pub instance: Option<&'a str>,
    /// Of a member of KIP-848's protocol, its epoch.
    pub generation: i32,
    /// Whether the request can carry a member's epoch.
    pub knows_epochs: bool,
    /// Whether it is held against the group at all; [`crate::PlantedBug::ForgetToFenceGeneration`] does not.
    pub is_fenced: bool,
}

impl Groups {
    fn get(&self, name: &str) -> Option<Arc<Place>> {
        let groups = self.groups.read().unwrap_or_else(PoisonError::into_inner);
        groups.get(name).cloned()
    }

    /// The group of that name, made when there is none. `None` when there are too many.
    fn get_or_make(&self, name: &str) -> Option<Arc<Place>> {
        if let Some(place) = self.get(name) {
            return Some(place);
        }
        let mut groups = self.groups.write().unwrap_or_else(PoisonError::into_inner);
        if !groups.contains_key(name) && groups.len() >= self.groups_max {
            tracing::warn!(groups = groups.len(), "no more groups: max.groups is reached");
            return None;
        }
        let fresh = || Arc::new(Place::of(Held::new(self.limits)));
        Some(groups.entry(name.to_owned()).or_insert_with(fresh).clone())
    }

    /// Runs `body` on a group that is there, after everything that was due; then writes and hands out what came of it.
    fn with<T>(&self, topics: &Topics, name: &str, body: impl FnOnce(&mut Held) -> T) -> Option<T> {
        loop {
            let place = self.get(name)?;
            let mut held = place.lock();
            if held.is_gone {
                std::thread::yield_now();
                continue;
            }
            held.group.tick(Instant::now());
            let result = body(&mut held);
            self.settle(topics, name, &place, &mut held);
            return Some(result);
        }
    }

    /// JoinGroup. Returns when the answer is there.
    pub fn join(&self, topics: &Topics, name: &str, joining: Joining, is_stopping: impl Fn() -> bool) -> Joined {
        let id = joining.member_id.clone();
        let asked = |group: &mut Group, now, ticket| group.join(now, ticket, joining);
        let answer = self.wait_for(topics, name, Some(id.is_empty()), asked, is_stopping);
        match answer {
            Ok(Answer::Join(joined)) => joined,
            Ok(Answer::Sync(_)) => Joined::refused(ErrorCode::UnknownServerError, id),
            Err(error) => Joined::refused(error, id),
        }
    }

    /// SyncGroup. Returns when the answer is there.
    pub fn sync(&self, topics: &Topics, name: &str, syncing: Syncing, is_stopping: impl Fn() -> bool) -> Synced {
        let asked = |group: &mut Group, now, ticket| group.sync(now, ticket, syncing);
        match self.wait_for(topics, name, None, asked, is_stopping) {
            Ok(Answer::Sync(synced)) => synced,
            Ok(Answer::Join(_)) => Synced::refused(ErrorCode::UnknownServerError),
            Err(error) => Synced::refused(error),
        }
    }

    /// `joins` is of a JoinGroup, and whether it may make the group.
    fn wait_for(
        &self,
        topics: &Topics,
        name: &str,
        joins: Option<bool>,
        ask: impl FnOnce(&mut Group, Instant, Ticket),
        is_stopping: impl Fn() -> bool,
    ) -> Result<Answer, ErrorCode> {
        let place = loop {
            let place = match joins == Some(true) {
                true => self.get_or_make(name).ok_or(ErrorCode::GroupMaxSizeReached)?,
                false => self.get(name).ok_or(ErrorCode::UnknownMemberId)?,
            };
            if !place.lock().is_gone {
                break place;
            }
        };
        let ticket = self.tickets.fetch_add(1, Ordering::Relaxed);
        let mut held = place.lock();
        if joins.is_some() {
            self.become_classic(topics, name, &mut held)?;
        }
        let Kind::Classic(group) = &mut held.group else {
            return match joins {
                Some(_) => Err(ErrorCode::InconsistentGroupProtocol),
                None => Err(ErrorCode::UnknownMemberId),
            };
        };
        ask(group, Instant::now(), ticket);
        held.waiting.insert(ticket, None);
        let answer = loop {
            self.settle(topics, name, &place, &mut held);
            if let Some(Some(_)) = held.waiting.get(&ticket) {
                break held.waiting.remove(&ticket).flatten();
            }
            if held.is_gone || is_stopping() {
                held.waiting.remove(&ticket);
                break None;
            }
            let next = held.group.next_deadline();
            let park = next.map_or(PARK_MAX, |at| {
                at.saturating_duration_since(Instant::now()).min(PARK_MAX)
            });
            let woken = place.answered.wait_timeout(held, park);
            held = woken.unwrap_or_else(PoisonError::into_inner).0;
            held.group.tick(Instant::now());
        };
        let promise = held.promise.clone();
        drop(held);
        keep(promise.as_ref()).map_err(|()| ErrorCode::NotCoordinator)?;
        answer.ok_or(ErrorCode::CoordinatorNotAvailable)
    }

    /// Writes what changed and hands out what was answered; whether all of it could be written.
    fn settle(&self, topics: &Topics, name: &str, place: &Place, held: &mut Held) -> bool {
        let outputs = match &mut held.group {
            Kind::Classic(group) => group.take_outputs(),
            Kind::Consumer(_) => return self.settle_consumer(topics, name, held),
        };
        let mut stored = true;
        if outputs.is_changed {
            held.since_ms = store::now_ms();
            let value = held
                .group
                .classic()
                .map(|group| records::group_value(group, held.since_ms));
            stored = self
                .write(topics, name, held, &[(records::group_key(name), value)])
                .is_ok();
        }
        let any = !outputs.answers.is_empty();
        for (ticket, answer) in outputs.answers {
            if let Some(waiting) = held.waiting.get_mut(&ticket) {
                *waiting = Some(if stored { answer } else { unstored(answer) });
            }
        }
        if any {
            place.answered.notify_all();
        }
        stored
    }

    fn write(&self, topics: &Topics, name: &str, held: &mut Held, records: &[Record]) -> Result<(), ErrorCode> {
        match store::append(topics, &self.config, name, records) {
            Ok(promise) => {
                held.promise = promise;
                Ok(())
            }
            Err(error) => Err(told(&error)),
        }
    }

    /// Heartbeat.
    pub fn heartbeat(
        &self,
        topics: &Topics,
        name: &str,
        id: &str,
        instance: Option<&str>,
        generation: i32,
    ) -> ErrorCode {
        let beat = |held: &mut Held| match &mut held.group {
            Kind::Classic(group) => group.heartbeat(Instant::now(), id, instance, generation),
            // Its members don't send these.
            Kind::Consumer(_) => ErrorCode::UnknownMemberId,
        };
        self.with(topics, name, beat).unwrap_or(ErrorCode::UnknownMemberId)
    }

    /// LeaveGroup: an error for each member, by id and instance; `None` when there is no such group.
    pub fn leave(&self, topics: &Topics, name: &str, members: &[(&str, Option<&str>)]) -> Option<Vec<ErrorCode>> {
        self.with(topics, name, |held| {
            let leave = |(id, instance): &(&str, Option<&str>)| match &mut held.group {
                Kind::Classic(group) => group.leave(Instant::now(), id, *instance),
                Kind::Consumer(group) => group.expel(Instant::now(), id, *instance),
            };
            members.iter().map(leave).collect()
        })
    }

    /// OffsetCommit, for places that exist. Returns when it is written.
    pub fn commit(
        &self,
        topics: &Topics,
        name: &str,
        by: Committer,
        offsets: Vec<(String, i32, Committed)>,
    ) -> Result<(), ErrorCode> {
        // Without a generation it may come from who is in no group (KIP-211).
        if self.get(name).is_none() && by.generation >= 0 {
            return Err(ErrorCode::GroupIdNotFound);
        }
        let promise = loop {
            let place = self.get_or_make(name).ok_or(ErrorCode::CoordinatorNotAvailable)?;
            let mut held = place.lock();
            if held.is_gone {
                std::thread::yield_now();
                continue;
            }
            let checked = match &mut held.group {
                _ if !by.is_fenced => Ok(()),
                Kind::Classic(group) => group.check_commit(Instant::now(), by.member_id, by.instance, by.generation),
                Kind::Consumer(group) => {
                    let places: Vec<(&str, i32)> = offsets.iter().map(|(topic, p, _)| (topic.as_str(), *p)).collect();
                    let member = (by.member_id, by.generation);
                    group.check_commit(Instant::now(), &topics.catalog(), member, by.knows_epochs, &places)
                }
            };
            self.settle(topics, name, &place, &mut held);
            checked?;
            let record = |(topic, partition, committed): &(String, i32, Committed)| {
                let value = records::offset_value(committed);
                (records::offset_key(name, topic, *partition), Some(value))
            };
            let records: Vec<Record> = offsets.iter().map(record).collect();
            if !records.is_empty() {
                self.write(topics, name, &mut held, &records)?;
            }
            for (topic, partition, committed) in offsets {
                held.offsets.insert(&topic, partition, committed);
            }
            break held.promise.clone();
        };
        keep(promise.as_ref()).map_err(|()| ErrorCode::NotCoordinator)
    }

    /// What `read` finds in the offsets of a group, once it is sure to last; `None` when there is no such group. Who says which member of KIP-848's
    /// protocol it is, and in which epoch, has to be it.
    pub fn committed<T>(
        &self,
        topics: &Topics,
        name: &str,
        member: Option<(&str, i32)>,
        read: impl FnOnce(&Offsets) -> T,
    ) -> Result<Option<T>, ErrorCode> {
        let found = self.with(topics, name, |held| {
            if let (Kind::Consumer(group), Some((id, epoch))) = (&mut held.group, member) {
                group.check_fetch(Instant::now(), id, epoch)?;
            }
            Ok((read(&held.offsets), held.promise.clone()))
        });
        let Some(found) = found else {
            return Ok(None);
        };
        let (found, promise) = found?;
        keep(promise.as_ref()).map_err(|()| ErrorCode::NotCoordinator)?;
        Ok(Some(found))
    }
}

impl Place {
    fn of(held: Held) -> Self {
        Place {
            held: Mutex::new(held),
            answered: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn new(limits: Limits) -> Self {
        Held {
            group: Kind::Classic(Group::new(limits)),
            offsets: Offsets::default(),
            since_ms: -1,
            waiting: HashMap::new(),
            promise: None,
            is_gone: false,
        }
    }
}

fn keep(promise: Option<&Promise>) -> Result<(), ()> {
    let kept = promise.map_or(Ok(()), Promise::keep);
    kept.map_err(|error| tracing::error!(%error, "not flushed, so nothing is promised"))
}

/// What a client is told when nothing was written: to look for the coordinator again.
fn told(error: &StoreError) -> ErrorCode {
    tracing::error!(%error, "a group could not be written");
    ErrorCode::NotCoordinator
}

fn unstored(answer: Answer) -> Answer {
    match answer {
        Answer::Join(joined) => Answer::Join(Joined::refused(ErrorCode::NotCoordinator, joined.member_id)),
        Answer::Sync(_) => Answer::Sync(Synced::refused(ErrorCode::NotCoordinator)),
    }
}
