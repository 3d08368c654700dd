//! Groups of KIP-848's protocol over sockets: members are led to their targets, epochs fence commits, and the group outlives the broker.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use broker_under_test::{Config, PlantedBug, Server};
use kafka_protocol::messages::consumer_group_heartbeat_request::TopicPartitions;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;
use kafka_protocol::messages::*;
use kafka_wire::{ApiKey, ErrorCode};
use uuid::Uuid;

use crate::support::{Client, TestBroker, start_in, text, topic};

const GROUP: &str = "readers";
const TOPIC: &str = "orders";
/// No member waits for another, and no assignment for the next one.
const QUICK: [(&str, &str); 2] = [
    ("group.initial.rebalance.delay.ms", "0"),
    ("group.consumer.assignment.interval.ms", "0"),
];

fn broker(partitions: i32, more: &[(&str, &str)]) -> TestBroker {
    let broker = TestBroker::start(&[&QUICK[..], &[("offsets.topic.num.partitions", "3")], more].concat());
    assert_eq!(broker.client().create_topic(TOPIC, partitions, &[]), 0);
    broker
}

fn group() -> GroupId {
    GroupId(text(GROUP))
}

/// A consumer that gives up at once what it is told to.
struct Member {
    client: Client,
    id: String,
    epoch: i32,
    held: BTreeMap<Uuid, BTreeSet<i32>>,
    topics: Vec<&'static str>,
    pattern: Option<&'static str>,
}

impl Member {
    fn new(address: SocketAddr, id: &str) -> Self {
        Member {
            client: Client::connect(address),
            id: id.to_owned(),
            epoch: 0,
            held: BTreeMap::new(),
            topics: vec![TOPIC],
            pattern: None,
        }
    }

    fn request(&self) -> ConsumerGroupHeartbeatRequest {
        let held = |(id, partitions): (&Uuid, &BTreeSet<i32>)| {
            TopicPartitions::default()
                .with_topic_id(*id)
                .with_partitions(partitions.iter().copied().collect())
        };
        ConsumerGroupHeartbeatRequest::default()
            .with_group_id(group())
            .with_member_id(text(&self.id))
            .with_member_epoch(self.epoch)
            .with_rebalance_timeout_ms(60_000)
            .with_subscribed_topic_names(Some(self.topics.iter().map(|name| topic(name)).collect()))
            .with_subscribed_topic_regex(self.pattern.map(text))
            .with_topic_partitions(Some(self.held.iter().map(held).collect()))
    }

    fn send(&mut self, request: &ConsumerGroupHeartbeatRequest) -> ConsumerGroupHeartbeatResponse {
        self.client.call(ApiKey::ConsumerGroupHeartbeat, 1, request)
    }

    fn beat(&mut self) -> i16 {
        let request = self.request();
        let answer = self.send(&request);
        if answer.error_code == 0 {
            self.epoch = answer.member_epoch;
            if let Some(assignment) = answer.assignment {
                let topics = assignment.topic_partitions.into_iter();
                self.held = topics
                    .map(|t| (t.topic_id, t.partitions.into_iter().collect()))
                    .collect();
            }
        }
        answer.error_code
    }

    fn leave(&mut self) -> i16 {
        let request = self.request().with_member_epoch(-1);
        let answer = self.send(&request);
        answer.error_code
    }

    fn partitions(&self) -> Vec<i32> {
        self.held.values().flatten().copied().collect()
    }

    fn commit(&mut self, epoch: i32, partition: i32, offset: i64) -> i16 {
        commit(&mut self.client, &self.id.clone(), epoch, partition, offset)
    }
}

