//! The definitions and the native clients against the bundled broker, every fetch path.

use broker_under_test::{Config, Server};
use workloads::definition::{self, Definition};
use workloads::native::fetch::{FetchClient, FetchSpec};
use workloads::native::follow::{Follow, FollowClient, FollowSpec};
use workloads::native::ledger::Ledger;
use workloads::native::preload::{PreloadSpec, preload};
use workloads::native::produce::{ProduceClient, ProduceSpec};
use workloads::native::verify::verify;
use workloads::native::{Admin, Bootstrap, NewTopic, Phase, Receiver, Security, Spread};
use workloads::payload::PayloadSpec;

/// A broker with the definition's settings and one path.
fn config(definition: &Definition, path: &str, data_dir: &str) -> Config {
    let mut config = Config::default();
    let settings = definition
        .settings
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()));
    let ours = [
        ("fetch.path", path),
        ("log.dirs", data_dir),
        ("listeners", "PLAINTEXT://127.0.0.1:0"),
    ];
    for (key, value) in settings.chain(ours) {
        config
            .set(key, value, &definition.name)
            .expect("the broker knows every setting of the definition");
    }
    config.complete().expect("a data folder is set")
}

#[test]
fn every_path_delivers_what_was_preloaded() {
    let definitions = definition::embedded().unwrap();
    let definition = definitions
        .iter()
        .find(|definition| definition.name == "zero-copy")
        .unwrap();
    let fetch = definition.fetch().unwrap();
    let mut checksums = Vec::new();
    for path in &definition.factor("fetch.path").unwrap().levels {
        let folder = tempfile::tempdir().unwrap();
        let data_dir = folder.path().join("data");
        let broker = Server::start(config(definition, path, data_dir.to_str().unwrap()), None).unwrap();
        let file_bytes = 4 << 20;
        let spec = PreloadSpec {
            topic: "zero-copy".to_owned(),
            partitions: 1,
            replicas: 1,
            configs: Default::default(),
            stored_batch_bytes: fetch.stored_batch_bytes as usize,
            file_bytes,
            payload: definition.payload.into(),
            seed: 4,
            base_timestamp_ms: 1_700_000_000_000,
        };
        let brokers = Bootstrap::from(broker.address);
        let plain = Security::default();
        let index = preload(&brokers, &plain, &spec).unwrap();
        let checks = verify(&brokers, &plain, &index.ledger, 1 << 20).unwrap();
        assert!(checks.iter().all(|check| check.ok), "{path}: {checks:?}");
        checksums.push(index.ledger.partitions[0].checksum);

        for receiver in [Receiver::Copy, Receiver::Discard] {
            for response_bytes in [4_096, 65_536, 1 << 20, 3_000_000] {
                let spec = FetchSpec {
                    response_bytes,
                    in_flight: fetch.in_flight as usize,
                    max_wait_ms: fetch.max_wait_ms,
                    receiver,
                    receive_buffer_bytes: fetch.receive_buffer_bytes as usize,
                    socket_receive_buffer_bytes: None,
                };
                let mut client = FetchClient::connect(&brokers, &plain, index.clone(), spec).unwrap();
                let pass = client
                    .run(Phase {
                        duration_ms: 60_000,
                        single_pass: true,
                    })
                    .unwrap();
                assert_eq!(
                    (pass.delivered_bytes, pass.data_ended),
                    (file_bytes, true),
                    "{path} {response_bytes}"
                );
            }
        }
        broker.stop().unwrap();
        let segment = data_dir.join("zero-copy-0/00000000000000000000.log");
        assert!(
            std::fs::metadata(segment).unwrap().len() >= file_bytes,
            "the file that the bare limit sends"
        );
    }
    checksums.dedup();
    assert_eq!(
        checksums.len(),
        1,
        "the same seed stores the same records whichever the path"
    );
}

/// A broker with its own defaults.
fn plain_broker(folder: &tempfile::TempDir) -> Server {
    let mut config = Config::default();
    let data_dir = folder.path().join("data");
    for (key, value) in [
        ("log.dirs", data_dir.to_str().expect("the path is text")),
        ("listeners", "PLAINTEXT://127.0.0.1:0"),
    ] {
        config.set(key, value, "test").expect("the broker knows the setting");
    }
    let config = config.complete().expect("a data folder is set");
    Server::start(config, None).expect("the broker starts")
}

