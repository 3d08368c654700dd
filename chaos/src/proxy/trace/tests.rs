//! Requests and answers as the protocol crate writes them, and what is told of them.

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::consumer_group_heartbeat_response::{Assignment, TopicPartitions};
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Encodable, StrBytes};
use kafka_wire::ApiKey;
use kafka_wire::encode::{BufMut, Encode};
use proptest::prelude::*;

use super::*;

fn text(s: &str) -> StrBytes {
    StrBytes::from_string(s.to_owned())
}

fn group() -> GroupId {
    GroupId(text("readers"))
}

/// A request behind its length.
fn request(key: ApiKey, version: i16, body: &impl Encodable) -> Vec<u8> {
    let mut out = BytesMut::new();
    out.put_i16(key.code());
    out.put_i16(version);
    out.put_i32(7);
    out.put_string("worker-1", false);
    out.put_no_tags(key.is_flexible(version));
    body.encode(&mut out, version).unwrap();
    out.to_vec()
}

/// An answer behind its length.
fn answer(key: ApiKey, version: i16, body: &impl Encodable) -> Vec<u8> {
    let mut out = BytesMut::new();
    out.put_i32(7);
    out.put_no_tags(key.response_header_is_flexible(version));
    body.encode(&mut out, version).unwrap();
    out.to_vec()
}

fn step(key: ApiKey, version: i16, asked: &impl Encodable, answered: &impl Encodable) -> Option<Step> {
    let asked = Asked::read(&request(key, version, asked)).unwrap().unwrap();
    let told = asked
        .answered(&answer(key, version, answered), (1_000_000, 3_500_000), 2, false)
        .unwrap();
    let step = match told {
        Told::Step(step) => Some(step),
        Told::Nothing => None,
        Told::Topics(_) => panic!("{told:?}"),
    };
    assert!(
        step.as_ref()
            .is_none_or(|step| step.client == "worker-1" && step.group == "readers")
    );
    step
}

/// As consumers write it: version, one topic, its partitions, no user data.
fn assignment(topic: &str, partitions: &[i32]) -> Bytes {
    let mut out = Vec::new();
    out.put_i16(1);
    out.put_i32(1);
    out.put_string(topic, false);
    out.put_array_len(partitions.len(), false);
    partitions.iter().for_each(|partition| out.put_i32(*partition));
    out.put_i32(-1);
    Bytes::from(out)
}

#[test]
fn a_classic_rebalance_is_told_in_every_version() {
    let protocol = |name: &str| {
        JoinGroupRequestProtocol::default()
            .with_name(text(name))
            .with_metadata(Bytes::from_static(b"m"))
    };
    for version in 0..=9 {
        let asked = JoinGroupRequest::default()
            .with_group_id(group())
            .with_member_id(text("m-1"))
            .with_protocol_type(text("consumer"))
            .with_protocols(vec![protocol("range"), protocol("roundrobin")]);
        let told = |id: &str| JoinGroupResponseMember::default().with_member_id(text(id));
        let leads = JoinGroupResponse::default()
            .with_generation_id(4)
            .with_protocol_name(Some(text("range")))
            .with_leader(text("m-1"))
            .with_member_id(text("m-1"))
            .with_members(vec![told("m-1"), told("m-2")]);
        let step = step(ApiKey::JoinGroup, version, &asked, &leads).unwrap();
        assert_eq!(
            (step.asked.as_str(), step.epoch, step.member.as_str(), step.error),
            ("asks to join with its id, knows range, roundrobin", Some(4), "m-1", 0),
            "v{version}"
        );
        assert_eq!(
            (step.answered.as_str(), step.act),
            ("generation 4 by range, was made leader of 2 members", Act::Joins)
        );
    }
    for version in 0..=5 {
        let given = |id: &str, partitions: &[i32]| {
            let assigned = assignment("orders", partitions);
            SyncGroupRequestAssignment::default()
                .with_member_id(text(id))
                .with_assignment(assigned)
        };
        let asked = SyncGroupRequest::default()
            .with_group_id(group())
            .with_generation_id(4)
            .with_member_id(text("m-1"))
            .with_assignments(vec![given("m-1", &[1, 0]), given("m-2", &[2])]);
        let answered = SyncGroupResponse::default().with_assignment(assignment("orders", &[0, 1]));
        let step = step(ApiKey::SyncGroup, version, &asked, &answered).unwrap();
        let asked = "leads and assigns m-1: orders 0 1; m-2: orders 2";
        assert_eq!((step.asked.as_str(), step.epoch), (asked, Some(4)), "v{version}");
        assert_eq!(
            (step.answered.as_str(), step.act),
            ("was given orders 0 1", Act::Assigns)
        );
    }
    for version in 0..=4 {
        let asked = HeartbeatRequest::default()
            .with_group_id(group())
            .with_generation_id(4)
            .with_member_id(text("m-1"));
        assert_eq!(
            step(ApiKey::Heartbeat, version, &asked, &HeartbeatResponse::default()),
            None
        );
        let rebalance = HeartbeatResponse::default().with_error_code(27);
        assert_eq!(
            step(ApiKey::Heartbeat, version, &asked, &rebalance).unwrap().error,
            27,
            "v{version}"
        );
    }
    for version in 0..=5 {
        let asked = match version {
            ..3 => LeaveGroupRequest::default().with_member_id(text("m-1")),
            _ => {
                let reason = (version >= 5).then(|| text("done"));
                LeaveGroupRequest::default().with_members(vec![
                    MemberIdentity::default()
                        .with_member_id(text("m-1"))
                        .with_reason(reason),
                ])
            }
        };
        let step = step(
            ApiKey::LeaveGroup,
            version,
            &asked.with_group_id(group()),
            &LeaveGroupResponse::default(),
        )
        .unwrap();
        assert_eq!(
            (step.member.as_str(), step.asked.starts_with("leaves"), step.act),
            ("m-1", true, Act::Leaves),
            "v{version}"
        );
    }
}

