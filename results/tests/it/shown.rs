//! The answer as people and other programs see it.

use std::fs;

use results::analysis::analyse;
use results::reader::Run;
use results::schema::file;
use results::{export, tables};
use tempfile::TempDir;

use crate::synthetic::{Truth, at_least, counts, faster, write_run};

fn small() -> Truth {
    Truth {
        blocks: 8,
        cells: vec![
            ("65536", "discard", "hot", vec![("vectored", 1.0), ("sendfile", 1.9)]),
            ("1048576", "copy", "hot", vec![("sendfile", 0.6)]),
        ],
        limits: true,
        ..Truth::one_cell(1.0)
    }
}

fn claims() -> Vec<results::schema::ClaimCard> {
    vec![faster(), at_least(1.6), counts()]
}

fn run() -> (TempDir, Run) {
    let dir = TempDir::new().unwrap();
    write_run(dir.path(), &small(), claims());
    let run = Run::open(dir.path()).unwrap();
    (dir, run)
}

#[test]
fn the_terminal_table() {
    let (_dir, run) = run();
    insta::assert_snapshot!(tables::terminal(&analyse(&run), false, None));
}

#[test]
fn colour_only_when_told() {
    let (_dir, run) = run();
    let analysis = analyse(&run);
    assert!(!tables::terminal(&analysis, false, Some(100)).contains('\u{1b}'));
    assert!(tables::terminal(&analysis, true, Some(100)).contains("\u{1b}[1;33mCONDITIONAL"));
}

#[test]
fn a_terminal_is_not_overrun() {
    let (_dir, run) = run();
    for columns in [80, 90, 100, 120, 160] {
        let text = tables::terminal(&analyse(&run), false, Some(columns));
        let longest = text.lines().map(|line| line.chars().count()).max().unwrap();
        assert!(longest <= usize::from(columns), "{longest} columns:\n{text}");
        // Colours take no room.
        let coloured = tables::terminal(&analyse(&run), true, Some(columns));
        assert_eq!(coloured.lines().count(), text.lines().count(), "{coloured}");
    }
}

#[test]
fn the_terminal_table_on_80_columns() {
    let (_dir, run) = run();
    insta::assert_snapshot!(tables::terminal(&analyse(&run), false, Some(80)));
}

#[test]
fn the_terminal_table_on_160_columns() {
    let (_dir, run) = run();
    insta::assert_snapshot!(tables::terminal(&analyse(&run), false, Some(160)));
}

#[test]
fn the_same_as_markdown() {
    let (_dir, run) = run();
    insta::assert_snapshot!(tables::markdown(&analyse(&run)));
}

#[test]
fn estimates_and_verdicts_as_csv() {
    let (dir, run) = run();
    export::write(dir.path(), &analyse(&run)).unwrap();
    let mut estimates = csv::Reader::from_path(dir.path().join(file::ESTIMATES)).unwrap();
    let header: Vec<String> = estimates.headers().unwrap().iter().map(str::to_owned).collect();
    assert_eq!(
        header.join(","),
        "experiment,target,cell,level,baseline,metric,unit,ratio,low,high,confidence,p_adjusted,blocks,dropped,noise"
    );
    let rows: Vec<csv::StringRecord> = estimates.records().map(|row| row.unwrap()).collect();
    // Three levels against their baselines, four arms against their limits, one control: each in three metrics, but
    // the limits' rows only where both sides have the metric, which is everywhere here.
    assert_eq!(rows.len(), 3 * (3 + 4 + 1));
    let row = rows
        .iter()
        .find(|row| &row[3] == "sendfile" && &row[4] == "read-write" && &row[5] == "throughput")
        .unwrap();
    assert_eq!(&row[2], "cache=hot;receiver=discard;response_bytes=65536");
    let figure = |index: usize| row[index].parse::<f64>().unwrap();
    assert!((figure(7) - 1.9).abs() < 0.05 && figure(8) < figure(7) && figure(7) < figure(9));
    assert_eq!((&row[12], &row[13]), ("8", "0"));

    let verdicts = fs::read_to_string(dir.path().join(file::VERDICTS)).unwrap();
    let lines: Vec<&str> = verdicts.lines().collect();
    assert_eq!(lines[0], "experiment,target,claim,verdict,deciding_metric,reason");
    assert!(
        lines[1].starts_with("zero-copy,bundled,faster,CONDITIONAL,throughput,"),
        "{}",
        lines[1]
    );
    assert!(
        lines[3].starts_with("zero-copy,bundled,switches,CONFIRMED,mode_switches_per_response,"),
        "{}",
        lines[3]
    );
}

#[test]
fn junit_has_a_case_per_claim_and_invalid_is_an_error() {
    let dir = TempDir::new().unwrap();
    write_run(
        dir.path(),
        &Truth {
            control: 1.4,
            ..small()
        },
        claims(),
    );
    export::write(dir.path(), &analyse(&Run::open(dir.path()).unwrap())).unwrap();
    let invalid = fs::read_to_string(dir.path().join(file::JUNIT)).unwrap();
    assert!(invalid.contains("tests=\"3\" failures=\"0\" errors=\"2\""), "{invalid}");
    assert_eq!(
        invalid.matches("<error type=\"INVALID\"").count(),
        2,
        "what is counted stays judged"
    );

    let (dir, run) = run();
    export::write(dir.path(), &analyse(&run)).unwrap();
    let sound = fs::read_to_string(dir.path().join(file::JUNIT)).unwrap();
    assert_eq!(
        (sound.matches("<testcase").count(), sound.matches("<error").count()),
        (3, 0)
    );
    assert!(
        sound.contains("<property name=\"verdict\" value=\"CONDITIONAL\"/>"),
        "{sound}"
    );
}
