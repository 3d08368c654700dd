//! A run folder comes back as it was written, a torn one comes back with a note, and a broken one is told where.

use std::fs;
use std::io::Write;
use std::path::Path;

use results::reader::Run;
use results::schema::{FactVerdict, LedgerEntry, Measurement, Phase, SeriesPoint, file};
use results::writer::{RunWriter, WriteError};
use tempfile::TempDir;

use crate::synthetic::{Truth, faster, manifest, write_run};
use crate::targets::{add_phases_and_traces, fact, facts};

fn written() -> (TempDir, RunWriter) {
    let dir = TempDir::new().unwrap();
    let writer = write_run(
        dir.path(),
        &Truth {
            blocks: 2,
            ..Truth::one_cell(1.5)
        },
        vec![faster()],
    );
    (dir, writer)
}

fn append(dir: &Path, name: &str, bytes: &[u8]) {
    fs::OpenOptions::new()
        .append(true)
        .open(dir.join(name))
        .unwrap()
        .write_all(bytes)
        .unwrap();
}

fn error_of(dir: &Path) -> String {
    Run::open(dir)
        .expect_err("the folder is broken")
        .to_string()
        .replace(&dir.display().to_string(), "DIR")
}

#[test]
fn what_was_written_is_read_back() {
    let (dir, mut writer) = written();
    let point = SeriesPoint {
        experiment: "zero-copy".into(),
        trial: 1,
        role: "broker".into(),
        metric: "throughput".into(),
        unit: "MB/s".into(),
        at_ms: 100,
        value: 12.5,
    };
    writer.series(std::slice::from_ref(&point)).unwrap();
    let entry = LedgerEntry {
        experiment: "zero-copy".into(),
        trial: 1,
        arm: "a".into(),
        check: "crc".into(),
        expected: "1,2 \"three\"".into(),
        observed: "1".into(),
        ok: false,
    };
    writer.ledger(std::slice::from_ref(&entry)).unwrap();
    let planned = Run::open(dir.path()).unwrap().plan[0].clone();
    let failed = Measurement::failed(&planned, "bundled", "port in use; \"again\"\nand again");
    writer.trial(std::slice::from_ref(&failed)).unwrap();

    let run = Run::open(dir.path()).unwrap();
    assert_eq!(
        run.manifest,
        manifest(
            &Truth {
                blocks: 2,
                ..Truth::one_cell(1.5)
            },
            vec![faster()]
        )
    );
    assert_eq!(run.plan.len(), 6, "three arms in two blocks");
    assert_eq!(run.trials.len(), 6 * 3 + 1);
    assert_eq!(run.trials.last().unwrap(), &failed);
    assert_eq!(run.trials.last().unwrap().flags, ["port in use, \"again\" and again"]);
    assert_eq!(run.trials[0].factors, run.plan[0].factors);
    assert_eq!(run.series, [point]);
    assert_eq!(run.ledger, [entry]);
    assert_eq!(run.latencies.len(), 3);
    assert!(
        run.latencies.values().all(|merged| merged.len() == 4_000),
        "both blocks are merged"
    );
    assert_eq!(run.notes, Vec::<String>::new());
}

#[test]
fn a_value_survives_the_csv_bit_for_bit() {
    let (dir, mut writer) = written();
    let planned = Run::open(dir.path()).unwrap().plan[0].clone();
    let values = [0.1 + 0.2, 1e300, 5e-324, -0.0, 123_456_789.123_456_78];
    let rows: Vec<_> = values
        .iter()
        .map(|value| Measurement::of(&planned, "t", "m", "", *value, &[]))
        .collect();
    writer.trial(&rows).unwrap();
    let run = Run::open(dir.path()).unwrap();
    let read: Vec<u64> = run
        .trials
        .iter()
        .filter(|row| row.metric == "m")
        .map(|row| row.value.to_bits())
        .collect();
    assert_eq!(read, values.map(f64::to_bits));
}

