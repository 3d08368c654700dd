//! What a crash, a bad disk or a person may leave, and what a start makes of it.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use broker_under_test::log::commit_log::frame::FRAME_BYTES;
use broker_under_test::storage::{Fault, FaultKind, FaultyDisk, RealDisk};
use broker_under_test::{Config, Server};
use kafka_wire::{BatchHeader, BatchIter, ErrorCode};

use crate::support::{Client, Random, TestBroker, batch_of, copy_of, start_in, stored};

const TOPIC: &str = "orders";
const PARTITIONS: i32 = 3;

/// A broker with batches of three records, spread over partitions at random.
fn broker(settings: &[(&str, &str)], batches: u64) -> TestBroker {
    let broker = TestBroker::start(settings);
    let mut client = broker.client();
    assert_eq!(client.create_topic(TOPIC, PARTITIONS, &[]), 0);
    let mut random = Random(11);
    for seed in 0..batches {
        client.append(TOPIC, random.below(3) as i32, &batch_of(3, 400, seed));
    }
    broker
}

fn read_all(client: &mut Client) -> Vec<Vec<u8>> {
    (0..PARTITIONS).map(|p| client.read_all(TOPIC, p, 0)).collect()
}

/// What clients find on a folder; the broker is stopped again.
fn found_in(dir: &Path, settings: &[(&str, &str)]) -> Vec<Vec<u8>> {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let settings: Vec<_> = settings.iter().map(owned).collect();
    let server = start_in(dir, &settings).unwrap();
    let mut client = Client::connect(server.address);
    let found = read_all(&mut client);
    drop(client);
    server.stop().unwrap();
    found
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let names = fs::read_dir(dir.join("commitlog")).unwrap();
    let mut paths: Vec<PathBuf> = names.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|e| e == "log"));
    paths.sort_unstable();
    paths
}

