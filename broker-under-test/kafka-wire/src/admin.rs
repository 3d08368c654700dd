//! The client's side of the control APIs: requests, and bounded reading of their answers.
//!
//! Fixed versions that every broker since Kafka 2.1 serves and Kafka 4 still does, the last ones without compact lengths. A count in an
//! answer is held against the bytes that are there before anything is made of it.

use std::collections::BTreeMap;

use bytes::BufMut;

use crate::ApiKey;
use crate::cursor::{Cursor, Result, WireError};
use crate::encode::Encode;
use crate::frame::{finish_frame, start_request};

/// The name that our clients give themselves.
pub const CLIENT_ID: &str = "assay";
const API_VERSIONS_VERSION: i16 = 3;
const METADATA_VERSION: i16 = 7;
const CREATE_TOPICS_VERSION: i16 = 4;
const CREATE_PARTITIONS_VERSION: i16 = 1;
const DELETE_TOPICS_VERSION: i16 = 3;
const DESCRIBE_CONFIGS_VERSION: i16 = 3;
const LIST_OFFSETS_VERSION: i16 = 2;
const INIT_PRODUCER_ID_VERSION: i16 = 1;

/// The time that stands for the end of a log in ListOffsets.
pub const LATEST: i64 = -1;
/// The time that stands for the start of a log in ListOffsets.
pub const EARLIEST: i64 = -2;

/// The code of a broker as a resource of DescribeConfigs.
pub const RESOURCE_BROKER: i8 = 4;
/// The code of a topic as a resource of DescribeConfigs.
pub const RESOURCE_TOPIC: i8 = 2;

/// Versions of one API that a broker serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ApiRange {
    /// API key; may be one that [`ApiKey`] does not name.
    pub key: i16,
    /// Lowest version.
    pub min: i16,
    /// Highest version.
    pub max: i16,
}

/// What a broker says of itself in ApiVersions.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ApiVersions {
    /// Kafka's error code.
    pub error: i16,
    /// Its APIs.
    pub apis: Vec<ApiRange>,
    /// Feature levels in force (KIP-584), such as `metadata.version`; none from brokers that have none.
    pub finalized_features: BTreeMap<String, i16>,
}

/// A broker of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broker {
    /// Node id.
    pub id: i32,
    /// Advertised host.
    pub host: String,
    /// Advertised port.
    pub port: u16,
}

/// A partition in Metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Kafka's error code.
    pub error: i16,
    /// Number.
    pub index: i32,
    /// Node id of the leader, -1 when there is none.
    pub leader: i32,
    /// Replicas.
    pub replicas: u32,
    /// Replicas in sync.
    pub in_sync: u32,
}

/// A topic in Metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    /// Kafka's error code.
    pub error: i16,
    /// Name.
    pub name: String,
    /// Whether it belongs to the broker itself.
    pub is_internal: bool,
    /// In the order of the answer.
    pub partitions: Vec<Partition>,
}

/// A Metadata answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// Living brokers.
    pub brokers: Vec<Broker>,
    /// Cluster id.
    pub cluster_id: Option<String>,
    /// Node id of the controller, or of a broker that forwards to it; -1 when there is none.
    pub controller: i32,
    /// The topics that were asked for.
    pub topics: Vec<Topic>,
}

/// Where the value of a setting comes from (KIP-226).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigSource {
    /// Set for the topic.
    Topic,
    /// Set for this broker while it runs.
    DynamicBroker,
    /// Set for all brokers while they run.
    DynamicDefaultBroker,
    /// In the broker's file.
    StaticBroker,
    /// Built in.
    Default,
    /// Something newer; the code as it came.
    Other(i8),
}

impl ConfigSource {
    /// From the number on the wire.
    pub fn from_code(code: i8) -> Self {
        match code {
            1 => Self::Topic,
            2 => Self::DynamicBroker,
            3 => Self::DynamicDefaultBroker,
            4 => Self::StaticBroker,
            5 => Self::Default,
            other => Self::Other(other),
        }
    }
}

/// One setting of a broker or topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigEntry {
    /// Name.
    pub name: String,
    /// Value; null when it has none or is secret.
    pub value: Option<String>,
    /// Where it comes from.
    pub source: ConfigSource,
    /// Whether nobody has set it.
    pub is_default: bool,
    /// Whether it is a secret, whose value is left out.
    pub is_sensitive: bool,
}

/// A refusal or the settings that were asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribedConfigs {
    /// Kafka's error code.
    pub error: i16,
    /// The broker's words.
    pub message: Option<String>,
    /// In the order of the answer.
    pub entries: Vec<ConfigEntry>,
}

