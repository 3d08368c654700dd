//! Targets: what an experiment or a scenario is run against.

pub mod bundled;
#[cfg(feature = "tls")]
mod certificates;
pub mod jars;
pub mod java;
mod jvm;
pub mod kafka;
mod kafka_config;
mod kafka_receipt;
mod ports;
mod protocol;
mod remoting;
pub mod rocketmq;
mod rocketmq_config;
pub mod sockets;

/// Why a target can't be had here, and what to do about it: one line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {remedy}")]
pub struct Unavailable {
    /// What is missing or failed.
    pub what: String,
    /// What a person does about it.
    pub remedy: String,
}

impl Unavailable {
    pub(crate) fn new(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            remedy: remedy.into(),
        }
    }
}
