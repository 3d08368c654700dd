//! The folder of a broker that a person started: whose it is, what runs there, and what of it is removed.
//!
//! Its keeper is the `assay` that started the broker and stays its parent. It holds a lock on a file of the folder, which the kernel
//! takes back from a process that died in whatever way; its children die with it. So a folder without the lock belongs to nobody.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

const LOCK: &str = ".lock";
const STATE: &str = "state.json";
const STATE_PART: &str = ".state.part";
const KEEP: &str = ".keep";
/// What the keeper itself writes.
const KEEPER_LOG: &str = "assay.log";
/// What targets put into the folder; nothing else is ever removed.
const OURS: &[&str] = &[
    "node-1",
    "node-2",
    "node-3",
    "tls",
    "name-server",
    "broker",
    STATE,
    STATE_PART,
    KEEP,
    KEEPER_LOG,
    LOCK,
];

/// The folder of one broker or cluster.
#[derive(Debug, Clone)]
pub struct Place {
    dir: PathBuf,
}

/// How far a broker is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Not ready yet.
    Starting,
    /// Ready.
    Running,
    /// It ended or never came up, and why.
    Failed(String),
    /// It was stopped, and its files were to be kept.
    Stopped,
}

/// What is told of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// `kafka` or `rocketmq`.
    pub name: String,
    /// The keeper's process, and when it started (clock ticks since boot), so that no other process is taken for it.
    pub keeper: (u32, u64),
    /// How far it is.
    pub phase: Phase,
    /// See `Running::addresses`.
    pub addresses: Vec<SocketAddr>,
    /// Its processes.
    pub processes: Vec<u32>,
    /// What a person wants to know of it.
    pub about: Vec<String>,
}

/// What a folder holds.
#[derive(Debug)]
pub enum Found {
    /// Nothing.
    Nothing,
    /// A broker, whose keeper lives; no state for a moment after its start.
    Kept(Option<State>),
    /// What a broker left whose keeper has ended; no state if it was killed at once.
    Left(Option<State>),
}

/// The right to a folder.
#[derive(Debug)]
pub struct Kept {
    place: Place,
    _lock: Flock<File>,
}

impl Place {
    /// The folder `dir`, which need not exist.
    pub fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// Its path.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What the keeper writes.
    pub fn keeper_log(&self) -> PathBuf {
        self.dir.join(KEEPER_LOG)
    }

    /// Looks at the folder.
    ///
    /// # Errors
    /// It can't be read, or holds files that no target put there.
    pub fn look(&self) -> anyhow::Result<Found> {
        let lock = self.dir.join(LOCK);
        let file = match File::open(&lock) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.check_strangers()?;
                return Ok(Found::Nothing);
            }
            Err(error) => return Err(error).with_context(|| format!("can't read {}", lock.display())),
        };
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(_free) => Ok(Found::Left(self.state())),
            Err((_, Errno::EWOULDBLOCK)) => Ok(Found::Kept(self.state())),
            Err((_, error)) => Err(io::Error::from(error)).with_context(|| format!("can't lock {}", lock.display())),
        }
    }

    /// Takes the folder for a broker, empty.
    ///
    /// # Errors
    /// It is somebody else's, holds what a broker left, or can't be written.
    pub fn take(&self) -> anyhow::Result<Kept> {
        self.check_strangers()?;
        std::fs::create_dir_all(&self.dir).with_context(|| format!("can't write {}", self.dir.display()))?;
        let lock = self.lock()?;
        Ok(Kept {
            place: self.clone(),
            _lock: lock,
        })
    }

    /// Removes what a broker left whose keeper has ended.
    ///
    /// # Errors
    /// A broker runs there by now, or the file system refuses.
    pub fn clean(&self) -> anyhow::Result<()> {
        let lock = self.lock()?;
        self.remove()?;
        drop(lock);
        Ok(())
    }

    /// The log files of the broker itself.
    pub fn logs(&self) -> Vec<PathBuf> {
        let folders = OURS.iter().map(|name| self.dir.join(name).join("logs"));
        let entries = folders
            .filter_map(|folder| std::fs::read_dir(folder).ok())
            .flatten()
            .filter_map(Result::ok);
        let files = entries.map(|entry| entry.path());
        files
            .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
            .collect()
    }

    fn lock(&self) -> anyhow::Result<Flock<File>> {
        let failed = || format!("can't write {}", self.dir.display());
        let file = File::options()
            .create(true)
            .append(true)
            .open(self.dir.join(LOCK))
            .with_context(failed)?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(lock),
            Err((_, Errno::EWOULDBLOCK)) => bail!("a broker runs in {} already", self.dir.display()),
            Err((_, error)) => Err(io::Error::from(error)).with_context(failed),
        }
    }

    fn remove(&self) -> anyhow::Result<()> {
        for name in OURS {
            let path = self.dir.join(name);
            let removed = match path.symlink_metadata() {
                Ok(file) if file.is_dir() => std::fs::remove_dir_all(&path),
                Ok(_) => std::fs::remove_file(&path),
                Err(_) => continue,
            };
            removed.with_context(|| format!("can't remove {}", path.display()))?;
        }
        // The folder itself, and the one that holds such folders by default, if nothing else is in them.
        let _ = std::fs::remove_dir(&self.dir);
        if let Some(parent) = self
            .dir
            .parent()
            .filter(|parent| parent.ends_with(super::DEFAULT_FOLDER))
        {
            let _ = std::fs::remove_dir(parent);
        }
        Ok(())
    }

    /// Asks the keeper to stop the broker, by SIGTERM to that very process.
    ///
    /// # Errors
    /// It can't be told, or the process is not the one that the state names.
    pub fn ask_to_stop(&self, state: &State, keep: bool) -> anyhow::Result<()> {
        let (process, started) = state.keeper;
        if start_time(process) != Some(started) {
            bail!(
                "process {process} is not the one that started {}; nothing was stopped",
                state.name
            );
        }
        if keep {
            let path = self.dir.join(KEEP);
            std::fs::write(&path, "").with_context(|| format!("can't write {}", path.display()))?;
        }
        kill(Pid::from_raw(process as i32), Signal::SIGTERM)
            .with_context(|| format!("process {process} can't be stopped"))
    }

    fn state(&self) -> Option<State> {
        let raw = std::fs::read(self.dir.join(STATE)).ok()?;
        serde_json::from_slice(&raw).ok()
    }

    fn check_strangers(&self) -> anyhow::Result<()> {
        let entries = match std::fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error).with_context(|| format!("can't read {}", self.dir.display())),
        };
        for entry in entries.filter_map(Result::ok) {
            let name = entry.file_name();
            if !OURS.iter().any(|ours| name == *ours) {
                let (dir, name) = (self.dir.display(), name.display());
                bail!("{dir} holds files of others, for example {name}: give --dir a folder of its own");
            }
        }
        Ok(())
    }
}

