//! Every producer with every consumer and every codec.

use super::bench::{Fates, RUN, broker, load, producer, reading, receive, send};
use kafka_wire::{Codec, Compression};
use std::ops::ControlFlow;
use std::time::Duration;
use workloads::load::consume::{ConsumeSpec, Consumer, Start};
use workloads::load::{ClientKind, ProducerSettings};
use workloads::native::verify::verify;
use workloads::native::{Admin, NewTopic, Security, Spread};

const PLACES: usize = 3;
const RECORDS: u64 = 2_000;

fn settings(client: ClientKind, codec: Codec) -> ProducerSettings {
    ProducerSettings {
        client,
        batch_bytes: 4_096,
        linger_us: 500,
        compression: Compression::new(codec),
        ..ProducerSettings::default()
    }
}

fn is_built(client: ClientKind, codec: Codec) -> bool {
    cfg!(feature = "librdkafka-gzip") || client != ClientKind::Librdkafka || codec != Codec::Gzip
}

#[test]
fn every_record_arrives_once_in_its_order() {
    let broker = broker();
    for (producing, _) in ClientKind::ALL {
        for codec in Codec::ALL.into_iter().filter(|codec| is_built(producing, *codec)) {
            let spread = broker.topic(&format!("{producing}-{codec}"), PLACES as u32);
            let mut producer = producer(&broker, &spread, settings(producing, codec));
            let mut fates = Fates::default();
            send(&mut *producer, PLACES, 0..RECORDS, &mut fates).unwrap();
            assert_eq!((fates.failed, fates.errors), (vec![], vec![]), "{producing} {codec}");
            fates.acknowledged.sort_unstable();
            assert!(fates.acknowledged.iter().copied().eq(0..RECORDS), "{producing} {codec}");
            if let Some(ledger) = producer.ledger() {
                let checks = verify(&broker.brokers, &Security::default(), ledger, 1 << 20).unwrap();
                assert!(checks.iter().all(|check| check.ok), "{codec}: {checks:?}");
            }
            for (consuming, _) in ClientKind::ALL {
                if !is_built(consuming, codec) {
                    continue;
                }
                let receipts = receive(&broker, &reading(&spread, consuming), RECORDS);
                let what = format!("{producing} {codec} {consuming}");
                let runs = receipts.runs();
                let run = runs[0];
                assert_eq!((runs.len(), run.run, run.records), (1, RUN, RECORDS), "{what}");
                assert_eq!(
                    (run.distinct, run.duplicates, run.out_of_order),
                    (RECORDS, 0, 0),
                    "{what}"
                );
                assert_eq!((run.lowest, run.missing(), receipts.foreign()), (0, 0, 0), "{what}");
                for place in receipts.places() {
                    assert_eq!((place.skipped_offsets, place.repeated_offsets), (0, 0), "{what}");
                }
            }
        }
    }
    broker.server.stop().unwrap();
}

/// What librdkafka's requests hold is told without looking into them: it has to be what lies in the log.
#[test]
fn bytes_of_batches_are_those_that_are_stored() {
    let broker = broker();
    let mut compressed_bytes = 0;
    for codec in [Codec::None, Codec::Zstd] {
        let spread = broker.topic(&format!("bytes-{codec}"), 1);
        let mut producer = producer(&broker, &spread, settings(ClientKind::Librdkafka, codec));
        send(&mut *producer, 1, 0..RECORDS, &mut Fates::default()).unwrap();
        let counts = producer.counts();
        let stored = stored_bytes(&broker, &spread);
        assert_eq!(counts.batch_bytes, stored, "{codec}");
        assert_eq!((counts.requests, counts.retries, counts.errors), (counts.batches, 0, 0));
        assert!(counts.wire_bytes > counts.batch_bytes);
        match codec {
            Codec::None => {
                assert_eq!(counts.raw_bytes, stored);
                compressed_bytes = stored;
            }
            // Framing is counted with deltas of times as small as they are in here.
            _ => {
                let ratio = counts.raw_bytes as f64 / compressed_bytes as f64;
                assert!(stored < compressed_bytes && (0.9..1.1).contains(&ratio), "{counts:?}");
            }
        }
    }
    broker.server.stop().unwrap();
}

