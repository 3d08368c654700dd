//! Every API in every version that is served, and what is answered to those that are not.

use bytes::Bytes;
use kafka_protocol::messages::ApiVersionsResponse;
use kafka_protocol::protocol::Decodable;
use kafka_wire::api::VERSIONS;
use kafka_wire::{ApiKey, ErrorCode};

use crate::samples::{self, TOPIC};
use crate::support::{TestBroker, frame_around, frame_of};

fn broker() -> TestBroker {
    let broker = TestBroker::start(&[("auto.create.topics.enable", "false")]);
    assert_eq!(broker.client().create_topic(TOPIC, 2, &[]), 0);
    broker
}

#[test]
fn every_version_of_every_api_is_answered() {
    let broker = broker();
    let mut client = broker.client();
    let mut count = 0;
    for (correlation_id, (key, version)) in (1_000_000..).zip(samples::all()) {
        client.send(&samples::frame(key, version, correlation_id));
        let answer = client.receive();
        let answer = answer.unwrap_or_else(|| panic!("{key:?} v{version}: the connection was closed"));
        let codes = samples::error_codes(&answer, key, version, correlation_id);
        assert_eq!(codes, samples::expected_codes(key, version), "{key:?} v{version}");
        count += 1;
    }
    let served: i16 = VERSIONS.iter().map(|row| row.max - row.served_min + 1).sum();
    assert_eq!(count, served);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let broker = broker();
    let mut client = broker.client();
    let requests: Vec<_> = (1..).zip(samples::all()).collect();
    let stream: Vec<u8> = requests
        .iter()
        .flat_map(|(id, (key, version))| samples::frame(*key, *version, *id))
        .collect();
    client.send(&stream);
    for (id, (key, version)) in requests {
        let answer = client.receive().unwrap();
        samples::error_codes(&answer, key, version, id);
    }
}

#[test]
fn api_versions_of_the_future_get_version_0_and_error_35() {
    let broker = broker();
    for version in [5, 99, i16::MAX, -1, i16::MIN] {
        let mut client = broker.client();
        // Whatever that version's body is.
        client.send(&frame_around(ApiKey::ApiVersions, version, 5, &[1, 2, 3, 0xff, 0xff]));
        let answer = client.receive().unwrap();
        assert_eq!(answer[..4], [0, 0, 0, 5]);
        let mut body = Bytes::copy_from_slice(&answer[4..]);
        let answer = ApiVersionsResponse::decode(&mut body, 0).unwrap();
        assert!(body.is_empty());
        assert_eq!(answer.error_code, ErrorCode::UnsupportedVersion.code());
        let produce = answer.api_keys.iter().find(|row| row.api_key == 0).unwrap();
        assert_eq!((produce.min_version, produce.max_version), (0, 12));
        // The connection lives on: the client tries again.
        client.send(&samples::frame(ApiKey::ApiVersions, 3, 6));
        assert!(client.receive().is_some());
    }
}

#[test]
fn what_is_not_served_closes_the_connection() {
    let broker = broker();
    let unserved = VERSIONS
        .iter()
        .filter(|row| row.key != ApiKey::ApiVersions)
        .flat_map(|row| [(row.key, row.served_min - 1), (row.key, row.max + 1), (row.key, -1)]);
    let old_produce = [0, 1, 2].map(|version| (ApiKey::Produce, version));
    for (key, version) in unserved.chain(old_produce) {
        let mut client = broker.client();
        client.send(&frame_around(key, version, 5, &[0; 32]));
        assert_eq!(client.receive(), None, "{key:?} v{version}");
    }
    for key in [-1i16, 8, 11, 1000, i16::MAX] {
        let mut client = broker.client();
        let mut frame = frame_around(ApiKey::Metadata, 1, 5, &[0xff; 4]);
        frame[4..6].copy_from_slice(&key.to_be_bytes());
        client.send(&frame);
        assert_eq!(client.receive(), None, "API {key}");
    }
}

#[test]
fn acks_0_is_silent_and_its_error_closes() {
    let broker = broker();
    for version in 3..=12 {
        let mut client = broker.client();
        let mut request = samples::produce(0);
        let unknown = request.topic_data.pop().unwrap();
        client.send(&frame_of(ApiKey::Produce, version, 7, &request));
        client.send(&samples::frame(ApiKey::ApiVersions, 0, 8));
        // The first bytes that come belong to the second request.
        let answer = client.receive().unwrap();
        samples::error_codes(&answer, ApiKey::ApiVersions, 0, 8);
        request.topic_data = vec![unknown];
        client.send(&frame_of(ApiKey::Produce, version, 9, &request));
        assert_eq!(client.receive(), None, "v{version}");
    }
    let stored = broker.client().list_offset(TOPIC, 0, -1);
    assert_eq!(stored, (0, 20, -1), "two records in each of ten versions");
}

/// The requests that are answered here are where fuzzing begins. `ASSAY_WRITE_SEEDS=1` writes them.
#[test]
fn the_samples_are_the_seeds_of_the_fuzz_target() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("kafka-wire/fuzz/corpus/request");
    for (name, frame) in samples::seeds() {
        let path = folder.join(&name);
        if std::env::var_os("ASSAY_WRITE_SEEDS").is_some() {
            std::fs::write(&path, &frame).unwrap();
        }
        let found = std::fs::read(&path).unwrap_or_default();
        assert!(
            found == frame,
            "{name} is stale: run this test with ASSAY_WRITE_SEEDS=1"
        );
    }
}
