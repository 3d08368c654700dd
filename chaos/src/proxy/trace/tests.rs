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
    let step = asked
        .answered(&answer(key, version, answered), (1_000_000, 3_500_000), 2, false)
        .unwrap();
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
        let what =
            "asks to join with its id, knows range, roundrobin: generation 4 by range, was made leader of 2 members";
        assert_eq!(
            (step.what.as_str(), step.epoch, step.member.as_str(), step.error),
            (what, Some(4), "m-1", 0),
            "v{version}"
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
        let what = "leads and assigns m-1: orders 0 1; m-2: orders 2; was given orders 0 1";
        assert_eq!((step.what.as_str(), step.epoch), (what, Some(4)), "v{version}");
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
            (step.member.as_str(), step.what.starts_with("leaves")),
            ("m-1", true),
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
            (joined.what.as_str(), joined.epoch),
            ("joins, wants orders: epoch 3; shall hold abcdef01 0 2", Some(3))
        );
        assert_eq!(step(&asked(3), &beaten(3)), None, "nothing new");
        let held = consumer_group_heartbeat_request::TopicPartitions::default()
            .with_topic_id(topic)
            .with_partitions(vec![0]);
        let gave_up = step(&asked(3).with_topic_partitions(Some(vec![held])), &beaten(4)).unwrap();
        assert_eq!(gave_up.what, "is there, holds abcdef01 0: epoch 4");
        let fenced = ConsumerGroupHeartbeatResponse::default()
            .with_error_code(110)
            .with_error_message(Some(text("rejoin")));
        let fenced = step(&asked(3), &fenced).unwrap();
        assert_eq!(
            (fenced.error, fenced.what.as_str(), fenced.epoch),
            (110, "is there (rejoin)", Some(3))
        );
        assert_eq!(step(&asked(-1), &beaten(-1)).unwrap().what, "leaves");
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
            (refused.error, refused.epoch, refused.what.as_str()),
            (113, Some(3), "commits, and 2 partitions are refused")
        );
    }
}

#[test]
fn the_trace_is_readable_and_bounded() {
    let step = |what: &str, error: i16| Step {
        asked_ns: 2_500_000_000,
        answered_ns: 2_503_000_000,
        connection: 4,
        client: "worker, \"1\"".to_owned(),
        api: "JoinGroup",
        group: "readers".to_owned(),
        member: "m-1".to_owned(),
        epoch: Some(3),
        error,
        what: what.to_owned(),
        is_lost: error != 0,
    };
    let mut trace = Trace::default();
    trace.add(step("asks to join, follows m-1", 0));
    trace.add(step("assigns m-1: orders 0; m-2: orders 1", 27));
    let mark = |at_ns, what: &str| Mark {
        at_ns,
        what: what.to_owned(),
    };
    let marks = [
        mark(1_500_000_000, "fault 1: kill"),
        mark(9_000_000_000, "fault 1 is healed"),
    ];
    let expected = "    0.500 s  ** fault 1: kill\n    \
        1.503 s  worker, \"1\"#4 (its id is m-1)  JoinGroup [3] readers: asks to join, follows worker, \"1\", after 3.0 ms\n    \
        1.503 s  worker, \"1\"#4  JoinGroup [3] readers: assigns worker, \"1\": orders 0; m-2: orders 1, RebalanceInProgress, \
        and the answer did not reach it, after 3.0 ms\n    \
        8.000 s  ** fault 1 is healed\n";
    assert_eq!(trace.text(1_000_000_000, &marks), expected);
    let row = "1500.000,1503.000,4,\"worker, \"\"1\"\"\",JoinGroup,readers,m-1,3,27,true,assigns m-1: orders 0; m-2: orders 1";
    assert_eq!(trace.csv(1_000_000_000).lines().nth(2), Some(row));
    trace.add(step(&"ä".repeat(5000), 0));
    assert!(trace.steps[2].what.len() <= WORDS_BYTES_MAX + 3);
    for _ in 0..STEPS_MAX {
        trace.add(step("", 0));
    }
    assert_eq!((trace.steps.len(), trace.left_out), (STEPS_MAX, 3));
    assert!(trace.text(0, &[]).ends_with("3 more steps were left out\n"));
    let mut copied = Copied::of(ApiKey::SyncGroup.code()).unwrap();
    for _ in 0..3 {
        copied.extend(&vec![0; FRAME_BYTES_MAX]);
    }
    assert_eq!((copied.frame(), copied.0.len()), (None, FRAME_BYTES_MAX + 1));
    assert!(Copied::of(ApiKey::Produce.code()).is_none());
}

proptest! {
    #[test]
    fn whatever_comes_nothing_panics(key in prop::sample::select(vec![8_i16, 10, 11, 12, 13, 14, 68]), version in 0..12_i16, rest in prop::collection::vec(any::<u8>(), 0..200), answer in prop::collection::vec(any::<u8>(), 0..200)) {
        let frame = [&key.to_be_bytes()[..], &version.to_be_bytes(), &rest].concat();
        if let Ok(Some(asked)) = Asked::read(&frame) {
            let _ = asked.answered(&answer, (0, 0), 1, false);
        }
    }
}