/// Bytes of the batches of a topic's only partition.
fn stored_bytes(broker: &super::bench::Broker, spread: &Spread) -> u64 {
    use kafka_wire::BatchIter;
    use kafka_wire::fetch::{ResponseHead, encode_request};
    use workloads::native::connection::{ConnectOptions, Connection};
    let mut connection = Connection::connect(broker.server.address, &ConnectOptions::default()).unwrap();
    let (mut offset, mut bytes) = (0, 0);
    loop {
        let frame = connection
            .ask(|out, id| encode_request(out, id, &spread.topic, 0, offset, 1 << 20, 0))
            .unwrap();
        let head = ResponseHead::decode(frame).unwrap();
        let before = bytes;
        for batch in BatchIter::new(&frame[head.head_bytes..]) {
            let (header, batch) = batch.unwrap();
            bytes += batch.len() as u64;
            offset = header.last_offset() + 1;
        }
        if bytes == before {
            return bytes;
        }
    }
}

#[test]
fn a_topic_each_and_some_of_the_places() {
    let broker = broker();
    let spread = Spread {
        topic_each: true,
        ..Spread::one_topic("each", 4)
    };
    let topics: Vec<NewTopic> = spread.new_topics(1, &Default::default());
    let mut admin = Admin::connect(&broker.brokers, &Security::default()).unwrap();
    admin.create_topics(&topics).unwrap();
    for (number, (client, _)) in (0..).zip(ClientKind::ALL) {
        let mut producer = producer(&broker, &spread, settings(client, Codec::None));
        let mut fates = Fates::default();
        send(&mut *producer, 4, number * RECORDS..(number + 1) * RECORDS, &mut fates).unwrap();
        assert_eq!(fates.acknowledged.len() as u64, RECORDS, "{client}");
    }
    for (client, _) in ClientKind::ALL {
        let mut spec = reading(&spread, client);
        spec.places = Some(vec![3, 1]);
        let receipts = receive(&broker, &spec, RECORDS);
        let places: Vec<usize> = receipts.places().iter().map(|place| place.place).collect();
        assert_eq!(places, [1, 3], "{client}");
        for place in receipts.places() {
            assert_eq!((place.records, place.skipped_offsets), (RECORDS / 2, 0), "{client}");
        }
        // From the middle of a batch on: it comes whole, and its beginning is not told.
        spec.from = Start::Offsets(vec![501, 777]);
        let receipts = receive(&broker, &spec, 2 * RECORDS / 2 - 501 - 777);
        for (place, from) in receipts.places().iter().zip([501, 777]) {
            assert_eq!(
                (place.first_offset, place.records),
                (from, RECORDS / 2 - from as u64),
                "{client}"
            );
        }
    }
    broker.server.stop().unwrap();
}

/// The window of a consumer that begins with what is produced from now on, and reads up to the end.
#[test]
fn a_window_ends_with_all_that_was_produced() {
    let broker = broker();
    for (client, _) in ClientKind::ALL {
        let spread = broker.topic(&format!("window-{client}"), PLACES as u32);
        let mut producer = producer(&broker, &spread, settings(client, Codec::Lz4));
        send(&mut *producer, PLACES, 0..500, &mut Fates::default()).unwrap();
        let mut spec = reading(&spread, client);
        spec.from = Start::Latest;
        spec.connections = if client == ClientKind::Native { 2 } else { 1 };
        let mut consumer = Consumer::connect(&broker.brokers, &Security::default(), spec).unwrap();
        for window in 1..3 {
            let mut is_sent = false;
            let consumed = consumer
                .run(super::bench::LIMIT, super::bench::LIMIT, &mut |tick| {
                    assert!(tick.elapsed_ns > 0 && tick.end_to_end_ns.len() <= tick.records);
                    if !is_sent {
                        send(
                            &mut *producer,
                            PLACES,
                            500 * window..500 * (window + 1),
                            &mut Fates::default(),
                        )
                        .unwrap();
                        is_sent = true;
                        return ControlFlow::Continue(());
                    }
                    ControlFlow::Break(())
                })
                .unwrap();
            assert!(consumed.reached_end && consumed.phase.data_ended, "{client}");
            assert_eq!(
                (consumed.counts.records, consumed.phase.records),
                (500, 500),
                "{client}"
            );
            assert_eq!(consumed.phase.latency_ns.len(), 500);
            assert_eq!((consumed.foreign_records, consumed.timeless_records), (0, 0));
            let run = consumed.runs[0];
            assert_eq!(
                (run.lowest, run.highest, run.distinct),
                (500, 500 * (window + 1) - 1, 500 * window)
            );
            let text = serde_json::to_string(&consumed).unwrap();
            // All but the mean size of a response, which a decimal text need not bring back to the last bit.
            let read: workloads::load::Consumed = serde_json::from_str(&text).unwrap();
            assert_eq!(read.phase.latency_ns, consumed.phase.latency_ns);
            assert_eq!((read.places, read.runs), (consumed.places, consumed.runs));
            assert_eq!(read.counts, consumed.counts);
        }
    }
    broker.server.stop().unwrap();
}

