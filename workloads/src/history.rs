//! The event vocabulary of a history, and the files that hold it.
//!
//! A history is what a process says about itself while it works: sent, acknowledged, delivered, a fault began. Every event is a
//! fixed-width binary record written by write(2) *before* anybody relies on it, so a SIGKILL right after the call cannot take
//! it along: the bytes are in the page cache then. A batch is one event, because a run of records is kept as a base sequence
//! and a count.
//!
//! This module does not judge anything. It does not buffer writes, and it does not sync to disk: a history survives the death
//! of its process, not a power cut of the machine.

mod file;
mod record;

use serde::{Deserialize, Serialize};

pub use file::{HistoryError, HistoryReader, HistoryWriter, export_json_lines};

/// Size of the file header and of every event, in bytes.
pub const RECORD_BYTES: usize = 56;
/// First bytes of every history file.
pub const MAGIC: [u8; 8] = *b"ASSAYHIS";
/// Version of the layout below; a reader refuses any other.
pub const VERSION: u32 = 2;

/// Kafka's "no error" and the code of an event that has no error code.
pub const NO_CODE: i16 = 0;
/// Code of a failure that happened below the protocol: a reset, a timeout, a refused connection.
pub const CODE_CONNECTION: i16 = -100;

/// Nanoseconds of `CLOCK_MONOTONIC`: one axis for all processes of a machine, never stepped.
pub fn monotonic_ns() -> u64 {
    let now =
        nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).expect("CLOCK_MONOTONIC exists on every Linux");
    // Both parts are non-negative on this clock, and 584 years of nanoseconds fit.
    (now.tv_sec() as u64)
        .saturating_mul(1_000_000_000)
        .saturating_add(now.tv_nsec() as u64)
}

/// A run of records with dense sequences: `base_sequence .. base_sequence + count`.
///
/// The identity of one record is (producer, partition, sequence).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Who wrote it.
    pub producer: u64,
    /// Partition of the workload's topic.
    pub partition: u32,
    /// First sequence; dense per producer and partition, from 0.
    pub base_sequence: u64,
    /// Number of records, at least 1.
    pub count: u32,
}

impl Run {
    /// One past the last sequence.
    pub fn end_sequence(&self) -> u64 {
        self.base_sequence.saturating_add(u64::from(self.count))
    }
}

/// A run of offsets of one partition, for records whose identity could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OffsetRun {
    /// Partition of the workload's topic.
    pub partition: u32,
    /// First offset.
    pub base_offset: i64,
    /// Number of offsets.
    pub count: u32,
}

/// Partitions that the numbers of one topic have room for: `partition` in a history is the topic's place in the workload times
/// this, plus the partition's number in its topic. A workload of one topic has Kafka's own numbers.
pub const PARTITIONS_PER_TOPIC: u32 = 1 << 16;

/// A partition in the hands of a member of a consumer group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Claim {
    /// The member, from 1; one that is started again is another one.
    pub member: u32,
    /// Generation of the group (classic protocol) or member epoch (KIP-848) as its client knows it; -1 when it knows none.
    pub epoch: i32,
    /// Partition of the workload, see [`PARTITIONS_PER_TOPIC`].
    pub partition: u32,
}

/// What a fault was, as far as a history must know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// SIGKILL of a process.
    Kill,
    /// Every connection of a client is cut.
    Cut,
    /// A connection is cut in the middle of a request.
    CutRequest,
    /// A response is thrown away, after what it tells of was done.
    DropResponse,
    /// A response comes late.
    DelayResponse,
    /// Every connection is cut, and new ones are refused.
    Refuse,
    /// SIGSTOP of a process, and SIGCONT when it is healed.
    Pause,
    /// A process gets the CPU for a part of the time only.
    Starve,
    /// A handler takes longer than it did.
    SlowHandler,
    /// Members join.
    Join,
    /// Members leave the group and close.
    Leave,
    /// Members are closed and started again, one after another.
    RollingRestart,
    /// A topic is given more partitions.
    AddPartitions,
    /// Members subscribe to other topics.
    Subscribe,
}

impl FaultKind {
    /// Every kind there is; its place here, from 1, is its code in a record.
    const ALL: [FaultKind; 14] = [
        FaultKind::Kill,
        FaultKind::Cut,
        FaultKind::CutRequest,
        FaultKind::DropResponse,
        FaultKind::DelayResponse,
        FaultKind::Refuse,
        FaultKind::Pause,
        FaultKind::Starve,
        FaultKind::SlowHandler,
        FaultKind::Join,
        FaultKind::Leave,
        FaultKind::RollingRestart,
        FaultKind::AddPartitions,
        FaultKind::Subscribe,
    ];

    /// Its name, as in a scenario file.
    pub fn name(self) -> &'static str {
        match self {
            FaultKind::Kill => "kill",
            FaultKind::Cut => "cut",
            FaultKind::CutRequest => "cut-request",
            FaultKind::DropResponse => "drop-response",
            FaultKind::DelayResponse => "delay-response",
            FaultKind::Refuse => "refuse",
            FaultKind::Pause => "pause",
            FaultKind::Starve => "starve",
            FaultKind::SlowHandler => "slow-handler",
            FaultKind::Join => "join",
            FaultKind::Leave => "leave",
            FaultKind::RollingRestart => "rolling-restart",
            FaultKind::AddPartitions => "add-partitions",
            FaultKind::Subscribe => "subscribe",
        }
    }

    fn code(self) -> u8 {
        self as u8 + 1
    }

    fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code).checked_sub(1)?).copied()
    }
}

/// How a fault ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Healing {
    /// The target works again.
    Recovered,
    /// The target did not start, or was not ready within its time.
    DidNotStart,
}

