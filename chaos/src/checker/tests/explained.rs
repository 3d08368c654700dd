//! Duplicates against lost acknowledgements: explained, unexplained, missing, unknown.

use workloads::history::{Event, FaultKind, Healing};

use super::{History, acknowledged, delivered, judged, offsets, outcome, sent};
use crate::findings::{Findings, Outcome, Verdict};
use crate::render;
use crate::scenario::Scenario;

fn scenario(is_idempotent: bool) -> Scenario {
    let scenario = Scenario::load("lost-responses").unwrap();
    let mut scenario = scenario
        .with_idempotence(is_idempotent)
        .unwrap()
        .with_repeat(1)
        .unwrap();
    scenario.faults.truncate(1);
    scenario
}

/// The second batch is applied at offset 10, its acknowledgement is lost to the fault, and it is sent again; `log` is what a scan finds
/// behind the first batch, up to `end`.
fn history(again: bool, log: &[Event], end: i64) -> History {
    let kind = FaultKind::DropResponse;
    let healing = Healing::Recovered;
    let lost = Event::AnswerLost {
        fault: 1,
        run: offsets(10, 10),
    };
    let mut history = vec![
        (10, sent(0, 10)),
        (20, acknowledged(0, 10, 0)),
        (30, Event::FaultBegin { fault: 1, kind }),
        (31, sent(10, 10)),
        (32, lost),
        (33, Event::FaultBit { fault: 1, evidence: 1 }),
        (34, Event::FaultEnd { fault: 1, healing }),
        (40, sent(10, 10)),
    ];
    if again {
        history.push((50, acknowledged(10, 10, 20)));
    }
    history.push((51, sent(20, 5)));
    history.push((60, acknowledged(20, 5, -1)));
    let (partition, offset) = (0, 0);
    history.push((100, Event::ReadBegin { partition, offset }));
    history.push((101, delivered(0, 10, 0)));
    history.extend(log.iter().map(|&event| (102, event)));
    let next_offset = end;
    history.push((103, Event::ReadEnd { partition, next_offset }));
    history
}

fn found(is_idempotent: bool, history: &History) -> Findings {
    judged(history, &scenario(is_idempotent)).unwrap()
}

/// The log with the second batch twice, and with it once.
fn twice() -> [Event; 3] {
    [delivered(10, 10, 10), delivered(10, 10, 20), delivered(20, 5, 30)]
}

fn once() -> [Event; 2] {
    [delivered(10, 10, 10), delivered(20, 5, 20)]
}

#[test]
fn without_idempotence_each_lost_acknowledgement_is_one_duplicate() {
    let findings = found(false, &history(true, &twice(), 35));
    assert_eq!(findings.verdict, Verdict::Holds, "{}", render::text(&findings, false));
    assert_eq!(
        (findings.log_duplicates.count, findings.resent, findings.answers_lost),
        (10, 10, 1)
    );
    let fault = &findings.faults[0];
    assert_eq!(
        (fault.kind, fault.answers_lost, fault.duplicates),
        (FaultKind::DropResponse, 1, 10)
    );
    let text = render::text(&findings, false);
    let named = "fault 1, drop-response: producer 1, partition 0, sequences 10 to 19: 10 acknowledged when sent again, 10 twice";
    assert!(text.contains(named), "{text}");
    assert_eq!(
        findings.log_duplicates.examples[0].detail,
        "its acknowledgement was lost to fault 1"
    );
}

#[test]
fn one_duplicate_more_or_less_is_a_violation() {
    let mut more = twice().to_vec();
    more.push(delivered(2, 1, 35));
    let mut less = twice().to_vec();
    less[1] = delivered(10, 9, 20);
    less[2] = delivered(20, 5, 29);
    for (log, end, (unexplained, missing)) in [(more, 36, (1, 0)), (less, 34, (0, 1))] {
        let findings = found(false, &history(true, &log, end));
        assert_eq!(
            (findings.unexplained.count, findings.not_repeated.count),
            (unexplained, missing)
        );
        assert_eq!(outcome(&findings, "log_duplicates"), Outcome::Violated);
        let text = render::text(&findings, false);
        assert!(text.contains("log_duplicates: 1 in all"), "{text}");
    }
}

#[test]
fn what_was_never_acknowledged_is_not_foretold_and_what_was_not_followed_is_unknown() {
    let findings = found(false, &history(false, &once(), 25));
    assert_eq!(outcome(&findings, "log_duplicates"), Outcome::Holds);
    assert_eq!(
        (findings.resent, outcome(&findings, "resent_after_loss")),
        (0, Outcome::Unknown)
    );

    let mut history = history(true, &twice(), 35);
    history.insert(0, (5, Event::AnswersUnknown { answers: 1 }));
    let findings = found(false, &history);
    assert_eq!(outcome(&findings, "log_duplicates"), Outcome::Unknown);
}

#[test]
fn with_idempotence_nothing_may_come_twice_and_the_fault_is_blamed() {
    let findings = found(true, &history(true, &once(), 25));
    assert_eq!((findings.verdict, findings.resent), (Verdict::Holds, 10));
    assert_eq!(findings.not_repeated.count, 0);

    let findings = found(true, &history(true, &twice(), 35));
    assert_eq!(findings.names(Outcome::Violated), ["log_duplicates"]);
    let text = render::text(&findings, false);
    assert!(
        text.contains("sequences 10 to 19, offset 20, its acknowledgement was lost to fault 1"),
        "{text}"
    );
}