/// What is said of one topic that was created or deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicOutcome {
    /// Name.
    pub name: String,
    /// Kafka's error code.
    pub error: i16,
    /// The broker's words.
    pub message: Option<String>,
}

/// An offset of one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionOffset {
    /// Number.
    pub partition: i32,
    /// Kafka's error code.
    pub error: i16,
    /// The offset, -1 on an error.
    pub offset: i64,
}

/// Appends an ApiVersions request.
pub fn encode_api_versions(out: &mut Vec<u8>, correlation_id: i32) {
    let start = start_request(
        out,
        ApiKey::ApiVersions,
        API_VERSIONS_VERSION,
        correlation_id,
        CLIENT_ID,
    );
    out.put_string(CLIENT_ID, true);
    out.put_string(env!("CARGO_PKG_VERSION"), true);
    out.put_no_tags(true);
    finish_frame(out, start);
}

/// Reads an ApiVersions answer behind the frame's length, also the version 0 of a broker that does not know ours (KIP-511).
///
/// # Errors
/// Bytes that are no answer.
pub fn decode_api_versions(frame: &[u8]) -> Result<ApiVersions> {
    let c = &mut Cursor::new(frame);
    c.i32()?; // correlation id
    let error = c.i16()?;
    let flexible = error == 0;
    let mut answer = ApiVersions {
        error,
        ..ApiVersions::default()
    };
    for _ in 0..c.array_len(flexible, 6)?.unwrap_or(0) {
        let (key, min, max) = (c.i16()?, c.i16()?, c.i16()?);
        answer.apis.push(ApiRange { key, min, max });
        if flexible {
            c.skip_tagged_fields()?;
        }
    }
    if !flexible {
        return Ok(answer);
    }
    c.i32()?; // throttle time
    for _ in 0..c.uvarint()? {
        let tag = c.uvarint()?;
        let size = c.uvarint()? as usize;
        let field = &mut Cursor::new(c.take(size)?);
        if tag == 2 {
            for _ in 0..field.array_len(true, 6)?.unwrap_or(0) {
                let name = field.string(true)?.to_owned();
                answer.finalized_features.insert(name, field.i16()?);
                field.i16()?; // lowest level
                field.skip_tagged_fields()?;
            }
        }
    }
    c.finish()?;
    Ok(answer)
}

/// Appends a Metadata request for `topics`, `None` for all; no topic comes into being by it.
pub fn encode_metadata(out: &mut Vec<u8>, correlation_id: i32, topics: Option<&[&str]>) {
    let start = start_request(out, ApiKey::Metadata, METADATA_VERSION, correlation_id, CLIENT_ID);
    match topics {
        None => out.put_i32(-1),
        Some(topics) => {
            out.put_array_len(topics.len(), false);
            topics.iter().for_each(|topic| out.put_string(topic, false));
        }
    }
    out.put_u8(0); // no automatic creation
    finish_frame(out, start);
}

/// Reads a Metadata answer behind the frame's length.
///
/// # Errors
/// Bytes that are no answer, or a port that no broker has.
pub fn decode_metadata(frame: &[u8]) -> Result<Metadata> {
    let c = &mut Cursor::new(frame);
    c.i32()?; // correlation id
    c.i32()?; // throttle time
    let mut brokers = Vec::new();
    for _ in 0..c.array_len(false, 12)?.unwrap_or(0) {
        let id = c.i32()?;
        let host = c.string(false)?.to_owned();
        let (at, port) = (c.position(), c.i32()?);
        let length = i64::from(port);
        let port = u16::try_from(port).map_err(|_| WireError::InvalidLength { at, length })?;
        c.nullable_string(false)?; // rack
        brokers.push(Broker { id, host, port });
    }
    let cluster_id = c.nullable_string(false)?.map(str::to_owned);
    let controller = c.i32()?;
    let mut topics = Vec::new();
    for _ in 0..c.array_len(false, 9)?.unwrap_or(0) {
        let error = c.i16()?;
        let name = c.string(false)?.to_owned();
        let is_internal = c.bool()?;
        let mut partitions = Vec::new();
        for _ in 0..c.array_len(false, 26)?.unwrap_or(0) {
            let (error, index, leader) = (c.i16()?, c.i32()?, c.i32()?);
            c.i32()?; // leader epoch
            let replicas = skip_ids(c)?;
            let in_sync = skip_ids(c)?;
            skip_ids(c)?; // offline replicas
            partitions.push(Partition {
                error,
                index,
                leader,
                replicas,
                in_sync,
            });
        }
        topics.push(Topic {
            error,
            name,
            is_internal,
            partitions,
        });
    }
    c.finish()?;
    Ok(Metadata {
        brokers,
        cluster_id,
        controller,
        topics,
    })
}

