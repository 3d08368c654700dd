//! The files of a run folder as types: one struct per line of `manifest.json`, `plan.jsonl` and the CSV files.
//!
//! The harness fills these in, [`crate::writer`] puts them on disk and [`crate::reader`] takes them up again. The
//! columns and units are documented for people in `results/README.md`. Nothing is computed here.

mod claim;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use claim::ClaimCard;

/// The version of the layout below; a reader refuses a newer one and reads all older ones.
///
/// 1: one target, one card for each experiment name. 2: several targets, facts, phases, traces.
pub const SCHEMA_VERSION: u32 = 2;

/// The target of a card that names none: the broker of this project.
pub const DEFAULT_TARGET: &str = "bundled";

/// The target of a card that needs no broker: the machine itself.
pub const MACHINE_TARGET: &str = "machine";

/// The name of the factor whose levels are targets. Where it is the treatment, the rows of all targets are analysed
/// together.
pub const TARGET_FACTOR: &str = "target";

/// The metric name of the single row that a failed trial leaves; its flags hold the reason.
pub const FAILED_METRIC: &str = "failed";

/// The file names inside a run folder.
pub mod file {
    /// Who ran what, where, and what it was meant to answer.
    pub const MANIFEST: &str = "manifest.json";
    /// Every trial, in run order.
    pub const PLAN: &str = "plan.jsonl";
    /// One row per trial and metric.
    pub const TRIALS: &str = "trials.csv";
    /// One row per interval, role and metric.
    pub const SERIES: &str = "series.csv";
    /// HdrHistogram interval log, tagged by arm, nanoseconds.
    pub const LATENCY: &str = "latency.hlog";
    /// The full check of what was delivered, per arm.
    pub const LEDGER: &str = "ledger.csv";
    /// One row per statement that was looked up.
    pub const FACTS: &str = "facts.csv";
    /// One row per window of a start, a first touch or a warm-up.
    pub const PHASES: &str = "phases.csv";
    /// One row per system call of an untimed trace.
    pub const TRACES: &str = "traces.csv";
    /// One row per cell, level and metric; rewritten by the report.
    pub const ESTIMATES: &str = "estimates.csv";
    /// One row per claim; rewritten by the report.
    pub const VERDICTS: &str = "verdicts.csv";
    /// The same answers as Markdown; rewritten by the report.
    pub const SUMMARY: &str = "summary.md";
    /// One test case per claim; rewritten by the report.
    pub const JUNIT: &str = "junit.xml";
    /// The whole report in one page; rewritten by the report.
    pub const REPORT: &str = "report.html";
    /// The folder of the charts; rewritten by the report.
    pub const CHARTS: &str = "charts";
}

/// `manifest.json`: everything a reader needs beside the figures themselves.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The layout version, [`SCHEMA_VERSION`] when written by this code.
    pub schema_version: u32,
    /// The name of the run, usually that of its experiment.
    pub name: String,
    /// The command line, word by word.
    pub command: Vec<String>,
    /// When the run began, RFC 3339 in UTC.
    pub started_utc: String,
    /// The seed from which the whole plan follows.
    pub seed: u64,
    /// `quick` or `full`.
    pub profile: String,
    /// The version of Assay that measured.
    pub assay_version: String,
    /// The revision it was built from, when known.
    #[serde(default)]
    pub git_revision: Option<String>,
    /// The machine it ran on.
    pub machine: MachineReceipt,
    /// What was measured, with its effective settings.
    pub targets: Vec<TargetReceipt>,
    /// The questions that were asked; several cards of one name are one experiment on several targets.
    pub experiments: Vec<ExperimentCard>,
    /// What came before the measurement, by target, and whether it had become steady.
    #[serde(default)]
    pub phases_summary: Vec<PhaseSummary>,
}

