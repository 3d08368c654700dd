//! One crash point: a workload from a seed, power cuts at moments from the seed, and a look at what is there after each.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use broker_under_test::Config;
use broker_under_test::broker::Broker;
use broker_under_test::log::Log;
use broker_under_test::storage::{Fault, FaultKind, FaultyDisk, RealDisk, Storage};
use kafka_wire::BatchHeader;

use crate::mistakes::{Mistake, Mistaken};
use crate::model::{Model, Partition, Random, TopicModel, batch};
use crate::producers;
use crate::verify;

/// Steps of a workload between two power cuts, if none comes sooner.
const STEPS_MAX: u64 = 60;
/// No record goes by itself: the workload says what time it is.
const RETENTION_MS: i64 = 1_000_000_000;
/// Topics that come and go.
const TOPICS: [&str; 3] = ["a", "b", "c"];

/// Why a step did not end well.
enum Stop {
    /// The power went, or the broker refused to work on after a fault: nothing was promised.
    Trouble,
    /// A promise was broken.
    Violation(String),
}

/// What is under test.
#[derive(Debug, Clone, Copy)]
pub struct Setup {
    pub layout: &'static str,
    pub mistake: Option<Mistake>,
}

struct Point {
    setup: Setup,
    random: Random,
    settings: Vec<(&'static str, String)>,
    every_batch: bool,
    folder: tempfile::TempDir,
    graves: u64,
    model: Model,
    /// A fault was injected: calls may fail, and what they promise must still be kept.
    faulty: bool,
    log: Vec<String>,
}

/// Runs one crash point.
///
/// # Errors
/// The broken promise, and what led to it.
pub fn run(seed: u64, setup: Setup) -> Result<(), String> {
    let mut random = Random::new(seed);
    let policy = random.pick(&["every-batch", "every-batch", "interval", "never"]);
    let settings = vec![
        ("log.layout", setup.layout.to_owned()),
        ("commit.log.entries", random.pick(&["batch", "record"]).to_owned()),
        ("flush.policy", policy.to_owned()),
        ("log.segment.bytes", random.pick(&[1024, 2048, 5000]).to_string()),
        ("log.index.interval.bytes", random.pick(&[0, 300, 4096]).to_string()),
        ("log.retention.ms", RETENTION_MS.to_string()),
        ("log.preallocate", random.chance(25).to_string()),
        // A seed always means the same calls in the same order.
        ("num.recovery.threads.per.data.dir", "1".to_owned()),
    ];
    // In memory where there is room: what is durable is decided by the model, so that no flush has to reach a device.
    let folder = tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap());
    let mut point = Point {
        setup,
        random,
        log: vec![format!("{settings:?}")],
        settings,
        every_batch: policy == "every-batch",
        folder,
        graves: 0,
        model: Model::default(),
        faulty: false,
    };
    let cuts = 1 + point.random.below(3);
    for _ in 0..cuts {
        let disk = point.disk();
        // Early ones hit the start and its recovery.
        let reach = point.random.pick(&[30, 150, 500]);
        let nth = 1 + point.random.below(reach);
        disk.arm(fault(FaultKind::Crash, "", nth, None));
        match point.lives(&disk) {
            Ok(()) | Err(Stop::Trouble) => {}
            Err(Stop::Violation(problem)) => return Err(point.report(problem, &disk)),
        }
        let image = point.random.next();
        disk.crash_image(image).map_err(|e| format!("no image: {e}"))?;
        if point.setup.mistake == Some(Mistake::SkipRecovery) {
            std::fs::write(point.dir().join(".kafka_cleanshutdown"), "{}").unwrap();
        }
        point
            .log
            .push(format!("power cut after at most {nth} changes, image {image}"));
    }
    let disk = point.disk();
    match point.ends(&disk) {
        Ok(()) => Ok(()),
        Err(Stop::Trouble) => Err(point.report("a call failed without a fault".to_owned(), &disk)),
        Err(Stop::Violation(problem)) => Err(point.report(problem, &disk)),
    }
}

fn fault(what: FaultKind, path: &str, nth: u64, count: Option<u64>) -> Fault {
    Fault {
        what,
        path: path.to_owned(),
        nth,
        count,
    }
}

impl Point {
    fn dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn disk(&mut self) -> FaultyDisk {
        self.graves += 1;
        self.faulty = false;
        let graves = self.folder.path().join(format!("graves-{}", self.graves));
        FaultyDisk::new(Arc::new(RealDisk), &graves).unwrap()
    }

