//! The interval checker agrees with one that keeps a set entry per record, on small random histories.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use workloads::history::{Event, OffsetRun, Run};

use super::{History, judged, scenario};
use crate::findings::Findings;

/// What a producer may do, and what a log may hold: `(producer, partition, base, count, kind)` and `(.., gap before it)`.
type Step = (u64, u32, u64, u32, u8);

fn small_histories() -> impl Strategy<Value = (Vec<Step>, Vec<Step>)> {
    let step = (0_u64..2, 0_u32..2, 0_u64..20, 1_u32..6, 0_u8..6);
    (
        prop::collection::vec(step.clone(), 1..25),
        prop::collection::vec(step, 0..25),
    )
}

/// The events of a random history.
fn events((load, log): (Vec<Step>, Vec<Step>)) -> History {
    let mut history = History::new();
    for (producer, partition, base_sequence, count, kind) in load {
        let run = Run {
            producer,
            partition,
            base_sequence,
            count,
        };
        history.push((
            1,
            if kind == 5 {
                Event::SentDamaged(run)
            } else {
                Event::Sent(run)
            },
        ));
        match kind {
            0 | 1 => history.push((2, Event::Acknowledged { run, base_offset: -1 })),
            2 => history.push((2, Event::Failed { run, code: -100 })),
            3 | 5 => history.push((2, Event::Refused { run, code: 2 })),
            _ => {}
        }
    }
    for partition in 0..2 {
        let mut next = 0_i64;
        history.push((3, Event::ReadBegin { partition, offset: 0 }));
        for &(producer, _, base_sequence, count, kind) in log.iter().filter(|step| step.1 == partition) {
            let base_offset = if kind == 5 { next + 1 } else { next };
            let offsets = OffsetRun {
                partition,
                base_offset,
                count,
            };
            history.push((
                4,
                match kind {
                    3 => Event::Corrupted(offsets),
                    4 => Event::Torn(offsets),
                    _ => Event::Delivered {
                        run: Run {
                            producer,
                            partition,
                            base_sequence,
                            count,
                        },
                        base_offset,
                    },
                },
            ));
            next = base_offset + i64::from(count);
        }
        history.push((
            5,
            Event::ReadEnd {
                partition,
                next_offset: next,
            },
        ));
    }
    history
}

/// Counts of the naive checker, in the order of [`counts`].
fn naive(history: &History) -> [u64; 9] {
    type Record = (u64, u32, u64);
    let records = |run: Run| (run.base_sequence..run.end_sequence()).map(move |s| (run.producer, run.partition, s));
    let (mut sent, mut acknowledged, mut refused, mut perhaps) = (
        BTreeSet::<Record>::new(),
        BTreeSet::<Record>::new(),
        BTreeSet::<Record>::new(),
        BTreeSet::<Record>::new(),
    );
    let (mut open, mut log) = (BTreeSet::<Record>::new(), BTreeSet::<Record>::new());
    let mut highest = BTreeMap::<(u64, u32), u64>::new();
    let [mut duplicates, mut reordered, mut corrupted, mut torn, mut gaps] = [0; 5];
    let mut next = BTreeMap::<u32, i64>::new();
    let mut step = |partition, base_offset, count: u32| {
        let expected = next.insert(partition, base_offset + i64::from(count)).unwrap_or(0);
        u64::from(expected != base_offset)
    };
    for &(_, event) in history {
        match event {
            Event::Sent(run) | Event::SentDamaged(run) => {
                sent.extend(records(run));
                open.extend(records(run));
            }
            Event::Acknowledged { run, .. } => {
                acknowledged.extend(records(run));
                open.retain(|record| !records(run).any(|one| one == *record));
            }
            Event::Failed { run, .. } => {
                perhaps.extend(records(run));
                open.retain(|record| !records(run).any(|one| one == *record));
            }
            Event::Refused { run, .. } => {
                refused.extend(records(run));
                open.retain(|record| !records(run).any(|one| one == *record));
            }
            Event::Delivered { run, base_offset } => {
                gaps += step(run.partition, base_offset, run.count);
                for record in records(run) {
                    if !log.insert(record) {
                        duplicates += 1;
                        continue;
                    }
                    let highest = highest.entry((record.0, record.1)).or_insert(record.2);
                    reordered += u64::from(record.2 < *highest);
                    *highest = record.2.max(*highest);
                }
            }
            Event::Corrupted(run) => {
                gaps += step(run.partition, run.base_offset, run.count);
                corrupted += u64::from(run.count);
            }
            Event::Torn(run) => {
                gaps += step(run.partition, run.base_offset, run.count);
                torn += u64::from(run.count);
            }
            _ => {}
        }
    }
    perhaps.extend(open);
    let lost = acknowledged.difference(&log).count() as u64;
    let never_sent = log.difference(&sent).count()
        + refused
            .iter()
            .filter(|one| log.contains(one) && !acknowledged.contains(one) && !perhaps.contains(one))
            .count();
    let indeterminate: Vec<_> = perhaps.difference(&acknowledged).collect();
    let present = indeterminate.iter().filter(|record| log.contains(record)).count() as u64;
    let absent = indeterminate.len() as u64 - present;
    [
        lost,
        duplicates,
        reordered,
        corrupted,
        torn,
        never_sent as u64,
        gaps,
        present,
        absent,
    ]
}

fn counts(findings: &Findings) -> [u64; 9] {
    [
        findings.lost.count,
        findings.log_duplicates.count,
        findings.reordered.count,
        findings.corrupted.count,
        findings.torn.count,
        findings.never_sent.count,
        findings.not_dense.count,
        findings.indeterminate_present,
        findings.indeterminate_absent,
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn intervals_agree_with_sets(history in small_histories().prop_map(events)) {
        let findings = judged(&history, &scenario()).unwrap();
        prop_assert_eq!(counts(&findings), naive(&history), "{:#?}", history);
    }
}
