//! The sparse offset index of a segment: pairs of u32, offset relative to the segment's base and byte position.
//!
//! An entry names the **base** offset of a batch and where it begins. Kafka's own entries name the batch's last offset;
//! a reader that takes the greatest entry at or below its target and scans on from there works with both. The base
//! offset is worth more here: the end of one fetch is cut at an entry, so the next fetch finds its start without a
//! system call.
//!
//! A damaged file is noticed when its entries do not rise or its first or last one names no batch, as in Kafka; an entry in
//! between that is wrong is not. It leads readers astray, whose checks of the CRC tell, until the file is deleted.
//!
//! Entries live in memory and reach the file in groups: a crash loses some, and recovery makes them again from the log.

use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::{LogError, io};
use crate::storage::{Storage, StoredFile};

/// Bytes of an entry on disk.
const ENTRY_BYTES: usize = 8;
/// Entries that wait in memory before they are written together.
const GROUP: usize = 64;

/// One entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Base offset of the batch, relative to the segment's.
    pub relative_offset: u32,
    /// Where the batch begins in the segment.
    pub position: u32,
}

/// The index of one segment.
#[derive(Debug)]
pub struct OffsetIndex {
    storage: Arc<dyn Storage>,
    path: PathBuf,
    state: RwLock<State>,
}

#[derive(Debug, Default)]
struct State {
    entries: Vec<Entry>,
    written: usize,
    /// What the file holds beyond `written` is damaged and goes with the next write.
    replace_file: bool,
}

impl OffsetIndex {
    /// An index without entries; the file appears with the first group.
    pub fn empty(storage: &Arc<dyn Storage>, path: &Path) -> Self {
        OffsetIndex {
            storage: storage.clone(),
            path: path.to_owned(),
            state: RwLock::default(),
        }
    }

    /// An index without entries in the place of a file whose content is of no use; the next write replaces it.
    pub fn ignoring(storage: &Arc<dyn Storage>, path: &Path) -> Self {
        let index = Self::empty(storage, path);
        index.write_lock().replace_file = true;
        index
    }

    /// Reads the file and keeps the entries in front of `log_bytes` that rise; a missing file is an empty index.
    /// What is damaged is dropped: the log is the truth, and look-ups scan on from the last good entry.
    pub fn load(storage: &Arc<dyn Storage>, path: &Path, log_bytes: u64) -> Result<Self, LogError> {
        let raw = match storage.read(path) {
            Ok(raw) => raw,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(e) => return Err(io("read", path)(e)),
        };
        let mut entries: Vec<Entry> = Vec::with_capacity(raw.len() / ENTRY_BYTES);
        let mut replace_file = raw.len() % ENTRY_BYTES != 0;
        for pair in raw.chunks_exact(ENTRY_BYTES) {
            let half = |i: usize| u32::from_be_bytes([pair[i], pair[i + 1], pair[i + 2], pair[i + 3]]);
            let entry = Entry {
                relative_offset: half(0),
                position: half(4),
            };
            let rises = entries
                .last()
                .is_none_or(|last| entry.relative_offset > last.relative_offset && entry.position > last.position);
            if !rises || u64::from(entry.position) >= log_bytes {
                tracing::warn!(index = %path.display(), good = entries.len(), "index entry out of order, dropped with what follows");
                replace_file = true;
                break;
            }
            entries.push(entry);
        }
        let written = entries.len();
        Ok(OffsetIndex {
            storage: storage.clone(),
            path: path.to_owned(),
            state: RwLock::new(State {
                entries,
                written,
                replace_file,
            }),
        })
    }

    /// Appends an entry; answers how many are waiting to be written when a group is full.
    pub fn push(&self, entry: Entry) -> bool {
        let mut state = self.write_lock();
        state.entries.push(entry);
        state.entries.len() - state.written >= GROUP
    }

