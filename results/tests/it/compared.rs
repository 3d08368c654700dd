//! `compare` on run folders: the committed reference runs, copies of them with something changed, and synthetic runs.

use std::fs;
use std::path::{Path, PathBuf};

use results::compare::{self, Against, Change, CompareError, Comparison, Options, Reference, Row, compare, files};
use results::reader::Run;
use results::schema::{LedgerEntry, Manifest, file};
use results::tables;
use tempfile::TempDir;

use crate::synthetic::{Truth, counts, faster, write_run};

fn reference(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("reference").join(name)
}

/// A copy of a folder's files in which `change` edits one of them.
fn changed(folder: &Path, name: &str, change: impl Fn(&str) -> String) -> TempDir {
    let dir = TempDir::new().unwrap();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            fs::copy(&path, dir.path().join(path.file_name().unwrap())).unwrap();
        }
    }
    let path = dir.path().join(name);
    let text = change(&fs::read_to_string(&path).unwrap());
    fs::write(path, text).unwrap();
    dir
}

fn with_manifest(folder: &Path, change: impl Fn(&mut Manifest)) -> TempDir {
    changed(folder, file::MANIFEST, |text| {
        let mut manifest: Manifest = serde_json::from_str(text).unwrap();
        change(&mut manifest);
        serde_json::to_string(&manifest).unwrap()
    })
}

/// Every value of a metric in the lines that hold `what`, changed.
fn with_values(text: &str, what: &str, metric: &str, change: impl Fn(f64) -> f64) -> String {
    let field = format!(",{metric},");
    let lines = text.lines().map(|line| {
        if !line.contains(what) || !line.contains(&field) {
            return format!("{line}\n");
        }
        let mut fields: Vec<String> = line.split(',').map(str::to_owned).collect();
        let value: f64 = fields[10].parse().unwrap();
        fields[10] = change(value).to_string();
        fields.join(",") + "\n"
    });
    lines.collect()
}

fn compared(a: &Path, b: &Path, options: &Options) -> Comparison {
    compare(&Run::open(a).unwrap(), &Run::open(b).unwrap(), options).unwrap()
}

fn plainly(a: &Path, b: &Path) -> Comparison {
    compared(a, b, &Options::default())
}

fn of_metric<'a>(comparison: &'a Comparison, metric: &str) -> Vec<&'a Row> {
    comparison.deciding().filter(|row| row.metric == metric).collect()
}

fn synthetic(truth: &Truth) -> TempDir {
    let dir = TempDir::new().unwrap();
    write_run(dir.path(), truth, vec![faster(), counts()]);
    dir
}

/// sendfile at this ratio to read-write, in two cells.
fn truth(seed: u64, ratio: f64) -> Truth {
    let cell = |size| (size, "discard", "hot", vec![("sendfile", ratio)]);
    Truth {
        seed,
        cells: vec![cell("65536"), cell("1048576")],
        ..Truth::one_cell(ratio)
    }
}

