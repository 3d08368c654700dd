//! The assignors that remember nothing: range and roundrobin.

use super::{Member, Place, Topic, places};

/// Each topic is cut into runs of partitions, one for each of its subscribers; where it does not divide, the first ones get one more.
pub(super) fn range(topics: &[Topic], members: &[Member]) -> Vec<Vec<Place>> {
    let mut assigned = vec![Vec::new(); members.len()];
    for (topic, of) in topics.iter().enumerate() {
        let subscribers: Vec<usize> = (0..members.len())
            .filter(|member| members[*member].topics.contains(&topic))
            .collect();
        let count = subscribers.len() as u32;
        let mut next = 0;
        for (rank, member) in (0..count).zip(subscribers) {
            let more = u32::from(rank < of.partitions % count);
            let end = next + of.partitions / count + more;
            assigned[member].extend((next..end).map(|partition| Place { topic, partition }));
            next = end;
        }
    }
    assigned
}

/// All partitions of all topics go round; who does not subscribe to the topic is passed over.
pub(super) fn round_robin(topics: &[Topic], members: &[Member]) -> Vec<Vec<Place>> {
    let mut assigned = vec![Vec::new(); members.len()];
    let mut next = 0;
    for place in places(topics, 0..topics.len()) {
        let mut turns = (0..members.len()).map(|turn| (next + turn) % members.len());
        if let Some(member) = turns.find(|member| members[*member].topics.contains(&place.topic)) {
            assigned[member].push(place);
            next = (member + 1) % members.len();
        }
    }
    assigned
}
