//! One function per API: a request comes in, a response goes out.
//!
//! Produce and Fetch are read by `kafka-wire`; every other body is walked by `kafka_wire::schema` first and then decoded
//! by the protocol crate.

mod admin;
mod cluster;
mod consumer_groups;
mod fetch;
mod group_offsets;
mod groups;
mod membership;
mod offsets;
mod produce;

pub use produce::Owed;

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::BrokerId;
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use kafka_wire::encode::{BufMut, Encode};
use kafka_wire::frame::finish_frame;
use kafka_wire::{ApiKey, Cursor, RequestHeader, WireError, schema};

use crate::broker::Broker;
use crate::fetch_path::Piece;

/// What becomes of a request.
#[derive(Debug)]
pub enum Outcome {
    /// A whole frame was appended to the answers.
    Replied,
    /// A whole frame.
    Reply(Vec<u8>),
    /// A whole frame, some of it in log files.
    Records(Vec<Piece>),
    /// A whole frame, once what it acknowledges was flushed.
    Owed(Owed),
    /// Nothing is sent: Produce with acks=0.
    Silent,
    /// The connection is closed, for this reason.
    Close(String),
}

/// Everything a handler gets.
pub(crate) struct Call<'a> {
    broker: &'a Arc<Broker>,
    key: ApiKey,
    version: i16,
    correlation_id: i32,
    client_id: &'a str,
    /// The address of the other side, as Kafka writes it.
    host: &'a str,
}

/// Answers one request; `cursor` is behind the header of `frame`. Frames are appended to `answers` where that saves a copy.
///
/// # Errors
/// A body that can't be read: the connection must be closed, as the client and we disagree about the protocol.
pub fn handle(
    broker: &Arc<Broker>,
    host: &str,
    header: &RequestHeader,
    mut cursor: Cursor,
    frame: &[u8],
    answers: &mut Vec<u8>,
) -> Result<Outcome, WireError> {
    let RequestHeader {
        api_version: version,
        correlation_id,
        client_id,
        ..
    } = *header;
    let key = match header.served() {
        Ok(key) => key,
        // KIP-511: answered in version 0 with error 35 and the table, so that the client can try again.
        Err(_) if header.api_key == ApiKey::ApiVersions.code() => {
            return Ok(cluster::api_versions_unsupported(broker, correlation_id));
        }
        Err(WireError::Unsupported { key, version }) if ApiKey::from_code(key) == Some(ApiKey::Produce) => {
            return Ok(Outcome::Close(format!(
                "Produce version {version} was removed, 3 to 12 are served"
            )));
        }
        Err(error) => return Err(error),
    };
    let call = Call {
        broker,
        key,
        version,
        correlation_id,
        client_id: client_id.unwrap_or_default(),
        host,
    };
    match key {
        ApiKey::Produce => return produce::produce(&call, &mut cursor, answers),
        ApiKey::Fetch => return fetch::fetch(&call, &mut cursor),
        _ => {}
    }
    let body = &frame[cursor.position()..];
    schema::check_request(&mut cursor, key, version)?;
    let body = Bytes::copy_from_slice(body);
    Ok(match key {
        ApiKey::ApiVersions => call.with(body, cluster::api_versions),
        ApiKey::Metadata => call.with(body, cluster::metadata),
        ApiKey::DescribeCluster => call.with(body, cluster::describe_cluster),
        ApiKey::FindCoordinator => call.with(body, groups::find_coordinator),
        ApiKey::OffsetCommit => call.with(body, group_offsets::offset_commit),
        ApiKey::OffsetFetch => call.with(body, group_offsets::offset_fetch),
        ApiKey::OffsetDelete => call.with(body, group_offsets::offset_delete),
        ApiKey::JoinGroup => call.with(body, membership::join_group),
        ApiKey::SyncGroup => call.with(body, membership::sync_group),
        ApiKey::Heartbeat => call.with(body, membership::heartbeat),
        ApiKey::LeaveGroup => call.with(body, membership::leave_group),
        ApiKey::ListGroups => call.with(body, groups::list_groups),
        ApiKey::DescribeGroups => call.with(body, groups::describe_groups),
        ApiKey::DeleteGroups => call.with(body, groups::delete_groups),
        ApiKey::ConsumerGroupHeartbeat => call.with(body, consumer_groups::heartbeat),
        ApiKey::ConsumerGroupDescribe => call.with(body, consumer_groups::describe),
        ApiKey::CreateTopics => call.with(body, admin::create_topics),
        ApiKey::DeleteTopics => call.with(body, admin::delete_topics),
        ApiKey::DeleteRecords => call.with(body, admin::delete_records),
        ApiKey::DescribeConfigs => call.with(body, admin::describe_configs),
        ApiKey::CreatePartitions => call.with(body, admin::create_partitions),
        ApiKey::ListOffsets => call.with(body, offsets::list_offsets),
        ApiKey::OffsetForLeaderEpoch => call.with(body, offsets::offset_for_leader_epoch),
        ApiKey::InitProducerId => call.with(body, offsets::init_producer_id),
        ApiKey::Produce | ApiKey::Fetch => unreachable!("answered above"),
    })
}

impl Call<'_> {
    /// Decodes a control request, runs `handler` and encodes what it answers.
    fn with<Q: Decodable, A: Encodable>(&self, mut body: Bytes, handler: impl FnOnce(&Self, Q) -> A) -> Outcome {
        match Q::decode(&mut body, self.version) {
            Ok(request) => self.reply(&handler(self, request)),
            Err(error) => Outcome::Close(format!("{:?} version {}: {error}", self.key, self.version)),
        }
    }

    /// The frame's length placeholder and the response header.
    fn start(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(128);
        self.start_in(&mut out);
        out
    }

    fn start_in(&self, out: &mut Vec<u8>) {
        out.put_i32(0);
        out.put_i32(self.correlation_id);
        out.put_no_tags(self.key.response_header_is_flexible(self.version));
    }

    fn reply<A: Encodable>(&self, answer: &A) -> Outcome {
        let mut body = BytesMut::new();
        if let Err(error) = answer.encode(&mut body, self.version) {
            tracing::error!(%error, api = ?self.key, version = self.version, "a response could not be encoded");
            return Outcome::Close(format!("the response could not be encoded: {error}"));
        }
        let mut out = self.start();
        out.extend_from_slice(&body);
        finish_frame(&mut out, 0);
        Outcome::Reply(out)
    }
}

/// The address that clients are told: one and not a name, as `localhost` may mean ::1 first.
fn advertised_host(broker: &Broker) -> StrBytes {
    text(&broker.config.listener().ip().to_string())
}

fn node_id(broker: &Broker) -> BrokerId {
    BrokerId(broker.config.int("node.id") as i32)
}

/// The crate's string.
fn text(s: &str) -> StrBytes {
    StrBytes::from_string(s.to_owned())
}
