//! One well-formed request per API and version, with every field of that version in use.

use bytes::Bytes;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::fetch_request::ForgottenTopic;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::*;
use kafka_wire::ApiKey;
use kafka_wire::api::VERSIONS;

use crate::support::{Ask, FetchLimits, batch, decode, fetch_request, frame_of, text, topic};

/// The topic that the samples speak of; whoever sends them creates it with two partitions.
pub const TOPIC: &str = "samples";

/// Every API with every version that is served.
pub fn all() -> impl Iterator<Item = (ApiKey, i16)> {
    VERSIONS
        .iter()
        .flat_map(|row| (row.served_min..=row.max).map(|version| (row.key, version)))
}

/// A request frame of the API in that version.
pub fn frame(key: ApiKey, version: i16, correlation_id: i32) -> Vec<u8> {
    let v = version;
    let frame = |request: &dyn Fn(i32) -> Vec<u8>| request(correlation_id);
    match key {
        ApiKey::Produce => frame(&|id| frame_of(key, v, id, &produce(1))),
        ApiKey::Fetch => frame(&|id| frame_of(key, v, id, &fetch(v))),
        ApiKey::ListOffsets => frame(&|id| frame_of(key, v, id, &list_offsets(v))),
        ApiKey::Metadata => frame(&|id| frame_of(key, v, id, &metadata(v))),
        ApiKey::FindCoordinator => frame(&|id| frame_of(key, v, id, &find_coordinator(v))),
        ApiKey::OffsetCommit => frame(&|id| frame_of(key, v, id, &offset_commit(v))),
        ApiKey::OffsetFetch => frame(&|id| frame_of(key, v, id, &offset_fetch(v))),
        ApiKey::JoinGroup => frame(&|id| frame_of(key, v, id, &join_group(v))),
        ApiKey::Heartbeat => frame(&|id| frame_of(key, v, id, &heartbeat(v))),
        ApiKey::LeaveGroup => frame(&|id| frame_of(key, v, id, &leave_group(v))),
        ApiKey::SyncGroup => frame(&|id| frame_of(key, v, id, &sync_group(v))),
        ApiKey::DescribeGroups => frame(&|id| frame_of(key, v, id, &describe_groups(v))),
        ApiKey::ListGroups => frame(&|id| frame_of(key, v, id, &list_groups(v))),
        ApiKey::DeleteGroups => frame(&|id| frame_of(key, v, id, &delete_groups())),
        ApiKey::OffsetDelete => frame(&|id| frame_of(key, v, id, &offset_delete())),
        ApiKey::ApiVersions => frame(&|id| frame_of(key, v, id, &api_versions())),
        ApiKey::CreateTopics => frame(&|id| frame_of(key, v, id, &create_topics())),
        ApiKey::DeleteTopics => frame(&|id| frame_of(key, v, id, &delete_topics(v))),
        ApiKey::DeleteRecords => frame(&|id| frame_of(key, v, id, &delete_records())),
        ApiKey::InitProducerId => frame(&|id| frame_of(key, v, id, &init_producer_id())),
        ApiKey::OffsetForLeaderEpoch => frame(&|id| frame_of(key, v, id, &offset_for_leader_epoch(v))),
        ApiKey::DescribeConfigs => frame(&|id| frame_of(key, v, id, &describe_configs(v))),
        ApiKey::CreatePartitions => frame(&|id| frame_of(key, v, id, &create_partitions())),
        ApiKey::DescribeCluster => frame(&|id| frame_of(key, v, id, &DescribeClusterRequest::default())),
        ApiKey::ConsumerGroupHeartbeat => frame(&|id| frame_of(key, v, id, &consumer_group_heartbeat(v))),
        ApiKey::ConsumerGroupDescribe => frame(&|id| frame_of(key, v, id, &consumer_group_describe())),
    }
}