/// Flips a bit of a file.
fn damage(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn after_a_kill_everything_is_there_and_appends_go_on() {
    for settings in [
        &[("log.segment.bytes", "3000"), ("log.preallocate", "true")][..],
        &[("commit.log.entries", "record"), ("log.segment.bytes", "3000")],
    ] {
        let broker = broker(settings, 60);
        let whole = read_all(&mut broker.client());
        assert!(segments(&broker.data_dir()).len() > 5);
        let killed = broker.killed_copy();
        assert!(found_in(killed.path(), settings) == whole);
        assert!(found_in(killed.path(), settings) == whole, "after a clean stop too");
        let server = start_in(killed.path(), &[]).unwrap();
        let mut client = Client::connect(server.address);
        let end = client.list_offset(TOPIC, 1, -1).1;
        assert_eq!(client.append(TOPIC, 1, &batch_of(1, 100, 1)), end);
        drop(client);
        server.stop().unwrap();
    }
}

#[test]
fn a_folder_keeps_its_layout() {
    let mut broker = broker(&[], 5);
    let whole = read_all(&mut broker.client());
    broker.stop();
    let config = |layout: &str| {
        let mut config = Config::default();
        let dir = broker.data_dir();
        for (name, value) in [
            ("listeners", "PLAINTEXT://127.0.0.1:0"),
            ("log.dirs", dir.to_str().unwrap()),
            ("log.layout", layout),
        ] {
            config.set(name, value, "test").unwrap();
        }
        config
    };
    let message = Server::start(config("partition-log"), None).unwrap_err().to_string();
    assert!(message.contains("--set log.layout=commit-log"), "{message}");
    assert!(
        broker.data_dir().join(".kafka_cleanshutdown").exists(),
        "the refused start left everything"
    );
    assert!(found_in(&broker.data_dir(), &[]) == whole);
    // One that was made before there was a choice has Kafka's layout.
    let meta = broker.data_dir().join("meta.properties");
    let text = fs::read_to_string(&meta).unwrap();
    fs::write(meta, text.replace("log.layout=commit-log\n", "")).unwrap();
    let message = Server::start(config("commit-log"), None).unwrap_err().to_string();
    assert!(message.contains("--set log.layout=partition-log"), "{message}");
}

#[test]
fn the_kind_of_entries_may_change() {
    let mut broker = broker(&[("log.segment.bytes", "4000")], 50);
    let whole = read_all(&mut broker.client());
    broker.stop();
    for kind in ["record", "batch", "batch"] {
        assert!(
            found_in(&broker.data_dir(), &[("commit.log.entries", kind)]) == whole,
            "{kind}"
        );
    }
}

#[test]
fn topics_of_the_broker_itself_keep_the_partition_layout() {
    let mut broker = TestBroker::start(&[]);
    let mut client = broker.client();
    assert_eq!(client.create_topic("__state", 1, &[]), 0);
    let batch = batch_of(2, 300, 1);
    client.append("__state", 0, &batch);
    assert_eq!(
        fs::metadata(broker.data_dir().join("__state-0/00000000000000000000.log"))
            .unwrap()
            .len(),
        batch.len() as u64
    );
    assert_eq!(segments(&broker.data_dir()).len(), 1);
    assert_eq!(fs::metadata(&segments(&broker.data_dir())[0]).unwrap().len(), 0);
    drop(client);
    broker.stop();
    broker.start_again().unwrap();
    assert_eq!(broker.client().read_all("__state", 0, 0).len(), batch.len());
}

#[test]
fn a_torn_frame_is_cut_off_and_nothing_in_front_of_it() {
    let broker = broker(&[], 20);
    let path = segments(&broker.data_dir())[0].clone();
    let bytes = fs::read(&path).unwrap();
    let frame = FRAME_BYTES + batch_of(3, 400, 0).len();
    assert_eq!(bytes.len(), 20 * frame);
    let whole: usize = read_all(&mut broker.client()).iter().map(Vec::len).sum();
    // Of the last frame: the magic, the topic, the CRC, the base offset, the batch's CRC, the last byte.
    for at in [0, 4, 29, FRAME_BYTES, FRAME_BYTES + 17, frame - 1] {
        let killed = broker.killed_copy();
        damage(&segments(killed.path())[0], 19 * frame + at);
        let found: usize = found_in(killed.path(), &[]).iter().map(Vec::len).sum();
        assert_eq!(found, whole / 20 * 19, "byte {at}");
        assert_eq!(
            fs::metadata(&segments(killed.path())[0]).unwrap().len() as usize,
            19 * frame
        );
    }
    // Garbage behind it, and what once stood elsewhere.
    for garbage in [
        vec![0; 5000],
        vec![0xff; 100],
        bytes[..frame].to_vec(),
        bytes[5 * frame..].to_vec(),
    ] {
        let killed = broker.killed_copy();
        fs::write(&segments(killed.path())[0], [&bytes[..], &garbage].concat()).unwrap();
        let found: usize = found_in(killed.path(), &[]).iter().map(Vec::len).sum();
        assert_eq!(found, whole);
    }
}

#[test]
fn damage_in_the_middle_costs_what_it_hit_when_queues_are_made_again() {
    for kind in ["batch", "record"] {
        let mut broker = broker(&[("commit.log.entries", kind)], 30);
        let whole = read_all(&mut broker.client());
        broker.stop();
        let frame = FRAME_BYTES + batch_of(3, 400, 0).len();
        let path = segments(&broker.data_dir())[0].clone();
        damage(&path, 10 * frame + 3);
        fs::remove_dir_all(broker.data_dir().join("consumequeue")).unwrap();
        broker.start_again().unwrap();
        let mut client = broker.client();
        let mut lost = 0;
        for (partition, whole) in (0..PARTITIONS).zip(&whole) {
            let mut offset = 0;
            for batch in BatchIter::new(whole) {
                let (header, bytes) = batch.unwrap();
                // Every offset leads somewhere: those that are gone to the batch behind them.
                let found = client
                    .fetch_one(TOPIC, partition, offset, 1)
                    .records
                    .unwrap_or_default();
                if found == bytes {
                    offset = header.last_offset() + 1;
                } else {
                    lost += 1;
                    assert_eq!(
                        BatchHeader::checked(&found).unwrap().base_offset,
                        header.last_offset() + 1
                    );
                    offset = header.last_offset() + 1;
                }
            }
            assert_eq!(client.list_offset(TOPIC, partition, -1).1, offset);
        }
        assert_eq!(lost, 1, "{kind}");
    }
}

#[test]
fn bytes_that_are_missing_in_the_middle_are_an_error_that_names_them() {
    let mut broker = broker(&[("log.segment.bytes", "2000")], 30);
    broker.stop();
    let all = segments(&broker.data_dir());
    fs::remove_file(&all[2]).unwrap();
    let message = broker.start_again().unwrap_err().to_string();
    let base = |path: &Path| path.file_stem().unwrap().to_str().unwrap().parse::<u64>().unwrap();
    let expected = format!("bytes {} to {} of the log are missing", base(&all[2]), base(&all[3]));
    assert!(
        message.contains(&expected) && message.contains(all[3].to_str().unwrap()),
        "{message}"
    );
}

#[test]
fn a_damaged_entry_is_an_error_of_its_partition_alone() {
    let broker = broker(&[], 300);
    let path = broker.data_dir().join("consumequeue/orders-1/00000000000000000000");
    damage(&path, 40);
    let mut client = broker.client();
    assert_eq!(
        client.fetch_one(TOPIC, 1, 0, 10_000).error_code,
        ErrorCode::KafkaStorageError.code()
    );
    let whole = stored(&broker.data_dir(), TOPIC, 0);
    assert!(client.read_all(TOPIC, 0, 0) == whole);
    // The remedy that the error names.
    let killed = copy_of(&broker.data_dir());
    fs::remove_dir_all(killed.path().join("consumequeue/orders-1")).unwrap();
    let expected: Vec<_> = (0..PARTITIONS).map(|p| stored(&broker.data_dir(), TOPIC, p)).collect();
    assert!(found_in(killed.path(), &[]) == expected);
}

#[test]
fn deleted_records_and_topics_stay_deleted() {
    let mut broker = broker(&[("log.segment.bytes", "3000")], 40);
    let mut client = broker.client();
    assert_eq!(client.delete_records(TOPIC, 0, 7), (0, 7));
    assert_eq!(client.create_topic("other", 1, &[]), 0);
    client.append("other", 0, &batch_of(2, 200, 1));
    assert_eq!(client.delete_topic("other"), 0);
    assert!(!broker.data_dir().join("consumequeue/other-0").exists());
    assert_eq!(client.create_topic("other", 1, &[]), 0);
    assert_eq!(client.append("other", 0, &batch_of(1, 100, 2)), 0);
    let killed = broker.killed_copy();
    drop(client);
    broker.stop();
    for dir in [broker.data_dir().as_path(), killed.path()] {
        let server = start_in(dir, &[]).unwrap();
        let mut client = Client::connect(server.address);
        assert_eq!(client.list_offset(TOPIC, 0, -2).1, 7);
        assert_eq!(
            client.fetch_one(TOPIC, 0, 6, 1000).error_code,
            ErrorCode::OffsetOutOfRange.code()
        );
        assert_eq!(client.read_all("other", 0, 0), client.read_all("other", 0, 0));
        assert_eq!(client.list_offset("other", 0, -1).1, 1);
        drop(client);
        server.stop().unwrap();
    }
}

#[test]
fn a_read_only_segment_is_served_and_never_written() {
    let mut broker = broker(&[], 20);
    let whole = read_all(&mut broker.client());
    let killed = broker.killed_copy();
    broker.stop();
    for dir in [broker.data_dir().as_path(), killed.path()] {
        let path = segments(dir)[0].clone();
        let before = fs::read(&path).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o444)).unwrap();
        assert!(found_in(dir, &[]) == whole);
        let server = start_in(dir, &[]).unwrap();
        let mut client = Client::connect(server.address);
        let end = client.list_offset(TOPIC, 0, -1).1;
        assert_eq!(client.append(TOPIC, 0, &batch_of(1, 100, 1)), end);
        drop(client);
        server.stop().unwrap();
        assert!(fs::read(&path).unwrap() == before);
        assert_eq!(segments(dir).len(), 2, "appends go to a fresh segment behind it");
        // What may not be written is not repaired either.
        damage(&path, before.len() - 1);
        fs::remove_file(dir.join("commitlog/checkpoint")).unwrap();
        let message = start_in(dir, &[]).unwrap_err().to_string();
        assert!(
            message.contains("is damaged at byte") && message.contains(".log"),
            "{message}"
        );
    }
}

