//! A storage that fails on demand, and that knows what a power cut would leave.
//!
//! It stands in front of another one, usually the real file system, so that descriptors stay real and a running broker can use it.
//!
//! What it holds a storage to is what fdatasync and the flush of a folder promise, and nothing beyond:
//!
//! - Bytes, and the length of a file, are durable once a flush of that file that began after them answered well. Until then any subset of the writes
//!   may be there, in any order, each in sectors of 512 bytes. Where a write that made a file longer is missing, there are zeros, noise, or no
//!   length.
//! - A name that came, went or was renamed is durable once its folder was flushed, and a flush of the file says nothing of it. Until then any
//!   subset may be there, but for what happened to one name, which stays in its order. A rename is done or not done, never half. A folder
//!   that is not there has no files.
//! - After a flush that failed, what it covered is never durable, whatever later flushes say, though reads go on to show it.
//!
//! Reservations change nothing that is seen, and times and permissions are not kept.

mod fault;
mod file;
mod image;
mod journal;

pub use fault::{Fault, FaultKind, Operation};

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{FileInfo, Storage, StoredFile};
use fault::{Armed, Verdict};
use file::FaultyFile;
use journal::{Journal, parent};

/// Calls that are remembered.
const TRACE_CALLS: usize = 64;

/// A storage in front of another one. Clones are the same storage.
#[derive(Debug, Clone)]
pub struct FaultyDisk {
    inner: Arc<dyn Storage>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Where removed files wait until nothing can bring them back: outside of what is stored, on the same file system.
    graveyard: PathBuf,
    calls: Mutex<Calls>,
    journal: Mutex<Journal>,
}

#[derive(Debug, Default)]
struct Calls {
    faults: Vec<Armed>,
    next_id: u64,
    crashed: bool,
    counts: BTreeMap<Operation, u64>,
    trace: VecDeque<(Operation, PathBuf, u64)>,
}

impl FaultyDisk {
    /// In front of `inner`. What is there already counts as durable. `graveyard` is a folder for removed files, beside what is stored and on the same
    /// file system.
    ///
    /// # Errors
    /// The graveyard can't be made.
    pub fn new(inner: Arc<dyn Storage>, graveyard: &Path) -> io::Result<Self> {
        inner.create_dir(graveyard)?;
        let shared = Shared {
            graveyard: graveyard.to_owned(),
            calls: Mutex::default(),
            journal: Mutex::default(),
        };
        Ok(FaultyDisk {
            inner,
            shared: Arc::new(shared),
        })
    }

    /// Arms a fault; answers its number.
    pub fn arm(&self, fault: Fault) -> u64 {
        let mut calls = lock(&self.shared.calls);
        let id = calls.next_id;
        calls.next_id += 1;
        calls.faults.push(Armed::new(id, fault));
        id
    }

    /// Takes a fault away; answers how many calls it struck. A crash stays.
    pub fn disarm(&self, id: u64) -> u64 {
        let mut calls = lock(&self.shared.calls);
        let hits = calls
            .faults
            .iter()
            .find(|armed| armed.id == id)
            .map_or(0, |armed| armed.hits);
        calls.faults.retain(|armed| armed.id != id);
        hits
    }

    /// Whether the power went.
    pub fn has_crashed(&self) -> bool {
        lock(&self.shared.calls).crashed
    }

    /// Calls so far, by kind.
    pub fn counts(&self) -> BTreeMap<Operation, u64> {
        lock(&self.shared.calls).counts.clone()
    }

    /// The last calls, a line each.
    pub fn trace(&self) -> Vec<String> {
        let line =
            |(operation, path, bytes): &(Operation, PathBuf, u64)| format!("{operation:?} {} {bytes}", path.display());
        lock(&self.shared.calls).trace.iter().map(line).collect()
    }

    /// Turns the folder into one that a power cut at this moment could have left, chosen by `seed`. This storage answers nothing any more; a new one
    /// takes over.
    ///
    /// # Errors
    /// The inner storage's.
    pub fn crash_image(&self, seed: u64) -> io::Result<()> {
        lock(&self.shared.calls).crashed = true;
        let mut journal = lock(&self.shared.journal);
        image::make(self.inner.as_ref(), &mut journal, seed)?;
        *journal = Journal::default();
        self.inner.remove_dir(&self.shared.graveyard)
    }

    fn grave(&self, journal: &mut Journal) -> PathBuf {
        journal.sequence += 1;
        self.shared.graveyard.join(journal.sequence.to_string())
    }

    /// Asks for a call that either happens whole or fails.
    fn enter(&self, operation: Operation, path: &Path) -> io::Result<(Verdict, MutexGuard<'_, Journal>)> {
        let verdict = self.shared.enter(operation, path, 0)?;
        match verdict {
            Verdict::Fail { errno, .. } => Err(error(errno)),
            _ => Ok((verdict, self.shared.journal(verdict)?)),
        }
    }

    fn file(&self, path: &Path, inner: Arc<dyn StoredFile>, inode: u64) -> Arc<dyn StoredFile> {
        Arc::new(FaultyFile {
            inner,
            shared: self.shared.clone(),
            inode,
            path: path.to_owned(),
        })
    }

    fn read_whole<T>(&self, path: &Path, read: impl FnOnce() -> io::Result<T>) -> io::Result<(T, bool)> {
        match self.shared.enter(Operation::Read, path, 0)? {
            Verdict::Fail { errno, .. } => Err(error(errno)),
            verdict => Ok((read()?, verdict == Verdict::Flip)),
        }
    }
}

