//! Crash points of a compacted topic: whatever a pass was doing when the power went, of every key the last acknowledged record is there, at its offset,
//! and no record that was never written; a key whose tombstone was let go has no older record back.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use broker_under_test::Config;
use broker_under_test::broker::Broker;
use broker_under_test::log::Log;
use broker_under_test::storage::{Fault, FaultKind, FaultyDisk, RealDisk, Storage};
use kafka_wire::{BatchBuilder, BatchHeader, BatchIter, RecordIter};

use crate::mistakes::{Mistake, Mistaken};
use crate::model::Random;

/// Steps of a workload between two power cuts, if none comes sooner.
const STEPS_MAX: u64 = 80;
const TOPIC: &str = "compacted";
const KEYS: u64 = 9;
/// The time of the first record, milliseconds since 1970.
const BASE_MS: i64 = 1_000_000;
/// A pass at this time lets tombstones go.
const LATER_MS: i64 = BASE_MS + 10_000_000;

/// Key and value; without a value it is a tombstone.
type Record = (u64, Option<Vec<u8>>);

struct Point {
    random: Random,
    settings: Vec<(&'static str, String)>,
    every_batch: bool,
    mistake: Option<Mistake>,
    folder: tempfile::TempDir,
    graves: u64,
    /// All records that were ever written at an offset; a tail that was lost makes room for others.
    written: BTreeMap<i64, Vec<Record>>,
    /// The latest of them.
    content: BTreeMap<i64, Record>,
    /// Offset behind it.
    end: i64,
    /// Everything in front of this was promised to be on the device.
    durable_end: i64,
    steps: Vec<String>,
}

/// Why a workload ended.
enum Stop {
    /// The power went, or a call failed.
    Trouble,
    /// A promise was broken.
    Violation(String),
}

/// Runs one crash point.
///
/// # Errors
/// The broken promise, and what led to it.
pub fn run(seed: u64, mistake: Option<Mistake>) -> Result<(), String> {
    let mut random = Random::new(seed);
    let policy = random.pick(&["every-batch", "interval", "never"]);
    let settings = vec![
        ("flush.policy", policy.to_owned()),
        ("log.cleanup.policy", "compact".to_owned()),
        ("log.cleaner.min.cleanable.ratio", "0.01".to_owned()),
        ("log.cleaner.delete.retention.ms", "1000".to_owned()),
        ("log.segment.bytes", random.pick(&[1024, 2048]).to_string()),
        ("log.index.interval.bytes", random.pick(&[0, 300]).to_string()),
        ("num.recovery.threads.per.data.dir", "1".to_owned()),
    ];
    let folder = tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap());
    let mut point = Point {
        random,
        steps: vec![format!("{settings:?}")],
        settings,
        every_batch: policy == "every-batch",
        mistake,
        folder,
        graves: 0,
        written: BTreeMap::new(),
        content: BTreeMap::new(),
        end: 0,
        durable_end: 0,
    };
    for _ in 0..1 + point.random.below(3) {
        let disk = point.disk();
        let reach = point.random.pick(&[60, 200, 600]);
        let nth = 1 + point.random.below(reach);
        disk.arm(Fault {
            what: FaultKind::Crash,
            path: String::new(),
            nth,
            count: None,
        });
        if let Err(Stop::Violation(problem)) = point.lives(&disk) {
            return Err(point.report(&problem, &disk));
        }
        let image = point.random.next();
        disk.crash_image(image).map_err(|e| format!("no image: {e}"))?;
        point
            .steps
            .push(format!("power cut after at most {nth} changes, image {image}"));
    }
    let disk = point.disk();
    match point.start(&disk) {
        Ok(_) => Ok(()),
        Err(Stop::Trouble) => Err(point.report("a call failed without a fault", &disk)),
        Err(Stop::Violation(problem)) => Err(point.report(&problem, &disk)),
    }
}

impl Point {
    fn disk(&mut self) -> FaultyDisk {
        self.graves += 1;
        let graves = self.folder.path().join(format!("graves-{}", self.graves));
        FaultyDisk::new(Arc::new(RealDisk), &graves).unwrap()
    }