#[test]
fn heartbeats_of_kip_848_are_told_when_they_say_something_new() {
    let topic = uuid_of(0xabcd_ef01);
    let asked = |epoch: i32| {
        ConsumerGroupHeartbeatRequest::default()
            .with_group_id(group())
            .with_member_id(text("m-1"))
            .with_member_epoch(epoch)
    };
    let beaten = |epoch: i32| {
        ConsumerGroupHeartbeatResponse::default()
            .with_member_id(Some(text("m-1")))
            .with_member_epoch(epoch)
    };
    let shall = |partitions: &[i32]| {
        let one = TopicPartitions::default()
            .with_topic_id(topic)
            .with_partitions(partitions.to_vec());
        Some(Assignment::default().with_topic_partitions(vec![one]))
    };
    for version in 0..=1 {
        let step = |asked: &ConsumerGroupHeartbeatRequest, answered: &ConsumerGroupHeartbeatResponse| {
            step(ApiKey::ConsumerGroupHeartbeat, version, asked, answered)
        };
        let joins = asked(0)
            .with_subscribed_topic_names(Some(vec![TopicName(text("orders"))]))
            .with_topic_partitions(Some(vec![]));
        let joined = step(&joins, &beaten(3).with_assignment(shall(&[2, 0]))).unwrap();
        assert_eq!(
            (joined.asked.as_str(), joined.answered.as_str(), joined.epoch),
            ("joins, wants orders", "epoch 3, shall hold abcdef01 0 2", Some(3))
        );
        assert_eq!(step(&asked(3), &beaten(3)), None, "nothing new");
        let held = consumer_group_heartbeat_request::TopicPartitions::default()
            .with_topic_id(topic)
            .with_partitions(vec![0]);
        let gave_up = step(&asked(3).with_topic_partitions(Some(vec![held])), &beaten(4)).unwrap();
        assert_eq!(
            (gave_up.asked.as_str(), gave_up.answered.as_str()),
            ("is there, holds abcdef01 0", "epoch 4")
        );
        let fenced = ConsumerGroupHeartbeatResponse::default()
            .with_error_code(110)
            .with_error_message(Some(text("rejoin")));
        let fenced = step(&asked(3), &fenced).unwrap();
        assert_eq!(
            (
                fenced.error,
                fenced.asked.as_str(),
                fenced.answered.as_str(),
                fenced.epoch
            ),
            (110, "is there", "rejoin", Some(3))
        );
        assert_eq!(step(&asked(-1), &beaten(-1)).unwrap().asked, "leaves");
    }
}

fn uuid_of(start: u32) -> uuid::Uuid {
    uuid::Uuid::from_u128(u128::from(start) << 96)
}

