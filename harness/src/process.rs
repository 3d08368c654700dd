//! Children that live and die with the harness: own process group, killed when their parent dies or drops them.

use std::ffi::OsStr;
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// CPUs that one role runs on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cpus(Vec<usize>);

impl Cpus {
    /// The two halves of the CPUs that this process may use: for the sender (a broker) and for the receiver (a client), so that the
    /// scheduler's placement is no hidden factor. `None` with a single CPU.
    pub fn halves() -> Option<(Cpus, Cpus)> {
        let allowed = sched_getaffinity(Pid::from_raw(0)).ok()?;
        let cpus: Vec<usize> = (0..CpuSet::count())
            .filter(|cpu| allowed.is_set(*cpu).unwrap_or(false))
            .collect();
        let (a, b) = cpus.split_at(cpus.len() / 2);
        (!a.is_empty()).then(|| (Cpus(a.to_vec()), Cpus(b.to_vec())))
    }

    fn set(&self) -> nix::Result<CpuSet> {
        let mut set = CpuSet::new();
        self.0.iter().try_for_each(|cpu| set.set(*cpu))?;
        Ok(set)
    }
}

impl std::fmt::Display for Cpus {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let names: Vec<String> = self.0.iter().map(usize::to_string).collect();
        f.write_str(&names.join(","))
    }
}

/// A child process; killed and reaped when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
}

impl Process {
    /// Starts this very binary with other arguments.
    pub fn start_self<I, S>(args: I, cpus: Option<&Cpus>, stderr: Stdio, piped: bool) -> io::Result<Self>
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        Self::start_self_with(args, &[], cpus, stderr, piped)
    }

    /// Starts this very binary with other arguments and further environment variables.
    pub fn start_self_with<I, S>(
        args: I,
        environment: &[(&str, &str)],
        cpus: Option<&Cpus>,
        stderr: Stdio,
        piped: bool,
    ) -> io::Result<Self>
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        let mut command = Command::new("/proc/self/exe");
        command.arg0("assay").args(args).stderr(stderr);
        command.envs(environment.iter().copied());
        match piped {
            true => command.stdin(Stdio::piped()).stdout(Stdio::piped()),
            false => command.stdin(Stdio::null()).stdout(Stdio::null()),
        };
        Self::start(command, cpus)
    }

    /// Starts a program in a process group of its own that dies with the thread that calls this, on `cpus` when they are given.
    ///
    /// The kernel ties the end of a child to the thread that started it and not to its process, so the caller must live as
    /// long as the child is to.
    ///
    /// # Errors
    /// What the system says, for example that there is no such program.
    pub fn start(mut command: Command, cpus: Option<&Cpus>) -> io::Result<Self> {
        command.process_group(0);
        let set = cpus.map(Cpus::set).transpose()?;
        let parent = nix::unistd::getpid();
        let prepare = move || {
            nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
            // The parent may have died before the line above.
            if nix::unistd::getppid() != parent {
                return Err(io::Error::other("the parent is gone"));
            }
            if let Some(set) = &set {
                sched_setaffinity(Pid::from_raw(0), set)?;
            }
            Ok(())
        };
        // SAFETY: between fork and exec only system calls are made, and nothing is allocated on the success path.
        unsafe { command.pre_exec(prepare) };
        Ok(Process {
            child: command.spawn()?,
        })
    }

    /// Process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The pipes to the child, when it was started with them.
    pub fn pipes(&mut self) -> Option<(std::process::ChildStdin, std::process::ChildStdout)> {
        Some((self.child.stdin.take()?, self.child.stdout.take()?))
    }

    /// The exit status, when the child has ended.
    pub fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// Waits at most `timeout` for the end.
    pub fn wait(&mut self, timeout: Duration) -> io::Result<Option<ExitStatus>> {
        let deadline = Instant::now() + timeout;
        loop {
            match self.child.try_wait()? {
                None if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(1)),
                ended => return Ok(ended),
            }
        }
    }

    /// Sends SIGTERM, unless it has ended.
    pub fn terminate(&mut self) -> io::Result<()> {
        if self.child.try_wait()?.is_none() {
            kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM)?;
        }
        Ok(())
    }

    /// Sends SIGTERM and waits; SIGKILL after `timeout`.
    pub fn stop(&mut self, timeout: Duration) -> io::Result<ExitStatus> {
        self.terminate()?;
        match self.wait(timeout)? {
            Some(status) => Ok(status),
            None => self.kill(),
        }
    }

    /// Sends SIGKILL and waits for the end.
    pub fn kill(&mut self) -> io::Result<ExitStatus> {
        self.child.kill()?;
        self.child.wait()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.kill();
        }
    }
}

/// How a process ended, in words.
pub fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "an unknown end".to_owned(),
    }
}

/// The last lines of a log file, for error messages.
pub fn tail(path: &Path, lines: usize) -> String {
    let text = std::fs::read(path)
        .map(|raw| String::from_utf8_lossy(&raw).into_owned())
        .unwrap_or_default();
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
