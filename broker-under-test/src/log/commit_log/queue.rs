//! The consume queue of one partition: entries of one width (see [`EntryKind`]) in files of a fixed number of entries, each named by the position of its
//! first byte in the whole queue.
//!
//! Entries wait in memory and are written in groups of [`GROUP_BATCHES`]; nothing waits for them, as they can be made again from the log. In memory are
//! only those, and as many behind them: 64 batches at most, so that who reads at the end of a partition needs no entry from disk.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::super::{FileHandle, LogError, OpenFiles, io};
use super::entry::{EntryKind, Place};

/// Batches whose entries wait in memory before they are written together, and that are kept in memory after that.
pub(super) const GROUP_BATCHES: usize = 32;
/// With an entry per record, fewer batches make a group.
const GROUP_ENTRIES: u64 = 4096;
/// Sequential readers of one partition whose place is remembered.
pub(super) const READERS: usize = 4;

/// How queues are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Format {
    /// What there is an entry for.
    pub kind: EntryKind,
    /// Entries in one file.
    pub entries_per_file: u64,
}

/// What must be known of a queue to go on with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Number of the first entry that is kept.
    pub first: u64,
    /// Offset of the first record that is kept; the end of the partition when there is none.
    pub first_offset: i64,
    /// Number behind the last entry.
    pub next: u64,
    /// Offset behind the last record.
    pub end_offset: i64,
    /// Greatest timestamp in the file of the last entry.
    pub time_max: i64,
}

impl Mark {
    /// Of a partition that nothing was appended to.
    pub const EMPTY: Mark = Mark {
        first: 0,
        first_offset: 0,
        next: 0,
        end_offset: 0,
        time_max: i64::MIN,
    };
}

/// A batch that was appended to the shared log.
#[derive(Debug, Clone, Copy)]
pub struct Stored {
    /// Where the batch begins, behind its frame header.
    pub position: u64,
    /// Its length.
    pub bytes: u32,
    /// Offset of its first record; less when offsets in front of it are missing, which then lead to it.
    pub offset: i64,
    /// Offset behind its last record.
    pub end_offset: i64,
    /// Greatest timestamp of its records.
    pub time_max: i64,
}

/// The consume queue of a partition.
#[derive(Debug)]
pub struct Queue {
    pub(super) files: Arc<OpenFiles>,
    dir: PathBuf,
    pub(super) format: Format,
    state: Mutex<State>,
}

#[derive(Debug)]
pub(super) struct State {
    pub mark: Mark,
    /// Entries below are in files.
    pub written: u64,
    /// The last batches: those whose entries wait, and some in front of them.
    pub tail: VecDeque<Tailed>,
    pub handles: BTreeMap<u64, Arc<FileHandle>>,
    /// Files with bytes that no flush covered.
    pub unsynced: BTreeSet<u64>,
    /// A file came or went since the folder was flushed.
    pub names_changed: bool,
    /// Offsets where sequential readers go on, with the numbers of their entries.
    pub readers: VecDeque<(i64, u64)>,
    pub removed: bool,
}

/// A batch in memory, with the numbers of its entries.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tailed {
    pub number: u64,
    pub entries: u64,
    place: Place,
    /// Greatest timestamp of the batch itself.
    time_own: i64,
}

impl Tailed {
    /// The entry with that number, which is one of this batch.
    pub fn at(&self, number: u64, format: Format) -> Place {
        let first_of_file = number / format.entries_per_file != self.number / format.entries_per_file;
        Place {
            offset: match format.kind {
                EntryKind::Batch => self.place.offset,
                EntryKind::Record => number as i64,
            },
            time_max: if first_of_file {
                self.time_own
            } else {
                self.place.time_max
            },
            ..self.place
        }
    }
}

impl Queue {
    /// The queue in `dir` as `mark` says it is; what its files hold behind that is cut off. `None` when they hold less: it has to be made again, from
    /// [`Mark::EMPTY`].
    pub fn open(files: &Arc<OpenFiles>, dir: PathBuf, format: Format, mark: Mark) -> Result<Option<Self>, LogError> {
        let queue = Queue {
            files: files.clone(),
            dir,
            format,
            state: Mutex::new(State {
                mark,
                written: mark.next,
                tail: VecDeque::new(),
                handles: BTreeMap::new(),
                unsynced: BTreeSet::new(),
                names_changed: false,
                readers: VecDeque::new(),
                removed: false,
            }),
        };
        let per_file = format.entries_per_file;
        for file in mark.first / per_file..mark.next.div_ceil(per_file) {
            let entries = (mark.next - file * per_file).min(per_file);
            let expected = entries * format.kind.width() as u64;
            let path = queue.path(file);
            match files.storage().info(&path) {
                Ok(info) if info.bytes > expected => {
                    let handle = queue.lock().handle(&queue, file);
                    let cut = handle.open().and_then(|file| file.set_len(expected));
                    cut.map_err(io("truncate", path))?;
                    queue.lock().unsynced.insert(file);
                }
                Ok(info) if info.bytes == expected => {}
                Err(e) if e.kind() != ErrorKind::NotFound => return Err(io("open", path)(e)),
                // It lacks something, unless nothing in it is kept.
                _ if mark.first == mark.next => {}
                _ => return Ok(None),
            }
        }
        Ok(Some(queue))
    }

