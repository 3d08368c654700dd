//! What is asked about groups from outside, and how they end: lists, descriptions, deletion, retention.

use bytes::Bytes;
use kafka_wire::ErrorCode;

use super::consumer::Member;
use super::consumer::records as consumer_records;
use super::group::State;
use super::kind::Kind;
use super::records::{self, Record};
use super::{Groups, Held, keep, store};
use crate::topics::Topics;

/// A group as DescribeGroups tells it.
#[derive(Debug, Clone)]
pub(crate) struct Described {
    pub state: &'static str,
    pub protocol_type: String,
    /// Only of a stable group, as in Kafka.
    pub protocol: String,
    pub members: Vec<DescribedMember>,
}

/// A group as ConsumerGroupDescribe tells it.
#[derive(Debug, Clone)]
pub(crate) struct DescribedGroup {
    pub state: &'static str,
    pub epoch: i32,
    pub target_epoch: i32,
    pub assignor: &'static str,
    pub members: Vec<(String, Member)>,
}

/// A member as DescribeGroups tells it.
#[derive(Debug, Clone)]
pub(crate) struct DescribedMember {
    pub id: String,
    pub instance: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub metadata: Bytes,
    pub assignment: Bytes,
}

impl Groups {
    /// Name, type of protocol, state and kind of all groups.
    pub fn list(&self, topics: &Topics) -> Vec<(String, String, &'static str, &'static str)> {
        let row = |name: String| {
            let described = self.with(topics, &name, |held| {
                let protocol_type = held.group.protocol_type().unwrap_or_default().to_owned();
                (protocol_type, held.group.state(), held.group.name())
            });
            described.map(|(protocol_type, state, kind)| (name, protocol_type, state, kind))
        };
        self.names().into_iter().filter_map(row).collect()
    }

    fn names(&self) -> Vec<String> {
        let groups = self.groups.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        groups.keys().cloned().collect()
    }

    /// What ConsumerGroupDescribe tells; an error when there is no such group of KIP-848's protocol, and whether there is a classic one instead.
    pub fn describe_consumer(&self, topics: &Topics, name: &str) -> Result<DescribedGroup, bool> {
        let described = self.with(topics, name, |held| {
            let group = held.group.consumer()?;
            let members = group.members().iter().map(|(id, member)| (id.clone(), member.clone()));
            Some(DescribedGroup {
                state: group.state(),
                epoch: group.epoch(),
                target_epoch: group.target_epoch(),
                assignor: group.assignor().name(),
                members: members.collect(),
            })
        });
        let is_classic = described.is_some();
        described.flatten().ok_or(is_classic)
    }

    /// What DescribeGroups tells; an error when there is no such classic group, and whether there is one of KIP-848's protocol instead.
    pub fn describe(&self, topics: &Topics, name: &str) -> Result<Described, bool> {
        let described = self.with(topics, name, |held| {
            let group = held.group.classic()?;
            let is_stable = group.state() == State::Stable;
            let protocol = group.protocol().filter(|_| is_stable).unwrap_or_default();
            let member = |(id, member): (&String, &super::member::Member)| DescribedMember {
                id: id.clone(),
                instance: member.instance.clone(),
                client_id: member.client_id.clone(),
                client_host: member.client_host.clone(),
                metadata: member.metadata(protocol),
                assignment: if is_stable {
                    member.assignment.clone()
                } else {
                    Bytes::new()
                },
            };
            Some(Described {
                state: group.state().name(),
                protocol_type: group.protocol_type().unwrap_or_default().to_owned(),
                protocol: protocol.to_owned(),
                members: group.members().iter().map(member).collect(),
            })
        });
        let is_of_kip848 = described.is_some();
        described.flatten().ok_or(is_of_kip848)
    }

    /// DeleteGroups for one group: it must be empty.
    pub fn delete(&self, topics: &Topics, name: &str) -> ErrorCode {
        let deleted = self.with(topics, name, |held| {
            if !held.group.is_empty() {
                return Err(ErrorCode::NonEmptyGroup);
            }
            self.end(topics, name, held)
        });
        match deleted {
            None => ErrorCode::GroupIdNotFound,
            Some(Err(error)) => error,
            Some(Ok(())) => {
                self.forget(name);
                ErrorCode::None
            }
        }
    }

