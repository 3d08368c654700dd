//! ConsumerGroupHeartbeat, ConsumerGroupDescribe: groups of KIP-848's protocol.

use std::collections::BTreeSet;
use std::time::Duration;

use kafka_protocol::messages::consumer_group_describe_response::{
    Assignment as DescribedAssignment, DescribedGroup, Member as DescribedMember,
    TopicPartitions as DescribedPartitions,
};
use kafka_protocol::messages::consumer_group_heartbeat_response::{Assignment, TopicPartitions};
use kafka_protocol::messages::{
    ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, ConsumerGroupHeartbeatRequest,
    ConsumerGroupHeartbeatResponse, GroupId, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use kafka_wire::ErrorCode;
use uuid::Uuid;

use super::{Call, text};
use crate::groups::{Beat, JOIN, LEAVE, LEAVE_FOR_NOW, Member, NAME_BYTES_MAX, Places, Refused, places_of, refuse};
use crate::topics::Catalog;

/// The first version of ConsumerGroupHeartbeat whose members make their ids themselves (KIP-1082).
const OWN_ID: i16 = 1;
/// The first version of ConsumerGroupDescribe that tells the protocol of each member, and its number for KIP-848's.
const MEMBER_TYPE: i16 = 1;
const CONSUMER_MEMBER: i8 = 1;

pub(super) fn heartbeat(call: &Call, request: ConsumerGroupHeartbeatRequest) -> ConsumerGroupHeartbeatResponse {
    let group = request.group_id.to_string();
    let leaves = request.member_epoch < JOIN;
    let beaten = beat(call, request).and_then(|beat| call.broker.groups.beat(&call.broker.topics, &group, beat));
    match beaten {
        Ok((beaten, interval)) => ConsumerGroupHeartbeatResponse::default()
            .with_member_id(Some(text(&beaten.member_id)))
            .with_member_epoch(beaten.epoch)
            .with_heartbeat_interval_ms(if leaves { 0 } else { millis(interval) })
            .with_assignment(beaten.assignment.map(assignment)),
        Err(refused) => ConsumerGroupHeartbeatResponse::default()
            .with_error_code(refused.error.code())
            .with_error_message(Some(text(&refused.message))),
    }
}

fn millis(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}

fn assignment(places: Places) -> Assignment {
    let topic = |(id, partitions): (Uuid, BTreeSet<i32>)| {
        TopicPartitions::default()
            .with_topic_id(id)
            .with_partitions(partitions.into_iter().collect())
    };
    Assignment::default().with_topic_partitions(places.into_iter().map(topic).collect())
}

/// What the request asks for.
///
/// # Errors
/// It makes no sense, in Kafka's words; names beyond [`NAME_BYTES_MAX`], which is a bound of our own.
fn beat(call: &Call, request: ConsumerGroupHeartbeatRequest) -> Result<Beat, Refused> {
    check(call, &request)?;
    let owned = |name: Option<StrBytes>| name.map(|name| name.to_string());
    let member_id = match request.member_id.is_empty() {
        true => Uuid::new_v4().to_string(),
        false => request.member_id.to_string(),
    };
    let timeout = u64::try_from(request.rebalance_timeout_ms)
        .ok()
        .map(Duration::from_millis);
    let topics = request.subscribed_topic_names;
    let mut held = Places::new();
    for topic in request.topic_partitions.iter().flatten() {
        held.entry(topic.topic_id).or_default().extend(&topic.partitions);
    }
    Ok(Beat {
        member_id,
        epoch: request.member_epoch,
        instance: owned(request.instance_id),
        rack: owned(request.rack_id),
        rebalance_timeout: timeout,
        topics: topics.map(|names| names.iter().map(|name| name.to_string()).collect()),
        pattern: owned(request.subscribed_topic_regex),
        assignor: owned(request.server_assignor),
        owned: request.topic_partitions.is_some().then_some(held),
        client_id: call.client_id.to_owned(),
        client_host: call.host.to_owned(),
    })
}

fn check(call: &Call, request: &ConsumerGroupHeartbeatRequest) -> Result<(), Refused> {
    let invalid = |message: &str| refuse(ErrorCode::InvalidRequest, message);
    let epoch = request.member_epoch;
    let is_empty = |name: &Option<StrBytes>| name.as_ref().is_some_and(|name| name.trim().is_empty());
    let has_id = call.version >= OWN_ID || epoch > JOIN || epoch == LEAVE;
    if has_id && request.member_id.trim().is_empty() {
        return invalid("MemberId can't be empty.");
    }
    if request.group_id.trim().is_empty() {
        return invalid("GroupId can't be empty.");
    }
    if is_empty(&request.instance_id) {
        return invalid("InstanceId can't be empty.");
    }
    if is_empty(&request.rack_id) {
        return invalid("RackId can't be empty.");
    }
    if epoch == JOIN {
        if request.rebalance_timeout_ms == -1 {
            return invalid("RebalanceTimeoutMs must be provided in first request.");
        }
        if request.topic_partitions.as_ref().is_none_or(|owned| !owned.is_empty()) {
            return invalid("TopicPartitions must be empty when (re-)joining.");
        }
        if request.subscribed_topic_names.is_none() && request.subscribed_topic_regex.is_none() {
            let message = "Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when (re-)joining.";
            return invalid(message);
        }
    } else if epoch == LEAVE_FOR_NOW && request.instance_id.is_none() {
        return invalid("InstanceId can't be null.");
    } else if epoch < LEAVE_FOR_NOW {
        return invalid("MemberEpoch is invalid.");
    }
    let optional = [
        &request.instance_id,
        &request.rack_id,
        &request.subscribed_topic_regex,
        &request.server_assignor,
    ];
    let names = optional.into_iter().flatten().map(|name| name.len());
    let ids = [request.group_id.len(), request.member_id.len(), call.client_id.len()];
    if names.chain(ids).any(|length| length > NAME_BYTES_MAX) {
        return invalid("A name is too long.");
    }
    let Some(assignor) = &request.server_assignor else {
        return Ok(());
    };
    let supported = call.broker.config.text("group.consumer.assignors");
    if supported.split(',').any(|name| name.trim() == assignor.as_str()) {
        return Ok(());
    }
    let supported = supported.replace(',', ", ");
    let message = format!("ServerAssignor {assignor} is not supported. Supported assignors: {supported}.");
    refuse(ErrorCode::UnsupportedAssignor, message)
}

pub(super) fn describe(call: &Call, request: ConsumerGroupDescribeRequest) -> ConsumerGroupDescribeResponse {
    let catalog = call.broker.topics.catalog();
    let one = |name: &GroupId| {
        let answer = DescribedGroup::default().with_group_id(name.clone());
        if name.is_empty() {
            return answer.with_error_code(ErrorCode::InvalidGroupId.code());
        }
        match call.broker.groups.describe_consumer(&call.broker.topics, name) {
            Ok(group) => {
                let member = |(id, member): &(String, Member)| describe_member(call, &catalog, id, member);
                answer
                    .with_group_state(text(group.state))
                    .with_group_epoch(group.epoch)
                    .with_assignment_epoch(group.target_epoch)
                    .with_assignor_name(text(group.assignor))
                    .with_members(group.members.iter().map(member).collect())
            }
            Err(is_classic) => {
                let what = if is_classic {
                    "is not a consumer group"
                } else {
                    "not found"
                };
                answer
                    .with_error_code(ErrorCode::GroupIdNotFound.code())
                    .with_error_message(Some(text(&format!("Group {} {what}.", name.as_str()))))
            }
        }
    };
    // Each group once, so that a short request can't ask for the same long answer many times.
    let mut seen = BTreeSet::new();
    let distinct = request.group_ids.iter().filter(|name| seen.insert(*name));
    ConsumerGroupDescribeResponse::default().with_groups(distinct.map(one).collect())
}

fn describe_member(call: &Call, catalog: &Catalog, id: &str, member: &Member) -> DescribedMember {
    // Topics that are gone have no name to tell.
    let told = |places: &Places| {
        let topic = |(id, partitions): (&Uuid, &BTreeSet<i32>)| {
            let told = DescribedPartitions::default()
                .with_topic_id(*id)
                .with_topic_name(TopicName(text(catalog.name(*id)?)));
            Some(told.with_partitions(partitions.iter().copied().collect()))
        };
        DescribedAssignment::default().with_topic_partitions(places.iter().filter_map(topic).collect())
    };
    let topics = member.topics.iter().map(|name| TopicName(text(name)));
    let kind = if call.version >= MEMBER_TYPE {
        CONSUMER_MEMBER
    } else {
        -1
    };
    DescribedMember::default()
        .with_member_id(text(id))
        .with_instance_id(member.instance.as_deref().map(text))
        .with_rack_id(member.rack.as_deref().map(text))
        .with_member_epoch(member.epoch)
        .with_client_id(text(&member.client_id))
        .with_client_host(text(&member.client_host))
        .with_subscribed_topic_names(topics.collect())
        .with_subscribed_topic_regex(Some(text(&member.pattern)))
        .with_assignment(told(&places_of(&member.owned)))
        .with_target_assignment(told(&member.target))
        .with_member_type(kind)
}
