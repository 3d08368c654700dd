//! Idempotent producers over the wire: what is repeated is appended once, whatever happens to the broker in between.

use std::path::{Path, PathBuf};

use broker_under_test::Server;
use broker_under_test::counters::Counter;
use kafka_protocol::messages::{InitProducerIdRequest, InitProducerIdResponse, ProducerId};
use kafka_wire::produce::{self, ProduceResult};
use kafka_wire::{ApiKey, BatchBuilder, ErrorCode};

use crate::support::{BASE_TIMESTAMP_MS, Client, TestBroker, batch, start_in, stored};

const TOPIC: &str = "orders";

/// A batch of an idempotent producer.
fn by(producer_id: i64, epoch: i16, sequence: i32, records: i32) -> Vec<u8> {
    let mut builder = BatchBuilder::new(BASE_TIMESTAMP_MS);
    builder.producer(producer_id, epoch, sequence);
    for i in 0..records {
        let value = format!("{producer_id} {epoch} {sequence} {i} {}", "x".repeat(50));
        builder.push(BASE_TIMESTAMP_MS + i64::from(i), None, value.as_bytes());
    }
    builder.finish().to_vec()
}

fn broker(settings: &[(&str, &str)]) -> TestBroker {
    let broker = TestBroker::start(settings);
    assert_eq!(broker.client().create_topic(TOPIC, 2, &[]), 0);
    broker
}

fn end(client: &mut Client) -> i64 {
    client.list_offset(TOPIC, 0, -1).1
}

fn error(result: &ProduceResult) -> Option<ErrorCode> {
    ErrorCode::from_code(result.error).filter(|code| *code != ErrorCode::None)
}

/// Where the producers of partition 0 are written down.
fn snapshot(data_dir: &Path) -> PathBuf {
    let folder = if crate::LAYOUT == "commit-log" {
        "commitlog"
    } else {
        "orders-0"
    };
    data_dir.join(folder).join("producers.snapshot")
}

#[test]
fn a_repeat_is_answered_and_not_appended() {
    let broker = broker(&[]);
    let mut client = broker.client();
    client.append(TOPIC, 0, &batch(&[b"somebody else's"]));
    for i in 0..6 {
        assert_eq!(client.append(TOPIC, 0, &by(7, 0, 3 * i, 3)), 1 + 3 * i64::from(i));
    }
    let before = stored(&broker.data_dir(), TOPIC, 0);
    for i in 1..6 {
        let again = client.produce(TOPIC, 0, &by(7, 0, 3 * i, 3));
        // The time of the first one, as from Kafka.
        let expected = (0, 1 + 3 * i64::from(i), BASE_TIMESTAMP_MS + 2);
        assert_eq!((again.error, again.base_offset, again.append_time_ms), expected, "{i}");
    }
    use ErrorCode::{InvalidProducerEpoch, InvalidRecord, OutOfOrderSequenceNumber};
    for (what, bytes, code) in [
        ("older than the last five", by(7, 0, 0, 3), OutOfOrderSequenceNumber),
        ("a gap", by(7, 0, 19, 1), OutOfOrderSequenceNumber),
        ("a part of a batch", by(7, 0, 15, 2), OutOfOrderSequenceNumber),
        ("a new epoch not at 0", by(7, 1, 18, 1), OutOfOrderSequenceNumber),
        ("no sequence", by(7, 0, -1, 1), InvalidRecord),
        ("an epoch below none", by(8, -2, 0, 1), InvalidProducerEpoch),
    ] {
        let refused = client.produce(TOPIC, 0, &bytes);
        assert_eq!((error(&refused), refused.base_offset), (Some(code), -1), "{what}");
        assert!(
            refused.message.is_some() && refused.log_start_offset == 0,
            "{what}: {refused:?}"
        );
    }
    assert_eq!(stored(&broker.data_dir(), TOPIC, 0), before);
    assert_eq!(
        client.append(TOPIC, 1, &by(7, 0, 0, 3)),
        0,
        "each partition has its own sequences"
    );
    assert_eq!(client.append(TOPIC, 0, &by(7, 1, 0, 1)), 19);
    let fenced = client.produce(TOPIC, 0, &by(7, 0, 18, 1));
    assert_eq!(error(&fenced), Some(InvalidProducerEpoch));
    assert_eq!(broker.counter(Counter::RepeatedBatches), 5);
}

#[test]
fn whoever_is_not_known_begins_anywhere_and_sequences_wrap() {
    let broker = broker(&[]);
    let mut client = broker.client();
    assert_eq!(client.append(TOPIC, 0, &by(1, 5, i32::MAX - 1, 4)), 0);
    assert_eq!(client.append(TOPIC, 0, &by(1, 5, 2, 1)), 4);
    assert_eq!(
        client.append(TOPIC, 0, &by(1, 5, i32::MAX - 1, 4)),
        0,
        "a repeat across the wrap"
    );
    assert_eq!(end(&mut client), 5);
}

