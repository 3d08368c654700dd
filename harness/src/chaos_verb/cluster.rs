//! The bundled broker as a cluster that faults see: one real process, killed by SIGKILL and started again on its data.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use chaos::{Cluster, ClusterError, Evidence, PlantedBug, Role};
use nix::sys::signal::Signal;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, bind, getsockname, setsockopt, socket, sockopt::ReuseAddr,
};
use results::schema::TargetReceipt;

use crate::process::{self, Process};
use crate::target::bundled::{self, BrokerSpec, BundledBroker};

/// How long the first start may take; it is on an empty folder.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// Lines of the broker's log that an error quotes.
const QUOTED_LINES: usize = 10;

/// One broker process, its data in `<run folder>/data`, its log in `<run folder>/broker.log`.
pub struct BundledCluster {
    spec: BrokerSpec,
    /// Bound and never listening. While the broker is down, the kernel would otherwise give its port to some client's
    /// connection, and the broker could not come back.
    _port: OwnedFd,
    life: Life,
}

enum Life {
    Down,
    Launched(Process),
    Ready(BundledBroker),
}

impl BundledCluster {
    /// Where the broker keeps its data.
    pub fn data_dir(folder: &Path) -> PathBuf {
        folder.join("data")
    }

    /// Starts it on a free port and waits until it answers.
    ///
    /// # Errors
    /// When it does not start; its log is quoted.
    pub fn start_in(
        folder: &Path,
        settings: &BTreeMap<String, String>,
        planted: Option<PlantedBug>,
    ) -> anyhow::Result<Self> {
        let (held, port) = hold_a_port().context("no port can be held on 127.0.0.1")?;
        let spec = BrokerSpec {
            data_dir: Self::data_dir(folder),
            port,
            settings: settings.clone(),
            cpus: None,
            log: folder.join("broker.log"),
            planted: planted.map(|bug| bug.name().to_owned()),
        };
        let broker = BundledBroker::ready(bundled::launch(&spec)?, &spec, READY_WITHIN)?;
        Ok(Self {
            spec,
            _port: held,
            life: Life::Ready(broker),
        })
    }

    /// What runs, with the settings in force; `None` while it is down.
    pub fn receipt(&self) -> Option<TargetReceipt> {
        let Life::Ready(broker) = &self.life else { return None };
        Some(broker.receipt(&[]))
    }
}

/// Binds a free port without listening. The broker binds it as well, as both sides allow address reuse.
fn hold_a_port() -> nix::Result<(OwnedFd, u16)> {
    let held = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&held, ReuseAddr, &true)?;
    bind(held.as_raw_fd(), &SockaddrIn::new(127, 0, 0, 1, 0))?;
    let port = getsockname::<SockaddrIn>(held.as_raw_fd())?.port();
    Ok((held, port))
}

fn environment(what: String, remedy: &str) -> ClusterError {
    ClusterError::Environment {
        what,
        remedy: remedy.to_owned(),
    }
}

impl Cluster for BundledCluster {
    fn roles(&self) -> Vec<Role> {
        vec![Role::Broker]
    }

    fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.spec.port).into()
    }

    fn crashed(&mut self, _role: Role) -> Option<String> {
        let process = match &mut self.life {
            Life::Down => return None,
            Life::Launched(process) => process,
            Life::Ready(broker) => &mut broker.process,
        };
        let status = process.ended().ok().flatten()?;
        self.life = Life::Down;
        let log = process::tail(&self.spec.log, QUOTED_LINES);
        Some(format!("{}; its log ends with:\n{log}", process::describe(status)))
    }

    fn kill(&mut self, _role: Role) -> Result<Evidence, ClusterError> {
        let failed = |error| environment(format!("the broker can't be killed: {error}"), "look for it with ps");
        let mut process = match std::mem::replace(&mut self.life, Life::Down) {
            Life::Down => {
                return Ok(Evidence {
                    count: 0,
                    what: "no process was running".to_owned(),
                });
            }
            Life::Launched(process) => process,
            Life::Ready(broker) => broker.process,
        };
        let status = process.kill().map_err(failed)?;
        // A process that had ended before is a zombie: the signal goes nowhere, and its own status is read.
        let count = u32::from(status.signal() == Some(Signal::SIGKILL as i32));
        let what = format!("process {} ended by {}", process.id(), process::describe(status));
        Ok(Evidence { count, what })
    }

    fn start(&mut self, _role: Role) -> Result<(), ClusterError> {
        let launched = bundled::launch(&self.spec);
        let process = launched.map_err(|error| environment(format!("{error:#}"), "check ulimit -u and free memory"))?;
        self.life = Life::Launched(process);
        Ok(())
    }

    fn wait_ready(&mut self, role: Role, timeout: Duration) -> Result<(), ClusterError> {
        let Life::Launched(process) = std::mem::replace(&mut self.life, Life::Down) else {
            return Err(environment(
                format!("nobody started the {role}"),
                "report this as a bug",
            ));
        };
        match BundledBroker::ready(process, &self.spec, timeout) {
            Ok(broker) => {
                self.life = Life::Ready(broker);
                Ok(())
            }
            Err(error) => Err(ClusterError::DidNotStart {
                role,
                reason: format!("{error:#}"),
            }),
        }
    }
}
