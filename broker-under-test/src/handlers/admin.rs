//! CreateTopics, CreatePartitions, DeleteTopics, DeleteRecords, DescribeConfigs.

use std::collections::{BTreeMap, BTreeSet};

use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::create_topics_response::{CreatableTopicConfigs, CreatableTopicResult};
use kafka_protocol::messages::delete_records_request::DeleteRecordsPartition;
use kafka_protocol::messages::delete_records_response::{DeleteRecordsPartitionResult, DeleteRecordsTopicResult};
use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::{DescribeConfigsResourceResult, DescribeConfigsResult};
use kafka_protocol::messages::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreateTopicsRequest, CreateTopicsResponse, DeleteRecordsRequest,
    DeleteRecordsResponse, DeleteTopicsRequest, DeleteTopicsResponse, DescribeConfigsRequest, DescribeConfigsResponse,
    TopicName,
};
use kafka_wire::ErrorCode;
use uuid::Uuid;

use super::{Call, text};
use crate::config::{Kind, SETTINGS};
use crate::groups;
use crate::log::ReadError;
use crate::topics::{self, Refusal, TOPIC_SETTINGS, Topic};

/// Kafka's codes for where a setting comes from.
const SOURCE_TOPIC: i8 = 1;
const SOURCE_STATIC_BROKER: i8 = 4;
const SOURCE_DEFAULT: i8 = 5;
/// Kafka's codes for resources.
const RESOURCE_TOPIC: i8 = 2;
const RESOURCE_BROKER: i8 = 4;

pub(super) fn create_topics(call: &Call, request: CreateTopicsRequest) -> CreateTopicsResponse {
    let mut times: BTreeMap<&TopicName, usize> = BTreeMap::new();
    for topic in &request.topics {
        *times.entry(&topic.name).or_default() += 1;
    }
    let one = |topic: &CreatableTopic| {
        let result = CreatableTopicResult::default()
            .with_name(topic.name.clone())
            .with_configs(Some(Vec::new()));
        let outcome = if times.get(&topic.name).is_some_and(|n| *n > 1) {
            let message = "Duplicate topic name.".to_owned();
            Err(Refusal {
                error: ErrorCode::InvalidRequest,
                message,
            })
        } else {
            create(call, topic, request.validate_only)
        };
        match outcome {
            Ok((partitions, settings, id)) => {
                let configs = topic_settings(call, &settings);
                result
                    .with_topic_id(id)
                    .with_num_partitions(partitions as i32)
                    .with_replication_factor(1)
                    .with_configs(Some(configs))
            }
            Err(refusal) => result
                .with_error_code(refusal.error.code())
                .with_error_message(Some(text(&refusal.message)))
                .with_num_partitions(-1)
                .with_replication_factor(-1),
        }
    };
    // Each name once, as Kafka answers.
    let mut seen = BTreeSet::new();
    let distinct = request.topics.iter().filter(|t| seen.insert(&t.name));
    CreateTopicsResponse::default().with_topics(distinct.map(one).collect())
}

/// Partitions, the topic's own settings, and its id, nil when it was only validated.
type Created = (usize, BTreeMap<String, String>, Uuid);

