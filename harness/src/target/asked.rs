//! Which targets a run was asked for, and which of them can be had.

use std::path::Path;

use anyhow::bail;
use workloads::definition::{BUNDLED, CLUSTER, Definition, KAFKA, MACHINE, NULL, ProfileName};

use super::connected::Cluster;
use super::{TargetName, jars, kafka};
use crate::experiment::{Experiment, Settings};
use crate::members::java;

/// What is said of members of groups with Java's client that can't be had.
const JAVA_CLIENT: &str = "client java";

/// The setting of the bundled broker that Kafka has not, and the harness provides.
pub const CONGESTION_CONTROL: &str = "socket.congestion.control";

/// What `--target` said; empty leaves it to each experiment.
#[derive(Debug)]
pub struct Targets {
    bundled: bool,
    null: bool,
    kafka: bool,
    cluster: Option<Cluster>,
}

/// The targets that an experiment can be measured on.
#[derive(Debug)]
pub struct Available {
    /// The machine itself, when nobody asked for a broker instead.
    machine: bool,
    bundled: bool,
    null: bool,
    kafka: bool,
    cluster: Option<Cluster>,
    /// What members of groups with Java's client are run with, when the experiment has such.
    java: Option<jars::Installed>,
    /// Whole sentences: which target is left out, why, and how to get it.
    pub skipped: Vec<String>,
}

impl Targets {
    /// # Errors
    /// A target that can't be driven, two clusters, or client properties without a cluster or with a mistake.
    pub fn asked(names: &[TargetName], client_properties: Option<&Path>) -> anyhow::Result<Self> {
        let mut targets = Targets {
            bundled: false,
            null: false,
            kafka: false,
            cluster: None,
        };
        for name in names {
            match name {
                TargetName::Bundled => targets.bundled = true,
                TargetName::Null => targets.null = true,
                TargetName::Kafka => targets.kafka = true,
                TargetName::RocketMq => {
                    bail!("rocketmq can be fetched, started and stopped (`assay target`), but not driven yet")
                }
                TargetName::Cluster(address) => {
                    if targets.cluster.is_some() {
                        bail!(
                            "one kafka:// target can be measured at a time: give all its brokers in one, kafka://h1:p,h2:p"
                        );
                    }
                    targets.cluster = Some(Cluster::connect(address, client_properties)?);
                }
            }
        }
        if client_properties.is_some() && targets.cluster.is_none() {
            bail!("--client-properties is for a kafka:// target, and there is none");
        }
        Ok(targets)
    }

    /// Looks for what the experiment needs. Kafka is fetched when somebody named it or the experiment (`is_named`).
    ///
    /// # Errors
    /// A cluster that does not answer.
    pub fn for_experiment(
        &self,
        experiment: &Experiment,
        is_named: bool,
        settings: &Settings,
    ) -> anyhow::Result<Available> {
        let names_none = !self.bundled && !self.null && !self.kafka && self.cluster.is_none();
        let defaults = experiment.default_targets();
        let wants = |name: &str, asked: bool| asked || (names_none && defaults.iter().any(|target| target == name));
        let mut available = Available {
            machine: wants(MACHINE, false),
            bundled: wants(BUNDLED, self.bundled),
            null: wants(NULL, self.null),
            kafka: false,
            cluster: self.cluster.clone(),
            java: None,
            skipped: Vec::new(),
        };
        if wants(KAFKA, self.kafka) && experiment.targets().iter().any(|target| target == KAFKA) {
            let version = settings.kafka_version.as_deref();
            let found = match is_named {
                true => kafka::ensure(version).map(|_| true),
                false => jars::look(jars::Product::Kafka, version).map(|found| found.is_some()),
            };
            match found {
                Ok(true) => available.kafka = true,
                Ok(false) => available.skip(KAFKA, "Apache Kafka is not fetched: assay target fetch kafka"),
                Err(why) => available.skip(KAFKA, &why.to_string()),
            }
            // A comparison that nobody asked to be made with one side only has nothing to say.
            if names_none && experiment.compares_targets() && !available.kafka {
                available.bundled = false;
            }
        }
        if experiment.needs_java(settings.profile) {
            match java::look() {
                Ok(found) => available.java = Some(found),
                Err(why) => available.skip(JAVA_CLIENT, &why.to_string()),
            }
        }
        Ok(available)
    }
}

impl Available {
    fn skip(&mut self, what: &str, why: &str) {
        errln!("{what} is left out: {why}");
        self.skipped.push(format!("{what}: {why}"));
    }

    /// A definition without what can't be had; `None` when nothing is left that could be compared.
    pub fn part_of(&self, definition: Definition, profile: ProfileName) -> Option<Definition> {
        match self.java {
            Some(_) => Some(definition),
            None if definition.needs_java(profile) => definition.without_java(profile),
            None => Some(definition),
        }
    }

    /// What members of groups with Java's client are run with, when the experiment has such.
    pub fn java(&self) -> Option<&jars::Installed> {
        self.java.as_ref()
    }

    /// Their names in plans.
    pub fn names(&self) -> Vec<String> {
        let cluster = self.cluster.is_some();
        let all = [
            (MACHINE, self.machine),
            (BUNDLED, self.bundled),
            (NULL, self.null),
            (KAFKA, self.kafka),
            (CLUSTER, cluster),
        ];
        all.iter()
            .filter(|(_, is_there)| *is_there)
            .map(|(name, _)| (*name).to_owned())
            .collect()
    }

    /// Whether Apache Kafka can be started.
    pub fn has_kafka(&self) -> bool {
        self.kafka
    }

    /// Whether clients talk TLS to the cluster.
    pub fn cluster_is_tls(&self) -> bool {
        self.cluster
            .as_ref()
            .is_some_and(|cluster| cluster.security.tls.is_some())
    }

    /// The cluster.
    pub fn cluster(&self) -> Option<&Cluster> {
        self.cluster.as_ref()
    }

    /// Why the experiment has nothing to measure.
    pub fn why_nothing(&self, experiment: &Experiment) -> String {
        match self.skipped.first() {
            Some(left_out) if left_out.starts_with(JAVA_CLIENT) => "left out, it needs Java's client".to_owned(),
            Some(_) => "left out, it needs Apache Kafka".to_owned(),
            None if experiment.targets() == [MACHINE] => "needs no broker: run it without --target".to_owned(),
            None => format!(
                "is made for {}, and that was not asked for",
                experiment.targets().join(", ")
            ),
        }
    }
}