/// Decodes the answer with the protocol crate, to its last byte, and names the error codes in it.
pub fn error_codes(answer: &[u8], key: ApiKey, v: i16, id: i32) -> Vec<i16> {
    match key {
        ApiKey::Produce => {
            let answer: ProduceResponse = decode(answer, key, v, id);
            let partitions = answer.responses.iter().flat_map(|t| &t.partition_responses);
            partitions.map(|p| p.error_code).collect()
        }
        ApiKey::Fetch => {
            let answer: FetchResponse = decode(answer, key, v, id);
            assert!(
                answer
                    .responses
                    .iter()
                    .any(|t| t.partitions.iter().any(|p| p.records.is_some()))
            );
            let partitions = answer.responses.iter().flat_map(|t| &t.partitions);
            std::iter::once(answer.error_code)
                .chain(partitions.map(|p| p.error_code))
                .collect()
        }
        ApiKey::ListOffsets => {
            let answer: ListOffsetsResponse = decode(answer, key, v, id);
            let partitions = answer.topics.iter().flat_map(|t| &t.partitions);
            partitions.map(|p| p.error_code).collect()
        }
        ApiKey::Metadata => {
            let answer: MetadataResponse = decode(answer, key, v, id);
            assert_eq!(answer.brokers.len(), 1);
            assert!(
                answer
                    .topics
                    .iter()
                    // More when an attack was a good request to add some.
                    .all(|t| t.partitions.len() >= 2 || t.error_code != 0)
            );
            answer.topics.iter().map(|t| t.error_code).collect()
        }
        ApiKey::FindCoordinator => {
            let answer: FindCoordinatorResponse = decode(answer, key, v, id);
            let coordinators = answer.coordinators.iter().map(|c| c.error_code);
            if v < 4 {
                vec![answer.error_code]
            } else {
                coordinators.collect()
            }
        }
        ApiKey::OffsetCommit => {
            let answer: OffsetCommitResponse = decode(answer, key, v, id);
            let partitions = answer.topics.iter().flat_map(|t| &t.partitions);
            partitions.map(|p| p.error_code).collect()
        }
        ApiKey::OffsetFetch => {
            let answer: OffsetFetchResponse = decode(answer, key, v, id);
            let partitions = answer.topics.iter().flat_map(|t| &t.partitions);
            let several = answer.groups.iter().flat_map(|g| &g.topics).flat_map(|t| &t.partitions);
            let codes = partitions.map(|p| p.error_code).chain(several.map(|p| p.error_code));
            std::iter::once(answer.error_code).chain(codes).collect()
        }
        ApiKey::JoinGroup => {
            let answer: JoinGroupResponse = decode(answer, key, v, id);
            vec![answer.error_code]
        }
        ApiKey::Heartbeat => {
            let answer: HeartbeatResponse = decode(answer, key, v, id);
            vec![answer.error_code]
        }
        ApiKey::LeaveGroup => {
            let answer: LeaveGroupResponse = decode(answer, key, v, id);
            let members = answer.members.iter().map(|m| m.error_code);
            std::iter::once(answer.error_code).chain(members).collect()
        }
        ApiKey::SyncGroup => {
            let answer: SyncGroupResponse = decode(answer, key, v, id);
            vec![answer.error_code]
        }
        ApiKey::DescribeGroups => {
            let answer: DescribeGroupsResponse = decode(answer, key, v, id);
            answer.groups.iter().map(|g| g.error_code).collect()
        }
        ApiKey::ListGroups => {
            let answer: ListGroupsResponse = decode(answer, key, v, id);
            vec![answer.error_code]
        }
        ApiKey::DeleteGroups => {
            let answer: DeleteGroupsResponse = decode(answer, key, v, id);
            answer.results.iter().map(|r| r.error_code).collect()
        }
        ApiKey::OffsetDelete => {
            let answer: OffsetDeleteResponse = decode(answer, key, v, id);
            let partitions = answer.topics.iter().flat_map(|t| &t.partitions);
            std::iter::once(answer.error_code)
                .chain(partitions.map(|p| p.error_code))
                .collect()
        }
        ApiKey::ApiVersions => {
            let answer: ApiVersionsResponse = decode(answer, key, v, id);
            assert_eq!(answer.api_keys.len(), VERSIONS.len());
            vec![answer.error_code]
        }
        ApiKey::CreateTopics => {
            let answer: CreateTopicsResponse = decode(answer, key, v, id);
            answer.topics.iter().map(|t| t.error_code).collect()
        }
        ApiKey::DeleteTopics => {
            let answer: DeleteTopicsResponse = decode(answer, key, v, id);
            answer.responses.iter().map(|t| t.error_code).collect()
        }
        ApiKey::DeleteRecords => {
            let answer: DeleteRecordsResponse = decode(answer, key, v, id);
            let partitions = answer.topics.iter().flat_map(|t| &t.partitions);
            partitions.map(|p| p.error_code).collect()
        }
        ApiKey::InitProducerId => {
            let answer: InitProducerIdResponse = decode(answer, key, v, id);
            vec![answer.error_code]
        }
        ApiKey::OffsetForLeaderEpoch => {
            let answer: OffsetForLeaderEpochResponse = decode(answer, key, v, id);
            let partitions = answer.topics.iter().flat_map(|t| &t.partitions);
            partitions.map(|p| p.error_code).collect()
        }
        ApiKey::DescribeConfigs => {
            let answer: DescribeConfigsResponse = decode(answer, key, v, id);
            assert!(
                answer
                    .results
                    .iter()
                    .all(|r| !r.configs.is_empty() || r.error_code != 0)
            );
            answer.results.iter().map(|r| r.error_code).collect()
        }
        ApiKey::CreatePartitions => {
            let answer: CreatePartitionsResponse = decode(answer, key, v, id);
            answer.results.iter().map(|r| r.error_code).collect()
        }
        ApiKey::ConsumerGroupHeartbeat => {
            let answer: ConsumerGroupHeartbeatResponse = decode(answer, key, v, id);
            vec![answer.error_code]
        }
        ApiKey::ConsumerGroupDescribe => {
            let answer: ConsumerGroupDescribeResponse = decode(answer, key, v, id);
            answer.groups.iter().map(|g| g.error_code).collect()
        }
        ApiKey::DescribeCluster => {
            let answer: DescribeClusterResponse = decode(answer, key, v, id);
            vec![answer.error_code]
        }
    }
}

