//! Several targets: cards beside each other, targets compared with each other or not, absent figures, facts, phases, traces.

use std::fs;
use std::path::Path;

use results::analysis::{Analysis, analyse};
use results::reader::Run;
use results::report::render;
use results::schema::{FactVerdict, LedgerEntry, Measurement, file};
use results::tables;
use results::verdict::Verdict;
use tempfile::TempDir;

use crate::synthetic::Truth;
use crate::targets::{
    CLASS, add_phases_and_traces, fact, facts, loads, two_cards, write_everything, write_facts, write_head_to_head,
    write_two_cards,
};

fn read(dir: &Path) -> Analysis {
    analyse(&Run::open(dir).unwrap())
}

fn near(found: f64, truth: f64) {
    assert!((found / truth - 1.0).abs() < 0.1, "{found} is not near {truth}");
}

#[test]
fn every_card_has_the_rows_of_its_own_target() {
    let dir = TempDir::new().unwrap();
    write_two_cards(dir.path(), CLASS, true);
    let analysis = read(dir.path());
    let targets: Vec<&str> = analysis
        .experiments
        .iter()
        .map(|experiment| experiment.target.as_str())
        .collect();
    assert_eq!(targets, ["bundled", "kafka"]);
    let [bundled, kafka] = &analysis.experiments[..] else {
        panic!("two cards")
    };
    assert_eq!((bundled.cells.len(), kafka.cells.len()), (2, 1));
    let ratio = kafka.cells[0].arm("plain").unwrap().metrics["throughput"]
        .to_baseline
        .as_ref();
    near(ratio.unwrap().ratio(), 2.5);
    assert_eq!(kafka.claims[0].verdict, Verdict::Confirmed);
    assert_eq!(bundled.claims.len(), 2);
    // The limit is of the bundled broker's treatment; it is no arm of the listener's.
    assert_eq!((bundled.cells[0].limits.len(), kafka.cells[0].limits.len()), (1, 0));
    assert_eq!((bundled.controls.len(), kafka.controls.len()), (1, 1));
    assert_eq!(
        (&bundled.notes, &kafka.notes),
        (&vec![], &vec![]),
        "no trial is missing"
    );
    assert_eq!(analysis.notes, Vec::<String>::new());
}

#[test]
fn across_targets_arms_are_paired_with_the_first_baseline() {
    let dir = TempDir::new().unwrap();
    write_two_cards(dir.path(), CLASS, true);
    let analysis = read(dir.path());
    let [beside] = &analysis.beside[..] else {
        panic!("one experiment has two cards")
    };
    assert_eq!(
        (beside.experiment.as_str(), &beside.members),
        ("zero-copy", &vec![0, 1])
    );
    assert_eq!(beside.cells.iter().map(|cell| cell.cards()).collect::<Vec<_>>(), [2, 1]);
    let across: Vec<_> = beside.cells[0]
        .arms
        .iter()
        .map(|arm| (arm.experiment, arm.is_limit, arm.to_first.get("throughput")))
        .collect();
    let of_kafka: Vec<f64> = across
        .iter()
        .filter_map(|(_, _, ratio)| Some((*ratio)?.ratio()))
        .collect();
    near(of_kafka[0], 0.5);
    near(of_kafka[1], 1.25);
    // The weather of a block is 15 %, the noise of a trial 1 %: only pairs inside the blocks are as sharp as this.
    let (low, high) = across[2].2.unwrap().interval();
    assert!(high / low < 1.05, "{low} to {high}");
    assert_eq!(
        across
            .iter()
            .map(|(member, is_limit, _)| (*member, *is_limit))
            .collect::<Vec<_>>(),
        [(0, false), (0, false), (1, false), (1, false), (0, true)]
    );
}

#[test]
fn targets_of_another_durability_class_keep_their_own_ratios_only() {
    let dir = TempDir::new().unwrap();
    write_two_cards(dir.path(), "flush every batch", true);
    let analysis = read(dir.path());
    let beside = &analysis.beside[0];
    assert!(
        beside
            .cells
            .iter()
            .flat_map(|cell| &cell.arms)
            .all(|arm| arm.to_first.is_empty())
    );
    let why = "bundled and kafka are not compared: the durability class of bundled is \"flush never, acks 1, one replica\", \
               that of kafka is \"flush every batch\".";
    assert_eq!(beside.incomparable, [why]);
    assert_eq!(analysis.experiments[1].claims[0].verdict, Verdict::Confirmed);
    for text in [
        tables::markdown(&analysis),
        tables::terminal(&analysis, false, Some(1000)),
    ] {
        let flat = text.replace('\n', " ").replace("      ", "");
        assert!(
            flat.contains("flush every batch") && flat.contains("are not compared"),
            "{text}"
        );
    }
}

