//! The levels of a read's trial, taken apart.

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use workloads::definition::{Definition, Read};

/// What is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// What is produced meanwhile.
    Tail,
    /// What was stored, again and again, all of it in the page cache.
    CatchUp,
    /// What was stored, once, none of it in the page cache and by a broker that has only just started.
    Cold,
}

/// What a trial does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Levels {
    /// What is read.
    pub what: What,
    /// Whether somebody writes to the same topic meanwhile.
    pub is_beside_writes: bool,
    /// Partitions of the topic.
    pub partitions: u32,
    /// Exact size of a batch.
    pub batch_bytes: u32,
    /// Settings of the broker that is started for the trial.
    pub settings: BTreeMap<String, String>,
}

impl Levels {
    /// # Errors
    /// A level is missing or can't be read: the definition was not checked.
    pub fn of(definition: &Definition, read: &Read, factors: &BTreeMap<String, String>) -> anyhow::Result<Self> {
        let level = |name: &str| factors.get(name).with_context(|| format!("no level of {name}"));
        let number = |name: &str| level(name)?.parse::<u32>().with_context(|| format!("level of {name}"));
        Ok(Levels {
            what: match level("read")?.as_str() {
                "tail" => What::Tail,
                "catch-up" => What::CatchUp,
                "cold" => What::Cold,
                other => bail!("unknown read {other}"),
            },
            is_beside_writes: level("beside")? == "writes",
            partitions: number("partitions")?,
            batch_bytes: match read.batch_bytes {
                Some(bytes) => bytes,
                None => number("batch_bytes")?,
            },
            settings: definition.settings_of_trial(factors),
        })
    }

    /// What is stored before the window: what is read, or a first batch in each partition where the tail is.
    pub fn stored_bytes(&self, read: &Read) -> u64 {
        let round = u64::from(self.batch_bytes) * u64::from(self.partitions);
        match self.what {
            What::Tail => round,
            What::CatchUp | What::Cold => read.stored_bytes.max(round) / round * round,
        }
    }

    /// What is produced where the tail is: whole batches.
    pub fn tail_bytes(&self, read: &Read) -> u64 {
        let batch = u64::from(self.batch_bytes);
        read.tail_bytes / batch * batch
    }
}
