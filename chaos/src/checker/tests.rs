//! Each anomaly has a history that passes, one that fails and one that is unknown.

use workloads::history::{FaultKind, Healing, HistoryWriter, OffsetRun, RECORD_BYTES, Run};

use super::*;
use crate::findings::{Outcome, Verdict};
use crate::render;

mod explained;
mod naive;

type History = Vec<(u64, Event)>;

fn run(base_sequence: u64, count: u32) -> Run {
    Run {
        producer: 1,
        partition: 0,
        base_sequence,
        count,
    }
}

fn sent(base_sequence: u64, count: u32) -> Event {
    Event::Sent(run(base_sequence, count))
}

fn acknowledged(base_sequence: u64, count: u32, base_offset: i64) -> Event {
    Event::Acknowledged {
        run: run(base_sequence, count),
        base_offset,
    }
}

fn delivered(base_sequence: u64, count: u32, base_offset: i64) -> Event {
    Event::Delivered {
        run: run(base_sequence, count),
        base_offset,
    }
}

fn offsets(base_offset: i64, count: u32) -> OffsetRun {
    OffsetRun {
        partition: 0,
        base_offset,
        count,
    }
}

/// Twenty records around one kill, all there. Times are microseconds.
fn sound() -> History {
    vec![
        (10, sent(0, 10)),
        (20, acknowledged(0, 10, 0)),
        (
            30,
            Event::FaultBegin {
                fault: 1,
                kind: FaultKind::Kill,
            },
        ),
        (31, Event::FaultBit { fault: 1, evidence: 1 }),
        (
            40,
            Event::FaultEnd {
                fault: 1,
                healing: Healing::Recovered,
            },
        ),
        (50, sent(10, 10)),
        (60, acknowledged(10, 10, 10)),
        (
            100,
            Event::ReadBegin {
                partition: 0,
                offset: 0,
            },
        ),
        (101, delivered(0, 10, 0)),
        (102, delivered(10, 10, 10)),
        (
            103,
            Event::ReadEnd {
                partition: 0,
                next_offset: 20,
            },
        ),
    ]
}

/// Index of the events in [`sound`].
const ACKNOWLEDGED_1: usize = 1;
const BIT: usize = 3;
const END: usize = 4;
const ACKNOWLEDGED_2: usize = 6;
const DELIVERED_1: usize = 8;
const DELIVERED_2: usize = 9;
const READ_END: usize = 10;

fn scenario() -> Scenario {
    let mut scenario = Scenario::load("kill-broker").unwrap().with_repeat(1).unwrap();
    scenario.workload.damage_every = None;
    scenario
}

fn write(folder: &Path, name: &str, history: &History) -> PathBuf {
    let path = folder.join(name);
    let mut writer = HistoryWriter::create(&path).unwrap();
    for &(at_us, event) in history {
        writer
            .append_stamped(Stamped {
                at_ns: at_us * 1000,
                event,
            })
            .unwrap();
    }
    writer.finish().unwrap();
    path
}

fn judged(history: &History, scenario: &Scenario) -> Result<Findings, CheckError> {
    let folder = tempfile::tempdir().unwrap();
    check(&[write(folder.path(), "all.bin", history)], scenario)
}

fn outcome(findings: &Findings, name: &str) -> Outcome {
    findings.checks.iter().find(|check| check.name == name).unwrap().outcome
}

#[test]
fn a_sound_history_holds_in_every_point() {
    let findings = judged(&sound(), &scenario()).unwrap();
    for check in &findings.checks {
        let expected = if check.name == "log_duplicates" {
            Outcome::Counted
        } else {
            Outcome::Holds
        };
        assert_eq!(check.outcome, expected, "{check:?}");
    }
    assert_eq!(findings.verdict, Verdict::Holds);
    assert_eq!((findings.sent, findings.acknowledged, findings.delivered), (20, 20, 20));
    assert_eq!(
        (
            findings.acknowledged_before_faults,
            findings.faults[0].acknowledged_after
        ),
        (10, 10)
    );
    // 10 records in the 20 us from the first sending to the fault, and 10 in the 20 us from its healing on.
    let rounded = [findings.baseline_per_s, findings.recovered_per_s].map(|rate| rate.unwrap().round());
    assert_eq!(rounded, [500_000.0; 2]);
}