#[test]
fn commits_are_told_when_they_are_refused() {
    for version in 2..=9 {
        let partition = OffsetCommitRequestPartition::default()
            .with_partition_index(1)
            .with_committed_offset(5);
        let name = TopicName(text("orders"));
        let topic = OffsetCommitRequestTopic::default()
            .with_name(name.clone())
            .with_partitions(vec![partition]);
        let asked = OffsetCommitRequest::default()
            .with_group_id(group())
            .with_generation_id_or_member_epoch(3)
            .with_member_id(text("m-1"))
            .with_topics(vec![topic]);
        let answered = |error: i16| {
            let partition = OffsetCommitResponsePartition::default()
                .with_partition_index(1)
                .with_error_code(error);
            let topic = OffsetCommitResponseTopic::default()
                .with_name(name.clone())
                .with_partitions(vec![partition.clone(), partition]);
            OffsetCommitResponse::default().with_topics(vec![topic])
        };
        assert_eq!(step(ApiKey::OffsetCommit, version, &asked, &answered(0)), None);
        let refused = step(ApiKey::OffsetCommit, version, &asked, &answered(113)).unwrap();
        assert_eq!(
            (refused.error, refused.epoch, refused.answered.as_str()),
            (113, Some(3), "2 partitions are refused")
        );
    }
}

#[test]
fn topics_are_told_by_their_names() {
    use kafka_protocol::messages::metadata_response::{
        MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
    };
    let broker = MetadataResponseBroker::default()
        .with_node_id(BrokerId(1))
        .with_host(text("host"))
        .with_port(9092);
    let partition = MetadataResponsePartition::default()
        .with_replica_nodes(vec![BrokerId(1)])
        .with_isr_nodes(vec![BrokerId(1)]);
    let topic = |name: &str, start: u32| {
        MetadataResponseTopic::default()
            .with_name(Some(TopicName(text(name))))
            .with_topic_id(uuid_of(start))
            .with_partitions(vec![partition.clone(), partition.clone()])
    };
    let answered = MetadataResponse::default()
        .with_brokers(vec![broker])
        .with_topics(vec![topic("orders", 0xabcd_ef01), topic("others", 0x0000_0002)]);
    for version in 0..=13 {
        let asked = Asked::read(&request(ApiKey::Metadata, version, &MetadataRequest::default())).unwrap();
        let Some(asked) = asked.filter(|_| version >= 10) else {
            assert!(version < 10, "v{version}");
            continue;
        };
        let told = asked.answered(&answer(ApiKey::Metadata, version, &answered), (0, 0), 1, false);
        let pair = |id: &str, name: &str| (id.to_owned(), name.to_owned());
        let topics = vec![pair("abcdef01", "orders"), pair("00000002", "others")];
        assert_eq!(told, Ok(Told::Topics(topics)), "v{version}");
    }
}

/// A step of the group `readers`, from and to so many milliseconds.
fn said(client: &str, at_ms: (u64, u64), api: &'static str, epoch: i32, act: Act, words: (&str, &str)) -> Step {
    Step {
        asked_ns: at_ms.0 * 1_000_000,
        answered_ns: at_ms.1 * 1_000_000,
        connection: 4,
        client: client.to_owned(),
        api,
        group: "readers".to_owned(),
        member: format!("{client}-id"),
        epoch: Some(epoch),
        error: 0,
        act,
        asked: words.0.to_owned(),
        answered: words.1.to_owned(),
        is_lost: false,
    }
}

fn lines_of(trace: &Trace, marks: &[Mark]) -> Vec<String> {
    let text = trace.text(0, marks);
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(str::to_owned).collect()
}