impl Shared {
    /// Counts a call, asks all faults about it, and waits as long as they say.
    fn enter(&self, operation: Operation, path: &Path, bytes: u64) -> io::Result<Verdict> {
        let mut delay = Duration::ZERO;
        let verdict = {
            let mut calls = lock(&self.calls);
            if calls.crashed {
                return Err(no_power());
            }
            *calls.counts.entry(operation).or_default() += 1;
            if operation != Operation::Read {
                if calls.trace.len() == TRACE_CALLS {
                    calls.trace.pop_front();
                }
                calls.trace.push_back((operation, path.to_owned(), bytes));
            }
            let mut verdict = Verdict::Go;
            for armed in &mut calls.faults {
                let strikes = armed.strike(operation, path, bytes, &mut delay);
                if verdict == Verdict::Go {
                    verdict = strikes;
                }
            }
            calls.crashed = verdict == Verdict::Crash;
            verdict
        };
        if !delay.is_zero() {
            std::thread::sleep(delay);
        }
        Ok(verdict)
    }

    /// The journal, for a call that was let in. The power may have gone since.
    fn journal(&self, verdict: Verdict) -> io::Result<MutexGuard<'_, Journal>> {
        let journal = lock(&self.journal);
        if verdict != Verdict::Crash && lock(&self.calls).crashed {
            return Err(no_power());
        }
        Ok(journal)
    }
}

impl Storage for FaultyDisk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn StoredFile>> {
        let (verdict, mut journal) = self.enter(Operation::Create, path)?;
        let existing = match self.inner.open(path, true) {
            Ok(file) => Some(file),
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            Err(e) => return Err(e),
        };
        let (inner, inode) = match existing {
            Some(file) => {
                let inode = journal.inode(path);
                journal.cuts(inode, file.as_ref(), 0)?;
                file.set_len(0)?;
                (file, inode)
            }
            None => (self.inner.create(path)?, journal.created(path)),
        };
        powerless(verdict)?;
        Ok(self.file(path, inner, inode))
    }

    fn open(&self, path: &Path, write: bool) -> io::Result<Arc<dyn StoredFile>> {
        let inner = self.read_whole(path, || self.inner.open(path, write))?.0;
        let inode = lock(&self.shared.journal).inode(path);
        Ok(self.file(path, inner, inode))
    }

    fn info(&self, path: &Path) -> io::Result<FileInfo> {
        self.read_whole(path, || self.inner.info(path)).map(|(info, _)| info)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let (mut bytes, flip) = self.read_whole(path, || self.inner.read(path))?;
        if let (true, Some(last)) = (flip, bytes.len().checked_sub(1)) {
            bytes[last / 2] ^= 1;
        }
        Ok(bytes)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.read_whole(dir, || self.inner.list(dir)).map(|(names, _)| names)
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        let missing = |dir: &&Path| self.inner.info(dir).is_err();
        let mut above: Vec<&Path> = dir
            .ancestors()
            .filter(|dir| !dir.as_os_str().is_empty())
            .take_while(missing)
            .collect();
        while let Some(dir) = above.pop() {
            let (verdict, mut journal) = self.enter(Operation::CreateFolder, dir)?;
            self.inner.create_dir(dir)?;
            journal.folder_created(dir);
            powerless(verdict)?;
        }
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.inner.info(path)?;
        let (verdict, mut journal) = self.enter(Operation::Remove, path)?;
        let grave = self.grave(&mut journal);
        self.inner.rename(path, &grave)?;
        journal.removed(path, &grave);
        powerless(verdict)
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        for name in self.inner.list(dir)? {
            let path = dir.join(name);
            match self.inner.list(&path) {
                Ok(_) => self.remove_dir(&path)?,
                Err(_) => self.remove_file(&path)?,
            }
        }
        let (verdict, mut journal) = self.enter(Operation::RemoveFolder, dir)?;
        self.inner.remove_dir(dir)?;
        journal.folder_removed(dir);
        powerless(verdict)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.inner.info(from)?;
        let (verdict, mut journal) = self.enter(Operation::Rename, from)?;
        debug_assert_eq!(parent(from), parent(to), "the journal knows one folder of a rename");
        let replaced = match self.inner.info(to) {
            Ok(_) => Some(self.grave(&mut journal)),
            Err(_) => None,
        };
        if let Some(grave) = &replaced {
            self.inner.rename(to, grave)?;
        }
        self.inner.rename(from, to)?;
        journal.renamed(from, to, replaced);
        powerless(verdict)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let (verdict, journal) = self.enter(Operation::FlushFolder, dir)?;
        let sequence = journal.sequence;
        drop(journal);
        if verdict == Verdict::Lie {
            return Ok(());
        }
        self.inner.sync_dir(dir)?;
        powerless(verdict)?;
        let graves = self.shared.journal(verdict)?.folder_flushed(dir, sequence);
        graves.iter().try_for_each(|grave| self.inner.remove_file(grave))
    }
}

fn error(errno: i32) -> io::Error {
    io::Error::from_raw_os_error(errno)
}

fn no_power() -> io::Error {
    io::Error::other("the power is gone")
}

/// A call that was the last one did its work, and nobody hears of it.
fn powerless(verdict: Verdict) -> io::Result<()> {
    match verdict {
        Verdict::Crash => Err(no_power()),
        _ => Ok(()),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
