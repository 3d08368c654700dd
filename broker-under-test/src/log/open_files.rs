//! The open files of all logs together, with a bound: beyond it the one that was not used for longest is closed, and opened again when it is asked for.
//!
//! "Longest" is told by a clock hand (second chance), so that using an open file takes no lock that others share: each use sets a mark, the hand
//! takes marks away on its way round and closes the first file that has none. Whoever holds a descriptor keeps it beyond its closing; those few, one
//! per request in work, are not counted.
//!
//! A file with bytes that the flush policy still has to flush is passed over, as an error of write-back that comes while nobody has a file open is
//! told only to the next one that opens it, and only while the kernel keeps the inode. After [`PASSED_OVER_MAX`] of them the bound comes first.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::counters::{Counter, Counters};
use crate::storage::{Storage, StoredFile};

/// Files with unflushed bytes that the hand passes over in one search.
const PASSED_OVER_MAX: usize = 64;

/// Files of one broker that are open.
#[derive(Debug)]
pub struct OpenFiles {
    storage: Arc<dyn Storage>,
    counters: Arc<Counters>,
    max: usize,
    clock: Mutex<Clock>,
}

#[derive(Debug, Default)]
struct Clock {
    places: Vec<Arc<Place>>,
    hand: usize,
}

/// A file that may be open or not.
#[derive(Debug)]
struct Place {
    path: PathBuf,
    write: bool,
    open: Mutex<Option<Arc<dyn StoredFile>>>,
    used: AtomicBool,
    unflushed: AtomicBool,
}

/// A file by name that is opened when it is used, and may be closed in between. Dropping it closes it.
#[derive(Debug)]
pub struct FileHandle {
    files: Arc<OpenFiles>,
    place: Arc<Place>,
}

impl OpenFiles {
    /// At most `max` files of `storage` are kept open.
    pub fn new(storage: Arc<dyn Storage>, max: usize, counters: Arc<Counters>) -> Arc<Self> {
        Arc::new(OpenFiles {
            storage,
            counters,
            max: max.max(1),
            clock: Mutex::default(),
        })
    }

    /// Where the files are.
    pub fn storage(&self) -> &Arc<dyn Storage> {
        &self.storage
    }

    /// What is counted.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// A file that exists, not opened yet; `write` as well as read.
    pub fn handle(self: &Arc<Self>, path: &Path, write: bool) -> FileHandle {
        FileHandle {
            files: self.clone(),
            place: Arc::new(Place {
                path: path.to_owned(),
                write,
                open: Mutex::default(),
                used: AtomicBool::new(false),
                unflushed: AtomicBool::new(false),
            }),
        }
    }

    /// An empty file, open. What stood there is gone.
    pub fn create(self: &Arc<Self>, path: &Path) -> std::io::Result<FileHandle> {
        let handle = self.handle(path, true);
        handle.open_with(|files| files.storage.create(path))?;
        Ok(handle)
    }

    /// Enters a place whose file was just opened, and closes others until the bound is kept.
    fn enter(&self, place: &Arc<Place>) {
        self.counters.add(Counter::CallOpen, 1);
        self.counters.add(Counter::OpenFiles, 1);
        let mut clock = lock(&self.clock);
        let mut closed = Vec::new();
        while clock.places.len() >= self.max {
            let victim = clock.take();
            closed.extend(lock(&victim.open).take());
        }
        clock.places.push(place.clone());
        drop(clock);
        self.counters.lower(Counter::OpenFiles, closed.len() as u64);
    }
}

impl Clock {
    /// Takes out the place that the hand stops at. There is one at least.
    fn take(&mut self) -> Arc<Place> {
        let mut passed_over = 0;
        // Every mark is gone after one round, and nobody is passed over for ever.
        loop {
            self.hand %= self.places.len();
            let place = &self.places[self.hand];
            if place.used.swap(false, Ordering::Relaxed) {
                self.hand += 1;
            } else if place.unflushed.load(Ordering::Relaxed) && passed_over < PASSED_OVER_MAX {
                passed_over += 1;
                self.hand += 1;
            } else {
                return self.places.swap_remove(self.hand);
            }
        }
    }
}

impl FileHandle {
    /// Its place.
    pub fn path(&self) -> &Path {
        &self.place.path
    }

    /// The open file, opened if it is not. Holding it keeps the descriptor alive.
    pub fn open(&self) -> std::io::Result<Arc<dyn StoredFile>> {
        self.open_with(|files| files.storage.open(&self.place.path, self.place.write))
    }

