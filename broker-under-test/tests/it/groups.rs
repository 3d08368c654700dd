//! Consumer groups over sockets: members wait for one another, offsets outlive the broker, and the admin's requests tell what is.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use broker_under_test::{Config, PlantedBug, Server};
use bytes::Bytes;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::*;
use kafka_wire::{ApiKey, ErrorCode};

use crate::support::{Client, TestBroker, batch, decode, frame_of, start_in, text, topic};

const GROUP: &str = "readers";
const TOPIC: &str = "orders";
const OWN: &str = "__consumer_offsets";
const QUICK: (&str, &str) = ("group.initial.rebalance.delay.ms", "0");

/// A broker whose groups don't wait for a second member, with a topic of four partitions.
fn broker(more: &[(&str, &str)]) -> TestBroker {
    let broker = TestBroker::start(&[&[QUICK, ("offsets.topic.num.partitions", "3")], more].concat());
    assert_eq!(broker.client().create_topic(TOPIC, 4, &[]), 0);
    broker
}

fn group() -> GroupId {
    GroupId(text(GROUP))
}

/// Subscribed to [`TOPIC`], as clients write it: version 0, topics, no user data.
fn subscription() -> Bytes {
    let name = TOPIC.as_bytes();
    let parts = [&[0, 0, 0, 0, 0, 1, 0, name.len() as u8][..], name, &[0xff; 4]];
    Bytes::from(parts.concat())
}

/// What a commit says of itself: member, generation, offsets of partitions of [`TOPIC`].
fn commit(client: &mut Client, member: &str, generation: i32, offsets: &[(i32, i64)]) -> Vec<i16> {
    let partition = |(index, offset): &(i32, i64)| {
        OffsetCommitRequestPartition::default()
            .with_partition_index(*index)
            .with_committed_offset(*offset)
            .with_committed_metadata(Some(text("by hand")))
    };
    let one = OffsetCommitRequestTopic::default()
        .with_name(topic(TOPIC))
        .with_partitions(offsets.iter().map(partition).collect());
    let request = OffsetCommitRequest::default()
        .with_group_id(group())
        .with_member_id(text(member))
        .with_generation_id_or_member_epoch(generation)
        .with_topics(vec![one]);
    let answer: OffsetCommitResponse = client.call(ApiKey::OffsetCommit, 8, &request);
    answer.topics[0].partitions.iter().map(|p| p.error_code).collect()
}

/// Everything that the group committed, by partition of [`TOPIC`].
fn committed(client: &mut Client) -> BTreeMap<i32, i64> {
    let asked = OffsetFetchRequestGroup::default()
        .with_group_id(group())
        .with_topics(None);
    let request = OffsetFetchRequest::default().with_groups(vec![asked]);
    let answer: OffsetFetchResponse = client.call(ApiKey::OffsetFetch, 8, &request);
    assert_eq!(answer.groups[0].error_code, 0);
    let topics = answer.groups[0].topics.iter().flat_map(|t| &t.partitions);
    topics.map(|p| (p.partition_index, p.committed_offset)).collect()
}

/// A client of its own and what it was told.
struct Member {
    client: Client,
    id: String,
    generation: i32,
    next: i32,
}

impl Member {
    fn new(address: SocketAddr) -> Self {
        Member {
            client: Client::connect(address),
            id: String::new(),
            generation: -1,
            next: 500,
        }
    }

    /// Sends a JoinGroup and does not wait.
    fn ask_to_join(&mut self) {
        let protocol = JoinGroupRequestProtocol::default()
            .with_name(text("range"))
            .with_metadata(subscription());
        let request = JoinGroupRequest::default()
            .with_group_id(group())
            .with_session_timeout_ms(60_000)
            .with_rebalance_timeout_ms(60_000)
            .with_member_id(text(&self.id))
            .with_protocol_type(text("consumer"))
            .with_protocols(vec![protocol]);
        self.next += 1;
        self.client.send(&frame_of(ApiKey::JoinGroup, 9, self.next, &request));
    }

    fn hear_of_joining(&mut self) -> JoinGroupResponse {
        let frame = self.client.receive().expect("an answer to JoinGroup");
        let answer: JoinGroupResponse = decode(&frame, ApiKey::JoinGroup, 9, self.next);
        self.id = answer.member_id.to_string();
        self.generation = answer.generation_id;
        answer
    }

    /// As a client that has no id yet.
    fn obtain_id(&mut self) {
        self.ask_to_join();
        let answer = self.hear_of_joining();
        assert_eq!(answer.error_code, ErrorCode::MemberIdRequired.code());
        assert!(self.id.starts_with("tests-"), "{}", self.id);
    }

