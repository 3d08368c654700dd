//! What members and their coordinator said to each other, beside what was done to them: for readers, as no verdict stands on it.

use std::path::Path;

use workloads::history::{Event, Healing, HistoryReader};

use crate::checker::history_files;
use crate::proxy::{Mark, Trace};
use crate::run::{EVIDENCE_FILE, FAULTS_FILE, FaultEvidence, HISTORIES_FOLDER, RunError, write_text};

/// A line for each step, with the triggers between them, in the run folder.
pub const PROTOCOL_FILE: &str = "protocol.txt";
/// A row for each step ([`Trace::csv`]), in the run folder.
pub const PROTOCOL_TABLE: &str = "protocol.csv";

/// Writes both files into a run folder, whose histories say what was done when. A run that ended early has fewer of them, and a trace all the same.
///
/// # Errors
/// A file can't be written.
pub fn write_protocol(folder: &Path, trace: &Trace) -> Result<(), RunError> {
    let mut marks = members_began(folder);
    let first_step = trace.steps.iter().map(|step| step.asked_ns);
    // Every member's first event is that it begins, and nothing in a run with a group comes before the first of them.
    let start_ns = marks.iter().map(|mark| mark.at_ns).chain(first_step).min().unwrap_or(0);
    marks.extend(faults(folder));
    marks.sort_by_key(|mark| mark.at_ns);
    write_text(&folder.join(PROTOCOL_FILE), &trace.text(start_ns, &marks))?;
    write_text(&folder.join(PROTOCOL_TABLE), &trace.csv(start_ns))
}

/// When each member began, by the first event of its history. What can't be read is left out here, and told by the checker.
fn members_began(folder: &Path) -> Vec<Mark> {
    let files = history_files(folder).unwrap_or_default();
    let firsts = files
        .iter()
        .filter_map(|path| HistoryReader::open(path).ok()?.next()?.ok());
    let began = firsts.filter_map(|first| match first.event {
        Event::MemberBegan { member, slot, process } => Some(Mark {
            at_ns: first.at_ns,
            what: format!("member {member} begins in slot {slot}, process {process}"),
        }),
        _ => None,
    });
    began.collect()
}

/// The timeline of triggers, with what was seen of each.
fn faults(folder: &Path) -> Vec<Mark> {
    let evidence: Vec<FaultEvidence> = std::fs::read_to_string(folder.join(EVIDENCE_FILE))
        .ok()
        .and_then(|text| serde_json::from_str(&text).ok())
        .unwrap_or_default();
    let seen = |fault: u32| {
        let found = evidence.iter().find(|one| one.fault == fault);
        found.map_or(String::new(), |one| format!(": {}", one.evidence.what))
    };
    let Ok(events) = HistoryReader::open(&folder.join(HISTORIES_FOLDER).join(FAULTS_FILE)) else {
        return Vec::new();
    };
    let marks = events.map_while(Result::ok).filter_map(|stamped| {
        let what = match stamped.event {
            Event::FaultBegin { fault, kind } => format!("fault {fault}: {}", kind.name()),
            Event::FaultAimed { fault, member } => format!("fault {fault} is aimed at member {member}"),
            Event::FaultBit { fault, evidence: 0 } => format!("fault {fault} has not bitten{}", seen(fault)),
            Event::FaultBit { fault, .. } => format!("fault {fault} has bitten{}", seen(fault)),
            Event::FaultEnd { fault, healing } => match healing {
                Healing::Recovered => format!("fault {fault} is healed"),
                Healing::DidNotStart => format!("fault {fault} could not be healed"),
            },
            Event::Crashed => "a process ended by itself".to_owned(),
            _ => return None,
        };
        let at_ns = stamped.at_ns;
        Some(Mark { at_ns, what })
    });
    marks.collect()
}

#[cfg(test)]
mod tests {
    use workloads::history::{FaultKind, HistoryWriter, monotonic_ns};

    use super::*;
    use crate::cluster::Evidence;
    use crate::proxy::{Act, Step};
    use crate::run::{member_history, write_json};

    fn step(what: &str) -> Step {
        let now = monotonic_ns();
        Step {
            asked_ns: now,
            answered_ns: now,
            connection: 1,
            client: "assay-member-1".to_owned(),
            api: "JoinGroup",
            group: "readers".to_owned(),
            member: "m-1".to_owned(),
            epoch: Some(1),
            error: 0,
            act: Act::Joins,
            asked: what.to_owned(),
            answered: String::new(),
            is_lost: false,
        }
    }

    #[test]
    fn what_was_done_stands_between_what_was_said() {
        let folder = tempfile::tempdir().unwrap();
        let histories = folder.path().join(HISTORIES_FOLDER);
        std::fs::create_dir(&histories).unwrap();
        let began = Event::MemberBegan {
            member: 1,
            slot: 0,
            process: 77,
        };
        let mut member = HistoryWriter::create(&histories.join(member_history(1))).unwrap();
        member.append(began).unwrap();
        // A process that was killed before it wrote anything.
        std::fs::write(histories.join(member_history(2)), "").unwrap();
        let mut trace = Trace::default();
        trace.steps.push(step("asks to join"));
        let mut faults = HistoryWriter::create(&histories.join(FAULTS_FILE)).unwrap();
        let kind = FaultKind::Kill;
        for event in [
            Event::FaultBegin { fault: 1, kind },
            Event::FaultAimed { fault: 1, member: 2 },
            Event::FaultBit { fault: 1, evidence: 1 },
        ] {
            faults.append(event).unwrap();
        }
        trace.steps.push(step("asks to join with its id"));
        let healing = Healing::Recovered;
        faults.append(Event::FaultEnd { fault: 1, healing }).unwrap();
        let evidence = Evidence {
            count: 1,
            what: "process 78 ended by signal 9".to_owned(),
        };
        let evidence = FaultEvidence {
            fault: 1,
            evidence,
            ready_after_ms: None,
        };
        write_json(&folder.path().join(EVIDENCE_FILE), &[evidence]).unwrap();

        write_protocol(folder.path(), &trace).unwrap();
        let text = std::fs::read_to_string(folder.path().join(PROTOCOL_FILE)).unwrap();
        let mut lines = text
            .lines()
            .filter(|line| !line.starts_with('#') && !line.contains(" == "));
        for part in [
            "    0.000 s  ** member 1 begins in slot 0, process 77",
            "JoinGroup [1]  asks to join",
            "** fault 1: kill",
            "** fault 1 is aimed at member 2",
            "** fault 1 has bitten: process 78 ended by signal 9",
            "JoinGroup [1]  asks to join with its id",
            "** fault 1 is healed",
        ] {
            assert!(lines.next().is_some_and(|line| line.contains(part)), "{part}:\n{text}");
        }
        let table = std::fs::read_to_string(folder.path().join(PROTOCOL_TABLE)).unwrap();
        assert_eq!(table.lines().count(), 3, "{table}");
    }

    #[test]
    fn a_run_that_ended_early_has_a_trace_all_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let mut trace = Trace::default();
        trace.steps.push(step("asks to join"));
        write_protocol(folder.path(), &trace).unwrap();
        let text = std::fs::read_to_string(folder.path().join(PROTOCOL_FILE)).unwrap();
        assert!(
            text.contains("\n    0.000 s  assay-member-1  JoinGroup [1]  asks to join\n"),
            "{text}"
        );
    }
}
