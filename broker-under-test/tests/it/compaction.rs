//! Compaction: the last record of every key stays at its offset, whatever happens around it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use broker_under_test::Server;
use kafka_wire::codec::{Codec, Compression, Compressor, Decompressor};
use kafka_wire::{BatchBuilder, BatchHeader, BatchIter, ErrorCode, RecordIter};

use crate::support::{BASE_TIMESTAMP_MS, Client, Random, TestBroker, copy_of, segments, start_in};

const TOPIC: &str = "accounts";
const SETTINGS: [(&str, &str); 4] = [
    ("cleanup.policy", "compact"),
    ("segment.bytes", "3000"),
    ("min.cleanable.dirty.ratio", "0.01"),
    ("delete.retention.ms", "1000"),
];

/// Offset, key and value of every record that a consumer gets.
type Records = Vec<(i64, Vec<u8>, Option<Vec<u8>>)>;

fn read(client: &mut Client) -> Records {
    let start = client.list_offset(TOPIC, 0, -2).1;
    read_from(client, start)
}

fn read_from(client: &mut Client, mut offset: i64) -> Records {
    let end = client.list_offset(TOPIC, 0, -1).1;
    let mut out = Records::new();
    while offset < end {
        let answer = client.fetch_one(TOPIC, 0, offset, 10_000);
        assert_eq!(answer.error_code, 0, "at {offset}");
        let bytes = answer.records.unwrap_or_default();
        let before = offset;
        for batch in BatchIter::new(&bytes) {
            let (header, batch) = batch.unwrap();
            BatchHeader::checked_stored(batch).unwrap();
            for record in RecordIter::new(header, batch) {
                let record = record.unwrap();
                if record.offset >= offset {
                    let value = record.value.map(<[u8]>::to_vec);
                    out.push((record.offset, record.key.unwrap().to_vec(), value));
                }
            }
            offset = header.last_offset() + 1;
        }
        assert!(offset > before, "a consumer gets on at {offset}");
    }
    out
}

/// A broker, and what was produced to it: batches of three records with few keys, some of them tombstones.
fn filled(batches: u64) -> (TestBroker, Records) {
    let broker = TestBroker::start(&[]);
    let mut client = broker.client();
    assert_eq!(client.create_topic(TOPIC, 1, &SETTINGS), 0);
    let mut all = Records::new();
    let mut random = Random(77);
    for _ in 0..batches {
        produce(&mut client, &mut all, &mut random);
    }
    (broker, all)
}

fn produce(client: &mut Client, all: &mut Records, random: &mut Random) {
    let mut builder = BatchBuilder::new(BASE_TIMESTAMP_MS);
    let first = all.len() as i64;
    for offset in first..first + 3 {
        let key = format!("key-{}", random.below(12)).into_bytes();
        let value: Vec<u8> = (0..150).map(|_| random.next() as u8).collect();
        builder.push(BASE_TIMESTAMP_MS + offset, Some(&key), &value);
        all.push((offset, key, Some(value)));
    }
    assert_eq!(client.append(TOPIC, 0, builder.finish()), first);
}

fn compact(server: &Server, now_ms: i64) {
    server.broker.topics.compact(now_ms, || false).unwrap();
}

/// The last record of each key among those below `active`, and all from there on.
fn expected(all: &Records, active: i64) -> Records {
    let closed = all.iter().filter(|(offset, ..)| *offset < active);
    let last: BTreeMap<&[u8], i64> = closed.map(|(offset, key, _)| (key.as_slice(), *offset)).collect();
    let stays =
        |(offset, key, _): &&(i64, Vec<u8>, Option<Vec<u8>>)| *offset >= active || last[key.as_slice()] == *offset;
    all.iter().filter(stays).cloned().collect()
}

fn active(dir: &Path) -> i64 {
    segments(dir, TOPIC, 0).last().unwrap().0
}

#[test]
fn the_last_record_of_each_key_stays() {
    let (mut broker, mut all) = filled(60);
    let mut client = broker.client();
    assert!(read(&mut client) == all);
    let mut random = Random(5);
    for round in 0..4 {
        let (before, active) = (segments(&broker.data_dir(), TOPIC, 0), active(&broker.data_dir()));
        compact(broker.server(), BASE_TIMESTAMP_MS);
        let after = segments(&broker.data_dir(), TOPIC, 0);
        assert_eq!(after.last(), before.last(), "the active segment is not touched");
        let bytes = |segments: &[(i64, Vec<u8>)]| segments.iter().map(|(_, bytes)| bytes.len()).sum::<usize>();
        assert!(bytes(&after) < bytes(&before) && after.iter().all(|(_, bytes)| bytes.len() <= 3000));
        // What a pass made small becomes one in the next.
        assert!(round == 0 || after.len() < before.len());
        assert!(read(&mut client) == expected(&all, active), "round {round}");
        // Nothing is dirty.
        compact(broker.server(), BASE_TIMESTAMP_MS);
        assert!(segments(&broker.data_dir(), TOPIC, 0) == after);
        for _ in 0..20 {
            produce(&mut client, &mut all, &mut random);
        }
    }
    // Over restarts, clean and not, with the indexes made again.
    let shown = read(&mut client);
    let killed = broker.killed_copy();
    drop(client);
    broker.stop();
    for dir in [broker.data_dir().as_path(), killed.path()] {
        let server = start_in(dir, &[]).unwrap();
        let mut client = Client::connect(server.address);
        assert!(read(&mut client) == shown);
        let (offset, _, _) = shown[0];
        let time = BASE_TIMESTAMP_MS + offset;
        assert_eq!(client.list_offset(TOPIC, 0, time - 1), (0, offset, time));
        produce(&mut client, &mut all.clone(), &mut random);
        drop(client);
        server.stop().unwrap();
    }
}

