//! A scenario file as it is written, with the places of its values, and the checks that turn it into a [`super::Scenario`].

use serde::Deserialize;
use toml::Spanned;
use workloads::sequenced::{Acks, RECORD_BYTES_MIN};

use super::fault::Fault;
use super::{
    BATCH_BYTES_MAX, BURST_MS_MAX, IN_FLIGHT_MAX, OVERTAKES, PARTITIONS_MAX, PRODUCERS_MAX, Place, ScenarioError,
    TIME_MS_MAX,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Scenario {
    why: Spanned<String>,
    workload: Workload,
    #[serde(default)]
    steady: Steady,
    #[serde(default)]
    fault: Vec<Fault>,
    #[serde(default)]
    invariants: Invariants,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Workload {
    topic: Topic,
    producers: Spanned<u32>,
    record_bytes: Spanned<u32>,
    batch_records: Spanned<MinMax>,
    acks: Spanned<String>,
    #[serde(default)]
    idempotence: bool,
    in_flight: Option<Spanned<u32>>,
    rate_per_s: Option<Spanned<f64>>,
    burst_ms: Option<Spanned<u64>>,
    damage_every: Option<Spanned<u32>>,
    request_timeout_ms: Spanned<u64>,
    warm_up_ms: Spanned<u64>,
    settle_ms: Spanned<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Topic {
    name: Spanned<String>,
    partitions: Spanned<u32>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Steady {
    acknowledged_per_s: Option<AtLeast>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AtLeast {
    at_least: Spanned<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MinMax {
    pub(super) min: Spanned<u64>,
    pub(super) max: Spanned<u64>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Invariants {
    lost: Option<Spanned<Bound>>,
    torn: Option<Spanned<Bound>>,
    corrupted: Option<Spanned<Bound>>,
    never_sent: Option<Spanned<Bound>>,
    reordered: Option<Spanned<Bound>>,
    log_duplicates: Option<Spanned<Bound>>,
    offsets_dense: Option<bool>,
    always_starts: Option<bool>,
    stays_up: Option<bool>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "a number that is at most tolerated, or \"counted\"")]
enum Bound {
    AtMost(u64),
    Word(String),
}

pub(super) type Checked<T> = Result<T, Box<ScenarioError>>;

impl Scenario {
    pub(super) fn check(self, name: String, place: &Place<'_>) -> Checked<super::Scenario> {
        if self.why.get_ref().trim().is_empty() {
            return Err(place.error(self.why.span(), "why is empty", "say in a sentence what is asked"));
        }
        if self.fault.is_empty() {
            let remedy = "add a [[fault]] table; a load without faults is a job for `assay run`";
            return Err(place.error(0..0, "there is no fault", remedy));
        }
        let workload = self.workload.check(place)?;
        let steady = self.steady.check(place, workload.warm_up_ms)?;
        let faults = self
            .fault
            .iter()
            .map(|fault| fault.check(place))
            .collect::<Checked<Vec<_>>>()?;
        let invariants = self.invariants.check(place, &faults)?;
        Ok(super::Scenario {
            name,
            digest: format!("{:016x}", workloads::payload::fnv1a(place.text.as_bytes())),
            // Lines are broken anew wherever it is shown.
            why: self.why.get_ref().split_whitespace().collect::<Vec<_>>().join(" "),
            workload,
            steady,
            faults,
            invariants,
        })
    }
}

impl Workload {
    fn check(&self, place: &Place<'_>) -> Checked<super::Workload> {
        let name = self.topic.name.get_ref();
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if name.is_empty() || name.len() > 249 || name == "." || name == ".." || !name.bytes().all(legal) {
            let remedy = "use 1 to 249 of the characters a-z, A-Z, 0-9, '.', '_' and '-'";
            return Err(place.error(
                self.topic.name.span(),
                format!("Kafka refuses a topic called {name:?}"),
                remedy,
            ));
        }
        let acks = match self.acks.get_ref().as_str() {
            "all" => Acks::All,
            "1" => Acks::Leader,
            other => {
                let remedy = "write \"all\" or \"1\"; without acknowledgements nothing can be lost";
                return Err(place.error(self.acks.span(), format!("acks is {other:?}"), remedy));
            }
        };
        let record_bytes = place.bounded("record_bytes", &self.record_bytes, RECORD_BYTES_MIN..=1 << 20)?;
        let batch_records = place.range("batch_records", &self.batch_records, 1..=10_000)?;
        let (most, batch_bytes) = (batch_records.max, u64::from(record_bytes) * batch_records.max);
        if batch_bytes > BATCH_BYTES_MAX {
            let message = format!("a batch of {most} records of {record_bytes} bytes has {batch_bytes} bytes");
            let remedy = format!("stay below {BATCH_BYTES_MAX}: brokers refuse batches above about 1 MiB by default");
            return Err(place.error(self.batch_records.span(), message, remedy));
        }
        let damage_every = self.damage_every.as_ref();
        let in_flight = match &self.in_flight {
            Some(in_flight) => place.bounded("in_flight", in_flight, 1..=IN_FLIGHT_MAX)?,
            None => 1,
        };
        let workload = super::Workload {
            topic: name.clone(),
            partitions: place.bounded("partitions", &self.topic.partitions, 1..=PARTITIONS_MAX)?,
            producers: place.bounded("producers", &self.producers, 1..=PRODUCERS_MAX)?,
            record_bytes,
            batch_records,
            acks,
            idempotence: self.idempotence,
            in_flight,
            rate_per_s: self
                .rate_per_s
                .as_ref()
                .map(|rate| place.bounded("rate_per_s", rate, 1.0..=1e9))
                .transpose()?,
            burst_ms: match &self.burst_ms {
                Some(burst_ms) => place.bounded("burst_ms", burst_ms, 0..=BURST_MS_MAX)?,
                None => 0,
            },
            damage_every: damage_every
                .map(|value| place.bounded("damage_every", value, 1..=1_000_000))
                .transpose()?,
            request_timeout_ms: place.bounded("request_timeout_ms", &self.request_timeout_ms, 10..=TIME_MS_MAX)?,
            warm_up_ms: place.bounded("warm_up_ms", &self.warm_up_ms, 0..=TIME_MS_MAX)?,
            settle_ms: place.bounded("settle_ms", &self.settle_ms, 0..=TIME_MS_MAX)?,
        };
        match damage_every.filter(|_| workload.may_overtake()) {
            Some(damage_every) => {
                let message = format!("the workload {OVERTAKES}");
                let remedy = "leave damage_every out, set in_flight to 1, or idempotence to true";
                Err(place.error(damage_every.span(), message, remedy))
            }
            None => Ok(workload),
        }
    }
}

impl Steady {
    fn check(&self, place: &Place<'_>, warm_up_ms: u64) -> Checked<super::Steady> {
        let Some(AtLeast { at_least }) = &self.acknowledged_per_s else {
            return Ok(super::Steady::default());
        };
        let per_s = place.bounded("at_least", at_least, 0.0..=1e9)?;
        if warm_up_ms == 0 {
            let message = "a baseline is asked for, and warm_up_ms is 0";
            return Err(place.error(at_least.span(), message, "give the workload a warm_up_ms of 1000 or so"));
        }
        Ok(super::Steady {
            acknowledged_per_s_at_least: Some(per_s),
        })
    }
}

impl Invariants {
    fn check(&self, place: &Place<'_>, faults: &[super::Fault]) -> Checked<super::Invariants> {
        let is_explainable = faults.iter().all(|fault| fault.kind.is_on_the_way());
        let bound = |key: &str, value: &Option<Spanned<Bound>>, default: super::Bound| match value {
            None => Ok(default),
            Some(value) => match value.get_ref() {
                Bound::AtMost(count) => Ok(super::Bound::AtMost(*count)),
                Bound::Word(word) if word == "counted" => Ok(super::Bound::Counted),
                Bound::Word(word) if word == "explained" && key == "log_duplicates" => match is_explainable {
                    true => Ok(super::Bound::Explained),
                    false => {
                        let message =
                            "a killed broker loses answers that nobody sees, so duplicates can't be explained";
                        Err(place.error(value.span(), message, "write \"counted\", or leave the kills out"))
                    }
                },
                Bound::Word(word) => {
                    let remedy = "write the number that is tolerated, such as 0, or \"counted\"";
                    Err(place.error(value.span(), format!("{key} is {word:?}"), remedy))
                }
            },
        };
        let default = super::Invariants::default();
        Ok(super::Invariants {
            lost: bound("lost", &self.lost, default.lost)?,
            torn: bound("torn", &self.torn, default.torn)?,
            corrupted: bound("corrupted", &self.corrupted, default.corrupted)?,
            never_sent: bound("never_sent", &self.never_sent, default.never_sent)?,
            reordered: bound("reordered", &self.reordered, default.reordered)?,
            log_duplicates: bound("log_duplicates", &self.log_duplicates, default.log_duplicates)?,
            offsets_dense: self.offsets_dense.unwrap_or(default.offsets_dense),
            always_starts: self.always_starts.unwrap_or(default.always_starts),
            stays_up: self.stays_up.unwrap_or(default.stays_up),
        })
    }
}