/// What comes when the timed part is over has no latency, and is not lost; with a handler a record comes when it is handled.
#[test]
fn a_timed_part_and_a_handler_lose_nothing() {
    let broker = broker();
    for (client, _) in ClientKind::ALL {
        for handler_us in [0, 100] {
            let spread = broker.topic(&format!("timed-{client}-{handler_us}"), PLACES as u32);
            let mut producer = producer(&broker, &spread, settings(client, Codec::None));
            let spec = ConsumeSpec {
                timed_ms: 1,
                handler_us,
                ..reading(&spread, client)
            };
            let mut consumer = Consumer::connect(&broker.brokers, &Security::default(), spec).unwrap();
            send(&mut *producer, PLACES, 0..300, &mut Fates::default()).unwrap();
            let mut is_sent = false;
            let consumed = consumer
                .run(super::bench::LIMIT, super::bench::LIMIT, &mut |_| {
                    if std::mem::replace(&mut is_sent, true) {
                        return ControlFlow::Break(());
                    }
                    send(&mut *producer, PLACES, 300..500, &mut Fates::default()).unwrap();
                    ControlFlow::Continue(())
                })
                .unwrap();
            let what = format!("{client} {handler_us}");
            assert!(consumed.reached_end, "{what}");
            let timed = consumed.phase.records;
            assert!(timed <= 300, "{what}: {timed} records before the others were sent");
            assert_eq!(timed + consumed.later_records, 500, "{what}");
            assert_eq!(consumed.phase.latency_ns.len(), timed, "{what}");
            let run = consumed.runs[0];
            assert_eq!((run.distinct, run.duplicates, run.out_of_order), (500, 0, 0), "{what}");
            assert!(consumed.places.iter().all(|place| place.skipped_offsets == 0), "{what}");
        }
    }
    broker.server.stop().unwrap();
}

/// Who has no time to handle everything leaves it in the log.
#[test]
fn what_is_not_handled_in_time_is_left() {
    let broker = broker();
    for (client, _) in ClientKind::ALL {
        let spread = broker.topic(&format!("left-{client}"), 1);
        let mut producer = producer(&broker, &spread, settings(client, Codec::None));
        send(&mut *producer, 1, 0..300, &mut Fates::default()).unwrap();
        let spec = ConsumeSpec {
            handler_us: 60_000_000,
            ..reading(&spread, client)
        };
        let mut consumer = Consumer::connect(&broker.brokers, &Security::default(), spec).unwrap();
        let window = Duration::from_millis(100);
        let consumed = consumer
            .run(window, Duration::ZERO, &mut |_| ControlFlow::Continue(()))
            .unwrap();
        assert!(!consumed.reached_end, "{client}");
        assert_eq!(
            (consumed.phase.records, consumed.places[0].next_offset),
            (0, 0),
            "{client}"
        );
    }
    broker.server.stop().unwrap();
}

#[test]
fn a_window_without_a_word_ends_by_itself() {
    let broker = broker();
    for (client, _) in ClientKind::ALL {
        let spread = broker.topic(&format!("silent-{client}"), 1);
        let mut spec = reading(&spread, client);
        spec.from = Start::Earliest;
        let mut consumer = Consumer::connect(&broker.brokers, &Security::default(), spec).unwrap();
        let window = Duration::from_millis(30);
        let consumed = consumer
            .run(window, window, &mut |_| ControlFlow::Continue(()))
            .unwrap();
        assert_eq!(
            (consumed.phase.records, consumed.reached_end, consumed.phase.wall_ns),
            (0, true, 0)
        );
    }
    let missing = Spread::one_topic("missing", 1);
    for (client, _) in ClientKind::ALL {
        let spec = load(&missing, settings(client, Codec::None));
        let error = workloads::load::connect(&broker.brokers, &Security::default(), &spec)
            .err()
            .unwrap();
        assert!(
            error.to_string().contains("UnknownTopicOrPartition"),
            "{client}: {error}"
        );
    }
    broker.server.stop().unwrap();
}