/// One anomaly per row: what is changed in the sound history, the invariant that has to be violated, and how many records.
#[test]
fn every_anomaly_is_found_and_blamed_and_unknown_where_the_scan_is_not_whole() {
    type Change = fn(&mut History);
    let table: &[(&str, Change, &str, u64)] = &[
        (
            "the second batch is gone",
            |h| {
                h.remove(DELIVERED_2);
                h[DELIVERED_2].1 = Event::ReadEnd {
                    partition: 0,
                    next_offset: 10,
                };
            },
            "lost",
            10,
        ),
        (
            "some of the second batch is gone",
            |h| {
                h[DELIVERED_2].1 = delivered(13, 7, 10);
                h[READ_END].1 = Event::ReadEnd {
                    partition: 0,
                    next_offset: 17,
                };
            },
            "lost",
            3,
        ),
        (
            "a damaged batch was acknowledged",
            |h| {
                h[ACKNOWLEDGED_2 - 1].1 = Event::SentDamaged(run(10, 10));
                h[DELIVERED_2].1 = Event::Torn(offsets(10, 10));
            },
            "torn",
            10,
        ),
        (
            "foreign payloads",
            |h| h[DELIVERED_2].1 = Event::Corrupted(offsets(10, 10)),
            "corrupted",
            10,
        ),
        (
            "a record that nobody sent",
            |h| {
                h.insert(READ_END, (102, delivered(20, 1, 20)));
                h[READ_END + 1].1 = Event::ReadEnd {
                    partition: 0,
                    next_offset: 21,
                };
            },
            "never_sent",
            1,
        ),
        (
            "a refused record in the log",
            |h| {
                h[ACKNOWLEDGED_2].1 = Event::Refused {
                    run: run(10, 10),
                    code: 10,
                };
            },
            "never_sent",
            10,
        ),
        (
            "first occurrences run backwards",
            |h| {
                h[DELIVERED_1].1 = delivered(10, 10, 0);
                h[DELIVERED_2].1 = delivered(0, 10, 10);
            },
            "reordered",
            10,
        ),
        (
            "a gap of offsets",
            |h| {
                h[DELIVERED_2].1 = delivered(10, 10, 11);
                h[READ_END].1 = Event::ReadEnd {
                    partition: 0,
                    next_offset: 21,
                };
            },
            "offsets_dense",
            1,
        ),
        (
            "offsets that overlap",
            |h| {
                h[DELIVERED_2].1 = delivered(10, 10, 9);
                h[READ_END].1 = Event::ReadEnd {
                    partition: 0,
                    next_offset: 19,
                };
            },
            "offsets_dense",
            1,
        ),
        (
            "a log that ends behind its last record",
            |h| {
                h[READ_END].1 = Event::ReadEnd {
                    partition: 0,
                    next_offset: 22,
                };
            },
            "offsets_dense",
            1,
        ),
        (
            "a record twice, where that is forbidden",
            |h| {
                h.insert(READ_END, (102, delivered(15, 5, 20)));
                h[READ_END + 1].1 = Event::ReadEnd {
                    partition: 0,
                    next_offset: 25,
                };
            },
            "log_duplicates",
            5,
        ),
    ];
    let mut strict = scenario();
    strict.invariants.log_duplicates = crate::scenario::Bound::AtMost(0);
    for (what, change, invariant, count) in table {
        let mut history = sound();
        change(&mut history);
        let findings = judged(&history, &strict).unwrap();
        assert_eq!(outcome(&findings, invariant), Outcome::Violated, "{what}");
        assert_eq!(findings.verdict, Verdict::Violated, "{what}");
        let observed = &findings
            .checks
            .iter()
            .find(|check| check.name == *invariant)
            .unwrap()
            .observed;
        assert_eq!(observed.split(' ').next(), Some(count.to_string().as_str()), "{what}");
        let text = render::text(&findings, false);
        assert!(
            text.contains(&format!("{invariant}: {count} in all")) == (*invariant != "offsets_dense" || *count == 1),
            "{what}: {text}"
        );
        assert!(render::junit(&findings).contains("<failure message="), "{what}");

        // The sound history without its end of the scan can neither show this anomaly nor rule it out.
        let mut history = sound();
        history.remove(READ_END);
        let findings = judged(&history, &strict).unwrap();
        assert_eq!(
            (outcome(&findings, invariant), findings.verdict),
            (Outcome::Unknown, Verdict::Inconclusive),
            "{what}"
        );
    }
}

