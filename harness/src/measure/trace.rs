//! Which system calls a running process makes, and on what: strace attached from outside, read line by line, nothing kept but sums.
//!
//! Tracing slows the traced process many times over, so what happens meanwhile is never timed. Every call is counted by the kinds
//! of the descriptors it names (`sendfile` from a segment to a TCP connection is another line than from any other file), because a
//! broker also writes its own log and wakes its own threads.

mod line;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, BufRead, BufReader, ErrorKind};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::interrupt;
use line::{Line, Lines};

/// strace attaches to hundreds of threads in well under a second; one that takes this long hangs.
const ATTACH_MAX: Duration = Duration::from_secs(30);
/// How long strace may take to let go of them.
const DETACH_MAX: Duration = Duration::from_secs(20);
/// How long a busy process may keep its threads from coming to rest.
const REST_MAX: Duration = Duration::from_secs(1);
/// How often waiting looks for Ctrl-C.
const TICK: Duration = Duration::from_millis(100);
/// More different calls and descriptors than this are not told apart any more.
const KINDS_MAX: usize = 1_000;

/// What a descriptor of a call stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Descriptor {
    /// A segment of a partition: a file that is named by an offset and `.log`.
    Segment,
    /// A segment of a topic that the broker keeps for itself (`__cluster_metadata`, `__consumer_offsets`).
    InternalSegment,
    /// Any other file.
    File,
    /// A TCP connection or listener.
    Tcp,
    /// Another socket, a pipe, an event queue.
    Other,
}

impl Descriptor {
    /// For people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Segment => "segment",
            Self::InternalSegment => "internal segment",
            Self::File => "file",
            Self::Tcp => "tcp",
            Self::Other => "other",
        }
    }
}

/// One system call on one kind of descriptors, summed up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Traced {
    /// Name of the call, for example `sendfile`.
    pub call: String,
    /// What its descriptors are, in the order of its arguments: `sendfile` names the one it sends to first.
    pub on: Vec<Descriptor>,
    /// Calls that returned, failed ones too.
    pub count: u64,
    /// Bytes that they moved, as they returned it; 0 for calls that return something else.
    pub bytes: u64,
    /// The first of them as strace wrote it, without the data, and with the last two parts of each path.
    pub example: String,
}

impl Traced {
    /// The call and what it was on, for example `sendfile(tcp, segment)`.
    pub fn name(&self) -> String {
        let on: Vec<&str> = self.on.iter().map(|kind| kind.as_str()).collect();
        format!("{}({})", self.call, on.join(", "))
    }
}

/// Why this machine, or this process, can't be traced: one line with the remedy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// No strace.
    #[error("strace is not installed; install the package `strace`")]
    NotInstalled,
    /// The kernel or strace refuses.
    #[error("strace can't attach ({0}); it needs the same user and kernel.yama.ptrace_scope = 0, or CAP_SYS_PTRACE")]
    Refused(String),
}

/// Why there is no trace.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// Nothing was traced, and nothing was done.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// Ctrl-C, or what was to be traced failed.
    #[error(transparent)]
    Other(#[from] anyhow::Error),
}

/// Traces `calls` of the processes (all threads, and what they start) while `during` runs. Answers its value and the calls, by name.
/// Where a process never rests, a call in progress at the begin or the end may be missing.
///
/// # Errors
/// [`TraceError::Unavailable`] before `during` runs; else the error of `during`, or Ctrl-C. The processes run on in every case.
pub fn trace<T>(
    pids: &[u32],
    calls: &[&str],
    during: impl FnOnce() -> anyhow::Result<T>,
) -> Result<(T, Vec<Traced>), TraceError> {
    let tracing = Tracing::attach(pids, calls)?;
    let value = during()?;
    Ok((value, tracing.finish()?))
}

/// strace, attached; it lets go when this is dropped.
#[derive(Debug)]
pub struct Tracing {
    strace: Child,
    pids: Vec<u32>,
    reader: Option<JoinHandle<io::Result<Sums>>>,
}

impl Tracing {
    /// Attaches to the processes, and waits until strace says that it is attached to all of them.
    ///
    /// The thread that calls this must outlive the trace: strace ends with it.
    ///
    /// # Errors
    /// See [`trace`].
    pub fn attach(pids: &[u32], calls: &[&str]) -> Result<Self, TraceError> {
        let mut command = Command::new("strace");
        command.args(["-f", "-s", "0", "-a", "1", "-yy", "-e", "signal=none", "-e"]);
        command.arg(format!("trace={}", calls.join(",")));
        pids.iter().for_each(|pid| {
            command.args(["-p", &pid.to_string()]);
        });
        // A group of its own: Ctrl-C in a terminal is for the harness, which then lets go in order.
        command.env("LC_ALL", "C").process_group(0);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        // SIGTERM and not SIGKILL: strace detaches before it ends.
        let prepare = || Ok(nix::sys::prctl::set_pdeathsig(Signal::SIGTERM)?);
        // SAFETY: between fork and exec one system call is made, and nothing is allocated on the success path.
        unsafe { command.pre_exec(prepare) };
        let mut strace = command.spawn().map_err(|error| match error.kind() {
            ErrorKind::NotFound => Unavailable::NotInstalled,
            _ => Unavailable::Refused(error.to_string()),
        })?;
        let said = strace.stderr.take();
        let (tell, attached) = channel();
        let mut tracing = Tracing {
            strace,
            pids: pids.to_vec(),
            reader: None,
        };
        if let Some(said) = said {
            tracing.reader = Some(std::thread::spawn(move || read(BufReader::new(said), &tell)));
        }
        tracing.wait_until_attached(&attached)?;
        tracing.rest();
        Ok(tracing)
    }

