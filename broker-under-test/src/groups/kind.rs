//! The two protocols behind one group: members that assign among themselves, or the broker that assigns (KIP-848).
//!
//! A group with members keeps its protocol, as in Kafka with `group.consumer.migration.policy=disabled`: a heartbeat of KIP-848 to a classic group is
//! answered with GROUP_ID_NOT_FOUND, and a JoinGroup to the other kind with INCONSISTENT_GROUP_PROTOCOL. Without members the group changes its
//! protocol to that of whoever comes, and keeps what it committed.

use std::time::Instant;

use super::consumer::ConsumerGroup;
use super::group::{Group, State};

/// A group of one protocol or the other.
#[derive(Debug)]
pub(crate) enum Kind {
    Classic(Group),
    Consumer(ConsumerGroup),
}

impl Kind {
    /// Carries out what is due by now.
    pub fn tick(&mut self, now: Instant) {
        match self {
            Kind::Classic(group) => group.tick(now),
            Kind::Consumer(group) => group.tick(now),
        }
    }

    /// When something happens next without anybody asking.
    pub fn next_deadline(&self) -> Option<Instant> {
        match self {
            Kind::Classic(group) => group.next_deadline(),
            Kind::Consumer(group) => group.next_deadline(),
        }
    }

    /// Nobody is in it.
    pub fn is_empty(&self) -> bool {
        match self {
            Kind::Classic(group) => group.state() == State::Empty,
            Kind::Consumer(group) => group.members().is_empty(),
        }
    }

    /// Nobody is in it and nobody was promised a place.
    pub fn is_deserted(&self) -> bool {
        match self {
            Kind::Classic(group) => group.is_deserted(),
            Kind::Consumer(group) => group.members().is_empty(),
        }
    }

    /// Kafka's name for what the group is doing.
    pub fn state(&self) -> &'static str {
        match self {
            Kind::Classic(group) => group.state().name(),
            Kind::Consumer(group) => group.state(),
        }
    }

    /// Kafka's name for the protocol of members.
    pub fn protocol_type(&self) -> Option<&str> {
        match self {
            Kind::Classic(group) => group.protocol_type(),
            Kind::Consumer(_) => Some("consumer"),
        }
    }

    /// Kafka's name for the kind.
    pub fn name(&self) -> &'static str {
        match self {
            Kind::Classic(_) => "classic",
            Kind::Consumer(_) => "consumer",
        }
    }

    /// Whether the coordinator can know what members consume.
    pub fn is_of_consumers(&self) -> bool {
        match self {
            Kind::Classic(group) => group.is_of_consumers(),
            Kind::Consumer(_) => true,
        }
    }

    /// Whether a member consumes the topic.
    pub fn is_subscribed(&self, topic: &str) -> bool {
        match self {
            Kind::Classic(group) => group.is_subscribed(topic),
            Kind::Consumer(group) => group.is_subscribed(topic),
        }
    }

    /// The group, when it is a classic one.
    pub fn classic(&self) -> Option<&Group> {
        match self {
            Kind::Classic(group) => Some(group),
            Kind::Consumer(_) => None,
        }
    }

    /// The group, when it is one of KIP-848's protocol.
    pub fn consumer(&self) -> Option<&ConsumerGroup> {
        match self {
            Kind::Classic(_) => None,
            Kind::Consumer(group) => Some(group),
        }
    }
}
