//! How a partition log keeps what it knows of idempotent producers: in memory beside the appender, and in a snapshot.
//!
//! A recovery reads every batch behind the recovery point, so a snapshot is needed only for what lies in front of it. The point therefore never passes the
//! first batch of an idempotent producer that no snapshot tells of, and a log without such producers never writes one. A snapshot tells only of batches
//! that were flushed: what a power cut took must not pass for a repeat when it is sent again.

use std::sync::{PoisonError, TryLockError};

use super::partition::{Appender, PartitionLog, lock};
use super::producers::{self, Original};
use super::{Appended, FlushPolicy, Log, LogError, io};
use crate::counters::Counter;

impl PartitionLog {
    /// The answer to a batch that was appended already. The first one may still wait for its flush, and then this one waits for the same.
    pub(super) fn repeated(&self, original: &Original) -> Appended {
        self.files.counters().add(Counter::RepeatedBatches, 1);
        let is_visible = original.end_offset <= self.bounds.high_watermark();
        let must_wait = self.limits.flush == FlushPolicy::EveryBatch && !is_visible;
        Appended {
            base_offset: original.base_offset,
            await_flush: must_wait.then_some(original.end_offset as u64),
            repeats_ms: Some(original.max_timestamp),
        }
    }

    /// Writes a snapshot if there is something to tell.
    pub(super) fn save_unsaved_producers(&self) -> Result<(), LogError> {
        let _one = lock(&self.saving);
        let (body, end, recorded) = {
            let appender = lock(&self.appender);
            if appender.unsaved_from.is_none() {
                return Ok(());
            }
            (body(&appender), self.bounds.end(), appender.producers.recorded())
        };
        self.flush()?;
        self.write_producers(end, &body)?;
        let mut appender = lock(&self.appender);
        let is_all = appender.producers.recorded() == recorded;
        appender.unsaved_from = (!is_all).then_some(end);
        Ok(())
    }

    /// As [`Self::save_unsaved_producers`], when everything below `end` was just flushed and nothing can be appended. If it can't be done now, the recovery
    /// point stays where it is.
    pub(super) fn save_producers_at(&self, appender: &mut Appender, end: i64) {
        if appender.unsaved_from.is_none() {
            return;
        }
        let _one = match self.saving.try_lock() {
            Ok(guard) => guard,
            Err(TryLockError::Poisoned(poisoned)) => PoisonError::into_inner(poisoned),
            // Whoever holds it may want the appender, too.
            Err(TryLockError::WouldBlock) => return,
        };
        match self.write_producers(end, &body(appender)) {
            Ok(()) => appender.unsaved_from = None,
            Err(error) => tracing::error!(%error, "the producers are written down later"),
        }
    }

    fn write_producers(&self, end: i64, body: &[u8]) -> Result<(), LogError> {
        let path = self.dir.join(producers::FILE);
        let sealed = producers::seal(end as u64, body);
        let written = self.files.storage().replace(&path, &sealed);
        written.map_err(io("replace", path))
    }
}

fn body(appender: &Appender) -> Vec<u8> {
    let mut body = Vec::new();
    appender.producers.put(&mut body);
    body
}
