//! The broker's defaults, by DescribeConfigs.

use std::net::SocketAddr;

use anyhow::Context;
use kafka_wire::admin::{ConfigEntry, ConfigSource};
use workloads::native::admin::Admin;
use workloads::native::endpoint::Bootstrap;
use workloads::native::security::Security;

use super::{Answer, Found};

/// All settings of one broker.
#[derive(Debug)]
pub(super) struct BrokerSettings {
    broker: i32,
    entries: Vec<ConfigEntry>,
}

impl BrokerSettings {
    /// Asks the broker at the address.
    pub fn ask(address: SocketAddr) -> anyhow::Result<Self> {
        let mut admin = Admin::connect(Bootstrap::from(address), &Security::default())?;
        let metadata = admin.metadata(Some(&[]))?;
        let found = metadata.brokers.iter().find(|broker| broker.port == address.port());
        let broker = found.context("the broker does not list itself")?.id;
        let entries = admin.describe_broker_configs(broker)?;
        Ok(Self { broker, entries })
    }

    /// Whether the default of the setting is what is said.
    pub fn compare(&self, setting: &str, says: &str) -> Answer {
        let place = self.place();
        let Some(entry) = self.entries.iter().find(|entry| entry.name == setting) else {
            return Err(format!(
                "{place} lists no {setting}; the name may be wrong for this version"
            ));
        };
        let value = entry.value.as_deref().unwrap_or("null");
        if entry.source != ConfigSource::Default {
            return Err(format!(
                "{setting} = {value} is set ({:?}) and tells nothing about the default; run without the setting",
                entry.source
            ));
        }
        Ok(Found {
            holds: value == says,
            evidence: format!("{setting} = {value}, by default"),
            place,
        })
    }

    /// Names of the settings that begin so.
    pub fn beginning(&self, prefix: &str) -> Vec<&str> {
        let names = self.entries.iter().map(|entry| entry.name.as_str());
        names.filter(|name| name.starts_with(prefix)).collect()
    }

    /// The value of a setting, wherever it comes from.
    pub fn value(&self, setting: &str) -> Option<&str> {
        let entry = self.entries.iter().find(|entry| entry.name == setting)?;
        entry.value.as_deref()
    }

    /// For the evidence.
    pub fn place(&self) -> String {
        format!("DescribeConfigs of broker {}", self.broker)
    }

    #[cfg(test)]
    pub fn of(entries: Vec<ConfigEntry>) -> Self {
        Self { broker: 1, entries }
    }
}
