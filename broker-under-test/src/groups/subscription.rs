//! What members of consumer groups are subscribed to, from the metadata that clients exchange.

use kafka_wire::{Cursor, WireError};

use super::group::Group;

/// The protocol type of consumers; metadata of others is not looked into.
const CONSUMER: &str = "consumer";

impl Group {
    /// Whether the coordinator can know what members consume.
    pub fn is_of_consumers(&self) -> bool {
        self.protocol_type.as_deref() == Some(CONSUMER)
    }

    /// Whether a member consumes the topic; one whose metadata can't be read might.
    pub fn is_subscribed(&self, topic: &str) -> bool {
        let protocol = self.protocol().unwrap_or_default();
        let consumes = |member: &super::member::Member| {
            let metadata = member.metadata(protocol);
            !self.is_of_consumers() || names(&metadata, topic).unwrap_or(true)
        };
        self.members.values().any(consumes)
    }
}

/// Version, then topics: the same in all versions of the subscription.
fn names(subscription: &[u8], topic: &str) -> Result<bool, WireError> {
    let c = &mut Cursor::new(subscription);
    c.i16()?;
    let mut found = false;
    for _ in 0..c.array_len(false, 2)?.unwrap_or(0) {
        found |= c.string(false)? == topic;
    }
    Ok(found)
}
