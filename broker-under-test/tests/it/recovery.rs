//! What a crash, a bad disk or a person may leave in the data folder, and what a start makes of it.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use broker_under_test::log::{Limits, Log, OpenFiles, OpenMode, PartitionLog};
use broker_under_test::storage::RealDisk;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{InitProducerIdRequest, InitProducerIdResponse, MetadataRequest, MetadataResponse};
use kafka_wire::{ApiKey, BatchHeader, BatchIter};

use crate::support::{Client, TestBroker, batch_of, copy_of, segments, start_in, stored, topic};

const TOPIC: &str = "orders";

/// A broker with `batches` batches of three records in one partition.
fn broker(settings: &[(&str, &str)], batches: u64) -> TestBroker {
    let broker = TestBroker::start(&[]);
    let mut client = broker.client();
    assert_eq!(client.create_topic(TOPIC, 1, settings), 0);
    for seed in 0..batches {
        client.append(TOPIC, 0, &batch_of(3, 400, seed));
    }
    broker
}

fn log(dir: &Path, base: i64) -> PathBuf {
    dir.join(format!("{TOPIC}-0/{base:020}.log"))
}

fn index(dir: &Path, base: i64) -> PathBuf {
    log(dir, base).with_extension("index")
}

/// Starts on the folder, reads everything, appends a batch, and starts once more: nothing may be lost or doubled.
/// Answers what was there before the batch.
fn survives(dir: &Path, from: i64) -> Vec<u8> {
    let server = start_in(dir, &[]).unwrap();
    let mut client = Client::connect(server.address);
    let found = client.read_all(TOPIC, 0, from);
    let end = client.list_offset(TOPIC, 0, -1).1;
    assert_eq!(client.append(TOPIC, 0, &batch_of(2, 300, 99)), end);
    let whole = client.read_all(TOPIC, 0, from);
    assert!(whole.starts_with(&found));
    let killed = copy_of(dir);
    drop(client);
    server.stop().unwrap();
    for dir in [dir, killed.path()] {
        let server = start_in(dir, &[]).unwrap();
        let mut client = Client::connect(server.address);
        assert!(client.read_all(TOPIC, 0, from) == whole);
        assert_eq!(client.list_offset(TOPIC, 0, -1).1, end + 2);
        drop(client);
        server.stop().unwrap();
    }
    found
}

