//! The brokers that are asked: started for this, or running already.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context, bail};

use crate::target::TargetName;
use crate::target::bundled::{BrokerSpec, BundledBroker};
use crate::target::kafka::{Kafka, KafkaSpec};

/// Heap of a Kafka that answers single requests.
const HEAP_MB: u32 = 512;
/// One that runs already.
const CLUSTER: &str = "cluster";

/// What tables call it.
pub(super) fn name(target: &TargetName) -> String {
    match target {
        TargetName::Cluster(_) => CLUSTER.to_owned(),
        started => started.to_string(),
    }
}

/// A first member is not kept waiting for others, which the script never has, and the coordinator assigns at once. A group with members keeps its
/// protocol, which is the only policy of the bundled broker.
const SETTINGS: [(&str, &str); 3] = [
    ("group.initial.rebalance.delay.ms", "0"),
    ("group.consumer.assignment.interval.ms", "0"),
    ("group.consumer.migration.policy", "disabled"),
];
/// What Kafka alone has: assignments in the answer and not in the background.
const KAFKAS: [(&str, &str); 1] = [("group.consumer.assignor.offload.enable", "false")];

fn settings(more: &[(&str, &str)]) -> BTreeMap<String, String> {
    let all = SETTINGS.iter().chain(more);
    all.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

/// Starts a target with its defaults, unless it runs already.
///
/// # Errors
/// It can't be started or found; RocketMQ does not speak the protocol.
pub(super) fn start(target: &TargetName, scratch: &Scratch) -> anyhow::Result<Running> {
    match target {
        TargetName::Bundled => {
            let spec = BrokerSpec {
                data_dir: scratch.path.join("bundled"),
                port: 0,
                settings: settings(&[]),
                cpus: None,
                log: scratch.path.join("bundled.log"),
                planted: None,
            };
            BundledBroker::start(&spec).map(Running::Bundled)
        }
        TargetName::Kafka => {
            let spec = KafkaSpec {
                dir: scratch.path.join("kafka"),
                nodes: 1,
                version: None,
                heap_mb: HEAP_MB,
                tls: false,
                cpus: None,
                settings: settings(&KAFKAS),
                congestion_control: None,
            };
            Kafka::start(&spec).map(Running::Kafka)
        }
        TargetName::Null => bail!("null can't be asked: it stores nothing, and the script reads what it has stored"),
        TargetName::RocketMq => bail!("rocketmq can't be asked: the script is of Kafka's protocol"),
        TargetName::Cluster(address) => match address.0.endpoints() {
            [one] => {
                let addresses = one.resolve()?;
                let first = addresses.first().copied();
                first
                    .map(Running::Cluster)
                    .with_context(|| format!("{target}: no address has that name"))
            }
            several => bail!(
                "{target} names {} brokers: give one, which leads every partition that the script makes",
                several.len()
            ),
        },
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
