//! A scenario file as it is written, with the places of its values, and the checks that turn it into a [`super::Scenario`].

use serde::Deserialize;
use toml::Spanned;
use workloads::sequenced::{Acks, RECORD_BYTES_MIN};

use super::fault::Fault;
use super::group::Group;
use super::{
    BATCH_BYTES_MAX, BURST_MS_MAX, IN_FLIGHT_MAX, OVERTAKES, PARTITIONS_MAX, PRODUCERS_MAX, Place, ScenarioError,
    TIME_MS_MAX,
};
use crate::checker::group::GroupRules;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Scenario {
    why: Spanned<String>,
    workload: Workload,
    group: Option<Group>,
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
    undelivered: Option<Spanned<Bound>>,
    redelivered: Option<Spanned<Bound>>,
    redelivered_beyond_budget: Option<Spanned<Bound>>,
    skipped: Option<Spanned<Bound>>,
    unprocessed: Option<Spanned<Bound>>,
    inconsistent_offset: Option<Spanned<Bound>>,
    reordered_poll: Option<Spanned<Bound>>,
    unowned_poll: Option<Spanned<Bound>>,
    corrupted_poll: Option<Spanned<Bound>>,
    commit_regress: Option<Spanned<Bound>>,
    zombie_overlap: Option<Spanned<Bound>>,
    stalled: Option<Spanned<Bound>>,
    unsettled: Option<Spanned<Bound>>,
    stalled_ms: Option<Spanned<u64>>,
    settles_within_ms: Option<Spanned<u64>>,
    recovers_within_ms: Option<Spanned<u64>>,
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
        let (triggers, faults): (Vec<&Fault>, Vec<&Fault>) = self.fault.iter().partition(|fault| fault.is_of_a_group());
        let group = match &self.group {
            Some(group) => {
                if let Some(other) = faults.first() {
                    let message = "a scenario with a [group] has faults of its members only";
                    return Err(place.error(other.span(), message, "aim it at { role = \"consumer\" }"));
                }
                let triggers = triggers.iter().map(|fault| fault.trigger(place));
                let rules = self.invariants.group_rules(place)?;
                Some(group.check(place, &name, &workload, triggers.collect::<Checked<Vec<_>>>()?, rules)?)
            }
            None => {
                if let Some(trigger) = triggers.first() {
                    let message = "nobody consumes in this scenario";
                    return Err(place.error(trigger.span(), message, "add a [group]"));
                }
                if let Some((key, span)) = self.invariants.of_groups().into_iter().next() {
                    let message = format!("{key} is asked of a group, and there is none");
                    return Err(place.error(span, message, "add a [group], or leave it out"));
                }
                None
            }
        };
        let faults = faults
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
            group,
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
    /// The keys that only a group has, each with its place.
    fn of_groups(&self) -> Vec<(&'static str, std::ops::Range<usize>)> {
        let bounds = [
            ("undelivered", &self.undelivered),
            ("redelivered", &self.redelivered),
            ("redelivered_beyond_budget", &self.redelivered_beyond_budget),
            ("skipped", &self.skipped),
            ("unprocessed", &self.unprocessed),
            ("inconsistent_offset", &self.inconsistent_offset),
            ("reordered_poll", &self.reordered_poll),
            ("unowned_poll", &self.unowned_poll),
            ("corrupted_poll", &self.corrupted_poll),
            ("commit_regress", &self.commit_regress),
            ("zombie_overlap", &self.zombie_overlap),
            ("stalled", &self.stalled),
            ("unsettled", &self.unsettled),
        ];
        let times = [
            ("stalled_ms", &self.stalled_ms),
            ("settles_within_ms", &self.settles_within_ms),
            ("recovers_within_ms", &self.recovers_within_ms),
        ];
        let bounds = bounds
            .into_iter()
            .map(|(key, value)| (key, value.as_ref().map(Spanned::span)));
        let times = times
            .into_iter()
            .map(|(key, value)| (key, value.as_ref().map(Spanned::span)));
        bounds
            .chain(times)
            .filter_map(|(key, span)| Some((key, span?)))
            .collect()
    }

    /// What is asked of a group.
    fn group_rules(&self, place: &Place<'_>) -> Checked<GroupRules> {
        let bound = |key: &str, value: &Option<Spanned<Bound>>, default: super::Bound| {
            let Some(value) = value else { return Ok(default) };
            match value.get_ref() {
                Bound::AtMost(count) => Ok(super::Bound::AtMost(*count)),
                Bound::Word(word) if word == "counted" => Ok(super::Bound::Counted),
                Bound::Word(word) => {
                    let remedy = "write the number that is tolerated, such as 0, or \"counted\"";
                    Err(place.error(value.span(), format!("{key} is {word:?}"), remedy))
                }
            }
        };
        let time = |key: &str, value: &Option<Spanned<u64>>, default: Option<u64>| match value {
            Some(value) => place.bounded(key, value, 1..=TIME_MS_MAX).map(Some),
            None => Ok(default),
        };
        let default = GroupRules::default();
        Ok(GroupRules {
            undelivered: bound("undelivered", &self.undelivered, default.undelivered)?,
            redelivered: bound("redelivered", &self.redelivered, default.redelivered)?,
            redelivered_beyond_budget: bound(
                "redelivered_beyond_budget",
                &self.redelivered_beyond_budget,
                default.redelivered_beyond_budget,
            )?,
            skipped: bound("skipped", &self.skipped, default.skipped)?,
            unprocessed: bound("unprocessed", &self.unprocessed, default.unprocessed)?,
            inconsistent_offset: bound(
                "inconsistent_offset",
                &self.inconsistent_offset,
                default.inconsistent_offset,
            )?,
            reordered_poll: bound("reordered_poll", &self.reordered_poll, default.reordered_poll)?,
            unowned_poll: bound("unowned_poll", &self.unowned_poll, default.unowned_poll)?,
            corrupted_poll: bound("corrupted_poll", &self.corrupted_poll, default.corrupted_poll)?,
            commit_regress: bound("commit_regress", &self.commit_regress, default.commit_regress)?,
            zombie_overlap: bound("zombie_overlap", &self.zombie_overlap, default.zombie_overlap)?,
            stalled: bound("stalled", &self.stalled, default.stalled)?,
            unsettled: bound("unsettled", &self.unsettled, default.unsettled)?,
            stalled_ms: time("stalled_ms", &self.stalled_ms, default.stalled_ms)?,
            settles_within_ms: time("settles_within_ms", &self.settles_within_ms, default.settles_within_ms)?,
            recovers_within_ms: time(
                "recovers_within_ms",
                &self.recovers_within_ms,
                default.recovers_within_ms,
            )?,
        })
    }

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
