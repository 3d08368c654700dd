//! What the checker found: counts, examples, one outcome per invariant, and the verdict.
//!
//! Written as `findings.json` into the run folder. How it is judged stands in [`crate::checker`], how it is shown in [`crate::render`].

use std::fmt;

use serde::{Deserialize, Serialize};
use workloads::history::FaultKind;

use crate::checker::group::GroupFindings;

/// Most examples that are kept of one anomaly.
pub const EXAMPLES_MAX: usize = 10;
/// Most batches with a lost acknowledgement that are kept.
pub const UNHEARD_MAX: usize = 1_000;

/// The three-valued answer to a scenario's question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Every invariant holds, and the run was able to show otherwise.
    Holds,
    /// At least one invariant is violated for certain.
    Violated,
    /// Nothing is violated for certain, and something could not be judged.
    Inconclusive,
}

impl Verdict {
    /// The process's exit code: 0, 1 or 2.
    pub fn exit_code(self) -> u8 {
        match self {
            Verdict::Holds => 0,
            Verdict::Violated => 1,
            Verdict::Inconclusive => 2,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Verdict::Holds => "HOLDS",
            Verdict::Violated => "VIOLATED",
            Verdict::Inconclusive => "INCONCLUSIVE",
        })
    }
}

/// How one invariant came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It holds.
    Holds,
    /// It is told and not judged.
    Counted,
    /// It is violated for certain.
    Violated,
    /// The histories do not say.
    Unknown,
}

impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Outcome::Holds => "holds",
            Outcome::Counted => "counted",
            Outcome::Violated => "VIOLATED",
            Outcome::Unknown => "unknown",
        })
    }
}

/// What a check is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckKind {
    /// What the scenario asks of the system under test.
    Invariant,
    /// What a run has to fulfil so that it could have shown a violation; never violated, only unknown.
    Condition,
}

/// One line of the judgement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// The invariant's key in the scenario file, or the name of the condition.
    pub name: String,
    /// Which of the two it is.
    pub kind: CheckKind,
    /// What is asked for.
    pub expected: String,
    /// What was found.
    pub observed: String,
    /// How it came out.
    pub outcome: Outcome,
    /// Why it is unknown; empty otherwise.
    pub reason: String,
}

/// Where a time lies among the faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Relation {
    /// Before the fault began.
    Before,
    /// Between its begin and its healing.
    During,
    /// After the last fault was healed.
    After,
}

/// The fault that is to blame for a time: the one that was on, else the next one, else the last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Number of the fault, from 1.
    pub fault: u32,
    /// Where the time lies.
    pub relation: Relation,
    /// Distance to the fault's begin (before, during) or healing (after), in microseconds.
    pub distance_us: u64,
}

impl fmt::Display for Window {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (fault, distance_ms) = (self.fault, self.distance_us as f64 / 1e3);
        match self.relation {
            Relation::Before => write!(formatter, "{distance_ms:.1} ms before fault {fault}"),
            Relation::During => write!(formatter, "{distance_ms:.1} ms into fault {fault}"),
            Relation::After => write!(formatter, "{distance_ms:.1} ms after fault {fault} was healed"),
        }
    }
}

/// One instance of an anomaly.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Example {
    /// Who wrote the first record of it, where that is known.
    pub producer: Option<u64>,
    /// The partition.
    pub partition: u32,
    /// Sequence of the first record, where it is known.
    pub sequence: Option<u64>,
    /// Its offset, where it is known.
    pub offset: Option<i64>,
    /// Number of records from there on.
    pub records: u64,
    /// What is wrong, where the anomaly's name does not say it all.
    pub detail: String,
    /// When it was sent first, in `CLOCK_MONOTONIC` nanoseconds.
    pub sent_ns: Option<u64>,
    /// When it was acknowledged, in `CLOCK_MONOTONIC` nanoseconds.
    pub acknowledged_ns: Option<u64>,
    /// The fault that the acknowledgement, else the sending, falls to.
    pub window: Option<Window>,
}

/// An anomaly: how many records, and the first examples.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Anomaly {
    /// Records (for offsets that are not dense: places).
    pub count: u64,
    /// At most [`EXAMPLES_MAX`].
    pub examples: Vec<Example>,
}

impl Anomaly {
    /// Counts `count` more, and keeps the example while there is room.
    pub(crate) fn add(&mut self, count: u64, example: Example) {
        self.count += count;
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(example);
        }
    }
}

