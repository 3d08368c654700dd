//! Look-ups by time: the exact record, by way of the time index, whatever became of its file.

use std::fs;

use broker_under_test::counters::Counter;
use kafka_wire::codec::Decompressor;
use kafka_wire::{BatchBuilder, BatchHeader};

use crate::support::{BASE_TIMESTAMP_MS, Client, TestBroker, copy_of, segments, start_in};

const TOPIC: &str = "orders";
const BATCHES: i64 = 120;

/// Three records, 10 ms apart; every seventh batch comes a little late.
fn times(batch: i64) -> [i64; 3] {
    let start = BASE_TIMESTAMP_MS + batch * 30 - if batch % 7 == 3 { 100 } else { 0 };
    [start, start + 10, start + 20]
}

fn broker(settings: &[(&str, &str)]) -> TestBroker {
    let broker = TestBroker::start(&[]);
    let mut client = broker.client();
    assert_eq!(client.create_topic(TOPIC, 1, settings), 0);
    for batch in 0..BATCHES {
        let mut builder = BatchBuilder::new(times(batch)[0]);
        times(batch)
            .iter()
            .for_each(|time| builder.push(*time, None, &[7; 1000]));
        client.append(TOPIC, 0, builder.finish());
    }
    broker
}

/// What a scan of all records answers.
fn expected(time: i64, from: i64) -> (i16, i64, i64) {
    let records = (0..BATCHES).flat_map(times).zip(0i64..);
    let mut later = records.filter(|(t, offset)| *t >= time && *offset >= from);
    later.next().map_or((0, -1, -1), |(t, offset)| (0, offset, t))
}

fn check(client: &mut Client, from: i64, what: &str) {
    for batch in -1..=BATCHES {
        for time in [times(batch)[0], times(batch)[1] + 5, times(batch)[2]] {
            assert_eq!(
                client.list_offset(TOPIC, 0, time),
                expected(time, from),
                "{what}, {time}"
            );
        }
    }
    let latest = times(BATCHES - 1)[2];
    assert_eq!(client.list_offset(TOPIC, 0, -3), (0, BATCHES * 3 - 1, latest), "{what}");
}

#[test]
fn every_time_finds_its_record() {
    for settings in [
        [("index.interval.bytes", "0"), ("segment.bytes", "40000")],
        [("index.interval.bytes", "4096"), ("segment.bytes", "40000")],
        [("index.interval.bytes", "2147483647"), ("segment.bytes", "1073741824")],
    ] {
        let mut broker = broker(&settings);
        let mut client = broker.client();
        check(&mut client, 0, "as it was written");
        drop(client);
        let killed = broker.killed_copy();
        broker.stop();
        let stopped = broker.data_dir();
        type Damage<'a> = (&'a str, &'a dyn Fn(&[u8]) -> Option<Vec<u8>>);
        let damages: [Damage; 6] = [
            ("whole", &|raw| Some(raw.to_vec())),
            ("missing", &|_| None),
            ("empty", &|_| Some(Vec::new())),
            ("half an entry", &|raw| {
                Some(raw[..raw.len().saturating_sub(5)].to_vec())
            }),
            ("zeros", &|raw| Some(vec![0; raw.len()])),
            ("noise", &|raw| Some(raw.iter().map(|b| b ^ 0x5a).collect())),
        ];
        for (name, damage) in &damages {
            for from in [stopped.as_path(), killed.path()] {
                let folder = copy_of(from);
                for (base, _) in segments(folder.path(), TOPIC, 0) {
                    let path = folder.path().join(format!("{TOPIC}-0/{base:020}.timeindex"));
                    let Ok(raw) = fs::read(&path) else { continue };
                    match damage(&raw) {
                        Some(damaged) => fs::write(&path, damaged).unwrap(),
                        None => fs::remove_file(&path).unwrap(),
                    }
                }
                let server = start_in(folder.path(), &[]).unwrap();
                check(&mut Client::connect(server.address), 0, name);
                server.stop().unwrap();
            }
        }
        broker.start_again().unwrap();
    }
}

#[test]
fn a_look_up_by_time_reads_little() {
    let mut broker = broker(&[("index.interval.bytes", "0"), ("segment.bytes", "40000")]);
    broker.stop();
    broker.start_again().unwrap();
    let mut client = broker.client();
    // The first one reads the indexes of the one segment that holds it.
    let time = times(BATCHES / 2)[1];
    assert_eq!(client.list_offset(TOPIC, 0, time), expected(time, 0));
    let before = [Counter::CallPreadLookup, Counter::CallOpen].map(|c| broker.counter(c));
    assert_eq!(client.list_offset(TOPIC, 0, time), expected(time, 0));
    let after = [Counter::CallPreadLookup, Counter::CallOpen].map(|c| broker.counter(c));
    // Headers from the entry on, and the batch.
    assert_eq!([after[0] - before[0], after[1] - before[1]], [2, 0]);
    let whole: u64 = segments(&broker.data_dir(), TOPIC, 0)
        .iter()
        .map(|(_, b)| b.len() as u64)
        .sum();
    assert!(broker.counter(Counter::LookupBytes) < whole / 2);
}

