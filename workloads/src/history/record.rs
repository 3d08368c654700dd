//! The one binary layout of all events.

use super::{Claim, Event, FaultKind, Healing, OffsetRun, RECORD_BYTES, Run, Stamped, monotonic_ns};
use kafka_wire::crc::crc32c;

/// Bytes of a record that its checksum covers.
const CHECKED_BYTES: usize = RECORD_BYTES - 4;

/// The one flat layout of all events, little-endian:
/// at_ns u64, sequence u64, offset i64, producer u64, partition u32, count u32, member u32, epoch i32, kind u8, detail u8, code i16,
/// crc32c u32.
#[derive(Debug, Default)]
struct Flat {
    at_ns: u64,
    sequence: u64,
    offset: i64,
    producer: u64,
    partition: u32,
    count: u32,
    member: u32,
    epoch: i32,
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

    fn of_claim(claim: Claim) -> Self {
        Self {
            member: claim.member,
            epoch: claim.epoch,
            partition: claim.partition,
            ..Self::default()
        }
    }

    fn claim(&self) -> Claim {
        Claim {
            member: self.member,
            epoch: self.epoch,
            partition: self.partition,
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
            Event::FaultAimed { fault, member } => (
                18,
                Flat {
                    sequence: u64::from(fault),
                    member,
                    ..Flat::default()
                },
            ),
            Event::MemberBegan { member, slot, process } => (
                19,
                Flat {
                    member,
                    count: slot,
                    sequence: u64::from(process),
                    ..Flat::default()
                },
            ),
            Event::Assigned { claim } => (20, Flat::of_claim(claim)),
            Event::Revoked { claim } => (21, Flat::of_claim(claim)),
            Event::Lost { claim } => (22, Flat::of_claim(claim)),
            Event::Rebalanced {
                member,
                epoch,
                partitions,
            } => (
                23,
                Flat {
                    member,
                    epoch,
                    count: partitions,
                    ..Flat::default()
                },
            ),
            Event::Polled {
                member,
                epoch,
                run,
                base_offset,
            } => (
                24,
                Flat {
                    member,
                    epoch,
                    offset: base_offset,
                    ..Flat::of_run(run)
                },
            ),
            Event::Processed {
                claim,
                base_offset,
                count,
            } => (
                25,
                Flat {
                    offset: base_offset,
                    count,
                    ..Flat::of_claim(claim)
                },
            ),
            Event::CommitCalled { claim, offset } => (
                26,
                Flat {
                    offset,
                    ..Flat::of_claim(claim)
                },
            ),
            Event::Committed { claim, offset, code } => (
                27,
                Flat {
                    offset,
                    code,
                    ..Flat::of_claim(claim)
                },
            ),
            Event::MemberFailed { member, epoch, code } => (
                28,
                Flat {
                    member,
                    epoch,
                    code,
                    ..Flat::default()
                },
            ),
            Event::MemberLeft { member } => (
                29,
                Flat {
                    member,
                    ..Flat::default()
                },
            ),
            Event::Grown { topic, partitions } => (
                30,
                Flat {
                    partition: topic,
                    count: partitions,
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
        bytes[40..44].copy_from_slice(&flat.member.to_le_bytes());
        bytes[44..48].copy_from_slice(&flat.epoch.to_le_bytes());
        bytes[48] = kind;
        bytes[49] = flat.detail;
        bytes[50..52].copy_from_slice(&flat.code.to_le_bytes());
        let checksum = crc32c(&bytes[..CHECKED_BYTES]);
        bytes[CHECKED_BYTES..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Reads a binary record back.
    ///
    /// # Errors
    /// A phrase that says what does not add up: the checksum, the kind of event, a run of no records.
    pub fn decode(bytes: &[u8; RECORD_BYTES]) -> Result<Self, &'static str> {
        if crc32c(&bytes[..CHECKED_BYTES]) != u32::from_le_bytes(part(bytes, CHECKED_BYTES)) {
            return Err("the checksum does not match");
        }
        let flat = Flat {
            at_ns: u64::from_le_bytes(part(bytes, 0)),
            sequence: u64::from_le_bytes(part(bytes, 8)),
            offset: i64::from_le_bytes(part(bytes, 16)),
            producer: u64::from_le_bytes(part(bytes, 24)),
            partition: u32::from_le_bytes(part(bytes, 32)),
            count: u32::from_le_bytes(part(bytes, 36)),
            member: u32::from_le_bytes(part(bytes, 40)),
            epoch: i32::from_le_bytes(part(bytes, 44)),
            kind: bytes[48],
            detail: bytes[49],
            code: i16::from_le_bytes(part(bytes, 50)),
        };
        if matches!(flat.kind, 1..=8 | 16 | 24 | 25) && flat.count == 0 {
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
            (18, _) => Event::FaultAimed {
                fault: fault()?,
                member: flat.member,
            },
            (19, _) => Event::MemberBegan {
                member: flat.member,
                slot: flat.count,
                process: u32::try_from(flat.sequence).map_err(|_| "the process's number is out of range")?,
            },
            (20, _) => Event::Assigned { claim: flat.claim() },
            (21, _) => Event::Revoked { claim: flat.claim() },
            (22, _) => Event::Lost { claim: flat.claim() },
            (23, _) => Event::Rebalanced {
                member: flat.member,
                epoch: flat.epoch,
                partitions: flat.count,
            },
            (24, _) => Event::Polled {
                member: flat.member,
                epoch: flat.epoch,
                run: flat.run(),
                base_offset: flat.offset,
            },
            (25, _) => Event::Processed {
                claim: flat.claim(),
                base_offset: flat.offset,
                count: flat.count,
            },
            (26, _) => Event::CommitCalled {
                claim: flat.claim(),
                offset: flat.offset,
            },
            (27, _) => Event::Committed {
                claim: flat.claim(),
                offset: flat.offset,
                code: flat.code,
            },
            (28, _) => Event::MemberFailed {
                member: flat.member,
                epoch: flat.epoch,
                code: flat.code,
            },
            (29, _) => Event::MemberLeft { member: flat.member },
            (30, _) => Event::Grown {
                topic: flat.partition,
                partitions: flat.count,
            },
            _ => return Err("an unknown kind of event"),
        };
        Ok(Self {
            at_ns: flat.at_ns,
            event,
        })
    }
}

/// The `N` bytes at `at`; every caller's range lies within the record.
pub(super) fn part<const N: usize>(bytes: &[u8; RECORD_BYTES], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}
