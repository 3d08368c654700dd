//! Partitions that are added to a topic, and the marks of ListOffsets.

use kafka_protocol::messages::create_partitions_request::{CreatePartitionsAssignment, CreatePartitionsTopic};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{
    BrokerId, CreatePartitionsRequest, CreatePartitionsResponse, ListOffsetsRequest, ListOffsetsResponse,
    MetadataRequest, MetadataResponse,
};
use kafka_wire::{ApiKey, ErrorCode};

use crate::support::{BASE_TIMESTAMP_MS, Client, TestBroker, batch, topic};

const TOPIC: &str = "orders";

fn growth(name: &str, count: i32) -> CreatePartitionsTopic {
    CreatePartitionsTopic::default()
        .with_name(topic(name))
        .with_count(count)
        .with_assignments(None)
}

/// The error codes of one request, in the order of the answer.
fn grow(client: &mut Client, topics: Vec<CreatePartitionsTopic>, validate_only: bool) -> Vec<i16> {
    let request = CreatePartitionsRequest::default()
        .with_topics(topics)
        .with_timeout_ms(1000)
        .with_validate_only(validate_only);
    let answer: CreatePartitionsResponse = client.call(ApiKey::CreatePartitions, 3, &request);
    answer.results.iter().map(|r| r.error_code).collect()
}

/// How many partitions the metadata shows, and the topic's id.
fn described(client: &mut Client) -> (usize, uuid::Uuid) {
    let request = MetadataRequest::default().with_topics(None);
    let answer: MetadataResponse = client.call(ApiKey::Metadata, 12, &request);
    (answer.topics[0].partitions.len(), answer.topics[0].topic_id)
}

/// Java's client asks so for the topics of a KIP-848 member that subscribes to a pattern.
#[test]
fn a_topic_is_found_by_its_id_whatever_name_stands_beside_it() {
    let broker = TestBroker::start(&[]);
    let mut client = broker.client();
    assert_eq!(client.create_topic(TOPIC, 2, &[]), 0);
    let (_, id) = described(&mut client);
    let mut ask = |id, name: Option<&str>| {
        let asked = MetadataRequestTopic::default()
            .with_topic_id(id)
            .with_name(name.map(topic));
        let request = MetadataRequest::default().with_topics(Some(vec![asked]));
        let mut answer: MetadataResponse = client.call(ApiKey::Metadata, 12, &request);
        let told = answer.topics.remove(0);
        (told.error_code, told.name, told.partitions.len())
    };
    for name in [None, Some("")] {
        assert_eq!(ask(id, name), (0, Some(topic(TOPIC)), 2));
        let unknown = (ErrorCode::UnknownTopicId.code(), None, 0);
        assert_eq!(ask(uuid::Uuid::from_u128(7), name), unknown);
    }
}

#[test]
fn partitions_are_added_and_stay() {
    let mut broker = TestBroker::start(&[]);
    let mut client = broker.client();
    assert_eq!(client.create_topic(TOPIC, 2, &[("max.message.bytes", "5000")]), 0);
    let records = batch(&[b"one", b"two"]);
    client.append(TOPIC, 1, &records);
    let (_, id) = described(&mut client);
    // A folder that an interrupted change left behind is not the new partition.
    std::fs::create_dir(broker.data_dir().join("orders-3")).unwrap();
    std::fs::write(broker.data_dir().join("orders-3/00000000000000000000.log"), &records).unwrap();
    assert_eq!(grow(&mut client, vec![growth(TOPIC, 4)], false), [0]);
    assert_eq!(described(&mut client), (4, id));
    assert_eq!(client.append(TOPIC, 3, &records), 0);
    let too_large = crate::support::batch_of(1, 6000, 1);
    let refused = client.produce(TOPIC, 3, &too_large);
    assert_eq!(
        refused.error,
        ErrorCode::MessageTooLarge.code(),
        "the topic's settings hold"
    );
    drop(client);
    broker.stop();
    broker.start_again().unwrap();
    let mut client = broker.client();
    assert_eq!(described(&mut client), (4, id));
    let ends: Vec<i64> = (0..4).map(|p| client.list_offset(TOPIC, p, -1).1).collect();
    assert_eq!(ends, [0, 2, 0, 2]);
}

