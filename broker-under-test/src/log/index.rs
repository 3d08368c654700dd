//! An index file of a segment: entries of a fixed width that rise, in memory and written in groups.
//!
//! A crash loses the entries that wait, and recovery makes them again from the log. The log is the truth: a file whose entries do not rise, or whose
//! first or last one does not fit the log, is made again as a whole. An entry in between that is wrong is not noticed, as in Kafka; it leads readers
//! astray, whose checks of the CRC tell, until the file is deleted.

use std::fmt::Debug;
use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::open_files::OpenFiles;
use super::{LogError, io};
use crate::counters::Counter;
use crate::storage::StoredFile;

/// Entries that wait in memory before they are written together.
const GROUP: usize = 64;

/// What an index holds.
pub trait Entry: Copy + Debug + Send + Sync {
    /// Bytes on disk.
    const BYTES: usize;
    /// Writes it.
    fn put(&self, out: &mut Vec<u8>);
    /// Reads it from [`Self::BYTES`] bytes.
    fn get(raw: &[u8]) -> Self;
    /// Whether it may stand behind `earlier`.
    fn follows(&self, earlier: &Self) -> bool;
}

/// One index of one segment.
#[derive(Debug)]
pub struct Index<E> {
    files: Arc<OpenFiles>,
    path: PathBuf,
    state: RwLock<State<E>>,
}

#[derive(Debug)]
struct State<E> {
    entries: Vec<E>,
    written: usize,
    /// What the file holds beyond `written` is of no use and goes with the next write.
    replace_file: bool,
}

impl<E: Entry> Index<E> {
    /// An index without entries; the file appears with the first group, in the place of what is there.
    pub fn empty(files: &Arc<OpenFiles>, path: &Path) -> Self {
        Index {
            files: files.clone(),
            path: path.to_owned(),
            state: RwLock::new(State {
                entries: Vec::new(),
                written: 0,
                replace_file: true,
            }),
        }
    }

    /// Reads the file and keeps the entries from the first on that rise and that `fits` likes; a missing file is an empty index.
    pub fn load(files: &Arc<OpenFiles>, path: &Path, fits: impl Fn(&E) -> bool) -> Result<Self, LogError> {
        files.counters().add(Counter::CallOpen, 1);
        let raw = match files.storage().read(path) {
            Ok(raw) => raw,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(e) => return Err(io("read", path)(e)),
        };
        let mut entries: Vec<E> = Vec::with_capacity(raw.len() / E::BYTES);
        for bytes in raw.chunks_exact(E::BYTES) {
            let entry = E::get(bytes);
            if !fits(&entry) || entries.last().is_some_and(|last| !entry.follows(last)) {
                tracing::warn!(index = %path.display(), good = entries.len(), "index entry out of order, dropped with what follows");
                break;
            }
            entries.push(entry);
        }
        let written = entries.len();
        Ok(Index {
            files: files.clone(),
            path: path.to_owned(),
            state: RwLock::new(State {
                replace_file: written * E::BYTES != raw.len(),
                entries,
                written,
            }),
        })
    }

    /// Whether the file holds something else than the entries that were read from it.
    pub fn is_damaged(&self) -> bool {
        self.read_lock().replace_file
    }

    /// Appends an entry; answers whether a group is full.
    pub fn push(&self, entry: E) -> bool {
        let mut state = self.write_lock();
        state.entries.push(entry);
        state.entries.len() - state.written >= GROUP
    }

    /// Writes the waiting entries. Answers whether anything was written.
    pub fn write(&self) -> Result<bool, LogError> {
        let mut state = self.write_lock();
        if state.written == state.entries.len()
            && !(state.replace_file && self.files.storage().info(&self.path).is_ok())
        {
            return Ok(false);
        }
        let mut raw = Vec::with_capacity((state.entries.len() - state.written) * E::BYTES);
        state.entries[state.written..]
            .iter()
            .for_each(|entry| entry.put(&mut raw));
        let start_bytes = (state.written * E::BYTES) as u64;
        let written = self.file().and_then(|file| {
            if state.replace_file {
                file.set_len(start_bytes)?;
            }
            file.write_all_at(&mut [IoSlice::new(&raw)], start_bytes)
        });
        written.map_err(io("write", &self.path))?;
        state.written = state.entries.len();
        state.replace_file = false;
        self.files.counters().add(Counter::CallPwriteIndex, 1);
        Ok(true)
    }

    /// Flushes what was written to the device.
    pub fn sync(&self) -> Result<(), LogError> {
        if self.read_lock().written == 0 {
            return Ok(());
        }
        self.files.counters().add(Counter::CallFdatasyncIndex, 1);
        let synced = self.file().and_then(|file| file.sync_data());
        synced.map_err(io("flush", &self.path))
    }