    fn open_with(
        &self,
        open: impl FnOnce(&OpenFiles) -> std::io::Result<Arc<dyn StoredFile>>,
    ) -> std::io::Result<Arc<dyn StoredFile>> {
        // The lock is held while the file is opened, so that it is opened once; a place with nothing open is not on the clock, so nobody who holds
        // the clock waits for this.
        let mut slot = lock(&self.place.open);
        if let Some(file) = slot.as_ref() {
            self.place.used.store(true, Ordering::Relaxed);
            return Ok(file.clone());
        }
        let file = open(&self.files)?;
        *slot = Some(file.clone());
        self.place.used.store(true, Ordering::Relaxed);
        self.files.enter(&self.place);
        Ok(file)
    }

    /// Whether it has bytes that the flush policy still has to flush: it is closed after others then.
    pub fn set_unflushed(&self, unflushed: bool) {
        self.place.unflushed.store(unflushed, Ordering::Relaxed);
    }
}

impl Drop for FileHandle {
    fn drop(&mut self) {
        let mut clock = lock(&self.files.clock);
        let Some(at) = clock.places.iter().position(|p| Arc::ptr_eq(p, &self.place)) else {
            return;
        };
        clock.places.swap_remove(at);
        drop(clock);
        self.files.counters.lower(Counter::OpenFiles, 1);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::RealDisk;
    use std::io::IoSlice;

    fn files(dir: &Path, max: usize, count: usize) -> (Arc<Counters>, Vec<FileHandle>) {
        let counters = Arc::new(Counters::default());
        let files = OpenFiles::new(Arc::new(RealDisk), max, counters.clone());
        let handle = |i: usize| {
            let handle = files.create(&dir.join(i.to_string())).unwrap();
            let content = [i as u8];
            let mut parts = [IoSlice::new(&content)];
            handle.open().unwrap().write_all_at(&mut parts, 0).unwrap();
            handle
        };
        (counters.clone(), (0..count).map(handle).collect())
    }

    fn content(handle: &FileHandle) -> u8 {
        let mut byte = [0];
        handle.open().unwrap().read_exact_at(&mut byte, 0).unwrap();
        byte[0]
    }

    #[test]
    fn no_more_are_open_than_the_bound_and_all_can_be_read() {
        let dir = tempfile::tempdir().unwrap();
        let (counters, handles) = files(dir.path(), 4, 20);
        assert_eq!(
            (counters.get(Counter::OpenFiles), counters.get(Counter::CallOpen)),
            (4, 20)
        );
        for round in 0..3 {
            for (i, handle) in handles.iter().enumerate() {
                assert_eq!(content(handle), i as u8, "round {round}");
                assert!(counters.get(Counter::OpenFiles) <= 4);
            }
        }
        drop(handles);
        assert_eq!(counters.get(Counter::OpenFiles), 0);
    }

    #[test]
    fn a_file_in_use_stays_and_the_idle_one_goes() {
        let dir = tempfile::tempdir().unwrap();
        let (counters, handles) = files(dir.path(), 4, 4);
        let opened = || counters.get(Counter::CallOpen);
        let others: Vec<FileHandle> = (0..50)
            .map(|i| {
                assert_eq!(content(&handles[1]), 1);
                handles[0].files.create(&dir.path().join(format!("other{i}"))).unwrap()
            })
            .collect();
        let before = opened();
        content(&handles[1]);
        assert_eq!(opened(), before, "it was used between all of them");
        content(&handles[0]);
        assert_eq!(opened(), before + 1);
        drop(others);
    }

    #[test]
    fn files_with_unflushed_bytes_are_closed_last() {
        let dir = tempfile::tempdir().unwrap();
        let (counters, handles) = files(dir.path(), 4, 4);
        handles[2].set_unflushed(true);
        for (i, _) in handles.iter().enumerate().cycle().take(40) {
            drop(handles[0].files.create(&dir.path().join("other")).unwrap());
            assert!(i == 2 || content(&handles[i]) == i as u8);
        }
        let before = counters.get(Counter::CallOpen);
        content(&handles[2]);
        assert_eq!(counters.get(Counter::CallOpen), before);
        // When all have some, the bound comes first.
        handles.iter().for_each(|handle| handle.set_unflushed(true));
        let _other = handles[0].files.create(&dir.path().join("other")).unwrap();
        assert_eq!(counters.get(Counter::OpenFiles), 4);
    }

    #[test]
    fn a_descriptor_that_is_held_outlives_its_closing() {
        let dir = tempfile::tempdir().unwrap();
        let (_, handles) = files(dir.path(), 1, 3);
        let held = handles[0].open().unwrap();
        assert_eq!((content(&handles[1]), content(&handles[2])), (1, 2));
        let mut byte = [9];
        held.read_exact_at(&mut byte, 0).unwrap();
        assert_eq!(byte[0], 0);
    }
}
