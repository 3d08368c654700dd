//! Everything that happens to the bytes of a request before a handler sees it. Shared by the fuzz target and the tests.

use bytes::Bytes;
use kafka_protocol::messages::{
    ApiVersionsRequest, ConsumerGroupDescribeRequest, ConsumerGroupHeartbeatRequest, CreatePartitionsRequest,
    CreateTopicsRequest, DeleteGroupsRequest, DeleteRecordsRequest, DeleteTopicsRequest, DescribeClusterRequest,
    DescribeConfigsRequest, DescribeGroupsRequest, FindCoordinatorRequest, HeartbeatRequest, InitProducerIdRequest,
    JoinGroupRequest, LeaveGroupRequest, ListGroupsRequest, ListOffsetsRequest, MetadataRequest, OffsetCommitRequest,
    OffsetDeleteRequest, OffsetFetchRequest, OffsetForLeaderEpochRequest, SyncGroupRequest,
};
use kafka_protocol::protocol::Decodable;
use kafka_wire::fetch::FetchRequest;
use kafka_wire::produce::ProduceRequest;
use kafka_wire::{ApiKey, BatchHeader, BatchIter, Cursor, Decompressor, RequestHeader, schema};

/// Most bytes that may come out of a compressed batch.
pub const DECOMPRESSED_BYTES_MAX: usize = 32 * 1024;

/// Reads `frame`, which begins behind its length, as the broker does. Nothing may panic, whatever it holds.
pub fn request(frame: &[u8]) {
    let mut cursor = Cursor::new(frame);
    let Ok(header) = RequestHeader::parse(&mut cursor) else {
        return;
    };
    let Ok(key) = header.served() else { return };
    let version = header.api_version;
    match key {
        ApiKey::Produce => {
            if let Ok(request) = ProduceRequest::decode(&mut cursor, version) {
                for partition in request.partitions {
                    let records = partition.records.unwrap_or_default();
                    assert_eq!(frame[partition.records_at..].get(..records.len()), Some(records));
                    batches(records);
                }
            }
        }
        ApiKey::Fetch => {
            let _ = FetchRequest::decode(&mut cursor, version);
        }
        _ => {
            let mut body = Bytes::copy_from_slice(&frame[cursor.position()..]);
            if schema::check_request(&mut cursor, key, version).is_err() {
                return;
            }
            if control(key, &mut body, version) {
                // What clients may leave behind a body is left by both.
                assert_eq!(
                    body.len(),
                    cursor.remaining(),
                    "{key:?} v{version}: the walk and the protocol crate disagree"
                );
            }
        }
    }
}

/// Walks over batches and their records, compressed or not, with and without checks.
fn batches(bytes: &[u8]) {
    let mut decompressor = Decompressor::default();
    let _ = BatchHeader::checked_from_client(bytes);
    for (header, batch) in BatchIter::new(bytes).filter_map(Result::ok) {
        let _ = header.last_offset();
        if let Ok(records) = decompressor.records(header, batch, DECOMPRESSED_BYTES_MAX) {
            records
                .flatten()
                .for_each(|record| assert_eq!(record.headers.count(), record.headers.len()));
        }
    }
}

/// Decodes a body that passed the walk. Whether the protocol crate took it; it is stricter about null.
fn control(key: ApiKey, body: &mut Bytes, version: i16) -> bool {
    match key {
        ApiKey::Produce | ApiKey::Fetch => false,
        ApiKey::ListOffsets => ListOffsetsRequest::decode(body, version).is_ok(),
        ApiKey::Metadata => MetadataRequest::decode(body, version).is_ok(),
        ApiKey::OffsetCommit => OffsetCommitRequest::decode(body, version).is_ok(),
        ApiKey::OffsetFetch => OffsetFetchRequest::decode(body, version).is_ok(),
        ApiKey::JoinGroup => JoinGroupRequest::decode(body, version).is_ok(),
        ApiKey::Heartbeat => HeartbeatRequest::decode(body, version).is_ok(),
        ApiKey::LeaveGroup => LeaveGroupRequest::decode(body, version).is_ok(),
        ApiKey::SyncGroup => SyncGroupRequest::decode(body, version).is_ok(),
        ApiKey::DescribeGroups => DescribeGroupsRequest::decode(body, version).is_ok(),
        ApiKey::ListGroups => ListGroupsRequest::decode(body, version).is_ok(),
        ApiKey::DeleteGroups => DeleteGroupsRequest::decode(body, version).is_ok(),
        ApiKey::OffsetDelete => OffsetDeleteRequest::decode(body, version).is_ok(),
        ApiKey::FindCoordinator => FindCoordinatorRequest::decode(body, version).is_ok(),
        ApiKey::ApiVersions => ApiVersionsRequest::decode(body, version).is_ok(),
        ApiKey::CreateTopics => CreateTopicsRequest::decode(body, version).is_ok(),
        ApiKey::DeleteTopics => DeleteTopicsRequest::decode(body, version).is_ok(),
        ApiKey::DeleteRecords => DeleteRecordsRequest::decode(body, version).is_ok(),
        ApiKey::InitProducerId => InitProducerIdRequest::decode(body, version).is_ok(),
        ApiKey::OffsetForLeaderEpoch => OffsetForLeaderEpochRequest::decode(body, version).is_ok(),
        ApiKey::DescribeConfigs => DescribeConfigsRequest::decode(body, version).is_ok(),
        ApiKey::CreatePartitions => CreatePartitionsRequest::decode(body, version).is_ok(),
        ApiKey::DescribeCluster => DescribeClusterRequest::decode(body, version).is_ok(),
        ApiKey::ConsumerGroupHeartbeat => ConsumerGroupHeartbeatRequest::decode(body, version).is_ok(),
        ApiKey::ConsumerGroupDescribe => ConsumerGroupDescribeRequest::decode(body, version).is_ok(),
    }
}
