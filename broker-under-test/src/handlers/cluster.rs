//! ApiVersions, Metadata, DescribeCluster.

use std::collections::BTreeSet;
use std::sync::Arc;

use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::describe_cluster_response::DescribeClusterBroker;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{
    ApiVersionsRequest, ApiVersionsResponse, DescribeClusterRequest, DescribeClusterResponse, MetadataRequest,
    MetadataResponse, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use kafka_wire::api::VERSIONS;
use kafka_wire::{ApiKey, ErrorCode};
use uuid::Uuid;

use super::{Call, Outcome, advertised_host, node_id, text};
use crate::broker::Broker;
use crate::groups;
use crate::topics::{self, Topic};

fn version_table(error: ErrorCode) -> ApiVersionsResponse {
    let row = |r: &kafka_wire::api::ApiVersionRow| {
        ApiVersion::default()
            .with_api_key(r.key.code())
            .with_min_version(r.advertised_min)
            .with_max_version(r.max)
    };
    let rows = VERSIONS.iter().map(row).collect();
    ApiVersionsResponse::default()
        .with_error_code(error.code())
        .with_api_keys(rows)
}

pub(super) fn api_versions(call: &Call, request: ApiVersionsRequest) -> ApiVersionsResponse {
    let fits = |name: &StrBytes| is_software_name(name);
    if call.version >= 3 && !(fits(&request.client_software_name) && fits(&request.client_software_version)) {
        return ApiVersionsResponse::default().with_error_code(ErrorCode::InvalidRequest.code());
    }
    version_table(ErrorCode::None)
}

/// KIP-511: letters, digits, `-` and `.`, of which neither the first nor the last is one of the two marks.
fn is_software_name(name: &str) -> bool {
    let is_mark = |c: char| matches!(c, '-' | '.');
    let legal = |c: char| c.is_ascii_alphanumeric() || is_mark(c);
    !name.is_empty() && name.chars().all(legal) && !name.starts_with(is_mark) && !name.ends_with(is_mark)
}

pub(super) fn api_versions_unsupported(broker: &Arc<Broker>, correlation_id: i32) -> Outcome {
    let call = Call {
        broker,
        key: ApiKey::ApiVersions,
        version: 0,
        correlation_id,
        client_id: "",
        host: "",
    };
    call.reply(&version_table(ErrorCode::UnsupportedVersion))
}

pub(super) fn metadata(call: &Call, request: MetadataRequest) -> MetadataResponse {
    let broker = call.broker;
    // Version 0 has no null: there an empty list means all topics.
    let asked = request.topics.filter(|t| call.version > 0 || !t.is_empty());
    let may_create = request.allow_auto_topic_creation && broker.config.bool("auto.create.topics.enable");
    let mut seen = BTreeSet::new();
    let topics = match asked {
        None => broker.topics.all().iter().map(|t| describe(broker, t)).collect(),
        // Each topic once, so that a short request can't ask for the same long answer many times.
        Some(asked) => asked
            .iter()
            .filter(|t| seen.insert((t.name.clone(), t.topic_id)))
            .map(|t| match &t.name {
                // Where there is an id it counts: Java's client sends an empty name along.
                Some(name) if t.topic_id.is_nil() => by_name(broker, name, may_create),
                _ => by_id(broker, call.version, t.topic_id),
            })
            .collect(),
    };
    let brokers = vec![
        MetadataResponseBroker::default()
            .with_node_id(node_id(broker))
            .with_host(advertised_host(broker))
            .with_port(i32::from(broker.port)),
    ];
    MetadataResponse::default()
        .with_brokers(brokers)
        .with_cluster_id(Some(text(&broker.cluster_id)))
        .with_controller_id(node_id(broker))
        .with_topics(topics)
}

fn by_name(broker: &Arc<Broker>, name: &TopicName, may_create: bool) -> MetadataResponseTopic {
    let refused = |error: ErrorCode| {
        MetadataResponseTopic::default()
            .with_error_code(error.code())
            .with_name(Some(name.clone()))
    };
    if let Some(topic) = broker.topics.get(name) {
        return describe(broker, &topic);
    }
    if let Err(refusal) = topics::check_name(name) {
        return refused(refusal.error);
    }
    // The broker's own is not made by asking for it.
    if !may_create || name.as_str() == groups::TOPIC {
        return refused(ErrorCode::UnknownTopicOrPartition);
    }
    match broker.topics.create(name, -1, -1, Default::default()) {
        Ok(topic) => describe(broker, &topic),
        // Another connection was faster.
        Err(refusal) if refusal.error == ErrorCode::TopicAlreadyExists => broker.topics.get(name).map_or_else(
            || refused(ErrorCode::LeaderNotAvailable),
            |topic| describe(broker, &topic),
        ),
        Err(refusal) => refused(refusal.error),
    }
}

/// The first version of Metadata whose topic names may be null.
const NULL_NAMES: i16 = 12;

fn by_id(broker: &Broker, version: i16, topic_id: Uuid) -> MetadataResponseTopic {
    let unknown = || {
        MetadataResponseTopic::default()
            .with_error_code(ErrorCode::UnknownTopicId.code())
            .with_name((version < NULL_NAMES).then(TopicName::default))
            .with_topic_id(topic_id)
    };
    broker
        .topics
        .by_id(topic_id)
        .map_or_else(unknown, |topic| describe(broker, &topic))
}

fn describe(broker: &Broker, topic: &Topic) -> MetadataResponseTopic {
    let partition = |(index, log): (usize, &Arc<dyn crate::log::Log>)| {
        MetadataResponsePartition::default()
            .with_partition_index(index as i32)
            .with_leader_id(node_id(broker))
            .with_leader_epoch(log.leader_epoch())
            .with_replica_nodes(vec![node_id(broker)])
            .with_isr_nodes(vec![node_id(broker)])
    };
    MetadataResponseTopic::default()
        .with_name(Some(TopicName(text(&topic.name))))
        .with_topic_id(topic.id)
        .with_is_internal(topic.name == groups::TOPIC)
        .with_partitions(topic.partitions.iter().enumerate().map(partition).collect())
}

/// Kafka's codes for kinds of endpoints.
const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;

pub(super) fn describe_cluster(call: &Call, request: DescribeClusterRequest) -> DescribeClusterResponse {
    let broker = call.broker;
    let refused = |error: ErrorCode, message: &str| {
        DescribeClusterResponse::default()
            .with_error_code(error.code())
            .with_error_message(Some(text(message)))
    };
    match request.endpoint_type {
        BROKERS => {}
        CONTROLLERS => {
            let message = "this listener belongs to a broker, there is no controller endpoint";
            return refused(ErrorCode::MismatchedEndpointType, message);
        }
        _ => return refused(ErrorCode::UnsupportedEndpointType, "unknown endpoint type"),
    }
    let itself = DescribeClusterBroker::default()
        .with_broker_id(node_id(broker))
        .with_host(advertised_host(broker))
        .with_port(i32::from(broker.port));
    DescribeClusterResponse::default()
        .with_cluster_id(text(&broker.cluster_id))
        .with_controller_id(node_id(broker))
        .with_brokers(vec![itself])
}