    /// The file, made when it is not there.
    fn file(&self) -> std::io::Result<Arc<dyn StoredFile>> {
        self.files.counters().add(Counter::CallOpen, 1);
        match self.files.storage().open(&self.path, true) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => self.files.storage().create(&self.path),
            other => other,
        }
    }

    /// Keeps the first entries, as long as `keep` likes them; the file is cut with the next write.
    pub fn truncate(&self, keep: impl Fn(&E) -> bool) {
        let mut state = self.write_lock();
        let kept = state.entries.partition_point(keep);
        state.entries.truncate(kept);
        state.written = state.written.min(kept);
        state.replace_file = true;
    }

    /// The last of the first entries for which `is_before` holds, which must not hold again behind one for which it does not.
    pub fn floor(&self, is_before: impl Fn(&E) -> bool) -> Option<E> {
        let state = self.read_lock();
        let n = state.entries.partition_point(is_before);
        n.checked_sub(1).map(|i| state.entries[i])
    }

    /// The first entry.
    pub fn first(&self) -> Option<E> {
        self.read_lock().entries.first().copied()
    }

    /// The last entry.
    pub fn last(&self) -> Option<E> {
        self.read_lock().entries.last().copied()
    }

    /// How many entries there are.
    pub fn entries(&self) -> usize {
        self.read_lock().entries.len()
    }

    /// Removes the file, if it is there.
    pub fn remove(&self) -> Result<(), LogError> {
        match self.files.storage().remove_file(&self.path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(io("remove", &self.path)(e)),
            _ => Ok(()),
        }
    }

    fn read_lock(&self) -> RwLockReadGuard<'_, State<E>> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_lock(&self) -> RwLockWriteGuard<'_, State<E>> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An entry of the sparse offset index: a batch and where it begins.
///
/// It names the **base** offset of the batch. Kafka's own entries name the batch's last offset; a reader that takes the greatest entry at or below its
/// target and goes on from there works with both. The base offset is worth more here: the end of one fetch is cut at an entry, so the next fetch
/// finds its start without a system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Base offset of the batch, relative to the segment's.
    pub relative_offset: u32,
    /// Where the batch begins in the segment.
    pub position: u32,
}

impl Entry for Place {
    const BYTES: usize = 8;

    fn put(&self, out: &mut Vec<u8>) {
        out.extend(self.relative_offset.to_be_bytes());
        out.extend(self.position.to_be_bytes());
    }

    fn get(raw: &[u8]) -> Self {
        Place {
            relative_offset: u32::from_be_bytes([raw[0], raw[1], raw[2], raw[3]]),
            position: u32::from_be_bytes([raw[4], raw[5], raw[6], raw[7]]),
        }
    }

    fn follows(&self, earlier: &Self) -> bool {
        self.relative_offset > earlier.relative_offset && self.position > earlier.position
    }
}

/// An entry of the time index: no record in front of that batch is later, and one in it is exactly that late.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Milliseconds since 1970.
    pub timestamp_ms: i64,
    /// Base offset of the batch, relative to the segment's.
    pub relative_offset: u32,
}

impl Entry for Moment {
    const BYTES: usize = 12;

    fn put(&self, out: &mut Vec<u8>) {
        out.extend(self.timestamp_ms.to_be_bytes());
        out.extend(self.relative_offset.to_be_bytes());
    }

    fn get(raw: &[u8]) -> Self {
        Moment {
            timestamp_ms: i64::from_be_bytes([raw[0], raw[1], raw[2], raw[3], raw[4], raw[5], raw[6], raw[7]]),
            relative_offset: u32::from_be_bytes([raw[8], raw[9], raw[10], raw[11]]),
        }
    }

    fn follows(&self, earlier: &Self) -> bool {
        self.timestamp_ms > earlier.timestamp_ms && self.relative_offset > earlier.relative_offset
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::RealDisk;

    fn files() -> Arc<OpenFiles> {
        OpenFiles::new(Arc::new(RealDisk), 4, Arc::default())
    }

    fn place(relative_offset: u32, position: u32) -> Place {
        Place {
            relative_offset,
            position,
        }
    }

    fn moment(timestamp_ms: i64, relative_offset: u32) -> Moment {
        Moment {
            timestamp_ms,
            relative_offset,
        }
    }

    #[test]
    fn lookups_reload_and_cut() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.index");
        let index = Index::empty(&files(), &path);
        for i in 0..200 {
            index.push(place(i * 10, i * 100));
        }
        assert!(index.write().unwrap());
        assert!(!index.write().unwrap(), "nothing waits");
        for index in [index, Index::load(&files(), &path, |_| true).unwrap()] {
            assert_eq!(index.floor(|e| e.relative_offset <= 1234), Some(place(1230, 12300)));
            assert_eq!(index.floor(|e| e.relative_offset < 10), Some(place(0, 0)));
        }
        let cut = Index::load(&files(), &path, |e: &Place| e.position < 1000).unwrap();
        assert!(cut.is_damaged());
        assert_eq!(cut.last(), Some(place(90, 900)));
        cut.truncate(|e| e.position < 500);
        assert!(cut.write().unwrap());
        let again = Index::load(&files(), &path, |_: &Place| true).unwrap();
        assert_eq!((again.last(), again.is_damaged()), (Some(place(40, 400)), false));
    }

    #[test]
    fn damage_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.timeindex");
        let mut raw = Vec::new();
        [moment(-5, 0), moment(7, 3), moment(7, 9), moment(8, 12)]
            .iter()
            .for_each(|m| m.put(&mut raw));
        std::fs::write(&path, &raw).unwrap();
        let index: Index<Moment> = Index::load(&files(), &path, |_| true).unwrap();
        assert_eq!((index.last(), index.is_damaged()), (Some(moment(7, 3)), true));
        std::fs::write(&path, &raw[..2 * Moment::BYTES + 5]).unwrap();
        let index: Index<Moment> = Index::load(&files(), &path, |_| true).unwrap();
        assert_eq!((index.entries(), index.is_damaged()), (2, true));
    }
}
