//! Scenario files: what is loaded, which faults come when, and what must hold.
//!
//! A file is parsed with spans, then converted to checked types, so that a mistake is told with its line and a remedy before
//! anything starts. The files in `chaos/scenarios/` are embedded. This module draws no times: see [`crate::schedule`].

mod fault;
pub mod group;
mod wire;

use std::ops::Range;
use std::path::{Path, PathBuf};

use include_dir::{Dir, include_dir};
use serde::{Deserialize, Serialize};
use toml::Spanned;
use workloads::sequenced::Acks;

pub use group::{GroupWorkload, Trigger, TriggerKind};

use crate::cluster::Role;
use crate::proxy::{Api, Ending, Then};

static EMBEDDED: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/scenarios");

/// Upper bounds: generous for a test, and small enough that a slip of the finger is noticed.
const PARTITIONS_MAX: u32 = 1_024;
const PRODUCERS_MAX: u32 = 64;
const BATCH_BYTES_MAX: u64 = 900_000;
const REPEAT_MAX: u32 = 10_000;
const TIME_MS_MAX: u64 = 600_000;
/// A second of burst may be a gigabyte.
const BURST_MS_MAX: u64 = 1_000;
/// What a broker remembers of an idempotent producer: with more batches in flight it could not tell all that come again.
const IN_FLIGHT_MAX: u32 = 5;

/// A checked scenario.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scenario {
    /// Its name: the file's stem.
    pub name: String,
    /// 64-bit FNV-1a of the file, 16 hex digits: two runs with the same digest asked the same question.
    pub digest: String,
    /// The question in prose.
    pub why: String,
    /// What clients do meanwhile.
    pub workload: Workload,
    /// Who consumes meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<GroupWorkload>,
    /// What must be reached without a fault, or the run says nothing.
    pub steady: Steady,
    /// Carried out one after another.
    pub faults: Vec<Fault>,
    /// What must hold.
    pub invariants: Invariants,
}

/// Producers of dense sequences, and one final read of the whole log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Workload {
    /// Topic to create and fill.
    pub topic: String,
    /// Partitions of the topic.
    pub partitions: u32,
    /// Producers, each with a thread and a connection of its own, each writing to every partition.
    pub producers: u32,
    /// Payload size of a record.
    pub record_bytes: u32,
    /// Records in a batch, drawn for each batch.
    pub batch_records: Span,
    /// What the broker has to do before it acknowledges.
    pub acks: Acks,
    /// Whether producers ask for an id and number their batches, so that the broker can tell a repeated one.
    #[serde(default)]
    pub idempotence: bool,
    /// Batches of a producer for one partition that are in flight together.
    #[serde(default = "one")]
    pub in_flight: u32,
    /// Records per second of all producers that are not exceeded; `None` for as fast as acknowledgements come.
    pub rate_per_s: Option<f64>,
    /// That rate is lifted for so long before each fault, so that requests are under way when it hits; 0 for never.
    pub burst_ms: u64,
    /// Every nth batch of a producer is sent once with a flipped bit before it is sent sound; `None` for never.
    pub damage_every: Option<u32>,
    /// After this time without an answer the outcome is indeterminate.
    pub request_timeout_ms: u64,
    /// Load without faults at the start.
    pub warm_up_ms: u64,
    /// Load without faults at the end.
    pub settle_ms: u64,
}

fn one() -> u32 {
    1
}

/// Baselines of the phases without a fault; missing one makes a run inconclusive.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Steady {
    /// Acknowledged records per second before the first fault and after the last one.
    pub acknowledged_per_s_at_least: Option<f64>,
}