#[test]
fn facts_phases_and_traces_are_read_back() {
    let (dir, mut writer) = written();
    let made = |name: &str| dir.path().join(name).exists();
    writer.facts(&[]).unwrap();
    assert!(
        !made(file::FACTS) && !made(file::PHASES) && !made(file::TRACES),
        "only runs that need them have them"
    );
    let mut manifest = manifest(&Truth::one_cell(1.0), vec![]);
    writer.facts(&facts()).unwrap();
    let torn = fact("lines", FactVerdict::True, "one, \"two\"", "a\r\nb\nc");
    writer.facts(std::slice::from_ref(&torn)).unwrap();
    add_phases_and_traces(&mut writer, &mut manifest);
    let run = Run::open(dir.path()).unwrap();
    assert_eq!(run.facts[..4], facts()[..]);
    assert_eq!(
        (run.facts[4].statement.as_str(), run.facts[4].evidence.as_str()),
        ("one, \"two\"", "a b c")
    );
    assert_eq!(
        (run.phases.len(), run.phases[0].phase, run.phases[0].value),
        (52, Phase::Start, 4.2)
    );
    assert_eq!((run.phases[51].arm.as_str(), run.phases[51].at_ms), ("tls", 12_000));
    assert_eq!(run.traces.len(), 5);
    assert_eq!((run.traces[2].count, run.traces[2].bytes), (0, Some(0)));
    assert_eq!((run.traces[4].count, run.traces[4].bytes), (9_000, None));
    assert_eq!(run.manifest, manifest);
    assert_eq!(run.manifest.phases_summary.len(), 4);

    // Torn tails are left out and told.
    for name in [file::FACTS, file::PHASES, file::TRACES] {
        append(dir.path(), name, b"folklore-facts,\"torn");
    }
    let torn = Run::open(dir.path()).unwrap();
    assert_eq!(
        (&torn.facts, &torn.phases, &torn.traces),
        (&run.facts, &run.phases, &run.traces)
    );
    assert_eq!(torn.notes.len(), 3);
    assert!(torn.notes[0].contains("facts.csv is torn"), "{:?}", torn.notes);
}

#[test]
fn a_bad_line_of_facts_phases_or_traces_is_named() {
    let mend = "mend or remove the line; see results/README.md for the columns";
    let cases: [(&str, &[u8], String); 4] = [
        (
            file::FACTS,
            b"x,id,said,who,MAYBE,e,s,r,kafka,1\n",
            format!(
                "DIR/facts.csv, line 6, column verdict: \"MAYBE\" is none of TRUE, FALSE, OUTDATED, NOT_LOOKED_UP; {mend}"
            ),
        ),
        (
            file::PHASES,
            b"x,kafka,,cool_down,0,1,m,u,1\n",
            format!(
                "DIR/phases.csv, line 54, column phase: \"cool_down\" is none of start, first_touch, warm_up; {mend}"
            ),
        ),
        (
            file::PHASES,
            b"x,kafka,,start,0,soon,m,u,1\n",
            format!("DIR/phases.csv, line 54, column at_ms: \"soon\": invalid digit found in string; {mend}"),
        ),
        (
            file::TRACES,
            b"x,kafka,plain,sendfile,1,many,\n",
            format!("DIR/traces.csv, line 7, column bytes: \"many\": invalid digit found in string; {mend}"),
        ),
    ];
    for (name, bytes, expected) in cases {
        let (dir, mut writer) = written();
        writer.facts(&facts()).unwrap();
        add_phases_and_traces(&mut writer, &mut manifest(&Truth::one_cell(1.0), vec![]));
        append(dir.path(), name, bytes);
        assert_eq!(error_of(dir.path()), expected);
    }
}

#[test]
fn a_torn_last_line_is_a_note() {
    let (dir, _writer) = written();
    let whole = Run::open(dir.path()).unwrap();
    append(dir.path(), file::TRIALS, b"zero-copy,6,2,0,read-wri");
    append(dir.path(), file::PLAN, b"{\"trial\":6,");
    append(dir.path(), file::LATENCY, b"Tag=x,1.000,0.500,0.1,HISTFAAA");
    let run = Run::open(dir.path()).unwrap();
    assert_eq!(run.trials, whole.trials);
    assert_eq!(run.plan, whole.plan);
    assert_eq!(run.latencies.len(), whole.latencies.len());
    assert_eq!(run.notes.len(), 3);
    assert!(run.notes[1].contains("trials.csv is torn"), "{:?}", run.notes);
}

