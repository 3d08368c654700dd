//! Answers as another encoder writes them, in every version: what comes out is what it would have written for the proxy's addresses.

use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::describe_cluster_response::DescribeClusterBroker;
use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::produce_response::{
    LeaderIdAndEpoch, NodeEndpoint, PartitionProduceResponse, TopicProduceResponse,
};
use kafka_protocol::messages::{
    ApiVersionsResponse, BrokerId, DescribeClusterResponse, FindCoordinatorResponse, MetadataResponse, ProduceResponse,
    TopicName,
};
use kafka_protocol::protocol::{Encodable, StrBytes};
use workloads::history::OffsetRun;

use super::*;

/// Gives broker `n` of the host `broker-n` the port 40000 + n on 127.0.0.1.
struct Known;

impl Addresses for Known {
    fn of(&mut self, host: &str, port: i32) -> std::result::Result<(String, u16), String> {
        match host.strip_prefix("broker-").and_then(|n| n.parse::<u16>().ok()) {
            Some(n) if port == 9092 => Ok(("127.0.0.1".to_owned(), 40_000 + n)),
            _ => Err(format!("nobody knows {host}:{port}")),
        }
    }
}

/// Host and port of broker `n`, the broker's own or the proxy's.
fn address(n: i32, is_rewritten: bool) -> (StrBytes, i32) {
    match is_rewritten {
        true => (StrBytes::from_static_str("127.0.0.1"), 40_000 + n),
        false => (StrBytes::from_string(format!("broker-{n}")), 9092),
    }
}

/// A frame behind its length: correlation id, tags of the header, body.
fn frame(body: &impl Encodable, version: i16, has_tags: bool) -> Vec<u8> {
    let mut out = 77_i32.to_be_bytes().to_vec();
    out.extend(has_tags.then_some(0));
    body.encode(&mut out, version).unwrap();
    out
}

/// Holds every version of an API against what the other encoder writes.
fn check<T: Encodable>(
    key: i16,
    versions: std::ops::RangeInclusive<i16>,
    flexible_from: i16,
    build: impl Fn(i16, bool) -> T,
) {
    for version in versions {
        let before = frame(&build(version, false), version, version >= flexible_from);
        let after = frame(&build(version, true), version, version >= flexible_from);
        assert_ne!(before, after);
        let rewritten = rewrite(&before, key, version, &mut Known);
        assert_eq!(rewritten, Ok(after.clone()), "API {key}, version {version}");
        // What is cut short is an error or was not looked at, and never a panic.
        for end in 0..before.len() {
            if let Ok(short) = rewrite(&before[..end], key, version, &mut Known) {
                assert!(after.starts_with(&short), "API {key}, version {version}, cut at {end}");
            }
        }
    }
}

#[test]
fn metadata_in_all_versions() {
    check(METADATA, 0..=13, 9, |version, is_rewritten| {
        let broker = |n: i32| {
            let (host, port) = address(n, is_rewritten);
            let broker = MetadataResponseBroker::default().with_node_id(BrokerId(n));
            let rack = (n == 2).then(|| StrBytes::from_static_str("rack"));
            broker.with_host(host).with_port(port).with_rack(rack)
        };
        let partition = MetadataResponsePartition::default()
            .with_leader_id(BrokerId(1))
            .with_replica_nodes(vec![BrokerId(1), BrokerId(2)])
            .with_isr_nodes(vec![BrokerId(2)]);
        let name = Some(TopicName(StrBytes::from_static_str("orders")));
        let topic = MetadataResponseTopic::default().with_name(name);
        let response = MetadataResponse::default()
            .with_brokers((1..=3).map(broker).collect())
            .with_controller_id(BrokerId(1))
            .with_topics(vec![topic.with_partitions(vec![partition; 3])]);
        match version >= 2 {
            true => response.with_cluster_id(Some(StrBytes::from_static_str("cluster"))),
            false => response,
        }
    });
}

#[test]
fn find_coordinator_in_all_versions() {
    check(FIND_COORDINATOR, 0..=3, 3, |_, is_rewritten| {
        let (host, port) = address(2, is_rewritten);
        let response = FindCoordinatorResponse::default().with_node_id(BrokerId(2));
        response.with_host(host).with_port(port)
    });
    check(FIND_COORDINATOR, 4..=6, 3, |_, is_rewritten| {
        let coordinator = |n: i32| {
            let (host, port) = address(n, is_rewritten);
            let coordinator = Coordinator::default().with_key(StrBytes::from_static_str("group"));
            coordinator.with_node_id(BrokerId(n)).with_host(host).with_port(port)
        };
        FindCoordinatorResponse::default().with_coordinators(vec![coordinator(1), coordinator(3)])
    });
}

