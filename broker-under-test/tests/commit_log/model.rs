//! The shared log against a model of it: random appends over partitions, starts after clean stops and after kills with a tail torn at any byte, lost
//! indexes, deletions, retention. What is read is what was appended, to the byte, and so are the answers for times.
//!
//! More cases: `PROPTEST_CASES=5000 cargo test -p broker-under-test --test commit_log model`.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use broker_under_test::log::commit_log::queue::Format;
use broker_under_test::log::commit_log::{CommitLog, EntryKind, Known, Options};
use broker_under_test::log::{FlushPolicy, Limits, Log, OpenFiles, ReadEnd};
use broker_under_test::storage::RealDisk;
use kafka_wire::{BatchBuilder, BatchHeader, RecordIter};
use proptest::prelude::*;
use proptest::sample::Index;
use uuid::Uuid;

const PARTITIONS: i32 = 4;
const TOPIC: Uuid = Uuid::from_u128(77);
const FRAME_BYTES: u64 = 32;
const TIME_MS: i64 = 1_700_000_000_000;

#[derive(Debug, Clone)]
enum Step {
    Append {
        partition: i32,
        records: usize,
        value_bytes: usize,
        time: i64,
    },
    Flush,
    Checkpoint,
    CleanStop,
    /// The page cache survives but for the end of the log.
    Kill {
        torn: Index,
        lost: Lost,
    },
    DeleteBefore {
        partition: i32,
        at: Index,
    },
    Retain {
        bytes: i64,
    },
}

/// What somebody removes while the broker is down.
#[derive(Debug, Clone, Copy)]
enum Lost {
    Nothing,
    Queue(i32),
    HalfAQueue(i32),
    Checkpoint,
}

fn step() -> impl Strategy<Value = Step> {
    let append =
        (0..PARTITIONS, 1..6usize, 0..300usize, -500..500i64).prop_map(|(partition, records, value_bytes, time)| {
            Step::Append {
                partition,
                records,
                value_bytes,
                time,
            }
        });
    let lost = prop_oneof![
        4 => Just(Lost::Nothing),
        1 => (0..PARTITIONS).prop_map(Lost::Queue),
        1 => (0..PARTITIONS).prop_map(Lost::HalfAQueue),
        1 => Just(Lost::Checkpoint),
    ];
    prop_oneof![
        40 => append,
        2 => Just(Step::Flush),
        2 => Just(Step::Checkpoint),
        1 => Just(Step::CleanStop),
        2 => (any::<Index>(), lost).prop_map(|(torn, lost)| Step::Kill { torn, lost }),
        1 => (0..PARTITIONS, any::<Index>()).prop_map(|(partition, at)| Step::DeleteBefore { partition, at }),
        1 => (0..8000i64).prop_map(|bytes| Step::Retain { bytes }),
    ]
}

/// A batch as it must be read.
#[derive(Debug, Clone)]
struct Batch {
    bytes: Vec<u8>,
    base: i64,
    end: i64,
    /// Of its frame, in the log.
    position: u64,
    records: Vec<(i64, i64)>,
}

type Open = (Arc<CommitLog>, Vec<Arc<dyn Log>>);

struct Model {
    dir: PathBuf,
    options: Options,
    /// With its partitions; `None` while the broker is down.
    log: Option<Open>,
    batches: Vec<Vec<Batch>>,
    starts: Vec<i64>,
    end: u64,
    /// Below, nothing can be torn.
    flushed: u64,
}

impl Model {
    fn new(dir: &Path, kind: EntryKind, flush: FlushPolicy) -> Self {
        let limits = Limits {
            segment_bytes: 2500,
            flush,
            ..Limits::default()
        };
        let queues = Format {
            kind,
            entries_per_file: 8,
        };
        let mut model = Model {
            dir: dir.to_owned(),
            options: Options { limits, queues },
            log: None,
            batches: vec![Vec::new(); PARTITIONS as usize],
            starts: vec![0; PARTITIONS as usize],
            end: 0,
            flushed: 0,
        };
        model.open();
        model
    }

    fn open(&mut self) {
        let files = OpenFiles::new(Arc::new(RealDisk), 3, Arc::default());
        let known = |partition: i32| Known {
            topic: TOPIC,
            name: "orders".to_owned(),
            partition,
            start_offset: self.starts[partition as usize],
        };
        let known: Vec<Known> = (0..PARTITIONS).map(known).collect();
        let log = CommitLog::open(&files, &self.dir, self.options, &known).unwrap();
        let partitions = (0..PARTITIONS).map(|p| log.partition(TOPIC, p).unwrap()).collect();
        self.log = Some((log, partitions));
        self.flushed = self.end;
    }