/// The error codes that the samples must get when [`TOPIC`] exists.
pub fn expected_codes(key: ApiKey, v: i16) -> Vec<i16> {
    const UNKNOWN_TOPIC: i16 = 3;
    const UNKNOWN_MEMBER: i16 = 25;
    const UNKNOWN_GROUP: i16 = 69;
    match key {
        ApiKey::Produce | ApiKey::ListOffsets | ApiKey::OffsetForLeaderEpoch => vec![0, UNKNOWN_TOPIC],
        ApiKey::Fetch => vec![0, 0, 0, UNKNOWN_TOPIC],
        ApiKey::Metadata => vec![0, UNKNOWN_TOPIC],
        ApiKey::FindCoordinator if v < 4 => vec![0],
        ApiKey::FindCoordinator => vec![0, 0],
        // Of somebody who is in no group, which needs none.
        ApiKey::OffsetCommit => vec![0, UNKNOWN_TOPIC],
        ApiKey::OffsetFetch => vec![0, 0, 0],
        // Of members of a group that is not there.
        ApiKey::JoinGroup | ApiKey::SyncGroup | ApiKey::Heartbeat => vec![UNKNOWN_MEMBER],
        ApiKey::LeaveGroup if v < 3 => vec![UNKNOWN_MEMBER],
        ApiKey::LeaveGroup => vec![0, UNKNOWN_MEMBER],
        ApiKey::DescribeGroups if v < 6 => vec![0],
        ApiKey::DescribeGroups | ApiKey::DeleteGroups | ApiKey::OffsetDelete => vec![UNKNOWN_GROUP],
        ApiKey::ConsumerGroupHeartbeat | ApiKey::ConsumerGroupDescribe => vec![UNKNOWN_GROUP],
        ApiKey::ListGroups => vec![0],
        ApiKey::ApiVersions | ApiKey::InitProducerId | ApiKey::DescribeCluster => vec![0],
        // Validated only; the second one asks for a setting that does not exist.
        ApiKey::CreateTopics => vec![0, 40, 0],
        ApiKey::DeleteTopics if v < 6 => vec![UNKNOWN_TOPIC, UNKNOWN_TOPIC],
        ApiKey::DeleteTopics => vec![UNKNOWN_TOPIC, 100],
        ApiKey::DeleteRecords => vec![0, UNKNOWN_TOPIC],
        ApiKey::DescribeConfigs => vec![0, 0, UNKNOWN_TOPIC],
        ApiKey::CreatePartitions => vec![0, UNKNOWN_TOPIC],
    }
}