#[test]
fn optional_files_may_be_absent() {
    let (dir, _writer) = written();
    for name in [file::SERIES, file::LEDGER, file::LATENCY, file::PLAN] {
        fs::remove_file(dir.path().join(name)).unwrap();
    }
    let run = Run::open(dir.path()).unwrap();
    assert!(run.series.is_empty() && run.ledger.is_empty() && run.latencies.is_empty() && run.plan.is_empty());
}

#[test]
fn an_occupied_folder_is_refused() {
    let (dir, _writer) = written();
    let again = RunWriter::create(dir.path(), &manifest(&Truth::one_cell(1.0), vec![]));
    assert!(matches!(again, Err(WriteError::Occupied { .. })));
}

#[test]
fn a_factor_that_would_break_the_column_is_refused() {
    let (dir, mut writer) = written();
    let mut planned = Run::open(dir.path()).unwrap().plan[0].clone();
    planned.factors.insert("cache".into(), "hot;cold".into());
    let error = writer
        .trial(&[Measurement::of(&planned, "t", "m", "", 1.0, &[])])
        .unwrap_err();
    assert!(error.to_string().contains("which separate factors"), "{error}");
}

#[test]
fn the_manifest_is_replaced_whole() {
    let (dir, mut writer) = written();
    let mut manifest = Run::open(dir.path()).unwrap().manifest;
    manifest.git_revision = Some("abc".into());
    writer.update_manifest(&manifest).unwrap();
    assert_eq!(Run::open(dir.path()).unwrap().manifest, manifest);
}

#[test]
fn errors_name_file_line_column_and_remedy() {
    let mend = "mend or remove the line; see results/README.md for the columns";
    let cases: [(&str, &[u8], String); 6] = [
        (
            file::TRIALS,
            b"zero-copy,6,2,0,x,measured,a=b,t,m,MB/s,fast,\n",
            format!("DIR/trials.csv, line 20, column value: \"fast\": invalid float literal; {mend}"),
        ),
        (
            file::TRIALS,
            b"zero-copy,6,2,0,x,bystander,a=b,t,m,MB/s,1,\n",
            format!("DIR/trials.csv, line 20, column role: \"bystander\" is none of measured, control, limit; {mend}"),
        ),
        (
            file::TRIALS,
            b"zero-copy,6\n",
            format!("DIR/trials.csv, line 20, column block: the line ends before this column; {mend}"),
        ),
        (
            file::TRIALS,
            b"zero-copy,6,2,0,x,measured,cold,t,m,MB/s,1,\n",
            format!("DIR/trials.csv, line 20, column factors: \"cold\" is not of the form name=level; {mend}"),
        ),
        (
            file::PLAN,
            b"{\"trial\": \"six\"}\n",
            "DIR/plan.jsonl, line 7, character 15: invalid type: string \"six\", expected u32; mend it, or run the \
             experiment again"
                .into(),
        ),
        (
            file::LATENCY,
            b"Tag=x,1.000,0.500,0.1,HISTFAAA\n",
            "DIR/latency.hlog, line 9, column histogram: An i/o operation failed: failed to fill whole buffer; remove \
             the line, its interval is lost"
                .into(),
        ),
    ];
    for (name, bytes, expected) in cases {
        let (dir, _writer) = written();
        append(dir.path(), name, bytes);
        assert_eq!(error_of(dir.path()), expected);
    }
}

#[test]
fn a_folder_that_is_no_run_says_so() {
    let empty = TempDir::new().unwrap();
    assert_eq!(
        error_of(empty.path()),
        "DIR/manifest.json is missing: is this a run folder? `assay run` makes one under assay-runs/"
    );
}

#[test]
fn a_header_without_a_column_names_it() {
    let (dir, _writer) = written();
    fs::write(dir.path().join(file::TRIALS), "experiment,trial\nzero-copy,1\n").unwrap();
    assert_eq!(
        error_of(dir.path()),
        "DIR/trials.csv, line 1, column block: the header lacks this column; see results/README.md"
    );
}

#[test]
fn a_newer_schema_is_refused() {
    let (dir, _writer) = written();
    fs::write(dir.path().join(file::MANIFEST), "{\n  \"schema_version\": 99\n}").unwrap();
    assert_eq!(
        error_of(dir.path()),
        "DIR/manifest.json has schema version 99, this program reads up to 2: use a newer assay"
    );
}
