//! Full queues, brokers that go away, and what librdkafka is not built with.

use super::bench::{Fates, after, broker, broker_to_restart, load, producer, reading, receive, send, value};
use kafka_wire::{Codec, Compression};
use std::collections::BTreeMap;
use std::time::Duration;
use workloads::load::consume::{self, ConsumeSpec, Consuming, Receipts};
use workloads::load::{ClientKind, Handed, Outgoing, ProducerSettings, clock};
use workloads::native::{Sasl, SaslMechanism, Security, Spread, Tls};

fn librdkafka() -> ProducerSettings {
    ProducerSettings {
        client: ClientKind::Librdkafka,
        ..ProducerSettings::default()
    }
}

#[test]
fn a_full_queue_is_told_and_nothing_is_lost() {
    let broker = broker();
    for (client, _) in ClientKind::ALL {
        let spread = broker.topic(&format!("full-{client}"), 2);
        let settings = ProducerSettings {
            client,
            batch_bytes: 2_048,
            buffer_bytes: 8_192,
            linger_us: 1_000,
            ..ProducerSettings::default()
        };
        let mut producer = producer(&broker, &spread, settings);
        let mut fates = Fates::default();
        send(&mut *producer, 2, 0..2_000, &mut fates).unwrap();
        assert!(fates.full > 0, "{client}: 400 kB went through 8 kB");
        assert_eq!((fates.acknowledged.len(), fates.failed.len()), (2_000, 0), "{client}");
        let receipts = receive(&broker, &reading(&spread, client), 2_000);
        let run = receipts.runs()[0];
        assert_eq!(
            (run.distinct, run.duplicates, run.out_of_order),
            (2_000, 0, 0),
            "{client}"
        );
    }
    broker.server.stop().unwrap();
}

#[test]
fn a_broker_that_goes_away_takes_records_along_and_each_is_told_once() {
    let broker = broker();
    let spread = broker.topic("gone", 2);
    let settings = ProducerSettings {
        linger_us: 100,
        request_timeout_ms: 1_000,
        delivery_timeout_ms: 1_000,
        ..librdkafka()
    };
    let mut producer = producer(&broker, &spread, settings);
    let mut fates = Fates::default();
    send(&mut *producer, 2, 0..100, &mut fates).unwrap();
    assert_eq!(fates.acknowledged.len(), 100);
    broker.server.stop().unwrap();
    send(&mut *producer, 2, 100..200, &mut fates).unwrap();
    fates.failed.sort_unstable();
    assert!(fates.failed.iter().copied().eq(100..200), "{fates:?}");
    assert!(
        fates.errors.iter().all(|error| error.starts_with('_')),
        "{:?}",
        fates.errors
    );
    assert!(producer.counts().errors > 0);
}

/// Retries with idempotence: what was on its way while the broker was away is stored once, and the consumer goes on too.
#[test]
fn a_broker_that_comes_back_finds_what_was_sent_meanwhile() {
    let broker = broker_to_restart();
    let spread = broker.topic("back", 2);
    let settings = ProducerSettings {
        idempotence: true,
        retries: true,
        linger_us: 100,
        ..librdkafka()
    };
    let mut producer = producer(&broker, &spread, settings);
    let spec = reading(&spread, ClientKind::Librdkafka);
    let starts = vec![(0, 0), (1, 0)];
    let mut receipts = Receipts::new(&starts);
    let mut consumer = consume::connect(&broker.brokers, &Security::default(), &spec, &starts).unwrap();
    let until = after(super::bench::LIMIT);
    let mut read = |consumer: &mut dyn Consuming, records: u64| {
        while consumer.counts().records < records && clock::now_ns() < until {
            consumer
                .poll(until, &mut |received| {
                    receipts.take(&received);
                })
                .unwrap();
        }
    };
    let mut fates = Fates::default();
    send(&mut *producer, 2, 0..100, &mut fates).unwrap();
    read(&mut *consumer, 100);
    let broker = broker.restart(|| {
        for sequence in 100..200 {
            let value = value(sequence);
            let record = Outgoing {
                place: sequence as usize % 2,
                key: None,
                value: &value,
                timestamp_ms: 1_700_000_000_000,
                token: sequence,
            };
            assert_eq!(producer.send(record).unwrap(), Handed::Taken);
        }
    });
    producer.flush(until, &mut |delivered| fates.note(delivered)).unwrap();
    fates.acknowledged.sort_unstable();
    assert!(
        fates.failed.is_empty() && fates.acknowledged.iter().copied().eq(0..200),
        "{fates:?}"
    );
    read(&mut *consumer, 200);
    let run = receipts.runs()[0];
    assert_eq!(
        (run.distinct, run.duplicates, run.out_of_order, run.missing()),
        (200, 0, 0, 0)
    );
    broker.server.stop().unwrap();
}