/// A batch for [`TOPIC`] and one for a topic that is not there.
pub fn produce(acks: i16) -> ProduceRequest {
    let data = |name: &str| {
        let partition = PartitionProduceData::default()
            .with_index(0)
            .with_records(Some(Bytes::from(batch(&[b"one", b"two"]))));
        TopicProduceData::default()
            .with_name(topic(name))
            .with_partition_data(vec![partition])
    };
    ProduceRequest::default()
        .with_acks(acks)
        .with_timeout_ms(1000)
        .with_topic_data(vec![data(TOPIC), data("nothing-here")])
}

fn fetch(v: i16) -> FetchRequest {
    let ask = |name, partition| Ask {
        topic: name,
        partition,
        offset: 0,
        bytes_max: 4096,
    };
    let request = fetch_request(
        FetchLimits::default(),
        &[ask(TOPIC, 0), ask(TOPIC, 1), ask("nothing-here", 0)],
    );
    let forgotten = ForgottenTopic::default()
        .with_topic(topic("forgotten"))
        .with_partitions(vec![1, 2]);
    match v {
        ..7 => request,
        7..11 => request.with_forgotten_topics_data(vec![forgotten]),
        _ => request
            .with_forgotten_topics_data(vec![forgotten])
            .with_rack_id(text("rack")),
    }
}

fn list_offsets(v: i16) -> ListOffsetsRequest {
    let one = |name: &str| {
        let partition = ListOffsetsPartition::default()
            .with_partition_index(0)
            .with_timestamp(-1);
        ListOffsetsTopic::default()
            .with_name(topic(name))
            .with_partitions(vec![partition])
    };
    ListOffsetsRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_topics(vec![one(TOPIC), one("nothing-here")])
        .with_timeout_ms(if v < 10 { 0 } else { 1000 })
}

fn metadata(v: i16) -> MetadataRequest {
    let one = |name: &str| MetadataRequestTopic::default().with_name(Some(topic(name)));
    let request = MetadataRequest::default().with_topics(Some(vec![one(TOPIC), one("nothing-here")]));
    match v {
        ..4 => request,
        _ => request.with_allow_auto_topic_creation(false),
    }
}

fn find_coordinator(v: i16) -> FindCoordinatorRequest {
    match v {
        ..4 => FindCoordinatorRequest::default().with_key(text("a-group")),
        _ => FindCoordinatorRequest::default().with_coordinator_keys(vec![text("a-group"), text("another")]),
    }
}

/// Of a client that is in no group, for [`TOPIC`] and for a topic that is not there.
fn offset_commit(v: i16) -> OffsetCommitRequest {
    use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
    let one = |name: &str| {
        let partition = OffsetCommitRequestPartition::default()
            .with_partition_index(1)
            .with_committed_offset(7)
            .with_committed_leader_epoch(if v < 6 { -1 } else { 0 })
            .with_committed_metadata(Some(text("said")));
        OffsetCommitRequestTopic::default()
            .with_name(topic(name))
            .with_partitions(vec![partition])
    };
    OffsetCommitRequest::default()
        .with_group_id(GroupId(text("a-group")))
        .with_topics(vec![one(TOPIC), one("nothing-here")])
}

fn offset_fetch(v: i16) -> OffsetFetchRequest {
    use kafka_protocol::messages::offset_fetch_request::{
        OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
    };
    let (group, both) = (GroupId(text("a-group")), vec![0, 1]);
    if v < 8 {
        let one = OffsetFetchRequestTopic::default()
            .with_name(topic(TOPIC))
            .with_partition_indexes(both);
        return OffsetFetchRequest::default()
            .with_group_id(group)
            .with_topics(Some(vec![one]));
    }
    let one = OffsetFetchRequestTopics::default()
        .with_name(topic(TOPIC))
        .with_partition_indexes(both);
    let asked = OffsetFetchRequestGroup::default()
        .with_group_id(group)
        .with_member_id((v >= 9).then(|| text("somebody")))
        .with_topics(Some(vec![one]));
    OffsetFetchRequest::default().with_groups(vec![asked])
}

fn join_group(v: i16) -> JoinGroupRequest {
    use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
    let protocol = JoinGroupRequestProtocol::default()
        .with_name(text("range"))
        .with_metadata(Bytes::from_static(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0]));
    JoinGroupRequest::default()
        .with_group_id(GroupId(text("nobody-here")))
        .with_session_timeout_ms(10_000)
        .with_rebalance_timeout_ms(if v < 1 { -1 } else { 10_000 })
        .with_member_id(text("somebody"))
        .with_protocol_type(text("consumer"))
        .with_group_instance_id((v >= 5).then(|| text("instance")))
        .with_protocols(vec![protocol])
        .with_reason((v >= 8).then(|| text("because")))
}