#[test]
fn what_is_found_before_the_scan_broke_off_is_certain_and_a_loss_is_not() {
    let mut history = sound();
    history[DELIVERED_2].1 = Event::Corrupted(offsets(10, 3));
    history.remove(READ_END);
    let findings = judged(&history, &scenario()).unwrap();
    assert_eq!(outcome(&findings, "corrupted"), Outcome::Violated);
    assert_eq!((outcome(&findings, "lost"), findings.lost.count), (Outcome::Unknown, 0));
}

/// What keeps a run from being judged, and in which line that is said.
#[test]
fn runs_that_could_not_have_failed_are_inconclusive() {
    type Change = fn(&mut History);
    let table: &[(Change, &str, &str)] = &[
        (
            |h| h[BIT].1 = Event::FaultBit { fault: 1, evidence: 0 },
            "faults_bit",
            "fault 1 left no evidence",
        ),
        (
            |h| {
                h.drain(2..=END);
            },
            "faults_bit",
            "ended before its schedule",
        ),
        (
            |h| {
                h.remove(END);
            },
            "always_starts",
            "never healed",
        ),
        (
            |h| {
                h.remove(ACKNOWLEDGED_1);
            },
            "progress_between_faults",
            "before the first fault",
        ),
        (
            |h| {
                h.remove(ACKNOWLEDGED_2);
            },
            "progress_between_faults",
            "after fault 1",
        ),
        (|h| h[ACKNOWLEDGED_2].0 = 35, "progress_between_faults", "after fault 1"),
        (
            |h| h[ACKNOWLEDGED_2].0 = 100_000_000,
            "lost",
            "before its last acknowledgement",
        ),
        (
            |h| h.retain(|(_, event)| !matches!(event, Event::Acknowledged { .. })),
            "lost",
            "nothing was acknowledged",
        ),
        (
            |h| {
                h.drain(READ_END - 3..);
            },
            "lost",
            "partition 0 was not read",
        ),
        (|h| h[0].0 = 0, "steady_acknowledged", "before the first fault"),
    ];
    for (index, (change, name, reason)) in table.iter().enumerate() {
        let mut history = sound();
        // A slow baseline needs a long phase: a second for ten records is below the 50 per second that are asked for.
        if *name == "steady_acknowledged" {
            history.iter_mut().skip(1).for_each(|(at_us, _)| *at_us += 1_000_000);
        }
        change(&mut history);
        let findings = judged(&history, &scenario()).unwrap();
        let check = findings.checks.iter().find(|check| check.name == *name).unwrap();
        assert_eq!(
            (check.outcome, findings.verdict),
            (Outcome::Unknown, Verdict::Inconclusive),
            "{index}: {check:?}"
        );
        assert!(check.reason.contains(reason), "{index}: {}", check.reason);
        assert!(render::text(&findings, false).contains(reason));
        assert!(render::junit(&findings).contains("<error message="));
    }
}

#[test]
fn a_target_that_does_not_come_back_violates() {
    let mut history = sound();
    history.truncate(END);
    history.push((
        40,
        Event::FaultEnd {
            fault: 1,
            healing: Healing::DidNotStart,
        },
    ));
    let findings = judged(&history, &scenario()).unwrap();
    assert_eq!(
        (outcome(&findings, "always_starts"), findings.verdict),
        (Outcome::Violated, Verdict::Violated)
    );
    assert_eq!(outcome(&findings, "lost"), Outcome::Unknown);
}

