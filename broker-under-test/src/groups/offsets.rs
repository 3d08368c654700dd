//! What a group has committed, and when it is forgotten.

use std::collections::BTreeMap;

use super::kind::Kind;

/// An offset that a group committed for a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Committed {
    pub offset: i64,
    /// Of the last record that was consumed, -1 when the client did not say.
    pub leader_epoch: i32,
    /// The client's own words.
    pub metadata: String,
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
    /// The client said until when it is kept, milliseconds since 1970.
    pub expires_ms: Option<i64>,
}

/// By topic and partition.
#[derive(Debug, Default)]
pub(crate) struct Offsets(BTreeMap<String, BTreeMap<i32, Committed>>);

impl Offsets {
    pub fn get(&self, topic: &str, partition: i32) -> Option<&Committed> {
        self.0.get(topic)?.get(&partition)
    }

    pub fn insert(&mut self, topic: &str, partition: i32, committed: Committed) {
        let partitions = self.0.entry(topic.to_owned()).or_default();
        partitions.insert(partition, committed);
    }

    pub fn remove(&mut self, topic: &str, partition: i32) {
        if let Some(partitions) = self.0.get_mut(topic) {
            partitions.remove(&partition);
            if partitions.is_empty() {
                self.0.remove(topic);
            }
        }
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn topics(&self) -> impl Iterator<Item = (&str, &BTreeMap<i32, Committed>)> {
        self.0.iter().map(|(topic, partitions)| (topic.as_str(), partitions))
    }

    /// Topic and partition of all, or of one topic's.
    pub fn places(&self, of: Option<&str>) -> Vec<(String, i32)> {
        let wanted = self
            .0
            .iter()
            .filter(|(topic, _)| of.is_none_or(|of| of == topic.as_str()));
        let places = wanted.flat_map(|(topic, partitions)| partitions.keys().map(move |p| (topic.clone(), *p)));
        places.collect()
    }

    /// What is kept no longer at that time. As in Kafka, a group that has members keeps what they are subscribed to, and the clock of the others
    /// begins when the group became empty, or with each commit when it never had members.
    pub fn expired(&self, group: &Kind, since_ms: i64, now_ms: i64, retention_ms: i64) -> Vec<(String, i32)> {
        let is_over = |committed: &Committed| match (committed.expires_ms, group.protocol_type()) {
            (Some(expires_ms), _) => now_ms >= expires_ms,
            (None, Some(_)) if group.is_empty() => now_ms - committed.at_ms.max(since_ms) >= retention_ms,
            (None, _) => now_ms - committed.at_ms >= retention_ms,
        };
        let has_members = group.protocol_type().is_some() && !group.is_empty();
        let all = self
            .0
            .iter()
            .filter(|(topic, _)| !has_members || !group.is_subscribed(topic));
        let expired = all.flat_map(|(topic, partitions)| {
            let over = partitions.iter().filter(|(_, committed)| is_over(committed));
            over.map(|(partition, _)| (topic.clone(), *partition))
        });
        expired.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::group::{Group, Limits, State};
    use super::super::records;
    use super::*;
    use std::time::{Duration, Instant};

    const RETENTION_MS: i64 = 1000;

    fn offsets(at_ms: i64, expires_ms: Option<i64>) -> Offsets {
        let mut offsets = Offsets::default();
        let committed = Committed {
            offset: 1,
            leader_epoch: -1,
            metadata: String::new(),
            at_ms,
            expires_ms,
        };
        offsets.insert("t", 0, committed);
        offsets
    }

    #[test]
    fn offsets_go_when_nobody_needs_them() {
        let limits = Limits {
            initial_delay: Duration::ZERO,
            members_max: 9,
            bytes_max: 999,
        };
        let expires = |group: &Kind, offsets: &Offsets, since_ms, now_ms| {
            let expired = offsets.expired(group, since_ms, now_ms, RETENTION_MS);
            assert!(expired.iter().all(|place| *place == ("t".to_owned(), 0)));
            !expired.is_empty()
        };
        // Of who never was in a group: from the commit on.
        let group = Kind::Classic(Group::new(limits));
        let plain = offsets(5000, None);
        assert!(!expires(&group, &plain, -1, 5999) && expires(&group, &plain, -1, 6000));
        // Of a group that became empty at 7000.
        let mut had_members = Group::new(limits);
        had_members.protocol_type = Some("consumer".to_owned());
        let group = Kind::Classic(had_members);
        assert!(!expires(&group, &plain, 7000, 7999) && expires(&group, &plain, 7000, 8000));
        // The client's own word is what counts.
        let short = offsets(5000, Some(5500));
        assert!(!expires(&group, &short, 7000, 5499) && expires(&group, &short, 7000, 5500));
        // While somebody consumes the topic, it stays; of another topic it goes.
        for (topic, stays) in [(&b"t"[..], true), (b"u", false)] {
            let subscription = [&[0, 0, 0, 0, 0, 1, 0, 1][..], topic, &[0xff; 4]].concat();
            let value = [
                &[0, 3, 0, 8][..],
                b"consumer",
                &[0, 0, 0, 1, 0, 1, b'r', 0, 1, b'm'],
                &7000i64.to_be_bytes(),
                &[0, 0, 0, 1, 0, 1, b'm', 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 9],
                &(subscription.len() as u32).to_be_bytes(),
                &subscription,
                &[0, 0, 0, 0],
            ];
            let read = records::read_group(&value.concat(), limits, Instant::now()).unwrap();
            let (stable, since_ms) = read.unwrap();
            assert_eq!((stable.state(), since_ms), (State::Stable, 7000));
            assert_eq!(expires(&Kind::Classic(stable), &plain, since_ms, 1 << 40), !stays);
        }
    }
}
