//! ListOffsets, OffsetForLeaderEpoch, InitProducerId.

use std::collections::{BTreeMap, BTreeSet};

use kafka_protocol::messages::list_offsets_request::ListOffsetsPartition;
use kafka_protocol::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use kafka_protocol::messages::offset_for_leader_epoch_request::OffsetForLeaderPartition;
use kafka_protocol::messages::offset_for_leader_epoch_response::{EpochEndOffset, OffsetForLeaderTopicResult};
use kafka_protocol::messages::{
    InitProducerIdRequest, InitProducerIdResponse, ListOffsetsRequest, ListOffsetsResponse,
    OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse, ProducerId, TopicName,
};
use kafka_wire::ErrorCode;

use super::Call;
use crate::log::{Log, LogError};

/// Kafka's marks in the place of a timestamp.
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;

/// The first version that knows a mark; a time has no mark and is known to all.
fn known_from(timestamp: i64) -> Option<i16> {
    match timestamp {
        0.. | LATEST | EARLIEST => Some(1),
        MAX_TIMESTAMP => Some(7),
        EARLIEST_LOCAL => Some(8),
        LATEST_TIERED => Some(9),
        _ => None,
    }
}

pub(super) fn list_offsets(call: &Call, request: ListOffsetsRequest) -> ListOffsetsResponse {
    let mut times: BTreeMap<(&TopicName, i32), usize> = BTreeMap::new();
    for topic in &request.topics {
        for p in &topic.partitions {
            *times.entry((&topic.name, p.partition_index)).or_default() += 1;
        }
    }
    // Each partition once, as Kafka answers.
    let mut answered = BTreeSet::new();
    let one = |topic: &TopicName, p: &ListOffsetsPartition| {
        let answer = ListOffsetsPartitionResponse::default().with_partition_index(p.partition_index);
        // The default's offset, timestamp and epoch are -1.
        let refused = |error: ErrorCode| answer.clone().with_error_code(error.code());
        if times.get(&(topic, p.partition_index)).is_some_and(|n| *n > 1) {
            return refused(ErrorCode::InvalidRequest);
        }
        if known_from(p.timestamp).is_none_or(|version| call.version < version) {
            return refused(ErrorCode::UnsupportedVersion);
        }
        let Some(log) = call.broker.topics.log(topic, p.partition_index) else {
            return refused(ErrorCode::UnknownTopicOrPartition);
        };
        if p.current_leader_epoch > log.leader_epoch() {
            return refused(ErrorCode::UnknownLeaderEpoch);
        }
        match find(log.as_ref(), p.timestamp) {
            Ok(Some((offset, timestamp))) => {
                // The field came with version 4.
                let epoch = if call.version >= 4 { log.leader_epoch() } else { -1 };
                answer
                    .with_offset(offset)
                    .with_timestamp(timestamp)
                    .with_leader_epoch(epoch)
            }
            Ok(None) => answer,
            Err(error) => {
                tracing::error!(%error, "ListOffsets failed");
                refused(ErrorCode::KafkaStorageError)
            }
        }
    };
    let topics = request
        .topics
        .iter()
        .map(|t| {
            let fresh = |p: &&ListOffsetsPartition| answered.insert((&t.name, p.partition_index));
            let partitions = t.partitions.iter().filter(fresh).map(|p| one(&t.name, p)).collect();
            ListOffsetsTopicResponse::default()
                .with_name(t.name.clone())
                .with_partitions(partitions)
        })
        .collect();
    ListOffsetsResponse::default().with_topics(topics)
}

/// Offset and timestamp; the marks for both ends have no timestamp.
fn find(log: &dyn Log, timestamp: i64) -> Result<Option<(i64, i64)>, LogError> {
    match timestamp {
        LATEST => Ok(Some((log.bounds().high_watermark(), -1))),
        EARLIEST | EARLIEST_LOCAL => Ok(Some((log.bounds().start(), -1))),
        MAX_TIMESTAMP => log.max_time(),
        // Nothing is ever moved to another store.
        LATEST_TIERED => Ok(None),
        t => log.find_time(t),
    }
}

pub(super) fn offset_for_leader_epoch(
    call: &Call,
    request: OffsetForLeaderEpochRequest,
) -> OffsetForLeaderEpochResponse {
    let one = |topic: &TopicName, p: &OffsetForLeaderPartition| {
        let answer = EpochEndOffset::default()
            .with_partition(p.partition)
            .with_leader_epoch(-1)
            .with_end_offset(-1);
        let Some(log) = call.broker.topics.log(topic, p.partition) else {
            return answer.with_error_code(ErrorCode::UnknownTopicOrPartition.code());
        };
        let epoch = log.leader_epoch();
        if p.current_leader_epoch > epoch {
            return answer.with_error_code(ErrorCode::UnknownLeaderEpoch.code());
        }
        // There is one epoch; a later one is not known, an earlier one ended where the log begins.
        match p.leader_epoch {
            ..0 => answer,
            asked if asked == epoch => answer
                .with_leader_epoch(epoch)
                .with_end_offset(log.bounds().high_watermark()),
            asked if asked < epoch => answer.with_leader_epoch(asked).with_end_offset(log.bounds().start()),
            _ => answer,
        }
    };
    let topics = request
        .topics
        .iter()
        .map(|t| {
            let partitions = t.partitions.iter().map(|p| one(&t.topic, p)).collect();
            OffsetForLeaderTopicResult::default()
                .with_topic(t.topic.clone())
                .with_partitions(partitions)
        })
        .collect();
    OffsetForLeaderEpochResponse::default().with_topics(topics)
}

/// A producer id for idempotent producers; a transactional one is refused, as there are no transactions. Who has an id already gets another one with epoch
/// 0, as from Kafka: epochs are raised for transactional ids only.
pub(super) fn init_producer_id(call: &Call, request: InitProducerIdRequest) -> InitProducerIdResponse {
    let refused = |error: ErrorCode| {
        InitProducerIdResponse::default()
            .with_error_code(error.code())
            .with_producer_id(ProducerId(-1))
            .with_producer_epoch(-1)
    };
    match &request.transactional_id {
        None => {}
        Some(id) if id.is_empty() => return refused(ErrorCode::InvalidRequest),
        Some(_) => return refused(ErrorCode::TransactionalIdAuthorizationFailed),
    }
    if (request.producer_id.0 == -1) != (request.producer_epoch == -1) {
        return refused(ErrorCode::InvalidRequest);
    }
    match call.broker.next_producer_id() {
        Ok(id) => InitProducerIdResponse::default()
            .with_producer_id(ProducerId(id))
            .with_producer_epoch(0),
        Err(error) => {
            tracing::error!(%error, "no producer id");
            refused(ErrorCode::KafkaStorageError)
        }
    }
}