impl Kept {
    /// Writes how far the broker is, in one step.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn tell(&self, state: &State) -> anyhow::Result<()> {
        let path = self.place.dir.join(STATE);
        let part = self.place.dir.join(STATE_PART);
        let write = || -> io::Result<()> {
            std::fs::write(&part, serde_json::to_vec_pretty(state)?)?;
            std::fs::rename(&part, &path)
        };
        write().with_context(|| format!("can't write {}", path.display()))
    }

    /// Whether whoever stops the broker wants its files.
    pub fn is_to_be_kept(&self) -> bool {
        self.place.dir.join(KEEP).exists()
    }

    /// Removes the folder's content.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn clean(self) -> anyhow::Result<()> {
        self.place.remove()
    }
}

/// When a process started, in clock ticks since boot; `None` when there is none.
pub fn start_time(process: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name, in parentheses, may hold anything; the start is the 20th field behind it.
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> State {
        let own = std::process::id();
        State {
            name: "kafka".to_owned(),
            keeper: (own, start_time(own).unwrap() + 1),
            phase: Phase::Starting,
            addresses: Vec::new(),
            processes: Vec::new(),
            about: Vec::new(),
        }
    }

    #[test]
    fn a_folder_has_one_keeper_and_only_its_files_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::new(folder.path().join("k"));
        assert!(matches!(place.look().unwrap(), Found::Nothing));
        let kept = place.take().unwrap();
        kept.tell(&state()).unwrap();
        assert!(matches!(place.look().unwrap(), Found::Kept(Some(_))));
        assert!(place.take().unwrap_err().to_string().contains("already"));
        drop(kept);
        assert!(matches!(place.look().unwrap(), Found::Left(Some(_))));

        std::fs::create_dir_all(place.dir().join("node-1/data")).unwrap();
        std::fs::write(place.dir().join("mine"), "").unwrap();
        assert!(place.take().unwrap_err().to_string().contains("for example mine"));
        place.clean().unwrap();
        let left: Vec<_> = std::fs::read_dir(place.dir())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(left, ["mine"]);
    }

    #[test]
    fn a_process_that_only_has_the_number_gets_no_signal() {
        let folder = tempfile::tempdir().unwrap();
        let error = Place::new(folder.path().to_owned())
            .ask_to_stop(&state(), false)
            .unwrap_err();
        assert!(error.to_string().contains("is not the one"), "{error}");
    }
}