/// What the machine was, as far as a figure depends on it. Holds no host name on purpose.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct MachineReceipt {
    /// The CPU's model name.
    pub cpu_model: String,
    /// Logical cores this run may use.
    pub cores: u32,
    /// Physical memory in bytes.
    pub memory_bytes: u64,
    /// The kernel's release.
    pub kernel: String,
    /// The file system of the data folder.
    pub filesystem: String,
    /// The last-level cache in bytes.
    #[serde(default)]
    pub l3_cache_bytes: Option<u64>,
    /// The device's read-ahead in KiB.
    #[serde(default)]
    pub read_ahead_kib: Option<u64>,
    /// The resolution of CLOCK_MONOTONIC in nanoseconds.
    pub clock_resolution_ns: u64,
    /// What carried the bytes, e.g. `loopback`.
    pub transport: String,
    /// Whether this is a virtual machine, when known.
    #[serde(default)]
    pub virtualised: Option<bool>,
    /// Anything else a reader must know.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// A target and the settings it really ran with.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct TargetReceipt {
    /// The target's name, e.g. `bundled`.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Every effective setting.
    #[serde(default)]
    pub effective_config: BTreeMap<String, String>,
    /// The settings that differ from the target's defaults.
    #[serde(default)]
    pub differs_from_default: BTreeMap<String, String>,
    /// Flush policy, acks and replicas in one phrase; figures of different classes are not comparable.
    pub durability_class: String,
    /// What it does and other targets don't, or the other way round, in whole sentences: `It validates every record.`
    #[serde(default)]
    pub differences: Vec<String>,
    /// What else is held against the other targets, by name: `heap` -> `512 MiB`, `client` -> `Assay's own`, `payload`, ...
    #[serde(default)]
    pub terms: BTreeMap<String, String>,
}

/// All that the analysis needs from an experiment's definition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExperimentCard {
    /// The experiment's name, e.g. `zero-copy`.
    pub name: String,
    /// The target that it is asked of; with [`TARGET_FACTOR`] as treatment, the one that the claims talk of.
    #[serde(default = "default_target")]
    pub target: String,
    /// Its title for people.
    pub title: String,
    /// The folklore in one sentence.
    pub claim: String,
    /// Where the folklore is written down.
    pub source: String,
    /// Why it is worth measuring.
    pub why: String,
    /// What others measured, printed beside our figures and never used as ours.
    #[serde(default)]
    pub published: Vec<String>,
    /// A stable hash of the definition, hexadecimal.
    pub definition_sha: String,
    /// What carried the bytes, e.g. `loopback`.
    pub transport: String,
    /// The factors, in the order in which tables and charts show them.
    pub factors: Vec<FactorCard>,
    /// The name of the factor under test.
    pub treatment: String,
    /// The treatment's level that everything is compared with.
    pub baseline: String,
    /// The treatment's level that the claims talk of.
    pub focus: String,
    /// What else differs between the treatment's levels, in whole sentences: `The TLS listener also encrypts.`
    #[serde(default)]
    pub also_differs: Vec<String>,
    /// The relative difference below which nothing is called a difference, e.g. 0.05.
    pub margin: f64,
    /// How many blocks were planned.
    pub blocks: u32,
    /// What was measured, in the order in which it is shown.
    pub metrics: Vec<MetricCard>,
    /// The one metric that decides; the others explain it.
    pub deciding_metric: String,
    /// What is claimed.
    pub claims: Vec<ClaimCard>,
    /// Bare loop -> levels of the treatment that it is the physical limit of. Without an entry, `bare-<level>` is that of the level.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub limits: BTreeMap<String, Vec<String>>,
}

fn default_target() -> String {
    DEFAULT_TARGET.to_owned()
}

impl ExperimentCard {
    /// Whether it compares targets, and so needs the rows of all of them.
    pub fn compares_targets(&self) -> bool {
        self.treatment == TARGET_FACTOR
    }

    /// The bare loops that are the physical limit of a level of the treatment, by name.
    pub fn limits_of(&self, level: &str) -> Vec<String> {
        if self.limits.is_empty() {
            return vec![format!("bare-{level}")];
        }
        let of_level = |(_, levels): &(&String, &Vec<String>)| levels.iter().any(|known| known == level);
        self.limits
            .iter()
            .filter(of_level)
            .map(|(bare, _)| bare.clone())
            .collect()
    }

    /// The factor of that name.
    pub fn factor(&self, name: &str) -> Option<&FactorCard> {
        self.factors.iter().find(|factor| factor.name == name)
    }

    /// The metric of that name.
    pub fn metric(&self, name: &str) -> Option<&MetricCard> {
        self.metrics.iter().find(|metric| metric.name == name)
    }
}

/// A factor and its levels, in the order in which they are shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FactorCard {
    /// The name used in `factors` columns.
    pub name: String,
    /// The name for people.
    pub label: String,
    /// `bytes` for sizes, empty for names.
    #[serde(default)]
    pub unit: String,
    /// The levels, in order.
    pub levels: Vec<String>,
}

