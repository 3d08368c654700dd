//! Request bodies of groups and their offsets, written byte by byte.

use kafka_wire::ApiKey;
use kafka_wire::encode::{BufMut, Encode};

/// What a member says of itself in every request.
#[derive(Clone, Copy, Default)]
pub(super) struct As<'a> {
    pub group: &'a str,
    pub member: &'a str,
    pub instance: Option<&'a str>,
    pub generation: i32,
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8], flexible: bool) {
    if flexible {
        out.put_uvarint(bytes.len() as u32 + 1);
    } else {
        out.put_i32(bytes.len() as i32);
    }
    out.put_slice(bytes);
}

/// The beginning of SyncGroup, Heartbeat and OffsetCommit.
fn put_as(out: &mut Vec<u8>, who: As, flexible: bool, with_instance: bool) {
    out.put_string(who.group, flexible);
    out.put_i32(who.generation);
    out.put_string(who.member, flexible);
    if with_instance {
        out.put_nullable_string(who.instance, flexible);
    }
}

/// JoinGroup, versions 0 to 9, of protocols with names and metadata.
pub(super) fn join(
    version: i16,
    who: As,
    session_ms: i32,
    protocol_type: &str,
    protocols: &[(&str, &[u8])],
) -> Vec<u8> {
    let flexible = ApiKey::JoinGroup.is_flexible(version);
    let mut out = Vec::new();
    out.put_string(who.group, flexible);
    out.put_i32(session_ms);
    if version >= 1 {
        out.put_i32(20_000);
    }
    out.put_string(who.member, flexible);
    if version >= 5 {
        out.put_nullable_string(who.instance, flexible);
    }
    out.put_string(protocol_type, flexible);
    out.put_array_len(protocols.len(), flexible);
    for (name, metadata) in protocols {
        out.put_string(name, flexible);
        put_bytes(&mut out, metadata, flexible);
        out.put_no_tags(flexible);
    }
    if version >= 8 {
        out.put_nullable_string(Some("because"), flexible);
    }
    out.put_no_tags(flexible);
    out
}

/// SyncGroup, versions 0 to 5, with what the leader gives to members.
pub(super) fn sync(version: i16, who: As, protocol: Option<&str>, given: &[(&str, &[u8])]) -> Vec<u8> {
    let flexible = ApiKey::SyncGroup.is_flexible(version);
    let mut out = Vec::new();
    put_as(&mut out, who, flexible, version >= 3);
    if version >= 5 {
        out.put_nullable_string(protocol.map(|_| "consumer"), flexible);
        out.put_nullable_string(protocol, flexible);
    }
    out.put_array_len(given.len(), flexible);
    for (member, assignment) in given {
        out.put_string(member, flexible);
        put_bytes(&mut out, assignment, flexible);
        out.put_no_tags(flexible);
    }
    out.put_no_tags(flexible);
    out
}

/// Heartbeat, versions 0 to 4.
pub(super) fn heartbeat(version: i16, who: As) -> Vec<u8> {
    let flexible = ApiKey::Heartbeat.is_flexible(version);
    let mut out = Vec::new();
    put_as(&mut out, who, flexible, version >= 3);
    out.put_no_tags(flexible);
    out
}

/// LeaveGroup, versions 0 to 5: members and instances, of which the versions below 3 take the first member.
pub(super) fn leave(version: i16, group: &str, members: &[(&str, Option<&str>)]) -> Vec<u8> {
    let flexible = ApiKey::LeaveGroup.is_flexible(version);
    let mut out = Vec::new();
    out.put_string(group, flexible);
    if version < 3 {
        out.put_string(members.first().map_or("", |(member, _)| member), flexible);
        return out;
    }
    out.put_array_len(members.len(), flexible);
    for (member, instance) in members {
        out.put_string(member, flexible);
        out.put_nullable_string(*instance, flexible);
        if version >= 5 {
            out.put_nullable_string(None, flexible);
        }
        out.put_no_tags(flexible);
    }
    out.put_no_tags(flexible);
    out
}

