//! A cluster that somebody else runs, as a target: what can be asked over the protocol is asked, and the rest is absent.

use std::path::Path;

use anyhow::Context;
use results::schema::TargetReceipt;
use workloads::definition::CLUSTER;
use workloads::native::{Admin, Bootstrap, Security};

use super::cluster::{ClientProperties, ClusterAddress};
use super::kafka_receipt;

/// Replicas of our topics where the cluster does not tell its default: what most clusters have.
const REPLICAS: usize = 3;

/// A cluster that answers.
#[derive(Debug, Clone)]
pub struct Cluster {
    /// Brokers to begin with.
    pub brokers: Bootstrap,
    /// TLS and SASL.
    pub security: Security,
    /// Replicas that our topics get.
    pub replicas: u16,
    /// What it told of itself.
    pub receipt: TargetReceipt,
}

impl Cluster {
    /// Connects, and asks for brokers and settings.
    ///
    /// # Errors
    /// The properties can't be read, or no broker answers.
    pub fn connect(address: &ClusterAddress, client_properties: Option<&Path>) -> anyhow::Result<Self> {
        let properties = client_properties.map(ClientProperties::read).transpose()?;
        let security = match properties {
            Some(properties) => {
                if !properties.ignored.is_empty() {
                    errln!("client properties that are not used: {}", properties.ignored.join(", "));
                }
                properties.security
            }
            None => Security::default(),
        };
        let brokers = address.0.clone();
        let mut admin = Admin::connect(&brokers, &security).with_context(|| format!("{address} can't be measured"))?;
        let nodes = admin.metadata(Some(&[]))?.brokers;
        let version = admin
            .broker_version()
            .ok()
            .flatten()
            .unwrap_or_else(|| "unknown".to_owned());
        let settings = match nodes.first() {
            Some(node) => admin
                .describe_broker_configs(node.id)
                .map_err(|error| error.to_string()),
            None => Err("it names no broker".to_owned()),
        };
        let mut receipt = kafka_receipt::of_settings(&version, settings.as_deref().unwrap_or_default());
        receipt.name = CLUSTER.to_owned();
        let default_replicas = settings.as_ref().ok().and_then(|settings| {
            let setting = settings
                .iter()
                .find(|setting| setting.name == "default.replication.factor")?;
            setting.value.as_deref()?.parse::<u16>().ok()
        });
        let replicas = default_replicas.unwrap_or(nodes.len().min(REPLICAS) as u16).max(1);
        receipt.terms.insert("nodes".to_owned(), nodes.len().to_string());
        receipt
            .differences
            .push("It runs elsewhere: its CPU time, memory and page cache can't be read.".to_owned());
        if let Err(why) = settings {
            receipt.durability_class = format!("unknown, acks=all, {replicas} replicas");
            receipt.differences.push(format!("Its settings can't be read: {why}."));
        }
        Ok(Cluster {
            brokers,
            security,
            replicas,
            receipt,
        })
    }
}
