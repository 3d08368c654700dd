//! One step of a member from what it holds to what it shall hold.

use std::time::Instant;

use super::assignor::Places;
use super::member::{Owned, Progress};
use super::{ConsumerGroup, release};
use crate::topics::Catalog;

impl ConsumerGroup {
    /// Leads a member on, as far as it goes now. `reported` is what it says that it holds, if it does.
    ///
    /// Three rules: what it shall not hold it gives up first, and stays in its epoch until it says so. What it shall hold and nobody does it is given,
    /// in the epoch of the targets. What others still hold it waits for.
    pub(super) fn reconcile(&mut self, now: Instant, catalog: &Catalog, id: &str, reported: Option<&Places>) {
        let Some(member) = self.members.get(id) else {
            return;
        };
        let subscribed = self.patterns.topics(member, catalog);
        let is_unsubscribed = member.owned.keys().any(|topic| !subscribed.contains(topic));
        let rests = match member.progress {
            Progress::Stable => member.epoch == self.target_epoch && !is_unsubscribed,
            Progress::Unrevoked => holds(reported, &member.revoking) && !is_unsubscribed,
            Progress::Unreleased => false,
        };
        if rests {
            return;
        }
        let mut next = member.clone();
        let has_revoked = !holds(reported, &next.revoking);
        if has_revoked {
            release(&mut self.held, &next.revoking);
            next.revoking.clear();
        }
        // A target may be older than the subscription.
        let is_wanted = |topic, partition: &i32| {
            subscribed.contains(topic) && next.target.get(topic).is_some_and(|wanted| wanted.contains(partition))
        };
        let mut kept = Owned::new();
        let mut revoking = next.revoking.clone();
        for (topic, partitions) in &next.owned {
            for (partition, epoch) in partitions {
                let side = if is_wanted(topic, partition) {
                    &mut kept
                } else {
                    &mut revoking
                };
                side.entry(*topic).or_default().insert(*partition, *epoch);
            }
        }
        next.previous_epoch = next.epoch;
        if !revoking.is_empty() && holds(reported, &revoking) {
            next.progress = Progress::Unrevoked;
            (next.owned, next.revoking) = (kept, revoking);
            next.revoke_by = Some(now + next.rebalance_timeout);
        } else {
            release(&mut self.held, &revoking);
            let mut is_waiting = false;
            for (topic, partitions) in next.target.iter().filter(|(topic, _)| subscribed.contains(topic)) {
                for partition in partitions {
                    if kept.get(topic).is_some_and(|kept| kept.contains_key(partition)) {
                        continue;
                    }
                    if self.held.insert((*topic, *partition)) {
                        kept.entry(*topic).or_default().insert(*partition, self.target_epoch);
                    } else {
                        is_waiting = true;
                    }
                }
            }
            next.progress = if is_waiting {
                Progress::Unreleased
            } else {
                Progress::Stable
            };
            next.epoch = self.target_epoch;
            (next.owned, next.revoking) = (kept, Owned::new());
            next.revoke_by = None;
        }
        if let Some(member) = self.members.get_mut(id)
            && *member != next
        {
            *member = next;
            self.changes.current(id);
        }
    }
}

/// Whether a member may still hold some of it; one that does not say what it holds may hold everything.
fn holds(reported: Option<&Places>, owned: &Owned) -> bool {
    let is_reported = |topic, partition: &i32| {
        reported.is_none_or(|reported| reported.get(topic).is_some_and(|held| held.contains(partition)))
    };
    owned
        .iter()
        .any(|(topic, partitions)| partitions.keys().any(|partition| is_reported(topic, partition)))
}
