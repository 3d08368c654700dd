//! OffsetCommit, OffsetFetch, OffsetDelete: what groups have consumed.

use std::collections::BTreeSet;

use kafka_protocol::messages::offset_commit_request::OffsetCommitRequestPartition;
use kafka_protocol::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use kafka_protocol::messages::offset_delete_response::{OffsetDeleteResponsePartition, OffsetDeleteResponseTopic};
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions, OffsetFetchResponseTopic,
    OffsetFetchResponseTopics,
};
use kafka_protocol::messages::{
    OffsetCommitRequest, OffsetCommitResponse, OffsetDeleteRequest, OffsetDeleteResponse, OffsetFetchRequest,
    OffsetFetchResponse, TopicName,
};
use kafka_wire::ErrorCode;

use super::{Call, text};
use crate::groups::{Committed, Committer, NAME_BYTES_MAX};
use crate::planted::PlantedBug;

/// The first version of OffsetCommit that tells a group which is not there from an old generation.
const UNKNOWN_GROUP: i16 = 9;
/// The first version of OffsetCommit with the epoch of a member of KIP-848's protocol.
const MEMBER_EPOCH: i16 = 9;
/// The first version of OffsetFetch for several groups.
const SEVERAL_GROUPS: i16 = 8;
/// The first version of OffsetFetch with an error of its own.
const OWN_ERROR: i16 = 2;

pub(super) fn offset_commit(call: &Call, request: OffsetCommitRequest) -> OffsetCommitResponse {
    let longest = call.broker.config.size("offset.metadata.max.bytes");
    let now_ms = crate::groups::now_ms();
    let committed = |p: &OffsetCommitRequestPartition| Committed {
        offset: p.committed_offset,
        leader_epoch: p.committed_leader_epoch,
        metadata: p.committed_metadata.as_deref().unwrap_or_default().to_owned(),
        at_ms: now_ms,
        expires_ms: (request.retention_time_ms >= 0).then(|| now_ms.saturating_add(request.retention_time_ms)),
    };
    let is_there = |topic: &TopicName, p: &OffsetCommitRequestPartition| {
        call.broker.topics.log(topic, p.partition_index).is_some()
    };
    let is_short = |p: &OffsetCommitRequestPartition| p.committed_metadata.as_deref().map_or(0, str::len) <= longest;
    let mut accepted = Vec::new();
    let mut is_asked = false;
    for topic in &request.topics {
        let there = topic.partitions.iter().filter(|p| is_there(&topic.name, p));
        for p in there {
            is_asked = true;
            if is_short(p) {
                accepted.push((topic.name.to_string(), p.partition_index, committed(p)));
            }
        }
    }
    // Nobody is asked about places that do not exist.
    let outcome = match is_asked {
        true => commit(call, &request, accepted),
        false => Ok(()),
    };
    let partition = |topic: &TopicName, p: &OffsetCommitRequestPartition| {
        let error = match (&outcome, is_there(topic, p)) {
            (_, false) => ErrorCode::UnknownTopicOrPartition,
            (Err(error), true) => *error,
            (Ok(()), true) if is_short(p) => ErrorCode::None,
            (Ok(()), true) => ErrorCode::OffsetMetadataTooLarge,
        };
        OffsetCommitResponsePartition::default()
            .with_partition_index(p.partition_index)
            .with_error_code(error.code())
    };
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|p| partition(&topic.name, p)).collect();
        OffsetCommitResponseTopic::default()
            .with_name(topic.name.clone())
            .with_partitions(partitions)
    });
    OffsetCommitResponse::default().with_topics(topics.collect())
}

fn commit(
    call: &Call,
    request: &OffsetCommitRequest,
    accepted: Vec<(String, i32, Committed)>,
) -> Result<(), ErrorCode> {
    if request.group_id.len() > NAME_BYTES_MAX {
        return Err(ErrorCode::InvalidGroupId);
    }
    let by = Committer {
        member_id: &request.member_id,
        instance: request.group_instance_id.as_deref(),
        generation: request.generation_id_or_member_epoch,
        knows_epochs: call.version >= MEMBER_EPOCH,
        is_fenced: call.broker.planted != Some(PlantedBug::ForgetToFenceGeneration),
    };
    let committed = call
        .broker
        .groups
        .commit(&call.broker.topics, &request.group_id, by, accepted);
    committed.map_err(|error| match error {
        ErrorCode::GroupIdNotFound if call.version < UNKNOWN_GROUP => ErrorCode::IllegalGeneration,
        error => error,
    })
}

/// What is said of one topic: partitions with what was committed for them.
type Found = Vec<(TopicName, Vec<(i32, Option<Committed>)>)>;

/// What a group committed for the places that are asked for, or for all; `member` is who asks, with its epoch, if it says so.
fn find(
    call: &Call,
    group: &str,
    member: Option<(&str, i32)>,
    asked: Option<Vec<(TopicName, Vec<i32>)>>,
) -> (ErrorCode, Found) {
    let groups = &call.broker.groups;
    let Some(asked) = asked else {
        let all = groups.committed(&call.broker.topics, group, member, |offsets| {
            let topic = |(topic, partitions): (&str, &std::collections::BTreeMap<i32, Committed>)| {
                let partitions = partitions.iter().map(|(p, committed)| (*p, Some(committed.clone())));
                (TopicName(text(topic)), partitions.collect())
            };
            offsets.topics().map(topic).collect::<Found>()
        });
        return match all {
            Ok(found) => (ErrorCode::None, found.unwrap_or_default()),
            Err(error) => (error, Vec::new()),
        };
    };
    let found = groups.committed(&call.broker.topics, group, member, |offsets| {
        let one = |(topic, partitions): &(TopicName, Vec<i32>)| {
            let partitions = partitions.iter().map(|p| (*p, offsets.get(topic, *p).cloned()));
            (topic.clone(), partitions.collect())
        };
        asked.iter().map(one).collect::<Found>()
    });
    let nothing = |asked: &[(TopicName, Vec<i32>)]| {
        let one = |(topic, partitions): &(TopicName, Vec<i32>)| {
            (topic.clone(), partitions.iter().map(|p| (*p, None)).collect())
        };
        asked.iter().map(one).collect()
    };
    match found {
        Ok(found) => (ErrorCode::None, found.unwrap_or_else(|| nothing(&asked))),
        Err(error) => (error, nothing(&asked)),
    }
}

