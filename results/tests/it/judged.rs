//! Synthetic runs with known answers, from the files to the verdict: one test per verdict, and the ways in which a run
//! can be spoiled.

use std::path::Path;

use results::analysis::{Analysis, ExperimentAnalysis, analyse};
use results::reader::Run;
use results::schema::{ClaimCard, Factors, LedgerEntry, Measurement, SeriesPoint};
use results::verdict::Verdict;
use tempfile::TempDir;

use crate::synthetic::{Truth, at_least, counts, faster, write_run};

fn read(dir: &Path) -> ExperimentAnalysis {
    let Analysis {
        mut experiments, notes, ..
    } = analyse(&Run::open(dir).unwrap());
    assert_eq!(notes, Vec::<String>::new());
    assert_eq!(experiments.len(), 1);
    experiments.remove(0)
}

fn analysed(truth: &Truth, claims: Vec<ClaimCard>) -> ExperimentAnalysis {
    let dir = TempDir::new().unwrap();
    write_run(dir.path(), truth, claims);
    read(dir.path())
}

/// The verdict and reason of the only claim.
fn answer(truth: &Truth, claim: ClaimCard) -> (Verdict, String) {
    let analysis = analysed(truth, vec![claim]);
    (analysis.claims[0].verdict, analysis.claims[0].reason.clone())
}

#[test]
fn confirmed() {
    let (verdict, reason) = answer(&Truth::one_cell(1.9), faster());
    assert_eq!(verdict, Verdict::Confirmed);
    assert_eq!(
        reason,
        "Confirmed in the one cell measured. sendfile reaches 1.90x (1.88–1.92) the throughput of read-write at 64 \
         KiB, discard, hot."
    );
}

#[test]
fn refuted() {
    let (verdict, reason) = answer(&Truth::one_cell(0.6), faster());
    assert_eq!(verdict, Verdict::Refuted);
    assert!(
        reason.starts_with("Refuted in the one cell measured. sendfile reaches 0.60"),
        "{reason}"
    );
}

#[test]
fn a_claimed_size_is_refuted_by_a_smaller_gain() {
    assert_eq!(answer(&Truth::one_cell(1.3), at_least(1.6)).0, Verdict::Refuted);
    assert_eq!(answer(&Truth::one_cell(1.9), at_least(1.6)).0, Verdict::Confirmed);
}

#[test]
fn equivalent() {
    let (verdict, reason) = answer(&Truth::one_cell(1.0), faster());
    assert_eq!(verdict, Verdict::Equivalent);
    assert!(
        reason.starts_with("No difference beyond 5 % in the one cell measured."),
        "{reason}"
    );
}

#[test]
fn inconclusive() {
    let (verdict, reason) = answer(
        &Truth {
            noise: 0.6,
            ..Truth::one_cell(1.1)
        },
        faster(),
    );
    assert_eq!(verdict, Verdict::Inconclusive);
    assert!(reason.contains("the interval is too wide"), "{reason}");
}

fn crossing() -> Truth {
    Truth {
        cells: vec![
            ("4096", "discard", "hot", vec![("sendfile", 1.0)]),
            ("65536", "discard", "hot", vec![("sendfile", 1.5)]),
            ("1048576", "discard", "hot", vec![("sendfile", 2.0)]),
            ("4096", "copy", "hot", vec![("sendfile", 0.7)]),
            ("65536", "copy", "hot", vec![("sendfile", 0.7)]),
            ("1048576", "copy", "hot", vec![("sendfile", 0.6)]),
        ],
        ..Truth::one_cell(1.0)
    }
}

#[test]
fn conditional_names_the_crossover() {
    let (verdict, reason) = answer(&crossing(), faster());
    assert_eq!(verdict, Verdict::Conditional);
    let crossover = "Confirmed in 2 of 6 cells: from 64 KiB on when receiver=discard (below: equivalent); not when \
                     receiver=copy (refuted).";
    assert!(reason.starts_with(crossover), "{reason}");
    assert!(reason.contains("at 1 MiB, copy, hot to 2.0"), "{reason}");
}

#[test]
fn counts_are_judged_per_level() {
    assert_eq!(answer(&crossing(), counts()).0, Verdict::Confirmed);
    let wrong = |read_write: f64, sendfile: f64| ClaimCard::Counts {
        id: "wrong".into(),
        text: "wrong".into(),
        metric: "mode_switches_per_response".into(),
        expected: [("read-write".to_owned(), read_write), ("sendfile".to_owned(), sendfile)].into(),
        only: Factors::new(),
    };
    let (verdict, reason) = answer(&crossing(), wrong(4.0, 3.0));
    assert_eq!(verdict, Verdict::Conditional);
    assert_eq!(
        reason,
        "Confirmed in 6 of 12 arms: at every size measured when fetch.path=read-write; not when fetch.path=sendfile \
         (refuted). Claimed: 4 for read-write, 3 for sendfile. Found: 4 for read-write, 2 for sendfile."
    );
    assert_eq!(answer(&crossing(), wrong(5.0, 3.0)).0, Verdict::Refuted);
}