#[test]
fn retention_lets_whole_segments_go_and_partitions_begin_with_what_is_left() {
    let settings = [
        ("log.segment.bytes", "3000"),
        ("log.retention.ms", "-1"),
        ("log.retention.bytes", "6000"),
        ("log.retention.check.interval.ms", "5"),
    ];
    let mut broker = broker(&settings, 60);
    let mut client = broker.client();
    // Nothing is added to it any more, so that all of it goes.
    let quiet = batch_of(1, 200, 1);
    assert_eq!(client.create_topic("quiet", 1, &[]), 0);
    client.append("quiet", 0, &quiet);
    let watchdog = Instant::now() + Duration::from_secs(30);
    while client.list_offset("quiet", 0, -2).1 == 0 {
        assert!(Instant::now() < watchdog, "retention lets nothing go");
        client.append(TOPIC, 0, &batch_of(3, 400, 1));
    }
    assert_eq!(client.list_offset("quiet", 0, -1).1, 1);
    // One segment more than retention lets stay, and the one that is appended to.
    let left = || {
        segments(&broker.data_dir())
            .iter()
            .filter_map(|s| Some(fs::metadata(s).ok()?.len()))
            .sum::<u64>()
    };
    while left() >= 6000 + 3000 {
        assert!(Instant::now() < watchdog, "{} bytes are left", left());
        std::thread::sleep(Duration::from_millis(2));
    }
    assert!(left() >= 6000);
    drop(client);
    broker.stop();
    // Without retention, so that nothing moves while this looks.
    let server = start_in(&broker.data_dir(), &[]).unwrap();
    let mut client = Client::connect(server.address);
    for partition in 0..PARTITIONS {
        let start = client.list_offset(TOPIC, partition, -2).1;
        let left = stored(&broker.data_dir(), TOPIC, partition);
        let first =
            BatchHeader::parse(&left).map_or_else(|_| client.list_offset(TOPIC, partition, -1).1, |h| h.base_offset);
        assert_eq!(start, first, "partition {partition}");
        assert!(client.read_all(TOPIC, partition, start) == left);
    }
    assert_eq!(client.append("quiet", 0, &quiet), 1, "offsets go on");
    drop(client);
    server.stop().unwrap();
}

