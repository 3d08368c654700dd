//! What a client that produces spreads its batches over: the partitions of one topic, or as many topics with one partition each.

use super::admin::NewTopic;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// So many partitions, in one topic or in a topic each. A *place* is the number of one of them, from 0.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spread {
    /// The topic; of several, what their names begin with: `orders-0`, `orders-1`, ...
    pub topic: String,
    /// Partitions altogether.
    pub partitions: u32,
    /// Whether each partition is the only one of a topic of its own.
    #[serde(default)]
    pub topic_each: bool,
}

impl Spread {
    /// The first partitions of one topic.
    pub fn one_topic(topic: &str, partitions: u32) -> Self {
        Self {
            topic: topic.to_owned(),
            partitions,
            topic_each: false,
        }
    }

    /// Topic and partition of a place.
    pub fn at(&self, place: usize) -> (Cow<'_, str>, i32) {
        match self.topic_each {
            true => (Cow::Owned(format!("{}-{place}", self.topic)), 0),
            false => (Cow::Borrowed(&self.topic), i32::try_from(place).unwrap_or(i32::MAX)),
        }
    }

    /// The names of its topics.
    pub fn topics(&self) -> Vec<String> {
        match self.topic_each {
            true => (0..self.partitions as usize)
                .map(|place| self.at(place).0.into_owned())
                .collect(),
            false => vec![self.topic.clone()],
        }
    }

    /// Its topics, to be created.
    pub fn new_topics(&self, replicas: u16, configs: &BTreeMap<String, String>) -> Vec<NewTopic> {
        let partitions = if self.topic_each { 1 } else { self.partitions };
        let topic = |name| NewTopic {
            name,
            partitions,
            replicas,
            configs: configs.clone(),
        };
        self.topics().into_iter().map(topic).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_topic_or_a_topic_each() {
        let mut spread = Spread::one_topic("orders", 3);
        assert_eq!(spread.topics(), ["orders"]);
        assert_eq!(spread.at(2), ("orders".into(), 2));
        assert_eq!(spread.new_topics(1, &BTreeMap::new()), [NewTopic::new("orders", 3)]);
        spread.topic_each = true;
        assert_eq!(spread.topics(), ["orders-0", "orders-1", "orders-2"]);
        assert_eq!(spread.at(2), ("orders-2".into(), 0));
        assert_eq!(spread.new_topics(1, &BTreeMap::new())[2], NewTopic::new("orders-2", 1));
    }
}