/// Why a broker does not start on the folder.
fn refusal(dir: &Path) -> String {
    match start_in(dir, &[]) {
        Ok(server) => {
            server.stop().unwrap();
            panic!("the broker should not start on this folder")
        }
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_tail_torn_at_any_byte() {
    let broker = broker(&[], 12);
    let killed = broker.killed_copy();
    let whole = stored(killed.path(), TOPIC, 0);
    let lengths: Vec<usize> = BatchIter::new(&whole).map(|b| b.unwrap().1.len()).collect();
    let kept: usize = lengths[..10].iter().sum();
    let limits = Limits::default();
    let mode = OpenMode {
        clean: false,
        recovery_point: 0,
        start_offset: 0,
    };
    let files = OpenFiles::new(Arc::new(RealDisk), 16, Arc::default());
    for cut in kept..=whole.len() {
        let dir = killed.path().join(format!("{TOPIC}-0"));
        fs::write(log(killed.path(), 0), &whole[..cut]).unwrap();
        let partition = PartitionLog::open(&files, &dir, limits, mode, None).unwrap();
        let batches = BatchIter::new(&whole[..cut]).count();
        let expected: usize = lengths[..batches].iter().sum();
        assert_eq!(partition.bounds().end(), 3 * batches as i64, "cut at {cut}");
        assert!(stored(killed.path(), TOPIC, 0) == whole[..expected], "cut at {cut}");
        drop(partition);
        if cut % 60 == 0 {
            fs::write(log(killed.path(), 0), &whole[..cut]).unwrap();
            let folder = copy_of(killed.path());
            assert!(survives(folder.path(), 0) == whole[..expected], "cut at {cut}");
        }
    }
}

#[test]
fn garbage_behind_the_last_batch_is_cut_off() {
    let broker = broker(&[], 5);
    let whole = stored(&broker.data_dir(), TOPIC, 0);
    let first = BatchIter::new(&whole).next().unwrap().unwrap().1;
    let mut huge_length = first.to_vec();
    huge_length[8..12].copy_from_slice(&i32::MAX.to_be_bytes());
    let mut last_offset = first.to_vec();
    last_offset[..8].copy_from_slice(&i64::MAX.to_be_bytes());
    // Whole, with a good CRC, but of another place: an offset is not in the checksum.
    let stale = first.to_vec();
    for garbage in [
        vec![0; 5000],
        vec![0xff; 70],
        vec![2; 61],
        huge_length,
        last_offset,
        stale,
    ] {
        let killed = broker.killed_copy();
        fs::write(log(killed.path(), 0), [&whole[..], &garbage].concat()).unwrap();
        assert!(survives(killed.path(), 0) == whole);
    }
}

#[test]
fn a_flipped_bit_cuts_there_and_never_passes_for_data() {
    let broker = broker(&[], 8);
    let whole = stored(&broker.data_dir(), TOPIC, 0);
    let batches: Vec<&[u8]> = BatchIter::new(&whole).map(|b| b.unwrap().1).collect();
    let mut position = 0;
    for (i, batch) in batches.iter().enumerate() {
        // The base offset, the length, the magic, the CRC, the count, the records; the leader epoch means nothing here.
        for at in [7, 11, 16, 18, 60, batch.len() - 1] {
            let killed = broker.killed_copy();
            let mut bytes = whole.clone();
            bytes[position + at] ^= 4;
            fs::write(log(killed.path(), 0), bytes).unwrap();
            let server = start_in(killed.path(), &[]).unwrap();
            let mut client = Client::connect(server.address);
            assert_eq!(client.list_offset(TOPIC, 0, -1).1, 3 * i as i64, "batch {i}, byte {at}");
            assert!(client.read_all(TOPIC, 0, 0) == whole[..position]);
            drop(client);
            server.stop().unwrap();
        }
        position += batch.len();
    }
}

#[test]
fn an_index_that_is_missing_or_damaged() {
    // An entry per batch, over several segments.
    let settings = [("index.interval.bytes", "0"), ("segment.bytes", "4000")];
    let mut broker = broker(&settings, 60);
    let whole = stored(&broker.data_dir(), TOPIC, 0);
    let killed = broker.killed_copy();
    broker.stop();
    let stopped = broker.data_dir();
    let bases: Vec<i64> = segments(&stopped, TOPIC, 0).iter().map(|(base, _)| *base).collect();
    assert!(bases.len() > 4);
    let shifted = |raw: &[u8]| -> Vec<u8> {
        // Rising entries that point into the middle of batches.
        let entries = raw.chunks_exact(8).map(|e| u64::from_be_bytes(e.try_into().unwrap()));
        entries.flat_map(|e| (e + 10).to_be_bytes()).collect()
    };
    type Damage<'a> = (&'a str, &'a dyn Fn(&[u8]) -> Option<Vec<u8>>);
    let damages: [Damage; 6] = [
        ("missing", &|_| None),
        ("empty", &|_| Some(Vec::new())),
        ("half an entry", &|raw| Some(raw[..raw.len() - 3].to_vec())),
        ("zeros", &|raw| Some(vec![0; raw.len() + 16])),
        ("noise", &|raw| Some(raw.iter().map(|b| b ^ 0x5a).collect())),
        ("shifted", &|raw| Some(shifted(raw))),
    ];
    for from in [stopped.as_path(), killed.path()] {
        for (name, damage) in &damages {
            let folder = copy_of(from);
            for base in &bases {
                let path = index(folder.path(), *base);
                // The active segment's index was not written yet when the broker was killed.
                let Ok(raw) = fs::read(&path) else { continue };
                match damage(&raw) {
                    None => fs::remove_file(&path).unwrap(),
                    Some(raw) => fs::write(&path, raw).unwrap(),
                }
            }
            assert!(survives(folder.path(), 0) == whole, "{name}");
            let server = start_in(folder.path(), &[]).unwrap();
            let mut client = Client::connect(server.address);
            for offset in 0..180 {
                let records = client.fetch_one(TOPIC, 0, offset, 1).records.unwrap();
                let header = BatchHeader::checked(&records).unwrap_or_else(|e| panic!("{name}, offset {offset}: {e}"));
                assert_eq!(header.base_offset, offset - offset % 3, "{name}");
            }
            drop(client);
            server.stop().unwrap();
        }
    }
}

#[test]
fn a_read_only_segment_is_served_and_never_written() {
    let mut broker = broker(&[], 10);
    let killed = broker.killed_copy();
    broker.stop();
    for from in [broker.data_dir().as_path(), killed.path()] {
        let folder = copy_of(from);
        let path = log(folder.path(), 0);
        let before = fs::read(&path).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o444)).unwrap();
        assert!(survives(folder.path(), 0) == before);
        assert!(fs::read(&path).unwrap() == before);
        let bases: Vec<i64> = segments(folder.path(), TOPIC, 0)
            .iter()
            .map(|(base, _)| *base)
            .collect();
        assert_eq!(bases, [0, 30], "appends go to a fresh segment behind it");
        // What may not be written is not repaired either.
        let folder = copy_of(from);
        let path = log(folder.path(), 0);
        fs::write(&path, &before[..before.len() - 1]).unwrap();
        let _ = fs::remove_file(path.with_extension("index"));
        fs::set_permissions(&path, Permissions::from_mode(0o444)).unwrap();
        let message = refusal(folder.path());
        assert!(
            message.contains("damaged at byte") && message.contains("read-only") && message.contains(".log"),
            "{message}"
        );
    }
}

