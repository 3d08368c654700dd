//! What a clean stop writes down of every log, so that the next start need not look: segments with their sizes, the end, the latest record.
//!
//! One file per data folder, replaced as a whole. It is believed together with the clean-shutdown marker only, and of a log only as long as its
//! segments have the sizes that are written here. Where indexes are read, after a crash too, they must hold as many entries as were counted here;
//! if not, something of them was lost on the way to the device, and they are made again.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{LogError, io};
use crate::storage::Storage;

/// The file in the data folder.
const FILE: &str = "log-state.json";

/// All logs of a folder, by the names of theirs.
pub type LogStates = BTreeMap<String, LogState>;

/// One log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogState {
    /// Offset behind the last record.
    pub end_offset: i64,
    /// By base offset; the last one is the active one.
    pub segments: Vec<SegmentState>,
    /// Idempotent producers in the snapshot beside them; nobody looks for one when there are none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub producers: usize,
}

fn is_zero(n: &usize) -> bool {
    *n == 0
}

/// One segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SegmentState {
    /// Its name.
    pub base_offset: i64,
    /// Length of the log file.
    pub bytes: u64,
    /// Absent when nobody needed to know.
    pub index: Option<IndexState>,
}

/// The indexes of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IndexState {
    /// Entries of the offset index.
    pub places: usize,
    /// Entries of the time index.
    pub moments: usize,
    /// The latest timestamp in the segment; absent when it is empty.
    pub latest_ms: Option<i64>,
}

/// Reads the file; a missing or damaged one knows nothing.
pub fn read(storage: &dyn Storage, dir: &Path) -> Result<LogStates, LogError> {
    let path = dir.join(FILE);
    let raw = match storage.read(&path) {
        Ok(raw) => raw,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(LogStates::new()),
        Err(e) => return Err(io("read", path)(e)),
    };
    Ok(serde_json::from_slice(&raw).unwrap_or_else(|error| {
        tracing::warn!(file = %path.display(), %error, "damaged, ignored: every log is looked at");
        LogStates::new()
    }))
}

/// Replaces the file.
pub fn write(storage: &dyn Storage, dir: &Path, states: &LogStates) -> Result<(), LogError> {
    let path = dir.join(FILE);
    let raw = serde_json::to_vec(states).map_err(|error| io("write", &path)(error.into()))?;
    storage.replace(&path, &raw).map_err(io("replace", path))
}
