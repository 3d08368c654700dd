//! Every codec, acks, linger, restarts, full queues; a worker, and the broker that stores nothing.

use broker_under_test::{Config, Server};
use kafka_wire::{BatchIter, Decompressor};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use workloads::load::{
    Arrivals, ClientCounts, Delivered, Engine, Handed, Keys, LoadPayload, LoadSpec, Loaded, NativeProducer, Outgoing,
    Partitioner, ProducerSettings, Producing, Sizes, Stamp, Tick, connect,
};
use workloads::native::ledger::Ledger;
use workloads::native::verify::verify;
use workloads::native::{Admin, Bootstrap, ClientError, NewTopic, Phase, Security, Spread};
use workloads::payload::PayloadSpec;
use workloads::worker::{self, WorkerEvent, WorkerResult, WorkerSpec};

/// Long enough for everything; each run ends with its records.
const WINDOW: Duration = Duration::from_secs(120);

fn broker(dir: &Path, settings: &[(&str, &str)]) -> Server {
    let mut config = Config::default();
    let ours = [
        ("log.dirs", dir.to_str().expect("the path is text")),
        ("listeners", "PLAINTEXT://127.0.0.1:0"),
    ];
    for (key, value) in ours.iter().chain(settings) {
        config.set(key, value, "test").expect("the broker knows the setting");
    }
    Server::start(config.complete().expect("a data folder is set"), None).expect("the broker starts")
}

fn plain() -> Security {
    Security::default()
}

fn spec(topic: &str, partitions: u32, records: u64) -> LoadSpec {
    LoadSpec {
        spread: Spread::one_topic(topic, partitions),
        arrivals: Arrivals::Closed { outstanding: 500 },
        keys: Keys::None,
        payload: LoadPayload::new(PayloadSpec::Random { record_bytes: 200 }),
        partitioner: Partitioner::RoundRobin,
        producer: ProducerSettings::default(),
        records_max: Some(records),
        first_sequence: 0,
        patience_ms: None,
        seed: 7,
    }
}

fn go_on(_: &Tick<'_>) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// Runs a load once; what it came to, and the ledger of its client.
fn load(brokers: &Bootstrap, spec: &LoadSpec) -> (Loaded, Option<Ledger>) {
    let client = connect(brokers, &plain(), spec).unwrap();
    let mut engine = Engine::new(spec.clone(), client).unwrap();
    let loaded = engine.run(WINDOW, &mut go_on).unwrap();
    (loaded, engine.client().ledger().cloned())
}

fn holds(brokers: &Bootstrap, ledger: &Ledger) {
    let checks = verify(brokers, &plain(), ledger, 1 << 20).unwrap();
    assert!(checks.iter().all(|check| check.ok), "{checks:?}");
    assert!(ledger.partitions.iter().all(|partition| partition.dense));
}

/// Stamps of all records of a topic by partition, read from the segments of a broker that is stopped.
fn stored_stamps(dir: &Path, topic: &str, partition: u32) -> Vec<Stamp> {
    let segment = dir.join(format!("{topic}-{partition}/00000000000000000000.log"));
    let stored = std::fs::read(segment).unwrap();
    let mut decompressor = Decompressor::default();
    let mut stamps = Vec::new();
    for item in BatchIter::new(&stored) {
        let (header, batch) = item.unwrap();
        for record in decompressor.records(header, batch, 64 << 20).unwrap() {
            stamps.push(Stamp::parse(record.unwrap().value.unwrap()).unwrap());
        }
    }
    stamps
}

#[test]
fn every_codec_is_stored_whole_and_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("data");
    let server = broker(&dir, &[]);
    let brokers = Bootstrap::from(server.address);
    let codecs = ["none", "gzip", "snappy", "lz4", "zstd:1"];
    for (number, codec) in codecs.iter().enumerate() {
        let topic = format!("codec-{number}");
        Admin::connect(&brokers, &plain())
            .unwrap()
            .create_topic(&NewTopic::new(&topic, 3))
            .unwrap();
        let mut spec = spec(&topic, 3, 3_000);
        spec.producer.compression = codec.parse().unwrap();
        spec.payload.content = PayloadSpec::Text {
            record_bytes: 200,
            entropy: 0.3,
        };
        spec.payload.sizes = Sizes::Range { min: 24, max: 600 };
        let (loaded, ledger) = load(&brokers, &spec);
        assert_eq!(
            (loaded.sent_records, loaded.phase.records, loaded.failed_records),
            (3_000, 3_000, 0)
        );
        assert_eq!((loaded.phase.latency_ns.len(), loaded.service_ns.len()), (3_000, 3_000));
        assert_eq!(loaded.phase.responses, loaded.counts.batches);
        assert!(loaded.counts.wire_bytes > loaded.counts.batch_bytes);
        match *codec {
            "none" => assert_eq!(loaded.counts.batch_bytes, loaded.counts.raw_bytes),
            _ => assert!(
                loaded.counts.batch_bytes < loaded.counts.raw_bytes,
                "{codec}: {:?}",
                loaded.counts
            ),
        }
        let ledger = ledger.unwrap();
        assert_eq!(
            (ledger.total_records(), ledger.total_batches()),
            (3_000, loaded.counts.batches)
        );
        holds(&brokers, &ledger);
    }
    server.stop().unwrap();
    for number in 0..codecs.len() {
        for partition in 0..3u64 {
            let stamps = stored_stamps(&dir, &format!("codec-{number}"), partition as u32);
            let sequences: Vec<u64> = stamps.iter().map(|stamp| stamp.sequence).collect();
            let due: Vec<u64> = (partition..3_000).step_by(3).collect();
            assert_eq!(sequences, due, "codec {number}, partition {partition}");
        }
    }
}

