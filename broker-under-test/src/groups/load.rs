//! What a broker that starts finds of the groups that there were.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use super::consumer::assignor::Assignor;
use super::consumer::{self, records as consumer_records};
use super::group::{Group, Limits};
use super::kind::Kind;
use super::records::{self, Key};
use super::{Groups, Held, Place, TOPIC, store};
use crate::config::Config;
use crate::log::LogError;
use crate::topics::Topics;

impl Groups {
    /// Reads what was committed.
    pub fn open(config: Arc<Config>, topics: &Topics) -> Result<Self, LogError> {
        let limits = Limits {
            initial_delay: millis(&config, "group.initial.rebalance.delay.ms"),
            members_max: config.size("group.max.size"),
            bytes_max: config.size("message.max.bytes"),
        };
        let first = config
            .text("group.consumer.assignors")
            .split(',')
            .next()
            .unwrap_or_default();
        let consumer_limits = consumer::Limits {
            session_timeout: millis(&config, "group.consumer.session.timeout.ms"),
            heartbeat_interval: millis(&config, "group.consumer.heartbeat.interval.ms"),
            assignment_interval: millis(&config, "group.consumer.assignment.interval.ms"),
            members_max: config.size("group.consumer.max.size"),
            bytes_max: config.size("message.max.bytes"),
            assignor: Assignor::named(first.trim()).unwrap_or(Assignor::Uniform),
        };
        let groups = Groups {
            groups_max: config.size("max.groups"),
            config,
            limits,
            consumer_limits,
            groups: RwLock::default(),
            tickets: AtomicU64::new(0),
        };
        let mut found: BTreeMap<String, Held> = BTreeMap::new();
        let mut consumers: BTreeMap<String, consumer_records::Read> = BTreeMap::new();
        let now = Instant::now();
        let logs = topics.get(TOPIC);
        for log in logs.iter().flat_map(|topic| &topic.partitions) {
            store::load(log.as_ref(), |key, value| {
                if let Err(error) = groups.apply(&mut found, &mut consumers, now, key, value) {
                    tracing::error!(%error, "a record of {TOPIC} can't be read and is left out");
                }
            })?;
        }
        for (name, read) in consumers {
            // One that changed its protocol was taken back in front of what came then.
            if let Some(group) = read.finish(groups.consumer_limits.clone(), now) {
                found.entry(name).or_insert_with(|| Held::new(groups.limits)).group = Kind::Consumer(group);
            }
        }
        found.retain(|_, held| {
            !held.group.is_deserted() || held.group.protocol_type().is_some() || !held.offsets.is_empty()
        });
        if !found.is_empty() {
            tracing::info!(groups = found.len(), "groups and their offsets were read");
        }
        let places = found.into_iter().map(|(name, held)| (name, Arc::new(Place::of(held))));
        *groups.groups.write().unwrap_or_else(PoisonError::into_inner) = places.collect();
        Ok(groups)
    }

    fn apply(
        &self,
        found: &mut BTreeMap<String, Held>,
        consumers: &mut BTreeMap<String, consumer_records::Read>,
        now: Instant,
        key: &[u8],
        value: Option<&[u8]>,
    ) -> Result<(), kafka_wire::WireError> {
        let fresh = || Held::new(self.limits);
        match (Key::decode(key)?, value) {
            (None, _) => {}
            (Some(Key::Consumer(group, part)), value) => {
                consumers.entry(group).or_default().apply(part, value, now)?;
            }
            (
                Some(Key::Offset {
                    group,
                    topic,
                    partition,
                }),
                None,
            ) => {
                if let Some(held) = found.get_mut(&group) {
                    held.offsets.remove(&topic, partition);
                }
            }
            (
                Some(Key::Offset {
                    group,
                    topic,
                    partition,
                }),
                Some(value),
            ) => {
                if let Some(committed) = records::read_offset(value)? {
                    let held = found.entry(group).or_insert_with(fresh);
                    held.offsets.insert(&topic, partition, committed);
                }
            }
            (Some(Key::Group(name)), None) => {
                if let Some(held) = found.get_mut(&name) {
                    held.group = Kind::Classic(Group::new(self.limits));
                }
            }
            (Some(Key::Group(name)), Some(value)) => {
                if let Some((group, since_ms)) = records::read_group(value, self.limits, now)? {
                    let held = found.entry(name).or_insert_with(fresh);
                    (held.group, held.since_ms) = (Kind::Classic(group), since_ms);
                }
            }
        }
        Ok(())
    }
}

fn millis(config: &Config, name: &str) -> Duration {
    Duration::from_millis(config.int(name).max(0) as u64)
}
