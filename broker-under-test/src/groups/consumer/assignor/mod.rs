//! Who shall have which partitions: pure functions from subscriptions and the targets before to the targets now (KIP-848's server-side assignors).
//!
//! Both give each partition of a subscribed topic to exactly one subscriber, and the same input always the same answer.

mod range;
#[cfg(test)]
mod tests;
mod uniform;

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

/// Partition numbers by topic id.
pub(crate) type Places = BTreeMap<Uuid, BTreeSet<i32>>;

/// The assignors by Kafka's names, the default first.
pub(crate) const NAMES: &[&str] = &["uniform", "range"];

/// A way to assign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Assignor {
    /// As even as it gets over all topics together, and nothing moves that need not.
    Uniform,
    /// Of each topic a contiguous run, so that equal topics are cut alike.
    Range,
}

/// A member as an assignor sees it.
#[derive(Debug, Clone)]
pub(crate) struct Subject<'a> {
    /// The name that a static member was given.
    pub instance: Option<&'a str>,
    /// What it is subscribed to, as far as it exists.
    pub topics: BTreeSet<Uuid>,
    /// Its target before.
    pub before: &'a Places,
}

/// What is to be assigned to whom.
#[derive(Debug, Clone)]
pub(crate) struct Spec<'a> {
    /// By member id.
    pub members: BTreeMap<&'a str, Subject<'a>>,
    /// How many partitions there are of each topic that somebody is subscribed to.
    pub partitions: BTreeMap<Uuid, i32>,
}

impl Assignor {
    /// By Kafka's name.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "uniform" => Some(Assignor::Uniform),
            "range" => Some(Assignor::Range),
            _ => None,
        }
    }

    /// Kafka's name.
    pub fn name(self) -> &'static str {
        match self {
            Assignor::Uniform => "uniform",
            Assignor::Range => "range",
        }
    }

    /// The new target of every member.
    pub fn assign(self, spec: &Spec) -> BTreeMap<String, Places> {
        match self {
            Assignor::Uniform => uniform::assign(spec),
            Assignor::Range => range::assign(spec),
        }
    }
}
