//! `uniform`: numbers of partitions that differ by one at most where all subscriptions are the same, and otherwise such that no single partition could
//! move to a subscriber that has two fewer. Who has a partition keeps it wherever that allows it.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::{Places, Spec};

type Place = (Uuid, i32);

pub(super) fn assign(spec: &Spec) -> BTreeMap<String, Places> {
    let ids: Vec<&str> = spec.members.keys().copied().collect();
    let mut kept = keep(spec, &ids);
    let mut free: BTreeSet<Place> = BTreeSet::new();
    for (topic, count) in &spec.partitions {
        free.extend((0..*count).map(|partition| (*topic, partition)));
    }
    kept.iter().flatten().for_each(|place| {
        free.remove(place);
    });
    let same = spec.members.values().map(|subject| &subject.topics).all_equal();
    if same {
        fill_quotas(spec, &mut kept, free);
    } else {
        fill_least(spec, &ids, &mut kept, free);
        even_out(spec, &ids, &mut kept);
    }
    let mut targets = BTreeMap::new();
    for (id, places) in ids.into_iter().zip(kept) {
        let mut target = Places::new();
        for (topic, partition) in places {
            target.entry(topic).or_default().insert(partition);
        }
        targets.insert(id.to_owned(), target);
    }
    targets
}

/// What members had and may keep: it exists, they are subscribed to it, and nobody else was first.
fn keep(spec: &Spec, ids: &[&str]) -> Vec<BTreeSet<Place>> {
    let mut taken: BTreeSet<Place> = BTreeSet::new();
    let mut kept = Vec::with_capacity(ids.len());
    for id in ids {
        let subject = &spec.members[id];
        let mut own = BTreeSet::new();
        for (topic, partitions) in subject.before {
            let count = spec.partitions.get(topic).copied().unwrap_or(0);
            if !subject.topics.contains(topic) {
                continue;
            }
            let there = partitions.iter().filter(|p| **p < count);
            own.extend(there.map(|p| (*topic, *p)).filter(|place| taken.insert(*place)));
        }
        kept.push(own);
    }
    kept
}

/// With equal subscriptions each member has a quota; the larger ones go to who has most already, so that the fewest move.
fn fill_quotas(spec: &Spec, kept: &mut [BTreeSet<Place>], mut free: BTreeSet<Place>) {
    if kept.is_empty() || spec.members.values().all(|subject| subject.topics.is_empty()) {
        return;
    }
    let total = free.len() + kept.iter().map(BTreeSet::len).sum::<usize>();
    let (least, larger) = (total / kept.len(), total % kept.len());
    let mut order: Vec<usize> = (0..kept.len()).collect();
    order.sort_by_key(|index| std::cmp::Reverse(kept[*index].len()));
    let mut room = Vec::new();
    for (rank, index) in order.into_iter().enumerate() {
        let quota = least + usize::from(rank < larger);
        while kept[index].len() > quota {
            free.extend(kept[index].pop_last());
        }
        room.push((index, quota - kept[index].len()));
    }
    // In turn, so that a topic is spread over those who get something.
    while !free.is_empty() {
        for (index, left) in room.iter_mut().filter(|(_, left)| *left > 0) {
            if let Some(place) = free.pop_first() {
                kept[*index].insert(place);
                *left -= 1;
            }
        }
    }
}

/// The partitions that nobody has, those that fewest could have first, each to the subscriber that has least.
fn fill_least(spec: &Spec, ids: &[&str], kept: &mut [BTreeSet<Place>], free: BTreeSet<Place>) {
    let subscribers = subscribers(spec, ids);
    let mut free: Vec<Place> = free.into_iter().collect();
    free.sort_by_key(|(topic, _)| subscribers.get(topic).map_or(0, Vec::len));
    for place in free {
        let least = subscribers.get(&place.0).into_iter().flatten();
        if let Some(index) = least.copied().min_by_key(|index| kept[*index].len()) {
            kept[index].insert(place);
        }
    }
}

/// Moves partitions one by one from who has more to who could have them and has at least two fewer. Each move makes the sum of the squares smaller, so
/// it ends.
fn even_out(spec: &Spec, ids: &[&str], kept: &mut [BTreeSet<Place>]) {
    let subscribers = subscribers(spec, ids);
    let mut moved = true;
    while moved {
        moved = false;
        for (topic, subscribers) in &subscribers {
            moved |= even_out_topic(*topic, subscribers, kept);
        }
    }
}

fn even_out_topic(topic: Uuid, subscribers: &[usize], kept: &mut [BTreeSet<Place>]) -> bool {
    let whole = (topic, 0)..=(topic, i32::MAX);
    let mut moved = false;
    loop {
        let owners = subscribers
            .iter()
            .copied()
            .filter(|index| kept[*index].range(whole.clone()).next().is_some());
        let most = owners.max_by_key(|index| kept[*index].len());
        let least = subscribers.iter().copied().min_by_key(|index| kept[*index].len());
        let (Some(most), Some(least)) = (most, least) else {
            return moved;
        };
        if kept[most].len() < kept[least].len() + 2 {
            return moved;
        }
        let Some(place) = kept[most].range(whole.clone()).next_back().copied() else {
            return moved;
        };
        kept[most].remove(&place);
        kept[least].insert(place);
        moved = true;
    }
}

/// Who is subscribed to a topic, by place in `ids`.
fn subscribers(spec: &Spec, ids: &[&str]) -> BTreeMap<Uuid, Vec<usize>> {
    let mut subscribers: BTreeMap<Uuid, Vec<usize>> = BTreeMap::new();
    for (index, id) in ids.iter().enumerate() {
        for topic in &spec.members[id].topics {
            subscribers.entry(*topic).or_default().push(index);
        }
    }
    subscribers
}

trait AllEqual {
    fn all_equal(self) -> bool;
}

impl<T: PartialEq, I: Iterator<Item = T>> AllEqual for I {
    fn all_equal(mut self) -> bool {
        let first = self.next();
        first.is_none_or(|first| self.all(|other| other == first))
    }
}
