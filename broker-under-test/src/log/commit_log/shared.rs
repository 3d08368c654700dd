//! The shared log: its partitions, and appends to it.

use std::collections::BTreeMap;
use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use kafka_wire::BatchHeader;
use uuid::Uuid;

use super::super::producers::Producers;
use super::super::{AppendError, Appended, Bounds, FlushPolicy, GroupCommit, Limits, Log, LogError, OpenFiles, io};
use super::checkpoint::{Checkpoint, Key};
use super::entry::EntryKind;
use super::frame::{FRAME_BYTES, Frame, STAMPED_BYTES};
use super::partition::CommitLogPartition;
use super::queue::{Format, Mark, Queue, Stored};
use super::segments::{Segment, Segments};
use crate::counters::{Counter, Counters};

/// Entries in a file of a queue: 8 MiB of them with an entry per batch, 5 MiB with one per record (RocketMQ's has 300,000).
const ENTRIES_PER_FILE: u64 = 1 << 18;

/// How the shared log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Size of segments, flushes, preallocation.
    pub limits: Limits,
    /// What consume queues have an entry for, and how many entries their files hold.
    pub queues: Format,
}

impl Options {
    /// With queue files of the usual size.
    pub fn new(limits: Limits, kind: EntryKind) -> Self {
        Options {
            limits,
            queues: Format {
                kind,
                entries_per_file: ENTRIES_PER_FILE,
            },
        }
    }
}

/// A partition that the shared log has to serve.
#[derive(Debug, Clone)]
pub struct Known {
    /// Id of its topic.
    pub topic: Uuid,
    /// Name of its topic.
    pub name: String,
    /// Its number.
    pub partition: i32,
    /// Where it began when that was last written down; 0 when it never was.
    pub start_offset: i64,
}

/// The log that all partitions share.
#[derive(Debug)]
pub struct CommitLog {
    pub(super) files: Arc<OpenFiles>,
    /// Of the segments.
    pub(super) dir: PathBuf,
    /// Of the queues.
    pub(super) queues_dir: PathBuf,
    pub(super) options: Options,
    pub(super) segments: Segments,
    pub(super) appender: Mutex<Appender>,
    /// In positions.
    pub(super) commit: GroupCommit,
    offline: AtomicBool,
    pub(super) partitions: RwLock<BTreeMap<Key, Arc<Partition>>>,
    /// Held while a checkpoint is written.
    pub(super) checkpointing: Mutex<()>,
    /// There is a snapshot of producers, which has to be kept up to date from then on.
    pub(super) has_producers_file: AtomicBool,
}

#[derive(Debug)]
pub(super) struct Appender {
    /// Position behind the last frame.
    pub end: u64,
    /// Partitions with batches that no flush covered.
    pub unflushed: Vec<Arc<Partition>>,
    /// What a checkpoint may say once everything in front of it was flushed: a segment was rolled there.
    pub due: Option<Due>,
    /// A roll began and was not finished: the active segment takes nothing more.
    pub must_roll: bool,
}

/// What is written down once everything in front of it was flushed.
#[derive(Debug)]
pub(super) struct Due {
    pub checkpoint: Checkpoint,
    /// The idempotent producers of all partitions, as a snapshot holds them.
    pub producers: Vec<u8>,
}

/// How far recovery came.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reached {
    /// Position behind the last frame.
    pub end: u64,
    /// Everything in front of it was on the device.
    pub flushed: u64,
    /// There is a snapshot of producers.
    pub has_producers_file: bool,
}

/// A partition in the shared log.
#[derive(Debug)]
pub(super) struct Partition {
    pub topic: Uuid,
    pub number: i32,
    pub bounds: Bounds,
    pub queue: Queue,
    /// Everything below this offset is on the device.
    pub durable: AtomicI64,
    /// It is among those that a flush must tell.
    pub is_unflushed: AtomicBool,
    pub removed: AtomicBool,
    /// Changed under the lock of the appender only.
    pub producers: Mutex<Producers>,
}