fn sync_group(v: i16) -> SyncGroupRequest {
    use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
    let one = SyncGroupRequestAssignment::default()
        .with_member_id(text("somebody"))
        .with_assignment(Bytes::from_static(b"all of it"));
    SyncGroupRequest::default()
        .with_group_id(GroupId(text("nobody-here")))
        .with_generation_id(1)
        .with_member_id(text("somebody"))
        .with_group_instance_id((v >= 3).then(|| text("instance")))
        .with_protocol_type((v >= 5).then(|| text("consumer")))
        .with_protocol_name((v >= 5).then(|| text("range")))
        .with_assignments(vec![one])
}

fn heartbeat(v: i16) -> HeartbeatRequest {
    HeartbeatRequest::default()
        .with_group_id(GroupId(text("nobody-here")))
        .with_generation_id(1)
        .with_member_id(text("somebody"))
        .with_group_instance_id((v >= 3).then(|| text("instance")))
}

fn leave_group(v: i16) -> LeaveGroupRequest {
    use kafka_protocol::messages::leave_group_request::MemberIdentity;
    let request = LeaveGroupRequest::default().with_group_id(GroupId(text("nobody-here")));
    if v < 3 {
        return request.with_member_id(text("somebody"));
    }
    let one = MemberIdentity::default()
        .with_member_id(text("somebody"))
        .with_group_instance_id(Some(text("instance")))
        .with_reason((v >= 5).then(|| text("because")));
    request.with_members(vec![one])
}

fn describe_groups(v: i16) -> DescribeGroupsRequest {
    DescribeGroupsRequest::default()
        .with_groups(vec![GroupId(text("nobody-here"))])
        .with_include_authorized_operations(v >= 3)
}

/// Of a member of a group that is not there.
fn consumer_group_heartbeat(v: i16) -> ConsumerGroupHeartbeatRequest {
    let owned = consumer_group_heartbeat_request::TopicPartitions::default()
        .with_topic_id(uuid::Uuid::from_u128(7))
        .with_partitions(vec![0, 1]);
    ConsumerGroupHeartbeatRequest::default()
        .with_group_id(GroupId(text("nobody-here")))
        .with_member_id(text("member"))
        .with_member_epoch(5)
        .with_instance_id(Some(text("fixed")))
        .with_rack_id(Some(text("rack")))
        .with_rebalance_timeout_ms(60_000)
        .with_subscribed_topic_names(Some(vec![topic(TOPIC)]))
        .with_subscribed_topic_regex((v >= 1).then(|| text("sam.*")))
        .with_server_assignor(Some(text("uniform")))
        .with_topic_partitions(Some(vec![owned]))
}

fn consumer_group_describe() -> ConsumerGroupDescribeRequest {
    ConsumerGroupDescribeRequest::default()
        .with_group_ids(vec![GroupId(text("nobody-here"))])
        .with_include_authorized_operations(true)
}

fn list_groups(v: i16) -> ListGroupsRequest {
    let words = |from: i16, word: &str| if v < from { Vec::new() } else { vec![text(word)] };
    ListGroupsRequest::default()
        .with_states_filter(words(4, "Stable"))
        .with_types_filter(words(5, "classic"))
}

fn delete_groups() -> DeleteGroupsRequest {
    DeleteGroupsRequest::default().with_groups_names(vec![GroupId(text("nobody-here"))])
}

fn offset_delete() -> OffsetDeleteRequest {
    use kafka_protocol::messages::offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
    let one = OffsetDeleteRequestTopic::default()
        .with_name(topic(TOPIC))
        .with_partitions(vec![OffsetDeleteRequestPartition::default()]);
    OffsetDeleteRequest::default()
        .with_group_id(GroupId(text("nobody-here")))
        .with_topics(vec![one])
}

fn api_versions() -> ApiVersionsRequest {
    ApiVersionsRequest::default()
        .with_client_software_name(text("tests"))
        .with_client_software_version(text("1.0"))
}