    /// Takes back everything that was written of a group. Who holds it still finds it gone.
    fn end(&self, topics: &Topics, name: &str, held: &mut Held) -> Result<(), ErrorCode> {
        let mut gone = take_back(name, &held.offsets.places(None));
        match &held.group {
            Kind::Classic(_) => gone.push((records::group_key(name), None)),
            Kind::Consumer(group) => gone.extend(consumer_records::tombstones(name, group)),
        }
        // Nothing was ever written of a group that never had a member: then there may be no topic either.
        if topics.get(store::TOPIC).is_some() {
            self.write(topics, name, held, &gone)?;
            keep(held.promise.as_ref()).map_err(|()| ErrorCode::NotCoordinator)?;
        }
        held.is_gone = true;
        Ok(())
    }

    fn forget(&self, name: &str) {
        let mut groups = self.groups.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        if groups.get(name).is_some_and(|place| place.lock().is_gone) {
            groups.remove(name);
        }
        tracing::info!(group = name, "deleted");
    }

    /// OffsetDelete: an error for each place. A group with members keeps what they are subscribed to.
    pub fn delete_offsets(
        &self,
        topics: &Topics,
        name: &str,
        places: &[(String, i32)],
    ) -> Result<Vec<ErrorCode>, ErrorCode> {
        let deleted = self.with(topics, name, |held| {
            let is_empty = held.group.is_empty();
            if !is_empty && !held.group.is_of_consumers() {
                return Err(ErrorCode::NonEmptyGroup);
            }
            let is_kept = |topic: &str| !is_empty && held.group.is_subscribed(topic);
            let refused: Vec<bool> = places.iter().map(|(topic, _)| is_kept(topic)).collect();
            let there = |(topic, partition): &&(String, i32)| held.offsets.get(topic, *partition).is_some();
            let gone = places
                .iter()
                .zip(&refused)
                .filter(|(_, refused)| !**refused)
                .map(|(place, _)| place);
            let gone: Vec<(String, i32)> = gone.filter(there).cloned().collect();
            self.remove_offsets(topics, name, held, &gone)?;
            let error = |refused: &bool| match refused {
                true => ErrorCode::GroupSubscribedToTopic,
                false => ErrorCode::None,
            };
            Ok((refused.iter().map(error).collect(), held.promise.clone()))
        });
        let (errors, promise) = deleted.ok_or(ErrorCode::GroupIdNotFound)??;
        keep(promise.as_ref()).map_err(|()| ErrorCode::NotCoordinator)?;
        Ok(errors)
    }

    fn remove_offsets(
        &self,
        topics: &Topics,
        name: &str,
        held: &mut Held,
        places: &[(String, i32)],
    ) -> Result<(), ErrorCode> {
        if !places.is_empty() {
            self.write(topics, name, held, &take_back(name, places))?;
        }
        for (topic, partition) in places {
            held.offsets.remove(topic, *partition);
        }
        Ok(())
    }

    /// A topic is gone, and what was committed for it with it.
    pub fn forget_topic(&self, topics: &Topics, topic: &str) {
        for name in self.names() {
            self.with(topics, &name, |held| {
                let places = held.offsets.places(Some(topic));
                // The error was told; the offsets are forgotten by retention then.
                let _ = self.remove_offsets(topics, &name, held, &places);
            });
        }
    }

    /// Forgets offsets that are kept no longer at that time, in milliseconds since 1970, and groups of which nothing is left.
    pub fn retain(&self, topics: &Topics, now_ms: i64) {
        let retention_ms = self.config.int("offsets.retention.minutes").saturating_mul(60_000);
        for name in self.names() {
            let retained = self.with(topics, &name, |held| {
                let expired = held.offsets.expired(&held.group, held.since_ms, now_ms, retention_ms);
                if !expired.is_empty() {
                    tracing::info!(
                        group = name,
                        offsets = expired.len(),
                        "offsets were not renewed for offsets.retention.minutes"
                    );
                }
                self.remove_offsets(topics, &name, held, &expired)?;
                if held.group.is_deserted() && held.offsets.is_empty() {
                    self.end(topics, &name, held)?;
                }
                Ok::<bool, ErrorCode>(held.is_gone)
            });
            if retained == Some(Ok(true)) {
                self.forget(&name);
            }
        }
    }
}

/// Records that take offsets back.
fn take_back(group: &str, places: &[(String, i32)]) -> Vec<Record> {
    let record = |(topic, partition): &(String, i32)| (records::offset_key(group, topic, *partition), None);
    places.iter().map(record).collect()
}
