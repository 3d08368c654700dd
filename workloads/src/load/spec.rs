//! What a load is: everything that one producing client needs to know, as one JSON value.

use super::arrivals::Arrivals;
use super::keys::Keys;
use super::partitioner::Partitioner;
use super::records::LoadPayload;
use crate::native::{ClientError, Spread};
use kafka_wire::Compression;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// Largest batch, bytes.
pub const BATCH_BYTES_MAX: u32 = 64 << 20;
/// Longest linger, us: a minute.
pub const LINGER_US_MAX: u64 = 60_000_000;
/// Most requests on a connection at once.
pub const IN_FLIGHT_MAX: u32 = 64;
/// Most requests on a connection at once with idempotence: a broker remembers so many batches of a producer (KIP-98).
pub const IN_FLIGHT_IDEMPOTENT_MAX: u32 = 5;
/// Most connections to a leader.
pub const CONNECTIONS_MAX: u32 = 64;
/// Most partitions.
pub const PARTITIONS_MAX: u32 = 100_000;
/// Largest send queue, bytes.
pub const BUFFER_BYTES_MAX: u64 = 16 << 30;
/// Longest timeout, ms: an hour.
pub const TIMEOUT_MS_MAX: u32 = 3_600_000;

/// What is produced, when, and how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoadSpec {
    /// Where records go: partitions of topics that exist.
    pub spread: Spread,
    /// When they are to be sent.
    pub arrivals: Arrivals,
    /// Their keys.
    #[serde(default = "no_keys")]
    pub keys: Keys,
    /// Their values.
    pub payload: LoadPayload,
    /// How the partition of one is chosen.
    #[serde(default)]
    pub partitioner: Partitioner,
    /// Through which client.
    #[serde(default)]
    pub producer: ProducerSettings,
    /// A window ends when so many records were sent, if its time does not end it before.
    #[serde(default)]
    pub records_max: Option<u64>,
    /// Sequence in the stamp of the first record: an application that goes on where it was before begins with the first one that it never
    /// saw acknowledged.
    #[serde(default)]
    pub first_sequence: u64,
    /// How long the acknowledgements of a window are awaited at its end, ms; `None` waits until every record is acknowledged or has failed.
    #[serde(default)]
    pub patience_ms: Option<u32>,
    /// Seed of times, keys, values and partitions.
    pub seed: u64,
}

fn no_keys() -> Keys {
    Keys::None
}

/// Which client carries a load out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientKind {
    /// The one in here: exact control, one thread.
    #[default]
    Native,
    /// librdkafka, which people run.
    Librdkafka,
}

impl ClientKind {
    /// Every client with its name.
    pub const ALL: [(ClientKind, &'static str); 2] =
        [(ClientKind::Native, "native"), (ClientKind::Librdkafka, "librdkafka")];
}

impl fmt::Display for ClientKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::ALL.iter().find(|(kind, _)| kind == self);
        f.write_str(name.map_or("?", |(_, name)| name))
    }
}

impl FromStr for ClientKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().find(|(_, name)| *name == text);
        found
            .map(|(kind, _)| *kind)
            .ok_or_else(|| format!("there is no client `{text}`; choose native or librdkafka"))
    }
}

/// Everything that a producer can turn. The defaults are those of Kafka's Java client, except for linger, idempotence and retries, which
/// are off.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProducerSettings {
    /// Which client.
    pub client: ClientKind,
    /// Most bytes of a batch before compression, with its header (`batch.size`). A record that is larger gets a batch of its own.
    pub batch_bytes: u32,
    /// How long a batch that is not full waits for more records, us (`linger.ms`).
    pub linger_us: u64,
    /// Requests on a connection at once (`max.in.flight.requests.per.connection`).
    pub in_flight: u32,
    /// 0: none; 1: of the leader; -1: of all replicas in sync.
    pub acks: i16,
    /// Whether batches carry a producer id and sequences (`enable.idempotence`); needs acks=-1 and retries.
    pub idempotence: bool,
    /// Codec and level, such as `zstd:3`.
    #[serde(with = "compression_text")]
    pub compression: Compression,
    /// Most bytes that are enqueued and not acknowledged (`buffer.memory`).
    pub buffer_bytes: u64,
    /// Connections to each leader, of the native client; they share out its partitions.
    pub connections: u32,
    /// A request without an answer for so long has failed, ms (`request.timeout.ms`).
    pub request_timeout_ms: u32,
    /// A record that is not acknowledged so long after it was enqueued has failed, ms (`delivery.timeout.ms`).
    pub delivery_timeout_ms: u32,
    /// Whether a batch that failed for a reason that may pass is sent again. Without idempotence that may store it twice.
    pub retries: bool,
    /// Further properties of librdkafka, by its names; they come last.
    pub properties: BTreeMap<String, String>,
}