#[test]
fn acks_linger_and_connections_change_nothing_of_what_is_stored() {
    let folder = tempfile::tempdir().unwrap();
    let server = broker(&folder.path().join("data"), &[]);
    let brokers = Bootstrap::from(server.address);
    let tried: [(i16, u64, u32, u32, u32); 5] = [
        (0, 0, 5, 1, 16_384),
        (1, 2_000, 1, 1, 2_000),
        (-1, 0, 5, 3, 1),
        (-1, 5_000, 5, 8, 65_536),
        (0, 5_000, 2, 2, 4_096),
    ];
    for (number, (acks, linger_us, in_flight, connections, batch_bytes)) in tried.into_iter().enumerate() {
        let topic = format!("t-{number}");
        let mut admin = Admin::connect(&brokers, &plain()).unwrap();
        admin.create_topic(&NewTopic::new(&topic, 5)).unwrap();
        let mut spec = spec(&topic, 5, 2_000);
        spec.keys = Keys::Zipf {
            count: 100,
            exponent: 1.0,
        };
        spec.partitioner = Partitioner::Key;
        spec.producer = ProducerSettings {
            acks,
            linger_us,
            in_flight,
            connections,
            batch_bytes,
            ..ProducerSettings::default()
        };
        let (loaded, ledger) = load(&brokers, &spec);
        assert_eq!((loaded.phase.records, loaded.failed_records), (2_000, 0), "{number}");
        if batch_bytes == 1 {
            assert_eq!(loaded.counts.batches, 2_000, "a batch per record");
        }
        match acks {
            0 => assert!(ledger.is_none(), "nothing is known of what nobody acknowledged"),
            _ => holds(&brokers, &ledger.unwrap()),
        }
        // Without acknowledgements the records may still be on their way to the log.
        let stored = || -> i64 {
            let ends = Admin::connect(&brokers, &plain())
                .unwrap()
                .end_offsets(&topic, 5)
                .unwrap();
            ends.iter().sum()
        };
        while acks == 0 && stored() < 2_000 {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(stored(), 2_000, "{number}");
    }
    server.stop().unwrap();
}

#[test]
fn an_idempotent_load_is_stored_with_its_sequences_over_many_topics() {
    let folder = tempfile::tempdir().unwrap();
    let server = broker(&folder.path().join("data"), &[]);
    let brokers = Bootstrap::from(server.address);
    let mut spec = spec("many", 4, 2_000);
    spec.spread.topic_each = true;
    spec.partitioner = Partitioner::Sticky;
    spec.producer.idempotence = true;
    spec.producer.retries = true;
    spec.producer.batch_bytes = 3_000;
    let mut admin = Admin::connect(&brokers, &plain()).unwrap();
    admin
        .create_topics(&spec.spread.new_topics(1, &BTreeMap::new()))
        .unwrap();
    let (loaded, ledger) = load(&brokers, &spec);
    assert_eq!(
        (loaded.phase.records, loaded.counts.retries, loaded.counts.errors),
        (2_000, 0, 0)
    );
    let ledger = ledger.unwrap();
    assert!(
        ledger
            .partitions
            .iter()
            .filter(|partition| partition.records > 0)
            .count()
            > 1
    );
    holds(&brokers, &ledger);
    server.stop().unwrap();
}

/// The native producer, but after so many records the broker is killed, and started again on the same port when half of the rest is sent.
struct Saboteur {
    inner: NativeProducer,
    sent: u64,
    at: BTreeMap<u64, Box<dyn FnOnce()>>,
}

impl Producing for Saboteur {
    fn send(&mut self, record: Outgoing<'_>) -> Result<Handed, ClientError> {
        let handed = self.inner.send(record)?;
        if handed == Handed::Taken {
            self.sent += 1;
            if let Some(act) = self.at.remove(&self.sent) {
                act();
            }
        }
        Ok(handed)
    }

    fn poll(&mut self, until_ns: u64, on: &mut dyn FnMut(Delivered<'_>)) -> Result<(), ClientError> {
        self.inner.poll(until_ns, on)
    }

    fn flush(&mut self, until_ns: u64, on: &mut dyn FnMut(Delivered<'_>)) -> Result<(), ClientError> {
        self.inner.flush(until_ns, on)
    }

    fn counts(&self) -> ClientCounts {
        self.inner.counts()
    }

    fn ledger(&self) -> Option<&Ledger> {
        self.inner.ledger()
    }
}

/// A load during which the broker stops after 1,000 records and comes back after 2,000, of 4,000.
fn with_a_restart(retries: bool) -> (Loaded, Ledger, u64) {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("data");
    let server = broker(&dir, &[]);
    let brokers = Bootstrap::from(server.address);
    let port = server.address.port();
    Admin::connect(&brokers, &plain())
        .unwrap()
        .create_topic(&NewTopic::new("t", 2))
        .unwrap();
    let mut spec = spec("t", 2, 4_000);
    // Open, as nothing is acknowledged while the broker is away.
    spec.arrivals = Arrivals::Constant { rate: 20_000.0 };
    spec.producer.retries = retries;
    spec.producer.batch_bytes = 1_000;
    let server = std::rc::Rc::new(RefCell::new(Some(server)));
    let (stop, start) = (server.clone(), server.clone());
    let mut at: BTreeMap<u64, Box<dyn FnOnce()>> = BTreeMap::new();
    at.insert(1_000, Box::new(move || stop.take().unwrap().stop().unwrap()));
    let data = dir.clone();
    at.insert(
        2_000,
        Box::new(move || {
            let listener = format!("PLAINTEXT://127.0.0.1:{port}");
            start.replace(Some(broker(&data, &[("listeners", &listener)])));
        }),
    );
    let inner = NativeProducer::connect(&brokers, &plain(), &spec).unwrap();
    let client = Saboteur { inner, sent: 0, at };
    let mut engine = Engine::new(spec, Box::new(client)).unwrap();
    let loaded = engine.run(WINDOW, &mut go_on).unwrap();
    let ledger = engine.client().ledger().unwrap().clone();
    server.take().unwrap().stop().unwrap();
    let stored = (0..2)
        .map(|partition| stored_stamps(&dir, "t", partition).len() as u64)
        .sum();
    (loaded, ledger, stored)
}

#[test]
fn without_retries_each_record_of_a_broken_connection_fails_once() {
    let (loaded, ledger, stored) = with_a_restart(false);
    assert_eq!(loaded.sent_records, 4_000);
    assert_eq!(
        loaded.phase.records + loaded.failed_records,
        4_000,
        "{:?}",
        loaded.errors
    );
    assert_eq!(loaded.errors.values().sum::<u64>(), loaded.failed_records);
    assert_eq!((loaded.counts.retries, loaded.counts.reconnects), (0, 1));
    assert_eq!(ledger.total_records(), loaded.phase.records);
    // What failed may be stored, as only its answer was lost; what was acknowledged is.
    assert!((loaded.phase.records..=4_000).contains(&stored), "{stored}");
}

#[test]
fn with_retries_everything_is_acknowledged_in_the_end() {
    let (loaded, ledger, stored) = with_a_restart(true);
    assert_eq!(
        (loaded.phase.records, loaded.failed_records),
        (4_000, 0),
        "{:?}",
        loaded.errors
    );
    assert_eq!((ledger.total_records(), loaded.counts.reconnects), (4_000, 1));
    assert!(stored >= 4_000, "{stored}: without idempotence some may be there twice");
}

#[test]
fn a_broker_that_stays_away_fails_everything_within_the_delivery_timeout() {
    let folder = tempfile::tempdir().unwrap();
    let server = broker(&folder.path().join("data"), &[]);
    let brokers = Bootstrap::from(server.address);
    Admin::connect(&brokers, &plain())
        .unwrap()
        .create_topic(&NewTopic::new("t", 1))
        .unwrap();
    let mut spec = spec("t", 1, 1_000);
    spec.producer.retries = true;
    spec.producer.delivery_timeout_ms = 200;
    let client = connect(&brokers, &plain(), &spec).unwrap();
    server.stop().unwrap();
    let mut engine = Engine::new(spec, client).unwrap();
    let loaded = engine.run(WINDOW, &mut go_on).unwrap();
    assert_eq!((loaded.phase.records, loaded.failed_records), (0, 1_000));
    assert_eq!(
        loaded.errors.keys().map(String::as_str).collect::<Vec<_>>(),
        ["delivery timeout"]
    );
}

#[test]
fn a_small_send_queue_blocks_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let server = broker(&folder.path().join("data"), &[]);
    let brokers = Bootstrap::from(server.address);
    Admin::connect(&brokers, &plain())
        .unwrap()
        .create_topic(&NewTopic::new("t", 1))
        .unwrap();
    let mut spec = spec("t", 1, 3_000);
    spec.arrivals = Arrivals::Bursts {
        rate: 30_000.0,
        burst: 1_000,
    };
    spec.producer.buffer_bytes = 10_000;
    let (loaded, ledger) = load(&brokers, &spec);
    assert_eq!((loaded.phase.records, loaded.unsent_records), (3_000, 0));
    // Of each burst of 1,000 records some 45 have room at once.
    assert!(loaded.blocked_records > 2_500, "{}", loaded.blocked_records);
    holds(&brokers, &ledger.unwrap());
    server.stop().unwrap();
}

#[test]
fn a_worker_loads_in_windows_and_leaves_a_ledger() {
    let folder = tempfile::tempdir().unwrap();
    let server = broker(&folder.path().join("data"), &[]);
    let brokers = Bootstrap::from(server.address);
    Admin::connect(&brokers, &plain())
        .unwrap()
        .create_topic(&NewTopic::new("t", 2))
        .unwrap();
    let path = folder.path().join("ledger.json");
    let mut task = WorkerSpec::Load {
        address: brokers.clone(),
        security: plain(),
        load: Box::new(spec("t", 2, 500)),
        warmup_ms: 60_000,
        window: Phase {
            duration_ms: 60_000,
            single_pass: false,
        },
        ledger: Some(path.clone()),
        ticks_ms: 0,
    };
    let drive = |task: &WorkerSpec| {
        let input = format!("{}\ngo\ngo\nquit\n", serde_json::to_string(task).unwrap());
        let mut output = Vec::new();
        let code = worker::run(input.as_bytes(), &mut output, &AtomicBool::new(false));
        let lines = output.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let events: Vec<WorkerEvent> = lines.map(|line| serde_json::from_slice(line).unwrap()).collect();
        (code, events)
    };
    let (code, events) = drive(&task);
    assert_eq!(code, worker::EXIT_DONE, "{events:?}");
    let WorkerEvent::Ready { warmup: Some(warmup) } = &events[0] else {
        panic!("{events:?}")
    };
    assert_eq!(warmup.records, 500);
    for event in &events[1..3] {
        let WorkerEvent::Done {
            result: WorkerResult::Loaded(loaded),
        } = event
        else {
            panic!("{events:?}")
        };
        assert_eq!((loaded.phase.records, loaded.phase.latency_ns.len()), (500, 500));
    }
    let ledger = Ledger::read(&path).unwrap();
    assert_eq!(ledger.total_records(), 1_500);
    holds(&brokers, &ledger);

    if let WorkerSpec::Load { load, .. } = &mut task {
        load.producer.acks = 0;
    }
    let (code, events) = drive(&task);
    let Some(WorkerEvent::Error { message }) = events.last() else {
        panic!("{events:?}")
    };
    assert!(
        code == worker::EXIT_ERROR && message.contains("keeps a ledger"),
        "{message}"
    );
    server.stop().unwrap();
}

#[test]
fn the_null_broker_takes_everything() {
    let folder = tempfile::tempdir().unwrap();
    let server = broker(&folder.path().join("data"), &[("log.layout", "null")]);
    let brokers = Bootstrap::from(server.address);
    Admin::connect(&brokers, &plain())
        .unwrap()
        .create_topic(&NewTopic::new("t", 3))
        .unwrap();
    for (acks, idempotence) in [(0, false), (1, false), (-1, true)] {
        let mut spec = spec("t", 3, 3_000);
        spec.producer.acks = acks;
        (spec.producer.idempotence, spec.producer.retries) = (idempotence, idempotence);
        spec.producer.compression = "lz4".parse().unwrap();
        let (loaded, ledger) = load(&brokers, &spec);
        assert_eq!((loaded.phase.records, loaded.counts.errors), (3_000, 0));
        if let Some(ledger) = ledger {
            assert!(
                ledger
                    .partitions
                    .iter()
                    .all(|partition| partition.dense && partition.records == 1_000)
            );
        }
    }
    server.stop().unwrap();
}