    pub(super) fn path(&self, file: u64) -> PathBuf {
        let position = file * self.format.entries_per_file * self.format.kind.width() as u64;
        self.dir.join(format!("{position:020}"))
    }

    /// Where its files are.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What must be known to go on with it, but for what only the partition knows.
    pub fn mark(&self, end_offset: i64) -> Mark {
        let mark = self.lock().mark;
        Mark {
            first_offset: if mark.first == mark.next {
                end_offset
            } else {
                mark.first_offset
            },
            end_offset,
            ..mark
        }
    }

    /// Whether no entry is kept.
    pub fn is_empty(&self) -> bool {
        let mark = self.lock().mark;
        mark.first == mark.next
    }

    /// Enters a batch that was appended. Whether enough wait for [`Queue::write`].
    pub fn push(&self, batch: &Stored) -> bool {
        let Format { kind, entries_per_file } = self.format;
        let mut state = self.lock();
        if state.mark.first == state.mark.next {
            state.mark.first_offset = batch.offset;
            if kind == EntryKind::Record {
                state.start_at(batch.offset as u64);
            }
        }
        let number = state.mark.next;
        let end = match kind {
            EntryKind::Batch => number + 1,
            EntryKind::Record => batch.end_offset as u64,
        };
        let file = number / entries_per_file;
        let goes_on = !number.is_multiple_of(entries_per_file);
        let time_max = if goes_on {
            state.mark.time_max.max(batch.time_max)
        } else {
            batch.time_max
        };
        state.tail.push_back(Tailed {
            number,
            entries: end - number,
            place: Place {
                position: batch.position,
                bytes: batch.bytes,
                offset: batch.offset,
                time_max,
            },
            time_own: batch.time_max,
        });
        state.mark.next = end;
        state.mark.time_max = if (end - 1) / entries_per_file == file {
            time_max
        } else {
            batch.time_max
        };
        state.waiting() >= GROUP_BATCHES || end - state.written >= GROUP_ENTRIES
    }

    /// Forgets the entries in front of `number`, whose partition begins at `first_offset` then, and removes the files that hold no other.
    pub fn forget_before(&self, number: u64, first_offset: i64) -> Result<(), LogError> {
        let gone = {
            let mut state = self.lock();
            let file_before = state.mark.first / self.format.entries_per_file;
            state.mark.first = number.max(state.mark.first);
            state.mark.first_offset = first_offset;
            let file = state.mark.first / self.format.entries_per_file;
            state.handles.retain(|f, _| *f >= file);
            state.unsynced.retain(|f| *f >= file);
            state.names_changed |= file > file_before;
            file_before..file
        };
        for file in gone {
            let path = self.path(file);
            match self.files.storage().remove_file(&path) {
                Err(e) if e.kind() != ErrorKind::NotFound => return Err(io("remove", path)(e)),
                _ => {}
            }
        }
        Ok(())
    }

    /// Without an entry, and going on at `offset`.
    pub fn restart_at(&self, offset: i64) {
        let mut state = self.lock();
        state.tail.clear();
        state.readers.clear();
        let number = match self.format.kind {
            EntryKind::Batch => state.mark.next,
            EntryKind::Record => offset as u64,
        };
        state.start_at(number);
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Empty, at that number.
    fn start_at(&mut self, number: u64) {
        self.mark.first = number;
        self.mark.next = number;
        self.written = number;
    }

    /// Batches whose entries are not in a file yet.
    pub fn waiting(&self) -> usize {
        self.tail
            .iter()
            .rev()
            .take_while(|batch| batch.number >= self.written)
            .count()
    }

    /// The handle of a file that exists.
    pub fn handle(&mut self, queue: &Queue, file: u64) -> Arc<FileHandle> {
        let fresh = || Arc::new(queue.files.handle(&queue.path(file), true));
        self.handles.entry(file).or_insert_with(fresh).clone()
    }
}