fn commit(client: &mut Client, member: &str, epoch: i32, partition: i32, offset: i64) -> i16 {
    let one = OffsetCommitRequestPartition::default()
        .with_partition_index(partition)
        .with_committed_offset(offset);
    let topics = OffsetCommitRequestTopic::default()
        .with_name(topic(TOPIC))
        .with_partitions(vec![one]);
    let request = OffsetCommitRequest::default()
        .with_group_id(group())
        .with_member_id(text(member))
        .with_generation_id_or_member_epoch(epoch)
        .with_topics(vec![topics]);
    let answer: OffsetCommitResponse = client.call(ApiKey::OffsetCommit, 9, &request);
    answer.topics[0].partitions[0].error_code
}

/// What the group committed, as a member asks that is named with its epoch; nobody for `None`.
fn committed(client: &mut Client, member: Option<(&str, i32)>) -> Result<BTreeMap<i32, i64>, i16> {
    let asked = OffsetFetchRequestGroup::default()
        .with_group_id(group())
        .with_member_id(member.map(|(id, _)| text(id)))
        .with_member_epoch(member.map_or(-1, |(_, epoch)| epoch))
        .with_topics(None);
    let request = OffsetFetchRequest::default().with_groups(vec![asked]);
    let mut answer: OffsetFetchResponse = client.call(ApiKey::OffsetFetch, 9, &request);
    let group = answer.groups.remove(0);
    if group.error_code != 0 {
        return Err(group.error_code);
    }
    let partitions = group.topics.iter().flat_map(|t| &t.partitions);
    Ok(partitions.map(|p| (p.partition_index, p.committed_offset)).collect())
}

fn describe(client: &mut Client) -> consumer_group_describe_response::DescribedGroup {
    let request = ConsumerGroupDescribeRequest::default().with_group_ids(vec![group()]);
    let mut answer: ConsumerGroupDescribeResponse = client.call(ApiKey::ConsumerGroupDescribe, 1, &request);
    answer.groups.remove(0)
}

fn settle(members: &mut [Member]) {
    for _ in 0..10 {
        members.iter_mut().for_each(|member| assert_eq!(member.beat(), 0));
        if &*describe(&mut members[0].client).group_state == "Stable" {
            // What a member was given with its last heartbeat the others need not hear of.
            return;
        }
    }
    panic!("{:?}", describe(&mut members[0].client));
}

fn pair(address: SocketAddr) -> [Member; 2] {
    let mut pair = ["a", "b"].map(|id| Member::new(address, id));
    settle(&mut pair);
    pair
}

#[test]
fn members_share_a_topic_and_tell_of_it() {
    let quick = [
        ("group.consumer.min.heartbeat.interval.ms", "300"),
        ("group.consumer.heartbeat.interval.ms", "300"),
    ];
    let broker = broker(4, &quick);
    let mut members = pair(broker.address);
    assert_eq!(members.each_ref().map(Member::partitions), [[0, 1], [2, 3]]);
    let request = members[0].request();
    assert_eq!(members[0].send(&request).heartbeat_interval_ms, 300);
    let mut client = broker.client();
    let told = describe(&mut client);
    assert_eq!(
        (told.group_epoch, told.assignment_epoch, &*told.assignor_name),
        (3, 3, "uniform")
    );
    let names: Vec<(&str, &str, i32)> = told
        .members
        .iter()
        .map(|m| (&*m.member_id, &*m.client_id, m.member_epoch))
        .collect();
    assert_eq!(names, [("a", "tests", 3), ("b", "tests", 3)]);
    for member in &told.members {
        assert_eq!(member.assignment, member.target_assignment);
        assert_eq!(
            (&**member.assignment.topic_partitions[0].topic_name, member.member_type),
            (TOPIC, 1)
        );
    }
    // Admin tools ask the new request first, and the old one when the group is not of that kind.
    let request = DescribeGroupsRequest::default().with_groups(vec![group()]);
    let answer: DescribeGroupsResponse = client.call(ApiKey::DescribeGroups, 6, &request);
    assert_eq!(answer.groups[0].error_code, ErrorCode::GroupIdNotFound.code());
    let list = |client: &mut Client, types: &[&str]| -> Vec<(String, String)> {
        let request = ListGroupsRequest::default().with_types_filter(types.iter().map(|name| text(name)).collect());
        let answer: ListGroupsResponse = client.call(ApiKey::ListGroups, 5, &request);
        answer
            .groups
            .iter()
            .map(|g| (g.group_type.to_string(), g.group_state.to_string()))
            .collect()
    };
    assert_eq!(
        list(&mut client, &["Consumer"]),
        [("consumer".to_owned(), "Stable".to_owned())]
    );
    assert_eq!(list(&mut client, &["classic"]), []);
    let delete = |client: &mut Client| -> i16 {
        let request = DeleteGroupsRequest::default().with_groups_names(vec![group()]);
        let answer: DeleteGroupsResponse = client.call(ApiKey::DeleteGroups, 2, &request);
        answer.results[0].error_code
    };
    assert_eq!(delete(&mut client), ErrorCode::NonEmptyGroup.code());
    assert_eq!(members[0].leave(), 0);
    assert_eq!(members[1].beat(), 0);
    assert_eq!(members[1].partitions(), [0, 1, 2, 3]);
    assert_eq!(members[1].leave(), 0);
    assert_eq!(
        (members[1].leave(), &*describe(&mut client).group_state),
        (ErrorCode::UnknownMemberId.code(), "Empty")
    );
    assert_eq!(delete(&mut client), 0);
    assert_eq!(describe(&mut client).error_code, ErrorCode::GroupIdNotFound.code());
}

