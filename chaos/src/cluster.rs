//! What a fault sees of the system under test: roles, not processes.
//!
//! The harness implements [`Cluster`] for the bundled broker and for foreign ones.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Whom a fault is aimed at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// The broker that serves the workload's topic.
    Broker,
}

impl Role {
    /// Every role there is.
    pub const ALL: [Role; 1] = [Role::Broker];

    /// The name in a scenario file.
    pub fn name(self) -> &'static str {
        match self {
            Role::Broker => "broker",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// Proof that a fault bit, counted where it could be seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// How often it was seen; 0 means that nothing was seen and that the run can't be judged.
    pub count: u32,
    /// What was seen, such as "process 4711 exited by signal 9".
    pub what: String,
}

/// Why a cluster did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The system under test came up wrong: a finding, not an error of the machine.
    #[error("{role} did not start: {reason}")]
    DidNotStart {
        /// Which part of it.
        role: Role,
        /// What was seen: an exit code, the last lines of its log, a timeout.
        reason: String,
    },
    /// The machine or the harness is at fault, and nothing is known about the system under test.
    #[error("{what}; {remedy}")]
    Environment {
        /// What failed.
        what: String,
        /// What to do about it.
        remedy: String,
    },
}

/// The system under test as faults see it.
///
/// A killed role comes back with the same data and at the same address.
pub trait Cluster {
    /// Roles that can be killed and started again on this target.
    fn roles(&self) -> Vec<Role>;

    /// Where clients connect; does not change over restarts.
    fn address(&self) -> SocketAddr;

    /// How the process in `role` ended, when it did so by itself; `None` while it runs or is down by a fault.
    fn crashed(&mut self, role: Role) -> Option<String>;

    /// Sends SIGKILL to the process in `role` and waits until it is gone.
    ///
    /// # Errors
    /// [`ClusterError::Environment`] when the signal cannot be sent. A process that was found dead already is no error but
    /// evidence with count 0.
    fn kill(&mut self, role: Role) -> Result<Evidence, ClusterError>;

    /// Starts the process in `role` again on its old data.
    ///
    /// # Errors
    /// When it cannot be started.
    fn start(&mut self, role: Role) -> Result<(), ClusterError>;

    /// Waits until `role` answers requests.
    ///
    /// # Errors
    /// [`ClusterError::DidNotStart`] when it exits, or is not ready within `timeout`.
    fn wait_ready(&mut self, role: Role, timeout: Duration) -> Result<(), ClusterError>;
}
