//! Request bodies and frames, written byte by byte.

use kafka_wire::ApiKey;
use kafka_wire::encode::{BufMut, Encode};

/// A frame around a body; key and version may be ones that do not exist. `flexible` says whether the header has tagged fields.
pub(super) fn frame(key: i16, version: i16, flexible: bool, correlation_id: i32, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len() + 32);
    out.put_i32(0);
    out.put_i16(key);
    out.put_i16(version);
    out.put_i32(correlation_id);
    out.put_string("assay", false);
    out.put_no_tags(flexible);
    out.put_slice(body);
    let length = (out.len() - 4) as u32;
    out[..4].copy_from_slice(&length.to_be_bytes());
    out
}

/// What is asked of one partition of Produce.
#[derive(Clone)]
pub(super) struct ToProduce<'a> {
    pub topic: &'a str,
    pub partition: i32,
    pub records: &'a [u8],
}

/// Produce, versions 3 to 12, without a transaction.
pub(super) fn produce(version: i16, acks: i16, timeout_ms: i32, asked: &[ToProduce]) -> Vec<u8> {
    let flexible = ApiKey::Produce.is_flexible(version);
    let mut out = Vec::new();
    out.put_nullable_string(None, flexible);
    out.put_i16(acks);
    out.put_i32(timeout_ms);
    let topics: Vec<&[ToProduce]> = asked.chunk_by(|a, b| a.topic == b.topic).collect();
    out.put_array_len(topics.len(), flexible);
    for topic in topics {
        out.put_string(topic[0].topic, flexible);
        out.put_array_len(topic.len(), flexible);
        for partition in topic {
            out.put_i32(partition.partition);
            if flexible {
                out.put_uvarint(partition.records.len() as u32 + 1);
            } else {
                out.put_i32(partition.records.len() as i32);
            }
            out.put_slice(partition.records);
            out.put_no_tags(flexible);
        }
        out.put_no_tags(flexible);
    }
    out.put_no_tags(flexible);
    out
}

/// What is asked of one partition of Fetch.
#[derive(Clone, Copy)]
pub(super) struct ToFetch<'a> {
    pub topic: &'a str,
    pub partition: i32,
    pub offset: i64,
    pub bytes_max: i32,
    pub leader_epoch: i32,
}

/// Everything of a Fetch beside its partitions.
#[derive(Clone, Copy)]
pub(super) struct FetchAsked {
    pub version: i16,
    pub wait_ms_max: i32,
    pub bytes_min: i32,
    pub bytes_max: i32,
    pub isolation: i8,
    pub session_id: i32,
    pub session_epoch: i32,
}

impl Default for FetchAsked {
    fn default() -> Self {
        FetchAsked {
            version: 11,
            wait_ms_max: 0,
            bytes_min: 0,
            bytes_max: 1 << 20,
            isolation: 0,
            session_id: 0,
            session_epoch: -1,
        }
    }
}

/// Fetch, versions 4 to 12.
pub(super) fn fetch(how: FetchAsked, asked: &[ToFetch]) -> Vec<u8> {
    let version = how.version;
    let flexible = ApiKey::Fetch.is_flexible(version);
    let mut out = Vec::new();
    out.put_i32(-1); // a consumer
    out.put_i32(how.wait_ms_max);
    out.put_i32(how.bytes_min);
    out.put_i32(how.bytes_max);
    out.put_i8(how.isolation);
    if version >= 7 {
        out.put_i32(how.session_id);
        out.put_i32(how.session_epoch);
    }
    let topics: Vec<&[ToFetch]> = asked.chunk_by(|a, b| a.topic == b.topic).collect();
    out.put_array_len(topics.len(), flexible);
    for topic in topics {
        out.put_string(topic[0].topic, flexible);
        out.put_array_len(topic.len(), flexible);
        for p in topic {
            out.put_i32(p.partition);
            if version >= 9 {
                out.put_i32(p.leader_epoch);
            }
            out.put_i64(p.offset);
            if version >= 12 {
                out.put_i32(-1); // last fetched epoch
            }
            if version >= 5 {
                out.put_i64(-1); // log start offset, of followers
            }
            out.put_i32(p.bytes_max);
            out.put_no_tags(flexible);
        }
        out.put_no_tags(flexible);
    }
    if version >= 7 {
        out.put_array_len(0, flexible); // forgotten topics
    }
    if version >= 11 {
        out.put_string("", flexible); // rack
    }
    out.put_no_tags(flexible);
    out
}

