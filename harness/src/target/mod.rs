//! Targets: what an experiment or a scenario is run against.

pub mod asked;
pub mod bundled;
#[cfg(feature = "tls")]
mod certificates;
pub mod cluster;
pub mod connected;
pub mod jars;
pub mod java;
pub mod jvm;
pub mod kafka;
mod kafka_config;
mod kafka_receipt;
pub mod null;
pub mod place;
mod ports;
mod protocol;
mod remoting;
pub mod rocketmq;
mod rocketmq_config;
pub mod running;
pub mod sockets;

use std::fmt;
use std::str::FromStr;

pub use asked::{Available, CONGESTION_CONTROL, Targets};
use cluster::ClusterAddress;

/// Where brokers that a person starts have their folders, by default.
pub const DEFAULT_FOLDER: &str = "assay-targets";

/// Why a target can't be had here, and what to do about it: one line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {remedy}")]
pub struct Unavailable {
    /// What is missing or failed.
    pub what: String,
    /// What a person does about it.
    pub remedy: String,
}

/// What `--target` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TargetName {
    /// The bundled broker.
    Bundled,
    /// The bundled broker without a log: the ceiling of every client that produces.
    Null,
    /// Apache Kafka, started by the harness.
    Kafka,
    /// Apache RocketMQ, started by the harness.
    RocketMq,
    /// A Kafka-compatible cluster that runs already.
    Cluster(ClusterAddress),
}

impl FromStr for TargetName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            bundled::NAME => Ok(Self::Bundled),
            null::NAME => Ok(Self::Null),
            kafka::NAME => Ok(Self::Kafka),
            rocketmq::NAME => Ok(Self::RocketMq),
            _ if text.starts_with(cluster::SCHEME) => text.parse().map(Self::Cluster),
            _ => Err(format!(
                "there is no target '{text}'; there are: {}, {}, {}, {}, and {}host:port,host:port for a cluster that runs already",
                bundled::NAME,
                null::NAME,
                kafka::NAME,
                rocketmq::NAME,
                cluster::SCHEME
            )),
        }
    }
}

impl fmt::Display for TargetName {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Bundled => f.write_str(bundled::NAME),
            Self::Null => f.write_str(null::NAME),
            Self::Kafka => f.write_str(kafka::NAME),
            Self::RocketMq => f.write_str(rocketmq::NAME),
            Self::Cluster(address) => address.fmt(f),
        }
    }
}

impl Unavailable {
    pub(crate) fn new(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            remedy: remedy.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_named_and_mistakes_get_the_list() {
        for text in ["bundled", "null", "kafka", "rocketmq", "kafka://h:1,127.0.0.1:2"] {
            assert_eq!(text.parse::<TargetName>().unwrap().to_string(), text);
        }
        let wrong = "kafak".parse::<TargetName>().unwrap_err();
        assert!(
            wrong.contains("'kafak'") && wrong.contains("bundled, null, kafka, rocketmq"),
            "{wrong}"
        );
        assert!("kafka://h".parse::<TargetName>().unwrap_err().contains("host:port"));
    }
}
