//! A disk that is full, read-only or broken under a running broker: a clear error for what it hits, and nothing else lost. What a power cut leaves is
//! in `tests/crash`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use broker_under_test::storage::{Fault, FaultKind, FaultyDisk, RealDisk};
use broker_under_test::{Config, FetchPath, Server, ServerError};
use kafka_wire::produce::{self, ProduceResult};
use kafka_wire::{BatchBuilder, ErrorCode};

use crate::support::{Client, batch_of, copy_of, start_in};

/// A broker on a faulty disk, with two topics of one partition.
struct Broken {
    disk: FaultyDisk,
    server: Option<Server>,
    client: Client,
    folder: tempfile::TempDir,
}

fn start_on(disk: &FaultyDisk, dir: &Path, settings: &[(&str, &str)]) -> Result<Server, ServerError> {
    let mut config = Config::default();
    let own = [
        ("listeners", "PLAINTEXT://127.0.0.1:0"),
        ("log.dirs", dir.to_str().unwrap()),
        // Faults are armed for the nth call.
        ("num.recovery.threads.per.data.dir", "1"),
    ];
    for (name, value) in own.iter().chain(settings) {
        config.set(name, value, "test").unwrap();
    }
    Server::start_on(Arc::new(disk.clone()), config.complete().unwrap(), None)
}

impl Broken {
    fn start(settings: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let disk = FaultyDisk::new(Arc::new(RealDisk), &folder.path().join("graves")).unwrap();
        let server = start_on(&disk, &folder.path().join("data"), settings).unwrap();
        let mut client = Client::connect(server.address);
        for topic in ["sick", "well"] {
            assert_eq!(client.create_topic(topic, 1, &[]), 0);
            client.append(topic, 0, &batch_of(3, 400, 1));
        }
        Broken {
            disk,
            server: Some(server),
            client,
            folder,
        }
    }

    fn dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn arm(&self, what: FaultKind, path: &str) -> u64 {
        self.disk.arm(Fault {
            what,
            path: path.to_owned(),
            nth: 1,
            count: None,
        })
    }

    fn fails(&mut self, reason: &str) {
        let result: ProduceResult = self.client.produce("sick", 0, &batch_of(3, 400, 2));
        assert_eq!(result.error, ErrorCode::KafkaStorageError.code());
        let message = result.message.unwrap_or_default();
        assert!(message.contains(reason), "{message} should say: {reason}");
    }

    /// Ends this broker and holds what another one finds on a disk that works against what this one had.
    fn nothing_is_lost(mut self, stops_cleanly: bool) {
        let expected = ["sick", "well"].map(|topic| self.client.read_all(topic, 0, 0));
        drop(self.client);
        assert_eq!(self.server.take().unwrap().stop().is_ok(), stops_cleanly);
        let server = start_in(&self.folder.path().join("data"), &[]).unwrap();
        let mut client = Client::connect(server.address);
        assert!(["sick", "well"].map(|topic| client.read_all(topic, 0, 0)) == expected);
        for topic in ["sick", "well"] {
            let end = client.list_offset(topic, 0, -1).1;
            assert_eq!(client.append(topic, 0, &batch_of(1, 100, 9)), end);
        }
        drop(client);
        server.stop().unwrap();
    }
}

#[test]
fn a_full_disk_heals_when_there_is_room_again() {
    for layout in ["partition-log", "commit-log"] {
        let mut broken = Broken::start(&[("log.layout", layout), ("flush.policy", "every-batch")]);
        let full = broken.arm(FaultKind::Full { room_bytes: 100 }, ".log");
        for _ in 0..3 {
            broken.fails("No space left on device");
        }
        assert_eq!(broken.disk.disarm(full), 3);
        assert_eq!(broken.client.append("sick", 0, &batch_of(3, 400, 3)), 3, "{layout}");
        assert_eq!(broken.client.append("well", 0, &batch_of(3, 400, 3)), 3, "{layout}");
        drop(broken.client);
        broken.server.take().unwrap().stop().unwrap();
        let server = start_on(
            &broken.disk,
            &broken.folder.path().join("data"),
            &[("log.layout", layout)],
        )
        .unwrap();
        let mut client = Client::connect(server.address);
        assert_eq!(client.list_offset("sick", 0, -1).1, 6);
        assert!(!client.read_all("sick", 0, 0).is_empty());
        drop(client);
        server.stop().unwrap();
    }
}

