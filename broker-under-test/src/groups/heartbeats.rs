//! Heartbeats of KIP-848's protocol, and how a group without members changes its protocol.

use std::time::{Duration, Instant};

use kafka_wire::ErrorCode;

use super::consumer::{Beat, Beaten, ConsumerGroup, JOIN, Refused, records as consumer_records, refuse};
use super::group::Group;
use super::kind::Kind;
use super::{Groups, Held, keep, records};
use crate::topics::Topics;

impl Groups {
    /// ConsumerGroupHeartbeat. Returns when what it changed is written.
    ///
    /// # Errors
    /// Kafka's; among them GROUP_ID_NOT_FOUND for a group that has members of the classic protocol.
    pub fn beat(&self, topics: &Topics, name: &str, beat: Beat) -> Result<(Beaten, Duration), Refused> {
        let joins = beat.epoch == JOIN;
        let beaten = loop {
            let place = match joins {
                true => self.get_or_make(name),
                false => self.get(name),
            };
            let Some(place) = place else {
                return match joins {
                    true => refuse(ErrorCode::GroupMaxSizeReached, "max.groups is reached."),
                    false => refuse(ErrorCode::GroupIdNotFound, format!("Group {name} not found.")),
                };
            };
            let mut held = place.lock();
            if held.is_gone {
                std::thread::yield_now();
                continue;
            }
            let now = Instant::now();
            held.group.tick(now);
            self.settle(topics, name, &place, &mut held);
            if joins {
                self.become_consumer(topics, name, &mut held)?;
            }
            let Kind::Consumer(group) = &mut held.group else {
                let message = format!("Group {name} is not a consumer group.");
                return refuse(ErrorCode::GroupIdNotFound, message);
            };
            let interval = group.heartbeat_interval();
            let beaten = match joins || beat.epoch > JOIN {
                true => group.heartbeat(now, &topics.catalog(), beat),
                false => group.leave(now, &beat.member_id, beat.instance.as_deref(), beat.epoch),
            };
            // What was due in front of a refusal is written too.
            let stored = self.settle_consumer(topics, name, &mut held);
            let beaten = beaten?;
            if !stored {
                return refuse(ErrorCode::NotCoordinator, "The group could not be written.");
            }
            break (beaten, interval, held.promise.clone());
        };
        let (beaten, interval, promise) = beaten;
        let unkept = |()| Refused {
            error: ErrorCode::NotCoordinator,
            message: "What was written of the group could not be flushed.".to_owned(),
        };
        keep(promise.as_ref()).map_err(unkept)?;
        Ok((beaten, interval))
    }

    /// Writes what changed of a group of KIP-848's protocol; what can't be written is tried again with the next that is.
    pub(super) fn settle_consumer(&self, topics: &Topics, name: &str, held: &mut Held) -> bool {
        let Kind::Consumer(group) = &mut held.group else {
            return true;
        };
        let changes = group.take_changes();
        if changes.is_empty() {
            return true;
        }
        let records = consumer_records::records(name, group, &changes);
        let stored = self.write(topics, name, held, &records).is_ok();
        if let (false, Kind::Consumer(group)) = (stored, &mut held.group) {
            group.put_back(changes);
        }
        stored
    }

    /// Makes a group without members one of KIP-848's protocol.
    fn become_consumer(&self, topics: &Topics, name: &str, held: &mut Held) -> Result<(), Refused> {
        let Some(group) = held.group.classic() else {
            return Ok(());
        };
        if !held.group.is_empty() {
            return Ok(());
        }
        // One that never had members was never written.
        if group.protocol_type().is_some()
            && self
                .write(topics, name, held, &[(records::group_key(name), None)])
                .is_err()
        {
            return refuse(ErrorCode::NotCoordinator, "The group could not be written.");
        }
        held.group = Kind::Consumer(ConsumerGroup::new(self.consumer_limits.clone()));
        Ok(())
    }

    /// Makes a group without members a classic one.
    pub(super) fn become_classic(&self, topics: &Topics, name: &str, held: &mut Held) -> Result<(), ErrorCode> {
        let Kind::Consumer(group) = &mut held.group else {
            return Ok(());
        };
        group.tick(Instant::now());
        if group.members().is_empty() {
            self.settle_consumer(topics, name, held);
            if let Kind::Consumer(group) = &held.group {
                let gone = consumer_records::tombstones(name, group);
                self.write(topics, name, held, &gone)?;
            }
            held.group = Kind::Classic(Group::new(self.limits));
        }
        Ok(())
    }
}
