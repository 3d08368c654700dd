//! The consuming side of a load: whoever reads what a producer stamped knows how long each record took from end to end.
//!
//! [`ConsumeSpec`] says what is read and how, [`Consuming`] is what both clients can do, [`Receipts`] keeps count of records and their
//! sequences, and [`Consumer`] reads for a window and then on to the end of what lies there. There are no groups in here: places are
//! assigned by whoever starts the consumer.

mod handler;
mod native;
mod receipts;
mod run;

pub use receipts::{PlaceReceipts, Receipts, RunReceipts, SEQUENCES_MAX};
pub use run::{ConsumeTick, Consumed, Consumer};

use native::NativeConsumer;

use super::librdkafka;
use super::spec::{CONNECTIONS_MAX, ClientKind};
use crate::native::admin::Admin;
use crate::native::{Bootstrap, ClientError, Security, Spread};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::Sub;

/// Where a consumer begins; it is looked up once, so that two clients begin with the same records.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// With the first record that lies there.
    Earliest,
    /// Behind the last record that lies there when the consumer connects.
    #[default]
    Latest,
    /// With these offsets, one for each place that is read.
    Offsets(Vec<i64>),
}

/// What is read, and how. The defaults are those of Kafka's Java client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConsumeSpec {
    /// Topics and partitions that exist.
    pub spread: Spread,
    /// Which places of the spread; `None` reads all of them.
    #[serde(default)]
    pub places: Option<Vec<usize>>,
    /// Which client.
    #[serde(default)]
    pub client: ClientKind,
    /// Where it begins.
    #[serde(default)]
    pub from: Start,
    /// Bytes that end the broker's wait (`fetch.min.bytes`).
    #[serde(default = "one")]
    pub fetch_min_bytes: u32,
    /// How long the broker may wait for them, ms (`fetch.max.wait.ms`).
    #[serde(default = "half_a_second")]
    pub fetch_max_wait_ms: u32,
    /// Most bytes of a response (`fetch.max.bytes`).
    #[serde(default = "fifty_mib")]
    pub response_bytes: u32,
    /// Most bytes of a partition in it (`max.partition.fetch.bytes`).
    #[serde(default = "one_mib")]
    pub partition_bytes: u32,
    /// Whether the CRC-32C of each batch is checked, as Java does and librdkafka doesn't.
    #[serde(default)]
    pub check_crcs: bool,
    /// Connections to each leader, of the native client; they share out its partitions.
    #[serde(default = "one")]
    pub connections: u32,
    /// How long the application behind the consumer waits for something else with each record, before it takes the next one, us.
    #[serde(default)]
    pub handler_us: u32,
    /// Only what comes within that long counts for the rate and the latencies of a window, ms; 0 for all of it. What lies there when a load
    /// ends may wait for more that never comes.
    #[serde(default)]
    pub timed_ms: u32,
    /// Further properties of librdkafka, by its names.
    #[serde(default)]
    pub properties: BTreeMap<String, String>,
}

fn one() -> u32 {
    1
}

fn half_a_second() -> u32 {
    500
}

fn fifty_mib() -> u32 {
    50 << 20
}

fn one_mib() -> u32 {
    1 << 20
}

impl ConsumeSpec {
    /// All places of the spread, from now on.
    pub fn new(spread: Spread) -> Self {
        Self {
            spread,
            places: None,
            client: ClientKind::Native,
            from: Start::Latest,
            fetch_min_bytes: one(),
            fetch_max_wait_ms: half_a_second(),
            response_bytes: fifty_mib(),
            partition_bytes: one_mib(),
            check_crcs: false,
            connections: one(),
            handler_us: 0,
            timed_ms: 0,
            properties: BTreeMap::new(),
        }
    }

    /// The places that are read, in rising order.
    pub fn places(&self) -> Vec<usize> {
        match &self.places {
            None => (0..self.spread.partitions as usize).collect(),
            Some(some) => {
                let mut places = some.clone();
                places.sort_unstable();
                places
            }
        }
    }

