//! The shape of a definition file, as serde reads it, with the place of every value that a check may complain about.
//!
//! Nothing here is checked beyond types and unknown keys; `check` turns it into a [`super::Definition`].

use serde::Deserialize;
use serde::de::{Deserializer, Error, SeqAccess, Visitor};
use std::collections::BTreeMap;
use std::fmt;
use toml::Spanned;

/// Factor -> level -> settings of a topic.
pub(super) type TopicSettings = BTreeMap<Spanned<String>, BTreeMap<Spanned<String>, BTreeMap<String, Scalar>>>;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub name: Spanned<String>,
    pub title: String,
    pub claim: String,
    pub source: String,
    pub why: String,
    #[serde(default)]
    pub published: Vec<String>,
    pub transport: Spanned<String>,
    pub target: Option<Spanned<String>>,
    pub treatment: Spanned<String>,
    pub baseline: Spanned<String>,
    pub focus: Spanned<String>,
    #[serde(default)]
    pub also_differs: Vec<String>,
    pub margin: Spanned<f64>,
    pub deciding_metric: Spanned<String>,
    pub factors: Vec<Factor>,
    #[serde(default)]
    pub settings: BTreeMap<String, Scalar>,
    /// Target -> properties that it alone has.
    #[serde(default)]
    pub settings_of: BTreeMap<Spanned<String>, BTreeMap<String, Scalar>>,
    #[serde(default)]
    pub topic_settings: TopicSettings,
    pub payload: Option<Spanned<Payload>>,
    pub fetch: Option<Spanned<Fetch>>,
    pub load: Option<Spanned<Load>>,
    pub blocks: Option<Spanned<super::blocks::Wire>>,
    pub look_up: Option<Spanned<super::look_up::Wire>>,
    pub read: Option<Spanned<super::read::Wire>>,
    pub client: Option<Spanned<super::client::Wire>>,
    pub group: Option<Spanned<super::group::Wire>>,
    pub assign: Option<Spanned<super::assign::Wire>>,
    pub warm_up: Option<WarmUp>,
    #[serde(default)]
    pub limit: BTreeMap<Spanned<String>, Spanned<OneOrSeveral>>,
    pub metrics: Vec<Metric>,
    pub claims: Vec<Spanned<Claim>>,
    pub profile: Profiles,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Factor {
    pub name: Spanned<String>,
    pub label: String,
    #[serde(default)]
    pub unit: String,
    pub levels: Spanned<Vec<Spanned<Scalar>>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Metric {
    pub name: Spanned<String>,
    pub label: String,
    pub unit: String,
    pub better: super::Better,
    #[serde(default)]
    pub chart: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ClaimKind {
    Faster,
    AtLeast,
    Counts,
    Keeps,
    OfLimit,
    Reaches,
}

/// Flat, because serde's tagged enums lose the places of what is inside.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Claim {
    pub id: Spanned<String>,
    pub kind: ClaimKind,
    pub text: String,
    pub metric: Option<Spanned<String>>,
    pub level: Option<Spanned<String>>,
    pub ratio: Option<Spanned<f64>>,
    pub bound: Option<Spanned<f64>>,
    pub together: Option<Spanned<bool>>,
    pub expected: Option<BTreeMap<Spanned<String>, Spanned<f64>>>,
    pub factor: Option<Spanned<String>>,
    pub from: Option<Spanned<Scalar>>,
    pub at: Option<Spanned<Scalar>>,
    /// Factor -> level; without it the claim is judged in every cell.
    #[serde(default)]
    pub only: BTreeMap<Spanned<String>, Spanned<Scalar>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Payload {
    pub kind: Option<Spanned<super::PayloadKind>>,
    pub record_bytes: Option<Spanned<u32>>,
    pub entropy: Option<Spanned<f64>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Fetch {
    pub in_flight: Spanned<u32>,
    pub in_flight_bytes: Spanned<u32>,
    pub stored_batch_bytes: Spanned<u32>,
    pub file_bytes: Spanned<u64>,
    pub cold_file_bytes: Spanned<u64>,
    pub max_wait_ms: Spanned<u32>,
    pub receive_buffer_bytes: Spanned<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Load {
    pub workload: Option<Spanned<super::Workload>>,
    pub batch_bytes: Option<Spanned<u32>>,
    pub connections: Option<Spanned<u32>>,
    pub in_flight: Spanned<u32>,
    pub acks: super::Acks,
    pub pool_bytes: Spanned<u64>,
    pub window_bytes_max: Spanned<u64>,
    pub fetch_bytes: Spanned<u64>,
    pub response_bytes: Spanned<u32>,
    pub max_wait_ms: Spanned<u32>,
    pub receive_buffer_bytes: Spanned<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WarmUp {
    pub window_ms: Spanned<u32>,
    pub windows: Spanned<u32>,
    pub seconds_max: Spanned<u32>,
    pub tolerance: Spanned<f64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Profiles {
    pub quick: Spanned<Profile>,
    pub full: Spanned<Profile>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Profile {
    pub blocks: Spanned<u32>,
    pub warmup_ms: Spanned<u32>,
    pub window_ms: Spanned<u32>,
    #[serde(default)]
    pub grid: bool,
    #[serde(default)]
    pub limit: bool,
    #[serde(default)]
    pub control: bool,
    #[serde(default)]
    pub cells: Vec<Spanned<BTreeMap<Spanned<String>, Spanned<CellValue>>>>,
}

/// A setting or level: kept as the text that a broker property would carry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Scalar(pub String);

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ScalarVisitor;
        impl Visitor<'_> for ScalarVisitor {
            type Value = Scalar;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a string, an integer or a boolean")
            }
            fn visit_str<E: Error>(self, value: &str) -> Result<Scalar, E> {
                Ok(Scalar(value.to_owned()))
            }
            fn visit_i64<E: Error>(self, value: i64) -> Result<Scalar, E> {
                Ok(Scalar(value.to_string()))
            }
            fn visit_bool<E: Error>(self, value: bool) -> Result<Scalar, E> {
                Ok(Scalar(value.to_string()))
            }
        }
        deserializer.deserialize_any(ScalarVisitor)
    }
}

/// A name, or a list of them.
#[derive(Debug)]
pub(super) struct OneOrSeveral(pub Vec<String>);

impl<'de> Deserialize<'de> for OneOrSeveral {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NamesVisitor;
        impl<'de> Visitor<'de> for NamesVisitor {
            type Value = OneOrSeveral;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a level, or a list of levels")
            }
            fn visit_str<E: Error>(self, value: &str) -> Result<OneOrSeveral, E> {
                Ok(OneOrSeveral(vec![value.to_owned()]))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<OneOrSeveral, A::Error> {
                let mut names = Vec::new();
                while let Some(name) = seq.next_element()? {
                    names.push(name);
                }
                Ok(OneOrSeveral(names))
            }
        }
        deserializer.deserialize_any(NamesVisitor)
    }
}

/// The value of a key of a cell: levels of a factor, the switch `limit` or `control`, or the bare loops of `limit`.
#[derive(Debug)]
pub(super) enum CellValue {
    Levels(Vec<Spanned<Scalar>>),
    Switch(bool),
}

impl<'de> Deserialize<'de> for CellValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct CellVisitor;
        impl<'de> Visitor<'de> for CellVisitor {
            type Value = CellValue;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a list of levels, or true or false for `limit` and `control`")
            }
            fn visit_bool<E: Error>(self, value: bool) -> Result<CellValue, E> {
                Ok(CellValue::Switch(value))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<CellValue, A::Error> {
                let mut levels = Vec::new();
                while let Some(level) = seq.next_element()? {
                    levels.push(level);
                }
                Ok(CellValue::Levels(levels))
            }
        }
        deserializer.deserialize_any(CellVisitor)
    }
}