/// ListOffsets, versions 1 to 10: topic, partition, timestamp.
pub(super) fn list_offsets(version: i16, asked: &[(&str, i32, i64)]) -> Vec<u8> {
    let flexible = ApiKey::ListOffsets.is_flexible(version);
    let mut out = Vec::new();
    out.put_i32(-1);
    if version >= 2 {
        out.put_i8(0);
    }
    let topics: Vec<&[(&str, i32, i64)]> = asked.chunk_by(|a, b| a.0 == b.0).collect();
    out.put_array_len(topics.len(), flexible);
    for topic in topics {
        out.put_string(topic[0].0, flexible);
        out.put_array_len(topic.len(), flexible);
        for (_, partition, timestamp) in topic {
            out.put_i32(*partition);
            if version >= 4 {
                out.put_i32(-1);
            }
            out.put_i64(*timestamp);
            out.put_no_tags(flexible);
        }
        out.put_no_tags(flexible);
    }
    if version >= 10 {
        out.put_i32(1000);
    }
    out.put_no_tags(flexible);
    out
}

/// Metadata, versions 0 to 12; `None` asks for all topics, which version 0 can't say.
pub(super) fn metadata(version: i16, topics: Option<&[&str]>, may_create: bool) -> Vec<u8> {
    let flexible = ApiKey::Metadata.is_flexible(version);
    let mut out = Vec::new();
    match topics {
        None if flexible => out.put_uvarint(0),
        None => out.put_i32(-1),
        Some(topics) => {
            out.put_array_len(topics.len(), flexible);
            for topic in topics {
                if version >= 10 {
                    out.put_slice(&[0; 16]);
                }
                out.put_string(topic, flexible);
                out.put_no_tags(flexible);
            }
        }
    }
    put_metadata_flags(&mut out, version, may_create);
    out
}

/// Metadata of one topic id, version 12.
pub(super) fn metadata_by_id(id: u128) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_array_len(1, true);
    out.put_u128(id);
    out.put_nullable_string(None, true);
    out.put_no_tags(true);
    put_metadata_flags(&mut out, 12, false);
    out
}

fn put_metadata_flags(out: &mut Vec<u8>, version: i16, may_create: bool) {
    if version >= 4 {
        out.put_u8(u8::from(may_create));
    }
    if (8..=10).contains(&version) {
        out.put_u8(0);
    }
    if version >= 8 {
        out.put_u8(0);
    }
    out.put_no_tags(ApiKey::Metadata.is_flexible(version));
}

/// A topic of CreateTopics.
#[derive(Clone, Copy)]
pub(super) struct ToCreate<'a> {
    pub name: &'a str,
    pub partitions: i32,
    pub replicas: i16,
    /// Partition and its replicas.
    pub assignments: &'a [(i32, &'a [i32])],
    pub configs: &'a [(&'a str, Option<&'a str>)],
}

impl<'a> ToCreate<'a> {
    pub(super) fn new(name: &'a str, partitions: i32, replicas: i16) -> Self {
        ToCreate {
            name,
            partitions,
            replicas,
            assignments: &[],
            configs: &[],
        }
    }
}

/// CreateTopics, versions 2 to 7.
pub(super) fn create_topics(version: i16, validate_only: bool, topics: &[ToCreate]) -> Vec<u8> {
    let flexible = ApiKey::CreateTopics.is_flexible(version);
    let mut out = Vec::new();
    out.put_array_len(topics.len(), flexible);
    for topic in topics {
        out.put_string(topic.name, flexible);
        out.put_i32(topic.partitions);
        out.put_i16(topic.replicas);
        out.put_array_len(topic.assignments.len(), flexible);
        for (partition, replicas) in topic.assignments {
            out.put_i32(*partition);
            out.put_array_len(replicas.len(), flexible);
            replicas.iter().for_each(|id| out.put_i32(*id));
            out.put_no_tags(flexible);
        }
        out.put_array_len(topic.configs.len(), flexible);
        for (name, value) in topic.configs {
            out.put_string(name, flexible);
            out.put_nullable_string(*value, flexible);
            out.put_no_tags(flexible);
        }
        out.put_no_tags(flexible);
    }
    out.put_i32(30_000);
    out.put_u8(u8::from(validate_only));
    out.put_no_tags(flexible);
    out
}