    /// Writes the waiting entries. Answers whether there were any.
    pub fn flush(&self) -> Result<bool, LogError> {
        let mut state = self.write_lock();
        if state.written == state.entries.len() {
            return Ok(false);
        }
        let mut raw = Vec::with_capacity((state.entries.len() - state.written) * ENTRY_BYTES);
        for entry in &state.entries[state.written..] {
            raw.extend(entry.relative_offset.to_be_bytes());
            raw.extend(entry.position.to_be_bytes());
        }
        let start_bytes = (state.written * ENTRY_BYTES) as u64;
        let written = self.file().and_then(|file| {
            if state.replace_file {
                file.set_len(start_bytes)?;
            }
            file.write_all_at(&mut [IoSlice::new(&raw)], start_bytes)
        });
        written.map_err(io("write", &self.path))?;
        state.written = state.entries.len();
        state.replace_file = false;
        Ok(true)
    }

    /// The file, made when it is not there.
    fn file(&self) -> std::io::Result<Arc<dyn StoredFile>> {
        match self.storage.open(&self.path, true) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => self.storage.create(&self.path),
            other => other,
        }
    }

    /// Forgets the entries at or behind `position`, on disk too; for recovery.
    pub fn truncate(&self, position: u64) -> Result<(), LogError> {
        let mut state = self.write_lock();
        let keep = state.entries.partition_point(|e| u64::from(e.position) < position);
        state.entries.truncate(keep);
        if state.written > keep || self.storage.info(&self.path).is_ok() {
            state.written = state.written.min(keep);
            let cut = self
                .file()
                .and_then(|file| file.set_len((state.written * ENTRY_BYTES) as u64));
            cut.map_err(io("truncate", &self.path))?;
        }
        Ok(())
    }

    /// The greatest entry at or below `relative_offset`.
    pub fn floor(&self, relative_offset: u32) -> Option<Entry> {
        let state = self.read_lock();
        let n = state.entries.partition_point(|e| e.relative_offset <= relative_offset);
        n.checked_sub(1).map(|i| state.entries[i])
    }

    /// The greatest position in `(after, limit]`: a place where one batch ends and the next begins.
    pub fn boundary(&self, after: u64, limit: u64) -> Option<u64> {
        let state = self.read_lock();
        let n = state.entries.partition_point(|e| u64::from(e.position) <= limit);
        n.checked_sub(1)
            .map(|i| u64::from(state.entries[i].position))
            .filter(|p| *p > after)
    }

    /// The first entry.
    pub fn first(&self) -> Option<Entry> {
        self.read_lock().entries.first().copied()
    }

    /// The last entry.
    pub fn last(&self) -> Option<Entry> {
        self.read_lock().entries.last().copied()
    }

    fn read_lock(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_lock(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::RealDisk;

    fn disk() -> Arc<dyn Storage> {
        Arc::new(RealDisk)
    }

    fn entry(relative_offset: u32, position: u32) -> Entry {
        Entry {
            relative_offset,
            position,
        }
    }

    #[test]
    fn lookups_and_reload() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.index");
        let index = OffsetIndex::empty(&disk(), &path);
        for i in 0..200 {
            index.push(entry(i * 10, i * 100));
        }
        index.flush().unwrap();
        for index in [index, OffsetIndex::load(&disk(), &path, 1 << 20).unwrap()] {
            assert_eq!(index.floor(0), Some(entry(0, 0)));
            assert_eq!(index.floor(1234), Some(entry(1230, 12300)));
            assert_eq!(index.boundary(0, 250), Some(200));
            assert_eq!(index.boundary(200, 250), None);
        }
        let cut = OffsetIndex::load(&disk(), &path, 1000).unwrap();
        assert_eq!(cut.last(), Some(entry(90, 900)));
        cut.truncate(500).unwrap();
        assert_eq!(
            OffsetIndex::load(&disk(), &path, 1 << 20).unwrap().last(),
            Some(entry(40, 400))
        );
    }

    #[test]
    fn damage_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.index");
        std::fs::write(&path, [0, 0, 0, 5, 0, 0, 0, 9, 0, 0, 0, 4, 0, 0, 0, 10, 1, 2, 3]).unwrap();
        assert_eq!(
            OffsetIndex::load(&disk(), &path, 100).unwrap().last(),
            Some(entry(5, 9))
        );
    }
}