fn create(call: &Call, topic: &CreatableTopic, validate_only: bool) -> Result<Created, Refusal> {
    let setting = |c: &kafka_protocol::messages::create_topics_request::CreatableTopicConfig| {
        (c.name.to_string(), c.value.as_deref().unwrap_or("").to_owned())
    };
    let settings: BTreeMap<String, String> = topic.configs.iter().map(setting).collect();
    let (mut partitions, mut replicas) = (topic.num_partitions, topic.replication_factor);
    if !topic.assignments.is_empty() {
        // An assignment by hand names this one broker for partitions 0, 1, 2, …
        let me = call.broker.config.int("node.id");
        let mut indexes: Vec<i32> = topic.assignments.iter().map(|a| a.partition_index).collect();
        indexes.sort_unstable();
        let dense = indexes.iter().enumerate().all(|(i, p)| *p == i as i32);
        let mine = topic
            .assignments
            .iter()
            .all(|a| a.broker_ids.len() == 1 && i64::from(a.broker_ids[0].0) == me);
        if partitions != -1 || replicas != -1 {
            let message = "with a manual assignment, the numbers of partitions and replicas must be -1".to_owned();
            return Err(Refusal {
                error: ErrorCode::InvalidRequest,
                message,
            });
        }
        if !dense || !mine {
            let message = format!("a manual assignment must name broker {me} alone for partitions 0, 1, 2, …");
            return Err(Refusal {
                error: ErrorCode::InvalidReplicaAssignment,
                message,
            });
        }
        (partitions, replicas) = (topic.assignments.len() as i32, 1);
    }
    if validate_only {
        let count = call
            .broker
            .topics
            .check_new(&topic.name, partitions, replicas, &settings)?;
        return Ok((count, settings, Uuid::nil()));
    }
    let created = call.broker.topics.create(&topic.name, partitions, replicas, settings)?;
    Ok((created.partitions.len(), created.settings.clone(), created.id))
}

fn topic_settings(call: &Call, own: &BTreeMap<String, String>) -> Vec<CreatableTopicConfigs> {
    let one = |(name, _): &(&str, &str)| {
        let source = if own.contains_key(*name) {
            SOURCE_TOPIC
        } else {
            SOURCE_DEFAULT
        };
        CreatableTopicConfigs::default()
            .with_name(text(name))
            .with_value(Some(text(&call.broker.topics.effective(own, name))))
            .with_config_source(source)
    };
    TOPIC_SETTINGS.iter().map(one).collect()
}

pub(super) fn create_partitions(call: &Call, request: CreatePartitionsRequest) -> CreatePartitionsResponse {
    let mut times: BTreeMap<&TopicName, usize> = BTreeMap::new();
    for topic in &request.topics {
        *times.entry(&topic.name).or_default() += 1;
    }
    let one = |topic: &CreatePartitionsTopic| {
        let result = CreatePartitionsTopicResult::default().with_name(topic.name.clone());
        let outcome = if times.get(&topic.name).is_some_and(|n| *n > 1) {
            let message = "Duplicate topic name.".to_owned();
            Err(Refusal {
                error: ErrorCode::InvalidRequest,
                message,
            })
        } else {
            grow(call, topic, request.validate_only)
        };
        match outcome {
            Ok(()) => result,
            Err(refusal) => result
                .with_error_code(refusal.error.code())
                .with_error_message(Some(text(&refusal.message))),
        }
    };
    // Each name once, as Kafka answers.
    let mut seen = BTreeSet::new();
    let distinct = request.topics.iter().filter(|t| seen.insert(&t.name));
    CreatePartitionsResponse::default().with_results(distinct.map(one).collect())
}

fn grow(call: &Call, topic: &CreatePartitionsTopic, validate_only: bool) -> Result<(), Refusal> {
    let topics = &call.broker.topics;
    let added = topics.check_growth(&topic.name, topic.count)?;
    if let Some(assignments) = &topic.assignments {
        let me = call.broker.config.int("node.id");
        let is_mine = |ids: &[kafka_protocol::messages::BrokerId]| ids.len() == 1 && i64::from(ids[0].0) == me;
        if assignments.len() != added || !assignments.iter().all(|a| is_mine(&a.broker_ids)) {
            let message = format!("a manual assignment must name broker {me} alone for each of {added} new partitions");
            return Err(Refusal {
                error: ErrorCode::InvalidReplicaAssignment,
                message,
            });
        }
    }
    if validate_only {
        return Ok(());
    }
    topics.grow(&topic.name, topic.count)
}

