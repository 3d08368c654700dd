//! The levels of a client's trial, taken apart.

use std::collections::BTreeMap;

use anyhow::Context;
use results::schema::TrialRole;
use workloads::definition::{AckFault, ArrivalKind, BUNDLED, Client, Definition, NULL};
use workloads::load::{Arrivals, ClientKind, Keys, LoadPayload, LoadSpec, Partitioner, ProducerSettings};
use workloads::native::Spread;
use workloads::payload::PayloadSpec;

use crate::measure::bench::Setup;
use crate::target::null;

/// A request that is not answered for that long has failed, ms.
const REQUEST_TIMEOUT_MS: u32 = 30_000;
/// So has a record, ms: a trial is given up before.
const DELIVERY_TIMEOUT_MS: u32 = 60_000;

/// What a trial does, and where.
#[derive(Debug, Clone)]
pub struct Levels {
    /// The target; for a limit the one that stores nothing.
    pub target: String,
    /// What the clients do.
    pub client: Client,
    /// The records.
    pub payload: PayloadSpec,
    /// Settings of the broker that is started for the trial; `None` where the target runs the whole time.
    pub settings: Option<BTreeMap<String, String>>,
    /// Settings of the trial's topic.
    pub topic_settings: BTreeMap<String, String>,
}

impl Levels {
    /// Of a trial or an arm, by its role and factors.
    ///
    /// # Errors
    /// A level can't be read: the definition was not checked.
    pub fn of(
        definition: &Definition,
        client: Client,
        setup: &Setup,
        (role, factors): (TrialRole, &BTreeMap<String, String>),
    ) -> anyhow::Result<Self> {
        let mut factors = factors.clone();
        let target = match role {
            TrialRole::Limit => {
                let stands_for = definition.limit.get(NULL).and_then(|levels| levels.last());
                let level = stands_for.context("the bare loop is the limit of no level")?;
                factors.insert(definition.treatment.clone(), level.clone());
                NULL
            }
            TrialRole::Measured | TrialRole::Control => definition.target.as_str(),
        };
        let named = factors.iter().map(|(name, level)| (name.as_str(), level.as_str()));
        Ok(Levels {
            client: client.with(named).map_err(anyhow::Error::msg)?,
            payload: match &setup.payload {
                // A user's own records are what they are.
                PayloadSpec::File { .. } => setup.payload.clone(),
                _ => definition.payload.with(&factors).map_err(anyhow::Error::msg)?.into(),
            },
            settings: settings(definition, (role, target), &factors),
            topic_settings: definition.topic_settings_of_trial(&factors),
            target: target.to_owned(),
        })
    }

    /// Where records go.
    pub fn spread(&self, topic: &str) -> Spread {
        Spread::one_topic(topic, self.client.partitions)
    }

    /// What the producer is told.
    pub fn load(&self, topic: &str, seed: u64) -> LoadSpec {
        let client = &self.client;
        let rate = f64::from(client.rate);
        LoadSpec {
            spread: self.spread(topic),
            arrivals: match client.arrivals {
                ArrivalKind::Closed if client.is_sync => Arrivals::Closed { outstanding: 1 },
                ArrivalKind::Closed => Arrivals::Closed {
                    outstanding: client.outstanding,
                },
                ArrivalKind::Constant => Arrivals::Constant { rate },
                ArrivalKind::Poisson => Arrivals::Poisson { rate },
            },
            keys: Keys::None,
            payload: LoadPayload::new(self.payload.clone()),
            partitioner: Partitioner::RoundRobin,
            producer: producer(client),
            records_max: None,
            first_sequence: 0,
            patience_ms: None,
            seed,
        }
    }

    /// Tells apart what a broker has to warm up for: a codec that it decompresses, and requests that are full or come one by one.
    pub fn path_through_broker(&self) -> String {
        let client = &self.client;
        let requests = match client.arrivals {
            ArrivalKind::Closed if !client.is_sync => "full",
            ArrivalKind::Closed | ArrivalKind::Constant | ArrivalKind::Poisson => "single",
        };
        format!("{}-{requests}", client.compression.codec())
    }

    /// Whether the producer can tell what it was acknowledged, down to each batch's checksum: librdkafka does not show its batches, and without
    /// acknowledgements nobody knows an offset.
    pub fn keeps_ledger(&self) -> bool {
        self.client.client == ClientKind::Native && self.client.acks != 0
    }
}

/// What a client of these properties is told.
pub fn producer(client: &Client) -> ProducerSettings {
    ProducerSettings {
        client: client.client,
        batch_bytes: client.batch_bytes,
        linger_us: client.linger_us,
        in_flight: client.in_flight,
        acks: client.acks,
        idempotence: client.idempotence,
        compression: client.compression,
        buffer_bytes: client.buffer_bytes,
        connections: client.connections,
        request_timeout_ms: REQUEST_TIMEOUT_MS,
        delivery_timeout_ms: DELIVERY_TIMEOUT_MS,
        // Without sequence numbers a retry may store a batch twice, which only a trial with a fault counts.
        retries: client.idempotence || client.fault != AckFault::None,
        properties: BTreeMap::new(),
    }
}

/// The settings of a broker of the trial's own: the bundled one, or for a limit the one that stores nothing.
fn settings(
    definition: &Definition,
    (role, target): (TrialRole, &str),
    factors: &BTreeMap<String, String>,
) -> Option<BTreeMap<String, String>> {
    match role {
        TrialRole::Limit => Some(null::settings(definition.settings_of_trial(factors))),
        TrialRole::Measured | TrialRole::Control if target == BUNDLED => Some(definition.settings_of_trial(factors)),
        TrialRole::Measured | TrialRole::Control => None,
    }
}
