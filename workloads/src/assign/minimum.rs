//! The fewest partitions that have to move for the most even outcome there is: what assignors are held against.
//!
//! Partitions are units of flow to members that may have them. The k-th partition of a member costs 2k - 1, so that the sum of squared loads is least, and a move costs less than
//! any difference of loads; partitions are added one by one along the cheapest path (successive shortest paths; Ahuja, Magnanti, Orlin, Network Flows, 1993, 9.7).

use super::{AssignError, Member, Place, Topic, check, places};
use std::collections::HashMap;

/// A most even assignment that moves as few partitions as possible.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Even {
    /// What each member gets.
    pub assigned: Vec<Vec<Place>>,
    /// Partitions that a member owned which is no more or which has to give it away; the free ones are none of them.
    pub moved: u32,
}

/// The most even assignment with the fewest moves; what was `owned` by somebody who is gone moves in any case, and is counted.
///
/// # Errors
/// As [`super::assign`].
pub fn most_even(topics: &[Topic], members: &[Member], orphaned: u32) -> Result<Even, AssignError> {
    check(topics, members)?;
    let mut flow = Flow {
        members,
        owner: members
            .iter()
            .enumerate()
            .flat_map(|(member, of)| of.owned.iter().map(move |place| (*place, member)))
            .collect(),
        assigned: vec![Vec::new(); members.len()],
        // More than all moves together.
        load_cost: 1 + places(topics, 0..topics.len()).count() as i64,
    };
    for place in places(topics, 0..topics.len()) {
        flow.add(place);
    }
    let stays = |member: usize, place: &Place| flow.owner.get(place).is_none_or(|owner| *owner == member);
    let moved = flow.assigned.iter().enumerate();
    let moved = moved.flat_map(|(member, places)| places.iter().filter(move |place| !stays(member, place)));
    Ok(Even {
        moved: moved.count() as u32 + orphaned,
        assigned: flow.assigned,
    })
}

/// What it costs for a member to have one more, and from whom it gets which one; `None` is the one that is added.
type Reached = (i64, Option<(usize, Place)>);

struct Flow<'g> {
    members: &'g [Member],
    owner: HashMap<Place, usize>,
    assigned: Vec<Vec<Place>>,
    load_cost: i64,
}

impl Flow<'_> {
    /// 1 when the place moves by getting there.
    fn cost(&self, place: Place, member: usize) -> i64 {
        i64::from(self.owner.get(&place).is_some_and(|owner| *owner != member))
    }

    fn add(&mut self, place: Place) {
        let count = self.members.len();
        // The cheapest way of each member to let go of one so that another one can have it.
        let mut ways: Vec<(usize, usize, i64, Place)> = Vec::new();
        for (from, held) in self.assigned.iter().enumerate() {
            for to in (0..count).filter(|to| *to != from) {
                let can = held.iter().filter(|held| self.members[to].topics.contains(&held.topic));
                let by_cost = can.map(|held| (self.cost(*held, to) - self.cost(*held, from), *held));
                if let Some((cost, held)) = by_cost.min() {
                    ways.push((from, to, cost, held));
                }
            }
        }
        // Bellman-Ford: costs may be negative, and a cycle of less than nothing there is none, as what is there costs least.
        let mut best: Vec<Option<Reached>> = (0..count)
            .map(|member| {
                let can = self.members[member].topics.contains(&place.topic);
                can.then(|| (self.cost(place, member), None))
            })
            .collect();
        for _ in 0..count {
            let mut is_better = false;
            for (from, to, cost, held) in &ways {
                let Some((so_far, _)) = best[*from] else { continue };
                if best[*to].is_none_or(|(known, _)| so_far + cost < known) {
                    best[*to] = Some((so_far + cost, Some((*from, *held))));
                    is_better = true;
                }
            }
            if !is_better {
                break;
            }
        }
        let reached = (0..count).filter_map(|member| {
            let (cost, _) = best[member]?;
            let load = self.assigned[member].len() as i64;
            Some((cost + self.load_cost * (2 * load + 1), member))
        });
        let Some((_, mut member)) = reached.min() else { return };
        // Back along the path: each gives its partition on.
        while let Some((_, Some((from, held)))) = best[member] {
            self.assigned[from].retain(|other| *other != held);
            self.assigned[member].push(held);
            member = from;
        }
        self.assigned[member].push(place);
    }
}