#[test]
fn epochs_fence_commits() {
    let broker = broker(4, &[]);
    let [mut a, mut b] = pair(broker.address);
    let stale = ErrorCode::StaleMemberEpoch.code();
    // Partition 0 was a's in epoch 2 and still is; partition 2 was, and is b's now.
    assert_eq!(
        (
            a.commit(3, 0, 5),
            a.commit(2, 0, 6),
            a.commit(2, 2, 7),
            a.commit(4, 0, 8)
        ),
        (0, 0, stale, stale)
    );
    assert_eq!(b.commit(3, 2, 9), 0);
    assert_eq!(
        commit(&mut b.client, "nobody", 3, 2, 1),
        ErrorCode::UnknownMemberId.code()
    );
    let mut client = broker.client();
    let all = BTreeMap::from([(0, 6), (2, 9)]);
    assert_eq!(committed(&mut client, None), Ok(all.clone()));
    assert_eq!(committed(&mut client, Some(("a", 3))), Ok(all));
    assert_eq!(committed(&mut client, Some(("a", 2))), Err(stale));
    assert_eq!(
        committed(&mut client, Some(("x", 2))),
        Err(ErrorCode::UnknownMemberId.code())
    );
    a.epoch = 7;
    assert_eq!(a.beat(), ErrorCode::FencedMemberEpoch.code());
}

#[test]
fn the_planted_bug_lets_old_epochs_commit() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = Config::default();
    let own = [
        ("listeners", "PLAINTEXT://127.0.0.1:0"),
        ("log.dirs", folder.path().to_str().unwrap()),
        ("log.layout", crate::LAYOUT),
    ];
    for (name, value) in own.into_iter().chain(QUICK) {
        config.set(name, value, "test").unwrap();
    }
    let server = Server::start(config, Some(PlantedBug::ForgetToFenceGeneration)).unwrap();
    assert_eq!(Client::connect(server.address).create_topic(TOPIC, 4, &[]), 0);
    let [mut a, b] = pair(server.address);
    assert_eq!(a.commit(2, 2, 7), 0, "it is b's");
    assert_eq!(a.leave(), 0);
    assert_eq!(a.commit(3, 3, 8), 0, "it is in no group any more");
    drop((a, b));
    server.stop().unwrap();
}

