//! The brokers that are asked: started for this, or running already.

use std::collections::BTreeMap;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::Context;

use crate::target::bundled::{self, BrokerSpec, BundledBroker};
use crate::target::kafka::{self, Kafka, KafkaSpec};

/// Heap of a Kafka that answers single requests.
const HEAP_MB: u32 = 512;
const CLUSTER: &str = "cluster";

/// What `--target` says.
#[derive(Debug, Clone)]
pub(super) enum TargetChoice {
    Bundled,
    Kafka,
    /// It runs already.
    Cluster(SocketAddr),
}

impl FromStr for TargetChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            bundled::NAME => Ok(TargetChoice::Bundled),
            kafka::NAME => Ok(TargetChoice::Kafka),
            _ => {
                let Some(address) = text.strip_prefix("kafka://") else {
                    return Err("expected bundled, kafka or kafka://HOST:PORT".to_owned());
                };
                let found = address
                    .to_socket_addrs()
                    .map_err(|error| format!("{address}: {error}"))?;
                // Brokers on this machine advertise 127.0.0.1, and localhost is ::1 first.
                let mut all: Vec<SocketAddr> = found.collect();
                all.sort_by_key(SocketAddr::is_ipv6);
                let first = all.first().copied();
                first
                    .map(TargetChoice::Cluster)
                    .ok_or_else(|| format!("{address}: no address has that name"))
            }
        }
    }
}

impl TargetChoice {
    /// What tables call it.
    pub(super) fn name(&self) -> String {
        match self {
            TargetChoice::Bundled => bundled::NAME,
            TargetChoice::Kafka => kafka::NAME,
            TargetChoice::Cluster(_) => CLUSTER,
        }
        .to_owned()
    }

    /// Starts it, with its defaults, unless it runs already.
    pub(super) fn start(&self, scratch: &Scratch) -> anyhow::Result<Running> {
        match self {
            TargetChoice::Bundled => {
                let spec = BrokerSpec {
                    data_dir: scratch.path.join("bundled"),
                    port: 0,
                    settings: BTreeMap::new(),
                    cpus: None,
                    log: scratch.path.join("bundled.log"),
                    planted: None,
                };
                BundledBroker::start(&spec).map(Running::Bundled)
            }
            TargetChoice::Kafka => {
                let spec = KafkaSpec {
                    dir: scratch.path.join("kafka"),
                    nodes: 1,
                    version: None,
                    heap_mb: HEAP_MB,
                    tls: false,
                    cpus: None,
                    settings: BTreeMap::new(),
                    congestion_control: None,
                };
                Kafka::start(&spec).map(Running::Kafka)
            }
            TargetChoice::Cluster(address) => Ok(Running::Cluster(*address)),
        }
    }
}

/// A broker that can be asked; one that was started ends when this is dropped.
pub(super) enum Running {
    Bundled(BundledBroker),
    Kafka(Kafka),
    Cluster(SocketAddr),
}

impl Running {
    pub(super) fn address(&self) -> SocketAddr {
        match self {
            Running::Bundled(broker) => broker.address(),
            // One node.
            Running::Kafka(kafka) => kafka.addresses()[0],
            Running::Cluster(address) => *address,
        }
    }

    /// Name and version.
    pub(super) fn described(&self) -> String {
        match self {
            Running::Bundled(_) => "the bundled broker".to_owned(),
            Running::Kafka(kafka) => format!("Apache Kafka {}", kafka.version()),
            Running::Cluster(_) => "a cluster that ran already".to_owned(),
        }
    }

    pub(super) fn stop(self) -> anyhow::Result<()> {
        match self {
            Running::Bundled(broker) => broker.stop(),
            Running::Kafka(kafka) => kafka.stop(),
            Running::Cluster(_) => Ok(()),
        }
    }
}

/// A folder for what is started; removed when dropped.
pub(super) struct Scratch {
    path: PathBuf,
}

impl Scratch {
    pub(super) fn create() -> anyhow::Result<Self> {
        let path = std::env::temp_dir().join(format!("assay-conformance-{}", std::process::id()));
        std::fs::create_dir(&path).with_context(|| format!("can't create {}", path.display()))?;
        Ok(Scratch { path })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Nothing depends on it any more.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}