#[test]
fn a_figure_of_a_level_is_judged_by_itself() {
    let reaches = |metric: &str, bound: f64| ClaimCard::Reaches {
        id: "figure".into(),
        text: "a figure".into(),
        metric: metric.into(),
        level: "sendfile".into(),
        bound,
        only: Factors::new(),
    };
    let truth = Truth::one_cell(1.9);
    let analysis = analysed(&truth, vec![faster()]);
    let figure = |metric: &str| analysis.cells[0].arm("sendfile").unwrap().metrics[metric].summary.mean;
    let (rate, cpu) = (figure("throughput"), figure("broker_cpu_s_per_gb"));
    for (metric, bound, verdict) in [
        ("throughput", rate * 0.5, Verdict::Confirmed),
        ("throughput", rate * 2.0, Verdict::Refuted),
        ("throughput", rate, Verdict::Inconclusive),
        ("broker_cpu_s_per_gb", cpu * 2.0, Verdict::Confirmed),
        ("broker_cpu_s_per_gb", cpu * 0.5, Verdict::Refuted),
    ] {
        assert_eq!(answer(&truth, reaches(metric, bound)).0, verdict, "{metric} {bound}");
    }
    let (_, reason) = answer(&truth, reaches("throughput", 1.0));
    assert!(
        reason.contains("Claimed of sendfile: at least 1 MB/s. Found: ") && reason.ends_with(")."),
        "{reason}"
    );
    let (_, reason) = answer(&truth, reaches("broker_cpu_s_per_gb", 1_000.0));
    assert!(reason.contains("at most 1,000 s/GB"), "{reason}");
}

#[test]
fn nothing_against_something_is_beyond_every_margin() {
    let cheaper = |level: &str| ClaimCard::Faster {
        id: "cheaper".into(),
        text: "cheaper".into(),
        metric: "broker_cpu_s_per_gb".into(),
        level: level.into(),
        only: Factors::new(),
    };
    let truth = Truth {
        cells: vec![(
            "65536",
            "discard",
            "hot",
            vec![("sendfile", f64::INFINITY), ("mmap", 1.9)],
        )],
        ..Truth::one_cell(1.0)
    };
    let (verdict, _) = answer(&truth, cheaper("sendfile"));
    assert_eq!(
        verdict,
        Verdict::Confirmed,
        "it takes no CPU time at all, and has no ratio"
    );
    assert_eq!(answer(&truth, cheaper("mmap")).0, Verdict::Confirmed);
}

#[test]
fn a_control_beyond_the_margin_makes_it_invalid_but_for_counts() {
    let noisy = Truth {
        control: 1.3,
        ..Truth::one_cell(1.9)
    };
    let (verdict, reason) = answer(&noisy, faster());
    assert_eq!(verdict, Verdict::Invalid);
    assert!(reason.contains("of its twin although both are the same"), "{reason}");
    assert_eq!(answer(&noisy, counts()).0, Verdict::Confirmed);
}

#[test]
fn a_failed_ledger_makes_its_cell_invalid_and_takes_its_figures() {
    let dir = TempDir::new().unwrap();
    let mut writer = write_run(dir.path(), &crossing(), vec![faster()]);
    let arm = "sendfile/4096/copy/hot";
    let entry = LedgerEntry {
        experiment: "zero-copy".into(),
        trial: 0,
        arm: arm.into(),
        check: "dense_offsets".into(),
        expected: "1000".into(),
        observed: "999".into(),
        ok: false,
    };
    writer.ledger(&[entry]).unwrap();
    let analysis = read(dir.path());
    assert_eq!(analysis.claims[0].verdict, Verdict::Invalid);
    assert_eq!(
        analysis.claims[0].reason.split(". ").next().unwrap(),
        "An arm failed its ledger check at 4 KiB, copy, hot, so nothing is claimed"
    );
    let (_, broken) = analysis.arms().find(|(_, found)| found.arm == arm).unwrap();
    assert!(broken.metrics.is_empty(), "a run with loss has no throughput");
    let invalid = analysis.claims[0]
        .cells
        .iter()
        .filter(|cell| cell.judgement.verdict == Verdict::Invalid)
        .count();
    assert_eq!(invalid, 1, "the other cells keep their verdicts");
    assert!(
        analysis
            .notes
            .iter()
            .any(|note| note.contains("dense_offsets: expected 1000, found 999"))
    );
}