pub(super) fn delete_topics(call: &Call, request: DeleteTopicsRequest) -> DeleteTopicsResponse {
    let topics = &call.broker.topics;
    let delete = |name: Option<TopicName>, id: Uuid| {
        let known = if name.is_some() {
            None
        } else {
            topics.by_id(id).map(|t| TopicName(text(&t.name)))
        };
        let result = DeletableTopicResult::default()
            .with_name(name.clone().or(known.clone()))
            .with_topic_id(id);
        let outcome = match name.as_ref().or(known.as_ref()) {
            _ if !call.broker.config.bool("delete.topic.enable") => {
                let message = "delete.topic.enable is false".to_owned();
                Err(Refusal {
                    error: ErrorCode::InvalidRequest,
                    message,
                })
            }
            Some(name) => topics
                .delete(name)
                .inspect(|topic| call.broker.groups.forget_topic(topics, &topic.name)),
            None => Err(Refusal {
                error: ErrorCode::UnknownTopicId,
                message: "This server does not host this topic ID.".to_owned(),
            }),
        };
        match outcome {
            Ok(topic) => result.with_topic_id(topic.id),
            Err(refusal) => result
                .with_error_code(refusal.error.code())
                .with_error_message(Some(text(&refusal.message))),
        }
    };
    let by_state = request.topics.into_iter().map(|t| (t.name, t.topic_id));
    let by_name = request.topic_names.into_iter().map(|name| (Some(name), Uuid::nil()));
    let asked: Vec<(Option<TopicName>, Uuid)> = by_state.chain(by_name).collect();
    let mut times: BTreeMap<&(Option<TopicName>, Uuid), usize> = BTreeMap::new();
    for one in &asked {
        *times.entry(one).or_default() += 1;
    }
    // Each topic once, as Kafka answers; one that is named twice is not deleted at all.
    let mut seen = BTreeSet::new();
    let distinct = asked.iter().filter(|one| seen.insert(*one));
    let one = |topic: &(Option<TopicName>, Uuid)| {
        let (name, id) = topic.clone();
        if times.get(topic).is_some_and(|n| *n > 1) {
            return DeletableTopicResult::default()
                .with_name(name)
                .with_topic_id(id)
                .with_error_code(ErrorCode::InvalidRequest.code())
                .with_error_message(Some(text("Duplicate topic.")));
        }
        delete(name, id)
    };
    DeleteTopicsResponse::default().with_responses(distinct.map(one).collect())
}

pub(super) fn delete_records(call: &Call, request: DeleteRecordsRequest) -> DeleteRecordsResponse {
    let mut moved = Vec::new();
    let mut one = |topic: &TopicName, p: &DeleteRecordsPartition| {
        let result = DeleteRecordsPartitionResult::default().with_partition_index(p.partition_index);
        let refused = |error: ErrorCode| result.clone().with_low_watermark(-1).with_error_code(error.code());
        let Some(log) = call.broker.topics.log(topic, p.partition_index) else {
            return refused(ErrorCode::UnknownTopicOrPartition);
        };
        if topic.as_str() == groups::TOPIC {
            // As for every topic of Kafka's that is only compacted.
            return refused(ErrorCode::PolicyViolation);
        }
        let offset = if p.offset == -1 {
            log.bounds().high_watermark()
        } else {
            p.offset
        };
        let before = log.bounds().start();
        match log.delete_before(offset) {
            Ok(start) => {
                if start != before {
                    moved.push(log);
                }
                result.with_low_watermark(start)
            }
            Err(ReadError::OutOfRange { .. }) => refused(ErrorCode::OffsetOutOfRange),
            Err(ReadError::Log(error)) => {
                tracing::error!(%error, "DeleteRecords failed");
                refused(ErrorCode::KafkaStorageError)
            }
        }
    };
    let topics = request
        .topics
        .iter()
        .map(|t| {
            let partitions = t.partitions.iter().map(|p| one(&t.name, p)).collect();
            DeleteRecordsTopicResult::default()
                .with_name(t.name.clone())
                .with_partitions(partitions)
        })
        .collect();
    if !moved.is_empty()
        && let Err(error) = call.broker.topics.settle_starts(&moved)
    {
        // The records are gone for readers now; after a crash they may come back, as in Kafka.
        tracing::error!(%error, "what was deleted is not removed yet");
    }
    DeleteRecordsResponse::default().with_topics(topics)
}

