//! A client process (`assay worker`) and the conversation with it; see `workloads::worker`.

use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use workloads::native::PhaseResult;
use workloads::worker::{WorkerEvent, WorkerResult, WorkerSpec};

use crate::interrupt;
use crate::process::{Cpus, Process};

/// A worker that says nothing for this long hangs.
const SILENCE_MAX: Duration = Duration::from_secs(120);
/// How often waiting looks for Ctrl-C and takes samples.
const TICK: Duration = Duration::from_millis(100);

/// How long a worker may take to end.
const QUIT_MAX: Duration = Duration::from_secs(10);

/// A running worker; killed when dropped.
#[derive(Debug)]
pub struct Worker {
    /// The process.
    pub process: Process,
    stdin: ChildStdin,
    events: Receiver<anyhow::Result<WorkerEvent>>,
}

impl Worker {
    /// Starts a worker and gives it its task.
    pub fn start(spec: &WorkerSpec, cpus: Option<&Cpus>) -> anyhow::Result<Self> {
        let mut process =
            Process::start_self(["worker"], cpus, Stdio::inherit(), true).context("can't start a worker process")?;
        let (mut stdin, stdout) = process.pipes().context("a worker without pipes")?;
        let (send, events) = sync_channel(16);
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines() {
                let event = line
                    .map_err(anyhow::Error::from)
                    .and_then(|l| Ok(serde_json::from_str(&l)?));
                if send.send(event).is_err() {
                    return;
                }
            }
        });
        writeln!(stdin, "{}", serde_json::to_string(spec)?).context("the worker does not take its task")?;
        Ok(Worker { process, stdin, events })
    }

    /// Waits for the next event, calling `tick` about ten times a second.
    ///
    /// # Errors
    /// What the worker reports, its end, silence, Ctrl-C.
    pub fn hear(&mut self, mut tick: impl FnMut()) -> anyhow::Result<WorkerEvent> {
        let deadline = Instant::now() + SILENCE_MAX;
        loop {
            // Also before an event that is there already: short windows never wait for a tick.
            interrupt::check()?;
            match self.events.recv_timeout(TICK) {
                Ok(event) => return self.heard(event?),
                Err(RecvTimeoutError::Timeout) => tick(),
                Err(RecvTimeoutError::Disconnected) => return self.ended(),
            }
            if Instant::now() > deadline {
                bail!("the client process said nothing for {SILENCE_MAX:?}");
            }
        }
    }

    /// The next event, if one comes within `wait`. It does not look for Ctrl-C: whoever asks wants what was measured until then.
    ///
    /// # Errors
    /// What the worker reports, or its end.
    pub fn try_hear(&mut self, wait: Duration) -> anyhow::Result<Option<WorkerEvent>> {
        match self.events.recv_timeout(wait) {
            Ok(event) => self.heard(event?).map(Some),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => self.ended(),
        }
    }

    fn heard(&self, event: WorkerEvent) -> anyhow::Result<WorkerEvent> {
        match event {
            WorkerEvent::Error { message } => bail!("the client failed: {message}"),
            event => Ok(event),
        }
    }

    fn ended<T>(&mut self) -> anyhow::Result<T> {
        let status = self.process.wait(Duration::from_secs(1))?;
        bail!(
            "the client process ended: {}",
            status.map_or("?".to_owned(), crate::process::describe)
        );
    }

    /// Waits until the worker is warmed up and idle.
    pub fn ready(&mut self) -> anyhow::Result<()> {
        self.warmed_up().map(drop)
    }

    /// Waits until the worker is warmed up and idle; answers what that moved.
    pub fn warmed_up(&mut self) -> anyhow::Result<Option<PhaseResult>> {
        match self.hear(|| ())? {
            WorkerEvent::Ready { warmup } => Ok(warmup),
            other => bail!("the client said {other:?} where `ready` was due"),
        }
    }

    /// Says `go`.
    pub fn go(&mut self) -> anyhow::Result<()> {
        writeln!(self.stdin, "go").context("the worker is gone")
    }

    /// Waits for the end of a window.
    pub fn phase(&mut self, tick: impl FnMut()) -> anyhow::Result<PhaseResult> {
        match self.result(tick)? {
            WorkerResult::Phase(phase) => Ok(phase),
            other => bail!("the client answered {other:?} where a window was due"),
        }
    }

    /// Waits for the end of a task.
    pub fn result(&mut self, tick: impl FnMut()) -> anyhow::Result<WorkerResult> {
        match self.hear(tick)? {
            WorkerEvent::Done { result } => Ok(result),
            other => bail!("the client said {other:?} where `done` was due"),
        }
    }

    /// Says `quit` and waits for the end.
    pub fn quit(mut self) -> anyhow::Result<()> {
        let _ = writeln!(self.stdin, "quit");
        let Some(status) = self.process.wait(QUIT_MAX)? else {
            bail!("the client process did not end within {QUIT_MAX:?}");
        };
        if !status.success() {
            bail!("the client process ended with {}", crate::process::describe(status));
        }
        Ok(())
    }
}