#[test]
fn what_is_produced_to_several_partitions_lies_there() {
    let folder = tempfile::tempdir().unwrap();
    let broker = plain_broker(&folder);
    let brokers = Bootstrap::from(broker.address);
    let plain = Security::default();
    let mut admin = Admin::connect(broker.address, &plain).unwrap();
    for (topic, partitions, batch_bytes, in_flight) in [
        ("small", 1, 16_384, 1),
        ("wide", 16, 4_096, 8),
        ("large", 3, 900_000, 4),
    ] {
        admin.create_topic(&NewTopic::new(topic, partitions)).unwrap();
        let spec = ProduceSpec {
            spread: Spread::one_topic(topic, partitions),
            batch_bytes,
            payload: PayloadSpec::Json {
                record_bytes: 100,
                entropy: 0.25,
            },
            seed: 3,
            in_flight,
            connections: 1,
            acks: -1,
            pool_batches: 33,
            socket_send_buffer_bytes: None,
            socket_congestion_control: None,
            bytes_max: None,
        };
        let mut client = ProduceClient::connect(&brokers, &plain, spec).unwrap();
        let pass = Phase {
            duration_ms: 60_000,
            single_pass: true,
        };
        for passes in 1..=3 {
            let result = client.run(pass).unwrap();
            assert_eq!((result.responses, result.data_ended), (33, true));
            assert_eq!(client.ledger().total_batches(), 33 * passes);
        }
        let checks = verify(&brokers, &plain, client.ledger(), 1 << 20).unwrap();
        assert!(checks.iter().all(|check| check.ok), "{topic}: {checks:?}");
        let ends = admin.end_offsets(topic, partitions).unwrap();
        assert_eq!(ends.iter().sum::<i64>() as u64, client.ledger().total_records());
    }
    broker.stop().unwrap();
}

/// Connections that share partitions, and partitions in topics of their own.
#[test]
fn several_connections_share_out_what_they_produce_to() {
    let folder = tempfile::tempdir().unwrap();
    let broker = plain_broker(&folder);
    let brokers = Bootstrap::from(broker.address);
    let plain = Security::default();
    let mut admin = Admin::connect(broker.address, &plain).unwrap();
    for (topic, partitions, connections, topic_each) in [
        ("one", 1, 8, false),
        ("few", 3, 8, false),
        ("many", 40, 8, false),
        ("each", 300, 3, true),
        ("own", 2, 5, true),
    ] {
        let spread = Spread {
            topic: topic.to_owned(),
            partitions,
            topic_each,
        };
        admin.create_topics(&spread.new_topics(1, &Default::default())).unwrap();
        let spec = ProduceSpec {
            spread: spread.clone(),
            batch_bytes: 2_000,
            payload: PayloadSpec::Random { record_bytes: 100 },
            seed: 3,
            in_flight: 8,
            connections,
            acks: -1,
            pool_batches: 33,
            socket_send_buffer_bytes: None,
            socket_congestion_control: None,
            bytes_max: Some(500 * 2_000),
        };
        let mut client = ProduceClient::connect(&brokers, &plain, spec).unwrap();
        let touched = client.touch(60_000).unwrap();
        assert_eq!(touched.responses, u64::from(partitions).max(connections as u64));
        assert!(client.ledger().partitions.iter().all(|partition| partition.batches > 0));
        for _ in 0..2 {
            let phase = Phase {
                duration_ms: 60_000,
                single_pass: false,
            };
            let result = client.run(phase).unwrap();
            assert_eq!((result.responses, result.data_ended), (500, true));
        }
        let ledger = client.ledger();
        assert_eq!(ledger.total_batches(), touched.responses + 1_000);
        assert!(ledger.partitions.iter().all(|partition| partition.dense), "{topic}");
        let checks = verify(&brokers, &plain, ledger, 1 << 20).unwrap();
        assert!(checks.iter().all(|check| check.ok), "{topic}: {checks:?}");
        let names = spread.topics();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        admin.delete_topics(&names).unwrap();
    }
    assert_eq!(admin.list_topics().unwrap(), [""; 0]);
    broker.stop().unwrap();
}

#[test]
fn preloaded_partitions_are_drained_together() {
    let folder = tempfile::tempdir().unwrap();
    let broker = plain_broker(&folder);
    let brokers = Bootstrap::from(broker.address);
    let plain = Security::default();
    let spec = PreloadSpec {
        topic: "wide".to_owned(),
        partitions: 5,
        replicas: 1,
        configs: Default::default(),
        stored_batch_bytes: 4_096,
        file_bytes: 5 << 18,
        payload: PayloadSpec::Random { record_bytes: 300 },
        seed: 4,
        base_timestamp_ms: 1_700_000_000_000,
    };
    let index = preload(&brokers, &plain, &spec).unwrap();
    for receiver in [Receiver::Copy, Receiver::Discard] {
        let spec = FetchSpec {
            response_bytes: 50_000,
            in_flight: 3,
            max_wait_ms: 500,
            receiver,
            receive_buffer_bytes: 65_536,
            socket_receive_buffer_bytes: None,
        };
        let mut client = FetchClient::connect(&brokers, &plain, index.clone(), spec).unwrap();
        let pass = client
            .run(Phase {
                duration_ms: 60_000,
                single_pass: true,
            })
            .unwrap();
        assert_eq!((pass.delivered_bytes, pass.data_ended), (5 << 18, true));
        assert_eq!(pass.records, index.ledger.total_records());
    }
    broker.stop().unwrap();
}