/// A kind of fault, with the ranges that its values are drawn from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// SIGKILL, then a start on the same data.
    Kill,
    /// Every connection of a client is cut.
    Cut {
        /// How.
        ending: Ending,
    },
    /// A connection is cut in the middle of a request, at any of its bytes.
    CutRequest {
        /// Requests of this API count from the fault's begin on.
        api: Api,
        /// Which of them.
        nth: Span,
        /// How.
        ending: Ending,
    },
    /// The broker answers, and the client never learns it.
    DropResponse {
        /// Responses of this API count from the fault's begin on.
        api: Api,
        /// Which of them.
        nth: Span,
        /// What becomes of the connection.
        then: Then,
    },
    /// A response, and all behind it on its connection, comes late.
    DelayResponse {
        /// Responses of this API count from the fault's begin on.
        api: Api,
        /// Which of them.
        nth: Span,
        /// By how much.
        by_ms: Span,
    },
    /// Every connection is cut, and new ones are refused for a while.
    Refuse {
        /// How long.
        for_ms: Span,
    },
}

impl FaultKind {
    /// Whether the fault proxy carries it out, between clients and broker.
    pub fn is_on_the_way(&self) -> bool {
        !matches!(self, FaultKind::Kill)
    }

    /// Whether it makes sure that the broker applies a batch whose acknowledgement is lost.
    pub fn loses_acknowledgements(&self) -> bool {
        matches!(self, FaultKind::DropResponse { api, .. } if api.0 == kafka_wire::ApiKey::Produce)
    }
}

/// A fault and its timing; times of one repetition are drawn uniformly from the ranges.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// What is done.
    pub kind: FaultKind,
    /// To whom.
    pub role: Role,
    /// How often, at least 1.
    pub repeat: u32,
    /// From the warm-up's end, or from the moment when records are acknowledged again, to the fault.
    pub gap_ms: Span,
    /// From a kill to the attempt to heal it.
    pub heal_after_ms: Span,
    /// How long a killed target may take until it answers; how long any other fault may take until it bites and is over.
    pub ready_within_ms: u64,
}

/// An inclusive range; the key that holds it names the unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// Smallest.
    pub min: u64,
    /// Largest.
    pub max: u64,
}

/// How a number of anomalies is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bound {
    /// More than this many are a violation.
    AtMost(u64),
    /// Told, never a violation.
    Counted,
    /// For duplicates: one for each record that was applied, whose acknowledgement was lost on the way, and that was acknowledged when
    /// it came again. One more is a violation, and one less, too.
    Explained,
}

/// What must hold; an invariant that a file leaves out has the strictest value, except that duplicates are counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invariants {
    /// Acknowledged, and not in the log.
    pub lost: Bound,
    /// In a batch whose CRC, length or count is wrong.
    pub torn: Bound,
    /// The payload's own checksum does not match.
    pub corrupted: Bound,
    /// In the log, though no producer sent it, or though the broker refused each attempt.
    pub never_sent: Bound,
    /// First occurrences that run backwards within a producer and partition.
    pub reordered: Bound,
    /// One record at more than one offset.
    pub log_duplicates: Bound,
    /// Offsets have no gap and no overlap.
    pub offsets_dense: bool,
    /// The target comes back after every fault.
    pub always_starts: bool,
    /// No process of the target ends by itself.
    pub stays_up: bool,
}

impl Default for Invariants {
    fn default() -> Self {
        let none = Bound::AtMost(0);
        Self {
            lost: none,
            torn: none,
            corrupted: none,
            never_sent: none,
            reordered: none,
            log_duplicates: Bound::Counted,
            offsets_dense: true,
            always_starts: true,
            stays_up: true,
        }
    }
}

/// A mistake in a scenario file, shown with its place and a remedy.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[error("{file}:{line}: {message}")]
pub struct ScenarioError {
    file: String,
    line: usize,
    message: String,
    #[help]
    remedy: String,
    #[source_code]
    source_code: miette::NamedSource<String>,
    #[label("here")]
    place: miette::SourceSpan,
}