pub(super) fn describe_configs(call: &Call, request: DescribeConfigsRequest) -> DescribeConfigsResponse {
    let one = |resource: &DescribeConfigsResource| {
        let result = DescribeConfigsResult::default()
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name.clone());
        let refused = |error: ErrorCode, message: &str| {
            result
                .clone()
                .with_error_code(error.code())
                .with_error_message(Some(text(message)))
        };
        let documented = request.include_documentation;
        let mut rows = match resource.resource_type {
            RESOURCE_TOPIC => match call.broker.topics.get(&resource.resource_name) {
                Some(topic) => topic_rows(call, &topic, documented),
                None if topics::check_name(&resource.resource_name).is_err() => {
                    return refused(ErrorCode::InvalidTopicException, "no topic can have this name");
                }
                None => {
                    return refused(
                        ErrorCode::UnknownTopicOrPartition,
                        "This server does not host this topic.",
                    );
                }
            },
            // What is set for all brokers at once while they run: nothing can be.
            RESOURCE_BROKER if resource.resource_name.is_empty() => Vec::new(),
            RESOURCE_BROKER if *resource.resource_name == *call.broker.config.text("node.id") => {
                broker_rows(call, documented)
            }
            RESOURCE_BROKER => return refused(ErrorCode::InvalidRequest, "there is no broker of that id"),
            _ => return refused(ErrorCode::InvalidRequest, "only topics and brokers have settings here"),
        };
        // No key is as good as null: all.
        if let Some(keys) = resource.configuration_keys.as_ref().filter(|keys| !keys.is_empty()) {
            rows.retain(|row| keys.contains(&row.name));
        }
        result.with_configs(rows)
    };
    // Each resource once, so that a short request can't ask for the same long answer many times.
    let mut seen = BTreeSet::new();
    let distinct = request
        .resources
        .iter()
        .filter(|r| seen.insert((r.resource_type, &r.resource_name)));
    DescribeConfigsResponse::default().with_results(distinct.map(one).collect())
}

/// Kafka's codes for types: 1 boolean, 2 string, 3 int, 5 long, 6 double, 7 list.
fn type_code(kind: Kind) -> i8 {
    match kind {
        Kind::Bool => 1,
        Kind::Int(_, i64::MAX) => 5,
        Kind::Share => 6,
        Kind::ListOf(_) => 7,
        Kind::Int(..) => 3,
        Kind::Listener | Kind::Dir | Kind::FetchPath | Kind::OneOf(_) | Kind::CongestionControl => 2,
    }
}

fn broker_rows(call: &Call, documented: bool) -> Vec<DescribeConfigsResourceResult> {
    let one = |(setting, value): (&'static crate::config::Setting, &str)| {
        let source = if value == setting.default {
            SOURCE_DEFAULT
        } else {
            SOURCE_STATIC_BROKER
        };
        DescribeConfigsResourceResult::default()
            .with_name(text(setting.name))
            .with_value(Some(text(value)))
            .with_read_only(true)
            .with_config_source(source)
            .with_config_type(if call.version >= 3 { type_code(setting.kind) } else { 0 })
            .with_documentation((call.version >= 3 && documented).then(|| text(setting.doc)))
    };
    call.broker.config.effective().map(one).collect()
}

fn topic_rows(call: &Call, topic: &Topic, documented: bool) -> Vec<DescribeConfigsResourceResult> {
    let one = |(name, broker): &(&str, &str)| {
        let setting = SETTINGS.iter().find(|s| s.name == *broker);
        let source = if topic.settings.contains_key(*name) {
            SOURCE_TOPIC
        } else {
            SOURCE_DEFAULT
        };
        DescribeConfigsResourceResult::default()
            .with_name(text(name))
            .with_value(Some(text(&call.broker.topics.effective(&topic.settings, name))))
            .with_config_source(source)
            .with_config_type(setting.filter(|_| call.version >= 3).map_or(0, |s| type_code(s.kind)))
            .with_documentation(setting.filter(|_| call.version >= 3 && documented).map(|s| text(s.doc)))
    };
    TOPIC_SETTINGS.iter().map(one).collect()
}
