//! Where a topic ends by now, for consumers that nobody produces for: their lag is what lies between them and the end.

use workloads::native::{Admin, Bootstrap, Security};

use super::host::Host;

/// Asks for the end of a topic, over a connection that is made anew when it broke.
pub struct Ends {
    brokers: Bootstrap,
    security: Security,
    topic: String,
    partitions: u32,
    admin: Option<Admin>,
}

impl Ends {
    /// Of a topic on a host.
    pub fn of(host: &Host, topic: &str) -> Self {
        Self {
            brokers: host.brokers.clone(),
            security: host.security.clone(),
            topic: topic.to_owned(),
            partitions: host.partitions,
            admin: None,
        }
    }

    /// The records between `positions`, a sum over all partitions, and the end; absent while no broker tells.
    pub fn lag(&mut self, positions: i64) -> Option<u64> {
        let mut admin = match self.admin.take() {
            Some(admin) => admin,
            None => Admin::connect(self.brokers.clone(), &self.security).ok()?,
        };
        let ends = admin.end_offsets(&self.topic, self.partitions).ok()?;
        self.admin = Some(admin);
        u64::try_from(ends.iter().sum::<i64>().saturating_sub(positions).max(0)).ok()
    }
}