#[test]
fn a_group_with_members_keeps_its_protocol_and_an_empty_one_changes_it() {
    let broker = broker(4, &[]);
    let [mut a, mut b] = pair(broker.address);
    assert_eq!(a.commit(3, 0, 5), 0);
    let mut client = broker.client();
    let join = |client: &mut Client, id: &str| -> JoinGroupResponse {
        let request = JoinGroupRequest::default()
            .with_group_id(group())
            .with_member_id(text(id))
            .with_session_timeout_ms(10_000)
            .with_rebalance_timeout_ms(10_000)
            .with_protocol_type(text("consumer"))
            .with_protocols(vec![JoinGroupRequestProtocol::default().with_name(text("range"))]);
        client.call(ApiKey::JoinGroup, 9, &request)
    };
    assert_eq!(
        join(&mut client, "").error_code,
        ErrorCode::InconsistentGroupProtocol.code()
    );
    let sync = SyncGroupRequest::default()
        .with_group_id(group())
        .with_member_id(text("a"))
        .with_protocol_type(Some(text("consumer")))
        .with_protocol_name(Some(text("range")));
    let answer: SyncGroupResponse = client.call(ApiKey::SyncGroup, 5, &sync);
    assert_eq!(answer.error_code, ErrorCode::UnknownMemberId.code());
    let beat = HeartbeatRequest::default()
        .with_group_id(group())
        .with_member_id(text("a"));
    let answer: HeartbeatResponse = client.call(ApiKey::Heartbeat, 4, &beat);
    assert_eq!(answer.error_code, ErrorCode::UnknownMemberId.code());
    assert_eq!((a.beat(), b.beat()), (0, 0), "nobody was disturbed");
    assert_eq!((a.leave(), b.leave()), (0, 0));
    let id = join(&mut client, "").member_id;
    assert_eq!(join(&mut client, &id).error_code, 0);
    assert_eq!(describe(&mut client).error_code, ErrorCode::GroupIdNotFound.code());
    a.epoch = 0;
    a.held.clear();
    assert_eq!(a.beat(), ErrorCode::GroupIdNotFound.code());
    let leaving = leave_group_request::MemberIdentity::default().with_member_id(id);
    let leave = LeaveGroupRequest::default()
        .with_group_id(group())
        .with_members(vec![leaving]);
    let answer: LeaveGroupResponse = client.call(ApiKey::LeaveGroup, 5, &leave);
    assert_eq!(answer.members[0].error_code, 0);
    assert_eq!(
        committed(&mut client, None),
        Ok(BTreeMap::from([(0, 5)])),
        "what was committed stays"
    );
    assert_eq!(a.beat(), 0);
    assert_eq!(a.partitions(), [0, 1, 2, 3]);
    let killed = broker.killed_copy();
    let restarted = start_in(killed.path(), &settings()).unwrap();
    assert_eq!(
        &*describe(&mut Client::connect(restarted.address)).group_state,
        "Stable",
        "it is what it was last"
    );
    restarted.stop().unwrap();
}

fn settings() -> Vec<(String, String)> {
    QUICK.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
}

#[test]
fn a_killed_broker_knows_its_groups_when_it_is_back() {
    let broker = broker(4, &[("flush.policy", "every-batch")]);
    let [mut a, mut b] = pair(broker.address);
    assert_eq!(b.commit(3, 2, 9), 0);
    let mut late = Member::new(broker.address, "late");
    assert_eq!(late.beat(), 0);
    assert_eq!(a.beat(), 0);
    let told = describe(&mut a.client);
    assert_eq!(
        &*told.group_state, "Reconciling",
        "somebody has to give something up first"
    );
    let killed = broker.killed_copy();
    let server = start_in(killed.path(), &settings()).unwrap();
    let mut members = [a, b, late];
    members
        .iter_mut()
        .for_each(|member| member.client = Client::connect(server.address));
    assert_eq!(describe(&mut members[0].client), told);
    assert_eq!(committed(&mut members[0].client, None), Ok(BTreeMap::from([(2, 9)])));
    settle(&mut members);
    members.iter_mut().for_each(|member| assert_eq!(member.beat(), 0));
    let mut all: Vec<i32> = members.iter().flat_map(Member::partitions).collect();
    all.sort_unstable();
    assert_eq!(
        (all, members[0].epoch),
        (vec![0, 1, 2, 3], 4),
        "no epoch was spent on the restart"
    );
    server.stop().unwrap();
}