#[test]
fn a_failed_flush_or_a_write_that_stays_takes_every_partition_offline_and_reads_go_on() {
    // A write that failed is cut off again, and the log goes on; here the cut fails too.
    for (what, count) in [(FaultKind::FailWrite, 2), (FaultKind::FailFlush, 1)] {
        let folder = tempfile::tempdir().unwrap();
        let disk = FaultyDisk::new(Arc::new(RealDisk), &folder.path().join("graveyard")).unwrap();
        let mut config = Config::default();
        let dir = folder.path().join("data");
        for (name, value) in [
            ("listeners", "PLAINTEXT://127.0.0.1:0"),
            ("log.dirs", dir.to_str().unwrap()),
            ("log.layout", "commit-log"),
            ("flush.policy", "every-batch"),
        ] {
            config.set(name, value, "test").unwrap();
        }
        let server = Server::start_on(Arc::new(disk.clone()), config, None).unwrap();
        let mut client = Client::connect(server.address);
        assert_eq!(client.create_topic(TOPIC, PARTITIONS, &[]), 0);
        client.append(TOPIC, 0, &batch_of(2, 300, 1));
        disk.arm(Fault {
            what,
            path: "commitlog/0".to_owned(),
            nth: 1,
            count: Some(count),
        });
        for partition in 0..PARTITIONS {
            let refused = client.produce(TOPIC, partition, &batch_of(2, 300, 2));
            assert_eq!(
                refused.error,
                ErrorCode::KafkaStorageError.code(),
                "{what:?}, partition {partition}"
            );
        }
        let read = client.fetch_one(TOPIC, 0, 0, 10_000);
        assert_eq!((read.error_code, read.high_watermark), (0, 2));
        drop(client);
        let stopped = server.stop();
        // What is on the device is not known, and a later flush does not tell: there is no clean stop after it.
        assert!(stopped.is_err() && !dir.join(".kafka_cleanshutdown").exists());
        let server = start_in(&dir, &[]).unwrap();
        let mut client = Client::connect(server.address);
        let end = client.list_offset(TOPIC, 0, -1).1;
        assert!(end == 2 || (end == 4 && what == FaultKind::FailFlush));
        assert_eq!(client.append(TOPIC, 1, &batch_of(1, 100, 1)), 0);
        drop(client);
        server.stop().unwrap();
    }
}