fn follow_spec(follow: Follow, partitions_per_fetch: usize) -> FollowSpec {
    FollowSpec {
        follow,
        response_bytes: 50_000,
        partition_bytes: 20_000,
        partitions_per_fetch,
        max_wait_ms: 500,
        receive_buffer_bytes: 65_536,
    }
}

/// A topic of 7 partitions with 64 batches of 4,096 bytes in each.
fn followed_topic(brokers: &Bootstrap) -> Ledger {
    let spec = PreloadSpec {
        topic: "followed".to_owned(),
        partitions: 7,
        replicas: 1,
        configs: Default::default(),
        stored_batch_bytes: 4_096,
        file_bytes: 7 << 18,
        payload: PayloadSpec::Random { record_bytes: 300 },
        seed: 4,
        base_timestamp_ms: 1_700_000_000_000,
    };
    preload(brokers, &Security::default(), &spec)
        .expect("the topic is filled")
        .ledger
}

const PASS: Phase = Phase {
    duration_ms: 60_000,
    single_pass: true,
};

#[test]
fn what_is_stored_is_followed_with_one_fetch_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let broker = plain_broker(&folder);
    let brokers = Bootstrap::from(broker.address);
    let plain = Security::default();
    let stored = followed_topic(&brokers);
    for partitions_per_fetch in [1, 3, 7, 1_000] {
        let spec = follow_spec(Follow::Stored, partitions_per_fetch);
        let mut client = FollowClient::connect(&brokers, &plain, stored.clone(), spec).unwrap();
        for _ in 0..2 {
            let followed = client.run(PASS).unwrap();
            let pass = followed.phase;
            assert_eq!(
                (pass.delivered_bytes, pass.records, pass.data_ended),
                (stored.total_bytes(), stored.total_records(), true)
            );
            // 4 batches of a partition, 12 of a response: whole batches, as many as fit.
            let share: u64 = 16_384 * (partitions_per_fetch as u64).min(3);
            assert!(pass.responses >= (7u64 << 18).div_ceil(share), "{}", pass.responses);
            assert_eq!((followed.empty_responses, pass.latency_ns.len()), (0, pass.responses));
            assert_eq!(pass.send_calls, pass.responses);
        }
        // Without a single pass it begins again.
        let window = Phase {
            duration_ms: 100,
            single_pass: false,
        };
        let twice = client.run(window).unwrap().phase;
        assert!(twice.delivered_bytes.is_multiple_of(4_096) && !twice.data_ended);
    }

    // What lies there is not what was told.
    let mut other = stored.clone();
    other.partitions[5].checksum = other.partitions[4].checksum;
    let mut client = FollowClient::connect(&brokers, &plain, other, follow_spec(Follow::Stored, 7)).unwrap();
    let error = client.run(PASS).unwrap_err().to_string();
    assert!(
        error.contains("topic `followed`, partition 5, is not what lies there") && error.contains("another CRC"),
        "{error}"
    );
    let mut behind = stored.clone();
    behind.partitions[2].first_offset += 1;
    let mut client = FollowClient::connect(&brokers, &plain, behind, follow_spec(Follow::Stored, 7)).unwrap();
    let error = client.run(PASS).unwrap_err().to_string();
    assert!(
        error.contains("partition 2") && error.contains("offsets 0 to"),
        "{error}"
    );
    let mut more = stored.clone();
    more.partitions.truncate(3);
    more.partitions[1].batches = 0;
    let refused = FollowClient::connect(&brokers, &plain, more, follow_spec(Follow::Stored, 7));
    assert!(refused.is_err_and(|error| error.to_string().contains("at least one batch in each")));
    broker.stop().unwrap();
}