    /// Checks every figure.
    ///
    /// # Errors
    /// One that cannot work, in words and with the limits.
    pub fn check(&self) -> Result<(), ClientError> {
        const BYTES_MAX: u32 = i32::MAX as u32 - 512;
        let places = self.places();
        let starts = match &self.from {
            Start::Offsets(offsets) => offsets.len(),
            Start::Earliest | Start::Latest => places.len(),
        };
        let wrong = if places.is_empty() {
            "no place is left to be read: choose at least one partition".to_owned()
        } else if places
            .last()
            .is_some_and(|last| *last >= self.spread.partitions as usize)
        {
            format!("the spread has {} places: choose some of them", self.spread.partitions)
        } else if places.windows(2).any(|pair| pair[0] == pair[1]) {
            "a place is named twice: a record would be received twice".to_owned()
        } else if starts != places.len() {
            format!("{starts} offsets for {} places: give one for each", places.len())
        } else if matches!(&self.from, Start::Offsets(offsets) if offsets.iter().any(|offset| *offset < 0)) {
            "an offset below 0: begin with `earliest` or `latest`, or choose 0 and up".to_owned()
        } else if !(1..=BYTES_MAX).contains(&self.response_bytes) || !(1..=BYTES_MAX).contains(&self.partition_bytes) {
            format!(
                "responses of {} bytes with {} a partition: choose 1 to {BYTES_MAX}",
                self.response_bytes, self.partition_bytes
            )
        } else if !(1..=100_000_000).contains(&self.fetch_min_bytes) {
            format!("fetch.min.bytes of {}: choose 1 to 100000000", self.fetch_min_bytes)
        } else if self.fetch_max_wait_ms > 300_000 {
            format!("fetch.max.wait.ms of {}: choose at most 300000", self.fetch_max_wait_ms)
        } else if self.handler_us > 60_000_000 {
            format!("{} us for each record: choose at most 60000000", self.handler_us)
        } else if !(1..=CONNECTIONS_MAX).contains(&self.connections) {
            format!("{} connections: choose 1 to {CONNECTIONS_MAX}", self.connections)
        } else if self.client == ClientKind::Librdkafka && self.connections > 1 {
            "librdkafka has one connection to each broker: choose the native client for more".to_owned()
        } else {
            return self.check_properties();
        };
        Err(ClientError::Spec(wrong))
    }

    fn check_properties(&self) -> Result<(), ClientError> {
        match self.properties.keys().next() {
            Some(name) if self.client == ClientKind::Native => Err(ClientError::Spec(format!(
                "the native consumer has no property `{name}`: leave it out, or choose the client librdkafka"
            ))),
            _ => Ok(()),
        }
    }
}

/// A record that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received<'a> {
    /// Where it lay, in the spread.
    pub place: usize,
    /// Its offset.
    pub offset: i64,
    /// Its time, ms since 1970.
    pub timestamp_ms: i64,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value; empty for a tombstone.
    pub value: &'a [u8],
    /// When it was there for the application to see, decompressed ([`super::clock::now_ns`]).
    pub received_ns: u64,
}

/// A client that consumes.
pub trait Consuming {
    /// Tells of records as they come, each partition's in their order, and returns when some have come, at `until_ns`
    /// ([`super::clock::now_ns`]) at the latest.
    ///
    /// # Errors
    /// The client is of no use any more.
    fn poll(&mut self, until_ns: u64, on: &mut dyn FnMut(Received<'_>)) -> Result<(), ClientError>;

    /// What it has done since it connected.
    fn counts(&self) -> ConsumeCounts;
}

/// What a consuming client has done.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsumeCounts {
    /// Fetch requests sent.
    pub requests: u64,
    /// Their answers, with records or without.
    pub responses: u64,
    /// Bytes of the answers as they came, to within the 4 of a frame's length.
    pub wire_bytes: u64,
    /// Records told of.
    pub records: u64,
    /// Their keys and values, bytes.
    pub raw_bytes: u64,
    /// Troubles that the client got over by itself, such as a connection that was made anew.
    pub errors: u64,
}

impl Sub for ConsumeCounts {
    type Output = Self;