#[test]
fn indeterminate_records_may_be_there_or_not_and_duplicates_are_counted() {
    let mut history = sound();
    let failed = |base, count| Event::Failed {
        run: run(base, count),
        code: -100,
    };
    history.insert(END + 1, (41, failed(10, 10)));
    history.insert(END + 1, (41, sent(10, 10)));
    // Sent and failed for good, half of it stored; sent and never answered, not stored.
    let at = history
        .iter()
        .position(|(_, event)| matches!(event, Event::ReadBegin { .. }))
        .unwrap();
    history.splice(at..at, [(70, sent(20, 4)), (71, failed(20, 4)), (72, sent(24, 3))]);
    let end = history.len() - 1;
    history.insert(end, (102, delivered(10, 12, 20)));
    history[end + 1].1 = Event::ReadEnd {
        partition: 0,
        next_offset: 32,
    };
    let findings = judged(&history, &scenario()).unwrap();
    assert_eq!(findings.verdict, Verdict::Holds, "{}", render::text(&findings, false));
    assert_eq!((findings.indeterminate_present, findings.indeterminate_absent), (2, 5));
    assert_eq!(findings.log_duplicates.count, 10);
    let example = &findings.log_duplicates.examples[0];
    assert_eq!(
        (example.sequence, example.offset, example.records),
        (Some(10), Some(20), 10)
    );
}

/// An offset that was promised twice belongs to the later promise, in whatever order the files come.
#[test]
fn a_torn_record_is_named_by_the_last_promise_of_its_offset() {
    let mut history = sound();
    history[DELIVERED_1].1 = Event::Torn(offsets(0, 10));
    history.splice(0..0, [(5, sent(30, 4)), (6, acknowledged(30, 4, 0))]);
    for swapped in [false, true] {
        if swapped {
            history.swap(1, 3);
        }
        let findings = judged(&history, &scenario()).unwrap();
        let torn = &findings.torn.examples[0];
        assert_eq!(
            (torn.sequence, torn.acknowledged_ns),
            (Some(0), Some(20_000)),
            "{torn:?}"
        );
    }
}

#[test]
fn a_loss_names_record_and_fault() {
    let mut history = sound();
    history[DELIVERED_1].1 = delivered(0, 4, 0);
    history[DELIVERED_2].1 = delivered(10, 10, 4);
    history[READ_END].1 = Event::ReadEnd {
        partition: 0,
        next_offset: 14,
    };
    let findings = judged(&history, &scenario()).unwrap();
    insta::assert_snapshot!(render::text(&findings, false));
    insta::assert_snapshot!("junit", render::junit(&findings));
    let json = serde_json::to_string(&findings).unwrap();
    assert_eq!(serde_json::from_str::<Findings>(&json).unwrap(), findings);
}

#[test]
fn a_history_that_is_cut_short_does_not_accuse() {
    let folder = tempfile::tempdir().unwrap();
    let (load, scan) = (
        sound()[..=ACKNOWLEDGED_2].to_vec(),
        sound()[ACKNOWLEDGED_2 + 1..].to_vec(),
    );
    // The announcement of the second batch, and all behind it, is cut off, between two records or in one; the batch is in the log.
    let path = write(folder.path(), "producer.bin", &load);
    let bytes = std::fs::read(&path).unwrap();
    let files = [path, write(folder.path(), "scan.bin", &scan)];
    for cut_bytes in [RECORD_BYTES * 2 + 5, RECORD_BYTES * 3] {
        std::fs::write(&files[0], &bytes[..bytes.len() - cut_bytes]).unwrap();
        let findings = check(&files, &scenario()).unwrap();
        assert_eq!(
            (findings.never_sent.count, outcome(&findings, "never_sent")),
            (10, Outcome::Unknown)
        );
        let lost = findings.checks.iter().find(|check| check.name == "lost").unwrap();
        assert_eq!(lost.outcome, Outcome::Unknown);
        assert!(lost.reason.contains("producer.bin is cut short"), "{}", lost.reason);
        assert_eq!(findings.verdict, Verdict::Inconclusive);
    }
    // Only the end is missing: nothing else is, but the file does not say so.
    std::fs::write(&files[0], &bytes[..bytes.len() - RECORD_BYTES]).unwrap();
    assert_eq!(outcome(&check(&files, &scenario()).unwrap(), "lost"), Outcome::Unknown);
    // An event behind the end, or one that is missing before it, is no whole history either.
    let dropped = [&bytes[..RECORD_BYTES], &bytes[RECORD_BYTES * 2..]].concat();
    std::fs::write(&files[0], dropped).unwrap();
    assert_eq!(outcome(&check(&files, &scenario()).unwrap(), "lost"), Outcome::Unknown);
}