/// A run whose control is a noisy twin: the interval of their ratio reaches far.
fn write_with_noisy_twin(dir: &Path, truth: &Truth, claim: ClaimCard) {
    let mut writer = write_run(dir, truth, vec![claim]);
    let plan = Run::open(dir).unwrap().plan;
    let controls = plan.iter().filter(|trial| trial.arm.starts_with("control/"));
    for (index, trial) in controls.enumerate() {
        let wild = if index % 2 == 0 { 20_000.0 } else { 1_000.0 };
        writer
            .trial(&[Measurement::of(trial, "bundled", "throughput", "MB/s", wild, &[])])
            .unwrap();
    }
}

#[test]
fn an_effect_below_the_spread_of_equal_arms_is_not_called_one() {
    // The control is a noisy twin: its interval reaches far beyond the effect, which itself is measured sharply.
    let dir = TempDir::new().unwrap();
    write_with_noisy_twin(dir.path(), &Truth::one_cell(1.15), faster());
    let analysis = read(dir.path());
    assert_eq!(analysis.claims[0].verdict, Verdict::Inconclusive);
    assert!(
        analysis.claims[0]
            .reason
            .contains("smaller than what two equal arms may differ by")
    );
}

/// "Over all cells together it is at least `ratio` times as fast".
fn together(ratio: f64) -> ClaimCard {
    let mut claim = at_least(ratio);
    if let ClaimCard::AtLeast { together, .. } = &mut claim {
        *together = true;
    }
    claim
}

/// Three cells around 1.57, their geometric mean.
fn around() -> Truth {
    let cell = |size, ratio| (size, "discard", "hot", vec![("sendfile", ratio)]);
    Truth {
        cells: vec![cell("65536", 1.6), cell("4096", 1.2), cell("1048576", 2.0)],
        ..Truth::one_cell(1.0)
    }
}

#[test]
fn cells_can_be_judged_together() {
    assert_eq!(answer(&around(), at_least(1.4)).0, Verdict::Conditional);
    let (verdict, reason) = answer(&around(), together(1.4));
    assert_eq!(verdict, Verdict::Confirmed);
    assert!(
        reason.starts_with(
            "Confirmed over all 3 cells together. As a geometric mean, sendfile reaches 1.57x (1.56–1.58) the throughput of read-write."
        ),
        "{reason}"
    );
    assert_eq!(answer(&around(), together(1.8)).0, Verdict::Refuted);
    let noisy = Truth { noise: 0.5, ..around() };
    assert_eq!(answer(&noisy, together(1.5)).0, Verdict::Inconclusive);
}

#[test]
fn an_effect_over_all_cells_below_the_spread_of_equal_arms_is_not_called_one() {
    let dir = TempDir::new().unwrap();
    write_with_noisy_twin(dir.path(), &around(), together(1.4));
    let claim = read(dir.path()).claims.remove(0);
    assert_eq!(claim.verdict, Verdict::Inconclusive);
    assert!(
        claim.reason.contains("smaller than what equal arms may differ by"),
        "{}",
        claim.reason
    );
}

#[test]
fn an_arm_that_lost_records_spoils_what_is_judged_together() {
    let dir = TempDir::new().unwrap();
    let mut writer = write_run(dir.path(), &around(), vec![together(1.4)]);
    let entry = LedgerEntry {
        experiment: "zero-copy".into(),
        trial: 0,
        arm: "sendfile/65536/discard/hot".into(),
        check: "dense_offsets".into(),
        expected: "1000".into(),
        observed: "999".into(),
        ok: false,
    };
    writer.ledger(&[entry]).unwrap();
    assert_eq!(read(dir.path()).claims[0].verdict, Verdict::Invalid);
}

#[test]
fn failed_trials_drop_their_block_and_are_counted() {
    let dir = TempDir::new().unwrap();
    let truth = Truth::one_cell(1.9);
    let mut writer = write_run(dir.path(), &truth, vec![faster()]);
    let mut planned = Run::open(dir.path()).unwrap().plan[1].clone();
    assert_eq!(planned.arm, "sendfile/65536/discard/hot");
    planned.block = truth.blocks;
    planned.trial = 1_000;
    writer
        .trial(&[Measurement::failed(&planned, "bundled", "the broker did not start")])
        .unwrap();
    let analysis = read(dir.path());
    assert_eq!(analysis.failed.len(), 1);
    assert_eq!(analysis.failed[0].reason, "the broker did not start");
    let (_, arm) = analysis.arms().find(|(_, arm)| arm.level == "sendfile").unwrap();
    let estimate = arm.metrics["throughput"].to_baseline.as_ref().unwrap();
    assert_eq!((arm.failed, estimate.blocks(), estimate.dropped), (1, 10, 1));
}

