//! Who gets which partition: the four assignors of Kafka's Java client, as pure functions.
//!
//! `assay run assignors` counts what they come to; `workloads/tests/assignors.rs` holds them against answers that the Java client gave. Left out: racks,
//! `group.instance.id`, and members that claim the same partition or claims of different generations.

mod general;
mod java_order;
mod minimum;
mod simple;
mod steps;
mod sticky;
#[cfg(test)]
mod tests;

pub use minimum::{Even, most_even};
pub use steps::{Change, Counted, Group, GroupError, Layout, Subscriptions};

use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// How partitions are dealt out, by the name that clients know it by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Assignor {
    /// Each topic by itself, in one run of partitions per member.
    Range,
    /// All partitions of all topics in turn.
    #[serde(rename = "roundrobin")]
    RoundRobin,
    /// Even, and what a member had it keeps as far as possible (KIP-54).
    Sticky,
    /// The same, but a partition that moves is given to nobody before its old owner has let go of it (KIP-429).
    CooperativeSticky,
}

impl Assignor {
    /// Whether all members let go of everything before each rebalance.
    pub fn is_eager(self) -> bool {
        self != Self::CooperativeSticky
    }
}

/// A topic that somebody of the group reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// How many partitions it has.
    pub partitions: u32,
}

/// A partition: which of the topics, counted from 0 in the order of names, and its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Which topic.
    pub topic: usize,
    /// Its number in the topic.
    pub partition: u32,
}

/// What the leader of a group knows of a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The name that the coordinator gave it.
    pub id: String,
    /// The topics that it subscribes to.
    pub topics: BTreeSet<usize>,
    /// What it owns, or owned until this rebalance.
    pub owned: Vec<Place>,
}

/// A group that nothing can be assigned in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AssignError {
    /// Topics by name, members by id.
    #[error("`{0}` is not in its order, or is there twice")]
    Unsorted(String),
    /// A topic that there is none of.
    #[error("`{0}` subscribes to or owns what does not exist")]
    Unknown(String),
    /// A partition that two members own, or one of them twice.
    #[error("partition {partition} of topic {topic} is owned twice")]
    OwnedTwice {
        /// Which topic.
        topic: usize,
        /// Its number there.
        partition: u32,
    },
}

/// What each member gets, in the order of members. A cooperative assignor withholds what its owner has to let go of first: it is assigned by the next
/// rebalance.
///
/// # Errors
/// Topics are not sorted by name or members not by id, something does not exist, or is owned twice.
pub fn assign(assignor: Assignor, topics: &[Topic], members: &[Member]) -> Result<Vec<Vec<Place>>, AssignError> {
    check(topics, members)?;
    if members.is_empty() {
        return Ok(Vec::new());
    }
    Ok(match assignor {
        Assignor::Range => simple::range(topics, members),
        Assignor::RoundRobin => simple::round_robin(topics, members),
        Assignor::Sticky => sticky::assign(topics, members),
        Assignor::CooperativeSticky => {
            let mut assigned = sticky::assign(topics, members);
            withhold(members, &mut assigned);
            assigned
        }
    })
}

/// Takes out what another member owns.
fn withhold(members: &[Member], assigned: &mut [Vec<Place>]) {
    let mut owners = std::collections::HashMap::new();
    for (member, of) in members.iter().enumerate() {
        owners.extend(of.owned.iter().map(|place| (*place, member)));
    }
    for (member, places) in assigned.iter_mut().enumerate() {
        places.retain(|place| owners.get(place).is_none_or(|owner| *owner == member));
    }
}

fn check(topics: &[Topic], members: &[Member]) -> Result<(), AssignError> {
    if let Some(pair) = topics.windows(2).find(|pair| pair[0].name >= pair[1].name) {
        return Err(AssignError::Unsorted(pair[1].name.clone()));
    }
    if let Some(pair) = members.windows(2).find(|pair| pair[0].id >= pair[1].id) {
        return Err(AssignError::Unsorted(pair[1].id.clone()));
    }
    let mut owned = BTreeSet::new();
    for member in members {
        let exists = |place: &Place| {
            topics
                .get(place.topic)
                .is_some_and(|of| place.partition < of.partitions)
        };
        if member.topics.iter().any(|topic| *topic >= topics.len()) || !member.owned.iter().all(exists) {
            return Err(AssignError::Unknown(member.id.clone()));
        }
        for place in &member.owned {
            if !owned.insert(*place) {
                let Place { topic, partition } = *place;
                return Err(AssignError::OwnedTwice { topic, partition });
            }
        }
    }
    Ok(())
}

/// All partitions of topics, in the order given.
fn places<'t>(topics: &'t [Topic], order: impl IntoIterator<Item = usize> + 't) -> impl Iterator<Item = Place> + 't {
    let of = |topic: usize| (0..topics[topic].partitions).map(move |partition| Place { topic, partition });
    order.into_iter().flat_map(of)
}
