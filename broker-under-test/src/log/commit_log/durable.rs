//! How the shared log gets to the device: flushes that serve all partitions, and checkpoints.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::super::{AppendError, LogError, io};
use super::checkpoint::Checkpoint;
use super::producers;
use super::segments::Segment;
use super::shared::{Appender, CommitLog, Due, Partition, lock};

impl CommitLog {
    /// Returns when everything below `until` is on the device and readers may see it.
    pub(super) fn await_flush(&self, until: u64) -> Result<(), AppendError> {
        let flushed = self.commit.wait(until, || self.flush_written());
        if flushed.is_err() {
            self.take_offline();
        }
        flushed
    }

    /// Flushes everything that was appended.
    pub fn flush(&self) -> Result<(), LogError> {
        let end = lock(&self.appender).end;
        self.flush_until(end)
    }

    /// Flushes what was appended in front of `position`.
    ///
    /// # Errors
    /// A write or a flush failed, now or earlier. That is not forgotten after it was told: whoever flushes relies on it, a clean stop above all.
    pub(super) fn flush_until(&self, position: u64) -> Result<(), LogError> {
        if self.is_offline() {
            return Err(LogError::Offline(self.dir.clone()));
        }
        self.await_flush(position).map_err(|error| error.of_flush(&self.dir))
    }

    /// Flushes what was written when this began, lets readers of all partitions in it see it, and answers how far that is.
    fn flush_written(&self) -> Result<u64, LogError> {
        let (segments, end, partitions) = {
            let mut appender = lock(&self.appender);
            let unflushed = std::mem::take(&mut appender.unflushed).into_iter();
            let with_end = |partition: Arc<Partition>| {
                partition.is_unflushed.store(false, Ordering::Relaxed);
                let end = partition.bounds.end();
                (partition, end)
            };
            let partitions: Vec<_> = unflushed.map(with_end).collect();
            (self.segments.all(), appender.end, partitions)
        };
        for segment in segments.iter().filter(|segment| !segment.is_flushed()) {
            segment.flush(self.counters())?;
        }
        for (partition, end) in partitions {
            partition.durable.fetch_max(end, Ordering::AcqRel);
            partition.bounds.raise_high_watermark(end, || {});
        }
        Ok(end)
    }

    /// What a checkpoint says once everything that was appended is on the device.
    pub(super) fn snapshot(&self, appender: &Appender) -> Due {
        let mark = |p: &Arc<Partition>| (p.key(), p.queue.mark(p.bounds.end()));
        let segment = |s: &Arc<Segment>| (s.base, s.time_max.load(Ordering::Relaxed));
        let partitions = self.all_partitions();
        let checkpoint = Checkpoint {
            position: appender.end,
            format: self.options.queues,
            segments: self.segments.all().iter().map(segment).collect(),
            queues: partitions.iter().map(mark).collect(),
        };
        Due {
            checkpoint,
            producers: producers::body(&partitions),
        }
    }

    /// Writes the checkpoint that is due since a segment was rolled, if one is.
    pub fn checkpoint_if_due(&self) -> Result<(), LogError> {
        let _one = lock(&self.checkpointing);
        let due = lock(&self.appender).due.take();
        due.map_or(Ok(()), |due| self.write_checkpoint(&due))
    }

    /// Flushes log and queues and writes a checkpoint behind which there is nothing; for a clean stop.
    pub fn checkpoint(&self) -> Result<(), LogError> {
        let _one = lock(&self.checkpointing);
        self.checkpoint_locked()
    }

    /// As [`Self::checkpoint`], while `checkpointing` is held.
    pub(super) fn checkpoint_locked(&self) -> Result<(), LogError> {
        let due = {
            let mut appender = lock(&self.appender);
            appender.due = None;
            self.snapshot(&appender)
        };
        self.write_checkpoint(&due)
    }

    fn write_checkpoint(&self, Due { checkpoint, producers }: &Due) -> Result<(), LogError> {
        self.flush_until(checkpoint.position)?;
        // After a flush of a queue that failed, no checkpoint may speak for what was written down of it.
        self.sync_queues().inspect_err(|_| self.take_offline())?;
        // In front of the checkpoint, as frames in front of that are not looked at any more.
        self.save_producers(checkpoint.position, producers)?;
        checkpoint.write(self.files.storage().as_ref(), &self.dir)
    }

    fn sync_queues(&self) -> Result<(), LogError> {
        let mut names_changed = false;
        for partition in self.all_partitions() {
            names_changed |= partition.queue.sync()?;
        }
        if names_changed {
            let flushed = self.files.storage().sync_dir(&self.queues_dir);
            flushed.map_err(io("flush", &self.queues_dir))?;
        }
        Ok(())
    }
}
