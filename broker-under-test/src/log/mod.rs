//! The partition log on disk, as Kafka lays it out: a folder per partition, segments `.log` and sparse `.index` named
//! by their 20-digit base offset, rolled by size.
//!
//! Stored bytes are the bytes that came, but for base offset and leader epoch in each batch header. What is not here
//! yet: time index, retention, compaction.

mod index;
mod partition;
mod segment;

pub use partition::{AppendError, Limits, OpenMode, PartitionLog, ReadError};
pub use segment::{LogSlice, Segment};

use std::path::PathBuf;

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
    /// A read-only segment that is damaged; the broker does not repair what it may not write.
    #[error("{} is read-only and damaged at byte {position}: {problem}", path.display())]
    Damaged {
        /// The segment.
        path: PathBuf,
        /// Where.
        position: u64,
        /// What is wrong.
        problem: String,
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