#[test]
fn deleted_records_are_not_found_by_time() {
    let broker = broker(&[("segment.bytes", "40000")]);
    let mut client = broker.client();
    for from in [4, 100, 250, BATCHES * 3 - 1] {
        assert_eq!(client.delete_records(TOPIC, 0, from), (0, from));
        check(&mut client, from, "deleted in front");
    }
    assert_eq!(client.delete_records(TOPIC, 0, BATCHES * 3), (0, BATCHES * 3));
    assert_eq!(client.list_offset(TOPIC, 0, -3), (0, -1, -1));
    assert_eq!(client.list_offset(TOPIC, 0, 0), (0, -1, -1));
}

/// Compressed by real clients; see `kafka-wire/tests/codecs.rs`.
const COMPRESSED: [&[u8]; 8] = [
    include_bytes!("../../kafka-wire/tests/golden/java-gzip.batch"),
    include_bytes!("../../kafka-wire/tests/golden/java-snappy.batch"),
    include_bytes!("../../kafka-wire/tests/golden/java-lz4.batch"),
    include_bytes!("../../kafka-wire/tests/golden/java-zstd.batch"),
    include_bytes!("../../kafka-wire/tests/golden/librdkafka-gzip.batch"),
    include_bytes!("../../kafka-wire/tests/golden/librdkafka-snappy.batch"),
    include_bytes!("../../kafka-wire/tests/golden/librdkafka-lz4.batch"),
    include_bytes!("../../kafka-wire/tests/golden/librdkafka-zstd.batch"),
];

#[test]
fn the_exact_record_of_a_compressed_batch() {
    for bytes in COMPRESSED {
        let broker = TestBroker::start(&[]);
        let mut client = broker.client();
        assert_eq!(client.create_topic(TOPIC, 1, &[]), 0);
        let header = BatchHeader::checked(bytes).unwrap();
        assert_eq!(client.append(TOPIC, 0, bytes), 0);
        let mut decompressor = Decompressor::default();
        let records = decompressor.records(header, bytes, 1 << 20).unwrap();
        let times: Vec<i64> = records.map(|record| record.unwrap().timestamp_ms).collect();
        let first_at = |time: i64| {
            let offset = times.iter().position(|t| *t >= time).unwrap();
            (0, offset as i64, times[offset])
        };
        let time = times[times.len() / 2];
        assert_eq!(
            client.list_offset(TOPIC, 0, time),
            first_at(time),
            "codec {}",
            header.codec()
        );
        let latest = *times.iter().max().unwrap();
        assert_eq!(client.list_offset(TOPIC, 0, -3), first_at(latest));
        assert!(
            times.iter().any(|time| *time > times[0]),
            "another record than the first one is looked for"
        );
    }
}

#[test]
fn records_that_cant_be_read_are_found_as_their_batch() {
    let broker = TestBroker::start(&[]);
    let mut client = broker.client();
    assert_eq!(client.create_topic(TOPIC, 1, &[]), 0);
    // zstd is announced, and something else is there.
    let mut bytes = crate::support::batch(&[b"one", b"two"]);
    bytes[22] = 4;
    let crc = kafka_wire::crc::crc32c(&bytes[kafka_wire::batch::CRC_START..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    client.append(TOPIC, 0, &bytes);
    assert_eq!(
        client.list_offset(TOPIC, 0, BASE_TIMESTAMP_MS + 1),
        (0, 0, BASE_TIMESTAMP_MS)
    );
}

/// What a clean stop wrote down of a segment is not what it holds after more appends, a roll and a crash.
#[test]
fn a_segment_that_grew_after_the_last_clean_stop() {
    let mut broker = TestBroker::start(&[]);
    let mut client = broker.client();
    assert_eq!(client.create_topic(TOPIC, 1, &[("segment.bytes", "3000")]), 0);
    let append = |client: &mut Client, time: i64| {
        let mut builder = BatchBuilder::new(time);
        builder.push(time, None, &[7; 1000]);
        client.append(TOPIC, 0, builder.finish())
    };
    append(&mut client, BASE_TIMESTAMP_MS);
    drop(client);
    broker.stop();
    broker.start_again().unwrap();
    let mut client = broker.client();
    for i in 1..4 {
        assert_eq!(append(&mut client, BASE_TIMESTAMP_MS + 10 * i), i);
    }
    // Any change of topics writes the checkpoints, so that the rolled segment is not looked at.
    assert_eq!(client.create_topic("other", 1, &[]), 0);
    let killed = broker.killed_copy();
    let server = start_in(killed.path(), &[]).unwrap();
    let mut client = Client::connect(server.address);
    assert_eq!(
        client.list_offset(TOPIC, 0, BASE_TIMESTAMP_MS + 5),
        (0, 1, BASE_TIMESTAMP_MS + 10)
    );
    drop(client);
    server.stop().unwrap();
}