#[test]
fn foreign_files_are_left_alone() {
    let broker = broker(&[], 4);
    let whole = stored(&broker.data_dir(), TOPIC, 0);
    let killed = broker.killed_copy();
    let partition = killed.path().join(format!("{TOPIC}-0"));
    let foreign = [
        killed.path().join("notes.txt"),
        killed.path().join("other-0").join("00000000000000000000.log"),
        partition.join("README"),
        partition.join("00000000000000000005.timeindex"),
        partition.join("5.log"),
        partition.join("0000000000000000000x.log"),
        partition.join("00000000000000000007.index"),
    ];
    for path in &foreign {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "mine").unwrap();
    }
    assert!(survives(killed.path(), 0) == whole);
    for path in &foreign {
        assert_eq!(fs::read_to_string(path).unwrap(), "mine", "{}", path.display());
    }
}

#[test]
fn a_hole_between_segments_is_an_error_that_names_it() {
    let mut broker = broker(&[("segment.bytes", "2000")], 30);
    let killed = broker.killed_copy();
    broker.stop();
    for dir in [broker.data_dir().as_path(), killed.path()] {
        let bases: Vec<i64> = segments(dir, TOPIC, 0).iter().map(|(base, _)| *base).collect();
        fs::remove_file(log(dir, bases[2])).unwrap();
        // Without a marker every segment is looked at; with it, only the names can tell.
        let _ = fs::remove_file(dir.join(".kafka_cleanshutdown"));
        let _ = fs::remove_file(dir.join("recovery-point-offset-checkpoint"));
        let message = refusal(dir);
        let expected = format!("offsets {} to {} are missing", bases[2], bases[3]);
        assert!(message.contains(&expected), "{message} should say: {expected}");
    }
}

#[test]
fn damage_in_an_early_segment_puts_the_later_ones_aside() {
    let broker = broker(&[("segment.bytes", "2000")], 30);
    let killed = broker.killed_copy();
    let all = segments(killed.path(), TOPIC, 0);
    let mut bytes = all[1].1.clone();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(log(killed.path(), all[1].0), &bytes).unwrap();
    let good = BatchIter::new(&bytes).count() - 1;
    let kept: usize = BatchIter::new(&bytes).take(good).map(|b| b.unwrap().1.len()).sum();
    assert!(survives(killed.path(), 0) == [&all[0].1[..], &bytes[..kept]].concat());
    for (base, bytes) in &all[2..] {
        let aside = log(killed.path(), *base).with_extension("log.discarded");
        assert!(fs::read(aside).unwrap() == *bytes, "nothing is thrown away");
    }
}

#[test]
fn the_marker_says_whether_the_shutdown_was_clean() {
    let mut broker = broker(&[], 3);
    let marker = broker.data_dir().join(".kafka_cleanshutdown");
    assert!(!marker.exists(), "it is gone while the broker runs");
    broker.stop();
    assert!(marker.exists());
    broker.start_again().unwrap();
    assert!(!marker.exists());
    broker.stop();
    // With the marker nothing is scanned, so this start does not notice; without it the tail is looked at.
    let path = log(&broker.data_dir(), 0);
    let mut bytes = fs::read(&path).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&path, bytes).unwrap();
    broker.start_again().unwrap();
    assert_eq!(broker.client().list_offset(TOPIC, 0, -1).1, 9);
    broker.stop();
    fs::remove_file(&marker).unwrap();
    fs::remove_file(broker.data_dir().join("recovery-point-offset-checkpoint")).unwrap();
    broker.start_again().unwrap();
    assert_eq!(broker.client().list_offset(TOPIC, 0, -1).1, 6);
}