#[test]
fn the_limit_is_compared_in_the_same_block() {
    let analysis = analysed(
        &Truth {
            limits: true,
            ..Truth::one_cell(1.9)
        },
        vec![faster()],
    );
    let share = |level: &str| {
        let arm = analysis.cells[0].arm(level).unwrap();
        arm.metrics["throughput"].to_limit.as_ref().unwrap().ratio()
    };
    assert!((share("sendfile") - 1.0 / 1.1).abs() < 0.02, "{}", share("sendfile"));
    assert!(
        (share("read-write") - 1.0 / 1.15).abs() < 0.02,
        "{}",
        share("read-write")
    );
    assert_eq!(analysis.cells[0].limits.len(), 2);
}

#[test]
fn lower_is_better_is_turned_round() {
    let claim = ClaimCard::Faster {
        id: "cpu".into(),
        text: "sendfile needs less CPU".into(),
        metric: "broker_cpu_s_per_gb".into(),
        level: "sendfile".into(),
        only: Factors::new(),
    };
    let (verdict, reason) = answer(&Truth::one_cell(2.0), claim);
    assert_eq!(verdict, Verdict::Confirmed);
    assert!(
        reason.contains("sendfile takes 0.498x (0.493–0.503)") && reason.contains("the broker CPU of read-write"),
        "{reason}"
    );
}

#[test]
fn a_claim_that_nothing_measures_is_not_confirmed() {
    let claim = ClaimCard::Faster {
        id: "other".into(),
        text: "splice is faster".into(),
        metric: "throughput".into(),
        level: "splice".into(),
        only: Factors::new(),
    };
    assert_eq!(
        answer(&Truth::one_cell(2.0), claim),
        (Verdict::Inconclusive, "No cell of this run measures it.".into())
    );
}

#[test]
fn an_empty_run_is_inconclusive_and_nothing_breaks() {
    let analysis = analysed(
        &Truth {
            blocks: 0,
            ..Truth::one_cell(2.0)
        },
        vec![faster(), counts()],
    );
    assert!(analysis.cells.is_empty());
    assert!(
        analysis
            .claims
            .iter()
            .all(|claim| claim.verdict == Verdict::Inconclusive)
    );
}

#[test]
fn one_block_gives_no_interval_and_no_verdict() {
    let analysis = analysed(
        &Truth {
            blocks: 1,
            ..Truth::one_cell(2.0)
        },
        vec![faster()],
    );
    assert_eq!(analysis.claims[0].verdict, Verdict::Inconclusive);
    assert_eq!(analysis.cells[0].arms[0].metrics["throughput"].summary.interval, None);
}

#[test]
fn a_run_that_was_cut_off_says_so() {
    let dir = TempDir::new().unwrap();
    let mut writer = write_run(dir.path(), &Truth::one_cell(2.0), vec![faster()]);
    let mut planned = Run::open(dir.path()).unwrap().plan[0].clone();
    planned.trial = 999;
    writer.plan(&[planned]).unwrap();
    let notes = read(dir.path()).notes;
    assert_eq!(notes, ["1 of 31 planned trials are missing: the run was cut off."]);
}

#[test]
fn drift_within_the_window_and_flags_are_told() {
    let dir = TempDir::new().unwrap();
    let mut writer = write_run(dir.path(), &Truth::one_cell(2.0), vec![faster()]);
    let plan = Run::open(dir.path()).unwrap().plan;
    for trial in &plan {
        let drifts = trial.arm.starts_with("sendfile");
        let points: Vec<SeriesPoint> = (0..9_u32)
            .map(|index| SeriesPoint {
                experiment: trial.experiment.clone(),
                trial: trial.trial,
                role: "client".into(),
                metric: "throughput".into(),
                unit: "MB/s".into(),
                at_ms: u64::from(index) * 100,
                value: if drifts {
                    1_000.0 - 50.0 * f64::from(index)
                } else {
                    1_000.0 + f64::from(index % 2)
                },
            })
            .collect();
        writer.series(&points).unwrap();
    }
    let flags = ["steal".to_owned()];
    writer
        .trial(&[Measurement::of(&plan[0], "bundled", "steal_share", "", 0.2, &flags)])
        .unwrap();
    let analysis = read(dir.path());
    assert_eq!(analysis.unsteady.len(), 1);
    assert_eq!(analysis.unsteady[0].arm, "sendfile/65536/discard/hot");
    // The last three of nine intervals average 650, the first three 950.
    assert!((analysis.unsteady[0].drift.ratio() - 650.0 / 950.0).abs() < 1e-9);
    assert_eq!(analysis.flagged, [("steal".to_owned(), 1)].into());
    assert_eq!(analysis.notes, ["1 of 30 trials is flagged `steal`; it is kept."]);
}
