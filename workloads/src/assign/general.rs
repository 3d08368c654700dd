//! Sticky where members subscribe to different topics.
//!
//! Follows what `AbstractStickyAssignor` of Kafka 4 does without racks: what can stay stays, what is free goes to whoever has least, then partitions move one by one towards whoever has
//! least until nothing is gained; when the outcome is no more even than before, it is undone.

use super::java_order::PlaceSet;
use super::{Member, Place, Topic, places};
use std::collections::HashMap;

/// More passes over all partitions than this are no search any more: each pass that moves something makes loads more even, and no group in the tests needs ten.
const PASSES_MAX: usize = 1_000;

/// From whom, to whom.
type Way = (usize, usize);

pub(super) fn assign(topics: &[Topic], members: &[Member]) -> Vec<Vec<Place>> {
    let mut search = Search::new(topics, members);
    search.run();
    let mut assigned = vec![Vec::new(); members.len()];
    for place in places(topics, 0..topics.len()) {
        if let Some(owner) = search.owners.get(&place) {
            assigned[*owner].push(place);
        }
    }
    assigned
}

struct Search<'g> {
    topics: &'g [Topic],
    members: &'g [Member],
    /// Of each topic.
    subscribers: Vec<Vec<usize>>,
    owners: HashMap<Place, usize>,
    loads: Vec<usize>,
    /// Members that something can be given to or taken from.
    taking_part: Vec<usize>,
    /// Whether somebody owns what it does not subscribe to any more.
    has_revoked: bool,
    moved: HashMap<Place, Way>,
    moves: HashMap<(usize, Way), PlaceSet>,
}

impl<'g> Search<'g> {
    fn new(topics: &'g [Topic], members: &'g [Member]) -> Self {
        let of = |topic: usize| (0..members.len()).filter(move |member| members[*member].topics.contains(&topic));
        let mut search = Search {
            topics,
            members,
            subscribers: (0..topics.len()).map(|topic| of(topic).collect()).collect(),
            owners: HashMap::new(),
            loads: vec![0; members.len()],
            taking_part: (0..members.len()).collect(),
            has_revoked: false,
            moved: HashMap::new(),
            moves: HashMap::new(),
        };
        for (member, of) in members.iter().enumerate() {
            for place in &of.owned {
                if of.topics.contains(&place.topic) {
                    search.give(*place, member);
                } else if !search.subscribers[place.topic].is_empty() {
                    search.has_revoked = true;
                }
            }
        }
        search
    }

    fn run(&mut self) {
        let mut order: Vec<usize> = (0..self.topics.len()).collect();
        order.retain(|topic| !self.subscribers[*topic].is_empty());
        order.sort_by_key(|topic| (self.subscribers[*topic].len(), *topic));
        let mut all: Vec<Place> = places(self.topics, order).collect();
        let mut free: Vec<Place> = all
            .iter()
            .copied()
            .filter(|place| !self.owners.contains_key(place))
            .collect();
        let is_first = self.owners.is_empty();
        for place in &free {
            if let Some(member) = self.least_loaded(place.topic) {
                self.give(*place, member);
            }
        }

        // What only one member can have stays where it is, and so does who can have nothing else.
        let can_move = |place: &Place| self.subscribers[place.topic].len() >= 2;
        all.retain(can_move);
        free.retain(can_move);
        let stays = |member: &usize| {
            let has_all = self.loads[*member] == self.most(*member);
            has_all && !all.iter().any(|place| self.owners.get(place) == Some(member))
        };
        let taking_part = self.taking_part.iter().copied().filter(|member| !stays(member));
        self.taking_part = taking_part.collect();

        let before = (self.owners.clone(), self.loads.clone(), self.unevenness());
        if !self.has_revoked {
            self.even_out(&free);
        }
        let has_moved = self.even_out(&all);
        if !is_first && has_moved && self.unevenness() >= before.2 {
            (self.owners, self.loads, _) = before;
        }
    }

    fn give(&mut self, place: Place, member: usize) {
        if let Some(old) = self.owners.insert(place, member) {
            self.loads[old] -= 1;
        }
        self.loads[member] += 1;
    }

    /// Of those that take part and subscribe to the topic.
    fn least_loaded(&self, topic: usize) -> Option<usize> {
        let of = self.taking_part.iter().copied();
        of.filter(|member| self.members[*member].topics.contains(&topic))
            .min_by_key(|member| (self.loads[*member], *member))
    }

    /// Partitions that a member could have.
    fn most(&self, member: usize) -> usize {
        let of = self.members[member].topics.iter();
        of.map(|topic| self.topics[*topic].partitions as usize).sum()
    }

    /// The sum of the differences between all pairs of those that take part.
    fn unevenness(&self) -> usize {
        let loads = || self.taking_part.iter().map(|member| self.loads[*member]);
        loads()
            .map(|one| loads().map(|other| one.abs_diff(other)).sum::<usize>())
            .sum::<usize>()
            / 2
    }

    fn is_even(&self) -> bool {
        let loads = || self.taking_part.iter().map(|member| self.loads[*member]);
        let (Some(low), Some(high)) = (loads().min(), loads().max()) else {
            return true;
        };
        if high - low <= 1 {
            return true;
        }
        let could_take = |member: usize, place: Place| {
            let owner = self.owners.get(&place).copied().unwrap_or(member);
            self.loads[member] + 1 < self.loads[owner]
        };
        let of = |member: &usize| places(self.topics, self.members[*member].topics.iter().copied());
        let mut members = self.taking_part.iter();
        !members.any(|member| {
            self.loads[*member] < self.most(*member) && of(member).any(|place| could_take(*member, place))
        })
    }

    /// Whether something moved.
    fn even_out(&mut self, movable: &[Place]) -> bool {
        let mut has_moved = false;
        for _ in 0..PASSES_MAX {
            let mut moved_now = false;
            for place in movable {
                if self.is_even() {
                    break;
                }
                let owner = self.owners[place];
                let is_less = |other: &usize| self.loads[owner] > self.loads[*other] + 1;
                if self.subscribers[place.topic].iter().any(is_less)
                    && let Some(to) = self.least_loaded(place.topic)
                {
                    let place = self.instead_of(*place, owner, to);
                    self.move_to(place, to);
                    moved_now = true;
                }
            }
            has_moved |= moved_now;
            if !moved_now {
                break;
            }
        }
        has_moved
    }

    /// When one of the same topic went the other way before, that one goes back instead.
    fn instead_of(&self, place: Place, owner: usize, to: usize) -> Place {
        let from = self.moved.get(&place).map_or(owner, |(from, _)| *from);
        let back = self.moves.get(&(place.topic, (to, from)));
        back.and_then(PlaceSet::first).unwrap_or(place)
    }

    fn move_to(&mut self, place: Place, to: usize) {
        let mut from = self.owners[&place];
        if let Some(way) = self.moved.remove(&place) {
            let key = (place.topic, way);
            let moves = self.moves.get_mut(&key).expect("what moved is in the moves of its way");
            moves.remove(place);
            if moves.is_empty() {
                self.moves.remove(&key);
            }
            from = way.0;
        }
        if from != to {
            self.moved.insert(place, (from, to));
            let moves = self
                .moves
                .entry((place.topic, (from, to)))
                .or_insert_with(PlaceSet::new);
            moves.insert(self.topics, place);
        }
        self.give(place, to);
    }
}