#[test]
fn a_run_against_itself_is_equal_everywhere() {
    for name in [
        "zero-copy-quick",
        "zero-copy-kafka-quick",
        "head-to-head-quick",
        "folklore-facts",
    ] {
        let comparison = plainly(&reference(name), &reference(name));
        assert_eq!(comparison.verdict(), Change::Equal, "{name}");
        assert!(!comparison.is_incomparable(), "{name}");
        let mut rows = comparison.parts.iter().flat_map(|part| &part.rows);
        // Two zeros and a gap have no ratio, and are the same.
        let odd = rows.find(|row| row.change != Change::Equal && row.gates);
        assert_eq!(odd, None, "{name}");
        assert_eq!(comparison.facts.len(), if name == "folklore-facts" { 31 } else { 0 });
        let text = tables::comparison_for_terminal(&comparison, false, Some(100));
        assert!(text.contains("\nEQUAL  "), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    }
}

#[test]
fn changed_figures_are_found_and_the_others_are_equal() {
    let sound = reference("zero-copy-quick");
    let slower = changed(&sound, file::TRIALS, |text| {
        with_values(text, "fetch.path=splice", "throughput", |value| value * 0.3)
    });
    let comparison = plainly(&sound, slower.path());
    assert_eq!(comparison.verdict(), Change::Regressed);
    let throughput = of_metric(&comparison, "throughput");
    assert_eq!(throughput.len(), 20);
    for row in &throughput {
        let expected = if row.level == "splice" {
            Change::Regressed
        } else {
            Change::Equal
        };
        assert_eq!(row.change, expected, "{row:?}");
    }
    let row = throughput.iter().find(|row| row.level == "splice").unwrap();
    assert!((row.ratio.unwrap().ratio - 0.3).abs() < 1e-9, "{row:?}");
    assert_eq!(row.reference, Reference::Baseline("read-write".into()));
    assert_eq!(plainly(slower.path(), &sound).verdict(), Change::Improved);

    // What has a bare loop is held against it, the baseline too.
    let baseline = throughput
        .iter()
        .find(|row| row.level == "read-write" && row.reference != Reference::Nothing);
    assert_eq!(baseline.unwrap().reference, Reference::Limit("bare-read-write".into()));
}

#[test]
fn counts_are_compared_exactly_and_a_zero_that_is_none_any_more_regressed() {
    let sound = reference("zero-copy-quick");
    for (metric, change, ratio) in [
        ("body_switches_per_response", 1.02, Some(1.02)),
        ("user_copied_bytes_per_byte", 0.0, None),
    ] {
        let other = changed(&sound, file::TRIALS, |text| {
            with_values(text, ",sendfile/4KiB", metric, |value| {
                if value == 0.0 { 1.0 } else { value * change }
            })
        });
        let comparison = plainly(&sound, other.path());
        let rows = of_metric(&comparison, metric);
        let row = rows.iter().find(|row| row.change != Change::Equal).unwrap();
        assert_eq!((row.level.as_str(), row.change), ("sendfile", Change::Regressed));
        assert_eq!(row.ratio.map(|found| (found.ratio * 100.0).round() / 100.0), ratio);
        assert_eq!(
            rows.iter().filter(|row| row.change == Change::Equal).count(),
            rows.len() - 1
        );
        assert_eq!(comparison.verdict(), Change::Regressed);
    }
}

#[test]
fn another_machine_leaves_the_counts() {
    let sound = reference("zero-copy-quick");
    let elsewhere = with_manifest(&sound, |manifest| manifest.machine.cpu_model = "Another CPU".into());
    let comparison = plainly(&sound, elsewhere.path());
    assert_eq!(
        (comparison.verdict(), comparison.is_incomparable()),
        (Change::Incomparable, true)
    );
    let changes = |metric: &str| {
        of_metric(&comparison, metric)
            .iter()
            .map(|row| row.change)
            .collect::<Vec<_>>()
    };
    assert_eq!(changes("throughput"), [Change::Incomparable; 20]);
    assert_eq!(changes("body_switches_per_response"), [Change::Equal; 20]);
    let text = tables::comparison_for_terminal(&comparison, false, None);
    assert!(
        text.contains("INCOMPARABLE  CPU: AMD EPYC in A, Another CPU in B"),
        "{text}"
    );

    // The counts alone are compared without an objection.
    let options = Options {
        metrics: vec!["body_switches_per_response".into()],
        ..Options::default()
    };
    let counted = compared(&sound, elsewhere.path(), &options);
    assert_eq!((counted.verdict(), counted.is_incomparable()), (Change::Equal, false));

    let allowed = Options {
        allow_different_machine: true,
        ..Options::default()
    };
    let comparison = compared(&sound, elsewhere.path(), &allowed);
    assert_eq!(comparison.verdict(), Change::Equal);
    let said = "Different machines, compared because it was asked for: CPU: AMD EPYC in A, Another CPU in B.";
    for text in [
        tables::comparison_for_terminal(&comparison, false, None),
        tables::comparison_as_markdown(&comparison, &[]).replace("**", ""),
    ] {
        assert!(text.starts_with(said), "{text}");
    }
}

#[test]
fn another_definition_or_durability_leaves_nothing() {
    let sound = reference("zero-copy-quick");
    for other in [
        with_manifest(&sound, |manifest| {
            manifest.targets[0].durability_class = "every batch".into()
        }),
        with_manifest(&sound, |manifest| manifest.experiments[0].definition_sha = "0".into()),
        with_manifest(&sound, |manifest| manifest.experiments[0].name = "one-copy".into()),
    ] {
        for options in [
            Options::default(),
            Options {
                allow_different_machine: true,
                ..Options::default()
            },
        ] {
            let comparison = compared(&sound, other.path(), &options);
            assert_eq!(
                (comparison.verdict(), comparison.is_incomparable()),
                (Change::Incomparable, true)
            );
            assert_eq!(comparison.deciding().count(), 0);
        }
    }
    // What only the later run has is no reason.
    let fewer = with_manifest(&reference("zero-copy-kafka-quick"), |manifest| {
        drop(manifest.experiments.pop())
    });
    let comparison = plainly(fewer.path(), &reference("zero-copy-kafka-quick"));
    assert_eq!(comparison.verdict(), Change::Equal);
    assert!(
        comparison
            .notes
            .contains(&"zero-copy on kafka was measured in B only.".to_owned())
    );
}

#[test]
fn wrong_bytes_are_a_regression_whatever_the_figures_say() {
    let sound = synthetic(&truth(7, 1.9));
    let broken = TempDir::new().unwrap();
    let mut writer = write_run(broken.path(), &truth(7, 1.9), vec![faster()]);
    let entry = LedgerEntry {
        experiment: "zero-copy".into(),
        trial: 1,
        arm: "sendfile/65536/discard/hot".into(),
        check: "crc".into(),
        expected: "1".into(),
        observed: "2".into(),
        ok: false,
    };
    writer.ledger(&[entry]).unwrap();
    let options = Options {
        metrics: vec!["throughput".into()],
        ..Options::default()
    };
    let comparison = compared(sound.path(), broken.path(), &options);
    let row = comparison.deciding().find(|row| row.change != Change::Equal).unwrap();
    assert_eq!(
        (row.change, row.why.as_str()),
        (Change::Regressed, "B failed its check (crc: expected 1, found 2)")
    );
    assert_eq!(
        compared(broken.path(), sound.path(), &options).verdict(),
        Change::Incomparable
    );
}

#[test]
fn the_weather_of_a_whole_run_cancels_out_and_a_slower_arm_does_not() {
    let a = synthetic(&truth(7, 1.9));
    let slower_machine = changed(synthetic(&truth(8, 1.9)).path(), file::TRIALS, |text| {
        with_values(text, "", "throughput", |value| value * 0.5)
    });
    let same = plainly(a.path(), slower_machine.path());
    let sendfile = |comparison: &Comparison| {
        let rows = of_metric(comparison, "throughput").into_iter();
        rows.filter(|row| row.level == "sendfile")
            .map(|row| row.change)
            .collect::<Vec<_>>()
    };
    assert_eq!(sendfile(&same), [Change::Equivalent; 2]);
    // Without the reference the machine is taken for the arm.
    let absolute = Options {
        against: Against::Nothing,
        ..Options::default()
    };
    assert_eq!(
        sendfile(&compared(a.path(), slower_machine.path(), &absolute)),
        [Change::Regressed; 2]
    );
    let slower_arm = synthetic(&truth(9, 1.5));
    assert_eq!(sendfile(&plainly(a.path(), slower_arm.path())), [Change::Regressed; 2]);
    assert_eq!(sendfile(&plainly(slower_arm.path(), a.path())), [Change::Improved; 2]);
}

/// The baseline has no reference in its cell, but the bare loops of the run tell how far the machine moved.
#[test]
fn an_absolute_figure_that_moved_no_more_than_the_bare_loops_is_left_open() {
    let truth = Truth {
        limits: true,
        cells: vec![
            ("65536", "discard", "hot", vec![("sendfile", 1.9)]),
            ("1048576", "copy", "hot", vec![]),
        ],
        ..Truth::one_cell(1.9)
    };
    let a = synthetic(&truth);
    let slower = changed(synthetic(&truth).path(), file::TRIALS, |text| {
        let slower = with_values(text, "", "throughput", |value| value * 0.4);
        with_values(&slower, ",limit,", "throughput", |value| value * 0.98)
    });
    let comparison = plainly(a.path(), slower.path());
    let rows = of_metric(&comparison, "throughput");
    let alone = rows
        .iter()
        .find(|row| row.cell.level("receiver") == Some("copy"))
        .unwrap();
    assert_eq!(
        (&alone.reference, alone.change),
        (&Reference::Nothing, Change::Inconclusive)
    );
    assert!(
        alone.why.contains("by which the bare loops of the run moved"),
        "{}",
        alone.why
    );
    let held = rows.iter().find(|row| row.level == "sendfile").unwrap();
    assert_eq!(held.reference, Reference::Limit("bare-sendfile".into()));
    assert!((held.ratio.unwrap().ratio - 1.0 / 0.98).abs() < 1e-9);
}

#[test]
fn names_that_neither_run_has_are_refused() {
    let run = Run::open(&reference("zero-copy-quick")).unwrap();
    let options = |experiments: &[&str], metrics: &[&str]| Options {
        experiments: experiments.iter().map(|name| (*name).to_owned()).collect(),
        metrics: metrics.iter().map(|name| (*name).to_owned()).collect(),
        ..Options::default()
    };
    let refused = |options| compare(&run, &run, &options).unwrap_err();
    assert_eq!(
        refused(options(&["zero-cpy"], &[])),
        CompareError::Unknown {
            kind: "experiment",
            name: "zero-cpy".into(),
            known: "zero-copy".into()
        }
    );
    let message = refused(options(&[], &["throughputs"])).to_string();
    assert!(
        message.starts_with("neither run has the metric 'throughputs'; there are: "),
        "{message}"
    );
    let asked = compare(&run, &run, &options(&["zero-copy"], &["broker_cpu_s_per_gb"])).unwrap();
    assert_eq!(asked.deciding().count(), 20);
    assert!(
        asked.parts[0].rows.iter().all(|row| row.gates),
        "only what was asked for"
    );
}

#[test]
fn what_is_left_in_files() {
    let (a, b) = (synthetic(&truth(7, 1.9)), synthetic(&truth(9, 1.5)));
    let out = TempDir::new().unwrap();
    let dir = out.path().join("compared");
    let comparison = plainly(a.path(), b.path());
    files::write(&dir, &comparison).unwrap();
    let mut csv = csv::Reader::from_path(dir.join(compare::files::CSV)).unwrap();
    let header = csv.headers().unwrap().clone();
    let column = |name: &str| header.iter().position(|other| other == name).unwrap();
    let rows: Vec<csv::StringRecord> = csv.records().map(|row| row.unwrap()).collect();
    assert_eq!(rows.len(), 4 * 3, "four arms, three metrics");
    let row = rows
        .iter()
        .find(|row| &row[column("level")] == "sendfile" && &row[column("metric")] == "throughput");
    let row = row.unwrap();
    let figure = |name: &str| row[column(name)].parse::<f64>().unwrap();
    assert!((figure("ratio") - 1.5 / 1.9).abs() < 0.02);
    assert!(figure("low") < figure("ratio") && figure("ratio") < figure("high"));
    assert_eq!(
        (figure("margin_low"), figure("a_blocks"), figure("b_blocks")),
        (0.95, 10.0, 10.0)
    );
    assert_eq!(
        (&row[column("against")], &row[column("answer")]),
        ("read-write", "REGRESSED")
    );
    // Of the explaining CPU time, where less is better, the margin is turned round.
    let cpu = rows
        .iter()
        .find(|row| &row[column("metric")] == "broker_cpu_s_per_gb")
        .unwrap();
    assert_eq!(cpu[column("margin_low")].parse::<f64>().unwrap(), 1.0 / 1.05);
    assert_eq!((&cpu[column("decides")], &cpu[column("better")]), ("false", "lower"));

    let junit = fs::read_to_string(dir.join(compare::files::JUNIT)).unwrap();
    assert!(
        junit.contains("name=\"compare.zero-copy.bundled\" tests=\"8\" failures=\"2\" errors=\"0\""),
        "{junit}"
    );
    assert_eq!(junit.matches("<failure type=\"REGRESSED\"").count(), 2);

    let markdown = fs::read_to_string(dir.join(compare::files::MARKDOWN)).unwrap();
    let chart = "charts/compare-zero-copy-bundled-throughput";
    assert!(markdown.contains(&format!("]({chart}.svg)")), "{markdown}");
    let svg = fs::read_to_string(dir.join(format!("{chart}.svg"))).unwrap();
    assert!(svg.contains("REGRESSED") && svg.contains("as in A"));
    assert!(fs::metadata(dir.join(format!("{chart}.png"))).unwrap().len() > 1_000);
    assert_eq!(
        fs::read_dir(dir.join("charts")).unwrap().count(),
        2,
        "equal counts need no picture"
    );
}

#[test]
fn the_terminal_shows_it() {
    let (a, b) = (synthetic(&truth(7, 1.9)), synthetic(&truth(9, 1.5)));
    let mut comparison = plainly(a.path(), b.path());
    comparison.a.folder = "A-folder".into();
    comparison.b.folder = "B-folder".into();
    insta::assert_snapshot!(tables::comparison_for_terminal(&comparison, false, Some(100)));
    assert!(tables::comparison_for_terminal(&comparison, true, Some(100)).contains("\u{1b}[1;31mREGRESSED"));
    assert!(!tables::comparison_for_terminal(&comparison, false, None).contains('\u{1b}'));
}
