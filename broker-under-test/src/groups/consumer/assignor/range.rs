//! `range`: of each topic, every subscriber gets a contiguous run of partitions, the first ones one more where it does not come out even.

use std::collections::BTreeMap;

use super::{Places, Spec};

/// Static members come first, by the names that they were given, so that a restart under a new id changes nothing; the others by id.
pub(super) fn assign(spec: &Spec) -> BTreeMap<String, Places> {
    let mut order: Vec<(bool, &str, &str)> = Vec::with_capacity(spec.members.len());
    for (id, subject) in &spec.members {
        order.push((subject.instance.is_none(), subject.instance.unwrap_or(id), id));
    }
    order.sort_unstable();
    let mut targets: BTreeMap<String, Places> = spec
        .members
        .keys()
        .map(|id| ((*id).to_owned(), Places::new()))
        .collect();
    for (topic, partitions) in &spec.partitions {
        let subscribed = |(_, _, id): &&(bool, &str, &str)| spec.members[id].topics.contains(topic);
        let subscribers: Vec<&str> = order.iter().filter(subscribed).map(|(_, _, id)| *id).collect();
        let Ok(count) = i32::try_from(subscribers.len()) else {
            continue;
        };
        let mut next = 0;
        for (rank, id) in (0i32..).zip(subscribers) {
            let size = partitions / count + i32::from(rank < partitions % count);
            if size > 0
                && let Some(target) = targets.get_mut(id)
            {
                target.insert(*topic, (next..next + size).collect());
            }
            next += size;
        }
    }
    targets
}
