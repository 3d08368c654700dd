//! A group that changes step by step, without a broker: who owns what after each rebalance, and what that cost.
//!
//! A member that is gone owns nothing, and one that comes back is a new member with a new id, as without `group.instance.id`. Ids are random, as those that a coordinator gives.

use super::{AssignError, Assignor, Member, Place, Topic, assign, most_even, places};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// A cooperative assignor is done after two rounds, or three where a partition that had been revoked is no even place any more.
const ROUNDS_MAX: u32 = 10;

/// Topics of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layout {
    /// One with 24 partitions.
    One,
    /// Twenty with 3 partitions each.
    ManySmall,
    /// Seven with 1, 2, 3, 5, 8, 13 and 21 partitions.
    Mixed,
}

impl Layout {
    /// Partitions of each topic, in the order of names.
    fn partitions(self) -> Vec<u32> {
        match self {
            Layout::One => vec![24],
            Layout::ManySmall => vec![3; 20],
            Layout::Mixed => vec![1, 2, 3, 5, 8, 13, 21],
        }
    }
}

/// Who reads which topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Subscriptions {
    /// All of them read all.
    Same,
    /// Each one leaves out every third topic, and which ones differs from member to member.
    Different,
}

/// What happens to a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// One more joins.
    Join,
    /// One leaves for good.
    Leave,
    /// One is gone, and when the group has settled another one joins in its place.
    Kill,
    /// Each in turn leaves, and joins again when the group has settled.
    Rolling,
    /// Each topic gets half as many partitions more, rounded up.
    Grow,
}

/// Why a group could not go on.
#[derive(Debug, thiserror::Error)]
pub enum GroupError {
    /// A mistake in here: the group's own state is wrong.
    #[error(transparent)]
    Assign(#[from] AssignError),
    /// No end of rebalances.
    #[error("still revoking after {ROUNDS_MAX} rebalances")]
    Unsettled,
}

/// What a change came to, over all its rebalances. Counts of partitions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counted {
    /// Rebalances.
    pub rebalances: u32,
    /// Had an owner before a step and have another one after it.
    pub moved: u32,
    /// The fewest that have to move at each step for the most even outcome that there is.
    pub moved_least: u32,
    /// Let go of by members that lived on.
    pub stopped: u32,
    /// Those of them that their owner got back.
    pub stopped_for_nothing: u32,
}

struct Slot {
    id: String,
    number: usize,
    owned: Vec<Place>,
}

/// A group and what it reads.
pub struct Group {
    assignor: Assignor,
    topics: Vec<Topic>,
    subscriptions: Subscriptions,
    slots: Vec<Slot>,
    random: ChaCha8Rng,
    counted: Counted,
}

impl Group {
    /// A group of `members` that has settled.
    ///
    /// # Errors
    /// A mistake in here.
    pub fn start(
        assignor: Assignor,
        layout: Layout,
        subscriptions: Subscriptions,
        members: usize,
        seed: u64,
    ) -> Result<Self, GroupError> {
        let topics = (0..)
            .zip(layout.partitions())
            .map(|(number, partitions): (u32, u32)| Topic {
                name: format!("topic-{number:02}"),
                partitions,
            });
        let mut group = Group {
            assignor,
            topics: topics.collect(),
            subscriptions,
            slots: Vec::new(),
            random: ChaCha8Rng::seed_from_u64(seed),
            counted: Counted::default(),
        };
        for number in 0..members {
            group.add(number);
        }
        group.settle(BTreeMap::new(), 0)?;
        Ok(group)
    }

    /// Carries out a change and counts what it came to. Whom it happens to is drawn.
    ///
    /// # Errors
    /// A mistake in here.
    pub fn change(&mut self, change: Change) -> Result<Counted, GroupError> {
        self.counted = Counted::default();
        let drawn = self.random.next_u64() as usize % self.slots.len().max(1);
        match change {
            Change::Join => self.step(|group| group.add(group.slots.len()))?,
            Change::Leave => self.step(|group| group.remove(drawn))?,
            Change::Kill => self.restart(drawn)?,
            Change::Rolling => {
                for number in 0..self.slots.len() {
                    self.restart(number)?;
                }
            }
            Change::Grow => self.step(|group| {
                for topic in &mut group.topics {
                    topic.partitions += topic.partitions.div_ceil(2);
                }
            })?,
        }
        Ok(self.counted)
    }

