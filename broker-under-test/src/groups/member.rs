//! A member of a group, and what it says and hears.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_wire::ErrorCode;

/// A request that waits for its answer.
pub(crate) type Ticket = u64;

/// A way to assign partitions that a member knows, and what it says of itself for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Protocol {
    pub name: String,
    pub metadata: Bytes,
}

/// What a JoinGroup asks for.
#[derive(Debug, Clone)]
pub(crate) struct Joining {
    /// Empty for who has none yet.
    pub member_id: String,
    /// The id that is given to who has none.
    pub fresh_id: String,
    pub instance: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub session_timeout: Duration,
    pub rebalance_timeout: Duration,
    pub protocol_type: String,
    pub protocols: Vec<Protocol>,
    /// Who is new is told its id first and comes again with it (KIP-394).
    pub knows_required_id: bool,
    /// A leader may be told to leave the assignment as it is (KIP-814).
    pub knows_skipping: bool,
}

/// What a SyncGroup asks for.
#[derive(Debug, Clone)]
pub(crate) struct Syncing {
    pub member_id: String,
    pub instance: Option<String>,
    pub generation: i32,
    /// What the member takes the group's for, if it says so.
    pub protocol_type: Option<String>,
    pub protocol: Option<String>,
    /// The leader's; by member id.
    pub assignments: Vec<(String, Bytes)>,
}

/// What a leader is told of a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Told {
    pub member_id: String,
    pub instance: Option<String>,
    pub metadata: Bytes,
}

/// The answer to a JoinGroup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Joined {
    pub error: ErrorCode,
    pub generation: i32,
    pub protocol_type: Option<String>,
    pub protocol: Option<String>,
    pub leader: String,
    pub skip_assignment: bool,
    pub member_id: String,
    /// All of them for the leader, nobody for others.
    pub members: Vec<Told>,
}

impl Joined {
    pub fn refused(error: ErrorCode, member_id: impl Into<String>) -> Self {
        Joined {
            error,
            generation: -1,
            protocol_type: None,
            protocol: None,
            leader: String::new(),
            skip_assignment: false,
            member_id: member_id.into(),
            members: Vec::new(),
        }
    }
}

/// The answer to a SyncGroup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Synced {
    pub error: ErrorCode,
    pub protocol_type: Option<String>,
    pub protocol: Option<String>,
    pub assignment: Bytes,
}

impl Synced {
    pub fn refused(error: ErrorCode) -> Self {
        Synced {
            error,
            protocol_type: None,
            protocol: None,
            assignment: Bytes::new(),
        }
    }
}

/// An answer to a request that waited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    Join(Joined),
    Sync(Synced),
}

/// A member.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub instance: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub session_timeout: Duration,
    pub rebalance_timeout: Duration,
    pub protocols: Vec<Protocol>,
    pub assignment: Bytes,
    /// When it is given up, unless it is heard of before.
    pub expires: Instant,
    /// It was never answered, so that it may be gone without knowing its id.
    pub is_new: bool,
    pub awaits_join: Option<Ticket>,
    pub awaits_sync: Option<Ticket>,
}

impl Member {
    pub fn of(joining: Joining, expires: Instant) -> Self {
        Member {
            instance: joining.instance,
            client_id: joining.client_id,
            client_host: joining.client_host,
            session_timeout: joining.session_timeout,
            rebalance_timeout: joining.rebalance_timeout,
            protocols: joining.protocols,
            assignment: Bytes::new(),
            expires,
            is_new: true,
            awaits_join: None,
            awaits_sync: None,
        }
    }

    /// It was heard of.
    pub fn touch(&mut self, now: Instant) {
        self.expires = now + self.session_timeout;
    }

    /// When it is given up. Who waits for an answer can't send heartbeats; who is new is not waited for for ever.
    pub fn deadline(&self) -> Option<Instant> {
        let waits = self.awaits_join.is_some() || self.awaits_sync.is_some();
        (self.is_new || !waits).then_some(self.expires)
    }

    pub fn supports(&self, protocol: &str) -> bool {
        self.protocols.iter().any(|p| p.name == protocol)
    }

    pub fn metadata(&self, protocol: &str) -> Bytes {
        let found = self.protocols.iter().find(|p| p.name == protocol);
        found.map_or_else(Bytes::new, |p| p.metadata.clone())
    }

    /// The first protocol it names that all of them support.
    pub fn vote<'a>(&'a self, supported: &BTreeSet<&str>) -> Option<&'a str> {
        let names = self.protocols.iter().map(|p| p.name.as_str());
        names.into_iter().find(|name| supported.contains(name))
    }

    /// What it takes in memory, about.
    pub fn bytes(&self) -> usize {
        let texts = self.client_id.len() + self.client_host.len() + self.instance.as_ref().map_or(0, String::len);
        texts + self.assignment.len() + protocol_bytes(&self.protocols)
    }
}

pub(crate) fn protocol_bytes(protocols: &[Protocol]) -> usize {
    protocols.iter().map(|p| p.name.len() + p.metadata.len()).sum()
}
