//! The last pass: when each example was sent and acknowledged, and to which fault that falls.
//!
//! Intervals hold no times, so the few examples are looked up in the files once more.

use std::path::PathBuf;

use workloads::history::{Event, Run};

use super::{CheckError, stream};
use crate::findings::{Anomaly, Example, FaultFound, Findings, Relation, Window};

pub(super) fn fill_in(findings: &mut Findings, files: &[PathBuf]) -> Result<(), CheckError> {
    let faults = std::mem::take(&mut findings.faults);
    let mut examples: Vec<(Known, &mut Example)> = anomalies(findings)
        .into_iter()
        .flat_map(|one| &mut one.examples)
        .map(|example| (Known::of(example), example))
        .collect();
    if !examples.is_empty() {
        stream(files, |stamped| {
            for (known, example) in &mut examples {
                match known {
                    Known::Identity => look_by_identity(example, stamped.at_ns, stamped.event),
                    Known::Offset => look_by_offset(example, stamped.at_ns, stamped.event),
                }
            }
            Ok(())
        })?;
    }
    for (_, example) in examples {
        let at_ns = example.acknowledged_ns.or(example.sent_ns);
        example.window = at_ns.and_then(|at_ns| window(at_ns, &faults));
    }
    findings.faults = faults;
    Ok(())
}

fn anomalies(findings: &mut Findings) -> [&mut Anomaly; 9] {
    [
        &mut findings.lost,
        &mut findings.log_duplicates,
        &mut findings.unexplained,
        &mut findings.not_repeated,
        &mut findings.reordered,
        &mut findings.corrupted,
        &mut findings.torn,
        &mut findings.never_sent,
        &mut findings.not_dense,
    ]
}

/// What an example is looked up by.
#[derive(Debug, Clone, Copy)]
enum Known {
    Identity,
    /// Its payload could not be read.
    Offset,
}

impl Known {
    fn of(example: &Example) -> Self {
        match example.sequence {
            Some(_) => Known::Identity,
            None => Known::Offset,
        }
    }
}

fn look_by_identity(example: &mut Example, at_ns: u64, event: Event) {
    let Some(sequence) = example.sequence else { return };
    let is_of = |run: Run| {
        run.partition == example.partition
            && example.producer == Some(run.producer)
            && (run.base_sequence..run.end_sequence()).contains(&sequence)
    };
    match event {
        Event::Sent(run) | Event::SentDamaged(run) if example.sent_ns.is_none() && is_of(run) => {
            example.sent_ns = Some(at_ns);
        }
        Event::Acknowledged { run, base_offset } if example.acknowledged_ns.is_none() && is_of(run) => {
            example.acknowledged_ns = Some(at_ns);
            // A lost record has no offset in the log; the acknowledgement promised one.
            let into = sequence - run.base_sequence;
            let promised = (base_offset >= 0).then(|| base_offset.saturating_add_unsigned(into));
            example.offset = example.offset.or(promised);
        }
        _ => {}
    }
}

/// A record without a readable identity is the one that was promised this offset last: a broker that cuts its log off gives
/// offsets again.
fn look_by_offset(example: &mut Example, at_ns: u64, event: Event) {
    let (Event::Acknowledged { run, base_offset }, Some(offset)) = (event, example.offset) else {
        return;
    };
    let is_promised = (base_offset..base_offset.saturating_add(i64::from(run.count))).contains(&offset);
    let is_later = example.acknowledged_ns.is_none_or(|earlier_ns| earlier_ns < at_ns);
    if run.partition == example.partition && is_promised && is_later {
        example.acknowledged_ns = Some(at_ns);
        example.producer = Some(run.producer);
        example.sequence = Some(run.base_sequence + offset.abs_diff(base_offset));
    }
}

/// The fault that a time falls to: the one that is on, else the next, else the last.
fn window(at_ns: u64, faults: &[FaultFound]) -> Option<Window> {
    let begun = faults.partition_point(|fault| fault.began_ns <= at_ns);
    let last = begun.checked_sub(1).map(|index| &faults[index]);
    let (fault, relation, from_ns) = match (last, faults.get(begun)) {
        (Some(on), _) if on.healed_ns.is_none_or(|healed_ns| at_ns < healed_ns) => (on, Relation::During, on.began_ns),
        (_, Some(next)) => (next, Relation::Before, next.began_ns),
        (Some(last), None) => (last, Relation::After, last.healed_ns.unwrap_or(last.began_ns)),
        (None, None) => return None,
    };
    Some(Window {
        fault: fault.fault,
        relation,
        distance_us: at_ns.abs_diff(from_ns) / 1000,
    })
}
