//! A member of a group of KIP-848's protocol, what it says and what it hears.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use kafka_wire::ErrorCode;
use uuid::Uuid;

use super::assignor::Places;

/// The epoch of a heartbeat that joins.
pub(crate) const JOIN: i32 = 0;
/// The epoch of one that leaves.
pub(crate) const LEAVE: i32 = -1;
/// The epoch of a static member that leaves and will be back.
pub(crate) const LEAVE_FOR_NOW: i32 = -2;

/// Partitions by topic id, each with the epoch in which the member was given it.
pub(crate) type Owned = BTreeMap<Uuid, BTreeMap<i32, i32>>;

/// The places without their epochs.
pub(crate) fn places_of(owned: &Owned) -> Places {
    let topic = |(id, partitions): (&Uuid, &BTreeMap<i32, i32>)| (*id, partitions.keys().copied().collect());
    owned.iter().map(topic).collect()
}

/// What a ConsumerGroupHeartbeat says; what is `None` is as it was.
#[derive(Debug, Clone, Default)]
pub(crate) struct Beat {
    pub member_id: String,
    pub epoch: i32,
    pub instance: Option<String>,
    pub rack: Option<String>,
    pub rebalance_timeout: Option<Duration>,
    pub topics: Option<BTreeSet<String>>,
    /// A regular expression for names of topics; empty for none.
    pub pattern: Option<String>,
    pub assignor: Option<String>,
    /// What the member holds.
    pub owned: Option<Places>,
    pub client_id: String,
    pub client_host: String,
}

impl Beat {
    /// Whether it says everything that there is to say: such a one is told its assignment whether that changed or not.
    pub fn is_full(&self) -> bool {
        let subscribed = self.topics.is_some() || self.pattern.is_some();
        self.epoch == JOIN || (self.rebalance_timeout.is_some() && subscribed && self.owned.is_some())
    }
}

/// The answer to a heartbeat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Beaten {
    pub member_id: String,
    pub epoch: i32,
    /// What the member shall hold, when it has to be told.
    pub assignment: Option<Places>,
}

/// A refusal in Kafka's terms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    pub error: ErrorCode,
    pub message: String,
}

/// A refusal.
pub(crate) fn refuse<T>(error: ErrorCode, message: impl Into<String>) -> Result<T, Refused> {
    Err(Refused {
        error,
        message: message.into(),
    })
}

/// How far a member has come from what it holds to its target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    /// It has what it shall have in its epoch.
    Stable,
    /// It has to give something up first, and say so.
    Unrevoked,
    /// Something that it shall have is still held by others.
    Unreleased,
}

impl Progress {
    /// Kafka's number in records.
    pub fn code(self) -> i8 {
        match self {
            Progress::Stable => 0,
            Progress::Unrevoked => 1,
            Progress::Unreleased => 2,
        }
    }

    /// From Kafka's number; one of the future is taken for the start of a reconciliation.
    pub fn from_code(code: i8) -> Self {
        match code {
            0 => Progress::Stable,
            1 => Progress::Unrevoked,
            _ => Progress::Unreleased,
        }
    }
}

/// A member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    pub instance: Option<String>,
    pub rack: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub topics: BTreeSet<String>,
    /// Empty for none.
    pub pattern: String,
    pub rebalance_timeout: Duration,
    pub assignor: Option<String>,
    pub epoch: i32,
    /// The one before: who did not hear of the present one comes with it.
    pub previous_epoch: i32,
    pub progress: Progress,
    pub owned: Owned,
    /// What it was told to give up.
    pub revoking: Owned,
    /// What it shall have in the end.
    pub target: Places,
    /// When it is given up, unless it is heard of before.
    pub expires: Instant,
    /// When it is given up for not giving up what it has to.
    pub revoke_by: Option<Instant>,
}

impl Member {
    /// One that said nothing yet.
    pub fn new(now: Instant) -> Self {
        Member {
            instance: None,
            rack: None,
            client_id: String::new(),
            client_host: String::new(),
            topics: BTreeSet::new(),
            pattern: String::new(),
            rebalance_timeout: Duration::ZERO,
            assignor: None,
            epoch: JOIN,
            previous_epoch: JOIN,
            progress: Progress::Stable,
            owned: Owned::new(),
            revoking: Owned::new(),
            target: Places::new(),
            expires: now,
            revoke_by: None,
        }
    }

    /// Takes over what a heartbeat says of the member.
    pub fn hear(&mut self, beat: &Beat) {
        fn take<T: Clone>(known: &mut T, said: Option<&T>) {
            if let Some(said) = said {
                known.clone_from(said);
            }
        }
        if beat.instance.is_some() {
            self.instance.clone_from(&beat.instance);
        }
        if beat.rack.is_some() {
            self.rack.clone_from(&beat.rack);
        }
        if beat.assignor.is_some() {
            self.assignor.clone_from(&beat.assignor);
        }
        take(&mut self.rebalance_timeout, beat.rebalance_timeout.as_ref());
        take(&mut self.topics, beat.topics.as_ref());
        take(&mut self.pattern, beat.pattern.as_ref());
        self.client_id.clone_from(&beat.client_id);
        self.client_host.clone_from(&beat.client_host);
    }

    /// What it says takes in memory, about.
    pub fn bytes(&self) -> usize {
        let optional = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let texts = self.client_id.len() + self.client_host.len() + self.pattern.len();
        let topics: usize = self.topics.iter().map(|topic| topic.len() + 32).sum();
        texts + topics + optional(&self.instance) + optional(&self.rack) + optional(&self.assignor)
    }
}