/// One thing that happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// About to be sent: written before the request leaves.
    Sent(Run),
    /// About to be sent with one bit flipped on purpose: the broker has to refuse it.
    SentDamaged(Run),
    /// The broker acknowledged the run.
    Acknowledged {
        /// The records.
        #[serde(flatten)]
        run: Run,
        /// Offset of the first one as the broker told; -1 when it told none.
        base_offset: i64,
    },
    /// The outcome is indeterminate: the run may be in the log or not.
    Failed {
        /// The records.
        #[serde(flatten)]
        run: Run,
        /// Kafka's error code, or [`CODE_CONNECTION`].
        code: i16,
    },
    /// The broker definitely did not store the run.
    Refused {
        /// The records.
        #[serde(flatten)]
        run: Run,
        /// Kafka's error code.
        code: i16,
    },
    /// Read from the log, with a good checksum.
    Delivered {
        /// The records.
        #[serde(flatten)]
        run: Run,
        /// Offset of the first one; the others follow densely.
        base_offset: i64,
    },
    /// Read in a sound batch, but the payload is not what any producer wrote.
    Corrupted(OffsetRun),
    /// Read in a batch whose CRC, length or record count is wrong.
    Torn(OffsetRun),
    /// The scan of a partition's log begins.
    ReadBegin {
        /// Partition of the workload's topic.
        partition: u32,
        /// The first offset that the scan asks for.
        offset: i64,
    },
    /// The scan of a partition's log came to the end of the log.
    ReadEnd {
        /// Partition of the workload's topic.
        partition: u32,
        /// One past the last offset of the log (the high watermark).
        next_offset: i64,
    },
    /// A fault is about to be injected.
    FaultBegin {
        /// Number of the fault, from 1.
        fault: u32,
        /// What it is.
        kind: FaultKind,
    },
    /// A fault is aimed at a member.
    FaultAimed {
        /// Number of the fault, from 1.
        fault: u32,
        /// The member.
        member: u32,
    },
    /// What was seen of a fault after it was injected.
    FaultBit {
        /// Number of the fault, from 1.
        fault: u32,
        /// How often it was seen to bite; 0 means no evidence.
        evidence: u32,
    },
    /// A fault was healed, or was meant to be.
    FaultEnd {
        /// Number of the fault, from 1.
        fault: u32,
        /// How it ended.
        healing: Healing,
    },
    /// A batch was applied, and its acknowledgement never reached the client: a retry may store it twice.
    AnswerLost {
        /// Number of the fault that took the answer; 0 when the client had left by itself.
        fault: u32,
        /// Where the batch stands in the log.
        #[serde(flatten)]
        run: OffsetRun,
    },
    /// The outcome of so many produce requests could not be followed on their way.
    AnswersUnknown {
        /// How many.
        answers: u32,
    },
    /// A process of the system under test ended although no fault was aimed at it.
    Crashed,
    /// A member is about to subscribe.
    MemberBegan {
        /// Its number, unique in the run.
        member: u32,
        /// Which consumer it is: one that is started again is another member of the same slot.
        slot: u32,
        /// Id of its process.
        process: u32,
    },
    /// A member was given a partition, and has not begun to read it.
    Assigned {
        /// By whom it is held.
        #[serde(flatten)]
        claim: Claim,
    },
    /// A member gives a partition back, and will neither handle nor commit anything of it any more.
    Revoked {
        /// By whom it was held.
        #[serde(flatten)]
        claim: Claim,
    },
    /// A member heard that a partition is no longer its own: it could not commit first.
    Lost {
        /// By whom it was held.
        #[serde(flatten)]
        claim: Claim,
    },
    /// A member has carried out what a rebalance asked of it.
    Rebalanced {
        /// The member.
        member: u32,
        /// Its generation or epoch now.
        epoch: i32,
        /// Partitions that it holds now.
        partitions: u32,
    },
    /// A client handed records to its application, and no handler has seen them yet.
    Polled {
        /// The member.
        member: u32,
        /// Its generation or epoch.
        epoch: i32,
        /// The records.
        #[serde(flatten)]
        run: Run,
        /// Offset of the first one; the others follow densely.
        base_offset: i64,
    },
    /// The handler is through with records.
    Processed {
        /// By whom the partition is held.
        #[serde(flatten)]
        claim: Claim,
        /// Offset of the first one.
        base_offset: i64,
        /// How many.
        count: u32,
    },
    /// About to commit, or to leave it to the client to commit in its own time.
    CommitCalled {
        /// By whom the partition is held.
        #[serde(flatten)]
        claim: Claim,
        /// The next offset to read.
        offset: i64,
    },
    /// The answer to a commit.
    Committed {
        /// By whom the partition is held.
        #[serde(flatten)]
        claim: Claim,
        /// The next offset to read.
        offset: i64,
        /// Kafka's error code, [`NO_CODE`] when it was accepted, [`CODE_CONNECTION`] when no answer came: it is undecided.
        code: i16,
    },
    /// A client told its application that something is wrong, such as a poll interval that was exceeded.
    MemberFailed {
        /// The member.
        member: u32,
        /// Its generation or epoch.
        epoch: i32,
        /// The client's error code: librdkafka's own ones are negative.
        code: i16,
    },
    /// A member is about to leave the group and close.
    MemberLeft {
        /// The member.
        member: u32,
    },
    /// A topic has so many partitions now.
    Grown {
        /// The topic's place in the workload.
        topic: u32,
        /// Partitions of it.
        partitions: u32,
    },
    /// The history is whole: its writer had nothing more to tell. A file without it was cut short.
    Finished {
        /// Number of events before this one.
        events: u64,
    },
}

/// An event with its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamped {
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub at_ns: u64,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

#[cfg(test)]
mod tests;
