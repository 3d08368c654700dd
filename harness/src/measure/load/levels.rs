//! The levels of a load's trial, taken apart.

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use workloads::definition::{BUNDLED, Definition, Load, TARGET_FACTOR, Workload};
use workloads::native::Spread;

/// What a trial does, and where. What fetching arms drain is told apart by it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Levels {
    /// The target.
    pub target: String,
    /// Store or drain.
    pub workload: Workload,
    /// Target size of a record's value.
    pub record_bytes: u32,
    /// Exact size of a batch.
    pub batch_bytes: u32,
    /// Partitions altogether.
    pub partitions: u32,
    /// Whether each of them is the only one of a topic.
    pub topic_each: bool,
    /// Settings of the broker that is started for the trial; `None` where the target runs the whole time.
    pub settings: Option<BTreeMap<String, String>>,
    /// Settings of the trial's topics.
    pub topic_settings: BTreeMap<String, String>,
}

impl Levels {
    /// # Errors
    /// A level is missing or can't be read: the definition was not checked.
    pub fn of(definition: &Definition, load: &Load, factors: &BTreeMap<String, String>) -> anyhow::Result<Self> {
        let level = |name: &str| factors.get(name).with_context(|| format!("no level of {name}"));
        let number = |name: &str| level(name)?.parse::<u32>().with_context(|| format!("level of {name}"));
        let target = factors.get(TARGET_FACTOR).unwrap_or(&definition.target).clone();
        let has_own_broker = definition.factor(TARGET_FACTOR).is_none() && target == BUNDLED;
        Ok(Levels {
            workload: match load.workload {
                Some(workload) => workload,
                None => match level("workload")?.as_str() {
                    "produce" => Workload::Produce,
                    "fetch" => Workload::Fetch,
                    other => bail!("unknown workload {other}"),
                },
            },
            record_bytes: match factors.contains_key("record_bytes") {
                true => number("record_bytes")?,
                false => definition.payload.record_bytes,
            },
            batch_bytes: match load.batch_bytes {
                Some(bytes) => bytes,
                None => number("batch_bytes")?,
            },
            partitions: number("partitions")?,
            topic_each: factors.get("topics").is_some_and(|topics| topics == "many"),
            settings: has_own_broker.then(|| definition.settings_of_trial(factors)),
            topic_settings: definition.topic_settings_of_trial(factors),
            target,
        })
    }

    /// Where batches of the topic, or of the topics that begin so, go.
    pub fn spread(&self, topic: &str) -> Spread {
        Spread {
            topic: topic.to_owned(),
            partitions: self.partitions,
            topic_each: self.topic_each,
        }
    }

    /// `1 partition`, `16 topics`: for people.
    pub fn places(&self) -> String {
        let what = if self.topic_each { "topic" } else { "partition" };
        format!(
            "{} {what}{}",
            self.partitions,
            if self.partitions == 1 { "" } else { "s" }
        )
    }
}