/// Starts on what a SIGKILL would leave now.
fn killed(broker: &TestBroker, settings: &[(&str, &str)]) -> (Server, tempfile::TempDir) {
    let folder = broker.killed_copy();
    let settings: Vec<_> = settings
        .iter()
        .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
        .collect();
    (start_in(folder.path(), &settings).unwrap(), folder)
}

/// Twelve batches of producer 7 and one of 8 are there: the last five of 7 are known, and so is what follows.
fn knows_both(server: &Server, what: &str) {
    let mut client = Client::connect(server.address);
    let ends_at = end(&mut client);
    for i in 7..12 {
        assert_eq!(client.append(TOPIC, 0, &by(7, 0, 2 * i, 2)), 2 * i64::from(i), "{what}");
    }
    assert_eq!(client.append(TOPIC, 0, &by(8, 3, 0, 1)), 24, "{what}");
    let too_old = client.produce(TOPIC, 0, &by(7, 0, 12, 2));
    assert_eq!(error(&too_old), Some(ErrorCode::OutOfOrderSequenceNumber), "{what}");
    let fenced = client.produce(TOPIC, 0, &by(8, 2, 0, 1));
    assert_eq!(error(&fenced), Some(ErrorCode::InvalidProducerEpoch), "{what}");
    assert_eq!(end(&mut client), ends_at, "{what}: nothing was appended");
}

#[test]
fn a_restart_forgets_nothing() {
    for policy in ["never", "interval", "every-batch"] {
        // Several segments, so that most batches lie in front of the recovery point.
        let settings = [("flush.policy", policy), ("log.segment.bytes", "1024")];
        let mut broker = broker(&settings);
        let mut client = broker.client();
        for i in 0..12 {
            client.append(TOPIC, 0, &by(7, 0, 2 * i, 2));
        }
        client.append(TOPIC, 0, &by(8, 3, 0, 1));
        knows_both(broker.server(), policy);
        let (server, _folder) = killed(&broker, &settings);
        knows_both(&server, &format!("{policy}, killed"));
        server.stop().unwrap();
        broker.server().broker.topics.checkpoint().unwrap();
        let (server, folder) = killed(&broker, &settings);
        knows_both(&server, &format!("{policy}, killed behind a checkpoint"));
        server.stop().unwrap();
        let owned = settings.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let server = start_in(folder.path(), &owned).unwrap();
        knows_both(&server, &format!("{policy}, killed and then stopped"));
        server.stop().unwrap();
        drop(client);
        for round in 0..2 {
            broker.stop();
            broker.start_again().unwrap();
            knows_both(broker.server(), &format!("{policy}, stopped, round {round}"));
        }
        let (server, _folder) = killed(&broker, &settings);
        knows_both(&server, &format!("{policy}, stopped and killed"));
        server.stop().unwrap();
        let mut client = broker.client();
        assert_eq!(client.append(TOPIC, 0, &by(7, 0, 24, 1)), 25, "{policy}: goes on");
    }
}

#[test]
fn a_snapshot_that_is_damaged_is_made_again_from_the_log() {
    let settings = [("log.segment.bytes", "1024"), ("flush.policy", "interval")];
    for clean in [true, false] {
        let mut broker = broker(&settings);
        let mut client = broker.client();
        for i in 0..12 {
            client.append(TOPIC, 0, &by(7, 0, 2 * i, 2));
        }
        client.append(TOPIC, 0, &by(8, 3, 0, 1));
        broker.server().broker.topics.checkpoint().unwrap();
        drop(client);
        broker.stop();
        let path = snapshot(&broker.data_dir());
        let mut bytes = std::fs::read(&path).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        if !clean {
            std::fs::remove_file(broker.data_dir().join(".kafka_cleanshutdown")).unwrap();
        }
        broker.start_again().unwrap();
        knows_both(broker.server(), &format!("clean: {clean}"));
        broker.stop();
        assert_ne!(std::fs::read(&path).unwrap(), bytes, "a good one is there again");
        broker.start_again().unwrap();
        knows_both(broker.server(), &format!("clean: {clean}, once more"));
    }
}

#[test]
fn what_was_deleted_is_known_all_the_same() {
    let mut broker = broker(&[("log.segment.bytes", "1024")]);
    let mut client = broker.client();
    for i in 0..12 {
        client.append(TOPIC, 0, &by(7, 0, 2 * i, 2));
    }
    assert_eq!(client.delete_records(TOPIC, 0, 24), (0, 24));
    drop(client);
    for round in 0..2 {
        let mut client = broker.client();
        assert_eq!(client.append(TOPIC, 0, &by(7, 0, 22, 2)), 22, "round {round}");
        assert_eq!(end(&mut client), 24);
        drop(client);
        broker.stop();
        broker.start_again().unwrap();
    }
}

#[test]
fn a_topic_that_is_made_anew_knows_nobody() {
    let mut broker = broker(&[]);
    let mut client = broker.client();
    client.append(TOPIC, 0, &by(7, 0, 0, 2));
    assert_eq!(client.delete_topic(TOPIC), 0);
    assert_eq!(client.create_topic(TOPIC, 2, &[]), 0);
    drop(client);
    broker.stop();
    broker.start_again().unwrap();
    let mut client = broker.client();
    assert_eq!(client.append(TOPIC, 0, &by(7, 0, 9, 2)), 0);
    assert_eq!(end(&mut client), 2);
}