/// Why a scenario could not be loaded.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum LoadError {
    /// The file is wrong.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Scenario(Box<ScenarioError>),
    /// The file cannot be read.
    #[error("{path}: {source}")]
    #[diagnostic(help("give the path of a scenario file, or a name that `assay chaos list` shows"))]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// No embedded scenario has this name.
    #[error("there is no scenario called {name:?}")]
    #[diagnostic(help("there are: {}; or give the path of a .toml file", known.join(", ")))]
    Unknown {
        /// What was asked for.
        name: String,
        /// What there is.
        known: Vec<String>,
    },
}

/// Names of the embedded scenarios, sorted.
pub fn embedded_names() -> Vec<String> {
    let mut names: Vec<String> = EMBEDDED
        .files()
        .filter_map(|file| file.path().file_stem()?.to_str().map(str::to_owned))
        .collect();
    names.sort();
    names
}

/// The text of an embedded scenario.
pub fn embedded_text(name: &str) -> Option<&'static str> {
    EMBEDDED.get_file(format!("{name}.toml"))?.contents_utf8()
}

impl Scenario {
    /// Loads an embedded scenario by name, or a file by path (anything that has a `/` or ends in `.toml`).
    ///
    /// # Errors
    /// [`LoadError`], which renders with file, line and remedy.
    pub fn load(name_or_path: &str) -> Result<Self, LoadError> {
        if name_or_path.contains('/') || name_or_path.ends_with(".toml") {
            let path = Path::new(name_or_path);
            let text = std::fs::read_to_string(path).map_err(|source| LoadError::Io {
                path: path.to_path_buf(),
                source,
            })?;
            return Self::parse(name_or_path, &text);
        }
        match embedded_text(name_or_path) {
            Some(text) => Self::parse(&format!("{name_or_path}.toml"), text),
            None => Err(LoadError::Unknown {
                name: name_or_path.to_owned(),
                known: embedded_names(),
            }),
        }
    }

    /// Parses and checks the text of a scenario file; its name is the file's stem.
    ///
    /// # Errors
    /// The first mistake, with its place.
    pub fn parse(file: &str, text: &str) -> Result<Self, LoadError> {
        let place = Place { file, text };
        let wire: wire::Scenario = toml::from_str(text).map_err(|error| {
            let message = error.message().to_owned();
            let remedy = "correct the key or value; `assay chaos show kill-broker` prints a file that has them all";
            place.error(error.span().unwrap_or(0..0), message, remedy)
        })?;
        let name = Path::new(file)
            .file_stem()
            .and_then(|stem| stem.to_str())
            .unwrap_or(file)
            .to_owned();
        wire.check(name, &place).map_err(LoadError::from)
    }

    /// The same scenario with every fault repeated `repeat` times, for `--repeat`.
    ///
    /// # Errors
    /// When it is 0 or more than a run could bear.
    pub fn with_repeat(mut self, repeat: u32) -> Result<Self, String> {
        if !(1..=REPEAT_MAX).contains(&repeat) {
            return Err(format!(
                "a fault cannot be repeated {repeat} times; give 1 to {REPEAT_MAX}"
            ));
        }
        for fault in &mut self.faults {
            fault.repeat = repeat;
        }
        for trigger in self.group.iter_mut().flat_map(|group| &mut group.triggers) {
            trigger.repeat = repeat;
        }
        Ok(self)
    }

    /// The same scenario with producers that are idempotent or not, for `--idempotence`: with it no record may come twice, and without it
    /// each that comes twice must be explained, when the proxy carries out all faults.
    ///
    /// # Errors
    /// When the scenario can't be carried out without it.
    pub fn with_idempotence(mut self, is_on: bool) -> Result<Self, String> {
        self.workload.idempotence = is_on;
        self.invariants.log_duplicates = match (is_on, self.is_explainable()) {
            (true, _) => Bound::AtMost(0),
            (false, true) => Bound::Explained,
            (false, false) => Bound::Counted,
        };
        match self.workload.may_overtake() {
            true => Err(format!("{} {OVERTAKES}: leave idempotence on", self.name)),
            false => Ok(self),
        }
    }

