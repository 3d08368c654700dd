//! Ten thousand partitions: what a start opens and reads, exactly, after a clean stop and after a kill.

use std::path::Path;
use std::sync::Arc;

use broker_under_test::counters::{Counter, Counters};
use broker_under_test::log::commit_log::{CommitLog, EntryKind, Known, Options};
use broker_under_test::log::{Limits, OpenFiles};
use broker_under_test::storage::RealDisk;
use kafka_wire::BatchHeader;
use uuid::Uuid;

use crate::model::memory_folder;
use crate::support::batch_of;

const PARTITIONS: i32 = 10_000;
const OPEN_MAX: usize = 64;
const TOPIC: Uuid = Uuid::from_u128(5);

fn open(dir: &Path) -> (Arc<Counters>, Arc<CommitLog>) {
    let counters = Arc::new(Counters::default());
    let files = OpenFiles::new(Arc::new(RealDisk), OPEN_MAX, counters.clone());
    let limits = Limits {
        segment_bytes: 1 << 20,
        ..Limits::default()
    };
    let known = |partition| Known {
        topic: TOPIC,
        name: "many".to_owned(),
        partition,
        start_offset: 0,
    };
    let known: Vec<Known> = (0..PARTITIONS).map(known).collect();
    let log = CommitLog::open(&files, dir, Options::new(limits, EntryKind::Batch), &known).unwrap();
    (counters, log)
}

fn append(log: &Arc<CommitLog>, partition: i32, batch: &[u8]) -> i64 {
    let header = BatchHeader::checked(batch).unwrap();
    let partition = log.partition(TOPIC, partition).unwrap();
    partition.append(&header, batch).unwrap().base_offset
}

#[test]
fn ten_thousand_partitions() {
    let folder = memory_folder();
    let batch = batch_of(2, 200, 1);
    let (counters, log) = open(folder.path());
    for partition in 0..PARTITIONS {
        assert_eq!(append(&log, partition, &batch), 0);
    }
    log.checkpoint().unwrap();
    assert!(counters.get(Counter::OpenFiles) <= OPEN_MAX as u64);
    drop(log);

    let (counters, log) = open(folder.path());
    assert_eq!(
        counters.get(Counter::CallOpen),
        0,
        "a clean stop leaves nothing to open"
    );
    assert_eq!(counters.get(Counter::RecoveryBytes), 0, "and nothing to read");
    for partition in (0..PARTITIONS).step_by(100) {
        assert_eq!(append(&log, partition, &batch), 2);
    }
    let found = log
        .partition(TOPIC, PARTITIONS - 1)
        .unwrap()
        .read(0, 1 << 20, true)
        .unwrap();
    assert_eq!(found.bytes(), batch.len());
    drop(log);

    let (counters, log) = open(folder.path());
    let behind = u64::from(PARTITIONS as u32 / 100) * (32 + batch.len() as u64);
    assert_eq!(
        counters.get(Counter::RecoveryBytes),
        behind,
        "what came behind the checkpoint"
    );
    assert!(counters.get(Counter::OpenFiles) <= OPEN_MAX as u64);
    assert_eq!(log.partition(TOPIC, 100).unwrap().bounds().high_watermark(), 4);
    assert_eq!(log.partition(TOPIC, 101).unwrap().bounds().high_watermark(), 2);
}