/// Skips a list of node ids and answers how many there are.
fn skip_ids(c: &mut Cursor) -> Result<u32> {
    let count = c.array_len(false, 4)?.unwrap_or(0);
    c.take(count * 4)?;
    Ok(count as u32)
}

/// A topic of a CreateTopics request.
#[derive(Debug, Clone, Copy)]
pub struct TopicToCreate<'a> {
    /// Name.
    pub name: &'a str,
    /// -1 leaves it to the broker.
    pub partitions: i32,
    /// -1 leaves it to the broker.
    pub replicas: i16,
    /// Settings of the topic.
    pub configs: &'a BTreeMap<String, String>,
}

/// Appends a CreateTopics request.
pub fn encode_create_topics(out: &mut Vec<u8>, correlation_id: i32, topics: &[TopicToCreate], timeout_ms: i32) {
    let start = start_request(
        out,
        ApiKey::CreateTopics,
        CREATE_TOPICS_VERSION,
        correlation_id,
        CLIENT_ID,
    );
    out.put_array_len(topics.len(), false);
    for topic in topics {
        out.put_string(topic.name, false);
        out.put_i32(topic.partitions);
        out.put_i16(topic.replicas);
        out.put_array_len(0, false); // assignments
        out.put_array_len(topic.configs.len(), false);
        for (name, value) in topic.configs {
            out.put_string(name, false);
            out.put_string(value, false);
        }
    }
    out.put_i32(timeout_ms);
    out.put_u8(0); // not only validated
    finish_frame(out, start);
}

/// Reads a CreateTopics answer behind the frame's length.
///
/// # Errors
/// Bytes that are no answer.
pub fn decode_create_topics(frame: &[u8]) -> Result<Vec<TopicOutcome>> {
    decode_outcomes(frame, true)
}

/// Appends a CreatePartitions request for one topic, which is to have `partitions` of them; where they are put is left to the broker.
pub fn encode_create_partitions(out: &mut Vec<u8>, correlation_id: i32, topic: &str, partitions: i32, timeout_ms: i32) {
    let start = start_request(
        out,
        ApiKey::CreatePartitions,
        CREATE_PARTITIONS_VERSION,
        correlation_id,
        CLIENT_ID,
    );
    out.put_array_len(1, false);
    out.put_string(topic, false);
    out.put_i32(partitions);
    out.put_i32(-1); // no assignments
    out.put_i32(timeout_ms);
    out.put_u8(0); // not only validated
    finish_frame(out, start);
}

/// Reads a CreatePartitions answer behind the frame's length.
///
/// # Errors
/// Bytes that are no answer.
pub fn decode_create_partitions(frame: &[u8]) -> Result<Vec<TopicOutcome>> {
    decode_outcomes(frame, true)
}

/// Appends a DeleteTopics request.
pub fn encode_delete_topics(out: &mut Vec<u8>, correlation_id: i32, topics: &[&str], timeout_ms: i32) {
    let start = start_request(
        out,
        ApiKey::DeleteTopics,
        DELETE_TOPICS_VERSION,
        correlation_id,
        CLIENT_ID,
    );
    out.put_array_len(topics.len(), false);
    topics.iter().for_each(|topic| out.put_string(topic, false));
    out.put_i32(timeout_ms);
    finish_frame(out, start);
}

/// Reads a DeleteTopics answer behind the frame's length.
///
/// # Errors
/// Bytes that are no answer.
pub fn decode_delete_topics(frame: &[u8]) -> Result<Vec<TopicOutcome>> {
    decode_outcomes(frame, false)
}

fn decode_outcomes(frame: &[u8], with_message: bool) -> Result<Vec<TopicOutcome>> {
    let c = &mut Cursor::new(frame);
    c.i32()?; // correlation id
    c.i32()?; // throttle time
    let mut outcomes = Vec::new();
    for _ in 0..c.array_len(false, 4)?.unwrap_or(0) {
        let name = c.string(false)?.to_owned();
        let error = c.i16()?;
        let message = if with_message {
            c.nullable_string(false)?.map(str::to_owned)
        } else {
            None
        };
        outcomes.push(TopicOutcome { name, error, message });
    }
    c.finish()?;
    Ok(outcomes)
}

/// Appends a DescribeConfigs request for all settings of one resource.
pub fn encode_describe_configs(out: &mut Vec<u8>, correlation_id: i32, resource: i8, name: &str) {
    let version = DESCRIBE_CONFIGS_VERSION;
    let start = start_request(out, ApiKey::DescribeConfigs, version, correlation_id, CLIENT_ID);
    out.put_array_len(1, false);
    out.put_i8(resource);
    out.put_string(name, false);
    out.put_i32(-1); // all settings
    out.put_u8(0); // no synonyms
    out.put_u8(0); // no documentation
    finish_frame(out, start);
}