    fn shared(&self) -> &CommitLog {
        &self.log.as_ref().unwrap().0
    }

    fn partition(&self, partition: i32) -> &dyn Log {
        self.log.as_ref().unwrap().1[partition as usize].as_ref()
    }

    fn append(&mut self, partition: i32, records: usize, value_bytes: usize, time: i64) {
        let mut builder = BatchBuilder::new(TIME_MS + time);
        for i in 0..records {
            builder.push(TIME_MS + time + i as i64 * 7, None, &vec![i as u8; value_bytes]);
        }
        let mut bytes = builder.finish().to_vec();
        let header = BatchHeader::checked(&bytes).unwrap();
        let appended = self.partition(partition).append(&header, &bytes).unwrap();
        if let Some(until) = appended.await_flush {
            self.partition(partition).await_flush(until).unwrap();
        }
        let base = self.batches[partition as usize]
            .last()
            .map_or(0, |b| b.end)
            .max(self.starts[partition as usize]);
        assert_eq!(appended.base_offset, base);
        kafka_wire::batch::stamp(&mut bytes, base, 0);
        let header = BatchHeader::checked(&bytes).unwrap();
        let records = RecordIter::new(header, &bytes)
            .map(|r| r.unwrap())
            .map(|r| (r.offset, r.timestamp_ms))
            .collect();
        self.batches[partition as usize].push(Batch {
            base,
            end: header.last_offset() + 1,
            position: self.end,
            records,
            bytes,
        });
        self.end += FRAME_BYTES + header.total_bytes() as u64;
        if appended.await_flush.is_some() {
            self.flushed = self.end;
        }
    }

    fn kill(&mut self, torn: Index, lost: Lost) {
        self.log = None;
        let cut = self.flushed + torn.index((self.end - self.flushed) as usize + 1) as u64;
        // The segments behind the cut are there still, and all of the queues.
        let mut segments: Vec<PathBuf> = fs::read_dir(self.dir.join("commitlog"))
            .unwrap()
            .map(|e| e.unwrap().path())
            .collect();
        segments.retain(|path| path.extension().is_some_and(|e| e == "log"));
        for path in segments {
            let base: u64 = path.file_stem().unwrap().to_str().unwrap().parse().unwrap();
            let bytes = fs::metadata(&path).unwrap().len();
            if base <= cut && cut < base + bytes {
                fs::File::options()
                    .write(true)
                    .open(path)
                    .unwrap()
                    .set_len(cut - base)
                    .unwrap();
            }
        }
        for batches in &mut self.batches {
            batches.retain(|b| b.position + FRAME_BYTES + b.bytes.len() as u64 <= cut);
        }
        self.end = self
            .batches
            .iter()
            .flatten()
            .map(|b| b.position + FRAME_BYTES + b.bytes.len() as u64)
            .max()
            .unwrap_or(0)
            .max(self.flushed);
        let queue = |partition: i32| self.dir.join(format!("consumequeue/orders-{partition}"));
        match lost {
            Lost::Nothing => {}
            Lost::Queue(partition) => {
                let _ = fs::remove_dir_all(queue(partition));
            }
            Lost::HalfAQueue(partition) => {
                for file in fs::read_dir(queue(partition)).into_iter().flatten() {
                    let file = fs::File::options().write(true).open(file.unwrap().path()).unwrap();
                    file.set_len(file.metadata().unwrap().len() / 2).unwrap();
                }
            }
            Lost::Checkpoint => fs::remove_file(self.dir.join("commitlog/checkpoint")).unwrap(),
        }
        self.open();
    }

    /// Partitions begin with their first batch in the segments that are left.
    fn retain(&mut self, bytes: i64) {
        self.shared().retain(0, -1, bytes).unwrap();
        for partition in 0..PARTITIONS {
            let bounds = self.partition(partition).bounds();
            let (start, end) = (bounds.start(), bounds.end());
            let batches = &mut self.batches[partition as usize];
            assert_eq!(
                end,
                batches.last().map_or(0, |b| b.end).max(self.starts[partition as usize])
            );
            let first = first_segment(&self.dir);
            let expected = batches.iter().find(|b| b.position >= first).map_or(end, |b| b.base);
            assert_eq!(
                start,
                expected.max(self.starts[partition as usize]),
                "partition {partition}"
            );
            self.starts[partition as usize] = start;
        }
        self.flushed = self.flushed.max(checkpointed(&self.dir));
    }