#[test]
fn trials_that_no_card_asks_for_are_told() {
    let dir = TempDir::new().unwrap();
    let mut writer = write_two_cards(dir.path(), CLASS, true);
    let planned = Run::open(dir.path()).unwrap().plan[0].clone();
    let stray = |metric| Measurement::of(&planned, "elsewhere", metric, "", 1.0, &[]);
    writer.trial(&[stray("throughput"), stray("other")]).unwrap();
    assert_eq!(
        read(dir.path()).notes,
        ["1 trials of zero-copy on elsewhere are left out: no card of the manifest asks for them."]
    );
}

#[test]
fn a_missing_trial_is_missed_by_its_own_card() {
    let dir = TempDir::new().unwrap();
    let mut writer = write_two_cards(dir.path(), CLASS, true);
    let mut planned = Run::open(dir.path()).unwrap().plan;
    planned.retain(|trial| trial.target == "kafka");
    planned[0].trial = 9_999;
    writer.plan(&planned[..1]).unwrap();
    let analysis = read(dir.path());
    assert_eq!(analysis.experiments[0].notes, Vec::<String>::new());
    assert_eq!(
        analysis.experiments[1].notes,
        ["1 of 25 planned trials are missing: the run was cut off."]
    );
}

#[test]
fn a_failed_check_spoils_the_arm_of_its_own_target() {
    let dir = TempDir::new().unwrap();
    let mut writer = write_head_to_head(dir.path(), &loads()[..1], CLASS, false);
    let run = Run::open(dir.path()).unwrap();
    let trial = run.plan.iter().find(|trial| trial.arm.starts_with("bundled/")).unwrap();
    writer
        .ledger(&[LedgerEntry {
            experiment: "head-to-head".into(),
            trial: trial.trial,
            arm: trial.arm.clone(),
            check: "dense_offsets".into(),
            expected: "10".into(),
            observed: "9".into(),
            ok: false,
        }])
        .unwrap();
    let analysis = read(dir.path());
    let cell = &analysis.experiments[0].cells[0];
    assert!(cell.arm("bundled").unwrap().invalid.is_some() && cell.arm("kafka").unwrap().invalid.is_none());
    assert_eq!(analysis.experiments[0].claims[0].verdict, Verdict::Invalid);
}

#[test]
fn targets_are_compared_when_they_are_the_treatment() {
    let dir = TempDir::new().unwrap();
    write_head_to_head(dir.path(), &loads(), CLASS, false);
    let analysis = read(dir.path());
    let [experiment] = &analysis.experiments[..] else {
        panic!("one card")
    };
    assert_eq!(
        (experiment.target.as_str(), experiment.cells.len()),
        ("kafka+bundled", 16)
    );
    assert!(analysis.beside.is_empty());
    let ratio = |cell: usize| {
        let arm = experiment.cells[cell].arm("bundled").unwrap();
        arm.metrics["broker_cpu_ms_per_mb"]
            .to_baseline
            .as_ref()
            .unwrap()
            .ratio()
    };
    near(ratio(0), 0.2);
    near(ratio(15), 0.4);
    // 1/5 is at most 1/4 and at most 1/3, 0.4 is at most 1/2; each claim speaks of its own cells only.
    let told: Vec<_> = experiment
        .claims
        .iter()
        .map(|claim| (claim.verdict, claim.cells.len()))
        .collect();
    assert_eq!(
        told,
        [
            (Verdict::Confirmed, 4),
            (Verdict::Confirmed, 2),
            (Verdict::Confirmed, 4)
        ]
    );
    assert!(experiment.notes.is_empty(), "{:?}", experiment.notes);
}

#[test]
fn targets_of_another_durability_class_are_incomparable() {
    let classes = ["acks=0, flush never", "", "flush never, acks 1, one replica"];
    for (class, verdict) in classes
        .into_iter()
        .zip([Verdict::Incomparable, Verdict::Incomparable, Verdict::Confirmed])
    {
        let dir = TempDir::new().unwrap();
        write_head_to_head(dir.path(), &loads()[..1], class, false);
        let analysis = read(dir.path());
        let experiment = &analysis.experiments[0];
        let claim = experiment.claims.iter().find(|claim| !claim.cells.is_empty()).unwrap();
        assert_eq!(claim.verdict, verdict, "{class:?}");
        let arm = experiment.cells[0].arm("bundled").unwrap();
        assert_eq!(
            arm.metrics.values().all(|metric| metric.to_baseline.is_none()),
            verdict == Verdict::Incomparable,
            "no ratio is formed"
        );
        if verdict == Verdict::Incomparable {
            let told = if class.is_empty() {
                "not known".to_owned()
            } else {
                format!("\"{class}\"")
            };
            let both = format!(
                "kafka and bundled are not compared: the durability class of kafka is {told}, that of bundled is \
                 \"flush never, acks 1, one replica\"."
            );
            assert_eq!(claim.reason, both);
            assert!(tables::terminal(&analysis, false, None).contains("INCOMPARABLE"));
        }
    }
}

