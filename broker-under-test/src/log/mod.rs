//! The partition log on disk, as Kafka lays it out: a folder per partition, segments `.log`, sparse `.index` and `.timeindex` named
//! by their 20-digit base offset, rolled by size.
//!
//! Stored bytes are the bytes that came, but for base offset and leader epoch in each batch header. Compaction
//! takes records out of closed segments.

mod bounds;
pub mod commit_log;
mod compaction;
mod file;
mod group_commit;
mod index;
mod indexes;
mod lookup;
mod null;
mod open;
mod open_files;
mod partition;
mod producers;
mod producers_of_partition;
mod recover;
mod retention;
mod segment;
pub(crate) mod state;

pub use bounds::Bounds;
pub use commit_log::CommitLog;
pub use compaction::Compaction;
pub use file::{LogFile, LogSlice};
pub use group_commit::GroupCommit;
pub use null::NullLog;
pub use open_files::{FileHandle, OpenFiles};
pub use partition::{Limits, OpenMode, PartitionLog};
pub use producers::{Producers, SequenceError};
pub use segment::Segment;
pub use state::LogState;

use std::fmt;
use std::path::{Path, PathBuf};

use kafka_wire::BatchHeader;

/// The log of one partition, whichever layout stores it. Appends are serialised; reads go on beside them.
pub trait Log: fmt::Debug + Send + Sync {
    /// Offsets, and who waits for them to move.
    fn bounds(&self) -> &Bounds;

    /// The leader epoch that is stamped into batches.
    fn leader_epoch(&self) -> i32;

    /// Whether what is appended is kept, so that it has to be checked.
    fn is_stored(&self) -> bool {
        true
    }

    /// Appends one batch that was checked already, if it is stored; one that an idempotent producer repeats is answered as the first one was, and not appended. It may be
    /// acknowledged when [`Log::await_flush`] says so.
    ///
    /// # Errors
    /// [`AppendError::Sequence`] when a batch of an idempotent producer does not follow its last one; otherwise the file system's.
    fn append(&self, header: &BatchHeader, batch: &[u8]) -> Result<Appended, AppendError>;

    /// Returns when a flush covers what was appended up to `until` and readers may see it; one flush serves all that wait.
    ///
    /// # Errors
    /// The flush failed: the log is offline from then on, as nobody knows what is on the device.
    fn await_flush(&self, until: u64) -> Result<(), AppendError>;

    /// Batches from the one that holds `offset` on, up to `bytes_max` in sum. A first batch that is larger comes whole when `whole_first`, and not
    /// at all otherwise.
    ///
    /// # Errors
    /// [`ReadError::OutOfRange`] outside of `[start, high watermark]`.
    fn read(&self, offset: i64, bytes_max: usize, whole_first: bool) -> Result<Found, ReadError>;

    /// Offset and time of the first record at or after `timestamp_ms`.
    fn find_time(&self, timestamp_ms: i64) -> Result<Option<(i64, i64)>, LogError>;

    /// Offset and time of the first record that has the greatest timestamp.
    fn max_time(&self) -> Result<Option<(i64, i64)>, LogError>;

    /// DeleteRecords: moves the log's start up to `offset`. Answers the start.
    ///
    /// # Errors
    /// [`ReadError::OutOfRange`] behind the high watermark.
    fn delete_before(&self, offset: i64) -> Result<i64, ReadError>;

    /// Removes what is wholly below the start, if the layout can. The start must be on the device by then: after a power cut any subset of the
    /// removed files may be back, and only the start tells them from a log with holes.
    fn remove_deleted(&self) -> Result<(), LogError>;

    /// Everything below this offset is on the device; what indexes say of it, too, when this returns.
    fn recovery_point(&self) -> i64;

    /// Flushes what was appended to the device.
    fn flush(&self) -> Result<(), LogError>;

    /// What a clean stop writes down, so that the next start need not look; `None` when the layout keeps it elsewhere. Indexes are completed.
    fn state(&self) -> Result<Option<LogState>, LogError> {
        Ok(None)
    }

    /// Moves the start behind what retention lets go of at that time (milliseconds since 1970); answers whether it moved.
    fn retain(&self, _now_ms: i64) -> Result<bool, LogError> {
        Ok(false)
    }

    /// Compacts the log when enough of it is dirty: what lies behind `dirty_from`. Answers up to where it is clean, if anything was done.
    fn compact(&self, _dirty_from: i64, _now_ms: i64) -> Result<Option<i64>, LogError> {
        Ok(None)
    }

    /// Writes down what is known of idempotent producers, so that a recovery need not read what lies in front; flushes what that tells of. A layout that does
    /// it elsewhere does nothing here.
    fn save_producers(&self) -> Result<(), LogError> {
        Ok(())
    }