#[test]
fn readers_are_told_who_asked_for_a_rebalance_who_led_and_who_was_gone() {
    let mut trace = Trace::default();
    let joins = ("asks to join", "generation");
    for (client, asked_ms) in [("m-1", 1), ("m-2", 3)] {
        trace.add(said(client, (asked_ms, 5), "JoinGroup", 1, Act::Joins, joins));
    }
    // m-2 was killed. m-3 asks first, so it is m-3 that the group hears of.
    let killed = Mark {
        at_ns: 10_000_000,
        what: "fault 1: kill".to_owned(),
    };
    let mut told = said("m-1", (30, 30), "Heartbeat", 1, Act::Other, ("is there", ""));
    told.error = 27;
    trace.add(told.clone());
    trace.add(said("m-1", (31, 60), "JoinGroup", 2, Act::Joins, joins));
    trace.add(said("m-3", (20, 60), "JoinGroup", 2, Act::Joins, joins));
    let assigns = (
        "leads and assigns m-1-id: orders 0; m-3-id: orders 1",
        "was given orders 0",
    );
    trace.add(said(
        "m-3",
        (62, 63),
        "SyncGroup",
        2,
        Act::Other,
        ("asks for its assignment", "was given orders 1"),
    ));
    trace.add(said("m-1", (61, 63), "SyncGroup", 2, Act::Assigns, assigns));
    // Nobody says anything before m-1 is told.
    (told.asked_ns, told.answered_ns, told.epoch) = (80_000_000, 81_000_000, Some(2));
    trace.add(told);
    trace.add(said("m-1", (82, 83), "JoinGroup", 3, Act::Joins, joins));
    trace.add(said("m-1", (90, 91), "LeaveGroup", 3, Act::Leaves, ("leaves", "")));
    let expected = "
    0.001 s  == rebalance to generation 1: m-1 asks to join
    0.005 s  == generation 1: 2 members; new: m-1, m-2
    0.005 s  m-1  JoinGroup [1]   asks to join: generation
    0.005 s  m-2  JoinGroup [1]   asks to join: generation
    0.010 s  ** fault 1: kill
    0.020 s  == rebalance to generation 2: m-3 asks to join
    0.020 s  m-3  JoinGroup       asks to join ...
    0.030 s  m-1  Heartbeat [1]   is there: RebalanceInProgress
    0.031 s  m-1  JoinGroup       asks to join ...
    0.060 s  == generation 2: 2 members, led by m-1; new: m-3; gone: m-2
    0.060 s  m-1  JoinGroup [2]   ... generation, after 29.0 ms
    0.060 s  m-3  JoinGroup [2]   ... generation, after 40.0 ms
    0.061 s  m-1  SyncGroup [2]   leads and assigns m-1: orders 0; m-3: orders 1 ...
    0.063 s  m-3  SyncGroup [2]   asks for its assignment: was given orders 1
    0.063 s  m-1  SyncGroup [2]   ... was given orders 0, after 2.0 ms
    0.081 s  == rebalance to generation 3: nobody has joined or left: a session has ended, or topics have changed
    0.081 s  m-1  Heartbeat [2]   is there: RebalanceInProgress
    0.083 s  == generation 3: 1 members; gone: m-3
    0.083 s  m-1  JoinGroup [3]   asks to join: generation
    0.091 s  m-1  LeaveGroup [3]  leaves";
    assert_eq!(
        lines_of(&trace, &[killed]),
        expected.lines().skip(1).collect::<Vec<_>>()
    );
}

#[test]
fn epochs_of_kip_848_are_told_once_with_what_they_are_for() {
    let mut trace = Trace::default();
    let mut beat = |client: &str, at_ms: u64, epoch: i32, act: Act, asked: &str, answered: &str| {
        let api = "ConsumerGroupHeartbeat";
        trace.learn(Told::Step(said(
            client,
            (at_ms, at_ms),
            api,
            epoch,
            act,
            (asked, answered),
        )));
    };
    beat(
        "m-1",
        1,
        2,
        Act::Joins,
        "joins, wants orders",
        "epoch 2, shall hold 00000001 0 1",
    );
    beat(
        "m-2",
        2,
        2,
        Act::Joins,
        "joins, wants orders",
        "epoch 2, shall hold nothing",
    );
    // What it said and was told before, with all of itself.
    beat(
        "m-2",
        3,
        2,
        Act::Other,
        "is there, wants orders, holds nothing",
        "shall hold nothing",
    );
    beat("m-1", 4, 3, Act::Other, "is there, holds 00000001 0", "epoch 3");
    beat("m-2", 5, 3, Act::Other, "is there", "epoch 3, shall hold 00000001 1");
    beat("m-1", 6, 4, Act::Other, "is there", "epoch 4");
    beat("m-1", 7, 4, Act::Other, "is there, wants ^or.*, holds 00000001 0", "");
    beat("m-1", 8, -1, Act::Leaves, "leaves", "");
    beat("m-2", 9, 5, Act::Other, "is there", "epoch 5");
    trace.learn(Told::Topics(vec![("00000001".to_owned(), "orders".to_owned())]));
    trace.learn(Told::Nothing);
    let expected = "
    0.001 s  == epoch 2 is first told: m-1 joins
    0.001 s  m-1  ConsumerGroupHeartbeat [2]   joins, wants orders: epoch 2, shall hold orders 0 1
    0.002 s  m-2  ConsumerGroupHeartbeat [2]   joins, wants orders: epoch 2, shall hold nothing
    0.004 s  == epoch 3 is first told: m-2 joins
    0.004 s  m-1  ConsumerGroupHeartbeat [3]   is there, holds orders 0: epoch 3
    0.005 s  m-2  ConsumerGroupHeartbeat [3]   is there: epoch 3, shall hold orders 1
    0.006 s  == epoch 4 is first told: nobody has joined or left: a session has ended, or subscriptions or topics have changed
    0.006 s  m-1  ConsumerGroupHeartbeat [4]   is there: epoch 4
    0.007 s  m-1  ConsumerGroupHeartbeat [4]   is there, wants ^or.*, holds orders 0
    0.008 s  m-1  ConsumerGroupHeartbeat [-1]  leaves
    0.009 s  == epoch 5 is first told: m-1 leaves
    0.009 s  m-2  ConsumerGroupHeartbeat [5]   is there: epoch 5";
    assert_eq!(lines_of(&trace, &[]), expected.lines().skip(1).collect::<Vec<_>>());
    assert!(
        trace
            .csv(0)
            .contains(",m-1-id,2,0,false,\"joins, wants orders\",\"epoch 2, shall hold orders 0 1\"\n")
    );
}