#[test]
fn what_was_not_read_is_absent_and_decides_nothing() {
    let dir = TempDir::new().unwrap();
    write_head_to_head(dir.path(), &loads()[..2], CLASS, true);
    let mut manifest = Run::open(dir.path()).unwrap().manifest;
    let claim = manifest.experiments[0].claims[0].clone();
    if let results::schema::ClaimCard::AtLeast { level, .. } = &mut manifest.experiments[0].claims[0] {
        *level = "cluster".into();
    }
    manifest.experiments[0].claims.push(claim);
    let run = Run {
        manifest,
        ..Run::open(dir.path()).unwrap()
    };
    let analysis = analyse(&run);
    let experiment = &analysis.experiments[0];
    assert_eq!(experiment.target, "kafka+bundled+cluster");
    assert_eq!(experiment.claims[0].verdict, Verdict::Inconclusive);
    assert_eq!(
        experiment.claims[0].reason,
        "Not decided in all 2 cells: the broker CPU per MB is absent for cluster, where it could not be read."
    );
    assert_eq!(experiment.claims[3].verdict, Verdict::Confirmed);
    let grid = tables::measurements(experiment);
    let cluster: Vec<&Vec<String>> = grid
        .rows
        .iter()
        .map(|row| &row.texts)
        .filter(|row| row[1] == "cluster")
        .collect();
    assert_eq!(cluster.len(), 2);
    assert!(
        cluster.iter().all(|row| row[2] == "absent" && row[3].is_empty()),
        "{cluster:?}"
    );
    let details = tables::all_metrics(experiment);
    let row = details.rows.iter().find(|row| row.texts[1] == "cluster").unwrap();
    assert!(
        row.texts[2] == "absent" && row.texts[5] == "absent" && row.texts[3] != "absent",
        "{row:?}"
    );
    let ratios = tables::other_ratios(experiment).unwrap();
    assert_eq!(ratios.header, ["cell", "target", "throughput", "99th percentile"]);
}

#[test]
fn beside_each_other_an_absent_cost_is_absent_on_its_target_only() {
    let dir = TempDir::new().unwrap();
    write_two_cards(dir.path(), CLASS, false);
    let analysis = read(dir.path());
    let grid = tables::side_by_side(&analysis.beside[0], &analysis.experiments);
    let costs: Vec<(&str, bool)> = grid
        .rows
        .iter()
        .map(|row| (row.texts[1].as_str(), row.texts[5] == "absent"))
        .collect();
    assert_eq!(
        costs,
        [
            ("bundled read-write", false),
            ("bundled sendfile", false),
            ("kafka tls", true),
            ("kafka plain", true),
            ("bare-sendfile", false),
            ("bundled read-write", false),
            ("bundled sendfile", false),
        ]
    );
}

#[test]
fn one_table_holds_all_cards_and_every_claim_names_its_target() {
    let dir = TempDir::new().unwrap();
    write_everything(dir.path());
    insta::assert_snapshot!(tables::terminal(&read(dir.path()), false, Some(100)));
}

#[test]
fn no_width_is_overrun() {
    for write in [
        (|dir: &Path| write_everything(dir)) as fn(&Path),
        |dir| drop(write_head_to_head(dir, &loads(), CLASS, true)),
        |dir| drop(write_head_to_head(dir, &loads()[..1], "other", false)),
    ] {
        let dir = TempDir::new().unwrap();
        write(dir.path());
        let analysis = read(dir.path());
        for columns in [100, 120, 160] {
            let text = tables::terminal(&analysis, false, Some(columns));
            for line in text.lines() {
                assert!(
                    line.chars().count() <= usize::from(columns),
                    "{columns} columns: {line}"
                );
            }
        }
        assert!(tables::terminal(&analysis, true, Some(100)).contains('\u{1b}'));
    }
}