    /// Forgets idempotent producers that appended nothing for so long, at that time (milliseconds since 1970); answers how many.
    fn expire_producers(&self, now_ms: i64, expiration_ms: i64) -> usize;

    /// Idempotent producers that are known.
    fn producers(&self) -> usize;

    /// Removes the log and its files. Readers that still hold one can finish.
    fn remove(&self) -> Result<(), LogError>;
}

/// What an append did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Offset of the batch's first record.
    pub base_offset: i64,
    /// What to give to [`Log::await_flush`] in front of the acknowledgement; `None` when the flush policy asks for none.
    pub await_flush: Option<u64>,
    /// Greatest timestamp of the batch that this one repeats, milliseconds since 1970; `None` when it was appended.
    pub repeats_ms: Option<i64>,
}

/// When appended bytes are flushed to the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlushPolicy {
    /// When a segment is rolled, and at a clean stop.
    Never,
    /// In the background, every so often.
    Interval,
    /// In front of every acknowledgement.
    EveryBatch,
}

impl FlushPolicy {
    /// All policies with their names in `flush.policy`.
    pub const ALL: [(FlushPolicy, &'static str); 3] = [
        (FlushPolicy::Never, "never"),
        (FlushPolicy::Interval, "interval"),
        (FlushPolicy::EveryBatch, "every-batch"),
    ];
}

/// What a read found.
#[derive(Debug, Clone)]
pub struct Found {
    /// Runs of whole batches in the order of their offsets (the last one may be cut by the size limit, as in Kafka).
    pub slices: Vec<LogSlice>,
    /// Why there is no more.
    pub end: ReadEnd,
}

/// Where a read ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadEnd {
    /// At the size limit, or a little in front of it where a batch ends.
    Limit,
    /// At the end of a file that nothing is added to: the next read goes on in another one.
    Boundary,
    /// At the high watermark: waiting may bring more.
    Log,
}

impl Found {
    /// Record bytes of all runs.
    pub fn bytes(&self) -> usize {
        self.slices.iter().map(|slice| slice.bytes).sum()
    }
}

/// Why an append failed.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The file system's answer.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A write failed earlier; what is on disk is not known any more.
    #[error("the partition is offline after a failed write")]
    Offline,
    /// A batch of an idempotent producer that does not follow its last one.
    #[error(transparent)]
    Sequence(#[from] SequenceError),
}

impl AppendError {
    /// For a flush of the log in `dir`. That it is offline is not forgotten after it was told: whoever flushes relies on it, a clean stop above all.
    fn of_flush(self, dir: &Path) -> LogError {
        match self {
            AppendError::Log(error) => error,
            AppendError::Offline | AppendError::Sequence(_) => LogError::Offline(dir.to_owned()),
        }
    }
}

/// Why a read failed.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Below the log's start or behind its end.
    #[error("offset {offset} is outside of [{start}, {end}]")]
    OutOfRange {
        /// Asked for.
        offset: i64,
        /// Log start offset.
        start: i64,
        /// High watermark.
        end: i64,
    },
    /// The file system's answer.
    #[error(transparent)]
    Log(#[from] LogError),
}

/// What can go wrong when a log is opened or written.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// An operation of the file system failed.
    #[error("{what} {}: {source}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A write or a flush failed earlier; what is on the device is not known.
    #[error("{}: offline since a write or a flush failed; restart the broker when the cause is mended", .0.display())]
    Offline(PathBuf),
    /// A damaged segment that is read-only, or that a clean stop left: no crash did that, so the broker does not repair it.
    #[error("{} is damaged at byte {position} and was not repaired, as it is read-only or was closed well: {problem}", path.display())]
    Damaged {
        /// The segment.
        path: PathBuf,
        /// Where.
        position: u64,
        /// What is wrong.
        problem: String,
    },
    /// The folder of a partition that held records is not there.
    #[error("{} is gone, and held records up to offset {end}: bring it back, or begin anew by taking the partition's line out of recovery-point-offset-checkpoint", path.display())]
    Vanished {
        /// The folder.
        path: PathBuf,
        /// Offset behind the last record that was flushed.
        end: i64,
    },
    /// Segments that leave a hole between them.
    #[error("{}: offsets {expected} to {found} are missing in front of this segment", path.display())]
    Hole {
        /// The segment behind the hole.
        path: PathBuf,
        /// First missing offset.
        expected: i64,
        /// Base offset of the segment.
        found: i64,
    },
}

/// Maps an I/O error to the file and the operation.
pub(crate) fn io(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> LogError {
    let path = path.into();
    move |source| LogError::Io { what, path, source }
}