/// The native consumer must know when its connection broke, and says so.
#[test]
fn the_native_consumer_ends_with_its_broker() {
    let broker = broker();
    let spread = broker.topic("ends", 1);
    let spec = reading(&spread, ClientKind::Native);
    let mut consumer = consume::connect(&broker.brokers, &Security::default(), &spec, &vec![(0, 0)]).unwrap();
    consumer
        .poll(after(Duration::from_millis(1)), &mut |received| panic!("{received:?}"))
        .unwrap();
    broker.server.stop().unwrap();
    let until = after(super::bench::LIMIT);
    let error = loop {
        match consumer.poll(until, &mut |received| panic!("{received:?}")) {
            Ok(()) => assert!(clock::now_ns() < until, "nothing is told"),
            Err(error) => break error.to_string(),
        }
    };
    assert!(
        error.contains("receiving records") || error.contains("sending a request"),
        "{error}"
    );
}

/// A flush that has no time gives up what is left, and tells so.
#[test]
fn a_flush_without_time_gives_up_what_is_left() {
    let broker = broker();
    let spread = broker.topic("late", 1);
    let mut producer = producer(
        &broker,
        &spread,
        ProducerSettings {
            linger_us: 60_000_000 - 1,
            ..librdkafka()
        },
    );
    let mut fates = Fates::default();
    for sequence in 0..10 {
        let value = value(sequence);
        let record = Outgoing {
            place: 0,
            key: None,
            value: &value,
            timestamp_ms: 1_700_000_000_000,
            token: sequence,
        };
        assert_eq!(producer.send(record).unwrap(), Handed::Taken);
    }
    producer
        .poll(after(Duration::from_millis(20)), &mut |delivered| fates.note(delivered))
        .unwrap();
    assert_eq!(fates, Fates::default(), "they linger");
    producer.flush(0, &mut |delivered| fates.note(delivered)).unwrap();
    assert_eq!((fates.acknowledged, fates.failed), (vec![], (0..10).collect()));
    assert_eq!(fates.errors, ["_PURGE_QUEUE"]);
    // It goes on afterwards, and a flush with time does not wait for the linger.
    let mut fates = Fates::default();
    send(&mut *producer, 1, 0..5, &mut fates).unwrap();
    assert_eq!(fates.acknowledged, [0, 1, 2, 3, 4]);
    broker.server.stop().unwrap();
}

#[test]
fn a_record_that_is_too_large_fails_alone() {
    let broker = broker();
    let spread = broker.topic("large", 1);
    let mut producer = producer(&broker, &spread, librdkafka());
    let mut fates = Fates::default();
    let value = vec![0; 4 << 20];
    for token in [1, 2] {
        let value = if token == 1 { &value[..] } else { b"small" };
        let record = Outgoing {
            place: 0,
            key: None,
            value,
            timestamp_ms: 1_700_000_000_000,
            token,
        };
        assert_eq!(producer.send(record).unwrap(), Handed::Taken);
    }
    producer
        .flush(after(super::bench::LIMIT), &mut |delivered| fates.note(delivered))
        .unwrap();
    assert_eq!((fates.acknowledged, fates.failed), (vec![2], vec![1]));
    assert_eq!(fates.errors, ["MSG_SIZE_TOO_LARGE"]);
    broker.server.stop().unwrap();
}

