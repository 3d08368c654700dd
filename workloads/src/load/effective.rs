//! What a producer runs with, property by property, so that two clients can be held side by side.

use super::librdkafka;
use super::spec::{ClientKind, ProducerSettings};
use crate::native::ClientError;

/// What decides about a producer's batches and waits, by Kafka's names, and by librdkafka's.
const PROPERTIES: [(&str, &str); 11] = [
    ("acks", "acks"),
    ("batch.size", "batch.size"),
    ("linger.ms", "linger.ms"),
    ("max.in.flight.requests.per.connection", "max.in.flight"),
    ("enable.idempotence", "enable.idempotence"),
    ("compression.type", "compression.codec"),
    ("buffer.memory", "queue.buffering.max.kbytes"),
    ("records in the buffer", "queue.buffering.max.messages"),
    ("retries", "message.send.max.retries"),
    ("request.timeout.ms", "request.timeout.ms"),
    ("delivery.timeout.ms", "message.timeout.ms"),
];

/// A property of a producer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Property {
    /// By Kafka's name, also where the client has another one.
    pub name: &'static str,
    /// As the client writes it.
    pub value: String,
}

impl ProducerSettings {
    /// What its client runs with: of librdkafka what it says itself.
    ///
    /// # Errors
    /// librdkafka refuses one of them.
    pub fn effective(&self) -> Result<Vec<Property>, ClientError> {
        let values = match self.client {
            ClientKind::Native => self.native(),
            ClientKind::Librdkafka => {
                let names = PROPERTIES.map(|(_, name)| name);
                let values = librdkafka::effective(self, &names)?.into_iter().zip(names);
                let told = |(value, name): (String, &str)| match name {
                    "queue.buffering.max.kbytes" => format!("{value} KiB"),
                    _ => value,
                };
                values.map(told).collect()
            }
        };
        let names = PROPERTIES.iter().map(|(name, _)| *name);
        Ok(names
            .zip(values)
            .map(|(name, value)| Property { name, value })
            .collect())
    }

    fn native(&self) -> Vec<String> {
        let of = |value: &dyn std::fmt::Display| value.to_string();
        let retries = if self.retries { i32::MAX } else { 0 };
        vec![
            of(&self.acks),
            of(&self.batch_bytes),
            of(&(self.linger_us as f64 / 1e3)),
            of(&self.in_flight),
            of(&self.idempotence),
            of(&self.compression),
            format!("{} KiB", self.buffer_bytes / 1_024),
            "as many as fit".to_owned(),
            of(&retries),
            of(&self.request_timeout_ms),
            of(&self.delivery_timeout_ms),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_clients_are_told_the_same() {
        let of = |client| {
            let settings = ProducerSettings {
                client,
                batch_bytes: 65_536,
                linger_us: 5_000,
                acks: 1,
                in_flight: 3,
                ..ProducerSettings::default()
            };
            settings.effective().unwrap()
        };
        let (native, other) = (of(ClientKind::Native), of(ClientKind::Librdkafka));
        assert_eq!(native.len(), PROPERTIES.len());
        for (native, other) in native.iter().zip(&other) {
            assert_eq!(native.name, other.name);
            // The native client has no bound of its own there.
            if native.name != "records in the buffer" {
                assert_eq!(native.value, other.value, "{}", native.name);
            }
        }
    }
}