#[test]
fn a_full_disk_when_a_segment_is_rolled() {
    let mut broken = Broken::start(&[("log.segment.bytes", "1024"), ("log.preallocate", "true")]);
    broken.client.append("sick", 0, &batch_of(3, 400, 3));
    // Room for the batch, and none for a segment.
    let full = broken.arm(FaultKind::Full { room_bytes: 1000 }, "sick-0/00000000000000000006");
    broken.fails("No space left on device");
    broken.fails("No space left on device");
    assert_eq!(broken.client.append("well", 0, &batch_of(3, 400, 3)), 3);
    assert_eq!(broken.disk.disarm(full), 2);
    assert_eq!(broken.client.append("sick", 0, &batch_of(3, 400, 4)), 6);
    broken.nothing_is_lost(true);
}

#[test]
fn a_full_disk_when_a_checkpoint_is_written() {
    let mut broken = Broken::start(&[]);
    let full = broken.arm(FaultKind::Full { room_bytes: 0 }, "checkpoint");
    let topics = &broken.server.as_ref().unwrap().broker.topics;
    let message = topics.write_checkpoints().unwrap_err().to_string();
    assert!(
        message.contains("checkpoint") && message.contains("No space left"),
        "{message}"
    );
    assert_eq!(broken.client.append("sick", 0, &batch_of(3, 400, 3)), 3);
    broken.disk.disarm(full);
    broken.nothing_is_lost(true);
}

#[test]
fn a_file_system_that_became_read_only() {
    let mut broken = Broken::start(&[]);
    broken.arm(FaultKind::ReadOnly, "");
    broken.fails("Read-only file system");
    // The rest of a failed write could not be cut off: what is there is not known.
    broken.fails("offline");
    assert_eq!(broken.client.list_offset("sick", 0, -1).1, 3);
    broken.nothing_is_lost(false);
}

#[test]
fn a_flush_that_failed_takes_the_partition_offline_for_good() {
    let mut broken = Broken::start(&[("flush.policy", "every-batch")]);
    let eio = broken.arm(FaultKind::FailFlush, "sick-0/");
    broken.fails("Input/output error");
    broken.disk.disarm(eio);
    broken.fails("offline");
    assert_eq!(
        broken.client.list_offset("sick", 0, -1).1,
        3,
        "nobody sees what was not flushed"
    );
    assert_eq!(broken.client.append("well", 0, &batch_of(3, 400, 3)), 3);
    let dir = broken.dir();
    drop(broken.client);
    let message = broken.server.take().unwrap().stop().unwrap_err().to_string();
    assert!(
        message.contains("sick-0: offline") && message.contains("restart"),
        "{message}"
    );
    assert!(!dir.join(".kafka_cleanshutdown").exists());
}

#[test]
fn a_fetch_that_can_not_be_read_is_told_and_the_connection_lives_on() {
    for (_, path) in FetchPath::ALL {
        if path == "direct" {
            // Not every file system has it; what is asked of the storage is the same.
            continue;
        }
        let mut broken = Broken::start(&[("fetch.path", path)]);
        let whole = broken.client.read_all("sick", 0, 0);
        let eio = broken.arm(FaultKind::FailRead, "sick-0/");
        let answer = broken.client.fetch_one("sick", 0, 0, 10_000);
        assert_eq!(answer.error_code, ErrorCode::KafkaStorageError.code(), "{path}");
        assert!(answer.records.unwrap_or_default().is_empty());
        assert!(!broken.client.read_all("well", 0, 0).is_empty(), "{path}");
        assert!(broken.disk.disarm(eio) > 0);
        assert!(broken.client.read_all("sick", 0, 0) == whole, "{path}");
        broken.nothing_is_lost(true);
    }
}