#[test]
fn what_is_written_of_a_group_is_compacted_and_taken_back() {
    let small = [
        ("offsets.topic.segment.bytes", "2000"),
        ("log.cleaner.backoff.ms", "1"),
        ("log.cleaner.min.cleanable.ratio", "0"),
        ("flush.policy", "every-batch"),
    ];
    let mut broker = broker(4, &small);
    let mut first = Member::new(broker.address, "first");
    assert_eq!(first.beat(), 0);
    for n in 0..60 {
        let mut passing = Member::new(broker.address, &format!("passing-{n}"));
        assert_eq!((passing.beat(), passing.leave(), first.beat()), (0, 0, 0));
    }
    settle(std::slice::from_mut(&mut first));
    let told = describe(&mut first.client);
    broker.stop();
    broker.start_again().unwrap();
    assert_eq!(describe(&mut broker.client()), told);
    assert_eq!(told.members.len(), 1);
}

#[test]
fn topics_are_noticed_by_name_and_by_pattern() {
    let broker = broker(2, &[]);
    let mut client = broker.client();
    let mut member = Member::new(broker.address, "a");
    (member.topics, member.pattern) = (vec![], Some("or.*|later"));
    assert_eq!(member.beat(), 0);
    assert_eq!(member.partitions(), [0, 1]);
    assert_eq!(client.create_topic("later", 1, &[]), 0);
    assert_eq!(member.beat(), 0);
    assert_eq!((member.epoch, member.held.len()), (3, 2));
    let more = create_partitions_request::CreatePartitionsTopic::default()
        .with_name(topic(TOPIC))
        .with_count(3)
        .with_assignments(None);
    let request = CreatePartitionsRequest::default().with_topics(vec![more]);
    let answer: CreatePartitionsResponse = client.call(ApiKey::CreatePartitions, 3, &request);
    assert_eq!(answer.results[0].error_code, 0);
    assert_eq!(member.beat(), 0);
    assert_eq!((member.epoch, member.partitions().len()), (4, 4));
    assert_eq!(client.delete_topic("later"), 0);
    assert_eq!((member.beat(), member.beat()), (0, 0));
    assert_eq!((member.epoch, member.held.len()), (5, 1));
    let wrong = member.request().with_subscribed_topic_regex(Some(text("(")));
    assert_eq!(
        member.send(&wrong).error_code,
        ErrorCode::InvalidRegularExpression.code()
    );
}

#[test]
fn a_hundred_members_and_a_thousand_partitions_are_stable() {
    let broker = broker(1000, &[]);
    let mut members: Vec<Member> = (0..99)
        .map(|n| Member::new(broker.address, &format!("member-{n:03}")))
        .collect();
    settle(&mut members);
    let before: Vec<Vec<i32>> = members.iter().map(Member::partitions).collect();
    members.push(Member::new(broker.address, "member-099"));
    settle(&mut members);
    let mut owners = BTreeMap::new();
    for member in &members {
        assert_eq!(member.partitions().len(), 10);
        for partition in member.partitions() {
            assert_eq!(
                owners.insert(partition, &member.id),
                None,
                "partition {partition} has two owners"
            );
        }
    }
    assert_eq!(owners.len(), 1000);
    for (member, before) in members.iter().zip(before) {
        assert!(
            member.partitions().iter().all(|p| before.contains(p)),
            "{} was given what it need not get",
            member.id
        );
    }
}