#[test]
fn facts_need_no_trials_and_come_first() {
    let dir = TempDir::new().unwrap();
    write_facts(dir.path(), &facts());
    let rendered = render(dir.path()).unwrap();
    assert!(rendered.charts.is_empty() && rendered.analysis.experiments.is_empty());
    let page = fs::read_to_string(rendered.html).unwrap();
    let heading = "folklore-facts: 4 statements looked up on kafka 4.0-synthetic: 1 TRUE, 1 FALSE, 1 OUTDATED, 1 NOT \
                   LOOKED UP";
    assert!(page.find(heading).unwrap() < page.find("The machine").unwrap());
    // The colour is not the only thing that tells.
    for (class, words) in [
        ("TRUE", "✓ TRUE"),
        ("FALSE", "✗ FALSE"),
        ("OUTDATED", "↺ OUTDATED"),
        ("NOT_LOOKED_UP", "? NOT LOOKED UP"),
    ] {
        assert!(
            page.contains(&format!("<tr class=\"{class}\">")) && page.contains(words),
            "{class}"
        );
    }
    insta::assert_snapshot!(fs::read_to_string(dir.path().join(file::SUMMARY)).unwrap());
    let junit = fs::read_to_string(dir.path().join(file::JUNIT)).unwrap();
    assert!(
        junit.contains(
            "name=\"folklore-facts.kafka 4.0-synthetic\" tests=\"4\" failures=\"0\" errors=\"0\" skipped=\"1\""
        )
    );
    assert_eq!(junit.matches("<testcase").count(), 4);
    assert_eq!(junit.matches("<skipped message=\"strace is missing").count(), 1);
}

#[test]
fn facts_stand_before_the_experiments() {
    let dir = TempDir::new().unwrap();
    write_everything(dir.path());
    let rendered = render(dir.path()).unwrap();
    let page = fs::read_to_string(rendered.html).unwrap();
    let headings: Vec<&str> = page
        .split("<h2>")
        .skip(1)
        .map(|rest| rest.split([':', '(', '<']).next().unwrap().trim())
        .collect();
    assert_eq!(
        headings,
        [
            "folklore-facts",
            "Does zero copy pay?",
            "Does zero copy pay?",
            "Does zero copy pay?",
            "On which terms",
            "Before the measurement",
            "System calls, untimed",
            "The machine",
            "What was run",
            "The files"
        ]
    );
    // The claims of both cards, once each.
    assert_eq!(page.matches("<div class=\"claim ").count(), 3);
    assert!(page.contains("kafka: The plain listener delivers more than the TLS listener"));
    assert!(page.contains("The TLS listener also encrypts"));
    let slugs: Vec<&str> = rendered.charts.iter().map(|chart| chart.slug.as_str()).collect();
    for slug in [
        "zero-copy-beside",
        "zero-copy-bundled-ratios",
        "zero-copy-kafka-ratios",
        "phase-warm-up",
    ] {
        assert!(slugs.contains(&slug), "{slugs:?}");
        assert!(page.contains(&format!("charts/{slug}.svg")), "{slug}");
    }
    // A call that was looked for and not made is a 0, one without bytes has none.
    assert!(page.contains("<td>kafka tls</td><td>sendfile</td><td class=\"figure\">0</td><td class=\"figure\">0</td>"));
    assert!(
        page.contains("<td>kafka tls</td><td>epoll_wait</td><td class=\"figure\">9,000</td><td class=\"figure\"></td>")
    );
}

#[test]
fn markup_in_facts_and_traces_is_escaped() {
    let evil = "<script>alert('1')</script>";
    let dir = TempDir::new().unwrap();
    let mut writer = write_facts(dir.path(), &[fact(evil, FactVerdict::True, evil, evil)]);
    writer
        .traces(&[results::schema::TraceCount {
            experiment: "x".into(),
            target: evil.into(),
            arm: evil.into(),
            call: evil.into(),
            count: 1,
            bytes: None,
            example: evil.into(),
        }])
        .unwrap();
    render(dir.path()).unwrap();
    for name in [file::REPORT, file::SUMMARY, file::JUNIT] {
        let text = fs::read_to_string(dir.path().join(name)).unwrap();
        assert!(!text.contains("<script"), "{name}");
    }
}

#[test]
fn a_warm_up_that_did_not_become_steady_is_told() {
    let dir = TempDir::new().unwrap();
    let mut writer = write_two_cards(dir.path(), CLASS, true);
    let truth = Truth {
        blocks: 8,
        ..Truth::one_cell(1.9)
    };
    add_phases_and_traces(&mut writer, &mut two_cards(&truth, CLASS));
    let analysis = read(dir.path());
    let grid = tables::phases(&analysis);
    let rows: Vec<String> = grid.rows.iter().map(|row| row.texts.join("|")).collect();
    assert_eq!(
        rows,
        [
            "kafka|start|4.20 s|1|4.20 s|",
            "kafka|first touch|1.50 s|3|20 to 140 MB/s|",
            "kafka plain|warm-up|12 s|24|199 to 898 MB/s|steady",
            "kafka tls|warm-up|12 s|24|15 to 360 MB/s|NOT STEADY",
        ]
    );
    let remarks = tables::phase_remarks(&analysis.phases);
    assert!(
        remarks
            .iter()
            .any(|remark| remark.starts_with("The warm-up of kafka tls did not become steady"))
    );
    assert!(
        !remarks.iter().any(|remark| remark.contains("plain did not")),
        "{remarks:?}"
    );
}
