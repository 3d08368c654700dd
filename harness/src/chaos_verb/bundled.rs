//! The bundled broker as a cluster that faults see: one real process, killed by SIGKILL and started again on its data.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use chaos::{Cluster, ClusterError, Evidence, PlantedBug, Role};
use kafka_wire::ApiKey;
use kafka_wire::frame::{finish_frame, start_request};

const READY_WITHIN: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(2);
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// Bytes at the end of the broker's log that an error quotes.
const QUOTED_BYTES: usize = 600;

/// One broker process, its data in `<run folder>/data`, its log in `<run folder>/broker.log`.
pub struct BundledBroker {
    address: SocketAddr,
    folder: PathBuf,
    settings: Vec<String>,
    planted: Option<PlantedBug>,
    child: Option<Child>,
}

impl BundledBroker {
    /// Starts it on a free port and waits until it answers.
    pub fn start_in(folder: &Path, settings: &[String], planted: Option<PlantedBug>) -> anyhow::Result<Self> {
        // The port stays the same over restarts, so it is chosen here and not by the broker.
        let address = TcpListener::bind("127.0.0.1:0")
            .and_then(|free| free.local_addr())
            .context("no free port")?;
        let (folder, settings) = (folder.to_path_buf(), settings.to_vec());
        let mut broker = Self {
            address,
            folder,
            settings,
            planted,
            child: None,
        };
        broker.start(Role::Broker)?;
        broker.wait_ready(Role::Broker, READY_WITHIN)?;
        Ok(broker)
    }

    fn log_path(&self) -> PathBuf {
        self.folder.join("broker.log")
    }

    fn did_not_start(&self, what: &str) -> ClusterError {
        let log = std::fs::read(self.log_path()).unwrap_or_default();
        let tail = String::from_utf8_lossy(&log[log.len().saturating_sub(QUOTED_BYTES)..]).into_owned();
        ClusterError::DidNotStart {
            role: Role::Broker,
            reason: format!("{what}; its log ends:\n{tail}"),
        }
    }

    fn command(&self, log: File) -> Command {
        let mut command = Command::new("/proc/self/exe");
        command.arg("broker").arg("--port").arg(self.address.port().to_string());
        command.arg("--data-dir").arg(self.folder.join("data"));
        for setting in &self.settings {
            command.arg("--set").arg(setting);
        }
        if let Some(bug) = self.planted {
            command.arg("--planted").arg(bug.name());
            command.env(broker_under_test::planted::ENVIRONMENT, bug.name());
        }
        // Its own process group, so that Ctrl-C reaches it only through the harness.
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .process_group(0);
        // SAFETY: between fork and exec only prctl(2) is called, which is async-signal-safe and allocates nothing.
        unsafe {
            command.pre_exec(|| Ok(nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?));
        }
        command
    }
}

fn environment(what: String, remedy: &str) -> ClusterError {
    ClusterError::Environment {
        what,
        remedy: remedy.to_owned(),
    }
}

impl Cluster for BundledBroker {
    fn roles(&self) -> Vec<Role> {
        vec![Role::Broker]
    }

    fn address(&self) -> SocketAddr {
        self.address
    }

    fn kill(&mut self, _role: Role) -> Result<Evidence, ClusterError> {
        let Some(mut child) = self.child.take() else {
            return Ok(Evidence {
                count: 0,
                what: "no process was running".to_owned(),
            });
        };
        let failed = |error| environment(format!("the broker can't be killed: {error}"), "look for it with ps");
        let pid = child.id();
        if let Some(status) = child.try_wait().map_err(failed)? {
            return Ok(Evidence {
                count: 0,
                what: format!("process {pid} was gone before the signal: {status}"),
            });
        }
        child.kill().map_err(failed)?;
        let status: ExitStatus = child.wait().map_err(failed)?;
        let count = u32::from(status.signal() == Some(nix::sys::signal::Signal::SIGKILL as i32));
        Ok(Evidence {
            count,
            what: format!("process {pid} ended: {status}"),
        })
    }

    fn start(&mut self, _role: Role) -> Result<(), ClusterError> {
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log_path())
            .map_err(|error| {
                environment(
                    format!("{}: {error}", self.log_path().display()),
                    "choose another folder with --out",
                )
            })?;
        let child = self.command(log).spawn().map_err(|error| {
            environment(
                format!("the broker's process can't be started: {error}"),
                "check ulimit -u and memory",
            )
        })?;
        self.child = Some(child);
        Ok(())
    }

    fn wait_ready(&mut self, _role: Role, timeout: Duration) -> Result<(), ClusterError> {
        let end = Instant::now() + timeout;
        while Instant::now() < end {
            let ended = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten());
            if let Some(status) = ended {
                self.child = None;
                return Err(self.did_not_start(&format!("it ended: {status}")));
            }
            if answers(self.address).is_ok() {
                return Ok(());
            }
            std::thread::sleep(LOOK);
        }
        Err(self.did_not_start(&format!("no answer within {} ms", timeout.as_millis())))
    }
}

impl Drop for BundledBroker {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Nothing can be done about a failure here, and the parent's death signal ends it at the latest.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Asks for ApiVersions version 0 and waits for the first bytes of an answer.
fn answers(address: SocketAddr) -> std::io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&address, ANSWER_WITHIN)?;
    stream.set_read_timeout(Some(ANSWER_WITHIN))?;
    let mut request = Vec::new();
    let start = start_request(&mut request, ApiKey::ApiVersions, 0, 1, "assay");
    finish_frame(&mut request, start);
    stream.write_all(&request)?;
    stream.read_exact(&mut [0; 8])
}
