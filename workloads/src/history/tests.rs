//! Histories survive their files, and damage is told.

use std::path::{Path, PathBuf};

use super::*;

fn run(base_sequence: u64, count: u32) -> Run {
    Run {
        producer: 7,
        partition: 3,
        base_sequence,
        count,
    }
}

fn claim() -> Claim {
    Claim {
        member: 3,
        epoch: 4,
        partition: PARTITIONS_PER_TOPIC + 2,
    }
}

fn every_event() -> Vec<Event> {
    vec![
        Event::Sent(run(0, 16)),
        Event::SentDamaged(run(u64::MAX - 1, 1)),
        Event::Acknowledged {
            run: run(0, 16),
            base_offset: i64::MAX,
        },
        Event::Failed {
            run: run(16, 16),
            code: CODE_CONNECTION,
        },
        Event::Refused {
            run: run(32, 4),
            code: 10,
        },
        Event::Delivered {
            run: run(0, u32::MAX),
            base_offset: 0,
        },
        Event::Corrupted(OffsetRun {
            partition: 1,
            base_offset: 9,
            count: 1,
        }),
        Event::Torn(OffsetRun {
            partition: 1,
            base_offset: 10,
            count: 5,
        }),
        Event::ReadBegin {
            partition: 1,
            offset: 0,
        },
        Event::ReadEnd {
            partition: 1,
            next_offset: 15,
        },
        Event::FaultBegin {
            fault: 2,
            kind: FaultKind::Kill,
        },
        Event::FaultBit { fault: 2, evidence: 1 },
        Event::FaultEnd {
            fault: 2,
            healing: Healing::Recovered,
        },
        Event::FaultEnd {
            fault: 3,
            healing: Healing::DidNotStart,
        },
        Event::FaultBegin {
            fault: 4,
            kind: FaultKind::Refuse,
        },
        Event::AnswerLost {
            fault: 4,
            run: OffsetRun {
                partition: 2,
                base_offset: 7,
                count: 3,
            },
        },
        Event::AnswersUnknown { answers: 2 },
        Event::FaultBegin {
            fault: 5,
            kind: FaultKind::Subscribe,
        },
        Event::FaultAimed { fault: 5, member: 3 },
        Event::MemberBegan {
            member: 3,
            slot: 1,
            process: u32::MAX,
        },
        Event::Assigned { claim: claim() },
        Event::Revoked { claim: claim() },
        Event::Lost { claim: claim() },
        Event::Rebalanced {
            member: 3,
            epoch: 4,
            partitions: 2,
        },
        Event::Polled {
            member: 3,
            epoch: -1,
            run: run(5, 6),
            base_offset: 7,
        },
        Event::Processed {
            claim: claim(),
            base_offset: 7,
            count: 6,
        },
        Event::CommitCalled {
            claim: claim(),
            offset: 13,
        },
        Event::Committed {
            claim: claim(),
            offset: 13,
            code: 22,
        },
        Event::MemberFailed {
            member: 3,
            epoch: 4,
            code: -147,
        },
        Event::MemberLeft { member: 3 },
        Event::Grown {
            topic: 1,
            partitions: 12,
        },
        Event::Crashed,
        Event::Finished { events: 32 },
    ]
}

fn written(folder: &Path) -> PathBuf {
    let path = folder.join("a.bin");
    let mut writer = HistoryWriter::create(&path).unwrap();
    writer.append(every_event()[0]).unwrap();
    writer.append_all(every_event().into_iter().skip(1)).unwrap();
    path
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn every_event_survives_the_file() {
    let folder = folder();
    let mut reader = HistoryReader::open(&written(folder.path())).unwrap();
    let events: Vec<Stamped> = reader.by_ref().map(Result::unwrap).collect();
    assert_eq!(
        events.iter().map(|stamped| stamped.event).collect::<Vec<_>>(),
        every_event()
    );
    assert!(events.is_sorted_by_key(|stamped| stamped.at_ns));
    assert_eq!(reader.torn_bytes(), 0);
}

#[test]
fn a_cut_anywhere_loses_the_last_record_only() {
    let folder = folder();
    let path = written(folder.path());
    let whole = std::fs::read(&path).unwrap();
    for cut in 1..RECORD_BYTES {
        std::fs::write(&path, &whole[..whole.len() - cut]).unwrap();
        let mut reader = HistoryReader::open(&path).unwrap();
        assert_eq!(reader.by_ref().map(Result::unwrap).count(), every_event().len() - 1);
        assert_eq!(reader.torn_bytes(), (RECORD_BYTES - cut) as u64);
    }
}

#[test]
fn a_flipped_bit_in_the_middle_is_an_error_and_at_the_end_a_torn_record() {
    let folder = folder();
    let path = written(folder.path());
    let whole = std::fs::read(&path).unwrap();
    let mut bytes = whole.clone();
    bytes[RECORD_BYTES * 2 + 5] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let error = HistoryReader::open(&path).unwrap().find_map(Result::err).unwrap();
    assert!(error.to_string().contains("damaged record at byte 112"), "{error}");

    let mut bytes = whole;
    let last = bytes.len() - 20;
    bytes[last] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let mut reader = HistoryReader::open(&path).unwrap();
    assert_eq!(reader.by_ref().map(Result::unwrap).count(), every_event().len() - 1);
    assert_eq!(reader.torn_bytes(), RECORD_BYTES as u64);
}

#[test]
fn a_foreign_file_and_another_version_are_refused() {
    let folder = folder();
    let path = folder.path().join("foreign.bin");
    let mut other_version = [0_u8; RECORD_BYTES];
    other_version[..8].copy_from_slice(&MAGIC);
    other_version[8] = 99;
    for (bytes, expected) in [
        (&b"short"[..], "shorter than a header"),
        (&[b'x'; 100][..], "other magic bytes"),
        (&other_version[..], "version 99"),
    ] {
        std::fs::write(&path, bytes).unwrap();
        let error = HistoryReader::open(&path).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[test]
fn a_finished_history_counts_its_events() {
    let folder = folder();
    let path = folder.path().join("whole.bin");
    let mut writer = HistoryWriter::create(&path).unwrap();
    writer.append(Event::Sent(run(0, 1))).unwrap();
    writer.append_all([Event::Sent(run(1, 1)), Event::Crashed]).unwrap();
    writer.append_all([]).unwrap();
    writer.finish().unwrap();
    let last = HistoryReader::open(&path).unwrap().last().unwrap().unwrap();
    assert_eq!(last.event, Event::Finished { events: 3 });
}

#[test]
fn a_history_is_never_overwritten() {
    let folder = folder();
    let path = written(folder.path());
    assert!(matches!(HistoryWriter::create(&path), Err(HistoryError::Io { .. })));
}

#[test]
fn json_lines_read_back_as_the_same_events() {
    let folder = folder();
    let mut output = Vec::new();
    let count = export_json_lines(HistoryReader::open(&written(folder.path())).unwrap(), &mut output).unwrap();
    assert_eq!(count, every_event().len() as u64);
    let events: Vec<Event> = String::from_utf8(output)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str::<Stamped>(line).unwrap().event)
        .collect();
    assert_eq!(events, every_event());
}

#[test]
fn every_kind_of_fault_has_a_code_of_its_own() {
    for kind in FaultKind::ALL {
        assert_eq!(FaultKind::from_code(kind.code()), Some(kind));
    }
    assert_eq!((FaultKind::from_code(0), FaultKind::from_code(15)), (None, None));
}