    fn restart(&mut self, number: usize) -> Result<(), GroupError> {
        self.step(|group| group.remove(number))?;
        self.step(|group| group.add(number))
    }

    fn step(&mut self, happens: impl FnOnce(&mut Self)) -> Result<(), GroupError> {
        let before = self.owners();
        happens(self);
        let orphaned = before.len() as u32 - self.owners().len() as u32;
        self.settle(before, orphaned)
    }

    fn add(&mut self, number: usize) {
        let id = format!("consumer-{:016x}", self.random.next_u64());
        self.slots.push(Slot {
            id,
            number,
            owned: Vec::new(),
        });
    }

    fn remove(&mut self, number: usize) {
        self.slots.retain(|slot| slot.number != number);
    }

    fn owners(&self) -> BTreeMap<Place, String> {
        let of = |slot: &Slot| {
            let id = slot.id.clone();
            slot.owned
                .iter()
                .map(move |place| (*place, id.clone()))
                .collect::<Vec<_>>()
        };
        self.slots.iter().flat_map(of).collect()
    }

    fn members(&mut self) -> Vec<Member> {
        self.slots.sort_by(|a, b| a.id.cmp(&b.id));
        let reads = |number: usize, topic: &usize| match self.subscriptions {
            Subscriptions::Same => true,
            Subscriptions::Different => !(topic + number).is_multiple_of(3),
        };
        let of = |slot: &Slot| Member {
            id: slot.id.clone(),
            topics: (0..self.topics.len())
                .filter(|topic| reads(slot.number, topic))
                .collect::<BTreeSet<_>>(),
            owned: slot.owned.clone(),
        };
        self.slots.iter().map(of).collect()
    }

    /// Rebalances until nobody has to let go of anything.
    fn settle(&mut self, before: BTreeMap<Place, String>, orphaned: u32) -> Result<(), GroupError> {
        let members = self.members();
        self.counted.moved_least += most_even(&self.topics, &members, orphaned)?.moved;
        let mut let_go: BTreeSet<Place> = BTreeSet::new();
        for _ in 0..ROUNDS_MAX {
            let members = self.members();
            let assigned = assign(self.assignor, &self.topics, &members)?;
            self.counted.rebalances += 1;
            let mut has_revoked = false;
            for (slot, assigned) in self.slots.iter_mut().zip(assigned) {
                let revoked = slot.owned.iter().filter(|place| !assigned.contains(place));
                let revoked: Vec<Place> = revoked.copied().collect();
                has_revoked |= !revoked.is_empty();
                match self.assignor.is_eager() {
                    true => let_go.extend(&slot.owned),
                    false => let_go.extend(revoked),
                }
                slot.owned = assigned;
            }
            // Eager members have let go of everything already and are given all at once.
            if self.assignor.is_eager() || !has_revoked {
                self.count(&before, &let_go);
                return Ok(());
            }
        }
        Err(GroupError::Unsettled)
    }

    fn count(&mut self, before: &BTreeMap<Place, String>, let_go: &BTreeSet<Place>) {
        let after = self.owners();
        let has_moved = |place: &Place| before.get(place).is_some_and(|owner| after.get(place) != Some(owner));
        self.counted.moved += before.keys().filter(|place| has_moved(place)).count() as u32;
        self.counted.stopped += let_go.len() as u32;
        self.counted.stopped_for_nothing += let_go.iter().filter(|place| !has_moved(place)).count() as u32;
    }

    /// Partitions of each member.
    pub fn loads(&self) -> Vec<usize> {
        self.slots.iter().map(|slot| slot.owned.len()).collect()
    }

    /// Partitions of each member where they are dealt out as evenly as subscriptions allow.
    ///
    /// # Errors
    /// A mistake in here.
    pub fn loads_at_best(&mut self) -> Result<Vec<usize>, GroupError> {
        let members = self.members();
        let even = most_even(&self.topics, &members, 0)?;
        Ok(even.assigned.iter().map(Vec::len).collect())
    }

    /// Partitions that there are, and those that exactly one member owns which subscribes to them.
    pub fn owned_once(&mut self) -> (usize, usize) {
        let mut owners: BTreeMap<Place, usize> = BTreeMap::new();
        for member in self.members() {
            for place in member.owned.iter().filter(|place| member.topics.contains(&place.topic)) {
                *owners.entry(*place).or_default() += 1;
            }
        }
        let all = places(&self.topics, 0..self.topics.len()).count();
        (all, owners.values().filter(|owners| **owners == 1).count())
    }
}