/// OffsetCommit, versions 2 to 9: topic, partition, offset, metadata.
pub(super) fn commit(version: i16, who: As, asked: &[(&str, i32, i64, Option<&str>)]) -> Vec<u8> {
    let flexible = ApiKey::OffsetCommit.is_flexible(version);
    let mut out = Vec::new();
    put_as(&mut out, who, flexible, version >= 7);
    if version <= 4 {
        out.put_i64(-1);
    }
    let topics: Vec<_> = asked.chunk_by(|a, b| a.0 == b.0).collect();
    out.put_array_len(topics.len(), flexible);
    for topic in topics {
        out.put_string(topic[0].0, flexible);
        out.put_array_len(topic.len(), flexible);
        for (_, partition, offset, metadata) in topic {
            out.put_i32(*partition);
            out.put_i64(*offset);
            if version >= 6 {
                out.put_i32(0);
            }
            out.put_nullable_string(*metadata, flexible);
            out.put_no_tags(flexible);
        }
        out.put_no_tags(flexible);
    }
    out.put_no_tags(flexible);
    out
}

/// OffsetFetch, versions 1 to 9, of one group: partitions of one topic, or of all topics.
pub(super) fn fetch_offsets(version: i16, group: &str, asked: Option<(&str, &[i32])>) -> Vec<u8> {
    fetch_offsets_as(version, group, None, asked)
}

/// The same; from version 9 on a member with its epoch may ask.
pub(super) fn fetch_offsets_as(
    version: i16,
    group: &str,
    member: Option<(&str, i32)>,
    asked: Option<(&str, &[i32])>,
) -> Vec<u8> {
    let flexible = ApiKey::OffsetFetch.is_flexible(version);
    let mut out = Vec::new();
    if version >= 8 {
        out.put_array_len(1, flexible);
    }
    out.put_string(group, flexible);
    if version >= 9 {
        out.put_nullable_string(member.map(|(id, _)| id), flexible);
        out.put_i32(member.map_or(-1, |(_, epoch)| epoch));
    }
    match asked {
        None if flexible => out.put_uvarint(0),
        None => out.put_i32(-1),
        Some((topic, partitions)) => {
            out.put_array_len(1, flexible);
            out.put_string(topic, flexible);
            out.put_array_len(partitions.len(), flexible);
            partitions.iter().for_each(|p| out.put_i32(*p));
            out.put_no_tags(flexible);
        }
    }
    if version >= 8 {
        out.put_no_tags(flexible);
    }
    if version >= 7 {
        out.put_u8(0);
    }
    out.put_no_tags(flexible);
    out
}

/// OffsetDelete of one partition.
pub(super) fn delete_offset(group: &str, topic: &str, partition: i32) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_string(group, false);
    out.put_array_len(1, false);
    out.put_string(topic, false);
    out.put_array_len(1, false);
    out.put_i32(partition);
    out
}

/// DescribeGroups, versions 0 to 6, without operations.
pub(super) fn describe(version: i16, groups: &[&str]) -> Vec<u8> {
    let flexible = ApiKey::DescribeGroups.is_flexible(version);
    let mut out = Vec::new();
    out.put_array_len(groups.len(), flexible);
    groups.iter().for_each(|group| out.put_string(group, flexible));
    if version >= 3 {
        out.put_u8(0);
    }
    out.put_no_tags(flexible);
    out
}

/// ListGroups, versions 0 to 5; earlier ones have no filters.
pub(super) fn list(version: i16, states: &[&str], types: &[&str]) -> Vec<u8> {
    let flexible = ApiKey::ListGroups.is_flexible(version);
    let mut out = Vec::new();
    for (from, words) in [(4, states), (5, types)] {
        if version >= from {
            out.put_array_len(words.len(), flexible);
            words.iter().for_each(|word| out.put_string(word, flexible));
        }
    }
    out.put_no_tags(flexible);
    out
}

/// DeleteGroups, versions 0 to 2.
pub(super) fn delete(version: i16, groups: &[&str]) -> Vec<u8> {
    let flexible = ApiKey::DeleteGroups.is_flexible(version);
    let mut out = Vec::new();
    out.put_array_len(groups.len(), flexible);
    groups.iter().for_each(|group| out.put_string(group, flexible));
    out.put_no_tags(flexible);
    out
}