#[test]
fn every_offset_can_be_asked_for() {
    let (broker, all) = filled(60);
    let active = active(&broker.data_dir());
    compact(broker.server(), BASE_TIMESTAMP_MS);
    let left = expected(&all, active);
    let mut client = broker.client();
    for offset in (0..all.len() as i64).step_by(3).chain(100..120) {
        let behind: Records = left.iter().filter(|(o, ..)| *o >= offset).cloned().collect();
        assert!(read_from(&mut client, offset) == behind, "asked for {offset}");
    }
}

/// A batch of one tombstone.
fn tombstone(key: &[u8], time: i64) -> Vec<u8> {
    let mut builder = BatchBuilder::new(time);
    builder.push(time, Some(key), &[]);
    let mut batch = builder.finish().to_vec();
    // The value's length, -1 in the place of 0, and then the number of headers.
    let at = batch.len() - 2;
    batch[at] = 1;
    let crc = kafka_wire::crc::crc32c(&batch[kafka_wire::batch::CRC_START..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    batch
}

#[test]
fn a_tombstone_deletes_and_goes_later() {
    let (broker, mut all) = filled(20);
    let mut client = broker.client();
    let offset = client.append(TOPIC, 0, &tombstone(b"key-3", BASE_TIMESTAMP_MS));
    all.push((offset, b"key-3".to_vec(), None));
    let mut random = Random(9);
    let other = |client: &mut Client, all: &mut Records| {
        // Other keys, until the tombstone is no longer in the active segment.
        for _ in 0..8 {
            let offset = all.len() as i64;
            let mut builder = BatchBuilder::new(BASE_TIMESTAMP_MS);
            builder.push(BASE_TIMESTAMP_MS, Some(b"other"), &[1; 600]);
            assert_eq!(client.append(TOPIC, 0, builder.finish()), offset);
            all.push((offset, b"other".to_vec(), Some(vec![1; 600])));
        }
    };
    other(&mut client, &mut all);
    let of_key = |records: &Records| {
        records
            .iter()
            .filter(|(_, key, _)| key == b"key-3")
            .cloned()
            .collect::<Vec<_>>()
    };
    let late = BASE_TIMESTAMP_MS + 1_000_000;
    compact(broker.server(), late);
    assert_eq!(
        of_key(&read(&mut client)),
        [(offset, b"key-3".to_vec(), None)],
        "consumers see it once more"
    );
    other(&mut client, &mut all);
    compact(broker.server(), BASE_TIMESTAMP_MS + 500);
    assert_eq!(of_key(&read(&mut client)).len(), 1, "not yet old enough");
    other(&mut client, &mut all);
    compact(broker.server(), late);
    assert_eq!(of_key(&read(&mut client)), []);
    produce(&mut client, &mut all, &mut random);
}

#[test]
fn a_swap_that_was_interrupted_is_finished_or_forgotten() {
    let (broker, mut all) = filled(60);
    compact(broker.server(), BASE_TIMESTAMP_MS);
    let (mut client, mut random) = (broker.client(), Random(8));
    (0..20).for_each(|_| produce(&mut client, &mut all, &mut random));
    let (before, shown_before) = (broker.killed_copy(), read(&mut client));
    compact(broker.server(), BASE_TIMESTAMP_MS);
    let (after, shown_after) = (segments(&broker.data_dir(), TOPIC, 0), read(&mut client));
    let check = |dir: &Path, shown: &Records| {
        let server = start_in(dir, &[]).unwrap();
        assert!(read(&mut Client::connect(server.address)) == *shown);
        server.stop().unwrap();
        let names = fs::read_dir(dir.join(format!("{TOPIC}-0"))).unwrap();
        let names: Vec<_> = names.map(|n| n.unwrap().file_name().into_string().unwrap()).collect();
        assert!(
            !names.iter().any(|n| n.ends_with(".swap") || n.ends_with(".cleaned")),
            "{names:?}"
        );
    };
    // Each group as it was written, with all that it replaces still there, or some of it.
    let mut tried = 0;
    for pair in after.windows(2) {
        let ((base, bytes), end) = (&pair[0], pair[1].0);
        let old = segments(before.path(), TOPIC, 0).into_iter().map(|(old, _)| old);
        let replaced: Vec<i64> = old.filter(|old| (*base..end).contains(old)).collect();
        let compacted = shown_after.iter().filter(|(offset, ..)| (*base..end).contains(offset));
        let others = shown_before
            .iter()
            .filter(|(offset, ..)| !(*base..end).contains(offset));
        let mut shown: Records = compacted.chain(others).cloned().collect();
        shown.sort();
        for gone in 0..replaced.len() {
            let folder = copy_of(before.path());
            let partition = folder.path().join(format!("{TOPIC}-0"));
            fs::write(partition.join(format!("{base:020}.{end:020}.swap")), bytes).unwrap();
            for old in &replaced[1..1 + gone] {
                fs::remove_file(partition.join(format!("{old:020}.log"))).unwrap();
            }
            check(folder.path(), &shown);
            tried += 1;
        }
    }
    assert!(tried > after.len(), "some replace more than one");
    let folder = copy_of(before.path());
    let partition = folder.path().join(format!("{TOPIC}-0"));
    fs::write(
        partition.join(format!("{:020}.{:020}.cleaned", 0, after[1].0)),
        [7; 100],
    )
    .unwrap();
    check(folder.path(), &shown_before);
}

#[test]
fn little_memory_takes_several_passes() {
    let broker = TestBroker::start(&[("log.cleaner.dedupe.buffer.size", "1024")]);
    let mut client = broker.client();
    assert_eq!(client.create_topic(TOPIC, 1, &SETTINGS), 0);
    let (mut all, mut random) = (Records::new(), Random(3));
    (0..60).for_each(|_| produce(&mut client, &mut all, &mut random));
    let active = active(&broker.data_dir());
    (0..100).for_each(|_| compact(broker.server(), BASE_TIMESTAMP_MS));
    assert!(read(&mut client) == expected(&all, active));
}

#[test]
fn records_need_keys_and_the_shared_log_has_no_topics_with_logs_of_their_own() {
    let broker = TestBroker::start(&[]);
    let mut client = broker.client();
    assert_eq!(client.create_topic(TOPIC, 1, &SETTINGS), 0);
    let refused = client.produce(TOPIC, 0, &crate::support::batch(&[b"no key"]));
    assert_eq!(
        (refused.error, refused.log_start_offset),
        (ErrorCode::InvalidRecord.code(), 0)
    );
    assert!(refused.message.unwrap().contains("without key"));
    assert_eq!(
        client.create_topic("wrong", 1, &[("cleanup.policy", "shred")]),
        ErrorCode::InvalidConfig.code()
    );
    assert_eq!(
        client.create_topic("both", 1, &[("cleanup.policy", "compact,delete")]),
        0
    );
    drop(client);
    let shared = TestBroker::start(&[("log.layout", "commit-log")]);
    let mut client = shared.client();
    for settings in [&SETTINGS[..], &[("retention.ms", "1000")], &[("segment.bytes", "4096")]] {
        let error = client.create_topic("own", 1, settings);
        assert_eq!(error, ErrorCode::InvalidConfig.code(), "{settings:?}");
    }
    assert_eq!(client.create_topic("own", 1, &[("max.message.bytes", "4096")]), 0);
    assert_eq!(client.create_topic("__own", 1, &[("retention.ms", "1000")]), 0);
}

#[test]
fn the_broker_compacts_by_itself() {
    let broker = TestBroker::start(&[("log.cleaner.backoff.ms", "10")]);
    let mut client = broker.client();
    assert_eq!(client.create_topic(TOPIC, 1, &SETTINGS), 0);
    let (mut all, mut random) = (Records::new(), Random(3));
    (0..40).for_each(|_| produce(&mut client, &mut all, &mut random));
    let expected = expected(&all, active(&broker.data_dir()));
    while read(&mut client) != expected {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

#[test]
fn compressed_batches_keep_their_codec() {
    for codec in Codec::ALL {
        let broker = TestBroker::start(&[]);
        let mut client = broker.client();
        assert_eq!(client.create_topic(TOPIC, 1, &SETTINGS), 0);
        let mut compressor = Compressor::new(Compression::new(codec));
        let mut random = Random(11);
        for _ in 0..8 {
            let mut builder = BatchBuilder::new(BASE_TIMESTAMP_MS);
            for key in [&b"one"[..], b"two", b"one"] {
                let value: Vec<u8> = (0..400).map(|_| random.next() as u8).collect();
                builder.push(BASE_TIMESTAMP_MS, Some(key), &value);
            }
            client.append(TOPIC, 0, builder.finish_compressed(&mut compressor).unwrap());
        }
        let active = active(&broker.data_dir());
        compact(broker.server(), BASE_TIMESTAMP_MS);
        let closed = segments(&broker.data_dir(), TOPIC, 0)
            .into_iter()
            .filter(|(base, _)| *base < active);
        let mut left = Vec::new();
        let mut decompressor = Decompressor::default();
        for (_, bytes) in closed {
            for batch in BatchIter::new(&bytes) {
                let (header, batch) = batch.unwrap();
                BatchHeader::checked_stored(batch).unwrap();
                assert_eq!(header.codec(), codec as i16);
                let records = decompressor.records(header, batch, 1 << 20).unwrap();
                left.extend(records.map(|record| record.unwrap().offset));
            }
        }
        assert_eq!(left, [active - 2, active - 1], "{codec}");
    }
}