    /// Names of the topics that it makes.
    pub fn topics(&self) -> Vec<String> {
        let more = self.group.iter().flat_map(|group| &group.more_topics);
        let own = std::iter::once(self.workload.topic.clone());
        own.chain(more.map(|topic| topic.name.clone())).collect()
    }

    /// The same scenario with `prefix` in front of the names of its topics and its group, for a broker that others use, too. It takes the place of
    /// `before`, the prefix of an earlier run; empty where there is none.
    #[must_use]
    pub fn with_names_behind(mut self, before: &str, prefix: &str) -> Self {
        group::put_behind(&mut self.workload.topic, before, prefix);
        self.group = self.group.map(|group| group.with_names_behind(before, prefix));
        self
    }

    /// Whether what comes twice can be explained: by answers that were lost on a way that is watched.
    fn is_explainable(&self) -> bool {
        self.group.is_none() && self.faults.iter().all(|fault| fault.kind.is_on_the_way())
    }

    /// Whether clients have to go through the fault proxy.
    pub fn needs_proxy(&self) -> bool {
        self.faults.iter().any(|fault| fault.kind.is_on_the_way())
    }

    /// Roles that its faults need and `roles` does not have; a run against such a target is inconclusive.
    pub fn roles_missing_from(&self, roles: &[Role]) -> Vec<Role> {
        let mut missing: Vec<Role> = self
            .faults
            .iter()
            .map(|fault| fault.role)
            .filter(|role| !roles.contains(role))
            .collect();
        missing.dedup();
        missing
    }
}

/// What is wrong with a workload that [`Workload::may_overtake`].
const OVERTAKES: &str =
    "sends damaged batches with others in flight behind them, which overtake them without idempotence";

impl Workload {
    /// Whether a batch that is refused once could come to stand behind a later one.
    fn may_overtake(&self) -> bool {
        self.damage_every.is_some() && self.in_flight > 1 && !self.idempotence
    }
}

impl From<Box<ScenarioError>> for LoadError {
    fn from(error: Box<ScenarioError>) -> Self {
        LoadError::Scenario(error)
    }
}

/// Where errors point to.
struct Place<'a> {
    file: &'a str,
    text: &'a str,
}

impl Place<'_> {
    fn error(&self, span: Range<usize>, message: impl Into<String>, remedy: impl Into<String>) -> Box<ScenarioError> {
        let start = span.start.min(self.text.len());
        Box::new(ScenarioError {
            file: self.file.to_owned(),
            line: self.text.as_bytes()[..start]
                .iter()
                .filter(|&&byte| byte == b'\n')
                .count()
                + 1,
            message: message.into(),
            remedy: remedy.into(),
            source_code: miette::NamedSource::new(self.file, self.text.to_owned()),
            place: (start, span.end.saturating_sub(start)).into(),
        })
    }

    /// A number held against its bounds.
    fn bounded<T: Copy + PartialOrd + std::fmt::Display>(
        &self,
        key: &str,
        value: &Spanned<T>,
        bounds: std::ops::RangeInclusive<T>,
    ) -> Result<T, Box<ScenarioError>> {
        if bounds.contains(value.get_ref()) {
            return Ok(*value.get_ref());
        }
        let remedy = format!("give a number from {} to {}", bounds.start(), bounds.end());
        Err(self.error(value.span(), format!("{key} is {}", value.get_ref()), remedy))
    }

    fn range(
        &self,
        key: &str,
        value: &Spanned<wire::MinMax>,
        bounds: std::ops::RangeInclusive<u64>,
    ) -> Result<Span, Box<ScenarioError>> {
        let wire::MinMax { min, max } = value.get_ref();
        let span = Span {
            min: self.bounded(key, min, bounds.clone())?,
            max: self.bounded(key, max, bounds)?,
        };
        if span.min > span.max {
            let message = format!("{key} goes from {} to {}, which is no range", span.min, span.max);
            return Err(self.error(value.span(), message, "swap min and max"));
        }
        Ok(span)
    }
}

#[cfg(test)]
mod tests;