fn create_topics() -> CreateTopicsRequest {
    let setting = |name: &str, value: &str| {
        CreatableTopicConfig::default()
            .with_name(text(name))
            .with_value(Some(text(value)))
    };
    let plain = CreatableTopic::default()
        .with_name(topic("fresh"))
        .with_num_partitions(3)
        .with_replication_factor(1);
    let assignment = CreatableReplicaAssignment::default()
        .with_partition_index(0)
        .with_broker_ids(vec![BrokerId(1)]);
    let assigned = CreatableTopic::default()
        .with_name(topic("assigned"))
        .with_num_partitions(-1)
        .with_replication_factor(-1)
        .with_assignments(vec![assignment]);
    let topics = vec![
        plain
            .clone()
            .with_configs(vec![setting("max.message.bytes", "1048576")]),
        plain
            .with_name(topic("strange"))
            .with_configs(vec![setting("no.such.setting", "1")]),
        assigned,
    ];
    CreateTopicsRequest::default()
        .with_topics(topics)
        .with_timeout_ms(1000)
        .with_validate_only(true)
}

/// Validated only.
fn create_partitions() -> CreatePartitionsRequest {
    use kafka_protocol::messages::create_partitions_request::CreatePartitionsAssignment;
    let mine = CreatePartitionsAssignment::default().with_broker_ids(vec![BrokerId(1)]);
    let one = |name: &str| CreatePartitionsTopic::default().with_name(topic(name)).with_count(3);
    CreatePartitionsRequest::default()
        .with_topics(vec![
            one(TOPIC).with_assignments(Some(vec![mine])),
            one("nothing-here").with_assignments(None),
        ])
        .with_timeout_ms(1000)
        .with_validate_only(true)
}

fn delete_topics(v: i16) -> DeleteTopicsRequest {
    let names = vec![topic("nothing-here"), topic("nothing-there")];
    let states = vec![
        DeleteTopicState::default().with_name(Some(topic("nothing-here"))),
        DeleteTopicState::default()
            .with_name(None)
            .with_topic_id(uuid::Uuid::from_u128(7)),
    ];
    match v {
        ..6 => DeleteTopicsRequest::default().with_topic_names(names),
        _ => DeleteTopicsRequest::default().with_topics(states),
    }
}

fn delete_records() -> DeleteRecordsRequest {
    let one = |name: &str| {
        let partition = DeleteRecordsPartition::default().with_partition_index(0).with_offset(0);
        DeleteRecordsTopic::default()
            .with_name(topic(name))
            .with_partitions(vec![partition])
    };
    DeleteRecordsRequest::default().with_topics(vec![one(TOPIC), one("nothing-here")])
}

fn offset_for_leader_epoch(v: i16) -> OffsetForLeaderEpochRequest {
    let one = |name: &str| {
        let partition = OffsetForLeaderPartition::default()
            .with_partition(0)
            .with_leader_epoch(0);
        OffsetForLeaderTopic::default()
            .with_topic(topic(name))
            .with_partitions(vec![partition])
    };
    let request = OffsetForLeaderEpochRequest::default().with_topics(vec![one(TOPIC), one("nothing-here")]);
    if v < 3 {
        request
    } else {
        request.with_replica_id(BrokerId(-1))
    }
}

/// The protocol crate's default is an empty transactional id, which is not null.
fn init_producer_id() -> InitProducerIdRequest {
    InitProducerIdRequest::default().with_transactional_id(None)
}

fn describe_configs(v: i16) -> DescribeConfigsRequest {
    let one = |kind: i8, name: &str| {
        DescribeConfigsResource::default()
            .with_resource_type(kind)
            .with_resource_name(text(name))
            .with_configuration_keys(None)
    };
    let some = one(2, TOPIC).with_configuration_keys(Some(vec![text("segment.bytes")]));
    let request = DescribeConfigsRequest::default().with_resources(vec![some, one(4, "1"), one(2, "nothing-here")]);
    if v < 3 {
        request
    } else {
        request.with_include_documentation(true)
    }
}

/// For each API the first and the last version, and the first flexible one: every field is in one of them.
pub fn telling() -> impl Iterator<Item = (ApiKey, i16)> {
    all().filter(|(key, version)| {
        let row = key.versions();
        [row.served_min, row.max, row.flexible_from].contains(version)
    })
}

/// The seeds of the fuzz target.
pub fn seeds() -> impl Iterator<Item = (String, Vec<u8>)> {
    telling().map(|(key, version)| {
        let name = format!("{key:?}-v{version}").to_lowercase();
        (name, frame(key, version, 1)[4..].to_vec())
    })
}