/// A measured quantity.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricCard {
    /// The name used in `metric` columns.
    pub name: String,
    /// The name for people.
    pub label: String,
    /// Its unit, empty for a share or a count.
    #[serde(default)]
    pub unit: String,
    /// Which direction is good.
    pub better: Better,
    /// Whether its ratios are drawn, beside those of the deciding metric.
    #[serde(default)]
    pub chart: bool,
}

/// Which direction of a metric is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Better {
    /// More is better, e.g. MB/s.
    Higher,
    /// Less is better, e.g. CPU seconds per GB.
    Lower,
    /// It only explains.
    Neither,
}

/// What a trial is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TrialRole {
    /// An arm of the experiment.
    Measured,
    /// The baseline once more (A/A): what it differs by is noise.
    Control,
    /// The physical limit: the same bytes without a broker.
    Limit,
}

impl TrialRole {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Measured, Self::Control, Self::Limit];

    /// The word used in files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Measured => "measured",
            Self::Control => "control",
            Self::Limit => "limit",
        }
    }
}

/// The level of every factor, by factor name.
pub type Factors = BTreeMap<String, String>;

/// One line of `plan.jsonl`: a trial, fully spelled out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedTrial {
    /// Its number, unique in the run.
    pub trial: u32,
    /// The experiment's name.
    pub experiment: String,
    /// The target it runs on; empty in a plan of version 1.
    #[serde(default)]
    pub target: String,
    /// The block it belongs to. Cards of one experiment share their blocks.
    pub block: u32,
    /// Its place in the block's order.
    pub position: u32,
    /// The arm's id, unique inside the run over all targets.
    pub arm: String,
    /// What it is for.
    pub role: TrialRole,
    /// The level of every factor; a limit arm has the name of the bare loop for the treatment.
    pub factors: Factors,
    /// The seed of its payload and schedule.
    pub seed: u64,
}

/// One row of `trials.csv`: one metric of one trial.
#[derive(Debug, Clone, PartialEq)]
pub struct Measurement {
    /// The experiment's name.
    pub experiment: String,
    /// The trial's number.
    pub trial: u32,
    /// The block it belongs to.
    pub block: u32,
    /// Its place in the block's order.
    pub position: u32,
    /// The arm's id.
    pub arm: String,
    /// What it is for.
    pub role: TrialRole,
    /// The level of every factor.
    pub factors: Factors,
    /// The target's name.
    pub target: String,
    /// The metric's name.
    pub metric: String,
    /// Its unit.
    pub unit: String,
    /// Its value.
    pub value: f64,
    /// What was odd about the trial, e.g. `steal`, `pressure`; of a failed trial, the reason.
    pub flags: Vec<String>,
}

impl Measurement {
    /// A row of a planned trial.
    pub fn of(planned: &PlannedTrial, target: &str, metric: &str, unit: &str, value: f64, flags: &[String]) -> Self {
        Self {
            experiment: planned.experiment.clone(),
            trial: planned.trial,
            block: planned.block,
            position: planned.position,
            arm: planned.arm.clone(),
            role: planned.role,
            factors: planned.factors.clone(),
            target: target.to_owned(),
            metric: metric.to_owned(),
            unit: unit.to_owned(),
            value,
            flags: flags.to_vec(),
        }
    }

    /// The single row of a trial that failed. `reason` is kept word for word, but for `;`, which separates flags, and
    /// line ends, which would let a torn file end inside a quoted field.
    pub fn failed(planned: &PlannedTrial, target: &str, reason: &str) -> Self {
        let reason = reason.replace(';', ",").replace(['\n', '\r'], " ");
        Self::of(planned, target, FAILED_METRIC, "", 1.0, &[reason])
    }
}

/// One row of `series.csv`: a metric at one moment of a trial.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SeriesPoint {
    /// The experiment's name.
    pub experiment: String,
    /// The trial's number.
    pub trial: u32,
    /// Whose figure it is: `broker`, `client`, `host`, ...
    pub role: String,
    /// The metric's name.
    pub metric: String,
    /// Its unit.
    pub unit: String,
    /// Milliseconds since the trial's window began.
    pub at_ms: u64,
    /// Its value over the interval that ends there.
    pub value: f64,
}