impl Default for ProducerSettings {
    fn default() -> Self {
        Self {
            client: ClientKind::Native,
            batch_bytes: 16 << 10,
            linger_us: 0,
            in_flight: 5,
            acks: -1,
            idempotence: false,
            compression: Compression::default(),
            buffer_bytes: 32 << 20,
            connections: 1,
            request_timeout_ms: 30_000,
            delivery_timeout_ms: 120_000,
            retries: false,
            properties: BTreeMap::new(),
        }
    }
}

impl LoadSpec {
    /// Checks every figure; files are not opened.
    ///
    /// # Errors
    /// One that cannot work, in words and with the limits.
    pub fn check(&self) -> Result<(), ClientError> {
        self.arrivals.check()?;
        self.keys.check()?;
        self.payload.check()?;
        self.producer.check()?;
        let wrong = if !(1..=PARTITIONS_MAX).contains(&self.spread.partitions) {
            format!("{} partitions: choose 1 to {PARTITIONS_MAX}", self.spread.partitions)
        } else if self.partitioner == Partitioner::Key && self.keys == Keys::None {
            "the partitioner `key` needs records with keys: choose keys, or round_robin or sticky".to_owned()
        } else if self.records_max == Some(0) {
            "no record at all: choose at least 1, or leave the limit out".to_owned()
        } else {
            return Ok(());
        };
        Err(ClientError::Spec(wrong))
    }
}

impl ProducerSettings {
    /// Checks every figure.
    ///
    /// # Errors
    /// One that cannot work, or two that exclude each other.
    pub fn check(&self) -> Result<(), ClientError> {
        let timeout_is_right = |ms: u32| (1..=TIMEOUT_MS_MAX).contains(&ms);
        let wrong = if !(1..=BATCH_BYTES_MAX).contains(&self.batch_bytes) {
            format!("batches of {} bytes: choose 1 to {BATCH_BYTES_MAX}", self.batch_bytes)
        } else if self.linger_us > LINGER_US_MAX {
            format!("a linger of {} us: choose at most {LINGER_US_MAX}", self.linger_us)
        } else if !(1..=IN_FLIGHT_MAX).contains(&self.in_flight) {
            format!("{} requests in flight: choose 1 to {IN_FLIGHT_MAX}", self.in_flight)
        } else if !(-1..=1).contains(&self.acks) {
            format!("acks={}: choose 0, 1 or -1", self.acks)
        } else if self.idempotence && (self.acks != -1 || !self.retries) {
            "idempotence needs acks=-1 and retries: without them nothing is sent twice".to_owned()
        } else if self.idempotence && self.in_flight > IN_FLIGHT_IDEMPOTENT_MAX {
            format!(
                "{} requests in flight with idempotence: choose at most {IN_FLIGHT_IDEMPOTENT_MAX}, as a broker remembers no more",
                self.in_flight
            )
        } else if self.acks == 0 && self.retries {
            "retries with acks=0: nothing tells what failed; choose acks 1 or -1, or no retries".to_owned()
        } else if !(1..=BUFFER_BYTES_MAX).contains(&self.buffer_bytes) {
            format!(
                "a send queue of {} bytes: choose 1 to {BUFFER_BYTES_MAX}",
                self.buffer_bytes
            )
        } else if !(1..=CONNECTIONS_MAX).contains(&self.connections) {
            format!("{} connections: choose 1 to {CONNECTIONS_MAX}", self.connections)
        } else if self.client == ClientKind::Librdkafka && self.connections > 1 {
            "librdkafka has one connection to each broker: choose the native client for more".to_owned()
        } else if !timeout_is_right(self.request_timeout_ms) || !timeout_is_right(self.delivery_timeout_ms) {
            format!(
                "timeouts of {} ms (request) and {} ms (delivery): choose 1 to {TIMEOUT_MS_MAX}",
                self.request_timeout_ms, self.delivery_timeout_ms
            )
        } else {
            return self.check_properties();
        };
        Err(ClientError::Spec(wrong))
    }