#[test]
fn acks_of_zero_are_told_without_offsets() {
    let broker = broker();
    let spread = broker.topic("zero", 1);
    let settings = ProducerSettings {
        acks: 0,
        ..librdkafka()
    };
    let mut producer = producer(&broker, &spread, settings);
    let value = value(0);
    let record = Outgoing {
        place: 0,
        key: None,
        value: &value,
        timestamp_ms: 1_700_000_000_000,
        token: 9,
    };
    producer.send(record).unwrap();
    let mut told = Vec::new();
    let mut on = |delivered: workloads::load::Delivered<'_>| {
        told.push((
            delivered.tokens.to_vec(),
            delivered.base_offset,
            delivered.error.is_some(),
        ));
    };
    producer.flush(after(super::bench::LIMIT), &mut on).unwrap();
    assert_eq!(told, [(vec![9], None, false)]);
    broker.server.stop().unwrap();
}

#[test]
fn what_is_refused_is_told_with_a_remedy() {
    let broker = broker();
    let spread = broker.topic("refused", 1);
    let connect = |security: &Security, settings: ProducerSettings| {
        let spec = load(&spread, settings);
        workloads::load::connect(&broker.brokers, security, &spec)
            .err()
            .unwrap()
            .to_string()
    };
    let with = |name: &str, value: &str, client| ProducerSettings {
        client,
        properties: BTreeMap::from([(name.to_owned(), value.to_owned())]),
        ..ProducerSettings::default()
    };
    let plain = Security::default();
    let unknown = connect(&plain, with("linger", "5", ClientKind::Librdkafka));
    assert!(
        unknown.contains("linger=5: No such configuration property"),
        "{unknown}"
    );
    let wrong = connect(&plain, with("socket.nagle.disable", "maybe", ClientKind::Librdkafka));
    assert!(wrong.contains("socket.nagle.disable=maybe"), "{wrong}");
    let ours = connect(&plain, with("client.id", "me", ClientKind::Librdkafka));
    assert!(ours.contains("`client.id` is not for you to set"), "{ours}");
    let native = connect(&plain, with("socket.nagle.disable", "true", ClientKind::Native));
    assert!(
        native.contains("the native producer has no property `socket.nagle.disable`"),
        "{native}"
    );
    if !cfg!(feature = "librdkafka-ssl") {
        let tls = Security {
            tls: Some(Tls::default()),
            sasl: None,
        };
        let scram = Security {
            tls: None,
            sasl: Some(Sasl {
                mechanism: SaslMechanism::ScramSha256,
                username: "u".to_owned(),
                password: "p".to_owned(),
            }),
        };
        for security in [tls, scram] {
            let error = connect(&security, librdkafka());
            assert!(
                error.contains("--features librdkafka-ssl") && error.contains("native client"),
                "{error}"
            );
        }
    }
    if !cfg!(feature = "librdkafka-gzip") {
        let settings = ProducerSettings {
            compression: Compression::new(Codec::Gzip),
            ..librdkafka()
        };
        assert!(connect(&plain, settings).contains("--features librdkafka-gzip"));
        gzip_is_read_by_the_native_consumer_only(&broker, &spread);
    }
    broker.server.stop().unwrap();
}

fn gzip_is_read_by_the_native_consumer_only(broker: &super::bench::Broker, spread: &Spread) {
    let settings = ProducerSettings {
        compression: Compression::new(Codec::Gzip),
        ..ProducerSettings::default()
    };
    let mut producer = producer(broker, spread, settings);
    send(&mut *producer, 1, 0..50, &mut Fates::default()).unwrap();
    assert_eq!(
        receive(broker, &reading(spread, ClientKind::Native), 50).runs()[0].distinct,
        50
    );
    let spec = ConsumeSpec {
        check_crcs: false,
        ..reading(spread, ClientKind::Librdkafka)
    };
    let mut consumer = consume::connect(&broker.brokers, &Security::default(), &spec, &vec![(0, 0)]).unwrap();
    let until = after(super::bench::LIMIT);
    let error = loop {
        match consumer.poll(until, &mut |received| panic!("{received:?}")) {
            Ok(()) => assert!(clock::now_ns() < until, "nothing is told"),
            Err(error) => break error.to_string(),
        }
    };
    assert!(error.contains("--features librdkafka-gzip"), "{error}");
}