    fn ask_to_sync(&mut self, assignments: &[(&str, &'static str)]) {
        let one = |(id, what): &(&str, &'static str)| {
            SyncGroupRequestAssignment::default()
                .with_member_id(text(id))
                .with_assignment(Bytes::from_static(what.as_bytes()))
        };
        let request = SyncGroupRequest::default()
            .with_group_id(group())
            .with_generation_id(self.generation)
            .with_member_id(text(&self.id))
            .with_protocol_type(Some(text("consumer")))
            .with_protocol_name(Some(text("range")))
            .with_assignments(assignments.iter().map(one).collect());
        self.next += 1;
        self.client.send(&frame_of(ApiKey::SyncGroup, 5, self.next, &request));
    }

    fn hear_of_syncing(&mut self) -> Result<Bytes, i16> {
        let frame = self.client.receive().expect("an answer to SyncGroup");
        let answer: SyncGroupResponse = decode(&frame, ApiKey::SyncGroup, 5, self.next);
        match answer.error_code {
            0 => Ok(answer.assignment),
            error => Err(error),
        }
    }

    fn beat(&mut self) -> i16 {
        let request = HeartbeatRequest::default()
            .with_group_id(group())
            .with_generation_id(self.generation)
            .with_member_id(text(&self.id));
        let answer: HeartbeatResponse = self.client.call(ApiKey::Heartbeat, 4, &request);
        answer.error_code
    }

    fn leave(&mut self) {
        let one = MemberIdentity::default().with_member_id(text(&self.id));
        let request = LeaveGroupRequest::default()
            .with_group_id(group())
            .with_members(vec![one]);
        let answer: LeaveGroupResponse = self.client.call(ApiKey::LeaveGroup, 5, &request);
        assert_eq!((answer.error_code, answer.members[0].error_code), (0, 0));
    }
}

/// A group of two; the first one leads and gave out `one` and `two`.
fn pair(address: SocketAddr) -> (Member, Member) {
    let (mut a, mut b) = (Member::new(address), Member::new(address));
    a.obtain_id();
    a.ask_to_join();
    assert_eq!(a.hear_of_joining().error_code, 0);
    a.ask_to_sync(&[]);
    assert_eq!(a.hear_of_syncing(), Ok(Bytes::new()));
    b.obtain_id();
    b.ask_to_join();
    // b is answered when a, which hears of it by its heartbeat, has joined again.
    while a.beat() == 0 {
        std::thread::yield_now();
    }
    a.ask_to_join();
    let told = a.hear_of_joining();
    assert_eq!((b.hear_of_joining().members.len(), told.members.len()), (0, 2));
    assert_eq!((a.generation, b.generation), (2, 2));
    b.ask_to_sync(&[]);
    let (a_id, b_id) = (a.id.clone(), b.id.clone());
    a.ask_to_sync(&[(&a_id, "one"), (&b_id, "two")]);
    assert_eq!(
        (a.hear_of_syncing(), b.hear_of_syncing()),
        (Ok("one".into()), Ok("two".into()))
    );
    (a, b)
}

fn describe(client: &mut Client) -> describe_groups_response::DescribedGroup {
    let request = DescribeGroupsRequest::default().with_groups(vec![group()]);
    let mut answer: DescribeGroupsResponse = client.call(ApiKey::DescribeGroups, 6, &request);
    answer.groups.remove(0)
}

#[test]
fn members_wait_for_one_another_and_take_over() {
    let broker = broker(&[]);
    let (mut a, mut b) = pair(broker.address);
    assert_eq!((a.beat(), b.beat()), (0, 0));
    let described = describe(&mut broker.client());
    let names: Vec<&str> = described.members.iter().map(|m| &*m.client_id).collect();
    assert_eq!(
        (&*described.group_state, &*described.protocol_data),
        ("Stable", "range")
    );
    assert_eq!(
        (names, &*described.members[0].client_host),
        (vec!["tests", "tests"], "/127.0.0.1")
    );
    assert_eq!(described.members[0].member_metadata, subscription());
    let (a_id, b_id) = (a.id.clone(), b.id.clone());
    assert_eq!(
        commit(&mut a.client, &a_id, 2, &[(0, 10), (9, 1)]),
        [0, ErrorCode::UnknownTopicOrPartition.code()]
    );
    a.leave();
    assert_eq!(b.beat(), ErrorCode::RebalanceInProgress.code());
    b.ask_to_join();
    assert_eq!(b.hear_of_joining().members.len(), 1);
    let in_between = commit(&mut b.client, &b_id, 3, &[(0, 11)]);
    assert_eq!(in_between, [ErrorCode::RebalanceInProgress.code()]);
    b.ask_to_sync(&[(&b_id, "all")]);
    assert_eq!(b.hear_of_syncing(), Ok("all".into()));
    // Who is out can't move offsets any more, nor who is in no group.
    assert_eq!(
        commit(&mut a.client, &a_id, 2, &[(0, 5)]),
        [ErrorCode::UnknownMemberId.code()]
    );
    assert_eq!(
        commit(&mut b.client, &b_id, 2, &[(0, 5)]),
        [ErrorCode::IllegalGeneration.code()]
    );
    assert_eq!(
        commit(&mut a.client, "", -1, &[(0, 5)]),
        [ErrorCode::UnknownMemberId.code()]
    );
    assert_eq!(committed(&mut a.client), BTreeMap::from([(0, 10)]));
    assert_eq!(commit(&mut b.client, &b_id, 3, &[(0, 12), (1, 1)]), [0, 0]);
    assert_eq!(committed(&mut a.client), BTreeMap::from([(0, 12), (1, 1)]));
}

#[test]
fn what_is_behind_a_join_on_a_connection_waits_for_it() {
    let broker = broker(&[]);
    let (mut a, mut b) = pair(broker.address);
    // The leader joins again, and on the same connection asks what is known of the broker.
    a.ask_to_join();
    a.client.send(&crate::samples::frame(ApiKey::ApiVersions, 3, 77));
    while b.beat() == 0 {
        std::thread::yield_now();
    }
    b.ask_to_join();
    assert_eq!(a.hear_of_joining().generation_id, 3);
    let behind = a.client.receive().unwrap();
    assert_eq!(crate::samples::error_codes(&behind, ApiKey::ApiVersions, 3, 77), [0]);
    assert_eq!(b.hear_of_joining().generation_id, 3);
}

#[test]
fn groups_and_offsets_outlive_the_broker() {
    let mut broker = broker(&[]);
    let (mut a, mut b) = pair(broker.address);
    let (a_id, b_id) = (a.id.clone(), b.id.clone());
    assert_eq!(commit(&mut a.client, &a_id, 2, &[(0, 7), (1, 8)]), [0, 0]);
    assert_eq!(commit(&mut b.client, &b_id, 2, &[(2, 9), (1, 80)]), [0, 0]);
    let expected = BTreeMap::from([(0, 7), (1, 80), (2, 9)]);
    // As after a SIGKILL.
    let copy = broker.killed_copy();
    let settings = [QUICK].map(|(name, value)| (name.to_owned(), value.to_owned()));
    let killed = start_in(copy.path(), &settings).unwrap();
    let mut other = Client::connect(killed.address);
    assert_eq!(committed(&mut other), expected);
    a.client = Client::connect(killed.address);
    assert_eq!(a.beat(), 0, "members go on without joining again");
    a.ask_to_sync(&[]);
    assert_eq!(a.hear_of_syncing(), Ok("one".into()));
    assert_eq!(
        commit(&mut a.client, &a_id, 1, &[(0, 1)]),
        [ErrorCode::IllegalGeneration.code()]
    );
    killed.stop().unwrap();
    // And after a clean stop.
    broker.stop();
    broker.start_again().unwrap();
    let mut client = broker.client();
    assert_eq!(committed(&mut client), expected);
    b.client = broker.client();
    assert_eq!(b.beat(), 0);
    // What was taken back stays away.
    a.client = broker.client();
    a.leave();
    b.leave();
    assert_eq!(delete_group(&mut client), 0);
    broker.stop();
    broker.start_again().unwrap();
    assert_eq!(committed(&mut broker.client()), BTreeMap::new());
    assert_eq!(
        describe(&mut broker.client()).error_code,
        ErrorCode::GroupIdNotFound.code()
    );
}

fn delete_group(client: &mut Client) -> i16 {
    let request = DeleteGroupsRequest::default().with_groups_names(vec![group()]);
    let answer: DeleteGroupsResponse = client.call(ApiKey::DeleteGroups, 2, &request);
    answer.results[0].error_code
}

fn delete_offset(client: &mut Client, partition: i32) -> (i16, Vec<i16>) {
    let one = OffsetDeleteRequestPartition::default().with_partition_index(partition);
    let one = OffsetDeleteRequestTopic::default()
        .with_name(topic(TOPIC))
        .with_partitions(vec![one]);
    let request = OffsetDeleteRequest::default()
        .with_group_id(group())
        .with_topics(vec![one]);
    let answer: OffsetDeleteResponse = client.call(ApiKey::OffsetDelete, 0, &request);
    let partitions = answer.topics.iter().flat_map(|t| &t.partitions);
    (answer.error_code, partitions.map(|p| p.error_code).collect())
}

fn list(client: &mut Client, states: &[&str], types: &[&str]) -> Vec<(String, String)> {
    let words = |words: &[&str]| words.iter().map(|w| text(w)).collect();
    let request = ListGroupsRequest::default()
        .with_states_filter(words(states))
        .with_types_filter(words(types));
    let answer: ListGroupsResponse = client.call(ApiKey::ListGroups, 5, &request);
    let row = |g: &list_groups_response::ListedGroup| (g.group_id.to_string(), g.group_state.to_string());
    answer.groups.iter().map(row).collect()
}

#[test]
fn groups_are_listed_and_end_when_nobody_needs_them() {
    let broker = broker(&[]);
    let mut client = broker.client();
    assert_eq!(list(&mut client, &[], &[]), []);
    assert_eq!(delete_group(&mut client), ErrorCode::GroupIdNotFound.code());
    assert_eq!(delete_offset(&mut client, 0).0, ErrorCode::GroupIdNotFound.code());
    let (mut a, mut b) = pair(broker.address);
    let stable = [(GROUP.to_owned(), "Stable".to_owned())];
    assert_eq!(list(&mut client, &[], &[]), stable);
    assert_eq!(list(&mut client, &["stable", "Empty"], &["classic"]), stable);
    assert_eq!(list(&mut client, &["Empty"], &[]), []);
    assert_eq!(list(&mut client, &[], &["consumer"]), []);
    let a_id = a.id.clone();
    assert_eq!(commit(&mut a.client, &a_id, 2, &[(0, 1), (1, 1)]), [0, 0]);
    assert_eq!(delete_group(&mut client), ErrorCode::NonEmptyGroup.code());
    let subscribed = ErrorCode::GroupSubscribedToTopic.code();
    assert_eq!(delete_offset(&mut client, 0), (0, vec![subscribed]));
    a.leave();
    b.leave();
    assert_eq!(list(&mut client, &[], &[]), [(GROUP.to_owned(), "Empty".to_owned())]);
    assert_eq!(delete_offset(&mut client, 0), (0, vec![0]));
    assert_eq!(committed(&mut client), BTreeMap::from([(1, 1)]));
    // Who is in no group may set an empty one's offsets, as the tool that resets them does.
    assert_eq!(commit(&mut client, "", -1, &[(3, 33)]), [0]);
    assert_eq!(committed(&mut client), BTreeMap::from([(1, 1), (3, 33)]));
    // Offsets go with their topic.
    assert_eq!(client.delete_topic(TOPIC), 0);
    assert_eq!(committed(&mut client), BTreeMap::new());
    assert_eq!(delete_group(&mut client), 0);
    assert_eq!(list(&mut client, &[], &[]), []);
}

#[test]
fn the_broker_keeps_its_topic_to_itself() {
    let broker = broker(&[]);
    let mut client = broker.client();
    let (refused, own) = (ErrorCode::InvalidRequest.code(), batch(&[b"mine"]));
    assert_eq!(client.create_topic(OWN, 1, &[]), refused);
    let metadata = MetadataRequest::default()
        .with_topics(Some(vec![
            metadata_request::MetadataRequestTopic::default().with_name(Some(topic(OWN))),
        ]))
        .with_allow_auto_topic_creation(true);
    let answer: MetadataResponse = client.call(ApiKey::Metadata, 9, &metadata);
    assert_eq!(
        answer.topics[0].error_code,
        ErrorCode::UnknownTopicOrPartition.code(),
        "nobody needs it yet"
    );
    assert_eq!(commit(&mut client, "", -1, &[(0, 1)]), [0]);
    let answer: MetadataResponse = client.call(ApiKey::Metadata, 9, &metadata);
    assert_eq!(
        (answer.topics[0].is_internal, answer.topics[0].partitions.len()),
        (true, 3)
    );
    assert_eq!(
        client.produce(OWN, 0, &own).error,
        ErrorCode::InvalidTopicException.code()
    );
    assert_eq!(client.delete_records(OWN, 0, -1).0, ErrorCode::PolicyViolation.code());
    assert_eq!(client.delete_topic(OWN), refused);
    assert_eq!(committed(&mut client), BTreeMap::from([(0, 1)]));
}

#[test]
fn a_topic_that_is_compacted_still_tells_the_last_offsets() {
    let settings = [
        ("offsets.topic.segment.bytes", "2000"),
        ("log.cleaner.backoff.ms", "1"),
        ("log.cleaner.min.cleanable.ratio", "0"),
        ("flush.policy", "every-batch"),
    ];
    let mut broker = broker(&settings);
    let mut client = broker.client();
    for offset in 0..300 {
        assert_eq!(commit(&mut client, "", -1, &[((offset % 4) as i32, offset)]), [0]);
    }
    // The cleaner has had time when the topic has become small.
    let bytes = |broker: &TestBroker| -> u64 {
        let folders = std::fs::read_dir(broker.data_dir())
            .unwrap()
            .map(|entry| entry.unwrap().path());
        let own = folders.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with(OWN));
        let files = own.flat_map(|folder| std::fs::read_dir(folder).unwrap());
        let logs = files
            .filter_map(Result::ok)
            .filter(|entry| entry.path().extension().is_some_and(|e| e == "log"));
        logs.filter_map(|entry| entry.metadata().ok())
            .map(|meta| meta.len())
            .sum()
    };
    while bytes(&broker) > 10_000 {
        std::thread::yield_now();
    }
    let expected = BTreeMap::from([(0, 296), (1, 297), (2, 298), (3, 299)]);
    assert_eq!(committed(&mut client), expected);
    broker.stop();
    broker.start_again().unwrap();
    assert_eq!(committed(&mut broker.client()), expected);
}

#[test]
fn requests_that_make_no_sense_are_refused() {
    let broker = broker(&[("offset.metadata.max.bytes", "6")]);
    let mut client = broker.client();
    assert_eq!(
        commit(&mut client, "", -1, &[(0, 1)]),
        [ErrorCode::OffsetMetadataTooLarge.code()]
    );
    assert_eq!(
        commit(&mut client, "x", 5, &[(0, 1)]),
        [ErrorCode::UnknownMemberId.code()]
    );
    let join = |name: &str, session_ms: i32| {
        JoinGroupRequest::default()
            .with_group_id(GroupId(text(name)))
            .with_session_timeout_ms(session_ms)
            .with_protocol_type(text("consumer"))
            .with_protocols(vec![JoinGroupRequestProtocol::default().with_name(text("range"))])
    };
    for (request, expected) in [
        (join("", 10_000), ErrorCode::InvalidGroupId),
        (join("g", 5_999), ErrorCode::InvalidSessionTimeout),
        (join("g", 1_800_001), ErrorCode::InvalidSessionTimeout),
        (join(&"g".repeat(10_000), 10_000), ErrorCode::InvalidRequest),
        (
            join("g", 10_000).with_protocols(Vec::new()),
            ErrorCode::InconsistentGroupProtocol,
        ),
        (
            join("g", 10_000).with_member_id(text("unknown")),
            ErrorCode::UnknownMemberId,
        ),
    ] {
        let answer: JoinGroupResponse = client.call(ApiKey::JoinGroup, 9, &request);
        assert_eq!(answer.error_code, expected.code(), "{request:?}");
    }
}

#[test]
fn the_planted_bug_lets_old_generations_commit() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = Config::default();
    for (name, value) in [
        ("listeners", "PLAINTEXT://127.0.0.1:0"),
        ("log.dirs", folder.path().to_str().unwrap()),
        ("log.layout", crate::LAYOUT),
        QUICK,
    ] {
        config.set(name, value, "test").unwrap();
    }
    let server = Server::start(config, Some(PlantedBug::ForgetToFenceGeneration)).unwrap();
    assert_eq!(Client::connect(server.address).create_topic(TOPIC, 4, &[]), 0);
    let (mut a, mut b) = pair(server.address);
    let a_id = a.id.clone();
    a.leave();
    assert_eq!(commit(&mut a.client, &a_id, 1, &[(0, 5)]), [0]);
    assert_eq!(committed(&mut b.client), BTreeMap::from([(0, 5)]));
    drop((a, b));
    server.stop().unwrap();
}

#[test]
fn a_broker_that_stops_answers_who_waits() {
    let mut broker = TestBroker::start(&[("group.initial.rebalance.delay.ms", "600000")]);
    let mut a = Member::new(broker.address);
    a.obtain_id();
    a.ask_to_join();
    broker.stop();
    let answer = a.client.receive();
    let joined = answer.map(|frame| decode::<JoinGroupResponse>(&frame, ApiKey::JoinGroup, 9, a.next).error_code);
    assert!(
        joined.is_none_or(|error| error == ErrorCode::CoordinatorNotAvailable.code()),
        "{joined:?}"
    );
}