/// A batch was under way when a fault hit if it was announced before and failed later.
#[test]
fn batches_under_way_are_told_from_those_that_find_the_connection_dead() {
    let mut history = sound();
    let failed = |base, count| Event::Failed {
        run: run(base, count),
        code: -100,
    };
    let end = history.remove(END);
    history.splice(
        END..END,
        [(32, failed(10, 10)), (33, sent(10, 10)), (34, failed(10, 10)), end],
    );
    history.insert(2, (25, sent(10, 10)));
    let findings = judged(&history, &scenario()).unwrap();
    assert_eq!(findings.faults[0].interrupted, 1);
    assert_eq!(findings.verdict, Verdict::Holds, "{}", render::text(&findings, false));
}

#[test]
fn a_crash_violates_and_damage_that_was_never_sent_is_unknown() {
    let mut history = sound();
    history.insert(END + 1, (45, Event::Crashed));
    let findings = judged(&history, &scenario()).unwrap();
    assert_eq!(
        (outcome(&findings, "stays_up"), findings.verdict),
        (Outcome::Violated, Verdict::Violated)
    );

    let mut damaging = scenario();
    damaging.workload.damage_every = Some(7);
    let findings = judged(&sound(), &damaging).unwrap();
    assert_eq!(
        (outcome(&findings, "damage_sent"), findings.verdict),
        (Outcome::Unknown, Verdict::Inconclusive)
    );
    let mut history = sound();
    let refused = Event::Refused {
        run: run(0, 10),
        code: 2,
    };
    history.splice(0..0, [(1, Event::SentDamaged(run(0, 10))), (2, refused)]);
    assert_eq!(judged(&history, &damaging).unwrap().verdict, Verdict::Holds);
}

#[test]
fn contradictions_and_damaged_files_are_errors() {
    type Change = fn(&mut History);
    let table: &[(Change, &str)] = &[
        (
            |h| {
                h.remove(2);
            },
            "without having begun",
        ),
        (
            |h| {
                h.insert(
                    READ_END,
                    (
                        102,
                        Event::ReadBegin {
                            partition: 0,
                            offset: 0,
                        },
                    ),
                )
            },
            "read twice",
        ),
        (|h| h.push((104, delivered(0, 1, 20))), "outside of a scan"),
        (
            |h| {
                h.insert(
                    END,
                    (
                        32,
                        Event::FaultBegin {
                            fault: 2,
                            kind: FaultKind::Kill,
                        },
                    ),
                )
            },
            "without having begun",
        ),
    ];
    for (change, expected) in table {
        let mut history = sound();
        change(&mut history);
        let error = judged(&history, &scenario()).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), "all.bin", &sound());
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[RECORD_BYTES * 3 + 1] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    assert!(matches!(check(&[path], &scenario()), Err(CheckError::History(_))));
    assert!(matches!(check_folder(folder.path()), Err(CheckError::Folder { .. })));
}

/// A million batches are one interval: the accounts' memory does not depend on the length of a run.
#[test]
fn memory_does_not_grow_with_regular_runs() {
    let mut accounts = accounts::Accounts::new(Vec::new(), LostAnswers::default());
    let mut apply = |at_ns, event| accounts.apply(Stamped { at_ns, event }).unwrap();
    for batch in 0..200_000 {
        apply(1, sent(batch * 8, 8));
        apply(2, acknowledged(batch * 8, 8, batch as i64 * 8));
    }
    apply(
        3,
        Event::ReadBegin {
            partition: 0,
            offset: 0,
        },
    );
    for batch in 0..200_000 {
        apply(4, delivered(batch * 8, 8, batch as i64 * 8));
    }
    let account = &accounts.accounts[&(1, 0)];
    for set in [&account.sent, &account.acknowledged, &account.delivered] {
        assert_eq!((set.fragments(), set.len()), (1, 1_600_000));
    }
    assert!(account.open.is_empty());
}
