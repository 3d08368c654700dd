//! Claims that go along a factor, claims of a limit, and what is said of both.

use results::analysis::{Analysis, ClaimFinding, analyse};
use results::reader::Run;
use results::verdict::Verdict;
use tempfile::TempDir;

use crate::partitions::{Shape, write};

fn analysed(shape: &Shape, break_arm: Option<&str>) -> Analysis {
    let dir = TempDir::new().unwrap();
    write(dir.path(), shape, break_arm);
    analyse(&Run::open(dir.path()).unwrap())
}

fn found<'a>(analysis: &'a Analysis, id: &str) -> &'a ClaimFinding {
    let claims = &analysis.experiments[0].claims;
    claims.iter().find(|found| found.claim.id() == id).unwrap()
}

#[test]
fn what_is_kept_is_judged_within_blocks() {
    let analysis = analysed(&Shape::crossing(), None);
    let keeps = found(&analysis, "commit-keeps");
    assert_eq!((keeps.verdict, keeps.cells.len()), (Verdict::Confirmed, 1));
    let ratio = keeps.cells[0].ratio.as_ref().unwrap();
    // Blocks differ by far more than the arms of one.
    assert!((0.98..1.02).contains(&ratio.ratio()), "{}", ratio.ratio());
    assert!(
        keeps
            .reason
            .starts_with("Confirmed in the one cell measured. Throughput of commit-log: 10")
            && keeps
                .reason
                .ends_with("of what it reaches at 1 partition (partitions 4096, every-batch)."),
        "{}",
        keeps.reason
    );
    let partition = found(&analysis, "partition-keeps");
    assert_eq!((partition.verdict, partition.cells.len()), (Verdict::Conditional, 3));
    assert!(
        partition.reason.contains("up to 16 partitions (above: refuted)")
            && partition.reason.contains("from 10 % (")
            && partition.reason.contains("(partitions 4096, every-batch) to 10"),
        "{}",
        partition.reason
    );
    let ahead = found(&analysis, "ahead");
    assert_eq!(ahead.verdict, Verdict::Conditional);
    assert!(
        ahead.reason.contains("from 256 partitions on (below: equivalent)"),
        "{}",
        ahead.reason
    );
}

#[test]
fn a_limit_is_reached_or_not_and_a_cost_is_turned_round() {
    let verdicts = |of_limit: f64| {
        let shape = Shape {
            of_limit,
            ..Shape::crossing()
        };
        let analysis = analysed(&shape, None);
        let of = |id: &str| {
            let found = found(&analysis, id);
            (found.verdict, found.cells.len())
        };
        (of("rate-of-limit"), of("cost-of-limit"))
    };
    // Only where a bare loop ran: at one partition, with each policy.
    assert_eq!(verdicts(0.8), ((Verdict::Confirmed, 2), (Verdict::Confirmed, 2)));
    assert_eq!(verdicts(0.5), ((Verdict::Refuted, 2), (Verdict::Refuted, 2)));
    let analysis = analysed(&Shape::crossing(), None);
    let cost = found(&analysis, "cost-of-limit");
    let ratio = cost.cells[0].ratio.as_ref().unwrap().ratio();
    assert!((1.2..1.3).contains(&ratio), "the figure itself is not turned: {ratio}");
    assert!(cost.reason.contains("of the bare loop's"), "{}", cost.reason);
}

#[test]
fn an_arm_that_failed_its_check_keeps_nothing() {
    let broken = "bundled/Measured/partition-log/1/every-batch";
    let analysis = analysed(&Shape::crossing(), Some(broken));
    assert_eq!(found(&analysis, "partition-keeps").verdict, Verdict::Invalid);
    assert_eq!(found(&analysis, "commit-keeps").verdict, Verdict::Confirmed);
}

#[test]
fn a_claim_of_what_was_not_measured_says_so() {
    let analysis = analysed(&Shape::crossing(), None);
    assert_eq!(analysis.experiments[1].claims.len(), 0);
    let dir = TempDir::new().unwrap();
    write(dir.path(), &Shape::crossing(), None);
    let mut run = Run::open(dir.path()).unwrap();
    run.trials.retain(|row| row.factors["partitions"] != "4096");
    let analysis = analyse(&run);
    let keeps = found(&analysis, "commit-keeps");
    assert_eq!(
        (keeps.verdict, keeps.reason.as_str()),
        (Verdict::Inconclusive, "No cell of this run measures it.")
    );
}
