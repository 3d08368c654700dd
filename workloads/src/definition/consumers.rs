//! The consumers of `[client]`: who reads what is produced, while it is. Their properties stand in the same section, or are factors.

use super::client::{bytes, client_kind, microseconds, number};
use crate::load::ClientKind;
use serde::Serialize;

/// What can be told of them.
pub(super) const PROPERTIES: [&str; 6] = [
    "consumers",
    "consumer",
    "fetch_min_bytes",
    "fetch_max_wait_ms",
    "handler_ms",
    "drain_ms",
];

/// Most processes that consume.
const PROCESSES_MAX: u32 = 16;

/// Processes that consume, each with its share of the partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Consumers {
    /// How many; 0 for none.
    pub processes: u32,
    /// Which client they have.
    pub client: ClientKind,
    /// A fetch is answered when it has that much, bytes.
    pub fetch_min_bytes: u32,
    /// Or after that long, ms.
    pub fetch_max_wait_ms: u32,
    /// How long each record has its consumer wait for something else, us.
    pub handler_us: u32,
    /// How long they may go on when the producer is done, ms; what they don't have then is left in the log, and counted.
    pub drain_ms: u32,
}

/// As Kafka's clients are, where they have such a default.
impl Default for Consumers {
    fn default() -> Self {
        Consumers {
            processes: 0,
            client: ClientKind::Native,
            fetch_min_bytes: 1,
            fetch_max_wait_ms: 500,
            handler_us: 0,
            drain_ms: 30_000,
        }
    }
}

impl Consumers {
    /// Sets a property; an error says what it can be.
    pub(super) fn set(&mut self, name: &str, text: &str) -> Result<(), String> {
        match name {
            // A level under test reads as what it is: `4-consumers`.
            "consumers" => {
                let digits = text.split('-').next().unwrap_or_default();
                self.processes = number(digits, 0..=PROCESSES_MAX)?;
            }
            "consumer" => self.client = client_kind(text)?,
            "fetch_min_bytes" => self.fetch_min_bytes = bytes(text, 1..=1 << 26)?,
            "fetch_max_wait_ms" => self.fetch_max_wait_ms = number(text.trim_end_matches("ms"), 1..=30_000)?,
            "handler_ms" => self.handler_us = microseconds(text, 60_000.0)? as u32,
            "drain_ms" => self.drain_ms = number(text.trim_end_matches("ms"), 0..=60_000)?,
            _ => return Err(format!("one of: {}", PROPERTIES.join(", "))),
        }
        Ok(())
    }

    /// Partitions of each of them, dealt out in turn; one too many has none.
    pub fn shares(&self, partitions: u32) -> Vec<Vec<usize>> {
        let (processes, places) = (self.processes as usize, partitions as usize);
        let share = |process: usize| (process..places).step_by(processes);
        (0..processes).map(|process| share(process).collect()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::client::tests::clients;
    use super::super::tests::assert_refused;
    use super::*;

    const PARTITION_PARALLELISM: &str = include_str!("../../definitions/partition-parallelism.toml");
    const DELIVERY_LATENCY: &str = include_str!("../../definitions/delivery-latency.toml");

    #[test]
    fn levels_name_consumers_and_what_they_wait_for() {
        let parallel = clients("partition-parallelism.toml", PARTITION_PARALLELISM);
        let busy = parallel["4-consumers/1ms/constant/16"];
        assert_eq!((busy.consumers.processes, busy.consumers.handler_us), (4, 1_000));
        assert_eq!((busy.partitions, busy.consumers.drain_ms), (16, 0));
        let late = clients("delivery-latency.toml", DELIVERY_LATENCY);
        let waiting = late["64KiB/100ms/0ms/5000"];
        assert_eq!(
            (waiting.consumers.fetch_min_bytes, waiting.consumers.fetch_max_wait_ms),
            (65_536, 100)
        );
        assert_eq!(
            (waiting.linger_us, waiting.rate, waiting.consumers.processes),
            (0, 5_000, 1)
        );
    }

    #[test]
    fn partitions_are_dealt_out_and_a_consumer_too_many_has_none() {
        let of = |processes: u32, partitions: u32| {
            let consumers = Consumers {
                processes,
                ..Consumers::default()
            };
            consumers.shares(partitions)
        };
        assert_eq!(of(2, 5), [vec![0, 2, 4], vec![1, 3]]);
        assert_eq!(of(4, 2), [vec![0], vec![1], vec![], vec![]]);
        assert!(of(0, 2).is_empty());
    }

    #[test]
    fn what_no_consumer_can_do_is_refused() {
        for row in [
            (
                "consumers = 1",
                "consumers = 17",
                "17",
                "`consumers` can't be `17`",
                "between 0 and 16",
            ),
            ("consumers = 1\n", "", "", "nothing says `consumers`", "consumers = 1"),
            (
                "drain_ms = 30000",
                "drain_ms = 60001",
                "60001",
                "`drain_ms` can't be `60001`",
                "between 0 and 60000",
            ),
            (
                "consumer = \"native\"",
                "consumer = \"java\"",
                "\"java\"",
                "`consumer` can't be `java`",
                "native, librdkafka",
            ),
            (
                "# ---------------------------------------------------------------- measured",
                "[limit]\nnull = [\"64KiB\"]",
                "null",
                "nothing is stored there, and nothing can be consumed",
                "remove",
            ),
        ] {
            assert_refused(DELIVERY_LATENCY, &row);
        }
    }
}