    fn dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn report(&self, problem: &str, disk: &FaultyDisk) -> String {
        let lines_max = std::env::var("ASSAY_CRASH_SEED").map_or(24, |_| usize::MAX);
        let last = |lines: &[String]| lines[lines.len().saturating_sub(lines_max)..].join("\n    ");
        let report = format!(
            "{problem}\n  steps:\n    {}\n  changes since the last power cut:\n    {}",
            last(&self.steps),
            last(&disk.trace())
        );
        report.replace(&*self.folder.path().to_string_lossy(), "")
    }

    fn start(&mut self, disk: &FaultyDisk) -> Result<Broker, Stop> {
        let mut config = Config::default();
        config.set("log.dirs", self.dir().to_str().unwrap(), "test").unwrap();
        for (name, value) in &self.settings {
            config.set(name, value, "test").unwrap();
        }
        let storage: Arc<dyn Storage> = match self.mistake {
            Some(mistake) => Arc::new(Mistaken::new(disk.clone(), mistake)),
            None => Arc::new(disk.clone()),
        };
        let broker = Broker::open(storage, config.complete().unwrap(), 9092, None);
        let broker = allowed(disk, "start", broker)?;
        self.steps.push("started".to_owned());
        if broker.topics.get(TOPIC).is_none() {
            if self.durable_end > 0 {
                return Err(Stop::Violation("the topic is gone".to_owned()));
            }
            let created = broker.topics.create(TOPIC, 1, 1, BTreeMap::new());
            allowed(disk, "create", created.map_err(|refusal| refusal.message))?;
        }
        match self.verify(log(&broker).as_ref()) {
            Ok(()) => Ok(broker),
            Err(_) if disk.has_crashed() => Err(Stop::Trouble),
            Err(problem) => Err(Stop::Violation(problem)),
        }
    }

    /// A workload until the power goes.
    fn lives(&mut self, disk: &FaultyDisk) -> Result<(), Stop> {
        let mut broker = self.start(disk)?;
        for _ in 0..STEPS_MAX {
            let log = log(&broker);
            // Closed segments are on the device, and they alone are compacted.
            self.durable_end = self.durable_end.max(log.recovery_point().min(self.end));
            match self.random.below(100) {
                0..70 => self.appends(disk, log.as_ref())?,
                70..86 => {
                    let now_ms = self.random.pick(&[BASE_MS, LATER_MS]);
                    self.steps.push(format!("compact at {now_ms}"));
                    allowed(disk, "compact", broker.topics.compact(now_ms, || false))?;
                }
                86..91 => {
                    self.steps.push("flush".to_owned());
                    allowed(disk, "flush", log.flush())?;
                    self.durable_end = self.end;
                }
                91..94 => {
                    self.steps.push("checkpoint".to_owned());
                    allowed(disk, "checkpoint", broker.topics.checkpoint())?;
                }
                94..97 => {
                    self.steps.push("stop".to_owned());
                    allowed(disk, "stop", broker.close_cleanly())?;
                    self.durable_end = self.end;
                    drop(broker);
                    broker = self.start(disk)?;
                }
                _ => {
                    self.steps.push("kill".to_owned());
                    drop(broker);
                    broker = self.start(disk)?;
                }
            }
        }
        Ok(())
    }

    fn appends(&mut self, disk: &FaultyDisk, log: &dyn Log) -> Result<(), Stop> {
        let base_offset = log.bounds().end();
        let mut builder = BatchBuilder::new(BASE_MS);
        let mut records = Vec::new();
        for offset in (base_offset..).take(1 + self.random.below(4) as usize) {
            let key = self.random.below(KEYS);
            let bytes = self.random.below(150);
            let value =
                (!self.random.chance(20)).then(|| (0..bytes).map(|_| self.random.next() as u8).collect::<Vec<u8>>());
            builder.push_record(BASE_MS + offset, Some(&key.to_be_bytes()), value.as_deref(), &[]);
            // Written down first: what a call that fails leaves may be there afterwards.
            self.written.entry(offset).or_default().push((key, value.clone()));
            records.push((offset, (key, value)));
        }
        self.steps
            .push(format!("append {} records at {base_offset}", records.len()));
        let bytes = builder.finish();
        let header = BatchHeader::checked_from_client(bytes).unwrap();
        let appended = allowed(disk, "append", log.append(&header, bytes))?;
        self.end = base_offset + records.len() as i64;
        self.content.extend(records);
        if let Some(until) = appended.await_flush.filter(|_| self.random.chance(80)) {
            allowed(disk, "flush", log.await_flush(until))?;
            self.durable_end = self.end;
        }
        Ok(())
    }