#[test]
fn partitions_that_can_not_be_added() {
    let broker = TestBroker::start(&[("max.partitions", "5")]);
    let mut client = broker.client();
    assert_eq!(client.create_topic(TOPIC, 2, &[]), 0);
    let assigned = |ids: &[&[i32]]| {
        let one = |ids: &&[i32]| {
            let ids = ids.iter().map(|id| BrokerId(*id)).collect();
            CreatePartitionsAssignment::default().with_broker_ids(ids)
        };
        growth(TOPIC, 4).with_assignments(Some(ids.iter().map(one).collect()))
    };
    use ErrorCode::{
        InvalidPartitions, InvalidReplicaAssignment, InvalidRequest, PolicyViolation, UnknownTopicOrPartition,
    };
    for (asked, expected) in [
        (growth(TOPIC, 2), InvalidPartitions),
        (growth(TOPIC, 1), InvalidPartitions),
        (growth(TOPIC, 0), InvalidPartitions),
        (growth(TOPIC, -1), InvalidPartitions),
        (growth(TOPIC, i32::MIN), InvalidPartitions),
        (growth(TOPIC, i32::MAX), PolicyViolation),
        (growth(TOPIC, 6), PolicyViolation),
        (growth("unknown", 6), UnknownTopicOrPartition),
        (assigned(&[&[1]]), InvalidReplicaAssignment),
        (assigned(&[&[1], &[2]]), InvalidReplicaAssignment),
        (assigned(&[&[1], &[1, 1]]), InvalidReplicaAssignment),
        (assigned(&[&[1], &[]]), InvalidReplicaAssignment),
    ] {
        let what = format!("{asked:?}");
        assert_eq!(grow(&mut client, vec![asked], false), [expected.code()], "{what}");
    }
    let twice = vec![growth(TOPIC, 3), growth(TOPIC, 4)];
    assert_eq!(grow(&mut client, twice, false), [InvalidRequest.code()]);
    assert_eq!(grow(&mut client, vec![assigned(&[&[1], &[1]])], true), [0]);
    assert_eq!(described(&mut client).0, 2, "nothing was added");
    assert_eq!(grow(&mut client, vec![assigned(&[&[1], &[1]])], false), [0]);
    assert_eq!(described(&mut client).0, 4);
}

/// Error code, offset and timestamp.
fn offset(client: &mut Client, version: i16, timestamp: i64) -> (i16, i64, i64) {
    let one = ListOffsetsPartition::default().with_timestamp(timestamp);
    let asked = ListOffsetsTopic::default()
        .with_name(topic(TOPIC))
        .with_partitions(vec![one]);
    let request = ListOffsetsRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_topics(vec![asked]);
    let answer: ListOffsetsResponse = client.call(ApiKey::ListOffsets, version, &request);
    let p = &answer.topics[0].partitions[0];
    (p.error_code, p.offset, p.timestamp)
}

#[test]
fn every_mark_from_the_version_that_knows_it() {
    let broker = TestBroker::start(&[]);
    let mut client = broker.client();
    assert_eq!(client.create_topic(TOPIC, 1, &[]), 0);
    client.append(TOPIC, 0, &batch(&[b"one", b"two", b"three"]));
    let unsupported = (ErrorCode::UnsupportedVersion.code(), -1, -1);
    for version in 1..=10 {
        let mut expect = |timestamp: i64, from: i16, found: (i16, i64, i64)| {
            let expected = if version < from { unsupported } else { found };
            assert_eq!(
                offset(&mut client, version, timestamp),
                expected,
                "{timestamp} in version {version}"
            );
        };
        expect(-1, 1, (0, 3, -1));
        expect(-2, 1, (0, 0, -1));
        expect(-3, 7, (0, 2, BASE_TIMESTAMP_MS + 2));
        expect(-4, 8, (0, 0, -1));
        expect(-5, 9, (0, -1, -1));
        expect(-6, i16::MAX, unsupported);
        expect(i64::MIN, i16::MAX, unsupported);
        expect(BASE_TIMESTAMP_MS + 1, 1, (0, 1, BASE_TIMESTAMP_MS + 1));
        expect(i64::MAX, 1, (0, -1, -1));
    }
}