    /// What was done since `earlier`.
    fn sub(self, earlier: Self) -> Self {
        Self {
            requests: self.requests.saturating_sub(earlier.requests),
            responses: self.responses.saturating_sub(earlier.responses),
            wire_bytes: self.wire_bytes.saturating_sub(earlier.wire_bytes),
            records: self.records.saturating_sub(earlier.records),
            raw_bytes: self.raw_bytes.saturating_sub(earlier.raw_bytes),
            errors: self.errors.saturating_sub(earlier.errors),
        }
    }
}

/// Where each place that is read begins.
pub type Starts = Vec<(usize, i64)>;

/// Looks up where each place begins.
///
/// # Errors
/// A figure of the spec cannot work, or a topic or a leader is missing.
pub fn starts(admin: &mut Admin, spec: &ConsumeSpec) -> Result<Starts, ClientError> {
    spec.check()?;
    let places = spec.places();
    let offsets = match &spec.from {
        Start::Offsets(offsets) => offsets.clone(),
        Start::Earliest => offsets_of(admin, spec, &places, Admin::start_offsets)?,
        Start::Latest => offsets_of(admin, spec, &places, Admin::end_offsets)?,
    };
    Ok(places.into_iter().zip(offsets).collect())
}

/// The offsets that `ask` finds, of some places.
fn offsets_of(
    admin: &mut Admin,
    spec: &ConsumeSpec,
    places: &[usize],
    ask: impl Fn(&mut Admin, &str, u32) -> Result<Vec<i64>, ClientError>,
) -> Result<Vec<i64>, ClientError> {
    let missing = || ClientError::Spec("the broker did not tell the offset of each partition".to_owned());
    if spec.spread.topic_each {
        let of = |place: &usize| {
            ask(admin, &spec.spread.at(*place).0, 1)?
                .first()
                .copied()
                .ok_or_else(missing)
        };
        return places.iter().map(of).collect();
    }
    let all = ask(admin, &spec.spread.topic, spec.spread.partitions)?;
    places
        .iter()
        .map(|place| all.get(*place).copied().ok_or_else(missing))
        .collect()
}

/// Connects the client of the spec; it begins with `starts`.
///
/// # Errors
/// A broker is not there, or the client can't do what is asked for.
pub fn connect(
    brokers: &Bootstrap,
    security: &Security,
    spec: &ConsumeSpec,
    starts: &Starts,
) -> Result<Box<dyn Consuming>, ClientError> {
    spec.check()?;
    Ok(match spec.client {
        ClientKind::Native => Box::new(NativeConsumer::connect(brokers, security, spec, starts)?),
        ClientKind::Librdkafka => Box::new(librdkafka::Consumer::connect(brokers, security, spec, starts)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spec_goes_through_json_and_defaults_may_be_left_out() {
        let short: ConsumeSpec = serde_json::from_str(r#"{"spread":{"topic":"t","partitions":2}}"#).unwrap();
        assert_eq!(short, ConsumeSpec::new(Spread::one_topic("t", 2)));
        short.check().unwrap();
        let spec = ConsumeSpec {
            places: Some(vec![1, 0]),
            from: Start::Offsets(vec![7, 8]),
            ..short
        };
        spec.check().unwrap();
        assert_eq!(spec.places(), [0, 1]);
        let text = serde_json::to_string(&spec).unwrap();
        assert_eq!(serde_json::from_str::<ConsumeSpec>(&text).unwrap(), spec);
        assert!(serde_json::from_str::<ConsumeSpec>(&text.replace("check_crcs", "check")).is_err());
    }

    #[test]
    fn what_cannot_work_is_told() {
        let of = |change: &dyn Fn(&mut ConsumeSpec)| {
            let mut spec = ConsumeSpec::new(Spread::one_topic("t", 2));
            change(&mut spec);
            spec.check().unwrap_err().to_string()
        };
        assert!(of(&|spec| spec.places = Some(vec![])).contains("no place"));
        assert!(of(&|spec| spec.places = Some(vec![2])).contains("has 2 places"));
        assert!(of(&|spec| spec.places = Some(vec![1, 1])).contains("twice"));
        assert!(of(&|spec| spec.from = Start::Offsets(vec![1])).contains("1 offsets for 2 places"));
        assert!(of(&|spec| spec.from = Start::Offsets(vec![1, -1])).contains("below 0"));
        assert!(of(&|spec| spec.response_bytes = 0).contains("responses of 0 bytes"));
        assert!(of(&|spec| spec.fetch_min_bytes = 0).contains("fetch.min.bytes"));
        assert!(of(&|spec| spec.fetch_max_wait_ms = 300_001).contains("fetch.max.wait.ms"));
        assert!(of(&|spec| spec.handler_us = 60_000_001).contains("for each record"));
        assert!(of(&|spec| spec.connections = 0).contains("connections"));
        assert!(
            of(&|spec| {
                spec.client = ClientKind::Librdkafka;
                spec.connections = 2;
            })
            .contains("one connection to each broker")
        );
        assert!(
            of(&|spec| {
                spec.properties
                    .insert("fetch.queue.backoff.ms".to_owned(), "1".to_owned());
            })
            .contains("no property `fetch.queue.backoff.ms`")
        );
    }
}
