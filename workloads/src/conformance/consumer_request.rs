//! Request bodies of KIP-848's groups, written byte by byte.

use kafka_wire::encode::{BufMut, Encode};

/// What a ConsumerGroupHeartbeat says.
#[derive(Clone, Copy)]
pub(super) struct Beat<'a> {
    pub group: &'a str,
    pub member: &'a str,
    pub epoch: i32,
    pub instance: Option<&'a str>,
    pub rebalance_ms: i32,
    pub topics: Option<&'a [&'a str]>,
    pub pattern: Option<&'a str>,
    pub assignor: Option<&'a str>,
    /// Nothing is said, nothing is held, or these partitions of the topic of that id.
    pub owned: Option<&'a [([u8; 16], &'a [i32])]>,
}

impl<'a> Beat<'a> {
    /// Who joins a group for one topic.
    pub fn joining(group: &'a str, member: &'a str, topics: &'a [&'a str]) -> Self {
        Beat {
            group,
            member,
            epoch: 0,
            instance: None,
            rebalance_ms: 60_000,
            topics: Some(topics),
            pattern: None,
            assignor: None,
            owned: Some(&[]),
        }
    }

    /// The shortest: who is in a group and has nothing to say.
    pub fn alive(group: &'a str, member: &'a str, epoch: i32) -> Self {
        Beat {
            group,
            member,
            epoch,
            instance: None,
            rebalance_ms: -1,
            topics: None,
            pattern: None,
            assignor: None,
            owned: None,
        }
    }

    /// The body, versions 0 and 1; the first has no pattern.
    pub fn body(self, version: i16) -> Vec<u8> {
        let mut out = Vec::new();
        out.put_string(self.group, true);
        out.put_string(self.member, true);
        out.put_i32(self.epoch);
        out.put_nullable_string(self.instance, true);
        out.put_nullable_string(None, true);
        out.put_i32(self.rebalance_ms);
        match self.topics {
            None => out.put_uvarint(0),
            Some(topics) => {
                out.put_array_len(topics.len(), true);
                topics.iter().for_each(|topic| out.put_string(topic, true));
            }
        }
        if version >= 1 {
            out.put_nullable_string(self.pattern, true);
        }
        out.put_nullable_string(self.assignor, true);
        match self.owned {
            None => out.put_uvarint(0),
            Some(owned) => {
                out.put_array_len(owned.len(), true);
                for (topic, partitions) in owned {
                    out.put_slice(topic);
                    out.put_array_len(partitions.len(), true);
                    partitions.iter().for_each(|partition| out.put_i32(*partition));
                    out.put_no_tags(true);
                }
            }
        }
        out.put_no_tags(true);
        out
    }
}

/// ConsumerGroupDescribe, versions 0 and 1, without operations.
pub(super) fn describe(groups: &[&str]) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_array_len(groups.len(), true);
    groups.iter().for_each(|group| out.put_string(group, true));
    out.put_u8(0);
    out.put_no_tags(true);
    out
}