    fn check_properties(&self) -> Result<(), ClientError> {
        match self.properties.keys().next() {
            Some(name) if self.client == ClientKind::Native => Err(ClientError::Spec(format!(
                "the native producer has no property `{name}`: leave it out, or choose the client librdkafka"
            ))),
            _ => Ok(()),
        }
    }
}

/// A compression as settings write it.
mod compression_text {
    use kafka_wire::Compression;
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub fn serialize<S: Serializer>(compression: &Compression, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(compression)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Compression, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::PayloadSpec;

    fn spec() -> LoadSpec {
        LoadSpec {
            spread: Spread::one_topic("orders", 3),
            arrivals: Arrivals::Poisson { rate: 10.0 },
            keys: Keys::Uniform { count: 5 },
            payload: LoadPayload::new(PayloadSpec::Random { record_bytes: 100 }),
            partitioner: Partitioner::Key,
            producer: ProducerSettings {
                compression: "zstd:7".parse().unwrap(),
                ..ProducerSettings::default()
            },
            records_max: None,
            first_sequence: 0,
            patience_ms: None,
            seed: 4,
        }
    }

    #[test]
    fn a_spec_goes_through_json_and_defaults_may_be_left_out() {
        let spec = spec();
        spec.check().unwrap();
        let text = serde_json::to_string(&spec).unwrap();
        assert!(text.contains("\"zstd:7\""), "{text}");
        assert_eq!(serde_json::from_str::<LoadSpec>(&text).unwrap(), spec);
        let short = r#"{"spread":{"topic":"t","partitions":1},"arrivals":{"kind":"closed","outstanding":1},
            "payload":{"content":{"kind":"random","record_bytes":24}},"seed":1}"#;
        let short: LoadSpec = serde_json::from_str(short).unwrap();
        short.check().unwrap();
        assert_eq!((short.producer, short.keys), (ProducerSettings::default(), Keys::None));
        let unknown = text.replace("\"acks\"", "\"ack\"");
        assert!(serde_json::from_str::<LoadSpec>(&unknown).is_err());
    }

    #[test]
    fn what_cannot_work_is_told() {
        let of = |change: &dyn Fn(&mut LoadSpec)| {
            let mut spec = spec();
            change(&mut spec);
            spec.check().unwrap_err().to_string()
        };
        assert!(of(&|spec| spec.spread.partitions = 0).contains("0 partitions"));
        assert!(of(&|spec| spec.keys = Keys::None).contains("needs records with keys"));
        assert!(of(&|spec| spec.records_max = Some(0)).contains("no record"));
        assert!(of(&|spec| spec.producer.batch_bytes = 0).contains("batches of 0 bytes"));
        assert!(of(&|spec| spec.producer.linger_us = u64::MAX).contains("linger"));
        assert!(of(&|spec| spec.producer.in_flight = 65).contains("1 to 64"));
        assert!(of(&|spec| spec.producer.acks = 2).contains("acks=2"));
        assert!(of(&|spec| spec.producer.idempotence = true).contains("acks=-1 and retries"));
        assert!(
            of(&|spec| {
                spec.producer.idempotence = true;
                spec.producer.retries = true;
                spec.producer.in_flight = 6;
            })
            .contains("at most 5")
        );
        assert!(
            of(&|spec| {
                spec.producer.acks = 0;
                spec.producer.retries = true;
            })
            .contains("acks=0")
        );
        assert!(of(&|spec| spec.producer.buffer_bytes = 0).contains("send queue"));
        assert!(of(&|spec| spec.producer.connections = 0).contains("connections"));
        assert!(
            of(&|spec| {
                spec.producer.client = ClientKind::Librdkafka;
                spec.producer.connections = 2;
            })
            .contains("one connection to each broker")
        );
        assert!(of(&|spec| spec.producer.delivery_timeout_ms = 0).contains("0 ms (delivery)"));
    }

    #[test]
    fn clients_have_names() {
        for (kind, name) in ClientKind::ALL {
            assert_eq!(name.parse::<ClientKind>(), Ok(kind));
            assert_eq!(kind.to_string(), name);
        }
        assert!("java".parse::<ClientKind>().is_err());
    }
}