#[test]
fn a_partition_folder_that_vanished() {
    for stops_cleanly in [true, false] {
        let mut broken = Broken::start(&[("flush.policy", "every-batch")]);
        broken
            .server
            .as_ref()
            .unwrap()
            .broker
            .topics
            .write_checkpoints()
            .unwrap();
        let (dir, well) = (broken.dir(), broken.client.read_all("well", 0, 0));
        drop(broken.client);
        broken.server.take().unwrap().stop().unwrap();
        if !stops_cleanly {
            std::fs::remove_file(dir.join(".kafka_cleanshutdown")).unwrap();
        }
        std::fs::rename(dir.join("sick-0"), dir.join("aside")).unwrap();
        let message = start_in(&dir, &[]).unwrap_err().to_string();
        assert!(
            message.contains("sick-0 is gone") && message.contains("offset 3"),
            "{message}"
        );
        std::fs::rename(dir.join("aside"), dir.join("sick-0")).unwrap();
        let server = start_in(&dir, &[]).unwrap();
        let mut client = Client::connect(server.address);
        assert!(client.read_all("well", 0, 0) == well);
        assert_eq!(client.list_offset("sick", 0, -1).1, 3);
        drop(client);
        server.stop().unwrap();
    }
}

/// A batch of an idempotent producer.
fn by(sequence: i32) -> Vec<u8> {
    let mut builder = BatchBuilder::new(1_700_000_000_000);
    builder.producer(7, 0, sequence);
    builder.push(1_700_000_000_000, None, &[b'x'; 400]);
    builder.finish().to_vec()
}

#[test]
fn a_repeat_of_what_could_not_be_flushed_is_not_acknowledged() {
    for layout in ["partition-log", "commit-log"] {
        let mut broken = Broken::start(&[("log.layout", layout), ("flush.policy", "every-batch")]);
        broken.arm(FaultKind::FailFlush, ".log");
        let mut requests = Vec::new();
        for id in 0..2 {
            produce::encode_request(&mut requests, id, "sick", 0, -1, &by(0));
        }
        broken.client.send(&requests);
        for _ in 0..2 {
            let frame = broken.client.receive().unwrap();
            let (_, results) = produce::decode_response(&frame, produce::CLIENT_VERSION).unwrap();
            assert_eq!(results[0].error, ErrorCode::KafkaStorageError.code(), "{layout}");
        }
        drop(broken.client);
        broken.server.take().unwrap().stop().unwrap_err();
    }
}

#[test]
fn a_full_disk_when_producers_are_written_down() {
    let mut broken = Broken::start(&[("log.segment.bytes", "1024"), ("flush.policy", "interval")]);
    let full = broken.arm(FaultKind::Full { room_bytes: 0 }, "producers.");
    for i in 0..6 {
        broken.client.append("sick", 0, &by(i));
    }
    let topics = &broken.server.as_ref().unwrap().broker.topics;
    assert!(
        topics
            .checkpoint()
            .unwrap_err()
            .to_string()
            .contains("producers.snapshot")
    );
    let knows = |server: &Server| {
        let mut client = Client::connect(server.address);
        for i in 1..6 {
            assert_eq!(client.append("sick", 0, &by(i)), 3 + i64::from(i));
        }
    };
    // The recovery point stayed where it was.
    let killed = copy_of(&broken.dir());
    let server = start_in(killed.path(), &[]).unwrap();
    knows(&server);
    server.stop().unwrap();
    assert!(broken.disk.disarm(full) > 1);
    topics.checkpoint().unwrap();
    let killed = copy_of(&broken.dir());
    let server = start_in(killed.path(), &[]).unwrap();
    knows(&server);
    server.stop().unwrap();
    drop(broken.client);
    broken.server.take().unwrap().stop().unwrap();
}

#[test]
fn an_index_whose_flush_failed_is_never_vouched_for() {
    let mut broken = Broken::start(&[("flush.policy", "interval")]);
    let log = broken.server.as_ref().unwrap().broker.topics.log("sick", 0).unwrap();
    let failing = broken.arm(FaultKind::FailFlush, "sick-0/00000000000000000000.index");
    log.flush().unwrap();
    assert_eq!(log.recovery_point(), 0);
    assert_eq!(broken.disk.disarm(failing), 1);
    assert_eq!(log.recovery_point(), 0, "a second flush says nothing of the first one");
    broken.fails("offline");
    drop(log);
    broken.nothing_is_lost(false);
}
