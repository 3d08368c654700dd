//! What a scenario is run against: the bundled broker, a Kafka that is started for it, or a broker that runs already.

use std::collections::BTreeMap;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use chaos::{Cluster, ClusterError, Evidence, PlantedBug, Role};
use results::schema::TargetReceipt;
use workloads::native::{Admin, Security};

use super::cluster::BundledCluster;
use crate::target::TargetName;
use crate::target::connected;
use crate::target::kafka::{Kafka, KafkaSpec};

/// Heap of a Kafka that is started, MiB.
const HEAP_MB: u32 = 1024;

/// A broker, which is stopped when dropped if it was started for the run.
pub enum Host {
    /// One process that faults can strike.
    Bundled(Box<BundledCluster>),
    /// One node; no fault strikes it.
    Kafka(Box<Kafka>),
    /// Somebody else's.
    Elsewhere(Box<Elsewhere>),
}

/// A broker that runs already, with the topics that must not stay there.
pub struct Elsewhere {
    address: SocketAddr,
    receipt: TargetReceipt,
    guests: Vec<String>,
}

impl Host {
    /// Starts a target with these settings, or connects to it.
    ///
    /// # Errors
    /// It does not start or answer, or can't be driven by scenarios.
    pub fn start(
        target: &TargetName,
        folder: &Path,
        settings: &BTreeMap<String, String>,
        planted: Option<PlantedBug>,
    ) -> anyhow::Result<Self> {
        Ok(match target {
            TargetName::Bundled => Self::Bundled(Box::new(BundledCluster::start_in(folder, settings, planted)?)),
            TargetName::Kafka => Self::Kafka(Box::new(Kafka::start(&KafkaSpec {
                dir: Self::data_dir(folder),
                nodes: 1,
                version: None,
                heap_mb: HEAP_MB,
                tls: false,
                cpus: None,
                settings: settings.clone(),
                congestion_control: None,
            })?)),
            TargetName::Cluster(address) => {
                let found = connected::Cluster::connect(address, None)?;
                let [endpoint] = found.brokers.endpoints() else {
                    bail!("the producers of a scenario know one broker: give the address of a cluster of one node");
                };
                let mut addresses = (endpoint.host.as_str(), endpoint.port).to_socket_addrs()?;
                Self::Elsewhere(Box::new(Elsewhere {
                    address: addresses.next().with_context(|| format!("{endpoint} has no address"))?,
                    receipt: found.receipt,
                    guests: Vec::new(),
                }))
            }
            TargetName::Null | TargetName::RocketMq => return Err(serves_none(target)),
        })
    }

    /// What of a target faults can strike: only the bundled broker plays a role.
    ///
    /// # Errors
    /// It can't be driven by scenarios.
    pub fn roles_of(target: &TargetName) -> anyhow::Result<Vec<Role>> {
        match target {
            TargetName::Bundled => Ok(vec![Role::Broker]),
            TargetName::Kafka | TargetName::Cluster(_) => Ok(Vec::new()),
            TargetName::Null | TargetName::RocketMq => Err(serves_none(target)),
        }
    }

    /// Where a broker that was started keeps its data.
    pub fn data_dir(folder: &Path) -> PathBuf {
        BundledCluster::data_dir(folder)
    }

    /// Topics that the run makes: on somebody else's broker they are deleted at the end, whatever happens to the run.
    pub fn will_have(&mut self, topics: Vec<String>) {
        if let Self::Elsewhere(elsewhere) = self {
            elsewhere.guests = topics;
        }
    }

    /// What runs, with the settings in force.
    pub fn receipt(&self) -> Option<TargetReceipt> {
        match self {
            Self::Bundled(cluster) => cluster.receipt(),
            Self::Kafka(kafka) => kafka.receipt().ok(),
            Self::Elsewhere(elsewhere) => Some(elsewhere.receipt.clone()),
        }
    }
}

fn serves_none(target: &TargetName) -> anyhow::Error {
    anyhow!("{target} serves no scenario: give bundled, kafka, or kafka://host:port")
}

impl Cluster for Host {
    fn roles(&self) -> Vec<Role> {
        match self {
            Self::Bundled(cluster) => cluster.roles(),
            _ => Vec::new(),
        }
    }

    fn address(&self) -> SocketAddr {
        match self {
            Self::Bundled(cluster) => cluster.address(),
            // A Kafka that was started has a node.
            Self::Kafka(kafka) => kafka.addresses()[0],
            Self::Elsewhere(elsewhere) => elsewhere.address,
        }
    }

    fn crashed(&mut self, role: Role) -> Option<String> {
        match self {
            Self::Bundled(cluster) => cluster.crashed(role),
            _ => None,
        }
    }

    fn kill(&mut self, role: Role) -> Result<Evidence, ClusterError> {
        match self {
            Self::Bundled(cluster) => cluster.kill(role),
            _ => Err(cannot(role)),
        }
    }

    fn start(&mut self, role: Role) -> Result<(), ClusterError> {
        match self {
            Self::Bundled(cluster) => cluster.start(role),
            _ => Err(cannot(role)),
        }
    }

    fn wait_ready(&mut self, role: Role, timeout: Duration) -> Result<(), ClusterError> {
        match self {
            Self::Bundled(cluster) => cluster.wait_ready(role, timeout),
            _ => Err(cannot(role)),
        }
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        let names: Vec<&str> = self.guests.iter().map(String::as_str).collect();
        let deleted = Admin::connect(self.address, &Security::default()).and_then(|mut admin| {
            let known = admin.list_topics()?;
            let made: Vec<&str> = names
                .into_iter()
                .filter(|name| known.iter().any(|topic| topic == name))
                .collect();
            admin.delete_topics(&made)
        });
        if let Err(error) = deleted {
            errln!(
                "error: these topics may be left on {}: {}: {error}",
                self.address,
                self.guests.join(", ")
            );
        }
    }
}

fn cannot(role: Role) -> ClusterError {
    ClusterError::Environment {
        what: format!("nothing strikes the {role} of this target"),
        remedy: "report this as a bug".to_owned(),
    }
}