/// One row of `ledger.csv`: one full check of what an arm delivered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerEntry {
    /// The experiment's name.
    pub experiment: String,
    /// The trial that was checked.
    pub trial: u32,
    /// Its arm; a failed check makes the arm INVALID.
    pub arm: String,
    /// What was checked, e.g. `crc`, `dense_offsets`, `payload_checksum`.
    pub check: String,
    /// What should have come out.
    pub expected: String,
    /// What came out.
    pub observed: String,
    /// Whether they agree.
    pub ok: bool,
}

/// What came out when a statement was looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum FactVerdict {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// It held once and does not any more.
    Outdated,
    /// Something that looking it up needs is missing; the evidence holds the remedy.
    NotLookedUp,
}

impl FactVerdict {
    /// All of them, in the order in which they are counted.
    pub const ALL: [Self; 4] = [Self::True, Self::False, Self::Outdated, Self::NotLookedUp];

    /// The word used in files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::True => "TRUE",
            Self::False => "FALSE",
            Self::Outdated => "OUTDATED",
            Self::NotLookedUp => "NOT_LOOKED_UP",
        }
    }

    /// The words for people.
    pub fn label(self) -> &'static str {
        match self {
            Self::NotLookedUp => "NOT LOOKED UP",
            other => other.as_str(),
        }
    }
}

/// One row of `facts.csv`: a statement that needs no statistics, looked up on a running target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fact {
    /// The experiment's name, e.g. `folklore-facts`.
    pub experiment: String,
    /// Unique inside the experiment.
    pub id: String,
    /// The statement in words.
    pub statement: String,
    /// Who says so.
    pub source: String,
    /// What came out.
    pub verdict: FactVerdict,
    /// What was found.
    pub evidence: String,
    /// Where it was looked up, e.g. `DescribeConfigs of broker 1`.
    pub evidence_source: String,
    /// The source line: a KIP or a version, and the place in the documentation.
    pub reference: String,
    /// The target it was looked up on.
    pub target: String,
    /// The target's version.
    pub version: String,
}

/// What comes before the measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// From the launch until it answers.
    Start,
    /// The first pass over topics and partitions.
    FirstTouch,
    /// The same load as measured, window by window, until it is steady.
    WarmUp,
}

impl Phase {
    /// All of them, in the order in which they happen.
    pub const ALL: [Self; 3] = [Self::Start, Self::FirstTouch, Self::WarmUp];

    /// The word used in files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::FirstTouch => "first_touch",
            Self::WarmUp => "warm_up",
        }
    }

    /// The words for people.
    pub fn label(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::FirstTouch => "first touch",
            Self::WarmUp => "warm-up",
        }
    }
}

/// One row of `phases.csv`: a metric over one window of a phase.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PhasePoint {
    /// The experiment's name.
    pub experiment: String,
    /// The target's name.
    pub target: String,
    /// The load that was used, usually an arm's id; may be empty.
    pub arm: String,
    /// The phase.
    pub phase: Phase,
    /// The window's number inside the phase, from 0.
    pub index: u32,
    /// Milliseconds from the beginning of the phase to the end of the window.
    pub at_ms: u64,
    /// The metric's name.
    pub metric: String,
    /// Its unit.
    pub unit: String,
    /// Its value over the window.
    pub value: f64,
}

/// How a phase went as a whole; stands in the manifest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PhaseSummary {
    /// The target's name.
    pub target: String,
    /// The load that was used, as in [`PhasePoint::arm`]; may be empty.
    #[serde(default)]
    pub arm: String,
    /// The phase.
    pub phase: Phase,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// How many windows it had.
    pub windows: u32,
    /// Whether its end was steady; absent where that is no question.
    #[serde(default)]
    pub steady: Option<bool>,
    /// By which rule; empty where that is no question.
    #[serde(default)]
    pub rule: String,
    /// What else a reader must know; may be empty.
    #[serde(default)]
    pub note: String,
}

/// One row of `traces.csv`: how often a target made a system call while it was traced, which is never timed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceCount {
    /// The experiment's name.
    pub experiment: String,
    /// The target's name.
    pub target: String,
    /// The arm's id, or what was done meanwhile.
    pub arm: String,
    /// The system call, e.g. `sendfile`.
    pub call: String,
    /// How often it was made; a 0 was counted, and is not a gap.
    pub count: u64,
    /// The sum of what it returned, for calls that return bytes.
    pub bytes: Option<u64>,
    /// One line of the trace; empty when there is none.
    pub example: String,
}