    fn report(&self, problem: String, disk: &FaultyDisk) -> String {
        // Whoever looks at one seed wants to see all of it.
        let lines_max = std::env::var("ASSAY_CRASH_SEED").map_or(24, |_| usize::MAX);
        let last = |lines: Vec<String>| lines[lines.len().saturating_sub(lines_max)..].join("\n    ");
        let report = format!(
            "{problem}\n  steps:\n    {}\n  changes since the last power cut:\n    {}",
            last(self.log.clone()),
            last(disk.trace())
        );
        report.replace(&*self.folder.path().to_string_lossy(), "")
    }

    fn start(&mut self, disk: &FaultyDisk) -> Result<Broker, Stop> {
        let mut config = Config::default();
        let dir: &Path = &self.dir();
        config.set("log.dirs", dir.to_str().unwrap(), "test").unwrap();
        for (name, value) in &self.settings {
            config.set(name, value, "test").unwrap();
        }
        let storage: Arc<dyn Storage> = match self.setup.mistake {
            Some(mistake) => Arc::new(Mistaken::new(disk.clone(), mistake)),
            None => Arc::new(disk.clone()),
        };
        let broker = Broker::open(storage, config.complete().unwrap(), 9092, None);
        let broker = self.allowed(disk, "start", broker)?;
        self.log.push("started".to_owned());
        let verified = verify::broker(&broker, &mut self.model, &mut self.random);
        match verified {
            Err(_) if disk.has_crashed() => return Err(Stop::Trouble),
            Err(problem) => return Err(Stop::Violation(problem)),
            Ok(()) => {}
        }
        let promise = |p: &mut Partition| p.promised(p.end);
        if self.every_batch {
            // Readers saw all of it.
            self.partitions().for_each(promise);
        }
        Ok(broker)
    }

    fn partitions(&mut self) -> impl Iterator<Item = &mut Partition> {
        self.model.topics.values_mut().flat_map(|topic| &mut topic.partitions)
    }

    /// A failure is in order when there was a reason.
    fn allowed<T, E: std::fmt::Display>(
        &mut self,
        disk: &FaultyDisk,
        what: &str,
        result: Result<T, E>,
    ) -> Result<T, Stop> {
        result.map_err(|error| {
            self.log.push(format!("{what} failed: {error}"));
            if disk.has_crashed() || self.faulty {
                Stop::Trouble
            } else {
                Stop::Violation(format!("{what} failed without a fault: {error}"))
            }
        })
    }

    /// A workload until the power goes.
    fn lives(&mut self, disk: &FaultyDisk) -> Result<(), Stop> {
        let mut broker = self.start(disk)?;
        for _ in 0..STEPS_MAX {
            match self.random.below(100) {
                0..92 => match self.step(disk, &broker) {
                    // It works on after a fault, as well as it can.
                    Err(Stop::Trouble) if !disk.has_crashed() => {}
                    done => done?,
                },
                92..97 => {
                    self.log.push("stop".to_owned());
                    let closed = broker.close_cleanly();
                    drop(broker);
                    self.allowed(disk, "stop", closed)?;
                    self.partitions().for_each(|p| p.promised(p.end));
                    broker = self.start(disk)?;
                }
                // What a failed flush left in memory and not on the device is not told from the rest by a process that comes after.
                _ if self.faulty => {}
                _ => {
                    self.log.push("kill".to_owned());
                    drop(broker);
                    broker = self.start(disk)?;
                }
            }
            self.recovery_points(&broker);
        }
        Ok(())
    }

    fn step(&mut self, disk: &FaultyDisk, broker: &Broker) -> Result<(), Stop> {
        match self.random.below(100) {
            0..58 => self.appends(disk, broker),
            58..66 => self.repeats(disk, broker),
            66..72 => self.flushes(disk, broker),
            72..75 => self.retains(disk, broker),
            75..79 => {
                self.log.push("checkpoint".to_owned());
                let written = broker.topics.checkpoint();
                self.allowed(disk, "checkpoint", written)
            }
            79..87 => self.deletes_records(disk, broker),
            87..95 => self.changes_topics(disk, broker),
            95..98 => self.gives_producer_id(disk, broker),
            _ => {
                self.breaks(disk);
                Ok(())
            }
        }
    }

    /// The last start: everything works.
    fn ends(&mut self, disk: &FaultyDisk) -> Result<(), Stop> {
        let broker = self.start(disk)?;
        for _ in 0..6 {
            self.appends(disk, &broker)?;
        }
        let closed = broker.close_cleanly();
        drop(broker);
        self.allowed(disk, "stop", closed)?;
        self.partitions().for_each(|p| p.promised(p.end));
        self.start(disk).map(drop)
    }

    fn any_log(&mut self, broker: &Broker) -> Option<(String, usize, Arc<dyn Log>)> {
        let topics = broker.topics.all();
        let topic = topics.get(self.random.below(topics.len() as u64) as usize)?;
        let number = self.random.below(topic.partitions.len() as u64) as usize;
        Some((topic.name.clone(), number, topic.partitions[number].clone()))
    }