    /// Holds the log against what was promised, and takes what is there for what is promised from now on, as far as readers may count on it.
    fn verify(&mut self, log: &dyn Log) -> Result<(), String> {
        let end = log.bounds().high_watermark();
        if end < self.durable_end {
            return Err(format!("it ends at {end}, and {} was acknowledged", self.durable_end));
        }
        let found = read(log)?;
        for (offset, record) in &found {
            if !self
                .written
                .get(offset)
                .is_some_and(|versions| versions.contains(record))
            {
                return Err(format!("the record at {offset} was never written there"));
            }
            if *offset < self.durable_end && self.content.get(offset) != Some(record) {
                return Err(format!("the record at {offset} is not the one that was acknowledged"));
            }
        }
        let mut last: BTreeMap<u64, (i64, bool)> = BTreeMap::new();
        for (offset, (key, value)) in self.content.range(..self.durable_end) {
            last.insert(*key, (*offset, value.is_none()));
        }
        for (key, (promised, is_tombstone)) in last {
            let there = found
                .iter()
                .filter(|(_, (other, _))| *other == key)
                .map(|(offset, _)| *offset);
            match there.max() {
                Some(offset) if offset >= promised => {}
                None if is_tombstone => {}
                there => {
                    return Err(format!(
                        "of key {key} the last is {there:?}, and {promised} was acknowledged"
                    ));
                }
            }
        }
        // A tombstone that was let go stays known, so that what it deleted must not come back.
        self.content
            .retain(|offset, (_, value)| *offset < self.durable_end && value.is_none());
        self.content.extend(found);
        self.end = end;
        if self.every_batch {
            self.durable_end = end;
        }
        Ok(())
    }
}

fn log(broker: &Broker) -> Arc<dyn Log> {
    broker.topics.log(TOPIC, 0).expect("the start has made it")
}

/// A failure is in order when the power is gone.
fn allowed<T, E: std::fmt::Display>(disk: &FaultyDisk, what: &str, result: Result<T, E>) -> Result<T, Stop> {
    result.map_err(|error| match disk.has_crashed() {
        true => Stop::Trouble,
        false => Stop::Violation(format!("{what} failed without a fault: {error}")),
    })
}

/// Every record from the start to the high watermark, by offset.
fn read(log: &dyn Log) -> Result<BTreeMap<i64, Record>, String> {
    let end = log.bounds().high_watermark();
    let mut records = BTreeMap::new();
    let mut offset = log.bounds().start();
    while offset < end {
        let before = offset;
        let at = |e: &dyn std::fmt::Display| format!("read at {before}: {e}");
        let found = log.read(offset, 2000, true).map_err(|e| at(&e))?;
        for slice in &found.slices {
            let bytes = slice.to_vec().map_err(|e| at(&e))?;
            for batch in BatchIter::new(&bytes) {
                let (header, batch) = batch.map_err(|e| at(&e))?;
                BatchHeader::checked_stored(batch).map_err(|e| at(&e))?;
                for record in RecordIter::new(header, batch) {
                    let record = record.map_err(|e| at(&e))?;
                    let key = record.key.and_then(|key| key.try_into().ok()).map(u64::from_be_bytes);
                    let key = key.ok_or_else(|| format!("the record at {} has no key of ours", record.offset))?;
                    let again = records.insert(record.offset, (key, record.value.map(<[u8]>::to_vec)));
                    if again.is_some() {
                        return Err(format!("offset {} is there twice", record.offset));
                    }
                }
                offset = header.last_offset() + 1;
            }
        }
        if offset <= before {
            return Err(format!("nothing at {offset}, in front of the high watermark {end}"));
        }
    }
    Ok(records)
}
