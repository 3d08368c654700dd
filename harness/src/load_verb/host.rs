//! What is under load: a target that is started in a scratch folder, or a cluster that runs already, and the topic on it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use anyhow::{Context, bail};
use results::schema::TargetReceipt;
use workloads::native::{Admin, Bootstrap, NewTopic, Security};

use super::args::Args;
use super::plan::Plan;
use crate::target::bundled::{BrokerSpec, BundledBroker};
use crate::target::connected::Cluster;
use crate::target::kafka::{Kafka, KafkaSpec};
use crate::target::{TargetName, null};

/// Heap of a Kafka that is started, MiB.
const HEAP_MB: u32 = 1024;

/// A target that answers, with its topic.
pub struct Host {
    /// Brokers to begin with.
    pub brokers: Bootstrap,
    /// TLS and SASL.
    pub security: Security,
    /// The broker's processes; empty where they can't be read.
    pub processes: Vec<u32>,
    /// What runs.
    pub receipt: TargetReceipt,
    /// Partitions of the topic.
    pub partitions: u32,
    /// Replicas that a topic gets.
    replicas: u16,
    started: Started,
    /// A topic on somebody else's cluster that must not stay.
    guest: Option<String>,
}

enum Started {
    Bundled(BundledBroker),
    Kafka(Kafka),
    Nothing,
}

impl Host {
    /// Starts the target or connects to it, and sees to the topic.
    ///
    /// # Errors
    /// The target does not start or answer; the topic is missing, exists already, or can't be made; Ctrl-C.
    pub fn start(args: &Args, plan: &Plan, scratch: &Path) -> anyhow::Result<Self> {
        let mut host = Self::of_target(args, scratch)?;
        host.partitions = match plan.partitions {
            Some(partitions) => {
                let topic = NewTopic {
                    replicas: host.replicas,
                    ..NewTopic::new(&plan.topic, partitions)
                };
                host.admin()?.create_topic(&topic)?;
                if matches!(args.target, TargetName::Cluster(_)) && !args.keep {
                    host.guest = Some(plan.topic.clone());
                }
                partitions
            }
            None => {
                let partitions = host.partitions_of(plan)?;
                plan.check_consumers(partitions)?;
                partitions
            }
        };
        Ok(host)
    }

    fn of_target(args: &Args, scratch: &Path) -> anyhow::Result<Self> {
        let settings = settings(&args.set)?;
        match &args.target {
            TargetName::Bundled => Self::bundled(scratch, "broker", settings),
            TargetName::Null => Self::bundled(scratch, "broker", null::settings(settings)),
            TargetName::Kafka => {
                let kafka = Kafka::start(&KafkaSpec {
                    dir: scratch.join("kafka"),
                    nodes: 1,
                    version: None,
                    heap_mb: HEAP_MB,
                    tls: false,
                    cpus: None,
                    settings,
                    congestion_control: None,
                })?;
                Ok(Self::new(
                    Bootstrap::try_from(&kafka.addresses()).map_err(anyhow::Error::msg)?,
                    kafka.processes(),
                    kafka.receipt()?,
                    Started::Kafka(kafka),
                ))
            }
            TargetName::Cluster(address) => {
                let cluster = Cluster::connect(address, args.client_properties.as_deref())?;
                let mut host = Self::new(cluster.brokers, Vec::new(), cluster.receipt, Started::Nothing);
                (host.security, host.replicas) = (cluster.security, cluster.replicas);
                Ok(host)
            }
            TargetName::RocketMq => bail!("rocketmq can't be driven yet"),
        }
    }

    /// A broker that stores nothing, with the topic of a plan.
    ///
    /// # Errors
    /// It does not start, or does not make the topic.
    pub fn null(plan: &Plan, partitions: u32, scratch: &Path) -> anyhow::Result<Self> {
        let mut host = Self::bundled(scratch, null::NAME, null::settings(BTreeMap::new()))?;
        host.partitions = partitions;
        host.admin()?.create_topic(&NewTopic::new(&plan.topic, partitions))?;
        Ok(host)
    }

    fn bundled(scratch: &Path, name: &str, settings: BTreeMap<String, String>) -> anyhow::Result<Self> {
        let broker = BundledBroker::start(&BrokerSpec {
            data_dir: scratch.join(name),
            port: 0,
            settings,
            cpus: None,
            log: scratch.join(format!("{name}.log")),
            planted: None,
        })?;
        let receipt = broker.receipt(&[]);
        let address = broker.address().into();
        Ok(Self::new(
            address,
            vec![broker.process.id()],
            receipt,
            Started::Bundled(broker),
        ))
    }

    fn new(brokers: Bootstrap, processes: Vec<u32>, receipt: TargetReceipt, started: Started) -> Self {
        Self {
            brokers,
            security: Security::default(),
            processes,
            receipt,
            partitions: 0,
            replicas: 1,
            started,
            guest: None,
        }
    }

    /// Whether all brokers that were named are on this machine.
    pub fn is_on_loopback(&self) -> bool {
        let is_here =
            |host: &str| host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback());
        self.brokers.endpoints().iter().all(|endpoint| is_here(&endpoint.host))
    }

    /// Where a target that was started runs.
    pub fn told(&self, target: &TargetName) -> Option<String> {
        let processes: Vec<String> = self.processes.iter().map(u32::to_string).collect();
        let those = processes.join(", ");
        (!those.is_empty()).then(|| format!("{target} runs as process {those} at {}", self.brokers))
    }

    fn admin(&self) -> anyhow::Result<Admin> {
        Ok(Admin::connect(self.brokers.clone(), &self.security)?)
    }

    fn partitions_of(&self, plan: &Plan) -> anyhow::Result<u32> {
        let topic = plan.topic.as_str();
        let found = self.admin()?.metadata(Some(&[topic]))?;
        let known = found
            .topics
            .iter()
            .find(|known| known.name == topic && known.error == 0);
        let partitions = known.map_or(0, |known| known.partitions.len());
        if partitions == 0 {
            bail!(
                "there is no topic `{topic}`: {}",
                match plan.produces() {
                    true => "give --partitions to have it made for the load, and deleted at its end",
                    false => "give one that exists",
                }
            );
        }
        Ok(u32::try_from(partitions)?)
    }

    /// Deletes a topic that was made on somebody else's cluster, and stops what was started.
    ///
    /// # Errors
    /// The topic stays, or a broker does not end well.
    pub fn end(mut self) -> anyhow::Result<()> {
        self.delete_guest()?;
        match std::mem::replace(&mut self.started, Started::Nothing) {
            Started::Bundled(broker) => broker.stop(),
            Started::Kafka(kafka) => kafka.stop(),
            Started::Nothing => Ok(()),
        }
    }

    fn delete_guest(&mut self) -> anyhow::Result<()> {
        let Some(topic) = self.guest.take() else { return Ok(()) };
        let deleted = self.admin().and_then(|mut admin| Ok(admin.delete_topic(&topic)?));
        deleted.with_context(|| format!("topic `{topic}` may be left on the cluster"))
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // After an error or Ctrl-C nothing of ours may stay on somebody's cluster.
        if let Err(error) = self.delete_guest() {
            errln!("error: {error:#}");
        }
    }
}

fn settings(pairs: &[String]) -> anyhow::Result<BTreeMap<String, String>> {
    let pair = |text: &String| match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => bail!("--set {text}: give KEY=VALUE"),
    };
    pairs.iter().map(pair).collect()
}