/// Reads a DescribeConfigs answer for one resource, behind the frame's length.
///
/// # Errors
/// Bytes that are no answer, or one for none or several resources.
pub fn decode_describe_configs(frame: &[u8]) -> Result<DescribedConfigs> {
    let c = &mut Cursor::new(frame);
    c.i32()?; // correlation id
    c.i32()?; // throttle time
    let at = c.position();
    let resources = c.array_len(false, 11)?.unwrap_or(0);
    if resources != 1 {
        let length = resources as i64;
        return Err(WireError::InvalidLength { at, length });
    }
    let error = c.i16()?;
    let message = c.nullable_string(false)?.map(str::to_owned);
    c.i8()?; // resource
    c.string(false)?;
    let mut entries = Vec::new();
    for _ in 0..c.array_len(false, 14)?.unwrap_or(0) {
        let name = c.string(false)?.to_owned();
        let value = c.nullable_string(false)?.map(str::to_owned);
        c.bool()?; // read only
        let source = ConfigSource::from_code(c.i8()?);
        let is_sensitive = c.bool()?;
        for _ in 0..c.array_len(false, 5)?.unwrap_or(0) {
            c.string(false)?;
            c.nullable_string(false)?;
            c.i8()?;
        }
        c.i8()?; // type
        c.nullable_string(false)?; // documentation
        entries.push(ConfigEntry {
            name,
            value,
            source,
            is_default: source == ConfigSource::Default,
            is_sensitive,
        });
    }
    c.finish()?;
    Ok(DescribedConfigs {
        error,
        message,
        entries,
    })
}

/// Appends an InitProducerId request of a producer without transactions.
pub fn encode_init_producer_id(out: &mut Vec<u8>, correlation_id: i32) {
    let start = start_request(
        out,
        ApiKey::InitProducerId,
        INIT_PRODUCER_ID_VERSION,
        correlation_id,
        CLIENT_ID,
    );
    out.put_nullable_string(None, false);
    out.put_i32(i32::MAX); // of a transaction, ms
    finish_frame(out, start);
}

/// What a broker answers to InitProducerId.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerIdentity {
    /// Kafka's error code.
    pub error: i16,
    /// Producer id, -1 on an error.
    pub id: i64,
    /// Its epoch.
    pub epoch: i16,
}

/// Reads an InitProducerId answer behind the frame's length.
///
/// # Errors
/// Bytes that are no answer.
pub fn decode_init_producer_id(frame: &[u8]) -> Result<ProducerIdentity> {
    let c = &mut Cursor::new(frame);
    c.i32()?; // correlation id
    c.i32()?; // throttle time
    let (error, id, epoch) = (c.i16()?, c.i64()?, c.i16()?);
    c.finish()?;
    Ok(ProducerIdentity { error, id, epoch })
}

/// Appends a ListOffsets request for `partitions` of one topic at `time`, ms since 1970, [`LATEST`] or [`EARLIEST`].
pub fn encode_list_offsets(out: &mut Vec<u8>, correlation_id: i32, topic: &str, partitions: &[i32], time: i64) {
    let start = start_request(
        out,
        ApiKey::ListOffsets,
        LIST_OFFSETS_VERSION,
        correlation_id,
        CLIENT_ID,
    );
    out.put_i32(-1); // replica id: a consumer
    out.put_i8(0); // read uncommitted
    out.put_array_len(1, false);
    out.put_string(topic, false);
    out.put_array_len(partitions.len(), false);
    for partition in partitions {
        out.put_i32(*partition);
        out.put_i64(time);
    }
    finish_frame(out, start);
}

/// Reads a ListOffsets answer behind the frame's length; all its topics in one list.
///
/// # Errors
/// Bytes that are no answer.
pub fn decode_list_offsets(frame: &[u8]) -> Result<Vec<PartitionOffset>> {
    let c = &mut Cursor::new(frame);
    c.i32()?; // correlation id
    c.i32()?; // throttle time
    let mut offsets = Vec::new();
    for _ in 0..c.array_len(false, 6)?.unwrap_or(0) {
        c.string(false)?;
        for _ in 0..c.array_len(false, 22)?.unwrap_or(0) {
            let (partition, error) = (c.i32()?, c.i16()?);
            c.i64()?; // time
            let offset = c.i64()?;
            offsets.push(PartitionOffset {
                partition,
                error,
                offset,
            });
        }
    }
    c.finish()?;
    Ok(offsets)
}