    fn partition(&mut self, topic: &str, number: usize) -> &mut Partition {
        let topic = self.model.topics.get_mut(topic).unwrap();
        if number >= topic.partitions.len() {
            // Added by a call that failed all the same.
            topic.partitions.resize_with(number + 1, Partition::default);
        }
        &mut topic.partitions[number]
    }

    /// Some batches to some partitions, then the flushes that acknowledge them; some are never asked for.
    fn appends(&mut self, disk: &FaultyDisk, broker: &Broker) -> Result<(), Stop> {
        let mut open = Vec::new();
        for _ in 0..1 + self.random.below(5) {
            let Some((topic, number, log)) = self.any_log(broker) else {
                return self.changes_topics(disk, broker);
            };
            let id = self
                .random
                .pick(&[None, None, Some(producers::IDS[0]), Some(producers::IDS[1])]);
            let mut random = self.random.clone();
            let identity = id.map(|id| {
                let producers = &mut self.partition(&topic, number).producers;
                producers.entry(id).or_default().next(id, &mut random)
            });
            let (records, bytes) = batch(&mut random, identity);
            self.random = random;
            let header = BatchHeader::checked_from_client(&bytes).unwrap();
            // Written down first: what a call that fails leaves may be there afterwards.
            let base_offset = log.bounds().end();
            self.log.push(format!(
                "append {topic}-{number} at {base_offset}, {} bytes, producer {identity:?}",
                bytes.len()
            ));
            let mut stamped = bytes.clone();
            kafka_wire::batch::stamp(&mut stamped, base_offset, 0);
            let partition = self.partition(&topic, number);
            partition.written.entry(base_offset).or_default().push(stamped);
            let appended = log.append(&header, &bytes);
            let appended = self.allowed(disk, "append", appended)?;
            if appended.base_offset != base_offset {
                return Err(Stop::Violation(format!(
                    "{topic}-{number}: appended at {}",
                    appended.base_offset
                )));
            }
            let partition = self.partition(&topic, number);
            partition.appended(base_offset, records, &bytes);
            if let Some(id) = id {
                let producer = partition.producers.entry(id).or_default();
                producer.appended(&header, base_offset, &bytes);
            }
            open.push((
                topic,
                number,
                log,
                appended.await_flush,
                base_offset + i64::from(records),
            ));
        }
        for (topic, number, log, await_flush, end) in open {
            let Some(until) = await_flush.filter(|_| self.random.chance(80)) else {
                continue;
            };
            let flushed = log.await_flush(until);
            self.allowed(disk, "flush", flushed)?;
            self.log.push(format!("acknowledged {topic}-{number} up to {end}"));
            self.partition(&topic, number).promised(end);
        }
        Ok(())
    }

    /// A producer that did not hear of an acknowledgement sends a batch again: it is told where the first one is, when that is as safe as it was asked for.
    fn repeats(&mut self, disk: &FaultyDisk, broker: &Broker) -> Result<(), Stop> {
        let Some((topic, number, log)) = self.any_log(broker) else {
            return Ok(());
        };
        let id = self.random.pick(&producers::IDS);
        let mut random = self.random.clone();
        let producer = self.partition(&topic, number).producers.get(&id);
        let recent = producer.and_then(|producer| producer.any_recent(&mut random));
        self.random = random;
        let Some((base_offset, bytes)) = recent else {
            return Ok(());
        };
        self.log.push(format!(
            "producer {id} repeats the batch of {topic}-{number} at {base_offset}"
        ));
        let header = BatchHeader::checked_from_client(&bytes).unwrap();
        let end = log.bounds().end();
        let again = log.append(&header, &bytes);
        let again = self.allowed(disk, "repeat", again)?;
        if again.repeats_ms.is_none() || again.base_offset != base_offset || log.bounds().end() != end {
            let problem = format!("{topic}-{number}: the repeat was appended at {}", again.base_offset);
            return Err(Stop::Violation(problem));
        }
        if let Some(until) = again.await_flush {
            let flushed = log.await_flush(until);
            self.allowed(disk, "flush", flushed)?;
        }
        if self.every_batch {
            let end = base_offset + i64::from(header.records_count);
            self.log.push(format!("acknowledged {topic}-{number} up to {end}"));
            self.partition(&topic, number).promised(end);
        }
        Ok(())
    }

    fn flushes(&mut self, disk: &FaultyDisk, broker: &Broker) -> Result<(), Stop> {
        let Some((topic, number, log)) = self.any_log(broker) else {
            return Ok(());
        };
        self.log.push(format!("flush {topic}-{number}"));
        let flushed = log.flush();
        self.allowed(disk, "flush", flushed)?;
        let partition = self.partition(&topic, number);
        partition.promised(partition.end);
        Ok(())
    }