#[test]
fn whoever_repeats_at_the_same_time_is_appended_once() {
    for policy in ["never", "every-batch"] {
        let broker = broker(&[("flush.policy", policy)]);
        let go = std::sync::Barrier::new(6);
        std::thread::scope(|scope| {
            for _ in 0..6 {
                scope.spawn(|| {
                    let mut client = broker.client();
                    for i in 0..20 {
                        go.wait();
                        assert_eq!(client.append(TOPIC, 0, &by(7, 0, 3 * i, 3)), 3 * i64::from(i));
                    }
                });
            }
        });
        assert_eq!(end(&mut broker.client()), 60);
        assert_eq!(broker.counter(Counter::RepeatedBatches), 5 * 20, "{policy}");
    }
}

#[test]
fn requests_of_one_connection_keep_their_order() {
    for policy in ["never", "every-batch"] {
        let broker = broker(&[("flush.policy", policy)]);
        let mut client = broker.client();
        // Five in flight, as of a client, each of them twice: the second one waits for the flush of the first.
        let mut requests = Vec::new();
        for i in 0..10 {
            produce::encode_request(&mut requests, i, TOPIC, 0, -1, &by(7, 0, i / 2, 1));
        }
        client.send(&requests);
        for i in 0..10 {
            let frame = client.receive().unwrap();
            let (id, results) = produce::decode_response(&frame, produce::CLIENT_VERSION).unwrap();
            assert_eq!(
                (id, results[0].error, results[0].base_offset),
                (i, 0, i64::from(i / 2)),
                "{policy}"
            );
        }
        assert_eq!(end(&mut client), 5);
    }
}

#[test]
fn silent_producers_expire() {
    let broker = broker(&[("producer.id.expiration.ms", "1000")]);
    let mut client = broker.client();
    client.append(TOPIC, 0, &by(7, 0, 0, 2));
    let topics = &broker.server().broker.topics;
    assert_eq!(topics.expire_producers(50_000), 0);
    assert_eq!(topics.expire_producers(50_999), 0);
    assert_eq!(client.append(TOPIC, 0, &by(7, 0, 0, 2)), 0, "a repeat");
    assert_eq!(topics.expire_producers(51_000), 1);
    assert_eq!(client.append(TOPIC, 0, &by(7, 0, 0, 2)), 2, "nobody knows it any more");
}

#[test]
fn producers_without_end_take_bounded_memory() {
    let settings = [("producer.ids.per.partition.max", "16"), ("flush.policy", "interval")];
    let mut broker = broker(&settings);
    let mut client = broker.client();
    for id in 0..2_000 {
        client.append(TOPIC, 0, &by(id, 0, 0, 1));
    }
    let known = |broker: &TestBroker| broker.server().broker.topics.log(TOPIC, 0).unwrap().producers();
    assert_eq!(known(&broker), 16);
    assert_eq!(
        client.append(TOPIC, 0, &by(1_999, 0, 0, 1)),
        1_999,
        "the last ones are known"
    );
    assert_eq!(
        client.append(TOPIC, 0, &by(0, 0, 0, 1)),
        2_000,
        "the first ones are not"
    );
    drop(client);
    broker.stop();
    assert!(std::fs::metadata(snapshot(&broker.data_dir())).unwrap().len() < 16 * 150 + 100);
    broker.start_again().unwrap();
    assert_eq!(known(&broker), 16);
}

#[test]
fn a_log_without_idempotent_producers_has_no_snapshot() {
    let settings = [("log.segment.bytes", "1024"), ("flush.policy", "every-batch")];
    let mut broker = broker(&settings);
    let mut client = broker.client();
    for _ in 0..40 {
        client.append(TOPIC, 0, &batch(&[&[b'x'; 100]]));
    }
    broker.server().broker.topics.checkpoint().unwrap();
    drop(client);
    broker.stop();
    assert!(!snapshot(&broker.data_dir()).exists());
}

#[test]
fn a_producer_id_is_given_whoever_asks() {
    let broker = TestBroker::start(&[]);
    let mut client = broker.client();
    let mut ask = |id: i64, epoch: i16| {
        let request = InitProducerIdRequest::default()
            .with_transactional_id(None)
            .with_producer_id(ProducerId(id))
            .with_producer_epoch(epoch);
        let answer: InitProducerIdResponse = client.call(ApiKey::InitProducerId, 4, &request);
        (answer.error_code, answer.producer_id.0, answer.producer_epoch)
    };
    let (_, first, _) = ask(-1, -1);
    assert_eq!(
        ask(first, 3),
        (0, first + 1, 0),
        "epochs are raised for transactional ids only"
    );
    for (id, epoch) in [(first, -1), (-1, 0)] {
        assert_eq!(ask(id, epoch), (ErrorCode::InvalidRequest.code(), -1, -1));
    }
}