#[test]
fn producer_ids_never_repeat() {
    let mut broker = TestBroker::start(&[]);
    let next = |client: &mut Client| -> i64 {
        let request = InitProducerIdRequest::default().with_transactional_id(None);
        let answer: InitProducerIdResponse = client.call(ApiKey::InitProducerId, 4, &request);
        assert_eq!((answer.error_code, answer.producer_epoch), (0, 0));
        answer.producer_id.0
    };
    let mut seen = std::collections::BTreeSet::new();
    for round in 0..6 {
        let mut client = broker.client();
        for _ in 0..[1, 999, 1000, 1001, 3, 2][round] {
            assert!(seen.insert(next(&mut client)), "round {round}");
        }
        drop(client);
        if round % 2 == 0 {
            // The folder as a SIGKILL leaves it takes the place of the one that was closed well.
            let killed = broker.killed_copy();
            broker.stop();
            fs::copy(
                killed.path().join("producer-ids"),
                broker.data_dir().join("producer-ids"),
            )
            .unwrap();
        } else {
            broker.stop();
        }
        broker.start_again().unwrap();
    }
    broker.stop();
    for damage in ["", "many", "-5", "9223372036854775807"] {
        fs::write(broker.data_dir().join("producer-ids"), damage).unwrap();
        let message = broker.start_again().unwrap_err().to_string();
        assert!(
            message.contains("producer-ids") && message.contains("never repeat"),
            "{message}"
        );
    }
}

#[test]
fn deleted_records_stay_deleted() {
    let mut broker = broker(&[("segment.bytes", "2000")], 30);
    let mut client = broker.client();
    let whole = client.read_all(TOPIC, 0, 0);
    assert_eq!(client.delete_records(TOPIC, 0, 50), (0, 50));
    let rest = client.read_all(TOPIC, 0, 50);
    assert!(whole.ends_with(&rest));
    assert!(
        segments(&broker.data_dir(), TOPIC, 0)[0].0 > 0,
        "segments below are removed"
    );
    let killed = broker.killed_copy();
    drop(client);
    broker.stop();
    for dir in [broker.data_dir().as_path(), killed.path()] {
        let server = start_in(dir, &[]).unwrap();
        let mut client = Client::connect(server.address);
        assert_eq!(client.list_offset(TOPIC, 0, -2).1, 50);
        assert_eq!(client.fetch_one(TOPIC, 0, 49, 100).error_code, 1);
        drop(client);
        server.stop().unwrap();
        assert!(survives(dir, 50) == rest);
    }
}

/// Everything is deleted, and then the tail is lost: the log may not begin again at an offset that was given out.
#[test]
fn a_log_start_behind_a_torn_tail() {
    let broker = broker(&[], 10);
    let mut client = broker.client();
    assert_eq!(client.delete_records(TOPIC, 0, 30), (0, 30));
    let killed = broker.killed_copy();
    let bytes = fs::read(log(killed.path(), 0)).unwrap();
    fs::write(log(killed.path(), 0), &bytes[..bytes.len() / 2]).unwrap();
    assert_eq!(survives(killed.path(), 30), Vec::<u8>::new());
    let server = start_in(killed.path(), &[]).unwrap();
    assert_eq!(Client::connect(server.address).list_offset(TOPIC, 0, -2).1, 30);
    server.stop().unwrap();
}

fn topic_id(client: &mut Client) -> (uuid::Uuid, i16) {
    let asked = MetadataRequestTopic::default().with_name(Some(topic(TOPIC)));
    let request = MetadataRequest::default()
        .with_topics(Some(vec![asked]))
        .with_allow_auto_topic_creation(false);
    let answer: MetadataResponse = client.call(ApiKey::Metadata, 12, &request);
    (answer.topics[0].topic_id, answer.topics[0].error_code)
}

