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

use kafka_wire::crc::crc32c;
use serde::{Deserialize, Serialize};

pub use file::{HistoryError, HistoryReader, HistoryWriter, export_json_lines};

/// Size of the file header and of every event, in bytes.
pub const RECORD_BYTES: usize = 48;
/// First bytes of every history file.
pub const MAGIC: [u8; 8] = *b"ASSAYHIS";
/// Version of the layout below; a reader refuses any other.
pub const VERSION: u32 = 1;

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
}

impl FaultKind {
    /// Every kind there is; its place here, from 1, is its code in a record.
    const ALL: [FaultKind; 6] = [
        FaultKind::Kill,
        FaultKind::Cut,
        FaultKind::CutRequest,
        FaultKind::DropResponse,
        FaultKind::DelayResponse,
        FaultKind::Refuse,
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

/// The one flat layout of all events, little-endian:
/// at_ns u64, sequence u64, offset i64, producer u64, partition u32, count u32, kind u8, detail u8, code i16, crc32c u32.
#[derive(Debug, Default)]
struct Flat {
    at_ns: u64,
    sequence: u64,
    offset: i64,
    producer: u64,
    partition: u32,
    count: u32,
    kind: u8,
    detail: u8,
    code: i16,
}

impl Flat {
    fn of_run(run: Run) -> Self {
        Self {
            sequence: run.base_sequence,
            producer: run.producer,
            partition: run.partition,
            count: run.count,
            ..Self::default()
        }
    }

    fn of_offsets(run: OffsetRun) -> Self {
        Self {
            offset: run.base_offset,
            partition: run.partition,
            count: run.count,
            ..Self::default()
        }
    }

    fn run(&self) -> Run {
        Run {
            producer: self.producer,
            partition: self.partition,
            base_sequence: self.sequence,
            count: self.count,
        }
    }

    fn offsets(&self) -> OffsetRun {
        OffsetRun {
            partition: self.partition,
            base_offset: self.offset,
            count: self.count,
        }
    }
}

impl Stamped {
    /// The event, now.
    pub fn now(event: Event) -> Self {
        Self {
            at_ns: monotonic_ns(),
            event,
        }
    }

    /// The binary record.
    pub fn encode(&self) -> [u8; RECORD_BYTES] {
        let (kind, flat) = match self.event {
            Event::Sent(run) => (1, Flat::of_run(run)),
            Event::SentDamaged(run) => (2, Flat::of_run(run)),
            Event::Acknowledged { run, base_offset } => (
                3,
                Flat {
                    offset: base_offset,
                    ..Flat::of_run(run)
                },
            ),
            Event::Failed { run, code } => (
                4,
                Flat {
                    code,
                    ..Flat::of_run(run)
                },
            ),
            Event::Refused { run, code } => (
                5,
                Flat {
                    code,
                    ..Flat::of_run(run)
                },
            ),
            Event::Delivered { run, base_offset } => (
                6,
                Flat {
                    offset: base_offset,
                    ..Flat::of_run(run)
                },
            ),
            Event::Corrupted(run) => (7, Flat::of_offsets(run)),
            Event::Torn(run) => (8, Flat::of_offsets(run)),
            Event::ReadBegin { partition, offset } => (
                9,
                Flat {
                    partition,
                    offset,
                    ..Flat::default()
                },
            ),
            Event::ReadEnd { partition, next_offset } => (
                10,
                Flat {
                    partition,
                    offset: next_offset,
                    ..Flat::default()
                },
            ),
            Event::FaultBegin { fault, kind } => (
                11,
                Flat {
                    sequence: u64::from(fault),
                    detail: kind.code(),
                    ..Flat::default()
                },
            ),
            Event::FaultBit { fault, evidence } => (
                13,
                Flat {
                    sequence: u64::from(fault),
                    count: evidence,
                    ..Flat::default()
                },
            ),
            Event::FaultEnd { fault, healing } => {
                let detail = match healing {
                    Healing::Recovered => 1,
                    Healing::DidNotStart => 2,
                };
                (
                    12,
                    Flat {
                        sequence: u64::from(fault),
                        detail,
                        ..Flat::default()
                    },
                )
            }
            Event::Crashed => (14, Flat::default()),
            Event::Finished { events } => (
                15,
                Flat {
                    sequence: events,
                    ..Flat::default()
                },
            ),
            Event::AnswerLost { fault, run } => (
                16,
                Flat {
                    sequence: u64::from(fault),
                    ..Flat::of_offsets(run)
                },
            ),
            Event::AnswersUnknown { answers } => (
                17,
                Flat {
                    count: answers,
                    ..Flat::default()
                },
            ),
        };
        let mut bytes = [0_u8; RECORD_BYTES];
        bytes[0..8].copy_from_slice(&self.at_ns.to_le_bytes());
        bytes[8..16].copy_from_slice(&flat.sequence.to_le_bytes());
        bytes[16..24].copy_from_slice(&flat.offset.to_le_bytes());
        bytes[24..32].copy_from_slice(&flat.producer.to_le_bytes());
        bytes[32..36].copy_from_slice(&flat.partition.to_le_bytes());
        bytes[36..40].copy_from_slice(&flat.count.to_le_bytes());
        bytes[40] = kind;
        bytes[41] = flat.detail;
        bytes[42..44].copy_from_slice(&flat.code.to_le_bytes());
        let checksum = crc32c(&bytes[..44]);
        bytes[44..48].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Reads a binary record back.
    ///
    /// # Errors
    /// A phrase that says what does not add up: the checksum, the kind of event, a run of no records.
    pub fn decode(bytes: &[u8; RECORD_BYTES]) -> Result<Self, &'static str> {
        if crc32c(&bytes[..44]) != u32::from_le_bytes(part(bytes, 44)) {
            return Err("the checksum does not match");
        }
        let flat = Flat {
            at_ns: u64::from_le_bytes(part(bytes, 0)),
            sequence: u64::from_le_bytes(part(bytes, 8)),
            offset: i64::from_le_bytes(part(bytes, 16)),
            producer: u64::from_le_bytes(part(bytes, 24)),
            partition: u32::from_le_bytes(part(bytes, 32)),
            count: u32::from_le_bytes(part(bytes, 36)),
            kind: bytes[40],
            detail: bytes[41],
            code: i16::from_le_bytes(part(bytes, 42)),
        };
        if ((1..=8).contains(&flat.kind) || flat.kind == 16) && flat.count == 0 {
            return Err("a run of no records");
        }
        let fault = || u32::try_from(flat.sequence).map_err(|_| "the fault's number is out of range");
        let event = match (flat.kind, flat.detail) {
            (1, _) => Event::Sent(flat.run()),
            (2, _) => Event::SentDamaged(flat.run()),
            (3, _) => Event::Acknowledged {
                run: flat.run(),
                base_offset: flat.offset,
            },
            (4, _) => Event::Failed {
                run: flat.run(),
                code: flat.code,
            },
            (5, _) => Event::Refused {
                run: flat.run(),
                code: flat.code,
            },
            (6, _) => Event::Delivered {
                run: flat.run(),
                base_offset: flat.offset,
            },
            (7, _) => Event::Corrupted(flat.offsets()),
            (8, _) => Event::Torn(flat.offsets()),
            (9, _) => Event::ReadBegin {
                partition: flat.partition,
                offset: flat.offset,
            },
            (10, _) => Event::ReadEnd {
                partition: flat.partition,
                next_offset: flat.offset,
            },
            (11, code) => Event::FaultBegin {
                fault: fault()?,
                kind: FaultKind::from_code(code).ok_or("an unknown kind of fault")?,
            },
            (12, 1) => Event::FaultEnd {
                fault: fault()?,
                healing: Healing::Recovered,
            },
            (12, 2) => Event::FaultEnd {
                fault: fault()?,
                healing: Healing::DidNotStart,
            },
            (13, _) => Event::FaultBit {
                fault: fault()?,
                evidence: flat.count,
            },
            (14, _) => Event::Crashed,
            (15, _) => Event::Finished { events: flat.sequence },
            (16, _) => Event::AnswerLost {
                fault: fault()?,
                run: flat.offsets(),
            },
            (17, _) => Event::AnswersUnknown { answers: flat.count },
            _ => return Err("an unknown kind of event"),
        };
        Ok(Self {
            at_ns: flat.at_ns,
            event,
        })
    }
}

/// The `N` bytes at `at`; every caller's range lies within the record.
fn part<const N: usize>(bytes: &[u8; RECORD_BYTES], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

#[cfg(test)]
mod tests;
