//! The binary in a folder of its own, and what it leaves there.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use results::reader::Run;
use results::schema::{Measurement, PlannedTrial};
use tempfile::TempDir;

/// Whatever has not happened after this long hangs; the slowest of it takes seconds.
const WATCHDOG: Duration = Duration::from_secs(120);

/// The smallest experiment there is.
pub const TINY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/tiny.toml");

/// A folder that commands run in, on the file system of the build and not on /tmp, which may be kept in memory.
pub struct Place(TempDir);

impl Place {
    pub fn new() -> Self {
        Place(TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap())
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// A file in it.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// `assay` with arguments, not yet started; nothing of the environment makes it colourful.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_assay"));
        command.args(arguments).current_dir(self.path()).stdin(Stdio::null());
        command.env_remove("ASSAY_PLANTED_BUG").env_remove("RUST_LOG");
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Starts `assay` and does not wait for it.
    pub fn start(&self, arguments: &[&str]) -> Child {
        self.command(arguments).spawn().unwrap()
    }

    /// Runs `assay` to its end.
    pub fn assay(&self, arguments: &[&str]) -> Ended {
        Ended::of(arguments, self.start(arguments))
    }

    /// Runs the tiny experiment with further arguments.
    pub fn tiny(&self, arguments: &[&str]) -> Ended {
        self.assay(&[&["run", TINY], arguments].concat())
    }

    /// The run folders under `assay-runs`, oldest first.
    pub fn runs(&self) -> Vec<PathBuf> {
        let Ok(entries) = std::fs::read_dir(self.path().join("assay-runs")) else {
            return Vec::new();
        };
        let mut runs: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        runs.sort();
        runs
    }

    /// The one run folder.
    pub fn run_folder(&self) -> PathBuf {
        let runs = self.runs();
        assert_eq!(runs.len(), 1, "{runs:?}");
        runs[0].clone()
    }

    /// Ids of the processes that work in this folder: children inherit it.
    pub fn processes(&self) -> Vec<Pid> {
        let here = self.path().canonicalize().unwrap();
        let all = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
        let ours = all.filter(|entry| std::fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd == here));
        ours.filter_map(|entry| Some(Pid::from_raw(entry.file_name().to_str()?.parse().ok()?)))
            .collect()
    }

    /// Fails unless every process of this folder is gone soon.
    pub fn assert_nothing_left(&self) {
        eventually("every process has ended", || self.processes().is_empty());
    }
}

/// How a command ended.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    /// Waits for it, at most as long as the watchdog allows.
    pub fn of(arguments: &[&str], child: Child) -> Self {
        let pid = Pid::from_raw(child.id() as i32);
        let (done, watched) = std::sync::mpsc::channel::<()>();
        let watchdog = std::thread::spawn(move || {
            let hangs = watched.recv_timeout(WATCHDOG) == Err(std::sync::mpsc::RecvTimeoutError::Timeout);
            if hangs {
                let _ = kill(pid, Signal::SIGKILL);
            }
            hangs
        });
        let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
        drop(done);
        let ended = Ended {
            code: status.code(),
            stdout: String::from_utf8(stdout).unwrap(),
            stderr: String::from_utf8(stderr).unwrap(),
        };
        assert!(!watchdog.join().unwrap(), "assay {arguments:?} hangs: {ended:?}");
        ended
    }

    #[track_caller]
    pub fn code(self, expected: i32) -> Self {
        assert_eq!(
            self.code,
            Some(expected),
            "stdout:\n{}\nstderr:\n{}",
            self.stdout,
            self.stderr
        );
        self
    }

    /// All of it is on stdout.
    #[track_caller]
    pub fn says(self, parts: &[&str]) -> Self {
        for part in parts {
            assert!(self.stdout.contains(part), "no {part:?} in stdout:\n{}", self.stdout);
        }
        self
    }

    /// All of it is on stderr.
    #[track_caller]
    pub fn complains(self, parts: &[&str]) -> Self {
        for part in parts {
            assert!(self.stderr.contains(part), "no {part:?} in stderr:\n{}", self.stderr);
        }
        self
    }
}

/// Waits until it is so.
#[track_caller]
pub fn eventually(what: &str, mut so: impl FnMut() -> bool) {
    let deadline = Instant::now() + WATCHDOG;
    while !so() {
        assert!(Instant::now() < deadline, "not after {WATCHDOG:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The writing end of a pipe that nobody reads any more.
pub fn closed_pipe() -> OwnedFd {
    let (read, write) = nix::unistd::pipe().unwrap();
    drop(read);
    write
}

/// The files under a folder with their contents, by path from there.
pub fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
                found.insert(name, std::fs::read(&path).unwrap());
            }
        }
    }
    found
}

/// Copies a run folder, so that a test can damage it.
pub fn copy_folder(from: &Path, to: &Path) {
    for (name, content) in files(from) {
        let path = to.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
}

/// What a run measured, by trial and metric.
pub struct Figures<'a>(BTreeMap<(u32, &'a str), f64>);

impl<'a> Figures<'a> {
    pub fn of(run: &'a Run) -> Self {
        let figure = |row: &'a Measurement| ((row.trial, row.metric.as_str()), row.value);
        Figures(run.trials.iter().map(figure).collect())
    }

    pub fn get(&self, trial: &PlannedTrial, metric: &str) -> Option<f64> {
        self.0.get(&(trial.trial, metric)).copied()
    }

    /// One that must be there.
    #[track_caller]
    pub fn need(&self, trial: &PlannedTrial, metric: &str) -> f64 {
        let figure = self.get(trial, metric);
        figure.unwrap_or_else(|| panic!("no {metric} of {}", trial.arm))
    }
}