    fn check(&self) {
        for partition in 0..PARTITIONS {
            let log = self.partition(partition);
            let (start, batches) = (self.starts[partition as usize], &self.batches[partition as usize]);
            let end = batches.last().map_or(0, |b| b.end).max(start);
            assert_eq!(
                (log.bounds().start(), log.bounds().high_watermark(), log.bounds().end()),
                (start, end, end)
            );
            let kept: Vec<&Batch> = batches.iter().filter(|b| b.end > start).collect();
            let mut offset = start;
            let mut read = Vec::new();
            loop {
                let found = log.read(offset, 700, true).unwrap();
                if found.slices.is_empty() {
                    assert_eq!(found.end, ReadEnd::Log);
                    break;
                }
                for slice in &found.slices {
                    let bytes = slice.to_vec().unwrap();
                    offset = BatchHeader::checked(&bytes).unwrap().last_offset() + 1;
                    read.push(bytes);
                }
            }
            assert_eq!(offset, end);
            assert!(read.iter().eq(kept.iter().map(|b| &b.bytes)), "partition {partition}");
            for batch in &kept {
                for offset in batch.base.max(start)..batch.end {
                    let found = log.read(offset, 1, true).unwrap();
                    assert_eq!(found.slices[0].to_vec().unwrap(), batch.bytes, "offset {offset}");
                }
            }
            let records: Vec<(i64, i64)> = kept
                .iter()
                .flat_map(|b| &b.records)
                .filter(|r| r.0 >= start)
                .copied()
                .collect();
            for time in [
                i64::MIN,
                TIME_MS - 200,
                TIME_MS,
                TIME_MS + 3,
                TIME_MS + 250,
                TIME_MS + 499,
                i64::MAX,
            ] {
                let expected = records.iter().find(|r| r.1 >= time).copied();
                assert_eq!(
                    log.find_time(time).unwrap(),
                    expected,
                    "partition {partition}, time {time}"
                );
            }
            let greatest = records.iter().map(|r| r.1).max();
            let expected = records.iter().find(|r| Some(r.1) == greatest).copied();
            assert_eq!(log.max_time().unwrap(), expected, "partition {partition}");
        }
    }

    fn run(&mut self, step: &Step) {
        match *step {
            Step::Append {
                partition,
                records,
                value_bytes,
                time,
            } => self.append(partition, records, value_bytes, time),
            Step::Flush => {
                self.shared().flush().unwrap();
                self.flushed = self.end;
            }
            Step::Checkpoint => {
                self.shared().checkpoint_if_due().unwrap();
                self.flushed = self.flushed.max(checkpointed(&self.dir));
            }
            Step::CleanStop => {
                self.shared().checkpoint().unwrap();
                self.log = None;
                self.open();
                self.check();
            }
            Step::Kill { torn, lost } => {
                self.kill(torn, lost);
                self.check();
            }
            Step::DeleteBefore { partition, at } => {
                let end = self.partition(partition).bounds().high_watermark();
                let start = self.starts[partition as usize];
                let offset = start + at.index((end - start) as usize + 1) as i64;
                assert_eq!(self.partition(partition).delete_before(offset).unwrap(), offset);
                self.starts[partition as usize] = offset;
            }
            Step::Retain { bytes } => self.retain(bytes),
        }
    }
}

fn first_segment(dir: &Path) -> u64 {
    let names = fs::read_dir(dir.join("commitlog"))
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap());
    names
        .filter_map(|name| name.strip_suffix(".log")?.parse().ok())
        .min()
        .unwrap()
}

/// Everything in front of it is on the device, says the checkpoint.
fn checkpointed(dir: &Path) -> u64 {
    let text = fs::read_to_string(dir.join("commitlog/checkpoint")).unwrap();
    let position = text.lines().find_map(|line| line.strip_prefix("position "));
    position.unwrap().parse().unwrap()
}

/// A folder in memory where there is such a file system, for tests that ask nothing of a device.
pub fn memory_folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap()
}

proptest! {
    #[test]
    fn reads_equal_what_was_appended(
        steps in prop::collection::vec(step(), 1..200),
        kind in prop::sample::select(vec![EntryKind::Batch, EntryKind::Record]),
        flush in prop::sample::select(vec![FlushPolicy::Never, FlushPolicy::EveryBatch]),
    ) {
        let folder = memory_folder();
        let mut model = Model::new(folder.path(), kind, flush);
        for step in &steps {
            model.run(step);
        }
        model.check();
    }
}