impl Partition {
    pub fn new(key: Key, queue: Queue, start: i64, end: i64, producers: Producers) -> Self {
        Partition {
            topic: key.0,
            number: key.1,
            bounds: Bounds::new(start, end),
            queue,
            durable: AtomicI64::new(end),
            is_unflushed: AtomicBool::new(false),
            removed: AtomicBool::new(false),
            producers: Mutex::new(producers),
        }
    }

    pub fn key(&self) -> Key {
        (self.topic, self.number)
    }
}

impl CommitLog {
    pub(super) fn counters(&self) -> &Counters {
        self.files.counters()
    }

    pub(super) fn queue_dir(&self, name: &str, partition: i32) -> PathBuf {
        self.queues_dir.join(format!("{name}-{partition}"))
    }

    /// The log of a partition that is there.
    pub fn partition(self: &Arc<Self>, topic: Uuid, partition: i32) -> Option<Arc<dyn Log>> {
        let partitions = self.partitions.read().unwrap_or_else(PoisonError::into_inner);
        let partition = partitions.get(&(topic, partition))?.clone();
        Some(Arc::new(CommitLogPartition::new(self.clone(), partition)))
    }

    /// A new partition. What an interrupted creation left in the folder of its queue is removed.
    pub fn create(self: &Arc<Self>, topic: Uuid, name: &str, partition: i32) -> Result<Arc<dyn Log>, LogError> {
        let dir = self.queue_dir(name, partition);
        match self.files.storage().remove_dir(&dir) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(io("remove", dir)(e)),
            _ => {}
        }
        let queue = empty_queue(&self.files, dir, self.options.queues)?;
        let partition = Arc::new(Partition::new((topic, partition), queue, 0, 0, self.no_producers()));
        let mut partitions = self.partitions.write().unwrap_or_else(PoisonError::into_inner);
        partitions.insert(partition.key(), partition.clone());
        drop(partitions);
        Ok(Arc::new(CommitLogPartition::new(self.clone(), partition)))
    }

    pub(super) fn remove(&self, partition: &Partition) -> Result<(), LogError> {
        partition.removed.store(true, Ordering::Release);
        let mut partitions = self.partitions.write().unwrap_or_else(PoisonError::into_inner);
        partitions.remove(&partition.key());
        drop(partitions);
        partition.queue.remove()
    }

    pub(super) fn append(
        &self,
        partition: &Arc<Partition>,
        header: &BatchHeader,
        batch: &[u8],
        leader_epoch: i32,
    ) -> Result<Appended, AppendError> {
        let durable_first = self.options.limits.flush == FlushPolicy::EveryBatch;
        let mut appender = lock(&self.appender);
        if self.is_offline() || partition.removed.load(Ordering::Acquire) {
            return Err(AppendError::Offline);
        }
        if header.has_producer()
            && let Some(original) = lock(&partition.producers).check(header)?
        {
            return Ok(self.repeated(partition, &original, appender.end));
        }
        let framed = (FRAME_BYTES + batch.len()) as u64;
        let mut active = self.segments.active();
        let is_full = active.bytes() > 0 && active.bytes() + framed > self.options.limits.segment_bytes;
        if appender.must_roll || is_full {
            active = self.roll(&mut appender)?;
        }
        let base_offset = partition.bounds.end();
        let mut stamped = [0u8; STAMPED_BYTES];
        stamped.copy_from_slice(&batch[..STAMPED_BYTES]);
        stamped[..8].copy_from_slice(&base_offset.to_be_bytes());
        stamped[12..].copy_from_slice(&leader_epoch.to_be_bytes());
        let frame = Frame {
            topic: partition.topic,
            partition: partition.number,
            batch_bytes: batch.len() as u32,
        };
        let front = frame.encode(appender.end, &stamped);
        let mut parts = [IoSlice::new(&front), IoSlice::new(&batch[STAMPED_BYTES..])];
        if let Err(error) = active.append(&mut parts, self.options.limits.flush, self.counters()) {
            // Nothing was acknowledged on top: with the rest of it cut off, the next append may go on, when there is room again for example.
            active.cut_unwritten().inspect_err(|_| self.take_offline())?;
            return Err(error.into());
        }
        active.file.publish(active.bytes() + framed);
        active.time_max.fetch_max(header.max_timestamp, Ordering::Relaxed);
        let end = base_offset + i64::from(header.records_count);
        let group_is_full = partition.queue.push(&Stored {
            position: appender.end + FRAME_BYTES as u64,
            bytes: batch.len() as u32,
            offset: base_offset,
            end_offset: end,
            time_max: header.max_timestamp,
        });
        partition.bounds.set_end(end);
        if header.has_producer() {
            lock(&partition.producers).record(header, base_offset);
        }
        appender.end += framed;
        if !partition.is_unflushed.swap(true, Ordering::Relaxed) {
            appender.unflushed.push(partition.clone());
        }
        let until = appender.end;
        drop(appender);
        self.counters().add(Counter::AppendBatches, 1);
        self.counters().add(Counter::AppendBytes, batch.len() as u64);
        if group_is_full && let Err(error) = partition.queue.write() {
            // The batch is in the log, which is what counts; but nothing more may wait in memory.
            tracing::error!(%error, "a consume queue can't be written, the log is offline");
            self.take_offline();
        }
        if !durable_first {
            partition.bounds.raise_high_watermark(end, || {});
        }
        Ok(Appended {
            base_offset,
            await_flush: durable_first.then_some(until),
            repeats_ms: None,
        })
    }

    /// Begins a segment. The one before is flushed by the next flush that somebody waits for, or by the next checkpoint.
    pub(super) fn roll(&self, appender: &mut Appender) -> Result<Arc<Segment>, LogError> {
        // A file of the next one's name may be there from now on, so that nothing more may be added to the one in front of it.
        appender.must_roll = true;
        let fresh = Segment::create(&self.files, &self.dir, appender.end, self.options.limits)?;
        appender.must_roll = false;
        let fresh = Arc::new(fresh);
        self.segments.push(fresh.clone());
        appender.due = Some(self.snapshot(appender));
        tracing::info!(folder = %self.dir.display(), position = appender.end, "rolled a segment");
        Ok(fresh)
    }

    pub(super) fn take_offline(&self) {
        self.offline.store(true, Ordering::Release);
    }

    pub(super) fn is_offline(&self) -> bool {
        self.offline.load(Ordering::Acquire)
    }

    pub(super) fn all_partitions(&self) -> Vec<Arc<Partition>> {
        let partitions = self.partitions.read().unwrap_or_else(PoisonError::into_inner);
        partitions.values().cloned().collect()
    }

    /// For a log that recovery has put together.
    pub(super) fn assemble(
        files: &Arc<OpenFiles>,
        data_dir: &Path,
        options: Options,
        segments: Vec<Arc<Segment>>,
        partitions: BTreeMap<Key, Arc<Partition>>,
        reached: Reached,
    ) -> Self {
        let Reached {
            end,
            flushed,
            has_producers_file,
        } = reached;
        CommitLog {
            files: files.clone(),
            dir: super::recovery::log_dir(data_dir),
            queues_dir: super::recovery::queues_dir(data_dir),
            options,
            segments: Segments::new(segments),
            appender: Mutex::new(Appender {
                end,
                unflushed: Vec::new(),
                due: None,
                must_roll: false,
            }),
            commit: GroupCommit::new(flushed),
            offline: AtomicBool::new(false),
            partitions: RwLock::new(partitions),
            checkpointing: Mutex::default(),
            has_producers_file: AtomicBool::new(has_producers_file),
        }
    }
}

/// The queue of a partition that nothing was appended to.
pub(super) fn empty_queue(files: &Arc<OpenFiles>, dir: PathBuf, format: Format) -> Result<Queue, LogError> {
    let queue = Queue::open(files, dir, format, Mark::EMPTY)?;
    Ok(queue.expect("an empty queue lacks nothing"))
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
