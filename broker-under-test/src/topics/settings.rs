//! What a topic may say of itself, and what that means for its logs.

use std::collections::BTreeMap;

use kafka_wire::ErrorCode;

use super::{Refusal, Topics, refuse};
use crate::config::Config;
use crate::log::{Compaction, Limits};

/// Settings that a topic may have of its own, with the broker's setting that is their default.
pub const TOPIC_SETTINGS: [(&str, &str); 8] = [
    ("segment.bytes", "log.segment.bytes"),
    ("index.interval.bytes", "log.index.interval.bytes"),
    ("max.message.bytes", "message.max.bytes"),
    ("retention.ms", "log.retention.ms"),
    ("retention.bytes", "log.retention.bytes"),
    (POLICY, "log.cleanup.policy"),
    ("min.cleanable.dirty.ratio", "log.cleaner.min.cleanable.ratio"),
    ("delete.retention.ms", "log.cleaner.delete.retention.ms"),
];
pub(super) const POLICY: &str = "cleanup.policy";
/// Those that a topic in the shared log can't have, as segments are everybody's.
const OF_ITS_OWN_LOG: [&str; 4] = [
    "segment.bytes",
    "index.interval.bytes",
    "retention.ms",
    "retention.bytes",
];

impl Topics {
    /// Checks the settings that a new topic is to have.
    pub(super) fn check_settings(&self, name: &str, settings: &BTreeMap<String, String>) -> Result<(), Refusal> {
        for (key, value) in settings {
            let Some((_, broker)) = TOPIC_SETTINGS.iter().find(|(n, _)| n == key) else {
                let known = TOPIC_SETTINGS.map(|(n, _)| n).join(", ");
                return refuse(
                    ErrorCode::InvalidConfig,
                    format!("Topic setting {key} is not supported; there are {known}."),
                );
            };
            let mut probe = Config::default();
            if let Err(error) = probe.set(broker, value, key) {
                return refuse(ErrorCode::InvalidConfig, error.to_string());
            }
        }
        if self.shared(name).is_some() && self.has_policy(settings, "compact") {
            let message = "cleanup.policy=compact needs log.layout=partition-log: a shared log is never compacted.";
            return refuse(ErrorCode::InvalidConfig, message);
        }
        if self.shared(name).is_some()
            && let Some(key) = settings.keys().find(|key| OF_ITS_OWN_LOG.contains(&key.as_str()))
        {
            let broker = TOPIC_SETTINGS
                .iter()
                .find(|(n, _)| n == key)
                .map_or("", |(_, broker)| broker);
            let message =
                format!("{key} needs log.layout=partition-log: in a shared log {broker} holds for all topics.");
            return refuse(ErrorCode::InvalidConfig, message);
        }
        Ok(())
    }

    pub(super) fn limits(&self, own: &BTreeMap<String, String>) -> Limits {
        let is_deleted = self.has_policy(own, "delete");
        // Less than nothing is for ever.
        let deleted = |name: &str| Some(self.effective_int(own, name)).filter(|n| is_deleted && *n >= 0);
        Limits {
            segment_bytes: self.effective_int(own, "segment.bytes") as u64,
            index_interval_bytes: self.effective_int(own, "index.interval.bytes") as usize,
            flush: self.config.flush_policy(),
            preallocate: self.config.bool("log.preallocate"),
            retention_ms: deleted("retention.ms"),
            retention_bytes: deleted("retention.bytes").map(|bytes| bytes as u64),
            compaction: self.compaction(own),
            producers_max: self.config.size("producer.ids.per.partition.max"),
        }
    }

    fn compaction(&self, own: &BTreeMap<String, String>) -> Option<Compaction> {
        let share: f64 = self.effective(own, "min.cleanable.dirty.ratio").parse().unwrap_or(0.5);
        self.has_policy(own, "compact").then(|| Compaction {
            dirty_ppm_min: (share * 1e6) as u64,
            delete_retention_ms: self.effective_int(own, "delete.retention.ms"),
            keys_bytes_max: self.config.size("log.cleaner.dedupe.buffer.size"),
        })
    }

    pub(super) fn has_policy(&self, own: &BTreeMap<String, String>, policy: &str) -> bool {
        self.effective(own, POLICY).split(',').any(|word| word.trim() == policy)
    }

    /// A topic setting, its own or the broker's.
    pub fn effective(&self, own: &BTreeMap<String, String>, name: &str) -> String {
        let default = TOPIC_SETTINGS.iter().find(|(n, _)| *n == name);
        let default = || default.map_or("", |(_, broker)| self.config.text(broker));
        own.get(name).map_or_else(default, String::as_str).to_owned()
    }

    pub(super) fn effective_int(&self, own: &BTreeMap<String, String>, name: &str) -> i64 {
        self.effective(own, name).parse().unwrap_or(0)
    }
}
