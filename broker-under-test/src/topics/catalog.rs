//! A view of all topics at one time, for those who have to hear of changes.

use std::collections::{BTreeMap, HashMap};

use uuid::Uuid;

/// Names, ids and numbers of partitions.
#[derive(Debug, Default)]
pub struct Catalog {
    version: u64,
    by_name: BTreeMap<String, (Uuid, i32)>,
    by_id: HashMap<Uuid, String>,
}

impl Catalog {
    /// Of name, id and partitions of each topic.
    pub fn of(version: u64, topics: impl Iterator<Item = (String, Uuid, i32)>) -> Self {
        let by_name: BTreeMap<String, (Uuid, i32)> =
            topics.map(|(name, id, partitions)| (name, (id, partitions))).collect();
        let by_id = by_name.iter().map(|(name, (id, _))| (*id, name.clone())).collect();
        Catalog {
            version,
            by_name,
            by_id,
        }
    }

    /// Another number for every change since the broker started.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Id and number of partitions.
    pub fn topic(&self, name: &str) -> Option<(Uuid, i32)> {
        self.by_name.get(name).copied()
    }

    /// The name of a topic.
    pub fn name(&self, id: Uuid) -> Option<&str> {
        self.by_id.get(&id).map(String::as_str)
    }

    /// All names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(String::as_str)
    }
}