    fn deletes_records(&mut self, disk: &FaultyDisk, broker: &Broker) -> Result<(), Stop> {
        let Some((topic, number, log)) = self.any_log(broker) else {
            return Ok(());
        };
        let (start, end) = (log.bounds().start(), log.bounds().high_watermark());
        let offset = start + self.random.below((end - start + 1) as u64) as i64;
        self.log
            .push(format!("delete records of {topic}-{number} before {offset}"));
        let partition = self.partition(&topic, number);
        partition.start.1 = partition.start.1.max(offset);
        let moved = log.delete_before(offset);
        self.allowed(disk, "delete records", moved)?;
        let settled = broker.topics.settle_starts(&[log]);
        self.allowed(disk, "delete records", settled)?;
        self.partition(&topic, number).start.0 = offset;
        Ok(())
    }

    /// Retention at a time between the records' own: any of them may go, from the front.
    fn retains(&mut self, disk: &FaultyDisk, broker: &Broker) -> Result<(), Stop> {
        let now_ms = RETENTION_MS + 1_000_000 + self.random.below(100_000) as i64;
        self.log.push(format!("retention at {now_ms}"));
        self.partitions()
            .for_each(|partition| partition.start.1 = partition.end);
        let retained = broker.topics.retain(now_ms);
        self.allowed(disk, "retention", retained)?;
        for (name, topic) in &mut self.model.topics {
            let Some(found) = broker.topics.get(name) else {
                continue;
            };
            for (partition, log) in topic.partitions.iter_mut().zip(&found.partitions) {
                let start = log.bounds().start();
                // An earlier one may have failed before it was written down.
                let sure = if self.faulty { partition.start.0 } else { start };
                partition.start = (sure, start);
            }
        }
        Ok(())
    }

    fn changes_topics(&mut self, disk: &FaultyDisk, broker: &Broker) -> Result<(), Stop> {
        let name = self.random.pick(&TOPICS);
        let count = 1 + self.random.below(3) as usize;
        let text = |refusal: broker_under_test::topics::Refusal| refusal.message;
        let Some(topic) = self.model.topics.get_mut(name) else {
            self.log.push(format!("create {name} with {count} partitions"));
            let mut topic = TopicModel::new(count);
            topic.sure = false;
            self.model.topics.insert(name.to_owned(), topic);
            let created = broker.topics.create(name, count as i32, 1, Default::default());
            self.allowed(disk, "create", created.map_err(text))?;
            self.model.topics.get_mut(name).unwrap().sure = true;
            return Ok(());
        };
        if self.random.chance(40) {
            let count = topic.partitions.len() + count;
            self.log.push(format!("grow {name} to {count} partitions"));
            topic.partitions_max = count;
            let grown = broker.topics.grow(name, count as i32);
            self.allowed(disk, "grow", grown.map_err(text))?;
            let topic = self.model.topics.get_mut(name).unwrap();
            topic.partitions.resize_with(count, Partition::default);
            return Ok(());
        }
        self.log.push(format!("delete {name}"));
        topic.sure = false;
        let deleted = broker.topics.delete(name);
        self.allowed(disk, "delete", deleted.map_err(text))?;
        self.model.topics.remove(name);
        Ok(())
    }

    fn gives_producer_id(&mut self, disk: &FaultyDisk, broker: &Broker) -> Result<(), Stop> {
        let given = broker.next_producer_id();
        let id = self.allowed(disk, "producer id", given)?;
        if id < self.model.next_producer_id {
            return Err(Stop::Violation(format!("producer id {id} was given out before")));
        }
        self.model.next_producer_id = id + 1;
        Ok(())
    }

    /// From here on something fails once, and nobody is told beforehand.
    fn breaks(&mut self, disk: &FaultyDisk) {
        let what = self.random.pick(&[
            FaultKind::FailFlush,
            FaultKind::FailFlush,
            FaultKind::FailWrite,
            FaultKind::Full { room_bytes: 700 },
        ]);
        self.log.push(format!("{what:?}"));
        let nth = 1 + self.random.below(10);
        disk.arm(fault(what, "", nth, Some(1)));
        self.faulty = true;
    }

    /// What a log says to be on the device must be there.
    fn recovery_points(&mut self, broker: &Broker) {
        for (name, topic) in &mut self.model.topics {
            let Some(found) = broker.topics.get(name) else {
                continue;
            };
            for (partition, log) in topic.partitions.iter_mut().zip(&found.partitions) {
                partition.promised(log.recovery_point().min(partition.end));
            }
        }
    }
}
