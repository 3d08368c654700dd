//! The data under test: a folder beside the run's files that is gone when the run ends, and that the next run removes when a
//! SIGKILL left it.
//!
//! Whose it is, is told by a lock on a file in it, which the kernel takes back from a process that died in whatever way.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use nix::fcntl::{Flock, FlockArg};

/// Name of the folder in a run folder.
const NAME: &str = "scratch";
/// Its lock file.
const LOCK: &str = ".lock";

/// A scratch folder; removed when dropped.
#[derive(Debug)]
pub struct Scratch {
    /// The folder.
    pub path: PathBuf,
    _lock: Flock<File>,
}

impl Scratch {
    /// Makes it in a run folder.
    ///
    /// # Errors
    /// What the file system says, with the path.
    pub fn create(run: &Path) -> anyhow::Result<Self> {
        let path = run.join(NAME);
        // It gets its name when it is locked already: nobody must find it without an owner.
        let unnamed = run.join(format!(".{NAME}"));
        std::fs::create_dir(&unnamed).with_context(|| format!("can't create {}", unnamed.display()))?;
        let lock = File::create(unnamed.join(LOCK))?;
        let lock = Flock::lock(lock, FlockArg::LockExclusiveNonblock)
            .map_err(|(_, error)| io::Error::from(error))
            .with_context(|| format!("can't lock {}", unnamed.display()))?;
        std::fs::rename(&unnamed, &path).with_context(|| format!("can't create {}", path.display()))?;
        Ok(Scratch { path, _lock: lock })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Nothing depends on it any more; the next run tries again.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// Removes a trial's file, and frees the space of its folder, whatever happens to the trial.
///
/// The files in a folder keep their names, empty, until the scratch folder goes: an ext4 without a journal looks past every inode that was deleted in
/// the last minutes for each file that it creates, and the next trial would pay for what this one removed.
#[derive(Debug)]
pub struct RemoveOnDrop(pub PathBuf);

impl Drop for RemoveOnDrop {
    fn drop(&mut self) {
        // What resists lies in the scratch folder, which goes at the end.
        let _ = match self.0.is_dir() {
            true => empty(&self.0),
            false => std::fs::remove_file(&self.0),
        };
    }
}

fn empty(path: &Path) -> io::Result<()> {
    let found = path.symlink_metadata()?;
    if found.is_dir() {
        for entry in std::fs::read_dir(path)? {
            empty(&entry?.path())?;
        }
    } else if found.is_file() && found.nlink() == 1 {
        File::options().write(true).open(path)?.set_len(0)?;
    } else {
        // The bytes are another's too: a pre-loaded segment, linked in.
        std::fs::remove_file(path)?;
    }
    Ok(())
}

/// Removes the scratch folders in `out` whose runs are dead, and answers what it removed. What can't be looked at stays.
pub fn remove_abandoned(out: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(out).into_iter().flatten().filter_map(Result::ok);
    let folders = entries.map(|entry| entry.path().join(NAME));
    folders.filter(|folder| remove_if_abandoned(folder).is_some()).collect()
}

fn remove_if_abandoned(folder: &Path) -> Option<()> {
    let lock = File::open(folder.join(LOCK)).ok()?;
    let _ours_now = Flock::lock(lock, FlockArg::LockExclusiveNonblock).ok()?;
    std::fs::remove_dir_all(folder).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_folders_without_an_owner_are_removed() {
        let out = tempfile::tempdir().unwrap();
        let run = |name: &str| {
            let run = out.path().join(name);
            std::fs::create_dir(&run).unwrap();
            run
        };
        let live = Scratch::create(&run("live")).unwrap();
        let dead = run("dead").join(NAME);
        std::fs::create_dir(&dead).unwrap();
        File::create(dead.join(LOCK)).unwrap();
        let foreign = run("foreign").join(NAME);
        std::fs::create_dir(&foreign).unwrap();

        assert_eq!(remove_abandoned(out.path()), [dead.as_path()]);
        assert!(live.path.is_dir() && foreign.is_dir() && !dead.exists());
        let path = live.path.clone();
        drop(live);
        assert!(!path.exists());
        assert_eq!(remove_abandoned(&out.path().join("nowhere")), [] as [PathBuf; 0]);
    }

    #[test]
    fn a_trial_leaves_empty_files_and_what_is_linked_in_stays_whole() {
        let scratch = tempfile::tempdir().unwrap();
        let trial = scratch.path().join("trial");
        std::fs::create_dir_all(trial.join("topic-0")).unwrap();
        let (own, shared) = (trial.join("topic-0/own.log"), scratch.path().join("loaded.log"));
        std::fs::write(&own, "records").unwrap();
        std::fs::write(&shared, "records").unwrap();
        std::fs::hard_link(&shared, trial.join("linked.log")).unwrap();

        drop(RemoveOnDrop(trial.clone()));
        assert_eq!(std::fs::read(&own).unwrap(), b"");
        assert_eq!(std::fs::read(&shared).unwrap(), b"records");
        assert!(!trial.join("linked.log").exists());
        drop(RemoveOnDrop(scratch.path().join("nowhere")));
    }
}
