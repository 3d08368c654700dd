//! Sticky where everybody subscribes to the same topics; otherwise `general` does it.
//!
//! Follows what `AbstractStickyAssignor` of Kafka 4 does without racks: members keep what they own up to a quota, in the order of Java's hash table, and what is left goes
//! round among those with less.

use super::{Member, Place, Topic, general, java_order, places};
use std::collections::{HashSet, VecDeque};

/// Even, and near what was.
pub(super) fn assign(topics: &[Topic], members: &[Member]) -> Vec<Vec<Place>> {
    match members.windows(2).all(|pair| pair[0].topics == pair[1].topics) {
        true => alike(topics, members),
        false => general::assign(topics, members),
    }
}

fn alike(topics: &[Topic], members: &[Member]) -> Vec<Vec<Place>> {
    let subscribed = &members[0].topics;
    let total: usize = subscribed.iter().map(|topic| topics[*topic].partitions as usize).sum();
    // Each gets `low` or one more, and `with_more` of them do.
    let (low, with_more) = (total / members.len(), total % members.len());
    let mut assigned: Vec<Vec<Place>> = vec![Vec::new(); members.len()];
    let (mut below, mut at_low, mut have_more) = (Vec::new(), Vec::new(), 0);
    for member in java_order::walk(members.iter().map(|member| member.id.as_str())) {
        let mut kept = members[member].owned.clone();
        kept.retain(|place| subscribed.contains(&place.topic));
        kept.sort_by_key(|place| (place.partition, place.topic));
        let may_have_more = have_more < with_more;
        if kept.len() < low {
            below.push(member);
        } else if kept.len() > low && may_have_more {
            kept.truncate(low + 1);
            have_more += 1;
        } else {
            kept.truncate(low);
            if may_have_more {
                at_low.push(member);
            }
        }
        assigned[member] = kept;
    }
    if have_more == with_more {
        at_low.clear();
    }
    at_low.sort_unstable();
    below.sort_unstable();

    let taken: HashSet<Place> = assigned.iter().flatten().copied().collect();
    let mut left = places(topics, subscribed.iter().copied()).filter(|place| !taken.contains(place));
    // Rounds among those below the quota; who reaches it stands behind those who may have one more.
    let (mut round, mut at_low) = (VecDeque::from(below), VecDeque::from(at_low));
    while let Some(member) = round.pop_front() {
        let Some(place) = left.next() else { break };
        assigned[member].push(place);
        match assigned[member].len() == low {
            true => at_low.push_back(member),
            false => round.push_back(member),
        }
    }
    for (place, member) in left.zip(at_low) {
        assigned[member].push(place);
    }
    assigned
}