#[test]
fn a_coordinator_that_there_is_none_of_stays() {
    for version in 0..=6 {
        let nobody = Coordinator::default().with_node_id(BrokerId(-1)).with_port(-1);
        let response = match version < 4 {
            true => FindCoordinatorResponse::default().with_error_code(15).with_port(-1),
            false => FindCoordinatorResponse::default().with_coordinators(vec![nobody.with_error_code(15)]),
        };
        let before = frame(&response, version, version >= 3);
        assert_eq!(
            rewrite(&before, FIND_COORDINATOR, version, &mut Known),
            Ok(before.clone())
        );
    }
}

#[test]
fn describe_cluster_in_all_versions() {
    check(DESCRIBE_CLUSTER, 0..=2, 0, |_, is_rewritten| {
        let broker = |n: i32| {
            let (host, port) = address(n, is_rewritten);
            let broker = DescribeClusterBroker::default().with_broker_id(BrokerId(n));
            broker.with_host(host).with_port(port)
        };
        let response = DescribeClusterResponse::default().with_brokers(vec![broker(1), broker(2)]);
        response.with_cluster_id(StrBytes::from_static_str("cluster"))
    });
}

/// An answer for two partitions: one applied at offset 70, one whose leader is elsewhere.
fn produced(version: i16, endpoints: Vec<NodeEndpoint>) -> ProduceResponse {
    let applied = PartitionProduceResponse::default().with_index(3).with_base_offset(70);
    let mut moved = PartitionProduceResponse::default().with_index(4).with_error_code(6);
    let mut topic = TopicProduceResponse::default();
    if version < 13 {
        topic.name = TopicName(StrBytes::from_static_str("orders"));
    }
    if version >= 8 {
        moved.error_message = Some(StrBytes::from_static_str("elsewhere"));
    }
    if version >= 10 {
        let leader = LeaderIdAndEpoch::default().with_leader_id(BrokerId(2));
        moved = moved.with_current_leader(leader.with_leader_epoch(5));
    }
    let response =
        ProduceResponse::default().with_responses(vec![topic.with_partition_responses(vec![applied, moved])]);
    response.with_node_endpoints(endpoints)
}

#[test]
fn leaders_behind_a_produce_answer() {
    check(PRODUCE, 10..=13, 9, |version, is_rewritten| {
        let endpoint = |n: i32| {
            let (host, port) = address(n, is_rewritten);
            let endpoint = NodeEndpoint::default().with_node_id(BrokerId(n));
            endpoint.with_host(host).with_port(port)
        };
        produced(version, (1..=12).map(endpoint).collect())
    });
}

#[test]
fn what_a_produce_answer_says_is_read_in_all_versions() {
    for version in 3..=13 {
        let answer = frame(&produced(version, Vec::new()), version, version >= 9);
        let asked = [(4, 9), (3, 25)];
        let run = OffsetRun {
            partition: 3,
            base_offset: 70,
            count: 25,
        };
        assert_eq!(super::super::produce::applied(&answer, version, &asked), Ok(vec![run]));
        assert!(super::super::produce::applied(&answer, version, &[(4, 9)]).is_err());
        let rewritten = rewrite(&answer, PRODUCE, version.max(10), &mut Known);
        assert!(version < 10 || rewritten == Ok(answer), "version {version}");
    }
}

#[test]
fn fetch_is_offered_up_to_version_15() {
    check(API_VERSIONS, 0..=4, i16::MAX, |_, is_rewritten| {
        let api = |key, min, max| {
            let api = ApiVersion::default().with_api_key(key);
            api.with_min_version(min).with_max_version(max)
        };
        let fetch = if is_rewritten { 15 } else { 18 };
        ApiVersionsResponse::default().with_api_keys(vec![api(0, 0, 13), api(1, 4, fetch), api(3, 0, 13)])
    });
    // A broker that does not know the version answers in version 0, whatever was asked.
    let api = ApiVersion::default().with_api_key(1).with_max_version(12);
    let refusal = ApiVersionsResponse::default()
        .with_error_code(35)
        .with_api_keys(vec![api]);
    let before = frame(&refusal, 0, false);
    assert_eq!(rewrite(&before, API_VERSIONS, 4, &mut Known), Ok(before.clone()));
}

#[test]
fn hostile_counts_and_unknown_brokers_are_errors() {
    let mut hostile = 77_i32.to_be_bytes().to_vec();
    hostile.extend(i32::MAX.to_be_bytes());
    assert!(matches!(
        rewrite(&hostile, METADATA, 0, &mut Known),
        Err(RewriteError::Wire(_))
    ));
    let stranger = MetadataResponseBroker::default().with_host(StrBytes::from_static_str("elsewhere"));
    let response = MetadataResponse::default().with_brokers(vec![stranger.with_port(1)]);
    let error = rewrite(&frame(&response, 5, false), METADATA, 5, &mut Known).unwrap_err();
    assert_eq!(error.to_string(), "nobody knows elsewhere:1");
}