/// A fault as the histories tell it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultFound {
    /// Its number, from 1.
    pub fault: u32,
    /// What it is.
    #[serde(default = "kill")]
    pub kind: FaultKind,
    /// `CLOCK_MONOTONIC` nanoseconds.
    pub began_ns: u64,
    /// `CLOCK_MONOTONIC` nanoseconds of its healing; `None` when it never ended.
    pub healed_ns: Option<u64>,
    /// How often it was seen to bite.
    pub evidence: u32,
    /// Batches whose outcome it left indeterminate: they were under way when it hit.
    pub interrupted: u64,
    /// Whether the target worked again.
    pub recovered: bool,
    /// Records acknowledged from its healing to the next fault, or to the end.
    pub acknowledged_after: u64,
    /// Batches that were applied and whose acknowledgements it took on their way to the client.
    #[serde(default)]
    pub answers_lost: u64,
    /// Records of those that were acknowledged when they were sent again, and that came to stand in the log twice for it.
    #[serde(default)]
    pub duplicates: u64,
}

/// What findings of earlier versions mean that do not name the kind.
fn kill() -> FaultKind {
    FaultKind::Kill
}

/// An applied batch, or a part of it that one read gave, whose acknowledgement was lost on the way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unheard {
    /// The fault that took the acknowledgement; 0 when the client had left by itself.
    pub fault: u32,
    /// Who wrote it.
    pub producer: u64,
    /// The partition.
    pub partition: u32,
    /// Sequence of its first record.
    pub sequence: u64,
    /// Records.
    pub records: u64,
    /// How many of them were sent again and acknowledged then.
    pub acknowledged_later: u64,
    /// How many of them stand in the log more than once.
    pub duplicated: u64,
}

impl Findings {
    /// Names of the checks that came out so.
    pub fn names(&self, outcome: Outcome) -> Vec<&str> {
        let hits = self.checks.iter().filter(|check| check.outcome == outcome);
        hits.map(|check| check.name.as_str()).collect()
    }

    /// Adds what was found about a group: its checks count as all others do.
    pub fn with_group(mut self, mut group: GroupFindings) -> Self {
        self.checks.append(&mut group.checks);
        self.group = Some(group);
        self.conclude();
        self
    }

    /// Draws the verdict from the checks.
    pub(crate) fn conclude(&mut self) {
        let any = |outcome| self.checks.iter().any(|check| check.outcome == outcome);
        self.verdict = if any(Outcome::Violated) {
            Verdict::Violated
        } else if any(Outcome::Unknown) {
            Verdict::Inconclusive
        } else {
            Verdict::Holds
        };
    }
}

/// Everything the checker found in a run's histories.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Findings {
    /// Name of the scenario.
    pub scenario: String,
    /// The answer.
    pub verdict: Verdict,
    /// What it follows from.
    pub checks: Vec<Check>,
    /// Records sent, each counted once however often it was repeated.
    pub sent: u64,
    /// Records acknowledged.
    pub acknowledged: u64,
    /// Records read from the log, each occurrence counted.
    pub delivered: u64,
    /// Batches sent with a flipped bit, each of which the broker has to refuse.
    pub damaged_batches: u64,
    /// How often a process of the target ended by itself.
    pub crashes: u64,
    /// Records whose outcome is indeterminate and that are in the log.
    pub indeterminate_present: u64,
    /// Records whose outcome is indeterminate and that are not in the log.
    pub indeterminate_absent: u64,
    /// Acknowledged, and not in the log.
    pub lost: Anomaly,
    /// One record at more than one offset; each occurrence after the first counts.
    pub log_duplicates: Anomaly,
    /// Of those, what no lost acknowledgement explains.
    #[serde(default)]
    pub unexplained: Anomaly,
    /// What a lost acknowledgement foretells, and what is not there: occurrences that are missing.
    #[serde(default)]
    pub not_repeated: Anomaly,
    /// First occurrences that stand behind a later record of the same producer and partition.
    pub reordered: Anomaly,
    /// The payload's checksum does not match, or the record belongs elsewhere.
    pub corrupted: Anomaly,
    /// In a batch whose CRC, length or record count is wrong.
    pub torn: Anomaly,
    /// In the log, though no producer sent it, or though each attempt was refused.
    pub never_sent: Anomaly,
    /// Places where offsets have a gap or overlap.
    pub not_dense: Anomaly,
    /// Batches that were applied and whose acknowledgements were lost on the way.
    #[serde(default)]
    pub answers_lost: u64,
    /// Produce requests whose outcome could not be followed on their way.
    #[serde(default)]
    pub answers_unknown: u64,
    /// Records of those batches that were sent again and acknowledged then: with idempotence none comes twice, without it each does.
    #[serde(default)]
    pub resent: u64,
    /// Those batches, at most [`UNHEARD_MAX`].
    #[serde(default)]
    pub unheard: Vec<Unheard>,
    /// Records acknowledged before the first fault.
    pub acknowledged_before_faults: u64,
    /// Acknowledged records per second before the first fault.
    pub baseline_per_s: Option<f64>,
    /// Acknowledged records per second after the last fault was healed.
    pub recovered_per_s: Option<f64>,
    /// The faults, in order.
    pub faults: Vec<FaultFound>,
    /// What became of a consumer group; `None` when the scenario has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<GroupFindings>,
}