pub(super) fn offset_fetch(call: &Call, request: OffsetFetchRequest) -> OffsetFetchResponse {
    if call.version >= SEVERAL_GROUPS {
        return fetch_several(call, request);
    }
    let asked = request.topics.map(|topics| {
        let one = topics.into_iter().map(|t| (t.name, t.partition_indexes));
        one.collect()
    });
    let (error, found) = find(call, &request.group_id, None, asked);
    let own_error = if call.version >= OWN_ERROR {
        error
    } else {
        ErrorCode::None
    };
    let partition = |(index, committed): (i32, Option<Committed>)| {
        let (offset, epoch, metadata) = parts(committed);
        OffsetFetchResponsePartition::default()
            .with_partition_index(index)
            .with_committed_offset(offset)
            .with_committed_leader_epoch(epoch)
            .with_metadata(Some(text(&metadata)))
            .with_error_code(error.code())
    };
    let topics = found.into_iter().map(|(name, partitions)| {
        OffsetFetchResponseTopic::default()
            .with_name(name)
            .with_partitions(partitions.into_iter().map(partition).collect())
    });
    OffsetFetchResponse::default()
        .with_error_code(own_error.code())
        .with_topics(topics.collect())
}

fn fetch_several(call: &Call, request: OffsetFetchRequest) -> OffsetFetchResponse {
    // Each group once, so that a short request can't ask for the same long answer many times.
    let mut seen = BTreeSet::new();
    let groups = request.groups.into_iter().filter(|g| seen.insert(g.group_id.clone()));
    let partition = |(index, committed): (i32, Option<Committed>)| {
        let (offset, epoch, metadata) = parts(committed);
        OffsetFetchResponsePartitions::default()
            .with_partition_index(index)
            .with_committed_offset(offset)
            .with_committed_leader_epoch(epoch)
            .with_metadata(Some(text(&metadata)))
    };
    let answers = groups.map(|group| {
        let asked = group.topics.map(|topics| {
            let one = topics.into_iter().map(|t| (t.name, t.partition_indexes));
            one.collect()
        });
        let says_who = group.member_id.is_some() || group.member_epoch >= 0;
        let member = says_who.then(|| (group.member_id.as_deref().unwrap_or_default(), group.member_epoch));
        let (error, found) = find(call, &group.group_id, member, asked);
        // An error is of the whole group.
        let found = if error == ErrorCode::None { found } else { Vec::new() };
        let topics = found.into_iter().map(|(name, partitions)| {
            OffsetFetchResponseTopics::default()
                .with_name(name)
                .with_partitions(partitions.into_iter().map(partition).collect())
        });
        OffsetFetchResponseGroup::default()
            .with_group_id(group.group_id)
            .with_error_code(error.code())
            .with_topics(topics.collect())
    });
    OffsetFetchResponse::default().with_groups(answers.collect())
}

/// Offset, epoch and metadata; Kafka's marks for nothing when there is none.
fn parts(committed: Option<Committed>) -> (i64, i32, String) {
    committed.map_or((-1, -1, String::new()), |c| (c.offset, c.leader_epoch, c.metadata))
}

pub(super) fn offset_delete(call: &Call, request: OffsetDeleteRequest) -> OffsetDeleteResponse {
    let refused = |error: ErrorCode| OffsetDeleteResponse::default().with_error_code(error.code());
    if request.group_id.is_empty() {
        return refused(ErrorCode::InvalidGroupId);
    }
    let places = request.topics.iter().flat_map(|topic| {
        let partitions = topic.partitions.iter();
        partitions.map(|p| (topic.name.to_string(), p.partition_index))
    });
    let places: Vec<(String, i32)> = places.collect();
    let is_there = |(topic, partition): &(String, i32)| call.broker.topics.log(topic, *partition).is_some();
    let there: Vec<(String, i32)> = places.iter().filter(|place| is_there(place)).cloned().collect();
    let deleted = match there.is_empty() {
        true => Ok(Vec::new()),
        false => call
            .broker
            .groups
            .delete_offsets(&call.broker.topics, &request.group_id, &there),
    };
    let errors = match deleted {
        Ok(errors) => errors,
        Err(error) => return refused(error),
    };
    let mut errors = errors.into_iter();
    let mut error_of = |place: &(String, i32)| match is_there(place) {
        true => errors.next().unwrap_or(ErrorCode::UnknownTopicOrPartition),
        false => ErrorCode::UnknownTopicOrPartition,
    };
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for p in &topic.partitions {
            let error = error_of(&(topic.name.to_string(), p.partition_index));
            let answer = OffsetDeleteResponsePartition::default().with_partition_index(p.partition_index);
            partitions.push(answer.with_error_code(error.code()));
        }
        let answer = OffsetDeleteResponseTopic::default().with_name(topic.name.clone());
        topics.push(answer.with_partitions(partitions));
    }
    OffsetDeleteResponse::default().with_topics(topics)
}