    fn wait_until_attached(&mut self, events: &Receiver<Event>) -> Result<(), TraceError> {
        let deadline = Instant::now() + ATTACH_MAX;
        let mut missing = self.pids.clone();
        let mut complaint = String::new();
        while !missing.is_empty() {
            interrupt::check().map_err(anyhow::Error::from)?;
            match events.recv_timeout(TICK) {
                Ok(Event::Attached(pid)) => missing.retain(|other| *other != pid),
                Ok(Event::Complaint(text)) if complaint.is_empty() => complaint = text,
                Ok(Event::Complaint(_)) => {}
                Err(RecvTimeoutError::Timeout) if Instant::now() < deadline => {}
                Err(RecvTimeoutError::Timeout) => {
                    complaint = format!("it did not attach within {ATTACH_MAX:?}");
                    return Err(Unavailable::Refused(complaint).into());
                }
                Err(RecvTimeoutError::Disconnected) => {
                    if complaint.is_empty() {
                        complaint = "it ended without a word".to_owned();
                    }
                    return Err(Unavailable::Refused(complaint).into());
                }
            }
        }
        Ok(())
    }

    /// Lets the processes go, and answers what was counted, by call and descriptors.
    ///
    /// # Errors
    /// strace's output can't be read.
    pub fn finish(mut self) -> anyhow::Result<Vec<Traced>> {
        self.rest();
        self.detach();
        let Some(reader) = self.reader.take() else {
            return Ok(Vec::new());
        };
        let sums = reader
            .join()
            .map_err(|_| anyhow::anyhow!("the reader of strace's output broke"))??;
        Ok(sums.into_traced())
    }

    /// Waits until no thread is on its way to or from a call, so that the one in progress is not lost: strace takes hold of a thread, and
    /// hears of a call's end, after the call's effect can be seen from outside. A process that never rests is waited for in vain.
    fn rest(&self) {
        let deadline = Instant::now() + REST_MAX;
        let moving = || self.pids.iter().any(|pid| any_thread(*pid, &['R', 'D', 't']));
        while moving() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn detach(&mut self) {
        let deadline = Instant::now() + DETACH_MAX;
        if matches!(self.strace.try_wait(), Ok(None)) {
            // An error means that it has ended meanwhile.
            let _ = kill(Pid::from_raw(self.strace.id() as i32), Signal::SIGINT);
        }
        while matches!(self.strace.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                // The kernel lets go of what a dead tracer held.
                let _ = self.strace.kill();
                let _ = self.strace.wait();
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        self.pids.iter().filter(|pid| is_stopped(**pid)).for_each(|pid| {
            let _ = kill(Pid::from_raw(*pid as i32), Signal::SIGCONT);
        });
    }
}

impl Drop for Tracing {
    fn drop(&mut self) {
        self.detach();
    }
}

/// Whether any thread of the process is in one of the states (`man 5 proc`).
fn any_thread(pid: u32, states: &[char]) -> bool {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten();
    let mut stats = tasks
        .filter_map(Result::ok)
        .filter_map(|task| std::fs::read_to_string(task.path().join("stat")).ok());
    // The state follows the parenthesised name, which may hold anything.
    stats.any(|stat| stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with(states)))
}

/// Whether any thread of the process is stopped.
fn is_stopped(pid: u32) -> bool {
    any_thread(pid, &['T', 't'])
}

/// What strace says that is no call.
enum Event {
    Attached(u32),
    Complaint(String),
}

/// Reads to the end.
fn read(said: impl BufRead, tell: &Sender<Event>) -> io::Result<Sums> {
    let mut sums = Sums::default();
    let mut lines = Lines::default();
    for text in said.split(b'\n') {
        let text = text?;
        // Nobody listens any more once all are attached.
        match lines.parse(&String::from_utf8_lossy(&text)) {
            Some(Line::Attached(pid)) => drop(tell.send(Event::Attached(pid))),
            Some(Line::Complaint(text)) => drop(tell.send(Event::Complaint(text))),
            Some(Line::Call(call)) => sums.add(&call),
            None => {}
        }
    }
    Ok(sums)
}

/// Counts by call and descriptors.
#[derive(Debug, Default)]
struct Sums(BTreeMap<(String, Vec<Descriptor>), Traced>);

impl Sums {
    fn add(&mut self, call: &line::Call) {
        let mut key = (call.name.clone(), call.on.clone());
        if self.0.len() >= KINDS_MAX && !self.0.contains_key(&key) {
            key.1.clear();
        }
        let sum = self.0.entry(key.clone()).or_insert_with(|| Traced {
            call: key.0,
            on: key.1,
            count: 0,
            bytes: 0,
            example: call.shown.clone(),
        });
        sum.count += 1;
        sum.bytes += call.bytes;
    }

    fn into_traced(self) -> Vec<Traced> {
        self.0.into_values().collect()
    }
}

impl fmt::Display for Traced {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{} {} times, {} bytes", self.name(), self.count, self.bytes)
    }
}