/// CreatePartitions, version 3, without assignments: topic and count.
pub(super) fn create_partitions(validate_only: bool, topics: &[(&str, i32)]) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_array_len(topics.len(), true);
    for (name, count) in topics {
        out.put_string(name, true);
        out.put_i32(*count);
        out.put_uvarint(0);
        out.put_no_tags(true);
    }
    out.put_i32(30_000);
    out.put_u8(u8::from(validate_only));
    out.put_no_tags(true);
    out
}

/// DeleteTopics by name, versions 1 to 5.
pub(super) fn delete_topics(version: i16, names: &[&str]) -> Vec<u8> {
    let flexible = ApiKey::DeleteTopics.is_flexible(version);
    let mut out = Vec::new();
    out.put_array_len(names.len(), flexible);
    names.iter().for_each(|name| out.put_string(name, flexible));
    out.put_i32(30_000);
    out.put_no_tags(flexible);
    out
}

/// DeleteTopics of one topic id, version 6.
pub(super) fn delete_topic_by_id(id: u128) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_array_len(1, true);
    out.put_nullable_string(None, true);
    out.put_u128(id);
    out.put_no_tags(true);
    out.put_i32(30_000);
    out.put_no_tags(true);
    out
}

/// DeleteRecords, version 2, in one topic: partition and offset.
pub(super) fn delete_records(topic: &str, partitions: &[(i32, i64)]) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_array_len(1, true);
    out.put_string(topic, true);
    out.put_array_len(partitions.len(), true);
    for (partition, offset) in partitions {
        out.put_i32(*partition);
        out.put_i64(*offset);
        out.put_no_tags(true);
    }
    out.put_no_tags(true);
    out.put_i32(30_000);
    out.put_no_tags(true);
    out
}

/// OffsetForLeaderEpoch, version 3: partition, current epoch, epoch.
pub(super) fn offset_for_leader_epoch(topic: &str, partitions: &[(i32, i32, i32)]) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_i32(-1);
    out.put_array_len(1, false);
    out.put_string(topic, false);
    out.put_array_len(partitions.len(), false);
    for (partition, current, asked) in partitions {
        out.put_i32(*partition);
        out.put_i32(*current);
        out.put_i32(*asked);
    }
    out
}

/// DescribeConfigs, version 3, of one resource.
pub(super) fn describe_configs(kind: i8, name: &str, keys: Option<&[&str]>) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_array_len(1, false);
    out.put_i8(kind);
    out.put_string(name, false);
    match keys {
        None => out.put_i32(-1),
        Some(keys) => {
            out.put_array_len(keys.len(), false);
            keys.iter().for_each(|key| out.put_string(key, false));
        }
    }
    out.put_u8(0); // synonyms
    out.put_u8(0); // documentation
    out
}

/// InitProducerId, versions 0 to 4, of a client that has no id yet.
pub(super) fn init_producer_id(version: i16, transactional_id: Option<&str>) -> Vec<u8> {
    init_producer_id_again(version, transactional_id, -1, -1)
}

/// InitProducerId, versions 0 to 4; from version 3 on with the id and the epoch that the client has.
pub(super) fn init_producer_id_again(version: i16, transactional_id: Option<&str>, id: i64, epoch: i16) -> Vec<u8> {
    let flexible = ApiKey::InitProducerId.is_flexible(version);
    let mut out = Vec::new();
    out.put_nullable_string(transactional_id, flexible);
    out.put_i32(60_000);
    if version >= 3 {
        out.put_i64(id);
        out.put_i16(epoch);
    }
    out.put_no_tags(flexible);
    out
}

/// FindCoordinator, versions 1 to 3 and 4.
pub(super) fn find_coordinator(version: i16, kind: i8, key: &str) -> Vec<u8> {
    let flexible = ApiKey::FindCoordinator.is_flexible(version);
    let mut out = Vec::new();
    if version < 4 {
        out.put_string(key, flexible);
    }
    out.put_i8(kind);
    if version >= 4 {
        out.put_array_len(1, flexible);
        out.put_string(key, flexible);
    }
    out.put_no_tags(flexible);
    out
}

/// ApiVersions, version 3.
pub(super) fn api_versions(software: &str) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_string(software, true);
    out.put_string("1", true);
    out.put_no_tags(true);
    out
}