#[test]
fn a_topic_that_is_created_again_is_a_new_one() {
    let mut broker = broker(&[], 20);
    let mut client = broker.client();
    let (first, _) = topic_id(&mut client);
    // Checkpoints now speak of offset 50 in this topic.
    assert_eq!(client.delete_records(TOPIC, 0, 50), (0, 50));
    assert_eq!(client.delete_topic(TOPIC), 0);
    assert!(!broker.data_dir().join(format!("{TOPIC}-0")).exists());
    assert_eq!(topic_id(&mut client).1, 3);
    assert_eq!(client.create_topic(TOPIC, 1, &[]), 0);
    let (second, _) = topic_id(&mut client);
    assert_ne!(first, second);
    assert_eq!(client.list_offset(TOPIC, 0, -1).1, 0);
    for seed in 0..4 {
        assert_eq!(client.append(TOPIC, 0, &batch_of(3, 400, seed)), 3 * seed as i64);
    }
    let whole = client.read_all(TOPIC, 0, 0);
    let killed = broker.killed_copy();
    drop(client);
    assert!(survives(killed.path(), 0) == whole);
    broker.stop();
    broker.start_again().unwrap();
    assert_eq!(
        topic_id(&mut broker.client()).0,
        second,
        "an id is stable over restarts"
    );
    assert_eq!(broker.client().create_topic(TOPIC, 1, &[]), 36, "it exists");
}

#[test]
fn segments_are_rolled_by_size() {
    let broker = broker(&[("segment.bytes", "3000")], 40);
    let all = segments(&broker.data_dir(), TOPIC, 0);
    assert!(all.len() > 4);
    let mut next = 0;
    for (base, bytes) in &all {
        assert_eq!(*base, next);
        assert!(bytes.len() <= 3000);
        let (last, _) = BatchIter::new(bytes).last().unwrap().unwrap();
        next = last.last_offset() + 1;
    }
    assert_eq!(next, 120);
    assert!(survives(broker.killed_copy().path(), 0) == stored(&broker.data_dir(), TOPIC, 0));
}

#[test]
fn one_folder_has_one_broker() {
    let broker = broker(&[], 1);
    let message = refusal(&broker.data_dir());
    assert!(message.contains("another broker uses this data folder"), "{message}");
    assert_eq!(broker.client().list_offset(TOPIC, 0, -1).1, 3, "the first one goes on");
}

#[test]
fn damaged_files_of_the_broker_itself_are_named() {
    for (file, content) in [
        ("topics.json", "{\"orders\": 5}"),
        ("topics.json", "not json"),
        ("meta.properties", "version=1\n"),
    ] {
        let mut broker = broker(&[], 1);
        broker.stop();
        fs::write(broker.data_dir().join(file), content).unwrap();
        let message = broker.start_again().unwrap_err().to_string();
        assert!(message.contains(file), "{message}");
    }
    // Checkpoints only save time: without them everything is looked at.
    for content in [
        "",
        "1\n0\n",
        "0\n1\norders 0 -5\n",
        "0\n1\norders 0 99999999999999999999\n",
        "\u{fffd}",
    ] {
        let broker = broker(&[], 3);
        let whole = stored(&broker.data_dir(), TOPIC, 0);
        let killed = broker.killed_copy();
        for file in ["recovery-point-offset-checkpoint", "log-start-offset-checkpoint"] {
            fs::write(killed.path().join(file), content).unwrap();
        }
        assert!(survives(killed.path(), 0) == whole, "{content:?}");
    }
}

#[test]
fn a_socket_that_cant_be_bound_is_an_error() {
    let mut broker = broker(&[], 1);
    broker.stop();
    let socket = broker.data_dir().join("control.sock");
    fs::remove_file(&socket).unwrap();
    fs::create_dir(&socket).unwrap();
    let message = broker.start_again().unwrap_err().to_string();
    assert!(message.contains("control.sock"), "{message}");
    // Not from within a runtime either, where one may not be dropped: what `assay broker` does.
    let mut config = broker_under_test::Config::default();
    config.set("listeners", "PLAINTEXT://127.0.0.1:0", "test").unwrap();
    config
        .set("log.dirs", broker.data_dir().to_str().unwrap(), "test")
        .unwrap();
    let message = broker_under_test::run(config, None).unwrap_err().to_string();
    assert!(message.contains("control.sock"), "{message}");
}