#[test]
fn the_trace_is_for_programs_too_and_bounded() {
    let look_up = ("asks who coordinates", "broker 1");
    let mut trace = Trace::default();
    for client in ["worker, \"1\"", "worker, \"1\"", "worker 2"] {
        trace.add(said(client, (2500, 2503), "FindCoordinator", 3, Act::Other, look_up));
    }
    assert_eq!(trace.steps.len(), 2, "each looks up once");
    let mut lost = said(
        "worker 2",
        (2500, 2503),
        "JoinGroup",
        3,
        Act::Joins,
        ("asks, to join", ""),
    );
    (lost.is_lost, lost.error) = (true, 27);
    trace.add(lost);
    let rows: Vec<String> = trace.csv(1_000_000_000).lines().map(str::to_owned).collect();
    let row = "1500.000,1503.000,4,\"worker, \"\"1\"\"\",FindCoordinator,readers,\"worker, \"\"1\"\"-id\",3,0,false,asks who coordinates,broker 1";
    assert_eq!(rows[1], row);
    let row = "1500.000,1503.000,4,worker 2,JoinGroup,readers,worker 2-id,3,27,true,\"asks, to join\",";
    assert_eq!(rows[3], row);
    let line = "asks, to join: RebalanceInProgress, the answer did not reach it";
    assert!(lines_of(&trace, &[])[2].ends_with(line), "{:?}", lines_of(&trace, &[]));

    let joins = |words: &str| said("worker", (1, 2), "JoinGroup", 1, Act::Joins, (words, words));
    trace.add(joins(&"ä".repeat(5000)));
    for words in [&trace.steps[3].asked, &trace.steps[3].answered] {
        assert!(words.len() <= WORDS_BYTES_MAX + 3 && words.ends_with('…'));
    }
    for _ in 0..STEPS_MAX {
        trace.add(joins(""));
    }
    assert_eq!((trace.steps.len(), trace.left_out), (STEPS_MAX, 4));
    assert!(trace.text(0, &[]).ends_with("4 more steps were left out\n"));
    let topics = (0..2 * TOPICS_MAX).map(|number| (format!("{number:08x}"), "t".to_owned()));
    trace.learn(Told::Topics(topics.collect()));
    assert_eq!(trace.topics.len(), TOPICS_MAX);
    let mut copied = Copied::of(ApiKey::SyncGroup.code()).unwrap();
    for _ in 0..3 {
        copied.extend(&vec![0; FRAME_BYTES_MAX]);
    }
    assert_eq!((copied.frame(), copied.0.len()), (None, FRAME_BYTES_MAX + 1));
    assert!(Copied::of(ApiKey::Produce.code()).is_none());
}

proptest! {
    #[test]
    fn whatever_comes_nothing_panics(key in prop::sample::select(vec![3_i16, 8, 10, 11, 12, 13, 14, 68]), version in 0..12_i16, rest in prop::collection::vec(any::<u8>(), 0..200), answer in prop::collection::vec(any::<u8>(), 0..200)) {
        let frame = [&key.to_be_bytes()[..], &version.to_be_bytes(), &rest].concat();
        if let Ok(Some(asked)) = Asked::read(&frame) {
            let _ = asked.answered(&answer, (0, 0), 1, false);
        }
    }
}
