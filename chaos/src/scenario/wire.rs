//! A scenario file as it is written, with the places of its values, and the checks that turn it into a [`super::Scenario`].

use serde::Deserialize;
use toml::Spanned;
use workloads::sequenced::{Acks, RECORD_BYTES_MIN};

use super::{
    BATCH_BYTES_MAX, BURST_MS_MAX, FaultKind, PARTITIONS_MAX, PRODUCERS_MAX, Place, REPEAT_MAX, Role, ScenarioError,
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
struct Fault {
    kind: Spanned<String>,
    aim: Aim,
    repeat: Spanned<u32>,
    gap_ms: Spanned<MinMax>,
    heal_after_ms: Spanned<MinMax>,
    ready_within_ms: Spanned<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Aim {
    role: Spanned<String>,
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

type Checked<T> = Result<T, Box<ScenarioError>>;

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
            .collect::<Checked<_>>()?;
        let invariants = self.invariants.check(place)?;
        Ok(super::Scenario {
            name,
            digest: format!("{:016x}", workloads::payload::fnv1a(place.text.as_bytes())),
            why: self.why.into_inner().trim().to_owned(),
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
        Ok(super::Workload {
            topic: name.clone(),
            partitions: place.bounded("partitions", &self.topic.partitions, 1..=PARTITIONS_MAX)?,
            producers: place.bounded("producers", &self.producers, 1..=PRODUCERS_MAX)?,
            record_bytes,
            batch_records,
            acks,
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
        })
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

impl Fault {
    fn check(&self, place: &Place<'_>) -> Checked<super::Fault> {
        let kind = match self.kind.get_ref().as_str() {
            "kill" => FaultKind::Kill,
            other => {
                let message = format!("there is no fault called {other:?} yet");
                return Err(place.error(self.kind.span(), message, "the faults there are: \"kill\""));
            }
        };
        let role_name = self.aim.role.get_ref();
        let Some(role) = Role::ALL.into_iter().find(|role| role.name() == role_name) else {
            let remedy = format!("the roles there are: {}", Role::ALL.map(Role::name).join(", "));
            return Err(place.error(
                self.aim.role.span(),
                format!("nobody plays the role {role_name:?}"),
                remedy,
            ));
        };
        Ok(super::Fault {
            kind,
            role,
            repeat: place.bounded("repeat", &self.repeat, 1..=REPEAT_MAX)?,
            gap_ms: place.range("gap_ms", &self.gap_ms, 0..=TIME_MS_MAX)?,
            heal_after_ms: place.range("heal_after_ms", &self.heal_after_ms, 0..=TIME_MS_MAX)?,
            ready_within_ms: place.bounded("ready_within_ms", &self.ready_within_ms, 100..=TIME_MS_MAX)?,
        })
    }
}

impl Invariants {
    fn check(&self, place: &Place<'_>) -> Checked<super::Invariants> {
        let bound = |key: &str, value: &Option<Spanned<Bound>>, default: super::Bound| match value {
            None => Ok(default),
            Some(value) => match value.get_ref() {
                Bound::AtMost(count) => Ok(super::Bound::AtMost(*count)),
                Bound::Word(word) if word == "counted" => Ok(super::Bound::Counted),
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