#[test]
fn what_is_being_produced_is_followed() {
    let folder = tempfile::tempdir().unwrap();
    let broker = plain_broker(&folder);
    let brokers = Bootstrap::from(broker.address);
    let plain = Security::default();
    let stored = followed_topic(&brokers);
    let bytes = 333 * 2_000;
    let spec = ProduceSpec {
        spread: Spread::one_topic("followed", 7),
        batch_bytes: 2_000,
        payload: PayloadSpec::Random { record_bytes: 100 },
        seed: 3,
        in_flight: 5,
        connections: 3,
        acks: -1,
        pool_batches: 33,
        socket_send_buffer_bytes: None,
        socket_congestion_control: None,
        bytes_max: Some(bytes),
    };
    let mut producer = ProduceClient::connect(&brokers, &plain, spec).unwrap();
    producer.go_on_from(stored.clone()).unwrap();
    let other = Ledger::empty(&Spread::one_topic("followed", 6));
    assert!(
        producer
            .go_on_from(other)
            .unwrap_err()
            .to_string()
            .contains("7 partitions")
    );

    let spec = follow_spec(Follow::Produced { bytes }, 4);
    let mut follower = FollowClient::connect(&brokers, &plain, stored, spec).unwrap();
    let all = Phase {
        duration_ms: 60_000,
        single_pass: false,
    };
    let (followed, producer) = std::thread::scope(|scope| {
        let producing = scope.spawn(move || {
            producer.run(all).unwrap();
            producer
        });
        (follower.run(all).unwrap(), producing.join().unwrap())
    });
    assert_eq!(
        (followed.phase.delivered_bytes, followed.phase.data_ended),
        (bytes, true)
    );
    assert!(followed.phase.responses > 0);
    assert_eq!(&follower.ledger(), producer.ledger());
    let checks = verify(&brokers, &plain, producer.ledger(), 1 << 20).unwrap();
    assert!(checks.iter().all(|check| check.ok), "{checks:?}");

    // Nobody produces: the follower gives up at the end of its time.
    let nothing = Phase {
        duration_ms: 1,
        single_pass: false,
    };
    let error = follower.run(nothing).unwrap_err().to_string();
    assert!(error.contains("following what is produced"), "{error}");
    broker.stop().unwrap();
}

#[test]
fn topics_and_settings_are_administered() {
    let folder = tempfile::tempdir().unwrap();
    let broker = plain_broker(&folder);
    let mut admin = Admin::connect(broker.address, &Security::default()).unwrap();
    let produce = kafka_wire::ApiKey::Produce.code();
    assert!(
        admin
            .api_versions()
            .unwrap()
            .apis
            .iter()
            .any(|api| api.key == produce && api.max >= 9)
    );
    assert_eq!(admin.broker_version().unwrap(), None, "it has no feature levels");

    let topic = NewTopic::new("orders", 4).with("segment.bytes", "1048576");
    admin.create_topic(&topic).unwrap();
    assert_eq!(admin.list_topics().unwrap(), ["orders"]);
    let metadata = admin.metadata(Some(&["orders", "none"])).unwrap();
    let partitions: Vec<(i16, usize)> = metadata.topics.iter().map(|t| (t.error, t.partitions.len())).collect();
    assert_eq!(partitions, [(0, 4), (3, 0)]);
    assert_eq!(admin.end_offsets("orders", 4).unwrap(), [0; 4]);
    let settings = admin.describe_topic_configs("orders").unwrap();
    let segment = settings.iter().find(|entry| entry.name == "segment.bytes").unwrap();
    assert_eq!((segment.value.as_deref(), segment.is_default), (Some("1048576"), false));

    let error = admin.create_topic(&topic).unwrap_err().to_string();
    assert!(
        error.contains("(TopicAlreadyExists)") && error.contains("choose another name"),
        "{error}"
    );
    let error = admin.leaders("orders", 5).unwrap_err().to_string();
    assert!(
        error.contains("topic `orders`, partition 4, was refused: error 3"),
        "{error}"
    );
    let error = admin
        .create_topic(&NewTopic {
            replicas: 3,
            ..NewTopic::new("r", 1)
        })
        .unwrap_err()
        .to_string();
    assert!(error.contains("as many replicas as there are brokers"), "{error}");
    admin.delete_topic("orders").unwrap();
    assert_eq!(admin.list_topics().unwrap(), [""; 0]);
    assert!(
        admin
            .delete_topic("orders")
            .unwrap_err()
            .to_string()
            .contains("UnknownTopicOrPartition")
    );

    let node = metadata.brokers[0].id;
    let settings = admin.describe_broker_configs(node).unwrap();
    let dirs = settings.iter().find(|entry| entry.name == "log.dirs").unwrap();
    assert!(!dirs.is_default && dirs.value.as_deref().is_some_and(|value| value.ends_with("data")));
    let error = admin.describe_broker_configs(node + 1).unwrap_err().to_string();
    assert!(
        error.contains(&format!("there is no broker {}; there are {node}", node + 1)),
        "{error}"
    );
    broker.stop().unwrap();
}
